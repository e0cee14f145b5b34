//! The data files of one domain that contracts name by path: JSON Schemas and reference lists. Each is read once.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::file::RuleFile;
use super::{DomainFiles, code_of, is_yaml, json_span};
use crate::contract::diagnostic::{Code, Diagnostic, Place};
use crate::contract::odcs::{self, DerivedSchema};
use crate::contract::yaml;
use crate::decode::json;
use crate::plan::Plan;
use crate::rule::capture::Reads;
use crate::rule::did_you_mean;
use crate::rule::pointer::Pointer;
use crate::rule::reference::ReferenceList;
use crate::rule::schema::Schema;

pub(super) struct Data<'f> {
    directory: &'f str,
    /// By path relative to the domain's directory.
    files: &'f DomainFiles<'f>,
    /// The documents in `schemas/` and elsewhere, JSON and YAML, by the same path.
    documents: BTreeMap<String, Value>,
    /// Documents that cannot be read; told already.
    unreadable: Vec<String>,
    /// Which of the documents are in no file.
    derived: Vec<String>,
}

impl<'f> Data<'f> {
    /// Reads every document below the domain's directory that is no rule file.
    pub fn read(directory: &'f str, files: &'f DomainFiles<'f>, diagnostics: &mut Vec<Diagnostic>) -> Self {
        let mut data =
            Self { directory, files, documents: BTreeMap::new(), unreadable: Vec::new(), derived: Vec::new() };
        for (path, bytes) in files {
            let read = if path.ends_with(".json") {
                data.read_json(path, bytes)
            } else if is_yaml(path) && path.contains('/') {
                data.read_yaml(path, bytes)
            } else {
                continue;
            };
            match read {
                Ok(document) => drop(data.documents.insert((*path).to_owned(), document)),
                Err(faults) => {
                    data.unreadable.push((*path).to_owned());
                    diagnostics.extend(faults);
                }
            }
        }
        data
    }

    /// Adds a schema that is in no file. False when a file stands where it would.
    pub fn derive(&mut self, schema: &DerivedSchema) -> bool {
        if self.files.contains_key(schema.path.as_str()) {
            return false;
        }
        self.derived.push(schema.path.clone());
        self.documents.insert(schema.path.clone(), schema.document.clone());
        true
    }

    fn read_json(&self, path: &str, bytes: &[u8]) -> Result<Value, Vec<Diagnostic>> {
        json::parse(bytes).map_err(|malformed| {
            let text = text_of(bytes);
            let place = Place::new(&self.full(path), text, malformed.offset..malformed.offset + 1);
            vec![Diagnostic::new(place, Code::Syntax, format!("not JSON: {}", malformed.fault))]
        })
    }

    /// A schema may be YAML. A rule file below the domain's directory would be overlooked, so it is a fault.
    fn read_yaml(&self, path: &str, bytes: &[u8]) -> Result<Value, Vec<Diagnostic>> {
        let full = self.full(path);
        let text = text_of(bytes);
        let document = yaml::parse(bytes).map_err(|faults| -> Vec<Diagnostic> {
            let told = |f: yaml::YamlFault| {
                Diagnostic::new(Place::new(&full, text, f.span), code_of(f.kind), f.message).with_hint(f.hint)
            };
            faults.into_iter().map(told).collect()
        })?;
        if matches!(document.value["kind"].as_str(), Some("EventContract" | "Domain" | "Policy" | odcs::KIND)) {
            let span = document.span(&Pointer::root());
            let message = "a rule file stands directly in the directory of its domain";
            let hint = format!("move it to {}/", self.directory);
            return Err(vec![
                Diagnostic::new(Place::new(&full, text, span), Code::MisplacedFile, message).with_hint(hint),
            ]);
        }
        Ok(document.value)
    }

    fn full(&self, path: &str) -> String {
        format!("{}/{path}", self.directory)
    }

    /// The file a contract names; says so when there is none. `None` too when what is there cannot be read.
    fn named(&self, from: &RuleFile<'_>, at: &Pointer, path: &str) -> Option<(String, &'f [u8])> {
        let path = match inside(path) {
            Ok(path) => path,
            Err(reason) => {
                let hint = "name a file inside the domain's directory, such as schemas/order.json".to_owned();
                from.fault(at, Code::BadPath, reason, Some(hint));
                return None;
            }
        };
        if self.unreadable.contains(&path) {
            return None;
        }
        match self.files.get(path.as_str()) {
            Some(bytes) => Some((path, bytes)),
            None => {
                let near = did_you_mean(&path, self.files.keys().copied());
                let hint = near.unwrap_or_else(|| format!("paths start at {}/", self.directory));
                from.fault(at, Code::MissingFile, format!("there is no file {}", self.full(&path)), Some(hint));
                None
            }
        }
    }

