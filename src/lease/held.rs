//! One lease that a worker holds or tries to get: which write comes next, and what its answer means.
//!
//! ```text
//! Claiming ───────────────▶ Reading ─▶ Ending ─▶ SHARD_END
//! Asking ─▶ Waiting ──────▶    │ └──▶ Draining ─▶ Leaving ─▶ unowned, or the next one's
//! ```
//!
//! Source: `DynamoDBLeaseRenewer.java` (renewal, hand-over noticed by a refused renewal), `LeaseGracefulShutdownHandler.java`,
//! `ShutdownTask.java` (children before `SHARD_END`).

use std::collections::BTreeMap;

use super::{Checkpoint, Lease, Swap, Swapped};
use crate::model::{ChildShard, Place};

/// How often a hand-over is asked for when the row changed under the question, as it does at each renewal.
const ASKED_MAX: u32 = 4;

#[derive(Debug)]
pub(super) struct Held {
    /// The row as last known.
    pub row: Lease,
    pub phase: Phase,
    /// Tells answers to this holding of the lease from answers to one before.
    pub term: u64,
    /// When the write began that was the last to succeed, or this was made.
    pub alive_at: u64,
    /// When the next write is due.
    pub act_at: u64,
    /// Settled, and not yet in the row.
    pub settled: Option<Place>,
}

#[derive(Debug)]
pub(super) enum Phase {
    /// Nobody's, or expired: to be written as ours. `heir`: a shard before it has a lease.
    Claiming {
        heir: bool,
    },
    /// Another one's: to be asked for.
    Asking {
        asked: u32,
    },
    /// Asked for, and not yet let go. `since`: when the row was last seen to change.
    Waiting {
        since: u64,
    },
    Reading,
    /// Read to its end. `known`: the rows of those children that have one; the others are made, from `again_at` on, once it is known
    /// that their other parents have leases or never will (`may_make`).
    Ending {
        children: Vec<ChildShard>,
        known: BTreeMap<String, Lease>,
        again_at: u64,
        may_make: bool,
    },
    /// The reader settles what it has taken.
    Draining,
    /// The reader has stopped: the last write is due.
    Leaving,
}

/// What an answer means for the lease.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Nothing for the reader. The next write is due at this time.
    Write(u64),
    /// It is ours: it is read from its checkpoint.
    Start,
    /// Another worker has asked for it.
    HandOver,
    /// Another worker has it, and we were to read it.
    Lost,
    /// It is not ours, and was not read.
    Gone,
    /// What was to be written last is.
    Left,
}

/// The times that a worker keeps, in milliseconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    pub failover: u64,
    pub handover: u64,
    /// Between two renewals.
    pub renewal: u64,
    /// Between two looks at a lease that is waited for, and before a write without an answer is repeated.
    pub retry: u64,
}

impl Held {
    /// Whether it is or becomes ours: what counts as this worker's load.
    pub fn is_load(&self) -> bool {
        matches!(self.phase, Phase::Claiming { .. } | Phase::Asking { .. } | Phase::Waiting { .. } | Phase::Reading)
    }

    /// Whether a reader has it.
    pub fn is_read(&self) -> bool {
        matches!(self.phase, Phase::Reading | Phase::Draining)
    }

    /// From when on it is another one's to take: then it is dropped, answer or none.
    pub fn ends_at(&self, me: &str, pace: Pace) -> u64 {
        match self.phase {
            // The clock of whoever asked began after our last write; it waits this long.
            _ if self.row.checkpoint_owner.as_deref() == Some(me) => self.alive_at + pace.handover,
            Phase::Waiting { since } => since + pace.handover + pace.failover,
            _ => self.alive_at + pace.failover,
        }
    }

    /// The children that no lease is known of, after the end of the shard, and when it is to be made.
    pub fn missing_children(&self) -> impl Iterator<Item = (&ChildShard, u64)> {
        let ending = match &self.phase {
            Phase::Ending { children, known, again_at, may_make: true } => Some((children, known, *again_at)),
            _ => None,
        };
        ending.into_iter().flat_map(|(children, known, at)| {
            children.iter().filter(|child| !known.contains_key(&child.id)).map(move |child| (child, at))
        })
    }

