//! Two sets of rules, contract by contract.

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::{Value, json};

use super::rules::{self, RuleChange};
use super::schema::{self, Direction, Holds, Obstacle};
use super::version::{Bump, VersionAdvice};
use super::written::{self, WrittenContract, WrittenDomain};
use crate::contract::{Contract, ContractSet, RuleFiles, Status};
use crate::model::Mode;

/// What became of a thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    Added,
    Removed,
    Changed,
    Unchanged,
}

impl Change {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Removed => "removed",
            Self::Changed => "changed",
            Self::Unchanged => "unchanged",
        }
    }
}

/// What a change must keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Allow {
    /// What was accepted still is.
    #[default]
    Backward,
    /// What is accepted was accepted before.
    Forward,
    /// Both.
    Full,
    /// Nothing.
    None,
}

impl Allow {
    const fn needs_backward(self) -> bool {
        matches!(self, Self::Backward | Self::Full)
    }

    const fn needs_forward(self) -> bool {
        matches!(self, Self::Forward | Self::Full)
    }
}

/// A key of a file that says something else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Setting {
    pub key: String,
    /// What it said, where that is short; `None` where only the fact is told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub was: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub is: Option<String>,
    pub asks: Bump,
}

/// Something that a gate in CI objects to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// `incompatible`, `unknown`, `removed` or `version`.
    pub kind: &'static str,
    pub message: String,
    /// For those who show where it is.
    #[serde(skip)]
    pub concerns: Concern,
}

/// What a finding is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Concern {
    /// The obstacles of this direction.
    Backward,
    Forward,
    /// The contract as a whole.
    Contract,
    Version,
}

/// What became of one contract.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ContractChange {
    pub domain: String,
    pub contract: String,
    pub change: Change,
    /// Its file, relative to the rules directory; the new one where there are two.
    pub file: String,
    /// Whether its verdicts decided before: live, enforced, no draft. Nobody relies on others, so nothing is asked of them.
    pub binding: bool,
    /// Whether all events accepted before are accepted now.
    pub backward: Direction,
    /// Whether all events accepted now were accepted before.
    pub forward: Direction,
    pub rules: Vec<RuleChange>,
    pub settings: Vec<Setting>,
    /// `None` for a contract that was added or removed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<VersionAdvice>,
    pub findings: Vec<Finding>,
}

/// What became of one domain's own file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DomainChange {
    pub domain: String,
    pub change: Change,
    pub settings: Vec<Setting>,
}

/// What became of everything.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Those that changed, by name.
    pub domains: Vec<DomainChange>,
    /// All of them, by domain and name.
    pub contracts: Vec<ContractChange>,
}

impl Report {
    pub fn findings(&self) -> impl Iterator<Item = &Finding> {
        self.contracts.iter().flat_map(|contract| &contract.findings)
    }

    /// How many contracts were changed so.
    pub fn count(&self, change: Change) -> usize {
        self.contracts.iter().filter(|contract| contract.change == change).count()
    }
}

/// Compares two sets with the files they were compiled from. Domains that did not compile are in neither set, and look as if
/// they were not there.
pub fn compare(old: (&RuleFiles, &ContractSet), new: (&RuleFiles, &ContractSet), allow: Allow) -> Report {
    let (old, new) = (written::read(old.0, old.1), written::read(new.0, new.1));
    let names: BTreeSet<&str> = old.keys().chain(new.keys()).copied().collect();
    let mut report = Report { domains: Vec::new(), contracts: Vec::new() };
    for name in names {
        let (was, is) = (old.get(name), new.get(name));
        report.domains.extend(domain(name, was, is));
        let contracts = |domain: Option<&WrittenDomain<'_>>| -> BTreeSet<String> {
            domain.into_iter().flat_map(|domain| domain.contracts.keys().map(|name| (*name).to_owned())).collect()
        };
        for contract in contracts(was).union(&contracts(is)) {
            let of =
                |domain: Option<&'_ WrittenDomain<'_>>| domain.is_some_and(|d| d.contracts.contains_key(&**contract));
            let change = match (was.filter(|_| of(was)), is.filter(|_| of(is))) {
                (Some(was), Some(is)) => {
                    changed((was, &was.contracts[&**contract]), (is, &is.contracts[&**contract]), allow)
                }
                (Some(was), None) => removed(&was.contracts[&**contract], allow),
                (None, Some(is)) => added(&is.contracts[&**contract]),
                (None, None) => continue,
            };
            report.contracts.push(change);
        }
    }
    report
}

