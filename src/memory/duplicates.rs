//! Keys that must come once in a while: an exact set with expiry.
//!
//! A key counts as seen only when the event that brought it is on the mesh stream. Until then it is held for that one delivery,
//! and given back if the event is quarantined, or not settled: what its producer sends again is no duplicate. Nor is a record its
//! own duplicate, when a client repeats a request because the answer was lost.

use super::keyed::Keyed;
use super::{Delivery, Key, Usage};
use crate::model::Timestamp;

/// The keys seen in the last while. What is evicted or expired is a duplicate missed, never a duplicate made up.
#[derive(Debug)]
pub struct Duplicates {
    keys: Keyed<Seen>,
}

#[derive(Debug, Clone, Copy)]
struct Seen {
    /// The delivery that brought it, by its name.
    by: Option<u64>,
    is_settled: bool,
}

/// What of [`Duplicates`] survives a restart: keys on the mesh stream, with the delivery that brought them and when.
#[derive(Debug, Clone, Default, PartialEq, minicbor::Encode, minicbor::Decode)]
pub struct SavedDuplicates {
    #[n(0)]
    keys: Vec<SavedKey>,
    #[n(1)]
    last_evicted: Option<i64>,
}

#[derive(Debug, Clone, PartialEq, minicbor::Encode, minicbor::Decode)]
struct SavedKey {
    #[n(0)]
    high: u64,
    #[n(1)]
    low: u64,
    #[n(2)]
    by: Option<u64>,
    #[n(3)]
    touched: i64,
}

impl Duplicates {
    /// `limit` keys, each for `window` milliseconds from the first event on.
    pub fn new(limit: usize, window: i64) -> Self {
        Self { keys: Keyed::new(limit, window) }
    }

    /// Whether another delivery has brought the key. If none has, this one holds it.
    pub fn is_duplicate(&mut self, key: Key, delivery: Delivery, now: Timestamp) -> bool {
        match self.keys.get(key, now) {
            Some(seen) => seen.by.is_none() || seen.by != delivery.name(),
            None => {
                self.keys.insert(key, Seen { by: delivery.name(), is_settled: false }, now);
                false
            }
        }
    }

    /// Whether any delivery has brought the key.
    pub fn contains(&mut self, key: Key, now: Timestamp) -> bool {
        self.keys.get(key, now).is_some()
    }

    /// The event that brought the key is on the mesh stream.
    pub fn settle(&mut self, key: Key, delivery: Delivery, now: Timestamp) {
        match self.keys.get(key, now) {
            Some(seen) if seen.by == delivery.name() => seen.is_settled = true,
            Some(_) => {}
            None => self.keys.insert(key, Seen { by: delivery.name(), is_settled: true }, now),
        }
    }

    /// Keeps the key for another window.
    pub fn touch(&mut self, key: Key, now: Timestamp) {
        self.keys.touch(key, now);
    }

    /// The event that brought the key is not on the mesh stream.
    pub fn release(&mut self, key: Key, delivery: Delivery, now: Timestamp) {
        if self.keys.get(key, now).is_some_and(|seen| seen.by == delivery.name() && !seen.is_settled) {
            self.keys.remove(key);
        }
    }

    pub fn expire(&mut self, now: Timestamp) {
        self.keys.expire(now);
    }

    /// Whether a key that is not here was not there.
    pub fn is_complete(&self, now: Timestamp) -> bool {
        self.keys.is_complete(now)
    }

    /// For how long keys are kept, in milliseconds.
    pub fn window(&self) -> i64 {
        self.keys.ttl()
    }

    pub fn usage(&self) -> Usage {
        Usage::of(&self.keys)
    }

    pub fn save(&self) -> SavedDuplicates {
        let settled = self.keys.iter().filter(|(_, _, seen)| seen.is_settled);
        let saved = settled.map(|(key, touched, seen)| SavedKey {
            high: (key >> 64) as u64,
            low: key as u64,
            by: seen.by,
            touched: touched.millis(),
        });
        SavedDuplicates { keys: saved.collect(), last_evicted: self.keys.last_evicted().map(Timestamp::millis) }
    }

