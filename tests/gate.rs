//! The gate between scripted sinks: what is forwarded, what is quarantined, and what a producer hears when a sink fails.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, LazyLock, Mutex};

use bytes::Bytes;
use meshgate::config::{self, Overrides, RuleSource};
use meshgate::decode::kpl::Builder;
use meshgate::gate::delivery::RetryPolicy;
use meshgate::gate::document;
use meshgate::metrics::Metrics;
use meshgate::model::{
    DeadLetter, HashKey, HashKeyRange, Outcome, Placement, Record, Settlement, StreamDescription, Timestamp, Trouble,
    Unsettled, Verdict, ViolationKind,
};
use meshgate::pipeline::rules::{RuleOptions, Rules};
use meshgate::pipeline::{Gate, GateOptions};
use meshgate::port::{
    BoxFuture, CallLimits, Catalog, CatalogError, DeadLetterSink, Intake, IntakeError, MeshSink, StreamReader,
};
use proptest::prelude::*;

#[path = "support/streams.rs"]
mod streams;
use streams::active_stream;

/// 2026-11-22T10:00:05Z, just after the sample order was placed.
const NOW: Timestamp = Timestamp::from_millis(1_795_341_605_000);
const STREAM: &str = "orders-events";

/// A far end of both kinds that keeps what it is given, or is down.
#[derive(Default)]
struct FarEnd {
    forwarded: Mutex<Vec<(String, Bytes)>>,
    /// Of what is forwarded.
    keys: Mutex<Vec<Option<String>>>,
    letters: Mutex<Vec<(String, DeadLetter)>>,
    mesh_down: AtomicBool,
    dlq_down: AtomicBool,
}

fn down() -> Unsettled {
    Unsettled { trouble: Trouble::Unavailable, message: "scripted to be down".into() }
}

impl MeshSink for FarEnd {
    fn call_limits(&self) -> CallLimits {
        CallLimits { entries: 7, bytes: 64 * 1024 }
    }

    fn put<'a>(
        &'a self,
        stream: &'a str,
        records: &'a [&'a Record],
    ) -> BoxFuture<'a, Vec<Result<Placement, Unsettled>>> {
        let put = |record: &&Record| {
            if self.mesh_down.load(Relaxed) {
                return Err(down());
            }
            let mut forwarded = self.forwarded.lock().unwrap();
            forwarded.push((stream.to_owned(), record.data.clone()));
            self.keys.lock().unwrap().push(record.partition_key.clone());
            Ok(Placement { shard_id: "shardId-000000000000".into(), sequence_number: forwarded.len().to_string() })
        };
        let answers = records.iter().map(put).collect();
        Box::pin(async { answers })
    }
}

impl DeadLetterSink for FarEnd {
    fn call_limits(&self) -> CallLimits {
        CallLimits { entries: 3, bytes: 1024 * 1024 }
    }

    fn size_of(&self, letter: &DeadLetter) -> usize {
        letter.body.len()
    }

    fn send<'a>(&'a self, queue: &'a str, letters: &'a [&'a DeadLetter]) -> BoxFuture<'a, Vec<Result<(), Unsettled>>> {
        let send = |letter: &&DeadLetter| {
            if self.dlq_down.load(Relaxed) {
                return Err(down());
            }
            self.letters.lock().unwrap().push((queue.to_owned(), (*letter).clone()));
            Ok(())
        };
        let answers = letters.iter().map(send).collect();
        Box::pin(async { answers })
    }
}

impl Catalog for FarEnd {
    fn list_streams<'a>(&'a self) -> BoxFuture<'a, Result<Vec<String>, CatalogError>> {
        Box::pin(async { Ok(vec![STREAM.to_owned(), "of-nobody".to_owned()]) })
    }

    fn describe<'a>(&'a self, stream: &'a str) -> BoxFuture<'a, Result<StreamDescription, CatalogError>> {
        let description = StreamDescription { created: NOW, max_record_size_kib: 2, ..active_stream(stream, 4) };
        Box::pin(async { Ok(description) })
    }

    fn reader(&self) -> Option<&dyn StreamReader> {
        None
    }
}

