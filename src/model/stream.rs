//! Streams as a Kinesis client sees them described.

use std::sync::Arc;

use super::{HashKey, HashKeyRange, Timestamp};

/// Everything `DescribeStream`, `DescribeStreamSummary` and `ListShards` say of a stream, shards included.
#[derive(Debug, Clone)]
pub struct StreamDescription {
    pub name: String,
    pub arn: String,
    /// `CREATING`, `DELETING`, `ACTIVE` or `UPDATING`.
    pub status: String,
    pub mode: StreamMode,
    pub distribution: Distribution,
    pub retention_hours: i32,
    pub created: Timestamp,
    /// `NONE` or `KMS`.
    pub encryption: String,
    pub key_id: Option<String>,
    pub consumer_count: i32,
    /// The largest record, data and partition key, in KiB: 1,024 unless the stream was widened (to at most 10,240).
    pub max_record_size_kib: u32,
    pub shards: Vec<Shard>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamMode {
    Provisioned,
    OnDemand,
}

/// What decides which shard a record goes to (`RecordDistributionStrategy`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Distribution {
    /// The hash of its partition key, or its explicit hash key.
    #[default]
    Key,
    /// The stream itself, whatever its keys (`AUTO`).
    Auto,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shard {
    pub id: Arc<str>,
    pub parent: Option<String>,
    pub adjacent_parent: Option<String>,
    pub range: HashKeyRange,
    pub starting_sequence_number: String,
    /// Present once the shard is closed.
    pub ending_sequence_number: Option<String>,
}

/// A shard that follows one which was split or merged, as `GetRecords` names it with the last records of the closed one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChildShard {
    pub id: String,
    pub parents: Vec<String>,
    pub range: HashKeyRange,
}

/// The open shards of a stream, to say where a key would have landed.
#[derive(Debug, Clone, Default)]
pub struct ShardMap {
    /// By where they start.
    open: Vec<(HashKeyRange, Arc<str>)>,
    /// Their names, sorted.
    names: Vec<Arc<str>>,
}

impl ShardMap {
    pub fn new(shards: &[Shard]) -> Self {
        let mut open: Vec<_> = shards
            .iter()
            .filter(|s| s.ending_sequence_number.is_none())
            .map(|s| (s.range, Arc::clone(&s.id)))
            .collect();
        open.sort_by_key(|(range, _)| range.start);
        let mut names: Vec<_> = open.iter().map(|(_, id)| Arc::clone(id)).collect();
        names.sort_unstable();
        Self { open, names }
    }

    /// Whether nothing is known of the stream's shards.
    pub const fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Whether it has an open shard of that name.
    pub fn has(&self, shard_id: &str) -> bool {
        self.names.binary_search_by(|name| (**name).cmp(shard_id)).is_ok()
    }

    /// The shard that owns `key`; `None` when the map has a hole there (a reshard is under way, or nothing is known).
    pub fn shard_of(&self, key: HashKey) -> Option<&Arc<str>> {
        let after = self.open.partition_point(|(range, _)| range.start <= key);
        let (range, id) = self.open.get(after.checked_sub(1)?)?;
        range.contains(key).then_some(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shard(id: &str, range: HashKeyRange, closed: bool) -> Shard {
        Shard {
            id: id.into(),
            parent: None,
            adjacent_parent: None,
            range,
            starting_sequence_number: "0".into(),
            ending_sequence_number: closed.then(|| "9".into()),
        }
    }

    #[test]
    fn a_key_lands_on_the_open_shard_that_owns_it() {
        let whole = HashKeyRange::divide(1).next().unwrap();
        let halves: Vec<_> = HashKeyRange::divide(2).collect();
        let map =
            ShardMap::new(&[shard("b", halves[1], false), shard("parent", whole, true), shard("a", halves[0], false)]);
        assert_eq!(map.shard_of(HashKey(0)).unwrap().as_ref(), "a");
        assert_eq!(map.shard_of(halves[1].start).unwrap().as_ref(), "b");
        assert_eq!(map.shard_of(HashKey(u128::MAX)).unwrap().as_ref(), "b");
        assert!(map.has("a") && map.has("b") && !map.has("parent"));
    }

    #[test]
    fn a_hole_is_nobodys() {
        let halves: Vec<_> = HashKeyRange::divide(2).collect();
        assert_eq!(ShardMap::new(&[shard("b", halves[1], false)]).shard_of(HashKey(1)), None);
        assert_eq!(ShardMap::default().shard_of(HashKey(1)), None);
    }
}
