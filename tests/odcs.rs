//! ODCS against what its makers publish: their JSON Schema and their examples (`tests/odcs/README.md`), and the way there and back.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use expect_test::expect_file;
use meshgate::config::rules;
use meshgate::contract::{self, Compiled, Contract, RuleFiles, Ruling, diagnostic, yaml};
use meshgate::export;
use meshgate::model::{Timestamp, Verdict};
use meshgate::rule::RecordFacts;
use serde_json::{Value, json};

#[path = "plan/generate.rs"]
mod generate;
#[path = "plan/mutate.rs"]
mod mutate;

/// Of each contract.
const MUTANTS: usize = 2_000;
const SCHEMAS: usize = 400;

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn compiled(files: &RuleFiles) -> Compiled {
    let compiled = contract::compile(files, "test");
    assert!(compiled.is_good(), "{}", diagnostic::text(&compiled.diagnostics, files, "", false));
    compiled
}

/// The rule files of a directory, and the same with every contract as ODCS.
fn there_and_back(dir: &str) -> (RuleFiles, RuleFiles) {
    let files = rules::read(&repository().join(dir)).expect("the rules are there");
    let set = compiled(&files).set;
    let mut exported = files.clone();
    for domain in set.domains() {
        for contract in domain.contracts.values() {
            let text = export::odcs(&files, domain, contract).expect("its own files").text;
            exported.remove(&*contract.file);
            exported.insert(format!("{}/{}.odcs.yaml", domain.name, contract.name), text.into_bytes());
        }
    }
    // What is derived needs none of them.
    exported.retain(|path, _| !path.contains("/schemas/"));
    (files, exported)
}

/// The standard's own schema, compiled.
fn standard() -> jsonschema::Validator {
    let schema = std::fs::read(repository().join("tests/odcs/odcs-json-schema-v3.1.0.json")).expect("the fixture");
    let schema: Value = serde_json::from_slice(&schema).expect("JSON");
    jsonschema::validator_for(&schema).expect("a schema")
}

#[test]
fn what_is_written_is_valid_by_the_standards_own_schema() {
    let validator = standard();
    let mut count = 0;
    let (_, exported) = there_and_back("rules");
    for (path, bytes) in exported.iter().filter(|(path, _)| path.ends_with(".odcs.yaml")) {
        let value = yaml::parse(bytes).expect("YAML").value;
        let errors: Vec<String> = validator.iter_errors(&value).map(|e| format!("{} {e}", e.instance_path())).collect();
        assert!(errors.is_empty(), "{path}: {errors:#?}\n{}", String::from_utf8_lossy(bytes));
        count += 1;
    }
    assert_eq!(count, 4, "contracts were written");
    let typo =
        json!({"apiVersion": "v3.1.0", "kind": "DataContract", "id": "x", "version": "1", "status": "x", "shcema": []});
    assert!(!validator.is_valid(&typo), "the schema is closed");
}

#[test]
fn the_standards_examples_compile_and_say_what_is_not_judged() {
    let examples = repository().join("tests/odcs/examples");
    for name in ["full-example", "column-accuracy", "column-custom", "column-validity"] {
        let text = std::fs::read(examples.join(format!("{name}.odcs.yaml"))).expect("the example");
        let domain = "apiVersion: meshgate/v1\nkind: Domain\nmetadata: {name: seller, owner: {team: sales}}\n";
        let files = RuleFiles::from([
            ("seller/domain.yaml".to_owned(), domain.into()),
            (format!("seller/{name}.odcs.yaml"), text),
        ]);
        let compiled = compiled(&files);
        let told = diagnostic::text(&compiled.diagnostics, &files, "rules/", false);
        expect_file![examples.join(format!("{name}.txt"))].assert_eq(&told);
    }
}

