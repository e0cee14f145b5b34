//! SIGTERM: what is in progress is answered, and the gate leaves with exit code 0.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::json;

use crate::harness::{AwsError, Gate, GateOptions, Http, Kinesis, Put, good_parcel};

#[test]
fn a_request_that_has_begun_is_answered_and_the_gate_ends_well() {
    let mut gate = Gate::start(GateOptions::default());
    let data = "eyJ0eXBlIjoicGFyY2VsLnNlbnQiLCJkYXRhIjp7InJlY2lwaWVudCI6IkFkYSIsIndlaWdodCI6MX19";
    let body = json!({"StreamName": "parcels", "PartitionKey": "k", "Data": data}).to_string();
    let headers = [("x-amz-target", "Kinesis_20131202.PutRecord"), ("content-type", "application/x-amz-json-1.1")];

    let mut http = Http::connect(gate.listen).expect("a connection");
    let head = http.head("POST", "/", &headers, body.len());
    let (begun, rest) = body.as_bytes().split_at(body.len() / 2);
    http.write(&head, begun).expect("half a request");
    // The gate must have read the head before it is told to stop, or there is no request yet.
    thread::sleep(Duration::from_millis(300));
    gate.signal("TERM");
    thread::sleep(Duration::from_millis(300));
    http.write(&[], rest).expect("the other half");
    let answer = http.receive().expect("an answer");
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(answer.json()["SequenceNumber"].is_string(), "{}", answer.text());
    let status = gate.wait(Duration::from_secs(15));
    assert_eq!(status.code(), Some(0), "{status}\n{}", gate.log().join("\n"));
}

#[test]
fn under_load_each_request_is_answered_or_was_never_taken() {
    let home = tempfile::tempdir().expect("a temporary directory");
    let data = home.path().join("meshgate.db");
    let mut gate = Gate::start(GateOptions { data: Some(data.clone()), ..GateOptions::default() });
    let acknowledged = Arc::new(AtomicUsize::new(0));
    let producers: Vec<_> = (0..6)
        .map(|p| {
            let (address, acknowledged) = (gate.listen, Arc::clone(&acknowledged));
            thread::spawn(move || {
                let mut kinesis = Kinesis::new(address);
                for request in 0.. {
                    let id = |i| format!("{p}-{request}-{i}");
                    let puts: Vec<_> = (0..20).map(|i| Put::new(good_parcel(&id(i)), &id(i))).collect();
                    match kinesis.put_records("parcels", &puts) {
                        Ok(results) => {
                            let taken = results.iter().filter(|r| r["ErrorCode"].is_null()).count();
                            acknowledged.fetch_add(taken, Ordering::Relaxed);
                            if taken < results.len() {
                                return;
                            }
                        }
                        Err(AwsError::Answered { status, kind, message }) => {
                            assert!(status == 500 || status == 503 || status == 400, "{status} {kind}: {message}");
                            return;
                        }
                        // The connection was closed between two requests.
                        Err(AwsError::Unanswered(_)) => return,
                    }
                }
            })
        })
        .collect();
    thread::sleep(Duration::from_millis(500));
    gate.signal("TERM");
    let status = gate.wait(Duration::from_secs(15));
    assert_eq!(status.code(), Some(0), "{status}\n{}", gate.log().join("\n"));
    for producer in producers {
        producer.join().expect("a producer sees a clean end");
    }
    drop(gate);

    let gate = Gate::start(GateOptions { data: Some(data), ..GateOptions::default() });
    let kept = gate.kinesis().read_all("parcels").len();
    let acknowledged = acknowledged.load(Ordering::Relaxed);
    assert!(acknowledged > 0, "no load");
    assert_eq!(kept, acknowledged, "after a drain, exactly what was acknowledged is on the stream");
}
