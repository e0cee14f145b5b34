//! How it stands with each far end: when it last took something, and when and why it did not.
//!
//! Numbers alone do not tell that. It is beside the counters because it is fed where they are, by whoever makes the calls.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::model::{Timestamp, Trouble, Unsettled};

/// Far ends of one kind that are told apart. Streams and queues are named by settings and rule files; a name that only a client sent may be
/// among them. What is beyond that is told together.
pub const NAMES_MAX: usize = 100;

/// What those that are not told apart are called.
pub const OTHERS: &str = "others";

/// The longest reason, in characters.
const MESSAGE_CHARS_MAX: usize = 300;

/// All far ends that were called, by their kind (the label `sink` of the metrics) and name.
#[derive(Debug, Default)]
pub struct FarEnds(Mutex<BTreeMap<&'static str, BTreeMap<Arc<str>, FarEnd>>>);

/// One of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FarEnd {
    /// Calls that were answered, or failed.
    pub calls: u64,
    /// Those that took nothing, or not all, but for what was wrong with the record itself.
    pub failures: u64,
    /// Those that repeated entries of an earlier one.
    pub retries: u64,
    /// When it last took something.
    pub took: Option<Timestamp>,
    pub failed: Option<Failure>,
    /// Since when it has taken nothing; `None` where the last call took something.
    pub failing_since: Option<Timestamp>,
}

/// Why a far end did not take something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    pub at: Timestamp,
    pub trouble: Trouble,
    /// No payload values.
    pub message: String,
}

impl FarEnds {
    fn with(&self, sink: &'static str, name: &str, work: impl FnOnce(&mut FarEnd)) {
        let mut all = self.lock();
        let named = all.entry(sink).or_default();
        let name = if named.contains_key(name) || named.len() < NAMES_MAX { name } else { OTHERS };
        match named.get_mut(name) {
            Some(far_end) => work(far_end),
            None => work(named.entry(name.into()).or_default()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, BTreeMap<Arc<str>, FarEnd>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A call repeats entries of an earlier one.
    pub fn retried(&self, sink: &'static str, name: &str) {
        self.with(sink, name, |far_end| far_end.retries += 1);
    }

    /// A call was answered: whether anything was taken, and one of the entries that were not. What is wrong with a record itself says
    /// nothing of its far end.
    pub fn answered(&self, sink: &'static str, name: &str, takes: bool, failure: Option<&Unsettled>, now: Timestamp) {
        let failure = failure.filter(|failure| failure.trouble != Trouble::Invalid);
        self.with(sink, name, |far_end| {
            far_end.calls += 1;
            if takes {
                (far_end.took, far_end.failing_since) = (Some(now), None);
            }
            if let Some(Unsettled { trouble, message }) = failure {
                far_end.failures += 1;
                let message = message.chars().take(MESSAGE_CHARS_MAX).collect();
                far_end.failed = Some(Failure { at: now, trouble: *trouble, message });
                if !takes {
                    far_end.failing_since.get_or_insert(now);
                }
            }
        });
    }

    /// All of them as they stand: kind, name, and how it goes.
    pub fn all(&self) -> Vec<(&'static str, Arc<str>, FarEnd)> {
        let all = self.lock();
        let each = |(sink, named): (&&'static str, &BTreeMap<Arc<str>, FarEnd>)| {
            named.iter().map(|(name, far_end)| (*sink, Arc::clone(name), far_end.clone())).collect::<Vec<_>>()
        };
        all.iter().flat_map(each).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn failure(trouble: Trouble) -> Unsettled {
        Unsettled { trouble, message: "x".repeat(9_000) }
    }

    #[test]
    fn a_far_end_fails_from_its_first_failure_until_it_takes_something() {
        let far_ends = FarEnds::default();
        let answered = |takes, failed: Option<Trouble>, now| {
            far_ends.answered("mesh", "orders", takes, failed.map(failure).as_ref(), at(now));
            far_ends.all().remove(0).2
        };
        assert_eq!(answered(true, None, 1).failing_since, None);
        assert_eq!(answered(false, Some(Trouble::Unavailable), 2).failing_since, Some(at(2)));
        let failing = answered(false, Some(Trouble::Throttled), 3);
        assert_eq!((failing.failing_since, failing.took, failing.failures), (Some(at(2)), Some(at(1)), 2));
        let failed = failing.failed.unwrap();
        assert_eq!((failed.at, failed.trouble, failed.message.len()), (at(3), Trouble::Throttled, MESSAGE_CHARS_MAX));
        let partly = answered(true, Some(Trouble::Throttled), 4);
        assert_eq!((partly.failing_since, partly.failures, partly.calls), (None, 3, 4), "it takes some");
        let invalid = answered(false, Some(Trouble::Invalid), 5);
        assert_eq!((invalid.failing_since, invalid.failures), (None, 3), "that is the record's fault");
        far_ends.retried("mesh", "orders");
        assert_eq!(far_ends.all()[0].2.retries, 1);
    }

    #[test]
    fn names_beyond_the_bound_are_told_together() {
        let far_ends = FarEnds::default();
        for name in 0..3 * NAMES_MAX {
            far_ends.answered("dlq", &format!("q{name}"), true, None, at(1));
        }
        let all = far_ends.all();
        assert_eq!(all.len(), NAMES_MAX + 1);
        let others = all.iter().find(|(_, name, _)| &**name == OTHERS).unwrap();
        assert_eq!(others.2.calls as usize, 2 * NAMES_MAX);
    }
}
