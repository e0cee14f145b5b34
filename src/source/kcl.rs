//! A record processor for Amazon's KCL: its MultiLangDaemon does leases, resharding and checkpoints in DynamoDB, starts one process
//! a shard, and talks to it in JSON lines.
//!
//! ```text
//! daemon ─▶ initialize ─▶ processRecords … ─▶ leaseLost | shardEnded | shutdownRequested
//!        ◀─ status         ◀─ checkpoint, status    ◀─ (checkpoint,) status
//! ```
//!
//! A batch is answered when each of its records is settled (`source::settling`): on the mesh stream, in the dead-letter queue, or dropped by a rule. Where a
//! far end is down, the shard waits, and says so; nothing is skipped. A checkpoint is asked for only then, so that whatever ends the process
//! brings the records after the last one again.

mod message;

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::Semaphore;

use self::message::{Message, Reply};
use crate::metrics::Metrics;
use crate::model::{Record, Timestamp};
use crate::port::{Intake, IntakeError};
use crate::source::settling::{Settling, SettlingOptions};
use crate::trace::Tracer;

/// The longest message, in bytes: GetRecords gives at most 10 MiB or 10,000 records, in base64, and the KCL may merge some.
const MESSAGE_BYTES_MAX: u64 = 128 * 1024 * 1024;

/// Between two attempts to checkpoint: doubled from the first to the last, and then by a random part of it.
const WAIT: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));

/// Batches that are judged and delivered at once.
const BATCHES_AT_ONCE: usize = 4;

/// How often a checkpoint is asked for again, when the daemon could not write it.
const CHECKPOINT_ATTEMPTS: u32 = 5;

/// What a processor is made of.
pub struct Options {
    pub intake: Arc<dyn Intake>,
    /// The stream the daemon reads.
    pub stream: Arc<str>,
    /// Between two checkpoints, beside those at the end.
    pub checkpoint_every: Duration,
    /// Whether records of one partition key are settled in their order.
    pub by_key: bool,
    pub metrics: Arc<Metrics>,
    pub tracer: Tracer,
    pub clock: fn() -> Timestamp,
    /// 0 to 1.
    pub random: fn() -> f64,
}

impl Options {
    fn settling(&self, shard: &Arc<str>) -> SettlingOptions {
        SettlingOptions {
            intake: Arc::clone(&self.intake),
            stream: Arc::clone(&self.stream),
            shard: Arc::clone(shard),
            by_key: self.by_key,
            is_taken_apart: true,
            metrics: Arc::clone(&self.metrics),
            tracer: self.tracer.clone(),
            turns: Arc::new(Semaphore::new(BATCHES_AT_ONCE)),
            random: self.random,
        }
    }
}

/// Why the processor ended before the daemon did. What it had not checkpointed comes again.
#[derive(Debug, thiserror::Error)]
pub enum KclError {
    #[error("the daemon cannot be read: {0}")]
    Read(io::Error),
    #[error("the daemon cannot be written to: {0}")]
    Write(io::Error),
    #[error("the daemon's message is longer than {MESSAGE_BYTES_MAX} bytes")]
    TooLong,
    #[error("the daemon's message cannot be read: {0}; nothing of it was taken")]
    Message(String),
    #[error("the daemon's records cannot be read: record {0} is not in base64; nothing of its batch was taken")]
    Data(String),
    #[error("{0}")]
    Intake(#[from] IntakeError),
}

/// Follows the daemon until it closes its end.
///
/// # Errors
///
/// When the daemon's messages cannot be read or answered, or no route or contract covers the stream.
pub async fn run<R, W>(reader: R, writer: W, options: Options) -> Result<(), KclError>
where
    R: AsyncBufRead + Unpin,
    W: AsyncWrite + Unpin,
{
    if options.intake.mesh_stream(&options.stream).is_none() {
        return Err(IntakeError::UnknownStream { stream: options.stream.to_string() }.into());
    }
    let daemon = Daemon { reader, writer, line: Vec::new() };
    let (shard, checkpointed) = ("".into(), Instant::now());
    Processor { daemon, options, shard, settled: None, settling: None, checkpointed }.follow().await
}

/// The two ends of the daemon.
struct Daemon<R, W> {
    reader: R,
    writer: W,
    line: Vec<u8>,
}

/// A place in a shard, as the daemon names it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    sequence: String,
    sub_sequence: Option<u64>,
}

struct Processor<R, W> {
    daemon: Daemon<R, W>,
    options: Options,
    shard: Arc<str>,
    /// The last settled record that no checkpoint covers.
    settled: Option<Place>,
    /// From the first records of a lease on.
    settling: Option<Settling>,
    checkpointed: Instant,
}

/// What to do after a message.
enum Next {
    Records(Vec<Record>, Option<Place>),
    /// A last checkpoint of all there has been.
    Finish,
    Nothing,
}

impl<R: AsyncBufRead + Unpin, W: AsyncWrite + Unpin> Daemon<R, W> {
    /// The next line; `false` at the end.
    async fn read(&mut self) -> Result<bool, KclError> {
        self.line.clear();
        // A large batch is not kept for ever.
        self.line.shrink_to(1024 * 1024);
        let mut bounded = (&mut self.reader).take(MESSAGE_BYTES_MAX);
        let length = bounded.read_until(b'\n', &mut self.line).await.map_err(KclError::Read)?;
        if length as u64 == MESSAGE_BYTES_MAX && !self.line.ends_with(b"\n") {
            return Err(KclError::TooLong);
        }
        Ok(length > 0)
    }

