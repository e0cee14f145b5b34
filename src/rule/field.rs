//! Checks of one value each: the ODCS library metrics that mean something for a single event.
//!
//! ODCS v3.1 defines its metrics over a table (`nullValues` counts rows with a null) and bounds the count by a threshold
//! (`mustBe: 0`). Here every event must be free of them, so a threshold has no meaning and is refused; how many events
//! fail is told by the metrics. `duplicateValues` and `rowCount` need more than one event: they belong under `stream:`.

mod scalar;
mod slots;

use std::collections::BTreeMap;
use std::sync::Arc;

use regex::Regex;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use self::scalar::{Plain, Scalars};
use self::slots::{FieldSlots, Stop};
use super::capture::{Captured, Reads};
use super::pointer::{Pattern, Pointer, Visit};
use super::reference::ReferenceList;
use super::{Finding, OnFail, did_you_mean};
use crate::model::{Dimension, Mode, Severity};

/// The largest compiled form of a `pattern` argument, in bytes.
pub const PATTERN_SIZE_MAX: usize = 256 * 1024;

const METRICS: [&str; 3] = ["nullValues", "missingValues", "invalidValues"];

/// One entry of a contract's `fields:`, as written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FieldSpec {
    pub id: String,
    /// JSON Pointer into the payload; a `*` segment visits every element of an array (`/lines/*/sku`).
    pub path: String,
    /// `nullValues`, `missingValues` or `invalidValues`.
    pub metric: String,
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub arguments: Map<String, Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dimension: Option<Dimension>,
    #[serde(default)]
    pub severity: Severity,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_fail: Option<OnFail>,
    #[serde(default)]
    pub mode: Mode,
    /// Told instead of the metric's own words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// Why an entry is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct FieldFault {
    /// JSON Pointer into the entry, such as `/arguments/pattern`.
    pub at: String,
    pub message: String,
    pub hint: Option<String>,
}

/// A compiled [`FieldSpec`].
#[derive(Debug, Clone)]
pub struct FieldCheck {
    path: Pattern,
    /// The same, as it is written.
    written: Pointer,
    metric: Metric,
    message: Option<String>,
    slots: Option<FieldSlots>,
}

#[derive(Debug, Clone)]
enum Metric {
    /// Fails for null and for nothing there.
    Null,
    /// Fails for these too.
    Missing(Scalars),
    /// Fails for what does not meet all that is given. Null and absent values pass: they are missing, not invalid.
    Invalid(Validity),
}

#[derive(Debug, Clone, Default)]
struct Validity {
    values: Option<Scalars>,
    list: Option<(String, Arc<ReferenceList>)>,
    pattern: Option<Regex>,
}

impl FieldCheck {
    /// # Errors
    ///
    /// When the path is no pointer, the metric is not one of the three, an argument is unknown, missing or of the wrong
    /// type, a pattern is no regular expression of linear time, or a list is not among `lists`.
    pub fn compile(spec: &FieldSpec, lists: &BTreeMap<String, Arc<ReferenceList>>) -> Result<Self, FieldFault> {
        let written = Pointer::parse(&spec.path).map_err(|fault| refuse("/path", fault.to_string(), None))?;
        let arguments = Arguments(&spec.arguments);
        let metric = match spec.metric.as_str() {
            "nullValues" => {
                arguments.known(&[])?;
                Metric::Null
            }
            "missingValues" => {
                arguments.known(&["missingValues"])?;
                Metric::Missing(arguments.scalars("missingValues")?.unwrap_or_default())
            }
            "invalidValues" => Metric::Invalid(validity(arguments, lists)?),
            other => return Err(unknown_metric(other)),
        };
        Ok(Self { path: written.clone().into(), written, metric, message: spec.message.clone(), slots: None })
    }

    /// The first place in the payload where the check fails, as seen from the whole event.
    pub fn find(&self, payload: &Value, payload_pointer: &Pointer) -> Option<Finding> {
        let mut found = None;
        self.path.visit(payload, &mut |at, value| match self.metric.problem(value.map(Plain::of)) {
            None => Visit::Continue,
            Some(problem) => {
                found = Some(self.finding(problem, &payload_pointer.join(at)));
                Visit::Stop
            }
        });
        found
    }

