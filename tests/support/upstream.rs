//! A stand-in for Kinesis and SQS: answers the gate's upstream calls with scripted outcomes and keeps what it was sent.
//!
//! Emulators never throttle, never fail one record of a call and never lose an answer; this does nothing else well. It
//! checks no signatures and knows only the operations and limits that the sinks meet.
//!
//! `Upstream::start` is for tests. `Upstream::start_canned` is for benchmarks: it counts entries, keeps nothing, and
//! answers with bodies made beforehand, so that it is not what is measured.

// Compiled into each test and bench that names it by path; none of them uses all of it.
#![allow(dead_code)]

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use meshgate::model::{HashKey, HashKeyRange};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

mod canned;

use canned::{Canned, Own};

pub const REGION: &str = "eu-west-1";
pub const ACCOUNT: &str = "123456789012";

/// What a call is answered with. A call nobody scripted succeeds.
#[derive(Debug, Clone)]
pub enum Script {
    /// Entries at these indices fail with these codes; the rest is stored.
    Entries(Vec<(usize, &'static str)>),
    /// The whole call fails, nothing is stored.
    Error { status: u16, code: &'static str, message: &'static str },
    /// Something that is no AWS service answers.
    Raw { status: u16, body: &'static str },
    /// The connection ends without an answer, nothing is stored.
    Reset,
    /// All is stored, then the connection ends without an answer.
    Lost,
    /// Succeeds after this time.
    Slow(Duration),
    /// All is stored, and the answer leaves out the last entry.
    Short,
    /// Succeeds: the place in a script of a call that is to pass.
    Pass,
}

#[derive(Debug, Clone)]
pub struct Call {
    pub operation: String,
    pub body: Value,
    /// The body as it was sent.
    pub bytes: Bytes,
    pub headers: HashMap<String, String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredRecord {
    pub stream: String,
    pub data: Bytes,
    pub partition_key: Option<String>,
    pub explicit_hash_key: Option<String>,
    pub shard_id: String,
    pub sequence_number: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredMessage {
    pub queue_url: String,
    pub body: String,
    pub attributes: BTreeMap<String, String>,
    pub group: Option<String>,
    pub deduplication: Option<String>,
}

#[derive(Debug, Default)]
struct Kept {
    scripts: HashMap<String, VecDeque<Script>>,
    calls: Vec<Call>,
    streams: BTreeMap<String, Stream>,
    queues: BTreeMap<String, Queue>,
    records: Vec<StoredRecord>,
    messages: Vec<StoredMessage>,
}

#[derive(Debug)]
struct Stream {
    shards: u32,
    record_kib_max: usize,
}

#[derive(Debug)]
struct Queue {
    message_bytes_max: usize,
}

/// A running stand-in; it ends when this is dropped.
pub struct Upstream {
    pub address: SocketAddr,
    kept: Arc<Mutex<Kept>>,
    server: JoinHandle<()>,
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Upstream {
    pub async fn start() -> Self {
        Self::serve(None).await
    }

    /// Answers every `PutRecords` and `SendMessageBatch` with success, after `latency`.
    pub async fn start_canned(latency: Duration) -> Self {
        Self::serve(Some(Arc::new(Canned::new(latency, None)))).await
    }

    /// The same, save for what the bench answers itself.
    pub async fn start_canned_beside(own: Arc<Own>) -> Self {
        Self::serve(Some(Arc::new(Canned::new(Duration::ZERO, Some(own))))).await
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn add_stream(&self, name: &str, shards: u32, record_kib_max: usize) {
        self.kept().streams.insert(name.into(), Stream { shards, record_kib_max });
    }

    /// Returns the queue's URL.
    pub fn add_queue(&self, name: &str, message_bytes_max: usize) -> String {
        self.kept().queues.insert(name.into(), Queue { message_bytes_max });
        queue_url(name)
    }

    /// The next calls of `operation` end like this, one after the other.
    pub fn script(&self, operation: &str, scripts: impl IntoIterator<Item = Script>) {
        self.kept().scripts.entry(operation.into()).or_default().extend(scripts);
    }

    pub fn calls(&self, operation: &str) -> Vec<Call> {
        self.kept().calls.iter().filter(|call| call.operation == operation).cloned().collect()
    }

    pub fn records(&self) -> Vec<StoredRecord> {
        self.kept().records.clone()
    }

    pub fn messages(&self) -> Vec<StoredMessage> {
        self.kept().messages.clone()
    }

    async fn serve(canned: Option<Arc<Canned>>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let kept = Arc::new(Mutex::new(Kept::default()));
        let shared = Arc::clone(&kept);
        let server = tokio::spawn(async move {
            // Connections end with the server: a JoinSet aborts its tasks when dropped.
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                connections.spawn(connection(socket, Arc::clone(&shared), canned.clone()));
                while connections.try_join_next().is_some() {}
            }
        });
        Self { address, kept, server }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().expect("no test panics while holding it")
    }
}

/// Ends the connection instead of answering.
#[derive(Debug, thiserror::Error)]
#[error("scripted reset")]
struct HangUp;

async fn connection(socket: TcpStream, kept: Arc<Mutex<Kept>>, canned: Option<Arc<Canned>>) {
    let _ = socket.set_nodelay(true);
    let served = http1::Builder::new().serve_connection(
        TokioIo::new(socket),
        service_fn(move |request| {
            let (kept, canned) = (Arc::clone(&kept), canned.clone());
            async move {
                match canned {
                    Some(canned) => Ok(canned.answer(request).await),
                    None => answer(request, &kept).await,
                }
            }
        }),
    );
    // A scripted reset, or a client that went away.
    let _ = served.await;
}

async fn answer(request: Request<Incoming>, kept: &Mutex<Kept>) -> Result<Response<Full<Bytes>>, HangUp> {
    let headers: HashMap<String, String> = request
        .headers()
        .iter()
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
        .collect();
    let operation = operation_of(&request).to_owned();
    let bytes = request.into_body().collect().await.map_err(|_| HangUp)?.to_bytes();
    let body: Value = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
    let script = {
        let mut kept = kept.lock().expect("not poisoned");
        kept.calls.push(Call { operation: operation.clone(), body: body.clone(), bytes, headers });
        kept.scripts.get_mut(&operation).and_then(VecDeque::pop_front).unwrap_or(Script::Pass)
    };
    let failing = match &script {
        Script::Error { status, code, message } => return Ok(aws_error(*status, code, message)),
        Script::Raw { status, body } => return Ok(response(*status, (*body).to_owned())),
        Script::Reset => return Err(HangUp),
        Script::Slow(time) => {
            tokio::time::sleep(*time).await;
            &[][..]
        }
        Script::Entries(failing) => failing,
        Script::Lost | Script::Short | Script::Pass => &[],
    };
    let outcome = kept.lock().expect("not poisoned").perform(&operation, &body, failing);
    match (script, outcome) {
        (Script::Lost, _) => Err(HangUp),
        (Script::Short, Ok(mut answer)) => {
            for list in ["Records", "Successful"] {
                answer.get_mut(list).and_then(Value::as_array_mut).map(Vec::pop);
            }
            Ok(response(200, answer.to_string()))
        }
        (_, Ok(answer)) => Ok(response(200, answer.to_string())),
        (_, Err((code, message))) => Ok(aws_error(400, code, &message)),
    }
}

fn operation_of(request: &Request<Incoming>) -> &str {
    let target = request.headers().get("x-amz-target").and_then(|value| value.to_str().ok()).unwrap_or("");
    target.rsplit('.').next().unwrap_or("")
}

type Refusal = (&'static str, String);

impl Kept {
    fn perform(&mut self, operation: &str, body: &Value, failing: &[(usize, &'static str)]) -> Result<Value, Refusal> {
        match operation {
            "PutRecords" => self.put_records(body, failing),
            "PutRecord" => self.put_record(body),
            "ListStreams" => Ok(self.list_streams(body)),
            "DescribeStreamSummary" => self.describe(body),
            "ListShards" => self.list_shards(body),
            "GetQueueUrl" => {
                let name = text(body, "QueueName").unwrap_or_default();
                self.queue(&name)?;
                Ok(json!({"QueueUrl": queue_url(&name)}))
            }
            "GetQueueAttributes" => {
                let bytes = self.queue(&queue_of(body))?.message_bytes_max;
                Ok(json!({"Attributes": {"MaximumMessageSize": bytes.to_string()}}))
            }
            "SendMessageBatch" => self.send_messages(body, failing),
            other => Err(("UnknownOperationException", format!("no {other} here"))),
        }
    }

    fn stream(&self, name: &str) -> Result<&Stream, Refusal> {
        self.streams
            .get(name)
            .ok_or_else(|| ("ResourceNotFoundException", format!("Stream {name} under account {ACCOUNT} not found.")))
    }

    fn queue(&self, name: &str) -> Result<&Queue, Refusal> {
        self.queues
            .get(name)
            .ok_or_else(|| ("AWS.SimpleQueueService.NonExistentQueue", "The specified queue does not exist.".into()))
    }

    fn put_records(&mut self, body: &Value, failing: &[(usize, &'static str)]) -> Result<Value, Refusal> {
        let stream = text(body, "StreamName").unwrap_or_default();
        let entries = body["Records"].as_array().cloned().unwrap_or_default();
        if entries.len() > 500 || entries.is_empty() {
            return Err(("InvalidArgumentException", format!("{} records", entries.len())));
        }
        // One record too large refuses the call, and the message quotes its key: both as Kinesis does.
        for entry in &entries {
            self.check_record(&stream, entry)?;
        }
        let mut answers = Vec::new();
        for (index, entry) in entries.iter().enumerate() {
            answers.push(match failing.iter().find(|(at, _)| *at == index) {
                Some((_, code)) => json!({"ErrorCode": code, "ErrorMessage": "scripted"}),
                None => {
                    let (shard_id, sequence) = self.store(&stream, entry);
                    json!({"ShardId": shard_id, "SequenceNumber": sequence})
                }
            });
        }
        Ok(json!({"FailedRecordCount": failing.len(), "Records": answers}))
    }

    fn put_record(&mut self, body: &Value) -> Result<Value, Refusal> {
        let stream = text(body, "StreamName").unwrap_or_default();
        self.check_record(&stream, body)?;
        let (shard_id, sequence) = self.store(&stream, body);
        Ok(json!({"ShardId": shard_id, "SequenceNumber": sequence}))
    }

    fn check_record(&self, stream: &str, entry: &Value) -> Result<(), Refusal> {
        let kib_max = self.stream(stream)?.record_kib_max;
        let key = text(entry, "PartitionKey").unwrap_or_default();
        if data_of(entry).len() + key.len() <= kib_max * 1024 {
            return Ok(());
        }
        Err(("InvalidArgumentException", format!("record with partition key {key} exceeds {kib_max} KiB")))
    }

    fn store(&mut self, stream: &str, entry: &Value) -> (String, String) {
        let partition_key = text(entry, "PartitionKey");
        let explicit_hash_key = text(entry, "ExplicitHashKey");
        let hash = explicit_hash_key.as_deref().and_then(HashKey::parse_explicit);
        let hash = hash.unwrap_or_else(|| HashKey::of_partition_key(partition_key.as_deref().unwrap_or_default()));
        let shards = self.streams.get(stream).map_or(1, |stream| stream.shards);
        let shard = HashKeyRange::divide(shards).position(|range| range.contains(hash)).unwrap_or_default();
        let record = StoredRecord {
            stream: stream.into(),
            data: data_of(entry),
            partition_key,
            explicit_hash_key,
            shard_id: shard_id(shard),
            sequence_number: format!("{:056}", self.records.len() + 1),
        };
        let told = (record.shard_id.clone(), record.sequence_number.clone());
        self.records.push(record);
        told
    }

    /// Two names a page, so that paging is exercised.
    fn list_streams(&self, body: &Value) -> Value {
        let after = text(body, "ExclusiveStartStreamName");
        let mut names = self.streams.keys().filter(|name| after.as_ref().is_none_or(|after| *name > after));
        let page: Vec<_> = names.by_ref().take(2).collect();
        json!({"StreamNames": page, "HasMoreStreams": names.next().is_some()})
    }

    fn describe(&self, body: &Value) -> Result<Value, Refusal> {
        let name = text(body, "StreamName").unwrap_or_default();
        let stream = self.stream(&name)?;
        Ok(json!({"StreamDescriptionSummary": {
            "StreamName": name,
            "StreamARN": format!("arn:aws:kinesis:{REGION}:{ACCOUNT}:stream/{name}"),
            "StreamStatus": "ACTIVE",
            "StreamModeDetails": {"StreamMode": "ON_DEMAND"},
            "RetentionPeriodHours": 24,
            "StreamCreationTimestamp": 1_763_805_605.25,
            "EnhancedMonitoring": [],
            "EncryptionType": "KMS",
            "KeyId": "alias/aws/kinesis",
            "OpenShardCount": stream.shards,
            "ConsumerCount": 1,
            "MaxRecordSizeInKiB": stream.record_kib_max,
        }}))
    }

    /// Two shards a page. The token is the stream and the next shard.
    fn list_shards(&self, body: &Value) -> Result<Value, Refusal> {
        let token = text(body, "NextToken");
        if token.is_some() && text(body, "StreamName").is_some() {
            return Err(("InvalidArgumentException", "either a name or a token".into()));
        }
        let (name, from) = match token.as_deref().and_then(|token| token.split_once('#')) {
            Some((name, from)) => (name.to_owned(), from.parse().unwrap_or_default()),
            None => (text(body, "StreamName").unwrap_or_default(), 0usize),
        };
        let shards = self.stream(&name)?.shards;
        let page: Vec<_> = HashKeyRange::divide(shards)
            .enumerate()
            .skip(from)
            .take(2)
            .map(|(index, range)| {
                json!({
                    "ShardId": shard_id(index),
                    "HashKeyRange": {"StartingHashKey": range.start.to_string(), "EndingHashKey": range.end.to_string()},
                    "SequenceNumberRange": {"StartingSequenceNumber": "1"},
                })
            })
            .collect();
        let next = from + page.len();
        let mut answer = json!({"Shards": page});
        if next < shards as usize {
            answer["NextToken"] = json!(format!("{name}#{next}"));
        }
        Ok(answer)
    }

    fn send_messages(&mut self, body: &Value, failing: &[(usize, &'static str)]) -> Result<Value, Refusal> {
        let limit = self.queue(&queue_of(body))?.message_bytes_max;
        let entries = body["Entries"].as_array().cloned().unwrap_or_default();
        if entries.len() > 10 {
            return Err(("AWS.SimpleQueueService.TooManyEntriesInBatchRequest", format!("{} entries", entries.len())));
        }
        let (mut successful, mut failed) = (Vec::new(), Vec::new());
        for (index, entry) in entries.iter().enumerate() {
            let message = message_of(body, entry);
            let too_long = message.body.len() > limit;
            let code = failing.iter().find(|(at, _)| *at == index).map(|(_, code)| *code);
            match code.or(too_long.then_some("InvalidParameterValue")) {
                Some(code) => {
                    // As SQS does: its own errors and throttles are not the sender's fault.
                    let sender = !matches!(code, "InternalError" | "ServiceUnavailable" | "RequestThrottled");
                    failed.push(json!({"Id": entry["Id"], "Code": code, "Message": "scripted", "SenderFault": sender}));
                }
                None => {
                    self.messages.push(message);
                    let id = self.messages.len().to_string();
                    successful.push(json!({"Id": entry["Id"], "MessageId": id, "MD5OfMessageBody": ""}));
                }
            }
        }
        Ok(json!({"Successful": successful, "Failed": failed}))
    }
}

fn message_of(body: &Value, entry: &Value) -> StoredMessage {
    let attributes = entry["MessageAttributes"].as_object().into_iter().flatten();
    StoredMessage {
        queue_url: text(body, "QueueUrl").unwrap_or_default(),
        body: text(entry, "MessageBody").unwrap_or_default(),
        attributes: attributes
            .map(|(name, value)| (name.clone(), text(value, "StringValue").unwrap_or_default()))
            .collect(),
        group: text(entry, "MessageGroupId"),
        deduplication: text(entry, "MessageDeduplicationId"),
    }
}

fn text(value: &Value, key: &str) -> Option<String> {
    value.get(key)?.as_str().map(str::to_owned)
}

fn data_of(entry: &Value) -> Bytes {
    BASE64_STANDARD.decode(entry["Data"].as_str().unwrap_or_default()).unwrap_or_default().into()
}

fn queue_of(body: &Value) -> String {
    text(body, "QueueUrl").and_then(|url| Some(url.rsplit_once('/')?.1.to_owned())).unwrap_or_default()
}

fn queue_url(name: &str) -> String {
    format!("https://sqs.{REGION}.amazonaws.com/{ACCOUNT}/{name}")
}

fn shard_id(index: usize) -> String {
    format!("shardId-{index:012}")
}

fn response(status: u16, body: String) -> Response<Full<Bytes>> {
    let answer = Response::builder().status(status).header("content-type", "application/x-amz-json-1.1");
    answer.body(Full::from(body)).expect("a valid response")
}

fn aws_error(status: u16, code: &str, message: &str) -> Response<Full<Bytes>> {
    response(status, json!({"__type": code, "message": message}).to_string())
}
