//! A shard's records, one batch after the other, whatever the far end does: polled with `GetRecords`, or sent by enhanced fan-out.
//!
//! Polling keeps within a shard's 5 calls and 2 MB a second, which all its readers share, and comes less often while nothing arrives. What
//! fails is tried again with back-off, for ever; an iterator that has expired (5 minutes) is replaced by one behind the last record.
//!
//! Source: Amazon Kinesis API reference, `GetRecords`, `GetShardIterator`, `SubscribeToShard`.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::lease::{Checkpoint, Lease};
use crate::metrics::{Metrics, ShardShown};
use crate::model::{Shard, Timestamp};
use crate::port::{ChildShard, ReadError, ReadFrom, ShardBatch, ShardReader, ShardRecord, Subscription};

/// The most that one call is to bring: of bytes what `GetRecords` gives, of records what is asked for. It would give 10,000, of which five
/// calls a second are far more than the 2 MB/s of a shard, and a call's answer takes several times its size while it is read.
pub const CALL_MAX: Size = Size { records: 2_500, bytes: 10 * 1024 * 1024 };

/// What a shard takes in, in a second: 1 MB and 1,000 records.
const WRITTEN_A_SECOND: Size = Size { records: 1_000, bytes: 1 << 20 };

/// Between two calls for one shard: 5 a second.
const CALL_INTERVAL: Duration = Duration::from_millis(200);
/// What a shard gives in a second; after more, `GetRecords` refuses for as long.
const BYTES_A_SECOND: f64 = 2_000_000.0;
/// Between two subscriptions of a consumer to a shard; sooner ones are refused (`ResourceInUseException`).
const SUBSCRIBE_INTERVAL: Duration = Duration::from_secs(1);

/// The first wait after a failure, doubled with each further one up to the last.
const WAIT: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(10));
/// Between two lines of the log about a shard that cannot be read.
const COMPLAINT_INTERVAL: Duration = Duration::from_secs(30);

/// How records come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reading {
    /// Asked for, at most so long after the last time.
    Polling { idle: Duration },
    /// Sent to this consumer, a name or an ARN, with 2 MB a second and shard of its own.
    FanOut { consumer: String },
}

/// How much comes with a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    pub records: usize,
    pub bytes: usize,
}

/// Where a feed reads.
#[derive(Clone)]
pub struct FeedOptions {
    pub reader: Arc<dyn ShardReader>,
    pub stream: Arc<str>,
    pub shard: Arc<str>,
    pub reading: Reading,
    pub metrics: Arc<Metrics>,
    /// 0 to 1.
    pub random: fn() -> f64,
}

/// What comes of it.
#[derive(Debug)]
pub enum Fetched {
    /// In the shard's order. May be none, when the shard has nothing new.
    Records(Vec<ShardRecord>),
    /// The shard is closed, and this was all: those that follow it, as far as they are known.
    End(Vec<ChildShard>),
}

/// Where reading goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
enum From {
    TrimHorizon,
    Latest,
    Time(Timestamp),
    At(String),
    After(String),
}

impl From {
    fn of(lease: &Lease) -> Self {
        match (&lease.checkpoint, lease.starts_at) {
            (Checkpoint::Latest | Checkpoint::AtTimestamp, Some(time)) => Self::Time(time),
            // A row of the KCL's: it resolves this at each start.
            (Checkpoint::Latest, None) => Self::Latest,
            // The record of the place itself too: of a container, only some of it may be settled.
            (Checkpoint::At(place), _) => Self::At(place.sequence.clone()),
            (Checkpoint::TrimHorizon | Checkpoint::AtTimestamp | Checkpoint::ShardEnd, _) => Self::TrimHorizon,
        }
    }

