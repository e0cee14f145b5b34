//! What checks remember between events: keyed sets, sequences and windows, each in bounded memory.
//!
//! ```text
//! judge ─▶ observe (may find something, holds what it saw) ─▶ settle  (the event is on the mesh stream: it counts)
//!                                                         └─▶ release (it is not: as if it had never been seen)
//! ```
//!
//! An event counts once it is on the mesh stream, and not before: whatever is refused, fails to be forwarded or is forgotten on the
//! way leaves nothing behind, so that its producer may send it again. Verdicts rest on exact state only; where something was
//! forgotten early (evictions, a crash), a check finds less than it could, never more. What is only on its way to the mesh stream may
//! not arrive, so a finding that rests on it comes with a [`Doubt`], and is no verdict before that has an answer.
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

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

pub use self::duplicates::{Brought, Duplicates};
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

    /// What it says of an event, whether that is certain, and whether it holds the event from now on.
    fn observe(&self, seen: Seen, delivery: Delivery, now: Timestamp) -> (Option<Remembered>, bool, bool) {
        match (&mut *self.lock(), seen) {
            (Kind::Duplicates(keys), Seen::Key(key)) => match keys.observe(key, delivery, now) {
                Some(brought) => (Some(Remembered::Duplicate), brought == Brought::Settled, false),
                None => (None, true, true),
            },
            (Kind::Sequence(sequence), Seen::Ordered { key, number }) => {
                let disorder = sequence.follow(key, number, delivery, now);
                let is_certain =
                    disorder.is_none_or(|disorder| sequence.is_certain(key, number, disorder, now) == Some(true));
                (disorder.map(Remembered::Disorder), is_certain, true)
            }
            (Kind::Known(known), Seen::Key(key)) => (known.find(key, now).map(Remembered::Unknown), true, false),
            _ => (None, true, false),
        }
    }

    /// Whether what was said is so by what is on the mesh stream; `None` while that depends on what is on its way there.
    fn is_so(&self, said: Remembered, seen: Seen, delivery: Delivery, now: Timestamp) -> Option<bool> {
        match (&mut *self.lock(), said, seen) {
            (Kind::Duplicates(keys), Remembered::Duplicate, Seen::Key(key)) => match keys.brought(key, delivery, now) {
                Some(Brought::Settled) => Some(true),
                Some(Brought::Pending) => None,
                None => Some(false),
            },
            (Kind::Sequence(sequence), Remembered::Disorder(disorder), Seen::Ordered { key, number }) => {
                sequence.is_certain(key, number, disorder, now)
            }
            _ => Some(false),
        }
    }

    /// Notes a key that others refer to.
    fn introduce(&self, key: Key, now: Timestamp) {
        if let Kind::Known(known) = &mut *self.lock() {
            known.introduce(key, now);
        }
    }

    fn settle(&self, sight: &Sight, delivery: Delivery, now: Timestamp) {
        match (&mut *self.lock(), sight.observation) {
            (Kind::Duplicates(keys), Observation::Seen(Seen::Key(key))) => keys.settle(key, delivery, now),
            (Kind::Sequence(sequence), Observation::Seen(Seen::Ordered { key, number })) => {
                sequence.settle(key, number, sight.is_held, now);
            }
            (Kind::Windows(windows), Observation::Seen(Seen::Measured(sample))) => windows.add(sample, now),
            (Kind::Known(known), Observation::Introduced(key)) => known.settle(key, now),
            _ => {}
        }
    }

    fn release(&self, observation: Observation, delivery: Delivery, now: Timestamp) {
        match (&mut *self.lock(), observation) {
            (Kind::Duplicates(keys), Observation::Seen(Seen::Key(key))) => keys.release(key, delivery, now),
            (Kind::Sequence(sequence), Observation::Seen(Seen::Ordered { key, number })) => {
                sequence.release(key, number, delivery, now);
            }
            (Kind::Known(known), Observation::Introduced(key)) => known.release(key, now),
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

/// What a state says of an event.
#[derive(Debug)]
pub struct Recollection {
    pub said: Remembered,
    /// Where it rests on what is on its way to the mesh stream.
    pub doubt: Option<Doubt>,
}

/// Something said of an event that depends on whether others reach the mesh stream.
#[derive(Debug, Clone)]
pub struct Doubt {
    state: Arc<State>,
    seen: Seen,
    said: Remembered,
    delivery: Delivery,
}

impl Doubt {
    /// Whether it was right; `None` while that cannot be said. The event that it is of holds nothing any more.
    fn answer(&self, now: Timestamp) -> Option<bool> {
        self.state.is_so(self.said, self.seen, self.delivery, now)
    }
}

/// What one verdict rests on, or that of several events that stand or fall together.
#[derive(Debug)]
pub struct Doubts {
    all: Vec<Doubt>,
    /// Once it is known, the same for all of them.
    answer: OnceLock<bool>,
}

impl Doubts {
    pub fn new(all: Vec<Doubt>) -> Self {
        Self { all, answer: OnceLock::new() }
    }

    /// Whether all were right; `None` while that cannot be said.
    pub fn resolve(&self, now: Timestamp) -> Option<bool> {
        if self.answer.get().is_none() {
            let answers: Vec<_> = self.all.iter().map(|doubt| doubt.answer(now)).collect();
            if answers.contains(&Some(false)) {
                self.give_up();
            } else if answers.iter().all(Option::is_some) {
                let _ = self.answer.set(true);
            }
        }
        self.answer.get().copied()
    }

    /// No verdict rests on them.
    pub fn give_up(&self) {
        let _ = self.answer.set(false);
    }

    /// Whether all turned out to be right.
    pub fn is_confirmed(&self) -> bool {
        self.answer.get() == Some(&true)
    }
}

#[derive(Debug)]
struct Sight {
    state: Arc<State>,
    observation: Observation,
    /// Whether the state holds it for this event.
    is_held: bool,
}

/// What states saw of one event, and hold until it is settled. Dropped, it is as if the event had never been seen: nobody knows
/// whether it came through, and its producer sends it again.
#[derive(Debug)]
#[must_use = "what is not settled is forgotten"]
pub struct Observed {
    sights: Vec<Sight>,
    /// What the event's verdict rests on.
    doubts: Vec<Doubt>,
    delivery: Delivery,
    now: Timestamp,
}

impl Observed {
    /// Nothing yet, of this delivery.
    pub fn new(delivery: Delivery, now: Timestamp) -> Self {
        Self { sights: Vec::new(), doubts: Vec::new(), delivery, now }
    }

    /// Shows the event to a check's state.
    pub fn observe(&mut self, state: &Arc<State>, seen: Seen) -> Option<Recollection> {
        let (said, is_certain, is_held) = state.observe(seen, self.delivery, self.now);
        self.sights.push(Sight { state: Arc::clone(state), observation: Observation::Seen(seen), is_held });
        let said = said?;
        let doubt = || Doubt { state: Arc::clone(state), seen, said, delivery: self.delivery };
        Some(Recollection { said, doubt: (!is_certain).then(doubt) })
    }

    /// Notes a key of the event that other contracts refer to.
    pub fn introduce(&mut self, state: &Arc<State>, key: Key) {
        state.introduce(key, self.now);
        let observation = Observation::Introduced(key);
        self.sights.push(Sight { state: Arc::clone(state), observation, is_held: true });
    }

    /// The event's verdict rests on it.
    pub fn rest_on(&mut self, doubt: Doubt) {
        self.doubts.push(doubt);
    }

    pub fn take_doubts(&mut self) -> Vec<Doubt> {
        std::mem::take(&mut self.doubts)
    }

    /// Whether this event is one that the doubt is about: it was on its way when the doubtful one was seen.
    pub fn is_doubted_by(&self, doubt: &Doubt) -> bool {
        let is_same = |seen: Seen| match (seen, doubt.seen) {
            (Seen::Key(one), Seen::Key(other)) => one == other,
            (Seen::Ordered { key: one, .. }, Seen::Ordered { key: other, .. }) => one == other,
            _ => false,
        };
        self.sights.iter().any(|sight| {
            let Observation::Seen(seen) = sight.observation else { return false };
            sight.is_held && Arc::ptr_eq(&sight.state, &doubt.state) && is_same(seen)
        })
    }

    /// The event is not to be forwarded, so far as is known: others are judged as if it had never been seen. If it is forwarded all
    /// the same, settling it counts.
    pub fn give_back(&mut self) {
        for sight in self.sights.iter_mut().filter(|sight| sight.is_held) {
            sight.is_held = false;
            sight.state.release(sight.observation, self.delivery, self.now);
        }
    }

    /// The event is on the mesh stream.
    pub fn settle(mut self) {
        for sight in self.sights.drain(..) {
            sight.state.settle(&sight, self.delivery, self.now);
        }
    }
}

impl Drop for Observed {
    fn drop(&mut self) {
        self.give_back();
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
