//! What is counted of several things at once, what is shown only while it is so, and the text of it all.

use prometheus::core::Collector as _;
use prometheus::process_collector::ProcessCollector;
use prometheus::{IntCounterVec, Registry, TextEncoder};

use super::Metrics;
use crate::model::{Dimension, Judgement, Mode, Severity, Timestamp, Verdict, Violation};

/// A contract as metrics name it: what it is called, and whose it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContractLabels<'a> {
    pub domain: &'a str,
    pub contract: &'a str,
    pub version: &'a str,
    pub owner: &'a str,
    pub mode: &'a str,
}

impl ContractLabels<'_> {
    fn values(&self) -> [&str; 5] {
        [self.domain, self.contract, self.version, self.owner, self.mode]
    }
}

impl Metrics {
    pub fn new() -> Self {
        let registry = Registry::new();
        let process = ProcessCollector::for_self();
        registry.register(Box::new(process)).expect("its names are its own");
        let metrics = Self::registered(registry);
        metrics.build_info.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        metrics
    }

    /// Counts events judged at `now`, and their violations. Looking a series up costs more than judging an event, so that a batch
    /// is counted first, and each series looked up once: most batches have one or two.
    pub fn count_judgements<'a>(&self, judgements: impl Iterator<Item = &'a Judgement>, now: Timestamp) {
        let mut events: Vec<([&str; 3], u64)> = Vec::new();
        let mut failing: Vec<([&str; 4], u64)> = Vec::new();
        let mut violations: Vec<([&str; 7], u64)> = Vec::new();
        for judgement in judgements {
            let (domain, contract) = (&*judgement.stamp.domain, &*judgement.stamp.contract);
            count(&mut events, [domain, contract, judgement.verdict.as_str()]);
            for (dimension, severity) in worst_by_dimension(&judgement.violations) {
                count(&mut failing, [domain, contract, name_of(dimension), severity.as_str()]);
            }
            for violation in &judgement.violations {
                let labels = [
                    domain,
                    contract,
                    &*violation.rule,
                    violation.kind.as_str(),
                    name_of(violation.dimension),
                    violation.severity.as_str(),
                    violation.mode.as_str(),
                ];
                count(&mut violations, labels);
            }
        }
        add(&self.events, &events);
        add(&self.events_failing, &failing);
        add(&self.violations, &violations);
        for ([domain, contract, _], _) in events {
            self.last_event.with_label_values(&[domain, contract]).set(seconds(now));
        }
    }

    /// Observes that judging took this long, in seconds, for each of so many events.
    pub fn observe_judging(&self, seconds: f64, events: usize) {
        let observations = self.judge_seconds.local();
        for _ in 0..events {
            observations.observe(seconds);
        }
        observations.flush();
    }

    /// Marks `revision` as the one in force for `domain` from `now` on, and forgets the one before it.
    pub fn set_revision(&self, domain: &str, before: Option<&str>, revision: &str, now: Timestamp) {
        if before == Some(revision) {
            return;
        }
        if let Some(before) = before {
            self.forget_revision(domain, before);
        }
        self.rules_info.with_label_values(&[domain, revision]).set(1);
        self.rules_applied.with_label_values(&[domain, revision]).set(seconds(now));
    }

    fn forget_revision(&self, domain: &str, revision: &str) {
        let _ = self.rules_info.remove_label_values(&[domain, revision]);
        let _ = self.rules_applied.remove_label_values(&[domain, revision]);
    }

    /// Shows a contract that is in force. What it counts begins at 0 now rather than with the first event: a rate sees that one too,
    /// and a dimension in which nothing fails has a score. `checked` is what its enforced checks speak for.
    pub fn begin_contract(
        &self,
        contract: &ContractLabels<'_>,
        checked: impl IntoIterator<Item = (Option<Dimension>, Severity)>,
    ) {
        self.contract_info.with_label_values(&contract.values()).set(1);
        for verdict in [Verdict::Forward, Verdict::Quarantine] {
            self.events.with_label_values(&[contract.domain, contract.contract, verdict.as_str()]);
        }
        for (dimension, severity) in checked {
            let labels = [contract.domain, contract.contract, name_of(dimension), severity.as_str()];
            self.events_failing.with_label_values(&labels);
        }
    }

    /// Forgets what is shown of a contract as it was. Counters stay.
    pub fn forget_contract(&self, contract: &ContractLabels<'_>) {
        let _ = self.contract_info.remove_label_values(&contract.values());
    }

    /// Marks `revision` as the candidate's, and forgets the one before it.
    pub fn set_candidate(&self, before: Option<&str>, revision: &str) {
        if let Some(before) = before.filter(|before| *before != revision) {
            let _ = self.candidate_info.remove_label_values(&[before]);
        }
        self.candidate_info.with_label_values(&[revision]).set(1);
    }

    /// Counts the events that were judged by candidate rules too: domain and contract of each, and of those whose verdict would
    /// change, each rule that is why, and how.
    pub fn count_candidate<'a>(&self, events: &[[&'a str; 2]], changes: &[[&'a str; 4]]) {
        let (mut counted, mut changed) = (Vec::new(), Vec::new());
        events.iter().for_each(|labels| count(&mut counted, *labels));
        changes.iter().for_each(|labels| count(&mut changed, *labels));
        add(&self.candidate_events, &counted);
        add(&self.candidate_changes, &changed);
    }

    /// Forgets what a check shows that is no longer in force. Counters stay.
    pub fn forget_check(&self, labels: &[&str; 3]) {
        for gauge in [&self.state_entries, &self.state_limit, &self.state_bytes] {
            let _ = gauge.remove_label_values(labels);
        }
    }

    /// Forgets a domain that is no longer there: its gauges would lie. Counters stay, as Prometheus expects.
    pub fn forget_domain(&self, domain: &str, revision: &str) {
        self.forget_revision(domain, revision);
        let _ = self.contracts.remove_label_values(&[domain]);
        let _ = self.rules_stale.remove_label_values(&[domain]);
    }

    /// What a replay did, in the same form.
    pub fn replayed_text(&self) -> String {
        TextEncoder::new().encode_to_string(&self.replayed.collect()).unwrap_or_default()
    }

    /// The Prometheus text exposition format, version 0.0.4.
    pub fn render(&self) -> String {
        TextEncoder::new().encode_to_string(&self.registry.gather()).unwrap_or_default()
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// The dimensions in which an event fails, each with the worst that was enforced in it.
fn worst_by_dimension(violations: &[Violation]) -> Vec<(Option<Dimension>, Severity)> {
    let mut worst: Vec<(Option<Dimension>, Severity)> = Vec::new();
    for violation in violations.iter().filter(|violation| violation.mode == Mode::Enforce) {
        match worst.iter_mut().find(|(dimension, _)| *dimension == violation.dimension) {
            Some((_, severity)) => *severity = violation.severity.max(*severity),
            None => worst.push((violation.dimension, violation.severity)),
        }
    }
    worst
}

fn name_of(dimension: Option<Dimension>) -> &'static str {
    dimension.map_or("none", Dimension::as_str)
}

/// As Prometheus counts time: since 1970.
fn seconds(time: Timestamp) -> f64 {
    time.millis() as f64 / 1_000.0
}

/// Counts one more of these labels. The last ones found are the likeliest to come again.
fn count<'a, const N: usize>(counts: &mut Vec<([&'a str; N], u64)>, labels: [&'a str; N]) {
    match counts.iter_mut().rev().find(|(known, _)| *known == labels) {
        Some((_, count)) => *count += 1,
        None => counts.push((labels, 1)),
    }
}

fn add<const N: usize>(counters: &IntCounterVec, counts: &[([&str; N], u64)]) {
    for (labels, count) in counts {
        counters.with_label_values(labels).inc_by(*count);
    }
}
