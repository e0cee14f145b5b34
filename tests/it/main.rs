//! The built binary among real clients and real far ends: everything a person or a producer would do, done for real.
//!
//! Clients and emulators are installed by `tests/tools/install`; a test whose tool is missing says so and passes, unless
//! `MESHGATE_REQUIRE_TOOLS=1` (CI). Every process listens on a free port of 127.0.0.1 and ends with the test that started
//! it; every file is in a directory that goes with it.

mod aws_backend;
mod catalogue;
mod clients;
mod crash;
mod dashboards;
mod dead_letters;
mod deploy;
mod diff;
mod docs;
mod drain;
mod gated;
mod github;
mod harness;
mod http;
mod infer;
mod kcl;
mod leases;
mod metrics;
mod notices;
mod odcs;
mod pipe;
mod readme;
mod replay;
mod rule_ci;
mod rule_hooks;
mod rules;
mod rules_git;
mod shards;
mod spool;
mod status;
mod streams;
mod tracing;
mod usage;
