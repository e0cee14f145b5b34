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

/// Which delivery of a record it is: a client that repeats a request delivers the same records again, and so does a shard that is read
/// again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delivery {
    /// A hash of the client's name for the request, or of the shard's; 0 when it has none.
    pub source: u64,
    /// In it.
    pub turn: Turn,
}

/// A record's turn in its request or shard: later ones have higher turns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, minicbor::Encode, minicbor::Decode)]
pub struct Turn {
    /// A sequence number, of at most 192 bits, the highest first; 0 in a request.
    #[n(0)]
    sequence: [u64; 3],
    /// In the request, or among the records that share the sequence number.
    #[n(1)]
    index: u64,
}

impl Turn {
    pub const fn in_request(index: u64) -> Self {
        Self { sequence: [0; 3], index }
    }

    /// Whether it is one of a shard, which may be read again from the middle; a request is repeated from its beginning.
    fn is_in_shard(self) -> bool {
        self.sequence != [0; 3]
    }

    /// `None` for what is no decimal number of at most 192 bits.
    pub fn in_shard(sequence: &str, sub_sequence: u64) -> Option<Self> {
        let mut parts = [0_u64; 3];
        if sequence.is_empty() {
            return None;
        }
        for digit in sequence.bytes() {
            let mut carry = u128::from(digit.wrapping_sub(b'0'));
            if carry > 9 {
                return None;
            }
            for part in parts.iter_mut().rev() {
                let product = u128::from(*part) * 10 + carry;
                (*part, carry) = (product as u64, product >> 64);
            }
            if carry > 0 {
                return None;
            }
        }
        Some(Self { sequence: parts, index: sub_sequence })
    }
}

impl Delivery {
    /// Of a record that nothing tells from another.
    pub const UNKNOWN: Self = Self { source: 0, turn: Turn::in_request(0) };

    /// A name for it, to be kept for long; `None` when nothing tells it from another. That two meet is a duplicate missed.
    fn name(self) -> Option<u64> {
        let parts = [self.turn.sequence[0], self.turn.sequence[1], self.turn.sequence[2], self.turn.index];
        // FNV-1a, eight bytes at a time, and a last mix.
        let mix = |hash: u64, part: u64| (hash ^ part).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(29);
        (self.source != 0).then(|| parts.into_iter().fold(self.source, mix).max(1))
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
    fn of<V>(keys: &keyed::Keyed<V>) -> Self {
        Self { entries: keys.len(), limit: keys.limit(), bytes: keys.bytes(), evicted: keys.evicted() }
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_no_sequence_number_has_no_turn() {
        // 2^192 - 1, and one more.
        let largest = "6277101735386680763835789423207666416102355444464034512895";
        assert!(Turn::in_shard(largest, 0).is_some());
        for text in ["", "-1", "1.0", " 1", "6277101735386680763835789423207666416102355444464034512896"] {
            assert_eq!(Turn::in_shard(text, 0), None, "{text:?}");
        }
    }

    proptest! {
        /// Sequence numbers order as numbers, and then by what they share.
        #[test]
        fn turns_order_as_numbers(a in "[1-9][0-9]{0,56}", b in "[1-9][0-9]{0,56}", i in 0_u64..3, j in 0_u64..3) {
            let (x, y) = (Turn::in_shard(&a, i).unwrap(), Turn::in_shard(&b, j).unwrap());
            prop_assert_eq!(x.cmp(&y), (a.len(), &a, i).cmp(&(b.len(), &b, j)));
        }

        /// Deliveries that differ have names that do.
        #[test]
        fn names_tell_deliveries_apart(a in any::<u64>(), i in 0_u64..1000, j in 0_u64..1000) {
            let name = |index| Delivery { source: a.max(1), turn: Turn::in_request(index) }.name();
            prop_assert_eq!(name(i) == name(j), i == j);
        }
    }
}
