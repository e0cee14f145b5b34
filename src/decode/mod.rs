//! Bytes to events: pure parsers of what sources deliver.

pub mod cloudevents;
pub mod json;
