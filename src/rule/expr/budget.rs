//! What one evaluation may cost, so that no contract and no event can stall the gate.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use cel::ExecutionError;
use cel::common::types::Type;
use cel::common::value::{StaticVal, Val};

use super::error::Code;

/// The units of one evaluation. A unit is about a microsecond: a turn of a loop over a small expression, an element
/// compared, a kilobyte of text looked through.
pub const UNITS_MAX: i64 = 200_000;

/// The units of all evaluations on one event. A contract with many rules over long lists must not take its time from
/// every other: what is left of it is what a further evaluation gets, so that rules without loops are evaluated all the same.
pub const EVENT_UNITS_MAX: i64 = 5 * UNITS_MAX;

/// The variable functions find it under. No expression can write it.
pub(super) const VARIABLE: &str = "@budget";

static TYPE: Type = Type::new_unspecified_type("@budget");

/// Shared by an evaluation's functions; clones spend from the same.
#[derive(Debug, Clone)]
pub(super) struct Budget {
    left: Arc<AtomicI64>,
    /// For evaluations to come.
    reserve: Arc<AtomicI64>,
}

impl Budget {
    /// For one event, ready for its first evaluation.
    pub(super) fn new() -> Self {
        let (left, reserve) = (AtomicI64::new(UNITS_MAX), AtomicI64::new(EVENT_UNITS_MAX - UNITS_MAX));
        Self { left: Arc::new(left), reserve: Arc::new(reserve) }
    }

    /// Ready for another evaluation, as far as the event has units for it.
    pub(super) fn refill(&self) {
        let unspent = self.left.swap(0, Ordering::Relaxed).max(0);
        let reserve = self.reserve.load(Ordering::Relaxed) + unspent;
        let granted = reserve.min(UNITS_MAX);
        self.reserve.store(reserve - granted, Ordering::Relaxed);
        self.left.store(granted, Ordering::Relaxed);
    }

    /// The units of this evaluation and of those to come.
    pub(super) fn left(&self) -> i64 {
        self.left.load(Ordering::Relaxed).max(0) + self.reserve.load(Ordering::Relaxed)
    }

    /// # Errors
    ///
    /// When less is left.
    pub(super) fn spend(&self, units: usize) -> Result<(), ExecutionError> {
        let units = i64::try_from(units).unwrap_or(i64::MAX).min(2 * UNITS_MAX);
        if self.left.fetch_sub(units, Ordering::Relaxed) < units { Err(Code::TooCostly.error()) } else { Ok(()) }
    }

    /// For text read or written once.
    pub(super) fn spend_bytes(&self, bytes: usize) -> Result<(), ExecutionError> {
        self.spend(bytes / 1024)
    }
}

impl Val for Budget {
    fn get_type(&self) -> &Type {
        &TYPE
    }

    fn cel_type() -> &'static Type {
        &TYPE
    }

    fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v> {
        Box::new(self.clone())
    }

    fn as_any(&self) -> Option<&dyn Any> {
        Some(self)
    }
}

impl StaticVal for Budget {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_event_has_so_many_units_however_many_rules_ask() {
        assert!(Budget::new().spend(1).is_ok(), "one that nobody refills, as values compared by the crate have");
        let budget = Budget::new();
        let spent = (0..100).filter(|_| {
            budget.refill();
            budget.spend(usize::try_from(UNITS_MAX).unwrap()).is_ok()
        });
        assert_eq!(spent.count(), 5);
        budget.refill();
        assert!(budget.spend(0).is_ok() && budget.spend(1).is_err());

        let budget = Budget::new();
        for _ in 0..1_000 {
            budget.refill();
            assert!(budget.spend(10).is_ok(), "what an evaluation does not need is there for the next");
        }
    }
}
