//! The one thread that writes, and its group commit.
//!
//! It takes every job that is waiting, up to a bound, applies them in one transaction, commits with one fsync, and only
//! then answers. So an answer always means "on disk", and the cost of the fsync is shared by all who were waiting.
//! Jobs are validated before they are queued: what is left to fail is the disk, which fails the group as a whole.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use bytes::Bytes;
use rusqlite::{Connection, Transaction, TransactionBehavior, params};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use super::reader::{all_streams, data_version, tip};
use super::schema::{PAGE_BYTES, WriterLock};
use super::streams::{Registry, Stream};
use super::{LocalOptions, error};
use crate::model::{DeadLetter, HashKey, Timestamp, Trouble, Unsettled};

/// A transaction takes no further job once it holds this many bytes; more would only delay the first who waits.
const GROUP_BYTES_MAX: usize = 8 << 20;
const GROUP_JOBS_MAX: usize = 1_024;

/// The log is copied into the database file once this much of it is new.
const CHECKPOINT_FRAMES: i64 = (16 << 20) / PAGE_BYTES as i64;
/// Past this, the writer waits for readers to let go of the log, so that it can start over: what bounds its size.
const LOG_FRAMES_MAX: i64 = (128 << 20) / PAGE_BYTES as i64;
/// The log file is cut back to this size when it starts over.
pub(super) const WAL_KEPT_BYTES: i64 = 64 << 20;

/// One record, ready to be stored.
pub(super) struct Row {
    pub hash_key: HashKey,
    pub arrived: Timestamp,
    pub partition_key: String,
    pub data: Bytes,
}

/// Where a job's rows went: ids from `first_id` on, in the order given.
pub(super) struct Landed {
    pub stream: Arc<Stream>,
    pub first_id: i64,
}

/// Work for the writer. Dropping it unanswered tells the caller that nothing is known to be stored.
pub(super) enum Work {
    /// Also how a stream is created: with no rows.
    Put {
        stream: String,
        rows: Vec<Row>,
        answer: oneshot::Sender<Result<Landed, Unsettled>>,
    },
    Send {
        queue: String,
        letters: Vec<DeadLetter>,
        answer: oneshot::Sender<Result<(), Unsettled>>,
    },
    /// Letters that go, or get another body, by their `seq`. Those that are gone already are no fault.
    Amend {
        remove: Vec<i64>,
        replace: Vec<(i64, String)>,
        answer: oneshot::Sender<Result<(), Unsettled>>,
    },
}

pub(super) struct Job {
    pub work: Work,
    pub bytes: usize,
    /// Its share of the queue's memory, given back when it is answered.
    pub room: OwnedSemaphorePermit,
}

impl Job {
    /// `landed` is what [`Group::write`] returned, or why nothing of the group is stored.
    fn answer(self, landed: Result<Option<Result<Landed, Unsettled>>, &Unsettled>) {
        // First, so that whoever is answered finds the room that its call took.
        drop(self.room);
        // A caller that went away does not want its answer; its records are stored and will be sent again.
        match (self.work, landed) {
            (Work::Put { answer, .. }, Ok(Some(landed))) => drop(answer.send(landed)),
            (Work::Put { .. }, Ok(None)) => {}
            (Work::Put { answer, .. }, Err(why)) => drop(answer.send(Err(why.clone()))),
            (Work::Send { answer, .. } | Work::Amend { answer, .. }, landed) => {
                drop(answer.send(landed.map(drop).map_err(Unsettled::clone)));
            }
        }
    }
}

/// What the writer did, for tests and for whoever watches it.
#[derive(Debug, Default)]
pub(super) struct Counters {
    /// Transactions committed; each one fsync.
    pub commits: AtomicU64,
    /// Jobs answered after a commit.
    pub jobs: AtomicU64,
}

pub(super) struct Writer {
    pub connection: Connection,
    pub path: PathBuf,
    pub options: LocalOptions,
    pub streams: Arc<Registry>,
    pub counters: Arc<Counters>,
    pub next_id: i64,
    /// `PRAGMA data_version` when that and the streams were last read: another number where another process has written.
    pub seen: i64,
    /// The last group was committed. Only a change is logged, so that a full disk does not fill the log, too.
    pub healthy: bool,
    /// Log frames at the last attempt to start the log over.
    pub waited_at: i64,
    /// Of the gate whose store it is. Released after the connection is closed: fields are dropped in their order.
    pub _lock: Option<WriterLock>,
}

