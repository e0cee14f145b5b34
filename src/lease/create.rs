//! When a worker lists the shards, and the leases it makes then.
//!
//! The shards are listed before the rows that they are compared with, so that a lease made in between is seen. In a large fleet each
//! worker lists as seldom as [`SYNCS`] workers would together. Where the table is empty all may come at once: they wait a little and look
//! again before they list, and whoever keeps finding leases made by another leaves the rest to that one for a while.

use std::collections::{BTreeSet, VecDeque};

use super::survey::Rows;
use super::worker::{Output, Purpose, Worker};
use super::{Lease, Swap, Swapped, sync};
use crate::model::{Shard, Timestamp};

/// Workers' worth of listing the fleet does, however large it is.
const SYNCS: u64 = 10;
/// A fleet that has just been started is taken to have a worker for so many leases.
const ROWS_A_WORKER: u64 = 100;
/// Leases being made at once.
const CREATES_OPEN_MAX: usize = 32;
/// Leases found made in a row, after which somebody else is taken to be at it.
const CROWDED: u32 = 8;
/// Leases deleted at a sync.
const DELETES_MAX: usize = 64;

#[derive(Debug, Default)]
pub(super) struct Syncing {
    /// When the next listing is due; `None` before the first look.
    at: Option<u64>,
    /// A listing is under way.
    open: bool,
    failures: u32,
    /// Asked since the table was empty.
    from_nothing: bool,
    /// What was listed, until the rows are there. `true`: a look that began before does not count.
    listed: Option<(Vec<Shard>, Timestamp, bool)>,
    /// When it was asked for.
    asked_at: u64,
    /// Leases to make, parents first.
    queue: VecDeque<Lease>,
    /// Nothing is made before this.
    pause_until: u64,
    /// Made by others, in a row.
    found_made: u32,
}

/// What came of comparing shards with rows.
pub(super) struct Compared {
    /// Leases to make.
    missing: BTreeSet<String>,
    /// The last shard that was listed.
    last: String,
}

impl Compared {
    /// Whether a shard that had no lease then never will have one. Ids ascend: one above the last came after the list was made.
    pub fn is_never_to_be(&self, key: &str) -> bool {
        key <= self.last.as_str() && !self.missing.contains(key)
    }
}

impl Syncing {
    /// Drops what was to be made.
    pub fn forget(&mut self) {
        self.queue.clear();
        self.listed = None;
    }
}

impl Worker {
    /// When leases can be made, or shards are to be listed.
    pub(super) fn create_at(&self) -> Option<u64> {
        if self.stopping {
            return None;
        }
        let listing = self.syncing.at.filter(|_| !self.syncing.open && self.syncing.listed.is_none());
        let making = self.next_to_create().map(|_| self.syncing.pause_until);
        listing.into_iter().chain(making).min()
    }

    /// The next lease that may be made: its parents are not under way themselves.
    fn next_to_create(&self) -> Option<&Lease> {
        let open = self.flights.values().filter(|flight| matches!(flight.purpose, Purpose::Create(_))).count();
        let next = self.syncing.queue.front().filter(|_| open < CREATES_OPEN_MAX)?;
        let waits = next.parents.iter().chain([&next.key]).any(|key| self.flights.contains_key(key));
        (!waits).then_some(next)
    }

    pub(super) fn create_due(&mut self, now: u64) {
        if self.create_at().is_none_or(|at| at > now) {
            return;
        }
        if self.is_stale(now) && !self.syncing.queue.is_empty() {
            self.syncing.queue.clear();
            self.sync_soon(now);
        }
        while self.syncing.pause_until <= now
            && let Some(lease) = self.next_to_create().cloned()
        {
            self.syncing.queue.pop_front();
            let lease = Box::new(lease);
            self.send(Swap::Create(lease.clone()), Purpose::Create(lease), now);
        }
        let idle = !self.syncing.open && self.syncing.listed.is_none() && self.syncing.queue.is_empty();
        if idle && self.syncing.at.is_some_and(|at| at <= now) {
            (self.syncing.open, self.syncing.asked_at) = (true, now);
            self.outbox.push_back(Output::ListShards);
        } else if self.syncing.at.is_some_and(|at| at <= now) && !self.syncing.queue.is_empty() {
            // Still making what the last listing showed.
            self.syncing.at = Some(now + self.pace.failover);
        }
    }

    /// Whether the last listing is too old: what was missing then may have been made, read and deleted since.
    fn is_stale(&self, now: u64) -> bool {
        now > self.syncing.asked_at + self.options.sync_every_ms
    }

