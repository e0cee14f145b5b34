//! What checks remember between events: keyed sets, sequences and windows, each in bounded memory.
//!
//! ```text
//! judge ─▶ observe (may find something, holds what it saw) ─▶ settle  (the event is on the mesh stream: it counts)
//!                                                         └─▶ release (it is not: as if it had never been seen)
//! ```
//!
//! An event counts once it is on the mesh stream, and not before: whatever is refused, fails to be forwarded or is forgotten on the
//! way leaves nothing behind, so that its producer may send it again. Verdicts rest on exact state only; where something was
//! forgotten early (evictions, a crash), a check finds less than it could, never more.
//!
//! * [`duplicates`], [`sequence`], [`known`]: keys, for verdicts;
//! * [`window`], [`measure`], [`threshold`], [`schedule`]: measures over windows, for alerts;
//! * [`keyed`]: the bounded map under the former;
//! * [`store`]: all states of a gate, by the fingerprint of the check that keeps them, across reloads and restarts.
//!
//! The scope of all of it is one gate: gates share no state. Checks of keys see all events of a key where producers send them through one
//! gate, or sources divide them by key.

mod duplicates;
mod keyed;
mod known;
mod measure;
mod schedule;
mod sequence;
mod store;
mod threshold;
mod window;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use self::duplicates::Duplicates;
pub use self::known::{Known, Reference};
pub use self::measure::{Measure, Sample};
pub use self::schedule::Schedule;
pub use self::sequence::{Disorder, Sequence};
pub use self::store::{Memory, Need, RestoreError, Restored, Spec};
pub use self::threshold::Threshold;
pub use self::window::{Bound, Ended, Standing, Terms, Windows};
use crate::model::Timestamp;

/// 128 bits of a SHA-256: keys are compared by it. Two keys out of a million million meet with a probability of one in 10^15, and
/// nobody can make two that do.
pub type Key = u128;

/// Which delivery of a record it is: a client that repeats a request delivers the same records again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delivery {
    /// A hash of the client's name for the request; 0 when it has none.
    pub request: u64,
    /// The record's place in it.
    pub index: u32,
}

impl Delivery {
    /// Of a record that nothing tells from another.
    pub const UNKNOWN: Self = Self { request: 0, index: 0 };

    /// Whether both are one record.
    fn is(self, other: Self) -> bool {
        self.request != 0 && self == other
    }
}

/// How much memory a state takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    pub entries: usize,
    /// The most entries it may have; 0 where there are none.
    pub limit: usize,
    /// About so much.
    pub bytes: usize,
    /// Entries that were forgotten early, to make room.
    pub evicted: u64,
}

impl Usage {
    fn of<V>(keys: &keyed::Keyed<V>, more_bytes: usize) -> Self {
        Self { entries: keys.len(), limit: keys.limit(), bytes: keys.bytes() + more_bytes, evicted: keys.evicted() }
    }
}

/// What one check remembers. Shared by all batches; held for as long as one event takes.
#[derive(Debug)]
pub struct State {
    kind: Mutex<Kind>,
}

#[derive(Debug)]
enum Kind {
    Duplicates(Duplicates),
    Sequence(Sequence),
    Known(Known),
    Windows(Windows),
}

/// What a check sees of one event.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Seen {
    Key(Key),
    Ordered { key: Key, number: i64 },
    Measured(Sample),
}

/// What a state says of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remembered {
    Duplicate,
    Disorder(Disorder),
    /// The key has not been seen where it should have.
    Unknown(Reference),
}

impl State {
    fn new(kind: Kind) -> Self {
        Self { kind: Mutex::new(kind) }
    }

    /// A panic while it is held leaves at worst one event half noted.
    fn lock(&self) -> MutexGuard<'_, Kind> {
        self.kind.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn observe(&self, seen: Seen, delivery: Delivery, now: Timestamp) -> Option<Remembered> {
        match (&mut *self.lock(), seen) {
            (Kind::Duplicates(keys), Seen::Key(key)) => {
                keys.is_duplicate(key, delivery, now).then_some(Remembered::Duplicate)
            }
            (Kind::Sequence(sequence), Seen::Ordered { key, number }) => {
                sequence.follow(key, number, delivery, now).map(Remembered::Disorder)
            }
            (Kind::Known(known), Seen::Key(key)) => known.find(key, now).map(Remembered::Unknown),
            _ => None,
        }
    }

