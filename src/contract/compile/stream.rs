//! The entries under `stream`: checks that remember.

use std::collections::BTreeMap;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::contract::{Ids, Lists, consequence, good};
use super::file::RuleFile;
use super::{stray, windows};
use crate::contract::diagnostic::{Code, Diagnostic, Place};
use crate::contract::remembering::{Consequences, Feed, StreamCheck};
use crate::contract::written::StreamFile;
use crate::memory::{Need, Spec};
use crate::model::Mode;
use crate::rule::OnFail;
use crate::rule::expr::{Expression, Shape, Yields};
use crate::rule::pointer::Pointer;
use crate::rule::stream::Look;

const DAY: i64 = 24 * 3_600_000;

/// How long windows may be, in milliseconds.
pub(super) const WINDOWS: std::ops::RangeInclusive<i64> = 1000..=31 * DAY;

/// The types of checks. What each takes and needs is in the format's schema.
const KINDS: [&str; 10] = [
    "duplicateValues",
    "sequence",
    "referentialIntegrity",
    "rowCount",
    "nullValues",
    "missingValues",
    "invalidValues",
    "distinctCount",
    "latency",
    "drift",
];

/// One entry while it is compiled.
pub(super) struct Entry<'e, 'f> {
    pub file: &'e RuleFile<'f>,
    pub at: Pointer,
    pub kind: &'static str,
    pub written: StreamFile,
    pub shape: Option<Shape<'e>>,
    /// Of the contract, with its domain.
    pub name: &'e str,
    pub payload: &'e Pointer,
    pub lists: &'e Lists,
}

impl Entry<'_, '_> {
    pub fn fault(&self, key: &str, message: impl Into<String>, hint: Option<&str>) {
        self.file.fault(&self.at.child(key), Code::BadStream, message, hint.map(str::to_owned));
    }

    /// The entry's key, or a fault.
    pub fn needed<T>(&self, key: &str, value: Option<T>) -> Option<T> {
        if value.is_none() {
            let message = format!("a {} needs `{key}`", self.kind);
            let place = self.file.key_place(&self.at);
            self.file.note(Diagnostic::new(place, Code::MissingKey, message));
        }
        value
    }

    pub fn expression(&self, key: &str, source: &str) -> Option<Expression> {
        self.file.expression(&self.at.child(key), source, Yields::Scalar, self.shape)
    }

    /// The expressions of `key`.
    pub fn key(&self) -> Option<Vec<Expression>> {
        let sources = self.needed("key", self.written.key.as_ref())?;
        expressions(self.file, &self.at.child("key"), sources, self.shape)
    }

    /// The window in milliseconds, `default` where none is written.
    pub fn window(&self, default: Option<i64>) -> Option<i64> {
        let written = match &self.written.window {
            Some(text) => Some(millis(text)?),
            None => default,
        };
        let window = self.needed("window", written)?;
        if !WINDOWS.contains(&window) {
            self.fault("window", "a window is a second to 31 days", None);
            return None;
        }
        Some(window)
    }

    /// Names what the state means: one that means the same survives a reload.
    pub fn need(&self, spec: Spec) -> Need {
        let mut meaning = self.written.meaning();
        meaning.push(self.payload.to_string());
        Need { fingerprint: fingerprint(&format!("{}/{}", self.name, self.written.id), self.kind, &meaning), spec }
    }
}

/// Compiles all entries; `name` is the contract's, with its domain.
pub(super) fn compile(
    file: &RuleFile<'_>,
    lists: &Lists,
    shape: Option<Shape<'_>>,
    (name, payload, mode): (&str, &Pointer, Mode),
    ids: &mut Ids,
) -> Vec<StreamCheck> {
    let root = Pointer::root().child("stream");
    let mut checks = Vec::new();
    for index in 0..file.length(&root) {
        let at = root.child(index.to_string());
        if let Some(id) = file.part::<String>(&at.child("id")) {
            ids.take(file, &at, &id);
        }
        if !file.is_well_shaped(&at) {
            continue;
        }
        let Some(written) = file.part::<StreamFile>(&at) else { continue };
        let Some(kind) = KINDS.into_iter().find(|kind| *kind == written.kind) else { continue };
        let entry = Entry { file, at, kind, written, shape, name, payload, lists };
        checks.extend(check(&entry, mode));
    }
    checks
}

fn check(entry: &Entry<'_, '_>, mode: Mode) -> Option<StreamCheck> {
    let (look, need, default) = match entry.kind {
        "duplicateValues" => duplicates(entry)?,
        "sequence" => sequence(entry)?,
        "referentialIntegrity" => reference(entry)?,
        _ => {
            let (look, need) = windows::compile(entry)?;
            (look, Some(need), String::new())
        }
    };
    let written = &entry.written;
    let usual = written.on_fail.unwrap_or(consequence(written.severity));
    let order = |written: Option<&str>, default: OnFail| match written {
        None => Some(default),
        Some("quarantine") => Some(OnFail::Quarantine),
        Some("drop") => Some(OnFail::Drop),
        Some("warn") => Some(OnFail::Warn),
        Some(_) => None,
    };
    let consequences = Consequences {
        on_fail: usual,
        on_gap: order(written.on_gap.as_deref(), OnFail::Warn),
        on_regress: order(written.on_regress.as_deref(), usual),
    };
    Some(StreamCheck {
        id: written.id.as_str().into(),
        kind: entry.kind,
        dimension: written.dimension,
        severity: written.severity,
        mode: written.mode.and(mode),
        look,
        need,
        consequences,
        message: written.message.clone().unwrap_or(default).into(),
    })
}

