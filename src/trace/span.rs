//! A span: what was done, for whom, from when to when. Attributes are those of OpenTelemetry's semantic conventions where it has some, and
//! `meshgate.*` else. None is ever a value of an event.

use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::model::{SpanContext, SpanId, Trouble, Unsettled};

use super::Recorder;

/// What an attribute says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Text(String),
    Number(u64),
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<usize> for Value {
    fn from(number: usize) -> Self {
        Self::Number(number as u64)
    }
}

/// `SpanKind` of OTLP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Server = 2,
    Client = 3,
    Producer = 4,
    Consumer = 5,
}

/// A span as it is exported.
#[derive(Debug)]
pub(super) struct SpanData {
    pub context: Arc<SpanContext>,
    /// And whether it is another process's.
    pub parent: Option<(SpanId, bool)>,
    pub kind: Kind,
    pub name: String,
    /// Nanoseconds since 1970.
    pub start: u64,
    pub end: u64,
    pub attributes: Vec<(&'static str, Value)>,
    pub links: Vec<Arc<SpanContext>>,
    pub links_left_out: u32,
    /// Why it failed, where it did.
    pub error: Option<String>,
}

/// A span under way. Dropped, it has ended.
#[derive(Debug)]
pub(super) struct Span {
    data: Option<Box<SpanData>>,
    started: Instant,
    recorder: Arc<Recorder>,
}

impl Span {
    pub fn start(
        recorder: &Arc<Recorder>,
        context: Arc<SpanContext>,
        parent: Option<(SpanId, bool)>,
        kind: Kind,
    ) -> Self {
        let start = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let start = u64::try_from(start.as_nanos()).unwrap_or_default();
        let data = SpanData {
            context,
            parent,
            kind,
            name: String::new(),
            start,
            end: start,
            attributes: Vec::new(),
            links: Vec::new(),
            links_left_out: 0,
            error: None,
        };
        Self { data: Some(Box::new(data)), started: Instant::now(), recorder: Arc::clone(recorder) }
    }

    pub fn linked(mut self, contexts: Vec<&Arc<SpanContext>>, left_out: u32) -> Self {
        if let Some(data) = &mut self.data {
            data.links = contexts.into_iter().cloned().collect();
            data.links_left_out = left_out;
        }
        self
    }

    pub fn context(&self) -> Option<&Arc<SpanContext>> {
        self.data.as_ref().map(|data| &data.context)
    }

    pub fn name(&mut self, name: String) {
        if let Some(data) = &mut self.data {
            data.name = name;
        }
    }

    pub fn tell(&mut self, attribute: &'static str, value: impl Into<Value>) {
        if let Some(data) = &mut self.data {
            data.attributes.push((attribute, value.into()));
        }
    }

    /// The first reason stays.
    pub fn fail(&mut self, why: String) {
        if let Some(data) = &mut self.data {
            data.error.get_or_insert(why);
        }
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        let Some(mut data) = self.data.take() else { return };
        data.end = data.start.saturating_add(u64::try_from(self.started.elapsed().as_nanos()).unwrap_or_default());
        if self.recorder.queue.try_send(data).is_err() {
            self.recorder.dropped.inc();
        }
    }
}

/// What is called upstream.
#[derive(Debug)]
pub struct Operation {
    /// As AWS names them: `Kinesis`, `PutRecords`.
    pub service: &'static str,
    pub method: &'static str,
    /// `messaging.system`, where it sends messages.
    pub messaging: Option<&'static str>,
}

impl Operation {
    pub(super) const fn kind(&self) -> Kind {
        match self.messaging {
            Some(_) => Kind::Producer,
            None => Kind::Client,
        }
    }
}

/// Of what was not taken, why.
pub fn troubles<T>(results: &[Result<T, Unsettled>]) -> impl Iterator<Item = Trouble> {
    results.iter().filter_map(|result| result.as_ref().err()).map(|failure| failure.trouble)
}

/// A call upstream. Dropped before it was answered, it says so.
#[derive(Debug)]
pub struct Call {
    context: Option<Arc<SpanContext>>,
    span: Option<Span>,
    is_answered: bool,
}

impl Call {
    pub(super) const fn passing(context: Option<Arc<SpanContext>>) -> Self {
        Self { context, span: None, is_answered: true }
    }

    pub(super) fn recording(mut span: Span, operation: &Operation, target: &str, count: usize) -> Self {
        span.tell("rpc.system", "aws-api");
        span.tell("rpc.service", operation.service);
        span.tell("rpc.method", operation.method);
        match operation.messaging {
            Some(system) => {
                span.name(format!("send {target}"));
                span.tell("messaging.system", system);
                span.tell("messaging.operation.type", "send");
                span.tell("messaging.operation.name", operation.method);
                span.tell("messaging.destination.name", target);
                span.tell("messaging.batch.message_count", count);
            }
            None => {
                span.name(format!("{}/{}", operation.service, operation.method));
                span.tell("aws.s3.bucket", target);
                span.tell("meshgate.letters", count);
            }
        }
        Self { context: span.context().cloned(), span: Some(span), is_answered: false }
    }

    /// What is to be passed on.
    pub fn context(&self) -> Option<&SpanContext> {
        self.context.as_deref()
    }

    /// What came of it: of each entry that was not taken, why.
    pub fn answered(&mut self, troubles: impl Iterator<Item = Trouble>) {
        self.is_answered = true;
        let Some(span) = &mut self.span else { return };
        let mut count = 0;
        for trouble in troubles {
            if count == 0 {
                span.tell("error.type", trouble.as_str());
                span.fail(trouble.as_str().to_owned());
            }
            count += 1;
        }
        if count > 0 {
            span.tell("meshgate.failed", count);
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if let Some(span) = self.span.as_mut().filter(|_| !self.is_answered) {
            span.tell("error.type", "cancelled");
            span.fail("given up before it was answered".to_owned());
        }
    }
}
