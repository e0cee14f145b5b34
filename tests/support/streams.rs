//! What a scripted catalog says of a stream.

use meshgate::model::{Distribution, HashKeyRange, Shard, StreamDescription, StreamMode, Timestamp};

/// A stream that is ready, its shards of equal width and never resharded.
pub fn active_stream(name: &str, shard_count: u32) -> StreamDescription {
    let shard = |(index, range)| Shard {
        id: format!("shardId-{index:012}").into(),
        parent: None,
        adjacent_parent: None,
        range,
        starting_sequence_number: "0".into(),
        ending_sequence_number: None,
    };
    StreamDescription {
        name: name.to_owned(),
        arn: String::new(),
        status: "ACTIVE".into(),
        mode: StreamMode::Provisioned,
        distribution: Distribution::Key,
        retention_hours: 24,
        created: Timestamp::default(),
        encryption: "NONE".into(),
        key_id: None,
        consumer_count: 0,
        max_record_size_kib: 1_024,
        shards: HashKeyRange::divide(shard_count).enumerate().map(shard).collect(),
    }
}
