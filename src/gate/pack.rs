//! Puts the good records of containers together again. No IO.
//!
//! What came in one container of the Kinesis Producer Library (`decode::kpl`) leaves in as few as are safe. A container reaches one shard,
//! by its own key, and the KCL drops all of it silently when one of its records belongs to another (`AggregatorUtil.java`: the hash of each
//! is compared with the shard's range). So:
//!
//! * a container goes as it came, byte for byte, only when all its records go, and their hashes and its own lie in one open shard;
//! * otherwise its records are put together by the shard they lie in, in their order, with the keys they had;
//! * what would be alone in a container, or lies where no open shard is known, goes as a record of its own.
//!
//! Records that share a key share a hash and so a container, or follow one another in containers for one shard: their order is kept.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use crate::decode::kpl::{Builder, UserRecord};
use crate::model::{Container, Record, ShardMap};

/// The partition key of a container, as the library writes it: its explicit hash key says where it goes.
const CONTAINER_KEY: &str = "a";

/// What is put as one record.
#[derive(Debug)]
pub struct Put<'r> {
    pub record: Cow<'r, Record>,
    /// The records it brings: indices into the batch, ascending.
    pub brings: Vec<usize>,
    /// Of a container: the shard that all its records lie in.
    pub shard: Option<Arc<str>>,
}

/// Records of one container that go together.
struct Group<'r> {
    /// `None` where no open shard is known: it holds one record.
    shard: Option<Arc<str>>,
    builder: Builder<'r>,
    parts: Vec<usize>,
}

/// Puts a batch's records together. Those of one container stand together in it, in their order. `record_bytes_max` is what the stream takes
/// of one record: data and partition key, bytes.
pub fn pack<'r>(records: &[&'r Record], shards: &ShardMap, record_bytes_max: usize) -> Vec<Put<'r>> {
    let mut puts = Vec::new();
    let mut start = 0;
    for run in records.chunk_by(|one, next| is_of_one_container(one, next)) {
        match &run[0].part_of {
            None => puts.push(alone(run[0], start)),
            Some(part_of) => pack_run(&mut puts, start, run, &part_of.container, (shards, record_bytes_max)),
        }
        start += run.len();
    }
    puts
}

fn is_of_one_container(one: &Record, next: &Record) -> bool {
    match (&one.part_of, &next.part_of) {
        (Some(one), Some(next)) => Arc::ptr_eq(&one.container, &next.container),
        _ => false,
    }
}

fn alone(record: &Record, index: usize) -> Put<'_> {
    Put { record: Cow::Borrowed(record), brings: vec![index], shard: None }
}

/// Packs records of one container; the first is the batch's record `start`.
fn pack_run<'r>(
    puts: &mut Vec<Put<'r>>,
    start: usize,
    run: &[&'r Record],
    container: &Container,
    (shards, record_bytes_max): (&ShardMap, usize),
) {
    let places: Vec<_> = run.iter().map(|record| shards.shard_of(record.hash_key())).collect();
    if let Some((record, shard)) = as_it_came(run, container, &places, (shards, record_bytes_max)) {
        let brings = (start..start + run.len()).collect();
        return puts.push(Put { record: Cow::Owned(record), brings, shard: Some(shard) });
    }
    let mut groups: Vec<Group<'r>> = Vec::new();
    // By shard, the group that still takes records.
    let mut open: HashMap<&str, usize> = HashMap::new();
    for (index, (&record, shard)) in run.iter().zip(&places).enumerate() {
        let part = user_record(record);
        let last = shard.and_then(|shard| open.get(&**shard)).map(|&group| &mut groups[group]);
        let fits = |group: &&mut Group<'_>| {
            let size = group.builder.size_with(part);
            size + CONTAINER_KEY.len() <= record_bytes_max && size <= container.data.len()
        };
        if let Some(group) = last.filter(fits) {
            group.builder.add(part);
            group.parts.push(index);
            continue;
        }
        let mut builder = Builder::default();
        builder.add(part);
        if let Some(shard) = shard {
            open.insert(shard, groups.len());
        }
        groups.push(Group { shard: shard.cloned(), builder, parts: vec![index] });
    }
    puts.extend(groups.into_iter().map(|group| put_together(group, start, run)));
}

/// The container itself and its shard, where it may go as it came.
fn as_it_came(
    run: &[&Record],
    container: &Container,
    places: &[Option<&Arc<str>>],
    (shards, record_bytes_max): (&ShardMap, usize),
) -> Option<(Record, Arc<str>)> {
    let is_whole = run.len() == container.parts
        && run.iter().enumerate().all(|(index, record)| record.part_of.as_ref().is_some_and(|p| p.index == index));
    container.partition_key.as_ref().filter(|_| is_whole)?;
    let record = Record {
        data: container.data.clone(),
        encoded: container.encoded.clone(),
        partition_key: container.partition_key.clone(),
        explicit_hash_key: container.explicit_hash_key.clone(),
        part_of: None,
        ..run[0].clone()
    };
    let shard = shards.shard_of(record.hash_key())?;
    let is_safe = record.size() <= record_bytes_max && places.iter().all(|place| *place == Some(shard));
    is_safe.then(|| (record, Arc::clone(shard)))
}

fn put_together<'r>(group: Group<'r>, start: usize, run: &[&'r Record]) -> Put<'r> {
    let Group { shard, builder, parts } = group;
    let first = run[parts[0]];
    if parts.len() == 1 {
        return alone(first, start + parts[0]);
    }
    let record = Record {
        data: builder.build().into(),
        encoded: None,
        partition_key: Some(CONTAINER_KEY.to_owned()),
        explicit_hash_key: Some(first.hash_key().to_string()),
        part_of: None,
        ..first.clone()
    };
    Put { record: Cow::Owned(record), brings: parts.into_iter().map(|part| start + part).collect(), shard }
}

fn user_record(record: &Record) -> UserRecord<'_> {
    UserRecord {
        // A container's records have one each.
        partition_key: record.partition_key.as_deref().unwrap_or_default(),
        explicit_hash_key: record.explicit_hash_key.as_deref(),
        data: &record.data,
    }
}

#[cfg(test)]
mod tests;
