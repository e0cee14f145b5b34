//! The contract set in force, with what its checks remember and its breakers, and how another takes its place.

use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use super::candidate::Candidate;
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
    /// A name for what was read.
    content: String,
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
    source: RuleSource,
    candidate: Option<RuleSource>,
    metrics: Arc<Metrics>,
    clock: fn() -> Timestamp,
    current: RwLock<Arc<InForce>>,
    memory: Mutex<Memory>,
    /// What the last reload left to be said on `/ready`. Held for a moment only: probes ask for it.
    stale: Mutex<Vec<String>>,
    /// The name of what was read last, whether it compiled or not.
    content: Mutex<String>,
    /// One reload at a time, for as long as reading and compiling takes.
    reloading: Mutex<()>,
}

impl Rules {
    /// Loads the rules at start-up.
    ///
    /// # Errors
    /// The source cannot be read. Faults in the files are in [`Loaded`]; it is for the caller to refuse to start.
    pub fn load(options: RuleOptions) -> Result<(Self, Loaded), ReadError> {
        let (set, loaded) = compile(&options.source)?;
        let rules = Self {
            source: options.source,
            candidate: options.candidate,
            metrics: options.metrics,
            clock: options.clock,
            current: RwLock::default(),
            memory: Mutex::new(options.memory),
            stale: Mutex::default(),
            content: Mutex::new(loaded.content.clone()),
            reloading: Mutex::default(),
        };
        rules.put_in_force(set, None);
        rules.publish(None, &loaded);
        rules.reload_candidate();
        Ok((rules, loaded))
    }

    pub fn current(&self) -> Arc<InForce> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub fn source(&self) -> &RuleSource {
        &self.source
    }

    pub fn candidate_source(&self) -> Option<&RuleSource> {
        self.candidate.as_ref()
    }

    /// What [`RuleSource::look`] said of the files that were read last.
    pub fn content(&self) -> String {
        self.content.lock().unwrap_or_else(PoisonError::into_inner).clone()
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

    /// Reads the files again and puts them in force, domain by domain: one that does not compile keeps its last good
    /// version. A source that cannot be read changes nothing. Blocks on files; call it off the async threads.
    pub fn reload(&self) -> Result<Loaded, ReadError> {
        let _reloading = self.reloading.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.current();
        let (set, loaded) = match compile(&self.source) {
            Ok(compiled) => compiled,
            Err(error) => {
                self.metrics.reloads.with_label_values(&["failed"]).inc();
                tracing::error!(%error, "the rules could not be read; the last good ones stay in force");
                return Err(error);
            }
        };
        self.put_in_force(set.keeping(&loaded.failed, &before), before.candidate.clone());
        self.lock_stale().clone_from(&loaded.failed);
        self.content.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&loaded.content);
        self.publish(Some(&before), &loaded);
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
        Ok(loaded)
    }

    /// Reads the candidate's files again. Whatever is wrong with them touches nothing that is in force.
    pub fn reload_candidate(&self) {
        let Some(source) = &self.candidate else { return };
        let _reloading = self.reloading.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.current().candidate.clone();
        let candidate = Arc::new(Candidate::load(source, before.as_deref(), (self.clock)()));
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
        let set = self.current();
        for domain in before.into_iter().flat_map(ContractSet::domains) {
            if set.domain(&domain.name).is_none() {
                self.metrics.forget_domain(&domain.name, &domain.revision);
            }
            for contract in domain.contracts.values().filter(|contract| contract.slo_error_ratio.is_some()) {
                if set.contract(&domain.name, &contract.name).is_none_or(|now| now.slo_error_ratio.is_none()) {
                    let _ = self.metrics.slo_target.remove_label_values(&[&*domain.name, &*contract.name]);
                }
            }
        }
        for domain in set.domains() {
            let before = before.and_then(|set| set.domain(&domain.name)).map(|d| &*d.revision);
            self.metrics.set_revision(&domain.name, before, &domain.revision);
            self.metrics.contracts.with_label_values(&[&*domain.name]).set(domain.contracts.len() as i64);
            let stale = loaded.failed.iter().any(|failed| **failed == *domain.name);
            self.metrics.rules_stale.with_label_values(&[&*domain.name]).set(stale.into());
            for contract in domain.contracts.values() {
                if let Some(ratio) = contract.slo_error_ratio {
                    self.metrics.slo_target.with_label_values(&[&*domain.name, &*contract.name]).set(ratio);
                }
            }
        }
    }
}

fn compile(source: &RuleSource) -> Result<(ContractSet, Loaded), ReadError> {
    let Read { files, revision, content } = source.read()?;
    let compiled = contract::compile(&files, &revision);
    let is_good = compiled.is_good();
    let Compiled { set, diagnostics, failed } = compiled;
    let loaded = Loaded { is_good, diagnostics, files, failed, revision, content };
    Ok((set, loaded))
}
