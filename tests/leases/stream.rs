//! A stream whose shards are split and merged. A shard gets a record each [`RECORD_MS`].

use std::collections::BTreeMap;

use meshgate::model::{ChildShard, HashKey, HashKeyRange, Shard};

pub const RECORD_MS: u64 = 500;

pub struct SimShard {
    pub shard: Shard,
    pub opened_at: u64,
    pub closed_at: Option<u64>,
    pub children: Vec<ChildShard>,
    /// No longer listed, since its records have expired.
    pub expired: bool,
    /// All records up to this number have been settled by somebody.
    pub settled: u64,
}

impl SimShard {
    /// Records it has by then.
    pub fn records(&self, now: u64) -> u64 {
        self.closed_at.unwrap_or(now).min(now).saturating_sub(self.opened_at) / RECORD_MS
    }
}

#[derive(Default)]
pub struct Stream {
    pub shards: BTreeMap<String, SimShard>,
}

impl Stream {
    pub fn new(count: u32) -> Self {
        let mut stream = Self::default();
        for range in HashKeyRange::divide(count) {
            stream.open(range, &[], 0);
        }
        stream
    }

    fn open(&mut self, range: HashKeyRange, parents: &[&str], now: u64) -> ChildShard {
        let id = format!("shardId-{:012}", self.shards.len());
        let shard = Shard {
            id: id.as_str().into(),
            parent: parents.first().map(|&id| id.into()),
            adjacent_parent: parents.get(1).map(|&id| id.into()),
            range,
            starting_sequence_number: "0".into(),
            ending_sequence_number: None,
        };
        let new = SimShard { shard, opened_at: now, closed_at: None, children: vec![], expired: false, settled: 0 };
        self.shards.insert(id.clone(), new);
        ChildShard { id, parents: parents.iter().map(|&id| id.into()).collect(), range }
    }

    fn close(&mut self, id: &str, children: &[ChildShard], now: u64) {
        let shard = self.shards.get_mut(id).expect("a shard that was listed");
        shard.closed_at = Some(now);
        shard.shard.ending_sequence_number = Some("9".into());
        shard.children = children.to_vec();
    }

    /// The open shards, in the order of their hash keys.
    pub fn open_shards(&self) -> Vec<(HashKeyRange, String)> {
        let open = self.shards.iter().filter(|(_, shard)| shard.closed_at.is_none());
        let mut open: Vec<_> = open.map(|(id, shard)| (shard.shard.range, id.clone())).collect();
        open.sort_by_key(|(range, _)| range.start);
        open
    }

    pub fn split(&mut self, id: &str, now: u64) {
        let HashKeyRange { start, end } = self.shards[id].shard.range;
        let middle = start.0 + (end.0 - start.0) / 2;
        let halves = [HashKeyRange { start, end: HashKey(middle) }, HashKeyRange { start: HashKey(middle + 1), end }];
        let children = halves.map(|range| self.open(range, &[id], now));
        self.close(id, &children, now);
    }

    pub fn merge(&mut self, left: &str, right: &str, now: u64) {
        let range =
            HashKeyRange { start: self.shards[left].shard.range.start, end: self.shards[right].shard.range.end };
        let child = [self.open(range, &[left, right], now)];
        self.close(left, &child, now);
        self.close(right, &child, now);
    }

    pub fn listed(&self) -> Vec<Shard> {
        self.shards.values().filter(|shard| !shard.expired).map(|shard| shard.shard.clone()).collect()
    }
}
