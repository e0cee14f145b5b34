//! Counts by slots of time, of which the last few are kept.

use std::array;

use crate::model::Timestamp;

/// The last `N` slots of `EVERY` milliseconds each.
#[derive(Debug, Clone)]
pub(super) struct Ring<T, const N: usize, const EVERY: i64> {
    /// The number of the newest slot: milliseconds since the epoch, divided.
    newest: i64,
    /// Slot `n` is at `n` modulo `N`.
    slots: [T; N],
}

impl<T: Copy + Default, const N: usize, const EVERY: i64> Default for Ring<T, N, EVERY> {
    fn default() -> Self {
        Self { newest: 0, slots: [T::default(); N] }
    }
}

impl<T: Copy + Default, const N: usize, const EVERY: i64> Ring<T, N, EVERY> {
    /// The slot of this time, to be counted in. What is too old to be kept is forgotten.
    ///
    /// Of two batches that end together, the second may bring the earlier time: that is one slot back, and is taken. A clock that was
    /// put back further takes the slots after it away, since they would come a second time.
    pub(super) fn at(&mut self, now: Timestamp) -> &mut T {
        let number = number::<EVERY>(now);
        let forget = |ring: &mut Self, first: i64, last: i64| {
            let first = first.max(last.saturating_sub(N as i64 - 1));
            (first..=last).for_each(|number| ring.slots[place::<N>(number)] = T::default());
        };
        if number > self.newest {
            forget(self, self.newest.saturating_add(1), number);
            self.newest = number;
        } else if number < self.newest.saturating_sub(1) {
            forget(self, number.saturating_add(1), self.newest);
            // What is older than all that was kept has a slot that was something else's.
            if self.newest.saturating_sub(number) >= N as i64 {
                forget(self, number, number);
            }
            self.newest = number;
        }
        &mut self.slots[place::<N>(number)]
    }

    /// The slots up to this time, the newest last. The present one is not over.
    pub(super) fn until(&self, now: Timestamp) -> [T; N] {
        let last = number::<EVERY>(now);
        array::from_fn(|index| {
            let number = last.saturating_sub((N - 1 - index) as i64);
            let is_kept = number <= self.newest && number > self.newest.saturating_sub(N as i64);
            if is_kept { self.slots[place::<N>(number)] } else { T::default() }
        })
    }
}

fn number<const EVERY: i64>(now: Timestamp) -> i64 {
    now.millis().div_euclid(EVERY)
}

fn place<const N: usize>(number: i64) -> usize {
    usize::try_from(number.rem_euclid(N as i64)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Seconds = Ring<u32, 5, 1_000>;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    #[test]
    fn slots_roll() {
        let mut ring = Seconds::default();
        for second in 0..8 {
            *ring.at(at(second * 1_000 + 999)) += 1 + u32::try_from(second).unwrap();
        }
        assert_eq!(ring.until(at(7_000)), [4, 5, 6, 7, 8]);
        assert_eq!(ring.until(at(9_999)), [6, 7, 8, 0, 0], "time passes without events as well");
        assert_eq!(ring.until(at(60_000)), [0; 5]);
        *ring.at(at(100_000)) += 1;
        assert_eq!(ring.until(at(100_000)), [0, 0, 0, 0, 1], "a long silence leaves nothing of before");
    }

    #[test]
    fn a_clock_that_goes_back_takes_what_would_come_again() {
        let mut ring = Seconds::default();
        (0..5).for_each(|second| *ring.at(at(second * 1_000)) += 1);
        *ring.at(at(3_500)) += 10;
        assert_eq!(ring.until(at(4_000)), [1, 1, 1, 11, 1], "a batch that ended a little earlier");
        *ring.at(at(1_000)) += 10;
        assert_eq!(ring.until(at(1_000)), [0, 0, 0, 1, 11]);
        assert_eq!(ring.until(at(4_000)), [1, 11, 0, 0, 0]);
        *ring.at(at(-3_600_000)) += 7;
        assert_eq!(ring.until(at(-3_600_000)), [0, 0, 0, 0, 7]);
        assert_eq!(ring.until(at(4_000)), [0; 5]);
    }

    proptest! {
        /// Against a list of all that was counted.
        #[test]
        fn what_was_counted_lately_is_there(steps in prop::collection::vec(0_i64..3_000, 1..60)) {
            let (mut ring, mut all, mut now) = (Seconds::default(), Vec::new(), 0);
            for step in steps {
                now += step;
                *ring.at(at(now)) += 1;
                all.push(now / 1_000);
                let kept: u32 = ring.until(at(now)).iter().sum();
                let expected = all.iter().filter(|second| **second > now / 1_000 - 5).count();
                prop_assert_eq!(kept as usize, expected);
            }
        }

        #[test]
        fn no_time_panics(times in prop::collection::vec(any::<i64>(), 1..20)) {
            let mut ring = Seconds::default();
            for time in times {
                *ring.at(at(time)) += 1;
                let kept: u32 = ring.until(at(time)).iter().sum();
                prop_assert!(kept >= 1);
            }
        }
    }
}
