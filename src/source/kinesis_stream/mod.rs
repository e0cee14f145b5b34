//! Records of a stream that producers write to without the gate, read shard by shard: a fleet of gates shares the shards by leases.
//!
//! ```text
//! lease::worker ─▶ which shards ─▶ consumer: feed ─▶ settling ─▶ port::Intake ─▶ settled ─▶ the lease's checkpoint
//! ```
//!
//! [`Source`] does what the worker decides; a [`consumer`] is one shard at work, its [`feed`] what reads it. The far ends are behind
//! [`crate::port::ShardReader`] and [`crate::port::LeaseTable`]: [`aws`] and [`lease_table`] on AWS.

pub mod aws;
pub mod consumer;
pub mod feed;
mod lease_row;
pub mod lease_table;

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::{AbortHandle, JoinError, JoinSet};
use tokio::time::Instant;

use self::consumer::{Budget, Command, Consumer, Report, What};
use self::feed::{FeedOptions, Reading};
use super::settling::{SettlingOptions, sleep_until};
use crate::lease::{Checkpoint, Input, Lease, Output, StopReason, Swap, Worker, WorkerOptions};
use crate::metrics::Metrics;
use crate::model::Timestamp;
use crate::port::{Intake, LeaseTable, ShardReader};
use crate::trace::Tracer;

/// Reports of consumers that wait for the worker.
const REPORTS_MAX: usize = 1_024;
/// Batches of all shards that are judged and delivered at once, of 500 records mostly: with more, the far ends are only waited for in line.
const BATCHES_AT_ONCE: usize = 16;
/// How long a call of the table or a list of shards may take. After that, it is not known whether it happened.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// Between two attempts to find or make the table.
const PREPARE_WAIT: Duration = Duration::from_secs(5);
/// Between two lines of the log about a table that cannot be reached.
const COMPLAINT_INTERVAL: Duration = Duration::from_secs(30);

/// Before what came to grief by a fault of ours is begun again: a record that always does that does not keep a processor busy.
const RESTART_WAIT: Duration = Duration::from_secs(5);

/// What a source is made of.
#[derive(Clone)]
pub struct SourceOptions {
    pub stream: Arc<str>,
    pub reader: Arc<dyn ShardReader>,
    pub table: Arc<dyn LeaseTable>,
    pub intake: Arc<dyn Intake>,
    pub reading: Reading,
    /// Whether records of one partition key are settled in their order.
    pub by_key: bool,
    pub worker: WorkerOptions,
    /// Bytes read and not yet settled, all shards together.
    pub bytes_max: u32,
    pub metrics: Arc<Metrics>,
    pub tracer: Tracer,
    pub clock: fn() -> Timestamp,
    /// 0 to 1.
    pub random: fn() -> f64,
}

/// What a call came to, and what went wrong.
type Answer = (Input, Option<String>);

/// A shard at work.
struct AtWork {
    term: u64,
    commands: watch::Sender<Command>,
    task: AbortHandle,
}

/// Reads shards until what `told` makes resolves, as [`Source::run`] does, and begins again where that panics. The leases are in the name of
/// the same worker, so that it goes on with them at once.
pub async fn keep_reading<F: Future<Output = ()>>(options: SourceOptions, told: impl Fn() -> F) {
    loop {
        let source = Source::new(options.clone());
        if AssertUnwindSafe(source.run(told())).catch_unwind().await.is_ok() {
            return;
        }
        tracing::error!(
            stream = &*options.stream,
            "reading a stream failed, a fault of the gate; its shards are read again from their checkpoints"
        );
        tokio::select! {
            () = told() => return,
            () = tokio::time::sleep(RESTART_WAIT) => {}
        }
    }
}

/// One gate of a fleet that shares a stream's shards.
pub struct Source {
    options: SourceOptions,
    worker: Worker,
    budget: Budget,
    turns: Arc<Semaphore>,
    /// Calls of the table and of the stream, under way.
    calls: JoinSet<Answer>,
    consumers: JoinSet<()>,
    shards: BTreeMap<String, AtWork>,
    /// Consumers so far.
    terms: u64,
    reports: (mpsc::Sender<Report>, mpsc::Receiver<Report>),
    started: Instant,
    complained: Option<Instant>,
}