impl Writer {
    /// Works until every sender is gone and the queue is empty.
    pub(super) fn run(mut self, mut jobs: mpsc::Receiver<Job>) {
        while let Some(first) = jobs.blocking_recv() {
            let mut bytes = first.bytes;
            let mut group = vec![first];
            while bytes < GROUP_BYTES_MAX && group.len() < GROUP_JOBS_MAX {
                let Ok(job) = jobs.try_recv() else { break };
                bytes += job.bytes;
                group.push(job);
            }
            self.commit(group);
            self.checkpoint_if_due();
        }
    }

    fn commit(&mut self, group: Vec<Job>) {
        match self.write(&group) {
            Ok(landed) => {
                self.counters.commits.fetch_add(1, Ordering::Relaxed);
                self.counters.jobs.fetch_add(group.len() as u64, Ordering::Relaxed);
                if !std::mem::replace(&mut self.healthy, true) {
                    tracing::info!(store = %self.path.display(), "the local store can be written again");
                }
                for (job, landed) in group.into_iter().zip(landed) {
                    job.answer(Ok(landed));
                }
            }
            Err(fault) => {
                if std::mem::replace(&mut self.healthy, false) {
                    tracing::error!(
                        store = %self.path.display(), error = %fault,
                        "the local store cannot be written: nothing new is acknowledged until it can",
                    );
                }
                let why = Unsettled {
                    trouble: Trouble::Unavailable,
                    message: format!(
                        "the gate's local store could not commit: {}; nothing of this call is stored; retry with \
                         back-off, and have the gate's operator look at its disk",
                        error::cause(&fault)
                    ),
                };
                for job in group {
                    job.answer(Err(&why));
                }
            }
        }
    }

    /// Writes the whole group or nothing of it. What is in memory changes only once the transaction is on disk.
    fn write(&mut self, jobs: &[Job]) -> rusqlite::Result<Vec<Option<Result<Landed, Unsettled>>>> {
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let seen = data_version(&transaction)?;
        if seen != self.seen {
            // A replay writes to the store beside its gate. From here on it waits.
            self.streams.replace(all_streams(&transaction)?);
            self.next_id = tip(&transaction)?;
            self.seen = seen;
        }
        let mut group = Group {
            transaction: &transaction,
            options: &self.options,
            streams: &self.streams,
            created: BTreeMap::new(),
            next_id: self.next_id,
        };
        let landed = jobs.iter().map(|job| group.write(&job.work)).collect::<rusqlite::Result<Vec<_>>>()?;
        let Group { created, next_id, .. } = group;
        if next_id != self.next_id {
            transaction.prepare_cached("UPDATE counters SET next_id = ?1")?.execute([next_id])?;
        }
        transaction.commit()?;
        self.next_id = next_id;
        self.streams.add(created);
        Ok(landed)
    }

    /// Moves the log into the database file, after the answers are out. A failure loses nothing, as the log stays; it
    /// is tried again after the next group.
    fn checkpoint_if_due(&mut self) {
        let outcome = self.log_frames("NOOP").and_then(|(mut frames, done)| {
            if frames - done >= CHECKPOINT_FRAMES {
                frames = self.log_frames("PASSIVE")?.0;
            }
            if frames < CHECKPOINT_FRAMES {
                self.waited_at = 0;
            } else if frames >= LOG_FRAMES_MAX && frames - self.waited_at >= CHECKPOINT_FRAMES {
                // Each attempt waits for the busy timeout at most, and the next comes only after as much new log.
                self.waited_at = frames;
                self.log_frames("RESTART")?;
            }
            Ok(())
        });
        if let Err(fault) = outcome {
            tracing::warn!(
                store = %self.path.display(), error = %fault,
                "the local store's log could not be merged into its file; nothing is lost, the log grows meanwhile",
            );
        }
    }

