//! How many reasons a schema can bring forth: whether it is recursive, and how widely it branches.
//!
//! Every alternative of an `anyOf`, `oneOf` or `allOf` is asked for its reasons. Where such a schema refers to itself, each
//! level of the payload multiplies them, so the depth that is looked into must shrink as the branching grows.

use std::collections::{BTreeSet, HashMap};

use serde_json::Value;

use super::files::{Files, id_of};
use crate::rule::number_types::SchemaAt;

/// About how many reasons may be gathered for one payload.
const REASONS_MAX: f64 = 4096.0;

/// The depth a payload may be looked into for reasons: unbounded unless the schema is recursive and branches.
pub(super) fn reason_depth(files: &Files<'_>) -> usize {
    let branching = branching(files.document).max(files.others.values().map(branching).max().unwrap_or(0));
    if branching < 2 || !is_recursive(files) {
        return usize::MAX;
    }
    // Reasons double at least with every level; a level of payload is often two of the schema's.
    (REASONS_MAX.ln() / (branching as f64).ln()).floor().max(2.0) as usize
}

/// The most alternatives that stand side by side.
fn branching(schema: &Value) -> usize {
    match schema {
        Value::Object(object) => {
            let here = ["anyOf", "oneOf", "allOf"].iter().filter_map(|k| object.get(*k)?.as_array().map(Vec::len));
            here.chain(object.values().map(branching)).max().unwrap_or(0)
        }
        Value::Array(array) => array.iter().map(branching).max().unwrap_or(0),
        _ => 0,
    }
}

/// A place references lead to: a document by its key (empty for the one compiled) and a JSON Pointer into it.
type Place = SchemaAt;

/// Whether following references can lead back to where they started. What cannot be followed counts as leading back.
fn is_recursive(files: &Files<'_>) -> bool {
    let mut targets: HashMap<Place, Option<BTreeSet<Place>>> = HashMap::new();
    let mut open = vec![(String::new(), String::new())];
    while let Some(place) = open.pop() {
        if targets.contains_key(&place) {
            continue;
        }
        let leads = value_at(files, &place).and_then(|value| {
            let mut leads = BTreeSet::new();
            references(files, &place.0, value, &mut leads).then_some(leads)
        });
        let Some(leads) = leads else { return true };
        open.extend(leads.iter().cloned());
        targets.insert(place, Some(leads));
    }
    // Places nothing can start a cycle from are taken away until none is left, or only cycles are.
    loop {
        let before = targets.len();
        let dead: Vec<Place> = targets
            .iter()
            .filter(|(_, leads)| leads.iter().flatten().all(|place| !targets.contains_key(place)))
            .map(|(place, _)| place.clone())
            .collect();
        for place in dead {
            targets.remove(&place);
        }
        if targets.is_empty() || targets.len() == before {
            return !targets.is_empty();
        }
    }
}

pub(super) fn value_at<'a>(files: &Files<'a>, (document, pointer): &Place) -> Option<&'a Value> {
    let document = if document.is_empty() { files.document } else { files.others.get(document)? };
    document.pointer(pointer)
}

/// Collects where the references under `value` lead. False when one cannot be followed.
fn references(files: &Files<'_>, document: &str, value: &Value, leads: &mut BTreeSet<Place>) -> bool {
    match value {
        Value::Object(object) => object.iter().all(|(key, value)| match (key.as_str(), value) {
            ("$dynamicRef" | "$recursiveRef", Value::String(_)) => false,
            ("$ref", Value::String(reference)) => match follow(files, document, reference) {
                Some(place) => {
                    leads.insert(place);
                    true
                }
                None => false,
            },
            _ => references(files, document, value, leads),
        }),
        Value::Array(array) => array.iter().all(|value| references(files, document, value, leads)),
        _ => true,
    }
}

pub(super) fn follow(files: &Files<'_>, document: &str, reference: &str) -> Option<Place> {
    let (file, fragment) = reference.split_once('#').unwrap_or((reference, ""));
    if !(fragment.is_empty() || fragment.starts_with('/')) || fragment.contains('%') {
        return None;
    }
    if file.is_empty() {
        return Some((document.to_owned(), fragment.to_owned()));
    }
    let from = if document.is_empty() { files.path } else { document };
    let path = joined(from, file);
    let target = if files.others.contains_key(&path) {
        path
    } else {
        files.others.iter().find(|(key, d)| *key == file || id_of(d) == Some(file)).map(|(key, _)| key.clone())?
    };
    let target = if target == files.path { String::new() } else { target };
    Some((target, fragment.to_owned()))
}

/// `file`, as seen from the file at `from`.
fn joined(from: &str, file: &str) -> String {
    let mut segments: Vec<&str> = from.split('/').collect();
    segments.pop();
    for segment in file.split('/') {
        match segment {
            "." => {}
            ".." => {
                segments.pop();
            }
            other => segments.push(other),
        }
    }
    segments.join("/")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;

    fn recursive(document: &Value, others: &[(&str, Value)]) -> bool {
        let others: BTreeMap<_, _> = others.iter().map(|(k, v)| ((*k).to_owned(), v.clone())).collect();
        is_recursive(&Files::new("d/schemas/a.json", document, &others))
    }

    #[test]
    fn cycles_are_found_within_and_across_files() {
        assert!(!recursive(&json!({"type": "object"}), &[]));
        assert!(recursive(&json!({"properties": {"left": {"$ref": "#"}}}), &[]));
        let list = json!({"$defs": {"a": {"items": {"$ref": "#/$defs/b"}}, "b": {"type": "string"}}});
        assert!(!recursive(&json!({"allOf": [{"$ref": "#/$defs/a"}], "$defs": list["$defs"]}), &[]));
        let there = ("d/shared/b.json", json!({"properties": {"x": {"$ref": "../schemas/a.json"}}}));
        let back = ("d/schemas/a.json", json!({"$ref": "../shared/b.json"}));
        assert!(recursive(&back.1, &[there.clone(), back.clone()]));
        assert!(!recursive(&json!({"$ref": "b.json"}), &[("d/schemas/b.json", json!({"type": "string"}))]));
        assert!(recursive(&json!({"$ref": "unknown.json"}), &[]), "what cannot be followed counts as a cycle");
    }

    #[test]
    fn depth_shrinks_with_branching() {
        let none = BTreeMap::new();
        let depth = |document: &Value| reason_depth(&Files::new("a.json", document, &none));
        assert_eq!(depth(&json!({"properties": {"a": {"$ref": "#"}}})), usize::MAX);
        assert_eq!(depth(&json!({"oneOf": [{"properties": {"a": {"$ref": "#"}}}, {}]})), 12);
        let wide = json!({"oneOf": [{"properties": {"a": {"$ref": "#"}}}, {}, {}, {}, {}, {}, {}, {}]});
        assert_eq!(depth(&wide), 4);
    }
}
