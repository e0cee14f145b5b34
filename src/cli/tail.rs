//! `meshgate tail`: what stands on a stream of the local store, and what arrives on it.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde_json::value::RawValue;

use super::output::{self, Failure, Format, printable};
use crate::model::Timestamp;
use crate::sink::local::{PlacedRecord, Reader, StoreError, Stream};

/// How often a follower looks for news. The look itself reads one number from shared memory.
const POLL: Duration = Duration::from_millis(100);
/// Ids fetched at a time.
const CHUNK: usize = 1_000;
/// Without `-n` and `--from`, as tail(1).
const LAST: usize = 10;

/// Show the records of a stream in the local store.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "\
Examples:
  meshgate tail orders                       the last 10 records
  meshgate tail orders -f                    and those that arrive, until Ctrl-C
  meshgate tail orders --from trim-horizon   all of them
  meshgate tail orders --from 2026-11-22T10:00:00Z -n 5
  meshgate tail orders --from trim-horizon --raw > orders.ndjson
  meshgate tail orders -n 100 | jq .data

Exit codes: 0 good, 2 usage or operational error (no store, no such stream).")]
pub struct TailArgs {
    /// The mesh stream.
    pub stream: String,
    /// Go on with the records that arrive.
    #[arg(short, long)]
    pub follow: bool,
    /// Start at the first record (trim-horizon), after the last (latest), or at the first that arrived at an RFC 3339
    /// time or later.
    #[arg(long, value_name = "trim-horizon|latest|TIMESTAMP")]
    pub from: Option<From>,
    /// With --from: at most N records, then end. Without: the last N (10 unless told).
    #[arg(short = 'n', long = "lines", value_name = "N")]
    pub lines: Option<u32>,
    /// Only this shard: shardId-000000000002, or 2.
    #[arg(long, value_name = "SHARD")]
    pub shard: Option<String>,
    /// Lines for people, or JSON lines [default: table on a terminal, else json].
    #[arg(long, value_enum)]
    pub format: Option<Format>,
    /// Only the bytes of each record, and a newline.
    #[arg(long, conflicts_with = "format")]
    pub raw: bool,
    /// The local store's file.
    #[arg(long, value_name = "PATH", env = "MESHGATE_DATA", default_value = "./data/meshgate.db")]
    pub data: PathBuf,
}

/// Where on the stream to start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    TrimHorizon,
    Latest,
    Time(Timestamp),
}

impl FromStr for From {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "trim-horizon" => Ok(Self::TrimHorizon),
            "latest" => Ok(Self::Latest),
            _ => Timestamp::parse_rfc3339(text).map(Self::Time).ok_or_else(|| {
                "neither trim-horizon, latest nor an RFC 3339 time such as 2026-11-22T10:00:00Z".to_owned()
            }),
        }
    }
}

pub fn run(args: TailArgs) -> ExitCode {
    output::exit_code(execute(&args, &mut io::stdout().lock()))
}

fn execute(args: &TailArgs, out: &mut dyn Write) -> Result<(), Failure> {
    let told = |fault: StoreError| Failure::Told(fault.to_string());
    let reader = Reader::open(&args.data).map_err(told)?;
    let stream = find_stream(&reader, &args.stream)?;
    let shards = find_shards(&stream, args.shard.as_deref())?;
    let style = if args.raw { Style::Raw } else { Style::Formatted(Format::or_by_terminal(args.format)) };

    // The version is read first: what is committed after it changes it, and is looked for again.
    let mut version = reader.data_version().map_err(told)?;
    let tip = reader.tip().map_err(told)?;
    let mut left = args.from.and(args.lines).map_or(u64::MAX, u64::from);
    let mut from = match args.from {
        Some(From::TrimHorizon) => 0,
        Some(From::Latest) => tip,
        Some(From::Time(time)) => reader.first_since(&stream, &shards, time).map_err(told)?.unwrap_or(tip),
        None => {
            let last = args.lines.map_or(LAST, |n| n as usize);
            let ids = reader.last_ids(&stream, &shards, tip, last).map_err(told)?;
            show(&reader, &stream, &ids, style, out)?;
            tip
        }
    };
    loop {
        // What arrived after the start is only for those who follow.
        while left > 0 {
            let limit = usize::try_from(left).unwrap_or(usize::MAX).min(CHUNK);
            let mut ids = reader.ids_from(&stream, &shards, from, limit).map_err(told)?;
            if !args.follow {
                ids.retain(|id| *id < tip);
            }
            let Some(last) = ids.last() else { break };
            from = last + 1;
            left -= ids.len() as u64;
            show(&reader, &stream, &ids, style, out)?;
        }
        out.flush()?;
        if !args.follow || left == 0 {
            return Ok(());
        }
        loop {
            let now = reader.data_version().map_err(told)?;
            if std::mem::replace(&mut version, now) != now {
                break;
            }
            std::thread::sleep(POLL);
        }
    }
}

