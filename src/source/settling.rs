//! Settles what is read of a shard, through the pipeline: what a ledger asks for, done, for as long as it takes.
//!
//! A shard's reader gives what it has read to [`Settling::take`] and follows [`Settling::next`]. Where a far end is down, the shard stands
//! still, and says so; nothing is skipped. Dropped, it leaves what is under way unsettled.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tokio::task::{Id, JoinSet};
use tokio::time::Instant;

use crate::lease::ledger::{BatchId, Input, Ledger, LedgerOptions, Output, Taken};
use crate::metrics::{Metrics, ShardShown};
use crate::model::{Place, Position, Record, Settlement};
use crate::port::{Intake, IntakeError};
use crate::trace::Tracer;

/// Between two lines of the log about a shard that stands still.
const COMPLAINT_INTERVAL: Duration = Duration::from_secs(30);

/// How long rules that do not cover the stream (any more) are waited for, before they are asked again.
const UNCOVERED_WAIT: Duration = Duration::from_secs(5);

/// Records of a shard under way or waiting, those of a container counted one by one. The last container may go beyond.
const RECORDS_MAX: usize = 5_000;

/// What a shard is settled with.
#[derive(Clone)]
pub struct SettlingOptions {
    pub intake: Arc<dyn Intake>,
    /// The stream it is a shard of.
    pub stream: Arc<str>,
    pub shard: Arc<str>,
    /// Whether records of one partition key are settled in their order.
    pub by_key: bool,
    /// Whether containers have been taken apart before: what looks like one within one has no places for its records.
    pub is_taken_apart: bool,
    /// A permit for each batch that may be under way at once, for all shards that share it.
    pub turns: Arc<Semaphore>,
    pub metrics: Arc<Metrics>,
    pub tracer: Tracer,
    /// 0 to 1.
    pub random: fn() -> f64,
}

/// What has come of it.
#[derive(Debug, PartialEq, Eq)]
pub enum Progress {
    /// All that was taken in is with the ledger: there may be room for more.
    Taken,
    /// All up to and with this place is settled.
    Settled(Place),
    /// The closed shard is settled to its end.
    Ended,
    /// Told to drain, and nothing is under way any more.
    Drained,
}

/// One shard on its way through the gate.
pub struct Settling {
    options: SettlingOptions,
    shown: ShardShown,
    ledger: Ledger,
    under_way: JoinSet<Result<Vec<bool>, IntakeError>>,
    batches: HashMap<Id, BatchId>,
    /// Why the last batch was not taken, where it was not.
    refused: Option<IntakeError>,
    /// Batches that have no turn yet are given up then.
    is_draining: watch::Sender<bool>,
    started: Instant,
    /// What an earlier reader has settled: all up to and with it.
    after: Option<Place>,
    /// Read, and not yet given to the ledger.
    untaken: VecDeque<Record>,
    /// Nothing follows them.
    is_read: bool,
    /// Since when the shard's first record fails, and when that was last said.
    stalled: Option<(Instant, Option<Instant>)>,
}

impl Settling {
    /// Begins after a place, where an earlier reader has settled all up to it.
    pub fn new(options: SettlingOptions, after: Option<Place>) -> Self {
        let ledger = Ledger::new(LedgerOptions { by_key: options.by_key, ..LedgerOptions::default() });
        Self {
            shown: ShardShown::new(&options.metrics, &options.stream, &options.shard),
            options,
            ledger,
            under_way: JoinSet::new(),
            batches: HashMap::new(),
            refused: None,
            is_draining: watch::Sender::new(false),
            started: Instant::now(),
            after,
            untaken: VecDeque::new(),
            is_read: false,
            stalled: None,
        }
    }

    /// Takes in records of the shard, in its order, each with its [`Position::InShard`].
    pub fn take(&mut self, records: impl IntoIterator<Item = Record>) {
        self.untaken.extend(records);
    }

    /// The shard is closed, and all of it has been taken in.
    pub fn end(&mut self) {
        self.is_read = true;
    }

    /// Nothing further is begun.
    pub fn drain(&mut self) {
        self.handle(Input::Drain);
        self.is_draining.send_replace(true);
    }

    /// Whether all that was taken in is settled.
    pub fn is_idle(&self) -> bool {
        self.untaken.is_empty() && self.ledger.records() == 0
    }

    /// Whether it has use for more.
    pub fn has_room(&self) -> bool {
        self.untaken.is_empty() && self.ledger.span() < RECORDS_MAX
    }

