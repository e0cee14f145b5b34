//! Sends spans that ended to an OTLP endpoint over HTTP, some hundred at a time, from a queue with a bound.
//!
//! Nothing waits for it: a span that finds the queue full is dropped, one whose batch is not taken after some attempts has failed, and both
//! are counted. At the end what is queued is sent, for no longer than [`LAST_WORDS`].
//!
//! The client is the AWS SDK's own, which is here anyway, so that `https` is spoken as to AWS.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_s3::primitives::ByteStream;
use aws_smithy_http_client::default_connector;
use aws_smithy_runtime_api::client::http::{HttpConnector as _, HttpConnectorSettings, SharedHttpConnector};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use prometheus::IntCounter;
use serde::Deserialize;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::otlp;
use super::span::SpanData;
use super::{Recorder, Sampler, Tracer};
use crate::metrics::Metrics;

/// Spans that wait, and spans of one call. What the OpenTelemetry specification sets for its batch processor.
const WAITING_MAX: usize = 2_048;
const BATCH_MAX: usize = 512;
/// How long spans wait for others.
const LINGER: Duration = Duration::from_secs(1);
/// One call, and the calls for one batch with the pause after the first, which doubles.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
const ATTEMPTS_MAX: u32 = 3;
const PAUSE: Duration = Duration::from_secs(1);
/// For all that is left at the end.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// What of an answer is looked at, bytes.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// Between two lines of the log about spans that were not taken.
const COMPLAINT_INTERVAL: Duration = Duration::from_secs(60);

/// Where spans go, and which.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// `http` or `https`, with its whole path.
    pub url: String,
    pub headers: BTreeMap<String, String>,
    pub sampler: Sampler,
    /// What all spans say of the gate: `service.name` and more.
    pub resource: BTreeMap<String, String>,
}

/// Exporting, at work. Dropped, it ends at once.
#[derive(Debug)]
pub struct Exporting {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Tracer {
    /// A tracer whose spans are exported for as long as [`Exporting`] lives. `instance` is what this process is called.
    pub fn start(settings: Settings, instance: &str, metrics: &Metrics) -> (Self, Exporting) {
        let [exported, dropped, failed] =
            ["exported", "dropped", "failed"].map(|outcome| metrics.spans.with_label_values(&[outcome]));
        let (queue, waiting) = mpsc::channel(WAITING_MAX);
        let stop = watch::Sender::new(false);
        let resource = resource(settings.resource, instance);
        let connector = default_connector(&HttpConnectorSettings::default(), None);
        let Settings { url, headers, sampler, .. } = settings;
        let exporter = Exporter { connector, url, headers, resource, exported, failed, complained: None };
        let task = tokio::spawn(exporter.run(waiting, stop.subscribe()));
        (Self(Some(Arc::new(Recorder { sampler, queue, dropped }))), Exporting { stop, task })
    }
}

/// Attributes that are set win over ours.
fn resource(set: BTreeMap<String, String>, instance: &str) -> Vec<(String, String)> {
    let ours = [("service.version", env!("CARGO_PKG_VERSION")), ("service.instance.id", instance)];
    let mut all: BTreeMap<String, String> =
        ours.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
    all.extend(set);
    all.into_iter().collect()
}

impl Exporting {
    /// Sends what is queued, once the gate has come to its end.
    pub async fn finish(mut self) {
        let _ = self.stop.send(true);
        if timeout(LAST_WORDS, &mut self.task).await.is_err() {
            tracing::warn!("the last spans were not sent in time and are lost; events are not concerned");
        }
    }
}

impl Drop for Exporting {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Exporter {
    connector: Option<SharedHttpConnector>,
    url: String,
    headers: BTreeMap<String, String>,
    resource: Vec<(String, String)>,
    exported: IntCounter,
    failed: IntCounter,
    complained: Option<Instant>,
}

/// Why a batch was not taken.
struct Refusal {
    why: String,
    may_be_repeated: bool,
}

/// What a collector did not take of a batch that it took, and why.
#[derive(Debug, Default, PartialEq, Eq)]
struct Taken {
    rejected: u64,
    why: String,
}

/// An `ExportTraceServiceResponse`: mostly empty.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Answer {
    partial_success: PartialSuccess,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct PartialSuccess {
    /// A 64-bit number, so text; some write a number.
    rejected_spans: serde_json::Value,
    error_message: String,
}

impl Answer {
    fn taken(self) -> Taken {
        let PartialSuccess { rejected_spans, error_message: why } = self.partial_success;
        let rejected = rejected_spans.as_u64().or_else(|| rejected_spans.as_str()?.parse().ok()).unwrap_or_default();
        Taken { rejected, why }
    }
}

/// The beginning of a body. What is longer is no answer to this.
async fn read(mut stream: ByteStream) -> Vec<u8> {
    let mut read = Vec::new();
    while let Ok(Some(part)) = stream.try_next().await {
        if read.len() + part.len() > ANSWER_BYTES_MAX {
            break;
        }
        read.extend_from_slice(&part);
    }
    read
}

impl Exporter {
    async fn run(mut self, mut waiting: mpsc::Receiver<Box<SpanData>>, mut stop: watch::Receiver<bool>) {
        let mut batch = Vec::with_capacity(BATCH_MAX);
        loop {
            let is_stopping = *stop.borrow();
            if is_stopping {
                waiting.close();
            } else {
                tokio::select! {
                    count = waiting.recv_many(&mut batch, BATCH_MAX) => if count == 0 { return },
                    _ = stop.wait_for(|stop| *stop) => continue,
                }
            }
            let until = Instant::now() + if is_stopping { Duration::ZERO } else { LINGER };
            while batch.len() < BATCH_MAX {
                let room = BATCH_MAX - batch.len();
                tokio::select! {
                    more = timeout_at(until, waiting.recv_many(&mut batch, room)) => match more {
                        Ok(1..) => {}
                        _ => break,
                    },
                    _ = stop.wait_for(|stop| *stop), if !is_stopping => break,
                }
            }
            if batch.is_empty() {
                return;
            }
            self.send(&batch, &mut stop).await;
            batch.clear();
        }
    }

