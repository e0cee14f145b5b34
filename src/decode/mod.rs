//! Bytes to events: pure parsers of what sources deliver.
//!
//! Bytes that cannot be decoded are a verdict, not an error of the gate: every parser here says what is wrong with them
//! and where, never what they contain.

pub mod cloudevents;
pub mod compressed;
pub mod dynamodb;
pub mod json;
pub mod kpl;
