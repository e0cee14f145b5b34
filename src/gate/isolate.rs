//! Which good records must not go on without the bad ones they came with.
//!
//! Some batches mean something only as a whole: the lines of one transaction, the changes of one row. Where a route says so, a
//! quarantined record takes the others of its batch, or of its partition key in it, to the dead-letter queue with it, so that a
//! replay brings all of them back together. Records of other requests are not looked at, and a record that a rule drops neither
//! takes others with it nor goes with them.

use std::collections::{HashMap, HashSet};

use super::judge::Judged;
use crate::model::{Dimension, Mode, Record, Severity, Verdict, Violation, ViolationKind};

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

/// Quarantines the records to forward that stand or fall with a quarantined one, and holds those that do with a held one. `judged`
/// are the records' own, in order.
pub fn isolate(isolation: Isolation, records: &[Record], judged: &mut [Judged<'_>]) {
    let message = match isolation {
        Isolation::Record => return,
        Isolation::PartitionKey => "another record of its batch with the same partition key was quarantined",
        Isolation::Batch => "another record of its batch was quarantined",
    };
    let held: HashSet<&str> =
        records.iter().zip(&*judged).filter(|(_, j)| j.is_held).filter_map(|(r, _)| isolation.unit(r)).collect();
    for (record, judged) in records.iter().zip(&mut *judged) {
        judged.is_held |= isolation.unit(record).is_some_and(|unit| held.contains(unit));
    }
    // The units that hold a quarantined record, and whether the producer is to see an error for one.
    let mut bad: HashMap<&str, bool> = HashMap::new();
    for (record, judged) in records.iter().zip(&*judged) {
        if judged.judgement.verdict == Verdict::Quarantine
            && let Some(unit) = isolation.unit(record)
        {
            *bad.entry(unit).or_default() |= judged.judgement.refuse;
        }
    }
    if bad.is_empty() {
        return;
    }
    for (record, Judged { judgement, .. }) in records.iter().zip(judged) {
        let refuse = isolation.unit(record).and_then(|unit| bad.get(unit).copied());
        if let (Verdict::Forward, Some(refuse)) = (judgement.verdict, refuse) {
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
