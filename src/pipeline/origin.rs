//! Where a set of rules comes from, and how it goes with getting them: for `/ready`, metrics and the log.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::config::git::Fetched;
use crate::config::rules::ReadError;
use crate::config::source::{Read, RuleSource};
use crate::metrics::Metrics;
use crate::model::Timestamp;

/// A source with what was seen of it.
pub struct Origin {
    source: RuleSource,
    /// `rules` or `candidate`, for metrics.
    set: &'static str,
    metrics: Arc<Metrics>,
    clock: fn() -> Timestamp,
    /// Held for a moment only: probes ask for it.
    seen: Mutex<Seen>,
}

/// How it stands with a source.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// What was fetched last, of a remote.
    pub commit: Option<String>,
    /// When that was last known to be the newest.
    pub fetched: Option<Timestamp>,
    /// Why it cannot be fetched, and why what was fetched, or is there, cannot be read. `None` while it can.
    unfetched: Option<String>,
    unread: Option<String>,
    /// The name of what was read last, whether it compiled or not.
    content: Option<String>,
}

impl Origin {
    pub fn new(source: RuleSource, set: &'static str, metrics: Arc<Metrics>, clock: fn() -> Timestamp) -> Self {
        Self { source, set, metrics, clock, seen: Mutex::default() }
    }

    pub fn source(&self) -> &RuleSource {
        &self.source
    }

    pub fn seen(&self) -> Seen {
        self.lock().clone()
    }

    /// What [`RuleSource::look`] said of the files that were read last.
    pub fn content(&self) -> Option<String> {
        self.lock().content.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fetches, where there is something to fetch, and says nothing in the log: somebody asked, and is told. Blocks for a minute
    /// or two.
    pub fn fetch(&self) -> Result<(), ReadError> {
        let fetched = self.source.fetch();
        let outcome = match &fetched {
            Ok(None) => return Ok(()),
            Ok(Some(Fetched { is_new: true, .. })) => "changed",
            Ok(Some(_)) => "unchanged",
            Err(_) => "failed",
        };
        self.metrics.rules_fetches.with_label_values(&[self.set, outcome]).inc();
        self.lock().unfetched = fetched.as_ref().err().map(ToString::to_string);
        if let Some(Fetched { commit, .. }) = fetched? {
            let now = (self.clock)();
            self.metrics.rules_fetched.with_label_values(&[self.set]).set(now.millis() as f64 / 1_000.0);
            let mut seen = self.lock();
            (seen.commit, seen.fetched) = (Some(commit), Some(now));
        }
        Ok(())
    }

    /// Fetches, and gives a name for what there is to read. A source that is in trouble is told once, however often it is looked at.
    pub fn look(&self) -> Result<String, ReadError> {
        let was_well = self.seen().error().is_none();
        let looked = self.fetch().and_then(|()| self.note(self.source.look()));
        match &looked {
            Err(error) if was_well => tracing::warn!(
                set = self.set, source = %self.source, %error,
                "the rules cannot be had; the last good ones stay in force, and this is told once"
            ),
            Ok(_) if !was_well => tracing::info!(set = self.set, source = %self.source, "the rules can be had again"),
            _ => {}
        }
        looked
    }

    /// Reads all files, of a remote those that were fetched last.
    pub fn read(&self) -> Result<Read, ReadError> {
        let read = self.note(self.source.read());
        if let Ok(read) = &read {
            self.lock().content = Some(read.content.clone());
        }
        read
    }

    /// What was read is not kept, so that it is new when it can be read again.
    pub fn forget(&self) {
        self.lock().content = None;
    }

    /// For a start, when nothing is in force yet: fetches and reads. When the remote is in trouble, what was fetched by the gate
    /// that ran before is better than no gate.
    pub fn read_first(&self) -> Result<Read, ReadError> {
        let Err(error) = self.fetch() else { return self.read() };
        let Ok(read) = self.read() else { return Err(error) };
        tracing::warn!(
            set = self.set, source = %self.source, %error, revision = read.revision,
            "the rules cannot be fetched; those that were fetched last are taken, and it is tried again"
        );
        self.lock().commit = Some(read.revision.clone());
        Ok(read)
    }

    fn note<T>(&self, result: Result<T, ReadError>) -> Result<T, ReadError> {
        self.lock().unread = result.as_ref().err().map(ToString::to_string);
        result
    }
}

impl Seen {
    /// Why the newest files cannot be had.
    pub fn error(&self) -> Option<&str> {
        self.unfetched.as_deref().or(self.unread.as_deref())
    }
}
