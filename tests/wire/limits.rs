//! The bounds of the data port, each reached and survived.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use meshgate::source::Limits;
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::client::{H1, H2, PATIENCE, Reply};
use crate::world::World;

const JSON: &str = "application/x-amz-json-1.1";
const MIB: usize = 1024 * 1024;
/// Far beyond any limit set here, and still short for a test.
const LONG: Duration = Duration::from_secs(5);

fn put_to(stream: &str) -> String {
    json!({"StreamName": stream, "Data": "eA==", "PartitionKey": "k"}).to_string()
}

fn head(length: &str) -> String {
    format!(
        "POST / HTTP/1.1\r\nHost: gate\r\nX-Amz-Target: Kinesis_20131202.PutRecord\r\nContent-Type: {JSON}\r\n{length}\r\n\r\n"
    )
}

/// Waits until `condition` holds.
async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < PATIENCE, "{what} never came true");
        sleep(Duration::from_millis(2)).await;
    }
}

async fn assert_serves(world: &World) {
    let reply = H1::connect(world.address).await.kinesis("PutRecord", &put_to("orders")).await;
    assert_eq!(reply.status, 200);
}

/// Waits until the connection is closed without an answer, between `least` and [`LONG`] after `started`.
async fn closed(client: &mut H1, started: Instant, least: Duration) {
    assert!(client.reply().await.is_none(), "an answer came");
    let took = started.elapsed();
    assert!(took >= least && took < LONG, "closed after {took:?}");
}

