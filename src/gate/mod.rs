//! Pure decisions: verdicts of a batch, the DLQ document, what to deliver when, whom to tell of quarantine, what became of events lately.

pub mod breaker;
pub mod delivery;
pub mod document;
pub mod edit;
pub mod isolate;
pub mod judge;
pub mod letter;
pub mod notice;
pub mod pack;
pub mod pulse;
