//! `GetShardIterator` and `GetRecords`, where the backend is the embedded one. On AWS, consumers read from AWS.

use std::borrow::Cow;

use bytes::Bytes;
use serde::Deserialize;

use crate::port::{ReadFrom, StreamReader};

use super::answers::{GetRecordsAnswer, GetShardIteratorAnswer, RecordAnswer};
use super::fault::Fault;
use super::token::{ShardIterator, TokenFault};
use super::wire::{Blob, EpochMillis};
use super::{Call, name, put, streams};

/// Records in one answer, at most and where the request names no limit.
const RECORDS_MAX: i64 = 10_000;

#[derive(Deserialize)]
struct GetShardIterator {
    #[serde(rename = "StreamName")]
    stream_name: Option<String>,
    #[serde(rename = "StreamARN")]
    stream_arn: Option<String>,
    #[serde(rename = "ShardId")]
    shard_id: Option<String>,
    #[serde(rename = "ShardIteratorType")]
    iterator_type: Option<String>,
    #[serde(rename = "StartingSequenceNumber")]
    starting_sequence_number: Option<String>,
    #[serde(rename = "Timestamp")]
    timestamp: Option<EpochMillis>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct GetRecords {
    shard_iterator: Option<String>,
    limit: Option<i64>,
}

pub async fn get_shard_iterator(call: &Call<'_>) -> Result<Bytes, Fault> {
    let request: GetShardIterator = call.encoding.parse(call.body)?;
    let reader = reader(call, "GetShardIterator")?;
    let name = name::stream_of(request.stream_name.as_deref(), request.stream_arn.as_deref())?;
    let shard = request.shard_id.ok_or_else(|| Fault::constraint("shardId", "Member must not be null"))?;
    name::check_name("shardId", &shard)?;
    let kind =
        request.iterator_type.ok_or_else(|| Fault::constraint("shardIteratorType", "Member must not be null"))?;
    let start = start_of(&kind, request.starting_sequence_number.as_deref(), request.timestamp)?;

    // The token holds the mesh stream, so that a reload of routes does not move a reader to another one.
    let stream = streams::mesh_name(call, &name);
    let sequence = reader.start_of(&stream, &shard, start).await?;
    let iterator = ShardIterator { stream: stream.to_string(), shard, sequence };
    call.encoding.write(&GetShardIteratorAnswer { shard_iterator: iterator.seal(call.now) })
}

pub async fn get_records(call: &Call<'_>) -> Result<Bytes, Fault> {
    let request: GetRecords = call.encoding.parse(call.body)?;
    let reader = reader(call, "GetRecords")?;
    let token = request.shard_iterator.ok_or_else(|| Fault::constraint("shardIterator", "Member must not be null"))?;
    let limit = limit(request.limit)?;
    let at = ShardIterator::open(&token, call.now).map_err(|fault| match fault {
        TokenFault::Invalid => Fault::invalid("Invalid ShardIterator: it is not one of this gate's."),
        TokenFault::Expired => Fault::new(
            "ExpiredIteratorException",
            "Iterator expired: it lives 300 seconds. Ask GetShardIterator for a new one, AFTER_SEQUENCE_NUMBER the last \
             record that was read.",
        ),
    })?;
    let batch = reader.read(&at.stream, &at.shard, &at.sequence, limit).await?;
    let records = batch.records.iter().map(|record| RecordAnswer {
        sequence_number: &record.sequence_number,
        approximate_arrival_timestamp: EpochMillis(record.arrived),
        data: Blob(Cow::Borrowed(&record.data)),
        partition_key: &record.partition_key,
    });
    let answer = GetRecordsAnswer {
        records: records.collect(),
        next_shard_iterator: ShardIterator { sequence: batch.next.clone(), ..at }.seal(call.now),
        millis_behind_latest: batch.millis_behind_latest,
    };
    call.encoding.write(&answer)
}

fn reader<'a>(call: &Call<'a>, operation: &str) -> Result<&'a dyn StreamReader, Fault> {
    call.service.catalog.reader().ok_or_else(|| {
        Fault::unsupported(format!(
            "{operation} is offered here for the gate's embedded streams only; this gate forwards to AWS. Read the mesh \
             stream from AWS: leave AWS_ENDPOINT_URL_KINESIS unset for consumers."
        ))
    })
}