/// The sample rules, compiled once.
static RULES: LazyLock<Arc<Rules>> = LazyLock::new(|| {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("rules");
    let (rules, loaded) =
        Rules::load(RuleOptions::new(RuleSource::Directory(dir), Arc::new(Metrics::new()))).expect("the sample rules");
    assert!(loaded.is_good);
    Arc::new(rules)
});

/// A gate with the sample rules and settings as written.
fn gate(settings: &str) -> (Gate, Arc<FarEnd>, Arc<Metrics>) {
    let text = (!settings.is_empty()).then_some(settings.as_bytes());
    let config = config::parse(text, Path::new("meshgate.yaml"), &Overrides::default()).expect("good settings");
    let metrics = Arc::new(Metrics::new());
    let far_end = Arc::new(FarEnd::default());
    let gate = Gate::new(GateOptions {
        rules: Arc::clone(&RULES),
        routes: config.routes,
        dlq: config.dlq,
        mesh: Arc::clone(&far_end) as _,
        letters: Arc::clone(&far_end) as _,
        objects: None,
        catalog: Arc::clone(&far_end) as _,
        retry: RetryPolicy { attempts_max: 2, base_ms: 1, throttled_base_ms: 1, cap_ms: 1, deadline_ms: 1_000 },
        records_in_flight_max: 1_000,
        inflated_bytes_max: config.inflated_bytes_max,
        metrics: Arc::clone(&metrics),
        clock: || NOW,
    });
    (gate, far_end, metrics)
}

fn order(number: usize) -> Vec<u8> {
    include_str!("../benches/order.json").trim_end().replace("{number}", &format!("{number:06}")).into_bytes()
}

fn bad_order(number: usize) -> Vec<u8> {
    let text = String::from_utf8(order(number)).unwrap();
    text.replace("\"totalMinor\": 16915", "\"totalMinor\": 1").into_bytes()
}

fn record(data: Vec<u8>, key: &str) -> Record {
    Record { partition_key: Some(key.to_owned()), ..Record::new(data, STREAM.into(), NOW) }
}

fn settle(gate: &Gate, stream: &str, records: Vec<Record>) -> Result<Vec<Outcome>, IntakeError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(gate.settle(stream, records))
}

fn rules_of(outcome: &Outcome) -> Vec<&str> {
    outcome.judgement.violations.iter().map(|v| &*v.rule).collect()
}

#[test]
fn good_events_are_forwarded_and_bad_ones_kept_with_their_bytes() {
    let (gate, far_end, _) = gate("");
    let sent = [order(1), bad_order(2), order(3), b"{\"id\":1,\"id\":2}".to_vec()];
    let records = sent.iter().map(|data| record(data.clone(), "O-000001")).collect();
    let outcomes = settle(&gate, STREAM, records).unwrap();

    let forwarded: Vec<_> = far_end.forwarded.lock().unwrap().iter().map(|(_, data)| data.to_vec()).collect();
    assert_eq!(forwarded, [sent[0].clone(), sent[2].clone()]);
    let letters = far_end.letters.lock().unwrap();
    let kept: Vec<_> = letters.iter().map(|(_, letter)| document::original(&letter.body).unwrap()).collect();
    assert_eq!(kept, [sent[1].clone(), sent[3].clone()]);
    let described: Vec<_> =
        letters.iter().map(|(queue, l)| (queue.as_str(), &*l.domain, &*l.contract, &*l.rule, l.kind)).collect();
    assert_eq!(
        described,
        [
            ("meshgate-dlq", "orders", "order.placed", "total_adds_up", "rule"),
            ("meshgate-dlq", "orders", "unknown", "malformed", "malformed"),
        ]
    );

    // What the producer sees of them: success, on the shard its key hashes to.
    let (shards, key) = (HashKeyRange::divide(4).enumerate(), HashKey::of_partition_key("O-000001"));
    let (shard, _) = shards.into_iter().find(|(_, range)| range.contains(key)).unwrap();
    for (outcome, letter) in [(&outcomes[1], &letters[0].1), (&outcomes[3], &letters[1].1)] {
        let Settlement::Quarantined { placement, dead_letter, refuse: false } = &outcome.settlement else {
            panic!("{outcome:?}");
        };
        assert_eq!(*placement.shard_id, format!("shardId-{shard:012}"));
        assert_eq!((placement.sequence_number.len(), &placement.sequence_number[..1]), (40, "7"));
        assert_eq!(*dead_letter, letter.id);
    }
}

