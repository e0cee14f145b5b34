//! Numbers that count up, key by key.
//!
//! What is compared with is the highest number on the mesh stream, or on its way there. A client that repeats a request because
//! the answer was lost sends numbers that are there already: such a record is judged as it was the first time, by what came before
//! its request.

use std::collections::BTreeMap;

use super::keyed::Keyed;
use super::{Delivery, Key, Turn, Usage};
use crate::model::Timestamp;

/// The last number of each key.
#[derive(Debug)]
pub struct Sequence {
    keys: Keyed<Track>,
}

/// How a number follows the one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disorder {
    /// Numbers between them are missing.
    Gap,
    /// It is not higher.
    Regress,
}

#[derive(Debug, Default)]
struct Track {
    /// The highest on the mesh stream.
    settled: Option<i64>,
    /// On their way there, with how often each is.
    pending: BTreeMap<i64, u32>,
    /// The request or shard that brought the last number, or 0.
    source: u64,
    /// The highest number before that request, or before what is remembered of the shard.
    before: Option<i64>,
    /// The place of the last number in it.
    turn: Turn,
    /// While that request is repeated, or the shard read again: how far, and the highest number so far, and before the last record.
    repeat: Option<Repeat>,
    /// Whether numbers may have come that nobody remembers.
    may_have_missed: bool,
}

#[derive(Debug, Clone, Copy)]
struct Repeat {
    turn: Turn,
    high: Option<i64>,
    high_before: Option<i64>,
}

#[derive(Debug, Clone, Default, PartialEq, minicbor::Encode, minicbor::Decode)]
pub struct SavedSequence {
    #[n(0)]
    keys: Vec<SavedTrack>,
    #[n(1)]
    evicted: u64,
    #[n(2)]
    last_evicted: Option<i64>,
}

#[derive(Debug, Clone, PartialEq, minicbor::Encode, minicbor::Decode)]
struct SavedTrack {
    #[n(0)]
    high: u64,
    #[n(1)]
    low: u64,
    #[n(2)]
    settled: i64,
    #[n(3)]
    source: u64,
    #[n(4)]
    before: Option<i64>,
    #[n(5)]
    turn: Turn,
    #[n(6)]
    touched: i64,
}

impl Sequence {
    /// `limit` keys, each for `window` milliseconds after its last number.
    pub fn new(limit: usize, window: i64) -> Self {
        Self { keys: Keyed::new(limit, window) }
    }

    /// How the number follows those before it; `None` when it is the next, or the first. It is on its way from now on.
    pub fn follow(&mut self, key: Key, number: i64, delivery: Delivery, now: Timestamp) -> Option<Disorder> {
        let Some(track) = self.keys.get(key, now) else {
            let Delivery { source, turn } = delivery;
            let pending = BTreeMap::from([(number, 1)]);
            self.keys.insert(key, Track { pending, source, turn, ..Track::default() }, now);
            return None;
        };
        let disorder = track.follow(number, delivery);
        *track.pending.entry(number).or_default() += 1;
        self.keys.touch(key, now);
        disorder
    }

    /// Whether such a disorder is there by what is on the mesh stream; `None` while that depends on numbers on their way there.
    pub fn is_certain(&mut self, key: Key, number: i64, disorder: Disorder, now: Timestamp) -> Option<bool> {
        let Some(Track { settled, pending, .. }) = self.keys.get(key, now) else { return Some(false) };
        match (disorder, *settled) {
            (Disorder::Regress, Some(settled)) if number <= settled => Some(true),
            (Disorder::Regress, _) => pending.range(number..).next().is_none().then_some(false),
            // A gap after what is there stays one, or is a smaller one, whatever comes of lower numbers.
            (Disorder::Gap, Some(settled)) => Some(settled < number && settled < number - 1),
            (Disorder::Gap, None) => pending.is_empty().then_some(false),
        }
    }

