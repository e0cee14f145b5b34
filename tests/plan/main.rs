//! Proof of equality: the single-pass judge against the strict scan and the `jsonschema` crate, on mutated events.
//!
//! Seeds are the bench's order, the examples of the sample contracts, events for one schema of every keyword, generated
//! schemas with generated values, and GitHub's published webhooks where `target/tools` has them (MESHGATE_TOOLS names another
//! place). Each run is the same: all randomness comes from a seed. MESHGATE_MUTANTS sets how many mutants a test judges,
//! MESHGATE_SEED the seed:
//!
//!     MESHGATE_MUTANTS=1000000 MESHGATE_SEED=7 cargo test --test plan -- --nocapture

mod corpus;
mod generate;
mod mutate;

use fastrand::Rng;
use meshgate::contract::{Routed, Ruling};
use meshgate::decode::json;
use meshgate::gate::judge::{self, Terms};
use meshgate::model::Verdict;
use meshgate::plan::{Outcome, Plan};
use meshgate::rule::capture::{Captures, Reads};
use meshgate::rule::pointer::Pointer;
use meshgate::rule::schema::Schema;
use meshgate::rule::{Finding, RecordFacts};
use serde_json::{Value, json};

use crate::corpus::{Corpus, Documents};
use crate::generate::{random_schema, random_value};
use crate::mutate::mutate;

fn setting(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().expect("a number"))
}

fn mutants(otherwise: u64) -> u64 {
    setting("MESHGATE_MUTANTS", otherwise)
}

fn rng() -> Rng {
    Rng::with_seed(setting("MESHGATE_SEED", 2026))
}

/// How often each answer was given.
#[derive(Debug, Default)]
struct Tally {
    passes: u64,
    fails: u64,
    malformed: u64,
    undecided: u64,
}

/// Both ways to judge one schema's events.
struct Both {
    plan: Plan,
    schema: Schema,
}

impl Both {
    fn of(documents: &Documents) -> Self {
        let Documents { document, path, others, formats } = documents;
        let schema =
            Schema::compile(document, path, others, *formats).unwrap_or_else(|fault| panic!("{path}: {fault}"));
        Self { plan: plan(documents), schema }
    }

    /// Judges the bytes both ways. The error says how the answers differ.
    fn compare(&self, bytes: &[u8], tally: &mut Tally) -> Result<(), String> {
        let event = json::parse(bytes);
        let Ok(text) = json::text(bytes) else { return Ok(()) };
        let outcome = self.plan.judge(text, &mut Captures::default(), LIMIT);
        let findings = event.as_ref().map(|event| self.schema.find(event, &Pointer::root(), LIMIT)).unwrap_or_default();
        let agrees = match &outcome {
            Outcome::Passes(checked) => {
                tally.passes += 1;
                event.as_ref() == Ok(&checked.tree()) && findings.is_empty()
            }
            Outcome::Fails(checked, told) => {
                tally.fails += 1;
                event.as_ref() == Ok(&checked.tree()) && are_alike(told, &findings)
            }
            Outcome::Malformed => {
                tally.malformed += 1;
                event.is_err()
            }
            Outcome::Undecided => {
                tally.undecided += 1;
                true
            }
        };
        let told = || {
            let truth = event.as_ref().map_or_else(ToString::to_string, |_| format!("{findings:#?}"));
            match &outcome {
                Outcome::Fails(_, told) => format!("fails: {told:#?}, but {truth}: {text}"),
                outcome => format!("{outcome:#?}, but {truth}: {text}"),
            }
        };
        if agrees { Ok(()) } else { Err(told()) }
    }
}

/// Past so many findings, which of them are told may differ.
const LIMIT: usize = 100;

fn are_alike(told: &[Finding], findings: &[Finding]) -> bool {
    told == findings || told.len() == LIMIT && findings.len() == LIMIT
}

fn plan(documents: &Documents) -> Plan {
    let Documents { document, path, others, formats } = documents;
    Plan::compile(document, path, others, *formats, &Pointer::root(), Reads::default())
}

