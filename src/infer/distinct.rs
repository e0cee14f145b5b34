//! How many different values there are, and whether any came twice, in bounded memory.

use std::collections::HashSet;
use std::hash::{BuildHasherDefault, DefaultHasher, Hash, Hasher as _};

/// How many different values of one path are counted once one of them has come twice.
pub const DISTINCT_MAX: usize = 1_000;

/// Among how many values of one path it is told whether all are different.
pub const UNIQUE_MAX: usize = 100_000;

/// Values of one path, as hashes of 64 bits without a random seed. Two values with one hash would count as one: a path may
/// then wrongly be called repeated, never wrongly unique.
#[derive(Debug, Default)]
pub(super) struct Distinct {
    hashes: HashSet<u64, BuildHasherDefault<DefaultHasher>>,
    /// How many there were when they became too many to keep.
    given_up_at: Option<usize>,
    has_repeated: bool,
}

impl Distinct {
    /// `room` is how many hashes all paths together may still keep.
    pub fn add(&mut self, value: &impl Hash, room: &mut usize) {
        if self.given_up_at.is_some() {
            return;
        }
        let mut hasher = DefaultHasher::new();
        value.hash(&mut hasher);
        let hash = hasher.finish();
        if self.hashes.contains(&hash) {
            self.has_repeated = true;
        } else if *room > 0 {
            self.hashes.insert(hash);
            *room -= 1;
        } else {
            self.give_up(room);
            return;
        }
        let most = if self.has_repeated { DISTINCT_MAX } else { UNIQUE_MAX };
        if self.hashes.len() > most {
            self.give_up(room);
        }
    }

    fn give_up(&mut self, room: &mut usize) {
        self.given_up_at = Some(self.hashes.len());
        *room += self.hashes.len();
        self.hashes = HashSet::default();
    }

    /// How many different values there are at least; exactly so many where [`Self::is_exact`].
    pub fn count(&self) -> usize {
        self.given_up_at.unwrap_or(self.hashes.len())
    }

    pub fn is_exact(&self) -> bool {
        self.given_up_at.is_none()
    }

    /// Whether it is certain that no value came twice.
    pub fn is_unique(&self) -> bool {
        self.is_exact() && !self.has_repeated
    }

    /// Whether no value came twice among those that were kept before they became too many.
    pub fn was_unique_as_far_as_known(&self) -> bool {
        !self.is_exact() && !self.has_repeated
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_counted_up_to_the_bound() {
        let (mut distinct, mut room) = (Distinct::default(), 1_000_000);
        (0..1_000).for_each(|n| distinct.add(&n, &mut room));
        assert!(distinct.is_unique() && distinct.count() == 1_000 && room == 999_000);
        distinct.add(&7, &mut room);
        assert!(!distinct.is_unique() && distinct.is_exact());
        distinct.add(&1_000, &mut room);
        assert!(!distinct.is_exact() && distinct.count() == 1_001);
        assert_eq!(room, 1_000_000, "what is no longer kept is free for other paths");
    }

    #[test]
    fn without_room_nothing_is_claimed() {
        let (mut distinct, mut room) = (Distinct::default(), 2);
        (0..3).for_each(|n| distinct.add(&n, &mut room));
        assert!(!distinct.is_exact() && !distinct.is_unique() && distinct.was_unique_as_far_as_known());
        assert_eq!((distinct.count(), room), (2, 2));
    }
}
