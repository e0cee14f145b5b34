//! Rule files to a compiled, routed [`ContractSet`], with a diagnostic for whatever is wrong with them.
//!
//! ```text
//! files ─▶ yaml (values and spans) ─▶ shape (the format's JSON Schema) ─▶ compile ─▶ ContractSet ─▶ route ─▶ judge
//!                                 └──────────── diagnostics ◀──────────────┘
//! ```
//!
//! One directory is one domain. A domain with a fault is left out as a whole, and no other with it, so that a reload can
//! keep its last good version ([`ContractSet::keeping`]). All faults of all files are told at once.

mod compile;
pub mod diagnostic;
mod example;
mod glob;
mod judged;
mod locate;
pub mod odcs;
mod remembering;
mod reread;
mod ruling;
mod set;
pub mod shape;
mod states;
mod typed;
mod written;
pub mod yaml;

use std::collections::BTreeMap;

pub use compile::{Compiled, compile};
pub use diagnostic::Diagnostic;
pub use example::{Example, Tried};
pub use glob::StreamGlob;
pub use judged::{Check, Contract, MESSAGE_CHARS_MAX, RESERVED_IDS, SCHEMA_RULE};
pub use locate::Places;
pub use remembering::{ContractStates, Feed, Recall, StreamCheck};
pub use reread::{Reread, reread};
pub use ruling::{Ruling, VIOLATIONS_MAX};
pub use set::{ContractSet, Domain, Routed};
pub use states::States;
pub use typed::{Typed, Unparsed};
pub use written::{BreakerAction, BreakerTerms, DlqPayload, Owner, Status, UnknownType};

impl Contract {
    /// Its entries of `stream` that are not off.
    pub fn stream_checks(&self) -> impl Iterator<Item = &StreamCheck> {
        self.live_streams()
    }
}

/// Rule files by their path relative to the rules directory, `/`-separated.
pub type RuleFiles = BTreeMap<String, Vec<u8>>;
