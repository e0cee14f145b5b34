//! Real events judged under both sets of rules: the verdicts that change, and by which rule.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::Serialize;

use crate::contract::{Contract, ContractSet, States};
use crate::gate::judge::{self, Terms};
use crate::model::{Judgement, Record, Timestamp, Verdict, Violation};
use crate::rule::pointer::Pointer;

/// The most events named for one change.
pub const EXAMPLES_MAX: usize = 3;

/// How an event finds its contract, in one set.
#[derive(Debug, Clone, Copy)]
pub enum Judge<'a> {
    /// By its stream and type, as the gate does.
    Routed(&'a ContractSet, Terms<'a>),
    /// By name, whatever its stream and type.
    One(&'a Arc<Contract>, Option<&'a States>),
}

impl<'a> Judge<'a> {
    /// As the gate does, on a stream that takes records of `record_bytes_max` bytes.
    pub fn routed(
        set: &'a ContractSet,
        states: Option<&'a States>,
        record_bytes_max: usize,
        type_pointer: Option<&'a Pointer>,
    ) -> Self {
        Self::Routed(set, Terms { type_pointer, states, ..Terms::new(record_bytes_max) })
    }

    /// Judges one event, and takes one that would be forwarded as forwarded: those after it are judged by what it leaves behind.
    pub fn judge(self, record: &Record, now: Timestamp) -> Judgement {
        let (judgement, observed) = match self {
            Self::Routed(set, terms) => {
                let judged = judge::judge(set, record, terms, now);
                (judged.judgement, judged.observed)
            }
            Self::One(contract, states) => judge::judge_against(contract, record, now, states),
        };
        if judgement.verdict == Verdict::Forward {
            observed.settle();
        }
        judgement
    }
}

/// Events of one contract whose verdict changed in one way, and a rule that is why. An event with several such rules is
/// counted under each.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Turn {
    pub domain: String,
    pub contract: String,
    pub was: &'static str,
    pub is: &'static str,
    /// Violated under the new rules alone where the verdict is stricter; under the old ones alone where it is milder.
    pub rule: String,
}

/// How often a verdict changed so.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Turned {
    pub events: u64,
    /// The first of them, by the names they were given; at most [`EXAMPLES_MAX`].
    pub examples: Vec<String>,
}

/// What a sample showed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    pub events: u64,
    /// Events whose verdict changed, each once.
    pub changed: u64,
    pub turns: BTreeMap<Turn, Turned>,
}

impl Tally {
    /// Judges one event under both. `name` says which it is: its line, its id, nothing that it holds.
    pub fn judge(
        &mut self,
        (old, new): (Judge<'_>, Judge<'_>),
        record: &Record,
        now: Timestamp,
        name: impl Fn() -> String,
    ) {
        self.add(&old.judge(record, now), &new.judge(record, now), name);
    }

    fn add(&mut self, old: &Judgement, new: &Judgement, name: impl Fn() -> String) {
        self.events += 1;
        if old.verdict == new.verdict {
            return;
        }
        self.changed += 1;
        let stamp = if &*new.stamp.contract == "unknown" { &old.stamp } else { &new.stamp };
        for rule in reasons(old, new) {
            let turn = Turn {
                domain: stamp.domain.to_string(),
                contract: stamp.contract.to_string(),
                was: old.verdict.as_str(),
                is: new.verdict.as_str(),
                rule: rule.to_owned(),
            };
            let turned = self.turns.entry(turn).or_default();
            turned.events += 1;
            if turned.examples.len() < EXAMPLES_MAX {
                turned.examples.push(name());
            }
        }
    }
}

/// The rules that changed a verdict: those only one side finds violated and enforces. Where both find the same ones, what they
/// lead to has changed, and all are told.
pub fn reasons<'j>(old: &'j Judgement, new: &'j Judgement) -> BTreeSet<&'j str> {
    let (told, other) = if new.verdict == Verdict::Forward { (old, new) } else { (new, old) };
    let enforced = |judgement: &'j Judgement| judgement.enforced().map(rule_of).collect::<BTreeSet<_>>();
    let (mine, theirs) = (enforced(told), enforced(other));
    let only: BTreeSet<&str> = mine.difference(&theirs).copied().collect();
    match (only.is_empty(), mine.is_empty()) {
        (false, _) => only,
        (true, false) => mine,
        (true, true) => told.violations.first().map(rule_of).into_iter().collect(),
    }
}

fn rule_of(violation: &Violation) -> &str {
    &violation.rule
}
