//! Enhanced fan-out: the events of one `SubscribeToShard`, which Kinesis sends for at most 5 minutes.

use std::time::Duration;

use aws_sdk_kinesis::error::ProvideErrorMetadata;
use aws_sdk_kinesis::primitives::event_stream::EventReceiver;
use aws_sdk_kinesis::types::error::SubscribeToShardEventStreamError as StreamError;
use aws_sdk_kinesis::types::{SubscribeToShardEvent, SubscribeToShardEventStream};

use super::{children_of, read_error, record_of, target};
use crate::aws::Fault;
use crate::port::{BoxFuture, ReadError, ShardBatch, Subscription};

/// Kinesis sends an event every few seconds, an empty one where there is no record: after this time without any, the connection is
/// taken for dead.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// One subscription under way. Dropping it ends it; Kinesis may take some seconds to notice, in which it refuses another.
pub(super) struct ShardEvents {
    stream: String,
    events: EventReceiver<SubscribeToShardEventStream, StreamError>,
}

impl ShardEvents {
    pub(super) fn new(stream: &str, events: EventReceiver<SubscribeToShardEventStream, StreamError>) -> Self {
        Self { stream: stream.to_owned(), events }
    }

    async fn receive(&mut self) -> Result<Option<ShardBatch>, ReadError> {
        loop {
            let Ok(received) = tokio::time::timeout(SILENCE_MAX, self.events.recv()).await else {
                let message = format!(
                    "{}: the subscription has sent nothing for {} seconds; subscribe again where the last batch ended",
                    target(&self.stream),
                    SILENCE_MAX.as_secs()
                );
                return Err(ReadError::Unavailable(message));
            };
            let event = received.map_err(|error| read_error(&self.stream, &Fault::of_events(&error, code_of)))?;
            match event {
                Some(SubscribeToShardEventStream::SubscribeToShardEvent(event)) => {
                    return batch_of(&self.stream, event).map(Some);
                }
                // A kind of event that came after this was written.
                Some(_) => {}
                None => return Ok(None),
            }
        }
    }
}

impl Subscription for ShardEvents {
    fn next(&mut self) -> BoxFuture<'_, Result<Option<ShardBatch>, ReadError>> {
        Box::pin(self.receive())
    }
}

fn batch_of(stream: &str, event: SubscribeToShardEvent) -> Result<ShardBatch, ReadError> {
    let children = children_of(stream, event.child_shards)?;
    // At the end of a closed shard children come, and no number, which the SDK gives as an empty text.
    let next = Some(event.continuation_sequence_number).filter(|number| !number.is_empty() && children.is_empty());
    Ok(ShardBatch {
        records: event.records.into_iter().map(record_of).collect(),
        next,
        children,
        millis_behind_latest: event.millis_behind_latest,
    })
}

/// The error's name: where it comes as an event, the SDK has it as a variant only.
fn code_of(error: &StreamError) -> Option<&str> {
    Some(match error {
        StreamError::ResourceNotFoundException(_) => "ResourceNotFoundException",
        StreamError::ResourceInUseException(_) => "ResourceInUseException",
        StreamError::KmsDisabledException(_) => "KMSDisabledException",
        StreamError::KmsInvalidStateException(_) => "KMSInvalidStateException",
        StreamError::KmsAccessDeniedException(_) => "KMSAccessDeniedException",
        StreamError::KmsNotFoundException(_) => "KMSNotFoundException",
        StreamError::KmsOptInRequired(_) => "KMSOptInRequired",
        StreamError::KmsThrottlingException(_) => "KMSThrottlingException",
        StreamError::InternalFailureException(_) => "InternalFailureException",
        other => return other.code(),
    })
}
