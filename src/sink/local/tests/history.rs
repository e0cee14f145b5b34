//! Random histories of puts and restarts, read back in every way, against a list.

use std::collections::BTreeMap;
use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::model::HashKeyRange;
use crate::port::StoredRecord;

/// One call of a random history. Small alphabets, so that streams, keys and shards collide.
#[derive(Debug, Clone)]
enum Call {
    Put { stream: usize, records: Vec<(u8, Option<u128>, i64)> },
    Reopen,
}

fn calls() -> impl Strategy<Value = Vec<Call>> {
    let hash_key = proptest::option::of(prop_oneof![Just(0), Just(u128::MAX), any::<u128>()]);
    let records = proptest::collection::vec((any::<u8>(), hash_key, 0..20_i64), 0..6);
    let call = prop_oneof![
        8 => (0..2_usize, records).prop_map(|(stream, records)| Call::Put { stream, records }),
        1 => Just(Call::Reopen),
    ];
    proptest::collection::vec(call, 1..12)
}

/// What a naive store would hold: a plain list, filtered.
#[derive(Debug, Clone, PartialEq)]
struct Kept {
    shard: usize,
    sequence_number: String,
    data: Vec<u8>,
    key: String,
    arrived: i64,
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn the_store_agrees_with_a_list(calls in calls(), shards in 1..4_u32, limit in 1..5_usize, time in 0..21_i64) {
        let (_folder, path) = folder();
        let options = LocalOptions { shards_per_stream: shards, ..LocalOptions::default() };
        let ranges: Vec<HashKeyRange> = HashKeyRange::divide(shards).collect();
        let mut model: BTreeMap<String, Vec<Kept>> = BTreeMap::new();
        run(async {
            let mut store = Store::open(&path, options.clone()).unwrap();
            for (number, call) in calls.into_iter().enumerate() {
                let Call::Put { stream, records } = call else {
                    drop(store);
                    store = Store::open(&path, options.clone()).unwrap();
                    continue;
                };
                let name = format!("stream-{stream}");
                let sent: Vec<Record> = records.iter().enumerate().map(|(index, (key, hash_key, arrived))| Record {
                    explicit_hash_key: hash_key.map(|k| k.to_string()),
                    ..record(format!("{number}/{index}").as_bytes(), Some(&format!("key-{key}")), *arrived)
                }).collect();
                let answers = store.put(&name, &sent.iter().collect::<Vec<_>>()).await;
                assert_eq!(answers.len(), sent.len());
                for (sent, answer) in sent.iter().zip(answers) {
                    let placement = answer.unwrap();
                    let key = sent.partition_key.clone().unwrap();
                    let hash_key = sent.explicit_hash_key.as_deref().map_or_else(
                        || HashKey::of_partition_key(&key), |text| HashKey::parse_explicit(text).unwrap());
                    let shard = ranges.iter().position(|range| range.contains(hash_key)).unwrap();
                    assert_eq!(&*placement.shard_id, format!("shardId-{shard:012}"));
                    let kept = model.entry(name.clone()).or_default();
                    let before = kept.last().map_or("", |k| &k.sequence_number);
                    assert!(placement.sequence_number.len() == 56 && *placement.sequence_number > *before);
                    kept.push(Kept {
                        shard, key, sequence_number: placement.sequence_number,
                        data: sent.data.to_vec(), arrived: sent.arrived.millis(),
                    });
                }
            }
            assert_eq!(store.list_streams().await.unwrap(), model.keys().cloned().collect::<Vec<_>>());
            for (name, kept) in &model {
                for shard in 0..shards as usize {
                    let expected: Vec<&Kept> = kept.iter().filter(|k| k.shard == shard).collect();
                    compare(&store, name, shard, &expected, limit, time).await;
                }
                compare_across_shards(&path, name, kept, limit, time);
            }
        });
    }
}

/// Every iterator type, against the same question to the list.
async fn compare(store: &Store, stream: &str, shard: usize, expected: &[&Kept], limit: usize, time: i64) {
    let id = format!("shardId-{shard:012}");
    let read = async |start| {
        let records = read_all(store, stream, &id, start, limit).await;
        let kept = |r: StoredRecord| Kept {
            shard,
            sequence_number: r.sequence_number,
            data: r.data.to_vec(),
            key: r.partition_key,
            arrived: r.arrived.millis(),
        };
        records.into_iter().map(kept).collect::<Vec<_>>()
    };
    let from = |position: usize| expected[position..].iter().map(|k| (*k).clone()).collect::<Vec<_>>();
    assert_eq!(read(ReadFrom::TrimHorizon).await, from(0));
    assert_eq!(read(ReadFrom::Latest).await, from(expected.len()));
    let since = expected.iter().position(|k| k.arrived >= time).unwrap_or(expected.len());
    assert_eq!(read(ReadFrom::AtTimestamp(Timestamp::from_millis(time))).await, from(since));
    for (position, kept) in expected.iter().enumerate() {
        assert_eq!(read(ReadFrom::AtSequence(&kept.sequence_number)).await, from(position));
        assert_eq!(read(ReadFrom::AfterSequence(&kept.sequence_number)).await, from(position + 1));
    }
}

/// What `tail` sees from another connection: all shards, in the order of arrival.
fn compare_across_shards(path: &Path, name: &str, kept: &[Kept], limit: usize, time: i64) {
    let reader = Reader::open(path).unwrap();
    let stream = reader.stream(name).unwrap().unwrap();
    let all: Vec<u32> = (0..).take(stream.shards().len()).collect();
    let data = |ids: Vec<i64>| -> Vec<Vec<u8>> {
        ids.into_iter().map(|id| reader.record(id).unwrap().unwrap().record.data.to_vec()).collect()
    };
    let expected: Vec<Vec<u8>> = kept.iter().map(|k| k.data.clone()).collect();
    let tip = reader.tip().unwrap();
    assert_eq!(data(reader.ids_from(&stream, &all, 0, usize::MAX).unwrap()), expected);
    let some = limit.min(expected.len());
    assert_eq!(data(reader.ids_from(&stream, &all, 0, limit).unwrap()), expected[..some]);
    assert_eq!(data(reader.last_ids(&stream, &all, tip, limit).unwrap()), expected[expected.len() - some..]);
    let since = reader.first_since(&stream, &all, Timestamp::from_millis(time)).unwrap();
    let found = since.map(|id| reader.record(id).unwrap().unwrap().record.data.to_vec());
    assert_eq!(found, kept.iter().find(|k| k.arrived >= time).map(|k| k.data.clone()));
}
