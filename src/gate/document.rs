//! The DLQ document: everything an owner needs to understand a quarantined event, and a replay needs to repeat it exactly.
//!
//! ```json
//! {"schema": "meshgate.dlq/v1", "id": "…", "quarantinedAt": "…",
//!  "domain": "…", "contract": "…", "version": "…", "revision": "…",
//!  "violations": [{"rule": "…", "kind": "…", "pointer": "…", "dimension": "…", "severity": "…", "mode": "…", "message": "…"}],
//!  "source": {"stream": "…", "position": "…", "arrivedAt": "…", "partitionKey": "…", "explicitHashKey": "…"},
//!  "private": [{"path": "/data/email", "mask": "hash"}],
//!  "trace": {"traceId": "…", "spanId": "…"},
//!  "payload": {"encoding": "json", "bytes": 42, "json": {…}}}
//! ```
//!
//! `payload.encoding` is one of
//! * `json`: the original bytes stand verbatim in `json`; white space around them in `before` and `after`;
//! * `base64`: the original bytes, where they are not well-formed JSON or hold characters that SQS refuses; `compression` says what a
//!   viewer inflates them from (see [`compressed`]), to mask and show what was judged;
//! * `masked`: a re-serialised copy with private fields masked (`dlqPayload: masked`); it cannot be replayed;
//! * `withheld`: nothing but size and SHA-256, where the masked copy is all that may be kept and the bytes cannot be masked; or where the
//!   queue takes no message as large, and the event is still at `source.position` of the stream it was read from.
//!
//! `private` is `"all"` when private fields may be anywhere, since the event could not be understood. `source.unwrapped` marks an event
//! that was made of a change record (see `decode::dynamodb`). `trace` is the span of the request that brought it, where it has one.
//! `replay` says what has been tried since (see [`with_attempt`]).

mod attempts;
mod line;
mod summary;
mod withheld;

pub use attempts::{Attempt, with_attempt};
pub use line::on_one_line;
pub use summary::{Filter, Summary, summary};
pub use withheld::without_payload;

use std::io::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use crate::decode::compressed::{self, Compression};
use crate::decode::json;
use crate::model::{Judgement, Record, Timestamp};
use crate::rule::mask::{Mask, MaskSpec};

/// The document's `schema`: bumped when a reader of the old form would misread the new one.
pub const SCHEMA: &str = "meshgate.dlq/v1";

/// Members of `source` that a producer may have made of a private value.
const KEYS: [&str; 2] = ["partitionKey", "explicitHashKey"];
/// What stands for a key that may not be shown.
const WITHHELD: &str = "***";
/// A private text of fewer bytes is hidden only from keys that are this text.
const HIDDEN_LEN_MIN: usize = 4;

/// A masked copy of a compressed event is kept up to this size, bytes: a queue takes 1 MiB, and what does not fit would never settle.
const MASKED_BYTES_MAX: usize = 768 * 1024;

/// What is private in an event, and what may be kept of it.
#[derive(Debug, Clone, Copy)]
pub struct Privacy<'a> {
    pub fields: PrivateFields<'a>,
    /// `dlqPayload: masked`: private values may not be stored, not even in the DLQ.
    pub keep_masked_only: bool,
}

#[derive(Debug, Clone, Copy)]
pub enum PrivateFields<'a> {
    /// These, by pointers into the whole event. May be none.
    Known(&'a [Mask]),
    /// Some, but the event cannot be matched to a contract that says where.
    Anywhere,
}

