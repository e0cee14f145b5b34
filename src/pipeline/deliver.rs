//! Drives `gate::delivery` over a sink: makes the calls it asks for, waits as long as it says, counts what happens.
//!
//! Dropping one of these futures leaves the entries unsettled: calls under way may or may not have arrived.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use tokio::time::Instant;

use crate::gate::delivery::{CallId, Delivery, Entry, Limits, Ordering, RetryPolicy, Step};
use crate::metrics::Metrics;
use crate::model::{DeadLetter, Placement, Record, Trouble, Unsettled};
use crate::port::{BoxFuture, CallLimits, DeadLetterSink, MeshSink};

/// Calls open at once for one batch. A mesh call holds up to 500 records, so that a batch seldom needs several.
const MESH_CALLS_OPEN: usize = 4;
/// A letter call holds up to 10, so that a batch of nothing but bad events needs many.
const LETTER_CALLS_OPEN: usize = 8;

/// Values of the metrics' label `sink`.
const MESH: &str = "mesh";
const DEAD_LETTER: &str = "dlq";

/// Puts records on a mesh stream, retrying within `policy`: a result for each, in their order.
pub async fn deliver_mesh(
    sink: &dyn MeshSink,
    stream: &str,
    records: &[&Record],
    ordering: Ordering,
    policy: &RetryPolicy,
    metrics: &Metrics,
) -> Vec<Result<Placement, Unsettled>> {
    let entries = records.iter().map(|record| {
        let key = record.partition_key.as_deref();
        Entry { bytes: record.size(), key: key.filter(|_| ordering == Ordering::Key) }
    });
    let limits = limits(sink.call_limits(), MESH_CALLS_OPEN);
    let put = |indices: Vec<usize>| -> BoxFuture<'_, Vec<Result<Placement, Unsettled>>> {
        Box::pin(async move {
            let call: Vec<&Record> = indices.into_iter().map(|index| records[index]).collect();
            sink.put(stream, &call).await
        })
    };
    drive(entries, limits, policy, put, &Tally { metrics, sink: MESH, name: stream }).await
}

/// Sends dead letters to a queue, retrying within `policy`: a result for each, in their order.
pub async fn deliver_letters(
    sink: &dyn DeadLetterSink,
    queue: &str,
    letters: &[&DeadLetter],
    policy: &RetryPolicy,
    metrics: &Metrics,
) -> Vec<Result<(), Unsettled>> {
    let groups: Vec<Option<String>> = letters.iter().map(|letter| sink.group(queue, letter)).collect();
    let entry = |(letter, group)| Entry { bytes: sink.size_of(letter), key: Option::as_deref(group) };
    let entries = letters.iter().copied().zip(&groups).map(entry);
    let limits = limits(sink.call_limits(), LETTER_CALLS_OPEN);
    let send = |indices: Vec<usize>| -> BoxFuture<'_, Vec<Result<(), Unsettled>>> {
        Box::pin(async move {
            let call: Vec<&DeadLetter> = indices.into_iter().map(|index| letters[index]).collect();
            sink.send(queue, &call).await
        })
    };
    drive(entries, limits, policy, send, &Tally { metrics, sink: DEAD_LETTER, name: queue }).await
}

fn limits(call: CallLimits, open: usize) -> Limits {
    Limits { entries: call.entries, bytes: call.bytes, open }
}

/// A call that is open: its id, when it started, and the call itself.
type Open<'a, T> = (CallId, Instant, BoxFuture<'a, Vec<Result<T, Unsettled>>>);

pub(super) async fn drive<'a, T>(
    entries: impl Iterator<Item = Entry<'a>>,
    limits: Limits,
    policy: &RetryPolicy,
    start_call: impl Fn(Vec<usize>) -> BoxFuture<'a, Vec<Result<T, Unsettled>>>,
    tally: &Tally<'_>,
) -> Vec<Result<T, Unsettled>> {
    let started = Instant::now();
    let now_ms = || u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    let mut delivery = Delivery::new(entries, limits, *policy, 0);
    let mut open: Vec<Open<'a, T>> = Vec::new();
    loop {
        let until_ms = match delivery.next(now_ms()) {
            Step::Done => return delivery.into_results(),
            Step::Call(call) => {
                if call.repeats {
                    tally.retried();
                }
                open.push((call.id, Instant::now(), start_call(call.entries)));
                continue;
            }
            Step::Wait(until_ms) => until_ms,
        };
        let wake = async {
            match until_ms {
                Some(ms) => tokio::time::sleep(Duration::from_millis(ms.saturating_sub(now_ms()))).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            (place, results) = first_answer(&mut open), if !open.is_empty() => {
                let (call, called, _) = open.swap_remove(place);
                tally.answered(called.elapsed(), &results);
                delivery.answer(now_ms(), call, results, fastrand::f64());
            }
            () = wake => {}
        }
    }
}

/// The first of the open calls to be answered, and where it stands among them.
async fn first_answer<T>(open: &mut [Open<'_, T>]) -> (usize, Vec<Result<T, Unsettled>>) {
    poll_fn(|context| {
        for (place, (_, _, call)) in open.iter_mut().enumerate() {
            if let Poll::Ready(results) = call.as_mut().poll(context) {
                return Poll::Ready((place, results));
            }
        }
        Poll::Pending
    })
    .await
}

/// Counts what one delivery does.
pub(super) struct Tally<'a> {
    pub metrics: &'a Metrics,
    pub sink: &'static str,
    /// Of the stream, the queue or the bucket.
    pub name: &'a str,
}

impl Tally<'_> {
    fn retried(&self) {
        self.metrics.sink_retries.with_label_values(&[self.sink]).inc();
        self.metrics.far_ends.retried(self.sink, self.name);
    }

    fn answered<T>(&self, took: Duration, results: &[Result<T, Unsettled>]) {
        self.metrics.sink_call_seconds.with_label_values(&[self.sink]).observe(took.as_secs_f64());
        let failures = || results.iter().filter_map(|result| result.as_ref().err());
        let takes = results.iter().any(Result::is_ok);
        let told = failures().find(|failure| failure.trouble != Trouble::Invalid);
        self.metrics.far_ends.answered(self.sink, self.name, takes, told, super::now());
        for failure in failures() {
            self.metrics.sink_failures.with_label_values(&[self.sink, failure.trouble.as_str()]).inc();
        }
    }
}