    /// An event with the number is on the mesh stream. `is_held`: it was on its way there.
    pub fn settle(&mut self, key: Key, number: i64, is_held: bool, now: Timestamp) {
        if let Some(track) = self.keys.get(key, now) {
            if is_held {
                track.forget(number);
            }
            if track.settled < Some(number) {
                (track.settled, track.may_have_missed) = (Some(number), false);
            }
        } else {
            self.keys.insert(key, Track { settled: Some(number), ..Track::default() }, now);
        }
    }

    /// The event with the number, which was on its way, is not on the mesh stream.
    pub fn release(&mut self, key: Key, number: i64, delivery: Delivery, now: Timestamp) {
        let Some(track) = self.keys.get(key, now) else { return };
        track.forget(number);
        let is_repeat = track.source == delivery.source;
        if let Some(repeat) = track.repeat.as_mut().filter(|repeat| is_repeat && repeat.turn == delivery.turn) {
            repeat.high = repeat.high_before;
        }
        if track.settled.is_none() && track.pending.is_empty() {
            self.keys.remove(key);
        }
    }

    pub fn expire(&mut self, now: Timestamp) {
        self.keys.expire(now);
    }

    /// Numbers on their way are as many as records in flight, and not counted.
    pub fn usage(&self) -> Usage {
        Usage::of(&self.keys)
    }

    /// In no order: states are held meanwhile.
    pub fn save(&self) -> SavedSequence {
        let settled = self.keys.iter().filter_map(|(key, touched, track)| {
            Some(SavedTrack {
                high: (key >> 64) as u64,
                low: key as u64,
                settled: track.settled?,
                source: track.source,
                before: track.before,
                turn: track.turn,
                touched: touched.millis(),
            })
        });
        SavedSequence {
            keys: settled.collect(),
            evicted: self.keys.evicted(),
            last_evicted: self.keys.last_evicted().map(Timestamp::millis),
        }
    }

    /// `is_clean` when nothing came after what was saved. If not, the first number of each key may follow one that nobody
    /// remembers, and is no gap.
    pub fn restore(&mut self, mut saved: SavedSequence, is_clean: bool) {
        saved.keys.sort_unstable_by_key(|saved| saved.touched);
        for SavedTrack { high, low, settled, source, before, turn, touched } in saved.keys {
            let track =
                Track { settled: Some(settled), source, before, turn, may_have_missed: !is_clean, ..Track::default() };
            self.keys.insert(u128::from(high) << 64 | u128::from(low), track, Timestamp::from_millis(touched));
        }
        self.keys.go_on(saved.evicted, saved.last_evicted.map(Timestamp::from_millis));
    }
}

impl Track {
    fn high(&self) -> Option<i64> {
        self.settled.max(self.pending.last_key_value().map(|(number, _)| *number))
    }

    fn follow(&mut self, number: i64, delivery: Delivery) -> Option<Disorder> {
        let high = self.high();
        let is_again = delivery.source != 0 && delivery.source == self.source && delivery.turn <= self.turn;
        if is_again && Some(number) <= high {
            return self.follow_again(number, delivery.turn);
        }
        // A higher number than all is none that came before, whatever its client calls the request.
        if !is_again {
            if delivery.source != self.source || delivery.source == 0 {
                (self.source, self.before) = (delivery.source, high);
            }
            (self.turn, self.repeat) = (delivery.turn, None);
        }
        let high = high?;
        if number <= high {
            Some(Disorder::Regress)
        } else {
            (number - 1 > high && !self.may_have_missed).then_some(Disorder::Gap)
        }
    }

    /// How a number of a repeated request followed those before it. A gap was told the first time.
    fn follow_again(&mut self, number: i64, turn: Turn) -> Option<Disorder> {
        let begun = self.repeat.filter(|repeat| repeat.turn < turn);
        let high = begun.map_or(self.before, |repeat| repeat.high);
        self.repeat = Some(Repeat { turn, high: high.max(Some(number)), high_before: high });
        high.is_some_and(|high| number <= high).then_some(Disorder::Regress)
    }

