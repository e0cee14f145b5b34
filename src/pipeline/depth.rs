//! How full the dead-letter queues are, asked at the start and now and then: what piles up there is somebody's work, and a queue that is not
//! there, or that the gate may not use, is better told at the start than with the first bad event.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::metrics::Metrics;
use crate::model::{Timestamp, Unsettled};
use crate::port::{DeadLetterSink, QueueDepth};

/// Between two looks at a queue on AWS, which bills each: 44,000 a month and queue are some cents.
pub(super) const AWS_EVERY: Duration = Duration::from_secs(60);
/// Between two looks at the embedded store's.
pub(super) const LOCAL_EVERY: Duration = Duration::from_secs(5);

/// What looking takes.
pub(super) struct Depths<Q> {
    pub letters: Arc<dyn DeadLetterSink>,
    /// Which queues there are at present.
    pub queues: Q,
    pub metrics: Arc<Metrics>,
    pub every: Duration,
    pub clock: fn() -> Timestamp,
}

/// Looks at all queues, again and again, for as long as the future lives. A queue that cannot be asked is told once, and when it can be again.
pub(super) async fn watch<Q: Fn() -> BTreeSet<Arc<str>>>(depths: Depths<Q>) {
    let mut shown = BTreeSet::new();
    let mut silent = BTreeSet::new();
    loop {
        let queues = (depths.queues)();
        for gone in shown.difference(&queues) {
            forget(&depths.metrics, gone);
            silent.remove(gone);
        }
        for queue in &queues {
            match depths.letters.depth(queue).await {
                Ok(None) => return,
                Ok(Some(depth)) => {
                    show(&depths.metrics, queue, depth, (depths.clock)());
                    if silent.remove(queue) {
                        tracing::info!(queue = &**queue, "the dead-letter queue answers again");
                    }
                }
                Err(failure) => {
                    hide(&depths.metrics, queue);
                    if silent.insert(Arc::clone(queue)) {
                        complain(queue, &failure);
                    }
                }
            }
        }
        shown = queues;
        tokio::time::sleep(depths.every).await;
    }
}

fn complain(queue: &str, failure: &Unsettled) {
    tracing::warn!(
        queue,
        trouble = failure.trouble.as_str(),
        failure.message,
        "a dead-letter queue cannot be asked; while it takes no letters either, the bad events of its producers are unsettled"
    );
}

fn show(metrics: &Metrics, queue: &str, depth: QueueDepth, now: Timestamp) {
    metrics.dlq_reachable.with_label_values(&[queue]).set(1);
    metrics.dlq_letters.with_label_values(&[queue]).set(i64::try_from(depth.letters).unwrap_or(i64::MAX));
    let age_ms = match (depth.letters, depth.oldest) {
        (0, _) => Some(0),
        (_, oldest) => oldest.map(|oldest| (now.millis() - oldest.millis()).max(0)),
    };
    match age_ms {
        Some(age_ms) => metrics.dlq_oldest.with_label_values(&[queue]).set(age_ms as f64 / 1_000.0),
        None => drop(metrics.dlq_oldest.remove_label_values(&[queue])),
    }
}

/// A number that is no longer known would lie.
fn hide(metrics: &Metrics, queue: &str) {
    forget(metrics, queue);
    metrics.dlq_reachable.with_label_values(&[queue]).set(0);
}

fn forget(metrics: &Metrics, queue: &str) {
    drop(metrics.dlq_reachable.remove_label_values(&[queue]));
    drop(metrics.dlq_letters.remove_label_values(&[queue]));
    drop(metrics.dlq_oldest.remove_label_values(&[queue]));
}

#[cfg(test)]
mod tests;
