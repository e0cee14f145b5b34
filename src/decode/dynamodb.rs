//! Change records that DynamoDB writes to a Kinesis stream, of a table that is an outbox: each inserted item is one event.
//!
//! ```json
//! {"eventName": "INSERT", "eventSource": "aws:dynamodb", "tableName": "outbox", "userIdentity": null, "eventID": "…",
//!  "dynamodb": {"ApproximateCreationDateTime": 1795341605000, "Keys": {…}, "SizeBytes": 99,
//!    "NewImage": {"id": {"S": "e-1"}, "type": {"S": "order.placed"}, "aggregateid": {"S": "O-1"}, "payload": {"S": "{…}"}}}}
//! ```
//!
//! Sources: Kinesis Data Streams for DynamoDB and `AttributeValue` (DynamoDB developer guide, API reference); the attributes' names
//! are those of Debezium's outbox. What DynamoDB writes twice becomes the same bytes twice: members of maps and elements of sets,
//! which have no order there, are sorted.

use serde_json::{Map, Number, Value};

use super::{cloudevents, json};

/// A partition key of Kinesis, in characters.
const KEY_CHARS_MAX: usize = 256;

/// How the items of an outbox table become events: the attributes that hold their parts, and what other changes mean.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Outbox {
    /// Holds the event's id (`S` or `N`).
    pub id: String,
    /// Holds its type (`S`).
    #[serde(rename = "type")]
    pub event_type: String,
    /// Holds its partition key (`S` or `N`).
    pub key: String,
    /// Holds its data: JSON text in an `S`, or an `M` or `L`.
    pub payload: String,
    /// The CloudEvents `source`; `None`: `/dynamodb/` and the table's name.
    pub source: Option<String>,
    pub on_modify: OnModify,
    pub on_remove: OnRemove,
}

/// What an item that was changed means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnModify {
    #[default]
    Ignore,
    /// An event, as if the item had been inserted so.
    Event,
    Quarantine,
}

/// What an item that was deleted means. One that expired (TTL) never means anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnRemove {
    #[default]
    Ignore,
    Quarantine,
}

impl Default for Outbox {
    fn default() -> Self {
        Self {
            id: "id".into(),
            event_type: "type".into(),
            key: "aggregateid".into(),
            payload: "payload".into(),
            source: None,
            on_modify: OnModify::default(),
            on_remove: OnRemove::default(),
        }
    }
}

/// What a change record means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unwrapped {
    /// `data` is a structured CloudEvent in JSON, well-formed.
    Event {
        data: Vec<u8>,
        partition_key: String,
    },
    Ignored(Change),
    Quarantine(Change),
}

/// A change that is no event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    Modified,
    Removed,
    /// Removed by DynamoDB itself, since its time to live was over.
    Expired,
}

impl Change {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Modified => "modified",
            Self::Removed => "removed",
            Self::Expired => "expired",
        }
    }
}

