//! One shard: read, settled, and reported, until it ends, is handed over or is lost.
//!
//! ```text
//! Feed ─▶ records ─▶ Settling (unfold, ledger) ─▶ port::Intake ─▶ Progress ─▶ Report ─▶ the lease's checkpoint
//! ```
//!
//! What is read and not settled is bounded by a [`Budget`] for all shards of a source, and for each shard by its share of that. Neither
//! grows with how far a shard is behind.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::task::JoinSet;

use super::feed::{CALL_MAX, Feed, FeedOptions, Fetched};
use crate::lease::{Checkpoint, Lease};
use crate::model::{Place, Position, Record};
use crate::port::{ChildShard, ShardRecord};
use crate::source::settling::{Progress, Settling, SettlingOptions};

/// What a record takes beside its bytes, roughly.
const RECORD_OVERHEAD: usize = 512;

/// Bytes that the shards of a source may hold together.
#[derive(Debug, Clone)]
pub struct Budget {
    free: Arc<Semaphore>,
    bytes: u32,
}

/// What one shard may hold of it: a quarter, or what one call may bring, so that a few that stand still do not take what others need.
#[derive(Debug)]
struct Share {
    budget: Budget,
    free: Arc<Semaphore>,
    bytes: u32,
}

/// Bytes that are held, of the shard's share and so of the budget.
#[derive(Debug)]
struct Permit {
    of_share: OwnedSemaphorePermit,
    of_all: OwnedSemaphorePermit,
}

impl Budget {
    pub fn new(bytes: u32) -> Self {
        Self { free: Arc::new(Semaphore::new(bytes as usize)), bytes }
    }

    fn share(&self) -> Share {
        let call = u32::try_from(CALL_MAX.bytes + CALL_MAX.records * RECORD_OVERHEAD).unwrap_or(u32::MAX);
        let bytes = (self.bytes / 4).max(call).min(self.bytes);
        Share { budget: self.clone(), free: Arc::new(Semaphore::new(bytes as usize)), bytes }
    }
}

impl Share {
    /// Waits until so much is free. More than there is at all counts as all of it.
    async fn take(&self, bytes: usize) -> Option<Permit> {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX).min(self.bytes);
        let of_share = Arc::clone(&self.free).acquire_many_owned(bytes).await.ok()?;
        let of_all = Arc::clone(&self.budget.free).acquire_many_owned(bytes).await.ok()?;
        Some(Permit { of_share, of_all })
    }

    /// What is held for what was fetched, instead of what was held for what could have been.
    async fn settle_for(&self, mut held: Permit, bytes: usize) -> Option<Permit> {
        match bytes.checked_sub(held.of_all.num_permits()) {
            None => Some(Permit { of_share: held.of_share.split(bytes)?, of_all: held.of_all.split(bytes)? }),
            Some(0) => Some(held),
            Some(_) => {
                drop(held);
                self.take(bytes).await
            }
        }
    }
}

/// What a shard's consumer says.
#[derive(Debug)]
pub struct Report {
    pub shard: String,
    /// As in [`Consumer::term`].
    pub term: u64,
    pub what: What,
}

#[derive(Debug)]
pub enum What {
    /// All up to and with this place is settled.
    Settled(Place),
    /// The closed shard is settled to its end.
    Ended(Vec<ChildShard>),
    /// It was told to drain, and has.
    Stopped,
}

/// What a consumer is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    Read,
    /// Read no more, settle what is under way, report, and stop.
    Drain,
}

/// What a consumer is made of.
pub struct Consumer {
    pub lease: Lease,
    /// Tells its reports from those of an earlier consumer of the shard.
    pub term: u64,
    pub feed: FeedOptions,
    pub settling: SettlingOptions,
    pub budget: Budget,
    pub commands: watch::Receiver<Command>,
    pub reports: mpsc::Sender<Report>,
}

/// What a shard's feed gives, with the part of the budget that it takes.
struct Batch {
    fetched: Fetched,
    permit: Option<Permit>,
}

