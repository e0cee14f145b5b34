//! Ordinary AWS clients against the local backend: no code of theirs knows that the gate is there.

use std::process::Command;

use serde_json::Value;

use crate::harness::{Gate, GateOptions, Put, Tool, bad_parcel, good_parcel, repository, run, tool};

/// Runs a client to its end; what it printed on stdout. Panics with everything it said when it fails.
fn client(command: &mut Command) -> String {
    let output = run(command);
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}\n{out}\n{err}", output.status);
    out.into_owned()
}

#[test]
fn boto3_writes_asks_reads_back_and_sees_the_right_exceptions() {
    let Some(mut python) = tool(Tool::Python) else { return };
    let gate = Gate::start(GateOptions::default());
    python.env("AWS_ENDPOINT_URL_KINESIS", gate.endpoint());
    python.arg(repository().join("tests/clients/kinesis_boto3.py")).arg("parcels");
    let said: Value = serde_json::from_str(&client(&mut python)).expect("one JSON line");
    assert_eq!(said["read"], 8, "{said}");
    assert_eq!(gate.metric("meshgate_events_total", &[r#"verdict="forward""#]), 8.0);
    // Three that break a rule, one that is cut off.
    assert_eq!(gate.metric("meshgate_events_total", &[r#"verdict="quarantine""#]), 4.0);
}

#[test]
fn a_producer_that_aggregates_has_each_event_judged_and_its_consumer_reads_the_good_ones() {
    let Some(mut python) = tool(Tool::KinesisAgg) else { return };
    let gate = Gate::start(GateOptions::default());
    python.env("AWS_ENDPOINT_URL_KINESIS", gate.endpoint());
    python.arg(repository().join("tests/clients/kinesis_kpl.py")).arg("parcels");
    let said: Value = serde_json::from_str(&client(&mut python)).expect("one JSON line");
    let count = |key: &str| said[key].as_u64().expect("a number");
    assert_eq!(count("read"), 283, "{said}");
    assert!(count("carried") < count("read") / 2, "the good ones go together: {said}");
    assert_eq!(gate.metric("meshgate_events_total", &[r#"verdict="forward""#]), count("read") as f64);
    assert_eq!(gate.metric("meshgate_events_total", &[r#"verdict="quarantine""#]), 43.0);
}

#[test]
fn the_javascript_sdk_works_with_its_defaults_over_http2() {
    let Some(mut node) = tool(Tool::Node) else { return };
    let gate = Gate::start(GateOptions::default());
    node.env("AWS_ENDPOINT_URL_KINESIS", gate.endpoint());
    node.arg(repository().join("tests/clients/kinesis_sdk3.cjs")).arg("parcels");
    let said: Value = serde_json::from_str(&client(&mut node)).expect("one JSON line");
    assert_eq!(said["read"], 23, "{said}");
    assert_eq!(gate.metric("meshgate_events_total", &[r#"verdict="quarantine""#]), 1.0);
}

#[test]
fn the_aws_cli_writes_and_reads() {
    if tool(Tool::AwsCli).is_none() {
        return;
    }
    let gate = Gate::start(GateOptions::default());
    let aws = |arguments: &[&str]| {
        let mut command = tool(Tool::AwsCli).expect("found a moment ago");
        command.env("AWS_ENDPOINT_URL_KINESIS", gate.endpoint()).args(["kinesis", "--output", "json"]).args(arguments);
        let printed = client(&mut command);
        serde_json::from_str::<Value>(&printed).unwrap_or_else(|e| panic!("{arguments:?}: {e}: {printed}"))
    };
    let good = good_parcel("cli");
    let base64 = |text: &str| {
        use base64::Engine as _;
        base64::engine::general_purpose::STANDARD.encode(text)
    };
    // Version 1 takes the text itself, and shows the data of a record as base64.
    let put = ["put-record", "--stream-name", "parcels", "--partition-key", "cli", "--data"];
    let placed = aws(&[&put[..], &[&good]].concat());
    let quarantined = aws(&[&put[..], &[&bad_parcel("cli")]].concat());
    assert_eq!(quarantined["ShardId"], placed["ShardId"], "the shard that the key hashes to, quarantined or not");

    let shard = placed["ShardId"].as_str().expect("a shard");
    let start =
        ["get-shard-iterator", "--stream-name", "parcels", "--shard-iterator-type", "TRIM_HORIZON", "--shard-id"];
    let iterator = aws(&[&start[..], &[shard]].concat());
    let read = aws(&["get-records", "--shard-iterator", iterator["ShardIterator"].as_str().expect("an iterator")]);
    let records = read["Records"].as_array().expect("records");
    assert_eq!(records.len(), 1, "{read}");
    assert_eq!(records[0]["Data"], base64(&good));
    assert_eq!(records[0]["SequenceNumber"], placed["SequenceNumber"]);

    let mut missing = tool(Tool::AwsCli).expect("found a moment ago");
    missing.env("AWS_ENDPOINT_URL_KINESIS", gate.endpoint());
    missing.args(["kinesis", "describe-stream-summary", "--stream-name", "no-such-stream"]);
    let output = run(&mut missing);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("(ResourceNotFoundException)"), "{said}");
}

#[test]
fn a_quarantined_event_is_in_the_dead_letter_queue_with_its_reason() {
    let gate = Gate::start(GateOptions::default());
    let mut kinesis = gate.kinesis();
    let puts = [Put::new(good_parcel("g"), "k1"), Put::new(bad_parcel("b"), "k2"), Put::new("{\"type\":", "k3")];
    let results = kinesis.put_records("parcels", &puts).expect("PutRecords answers");
    assert!(results.iter().all(|r| r["ErrorCode"].is_null()), "a quarantined record is a success: {results:?}");

    let listed = client(&mut gate.command(&["dlq", "ls", "--format", "json"]));
    let letters: Vec<Value> = listed.lines().map(|l| serde_json::from_str(l).expect("JSON lines")).collect();
    assert_eq!(letters.len(), 2, "{listed}");
    assert!(listed.contains("weight_is_positive") && listed.contains("malformed"), "{listed}");
    let read: Vec<_> = kinesis.read_all("parcels").into_iter().map(|r| r.data).collect();
    assert_eq!(read, [good_parcel("g").into_bytes()], "byte for byte");
}

#[test]
fn a_route_that_refuses_gives_the_producer_the_reason_and_keeps_the_dead_letter() {
    let config = "routes: [{source: parcels-in, mesh: parcels-mesh, on_quarantine: refuse}]\n";
    let gate = Gate::start(GateOptions { config: Some(config.into()), ..GateOptions::default() });
    let mut kinesis = gate.kinesis();
    let puts = [Put::new(good_parcel("g"), "k"), Put::new(bad_parcel("b"), "k")];
    let results = kinesis.put_records("parcels-in", &puts).expect("PutRecords answers");
    assert!(results[0]["ErrorCode"].is_null(), "{results:?}");
    assert!(!results[1]["ErrorCode"].is_null(), "{results:?}");
    assert!(results[1]["ErrorMessage"].as_str().is_some_and(|m| m.contains("weight_is_positive")), "{results:?}");
    let listed = client(&mut gate.command(&["dlq", "ls", "--format", "json"]));
    assert_eq!(listed.lines().count(), 1, "{listed}");
}
