//! Checks as our own format writes them, with the places they came from.

use std::collections::{BTreeSet, HashMap};

use serde_json::{Map, Value, json};

use super::ENTRIES_MAX;
use crate::rule::pointer::Pointer;

/// The longest id, as our own format says.
const ID_BYTES_MAX: usize = 64;

/// Under which key a check stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum List {
    Fields,
    Rules,
    Stream,
}

impl List {
    const fn key(self) -> &'static str {
        match self {
            Self::Fields => "fields",
            Self::Rules => "rules",
            Self::Stream => "stream",
        }
    }
}

/// One check: its entry, where it was written, and where those parts were that have other names there.
#[derive(Debug, Default)]
pub(super) struct Entry {
    pub value: Map<String, Value>,
    pub at: Pointer,
    pub parts: Vec<(&'static str, Pointer)>,
}

impl Entry {
    pub fn put(&mut self, key: &'static str, value: impl Into<Value>, from: Pointer) {
        self.value.insert(key.to_owned(), value.into());
        self.parts.push((key, from));
    }
}

/// All checks of one contract. One more than our own format allows is kept, so that it says so.
#[derive(Debug, Default)]
pub(super) struct Checks {
    entries: Vec<(List, Entry)>,
    ids: BTreeSet<String>,
}

impl Checks {
    pub fn add(&mut self, list: List, entry: Entry) {
        if let Some(id) = entry.value.get("id").and_then(Value::as_str) {
            self.ids.insert(id.to_owned());
        }
        if self.entries.iter().filter(|(other, _)| *other == list).count() <= ENTRIES_MAX {
            self.entries.push((list, entry));
        }
    }

    /// An id nobody has yet, made of words.
    pub fn fresh_id(&self, words: &[&str]) -> String {
        let is_good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
        let mut id: String = words.join("_").chars().map(|c| if is_good(c) { c } else { '_' }).collect();
        if !id.starts_with(|c: char| c.is_ascii_alphabetic()) {
            id.insert_str(0, "check_");
        }
        id.truncate(ID_BYTES_MAX - 5);
        let numbered = (2..).map(|n| format!("{id}_{n}"));
        std::iter::once(id.clone()).chain(numbered).find(|id| !self.ids.contains(id)).unwrap_or(id)
    }

    /// Whether our own format takes this as an id.
    pub fn is_id(text: &str) -> bool {
        let is_good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
        text.len() <= ID_BYTES_MAX && text.starts_with(|c: char| c.is_ascii_alphabetic()) && text.chars().all(is_good)
    }

    pub fn put(self, value: &mut Map<String, Value>, places: &mut HashMap<Vec<String>, Pointer>) {
        for (list, entry) in self.entries {
            let written = value.entry(list.key()).or_insert_with(|| json!([]));
            let Value::Array(written) = written else { continue };
            let place = vec![list.key().to_owned(), written.len().to_string()];
            for (part, from) in entry.parts {
                places.insert(place.iter().cloned().chain([part.to_owned()]).collect(), from);
            }
            places.insert(place, entry.at);
            written.push(entry.value.into());
        }
    }
}