impl Consumer {
    /// Runs until there is nothing more to do. Dropped, it leaves what is under way unsettled: it comes again.
    pub async fn run(self) {
        let Self { lease, term, feed, settling, budget, mut commands, reports } = self;
        let shard = lease.key.clone();
        let after = match &lease.checkpoint {
            Checkpoint::At(place) => Some(place.clone()),
            _ => None,
        };
        let mut settling = Settling::new(settling, after);
        let (fetched, mut batches) = mpsc::channel(1);
        let mut feeding = JoinSet::new();
        let stream = Arc::clone(&feed.stream);
        feeding.spawn(feed_into(Feed::new(feed, &lease), budget.share(), fetched));
        let shard_id: Arc<str> = shard.as_str().into();
        let mut permits: VecDeque<(Place, Permit)> = VecDeque::new();
        let mut children = Vec::new();
        loop {
            tokio::select! {
                biased;
                Ok(()) = commands.changed() => {
                    feeding.abort_all();
                    settling.drain();
                }
                progress = settling.next() => {
                    let what = match progress {
                        Progress::Taken => {
                            if settling.is_idle() {
                                // All of it had been settled before, and nothing will be told of it. The feed may wait for this.
                                permits.clear();
                            }
                            continue;
                        }
                        Progress::Settled(place) => {
                            permits.retain(|(last, _)| *last > place && !settling.is_idle());
                            What::Settled(place)
                        }
                        Progress::Ended => What::Ended(std::mem::take(&mut children)),
                        Progress::Drained => What::Stopped,
                    };
                    let is_last = !matches!(what, What::Settled(_));
                    let report = Report { shard: shard.clone(), term, what };
                    // Without a listener, the process ends.
                    if reports.send(report).await.is_err() || is_last {
                        return;
                    }
                }
                Some(Err(failed)) = feeding.join_next() => {
                    // A fault of ours in the feed is one of the consumer: whoever started it begins again.
                    if let Ok(panic) = failed.try_into_panic() {
                        std::panic::resume_unwind(panic);
                    }
                }
                Some(Batch { fetched, permit }) = batches.recv(), if settling.has_room() => match fetched {
                    Fetched::Records(read) => {
                        let records: Vec<Record> =
                            read.into_iter().map(|record| record_of(record, &stream, &shard_id)).collect();
                        permits.extend(records.last().and_then(place_after).zip(permit));
                        settling.take(records);
                    }
                    Fetched::End(followers) => {
                        children = followers;
                        settling.end();
                    }
                },
            }
        }
    }
}

/// Reads on for as long as somebody takes it. It asks for what it may be given before it is given.
async fn feed_into(mut feed: Feed, share: Share, batches: mpsc::Sender<Batch>) {
    loop {
        feed.ready().await;
        let most = feed.call_max();
        let Some(held) = share.take(most.bytes + most.records * RECORD_OVERHEAD).await else { return };
        let Some(fetched) = feed.next().await else { continue };
        let is_end = matches!(fetched, Fetched::End(_));
        let bytes = match &fetched {
            Fetched::Records(records) => records.iter().map(|record| record.data.len() + RECORD_OVERHEAD).sum(),
            Fetched::End(_) => 0,
        };
        // Of nothing, it holds nothing, however long the end of a shard waits to be taken.
        let permit = share.settle_for(held, bytes).await.filter(|_| bytes > 0);
        if matches!(&fetched, Fetched::Records(records) if records.is_empty()) {
            continue;
        }
        if batches.send(Batch { fetched, permit }).await.is_err() || is_end {
            return;
        }
    }
}

fn record_of(read: ShardRecord, stream: &Arc<str>, shard: &Arc<str>) -> Record {
    // A stream that distributes records itself has no keys. Another stream may need one.
    let partition_key = read.partition_key.unwrap_or_else(|| read.sequence_number.clone());
    let position = Position::InShard { shard: Arc::clone(shard), sequence: read.sequence_number, sub_sequence: 0 };
    let record = Record::new(read.data, Arc::clone(stream), read.arrived);
    Record { partition_key: Some(partition_key), position, ..record }
}