/// Whether a contract's verdicts decide, and are meant to.
fn binds(contract: &Contract) -> bool {
    matches!(contract.status, Status::Active | Status::Deprecated) && contract.mode == Mode::Enforce
}

fn added(contract: &WrittenContract<'_>) -> ContractChange {
    blank(contract.compiled, Change::Added)
}

fn blank(contract: &Contract, change: Change) -> ContractChange {
    ContractChange {
        domain: contract.domain.to_string(),
        contract: contract.name.to_string(),
        change,
        file: contract.file.to_string(),
        binding: binds(contract),
        backward: Direction::yes(),
        forward: Direction::yes(),
        rules: Vec::new(),
        settings: Vec::new(),
        version: None,
        findings: Vec::new(),
    }
}

/// Nobody's events any more: they become of an unknown type, or another contract's.
fn removed(contract: &WrittenContract<'_>, allow: Allow) -> ContractChange {
    let compiled = contract.compiled;
    let mut change = blank(compiled, Change::Removed);
    if compiled.is_live() {
        change.backward = Direction::no(obstacle(&compiled.file, "contract", compiled.status.as_str(), "removed"));
    }
    ended(&mut change, compiled, allow);
    change
}

/// Objects to the end of a contract that was in use and not announced to end.
fn ended(change: &mut ContractChange, old: &Contract, allow: Allow) {
    if binds(old) && old.status != Status::Deprecated && allow.needs_backward() {
        let message = format!(
            "{}/{} was in use and is gone: its events are of an unknown type now, or another contract's; \
             `status: deprecated` announces an end",
            old.domain, old.name
        );
        change.findings.push(Finding { kind: "removed", message, concerns: Concern::Contract });
    }
}

fn changed(
    (old_domain, old): (&WrittenDomain<'_>, &WrittenContract<'_>),
    (new_domain, new): (&WrittenDomain<'_>, &WrittenContract<'_>),
    allow: Allow,
) -> ContractChange {
    let mut change = ContractChange { binding: binds(old.compiled), ..blank(new.compiled, Change::Changed) };
    let (was, is) = (old_domain.schema(old), new_domain.schema(new));
    let is_same_schema = schema::is_same(was, is);
    if !is_same_schema {
        (change.backward, change.forward) = schema::compare(was, is);
        for obstacle in change.backward.obstacles.iter_mut().chain(&mut change.forward.obstacles) {
            // As the file is called in the rules directory.
            obstacle.schema = format!("{}/{}", new.compiled.domain, obstacle.schema);
        }
    }
    change.settings = settings(old, new);
    beyond_the_schema(&mut change, old.compiled, new.compiled);
    change.rules = rules::compare((old_domain, old), (new_domain, new));
    let retired = old.compiled.is_live() && !new.compiled.is_live();
    let mut asks = change.settings.iter().map(|s| s.asks).chain(change.rules.iter().map(|r| r.asks)).max();
    if !is_same_schema {
        asks = asks.max(Some(Bump::Patch));
    }
    if change.forward.holds != Holds::Yes {
        asks = asks.max(Some(Bump::Minor));
    }
    if change.backward.holds != Holds::Yes && (binds(new.compiled) || retired) {
        asks = asks.max(Some(Bump::Major));
    }
    let versions = (&*old.compiled.version, &*new.compiled.version);
    if asks.is_none() && versions.0 == versions.1 {
        change.change = Change::Unchanged;
    }
    // Nobody relies on what decided nothing.
    let asks = asks.filter(|_| change.binding).unwrap_or(Bump::None);
    let advice = VersionAdvice::of(versions.0, versions.1, asks);
    if retired {
        ended(&mut change, old.compiled, allow);
    } else {
        object(&mut change, binds(new.compiled), allow);
    }
    if !advice.enough {
        let message = match advice.asks {
            Bump::None => format!("the version went back from {} to {}", advice.was, advice.is),
            asks => format!(
                "the version is {}; what changed asks for a {} one, so write {} or higher",
                advice.is,
                asks.as_str(),
                advice.at_least
            ),
        };
        change.findings.push(Finding { kind: "version", message, concerns: Concern::Version });
    }
    change.version = Some(advice);
    change
}

