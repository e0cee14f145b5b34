//! A whole gate with a spool, among far ends that come and go. Time is virtual; the spool's file is real.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::*;
use crate::config::{self, Overrides, RuleSource};
use crate::metrics::Metrics;
use crate::model::{Outcome, Placement, Position, Record, Settlement, StreamDescription};
use crate::pipeline::rules::{RuleOptions, Rules};
use crate::pipeline::{GateOptions, now};
use crate::port::{BoxFuture, CallLimits, Catalog, CatalogError, DeadLetterSink, Intake, MeshSink, StreamReader};
use crate::sink::spool::Spool;

const DOMAIN: &str = "apiVersion: meshgate/v1\nkind: Domain\nmetadata: {name: shop, owner: {team: shop}}\n";
const CONTRACT: &str = "apiVersion: meshgate/v1\nkind: EventContract\nmatch: {stream: in}\n\
                        metadata: {domain: shop, name: sold, version: 1.0.0, status: active}\n\
                        stream: [{id: unique, type: duplicateValues, key: [this.id], window: 24h}]\n";

/// How a far end is.
const UP: u8 = 0;
const DOWN: u8 = 1;
/// Some of a call fails, or its answer is lost.
const FLAKY: u8 = 2;
const FORBIDS: u8 = 3;

/// A stream and a queue.
struct FarEnd {
    mesh: AtomicU8,
    queue: AtomicU8,
    /// The stream takes all but what has this in it, and the queue what is longer than that.
    invalid: Mutex<Option<&'static str>>,
    letter_max: AtomicUsize,
    /// Of the stream.
    calls: AtomicUsize,
    /// Key and data, in their order.
    records: Mutex<Vec<(String, String)>>,
    letters: Mutex<Vec<String>>,
    random: Mutex<fastrand::Rng>,
}

impl FarEnd {
    fn new(seed: u64) -> Arc<Self> {
        Arc::new(Self {
            mesh: AtomicU8::new(UP),
            queue: AtomicU8::new(UP),
            invalid: Mutex::default(),
            letter_max: AtomicUsize::new(usize::MAX),
            calls: AtomicUsize::new(0),
            records: Mutex::default(),
            letters: Mutex::default(),
            random: Mutex::new(fastrand::Rng::with_seed(seed)),
        })
    }

    /// Whether an entry is stored, and what is said of it.
    fn decide(&self, state: u8) -> (bool, Result<(), Unsettled>) {
        let failed = |trouble| Err(Unsettled { trouble, message: "scripted".into() });
        match state {
            UP => (true, Ok(())),
            FLAKY => match self.random.lock().unwrap().u8(..4) {
                0 => (true, failed(Trouble::Unavailable)),
                1 => (false, failed(Trouble::Unavailable)),
                _ => (true, Ok(())),
            },
            FORBIDS => (false, failed(Trouble::Rejected)),
            _ => (false, failed(Trouble::Unavailable)),
        }
    }

    fn data(&self) -> Vec<String> {
        self.records.lock().unwrap().iter().map(|(_, data)| data.clone()).collect()
    }
}

impl MeshSink for FarEnd {
    fn call_limits(&self) -> CallLimits {
        CallLimits { entries: 500, bytes: 1 << 20 }
    }

    fn put<'a>(&'a self, _: &'a str, records: &'a [&'a Record]) -> BoxFuture<'a, Vec<Result<Placement, Unsettled>>> {
        self.calls.fetch_add(1, SeqCst);
        let state = self.mesh.load(SeqCst);
        let invalid = *self.invalid.lock().unwrap();
        let answer = |record: &&Record| {
            let data = String::from_utf8_lossy(&record.data).into_owned();
            let (is_stored, answer) = match invalid {
                Some(text) if state == UP && data.contains(text) => {
                    (false, Err(Unsettled { trouble: Trouble::Invalid, message: "scripted to be invalid".into() }))
                }
                _ => self.decide(state),
            };
            if is_stored {
                self.records.lock().unwrap().push((record.partition_key.clone().unwrap_or_default(), data));
            }
            answer.map(|()| Placement { shard_id: "shardId-000000000000".into(), sequence_number: "49".into() })
        };
        let answers = records.iter().map(answer).collect();
        Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(5)).await;
            answers
        })
    }
}

impl DeadLetterSink for FarEnd {
    fn call_limits(&self) -> CallLimits {
        CallLimits { entries: 10, bytes: 1 << 20 }
    }

