//! The contract set in force, and how another takes its place.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use crate::config::rules::{self, ReadError};
use crate::contract::diagnostic::Diagnostic;
use crate::contract::{self, Compiled, ContractSet, RuleFiles};
use crate::metrics::Metrics;

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

/// Holds the set in force. Batches take it once and finish with it, whatever is loaded meanwhile.
pub struct Rules {
    dir: PathBuf,
    metrics: Arc<Metrics>,
    current: RwLock<Arc<ContractSet>>,
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
    /// The directory cannot be read. Faults in the files are in [`Loaded`]; it is for the caller to refuse to start.
    pub fn load(dir: &Path, metrics: Arc<Metrics>) -> Result<(Self, Loaded), ReadError> {
        let (set, loaded) = compile(dir)?;
        let rules = Self {
            dir: dir.to_owned(),
            metrics,
            current: RwLock::new(Arc::new(set)),
            stale: Mutex::default(),
            content: Mutex::new(loaded.content.clone()),
            reloading: Mutex::default(),
        };
        rules.publish(None, &loaded);
        Ok((rules, loaded))
    }

    pub fn current(&self) -> Arc<ContractSet> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What [`content_revision`](rules::content_revision) says of the files that were read last.
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

    /// Reads the files again and puts them in force, domain by domain: one that does not compile keeps its last good
    /// version. A directory that cannot be read changes nothing. Blocks on files; call it off the async threads.
    pub fn reload(&self) -> Result<Loaded, ReadError> {
        let _reloading = self.reloading.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.current();
        let (set, loaded) = match compile(&self.dir) {
            Ok(compiled) => compiled,
            Err(error) => {
                self.metrics.reloads.with_label_values(&["failed"]).inc();
                tracing::error!(%error, "the rules could not be read; the last good ones stay in force");
                return Err(error);
            }
        };
        let set = set.keeping(&loaded.failed, &before);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(set);
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

fn compile(dir: &Path) -> Result<(ContractSet, Loaded), ReadError> {
    let files = rules::read(dir)?;
    let revision = rules::revision(dir);
    let compiled = contract::compile(&files, &revision);
    let is_good = compiled.is_good();
    let content = rules::content_revision(&files);
    let Compiled { set, diagnostics, failed } = compiled;
    let loaded = Loaded { is_good, diagnostics, files, failed, revision, content };
    Ok((set, loaded))
}