/// The incompatibilities that are not allowed, of a contract whose verdicts count.
fn object(change: &mut ContractChange, binds_now: bool, allow: Allow) {
    let directions = [
        // A contract that decides nothing any more refuses nothing.
        (&change.backward, allow.needs_backward() && binds_now, Concern::Backward),
        (&change.forward, allow.needs_forward(), Concern::Forward),
    ];
    let mut findings = Vec::new();
    for (direction, is_needed, concerns) in directions {
        let (name, meaning) = match concerns {
            Concern::Forward => ("forward", "what is accepted may have been refused before"),
            _ => ("backward", "what was accepted may be refused"),
        };
        let (kind, message) = match direction.holds {
            _ if !is_needed || !change.binding => continue,
            Holds::Yes => continue,
            Holds::No => ("incompatible", format!("not {name} compatible: {meaning}")),
            Holds::Unknown => {
                ("unknown", format!("not known to be {name} compatible: some keywords cannot be compared"))
            }
        };
        findings.push(Finding { kind, message, concerns });
    }
    change.findings.extend(findings);
}

/// What else decides which events are accepted: which come to the contract at all, and which part of them is judged.
fn beyond_the_schema(change: &mut ContractChange, old: &Contract, new: &Contract) {
    let file = &new.file;
    if old.payload != new.payload {
        let told = obstacle(file, "payload.pointer", &old.payload.to_string(), &new.payload.to_string());
        change.backward.add(Obstacle { certain: false, ..told.clone() });
        change.forward.add(Obstacle { certain: false, ..told });
    }
    let stream = |contract: &Contract| contract.stream.as_ref().map(|glob| glob.as_str().to_owned());
    let event_type = |contract: &Contract| contract.event_type.as_deref().map(str::to_owned);
    for (key, was, is) in [("match.stream", stream(old), stream(new)), ("match.type", event_type(old), event_type(new))]
    {
        if was == is {
            continue;
        }
        let shown = |claim: &Option<String>| claim.clone().unwrap_or_else(|| "any".to_owned());
        let told = Obstacle { certain: false, ..obstacle(file, key, &shown(&was), &shown(&is)) };
        // What takes any takes what it took.
        if is.is_some() {
            change.backward.add(told.clone());
        }
        if was.is_some() {
            change.forward.add(told);
        }
    }
    if old.type_pointer != new.type_pointer && new.event_type.is_some() {
        let (was, is) = (old.type_pointer.to_string(), new.type_pointer.to_string());
        let told = Obstacle { certain: false, ..obstacle(file, "defaults.typePointer", &was, &is) };
        change.backward.add(told.clone());
        change.forward.add(told);
    }
    if old.is_live() && !new.is_live() {
        change.backward = Direction::no(obstacle(file, "metadata.status", old.status.as_str(), new.status.as_str()));
    }
}

fn obstacle(file: &str, keyword: &str, was: &str, is: &str) -> Obstacle {
    let (was, is) =
        (if was.is_empty() { "the whole event" } else { was }, if is.is_empty() { "the whole event" } else { is });
    Obstacle {
        at: String::new(),
        keyword: keyword.to_owned(),
        was: was.to_owned(),
        is: is.to_owned(),
        certain: true,
        schema: file.to_owned(),
    }
}

