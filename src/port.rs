//! The doors of the shell: what a source may ask of the pipeline, and the pipeline of a sink.
//!
//! Sources and sinks never import each other; they meet here, in traits over the words of [`crate::model`], and the
//! pipeline joins them. Every future may be dropped at any await: a dropped future means the record is unsettled.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;

use crate::model::{DeadLetter, Judgement, Outcome, Placement, Record, StreamDescription, Timestamp, Unsettled};

/// What the gate's own upstream client sends, naming its process, and its data port refuses when the name is its own: a gate
/// that was made its own upstream would judge each record for ever.
pub const INSTANCE_HEADER: &str = "x-meshgate-instance";

/// A boxed future, so that the traits below can be used as objects. One allocation per batch, not per record.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What a source may ask of the pipeline.
pub trait Intake: Send + Sync {
    /// Judges and settles a batch written to one stream. Answers when every record is settled or has failed to:
    /// one outcome a record, in the order given.
    fn settle<'a>(&'a self, stream: &'a str, records: Vec<Record>) -> BoxFuture<'a, Result<Vec<Outcome>, IntakeError>>;

    /// Judges events against one named contract and forwards nothing.
    fn judge(
        &self,
        domain: &str,
        contract: &str,
        events: &[Bytes],
        now: Timestamp,
    ) -> Result<Vec<Judgement>, IntakeError>;

    /// The mesh stream that records written to `stream` go to; `None` when no route or contract covers it.
    fn mesh_stream(&self, stream: &str) -> Option<Arc<str>>;

    /// The names producers may write to, sorted: routes' sources and backend streams that contracts cover.
    fn source_streams<'a>(&'a self) -> BoxFuture<'a, Result<Vec<String>, CatalogError>>;
}

/// Why a whole batch was not taken. Nothing of it was judged or forwarded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IntakeError {
    #[error("no route and no contract covers stream {stream:?}; name it in a contract's match.stream or in routes")]
    UnknownStream { stream: String },
    #[error("no contract {domain}/{contract} is loaded; GET /contracts on the admin port lists those that are")]
    UnknownContract { domain: String, contract: String },
    #[error("the gate is at its limit of records in flight; nothing was taken, retry with back-off")]
    Overloaded,
}

/// The bounds of one call to a sink. The pipeline never exceeds them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallLimits {
    pub entries: usize,
    /// Sum of [`MeshSink::put`]'s data and partition keys, or of [`DeadLetterSink::send`]'s message sizes, in bytes.
    pub bytes: usize,
}

/// A shared stream. One attempt a call: retries, order and deadlines are the pipeline's.
pub trait MeshSink: Send + Sync {
    fn call_limits(&self) -> CallLimits;

    /// Whether records of several requests are better put in one call: each is a round trip, and the sink does not gather what
    /// comes at the same time by itself.
    fn gains_by_sharing(&self) -> bool {
        false
    }

    /// Puts the records, and says of each whether it is durable. As many answers as records, in their order.
    fn put<'a>(
        &'a self,
        stream: &'a str,
        records: &'a [&'a Record],
    ) -> BoxFuture<'a, Vec<Result<Placement, Unsettled>>>;
}

/// A dead-letter queue. One attempt a call.
pub trait DeadLetterSink: Send + Sync {
    fn call_limits(&self) -> CallLimits;

    /// The bytes `letter` counts towards [`CallLimits::bytes`]: body and attributes as the queue counts them.
    fn size_of(&self, letter: &DeadLetter) -> usize;

    /// Sends the letters, and says of each whether it is durable. As many answers as letters, in their order.
    fn send<'a>(&'a self, queue: &'a str, letters: &'a [&'a DeadLetter]) -> BoxFuture<'a, Vec<Result<(), Unsettled>>>;
}

/// The mesh streams as clients may ask about them.
pub trait Catalog: Send + Sync {
    /// All mesh streams' names, sorted.
    fn list_streams<'a>(&'a self) -> BoxFuture<'a, Result<Vec<String>, CatalogError>>;

    /// A stream with all its shards.
    fn describe<'a>(&'a self, stream: &'a str) -> BoxFuture<'a, Result<StreamDescription, CatalogError>>;

    /// The same for a stream that contracts cover, which a backend of our own creates where it is not there yet.
    fn ensure<'a>(&'a self, stream: &'a str) -> BoxFuture<'a, Result<StreamDescription, CatalogError>> {
        self.describe(stream)
    }

    /// Reading back, where the backend is ours; `None` on AWS, whose consumers read from AWS.
    fn reader(&self) -> Option<&dyn StreamReader>;
}

/// Reads records back from an embedded stream.
pub trait StreamReader: Send + Sync {
    /// The sequence number from which reading starts, inclusive; numbers order as decimals of equal length.
    fn start_of<'a>(
        &'a self,
        stream: &'a str,
        shard: &'a str,
        start: ReadFrom<'a>,
    ) -> BoxFuture<'a, Result<String, CatalogError>>;

    /// At most `limit` records and 10 MiB from `from` (inclusive) on, in order.
    fn read<'a>(
        &'a self,
        stream: &'a str,
        shard: &'a str,
        from: &'a str,
        limit: usize,
    ) -> BoxFuture<'a, Result<ReadBatch, CatalogError>>;
}

/// Where a reader starts: `GetShardIterator`'s five iterator types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadFrom<'a> {
    TrimHorizon,
    Latest,
    AtSequence(&'a str),
    AfterSequence(&'a str),
    AtTimestamp(Timestamp),
}

#[derive(Debug, Clone)]
pub struct ReadBatch {
    pub records: Vec<StoredRecord>,
    /// Where the next read starts, inclusive.
    pub next: String,
    /// How far the last record of this batch is behind the newest one, 0 at the tip. Milliseconds.
    pub millis_behind_latest: i64,
}

/// A record as it stands on an embedded stream.
#[derive(Debug, Clone)]
pub struct StoredRecord {
    pub sequence_number: String,
    pub data: Bytes,
    pub partition_key: String,
    pub arrived: Timestamp,
}

/// Why a question about a stream was not answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CatalogError {
    #[error("stream {0:?} does not exist")]
    StreamNotFound(String),
    #[error("{0}")]
    InvalidArgument(String),
    #[error("the backend asks to slow down: {0}")]
    Throttled(String),
    #[error("the credentials of the gate may not ask this: {0}")]
    AccessDenied(String),
    #[error("the backend could not be asked: {0}")]
    Unavailable(String),
}
