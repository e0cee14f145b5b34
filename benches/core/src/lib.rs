//! Meshgate's pure core, and nothing else: see Cargo.toml for why, `../../src/lib.rs` for what.

#[path = "../../../src/contract/mod.rs"]
pub mod contract;
#[path = "../../../src/decode/mod.rs"]
pub mod decode;
#[path = "../../../src/gate/mod.rs"]
pub mod gate;
#[path = "../../../src/memory/mod.rs"]
pub mod memory;
#[path = "../../../src/model/mod.rs"]
pub mod model;
#[path = "../../../src/plan/mod.rs"]
pub mod plan;
#[path = "../../../src/rule/mod.rs"]
pub mod rule;
