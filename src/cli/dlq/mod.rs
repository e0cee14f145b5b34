//! `meshgate dlq`: what is in the dead-letter queue, why, and what becomes of it.
//!
//! The queue is that of the settings: the local store's, or an SQS queue. A store is read by questions; a queue of SQS is looked through,
//! message by message ([`scan`]).

mod purge;
mod replay;
mod scan;
mod show;
mod stats;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::builder::PossibleValuesParser;
use serde::Serialize;

use super::output::{self, Failure, Format, Row};
use crate::config::{self, Backend, Config, Overrides};
use crate::gate::document::{self, Filter, Summary};
use crate::model::{Timestamp, ViolationKind};
use crate::sink::local::{LetterFilter, LetterSummary, Reader, StoreError};

/// Look into the dead-letter queue, and send its events through the gate again.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "\
Examples:
  meshgate dlq ls                                   the newest 50 dead letters
  meshgate dlq ls --domain orders --rule total_is_sum
  meshgate dlq stats                                how many, by contract, rule and kind
  meshgate dlq show 5f3a                            one document; the beginning of its id is enough
  meshgate dlq replay --rule total_is_sum --dry-run what the rules of now say of them
  meshgate dlq replay --rule total_is_sum           forward those that pass
  meshgate dlq export > letters.ndjson              private fields masked
  meshgate dlq ls --config meshgate.yaml --queue orders-dlq

With `backend: local`, the queue is the store's (--data). With `backend: aws` in the settings, it is
SQS: the queue that `dlq` names, or --queue. To look at a message there hides it from others for up
to five minutes, and counts as a receive.

Exit codes: 0 good; 1 a replay left letters that could be replayed; 2 usage or operational error
(no store, no such letter).")]
pub struct DlqArgs {
    #[command(subcommand)]
    pub command: DlqCommand,
    /// The local store's file [default: that of the settings, ./data/meshgate.db]
    #[arg(long, value_name = "PATH", env = "MESHGATE_DATA", global = true)]
    pub data: Option<PathBuf>,
    /// Settings file; ./meshgate.yaml is read when it is there
    #[arg(long, env = "MESHGATE_CONFIG", value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,
    /// The queue: its name, URL or ARN [default: `dlq` of the settings; of a store, all]
    #[arg(long, value_name = "QUEUE", global = true)]
    pub queue: Option<String>,
}

#[derive(Debug, Clone, clap::Subcommand)]
pub enum DlqCommand {
    /// List dead letters, newest first.
    #[command(after_help = "\
Examples:
  meshgate dlq ls --domain orders --contract order.placed
  meshgate dlq ls --kind schema --limit 500 --format json")]
    Ls(LsArgs),
    /// Count dead letters by what they have in common.
    #[command(after_help = "\
Examples:
  meshgate dlq stats
  meshgate dlq stats --by rule,pointer --domain orders
  meshgate dlq stats --by hour --since 2026-11-27T00:00:00Z
  meshgate dlq stats --by key --top 10              the partition keys that are refused most")]
    Stats(stats::StatsArgs),
    /// Show one dead letter, private fields masked.
    #[command(after_help = "\
Examples:
  meshgate dlq show 5f3a
  meshgate dlq show 5f3a --values                   with the values that were found wrong
  meshgate dlq show 5f3a | jq .violations")]
    Show(show::ShowArgs),
    /// Write dead letters as JSON lines, private fields masked.
    #[command(after_help = "\
Examples:
  meshgate dlq export --domain orders > letters.ndjson
  meshgate dlq export --original --rule total_is_sum > events.ndjson   the events as they were put")]
    Export(show::ExportArgs),
    /// Judge events again by the rules of now, and forward those that pass.
    #[command(after_help = "\
Examples:
  meshgate dlq replay --dry-run                     counts, and nothing else
  meshgate dlq replay --contract order.placed --rule total_is_sum
  meshgate dlq replay --edit '/total = this.qty * this.price' --dry-run
  meshgate dlq replay --edit @repair.json           a JSON Patch (RFC 6902)
  meshgate dlq replay --per-second 200 --workers 2 --metrics /var/lib/node_exporter/replay.prom

What passes goes to its mesh stream with its partition key, and leaves the queue; what does not
stays, with one attempt more in its document. The ids of what was forwarded are kept beside the
store (PATH.replays), so that a replay can be stopped and run again. Checks that remember are not
asked: what only they refused stays.")]
    Replay(replay::ReplayArgs),
    /// Delete dead letters.
    #[command(after_help = "\
Examples:
  meshgate dlq purge --until 2026-10-01T00:00:00Z --dry-run
  meshgate dlq purge --domain orders --rule total_is_sum --yes")]
    Purge(purge::PurgeArgs),
}

