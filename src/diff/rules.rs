//! What became of a contract's fields and rules, and which verdicts that may change.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use super::change::Change;
use super::version::Bump;
use super::written::{WrittenContract, WrittenDomain};
use crate::contract::SCHEMA_RULE;
use crate::model::Mode;
use crate::rule::OnFail;

/// Keys that say what follows from a violation, or are for people; the others say when there is one.
const NO_CONDITIONS: [&str; 7] = ["id", "message", "messageExpression", "dimension", "severity", "mode", "on_fail"];

/// Where a rule is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// The payload's schema as a whole, as far as its violations decide.
    Schema,
    Field,
    Rule,
    /// A check that remembers.
    Stream,
}

impl Kind {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Schema => "schema",
            Self::Field => "field",
            Self::Rule => "rule",
            Self::Stream => "stream check",
        }
    }
}

/// What a violation leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Quarantine,
    Drop,
    Warn,
    /// Counted as shadow.
    Count,
    /// Told of a window; no event is to blame.
    Alert,
}

impl Action {
    const fn refuses(self) -> bool {
        matches!(self, Self::Quarantine | Self::Drop)
    }

    /// `quarantine`, and `quarantines`.
    const fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Quarantine => ("quarantine", "quarantines"),
            Self::Drop => ("drop", "drops"),
            Self::Warn => ("warn", "warns"),
            Self::Count => ("count as shadow", "counts as shadow"),
            Self::Alert => ("alert", "alerts"),
        }
    }
}

/// What a change does to verdicts, as it is told: `may now quarantine`, `no longer drops`, `only words`.
pub type Effect = String;

/// One field or rule that is not what it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RuleChange {
    pub id: String,
    pub kind: Kind,
    pub change: Change,
    /// The keys that say something else, as they are written; `list` where a reference list has other values.
    pub keys: Vec<String>,
    pub effects: Vec<Effect>,
    /// What it asks of the version.
    pub asks: Bump,
}

/// How the events that violate a rule changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Condition {
    Same,
    /// What was violated still is, and more.
    Stricter,
    Looser,
    /// Not known.
    Other,
}

/// One entry, as written, and what it leads to.
struct Entry<'a> {
    kind: Kind,
    written: &'a Value,
    action: Option<Action>,
}

/// The fields and rules that are not what they were, in the order of the new file, then those removed.
pub(super) fn compare(
    (old_domain, old): (&WrittenDomain<'_>, &WrittenContract<'_>),
    (new_domain, new): (&WrittenDomain<'_>, &WrittenContract<'_>),
) -> Vec<RuleChange> {
    let (was, is) = (entries(old), entries(new));
    let before: BTreeMap<&str, &Entry<'_>> = was.iter().map(|(id, entry)| (*id, entry)).collect();
    let after: BTreeMap<&str, &Entry<'_>> = is.iter().map(|(id, entry)| (*id, entry)).collect();
    let lists = |entry: &Entry<'_>, domain: &WrittenDomain<'_>, contract: &WrittenContract<'_>| {
        domain.list(contract, entry.written["arguments"]["validValuesFrom"].as_str()?)
    };
    let mut changes = Vec::new();
    for (id, entry) in &is {
        let Some(old_entry) = before.get(id) else {
            changes.push(change(id, entry.kind, Change::Added, Vec::new(), (None, entry.action), Condition::Other));
            continue;
        };
        let mut keys = differing(old_entry.written, entry.written);
        let mut condition = condition(old_entry.written, entry.written, &keys);
        let values = (lists(old_entry, old_domain, old), lists(entry, new_domain, new));
        if let (Some(was), Some(is)) = &values
            && was != is
        {
            keys.push("list".to_owned());
            // Fewer valid values are more invalid ones.
            condition = match condition {
                Condition::Same if is.is_superset(was) => Condition::Looser,
                Condition::Same if is.is_subset(was) => Condition::Stricter,
                _ => Condition::Other,
            };
        }
        if !keys.is_empty() || old_entry.action != entry.action {
            let actions = (old_entry.action, entry.action);
            changes.push(change(id, entry.kind, Change::Changed, keys, actions, condition));
        }
    }
    for (id, entry) in was.iter().filter(|(id, _)| !after.contains_key(id)) {
        changes.push(change(id, entry.kind, Change::Removed, Vec::new(), (entry.action, None), Condition::Other));
    }
    // The schema's own changes are told as such; here only whether it decides.
    changes.retain(|change| change.kind != Kind::Schema || change.change == Change::Changed);
    changes
}

