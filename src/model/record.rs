//! What a source delivers, and what goes to a dead-letter queue.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use super::{HashKey, SpanContext, Timestamp};

/// One record as its producer wrote it. The bytes are what is forwarded: an event is never re-serialised.
///
/// Made with [`Record::new`]; what a source knows beyond that is set with `Record { partition_key, ..Record::new(…) }`.
#[derive(Debug, Clone)]
pub struct Record {
    pub data: Bytes,
    /// The base64 text that `data` was read from (RFC 4648, padded, canonical; no escapes), where it came as such: a sink that
    /// sends base64 copies it.
    pub encoded: Option<Bytes>,
    /// 1–256 characters. Absent on streams that distribute records themselves (`RecordDistributionStrategy` AUTO).
    pub partition_key: Option<String>,
    /// Decimal, checked by the source (see [`HashKey::parse_explicit`]).
    pub explicit_hash_key: Option<String>,
    /// The stream the producer wrote to, before any route maps it to a mesh stream.
    pub stream: Arc<str>,
    pub position: Position,
    pub arrived: Timestamp,
    /// `SequenceNumberForOrdering` of a `PutRecord`, passed on with it.
    pub sequence_for_ordering: Option<String>,
    /// The container it came in.
    pub part_of: Option<PartOf>,
    /// Whether `data` and `partition_key` were made of a change record (see `decode::dynamodb`): it is not to be read as one again.
    pub is_unwrapped: bool,
    /// The trace of the request it came with, or of the batch it was read in. A container made of several has the first one's.
    pub trace: Option<Arc<SpanContext>>,
}

/// A record's place in a container of the Kinesis Producer Library.
#[derive(Debug, Clone)]
pub struct PartOf {
    pub container: Arc<Container>,
    /// From 0.
    pub index: usize,
}

/// A record that holds many (see `decode::kpl`), as it came: it is forwarded so where all of them are good.
#[derive(Debug)]
pub struct Container {
    pub data: Bytes,
    /// As [`Record::encoded`].
    pub encoded: Option<Bytes>,
    pub partition_key: Option<String>,
    pub explicit_hash_key: Option<String>,
    /// How many records it holds.
    pub parts: usize,
}

impl Record {
    /// A record of which nothing else is known: no keys, no position.
    pub fn new(data: impl Into<Bytes>, stream: Arc<str>, arrived: Timestamp) -> Self {
        Self {
            data: data.into(),
            encoded: None,
            partition_key: None,
            explicit_hash_key: None,
            stream,
            position: Position::Unknown,
            arrived,
            sequence_for_ordering: None,
            part_of: None,
            is_unwrapped: false,
            trace: None,
        }
    }

    /// Where it lands: its explicit hash key, or the hash of its partition key.
    pub fn hash_key(&self) -> HashKey {
        let explicit = self.explicit_hash_key.as_deref().and_then(HashKey::parse_explicit);
        explicit.unwrap_or_else(|| HashKey::of_partition_key(self.partition_key.as_deref().unwrap_or_default()))
    }

    /// Data and partition key, bytes: what AWS counts as a record's size.
    pub fn size(&self) -> usize {
        self.data.len() + self.partition_key.as_deref().map_or(0, str::len)
    }
}

/// Where in its source a record stood. Only a dead letter tells it, so that it is put into words there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Position {
    Unknown,
    /// `{request}/{index}`: the client's invocation id, or the gate's own; counted from 0.
    InRequest {
        request: Arc<str>,
        index: usize,
    },
    /// `line N` of a pipe, counted from 1.
    Line(u64),
    /// `{shard}/{sequence}/{sub_sequence}`: where it stands on the stream it was read from, and in its KPL container, from 0.
    InShard {
        shard: Arc<str>,
        /// Decimal; within a shard, a later record has a higher one.
        sequence: String,
        sub_sequence: u64,
    },
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => Ok(()),
            Self::InRequest { request, index } => write!(f, "{request}/{index}"),
            Self::Line(number) => write!(f, "line {number}"),
            Self::InShard { shard, sequence, sub_sequence } => write!(f, "{shard}/{sequence}/{sub_sequence}"),
        }
    }
}

/// One quarantined event on its way to a dead-letter queue: the document and what describes it from outside.
#[derive(Debug, Clone)]
pub struct DeadLetter {
    /// Unique; the same on each retry of one delivery.
    pub id: String,
    /// The DLQ document (see `gate::document`), JSON; or a pointer to it.
    pub body: String,
    /// Of a body that is a pointer to the document: the document's size, bytes.
    pub document_bytes: Option<usize>,
    /// What stands for its partition key, where it has one: hexadecimal, equal for equal keys of the domain.
    pub key_hash: Option<String>,
    /// The event is still on the stream it was read from, whatever becomes of the letter.
    pub is_kept: bool,
    /// How often it was replayed and stayed: a FIFO queue must not take it for the letter that it follows.
    pub attempts: u32,
    pub quarantined: Timestamp,
    pub stream: Arc<str>,
    pub domain: Arc<str>,
    pub contract: Arc<str>,
    /// Of the violation that decided first.
    pub rule: Arc<str>,
    pub kind: &'static str,
    /// As [`Record::trace`].
    pub trace: Option<Arc<SpanContext>>,
}