/// Builds the document of one quarantined record. `well_formed` says whether its bytes, or what they inflate to, are one JSON text.
pub fn build(
    id: &str,
    quarantined: Timestamp,
    record: &Record,
    well_formed: bool,
    judgement: &Judgement,
    privacy: Privacy<'_>,
) -> String {
    let mut out = Vec::with_capacity(record.data.len() + 1_024);
    let stamp = &judgement.stamp;
    let _ = write!(out, "{{\"schema\":\"{SCHEMA}\",\"id\":");
    json_of(id, &mut out);
    let _ = write!(out, ",\"quarantinedAt\":\"{quarantined}\"");
    member("domain", &*stamp.domain, &mut out);
    member("contract", &*stamp.contract, &mut out);
    if let Some(version) = &stamp.version {
        member("version", &**version, &mut out);
    }
    member("revision", &*stamp.revision, &mut out);
    member("violations", &judgement.violations, &mut out);
    member("private", &private(privacy.fields), &mut out);
    if let Some(trace) = &record.trace {
        let _ = write!(out, ",\"trace\":{{\"traceId\":\"{}\",\"spanId\":\"{}\"}}", trace.trace_id, trace.span_id);
    }
    if !privacy.keep_masked_only {
        member("source", &Source::of(record), &mut out);
        write_original(&mut out, &record.data, well_formed);
    } else if let Some((source, masked)) = masked_copy(record, privacy.fields) {
        member("source", &source, &mut out);
        write_payload_head(&mut out, "masked", &record.data);
        out.extend_from_slice(b",\"json\":");
        out.extend_from_slice(&masked);
        out.push(b'}');
    } else {
        let digest = Sha256::digest(&record.data);
        let mut source = Source::of(record).value();
        withhold_keys(&mut source);
        member("source", &source, &mut out);
        write_payload_head(&mut out, "withheld", &record.data);
        let _ = write!(out, ",\"sha256\":\"{digest:x}\"}}");
    }
    out.push(b'}');
    // Every part is text; if one were not, a document with a mark in it is better than none.
    let out = String::from_utf8(out).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned());
    escaped_for_sqs(out)
}

/// `,"name":` and the value. Writing into memory cannot fail, nor can a value made of strings and numbers.
fn member(name: &str, value: &(impl Serialize + ?Sized), out: &mut Vec<u8>) {
    let _ = write!(out, ",\"{name}\":");
    json_of(value, out);
}

fn json_of(value: &(impl Serialize + ?Sized), out: &mut Vec<u8>) {
    let start = out.len();
    if serde_json::to_writer(&mut *out, value).is_err() {
        out.truncate(start);
        out.extend_from_slice(b"null");
    }
}

/// `source` and the event of a record, in JSON, with what is private masked in both. `None` where that cannot be done.
fn masked_copy(record: &Record, fields: PrivateFields<'_>) -> Option<(Value, Vec<u8>)> {
    let PrivateFields::Known(masks) = fields else { return None };
    let event = json::parse(&compressed::event(&record.data, MASKED_BYTES_MAX).ok()?).ok()?;
    let masked = masked(&event, masks)?;
    let mut source = Source::of(record).value();
    mask_keys(&mut source, &event, &masked);
    let mut json = Vec::with_capacity(record.data.len());
    json_of(&masked, &mut json);
    let fits = Compression::of(&record.data).is_none() || json.len() <= MASKED_BYTES_MAX;
    fits.then_some((source, json))
}

/// The event with its private fields masked. `None` for a CloudEvent with `data_base64`, in which no mask finds what is private.
fn masked(event: &Value, masks: &[Mask]) -> Option<Value> {
    if !masks.is_empty() && event.get("data_base64").is_some() {
        return None;
    }
    let mut copy = event.clone();
    for mask in masks {
        mask.apply(&mut copy);
    }
    Some(copy)
}

/// Producers like to partition by a customer's e-mail address. A key that is the value of a private field is masked like the
/// field; one that holds such a value, in whatever case, or one from inside a private object, is not shown at all.
fn mask_keys(source: &mut Value, event: &Value, masked: &Value) {
    let mut hidden = Vec::new();
    hidden_texts(event, masked, &mut hidden);
    for member in KEYS {
        let Some(key) = source[member].as_str() else { continue };
        let folded = key.to_lowercase();
        let same = hidden.iter().find(|(text, mask)| text == key && mask.is_some());
        let mask = match same {
            Some((_, Some(mask))) => Some((*mask).clone()),
            _ => hidden.iter().any(|(text, _)| is_within(text, &folded)).then(|| WITHHELD.into()),
        };
        if let Some(mask) = mask {
            source[member] = mask;
        }
    }
}

/// Whether a key gives a hidden text away. Shorter texts are in many keys by chance, and say little.
fn is_within(text: &str, folded_key: &str) -> bool {
    let text = text.to_lowercase();
    text == *folded_key || text.len() >= HIDDEN_LEN_MIN && folded_key.contains(&text)
}

