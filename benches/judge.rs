//! Judging alone: one order of about 1 KB through the gate's own judge, beside what parsing it costs.
//!
//!     cargo bench --bench judge   ns per event
//!     cargo test --bench judge    each once, for CI
//!
//! The contract is `rules/orders/order.placed`: a schema, four field metrics and five CEL rules.

use std::collections::BTreeMap;
use std::path::Path;

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use meshgate::config::rules;
use meshgate::contract::{self, ContractSet};
use meshgate::decode::json;
use meshgate::gate::judge::{self, Terms};
use meshgate::model::{Record, Timestamp, Verdict};
use meshgate::plan::{Outcome, Plan};
use meshgate::rule::capture::{Captures, Reads};
use meshgate::rule::pointer::Pointer;
use meshgate::rule::schema::Schema;

fn main() {
    divan::main();
}

const SCHEMA_PATH: &str = "schemas/order.placed.v3.json";

const NOW: Timestamp = Timestamp::from_millis(1_795_341_605_000); // 2026-11-22T10:00:05Z

fn contracts() -> ContractSet {
    let files = rules::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("rules")).expect("the sample rules");
    let compiled = contract::compile(&files, "bench");
    assert!(compiled.failed.is_empty(), "{:?}", compiled.diagnostics);
    compiled.set
}

fn order() -> String {
    include_str!("order.json").trim_end().replace("{number}", "000001")
}

fn record(data: String) -> Record {
    Record { partition_key: Some("O-000001".into()), ..Record::new(data, "orders-events".into(), NOW) }
}

fn judge(bencher: Bencher, data: String, expected: Verdict) {
    let (set, record) = (contracts(), record(data));
    let terms = Terms { record_bytes_max: 1 << 20, type_pointer: None };
    let verdict = judge::judge(&set, &record, terms, NOW).judgement;
    assert_eq!(verdict.verdict, expected, "{:?}", verdict.violations);
    bencher
        .counter(ItemsCount::new(1_u32))
        .bench_local(|| judge::judge(black_box(&set), black_box(&record), terms, NOW).judgement.verdict);
}

#[divan::bench]
fn accept(bencher: Bencher) {
    judge(bencher, order(), Verdict::Forward);
}

#[divan::bench]
fn refuse_by_one_rule(bencher: Bencher) {
    judge(bencher, order().replace("\"totalMinor\": 16915", "\"totalMinor\": 1"), Verdict::Quarantine);
}

#[divan::bench]
fn refuse_as_malformed(bencher: Bencher) {
    let order = order();
    judge(bencher, order[..order.len() - 2].to_owned(), Verdict::Quarantine);
}

#[divan::bench]
fn scan_alone(bencher: Bencher) {
    let order = order();
    bencher.counter(ItemsCount::new(1_u32)).bench_local(|| json::check(black_box(order.as_bytes())).is_ok());
}

#[divan::bench]
fn scan_and_parse(bencher: Bencher) {
    let order = order();
    bencher.counter(ItemsCount::new(1_u32)).bench_local(|| json::parse(black_box(order.as_bytes())));
}

#[divan::bench]
fn serde_json_alone(bencher: Bencher) {
    let order = order();
    bencher
        .counter(ItemsCount::new(1_u32))
        .bench_local(|| serde_json::from_slice::<serde_json::Value>(black_box(order.as_bytes())));
}

/// The sample order's schema with the documents it refers to.
fn order_schema() -> (serde_json::Value, BTreeMap<String, serde_json::Value>) {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("rules/orders/schemas");
    let read = |name: &str| -> serde_json::Value {
        serde_json::from_slice(&std::fs::read(dir.join(name)).expect("a sample schema")).expect("JSON")
    };
    let others = BTreeMap::from([("schemas/common.json".to_owned(), read("common.json"))]);
    (read("order.placed.v3.json"), others)
}

/// What `serde_json_alone` and `schema_alone` do together, with duplicate keys and depth, in one pass.
#[divan::bench]
fn plan_accept(bencher: Bencher) {
    let (document, others) = order_schema();
    let payload = Pointer::parse("/data").expect("a pointer");
    let plan = Plan::compile(&document, SCHEMA_PATH, &others, true, &payload, Reads::default());
    assert_eq!(plan.left_out(), []);
    let (order, mut captures) = (order(), Captures::default());
    assert!(matches!(plan.judge(&order, &mut captures, 1), Outcome::Passes(_)));
    bencher
        .counter(ItemsCount::new(1_u32))
        .bench_local(|| plan.judge(black_box(&order), &mut captures, 1) == Outcome::Malformed);
}

#[divan::bench]
fn schema_alone(bencher: Bencher) {
    let (document, others) = order_schema();
    let schema = Schema::compile(&document, SCHEMA_PATH, &others, true).expect("a good schema");
    let event = json::parse(order().as_bytes()).expect("a good event");
    let root = Pointer::root();
    assert!(schema.find(&event["data"], &root, 10).is_empty());
    bencher.counter(ItemsCount::new(1_u32)).bench_local(|| schema.find(black_box(&event["data"]), &root, 10));
}