#[test]
fn a_sink_that_is_down_leaves_its_records_unsettled_and_no_others() {
    let (gate, far_end, metrics) = gate("");
    let records = || vec![record(order(1), "O-000001"), record(bad_order(2), "O-000002")];
    far_end.dlq_down.store(true, Relaxed);
    let outcomes = settle(&gate, STREAM, records()).unwrap();
    assert!(matches!(outcomes[0].settlement, Settlement::Forwarded(_)));
    assert!(matches!(&outcomes[1].settlement, Settlement::Unsettled(u) if u.trouble == Trouble::Unavailable));

    far_end.dlq_down.store(false, Relaxed);
    far_end.mesh_down.store(true, Relaxed);
    let outcomes = settle(&gate, STREAM, records()).unwrap();
    assert!(matches!(&outcomes[0].settlement, Settlement::Unsettled(_)));
    assert!(matches!(outcomes[1].settlement, Settlement::Quarantined { .. }));
    assert_eq!(metrics.in_flight.get(), 0);
    let unsettled: f64 = metrics
        .counters("meshgate_records_total")
        .iter()
        .filter(|(labels, _)| labels.iter().any(|(_, value)| value == "unsettled"))
        .map(|(_, count)| count)
        .sum();
    assert_eq!(unsettled, 2.0);
}

#[test]
fn routes_rename_choose_the_queue_and_may_refuse() {
    let routes =
        "routes: [{source: orders-events, mesh: mesh-orders, dlq: orders-bad, on_quarantine: refuse, ordering: key}]";
    let (gate, far_end, _) = gate(routes);
    let outcomes = settle(&gate, STREAM, vec![record(order(1), "O-000001"), record(bad_order(2), "O-000002")]).unwrap();
    assert_eq!(far_end.forwarded.lock().unwrap()[0].0, "mesh-orders");
    assert_eq!(far_end.letters.lock().unwrap()[0].0, "orders-bad");
    assert!(matches!(outcomes[1].settlement, Settlement::Quarantined { refuse: true, .. }));
    // With routes only their sources exist, whatever contracts cover.
    let unknown = settle(&gate, "orders-other", vec![record(order(1), "k")]).unwrap_err();
    assert_eq!(unknown, IntakeError::UnknownStream { stream: "orders-other".into() });
}

