//! `meshgate dlq replay`: events judged again, and forwarded where they pass.

use std::cmp::Reverse;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::{DlqArgs, FilterArgs, Place, scan};
use crate::cli::output::{self, Failure, Format, Row};
use crate::cli::{FINDINGS, GOOD, run as gate_run, trouble};
use crate::config::{Config, RuleSource};
use crate::gate::edit::Edit;
use crate::memory::Memory;
use crate::metrics::Metrics;
use crate::pipeline::replay::{Replay, ReplayOptions, Replayed, Report};
use crate::pipeline::{now, serve};
use crate::sink::local::Journal;

#[derive(Debug, Clone, clap::Args)]
pub struct ReplayArgs {
    #[command(flatten)]
    pub filter: FilterArgs,
    /// Only count what would become of them: nothing is forwarded, deleted or noted
    #[arg(long)]
    pub dry_run: bool,
    /// A repair, before they are judged: '/pointer = CEL expression', or @FILE with a JSON Patch (RFC 6902); may be given several times
    #[arg(long, value_name = "REPAIR")]
    pub edit: Vec<String>,
    /// Directory of rule files [default: that of the settings, ./rules]
    #[arg(long, env = "MESHGATE_RULES", value_name = "DIR")]
    pub rules: Option<PathBuf>,
    /// Judge by the rules as they were at this git revision of their directory
    #[arg(long, value_name = "REVISION")]
    pub at: Option<String>,
    /// Replay at most so many
    #[arg(long, value_name = "N")]
    pub limit: Option<u64>,
    /// Forward at most so many events a second
    #[arg(long, value_name = "N")]
    pub per_second: Option<u32>,
    /// Batches under way at once
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub workers: u16,
    /// Write what became of them to this file as Prometheus metrics, for a node exporter's textfile collector
    #[arg(long, value_name = "FILE")]
    pub metrics: Option<PathBuf>,
    /// Log filter; at info, each event that is forwarded
    #[arg(long, env = "MESHGATE_LOG", value_name = "FILTER", default_value = "warn", value_parser = gate_run::log_filter)]
    pub log: String,
    /// A table, or JSON lines [default: table on a terminal, else json]
    #[arg(long, value_enum)]
    pub format: Option<Format>,
}

/// Where it is noted what was replayed: beside the store.
pub fn journal_path(config: &Config) -> PathBuf {
    let mut name = config.data.clone().into_os_string();
    name.push(".replays");
    name.into()
}

pub fn run(args: &DlqArgs, replay: &ReplayArgs) -> ExitCode {
    gate_run::init_logging(&replay.log);
    let outcome = Place::of(args).and_then(|place| execute(place, replay));
    match outcome {
        Ok(report) => {
            if let Some(why) = &report.stopped {
                eprintln!("the replay ended early: {why}");
            }
            let left = [Replayed::Unsettled].map(|outcome| report.of(outcome)).iter().sum::<u64>();
            if left > 0 || report.stopped.is_some() { ExitCode::from(FINDINGS) } else { ExitCode::from(GOOD) }
        }
        Err(Failure::Output(error)) => output::exit_code(Err(Failure::Output(error))),
        Err(failure) => trouble(failure),
    }
}

