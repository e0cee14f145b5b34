//! `meshgate judge`: what would these rules have said of those events? A back-test over a file, nothing forwarded.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use bytes::Bytes;
use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use serde_json::json;

use super::output::{self, Format, Row};
use super::{FINDINGS, GOOD, trouble};
use crate::config::rules;
use crate::contract::{self, ContractSet, States, diagnostic};
use crate::diff::sample::Judge;
use crate::model::{Judgement, Position, Record, Timestamp, Verdict};
use crate::rule::pointer::Pointer;

/// Judge the events of a file without forwarding any, and sum up by rule.
#[derive(Args)]
#[command(group(clap::ArgGroup::new("target").args(["stream", "contract"]).required(true)), after_help = "\
Examples:
  meshgate judge events.ndjson --stream orders-events
  meshgate judge events.ndjson --contract orders/order.placed --verdicts refused.ndjson
  zcat archive/*.gz | meshgate judge - --stream orders-events --now 2026-11-22T00:00:00Z

Exit code 1 when any event would be quarantined.")]
pub struct JudgeArgs {
    /// NDJSON, one event a line; - for stdin
    file: PathBuf,
    /// Directory of rule files
    #[arg(long, env = "MESHGATE_RULES", value_name = "DIR", default_value = "rules")]
    rules: PathBuf,
    /// Judge as if written to this stream: contracts are found by stream and type, as the gate does
    #[arg(long, value_name = "NAME")]
    stream: Option<String>,
    /// Judge all events against this one contract
    #[arg(long, value_name = "DOMAIN/NAME")]
    contract: Option<String>,
    /// Where events name their type, when they are not CloudEvents and the domain's own pointer is not meant
    #[arg(long, value_name = "POINTER", conflicts_with = "contract")]
    type_pointer: Option<Pointer>,
    /// The time that rules see as `now` [default: the present]
    #[arg(long, value_name = "RFC3339", value_parser = parse_time)]
    now: Option<Timestamp>,
    /// Write a JSON line for each event that is not simply forwarded
    #[arg(long, value_name = "FILE")]
    verdicts: Option<PathBuf>,
    /// How the summary is printed [default: a table on a terminal, JSON lines in a pipe]
    #[arg(long, value_enum)]
    format: Option<Format>,
}

pub(super) fn parse_time(text: &str) -> Result<Timestamp, String> {
    Timestamp::parse_rfc3339(text).ok_or_else(|| "not a time such as 2026-11-22T10:00:05Z".to_owned())
}

/// Lines longer than any record can be are judged too large without being read into memory whole.
pub(super) const LINE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// A record's limit on a stream that was widened as far as Kinesis goes.
pub(super) const RECORD_BYTES_MAX: usize = 10 * 1024 * 1024;

/// Reads, judges, sums up.
pub fn run(args: JudgeArgs) -> ExitCode {
    let files = match rules::read(&args.rules) {
        Ok(files) => files,
        Err(error) => return trouble(error),
    };
    let compiled = contract::compile(&files, &rules::revision(&args.rules));
    if !compiled.is_good() {
        let prefix = format!("{}/", args.rules.display());
        eprint!("{}", diagnostic::text(&compiled.diagnostics, &files, &prefix, io::stderr().is_terminal()));
        return trouble("the rules do not compile, so nothing was judged; `meshgate check` shows this too");
    }
    let now = args.now.unwrap_or_else(crate::pipeline::now);
    let states = States::fresh(&compiled.set, now);
    let target = match target(&args, &compiled.set, &states) {
        Ok(target) => target,
        Err(message) => return trouble(message),
    };
    match back_test(&args, target, now) {
        Ok(summary) => {
            if let Err(error) = summary.print(Format::or_by_terminal(args.format)) {
                return trouble(format_args!("cannot print the summary: {error}"));
            }
            ExitCode::from(if summary.quarantined > 0 { FINDINGS } else { GOOD })
        }
        Err(message) => trouble(message),
    }
}

/// How the events find their contract.
fn target<'a>(args: &'a JudgeArgs, set: &'a ContractSet, states: &'a States) -> Result<Judge<'a>, String> {
    let Some(named) = &args.contract else {
        let stream = args.stream.as_deref().unwrap_or_default();
        if set.covers(stream).is_none() {
            return Err(format!("no contract covers stream {stream:?}; name a stream that some match.stream covers"));
        }
        return Ok(Judge::routed(set, Some(states), RECORD_BYTES_MAX, args.type_pointer.as_ref()));
    };
    let found = named.split_once('/').and_then(|(domain, name)| set.contract(domain, name));
    let judge = found.map(|contract| Judge::One(contract, Some(states)));
    judge.ok_or_else(|| format!("there is no contract {named:?}; write it as domain/name"))
}

fn back_test(args: &JudgeArgs, target: Judge<'_>, now: Timestamp) -> Result<Summary, String> {
    let cannot_read = |error: io::Error| format!("cannot read {}: {error}", args.file.display());
    let (input, length) = open(&args.file).map_err(cannot_read)?;
    let bar = progress("judging", length);
    let mut input = BufReader::with_capacity(256 * 1024, bar.wrap_read(input));
    let mut verdicts = match &args.verdicts {
        Some(path) => {
            let file = File::create(path).map_err(|error| format!("cannot write {}: {error}", path.display()))?;
            Some(io::BufWriter::new(file))
        }
        None => None,
    };
    let stream: Arc<str> = args.stream.as_deref().unwrap_or_default().into();
    let mut summary = Summary::default();
    let (mut line, mut number) = (Vec::new(), 0_u64);
    loop {
        line.clear();
        let read = (&mut input).take(LINE_BYTES_MAX as u64).read_until(b'\n', &mut line).map_err(cannot_read)?;
        if read == 0 {
            break;
        }
        if read == LINE_BYTES_MAX && !line.ends_with(b"\n") {
            skip_line(&mut input).map_err(cannot_read)?;
        }
        number += 1;
        let event = line.strip_suffix(b"\n").map_or(&line[..], |l| l.strip_suffix(b"\r").unwrap_or(l));
        if event.trim_ascii().is_empty() {
            continue;
        }
        let judgement = target.judge(&record(event, &stream, number, now), now);
        summary.add(&judgement);
        if let Some(out) = verdicts.as_mut().filter(|_| !judgement.violations.is_empty()) {
            let line = json!({
                "line": number, "verdict": judgement.verdict, "stamp": judgement.stamp, "violations": judgement.violations,
            });
            writeln!(out, "{line}").map_err(|error| format!("cannot write the verdicts: {error}"))?;
        }
    }
    if let Some(mut out) = verdicts {
        out.flush().map_err(|error| format!("cannot write the verdicts: {error}"))?;
    }
    bar.finish_and_clear();
    Ok(summary)
}

pub(super) fn skip_line(input: &mut impl BufRead) -> io::Result<()> {
    input.skip_until(b'\n').map(drop)
}

pub(super) fn record(event: &[u8], stream: &Arc<str>, line: u64, now: Timestamp) -> Record {
    Record { position: Position::Line(line), ..Record::new(Bytes::copy_from_slice(event), Arc::clone(stream), now) }
}

/// A file of events, or stdin for `-`, and its length where that is known.
pub(super) fn open(file: &Path) -> io::Result<(Box<dyn Read>, Option<u64>)> {
    if file.as_os_str() == "-" {
        return Ok((Box::new(io::stdin().lock()), None));
    }
    let file = File::open(file)?;
    let length = file.metadata().ok().filter(|m| m.is_file()).map(|m| m.len());
    Ok((Box::new(file), length))
}

/// A bar on stderr, where that is a terminal, for reading `length` bytes; `None` where that is not known.
pub(super) fn progress(doing: &str, length: Option<u64>) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(length, ProgressDrawTarget::stderr());
    let template = if length.is_some() {
        "{wide_bar} {bytes}/{total_bytes} {binary_bytes_per_sec} eta {eta}"
    } else {
        "{spinner} {bytes} {binary_bytes_per_sec}"
    };
    let template = format!("{doing} {template}");
    bar.set_style(ProgressStyle::with_template(&template).unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}

/// How often one rule found something: a line of the summaries that `judge` and `demo` print.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(super) struct RuleCount {
    pub count: u64,
    pub domain: String,
    pub contract: String,
    pub rule: String,
    pub kind: String,
    pub severity: String,
    pub mode: String,
}

impl Row for RuleCount {
    const HEADERS: &'static [&'static str] = &["COUNT", "DOMAIN", "CONTRACT", "RULE", "KIND", "SEVERITY", "MODE"];

    fn cells(&self) -> Vec<String> {
        let Self { count, domain, contract, rule, kind, severity, mode } = self.clone();
        vec![count.to_string(), domain, contract, rule, kind, severity, mode]
    }
}

/// What the back-test found.
#[derive(Default)]
struct Summary {
    events: u64,
    forwarded: u64,
    quarantined: u64,
    dropped: u64,
    /// Events, not violations, by rule (its count left 0): ten bad lines of one order are one order.
    by_rule: BTreeMap<RuleCount, u64>,
}

impl Summary {
    fn add(&mut self, judgement: &Judgement) {
        self.events += 1;
        match judgement.verdict {
            Verdict::Forward => self.forwarded += 1,
            Verdict::Quarantine => self.quarantined += 1,
            Verdict::Drop => self.dropped += 1,
        }
        let stamp = &judgement.stamp;
        let rules: BTreeSet<RuleCount> = judgement
            .violations
            .iter()
            .map(|violation| RuleCount {
                count: 0,
                domain: stamp.domain.to_string(),
                contract: stamp.contract.to_string(),
                rule: violation.rule.to_string(),
                kind: violation.kind.to_string(),
                severity: violation.severity.as_str().into(),
                mode: violation.mode.as_str().into(),
            })
            .collect();
        for rule in rules {
            *self.by_rule.entry(rule).or_default() += 1;
        }
    }

    fn print(&self, format: Format) -> io::Result<()> {
        let mut rows: Vec<_> = self.by_rule.iter().map(|(rule, n)| RuleCount { count: *n, ..rule.clone() }).collect();
        rows.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.cmp(b)));
        if !rows.is_empty() || format == Format::Json {
            output::print(&rows, format, &mut io::stdout().lock())?;
        }
        let Self { events, forwarded, quarantined, dropped, .. } = self;
        eprintln!("{events} events: {forwarded} would be forwarded, {quarantined} quarantined, {dropped} dropped");
        Ok(())
    }
}