    /// Adds what the check looks at to `reads`, in an event that holds the payload at `payload`.
    pub fn read_slots(&mut self, reads: &mut Reads, payload: &Pointer) {
        self.slots = FieldSlots::compile(&self.written, reads, payload);
    }

    /// Whether the check can look at what one pass has found: [`FieldCheck::read_slots`] has seen to it.
    pub fn has_slots(&self) -> bool {
        self.slots.is_some()
    }

    /// [`FieldCheck::find`] in what one pass has found of an event that has a payload. `None` when the tree must be asked.
    pub fn find_on_slots(&self, captured: &Captured<'_>, payload_pointer: &Pointer) -> Option<Option<Finding>> {
        match self.slots.as_ref()?.find(captured, &|value| self.metric.problem(value)) {
            Ok(()) => Some(None),
            Err(Stop::Trouble(trouble)) => {
                let pointer = payload_pointer.join(&trouble.pointer(&self.written));
                Some(Some(self.finding(trouble.problem, &pointer)))
            }
            Err(Stop::Unsure) => None,
        }
    }

    fn finding(&self, problem: Problem, pointer: &Pointer) -> Finding {
        let message = self.message.clone().unwrap_or_else(|| self.metric.words(problem));
        Finding { pointer: pointer.to_string(), message }
    }
}

/// What is wrong with a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Problem {
    Missing,
    Null,
    StandsForMissing,
    NotSingle,
    NotAValue,
    NotInList,
    NoMatch,
}

impl Metric {
    #[inline]
    fn problem(&self, value: Option<Plain<'_>>) -> Option<Problem> {
        match (self, value) {
            (Self::Invalid(_), None | Some(Plain::Null)) => None,
            (Self::Invalid(validity), Some(value)) => validity.problem(value),
            (Self::Null | Self::Missing(_), None) => Some(Problem::Missing),
            (Self::Null | Self::Missing(_), Some(Plain::Null)) => Some(Problem::Null),
            (Self::Null, Some(_)) => None,
            (Self::Missing(missing), Some(value)) => missing.hold(value).then_some(Problem::StandsForMissing),
        }
    }

    /// The problem in words, without naming the value.
    fn words(&self, problem: Problem) -> String {
        let (list, pattern) = match self {
            Self::Invalid(Validity { list, pattern, .. }) => (list.as_ref().map(|(name, _)| name), pattern.as_ref()),
            Self::Null | Self::Missing(_) => (None, None),
        };
        match problem {
            Problem::Missing => "is missing".to_owned(),
            Problem::Null => "is null".to_owned(),
            Problem::StandsForMissing => "holds a value that stands for a missing one".to_owned(),
            Problem::NotSingle => "is an object or array, where a single value is expected".to_owned(),
            Problem::NotAValue => "is not one of the valid values".to_owned(),
            Problem::NotInList => format!("is not in the list {:?}", list.map_or("", |name| name)),
            Problem::NoMatch => format!("does not match the pattern {}", pattern.map_or("", Regex::as_str)),
        }
    }
}

impl Validity {
    fn problem(&self, value: Plain<'_>) -> Option<Problem> {
        let Some(text) = value.text() else { return Some(Problem::NotSingle) };
        if self.values.as_ref().is_some_and(|values| !values.hold(value)) {
            return Some(Problem::NotAValue);
        }
        if self.list.as_ref().is_some_and(|(_, list)| !list.contains(text)) {
            return Some(Problem::NotInList);
        }
        let fails = self.pattern.as_ref().is_some_and(|pattern| !pattern.is_match(text));
        fails.then_some(Problem::NoMatch)
    }
}