    fn message(&self) -> Result<Message<'_>, KclError> {
        // The message may hold records, of which an error must tell nothing.
        serde_json::from_slice(&self.line)
            .map_err(|error| KclError::Message(format!("it is no JSON of a known form at column {}", error.column())))
    }

    /// A line of its own, with a line before it too: what others wrote to the same end does not run into it.
    async fn say(&mut self, reply: &Reply<'_>) -> Result<(), KclError> {
        let mut line = serde_json::to_vec(reply).map_err(|error| KclError::Message(error.to_string()))?;
        line.insert(0, b'\n');
        line.push(b'\n');
        self.writer.write_all(&line).await.map_err(KclError::Write)?;
        self.writer.flush().await.map_err(KclError::Write)
    }
}

impl<R: AsyncBufRead + Unpin, W: AsyncWrite + Unpin> Processor<R, W> {
    async fn follow(mut self) -> Result<(), KclError> {
        while self.daemon.read().await? {
            if self.daemon.line.trim_ascii().is_empty() {
                continue;
            }
            let message = self.daemon.message()?;
            let action = message.action.clone().into_owned();
            let next = take_in(message, &mut self.shard, &self.options)?;
            match next {
                Next::Records(records, last) => {
                    self.settle(records).await;
                    self.settled = last.or(self.settled.take());
                    if self.checkpointed.elapsed() >= self.options.checkpoint_every {
                        self.checkpoint().await?;
                    }
                }
                Next::Finish => {
                    self.settled = None;
                    self.ask_for_checkpoint(None).await?;
                }
                Next::Nothing => {}
            }
            self.daemon.say(&Reply::Status { response_for: &action }).await?;
        }
        Ok(())
    }

    /// Settles all records, however long a far end takes.
    async fn settle(&mut self, records: Vec<Record>) {
        let options = self.options.settling(&self.shard);
        let settling = self.settling.get_or_insert_with(|| Settling::new(options, None));
        settling.take(records);
        while !settling.is_idle() {
            settling.next().await;
        }
    }

    fn wait(&self, attempt: u32) -> Duration {
        let ceiling = WAIT.0.saturating_mul(1 << attempt.saturating_sub(1).min(16)).min(WAIT.1);
        ceiling.mul_f64((0.5 + (self.options.random)() / 2.0).clamp(0.5, 1.0))
    }

    async fn checkpoint(&mut self) -> Result<(), KclError> {
        let Some(place) = self.settled.take() else { return Ok(()) };
        self.ask_for_checkpoint(Some(place)).await
    }

    /// Asks for a checkpoint, and waits for the answer. One that cannot be written is written with a later one; without a lease,
    /// another process does.
    async fn ask_for_checkpoint(&mut self, place: Option<Place>) -> Result<(), KclError> {
        for attempt in 1..=CHECKPOINT_ATTEMPTS {
            let (sequence_number, sub_sequence_number) =
                (place.as_ref().map(|p| p.sequence.as_str()), place.as_ref().and_then(|p| p.sub_sequence));
            self.daemon.say(&Reply::Checkpoint { sequence_number, sub_sequence_number }).await?;
            let Some(error) = self.answer_to_checkpoint().await? else {
                self.checkpointed = Instant::now();
                return Ok(());
            };
            tracing::warn!(
                shard = &*self.shard,
                error,
                attempt,
                "the daemon could not checkpoint; what is settled may come again"
            );
            if error.contains("Shutdown") || error.contains("InvalidState") {
                break;
            }
            tokio::time::sleep(self.wait(attempt)).await;
        }
        // To be asked for with the next batch.
        self.settled = place.or(self.settled.take());
        Ok(())
    }

    /// The exception's name, where the checkpoint was not written.
    async fn answer_to_checkpoint(&mut self) -> Result<Option<String>, KclError> {
        while self.daemon.read().await? {
            if self.daemon.line.trim_ascii().is_empty() {
                continue;
            }
            let message = self.daemon.message()?;
            if message.action == "checkpoint" {
                return Ok(message.error);
            }
            return Err(KclError::Message(format!(
                "it says {:?} where it owes the answer to a checkpoint",
                message.action
            )));
        }
        // It has gone, and the lease with it.
        Ok(Some("ShutdownException".to_owned()))
    }
}

/// What a message asks for.
fn take_in(message: Message<'_>, shard: &mut Arc<str>, options: &Options) -> Result<Next, KclError> {
    match &*message.action {
        "initialize" => {
            *shard = message.shard_id.unwrap_or_default().into();
            let from = message.sequence_number.unwrap_or_default();
            tracing::info!(shard = &**shard, from, "the daemon gives this shard");
            Ok(Next::Nothing)
        }
        "processRecords" => {
            if let Some(millis) = message.millis_behind_latest {
                options.metrics.shard_lag.with_label_values(&[&*options.stream, &**shard]).set(millis);
            }
            let written = message.records.unwrap_or_default();
            let last = written.last().map(|record| Place {
                sequence: record.sequence_number.clone(),
                sub_sequence: record.sub_sequence_number,
            });
            let now = (options.clock)();
            let mut records = Vec::with_capacity(written.len());
            for record in written {
                let sequence = record.sequence_number.clone();
                records.push(record.into_record(&options.stream, shard, now).ok_or(KclError::Data(sequence))?);
            }
            Ok(Next::Records(records, last))
        }
        "shardEnded" | "shutdownRequested" => Ok(Next::Finish),
        "shutdown" if message.reason.as_deref() == Some("TERMINATE") => Ok(Next::Finish),
        "leaseLost" | "shutdown" => {
            tracing::info!(shard = &**shard, "the lease has gone to another process");
            Ok(Next::Nothing)
        }
        other => {
            tracing::warn!(action = other, "the daemon says what this version does not know");
            Ok(Next::Nothing)
        }
    }
}

#[cfg(test)]
mod tests;