fn execute(mut place: Place, args: &ReplayArgs) -> Result<Report, Failure> {
    let told = |message: String| Failure::Told(message);
    let edits = args.edit.iter().map(|text| parse_edit(text)).collect::<Result<Vec<Edit>, Failure>>()?;
    if let Some(rules) = &args.rules {
        place.config.rules = RuleSource::from(rules.as_path());
    }
    if let RuleSource::Git(git) = place.config.rules {
        place.config.rules = RuleSource::Git(git.beside("replay"));
    }
    place.config.candidate = None;
    if let Some(revision) = &args.at {
        place.config.rules = match place.config.rules {
            RuleSource::Directory(dir) => RuleSource::Revision { dir, revision: revision.clone() },
            other => return Err(told(format!("--at names a revision of a directory, and the rules are {other}"))),
        };
    }
    let metrics = Arc::new(Metrics::new());
    let rules = gate_run::load_rules(&place.config, Memory::default(), &metrics)
        .map_err(|_| told("nothing was replayed".into()))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| told(format!("cannot start threads: {error}")))?;
    let options = ReplayOptions {
        filter: args.filter.filter(),
        edits,
        dry_run: args.dry_run,
        letters_max: args.limit,
        per_second: args.per_second,
        workers: usize::from(args.workers),
    };
    let report = runtime.block_on(async {
        let opened = serve::open_letters(&place.config, place.queue.as_deref()).await;
        let (sinks, letters) = opened.map_err(|error| told(error.to_string()))?;
        let journal = Journal::open(&journal_path(&place.config), now()).map_err(|error| told(error.to_string()))?;
        let bar = scan::progress("replaying", letters.about().await.map_err(|failure| told(failure.message))?);
        let gate = Arc::new(serve::gate(&place.config, rules, &sinks, Arc::clone(&metrics)));
        let replay = Arc::new(Replay::new(gate, letters, journal, options, now));
        let running = Arc::clone(&replay).run();
        let mut running = std::pin::pin!(running);
        let (mut told_to_stop, mut is_told) = (std::pin::pin!(serve::told_to_stop()), false);
        let mut tick = tokio::time::interval(Duration::from_millis(200));
        let report = loop {
            tokio::select! {
                report = &mut running => break report,
                () = &mut told_to_stop, if !is_told => {
                    is_told = true;
                    replay.stop("it was told to stop; run it again to go on");
                }
                _ = tick.tick() => bar.set_position(replay.looked_at()),
            }
        };
        bar.finish_and_clear();
        Ok::<Report, Failure>(report)
    })?;
    print(&report, args, &mut std::io::stdout().lock())?;
    if let Some(path) = &args.metrics {
        write_metrics(path, &metrics)?;
    }
    Ok(report)
}

fn parse_edit(text: &str) -> Result<Edit, Failure> {
    let read = |path: &str| {
        std::fs::read_to_string(path).map_err(|error| Failure::Told(format!("cannot read the repair {path}: {error}")))
    };
    let text = match text.strip_prefix('@') {
        Some(path) => read(path)?,
        None => text.to_owned(),
    };
    Edit::parse(&text).map_err(|fault| Failure::Told(format!("{fault}; nothing was replayed")))
}

/// A collector reads whole files only: it is written beside and moved.
fn write_metrics(path: &Path, metrics: &Metrics) -> Result<(), Failure> {
    let beside = path.with_extension("tmp");
    let written = std::fs::write(&beside, metrics.replayed_text()).and_then(|()| std::fs::rename(&beside, path));
    written.map_err(|error| Failure::Told(format!("the replay is done; cannot write {}: {error}", path.display())))
}

/// Letters that share a fate, as a line.
#[derive(Serialize)]
struct Line {
    count: u64,
    domain: String,
    contract: String,
    outcome: &'static str,
    rule: String,
}

impl Row for Line {
    const HEADERS: &'static [&'static str] = &["COUNT", "DOMAIN", "CONTRACT", "OUTCOME", "RULE"];

    fn cells(&self) -> Vec<String> {
        let Self { count, domain, contract, outcome, rule } = self;
        vec![count.to_string(), domain.clone(), contract.clone(), (*outcome).to_owned(), rule.clone()]
    }
}

fn print(report: &Report, args: &ReplayArgs, out: &mut dyn Write) -> Result<(), Failure> {
    let line = |(group, count): (&crate::pipeline::replay::Group, &u64)| Line {
        count: *count,
        domain: group.domain.clone(),
        contract: group.contract.clone(),
        outcome: group.outcome.as_str(),
        rule: group.rule.clone(),
    };
    let mut lines: Vec<Line> = report.groups.iter().map(line).collect();
    lines.sort_by_key(|line| Reverse(line.count));
    let format = Format::or_by_terminal(args.format);
    if !lines.is_empty() || format == Format::Json {
        output::print(&lines, format, out)?;
    }
    let forwarded = report.of(Replayed::Forwarded) + report.of(Replayed::PossiblyTwice);
    let gone = report.of(Replayed::Already) + report.of(Replayed::Dropped);
    let stay = report.letters() - forwarded - gone;
    let (would, passed) = (if args.dry_run { "would be " } else { "" }, report.passed_over);
    let others = if passed > 0 { format!("; {passed} others were passed over") } else { String::new() };
    let removed = if gone > 0 { format!(", {gone} {would}only removed") } else { String::new() };
    eprintln!("{} dead letters: {forwarded} {would}forwarded{removed}, {stay} stay{others}", report.letters());
    Ok(())
}
