//! What a change means, for GitHub: findings and effects on the lines they come from, as the files have them now.

use std::io;

use super::super::github::markdown::Markdown;
use super::super::github::{Annotation, Told};
use super::{Allow, DiffArgs, Outcome, text};
use crate::contract::diagnostic::{Level, Place};
use crate::contract::{Contract, Domain, Places, SCHEMA_RULE};
use crate::diff::sample::{Turn, Turned};
use crate::diff::schema::Obstacle;
use crate::diff::{Bump, Change, Concern, ContractChange, Finding, RuleChange};
use crate::rule::pointer::Pointer;

/// Keys of a rule that are for people. An effect comes from another one.
const WORDS: [&str; 3] = ["dimension", "message", "messageExpression"];

pub(super) fn told(outcome: &Outcome, args: &DiffArgs, prefix: &str) -> io::Result<Told> {
    let mut log = Vec::new();
    text::write(outcome, &text::Paint::new(false), &mut log)?;
    let log = String::from_utf8_lossy(&log).into_owned();
    let annotations = Annotations { outcome, args, places: Places::new(&outcome.new.files) }.all();
    let summary = page(outcome, &annotations, prefix);
    Ok(Told { log, annotations, summary })
}

struct Annotations<'o> {
    outcome: &'o Outcome,
    args: &'o DiffArgs,
    /// In the files as they are now.
    places: Places<'o>,
}

/// A contract that is still there.
type Still<'o> = (&'o Domain, &'o Contract);

impl<'o> Annotations<'o> {
    fn all(&self) -> Vec<Annotation> {
        let report = &self.outcome.report;
        let mut all = Vec::new();
        for domain in &report.domains {
            all.extend(domain.settings.iter().map(|setting| {
                let place = self.in_domain(&domain.domain, &setting.key);
                annotation(Level::Note, place, format!("domain {}: {}", domain.domain, text::of_setting(setting)))
            }));
        }
        for contract in &report.contracts {
            match self.still(&contract.domain, &contract.contract) {
                Some(still) => self.contract(contract, still, &mut all),
                None => {
                    // GitHub shows an annotation of a file that is gone on the run's page.
                    let place = Place::of_file(&contract.file);
                    let told = |finding: &Finding| annotation(Level::Error, place.clone(), finding.message.clone());
                    all.extend(contract.findings.iter().map(told));
                }
            }
        }
        let turns = self.outcome.sample.iter().flat_map(|sample| &sample.tally.turns);
        all.extend(turns.map(|(turn, turned)| self.turn(turn, turned)));
        all
    }

    fn contract(&self, change: &ContractChange, still: Still<'_>, all: &mut Vec<Annotation>) {
        let name = format!("{}/{}", change.domain, change.contract);
        let mut tell = |level, place, said: String| all.push(annotation(level, place, format!("{name}: {said}")));
        for finding in &change.findings {
            let obstacles = match finding.concerns {
                Concern::Backward => &change.backward.obstacles,
                Concern::Forward => &change.forward.obstacles,
                Concern::Version => {
                    tell(Level::Error, self.at(still, "metadata.version"), finding.message.clone());
                    continue;
                }
                Concern::Contract => {
                    tell(Level::Error, self.at(still, "metadata.status"), finding.message.clone());
                    continue;
                }
            };
            for obstacle in obstacles {
                let said = format!("{}\n{}", finding.message, text::of_obstacle(obstacle));
                tell(Level::Error, self.obstacle(obstacle, still), said);
            }
        }
        let is_allowed = matches!(self.args.allow, Allow::None | Allow::Forward);
        for obstacle in change.backward.obstacles.iter().filter(|_| is_allowed && change.binding) {
            let said = format!("not backward compatible, which is allowed here\n{}", text::of_obstacle(obstacle));
            tell(Level::Warning, self.obstacle(obstacle, still), said);
        }
        for setting in change.settings.iter().filter(|s| s.was.is_some() && s.asks >= Bump::Minor) {
            tell(Level::Note, self.at(still, &setting.key), text::of_setting(setting));
        }
        for rule in change.rules.iter().filter(|rule| rule.asks >= Bump::Minor) {
            let level = if change.binding && rule.asks == Bump::Major { Level::Warning } else { Level::Note };
            let keys: Vec<&str> = rule.keys.iter().map(String::as_str).filter(|key| !WORDS.contains(key)).collect();
            tell(level, self.rule(&rule.id, &keys, still), text::of_rule(rule));
        }
    }

    /// A verdict that changed, where the rule stands that is why.
    fn turn(&self, turn: &Turn, turned: &Turned) -> Annotation {
        let Turn { domain, contract, was, is, rule } = turn;
        let level = if self.args.fail_on_verdicts { Level::Error } else { Level::Warning };
        let place = self.still(domain, contract).map(|still| self.rule(rule, &[], still));
        let such_as = turned.examples.join(", ");
        let message =
            format!("{domain}/{contract}: {was} -> {is} by {rule}, {} of the sample: {such_as}", turned.events);
        annotation(level, place, message)
    }