    fn borrowed(&self) -> ReadFrom<'_> {
        match self {
            Self::TrimHorizon => ReadFrom::TrimHorizon,
            Self::Latest => ReadFrom::Latest,
            Self::Time(time) => ReadFrom::AtTimestamp(*time),
            Self::At(sequence) => ReadFrom::AtSequence(sequence),
            Self::After(sequence) => ReadFrom::AfterSequence(sequence),
        }
    }
}

/// One shard as it is read.
pub struct Feed {
    options: FeedOptions,
    shown: ShardShown,
    from: From,
    iterator: Option<String>,
    subscription: Option<Box<dyn Subscription>>,
    /// Before which nothing is asked for.
    not_before: Instant,
    /// The wait after a batch of nothing: grows while nothing comes.
    idle: Duration,
    failures: u32,
    /// When nothing was left behind in the shard, if that was with the last call.
    at_tip: Option<Instant>,
    complained: Option<Instant>,
    ended: Option<Vec<ChildShard>>,
}

impl Feed {
    /// From a lease's checkpoint on, the record there included.
    pub fn new(options: FeedOptions, lease: &Lease) -> Self {
        Self {
            shown: ShardShown::new(&options.metrics, &options.stream, &options.shard),
            options,
            from: From::of(lease),
            iterator: None,
            subscription: None,
            not_before: Instant::now(),
            idle: CALL_INTERVAL,
            failures: 0,
            at_tip: None,
            complained: None,
            ended: None,
        }
    }

    /// Waits until the far end may be asked again.
    pub async fn ready(&self) {
        tokio::time::sleep_until(self.not_before).await;
    }

    /// What one call may bring. Of a shard that was read to its tip no more than has been written since, so that shards at rest do not
    /// wait for one another's calls. What is sent by itself comes in small pieces.
    pub fn call_max(&self) -> Size {
        let (records, bytes) = match (&self.options.reading, self.at_tip) {
            (Reading::FanOut { .. }, _) => (0, 0),
            (Reading::Polling { .. }, None) => (CALL_MAX.records, CALL_MAX.bytes),
            (Reading::Polling { .. }, Some(at)) => {
                // And a second's worth, for the time the call itself takes.
                let seconds = at.elapsed().as_secs_f64() + 1.0;
                let written = |a_second: usize, most: usize| ((a_second as f64 * seconds) as usize).min(most);
                let Size { records, bytes } = WRITTEN_A_SECOND;
                (written(records, CALL_MAX.records), written(bytes, CALL_MAX.bytes))
            }
        };
        Size { records, bytes }
    }

    /// Asks once, or waits for what is sent. Nothing comes of a failure, which is tried again with the next call. After
    /// [`Fetched::End`] it says the same again.
    pub async fn next(&mut self) -> Option<Fetched> {
        if let Some(children) = &self.ended {
            return Some(Fetched::End(children.clone()));
        }
        let fetched = match self.options.reading.clone() {
            Reading::Polling { idle } => self.poll(idle).await,
            Reading::FanOut { consumer } => self.receive(&consumer).await,
        };
        match fetched {
            Ok(Some(batch)) => {
                let is_end = batch.next.is_none();
                let children = batch.children.clone();
                let records = self.note(batch);
                if is_end {
                    self.end(children).await;
                }
                Some(Fetched::Records(records))
            }
            Ok(None) => None,
            Err(error) => {
                self.failed(error).await;
                None
            }
        }
    }

    async fn poll(&mut self, idle_max: Duration) -> Result<Option<ShardBatch>, ReadError> {
        let FeedOptions { reader, stream, shard, .. } = &self.options;
        let iterator = match &self.iterator {
            Some(iterator) => iterator.clone(),
            None => reader.iterator(stream, shard, self.from.borrowed()).await?,
        };
        // Asked again with the same one, the shard gives the same records.
        self.iterator = Some(iterator.clone());
        let called = Instant::now();
        let batch = reader.records(stream, &iterator, CALL_MAX.records).await?;
        self.iterator.clone_from(&batch.next);
        let bytes: usize = batch.records.iter().map(|record| record.data.len()).sum();
        let within_rate = Duration::from_secs_f64(bytes as f64 / BYTES_A_SECOND);
        self.at_tip = (batch.millis_behind_latest == 0).then_some(called);
        let is_at_tip = batch.records.is_empty() && self.at_tip.is_some();
        self.idle = if is_at_tip { self.idle.mul_f64(1.5).min(idle_max) } else { CALL_INTERVAL };
        self.not_before = called + within_rate.max(if is_at_tip { self.idle } else { CALL_INTERVAL });
        Ok(Some(batch))
    }

