//! Keys that were seen on another contract: what events may refer to.

use super::duplicates::{Duplicates, SavedDuplicates};
use super::{Delivery, Key, Usage};
use crate::model::Timestamp;

/// The keys seen in the last while, and since when somebody looks.
#[derive(Debug)]
pub struct Known {
    keys: Duplicates,
    /// When the first key could have been noted.
    since: Timestamp,
    /// How long it takes until what is referred to has been seen, in milliseconds.
    warm_up: i64,
    /// Whether a contract feeds it now.
    is_fed: bool,
    /// The latest time that anybody has told.
    latest: Timestamp,
}

/// By how much time may seem to go back, in milliseconds, when batches that began at different times are judged.
const BACK_MAX: i64 = 60_000;

/// Of a key that has not been seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reference {
    /// It was not there.
    Dangling,
    /// It may have been there before anybody looked, or be among those that were forgotten to make room.
    Unsure,
}

#[derive(Debug, Clone, PartialEq, minicbor::Encode, minicbor::Decode)]
pub struct SavedKnown {
    #[n(0)]
    keys: SavedDuplicates,
    /// `None` when nobody fed it.
    #[n(1)]
    since: Option<i64>,
}

impl Known {
    /// `limit` keys, each for `window` milliseconds after it was seen last. For `warm_up` milliseconds from now, a key that is not
    /// known may have been there before.
    pub fn new(limit: usize, window: i64, warm_up: i64, now: Timestamp) -> Self {
        Self { keys: Duplicates::new(limit, window), since: now, warm_up, is_fed: true, latest: now }
    }

    /// Begins again to look, if nobody did meanwhile: events may have passed unseen.
    pub fn set_fed(&mut self, is_fed: bool, now: Timestamp) {
        if is_fed && !self.is_fed {
            self.since = now;
        }
        self.is_fed = is_fed;
    }

    /// A clock that was wrong may have let keys expire that are to be known: where it was put back, it begins again to look.
    fn tell_time(&mut self, now: Timestamp) {
        if self.latest.millis().saturating_sub(now.millis()) > BACK_MAX {
            (self.since, self.latest) = (now, now);
        }
        self.latest = self.latest.max(now);
    }

    /// `None` when the key is known.
    pub fn find(&mut self, key: Key, now: Timestamp) -> Option<Reference> {
        self.tell_time(now);
        if self.keys.contains(key, now) {
            return None;
        }
        let is_warm = now.millis().saturating_sub(self.since.millis()) >= self.warm_up;
        let is_sure = self.is_fed && is_warm && self.keys.is_complete(now);
        Some(if is_sure { Reference::Dangling } else { Reference::Unsure })
    }

    /// Notes a key, which its event brings to the mesh stream now. Whichever delivery brings it, it is known.
    pub fn introduce(&mut self, key: Key, now: Timestamp) {
        self.keys.hold(key, Delivery::UNKNOWN, now);
    }

    /// An event that brought it is on the mesh stream.
    pub fn settle(&mut self, key: Key, now: Timestamp) {
        self.keys.settle(key, Delivery::UNKNOWN, now);
        self.keys.touch(key, now);
    }

    /// An event that brought it is not.
    pub fn release(&mut self, key: Key, now: Timestamp) {
        self.keys.release(key, Delivery::UNKNOWN, now);
    }

    pub fn expire(&mut self, now: Timestamp) {
        self.tell_time(now);
        self.keys.expire(now);
    }

    pub fn usage(&self) -> Usage {
        self.keys.usage()
    }

    pub fn save(&self) -> SavedKnown {
        SavedKnown { keys: self.keys.save(), since: self.is_fed.then_some(self.since.millis()) }
    }

