//! One directory: a domain's own file and its contracts.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::data::Data;
use super::file::RuleFile;
use super::policy::{self, Policies};
use super::stream::Feeds;
use super::{Candidate, DomainFiles, contract, is_yaml};
use crate::contract::Contract;
use crate::contract::diagnostic::{Code, Diagnostic, Place};
use crate::contract::odcs::{self, Ground};
use crate::contract::set::Domain;
use crate::contract::written::{DomainFile, Owner};
use crate::model::Mode;
use crate::rule::pointer::Pointer;

/// Names no domain may have: what the gate calls an event that is nobody's.
const RESERVED_DOMAINS: [&str; 1] = ["unknown"];

/// What came of one directory.
pub(super) struct CompiledDomain {
    /// Without the contracts that failed; `None` when the domain's own file failed.
    pub candidate: Option<Candidate>,
    /// Whether the directory is a domain at all, good or not.
    pub is_domain: bool,
    pub diagnostics: Vec<Diagnostic>,
}

/// What contracts take from their domain.
pub(super) struct Shared<'f> {
    pub directory: &'f str,
    pub revision: &'f Arc<str>,
    pub policies: &'f Policies<'f>,
    pub data: Data<'f>,
    /// `None` when the domain's own file failed, which is told there.
    pub owner: Option<Owner>,
    pub mode: Mode,
    pub type_pointer: Pointer,
}

/// The rule files of a directory, by what they are.
#[derive(Default)]
struct Sorted<'f> {
    domain: Vec<RuleFile<'f>>,
    pub contracts: Vec<RuleFile<'f>>,
    diagnostics: Vec<Diagnostic>,
    domain_is_unreadable: bool,
    has_rule_files: bool,
}

/// A domain whose files are read, and whose contracts are not compiled yet.
pub(super) struct Prepared<'f> {
    diagnostics: Vec<Diagnostic>,
    /// `None` where there is nothing to compile: data files or policies alone.
    parts: Option<Parts<'f>>,
}

struct Parts<'f> {
    written: Option<(DomainFile, Pointer)>,
    shared: Shared<'f>,
    /// Those of other formats are translated.
    contracts: Vec<RuleFile<'f>>,
}

/// Reads the files of a directory.
pub(super) fn prepare<'f>(
    directory: &'f str,
    files: &'f DomainFiles<'f>,
    revision: &'f Arc<str>,
    policies: &'f Policies<'f>,
) -> Prepared<'f> {
    let sorted = sort(directory, files);
    let mut diagnostics = sorted.diagnostics;
    if !sorted.has_rule_files {
        // Nobody's events depend on them.
        return Prepared { diagnostics, parts: None };
    }
    if sorted.domain.is_empty() && !sorted.domain_is_unreadable {
        let message = format!("the domain {directory} has no domain.yaml");
        let hint = "write one with apiVersion: meshgate/v1, kind: Domain and metadata: {name, owner: {team}}";
        let place = Place::of_file(&format!("{directory}/domain.yaml"));
        diagnostics.push(Diagnostic::new(place, Code::MissingFile, message).with_hint(hint.to_owned()));
    }
    let written = sorted.domain.first().and_then(|file| domain_file(file, directory));
    for (index, file) in sorted.domain.into_iter().enumerate() {
        if index > 0 {
            let message = "the domain has two files of its own, domain.yaml and domain.yml";
            file.fault(&Pointer::root(), Code::DuplicateId, message, Some("keep one of them".to_owned()));
        }
        diagnostics.extend(file.into_diagnostics());
    }
    let mut shared = Shared {
        directory,
        revision,
        policies,
        data: Data::read(directory, files, &mut diagnostics),
        owner: written.as_ref().map(|(file, _)| file.metadata.owner.clone()),
        mode: written.as_ref().map(|(file, _)| file.defaults.mode).unwrap_or_default(),
        type_pointer: written.as_ref().map_or_else(default_type_pointer, |(_, pointer)| pointer.clone()),
    };
    let contracts = translated(sorted.contracts, &mut shared, &mut diagnostics);
    Prepared { diagnostics, parts: Some(Parts { written, shared, contracts }) }
}

impl<'f> Prepared<'f> {
    /// The files of its contracts.
    pub(super) fn contracts(&self) -> impl Iterator<Item = &RuleFile<'f>> {
        self.parts.iter().flat_map(|parts| &parts.contracts)
    }

    /// Compiles its contracts; `feeds` are what others refer to in their events.
    pub(super) fn compile(self, feeds: &Feeds) -> CompiledDomain {
        let Self { mut diagnostics, parts } = self;
        let Some(Parts { written, shared, contracts }) = parts else {
            return CompiledDomain { candidate: None, is_domain: false, diagnostics };
        };
        let (contracts, claims) = compiled(contracts, &shared, feeds, &mut diagnostics);
        let candidate = written.map(|(file, type_pointer)| Candidate {
            domain: Domain {
                name: file.metadata.name,
                owner: file.metadata.owner,
                dlq: file.dlq,
                dlq_payload: file.dlq_payload,
                unknown_type: file.defaults.unknown_type,
                type_pointer,
                revision: Arc::clone(shared.revision),
                contracts,
            },
            claims,
        });
        CompiledDomain { candidate, is_domain: true, diagnostics }
    }
}

