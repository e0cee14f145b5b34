//! A gate's pulse: what it settled in the last hour, for those who look at it now.
//!
//! Metrics are for those who ask later; this is for a page that a person opens. It tells of each contract what became of its events by the
//! minute, which rules were violated, and which events were refused last, and why: names and words of rule files, never a value of an event.
//!
//! Only what is settled counts for a contract: what is unsettled comes again. All of it is bounded, and dies with the process.

mod refusal;
mod ring;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

pub use refusal::{MESSAGE_CHARS_MAX, POINTER_CHARS_MAX, REASONS_MAX, Reason, Refusal};
use ring::Ring;

use crate::contract::ContractSet;
use crate::model::{Mode, Outcome, Settlement, Severity, Timestamp, Violation, ViolationKind};

/// Contracts that are told apart. Their names come from rule files; what those beyond it judge is counted together.
pub const CONTRACTS_MAX: usize = 1_000;

/// Rules of a contract that are told apart within an hour; what others found is counted together.
pub const RULES_MAX: usize = 50;

/// Refused events that are remembered.
pub const REFUSALS_MAX: usize = 50;

/// What those that are not told apart are called.
pub const OTHERS: &str = "others";

/// How many seconds, and how many minutes, are told one by one.
pub const SECONDS: usize = 60;
pub const MINUTES: usize = 60;

/// Milliseconds.
const SECOND: i64 = 1_000;
const MINUTE: i64 = 60_000;
const HOUR: i64 = 3_600_000;

/// Of one contract's last minute, and one rule's last hour.
const PARTS: usize = 12;

/// What became of events in some stretch of time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    pub forwarded: u32,
    pub quarantined: u32,
    pub dropped: u32,
    /// They come again.
    pub unsettled: u32,
}

impl Counts {
    /// Events whose fate is durable.
    pub fn settled(&self) -> u32 {
        self.forwarded.saturating_add(self.refused())
    }

    /// Settled, and not forwarded.
    pub fn refused(&self) -> u32 {
        self.quarantined.saturating_add(self.dropped)
    }

    fn add(&mut self, other: Self) {
        self.forwarded = self.forwarded.saturating_add(other.forwarded);
        self.quarantined = self.quarantined.saturating_add(other.quarantined);
        self.dropped = self.dropped.saturating_add(other.dropped);
        self.unsettled = self.unsettled.saturating_add(other.unsettled);
    }

    /// All of them together.
    pub fn sum(all: &[Self]) -> Self {
        all.iter().fold(Self::default(), |mut sum, counts| {
            sum.add(*counts);
            sum
        })
    }

    fn count(&mut self, settlement: &Settlement) {
        let one = match settlement {
            Settlement::Forwarded(_) => &mut self.forwarded,
            Settlement::Quarantined { .. } => &mut self.quarantined,
            Settlement::Dropped(_) => &mut self.dropped,
            Settlement::Unsettled(_) => &mut self.unsettled,
        };
        *one = one.saturating_add(1);
    }
}

/// What a gate remembers of the last hour.
#[derive(Debug, Default)]
pub struct Pulse {
    seconds: Ring<Counts, SECONDS, SECOND>,
    /// By domain and name.
    contracts: BTreeMap<Arc<str>, BTreeMap<Arc<str>, Box<Of>>>,
    /// How many these are.
    count: usize,
    others: Box<Of>,
    refusals: VecDeque<Arc<Refusal>>,
    /// When room was last looked for.
    swept: Option<Timestamp>,
}

/// What is remembered of one contract.
#[derive(Debug, Default)]
struct Of {
    moments: Ring<Counts, PARTS, { MINUTE / PARTS as i64 }>,
    minutes: Ring<Counts, MINUTES, MINUTE>,
    /// When an event was last settled.
    last: Timestamp,
    rules: Vec<OfRule>,
    by_others: OfHour,
}

/// How often, by the five minutes.
type OfHour = Ring<u32, PARTS, { HOUR / PARTS as i64 }>;

#[derive(Debug)]
struct OfRule {
    rule: Arc<str>,
    manner: Manner,
    times: OfHour,
    last: Timestamp,
}

/// What tells violations of one rule apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Manner {
    kind: ViolationKind,
    severity: Severity,
    mode: Mode,
}

/// A batch's outcomes, counted before the pulse is locked.
#[derive(Debug)]
pub struct Batch<'a> {
    now: Timestamp,
    all: Counts,
    parts: Vec<Part<'a>>,
    refusals: VecDeque<Arc<Refusal>>,
}

