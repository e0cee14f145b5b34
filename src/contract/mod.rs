//! Rule files to a compiled set.
pub mod diagnostic;
pub mod shape;
pub mod yaml;

use std::collections::BTreeMap;

/// Rule files by their path relative to the rules directory, `/`-separated.
pub type RuleFiles = BTreeMap<String, Vec<u8>>;
