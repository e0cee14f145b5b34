//! A bounded map whose entries expire: exact as long as nothing is evicted, and it counts what is.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};

use super::Key;
use crate::model::Timestamp;

/// How long an event may be under way after it was judged, in milliseconds, and more: so much later than its own time others may
/// have touched a key.
const LATE_MAX: i64 = 3_600_000;

/// How many entries are forgotten at once: a million that expire together must keep no event waiting.
const EXPIRED_AT_ONCE: usize = 4096;

/// Entries by key, each for `ttl` milliseconds after it was last touched. Over `limit` entries, those go first that were touched
/// longest ago, or nearly.
#[derive(Debug)]
pub(super) struct Keyed<V> {
    entries: HashMap<Key, Entry<V>, BuildHasherDefault<Uniform>>,
    /// In the order of their expiry, nearly: what was touched since it was queued is queued again when its turn comes, and what was
    /// removed is left out then.
    queue: VecDeque<Queued>,
    limit: usize,
    ttl: i64,
    serial: u32,
    evicted: u64,
    last_evicted: Option<Timestamp>,
}

#[derive(Debug)]
struct Entry<V> {
    value: V,
    touched: Timestamp,
    serial: u32,
}

#[derive(Debug, Clone, Copy)]
struct Queued {
    key: Key,
    touched: Timestamp,
    /// Of the entry it stands for.
    serial: u32,
}

/// Keys are cut from a cryptographic hash: any eight bytes of one are as good a hash as another.
#[derive(Debug, Default)]
pub(super) struct Uniform(u64);

impl Hasher for Uniform {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut eight = [0; 8];
            eight[..chunk.len()].copy_from_slice(chunk);
            self.0 ^= u64::from_le_bytes(eight);
        }
    }

    fn write_u128(&mut self, key: u128) {
        self.0 = key as u64;
    }

    fn write_u64(&mut self, key: u64) {
        self.0 = key;
    }
}

impl<V> Keyed<V> {
    /// `limit` is at least 1; `ttl` in milliseconds.
    pub(super) fn new(limit: usize, ttl: i64) -> Self {
        Self {
            entries: HashMap::default(),
            queue: VecDeque::new(),
            limit,
            ttl,
            serial: 0,
            evicted: 0,
            last_evicted: None,
        }
    }

    /// What is remembered of a key; `None` when nothing is, any more. What was touched far in the future was so before the clock was
    /// put right, and nobody knows when.
    pub(super) fn get(&mut self, key: Key, now: Timestamp) -> Option<&mut V> {
        let expired = self.ends_before(now);
        let believed = now.millis().saturating_add(self.ttl).saturating_add(LATE_MAX);
        let entry = self.entries.get_mut(&key)?;
        (entry.touched > expired && entry.touched.millis() <= believed).then_some(&mut entry.value)
    }

    /// Whether the key has not expired, whatever was done to the clock.
    pub(super) fn contains(&self, key: Key, now: Timestamp) -> bool {
        self.entries.get(&key).is_some_and(|entry| entry.touched > self.ends_before(now))
    }

    /// Remembers `value` from now on, whatever was remembered before.
    pub(super) fn insert(&mut self, key: Key, value: V, now: Timestamp) {
        self.expire(now);
        if self.entries.len() >= self.limit && !self.entries.contains_key(&key) {
            self.evict(now);
        }
        self.serial = self.serial.wrapping_add(1);
        let serial = self.serial;
        self.entries.insert(key, Entry { value, touched: now, serial });
        self.queue.push_back(Queued { key, touched: now, serial });
        if self.queue.len() > 2 * self.limit + 16 {
            let entries = &self.entries;
            self.queue.retain(|queued| entries.get(&queued.key).is_some_and(|e| e.serial == queued.serial));
        }
    }

    /// Remembers for another `ttl`.
    pub(super) fn touch(&mut self, key: Key, now: Timestamp) {
        if let Some(entry) = self.entries.get_mut(&key) {
            entry.touched = entry.touched.max(now);
        }
    }

    pub(super) fn remove(&mut self, key: Key) {
        self.entries.remove(&key);
    }

    /// Forgets what has expired, or a part of it.
    pub(super) fn expire(&mut self, now: Timestamp) {
        let expired = self.ends_before(now);
        for _ in 0..EXPIRED_AT_ONCE {
            let Some(first) = self.queue.front().copied().filter(|first| first.touched <= expired) else { break };
            self.queue.pop_front();
            match self.entries.get(&first.key) {
                Some(entry) if entry.serial == first.serial && entry.touched > expired => {
                    self.queue.push_back(Queued { touched: entry.touched, ..first });
                }
                Some(entry) if entry.serial == first.serial => drop(self.entries.remove(&first.key)),
                _ => {}
            }
        }
        // After a storm of keys, memory goes back to what the usual ones need.
        if self.entries.capacity() > 1024 && self.entries.len() < self.entries.capacity() / 8 {
            self.entries.shrink_to(2 * self.entries.len());
            self.queue.shrink_to(2 * self.queue.len());
        }
    }

    fn evict(&mut self, now: Timestamp) {
        let expired = self.ends_before(now);
        while let Some(first) = self.queue.pop_front() {
            match self.entries.get(&first.key) {
                Some(entry) if entry.serial == first.serial && entry.touched > first.touched => {
                    self.queue.push_back(Queued { touched: entry.touched, ..first });
                }
                Some(entry) if entry.serial == first.serial => {
                    self.entries.remove(&first.key);
                    if first.touched > expired {
                        self.evicted += 1;
                        self.last_evicted = self.last_evicted.max(Some(now));
                    }
                    return;
                }
                _ => {}
            }
        }
    }

