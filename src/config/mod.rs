//! Settings as written, settings as run, and the rules directory.

pub mod rules;
