//! The streams of a store and their shards. Streams are only ever created, so what is in memory is never stale.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use super::sequence::sequence_number;
use crate::model::{Distribution, HashKey, HashKeyRange, Shard, StreamDescription, StreamMode, Timestamp};

/// Every local stream's ARN ends with its name. The account and region say that it is no AWS stream.
const ARN_PREFIX: &str = "arn:aws:kinesis:local:000000000000:stream/";

/// Nothing is expired yet; clients are told the longest retention Kinesis has: 365 days.
const RETENTION_HOURS: i32 = 8_760;

/// One mesh stream: its row, and the shards its ring was divided into when it was created.
#[derive(Debug)]
pub struct Stream {
    pub(super) id: i64,
    pub name: String,
    pub created: Timestamp,
    shards: Vec<Shard>,
}

impl Stream {
    pub(super) fn new(id: i64, name: String, created: Timestamp, shards: u32) -> Self {
        let shards = HashKeyRange::divide(shards)
            .enumerate()
            .map(|(index, range)| Shard {
                id: format!("shardId-{index:012}").into(),
                parent: None,
                adjacent_parent: None,
                range,
                starting_sequence_number: sequence_number(0),
                ending_sequence_number: None,
            })
            .collect();
        Self { id, name, created, shards }
    }

    /// The shards in the order of their hash key ranges, which is the order of their ids. Never empty.
    pub fn shards(&self) -> &[Shard] {
        &self.shards
    }

    /// The index of the shard that owns `key`.
    pub(super) fn shard_of(&self, key: HashKey) -> u32 {
        let after = self.shards.partition_point(|shard| shard.range.start <= key);
        // A stream has no more shards than a u32 can count, as it was created from one.
        u32::try_from(after).unwrap_or(u32::MAX).saturating_sub(1)
    }

    /// The index of the shard with this id.
    pub fn shard_index(&self, shard_id: &str) -> Option<u32> {
        self.shards.iter().zip(0..).find(|(shard, _)| &*shard.id == shard_id).map(|(_, index)| index)
    }

    /// The id of the shard with this index; `None` when the stream has no such shard.
    pub fn shard_id(&self, index: u32) -> Option<&Arc<str>> {
        Some(&self.shards.get(usize::try_from(index).ok()?)?.id)
    }

    pub(super) fn describe(&self, max_record_size_kib: u32) -> StreamDescription {
        StreamDescription {
            name: self.name.clone(),
            arn: format!("{ARN_PREFIX}{}", self.name),
            status: "ACTIVE".to_owned(),
            mode: StreamMode::Provisioned,
            distribution: Distribution::Key,
            retention_hours: RETENTION_HOURS,
            created: self.created,
            encryption: "NONE".to_owned(),
            key_id: None,
            consumer_count: 0,
            max_record_size_kib,
            shards: self.shards.clone(),
        }
    }
}

/// Whether Kinesis would take this as a stream's name: 1–128 of `[a-zA-Z0-9_.-]` (API reference, `StreamName`).
pub(super) fn is_stream_name(name: &str) -> bool {
    (1..=128).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

/// The committed streams, shared between the writer, which adds to them, and everyone who asks.
#[derive(Debug, Default)]
pub(super) struct Registry(RwLock<BTreeMap<String, Arc<Stream>>>);

impl Registry {
    pub(super) fn new(streams: Vec<Stream>) -> Self {
        Self(RwLock::new(streams.into_iter().map(|s| (s.name.clone(), Arc::new(s))).collect()))
    }

    pub(super) fn get(&self, name: &str) -> Option<Arc<Stream>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }

    pub(super) fn len(&self) -> usize {
        self.0.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    pub(super) fn replace(&self, streams: Vec<Stream>) {
        let streams = streams.into_iter().map(|stream| (stream.name.clone(), Arc::new(stream))).collect();
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = streams;
    }

    pub(super) fn add(&self, streams: BTreeMap<String, Arc<Stream>>) {
        if !streams.is_empty() {
            self.0.write().unwrap_or_else(PoisonError::into_inner).extend(streams);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_lands_where_the_described_ranges_say() {
        for count in [1, 2, 4, 7] {
            let stream = Stream::new(1, "s".into(), Timestamp::default(), count);
            for key in [0, 1, u128::MAX / 2, u128::MAX / 2 + 1, u128::MAX - 1, u128::MAX].map(HashKey) {
                assert!(
                    stream.shards()[stream.shard_of(key) as usize].range.contains(key),
                    "{count} shards, key {key}"
                );
            }
        }
    }

    #[test]
    fn names_follow_kinesis() {
        assert!(is_stream_name("orders-v1.raw_2") && is_stream_name(&"a".repeat(128)));
        for bad in ["", "a b", "a/b", "é", "a\n", &"a".repeat(129)] {
            assert!(!is_stream_name(bad), "{bad:?}");
        }
    }
}
