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

/// The variable functions find it under. No expression can write it.
pub(super) const VARIABLE: &str = "@budget";

static TYPE: Type = Type::new_unspecified_type("@budget");

/// Shared by an evaluation's functions; clones spend from the same.
#[derive(Debug, Clone)]
pub(super) struct Budget(Arc<AtomicI64>);

impl Budget {
    pub(super) fn new() -> Self {
        Self(Arc::new(AtomicI64::new(UNITS_MAX)))
    }

    /// Ready for another evaluation.
    pub(super) fn refill(&self) {
        self.0.store(UNITS_MAX, Ordering::Relaxed);
    }

    /// # Errors
    ///
    /// When less is left.
    pub(super) fn spend(&self, units: usize) -> Result<(), ExecutionError> {
        let units = i64::try_from(units).unwrap_or(i64::MAX).min(2 * UNITS_MAX);
        if self.0.fetch_sub(units, Ordering::Relaxed) < units { Err(Code::TooCostly.error()) } else { Ok(()) }
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
