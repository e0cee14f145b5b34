//! The commands, one file each.

pub mod dlq;
pub mod output;
pub mod tail;
