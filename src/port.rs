//! The doors of the shell: what a source may ask of the pipeline, and the pipeline of a sink.
//!
//! Sources and sinks never import each other; they meet here, in traits over the words of [`crate::model`], and the
//! pipeline joins them. Every future may be dropped at any await: a dropped future means the record is unsettled.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;

use crate::lease::{Lease, Swap, Swapped};
pub use crate::model::ChildShard;
use crate::model::{DeadLetter, Judgement, Outcome, Placement, Record, Shard, StreamDescription, Timestamp, Unsettled};

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

    /// The records that a record written to `stream` stands for: itself, those of a container of the Kinesis Producer Library, what its
    /// route's decoders make of it. None where the route says that it is to be ignored, which is counted here.
    /// [`Self::settle`] does the same with what it is given; who asks beforehand has an outcome for each.
    fn unfold(&self, stream: &str, record: Record) -> Result<Vec<Record>, IntakeError>;

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

    /// The largest letter that `queue` takes, as [`Self::size_of`] counts. What is larger is refused.
    fn letter_bytes_max<'a>(&'a self, _queue: &'a str) -> BoxFuture<'a, Result<usize, Unsettled>> {
        let bytes = self.call_limits().bytes;
        Box::pin(async move { Ok(bytes) })
    }

    /// How full `queue` is, as of now or a moment ago. `None`: the sink cannot say.
    fn depth<'a>(&'a self, _queue: &'a str) -> BoxFuture<'a, Result<Option<QueueDepth>, Unsettled>> {
        Box::pin(async { Ok(None) })
    }

    /// What `letter` keeps its order with in `queue`: one that fails holds back those after it of the same group.
    fn group(&self, _queue: &str, _letter: &DeadLetter) -> Option<String> {
        None
    }

    /// Sends the letters, and says of each whether it is durable. As many answers as letters, in their order.
    fn send<'a>(&'a self, queue: &'a str, letters: &'a [&'a DeadLetter]) -> BoxFuture<'a, Vec<Result<(), Unsettled>>>;
}

/// How full a dead-letter queue is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueDepth {
    /// About how many letters it holds.
    pub letters: u64,
    /// When the oldest of them was quarantined, where the backend tells.
    pub oldest: Option<Timestamp>,
}

/// A notice on its way to a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dispatch {
    /// The topic's ARN.
    pub topic: Arc<str>,
    /// Unique; the same on each retry.
    pub id: String,
    pub domain: Arc<str>,
    /// `started`, `exceeded` or `ended`.
    pub event: &'static str,
    /// Printable ASCII, fewer than 100 characters.
    pub subject: String,
    pub body: String,
}

/// Topics that people and programs subscribe to. One attempt a call.
pub trait NoticeSink: Send + Sync {
    /// Publishes the notice. After an error it may or may not have been.
    fn publish<'a>(&'a self, dispatch: &'a Dispatch) -> BoxFuture<'a, Result<(), Unsettled>>;
}

/// Where dead letters are kept as objects, beside their queue. One attempt a call.
pub trait LetterStore: Send + Sync {
    /// Puts an object that holds these letters, whole or not at all; one of the same key is replaced.
    fn put<'a>(
        &'a self,
        key: &'a str,
        body: Bytes,
        letters: &'a [&'a DeadLetter],
    ) -> BoxFuture<'a, Result<(), Unsettled>>;

    /// The body of the message that stands for an object.
    fn pointer(&self, key: &str) -> String;
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

/// A stream that others write to, read shard by shard. One attempt a call.
pub trait ShardReader: Send + Sync {
    /// All shards there are, closed ones that still hold records included.
    fn shards<'a>(&'a self, stream: &'a str) -> BoxFuture<'a, Result<Vec<Shard>, ReadError>>;

    /// Where reading is to begin, as a token for [`Self::records`] (`GetShardIterator`: lives 5 minutes, 5 calls a second and shard).
    fn iterator<'a>(
        &'a self,
        stream: &'a str,
        shard: &'a str,
        from: ReadFrom<'a>,
    ) -> BoxFuture<'a, Result<String, ReadError>>;

    /// The next records (`GetRecords`: at most 10,000 or 10 MiB; 5 calls and 2 MB a second and shard).
    fn records<'a>(
        &'a self,
        stream: &'a str,
        iterator: &'a str,
        limit: usize,
    ) -> BoxFuture<'a, Result<ShardBatch, ReadError>>;

    /// Has the shard's records sent as they come (`SubscribeToShard`, enhanced fan-out): for at most 5 minutes, to one reader of a
    /// consumer at a time. `consumer` is its name, or its ARN; it is registered where it is not there.
    fn subscribe<'a>(
        &'a self,
        stream: &'a str,
        consumer: &'a str,
        shard: &'a str,
        from: ReadFrom<'a>,
    ) -> BoxFuture<'a, Result<Box<dyn Subscription>, ReadError>>;
}