fn validity(arguments: Arguments<'_>, lists: &BTreeMap<String, Arc<ReferenceList>>) -> Result<Validity, FieldFault> {
    arguments.known(&["validValues", "validValuesFrom", "pattern"])?;
    let mut validity = Validity { values: arguments.scalars("validValues")?, ..Validity::default() };
    if let Some(name) = arguments.text("validValuesFrom")? {
        let list = lists.get(name).ok_or_else(|| {
            let hint = did_you_mean(name, lists.keys().map(String::as_str));
            refuse(
                "/arguments/validValuesFrom",
                format!("no list is called {name:?}"),
                Some(hint.unwrap_or_else(|| "name it under reference:, with its file and column".to_owned())),
            )
        })?;
        validity.list = Some((name.to_owned(), Arc::clone(list)));
    }
    if let Some(pattern) = arguments.text("pattern")? {
        let regex = super::compile_pattern(pattern, PATTERN_SIZE_MAX)
            .map_err(|(problem, hint)| refuse("/arguments/pattern", format!("the pattern {problem}"), hint))?;
        validity.pattern = Some(regex);
    }
    if validity.values.is_none() && validity.list.is_none() && validity.pattern.is_none() {
        let message = "invalidValues needs validValues, validValuesFrom or pattern; without, every value is valid";
        return Err(refuse("/arguments", message.to_owned(), None));
    }
    Ok(validity)
}

/// The arguments of one entry.
#[derive(Clone, Copy)]
struct Arguments<'a>(&'a Map<String, Value>);

impl<'a> Arguments<'a> {
    fn known(self, known: &[&str]) -> Result<(), FieldFault> {
        let Some(unknown) = self.0.keys().find(|name| !known.contains(&name.as_str())) else { return Ok(()) };
        let hint = if unknown.starts_with("mustBe") || unknown.starts_with("mustNotBe") {
            Some("every event must be free of the metric, so there is no threshold".to_owned())
        } else if known.is_empty() {
            Some("this metric takes no arguments".to_owned())
        } else {
            let near = did_you_mean(unknown, known.iter().copied());
            Some(near.unwrap_or_else(|| format!("its arguments are {}", known.join(", "))))
        };
        Err(refuse(&format!("/arguments/{unknown}"), format!("unknown argument {unknown:?}"), hint))
    }

    fn text(self, name: &str) -> Result<Option<&'a str>, FieldFault> {
        match self.0.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(refuse(&format!("/arguments/{name}"), format!("{name} is a text"), None)),
        }
    }

    fn scalars(self, name: &str) -> Result<Option<Scalars>, FieldFault> {
        let Some(value) = self.0.get(name) else { return Ok(None) };
        match value.as_array().and_then(|list| Scalars::of(list)) {
            Some(scalars) => Ok(Some(scalars)),
            None => {
                let message = format!("{name} is a list of at least one text, number, boolean or null");
                Err(refuse(&format!("/arguments/{name}"), message, None))
            }
        }
    }
}

fn unknown_metric(name: &str) -> FieldFault {
    let hint = match name {
        "duplicateValues" | "rowCount" => Some("it needs more than one event: write it under stream:".to_owned()),
        _ => did_you_mean(name, METRICS),
    };
    let hint = hint.unwrap_or_else(|| format!("the metrics of a field are {}", METRICS.join(", ")));
    refuse("/metric", format!("no metric of a field is called {name:?}"), Some(hint))
}

