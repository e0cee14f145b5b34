//! Containers of the Kinesis Producer Library through the gate, between scripted sinks: what becomes of each record, how the good ones
//! leave, and what a producer hears when half of it fails.

use std::path::Path;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use meshgate::config::{self, Overrides, RuleSource};
use meshgate::decode::kpl::{self, Builder, UserRecord};
use meshgate::gate::delivery::RetryPolicy;
use meshgate::gate::document;
use meshgate::metrics::Metrics;
use meshgate::model::{
    DeadLetter, Distribution, HashKeyRange, Outcome, Placement, Position, Record, Settlement, StreamDescription,
    Timestamp, Trouble, Unsettled, Verdict,
};
use meshgate::pipeline::rules::{RuleOptions, Rules};
use meshgate::pipeline::{Gate, GateOptions};
use meshgate::port::{BoxFuture, CallLimits, Catalog, CatalogError, DeadLetterSink, Intake, MeshSink, StreamReader};

#[path = "support/streams.rs"]
mod streams;
use streams::active_stream;

const NOW: Timestamp = Timestamp::from_millis(1_795_341_605_000);
const DOMAIN: &str = "apiVersion: meshgate/v1\nkind: Domain\nmetadata: {name: people, owner: {team: people}}\n";
const CONTRACT: &str = "apiVersion: meshgate/v1\nkind: EventContract\n\
                        metadata: {domain: people, name: joined, version: 1.0.0, status: active}\nmatch: {stream: people}\n\
                        stream: [{id: unique, type: duplicateValues, key: [this.id], window: 24h}]\n";

/// A stream that is as wide as `shards` says, and described as wide as `told` says.
struct FarEnd {
    shards: AtomicU32,
    told: AtomicU32,
    distribution: Distribution,
    described: AtomicUsize,
    /// What it was given and took, with the shard.
    taken: Mutex<Vec<(usize, Record)>>,
    letters: Mutex<Vec<DeadLetter>>,
    /// The shard that takes nothing.
    down: Mutex<Option<usize>>,
}

impl MeshSink for FarEnd {
    fn call_limits(&self) -> CallLimits {
        CallLimits { entries: 500, bytes: 10 << 20 }
    }

    fn put<'a>(&'a self, _: &'a str, records: &'a [&'a Record]) -> BoxFuture<'a, Vec<Result<Placement, Unsettled>>> {
        let put = |record: &&Record| {
            let mut ranges = HashKeyRange::divide(self.shards.load(SeqCst));
            let shard = ranges.position(|range| range.contains(record.hash_key())).unwrap();
            if *self.down.lock().unwrap() == Some(shard) {
                return Err(Unsettled { trouble: Trouble::Unavailable, message: "scripted to be down".into() });
            }
            let mut taken = self.taken.lock().unwrap();
            taken.push((shard, (*record).clone()));
            Ok(Placement { shard_id: format!("shardId-{shard:012}").into(), sequence_number: taken.len().to_string() })
        };
        let answers = records.iter().map(put).collect();
        Box::pin(async { answers })
    }
}

impl DeadLetterSink for FarEnd {
    fn call_limits(&self) -> CallLimits {
        CallLimits { entries: 10, bytes: 64 << 20 }
    }

    fn size_of(&self, letter: &DeadLetter) -> usize {
        letter.body.len()
    }

    fn send<'a>(&'a self, _: &'a str, letters: &'a [&'a DeadLetter]) -> BoxFuture<'a, Vec<Result<(), Unsettled>>> {
        self.letters.lock().unwrap().extend(letters.iter().map(|&letter| letter.clone()));
        Box::pin(async move { vec![Ok(()); letters.len()] })
    }
}

impl Catalog for FarEnd {
    fn list_streams<'a>(&'a self) -> BoxFuture<'a, Result<Vec<String>, CatalogError>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn describe<'a>(&'a self, stream: &'a str) -> BoxFuture<'a, Result<StreamDescription, CatalogError>> {
        self.described.fetch_add(1, SeqCst);
        let description = active_stream(stream, self.told.load(SeqCst));
        let description = StreamDescription { distribution: self.distribution, ..description };
        Box::pin(async { Ok(description) })
    }

