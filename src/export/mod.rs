//! A contract in another format: ODCS v3.1, for catalogues and everyone who reads the standard.
//!
//! ```text
//! written contract ─┬─ metadata, match, mode, slo ─▶ fundamentals, team, support, slaProperties, customProperties
//!                   ├─ JSON Schema ─▶ properties (`schema`)
//!                   └─ fields, rules, stream, privacy ─▶ quality, classification (`quality`)
//! ```
//!
//! Nothing is lost: what the standard has no word for goes to custom properties whose names begin with `meshgate.`, which is told.
//! `contract::odcs` reads what is written here, and judges as the contract did.

mod quality;
mod schema;
mod yaml;

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use self::schema::Inseparable;
use crate::contract::{Contract, Domain, RuleFiles, reread, yaml as rule_file};
use crate::decode::json;

/// The version of the standard that is written.
const VERSION: &str = "v3.1.0";

/// A contract in the other format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exported {
    /// The file.
    pub text: String,
    /// What the standard has no word for, one line each.
    pub warnings: Vec<String>,
}

/// Writes one contract of `files` as ODCS. `None` only when `files` are not those it was compiled from.
pub fn odcs(files: &RuleFiles, domain: &Domain, contract: &Contract) -> Option<Exported> {
    let reread = reread(files, domain, contract)?;
    let mut documents = documents(files, &domain.name);
    documents.extend(reread.derived_schema.clone());
    let mut writer = Writer { written: &reread.value, warnings: Vec::new(), custom: Vec::new() };
    let document = writer.document(contract, &documents);
    let head = format!("# Written by `meshgate export odcs` from {}, as ODCS {VERSION}.\n", contract.file);
    Some(Exported { text: head + &yaml::document(&document), warnings: writer.warnings })
}

/// The JSON and YAML documents of a domain, by path inside its directory.
fn documents(files: &RuleFiles, domain: &str) -> BTreeMap<String, Value> {
    let prefix = format!("{domain}/");
    let read = |(path, bytes): (&String, &Vec<u8>)| {
        let path = path.strip_prefix(prefix.as_str())?;
        let is_yaml = path.ends_with(".yaml") || path.ends_with(".yml");
        let value = match path.ends_with(".json") {
            true => json::parse(bytes).ok()?,
            false if is_yaml && path.contains('/') => rule_file::parse(bytes).ok()?.value,
            false => return None,
        };
        Some((path.to_owned(), value))
    };
    files.iter().filter_map(read).collect()
}

struct Writer<'w> {
    /// The contract in our own format.
    written: &'w Value,
    warnings: Vec<String>,
    /// Custom properties of the schema object.
    custom: Vec<Value>,
}

impl Writer<'_> {
    fn document(&mut self, contract: &Contract, documents: &BTreeMap<String, Value>) -> Value {
        let metadata = &self.written["metadata"];
        let mut file = Map::new();
        let mut put = |key: &str, value: Value| drop(file.insert(key.to_owned(), value));
        put("apiVersion", VERSION.into());
        put("kind", "DataContract".into());
        put("id", format!("{}.{}", contract.domain, contract.name).into());
        put("name", (*contract.name).into());
        put("version", (*contract.version).into());
        put("status", contract.status.as_str().into());
        put("domain", (*contract.domain).into());
        if let Some(description) = metadata["description"].as_str() {
            put("description", json!({"purpose": description}));
        }
        if let Some(tags) = metadata.get("tags") {
            put("tags", tags.clone());
        }
        let owner = &contract.owner;
        put("team", json!({"name": *owner.team}));
        if let Some(contact) = &owner.contact {
            put("support", json!([{"channel": **contact}]));
        }
        put("schema", json!([self.object(contract, documents)]));
        if let Some(slo) = self.written["slo"].get(0) {
            let mut level = json!({"property": slo["property"], "value": slo["value"], "unit": slo["unit"]});
            if let Some(window) = slo.get("window") {
                level["valueExt"] = window.clone();
            }
            put("slaProperties", json!([level]));
        }
        file.into()
    }

    fn object(&mut self, contract: &Contract, documents: &BTreeMap<String, Value>) -> Value {
        let mut object = Map::from_iter([
            ("name".to_owned(), Value::from(&*contract.name)),
            ("logicalType".to_owned(), "object".into()),
            ("physicalType".to_owned(), "event".into()),
        ]);
        self.matching(contract);
        object.append(&mut self.payload(documents));
        let mut object = Value::from(object);
        self.checks(&mut object);
        self.privacy(&mut object);
        for name in ["reference", "examples", "breaker", "replay"] {
            if let Some(value) = self.written.get(name) {
                self.put(name, value.clone());
            }
        }
        object["customProperties"] = std::mem::take(&mut self.custom).into();
        object
    }

    /// A custom property of the object.
    fn put(&mut self, name: &str, value: impl Into<Value>) {
        self.custom.push(json!({"property": format!("meshgate.{name}"), "value": value.into()}));
    }

    fn matching(&mut self, contract: &Contract) {
        match &contract.event_type {
            Some(of) if *of == contract.name => {}
            Some(of) => self.put("type", &**of),
            None => self.put("type", Value::Null),
        }
        if let Some(stream) = self.written["match"].get("stream") {
            self.put("stream", stream.clone());
        }
        if let Some(mode) = self.written.get("mode") {
            self.put("mode", mode.clone());
        }
        let payload = &self.written["payload"];
        if let Some(pointer) = payload["pointer"].as_str().filter(|pointer| !pointer.is_empty()) {
            self.put("payload", pointer);
        }
        if payload["formats"] == false {
            self.put("formats", false);
        }
    }

    /// The schema's part of the object.
    fn payload(&mut self, documents: &BTreeMap<String, Value>) -> Map<String, Value> {
        let Some(path) = self.written["payload"]["schema"].as_str() else {
            // Any payload; a schema object without properties would ask for an object.
            self.put("jsonSchema", json!({"type": ["object", "array", "string", "number", "boolean", "null"]}));
            return Map::new();
        };
        let inside = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect::<Vec<_>>().join("/");
        match schema::export(&inside, documents) {
            Ok(exported) => {
                // JSON Schema's way: what is not required may be absent, and is not null where it is there.
                self.put("nullable", false);
                if !exported.json_schema.is_empty() {
                    self.put("jsonSchema", exported.json_schema);
                }
                if !exported.kept.is_empty() {
                    let times = |(keyword, count): (&String, &usize)| match count {
                        1 => keyword.clone(),
                        n => format!("{keyword} ({n} times)"),
                    };
                    let kept: Vec<String> = exported.kept.iter().map(times).collect();
                    let line = format!("of the schema, kept under meshgate.jsonSchema: {}", kept.join(", "));
                    self.warnings.push(line);
                }
                exported.object
            }
            Err(Inseparable(why)) => {
                self.put("schema", path);
                let line = format!("the schema stays in {path} (meshgate.schema), without properties: {why}");
                self.warnings.push(line);
                Map::new()
            }
        }
    }
}

#[cfg(test)]
mod tests;
