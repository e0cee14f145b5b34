//! Real events for both sets of rules: those of a file, and those in the dead-letter queue.

use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use indicatif::ProgressBar;
use serde_json::value::RawValue;

use super::super::judge::{LINE_BYTES_MAX, RECORD_BYTES_MAX, open, parse_time, progress, record, skip_line};
use crate::contract::{ContractSet, States};
use crate::diff::sample::{Judge, Tally};
use crate::gate::document;
use crate::model::Timestamp;
use crate::rule::pointer::Pointer;
use crate::sink::local::{LetterFilter, LetterLookup, Reader};

/// The longest file that is one JSON array, in bytes: it is held in memory.
const ARRAY_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// The most dead letters judged, the newest first.
const LETTERS_MAX: usize = 100_000;

/// How many are asked for at once.
const LETTERS_PAGE: usize = 500;

#[derive(Debug, Clone, Args)]
pub(super) struct SampleArgs {
    /// Judge the events of this file under both sets: NDJSON, or one JSON array; - for stdin
    #[arg(long, value_name = "FILE")]
    sample: Option<PathBuf>,
    /// Judge the sample as if written to this stream
    #[arg(long, value_name = "NAME", requires = "sample")]
    stream: Option<String>,
    /// Judge the sample against this one contract
    #[arg(long, value_name = "DOMAIN/NAME", requires = "sample", conflicts_with = "stream")]
    contract: Option<String>,
    /// Where events name their type, when they are not CloudEvents and the domain's own pointer is not meant
    #[arg(long, value_name = "POINTER")]
    type_pointer: Option<Pointer>,
    /// The time that rules see as `now` when they judge the sample [default: the present]
    #[arg(long, value_name = "RFC3339", value_parser = parse_time)]
    now: Option<Timestamp>,
    /// Judge the dead letters of the local store under both sets, at the time each was quarantined
    #[arg(long)]
    dlq: bool,
    /// The local store's file
    #[arg(long, value_name = "PATH", env = "MESHGATE_DATA", default_value = "./data/meshgate.db")]
    data: PathBuf,
}

/// What came of real events.
#[derive(Debug, Default)]
pub(super) struct Sample {
    pub(super) tally: Tally,
    /// Dead letters whose bytes were not kept, or cannot be read.
    pub(super) skipped: u64,
}

type Judges<'a> = (Judge<'a>, Judge<'a>);

/// A set, and what its checks remember of the sample.
type Rules<'a> = (&'a ContractSet, &'a States);

impl SampleArgs {
    /// Judges what was asked for; `None` when nothing was.
    pub(super) fn judge(&self, old: &ContractSet, new: &ContractSet) -> Result<Option<Sample>, String> {
        if self.sample.is_none() && !self.dlq {
            return Ok(None);
        }
        let mut sample = Sample::default();
        let states = [old, new].map(|set| States::fresh(set, self.now()));
        let (old, new) = ((old, &states[0]), (new, &states[1]));
        if let Some(path) = &self.sample {
            let judges = self.judges(old, new)?;
            self.judge_file(path, judges, &mut sample)
                .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
        }
        if self.dlq {
            let judges = (self.routed(old), self.routed(new));
            judge_letters(&self.data, judges, &mut sample)?;
        }
        Ok(Some(sample))
    }

    fn now(&self) -> Timestamp {
        self.now.unwrap_or_else(crate::pipeline::now)
    }

    fn routed<'a>(&'a self, (set, states): Rules<'a>) -> Judge<'a> {
        Judge::routed(set, Some(states), RECORD_BYTES_MAX, self.type_pointer.as_ref())
    }

    /// How the sample's events find their contracts.
    fn judges<'a>(&'a self, old: Rules<'a>, new: Rules<'a>) -> Result<Judges<'a>, String> {
        let Some(named) = &self.contract else {
            let stream =
                self.stream.as_deref().ok_or("say where the sample's events come from: --stream or --contract")?;
            if old.0.covers(stream).is_none() && new.0.covers(stream).is_none() {
                return Err(format!("no contract covers stream {stream:?}; name one that some match.stream covers"));
            }
            return Ok((self.routed(old), self.routed(new)));
        };
        let find = |(set, states): Rules<'a>, when: &str| {
            let found = named.split_once('/').and_then(|(domain, name)| set.contract(domain, name));
            found
                .map(|contract| Judge::One(contract, Some(states)))
                .ok_or_else(|| format!("{when} there is no contract {named:?}; write it as domain/name"))
        };
        Ok((find(old, "before")?, find(new, "now")?))
    }

    fn judge_file(&self, path: &Path, judges: Judges<'_>, sample: &mut Sample) -> io::Result<()> {
        let (input, length) = open(path)?;
        let bar = progress("judging", length);
        let mut input = BufReader::with_capacity(256 * 1024, bar.wrap_read(input));
        let events = Events { judges, stream: self.stream.as_deref().unwrap_or_default().into(), now: self.now() };
        let is_array = input.fill_buf()?.trim_ascii_start().first() == Some(&b'[');
        if is_array {
            events.array(&mut input, sample)?
        } else {
            events.lines(&mut input, sample)?
        }
        bar.finish_and_clear();
        Ok(())
    }
}

