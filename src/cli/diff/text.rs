//! What a change means, for people.

use std::io::{self, Write};

use serde::Serialize;

use super::super::output::{self, Row, printable};
use super::super::rules::count;
use super::Outcome;
use crate::diff::schema::{Direction, Holds, Obstacle};
use crate::diff::{Change, ContractChange, RuleChange, Setting};

/// The most reasons told of one direction; `--format json` has more.
const REASONS_MAX: usize = 20;

/// Colours, or none.
pub(super) struct Paint {
    on: bool,
}

impl Paint {
    pub(super) const fn new(on: bool) -> Self {
        Self { on }
    }

    fn with(&self, code: &str, text: &str) -> String {
        if self.on { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }

    fn good(&self, text: &str) -> String {
        self.with("32", text)
    }

    fn bad(&self, text: &str) -> String {
        self.with("31", text)
    }

    fn doubt(&self, text: &str) -> String {
        self.with("33", text)
    }

    fn strong(&self, text: &str) -> String {
        self.with("1", text)
    }
}

pub(super) fn write(outcome: &Outcome, paint: &Paint, out: &mut dyn Write) -> io::Result<()> {
    let report = &outcome.report;
    for domain in &report.domains {
        writeln!(out, "{} domain {}", paint.strong(&printable(&domain.domain)), domain.change.as_str())?;
        domain.settings.iter().try_for_each(|setting| write_setting(setting, out))?;
    }
    for contract in report.contracts.iter().filter(|contract| contract.change != Change::Unchanged) {
        write_contract(contract, paint, out)?;
    }
    if let Some(sample) = &outcome.sample {
        let tally = &sample.tally;
        let judged = format!("{} judged, the verdict on {} changed", count_of(tally.events, "event"), tally.changed);
        writeln!(out, "\n{}", if tally.changed > 0 { paint.doubt(&judged) } else { judged })?;
        if sample.skipped > 0 {
            let letters = count_of(sample.skipped, "dead letter");
            writeln!(out, "{letters} could not be judged: their bytes were not kept, or cannot be read")?;
        }
        let rows: Vec<Line> = tally
            .turns
            .iter()
            .map(|(turn, turned)| Line {
                count: turned.events,
                contract: format!("{}/{}", turn.domain, turn.contract),
                rule: turn.rule.clone(),
                verdict: format!("{} -> {}", turn.was, turn.is),
                examples: turned.examples.join(", "),
            })
            .collect();
        if !rows.is_empty() {
            output::print(&rows, output::Format::Table, out)?;
        }
    }
    let findings = report.findings().count();
    let told = if findings > 0 { paint.bad(&count(findings, "finding")) } else { paint.good("nothing to object to") };
    writeln!(out, "\n{}; {told}", totals(outcome))
}

/// Which two were compared, and how many contracts became what.
pub(super) fn totals(outcome: &Outcome) -> String {
    let of = |change| outcome.report.count(change);
    format!(
        "{} to {}: {} added, {} removed, {} changed, {} unchanged",
        printable(&outcome.old.name),
        printable(&outcome.new.name),
        count(of(Change::Added), "contract"),
        of(Change::Removed),
        of(Change::Changed),
        of(Change::Unchanged),
    )
}

fn count_of(n: u64, noun: &str) -> String {
    count(usize::try_from(n).unwrap_or(usize::MAX), noun)
}

fn write_contract(contract: &ContractChange, paint: &Paint, out: &mut dyn Write) -> io::Result<()> {
    let name = format!("{}/{}", printable(&contract.domain), printable(&contract.contract));
    write!(out, "{} {}", paint.strong(&name), contract.change.as_str())?;
    match &contract.version {
        Some(version) if version.was != version.is => {
            writeln!(out, ", {} to {}", printable(&version.was), printable(&version.is))?;
        }
        Some(version) => writeln!(out, ", {}", printable(&version.is))?,
        None => writeln!(out)?,
    }
    if contract.change == Change::Changed {
        let directions = [("backward", &contract.backward), ("forward", &contract.forward)];
        directions.into_iter().try_for_each(|(name, direction)| write_direction(name, direction, paint, out))?;
    }
    contract.settings.iter().try_for_each(|setting| write_setting(setting, out))?;
    contract.rules.iter().try_for_each(|rule| writeln!(out, "  {}", printable(&of_rule(rule))))?;
    let binding = contract.binding || contract.change != Change::Changed;
    if !binding {
        writeln!(out, "  it decided nothing before (a draft, in shadow, off or retired), so nothing is asked of it")?;
    }
    for finding in &contract.findings {
        writeln!(out, "  {} {}", paint.bad("finding:"), printable(&finding.message))?;
    }
    Ok(())
}

fn write_direction(name: &str, direction: &Direction, paint: &Paint, out: &mut dyn Write) -> io::Result<()> {
    let holds = direction.holds.as_str();
    let told = match direction.holds {
        Holds::Yes => paint.good(holds),
        Holds::No => paint.bad(holds),
        Holds::Unknown => paint.doubt(holds),
    };
    writeln!(out, "  {:<10}{told}", format!("{name}:"))?;
    for obstacle in direction.obstacles.iter().take(REASONS_MAX) {
        writeln!(out, "    {} ({})", printable(&of_obstacle(obstacle)), printable(&obstacle.schema))?;
    }
    match direction.obstacles.len().saturating_sub(REASONS_MAX) {
        0 => Ok(()),
        more => writeln!(out, "    and {} more", count(more, "reason")),
    }
}

/// Where in the payload, and what became of the keyword.
pub(super) fn of_obstacle(obstacle: &Obstacle) -> String {
    let Obstacle { at, keyword, was, is, certain, .. } = obstacle;
    let at = if at.is_empty() { "the payload" } else { at };
    match (was.is_empty(), certain) {
        (true, _) => format!("{at}: {keyword} {is}"),
        (false, true) => format!("{at}: {keyword} was {was}, is {is}"),
        (false, false) => format!("{at}: {keyword} was {was}, is {is}: cannot be compared"),
    }
}

/// What became of a field, rule or check.
pub(super) fn of_rule(rule: &RuleChange) -> String {
    let keys = if rule.keys.is_empty() { String::new() } else { format!(" ({})", rule.keys.join(", ")) };
    let (kind, change) = (rule.kind.as_str(), rule.change.as_str());
    // The schema has no name beside its own.
    let id = if rule.id == kind { String::new() } else { format!(" {}", rule.id) };
    format!("{kind}{id} {change}{keys}: {}", rule.effects.join(", "))
}

/// What became of a key.
pub(super) fn of_setting(setting: &Setting) -> String {
    match (&setting.was, &setting.is) {
        (Some(was), Some(is)) => format!("{} was {was}, is {is}", setting.key),
        _ => format!("{} changed", setting.key),
    }
}

fn write_setting(setting: &Setting, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "  {}", printable(&of_setting(setting)))
}

/// Verdicts that changed in one way.
#[derive(Serialize)]
struct Line {
    count: u64,
    contract: String,
    rule: String,
    verdict: String,
    examples: String,
}

impl Row for Line {
    const HEADERS: &'static [&'static str] = &["COUNT", "CONTRACT", "RULE", "VERDICT", "SUCH AS"];

    fn cells(&self) -> Vec<String> {
        let Self { count, contract, rule, verdict, examples } = self;
        vec![count.to_string(), contract.clone(), rule.clone(), verdict.clone(), examples.clone()]
    }
}