    /// Runs a checkpoint (`NOOP` only asks): the frames in the log, and how many of them are in the database file.
    fn log_frames(&self, mode: &str) -> rusqlite::Result<(i64, i64)> {
        let sql = match mode {
            "NOOP" => "PRAGMA wal_checkpoint(NOOP)",
            "PASSIVE" => "PRAGMA wal_checkpoint(PASSIVE)",
            _ => "PRAGMA wal_checkpoint(RESTART)",
        };
        self.connection.prepare_cached(sql)?.query_row([], |row| Ok((row.get(1)?, row.get(2)?)))
    }
}

/// A transaction under way, and what will be true once it is committed.
struct Group<'a> {
    transaction: &'a Transaction<'a>,
    options: &'a LocalOptions,
    streams: &'a Registry,
    created: BTreeMap<String, Arc<Stream>>,
    next_id: i64,
}

impl Group<'_> {
    /// Where the rows went, for a put. Only the database's own failures are errors: they fail the group.
    fn write(&mut self, work: &Work) -> rusqlite::Result<Option<Result<Landed, Unsettled>>> {
        match work {
            Work::Put { stream, rows, .. } => self.put(stream, rows).map(Some),
            Work::Send { queue, letters, .. } => self.send(queue, letters).map(|()| None),
            Work::Amend { remove, replace, .. } => self.amend(remove, replace).map(|()| None),
        }
    }

    fn put(&mut self, name: &str, rows: &[Row]) -> rusqlite::Result<Result<Landed, Unsettled>> {
        let stream = match self.created.get(name).cloned().or_else(|| self.streams.get(name)) {
            Some(stream) => stream,
            None if self.streams.len() + self.created.len() < self.options.streams_max => self.create(name)?,
            None => return Ok(Err(too_many_streams(self.options.streams_max))),
        };
        let first_id = self.next_id;
        let mut insert = self.transaction.prepare_cached(
            "INSERT INTO records (id, stream, shard, arrived, partition_key, data) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?;
        for row in rows {
            let shard = stream.shard_of(row.hash_key);
            insert.execute(params![
                self.next_id,
                stream.id,
                shard,
                row.arrived.millis(),
                row.partition_key,
                &row.data[..]
            ])?;
            self.next_id += 1;
        }
        Ok(Ok(Landed { stream, first_id }))
    }

    fn create(&mut self, name: &str) -> rusqlite::Result<Arc<Stream>> {
        let shards = self.options.shards_per_stream;
        let created = now();
        self.transaction
            .prepare_cached("INSERT INTO streams (name, shards, created) VALUES (?1, ?2, ?3)")?
            .execute(params![name, shards, created.millis()])?;
        let id = self.transaction.last_insert_rowid();
        let stream = Arc::new(Stream::new(id, name.to_owned(), created, shards));
        self.created.insert(name.to_owned(), Arc::clone(&stream));
        Ok(stream)
    }

    fn send(&mut self, queue: &str, letters: &[DeadLetter]) -> rusqlite::Result<()> {
        let mut insert = self.transaction.prepare_cached(
            "INSERT INTO letters (id, queue, quarantined, stream, domain, contract, rule, kind, body)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) ON CONFLICT (id) DO NOTHING",
        )?;
        for letter in letters {
            insert.execute(params![
                letter.id,
                queue,
                letter.quarantined.millis(),
                &*letter.stream,
                &*letter.domain,
                &*letter.contract,
                &*letter.rule,
                letter.kind,
                letter.body
            ])?;
        }
        Ok(())
    }
}

impl Group<'_> {
    fn amend(&mut self, remove: &[i64], replace: &[(i64, String)]) -> rusqlite::Result<()> {
        let mut delete = self.transaction.prepare_cached("DELETE FROM letters WHERE seq = ?1")?;
        remove.iter().try_for_each(|seq| delete.execute([seq]).map(drop))?;
        let mut update = self.transaction.prepare_cached("UPDATE letters SET body = ?2 WHERE seq = ?1")?;
        replace.iter().try_for_each(|(seq, body)| update.execute(params![seq, body]).map(drop))
    }
}

fn too_many_streams(max: usize) -> Unsettled {
    Unsettled {
        trouble: Trouble::Rejected,
        message: format!(
            "the gate's local store holds its limit of {max} streams, and this would be one more; the record is not \
             stored; write to an existing stream, or raise the limit"
        ),
    }
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
