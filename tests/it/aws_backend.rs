//! The gate in front of Kinesis and SQS, as emulators give them.

use std::collections::BTreeSet;
use std::io;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::{AwsError, Emulator, Gate, GateOptions, Put, bad_parcel, free_port, get, good_parcel, wait_until};

const QUEUE: &str = "meshgate-dlq";

/// A gate whose mesh and DLQ are the given endpoints; stream `parcels-in` goes to `parcels-mesh`.
fn gate(kinesis: &str, sqs: &str, route: &str, environment: &[(&str, &str)]) -> Gate {
    let config = format!(
        "backend: aws\n\
         aws: {{region: us-east-1, kinesis_endpoint: \"{kinesis}\", sqs_endpoint: \"{sqs}\"}}\n\
         dlq: {QUEUE}\n\
         retry: {{attempts: 3, deadline_seconds: 3}}\n\
         routes:\n  - {{source: parcels-in, mesh: parcels-mesh{route}}}\n"
    );
    Gate::start(GateOptions { config: Some(config), environment: credentials(environment), ..GateOptions::default() })
}

fn credentials(more: &[(&str, &str)]) -> Vec<(String, String)> {
    [("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test"), ("AWS_EC2_METADATA_DISABLED", "true")]
        .iter()
        .chain(more)
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

fn ministack() -> Option<Emulator> {
    let aws = Emulator::ministack()?;
    aws.create_stream("parcels-mesh", 2);
    aws.create_queue(QUEUE);
    Some(aws)
}

/// `count` events, every fourth of them bad, with keys that spread over shards.
fn parcels(count: usize) -> Vec<Put> {
    let parcel = |i: usize| if i % 4 == 3 { bad_parcel(&i.to_string()) } else { good_parcel(&i.to_string()) };
    (0..count).map(|i| Put::new(parcel(i), &format!("key-{i}"))).collect()
}

fn good_of(puts: &[Put]) -> BTreeSet<Vec<u8>> {
    puts.iter().enumerate().filter(|(i, _)| i % 4 != 3).map(|(_, p)| p.data.clone()).collect()
}

#[test]
fn a_queue_that_is_not_there_is_told_at_the_start() {
    let Some(aws) = Emulator::ministack() else { return };
    aws.create_stream("parcels-mesh", 1);
    let gate = gate(&aws.endpoint(), &aws.endpoint(), "", &[]);
    wait_until("the queue is told", Duration::from_secs(20), || {
        let is_it = |line: &String| line.contains("a dead-letter queue cannot be asked") && line.contains(QUEUE);
        gate.log().iter().any(is_it).then_some(())
    });
}

#[test]
fn good_events_reach_kinesis_byte_for_byte_and_bad_ones_sqs_with_their_reasons() {
    let Some(aws) = ministack() else { return };
    let gate = gate(&aws.endpoint(), &aws.endpoint(), "", &[]);
    // More than one call to either service takes: 500 records, 10 messages.
    let puts = parcels(500);
    let results = gate.kinesis().put_records("parcels-in", &puts).expect("PutRecords answers");
    assert!(results.iter().all(|r| r["ErrorCode"].is_null()), "{results:?}");

    let mesh = aws.kinesis().read_all("parcels-mesh");
    assert_eq!(mesh.len(), 375);
    assert_eq!(mesh.iter().map(|r| r.data.clone()).collect::<BTreeSet<_>>(), good_of(&puts));
    let placed: BTreeSet<_> = mesh.iter().map(|r| (r.shard.as_str(), r.sequence_number.as_str())).collect();
    for (index, result) in results.iter().enumerate().filter(|(i, _)| i % 4 != 3) {
        let answered = (result["ShardId"].as_str().unwrap(), result["SequenceNumber"].as_str().unwrap());
        assert!(placed.contains(&answered), "record {index} is not where its producer was told: {answered:?}");
    }

    let letters = aws.messages(QUEUE);
    assert_eq!(letters.len(), 125);
    for letter in &letters {
        assert_eq!(letter.attribute("domain"), Some("parcels"), "{letter:?}");
        assert_eq!(letter.attribute("contract"), Some("parcel.sent"), "{letter:?}");
        assert_eq!(letter.attribute("rule"), Some("weight_is_positive"), "{letter:?}");
        assert_eq!(letter.attribute("kind"), Some("rule"), "{letter:?}");
        assert!(letter.body.to_string().contains("weight_is_positive"), "{letter:?}");
    }
    // Each quarantined event is in the queue, as it was written.
    let kept: Vec<String> = letters.iter().map(|l| l.body.to_string()).collect();
    for put in puts.iter().enumerate().filter(|(i, _)| i % 4 == 3).map(|(_, p)| p) {
        assert_eq!(kept.iter().filter(|k| k.contains(&format!("\"{}\"", put.key))).count(), 1, "{}", put.key);
    }
}

#[test]
fn shards_and_sequence_numbers_are_those_of_the_mesh_stream() {
    let Some(mesh) = Emulator::kinesis_local("parcels-mesh:4") else { return };
    let Some(queue) = Emulator::ministack() else { return };
    queue.create_queue(QUEUE);
    let gate = gate(&mesh.endpoint(), &queue.endpoint(), "", &[]);
    let puts = parcels(40);
    let results = gate.kinesis().put_records("parcels-in", &puts).expect("PutRecords answers");
    let records = mesh.kinesis().read_all("parcels-mesh");
    assert_eq!(records.iter().map(|r| r.data.clone()).collect::<BTreeSet<_>>(), good_of(&puts));

    // What kinesis-local itself says of the same keys.
    let direct = mesh.kinesis().put_records("parcels-mesh", &puts).expect("PutRecords answers");
    for (index, (through, direct)) in results.iter().zip(&direct).enumerate() {
        assert_eq!(through["ShardId"], direct["ShardId"], "record {index}, synthetic or not");
    }
    let shards: BTreeSet<_> = results.iter().map(|r| r["ShardId"].to_string()).collect();
    assert_eq!(shards.len(), 4, "40 keys spread over all shards");
    let shards = gate.kinesis().shards("parcels-in");
    assert_eq!(shards, mesh.kinesis().shards("parcels-mesh"), "a producer sees the shards of the mesh stream");
}

#[test]
fn with_order_by_key_records_of_one_key_stay_in_order() {
    let Some(aws) = ministack() else { return };
    let gate = gate(&aws.endpoint(), &aws.endpoint(), ", ordering: key", &[]);
    let mut kinesis = gate.kinesis();
    for batch in 0..5 {
        let parcel = |i: usize| Put::new(good_parcel(&format!("{batch:02}-{i:03}")), &format!("key-{}", i % 3));
        let results = kinesis.put_records("parcels-in", &(0..60).map(parcel).collect::<Vec<_>>()).unwrap();
        assert!(results.iter().all(|r| r["ErrorCode"].is_null()), "{results:?}");
    }
    let records = aws.kinesis().read_all("parcels-mesh");
    assert_eq!(records.len(), 300);
    for key in ["key-0", "key-1", "key-2"] {
        let here: Vec<_> = records.iter().filter(|r| r.key == key).map(|r| r.data.clone()).collect();
        assert!(here.is_sorted(), "{key} is out of order");
    }
}

#[test]
fn with_sqs_down_bad_records_fail_good_ones_pass_and_nothing_is_lost() {
    let Some(mesh) = Emulator::ministack() else { return };
    mesh.create_stream("parcels-mesh", 1);
    let Some(mut queue) = Emulator::ministack() else { return };
    queue.create_queue(QUEUE);
    let gate = gate(&mesh.endpoint(), &queue.endpoint(), "", &[]);
    let mut kinesis = gate.kinesis();
    let puts = parcels(8);
    kinesis.put_records("parcels-in", &puts).expect("PutRecords answers");
    assert_eq!(queue.messages(QUEUE).len(), 2, "while the queue is there, it takes the bad ones");

    queue.kill();
    let results = kinesis.put_records("parcels-in", &puts).expect("a request is answered all the same");
    for (index, result) in results.iter().enumerate() {
        let failed = !result["ErrorCode"].is_null();
        assert_eq!(failed, index % 4 == 3, "record {index}: {result}");
        if failed {
            // The words of Kinesis, so that every producer's own retry takes over.
            let code = result["ErrorCode"].as_str();
            assert!(matches!(code, Some("InternalFailure" | "ProvisionedThroughputExceededException")), "{result}");
        }
    }
    assert_eq!(mesh.kinesis().read_all("parcels-mesh").len(), 12, "the good ones of both requests");
    assert!(gate.metric("meshgate_sink_failures_total", &[r#"sink="dlq""#]) > 0.0);
    assert_eq!(gate.metric("meshgate_records_total", &[r#"settlement="unsettled""#]), 2.0);
}

#[test]
fn while_sqs_hangs_producers_are_answered_within_the_deadline_and_nothing_is_lost() {
    let Some(mesh) = Emulator::ministack() else { return };
    mesh.create_stream("parcels-mesh", 1);
    let Some(queue) = Emulator::ministack() else { return };
    queue.create_queue(QUEUE);
    let gate = gate(&mesh.endpoint(), &queue.endpoint(), "", &[]);
    let mut kinesis = gate.kinesis();
    let bad = [Put::new(bad_parcel("1"), "k")];
    kinesis.put_records("parcels-in", &bad).expect("an answer");

    queue.pause();
    let started = Instant::now();
    let results = kinesis.put_records("parcels-in", &bad).expect("an answer");
    assert!(!results[0]["ErrorCode"].is_null(), "nothing is durable: {results:?}");
    // The deadline is 3 s; an attempt that began before it may run to its own time-out.
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());

    queue.resume();
    let results = kinesis.put_records("parcels-in", &bad).expect("an answer");
    assert!(results[0]["ErrorCode"].is_null(), "the producer's own retry succeeds: {results:?}");
    assert!(queue.messages(QUEUE).len() >= 2, "at least one letter of each acknowledged request");
}

#[test]
fn with_kinesis_down_good_records_fail_as_kinesis_would_fail_them() {
    let Some(mut mesh) = Emulator::ministack() else { return };
    mesh.create_stream("parcels-mesh", 1);
    let Some(queue) = Emulator::ministack() else { return };
    queue.create_queue(QUEUE);
    let gate = gate(&mesh.endpoint(), &queue.endpoint(), "", &[]);
    let mut kinesis = gate.kinesis();
    let puts = parcels(4);
    kinesis.put_records("parcels-in", &puts).expect("PutRecords answers");
    mesh.kill();
    match kinesis.put_records("parcels-in", &puts) {
        Ok(results) => {
            let acknowledged: Vec<_> = (0..4).filter(|i| results[*i]["ErrorCode"].is_null()).collect();
            assert!(acknowledged.iter().all(|i| *i == 3), "only the quarantined one is durable: {results:?}");
        }
        // The whole request may fail too: nothing of it was acknowledged then.
        Err(AwsError::Answered { status, .. }) => assert_eq!(status, 500),
        Err(AwsError::Unanswered(e)) => panic!("no answer: {e}"),
    }
    assert_eq!(queue.messages(QUEUE).len(), 2, "one dead letter of each request");
}

/// A gate in an environment that points producers, and so the gate too, at the gate: `aws` is what its settings say.
fn gate_in_its_producers_environment(aws: &str) -> Gate {
    let port = free_port();
    let own = format!("http://127.0.0.1:{port}");
    let config = format!(
        "backend: aws\naws: {{{aws}}}\nretry: {{attempts: 2, deadline_seconds: 2}}\n\
         routes: [{{source: parcels-in, mesh: parcels-mesh}}]\n"
    );
    let environment = credentials(&[("AWS_ENDPOINT_URL_KINESIS", &own)]);
    Gate::start(GateOptions { config: Some(config), environment, port, ..GateOptions::default() })
}

#[test]
fn the_producers_endpoint_variable_does_not_make_the_gate_its_own_upstream() {
    let Some(aws) = ministack() else { return };
    let endpoint = aws.endpoint();
    let gate = gate_in_its_producers_environment(&format!(
        "region: us-east-1, kinesis_endpoint: \"{endpoint}\", sqs_endpoint: \"{endpoint}\""
    ));
    let results = gate.kinesis().put_records("parcels-in", &[Put::new(good_parcel("1"), "k")]).expect("an answer");
    assert!(results[0]["ErrorCode"].is_null(), "{results:?}");
    assert_eq!(aws.kinesis().read_all("parcels-mesh").len(), 1);

    // Without a setting, the gate takes the region's endpoint rather than its own. This region has none.
    let gate = gate_in_its_producers_environment("region: nowhere-test-1");
    assert_the_loop_ends(&gate, 1);
}

#[test]
fn a_request_that_comes_back_to_the_gate_by_a_detour_ends_there() {
    // The upstream is a port that leads to the gate: no address tells.
    let (detour, port) = (TcpListener::bind("127.0.0.1:0").expect("a port"), free_port());
    let upstream = detour.local_addr().expect("an address");
    thread::spawn(move || {
        for client in detour.incoming().map_while(Result::ok) {
            let Ok(gate) = TcpStream::connect(("127.0.0.1", port)) else { return };
            relay(client.try_clone(), gate.try_clone());
            relay(Ok(gate), Ok(client));
        }
    });
    let config = format!(
        "backend: aws\naws: {{region: us-east-1, kinesis_endpoint: \"http://{upstream}\"}}\n\
         retry: {{attempts: 2, deadline_seconds: 2}}\nroutes: [{{source: parcels-in, mesh: parcels-in}}]\n"
    );
    let options = GateOptions { config: Some(config), environment: credentials(&[]), port, ..GateOptions::default() };
    assert_the_loop_ends(&Gate::start(options), 8);
}

/// Copies one direction of a connection until it ends.
fn relay(from: io::Result<TcpStream>, to: io::Result<TcpStream>) {
    let (mut from, mut to) = (from.expect("a connection"), to.expect("a connection"));
    thread::spawn(move || {
        let _ = io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Write);
    });
}

/// One record, which nothing can take, and the number of requests that it may cost.
fn assert_the_loop_ends(gate: &Gate, requests_max: usize) {
    let started = Instant::now();
    let answer = gate.kinesis().put_records("parcels-in", &[Put::new(good_parcel("1"), "k")]);
    let acknowledged = matches!(&answer, Ok(results) if results[0]["ErrorCode"].is_null());
    assert!(!acknowledged, "nothing took this record: {answer:?}");
    assert!(started.elapsed() < Duration::from_secs(20), "it went round in circles: {answer:?}");
    let requests = gate.metric("meshgate_requests_total", &[]);
    assert!(requests <= requests_max as f64, "{requests} requests for one record: it went round in circles");
}

#[test]
fn readiness_says_whether_the_gate_can_be_used() {
    let gate = Gate::start(GateOptions::default());
    wait_until("ready", Duration::from_secs(5), || get(gate.admin, "/ready").filter(|r| r.status == 200));
    assert_eq!(gate.admin("/live").status, 200);
    let contracts = gate.admin("/contracts").text();
    assert!(contracts.contains("parcel.sent"), "{contracts}");
    let metrics = gate.admin("/metrics");
    assert!(metrics.text().contains("meshgate_build_info{version="), "{}", metrics.text());
}
