//! The series of a shard: there for as long as somebody reads it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Metrics;

/// How many parts of the gate show something of each shard, by stream and shard.
type Counts = HashMap<(Arc<str>, Arc<str>), usize>;

/// Which shards are shown, and by how many.
#[derive(Debug, Default)]
pub struct ShardsShown(Mutex<Counts>);

impl ShardsShown {
    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Shows how it goes with a shard. Shards come and go, and their series with them: the last of those who show a shard takes them away. A reader
/// that is being ended may well outlive the beginning of its successor.
pub struct ShardShown {
    metrics: Arc<Metrics>,
    stream: Arc<str>,
    shard: Arc<str>,
}

impl ShardShown {
    pub fn new(metrics: &Arc<Metrics>, stream: &Arc<str>, shard: &Arc<str>) -> Self {
        let shown = Self { metrics: Arc::clone(metrics), stream: Arc::clone(stream), shard: Arc::clone(shard) };
        *metrics.shards_shown.lock().entry(shown.key()).or_default() += 1;
        shown
    }

    fn key(&self) -> (Arc<str>, Arc<str>) {
        (Arc::clone(&self.stream), Arc::clone(&self.shard))
    }

    fn labels(&self) -> [&str; 2] {
        [&self.stream, &self.shard]
    }

    /// How far the last batch is behind the shard's tip, milliseconds.
    pub fn lag(&self, millis: i64) {
        self.metrics.shard_lag.with_label_values(&self.labels()).set(millis);
    }

    /// How many records are read and not settled.
    pub fn in_flight(&self, records: usize) {
        let records = i64::try_from(records).unwrap_or(i64::MAX);
        self.metrics.shard_records.with_label_values(&self.labels()).set(records);
    }

    /// For how long the first of them could not be settled, seconds.
    pub fn stalled(&self, seconds: u64) {
        let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
        self.metrics.shard_stalled.with_label_values(&self.labels()).set(seconds);
    }
}

impl Drop for ShardShown {
    fn drop(&mut self) {
        let mut shown = self.metrics.shards_shown.lock();
        let Some(count) = shown.get_mut(&self.key()) else { return };
        *count -= 1;
        if *count > 0 {
            return;
        }
        shown.remove(&self.key());
        // Under the lock: whoever begins to show the shard now sets its series afterwards.
        let Metrics { shard_lag, shard_records, shard_stalled, .. } = &*self.metrics;
        for gauge in [shard_lag, shard_records, shard_stalled] {
            drop(gauge.remove_label_values(&self.labels()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_stay_until_the_last_reader_has_gone() {
        let metrics = Arc::new(Metrics::new());
        let reader = |shard: &str| ShardShown::new(&metrics, &"raw".into(), &shard.into());
        let lines = || metrics.render().lines().filter(|line| line.starts_with("meshgate_shard_")).count();
        let (before, other) = (reader("1"), reader("2"));
        before.lag(5);
        other.lag(6);
        let after = reader("1");
        after.in_flight(3);
        after.stalled(0);
        drop(before);
        assert_eq!(lines(), 4, "what the successor has set stays");
        drop(after);
        assert_eq!(lines(), 1);
        assert!(metrics.render().contains("meshgate_shard_lag_milliseconds{shard=\"2\",stream=\"raw\"} 6\n"));
        drop(other);
        assert_eq!((lines(), metrics.shards_shown.lock().len()), (0, 0));
    }
}