/// A shard's records as they are sent.
pub trait Subscription: Send + Sync {
    /// The next batch. `None`: it has come to its end, to be taken up again where the last batch ended.
    fn next(&mut self) -> BoxFuture<'_, Result<Option<ShardBatch>, ReadError>>;
}

/// Records of a shard, in its order.
#[derive(Debug, Clone)]
pub struct ShardBatch {
    pub records: Vec<ShardRecord>,
    /// Where the next ones are: the token for [`ShardReader::records`], the sequence number of a [`Subscription`]. `None`: the shard is
    /// closed, and these were its last.
    pub next: Option<String>,
    /// With the last records of a closed shard: those that follow it.
    pub children: Vec<ChildShard>,
    /// How far the last record is behind the newest one, 0 at the tip. Milliseconds.
    pub millis_behind_latest: i64,
}

/// A record of a shard.
#[derive(Debug, Clone)]
pub struct ShardRecord {
    pub sequence_number: String,
    pub data: Bytes,
    /// Absent on streams that distribute records themselves.
    pub partition_key: Option<String>,
    pub arrived: Timestamp,
}

/// Why a shard could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    #[error("the stream asks to slow down: {0}")]
    Throttled(String),
    #[error("the iterator is older than 5 minutes")]
    ExpiredIterator,
    #[error("the stream or the shard does not exist (any more): {0}")]
    NotFound(String),
    /// Access, encryption key, arguments: it stays so until somebody changes something.
    #[error("the stream refuses to be read: {0}")]
    Refused(String),
    #[error("the stream could not be read: {0}")]
    Unavailable(String),
}

/// The table of leases that a fleet of gates shares. One attempt a call.
pub trait LeaseTable: Send + Sync {
    /// Makes the table where it is not there. Asked once, at the start.
    fn prepare(&self) -> BoxFuture<'_, Result<(), TableError>>;

    /// All leases, in the order of their keys.
    fn list(&self) -> BoxFuture<'_, Result<Vec<Lease>, TableError>>;

    /// Does a conditional write. After an error it may or may not have been done.
    fn swap<'a>(&'a self, swap: &'a Swap) -> BoxFuture<'a, Result<Swapped, TableError>>;
}

/// Why the table was not read or written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    #[error("the lease table asks to slow down: {0}")]
    Throttled(String),
    /// Access, a table of another form: it stays so until somebody changes something.
    #[error("the lease table refuses: {0}")]
    Refused(String),
    #[error("the lease table could not be reached: {0}; a write may or may not have happened")]
    Unavailable(String),
}

/// A dead-letter queue as it is looked through, once: letters are received, and each is then released, removed or replaced.
pub trait DeadLetterBox: Send + Sync {
    /// About how many letters there are.
    fn about(&self) -> BoxFuture<'_, Result<u64, Unsettled>>;

    /// The next few. For a time they are nobody else's, where the queue can say so. None: this was all, or it looks like it. May be
    /// asked again while what it gave is still under way.
    fn receive(&self) -> BoxFuture<'_, Result<Vec<Received>, Unsettled>>;

    /// Others may have them at once. Where that fails, they may have them a few minutes later.
    fn release<'a>(&'a self, tickets: &'a [Ticket]) -> BoxFuture<'a, ()>;

    /// They are gone: a result for each. After an error one may be there still.
    fn remove<'a>(&'a self, tickets: &'a [Ticket]) -> BoxFuture<'a, Vec<Result<(), Unsettled>>>;

    /// They have another document: a result for each. After an error, the letter may be there in both forms, never in none.
    fn replace<'a>(&'a self, letters: &'a [(Ticket, DeadLetter)]) -> BoxFuture<'a, Vec<Result<(), Unsettled>>>;
}

/// A letter that was received.
#[derive(Debug, Clone)]
pub struct Received {
    pub ticket: Ticket,
    /// The DLQ document, as it was sent.
    pub body: String,
}

/// What a queue calls a letter that was received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ticket(pub String);
