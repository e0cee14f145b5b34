//! What PutRecord and PutRecords ask, whichever encoding they came in.
//!
//! Plain JSON is scanned ([`super::json`]). CBOR, and JSON that is not plain or not right, is read by serde, into structs that
//! borrow from the body; its words are the ones a producer reads when something is wrong.

use bytes::Bytes;
use serde::Deserialize;

use crate::source::kinesis_api::fault::Fault;
use crate::source::kinesis_api::wire::{Blob, Bounded, Encoding};

use super::{RECORDS_MAX, json};

/// One more than allowed is enough to know that there are too many.
const RECORDS_KEPT: usize = RECORDS_MAX + 1;

/// Which operation a body is for: they share most members.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// `PutRecord`: one entry, its members among the request's.
    One,
    /// `PutRecords`: entries in `Records`.
    Many,
}

/// A request; members that are absent or null are `None`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    pub stream_name: Option<String>,
    pub stream_arn: Option<String>,
    pub dry_run: Option<bool>,
    /// Of a `PutRecord`.
    pub sequence_for_ordering: Option<String>,
    /// The first 501 entries at most.
    pub entries: Vec<Entry>,
    /// How many entries there are; `None` without `Records`.
    pub entry_count: Option<usize>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// A slice of the body, or of one buffer that all entries share.
    pub data: Option<Bytes>,
    /// The base64 text of `data`, a slice of the body, where it stands there without escapes.
    pub encoded: Option<Bytes>,
    pub partition_key: Option<String>,
    pub explicit_hash_key: Option<String>,
}

impl Request {
    /// Reads a body. The fault names the place and never the content.
    pub fn read(encoding: Encoding, body: &Bytes, shape: Shape) -> Result<Self, Fault> {
        let scanned = if encoding == Encoding::Json { json::scan(body, shape) } else { None };
        match (scanned, shape) {
            (Some(request), _) => Ok(request),
            (None, Shape::One) => Ok(encoding.parse::<PutRecord<'_>>(body)?.request(body)),
            (None, Shape::Many) => Ok(encoding.parse::<PutRecords<'_>>(body)?.request(body)),
        }
    }
}

#[derive(Deserialize)]
struct PutRecord<'a> {
    #[serde(rename = "StreamName")]
    stream_name: Option<String>,
    #[serde(rename = "StreamARN")]
    stream_arn: Option<String>,
    #[serde(rename = "SequenceNumberForOrdering")]
    sequence_for_ordering: Option<String>,
    #[serde(rename = "DryRun")]
    dry_run: Option<bool>,
    // The members of `Written`, written out: serde's flatten would buffer the data.
    #[serde(rename = "Data", borrow)]
    data: Option<Blob<'a>>,
    #[serde(rename = "PartitionKey")]
    partition_key: Option<String>,
    #[serde(rename = "ExplicitHashKey")]
    explicit_hash_key: Option<String>,
}

impl PutRecord<'_> {
    fn request(self, body: &Bytes) -> Request {
        let Self { stream_name, stream_arn, sequence_for_ordering, dry_run, .. } = self;
        let written =
            Written { data: self.data, partition_key: self.partition_key, explicit_hash_key: self.explicit_hash_key };
        Request {
            stream_name,
            stream_arn,
            dry_run,
            sequence_for_ordering,
            entries: vec![written.entry(body)],
            entry_count: Some(1),
        }
    }
}

#[derive(Deserialize)]
struct PutRecords<'a> {
    #[serde(rename = "StreamName")]
    stream_name: Option<String>,
    #[serde(rename = "StreamARN")]
    stream_arn: Option<String>,
    #[serde(rename = "DryRun")]
    dry_run: Option<bool>,
    #[serde(rename = "Records", borrow)]
    records: Option<Bounded<Written<'a>, RECORDS_KEPT>>,
}

impl PutRecords<'_> {
    fn request(self, body: &Bytes) -> Request {
        let Self { stream_name, stream_arn, dry_run, records } = self;
        let entry_count = records.as_ref().map(|records| records.len);
        let written = records.map_or_else(Vec::new, |records| records.items);
        let entries = written.into_iter().map(|written| written.entry(body)).collect();
        Request { stream_name, stream_arn, dry_run, sequence_for_ordering: None, entries, entry_count }
    }
}

/// An entry as it is written.
#[derive(Deserialize)]
struct Written<'a> {
    #[serde(rename = "Data", borrow)]
    data: Option<Blob<'a>>,
    #[serde(rename = "PartitionKey")]
    partition_key: Option<String>,
    #[serde(rename = "ExplicitHashKey")]
    explicit_hash_key: Option<String>,
}

impl Written<'_> {
    fn entry(self, body: &Bytes) -> Entry {
        Entry {
            data: self.data.map(|data| data.into_bytes(body)),
            encoded: None,
            partition_key: self.partition_key,
            explicit_hash_key: self.explicit_hash_key,
        }
    }
}

#[cfg(test)]
mod tests;
