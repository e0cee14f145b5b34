//! Requests of few records that are under way at the same time share their upstream calls.
//!
//! ```text
//! delivery of one request ─┐                      ┌─▶ call ─┐
//! delivery of another ─────┼─▶ lane of a stream ──┤         ├─▶ each delivery hears of its own records
//! delivery of a third ─────┘   (what waits)       └─▶ call ─┘
//! ```
//!
//! A call costs the same for one record as for fifty. While few calls are under way to a stream ([`CALLS_AT_ONCE`]), a record goes
//! at once, alone: its latency does not grow. What arrives while more are waits for one of them to land, but no longer than
//! [`LINGER`] and no longer than it takes to fill a call, and goes out together.
//!
//! This stands between a request's delivery (`gate::delivery`, which retries, keeps order within the request and gives up at its
//! deadline) and the sink, and is one attempt a call like the sink itself. What a shared call's failure means for a record, its own
//! delivery decides.
//!
//! * A call is made by a task of its own: a request that goes away takes nothing from those it shares the call with. What it left
//!   waiting is not sent.
//! * A record that is ordered by key is not sent while another of its key is under way in a shared call, whichever request that
//!   came with. (Between requests under way at the same time no order is promised; this keeps what one call cannot.)
//! * What waits for one stream is bounded ([`WAITING_RECORDS_MAX`], [`WAITING_BYTES_MAX`]). More is told to slow down; its delivery
//!   tries again.
//! * Larger batches, and records with a `SequenceNumberForOrdering`, go straight to the sink.

mod lane;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::gate::delivery::Ordering;
use crate::model::{Placement, Record, Trouble, Unsettled};
use crate::port::{BoxFuture, CallLimits, MeshSink};
use lane::{Group, Lane, Take};

/// Calls under way that nothing waits for. A gate that has as few is not busy.
const CALLS_AT_ONCE: usize = 2;
/// How long a record waits at most for others while more calls are under way.
const LINGER: Duration = Duration::from_millis(1);
/// Calls under way at once to one stream. Only a far end that takes longer than sixteen lingers for an answer gets this many.
const CALLS_OPEN_MAX: usize = 16;
/// Batches of more records or bytes gain nothing by sharing a call.
const SHARED_RECORDS_MAX: usize = 50;
const SHARED_BYTES_MAX: usize = 256 * 1024;
/// What may wait for one stream.
const WAITING_RECORDS_MAX: usize = 20_000;
const WAITING_BYTES_MAX: usize = 64 * 1024 * 1024;

type Answers = Vec<Result<Placement, Unsettled>>;

/// Shares calls to a sink.
pub struct Coalescer {
    shared: Arc<Shared>,
}

/// What the requests and the lanes' tasks have in common.
struct Shared {
    sink: Arc<dyn MeshSink>,
    /// Of the streams that anything is under way to.
    lanes: Mutex<HashMap<Arc<str>, Lane>>,
}

/// The sink as deliveries of one ordering use it.
pub struct Coalesced<'a> {
    coalescer: &'a Coalescer,
    ordering: Ordering,
}

impl Coalescer {
    pub fn new(sink: Arc<dyn MeshSink>) -> Self {
        Self { shared: Arc::new(Shared { sink, lanes: Mutex::default() }) }
    }

    /// The sink for deliveries that keep this order.
    pub fn ordered_by(&self, ordering: Ordering) -> Coalesced<'_> {
        Coalesced { coalescer: self, ordering }
    }

    fn is_shared(&self, records: &[&Record]) -> bool {
        self.shared.sink.gains_by_sharing()
            && records.len() <= SHARED_RECORDS_MAX
            && records.iter().map(|record| record.size()).sum::<usize>() <= SHARED_BYTES_MAX
            && records.iter().all(|record| record.sequence_for_ordering.is_none())
    }
}

impl MeshSink for Coalesced<'_> {
    fn call_limits(&self) -> CallLimits {
        self.coalescer.shared.sink.call_limits()
    }

    fn put<'a>(&'a self, stream: &'a str, records: &'a [&'a Record]) -> BoxFuture<'a, Answers> {
        if !self.coalescer.is_shared(records) {
            return self.coalescer.shared.sink.put(stream, records);
        }
        Box::pin(async move {
            let (answer, answered) = oneshot::channel();
            let group = Group::new(records, self.ordering, answer, Instant::now());
            if let Err(full) = self.coalescer.shared.enqueue(stream, group) {
                return vec![Err(full); records.len()];
            }
            // Dropped here, the group is not sent, or its answer is thrown away.
            answered.await.unwrap_or_else(|_| vec![Err(lost()); records.len()])
        })
    }
}

