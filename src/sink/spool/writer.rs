//! The one thread that has the file, and its group commit: what waits at the same time shares one fsync.

use std::sync::Arc;
use std::sync::{MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use super::entry::{Lane, Written};
use super::error::Refused;
use super::file::{Change, SpoolFile};
use super::{AsideEntry, Shared, State, Taken};
use crate::model::Timestamp;
use crate::sink::local::cause;

/// A transaction takes no further job once it holds this many bytes; more would only delay the first who waits.
const GROUP_BYTES_MAX: usize = 8 << 20;
const GROUP_JOBS_MAX: usize = 1_024;

/// Entries kept aside that are shown at once.
const ASIDE_SHOWN_MAX: usize = 100;

pub(super) type Answer<T> = oneshot::Sender<Result<T, Refused>>;

/// Work for the thread. Dropping it unanswered tells the caller that nothing is known of it.
pub(super) enum Work {
    Put {
        lane: Lane,
        spooled: Timestamp,
        entries: Vec<Written>,
        answer: Answer<()>,
    },
    Settle {
        lane: Lane,
        done: Vec<i64>,
        aside: Vec<(i64, String)>,
        answer: Answer<()>,
    },
    PutBack {
        answer: Answer<u64>,
    },
    First {
        lane: Lane,
        entries: usize,
        bytes: usize,
        answer: Answer<Taken>,
    },
    Aside {
        answer: Answer<Vec<AsideEntry>>,
    },
    #[cfg(test)]
    AllowNoMorePages {
        allowed: bool,
        answer: Answer<()>,
    },
}

pub(super) struct Job {
    pub work: Work,
    /// Of payload; what waits is bounded by it.
    pub bytes: usize,
    pub room: Option<OwnedSemaphorePermit>,
}

pub(super) struct Writer {
    pub file: SpoolFile,
    pub shared: Arc<Shared>,
    pub bytes_max: u64,
    /// The last change was committed. Only a change of that is logged, so that a full disk does not fill the log, too.
    pub is_healthy: bool,
    /// What is shown of the file may be less than is in it: counted anew after the next change. What is not shown is not delivered.
    pub is_uncertain: bool,
}

/// What a change did.
#[derive(Clone, Copy)]
enum Done {
    Put(u64),
    /// It is not in the transaction.
    Full,
    Settled {
        deleted: u64,
        aside: u64,
    },
    PutBack(u64),
}

impl Writer {
    /// Works until every sender is gone and nothing waits.
    pub fn run(mut self, mut jobs: mpsc::Receiver<Job>) {
        while let Some(first) = jobs.blocking_recv() {
            let (mut bytes, mut group) = (0, Vec::new());
            let mut next = Some(first);
            while let Some(job) = next {
                bytes += job.bytes;
                group.push(job);
                let has_room = bytes < GROUP_BYTES_MAX && group.len() < GROUP_JOBS_MAX;
                next = if has_room { jobs.try_recv().ok() } else { None };
            }
            // Each on its own or in one transaction: no caller waits for one of its calls before the other was answered.
            let (changes, questions) = group.into_iter().partition(|job| job.work.is_change());
            self.commit(changes);
            questions.into_iter().for_each(|job| self.ask(job.work));
        }
    }

    fn commit(&mut self, jobs: Vec<Job>) {
        if jobs.is_empty() {
            return;
        }
        let (mut used, bytes_max) = (self.shared.lock().bytes, self.bytes_max);
        let written = self.file.change(|change| {
            jobs.iter().map(|job| job.work.apply(change, &mut used, bytes_max)).collect::<Result<Vec<_>, _>>()
        });
        match written {
            Ok(done) => {
                if !std::mem::replace(&mut self.is_healthy, true) {
                    tracing::info!(spool = %self.file.path.display(), "the spool can be written again");
                }
                self.note(&jobs, &done);
                jobs.into_iter().zip(done).for_each(|(job, done)| job.answer(Ok(done)));
            }
            Err(error) => {
                if std::mem::replace(&mut self.is_healthy, false) {
                    tracing::error!(
                        spool = %self.file.path.display(), %error,
                        "the spool cannot be written: what is in it stays, nothing new is taken until it can"
                    );
                }
                jobs.into_iter().for_each(|job| job.answer(Err(Refused::Failed(cause(&error)))));
            }
        }
    }

    /// Takes note of what is in the file now, before anybody is answered.
    fn note(&mut self, jobs: &[Job], done: &[Done]) {
        let mut state = self.shared.lock().clone();
        // What was put back is counted anew, with all that was done beside it.
        let is_put_back = done.iter().any(|done| matches!(done, Done::PutBack(_)));
        let noted = match std::mem::take(&mut self.is_uncertain) || is_put_back {
            true => self.file.lanes().map(|lanes| state.lanes = lanes),
            false => jobs.iter().zip(done).try_for_each(|(job, done)| self.count(&mut state, &job.work, *done)),
        };
        let noted = noted.and_then(|()| {
            state.lanes.retain(|_, lane| lane.entries + lane.aside > 0);
            if state.lanes.is_empty() {
                self.file.shrink()?;
            }
            state.bytes = self.file.bytes_used()?;
            Ok(())
        });
        if let Err(error) = noted {
            self.is_uncertain = true;
            tracing::error!(
                spool = %self.file.path.display(), %error,
                "the spool was written, and cannot be looked at: what is shown of it may be old"
            );
        }
        *self.shared.lock() = state;
    }

    fn count(&self, state: &mut State, work: &Work, done: Done) -> rusqlite::Result<()> {
        match (work, done) {
            (Work::Put { lane, spooled, .. }, Done::Put(count)) => {
                let lane = state.lanes.entry(lane.clone()).or_default();
                lane.entries += count;
                lane.oldest = lane.oldest.or(Some(*spooled));
            }
            (Work::Settle { lane: name, .. }, Done::Settled { deleted, aside }) => {
                let lane = state.lanes.entry(name.clone()).or_default();
                lane.entries = lane.entries.saturating_sub(deleted + aside);
                lane.aside += aside;
                lane.oldest = self.file.oldest(name)?;
            }
            _ => {}
        }
        Ok(())
    }

    fn ask(&self, work: Work) {
        let failed = |error: rusqlite::Error| Refused::Failed(cause(&error));
        match work {
            Work::First { lane, entries, bytes, answer } => {
                drop(answer.send(self.file.first(&lane, entries, bytes).map_err(failed)));
            }
            Work::Aside { answer } => drop(answer.send(self.file.aside(ASIDE_SHOWN_MAX).map_err(failed))),
            #[cfg(test)]
            Work::AllowNoMorePages { allowed, answer } => {
                self.file.allow_no_more_pages(allowed);
                let _ = answer.send(Ok(()));
            }
            Work::Put { .. } | Work::Settle { .. } | Work::PutBack { .. } => {}
        }
    }
}

impl Work {
    fn is_change(&self) -> bool {
        matches!(self, Self::Put { .. } | Self::Settle { .. } | Self::PutBack { .. })
    }

    fn apply(&self, change: &Change<'_>, used: &mut u64, bytes_max: u64) -> rusqlite::Result<Done> {
        match self {
            Self::Put { lane, spooled, entries, .. } => {
                let cost: u64 = entries.iter().map(cost).sum();
                if used.saturating_add(cost) > bytes_max {
                    return Ok(Done::Full);
                }
                *used += cost;
                change.put(lane, *spooled, entries)?;
                Ok(Done::Put(entries.len() as u64))
            }
            Self::Settle { done, aside, .. } => {
                Ok(Done::Settled { deleted: change.delete(done)?, aside: change.put_aside(aside)? })
            }
            Self::PutBack { .. } => change.put_back().map(Done::PutBack),
            _ => Ok(Done::Put(0)),
        }
    }
}

/// What an entry takes of the file at most: SQLite's pages are of 4 KiB, and what does not fit into one has pages of its own.
fn cost(entry: &Written) -> u64 {
    let bytes = (entry.header.len() + entry.payload.len()) as u64 + 256;
    if bytes < 1_024 { bytes * 4 / 3 } else { bytes + 2 * 4_096 }
}

impl Job {
    fn answer(self, done: Result<Done, Refused>) {
        // First, so that whoever is answered finds the room that its call took.
        drop(self.room);
        let done = done.and_then(|done| match done {
            Done::Full => Err(Refused::Full),
            Done::PutBack(count) => Ok(count),
            Done::Put(_) | Done::Settled { .. } => Ok(0),
        });
        // A caller that went away does not want its answer; its entries are in the spool, and come twice.
        match self.work {
            Work::Put { answer, .. } | Work::Settle { answer, .. } => drop(answer.send(done.map(drop))),
            Work::PutBack { answer } => drop(answer.send(done)),
            _ => {}
        }
    }
}

impl Shared {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
