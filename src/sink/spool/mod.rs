//! A bounded file for what a far end does not take at present: fsynced before it is acknowledged, in order, gone once it was delivered.
//!
//! This is the file alone. What is put into it, and when it is taken out, is the pipeline's to say (`pipeline::spooling`,
//! `pipeline::drain`).
//!
//! * An answer means "on disk": a process that dies at any point loses nothing that was put. What was delivered and not yet
//!   deleted when it died is delivered again.
//! * A lane (a mesh stream or a queue) is in the order in which it was put, across restarts. A call is put as a whole or not at all.
//! * The file's pages in use are bounded. Beyond the bound a put is [`Refused::Full`], and nothing else happens. The log beside the
//!   file takes some 32 MiB at most on top.
//! * What cannot be delivered whatever is tried is kept aside: out of line, with the reason, until somebody puts it back.
//! * One process at a time has the file. It can hold personal data: only its owner may read it.

mod entry;
mod error;
mod file;
mod writer;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use tokio::sync::{Semaphore, mpsc, oneshot};

pub use entry::{Entry, Kind, Lane};
pub use error::{Refused, SpoolError};

use self::entry::Written;
use self::file::SpoolFile;
use self::writer::{Answer, Job, Work, Writer};
use crate::model::Timestamp;

/// Calls that may wait for the thread; more wait for a place, which slows their producers down.
const QUEUE_JOBS_MAX: usize = 1_024;
/// Bytes of payload that may wait for the thread, or be with it.
const QUEUE_BYTES_MAX: usize = 64 << 20;

/// An open spool. Dropping it waits until what was asked of it is done, then releases the file.
#[derive(Debug)]
pub struct Spool {
    shared: Arc<Shared>,
    bytes_max: u64,
    room: Arc<Semaphore>,
    /// `None` once dropping has begun.
    jobs: Option<mpsc::Sender<Job>>,
    writer: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
}

/// What is in the file, as of the last change.
#[derive(Debug, Clone, Default)]
pub struct State {
    /// Those that hold something.
    pub lanes: BTreeMap<Lane, LaneStatus>,
    /// The file's pages in use, bytes.
    pub bytes: u64,
}

/// What a lane holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LaneStatus {
    /// In line.
    pub entries: u64,
    /// Out of line.
    pub aside: u64,
    /// When the first in line was put.
    pub oldest: Option<Timestamp>,
}

/// The first entries of a lane.
#[derive(Debug, Default)]
pub struct Taken {
    /// With their ids, by which they are settled.
    pub entries: Vec<(i64, Entry)>,
    /// Ids of what is there and is no entry: somebody else wrote to the file.
    pub unreadable: Vec<i64>,
}

impl Taken {
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.unreadable.is_empty()
    }
}

/// An entry that is kept aside, as far as it is shown: no keys, no payload.
#[derive(Debug, Clone)]
pub struct AsideEntry {
    pub id: i64,
    /// `mesh` or `dlq`.
    pub sink: String,
    pub name: String,
    pub spooled: Timestamp,
    pub reason: String,
    pub bytes: u64,
}

impl Spool {
    /// Opens the spool at `path`, and makes it, folders included, where there is none. `bytes_max` bounds the file's pages in use. Blocks
    /// on the disk.
    ///
    /// # Errors
    /// The file cannot be opened, another gate has it, it is of another kind, or was written by a newer version. It is left as it is.
    pub fn open(path: &Path, bytes_max: u64) -> Result<Self, SpoolError> {
        let file = SpoolFile::open(path)?;
        let failed = |error| SpoolError::of_database(path, &error);
        let state = State { lanes: file.lanes().map_err(failed)?, bytes: file.bytes_used().map_err(failed)? };
        let shared = Arc::new(Shared { state: Mutex::new(state) });
        let writer = Writer { file, shared: Arc::clone(&shared), bytes_max, is_healthy: true, is_uncertain: false };
        let (jobs, queue) = mpsc::channel(QUEUE_JOBS_MAX);
        let writer = std::thread::Builder::new()
            .name("spool".to_owned())
            .spawn(move || writer.run(queue))
            .map_err(|error| SpoolError::Failed { path: path.to_path_buf(), reason: error.to_string() })?;
        let room = Arc::new(Semaphore::new(QUEUE_BYTES_MAX));
        Ok(Self { shared, bytes_max, room, jobs: Some(jobs), writer: Some(writer) })
    }

