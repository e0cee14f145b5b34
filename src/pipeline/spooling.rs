//! When a far end is away: what was accepted is put into a spool, acknowledged, and delivered when the far end is back.
//!
//! This stands above the deliveries, which retry as ever: what they give up as unavailable or throttled goes into the spool, with its
//! verdict made. So a record is judged once, and counts as forwarded once it is on disk here: for its producer, the metrics, and the checks
//! that remember. [`super::drain`] takes it out again.
//!
//! What is spooled, and what is not:
//!
//! * Rejected (access, a name) and invalid is not: that is no far end that is away. Neither is what is behind such a record
//!   where the order of its key is kept.
//! * A record that was read from a stream is not, nor its letter: it is durable where it is, and its shard waits. `meshgate kcl` and
//!   `--stdin` have no spool.
//! * Without routes, a stream that the gate has not seen since its start is not: a name that a client sent might be no stream's.
//! * The records of a container go into it one by one, each as its own: where a container may land is not known beforehand.
//!
//! Order, where the route keeps it (`ordering: key`): while anything for a mesh stream waits, whatever comes for that stream goes behind
//! it. It goes straight again once the line is empty, which it is after the far end's answer. A call whose answer was lost may have
//! arrived, and what it carried is spooled all the same: at least once, as ever.
//!
//! Without order to keep, and for letters, entries go behind the line only while the far end is known to be away, so that producers need not
//! wait for a delivery's deadline each time. When it takes something again, they go straight, and the line drains beside them.
//!
//! Where the spool is full, or its disk fails, a record is unsettled, as it is without a spool.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::gate::{Gate, forgotten};
use super::streams::StreamFacts;
use crate::config::Route;
use crate::gate::delivery::{Ordering, RetryPolicy};
use crate::metrics::Metrics;
use crate::model::{DeadLetter, Placement, Position, Record, Timestamp, Trouble, Unsettled};
use crate::sink::spool::{AsideEntry, Entry, Kind, Lane, LaneStatus, Refused, Spool};

type Answers = Vec<Result<Placement, Unsettled>>;

/// The reason that is shown before the first attempt.
const NOT_TRIED: &str = "not tried since the gate started";

/// A spool at work: the file, and which of the far ends are away.
pub struct Spooling {
    pub(super) spool: Spool,
    metrics: Arc<Metrics>,
    /// The lanes whose far end took nothing at the last attempt, and why. Of lanes that hold something.
    away: Mutex<BTreeMap<Lane, String>>,
}

/// How it stands with one lane, for people.
#[derive(Debug, Clone)]
pub struct LaneView {
    /// `mesh` or `dlq`.
    pub sink: &'static str,
    pub name: Arc<str>,
    pub held: LaneStatus,
    /// Why its far end takes nothing; `None` while it does.
    pub away: Option<String>,
}

/// How it stands with the spool, for people.
#[derive(Debug, Clone)]
pub struct SpoolView {
    pub bytes: u64,
    pub bytes_max: u64,
    pub lanes: Vec<LaneView>,
}

impl Spooling {
    /// What is in the spool from before is taken to be there for a reason, until it was tried.
    pub fn new(spool: Spool, metrics: Arc<Metrics>) -> Self {
        let away = spool.state().lanes.into_keys().map(|lane| (lane, NOT_TRIED.to_owned())).collect();
        Self { spool, metrics, away: Mutex::new(away) }
    }

    /// Entries that it holds, those aside included.
    pub fn waiting(&self) -> u64 {
        self.spool.state().lanes.values().map(|held| held.entries + held.aside).sum()
    }

    pub fn view(&self) -> SpoolView {
        let state = self.spool.state();
        let away = self.away();
        let lanes = state.lanes.into_iter().map(|(lane, held)| LaneView {
            sink: lane.kind.as_str(),
            held,
            away: away.get(&lane).cloned(),
            name: lane.name,
        });
        SpoolView { bytes: state.bytes, bytes_max: self.spool.bytes_max(), lanes: lanes.collect() }
    }

    /// The first hundred entries that are kept aside.
    ///
    /// # Errors
    /// Where the file cannot be read at present.
    pub async fn aside(&self) -> Result<Vec<AsideEntry>, Refused> {
        self.spool.aside().await
    }

    /// Has what is kept aside tried again. How many entries these are.
    ///
    /// # Errors
    /// Where the file cannot be written at present; nothing has changed.
    pub async fn put_back(&self) -> Result<u64, Refused> {
        self.spool.put_back().await
    }

