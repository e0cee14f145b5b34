//! Where records come from: one file or folder per source.
//!
//! ```text
//! TCP ─▶ listener ─▶ connection ─▶ body ─▶ service ─┬─▶ kinesis_api ─┐
//!        accept,     idle, head    bytes            └─▶ http ────────┼─▶ port::Intake ─▶ settled ─▶ answer
//!        cap, drain                                 pipe ─▶ stdin ───┤
//!                  the KCL's daemon ─▶ kcl ─▶ settling ─────┤
//!                     shards ─▶ kinesis_stream ─▶ settling ─┘
//! ```
//!
//! A source turns bytes into [`crate::model::Record`]s, hands them to [`crate::port::Intake`], and tells the producer what
//! became of each. It knows records and settlements, never contracts. An answer is sent only when every record in the
//! request is settled or has failed to; a request dropped before that was not acknowledged, and its producer still has it.

mod body;
mod connection;
pub mod http;
pub mod kcl;
pub mod kinesis_api;
pub mod kinesis_stream;
pub mod listener;
pub mod service;
mod settling;
pub mod stdin;

pub use body::BodyFault;
pub use listener::{Drained, Limits, serve};
pub use service::Service;
