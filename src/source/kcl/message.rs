//! What the daemon says, and what is said to it: one JSON object a line.
//!
//! Source: the MultiLangProtocol of amazon-kinesis-client-multilang (`MultiLangProtocol.java`, package `…multilang.messages`) and its
//! Python client (amazon-kinesis-client-python, `kcl.py`).

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::model::{Position, Record, Timestamp};

/// A message of the daemon. All kinds in one: a tag beside numbers cannot be read into an enum where numbers are kept as text.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Message<'l> {
    #[serde(borrow)]
    pub action: Cow<'l, str>,
    /// `initialize`.
    pub shard_id: Option<String>,
    /// `initialize`: where reading begins.
    pub sequence_number: Option<String>,
    /// `processRecords`.
    #[serde(borrow)]
    pub records: Option<Vec<UserRecord<'l>>>,
    pub millis_behind_latest: Option<i64>,
    /// `shutdown`, which older daemons say: `TERMINATE` at the end of a shard, `ZOMBIE` without a lease.
    pub reason: Option<String>,
    /// `checkpoint`: the name of the exception, where it failed.
    pub error: Option<String>,
}

/// A record as the KCL delivers it: those of a KPL container one by one.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UserRecord<'l> {
    /// Base64.
    #[serde(borrow)]
    pub data: Cow<'l, str>,
    pub partition_key: Option<String>,
    pub sequence_number: String,
    pub sub_sequence_number: Option<u64>,
    /// Since the Unix epoch; milliseconds, or seconds in some versions.
    pub approximate_arrival_timestamp: Option<f64>,
}

/// What is said to the daemon.
#[derive(Debug, Serialize)]
#[serde(tag = "action", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Reply<'a> {
    /// A message has been dealt with.
    Status { response_for: &'a str },
    /// All up to and with this place is settled; without one, all there has been.
    Checkpoint { sequence_number: Option<&'a str>, sub_sequence_number: Option<u64> },
}

impl UserRecord<'_> {
    /// The record, with its data decoded. `None` when that is not base64.
    pub fn into_record(self, stream: &Arc<str>, shard: &Arc<str>, now: Timestamp) -> Option<Record> {
        let data = base64_simd::STANDARD.decode_to_vec(self.data.as_bytes()).ok()?;
        let position = Position::InShard {
            shard: Arc::clone(shard),
            sequence: self.sequence_number,
            sub_sequence: self.sub_sequence_number.unwrap_or(0),
        };
        let arrived = self.approximate_arrival_timestamp.map_or(now, arrival);
        Some(Record {
            partition_key: self.partition_key,
            position,
            ..Record::new(Bytes::from(data), Arc::clone(stream), arrived)
        })
    }
}

/// A number below this is one of seconds: as milliseconds it would lie in the first months of 1970.
const MILLIS_MIN: f64 = 1e10;

fn arrival(since_epoch: f64) -> Timestamp {
    let millis = if since_epoch < MILLIS_MIN { since_epoch * 1000.0 } else { since_epoch };
    Timestamp::from_millis(millis as i64)
}
