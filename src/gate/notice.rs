//! Notices of quarantine: which are due, and what they say, of what a gate has settled.
//!
//! A domain is *quiet*, or its quarantine *lasts*: from the first event that is quarantined until none was for a while. Of each quarantine
//! there are at most three kinds of notice: it `started`, it `exceeded` a rate, it `ended`. A rate that was exceeded is exceeded again only
//! after it fell below half of that, and what a domain is told is limited in time: what is held back is not queued, it is part of what
//! the next notice sums up. So a quarantine that is over before anybody could be told is told once, as `ended`; one that goes beyond the
//! rate at once begins with `exceeded`; and one that comes again before its end could be told goes on.
//!
//! Only what is settled counts: what could not be put into a queue comes again.

pub mod text;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::model::{Judgement, Timestamp, Verdict, ViolationKind};

/// What rates are measured over, in milliseconds.
const MINUTE: i64 = 60_000;

/// By how much the minute slides, in milliseconds.
const PANE: i64 = 10_000;

/// Domains that are watched at the same time. Their names come from rule files; of more than that, the rest is told nothing of.
pub const DOMAINS_MAX: usize = 1_000;

/// Rules of a domain's quarantine that are told apart; what others decided is counted together.
pub const RULES_MAX: usize = 100;

/// Rules that a notice names, those that decided most.
pub const RULES_TOLD_MAX: usize = 5;

/// Events of a minute below which their share says nothing.
pub const SHARE_EVENTS_MIN: u64 = 20;

/// When notices are due.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Terms {
    /// The share of a minute's events, 0 to 1, above which quarantine exceeds.
    pub share: Option<f64>,
    /// Events quarantined in a minute above which it exceeds.
    pub per_minute: Option<u64>,
    /// For how long nothing is quarantined before it has ended, in milliseconds.
    pub quiet_ms: i64,
    /// Between two notices of a domain, in milliseconds.
    pub every_ms: i64,
}

impl Terms {
    /// Whether either bound is passed.
    fn is_above(&self, judged: u64, quarantined: u64) -> bool {
        self.per_minute.is_some_and(|most| quarantined > most)
            || self.share.is_some_and(|share| judged >= SHARE_EVENTS_MIN && quarantined as f64 > share * judged as f64)
    }

    /// Whether both are twice what there is.
    fn is_below_half(&self, judged: u64, quarantined: u64) -> bool {
        let twice = quarantined.saturating_mul(2);
        self.per_minute.is_none_or(|most| twice < most)
            && self.share.is_none_or(|share| judged < SHARE_EVENTS_MIN || (twice as f64) < share * judged as f64)
    }
}

/// What a notice is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Event {
    Started,
    Exceeded,
    Ended,
}

impl Event {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Exceeded => "exceeded",
            Self::Ended => "ended",
        }
    }
}

/// What is to be told of a domain's quarantine. All counts are since it began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    pub event: Event,
    pub domain: Arc<str>,
    pub at: Timestamp,
    /// When the first event was quarantined, and the last one.
    pub since: Timestamp,
    pub last: Timestamp,
    /// Events of the domain that were settled.
    pub judged: u64,
    pub quarantined: u64,
    /// The most that were quarantined in a minute.
    pub peak_per_minute: u64,
    /// Those that decided most, the first ahead; at most [`RULES_TOLD_MAX`].
    pub rules: Vec<Tally>,
    /// Quarantined by others.
    pub by_others: u64,
}

/// How many events a rule quarantined, as the first of their reasons.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tally {
    pub contract: Arc<str>,
    pub rule: Arc<str>,
    pub kind: ViolationKind,
    pub events: u64,
}

/// Watches all domains of a gate.
#[derive(Debug)]
pub struct Watch {
    terms: Terms,
    domains: BTreeMap<Arc<str>, Watched>,
}