    /// The other parents of its children, while it is not known that they have leases or never will: a child that is made before would
    /// not wait for them.
    pub fn unsure_of(&self) -> impl Iterator<Item = &str> {
        let unsure = match &self.phase {
            Phase::Ending { children, may_make: false, .. } => children.as_slice(),
            _ => &[],
        };
        unsure.iter().flat_map(|child| &child.parents).map(String::as_str).filter(|parent| *parent != self.row.key)
    }

    /// Whether a write at `act_at` would say anything: a hand-over is not prolonged without news.
    pub fn has_write(&self, me: &str) -> bool {
        let handed_over = self.row.checkpoint_owner.as_deref() == Some(me);
        !(matches!(self.phase, Phase::Draining) && handed_over && self.settled.is_none())
    }

    /// The write that is due.
    pub fn write(&self, me: &str, now: u64, pace: Pace) -> Swap {
        let mut before = self.row.clone();
        let mut after = self.row.clone();
        match &self.phase {
            Phase::Claiming { heir } => claim(&mut after, me, *heir),
            Phase::Asking { .. } => {
                after.checkpoint_owner = after.owner.replace(me.to_owned());
                after.owner_switches += 1;
            }
            Phase::Waiting { since } if after.checkpoint_owner.is_none() || now >= since + pace.handover => {
                claim(&mut after, me, false);
            }
            // A look at one row, where a list would read all of them: no row is ever as `before`, and a refusal shows it.
            Phase::Waiting { .. } => before.checkpoint_owner = Some(me.to_owned()),
            Phase::Ending { children, known, .. } if children.len() == known.len() => {
                after.checkpoint = Checkpoint::ShardEnd;
                after.children = children.iter().map(|child| child.id.clone()).collect();
                (after.owner, after.checkpoint_owner) = (None, None);
                (after.counter, after.owner_switches) = (after.counter + 1, 0);
            }
            Phase::Reading | Phase::Draining | Phase::Ending { .. } => self.renew(&mut after),
            Phase::Leaving => self.leave(&mut after, me),
        }
        Swap::Update { before: Box::new(before), after: Box::new(after) }
    }

    fn renew(&self, after: &mut Lease) {
        after.counter += 1;
        if let Some(place) = &self.settled {
            after.checkpoint = Checkpoint::At(place.clone());
            after.owner_switches = 0;
        }
    }

    fn leave(&self, after: &mut Lease, me: &str) {
        match &after.checkpoint_owner {
            // It was only waited for: whoever still has it passes it on to nobody.
            Some(other) if other != me => after.owner = None,
            Some(_) => {
                after.checkpoint_owner = None;
                self.renew(after);
            }
            None => {
                after.owner = None;
                self.renew(after);
            }
        }
    }

    /// What is settled by now.
    pub fn settle(&mut self, place: Place) {
        let later = |known: &Place| place > *known;
        let news = match &self.row.checkpoint {
            Checkpoint::At(known) => later(known),
            Checkpoint::ShardEnd => false,
            Checkpoint::TrimHorizon | Checkpoint::Latest | Checkpoint::AtTimestamp => true,
        };
        if news && self.settled.as_ref().is_none_or(later) {
            self.settled = Some(place);
        }
    }

    /// Takes the answer to the write of `after`, which began at `sent_at`.
    pub fn answered(
        &mut self,
        answer: Result<Swapped, ()>,
        (after, sent_at): (Lease, u64),
        (me, now, pace): (&str, u64, Pace),
    ) -> Next {
        match answer {
            Ok(Swapped::Done) => {
                self.alive_at = sent_at;
                self.know(after);
                self.done(me, now, sent_at, pace)
            }
            Ok(Swapped::Refused(None)) if self.is_read() => Next::Lost,
            Ok(Swapped::Refused(None)) => Next::Gone,
            Ok(Swapped::Refused(Some(row))) => self.refused(*row, me, now, pace),
            Err(()) => Next::Write(now + pace.retry),
        }
    }

