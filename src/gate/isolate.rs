//! Which good records must not go on without the bad ones they came with.
//!
//! Some batches mean something only as a whole: the lines of one transaction, the changes of one row. Where a route says so, a
//! quarantined record takes the others of its batch, or of its partition key in it, to the dead-letter queue with it, so that a
//! replay brings all of them back together. Records of other requests are not looked at, and a record that a rule drops neither
//! takes others with it nor goes with them.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::judge::{HeldBy, Judged};
use crate::memory::{Doubt, Doubts};
use crate::model::{Dimension, Judgement, Mode, Record, Severity, Verdict, Violation, ViolationKind};

/// What is quarantined together, of the records of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Isolation {
    /// Each record for itself.
    #[default]
    Record,
    /// The records of one partition key. Records without one stand alone.
    PartitionKey,
    /// All of them.
    Batch,
}

impl Isolation {
    /// What the record stands or falls with; `None` when it stands alone.
    fn unit(self, record: &Record) -> Option<&str> {
        match self {
            Self::Record => None,
            Self::PartitionKey => record.partition_key.as_deref(),
            Self::Batch => Some(""),
        }
    }
}

/// The rule that violations of isolation name.
pub const ISOLATION_RULE: &str = "isolation";

/// A unit that holds a quarantined record.
#[derive(Default)]
struct Bad {
    /// Whether the producer is to see an error for one.
    refuse: bool,
    /// What that rests on and is not certain yet.
    doubts: Vec<Doubt>,
}

/// Quarantines the records to forward that stand or fall with a quarantined one, and holds those that do with a held one. Where a
/// verdict is doubtful, it is so for all of them: they go on together, or come again together. `judged` are the records' own, in order.
pub fn isolate(isolation: Isolation, records: &[Record], judged: &mut [Judged<'_>]) {
    let message = match isolation {
        Isolation::Record => "",
        Isolation::PartitionKey => "another record of its batch with the same partition key was quarantined",
        Isolation::Batch => "another record of its batch was quarantined",
    };
    hold_together(isolation, records, judged);
    let shared = |doubts: Vec<Doubt>| (!doubts.is_empty()).then(|| Arc::new(Doubts::new(doubts)));
    let bad = find_bad(isolation, records, judged).into_iter();
    let bad: HashMap<&str, (bool, Option<Arc<Doubts>>)> =
        bad.map(|(unit, Bad { refuse, doubts })| (unit, (refuse, shared(doubts)))).collect();
    for (record, judged) in records.iter().zip(judged) {
        let Some((refuse, doubts)) = isolation.unit(record).and_then(|unit| bad.get(unit)) else { continue };
        let Judged { judgement, observed, .. } = judged;
        if judged.held.is_some() || judgement.verdict == Verdict::Drop {
            continue;
        }
        judged.doubts.clone_from(doubts);
        if judgement.verdict == Verdict::Forward {
            observed.give_back();
            judgement.verdict = Verdict::Quarantine;
            judgement.refuse |= refuse;
            judgement.violations.push(Violation {
                rule: ISOLATION_RULE.into(),
                kind: ViolationKind::Isolation,
                pointer: String::new(),
                dimension: Some(Dimension::Consistency),
                severity: Severity::Error,
                mode: Mode::Enforce,
                message: message.to_owned(),
            });
        }
    }
}

fn hold_together(isolation: Isolation, records: &[Record], judged: &mut [Judged<'_>]) {
    let held: HashSet<&str> =
        records.iter().zip(&*judged).filter(|(_, j)| j.held.is_some()).filter_map(|(r, _)| isolation.unit(r)).collect();
    for (record, judged) in records.iter().zip(judged) {
        if isolation.unit(record).is_some_and(|unit| held.contains(unit)) {
            let by = judged.held.unwrap_or(HeldBy::Others);
            judged.hold(by);
        }
    }
}

/// Holds what would go ahead of an earlier record of its partition key that is held, or whose verdict is not certain yet.
pub fn keep_order(records: &[Record], judged: &mut [Judged<'_>]) {
    let mut waiting: HashSet<&str> = HashSet::new();
    for (record, judged) in records.iter().zip(judged) {
        let Some(key) = record.partition_key.as_deref() else { continue };
        if judged.held.is_some() || judged.doubts.is_some() {
            waiting.insert(key);
        } else if waiting.contains(key) {
            judged.hold(HeldBy::Earlier);
        }
    }
}

/// The units that hold a quarantined record. The doubts of a record that stands alone become its own.
fn find_bad<'r>(isolation: Isolation, records: &'r [Record], judged: &mut [Judged<'_>]) -> HashMap<&'r str, Bad> {
    let mut bad: HashMap<&str, Bad> = HashMap::new();
    for (index, record) in records.iter().enumerate() {
        let mut doubts = judged[index].observed.take_doubts();
        let Judgement { verdict, refuse, .. } = judged[index].judgement;
        if judged[index].held.is_some() || verdict == Verdict::Forward {
            continue;
        }
        match isolation.unit(record).filter(|_| verdict == Verdict::Quarantine) {
            Some(unit) => {
                // A unit that has a key twice is wrong by itself, whatever comes of any of it.
                let before = || records[..index].iter().zip(&judged[..index]);
                let mates = || before().filter(|(r, _)| isolation.unit(r) == Some(unit));
                doubts.retain(|doubt| !mates().any(|(_, mate)| mate.observed.is_doubted_by(doubt)));
                let bad = bad.entry(unit).or_default();
                bad.refuse |= refuse;
                bad.doubts.append(&mut doubts);
            }
            None if doubts.is_empty() => {}
            None => judged[index].doubts = Some(Arc::new(Doubts::new(doubts))),
        }
    }
    bad
}
