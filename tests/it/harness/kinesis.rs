//! Kinesis by hand, JSON over HTTP/1.1: for producers that must be fast, and for reading back what is on a stream.

use std::io;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::http::Http;

/// A client on one connection, which it opens again when the other side closed it.
pub struct Kinesis {
    address: SocketAddr,
    http: Option<Http>,
}

/// What came instead of a result: an AWS error, or no HTTP answer at all.
#[derive(Debug)]
pub enum AwsError {
    Answered { status: u16, kind: String, message: String },
    Unanswered(io::Error),
}

/// One entry of `PutRecords`.
pub struct Put {
    pub data: Vec<u8>,
    pub key: String,
}

impl Put {
    pub fn new(data: impl Into<Vec<u8>>, key: &str) -> Self {
        Self { data: data.into(), key: key.to_owned() }
    }
}

/// One record read back.
#[derive(Debug, Clone)]
pub struct StreamRecord {
    pub shard: String,
    pub sequence_number: String,
    pub key: String,
    pub data: Vec<u8>,
}

impl Kinesis {
    pub fn new(address: SocketAddr) -> Self {
        Self { address, http: None }
    }

    pub fn call(&mut self, operation: &str, body: &Value) -> Result<Value, AwsError> {
        self.call_service("Kinesis_20131202", "kinesis", "application/x-amz-json-1.1", operation, body)
    }

    pub fn call_service(
        &mut self,
        target: &str,
        service: &str,
        content_type: &str,
        operation: &str,
        body: &Value,
    ) -> Result<Value, AwsError> {
        let target = format!("{target}.{operation}");
        // Nobody checks the signature; the emulators read account and region from it.
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/{service}/aws4_request, SignedHeaders=host, Signature=0"
        );
        let headers = [
            ("x-amz-target", target.as_str()),
            ("content-type", content_type),
            ("authorization", &authorization),
            ("x-amz-date", "20260101T000000Z"),
        ];
        let mut http = match self.http.take() {
            Some(open) => open,
            None => Http::connect(self.address).map_err(AwsError::Unanswered)?,
        };
        let body = body.to_string();
        let answer = http.send("POST", "/", &headers, body.as_bytes()).map_err(AwsError::Unanswered)?;
        if !answer.header("connection").is_some_and(|v| v.eq_ignore_ascii_case("close")) {
            self.http = Some(http);
        }
        if answer.status == 200 {
            return Ok(if answer.body.is_empty() { Value::Null } else { answer.json() });
        }
        let error: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let text = |key: &str| error[key].as_str().map(str::to_owned);
        Err(AwsError::Answered {
            status: answer.status,
            kind: text("__type").unwrap_or_default(),
            message: text("message").or_else(|| text("Message")).unwrap_or_else(|| answer.text()),
        })
    }

    /// `PutRecords`; the entries of the answer's `Records`, in order.
    pub fn put_records(&mut self, stream: &str, records: &[Put]) -> Result<Vec<Value>, AwsError> {
        let entries: Vec<_> =
            records.iter().map(|r| json!({"Data": STANDARD.encode(&r.data), "PartitionKey": r.key})).collect();
        let answer = self.call("PutRecords", &json!({"StreamName": stream, "Records": entries}))?;
        let results = answer["Records"].as_array().cloned().unwrap_or_default();
        assert_eq!(results.len(), records.len(), "one result a record: {answer}");
        let failed = results.iter().filter(|r| !r["ErrorCode"].is_null()).count();
        assert_eq!(answer["FailedRecordCount"].to_string(), failed.to_string(), "{answer}");
        Ok(results)
    }

    pub fn shards(&mut self, stream: &str) -> Vec<String> {
        let answer = self.call("ListShards", &json!({"StreamName": stream})).expect("ListShards answers");
        let shards = answer["Shards"].as_array().expect("a list of shards");
        shards.iter().map(|s| s["ShardId"].as_str().expect("a ShardId").to_owned()).collect()
    }

    /// Every record of every shard, oldest first within its shard.
    pub fn read_all(&mut self, stream: &str) -> Vec<StreamRecord> {
        let shards = self.shards(stream);
        shards.iter().flat_map(|shard| self.read_shard(stream, shard)).collect()
    }

    fn read_shard(&mut self, stream: &str, shard: &str) -> Vec<StreamRecord> {
        let start = json!({"StreamName": stream, "ShardId": shard, "ShardIteratorType": "TRIM_HORIZON"});
        let answer = self.call("GetShardIterator", &start).expect("GetShardIterator answers");
        let mut iterator = answer["ShardIterator"].clone();
        let mut records = Vec::new();
        loop {
            let answer = self.call("GetRecords", &json!({"ShardIterator": iterator})).expect("GetRecords answers");
            let batch = answer["Records"].as_array().expect("a list of records");
            for record in batch {
                records.push(StreamRecord {
                    shard: shard.to_owned(),
                    sequence_number: record["SequenceNumber"].as_str().expect("a sequence number").to_owned(),
                    key: record["PartitionKey"].as_str().unwrap_or_default().to_owned(),
                    data: STANDARD.decode(record["Data"].as_str().expect("data")).expect("base64"),
                });
            }
            iterator = answer["NextShardIterator"].clone();
            let at_the_tip = answer["MillisBehindLatest"].as_i64().unwrap_or(0) == 0;
            if iterator.is_null() || (batch.is_empty() && at_the_tip) {
                return records;
            }
        }
    }

    /// Waits until the stream is `ACTIVE`.
    pub fn wait_active(&mut self, stream: &str) {
        let started = Instant::now();
        loop {
            let state = self.call("DescribeStreamSummary", &json!({"StreamName": stream}));
            if state.as_ref().is_ok_and(|s| s["StreamDescriptionSummary"]["StreamStatus"] == "ACTIVE") {
                return;
            }
            assert!(started.elapsed() < Duration::from_secs(20), "{stream} never became ACTIVE: {state:?}");
            thread::sleep(Duration::from_millis(50));
        }
    }
}