/// Judges mutants of the events, and panics at the first disagreement.
fn assert_equal_on_mutants(corpora: &[Corpus], mutants: u64, name: &str) -> Tally {
    let (mut rng, mut tally) = (rng(), Tally::default());
    let both: Vec<_> = corpora.iter().map(|corpus| Both::of(&corpus.documents)).collect();
    for (corpus, both) in corpora.iter().zip(&both) {
        for event in &corpus.events {
            both.compare(event, &mut tally).unwrap_or_else(|told| panic!("{}: {told}", corpus.documents.path));
        }
    }
    for _ in 0..mutants {
        let which = rng.usize(..corpora.len());
        let corpus = &corpora[which];
        let event = rng.usize(..corpus.events.len());
        let mutant = mutate(&mut rng, &corpus.events[event]);
        both[which].compare(&mutant, &mut tally).unwrap_or_else(|told| panic!("{}: {told}", corpus.documents.path));
    }
    let left_out: usize = both.iter().map(|both| both.plan.left_out().len()).sum();
    eprintln!("{name}: {mutants} mutants, no disagreement: {tally:?}; {left_out} subschemas left out");
    tally
}

#[test]
fn sample_events_are_judged_alike() {
    let tally = assert_equal_on_mutants(&corpus::samples(), mutants(10_000), "samples");
    assert!(tally.passes > 500 && tally.fails > 500 && tally.malformed > 500, "{tally:?}");
    assert!(tally.undecided < tally.passes / 5, "the samples' schemas are plain: {tally:?}");
}

#[test]
fn every_keyword_is_judged_alike() {
    let tally = assert_equal_on_mutants(&corpus::keywords(), mutants(10_000), "keywords");
    assert!(tally.passes > 500 && tally.fails > 500 && tally.malformed > 500, "{tally:?}");
}

#[test]
fn github_events_are_judged_alike() {
    let Some(corpus) = corpus::github() else { return };
    let tally = assert_equal_on_mutants(&[corpus], mutants(200), "GitHub");
    assert!(tally.passes > 277, "{tally:?}");
}

#[test]
fn generated_schemas_are_judged_alike() {
    let (mut rng, mut tally) = (rng(), Tally::default());
    let (mut judged, mut schemas) = (0, 0);
    while judged < mutants(10_000) {
        let documents = Documents::alone("generated", random_schema(&mut rng));
        let both = Both::of(&documents);
        schemas += 1;
        for _ in 0..20 {
            let value = random_value(&mut rng, 3);
            let bytes = if rng.u8(..4) == 0 { mutate(&mut rng, value.as_bytes()) } else { value.into_bytes() };
            both.compare(&bytes, &mut tally).unwrap_or_else(|told| panic!("{}: {told}", documents.document));
            judged += 1;
        }
    }
    eprintln!("generated: {judged} values of {schemas} schemas, no disagreement: {tally:?}");
    assert!(tally.passes > 500 && tally.fails > 500 && tally.undecided < judged / 4, "{tally:?}");
}

