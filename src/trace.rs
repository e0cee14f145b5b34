//! Traces: one span for a request, one for a call upstream; what is passed on in headers, and, where an endpoint is set, what is exported.
//!
//! A record carries the context of its request ([`crate::model::Record::trace`]) through judging, delivery and shared calls to the sinks,
//! which pass it on; so nothing is ambient, and a task of its own knows what it works for. Without a header and without an endpoint that
//! is `None`: nothing is allocated, and nobody asks a clock.
//!
//! * Not exporting, a request's context is the one it came with, and a call that serves one request passes it on as it is.
//! * Exporting, a request that is sampled has a span, and its records carry that one's context. A call that serves one request has a span
//!   below it; one that several share has a trace of its own, with links to them ([`LINKS_MAX`]), sampled when any of them is.
//! * What is not sampled has no span, and an id that nobody could look up is not made up for it: it passes on what it came with.
//!
//! Spans end when they are dropped, and go into a bounded queue ([`export`]): a span is lost rather than a request held up.

mod export;
mod otlp;
mod sample;
mod span;
mod work;

use std::sync::Arc;

use hyper::http::HeaderMap;
use prometheus::IntCounter;
use tokio::sync::mpsc;

pub use export::{Exporting, Settings};
pub use sample::Sampler;
pub use span::{Call, Operation, troubles};
pub use work::Traced;

use crate::model::{SpanContext, SpanId, TraceId};
use span::{Kind, Span, SpanData};

/// Requests that one call's span is linked to.
pub const LINKS_MAX: usize = 32;

/// Makes spans where they are exported; else passes contexts on. Cheap to clone. The default one is off.
#[derive(Debug, Clone, Default)]
pub struct Tracer(Option<Arc<Recorder>>);

/// Where spans that ended go.
#[derive(Debug)]
struct Recorder {
    sampler: Sampler,
    queue: mpsc::Sender<Box<SpanData>>,
    dropped: IntCounter,
}

impl Tracer {
    /// What is traced of a request with these headers.
    pub fn request(&self, headers: &HeaderMap) -> Traced {
        let parent = parent(headers);
        if self.0.is_none() && parent.is_none() {
            return Traced::default();
        }
        self.begin(parent, Kind::Server)
    }

    /// What is traced of a batch that was read of a shard.
    pub fn batch(&self, stream: &str, shard: &str) -> Traced {
        if self.0.is_none() {
            return Traced::default();
        }
        let traced = self.begin(None, Kind::Consumer);
        traced.reads(stream, shard);
        traced
    }

    fn begin(&self, parent: Option<SpanContext>, kind: Kind) -> Traced {
        let Some(recorder) = &self.0 else { return Traced::passing(parent) };
        let trace_id = parent.as_ref().map_or_else(|| TraceId::of_random(fastrand::u128(..)), |parent| parent.trace_id);
        if !recorder.sampler.takes(trace_id, parent.as_ref().map(|parent| parent.is_sampled)) {
            return Traced::passing(parent.map(|parent| SpanContext { is_sampled: false, ..parent }));
        }
        let context = below(trace_id, parent.as_ref());
        Traced::recording(Span::start(recorder, Arc::new(context), parent.map(|parent| (parent.span_id, true)), kind))
    }

    /// A call upstream that carries records, or letters, of these requests.
    pub fn call<'a>(
        &self,
        operation: &'static Operation,
        target: &str,
        requests: impl Iterator<Item = Option<&'a Arc<SpanContext>>>,
    ) -> Call {
        let mut carried = Carried::default();
        requests.for_each(|request| carried.add(request));
        let is_sampled = carried.contexts.iter().any(|context| context.is_sampled);
        let sole = carried.sole();
        let Some(recorder) = self.0.as_ref().filter(|_| is_sampled) else { return Call::passing(sole) };
        let span = match &sole {
            Some(parent) => {
                let context = below(parent.trace_id, Some(parent));
                Span::start(recorder, Arc::new(context), Some((parent.span_id, false)), operation.kind())
            }
            None => {
                let context = below(TraceId::of_random(fastrand::u128(..)), None);
                Span::start(recorder, Arc::new(context), None, operation.kind())
                    .linked(carried.contexts, carried.left_out)
            }
        };
        Call::recording(span, operation, target, carried.count)
    }
}

/// A span's context, in this trace.
fn below(trace_id: TraceId, parent: Option<&SpanContext>) -> SpanContext {
    SpanContext {
        trace_id,
        span_id: SpanId::of_random(fastrand::u64(..)),
        is_sampled: true,
        is_random: parent.is_none_or(|parent| parent.is_random),
        state: parent.and_then(|parent| parent.state.clone()),
    }
}

/// The span that a request says it is part of: W3C's header wins over X-Ray's, which AWS's own SDKs send from a Lambda function.
fn parent(headers: &HeaderMap) -> Option<SpanContext> {
    // Twice is as good as never.
    let single = |name| {
        let mut values = headers.get_all(name).into_iter();
        values.next().filter(|_| values.next().is_none())?.to_str().ok()
    };
    if headers.contains_key("traceparent") {
        let state = headers.get_all("tracestate").into_iter();
        // Not text, it is of no use as a whole.
        let state: Option<Vec<&str>> = state.map(|value| value.to_str().ok()).collect();
        return SpanContext::parse(single("traceparent")?, state.unwrap_or_default().into_iter());
    }
    SpanContext::parse_xray(single("x-amzn-trace-id")?)
}

/// The requests that a call works for.
#[derive(Default)]
struct Carried<'a> {
    /// Each once, at most [`LINKS_MAX`].
    contexts: Vec<&'a Arc<SpanContext>>,
    /// Further ones.
    left_out: u32,
    /// That of the record before.
    last: Option<&'a Arc<SpanContext>>,
    /// Whether some of it belongs to no trace.
    has_others: bool,
    /// Records, or letters.
    count: usize,
}

impl<'a> Carried<'a> {
    fn add(&mut self, request: Option<&'a Arc<SpanContext>>) {
        self.count += 1;
        let Some(context) = request else {
            self.has_others = true;
            return;
        };
        // Those of a request stand together, and share one allocation.
        if self.last.replace(context).is_some_and(|last| Arc::ptr_eq(last, context)) || self.contexts.contains(&context)
        {
            return;
        }
        if self.contexts.len() < LINKS_MAX {
            self.contexts.push(context);
        } else {
            self.left_out = self.left_out.saturating_add(1);
        }
    }

    /// The one request that all of it belongs to.
    fn sole(&self) -> Option<Arc<SpanContext>> {
        match self.contexts[..] {
            [one] if !self.has_others && self.left_out == 0 => Some(Arc::clone(one)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