    pub fn restore(&mut self, mut saved: SavedDuplicates) {
        saved.keys.sort_unstable_by_key(|key| key.touched);
        for SavedKey { high, low, by, touched } in saved.keys {
            let seen = Seen { by, is_settled: true };
            self.keys.insert(u128::from(high) << 64 | u128::from(low), seen, Timestamp::from_millis(touched));
        }
        self.keys.go_on(saved.last_evicted.map(Timestamp::from_millis));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::super::Turn;
    use super::*;

    const WINDOW: i64 = 50;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn delivery(request: u64) -> Delivery {
        Delivery { source: request, turn: Turn::in_request(0) }
    }

    #[test]
    fn a_key_is_its_own_deliverys_until_it_is_settled() {
        let mut keys = Duplicates::new(10, WINDOW);
        assert!(!keys.is_duplicate(1, delivery(1), at(0)));
        assert!(!keys.is_duplicate(1, delivery(1), at(1)), "the same request again");
        assert!(keys.is_duplicate(1, delivery(2), at(2)), "another, while the first is under way");
        keys.release(1, delivery(1), at(3));
        assert!(!keys.is_duplicate(1, delivery(2), at(4)), "the first did not come through");
        keys.settle(1, delivery(2), at(5));
        keys.release(1, delivery(2), at(6));
        assert!(keys.is_duplicate(1, delivery(3), at(7)), "what is settled stays");
        assert!(!keys.is_duplicate(1, delivery(2), at(8)), "the answer was lost, and the request came again");
    }

    #[test]
    fn deliveries_that_nothing_tells_apart_are_never_the_same() {
        let mut keys = Duplicates::new(10, WINDOW);
        assert!(!keys.is_duplicate(1, Delivery::UNKNOWN, at(0)));
        keys.settle(1, Delivery::UNKNOWN, at(0));
        assert!(keys.is_duplicate(1, Delivery::UNKNOWN, at(1)));
    }

    #[test]
    fn what_is_settled_survives_a_restart() {
        let mut before = Duplicates::new(10, WINDOW);
        for key in [1, u128::MAX] {
            before.is_duplicate(key, delivery(9), at(3));
            before.settle(key, delivery(9), at(4));
        }
        before.is_duplicate(2, delivery(9), at(5));
        let mut after = Duplicates::new(10, WINDOW);
        after.restore(before.save());
        assert_eq!(after.save().keys.len(), before.save().keys.len());
        assert!(after.is_duplicate(u128::MAX, delivery(1), at(6)) && !after.is_duplicate(1, delivery(9), at(6)));
        assert!(!after.is_duplicate(2, delivery(1), at(6)), "what was not settled is forgotten");
        assert!(!after.is_duplicate(1, delivery(2), at(3 + WINDOW)), "a window is a window, whoever ran meanwhile");
    }

    proptest! {
        /// Against a model that keeps every event: duplicate is what another delivery has brought within the window, and that was
        /// not given back.
        #[test]
        fn it_says_what_a_naive_model_says(
            events in proptest::collection::vec((0_i64..15, 0_u8..6, 1_u64..40, 0_u8..3), 0..150),
        ) {
            let (mut keys, mut naive, mut now) = (Duplicates::new(1000, WINDOW), BTreeMap::<u8, (i64, u64, bool)>::new(), 0);
            for (later, key, request, fate) in events {
                now += later;
                naive.retain(|_, (since, ..)| now - *since < WINDOW);
                let expected = naive.get(&key).is_some_and(|(_, owner, _)| *owner != request);
                prop_assert_eq!(keys.is_duplicate(key.into(), delivery(request), at(now)), expected);
                if expected {
                    continue;
                }
                let held = naive.entry(key).or_insert((now, request, false));
                match fate {
                    0 => {
                        held.2 = true;
                        keys.settle(key.into(), delivery(request), at(now));
                    }
                    1 => {
                        if !held.2 {
                            naive.remove(&key);
                        }
                        keys.release(key.into(), delivery(request), at(now));
                    }
                    _ => {}
                }
            }
        }
    }
}