type Parts = (Look, Option<Need>, String);

fn duplicates(entry: &Entry<'_, '_>) -> Option<Parts> {
    let (key, window) = (entry.key()?, entry.window(None)?);
    let spec = Spec::Duplicates { keys_max: entry.written.keys_max, window };
    let need = entry.need(spec);
    let words = entry.written.window.as_deref().unwrap_or_default();
    Some((Look::Key(key), Some(need), format!("an event with the same key came within the last {words}")))
}

fn sequence(entry: &Entry<'_, '_>) -> Option<Parts> {
    let key = entry.key();
    let source = entry.needed("value", entry.written.value.as_ref())?;
    let number = entry.expression("value", source)?;
    if stray::clashes(source, "({}) + 1 > 0", entry.shape) {
        entry.fault("value", "the schema has no number here", Some("a sequence counts up, so its value is an integer"));
        return None;
    }
    let spec = Spec::Sequence { keys_max: entry.written.keys_max, window: entry.window(Some(DAY))? };
    let need = entry.need(spec);
    Some((Look::Ordered { key: key?, number }, Some(need), "the number does not follow the last of its key".to_owned()))
}

fn reference(entry: &Entry<'_, '_>) -> Option<Parts> {
    let key = entry.key();
    let references = entry.needed("references", entry.written.references.as_ref())?;
    let at = entry.at.child("references");
    match (&references.list, &references.contract) {
        (Some(list), None) => listed(entry, list, key?),
        (None, Some(target)) => {
            let sources = entry.needed("references.key", references.key.as_ref())?;
            // Only to tell what is wrong with them: it is the other contract that reads them.
            let theirs = expressions(entry.file, &at.child("key"), sources, None)?;
            let key = key?;
            if theirs.len() != key.len() {
                let message = format!("this key has {}, the check's own {}", parts(theirs.len()), parts(key.len()));
                let hint = "they are compared part by part, in their order".to_owned();
                entry.file.fault(&at.child("key"), Code::BadStream, message, Some(hint));
                return None;
            }
            entry.window(None)?;
            let need = known(&entry.written, target, sources)?;
            Some((Look::Key(key), Some(need), format!("the key is not known from {target}")))
        }
        _ => {
            let hint = "references: {list: NAME}, or {contract: DOMAIN/NAME, key: [this.id]}";
            entry.fault("references", "a reference is to a list or to a contract", Some(hint));
            None
        }
    }
}

fn parts(count: usize) -> String {
    if count == 1 { "1 part".to_owned() } else { format!("{count} parts") }
}

fn listed(entry: &Entry<'_, '_>, name: &str, mut key: Vec<Expression>) -> Option<Parts> {
    for strange in ["window", "warmUp", "maxKeys"] {
        if entry.file.value(&entry.at.child(strange)).is_some() {
            let message = format!("a reference to a list takes no `{strange}`");
            entry.fault(
                strange,
                message,
                Some("a list is always known whole, so there is nothing to remember; take it out"),
            );
        }
    }
    let list = match entry.lists.get(name) {
        Some(list) => list.clone()?,
        None => {
            let known = good(entry.lists);
            let hint = crate::rule::did_you_mean(name, known.keys().map(String::as_str));
            let hint = hint.unwrap_or_else(|| "name it under reference:, with its file and column".to_owned());
            let message = format!("no list is called {name:?}");
            entry.file.fault(&entry.at.child("references").child("list"), Code::BadReference, message, Some(hint));
            return None;
        }
    };
    if key.len() > 1 {
        entry.fault("key", "a list has single values, so the key has one part", None);
        return None;
    }
    let look = Look::Listed { value: key.pop()?, list };
    Some((look, None, format!("the key is not in the list {name:?}")))
}

/// The state of the keys that `target`'s events bring, which both contracts name alike. `None` for a window that is none.
fn known(written: &StreamFile, target: &str, sources: &[String]) -> Option<Need> {
    let window = millis(written.window.as_deref()?)?;
    let warm_up = written.warm_up.as_deref().map_or(Some(window), millis)?;
    let mut meaning = sources.to_vec();
    meaning.extend([window.to_string(), warm_up.to_string(), written.keys_max.to_string()]);
    let spec = Spec::Known { keys_max: written.keys_max, window, warm_up, is_fed: false };
    Some(Need { fingerprint: fingerprint(target, "keys", &meaning), spec })
}

