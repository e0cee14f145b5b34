//! Checks that remember, in a simulation: many clients at once, on a mesh stream that fails and delays, with repeated requests and
//! requests that are given up. What the gate says is compared with what is on the mesh stream.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use meshgate::config::{self, Overrides, RuleSource};
use meshgate::gate::delivery::RetryPolicy;
use meshgate::metrics::Metrics;
use meshgate::model::{
    DeadLetter, Outcome, Placement, Position, Record, Settlement, StreamDescription, Timestamp, Trouble, Unsettled,
    ViolationKind,
};
use meshgate::pipeline::rules::{RuleOptions, Rules};
use meshgate::pipeline::{Gate, GateOptions};
use meshgate::port::{BoxFuture, CallLimits, Catalog, CatalogError, DeadLetterSink, Intake, MeshSink, StreamReader};
use serde_json::{Value, json};

#[path = "support/streams.rs"]
mod streams;
use streams::active_stream;

const DOMAIN: &str = "apiVersion: meshgate/v1\nkind: Domain\nmetadata: {name: people, owner: {team: people}}\n";
const CONTRACT: &str = "apiVersion: meshgate/v1\nkind: EventContract\nmatch: {stream: people}\n\
                        metadata: {domain: people, name: joined, version: 1.0.0, status: active}\n";
const UNIQUE: &str = "stream: [{id: unique, type: duplicateValues, key: [this.key], window: 24h}]\n";
const ORDERED: &str = "stream: [{id: order, type: sequence, key: [this.key], value: this.number}]\n";
const GOOD: &str = "rules: [{id: good, expression: '!this.bad'}]\n";

/// A mesh stream that keeps what arrives, and what it is told to fail.
struct Mesh {
    arrived: Mutex<Vec<Value>>,
    random: Mutex<fastrand::Rng>,
    /// The share of records that do not arrive, in percent.
    fails: AtomicU32,
    /// Records with this in them wait for a permit.
    gate: tokio::sync::Semaphore,
    letters: Mutex<usize>,
}

impl Mesh {
    fn new(seed: u64, fails: u32) -> Arc<Self> {
        Arc::new(Self {
            arrived: Mutex::default(),
            random: Mutex::new(fastrand::Rng::with_seed(seed)),
            fails: fails.into(),
            gate: tokio::sync::Semaphore::new(0),
            letters: Mutex::default(),
        })
    }

    fn has(&self, holds: impl Fn(&Value) -> bool) -> bool {
        self.arrived.lock().unwrap().iter().any(holds)
    }
}

impl MeshSink for Mesh {
    fn call_limits(&self) -> CallLimits {
        CallLimits { entries: 500, bytes: 64 << 20 }
    }

    fn put<'a>(&'a self, _: &'a str, records: &'a [&'a Record]) -> BoxFuture<'a, Vec<Result<Placement, Unsettled>>> {
        Box::pin(async move {
            let delay = self.random.lock().unwrap().u64(0..3);
            tokio::time::sleep(Duration::from_millis(delay)).await;
            let mut answers = Vec::new();
            for record in records {
                let event: Value = serde_json::from_slice(&record.data).unwrap();
                if event["waits"] == true {
                    self.gate.acquire().await.unwrap().forget();
                }
                let fails =
                    event["fails"] == true || self.random.lock().unwrap().u32(0..100) < self.fails.load(Relaxed);
                answers.push(if fails {
                    Err(Unsettled { trouble: Trouble::Unavailable, message: "scripted to be down".into() })
                } else {
                    self.arrived.lock().unwrap().push(event);
                    Ok(Placement { shard_id: "shardId-000000000000".into(), sequence_number: "1".into() })
                });
            }
            answers
        })
    }
}

impl DeadLetterSink for Mesh {
    fn call_limits(&self) -> CallLimits {
        CallLimits { entries: 10, bytes: 64 << 20 }
    }

