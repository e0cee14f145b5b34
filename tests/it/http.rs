//! Plain HTTP on the data port, for who has no AWS SDK.

use serde_json::{Value, json};

use crate::harness::{Gate, GateOptions, Http, bad_parcel, good_parcel};

fn post(gate: &Gate, path: &str, headers: &[(&str, &str)], body: &str) -> (u16, Value) {
    let mut http = Http::connect(gate.listen).expect("a connection");
    let answer = http.send("POST", path, headers, body.as_bytes()).expect("an answer");
    (answer.status, answer.json())
}

/// Of each event, in order; `list` is what the answer calls them.
fn verdicts<'a>(answer: &'a Value, list: &str) -> Vec<&'a str> {
    let outcomes = answer[list].as_array().unwrap_or_else(|| panic!("no {list}: {answer}"));
    outcomes.iter().map(|o| o["verdict"].as_str().unwrap_or_default()).collect()
}

#[test]
fn each_form_of_events_is_forwarded_byte_for_byte_with_an_outcome_per_event() {
    let gate = Gate::start(GateOptions::default());
    let path = "/v1/streams/parcels/events";
    let (one, two, three) = (good_parcel("1"), good_parcel("2"), good_parcel("3"));

    let (status, answer) = post(&gate, path, &[("content-type", "application/json")], &one);
    assert_eq!((status, verdicts(&answer, "outcomes")), (200, vec!["forward"]), "{answer}");
    let array = format!("[ {two} ,{}]", bad_parcel("b"));
    let (_, answer) = post(&gate, path, &[("content-type", "application/json")], &array);
    assert_eq!(verdicts(&answer, "outcomes"), ["forward", "quarantine"], "{answer}");
    assert!(answer.to_string().contains("weight_is_positive"), "{answer}");
    let lines = format!("{three}\n{}\n", bad_parcel("b"));
    let (_, answer) = post(&gate, path, &[("content-type", "application/x-ndjson")], &lines);
    assert_eq!(verdicts(&answer, "outcomes"), ["forward", "quarantine"], "{answer}");

    let data = json!({"recipient": "Ada", "weight": 2});
    let cloud = [("ce-specversion", "1.0"), ("ce-id", "c1"), ("ce-source", "/it"), ("ce-type", "parcel.sent")];
    let binary = [&cloud[..], &[("content-type", "application/json")]].concat();
    let (_, answer) = post(&gate, path, &binary, &data.to_string());
    assert_eq!(verdicts(&answer, "outcomes"), ["forward"], "{answer}");
    let structured =
        json!({"specversion": "1.0", "id": "c2", "source": "/it", "type": "parcel.sent", "data": data}).to_string();
    let (_, answer) = post(&gate, path, &[("content-type", "application/cloudevents+json")], &structured);
    assert_eq!(verdicts(&answer, "outcomes"), ["forward"], "{answer}");
    let batch = format!("[{structured}]");
    let (_, answer) = post(&gate, path, &[("content-type", "application/cloudevents-batch+json")], &batch);
    assert_eq!(verdicts(&answer, "outcomes"), ["forward"], "{answer}");

    let read: Vec<_> = gate.kinesis().read_all("parcels").into_iter().map(|r| r.data).collect();
    assert_eq!(read.len(), 6);
    for event in [one, two, three, structured] {
        assert!(read.contains(&event.clone().into_bytes()), "not there byte for byte: {event}");
    }
}

#[test]
fn judging_forwards_nothing() {
    let gate = Gate::start(GateOptions::default());
    let headers = [("content-type", "application/x-ndjson")];
    let body = format!("{}\n{}\n", good_parcel("1"), bad_parcel("2"));
    let (status, answer) = post(&gate, "/v1/contracts/parcels/parcel.sent/judge", &headers, &body);
    assert_eq!((status, verdicts(&answer, "judgements")), (200, vec!["forward", "quarantine"]), "{answer}");
    assert_eq!(gate.metric("meshgate_records_total", &[]), 0.0, "nothing was settled");
    let (status, answer) = post(&gate, "/v1/contracts/parcels/no.such/judge", &headers, &body);
    assert_eq!(status, 404, "{answer}");
}
