//! Standard output as a mesh stream: one event a line, byte for byte, in order.
//!
//! A pipe has no answer to a write but success, and a write that failed or was given up halfway may have left half a line.
//! So the first failure is the last: from then on every record is refused, and nothing is written behind the torn line.

use std::io;
use std::sync::Arc;

use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio::sync::Mutex;

use crate::model::{
    DeadLetter, Distribution, HashKey, HashKeyRange, Placement, Record, Shard, StreamDescription, StreamMode,
    Timestamp, Trouble, Unsettled,
};
use crate::port::{BoxFuture, CallLimits, Catalog, CatalogError, DeadLetterSink, MeshSink, StreamReader};

/// What one call takes: the source's own batches.
const ENTRIES: usize = 500;
const BYTES: usize = 32 * 1024 * 1024;

/// Writes each record's data and a newline. A record counts as durable once the writer is flushed.
pub struct PipeSink<W> {
    pipe: Mutex<Pipe<W>>,
    shard: Arc<str>,
}

struct Pipe<W> {
    writer: W,
    /// Records written so far: their sequence numbers.
    written: u64,
    /// Set while a write is under way and for ever after one that did not end well.
    torn: bool,
    buffer: Vec<u8>,
}

impl<W: AsyncWrite + Unpin + Send> PipeSink<W> {
    pub fn new(writer: W) -> Self {
        let pipe = Pipe { writer, written: 0, torn: false, buffer: Vec::new() };
        Self { pipe: Mutex::new(pipe), shard: "stdout".into() }
    }
}

impl<W: AsyncWrite + Unpin + Send> Pipe<W> {
    /// Writes a batch whole. Dropped midway, the pipe is torn.
    async fn write(&mut self, records: &[&Record]) -> Result<(), Unsettled> {
        if self.torn {
            return Err(refused("an earlier write to the output failed or was cut short, and nothing may follow it"));
        }
        self.torn = true;
        self.buffer.clear();
        for record in records {
            self.buffer.extend_from_slice(&record.data);
            self.buffer.push(b'\n');
        }
        let written: io::Result<()> = async {
            self.writer.write_all(&self.buffer).await?;
            self.writer.flush().await
        }
        .await;
        match written {
            Ok(()) => {
                self.torn = false;
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                Err(refused("whoever reads the output has gone"))
            }
            Err(error) => Err(refused(&format!("the output could not be written: {error}"))),
        }
    }
}

fn refused(what: &str) -> Unsettled {
    let message = format!("{what}; some events of this batch may have been written, all are to be sent again.");
    Unsettled { trouble: Trouble::Rejected, message }
}

impl<W: AsyncWrite + Unpin + Send> MeshSink for PipeSink<W> {
    fn call_limits(&self) -> CallLimits {
        CallLimits { entries: ENTRIES, bytes: BYTES }
    }

    fn put<'a>(
        &'a self,
        _stream: &'a str,
        records: &'a [&'a Record],
    ) -> BoxFuture<'a, Vec<Result<Placement, Unsettled>>> {
        Box::pin(async move {
            let mut pipe = self.pipe.lock().await;
            if let Err(unsettled) = pipe.write(records).await {
                return vec![Err(unsettled); records.len()];
            }
            let placed = records.iter().map(|_| {
                pipe.written += 1;
                Ok(Placement { shard_id: Arc::clone(&self.shard), sequence_number: pipe.written.to_string() })
            });
            placed.collect()
        })
    }
}

impl<W: AsyncWrite + Unpin + Send> Catalog for PipeSink<W> {
    fn list_streams<'a>(&'a self) -> BoxFuture<'a, Result<Vec<String>, CatalogError>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    /// A pipe passes for any stream, with one shard and the widest record limit that Kinesis has.
    fn describe<'a>(&'a self, stream: &'a str) -> BoxFuture<'a, Result<StreamDescription, CatalogError>> {
        let shard = Shard {
            id: Arc::clone(&self.shard),
            parent: None,
            adjacent_parent: None,
            range: HashKeyRange { start: HashKey(0), end: HashKey(u128::MAX) },
            starting_sequence_number: "0".into(),
            ending_sequence_number: None,
        };
        let description = StreamDescription {
            name: stream.to_owned(),
            arn: String::new(),
            status: "ACTIVE".into(),
            mode: StreamMode::Provisioned,
            // A line is one event.
            distribution: Distribution::Auto,
            retention_hours: 0,
            created: Timestamp::default(),
            encryption: "NONE".into(),
            key_id: None,
            consumer_count: 0,
            max_record_size_kib: 10_240,
            shards: vec![shard],
        };
        Box::pin(async { Ok(description) })
    }

    fn reader(&self) -> Option<&dyn StreamReader> {
        None
    }
}

/// A pipe's dead-letter queue is its input: whoever wrote it still has each event, and the verdict line says which it is.
pub struct Unkept;

impl DeadLetterSink for Unkept {
    fn call_limits(&self) -> CallLimits {
        CallLimits { entries: ENTRIES, bytes: usize::MAX }
    }

    fn size_of(&self, letter: &DeadLetter) -> usize {
        letter.body.len()
    }

    fn send<'a>(&'a self, _queue: &'a str, letters: &'a [&'a DeadLetter]) -> BoxFuture<'a, Vec<Result<(), Unsettled>>> {
        Box::pin(async { vec![Ok(()); letters.len()] })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::AsyncReadExt as _;
    use tokio::time::timeout;

    use super::*;

    fn record(data: &'static str) -> Record {
        Record::new(data, "events".into(), Timestamp::default())
    }

    #[tokio::test]
    async fn events_leave_byte_for_byte_with_a_newline_each() {
        let (writer, mut reader) = tokio::io::duplex(1024);
        let sink = PipeSink::new(writer);
        let (a, b) = (record("{\"a\": 1}\r"), record("2"));
        let placed = sink.put("events", &[&a, &b]).await;
        assert_eq!(placed[1].as_ref().unwrap().sequence_number, "2");
        drop(sink);
        let mut out = String::new();
        reader.read_to_string(&mut out).await.unwrap();
        assert_eq!(out, "{\"a\": 1}\r\n2\n");
    }

    #[tokio::test]
    async fn a_broken_pipe_refuses_this_batch_and_all_after_it() {
        let (writer, reader) = tokio::io::duplex(1);
        drop(reader);
        let sink = PipeSink::new(writer);
        let a = record("a");
        for expected in ["whoever reads", "an earlier write"] {
            let unsettled = sink.put("events", &[&a]).await.remove(0).unwrap_err();
            assert_eq!(unsettled.trouble, Trouble::Rejected);
            assert!(unsettled.message.starts_with(expected), "{}", unsettled.message);
        }
    }

    #[tokio::test]
    async fn nothing_follows_a_write_that_was_given_up_halfway() {
        let (writer, mut reader) = tokio::io::duplex(4);
        let sink = PipeSink::new(writer);
        let (long, next) = (record("too long for the pipe"), record("next"));
        assert!(timeout(Duration::from_millis(20), sink.put("events", &[&long])).await.is_err());
        assert!(sink.put("events", &[&next]).await[0].is_err());
        drop(sink);
        let mut out = String::new();
        reader.read_to_string(&mut out).await.unwrap();
        assert_eq!(out, "too ");
    }
}
