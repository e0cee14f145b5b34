//! The store as a mesh sink and a dead-letter sink: validation before the queue, answers after the commit.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::sequence::sequence_number;
use super::streams::is_stream_name;
use super::writer::{Job, Row, Work};
use super::{QUEUE_BYTES_MAX, Store, StoreError};
use crate::model::{DeadLetter, HashKey, Placement, Record, Trouble, Unsettled};
use crate::port::{BoxFuture, CallLimits, CatalogError, DeadLetterSink, MeshSink, QueueDepth};

/// Characters of a partition key (Kinesis API reference, `PartitionKey`).
const PARTITION_KEY_CHARS_MAX: usize = 256;

/// One call is one job, so a call is never larger than the queue.
const CALL_LIMITS: CallLimits = CallLimits { entries: 5_000, bytes: QUEUE_BYTES_MAX };

impl Store {
    /// Creates the stream if it is missing, so that it can be described before anything is put on it.
    /// [`CatalogError::InvalidArgument`] for what is no stream name, or one stream too many.
    pub async fn ensure_stream(&self, name: &str) -> Result<(), CatalogError> {
        if self.streams.get(name).is_some() {
            return Ok(());
        }
        if !is_stream_name(name) {
            return Err(CatalogError::InvalidArgument(no_stream_name().message));
        }
        match self.put_rows(name, Vec::new(), 0).await {
            Ok(_) => Ok(()),
            Err(why) if why.trouble == Trouble::Rejected => Err(CatalogError::InvalidArgument(why.message)),
            Err(why) => Err(CatalogError::Unavailable(why.message)),
        }
    }

    /// The placements of the rows, in their order, once they are on disk.
    async fn put_rows(&self, stream: &str, rows: Vec<Row>, bytes: usize) -> Result<Vec<Placement>, Unsettled> {
        let keys: Vec<HashKey> = rows.iter().map(|row| row.hash_key).collect();
        let (answer, landed) = oneshot::channel();
        self.enqueue(Work::Put { stream: stream.to_owned(), rows, answer }, bytes).await?;
        let landed = landed.await.map_err(|_| stopped())??;
        let placement = |(key, id)| Placement {
            shard_id: Arc::clone(&landed.stream.shards()[landed.stream.shard_of(key) as usize].id),
            sequence_number: sequence_number(id),
        };
        Ok(keys.into_iter().zip(landed.first_id..).map(placement).collect())
    }

    /// Waits for room in the queue. Nothing is queued when the future is dropped while it waits.
    pub(super) async fn enqueue(&self, work: Work, bytes: usize) -> Result<(), Unsettled> {
        // A single call larger than the queue (the limits are the caller's to keep) takes all of it.
        let room = u32::try_from(bytes.clamp(1, QUEUE_BYTES_MAX)).map_err(|_| stopped())?;
        let room = Arc::clone(&self.room).acquire_many_owned(room).await.map_err(|_| stopped())?;
        let jobs = self.jobs.as_ref().ok_or_else(stopped)?;
        jobs.send(Job { work, bytes, room }).await.map_err(|_| stopped())
    }

    /// Checks one record, so that it cannot fail the group it will be committed with.
    fn row(&self, record: &Record) -> Result<Row, Unsettled> {
        let partition_key = record.partition_key.clone().unwrap_or_default();
        if partition_key.chars().count() > PARTITION_KEY_CHARS_MAX {
            return Err(rejected(format!("its partition key is longer than {PARTITION_KEY_CHARS_MAX} characters")));
        }
        let size_max = self.options.max_record_size_kib as usize * 1_024;
        let size = record.data.len() + partition_key.len();
        if size > size_max {
            return Err(rejected(format!("its {size} bytes of data and partition key exceed the limit of {size_max}")));
        }
        let hash_key = match &record.explicit_hash_key {
            None => HashKey::of_partition_key(&partition_key),
            Some(text) => HashKey::parse_explicit(text)
                .ok_or_else(|| rejected("its explicit hash key is not a decimal number of 128 bits".to_owned()))?,
        };
        Ok(Row { hash_key, arrived: record.arrived, partition_key, data: record.data.clone() })
    }
}

