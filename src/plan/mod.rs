//! The single-pass judge: a contract's schema as a plan, the plan over an event's bytes.
//!
//! [`Plan::compile`] turns a JSON Schema into a table of nodes. [`Plan::judge`] walks the event's bytes and the
//! table together: the strict grammar, UTF-8, duplicate keys, depth, and every keyword that applies where the walk stands,
//! in one pass. No tree is built, and nothing is allocated for an event that uses no escapes or rare formats.
//!
//! ```text
//! schema ──compile──▶ Plan (nodes: what may stand here, what follows from each key)
//! bytes  ──walk─────▶ Passes │ Fails │ Malformed │ Undecided
//! ```
//!
//! The plan never guesses. What it does not express, or could only answer by rounding (numbers beyond 15 digits, comparing
//! whole objects), makes it say [`Undecided`](Outcome::Undecided), and the `jsonschema` crate decides instead; the crate also
//! words all reasons. Where the plan answers, both must agree: `tests/plan` compares them on mutated events.
//!
//! * `compile`: schema documents to nodes; [`Plan::left_out`] says what could not be expressed and why.
//! * `node`: the compiled form.
//! * `walk`: the pass itself; `object` and `array` are its loops.
//! * `number`, `text`, `pattern`, `format`: what can be said of a scalar.

mod array;
mod compile;
mod format;
mod node;
mod number;
mod object;
mod pattern;
mod text;
mod walk;

use std::cell::RefCell;
use std::collections::BTreeMap;

use serde_json::Value;

use self::node::{Node, NodeId};
use self::walk::{Scratch, Stop, Walker};
use crate::decode::json::Checked;
use crate::rule::pointer::Pointer;
use crate::rule::schema::references::References;

/// A schema compiled for the single pass. Immutable, shared by all threads.
#[derive(Debug)]
pub struct Plan {
    nodes: Vec<Node>,
    root: NodeId,
    left_out: Vec<LeftOut>,
}

/// A part of a schema that the plan does not express. An event that reaches it is judged by the `jsonschema` crate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// The schema document's path; empty for the one compiled.
    pub document: String,
    /// JSON Pointer to the subschema.
    pub pointer: String,
    /// To be read after "because it".
    pub reason: String,
}

/// What the plan says of some bytes.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome<'e> {
    /// Well-formed, and the schema holds.
    Passes(Checked<'e>),
    /// The schema does not hold, or the bytes are malformed further on.
    Fails,
    Malformed,
    /// Only the long way can tell.
    Undecided,
}

thread_local! {
    /// Buffers kept from event to event. They carry nothing over.
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

impl Plan {
    /// Compiles the schema document at `path`, as [`Schema::compile`](crate::rule::schema::Schema::compile) takes it. The
    /// schema must be one that function takes. It is that of the value at `payload` in the events to judge; the rest of an
    /// event may be anything.
    pub fn compile(
        document: &Value,
        path: &str,
        others: &BTreeMap<String, Value>,
        formats: bool,
        payload: &Pointer,
    ) -> Self {
        compile::plan(&References::new(path, document, others), formats, payload)
    }

    /// Judges the bytes of one event.
    pub fn judge<'e>(&self, bytes: &'e [u8]) -> Outcome<'e> {
        let Ok(text) = crate::decode::json::scan::utf8(bytes) else { return Outcome::Malformed };
        let stop = SCRATCH.with_borrow_mut(|scratch| Walker::new(&self.nodes, text, scratch).event(self.root));
        match stop {
            Ok(checked) => Outcome::Passes(checked),
            Err(Stop::Fails) => Outcome::Fails,
            Err(Stop::Malformed) => Outcome::Malformed,
            Err(Stop::Undecided) => Outcome::Undecided,
        }
    }

    /// What the plan does not express, for the author of the schema.
    pub fn left_out(&self) -> &[LeftOut] {
        &self.left_out
    }

    /// Whether no event can pass by the plan alone, so that asking it is wasted.
    pub fn is_pointless(&self) -> bool {
        self.nodes[self.root].is_left_out()
    }
}