/// The scalars that the masked copy hides, as text, each with what stands for it where that is its own mask.
fn hidden_texts<'a>(event: &Value, masked: &'a Value, hidden: &mut Vec<(String, Option<&'a Value>)>) {
    match (event, masked) {
        (Value::Object(a), Value::Object(b)) => {
            a.iter().for_each(|(key, value)| hidden_texts(value, b.get(key).unwrap_or(&Value::Null), hidden));
        }
        (Value::Array(a), Value::Array(b)) => a.iter().zip(b).for_each(|(a, b)| hidden_texts(a, b, hidden)),
        (value, mask) if value == mask => {}
        (value @ (Value::Object(_) | Value::Array(_)), _) => all_texts(value, hidden),
        (value, mask) => hidden.push((text_of(value), Some(mask))),
    }
}

fn all_texts(value: &Value, hidden: &mut Vec<(String, Option<&Value>)>) {
    match value {
        Value::Object(members) => members.iter().for_each(|(key, value)| {
            hidden.push((key.clone(), None));
            all_texts(value, hidden);
        }),
        Value::Array(elements) => elements.iter().for_each(|element| all_texts(element, hidden)),
        scalar => hidden.push((text_of(scalar), None)),
    }
}

fn text_of(scalar: &Value) -> String {
    scalar.as_str().map_or_else(|| scalar.to_string(), str::to_owned)
}

/// For events whose private fields cannot be found: a key may be one of their values.
fn withhold_keys(source: &mut Value) {
    for member in KEYS {
        if source.get(member).is_some() {
            source[member] = WITHHELD.into();
        }
    }
}

/// Where the record came from.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Source<'a> {
    stream: &'a str,
    position: String,
    arrived_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    partition_key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    explicit_hash_key: Option<&'a str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    unwrapped: bool,
}

impl<'a> Source<'a> {
    fn of(record: &'a Record) -> Self {
        Self {
            stream: &record.stream,
            position: record.position.to_string(),
            arrived_at: record.arrived.to_string(),
            partition_key: record.partition_key.as_deref(),
            explicit_hash_key: record.explicit_hash_key.as_deref(),
            unwrapped: record.is_unwrapped,
        }
    }

    /// For a document whose keys may have to be hidden.
    fn value(&self) -> Value {
        serde_json::to_value(self).unwrap_or_default()
    }
}

fn private(fields: PrivateFields<'_>) -> Value {
    match fields {
        PrivateFields::Anywhere => "all".into(),
        PrivateFields::Known(masks) => {
            masks.iter().filter_map(|mask| serde_json::to_value(mask.to_spec()).ok()).collect()
        }
    }
}

/// The payload's first members, which all encodings have.
fn write_payload_head(out: &mut Vec<u8>, encoding: &str, data: &[u8]) {
    let _ = write!(out, ",\"payload\":{{\"encoding\":\"{encoding}\",\"bytes\":{}", data.len());
    if let Some(compression) = Compression::of(data) {
        let _ = write!(out, ",\"compression\":\"{compression}\"");
    }
}

fn write_original(out: &mut Vec<u8>, data: &[u8], well_formed: bool) {
    let is_json = well_formed && Compression::of(data).is_none();
    match std::str::from_utf8(data).ok().filter(|text| is_json && all_sqs_accepts(text)) {
        Some(text) => {
            let json = text.trim_matches([' ', '\t', '\r', '\n']);
            let start = text.len() - text.trim_start_matches([' ', '\t', '\r', '\n']).len();
            let (before, after) = (&text[..start], &text[start + json.len()..]);
            write_payload_head(out, "json", data);
            if !before.is_empty() {
                member("before", before, out);
            }
            if !after.is_empty() {
                member("after", after, out);
            }
            let _ = write!(out, ",\"json\":{json}}}");
        }
        None => {
            write_payload_head(out, "base64", data);
            out.extend_from_slice(b",\"base64\":\"");
            out.extend_from_slice(BASE64.encode(data).as_bytes());
            out.extend_from_slice(b"\"}");
        }
    }
}