    async fn receive(&mut self, consumer: &str) -> Result<Option<ShardBatch>, ReadError> {
        let FeedOptions { reader, stream, shard, .. } = &self.options;
        let subscription = match &mut self.subscription {
            Some(subscription) => subscription,
            None => {
                self.not_before = Instant::now() + SUBSCRIBE_INTERVAL;
                let subscribed = reader.subscribe(stream, consumer, shard, self.from.borrowed()).await?;
                self.subscription.insert(subscribed)
            }
        };
        let received = subscription.next().await;
        if !matches!(received, Ok(Some(_))) {
            self.subscription = None;
            return received;
        }
        // A batch of nothing says how far the shard has been looked through.
        if let Ok(Some(ShardBatch { next: Some(next), .. })) = &received {
            self.from = From::After(next.clone());
        }
        self.not_before = Instant::now();
        received
    }

    /// Remembers how far a batch reaches.
    fn note(&mut self, batch: ShardBatch) -> Vec<ShardRecord> {
        let ShardBatch { records, millis_behind_latest, .. } = batch;
        self.failures = 0;
        if let Some(last) = records.last() {
            self.from = From::After(last.sequence_number.clone());
        }
        self.shown.lag(millis_behind_latest);
        records
    }

    /// Takes the end of a shard for one only where it names the shards that follow, as Kinesis does, or where the stream lists it as closed or
    /// not at all: an open shard that is taken for ended is read by nobody again.
    async fn end(&mut self, children: Vec<ChildShard>) {
        if !children.is_empty() {
            self.ended = Some(children);
            return;
        }
        (self.iterator, self.subscription) = (None, None);
        let FeedOptions { reader, stream, shard, .. } = &self.options;
        // Without a list, the end is read again, and asked about again.
        let Ok(shards) = reader.shards(stream).await else { return };
        let is_open = |other: &Shard| other.id == *shard && other.ending_sequence_number.is_none();
        if !shards.is_empty() && !shards.iter().any(is_open) {
            self.ended = Some(followers(&shards, shard));
        }
    }

    async fn failed(&mut self, error: ReadError) {
        if error == ReadError::ExpiredIterator {
            self.iterator = None;
            return;
        }
        // An iterator that was not given, or that the stream does not like, is asked for anew.
        if !matches!(error, ReadError::Throttled(_) | ReadError::Unavailable(_)) {
            self.iterator = None;
        }
        let FeedOptions { reader, stream, shard, random, .. } = &self.options;
        if matches!(error, ReadError::NotFound(_))
            && let Ok(shards) = reader.shards(stream).await
            && !shards.is_empty()
            && shards.iter().all(|other| other.id != *shard)
        {
            tracing::error!(
                stream = &**stream,
                shard = &**shard,
                "the stream no longer has this shard: its records are older than the stream keeps any; those that were not \
                 settled are gone, and the shards that follow it are read"
            );
            self.ended = Some(followers(&shards, shard));
            return;
        }
        let ceiling = WAIT.0.saturating_mul(1 << self.failures.min(16)).min(WAIT.1);
        self.failures += 1;
        self.not_before = Instant::now() + ceiling.mul_f64((0.5 + random() / 2.0).clamp(0.5, 1.0));
        let is_usual = matches!(error, ReadError::Throttled(_)) && self.failures < 5;
        if !is_usual && self.complained.is_none_or(|last| last.elapsed() >= COMPLAINT_INTERVAL) {
            self.complained = Some(Instant::now());
            tracing::warn!(
                stream = &**stream,
                shard = &**shard,
                failures = self.failures,
                %error,
                "a shard cannot be read; nothing of it is skipped, and it is tried again"
            );
        }
    }
}