async fn under_way(world: &World, requests: usize) {
    until("the requests are under way", || world.script.waiting.load(Ordering::SeqCst) == requests).await;
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_whether_announced_or_not() {
    let world = World::start().await;
    let refused = |reply: &Reply| {
        assert_eq!((reply.status, reply.header("x-amzn-errortype")), (413, Some("RequestEntityTooLargeException")));
        assert!(reply.text().contains("16777216 bytes"), "{}", reply.text());
    };
    let body = vec![b' '; 16 * MIB + 1];
    let mut client = H1::connect(world.address).await;
    refused(&client.kinesis("PutRecord", std::str::from_utf8(&body).unwrap()).await);

    let mut client = H1::connect(world.address).await;
    client.send(head("Transfer-Encoding: chunked").as_bytes()).await;
    for chunk in body.chunks(MIB) {
        client.send(format!("{:x}\r\n", chunk.len()).as_bytes()).await;
        client.send(chunk).await;
        client.send(b"\r\n").await;
    }
    client.send(b"0\r\n\r\n").await;
    refused(&client.reply().await.unwrap());

    // Who asks first is told before sending anything.
    let mut client = H1::connect(world.address).await;
    client.send(head("Content-Length: 99999999\r\nExpect: 100-continue").as_bytes()).await;
    refused(&client.reply().await.unwrap());

    let headers = [("x-amz-target", "Kinesis_20131202.PutRecord"), ("content-type", "application/x-amz-cbor-1.1")];
    let reply = H2::connect(world.address).await.post("/", &headers, &body).await;
    assert_eq!((reply.status, reply.header("content-type")), (413, Some("application/x-amz-cbor-1.1")));

    let reply = H1::connect(world.address).await.post("/v1/streams/orders/events", &[], &body).await;
    assert_eq!((reply.status, &reply.json()["error"]["code"]), (413, &json!("too_large")));
    assert_serves(&world).await;
    world.stopped().await;
}

#[tokio::test]
async fn a_body_full_of_empty_records_is_only_counted() {
    let world = World::start().await;
    let body = format!("{{\"StreamName\":\"orders\",\"Records\":[{}{{}}]}}", "{},".repeat(5 * MIB));
    let reply = H1::connect(world.address).await.kinesis("PutRecords", &body).await;
    assert_eq!((reply.status, reply.header("x-amzn-errortype")), (400, Some("ValidationException")));
    assert!(reply.text().contains("less than or equal to 500"), "{}", reply.text());
    world.stopped().await;
}

#[tokio::test]
async fn a_head_must_come_in_time() {
    let header_time = Duration::from_millis(400);
    let world = World::with(Limits { header_time, idle_time: LONG, ..Limits::default() }).await;
    for start in ["", "P", "POST / HTTP/1.1\r\nHost: ga"] {
        let started = Instant::now();
        let mut client = H1::connect(world.address).await;
        client.send(start.as_bytes()).await;
        closed(&mut client, started, header_time).await;
    }
    // Between requests there is more time than for a head.
    let mut client = H1::connect(world.address).await;
    assert_eq!(client.kinesis("PutRecord", &put_to("orders")).await.status, 200);
    sleep(2 * header_time).await;
    assert_eq!(client.kinesis("PutRecord", &put_to("orders")).await.status, 200);
    let started = Instant::now();
    client.send(b"POST / HT").await;
    closed(&mut client, started, header_time).await;
    world.stopped().await;
}

#[tokio::test]
async fn silent_connections_are_closed_on_both_protocols() {
    let idle_time = Duration::from_millis(300);
    let limits = Limits {
        header_time: LONG,
        idle_time,
        // Pings and their answers must not count as activity.
        h2_ping: Duration::from_millis(50),
        ..Limits::default()
    };
    let world = World::with(limits).await;
    let started = Instant::now();
    let mut h1 = H1::connect(world.address).await;
    assert_eq!(h1.kinesis("PutRecord", &put_to("orders")).await.status, 200);
    closed(&mut h1, started, idle_time).await;

    let headers = [("x-amz-target", "Kinesis_20131202.PutRecord"), ("content-type", JSON)];
    let started = Instant::now();
    let mut used = H2::connect(world.address).await;
    assert_eq!(used.post("/", &headers, put_to("orders").as_bytes()).await.status, 200);
    let unused = H2::connect(world.address).await;
    for connection in [&mut { used.connection }, &mut { unused.connection }] {
        timeout(LONG, connection).await.expect("an idle HTTP/2 connection stayed open").unwrap();
    }
    assert!(started.elapsed() >= idle_time);
    until("all connections are gone", || world.metric("meshgate_connections ") == Some("0".into())).await;
    world.stopped().await;
}

#[tokio::test]
async fn a_request_under_way_is_not_idle() {
    let limits =
        Limits { idle_time: Duration::from_millis(100), header_time: Duration::from_millis(100), ..Limits::default() };
    let world = World::with(limits).await;
    let mut client = H1::connect(world.address).await;
    let script = std::sync::Arc::clone(&world.script);
    let release = tokio::spawn(async move {
        sleep(Duration::from_millis(500)).await;
        script.gate.add_permits(1);
    });
    assert_eq!(client.kinesis("PutRecord", &put_to("slow")).await.status, 200);
    release.await.unwrap();
    world.stopped().await;
}

#[tokio::test]
async fn a_body_must_come_in_time() {
    let world = World::with(Limits { body_time: Duration::from_millis(200), ..Limits::default() }).await;
    let mut client = H1::connect(world.address).await;
    client.send(head("Content-Length: 100").as_bytes()).await;
    client.send(b"{\"Stream").await;
    let reply = client.reply().await.unwrap();
    assert_eq!((reply.status, reply.header("x-amzn-errortype")), (408, Some("RequestTimeoutException")));
    assert_serves(&world).await;
    world.stopped().await;
}

#[tokio::test]
async fn one_connection_too_many_is_closed_and_counted() {
    let world = World::with(Limits { connections: 2, ..Limits::default() }).await;
    let mut first = H1::connect(world.address).await;
    let mut second = H1::connect(world.address).await;
    assert_eq!(first.kinesis("PutRecord", &put_to("orders")).await.status, 200);
    assert_eq!(second.kinesis("PutRecord", &put_to("orders")).await.status, 200);
    let mut third = H1::connect(world.address).await;
    closed(&mut third, Instant::now(), Duration::ZERO).await;
    assert_eq!(world.metric("meshgate_connections_refused_total "), Some("1".into()));
    drop(second);
    until("the second connection is gone", || world.metric("meshgate_connections ") == Some("1".into())).await;
    assert_serves(&world).await;
    world.stopped().await;
}

#[tokio::test]
async fn bodies_share_a_bounded_memory() {
    let limits = Limits { bodies_bytes: 64 * 1024, memory_wait: Duration::from_millis(100), ..Limits::default() };
    let world = World::with(limits).await;
    let big = |stream: &str| {
        use base64::Engine as _;
        let data = base64::engine::general_purpose::STANDARD.encode(vec![b'x'; 30_000]);
        json!({"StreamName": stream, "Data": data, "PartitionKey": "k"}).to_string()
    };
    let address = world.address;
    let slow = big("slow");
    let holding = tokio::spawn(async move { H1::connect(address).await.kinesis("PutRecord", &slow).await });
    under_way(&world, 1).await;
    let reply = H1::connect(address).await.kinesis("PutRecord", &big("orders")).await;
    assert_eq!((reply.status, reply.header("x-amzn-errortype")), (503, Some("ProvisionedThroughputExceededException")));
    assert!(reply.header("x-amz-retry-after").is_some());
    world.script.gate.add_permits(1);
    assert_eq!(holding.await.unwrap().status, 200);
    assert_eq!(H1::connect(address).await.kinesis("PutRecord", &big("orders")).await.status, 200);
    world.stopped().await;
}

#[tokio::test]
async fn a_drain_finishes_what_is_under_way_and_takes_nothing_new() {
    let mut world = World::start().await;
    let address = world.address;
    let mut idle_h1 = H1::connect(address).await;
    assert_eq!(idle_h1.kinesis("PutRecord", &put_to("orders")).await.status, 200);
    let mut h1 = H1::connect(address).await;
    let mut h2 = H2::connect(address).await;
    let under_way_h1 = tokio::spawn(async move { h1.kinesis("PutRecord", &put_to("slow")).await });
    let under_way_h2 = tokio::spawn(async move {
        let headers = [("x-amz-target", "Kinesis_20131202.PutRecord"), ("content-type", JSON)];
        h2.post("/", &headers, put_to("slow").as_bytes()).await
    });
    under_way(&world, 2).await;
    let started = Instant::now();
    world.order_stop();
    closed(&mut idle_h1, started, Duration::ZERO).await;
    assert!(TcpStream::connect(address).await.is_err(), "a draining listener still accepts");
    world.script.gate.add_permits(2);
    assert_eq!(under_way_h1.await.unwrap().status, 200);
    assert_eq!(under_way_h2.await.unwrap().status, 200);
    assert_eq!(world.stopped().await.cut, 0);
}

#[tokio::test]
async fn a_drain_ends_at_its_deadline() {
    let world = World::with(Limits { drain_time: Duration::from_millis(200), ..Limits::default() }).await;
    let mut client = H1::connect(world.address).await;
    client.send(head(&format!("Content-Length: {}", put_to("slow").len())).as_bytes()).await;
    client.send(put_to("slow").as_bytes()).await;
    under_way(&world, 1).await;
    let started = Instant::now();
    assert_eq!(world.stopped().await.cut, 1);
    assert!(started.elapsed() < LONG);
    assert!(client.reply().await.is_none(), "a request that was cut must not be acknowledged");
}

#[tokio::test]
async fn garbage_ends_its_connection_and_nothing_else() {
    let world = World::with(Limits { header_time: Duration::from_secs(1), idle_time: LONG, ..Limits::default() }).await;
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    let starts: [&[u8]; 5] =
        [b"", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"PRI * HTT", b"POST / HTTP/1.1\r\n", b"\x16\x03\x01\x02\x00"];
    for round in 0..40 {
        let noise: Vec<u8> = (0..random() % 400).map(|_| random().to_le_bytes()[0]).collect();
        let mut stream = TcpStream::connect(world.address).await.unwrap();
        let _ = stream.write_all(&[starts[round % starts.len()], &noise].concat()).await;
    }
    let mut client = H1::connect(world.address).await;
    client.send(format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(100_000)).as_bytes()).await;
    assert!(client.reply().await.is_none_or(|reply| reply.status == 431));
    assert_serves(&world).await;
    until("all connections are gone", || world.metric("meshgate_connections ") == Some("0".into())).await;
    world.stopped().await;
}

