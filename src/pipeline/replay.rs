//! Dead letters judged again by the rules in force: those that now pass go to their mesh stream, the others stay, with one attempt more.
//!
//! ```text
//! receive ─▶ choose ─▶ journal: known? ─▶ judge ─┬─▶ journal: begun ─▶ put ─▶ journal: done ─▶ remove
//!                                                └─▶ replace by the letter with its attempt
//! ```
//!
//! A letter leaves its queue only once its event is on the mesh stream and that is noted. Where the process dies before the note, the event is
//! put again, and counted as possibly twice; after it, the letter is only removed. So a replay can be stopped at any moment and run again.
//!
//! Checks that remember are not asked: what they remember is a gate's. A letter that such a check refused stays, as long as its contract
//! has that check.

mod rejudge;
mod report;

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::Instant;

pub use self::report::{Group, Replayed, Report};
use super::gate::Gate;
use crate::gate::document::{self, Attempt, DocumentFault, Filter, Summary};
use crate::gate::edit::{self, Edit};
use crate::gate::letter;
use crate::model::{DeadLetter, Judgement, Placement, Record, Timestamp, Trouble, Unsettled, Verdict, ViolationKind};
use crate::port::{DeadLetterBox, Received, Ticket};
use crate::sink::local::{Entry, Journal, Progress};

/// Letters that are held at most: SQS allows 120,000 in flight.
pub const HELD_MAX: usize = 100_000;

/// What is to be replayed, and how.
#[derive(Debug)]
pub struct ReplayOptions {
    pub filter: Filter,
    pub edits: Vec<Edit>,
    /// Judge and count; forward, remove and note nothing.
    pub dry_run: bool,
    /// Letters at most.
    pub letters_max: Option<u64>,
    /// Events forwarded in a second at most.
    pub per_second: Option<u32>,
    /// Batches under way at once. At least 1.
    pub workers: usize,
}

/// A letter with what it says of itself.
struct Letter {
    ticket: Ticket,
    body: String,
    summary: Summary,
}

/// What is to become of a letter.
enum Fate {
    Forward { record: Box<Record>, mesh: Arc<str>, revision: Arc<str> },
    Drop,
    Stays { outcome: Replayed, rule: String, attempt: Option<Attempt> },
}

