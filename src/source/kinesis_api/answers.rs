//! Answers as they are written, in JSON and CBOR alike. Member names and presence follow the Kinesis API reference.

use std::sync::Arc;

use serde::Serialize;

use crate::model::{Placement, Shard, StreamDescription, StreamMode};

use super::wire::{Blob, EpochMillis};

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct PutRecordAnswer {
    shard_id: Arc<str>,
    sequence_number: String,
}

impl PutRecordAnswer {
    pub fn of(placement: Placement) -> Self {
        Self { shard_id: placement.shard_id, sequence_number: placement.sequence_number }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ListShardsAnswer<'a> {
    pub shards: Vec<ShardAnswer<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ShardAnswer<'a> {
    shard_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent_shard_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    adjacent_parent_shard_id: Option<&'a str>,
    hash_key_range: HashKeyRangeAnswer,
    sequence_number_range: SequenceNumberRange<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct HashKeyRangeAnswer {
    starting_hash_key: String,
    ending_hash_key: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct SequenceNumberRange<'a> {
    starting_sequence_number: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    ending_sequence_number: Option<&'a str>,
}

impl<'a> ShardAnswer<'a> {
    pub fn of(shard: &'a Shard) -> Self {
        Self {
            shard_id: &shard.id,
            parent_shard_id: shard.parent.as_deref(),
            adjacent_parent_shard_id: shard.adjacent_parent.as_deref(),
            hash_key_range: HashKeyRangeAnswer {
                starting_hash_key: shard.range.start.to_string(),
                ending_hash_key: shard.range.end.to_string(),
            },
            sequence_number_range: SequenceNumberRange {
                starting_sequence_number: &shard.starting_sequence_number,
                ending_sequence_number: shard.ending_sequence_number.as_deref(),
            },
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ModeDetails {
    stream_mode: &'static str,
}

impl ModeDetails {
    fn of(mode: StreamMode) -> Self {
        Self {
            stream_mode: match mode {
                StreamMode::Provisioned => "PROVISIONED",
                StreamMode::OnDemand => "ON_DEMAND",
            },
        }
    }
}

/// Required by the model; the gate knows of no shard-level metric.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Monitoring {
    shard_level_metrics: &'static [&'static str],
}

const NO_MONITORING: [Monitoring; 1] = [Monitoring { shard_level_metrics: &[] }];

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct DescribeStreamAnswer<'a> {
    pub stream_description: DescriptionAnswer<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct DescriptionAnswer<'a> {
    stream_name: &'a str,
    #[serde(rename = "StreamARN")]
    stream_arn: &'a str,
    stream_status: &'a str,
    stream_mode_details: ModeDetails,
    shards: Vec<ShardAnswer<'a>>,
    has_more_shards: bool,
    retention_period_hours: i32,
    stream_creation_timestamp: EpochMillis,
    enhanced_monitoring: &'static [Monitoring],
    encryption_type: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_id: Option<&'a str>,
}

impl<'a> DescriptionAnswer<'a> {
    pub fn of(stream: &'a StreamDescription, shards: &'a [Shard], has_more_shards: bool) -> Self {
        Self {
            stream_name: &stream.name,
            stream_arn: &stream.arn,
            stream_status: &stream.status,
            stream_mode_details: ModeDetails::of(stream.mode),
            shards: shards.iter().map(ShardAnswer::of).collect(),
            has_more_shards,
            retention_period_hours: stream.retention_hours,
            stream_creation_timestamp: EpochMillis(stream.created),
            enhanced_monitoring: &NO_MONITORING,
            encryption_type: &stream.encryption,
            key_id: stream.key_id.as_deref(),
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct DescribeStreamSummaryAnswer<'a> {
    pub stream_description_summary: SummaryAnswer<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct SummaryAnswer<'a> {
    stream_name: &'a str,
    #[serde(rename = "StreamARN")]
    stream_arn: &'a str,
    stream_status: &'a str,
    stream_mode_details: ModeDetails,
    retention_period_hours: i32,
    stream_creation_timestamp: EpochMillis,
    enhanced_monitoring: &'static [Monitoring],
    encryption_type: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_id: Option<&'a str>,
    open_shard_count: usize,
    consumer_count: i32,
    #[serde(rename = "MaxRecordSizeInKiB")]
    max_record_size_kib: u32,
}

impl<'a> SummaryAnswer<'a> {
    pub fn of(stream: &'a StreamDescription) -> Self {
        Self {
            stream_name: &stream.name,
            stream_arn: &stream.arn,
            stream_status: &stream.status,
            stream_mode_details: ModeDetails::of(stream.mode),
            retention_period_hours: stream.retention_hours,
            stream_creation_timestamp: EpochMillis(stream.created),
            enhanced_monitoring: &NO_MONITORING,
            encryption_type: &stream.encryption,
            key_id: stream.key_id.as_deref(),
            open_shard_count: stream.shards.iter().filter(|s| s.ending_sequence_number.is_none()).count(),
            consumer_count: stream.consumer_count,
            max_record_size_kib: stream.max_record_size_kib,
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ListStreamsAnswer<'a> {
    pub stream_names: &'a [String],
    pub has_more_streams: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream_summaries: Option<Vec<StreamSummary>>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct StreamSummary {
    stream_name: String,
    #[serde(rename = "StreamARN")]
    stream_arn: String,
    stream_status: String,
    stream_mode_details: ModeDetails,
    stream_creation_timestamp: EpochMillis,
}

impl StreamSummary {
    pub fn of(stream: StreamDescription) -> Self {
        Self {
            stream_name: stream.name,
            stream_arn: stream.arn,
            stream_status: stream.status,
            stream_mode_details: ModeDetails::of(stream.mode),
            stream_creation_timestamp: EpochMillis(stream.created),
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct GetShardIteratorAnswer {
    pub shard_iterator: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct GetRecordsAnswer<'a> {
    pub records: Vec<RecordAnswer<'a>>,
    pub next_shard_iterator: String,
    pub millis_behind_latest: i64,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct RecordAnswer<'a> {
    pub sequence_number: &'a str,
    pub approximate_arrival_timestamp: EpochMillis,
    pub data: Blob<'a>,
    pub partition_key: &'a str,
}