impl Source {
    pub fn new(options: SourceOptions) -> Self {
        let worker = Worker::new(options.worker.clone(), 0);
        Self {
            worker,
            budget: Budget::new(options.bytes_max),
            turns: Arc::new(Semaphore::new(BATCHES_AT_ONCE)),
            calls: JoinSet::new(),
            consumers: JoinSet::new(),
            shards: BTreeMap::new(),
            terms: 0,
            reports: mpsc::channel(REPORTS_MAX),
            started: Instant::now(),
            complained: None,
            options,
        }
    }

    /// Reads shards until `stop` resolves; then settles what is under way, checkpoints it and gives the leases up. Dropped before, it leaves
    /// all that to whoever takes the leases over.
    pub async fn run(mut self, stop: impl Future<Output = ()>) {
        let mut stop = std::pin::pin!(stop);
        if tokio::select! { biased; () = &mut stop => true, () = self.prepare() => false } {
            return;
        }
        let mut is_told = false;
        loop {
            while let Some(output) = self.worker.poll(self.now_ms()) {
                self.act(output);
            }
            self.tell();
            if self.worker.is_done() {
                return;
            }
            let wake = self.worker.wake_at().map(|ms| self.started + Duration::from_millis(ms));
            let input = tokio::select! {
                biased;
                () = &mut stop, if !is_told => {
                    is_told = true;
                    Some(Input::Shutdown)
                }
                Some(report) = self.reports.1.recv() => self.heard(report),
                Some(answered) = self.calls.join_next() => answered.ok().map(|(input, trouble)| {
                    self.complain(trouble);
                    input
                }),
                Some(ended) = self.consumers.join_next_with_id() => {
                    self.bury(ended);
                    None
                }
                () = sleep_until(wake) => None,
            };
            if let Some(input) = input {
                self.worker.handle(input, self.now_ms());
            }
        }
    }

    /// Makes the table where it is not there: without one, nothing can be read.
    async fn prepare(&mut self) {
        let table = Arc::clone(&self.options.table);
        while let Err(error) = table.prepare().await {
            self.complain(Some(error.to_string()));
            tokio::time::sleep(PREPARE_WAIT).await;
        }
    }

    /// Does what the worker decides.
    fn act(&mut self, output: Output) {
        match output {
            Output::List => {
                let table = Arc::clone(&self.options.table);
                self.calls.spawn(async move {
                    let (listed, trouble) = told(table.list()).await;
                    (Input::Listed(listed), trouble)
                });
            }
            Output::ListShards => {
                let (reader, stream) = (Arc::clone(&self.options.reader), Arc::clone(&self.options.stream));
                let clock = self.options.clock;
                self.calls.spawn(async move {
                    // Before the call: what arrives while it is answered counts.
                    let at = clock();
                    let (shards, trouble) = told(reader.shards(&stream)).await;
                    (Input::Shards { shards, at }, trouble)
                });
            }
            Output::Swap(swap) => self.swap(swap),
            Output::Start(lease) => self.start(lease, Duration::ZERO),
            Output::Stop { key: shard, why: StopReason::Lost } => {
                tracing::info!(
                    stream = &*self.options.stream,
                    shard,
                    "the lease of this shard has gone to another gate"
                );
                if let Some(at_work) = self.shards.remove(&shard) {
                    at_work.task.abort();
                }
            }
            Output::Stop { key: shard, why: StopReason::HandOver | StopReason::Shutdown } => {
                if let Some(at_work) = self.shards.get(&shard) {
                    at_work.commands.send_replace(Command::Drain);
                }
            }
        }
    }

    fn swap(&mut self, swap: Swap) {
        let table = Arc::clone(&self.options.table);
        self.calls.spawn(async move {
            let (result, trouble) = told(table.swap(&swap)).await;
            (Input::Swapped { key: swap.key().to_owned(), result }, trouble)
        });
    }