/// How each event of a file is judged.
struct Events<'a> {
    judges: Judges<'a>,
    stream: Arc<str>,
    now: Timestamp,
}

impl Events<'_> {
    fn judge(&self, event: &[u8], number: u64, what: &str, sample: &mut Sample) {
        let record = record(event, &self.stream, number, self.now);
        sample.tally.judge(self.judges, &record, self.now, || format!("{what} {number}"));
    }

    fn lines(&self, input: &mut impl BufRead, sample: &mut Sample) -> io::Result<()> {
        let (mut line, mut number) = (Vec::new(), 0_u64);
        loop {
            line.clear();
            let read = input.by_ref().take(LINE_BYTES_MAX as u64).read_until(b'\n', &mut line)?;
            if read == 0 {
                return Ok(());
            }
            if read == LINE_BYTES_MAX && !line.ends_with(b"\n") {
                skip_line(input)?;
            }
            number += 1;
            let event = line.strip_suffix(b"\n").map_or(&line[..], |l| l.strip_suffix(b"\r").unwrap_or(l));
            if !event.trim_ascii().is_empty() {
                self.judge(event, number, "line", sample);
            }
        }
    }

    /// A file that begins like an array. Where it is none, its lines may still be events that are arrays.
    fn array(&self, input: &mut impl BufRead, sample: &mut Sample) -> io::Result<()> {
        let mut bytes = Vec::new();
        input.by_ref().take(ARRAY_BYTES_MAX + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > ARRAY_BYTES_MAX {
            let told = format!("one array of more than {ARRAY_BYTES_MAX} bytes; write one event a line instead");
            return Err(io::Error::other(told));
        }
        // The elements' text alone: what they mean is read by the gate.
        let Ok(elements) = serde_json::from_slice::<Vec<&RawValue>>(&bytes) else {
            return self.lines(&mut bytes.as_slice(), sample);
        };
        for (number, element) in (1..).zip(elements) {
            self.judge(element.get().as_bytes(), number, "element", sample);
        }
        Ok(())
    }
}

/// Judges the letters of a store, the newest first.
fn judge_letters(data: &Path, judges: Judges<'_>, sample: &mut Sample) -> Result<(), String> {
    let reader = Reader::open(data).map_err(|fault| fault.to_string())?;
    let total: u64 = reader.letter_counts().map_err(|fault| fault.to_string())?.iter().map(|count| count.letters).sum();
    let bar = ProgressBar::new(total.min(LETTERS_MAX as u64)).with_message("judging dead letters");
    bar.set_style(
        indicatif::ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len} eta {eta}")
            .unwrap_or_else(|_| indicatif::ProgressStyle::default_bar()),
    );
    let (mut before, mut seen) = (None, 0);
    while seen < LETTERS_MAX {
        let filter = LetterFilter { limit: LETTERS_PAGE, before, ..LetterFilter::default() };
        let page = reader.letters(&filter).map_err(|fault| fault.to_string())?;
        let Some(last) = page.last() else { break };
        (before, seen) = (Some(last.seq), seen + page.len());
        for letter in &page {
            bar.inc(1);
            let found = reader.letter(&letter.id).map_err(|fault| fault.to_string())?;
            let LetterLookup::Found { body, .. } = found else {
                sample.skipped += 1;
                continue;
            };
            match document::original_record(&body) {
                Ok((record, quarantined)) => {
                    sample.tally.judge(judges, &record, quarantined, || letter.id.clone());
                }
                Err(_) => sample.skipped += 1,
            }
        }
    }
    bar.finish_and_clear();
    if seen >= LETTERS_MAX {
        eprintln!("note: only the newest {LETTERS_MAX} dead letters were judged");
    }
    Ok(())
}
