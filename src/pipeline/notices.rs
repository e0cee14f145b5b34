//! Tells people of quarantine: what `gate::notice` finds due goes to the log, and to an SNS topic where the domain has one.
//!
//! None of it holds up or fails a record. A gate takes note of what it settled once a batch; a task looks every few seconds what is due;
//! another one sends, one notice after the other, from a queue with a bound. A notice that cannot be sent is counted and told in the log,
//! which had it already. What is watched is lost with the process: the next one begins anew, and says `started` once more.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::rules::Rules;
use crate::config::NoticeSettings;
use crate::gate::notice::text::{self, About};
use crate::gate::notice::{Event, Notice, Watch};
use crate::metrics::Metrics;
use crate::model::{Judgement, Timestamp, Unsettled};
use crate::port::{Dispatch, NoticeSink};

/// Between two looks at what is due: the rest of a burst is part of its first notice, and rates are of a minute.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Notices that wait to be sent.
const WAITING_MAX: usize = 64;

/// Calls for one notice, and the pause after the first, which doubles.
const ATTEMPTS_MAX: u32 = 4;
const PAUSE: Duration = Duration::from_secs(1);

/// How long the last notices may take once the gate has drained.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// What a gate tells of the events it settled.
#[derive(Debug)]
pub struct Noted(Mutex<Watch>);

impl Noted {
    fn with<T>(&self, work: impl FnOnce(&mut Watch) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes note of a batch's events that were settled.
    pub(super) fn observe<'a>(&self, settled: impl Iterator<Item = &'a Judgement>, now: Timestamp) {
        self.with(|watch| watch.observe(settled, now));
    }
}

/// What telling takes.
pub struct NoticeOptions {
    pub settings: NoticeSettings,
    pub rules: Arc<Rules>,
    /// `None`: the backend has no topics.
    pub sink: Option<Arc<dyn NoticeSink>>,
    pub metrics: Arc<Metrics>,
    /// What this process is called, unique and for people.
    pub gate: String,
    pub clock: fn() -> Timestamp,
}

/// Telling, at work. Dropped, it ends at once.
#[derive(Debug)]
pub struct Notices {
    noted: Arc<Noted>,
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

impl Notices {
    pub fn start(options: NoticeOptions) -> Self {
        let noted = Arc::new(Noted(Mutex::new(Watch::new(options.settings.terms))));
        let stop = watch::Sender::new(false);
        let mut tasks = JoinSet::new();
        warn_of_settings(&options);
        let queue = options.sink.clone().map(|sink| {
            let (queue, waiting) = mpsc::channel(WAITING_MAX);
            tasks.spawn(send_all(waiting, sink, Arc::clone(&options.metrics)));
            queue
        });
        let teller = Teller { options, noted: Arc::clone(&noted), queue, serial: AtomicU64::new(0) };
        tasks.spawn(look(teller, stop.subscribe()));
        Self { noted, stop, tasks }
    }

    /// Where the gate is to tell of what it settled.
    pub fn noted(&self) -> Arc<Noted> {
        Arc::clone(&self.noted)
    }

    /// Tells what is still due, once the gate settles nothing any more. A quarantine that lasts has not ended because the gate has.
    pub async fn finish(mut self) {
        let _ = self.stop.send(true);
        let all = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(LAST_WORDS, all).await.is_err() {
            tracing::warn!(
                "the last notices of quarantine were not sent in time, and are in the log alone; events are not concerned"
            );
        }
    }
}

/// Says what of the settings has no effect, which nobody would miss otherwise.
fn warn_of_settings(options: &NoticeOptions) {
    let NoticeOptions { settings, rules, sink, .. } = options;
    let has_topic = settings.topic.is_some() || !settings.domains.is_empty();
    if sink.is_none() && has_topic {
        tracing::warn!("notices go to the log alone: topics are of AWS, and `backend` is local");
    }
    let current = rules.current();
    for domain in settings.domains.keys().filter(|name| current.domain(name).is_none()) {
        tracing::warn!(
            domain,
            "`notices.domains` names a domain that the rules do not have; see how it is written there"
        );
    }
}

/// Decides where notices go.
struct Teller {
    options: NoticeOptions,
    noted: Arc<Noted>,
    queue: Option<mpsc::Sender<Dispatch>>,
    /// Of the last notice.
    serial: AtomicU64,
}

async fn look(teller: Teller, mut stop: watch::Receiver<bool>) {
    // Where a short time is quiet enough, looking is to find that it was.
    let quiet = Duration::from_millis(teller.options.settings.terms.quiet_ms.unsigned_abs());
    let every = LOOK_EVERY.min(quiet / 2);
    loop {
        let told = tokio::time::timeout(every, stop.wait_for(|stop| *stop)).await;
        teller.look();
        if told.is_ok() {
            return;
        }
    }
}

impl Teller {
    fn look(&self) {
        let now = (self.options.clock)();
        let notices = self.noted.with(|watch| watch.due(now));
        notices.iter().for_each(|notice| self.tell(notice));
    }

