//! The far ends on AWS, alone and under `pipeline::deliver`, against a stand-in that fails in every way AWS does.

#[path = "../support/upstream.rs"]
mod upstream;

mod clients;
mod deliver;
mod kinesis;
mod leases;
mod ministack;
mod shards;
mod signature;
mod sqs;

use std::time::Duration;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_kinesis::config::{Credentials, SharedCredentialsProvider};
use bytes::Bytes;
use meshgate::aws::{AwsOptions, Clients};
use meshgate::gate::delivery::RetryPolicy;
use meshgate::model::{DeadLetter, Record, Timestamp, Trouble, Unsettled};
use meshgate::sink::kinesis::KinesisSink;
use meshgate::sink::sqs::SqsSink;
use upstream::{REGION, Script, Upstream};

/// Quick, so that tests are.
const POLICY: RetryPolicy =
    RetryPolicy { attempts_max: 4, base_ms: 5, throttled_base_ms: 10, cap_ms: 20, deadline_ms: 5_000 };

const SECRET_KEY: &str = "secret";

fn clients(url: &str) -> Clients {
    clients_waiting(url, Duration::from_millis(1_500))
}

fn clients_waiting(url: &str, call_timeout: Duration) -> Clients {
    let credentials = Credentials::new("AKID", SECRET_KEY, None, None, "test");
    let sdk = SdkConfig::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .region(Region::new(REGION))
        .endpoint_url(url)
        .build();
    let options = AwsOptions { call_timeout, ..AwsOptions::new("gate-1") };
    Clients::from_sdk_config(&sdk, &options).unwrap()
}

async fn kinesis_sink() -> (Upstream, KinesisSink) {
    let upstream = Upstream::start().await;
    upstream.add_stream("orders", 4, 1_024);
    let sink = KinesisSink::new(clients(&upstream.url()).kinesis);
    (upstream, sink)
}

async fn sqs_sink() -> (Upstream, SqsSink) {
    let upstream = Upstream::start().await;
    upstream.add_queue("dlq", 1_048_576);
    let sink = SqsSink::new(clients(&upstream.url()).sqs, REGION);
    (upstream, sink)
}

fn record(data: impl Into<Bytes>, key: &str) -> Record {
    Record { partition_key: Some(key.into()), ..Record::new(data, "orders".into(), Timestamp::default()) }
}

fn letter(id: usize, body: &str) -> DeadLetter {
    DeadLetter {
        document_bytes: None,
        key_hash: None,
        is_kept: false,
        attempts: 0,
        trace: None,
        id: format!("letter-{id}"),
        body: body.into(),
        quarantined: Timestamp::default(),
        stream: "orders".into(),
        domain: "sales".into(),
        contract: "order.placed".into(),
        rule: "qty_positive".into(),
        kind: "rule",
    }
}

fn troubles<T>(results: &[Result<T, Unsettled>]) -> Vec<Option<Trouble>> {
    results.iter().map(|result| result.as_ref().err().map(|failure| failure.trouble)).collect()
}

fn refs<T>(items: &[T]) -> Vec<&T> {
    items.iter().collect()
}

fn error(status: u16, code: &'static str) -> Script {
    Script::Error { status, code, message: "of the far end" }
}

/// Whole calls that fail, and what a delivery is to make of them.
fn failing_calls() -> Vec<(Script, Trouble, &'static str)> {
    use Trouble::{Rejected, Throttled, Unavailable};
    vec![
        (error(400, "ProvisionedThroughputExceededException"), Throttled, "add shards"),
        (error(400, "KMSThrottlingException"), Throttled, "raise the KMS quota"),
        (error(400, "ThrottlingException"), Throttled, "retry with back-off"),
        (error(400, "LimitExceededException"), Throttled, "retry with back-off"),
        (error(500, "InternalFailureException"), Unavailable, "may or may not have been stored"),
        (error(503, "ServiceUnavailable"), Unavailable, "may or may not have been stored"),
        (error(400, "ExpiredTokenException"), Unavailable, "renew"),
        (error(403, "InvalidSignatureException"), Unavailable, "clock"),
        (error(400, "AccessDeniedException"), Rejected, "allow it to the gate's role"),
        (error(400, "ResourceNotFoundException"), Rejected, "create it"),
        (error(400, "KMSDisabledException"), Rejected, "repair the encryption key"),
        (error(400, "KMSAccessDeniedException"), Rejected, "repair the encryption key"),
        (error(400, "UnrecognizedClientException"), Rejected, "credentials"),
        (error(400, "InvalidArgumentException"), Rejected, "limits"),
        (Script::Raw { status: 502, body: "<html>bad gateway" }, Unavailable, "HTTP 502"),
        (Script::Raw { status: 200, body: "<html>captive portal" }, Unavailable, "could not be read"),
        (Script::Raw { status: 403, body: "<html>proxy" }, Rejected, "HTTP 403"),
        (Script::Raw { status: 429, body: "" }, Throttled, "HTTP 429"),
        (Script::Reset, Unavailable, "may or may not have been stored"),
        (Script::Lost, Unavailable, "may or may not have been stored"),
        (Script::Slow(Duration::from_secs(30)), Unavailable, "took too long"),
    ]
}