/// Answers that nobody takes are memory, too.
#[tokio::test]
async fn large_answers_that_nobody_takes_have_a_bound() {
    let limits = Limits { answers_bytes: 30 * MIB, memory_wait: Duration::from_millis(100), ..Limits::default() };
    let world = World::with(limits).await;
    let mut client = H1::connect(world.address).await;
    let asked = json!({"StreamName": "wide", "ShardId": "shardId-000000000000", "ShardIteratorType": "TRIM_HORIZON"});
    let iterator = client.kinesis("GetShardIterator", &asked.to_string()).await.json()["ShardIterator"].clone();
    let read = json!({"ShardIterator": iterator}).to_string();
    world.script.take_calls();

    let mut slow = Vec::new();
    for _ in 0..2 {
        let mut client = H1::connect(world.address).await;
        let head = head(&format!("Content-Length: {}", read.len())).replace("PutRecord", "GetRecords");
        client.send(format!("{head}{read}").as_bytes()).await;
        sleep(Duration::from_millis(400)).await;
        slow.push(client);
    }
    assert_eq!(world.script.take_calls().len(), 1, "the second found no room for its answer");
    let refused = slow.pop().unwrap().reply().await.unwrap();
    assert_eq!(
        (refused.status, refused.header("x-amzn-errortype")),
        (503, Some("ProvisionedThroughputExceededException"))
    );
    let taken = slow.pop().unwrap().reply().await.unwrap();
    assert_eq!(taken.status, 200);
    assert_eq!(client.kinesis("GetRecords", &read).await.status, 200, "room again once it was taken");
    world.stopped().await;
}