    fn tell(&self, notice: &Notice) {
        log(notice);
        let outcome = match self.dispatch(notice).zip(self.queue.as_ref()) {
            None => "logged",
            Some((dispatch, queue)) => match queue.try_send(dispatch) {
                // Counted when it has been sent, or not.
                Ok(()) => return,
                Err(_) => {
                    let domain = &*notice.domain;
                    tracing::error!(
                        domain,
                        "too many notices wait to be sent, and this one is in the log alone; see that the topics can be reached"
                    );
                    "dropped"
                }
            },
        };
        count(&self.options.metrics, &notice.domain, notice.event.as_str(), outcome);
    }

    /// `None` where the domain has no topic.
    fn dispatch(&self, notice: &Notice) -> Option<Dispatch> {
        let NoticeOptions { settings, rules, gate, .. } = &self.options;
        let topic = settings.domains.get(&*notice.domain).or(settings.topic.as_ref())?;
        let current = rules.current();
        let domain = current.domain(&notice.domain);
        let id = format!("{gate}-{}", self.serial.fetch_add(1, Relaxed) + 1);
        let about = About {
            id: &id,
            owner: domain.map(|domain| &domain.owner),
            revision: domain.map(|domain| &*domain.revision),
            gate,
        };
        Some(Dispatch {
            topic: Arc::clone(topic),
            domain: Arc::clone(&notice.domain),
            event: notice.event.as_str(),
            subject: text::subject(notice),
            body: text::document(notice, &about),
            id,
        })
    }
}

/// One line for each notice, whether it is sent or not.
fn log(notice: &Notice) {
    let Notice { domain, judged, quarantined, peak_per_minute, since, .. } = notice;
    let (contract, rule) = notice.rules.first().map_or(("", ""), |first| (&*first.contract, &*first.rule));
    let look = text::command(notice);
    macro_rules! tell {
        ($level:ident, $message:literal) => {
            tracing::$level!(
                domain = &**domain, contract, rule, quarantined, judged, peak_per_minute, since = %since, look, $message
            )
        };
    }
    match notice.event {
        Event::Started => tell!(warn, "quarantine started: the dead letters have the reasons"),
        Event::Exceeded => tell!(warn, "quarantine exceeds its rate: see what changed, the rules or their producers"),
        Event::Ended => tell!(info, "quarantine ended: nothing was quarantined for a while"),
    }
}

fn count(metrics: &Metrics, domain: &str, event: &str, outcome: &str) {
    metrics.notices.with_label_values(&[domain, event, outcome]).inc();
}

/// Sends until there is nobody left to tell, and nothing waits.
async fn send_all(mut waiting: mpsc::Receiver<Dispatch>, sink: Arc<dyn NoticeSink>, metrics: Arc<Metrics>) {
    while let Some(dispatch) = waiting.recv().await {
        let outcome = match send(&*sink, &dispatch).await {
            Ok(()) => "sent",
            Err(Unsettled { trouble, message }) => {
                let (domain, event) = (&*dispatch.domain, dispatch.event);
                let trouble = trouble.as_str();
                tracing::error!(
                    domain,
                    event,
                    trouble,
                    message,
                    "a notice was not sent, and is in the log alone; events are not concerned"
                );
                "failed"
            }
        };
        count(&metrics, &dispatch.domain, dispatch.event, outcome);
    }
}

/// # Errors
/// Those of the last attempt, or the first that trying again cannot help.
async fn send(sink: &dyn NoticeSink, dispatch: &Dispatch) -> Result<(), Unsettled> {
    let mut pause = PAUSE;
    for _ in 1..ATTEMPTS_MAX {
        match sink.publish(dispatch).await {
            Err(failure) if failure.trouble.is_retryable() => tokio::time::sleep(pause).await,
            settled => return settled,
        }
        pause *= 2;
    }
    sink.publish(dispatch).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::RuleSource;
    use crate::gate::judge;
    use crate::gate::notice::Terms;
    use crate::model::{Stamp, Trouble, Verdict};
    use crate::pipeline::rules::RuleOptions;
    use crate::port::BoxFuture;

    /// A far end that answers the same again and again, or never, and knows how often it was asked.
    struct FarEnd {
        answer: Option<Result<(), Trouble>>,
        asked: Mutex<Vec<Dispatch>>,
    }

    impl NoticeSink for FarEnd {
        fn publish<'a>(&'a self, dispatch: &'a Dispatch) -> BoxFuture<'a, Result<(), Unsettled>> {
            Box::pin(async move {
                self.asked.lock().unwrap().push(dispatch.clone());
                match self.answer {
                    Some(answer) => answer.map_err(|trouble| Unsettled { trouble, message: "as told".to_owned() }),
                    None => std::future::pending().await,
                }
            })
        }
    }

    /// Quarantines an event in each of so many domains, lets an hour pass, and stops. Gives what was asked, and the metrics.
    async fn play(domains: usize, answer: Option<Result<(), Trouble>>) -> (Vec<Dispatch>, Arc<Metrics>) {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join("shop")).unwrap();
        let domain = "apiVersion: meshgate/v1\nkind: Domain\nmetadata: {name: shop, owner: {team: shop}}\n";
        std::fs::write(home.path().join("shop/domain.yaml"), domain).unwrap();
        let (metrics, source) = (Arc::new(Metrics::new()), RuleSource::from(home.path()));
        let (rules, _) = Rules::load(RuleOptions::new(source, Arc::clone(&metrics))).unwrap();
        let sink = Arc::new(FarEnd { answer, asked: Mutex::default() });
        let terms = Terms { share: None, per_minute: None, quiet_ms: 60_000, every_ms: 60_000 };
        let settings = NoticeSettings { topic: Some("arn".into()), domains: [].into(), terms };
        let notices = Notices::start(NoticeOptions {
            settings,
            rules: Arc::new(rules),
            sink: Some(Arc::clone(&sink) as _),
            metrics: Arc::clone(&metrics),
            gate: "pod-1".to_owned(),
            clock: || Timestamp::from_millis(0),
        });
        let judgements = (0..domains).map(|index| {
            let stamp = Stamp { domain: format!("d{index}").into(), ..(*judge::ignored().stamp).clone() };
            Judgement { verdict: Verdict::Quarantine, stamp: Arc::new(stamp), ..judge::ignored() }
        });
        notices.noted().observe(judgements.collect::<Vec<_>>().iter(), Timestamp::from_millis(0));
        tokio::time::sleep(Duration::from_secs(3_600)).await;
        let stopped = tokio::time::Instant::now();
        notices.finish().await;
        assert!(stopped.elapsed() <= LAST_WORDS, "{:?}", stopped.elapsed());
        let asked = sink.asked.lock().unwrap().clone();
        (asked, metrics)
    }