/// The shards that come of one, as a list of all shards tells.
fn followers(shards: &[Shard], parent: &str) -> Vec<ChildShard> {
    let parents = |shard: &Shard| -> Vec<String> {
        [&shard.parent, &shard.adjacent_parent].into_iter().flatten().cloned().collect()
    };
    let follower = |shard: &Shard| ChildShard { id: shard.id.to_string(), parents: parents(shard), range: shard.range };
    shards.iter().map(follower).filter(|child| child.parents.iter().any(|id| id == parent)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::HashKeyRange;
    use crate::port::BoxFuture;

    /// A shard that has no next iterator and names nobody, of a stream with these shards: each with its parent, and whether it is closed.
    struct Unnamed(Option<&'static [(&'static str, Option<&'static str>, bool)]>);

    impl ShardReader for Unnamed {
        fn shards<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Vec<Shard>, ReadError>> {
            let shard = |(id, parent, is_closed): &(&str, Option<&str>, bool)| Shard {
                id: (*id).into(),
                parent: parent.map(str::to_owned),
                adjacent_parent: None,
                range: HashKeyRange::divide(1).next().expect("one"),
                starting_sequence_number: "1".into(),
                ending_sequence_number: is_closed.then(|| "9".into()),
            };
            let listed = self.0.map(|shards| shards.iter().map(shard).collect());
            Box::pin(async { listed.ok_or(ReadError::Unavailable("down".into())) })
        }

        fn iterator<'a>(&'a self, _: &'a str, _: &'a str, _: ReadFrom<'a>) -> BoxFuture<'a, Result<String, ReadError>> {
            Box::pin(async { Ok("from here".to_owned()) })
        }

        fn records<'a>(&'a self, _: &'a str, _: &'a str, _: usize) -> BoxFuture<'a, Result<ShardBatch, ReadError>> {
            let batch = ShardBatch { records: Vec::new(), next: None, children: Vec::new(), millis_behind_latest: 0 };
            Box::pin(async { Ok(batch) })
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

    /// What comes after the batch that is said to be the last: `None` where it is not taken for the end.
    async fn end_of(shards: Option<&'static [(&'static str, Option<&'static str>, bool)]>) -> Option<Vec<String>> {
        let options = FeedOptions {
            reader: Arc::new(Unnamed(shards)),
            stream: "raw".into(),
            shard: "a".into(),
            reading: Reading::Polling { idle: Duration::from_secs(1) },
            metrics: Arc::new(Metrics::new()),
            random: || 0.5,
        };
        let mut feed = Feed::new(options, &Lease::new("a", Checkpoint::TrimHorizon));
        assert!(matches!(feed.next().await, Some(Fetched::Records(records)) if records.is_empty()));
        match feed.next().await {
            Some(Fetched::End(children)) => Some(children.into_iter().map(|child| child.id).collect()),
            _ => None,
        }
    }

    #[tokio::test]
    async fn a_shard_has_ended_only_where_its_stream_says_so() {
        assert_eq!(end_of(Some(&[("a", None, false)])).await, None, "it is open");
        assert_eq!(end_of(None).await, None, "nobody can say");
        assert_eq!(end_of(Some(&[])).await, None, "a stream has shards");
        let split: &[_] = &[("a", None, true), ("b", Some("a"), false), ("c", Some("a"), false), ("d", None, false)];
        assert_eq!(end_of(Some(split)).await, Some(vec!["b".into(), "c".into()]));
        assert_eq!(
            end_of(Some(&[("d", None, false)])).await,
            Some(Vec::new()),
            "it is older than the stream keeps any"
        );
    }
}