    fn reader(&self) -> Option<&dyn StreamReader> {
        None
    }
}

/// A gate before a stream of so many shards.
fn gate_of(shards: u32, distribution: Distribution, settings: &str) -> (Gate, Arc<FarEnd>, Arc<Metrics>) {
    let dir = tempfile::tempdir().unwrap();
    let people = dir.path().join("people");
    std::fs::create_dir(&people).unwrap();
    std::fs::write(people.join("domain.yaml"), DOMAIN).unwrap();
    std::fs::write(people.join("joined.yaml"), CONTRACT).unwrap();
    let metrics = Arc::new(Metrics::new());
    let (rules, loaded) = Rules::load(RuleOptions::new(RuleSource::from(dir.path()), Arc::clone(&metrics))).unwrap();
    assert!(loaded.is_good, "{:#?}", loaded.diagnostics);
    let text = (!settings.is_empty()).then_some(settings.as_bytes());
    let config = config::parse(text, Path::new("meshgate.yaml"), &Overrides::default()).unwrap();
    let far_end = Arc::new(FarEnd {
        shards: shards.into(),
        told: shards.into(),
        distribution,
        described: AtomicUsize::default(),
        taken: Mutex::default(),
        letters: Mutex::default(),
        down: Mutex::default(),
    });
    let gate = Gate::new(GateOptions {
        rules: Arc::new(rules),
        routes: config.routes,
        dlq: config.dlq,
        mesh: Arc::clone(&far_end) as _,
        letters: Arc::clone(&far_end) as _,
        objects: None,
        catalog: Arc::clone(&far_end) as _,
        inflated_bytes_max: 16 << 20,
        retry: RetryPolicy { attempts_max: 2, base_ms: 1, throttled_base_ms: 1, cap_ms: 1, deadline_ms: 1_000 },
        records_in_flight_max: 20_000,
        metrics: Arc::clone(&metrics),
        clock: || NOW,
    });
    (gate, far_end, metrics)
}

fn gate(shards: u32) -> (Gate, Arc<FarEnd>, Arc<Metrics>) {
    gate_of(shards, Distribution::Key, "")
}

/// A hash key in the first and in the second half of the ring.
const LOW: &str = "1";
const HIGH: &str = "340282366920938463463374607431768211455";

fn event(id: &str) -> String {
    format!("{{\"id\":\"{id}\"}}")
}

/// A container of these data, each with its hash key.
fn container(parts: &[(&str, &str)]) -> Record {
    let mut builder = Builder::default();
    for (data, hash_key) in parts {
        builder.add(UserRecord { partition_key: "k", explicit_hash_key: Some(hash_key), data: data.as_bytes() });
    }
    Record {
        partition_key: Some("a".into()),
        explicit_hash_key: Some(parts[0].1.into()),
        position: Position::InRequest { request: "r".into(), index: 0 },
        ..Record::new(builder.build(), "people".into(), NOW)
    }
}

/// What the stream took: by shard, the data of each record, those of containers in brackets.
fn taken(far_end: &FarEnd) -> Vec<(usize, Vec<String>)> {
    let text = |data: &[u8]| String::from_utf8(data.to_vec()).unwrap();
    let told = |(shard, record): &(usize, Record)| match kpl::parse(&record.data) {
        None => (*shard, vec![text(&record.data)]),
        Some(parts) => {
            let parts = parts.unwrap();
            (*shard, [vec!["[".into()], parts.iter().map(|part| text(part.data)).collect(), vec!["]".into()]].concat())
        }
    };
    far_end.taken.lock().unwrap().iter().map(told).collect()
}

async fn settle(gate: &Gate, records: Vec<Record>) -> Vec<Outcome> {
    gate.settle("people", records).await.unwrap()
}

