//! A scripted daemon on one side, a scripted gate on the other.

use std::sync::Mutex;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::io::BufReader;

use super::*;
use crate::model::{Judgement, Outcome, Placement, Position, Settlement, Stamp, Trouble, Unsettled, Verdict};
use crate::port::{BoxFuture, CatalogError};

/// Leaves each record unsettled so many times, and notes the order in which records are settled.
#[derive(Default)]
struct Script {
    failures: Mutex<u32>,
    settled: Mutex<Vec<(String, String)>>,
}

impl Intake for Script {
    fn unfold(&self, _: &str, record: Record) -> Result<Vec<Record>, IntakeError> {
        Ok(vec![record])
    }

    fn settle<'a>(&'a self, stream: &'a str, records: Vec<Record>) -> BoxFuture<'a, Result<Vec<Outcome>, IntakeError>> {
        assert_eq!(stream, "raw");
        let settle = |record: Record| {
            let mut failures = self.failures.lock().unwrap();
            // Every other record, so that a batch is settled in part.
            let fails = *failures > 0 && record.data.first().is_some_and(|byte| byte % 2 == 0);
            let settlement = if fails {
                *failures -= 1;
                Settlement::Unsettled(Unsettled { trouble: Trouble::Unavailable, message: "down".into() })
            } else {
                let text = String::from_utf8_lossy(&record.data).into_owned();
                self.settled.lock().unwrap().push((record.position.to_string(), text));
                Settlement::Forwarded(Placement { shard_id: "s".into(), sequence_number: "1".into() })
            };
            let stamp = Stamp { domain: "d".into(), contract: "c".into(), version: None, revision: "r".into() };
            let judgement =
                Judgement { verdict: Verdict::Forward, violations: Vec::new(), stamp: stamp.into(), refuse: false };
            Outcome { judgement, settlement }
        };
        let outcomes = records.into_iter().map(settle).collect();
        Box::pin(async move { Ok(outcomes) })
    }

    fn judge(&self, _: &str, _: &str, _: &[Bytes], _: Timestamp) -> Result<Vec<Judgement>, IntakeError> {
        Ok(Vec::new())
    }

    fn mesh_stream(&self, stream: &str) -> Option<Arc<str>> {
        Some(stream.into())
    }

    fn source_streams<'a>(&'a self) -> BoxFuture<'a, Result<Vec<String>, CatalogError>> {
        Box::pin(async { Ok(Vec::new()) })
    }
}

fn encoded(text: &str) -> String {
    base64_simd::STANDARD.encode_to_string(text)
}

fn batch(texts: &[(&str, u64, u64)]) -> Value {
    let record = |(text, sequence, sub): &(&str, u64, u64)| {
        json!({"data": encoded(text), "partitionKey": "k", "sequenceNumber": sequence.to_string(), "subSequenceNumber": sub,
               "approximateArrivalTimestamp": 1_764_288_000_500_i64, "action": "record"})
    };
    json!({"action": "processRecords", "millisBehindLatest": 7, "records": texts.iter().map(record).collect::<Vec<_>>()})
}

/// Lets a processor follow these messages to their end, and gives back what it said and how it ended.
async fn follow(script: &Arc<Script>, every: Duration, messages: &[Value]) -> (Vec<Value>, Result<(), KclError>) {
    let input: String = messages.iter().map(|message| format!("{message}\n")).collect();
    let mut said = Vec::new();
    let options = Options {
        intake: Arc::clone(script) as _,
        stream: "raw".into(),
        checkpoint_every: every,
        by_key: false,
        metrics: Arc::new(Metrics::new()),
        clock: Timestamp::default,
        random: || 0.5,
        tracer: Default::default(),
    };
    let ended = run(BufReader::new(input.as_bytes()), &mut said, options).await;
    let lines = said.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    (lines.map(|line| serde_json::from_slice(line).expect("a JSON line")).collect(), ended)
}

fn initialize() -> Value {
    json!({"action": "initialize", "shardId": "shardId-0", "sequenceNumber": "TRIM_HORIZON", "subSequenceNumber": 0})
}

fn status(of: &str) -> Value {
    json!({"action": "status", "responseFor": of})
}

fn checkpoint(sequence: Value, sub: Value) -> Value {
    json!({"action": "checkpoint", "sequenceNumber": sequence, "subSequenceNumber": sub})
}

/// What the daemon answers to a checkpoint.
fn checkpointed(error: Value) -> Value {
    json!({"action": "checkpoint", "sequenceNumber": "2", "subSequenceNumber": 1, "error": error})
}

#[tokio::test]
async fn each_message_is_answered_and_each_batch_checkpointed_once_it_is_settled() {
    let script = Arc::new(Script::default());
    let messages = [
        initialize(),
        batch(&[("1", 1, 0), ("3", 2, 0), ("5", 2, 1)]),
        checkpointed(Value::Null),
        batch(&[]),
        json!({"action": "shutdownRequested"}),
        checkpointed(Value::Null),
    ];
    let (said, ended) = follow(&script, Duration::ZERO, &messages).await;
    ended.unwrap();
    let expected = [
        status("initialize"),
        checkpoint(json!("2"), json!(1)),
        status("processRecords"),
        status("processRecords"),
        checkpoint(Value::Null, Value::Null),
        status("shutdownRequested"),
    ];
    assert_eq!(said, expected);
    let positions: Vec<String> = script.settled.lock().unwrap().clone().into_iter().map(|(place, _)| place).collect();
    assert_eq!(positions, ["shardId-0/1/0", "shardId-0/2/0", "shardId-0/2/1"]);
}