    fn still(&self, domain: &str, contract: &str) -> Option<Still<'o>> {
        let domain = self.outcome.new.compiled.set.domain(domain)?;
        Some((domain, domain.contracts.get(contract)?))
    }

    /// A key of a contract, by its name with dots.
    fn at(&self, (domain, contract): Still<'_>, key: &str) -> Place {
        self.places.in_contract(domain, contract, &dotted(key))
    }

    fn in_domain(&self, domain: &str, key: &str) -> Place {
        self.places.in_yaml(&format!("{domain}/domain.yaml"), &dotted(key))
    }

    /// A rule's first key of these, or where it begins. One that is gone was in the contract.
    fn rule(&self, id: &str, keys: &[&str], still: Still<'_>) -> Place {
        let entry = self.places.of_entry(still.0, still.1, id, keys);
        entry.unwrap_or_else(|| self.at(still, if id == SCHEMA_RULE { "payload.schema" } else { "rules" }))
    }

    fn obstacle(&self, obstacle: &Obstacle, still: Still<'_>) -> Place {
        let Some((path, pointer)) = obstacle.schema.split_once('#') else {
            // No keyword of a schema, but a key of the contract, or of its domain.
            return match obstacle.keyword.starts_with("defaults.") {
                true => self.in_domain(&still.0.name, &obstacle.keyword),
                false => self.at(still, &obstacle.keyword),
            };
        };
        let mut pointer = Pointer::parse(pointer).unwrap_or_default();
        if obstacle.keyword == "required"
            && let Some(property) = Pointer::parse(&obstacle.at).unwrap_or_default().segments().last()
        {
            pointer = self.places.required(path, &pointer, property);
        }
        self.places.in_schema(still.0, still.1, path, &pointer)
    }
}

fn annotation(level: Level, place: impl Into<Option<Place>>, message: String) -> Annotation {
    Annotation { level, place: place.into(), title: "meshgate diff".to_owned(), message }
}

/// `metadata.version` as a pointer.
fn dotted(key: &str) -> Pointer {
    key.split('.').fold(Pointer::root(), |pointer, key| pointer.child(key))
}

/// The job's summary.
fn page(outcome: &Outcome, annotations: &[Annotation], prefix: &str) -> Markdown {
    let report = &outcome.report;
    let mut page = Markdown::default();
    let is_good = !annotations.iter().any(|annotation| annotation.level == Level::Error);
    page.heading(if is_good { "meshgate diff: nothing to object to" } else { "meshgate diff: findings" });
    page.paragraph(&text::totals(outcome));
    let errors = annotations.iter().filter(|annotation| annotation.level == Level::Error);
    let shown = |place: &Place| format!("{prefix}{}:{}", place.file, place.line);
    let row = |a: &Annotation| [a.place.as_ref().map(shown).unwrap_or_default(), a.message.clone()];
    page.table(["Where", "Finding"], errors.map(row).collect());
    let changed = report.contracts.iter().filter(|contract| contract.change != Change::Unchanged);
    let headers = ["Contract", "Change", "Version", "Backward", "Forward", "Rules and settings"];
    page.table(headers, changed.map(contract_row).collect());
    let domains = report.domains.iter().map(|domain| {
        let settings: Vec<String> = domain.settings.iter().map(text::of_setting).collect();
        [domain.domain.clone(), domain.change.as_str().to_owned(), settings.join("\n")]
    });
    page.table(["Domain", "Change", "Settings"], domains.collect());
    if let Some(sample) = &outcome.sample {
        let tally = &sample.tally;
        page.paragraph(&format!("Events judged: {}; verdicts changed: {}", tally.events, tally.changed));
        let turns = tally.turns.iter().map(|(turn, turned)| {
            let verdict = format!("{} -> {}", turn.was, turn.is);
            let contract = format!("{}/{}", turn.domain, turn.contract);
            [turned.events.to_string(), contract, turn.rule.clone(), verdict, turned.examples.join(", ")]
        });
        page.table(["Events", "Contract", "Rule", "Verdict", "Such as"], turns.collect());
    }
    page
}

fn contract_row(contract: &ContractChange) -> [String; 6] {
    let version = contract.version.as_ref().map_or_else(String::new, |version| match version.was == version.is {
        true => version.is.clone(),
        false => format!("{} to {}", version.was, version.is),
    });
    let is_changed = contract.change == Change::Changed;
    let holds = |holds: &'static str| if is_changed { holds.to_owned() } else { String::new() };
    let rules = contract.rules.iter().map(|rule: &RuleChange| text::of_rule(rule));
    let told: Vec<String> = rules.chain(contract.settings.iter().map(text::of_setting)).collect();
    [
        format!("{}/{}", contract.domain, contract.contract),
        contract.change.as_str().to_owned(),
        version,
        holds(contract.backward.holds.as_str()),
        holds(contract.forward.holds.as_str()),
        told.join("\n"),
    ]
}
