//! The gate where something is wrong: what it keeps, holds and says then. Rules are written by each test.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use meshgate::config::{self, Overrides, RuleSource};
use meshgate::gate::delivery::RetryPolicy;
use meshgate::metrics::Metrics;
use meshgate::model::{
    DeadLetter, Outcome, Placement, Position, Record, Settlement, StreamDescription, Timestamp, Trouble, Unsettled,
};
use meshgate::pipeline::objects::Objects;
use meshgate::pipeline::rules::{RuleOptions, Rules};
use meshgate::pipeline::{Gate, GateOptions};
use meshgate::port::{
    BoxFuture, CallLimits, Catalog, CatalogError, DeadLetterSink, Intake, LetterStore, MeshSink, StreamReader,
};

#[path = "support/streams.rs"]
mod streams;
use streams::active_stream;

const DOMAIN: &str = "apiVersion: meshgate/v1\nkind: Domain\nmetadata: {name: people, owner: {team: people}}\n";
const CONTRACT: &str = "apiVersion: meshgate/v1\nkind: EventContract\n\
                        metadata: {domain: people, name: joined, version: 1.0.0, status: active}\n";

/// A far end that takes everything, and a catalog that answers as it is told.
#[derive(Default)]
struct FarEnd {
    letters: Mutex<Vec<DeadLetter>>,
    /// Bytes resident when records reached the sink.
    resident: AtomicUsize,
    described: AtomicUsize,
    /// Nobody answers questions about streams.
    undescribed: AtomicBool,
    /// The mesh stream takes nothing.
    down: AtomicBool,
    /// The mesh stream takes all but what has this in it.
    invalid: Mutex<Option<&'static str>>,
    /// The largest letter that the queue takes, 0 for any.
    letter_max: AtomicUsize,
    /// Keys and sizes of what was put beside the queue.
    objects: Mutex<Vec<(String, usize)>>,
    /// Calls to put something there that are yet to fail.
    puts_to_fail: AtomicUsize,
}

impl LetterStore for FarEnd {
    fn put<'a>(&'a self, key: &'a str, body: Bytes, _: &'a [&'a DeadLetter]) -> BoxFuture<'a, Result<(), Unsettled>> {
        let fails = self.puts_to_fail.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)).is_ok();
        if fails {
            let message = "scripted to be down".into();
            return Box::pin(async { Err(Unsettled { trouble: Trouble::Unavailable, message }) });
        }
        self.objects.lock().unwrap().push((key.to_owned(), body.len()));
        Box::pin(async { Ok(()) })
    }

    fn pointer(&self, key: &str) -> String {
        format!("pointer to {key}")
    }
}

impl MeshSink for FarEnd {
    fn call_limits(&self) -> CallLimits {
        CallLimits { entries: 500, bytes: 64 << 20 }
    }

    fn put<'a>(&'a self, _: &'a str, records: &'a [&'a Record]) -> BoxFuture<'a, Vec<Result<Placement, Unsettled>>> {
        self.resident.store(resident(), SeqCst);
        if self.down.load(SeqCst) {
            let failure = Unsettled { trouble: Trouble::Unavailable, message: "scripted to be down".into() };
            return Box::pin(async move { vec![Err(failure); records.len()] });
        }
        let placement = Placement { shard_id: "shardId-000000000000".into(), sequence_number: "1".into() };
        let invalid = *self.invalid.lock().unwrap();
        let answer = |record: &&Record| match invalid {
            Some(text) if String::from_utf8_lossy(&record.data).contains(text) => {
                Err(Unsettled { trouble: Trouble::Invalid, message: "scripted to be invalid".into() })
            }
            _ => Ok(placement.clone()),
        };
        let answers = records.iter().map(answer).collect();
        Box::pin(async move { answers })
    }
}

impl DeadLetterSink for FarEnd {
    fn call_limits(&self) -> CallLimits {
        CallLimits { entries: 10, bytes: 64 << 20 }
    }

    fn size_of(&self, letter: &DeadLetter) -> usize {
        letter.body.len()
    }

    /// In a queue of this name letters keep the order of their keys.
    fn group(&self, queue: &str, letter: &DeadLetter) -> Option<String> {
        letter.key_hash.clone().filter(|_| queue == "ordered")
    }

    fn letter_bytes_max<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<usize, Unsettled>> {
        let letter_max = self.letter_max.load(SeqCst);
        Box::pin(async move { Ok(if letter_max > 0 { letter_max } else { 64 << 20 }) })
    }