/// Each word an event, but for brackets.
fn words(shard: usize, words: &str) -> (usize, Vec<String>) {
    let told = |word: &str| if matches!(word, "[" | "]") { word.to_owned() } else { event(word) };
    (shard, words.split(' ').map(told).collect())
}

fn is_forwarded(outcome: &Outcome) -> bool {
    matches!(outcome.settlement, Settlement::Forwarded(_))
}

fn count(metrics: &Metrics, name: &str, label: &str) -> f64 {
    let of = metrics.counters(name).into_iter().filter(|(labels, _)| labels.iter().any(|(_, value)| value == label));
    of.map(|(_, count)| count).sum()
}

#[tokio::test]
async fn each_record_of_a_container_has_its_own_fate_and_the_good_ones_go_together() {
    let (gate, far_end, metrics) = gate(2);
    let a: [String; 5] = ["a", "b", "c", "d", "e"].map(event);
    let sent = [(&*a[0], LOW), (&*a[1], HIGH), ("[", LOW), (&*a[2], LOW), (&*a[3], HIGH)];
    let plain = Record {
        partition_key: Some("p".into()),
        explicit_hash_key: Some(LOW.into()),
        ..Record::new(a[4].clone(), "people".into(), NOW)
    };
    let outcomes = settle(&gate, vec![container(&sent), plain]).await;
    assert_eq!(taken(&far_end), [words(0, "[ a c ]"), words(1, "[ b d ]"), words(0, "e")]);
    for (_, record) in &far_end.taken.lock().unwrap()[..2] {
        assert_eq!(record.partition_key.as_deref(), Some("a"));
    }
    assert_eq!(outcomes.len(), 2, "one for each record that was given");
    let Settlement::Forwarded(placement) = &outcomes[0].settlement else { panic!("{outcomes:?}") };
    assert_eq!((&*placement.shard_id, &*placement.sequence_number), ("shardId-000000000000", "1"));
    assert_eq!(outcomes[0].judgement.verdict, Verdict::Forward);
    assert!(outcomes[0].judgement.violations[0].message.starts_with("record 2 of the container: not well-formed"));
    let letters = far_end.letters.lock().unwrap();
    assert_eq!(letters.len(), 1);
    assert_eq!(document::original(&letters[0].body).unwrap(), b"[");
    assert_eq!(count(&metrics, "meshgate_events_total", "forward"), 5.0);
    assert_eq!(count(&metrics, "meshgate_records_total", "forwarded"), 5.0);
    assert_eq!(count(&metrics, "meshgate_records_total", "quarantined"), 1.0);
    assert_eq!(metrics.in_flight.get(), 0);
}

#[tokio::test]
async fn a_good_container_of_one_shard_leaves_as_it_came() {
    let (gate, far_end, _) = gate(2);
    let sent = container(&[(&event("a"), HIGH), (&event("b"), HIGH)]);
    settle(&gate, vec![sent.clone()]).await;
    let taken = far_end.taken.lock().unwrap();
    let [(1, record)] = &taken[..] else { panic!("{taken:?}") };
    assert_eq!((&record.data, &record.explicit_hash_key), (&sent.data, &sent.explicit_hash_key));
}

