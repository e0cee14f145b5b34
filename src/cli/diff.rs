//! `meshgate diff`: what a change of rule files means, before it is merged.

mod annotated;
mod sample;
mod text;

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use serde::Serialize;
use serde_json::{Value, json};

use super::rules::{Color, exit, prefix};
use super::{FINDINGS, GOOD, github, output};
use crate::config::git::run::CallError;
use crate::config::history::HistoryError;
use crate::config::{history, rules};
use crate::contract::{self, Compiled, RuleFiles, diagnostic};
use crate::diff::sample::Tally;
use crate::diff::{self, Change, Report};

/// Say what a change of rule files means: compatibility, rules, versions, and verdicts on real events
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  meshgate diff origin/main                     ./rules, compared with those of a branch
  meshgate diff v1.4.0 contracts --allow full   old events and new ones, both ways
  meshgate diff rules.old rules.new             two directories
  meshgate diff main --sample events.ndjson --stream orders-events --fail-on-verdicts
  meshgate diff main --dlq                      which dead letters the new rules would forward
  meshgate diff origin/main --format github     in a step of GitHub Actions: annotations, a summary

Exit codes: 0 nothing to object to; 1 an incompatibility that is not allowed, a version that did not
move enough, or (with --fail-on-verdicts) a verdict that changed; 2 usage or operational error.")]
pub struct DiffArgs {
    /// A git revision, or a directory when the second argument is one too
    #[arg(value_name = "REV|OLD_DIR")]
    old: String,
    /// Directory of the rule files as they are now [default: rules]
    #[arg(value_name = "DIR|NEW_DIR")]
    dir: Option<PathBuf>,
    /// What must hold: events accepted before are accepted now (backward), events accepted now were accepted before
    /// (forward), both (full), nothing (none)
    #[arg(long, value_enum, default_value_t, value_name = "WHAT")]
    allow: Allow,
    #[command(flatten)]
    sample: sample::SampleArgs,
    /// Exit with 1 when a verdict changed
    #[arg(long)]
    fail_on_verdicts: bool,
    /// How to tell it [default: text; github in a step of GitHub Actions]
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Whether to colour text for a terminal
    #[arg(long, value_enum, default_value_t, value_name = "WHEN")]
    color: Color,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum Allow {
    #[default]
    Backward,
    Forward,
    Full,
    None,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line: a `domain`, a `contract`, a `verdict`, and one `summary`.
    Json,
    /// As text, with annotations for a pull request and a summary of the job
    Github,
}

impl From<Allow> for diff::Allow {
    fn from(allow: Allow) -> Self {
        match allow {
            Allow::Backward => Self::Backward,
            Allow::Forward => Self::Forward,
            Allow::Full => Self::Full,
            Allow::None => Self::None,
        }
    }
}

impl DiffArgs {
    /// Where the rule files are.
    fn dir(&self) -> &Path {
        self.dir.as_deref().unwrap_or(Path::new("rules"))
    }
}

/// One set of rules.
pub(super) struct Side {
    files: RuleFiles,
    compiled: Compiled,
    /// What it is called: a commit, or another name of its content.
    name: String,
}

pub fn run(args: &DiffArgs) -> ExitCode {
    match compare(args) {
        Ok(outcome) => exit(|out| outcome.write(args, out)),
        Err(message) => github::trouble(message),
    }
}

/// Everything that is told.
struct Outcome {
    old: Side,
    new: Side,
    report: Report,
    /// The verdicts on real events, where some were given.
    sample: Option<sample::Sample>,
}

fn compare(args: &DiffArgs) -> Result<Outcome, String> {
    let dir = args.dir();
    let files = rules::read(dir).map_err(|error| error.to_string())?;
    let new = Side::compile(files, rules::revision(dir));
    if !new.compiled.is_good() {
        let told = &new.compiled.diagnostics;
        let told = diagnostic::text(told, &new.files, &prefix(dir), io::stderr().is_terminal());
        eprint!("{}", if github::is_here() { github::harmless(&told) } else { told });
        return Err("the new rules do not compile, so nothing was compared; `meshgate check` shows this too".to_owned());
    }
    let old = old_side(args, dir)?;
    for domain in &old.compiled.failed {
        eprintln!("note: domain {domain} did not compile before, so that its contracts look as if they were new");
    }
    let sample = args.sample.judge(&old.compiled.set, &new.compiled.set)?;
    let report = diff::compare((&old.files, &old.compiled.set), (&new.files, &new.compiled.set), args.allow.into());
    Ok(Outcome { old, new, report, sample })
}

/// Two directories are compared only when both are named: a branch may well be called as some directory.
fn old_side(args: &DiffArgs, dir: &Path) -> Result<Side, String> {
    let old = Path::new(&args.old);
    if args.dir.is_some() && old.is_dir() {
        let files = rules::read(old).map_err(|error| error.to_string())?;
        return Ok(Side::compile(files, rules::revision(old)));
    }
    let past = history::read(dir, &args.old).map_err(|error| told(&error))?;
    if past.files.is_empty() {
        eprintln!("note: {} holds no rule files at {}, so that all looks new", dir.display(), args.old);
    }
    Ok(Side::compile(past.files, past.commit))
}

/// Without git there is another way.
fn told(error: &HistoryError) -> String {
    let other_way = match error {
        HistoryError::Call(CallError::NoGit(_)) => {
            "; install it, or name two directories: meshgate diff OLD_DIR NEW_DIR"
        }
        HistoryError::NoRepository { .. } => "; name two directories instead: meshgate diff OLD_DIR NEW_DIR",
        _ => "",
    };
    format!("{error}{other_way}")
}

impl Side {
    fn compile(files: RuleFiles, name: String) -> Self {
        Self { compiled: contract::compile(&files, &name), files, name }
    }
}

impl Outcome {
    fn write(&self, args: &DiffArgs, out: &mut dyn Write) -> io::Result<u8> {
        let tally = self.sample.as_ref().map(|sample| &sample.tally);
        match args.format.unwrap_or(if github::is_here() { Format::Github } else { Format::Text }) {
            Format::Text => text::write(self, &text::Paint::new(args.color.is_on()), out)?,
            Format::Json => self.write_json(tally, out)?,
            Format::Github => {
                let prefix = github::prefix(args.dir());
                github::tell(&annotated::told(self, args, &prefix)?, &prefix, out)?;
            }
        }
        let verdicts = args.fail_on_verdicts && tally.is_some_and(|tally| tally.changed > 0);
        let objects = self.report.findings().next().is_some() || verdicts;
        Ok(if objects { FINDINGS } else { GOOD })
    }