/// One replay. Share it to follow how far it is.
pub struct Replay {
    gate: Arc<Gate>,
    letters: Arc<dyn DeadLetterBox>,
    journal: Journal,
    options: ReplayOptions,
    clock: fn() -> Timestamp,
    /// Letters of this run: one that comes back with its new attempt is not tried again.
    seen: Mutex<HashSet<String>>,
    report: Mutex<Report>,
    /// Letters that are given back at the end: given back at once, a queue would go on giving them.
    held: Mutex<Vec<Ticket>>,
    looked_at: AtomicU64,
    is_stopped: AtomicBool,
    /// From when on the rate allows one more.
    free_from: Mutex<Instant>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Replay {
    pub fn new(
        gate: Arc<Gate>,
        letters: Arc<dyn DeadLetterBox>,
        journal: Journal,
        options: ReplayOptions,
        clock: fn() -> Timestamp,
    ) -> Self {
        Self {
            gate,
            letters,
            journal,
            options,
            clock,
            seen: Mutex::default(),
            report: Mutex::default(),
            held: Mutex::default(),
            looked_at: AtomicU64::new(0),
            is_stopped: AtomicBool::new(false),
            free_from: Mutex::new(Instant::now()),
        }
    }

    /// Letters looked at so far.
    pub fn looked_at(&self) -> u64 {
        self.looked_at.load(Relaxed)
    }

    /// Begins nothing more. What is under way is brought to its end.
    pub fn stop(&self, why: &str) {
        self.is_stopped.store(true, Relaxed);
        locked(&self.report).stopped.get_or_insert_with(|| why.to_owned());
    }

    /// Replays to the end of the queue, or until it is stopped, or a far end is away.
    pub async fn run(self: Arc<Self>) -> Report {
        let mut workers = JoinSet::new();
        for _ in 0..self.options.workers.max(1) {
            let replay = Arc::clone(&self);
            workers.spawn(async move { replay.work().await });
        }
        while let Some(ended) = workers.join_next().await {
            if ended.is_err() {
                self.stop("a part of it failed, a fault of meshgate; run the replay again");
            }
        }
        self.release_held(0).await;
        std::mem::take(&mut *locked(&self.report))
    }

    /// Holds letters until the end, or until there are more than may be.
    async fn hold(&self, tickets: impl IntoIterator<Item = Ticket>) {
        locked(&self.held).extend(tickets);
        self.release_held(HELD_MAX).await;
    }

    async fn release_held(&self, most: usize) {
        let held = {
            let mut held = locked(&self.held);
            if held.len() <= most { Vec::new() } else { std::mem::take(&mut *held) }
        };
        self.letters.release(&held).await;
    }

    async fn work(&self) {
        while !self.is_stopped.load(Relaxed) {
            match self.letters.receive().await {
                Ok(received) if received.is_empty() => return,
                Ok(received) => {
                    if let Err(failure) = self.batch(received).await {
                        self.stop(&failure.message);
                    }
                }
                Err(failure) => self.stop(&failure.message),
            }
        }
    }

    /// # Errors
    /// Where it makes no sense to go on: the journal cannot be written, or the far end takes nothing.
    async fn batch(&self, received: Vec<Received>) -> Result<(), Unsettled> {
        let letters = self.choose(received).await;
        let ids = letters.iter().map(|letter| letter.summary.id.clone()).collect();
        let known = match self.journal.progress(ids).await {
            Ok(known) => known,
            Err(failure) => {
                self.give_back(&letters).await;
                return Err(failure);
            }
        };
        let (mut gone, mut forward, mut stay) = (Vec::new(), Vec::new(), Vec::new());
        for letter in letters {
            if known.get(&letter.summary.id) == Some(&Progress::Done) {
                gone.push((letter, Replayed::Already));
                continue;
            }
            match self.fate(&letter).await {
                Fate::Forward { record, mesh, revision } => forward.push((letter, *record, mesh, revision)),
                Fate::Drop => gone.push((letter, Replayed::Dropped)),
                Fate::Stays { outcome, rule, attempt } => stay.push((letter, outcome, rule, attempt)),
            }
        }
        if self.options.dry_run {
            self.tell_dry(&gone, &forward, &stay, &known).await;
            return Ok(());
        }
        let ended = self.forward(forward, &known, &mut gone).await;
        self.remove(gone).await;
        self.keep(stay).await;
        ended
    }

    /// Those that are meant; the others are given back.
    async fn choose(&self, received: Vec<Received>) -> Vec<Letter> {
        let (mut letters, mut others) = (Vec::new(), Vec::new());
        for Received { ticket, body } in received {
            self.looked_at.fetch_add(1, Relaxed);
            match document::summary(&body) {
                Err(_) => {
                    self.count("unknown", "unknown", Replayed::Unreadable, "");
                    others.push(ticket);
                }
                Ok(summary) if self.is_meant(&summary) => letters.push(Letter { ticket, body, summary }),
                Ok(_) => others.push(ticket),
            }
        }
        self.hold(others).await;
        letters
    }

    fn is_meant(&self, summary: &Summary) -> bool {
        if !self.options.filter.matches(summary) {
            locked(&self.report).passed_over += 1;
            return false;
        }
        let mut seen = locked(&self.seen);
        if self.options.letters_max.is_some_and(|most| seen.len() as u64 >= most) {
            drop(seen);
            self.stop("the limit was reached");
            return false;
        }
        seen.insert(summary.id.clone())
    }

    async fn fate(&self, letter: &Letter) -> Fate {
        let stays = |outcome, rule: &str| Fate::Stays { outcome, rule: rule.to_owned(), attempt: None };
        let Summary { domain, contract, rules, .. } = &letter.summary;
        if let Some(rule) = self.gate.remembering(domain, contract, rules) {
            return stays(Replayed::Remembered, &rule);
        }
        let (mut record, _) = match document::original_record(&letter.body) {
            Ok(original) => original,
            Err(DocumentFault::NotOriginal(_)) => return stays(Replayed::NotOriginal, ""),
            Err(_) => return stays(Replayed::Unreadable, ""),
        };
        let now = (self.clock)();
        if !self.options.edits.is_empty() {
            match edit::edited(&self.options.edits, &record, now) {
                Ok(edited) => record = edited,
                Err(_) => return stays(Replayed::NotEdited, ""),
            }
        }
        let Some((judgement, mesh)) = self.gate.judge_again(&record, now).await else {
            return stays(Replayed::NoRoute, "");
        };
        let revision = Arc::clone(&judgement.stamp.revision);
        match judgement.verdict {
            Verdict::Forward => {
                if let Some(told) = self.with_lineage(letter, &record, now).await {
                    record = told;
                }
                Fate::Forward { record: Box::new(record), mesh, revision }
            }
            Verdict::Drop => Fate::Drop,
            Verdict::Quarantine => {
                let (rule, kind) = decided(&judgement);
                let attempt = self.attempt(&rule, kind, &revision, now);
                Fate::Stays { outcome: Replayed::Refused, rule, attempt: Some(attempt) }
            }
        }
    }

    /// The event with its lineage, where its contract has a place for that and it passes with it.
    async fn with_lineage(&self, letter: &Letter, record: &Record, now: Timestamp) -> Option<Record> {
        let Summary { domain, contract, id, quarantined, attempts, revision, .. } = &letter.summary;
        let at = self.gate.lineage(domain, contract)?;
        let lineage = json!({
            "deadLetter": id,
            "quarantinedAt": quarantined,
            "replayedAt": now.to_string(),
            "attempts": attempts + 1,
            "revision": revision,
        });
        let told = edit::with_value(record, &at, lineage).ok()?;
        let (judgement, _) = self.gate.judge_again(&told, now).await?;
        (judgement.verdict == Verdict::Forward).then_some(told)
    }

    fn attempt(&self, rule: &str, kind: &str, revision: &str, now: Timestamp) -> Attempt {
        Attempt {
            at: now.to_string(),
            revision: revision.to_owned(),
            rule: rule.to_owned(),
            kind: kind.to_owned(),
            edited: !self.options.edits.is_empty(),
        }
    }

    /// Puts events on their streams, noted before and after. Those that are there are added to what is to be removed.
    async fn forward(
        &self,
        letters: Vec<(Letter, Record, Arc<str>, Arc<str>)>,
        known: &HashMap<String, Progress>,
        gone: &mut Vec<(Letter, Replayed)>,
    ) -> Result<(), Unsettled> {
        if letters.is_empty() {
            return Ok(());
        }
        self.wait_for_rate(letters.len()).await;
        let mut entries: Vec<Entry> = letters.iter().map(|letter| self.entry(letter)).collect();
        if let Err(failure) = self.journal.note(entries.clone(), Progress::Begun).await {
            let letters: Vec<Letter> = letters.into_iter().map(|(letter, ..)| letter).collect();
            letters.iter().for_each(|letter| self.count_letter(letter, Replayed::Unsettled, ""));
            self.give_back(&letters).await;
            return Err(failure);
        }
        let records: Vec<&Record> = letters.iter().map(|(_, record, ..)| record).collect();
        let answers = self.gate.put_again(&records).await;
        let (mut placed, mut failure) = (Vec::new(), None);
        let mut back = Vec::new();
        for (((letter, ..), answer), entry) in letters.into_iter().zip(answers).zip(&mut entries) {
            match answer {
                Ok(Placement { shard_id, sequence_number }) => {
                    entry.placed = Some(format!("{shard_id} {sequence_number}"));
                    placed.push((letter, entry.clone()));
                }
                Err(refused) => {
                    match refused.trouble {
                        Trouble::Invalid => self.count_letter(&letter, Replayed::Refused, "too_large"),
                        _ => self.count_letter(&letter, Replayed::Unsettled, ""),
                    }
                    back.push(letter);
                    failure = Some(refused);
                }
            }
        }
        self.give_back(&back).await;
        let ended = match failure.filter(|failure| placed.is_empty() && failure.trouble != Trouble::Invalid) {
            Some(failure) => Err(failure),
            None => Ok(()),
        };
        // The events are there. Without the note they would be put again, so nothing is removed without it.
        let entries = placed.iter().map(|(_, entry)| entry.clone()).collect();
        let noted = self.journal.note(entries, Progress::Done).await;
        for (letter, entry) in placed {
            if noted.is_err() {
                self.count_letter(&letter, Replayed::Unsettled, "");
                continue;
            }
            let Entry { id, stream, placed, revision, .. } = &entry;
            tracing::info!(id, stream, placed, revision, "a dead letter's event is on the mesh stream");
            let was_begun = known.contains_key(&letter.summary.id);
            gone.push((letter, if was_begun { Replayed::PossiblyTwice } else { Replayed::Forwarded }));
        }
        noted.and(ended)
    }

    fn entry(&self, (letter, record, mesh, revision): &(Letter, Record, Arc<str>, Arc<str>)) -> Entry {
        let is_repaired = !self.options.edits.is_empty();
        let repaired = || (letter.body.clone(), String::from_utf8_lossy(&record.data).into_owned());
        Entry {
            id: letter.summary.id.clone(),
            at: (self.clock)(),
            stream: mesh.to_string(),
            revision: revision.to_string(),
            placed: None,
            repaired: is_repaired.then(repaired),
        }
    }

    async fn wait_for_rate(&self, events: usize) {
        let Some(rate) = self.options.per_second.filter(|rate| *rate > 0) else { return };
        let begins = {
            let mut free_from = locked(&self.free_from);
            let begins = (*free_from).max(Instant::now());
            *free_from = begins + Duration::from_secs_f64(events as f64 / f64::from(rate));
            begins
        };
        tokio::time::sleep_until(begins).await;
    }

    async fn remove(&self, gone: Vec<(Letter, Replayed)>) {
        let tickets: Vec<Ticket> = gone.iter().map(|(letter, _)| letter.ticket.clone()).collect();
        for ((letter, outcome), removed) in gone.into_iter().zip(self.letters.remove(&tickets).await) {
            if let Err(failure) = removed {
                // It is noted as forwarded: the next replay only removes it.
                tracing::warn!(
                    id = letter.summary.id,
                    failure.message,
                    "a dead letter that was dealt with is in its queue still"
                );
            }
            self.count_letter(&letter, outcome, "");
        }
    }

    async fn keep(&self, stay: Vec<(Letter, Replayed, String, Option<Attempt>)>) {
        let (mut replaced, mut back) = (Vec::new(), Vec::new());
        for (letter, outcome, rule, attempt) in stay {
            self.count_letter(&letter, outcome, &rule);
            let body = attempt.and_then(|attempt| document::with_attempt(&letter.body, &attempt).ok());
            match body.map(|body| dead_letter(&letter.summary, body)) {
                Some(dead_letter) => replaced.push((letter.ticket, dead_letter)),
                None => back.push(letter.ticket),
            }
        }
        self.hold(back).await;
        let answers = self.letters.replace(&replaced).await;
        let mut failed = Vec::new();
        for ((ticket, letter), answer) in replaced.into_iter().zip(answers) {
            if let Err(failure) = answer {
                tracing::warn!(
                    letter.id,
                    failure.message,
                    "a dead letter stays as it was: its attempt could not be noted in it"
                );
                failed.push(ticket);
            }
        }
        self.hold(failed).await;
    }

    async fn tell_dry(
        &self,
        gone: &[(Letter, Replayed)],
        forward: &[(Letter, Record, Arc<str>, Arc<str>)],
        stay: &[(Letter, Replayed, String, Option<Attempt>)],
        known: &HashMap<String, Progress>,
    ) {
        gone.iter().for_each(|(letter, outcome)| self.count_letter(letter, *outcome, ""));
        for (letter, ..) in forward {
            let is_begun = known.contains_key(&letter.summary.id);
            self.count_letter(letter, if is_begun { Replayed::PossiblyTwice } else { Replayed::Forwarded }, "");
        }
        stay.iter().for_each(|(letter, outcome, rule, _)| self.count_letter(letter, *outcome, rule));
        let all = gone.iter().map(|(letter, _)| letter).chain(forward.iter().map(|(letter, ..)| letter));
        self.hold(all.chain(stay.iter().map(|(letter, ..)| letter)).map(|letter| letter.ticket.clone())).await;
    }

    async fn give_back(&self, letters: &[Letter]) {
        self.hold(letters.iter().map(|letter| letter.ticket.clone())).await;
    }

    fn count_letter(&self, letter: &Letter, outcome: Replayed, rule: &str) {
        self.count(&letter.summary.domain, &letter.summary.contract, outcome, rule);
    }

    fn count(&self, domain: &str, contract: &str, outcome: Replayed, rule: &str) {
        if !self.options.dry_run {
            let labels = [domain, contract, outcome.as_str()];
            self.gate.options.metrics.replayed.with_label_values(&labels).inc();
        }
        let group = Group { domain: domain.into(), contract: contract.into(), outcome, rule: rule.into() };
        *locked(&self.report).groups.entry(group).or_default() += 1;
    }
}

/// The rule and the kind of the violation that decides.
fn decided(judgement: &Judgement) -> (String, &'static str) {
    judgement
        .first()
        .map_or(("unknown".into(), "unknown"), |violation| (violation.rule.to_string(), violation.kind.as_str()))
}

/// The letter as it is sent again.
fn dead_letter(summary: &Summary, body: String) -> DeadLetter {
    DeadLetter {
        id: summary.id.clone(),
        body,
        document_bytes: None,
        // What may not be kept at all cannot be replayed, and is never sent again.
        key_hash: summary.partition_key.as_deref().map(|key| letter::key_hash(&summary.domain, key, false)),
        is_kept: false,
        attempts: summary.attempts + 1,
        quarantined: Timestamp::parse_rfc3339(&summary.quarantined).unwrap_or_default(),
        stream: summary.stream.as_str().into(),
        domain: summary.domain.as_str().into(),
        contract: summary.contract.as_str().into(),
        rule: summary.rule.as_str().into(),
        kind: ViolationKind::parse(&summary.kind).map_or("unknown", ViolationKind::as_str),
        trace: None,
    }
}