    fn forget(&mut self, number: i64) {
        if let Some(times) = self.pending.get_mut(&number) {
            *times -= 1;
            if *times == 0 {
                self.pending.remove(&number);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(0);

    /// Sends a request of numbers, all of one key, and forwards what is no regress.
    fn send(sequence: &mut Sequence, request: u64, numbers: &[i64]) -> Vec<Option<Disorder>> {
        let delivery = |index: usize| Delivery { source: request, turn: Turn::in_request(index as u64) };
        let follow = |(index, number): (usize, &i64)| {
            let disorder = sequence.follow(1, *number, delivery(index), NOW);
            if disorder == Some(Disorder::Regress) {
                sequence.release(1, *number, delivery(index), NOW);
            }
            disorder
        };
        let found: Vec<_> = numbers.iter().enumerate().map(follow).collect();
        for (number, _) in numbers.iter().zip(&found).filter(|(_, found)| **found != Some(Disorder::Regress)) {
            sequence.settle(1, *number, true, NOW);
        }
        found
    }

    #[test]
    fn gaps_and_regressions_are_told() {
        let mut sequence = Sequence::new(10, 1000);
        assert_eq!(send(&mut sequence, 1, &[5, 6, 8]), [None, None, Some(Disorder::Gap)]);
        assert_eq!(send(&mut sequence, 2, &[8, 7, 9]), [Some(Disorder::Regress), Some(Disorder::Regress), None]);
        assert_eq!(send(&mut sequence, 3, &[i64::MAX, i64::MIN]), [Some(Disorder::Gap), Some(Disorder::Regress)]);
    }

    #[test]
    fn a_request_that_comes_again_is_judged_as_it_was() {
        let mut sequence = Sequence::new(10, 1000);
        send(&mut sequence, 1, &[4]);
        let numbers = [5, 7, 6, 8, 8];
        let first = send(&mut sequence, 2, &numbers);
        let regress = |found: &Option<Disorder>| *found == Some(Disorder::Regress);
        for _ in 0..3 {
            let again = send(&mut sequence, 2, &numbers);
            assert!(again.iter().map(regress).eq(first.iter().map(regress)), "{again:?}");
            assert!(!again.contains(&Some(Disorder::Gap)), "it was told");
        }
        assert_eq!(send(&mut sequence, 3, &[9]), [None]);
    }

    #[test]
    fn a_client_that_names_all_its_requests_alike_makes_no_gaps() {
        let mut sequence = Sequence::new(10, 1000);
        for number in 4..20 {
            assert_eq!(send(&mut sequence, 7, &[number]), [None]);
            assert_eq!(send(&mut sequence, 7, &[number]), [None]);
        }
        assert_eq!(send(&mut sequence, 7, &[25]), [Some(Disorder::Gap)]);
    }

    #[test]
    fn what_other_requests_give_back_is_none_of_a_repeats() {
        let mut sequence = Sequence::new(10, 1000);
        send(&mut sequence, 1, &[4]);
        let of = |request, index| Delivery { source: request, turn: Turn::in_request(index) };
        assert_eq!(sequence.follow(1, 5, of(3, 0), NOW), None);
        let first = send(&mut sequence, 2, &[6, 6]);
        assert_eq!(first, [None, Some(Disorder::Regress)]);
        assert_eq!(sequence.follow(1, 6, of(2, 0), NOW), None);
        sequence.release(1, 5, of(3, 0), NOW);
        assert_eq!(sequence.follow(1, 6, of(2, 1), NOW), Some(Disorder::Regress));
    }

    #[test]
    fn what_is_on_its_way_makes_nothing_certain() {
        let mut sequence = Sequence::new(10, 1000);
        let of = |request| Delivery { source: request, turn: Turn::in_request(0) };
        assert_eq!(sequence.follow(1, 7, of(1), NOW), None);
        assert_eq!(sequence.follow(1, 6, of(2), NOW), Some(Disorder::Regress));
        sequence.release(1, 6, of(2), NOW);
        assert_eq!(sequence.is_certain(1, 6, Disorder::Regress, NOW), None);
        assert_eq!(sequence.follow(1, 9, of(3), NOW), Some(Disorder::Gap));
        sequence.release(1, 9, of(3), NOW);
        assert_eq!(sequence.is_certain(1, 9, Disorder::Gap, NOW), None);
        sequence.settle(1, 7, true, NOW);
        for (number, disorder) in [(6, Disorder::Regress), (9, Disorder::Gap)] {
            assert_eq!(sequence.is_certain(1, number, disorder, NOW), Some(true));
        }
        assert_eq!(sequence.is_certain(1, i64::MIN, Disorder::Gap, NOW), Some(false));
    }

    #[test]
    fn a_shard_that_is_read_again_makes_nothing_up() {
        let turn = |sequence: u64| Turn::in_shard(&format!("4957{sequence:052}"), 0).unwrap();
        let read = |sequence: &mut Sequence, numbers: &[(u64, i64)]| -> Vec<Option<Disorder>> {
            let follow = |(at, number): &(u64, i64)| {
                let disorder = sequence.follow(1, *number, Delivery { source: 7, turn: turn(*at) }, NOW);
                sequence.settle(1, *number, true, NOW);
                disorder
            };
            numbers.iter().map(follow).collect()
        };
        let mut sequence = Sequence::new(10, 1000);
        send(&mut sequence, 1, &[1]);
        assert_eq!(read(&mut sequence, &[(1, 2), (2, 3), (3, 4), (4, 6)]), [None, None, None, Some(Disorder::Gap)]);
        // From the last checkpoint on, and then what is new.
        let again = [(3, 4), (4, 6), (5, 7), (6, 5)];
        assert_eq!(read(&mut sequence, &again), [None, None, None, Some(Disorder::Regress)]);
    }

    #[test]
    fn what_did_not_come_through_is_not_followed() {
        let mut sequence = Sequence::new(10, 1000);
        send(&mut sequence, 1, &[1]);
        let late = Delivery { source: 2, turn: Turn::in_request(0) };
        assert_eq!(sequence.follow(1, 2, late, NOW), None);
        sequence.release(1, 2, late, NOW);
        assert_eq!(send(&mut sequence, 3, &[2]), [None]);
    }

    #[test]
    fn after_a_crash_no_gap_is_made_up() {
        for (is_clean, expected) in [(true, Some(Disorder::Gap)), (false, None)] {
            let mut before = Sequence::new(10, 1000);
            send(&mut before, 1, &[1, 2]);
            let mut after = Sequence::new(10, 1000);
            after.restore(before.save(), is_clean);
            assert_eq!(after.save(), before.save());
            assert_eq!(send(&mut after, 1, &[1, 2]), [None, None], "the answer was lost in the crash");
            let late = Delivery { source: 9, turn: Turn::in_request(0) };
            assert_eq!(after.follow(1, 5, late, NOW), expected);
            after.release(1, 5, late, NOW);
            assert_eq!(send(&mut after, 2, &[5]), [expected]);
            assert_eq!(send(&mut after, 3, &[2, 9]), [Some(Disorder::Regress), Some(Disorder::Gap)]);
        }
    }

    proptest! {
        /// Against a model that keeps the highest number of each key.
        #[test]
        fn it_says_what_a_naive_model_says(
            events in proptest::collection::vec((0_u8..4, -3_i64..12, any::<bool>()), 0..150),
        ) {
            let (mut sequence, mut naive) = (Sequence::new(1000, 1000), BTreeMap::<u8, i64>::new());
            for (request, (key, number, is_forwarded)) in events.into_iter().enumerate() {
                let delivery = Delivery { source: request as u64 + 1, turn: Turn::in_request(0) };
                let found = sequence.follow(key.into(), number, delivery, NOW);
                let expected = match naive.get(&key) {
                    Some(high) if number <= *high => Some(Disorder::Regress),
                    Some(high) if number > high + 1 => Some(Disorder::Gap),
                    _ => None,
                };
                prop_assert_eq!(found, expected);
                if is_forwarded {
                    sequence.settle(key.into(), number, true, NOW);
                    let high = naive.entry(key).or_insert(number);
                    *high = number.max(*high);
                } else {
                    sequence.release(key.into(), number, delivery, NOW);
                }
            }
        }
    }
}