    fn size_of(&self, letter: &DeadLetter) -> usize {
        letter.body.len()
    }

    fn send<'a>(&'a self, _: &'a str, letters: &'a [&'a DeadLetter]) -> BoxFuture<'a, Vec<Result<(), Unsettled>>> {
        let answer = |letter: &&DeadLetter| {
            let state = self.queue.load(SeqCst);
            if state == UP && letter.body.len() > self.letter_max.load(SeqCst) {
                return Err(Unsettled { trouble: Trouble::Invalid, message: "scripted to be too large".into() });
            }
            let (is_stored, answer) = self.decide(state);
            if is_stored {
                self.letters.lock().unwrap().push(letter.id.clone());
            }
            answer
        };
        let answers = letters.iter().map(answer).collect();
        Box::pin(async move { answers })
    }
}

impl Catalog for FarEnd {
    fn list_streams<'a>(&'a self) -> BoxFuture<'a, Result<Vec<String>, CatalogError>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn describe<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<StreamDescription, CatalogError>> {
        Box::pin(async { Err(CatalogError::Unavailable("scripted".into())) })
    }

    fn reader(&self) -> Option<&dyn StreamReader> {
        None
    }
}

/// A gate, its spool and its drainer; dropped, it ends wherever it is.
struct World {
    gate: Arc<Gate>,
    metrics: Arc<Metrics>,
    drainer: JoinHandle<()>,
    stop: watch::Sender<bool>,
    home: TempDir,
}

impl World {
    fn start(home: TempDir, far_end: &Arc<FarEnd>, route: &str, bytes_max: u64) -> Self {
        let shop = home.path().join("rules/shop");
        std::fs::create_dir_all(&shop).unwrap();
        std::fs::write(shop.join("domain.yaml"), DOMAIN).unwrap();
        std::fs::write(shop.join("sold.yaml"), CONTRACT).unwrap();
        let metrics = Arc::new(Metrics::new());
        let source = RuleSource::from(home.path().join("rules").as_path());
        let (rules, loaded) = Rules::load(RuleOptions::new(source, Arc::clone(&metrics))).unwrap();
        assert!(loaded.is_good, "{:?}", loaded.diagnostics);
        let settings =
            format!("retry: {{attempts: 2, deadline_seconds: 1}}\nroutes: [{{source: in, mesh: out{route}}}]\n");
        let config = config::parse(Some(settings.as_bytes()), "meshgate.yaml".as_ref(), &Overrides::default()).unwrap();
        let gate = Gate::new(GateOptions {
            objects: None,
            rules: Arc::new(rules),
            routes: config.routes.clone(),
            dlq: "dlq".into(),
            mesh: Arc::clone(far_end) as _,
            letters: Arc::clone(far_end) as _,
            catalog: Arc::clone(far_end) as _,
            retry: config.retry,
            records_in_flight_max: 10_000,
            inflated_bytes_max: 1 << 20,
            metrics: Arc::clone(&metrics),
            clock: now,
        });
        let spool = Spool::open(&home.path().join("gate.spool"), bytes_max).unwrap();
        let gate = Arc::new(gate.with_spool(Arc::new(Spooling::new(spool, Arc::clone(&metrics)))));
        let stop = watch::Sender::new(false);
        let mut told = stop.subscribe();
        let drainer = tokio::spawn(drain(Arc::clone(&gate), async move { drop(told.wait_for(|stop| *stop).await) }));
        Self { gate, metrics, drainer, stop, home }
    }

    fn spool(&self) -> &Spool {
        &self.gate.spooling.as_ref().unwrap().spool
    }

    async fn settle(&self, records: Vec<Record>) -> Vec<Outcome> {
        self.gate.settle("in", records).await.unwrap()
    }

    /// Waits until nothing is in line.
    async fn drained(&self) {
        self.wait_for("it drains", || self.spool().state().lanes.values().all(|held| held.entries == 0)).await;
    }

