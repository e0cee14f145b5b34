//! The contract set in force, with what its checks remember and its breakers, and how another takes its place.

use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use super::candidate::Candidate;
use super::origin::Origin;
use super::shown;
use crate::config::rules::ReadError;
use crate::config::source::{Read, RuleSource};
use crate::contract::diagnostic::Diagnostic;
use crate::contract::{self, Compiled, ContractSet, RuleFiles, States};
use crate::gate::breaker::Breakers;
use crate::memory::Memory;
use crate::metrics::Metrics;
use crate::model::Timestamp;

/// What became of one load of the rule files.
#[derive(Debug)]
pub struct Loaded {
    pub diagnostics: Vec<Diagnostic>,
    /// What was read, to show the lines that diagnostics mean.
    pub files: RuleFiles,
    /// Domains whose files did not compile. They keep their last good version, where there is one.
    pub failed: Vec<String>,
    /// No file has an error, policies among them, which belong to no domain.
    pub is_good: bool,
    pub revision: String,
}

/// What is in force.
#[derive(Debug, Default)]
pub struct InForce {
    set: Arc<ContractSet>,
    pub states: Arc<States>,
    pub breakers: Breakers,
    /// Judged beside it.
    pub candidate: Option<Arc<Candidate>>,
}

impl Deref for InForce {
    type Target = ContractSet;

    fn deref(&self) -> &ContractSet {
        &self.set
    }
}

/// Where the rules come from, and what is kept beside them.
pub struct RuleOptions {
    pub source: RuleSource,
    pub candidate: Option<RuleSource>,
    /// What was remembered before.
    pub memory: Memory,
    pub metrics: Arc<Metrics>,
    pub clock: fn() -> Timestamp,
}

impl RuleOptions {
    /// Rules alone, with nothing remembered, on the wall clock.
    pub fn new(source: RuleSource, metrics: Arc<Metrics>) -> Self {
        Self { source, candidate: None, memory: Memory::default(), metrics, clock: super::now }
    }
}

/// Holds the set in force. Batches take it once and finish with it, whatever is loaded meanwhile.
pub struct Rules {
    origin: Origin,
    candidate: Option<Origin>,
    metrics: Arc<Metrics>,
    clock: fn() -> Timestamp,
    current: RwLock<Arc<InForce>>,
    memory: Mutex<Memory>,
    /// What the last reload left to be said on `/ready`. Held for a moment only: probes ask for it.
    stale: Mutex<Vec<String>>,
    /// One reload at a time, for as long as fetching, reading and compiling takes.
    reloading: Mutex<()>,
}

impl Rules {
    /// Loads the rules at start-up. Where the newest ones have faults and the source has kept good ones, it begins with those, and
    /// domains without a fault move on: a fault that is pushed must not keep a gate from coming back.
    ///
    /// # Errors
    /// The source cannot be read. Faults in the files are in [`Loaded`]; it is for the caller to refuse to start.
    pub fn load(options: RuleOptions) -> Result<(Self, Loaded), ReadError> {
        let RuleOptions { source, candidate, memory, metrics, clock } = options;
        let origin = |source, set| Origin::new(source, set, Arc::clone(&metrics), clock);
        let rules = Self {
            origin: origin(source, "rules"),
            candidate: candidate.map(|source| origin(source, "candidate")),
            metrics: Arc::clone(&metrics),
            clock,
            current: RwLock::default(),
            memory: Mutex::new(memory),
            stale: Mutex::default(),
            reloading: Mutex::default(),
        };
        let newest = compile(rules.origin.read_first()?);
        let good = if newest.1.is_good { None } else { rules.origin.source().read_good().map(compile) };
        let (loaded, newest) = match good.filter(|(_, loaded)| loaded.is_good) {
            Some((set, loaded)) => (rules.begin(set, loaded), Some(newest)),
            None => (rules.begin(newest.0, newest.1), None),
        };
        if let Some((set, newest)) = newest {
            rules.replace(set, newest);
        }
        rules.load_candidate(Origin::read_first);
        Ok((rules, loaded))
    }

    fn begin(&self, set: ContractSet, loaded: Loaded) -> Loaded {
        self.put_in_force(set, None);
        self.publish(None, &loaded);
        self.keep(&loaded);
        loaded
    }

    pub fn current(&self) -> Arc<InForce> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    pub fn candidate_origin(&self) -> Option<&Origin> {
        self.candidate.as_ref()
    }

    /// Domains whose newest files do not compile, so that an older version judges.
    pub fn stale(&self) -> Vec<String> {
        self.lock_stale().clone()
    }