#[test]
fn a_quarantined_record_takes_with_it_what_its_route_says() {
    let batch = || {
        let good = |number, key| record(order(number), key);
        vec![good(1, "a"), record(bad_order(2), "b"), good(3, "b"), good(4, "c")]
    };
    let why = |outcome: &Outcome| match outcome.judgement.verdict {
        Verdict::Quarantine if rules_of(outcome).contains(&"isolation") => "isolation",
        Verdict::Quarantine => "bad",
        _ => "",
    };
    let route =
        |isolation| format!("routes: [{{source: orders-events, isolation: {isolation}, on_quarantine: refuse}}]");
    for (isolation, expected) in [
        ("record", ["", "bad", "", ""]),
        ("partition_key", ["", "bad", "isolation", ""]),
        ("batch", ["isolation", "bad", "isolation", "isolation"]),
    ] {
        let (gate, far_end, _) = gate(&route(isolation));
        let outcomes = settle(&gate, STREAM, batch()).unwrap();
        assert_eq!(outcomes.iter().map(why).collect::<Vec<_>>(), expected, "{isolation}");
        let quarantined = expected.iter().filter(|rules| !rules.is_empty()).count();
        assert_eq!(far_end.letters.lock().unwrap().len(), quarantined);
        assert_eq!(far_end.forwarded.lock().unwrap().len(), 4 - quarantined);
        // What goes with a refused record is refused like it: whoever sends the batch again sends all of it.
        let refused = |outcome: &&Outcome| matches!(outcome.settlement, Settlement::Quarantined { refuse: true, .. });
        assert_eq!(outcomes.iter().filter(refused).count(), quarantined);
        // Another request is another batch.
        let next = settle(&gate, STREAM, vec![record(order(5), "b")]).unwrap();
        assert_eq!(next[0].judgement.verdict, Verdict::Forward);
    }
}

#[test]
fn a_stream_nobody_covers_does_not_exist() {
    let (gate, far_end, _) = gate("");
    let unknown = settle(&gate, "of-nobody", vec![record(order(1), "k")]).unwrap_err();
    assert_eq!(unknown, IntakeError::UnknownStream { stream: "of-nobody".into() });
    assert!(far_end.forwarded.lock().unwrap().is_empty());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    assert_eq!(runtime.block_on(gate.source_streams()).unwrap(), [STREAM]);
    assert_eq!(gate.mesh_stream("of-nobody"), None);
}

#[test]
fn a_record_beyond_the_streams_limit_is_too_large() {
    let (gate, far_end, _) = gate("");
    let outcomes = settle(&gate, STREAM, vec![record(vec![b' '; 2_049], "k")]).unwrap();
    assert_eq!((outcomes[0].judgement.verdict, rules_of(&outcomes[0])), (Verdict::Quarantine, vec!["too_large"]));
    assert_eq!(far_end.letters.lock().unwrap().len(), 1);
}

#[test]
fn more_in_flight_than_allowed_is_turned_away_whole() {
    let (gate, far_end, metrics) = gate("");
    metrics.in_flight.add(900);
    let records = (0..101).map(|n| record(order(n), "k")).collect();
    assert_eq!(settle(&gate, STREAM, records).unwrap_err(), IntakeError::Overloaded);
    assert_eq!(metrics.in_flight.get(), 900, "what was turned away no longer counts");
    assert!(far_end.forwarded.lock().unwrap().is_empty());
}

#[test]
fn judging_by_name_forwards_nothing() {
    let (gate, far_end, _) = gate("");
    let events = [Bytes::from(order(1)), Bytes::from(bad_order(2)), Bytes::from_static(b"[")];
    let verdicts: Vec<_> =
        gate.judge("orders", "order.placed", &events, NOW).unwrap().into_iter().map(|j| j.verdict).collect();
    assert_eq!(verdicts, [Verdict::Forward, Verdict::Quarantine, Verdict::Quarantine]);
    assert!(far_end.forwarded.lock().unwrap().is_empty() && far_end.letters.lock().unwrap().is_empty());
    assert!(matches!(gate.judge("orders", "nope", &events, NOW), Err(IntakeError::UnknownContract { .. })));
}

