//! Pure decisions: verdicts of a batch, the DLQ document, what to deliver when.

pub mod breaker;
pub mod delivery;
pub mod document;
pub mod isolate;
pub mod judge;
pub mod letter;
pub mod pack;
