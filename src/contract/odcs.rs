//! ODCS: a contract of the Open Data Contract Standard (Bitol), v3, as rule file.
//!
//! It is translated to the written form of our own contracts, one for each of its schema objects, with a JSON Schema derived from
//! the object's properties; that is compiled as if a team had written it, so there is one compiler and one meaning. A
//! [`Translated`] remembers where in the ODCS file each of its parts came from, so that whatever is wrong is shown there.
//!
//! ```text
//! ODCS file ─▶ shape (odcs.schema.json) ─▶ translate ─┬─▶ written contract, derived schema ─▶ compile, as any other
//!                                                     └─▶ remarks: what is not judged, and what is for people only
//! ```
//!
//! What would judge events and is not understood is a warning of its own: nothing is dropped silently. docs/contracts.md has the
//! table of what becomes of each part.

mod custom;
mod element;
mod entry;
mod fundamentals;
mod quality;
mod source;
mod stream;
mod time;

use std::collections::HashMap;
use std::sync::LazyLock;

use serde_json::Value;

use super::diagnostic::{Code, Level};
use super::shape::Shape;
use crate::rule::pointer::Pointer;

pub(crate) use element::options_of;
pub(super) use fundamentals::translate;
pub(crate) use quality::default_mask;

/// The `kind` of such a file.
pub const KIND: &str = "DataContract";

/// The engine of custom checks that are for this gate.
pub(crate) const ENGINE: &str = "meshgate";

/// The deepest nesting of properties.
pub(crate) const DEPTH_MAX: usize = 32;

/// The most checks, and the most masks, of one contract: what our own format allows.
const ENTRIES_MAX: usize = 500;

/// The most remarks on one file, before the rest is summed up.
const REMARKS_MAX: usize = 100;

/// The shape of such a file.
pub(super) static SHAPE: LazyLock<Shape> = LazyLock::new(|| Shape::new(include_str!("odcs/odcs.schema.json")));

/// Whether a rule file is one.
pub(super) fn is_odcs(document: &Value) -> bool {
    document.get("kind").and_then(Value::as_str) == Some(KIND)
}

/// What a file's domain knows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ground<'a> {
    /// The domain's name, its directory's.
    pub domain: &'a str,
    /// The file's name inside that directory.
    pub file: &'a str,
    /// The team that owns the domain, for a contract that names a contact alone.
    pub team: Option<&'a str>,
}

/// What came of one file.
#[derive(Debug)]
pub(super) struct Translation {
    pub contracts: Vec<Translated>,
    pub remarks: Vec<Remark>,
}

/// One of its objects, as our own format would say it.
#[derive(Debug)]
pub(super) struct Translated {
    /// Shaped like a contract's file.
    pub value: Value,
    /// The JSON Schema that `value` names.
    pub schema: Option<DerivedSchema>,
    /// The schema object in the ODCS file.
    object: Pointer,
    /// Where parts of `value` came from: into the ODCS file.
    places: HashMap<Vec<String>, Pointer>,
}

/// A JSON Schema that is in no file.
#[derive(Debug, Clone)]
pub(super) struct DerivedSchema {
    /// Under which it is named, as if it were a file of the domain's directory.
    pub path: String,
    pub document: Value,
}

/// Something to tell about an ODCS file that does not concern one contract's compilation.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Remark {
    /// Into the ODCS file.
    pub at: Pointer,
    /// The key there is meant, not its value.
    pub on_key: bool,
    pub level: Level,
    pub code: Code,
    pub message: String,
    pub hint: Option<String>,
}

impl Translated {
    /// Where in the ODCS file the part of `value` at `pointer` was written, or what is around it.
    pub fn source_of(&self, pointer: &Pointer) -> Pointer {
        let segments = pointer.segments();
        for length in (0..=segments.len()).rev() {
            if let Some(place) = self.places.get(&segments[..length]) {
                return segments[length..].iter().fold(place.clone(), |at, segment| at.child(segment.as_str()));
            }
        }
        self.object.clone()
    }

    /// Where in the ODCS file, of which `document` is the value, the part of the derived schema at `pointer` was written.
    pub fn source_of_schema(&self, document: &Value, pointer: &Pointer) -> Pointer {
        source::of_schema(document, &self.object, pointer)
    }
}

/// The remarks on one file. Bounded: past [`REMARKS_MAX`] only their number grows.
#[derive(Debug, Default)]
struct Remarks {
    told: Vec<Remark>,
    untold: usize,
    /// The worst of those that are not told.
    worst: Option<Level>,
}

impl Remarks {
    fn push(&mut self, remark: Remark) {
        if self.told.contains(&remark) {
            return;
        }
        if self.told.len() < REMARKS_MAX {
            return self.told.push(remark);
        }
        self.untold += 1;
        self.worst = Some(self.worst.map_or(remark.level, |worst| worst.min(remark.level)));
    }

    /// Something that would judge events and does not.
    fn not_judged(&mut self, at: &Pointer, message: impl Into<String>, hint: &str) {
        let hint = (!hint.is_empty()).then(|| hint.to_owned());
        let (at, message) = (at.clone(), message.into());
        self.push(Remark { at, on_key: false, level: Level::Warning, code: Code::NotJudged, message, hint });
    }

    /// For people: it judges nothing, here or elsewhere.
    fn for_people(&mut self, at: &Pointer, message: String) {
        let hint = None;
        self.push(Remark { at: at.clone(), on_key: true, level: Level::Note, code: Code::NotJudged, message, hint });
    }

    fn fault(&mut self, at: &Pointer, code: Code, message: impl Into<String>, hint: Option<String>) {
        let (at, message) = (at.clone(), message.into());
        self.push(Remark { at, on_key: false, level: Level::Error, code, message, hint });
    }

    fn into_told(mut self) -> Vec<Remark> {
        if let Some(level) = self.worst {
            let message = format!("{} more parts of this file are not judged, or at fault", self.untold);
            let (at, hint) = (Pointer::root(), None);
            self.told.push(Remark { at, on_key: true, level, code: Code::TooLarge, message, hint });
        }
        self.told
    }
}

fn key(name: &str) -> Pointer {
    Pointer::root().child(name)
}

#[cfg(test)]
mod tests;
