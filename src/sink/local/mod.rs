//! The embedded default backend: one SQLite file that holds mesh streams and the dead-letter queue.
//!
//! It gives the same promise as AWS: what it acknowledged is on disk. One thread writes, in groups, one fsync a group
//! ([`writer`]); an answer is sent only after COMMIT, so a process that dies at any point loses nothing acknowledged.
//! Reading uses connections of its own, here on blocking threads and in `meshgate tail` and `meshgate dlq` from other
//! processes, and never holds up the writer. A lock file keeps a second gate from writing to the same store; `meshgate dlq` may, for
//! a moment at a time ([`Store::open_beside`]).
//!
//! Beside it, in files of their own: [`LocalLeases`], who reads which shard of a stream; [`Journal`], what replays have done.
//!
//! The file must lie on a local disk: SQLite's write-ahead log needs memory shared between its processes.

mod catalog;
mod error;
mod journal;
mod leases;
mod letter_box;
mod letters;
mod pool;
mod reader;
mod schema;
mod sequence;
mod sink;
mod streams;
mod writer;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};

pub use error::StoreError;
pub(in crate::sink) use error::cause;
pub use journal::{Entry, Journal, Progress};
pub use leases::LocalLeases;
pub use letter_box::LocalBox;
pub use letters::{LetterCount, LetterFilter, LetterLookup, LetterSummary};
pub use reader::{PlacedRecord, Reader};
pub use schema::lock_file;
pub(in crate::sink) use schema::{Claim, FileKind, WriterLock, claim, create_file};
pub use streams::Stream;

use self::pool::ReaderPool;
use self::streams::Registry;
use self::writer::{Counters, Job, Writer};

/// Jobs that may wait for the writer; more wait for a place, which slows their producers down.
const QUEUE_JOBS_MAX: usize = 4_096;
/// Bytes of records and letters that may wait for the writer, or be with it.
const QUEUE_BYTES_MAX: usize = 64 << 20;

/// Every reader polls each shard, so more would cost more than they spread.
const SHARDS_MAX: u32 = 1_024;

/// How a store is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalOptions {
    /// Shards of streams created from now on: 1 to 1,024; what lies outside is taken as the nearer bound.
    pub shards_per_stream: u32,
    /// Streams the store may hold. A put to one more is rejected.
    pub streams_max: usize,
    /// The largest record, data and partition key, in KiB.
    pub max_record_size_kib: u32,
    /// The database file grows no further than this many bytes; its log may take 128 MiB and a little more on top.
    /// `None`: as far as the disk allows.
    pub size_max_bytes: Option<u64>,
    /// How long a commit waits for another process that holds SQLite's lock, such as a database shell.
    pub busy_timeout: Duration,
}

impl Default for LocalOptions {
    fn default() -> Self {
        Self {
            shards_per_stream: 4,
            streams_max: 1_000,
            max_record_size_kib: 1_024,
            size_max_bytes: None,
            busy_timeout: Duration::from_secs(2),
        }
    }
}

/// An open store: the mesh sink, the dead-letter sink and the catalog of the `local` backend. Dropping it waits until
/// what is queued is written, then releases the file.
pub struct Store {
    options: LocalOptions,
    streams: Arc<Registry>,
    counters: Arc<Counters>,
    readers: Arc<ReaderPool>,
    room: Arc<Semaphore>,
    /// `None` once dropping has begun.
    jobs: Option<mpsc::Sender<Job>>,
    writer: Option<JoinHandle<()>>,
}

/// What the writer has done since the store was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stats {
    /// Transactions committed, one fsync each.
    pub commits: u64,
    /// Calls whose records or letters these commits held.
    pub calls: u64,
}

impl Store {
    /// Opens the store at `path`, and creates it, folders included, where there is none. Refuses files in use by another
    /// gate, written by a newer version, damaged, or of another kind, and leaves them as they are.
    pub fn open(path: &Path, options: LocalOptions) -> Result<Self, StoreError> {
        let path: PathBuf = schema::create_file(path)?;
        let lock = schema::WriterLock::take(&path)?;
        Self::begin(path, options, Some(lock))
    }

    /// Opens a store that is there to write to it beside its gate, which may be running: for a replay. Each waits for the other's commits,
    /// at most as long as `busy_timeout`.
    pub fn open_beside(path: &Path, options: LocalOptions) -> Result<Self, StoreError> {
        drop(Reader::open(path)?);
        let failed = |source| StoreError::Io { doing: "open the store", path: path.to_path_buf(), source };
        Self::begin(path.canonicalize().map_err(failed)?, options, None)
    }

    fn begin(path: PathBuf, mut options: LocalOptions, lock: Option<schema::WriterLock>) -> Result<Self, StoreError> {
        options.shards_per_stream = options.shards_per_stream.clamp(1, SHARDS_MAX);
        let connection = schema::open_writer(&path, options.busy_timeout, options.size_max_bytes)?;
        let reader = Reader::open(&path)?;
        let streams = Arc::new(Registry::new(reader.streams()?));
        let next_id = reader.tip()?;
        let counters = Arc::new(Counters::default());
        let writer = Writer {
            connection,
            path: path.clone(),
            options: options.clone(),
            streams: Arc::clone(&streams),
            counters: Arc::clone(&counters),
            next_id,
            // The first group reads again what may have changed since.
            seen: i64::MIN,
            healthy: true,
            waited_at: 0,
            _lock: lock,
        };
        let (jobs, queue) = mpsc::channel(QUEUE_JOBS_MAX);
        let writer = std::thread::Builder::new()
            .name("local-store".to_owned())
            .spawn(move || writer.run(queue))
            .map_err(|source| StoreError::Io { doing: "start the thread that writes", path: path.clone(), source })?;
        Ok(Self {
            options,
            streams,
            counters,
            readers: Arc::new(ReaderPool::new(path, reader)),
            room: Arc::new(Semaphore::new(QUEUE_BYTES_MAX)),
            jobs: Some(jobs),
            writer: Some(writer),
        })
    }

    /// Runs a question on a read-only connection, on a blocking thread. At most a few run at a time, others wait.
    pub async fn query<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&Reader) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.readers.run(ask).await
    }

    pub fn stats(&self) -> Stats {
        Stats {
            commits: self.counters.commits.load(Ordering::Relaxed),
            calls: self.counters.jobs.load(Ordering::Relaxed),
        }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        // Readers first: the connection that closes last merges the log into the file, and only the writer may.
        self.readers.close_idle();
        self.jobs = None;
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}
