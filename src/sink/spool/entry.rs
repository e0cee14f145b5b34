//! What a spool holds: records on their way to a mesh stream, letters on their way to a queue, and how they are written down.
//!
//! Payloads are kept to the byte. The rest is a small JSON text beside it, so that a file can be read by a person in need.

use std::sync::Arc;

use bytes::Bytes;
use serde::de::IntoDeserializer;
use serde::de::value::{Error as NoKind, StrDeserializer};
use serde::{Deserialize, Serialize};

use crate::model::{DeadLetter, Position, Record, SpanContext, Timestamp, ViolationKind};

/// Which kind of far end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    Mesh,
    DeadLetter,
}

impl Kind {
    pub const ALL: [Self; 2] = [Self::Mesh, Self::DeadLetter];

    /// As in the metrics' label `sink`, and in the file.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Mesh => "mesh",
            Self::DeadLetter => "dlq",
        }
    }

    /// `None`: no kind is called so.
    pub fn named(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

/// What waits for one far end, in its order: a mesh stream, or a queue.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lane {
    pub kind: Kind,
    pub name: Arc<str>,
}

/// One thing that waits.
#[derive(Debug, Clone)]
pub enum Entry {
    Record {
        record: Record,
        /// Its route keeps the order of records within a partition key.
        is_ordered: bool,
    },
    Letter(DeadLetter),
}

impl Entry {
    pub fn record(&self) -> Option<&Record> {
        match self {
            Self::Record { record, .. } => Some(record),
            Self::Letter(_) => None,
        }
    }

    pub fn letter(&self) -> Option<&DeadLetter> {
        match self {
            Self::Record { .. } => None,
            Self::Letter(letter) => Some(letter),
        }
    }
}

/// An entry as the file has it.
#[derive(Debug, Clone)]
pub(super) struct Written {
    pub header: String,
    pub payload: Bytes,
}

#[derive(Serialize, Deserialize)]
struct RecordHeader {
    stream: Arc<str>,
    partition_key: Option<String>,
    explicit_hash_key: Option<String>,
    arrived: i64,
    /// Of [`Position::InRequest`], the only position that comes to a spool and says something.
    request: Option<(Arc<str>, usize)>,
    is_unwrapped: bool,
    is_ordered: bool,
    /// `traceparent`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    trace: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct LetterHeader {
    id: String,
    quarantined: i64,
    stream: Arc<str>,
    domain: Arc<str>,
    contract: Arc<str>,
    rule: Arc<str>,
    kind: String,
    #[serde(default)]
    key_hash: Option<String>,
    #[serde(default)]
    document_bytes: Option<usize>,
    /// `traceparent`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    trace: Option<String>,
}

impl Written {
    /// `None` where serde cannot write it, which these types do not allow.
    pub fn of(entry: &Entry) -> Option<Self> {
        let (header, payload) = match entry {
            Entry::Record { record, is_ordered } => {
                let request = match &record.position {
                    Position::InRequest { request, index } => Some((Arc::clone(request), *index)),
                    _ => None,
                };
                let header = RecordHeader {
                    stream: Arc::clone(&record.stream),
                    partition_key: record.partition_key.clone(),
                    explicit_hash_key: record.explicit_hash_key.clone(),
                    arrived: record.arrived.millis(),
                    request,
                    is_unwrapped: record.is_unwrapped,
                    is_ordered: *is_ordered,
                    trace: record.trace.as_deref().map(SpanContext::traceparent),
                };
                (serde_json::to_string(&header), record.data.clone())
            }
            Entry::Letter(letter) => {
                let header = LetterHeader {
                    id: letter.id.clone(),
                    quarantined: letter.quarantined.millis(),
                    stream: Arc::clone(&letter.stream),
                    domain: Arc::clone(&letter.domain),
                    contract: Arc::clone(&letter.contract),
                    rule: Arc::clone(&letter.rule),
                    kind: letter.kind.to_owned(),
                    key_hash: letter.key_hash.clone(),
                    document_bytes: letter.document_bytes,
                    trace: letter.trace.as_deref().map(SpanContext::traceparent),
                };
                (serde_json::to_string(&header), Bytes::from(letter.body.clone()))
            }
        };
        Some(Self { header: header.ok()?, payload })
    }

    /// `None`: it is no entry of that kind.
    pub fn into_entry(self, kind: Kind) -> Option<Entry> {
        match kind {
            Kind::Mesh => {
                let header: RecordHeader = serde_json::from_str(&self.header).ok()?;
                let position =
                    header.request.map_or(Position::Unknown, |(request, index)| Position::InRequest { request, index });
                let record = Record {
                    partition_key: header.partition_key,
                    explicit_hash_key: header.explicit_hash_key,
                    position,
                    is_unwrapped: header.is_unwrapped,
                    trace: trace_of(header.trace.as_deref()),
                    ..Record::new(self.payload, header.stream, Timestamp::from_millis(header.arrived))
                };
                Some(Entry::Record { record, is_ordered: header.is_ordered })
            }
            Kind::DeadLetter => {
                let header: LetterHeader = serde_json::from_str(&self.header).ok()?;
                Some(Entry::Letter(DeadLetter {
                    id: header.id,
                    body: String::from_utf8(self.payload.into()).ok()?,
                    document_bytes: header.document_bytes,
                    key_hash: header.key_hash,
                    is_kept: false,
                    attempts: 0,
                    quarantined: Timestamp::from_millis(header.quarantined),
                    stream: header.stream,
                    domain: header.domain,
                    contract: header.contract,
                    rule: header.rule,
                    // The document has it too: of a kind that this version does not know, the attribute is left out.
                    kind: violation_kind(&header.kind),
                    trace: trace_of(header.trace.as_deref()),
                }))
            }
        }
    }
}

fn trace_of(traceparent: Option<&str>) -> Option<Arc<SpanContext>> {
    SpanContext::parse(traceparent?, std::iter::empty()).map(Arc::new)
}

fn violation_kind(text: &str) -> &'static str {
    let text: StrDeserializer<'_, NoKind> = text.into_deserializer();
    ViolationKind::deserialize(text).map_or("", ViolationKind::as_str)
}
