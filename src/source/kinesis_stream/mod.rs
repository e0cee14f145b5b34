//! Records of a stream that producers write to without the gate, read shard by shard: the far ends, on AWS.
//!
//! [`aws`] reads shards; [`lease_table`] keeps who reads which of them, and how far it is settled.

pub mod aws;
mod lease_row;
pub mod lease_table;