    fn counted(metrics: &Metrics, outcome: &str) -> f64 {
        let series = metrics.counters("meshgate_notices_total");
        let is_it =
            |labels: &[(String, String)]| labels.iter().any(|(name, value)| name == "outcome" && value == outcome);
        series.iter().filter(|(labels, _)| is_it(labels)).map(|(_, count)| count).sum()
    }

    #[tokio::test(start_paused = true)]
    async fn a_far_end_that_fails_is_asked_a_few_times_and_one_that_refuses_once() {
        let (asked, metrics) = play(1, Some(Ok(()))).await;
        assert_eq!((asked.len(), counted(&metrics, "sent")), (1, 1.0));
        assert_eq!((&*asked[0].id, asked[0].event), ("pod-1-1", "started"));
        let (asked, metrics) = play(1, Some(Err(Trouble::Unavailable))).await;
        assert_eq!((asked.len(), counted(&metrics, "failed")), (ATTEMPTS_MAX as usize, 1.0));
        assert!(asked.iter().all(|dispatch| *dispatch == asked[0]), "a retry is the same notice");
        let (asked, metrics) = play(1, Some(Err(Trouble::Rejected))).await;
        assert_eq!((asked.len(), counted(&metrics, "failed")), (1, 1.0));
    }

    #[tokio::test(start_paused = true)]
    async fn what_waits_has_a_bound_and_the_rest_is_counted() {
        let (asked, metrics) = play(3 * WAITING_MAX, None).await;
        assert_eq!(asked.len(), 1, "one at a time");
        // The tasks' order decides whether the first has left the queue.
        let dropped = counted(&metrics, "dropped");
        assert!(dropped == 2.0 * WAITING_MAX as f64 || dropped == 2.0 * WAITING_MAX as f64 - 1.0, "{dropped}");
    }
}