/// The characters of an SQS message body: `#x9 | #xA | #xD | #x20-#xD7FF | #xE000-#xFFFD | #x10000-#x10FFFF`
/// (Amazon SQS API reference, `SendMessage`).
fn sqs_accepts(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | '\u{20}'..='\u{D7FF}' | '\u{E000}'..='\u{FFFD}' | '\u{10000}'..)
}

fn all_sqs_accepts(text: &str) -> bool {
    // Nearly every text is this plain, and is looked through many bytes at a time: no controls, nothing from U+F000 on.
    let is_odd = |byte: u8| byte < 0x20 || byte == 0xEF;
    !text.bytes().fold(false, |found, byte| found | is_odd(byte)) || text.chars().all(sqs_accepts)
}

/// JSON text with the two characters that JSON allows raw and SQS does not, U+FFFE and U+FFFF, written as escapes. They stand
/// inside strings: nowhere else are they JSON.
fn escaped_for_sqs(json: String) -> String {
    if all_sqs_accepts(&json) {
        return json;
    }
    json.chars().fold(String::with_capacity(json.len() + 16), |mut out, c| {
        match sqs_accepts(c) {
            true => out.push(c),
            false => out.push_str(&format!("\\u{:04x}", u32::from(c))),
        }
        out
    })
}

/// Why a document could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DocumentFault {
    #[error(
        "this is not a DLQ document of form {SCHEMA}: {0}; it was written by something else, or by a newer meshgate"
    )]
    Unreadable(String),
    #[error(
        "the payload was stored {0} (dlqPayload: masked), so the original bytes no longer exist and cannot be replayed"
    )]
    NotOriginal(&'static str),
}

#[derive(Deserialize)]
struct Written<'a> {
    schema: &'a str,
    /// As text: serde_json would take some keys that an event may hold for its own marks (`arbitrary_precision`,
    /// `raw_value`), so that events are only ever parsed by [`json::parse`].
    #[serde(borrow)]
    payload: &'a RawValue,
}

#[derive(Deserialize)]
struct WrittenPayload<'a> {
    encoding: &'a str,
    bytes: u64,
    sha256: Option<&'a str>,
    #[serde(default)]
    before: String,
    #[serde(default)]
    after: String,
    #[serde(borrow)]
    json: Option<&'a RawValue>,
    base64: Option<&'a str>,
    compression: Option<&'a str>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WrittenOrigin<'a> {
    #[serde(borrow)]
    quarantined_at: std::borrow::Cow<'a, str>,
    source: WrittenSource,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WrittenSource {
    stream: String,
    arrived_at: String,
    partition_key: Option<String>,
    explicit_hash_key: Option<String>,
    #[serde(default)]
    unwrapped: bool,
}

fn unreadable(why: &str) -> DocumentFault {
    DocumentFault::Unreadable(why.to_owned())
}

/// The payload's text, and the payload.
fn payload_of(body: &str) -> Result<(&str, WrittenPayload<'_>), DocumentFault> {
    let written: Written<'_> = serde_json::from_str(body).map_err(|e| unreadable(&masked_parse_error(&e)))?;
    if written.schema != SCHEMA {
        return Err(unreadable("its schema is another one"));
    }
    let text = written.payload.get();
    Ok((text, serde_json::from_str(text).map_err(|e| unreadable(&masked_parse_error(&e)))?))
}

/// All before the payload's text. The payload is the last member, as [`build`] writes it.
fn head_of<'b>(body: &'b str, payload: &str) -> Result<&'b str, DocumentFault> {
    let head = body.trim_end().strip_suffix('}').and_then(|head| head.trim_end().strip_suffix(payload));
    head.ok_or_else(|| unreadable("its payload does not come last"))
}

/// The original bytes, exactly as the producer wrote them.
pub fn original(body: &str) -> Result<Vec<u8>, DocumentFault> {
    let (_, payload) = payload_of(body)?;
    match (payload.encoding, payload.json, payload.base64) {
        ("json", Some(json), _) => Ok([&payload.before, json.get(), &payload.after].concat().into_bytes()),
        ("base64", _, Some(text)) => BASE64.decode(text).map_err(|_| unreadable("its base64 is damaged")),
        ("masked", ..) => Err(DocumentFault::NotOriginal("masked")),
        ("withheld", ..) => Err(DocumentFault::NotOriginal("withheld")),
        _ => Err(unreadable("its payload has no known encoding")),
    }
}

