//! Delivers a batch to a sink within bounds: what to send next, when, and what became of each entry. No IO.
//!
//! A caller asks [`Delivery::next`] what to do, makes the calls it names, and reports each one's results to
//! [`Delivery::answer`]. The promises, which `tests/delivery.rs` holds with properties and a seeded simulation:
//!
//! * every entry ends with exactly one result, and none is forgotten;
//! * no call exceeds the [`Limits`], and no more than `Limits::open` calls are open at once;
//! * no entry is sent more often than `RetryPolicy::attempts_max`, and nothing is sent once the deadline has passed;
//! * entries that share a key are sent one at a time and in order. When one fails for good, those after it are not sent:
//!   their results say so. (A call that timed out may still arrive after its repetition: at least once, as ever.)
//!
//! Retries wait as AWS advises ("Exponential Backoff And Jitter", full jitter): a random time between nothing and
//! `min(cap, base · 2^attempt)`. What failed together is sent again together, so that a retry costs few calls.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};

use crate::model::{Trouble, Unsettled};

/// Whether entries keep their order within a partition key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ordering {
    /// Fastest: whole batches in flight, and only what failed is sent again.
    #[default]
    None,
    /// At most one entry of a key in flight, and never one whose predecessor is not settled.
    Key,
}

/// One thing to deliver, as far as delivering it goes.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'a> {
    /// What it counts towards [`Limits::bytes`].
    pub bytes: usize,
    /// Entries with the same key are delivered in order; `None` is ordered with nothing.
    pub key: Option<&'a str>,
}

/// The bounds of calls to the sink. Zeros count as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Entries in one call.
    pub entries: usize,
    /// Sum of [`Entry::bytes`] in one call.
    pub bytes: usize,
    /// Calls open at once.
    pub open: usize,
}

/// How long and how often to try. Milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Times one entry is sent, the first included. Zero counts as one.
    pub attempts_max: u32,
    /// The first back-off after a failure is drawn from `0..=base_ms`; it doubles with each further one.
    pub base_ms: u64,
    /// The same, when the far end asked to slow down.
    pub throttled_base_ms: u64,
    /// No back-off is longer.
    pub cap_ms: u64,
    /// Counted from the start of the delivery: no call starts later. Calls that are open then are still waited for.
    pub deadline_ms: u64,
}

impl Default for RetryPolicy {
    /// The AWS SDKs' bases of 2026 (50 ms, 1 s after a throttle), within the 60 s that producers' clients wait by
    /// default for an answer, one last call of the sink included.
    fn default() -> Self {
        Self { attempts_max: 8, base_ms: 50, throttled_base_ms: 1_000, cap_ms: 5_000, deadline_ms: 25_000 }
    }
}

impl RetryPolicy {
    /// The longest back-off before a retry, given how often the entry was sent (at least once).
    fn ceiling_ms(&self, attempts: u32, throttled: bool) -> u64 {
        let base = if throttled { self.throttled_base_ms } else { self.base_ms };
        let doublings = attempts.saturating_sub(1);
        let grown = base.saturating_mul(1u64.checked_shl(doublings).unwrap_or(u64::MAX));
        grown.min(self.cap_ms)
    }
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Make this call now, then ask again (more may follow while it is open).
    Call(Call),
    /// Nothing to start before this time (on the clock of `now_ms`) or an answer, whichever is first. `None`: only an
    /// answer to an open call helps.
    Wait(Option<u64>),
    /// Every entry has its result.
    Done,
}

/// Entries to send together, as indices into the batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    pub id: CallId,
    pub entries: Vec<usize>,
    /// Some entry in it was sent before.
    pub repeats: bool,
}

/// Names a call of one delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CallId(u64);

#[derive(Debug)]
struct Slot<T> {
    bytes: usize,
    /// Times sent.
    attempts: u32,
    /// The next entry with the same key.
    successor: Option<usize>,
    result: Option<Result<T, Unsettled>>,
    /// What the last attempt failed with, while it may be tried again.
    last: Option<Unsettled>,
}