    fn lock_stale(&self) -> MutexGuard<'_, Vec<String>> {
        self.stale.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the checks in force remember.
    pub fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fetches and reads the files again, the candidate's too, and puts them in force, domain by domain: one that does not compile
    /// keeps its last good version. A source that cannot be read changes nothing. Blocks on files, and for a minute or two on a
    /// remote; call it off the async threads.
    pub fn reload(&self) -> Result<Loaded, ReadError> {
        let loaded = self.load_newest(|origin| origin.fetch().and_then(|()| origin.read()));
        self.load_candidate(Origin::read_first);
        loaded
    }

    /// [`reload`](Self::reload) of what has just been looked at, without the candidate.
    pub fn reload_seen(&self) -> Result<Loaded, ReadError> {
        self.load_newest(Origin::read)
    }

    fn load_newest(&self, read: impl FnOnce(&Origin) -> Result<Read, ReadError>) -> Result<Loaded, ReadError> {
        let _reloading = self.reloading.lock().unwrap_or_else(PoisonError::into_inner);
        let (set, loaded) = match read(&self.origin).map(compile) {
            Ok(compiled) => compiled,
            Err(error) => {
                self.metrics.reloads.with_label_values(&["failed"]).inc();
                tracing::error!(%error, "the rules could not be read; the last good ones stay in force");
                return Err(error);
            }
        };
        Ok(self.replace(set, loaded))
    }

    /// Puts it in force instead of what is, but for the domains that failed.
    fn replace(&self, set: ContractSet, loaded: Loaded) -> Loaded {
        let before = self.current();
        self.put_in_force(set.keeping(&loaded.failed, &before), before.candidate.clone());
        self.lock_stale().clone_from(&loaded.failed);
        self.publish(Some(&before), &loaded);
        self.keep(&loaded);
        let outcome = if loaded.is_good { "applied" } else { "partial" };
        self.metrics.reloads.with_label_values(&[outcome]).inc();
        if loaded.is_good {
            tracing::info!(revision = loaded.revision, "rules reloaded");
        } else {
            let faults: Vec<String> = loaded.diagnostics.iter().map(ToString::to_string).collect();
            tracing::error!(
                revision = loaded.revision,
                domains = loaded.failed.join(","),
                faults = faults.join("; "),
                "rules reloaded in part: domains that do not compile keep their last good version"
            );
        }
        loaded
    }

    /// Lets the source keep what is without a fault.
    fn keep(&self, loaded: &Loaded) {
        if loaded.is_good && !self.origin.source().keep(&loaded.revision) {
            tracing::warn!(
                revision = loaded.revision,
                "good rules could not be noted as such; a start with faulty ones would not find them"
            );
        }
    }

    /// Reads again what has just been looked at of the candidate. Whatever is wrong with it touches nothing that is in force.
    pub fn reload_candidate_seen(&self) {
        self.load_candidate(Origin::read);
    }

    fn load_candidate(&self, read: impl FnOnce(&Origin) -> Result<Read, ReadError>) {
        let Some(origin) = &self.candidate else { return };
        let _reloading = self.reloading.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.current().candidate.clone();
        let read = read(origin);
        if read.is_err() {
            origin.forget();
        }
        let candidate = Arc::new(Candidate::load(read, before.as_deref(), (self.clock)()));
        self.metrics.set_candidate(before.as_ref().map(|before| before.revision()), candidate.revision());
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        let InForce { set, states, breakers, .. } = &**current;
        let (set, states, breakers) = (Arc::clone(set), Arc::clone(states), breakers.clone());
        *current = Arc::new(InForce { set, states, breakers, candidate: Some(candidate) });
    }

    fn put_in_force(&self, set: ContractSet, candidate: Option<Arc<Candidate>>) {
        let now = (self.clock)();
        let states = Arc::new(States::open(&set, &mut self.memory(), now));
        let breakers = self.current().breakers.renewed(&set, now);
        let in_force = Arc::new(InForce { set: Arc::new(set), states, breakers, candidate });
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = in_force;
    }

    fn publish(&self, before: Option<&ContractSet>, loaded: &Loaded) {
        shown::show(&self.metrics, before, &self.current(), &loaded.failed, (self.clock)());
    }
}

fn compile(Read { files, revision, .. }: Read) -> (ContractSet, Loaded) {
    let compiled = contract::compile(&files, &revision);
    let is_good = compiled.is_good();
    let Compiled { set, diagnostics, failed } = compiled;
    (set, Loaded { is_good, diagnostics, files, failed, revision })
}
