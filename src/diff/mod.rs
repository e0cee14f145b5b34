//! What a change of rule files means: for producers whose events pass today, for readers of the mesh, for version numbers.
//!
//! ```text
//! rule files before ─┐                      ┌─ schema: accepts all that the other does? both ways, with reasons
//!                    ├─▶ written ─▶ change ─┼─ rules: what may be quarantined now, or no longer
//! rule files after ──┘                      └─ version: what its number should have done
//! events ─▶ sample: the verdicts that change
//! ```
//!
//! Nothing is claimed that is not certain: two schemas are compatible only where every keyword of the one follows from the
//! other, and what cannot be compared is said to be unknown.

mod change;
mod rules;
pub mod sample;
pub mod schema;
mod version;
mod written;

pub use change::{Allow, Change, Concern, ContractChange, DomainChange, Finding, Report, Setting, compare};
pub use rules::{Effect, Kind, RuleChange};
pub use version::{Bump, VersionAdvice};

#[cfg(test)]
mod tests;
