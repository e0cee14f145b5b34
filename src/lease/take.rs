//! When a worker looks at the table, and what it takes or asks for then.
//!
//! Each aims at its even share. What is free is taken up to it, rounded up, and of what dead workers have left up to half as much again:
//! being read comes before being even. Where nothing is free, leases are asked for of those who have
//! most, and only of those who will then have no fewer than the worker that asks: counts that cannot be even come to rest.
//!
//! **Looks come in pairs.** To tell that a holder is silent takes two looks, `failover_ms` apart; all that lies between two pairs only
//! decides how many workers are about to look at any time. So a pair comes as seldom as lets the whole fleet read [`CALM_ROWS`] a second:
//! a silent holder is found as soon in a large fleet as in a small one, and reading costs the same. (The KCL's taker reads all rows every
//! `2 × failover`, in each worker, which is quadratic.)
//!
//! Source: `DynamoDBLeaseTaker.java` (`computeLeasesToTake`, `chooseLeasesToSteal`).

use std::collections::BTreeMap;

use super::create::Compared;
use super::held::Phase;
use super::survey::{Rows, Survey, has_hole};
use super::worker::{Output, Worker};
use super::{Lease, Swap};

/// Rows that the fleet reads in a second where nothing is amiss, about.
const CALM_ROWS: u64 = 100_000;
/// The same, of workers that could have more leases than they do.
const BUSY_ROWS: u64 = 500_000;
/// Between two pairs of looks, at most, in milliseconds: a worker is not to be blind for longer.
const CALM_MS_MAX: u64 = 600_000;
/// Between two looks of a worker that could have more, at least, in milliseconds.
const BUSY_MS_MIN: u64 = 1_000;
/// Free leases that a worker takes at a look whatever it has; beyond, as many as it has already. At a cold start each sees only itself, and
/// would take all.
const TAKE_MIN: usize = 8;
/// Leases asked for at a look.
const ASK_MAX: usize = 16;

#[derive(Debug)]
pub(super) struct Looking {
    /// When the next look is due.
    at: u64,
    /// A look is under way.
    open: bool,
    /// The last look was the first of a pair.
    half: bool,
    failures: u32,
    /// Looks in a row that found hash keys without a lease.
    holes: u32,
    /// Workers and rows at the last look.
    workers: u64,
    rows: u64,
}

impl Looking {
    pub fn new(now: u64) -> Self {
        Self { at: now, open: false, half: false, failures: 0, holes: 0, workers: 1, rows: 0 }
    }
}

impl Worker {
    /// When a look is due.
    pub(super) fn look_at(&self) -> Option<u64> {
        (!self.looking.open && !self.stopping).then_some(self.looking.at)
    }

    pub(super) fn look_due(&mut self, now: u64) {
        if self.look_at().is_some_and(|at| at <= now) {
            self.looking.open = true;
            self.outbox.push_back(Output::List);
        }
    }

    /// Has the next look come at this time at the latest.
    pub(super) fn look_by(&mut self, at: u64) {
        self.looking.at = self.looking.at.min(at);
    }

    /// Whether a look is under way.
    pub(super) fn is_looking(&self) -> bool {
        self.looking.open
    }

    /// Workers in the fleet, as of the last look.
    pub(super) fn workers(&self) -> u64 {
        self.looking.workers
    }

    /// Has the next look come soon: there may be something to take.
    pub(super) fn look_soon(&mut self, now: u64) {
        let at = now + self.random.about(self.busy_pace());
        self.look_by(at);
    }

    fn busy_pace(&self) -> u64 {
        let fleet = self.looking.workers * self.looking.rows * 1_000 / BUSY_ROWS;
        fleet.max(self.looking.rows).clamp(BUSY_MS_MIN, CALM_MS_MAX)
    }

    pub(super) fn look_failed(&mut self, now: u64) {
        self.looking.open = false;
        self.looking.failures += 1;
        let wait = BUSY_MS_MIN.saturating_mul(1 << self.looking.failures.min(6)).min(self.pace.failover);
        self.looking.at = now + self.random.about(wait);
    }

    /// Takes in the whole table.
    pub(super) fn looked(&mut self, mut rows: Vec<Lease>, now: u64) {
        self.looking.open = false;
        if self.stopping {
            return;
        }
        rows.sort_by(|a, b| a.key.cmp(&b.key));
        let since = self.seen.update(&rows, now);
        let rows_seen = Rows::new(&rows);
        let me = self.options.id.clone();
        let survey = Survey::new(&rows_seen, &since, &me, now, self.pace.silence());
        self.looking.failures = 0;
        (self.looking.workers, self.looking.rows) = (survey.workers() as u64, rows.len() as u64);
        self.looking.holes = if has_hole(&rows_seen) { self.looking.holes + 1 } else { 0 };
        self.next_look(now);
        let compared = self.reconcile(&rows_seen, self.looking.holes, now);
        self.make_merged(&rows_seen, compared.as_ref(), now);
        self.mind_own(&survey, now);
        self.balance(survey, &rows_seen, now);
    }

    /// Sets when the next look comes if nothing calls for one.
    fn next_look(&mut self, now: u64) {
        let Looking { workers, rows, .. } = self.looking;
        // A little more than failover, so that what has not changed since the first look has expired at the second.
        let pair = self.pace.failover + self.pace.failover / 10 + 1;
        self.looking.half = !self.looking.half;
        let wait = if self.looking.half {
            pair
        } else {
            // Anything from nothing to twice the mean, so that no event sets the whole fleet's looks to one time.
            let mean = (2 * workers * rows * 1_000 / CALM_ROWS).saturating_sub(pair).clamp(pair, CALM_MS_MAX);
            self.random.below(2 * mean)
        };
        self.looking.at = now + wait;
    }

