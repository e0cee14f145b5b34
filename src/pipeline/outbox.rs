//! Records of a route that says they are change records of an outbox: each becomes its event before anything is judged.
//!
//! One that is no event and is not ignored stays as it is: judging it says why ([`crate::gate::judge::Terms::outbox`]), and the
//! dead-letter queue has it byte for byte.

use super::gate::in_place;
use crate::config::Route;
use crate::decode::dynamodb::{self, Change, Unwrapped};
use crate::metrics::Metrics;
use crate::model::{Outcome, Record};

/// What a record stands for.
pub enum Made {
    Record(Record),
    Ignored(Record, Change),
}

/// The record that is judged and delivered for this one.
pub fn unwrap(route: &Route, record: Record) -> Made {
    let Some(outbox) = route.outbox.as_deref().filter(|_| !record.is_unwrapped) else { return Made::Record(record) };
    match dynamodb::unwrap(&record.data, outbox) {
        Ok(Unwrapped::Event { data, partition_key }) => Made::Record(Record {
            data: data.into(),
            partition_key: Some(partition_key),
            is_unwrapped: true,
            // What belongs to the bytes and the key that came, and not to these.
            encoded: None,
            explicit_hash_key: None,
            sequence_for_ordering: None,
            part_of: None,
            ..record
        }),
        Ok(Unwrapped::Ignored(change)) => Made::Ignored(record, change),
        Ok(Unwrapped::Quarantine(_)) | Err(_) => Made::Record(record),
    }
}

/// A record that means nothing, by its place in its batch.
pub struct Ignored {
    at: usize,
    pub record: Record,
    pub change: Change,
}

/// The records to judge of a batch, in order, and those that are ignored.
pub fn unwrap_all(route: &Route, records: Vec<Record>) -> (Vec<Record>, Vec<Ignored>) {
    if route.outbox.is_none() {
        return (records, Vec::new());
    }
    // Computation, like judging.
    in_place(|| {
        let (mut events, mut ignored) = (Vec::with_capacity(records.len()), Vec::new());
        for (at, record) in records.into_iter().enumerate() {
            match unwrap(route, record) {
                Made::Record(record) => events.push(record),
                Made::Ignored(record, change) => ignored.push(Ignored { at, record, change }),
            }
        }
        (events, ignored)
    })
}

/// Puts the outcomes of a batch's ignored records among those of its others, where they stood.
pub fn merge(outcomes: Vec<Outcome>, ignored: Vec<Ignored>, settle: impl Fn(&Record) -> Outcome) -> Vec<Outcome> {
    if ignored.is_empty() {
        return outcomes;
    }
    let count = outcomes.len() + ignored.len();
    let (mut others, mut ignored) = (outcomes.into_iter(), ignored.into_iter().peekable());
    let outcome = |at| match ignored.next_if(|ignored| ignored.at == at) {
        Some(ignored) => Some(settle(&ignored.record)),
        None => others.next(),
    };
    (0..count).filter_map(outcome).collect()
}

/// Counts a record that is ignored: as dropped, and by its change.
pub fn count(route: &Route, change: Change, metrics: &Metrics) {
    metrics.records.with_label_values(&[&*route.label, "dropped"]).inc();
    metrics.changes_ignored.with_label_values(&[&*route.label, change.as_str()]).inc();
}
