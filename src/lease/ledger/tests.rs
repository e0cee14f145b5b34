use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use super::*;
use crate::model::Timestamp;

const OPTIONS: LedgerOptions =
    LedgerOptions { batch_records: 3, batches_open: 2, by_key: false, retry_base_ms: 100, retry_cap_ms: 1_000 };

fn place(sequence: u64, sub_sequence: u64) -> Place {
    Place { sequence: sequence.to_string(), sub_sequence }
}

fn taken(sequence: u64, sub_sequence: u64, key: &str) -> Taken {
    let record = Record {
        partition_key: Some(key.to_owned()),
        ..Record::new(format!("{sequence}/{sub_sequence}"), "raw".into(), Timestamp::default())
    };
    Taken { place: place(sequence, sub_sequence), record: Some(record) }
}

fn settle(output: Option<Output>) -> (BatchId, Vec<String>) {
    match output {
        Some(Output::Settle { batch, records }) => {
            (batch, records.iter().map(|record| String::from_utf8_lossy(&record.data).into_owned()).collect())
        }
        other => panic!("{other:?}"),
    }
}

fn settled(output: Option<Output>) -> Place {
    match output {
        Some(Output::Settled(place)) => place,
        other => panic!("{other:?}"),
    }
}

fn answer(ledger: &mut Ledger, batch: BatchId, settled: &[bool], now_ms: u64) {
    ledger.handle(Input::Answered { batch, settled: settled.to_vec(), jitter: 0.0 }, now_ms);
}

#[test]
fn a_checkpoint_waits_for_the_lowest_unsettled_place() {
    let mut ledger = Ledger::new(OPTIONS);
    ledger.handle(Input::Read((1..=5).map(|n| taken(n, 0, "k")).collect()), 0);
    let (first, records) = settle(ledger.poll(0));
    assert_eq!(records, ["1/0", "2/0", "3/0"]);
    let (second, records) = settle(ledger.poll(0));
    assert_eq!(records, ["4/0", "5/0"]);
    assert!(ledger.poll(0).is_none(), "two are open");

    answer(&mut ledger, second, &[true, true], 10);
    assert!(ledger.poll(10).is_none(), "the first three are not settled");
    answer(&mut ledger, first, &[true, false, true], 20);
    assert_eq!(settled(ledger.poll(20)), place(1, 0));
    assert_eq!((ledger.records(), ledger.held_up()), (1, Some((&place(2, 0), 1))));
    assert!(ledger.poll(20).is_none());
    assert_eq!(ledger.wake_at(), Some(70));
    let (again, records) = settle(ledger.poll(70));
    assert_eq!(records, ["2/0"]);
    answer(&mut ledger, again, &[true], 80);
    assert_eq!(settled(ledger.poll(80)), place(5, 0));
    assert_eq!((ledger.records(), ledger.span()), (0, 0));
}

#[test]
fn an_aggregate_is_checkpointed_within_and_places_of_nothing_pass() {
    let mut ledger = Ledger::new(OPTIONS);
    let nothing = |sequence| Taken { place: place(sequence, 0), record: None };
    let read = vec![nothing(1), taken(2, 0, "a"), taken(2, 1, "b"), taken(2, 2, "c"), taken(2, 3, "d"), nothing(3)];
    ledger.handle(Input::Read(read), 0);
    assert_eq!(settled(ledger.poll(0)), place(1, 0));
    let (batch, records) = settle(ledger.poll(0));
    assert_eq!(records.len(), 4, "a container stays together");
    answer(&mut ledger, batch, &[true, true, false, true], 0);
    assert_eq!(settled(ledger.poll(0)), place(2, 1));
    let (batch, _) = settle(ledger.poll(1_000));
    answer(&mut ledger, batch, &[true], 1_000);
    assert_eq!(settled(ledger.poll(1_000)), place(3, 0));
}