/// The last place there can be within a record.
fn place_after(record: &Record) -> Option<Place> {
    match &record.position {
        Position::InShard { sequence, .. } => Some(Place { sequence: sequence.clone(), sub_sequence: u64::MAX }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
    use std::time::Duration;

    use super::*;
    use crate::metrics::Metrics;
    use crate::model::{Shard, Timestamp};
    use crate::port::{BoxFuture, ReadError, ReadFrom, ShardBatch, ShardReader, Subscription};
    use crate::source::kinesis_stream::feed::Reading;

    /// Gives so many records of 1,000 bytes with each call, this far from the tip.
    #[derive(Debug)]
    struct Full {
        records: usize,
        behind: i64,
        calls: AtomicUsize,
    }

    impl ShardReader for Full {
        fn shards<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Vec<Shard>, ReadError>> {
            Box::pin(async { Ok(Vec::new()) })
        }

        fn iterator<'a>(&'a self, _: &'a str, _: &'a str, _: ReadFrom<'a>) -> BoxFuture<'a, Result<String, ReadError>> {
            Box::pin(async { Ok("from here".to_owned()) })
        }

        fn records<'a>(&'a self, _: &'a str, _: &'a str, _: usize) -> BoxFuture<'a, Result<ShardBatch, ReadError>> {
            self.calls.fetch_add(1, Relaxed);
            let record = ShardRecord {
                sequence_number: "1".into(),
                data: vec![0; 1_000].into(),
                partition_key: None,
                arrived: Timestamp::default(),
            };
            let batch = ShardBatch {
                records: vec![record; self.records],
                next: Some("and on".into()),
                children: Vec::new(),
                millis_behind_latest: self.behind,
            };
            Box::pin(async {
                tokio::time::sleep(Duration::from_millis(100)).await;
                Ok(batch)
            })
        }

        fn subscribe<'a>(
            &'a self,
            _: &'a str,
            _: &'a str,
            _: &'a str,
            _: ReadFrom<'a>,
        ) -> BoxFuture<'a, Result<Box<dyn Subscription>, ReadError>> {
            Box::pin(async { Err(ReadError::Refused("it is polled".into())) })
        }
    }

    /// Feeds of 64 shards that share 16 MiB, for a minute in which nobody takes what they read: the calls that were made.
    async fn calls(records: usize, behind: i64) -> usize {
        let reader = Arc::new(Full { records, behind, calls: AtomicUsize::new(0) });
        let budget = Budget::new(16 << 20);
        let mut feeding = JoinSet::new();
        let mut untaken = Vec::new();
        for shard in 0..64 {
            let options = FeedOptions {
                reader: Arc::clone(&reader) as _,
                stream: "raw".into(),
                shard: shard.to_string().into(),
                reading: Reading::Polling { idle: Duration::from_secs(1) },
                metrics: Arc::new(Metrics::new()),
                random: || 0.5,
            };
            let lease = Lease::new(shard.to_string(), Checkpoint::TrimHorizon);
            let (fetched, batches) = mpsc::channel(1);
            feeding.spawn(feed_into(Feed::new(options, &lease), budget.share(), fetched));
            untaken.push(batches);
        }
        tokio::time::sleep(Duration::from_secs(60)).await;
        reader.calls.load(Relaxed)
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_read_and_not_taken_is_bounded_however_many_shards_are_behind() {
        // 3.8 MB with each, and a third is made only where there is room for all it may bring.
        assert_eq!(calls(2_500, 3_600_000).await, 2);
    }

    #[tokio::test(start_paused = true)]
    async fn shards_at_rest_do_not_wait_for_one_another() {
        // Of 64 a second that would be due; 10 a second would be made if each call had to be given room for the most there is.
        let calls = calls(0, 0).await;
        assert!(calls > 2_000, "{calls}");
    }
}
