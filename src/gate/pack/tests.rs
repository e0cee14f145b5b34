use proptest::prelude::*;

use super::*;
use crate::decode::kpl;
use crate::model::{HashKeyRange, PartOf, Shard, Timestamp};

fn shards(count: u32, closed: &[usize]) -> (ShardMap, Vec<(Arc<str>, HashKeyRange)>) {
    let all: Vec<Shard> = HashKeyRange::divide(count)
        .enumerate()
        .map(|(index, range)| Shard {
            id: format!("shard-{index}").into(),
            parent: None,
            adjacent_parent: None,
            range,
            starting_sequence_number: "0".into(),
            ending_sequence_number: closed.contains(&index).then(|| "9".into()),
        })
        .collect();
    let open = all.iter().filter(|shard| shard.ending_sequence_number.is_none());
    let ranges = open.map(|shard| (Arc::clone(&shard.id), shard.range)).collect();
    (ShardMap::new(&all), ranges)
}

fn plain(key: &str) -> Record {
    Record { partition_key: Some(key.to_owned()), ..Record::new(&b"{}"[..], "s".into(), Timestamp::default()) }
}

/// The records of a container with these keys (a hash key may follow one, after a colon), and this key of its own.
fn contained(outer: &str, keys: &[String]) -> Vec<Record> {
    let mut builder = Builder::default();
    let data: Vec<String> = (0..keys.len()).map(|index| format!("{{\"n\":{index}}}")).collect();
    let of = |key: &str| {
        let (key, hash) = key.split_once(':').map_or((key, None), |(key, hash)| (key, Some(hash)));
        (key.to_owned(), hash.map(str::to_owned))
    };
    let keys: Vec<_> = keys.iter().map(|key| of(key)).collect();
    for ((partition_key, hash), data) in keys.iter().zip(&data) {
        builder.add(UserRecord { partition_key, explicit_hash_key: hash.as_deref(), data: data.as_bytes() });
    }
    let (partition_key, explicit_hash_key) = of(outer);
    let container = Arc::new(Container {
        data: builder.build().into(),
        encoded: None,
        partition_key: Some(partition_key),
        explicit_hash_key,
        parts: keys.len(),
    });
    let part = |(index, ((key, hash), data)): (usize, ((String, Option<String>), String))| Record {
        partition_key: Some(key),
        explicit_hash_key: hash,
        part_of: Some(PartOf { container: Arc::clone(&container), index }),
        ..Record::new(data, "s".into(), Timestamp::default())
    };
    keys.into_iter().zip(data).enumerate().map(part).collect()
}

fn strings(keys: &[&str]) -> Vec<String> {
    keys.iter().map(|key| (*key).to_owned()).collect()
}

/// Below and above the middle of the ring.
const LOW: &str = "a:1";
const HIGH: &str = "a:340282366920938463463374607431768211455";

