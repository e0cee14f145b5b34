//! The commands, one file each.

pub mod check;
pub mod dlq;
pub mod output;
pub mod tail;
pub mod test;

mod rules;
