//! Schema documents, and where the references between them lead, for others who compile schemas.

use std::collections::BTreeMap;

use jsonschema::Draft;
use percent_encoding::percent_decode_str;
use serde_json::Value;

use super::files::Files;
use super::recursion;
use crate::rule::number_types::SchemaAt;

/// The documents a schema is made of.
pub(crate) struct References<'a>(Files<'a>);

impl<'a> References<'a> {
    /// The arguments of [`Schema::compile`](super::Schema::compile).
    pub(crate) fn new(path: &'a str, document: &'a Value, others: &'a BTreeMap<String, Value>) -> Self {
        Self(Files::new(path, document, others))
    }

    pub(crate) fn value_at(&self, place: &SchemaAt) -> Option<&'a Value> {
        recursion::value_at(&self.0, place)
    }

    /// The document a place is in; the empty name is the one compiled.
    pub(crate) fn document(&self, name: &str) -> Option<&'a Value> {
        if name.is_empty() { Some(self.0.document) } else { self.0.others.get(name) }
    }

    /// Where a reference written in a document leads, when plain pointers and relative paths say it.
    pub(crate) fn follow(&self, document: &str, reference: &str) -> Option<SchemaAt> {
        let (file, fragment) = reference.split_once('#').unwrap_or((reference, ""));
        let fragment = percent_decode_str(fragment).decode_utf8().ok()?;
        recursion::follow(&self.0, document, &format!("{file}#{fragment}"))
    }

    /// The draft a document is of. `None` when it has a dialect of its own, or inherits it in a way that is not plain.
    pub(crate) fn draft_of(&self, document: &Value) -> Option<Draft> {
        let draft = |document: &Value| match document.get("$schema") {
            None => Draft::Draft202012,
            Some(_) => Draft::default().detect(document),
        };
        let (own, first) = (draft(document), draft(self.0.document));
        let plain = own != Draft::Unknown && (document.get("$schema").is_some() || first == Draft::Draft202012);
        plain.then_some(own)
    }
}
