//! What producers see over plain HTTP.

use expect_test::expect;
use serde_json::{Value, json};

use crate::client::{H1, Reply};
use crate::world::World;

const EVENTS: &str = "/v1/streams/orders/events";
const JSON: (&str, &str) = ("Content-Type", "application/json");
const NDJSON: (&str, &str) = ("Content-Type", "application/x-ndjson");

async fn post(client: &mut H1, headers: &[(&str, &str)], body: &str) -> Reply {
    client.post(EVENTS, headers, body.as_bytes()).await
}

fn settlements(reply: &Reply) -> Vec<String> {
    reply.json()["outcomes"].as_array().unwrap().iter().map(|o| o["settlement"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn every_event_gets_an_outcome() {
    let world = World::start().await;
    let mut client = H1::connect(world.address).await;
    let reply = post(&mut client, &[JSON], r#"[{"a":"good"}, {"a":"quarantine"}]"#).await;
    assert_eq!(reply.status, 200);
    expect![[r#"
        {
          "outcomes": [
            {
              "index": 0,
              "settlement": "forwarded",
              "verdict": "forward",
              "domain": "orders",
              "contract": "order.placed",
              "version": "1.2.0",
              "revision": "abc1234",
              "violations": [],
              "shardId": "shardId-000000000001",
              "sequenceNumber": "49680459905836975591833837308859375022985717564049457154"
            },
            {
              "index": 1,
              "settlement": "quarantined",
              "verdict": "quarantine",
              "domain": "orders",
              "contract": "order.placed",
              "version": "1.2.0",
              "revision": "abc1234",
              "violations": [
                {
                  "rule": "qty_positive",
                  "kind": "rule",
                  "pointer": "/data/qty",
                  "severity": "error",
                  "mode": "enforce",
                  "message": "qty is not positive"
                },
                {
                  "rule": "has_customer",
                  "kind": "rule",
                  "pointer": "",
                  "severity": "error",
                  "mode": "enforce",
                  "message": "the order names no customer"
                }
              ],
              "deadLetter": "dl-1"
            }
          ],
          "counts": {
            "forwarded": 1,
            "quarantined": 1,
            "refused": 0,
            "dropped": 0,
            "unsettled": 0
          }
        }"#]]
    .assert_eq(&serde_json::to_string_pretty(&reply.json()).unwrap());
    assert!(reply.header("x-request-id").is_some());
    world.stopped().await;
}

#[tokio::test]
async fn the_status_says_what_is_to_be_done() {
    let world = World::start().await;
    let mut client = H1::connect(world.address).await;
    let reply = post(&mut client, &[NDJSON], "good\nquarantine\ndrop\n").await;
    assert_eq!(
        (reply.status, settlements(&reply)),
        (200, vec!["forwarded".into(), "quarantined".into(), "dropped".into()])
    );
    let reply = post(&mut client, &[NDJSON], "good\nrefuse\n").await;
    assert_eq!((reply.status, &reply.json()["outcomes"][1]["refused"]), (422, &json!(true)));
    let reply = post(&mut client, &[NDJSON], "refuse\nthrottle\nreject\n").await;
    assert_eq!((reply.status, reply.header("retry-after")), (503, Some("1")));
    let outcome = &reply.json()["outcomes"][1];
    assert_eq!(
        (&outcome["trouble"], &outcome["message"]),
        (&json!("throttled"), &json!("The mesh stream is over its rate."))
    );
    world.stopped().await;
}

#[tokio::test]
async fn bytes_and_keys_reach_the_gate_as_they_were_sent() {
    let world = World::start().await;
    let mut client = H1::connect(world.address).await;
    let structured = r#"{"specversion" : "1.0","type":"t","id":"e-1","partitionkey":"c-1","data":{"a": 1.50}}"#;
    post(&mut client, &[("Content-Type", "application/cloudevents+json")], structured).await;
    let batch = r#"[{"specversion":"1.0","type":"t","id":"e-2"}]"#;
    post(&mut client, &[("Content-Type", "application/cloudevents-batch+json"), ("X-Partition-Key", "mine")], batch)
        .await;
    let binary = [
        JSON,
        ("ce-specversion", "1.0"),
        ("ce-id", "e-3"),
        ("ce-type", "t"),
        ("ce-source", "/s"),
        ("ce-subject", "a%20b"),
    ];
    post(&mut client, &binary, "{\"a\": 1}").await;
    post(&mut client, &[JSON], "{\"broken\":").await;
    let calls = world.script.take_calls().join("\n");
    expect![[r#"
        settle orders 01234567-89ab-cdef-0123-456789abcdef/0 key="c-1" hash="none" after="none" data="{\"specversion\" : \"1.0\",\"type\":\"t\",\"id\":\"e-1\",\"partitionkey\":\"c-1\",\"data\":{\"a\": 1.50}}"
        settle orders 01234567-89ab-cdef-0123-456789abcdef/0 key="mine" hash="none" after="none" data="{\"specversion\":\"1.0\",\"type\":\"t\",\"id\":\"e-2\"}"
        settle orders 01234567-89ab-cdef-0123-456789abcdef/0 key="e-3" hash="none" after="none" data="{\"specversion\":\"1.0\",\"id\":\"e-3\",\"source\":\"/s\",\"type\":\"t\",\"subject\":\"a b\",\"datacontenttype\":\"application/json\",\"data\":{\"a\": 1}}"
        settle orders 01234567-89ab-cdef-0123-456789abcdef/0 key="cbdf3b1f91ae32fe1ea292ac6cccf192" hash="none" after="none" data="{\"broken\":""#]]
    .assert_eq(&calls);
    world.stopped().await;
}

#[tokio::test]
async fn many_events_are_settled_in_batches_and_answered_together() {
    let world = World::start().await;
    let mut client = H1::connect(world.address).await;
    let reply = post(&mut client, &[NDJSON], &"{}\n".repeat(1_250)).await;
    let outcomes = reply.json();
    let outcomes = outcomes["outcomes"].as_array().unwrap();
    assert_eq!((reply.status, outcomes.len(), &outcomes[1_249]["index"]), (200, 1_250, &json!(1_249)));
    assert!(world.script.take_calls()[1_249].contains("/1249 "));
    assert_eq!(post(&mut client, &[NDJSON], &"{}\n".repeat(10_001)).await.status, 413);
    assert!(world.script.take_calls().is_empty());
    world.stopped().await;
}

#[tokio::test]
async fn a_contract_judges_and_forwards_nothing() {
    let world = World::start().await;
    let mut client = H1::connect(world.address).await;
    let path = "/v1/contracts/orders/order.placed/judge";
    let reply = client.post(path, &[JSON], br#"["good","quarantine"]"#).await;
    assert_eq!(
        (reply.status, reply.json()["counts"].to_string().as_str()),
        (200, r#"{"forward":1,"quarantine":1,"drop":0}"#)
    );
    assert_eq!(reply.json()["judgements"][1]["violations"][0]["rule"], "qty_positive");
    assert_eq!(world.script.take_calls(), ["judge orders/order.placed events=2"]);
    let reply = client.post("/v1/contracts/orders/nope/judge", &[JSON], b"[]").await;
    assert_eq!((reply.status, &reply.json()["error"]["code"]), (404, &json!("unknown_contract")));
    world.stopped().await;
}

#[tokio::test]
async fn errors_are_json_and_say_what_to_do() {
    let world = World::start().await;
    let mut client = H1::connect(world.address).await;
    for (path, headers, body, status, code) in [
        ("/v1/streams/nope/events", vec![JSON], "{}", 404, "unknown_stream"),
        ("/v1/streams/busy/events", vec![JSON], "{}", 503, "overloaded"),
        ("/v1/streams/orders", vec![JSON], "{}", 404, "unknown_path"),
        ("/", vec![JSON], "{}", 404, "unknown_path"),
        (EVENTS, vec![], "{}", 415, "unsupported_media_type"),
        (EVENTS, vec![("Content-Type", "application/x-www-form-urlencoded")], "{}", 415, "unsupported_media_type"),
        (EVENTS, vec![JSON, ("Content-Encoding", "gzip")], "x", 415, "unsupported_encoding"),
        (EVENTS, vec![JSON], "", 400, "no_event"),
        (EVENTS, vec![JSON, ("ce-id", "1")], "{}", 400, "bad_cloudevent"),
        (EVENTS, vec![JSON, ("X-Partition-Key", "\u{80}")], "{}", 200, ""),
        (EVENTS, vec![JSON, ("x-meshgate-instance", "gate-1")], "{}", 508, "loop"),
    ] {
        let reply = client.post(path, &headers, body.as_bytes()).await;
        let found = reply.json()["error"]["code"].as_str().unwrap_or_default().to_owned();
        assert_eq!((reply.status, &*found), (status, code), "{path}: {}", reply.text());
        assert_eq!(reply.header("content-type"), Some("application/json"));
    }
    world.stopped().await;
}

#[tokio::test]
async fn other_methods_are_told_which_one_is_taken() {
    let world = World::start().await;
    let mut client = H1::connect(world.address).await;
    for (line, status, allow) in [
        ("GET /v1/streams/orders/events", 405, Some("POST")),
        ("DELETE /v1/contracts/a/b/judge", 405, Some("POST")),
        ("GET /", 404, None),
        ("GET /v1/nothing", 404, None),
    ] {
        client.send(format!("{line} HTTP/1.1\r\nHost: gate\r\n\r\n").as_bytes()).await;
        let reply = client.reply().await.unwrap();
        assert_eq!((reply.status, reply.header("allow")), (status, allow), "{line}");
        assert!(matches!(reply.json()["error"]["message"], Value::String(_)));
    }
    world.stopped().await;
}

/// What comes after an event that is not settled must not overtake it, and a far end that is down is waited for once.
#[tokio::test]
async fn nothing_is_sent_after_a_batch_that_is_not_settled() {
    let world = World::start().await;
    let mut client = H1::connect(world.address).await;
    let lines: String =
        (0..1_100).map(|n| if n == 3 { "\"unavailable\"\n".to_owned() } else { format!("{n}\n") }).collect();
    let reply = post(&mut client, &[NDJSON, ("x-partition-key", "one-key")], &lines).await;
    assert_eq!(reply.status, 503);
    assert_eq!(reply.json()["counts"]["unsettled"], 601);
    let told = settlements(&reply);
    assert!(told[..500].iter().enumerate().all(|(n, told)| told == if n == 3 { "unsettled" } else { "forwarded" }));
    assert!(told[500..].iter().all(|told| told == "unsettled"));
    expect!["not taken: an earlier event of this request could not be settled; send both again, in their order"]
        .assert_eq(reply.json()["outcomes"][500]["message"].as_str().unwrap());
    assert_eq!(world.script.take_calls().len(), 500);
}

#[tokio::test]
async fn an_answer_tells_so_many_violations_and_how_many_more_there_are() {
    let world = World::start().await;
    let mut client = H1::connect(world.address).await;
    let lines = "\"quarantine\"\n".repeat(6_000);
    let judge = "/v1/contracts/orders/order.placed/judge";
    for (path, list) in [(EVENTS, "outcomes"), (judge, "judgements")] {
        let reply = client.post(path, &[NDJSON], lines.as_bytes()).await.json();
        let told = |index: usize| {
            let event = &reply[list][index];
            (event["violations"].as_array().unwrap().len(), event["violationsOmitted"].as_u64())
        };
        assert_eq!((told(0), told(4_999)), ((2, None), (2, None)), "{path}");
        assert_eq!((told(5_000), told(5_999)), ((1, Some(1)), (1, Some(1))), "{path}");
    }
}
