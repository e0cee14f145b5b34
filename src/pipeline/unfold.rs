//! Records that stand for others: taken apart before they are judged, and their fates folded into one.
//!
//! A source that has an answer for one record only gives containers as they come ([`Gate::settle_batch`]). Each record of one is judged and
//! delivered for itself. The producer hears one thing of all of them, and whatever it sends again is the whole container: where one record
//! of it could not be settled, the others come twice. A source that can do better asks for the records beforehand
//! ([`crate::port::Intake::unfold`]).

use std::cmp::Reverse;
use std::sync::Arc;

use super::gate::{Gate, in_place};
use crate::contract::VIOLATIONS_MAX;
use crate::decode::kpl;
use crate::gate::isolate::Isolation;
use crate::model::{
    Container, Judgement, Mode, Outcome, PartOf, Position, Record, Settlement, Stamp, Trouble, Unsettled, Verdict,
    Violation,
};
use crate::port::IntakeError;

/// How many events are settled at a time, beyond the last container that still began within: a request of small events in containers holds
/// a hundred times as many as one without.
const PORTION_EVENTS: usize = 5_000;

/// How many bytes of containers are read on this thread before its other tasks are moved away: about a millisecond.
const READ_HERE_MAX: usize = 256 * 1024;

impl Gate {
    /// Judges and settles a batch. Containers in it are taken apart: one outcome for each all the same.
    pub(super) async fn settle_batch(&self, stream: &str, records: Vec<Record>) -> Result<Vec<Outcome>, IntakeError> {
        if !records.iter().any(stands_for_others) {
            return self.settle_events(stream, records).await;
        }
        let isolation = self.route(stream)?.isolation;
        let at_a_time = if isolation == Isolation::Record { PORTION_EVENTS } else { usize::MAX };
        let mut outcomes = Vec::with_capacity(records.len());
        let mut rest = records.into_iter();
        while rest.len() > 0 {
            let (events, sizes) = next_portion(&mut rest, at_a_time);
            match self.settle_events(stream, events).await {
                Ok(settled) => {
                    let mut settled = settled.into_iter();
                    outcomes.extend(sizes.into_iter().map(|size| fold(settled.by_ref().take(size).collect())));
                }
                Err(error) if outcomes.is_empty() => return Err(error),
                // What is settled is settled.
                Err(error) => {
                    let untaken = std::iter::repeat_with(|| untaken(&error));
                    outcomes.extend(untaken.take(sizes.len() + rest.len()));
                    break;
                }
            }
        }
        Ok(outcomes)
    }
}

/// Whether it has to be looked at more closely.
fn stands_for_others(record: &Record) -> bool {
    record.part_of.is_none() && kpl::may_be_container(&record.data)
}

/// The events of the next records, and how many each record has.
fn next_portion(rest: &mut std::vec::IntoIter<Record>, events_max: usize) -> (Vec<Record>, Vec<usize>) {
    let bytes: usize = rest.as_slice().iter().filter(|r| stands_for_others(r)).map(|r| r.data.len()).sum();
    let mut work = || {
        let (mut events, mut sizes) = (Vec::new(), Vec::new());
        while events.len() < events_max
            && let Some(record) = rest.next()
        {
            let before = events.len();
            events.append(&mut parts(record));
            sizes.push(events.len() - before);
        }
        (events, sizes)
    };
    if bytes > READ_HERE_MAX { in_place(work) } else { work() }
}

/// [`parts`], with the thread's other tasks moved away where that takes long.
pub(super) fn parts_in_place(record: Record) -> Vec<Record> {
    if record.data.len() > READ_HERE_MAX { in_place(|| parts(record)) } else { parts(record) }
}

/// The records of a container, their data slices of its own; any other record as it is. What is left whole although it is a container is
/// judged malformed, for the reason that judging finds.
fn parts(record: Record) -> Vec<Record> {
    let parsed = if stands_for_others(&record) { kpl::parse(&record.data) } else { None };
    let Some(Ok(found)) = parsed else { return vec![record] };
    let container = Arc::new(Container {
        data: record.data.clone(),
        encoded: record.encoded.clone(),
        partition_key: record.partition_key.clone(),
        explicit_hash_key: record.explicit_hash_key.clone(),
        parts: found.len(),
    });
    let part = |(index, part): (usize, kpl::UserRecord<'_>)| {
        let mut position = record.position.clone();
        if let Position::InShard { sub_sequence, .. } = &mut position {
            *sub_sequence = index as u64;
        }
        Record {
            data: record.data.slice_ref(part.data),
            encoded: None,
            partition_key: Some(part.partition_key.to_owned()),
            explicit_hash_key: part.explicit_hash_key.map(str::to_owned),
            stream: Arc::clone(&record.stream),
            position,
            arrived: record.arrived,
            sequence_for_ordering: record.sequence_for_ordering.clone(),
            is_unwrapped: record.is_unwrapped,
            trace: record.trace.clone(),
            part_of: Some(PartOf { container: Arc::clone(&container), index }),
        }
    };
    found.into_iter().enumerate().map(part).collect()
}

/// One outcome for the records of a container: the first of these that holds for any of them. It is unsettled, so that it comes again; refused;
/// forwarded; quarantined; dropped. `parts` are at least one.
fn fold(mut parts: Vec<Outcome>) -> Outcome {
    if parts.len() == 1 {
        return parts.swap_remove(0);
    }
    let count = parts.len();
    let rank = |outcome: &Outcome| match &outcome.settlement {
        Settlement::Unsettled(_) => 0,
        Settlement::Quarantined { refuse: true, .. } => 1,
        Settlement::Forwarded(_) => 2,
        Settlement::Quarantined { .. } => 3,
        Settlement::Dropped(_) => 4,
    };
    let unsettled = parts.iter().filter(|outcome| rank(outcome) == 0).count();
    let decisive = (0..count).min_by_key(|&index| rank(&parts[index])).unwrap_or_default();
    let refuse = parts.iter().any(|outcome| outcome.judgement.refuse);
    let Outcome { judgement: Judgement { verdict, stamp, .. }, mut settlement } = parts[decisive].clone();
    if let Settlement::Unsettled(Unsettled { message, .. }) = &mut settlement {
        *message = format!(
            "{unsettled} of the {count} records of this container were not settled: {message}; send the container again, the others \
             then come twice"
        );
    }
    let told = parts.into_iter().enumerate().flat_map(|(index, outcome)| {
        outcome.judgement.violations.into_iter().map(move |mut violation| {
            violation.message = format!("record {index} of the container: {}", violation.message);
            violation
        })
    });
    let mut violations: Vec<Violation> = told.collect();
    if violations.len() > VIOLATIONS_MAX {
        // Those that decide before others, as for one event.
        violations.sort_by_key(|violation| (violation.mode != Mode::Enforce, Reverse(violation.severity)));
        violations.truncate(VIOLATIONS_MAX);
    }
    Outcome { judgement: Judgement { verdict, violations, stamp, refuse }, settlement }
}

/// Of a record of which nothing was judged, after others of its batch were.
fn untaken(error: &IntakeError) -> Outcome {
    let unknown: Arc<str> = "unknown".into();
    let stamp = Stamp { domain: unknown.clone(), contract: unknown.clone(), version: None, revision: unknown };
    let message = format!("others of its request were settled, this one was not judged: {error}; send it again");
    let judgement =
        Judgement { verdict: Verdict::Quarantine, violations: Vec::new(), stamp: Arc::new(stamp), refuse: false };
    Outcome { judgement, settlement: Settlement::Unsettled(Unsettled { trouble: Trouble::Throttled, message }) }
}

#[cfg(test)]
mod tests;