    fn send<'a>(&'a self, _: &'a str, letters: &'a [&'a DeadLetter]) -> BoxFuture<'a, Vec<Result<(), Unsettled>>> {
        let letter_max = self.letter_max.load(SeqCst);
        let answer = |letter: &&DeadLetter| {
            if letter_max > 0 && letter.body.len() > letter_max {
                return Err(Unsettled { trouble: Trouble::Invalid, message: "scripted to be too large".into() });
            }
            self.letters.lock().unwrap().push((*letter).clone());
            Ok(())
        };
        let answers = letters.iter().map(answer).collect();
        Box::pin(async move { answers })
    }
}

impl Catalog for FarEnd {
    fn list_streams<'a>(&'a self) -> BoxFuture<'a, Result<Vec<String>, CatalogError>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn describe<'a>(&'a self, stream: &'a str) -> BoxFuture<'a, Result<StreamDescription, CatalogError>> {
        self.described.fetch_add(1, SeqCst);
        Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(20)).await;
            if self.undescribed.load(SeqCst) {
                return Err(CatalogError::Unavailable("scripted to be down".into()));
            }
            Ok(active_stream(stream, 1))
        })
    }

    fn reader(&self) -> Option<&dyn StreamReader> {
        None
    }
}

/// A gate with a contract of these lines in a domain of these, and these settings.
fn gate(domain: &str, contract: &str, settings: &str) -> (Arc<Gate>, Arc<FarEnd>) {
    let (options, far_end) = options(domain, contract, settings);
    (Arc::new(Gate::new(options)), far_end)
}

/// What such a gate is made of.
fn options(domain: &str, contract: &str, settings: &str) -> (GateOptions, Arc<FarEnd>) {
    let dir = tempfile::tempdir().unwrap();
    let people = dir.path().join("people");
    std::fs::create_dir(&people).unwrap();
    std::fs::write(people.join("domain.yaml"), format!("{DOMAIN}{domain}\n")).unwrap();
    std::fs::write(people.join("joined.yaml"), format!("{CONTRACT}{contract}\n")).unwrap();
    let metrics = Arc::new(Metrics::new());
    let (rules, loaded) = Rules::load(RuleOptions::new(RuleSource::from(dir.path()), Arc::clone(&metrics))).unwrap();
    assert!(loaded.is_good, "{:#?}", loaded.diagnostics);
    let text = (!settings.is_empty()).then_some(settings.as_bytes());
    let config = config::parse(text, Path::new("meshgate.yaml"), &Overrides::default()).unwrap();
    let far_end = Arc::new(FarEnd::default());
    let options = GateOptions {
        rules: Arc::new(rules),
        routes: config.routes,
        dlq: config.dlq,
        mesh: Arc::clone(&far_end) as _,
        letters: Arc::clone(&far_end) as _,
        objects: None,
        catalog: Arc::clone(&far_end) as _,
        retry: RetryPolicy { attempts_max: 2, base_ms: 1, throttled_base_ms: 1, cap_ms: 1, deadline_ms: 1_000 },
        records_in_flight_max: 10_000,
        inflated_bytes_max: 16 << 20,
        metrics,
        clock: || Timestamp::from_millis(1_795_341_605_000),
    };
    (options, far_end)
}

fn record(data: impl Into<Vec<u8>>) -> Record {
    Record {
        partition_key: Some("ann@example.org".into()),
        ..Record::new(data.into(), "people".into(), Timestamp::default())
    }
}

async fn settle(gate: &Gate, records: Vec<Record>) -> Vec<Outcome> {
    gate.settle("people", records).await.unwrap()
}

fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    status.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).unwrap_or_default() * 4096
}

