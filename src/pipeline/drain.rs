//! Empties the spool: delivers what waits in it, lane by lane and in order, and deletes it after the far end's answer.
//!
//! A turn is one batch of one lane, about one call. Lanes take turns, a few at a time; one whose far end is away waits its back-off and keeps
//! nobody else. If the process dies in a turn, what was delivered and not deleted is delivered again.
//!
//! What can never be delivered must not hold up the line. A record that its stream finds invalid, while it takes others, becomes a dead
//! letter, as it does without a spool (`super::refused`). Where that cannot be, or where it is a letter that its queue does not take, the
//! entry is kept aside, with the reason, until an operator has it tried again. What is refused together, such as all for want of access,
//! is no entry's fault: the lane waits.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{Id, JoinSet};
use tokio::time::Instant;

use super::deliver::{deliver_letters, deliver_mesh};
use super::gate::Gate;
use super::spooling::Spooling;
use crate::gate::delivery::{Ordering, RetryPolicy};
use crate::gate::judge;
use crate::model::{DeadLetter, Record, Trouble, Unsettled};
use crate::sink::spool::{Entry, Kind, Lane};

/// Entries and bytes of one turn: what one call to Kinesis takes, and less of it than 10 MiB, as it is in memory.
const TURN_ENTRIES: usize = 500;
const TURN_BYTES: usize = 4 * 1024 * 1024;
/// Lanes at work at once.
const TURNS_AT_ONCE: usize = 8;
/// Between two looks at the lanes, and at what is shown of them.
const BEAT: Duration = Duration::from_millis(500);

/// The back-off of a lane is drawn up to this, and doubles with each turn that brought nothing.
const BACK_OFF_BASE: Duration = Duration::from_millis(200);
const BACK_OFF_MAX: Duration = Duration::from_secs(5);

/// Within a turn. What takes longer than a moment is for the lane's back-off.
const RETRY: RetryPolicy =
    RetryPolicy { attempts_max: 3, base_ms: 50, throttled_base_ms: 1_000, cap_ms: 2_000, deadline_ms: 10_000 };

/// What is remembered of a lane between its turns.
#[derive(Debug, Default)]
struct Course {
    /// Turns that brought nothing, since the last one that did.
    failed: u32,
    /// Not before this.
    due: Option<Instant>,
    /// Delivered, and could not be deleted: not to be delivered again.
    delivered: Vec<i64>,
}

/// How a turn ended.
struct Turn {
    has_brought: bool,
    delivered: Vec<i64>,
}

/// Drains the gate's spool until `told` resolves; turns under way then come to their end. Without a spool this does nothing.
pub async fn drain(gate: Arc<Gate>, told: impl Future<Output = ()>) {
    let Some(spooling) = gate.spooling.clone() else { return };
    let (mut turns, mut at_work) = (JoinSet::new(), HashMap::<Id, Lane>::new());
    let mut courses: HashMap<Lane, Course> = HashMap::new();
    tokio::pin!(told);
    loop {
        let lanes = spooling.spool.state().lanes;
        courses.retain(|lane, _| lanes.contains_key(lane) || at_work.values().any(|other| other == lane));
        let mut due: Vec<(Option<Instant>, Lane)> = lanes
            .into_iter()
            .filter(|(lane, held)| held.entries > 0 && at_work.values().all(|other| other != lane))
            .map(|(lane, _)| (courses.get(&lane).and_then(|course| course.due), lane))
            .filter(|(due, _)| due.is_none_or(|due| due <= Instant::now()))
            .collect();
        due.sort();
        for (_, lane) in due.into_iter().take(TURNS_AT_ONCE.saturating_sub(at_work.len())) {
            let delivered = std::mem::take(&mut courses.entry(lane.clone()).or_default().delivered);
            let turn = turn(Arc::clone(&gate), Arc::clone(&spooling), lane.clone(), delivered);
            at_work.insert(turns.spawn(turn).id(), lane);
        }
        spooling.show((gate.options.clock)());
        tokio::select! {
            () = &mut told => break,
            Some(ended) = turns.join_next_with_id() => {
                let (id, turn) = match ended {
                    Ok((id, turn)) => (id, turn),
                    Err(error) => {
                        tracing::error!(%error, "a turn of the spool ended early (a fault of the gate); it is tried again");
                        (error.id(), Turn { has_brought: false, delivered: Vec::new() })
                    }
                };
                if let Some(lane) = at_work.remove(&id) {
                    courses.entry(lane).or_default().note(turn);
                }
            }
            () = tokio::time::sleep(BEAT) => {}
        }
    }
    while turns.join_next().await.is_some() {}
    spooling.show((gate.options.clock)());
}

impl Course {
    fn note(&mut self, turn: Turn) {
        self.delivered = turn.delivered;
        if turn.has_brought {
            (self.failed, self.due) = (0, None);
            return;
        }
        let ceiling = BACK_OFF_BASE.saturating_mul(1 << self.failed.min(10)).min(BACK_OFF_MAX);
        // Half of it at least: a far end that is away is not asked at once again.
        let delay = ceiling.mul_f64(0.5 + fastrand::f64() / 2.0);
        (self.failed, self.due) = (self.failed.saturating_add(1), Some(Instant::now() + delay));
    }
}

/// What is to become of an entry.
enum Fate {
    Delivered,
    Quarantined,
    Aside(String),
    Waits,
}

