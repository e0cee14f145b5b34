//! A gate's pulse, shared between the batches that it is fed by and those who look at it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::gate::Gate;
use crate::contract::ContractSet;
use crate::gate::pulse::{Batch, Pulse, View};
use crate::model::{Outcome, Timestamp};

/// What a gate settled lately. Locked once a batch, for as long as it takes to add a few numbers, and never across an await.
#[derive(Debug, Default)]
pub struct Pulsing(Mutex<Pulse>);

impl Pulsing {
    fn lock(&self) -> MutexGuard<'_, Pulse> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note of a batch, which `set` has judged.
    pub(super) fn observe(&self, outcomes: &[Outcome], set: &ContractSet, now: Timestamp) {
        let batch = Batch::of(outcomes, set, now);
        self.lock().observe(batch);
    }

    pub fn view(&self, now: Timestamp) -> View {
        self.lock().view(now)
    }
}

impl Gate {
    /// Lets those who look at the gate see what it settles.
    #[must_use]
    pub fn with_pulse(mut self, pulse: Option<Arc<Pulsing>>) -> Self {
        self.pulse = pulse;
        self
    }
}