/// Why a record is no event of an outbox. Names attributes as the mapping does, and never has content.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("not a change record of DynamoDB, which its route says it is (outbox): not well-formed JSON: {0}")]
    Malformed(json::Malformed),
    #[error("not a change record of DynamoDB, which its route says it is (outbox): {0} is missing or not of its form")]
    NotAChange(&'static str),
    #[error("the outbox item has no attribute {0:?}")]
    Missing(String),
    #[error("the outbox attribute {name:?} must be {wanted}")]
    Form { name: String, wanted: &'static str },
    #[error("the outbox attribute {name:?} holds text that is not well-formed JSON: {malformed}")]
    Payload { name: String, malformed: json::Malformed },
    #[error("the outbox attribute {0:?} holds what is no value of DynamoDB's")]
    Value(String),
    #[error("the event that the outbox item makes is not well-formed JSON: {0}")]
    Event(json::Malformed),
}

/// Reads a change record as the mapping says. Equal for equal input.
///
/// # Errors
///
/// What is no change record, or one of an item that lacks what the mapping names.
pub fn unwrap(data: &[u8], outbox: &Outbox) -> Result<Unwrapped, Fault> {
    let record = json::parse(data).map_err(Fault::Malformed)?;
    if record.get("eventSource").and_then(Value::as_str) != Some("aws:dynamodb") {
        return Err(Fault::NotAChange("eventSource"));
    }
    match record.get("eventName").and_then(Value::as_str) {
        Some("INSERT") => event(&record, outbox),
        Some("MODIFY") => match outbox.on_modify {
            OnModify::Ignore => Ok(Unwrapped::Ignored(Change::Modified)),
            OnModify::Event => event(&record, outbox),
            OnModify::Quarantine => Ok(Unwrapped::Quarantine(Change::Modified)),
        },
        Some("REMOVE") if is_expired(&record) => Ok(Unwrapped::Ignored(Change::Expired)),
        Some("REMOVE") => match outbox.on_remove {
            OnRemove::Ignore => Ok(Unwrapped::Ignored(Change::Removed)),
            OnRemove::Quarantine => Ok(Unwrapped::Quarantine(Change::Removed)),
        },
        _ => Err(Fault::NotAChange("eventName")),
    }
}

/// Deleted by DynamoDB itself ("DynamoDB Streams and Time to Live").
fn is_expired(record: &Value) -> bool {
    let identity = |member: &str| record.pointer("/userIdentity")?.get(member)?.as_str();
    identity("type") == Some("Service") && identity("principalId") == Some("dynamodb.amazonaws.com")
}

fn event(record: &Value, outbox: &Outbox) -> Result<Unwrapped, Fault> {
    let image = record.pointer("/dynamodb/NewImage").and_then(Value::as_object);
    let image = image.ok_or(Fault::NotAChange("dynamodb.NewImage"))?;
    let id = text(image, &outbox.id, "a string or number that is not empty (S, N)", &["S", "N"])?;
    let event_type = text(image, &outbox.event_type, "a string that is not empty (S)", &["S"])?;
    let key = text(image, &outbox.key, "a string or number of 1 to 256 characters (S, N)", &["S", "N"])?;
    if key.chars().nth(KEY_CHARS_MAX).is_some() {
        let wanted = "a string or number of 1 to 256 characters (S, N)";
        return Err(Fault::Form { name: outbox.key.clone(), wanted });
    }
    let of_table = || {
        let table = record.get("tableName").and_then(Value::as_str).filter(|name| !name.is_empty());
        table.map(|name| format!("/dynamodb/{name}")).ok_or(Fault::NotAChange("tableName"))
    };
    let source = outbox.source.clone().map_or_else(of_table, Ok)?;
    let time = record.pointer("/dynamodb/ApproximateCreationDateTime").and_then(Value::as_number).and_then(time);
    let mut event = Vec::with_capacity(512);
    let first = [("specversion", "1.0"), ("id", id), ("source", &source), ("type", event_type)];
    let time = time.iter().map(|time| ("time", time.as_str()));
    for (name, value) in first.into_iter().chain(time).chain([("datacontenttype", "application/json")]) {
        cloudevents::push_member(&mut event, name, value);
    }
    event.extend_from_slice(b",\"data\":");
    push_payload(&mut event, image, &outbox.payload)?;
    event.push(b'}');
    // Payloads at the limit of nesting are beyond it one level down.
    json::check(&event).map_err(Fault::Event)?;
    Ok(Unwrapped::Event { data: event, partition_key: key.to_owned() })
}

/// The type and value of an attribute: an object with one member.
fn attribute<'i>(image: &'i Map<String, Value>, name: &str) -> Result<(&'i str, &'i Value), Fault> {
    let typed = image.get(name).ok_or_else(|| Fault::Missing(name.to_owned()))?;
    typed_value(typed).ok_or_else(|| Fault::Value(name.to_owned()))
}

fn typed_value(typed: &Value) -> Option<(&str, &Value)> {
    let mut members = typed.as_object()?.iter();
    let (kind, value) = members.next()?;
    members.next().is_none().then_some((kind.as_str(), value))
}

/// The text of an attribute of one of these types, which is not empty.
fn text<'i>(image: &'i Map<String, Value>, name: &str, wanted: &'static str, kinds: &[&str]) -> Result<&'i str, Fault> {
    let (kind, value) = attribute(image, name)?;
    let text = value.as_str().filter(|text| kinds.contains(&kind) && !text.is_empty());
    text.ok_or_else(|| Fault::Form { name: name.to_owned(), wanted })
}