    fn start(&mut self, mut lease: Lease, after: Duration) {
        self.terms += 1;
        let (term, options) = (self.terms, &self.options);
        if lease.checkpoint == Checkpoint::Latest {
            // A row of the KCL's has no moment. Asked for anew, an iterator at the tip would skip what came since the first one.
            lease.starts_at.get_or_insert_with(options.clock);
        }
        let shard: Arc<str> = lease.key.as_str().into();
        tracing::info!(stream = &*options.stream, shard = &*shard, "this gate reads the shard");
        let commands = watch::Sender::new(Command::Read);
        let consumer = Consumer {
            feed: FeedOptions {
                reader: Arc::clone(&options.reader),
                stream: Arc::clone(&options.stream),
                shard: Arc::clone(&shard),
                reading: options.reading.clone(),
                metrics: Arc::clone(&options.metrics),
                random: options.random,
            },
            settling: SettlingOptions {
                intake: Arc::clone(&options.intake),
                stream: Arc::clone(&options.stream),
                shard,
                by_key: options.by_key,
                is_taken_apart: false,
                metrics: Arc::clone(&options.metrics),
                tracer: options.tracer.clone(),
                turns: Arc::clone(&self.turns),
                random: options.random,
            },
            budget: self.budget.clone(),
            commands: commands.subscribe(),
            reports: self.reports.0.clone(),
            lease,
            term,
        };
        let shard = consumer.lease.key.clone();
        let task = self.consumers.spawn(async move {
            tokio::time::sleep(after).await;
            consumer.run().await;
        });
        if let Some(before) = self.shards.insert(shard, AtWork { term, commands, task }) {
            before.task.abort();
        }
    }

    /// A consumer has ended: after its last report, told to, or by a fault of ours, and then it begins again.
    fn bury(&mut self, ended: Result<(tokio::task::Id, ()), JoinError>) {
        let (id, has_failed) = match &ended {
            Ok((id, ())) => (*id, false),
            Err(error) => (error.id(), error.is_panic()),
        };
        let shard = self.shards.iter().find(|(_, at_work)| at_work.task.id() == id).map(|(shard, _)| shard.clone());
        let Some(shard) = shard else { return };
        let was_told = self.shards.remove(&shard).map(|at_work| *at_work.commands.borrow());
        if has_failed {
            tracing::error!(
                stream = &*self.options.stream,
                shard,
                "reading a shard failed, a fault of the gate; it is read again from its checkpoint"
            );
            let lease = self.worker.held().find(|lease| lease.key == shard).cloned();
            if let Some(lease) = lease {
                self.start(lease, RESTART_WAIT);
            }
            if let (Some(Command::Drain), Some(at_work)) = (was_told, self.shards.get(&shard)) {
                // It is not told a second time, and the lease waits for it.
                at_work.commands.send_replace(Command::Drain);
            }
        }
    }

    /// What a report tells the worker. One of a consumer that was dropped, because its lease is another gate's, tells nothing.
    fn heard(&self, Report { shard: key, term, what }: Report) -> Option<Input> {
        self.shards.get(&key).filter(|at_work| at_work.term == term)?;
        Some(match what {
            What::Settled(place) => Input::Settled { key, place },
            What::Ended(children) => Input::Ended { key, children },
            What::Stopped => Input::Stopped { key },
        })
    }

    fn tell(&self) {
        let gauge = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        let (metrics, stream) = (&self.options.metrics, &[&*self.options.stream]);
        metrics.shards_held.with_label_values(stream).set(gauge(self.shards.len()));
        metrics.shards_unread.with_label_values(stream).set(gauge(self.worker.unread()));
    }

    /// One line in a while: when the table is away, it is so for each lease.
    fn complain(&mut self, trouble: Option<String>) {
        let Some(trouble) = trouble else { return };
        if self.complained.is_none_or(|last| last.elapsed() >= COMPLAINT_INTERVAL) {
            self.complained = Some(Instant::now());
            tracing::warn!(
                stream = &*self.options.stream,
                trouble,
                "leases cannot be kept up; shards whose lease cannot be renewed are given up, and nothing of them is lost"
            );
        }
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        let (metrics, stream) = (&self.options.metrics, &[&*self.options.stream]);
        drop(metrics.shards_held.remove_label_values(stream));
        drop(metrics.shards_unread.remove_label_values(stream));
    }
}

/// What the worker is told, and what the log is. The worker is told something in any case, also where a call panics: it waits for it.
async fn told<T, E, F>(call: F) -> (Result<T, ()>, Option<String>)
where
    T: Send + 'static,
    E: ToString + Send + 'static,
    F: Future<Output = Result<T, E>> + Send,
{
    let call = AssertUnwindSafe(call).catch_unwind();
    match tokio::time::timeout(CALL_TIMEOUT, call).await {
        Ok(Ok(Ok(value))) => (Ok(value), None),
        Ok(Ok(Err(error))) => (Err(()), Some(error.to_string())),
        Ok(Err(_)) => (Err(()), Some("the call panicked, a fault of the gate".into())),
        Err(_) => (Err(()), Some(format!("no answer within {} s", CALL_TIMEOUT.as_secs()))),
    }
}
