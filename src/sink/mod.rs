//! Where settled records go: one file or folder per sink.

pub mod kinesis;
pub mod local;
pub mod pipe;
pub mod s3;
pub mod sns;
pub mod spool;
pub mod sqs;