fn told(puts: &[Put<'_>]) -> Vec<(Vec<usize>, Option<String>)> {
    puts.iter().map(|put| (put.brings.clone(), put.shard.as_ref().map(ToString::to_string))).collect()
}

#[test]
fn a_whole_container_of_one_shard_goes_as_it_came() {
    let (map, _) = shards(2, &[]);
    let records = contained("k:7", &strings(&[LOW, LOW, "b:3"]));
    let records: Vec<&Record> = records.iter().collect();
    let puts = pack(&records, &map, 1 << 20);
    assert_eq!(told(&puts), [(vec![0, 1, 2], Some("shard-0".into()))]);
    let container = &records[0].part_of.as_ref().unwrap().container;
    let put = &*puts[0].record;
    assert_eq!(
        (&put.data, put.partition_key.as_deref(), put.explicit_hash_key.as_deref()),
        (&container.data, Some("k"), Some("7"))
    );

    // Beyond what the stream takes, or on its way to another shard than its records', it does not.
    assert_eq!(pack(&records, &map, container.data.len()).len(), 2);
    let elsewhere = contained(HIGH, &strings(&[LOW, LOW]));
    let elsewhere: Vec<&Record> = elsewhere.iter().collect();
    let puts = pack(&elsewhere, &map, 1 << 20);
    assert_eq!(told(&puts), [(vec![0, 1], Some("shard-0".into()))]);
    assert_eq!(
        (puts[0].record.partition_key.as_deref(), puts[0].record.explicit_hash_key.as_deref()),
        (Some("a"), Some("1"))
    );
}

#[test]
fn what_is_left_of_a_container_goes_by_shard_and_one_goes_alone() {
    let (map, _) = shards(2, &[]);
    let records = contained(LOW, &strings(&[LOW, HIGH, LOW, "b:5", LOW]));
    let plain = plain("k");
    let good: Vec<&Record> = vec![&records[0], &records[1], &records[2], &records[4], &plain];
    let puts = pack(&good, &map, 1 << 20);
    assert_eq!(told(&puts), [(vec![0, 2, 3], Some("shard-0".into())), (vec![1], None), (vec![4], None)]);
    assert!(std::ptr::eq(&*puts[1].record, good[1]), "with its own keys and bytes");
}

#[test]
fn where_no_open_shard_is_known_each_goes_alone() {
    let records = contained(LOW, &strings(&[LOW, LOW, HIGH, HIGH]));
    let records: Vec<&Record> = records.iter().collect();
    assert!(pack(&records, &ShardMap::default(), 1 << 20).iter().all(|put| put.shard.is_none()));
    let (map, _) = shards(2, &[0]);
    let puts = pack(&records, &map, 1 << 20);
    assert_eq!(told(&puts), [(vec![0], None), (vec![1], None), (vec![2, 3], Some("shard-1".into()))]);
}

/// A batch: containers, of which some records are missing, among plain records.
fn batches() -> impl Strategy<Value = Vec<Vec<(Record, bool)>>> {
    let key = prop_oneof![4 => "[a-f]", 1 => "[ab]:[1-9]", 1 => "[ab]:2[0-9]{38}"];
    let container =
        ("[a-d](:[0-9])?", proptest::collection::vec((key, proptest::bool::weighted(0.8)), 1..12), any::<bool>());
    let container = container.prop_map(|(outer, parts, whole)| {
        let keys: Vec<String> = parts.iter().map(|(key, _)| key.clone()).collect();
        let kept = parts.into_iter().map(|(_, kept)| kept || whole);
        contained(&outer, &keys).into_iter().zip(kept).collect::<Vec<_>>()
    });
    let plain = "[a-f]".prop_map(|key| vec![(plain(&key), true)]);
    proptest::collection::vec(prop_oneof![3 => container, 1 => plain], 0..6)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn nothing_is_lost_no_container_straddles_and_order_is_kept(
        batch in batches(),
        count in 1..6_u32,
        closed in proptest::collection::vec(0..6_usize, 0..2),
        limit in prop_oneof![Just(1_usize << 20), 60..200_usize],
    ) {
        let (map, open) = shards(count, &closed);
        let records: Vec<&Record> = batch.iter().flatten().filter(|(_, kept)| *kept).map(|(record, _)| record).collect();
        let puts = pack(&records, &map, limit);

        let mut brought: Vec<usize> = puts.iter().flat_map(|put| put.brings.clone()).collect();
        let mut last = HashMap::new();
        for &index in &brought {
            let before = last.insert(records[index].hash_key(), index);
            prop_assert!(before.is_none_or(|before| before < index), "{} after {:?}", index, before);
        }
        brought.sort_unstable();
        prop_assert_eq!(brought, (0..records.len()).collect::<Vec<_>>());

        for put in &puts {
            let Some(shard) = &put.shard else {
                prop_assert!(put.brings.len() == 1 && std::ptr::eq(&*put.record, records[put.brings[0]]));
                continue;
            };
            let range = open.iter().find(|(id, _)| id == shard).unwrap().1;
            prop_assert!(range.contains(put.record.hash_key()), "it goes where it is meant to");
            prop_assert!(put.record.size() <= limit);
            prop_assert!(put.record.part_of.is_none());
            let parts = kpl::parse(&put.record.data).unwrap().unwrap();
            let original = &records[put.brings[0]].part_of.as_ref().unwrap().container;
            prop_assert!(put.record.data.len() <= original.data.len());
            let expected: Vec<_> = put.brings.iter().map(|&index| user_record(records[index])).collect();
            prop_assert_eq!(parts, expected);
            for &index in &put.brings {
                prop_assert!(range.contains(records[index].hash_key()), "a container straddles");
                prop_assert!(Arc::ptr_eq(&records[index].part_of.as_ref().unwrap().container, original));
            }
        }
    }

    /// And only those: the property above holds for whatever carries its bytes.
    #[test]
    fn whole_containers_of_one_shard_are_not_touched(batch in batches(), count in 1..4_u32) {
        let (map, _) = shards(count, &[]);
        for parts in batch.iter().filter(|parts| parts[0].0.part_of.is_some()) {
            let records: Vec<&Record> = parts.iter().filter(|(_, kept)| *kept).map(|(record, _)| record).collect();
            let container = Arc::clone(&parts[0].0.part_of.as_ref().unwrap().container);
            let outer = Record { explicit_hash_key: container.explicit_hash_key.clone(), ..plain(container.partition_key.as_ref().unwrap()) };
            let shard = map.shard_of(outer.hash_key());
            let together = records.iter().all(|record| map.shard_of(record.hash_key()) == shard);
            let puts = pack(&records, &map, 1 << 20);
            let is_whole = records.len() == parts.len() && together;
            let untouched = puts.len() == 1
                && puts[0].record.data == container.data
                && puts[0].record.partition_key == container.partition_key
                && puts[0].record.explicit_hash_key == container.explicit_hash_key;
            // One that lost records, or goes to another shard, has other bytes or another key.
            prop_assert!(!is_whole || untouched);
            prop_assert!(!untouched || records.len() == parts.len());
        }
    }
}