fn start_of<'a>(kind: &str, sequence: Option<&'a str>, timestamp: Option<EpochMillis>) -> Result<ReadFrom<'a>, Fault> {
    let sequence = || {
        let number = sequence.ok_or_else(|| Fault::invalid("This ShardIteratorType needs StartingSequenceNumber."))?;
        if put::is_synthetic(number) {
            return Err(Fault::invalid(
                "StartingSequenceNumber was given to a record that is on no stream: it was quarantined or dropped. Start \
                 from a forwarded record, or AT_TIMESTAMP.",
            ));
        }
        if number.is_empty() || !number.bytes().all(|b| b.is_ascii_digit()) {
            return Err(Fault::constraint(
                "startingSequenceNumber",
                r"Member must satisfy regular expression pattern: 0|([1-9]\d{0,128})",
            ));
        }
        Ok(number)
    };
    match kind {
        "TRIM_HORIZON" => Ok(ReadFrom::TrimHorizon),
        "LATEST" => Ok(ReadFrom::Latest),
        "AT_SEQUENCE_NUMBER" => Ok(ReadFrom::AtSequence(sequence()?)),
        "AFTER_SEQUENCE_NUMBER" => Ok(ReadFrom::AfterSequence(sequence()?)),
        "AT_TIMESTAMP" => timestamp
            .map(|at| ReadFrom::AtTimestamp(at.0))
            .ok_or_else(|| Fault::invalid("This ShardIteratorType needs Timestamp.")),
        _ => Err(Fault::constraint(
            "shardIteratorType",
            "Member must satisfy enum value set: [AFTER_SEQUENCE_NUMBER, LATEST, AT_TIMESTAMP, AT_SEQUENCE_NUMBER, \
             TRIM_HORIZON]",
        )),
    }
}

fn limit(asked: Option<i64>) -> Result<usize, Fault> {
    let limit = asked.unwrap_or(RECORDS_MAX);
    if limit < 1 {
        return Err(Fault::constraint("limit", "Member must have value greater than or equal to 1"));
    }
    if limit > RECORDS_MAX {
        return Err(Fault::constraint("limit", "Member must have value less than or equal to 10000"));
    }
    usize::try_from(limit).map_err(|_| Fault::internal("a limit does not fit this machine"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Timestamp;

    #[test]
    fn each_iterator_type_needs_what_it_says() {
        let at = Some(EpochMillis(Timestamp::from_millis(5)));
        assert_eq!(start_of("TRIM_HORIZON", None, None), Ok(ReadFrom::TrimHorizon));
        assert_eq!(start_of("LATEST", Some("9"), at), Ok(ReadFrom::Latest));
        assert_eq!(start_of("AT_SEQUENCE_NUMBER", Some("9"), None), Ok(ReadFrom::AtSequence("9")));
        assert_eq!(start_of("AFTER_SEQUENCE_NUMBER", Some("9"), None), Ok(ReadFrom::AfterSequence("9")));
        assert_eq!(start_of("AT_TIMESTAMP", None, at), Ok(ReadFrom::AtTimestamp(Timestamp::from_millis(5))));
        for (kind, sequence) in [("AT_SEQUENCE_NUMBER", None), ("AT_TIMESTAMP", None), ("at_timestamp", None)] {
            assert!(start_of(kind, sequence, None).is_err(), "{kind}");
        }
        let ours = format!("7{}", "1".repeat(39));
        assert!(start_of("AFTER_SEQUENCE_NUMBER", Some(&ours), None).unwrap_err().message.contains("no stream"));
        assert!(start_of("AT_SEQUENCE_NUMBER", Some("x"), None).is_err());
    }
}
