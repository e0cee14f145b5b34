//! Success at full speed, for benchmarks: answers made beforehand, nothing decoded, nothing kept.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::{Request, Response};
use serde_json::{Value, json};

use super::{Kept, Queue, Stream, aws_error, operation_of, queue_of, response, shard_id, text};

/// What a bench answers itself: the status and the body, by operation and request.
pub type Own = dyn Fn(&str, &Bytes) -> Option<(u16, Bytes)> + Send + Sync;

/// Answers by how many entries the request holds.
pub struct Canned {
    latency: Duration,
    own: Option<Arc<Own>>,
    records: Vec<Bytes>,
    messages: Vec<Bytes>,
}

impl Canned {
    pub fn new(latency: Duration, own: Option<Arc<Own>>) -> Self {
        let record = json!({"ShardId": shard_id(0), "SequenceNumber": format!("{:056}", 1)});
        let records = (0..=500)
            .map(|count| json!({"FailedRecordCount": 0, "Records": vec![record.clone(); count]}).to_string().into())
            .collect();
        // The sink numbers its entries from 0.
        let messages = (0..=10usize)
            .map(|count| {
                let successful: Vec<_> = (0..count)
                    .map(|id| json!({"Id": id.to_string(), "MessageId": "1", "MD5OfMessageBody": ""}))
                    .collect();
                json!({"Successful": successful, "Failed": []}).to_string().into()
            })
            .collect();
        Self { latency, own, records, messages }
    }

    pub async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let operation = operation_of(&request).to_owned();
        let body = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        if !self.latency.is_zero() {
            tokio::time::sleep(self.latency).await;
        }
        if let Some((status, answer)) = self.own.as_ref().and_then(|own| own(&operation, &body)) {
            return Response::builder().status(status).body(Full::new(answer)).expect("a valid response");
        }
        let answer = match operation.as_str() {
            // A quote inside a JSON string is escaped, so that these are keys and nothing else.
            "PutRecords" => self.records.get(count(&body, b"\"Data\":")),
            "SendMessageBatch" => self.messages.get(count(&body, b"\"MessageBody\":")),
            _ => None,
        };
        match answer {
            Some(answer) => Response::new(Full::new(answer.clone())),
            None => other(&operation, &body),
        }
    }
}

/// What is asked once at most: any stream has one shard, any queue exists.
fn other(operation: &str, body: &[u8]) -> Response<Full<Bytes>> {
    let body: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
    let mut kept = Kept::default();
    for name in [text(&body, "StreamName"), text(&body, "QueueName"), Some(queue_of(&body))].into_iter().flatten() {
        kept.streams.insert(name.clone(), Stream { shards: 1, record_kib_max: 10_240 });
        kept.queues.insert(name, Queue { message_bytes_max: 1_048_576 });
    }
    match kept.perform(operation, &body, &[]) {
        Ok(answer) => response(200, answer.to_string()),
        Err((code, message)) => aws_error(400, code, &message),
    }
}

fn count(haystack: &[u8], needle: &[u8]) -> usize {
    let mut found = 0;
    let mut rest = haystack;
    while let Some(at) = rest.iter().position(|byte| *byte == needle[0]) {
        rest = &rest[at..];
        let hit = rest.starts_with(needle);
        found += usize::from(hit);
        rest = &rest[if hit { needle.len() } else { 1 }..];
    }
    found
}