fn refuse(at: &str, message: String, hint: Option<String>) -> FieldFault {
    FieldFault { at: at.to_owned(), message, hint }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::rule::capture::{Captures, naive};

    fn lists() -> BTreeMap<String, Arc<ReferenceList>> {
        let list = ReferenceList::parse(b"code\nCH\n756\n", "code").unwrap();
        BTreeMap::from([("countries".to_owned(), Arc::new(list))])
    }

    fn spec(path: &str, metric: &str, arguments: Value) -> FieldSpec {
        serde_json::from_value(json!({"id": "x", "path": path, "metric": metric, "arguments": arguments})).unwrap()
    }

    fn found(path: &str, metric: &str, arguments: Value, payload: &Value) -> Option<(String, String)> {
        let mut check = FieldCheck::compile(&spec(path, metric, arguments), &lists()).unwrap();
        let pointer = Pointer::parse("/data").unwrap();
        let found = check.find(payload, &pointer);

        let (mut reads, mut captures) = (Reads::default(), Captures::default());
        check.read_slots(&mut reads, &pointer);
        let text = json!({ "data": payload }).to_string();
        naive::fill(&reads, &text, &mut captures).unwrap();
        assert_eq!(check.find_on_slots(&Captured::new(&text, &captures), &pointer), Some(found.clone()), "{text}");
        found.map(|f| (f.pointer, f.message))
    }

    #[test]
    fn null_values() {
        for (payload, message) in
            [(json!({"a": null}), Some("is null")), (json!({}), Some("is missing")), (json!({"a": ""}), None)]
        {
            let found = found("/a", "nullValues", json!({}), &payload);
            assert_eq!(found, message.map(|m| ("/data/a".to_owned(), m.to_owned())), "{payload}");
        }
    }

    #[test]
    fn missing_values() {
        let arguments = json!({"missingValues": ["", "n/a", 0]});
        let is_found = |payload: Value| found("/a", "missingValues", arguments.clone(), &payload).is_some();
        assert!(is_found(json!({})) && is_found(json!({"a": null})) && is_found(json!({"a": "n/a"})));
        assert!(is_found(serde_json::from_str(r#"{"a": 0.00}"#).unwrap()));
        assert!(!is_found(json!({"a": "N/A"})) && !is_found(json!({"a": "0"})) && !is_found(json!({"a": []})));
    }

    #[test]
    fn invalid_values() {
        let message =
            |arguments: Value, value: Value| found("/a", "invalidValues", arguments, &json!({"a": value})).map(|f| f.1);
        let choices = json!({"validValues": ["x", 1]});
        assert_eq!(message(choices.clone(), json!("x")), None);
        assert_eq!(message(choices.clone(), serde_json::from_str("1.0").unwrap()), None);
        assert_eq!(message(choices.clone(), json!(null)), None);
        assert_eq!(message(choices.clone(), json!("secret")).unwrap(), "is not one of the valid values");
        let list = json!({"validValuesFrom": "countries"});
        assert_eq!(message(list.clone(), json!("CH")), None);
        assert_eq!(message(list.clone(), json!(756)), None);
        assert_eq!(message(list, json!("secret")).unwrap(), "is not in the list \"countries\"");
        let pattern = json!({"pattern": "^[A-Z]{2}$"});
        assert_eq!(message(pattern.clone(), json!("CH")), None);
        assert_eq!(message(pattern, json!("secret")).unwrap(), "does not match the pattern ^[A-Z]{2}$");
        assert!(message(choices, json!({"x": 1})).unwrap().starts_with("is an object or array"));
        assert_eq!(found("/a", "invalidValues", json!({"pattern": "x"}), &json!({})), None);
    }

    #[test]
    fn a_star_finds_the_first_element_that_fails() {
        let payload = json!({"lines": [{"sku": "A"}, {"sku": ""}, {}]});
        let arguments = json!({"missingValues": [""]});
        let (pointer, _) = found("/lines/*/sku", "missingValues", arguments.clone(), &payload).unwrap();
        assert_eq!(pointer, "/data/lines/1/sku");
        assert_eq!(found("/lines/*/sku", "missingValues", arguments, &json!({"lines": []})), None);
    }

    #[test]
    fn a_way_that_breaks_off_is_a_missing_value() {
        let pointer = |path, payload| found(path, "nullValues", json!({}), &payload).map(|f| f.0);
        assert_eq!(pointer("/lines/*/sku", json!({"lines": 1})).unwrap(), "/data/lines/*/sku");
        assert_eq!(pointer("/lines/*/sku", json!({})).unwrap(), "/data/lines/*/sku");
        assert_eq!(
            pointer("/a/*/b/*/c", json!({"a": [{"b": [{"c": 1}]}, {"b": [{"c": 1}, {}]}]})).unwrap(),
            "/data/a/1/b/1/c"
        );
        assert_eq!(pointer("/a/*/b/*/c", json!({"a": [{"b": [{"c": 1}]}, {}]})).unwrap(), "/data/a/1/b/*/c");
        assert_eq!(pointer("/a/b", json!({"a": ["b"]})).unwrap(), "/data/a/b");
        assert_eq!(pointer("", json!(null)).unwrap(), "/data");
        assert_eq!(pointer("/*", json!([1, null])).unwrap(), "/data/1");
    }

    #[test]
    fn what_the_tree_alone_can_tell_is_left_to_it() {
        for (path, payload) in
            [("/a/0", r#"{"a": [1]}"#), ("/a/*/b", r#"{"a": {"*": {"b": 1}}}"#), ("/a", r#"{"a": "\u0061"}"#)]
        {
            let mut check = FieldCheck::compile(&spec(path, "nullValues", json!({})), &lists()).unwrap();
            let (mut reads, mut captures) = (Reads::default(), Captures::default());
            check.read_slots(&mut reads, &Pointer::root());
            naive::fill(&reads, payload, &mut captures).unwrap();
            assert!(check.find_on_slots(&Captured::new(payload, &captures), &Pointer::root()).is_none(), "{payload}");
        }
    }

    #[test]
    fn the_authors_message_replaces_ours() {
        let mut spec = spec("/a", "nullValues", json!({}));
        spec.message = Some("say who bought it".to_owned());
        let check = FieldCheck::compile(&spec, &lists()).unwrap();
        assert_eq!(check.find(&json!({}), &Pointer::root()).unwrap().message, "say who bought it");
    }

    #[test]
    fn faults_say_where_and_what_to_do() {
        let cases = [
            spec("a", "nullValues", json!({})),
            spec("/a", "rowCount", json!({})),
            spec("/a", "missingvalues", json!({})),
            spec("/a", "nullValues", json!({"mustBe": 0})),
            spec("/a", "missingValues", json!({"missing": [""]})),
            spec("/a", "missingValues", json!({"missingValues": "n/a"})),
            spec("/a", "missingValues", json!({"missingValues": [["n/a"]]})),
            spec("/a", "invalidValues", json!({})),
            spec("/a", "invalidValues", json!({"minLength": 1})),
            spec("/a", "invalidValues", json!({"validValuesFrom": "country"})),
            spec("/a", "invalidValues", json!({"pattern": "(?=a)"})),
            spec("/a", "invalidValues", json!({"pattern": "[a"})),
        ];
        let mut told = String::new();
        for spec in &cases {
            let fault = FieldCheck::compile(spec, &lists()).unwrap_err();
            told.push_str(&format!("{}: {fault}; {}\n", fault.at, fault.hint.as_deref().unwrap_or_default()));
        }
        expect_test::expect![[r#"
            /path: a JSON Pointer is empty or begins with "/"; write "/a"; 
            /metric: no metric of a field is called "rowCount"; it needs more than one event: write it under stream:
            /metric: no metric of a field is called "missingvalues"; did you mean "missingValues"?
            /arguments/mustBe: unknown argument "mustBe"; every event must be free of the metric, so there is no threshold
            /arguments/missing: unknown argument "missing"; its arguments are missingValues
            /arguments/missingValues: missingValues is a list of at least one text, number, boolean or null; 
            /arguments/missingValues: missingValues is a list of at least one text, number, boolean or null; 
            /arguments: invalidValues needs validValues, validValuesFrom or pattern; without, every value is valid; 
            /arguments/minLength: unknown argument "minLength"; its arguments are validValues, validValuesFrom, pattern
            /arguments/validValuesFrom: no list is called "country"; name it under reference:, with its file and column
            /arguments/pattern: the pattern uses look-around, which does not run in linear time; state the two conditions apart: two patterns, or a rule with !matches()
            /arguments/pattern: the pattern is no regular expression: unclosed character class; 
        "#]].assert_eq(&told);
    }

    #[test]
    fn a_threshold_beside_the_metric_is_refused() {
        let entry = json!({"id": "x", "path": "/a", "metric": "nullValues", "mustBe": 0});
        assert!(serde_json::from_value::<FieldSpec>(entry).unwrap_err().to_string().contains("mustBe"));
    }

    proptest! {
        #[test]
        fn no_finding_names_a_value(secret in "[q-z]{12}", metric in prop::sample::select(METRICS.to_vec())) {
            let arguments = match metric {
                "nullValues" => json!({}),
                "missingValues" => json!({"missingValues": [&secret]}),
                _ => json!({"pattern": "^[a-c]$", "validValues": ["a"]}),
            };
            for payload in [json!({"a": &secret}), json!({"a": [&secret]}), json!({})] {
                if let Some((_, message)) = found("/a", metric, arguments.clone(), &payload) {
                    prop_assert!(!message.contains(&secret));
                }
            }
        }
    }
}
