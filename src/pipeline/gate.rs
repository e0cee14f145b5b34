//! The gate as sources see it: a batch of records in, an outcome for each out.

use std::collections::hash_map::RandomState;

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use prometheus::IntGauge;

use super::candidate::{self, Opinion};
use super::coalesce::Coalescer;

use super::doubts;
use super::notices::Noted;
use super::objects::Objects;
use super::outbox::{self, Made};
use super::pulse::Pulsing;
use super::rules::{InForce, Rules};
use super::spooling::Spooling;
use super::streams::{StreamFacts, Streams};
use super::unfold;
use crate::config::{OnQuarantine, Route, Routes};
use crate::gate::breaker::Admission;
use crate::gate::delivery::{Ordering, RetryPolicy};
use crate::gate::isolate::{isolate, keep_order};
use crate::gate::judge::{self, HeldBy, Judged, Terms};
use crate::memory::{Doubts, Observed};
use crate::metrics::Metrics;
use crate::model::{
    DeadLetter, Judgement, Outcome, Placement, Record, Settlement, Stamp, Timestamp, Trouble, Unsettled, Verdict,
};
use crate::port::{BoxFuture, Catalog, CatalogError, DeadLetterSink, Intake, IntakeError, MeshSink};

/// How long a batch is judged before the other tasks of its thread are moved away: judging is computation. Most batches take
/// less; moving costs a thread for each batch under way, with the memory that a thread's allocations keep.
const JUDGE_HERE_MAX: Duration = Duration::from_millis(2);

/// How many records are judged between two looks at the clock.
const JUDGED_AT_ONCE: usize = 16;

/// Between two lines of the log about records that could not be settled.
const COMPLAINT_INTERVAL: Duration = Duration::from_secs(10);

/// What a gate is made of.
pub struct GateOptions {
    pub rules: Arc<Rules>,
    pub routes: Routes,
    /// The queue of events whose route and domain name none.
    pub dlq: Arc<str>,
    pub mesh: Arc<dyn MeshSink>,
    pub letters: Arc<dyn DeadLetterSink>,
    /// Where letters are kept as objects, beside their queue.
    pub objects: Option<Objects>,
    pub catalog: Arc<dyn Catalog>,
    pub retry: RetryPolicy,
    pub records_in_flight_max: i64,
    /// What a compressed payload may inflate to.
    pub inflated_bytes_max: usize,
    pub metrics: Arc<Metrics>,
    pub clock: fn() -> Timestamp,
}

/// Judges and settles. Shared by all requests; holds no lock across an await but the streams' memory.
pub struct Gate {
    pub(super) options: GateOptions,
    pub(super) mesh: Coalescer,
    pub(super) streams: Streams,
    pub(super) serial: AtomicU64,
    pub(super) ids: RandomState,
    pub(super) spooling: Option<Arc<Spooling>>,
    /// When the log last said that records were not settled.
    complained: Mutex<Option<Instant>>,
    noted: Option<Arc<Noted>>,
    pub(super) pulse: Option<Arc<Pulsing>>,
}

/// A judged record, as far as its delivery goes.
struct ToDeliver {
    judgement: Judgement,
    /// Of a quarantined one: its queue and its letter.
    letter: Option<(Arc<str>, DeadLetter)>,
    /// What is remembered of it once it is forwarded; `None` when that has been done.
    observed: Option<Observed>,
    /// What its verdict rests on and is not certain yet.
    doubts: Option<Arc<Doubts>>,
    held: Option<HeldBy>,
}

impl ToDeliver {
    fn is_forwarded(&self) -> bool {
        self.judgement.verdict == Verdict::Forward && self.held.is_none()
    }

    fn is_confirmed(&self) -> bool {
        self.doubts.as_ref().is_none_or(|doubts| doubts.is_confirmed())
    }
}

/// Counts records in flight down again however the batch ends, a dropped future included.
struct InFlight<'a>(&'a IntGauge, i64);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.sub(self.1);
    }
}

