//! Rule files to [`ContractSet`]: every fault of every file is told, and one domain's faults leave the others alone.

mod contract;
mod data;
mod domain;
mod example;
mod file;
pub(super) mod json_span;
mod policy;
mod stray;
mod stream;
mod windows;

use std::collections::BTreeMap;
use std::sync::Arc;

use super::diagnostic::{Code, Diagnostic, Place};
use super::judged::Contract;
use super::set::{ContractSet, Domain};
use super::{RuleFiles, yaml};
use file::RuleFile;
use policy::Policies;
use stream::Feeds;

/// The files of one directory, by their path inside it.
type DomainFiles<'f> = BTreeMap<&'f str, &'f [u8]>;

/// What came of rule files.
#[derive(Debug, Default)]
pub struct Compiled {
    /// The domains without a fault.
    pub set: ContractSet,
    /// All faults, sorted by file and place.
    pub diagnostics: Vec<Diagnostic>,
    /// Names of the domains that have an error, and so are not in `set`.
    pub failed: Vec<String>,
}

impl Compiled {
    /// Whether nothing stands in the way of using all the files.
    pub fn is_good(&self) -> bool {
        !self.diagnostics.iter().any(Diagnostic::is_error)
    }
}

/// A domain that compiled, with the place of each contract's claim for messages.
struct Candidate {
    domain: Domain,
    claims: BTreeMap<Arc<str>, Place>,
}

impl Candidate {
    /// Its contracts that are in use: domain, name and tags.
    fn tagged(&self) -> impl Iterator<Item = (Arc<str>, Arc<str>, Vec<String>)> {
        let live = self.domain.contracts.values().filter(|contract| contract.is_live());
        live.map(|contract| (Arc::clone(&contract.domain), Arc::clone(&contract.name), contract.tags.clone()))
    }
}

/// Compiles all files. `revision` names their content and stamps every verdict.
///
/// The first part of a file's path is its domain. A directory that holds nothing but policies is no domain.
pub fn compile(files: &RuleFiles, revision: &str) -> Compiled {
    let revision: Arc<str> = revision.into();
    let mut diagnostics = Vec::new();
    let mut directories: BTreeMap<&str, DomainFiles<'_>> = BTreeMap::new();
    for (path, bytes) in files {
        match path.split_once('/') {
            Some((directory, rest)) => {
                directories.entry(directory).or_default().insert(rest, bytes);
            }
            None if is_yaml(path) => diagnostics.extend(misplaced(path, bytes)),
            None => {}
        }
    }
    let policy_files = directories.remove(policy::DIRECTORY);
    let policies = Policies::read(policy_files.as_ref());
    let mut failed = Vec::new();
    let mut candidates = Vec::new();
    let prepared: Vec<_> =
        directories.iter().map(|(directory, files)| domain::prepare(directory, files, &revision, &policies)).collect();
    let mut feeds = Feeds::default();
    prepared.iter().flat_map(|domain| domain.contracts()).for_each(|file| feeds.add(file));
    for (directory, prepared) in directories.keys().zip(prepared) {
        let compiled = prepared.compile(&feeds);
        match compiled.candidate {
            Some(candidate) if !compiled.diagnostics.iter().any(Diagnostic::is_error) => candidates.push(candidate),
            _ if compiled.is_domain => failed.push((*directory).to_owned()),
            _ => {}
        }
        diagnostics.extend(compiled.diagnostics);
    }
    let mut clashing = clashes(&candidates, &mut diagnostics);
    let tagged: Vec<_> = candidates.iter().flat_map(Candidate::tagged).collect();
    let policies = policies.into_diagnostics(&tagged, &failed);
    if policies.iter().any(Diagnostic::is_error) {
        // Nobody can say whom the policy would have selected.
        clashing = candidates.iter().map(|candidate| Arc::clone(&candidate.domain.name)).collect();
    }
    diagnostics.extend(policies);
    let is_there = |domain: &str, name: &str| {
        // A domain with a fault may have it, once that is mended.
        let contract = candidates.iter().find(|c| *c.domain.name == *domain).map(|c| c.domain.contracts.get(name));
        contract.map_or_else(|| failed.iter().any(|f| f == domain), |c| c.is_some_and(|c| c.is_live()))
    };
    diagnostics.extend(feeds.into_warnings(is_there));
    failed.extend(clashing.iter().map(ToString::to_string));
    failed.sort();
    diagnostics.sort_by(|a, b| (&a.place, a.code, &a.message).cmp(&(&b.place, b.code, &b.message)));
    // What a file says for several contracts is told once.
    diagnostics.dedup();
    let good = candidates.into_iter().map(|c| Arc::new(c.domain)).filter(|d| !clashing.contains(&d.name));
    Compiled { set: ContractSet::new(good, revision), diagnostics, failed }
}

/// Live contracts with the same stream glob and the same type. Both domains fail: taking either would let a domain that
/// claims another's events change what becomes of them.
fn clashes(candidates: &[Candidate], diagnostics: &mut Vec<Diagnostic>) -> Vec<Arc<str>> {
    let mut claims: BTreeMap<_, Vec<(&Arc<Contract>, &Place)>> = BTreeMap::new();
    for candidate in candidates {
        for contract in candidate.domain.contracts.values().filter(|c| c.is_live()) {
            let claim = (contract.stream.as_ref().map(|g| g.as_str()), contract.event_type.as_deref());
            if let Some(place) = candidate.claims.get(&contract.name) {
                claims.entry(claim).or_default().push((contract, place));
            }
        }
    }
    let mut clashing: Vec<Arc<str>> = Vec::new();
    for rivals in claims.values().filter(|rivals| rivals.len() > 1) {
        for (contract, place) in rivals {
            let others: Vec<String> = rivals
                .iter()
                .filter(|(other, _)| !Arc::ptr_eq(other, contract))
                .map(|(other, _)| format!("{}/{} ({})", other.domain, other.name, other.file))
                .collect();
            let message = format!("the same stream and type are claimed by {}", others.join(", "));
            let hint = "name another stream or type, or retire one of them (status: retired)";
            diagnostics.push(Diagnostic::new((*place).clone(), Code::TypeClash, message).with_hint(hint.to_owned()));
            if !clashing.contains(&contract.domain) {
                clashing.push(contract.domain.clone());
            }
        }
    }
    clashing
}

/// A YAML file at the top: it would belong to no domain. A policy is told as what it is.
fn misplaced(path: &str, bytes: &[u8]) -> Vec<Diagnostic> {
    match RuleFile::parse(path, "", bytes) {
        Ok(file) if file.kind() == Some("Policy") => vec![policy::misplaced(&file)],
        Ok(file) => {
            let message = "a rule file stands in the directory of its domain, not beside it";
            let hint = "move it to DOMAIN/, beside the domain's domain.yaml";
            vec![file.at(&Default::default(), Code::MisplacedFile, message).with_hint(hint.to_owned())]
        }
        Err(diagnostics) => diagnostics,
    }
}

fn is_yaml(path: &str) -> bool {
    path.ends_with(".yaml") || path.ends_with(".yml")
}

fn code_of(kind: yaml::YamlFaultKind) -> Code {
    match kind {
        yaml::YamlFaultKind::Syntax => Code::Syntax,
        yaml::YamlFaultKind::DuplicateKey => Code::DuplicateKey,
        yaml::YamlFaultKind::TooLarge => Code::TooLarge,
        yaml::YamlFaultKind::NotData => Code::NotData,
    }
}

#[cfg(test)]
mod tests;
