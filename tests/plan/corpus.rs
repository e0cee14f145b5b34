//! Schemas, and events to begin with.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use meshgate::config::rules;
use meshgate::contract::{self, ContractSet, RuleFiles};
use meshgate::decode::json;
use meshgate::model::{Record, Timestamp};
use serde_json::{Value, json};

/// A schema, with the documents it refers to.
#[derive(Clone)]
pub struct Documents {
    pub document: Value,
    pub path: String,
    pub others: BTreeMap<String, Value>,
    pub formats: bool,
}

impl Documents {
    pub fn alone(path: &str, document: Value) -> Self {
        Self { document, path: path.to_owned(), others: BTreeMap::new(), formats: true }
    }
}

pub struct Corpus {
    pub documents: Documents,
    pub events: Vec<Vec<u8>>,
}

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The sample contracts' schemas with the payloads of their examples, and of the bench's order.
pub fn samples() -> Vec<Corpus> {
    let files = rules::read(&repository().join("rules")).expect("the sample rules");
    let compiled = contract::compile(&files, "test");
    let order = include_str!("../../benches/order.json").trim_end().replace("{number}", "000001");
    let mut corpora = Vec::new();
    for contract in compiled.set.domains().flat_map(|domain| domain.contracts.values()) {
        let examples = contract.examples().iter().map(|example| example.bytes.clone());
        let bench = (&*contract.name == "order.placed").then(|| order.clone().into_bytes());
        let payload =
            |bytes: Vec<u8>| Some(contract.payload.resolve(&json::parse(&bytes).ok()?)?.to_string().into_bytes());
        let events: Vec<_> = examples.chain(bench).filter_map(payload).collect();
        let (domain, text) = (&*contract.domain, String::from_utf8(files[&*contract.file].clone()).expect("UTF-8"));
        let path = text.split("schema: ").nth(1).and_then(|rest| rest.split('}').next()).expect("a schema");
        let others = schemas_of(domain, &files);
        corpora.push(Corpus {
            documents: Documents { document: others[path].clone(), path: path.to_owned(), others, formats: true },
            events,
        });
    }
    assert!(corpora.len() >= 4, "the samples have four contracts");
    corpora
}

/// The sample contracts, and one that is a schema alone, so that no tree is built.
pub fn contracts() -> ContractSet {
    let mut files = rules::read(&repository().join("rules")).expect("the sample rules");
    let head = "apiVersion: meshgate/v1\nkind: EventContract\n";
    let lean = "metadata: {domain: customers, name: lean, version: 1.0.0, status: active}\nmatch: {stream: logs-*, type: customer.created}\n";
    let payload = "payload: {pointer: /data, schema: schemas/customer.created.v1.json}\n";
    files.insert("customers/lean.yaml".to_owned(), format!("{head}{lean}{payload}").into_bytes());
    let compiled = contract::compile(&files, "test");
    assert!(compiled.failed.is_empty(), "{:?}", compiled.diagnostics);
    compiled.set
}

/// The examples of all contracts, and some whose type is hard to see.
pub fn events(set: &ContractSet) -> Vec<Vec<u8>> {
    let contracts = set.domains().flat_map(|domain| domain.contracts.values());
    let mut events: Vec<Vec<u8>> =
        contracts.flat_map(|contract| contract.examples().iter().map(|example| example.bytes.clone())).collect();
    let hidden =
        events.iter().map(|event| String::from_utf8_lossy(event).replace("\"type\"", "\"ty\\u0070e\"").into_bytes());
    events.extend(hidden.collect::<Vec<_>>());
    events
}

pub fn record(data: Vec<u8>, stream: &str) -> Record {
    Record::new(data, stream.into(), Timestamp::from_millis(1_795_341_605_000))
}

fn schemas_of(domain: &str, files: &RuleFiles) -> BTreeMap<String, Value> {
    let inside = |path: &str| path.strip_prefix(domain)?.strip_prefix('/').map(str::to_owned);
    let schema = |(path, bytes): (&String, &Vec<u8>)| Some((inside(path)?, json::parse(bytes).ok()?));
    files.iter().filter(|(path, _)| path.ends_with(".json")).filter_map(schema).collect()
}

/// GitHub's webhook schema and events, or `None` after saying that they are not there.
pub fn github() -> Option<Corpus> {
    let tools = std::env::var_os("MESHGATE_TOOLS").map_or_else(|| repository().join("target/tools"), PathBuf::from);
    let read = |name: &str| std::fs::read(tools.join("node_modules/@octokit").join(name)).ok();
    let (Some(schema), Some(examples)) =
        (read("webhooks-schemas/schema.json"), read("webhooks-examples/api.github.com/index.json"))
    else {
        eprintln!("skipped: @octokit/webhooks-schemas not found in {}", tools.display());
        return None;
    };
    let examples = json::parse(&examples).expect("JSON");
    let kinds = examples.as_array().expect("kinds of events").iter();
    let events = kinds.flat_map(|kind| kind["examples"].as_array().expect("events"));
    let mut documents = Documents::alone("github", json::parse(&schema).expect("JSON"));
    documents.formats = false;
    Some(Corpus { documents, events: events.map(|event| event.to_string().into_bytes()).collect() })
}

