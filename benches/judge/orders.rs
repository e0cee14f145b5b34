//! One order through the gate's own judge, good and bad.

use std::cell::RefCell;
use std::hint::black_box;
use std::time::Duration;

use meshgate::config::rules;
use meshgate::contract::{self, ContractSet};
use meshgate::gate::judge::{self, Terms};
use meshgate::model::{Judgement, Record, Timestamp, Verdict};
use serde_json::{Value, json};

use crate::peers::Peers;
use crate::rounds::{Rounds, average};
use crate::sets::{ORDER, benches, order};

const NOW: Timestamp = Timestamp::from_millis(1_795_341_605_000); // 2026-11-22T10:00:05Z

const TERMS: Terms<'static> = Terms::new(1 << 20);

/// One event, and how many violations it has.
struct Case {
    name: &'static str,
    record: Record,
    violations: usize,
}

fn contracts() -> ContractSet {
    let files = rules::read(&benches().join("rules")).expect("the bench's rules");
    let compiled = contract::compile(&files, "bench");
    assert!(compiled.failed.is_empty(), "{:?}", compiled.diagnostics);
    compiled.set
}

fn record(data: String) -> Record {
    Record { partition_key: Some("O-000001".into()), ..Record::new(data, "orders-events".into(), NOW) }
}

fn cases() -> Vec<Case> {
    let good = order();
    let without = |edits: &[(&str, &str)]| {
        edits.iter().fold(good.clone(), |order, (written, instead)| {
            assert!(order.contains(written), "{written}");
            order.replace(written, instead)
        })
    };
    let case = |name, data, violations| Case { name, record: record(data), violations };
    let total = ("\"totalMinor\": 16915", "\"totalMinor\": 1");
    // Each of these is one violation of the schema, but for the quantities, which are five.
    let ten = [
        ("\"quantity\": 2", "\"quantity\": 0"),
        ("\"quantity\": 5", "\"quantity\": 0"),
        ("\"quantity\": 1,", "\"quantity\": 0,"),
        ("\"quantity\": 4", "\"quantity\": 0"),
        ("\"shippingMinor\": 490", "\"shippingMinor\": -1"),
        ("\"currency\": \"EUR\"", "\"currency\": \"EURO\""),
        ("\"placedAt\": \"2026", "\"placedAt\": \"26"),
        ("\"country\": \"DE\"", "\"country\": \"D\""),
        ("\"customerId\": \"C-", "\"customerId\": \"K-"),
    ];
    vec![
        case("accept", good.clone(), 0),
        case("refuse: one rule", without(&[total]), 1),
        case("refuse: one keyword", without(&[("\"quantity\": 5", "\"quantity\": \"5\"")]), 1),
        case("refuse: ten keywords", without(&ten), 10),
        case("refuse: duplicate key", without(&[("\"channel\":", "\"currency\": \"EUR\", \"channel\":")]), 1),
        case("refuse: cut short", good[..good.len() - 2].to_owned(), 1),
    ]
}

fn judged(set: &ContractSet, record: &Record) -> Judgement {
    judge::judge(black_box(set), black_box(record), TERMS, NOW).judgement
}

/// Prints the table of the order, and gives it back.
pub fn report(peers: &mut Peers, rounds: Rounds) -> Value {
    let (set, cases) = (contracts(), cases());
    for Case { name, record, violations } in &cases {
        let judgement = judged(&set, record);
        let expected = if *violations == 0 { Verdict::Forward } else { Verdict::Quarantine };
        assert_eq!(judgement.verdict, expected, "{name}: {:?}", judgement.violations);
        assert!(judgement.violations.len() >= *violations, "{name}: {:?}", judgement.violations);
    }
    let peers = RefCell::new(peers);
    let mut contenders: Vec<Box<dyn FnMut(Duration) -> f64 + '_>> = Vec::new();
    let mut names: Vec<&str> = Vec::new();
    for Case { name, record, .. } in &cases {
        names.push(name);
        contenders.push(Box::new(|time| average(time, 1, || drop(black_box(judged(&set, record))))));
    }
    let others = [
        ("sonic-rs parse alone", "sonic-rs"),
        ("serde_json parse alone", "serde_json"),
        ("serde_json + jsonschema, no rules", "jsonschema"),
        ("the same and cel, by an expert", "expert"),
        ("the same and cel, as usual", "usual"),
    ];
    for (name, contender) in others {
        names.push(name);
        let peers = &peers;
        contenders.push(Box::new(move |time| peers.borrow_mut().time(ORDER, contender, time)));
    }
    let slices = rounds.run(&mut contenders);

    println!("\norder of {} bytes, schema and 5 rules", cases[0].record.data.len());
    println!("{:<36} {:>12} {:>16}", "", "ns per event", "over accepting");
    let mut rows = Vec::new();
    for (at, name) in names.iter().enumerate() {
        println!("{name:<36} {:>12.0} {:>15.2}x", slices.median(at), slices.ratio(at, 0));
        rows.push(json!({"case": name, "ns": slices.median(at), "over_accepting": slices.ratio(at, 0)}));
    }
    let at = |wanted: &str| names.iter().position(|name| *name == wanted).expect("a contender");
    let (sonic, expert) = (slices.ratio(0, at("sonic-rs parse alone")), slices.ratio(at(others[3].0), 0));
    let refusing = (1..cases.len()).map(|case| slices.ratio(case, 0)).fold(0.0, f64::max);
    println!("accepting over a sonic-rs parse: {sonic:.2} (target 1.0)");
    println!("the expert's stack over accepting: {expert:.1} (target 12)");
    println!("the slowest refusal over accepting: {refusing:.2} (target 2)");
    println!("accepting, one core: {:.2} million events/s (target 1)", 1e3 / slices.median(0));
    json!({"cases": rows, "over_sonic_rs": sonic, "expert_over_meshgate": expert, "refusing_over_accepting": refusing})
}