/// Which letters are meant.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct FilterArgs {
    /// Only this domain's.
    #[arg(long)]
    pub domain: Option<String>,
    /// Only this contract's.
    #[arg(long)]
    pub contract: Option<String>,
    /// Only this version's of their contract.
    #[arg(long)]
    pub version: Option<String>,
    /// Only those put to this stream.
    #[arg(long)]
    pub stream: Option<String>,
    /// Only those that this rule decided first.
    #[arg(long)]
    pub rule: Option<String>,
    /// Only this kind of violation.
    #[arg(long, value_parser = PossibleValuesParser::new(ViolationKind::ALL.map(ViolationKind::as_str)))]
    pub kind: Option<String>,
    /// Quarantined then or later (RFC 3339).
    #[arg(long, value_parser = time, value_name = "TIME")]
    pub since: Option<Timestamp>,
    /// Quarantined before (RFC 3339).
    #[arg(long, value_parser = time, value_name = "TIME")]
    pub until: Option<Timestamp>,
}

impl FilterArgs {
    fn filter(&self) -> Filter {
        let Self { domain, contract, version, stream, rule, kind, since, until } = self.clone();
        Filter { domain, contract, version, stream, rule, kind, since, until }
    }
}

fn time(text: &str) -> Result<Timestamp, String> {
    Timestamp::parse_rfc3339(text).ok_or_else(|| "write a time as 2026-11-28T09:00:00Z".to_owned())
}

#[derive(Debug, Clone, clap::Args)]
pub struct LsArgs {
    #[command(flatten)]
    pub filter: FilterArgs,
    /// At most so many.
    #[arg(long, default_value_t = 50, value_name = "N")]
    pub limit: u32,
    /// A table, or JSON lines [default: table on a terminal, else json].
    #[arg(long, value_enum)]
    pub format: Option<Format>,
}

/// The settings, and the queue that was named.
struct Place {
    config: Config,
    queue: Option<String>,
}

impl Place {
    fn of(args: &DlqArgs) -> Result<Self, Failure> {
        let overrides = Overrides { config: args.config.clone(), data: args.data.clone(), ..Overrides::default() };
        let config = config::load(&overrides).map_err(|error| Failure::Told(error.to_string()))?;
        Ok(Self { config, queue: args.queue.clone() })
    }

    /// The store, where letters are kept in one.
    fn store(&self) -> Result<Option<Reader>, Failure> {
        match self.config.backend {
            Backend::Local { .. } => Reader::open(&self.config.data).map(Some).map_err(told),
            Backend::Aws { .. } => Ok(None),
        }
    }
}

pub fn run(args: DlqArgs) -> ExitCode {
    if let DlqCommand::Replay(replay) = &args.command {
        return replay::run(&args, replay);
    }
    output::exit_code(execute(&args, &mut io::stdout().lock()))
}

fn execute(args: &DlqArgs, out: &mut dyn Write) -> Result<(), Failure> {
    let place = Place::of(args)?;
    match &args.command {
        DlqCommand::Ls(ls) => match place.store()? {
            Some(reader) => list(&reader, ls, place.queue.as_deref(), out),
            None => list_scanned(&place, ls, out),
        },
        DlqCommand::Stats(args) => stats::run(&place, args, out),
        DlqCommand::Show(args) => show::run(&place, args, out),
        DlqCommand::Export(args) => show::export(&place, args, out),
        DlqCommand::Purge(args) => purge::run(&place, args, out),
        DlqCommand::Replay(_) => Ok(()),
    }
}

fn list(reader: &Reader, args: &LsArgs, queue: Option<&str>, out: &mut dyn Write) -> Result<(), Failure> {
    let FilterArgs { domain, contract, version, stream, rule, kind, since, until } = args.filter.clone();
    let is_counted = version.is_none() && stream.is_none() && since.is_none() && until.is_none() && queue.is_none();
    let filter = LetterFilter {
        queue: queue.map(str::to_owned),
        domain,
        contract,
        stream,
        rule,
        kind,
        since,
        until,
        version,
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
        let of = if is_counted { format!(" of {total}") } else { String::new() };
        writeln!(out, "\n{}{of} dead letters; `meshgate dlq show ID` tells why", letters.len())?;
    }
    Ok(())
}

/// Of a queue that is looked through: not the newest, but what it gives first.
fn list_scanned(place: &Place, args: &LsArgs, out: &mut dyn Write) -> Result<(), Failure> {
    let mut lines = Vec::new();
    let queue = place.queue.clone().unwrap_or_else(|| place.config.dlq.to_string());
    let options = scan::Options { filter: args.filter.filter(), letters_max: u64::from(args.limit), doing: "looking" };
    let looked_at = scan::each(place, options, |letter, _| {
        lines.push(Line::of(letter.clone(), &queue));
        Ok(scan::Then::Release)
    })?;
    lines.sort_by(|a, b| b.quarantined.cmp(&a.quarantined));
    let format = Format::or_by_terminal(args.format);
    output::print(&lines, format, out)?;
    if format == Format::Table {
        writeln!(out, "\n{} of {looked_at} dead letters looked at; `meshgate dlq show ID` tells why", lines.len())?;
    }
    Ok(())
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

    fn of(letter: Summary, queue: &str) -> Self {
        let Summary { id, quarantined, stream, domain, contract, rule, kind, .. } = letter;
        Self { id, quarantined, queue: queue.to_owned(), stream, domain, contract, rule, kind }
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