/// Small schemas that use every keyword, with events that mutate from good to bad and back.
pub fn keywords() -> Vec<Corpus> {
    let draft = |name: &str| format!("http://json-schema.org/draft-{name}/schema#");
    let schemas = [
        json!({"properties": {"a": {"type": "integer", "minimum": -3, "maximum": 10, "multipleOf": 2},
            "b": {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 99.5, "multipleOf": 0.01}}, "required": ["a"]}),
        json!({"properties": {"a": {"minLength": 2, "maxLength": 4}, "b": {"pattern": "^[a-c]{2,3}-?x$"}, "é": {"pattern": "\\d\\w\\s|é"}},
            "patternProperties": {"^[ab]": {"not": {"const": "ab"}}, "x$": {"type": ["string", "null"]}}, "additionalProperties": {"type": "integer"}}),
        json!({"properties": {"a": {"enum": [1, 2.5, "ab", null, true, "b\u{e9}"]}, "b": {"const": 1.0}}, "additionalProperties": false, "minProperties": 1}),
        json!({"items": {"items": {"type": "integer"}, "uniqueItems": true}, "minItems": 1, "maxItems": 4, "uniqueItems": true}),
        json!({"prefixItems": [{"type": "integer"}, {"type": "string"}], "items": false}),
        json!({"contains": {"type": "string", "minLength": 2}, "minContains": 1, "maxContains": 2}),
        json!({"anyOf": [{"required": ["a"]}, {"required": ["b"], "properties": {"b": {"type": "string"}}}, {"type": "array"}]}),
        json!({"oneOf": [{"properties": {"a": {"type": "integer"}}, "required": ["a"]}, {"properties": {"a": {"minimum": 2}}}, {"type": "array"}]}),
        json!({"if": {"required": ["a"]}, "then": {"required": ["b"]}, "else": {"maxProperties": 1}}),
        json!({"dependentRequired": {"a": ["b"]}, "dependentSchemas": {"b": {"properties": {"a": {"type": "integer"}}}}, "propertyNames": {"maxLength": 2}}),
        json!({"$defs": {"tree": {"properties": {"a": {"$ref": "#/$defs/tree"}, "b": {"type": "integer"}}, "additionalProperties": false}}, "$ref": "#/$defs/tree"}),
        json!({"allOf": [{"minProperties": 1}, {"properties": {"a": {"format": "email"}}}], "properties": {"b": {"format": "date-time"}, "a": {"type": "string"}}}),
        json!({"$schema": draft("04"), "properties": {"a": {"type": "integer", "minimum": 1, "exclusiveMinimum": true}}, "required": ["a"]}),
        json!({"$schema": draft("07"), "items": [{"type": "integer"}, {"type": "string"}], "additionalItems": {"type": "null"},
            "dependencies": {"a": ["b"], "b": {"required": ["a"]}}}),
        json!({"unevaluatedProperties": false, "properties": {"a": true, "b": {"type": "string"}}}),
        // The crate would say that the property is missing.
        json!({"required": ["c"], "properties": {"a": true}, "additionalProperties": false}),
        // Which of the two is told of an alternative must not depend on the order.
        json!({"anyOf": [{"enum": [[[], "a", 1]], "const": 3}]}),
        // Told in other words than `false` itself.
        json!({"$schema": draft("07"), "definitions": {"no": false}, "propertyNames": {"$ref": "#/definitions/no"}}),
        json!({"$schema": draft("07"), "definitions": {"no": false}, "additionalProperties": {"$ref": "#/definitions/no"},
            "items": [true], "additionalItems": {"$ref": "#/definitions/no"}}),
        json!({"$schema": draft("07"), "definitions": {"no": false}, "properties": {"b": {"$ref": "#/definitions/no"}},
            "required": ["a"], "additionalProperties": {"$ref": "#/definitions/no"}, "items": {"$ref": "#/definitions/no"}}),
    ];
    let events = [
        r#"{"a": 2, "b": 1.25}"#,
        r#"{"a": "ab", "b": "ab-x", "c": 3}"#,
        r#"{"b": "aax", "ax": null, "é": "1a\u00e9 é"}"#,
        r#"{"a": {"a": {"a": {}, "b": 1}}, "b": 3}"#,
        r#"{"a": "ada@example.com", "b": "2026-11-22T10:00:00Z"}"#,
        r#"[1, "ab", null]"#,
        r#"[[1, 2], [3], ["a", 1.0]]"#,
        r#"["abc", "a", "de", 1]"#,
        "{}",
        "[]",
        "3",
        r#""ab""#,
    ];
    let events: Vec<Vec<u8>> = events.iter().map(|event| event.as_bytes().to_vec()).collect();
    let corpus = |(number, document)| Corpus {
        documents: Documents::alone(&format!("keywords-{number}"), document),
        events: events.clone(),
    };
    schemas.into_iter().enumerate().map(corpus).collect()
}