    /// What it holds.
    pub fn state(&self) -> State {
        self.shared.lock().clone()
    }

    /// What one lane holds; `None` where that is nothing.
    pub fn lane(&self, lane: &Lane) -> Option<LaneStatus> {
        self.shared.lock().lanes.get(lane).copied()
    }

    pub const fn bytes_max(&self) -> u64 {
        self.bytes_max
    }

    /// Puts entries at the end of a lane: all of them, on disk when this answers, or none. Dropped before that, they may be there or not.
    ///
    /// # Errors
    /// Nothing was put.
    pub async fn put(&self, lane: &Lane, spooled: Timestamp, entries: &[Entry]) -> Result<(), Refused> {
        let written: Option<Vec<Written>> = entries.iter().map(Written::of).collect();
        let entries = written.ok_or(Refused::Stopped)?;
        let bytes = entries.iter().map(|entry| entry.header.len() + entry.payload.len()).sum();
        let lane = lane.clone();
        self.run(bytes, |answer| Work::Put { lane, spooled, entries, answer }).await
    }

    /// The first of a lane: at most `entries` of them, and `bytes` of payload, though one at least.
    ///
    /// # Errors
    /// It cannot be read at present.
    pub async fn first(&self, lane: &Lane, entries: usize, bytes: usize) -> Result<Taken, Refused> {
        let lane = lane.clone();
        self.run(0, |answer| Work::First { lane, entries, bytes, answer }).await
    }

    /// Deletes what is `done`, and takes what is `aside` out of line, with the reason. To do it twice changes nothing.
    ///
    /// # Errors
    /// All is as it was.
    pub async fn settle(&self, lane: &Lane, done: Vec<i64>, aside: Vec<(i64, String)>) -> Result<(), Refused> {
        let lane = lane.clone();
        self.run(0, |answer| Work::Settle { lane, done, aside, answer }).await
    }

    /// Lets all that is kept aside stand in line again, at its old place. How many these were.
    ///
    /// # Errors
    /// All is as it was.
    pub async fn put_back(&self) -> Result<u64, Refused> {
        self.run(0, |answer| Work::PutBack { answer }).await
    }

    /// The first hundred entries that are kept aside.
    ///
    /// # Errors
    /// They cannot be read at present.
    pub async fn aside(&self) -> Result<Vec<AsideEntry>, Refused> {
        self.run(0, |answer| Work::Aside { answer }).await
    }

    /// Lets the file grow no further, as a disk that is full does not.
    #[cfg(test)]
    pub(crate) async fn allow_growth(&self, allowed: bool) {
        self.run(0, |answer| Work::AllowNoMorePages { allowed, answer }).await.unwrap();
    }

    async fn run<T>(&self, bytes: usize, work: impl FnOnce(Answer<T>) -> Work) -> Result<T, Refused> {
        let jobs = self.jobs.as_ref().ok_or(Refused::Stopped)?;
        let share = u32::try_from(bytes.min(QUEUE_BYTES_MAX)).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.room).acquire_many_owned(share).await.map_err(|_| Refused::Stopped)?;
        let (answer, answered) = oneshot::channel();
        let job = Job { work: work(answer), bytes, room: (bytes > 0).then_some(room) };
        jobs.send(job).await.map_err(|_| Refused::Stopped)?;
        answered.await.map_err(|_| Refused::Stopped)?
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}
