//! From violations to a verdict.

use std::sync::Arc;

use super::judged::{Check, Contract, Found};
use super::remembering::{AllLooked, Recall, StreamCheck, Told};
use crate::memory::{Delivery, Observed};
use crate::model::{Dimension, Mode, Severity, Timestamp, Verdict, Violation, ViolationKind};
use crate::rule::{Finding, OnFail};

/// The most violations told of one event. Those that decide are kept before others.
pub const VIOLATIONS_MAX: usize = 100;

/// A verdict, and what led to it.
#[derive(Debug)]
pub struct Ruling {
    pub verdict: Verdict,
    pub violations: Vec<Violation>,
    /// What is remembered of the event once it is settled.
    pub observed: Observed,
    /// Whether a policy quarantines it, beside whatever the contract says.
    pub is_by_policy: bool,
}

/// Violations, and what each leads to.
#[derive(Default)]
pub(super) struct Violations {
    all: Vec<Violation>,
    consequences: Vec<(Mode, OnFail)>,
    is_by_policy: bool,
}

impl Violations {
    pub(super) fn with_capacity(capacity: usize) -> Self {
        Self { all: Vec::with_capacity(capacity), consequences: Vec::with_capacity(capacity), is_by_policy: false }
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// Makes the first one decisive, as a policy asks.
    pub(super) fn enforce_first(&mut self) {
        self.is_by_policy = true;
        if let (Some(violation), Some(consequence)) = (self.all.first_mut(), self.consequences.first_mut()) {
            (violation.mode, consequence.0) = (Mode::Enforce, Mode::Enforce);
        }
    }

    /// Those of the schema stay, and no policy has said anything.
    pub(super) fn truncate(&mut self, length: usize) {
        self.is_by_policy = false;
        self.all.truncate(length);
        self.consequences.truncate(length);
    }

    pub(super) fn push_schema(&mut self, contract: &Contract, finding: Finding) {
        self.consequences.push((contract.mode, OnFail::Quarantine));
        self.all.push(Violation {
            rule: Arc::clone(&contract.schema_rule),
            kind: ViolationKind::Schema,
            pointer: finding.pointer,
            dimension: Some(Dimension::Conformity),
            severity: Severity::Error,
            mode: contract.mode,
            message: finding.message,
        });
    }

    pub(super) fn push(&mut self, check: &Check, found: Option<Found>) {
        let Some(Found { kind, finding }) = found else { return };
        self.is_by_policy |= check.is_policy && (check.mode, check.on_fail) == (Mode::Enforce, OnFail::Quarantine);
        self.consequences.push((check.mode, check.on_fail));
        self.all.push(Violation {
            rule: check.id.clone(),
            kind,
            pointer: finding.pointer,
            dimension: check.dimension,
            severity: check.severity,
            mode: check.mode,
            message: finding.message,
        });
    }

    pub(super) fn push_told(&mut self, check: &StreamCheck, told: Told, pointer: String) {
        self.consequences.push((told.mode, told.on_fail));
        self.all.push(Violation {
            rule: Arc::clone(&check.id),
            kind: told.kind,
            pointer,
            dimension: check.dimension,
            severity: check.severity,
            mode: told.mode,
            message: told.message,
        });
    }

    /// What the enforced ones lead to, those of checks that remember among them. Of an event that is not to be forwarded, nothing is
    /// held.
    pub(super) fn decide(
        mut self,
        contract: &Contract,
        now: Timestamp,
        recall: Option<Recall<'_>>,
        looked: AllLooked,
    ) -> Ruling {
        let mut observed = match recall {
            Some(recall) if !looked.is_empty() => contract.recall(recall, looked, now, &mut self),
            _ => Observed::new(Delivery::UNKNOWN, now),
        };
        let enforced = |wanted| self.consequences.contains(&(Mode::Enforce, wanted));
        let verdict = if enforced(OnFail::Quarantine) {
            Verdict::Quarantine
        } else if enforced(OnFail::Drop) {
            Verdict::Drop
        } else {
            Verdict::Forward
        };
        self.all.iter_mut().for_each(|violation| contract.shorten(&mut violation.pointer));
        keep_decisive(&mut self.all, &self.consequences);
        if verdict != Verdict::Forward {
            observed.give_back();
        }
        Ruling { verdict, violations: self.all, observed, is_by_policy: self.is_by_policy }
    }
}

/// Cuts to [`VIOLATIONS_MAX`], whoever decided first.
fn keep_decisive(violations: &mut Vec<Violation>, consequences: &[(Mode, OnFail)]) {
    if violations.len() <= VIOLATIONS_MAX {
        return;
    }
    let rank = |&(mode, on_fail): &(Mode, OnFail)| match (mode, on_fail) {
        (Mode::Enforce, OnFail::Quarantine) => 0,
        (Mode::Enforce, OnFail::Drop) => 1,
        _ => 2,
    };
    let mut ranked: Vec<_> = consequences.iter().map(rank).zip(violations.drain(..)).collect();
    ranked.sort_by_key(|(rank, _)| *rank);
    ranked.truncate(VIOLATIONS_MAX);
    violations.extend(ranked.into_iter().map(|(_, violation)| violation));
}
