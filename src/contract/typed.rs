//! What routing looks at in an event: strings that may be its type, in a tree or in bytes that are not parsed yet.

use std::cell::Cell;

use serde_json::Value;

use crate::decode::cloudevents;
use crate::decode::json::{Glance, glance};
use crate::rule::pointer::Pointer;

pub trait Typed {
    /// The string a key of the event holds.
    fn member(&self, key: &str) -> Option<&str>;

    /// The string a pointer leads to.
    fn at(&self, pointer: &Pointer) -> Option<&str>;
}

impl Typed for Value {
    fn member(&self, key: &str) -> Option<&str> {
        self.get(key)?.as_str()
    }

    fn at(&self, pointer: &Pointer) -> Option<&str> {
        pointer.resolve(self)?.as_str()
    }
}

/// An event's text. What is read from them counts only if they turn out to be well-formed.
#[derive(Debug)]
pub struct Unparsed<'e> {
    text: &'e str,
    was_unclear: Cell<bool>,
}

impl<'e> Unparsed<'e> {
    pub fn new(text: &'e str) -> Self {
        Self { text, was_unclear: Cell::new(false) }
    }

    /// Whether something that was asked for could not be read, so that only the tree can tell.
    pub fn was_unclear(&self) -> bool {
        self.was_unclear.get()
    }

    fn glance<'p>(&self, path: impl IntoIterator<Item = &'p str>) -> Option<&str> {
        match glance(self.text, path) {
            Glance::Text(text) => Some(text),
            Glance::NoText => None,
            Glance::Unclear => {
                self.was_unclear.set(true);
                None
            }
        }
    }
}

impl Typed for Unparsed<'_> {
    fn member(&self, key: &str) -> Option<&str> {
        self.glance([key])
    }

    fn at(&self, pointer: &Pointer) -> Option<&str> {
        self.glance(pointer.segments().iter().map(String::as_str))
    }
}

/// The event's type where it does not depend on the domain: `Some(None)` when it has none.
pub(super) fn fixed_type<'e>(event: &'e impl Typed, type_pointer: Option<&Pointer>) -> Option<Option<&'e str>> {
    match cloudevents::event_type(|key| event.member(key)) {
        Some(event_type) => Some(Some(event_type)),
        None => type_pointer.map(|pointer| event.at(pointer)),
    }
}