impl MeshSink for Store {
    fn call_limits(&self) -> CallLimits {
        CALL_LIMITS
    }

    fn put<'a>(
        &'a self,
        stream: &'a str,
        records: &'a [&'a Record],
    ) -> BoxFuture<'a, Vec<Result<Placement, Unsettled>>> {
        Box::pin(async move {
            if !is_stream_name(stream) {
                return vec![Err(no_stream_name()); records.len()];
            }
            let mut rows = Vec::with_capacity(records.len());
            // Of each record: whether it goes into the job, or why not.
            let checked: Vec<Result<(), Unsettled>> =
                records.iter().map(|record| self.row(record).map(|row| rows.push(row))).collect();
            if rows.is_empty() {
                return checked.into_iter().filter_map(Result::err).map(Err).collect();
            }
            let bytes = rows.iter().map(|row| row.data.len() + row.partition_key.len()).sum();
            let mut placements = match self.put_rows(stream, rows, bytes).await {
                Ok(placements) => placements.into_iter(),
                Err(why) => return checked.into_iter().map(|c| Err(c.err().unwrap_or_else(|| why.clone()))).collect(),
            };
            checked.into_iter().map(|c| c.and_then(|()| placements.next().ok_or_else(stopped))).collect()
        })
    }
}

impl DeadLetterSink for Store {
    fn call_limits(&self) -> CallLimits {
        CALL_LIMITS
    }

    /// Bytes of the text that is stored.
    fn size_of(&self, letter: &DeadLetter) -> usize {
        letter.id.len()
            + letter.body.len()
            + letter.stream.len()
            + letter.domain.len()
            + letter.contract.len()
            + letter.rule.len()
            + letter.kind.len()
    }

    fn depth<'a>(&'a self, queue: &'a str) -> BoxFuture<'a, Result<Option<QueueDepth>, Unsettled>> {
        let name = queue.to_owned();
        Box::pin(async move {
            let asked = self.query(move |reader| reader.queue_depth(&name)).await;
            let unasked = |error: StoreError| Unsettled { trouble: Trouble::Unavailable, message: error.to_string() };
            asked.map(|(letters, oldest)| Some(QueueDepth { letters, oldest })).map_err(unasked)
        })
    }

    fn send<'a>(&'a self, queue: &'a str, letters: &'a [&'a DeadLetter]) -> BoxFuture<'a, Vec<Result<(), Unsettled>>> {
        Box::pin(async move {
            if letters.is_empty() {
                return Vec::new();
            }
            let bytes = letters.iter().map(|letter| self.size_of(letter)).sum();
            let owned = letters.iter().map(|&letter| letter.clone()).collect();
            let (answer, stored) = oneshot::channel();
            let sent = async {
                self.enqueue(Work::Send { queue: queue.to_owned(), letters: owned, answer }, bytes).await?;
                stored.await.map_err(|_| stopped())?
            };
            vec![sent.await; letters.len()]
        })
    }
}

fn rejected(reason: String) -> Unsettled {
    let message = format!("the gate's local store does not take this record: {reason}; the producer must change it");
    Unsettled { trouble: Trouble::Rejected, message }
}

fn no_stream_name() -> Unsettled {
    Unsettled {
        trouble: Trouble::Rejected,
        message: "a stream's name is 1 to 128 letters, digits, '_', '.' and '-'; nothing is stored under another; \
                  change the route or the contract that names this one"
            .to_owned(),
    }
}

pub(super) fn stopped() -> Unsettled {
    Unsettled {
        trouble: Trouble::Unavailable,
        message: "the gate's local store has stopped writing; this call may or may not be stored, what was \
                  acknowledged is; retry, and have the gate's operator restart it"
            .to_owned(),
    }
}
