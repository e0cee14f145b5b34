//! What is judged: schemas with real events that hold.
//!
//! The sample contracts' schemas and examples, the bench's order, a flat reading of a meter, and GitHub's published webhooks
//! by kind and all together. Each set is one self-contained schema document, so that whoever judges it reads the same.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use meshgate::config::rules;
use meshgate::contract;
use meshgate::decode::json;
use meshgate::model::Verdict;
use meshgate::rule::pointer::Pointer;
use meshgate::rule::schema::Schema;
use serde_json::{Value, json};

/// Webhooks of every size and make: one definition each, or a `oneOf` by action.
const WEBHOOKS: [&str; 10] = [
    "push",
    "issues",
    "pull_request",
    "release",
    "check_run",
    "star",
    "fork",
    "deployment_status",
    "workflow_run",
    "installation",
];

pub const ORDER: &str = "order";

/// A schema with events that hold.
pub struct Set {
    pub name: String,
    pub schema: Value,
    /// JSON Pointer to what the schema describes.
    pub payload: &'static str,
    /// Whether `format` is an assertion.
    pub formats: bool,
    pub events: Vec<Vec<u8>>,
    /// CEL over the payload, `this`, and the whole `event`; all hold.
    pub expressions: Vec<String>,
}

pub fn benches() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("benches")
}

/// An order of 0.9 KB in a CloudEvent.
pub fn order() -> String {
    include_str!("../order.json").trim_end().replace("{number}", "000001")
}

/// The sets there are. Says which are not, and why.
pub fn all() -> Vec<Set> {
    let mut sets = vec![flat(), orders()];
    sets.extend(samples());
    sets.extend(webhooks());
    sets
}

fn read(path: &Path) -> Value {
    let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    json::parse(&bytes).unwrap_or_else(|malformed| panic!("{}: {malformed}", path.display()))
}

fn flat() -> Set {
    Set {
        name: "flat".to_owned(),
        schema: read(&benches().join("flat.schema.json")),
        payload: "",
        formats: true,
        events: vec![include_str!("../flat.json").trim_end().as_bytes().to_vec()],
        expressions: Vec::new(),
    }
}

fn orders() -> Set {
    let contract =
        std::fs::read_to_string(benches().join("rules/orders/order.placed.yaml")).expect("the bench's rules");
    let expressions = contract.lines().filter_map(|line| line.trim().strip_prefix("expression: "));
    Set {
        name: ORDER.to_owned(),
        schema: read(&benches().join("rules/orders/schemas/order.json")),
        payload: "/data",
        formats: true,
        events: vec![order().into_bytes()],
        expressions: expressions.map(str::to_owned).collect(),
    }
}

/// The other contracts of `rules/`, with those of their examples that are forwarded.
fn samples() -> Vec<Set> {
    let files = rules::read(&benches().join("../rules")).expect("the sample rules");
    let compiled = contract::compile(&files, "bench");
    let contracts = compiled.set.domains().flat_map(|domain| domain.contracts.values());
    let others = contracts.filter(|contract| &*contract.name != "order.placed");
    others
        .map(|contract| {
            let text = String::from_utf8_lossy(&files[&*contract.file]).into_owned();
            let path = text.split("schema: ").nth(1).and_then(|rest| rest.split('}').next()).expect("a schema");
            let document =
                |path: &str| String::from_utf8_lossy(&files[&format!("{}/{path}", contract.domain)]).into_owned();
            let alone = document(path).replace("common.json#", "#");
            let mut schema = json::parse(alone.as_bytes()).expect("JSON");
            schema["$defs"] = json::parse(document("schemas/common.json").as_bytes()).expect("JSON")["$defs"].clone();
            let examples = contract.examples().iter().filter(|example| example.verdict == Verdict::Forward);
            let events = examples.map(|example| example.bytes.clone()).collect();
            Set {
                name: contract.name.to_string(),
                schema,
                payload: "/data",
                formats: true,
                events,
                expressions: Vec::new(),
            }
        })
        .collect()
}

/// Each kind by its own definition, and all kinds by the schema's root, a `oneOf` of every one.
fn webhooks() -> Vec<Set> {
    let tools = std::env::var_os("MESHGATE_TOOLS").map_or_else(|| benches().join("../target/tools"), PathBuf::from);
    let package = tools.join("node_modules/@octokit");
    let (schema, examples) =
        (package.join("webhooks-schemas/schema.json"), package.join("webhooks-examples/api.github.com/index.json"));
    if !schema.exists() || !examples.exists() {
        println!("left out: GitHub's webhooks, which tests/tools/install brings ({} is not there)", schema.display());
        return Vec::new();
    }
    let (schema, examples) = (read(&schema), read(&examples));
    let events_of = |kind: &Value| -> Vec<Vec<u8>> {
        kind["examples"].as_array().expect("events").iter().map(|event| event.to_string().into_bytes()).collect()
    };
    let kinds = examples.as_array().expect("kinds of events");
    let of_kind = |name: &str| {
        let kind = kinds.iter().find(|kind| kind["name"] == name).expect("a kind");
        let definitions = &schema["definitions"];
        let definition = [format!("{name}_event"), format!("{name}$event")];
        let definition = definition.iter().find(|name| definitions.get(name).is_some()).expect("a definition");
        let document = json!({
            "$schema": schema["$schema"], "definitions": definitions, "allOf": [{"$ref": format!("#/definitions/{definition}")}]
        });
        valid(&format!("github {name}"), document, &events_of(kind), &[true, false])
    };
    let mut sets: Vec<_> = WEBHOOKS.iter().filter_map(|name| of_kind(name)).collect();
    let everything: Vec<_> = kinds.iter().flat_map(events_of).collect();
    sets.extend(valid("github any", schema.clone(), &everything, &[false]));
    sets
}

/// The events that hold, with formats if some do so. `None`, said, when none holds.
fn valid(name: &str, schema: Value, events: &[Vec<u8>], formats: &[bool]) -> Option<Set> {
    for formats in formats {
        let compiled = Schema::compile(&schema, "github.json", &BTreeMap::new(), *formats).expect("a schema");
        let holds = |event: &Vec<u8>| {
            let event = json::parse(event).expect("JSON");
            compiled.find(&event, &Pointer::root(), 1).is_empty()
        };
        let events: Vec<_> = events.iter().filter(|event| holds(event)).cloned().collect();
        if !events.is_empty() {
            let name = name.to_owned();
            return Some(Set { name, schema, payload: "", formats: *formats, events, expressions: Vec::new() });
        }
    }
    println!("left out: {name}, of which no example holds");
    None
}
