//! A circuit breaker for each contract that asks for one: when a rule deploy, or a producer's, would divert a domain's events to the
//! dead-letter queue, somebody should look first.
//!
//! ```text
//! closed ── too much would be quarantined ──▶ open ── a window later ──▶ half open ── the probes are good ──▶ closed
//!                                              ▲                              │
//!                                              └──── the probes are bad ──────┘
//! ```
//!
//! What counts is what the contract would quarantine, among the events it judged in the window. While it is open, `hold` settles nothing
//! of the contract, so that producers keep their events and slow down; `forward` lets everything pass, and says of each event what is
//! wrong with it all the same; `alert` does nothing but tell. Only `hold` needs probes: with the others, events go on being judged, and
//! the breaker closes when they are good again.
//!
//! After Nygard, "Release It!" (2007), and Fowler, "CircuitBreaker" (2014).

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::contract::{BreakerAction, BreakerTerms, Contract, ContractSet};
use crate::model::Timestamp;

/// Into how many parts a window is divided, to slide by.
const PANES: i64 = 10;

/// By how much the clock may go back without notice, in milliseconds.
const BACK_MAX: i64 = 60_000;

/// Where a breaker is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    Closed,
    HalfOpen,
    Open,
}

impl Phase {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::HalfOpen => "half_open",
            Self::Open => "open",
        }
    }
}

/// What is to become of an event that was judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// What its verdict says.
    Pass,
    /// Nothing yet: it is not settled, and its producer is asked to slow down.
    Hold,
    /// It is forwarded, whatever its verdict.
    ForwardAnyway,
}

/// One contract's breaker.
#[derive(Debug)]
pub struct Breaker {
    terms: BreakerTerms,
    state: State,
    since: Timestamp,
    /// Of the present window: when each part began, its events, and those that would be quarantined.
    panes: VecDeque<(i64, u64, u64)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Closed,
    Open,
    HalfOpen { probes: u64, bad: u64 },
}

/// What a breaker shows of itself.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Shown {
    pub phase: Phase,
    pub action: BreakerAction,
    pub since: Timestamp,
    /// Judged in the present window.
    pub events: u64,
    pub would_be_quarantined: u64,
    pub ratio_max: f64,
}

impl Breaker {
    pub fn new(terms: BreakerTerms, now: Timestamp) -> Self {
        Self { terms, state: State::Closed, since: now, panes: VecDeque::new() }
    }

    /// Takes note of an event that was judged, and says what is to become of it.
    pub fn admit(&mut self, is_bad: bool, now: Timestamp) -> Admission {
        self.advance(now);
        if let State::HalfOpen { probes, bad } = self.state {
            return self.probe(probes, bad + u64::from(is_bad), now);
        }
        self.count(is_bad, now);
        if self.state == State::Closed && self.is_too_bad() {
            self.turn(State::Open, now);
        }
        // The event may be the one that makes it good again.
        self.advance(now);
        match (self.state, self.terms.action) {
            (State::Closed | State::HalfOpen { .. }, _) | (_, BreakerAction::Alert) => Admission::Pass,
            (State::Open, BreakerAction::Hold) => Admission::Hold,
            (State::Open, BreakerAction::Forward) => Admission::ForwardAnyway,
        }
    }

    /// Lets time pass.
    pub fn advance(&mut self, now: Timestamp) {
        let window = self.terms.window;
        while self.panes.front().is_some_and(|(begin, ..)| *begin <= now.millis().saturating_sub(window)) {
            self.panes.pop_front();
        }
        // What is further ahead than that was counted before the clock was put back.
        let ahead = now.millis().saturating_add(window).saturating_add(BACK_MAX);
        while self.panes.back().is_some_and(|(begin, ..)| *begin > ahead) {
            self.panes.pop_back();
        }
        if self.since.millis() > ahead {
            self.since = now;
        }
        let is_over = now.millis().saturating_sub(self.since.millis()) >= window;
        match (self.state, self.terms.action) {
            (State::Open, BreakerAction::Hold) if is_over => self.turn(State::HalfOpen { probes: 0, bad: 0 }, now),
            (State::Open, BreakerAction::Forward | BreakerAction::Alert) if is_over && !self.is_too_bad() => {
                self.turn(State::Closed, now);
            }
            _ => {}
        }
    }

    /// Other rules are in force: an open one tries again at once, under their terms.
    pub fn renew(&mut self, terms: BreakerTerms, now: Timestamp) {
        self.terms = terms;
        self.panes.clear();
        if self.state == State::Open {
            let next = match terms.action {
                BreakerAction::Hold => State::HalfOpen { probes: 0, bad: 0 },
                BreakerAction::Forward | BreakerAction::Alert => State::Closed,
            };
            self.turn(next, now);
        }
    }

    /// Somebody says that it is good.
    pub fn close(&mut self, now: Timestamp) {
        self.panes.clear();
        self.turn(State::Closed, now);
    }