/// Those of one contract.
#[derive(Debug)]
struct Part<'a> {
    domain: &'a Arc<str>,
    contract: &'a Arc<str>,
    counts: Counts,
    violations: Vec<(&'a Arc<str>, Manner, u32)>,
}

impl<'a> Batch<'a> {
    /// `set` is what judged them.
    pub fn of(outcomes: &'a [Outcome], set: &ContractSet, now: Timestamp) -> Self {
        let mut batch = Self { now, all: Counts::default(), parts: Vec::new(), refusals: VecDeque::new() };
        for outcome in outcomes {
            batch.all.count(&outcome.settlement);
            let stamp = &outcome.judgement.stamp;
            let part = batch.part(&stamp.domain, &stamp.contract);
            part.counts.count(&outcome.settlement);
            if !matches!(outcome.settlement, Settlement::Unsettled(_)) {
                outcome.judgement.violations.iter().for_each(|violation| part.count(violation));
            }
        }
        // Of a storm of bad events, only the last are worth their words.
        let refused = outcomes.iter().rev().filter_map(|outcome| match &outcome.settlement {
            Settlement::Quarantined { dead_letter, .. } => Some((&outcome.judgement, dead_letter)),
            _ => None,
        });
        for (judgement, letter) in refused.take(REFUSALS_MAX) {
            batch.refusals.push_front(Arc::new(Refusal::of(judgement, letter, set, now)));
        }
        batch
    }

    /// The last contract is the likeliest to come again.
    fn part(&mut self, domain: &'a Arc<str>, contract: &'a Arc<str>) -> &mut Part<'a> {
        let is_it = |part: &Part<'_>| part.contract == contract && part.domain == domain;
        let index = self.parts.iter().rposition(is_it).unwrap_or_else(|| {
            self.parts.push(Part { domain, contract, counts: Counts::default(), violations: Vec::new() });
            self.parts.len() - 1
        });
        &mut self.parts[index]
    }
}

impl<'a> Part<'a> {
    fn count(&mut self, violation: &'a Violation) {
        let Violation { rule, kind, severity, mode, .. } = violation;
        let manner = Manner { kind: *kind, severity: *severity, mode: *mode };
        match self.violations.iter_mut().rev().find(|(known, m, _)| *m == manner && *known == rule) {
            Some((.., times)) => *times += 1,
            None => self.violations.push((rule, manner, 1)),
        }
    }
}

impl Pulse {
    /// Takes note of a batch.
    pub fn observe(&mut self, batch: Batch<'_>) {
        let Batch { now, all, parts, refusals } = batch;
        self.seconds.at(now).add(all);
        for part in &parts {
            self.of(part.domain, part.contract, now).observe(part, now);
        }
        self.refusals.extend(refusals);
        let too_many = self.refusals.len().saturating_sub(REFUSALS_MAX);
        self.refusals.drain(..too_many);
    }

    fn of(&mut self, domain: &Arc<str>, contract: &Arc<str>, now: Timestamp) -> &mut Of {
        let is_known = self.contracts.get(domain).is_some_and(|contracts| contracts.contains_key(contract));
        if !is_known {
            if self.count >= CONTRACTS_MAX {
                self.make_room(now);
            }
            if self.count >= CONTRACTS_MAX {
                return &mut self.others;
            }
            self.count += 1;
        }
        self.contracts.entry(Arc::clone(domain)).or_default().entry(Arc::clone(contract)).or_default()
    }

    /// Forgets contracts of which nothing was heard for an hour. All have to be looked at, so that it is done once a minute.
    fn make_room(&mut self, now: Timestamp) {
        let is_soon = |swept: Timestamp| (0..MINUTE).contains(&now.millis().saturating_sub(swept.millis()));
        if self.swept.is_some_and(is_soon) {
            return;
        }
        self.swept = Some(now);
        self.contracts.retain(|_, contracts| {
            contracts.retain(|_, of| !is_over(of.last, now));
            !contracts.is_empty()
        });
        self.count = self.contracts.values().map(BTreeMap::len).sum();
    }

