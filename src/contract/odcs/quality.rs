//! Quality entries: what each becomes is decided in one place, [`Checks::entry`].
//!
//! The standard counts over a table (`nullValues`, `mustBeLessThan: 5`, `unit: percent`). A check here is asked of every event, so a
//! metric maps where no row may fail it. What allows some to fail, or compares events with each other, becomes an entry of `stream:`
//! ([`super::stream`]).

use serde_json::{Map, Value, json};

use super::custom::{Custom, Holder};
use super::element::Path;
use super::entry::{Checks, Entry, List};
use super::{ENGINE, Remarks};
use crate::contract::yaml;
use crate::rule::pointer::Pointer;

/// The longest message, as our own format says, in characters.
const MESSAGE_CHARS_MAX: usize = 1000;

/// Words of a classification that say a value may not be shown; any of them is enough.
const PRIVATE: [&str; 17] = [
    "pii",
    "spi",
    "phi",
    "pci",
    "personal",
    "private",
    "sensitive",
    "confidential",
    "restricted",
    "secret",
    "health",
    "medical",
    "financial",
    "gdpr",
    "hipaa",
    "nonpublic",
    "protected",
];
/// Words that say it may.
const OPEN: [&str; 5] = ["public", "internal", "open", "unclassified", "none"];
/// Words that turn those into the opposite.
const NOT: [&str; 3] = ["non", "not", "no"];

/// How values of a classification are masked: `redact`, or `none`. `None` where its words are not known.
pub(crate) fn default_mask(class: &str) -> Option<&'static str> {
    let class = class.to_lowercase();
    let words = || class.split(|c: char| !c.is_alphanumeric());
    let is_open = words().any(|word| OPEN.contains(&word));
    if words().any(|word| PRIVATE.contains(&word)) || is_open && words().any(|word| NOT.contains(&word)) {
        return Some("redact");
    }
    is_open.then_some("none")
}

/// The names of metrics in v3.0, and what v3.1 calls them.
pub(super) fn metric_of(entry: &Value) -> Option<&str> {
    let name = entry["metric"].as_str().or_else(|| entry["rule"].as_str())?;
    Some(match name {
        "nullCheck" | "nullCount" => "nullValues",
        "validValues" => "invalidValues",
        "duplicateCount" | "duplicates" | "unique" => "duplicateValues",
        "countCheck" => "rowCount",
        other => other,
    })
}

/// Whether no row may be counted. `None` where nothing is said.
pub(super) fn asks_for_none(entry: &Value) -> Option<bool> {
    let is = |name: &str, number: f64| entry[name].as_f64().map(|n| n == number);
    let is_share = entry["unit"].as_str().is_some_and(|unit| !unit.eq_ignore_ascii_case("rows"));
    let operators = entry.as_object()?.keys().filter(|key| key.starts_with("mustBe") || key.starts_with("mustNotBe"));
    let operators: Vec<&String> = operators.collect();
    match operators.as_slice() {
        [] => None,
        [one] => Some(match one.as_str() {
            "mustBe" | "mustBeLessOrEqualTo" => is(one, 0.0) == Some(true),
            "mustBeLessThan" => !is_share && entry["mustBeLessThan"].as_f64().is_some_and(|n| n > 0.0 && n <= 1.0),
            _ => false,
        }),
        _ => Some(false),
    }
}

impl Checks {
    /// The quality of the element at `at`, which is at `path` in the payload, or is the object itself.
    pub fn quality(&mut self, element: &Value, at: &Pointer, path: Option<&Path>, remarks: &mut Remarks) {
        let name = element["name"].as_str().unwrap_or("element");
        for (index, entry) in element["quality"].as_array().into_iter().flatten().enumerate() {
            let at = at.child("quality").child(index.to_string());
            self.entry(entry, &at, name, path, remarks);
        }
    }

