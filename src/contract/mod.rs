//! Rule files to a compiled set.
pub mod yaml;