/// The keys of the contract's file that say something else, but for its schema, fields and rules.
fn settings(old: &WrittenContract<'_>, new: &WrittenContract<'_>) -> Vec<Setting> {
    let mut settings = Vec::new();
    let mut tell = |key: &str, (was, is): (Value, Value), asks: Bump, is_short: bool| {
        if was != is {
            let shown = |value: &Value| {
                let text = value.as_str().filter(|text| !text.is_empty());
                let text = text.map_or_else(|| value.to_string(), str::to_owned);
                is_short.then(|| if value.is_null() { "not set".to_owned() } else { text })
            };
            settings.push(Setting { key: key.to_owned(), was: shown(&was), is: shown(&is), asks });
        }
    };
    let both = |of: &dyn Fn(&WrittenContract<'_>) -> Value| (of(old), of(new));
    let status = both(&|c| json!(c.compiled.status));
    tell("metadata.status", status, Bump::Minor, true);
    tell("mode", both(&|c| json!(c.compiled.mode)), Bump::Minor, true);
    // How far these ask a version to move, compatibility says.
    tell("payload.pointer", both(&|c| json!(c.compiled.payload.to_string())), Bump::Patch, true);
    for (key, part) in [("match", "stream"), ("match", "type"), ("payload", "schema")] {
        tell(&format!("{key}.{part}"), both(&|c| c.part(key)[part].clone()), Bump::Patch, true);
    }
    tell(
        "payload.formats",
        both(&|c| json!(c.part("payload")["formats"].as_bool().unwrap_or(true))),
        Bump::Patch,
        true,
    );
    tell("metadata.owner", both(&|c| json!(c.compiled.owner)), Bump::Patch, false);
    for part in ["description", "tags"] {
        tell(&format!("metadata.{part}"), both(&|c| c.part("metadata")[part].clone()), Bump::Patch, false);
    }
    for key in ["privacy", "slo", "reference"] {
        tell(key, both(&|c| c.part(key).clone()), Bump::Patch, false);
    }
    // It holds events that were taken, or lets those pass that were not.
    tell("breaker", both(&|c| c.part("breaker").clone()), Bump::Minor, true);
    tell("replay", both(&|c| c.part("replay").clone()), Bump::Minor, true);
    tell("examples", both(&|c| c.part("examples").clone()), Bump::None, false);
    settings
}

/// What became of a domain's own file; `None` when nothing did.
fn domain(name: &str, was: Option<&WrittenDomain<'_>>, is: Option<&WrittenDomain<'_>>) -> Option<DomainChange> {
    let of = |change: Change, settings: Vec<Setting>| Some(DomainChange { domain: name.to_owned(), change, settings });
    let (was, is) = match (was, is) {
        (None, None) => return None,
        (None, Some(_)) => return of(Change::Added, Vec::new()),
        (Some(_), None) => return of(Change::Removed, Vec::new()),
        (Some(was), Some(is)) => (was.domain, is.domain),
    };
    let settings: Vec<Setting> = [
        ("defaults.typePointer", json!(was.type_pointer.to_string()), json!(is.type_pointer.to_string())),
        ("defaults.unknownType", json!(was.unknown_type), json!(is.unknown_type)),
        ("dlq", json!(was.dlq), json!(is.dlq)),
        ("dlqPayload", json!(was.dlq_payload), json!(is.dlq_payload)),
        ("metadata.owner.team", json!(was.owner.team), json!(is.owner.team)),
    ]
    .into_iter()
    .filter(|(_, was, is)| was != is)
    .map(|(key, was, is)| {
        let shown = |value: Value| value.as_str().map_or_else(|| "not set".to_owned(), str::to_owned);
        Setting { key: key.to_owned(), was: Some(shown(was)), is: Some(shown(is)), asks: Bump::None }
    })
    .collect();
    if settings.is_empty() { None } else { of(Change::Changed, settings) }
}
