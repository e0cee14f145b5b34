//! One worker's decisions about leases: what it reads, what it lets go, what it writes. No IO, no clock, no randomness of its own.
//!
//! A caller hands in what it has learned ([`Worker::handle`]), does what comes out ([`Worker::poll`], until it is `None`), and comes back at
//! [`Worker::wake_at`] at the latest. All times are milliseconds of one clock that never goes back; answers may come in any order, late, or
//! as "unknown". The same seed and inputs give the same outputs.
//!
//! What holds, as long as clocks run alike and the caller comes back in time:
//!
//! * Between [`Output::Start`] and the answer to a last write (or [`StopReason::Lost`]) no other worker starts the lease.
//! * A checkpoint never goes back, and [`super::Checkpoint::ShardEnd`] stands only once each child has a lease.
//! * A lease is started only once all its parents that have one are at their end.
//! * One write of a lease is under way at a time.

use std::collections::{BTreeMap, VecDeque};

use super::create::Syncing;
use super::held::{Held, Next, Pace, Phase};
use super::random::Random;
use super::survey::Seen;
use super::take::Looking;
use super::{Lease, Swap, Swapped, sync};
use crate::model::{ChildShard, Place, Shard, Timestamp};

/// How a worker goes about it. Times in milliseconds.
#[derive(Debug, Clone)]
pub struct WorkerOptions {
    /// Of this process alone: whoever finds it in a row that it did not write takes the row for its own.
    pub id: String,
    /// How long a holder may be silent before others take its leases.
    pub failover_ms: u64,
    /// How long a holder that is asked for a lease may take to settle what it has read.
    pub handover_ms: u64,
    /// About how often shards are looked for that have no lease. In a large fleet each worker does so less often.
    pub sync_every_ms: u64,
    /// Leases this worker has at once, at most. At least 1.
    pub leases_max: usize,
    /// Where shards begin that nobody has read.
    pub start: Start,
    /// Of all that is random: another one in each worker.
    pub seed: u64,
}

/// Where shards begin that nobody has read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// With the oldest record there is.
    TrimHorizon,
    /// With what arrives after the lease was made.
    Latest,
    /// With what arrived then or later.
    AtTimestamp(Timestamp),
}

/// What a worker is told.
#[derive(Debug)]
pub enum Input {
    /// Answers [`Output::List`].
    Listed(Result<Vec<Lease>, ()>),
    /// Answers [`Output::ListShards`], asked at this time.
    Shards { shards: Result<Vec<Shard>, ()>, at: Timestamp },
    /// Answers [`Output::Swap`]. `Err`: it may or may not have happened.
    Swapped { key: String, result: Result<Swapped, ()> },
    /// All of the shard up to and with this place is settled.
    Settled { key: String, place: Place },
    /// The shard is closed, read and settled to its end; these follow. Its reader is done, whether it was told to stop or not.
    Ended { key: String, children: Vec<ChildShard> },
    /// After [`Output::Stop`], but for [`StopReason::Lost`]: what was in flight is settled and told, and the reader is done.
    Stopped { key: String },
    /// Let go of everything. Nothing is taken any more. What a reader has not let go of goes on being renewed: the caller bounds how long.
    Shutdown,
}