    /// Entries touched then or before have expired.
    fn ends_before(&self, now: Timestamp) -> Timestamp {
        Timestamp::from_millis(now.millis().saturating_sub(self.ttl))
    }

    /// Whether nothing was evicted that would not have expired by now: what is not remembered was not there.
    pub(super) fn is_complete(&self, now: Timestamp) -> bool {
        self.last_evicted.is_none_or(|at| at <= self.ends_before(now))
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// About how much memory it takes, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.entries.capacity() * (size_of::<(Key, Entry<V>)>() + 1) + self.queue.capacity() * size_of::<Queued>()
    }

    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    pub(super) fn evicted(&self) -> u64 {
        self.evicted
    }

    /// For as long as they are remembered, in milliseconds.
    pub(super) fn ttl(&self) -> i64 {
        self.ttl
    }

    /// All entries with the time each was touched, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Key, Timestamp, &V)> {
        self.entries.iter().map(|(key, entry)| (*key, entry.touched, &entry.value))
    }

    /// Starts with what another, before it, has left: how many it evicted, and when last.
    pub(super) fn go_on(&mut self, evicted: u64, last_evicted: Option<Timestamp>) {
        self.evicted = self.evicted.saturating_add(evicted);
        self.last_evicted = self.last_evicted.max(last_evicted);
    }

    pub(super) fn last_evicted(&self) -> Option<Timestamp> {
        self.last_evicted
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    enum Step {
        Insert(u8),
        Touch(u8),
        Remove(u8),
        Get(u8),
    }

    fn steps() -> impl Strategy<Value = Vec<(i64, Step)>> {
        let step = (0_u8..4, 0_u8..12).prop_map(|(kind, key)| match kind {
            0 => Step::Insert(key),
            1 => Step::Touch(key),
            2 => Step::Remove(key),
            _ => Step::Get(key),
        });
        proptest::collection::vec((0_i64..8, step), 0..200)
    }

    #[test]
    fn what_expires_together_is_forgotten_in_parts_and_never_as_if_there_were_no_room() {
        let many = 2 * EXPIRED_AT_ONCE;
        let (mut keyed, later) = (Keyed::new(many, 20), Timestamp::from_millis(50));
        (0..many as u128).for_each(|key| keyed.insert(key, (), Timestamp::from_millis(0)));
        assert!(!keyed.contains(0, later) && keyed.get(0, later).is_none());
        keyed.expire(later);
        assert_eq!(keyed.len(), EXPIRED_AT_ONCE);
        (0..many as u128).for_each(|key| keyed.insert(many as u128 + key, (), later));
        assert_eq!((keyed.len(), keyed.evicted(), keyed.is_complete(later)), (many, 0, true));
    }

    #[test]
    fn what_is_far_in_the_future_is_not_believed() {
        let (mut keyed, day) = (Keyed::new(10, 20), 86_400_000);
        keyed.insert(1, (), Timestamp::from_millis(day));
        assert!(keyed.get(1, Timestamp::from_millis(day - 1000)).is_some(), "batches overtake each other");
        assert!(keyed.get(1, Timestamp::from_millis(0)).is_none());
        for extreme in [i64::MIN, i64::MAX, i64::MIN] {
            keyed.insert(2, (), Timestamp::from_millis(extreme));
            keyed.expire(Timestamp::from_millis(extreme));
        }
    }

    proptest! {
        /// With room for every key, it is a map of what was touched less than `ttl` ago.
        #[test]
        fn it_is_a_map_that_forgets(steps in steps()) {
            let (mut keyed, mut naive, mut now) = (Keyed::new(12, 20), BTreeMap::new(), 0);
            for (later, step) in steps {
                now += later;
                let at = Timestamp::from_millis(now);
                naive.retain(|_, (touched, _)| now - *touched < 20);
                match step {
                    Step::Insert(key) => {
                        keyed.insert(key.into(), now, at);
                        naive.insert(key, (now, now));
                    }
                    Step::Touch(key) => {
                        if naive.contains_key(&key) {
                            keyed.touch(key.into(), at);
                        }
                        naive.entry(key).and_modify(|(touched, _)| *touched = now);
                    }
                    Step::Remove(key) => {
                        keyed.remove(key.into());
                        naive.remove(&key);
                    }
                    Step::Get(key) => {
                        let found = keyed.get(key.into(), at).copied();
                        prop_assert_eq!(found, naive.get(&key).map(|(_, value)| *value));
                    }
                }
                keyed.expire(at);
                // What was touched may linger, behind what was queued when it was.
                prop_assert!(keyed.len() >= naive.len());
                prop_assert!(keyed.queue.len() <= 2 * 12 + 17);
            }
            prop_assert_eq!(keyed.evicted(), 0);
        }

        /// With less room, it never holds more than its limit, and says so when it forgot something early.
        #[test]
        fn it_is_bounded(steps in steps()) {
            let (mut keyed, mut naive, mut now) = (Keyed::new(5, 40), BTreeMap::new(), 0);
            for (later, step) in steps {
                now += later;
                let at = Timestamp::from_millis(now);
                naive.retain(|_, touched| now - *touched < 40);
                match step {
                    Step::Insert(key) => {
                        keyed.insert(key.into(), (), at);
                        naive.insert(key, now);
                    }
                    Step::Remove(key) => {
                        keyed.remove(key.into());
                        naive.remove(&key);
                    }
                    Step::Touch(key) | Step::Get(key) => {
                        let found = keyed.get(key.into(), at).is_some();
                        prop_assert!(!found || naive.contains_key(&key));
                        prop_assert!(found == naive.contains_key(&key) || !keyed.is_complete(at), "it knew it had forgotten");
                    }
                }
                prop_assert!(keyed.len() <= 5);
            }
        }
    }
}
