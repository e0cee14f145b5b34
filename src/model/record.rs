//! What a source delivers, and what goes to a dead-letter queue.

use std::sync::Arc;

use bytes::Bytes;

use super::Timestamp;

/// One record as its producer wrote it. The bytes are what is forwarded: an event is never re-serialised.
#[derive(Debug, Clone)]
pub struct Record {
    pub data: Bytes,
    /// 1–256 characters. Absent on streams that distribute records themselves (`RecordDistributionStrategy` AUTO).
    pub partition_key: Option<String>,
    /// Decimal, checked by the source (see [`super::HashKey::parse_explicit`]).
    pub explicit_hash_key: Option<String>,
    /// The stream the producer wrote to, before any route maps it to a mesh stream.
    pub stream: Arc<str>,
    /// Where in its source the record stood: `{invocation id}/{index}` of a request, `line N` of a pipe.
    pub position: String,
    pub arrived: Timestamp,
    /// `SequenceNumberForOrdering` of a `PutRecord`, passed on with it.
    pub sequence_for_ordering: Option<String>,
}

/// One quarantined event on its way to a dead-letter queue: the document and what describes it from outside.
#[derive(Debug, Clone)]
pub struct DeadLetter {
    /// Unique; the same on each retry of one delivery.
    pub id: String,
    /// The DLQ document (see `gate::document`), JSON.
    pub body: String,
    pub quarantined: Timestamp,
    pub stream: Arc<str>,
    pub domain: Arc<str>,
    pub contract: Arc<str>,
    /// Of the violation that decided first.
    pub rule: Arc<str>,
    pub kind: &'static str,
}
