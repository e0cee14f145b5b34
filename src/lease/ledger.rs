//! What of a shard is taken in, under way and settled: which records to settle next, and how far the shard may be checkpointed. No IO.
//!
//! A caller gives what it reads to [`Ledger::handle`], asks [`Ledger::poll`] until it has nothing more to say, settles the batches it names and
//! reports what became of each record. The promises, which its properties hold:
//!
//! * a place is told to be settled only when it and all places before it are;
//! * every record is settled once, or is under way, or waits for its turn: none is forgotten, whatever fails;
//! * ordered by key, a record is never under way while an earlier one of its key is unsettled outside of its batch (inside, the gate
//!   keeps the order);
//! * what failed waits and is tried again, for ever: a shard whose far end is down stands still, and says so.
//!
//! How much is taken in at once is the caller's to bound, by [`Ledger::span`].

use std::collections::{BTreeSet, HashMap, VecDeque};

use crate::model::{Place, Record};

/// How batches are made. Zeros count as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LedgerOptions {
    /// Records in one batch. Those of one container stay together, however many they are.
    pub batch_records: usize,
    /// Batches under way at once.
    pub batches_open: usize,
    /// Whether records of one partition key are settled in their order.
    pub by_key: bool,
    /// The wait after a first failure, in milliseconds. It doubles with each further one.
    pub retry_base_ms: u64,
    /// No wait is longer.
    pub retry_cap_ms: u64,
}

impl Default for LedgerOptions {
    fn default() -> Self {
        Self { batch_records: 500, batches_open: 4, by_key: false, retry_base_ms: 100, retry_cap_ms: 10_000 }
    }
}

/// A place of the shard, and the record there. Places that nothing came of have none.
#[derive(Debug, Clone)]
pub struct Taken {
    pub place: Place,
    pub record: Option<Record>,
}

/// What the caller has to say.
#[derive(Debug)]
pub enum Input {
    /// Read from the shard, in its order, each place later than all before.
    Read(Vec<Taken>),
    /// The shard is closed, and all of it has been read.
    End,
    /// What became of a batch: whether each of its records is settled, in their order. Too few answers leave the rest unsettled. `jitter`
    /// is random in `[0, 1)`.
    Answered { batch: BatchId, settled: Vec<bool>, jitter: f64 },
    /// No further batches: only those that are under way are waited for. The rest is another reader's.
    Drain,
}

/// What the caller is to do, or to know.
#[derive(Debug)]
pub enum Output {
    /// Settle these, and report to [`Input::Answered`].
    Settle { batch: BatchId, records: Vec<Record> },
    /// All up to and with this place is settled.
    Settled(Place),
    /// The closed shard is settled to its end.
    Ended,
    /// Told to drain, and nothing is under way.
    Drained,
}

/// Names a batch of one ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BatchId(u64);

#[derive(Debug)]
struct Entry {
    place: Place,
    /// `None` once it is settled.
    record: Option<Record>,
    attempts: u32,
}

/// What happens to a ledger in the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Reading,
    /// All has been read.
    Ending,
    Draining,
    /// Has been told.
    Over,
}

/// One shard's records between being read and being settled.
#[derive(Debug)]
pub struct Ledger {
    options: LedgerOptions,
    /// All that is not settled, and what is settled behind it.
    entries: VecDeque<Entry>,
    /// The number of the first entry.
    first: u64,
    /// May be settled now, by number.
    ready: BTreeSet<u64>,
    /// Failed, with the time until which they wait.
    waiting: BTreeSet<(u64, u64)>,
    open: Vec<(BatchId, Vec<u64>)>,
    batches: u64,
    /// Unsettled entries of each key, in order.
    lines: HashMap<String, VecDeque<u64>>,
    unsettled: usize,
    /// Whether a batch could be made that could not when it was last tried.
    changed: bool,
    settled: Option<Place>,
    fate: Fate,
}

impl Ledger {
    pub fn new(options: LedgerOptions) -> Self {
        Self {
            options: LedgerOptions {
                batch_records: options.batch_records.max(1),
                batches_open: options.batches_open.max(1),
                ..options
            },
            entries: VecDeque::new(),
            first: 0,
            ready: BTreeSet::new(),
            waiting: BTreeSet::new(),
            open: Vec::new(),
            batches: 0,
            lines: HashMap::new(),
            unsettled: 0,
            changed: false,
            settled: None,
            fate: Fate::Reading,
        }
    }

    /// Takes in what the caller has to say. `now_ms` is any monotonic clock; later times come from the same one.
    pub fn handle(&mut self, input: Input, now_ms: u64) {
        match input {
            Input::Read(taken) => taken.into_iter().for_each(|taken| self.take(taken)),
            Input::End if self.fate == Fate::Reading => self.fate = Fate::Ending,
            Input::Drain if self.fate != Fate::Over => self.fate = Fate::Draining,
            Input::End | Input::Drain => {}
            Input::Answered { batch, settled, jitter } => self.answered(batch, &settled, jitter, now_ms),
        }
        self.advance();
    }

    /// What to do now. To be asked until it says nothing: after each [`Self::handle`], and at [`Self::wake_at`].
    pub fn poll(&mut self, now_ms: u64) -> Option<Output> {
        if let Some(place) = self.settled.take() {
            return Some(Output::Settled(place));
        }
        match self.fate {
            Fate::Over => return None,
            Fate::Draining => {
                return self.open.is_empty().then(|| {
                    self.fate = Fate::Over;
                    Output::Drained
                });
            }
            Fate::Ending if self.entries.is_empty() => {
                self.fate = Fate::Over;
                return Some(Output::Ended);
            }
            Fate::Ending | Fate::Reading => {}
        }
        self.wake(now_ms);
        if self.open.len() >= self.options.batches_open || !std::mem::take(&mut self.changed) {
            return None;
        }
        let (batch, numbers) = self.compose()?;
        // There may be enough for a further one.
        self.changed = true;
        let records = numbers.iter().filter_map(|&number| self.entry(number).record.clone()).collect();
        Some(Output::Settle { batch, records })
    }