#[tokio::test]
async fn records_of_a_container_are_told_apart_by_what_remembers_and_a_repeated_request_is_known() {
    let (gate, far_end, _) = gate(1);
    let sent = || container(&[(&event("a"), LOW), (&event("b"), LOW), (&event("a"), LOW)]);
    for _ in 0..2 {
        let outcomes = settle(&gate, vec![sent()]).await;
        assert!(is_forwarded(&outcomes[0]));
        assert!(outcomes[0].judgement.violations[0].message.starts_with("record 2 of the container:"));
    }
    assert_eq!(taken(&far_end), [words(0, "[ a b ]"), words(0, "[ a b ]")]);
    assert_eq!(far_end.letters.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn half_a_container_that_arrived_leaves_all_of_it_to_its_producer() {
    let (gate, far_end, _) = gate(2);
    *far_end.down.lock().unwrap() = Some(1);
    let sent = || {
        let container = container(&[(&event("a"), LOW), (&event("b"), HIGH), (&event("c"), LOW)]);
        Record { position: Position::Unknown, ..container }
    };
    let outcomes = settle(&gate, vec![sent()]).await;
    let Settlement::Unsettled(Unsettled { trouble: Trouble::Unavailable, message }) = &outcomes[0].settlement else {
        panic!("{outcomes:?}");
    };
    assert!(message.starts_with("1 of the 3 records of this container were not settled"), "{message}");
    assert_eq!(taken(&far_end), [words(0, "[ a c ]")]);
    // And what counts is what arrived: sent again, these are duplicates, and the other is not.
    *far_end.down.lock().unwrap() = None;
    let outcomes = settle(&gate, vec![sent()]).await;
    assert!(is_forwarded(&outcomes[0]), "{outcomes:?}");
    assert_eq!(taken(&far_end)[1..], [words(1, "b")]);
    assert_eq!(far_end.letters.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn who_takes_containers_apart_beforehand_hears_of_each_record() {
    let (gate, far_end, _) = gate(2);
    *far_end.down.lock().unwrap() = Some(1);
    let (a, b, c) = (event("a"), event("b"), event("c"));
    let parts = gate.unfold("people", container(&[(&a, LOW), (&b, HIGH), ("[", HIGH), (&c, LOW)])).unwrap();
    assert_eq!(parts.len(), 4);
    let outcomes = settle(&gate, parts.clone()).await;
    let told: Vec<bool> = outcomes.iter().map(is_forwarded).collect();
    assert_eq!(told, [true, false, false, true]);
    assert!(matches!(outcomes[2].settlement, Settlement::Quarantined { .. }));
    // Only what is left is given again, and goes alone.
    *far_end.down.lock().unwrap() = None;
    assert!(is_forwarded(&settle(&gate, vec![parts[1].clone()]).await[0]));
    assert_eq!(taken(&far_end), [words(0, "[ a c ]"), words(1, "b")]);
    assert!(gate.unfold("nowhere", parts[0].clone()).is_err());
}

#[tokio::test]
async fn a_container_that_lands_elsewhere_is_put_again_record_by_record_and_the_stream_is_asked_anew() {
    let (gate, far_end, metrics) = gate(2);
    settle(&gate, vec![container(&[(&event("x"), LOW), (&event("y"), LOW)])]).await;
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(2)).await;
    // It was split: the first quarter is no longer where the first half was, and nobody has said so.
    far_end.shards.store(4, SeqCst);
    far_end.told.store(4, SeqCst);
    let quarter = (u128::MAX / 4 * 3 + 9).to_string();
    let outcomes =
        settle(&gate, vec![container(&[(&event("a"), HIGH), (&event("b"), &quarter), (&event("c"), HIGH)])]).await;
    assert!(is_forwarded(&outcomes[0]));
    assert_eq!(taken(&far_end)[1..], [words(3, "[ a b c ]"), words(3, "a"), words(3, "b"), words(3, "c")]);
    let Settlement::Forwarded(placement) = &outcomes[0].settlement else { panic!() };
    assert_eq!(placement.sequence_number, "3", "where it is sure to be read");
    assert_eq!(count(&metrics, "meshgate_records_total", "forwarded"), 5.0, "once each");
    tokio::task::yield_now().await;
    tokio::task::yield_now().await;
    assert_eq!(far_end.described.load(SeqCst), 2);
    settle(&gate, vec![container(&[(&event("d"), HIGH), (&event("e"), HIGH)])]).await;
    assert_eq!(taken(&far_end)[5..], [words(3, "[ d e ]")]);
}

#[tokio::test]
async fn what_cannot_be_put_again_is_unsettled() {
    let (gate, far_end, _) = gate(2);
    settle(&gate, vec![container(&[(&event("x"), LOW), (&event("y"), LOW)])]).await;
    far_end.shards.store(4, SeqCst);
    // The container's first hash lies in the second quarter, as the stream is now; the others in the first, which is down.
    *far_end.down.lock().unwrap() = Some(0);
    let quarter = (u128::MAX / 4 + 9).to_string();
    let outcomes = settle(&gate, vec![container(&[(&event("a"), &quarter), (&event("b"), LOW)])]).await;
    assert!(matches!(&outcomes[0].settlement, Settlement::Unsettled(_)), "{outcomes:?}");
    assert_eq!(taken(&far_end)[1..], [words(1, "[ a b ]"), words(1, "a")]);
}

#[tokio::test(start_paused = true)]
async fn a_description_that_stays_wrong_is_asked_for_once_a_second_and_stops_containers() {
    let (gate, far_end, _) = gate(1);
    far_end.shards.store(4, SeqCst);
    for n in 0..100 {
        let (a, b) = (event(&format!("a{n}")), event(&format!("b{n}")));
        let outcomes = settle(&gate, vec![container(&[(&a, HIGH), (&b, HIGH)])]).await;
        assert!(is_forwarded(&outcomes[0]));
        tokio::time::advance(Duration::from_millis(50)).await;
    }
    let described = far_end.described.load(SeqCst);
    assert!((4..=7).contains(&described), "{described} in five seconds");
    let containers = far_end.taken.lock().unwrap().iter().filter(|(_, r)| kpl::parse(&r.data).is_some()).count();
    assert!(containers <= described, "{containers} containers for {described} descriptions");
}

#[tokio::test(start_paused = true)]
async fn a_plain_record_on_an_unknown_shard_is_reason_enough_to_ask() {
    let (gate, far_end, _) = gate(1);
    let plain = |id: &str| Record {
        explicit_hash_key: Some(HIGH.into()),
        partition_key: Some("p".into()),
        ..Record::new(event(id), "people".into(), NOW)
    };
    settle(&gate, vec![plain("a")]).await;
    far_end.shards.store(2, SeqCst);
    far_end.told.store(2, SeqCst);
    tokio::time::advance(Duration::from_secs(2)).await;
    settle(&gate, vec![plain("b")]).await;
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(far_end.described.load(SeqCst), 2);
    settle(&gate, vec![plain("c")]).await;
    tokio::time::advance(Duration::from_secs(2)).await;
    assert_eq!(far_end.described.load(SeqCst), 2, "it is known now");
}

#[tokio::test]
async fn in_order_of_keys_and_on_streams_that_distribute_themselves_each_record_goes_alone() {
    for (distribution, settings) in
        [(Distribution::Auto, ""), (Distribution::Key, "routes: [{source: people, ordering: key}]")]
    {
        let (gate, far_end, _) = gate_of(1, distribution, settings);
        let outcomes = settle(&gate, vec![container(&[(&event("a"), LOW), (&event("b"), LOW)])]).await;
        assert!(is_forwarded(&outcomes[0]));
        assert_eq!(taken(&far_end), [words(0, "a"), words(0, "b")]);
        let taken = far_end.taken.lock().unwrap();
        assert!(taken.iter().all(|(_, r)| r.partition_key.as_deref() == Some("k")));
        assert!(taken.iter().all(|(_, r)| r.explicit_hash_key.as_deref() == Some(LOW)));
    }
}

#[tokio::test]
async fn a_request_of_many_small_events_in_containers_is_settled_in_portions() {
    let (gate, far_end, metrics) = gate(1);
    let container = |first: usize| {
        let events: Vec<String> = (first..first + 3_000).map(|n| event(&n.to_string())).collect();
        container(&events.iter().map(|event| (&**event, LOW)).collect::<Vec<_>>())
    };
    let records: Vec<Record> = (0..8).map(|n| Record { position: Position::Unknown, ..container(n * 3_000) }).collect();
    let outcomes = settle(&gate, records).await;
    assert_eq!((outcomes.len(), outcomes.iter().filter(|outcome| is_forwarded(outcome)).count()), (8, 8));
    assert_eq!(far_end.taken.lock().unwrap().len(), 8);
    assert_eq!(count(&metrics, "meshgate_records_total", "forwarded"), 24_000.0);
}