impl Gate {
    pub fn new(options: GateOptions) -> Self {
        let streams = Streams::new(Arc::clone(&options.catalog));
        let mesh = Coalescer::new(Arc::clone(&options.mesh));
        if let Some(objects) = &options.objects {
            objects.begin(&options.metrics);
        }
        options.metrics.in_flight_limit.set(options.records_in_flight_max);
        Self {
            options,
            mesh,
            streams,
            serial: AtomicU64::new(0),
            ids: RandomState::new(),
            spooling: None,
            complained: Mutex::default(),
            noted: None,
            pulse: None,
        }
    }

    /// Tells of what it settles, so that people are told of quarantine.
    #[must_use]
    pub fn noted_by(self, noted: Option<Arc<Noted>>) -> Self {
        Self { noted, ..self }
    }

    fn enter(&self, records: usize) -> Result<InFlight<'_>, IntakeError> {
        let count = i64::try_from(records).unwrap_or(i64::MAX);
        let gauge = &self.options.metrics.in_flight;
        gauge.add(count);
        let entered = InFlight(gauge, count);
        // A batch larger than the whole bound still passes when it is alone: it must not wait for ever.
        let alone = gauge.get() == count;
        if gauge.get() > self.options.records_in_flight_max && !alone {
            Err(IntakeError::Overloaded)
        } else {
            Ok(entered)
        }
    }

    /// The route of what is written to a stream.
    pub(super) fn route(&self, stream: &str) -> Result<Route, IntakeError> {
        let route = self.options.routes.find(stream, &self.options.rules.current());
        route.ok_or_else(|| IntakeError::UnknownStream { stream: stream.to_owned() })
    }

    /// Judges and settles records each of which is one event.
    pub(super) async fn settle_events(&self, stream: &str, records: Vec<Record>) -> Result<Vec<Outcome>, IntakeError> {
        let unknown = || IntakeError::UnknownStream { stream: stream.to_owned() };
        let set = self.options.rules.current();
        let route = self.options.routes.find(stream, &set).ok_or_else(unknown)?;
        let _in_flight = self.enter(records.len())?;
        let facts = self.streams.facts(&route.mesh).await.map_err(|_| unknown())?;
        let received: usize = records.iter().map(|r| r.data.len()).sum();
        self.options.metrics.received_bytes.with_label_values(&[&*route.label]).inc_by(received as u64);

        let now = (self.options.clock)();
        let (records, ignored) = outbox::unwrap_all(&route, records);
        let terms = Terms {
            record_bytes_max: facts.record_bytes_max,
            inflated_bytes_max: self.options.inflated_bytes_max,
            type_pointer: route.type_pointer.as_ref(),
            outbox: route.outbox.as_deref(),
            states: Some(&set.states),
        };
        let (mut judged, opinions) = self.judge_all(&set, &records, terms, now);
        self.pass_breakers(&set, &mut judged, now);
        isolate(route.isolation, &records, &mut judged);
        if route.ordering == Ordering::Key {
            keep_order(&records, &mut judged);
        }
        // Letters are work as well, and a storm of bad events is nothing but letters.
        let letters = judged.iter().filter(|judged| judged.judgement.verdict == Verdict::Quarantine).count();
        let apart = || {
            let parts = records.iter().zip(judged);
            parts.map(|(record, judged)| self.take_apart(&route, record, judged, now)).collect()
        };
        let judged = if letters > JUDGED_AT_ONCE { in_place(apart) } else { apart() };

        let mut outcomes = self.deliver(&route, &facts, &records, judged, now).await;
        self.quarantine_refused((&route, &set, &facts), &records, &mut outcomes, now).await;
        if let Some(candidate) = &set.candidate {
            let decided: Vec<_> = outcomes.iter().map(|outcome| (&outcome.judgement, is_settled(outcome))).collect();
            candidate::count(candidate, opinions, &decided, &self.options.metrics);
        }
        self.complain(&route, &outcomes);
        self.count(&route, &set, &outcomes);
        ignored.iter().for_each(|ignored| outbox::count(&route, ignored.change, &self.options.metrics));
        Ok(outbox::merge(outcomes, ignored, |record| Outcome {
            judgement: judge::ignored(),
            settlement: Settlement::Dropped(self.synthetic_placement(&facts, record, now)),
        }))
    }

    /// Judges a batch by the rules in force, and by candidate rules where there are some.
    fn judge_all<'s>(
        &self,
        set: &'s InForce,
        records: &[Record],
        terms: Terms<'_>,
        now: Timestamp,
    ) -> (Vec<Judged<'s>>, Vec<Opinion>) {
        let started = Instant::now();
        let (mut judged, mut opinions) = (Vec::with_capacity(records.len()), Vec::new());
        let mut judge_part = |part: &[Record]| {
            judged.extend(part.iter().map(|record| judge::judge(set, record, terms, now)));
            if let Some(candidate) = &set.candidate {
                opinions.extend(part.iter().map(|record| candidate.judge(record, terms, now)));
            }
        };
        let mut parts = records.chunks(JUDGED_AT_ONCE);
        while started.elapsed() < JUDGE_HERE_MAX
            && let Some(part) = parts.next()
        {
            judge_part(part);
        }
        if parts.len() > 0 {
            in_place(|| parts.for_each(judge_part));
        }
        self.observe_judging(started, judged.len());
        (judged, opinions)
    }

    /// Asks the contracts' breakers what is to become of their events.
    fn pass_breakers(&self, set: &InForce, judged: &mut [Judged<'_>], now: Timestamp) {
        if set.breakers.is_empty() {
            return;
        }
        for judged in judged {
            let outcome = match judged.admit(&set.breakers, now) {
                Admission::Pass => continue,
                Admission::Hold => "held",
                Admission::ForwardAnyway => "forwarded",
            };
            let Stamp { domain, contract, .. } = &*judged.judgement.stamp;
            self.options.metrics.breaker_events.with_label_values(&[&**domain, &**contract, outcome]).inc();
        }
    }

    fn count(&self, route: &Route, set: &InForce, outcomes: &[Outcome]) {
        let (metrics, now) = (&self.options.metrics, (self.options.clock)());
        // What a breaker or a doubt holds comes again, and is judged again.
        let judged = outcomes.iter().filter(|outcome| !is_held(outcome));
        metrics.count_judgements(judged.map(|outcome| &outcome.judgement), now);
        if let Some(noted) = &self.noted {
            let settled = outcomes.iter().filter(|outcome| is_settled(outcome));
            noted.observe(settled.map(|outcome| &outcome.judgement), now);
        }
        if let Some(pulse) = &self.pulse {
            pulse.observe(outcomes, set, now);
        }
        for settlement in SETTLEMENTS {
            let count = outcomes.iter().filter(|outcome| name_of(&outcome.settlement) == settlement).count();
            if count > 0 {
                metrics.records.with_label_values(&[&*route.label, settlement]).inc_by(count as u64);
            }
        }
    }

    /// Says that a sink is in trouble: once in a while, however many records it is that were not settled.
    fn complain(&self, route: &Route, outcomes: &[Outcome]) {
        let failure = outcomes.iter().find_map(|outcome| match &outcome.settlement {
            Settlement::Unsettled(unsettled) => Some(unsettled),
            _ => None,
        });
        let Some(Unsettled { trouble, message }) = failure else { return };
        let mut complained = self.complained.lock().unwrap_or_else(PoisonError::into_inner);
        if complained.is_none_or(|last| last.elapsed() >= COMPLAINT_INTERVAL) {
            *complained = Some(Instant::now());
            tracing::error!(
                route = &*route.label,
                trouble = trouble.as_str(),
                message,
                "records could not be settled, and their producers were told; this is one of them, others are counted in \
                 meshgate_records_total",
            );
        }
    }

    fn observe_judging(&self, started: Instant, events: usize) {
        let mean = started.elapsed().as_secs_f64() / events.max(1) as f64;
        self.options.metrics.observe_judging(mean, events);
    }

    /// Makes of a judged event what its delivery needs.
    fn take_apart(&self, route: &Route, record: &Record, judged: Judged<'_>, now: Timestamp) -> ToDeliver {
        let letter = (judged.judgement.verdict == Verdict::Quarantine && judged.held.is_none()).then(|| {
            let queue = Arc::clone(self.queue_of(route, &judged));
            (queue, self.letter(&judged, record, now))
        });
        let Judged { judgement, observed, doubts, held, .. } = judged;
        ToDeliver { judgement, letter, observed: Some(observed), doubts, held }
    }

    /// Delivers both kinds at once, and then those whose verdict rests on what was under way. If this future is dropped, or the
    /// process dies, some records may already be durable: the producer got no answer and sends them again.
    async fn deliver(
        &self,
        route: &Route,
        facts: &StreamFacts,
        records: &[Record],
        mut judged: Vec<ToDeliver>,
        now: Timestamp,
    ) -> Vec<Outcome> {
        let forward: Vec<&Record> =
            records.iter().zip(&judged).filter(|(_, judged)| judged.is_forwarded()).map(|(record, _)| record).collect();
        let certain = letters_of(&mut judged, |judged| judged.doubts.is_none());
        let (forwarded, mut sent) = tokio::join!(self.forward(route, facts, &forward), self.send_letters(certain));
        let mut forwarded = remember(&mut judged, forwarded).into_iter();
        doubts::resolve(judged.iter().filter_map(|judged| judged.doubts.as_deref()).collect(), self.options.clock)
            .await;
        sent.append(&mut self.send_letters(letters_of(&mut judged, ToDeliver::is_confirmed)).await);

        let outcome = |(index, (record, judged)): (usize, (&Record, ToDeliver))| {
            let is_confirmed = judged.is_confirmed();
            let ToDeliver { judgement, held, .. } = judged;
            let synthetic = || self.synthetic_placement(facts, record, now);
            let settlement = match judgement.verdict {
                _ if held.is_some() => Err(why_held(held, &judgement.stamp)),
                // Before doubts are looked at: each answer belongs to one that `is_forwarded`.
                Verdict::Forward => forwarded.next().unwrap_or_else(|| Err(forgotten())).map(Settlement::Forwarded),
                _ if !is_confirmed => Err(doubts::unsettled()),
                Verdict::Drop => Ok(Settlement::Dropped(synthetic())),
                Verdict::Quarantine => {
                    sent.remove(&index).unwrap_or_else(|| Err(forgotten())).map(|dead_letter| Settlement::Quarantined {
                        placement: synthetic(),
                        dead_letter,
                        refuse: judgement.refuse || route.on_quarantine == OnQuarantine::Refuse,
                    })
                }
            };
            Outcome { judgement, settlement: settlement.unwrap_or_else(Settlement::Unsettled) }
        };
        records.iter().zip(judged).enumerate().map(outcome).collect()
    }

    pub(super) fn synthetic_placement(&self, facts: &StreamFacts, record: &Record, now: Timestamp) -> Placement {
        facts.synthetic_placement(record, now, self.serial.fetch_add(1, Relaxed))
    }

    /// The operator's word for one route beats the domain's, which beats the gate's default.
    pub(super) fn queue_of<'a>(&'a self, route: &'a Route, judged: &'a Judged<'_>) -> &'a Arc<str> {
        route.dlq.as_ref().or_else(|| judged.queue()).unwrap_or(&self.options.dlq)
    }
}

