//! One YAML rule file while it is compiled: its value, its spans, and the faults found so far.

use std::cell::RefCell;
use std::rc::Rc;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::code_of;
use crate::contract::diagnostic::{Code, Diagnostic, Place};
use crate::contract::odcs::{self, Remark, Translated};
use crate::contract::{shape, yaml};
use crate::rule::expr::{Expression, Shape, Yields};
use crate::rule::pointer::Pointer;

pub(super) struct RuleFile<'f> {
    /// Relative to the rules directory.
    pub path: String,
    pub text: &'f str,
    document: Rc<yaml::Document>,
    /// What is compiled in place of the document, of an ODCS file.
    translated: Option<Translated>,
    /// Where the format is not kept to, and by what. Told by the first caller of [`RuleFile::shape`].
    shape: Vec<shape::ShapeFault>,
    diagnostics: RefCell<Vec<Diagnostic>>,
}

impl<'f> RuleFile<'f> {
    /// Parses `directory`/`path`; an empty `directory` is the rules directory itself.
    ///
    /// # Errors
    ///
    /// What keeps the file from being read as YAML. Faults of its shape are kept, to be told with those found later.
    pub fn parse(path: &str, directory: &str, bytes: &'f [u8]) -> Result<Self, Vec<Diagnostic>> {
        let path = if directory.is_empty() { path.to_owned() } else { format!("{directory}/{path}") };
        let text = std::str::from_utf8(bytes).or_else(|e| std::str::from_utf8(&bytes[..e.valid_up_to()]));
        let text = text.unwrap_or_default();
        match yaml::parse(bytes) {
            Ok(document) => {
                let is_odcs = odcs::is_odcs(&document.value);
                let shape = if is_odcs { odcs::SHAPE.check(&document.value) } else { shape::check(&document.value) };
                let document = Rc::new(document);
                Ok(Self { path, text, document, translated: None, shape, diagnostics: RefCell::default() })
            }
            Err(faults) => Err(faults
                .into_iter()
                .map(|f| {
                    let place = Place::new(&path, text, f.span);
                    Diagnostic::new(place, code_of(f.kind), f.message).with_hint(f.hint)
                })
                .collect()),
        }
    }

    /// The same file, with one of the contracts it was translated to in place of what it says.
    pub fn translated(&self, translated: Translated) -> Self {
        let shape = shape::check(&translated.value);
        let (path, document) = (self.path.clone(), Rc::clone(&self.document));
        Self { path, text: self.text, document, translated: Some(translated), shape, diagnostics: RefCell::default() }
    }

    /// The file as it was written.
    pub fn written(&self) -> &Value {
        &self.document.value
    }

    pub fn kind(&self) -> Option<&str> {
        self.value(&Pointer::root())?.get("kind")?.as_str()
    }

    pub fn value(&self, pointer: &Pointer) -> Option<&Value> {
        pointer.resolve(self.translated.as_ref().map_or(&self.document.value, |translated| &translated.value))
    }

    /// Where it was written: of a translation, elsewhere than it is read.
    fn source_of(&self, pointer: &Pointer) -> Pointer {
        self.translated.as_ref().map_or_else(|| pointer.clone(), |translated| translated.source_of(pointer))
    }

    /// Where a part of the JSON Schema that was derived from this file was written.
    pub fn schema_place(&self, pointer: &Pointer) -> Option<Place> {
        let source = self.translated.as_ref()?.source_of_schema(self.written(), pointer);
        Some(Place::new(&self.path, self.text, self.document.span(&source)))
    }

    /// How many entries the list there has; 0 when there is none.
    pub fn length(&self, pointer: &Pointer) -> usize {
        self.value(pointer).and_then(Value::as_array).map_or(0, Vec::len)
    }

    /// The part of the file there, typed. `None` when it is absent, or misshapen, which is told elsewhere.
    pub fn part<T: DeserializeOwned>(&self, pointer: &Pointer) -> Option<T> {
        let value = self.value(pointer)?;
        match T::deserialize(value) {
            Ok(part) => Some(part),
            Err(error) => {
                if self.is_well_shaped(pointer) {
                    self.fault(pointer, Code::InvalidValue, format!("this cannot be read: {error}"), None);
                }
                None
            }
        }
    }

