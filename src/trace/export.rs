//! Sends spans that ended to an OTLP endpoint over HTTP, some hundred at a time, from a queue with a bound.
//!
//! Nothing waits for it: a span that finds the queue full is dropped, one whose batch is not taken after some attempts has failed, and both
//! are counted. At the end what is queued is sent, for no longer than [`LAST_WORDS`].
//!
//! The client is the AWS SDK's own, which is here anyway, so that `https` is spoken as to AWS.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use aws_smithy_http_client::default_connector;
use aws_smithy_runtime_api::client::http::{HttpConnector as _, HttpConnectorSettings, SharedHttpConnector};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use prometheus::IntCounter;
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
                Ok(()) => return self.exported.inc_by(batch.len() as u64),
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
    async fn post(&self, body: Vec<u8>) -> Result<(), Refusal> {
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
        match timeout(CALL_TIMEOUT, connector.call(request)).await {
            Err(_) => Err(again(format!("no answer within {} seconds", CALL_TIMEOUT.as_secs()))),
            Ok(Err(error)) => Err(again(chain_of(&error))),
            Ok(Ok(answer)) => match answer.status().as_u16() {
                200..300 => Ok(()),
                status @ (429 | 502..=504) => Err(again(format!("it answers with status {status}"))),
                status => Err(for_good(format!("it answers with status {status}"))),
            },
        }
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