    /// Shows what it holds in the metrics.
    pub(super) fn show(&self, now: Timestamp) {
        let (state, metrics) = (self.spool.state(), &self.metrics);
        let set = |bound: &str, bytes| {
            metrics.spool_bytes.with_label_values(&[bound]).set(i64::try_from(bytes).unwrap_or(i64::MAX));
        };
        set("used", state.bytes);
        set("limit", self.spool.bytes_max());
        for kind in Kind::ALL {
            let lanes = || state.lanes.iter().filter(|(lane, _)| lane.kind == kind).map(|(_, held)| held);
            let label = &[kind.as_str()];
            metrics.spool_entries.with_label_values(label).set(lanes().map(|held| held.entries as i64).sum());
            metrics.spool_aside.with_label_values(label).set(lanes().map(|held| held.aside as i64).sum());
            let oldest = lanes().filter_map(|held| held.oldest).min();
            let waited = oldest.map_or(0, |oldest| (now.millis() - oldest.millis()).max(0));
            metrics.spool_oldest.with_label_values(label).set(waited as f64 / 1_000.0);
        }
    }

    pub(super) fn drained(&self, kind: Kind, outcome: &str, entries: usize) {
        self.metrics.spool_drained.with_label_values(&[kind.as_str(), outcome]).inc_by(entries as u64);
    }

    fn away(&self) -> MutexGuard<'_, BTreeMap<Lane, String>> {
        self.away.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The far end of a lane took nothing. Told once.
    pub(super) fn is_away(&self, lane: &Lane, why: &str) {
        let before = self.away().insert(lane.clone(), why.to_owned());
        if before.is_none_or(|before| before == NOT_TRIED) {
            let (sink, name) = (lane.kind.as_str(), &*lane.name);
            tracing::error!(
                sink,
                name,
                why,
                "a far end takes nothing; what is accepted for it is kept in the spool and delivered when it is back"
            );
        }
    }

    /// The far end of a lane took something. Told once.
    pub(super) fn is_back(&self, lane: &Lane) {
        if self.away().remove(lane).is_some() {
            let entries = self.spool.lane(lane).map_or(0, |held| held.entries);
            tracing::info!(
                sink = lane.kind.as_str(),
                name = &*lane.name,
                entries,
                "a far end is back; the spool drains"
            );
        }
    }

    /// Nothing waits in a lane any more: whether its far end is away shows again when something is to go there.
    pub(super) fn forget_if_empty(&self, lane: &Lane) {
        if self.spool.lane(lane).is_none_or(|held| held.entries == 0) {
            self.away().remove(lane);
        }
    }

    /// Whether what comes for a lane is to go behind what waits there.
    fn is_in_turn(&self, lane: &Lane, is_ordered: bool) -> bool {
        let waits = self.spool.lane(lane).is_some_and(|held| held.entries > 0);
        waits && (is_ordered || self.away().contains_key(lane))
    }

    /// Puts entries behind what waits, all of them or none.
    async fn put(&self, lane: &Lane, entries: &[Entry], why: Option<&str>, now: Timestamp) -> Result<(), Unsettled> {
        let (kind, count) = (lane.kind.as_str(), entries.len() as u64);
        match self.spool.put(lane, now, entries).await {
            Ok(()) => {
                self.metrics.spool_spooled.with_label_values(&[kind]).inc_by(count);
                if let Some(why) = why {
                    self.is_away(lane, why);
                }
                Ok(())
            }
            Err(refused) => {
                let reason = if refused == Refused::Full { "full" } else { "failed" };
                self.metrics.spool_refused.with_label_values(&[kind, reason]).inc_by(count);
                Err(unsettled(lane, refused, why.or(self.away().get(lane).map(String::as_str)), self.spool.bytes_max()))
            }
        }
    }
}

/// Said to the producer of what the spool did not take.
fn unsettled(lane: &Lane, refused: Refused, why: Option<&str>, bytes_max: u64) -> Unsettled {
    let far_end = match lane.kind {
        Kind::Mesh => "the mesh stream",
        Kind::DeadLetter => "the dead-letter queue",
    };
    let why = why.map_or_else(|| format!("earlier entries for {far_end} wait in the gate's spool"), str::to_owned);
    let next = match refused {
        Refused::Full => format!(
            "the gate's spool is full ({} MiB) and did not take it either; it is not stored; retry with back-off",
            bytes_max >> 20
        ),
        other => format!(
            "{other}, and did not take it either; it is not stored; retry with back-off, and have the gate's operator look at \
             its disk"
        ),
    };
    Unsettled { trouble: Trouble::Unavailable, message: format!("{why}; {next}") }
}

/// Whether a delivery failed since the far end is away.
fn is_absence(failure: &Unsettled) -> bool {
    matches!(failure.trouble, Trouble::Unavailable | Trouble::Throttled)
}

/// Whether it can be read again from where it came.
fn is_kept(record: &Record) -> bool {
    matches!(record.position, Position::InShard { .. })
}

