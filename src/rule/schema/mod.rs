//! The shape of a payload: JSON Schema, drafts 4, 6, 7, 2019-09 and 2020-12, through the `jsonschema` crate.
//!
//! What this adds to the crate: schema files find each other by relative `$ref` and nothing is ever fetched; patterns run
//! in linear time or are refused when loaded; reasons are told in words of our own, without payload values; and telling
//! them takes bounded time, also for payloads made to be expensive.
//!
//! Validity is memoised by the crate, so [`Schema::find`] asks for it first. Reasons are not: it gathers all there are
//! before handing out the first, and every alternative of a `oneOf` brings its own, so their number is exponential in the
//! depth of a recursive schema. They are therefore gathered over a payload pruned to a size that keeps them few.

mod error;
mod files;
mod prune;
pub(crate) mod reason;
mod recursion;
pub(crate) mod references;
pub(crate) mod words;

use std::collections::BTreeMap;

use jsonschema::error::ValidationErrorKind;
use jsonschema::{Draft, PatternOptions, ValidationError, Validator};
use serde_json::Value;

use self::files::Files;
use self::prune::Pruned;
use super::Finding;
use super::kinds::PayloadKinds;
use super::number_types::NumberTypes;
use super::pointer::Pointer;

/// The largest compiled form of one pattern, in bytes. Enough for some thousand characters of ordinary pattern.
pub const PATTERN_SIZE_MAX: usize = 256 * 1024;

/// A compiled schema.
#[derive(Debug)]
pub struct Schema {
    validator: Validator,
    /// How deep a payload is looked into for reasons; `usize::MAX` where the schema keeps them few by itself.
    reason_depth: usize,
    number_types: NumberTypes,
    kinds: PayloadKinds,
}

/// Why a schema file is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SchemaFault {
    /// Into the schema document, or into the one it refers to when `message` says so.
    pub pointer: String,
    pub message: String,
    pub hint: Option<String>,
}

impl Schema {
    /// Compiles the schema document that stands at `path`.
    ///
    /// `others` are the documents a `$ref` may lead to, by the path of their file, of the same kind as `path` and
    /// `/`-separated; a key may also be an absolute URI. A document is found too by the `$id` it gives itself. A document
    /// without `$schema` is of draft 2020-12. `formats` makes `format` an assertion; without, it only annotates.
    ///
    /// # Errors
    ///
    /// When the document is no schema, refers to what is not there, or has a pattern that is no regular expression, needs
    /// look-around or back-references, or compiles to more than [`PATTERN_SIZE_MAX`].
    pub fn compile(
        document: &Value,
        path: &str,
        others: &BTreeMap<String, Value>,
        formats: bool,
    ) -> Result<Self, SchemaFault> {
        let files = Files::new(path, document, others);
        let mut options = jsonschema::options()
            .with_base_uri(files::uri_of(path))
            .with_retriever(files.retriever())
            .with_pattern_options(PatternOptions::regex().size_limit(PATTERN_SIZE_MAX))
            .should_validate_formats(formats);
        let dialect = document.get("$schema");
        if dialect.is_none() {
            options = options.with_draft(Draft::Draft202012);
        }
        let compiled = if dialect.is_some() && Draft::default().detect(document) == Draft::Unknown {
            // A meta-schema of the domain's own is looked up in the registry before anything is retrieved.
            let registry = files.registry().map_err(|error| refused(&ValidationError::from(error), &files))?;
            options.with_registry(&registry).build(document)
        } else {
            options.build(document)
        };
        let validator = compiled.map_err(|error| refused(&error, &files))?;
        let root = (String::new(), String::new());
        let value = |at: &_| recursion::value_at(&files, at);
        let follow = |document: &str, reference: &str| recursion::follow(&files, document, reference);
        let number_types = NumberTypes::read(root.clone(), &value, &follow);
        let kinds = PayloadKinds::read(root, &value, &follow);
        Ok(Self { validator, reason_depth: recursion::reason_depth(&files), number_types, kinds })
    }

    /// What the schema calls the payload's numbers, for expressions to see them so.
    pub fn number_types(&self) -> &NumberTypes {
        &self.number_types
    }

    /// Which kinds of value the schema allows in a payload, for expressions to be checked against.
    pub fn kinds(&self) -> &PayloadKinds {
        &self.kinds
    }

    /// What is wrong with the payload, in the order of the pointers: up to `limit` findings, none exactly when it is valid.
    /// `payload_pointer` says where in the event the payload stands.
    pub fn find(&self, payload: &Value, payload_pointer: &Pointer, limit: usize) -> Vec<Finding> {
        if self.validator.is_valid(payload) {
            return Vec::new();
        }
        let pruned = Pruned::of(payload, self.reason_depth);
        let errors = self.validator.iter_errors(pruned.value());
        let errors = errors.filter(|error| !pruned.was_cut_at(error.instance_path().as_str()));
        let prefix = payload_pointer.to_string();
        let mut findings = Vec::new();
        errors.filter_map(|error| error::reason(&error)).for_each(|reason| reason.findings(&prefix, &mut findings));
        let mut findings = reason::arranged(findings, limit.max(1));
        if findings.is_empty() {
            // The reason lies where the pruned payload was cut.
            let message = "does not match the schema, at a place too deep or too far into the payload to name";
            findings.push(Finding { pointer: prefix, message: message.to_owned() });
        }
        findings
    }
}

/// The crate's error about a schema, as a fault of the file.
fn refused(error: &ValidationError<'_>, files: &Files<'_>) -> SchemaFault {
    let pointer = error.instance_path().as_str().to_owned();
    let (message, hint) = match error.kind() {
        ValidationErrorKind::Referencing(error) => return files.reference_fault(error),
        ValidationErrorKind::Format { format } if format == "regex" => pattern_problem(error.instance()),
        ValidationErrorKind::Custom { message, .. } => (message.clone(), None),
        ValidationErrorKind::AnyOf { .. } if pointer.ends_with("/type") => {
            ("no JSON Schema type".to_owned(), type_hint(error.instance()))
        }
        _ => (format!("not a valid schema: {}", reason::message(&error::kind(error), &pointer)), None),
    };
    let message = match files.other_with(&pointer, error.instance()) {
        Some(path) => format!("{message} (in {path:?}, which this file refers to)"),
        None => message,
    };
    SchemaFault { pointer, message, hint }
}

fn type_hint(written: &Value) -> Option<String> {
    const TYPES: [&str; 7] = ["array", "boolean", "integer", "null", "number", "object", "string"];
    let near = written.as_str().and_then(|name| super::did_you_mean(name, TYPES));
    Some(near.unwrap_or_else(|| format!("the types are {}", TYPES.join(", "))))
}

fn pattern_problem(pattern: &Value) -> (String, Option<String>) {
    match super::compile_pattern(pattern.as_str().unwrap_or_default(), PATTERN_SIZE_MAX) {
        Err((problem, hint)) => (format!("the pattern {problem}"), hint),
        Ok(_) => ("the pattern is no regular expression of ECMA-262".to_owned(), None),
    }
}

#[cfg(test)]
mod tests;