#[test]
fn a_key_whose_record_failed_waits_and_others_go_on() {
    let mut ledger = Ledger::new(LedgerOptions { by_key: true, ..OPTIONS });
    let keys = ["a", "b", "a", "a", "c"];
    ledger.handle(Input::Read(keys.iter().zip(1..).map(|(key, n)| taken(n, 0, key)).collect()), 0);
    let (first, records) = settle(ledger.poll(0));
    assert_eq!(records, ["1/0", "2/0", "3/0"]);
    let (second, records) = settle(ledger.poll(0));
    assert_eq!(records, ["5/0"], "4 is of a key that is under way");
    answer(&mut ledger, first, &[false, true, false], 0);
    answer(&mut ledger, second, &[true], 0);
    assert!(ledger.poll(0).is_none(), "4 must not overtake 1 and 3");
    let (_, records) = settle(ledger.poll(100));
    assert_eq!(records, ["1/0", "3/0", "4/0"]);
}

#[test]
fn the_end_is_told_once_and_after_all_else() {
    let mut ledger = Ledger::new(OPTIONS);
    ledger.handle(Input::Read(vec![taken(1, 0, "k")]), 0);
    ledger.handle(Input::End, 0);
    let (batch, _) = settle(ledger.poll(0));
    assert!(ledger.poll(0).is_none());
    answer(&mut ledger, batch, &[true], 0);
    assert_eq!(settled(ledger.poll(0)), place(1, 0));
    assert!(matches!(ledger.poll(0), Some(Output::Ended)));
    assert!(ledger.poll(0).is_none());
}

#[test]
fn draining_waits_for_what_is_under_way_and_starts_nothing() {
    let mut ledger = Ledger::new(OPTIONS);
    ledger.handle(Input::Read((1..=4).map(|n| taken(n, 0, "k")).collect()), 0);
    let (batch, _) = settle(ledger.poll(0));
    ledger.handle(Input::Drain, 0);
    assert!(ledger.poll(0).is_none());
    answer(&mut ledger, batch, &[true, true, false], 0);
    assert_eq!(settled(ledger.poll(0)), place(2, 0));
    assert!(matches!(ledger.poll(0), Some(Output::Drained)));
    assert!(ledger.poll(10_000).is_none());
    assert_eq!(ledger.wake_at(), None);
}

/// A shard's records and what happens to them.
#[derive(Debug, Clone)]
struct Script {
    /// Key of each, and whether a further user record of the same container follows.
    records: Vec<(u8, bool)>,
    read_at_once: usize,
    options: LedgerOptions,
    fails_percent: u32,
    seed: u64,
}

fn scripts() -> impl Strategy<Value = Script> {
    let options = (1..6_usize, 1..4_usize, any::<bool>()).prop_map(|(batch_records, batches_open, by_key)| {
        LedgerOptions { batch_records, batches_open, by_key, ..OPTIONS }
    });
    let records = proptest::collection::vec((0..4_u8, any::<bool>()), 1..40);
    (records, 1..10_usize, options, 0..60_u32, any::<u64>()).prop_map(
        |(records, read_at_once, options, fails_percent, seed)| Script {
            records,
            read_at_once,
            options,
            fails_percent,
            seed,
        },
    )
}

/// The records with their places, in order.
fn shard(script: &Script) -> Vec<Taken> {
    let (mut sequence, mut sub_sequence) = (1, 0);
    let place = |(key, is_followed): &(u8, bool)| {
        let taken = taken(sequence, sub_sequence, &key.to_string());
        (sequence, sub_sequence) = if *is_followed { (sequence, sub_sequence + 1) } else { (sequence + 1, 0) };
        taken
    };
    script.records.iter().map(place).collect()
}