    /// Sends a batch, as often as that may help. Told to stop, it is tried once more and not waited for.
    async fn send(&mut self, batch: &[Box<SpanData>], stop: &mut watch::Receiver<bool>) {
        let body = otlp::export(&self.resource, batch);
        let mut pause = PAUSE;
        for attempt in 1..=ATTEMPTS_MAX {
            let refusal = match self.post(body.clone()).await {
                Ok(Taken { rejected, why }) => {
                    let rejected = rejected.min(batch.len() as u64);
                    self.exported.inc_by(batch.len() as u64 - rejected);
                    self.failed.inc_by(rejected);
                    if rejected > 0 {
                        self.complain(&format!("it rejected {rejected} of {} spans: {why}", batch.len()));
                    }
                    return;
                }
                Err(refusal) => refusal,
            };
            if attempt == ATTEMPTS_MAX || !refusal.may_be_repeated || *stop.borrow() {
                self.failed.inc_by(batch.len() as u64);
                return self.complain(&refusal.why);
            }
            tokio::select! {
                () = sleep(pause) => {}
                _ = stop.wait_for(|stop| *stop) => {}
            }
            pause *= 2;
        }
    }

    /// One attempt. Which answers may be repeated is OTLP's: 429, 502, 503, 504, and no answer.
    async fn post(&self, body: Vec<u8>) -> Result<Taken, Refusal> {
        let for_good = |why: String| Refusal { why, may_be_repeated: false };
        let again = |why: String| Refusal { why, may_be_repeated: true };
        let connector = self.connector.as_ref().ok_or_else(|| for_good("there is no HTTP client".to_owned()))?;
        let mut request = HttpRequest::new(body.into());
        let bad = |error: &dyn std::fmt::Display| for_good(format!("the request cannot be made: {error}"));
        request.set_method("POST").map_err(|error| bad(&error))?;
        request.set_uri(self.url.as_str()).map_err(|error| bad(&error))?;
        let ours =
            [("content-type", "application/json"), ("user-agent", concat!("meshgate/", env!("CARGO_PKG_VERSION")))];
        let set = self.headers.iter().map(|(name, value)| (&**name, &**value));
        for (name, value) in ours.into_iter().chain(set) {
            let inserted = request.headers_mut().try_insert(name.to_owned(), value.to_owned());
            inserted.map_err(|_| for_good(format!("{name:?} cannot be sent as a header")))?;
        }
        let called = async {
            let answer = connector.call(request).await.map_err(|error| again(chain_of(&error)))?;
            let status = answer.status().as_u16();
            // To its end, so that the connection is used again.
            let body = read(ByteStream::new(answer.into_body())).await;
            match status {
                200..300 => Ok(serde_json::from_slice(&body).map_or_else(|_| Taken::default(), Answer::taken)),
                429 | 502..=504 => Err(again(format!("it answers with status {status}"))),
                _ => Err(for_good(format!("it answers with status {status}"))),
            }
        };
        let no_answer = |_| again(format!("no answer within {} seconds", CALL_TIMEOUT.as_secs()));
        timeout(CALL_TIMEOUT, called).await.map_err(no_answer)?
    }

    fn complain(&mut self, why: &str) {
        if self.complained.is_some_and(|last| last.elapsed() < COMPLAINT_INTERVAL) {
            return;
        }
        self.complained = Some(Instant::now());
        tracing::warn!(
            url = self.url,
            why,
            "spans could not be exported and are lost; events are not concerned; see that a collector takes OTLP over HTTP there"
        );
    }
}

/// An error and what caused it, which is what a person can act on.
fn chain_of(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_collector_rejects_of_a_batch_is_read_from_its_answer() {
        let taken = |text: &str| serde_json::from_str(text).map_or_else(|_| Taken::default(), Answer::taken);
        let some = |rejected| Taken { rejected, why: "too old".into() };
        assert_eq!(taken(r#"{"partialSuccess":{"rejectedSpans":"3","errorMessage":"too old"}}"#), some(3));
        assert_eq!(taken(r#"{"partialSuccess":{"rejectedSpans":3,"errorMessage":"too old"}}"#), some(3));
        assert_eq!(taken(r#"{"partialSuccess":{"errorMessage":"too old"}}"#), some(0));
        for nothing in ["{}", "", r#"{"partialSuccess":{}}"#, "ok", r#"{"partialSuccess":{"rejectedSpans":"-1"}}"#] {
            assert_eq!(taken(nothing), Taken::default(), "{nothing}");
        }
    }
}
