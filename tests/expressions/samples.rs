//! Expressions, and events to begin with.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use meshgate::config::rules;
use meshgate::contract::{self, RuleFiles};
use meshgate::decode::json;
use meshgate::rule::capture::Reads;
use meshgate::rule::expr::Yields;
use meshgate::rule::field::{FieldCheck, FieldSpec};
use meshgate::rule::pointer::Pointer;
use meshgate::rule::reference::ReferenceList;
use meshgate::rule::schema::Schema;
use serde_json::{Value, json};

use crate::subject::{Case, Subject};

/// An event with a field of every kind.
pub const EVERYTHING: &str = r#"{"id": "e1", "at": "2026-11-22T09:59:59Z", "data": {
    "i": 2, "j": -3, "n": 2.5, "m": 2, "s": "ab", "u": "b", "b": true, "z": null, "t": "2026-11-22T10:00:00Z",
    "o": {"i": 1, "n": 0.5, "s": "ab", "o": {"s": "b", "b": false}}, "free": {"i": 5, "n": 5.0, "s": "x"},
    "l": [{"i": 1, "n": 1.5, "s": "a", "b": true, "l": [1, 2]}, {"i": 2, "n": 2, "s": "b", "b": false, "l": []},
        {"i": 3, "n": 0.1, "s": "a", "l": [3]}],
    "p": [1, 2, 3], "q": ["x", "y", "x"], "mixed": [1, 1.0, "1", null, true], "e": []}}"#;

/// What rules say: the list of `src/rule/expr/tests.rs`, over other fields, and more.
pub const SAYINGS: [&str; 46] = [
    "this.i + 1 == 3",
    "this.m * 2.0 == 4.0 && 2.0 * this.m == 4.0",
    "this.n * this.i == 5.0",
    "this.n > 2.0 && this.n <= 5.0 && this.m == 2.0 && 2.0 == this.m",
    "this.free.n == 5 && 5 == this.free.n && this.free.i == 5.0",
    "timestamp(this.t) <= now + duration('5m')",
    "now - timestamp(this.t) == duration('0s') || now - timestamp(event.at) > duration('1s')",
    "has(this.z) && this.z == null && !has(this.absent)",
    "this.l.all(l, l.i > 0)",
    "this.l.exists(l, l.s == 'b') && this.l.map(l, l.s) == ['a', 'b']",
    "sum(this.l.map(l, l.n)) == 3.6 && this.p.sum() == 6 && sum([]) == 0",
    "sum(this.l.map(l, l.n)) > 3.5 && this.p.sum() == 6",
    "this.l[1].i == 4 && this.l[0]['s'] == 'a'",
    "this.l.all(a, this.l.exists_one(b, a.i == b.i))",
    "this.l.all(a, this.l.filter(b, b.s == a.s).size() == 1)",
    "size(this.l) == 3 && this.q.size() == 3 && size(this.o) == 4",
    "size(this.l) == 3 && this.q.size() == 3 && size(this.s) == 2",
    "'s' in this.o && 'x' in this.q && !('z' in this.q) && 5 in [1, 5.0]",
    "'x' in this.q && !('z' in this.q) && this.i in [1, 2.0, null, 'a'] && this.u in ['a', 'b']",
    "1 in this.mixed && '1' in this.mixed && null in this.mixed && !(2 in this.mixed)",
    "this.mixed.all(x, x in [1, '1', null, true])",
    "this.u in [this.s, this.o.o.s, 'c']",
    "this.o == {'i': 1} || this.o != null",
    "this.s.matches('^[a-c]+$') && matches(this.s, 'b')",
    "this.s.lowerAscii().endsWith('b')",
    "this.s.startsWith('a') && this.s.endsWith(this.u) && this.s.contains(this.o.o.s)",
    "record.stream == 'orders-eu' && record.partitionKey == 'O-20001' && record.size > 433",
    "!has(record.explicitHashKey) && record.arrivedAt <= now",
    "record.explicitHashKey == 'x' || this.b",
    "event.id == 'e1' && event.data == this && event.data.i == this.i",
    "event.id == 'e1' && event.data.i == this.i && event.data.n > this.o.n",
    "type(this.i) == int && type(this.n) == double",
    "double(this.i) == 2.0 && string(this.i) == '2'",
    "double(this.i) == 2.0 && double(this.n) > 2.0",
    "this.b ? this.i > 0 : this.i == 0",
    "(this.b ? this.s : this.u) == 'ab' && (this.b ? this.i : this.j) > 0",
    "this.?absent.orValue(7) == 7",
    "this.i % 2 == 1 || this.i / 2 == 1 && -this.j == 3 && -this.n < 0.0",
    "this.l.filter(x, x.b).map(x, x.i).sum() == 1",
    "this.l.map(x, x.i > 1, x.n).sum() > 0.0",
    "this.l.filter(x, x.i > 1).filter(x, x.n > 1.0).size() == 1",
    "this.l.all(x, x.l.all(y, y <= x.i + 1))",
    "this.l.all(x, x.l.exists(y, y == x.i)) || this.l.map(x, x.l.size()).sum() == 3",
    "this.l.exists(x, !has(x.b)) && this.l.exists_one(x, has(x.b) && x.b)",
    "this.o.o.s == 'b' && this.o.o.b == false && this.o.absent.s == ''",
    "this.i < 9223372036854775807 && this.i + 9223372036854775806 > 0",
];

