//! Metrics over several events. The standard counts over a table; a stream has windows, which it has no word for: they are said by
//! `meshgate.window`, or by `meshgate.stream`, which may say all that our own format does.

use serde_json::{Value, json};

use super::Remarks;
use super::custom::{Custom, Holder};
use super::element::Path;
use super::entry::{Checks, Entry, List};
use super::quality::{asks_for_none, common, metric_of};
use crate::rule::pointer::Pointer;

impl Checks {
    /// A metric that compares events with each other, or lets some fail: of the property at `path`, or of the object.
    pub(super) fn over_events(
        &mut self,
        entry: &Value,
        at: &Pointer,
        name: &str,
        path: Option<&Path>,
        remarks: &mut Remarks,
    ) {
        let metric = metric_of(entry).unwrap_or_default();
        // What it says that is not known is remarked on below.
        let custom = Custom::read(entry, at, Holder::Quality, &mut Remarks::default());
        let whole = custom.get("stream").and_then(|(value, _)| value.as_object()).cloned().unwrap_or_default();
        let mut made = Entry { at: at.clone(), value: whole, parts: Vec::new() };
        if let Some((window, from)) = custom.get("window") {
            made.put("window", (*window).clone(), from.clone());
        }
        if !made.value.contains_key("window") {
            let message = format!("`{metric}` is about more than one event, and does not say over how long");
            let hint = "customProperties: [{property: meshgate.window, value: 1h}]";
            return remarks.not_judged(at, message, hint);
        }
        if !made.value.contains_key("id") {
            self.name(entry, at, &[name, metric], &mut made);
        }
        made.put("type", metric, at.child("metric"));
        match metric {
            "duplicateValues" => {
                if asks_for_none(entry) != Some(true) {
                    let message = "how many duplicates there may be is not judged; each is one too many";
                    return remarks.not_judged(at, message, "mustBe: 0 asks it of every event");
                }
                if !made.value.contains_key("key") {
                    let Some(key) = key(entry, path) else {
                        let hint = "arguments: {properties: [orderId]}, or write it under a property";
                        return remarks.not_judged(at, "the properties that are not to come twice are not named", hint);
                    };
                    made.put("key", json!(key), at.child("arguments"));
                }
            }
            _ => {
                let bounds = entry.as_object().into_iter().flatten().filter(|(key, _)| key.starts_with("must"));
                for (bound, value) in bounds {
                    // The places of bounds are the entry's, where they have no name of their own.
                    made.value.insert(bound.clone(), value.clone());
                }
                if metric != "rowCount" {
                    let Some(path) = path else {
                        let message = format!("`{metric}` is a metric of a property, and this is an object's");
                        return remarks.not_judged(at, message, "write it under the property's quality");
                    };
                    made.put("path", path.pointer.to_string(), at.clone());
                    // Where nothing is said, the standard counts rows.
                    let unit = entry["unit"].as_str().map_or("rows".to_owned(), str::to_lowercase);
                    made.put("unit", unit, at.child("unit"));
                    self.arguments(entry, at, metric, &mut made, remarks);
                }
            }
        }
        common(entry, at, &mut made, remarks);
        self.add(List::Stream, made);
    }
}

/// The CEL of the properties that are not to come twice together.
fn key(entry: &Value, path: Option<&Path>) -> Option<Vec<String>> {
    match (entry["arguments"]["properties"].as_array(), path) {
        (Some(names), _) if !names.is_empty() => names
            .iter()
            .map(|name| name.as_str().map(|name| field(&[name.split('.').collect::<Vec<_>>()].concat())))
            .collect(),
        (_, Some(path)) if !path.is_below_map => {
            let segments: Vec<&str> = path.pointer.segments().iter().map(|segment| &**segment).collect();
            (!segments.contains(&"*")).then(|| vec![field(&segments)])
        }
        _ => None,
    }
}

/// `this.a.b`, or `this["a b"]` for what is no name in CEL.
fn field(segments: &[&str]) -> String {
    let is_name = |text: &str| {
        text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    segments.iter().fold("this".to_owned(), |path, segment| {
        if is_name(segment) { format!("{path}.{segment}") } else { format!("{path}[{}]", json!(segment)) }
    })
}