impl Gate {
    /// Lets the gate keep what it accepted in a spool while a far end is away. [`super::drain::drain`] empties it.
    #[must_use]
    pub fn with_spool(mut self, spooling: Arc<Spooling>) -> Self {
        self.spooling = Some(spooling);
        self
    }

    /// Puts the records on their stream, or into the spool where it is away.
    pub(super) async fn forward_or_spool(
        &self,
        spooling: &Spooling,
        (route, facts): (&Route, &StreamFacts),
        records: &[&Record],
    ) -> Answers {
        if !self.options.routes.is_explicit() && facts.shards.is_empty() {
            return self.forward_straight(route, facts, records).await;
        }
        let is_ordered = route.ordering == Ordering::Key;
        let lane = Lane { kind: Kind::Mesh, name: Arc::clone(&route.mesh) };
        let in_turn = spooling.is_in_turn(&lane, is_ordered);
        let goes_straight = |record: &Record| !in_turn || is_kept(record);
        let straight: Vec<&Record> = records.iter().copied().filter(|record| goes_straight(record)).collect();
        let mut sent = self.forward_straight(route, facts, &straight).await.into_iter();
        let mut answers: Vec<_> = records
            .iter()
            .map(|record| goes_straight(record).then(|| sent.next().unwrap_or_else(|| Err(forgotten()))))
            .collect();

        let mut held_up: HashSet<&str> = HashSet::new();
        let mut late = Vec::new();
        for (index, (&record, answer)) in records.iter().zip(&answers).enumerate() {
            let failure = match answer {
                Some(Ok(_)) => continue,
                Some(Err(failure)) => Some(failure),
                None => None,
            };
            let key = record.partition_key.as_deref().filter(|_| is_ordered);
            let is_taken = !is_kept(record) && failure.is_none_or(is_absence);
            if is_taken && key.is_none_or(|key| !held_up.contains(key)) {
                late.push(index);
            } else {
                // It comes again, and what is behind it with it.
                held_up.extend(key);
            }
        }
        if !late.is_empty() {
            let now = (self.options.clock)();
            let entry = |&index: &usize| Entry::Record { record: records[index].clone(), is_ordered };
            let entries: Vec<Entry> = late.iter().map(entry).collect();
            let why = late.iter().find_map(|&index| Some(answers[index].as_ref()?.as_ref().err()?.message.clone()));
            let put = spooling.put(&lane, &entries, why.as_deref(), now).await;
            for index in late {
                let placed = || self.synthetic_placement(facts, records[index], now);
                answers[index] = Some(put.clone().map(|()| placed()));
            }
        }
        answers.into_iter().map(|answer| answer.unwrap_or_else(|| Err(forgotten()))).collect()
    }

    /// Sends letters to their queue, or puts them into the spool where it is away.
    pub(super) async fn send_or_spool(
        &self,
        spooling: &Spooling,
        queue: &str,
        letters: &[&DeadLetter],
        policy: &RetryPolicy,
    ) -> Vec<Result<(), Unsettled>> {
        let lane = Lane { kind: Kind::DeadLetter, name: queue.into() };
        let in_turn = spooling.is_in_turn(&lane, false);
        // What no call can carry is refused by the delivery, at once.
        let bytes_max = self.options.letters.call_limits().bytes;
        let goes_straight =
            |letter: &DeadLetter| !in_turn || letter.is_kept || self.options.letters.size_of(letter) > bytes_max;
        let straight: Vec<&DeadLetter> = letters.iter().copied().filter(|letter| goes_straight(letter)).collect();
        let mut sent = self.send_straight(queue, &straight, policy).await.into_iter();
        let mut answers: Vec<_> = letters
            .iter()
            .map(|letter| goes_straight(letter).then(|| sent.next().unwrap_or_else(|| Err(forgotten()))))
            .collect();

        let is_late = |(letter, answer): (&&DeadLetter, &Option<Result<(), Unsettled>>)| {
            !letter.is_kept && answer.as_ref().is_none_or(|answer| answer.as_ref().is_err_and(is_absence))
        };
        let late: BTreeSet<usize> = letters
            .iter()
            .zip(&answers)
            .enumerate()
            .filter(|(_, pair)| is_late(*pair))
            .map(|(index, _)| index)
            .collect();
        if !late.is_empty() {
            let entries: Vec<Entry> = late.iter().map(|&index| Entry::Letter(letters[index].clone())).collect();
            let why = late.iter().find_map(|&index| Some(answers[index].as_ref()?.as_ref().err()?.message.clone()));
            let put = spooling.put(&lane, &entries, why.as_deref(), (self.options.clock)()).await;
            late.into_iter().for_each(|index| answers[index] = Some(put.clone()));
        }
        answers.into_iter().map(|answer| answer.unwrap_or_else(|| Err(forgotten()))).collect()
    }
}