#[derive(Debug, Default)]
struct Watched {
    /// Of the last minute: when each part began, the events settled, and those quarantined.
    panes: VecDeque<(i64, u64, u64)>,
    /// `None` while it is quiet, and that has been told.
    quarantine: Option<Quarantine>,
    told: Option<Timestamp>,
}

#[derive(Debug)]
struct Quarantine {
    since: Timestamp,
    last: Timestamp,
    judged: u64,
    quarantined: u64,
    peak: u64,
    tallies: Vec<Tally>,
    is_told: bool,
    /// It exceeds, and has not fallen below half of it.
    is_high: bool,
    /// That it exceeded is still to be told.
    owes_exceeded: bool,
}

/// A batch's events of one domain.
struct Part<'a> {
    domain: &'a Arc<str>,
    judged: u64,
    quarantined: Vec<&'a Judgement>,
}

impl Watch {
    pub const fn new(terms: Terms) -> Self {
        Self { terms, domains: BTreeMap::new() }
    }

    /// Takes note of events that were settled.
    pub fn observe<'a>(&mut self, settled: impl Iterator<Item = &'a Judgement>, now: Timestamp) {
        let mut parts: Vec<Part<'a>> = Vec::new();
        for judgement in settled {
            let domain = &judgement.stamp.domain;
            let index = parts.iter().rposition(|part| part.domain == domain).unwrap_or_else(|| {
                parts.push(Part { domain, judged: 0, quarantined: Vec::new() });
                parts.len() - 1
            });
            parts[index].judged += 1;
            if judgement.verdict == Verdict::Quarantine {
                parts[index].quarantined.push(judgement);
            }
        }
        for part in parts {
            if !self.domains.contains_key(part.domain) {
                if self.domains.len() >= DOMAINS_MAX {
                    continue;
                }
                self.domains.insert(Arc::clone(part.domain), Watched::default());
            }
            if let Some(watched) = self.domains.get_mut(part.domain) {
                watched.observe(&part, now);
            }
        }
    }

    /// Lets time pass, and says which notices are due, at most one a domain. Each is taken for told. Rates are measured here: ask several
    /// times a minute.
    pub fn due(&mut self, now: Timestamp) -> Vec<Notice> {
        let terms = &self.terms;
        let due = |(domain, watched): (&Arc<str>, &mut Watched)| watched.due(domain, terms, now);
        let notices = self.domains.iter_mut().filter_map(due).collect();
        // What says nothing any more makes room.
        self.domains.retain(|_, watched| {
            watched.quarantine.is_some() || !watched.panes.is_empty() || watched.is_limited(terms, now)
        });
        notices
    }
}

impl Watched {
    fn observe(&mut self, part: &Part<'_>, now: Timestamp) {
        let bad = part.quarantined.len() as u64;
        let begin = now.millis().saturating_sub(now.millis().rem_euclid(PANE));
        match self.panes.back_mut().filter(|(last, ..)| *last >= begin) {
            Some((_, judged, quarantined)) => (*judged, *quarantined) = (*judged + part.judged, *quarantined + bad),
            None => self.panes.push_back((begin, part.judged, bad)),
        }
        self.forget_before(now);
        if bad > 0 || self.quarantine.is_some() {
            self.quarantine.get_or_insert_with(|| Quarantine::new(now)).observe(part, now);
        }
    }

    /// Of the last minute: events settled, and those quarantined.
    fn rate(&self) -> (u64, u64) {
        self.panes.iter().fold((0, 0), |(judged, bad), (_, j, b)| (judged + j, bad + b))
    }

    fn forget_before(&mut self, now: Timestamp) {
        while self.panes.front().is_some_and(|(begin, ..)| *begin <= now.millis().saturating_sub(MINUTE)) {
            self.panes.pop_front();
        }
    }

    /// A clock that was put back must not keep anything for longer than it lasts.
    fn advance(&mut self, now: Timestamp) {
        self.forget_before(now);
        while self.panes.back().is_some_and(|(begin, ..)| *begin > now.millis()) {
            self.panes.pop_back();
        }
        self.told = self.told.map(|told| told.min(now));
        if let Some(quarantine) = &mut self.quarantine {
            quarantine.last = quarantine.last.min(now);
            quarantine.since = quarantine.since.min(quarantine.last);
        }
    }