    /// Notes a key that others refer to.
    fn introduce(&self, key: Key, delivery: Delivery, now: Timestamp) {
        if let Kind::Known(known) = &mut *self.lock() {
            known.introduce(key, delivery, now);
        }
    }

    fn settle(&self, observation: Observation, delivery: Delivery, now: Timestamp) {
        match (&mut *self.lock(), observation) {
            (Kind::Duplicates(keys), Observation::Seen(Seen::Key(key))) => keys.settle(key, delivery, now),
            (Kind::Sequence(sequence), Observation::Seen(Seen::Ordered { key, number })) => {
                sequence.settle(key, number, delivery, now);
            }
            (Kind::Windows(windows), Observation::Seen(Seen::Measured(sample))) => windows.add(sample, now),
            (Kind::Known(known), Observation::Introduced(key)) => known.settle(key, delivery, now),
            _ => {}
        }
    }

    fn release(&self, observation: Observation, delivery: Delivery, now: Timestamp) {
        match (&mut *self.lock(), observation) {
            (Kind::Duplicates(keys), Observation::Seen(Seen::Key(key))) => keys.release(key, delivery, now),
            (Kind::Sequence(sequence), Observation::Seen(Seen::Ordered { key, number })) => {
                sequence.release(key, number, delivery, now);
            }
            (Kind::Known(known), Observation::Introduced(key)) => known.release(key, delivery, now),
            _ => {}
        }
    }

    /// Lets time pass: what has expired is forgotten, windows that are over end.
    pub fn advance(&self, now: Timestamp) {
        match &mut *self.lock() {
            Kind::Duplicates(keys) => keys.expire(now),
            Kind::Sequence(sequence) => sequence.expire(now),
            Kind::Known(known) => known.expire(now),
            Kind::Windows(windows) => windows.advance(now),
        }
    }

    pub fn usage(&self) -> Usage {
        match &*self.lock() {
            Kind::Duplicates(keys) => keys.usage(),
            Kind::Sequence(sequence) => sequence.usage(),
            Kind::Known(known) => known.usage(),
            Kind::Windows(windows) => windows.usage(),
        }
    }

    /// What `read` makes of its windows; `None` for a state of keys.
    pub fn windows<T>(&self, read: impl FnOnce(&Windows) -> T) -> Option<T> {
        match &*self.lock() {
            Kind::Windows(windows) => Some(read(windows)),
            _ => None,
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Observation {
    Seen(Seen),
    Introduced(Key),
}

/// What states hold of one event until it is settled. Dropped, it is as if the event had never been seen: nobody knows whether it
/// came through, and its producer sends it again.
#[derive(Debug)]
#[must_use = "what is not settled is forgotten"]
pub struct Observed {
    held: Vec<(Arc<State>, Observation)>,
    delivery: Delivery,
    now: Timestamp,
}

impl Observed {
    /// Nothing yet, of this delivery.
    pub fn new(delivery: Delivery, now: Timestamp) -> Self {
        Self { held: Vec::new(), delivery, now }
    }

    /// Shows the event to a check's state.
    pub fn observe(&mut self, state: &Arc<State>, seen: Seen) -> Option<Remembered> {
        let remembered = state.observe(seen, self.delivery, self.now);
        self.held.push((Arc::clone(state), Observation::Seen(seen)));
        remembered
    }

    /// Notes a key of the event that other contracts refer to.
    pub fn introduce(&mut self, state: &Arc<State>, key: Key) {
        state.introduce(key, self.delivery, self.now);
        self.held.push((Arc::clone(state), Observation::Introduced(key)));
    }

    /// The event is on the mesh stream.
    pub fn settle(mut self) {
        for (state, observation) in self.held.drain(..) {
            state.settle(observation, self.delivery, self.now);
        }
    }
}

impl Drop for Observed {
    fn drop(&mut self) {
        for (state, observation) in self.held.drain(..) {
            state.release(observation, self.delivery, self.now);
        }
    }
}