#[tokio::test]
async fn a_shard_waits_while_the_far_end_is_down_and_skips_nothing() {
    let script = Arc::new(Script { failures: Mutex::new(12), ..Script::default() });
    let texts: Vec<String> = (0..9).map(|n| n.to_string()).collect();
    let records: Vec<_> = texts.iter().enumerate().map(|(n, text)| (text.as_str(), n as u64, 0)).collect();
    let (said, ended) = follow(&script, Duration::from_secs(3600), &[initialize(), batch(&records)]).await;
    ended.unwrap();
    assert_eq!(said, [status("initialize"), status("processRecords")], "no checkpoint is due");
    let mut settled: Vec<String> = script.settled.lock().unwrap().clone().into_iter().map(|(_, text)| text).collect();
    settled.sort();
    assert_eq!(settled, texts, "each once");
}

#[tokio::test]
async fn large_batches_are_settled_in_parts_and_in_order() {
    let script = Arc::new(Script::default());
    let texts: Vec<String> = (0..1_200).map(|n| n.to_string()).collect();
    let records: Vec<_> = texts.iter().enumerate().map(|(n, text)| (text.as_str(), n as u64, 0)).collect();
    follow(&script, Duration::from_secs(3600), &[batch(&records)]).await.1.unwrap();
    let settled: Vec<String> = script.settled.lock().unwrap().clone().into_iter().map(|(_, text)| text).collect();
    assert_eq!(settled, texts);
}

#[tokio::test]
async fn a_checkpoint_that_fails_is_asked_for_again_and_without_a_lease_given_up() {
    let script = Arc::new(Script::default());
    let (said, ended) = follow(
        &script,
        Duration::ZERO,
        &[
            batch(&[("1", 1, 0)]),
            checkpointed(json!("ThrottlingException")),
            checkpointed(Value::Null),
            batch(&[("3", 2, 0)]),
            checkpointed(json!("ShutdownException")),
            json!({"action": "leaseLost"}),
        ],
    )
    .await;
    ended.unwrap();
    let asked = |sequence: &str| checkpoint(json!(sequence), json!(0));
    let expected =
        [asked("1"), asked("1"), status("processRecords"), asked("2"), status("processRecords"), status("leaseLost")];
    assert_eq!(said, expected);
}

#[tokio::test]
async fn the_ends_of_shards_are_checkpointed_and_lost_leases_are_not() {
    for (message, checkpoints) in [
        (json!({"action": "shardEnded"}), 1),
        (json!({"action": "shutdown", "reason": "TERMINATE"}), 1),
        (json!({"action": "shutdown", "reason": "ZOMBIE"}), 0),
        (json!({"action": "leaseLost"}), 0),
        (json!({"action": "somethingNew"}), 0),
    ] {
        let script = Arc::new(Script::default());
        let (said, ended) =
            follow(&script, Duration::from_secs(9), &[message.clone(), checkpointed(Value::Null)]).await;
        assert_eq!(said.iter().filter(|said| said["action"] == "checkpoint").count(), checkpoints, "{message}");
        assert!(said.iter().any(|said| said["action"] == "status"), "{message} {ended:?}");
    }
}

#[tokio::test]
async fn what_cannot_be_read_ends_it_and_shows_no_payload() {
    let secret = encoded("secret");
    let not_base64 =
        json!({"action": "processRecords", "records": [{"data": "%%", "partitionKey": "k", "sequenceNumber": "7"}]});
    for (message, told) in [
        (json!({"action": "processRecords", "records": [{"data": secret}]}).to_string(), "no JSON of a known form"),
        (not_base64.to_string(), "record 7"),
        ("{".to_owned(), "no JSON of a known form"),
    ] {
        let (script, metrics, mut said) = (Arc::new(Script::default()), Arc::new(Metrics::new()), Vec::new());
        let options = Options {
            intake: script,
            stream: "raw".into(),
            checkpoint_every: Duration::ZERO,
            by_key: false,
            metrics,
            clock: Timestamp::default,
            random: || 0.5,
            tracer: Default::default(),
        };
        let ended = run(BufReader::new(format!("{message}\n").as_bytes()), &mut said, options).await;
        let error = ended.unwrap_err().to_string();
        assert!(error.contains(told) && !error.contains(&secret), "{error}");
        assert!(said.is_empty());
    }
}

#[test]
fn times_are_of_milliseconds_or_of_seconds() {
    for (written, millis) in
        [("1764288000500", 1_764_288_000_500), ("1764288000.5", 1_764_288_000_500), ("1764288000", 1_764_288_000_000)]
    {
        let text = format!(r#"{{"data":"","sequenceNumber":"1","approximateArrivalTimestamp":{written}}}"#);
        let record: message::UserRecord<'_> = serde_json::from_str(&text).unwrap();
        let record = record.into_record(&"raw".into(), &"s".into(), Timestamp::default()).unwrap();
        assert_eq!(record.arrived.millis(), millis);
        assert_eq!(record.position, Position::InShard { shard: "s".into(), sequence: "1".into(), sub_sequence: 0 });
    }
}