fn sort<'f>(directory: &str, files: &DomainFiles<'f>) -> Sorted<'f> {
    let mut sorted = Sorted::default();
    for (path, bytes) in files.iter().filter(|(path, _)| is_yaml(path) && !path.contains('/')) {
        let is_domain_file = matches!(*path, "domain.yaml" | "domain.yml");
        match RuleFile::parse(path, directory, bytes) {
            Ok(file) if file.kind() == Some("Policy") => sorted.diagnostics.push(policy::misplaced(&file)),
            Ok(file) => {
                sorted.has_rule_files = true;
                if is_domain_file { sorted.domain.push(file) } else { sorted.contracts.push(file) }
            }
            Err(faults) => {
                sorted.has_rule_files = true;
                sorted.domain_is_unreadable |= is_domain_file;
                sorted.diagnostics.extend(faults);
            }
        }
    }
    sorted
}

/// The domain's own file and its type pointer; `None` when it cannot be used.
fn domain_file(file: &RuleFile<'_>, directory: &str) -> Option<(DomainFile, Pointer)> {
    if let Some(kind @ ("EventContract" | odcs::KIND)) = file.kind() {
        let hint = Some("give the contract a file of its own, named after its event type".to_owned());
        file.fault(&key("kind"), Code::MisplacedFile, format!("domain.yaml holds kind Domain, not {kind}"), hint);
        return None;
    }
    let written: DomainFile = file.part(&Pointer::root())?;
    let name_at = key("metadata").child("name");
    if *written.metadata.name != *directory {
        let message = format!("the domain calls itself {}, and its directory {directory}", written.metadata.name);
        let hint = format!("write name: {directory}, or rename the directory");
        file.fault(&name_at, Code::WrongDomain, message, Some(hint));
    }
    if RESERVED_DOMAINS.contains(&&*written.metadata.name) {
        let message = "this is what the gate calls events that are nobody's";
        file.fault(&name_at, Code::ReservedId, message, Some("choose another name".to_owned()));
    }
    let type_pointer = match &written.defaults.type_pointer {
        Some(text) => file.pointer(&key("defaults").child("typePointer"), text)?,
        None => default_type_pointer(),
    };
    Some((written, type_pointer))
}

/// The contracts of ODCS files in place of the files.
fn translated<'f>(
    files: Vec<RuleFile<'f>>,
    shared: &mut Shared<'f>,
    diagnostics: &mut Vec<Diagnostic>,
) -> Vec<RuleFile<'f>> {
    let mut contracts = Vec::new();
    for file in files {
        if file.kind() != Some(odcs::KIND) {
            contracts.push(file);
            continue;
        }
        // What follows from a shape that is not kept to would say the same in other words.
        if file.is_clean() {
            let name = file.path.rsplit('/').next().unwrap_or_default();
            let team = shared.owner.as_ref().map(|owner| &*owner.team);
            let ground = Ground { domain: shared.directory, file: name, team };
            let translation = odcs::translate(file.written(), ground);
            translation.remarks.into_iter().for_each(|remark| file.remark(remark));
            for contract in translation.contracts {
                if let Some(schema) = contract.schema.as_ref().filter(|schema| !shared.data.derive(schema)) {
                    let message =
                        format!("the file {} has the name of the schema that is derived from this one", schema.path);
                    file.fault(&Pointer::root(), Code::DuplicateId, message, Some("rename it".to_owned()));
                }
                contracts.push(file.translated(contract));
            }
        }
        diagnostics.extend(file.into_diagnostics());
    }
    contracts
}

type Contracts = (BTreeMap<Arc<str>, Arc<Contract>>, BTreeMap<Arc<str>, Place>);

/// Compiles every contract, good neighbours of a bad one too, so that all faults are told.
fn compiled(
    files: Vec<RuleFile<'_>>,
    shared: &Shared<'_>,
    feeds: &Feeds,
    diagnostics: &mut Vec<Diagnostic>,
) -> Contracts {
    let mut contracts: BTreeMap<Arc<str>, Arc<Contract>> = BTreeMap::new();
    let mut claims = BTreeMap::new();
    for file in files {
        if file.kind() == Some("Domain") {
            let hint = Some("move what it says there".to_owned());
            let message = "a domain's own file is called domain.yaml";
            file.fault(&key("kind"), Code::MisplacedFile, message, hint);
        } else if let Some(contract) = contract::compile(&file, shared, feeds) {
            if let Some(first) = contracts.get(&contract.name) {
                let message = format!("the domain has two contracts called {}", contract.name);
                let hint = Some(format!("the other one is in {}", first.file));
                file.fault(&key("metadata").child("name"), Code::DuplicateId, message, hint);
            } else {
                claims.insert(contract.name.clone(), file.key_place(&key("match")));
                contracts.insert(contract.name.clone(), Arc::new(contract));
            }
        }
        diagnostics.extend(file.into_diagnostics());
    }
    (contracts, claims)
}

fn key(name: &str) -> Pointer {
    Pointer::root().child(name)
}

fn default_type_pointer() -> Pointer {
    key("type")
}