    /// Whether the format is kept to there and below.
    pub fn is_well_shaped(&self, pointer: &Pointer) -> bool {
        !self.shape.iter().any(|fault| fault.pointer.segments().starts_with(pointer.segments()))
    }

    /// Whether nothing is wrong with it so far.
    pub fn is_clean(&self) -> bool {
        self.shape.is_empty() && self.diagnostics.borrow().is_empty()
    }

    /// A fault of the value there.
    pub fn at(&self, pointer: &Pointer, code: Code, message: impl Into<String>) -> Diagnostic {
        Diagnostic::new(self.place(pointer), code, message)
    }

    /// Notes a fault of the value there.
    pub fn fault(&self, pointer: &Pointer, code: Code, message: impl Into<String>, hint: Option<String>) {
        self.note(self.at(pointer, code, message).with_hint(hint));
    }

    pub fn note(&self, diagnostic: Diagnostic) {
        self.diagnostics.borrow_mut().push(diagnostic);
    }

    /// Notes what was remarked on while the file was translated.
    pub fn remark(&self, remark: Remark) {
        let place = if remark.on_key { self.key_place(&remark.at) } else { self.place(&remark.at) };
        self.note(Diagnostic {
            place,
            code: remark.code,
            level: remark.level,
            message: remark.message,
            hint: remark.hint,
        });
    }

    pub fn place(&self, pointer: &Pointer) -> Place {
        Place::new(&self.path, self.text, self.document.span(&self.source_of(pointer)))
    }

    pub fn key_place(&self, pointer: &Pointer) -> Place {
        Place::new(&self.path, self.text, self.document.key_span(&self.source_of(pointer)))
    }

    /// All faults noted, and those of the file's shape.
    pub fn into_diagnostics(self) -> Vec<Diagnostic> {
        let shape: Vec<Diagnostic> = self
            .shape
            .iter()
            .map(|fault| {
                let place = if fault.on_key { self.key_place(&fault.pointer) } else { self.place(&fault.pointer) };
                Diagnostic::new(place, fault.code, fault.message.clone()).with_hint(fault.hint.clone())
            })
            .collect();
        shape.into_iter().chain(self.diagnostics.into_inner()).collect()
    }

    /// Parses the JSON Pointer written there.
    pub fn pointer(&self, at: &Pointer, text: &str) -> Option<Pointer> {
        match Pointer::parse(text) {
            Ok(pointer) => Some(pointer),
            Err(fault) => {
                self.fault(at, Code::BadPointer, fault.to_string(), None);
                None
            }
        }
    }

    /// Compiles the expression written there, over payloads of a shape. A fault is shown inside it.
    pub fn expression(
        &self,
        at: &Pointer,
        source: &str,
        yields: Yields,
        shape: Option<Shape<'_>>,
    ) -> Option<Expression> {
        match Expression::compile_for(source, yields, shape) {
            Ok(expression) => Some(expression),
            Err(fault) => {
                let end = fault.offset + token(source.get(fault.offset..).unwrap_or_default());
                let from = self.source_of(at);
                let place = if from.resolve(self.written()).and_then(Value::as_str) == Some(source) {
                    let start = self.document.offset_in(self.text, &from, fault.offset);
                    let end = self.document.offset_in(self.text, &from, end).max(start + 1);
                    Place::new(&self.path, self.text, start..end)
                } else {
                    // Inside a text that was parsed once more.
                    self.place(at)
                };
                self.note(Diagnostic::new(place, Code::BadExpression, fault.message).with_hint(fault.hint));
                None
            }
        }
    }
}

/// The bytes of the word or quoted text at the start of `text`, 1 where there is neither.
fn token(text: &str) -> usize {
    let quoted = text.strip_prefix(['"', '\'']).and_then(|rest| rest.find(&text[..1])).map(|end| end + 2);
    let word = || text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    quoted.unwrap_or_else(word).max(1)
}