/// A contract that names only its type has no stream of its own, but its events come on some.
#[tokio::test]
async fn a_masked_domain_keeps_nothing_of_an_event_that_may_be_its_own() {
    let (gate, far_end) = gate(
        "dlqPayload: masked",
        "match: {type: joined}\nprivacy: [{path: /email, classification: pii, mask: redact}]",
        "routes: [{source: people}]",
    );
    let sent = [r#"{"type":"joined","email":"ann@example.org",}"#, r#"{"type":"join","email":"ann@example.org"}"#];
    let outcomes = settle(&gate, sent.map(record).into()).await;
    assert!(outcomes.iter().all(|o| matches!(o.settlement, Settlement::Quarantined { .. })));
    for letter in far_end.letters.lock().unwrap().iter() {
        assert!(!letter.body.contains("ann@") && letter.body.contains("\"withheld\""), "{}", letter.body);
    }
}

#[tokio::test]
async fn a_stream_nobody_knows_yet_is_asked_about_once() {
    let (gate, far_end) = gate("", "match: {stream: people}", "");
    let together: Vec<_> = (0..50)
        .map(|_| {
            let gate = Arc::clone(&gate);
            tokio::spawn(async move { settle(&gate, vec![record("{}")]).await })
        })
        .collect();
    for settled in together {
        assert!(matches!(settled.await.unwrap()[0].settlement, Settlement::Forwarded(_)));
    }
    assert_eq!(far_end.described.load(SeqCst), 1);
}

#[tokio::test]
async fn no_verdict_rests_on_a_guess_of_the_streams_limit() {
    let (gate, far_end) = gate("", "match: {stream: people}", "");
    far_end.undescribed.store(true, SeqCst);
    let wide = format!("\"{}\"", "x".repeat(2 << 20));
    let outcomes = settle(&gate, vec![record(wide)]).await;
    assert!(matches!(outcomes[0].settlement, Settlement::Forwarded(_)), "{:?}", outcomes[0].judgement.violations);
}

/// Without a verdict it would be sent for ever, by its producer or by a shard's reader.
#[tokio::test]
async fn a_record_that_only_the_mesh_stream_refuses_is_quarantined() {
    let (gate, far_end) = gate("", "match: {stream: people}", "");
    *far_end.invalid.lock().unwrap() = Some("seven");
    let outcomes = settle(&gate, ["1", r#""seven""#, "2"].map(record).into()).await;
    assert!(matches!(outcomes[0].settlement, Settlement::Forwarded(_)));
    assert!(matches!(outcomes[1].settlement, Settlement::Quarantined { .. }), "{:?}", outcomes[1].settlement);
    assert!(matches!(outcomes[2].settlement, Settlement::Forwarded(_)));
    let letters = far_end.letters.lock().unwrap();
    let [letter] = &letters[..] else { panic!("{letters:?}") };
    assert_eq!((&*letter.rule, letter.kind), ("too_large", "too_large"));
    assert!(letter.body.contains(r#""json":"seven""#) && letter.body.contains("scripted to be invalid"));
}

/// The producer of an inline record has it still; of one that was read from a stream, the stream has.
#[tokio::test]
async fn a_letter_too_large_for_its_queue_goes_without_an_event_that_is_still_on_its_stream() {
    let (gate, far_end) = gate("", "match: {stream: people}\nrules: [{id: no, expression: 'false'}]", "");
    far_end.letter_max.store(2_000, SeqCst);
    let large = format!("\"{}\"", "x".repeat(5_000));
    let position = Position::InShard { shard: "s-1".into(), sequence: "17".into(), sub_sequence: 0 };
    let read = Record { position, ..record(large.clone()) };
    let outcomes = settle(&gate, vec![read, record(large)]).await;
    assert!(matches!(outcomes[0].settlement, Settlement::Quarantined { .. }), "{:?}", outcomes[0].settlement);
    let Settlement::Unsettled(unsettled) = &outcomes[1].settlement else { panic!("{:?}", outcomes[1].settlement) };
    assert_eq!(unsettled.trouble, Trouble::Invalid);
    let letters = far_end.letters.lock().unwrap();
    let [letter] = &letters[..] else { panic!("{letters:?}") };
    assert!(letter.body.contains("\"withheld\"") && letter.body.contains("s-1/17/0"), "{}", letter.body);
}

/// With a place for objects, it goes there whole, and in its place among the others.
#[tokio::test]
async fn a_letter_too_large_for_its_queue_goes_whole_where_objects_are_kept() {
    let contract = "match: {stream: people}\nrules: [{id: no, expression: 'false'}]";
    let (mut options, far_end) = options("", contract, "");
    let objects = Objects { store: Arc::clone(&far_end) as _, prefix: "dlq/".into(), archive: false };
    options.objects = Some(objects.clone());
    let gate = Gate::new(options);
    far_end.letter_max.store(2_000, SeqCst);
    let large = format!("\"{}\"", "x".repeat(5_000));
    let position = Position::InShard { shard: "s-1".into(), sequence: "17".into(), sub_sequence: 0 };
    let records = || vec![record("1"), Record { position: position.clone(), ..record(large.clone()) }, record("3")];

    // One attempt may fail, not two. The shard has to stand still then: the event may not be left out.
    far_end.puts_to_fail.store(2, SeqCst);
    let outcomes = gate.settle("people", records()).await.unwrap();
    let Settlement::Unsettled(unsettled) = &outcomes[1].settlement else { panic!("{:?}", outcomes[1].settlement) };
    assert!(unsettled.trouble.is_retryable() && unsettled.message.contains("scripted to be down"), "{unsettled:?}");
    assert!(unsettled.message.contains("not sent to its queue") && !unsettled.message.contains("xxx"), "{unsettled:?}");
    assert_eq!(far_end.letters.lock().unwrap().drain(..).count(), 2);

    far_end.puts_to_fail.store(1, SeqCst);
    let outcomes = gate.settle("people", records()).await.unwrap();
    assert!(outcomes.iter().all(|outcome| matches!(outcome.settlement, Settlement::Quarantined { .. })));
    let letters = far_end.letters.lock().unwrap();
    let [first, pointer, last] = &letters[..] else { panic!("{letters:?}") };
    let stored = far_end.objects.lock().unwrap();
    let [(key, bytes)] = &stored[..] else { panic!("{stored:?}") };
    assert_eq!(*key, format!("dlq/domain=people/date=2026-11-22/{}.json", pointer.id));
    assert_eq!((&pointer.body, pointer.document_bytes), (&format!("pointer to {key}"), Some(*bytes)));
    assert!(*bytes > 5_000 && first.document_bytes.is_none() && last.document_bytes.is_none());
}

/// An object that could not be put holds back what comes after it, where letters are to keep their order.
#[tokio::test]
async fn what_follows_a_letter_that_failed_waits_for_it_in_its_group() {
    let contract = "match: {stream: people}\nrules: [{id: no, expression: 'false'}]";
    for archive in [false, true] {
        let (mut options, far_end) = options("dlq: ordered", contract, "");
        options.objects = Some(Objects { store: Arc::clone(&far_end) as _, prefix: "".into(), archive });
        let gate = Gate::new(options);
        far_end.letter_max.store(2_000, SeqCst);
        far_end.puts_to_fail.store(2, SeqCst);
        let keyed = |data: &str, key: &str| Record { partition_key: Some(key.into()), ..record(data) };
        let large = format!("\"{}\"", "x".repeat(5_000));
        let records = [keyed("1", "a"), keyed(&large, "a"), keyed("3", "b"), keyed("4", "a"), keyed("5", "b")];
        let outcomes = gate.settle("people", records.into()).await.unwrap();
        let settled: Vec<bool> =
            outcomes.iter().map(|o| matches!(o.settlement, Settlement::Quarantined { .. })).collect();
        // Archived in one object, they fail together.
        let expected = if archive { [false; 5] } else { [true, false, true, false, true] };
        assert_eq!(settled, expected, "{outcomes:?}");
        assert_eq!(far_end.letters.lock().unwrap().len(), expected.iter().filter(|settled| **settled).count());
    }
}

/// A parsed event takes some thirty times the memory of its bytes, and waiting for a sink takes long.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parsed_events_are_not_held_while_their_records_are_delivered() {
    let (gate, far_end) = gate("", "match: {stream: people}", "");
    settle(&gate, vec![record(ones())]).await;
    let before = far_end.resident.load(SeqCst);
    settle(&gate, (0..8).map(|_| record(ones())).collect()).await;
    let grown = far_end.resident.load(SeqCst).saturating_sub(before);
    assert!(grown < 80 << 20, "8 records of 1 MB, and {} MiB more", grown >> 20);
}

/// A million bytes of `[1,1,1,…]`.
fn ones() -> String {
    format!("[{}1]", "1,".repeat(500_000))
}

/// What is written to the log.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_sink_that_is_down_is_one_line_of_the_log_under_any_load() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().json().with_writer(move || writer.clone()).finish();
    let _subscribed = tracing::subscriber::set_default(subscriber);
    let (gate, far_end) = gate("", "match: {stream: people}", "");
    far_end.down.store(true, SeqCst);
    for _ in 0..20 {
        let outcomes = settle(&gate, vec![record("\"private\""), record("2")]).await;
        assert!(outcomes.iter().all(|outcome| matches!(outcome.settlement, Settlement::Unsettled(_))));
    }
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert_eq!(log.lines().count(), 1, "{log}");
    assert!(log.contains("ERROR") && log.contains("scripted to be down") && !log.contains("private"), "{log}");
}

#[test]
fn a_target_that_is_gone_from_the_rules_is_gone_from_the_metrics() {
    let dir = tempfile::tempdir().unwrap();
    let people = dir.path().join("people");
    std::fs::create_dir(&people).unwrap();
    std::fs::write(people.join("domain.yaml"), DOMAIN).unwrap();
    let contract = |slo: &str| {
        std::fs::write(people.join("joined.yaml"), format!("{CONTRACT}match: {{stream: people}}\n{slo}")).unwrap();
    };
    contract("slo: [{property: errorRate, value: 0.5, unit: percent}]\n");
    let metrics = Arc::new(Metrics::new());
    let (rules, loaded) = Rules::load(RuleOptions::new(RuleSource::from(dir.path()), Arc::clone(&metrics))).unwrap();
    assert!(loaded.is_good, "{:#?}", loaded.diagnostics);
    let told = || metrics.render().lines().any(|line| line.starts_with("meshgate_slo_target_ratio{"));
    assert!(told());
    contract("");
    assert!(rules.reload().unwrap().is_good);
    assert!(!told());
}