/// What a worker wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "few are made, and none is kept")]
pub enum Output {
    /// Read the table.
    List,
    ListShards,
    /// Do this write. No other of its key comes before its answer.
    Swap(Swap),
    /// Read this shard from its checkpoint on.
    Start(Lease),
    /// Read this shard no further. A key without a reader may be meant: then it has ended by itself.
    Stop {
        key: String,
        why: StopReason,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopReason {
    /// Another worker is to have it: settle what is in flight, within `handover_ms`, and tell.
    HandOver,
    /// The same, since all is let go.
    Shutdown,
    /// Another worker may have it already: drop all that is in flight at once. Nothing of that reader is to be told afterwards.
    Lost,
}

/// A write that is under way.
#[derive(Debug)]
pub(super) struct Flight {
    pub sent_at: u64,
    pub purpose: Purpose,
}

#[derive(Debug)]
pub(super) enum Purpose {
    /// Of a lease that was held in this term; the row as it is to be.
    Held {
        term: u64,
        after: Box<Lease>,
    },
    /// The lease of a child of one that has ended.
    Child {
        parent: String,
        lease: Box<Lease>,
    },
    /// A lease that was missing.
    Create(Box<Lease>),
    Delete,
}

/// See the module's description.
#[derive(Debug)]
pub struct Worker {
    pub(super) options: WorkerOptions,
    pub(super) pace: Pace,
    pub(super) random: Random,
    pub(super) held: BTreeMap<String, Held>,
    pub(super) flights: BTreeMap<String, Flight>,
    pub(super) outbox: VecDeque<Output>,
    pub(super) seen: Seen,
    pub(super) looking: Looking,
    pub(super) syncing: Syncing,
    pub(super) stopping: bool,
    /// Holdings so far.
    pub(super) terms: u64,
    /// Leases that could be read and that nobody has, at the last look.
    pub(super) unread: usize,
}

impl Worker {
    /// A worker that has nothing, and looks at the table at once.
    pub fn new(options: WorkerOptions, now_ms: u64) -> Self {
        // Three renewals, and the answer to the last one, fall into the time a holder may be silent (`DynamoDBLeaseCoordinator`).
        let renewal = (options.failover_ms / 3).saturating_sub(25).max(1);
        let retry = (options.failover_ms / 10).clamp(1, 1_000);
        let pace = Pace { failover: options.failover_ms, handover: options.handover_ms, renewal, retry };
        Self {
            pace,
            random: Random::new(options.seed),
            held: BTreeMap::new(),
            flights: BTreeMap::new(),
            outbox: VecDeque::new(),
            seen: Seen::default(),
            looking: Looking::new(now_ms),
            syncing: Syncing::default(),
            stopping: false,
            terms: 0,
            unread: 0,
            options,
        }
    }

    /// Takes in what happened.
    pub fn handle(&mut self, input: Input, now_ms: u64) {
        match input {
            Input::Listed(Ok(rows)) => self.looked(rows, now_ms),
            Input::Listed(Err(())) => self.look_failed(now_ms),
            Input::Shards { shards, at } => self.shards_listed(shards, at, now_ms),
            Input::Swapped { key, result } => self.swapped(key, result, now_ms),
            Input::Settled { key, place } => {
                if let Some(held) = self.held.get_mut(&key).filter(|held| held.is_read()) {
                    held.settle(place);
                }
            }
            Input::Ended { key, children } => self.ended(&key, children, now_ms),
            Input::Stopped { key } => {
                if let Some(held) = self.held.get_mut(&key).filter(|held| matches!(held.phase, Phase::Draining)) {
                    held.phase = Phase::Leaving;
                    held.act_at = now_ms;
                }
            }
            Input::Shutdown => self.shut_down(now_ms),
        }
    }

    /// What is to be done now; to be called until there is nothing.
    pub fn poll(&mut self, now_ms: u64) -> Option<Output> {
        if self.outbox.is_empty() {
            self.drop_lost(now_ms);
            self.children_due(now_ms);
            self.write_due(now_ms);
            self.create_due(now_ms);
            self.look_due(now_ms);
        }
        self.outbox.pop_front()
    }

    /// When to poll at the latest, where nothing happens before. `None`: something has to happen.
    pub fn wake_at(&self) -> Option<u64> {
        if !self.outbox.is_empty() {
            return Some(0);
        }
        let me = &self.options.id;
        let writes = self.held.iter().flat_map(|(key, held)| {
            let free = !self.flights.contains_key(key) && held.has_write(me);
            let children = held.missing_children().filter(|(child, _)| !self.flights.contains_key(&child.id));
            let children = children.map(|(_, at)| at).next();
            [Some(held.ends_at(me, self.pace)), free.then_some(held.act_at), children]
        });
        let others = [self.look_at(), self.create_at()];
        writes.chain(others).flatten().min()
    }

    /// The leases that this worker reads.
    pub fn held(&self) -> impl Iterator<Item = &Lease> {
        self.held.values().filter(|held| held.is_read()).map(|held| &held.row)
    }

    /// How many leases could be read and are nobody's, as of the last look: more than the fleet's `leases_max` allow, or just not taken yet.
    pub fn unread(&self) -> usize {
        self.unread
    }

    /// Whether all is let go, after [`Input::Shutdown`].
    pub fn is_done(&self) -> bool {
        self.stopping && self.held.is_empty()
    }

    pub(super) fn send(&mut self, swap: Swap, purpose: Purpose, now: u64) {
        self.flights.insert(swap.key().to_owned(), Flight { sent_at: now, purpose });
        self.outbox.push_back(Output::Swap(swap));
    }

    /// Begins to get a lease, or to let it go.
    pub(super) fn hold(&mut self, row: Lease, phase: Phase, now: u64) {
        self.terms += 1;
        let held = Held { phase, term: self.terms, alive_at: now, act_at: now, settled: None, row };
        self.held.insert(held.row.key.clone(), held);
    }

    fn shut_down(&mut self, now: u64) {
        self.stopping = true;
        self.syncing.forget();
        let flights = &self.flights;
        // What is not ours yet, and that no write under way may make so, is left alone.
        self.held.retain(|key, held| {
            !matches!(held.phase, Phase::Claiming { .. } | Phase::Asking { .. }) || flights.contains_key(key)
        });
        for (key, held) in &mut self.held {
            match held.phase {
                Phase::Reading => {
                    held.phase = Phase::Draining;
                    self.outbox.push_back(Output::Stop { key: key.clone(), why: StopReason::Shutdown });
                }
                Phase::Waiting { .. } => {
                    held.phase = Phase::Leaving;
                    (held.act_at, held.alive_at) = (now, now);
                }
                Phase::Ending { may_make: false, .. } => (held.phase, held.act_at) = (Phase::Leaving, now),
                _ => {}
            }
        }
    }

    /// Drops what others may take by now.
    fn drop_lost(&mut self, now: u64) {
        let (me, pace) = (&self.options.id, self.pace);
        let lost = self.held.iter().filter(|(_, held)| now >= held.ends_at(me, pace)).map(|(key, _)| key.clone());
        for key in lost.collect::<Vec<_>>() {
            self.lose(&key);
        }
    }

    fn lose(&mut self, key: &str) {
        if self.held.remove(key).is_some_and(|held| held.is_read()) {
            self.outbox.push_back(Output::Stop { key: key.to_owned(), why: StopReason::Lost });
        }
    }

    /// Sends the writes that are due, of leases that have none under way.
    fn write_due(&mut self, now: u64) {
        let me = self.options.id.clone();
        let due = self
            .held
            .iter()
            .filter(|(key, held)| held.act_at <= now && !self.flights.contains_key(*key) && held.has_write(&me));
        let due: Vec<String> = due.map(|(key, _)| key.clone()).collect();
        for key in due {
            let Some(held) = self.held.get(&key) else { continue };
            let swap = held.write(&me, now, self.pace);
            let Swap::Update { after, .. } = &swap else { continue };
            let purpose = Purpose::Held { term: held.term, after: after.clone() };
            self.send(swap, purpose, now);
        }
    }

    fn swapped(&mut self, key: String, result: Result<Swapped, ()>, now: u64) {
        let Some(flight) = self.flights.remove(&key) else { return };
        match flight.purpose {
            Purpose::Held { term, after } => {
                if self.held.get(&key).is_some_and(|held| held.term == term) {
                    self.held_answered(key, result, (*after, flight.sent_at), now);
                }
            }
            Purpose::Child { parent, lease } => self.child_answered(&parent, *lease, result, now),
            Purpose::Create(lease) => self.created(*lease, result, now),
            Purpose::Delete => {}
        }
    }

    fn held_answered(&mut self, key: String, result: Result<Swapped, ()>, written: (Lease, u64), now: u64) {
        let Some(held) = self.held.get_mut(&key) else { return };
        let unasked = matches!(held.phase, Phase::Claiming { .. } | Phase::Asking { .. });
        match held.answered(result, written, (&self.options.id, now, self.pace)) {
            Next::Write(at) => held.act_at = at,
            Next::Start => {
                held.act_at = held.alive_at + self.random.about(self.pace.renewal).min(self.pace.renewal);
                self.outbox.push_back(Output::Start(held.row.clone()));
            }
            Next::HandOver => {
                let why = StopReason::HandOver;
                held.phase = Phase::Draining;
                held.act_at = held.alive_at + self.pace.renewal;
                self.outbox.push_back(Output::Stop { key: key.clone(), why });
            }
            Next::Lost => self.lose(&key),
            Next::Gone => {
                self.held.remove(&key);
                if unasked {
                    self.look_soon(now);
                }
            }
            Next::Left => self.left(&key, now),
        }
        if self.stopping {
            self.let_go(&key, now);
        }
    }

    /// While all is let go: a lease that an answer has just made ours, or that was being asked for.
    fn let_go(&mut self, key: &str, now: u64) {
        let Some(held) = self.held.get_mut(key) else { return };
        match held.phase {
            // Started by that answer: nobody has read it, so that it can be left at once.
            Phase::Reading => {
                self.outbox.retain(|output| !matches!(output, Output::Start(lease) if lease.key == key));
                held.phase = Phase::Leaving;
                held.act_at = now;
            }
            Phase::Waiting { .. } => {
                held.phase = Phase::Leaving;
                (held.act_at, held.alive_at) = (now, now);
            }
            Phase::Claiming { .. } | Phase::Asking { .. } => {}
            Phase::Ending { .. } | Phase::Draining | Phase::Leaving => {}
        }
    }

    fn ended(&mut self, key: &str, children: Vec<ChildShard>, now: u64) {
        let Some(held) = self.held.get_mut(key).filter(|held| held.is_read()) else { return };
        let may_make = children.iter().flat_map(|child| &child.parents).all(|parent| parent == key);
        if children.is_empty() {
            held.act_at = now;
        }
        held.phase = Phase::Ending { children, known: BTreeMap::new(), again_at: now, may_make };
        match may_make {
            true => {}
            // Not looked for any more: whoever has the lease next comes to the end again.
            false if self.stopping => (held.phase, held.act_at) = (Phase::Leaving, now),
            false => self.look_soon(now),
        }
    }

    /// The last write is done. After the end of a shard its children are free.
    fn left(&mut self, key: &str, now: u64) {
        let Some(held) = self.held.remove(key) else { return };
        let Phase::Ending { known, .. } = held.phase else { return };
        if self.stopping {
            return;
        }
        if known.is_empty() {
            // Whatever follows was not named: the sync finds it.
            self.sync_soon(now);
        }
        for (child, row) in known {
            let only_child = row.parents.iter().all(|parent| parent == key);
            let free = row.owner.is_none() && row.checkpoint_owner.is_none() && !row.is_ended();
            let room = self.held.len() < self.options.leases_max.max(1);
            if only_child && free && room && !self.held.contains_key(&child) {
                self.hold(row, Phase::Claiming { heir: true }, now);
            } else if !only_child {
                // Another parent of it may have to end first: only the table says.
                self.look_soon(now);
            }
        }
    }

    /// Sends the children that have no lease yet of those leases whose shards have ended.
    pub(super) fn children_due(&mut self, now: u64) {
        let mut due = Vec::new();
        for (key, held) in &self.held {
            for (child, at) in held.missing_children() {
                if at <= now && !self.flights.contains_key(&child.id) {
                    due.push((key.clone(), sync::child(child, &held.row, self.options.start)));
                }
            }
        }
        for (parent, lease) in due {
            let purpose = Purpose::Child { parent, lease: Box::new(lease.clone()) };
            self.send(Swap::Create(Box::new(lease)), purpose, now);
        }
    }

    fn child_answered(&mut self, parent: &str, lease: Lease, result: Result<Swapped, ()>, now: u64) {
        let retry = self.pace.retry;
        let Some(held) = self.held.get_mut(parent) else { return };
        let Phase::Ending { children, known, again_at, .. } = &mut held.phase else { return };
        match result {
            Ok(Swapped::Done) => known.insert(lease.key.clone(), lease),
            Ok(Swapped::Refused(Some(row))) => known.insert(lease.key.clone(), *row),
            Ok(Swapped::Refused(None)) | Err(()) => {
                *again_at = now + retry;
                None
            }
        };
        if known.len() == children.len() {
            held.act_at = now;
        }
    }
}

impl Pace {
    /// How long a holder may be silent, and how much longer while it hands over.
    pub(super) fn silence(self) -> (u64, u64) {
        (self.failover, self.handover)
    }
}
