//! What is traced of one request, or of one batch that was read: the context its records carry, and its span where it has one.

use std::sync::{Arc, Mutex, PoisonError};

use crate::model::{Outcome, Record, Settlement, SpanContext};

use super::span::Span;

/// Of one request or batch. The default one says nothing and passes nothing on.
#[derive(Debug, Default)]
pub struct Traced {
    context: Option<Arc<SpanContext>>,
    /// Boxed, as most have none. Locked for a moment each time it is told something, and never waited for.
    work: Option<Box<Mutex<Work>>>,
}

/// A span that counts what becomes of records. Dropped, it says what it counted.
#[derive(Debug)]
struct Work {
    span: Span,
    stream: Option<String>,
    records: usize,
    bytes: usize,
    /// Forwarded, quarantined, dropped, unsettled.
    settled: [usize; 4],
    is_answered: bool,
}

const COUNTS: [&str; 4] = [
    "meshgate.events.forwarded",
    "meshgate.events.quarantined",
    "meshgate.events.dropped",
    "meshgate.events.unsettled",
];

/// Methods by name; any other is `_OTHER` (OpenTelemetry's HTTP conventions).
const KNOWN: [&str; 9] = ["CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"];

impl Traced {
    pub(super) fn passing(context: Option<SpanContext>) -> Self {
        Self { context: context.map(Arc::new), work: None }
    }

    pub(super) fn recording(span: Span) -> Self {
        let context = span.context().cloned();
        let work = Work { span, stream: None, records: 0, bytes: 0, settled: [0; 4], is_answered: false };
        Self { context, work: Some(Box::new(Mutex::new(work))) }
    }

    /// What its records are to carry.
    pub const fn context(&self) -> Option<&Arc<SpanContext>> {
        self.context.as_ref()
    }

    fn with(&self, tell: impl FnOnce(&mut Work)) {
        if let Some(work) = &self.work {
            tell(&mut work.lock().unwrap_or_else(PoisonError::into_inner));
        }
    }

    /// It is a batch of this shard's records.
    pub(super) fn reads(&self, stream: &str, shard: &str) {
        self.with(|work| {
            work.span.name(format!("process {stream}"));
            work.span.tell("aws.kinesis.shard_id", shard);
            work.is_answered = true;
        });
    }

    /// These records, written to that stream, are about to be judged and settled.
    pub fn takes(&self, stream: &str, records: &[Record]) {
        self.with(|work| {
            work.stream.get_or_insert_with(|| stream.to_owned());
            work.records += records.len();
            work.bytes += records.iter().map(|record| record.data.len()).sum::<usize>();
        });
    }

    /// That became of some of them.
    pub fn settles(&self, outcomes: &[Outcome]) {
        self.with(|work| {
            for outcome in outcomes {
                work.settled[match outcome.settlement {
                    Settlement::Forwarded(_) => 0,
                    Settlement::Quarantined { .. } => 1,
                    Settlement::Dropped(_) => 2,
                    Settlement::Unsettled(_) => 3,
                }] += 1;
            }
        });
    }

    /// A request of this method was answered. `source` and `operation` are the labels it is counted under, of closed sets.
    pub fn answered(&self, source: &str, operation: &str, method: &str, status: u16) {
        self.with(|work| {
            work.is_answered = true;
            let route = match operation {
                "events" => Some("/v1/streams/{stream}/events"),
                "judge" => Some("/v1/contracts/{domain}/{name}/judge"),
                _ => None,
            };
            if source == "kinesis_api" {
                work.span.name(format!("Kinesis/{operation}"));
                work.span.tell("rpc.system", "aws-api");
                work.span.tell("rpc.service", "Kinesis");
                work.span.tell("rpc.method", operation);
            } else {
                // Of what is no path here nothing is told: it may be anything.
                let method = if route.is_some() && method == "POST" { method } else { "HTTP" };
                work.span.name(route.map_or_else(|| method.to_owned(), |route| format!("{method} {route}")));
            }
            if let Some(route) = route {
                work.span.tell("http.route", route);
            }
            work.span.tell("http.request.method", if KNOWN.contains(&method) { method } else { "_OTHER" });
            work.span.tell("http.response.status_code", usize::from(status));
            if status >= 500 {
                work.span.tell("error.type", &*status.to_string());
                work.span.fail(format!("answered with status {status}"));
            }
        });
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        let Self { span, stream, records, bytes, settled, is_answered } = self;
        if let Some(stream) = stream {
            span.tell("messaging.system", "aws_kinesis");
            span.tell("messaging.operation.type", "process");
            span.tell("messaging.destination.name", &**stream);
            span.tell("messaging.batch.message_count", *records);
            span.tell("meshgate.bytes", *bytes);
            for (attribute, count) in COUNTS.into_iter().zip(*settled) {
                span.tell(attribute, count);
            }
            if settled[3] > 0 {
                span.fail(format!("{} of {records} records were not settled", settled[3]));
            }
        }
        if !*is_answered {
            span.name("request".to_owned());
            span.tell("error.type", "cancelled");
            span.fail("its client went away before it was answered".to_owned());
        }
    }
}
