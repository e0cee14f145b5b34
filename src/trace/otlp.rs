//! Spans as OTLP has them, in JSON (OTLP 1.x, "JSON Protobuf Encoding": ids in hexadecimal, enumerations as numbers, 64-bit numbers as
//! text). `tests/it/tracing.rs` holds it against the published definitions.

use serde::Serialize;

use super::span::{SpanData, Value};
use crate::model::SpanContext;

/// The bits of `Span.flags` beside the trace's own: that it says whether the parent is remote, and whether it is.
const HAS_IS_REMOTE: u32 = 0x100;
const IS_REMOTE: u32 = 0x200;
/// `STATUS_CODE_ERROR`.
const ERROR: u8 = 2;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Request<'a> {
    resource_spans: [ResourceSpans<'a>; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ResourceSpans<'a> {
    resource: Resource<'a>,
    scope_spans: [ScopeSpans<'a>; 1],
}

#[derive(Serialize)]
struct Resource<'a> {
    attributes: Vec<KeyValue<'a>>,
}

#[derive(Serialize)]
struct ScopeSpans<'a> {
    scope: Scope,
    spans: Vec<Span<'a>>,
}

#[derive(Serialize)]
struct Scope {
    name: &'static str,
    version: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Span<'a> {
    trace_id: String,
    span_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_state: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent_span_id: Option<String>,
    flags: u32,
    name: &'a str,
    kind: u8,
    start_time_unix_nano: String,
    end_time_unix_nano: String,
    attributes: Vec<KeyValue<'a>>,
    links: Vec<Link<'a>>,
    dropped_links_count: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Status<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Link<'a> {
    trace_id: String,
    span_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_state: Option<&'a str>,
    flags: u32,
}

#[derive(Serialize)]
struct Status<'a> {
    code: u8,
    message: &'a str,
}

#[derive(Serialize)]
struct KeyValue<'a> {
    key: &'a str,
    value: AnyValue<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
enum AnyValue<'a> {
    StringValue(&'a str),
    IntValue(String),
}

/// The body of an `ExportTraceServiceRequest`.
pub fn export(resource: &[(String, String)], spans: &[Box<SpanData>]) -> Vec<u8> {
    let attributes =
        resource.iter().map(|(key, value)| KeyValue { key, value: AnyValue::StringValue(value) }).collect();
    let resource = Resource { attributes };
    let scope = Scope { name: "meshgate", version: env!("CARGO_PKG_VERSION") };
    let scope_spans = [ScopeSpans { scope, spans: spans.iter().map(|span| span_of(span)).collect() }];
    // Strings and numbers, into memory: it cannot fail.
    serde_json::to_vec(&Request { resource_spans: [ResourceSpans { resource, scope_spans }] }).unwrap_or_default()
}

fn span_of(data: &SpanData) -> Span<'_> {
    let SpanContext { trace_id, span_id, state, .. } = &*data.context;
    let is_remote = data.parent.is_some_and(|(_, is_remote)| is_remote);
    Span {
        trace_id: trace_id.to_string(),
        span_id: span_id.to_string(),
        trace_state: state.as_deref(),
        parent_span_id: data.parent.map(|(span_id, _)| span_id.to_string()),
        flags: flags(&data.context) | HAS_IS_REMOTE | if is_remote { IS_REMOTE } else { 0 },
        name: &data.name,
        kind: data.kind as u8,
        start_time_unix_nano: data.start.to_string(),
        end_time_unix_nano: data.end.to_string(),
        attributes: data.attributes.iter().map(|(key, value)| KeyValue { key, value: value_of(value) }).collect(),
        links: data.links.iter().map(|context| link(context)).collect(),
        dropped_links_count: data.links_left_out,
        status: data.error.as_deref().map(|message| Status { code: ERROR, message }),
    }
}

fn link(context: &SpanContext) -> Link<'_> {
    Link {
        trace_id: context.trace_id.to_string(),
        span_id: context.span_id.to_string(),
        trace_state: context.state.as_deref(),
        flags: flags(context) | HAS_IS_REMOTE,
    }
}

fn flags(context: &SpanContext) -> u32 {
    u32::from(context.is_sampled) | u32::from(context.is_random) << 1
}

fn value_of(value: &Value) -> AnyValue<'_> {
    match value {
        Value::Text(text) => AnyValue::StringValue(text),
        Value::Number(number) => AnyValue::IntValue(number.to_string()),
    }
}
