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

/// Between two looks at what is due. Rates are of a minute.
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
    loop {
        let told = tokio::time::timeout(LOOK_EVERY, stop.wait_for(|stop| *stop)).await;
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