    fn write_json(&self, tally: Option<&Tally>, out: &mut dyn Write) -> io::Result<()> {
        let report = &self.report;
        report.domains.iter().try_for_each(|domain| line("domain", domain, out))?;
        report.contracts.iter().try_for_each(|contract| line("contract", contract, out))?;
        for (turn, turned) in tally.into_iter().flat_map(|tally| &tally.turns) {
            let mut value = serde_json::to_value(turn)?;
            value["events"] = json!(turned.events);
            value["examples"] = json!(turned.examples);
            line("verdict", &value, out)?;
        }
        let mut summary = json!({
            "old": self.old.name, "new": self.new.name,
            "added": report.count(Change::Added), "removed": report.count(Change::Removed),
            "changed": report.count(Change::Changed), "unchanged": report.count(Change::Unchanged),
            "findings": report.findings().count(),
        });
        if let Some(sample) = &self.sample {
            summary["events"] = json!(sample.tally.events);
            summary["verdicts_changed"] = json!(sample.tally.changed);
            summary["not_judged"] = json!(sample.skipped);
        }
        line("summary", &summary, out)
    }
}

/// A JSON line of what it is and what it says.
fn line(kind: &str, said: &impl Serialize, out: &mut dyn Write) -> io::Result<()> {
    let mut value = json!({"kind": kind});
    if let (Value::Object(line), Value::Object(said)) = (&mut value, serde_json::to_value(said)?) {
        line.extend(said);
    }
    output::json_line(&value, out)
}

#[cfg(test)]
mod tests;