impl Shared {
    fn lanes(&self) -> MutexGuard<'_, HashMap<Arc<str>, Lane>> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets a group wait in its stream's lane, and starts the lane's task where there is none.
    fn enqueue(self: &Arc<Self>, stream: &str, group: Group) -> Result<(), Unsettled> {
        let mut lanes = self.lanes();
        if let Some(lane) = lanes.get_mut(stream) {
            if lane.is_full(&group) {
                return Err(full());
            }
            lane.push(group, self.sink.call_limits());
            return Ok(());
        }
        let stream: Arc<str> = stream.into();
        let mut lane = Lane::default();
        let news = Arc::clone(&lane.news);
        lane.push(group, self.sink.call_limits());
        lanes.insert(Arc::clone(&stream), lane);
        drop(lanes);
        tokio::spawn(Arc::clone(self).run(stream, news));
        Ok(())
    }

    /// Makes a lane's calls until nothing waits and nothing is under way.
    async fn run(self: Arc<Self>, stream: Arc<str>, news: Arc<Notify>) {
        let mut calls = JoinSet::new();
        let mut landed = false;
        loop {
            let wake = match self.take(&stream, calls.len(), landed) {
                Some(Take::Call(groups)) => {
                    calls.spawn(Arc::clone(&self).call(Arc::clone(&stream), groups));
                    landed = false;
                    continue;
                }
                Some(Take::At(time)) => Some(time),
                Some(Take::Later) => None,
                None => return,
            };
            let linger = async {
                match wake {
                    Some(time) => sleep_until(time).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                // A call that panicked dropped its groups' channels: each was told that it is lost.
                Some(_) = calls.join_next() => landed = true,
                () = news.notified() => {}
                () = linger => {}
            }
        }
    }

    /// What a lane has to do now. `None` when it is done, and forgotten.
    fn take(&self, stream: &str, open: usize, landed: bool) -> Option<Take> {
        let mut lanes = self.lanes();
        let lane = lanes.get_mut(stream)?;
        let take = match open {
            CALLS_OPEN_MAX.. => Take::Later,
            _ => lane.take(self.sink.call_limits(), landed || open < CALLS_AT_ONCE, Instant::now()),
        };
        if open == 0 && lane.is_empty() && !matches!(take, Take::Call(_)) {
            lanes.remove(stream);
            return None;
        }
        Some(take)
    }

    /// Makes one call, and tells each group what became of its records.
    async fn call(self: Arc<Self>, stream: Arc<str>, groups: Vec<Group>) {
        let _keys = Keys { shared: &self, stream: &stream, groups: &groups };
        let records: Vec<&Record> = groups.iter().flat_map(|group| &group.records).collect();
        let mut answers = self.sink.put(&stream, &records).await;
        if answers.len() != records.len() {
            // Nothing can be said of any of them.
            answers = vec![Err(lost()); records.len()];
        }
        drop(records);
        let mut answers = answers.into_iter();
        for group in &groups {
            group.tell(answers.by_ref().take(group.records.len()).collect());
        }
    }
}

/// Frees the keys of a call's groups when it ends, however it ends.
struct Keys<'a> {
    shared: &'a Shared,
    stream: &'a str,
    groups: &'a [Group],
}

impl Drop for Keys<'_> {
    fn drop(&mut self) {
        if let Some(lane) = self.shared.lanes().get_mut(self.stream) {
            lane.free_keys(self.groups);
        }
    }
}

fn full() -> Unsettled {
    Unsettled {
        trouble: Trouble::Throttled,
        message: "too many records wait for their turn to this stream; this one was not sent; retry with back-off"
            .into(),
    }
}

fn lost() -> Unsettled {
    Unsettled {
        trouble: Trouble::Unavailable,
        message:
            "the call that carried this record ended without a word (a fault of the gate); it may or may not have been \
                  stored; retry with back-off"
                .into(),
    }
}

#[cfg(test)]
mod tests;
