//! Judges events for `benches/instructions` to count: prints a line per case, in the order they are counted in.
//!
//! What is counted is what [`meshgate_counted`] runs, [`EVENTS`] events a case. Before it, the same events warm up what is
//! built with the first ones: buffers, tables of regular expressions.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use meshgate_core::contract::{self, ContractSet, RuleFiles, States};
use meshgate_core::decode::json;
use meshgate_core::gate::judge::{self, Terms};
use meshgate_core::model::{Record, Timestamp, Verdict};
use meshgate_core::plan::{Outcome, Plan};
use meshgate_core::rule::capture::{Captures, Reads};
use meshgate_core::rule::pointer::Pointer;
use serde_json::{Value, json};

/// Events counted in a case.
const EVENTS: usize = 64;

const NOW: Timestamp = Timestamp::from_millis(1_795_341_605_000); // 2026-11-22T10:00:05Z

/// The valgrind run collects while this is on the stack, under exactly this name.
#[unsafe(no_mangle)]
#[inline(never)]
fn meshgate_counted(work: &mut dyn FnMut()) {
    for _ in 0..EVENTS {
        work();
    }
}

fn count(name: &str, mut work: impl FnMut()) {
    for _ in 0..EVENTS {
        work();
    }
    meshgate_counted(&mut work);
    println!("{name} {EVENTS}");
}

fn main() {
    let order = include_str!("../../../order.json").trim_end().replace("{number}", "000001");
    let flat = include_str!("../../../flat.json").trim_end();
    let flat_schema = include_str!("../../../flat.schema.json");
    let order_schema = include_str!("../../../rules/orders/schemas/order.json");

    count("scan order", || assert!(json::check(order.as_bytes()).is_ok()));
    plan("plan flat", &parse(flat_schema.as_bytes()), "", true, flat.as_bytes());
    plan("plan order", &parse(order_schema.as_bytes()), "/data", true, order.as_bytes());
    webhooks();

    let with = |written: &str, instead: &str| order.replace(written, instead);
    let rules = contracts("benches/rules");
    gate("judge order: accept", &rules, &order, 0);
    gate("judge order: one rule fails", &rules, &with("\"totalMinor\": 16915", "\"totalMinor\": 1"), 1);
    gate("judge order: one keyword fails", &rules, &with("\"quantity\": 5", "\"quantity\": \"5\""), 1);
    gate("judge order: five keywords fail", &rules, &with("\"quantity\": ", "\"quantity\": -"), 5);
    gate("judge order: cut short", &rules, &order[..order.len() - 2], 1);
    let samples = contracts("rules");
    gate("judge order by the sample contract: accept", &samples, &order, 0);
    remembering("judge order by the sample contract: accept, and remember", &samples, &order);
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn parse(bytes: &[u8]) -> Value {
    json::parse(bytes).expect("JSON")
}

fn plan(name: &str, schema: &Value, payload: &str, formats: bool, event: &[u8]) {
    let payload = Pointer::parse(payload).expect("a pointer");
    let plan = Plan::compile(schema, "count.json", &BTreeMap::new(), formats, &payload, Reads::default());
    let (text, mut captures) = (std::str::from_utf8(event).expect("UTF-8"), Captures::default());
    count(name, || assert!(matches!(plan.judge(text, &mut captures, 1), Outcome::Passes(_)), "{name}"));
}

/// One GitHub event of each kind, where `tests/tools/install` has brought them.
fn webhooks() {
    let tools = std::env::var_os("MESHGATE_TOOLS").map_or_else(|| repository().join("target/tools"), PathBuf::from);
    let read = |name: &str| std::fs::read(tools.join("node_modules/@octokit").join(name)).ok();
    let (Some(schema), Some(examples)) =
        (read("webhooks-schemas/schema.json"), read("webhooks-examples/api.github.com/index.json"))
    else {
        eprintln!("left out: GitHub's webhooks, which tests/tools/install brings");
        return;
    };
    let (schema, examples) = (parse(&schema), parse(&examples));
    for (kind, definition) in [("push", "push$event"), ("issues", "issues_event"), ("star", "star_event")] {
        let document = json!({
            "$schema": schema["$schema"], "definitions": schema["definitions"],
            "allOf": [{"$ref": format!("#/definitions/{definition}")}]
        });
        let mut kinds = examples.as_array().expect("kinds").iter();
        let events = &kinds.find(|found| found["name"] == kind).expect("a kind")["examples"];
        // Not every example keeps to the schema.
        let holds = |event: &&Value| {
            let (none, root) = (BTreeMap::new(), Pointer::root());
            let plan = Plan::compile(&document, "count.json", &none, false, &root, Reads::default());
            matches!(plan.judge(&event.to_string(), &mut Captures::default(), 1), Outcome::Passes(_))
        };
        let event = events.as_array().expect("events").iter().find(holds).expect("a good example");
        plan(&format!("plan github {kind}"), &document, "", false, event.to_string().as_bytes());
    }
}

fn contracts(directory: &str) -> ContractSet {
    let (root, mut files) = (repository().join(directory), RuleFiles::new());
    read_rules(&root, &root, &mut files);
    let compiled = contract::compile(&files, "count");
    assert!(compiled.failed.is_empty(), "{:?}", compiled.diagnostics);
    compiled.set
}

fn read_rules(directory: &Path, root: &Path, files: &mut RuleFiles) {
    for entry in std::fs::read_dir(directory).expect("a directory").map(|entry| entry.expect("an entry").path()) {
        if entry.is_dir() {
            read_rules(&entry, root, files);
        } else {
            let path = entry.strip_prefix(root).expect("below").to_string_lossy().into_owned();
            files.insert(path, std::fs::read(&entry).expect("a file"));
        }
    }
}

/// Judges an order with at least so many violations.
fn gate(name: &str, set: &ContractSet, event: &str, violations: usize) {
    let record =
        Record { partition_key: Some("O-000001".into()), ..Record::new(event.to_owned(), "orders-events".into(), NOW) };
    let terms = Terms::new(1 << 20);
    count(name, || {
        let judgement = judge::judge(set, &record, terms, NOW).judgement;
        assert_eq!(judgement.verdict == Verdict::Forward, violations == 0, "{name}");
        assert!(judgement.violations.len() >= violations, "{name}: {:?}", judgement.violations);
    });
}

/// Judges an order by checks that remember as well, and forgets it again.
fn remembering(name: &str, set: &ContractSet, event: &str) {
    let record =
        Record { partition_key: Some("O-000001".into()), ..Record::new(event.to_owned(), "orders-events".into(), NOW) };
    let states = States::fresh(set, NOW);
    let terms = Terms { states: Some(&states), ..Terms::new(1 << 20) };
    count(name, || {
        let judged = judge::judge(set, &record, terms, NOW);
        assert!(judged.judgement.violations.is_empty(), "{name}: {:?}", judged.judgement.violations);
    });
}
