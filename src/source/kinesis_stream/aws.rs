//! Shards of a Kinesis stream: polled with `GetRecords`, or sent by `SubscribeToShard` (enhanced fan-out, in [`events`]).
//!
//! One attempt a call; who reads decides what is asked again, and how often. Records are as they were put: containers of the
//! Kinesis Producer Library are not opened here.
//!
//! Source: Kinesis API reference (`ListShards`, `GetShardIterator`, `GetRecords`, `RegisterStreamConsumer`,
//! `DescribeStreamConsumer`, `SubscribeToShard`).

mod events;

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::config::http::HttpResponse;
use aws_sdk_kinesis::config::{Config, StalledStreamProtectionConfig};
use aws_sdk_kinesis::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_kinesis::primitives::DateTime;
use aws_sdk_kinesis::types::{self, ConsumerStatus, ShardIteratorType, StartingPosition};

use self::events::ShardEvents;
use crate::aws::{Fault, hash_key_range, shards};
use crate::model::{Shard, Timestamp, Trouble};
use crate::port::{BoxFuture, ChildShard, ReadError, ReadFrom, ShardBatch, ShardReader, ShardRecord, Subscription};

/// The most that `GetRecords` takes as its limit.
const CALL_RECORDS_MAX: usize = 10_000;

/// A consumer that was just registered is active within seconds. `DescribeStreamConsumer` may be asked 20 times a second.
const CONSUMER_POLL: Duration = Duration::from_millis(500);
const CONSUMER_POLLS_MAX: u32 = 60;

/// Until a subscription's head has come, where the client itself has no limit.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// Reads the shards of Kinesis streams.
#[derive(Debug)]
pub struct KinesisReader {
    client: Client,
    call_timeout: Duration,
    /// ARNs of consumers that were seen active, by stream and what the settings call them: no more than these name.
    consumers: Mutex<HashMap<(String, String), String>>,
}

impl KinesisReader {
    pub fn new(client: Client) -> Self {
        let call_timeout = client.config().timeout_config().and_then(|timeouts| timeouts.operation_timeout());
        Self { client, call_timeout: call_timeout.unwrap_or(CALL_TIMEOUT), consumers: Mutex::default() }
    }

    async fn get_records(&self, stream: &str, iterator: &str, limit: usize) -> Result<ShardBatch, ReadError> {
        let limit = i32::try_from(limit.clamp(1, CALL_RECORDS_MAX)).unwrap_or(i32::MAX);
        let sent = self.client.get_records().shard_iterator(iterator).limit(limit).send().await;
        let answer = sent.map_err(|error| failed(stream, &error))?;
        let batch = ShardBatch {
            records: answer.records.into_iter().map(record_of).collect(),
            next: answer.next_shard_iterator,
            children: children_of(stream, answer.child_shards)?,
            millis_behind_latest: answer.millis_behind_latest.unwrap_or_default(),
        };
        Ok(batch)
    }

    /// Subscribes to the shard, and waits for the head of the answer.
    async fn subscribe_as(
        &self,
        stream: &str,
        consumer_arn: &str,
        shard: &str,
        from: ReadFrom<'_>,
    ) -> Result<ShardEvents, ReadError> {
        let call = self.client.subscribe_to_shard().consumer_arn(consumer_arn).shard_id(shard);
        let call = call.starting_position(position(stream, from)?).customize();
        // The client's time limits end with the head of an answer, so that they do not cut the stream. What does is the SDK's
        // watch over slow answers, which takes a shard without records for one; the events' own silence is bounded instead.
        let patient = Config::builder().stalled_stream_protection(StalledStreamProtectionConfig::disabled());
        // The SDK awaits the stream's first event outside of its limits.
        let sent = tokio::time::timeout(self.call_timeout, call.config_override(patient).send()).await;
        let sent = sent.map_err(|_| read_error(stream, &Fault::took_too_long()))?;
        Ok(ShardEvents::new(stream, sent.map_err(|error| failed(stream, &error))?.event_stream))
    }