/// Schemas that would take exponential time, or the stack, are left to the crate, which remembers what it has judged.
#[test]
fn time_and_stack_are_bounded() {
    let doubling =
        json!({"anyOf": [{"items": {"$ref": "#"}}, {"maxItems": 9, "items": {"$ref": "#"}}], "type": "array"});
    let deep = json!({"$defs": {"t": {"allOf": [{"oneOf": [{"items": {"$ref": "#/$defs/t"}}]}, {}], "minItems": 0}}, "$ref": "#/$defs/t"});
    let circular = json!({"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "properties": {"x": {"$ref": "#/$defs/a"}}});
    let nested = |depth: usize, inside: &str| [&"[".repeat(depth), inside, &"]".repeat(depth)].concat();
    let judge = |schema: &Value, event: &str| {
        let plan = plan(&Documents::alone("bounds", schema.clone()));
        format!("{:?}", plan.judge(event, &mut Captures::default(), 1))
    };
    assert!(judge(&doubling, &nested(3, "")).starts_with("Passes"));
    assert!(judge(&doubling, &nested(3, "1")).starts_with("Fails"));
    assert_eq!(judge(&doubling, &nested(90, "1")), "Undecided");
    assert!(judge(&deep, &nested(20, "")).starts_with("Passes"));
    assert_eq!(judge(&deep, &nested(100, "")), "Undecided");
    assert_eq!(judge(&deep, &nested(30, &"[".repeat(100_000))), "Malformed");
    assert_eq!(judge(&circular, r#"{"x": 1}"#), "Undecided");
    assert!(judge(&circular, r#"{"y": 1}"#).starts_with("Passes"));
}

/// The gate, which tries the plan first, and the long way: parse, route, judge. Broken envelopes and odd types are among
/// the mutants.
#[test]
fn the_gate_judges_as_the_long_way_does() {
    let compiled = corpus::contracts();
    let events = corpus::events(&compiled);
    let (mut rng, mut forwarded) = (rng(), 0);
    for _ in 0..mutants(5_000) {
        let event = rng.usize(..events.len());
        let mutant = if rng.u8(..4) == 0 { events[event].clone() } else { mutate(&mut rng, &events[event]) };
        let record = corpus::record(mutant, ["orders-eu", "customers-eu", "logs-eu"][rng.usize(..3)]);
        let terms = Terms::new(1 << 20);
        let told = String::from_utf8_lossy(&record.data);
        let judgement = judge::judge(&compiled, &record, terms, record.arrived).judgement;
        let Ok(event) = json::parse(&record.data) else {
            assert_eq!(&*judgement.violations[0].rule, "malformed", "{told}");
            continue;
        };
        let Routed::Contract(contract) = compiled.route(&record.stream, &event, None) else {
            assert_eq!(&*judgement.violations[0].rule, "unknown_type", "{told}");
            continue;
        };
        assert_eq!((&judgement.stamp.domain, &judgement.stamp.contract), (&contract.domain, &contract.name), "{told}");
        let facts = RecordFacts {
            stream: &record.stream,
            partition_key: record.partition_key.as_deref(),
            explicit_hash_key: None,
            arrived: record.arrived,
            size: record.data.len(),
        };
        let Ruling { verdict, violations, .. } = contract.judge_tree(&event, &facts, record.arrived, None);
        assert_eq!((judgement.verdict, &judgement.violations), (verdict, &violations), "{told}");
        forwarded += u64::from(verdict == Verdict::Forward);
    }
    assert!(forwarded > 200, "only {forwarded} are forwarded");
}

/// The test can fail: a plan of a schema that differs in one keyword is found out.
#[test]
fn a_plan_that_errs_is_found_out() {
    let corpora = corpus::samples();
    let order =
        corpora.iter().find(|corpus| corpus.documents.path.ends_with("order.placed.v3.json")).expect("a sample");
    let sabotages = [
        ("\"maximum\":10000", "\"maximum\":9999999"),
        ("\"maxLength\":3", "\"maxLength\":4"),
        ("{4,12}$", "{4,12}"),
        ("\"currency\",\"lines\"", "\"lines\""),
        ("\"minItems\":1", "\"minItems\":0"),
        ("\"type\":\"integer\"", "\"type\":\"number\""),
        ("\"format\":\"date-time\"", "\"format\":\"date\""),
    ];
    for (written, instead) in sabotages {
        let mut documents = order.documents.clone();
        let text = documents.document.to_string();
        assert!(text.contains(written), "{written} in {text}");
        documents.document = json::parse(text.replace(written, instead).as_bytes()).expect("JSON");
        let sabotaged = Both { plan: plan(&documents), ..Both::of(&order.documents) };
        let (mut rng, mut tally) = (rng(), Tally::default());
        let mut differs = || {
            let event = &order.events[rng.usize(..order.events.len())];
            sabotaged.compare(&mutate(&mut rng, event), &mut tally).is_err()
        };
        assert!((0..40_000).any(|_| differs()), "{written} as {instead} is not found out");
    }
}