/// Expressions of single values, as keys and measures are made of.
const SCALARS: &[&str] = &[
    "this.i",
    "this.j",
    "this.n",
    "this.m",
    "this.s",
    "this.u",
    "this.b",
    "this.o",
    "this.l",
    "this.o.o.s",
    "this.absent",
    "event.id",
    "record.partitionKey",
    "record.explicitHashKey",
    "record.arrivedAt",
    "record.size",
    "now",
    "this.i + 1",
    "this.n * 2.0",
    "this.i > 1",
    "this.s + this.u",
    "timestamp(this.s)",
    "this.l.size()",
    "this.p.sum()",
    "double(this.i)",
    "this.b ? this.s : this.u",
    "this.q[0]",
];

fn schema() -> Value {
    let element = json!({"properties": {
        "i": {"type": "integer"}, "n": {"type": "number"}, "s": {"type": "string"}, "b": {"type": "boolean"},
        "l": {"items": {"type": "integer"}}
    }});
    json!({"properties": {
        "i": {"type": "integer"}, "j": {"type": ["integer", "null"]}, "n": {"type": "number"}, "m": {"type": "number"},
        "s": {"type": "string"}, "u": {"type": "string"}, "b": {"type": "boolean"}, "o": element, "l": {"items": element},
        "p": {"items": {"type": "number"}}, "q": {"items": {"type": "string"}}
    }})
}

/// Those expressions that are covered, over the event with everything.
pub fn everything(sources: &[&str]) -> Subject {
    everything_for(sources, Yields::Bool)
}

/// Single values of the same event.
pub fn scalars() -> Subject {
    everything_for(SCALARS, Yields::Scalar)
}

fn everything_for(sources: &[&str], yields: Yields) -> Subject {
    let numbers = Schema::compile(&schema(), "everything.json", &BTreeMap::new(), true).expect("a schema");
    let mut subject = Subject {
        name: "everything".to_owned(),
        payload: Pointer::parse("/data").expect("a pointer"),
        numbers: numbers.number_types().clone(),
        masks: Vec::new(),
        cases: sources.iter().filter_map(|source| Case::new(source, yields).ok()).collect(),
        fields: Vec::new(),
        events: vec![EVERYTHING.as_bytes().to_vec()],
        reads: Reads::default(),
    };
    subject.read_slots();
    subject.cases.retain(|case| case.expression.has_slots());
    subject
}