    pub fn show(&self) -> Shown {
        let (events, would_be_quarantined) = match self.state {
            State::HalfOpen { probes, bad } => (probes, bad),
            State::Closed | State::Open => self.totals(),
        };
        Shown {
            phase: match self.state {
                State::Closed => Phase::Closed,
                State::Open => Phase::Open,
                State::HalfOpen { .. } => Phase::HalfOpen,
            },
            action: self.terms.action,
            since: self.since,
            events,
            would_be_quarantined,
            ratio_max: self.terms.ratio_max,
        }
    }

    fn probe(&mut self, probes: u64, bad: u64, now: Timestamp) -> Admission {
        let (probes, wanted) = (probes + 1, self.terms.events_min.max(1));
        self.state = State::HalfOpen { probes, bad };
        if bad as f64 > self.terms.ratio_max * wanted as f64 {
            // However good the rest of the probes were.
            self.turn(State::Open, now);
        } else if probes >= wanted {
            self.panes.clear();
            self.turn(State::Closed, now);
        }
        Admission::Pass
    }

    fn count(&mut self, is_bad: bool, now: Timestamp) {
        let pane = (self.terms.window / PANES).max(1);
        let begin = now.millis().saturating_sub(now.millis().rem_euclid(pane));
        match self.panes.back_mut().filter(|(last, ..)| *last >= begin) {
            Some((_, events, bad)) => (*events, *bad) = (*events + 1, *bad + u64::from(is_bad)),
            None => self.panes.push_back((begin, 1, is_bad.into())),
        }
    }

    fn totals(&self) -> (u64, u64) {
        self.panes.iter().fold((0, 0), |(events, bad), (_, e, b)| (events + e, bad + b))
    }

    fn is_too_bad(&self) -> bool {
        let (events, bad) = self.totals();
        events >= self.terms.events_min.max(1) && bad as f64 > self.terms.ratio_max * events as f64
    }

    fn turn(&mut self, state: State, now: Timestamp) {
        (self.state, self.since) = (state, now);
    }
}

/// The breakers of all contracts that have one.
#[derive(Debug, Default, Clone)]
pub struct Breakers {
    by_domain: BTreeMap<Arc<str>, BTreeMap<Arc<str>, Arc<Shared>>>,
}

/// A breaker, and the rules it was opened for.
#[derive(Debug)]
struct Shared {
    revision: Mutex<Arc<str>>,
    breaker: Mutex<Breaker>,
}

impl Breakers {
    /// Those of another set of contracts, which go on where they were. One whose domain has other rules now tries again.
    #[must_use]
    pub fn renewed(&self, set: &ContractSet, now: Timestamp) -> Self {
        let mut by_domain: BTreeMap<_, BTreeMap<_, _>> = BTreeMap::new();
        for contract in set.domains().flat_map(|domain| domain.contracts.values()).filter(|c| c.is_live()) {
            let Some(terms) = contract.breaker else { continue };
            let before = self.by_domain.get(&contract.domain).and_then(|domain| domain.get(&contract.name));
            let shared = match before {
                Some(shared) => {
                    let mut revision = shared.revision.lock().unwrap_or_else(PoisonError::into_inner);
                    if *revision != contract.revision {
                        lock(&shared.breaker).renew(terms, now);
                        *revision = Arc::clone(&contract.revision);
                    }
                    Arc::clone(shared)
                }
                None => Arc::new(Shared {
                    revision: Mutex::new(Arc::clone(&contract.revision)),
                    breaker: Mutex::new(Breaker::new(terms, now)),
                }),
            };
            by_domain.entry(Arc::clone(&contract.domain)).or_default().insert(Arc::clone(&contract.name), shared);
        }
        Self { by_domain }
    }

    pub fn is_empty(&self) -> bool {
        self.by_domain.is_empty()
    }

    /// Takes note of an event that a contract has judged, and says what is to become of it.
    pub fn admit(&self, contract: &Contract, is_bad: bool, now: Timestamp) -> Admission {
        if contract.breaker.is_none() {
            return Admission::Pass;
        }
        self.get(&contract.domain, &contract.name).map_or(Admission::Pass, |mut breaker| breaker.admit(is_bad, now))
    }

    /// A contract's breaker; `None` where it has none.
    pub fn get(&self, domain: &str, contract: &str) -> Option<MutexGuard<'_, Breaker>> {
        self.by_domain.get(domain)?.get(contract).map(|shared| lock(&shared.breaker))
    }

    /// Lets time pass, and shows each: domain, contract, and what it is.
    pub fn show(&self, now: Timestamp) -> impl Iterator<Item = (&str, &str, Shown)> {
        self.by_domain.iter().flat_map(move |(domain, breakers)| {
            breakers.iter().map(move |(contract, shared)| {
                let mut breaker = lock(&shared.breaker);
                breaker.advance(now);
                (&**domain, &**contract, breaker.show())
            })
        })
    }
}

