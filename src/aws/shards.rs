//! The shards of a Kinesis stream, as `ListShards` gives them: the sink asks where records land, the reader what there is to read.

use std::sync::Arc;

use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::types;

use super::Fault;
use crate::model::{HashKey, HashKeyRange, Shard};

/// `ListShards` gives at most 1,000 shards a page; more pages than this is a far end that never comes to an end.
const PAGES_MAX: usize = 100;
const SHARDS_A_PAGE: i32 = 1_000;

/// All shards of a stream, closed ones that still hold records included. One attempt a page.
pub async fn shards(client: &Client, stream: &str) -> Result<Vec<Shard>, Fault> {
    let mut shards = Vec::new();
    let mut token: Option<String> = None;
    for _ in 0..PAGES_MAX {
        // The API takes either a name or a token, never both.
        let name = token.is_none().then(|| stream.to_owned());
        let call = client.list_shards().set_stream_name(name).set_next_token(token).max_results(SHARDS_A_PAGE);
        let page = call.send().await.map_err(|error| Fault::of_call(&error))?;
        for shard in page.shards.unwrap_or_default() {
            shards.push(shard_of(shard)?);
        }
        token = page.next_token;
        if token.is_none() {
            return Ok(shards);
        }
    }
    Err(Fault::unreadable("shards without end"))
}

/// The part of the hash keys that an answer gives a shard. `None` where it is missing or no decimal.
pub fn hash_key_range(range: Option<&types::HashKeyRange>) -> Option<HashKeyRange> {
    let range = range?;
    let start = HashKey::parse_explicit(&range.starting_hash_key)?;
    let end = HashKey::parse_explicit(&range.ending_hash_key)?;
    Some(HashKeyRange { start, end })
}

fn shard_of(shard: types::Shard) -> Result<Shard, Fault> {
    let range = hash_key_range(shard.hash_key_range.as_ref())
        .ok_or_else(|| Fault::unreadable("a shard without a decimal hash key range"))?;
    let sequences = shard.sequence_number_range.ok_or_else(|| Fault::unreadable("a shard without sequence numbers"))?;
    Ok(Shard {
        id: Arc::from(shard.shard_id),
        parent: shard.parent_shard_id,
        adjacent_parent: shard.adjacent_parent_shard_id,
        range,
        starting_sequence_number: sequences.starting_sequence_number,
        ending_sequence_number: sequences.ending_sequence_number,
    })
}
