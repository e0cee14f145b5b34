//! A candidate set of rules, judged beside the one in force on the same events: what would be quarantined under it, and what no
//! longer would be, before anybody relies on it.
//!
//! It decides nothing. What is wrong with its files is told, and touches nothing that is in force. Its checks remember for
//! themselves, what would have been forwarded under it.

use std::sync::{Mutex, PoisonError};

use crate::config::rules::ReadError;
use crate::config::source::Read;
use crate::contract::{self, Compiled, ContractSet, States};
use crate::diff::sample::reasons;
use crate::gate::judge::{self, Terms};
use crate::memory::{Memory, Observed};
use crate::metrics::Metrics;
use crate::model::{Judgement, Record, Timestamp, Verdict};

/// A candidate as it was last read.
#[derive(Debug, Default)]
pub struct Candidate {
    set: ContractSet,
    states: States,
    memory: Mutex<Memory>,
    revision: String,
    faults: Vec<String>,
}

/// What the candidate says of an event.
pub struct Opinion {
    judgement: Judgement,
    observed: Observed,
}

impl Candidate {
    /// Compiles what was read. What `before` remembers goes on.
    pub fn load(read: Result<Read, ReadError>, before: Option<&Self>, now: Timestamp) -> Self {
        let Read { files, revision, .. } = match read {
            Ok(read) => read,
            Err(error) => {
                tracing::error!(%error, "the candidate rules cannot be read; nothing is compared");
                return Self { revision: "unreadable".to_owned(), faults: vec![error.to_string()], ..Self::default() };
            }
        };
        let Compiled { set, diagnostics, .. } = contract::compile(&files, &revision);
        let faults: Vec<String> = diagnostics.iter().filter(|d| d.is_error()).map(ToString::to_string).collect();
        if faults.is_empty() {
            tracing::info!(revision, "candidate rules loaded; they are judged beside those in force");
        } else {
            let faults = faults.join("; ");
            tracing::error!(revision, faults, "the candidate rules have faults; domains without any are compared");
        }
        let mut memory = match before {
            Some(before) => std::mem::take(&mut *before.memory.lock().unwrap_or_else(PoisonError::into_inner)),
            None => Memory::default(),
        };
        let states = States::open(&set, &mut memory, now);
        Self { set, states, memory: Mutex::new(memory), revision, faults }
    }

    pub fn revision(&self) -> &str {
        &self.revision
    }

    /// What is wrong with its files.
    pub fn faults(&self) -> &[String] {
        &self.faults
    }

    /// Judges an event that `terms`' own rules have judged too.
    pub fn judge(&self, record: &Record, terms: Terms<'_>, now: Timestamp) -> Opinion {
        let judged = judge::judge(&self.set, record, Terms { states: Some(&self.states), ..terms }, now);
        Opinion { judgement: judged.judgement, observed: judged.observed }
    }

    /// Whether it has the domain that the event is of: one that does not compile, or is not there, says nothing.
    fn has_a_say(&self, live: &Judgement, opinion: &Opinion) -> bool {
        [live, &opinion.judgement].iter().any(|judgement| self.set.domain(&judgement.stamp.domain).is_some())
    }

    /// Lets time pass.
    pub fn advance(&self, now: Timestamp) {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner).advance(now);
    }
}

/// Counts where the candidate's opinions differ from the judgements that decided, in order, and lets it remember what would have been
/// forwarded under it. `is_settled` says of each event whether it is not to come again.
pub fn count(candidate: &Candidate, opinions: Vec<Opinion>, decided: &[(&Judgement, bool)], metrics: &Metrics) {
    let (mut events, mut changes) = (Vec::new(), Vec::new());
    let judged: Vec<(&Judgement, &Opinion)> =
        decided.iter().map(|(live, _)| *live).zip(&opinions).filter(|(live, o)| candidate.has_a_say(live, o)).collect();
    for (live, Opinion { judgement, .. }) in judged {
        let stamp = if &*judgement.stamp.contract == "unknown" { &live.stamp } else { &judgement.stamp };
        events.push([&*stamp.domain, &*stamp.contract]);
        let change = match (live.verdict, judgement.verdict) {
            (Verdict::Quarantine, Verdict::Quarantine) => continue,
            (_, Verdict::Quarantine) => "would_quarantine",
            (Verdict::Quarantine, _) => "would_no_longer_quarantine",
            _ => continue,
        };
        let rules = reasons(live, judgement).into_iter();
        changes.extend(rules.map(|rule| [&*stamp.domain, &*stamp.contract, rule, change]));
    }
    metrics.count_candidate(&events, &changes);
    for (Opinion { judgement, observed }, (_, is_settled)) in opinions.into_iter().zip(decided) {
        if *is_settled && judgement.verdict == Verdict::Forward {
            observed.settle();
        }
    }
}