    fn size_of(&self, letter: &DeadLetter) -> usize {
        letter.body.len()
    }

    fn send<'a>(&'a self, _: &'a str, letters: &'a [&'a DeadLetter]) -> BoxFuture<'a, Vec<Result<(), Unsettled>>> {
        *self.letters.lock().unwrap() += letters.len();
        Box::pin(async move { vec![Ok(()); letters.len()] })
    }
}

impl Catalog for Mesh {
    fn list_streams<'a>(&'a self) -> BoxFuture<'a, Result<Vec<String>, CatalogError>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn describe<'a>(&'a self, stream: &'a str) -> BoxFuture<'a, Result<StreamDescription, CatalogError>> {
        Box::pin(async move { Ok(active_stream(stream, 1)) })
    }

    fn reader(&self) -> Option<&dyn StreamReader> {
        None
    }
}

struct World {
    gate: Gate,
    rules: Arc<Rules>,
    mesh: Arc<Mesh>,
    isolation: &'static str,
}

fn world(contract: &str, more: &[(&str, &str)], isolation: &'static str, mesh: Arc<Mesh>) -> World {
    let dir = tempfile::tempdir().unwrap();
    let people = dir.path().join("people");
    std::fs::create_dir(&people).unwrap();
    std::fs::write(people.join("domain.yaml"), DOMAIN).unwrap();
    std::fs::write(people.join("joined.yaml"), format!("{CONTRACT}{contract}")).unwrap();
    for (path, text) in more {
        std::fs::create_dir_all(dir.path().join(path).parent().unwrap()).unwrap();
        std::fs::write(dir.path().join(path), text).unwrap();
    }
    let metrics = Arc::new(Metrics::new());
    let (rules, loaded) = Rules::load(RuleOptions::new(RuleSource::from(dir.path()), Arc::clone(&metrics))).unwrap();
    assert!(loaded.is_good, "{:#?}", loaded.diagnostics);
    let settings = format!("routes: [{{source: people, isolation: {isolation}}}]");
    let config = config::parse(Some(settings.as_bytes()), Path::new("meshgate.yaml"), &Overrides::default()).unwrap();
    let rules = Arc::new(rules);
    let gate = Gate::new(GateOptions {
        rules: Arc::clone(&rules),
        routes: config.routes,
        dlq: config.dlq,
        mesh: Arc::clone(&mesh) as _,
        letters: Arc::clone(&mesh) as _,
        objects: None,
        catalog: Arc::clone(&mesh) as _,
        retry: RetryPolicy { attempts_max: 2, base_ms: 1, throttled_base_ms: 1, cap_ms: 1, deadline_ms: 10_000 },
        records_in_flight_max: 10_000,
        inflated_bytes_max: 16 << 20,
        metrics,
        clock: meshgate::pipeline::now,
    });
    World { gate, rules, mesh, isolation }
}

/// A request by its client's name, as often as it is sent.
#[derive(Clone)]
struct Request {
    name: Arc<str>,
    events: Vec<Value>,
}

impl World {
    async fn send(&self, Request { name, events }: Request) -> Vec<Outcome> {
        let record = |(index, event): (usize, Value)| Record {
            partition_key: Some(event["partition"].to_string()),
            position: match &*name {
                "" => Position::Unknown,
                _ => Position::InRequest { request: Arc::clone(&name), index },
            },
            ..Record::new(event.to_string().into_bytes(), "people".into(), Timestamp::default())
        };
        self.gate.settle("people", events.into_iter().enumerate().map(record).collect()).await.unwrap()
    }

    async fn put(&self, name: &str, events: &[Value]) -> Vec<&'static str> {
        let outcomes = self.send(Request { name: name.into(), events: events.to_vec() }).await;
        outcomes.iter().map(word).collect()
    }

    /// How many keys the first check remembers.
    fn remembered(&self) -> usize {
        let in_force = self.rules.current();
        let contract = in_force.contract("people", "joined").unwrap();
        let states = in_force.states.of(contract).unwrap();
        states.of(contract).next().unwrap().1.usage().entries
    }

    /// Whether two events of a batch stand or fall together.
    fn are_one(&self, one: &Value, other: &Value) -> bool {
        match self.isolation {
            "batch" => true,
            "partition_key" => one["partition"] == other["partition"],
            _ => false,
        }
    }
}