/// JSON text in a string stands in the event byte for byte.
fn push_payload(event: &mut Vec<u8>, image: &Map<String, Value>, name: &str) -> Result<(), Fault> {
    let name = || name.to_owned();
    match attribute(image, &name())? {
        ("S", Value::String(text)) => {
            // By itself, so that it cannot add members to the event.
            json::check(text.as_bytes()).map_err(|malformed| Fault::Payload { name: name(), malformed })?;
            event.extend_from_slice(text.as_bytes());
            Ok(())
        }
        (kind @ ("M" | "L"), value) => push_value(event, kind, value).ok_or_else(|| Fault::Value(name())),
        _ => Err(Fault::Form { name: name(), wanted: "JSON text in a string (S), a map (M) or a list (L)" }),
    }
}

/// An `AttributeValue` as JSON. `None` where it is none. Nesting is bounded by the parser.
fn push_value(out: &mut Vec<u8>, kind: &str, value: &Value) -> Option<()> {
    match (kind, value) {
        ("S" | "B", Value::String(text)) => push_string(out, text),
        ("N", Value::String(number)) => push_number(out, number)?,
        ("BOOL", Value::Bool(value)) => out.extend_from_slice(if *value { b"true" } else { b"false" }),
        ("NULL", Value::Bool(true)) => out.extend_from_slice(b"null"),
        ("SS" | "BS", Value::Array(elements)) => push_all(out, *b"[]", &sorted(elements)?, |out, text| {
            push_string(out, text);
            Some(())
        })?,
        ("NS", Value::Array(elements)) => {
            push_all(out, *b"[]", &sorted(elements)?, |out, text| push_number(out, text))?
        }
        ("L", Value::Array(elements)) => push_all(out, *b"[]", elements, push_typed)?,
        ("M", Value::Object(members)) => {
            let mut members: Vec<(&String, &Value)> = members.iter().collect();
            members.sort_unstable_by_key(|(key, _)| *key);
            push_all(out, *b"{}", &members, |out, (key, value)| {
                push_string(out, key);
                out.push(b':');
                push_typed(out, value)
            })?;
        }
        _ => return None,
    }
    Some(())
}

/// The elements of a set, which has no order.
fn sorted(elements: &[Value]) -> Option<Vec<&str>> {
    let mut texts: Vec<&str> = elements.iter().map(Value::as_str).collect::<Option<_>>()?;
    texts.sort_unstable();
    Some(texts)
}

fn push_typed(out: &mut Vec<u8>, typed: &Value) -> Option<()> {
    let (kind, value) = typed_value(typed)?;
    push_value(out, kind, value)
}

fn push_all<T>(
    out: &mut Vec<u8>,
    [open, close]: [u8; 2],
    all: &[T],
    push: impl Fn(&mut Vec<u8>, &T) -> Option<()>,
) -> Option<()> {
    out.push(open);
    for (index, one) in all.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        push(out, one)?;
    }
    out.push(close);
    Some(())
}

fn push_string(out: &mut Vec<u8>, text: &str) {
    // Writing text into memory cannot fail.
    let _ = serde_json::to_writer(out, text);
}

/// A number's decimal text as it is, where it is one of JSON's.
fn push_number(out: &mut Vec<u8>, number: &str) -> Option<()> {
    let begins = number.starts_with(|first: char| first == '-' || first.is_ascii_digit());
    let is_number =
        begins && number.ends_with(|last: char| last.is_ascii_digit()) && json::check(number.as_bytes()).is_ok();
    is_number.then(|| out.extend_from_slice(number.as_bytes()))
}

/// RFC 3339 of a count since the Unix epoch, whose unit is told by its size: seconds, milliseconds or microseconds
/// (`ApproximateCreationDateTimePrecision` is not always there). `None` beyond the year 5138, and for what is before 1970.
fn time(count: &Number) -> Option<String> {
    const SECONDS_BELOW: i64 = 100_000_000_000;
    let (whole, micros) = match (count.as_i64(), count.as_f64()?) {
        (Some(whole), _) => (whole, 0),
        // Fractions are of seconds. Exact to the microsecond, as doubles of that size are.
        (None, fraction) if (0.0..SECONDS_BELOW as f64).contains(&fraction) => {
            (fraction as i64, (fraction.fract() * 1e6).round() as i64)
        }
        _ => return None,
    };
    let micros = match whole {
        0..SECONDS_BELOW => whole * 1_000_000 + micros,
        _ if (0..SECONDS_BELOW * 1_000).contains(&whole) => whole * 1_000,
        _ if (0..SECONDS_BELOW * 1_000_000).contains(&whole) => whole,
        _ => return None,
    };
    let time = chrono::DateTime::from_timestamp_micros(micros)?;
    Some(time.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true))
}

#[cfg(test)]
mod tests;
