//! Policies: rules that a platform team applies across domains, in `policies/*.yaml`.
//!
//! A policy's rules are compiled into every contract it selects, under ids of their own (`POLICY/RULE`), and follow the policy's mode
//! alone: whatever a domain or a contract says of itself, `mode: off` included, weakens none of them. The only way out is the
//! policy's own list of exemptions, each with its reason.
//!
//! A policy that does not compile must not vanish in silence, and nobody can say whom it would have selected: then no domain takes
//! anything new, and all keep their last good version.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::contract::{Ids, Lists, fields, rules};
use super::file::RuleFile;
use crate::contract::diagnostic::{Code, Diagnostic};
use crate::contract::glob::StreamGlob;
use crate::contract::judged::Check;
use crate::contract::written::{Exemption, PolicyMetadata, Select};
use crate::model::Mode;
use crate::rule::did_you_mean;
use crate::rule::expr::{Expression, Shape, Yields};
use crate::rule::pointer::Pointer;

/// The directory of all policies, which is no domain.
pub(super) const DIRECTORY: &str = "policies";

/// All policies of the rules directory.
pub(super) struct Policies<'f> {
    good: Vec<Policy<'f>>,
    /// Faults of files that are none.
    pub diagnostics: Vec<Diagnostic>,
}

struct Policy<'f> {
    file: RuleFile<'f>,
    name: Arc<str>,
    mode: Mode,
    /// Globs on the names of domains; empty: all.
    domains: Vec<StreamGlob>,
    /// Of contracts, one of which is enough; empty: all.
    tags: Vec<String>,
    exempt: Vec<Exemption>,
}

impl<'f> Policies<'f> {
    /// Compiles the files of [`DIRECTORY`], by their paths inside it.
    pub fn read(files: Option<&BTreeMap<&str, &'f [u8]>>) -> Self {
        let mut policies = Self { good: Vec::new(), diagnostics: Vec::new() };
        let yaml = files.into_iter().flatten().filter(|(path, _)| super::is_yaml(path));
        for (path, bytes) in yaml {
            match RuleFile::parse(path, DIRECTORY, bytes) {
                Ok(file) => policies.add(file),
                Err(faults) => policies.diagnostics.extend(faults),
            }
        }
        policies
    }

    fn add(&mut self, file: RuleFile<'f>) {
        if let Some(kind) = file.kind().filter(|kind| *kind != "Policy") {
            let message = format!("the directory {DIRECTORY}/ holds policies, and this is a {kind}");
            file.fault(
                &key("kind"),
                Code::MisplacedFile,
                message,
                Some("move it to the directory of its domain".into()),
            );
        }
        let policy = Policy::compile(&file);
        if let Some((name, mode, domains, tags, exempt)) = policy {
            if let Some(first) = self.good.iter().find(|other| other.name == name) {
                let message = format!("there are two policies called {name}");
                let hint = Some(format!("the other one is in {}", first.file.path));
                file.fault(&key("metadata").child("name"), Code::DuplicateId, message, hint);
            }
            if file.is_clean() {
                self.good.push(Policy { file, name, mode, domains, tags, exempt });
                return;
            }
        }
        self.diagnostics.extend(file.into_diagnostics());
    }

    /// The checks of every policy that applies to a contract. Rules that its schema can never meet are warned of in `file`, the
    /// contract's own.
    pub fn checks(
        &self,
        file: &RuleFile<'_>,
        domain: &str,
        contract: &str,
        tags: &[String],
        shape: Option<Shape<'_>>,
    ) -> Vec<Check> {
        let applying = self.good.iter().filter(|policy| policy.applies(domain, contract, tags));
        let checks = applying.flat_map(|policy| {
            if let Some(shape) = shape {
                policy.warn_of_misfits(file, shape);
            }
            policy.checks()
        });
        checks.collect()
    }

    /// What each policy came to: to whom it applies and who is exempt, as notes; and a warning of one that applies to nothing.
    /// `contracts` are those of all domains that did not fail, with their tags.
    pub fn into_diagnostics(
        self,
        contracts: &[(Arc<str>, Arc<str>, Vec<String>)],
        failed: &[String],
    ) -> Vec<Diagnostic> {
        let mut diagnostics = self.diagnostics;
        for policy in self.good {
            let (mut applies, mut exempt) = (Vec::new(), Vec::new());
            for (domain, contract, _) in contracts.iter().filter(|(domain, _, tags)| policy.selects(domain, tags)) {
                match policy.exemption(domain, contract) {
                    Some(Exemption { reason, .. }) => exempt.push(format!("{domain}/{contract} ({reason})")),
                    None => applies.push(format!("{domain}/{contract}")),
                }
            }
            let name = &policy.name;
            let at = key("metadata").child("name");
            let told = if applies.is_empty() {
                let hint = "its selector names domains by glob and contracts by tag; docs/contracts.md has an example";
                let message = format!("the policy {name} applies to no contract");
                policy.file.at(&at, Code::Unused, message).with_hint(hint.to_owned()).as_warning()
            } else {
                let message = format!("the policy {name} applies to {}", applies.join(", "));
                let hint = (!exempt.is_empty()).then(|| format!("exempt: {}", exempt.join(", ")));
                policy.file.at(&at, Code::Policy, message).with_hint(hint).as_note()
            };
            // What it applies to may be among what failed.
            diagnostics.extend((!applies.is_empty() || failed.is_empty()).then_some(told));
            policy.warn_of_idle_exemptions(contracts, failed);
            diagnostics.extend(policy.file.into_diagnostics());
        }
        diagnostics
    }
}