/// Delivers the first entries of a lane. `delivered` is what was delivered before and is still in the file.
async fn turn(gate: Arc<Gate>, spooling: Arc<Spooling>, lane: Lane, delivered: Vec<i64>) -> Turn {
    let spool = &spooling.spool;
    if !delivered.is_empty() && spool.settle(&lane, delivered.clone(), Vec::new()).await.is_err() {
        return Turn { has_brought: false, delivered };
    }
    let nothing = Turn { has_brought: false, delivered: Vec::new() };
    let Ok(taken) = spool.first(&lane, TURN_ENTRIES, TURN_BYTES).await else { return nothing };
    let unreadable = "it cannot be read (somebody else wrote to the file, or it is damaged)";
    let mut aside: Vec<(i64, String)> = taken.unreadable.into_iter().map(|id| (id, unreadable.to_owned())).collect();
    let (ids, entries): (Vec<i64>, Vec<Entry>) = taken.entries.into_iter().unzip();

    let results = gate.deliver_spooled(&lane, &entries).await;
    let takes_some = results.iter().any(Result::is_ok);
    let failure = results.iter().find_map(|result| result.as_ref().err());
    match failure.filter(|_| !takes_some) {
        Some(failure) => spooling.is_away(&lane, &failure.message),
        None => spooling.is_back(&lane),
    }
    let (mut done, mut quarantined) = (Vec::new(), 0);
    for ((id, entry), result) in ids.into_iter().zip(entries).zip(results) {
        match gate.fate(entry, result, takes_some).await {
            Fate::Delivered => done.push(id),
            Fate::Quarantined => {
                quarantined += 1;
                done.push(id);
            }
            Fate::Aside(reason) => aside.push((id, reason)),
            Fate::Waits => {}
        }
    }
    spooling.drained(lane.kind, "delivered", done.len() - quarantined);
    spooling.drained(lane.kind, "quarantined", quarantined);
    tell_of(&lane, quarantined, &aside);
    let has_brought = !done.is_empty() || !aside.is_empty();
    let kept_aside = aside.len();
    match spool.settle(&lane, done.clone(), aside).await {
        Ok(()) => {
            spooling.forget_if_empty(&lane);
            spooling.drained(lane.kind, "aside", kept_aside);
            Turn { has_brought, delivered: Vec::new() }
        }
        Err(_) => Turn { has_brought: false, delivered: done },
    }
}

/// What of a turn could not be delivered as it was: a line for all of it.
fn tell_of(lane: &Lane, quarantined: usize, aside: &[(i64, String)]) {
    let (sink, name) = (lane.kind.as_str(), &*lane.name);
    if quarantined > 0 {
        tracing::warn!(
            sink,
            name,
            quarantined,
            "spooled records were refused by their stream, and are dead letters now"
        );
    }
    if let [(_, reason), ..] = aside {
        tracing::error!(
            sink,
            name,
            reason,
            aside = aside.len(),
            "spooled entries cannot be delivered as they are, and are kept aside; this is why for one of them, and GET /spool has all"
        );
    }
}

impl Gate {
    async fn deliver_spooled(&self, lane: &Lane, entries: &[Entry]) -> Vec<Result<(), Unsettled>> {
        let options = &self.options;
        match lane.kind {
            Kind::Mesh => {
                let records: Vec<&Record> = entries.iter().filter_map(Entry::record).collect();
                let is_ordered = entries.iter().any(|entry| matches!(entry, Entry::Record { is_ordered: true, .. }));
                let ordering = if is_ordered { Ordering::Key } else { Ordering::None };
                let answers =
                    deliver_mesh(&*options.mesh, &lane.name, &records, ordering, &RETRY, &options.metrics).await;
                answers.into_iter().map(|answer| answer.map(drop)).collect()
            }
            Kind::DeadLetter => {
                let letters: Vec<&DeadLetter> = entries.iter().filter_map(Entry::letter).collect();
                deliver_letters(&*options.letters, &lane.name, &letters, &RETRY, &options.metrics).await
            }
        }
    }

    /// What is to become of an entry, after its far end's answer. `takes_some`: others of its turn were taken.
    async fn fate(&self, entry: Entry, result: Result<(), Unsettled>, takes_some: bool) -> Fate {
        let failure = match result {
            Ok(()) => return Fate::Delivered,
            Err(failure) => failure,
        };
        let is_its_own = failure.trouble == Trouble::Invalid || (failure.trouble == Trouble::Rejected && takes_some);
        match entry {
            _ if !is_its_own => Fate::Waits,
            Entry::Record { record, .. } => self.quarantine_spooled(&record, &failure.message).await,
            Entry::Letter(_) => Fate::Aside(failure.message),
        }
    }

    /// Makes a dead letter of a record that its stream refuses.
    async fn quarantine_spooled(&self, record: &Record, refusal: &str) -> Fate {
        let (set, now) = (self.options.rules.current(), (self.options.clock)());
        let judged = judge::refused_by_stream(&set, record, refusal, now);
        let queue = match self.route(&record.stream) {
            Ok(route) => Arc::clone(self.queue_of(&route, &judged)),
            // Its route is no longer there.
            Err(_) => Arc::clone(judged.queue().unwrap_or(&self.options.dlq)),
        };
        let letter = self.letter(&judged, record, now);
        match self.send_letters(vec![(0, queue, letter)]).await.remove(&0) {
            Some(Ok(_)) => Fate::Quarantined,
            Some(Err(failure)) if failure.trouble == Trouble::Invalid => {
                Fate::Aside(format!("{refusal}; and its dead letter is refused too: {}", failure.message))
            }
            _ => Fate::Waits,
        }
    }
}

#[cfg(test)]
mod tests;