    /// The next that comes of it. May be dropped and asked again.
    pub async fn next(&mut self) -> Progress {
        loop {
            let had_untaken = !self.untaken.is_empty();
            let uncovered = self.unfold();
            if had_untaken && self.untaken.is_empty() {
                return Progress::Taken;
            }
            while let Some(output) = self.ledger.poll(self.now_ms()) {
                match output {
                    Output::Settle { batch, records } => self.begin(batch, records),
                    Output::Settled(place) => return Progress::Settled(place),
                    Output::Ended => return Progress::Ended,
                    Output::Drained => return Progress::Drained,
                }
            }
            self.complain(uncovered.as_ref().err());
            let wake = self.ledger.wake_at().map(|ms| self.started + Duration::from_millis(ms));
            let wake = if uncovered.is_err() { Some(Instant::now() + UNCOVERED_WAIT) } else { wake };
            let (batch, settled) = tokio::select! {
                biased;
                Some(answered) = self.under_way.join_next_with_id() => match answered {
                    Ok((id, settled)) => {
                        self.refused = settled.as_ref().err().cloned();
                        (self.batches.remove(&id), settled.unwrap_or_default())
                    }
                    // It came to grief on the way: none of it counts as settled.
                    Err(error) => (self.batches.remove(&error.id()), Vec::new()),
                },
                () = sleep_until(wake) => continue,
            };
            if let Some(batch) = batch {
                self.handle(Input::Answered { batch, settled, jitter: (self.options.random)() });
            }
        }
    }

    /// Gives the ledger what it has room for: a container can hold very many.
    fn unfold(&mut self) -> Result<(), IntakeError> {
        while self.ledger.span() < RECORDS_MAX
            && let Some(record) = self.untaken.front()
        {
            let mut parts = self.options.intake.unfold(&self.options.stream, record.clone())?;
            if self.options.is_taken_apart && parts.iter().any(|part| part.part_of.is_some()) {
                parts = vec![record.clone()];
            }
            let place = place_of(record);
            self.untaken.pop_front();
            let mut taken: Vec<Taken> = Vec::with_capacity(parts.len().max(1));
            if parts.is_empty() {
                taken.extend(place.map(|place| Taken { place, record: None }));
            }
            let placed = |part| place_of(&part).map(|place| Taken { place, record: Some(part) });
            taken.extend(parts.into_iter().filter_map(placed));
            taken.retain(|taken| self.after.as_ref().is_none_or(|after| taken.place > *after));
            self.handle(Input::Read(taken));
        }
        if self.is_read && self.untaken.is_empty() {
            self.handle(Input::End);
        }
        Ok(())
    }

    fn begin(&mut self, batch: BatchId, mut records: Vec<Record>) {
        let (intake, stream) = (Arc::clone(&self.options.intake), Arc::clone(&self.options.stream));
        let (turns, mut is_draining) = (Arc::clone(&self.options.turns), self.is_draining.subscribe());
        let (tracer, shard) = (self.options.tracer.clone(), Arc::clone(&self.options.shard));
        let task = self.under_way.spawn(async move {
            let _turn = tokio::select! {
                biased;
                Ok(_) = is_draining.wait_for(|is_draining| *is_draining) => return Ok(Vec::new()),
                turn = turns.acquire() => turn,
            };
            // Too many in flight, or rules that no longer cover the stream: the records wait.
            let traced = tracer.batch(&stream, &shard);
            records.iter_mut().for_each(|record| record.trace = traced.context().cloned());
            traced.takes(&stream, &records);
            let outcomes = intake.settle(&stream, records).await?;
            traced.settles(&outcomes);
            Ok(outcomes.iter().map(|outcome| !matches!(outcome.settlement, Settlement::Unsettled(_))).collect())
        });
        self.batches.insert(task.id(), batch);
    }

    fn handle(&mut self, input: Input) {
        let now_ms = self.now_ms();
        self.ledger.handle(input, now_ms);
        let records = self.ledger.records();
        self.shown.in_flight(records);
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Says that the shard stands still: as a metric, and in the log once in a while.
    fn complain(&mut self, uncovered: Option<&IntakeError>) {
        let SettlingOptions { stream, shard, .. } = &self.options;
        let held_up = self.ledger.held_up().filter(|(_, attempts)| *attempts > 1).map(|(place, _)| place);
        if held_up.is_none() && uncovered.is_none() {
            self.stalled = None;
            self.shown.stalled(0);
            return;
        }
        let reason = uncovered.or(self.refused.as_ref()).map(ToString::to_string);
        let now = Instant::now();
        let (since, said) = self.stalled.get_or_insert((now, None));
        let stalled = now - *since;
        self.shown.stalled(stalled.as_secs());
        if said.is_some_and(|said| now - said < COMPLAINT_INTERVAL) {
            return;
        }
        *said = Some(now);
        tracing::error!(
            stream = &**stream,
            shard = &**shard,
            stalled_seconds = stalled.as_secs(),
            sequence = held_up.map(|place| &*place.sequence),
            reason = reason.as_deref().unwrap_or("the lines about records that could not be settled tell"),
            "the shard stands still: its next record cannot be settled, and none is skipped"
        );
    }
}

fn place_of(record: &Record) -> Option<Place> {
    match &record.position {
        Position::InShard { sequence, sub_sequence, .. } => {
            Some(Place { sequence: sequence.clone(), sub_sequence: *sub_sequence })
        }
        _ => None,
    }
}

/// Never, where there is no time to wake at.
pub(super) async fn sleep_until(wake: Option<Instant>) {
    match wake {
        Some(wake) => tokio::time::sleep_until(wake).await,
        None => std::future::pending().await,
    }
}