    fn entry(&mut self, entry: &Value, at: &Pointer, name: &str, path: Option<&Path>, remarks: &mut Remarks) {
        let kind = entry["type"].as_str().unwrap_or("library");
        match (kind, metric_of(entry)) {
            ("text", _) => remarks.for_people(at, "a quality text is for people; nothing judges it".to_owned()),
            ("sql", _) => {
                let hint = "say it as a rule: {type: custom, engine: meshgate, implementation: {expression: …}}";
                remarks.not_judged(at, "a SQL query needs a table, so this is not judged", hint);
            }
            ("custom", _) if entry["engine"] == ENGINE => self.ours(entry, at, name, remarks),
            ("custom", _) => {
                let engine = entry["engine"].as_str().unwrap_or("another engine");
                let hint = "the gate runs what has engine: meshgate";
                remarks.not_judged(at, format!("this check is for {engine}, so it is not judged"), hint);
            }
            (_, Some("nullValues" | "missingValues" | "invalidValues")) => {
                self.field(entry, at, name, path, remarks);
            }
            (_, Some("duplicateValues" | "rowCount")) => self.over_events(entry, at, name, path, remarks),
            (_, Some(metric)) => {
                let known = "nullValues, missingValues, invalidValues, duplicateValues and rowCount";
                let hint = format!("the standard's metrics are {known}");
                remarks.not_judged(at, format!("no metric is called `{metric}`, so this is not judged"), &hint);
            }
            (_, None) => {
                remarks.not_judged(at, "a check without a metric judges nothing", "name one: metric: nullValues")
            }
        }
    }

    /// A library metric of one value.
    fn field(&mut self, entry: &Value, at: &Pointer, name: &str, path: Option<&Path>, remarks: &mut Remarks) {
        let metric = metric_of(entry).unwrap_or_default();
        let Some(path) = path else {
            let message = format!("`{metric}` is a metric of a property, and this is an object's");
            return remarks.not_judged(at, message, "write it under the property's quality");
        };
        if path.is_below_map {
            let hint = "a rule can look at all keys: engine: meshgate";
            return remarks.not_judged(at, "what is below a map has no path of its own, so this is not judged", hint);
        }
        // v3.0 has rules that say it all by their name.
        let is_named_by_rule = entry.get("metric").is_none();
        match asks_for_none(entry) {
            Some(true) => {}
            None if is_named_by_rule => {}
            None => {
                let message = format!("`{metric}` without mustBe does not say how many are too many");
                return remarks.not_judged(at, message, "mustBe: 0 asks it of every event");
            }
            Some(false) => return self.over_events(entry, at, name, Some(path), remarks),
        }
        let mut made = Entry { at: at.clone(), ..Entry::default() };
        self.name(entry, at, &[name, metric], &mut made);
        made.put("path", path.pointer.to_string(), at.clone());
        made.put("metric", metric, at.child(if is_named_by_rule { "rule" } else { "metric" }));
        self.arguments(entry, at, metric, &mut made, remarks);
        common(entry, at, &mut made, remarks);
        self.add(List::Fields, made);
    }

    pub(super) fn arguments(&self, entry: &Value, at: &Pointer, metric: &str, made: &mut Entry, remarks: &mut Remarks) {
        let known: &[&str] = match metric {
            "missingValues" => &["missingValues"],
            "invalidValues" => &["validValues", "validValuesFrom", "pattern"],
            _ => &[],
        };
        let mut arguments = Map::new();
        for (name, value) in entry["arguments"].as_object().into_iter().flatten() {
            if known.contains(&name.as_str()) {
                arguments.insert(name.clone(), value.clone());
                continue;
            }
            let at = at.child("arguments").child(name.as_str());
            let hint = if known.is_empty() { "it has none".to_owned() } else { format!("it has {}", known.join(", ")) };
            remarks.not_judged(&at, format!("`{name}` is no argument of `{metric}`, so it judges nothing"), &hint);
        }
        if let (Some(values), "invalidValues") = (entry.get("validValues"), metric) {
            arguments.insert("validValues".to_owned(), values.clone());
        }
        if !arguments.is_empty() {
            made.put("arguments", arguments, at.child("arguments"));
        }
    }

