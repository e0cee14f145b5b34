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
    /// How often that delivery is under way: a client may repeat it before the first attempt has ended.
    holders: u32,
    is_settled: bool,
}

/// How far another delivery has brought a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Brought {
    /// To the mesh stream.
    Settled,
    /// It is on its way there, and may not arrive.
    Pending,
}

/// What of [`Duplicates`] survives a restart: keys on the mesh stream, with the delivery that brought them and when.
#[derive(Debug, Clone, Default, PartialEq, minicbor::Encode, minicbor::Decode)]
pub struct SavedDuplicates {
    #[n(0)]
    keys: Vec<SavedKey>,
    #[n(1)]
    evicted: u64,
    #[n(2)]
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

    /// How far another delivery has brought the key. If none has, this one holds it.
    pub fn observe(&mut self, key: Key, delivery: Delivery, now: Timestamp) -> Option<Brought> {
        if let Some(brought) = self.brought(key, delivery, now) {
            return Some(brought);
        }
        self.hold(key, delivery, now);
        None
    }

    /// The same, and nothing is held.
    pub fn brought(&mut self, key: Key, delivery: Delivery, now: Timestamp) -> Option<Brought> {
        let seen = self.keys.get(key, now).filter(|seen| seen.by.is_none() || seen.by != delivery.name())?;
        Some(if seen.is_settled { Brought::Settled } else { Brought::Pending })
    }

    /// Holds the key, once more where it is held already.
    pub fn hold(&mut self, key: Key, delivery: Delivery, now: Timestamp) {
        match self.keys.get(key, now) {
            Some(seen) if seen.is_settled => {}
            Some(seen) => seen.holders += 1,
            None => self.keys.insert(key, Seen { by: delivery.name(), holders: 1, is_settled: false }, now),
        }
    }

    /// Whether any delivery has brought the key.
    pub fn contains(&self, key: Key, now: Timestamp) -> bool {
        self.keys.contains(key, now)
    }

    /// An event with the key is on the mesh stream, whether it held the key or not.
    pub fn settle(&mut self, key: Key, delivery: Delivery, now: Timestamp) {
        match self.keys.get(key, now) {
            Some(seen) if seen.is_settled => {}
            Some(seen) => *seen = Seen { by: delivery.name(), holders: 0, is_settled: true },
            None => self.keys.insert(key, Seen { by: delivery.name(), holders: 0, is_settled: true }, now),
        }
    }

    /// Keeps the key for another window.
    pub fn touch(&mut self, key: Key, now: Timestamp) {
        self.keys.touch(key, now);
    }

