//! The far ends: emulators of Kinesis, SQS and S3.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::http::Http;
use super::kinesis::{AwsError, Kinesis};
use super::process::{Process, free_port, temporary};
use super::tools::{Tool, tool};

const START: Duration = Duration::from_secs(30);

/// An emulator of AWS that serves plain HTTP on a free port.
pub struct Emulator {
    process: Process,
    pub address: SocketAddr,
    _home: TempDir,
}

/// One message of a queue, as `ReceiveMessage` gives it.
#[derive(Debug)]
pub struct QueueMessage {
    pub body: Value,
    /// Names and string values.
    pub attributes: Vec<(String, String)>,
}

impl QueueMessage {
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }
}

impl Emulator {
    /// Kinesis, SQS and S3 on one port. `None` when it is not installed.
    pub fn ministack() -> Option<Self> {
        Self::ministack_at(free_port())
    }

    /// The same on a port that something calls already.
    pub fn ministack_at(port: u16) -> Option<Self> {
        let mut command = tool(Tool::Ministack)?;
        command.env("BIND_HOST", "127.0.0.1").env("GATEWAY_PORT", port.to_string());
        Some(Self::start("ministack", command, port, "Kinesis_20131202.ListStreams"))
    }

    /// The same, holding whoever calls to what IAM says of them. The key of [`tool`]'s own environment is the account's root.
    pub fn ministack_guarded() -> Option<Self> {
        let mut command = tool(Tool::Ministack)?;
        let (home, port) = (temporary(), free_port());
        command.env("AUTH", "true").env("BIND_HOST", "127.0.0.1").env("GATEWAY_PORT", port.to_string());
        command.env("HOME", home.path()).env("TMPDIR", home.path()).current_dir(home.path());
        let mut process = Process::spawn("ministack", &mut command);
        // The harness's own calls are not signed, so that none can be answered.
        process.until(START, |log| log.iter().any(|line| line.contains("Running on")).then_some(()));
        Some(Self { process, address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)), _home: home })
    }

    /// SQS and S3 on one port, by other people than ministack's. `None` when it is not installed.
    pub fn fauxqs() -> Option<Self> {
        let port = free_port();
        let mut command = tool(Tool::Fauxqs)?;
        command.env("FAUXQS_PORT", port.to_string());
        Some(Self::start("fauxqs", command, port, "AmazonSQS.ListQueues"))
    }

    /// Kinesis with real shards and sequence numbers; `streams` as `name:shards,…`. `None` when it is not installed.
    pub fn kinesis_local(streams: &str) -> Option<Self> {
        let port = free_port();
        let mut command = tool(Tool::KinesisLocal)?;
        command
            .env("KINESIS_MOCK_PLAIN_PORT", port.to_string())
            .env("KINESIS_MOCK_TLS_PORT", free_port().to_string())
            // It counts closed shards too.
            .env("SHARD_LIMIT", "1000")
            .env("INITIALIZE_STREAMS", streams);
        let emulator = Self::start("kinesis-local", command, port, "Kinesis_20131202.ListStreams");
        for stream in streams.split(',').filter_map(|s| s.split(':').next()) {
            emulator.kinesis().wait_active(stream);
        }
        Some(emulator)
    }

    fn start(name: &str, mut command: Command, port: u16, probe: &str) -> Self {
        let home = temporary();
        command.env("HOME", home.path()).env("TMPDIR", home.path());
        if command.get_current_dir().is_none() {
            command.current_dir(home.path());
        }
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut process = Process::spawn(name, &mut command);
        let (service, operation) = probe.split_once('.').expect("a target");
        process.until(START, |_| {
            let (name, version) = if service == "AmazonSQS" { ("sqs", "1.0") } else { ("kinesis", "1.1") };
            let content_type = format!("application/x-amz-json-{version}");
            let answer = Kinesis::new(address).call_service(service, name, &content_type, operation, &json!({}));
            answer.is_ok().then_some(())
        });
        Self { process, address, _home: home }
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn kinesis(&self) -> Kinesis {
        Kinesis::new(self.address)
    }

    /// Ends the emulator at once, as a failure of the far end.
    pub fn kill(&mut self) {
        self.process.signal("KILL");
        self.process.wait(Duration::from_secs(5));
    }

    /// Stops it from answering, with its connections open: a far end that hangs.
    pub fn pause(&self) {
        self.process.signal("STOP");
    }

    pub fn resume(&self) {
        self.process.signal("CONT");
    }

    pub fn create_stream(&self, name: &str, shards: usize) {
        let mut kinesis = self.kinesis();
        kinesis.call("CreateStream", &json!({"StreamName": name, "ShardCount": shards})).expect("CreateStream");
        kinesis.wait_active(name);
    }

    pub fn create_queue(&self, name: &str) {
        let attributes = if name.ends_with(".fifo") { json!({"FifoQueue": "true"}) } else { json!({}) };
        self.sqs("CreateQueue", &json!({"QueueName": name, "Attributes": attributes})).expect("CreateQueue");
    }

    /// A queue with attributes, each a string.
    pub fn create_queue_with(&self, name: &str, attributes: &Value) {
        self.sqs("CreateQueue", &json!({"QueueName": name, "Attributes": attributes})).expect("CreateQueue");
    }

    /// Every message of the queue as `ReceiveMessage` gives it, in order, each deleted: of a FIFO queue, the next of a group only comes then.
    pub fn take(&self, queue: &str) -> Vec<Value> {
        let url = self.url(queue);
        let request = json!({
            "QueueUrl": url, "MaxNumberOfMessages": 10, "MessageAttributeNames": ["All"], "AttributeNames": ["All"],
        });
        let mut messages = Vec::new();
        loop {
            let mut answer = self.sqs("ReceiveMessage", &request).expect("ReceiveMessage");
            let Some(batch) = answer["Messages"].as_array_mut().filter(|batch| !batch.is_empty()) else {
                return messages;
            };
            for message in batch.iter() {
                let handle = json!({"QueueUrl": url, "ReceiptHandle": message["ReceiptHandle"]});
                self.sqs("DeleteMessage", &handle).expect("DeleteMessage");
            }
            messages.append(batch);
        }
    }

    /// Every message of the queue. They are not deleted, and stay invisible for 30 seconds.
    pub fn messages(&self, queue: &str) -> Vec<QueueMessage> {
        let url = self.url(queue);
        let request = json!({"QueueUrl": url, "MaxNumberOfMessages": 10, "MessageAttributeNames": ["All"]});
        let mut messages = Vec::new();
        loop {
            let answer = self.sqs("ReceiveMessage", &request).expect("ReceiveMessage");
            let Some(batch) = answer["Messages"].as_array().filter(|b| !b.is_empty()) else { return messages };
            messages.extend(batch.iter().map(|message| {
                let attributes = message["MessageAttributes"].as_object().into_iter().flatten();
                QueueMessage {
                    body: serde_json::from_str(message["Body"].as_str().expect("a body")).expect("a JSON document"),
                    attributes: attributes
                        .filter_map(|(name, value)| Some((name.clone(), value["StringValue"].as_str()?.to_owned())))
                        .collect(),
                }
            }));
        }
    }

    /// A topic whose notices are sent to the queue as they are, for events that the filter policy lets pass. Gives its ARN. A name that ends
    /// in `.fifo` is one of ordered, deduplicated messages.
    pub fn create_topic(&self, name: &str, queue: &str, filter: &Value) -> String {
        let fifo = if name.ends_with(".fifo") {
            "&Attributes.entry.1.key=FifoTopic&Attributes.entry.1.value=true"
        } else {
            ""
        };
        self.sns(&format!("Action=CreateTopic&Name={name}{fifo}"));
        let arn = |service: &str, name: &str| format!("arn:aws:{service}:us-east-1:000000000000:{name}");
        let filter: String = form_urlencoded::byte_serialize(filter.to_string().as_bytes()).collect();
        self.sns(&format!(
            "Action=Subscribe&TopicArn={}&Protocol=sqs&Endpoint={}\
             &Attributes.entry.1.key=RawMessageDelivery&Attributes.entry.1.value=true\
             &Attributes.entry.2.key=FilterPolicy&Attributes.entry.2.value={filter}",
            arn("sns", name),
            arn("sqs", queue),
        ));
        arn("sns", name)
    }

    /// One call of SNS, which speaks forms and XML.
    fn sns(&self, form: &str) {
        let authorization =
            "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/sns/aws4_request, SignedHeaders=host, Signature=0";
        let headers = [
            ("content-type", "application/x-www-form-urlencoded"),
            ("authorization", authorization),
            ("x-amz-date", "20260101T000000Z"),
        ];
        let form = format!("{form}&Version=2010-03-31");
        let mut http = Http::connect(self.address).expect("the emulator listens");
        let answer = http.send("POST", "/", &headers, form.as_bytes()).expect("an answer");
        assert_eq!(answer.status, 200, "{form}: {}", answer.text());
    }

    fn url(&self, queue: &str) -> Value {
        self.sqs("GetQueueUrl", &json!({"QueueName": queue})).expect("GetQueueUrl")["QueueUrl"].clone()
    }

    fn sqs(&self, operation: &str, body: &Value) -> Result<Value, AwsError> {
        Kinesis::new(self.address).call_service("AmazonSQS", "sqs", "application/x-amz-json-1.0", operation, body)
    }
}