    /// `is_clean` when nothing came after what was saved. If not, or if nobody fed it, keys may have, and it takes time again until all are known.
    pub fn restore(&mut self, saved: SavedKnown, is_clean: bool) {
        self.keys.restore(saved.keys);
        if let Some(since) = saved.since.filter(|_| is_clean) {
            self.since = Timestamp::from_millis(since);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    const WINDOW: i64 = 50;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    #[test]
    fn nothing_is_sure_before_it_could_have_been_seen() {
        let mut known = Known::new(10, WINDOW, 20, at(0));
        assert_eq!(known.find(1, at(19)), Some(Reference::Unsure));
        assert_eq!(known.find(1, at(20)), Some(Reference::Dangling));
        known.introduce(1, at(21));
        assert_eq!(known.find(1, at(22)), None, "it is on its way");
        known.release(1, at(23));
        assert_eq!(known.find(1, at(24)), Some(Reference::Dangling));
        known.set_fed(false, at(30));
        assert_eq!(known.find(1, at(31)), Some(Reference::Unsure), "nobody feeds it");
        known.set_fed(true, at(40));
        assert_eq!(known.find(1, at(59)), Some(Reference::Unsure));
        assert_eq!(known.find(1, at(60)), Some(Reference::Dangling));
    }

    #[test]
    fn a_key_is_known_while_any_event_brings_it() {
        let mut known = Known::new(10, WINDOW, 0, at(0));
        known.introduce(1, at(1));
        known.introduce(1, at(2));
        known.release(1, at(3));
        assert_eq!(known.find(1, at(4)), None, "the other is on its way");
        known.release(1, at(5));
        assert_eq!(known.find(1, at(6)), Some(Reference::Dangling));
    }

    #[test]
    fn what_nobody_fed_is_unsure_after_a_deploy_too() {
        let mut before = Known::new(10, WINDOW, 20, at(0));
        before.set_fed(false, at(30));
        let mut after = Known::new(10, WINDOW, 20, at(40));
        after.restore(before.save(), true);
        assert_eq!(after.find(1, at(41)), Some(Reference::Unsure));
    }

    #[test]
    fn a_clock_that_is_put_back_makes_it_unsure() {
        let (mut known, day) = (Known::new(10, 1000 * WINDOW, 20, at(0)), 86_400_000);
        known.settle(1, at(50));
        known.expire(at(day));
        assert_eq!(known.find(1, at(100)), Some(Reference::Unsure), "it was forgotten a day too early");
        assert_eq!(known.find(2, at(120)), Some(Reference::Dangling));
    }

    #[test]
    fn what_was_forgotten_to_make_room_is_not_held_against_anyone() {
        let mut known = Known::new(1, WINDOW, 0, at(0));
        for key in [1, 2] {
            known.introduce(key, at(1));
            known.settle(key, at(1));
        }
        assert_eq!(known.find(2, at(2)), None);
        assert_eq!(known.find(1, at(2)), Some(Reference::Unsure));
        assert_eq!(known.find(1, at(1 + WINDOW)), Some(Reference::Dangling), "it would have expired by now");
    }

    #[test]
    fn a_crash_makes_it_unsure_and_a_deploy_does_not() {
        let mut before = Known::new(10, WINDOW, 20, at(0));
        before.introduce(1, at(1));
        before.settle(1, at(1));
        for (is_clean, expected) in [(true, Reference::Dangling), (false, Reference::Unsure)] {
            let mut after = Known::new(10, WINDOW, 20, at(30));
            after.restore(before.save(), is_clean);
            assert_eq!((after.find(1, at(31)), after.find(2, at(31))), (None, Some(expected)));
        }
    }

    proptest! {
        /// Against a model that keeps when each key was last on the mesh stream.
        #[test]
        fn it_says_what_a_naive_model_says(
            events in proptest::collection::vec((0_i64..15, 0_u8..8, any::<bool>()), 0..150),
        ) {
            let (mut known, mut naive, mut now) = (Known::new(1000, WINDOW, 0, at(0)), BTreeMap::<u8, i64>::new(), 0);
            for (later, key, introduces) in events {
                now += later;
                if introduces {
                    known.introduce(key.into(), at(now));
                    known.settle(key.into(), at(now));
                    naive.insert(key, now);
                } else {
                    let is_known = naive.get(&key).is_some_and(|last| now - last < WINDOW);
                    prop_assert_eq!(known.find(key.into(), at(now)).is_none(), is_known);
                }
            }
        }
    }
}
