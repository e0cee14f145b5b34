//! Wires sources through the gate to sinks: the shell's own thin logic.
//!
//! [`Gate`] answers what sources ask ([`crate::port::Intake`]); [`rules::Rules`] holds the contract set in force and
//! reloads it; [`streams::Streams`] remembers what the mesh streams look like; [`deliver`] drives sinks until each entry is
//! settled or given up, and [`coalesce`] lets small requests share the calls; [`spooling`]
//! keeps what a far end that is away does not take, and [`mod@drain`] delivers it later; [`serve`] starts everything and stops it in order.

pub mod candidate;
pub mod coalesce;
pub mod deliver;
mod depth;
mod doubts;
pub mod drain;
mod forward;
mod gate;
mod gated;
pub mod kcl;
pub mod keeper;
mod letters;
pub mod notices;
pub mod objects;
pub mod origin;
mod outbox;
pub mod pipe;
pub mod pulse;
mod refused;
pub mod replay;
pub mod rules;
pub mod serve;
mod shown;
pub mod spooling;
mod streams;
mod unfold;
pub mod watch;

pub use gate::{Gate, GateOptions};

use crate::model::Timestamp;

/// The wall clock, the only one in the crate: everything else is told the time.
pub fn now() -> Timestamp {
    let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
}