fn gzip(data: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

fn zlib(data: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn compressed_events_are_judged_by_what_they_inflate_to_and_forwarded_as_they_came() {
    let (gate, far_end, _) = gate("");
    let not_json = gzip(b"{\"id\":1,");
    let mut damaged = gzip(&order(5));
    let last = damaged.len() - 1;
    damaged[last] ^= 1;
    let sent = [gzip(&order(1)), gzip(&bad_order(2)), zlib(&order(3)), not_json, damaged];
    let outcomes = settle(&gate, STREAM, sent.iter().map(|data| record(data.clone(), "k")).collect()).unwrap();
    let forwarded: Vec<_> = far_end.forwarded.lock().unwrap().iter().map(|(_, data)| data.to_vec()).collect();
    assert_eq!(forwarded, [sent[0].clone(), sent[2].clone()]);
    let decided = outcomes.iter().map(|outcome| match outcome.judgement.verdict {
        Verdict::Quarantine => rules_of(outcome)[0],
        _ => "",
    });
    assert_eq!(decided.collect::<Vec<_>>(), ["", "total_adds_up", "", "malformed", "malformed"]);
    assert_eq!(&*outcomes[1].judgement.stamp.contract, "order.placed");
    let told = |at: usize| outcomes[at].judgement.violations[0].message.clone();
    assert_eq!(told(3), "what the gzip payload inflates to is not well-formed JSON: unexpected end at byte 8");
    assert_eq!(told(4), "the gzip payload is damaged: what it inflates to is not what its checksum and size say");
    let letters = far_end.letters.lock().unwrap();
    for (letter, at) in letters.iter().map(|(_, letter)| letter).zip([1, 3, 4]) {
        assert_eq!(document::original(&letter.body).unwrap(), sent[at]);
        // The sample domain has private fields.
        let shown = document::for_display(&letter.body).unwrap();
        assert!(!shown.contains("@example.com") && !shown.contains("\"base64\":"), "{shown}");
        assert_eq!(shown.contains("sha256:"), at == 1, "masked where it can be: {shown}");
    }
}

/// What the mesh stream takes is a matter of the record's own size; what is inflated, of the setting's.
#[test]
fn a_bomb_is_a_verdict() {
    let (gate, far_end, _) = gate("limits: {inflated_mib: 1}");
    let spaces = |count| gzip(&[order(1), b" ".repeat(count)].concat());
    let fits = record(spaces((1 << 20) - order(1).len()), "k");
    let bomb = record(spaces((1 << 20) - order(1).len() + 1), "k");
    let size = bomb.data.len();
    assert!(size < 2_000, "the stream takes it");
    let outcomes = settle(&gate, STREAM, vec![fits, bomb]).unwrap();
    assert_eq!(outcomes[0].judgement.verdict, Verdict::Forward);
    assert_eq!(rules_of(&outcomes[1]), ["too_large"]);
    assert_eq!(
        outcomes[1].judgement.violations[0].message,
        format!("the gzip payload of {size} bytes inflates to more than 1048576 bytes (limits.inflated_mib)")
    );
    assert_eq!(far_end.letters.lock().unwrap()[0].1.kind, "too_large");
}

#[test]
fn data_in_base64_is_not_judged_and_said_to_be() {
    use base64::Engine as _;
    let (gate, far_end, _) = gate("");
    let data = base64::engine::general_purpose::STANDARD.encode(r#"{"email":"ada@example.com"}"#);
    let event = format!(
        r#"{{"specversion":"1.0","id":"1","source":"/","type":"order.placed","datacontenttype":"application/json","data_base64":"{data}"}}"#
    );
    let batch = format!("[{event},{event}]");
    let sent = [event.clone(), event.replace("\"id\"", "\"\\u0069d\""), batch];
    let records = || sent.iter().map(|text| record(text.clone().into_bytes(), "k")).collect();
    let outcomes = settle(&gate, STREAM, records()).unwrap();
    for outcome in &outcomes[..2] {
        let told = &outcome.judgement.violations[0];
        assert_eq!((&*told.rule, &*told.pointer), ("schema", "/data"));
        assert_eq!(
            told.message,
            "the event has no payload at /data: it has data_base64, which is not judged; send JSON in data"
        );
    }
    // CloudEvents in batch mode are several events in one record, which is none.
    assert_eq!(rules_of(&outcomes[2]), ["unknown_type"]);
    assert!(outcomes.iter().all(|outcome| outcome.judgement.verdict == Verdict::Quarantine));
    for (_, letter) in far_end.letters.lock().unwrap().iter() {
        assert!(!document::for_display(&letter.body).unwrap().contains(&data));
    }
}

/// A change record as DynamoDB writes it, of an outbox item with this payload.
fn change(name: &str, payload: &[u8]) -> Vec<u8> {
    let payload = std::str::from_utf8(payload).unwrap();
    let change = serde_json::json!({
        "awsRegion": "eu-central-1", "eventID": "1", "eventName": name, "userIdentity": null,
        "recordFormat": "application/json", "tableName": "outbox", "eventSource": "aws:dynamodb",
        "dynamodb": {
            "ApproximateCreationDateTime": 1_795_341_604_000_i64,
            "Keys": {"id": {"S": "e-1"}},
            "NewImage": {
                "id": {"S": "e-1"}, "type": {"S": "order.placed"}, "aggregateid": {"S": "O-000001"},
                "payload": {"S": payload},
            },
            "SizeBytes": 99,
        },
    });
    change.to_string().into_bytes()
}

/// What an order's event holds.
fn order_data(event: &[u8]) -> Vec<u8> {
    let text = std::str::from_utf8(event).unwrap();
    let (_, data) = text.split_once("\"data\": ").unwrap();
    data.strip_suffix('}').unwrap().as_bytes().to_vec()
}

const OUTBOX: &str = "routes: [{source: orders-events, mesh: mesh-orders, outbox: {on_remove: quarantine}}]";

#[test]
fn items_of_an_outbox_become_events_and_others_are_ignored_or_kept() {
    let (gate, far_end, metrics) = gate(OUTBOX);
    let mut expired: serde_json::Value = serde_json::from_slice(&change("REMOVE", b"{}")).unwrap();
    expired["userIdentity"] = serde_json::json!({"type": "Service", "principalId": "dynamodb.amazonaws.com"});
    let sent = [
        expired.to_string().into_bytes(),
        change("INSERT", &order_data(&order(1))),
        change("MODIFY", &order_data(&order(1))),
        change("INSERT", &order_data(&bad_order(2))),
        change("REMOVE", b"{}"),
        change("INSERT", b"{"),
        order(3),
    ];
    let records = || -> Vec<_> { sent.iter().map(|data| record(data.clone(), "of-dynamodb")).collect() };
    let outcomes = settle(&gate, STREAM, records()).unwrap();
    let settled: Vec<_> = outcomes.iter().map(|outcome| &outcome.settlement).collect();
    assert!(
        matches!(
            settled[..],
            [
                Settlement::Dropped(_),
                Settlement::Forwarded(_),
                Settlement::Dropped(_),
                Settlement::Quarantined { .. },
                Settlement::Quarantined { .. },
                Settlement::Quarantined { .. },
                Settlement::Quarantined { .. },
            ]
        ),
        "{settled:?}"
    );
    let told = |at: usize| outcomes[at].judgement.violations[0].message.as_str();
    assert_eq!(rules_of(&outcomes[3])[0], "total_adds_up");
    assert_eq!(told(4), "an outbox item was removed, which its route quarantines (outbox.on_remove)");
    assert_eq!(
        told(5),
        "the outbox attribute \"payload\" holds text that is not well-formed JSON: unexpected end at byte 1"
    );
    assert!(told(6).starts_with("not a change record of DynamoDB, which its route says it is (outbox)"), "{}", told(6));

    let (stream, event) = far_end.forwarded.lock().unwrap()[0].clone();
    let expected = [
        br#"{"specversion":"1.0","id":"e-1","source":"/dynamodb/outbox","type":"order.placed","time":"2026-11-22T10:00:04Z","datacontenttype":"application/json","data":"#,
        &order_data(&order(1))[..],
        b"}",
    ]
    .concat();
    assert_eq!((stream.as_str(), &event[..]), ("mesh-orders", &expected[..]));
    assert_eq!(*far_end.keys.lock().unwrap(), [Some("O-000001".to_owned())]);
    let letters = far_end.letters.lock().unwrap();
    let kept: Vec<_> = letters.iter().map(|(_, letter)| document::original(&letter.body).unwrap()).collect();
    assert_eq!(kept[1..], sent[4..], "what is no event is kept as it came");
    // An event that fails is kept as the event it is, so that its private fields are found.
    let (again, _) = document::original_record(&letters[0].1.body).unwrap();
    assert!(again.is_unwrapped && again.data.starts_with(br#"{"specversion":"1.0","id":"e-1""#));
    for (_, letter) in letters.iter() {
        let shown = document::for_display(&letter.body).unwrap();
        assert!(!shown.contains("@example.com") && !shown.contains("aggregateid"), "{shown}");
    }

    let ignored = metrics.counters("meshgate_changes_ignored_total");
    let counts: Vec<_> = ignored.iter().map(|(labels, count)| (labels.len(), *count)).collect();
    assert_eq!(counts, [(2, 1.0), (2, 1.0)], "{ignored:?}");
    let sum: f64 = metrics.counters("meshgate_records_total").iter().map(|(_, count)| count).sum();
    assert_eq!(sum, 7.0);
    assert_eq!(metrics.in_flight.get(), 0);
}

/// Who asks beforehand what a record stands for gives it to be settled as that.
#[test]
fn an_outbox_record_that_was_unfolded_is_not_unwrapped_again() {
    let (gate, far_end, metrics) = gate(OUTBOX);
    let unfold = |data| gate.unfold(STREAM, record(data, "of-dynamodb")).unwrap();
    let mut records = unfold(change("INSERT", &order_data(&order(1))));
    assert!(unfold(change("MODIFY", b"{}")).is_empty());
    records.extend(unfold(b"{}".to_vec()));
    assert_eq!(records[0].partition_key.as_deref(), Some("O-000001"));
    // A letter's event that is judged again is the same.
    let outcomes = settle(&gate, STREAM, records).unwrap();
    assert!(matches!(outcomes[0].settlement, Settlement::Forwarded(_)), "{:?}", outcomes[0]);
    assert!(matches!(outcomes[1].settlement, Settlement::Quarantined { .. }));
    assert_eq!(far_end.letters.lock().unwrap().len(), 1);
    assert_eq!(metrics.counters("meshgate_changes_ignored_total").iter().map(|(_, count)| count).sum::<f64>(), 1.0);
    assert!(matches!(gate.unfold("of-nobody", record(order(1), "k")), Err(IntakeError::UnknownStream { .. })));
}

#[test]
fn a_batch_of_nothing_but_ignored_changes_settles() {
    let (gate, far_end, _) = gate(OUTBOX);
    let outcomes = settle(&gate, STREAM, (0..20).map(|_| record(change("MODIFY", b"{}"), "k")).collect()).unwrap();
    assert_eq!(outcomes.len(), 20);
    assert!(outcomes.iter().all(|outcome| matches!(outcome.settlement, Settlement::Dropped(_))));
    assert!(far_end.forwarded.lock().unwrap().is_empty() && far_end.letters.lock().unwrap().is_empty());
}

/// A good order, one with some bytes changed, or anything.
fn event() -> impl Strategy<Value = Vec<u8>> {
    let changed = (0..900_usize, any::<u8>(), any::<bool>()).prop_map(|(at, byte, cut)| {
        let mut data = order(7);
        let at = at % data.len();
        data[at] = byte;
        if cut {
            data.truncate(at);
        }
        data
    });
    prop_oneof![
        2 => (0..1_000_usize).prop_map(order),
        1 => (0..1_000_usize, any::<bool>()).prop_map(|(n, bad)| gzip(&if bad { bad_order(n) } else { order(n) })),
        2 => changed,
        1 => proptest::collection::vec(any::<u8>(), 0..64),
        1 => "\\{\"type\":\"order.(placed|cancelled)\",\"data\":[\\[\\]{}0-9eE.\",:a-z -]{0,40}\\}".prop_map(String::into_bytes),
    ]
}

#[test]
fn a_container_that_is_not_taken_apart_is_kept_and_called_by_its_name() {
    let data = Builder::default().build();
    let (gate, far_end, _) = gate("");
    let outcomes = settle(&gate, STREAM, vec![record(data.clone(), "k")]).unwrap();
    let told = &outcomes[0].judgement.violations[0];
    let message = "a container of the Kinesis Producer Library that is not taken apart: it holds no record";
    assert_eq!((&*told.rule, &*told.message), ("malformed", message));
    assert_eq!(document::original(&far_end.letters.lock().unwrap()[0].1.body).unwrap(), data);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Nothing of what stands or falls together is forwarded in part, and nothing else is held back.
    #[test]
    fn isolation_is_of_all_or_nothing(events in proptest::collection::vec((event(), 0..3_u8), 1..20), by_key: bool) {
        let isolation = if by_key { "partition_key" } else { "batch" };
        let records = || events.iter().map(|(data, key)| record(data.clone(), &key.to_string())).collect::<Vec<_>>();
        let alone = settle(&gate("").0, STREAM, records()).unwrap();
        let route = format!("routes: [{{source: orders-events, isolation: {isolation}}}]");
        let outcomes = settle(&gate(&route).0, STREAM, records()).unwrap();
        let is_bad = |outcome: &Outcome| outcome.judgement.verdict == Verdict::Quarantine;
        for (index, outcome) in outcomes.iter().enumerate() {
            let together = |other: &usize| !by_key || events[*other].1 == events[index].1;
            let any_bad = (0..events.len()).filter(together).any(|other| is_bad(&alone[other]));
            prop_assert_eq!(is_bad(outcome), any_bad);
            prop_assert_eq!(rules_of(outcome).contains(&"isolation"), any_bad && !is_bad(&alone[index]));
        }
    }

    /// Invariants 2, 4 and 8 of ARCHITECTURE.md: every record has one fate, the same each time, and its bytes are kept.
    #[test]
    fn every_record_has_one_fate_and_keeps_its_bytes(events in proptest::collection::vec(event(), 1..20)) {
        let (gate, far_end, _) = gate("");
        let records = || events.iter().map(|data| record(data.clone(), "O-000007")).collect::<Vec<_>>();
        let outcomes = settle(&gate, STREAM, records()).unwrap();
        prop_assert_eq!(outcomes.len(), events.len());

        let fate = |verdict| {
            let of = move |(outcome, _): &(&Outcome, &Vec<u8>)| outcome.judgement.verdict == verdict;
            outcomes.iter().zip(&events).filter(of).map(|(_, data)| data.clone()).collect::<Vec<_>>()
        };
        let forwarded: Vec<_> = far_end.forwarded.lock().unwrap().iter().map(|(_, data)| data.to_vec()).collect();
        let kept: Vec<_> =
            far_end.letters.lock().unwrap().iter().map(|(_, l)| document::original(&l.body).unwrap()).collect();
        // Calls of one batch may finish in any order; none is lost, none doubled, none changed.
        let sorted = |mut list: Vec<Vec<u8>>| { list.sort(); list };
        prop_assert_eq!(sorted(forwarded), sorted(fate(Verdict::Forward)));
        prop_assert_eq!(sorted(kept), sorted(fate(Verdict::Quarantine)));
        prop_assert!(fate(Verdict::Drop).is_empty());

        let again = settle(&gate, STREAM, records()).unwrap();
        for (first, second) in outcomes.iter().zip(&again) {
            prop_assert_eq!(first.judgement.verdict, second.judgement.verdict);
            // But that it has come before.
            let lasting = |outcome: &Outcome| {
                let violations = outcome.judgement.violations.iter().filter(|v| v.kind != ViolationKind::Duplicate);
                violations.cloned().collect::<Vec<_>>()
            };
            prop_assert_eq!(lasting(first), lasting(second));
        }
    }
}
