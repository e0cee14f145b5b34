//! Dead letters on SQS and S3, as emulators give them: FIFO queues, events too large for a message, the archive.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use aws_config::{BehaviorVersion, SdkConfig};
use aws_sdk_s3::config::{Credentials, SharedCredentialsProvider};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use meshgate::aws::{AwsOptions, Clients};
use meshgate::sink::s3::{ObjectError, Objects, Pointer};
use serde_json::{Value, json};

use crate::harness::{
    Emulator, Gate, GateOptions, Put, Tool, bad_parcel, copy_tree, free_port, good_parcel, parcels_rules, repository,
    run, temporary, tool,
};

const BUCKET: &str = "meshgate-letters";

/// Where a gate's records go. Each may be an emulator of its own.
struct Ends {
    kinesis: String,
    sqs: String,
    s3: String,
}

impl Ends {
    fn all_at(aws: &Emulator) -> Self {
        Self { kinesis: aws.endpoint(), sqs: aws.endpoint(), s3: aws.endpoint() }
    }

    /// A gate for stream `parcels-in`; `letters` is what its settings say of dead letters.
    fn gate(&self, queue: &str, letters: &str, rules: PathBuf) -> Gate {
        let config = format!(
            "backend: aws\n\
             aws: {{region: us-east-1, kinesis_endpoint: \"{}\", sqs_endpoint: \"{}\", s3_endpoint: \"{}\"}}\n\
             dlq: {queue}\n{letters}\n\
             retry: {{attempts: 3, deadline_seconds: 3}}\n\
             routes: [{{source: parcels-in, mesh: parcels-mesh}}]\n",
            self.kinesis, self.sqs, self.s3
        );
        let credentials =
            [("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test"), ("AWS_EC2_METADATA_DISABLED", "true")];
        let environment = credentials.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        Gate::start(GateOptions { rules, config: Some(config), environment, ..GateOptions::default() })
    }
}

/// Kinesis, which every gate needs.
fn kinesis() -> Option<Emulator> {
    let aws = Emulator::ministack()?;
    aws.create_stream("parcels-mesh", 1);
    Some(aws)
}

/// The emulators of SQS and S3 that are installed.
fn emulators() -> impl Iterator<Item = Emulator> {
    [Emulator::ministack(), Emulator::fauxqs()].into_iter().flatten()
}

/// An event that breaks `weight_is_positive`, of at least so many bytes.
fn large_parcel(id: &str, bytes: usize) -> String {
    bad_parcel(id).replace("Ada", &"é".repeat(bytes / 2))
}

/// An event of the other one of [`two_domains`].
fn bad_postcard(id: &str) -> String {
    bad_parcel(id).replace("parcel.sent", "postcard.sent")
}

/// The tests' rules, and the same as those of a domain `post` for its postcards.
fn two_domains(home: &Path) -> PathBuf {
    let rules = home.join("rules");
    copy_tree(&parcels_rules(), &rules);
    copy_tree(&parcels_rules().join("parcels"), &rules.join("post"));
    for file in ["domain.yaml", "parcel.sent.yaml"] {
        let path = rules.join("post").join(file);
        let text = std::fs::read_to_string(&path).expect("a rule file");
        let text = text.replace("name: parcels", "name: post").replace("domain: parcels", "domain: post");
        let text = text
            .replace("type: parcel.sent", "type: postcard.sent")
            .replace("name: parcel.sent", "name: postcard.sent");
        std::fs::write(path, text).expect("written");
    }
    rules
}

fn put(gate: &Gate, puts: &[Put]) -> Vec<bool> {
    let results = gate.kinesis().put_records("parcels-in", puts).expect("PutRecords answers");
    results.iter().map(|result| result["ErrorCode"].is_null()).collect()
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_else(|| panic!("no {pointer} in {value}"))
}

fn document(message: &Value) -> Value {
    serde_json::from_str(text(message, "/Body")).expect("JSON")
}