/// The sample contracts, with the events of their examples.
pub fn contracts() -> Vec<Subject> {
    let files = rules::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("rules")).expect("the sample rules");
    let compiled = contract::compile(&files, "test");
    let mut subjects = Vec::new();
    for contract in compiled.set.domains().flat_map(|domain| domain.contracts.values()) {
        let text = String::from_utf8(files[&*contract.file].clone()).expect("UTF-8");
        let path = text.split("schema: ").nth(1).and_then(|rest| rest.split('}').next()).expect("a schema");
        let documents = schemas_of(&contract.domain, &files);
        let schema = Schema::compile(&documents[path], path, &documents, true).expect("a schema");
        let mut subject = Subject {
            name: contract.name.to_string(),
            payload: contract.payload.clone(),
            numbers: schema.number_types().clone(),
            masks: contract.private().to_vec(),
            cases: expressions(&text),
            fields: fields(&contract.name),
            events: contract.examples().iter().map(|example| example.bytes.clone()).collect(),
            reads: Reads::default(),
        };
        assert!(subject.cases.len() >= 3, "{}: expressions are found", contract.name);
        subject.read_slots();
        subjects.push(subject);
    }
    subjects
}

fn schemas_of(domain: &str, files: &RuleFiles) -> BTreeMap<String, Value> {
    let inside = |path: &str| path.strip_prefix(domain)?.strip_prefix('/').map(str::to_owned);
    let schema = |(path, bytes): (&String, &Vec<u8>)| Some((inside(path)?, json::parse(bytes).ok()?));
    files.iter().filter(|(path, _)| path.ends_with(".json")).filter_map(schema).collect()
}

/// The expressions of a contract, as its file has them: on the key's line, quoted or not, or indented below.
fn expressions(text: &str) -> Vec<Case> {
    let mut cases = Vec::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let Some((key, value)) = line.trim_start().trim_start_matches("- ").split_once(": ") else { continue };
        let yields = match key {
            "expression" | "when" => Yields::Bool,
            "messageExpression" => Yields::Text,
            _ => continue,
        };
        let mut source = value.trim_matches('\'').to_owned();
        if source == "|" {
            source.clear();
            while let Some(more) = lines.next_if(|line| line.starts_with("      ")) {
                source = source + more + "\n";
            }
        }
        cases.push(Case::new(&source, yields).unwrap_or_else(|fault| panic!("{source}: {fault}")));
    }
    cases
}

/// The checks of a contract's fields, and others of all kinds.
fn fields(contract: &str) -> Vec<FieldCheck> {
    let specs = match contract {
        "order.placed" => json!([
            {"path": "/currency", "metric": "invalidValues", "arguments": {"validValuesFrom": "known"}},
            {"path": "/channel", "metric": "invalidValues", "arguments": {"validValues": ["web", "app", "store", 1]}},
            {"path": "/lines/*/sku", "metric": "missingValues", "arguments": {"missingValues": ["", "UNKNOWN", 0]}},
            {"path": "/lines/*/quantity", "metric": "invalidValues", "arguments": {"validValues": [1, 2, 2.50]}},
            {"path": "/shipTo/postalCode", "metric": "invalidValues", "arguments": {"pattern": "^[0-9]{5}$"}}
        ]),
        "customer.created" => json!([
            {"path": "/email", "metric": "missingValues", "arguments": {"missingValues": ["", "n/a"]}},
            {"path": "/countryCode", "metric": "invalidValues", "arguments": {"validValuesFrom": "known"}},
            {"path": "/phone", "metric": "invalidValues", "arguments": {"pattern": "^\\+[1-9][0-9]{6,14}$"}},
            {"path": "", "metric": "nullValues"}
        ]),
        _ => json!([
            {"path": "/changedBy", "metric": "nullValues"},
            {"path": "/changes/0/field", "metric": "nullValues"},
            {"path": "/changes/*/to", "metric": "invalidValues", "arguments": {"validValues": [true, 1, "Berlin"]}}
        ]),
    };
    let known = ReferenceList::parse(b"code\nEUR\nDE\n1\n2.50\n", "code").expect("a list");
    let lists = BTreeMap::from([("known".to_owned(), Arc::new(known))]);
    let check = |mut spec: Value| {
        spec["id"] = json!("x");
        let spec: FieldSpec = serde_json::from_value(spec).expect("a field");
        FieldCheck::compile(&spec, &lists).expect("a check")
    };
    specs.as_array().expect("fields").iter().cloned().map(check).collect()
}