    /// Whether the last notice was too short a time ago for another one.
    fn is_limited(&self, terms: &Terms, now: Timestamp) -> bool {
        self.told.is_some_and(|told| now.millis().saturating_sub(told.millis()) < terms.every_ms)
    }

    fn due(&mut self, domain: &Arc<str>, terms: &Terms, now: Timestamp) -> Option<Notice> {
        self.advance(now);
        let rate = self.rate();
        let quarantine = self.quarantine.as_mut()?;
        quarantine.measure(rate, terms);
        let event = quarantine.event(terms, now)?;
        if self.is_limited(terms, now) {
            return None;
        }
        self.told = Some(now);
        let quarantine = self.quarantine.as_mut()?;
        (quarantine.is_told, quarantine.owes_exceeded) = (true, false);
        let notice = quarantine.notice(event, domain, now);
        if event == Event::Ended {
            self.quarantine = None;
        }
        Some(notice)
    }
}

impl Quarantine {
    fn new(now: Timestamp) -> Self {
        let (is_told, is_high, owes_exceeded) = (false, false, false);
        let tallies = Vec::new();
        Self { since: now, last: now, judged: 0, quarantined: 0, peak: 0, tallies, is_told, is_high, owes_exceeded }
    }

    fn observe(&mut self, part: &Part<'_>, now: Timestamp) {
        self.judged += part.judged;
        self.quarantined += part.quarantined.len() as u64;
        if !part.quarantined.is_empty() {
            self.last = self.last.max(now);
        }
        for judgement in &part.quarantined {
            let Some(first) = judgement.first() else { continue };
            let (contract, rule) = (&judgement.stamp.contract, &first.rule);
            let is_it =
                |tally: &&mut Tally| tally.rule == *rule && tally.contract == *contract && tally.kind == first.kind;
            if let Some(tally) = self.tallies.iter_mut().find(is_it) {
                tally.events += 1;
            } else if self.tallies.len() < RULES_MAX {
                let (contract, rule) = (Arc::clone(contract), Arc::clone(rule));
                self.tallies.push(Tally { contract, rule, kind: first.kind, events: 1 });
            }
        }
    }

    fn measure(&mut self, (judged, bad): (u64, u64), terms: &Terms) {
        self.peak = self.peak.max(bad);
        if !self.is_high && terms.is_above(judged, bad) {
            (self.is_high, self.owes_exceeded) = (true, true);
        } else if self.is_high && terms.is_below_half(judged, bad) {
            self.is_high = false;
        }
    }

    /// What is to be told, if anything.
    fn event(&self, terms: &Terms, now: Timestamp) -> Option<Event> {
        if now.millis().saturating_sub(self.last.millis()) >= terms.quiet_ms {
            Some(Event::Ended)
        } else if self.owes_exceeded {
            Some(Event::Exceeded)
        } else {
            (!self.is_told).then_some(Event::Started)
        }
    }

    fn notice(&self, event: Event, domain: &Arc<str>, now: Timestamp) -> Notice {
        let mut rules = self.tallies.clone();
        rules.sort_by(|a, b| {
            b.events.cmp(&a.events).then_with(|| (&a.contract, &a.rule, a.kind).cmp(&(&b.contract, &b.rule, b.kind)))
        });
        rules.truncate(RULES_TOLD_MAX);
        let named: u64 = rules.iter().map(|tally| tally.events).sum();
        Notice {
            event,
            domain: Arc::clone(domain),
            at: now,
            since: self.since,
            last: self.last,
            judged: self.judged,
            quarantined: self.quarantined,
            peak_per_minute: self.peak,
            by_others: self.quarantined - named,
            rules,
        }
    }
}

#[cfg(test)]
mod tests;