/// The schema, the fields, the rules and the stream checks of a contract, by id.
fn entries<'a>(contract: &'a WrittenContract<'_>) -> Vec<(&'a str, Entry<'a>)> {
    let compiled = contract.compiled;
    let is_live = compiled.is_live();
    let action = |mode: Mode, on_fail: OnFail| match (mode, on_fail) {
        _ if !is_live => None,
        (Mode::Off, _) => None,
        (Mode::Shadow, _) => Some(Action::Count),
        (Mode::Enforce, OnFail::Quarantine) => Some(Action::Quarantine),
        (Mode::Enforce, OnFail::Drop) => Some(Action::Drop),
        (Mode::Enforce, OnFail::Warn) => Some(Action::Warn),
    };
    let schema = contract.part("payload")["schema"].as_str().map(|_| {
        let action = action(compiled.mode, OnFail::Quarantine);
        (SCHEMA_RULE, Entry { kind: Kind::Schema, written: &Value::Null, action })
    });
    let listed = [("fields", Kind::Field), ("rules", Kind::Rule), ("stream", Kind::Stream)].into_iter().flat_map(
        |(key, kind)| {
            let entries = contract.part(key).as_array().map_or(&[][..], Vec::as_slice);
            entries.iter().filter_map(move |written| Some((written["id"].as_str()?, kind, written)))
        },
    );
    let listed = listed.map(|(id, kind, written)| {
        let check = compiled.checks().iter().find(|check| *check.id == *id);
        let stream = compiled.streams().iter().find(|check| *check.id == *id);
        let action = match (check, stream) {
            (Some(check), _) => action(check.mode, check.on_fail),
            (None, Some(stream)) => match stream.on_fail() {
                Some(on_fail) => action(stream.mode, on_fail),
                None => (is_live && stream.mode != Mode::Off).then_some(Action::Alert),
            },
            (None, None) => None,
        };
        (id, Entry { kind, written, action })
    });
    schema.into_iter().chain(listed).collect()
}

/// The keys whose values are not the same, sorted.
fn differing(was: &Value, is: &Value) -> Vec<String> {
    let keys = |value: &Value| value.as_object().into_iter().flatten().map(|(key, _)| key.clone()).collect::<Vec<_>>();
    let mut all = [keys(was), keys(is)].concat();
    all.sort();
    all.dedup();
    let text = |value: &Value| value.as_str().map(|text| text.trim().to_owned());
    let is_same = |key: &str| was[key] == is[key] || (text(&was[key]).is_some() && text(&was[key]) == text(&is[key]));
    all.retain(|key| !is_same(key));
    all
}

fn condition(was: &Value, is: &Value, keys: &[String]) -> Condition {
    let conditions: Vec<&str> = keys.iter().map(String::as_str).filter(|key| !NO_CONDITIONS.contains(key)).collect();
    match conditions[..] {
        [] => Condition::Same,
        ["arguments"] => by_values(&was["arguments"], &is["arguments"]),
        _ => Condition::Other,
    }
}

/// Lists of valid or missing values that only grew or only shrank.
fn by_values(was: &Value, is: &Value) -> Condition {
    for (key, grown, shrunk) in [
        ("validValues", Condition::Looser, Condition::Stricter),
        ("missingValues", Condition::Stricter, Condition::Looser),
    ] {
        if differing(was, is) != [key] {
            continue;
        }
        let (Some(was), Some(is)) = (was[key].as_array(), is[key].as_array()) else { return Condition::Other };
        if was.iter().all(|value| is.contains(value)) {
            return grown;
        }
        if is.iter().all(|value| was.contains(value)) {
            return shrunk;
        }
    }
    Condition::Other
}

fn change(
    id: &str,
    kind: Kind,
    change: Change,
    keys: Vec<String>,
    (was, is): (Option<Action>, Option<Action>),
    condition: Condition,
) -> RuleChange {
    let is_other_action = was != is;
    let stricter = matches!(condition, Condition::Stricter | Condition::Other);
    let looser = matches!(condition, Condition::Looser | Condition::Other);
    let mut effects = Vec::new();
    if let Some(action) = is.filter(|_| is_other_action || stricter) {
        effects.push(format!("may now {}", action.words().0));
    }
    if let Some(action) = was.filter(|_| is_other_action || looser) {
        effects.push(match is_other_action {
            true => format!("no longer {}", action.words().1),
            false => format!("may no longer {}", action.words().0),
        });
    }
    let refuses = |action: Option<Action>| action.is_some_and(Action::refuses);
    let asks = if refuses(is) && (!refuses(was) || stricter) {
        Bump::Major
    } else if effects.is_empty() {
        Bump::Patch
    } else {
        Bump::Minor
    };
    if effects.is_empty() {
        effects.push("only words".to_owned());
    }
    RuleChange { id: id.to_owned(), kind, change, keys, effects, asks }
}
