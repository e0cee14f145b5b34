//! Checks and private fields, beside the properties they are of.

use serde_json::{Map, Value, json};

use super::Writer;
use crate::contract::odcs::{ENGINE, default_mask};

impl Writer<'_> {
    /// `fields`, `rules` and `stream`, as quality of the properties they look at, or of the object.
    pub(super) fn checks(&mut self, object: &mut Value) {
        let list = |name: &str| self.written[name].as_array().cloned().unwrap_or_default();
        let (fields, rules, stream) = (list("fields"), list("rules"), list("stream"));
        for field in fields {
            let path = field["path"].as_str().unwrap_or_default();
            match locate(object, path) {
                Some(property) => push(property, library(&field)),
                None => {
                    let line =
                        format!("{} looks at {path:?}, which is no property: kept as a custom check", field["id"]);
                    self.warnings.push(line);
                    push(object, ours(&field));
                }
            }
        }
        if !rules.is_empty() {
            let line = format!("rules, kept as custom checks (engine: {ENGINE}): {}", rules.len());
            self.warnings.push(line);
        }
        rules.iter().for_each(|rule| push(object, ours(rule)));
        stream.iter().for_each(|check| push(object, over_events(check)));
    }

    /// Private fields, as classification.
    pub(super) fn privacy(&mut self, object: &mut Value) {
        let mut elsewhere = Vec::new();
        for mask in self.written["privacy"].as_array().into_iter().flatten() {
            let place = mask["path"].as_str().and_then(|path| locate(object, path));
            // Of two masks of one field, the second has no place of its own.
            let place = place.filter(|property| property.get("classification").is_none());
            let Some(property) = place else {
                elsewhere.push(mask.clone());
                continue;
            };
            let class = mask["classification"].as_str().unwrap_or("confidential");
            property["classification"] = class.into();
            let method = mask["mask"].as_str().unwrap_or_default();
            if default_mask(class) != Some(method) {
                custom(property, "mask", method.into());
            }
        }
        if !elsewhere.is_empty() {
            let line = format!("private fields that are no property, kept under meshgate.privacy: {}", elsewhere.len());
            self.warnings.push(line);
            self.put("privacy", elsewhere);
        }
    }
}

/// The element at a path of the payload; `*` stands for the elements of an array. `None` for the payload itself.
fn locate<'o>(object: &'o mut Value, path: &str) -> Option<&'o mut Value> {
    let segments = path.strip_prefix('/')?.split('/').map(|segment| segment.replace("~1", "/").replace("~0", "~"));
    segments.into_iter().try_fold(object, |element, segment| {
        if segment == "*" && element.get("items").is_some() {
            return element.get_mut("items");
        }
        element.get_mut("properties")?.as_array_mut()?.iter_mut().find(|property| property["name"] == segment.as_str())
    })
}

fn push(element: &mut Value, entry: Value) {
    match element.get_mut("quality").and_then(Value::as_array_mut) {
        Some(list) => list.push(entry),
        None => element["quality"] = json!([entry]),
    }
}

fn custom(element: &mut Value, name: &str, value: Value) {
    let entry = json!({"property": format!("meshgate.{name}"), "value": value});
    match element.get_mut("customProperties").and_then(Value::as_array_mut) {
        Some(list) => list.push(entry),
        None => element["customProperties"] = json!([entry]),
    }
}

/// What every entry says first.
fn head(check: &Value) -> Map<String, Value> {
    let mut entry = Map::new();
    for (from, to) in [("id", "name"), ("message", "description"), ("dimension", "dimension"), ("severity", "severity")]
    {
        if let Some(value) = check.get(from) {
            entry.insert(to.to_owned(), value.clone());
        }
    }
    entry
}

/// A metric of the standard that no event may fail.
fn library(field: &Value) -> Value {
    let mut entry = head(field);
    entry.insert("type".to_owned(), "library".into());
    entry.insert("metric".to_owned(), field["metric"].clone());
    if let Some(arguments) = field.get("arguments") {
        entry.insert("arguments".to_owned(), arguments.clone());
    }
    entry.insert("mustBe".to_owned(), 0.into());
    let mut entry = Value::from(entry);
    for (from, to) in [("mode", "mode"), ("on_fail", "onFail")] {
        if let Some(value) = field.get(from) {
            custom(&mut entry, to, value.clone());
        }
    }
    entry
}

/// A check in our own words.
fn ours(check: &Value) -> Value {
    let mut entry = head(check);
    entry.insert("type".to_owned(), "custom".into());
    entry.insert("engine".to_owned(), ENGINE.into());
    let said = ["id", "message", "dimension", "severity"];
    let rest = check.as_object().into_iter().flatten().filter(|(key, _)| !said.contains(&key.as_str()));
    let implementation: Map<String, Value> = rest.map(|(key, value)| (key.clone(), value.clone())).collect();
    entry.insert("implementation".to_owned(), implementation.into());
    entry.into()
}

/// A check over several events: a metric of the standard where it is one. What the standard cannot say of it (its key, its
/// window) is kept beside it.
pub(super) fn over_events(check: &Value) -> Value {
    let kind = check["type"].as_str().unwrap_or_default();
    let operators = || check.as_object().into_iter().flatten().filter(|(key, _)| key.starts_with("must"));
    let key = check["key"].as_array().map_or(&[][..], Vec::as_slice);
    let properties: Option<Vec<&str>> = key.iter().map(|key| key.as_str()?.strip_prefix("this.")).collect();
    let mut entry = head(check);
    entry.insert("type".to_owned(), "library".into());
    entry.insert("metric".to_owned(), kind.into());
    match (kind, properties) {
        ("rowCount", _) if operators().next().is_some() => {
            entry.extend(operators().map(|(key, value)| (key.clone(), value.clone())));
        }
        ("duplicateValues", Some(properties)) if !properties.is_empty() => {
            entry.insert("arguments".to_owned(), json!({"properties": properties}));
            entry.insert("mustBe".to_owned(), 0.into());
        }
        _ => return ours(check),
    }
    let mut entry = Value::from(entry);
    custom(&mut entry, "stream", check.clone());
    entry
}