#[test]
fn a_letter_too_large_for_its_queue_is_found_by_its_pointer() {
    let Some(mesh) = kinesis() else { return };
    // The service's own maximum, which a record that Kinesis takes exceeds by what its document adds; and a queue's of its own.
    for (aws, (message_max, event_bytes)) in emulators().zip([(1_048_576, 1_048_000), (65_536, 70_000)]) {
        aws.create_bucket(BUCKET);
        aws.create_queue_with("parcels-dlq", &json!({"MaximumMessageSize": message_max.to_string()}));
        let ends = Ends { kinesis: mesh.endpoint(), ..Ends::all_at(&aws) };
        let gate = ends.gate(
            "parcels-dlq",
            &format!("dead_letters: {{s3: {{bucket: {BUCKET}, prefix: dlq/}}}}"),
            parcels_rules(),
        );
        // Between two that fit.
        let large = large_parcel("2", event_bytes);
        let puts = [Put::new(bad_parcel("1"), "a"), Put::new(&*large, "a"), Put::new(bad_parcel("3"), "b")];
        assert_eq!(put(&gate, &puts), [true; 3]);

        let keys = aws.keys(BUCKET);
        let [key] = &keys[..] else { panic!("one object: {keys:?}") };
        let stored = String::from_utf8(aws.object(BUCKET, key)).expect("text");
        let kept: Value = serde_json::from_str(&stored).expect("a document");
        let date = &text(&kept, "/quarantinedAt")[..10];
        assert_eq!(*key, format!("dlq/domain=parcels/date={date}/{}.json", text(&kept, "/id")));
        assert!(stored.contains(&large), "the event is there byte for byte");
        for (metric, expected) in
            [("meshgate_objects_total", 1.0), ("meshgate_object_bytes_total", stored.len() as f64)]
        {
            assert_eq!(gate.metric(metric, &[r#"kind="letter""#]), expected, "{metric}");
        }

        let read = extended_client(&aws, "parcels-dlq");
        let messages = aws.take("parcels-dlq");
        let pointers: Vec<_> = messages.iter().filter(|message| document(message).is_array()).collect();
        let [pointer] = pointers[..] else { panic!("one pointer: {messages:?}") };
        assert_eq!(messages.len(), 3);
        let class = "software.amazon.payloadoffloading.PayloadS3Pointer";
        assert_eq!(document(pointer), json!([class, {"s3BucketName": BUCKET, "s3Key": key}]));
        let size = &pointer["MessageAttributes"]["ExtendedPayloadSize"];
        assert_eq!((text(size, "/DataType"), text(size, "/StringValue")), ("Number", &*stored.len().to_string()));
        assert_eq!(text(pointer, "/MessageAttributes/rule/StringValue"), "weight_is_positive");

        let body = text(pointer, "/Body");
        tokio::runtime::Runtime::new().expect("a runtime").block_on(the_way_back(&aws, body, &stored));
        assert!(aws.keys(BUCKET).is_empty());

        let Some(read) = read else { continue };
        assert_eq!(read.len(), 3);
        assert!(
            read.iter().any(|message| message["document"] == kept),
            "what the extended client reads is the document"
        );
        for message in &read {
            assert_eq!(message["attributes"]["id"], message["document"]["id"]);
        }
    }
}

/// The gate's own reader fetches what a message points to, and deletes it.
async fn the_way_back(aws: &Emulator, body: &str, stored: &str) {
    let credentials = Credentials::new("test", "test", None, None, "test");
    let sdk = SdkConfig::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .build();
    let options = AwsOptions {
        region: Some("us-east-1".into()),
        s3_endpoint: Some(aws.endpoint()),
        ..AwsOptions::new("dead-letters-test")
    };
    let objects = Objects::new(Clients::from_sdk_config(&sdk, &options).expect("clients").s3);
    let pointer = Pointer::parse(body).expect("a pointer");
    assert_eq!(objects.fetch(&pointer).await.as_deref(), Ok(stored));
    for _ in 0..2 {
        objects.delete(&pointer).await.expect("deleted, or not there any more");
    }
    let gone = objects.fetch(&pointer).await;
    assert!(matches!(&gone, Err(ObjectError::Gone(why)) if why.contains("lifecycle rule")), "{gone:?}");
    let nowhere = objects.fetch(&Pointer { bucket: "not-there".into(), ..pointer }).await;
    assert!(matches!(&nowhere, Err(ObjectError::Failed(why)) if why.contains("NoSuchBucket")), "{nowhere:?}");
}

/// What Amazon's extended client for Python makes of a queue's messages, which it leaves there. `None` where it is not installed.
fn extended_client(aws: &Emulator, queue: &str) -> Option<Vec<Value>> {
    let mut python: Command = tool(Tool::ExtendedClient)?;
    python.arg(repository().join("tests/clients/letters_boto3_extended.py")).args([&aws.endpoint(), queue]);
    let output = run(&mut python);
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}\n{err}");
    Some(out.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect())
}

#[test]
fn with_s3_down_what_needs_it_is_unsettled_and_nothing_is_lost() {
    let Some(aws) = kinesis() else { return };
    aws.create_queue("parcels-dlq");
    let s3_port = free_port();
    let ends = Ends { s3: format!("http://127.0.0.1:{s3_port}"), ..Ends::all_at(&aws) };
    let puts =
        [Put::new(good_parcel("1"), "a"), Put::new(bad_parcel("2"), "a"), Put::new(large_parcel("3", 1_048_000), "b")];
    let plain = ends.gate("parcels-dlq", &format!("dead_letters: {{s3: {{bucket: {BUCKET}}}}}"), parcels_rules());
    assert_eq!(put(&plain, &puts), [true, true, false], "only the large one needs S3");
    let single = json!({"StreamName": "parcels-in", "Data": STANDARD.encode(&puts[2].data), "PartitionKey": "b"});
    plain.kinesis().call("PutRecord", &single).expect_err("a producer's own error");
    assert!(plain.metric("meshgate_sink_failures_total", &[r#"sink="letter""#, r#"trouble="unavailable""#]) > 0.0);
    let log = plain.log().join("\n");
    assert!(log.contains("could not be put into an object, so it was not sent to its queue: S3 bucket"), "{log}");
    assert!(!log.contains("éééé"), "no payload in the log");

    let settings = format!("dead_letters: {{s3: {{bucket: {BUCKET}, archive: true}}}}");
    let archiving = ends.gate("parcels-dlq", &settings, parcels_rules());
    assert_eq!(put(&archiving, &puts), [true, false, false], "every letter needs its archive");
    assert_eq!(archiving.metric("meshgate_records_total", &[r#"settlement="unsettled""#]), 2.0);
    assert_eq!(aws.take("parcels-dlq").len(), 1, "nothing is sent that could not be put first");

    let s3 = Emulator::ministack_at(s3_port).expect("it was there before");
    s3.create_bucket(BUCKET);
    assert_eq!(put(&archiving, &puts[1..]), [true, true], "the producer's own retry");
    let ids: BTreeSet<String> =
        aws.take("parcels-dlq").iter().map(|m| text(m, "/MessageAttributes/id/StringValue").to_owned()).collect();
    let archived: Vec<Value> =
        s3.archived(BUCKET, "").iter().map(|(_, line)| serde_json::from_str(line).expect("a document")).collect();
    assert_eq!((ids.len(), archived.len()), (2, 2));
    assert_eq!(archived.iter().map(|d| text(d, "/id").to_owned()).collect::<BTreeSet<_>>(), ids);
}

#[test]
fn the_archive_holds_each_document_once_by_domain_and_date() {
    let Some(mesh) = kinesis() else { return };
    for aws in emulators() {
        aws.create_bucket(BUCKET);
        aws.create_queue("parcels-dlq");
        let ends = Ends { kinesis: mesh.endpoint(), ..Ends::all_at(&aws) };
        let settings = format!("dead_letters: {{s3: {{bucket: {BUCKET}, prefix: team=a/, archive: true}}}}");
        let home = temporary();
        let gate = ends.gate("parcels-dlq", &settings, two_domains(home.path()));
        // Written over several lines, which an archive of one line a document must not be broken by.
        let spread = bad_parcel("spread").replace(',', ",\r\n  ");
        let batches = 4;
        for batch in 0..batches {
            let mut puts: Vec<Put> =
                (0..30).map(|i| Put::new(bad_parcel(&format!("{batch}-{i}")), &format!("key-{i}"))).collect();
            puts.push(Put::new(&*spread, "s"));
            puts.push(Put::new(bad_postcard(&batch.to_string()), "u"));
            puts.push(Put::new(good_parcel("g"), "g"));
            assert_eq!(put(&gate, &puts), [true; 33]);
        }
        let sent: BTreeMap<String, Value> =
            aws.take("parcels-dlq").iter().map(document).map(|d| (text(&d, "/id").to_owned(), d)).collect();
        assert_eq!(sent.len(), batches * 32);
        let archived = aws.archived(BUCKET, "team=a/");
        assert_eq!(archived.len(), sent.len(), "each once");
        for (key, line) in &archived {
            let kept: Value = serde_json::from_str(line).expect("a document on one line");
            let original = &sent[text(&kept, "/id")];
            let (domain, date) = (text(&kept, "/domain"), &text(&kept, "/quarantinedAt")[..10]);
            assert!(key.starts_with(&format!("team=a/archive/domain={domain}/date={date}/")), "{key}");
            assert_eq!((&kept["violations"], &kept["source"]), (&original["violations"], &original["source"]));
            match text(&kept, "/payload/encoding") {
                "json" => assert_eq!(&kept, original),
                _ => assert_eq!(STANDARD.decode(text(&kept, "/payload/base64")).unwrap(), spread.as_bytes()),
            }
        }
        let objects: BTreeSet<&String> = archived.iter().map(|(key, _)| key).collect();
        assert_eq!(objects.len(), batches * 2, "one a batch and domain: {objects:?}");
        assert_eq!(gate.metric("meshgate_objects_total", &[r#"kind="archive""#]), (batches * 2) as f64);
    }
}

#[test]
fn what_may_only_be_kept_masked_is_masked_in_objects_too() {
    let Some(aws) = kinesis() else { return };
    let home = temporary();
    let rules = home.path().join("rules");
    copy_tree(&parcels_rules(), &rules);
    let edit = |file: &str, from: &str, to: &str| {
        let path = rules.join("parcels").join(file);
        let text = std::fs::read_to_string(&path).expect("a rule file");
        assert!(text.contains(from), "{file}");
        std::fs::write(path, text.replace(from, to)).expect("written");
    };
    edit("domain.yaml", "\ndefaults:", "\ndlqPayload: masked\ndefaults:");
    edit("parcel.sent.yaml", "\nrules:", "\nprivacy: [{path: /recipient, classification: pii, mask: redact}]\nrules:");
    aws.create_bucket(BUCKET);
    aws.create_queue_with("parcels-dlq.fifo", &json!({"FifoQueue": "true", "MaximumMessageSize": "1024"}));
    let settings = format!("dead_letters: {{s3: {{bucket: {BUCKET}, archive: true}}}}");
    let gate = Ends::all_at(&aws).gate("parcels-dlq.fifo", &settings, rules);
    let secret = bad_parcel("1")
        .replace("Ada", "Ada Lovelace of London")
        .replace("parcel.sent\"", &format!("parcel.sent\",\"pad\":\"{}\"", "x".repeat(2_000)));
    assert_eq!(put(&gate, &[Put::new(secret, "Ada Lovelace of London")]), [true]);
    let keys = aws.keys(BUCKET);
    assert_eq!(keys.len(), 2, "the letter and the archive: {keys:?}");
    let large = keys.iter().find(|key| key.ends_with(".json")).expect("the letter's object");
    let mut texts = vec![String::from_utf8(aws.object(BUCKET, large)).expect("text")];
    texts.extend(aws.archived(BUCKET, "").into_iter().map(|(_, line)| line));
    let messages = aws.take("parcels-dlq.fifo");
    assert_eq!((texts.len(), messages.len()), (2, 1));
    for text in texts.iter().chain(&keys).chain([&messages[0].to_string()]) {
        assert!(!text.contains("Lovelace"), "{text}");
    }
    assert!(texts.iter().all(|text| text.contains(r#""encoding":"masked""#)), "{texts:?}");
    let group = text(&messages[0], "/Attributes/MessageGroupId");
    assert_eq!(group.len(), "parcels.123".len(), "too short a hash to find a key by trying: {group}");
}

#[test]
fn a_fifo_queue_keeps_the_order_of_each_partition_key() {
    let Some(mesh) = kinesis() else { return };
    for aws in emulators() {
        aws.create_queue_with("parcels-dlq.fifo", &json!({"FifoQueue": "true"}));
        let ends = Ends { kinesis: mesh.endpoint(), ..Ends::all_at(&aws) };
        let gate = ends.gate("parcels-dlq.fifo", "", parcels_rules());
        let puts: Vec<Put> =
            (0..40).map(|i| Put::new(bad_parcel(&format!("{i:02}")), &format!("ann{}@example.com", i % 3))).collect();
        assert_eq!(put(&gate, &puts), [true; 40]);
        let messages = aws.take("parcels-dlq.fifo");
        assert_eq!(messages.len(), 40);
        let mut groups: BTreeMap<&str, Vec<(String, String)>> = BTreeMap::new();
        for message in &messages {
            let group = text(message, "/Attributes/MessageGroupId");
            assert!(group.starts_with("parcels.") && !group.contains("ann"), "{group}");
            let id = text(message, "/MessageAttributes/id/StringValue");
            assert_eq!(text(message, "/Attributes/MessageDeduplicationId"), id);
            let kept = document(message);
            let place = (text(&kept, "/source/partitionKey").to_owned(), text(&kept, "/payload/json/id").to_owned());
            groups.entry(group).or_default().push(place);
        }
        assert_eq!(groups.len(), 3, "one a key: {:?}", groups.keys());
        for letters in groups.values() {
            assert!(letters.iter().all(|(key, _)| *key == letters[0].0), "{letters:?}");
            assert!(letters.is_sorted(), "in the order they were written: {letters:?}");
        }
    }
}

#[test]
fn a_standard_queue_is_fair_to_domains() {
    let Some(aws) = kinesis() else { return };
    aws.create_queue("parcels-dlq");
    let home = temporary();
    let gate = Ends::all_at(&aws).gate("parcels-dlq", "", two_domains(home.path()));
    assert_eq!(put(&gate, &[Put::new(bad_parcel("1"), "a"), Put::new(bad_postcard("2"), "b")]), [true; 2]);
    let tenants: BTreeSet<String> =
        aws.take("parcels-dlq").iter().map(|m| text(m, "/Attributes/MessageGroupId").to_owned()).collect();
    assert_eq!(tenants, ["parcels", "post"].map(str::to_owned).into());
}