    fn know(&mut self, row: Lease) {
        self.row = row;
        if let Some(place) = self.settled.take() {
            self.settle(place);
        }
    }

    fn done(&mut self, me: &str, now: u64, sent_at: u64, pace: Pace) -> Next {
        match self.phase {
            Phase::Asking { .. } => {
                self.phase = Phase::Waiting { since: now };
                Next::Write(now + pace.retry)
            }
            // Answered so late that it may be another one's by now: it is written once more before it is read.
            Phase::Claiming { .. } | Phase::Waiting { .. } if now >= sent_at + pace.failover => {
                self.alive_at = now;
                Next::Write(now)
            }
            Phase::Claiming { .. } | Phase::Waiting { .. } => {
                self.phase = Phase::Reading;
                Next::Start
            }
            Phase::Ending { .. } if self.row.checkpoint == Checkpoint::ShardEnd => Next::Left,
            // It was a renewal, under way when the reader stopped: the last write is still to come.
            Phase::Leaving if self.row.is_with(me) => Next::Write(now),
            Phase::Leaving => Next::Left,
            Phase::Reading | Phase::Draining | Phase::Ending { .. } => Next::Write(sent_at + pace.renewal),
        }
    }

    fn refused(&mut self, row: Lease, me: &str, now: u64, pace: Pace) -> Next {
        let ours = row.owner.as_deref() == Some(me);
        let asked_of_us = row.checkpoint_owner.as_deref() == Some(me);
        let changed = !row.stands_as(&self.row);
        let read = self.is_read();
        match &mut self.phase {
            Phase::Asking { asked } if !ours && row.owner == self.row.owner && row.checkpoint_owner.is_none() => {
                *asked += 1;
                let again = *asked < ASKED_MAX;
                self.know(row);
                if again { Next::Write(now) } else { Next::Gone }
            }
            // Written by us: only an answer was lost.
            Phase::Asking { .. } | Phase::Claiming { .. } if ours && row.checkpoint_owner.is_some() => {
                self.know(row);
                self.phase = Phase::Waiting { since: now };
                Next::Write(now + pace.retry)
            }
            Phase::Waiting { since } if ours => {
                if changed {
                    *since = now;
                }
                let free = row.checkpoint_owner.is_none();
                self.know(row);
                Next::Write(if free { now } else { now + pace.retry })
            }
            Phase::Claiming { .. } | Phase::Asking { .. } if ours => {
                self.phase = Phase::Claiming { heir: false };
                self.know(row);
                Next::Write(now)
            }
            Phase::Claiming { .. } | Phase::Asking { .. } | Phase::Waiting { .. } => Next::Gone,
            Phase::Reading if asked_of_us => {
                self.know(row);
                Next::HandOver
            }
            // Ours, so that nobody else wrote it: only an answer was lost. Or handed over, perhaps to another one than before.
            _ if asked_of_us || (ours && row.checkpoint_owner.is_none()) => {
                self.know(row);
                Next::Write(now)
            }
            Phase::Leaving if ours => {
                self.know(row);
                Next::Write(now)
            }
            _ if read => Next::Lost,
            _ => Next::Gone,
        }
    }
}

fn claim(after: &mut Lease, me: &str, heir: bool) {
    if after.owner.as_deref().is_some_and(|owner| owner != me) {
        after.owner_switches += 1;
    }
    after.owner = Some(me.to_owned());
    after.checkpoint_owner = None;
    after.counter += 1;
    // The shard before it is read from some moment on, so this one counts from its first record.
    if heir && after.checkpoint == Checkpoint::Latest {
        (after.checkpoint, after.starts_at) = (Checkpoint::TrimHorizon, None);
    }
}