/// Runs computation on this thread while its other tasks move away, where the runtime has threads to move them to.
pub(super) fn in_place<T>(work: impl FnOnce() -> T) -> T {
    use tokio::runtime::{Handle, RuntimeFlavor};
    match Handle::try_current().map(|handle| handle.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(work),
        _ => work(),
    }
}

/// Takes the letters of those records.
fn letters_of(judged: &mut [ToDeliver], is_due: impl Fn(&ToDeliver) -> bool) -> Vec<(usize, Arc<str>, DeadLetter)> {
    let due = judged.iter_mut().enumerate().filter(|(_, judged)| is_due(judged));
    due.filter_map(|(index, judged)| judged.letter.take().map(|(queue, letter)| (index, queue, letter))).collect()
}

/// Makes count what is on the mesh stream, and gives back what is not.
fn remember<T, E>(judged: &mut [ToDeliver], forwarded: Vec<Result<T, E>>) -> Vec<Result<T, E>> {
    let mut answers = forwarded.iter();
    for judged in judged {
        let is_settled = judged.is_forwarded() && answers.next().is_some_and(Result::is_ok);
        if let Some(observed) = judged.observed.take().filter(|_| is_settled) {
            observed.settle();
        }
    }
    forwarded
}

pub(super) fn forgotten() -> Unsettled {
    Unsettled {
        trouble: Trouble::Unavailable,
        message: "the sink answered for fewer entries than it was given (a fault of the gate); send the record again"
            .into(),
    }
}