    /// Compiles the schema named in `from` at `at`. Its faults are shown in the schema's own file.
    pub fn schema(&self, from: &RuleFile<'_>, at: &Pointer, path: &str, formats: bool) -> Option<Schema> {
        let (path, bytes) = match self.derived.iter().any(|derived| derived == path) {
            true => (path.to_owned(), &[][..]),
            false => self.named(from, at, path)?,
        };
        let Some(document) = self.documents.get(&path) else {
            let message = format!("{} is no schema file", self.full(&path));
            let hint = "a schema's name ends in .json, .yaml or .yml".to_owned();
            from.fault(at, Code::BadSchema, message, Some(hint));
            return None;
        };
        match Schema::compile(document, &path, &self.documents, formats) {
            Ok(schema) => Some(schema),
            Err(fault) => {
                let pointer = Pointer::parse(&fault.pointer).unwrap_or_default();
                let derived = from.schema_place(&pointer).filter(|_| bytes.is_empty());
                let place = derived.unwrap_or_else(|| self.place_in(&path, bytes, &pointer));
                let is_pattern = fault.message.starts_with("the pattern");
                let code = if is_pattern { Code::BadRegex } else { Code::BadSchema };
                from.note(Diagnostic::new(place, code, fault.message).with_hint(fault.hint));
                None
            }
        }
    }

    /// The plan of the schema that compiled from `path`, for the value at `payload`, and of what is read. What it does not
    /// express is noted.
    pub fn plan(&self, from: &RuleFile<'_>, path: &str, formats: bool, payload: &Pointer, reads: Reads) -> Plan {
        let found = inside(path).ok().and_then(|path| Some((self.documents.get(&path)?, path)));
        let Some((document, path)) = found else { return Plan::without_schema(reads) };
        let plan = Plan::compile(document, &path, &self.documents, formats, payload, reads);
        for left_out in plan.left_out().iter().take(LEFT_OUT_TOLD_MAX) {
            let document = if left_out.document.is_empty() { &path } else { &left_out.document };
            let pointer = Pointer::parse(&left_out.pointer).unwrap_or_default();
            let place = match self.files.get(document.as_str()) {
                Some(bytes) => Some(self.place_in(document, bytes, &pointer)),
                None => from.schema_place(&pointer),
            };
            let Some(place) = place else { continue };
            let message = format!("one pass over an event cannot judge this: it {}", left_out.reason);
            let hint =
                "an event that comes to it is parsed and judged again by the jsonschema crate, some ten times the work";
            from.note(Diagnostic::new(place, Code::Slow, message).with_hint(hint.to_owned()).as_note());
        }
        plan
    }

    fn place_in(&self, path: &str, bytes: &[u8], pointer: &Pointer) -> Place {
        let text = text_of(bytes);
        let span = if is_yaml(path) {
            yaml::parse(bytes).map(|document| document.span(pointer)).unwrap_or_default()
        } else {
            json_span::locate(text, pointer)
        };
        Place::new(&self.full(path), text, span)
    }

    /// Reads the reference list named in `from`; `file_at` and `column_at` are where its file and column are written.
    pub fn list(
        &self,
        from: &RuleFile<'_>,
        (file_at, path): (&Pointer, &str),
        (column_at, column): (&Pointer, &str),
    ) -> Option<Arc<ReferenceList>> {
        let (path, bytes) = self.named(from, file_at, path)?;
        match ReferenceList::parse(bytes, column) {
            Ok(list) => Some(Arc::new(list)),
            Err(fault) => {
                let hint = fault.hint().map(str::to_owned);
                let message = format!("{}: {fault}", self.full(&path));
                let at = if hint.is_some() { column_at } else { file_at };
                from.fault(at, Code::BadReference, message, hint);
                None
            }
        }
    }
}

/// How many parts of one schema are noted that one pass cannot judge.
const LEFT_OUT_TOLD_MAX: usize = 5;

/// The path without `.` segments.
fn inside(path: &str) -> Result<String, String> {
    if path.starts_with('/') || path.contains('\\') || path.get(1..2) == Some(":") {
        return Err("a path is relative to the domain's directory, with / between its parts".to_owned());
    }
    if path.split('/').any(|part| part == "..") {
        return Err("a path does not leave the domain's directory".to_owned());
    }
    Ok(path.split('/').filter(|part| !part.is_empty() && *part != ".").collect::<Vec<_>>().join("/"))
}

/// The longest part that is text.
fn text_of(bytes: &[u8]) -> &str {
    match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => std::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or_default(),
    }
}