    /// Has the shards listed soon.
    pub(super) fn sync_soon(&mut self, now: u64) {
        let soon = now + self.random.below(self.pace.failover / 5 + 1);
        self.syncing.at = Some(self.syncing.at.map_or(soon, |at| at.min(soon)));
    }

    fn sync_later(&mut self, now: u64) {
        let interval = self.options.sync_every_ms.max(1) * self.workers().div_ceil(SYNCS);
        self.syncing.at = Some(now + self.random.about(interval));
    }

    pub(super) fn shards_listed(&mut self, shards: Result<Vec<Shard>, ()>, at: Timestamp, now: u64) {
        self.syncing.open = false;
        match shards {
            _ if self.stopping => {}
            Ok(shards) => {
                self.syncing.failures = 0;
                self.syncing.listed = Some((shards, at, self.is_looking()));
                self.look_by(now);
            }
            Err(()) => {
                self.syncing.failures += 1;
                let wait = 1_000_u64.saturating_mul(1 << self.syncing.failures.min(6));
                self.syncing.at = Some(now + self.random.about(wait.min(self.options.sync_every_ms.max(1))));
            }
        }
    }

    /// Compares the rows of a look with the shards, where they have been listed; else says when they are to be. `holes`: looks in a row
    /// that found hash keys without a lease. What came of it, where they were compared.
    pub(super) fn reconcile(&mut self, rows: &Rows<'_>, holes: u32, now: u64) -> Option<Compared> {
        match self.syncing.listed.take() {
            Some(_) if self.is_stale(now) => self.sync_soon(now),
            Some((shards, at, false)) => return self.compare(&shards, at, rows, now),
            Some((shards, at, true)) => {
                self.syncing.listed = Some((shards, at, false));
                self.look_by(now);
            }
            None if self.syncing.open || !self.syncing.queue.is_empty() => {}
            None if rows.is_empty() && self.syncing.from_nothing => self.syncing.at = Some(now),
            None if rows.is_empty() => {
                self.syncing.from_nothing = true;
                let wait = self.random.below(self.pace.failover / 5 + 1);
                self.look_by(now + wait);
            }
            None if self.syncing.from_nothing => {
                // Somebody is at it.
                self.syncing.from_nothing = false;
                self.sync_later(now);
            }
            None if self.syncing.at.is_none() => {
                // A fleet's workers share the listing; one that is alone has nobody to wait for.
                let workers = self.workers().max(rows.len() as u64 / ROWS_A_WORKER).saturating_sub(1);
                let wait = self.random.below(self.options.sync_every_ms * workers / SYNCS + 1);
                self.syncing.at = Some(now + wait);
            }
            // Seen once, it may be a split that somebody is at.
            None if holes == 2 => self.sync_soon(now),
            None => {}
        }
        None
    }

    fn compare(&mut self, shards: &[Shard], at: Timestamp, rows: &Rows<'_>, now: u64) -> Option<Compared> {
        self.sync_later(now);
        if std::mem::take(&mut self.syncing.from_nothing) && !rows.is_empty() {
            // Somebody was quicker.
            return None;
        }
        self.syncing.queue = sync::missing(shards, rows, self.options.start, at).into();
        self.syncing.found_made = 0;
        let mut useless = sync::useless(shards, rows);
        self.random.choose(&mut useless, DELETES_MAX);
        for row in useless {
            self.delete(row, now);
        }
        let last = shards.iter().map(|shard| &*shard.id).max()?.to_owned();
        Some(Compared { missing: self.syncing.queue.iter().map(|lease| lease.key.clone()).collect(), last })
    }

    /// Leaves the making of leases to another worker, and looks after it later.
    fn step_back(&mut self, now: u64) {
        self.syncing.queue.clear();
        self.syncing.at = Some(now + self.pace.failover / 2 + self.random.below(self.pace.failover + 1));
    }

    pub(super) fn created(&mut self, lease: Lease, result: Result<Swapped, ()>, now: u64) {
        match result {
            Ok(Swapped::Done) => self.syncing.found_made = 0,
            Ok(Swapped::Refused(_)) => {
                self.syncing.found_made += 1;
                if self.syncing.found_made >= CROWDED && !self.syncing.queue.is_empty() {
                    self.step_back(now);
                }
            }
            // Made or not: asked again, before its children are.
            Err(()) if !self.stopping => {
                self.syncing.queue.push_front(lease);
                self.syncing.pause_until = now + self.pace.retry;
            }
            Err(()) => {}
        }
        let open = self.flights.values().any(|flight| matches!(flight.purpose, Purpose::Create(_)));
        if self.syncing.queue.is_empty() && !open && !self.stopping {
            // What was made can be taken.
            self.look_by(now);
        }
    }
}