fn why_held(by: Option<HeldBy>, stamp: &Stamp) -> Unsettled {
    let why = match by {
        Some(HeldBy::Others) => "records that stand or fall with this one are held".to_owned(),
        Some(HeldBy::Earlier) => "an earlier record of its partition key is not settled, and order is kept".to_owned(),
        Some(HeldBy::Breaker) | None => format!(
            "the breaker of {}/{} is open: too many of its events would be quarantined",
            stamp.domain, stamp.contract
        ),
    };
    Unsettled { trouble: Trouble::Held, message: format!("{why}; nothing is settled, send it again later") }
}

fn is_held(outcome: &Outcome) -> bool {
    matches!(outcome.settlement, Settlement::Unsettled(Unsettled { trouble: Trouble::Held, .. }))
}

fn is_settled(outcome: &Outcome) -> bool {
    !matches!(outcome.settlement, Settlement::Unsettled(_))
}

/// What [`name_of`] gives.
const SETTLEMENTS: [&str; 4] = ["forwarded", "quarantined", "dropped", "unsettled"];

const fn name_of(settlement: &Settlement) -> &'static str {
    match settlement {
        Settlement::Forwarded(_) => "forwarded",
        Settlement::Quarantined { .. } => "quarantined",
        Settlement::Dropped(_) => "dropped",
        Settlement::Unsettled(_) => "unsettled",
    }
}