#[test]
fn the_full_example_judges_events() {
    let text = std::fs::read(repository().join("tests/odcs/examples/full-example.odcs.yaml")).expect("the example");
    let domain = "apiVersion: meshgate/v1\nkind: Domain\nmetadata: {name: seller, owner: {team: sales}}\n";
    let files =
        RuleFiles::from([("seller/domain.yaml".to_owned(), domain.into()), ("seller/full.odcs.yaml".to_owned(), text)]);
    let set = compiled(&files).set;
    let tbl = set.contract("seller", "tbl").expect("the first object");
    assert_eq!(tbl.owner.team.as_ref(), "my-team");
    let judge = |event: &str| judged(tbl, event.as_bytes()).expect("an event");
    let good = r#"{"type": "tbl", "txn_ref_dt": "2022-10-03", "rcvr_id": "r", "rcvr_cntry_code": "US"}"#;
    assert_eq!(judge(good), (Verdict::Forward, BTreeSet::new()));
    for (event, rule) in [
        (r#"{"rcvr_cntry_code": null}"#, "rcvr_cntry_code_nullValues"),
        (r#"{"rcvr_cntry_code": "DE"}"#, "schema"),
        (r#"{"rcvr_cntry_code": "US", "txn_ref_dt": "03.10.2022"}"#, "schema"),
    ] {
        assert_eq!(judge(event), (Verdict::Quarantine, [rule.to_owned()].into()), "{event}");
    }
    let receivers = set.contract("seller", "receivers").expect("the second object");
    let missing = judged(receivers, br#"{"id": "r"}"#).expect("an event");
    assert_eq!(missing, (Verdict::Quarantine, ["schema".to_owned()].into()));
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config { cases: 300, failure_persistence: None, ..Default::default() })]

    /// A slip of the pen anywhere in a contract of the standard is told or is harmless, with its place in the file.
    #[test]
    fn no_slip_panics(which in 0..2_usize, at in 0..20_000_usize, cut in 0..20_usize, put in "[ -~\n\u{e9}]{0,4}") {
        let domain = "apiVersion: meshgate/v1\nkind: Domain\nmetadata: {name: seller, owner: {team: sales}}\n";
        let example = std::fs::read_to_string(repository().join("tests/odcs/examples/full-example.odcs.yaml")).expect("it");
        let text = if which == 0 { example.as_str() } else { include_str!("../src/export/testdata/sold.odcs.yaml") };
        let floor = |at: usize| (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        let start = floor(at % text.len());
        let slip = format!("{}{put}{}", &text[..start], &text[floor(start + cut)..]);
        let files = RuleFiles::from([
            ("seller/domain.yaml".to_owned(), domain.into()),
            ("seller/x.odcs.yaml".to_owned(), slip.into_bytes()),
        ]);
        let compiled = contract::compile(&files, "test");
        diagnostic::text(&compiled.diagnostics, &files, "", false);
        for domain in compiled.set.domains() {
            for contract in domain.contracts.values() {
                proptest::prop_assert!(export::odcs(&files, domain, contract).is_some());
            }
        }
    }
}

/// The verdict and the rules that are violated; `None` for what is no event.
fn judged(contract: &Contract, event: &[u8]) -> Option<(Verdict, BTreeSet<String>)> {
    let now = Timestamp::parse_rfc3339("2026-11-22T10:00:05Z").expect("a time");
    let text = std::str::from_utf8(event).ok()?;
    let record =
        RecordFacts { stream: "s", partition_key: None, explicit_hash_key: None, arrived: now, size: event.len() };
    let Ruling { verdict, violations, .. } = contract.judge(text, &record, now, None).ok()?;
    Some((verdict, violations.into_iter().map(|violation| violation.rule.to_string()).collect()))
}

#[test]
fn there_and_back_judges_alike() {
    let (files, exported) = there_and_back("rules");
    let (before, after) = (compiled(&files).set, compiled(&exported).set);
    let mut verdicts: BTreeMap<&'static str, usize> = BTreeMap::new();
    for domain in before.domains() {
        for (name, contract) in &domain.contracts {
            let other = after.contract(&domain.name, name).expect("the same contracts");
            alike(contract, other, &mut verdicts);
        }
    }
    assert!(verdicts["forward"] > 300 && verdicts["quarantine"] > 300, "{verdicts:?}");
}

/// Any schema comes back as one that judges alike, whatever the standard has words for.
#[test]
fn generated_schemas_come_back() {
    const DOMAIN: &str = "apiVersion: meshgate/v1\nkind: Domain\nmetadata: {name: shop, owner: {team: till}}\n";
    const SOLD: &str = "apiVersion: meshgate/v1\nkind: EventContract\nmatch: {type: sold}\npayload: {schema: s.json}\n\
                        metadata: {domain: shop, name: sold, version: 1.0.0, status: active}\n";
    let validator = standard();
    let mut rng = fastrand::Rng::with_seed(11);
    let (mut good, mut forwarded, mut derived) = (0, 0, 0);
    for _ in 0..SCHEMAS {
        let mut part = generate::random_schema(&mut rng);
        let mut head = |name: &str| part.as_object_mut().and_then(|part| part.remove(name)).unwrap_or(Value::Null);
        let (dialect, definitions) = (head("$schema"), head("definitions"));
        // What refers to itself under `not` means nothing in particular.
        if definitions.to_string().contains("$ref") {
            continue;
        }
        let items = json!({"$ref": "#/definitions/d"});
        let properties = json!({"a": part, "b": {"$ref": "#/definitions/d"}, "c": {"type": "array", "items": items}});
        let schema = json!({
            "$schema": dialect, "type": "object", "required": ["a"], "properties": properties, "definitions": definitions,
        });
        let mut files = RuleFiles::from([
            ("shop/domain.yaml".to_owned(), DOMAIN.into()),
            ("shop/sold.yaml".to_owned(), SOLD.into()),
            ("shop/s.json".to_owned(), schema.to_string().into_bytes()),
        ]);
        let before = contract::compile(&files, "test");
        if !before.is_good() {
            continue;
        }
        good += 1;
        let contract = before.set.contract("shop", "sold").expect("the contract");
        let text =
            export::odcs(&files, before.set.domain("shop").expect("the domain"), contract).expect("its files").text;
        let value = yaml::parse(text.as_bytes()).expect("YAML").value;
        assert!(validator.is_valid(&value), "{schema}\n{text}");
        derived += usize::from(!text.contains("meshgate.schema"));
        files.remove("shop/sold.yaml");
        files.insert("shop/sold.odcs.yaml".to_owned(), text.clone().into_bytes());
        let after = compiled(&files);
        let other = after.set.contract("shop", "sold").expect("the contract");
        for _ in 0..20 {
            let values: Vec<String> = (0..3).map(|_| generate::random_value(&mut rng, 2)).collect();
            let event = match rng.u8(..4) {
                0 => format!("{{\"b\": {}}}", values[1]),
                1 => format!("{{\"a\": {}}}", values[0]),
                _ => format!("{{\"a\": {}, \"b\": {}, \"c\": [{}]}}", values[0], values[1], values[2]),
            };
            let (one, two) = (judged(contract, event.as_bytes()), judged(other, event.as_bytes()));
            assert_eq!(one, two, "{schema}\n{event}\n{text}");
            forwarded += usize::from(one.is_some_and(|(verdict, _)| verdict == Verdict::Forward));
        }
    }
    assert!(good > SCHEMAS / 2 && derived > good / 2 && forwarded > good, "{good} {derived} {forwarded}");
}

fn alike(contract: &Contract, other: &Arc<Contract>, verdicts: &mut BTreeMap<&'static str, usize>) {
    assert_eq!((&contract.stream, &contract.event_type), (&other.stream, &other.event_type));
    assert_eq!((contract.mode, contract.slo_error_ratio), (other.mode, other.slo_error_ratio));
    assert_eq!((&contract.payload, &contract.tags), (&other.payload, &other.tags));
    let masks = |contract: &Contract| {
        contract.private().iter().map(|mask| format!("{:?}", mask.to_spec())).collect::<BTreeSet<_>>()
    };
    assert_eq!(masks(contract), masks(other));
    assert_eq!(contract.examples().len(), other.examples().len());
    let mut rng = fastrand::Rng::with_seed(7);
    for example in contract.examples() {
        for n in 0..=MUTANTS / contract.examples().len() {
            let event = if n == 0 { example.bytes.clone() } else { mutate::mutate(&mut rng, &example.bytes) };
            let (one, two) = (judged(contract, &event), judged(other, &event));
            assert_eq!(one, two, "{}: {}", contract.name, String::from_utf8_lossy(&event));
            if let Some((verdict, _)) = one {
                *verdicts.entry(verdict.as_str()).or_default() += 1;
            }
        }
    }
}