/// Plays a script to its end, and holds at every step what must hold.
fn play(script: &Script) -> Result<(), TestCaseError> {
    let all = shard(script);
    let places: Vec<Place> = all.iter().map(|taken| taken.place.clone()).collect();
    let name = |taken: &Taken| format!("{}/{}", taken.place.sequence, taken.place.sub_sequence);
    let names: Vec<String> = all.iter().map(name).collect();
    let mut unread: VecDeque<Taken> = all.into();
    let mut random = fastrand::Rng::with_seed(script.seed);
    let mut ledger = Ledger::new(script.options);
    let mut open: Vec<(BatchId, Vec<usize>)> = Vec::new();
    let mut done: BTreeSet<usize> = BTreeSet::new();
    let mut now_ms = 5;
    let mut last: Option<Place> = None;
    for _ in 0..20_000 {
        while let Some(output) = ledger.poll(now_ms) {
            match output {
                Output::Settle { batch, records } => {
                    let at = |record: &Record| names.iter().position(|name| name.as_bytes() == record.data).unwrap();
                    let batched: Vec<usize> = records.iter().map(at).collect();
                    check_batch(script, &batched, &open, &done)?;
                    open.push((batch, batched));
                    prop_assert!(open.len() <= script.options.batches_open);
                }
                Output::Settled(place) => {
                    let through = places.iter().position(|other| *other == place).unwrap();
                    prop_assert!((0..=through).all(|at| done.contains(&at)), "settled past an unsettled record");
                    prop_assert!(last.as_ref().is_none_or(|last| *last < place));
                    last = Some(place);
                }
                Output::Ended => {
                    prop_assert_eq!(done.len(), places.len());
                    prop_assert_eq!(last.as_ref(), places.last());
                    return Ok(());
                }
                Output::Drained => prop_assert!(false, "nobody asked for it"),
            }
        }
        prop_assert_eq!(ledger.records(), names.len() - unread.len() - done.len());
        if !unread.is_empty() && random.bool() {
            let count = script.read_at_once.min(unread.len());
            ledger.handle(Input::Read(unread.drain(..count).collect()), now_ms);
            if unread.is_empty() {
                ledger.handle(Input::End, now_ms);
            }
        } else if !open.is_empty() && random.bool() {
            let (batch, batched) = open.swap_remove(random.usize(..open.len()));
            let mut failed = BTreeSet::new();
            let settled: Vec<bool> = batched
                .iter()
                .map(|at| {
                    // As the gate keeps the order within a batch: what follows a failure of its key is not sent.
                    let key = script.records[*at].0;
                    let by_key = script.options.by_key;
                    let fails = random.u32(0..100) < script.fails_percent || (by_key && failed.contains(&key));
                    if fails {
                        failed.insert(key);
                    } else {
                        done.insert(*at);
                    }
                    !fails
                })
                .collect();
            ledger.handle(Input::Answered { batch, settled, jitter: random.f64() }, now_ms);
        } else {
            now_ms =
                if random.bool() { now_ms + random.u64(0..50) } else { ledger.wake_at().unwrap_or(now_ms).max(now_ms) };
        }
    }
    Err(TestCaseError::fail("it never ends"))
}

/// Nothing is under way twice or again, and no key has two batches or leaves an earlier record behind.
fn check_batch(
    script: &Script,
    batch: &[usize],
    open: &[(BatchId, Vec<usize>)],
    done: &BTreeSet<usize>,
) -> Result<(), TestCaseError> {
    prop_assert!(!batch.is_empty() && batch.is_sorted());
    let under_way: BTreeSet<usize> = open.iter().flat_map(|(_, batched)| batched).copied().collect();
    prop_assert!(batch.iter().all(|at| !under_way.contains(at) && !done.contains(at)));
    if script.options.by_key {
        let mut within: BTreeMap<u8, BTreeSet<usize>> = BTreeMap::new();
        for at in batch {
            let key = script.records[*at].0;
            let of_key = within.entry(key).or_default();
            let is_behind = (0..*at)
                .filter(|other| script.records[*other].0 == key)
                .all(|other| done.contains(&other) || of_key.contains(&other));
            prop_assert!(is_behind, "{} overtakes one of its key", at);
            of_key.insert(*at);
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_record_is_settled_and_none_is_passed_over(script in scripts()) {
        play(&script)?;
    }
}