/// A batch on its way. `T` is what the sink says of an entry it took.
#[derive(Debug)]
pub struct Delivery<T> {
    limits: Limits,
    policy: RetryPolicy,
    started_ms: u64,
    slots: Vec<Slot<T>>,
    /// May be sent at once, in this order. Holds only entries with no unsettled predecessor.
    ready: VecDeque<usize>,
    /// `(when, entry)` that wait for their back-off; none waits past the deadline.
    waiting: BinaryHeap<Reverse<(u64, usize)>>,
    open: Vec<(CallId, Vec<usize>)>,
    calls: u64,
    unsettled: usize,
}

impl<T> Delivery<T> {
    /// Takes the batch in. `now_ms` is any monotonic clock; later times must come from the same one.
    pub fn new<'a>(
        entries: impl IntoIterator<Item = Entry<'a>>,
        limits: Limits,
        policy: RetryPolicy,
        now_ms: u64,
    ) -> Self {
        let mut slots: Vec<Slot<T>> = Vec::new();
        let mut heads = Vec::new();
        let mut last_of_key: HashMap<&str, usize> = HashMap::new();
        for (index, entry) in entries.into_iter().enumerate() {
            slots.push(Slot { bytes: entry.bytes, attempts: 0, successor: None, result: None, last: None });
            match entry.key.and_then(|key| last_of_key.insert(key, index)) {
                Some(predecessor) => slots[predecessor].successor = Some(index),
                None => heads.push(index),
            }
        }
        let limits = Limits { entries: limits.entries.max(1), bytes: limits.bytes.max(1), open: limits.open.max(1) };
        let unsettled = slots.len();
        let mut delivery = Self {
            limits,
            policy,
            started_ms: now_ms,
            slots,
            ready: VecDeque::with_capacity(heads.len()),
            waiting: BinaryHeap::new(),
            open: Vec::new(),
            calls: 0,
            unsettled,
        };
        for head in heads {
            delivery.make_ready(head);
        }
        delivery
    }

    /// What to do now. Ask again after each answer, at the time a [`Step::Wait`] names, and after starting a call.
    pub fn next(&mut self, now_ms: u64) -> Step {
        if now_ms >= self.deadline_ms() {
            self.expire(now_ms);
        }
        self.wake(now_ms);
        if self.unsettled == 0 {
            return Step::Done;
        }
        if !self.ready.is_empty() && self.open.len() < self.limits.open {
            return Step::Call(self.compose());
        }
        Step::Wait(self.waiting.peek().map(|Reverse((when, _))| *when))
    }

    /// Reports what became of a call's entries: as many results as [`Call::entries`], in their order. A wrong number of
    /// results tells nothing about any entry: all count as unavailable. `jitter` is random in `[0, 1)`. An id that is
    /// not open is ignored.
    pub fn answer(&mut self, now_ms: u64, call: CallId, results: Vec<Result<T, Unsettled>>, jitter: f64) {
        let Some(place) = self.open.iter().position(|(id, _)| *id == call) else { return };
        let (_, entries) = self.open.swap_remove(place);
        let results = if results.len() == entries.len() {
            results
        } else {
            let message = format!("the sink gave {} answers for {} entries", results.len(), entries.len());
            entries.iter().map(|_| Err(Unsettled { trouble: Trouble::Unavailable, message: message.clone() })).collect()
        };
        let mut again = Vec::new();
        for (entry, result) in entries.into_iter().zip(results) {
            match result {
                Ok(taken) => {
                    self.settle(entry, Ok(taken));
                    if let Some(successor) = self.slots[entry].successor {
                        self.make_ready(successor);
                    }
                }
                Err(failure) if !failure.trouble.is_retryable() => self.fail(entry, failure),
                Err(failure) if self.slots[entry].attempts >= self.policy.attempts_max => {
                    self.give_up(entry, failure, now_ms);
                }
                Err(failure) => {
                    self.slots[entry].last = Some(failure);
                    again.push(entry);
                }
            }
        }
        self.back_off(now_ms, again, jitter);
    }

    /// The results in the order of the batch. An entry without one yet (the caller stopped before [`Step::Done`]) is
    /// unsettled.
    pub fn into_results(self) -> Vec<Result<T, Unsettled>> {
        self.slots
            .into_iter()
            .map(|slot| {
                slot.result.unwrap_or_else(|| {
                    let state = if slot.attempts == 0 { "it was not sent" } else { "it may or may not have arrived" };
                    let message = format!("delivery stopped before this was settled: {state}; retry it");
                    Err(Unsettled { trouble: Trouble::Unavailable, message })
                })
            })
            .collect()
    }

    fn deadline_ms(&self) -> u64 {
        self.started_ms.saturating_add(self.policy.deadline_ms)
    }

    fn compose(&mut self) -> Call {
        let mut entries = Vec::with_capacity(self.ready.len().min(self.limits.entries));
        let (mut bytes, mut repeats) = (0usize, false);
        while let Some(&entry) = self.ready.front() {
            let slot = &mut self.slots[entry];
            bytes = bytes.saturating_add(slot.bytes);
            if entries.len() == self.limits.entries || bytes > self.limits.bytes {
                break;
            }
            repeats |= slot.attempts > 0;
            slot.attempts += 1;
            entries.push(entry);
            self.ready.pop_front();
        }
        let id = CallId(self.calls);
        self.calls += 1;
        self.open.push((id, entries.clone()));
        Call { id, entries, repeats }
    }

    /// Lines an entry up whose predecessors are settled, or fails it when no call can ever carry it.
    fn make_ready(&mut self, entry: usize) {
        let bytes = self.slots[entry].bytes;
        if bytes <= self.limits.bytes {
            self.ready.push_back(entry);
            return;
        }
        let limit = self.limits.bytes;
        let message = format!("it counts {bytes} bytes and the sink takes at most {limit} in a call; it was not sent");
        self.fail(entry, Unsettled { trouble: Trouble::Invalid, message });
    }

    /// Moves what has waited long enough to the front of the line, oldest first.
    fn wake(&mut self, now_ms: u64) {
        let mut due = Vec::new();
        while let Some(&Reverse((when, entry))) = self.waiting.peek() {
            if when > now_ms {
                break;
            }
            self.waiting.pop();
            due.push(entry);
        }
        for entry in due.into_iter().rev() {
            self.ready.push_front(entry);
        }
    }

    fn back_off(&mut self, now_ms: u64, again: Vec<usize>, jitter: f64) {
        let attempts = again.iter().map(|&e| self.slots[e].attempts).max().unwrap_or(0);
        let throttled =
            again.iter().any(|&e| self.slots[e].last.as_ref().is_some_and(|last| last.trouble == Trouble::Throttled));
        let ceiling_ms = self.policy.ceiling_ms(attempts, throttled);
        // A float cast saturates, and the precision lost beyond 2^53 ms does not matter to a random number.
        let delay_ms = ((jitter.clamp(0.0, 1.0) * ceiling_ms as f64) as u64).min(ceiling_ms);
        let when = now_ms.saturating_add(delay_ms);
        for entry in again {
            if when < self.deadline_ms() {
                self.waiting.push(Reverse((when, entry)));
            } else if let Some(last) = self.slots[entry].last.take() {
                self.give_up(entry, last, now_ms);
            }
        }
    }

    /// Fails all that is neither settled nor open: the time is over.
    fn expire(&mut self, now_ms: u64) {
        let waiting = std::mem::take(&mut self.waiting).into_iter().map(|Reverse((_, entry))| entry);
        for entry in std::mem::take(&mut self.ready).into_iter().chain(waiting) {
            match self.slots[entry].last.take() {
                Some(last) => self.give_up(entry, last, now_ms),
                None => {
                    let message = format!(
                        "not sent: {} ms for this delivery were over before its turn; retry it",
                        self.policy.deadline_ms
                    );
                    self.fail(entry, Unsettled { trouble: Trouble::Unavailable, message });
                }
            }
        }
    }

    fn give_up(&mut self, entry: usize, last: Unsettled, now_ms: u64) {
        let attempts = self.slots[entry].attempts;
        let spent_ms = now_ms.saturating_sub(self.started_ms);
        let times = if attempts == 1 { "attempt" } else { "attempts" };
        let message = format!("{}; gave up after {attempts} {times} in {spent_ms} ms", last.message);
        self.fail(entry, Unsettled { trouble: last.trouble, message });
    }

    /// Fails an entry for good, and with it all that must come after it.
    fn fail(&mut self, entry: usize, failure: Unsettled) {
        let trouble = if failure.trouble.is_retryable() { failure.trouble } else { Trouble::Unavailable };
        let mut successor = self.slots[entry].successor;
        self.settle(entry, Err(failure));
        while let Some(next) = successor {
            let message = "not sent: an earlier record of the same partition key was not delivered, and order within a \
                           key is kept; retry both, in their order";
            self.settle(next, Err(Unsettled { trouble, message: message.into() }));
            successor = self.slots[next].successor;
        }
    }

    fn settle(&mut self, entry: usize, result: Result<T, Unsettled>) {
        let slot = &mut self.slots[entry];
        debug_assert!(slot.result.is_none(), "entry {entry} is settled once");
        slot.result = Some(result);
        slot.last = None;
        self.unsettled -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { entries: 3, bytes: 100, open: 2 };
    const POLICY: RetryPolicy =
        RetryPolicy { attempts_max: 3, base_ms: 100, throttled_base_ms: 1_000, cap_ms: 5_000, deadline_ms: 10_000 };

    fn plain(sizes: &[usize]) -> Delivery<u8> {
        Delivery::new(sizes.iter().map(|&bytes| Entry { bytes, key: None }), LIMITS, POLICY, 0)
    }

    fn keyed(keys: &[&'static str]) -> Delivery<u8> {
        Delivery::new(keys.iter().map(|key| Entry { bytes: 1, key: Some(key) }), LIMITS, POLICY, 0)
    }

    fn call(step: Step) -> Call {
        match step {
            Step::Call(call) => call,
            other => panic!("expected a call, got {other:?}"),
        }
    }

    fn failure(trouble: Trouble) -> Result<u8, Unsettled> {
        Err(Unsettled { trouble, message: "shard 7 said no".into() })
    }

    fn message(result: &Result<u8, Unsettled>) -> &str {
        &result.as_ref().unwrap_err().message
    }

    #[test]
    fn calls_are_filled_to_their_limits() {
        let mut delivery = plain(&[60, 40, 1, 1, 1, 1]);
        assert_eq!(call(delivery.next(0)).entries, [0, 1], "100 bytes are full");
        let second = call(delivery.next(0));
        assert_eq!(second.entries, [2, 3, 4], "3 entries are full");
        assert_eq!(delivery.next(0), Step::Wait(None), "2 calls are open");
        delivery.answer(0, second.id, vec![Ok(1), Ok(1), Ok(1)], 0.0);
        assert_eq!(call(delivery.next(0)).entries, [5]);
    }

    #[test]
    fn only_what_failed_is_sent_again_after_a_jittered_back_off() {
        let mut delivery = plain(&[1, 1, 1]);
        let first = call(delivery.next(0));
        assert!(!first.repeats);
        delivery.answer(10, first.id, vec![Ok(1), failure(Trouble::Unavailable), Ok(1)], 0.5);
        assert_eq!(delivery.next(10), Step::Wait(Some(60)), "half of base, 100 ms");
        let second = call(delivery.next(60));
        assert!(second.repeats);
        assert_eq!(second.entries, [1]);
        delivery.answer(70, second.id, vec![failure(Trouble::Throttled)], 0.5);
        assert_eq!(delivery.next(70), Step::Wait(Some(1_070)), "half of the throttled base, doubled once");
        let third = call(delivery.next(1_070));
        delivery.answer(1_100, third.id, vec![failure(Trouble::Throttled)], 0.5);
        assert_eq!(delivery.next(1_100), Step::Done);
        let results = delivery.into_results();
        assert_eq!(results[1].as_ref().unwrap_err().trouble, Trouble::Throttled);
        assert_eq!(message(&results[1]), "shard 7 said no; gave up after 3 attempts in 1100 ms");
    }

    #[test]
    fn a_refused_entry_is_not_sent_again() {
        let mut delivery = plain(&[1]);
        let first = call(delivery.next(0));
        delivery.answer(0, first.id, vec![failure(Trouble::Rejected)], 0.0);
        assert_eq!(delivery.next(0), Step::Done);
        assert_eq!(message(&delivery.into_results()[0]), "shard 7 said no");
    }

    #[test]
    fn an_entry_no_call_can_carry_fails_alone() {
        let mut delivery = plain(&[101, 1]);
        let first = call(delivery.next(0));
        assert_eq!(first.entries, [1]);
        delivery.answer(0, first.id, vec![Ok(9)], 0.0);
        assert_eq!(delivery.next(0), Step::Done);
        let results = delivery.into_results();
        assert_eq!(results[0].as_ref().unwrap_err().trouble, Trouble::Invalid);
        assert!(message(&results[0]).starts_with("it counts 101 bytes and the sink takes at most 100"));
        assert_eq!(results[1], Ok(9));
    }

    #[test]
    fn one_of_a_key_at_a_time_and_in_order() {
        let mut delivery = keyed(&["a", "a", "b", "a"]);
        let first = call(delivery.next(0));
        assert_eq!(first.entries, [0, 2]);
        assert_eq!(delivery.next(0), Step::Wait(None));
        delivery.answer(0, first.id, vec![failure(Trouble::Unavailable), Ok(1)], 0.0);
        let second = call(delivery.next(0));
        assert_eq!(second.entries, [0], "its successors wait for it");
        delivery.answer(0, second.id, vec![Ok(1)], 0.0);
        assert_eq!(call(delivery.next(0)).entries, [1]);
    }

    #[test]
    fn what_follows_a_failed_entry_of_its_key_is_not_sent() {
        let mut delivery = keyed(&["a", "b", "a", "a"]);
        let first = call(delivery.next(0));
        delivery.answer(0, first.id, vec![failure(Trouble::Rejected), Ok(1)], 0.0);
        assert_eq!(delivery.next(0), Step::Done);
        let results = delivery.into_results();
        for after in [2, 3] {
            assert_eq!(results[after].as_ref().unwrap_err().trouble, Trouble::Unavailable, "retrying both can help");
            assert!(message(&results[after]).starts_with("not sent: an earlier record"));
        }
    }

    #[test]
    fn nothing_starts_after_the_deadline() {
        let mut delivery = plain(&[1, 1, 1, 1, 1, 1, 1]);
        let (first, second) = (call(delivery.next(0)), call(delivery.next(0)));
        delivery.answer(9_990, first.id, vec![failure(Trouble::Unavailable), Ok(1), Ok(1)], 0.9);
        assert_eq!(delivery.next(10_000), Step::Wait(None), "the open call is still waited for");
        delivery.answer(10_001, second.id, vec![failure(Trouble::Unavailable), Ok(1), Ok(1)], 0.0);
        assert_eq!(delivery.next(10_001), Step::Done);
        let results = delivery.into_results();
        assert_eq!(message(&results[0]), "shard 7 said no; gave up after 1 attempt in 9990 ms");
        assert_eq!(message(&results[3]), "shard 7 said no; gave up after 1 attempt in 10001 ms");
        assert!(message(&results[6]).starts_with("not sent: 10000 ms"));
    }

    #[test]
    fn a_wrong_number_of_answers_settles_nothing() {
        let mut delivery = plain(&[1, 1]);
        let first = call(delivery.next(0));
        delivery.answer(0, first.id, vec![Ok(1)], 0.0);
        let again = call(delivery.next(0));
        assert_eq!(again.entries, [0, 1]);
        delivery.answer(0, first.id, vec![Ok(1), Ok(1)], 0.0);
        assert_eq!(delivery.next(0), Step::Wait(None), "an answer to a call that is not open is ignored");
        let results = delivery.into_results();
        assert!(message(&results[0]).contains("may or may not have arrived"));
    }

    #[test]
    fn back_off_ceilings_double_up_to_the_cap() {
        let ceilings: Vec<_> = (1..=8).map(|attempts| POLICY.ceiling_ms(attempts, false)).collect();
        assert_eq!(ceilings, [100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000]);
        assert_eq!(POLICY.ceiling_ms(u32::MAX, true), 5_000);
    }
}
