//! `meshgate dlq`: what is in the dead-letter queue of the local store, and why.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::builder::PossibleValuesParser;
use serde::Serialize;

use super::output::{self, Failure, Format, Row, printable_lines};
use crate::gate::document;
use crate::model::ViolationKind;
use crate::sink::local::{LetterFilter, LetterLookup, LetterSummary, Reader, StoreError};

/// Look into the dead-letter queue of the local store.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "\
Examples:
  meshgate dlq ls                                   the newest 50 dead letters
  meshgate dlq ls --domain orders --rule total_is_sum
  meshgate dlq ls --kind malformed --format json | jq -r .id
  meshgate dlq show 5f3a                            one document; the beginning of its id is enough

Exit codes: 0 good, 2 usage or operational error (no store, no such letter).")]
pub struct DlqArgs {
    #[command(subcommand)]
    pub command: DlqCommand,
    /// The local store's file.
    #[arg(long, value_name = "PATH", env = "MESHGATE_DATA", default_value = "./data/meshgate.db", global = true)]
    pub data: PathBuf,
}

#[derive(Debug, Clone, clap::Subcommand)]
pub enum DlqCommand {
    /// List dead letters, newest first.
    #[command(after_help = "\
Examples:
  meshgate dlq ls --domain orders --contract order.placed
  meshgate dlq ls --kind schema --limit 500 --format json")]
    Ls(LsArgs),
    /// Show one dead letter, private fields masked.
    #[command(after_help = "\
Examples:
  meshgate dlq show 5f3a
  meshgate dlq show 5f3a | jq .violations")]
    Show {
        /// The letter's id, or enough of its beginning to be the only one.
        id: String,
    },
}

#[derive(Debug, Clone, clap::Args)]
pub struct LsArgs {
    /// Only this domain's.
    #[arg(long)]
    pub domain: Option<String>,
    /// Only this contract's.
    #[arg(long)]
    pub contract: Option<String>,
    /// Only those that this rule decided first.
    #[arg(long)]
    pub rule: Option<String>,
    /// Only this kind of violation.
    #[arg(long, value_parser = PossibleValuesParser::new(KINDS.map(ViolationKind::as_str)))]
    pub kind: Option<String>,
    /// At most so many.
    #[arg(long, default_value_t = 50, value_name = "N")]
    pub limit: u32,
    /// A table, or JSON lines [default: table on a terminal, else json].
    #[arg(long, value_enum)]
    pub format: Option<Format>,
}

const KINDS: [ViolationKind; 11] = [
    ViolationKind::Malformed,
    ViolationKind::UnknownType,
    ViolationKind::TooLarge,
    ViolationKind::Schema,
    ViolationKind::Field,
    ViolationKind::Rule,
    ViolationKind::Duplicate,
    ViolationKind::Sequence,
    ViolationKind::Reference,
    ViolationKind::EvaluationError,
    ViolationKind::Isolation,
];

pub fn run(args: DlqArgs) -> ExitCode {
    output::exit_code(execute(&args, &mut io::stdout().lock()))
}

fn execute(args: &DlqArgs, out: &mut dyn Write) -> Result<(), Failure> {
    let reader = Reader::open(&args.data).map_err(told)?;
    match &args.command {
        DlqCommand::Ls(ls) => list(&reader, ls, out),
        DlqCommand::Show { id } => show(&reader, id, out),
    }
}

fn list(reader: &Reader, args: &LsArgs, out: &mut dyn Write) -> Result<(), Failure> {
    let filter = LetterFilter {
        domain: args.domain.clone(),
        contract: args.contract.clone(),
        rule: args.rule.clone(),
        kind: args.kind.clone(),
        limit: args.limit as usize,
        before: None,
    };
    let letters: Vec<Line> = reader.letters(&filter).map_err(told)?.into_iter().map(Line::new).collect();
    let format = Format::or_by_terminal(args.format);
    output::print(&letters, format, out)?;
    if format == Format::Table {
        let wanted = |asked: &Option<String>, value: &str| asked.as_deref().is_none_or(|asked| asked == value);
        let counts = reader.letter_counts().map_err(told)?;
        let matching = counts.iter().filter(|count| {
            wanted(&filter.domain, &count.domain)
                && wanted(&filter.contract, &count.contract)
                && wanted(&filter.rule, &count.rule)
                && wanted(&filter.kind, &count.kind)
        });
        let total: u64 = matching.map(|count| count.letters).sum();
        writeln!(out, "\n{} of {total} dead letters; `meshgate dlq show ID` tells why", letters.len())?;
    }
    Ok(())
}

fn show(reader: &Reader, asked: &str, out: &mut dyn Write) -> Result<(), Failure> {
    match reader.letter(asked).map_err(told)? {
        LetterLookup::Found { id, body } => {
            let document = document::for_display(&body)
                .map_err(|fault| Failure::Told(format!("dead letter {id} cannot be shown: {fault}")))?;
            writeln!(out, "{}", printable_lines(document.trim_end()))?;
            Ok(())
        }
        LetterLookup::NotFound => Err(Failure::Told(format!(
            "there is no dead letter whose id begins with {asked:?}; `meshgate dlq ls` lists those there are"
        ))),
        LetterLookup::Ambiguous(ids) => Err(Failure::Told(format!(
            "several dead letters' ids begin with {asked:?}, such as {}; give more of it",
            ids.join(", ")
        ))),
    }
}

fn told(fault: StoreError) -> Failure {
    Failure::Told(fault.to_string())
}

/// A dead letter in a listing.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    id: String,
    quarantined: String,
    queue: String,
    stream: String,
    domain: String,
    contract: String,
    rule: String,
    kind: String,
}

impl Line {
    fn new(letter: LetterSummary) -> Self {
        let LetterSummary { seq: _, id, queue, quarantined, stream, domain, contract, rule, kind } = letter;
        Self { id, quarantined: quarantined.to_string(), queue, stream, domain, contract, rule, kind }
    }
}

impl Row for Line {
    const HEADERS: &'static [&'static str] = &["ID", "QUARANTINED", "STREAM", "DOMAIN", "CONTRACT", "RULE", "KIND"];

    fn cells(&self) -> Vec<String> {
        [&self.id, &self.quarantined, &self.stream, &self.domain, &self.contract, &self.rule, &self.kind]
            .map(Clone::clone)
            .to_vec()
    }
}

#[cfg(test)]
mod tests;