/// The record as it arrived, and when it was quarantined: what a judgement of it again needs.
///
/// # Errors
///
/// As [`original`]; and when what is said of where the record came from cannot be read.
pub fn original_record(body: &str) -> Result<(Record, Timestamp), DocumentFault> {
    let data = original(body)?;
    let came: WrittenOrigin<'_> = serde_json::from_str(body).map_err(|e| unreadable(&masked_parse_error(&e)))?;
    let time = |text: &str| Timestamp::parse_rfc3339(text).ok_or_else(|| unreadable("a time in it is none"));
    let (arrived, quarantined) = (time(&came.source.arrived_at)?, time(&came.quarantined_at)?);
    let WrittenSource { stream, partition_key, explicit_hash_key, unwrapped, .. } = came.source;
    let record = Record::new(data, stream.into(), arrived);
    Ok((Record { partition_key, explicit_hash_key, is_unwrapped: unwrapped, ..record }, quarantined))
}

/// The document as a person may see it: indented, private fields masked, a payload that may hold private values anywhere
/// replaced by its size.
pub fn for_display(body: &str) -> Result<String, DocumentFault> {
    let (text, payload) = payload_of(body)?;
    let head = head_of(body, text)?;
    let mut document: Value =
        serde_json::from_str(&format!("{head}null}}")).map_err(|e| unreadable(&masked_parse_error(&e)))?;
    let masks = match &document["private"] {
        Value::Array(fields) => Some(fields.iter().map(written_mask).collect::<Result<Vec<_>, _>>()?),
        _ => None,
    };
    let WrittenPayload { encoding, bytes, sha256, json, base64, compression, .. } = payload;
    let event = json.map(|json| json::parse(json.get().as_bytes())).transpose();
    let event = event.map_err(|malformed| unreadable(&format!("its payload: {malformed}")))?;
    let inflated = compression.and(base64).and_then(inflated);
    let event = event.or(inflated).map(|event| {
        let masked = masks.as_ref().and_then(|masks| masked(&event, masks));
        (event, masked)
    });
    document["payload"] = match (masks, encoding, event) {
        (Some(_), "json" | "base64", Some((event, Some(masked)))) => {
            mask_keys(&mut document["source"], &event, &masked);
            let mut shown = serde_json::json!({"encoding": encoding, "bytes": bytes});
            if let Some(compression) = compression {
                shown["compression"] = compression.into();
            }
            shown["json"] = masked;
            shown
        }
        (Some(_), "masked", Some((masked, _))) => {
            serde_json::json!({"encoding": encoding, "bytes": bytes, "json": masked})
        }
        (_, "withheld", _) => serde_json::json!({"encoding": encoding, "bytes": bytes, "sha256": sha256}),
        (Some(masks), "base64", _) if masks.is_empty() => {
            serde_json::json!({"encoding": encoding, "bytes": bytes, "base64": base64})
        }
        _ => {
            withhold_keys(&mut document["source"]);
            serde_json::json!({
                "encoding": "withheld",
                "bytes": bytes,
                "note": "not shown: the event has private fields that cannot be masked in these bytes",
            })
        }
    };
    Ok(format!("{document:#}"))
}

/// The event in compressed bytes. `None` where there is none, or a larger one than a person looks at.
fn inflated(base64: &str) -> Option<Value> {
    let data = BASE64.decode(base64).ok()?;
    json::parse(&compressed::event(&data, compressed::INFLATED_BYTES_MAX).ok()?).ok()
}

fn written_mask(written: &Value) -> Result<Mask, DocumentFault> {
    let damaged = || DocumentFault::Unreadable("what it says of its private fields is damaged".into());
    let spec = MaskSpec::deserialize(written).map_err(|_| damaged())?;
    Mask::compile(&spec).map_err(|_| damaged())
}

/// serde_json's message without the values it may quote.
fn masked_parse_error(error: &serde_json::Error) -> String {
    format!("{:?} error at line {} column {}", error.classify(), error.line(), error.column()).to_lowercase()
}

#[cfg(test)]
mod tests;