    /// A check in our own words: a rule, a field, or what stands under `stream:`.
    fn ours(&mut self, entry: &Value, at: &Pointer, name: &str, remarks: &mut Remarks) {
        let from = at.child("implementation");
        let implementation = match &entry["implementation"] {
            Value::Object(object) => object.clone(),
            text => match text.as_str().map(|text| yaml::parse(text.as_bytes())) {
                Some(Ok(document)) if document.value.is_object() => {
                    document.value.as_object().cloned().unwrap_or_default()
                }
                _ => {
                    let code = crate::contract::diagnostic::Code::InvalidValue;
                    let hint = "write expression: …, or a field's path and metric, as in docs/contracts.md";
                    return remarks.fault(
                        &from,
                        code,
                        "what the gate is to do is a mapping in YAML",
                        Some(hint.to_owned()),
                    );
                }
            },
        };
        let list = if implementation.contains_key("expression") {
            List::Rules
        } else if implementation.contains_key("metric") {
            List::Fields
        } else if implementation.contains_key("type") {
            List::Stream
        } else {
            let code = crate::contract::diagnostic::Code::MissingKey;
            let message = "what the gate is to do has an expression, a metric or a type";
            let kinds = ["expression", "metric", "type"];
            let meant = implementation.keys().find_map(|key| crate::rule::did_you_mean(key, kinds));
            let hint =
                meant.unwrap_or_else(|| "as entries of rules, fields and stream, in docs/contracts.md".to_owned());
            return remarks.fault(&from, code, message, Some(hint));
        };
        let mut made = Entry { at: from.clone(), value: implementation, parts: Vec::new() };
        if !made.value.contains_key("id") {
            self.name(entry, at, &[name, "rule"], &mut made);
        }
        common(entry, at, &mut made, remarks);
        self.add(list, made);
    }

    /// The id: the name, the id, or one made of words.
    pub(super) fn name(&self, entry: &Value, at: &Pointer, words: &[&str], made: &mut Entry) {
        for key in ["name", "id"] {
            if let Some(id) = entry[key].as_str().filter(|id| Self::is_id(id)) {
                return made.put("id", id, at.child(key));
            }
        }
        made.put("id", self.fresh_id(words), at.clone());
    }
}

/// What every check says beside its condition. What `made` says already stays.
pub(super) fn common(entry: &Value, at: &Pointer, made: &mut Entry, remarks: &mut Remarks) {
    let custom = Custom::read(entry, at, Holder::Quality, remarks);
    if let (Some(text), false) = (entry["description"].as_str(), made.value.contains_key("message")) {
        let text: String = text.chars().take(MESSAGE_CHARS_MAX).collect();
        if !text.is_empty() {
            made.put("message", text, at.child("description"));
        }
    }
    if let (Some(dimension), false) = (entry["dimension"].as_str(), made.value.contains_key("dimension")) {
        let dimension = match dimension {
            "ac" => "accuracy",
            "cp" => "completeness",
            "cf" => "conformity",
            "cs" => "consistency",
            "cv" => "coverage",
            "tm" => "timeliness",
            "uq" => "uniqueness",
            other => other,
        };
        made.put("dimension", dimension, at.child("dimension"));
    }
    if let (Some(severity), false) = (entry["severity"].as_str(), made.value.contains_key("severity")) {
        let known = match severity.to_lowercase().as_str() {
            "error" | "critical" | "blocker" | "fatal" | "high" | "major" => Some("error"),
            "warning" | "warn" | "medium" | "minor" => Some("warning"),
            "info" | "information" | "low" | "trivial" => Some("info"),
            _ => None,
        };
        if known.is_none() {
            let message = format!("the severity {severity:?} is taken for an error");
            remarks.not_judged(&at.child("severity"), message, "error, warning and info are known");
        }
        made.put("severity", known.unwrap_or("error"), at.child("severity"));
    }
    for (name, key) in [("mode", "mode"), ("onFail", "on_fail")] {
        if let Some((value, from)) = custom.get(name) {
            made.put(key, json!(value), from.clone());
        }
    }
}