    /// What is to be shown of it.
    pub fn view(&self, now: Timestamp) -> View {
        let mut contracts: Vec<ContractView> = Vec::with_capacity(self.count);
        let mut violations = Vec::new();
        let mut show = |domain: &Arc<str>, contract: &Arc<str>, of: &Of| {
            contracts.push(ContractView {
                domain: Arc::clone(domain),
                contract: Arc::clone(contract),
                minute: Counts::sum(&of.moments.until(now)),
                minutes: of.minutes.until(now),
                last: of.last,
            });
            of.show_violations(domain, contract, now, &mut violations);
        };
        for (domain, of_domain) in &self.contracts {
            of_domain.iter().for_each(|(contract, of)| show(domain, contract, of));
        }
        if self.others.last != Timestamp::default() {
            let name: Arc<str> = OTHERS.into();
            show(&name, &name, &self.others);
        }
        View {
            seconds: self.seconds.until(now),
            contracts,
            violations,
            refusals: self.refusals.iter().rev().cloned().collect(),
        }
    }
}

/// Whether it is no longer within the last hour; what is ahead of the clock was before it was put back.
fn is_over(last: Timestamp, now: Timestamp) -> bool {
    !(0..HOUR).contains(&now.millis().saturating_sub(last.millis()))
}

impl Of {
    fn observe(&mut self, part: &Part<'_>, now: Timestamp) {
        self.moments.at(now).add(part.counts);
        self.minutes.at(now).add(part.counts);
        self.last = now;
        for (rule, manner, times) in &part.violations {
            let is_it = |of: &OfRule| of.manner == *manner && of.rule == **rule;
            let mut known = self.rules.iter().position(is_it);
            if known.is_none() {
                if self.rules.len() >= RULES_MAX {
                    self.rules.retain(|of| !is_over(of.last, now));
                }
                if self.rules.len() < RULES_MAX {
                    let (rule, manner) = (Arc::clone(rule), *manner);
                    self.rules.push(OfRule { rule, manner, times: Ring::default(), last: now });
                    known = Some(self.rules.len() - 1);
                }
            }
            let of_hour = match known {
                Some(index) => {
                    self.rules[index].last = now;
                    &mut self.rules[index].times
                }
                None => &mut self.by_others,
            };
            let count = of_hour.at(now);
            *count = count.saturating_add(*times);
        }
    }

    fn show_violations(&self, domain: &Arc<str>, contract: &Arc<str>, now: Timestamp, shown: &mut Vec<ViolationView>) {
        let sum = |of_hour: &OfHour| of_hour.until(now).iter().fold(0_u32, |sum, times| sum.saturating_add(*times));
        for OfRule { rule, manner, times, last } in &self.rules {
            let (events, Manner { kind, severity, mode }) = (sum(times), *manner);
            if events > 0 {
                let rule = Arc::clone(rule);
                let told = Some(Told { kind, severity, mode, last: *last });
                shown.push(ViolationView {
                    domain: Arc::clone(domain),
                    contract: Arc::clone(contract),
                    rule,
                    times: events,
                    told,
                });
            }
        }
        let times = sum(&self.by_others);
        if times > 0 {
            let (domain, contract) = (Arc::clone(domain), Arc::clone(contract));
            shown.push(ViolationView { domain, contract, rule: OTHERS.into(), times, told: None });
        }
    }
}

/// A pulse at a moment.
#[derive(Debug, Clone)]
pub struct View {
    /// All events, by the second; the last one is not over.
    pub seconds: [Counts; SECONDS],
    /// By domain and name; what could not be told apart at the end.
    pub contracts: Vec<ContractView>,
    pub violations: Vec<ViolationView>,
    /// The newest first.
    pub refusals: Vec<Arc<Refusal>>,
}

#[derive(Debug, Clone)]
pub struct ContractView {
    pub domain: Arc<str>,
    pub contract: Arc<str>,
    /// Of the last minute, give or take five seconds.
    pub minute: Counts,
    /// Of the last hour; the last one is not over.
    pub minutes: [Counts; MINUTES],
    pub last: Timestamp,
}

/// How often a rule was violated in the last hour.
#[derive(Debug, Clone)]
pub struct ViolationView {
    pub domain: Arc<str>,
    pub contract: Arc<str>,
    pub rule: Arc<str>,
    pub times: u32,
    /// `None` for those that are not told apart.
    pub told: Option<Told>,
}

#[derive(Debug, Clone, Copy)]
pub struct Told {
    pub kind: ViolationKind,
    pub severity: Severity,
    pub mode: Mode,
    pub last: Timestamp,
}

#[cfg(test)]
mod tests;
