//! The single-pass judge: a contract's schema as a plan, the plan over an event's bytes.
//!
//! [`Plan::compile`] turns a JSON Schema into a table of nodes. [`Plan::judge`] walks the event's bytes and the
//! table together: the strict grammar, UTF-8, duplicate keys, depth, and every keyword that applies where the walk stands,
//! in one pass. No tree is built, and nothing is allocated for an event that uses no escapes or rare formats.
//!
//! ```text
//! schema, reads ──compile──▶ Plan (nodes: what may stand here, what follows from each key, what rules read)
//! bytes         ──walk─────▶ Passes │ Fails, with every reason │ Malformed │ Undecided, and the values rules read
//! ```
//!
//! The plan never guesses. What it does not express, or could only answer by rounding (numbers beyond 15 digits, comparing
//! whole objects), makes it say [`Undecided`](Outcome::Undecided), and the `jsonschema` crate decides instead. Where the
//! plan answers, both must agree, in verdict and in words: `tests/plan` compares them on mutated events.
//!
//! * `compile`: schema documents to nodes; [`Plan::left_out`] says what could not be expressed and why.
//! * `node`: the compiled form.
//! * `walk`: the pass itself; `object` and `array` are its loops, `alternatives` what applies to one value together.
//! * `sieve`: which alternatives are worth trying.
//! * `number`, `text`, `pattern`, `format`: what can be said of a scalar.
//! * `told`: what does not hold, put into words at the end.

mod alternatives;
mod array;
mod compile;
mod format;
mod node;
mod number;
mod object;
mod pattern;
mod sieve;
mod text;
mod told;
mod walk;

use std::cell::RefCell;
use std::collections::BTreeMap;

use serde_json::Value;

pub(crate) use self::compile::{OF_DRAFTS, has_identities_within, id_keyword};
use self::node::{Node, NodeId};
use self::told::{Telling, Words};
use self::walk::{Buffers, Scratch, Stop, Walker};
use crate::decode::json::Checked;
use crate::rule::Finding;
use crate::rule::capture::{Captures, Reads};
use crate::rule::pointer::Pointer;
use crate::rule::schema::references::References;

/// A schema compiled for the single pass. Immutable, shared by all threads.
#[derive(Debug)]
pub struct Plan {
    nodes: Vec<Node>,
    words: Words,
    root: NodeId,
    reads: Reads,
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

/// What the plan says of a text.
#[derive(Debug, PartialEq)]
pub enum Outcome<'e> {
    /// Well-formed, and the schema holds.
    Passes(Checked<'e>),
    /// Well-formed, and the schema does not hold, for these reasons: at least one, in the order of their pointers, which are
    /// into the event.
    Fails(Checked<'e>, Vec<Finding>),
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
    /// event may be anything, and so may all of it when there is nothing at `payload`. `reads` is what rules read of an
    /// event.
    pub fn compile(
        document: &Value,
        path: &str,
        others: &BTreeMap<String, Value>,
        formats: bool,
        payload: &Pointer,
        reads: Reads,
    ) -> Self {
        compile::plan(Some(&References::new(path, document, others)), formats, payload, reads)
    }

    /// A plan for events that no schema describes: well-formedness, and what rules read.
    pub fn without_schema(reads: Reads) -> Self {
        compile::plan(None, false, &Pointer::root(), reads)
    }

    /// Judges the text of one event, and fills `captures` with what rules read of it, unless the text is malformed or the
    /// outcome undecided. At most `limit` reasons are given.
    pub fn judge<'e>(&self, text: &'e str, captures: &mut Captures, limit: usize) -> Outcome<'e> {
        captures.begin(&self.reads);
        SCRATCH.with_borrow_mut(|scratch| {
            let walked = Walker::new(&self.nodes, text, scratch, captures).event(self.root);
            let Buffers { told, steps, .. } = &scratch.buffers;
            match walked {
                Ok(checked) if told.is_empty() => Outcome::Passes(checked),
                Ok(checked) => {
                    Outcome::Fails(checked, Telling { words: &self.words, text, steps }.findings(told, limit))
                }
                Err(Stop::Malformed) => Outcome::Malformed,
                Err(Stop::Undecided | Stop::Fails) => Outcome::Undecided,
            }
        })
    }

    /// What the plan does not express, for the author of the schema.
    pub fn left_out(&self) -> &[LeftOut] {
        &self.left_out
    }

    /// Whether no event can pass by the plan alone, so that asking it is wasted.
    pub fn is_pointless(&self) -> bool {
        self.nodes[self.root].left_out
    }
}