fn word(outcome: &Outcome) -> &'static str {
    match &outcome.settlement {
        Settlement::Forwarded(_) => "forwarded",
        Settlement::Quarantined { .. } => "quarantined",
        Settlement::Dropped(_) => "dropped",
        Settlement::Unsettled(_) => "unsettled",
    }
}

fn event(key: u32) -> Value {
    json!({"key": key, "number": key, "bad": false, "partition": 0})
}

fn with(mut event: Value, name: &str, value: Value) -> Value {
    event[name] = value;
    event
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_a_duplicate_of_what_did_not_arrive() {
    let world = Arc::new(world(UNIQUE, &[], "record", Mesh::new(1, 0)));
    let slow = with(with(event(1), "waits", json!(true)), "fails", json!(true));
    let first = tokio::spawn({
        let (world, slow) = (Arc::clone(&world), slow.clone());
        async move { world.put("first", &[slow]).await }
    });
    tokio::time::sleep(Duration::from_millis(50)).await;
    let second = tokio::spawn({
        let world = Arc::clone(&world);
        async move { world.put("second", &[event(1), event(2)]).await }
    });
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!second.is_finished(), "nobody can say yet");
    world.mesh.gate.add_permits(2);
    assert_eq!(first.await.unwrap(), ["unsettled"]);
    assert_eq!(second.await.unwrap(), ["unsettled", "forwarded"]);
    assert_eq!(world.put("third", &[event(1)]).await, ["forwarded"]);
    assert_eq!(world.put("fourth", &[event(1)]).await, ["quarantined"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_follows_a_doubtful_event_of_its_partition_key_waits_where_order_is_kept() {
    let settings = [
        ("record", ["unsettled", "forwarded", "forwarded"]),
        ("record, ordering: key", ["unsettled", "unsettled", "forwarded"]),
    ];
    for (route, expected) in settings {
        let world = Arc::new(world(UNIQUE, &[], route, Mesh::new(1, 0)));
        let slow = with(with(event(1), "waits", json!(true)), "fails", json!(true));
        let first = tokio::spawn({
            let world = Arc::clone(&world);
            async move { world.put("first", &[slow]).await }
        });
        tokio::time::sleep(Duration::from_millis(50)).await;
        let second = tokio::spawn({
            let world = Arc::clone(&world);
            async move { world.put("second", &[event(1), event(2), with(event(3), "partition", json!(1))]).await }
        });
        tokio::time::sleep(Duration::from_millis(50)).await;
        world.mesh.gate.add_permits(2);
        assert_eq!(first.await.unwrap(), ["unsettled"]);
        assert_eq!(second.await.unwrap(), expected, "{route}");
        assert_eq!(world.put("third", &[event(1), event(2)]).await[0], "forwarded");
    }
}

#[tokio::test]
async fn a_batch_that_has_a_key_twice_is_told_whether_its_client_names_it_or_not() {
    for (isolation, expected) in [
        ("record", ["forwarded", "quarantined", "quarantined", "forwarded"]),
        ("partition_key", ["quarantined", "quarantined", "quarantined", "forwarded"]),
        ("batch", ["quarantined", "quarantined", "quarantined", "quarantined"]),
    ] {
        for name in ["named", ""] {
            let world = world(UNIQUE, &[], isolation, Mesh::new(1, 0));
            let other = with(event(2), "partition", json!(1));
            assert_eq!(world.put(name, &[event(1), event(1), event(1), other]).await, expected, "{isolation} {name}");
        }
    }
}

#[tokio::test]
async fn what_is_isolated_is_nobodys_first() {
    let world = world(&format!("{UNIQUE}{GOOD}"), &[], "partition_key", Mesh::new(1, 0));
    let bad = with(event(9), "bad", json!(true));
    let other = with(event(1), "partition", json!(1));
    let mate = with(event(2), "partition", json!(1));
    let outcomes = world.put("a", &[event(1), bad, other.clone(), mate.clone()]).await;
    assert_eq!(outcomes, ["quarantined", "quarantined", "unsettled", "unsettled"]);
    assert_eq!(world.put("b", &[other, mate]).await, ["forwarded", "forwarded"]);
}

#[tokio::test]
async fn a_drop_rests_on_no_guess_either() {
    let drops = "stream: [{id: unique, type: duplicateValues, key: [this.key], window: 24h, on_fail: drop}]\n";
    let world = world(drops, &[], "record", Mesh::new(1, 0));
    let fails = with(event(1), "fails", json!(true));
    assert_eq!(
        world.put("a", &[fails, event(1), event(2), event(2)]).await,
        ["unsettled", "unsettled", "forwarded", "dropped"]
    );
}

#[tokio::test]
async fn what_a_breaker_forwards_anyway_counts_and_no_policy_is_weakened() {
    let breaker = "breaker: {maxQuarantineRatio: 0.1, window: 1m, minEvents: 1, action: forward}\n";
    let policy = "apiVersion: meshgate/v1\nkind: Policy\nmetadata: {name: base, owner: {team: platform}}\n\
                  rules: [{id: known, expression: this.key < 100}]\n";
    let world =
        world(&format!("{UNIQUE}{GOOD}{breaker}"), &[("policies/base.yaml", policy)], "record", Mesh::new(1, 0));
    let bad = |key| with(event(key), "bad", json!(true));
    assert_eq!(world.put("a", &[bad(1), bad(100), event(100)]).await, ["forwarded", "quarantined", "quarantined"]);
    let outcomes = world.send(Request { name: "b".into(), events: vec![event(1)] }).await;
    let kinds: Vec<_> = outcomes[0].judgement.violations.iter().map(|violation| violation.kind).collect();
    assert_eq!((word(&outcomes[0]), &*kinds), ("forwarded", &[ViolationKind::Duplicate][..]), "told, at least");
}

/// By key: the request's name, and the place in it.
type Told = BTreeMap<u64, (Arc<str>, usize)>;

/// Clients that share keys, repeat requests, also while they are under way, and give some up.
struct Client {
    world: Arc<World>,
    contract: &'static str,
    /// Keys that somebody was told are on the mesh stream, with the delivery that was.
    told: Arc<Mutex<Told>>,
    random: fastrand::Rng,
    number: usize,
}

const KEYS: u64 = 60;

impl Client {
    async fn run(mut self, steps: usize) {
        let mut last = None;
        for step in 0..steps {
            let request = match last.take() {
                Some(last) if self.random.u32(0..4) == 0 => last,
                _ => self.request(step),
            };
            if self.random.u32(0..5) == 0 {
                // Given up somewhere on the way.
                let patience = Duration::from_micros(self.random.u64(0..4000));
                let _ = tokio::time::timeout(patience, self.attempt(request.clone())).await;
            } else if self.random.u32(0..5) == 0 {
                tokio::join!(self.attempt(request.clone()), self.attempt(request.clone()));
            } else {
                self.attempt(request.clone()).await;
            }
            last = Some(request);
        }
    }

    fn request(&mut self, step: usize) -> Request {
        let random = &mut self.random;
        let events = (0..random.usize(1..5)).map(|_| {
            let (key, bad) = (random.u64(0..KEYS), random.u32(0..20) == 0);
            json!({"key": key, "number": random.i64(0..1000), "bad": bad, "partition": random.u32(0..2)})
        });
        Request { events: events.collect(), name: format!("{}-{step}", self.number).into() }
    }

    async fn attempt(&self, request: Request) {
        let told_before = self.told.lock().unwrap().clone();
        let outcomes = self.world.send(request.clone()).await;
        for (index, (event, outcome)) in request.events.iter().zip(&outcomes).enumerate() {
            let key = event["key"].as_u64().unwrap();
            let is_own = |(name, at): &(Arc<str>, usize)| (name, *at) == (&request.name, index);
            if let Settlement::Forwarded(_) = outcome.settlement {
                let is_first = told_before.get(&key).is_none_or(is_own);
                assert!(is_first || self.contract != UNIQUE, "{key}: a duplicate was not told");
                self.told.lock().unwrap().entry(key).or_insert((Arc::clone(&request.name), index));
            }
            if matches!(outcome.settlement, Settlement::Quarantined { .. }) {
                self.check(&request, event, outcome);
            }
        }
    }

    /// What is told of a quarantined event is so.
    fn check(&self, request: &Request, event: &Value, outcome: &Outcome) {
        let kinds: Vec<_> = outcome.judgement.violations.iter().map(|violation| violation.kind).collect();
        let mates =
            || request.events.iter().filter(|mate| self.world.are_one(event, mate) && mate["key"] == event["key"]);
        if kinds.contains(&ViolationKind::Duplicate) && !event["bad"].as_bool().unwrap() {
            let is_there = self.world.mesh.has(|arrived| arrived["key"] == event["key"]);
            assert!(is_there || mates().count() > 1, "{event} is no duplicate");
        }
        let number = |event: &Value| event["number"].as_i64();
        if outcome.judgement.violations.iter().any(|violation| violation.message.contains("not higher")) {
            let is_later = |other: &Value| other["key"] == event["key"] && number(other) >= number(event);
            let is_bad = event["bad"].as_bool().unwrap() || mates().count() > 1;
            assert!(is_bad || self.world.mesh.has(is_later), "{event} follows");
        }
    }
}

async fn simulate(contract: &'static str, isolation: &'static str, seed: u64) {
    let world = Arc::new(world(&format!("{contract}{GOOD}"), &[], isolation, Mesh::new(seed, 20)));
    let told = Arc::default();
    let clients: Vec<_> = (0..8)
        .map(|number| {
            let random = fastrand::Rng::with_seed(seed * 100 + number as u64);
            let client = Client { world: Arc::clone(&world), contract, told: Arc::clone(&told), random, number };
            tokio::spawn(client.run(150))
        })
        .collect();
    for client in clients {
        client.await.unwrap();
    }
    if contract == UNIQUE {
        let told = told.lock().unwrap().len();
        let arrived: BTreeSet<_> =
            world.mesh.arrived.lock().unwrap().iter().map(|event| event["key"].as_u64().unwrap()).collect();
        // One that arrived may have been settled when its client gave up waiting for the others of its batch.
        assert!((told..=arrived.len()).contains(&world.remembered()), "nothing is held any more");
        assert!(told as u64 > KEYS / 2 && *world.mesh.letters.lock().unwrap() > 0);
        world.mesh.fails.store(0, Relaxed);
        for key in 0..KEYS {
            let expected = if arrived.contains(&key) { &["forwarded", "quarantined"][..] } else { &["forwarded"] };
            let settled = world.put(&format!("last-{key}"), &[event(key as u32)]).await;
            assert!(expected.contains(&settled[0]), "{key}: {settled:?}");
        }
        assert_eq!(world.remembered() as u64, KEYS);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn duplicates_are_told_and_nothing_else() {
    for (seed, isolation) in [(1, "record"), (2, "record"), (3, "partition_key"), (4, "batch")] {
        simulate(UNIQUE, isolation, seed).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn numbers_are_out_of_order_only_after_higher_ones() {
    for (seed, isolation) in [(5, "record"), (6, "partition_key")] {
        simulate(ORDERED, isolation, seed).await;
    }
}
