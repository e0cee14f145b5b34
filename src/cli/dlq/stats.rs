//! `meshgate dlq stats`: how many letters have what in common.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::io::Write;

use clap::ValueEnum;
use serde_json::{Map, Value};

use super::{FilterArgs, Place, document, scan};
use crate::cli::output::{self, Failure, Format};
use crate::gate::document::Summary;

/// What letters are counted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum By {
    Domain,
    Contract,
    Version,
    Revision,
    Rule,
    Kind,
    /// Where in the event.
    Pointer,
    Stream,
    /// The partition key, masked where it is private.
    Key,
    Day,
    Hour,
    /// How often a letter was replayed and stayed.
    Attempts,
}

#[derive(Debug, Clone, clap::Args)]
pub struct StatsArgs {
    #[command(flatten)]
    pub filter: FilterArgs,
    /// What they are counted by.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "domain,contract,rule,kind")]
    pub by: Vec<By>,
    /// Only so many groups, the largest.
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub top: usize,
    /// Look at so many letters at most.
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    pub limit: u64,
    /// A table, or JSON lines [default: table on a terminal, else json].
    #[arg(long, value_enum)]
    pub format: Option<Format>,
}

impl By {
    const fn name(self) -> &'static str {
        match self {
            Self::Domain => "domain",
            Self::Contract => "contract",
            Self::Version => "version",
            Self::Revision => "revision",
            Self::Rule => "rule",
            Self::Kind => "kind",
            Self::Pointer => "pointer",
            Self::Stream => "stream",
            Self::Key => "key",
            Self::Day => "day",
            Self::Hour => "hour",
            Self::Attempts => "attempts",
        }
    }

    fn of(self, letter: &Summary, body: &str) -> String {
        let part = |text: &str, length: usize| text.get(..length).unwrap_or(text).to_owned();
        match self {
            Self::Domain => letter.domain.clone(),
            Self::Contract => letter.contract.clone(),
            Self::Version => letter.version.clone(),
            Self::Revision => letter.revision.clone(),
            Self::Rule => letter.rule.clone(),
            Self::Kind => letter.kind.clone(),
            Self::Pointer => letter.pointer.clone(),
            Self::Stream => letter.stream.clone(),
            Self::Key => key(body).unwrap_or_default(),
            Self::Day => part(&letter.quarantined, "2026-11-28".len()),
            Self::Hour => part(&letter.quarantined, "2026-11-28T09".len()),
            Self::Attempts => letter.attempts.to_string(),
        }
    }
}

/// As a person may see it.
fn key(body: &str) -> Option<String> {
    let shown: Value = serde_json::from_str(&document::for_display(body).ok()?).ok()?;
    shown["source"]["partitionKey"].as_str().map(str::to_owned)
}

pub fn run(place: &Place, args: &StatsArgs, out: &mut dyn Write) -> Result<(), Failure> {
    let mut counts: BTreeMap<Vec<String>, u64> = BTreeMap::new();
    let options = scan::Options { filter: args.filter.filter(), letters_max: args.limit, doing: "counting" };
    scan::each(place, options, |letter, body| {
        *counts.entry(args.by.iter().map(|by| by.of(letter, body)).collect()).or_default() += 1;
        Ok(scan::Then::Release)
    })?;
    let total: u64 = counts.values().sum();
    let mut rows: Vec<(Vec<String>, u64)> = counts.into_iter().collect();
    let groups = rows.len();
    // Times are read in their order, everything else by how much there is of it.
    if !matches!(args.by[..], [By::Day | By::Hour, ..]) {
        rows.sort_by_key(|(_, count)| Reverse(*count));
    }
    rows.truncate(args.top);
    if Format::or_by_terminal(args.format) == Format::Json {
        for (values, count) in rows {
            let names = args.by.iter().map(|by| by.name().to_owned());
            let mut row: Map<String, Value> = names.zip(values.into_iter().map(Value::from)).collect();
            row.insert("count".into(), count.into());
            output::json_line(&row, out)?;
        }
        return Ok(());
    }
    let headers: Vec<String> =
        std::iter::once("COUNT".to_owned()).chain(args.by.iter().map(|by| by.name().to_uppercase())).collect();
    let shown = rows.len();
    let cells = rows.into_iter().map(|(values, count)| std::iter::once(count.to_string()).chain(values).collect());
    output::table(&headers, cells, out)?;
    writeln!(out, "\n{total} dead letters, {shown} of {groups} groups")?;
    Ok(())
}