fn expressions(
    file: &RuleFile<'_>,
    at: &Pointer,
    sources: &[String],
    shape: Option<Shape<'_>>,
) -> Option<Vec<Expression>> {
    let compile = |(index, source): (usize, &String)| {
        file.expression(&at.child(index.to_string()), source, Yields::Scalar, shape)
    };
    // All of them, so that all faults are told.
    let compiled: Vec<_> = sources.iter().enumerate().map(compile).collect();
    compiled.into_iter().collect()
}

fn fingerprint(whose: &str, kind: &str, meaning: &[String]) -> Arc<str> {
    let mut digest = Sha256::new();
    for part in [kind].into_iter().chain(meaning.iter().map(String::as_str)) {
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part);
    }
    let hash: String = digest.finalize()[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{whose}#{hash}").into()
}

/// `5m` in milliseconds. `None` for what is no such text, which the format does not allow.
pub(super) fn millis(text: &str) -> Option<i64> {
    let end = text.find(|c: char| !c.is_ascii_digit())?;
    let unit = match &text[end..] {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => DAY,
        _ => return None,
    };
    text[..end].parse::<i64>().ok()?.checked_mul(unit)
}

/// The keys that contracts are asked for by those that refer to them, by domain and name.
#[derive(Default)]
pub(super) struct Feeds(BTreeMap<(String, String), Target>);

#[derive(Default)]
struct Target {
    /// What its events are asked: each state, and the key's parts.
    asked: Vec<(Need, Vec<String>)>,
    /// By whom.
    places: Vec<Place>,
}

impl Feeds {
    /// Notes what the file's checks refer to.
    pub fn add(&mut self, file: &RuleFile<'_>) {
        let root = Pointer::root().child("stream");
        for index in 0..file.length(&root) {
            let at = root.child(index.to_string());
            let is_reference = file.value(&at.child("references").child("contract")).is_some();
            if !is_reference || !file.is_well_shaped(&at) {
                continue;
            }
            let Some(written) = file.part::<StreamFile>(&at) else { continue };
            let Some(references) = &written.references else { continue };
            let (Some(target), Some(sources)) = (&references.contract, &references.key) else { continue };
            if let (Some(need), Some((domain, name))) = (known(&written, target, sources), target.split_once('/')) {
                let Target { asked, places } = self.0.entry((domain.to_owned(), name.to_owned())).or_default();
                places.push(file.place(&at.child("references").child("contract")));
                if asked.iter().all(|(other, _)| other.fingerprint != need.fingerprint) {
                    asked.push((need, sources.clone()));
                }
            }
        }
    }

    /// What this contract's events are to be asked. An expression that does not compile is told where it is written.
    pub fn of(&self, domain: &str, name: &str) -> Vec<Feed> {
        let feeds = self.0.get(&(domain.to_owned(), name.to_owned())).into_iter().flat_map(|target| &target.asked);
        let compile = |(need, sources): &(Need, Vec<String>)| {
            let key: Option<Vec<_>> =
                sources.iter().map(|source| Expression::compile(source, Yields::Scalar).ok()).collect();
            Some(Feed::new(key?, need.clone()))
        };
        feeds.filter_map(compile).collect()
    }

    /// Warns of contracts that are referred to and not there: the other domain's to mend, so that it fails nobody's files.
    pub fn into_warnings(self, is_there: impl Fn(&str, &str) -> bool) -> Vec<Diagnostic> {
        let absent = self.0.into_iter().filter(|((domain, name), _)| !is_there(domain, name));
        let warn = |((domain, name), target): ((String, String), Target)| {
            let message =
                format!("there is no contract {domain}/{name} in use here, so that nothing is known of its keys");
            let hint = "until there is one, the check tells and decides nothing";
            let warning = Diagnostic::new(Place::of_file(""), Code::BadReference, message).with_hint(hint.to_owned());
            target.places.into_iter().map(move |place| Diagnostic { place, ..warning.clone() }.as_warning())
        };
        absent.flat_map(warn).collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::contract::shape::FORMAT_SCHEMA;

    /// Each has a closed schema of its own, so that editors complete what it takes and nothing else.
    #[test]
    fn the_format_knows_each_type_of_check() {
        let format: Value = serde_json::from_str(FORMAT_SCHEMA).unwrap();
        let entry = &format["$defs"]["streamCheck"];
        assert_eq!(entry["properties"]["type"]["enum"], json!(KINDS));
        for (kind, choice) in KINDS.iter().zip(entry["allOf"].as_array().unwrap()) {
            assert_eq!(choice["if"]["properties"]["type"]["const"], **kind);
            assert_eq!(choice["then"]["$ref"], format!("#/$defs/{kind}"));
            let schema = &format["$defs"][kind];
            assert_eq!(schema["properties"]["type"]["const"], **kind);
            for bound in windows::BOUNDS.iter().chain(&windows::LATENCY_BOUNDS) {
                assert_eq!(schema["properties"].get(bound).is_some(), windows::takes(kind, bound), "{kind} {bound}");
            }
        }
    }
}