    /// The ARN of a consumer that is active: registered where it is not there, and waited for.
    async fn consumer_arn(&self, stream: &str, consumer: &str) -> Result<String, ReadError> {
        let known = (stream.to_owned(), consumer.to_owned());
        if let Some(arn) = self.consumers().get(&known) {
            return Ok(arn.clone());
        }
        let is_arn = consumer.starts_with("arn:");
        let stream_arn = if is_arn { None } else { Some(self.stream_arn(stream).await?) };
        for _ in 0..CONSUMER_POLLS_MAX {
            let call = self.client.describe_stream_consumer().set_stream_arn(stream_arn.clone());
            let call = if is_arn { call.consumer_arn(consumer) } else { call.consumer_name(consumer) };
            match call.send().await.map_err(|error| Fault::of_call(&error)) {
                Ok(answer) => {
                    let described = answer.consumer_description;
                    let described = described
                        .ok_or_else(|| read_error(stream, &Fault::unreadable("no description of the consumer")))?;
                    match described.consumer_status {
                        ConsumerStatus::Active => {
                            self.consumers().insert(known, described.consumer_arn.clone());
                            return Ok(described.consumer_arn);
                        }
                        ConsumerStatus::Creating => {}
                        status => {
                            let message = format!(
                                "{}: its consumer {consumer:?} is {status}; nothing was read; retry once it is gone or active",
                                target(stream)
                            );
                            return Err(ReadError::Unavailable(message));
                        }
                    }
                }
                Err(fault)
                    if fault.is_not_found()
                        && let Some(arn) = &stream_arn =>
                {
                    self.register(stream, arn, consumer).await?;
                }
                Err(fault) => return Err(read_error(stream, &fault)),
            }
            tokio::time::sleep(CONSUMER_POLL).await;
        }
        Err(ReadError::Unavailable(format!(
            "{}: its consumer {consumer:?} is still being registered; nothing was read; retry, and look at it with \
             DescribeStreamConsumer",
            target(stream)
        )))
    }

    async fn register(&self, stream: &str, stream_arn: &str, consumer: &str) -> Result<(), ReadError> {
        let call = self.client.register_stream_consumer().stream_arn(stream_arn).consumer_name(consumer);
        match call.send().await.map_err(|error| Fault::of_call(&error)) {
            // Another gate was faster.
            Err(fault) if fault.code.as_deref() == Some("ResourceInUseException") => Ok(()),
            Err(fault) => Err(read_error(stream, &fault)),
            Ok(_) => Ok(()),
        }
    }

    async fn stream_arn(&self, stream: &str) -> Result<String, ReadError> {
        let sent = self.client.describe_stream_summary().stream_name(stream).send().await;
        let summary = sent.map_err(|error| failed(stream, &error))?.stream_description_summary;
        let summary = summary.ok_or_else(|| read_error(stream, &Fault::unreadable("no description")))?;
        Ok(summary.stream_arn)
    }

    fn consumers(&self) -> MutexGuard<'_, HashMap<(String, String), String>> {
        self.consumers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ShardReader for KinesisReader {
    fn shards<'a>(&'a self, stream: &'a str) -> BoxFuture<'a, Result<Vec<Shard>, ReadError>> {
        Box::pin(async move { shards(&self.client, stream).await.map_err(|fault| read_error(stream, &fault)) })
    }

    fn iterator<'a>(
        &'a self,
        stream: &'a str,
        shard: &'a str,
        from: ReadFrom<'a>,
    ) -> BoxFuture<'a, Result<String, ReadError>> {
        Box::pin(async move {
            let position = position(stream, from)?;
            let call = self.client.get_shard_iterator().stream_name(stream).shard_id(shard);
            let call = call.shard_iterator_type(position.r#type).set_timestamp(position.timestamp);
            let sent = call.set_starting_sequence_number(position.sequence_number).send().await;
            let iterator = sent.map_err(|error| failed(stream, &error))?.shard_iterator;
            iterator.ok_or_else(|| read_error(stream, &Fault::unreadable("no iterator")))
        })
    }