impl Intake for Gate {
    fn unfold(&self, stream: &str, record: Record) -> Result<Vec<Record>, IntakeError> {
        let route = self.route(stream)?;
        let made = unfold::parts_in_place(record).into_iter().filter_map(|part| match outbox::unwrap(&route, part) {
            Made::Record(record) => Some(record),
            Made::Ignored(_, change) => {
                outbox::count(&route, change, &self.options.metrics);
                None
            }
        });
        Ok(made.collect())
    }

    fn settle<'a>(&'a self, stream: &'a str, records: Vec<Record>) -> BoxFuture<'a, Result<Vec<Outcome>, IntakeError>> {
        Box::pin(self.settle_batch(stream, records))
    }

    fn judge(&self, domain: &str, name: &str, events: &[Bytes], now: Timestamp) -> Result<Vec<Judgement>, IntakeError> {
        let set = self.options.rules.current();
        let contract = set
            .contract(domain, name)
            .ok_or_else(|| IntakeError::UnknownContract { domain: domain.to_owned(), contract: name.to_owned() })?;
        let nowhere: Arc<str> = "".into();
        let judge_all = || {
            // Nothing is forwarded, so nothing is remembered either.
            let judge_one = |data: &Bytes| {
                judge::judge_against(contract, &Record::new(data.clone(), Arc::clone(&nowhere), now), now, None).0
            };
            events.iter().map(judge_one).collect()
        };
        Ok(in_place(judge_all))
    }

    fn mesh_stream(&self, stream: &str) -> Option<Arc<str>> {
        let set = self.options.rules.current();
        self.options.routes.find(stream, &set).map(|route| route.mesh)
    }

    fn source_streams<'a>(&'a self) -> BoxFuture<'a, Result<Vec<String>, CatalogError>> {
        Box::pin(async move {
            let routed = self.options.routes.sources().map(str::to_owned);
            if self.options.routes.is_explicit() {
                return Ok(routed.collect());
            }
            let set = self.options.rules.current();
            let mut names = self.options.catalog.list_streams().await?;
            names.retain(|name| set.covers(name).is_some());
            Ok(names)
        })
    }
}