    /// When [`Self::poll`] has something to say though nothing happens until then.
    pub fn wake_at(&self) -> Option<u64> {
        let first = self.waiting.first().map(|(until_ms, _)| *until_ms);
        first.filter(|_| matches!(self.fate, Fate::Reading | Fate::Ending))
    }

    /// Taken in and not settled.
    pub fn records(&self) -> usize {
        self.unsettled
    }

    /// From the first that is not settled to the last taken in: what is settled behind another one counts, since it is not done with.
    pub fn span(&self) -> usize {
        self.entries.len()
    }

    /// How often the record that holds up all others has failed, and its place.
    pub fn held_up(&self) -> Option<(&Place, u32)> {
        self.entries.front().filter(|entry| entry.attempts > 0).map(|entry| (&entry.place, entry.attempts))
    }

    fn take(&mut self, Taken { place, record }: Taken) {
        let number = self.first + self.entries.len() as u64;
        if let Some(record) = &record {
            self.unsettled += 1;
            self.ready.insert(number);
            self.changed = true;
            if let Some(key) = self.line_key(record) {
                self.lines.entry(key.to_owned()).or_default().push_back(number);
            }
        }
        self.entries.push_back(Entry { place, record, attempts: 0 });
    }

    fn line_key<'r>(&self, record: &'r Record) -> Option<&'r str> {
        record.partition_key.as_deref().filter(|_| self.options.by_key)
    }

    fn entry(&mut self, number: u64) -> &mut Entry {
        // Numbers that are ready, waiting or open are of entries that are still there.
        &mut self.entries[(number - self.first) as usize]
    }

    /// Makes ready what has waited long enough.
    fn wake(&mut self, now_ms: u64) {
        while let Some(&(until_ms, number)) = self.waiting.first().filter(|(until_ms, _)| *until_ms <= now_ms) {
            self.waiting.remove(&(until_ms, number));
            self.ready.insert(number);
            self.changed = true;
        }
    }

    /// The next batch, in order: of each key only what stands first in its line, and what follows it at once.
    fn compose(&mut self) -> Option<(BatchId, Vec<u64>)> {
        let mut joined: HashMap<&str, usize> = HashMap::new();
        let mut numbers = Vec::new();
        let mut sequence = "";
        for &number in &self.ready {
            let entry = &self.entries[(number - self.first) as usize];
            // A container is not torn apart: whole, it may be forwarded as it came.
            if numbers.len() >= self.options.batch_records && entry.place.sequence != sequence {
                break;
            }
            let key = entry.record.as_ref().and_then(|record| self.line_key(record));
            if let Some((key, line)) = key.and_then(|key| self.lines.get_key_value(key)) {
                let joined = joined.entry(key).or_default();
                if line.get(*joined) != Some(&number) {
                    continue;
                }
                *joined += 1;
            }
            sequence = &entry.place.sequence;
            numbers.push(number);
        }
        if numbers.is_empty() {
            return None;
        }
        for number in &numbers {
            self.ready.remove(number);
        }
        let batch = BatchId(self.batches);
        self.batches += 1;
        self.open.push((batch, numbers.clone()));
        Some((batch, numbers))
    }

    fn answered(&mut self, batch: BatchId, settled: &[bool], jitter: f64, now_ms: u64) {
        let Some(at) = self.open.iter().position(|(id, _)| *id == batch) else { return };
        let (_, numbers) = self.open.swap_remove(at);
        self.changed = true;
        for (at, number) in numbers.into_iter().enumerate() {
            if settled.get(at).copied().unwrap_or(false) {
                self.settle(number);
            } else {
                self.fail(number, jitter, now_ms);
            }
        }
    }

    fn settle(&mut self, number: u64) {
        let Some(record) = self.entry(number).record.take() else { return };
        self.unsettled -= 1;
        let Some(key) = self.line_key(&record).map(str::to_owned) else { return };
        if let Some(line) = self.lines.get_mut(&key) {
            line.retain(|other| *other != number);
            if line.is_empty() {
                self.lines.remove(&key);
            }
        }
    }

    fn fail(&mut self, number: u64, jitter: f64, now_ms: u64) {
        let LedgerOptions { retry_base_ms, retry_cap_ms, .. } = self.options;
        let entry = self.entry(number);
        let grown = retry_base_ms.saturating_mul(1_u64.checked_shl(entry.attempts).unwrap_or(u64::MAX));
        entry.attempts = entry.attempts.saturating_add(1);
        let ceiling_ms = grown.clamp(1, retry_cap_ms.max(1));
        // From half of it on: what failed together is tried together, and not at once.
        let wait_ms = ceiling_ms / 2 + (jitter.clamp(0.0, 1.0) * (ceiling_ms / 2) as f64) as u64;
        self.waiting.insert((now_ms.saturating_add(wait_ms), number));
    }

    /// Gives up what is settled at the front, and remembers how far that is.
    fn advance(&mut self) {
        while self.entries.front().is_some_and(|entry| entry.record.is_none()) {
            self.settled = self.entries.pop_front().map(|entry| entry.place);
            self.first += 1;
        }
    }
}

#[cfg(test)]
mod tests;