    /// An event that held the key is not on the mesh stream.
    pub fn release(&mut self, key: Key, delivery: Delivery, now: Timestamp) {
        let Some(seen) = self.keys.get(key, now).filter(|s| s.by == delivery.name() && !s.is_settled) else { return };
        seen.holders = seen.holders.saturating_sub(1);
        if seen.holders == 0 {
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

    /// In no order: states are held meanwhile.
    pub fn save(&self) -> SavedDuplicates {
        let settled = self.keys.iter().filter(|(_, _, seen)| seen.is_settled);
        let saved = settled.map(|(key, touched, seen)| SavedKey {
            high: (key >> 64) as u64,
            low: key as u64,
            by: seen.by,
            touched: touched.millis(),
        });
        SavedDuplicates {
            keys: saved.collect(),
            evicted: self.keys.evicted(),
            last_evicted: self.keys.last_evicted().map(Timestamp::millis),
        }
    }

    pub fn restore(&mut self, mut saved: SavedDuplicates) {
        saved.keys.sort_unstable_by_key(|saved| saved.touched);
        for SavedKey { high, low, by, touched } in saved.keys {
            let seen = Seen { by, holders: 0, is_settled: true };
            self.keys.insert(u128::from(high) << 64 | u128::from(low), seen, Timestamp::from_millis(touched));
        }
        self.keys.go_on(saved.evicted, saved.last_evicted.map(Timestamp::from_millis));
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

    fn is_duplicate(keys: &mut Duplicates, key: Key, delivery: Delivery, now: Timestamp) -> bool {
        keys.observe(key, delivery, now).is_some()
    }

    fn saved(keys: &Duplicates) -> SavedDuplicates {
        let mut saved = keys.save();
        saved.keys.sort_unstable_by_key(|saved| (saved.high, saved.low));
        saved
    }

    #[test]
    fn a_key_is_its_own_deliverys_until_it_is_settled() {
        let mut keys = Duplicates::new(10, WINDOW);
        assert!(!is_duplicate(&mut keys, 1, delivery(1), at(0)));
        assert!(!is_duplicate(&mut keys, 1, delivery(1), at(1)), "the same request again");
        assert!(is_duplicate(&mut keys, 1, delivery(2), at(2)), "another, while the first is under way");
        (0..2).for_each(|_| keys.release(1, delivery(1), at(3)));
        assert!(!is_duplicate(&mut keys, 1, delivery(2), at(4)), "the first did not come through");
        keys.settle(1, delivery(2), at(5));
        keys.release(1, delivery(2), at(6));
        assert!(is_duplicate(&mut keys, 1, delivery(3), at(7)), "what is settled stays");
        assert!(!is_duplicate(&mut keys, 1, delivery(2), at(8)), "the answer was lost, and the request came again");
    }

    #[test]
    fn a_repeat_that_ends_first_gives_nothing_back() {
        let mut keys = Duplicates::new(10, WINDOW);
        for _ in 0..2 {
            assert_eq!(keys.observe(1, delivery(1), at(0)), None);
        }
        keys.release(1, delivery(1), at(1));
        assert_eq!(keys.observe(1, delivery(2), at(2)), Some(Brought::Pending), "the other attempt is under way");
        keys.settle(1, delivery(1), at(3));
        assert_eq!(keys.observe(1, delivery(2), at(4)), Some(Brought::Settled));
    }

    #[test]
    fn what_is_forwarded_as_a_duplicate_counts_when_the_first_does_not_arrive() {
        let mut keys = Duplicates::new(10, WINDOW);
        keys.observe(1, delivery(1), at(0));
        assert_eq!(keys.observe(1, delivery(2), at(0)), Some(Brought::Pending));
        keys.settle(1, delivery(2), at(1));
        keys.release(1, delivery(1), at(2));
        assert_eq!(keys.observe(1, delivery(3), at(3)), Some(Brought::Settled));
    }

    #[test]
    fn deliveries_that_nothing_tells_apart_are_never_the_same() {
        let mut keys = Duplicates::new(10, WINDOW);
        assert!(!is_duplicate(&mut keys, 1, Delivery::UNKNOWN, at(0)));
        keys.settle(1, Delivery::UNKNOWN, at(0));
        assert!(is_duplicate(&mut keys, 1, Delivery::UNKNOWN, at(1)));
    }

    #[test]
    fn what_is_settled_survives_a_restart() {
        let mut before = Duplicates::new(10, WINDOW);
        for key in [1, u128::MAX] {
            is_duplicate(&mut before, key, delivery(9), at(3));
            before.settle(key, delivery(9), at(4));
        }
        is_duplicate(&mut before, 2, delivery(9), at(5));
        let mut after = Duplicates::new(10, WINDOW);
        after.restore(before.save());
        assert_eq!(saved(&after), saved(&before));
        assert!(
            is_duplicate(&mut after, u128::MAX, delivery(1), at(6)) && !is_duplicate(&mut after, 1, delivery(9), at(6))
        );
        assert!(!is_duplicate(&mut after, 2, delivery(1), at(6)), "what was not settled is forgotten");
        assert!(
            !is_duplicate(&mut after, 1, delivery(2), at(3 + WINDOW)),
            "a window is a window, whoever ran meanwhile"
        );
    }

    proptest! {
        /// Against a model that keeps every event: duplicate is what another delivery has brought within the window, and that was
        /// not given back.
        #[test]
        fn it_says_what_a_naive_model_says(
            events in proptest::collection::vec((0_i64..15, 0_u8..6, 1_u64..40, 0_u8..3), 0..150),
        ) {
            let (mut keys, mut naive, mut now) = (Duplicates::new(1000, WINDOW), BTreeMap::<u8, (i64, u64, bool, u32)>::new(), 0);
            for (later, key, request, fate) in events {
                now += later;
                naive.retain(|_, (since, ..)| now - *since < WINDOW);
                let expected = naive.get(&key).is_some_and(|(_, owner, ..)| *owner != request);
                prop_assert_eq!(is_duplicate(&mut keys, key.into(), delivery(request), at(now)), expected);
                if expected {
                    continue;
                }
                let held = naive.entry(key).or_insert((now, request, false, 0));
                held.3 += 1;
                match fate {
                    0 => {
                        held.2 = true;
                        keys.settle(key.into(), delivery(request), at(now));
                    }
                    1 => {
                        held.3 -= 1;
                        if !held.2 && held.3 == 0 {
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