    /// Virtual time runs on while the spool's thread is with the disk, so that it alone says nothing of what can be expected by now.
    async fn wait_for(&self, what: &str, is_so: impl Fn() -> bool) {
        for _ in 0..20_000 {
            if is_so() {
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("waited in vain: {what}: {:?}", self.spool().state());
    }

    fn count(&self, name: &str) -> f64 {
        self.metrics.counters(name).iter().map(|(_, value)| value).sum()
    }

    /// What kill -9 leaves of it, in another directory: the files as they are, the process cut off at some await.
    async fn kill(self) -> TempDir {
        self.drainer.abort();
        let _ = self.drainer.await;
        // A copy takes time, and what the thread was asked before would go on in it.
        let _ = self.gate.spooling.as_ref().unwrap().spool.aside().await;
        let home = tempfile::tempdir().unwrap();
        for name in ["gate.spool", "gate.spool-wal"] {
            let _ = std::fs::copy(self.home.path().join(name), home.path().join(name));
        }
        home
    }
}

fn event(id: usize) -> String {
    format!("{{\"type\":\"sold\",\"id\":{id}}}")
}

fn record(key: &str, data: impl Into<String>) -> Record {
    Record { partition_key: Some(key.into()), ..Record::new(data.into(), "in".into(), now()) }
}

fn new_home() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn is_acknowledged(outcome: &Outcome) -> bool {
    !matches!(outcome.settlement, Settlement::Unsettled(_))
}

/// What a producer was told, over all gates that it had.
#[derive(Default)]
struct Told {
    /// Of each key, in their order.
    forwarded: BTreeMap<String, Vec<String>>,
    letters: BTreeSet<String>,
    unsettled: usize,
}

impl Told {
    fn hear(&mut self, records: &[Record], outcomes: &[Outcome]) {
        for (record, outcome) in records.iter().zip(outcomes) {
            match &outcome.settlement {
                Settlement::Forwarded(_) => {
                    let key = record.partition_key.clone().unwrap_or_default();
                    let data = String::from_utf8_lossy(&record.data).into_owned();
                    self.forwarded.entry(key).or_default().push(data);
                }
                Settlement::Quarantined { dead_letter, .. } => drop(self.letters.insert(dead_letter.clone())),
                _ => self.unsettled += 1,
            }
        }
    }

    /// Everything that was acknowledged is there, and in its order: whether a reader heeds the first or the last of those that come twice.
    fn check(&self, far_end: &FarEnd, seed: u64) {
        let records = far_end.records.lock().unwrap();
        for (key, told) in &self.forwarded {
            let arrived: Vec<&String> =
                records.iter().filter(|(other, _)| other == key).map(|(_, data)| data).collect();
            let first = |data: &String| arrived.iter().position(|other| *other == data);
            let last = |data: &String| arrived.iter().rposition(|other| *other == data);
            let places: Vec<_> = told.iter().map(|data| (data, first(data), last(data))).collect();
            assert!(places.iter().all(|(_, first, _)| first.is_some()), "seed {seed}: lost: {places:?}");
            assert!(
                places.is_sorted_by_key(|(_, first, _)| *first),
                "seed {seed}: the first are out of order: {places:?}"
            );
            assert!(
                places.is_sorted_by_key(|(_, _, last)| *last),
                "seed {seed}: the last are out of order: {places:?}"
            );
        }
        let letters: BTreeSet<String> = far_end.letters.lock().unwrap().iter().cloned().collect();
        assert!(self.letters.is_subset(&letters), "seed {seed}: letters are lost");
    }
}

/// What the seeds came to, all together.
#[derive(Default)]
struct Seen {
    spooled: f64,
    drained: f64,
    refused: f64,
    kills_with_something: usize,
}

async fn play(seed: u64, seen: &mut Seen) {
    let mut random = fastrand::Rng::with_seed(seed);
    let (far_end, mut told) = (FarEnd::new(seed), Told::default());
    // Some ten entries.
    const BYTES_MAX: u64 = 36 * 1024;
    let start = |home| World::start(home, &far_end, ", ordering: key", BYTES_MAX);
    let mut world = start(new_home());
    let mut serial = 0;
    let mut note = |world: &World| {
        seen.spooled += world.count("meshgate_spool_spooled_total");
        seen.drained += world.count("meshgate_spool_drained_total");
        seen.refused += world.count("meshgate_spool_refused_total");
    };
    for _ in 0..40 {
        match random.u8(..10) {
            0..=5 => {
                let records: Vec<Record> = (0..random.usize(1..8))
                    .map(|_| {
                        serial += 1;
                        let text = if random.u8(..5) == 0 { format!("{{{serial}") } else { event(serial) };
                        record(["a", "b", "c"][random.usize(..3)], text)
                    })
                    .collect();
                let outcomes = world.settle(records.clone()).await;
                told.hear(&records, &outcomes);
            }
            6 => far_end.mesh.store(random.u8(..3), SeqCst),
            7 => far_end.queue.store(random.u8(..3), SeqCst),
            8 => tokio::time::sleep(Duration::from_millis(random.u64(..4_000))).await,
            _ => {
                note(&world);
                seen.kills_with_something += usize::from(!world.spool().state().lanes.is_empty());
                world = start(world.kill().await);
            }
        }
    }
    far_end.mesh.store(UP, SeqCst);
    far_end.queue.store(UP, SeqCst);
    world.drained().await;
    note(&world);
    told.check(&far_end, seed);
    assert!(world.spool().state().lanes.is_empty(), "seed {seed}: nothing is aside");
    world.stop.send_replace(true);
    world.drainer.await.unwrap();
}

#[test]
fn whatever_fails_or_dies_all_that_was_acknowledged_arrives_in_order() {
    let mut seen = Seen::default();
    for seed in 0..16 {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(play(seed, &mut seen));
    }
    assert!(seen.spooled > 100.0 && seen.drained > 100.0, "{} went in, {} came out", seen.spooled, seen.drained);
    assert!(seen.refused > 0.0, "it was never full");
    assert!(seen.kills_with_something > 5, "{} gates died with something in the spool", seen.kills_with_something);
}

#[tokio::test(start_paused = true)]
async fn what_is_spooled_counts_as_forwarded_and_goes_in_turn() {
    let far_end = FarEnd::new(1);
    let world = World::start(new_home(), &far_end, ", ordering: key", 1 << 20);
    far_end.mesh.store(DOWN, SeqCst);
    let outcomes = world.settle(vec![record("a", event(1)), record("b", event(2))]).await;
    let [Settlement::Forwarded(first), Settlement::Forwarded(_)] =
        &outcomes.iter().map(|o| o.settlement.clone()).collect::<Vec<_>>()[..]
    else {
        panic!("{outcomes:?}")
    };
    assert!(first.sequence_number.starts_with('7'), "it is on no stream yet: {first:?}");
    let twice = world.settle(vec![record("a", event(1))]).await;
    assert!(matches!(twice[0].settlement, Settlement::Quarantined { .. }), "a check remembers it: {twice:?}");
    let held = world.gate.spooling.as_ref().unwrap().view();
    assert_eq!((held.lanes.len(), held.lanes[0].held.entries, &*held.lanes[0].name), (1, 2, "out"));
    assert!(held.lanes[0].away.as_deref().is_some_and(|why| why.contains("scripted")), "{held:?}");
    far_end.mesh.store(UP, SeqCst);
    // Before the drainer has looked: behind the others all the same.
    assert!(is_acknowledged(&world.settle(vec![record("c", event(3))]).await[0]));
    world.drained().await;
    assert_eq!(far_end.data(), [1, 2, 3].map(event));
    assert!(world.gate.spooling.as_ref().unwrap().view().lanes.is_empty());
}

#[tokio::test(start_paused = true)]
async fn without_order_to_keep_records_go_straight_once_the_far_end_is_back() {
    let far_end = FarEnd::new(1);
    let world = World::start(new_home(), &far_end, "", 1 << 20);
    far_end.mesh.store(DOWN, SeqCst);
    world.settle(vec![record("a", event(1))]).await;
    world.drainer.abort();
    far_end.mesh.store(UP, SeqCst);
    // As far as the gate knows it is away: no delivery is tried, which would take until its deadline.
    assert!(is_acknowledged(&world.settle(vec![record("a", event(2))]).await[0]));
    assert!(far_end.data().is_empty());
    tokio::spawn(drain(Arc::clone(&world.gate), std::future::pending()));
    world.drained().await;
    world.settle(vec![record("a", event(9))]).await;
    assert_eq!(far_end.data(), [1, 2, 9].map(event));
    assert_eq!(world.count("meshgate_spool_spooled_total"), 2.0);
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_or_can_be_read_again_is_not_spooled() {
    let far_end = FarEnd::new(1);
    let world = World::start(new_home(), &far_end, ", ordering: key", 1 << 20);
    far_end.mesh.store(FORBIDS, SeqCst);
    // The second has the key of the first, whose failure makes it unavailable.
    let outcomes = world.settle(vec![record("a", event(1)), record("a", event(2))]).await;
    assert!(!outcomes.iter().any(is_acknowledged), "{outcomes:?}");
    far_end.mesh.store(DOWN, SeqCst);
    far_end.queue.store(DOWN, SeqCst);
    let position = Position::InShard { shard: "s".into(), sequence: "1".into(), sub_sequence: 0 };
    let read = |data: String| Record { position: position.clone(), ..record("a", data) };
    let outcomes = world.settle(vec![read(event(3)), read("{".into())]).await;
    assert!(!outcomes.iter().any(is_acknowledged), "{outcomes:?}");
    assert!(world.spool().state().lanes.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_full_spool_says_so_and_takes_no_part_of_a_call() {
    let far_end = FarEnd::new(1);
    let world = World::start(new_home(), &far_end, "", 64 * 1024);
    far_end.mesh.store(DOWN, SeqCst);
    let large = (0..40).map(|id| record("a", format!("{{\"id\":{id},\"x\":\"{}\"}}", "x".repeat(2_000)))).collect();
    let outcomes = world.settle(large).await;
    for outcome in &outcomes {
        let Settlement::Unsettled(Unsettled { trouble, message }) = &outcome.settlement else { panic!("{outcome:?}") };
        assert!(trouble.is_retryable() && message.contains("spool is full") && message.contains("retry"), "{message}");
    }
    assert!(world.spool().state().lanes.is_empty());
    assert!(is_acknowledged(&world.settle(vec![record("a", event(1))]).await[0]));
    world.spool().allow_growth(false).await;
    let outcomes = world.settle((2..60).map(|id| record("a", event(id))).collect()).await;
    let Settlement::Unsettled(Unsettled { message, .. }) = &outcomes[0].settlement else { panic!("{outcomes:?}") };
    assert!(message.contains("its disk is full"), "{message}");
    assert_eq!(world.count("meshgate_spool_refused_total"), 98.0);
}

#[tokio::test(start_paused = true)]
async fn what_the_stream_refuses_later_is_quarantined_or_kept_aside_and_holds_nobody_up() {
    let far_end = FarEnd::new(1);
    let world = World::start(new_home(), &far_end, ", ordering: key", 1 << 20);
    far_end.mesh.store(DOWN, SeqCst);
    let records = ["one", "BAD", "two"].map(|text| record("a", format!("{{\"id\":\"{text}\"}}")));
    assert!(world.settle(records.into()).await.iter().all(is_acknowledged));
    *far_end.invalid.lock().unwrap() = Some("BAD");
    far_end.letter_max.store(10, SeqCst);
    far_end.mesh.store(UP, SeqCst);
    world.drained().await;
    assert_eq!(far_end.data(), ["{\"id\":\"one\"}", "{\"id\":\"two\"}"]);
    let [aside] = &world.spool().aside().await.unwrap()[..] else { panic!("one is aside") };
    assert!(aside.reason.contains("too large") && !aside.reason.contains("BAD"), "{}", aside.reason);
    // Somebody makes room in the queue, and has it tried again.
    far_end.letter_max.store(usize::MAX, SeqCst);
    let world = World::start(world.kill().await, &far_end, ", ordering: key", 1 << 20);
    assert_eq!(world.gate.spooling.as_ref().unwrap().put_back().await, Ok(1));
    world.drained().await;
    assert_eq!(far_end.letters.lock().unwrap().len(), 1);
    assert!(world.spool().state().lanes.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_lane_that_is_refused_as_a_whole_waits_and_keeps_nobody_else() {
    let far_end = FarEnd::new(1);
    let world = World::start(new_home(), &far_end, "", 1 << 20);
    far_end.mesh.store(DOWN, SeqCst);
    far_end.queue.store(DOWN, SeqCst);
    assert!(world.settle(vec![record("a", event(1)), record("a", "{")]).await.iter().all(is_acknowledged));
    far_end.mesh.store(FORBIDS, SeqCst);
    far_end.queue.store(UP, SeqCst);
    let is_refused = || {
        let lanes = world.gate.spooling.as_ref().unwrap().view().lanes;
        lanes.len() == 1 && lanes[0].sink == "mesh"
    };
    world.wait_for("the letter is gone, the record is not", is_refused).await;
    let calls = far_end.calls.load(SeqCst);
    world.wait_for("it is tried again, and again", || far_end.calls.load(SeqCst) > calls + 5).await;
    assert_eq!((far_end.letters.lock().unwrap().len(), far_end.data().len()), (1, 0));
    let state = world.spool().state();
    assert_eq!(state.lanes.values().map(|held| (held.entries, held.aside)).collect::<Vec<_>>(), [(1, 0)]);
    far_end.mesh.store(UP, SeqCst);
    world.drained().await;
    assert_eq!(far_end.data(), [event(1)]);
}