    fn records<'a>(
        &'a self,
        stream: &'a str,
        iterator: &'a str,
        limit: usize,
    ) -> BoxFuture<'a, Result<ShardBatch, ReadError>> {
        Box::pin(self.get_records(stream, iterator, limit))
    }

    fn subscribe<'a>(
        &'a self,
        stream: &'a str,
        consumer: &'a str,
        shard: &'a str,
        from: ReadFrom<'a>,
    ) -> BoxFuture<'a, Result<Box<dyn Subscription>, ReadError>> {
        Box::pin(async move {
            let arn = self.consumer_arn(stream, consumer).await?;
            let subscribed = self.subscribe_as(stream, &arn, shard, from).await;
            if let Err(ReadError::NotFound(_)) = subscribed {
                // Perhaps it is the consumer that is gone: the next attempt looks.
                self.consumers().remove(&(stream.to_owned(), consumer.to_owned()));
            }
            Ok(Box::new(subscribed?) as Box<dyn Subscription>)
        })
    }
}

/// How a stream is called in messages.
fn target(stream: &str) -> String {
    format!("Kinesis stream {stream:?}")
}

fn failed<E>(stream: &str, error: &SdkError<E, HttpResponse>) -> ReadError
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    read_error(stream, &Fault::of_call(error))
}

fn read_error(stream: &str, fault: &Fault) -> ReadError {
    let told = fault.question(&target(stream));
    match fault.trouble {
        _ if fault.code.as_deref() == Some("ExpiredIteratorException") => ReadError::ExpiredIterator,
        _ if fault.is_not_found() => ReadError::NotFound(told),
        Trouble::Throttled => ReadError::Throttled(told),
        Trouble::Unavailable | Trouble::Held => ReadError::Unavailable(told),
        Trouble::Rejected | Trouble::Invalid => ReadError::Refused(told),
    }
}

/// Where to begin, as both ways of reading take it.
fn position(stream: &str, from: ReadFrom<'_>) -> Result<StartingPosition, ReadError> {
    let (kind, sequence, timestamp) = match from {
        ReadFrom::TrimHorizon => (ShardIteratorType::TrimHorizon, None, None),
        ReadFrom::Latest => (ShardIteratorType::Latest, None, None),
        ReadFrom::AtSequence(number) => (ShardIteratorType::AtSequenceNumber, Some(number), None),
        ReadFrom::AfterSequence(number) => (ShardIteratorType::AfterSequenceNumber, Some(number), None),
        ReadFrom::AtTimestamp(time) => {
            (ShardIteratorType::AtTimestamp, None, Some(DateTime::from_millis(time.millis())))
        }
    };
    let position = StartingPosition::builder().r#type(kind).set_timestamp(timestamp);
    let position = position.set_sequence_number(sequence.map(str::to_owned)).build();
    position.map_err(|error| ReadError::Refused(format!("{}: no place to begin: {error}", target(stream))))
}

fn record_of(record: types::Record) -> ShardRecord {
    let arrived = record.approximate_arrival_timestamp.as_ref().map(millis_of);
    ShardRecord {
        sequence_number: record.sequence_number,
        data: record.data.into_inner().into(),
        partition_key: record.partition_key,
        // AWS always says; what does not is an emulator, whose records have just come.
        arrived: Timestamp::from_millis(arrived.unwrap_or_else(now)),
    }
}

/// To the nearest: Kinesis sends seconds with a fraction, of which a millisecond is often not quite one when it is read.
fn millis_of(time: &DateTime) -> i64 {
    let millis = i64::from(time.subsec_nanos().saturating_add(500_000) / 1_000_000);
    time.secs().saturating_mul(1_000).saturating_add(millis)
}

fn now() -> i64 {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX)
}

fn children_of(stream: &str, children: Option<Vec<types::ChildShard>>) -> Result<Vec<ChildShard>, ReadError> {
    let child = |child: types::ChildShard| {
        let range = hash_key_range(child.hash_key_range.as_ref())
            .ok_or_else(|| read_error(stream, &Fault::unreadable("a child shard without a decimal hash key range")))?;
        Ok(ChildShard { id: child.shard_id, parents: child.parent_shards, range })
    };
    children.unwrap_or_default().into_iter().map(child).collect()
}