fn find_stream(reader: &Reader, name: &str) -> Result<Stream, Failure> {
    let told = |fault: StoreError| Failure::Told(fault.to_string());
    if let Some(stream) = reader.stream(name).map_err(told)? {
        return Ok(stream);
    }
    let streams = reader.streams().map_err(told)?;
    let names: Vec<&str> = streams.iter().map(|stream| &*stream.name).collect();
    let there = if names.is_empty() {
        "the store holds no stream yet; one is created by the first record that is forwarded to it".to_owned()
    } else {
        format!("the store holds: {}", names.join(", "))
    };
    Err(Failure::Told(format!("there is no stream {name:?}; {there}")))
}

/// The indices of the shards to read.
fn find_shards(stream: &Stream, asked: Option<&str>) -> Result<Vec<u32>, Failure> {
    let all = || (0..).take(stream.shards().len());
    let Some(asked) = asked else { return Ok(all().collect()) };
    let by_number = || asked.parse().ok().filter(|index| all().any(|i| i == *index));
    match stream.shard_index(asked).or_else(by_number) {
        Some(index) => Ok(vec![index]),
        None => {
            let ids: Vec<&str> = stream.shards().iter().map(|shard| &*shard.id).collect();
            let message = format!("stream {:?} has no shard {asked:?}; it has: {}", stream.name, ids.join(", "));
            Err(Failure::Told(message))
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Style {
    Raw,
    Formatted(Format),
}

fn show(reader: &Reader, stream: &Stream, ids: &[i64], style: Style, out: &mut dyn Write) -> Result<(), Failure> {
    for id in ids {
        let Some(placed) = reader.record(*id).map_err(|fault| Failure::Told(fault.to_string()))? else { continue };
        match style {
            Style::Raw => {
                out.write_all(&placed.record.data)?;
                out.write_all(b"\n")?;
            }
            Style::Formatted(Format::Json) => output::json_line(&line(stream, &placed), out)?,
            Style::Formatted(Format::Table) => for_people(stream, &placed, out)?,
        }
    }
    Ok(())
}

/// A record as a JSON line: `data` when it is JSON, else `dataBase64`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Line<'a> {
    arrived: String,
    shard_id: &'a str,
    sequence_number: &'a str,
    partition_key: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data_base64: Option<String>,
}

fn line<'a>(stream: &'a Stream, placed: &'a PlacedRecord) -> Line<'a> {
    let data = json_in_one_line(&placed.record.data);
    Line {
        arrived: placed.record.arrived.to_string(),
        shard_id: stream.shard_id(placed.shard).map_or("", |id| id),
        sequence_number: &placed.record.sequence_number,
        partition_key: &placed.record.partition_key,
        data_base64: data.is_none().then(|| STANDARD.encode(&placed.record.data)),
        data,
    }
}

/// The bytes as JSON, numbers and order as they are. A line break can only stand between tokens (RFC 8259, section 7),
/// where a space says the same.
fn json_in_one_line(data: &[u8]) -> Option<Box<RawValue>> {
    let value: Box<RawValue> = serde_json::from_slice(data).ok()?;
    if !value.get().contains(['\n', '\r']) {
        return Some(value);
    }
    RawValue::from_string(value.get().replace(['\n', '\r'], " ")).ok()
}

/// Time, shard, key, data.
fn for_people(stream: &Stream, placed: &PlacedRecord, out: &mut dyn Write) -> io::Result<()> {
    let record = &placed.record;
    let shard = stream.shard_id(placed.shard).map_or("", |id| id);
    let key = printable(&record.partition_key);
    let data = match (json_in_one_line(&record.data), std::str::from_utf8(&record.data)) {
        (Some(json), _) => printable(json.get()).into_owned(),
        (None, Ok(text)) => printable(text).into_owned(),
        (None, Err(_)) => format!("base64:{}", STANDARD.encode(&record.data)),
    };
    writeln!(out, "{}  {shard}  {key:<16}  {data}", record.arrived)
}

#[cfg(test)]
mod tests;