type Parts = (Arc<str>, Mode, Vec<StreamGlob>, Vec<String>, Vec<Exemption>);

impl Policy<'_> {
    /// Notes every fault in `file`. `None` when it cannot be used.
    fn compile(file: &RuleFile<'_>) -> Option<Parts> {
        let metadata: Option<PolicyMetadata> = file.part(&key("metadata"));
        let mode = file.part::<Mode>(&key("mode")).unwrap_or_default();
        let select: Select = file.part(&key("select")).unwrap_or_default();
        let mut domains = Vec::new();
        for (index, text) in select.domains.iter().enumerate() {
            match StreamGlob::parse(text) {
                Ok(glob) => domains.push(glob),
                Err(reason) => {
                    let at = key("select").child("domains").child(index.to_string());
                    let hint =
                        "* stands for any characters, ? for one, [ab] for a set, {a,b} for alternatives".to_owned();
                    file.fault(
                        &at,
                        Code::BadGlob,
                        format!("the pattern of domains does not compile: {reason}"),
                        Some(hint),
                    );
                }
            }
        }
        let exempt =
            (0..file.length(&key("exempt"))).filter_map(|index| file.part(&key("exempt").child(index.to_string())));
        let exempt = exempt.collect();
        // What is wrong with them is noted here once, and not again for each contract.
        let mut ids = Ids::default();
        let count = fields(file, &Lists::new(), None, mode, &mut ids).len() + rules(file, None, mode, &mut ids).len();
        if count == 0 && file.is_clean() {
            let message = "the policy has no fields or rules, so it asks for nothing";
            file.note(file.at(&Pointer::root(), Code::NothingJudged, message));
        }
        Some((metadata?.name, mode, domains, select.tags, exempt))
    }

    fn selects(&self, domain: &str, tags: &[String]) -> bool {
        let of_domain = self.domains.is_empty() || self.domains.iter().any(|glob| glob.matches(domain));
        of_domain && (self.tags.is_empty() || self.tags.iter().any(|tag| tags.contains(tag)))
    }

    fn exemption(&self, domain: &str, contract: &str) -> Option<&Exemption> {
        self.exempt.iter().find(|exemption| exemption.is_of(domain, contract))
    }

    fn applies(&self, domain: &str, contract: &str, tags: &[String]) -> bool {
        self.selects(domain, tags) && self.exemption(domain, contract).is_none()
    }

    /// An exemption that exempts nothing is a slip of the pen, or has outlived its contract.
    fn warn_of_idle_exemptions(&self, contracts: &[(Arc<str>, Arc<str>, Vec<String>)], failed: &[String]) {
        let selected: Vec<_> = contracts.iter().filter(|(domain, _, tags)| self.selects(domain, tags)).collect();
        for (index, exemption) in self.exempt.iter().enumerate() {
            let is_used = selected.iter().any(|(domain, contract, _)| exemption.is_of(domain, contract));
            // Of a domain that failed, nobody knows the contracts.
            if is_used || failed.contains(&exemption.domain) {
                continue;
            }
            let whom = match &exemption.contract {
                Some(contract) => format!("{}/{contract}", exemption.domain),
                None => exemption.domain.clone(),
            };
            let known: Vec<String> =
                selected.iter().map(|(domain, contract, _)| format!("{domain}/{contract}")).collect();
            let hint = did_you_mean(&whom, known.iter().map(String::as_str))
                .unwrap_or_else(|| "mend its names, or take it out".to_owned());
            let message = format!("nobody needs this exemption: {whom} is nothing the policy selects");
            let at = key("exempt").child(index.to_string());
            self.file.note(self.file.at(&at, Code::Unused, message).with_hint(hint).as_warning());
        }
    }

    /// Its checks, for one contract.
    fn checks(&self) -> Vec<Check> {
        let mut ids = Ids::default();
        let mut checks = fields(&self.file, &Lists::new(), None, self.mode, &mut ids);
        checks.extend(rules(&self.file, None, self.mode, &mut ids));
        for check in &mut checks {
            check.id = format!("{}/{}", self.name, check.id).into();
            check.is_policy = true;
        }
        checks
    }

    /// A rule that no payload of a contract can pass would quarantine all of its events. That is for the platform team to mend or to
    /// exempt, so it fails nobody's files; whoever checks the contract should know.
    fn warn_of_misfits(&self, file: &RuleFile<'_>, shape: Shape<'_>) {
        for index in 0..self.file.length(&key("rules")) {
            let at = key("rules").child(index.to_string());
            let text = |name: &str| self.file.part::<String>(&at.child(name));
            let (Some(id), Some(source)) = (text("id"), text("expression")) else { continue };
            if let Err(fault) = Expression::compile_for(&source, Yields::Bool, Some(shape)) {
                let message = format!("the rule {}/{id} does not fit this contract: {}", self.name, fault.message);
                let hint = format!(
                    "ask the owners of {} for an exemption, or give the schema what it asks for",
                    self.file.path
                );
                file.note(file.at(&key("metadata"), Code::Policy, message).with_hint(hint).as_warning());
            }
        }
    }
}

/// A policy in the directory of a domain, or beside all of them.
pub(super) fn misplaced(file: &RuleFile<'_>) -> Diagnostic {
    let message = "a policy stands in policies/, where no domain can change it";
    file.at(&key("kind"), Code::MisplacedFile, message).with_hint(format!("move it to {DIRECTORY}/"))
}

fn key(name: &str) -> Pointer {
    Pointer::root().child(name)
}