    /// Compares the table with what we think is ours.
    fn mind_own(&mut self, survey: &Survey<'_>, now: u64) {
        for row in survey.ours.iter().chain(&survey.asked_of_us) {
            if self.flights.contains_key(&row.key) {
                continue;
            }
            let asked_of_us = row.checkpoint_owner.as_deref() == Some(&self.options.id);
            match self.held.get_mut(&row.key) {
                // A renewal will be refused, and shows how the row stands.
                Some(held) if asked_of_us && matches!(held.phase, Phase::Reading) => held.act_at = now,
                Some(_) => {}
                // Nobody of ours reads it: passed on as it is.
                None if asked_of_us => self.hold((*row).clone(), Phase::Leaving, now),
                // A write of ours happened whose answer never came.
                None if row.is_ended() => {}
                None if row.checkpoint_owner.is_some() => {
                    self.hold((*row).clone(), Phase::Waiting { since: now }, now);
                }
                None => self.hold((*row).clone(), Phase::Claiming { heir: false }, now),
            }
        }
    }

    /// Lets the child of a merge be made once the other parent has a lease, or is known never to have one.
    fn make_merged(&mut self, rows: &Rows<'_>, compared: Option<&Compared>, now: u64) {
        let mut unsure = false;
        for held in self.held.values_mut() {
            let never = |parent: &str| compared.is_some_and(|compared| compared.is_never_to_be(parent));
            let known = |parent: &str| rows.get(parent).is_some() || never(parent);
            let sure = held.unsure_of().all(known);
            if let Phase::Ending { may_make, again_at, .. } = &mut held.phase
                && !*may_make
            {
                (*may_make, *again_at) = (sure, now);
                unsure |= !sure;
            }
        }
        if unsure {
            self.sync_soon(now);
            self.look_soon(now);
        }
    }

    /// Takes what is free, or asks for what others have too much of.
    fn balance(&mut self, survey: Survey<'_>, rows: &Rows<'_>, now: u64) {
        let own = self.held.values().filter(|held| held.is_load()).count();
        let (readable, workers) = (survey.readable(own), survey.workers());
        let room = self.options.leases_max.max(1).saturating_sub(self.held.len());
        let mut free = survey.free;
        free.retain(|row| !self.held.contains_key(&row.key) && !self.flights.contains_key(&row.key));
        self.unread = free.len();
        let share = readable.div_ceil(workers);
        // What a dead worker has left waits for nobody's share: it is evened out later.
        let left = free.iter().filter(|row| row.owner.is_some()).count();
        let wanted = (share + left.div_ceil(4).min(share / 2)).saturating_sub(own).min(room);
        if !free.is_empty() {
            let count = wanted.min(TAKE_MIN.max(own));
            self.random.choose(&mut free, count);
            self.unread -= free.len();
            if self.unread > 0 && count < wanted {
                self.look_soon(now);
            } else if self.unread > 0 && room > count {
                // Whoever is to have it may have looked when few others were to be seen, and that may be us.
                let wait = self.random.about((2 * self.busy_pace()).max(self.pace.failover));
                self.look_by(now + wait);
            }
            for row in free {
                self.hold(row.clone(), Phase::Claiming { heir: rows.is_heir(row) }, now);
            }
            return;
        }
        let lacking = (readable / workers).saturating_sub(own).max(1).min(room).min(ASK_MAX);
        for row in self.choose_asked(survey.held, own, lacking) {
            self.hold(row.clone(), Phase::Asking { asked: 0 }, now);
        }
    }

    /// At most `count` leases of those who have most of them.
    fn choose_asked<'a>(&mut self, held: BTreeMap<&str, Vec<&'a Lease>>, own: usize, count: usize) -> Vec<&'a Lease> {
        let mut victims: Vec<(usize, Vec<&Lease>)> = held
            .into_values()
            .filter(|leases| leases.len() >= own + 2)
            .map(|leases| {
                // What is being handed over counts, and is not to be had.
                let may = |row: &&Lease| row.checkpoint_owner.is_none() && !self.held.contains_key(&row.key);
                (leases.len(), leases.into_iter().filter(may).collect())
            })
            .collect();
        let mut asked = Vec::new();
        while asked.len() < count {
            let Some(most) = victims.iter().map(|(load, _)| *load).max() else { break };
            if most < own + asked.len() + 2 {
                break;
            }
            let loaded: Vec<usize> = (0..victims.len()).filter(|at| victims[*at].0 == most).collect();
            let at = loaded[self.random.index(loaded.len())];
            let (load, leases) = &mut victims[at];
            if leases.is_empty() {
                victims.swap_remove(at);
                continue;
            }
            *load -= 1;
            asked.push(leases.swap_remove(self.random.index(leases.len())));
        }
        asked.retain(|row| !self.flights.contains_key(&row.key));
        asked
    }

    /// Sends a deletion.
    pub(super) fn delete(&mut self, row: &Lease, now: u64) {
        if !self.held.contains_key(&row.key) && !self.flights.contains_key(&row.key) {
            self.send(Swap::Delete(Box::new(row.clone())), super::worker::Purpose::Delete, now);
        }
    }
}