fn lock(breaker: &Mutex<Breaker>) -> MutexGuard<'_, Breaker> {
    breaker.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const WINDOW: i64 = 1000;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn breaker(action: BreakerAction) -> Breaker {
        Breaker::new(BreakerTerms { ratio_max: 0.5, window: WINDOW, events_min: 4, action }, at(0))
    }

    fn admit(breaker: &mut Breaker, events: &[(i64, bool)]) -> Vec<Admission> {
        events.iter().map(|(now, is_bad)| breaker.admit(*is_bad, at(*now))).collect()
    }

    #[test]
    fn it_opens_when_too_much_is_bad_and_not_before_there_is_enough() {
        let mut hold = breaker(BreakerAction::Hold);
        let bad = [(0, true), (1, true), (2, true), (3, true), (4, false)];
        let [pass, held] = [Admission::Pass, Admission::Hold];
        assert_eq!(admit(&mut hold, &bad), [pass, pass, pass, held, held]);
        assert_eq!((hold.show().phase, hold.show().since), (Phase::Open, at(3)));
        let mut half = breaker(BreakerAction::Hold);
        admit(&mut half, &[(0, false), (1, true), (2, false), (3, true), (4, false), (5, true)]);
        assert_eq!(half.show().phase, Phase::Closed, "half of it is not more than half");
    }

    #[test]
    fn after_a_window_a_few_probes_decide() {
        let mut hold = breaker(BreakerAction::Hold);
        admit(&mut hold, &[(0, true), (0, true), (0, true), (0, true)]);
        let [pass, held] = [Admission::Pass, Admission::Hold];
        assert_eq!(admit(&mut hold, &[(999, false), (1000, true), (1001, true)]), [held, pass, pass]);
        assert_eq!(hold.show().phase, Phase::HalfOpen);
        assert_eq!(admit(&mut hold, &[(1002, true), (1003, false)]), [pass, held], "the third bad probe ends it");
        assert_eq!(admit(&mut hold, &[(2002, false), (2003, true), (2004, false), (2005, false)]), [pass; 4]);
        assert_eq!((hold.show().phase, hold.show().since), (Phase::Closed, at(2005)));
    }

    #[test]
    fn forwarding_goes_on_until_it_is_good_again() {
        let mut forward = breaker(BreakerAction::Forward);
        let bad: Vec<_> = (0..4).map(|n| (n, true)).collect();
        assert_eq!(admit(&mut forward, &bad)[3], Admission::ForwardAnyway);
        let more: Vec<_> = (0..4).map(|n| (500 + n, true)).collect();
        assert_eq!(admit(&mut forward, &more), [Admission::ForwardAnyway; 4]);
        let good: Vec<_> = (0..4).map(|n| (1100 + n, false)).collect();
        assert_eq!(admit(&mut forward, &good)[3], Admission::Pass);
        assert_eq!(forward.show().phase, Phase::Closed);
        let mut alert = breaker(BreakerAction::Alert);
        assert_eq!(admit(&mut alert, &bad), [Admission::Pass; 4]);
        assert_eq!(alert.show().phase, Phase::Open);
        alert.advance(at(5000));
        assert_eq!(alert.show().phase, Phase::Closed, "nothing bad came any more");
    }

    #[test]
    fn other_rules_are_tried_at_once() {
        let mut hold = breaker(BreakerAction::Hold);
        admit(&mut hold, &[(0, true), (0, true), (0, true), (0, true)]);
        hold.renew(hold.terms, at(5));
        assert_eq!(hold.show().phase, Phase::HalfOpen);
        admit(&mut hold, &[(6, true), (6, true), (6, true)]);
        assert_eq!(hold.show().phase, Phase::Open);
        hold.close(at(7));
        assert_eq!((hold.show().phase, hold.show().events), (Phase::Closed, 0));
    }

    #[test]
    fn a_clock_that_is_put_back_keeps_nothing_open() {
        let day = 86_400_000;
        let mut hold = breaker(BreakerAction::Hold);
        admit(&mut hold, &[(day, true), (day, true), (day, true), (day, true)]);
        assert_eq!(admit(&mut hold, &[(5, false), (6 + WINDOW, false)]), [Admission::Hold, Admission::Pass]);
        for extreme in [i64::MIN, i64::MAX, i64::MIN] {
            hold.admit(true, at(extreme));
        }
    }

    proptest! {
        /// While it is open, nothing of a held contract is settled, and never more than the probes of one window go wrong.
        #[test]
        fn held_contracts_divert_no_more_than_their_probes(
            events in proptest::collection::vec((0_i64..400, proptest::bool::weighted(0.8)), 1..300),
        ) {
            let (mut hold, mut now) = (breaker(BreakerAction::Hold), 0);
            for (later, is_bad) in events {
                now += later;
                hold.advance(at(now));
                let before = hold.show().phase;
                let admission = hold.admit(is_bad, at(now));
                match before {
                    Phase::Open => prop_assert_eq!(admission, Admission::Hold),
                    Phase::HalfOpen => prop_assert_eq!(admission, Admission::Pass),
                    Phase::Closed => prop_assert_eq!(admission == Admission::Hold, hold.show().phase == Phase::Open),
                }
                let shown = hold.show();
                prop_assert!(shown.would_be_quarantined <= shown.events);
                if shown.phase == Phase::HalfOpen {
                    prop_assert!(shown.events < 4 && shown.would_be_quarantined <= 2);
                }
            }
            prop_assert!(hold.panes.len() <= PANES as usize + 2);
        }
    }
}
