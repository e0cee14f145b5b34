//! Meshgate: a data quality gate for event streams.
//!
//! ```text
//! bytes arrive ─▶ source ─▶ decode ─▶ route ─▶ judge ─▶ verdict ─┬─▶ mesh sink ─┐
//!                 (records)  (events)  (contract) (rules)         └─▶ DLQ sink ──┴─▶ settled ─▶ ack
//! ```
//!
//! Modules, lowest first; each imports only from those above it here, and siblings on one line never import each other
//! (`tests/architecture.rs` enforces it):
//!
//! * [`model`]: the nouns.
//! * [`memory`]: what checks remember between events.
//! * [`lease`]: who reads which shard.
//! * [`decode`], [`rule`]: bytes to events; what can be wrong with an event.
//! * [`plan`]: a schema compiled for one pass over an event's bytes.
//! * [`contract`]: rule files to a compiled, routed [`contract::ContractSet`], with diagnostics.
//! * [`gate`], [`infer`], [`export`]: judges a batch, writes the DLQ document, decides what to deliver when and whom to tell, remembers the last hour; drafts a contract from
//!   events; writes a contract in another format.
//! * [`diff`], [`catalogue`]: what a change of rule files means; what the domains offer, as one HTML page.
//! * [`port`], [`metrics`]: the doors between shell parts; what is counted.
//! * [`trace`]: spans of requests and calls, and their export.
//! * [`aws`]: clients for AWS, and what its errors mean.
//! * [`source`], [`sink`]: protocols in, backends out.
//! * [`config`]: settings as written, settings as run.
//! * [`pipeline`]: wires a source through the gate to its sinks.
//! * [`admin`], [`cli`]: what operators and people at a terminal use.
//!
//! `model`, `memory`, `lease`, `decode`, `rule`, `plan`, `contract`, `gate`, `infer`, `export`, `diff` and `catalogue` are the *core*: synchronous and
//! pure. Time, bytes and randomness are passed in; no file, socket, clock, log or metric is touched. Same inputs, contracts and clock
//! give the same verdicts.
//!
//! Deliberately absent: transformation of events (a good event leaves as it came), plugins, a rule language of our own.

#![deny(unsafe_code)]

pub mod admin;
pub mod aws;
pub mod catalogue;
pub mod cli;
pub mod config;
pub mod contract;
pub mod decode;
pub mod diff;
pub mod export;
pub mod gate;
pub mod infer;
pub mod lease;
pub mod memory;
pub mod metrics;
pub mod model;
pub mod pipeline;
pub mod plan;
pub mod port;
pub mod rule;
pub mod sink;
pub mod source;
pub mod trace;
