//! `meshgate dlq show` and `export`: documents, as they may be seen.

use std::io::Write;

use serde_json::{Value, json};

use super::{FilterArgs, Place, document, scan, told};
use crate::cli::output::{self, Failure, printable_lines};
use crate::gate::document::Filter;
use crate::pipeline::now;
use crate::rule::pointer::Pointer;
use crate::sink::local::{Entry, Journal, LetterLookup, Progress};

#[derive(Debug, Clone, clap::Args)]
pub struct ShowArgs {
    /// The letter's id, or enough of its beginning to be the only one.
    pub id: String,
    /// The values that were found wrong, in the event and beside each violation; private ones masked.
    #[arg(long)]
    pub values: bool,
    /// With the values: private ones as they are. You may, if you may read the queue; others may look over your shoulder.
    #[arg(long, requires = "values")]
    pub private: bool,
}

#[derive(Debug, Clone, clap::Args)]
pub struct ExportArgs {
    #[command(flatten)]
    pub filter: FilterArgs,
    /// The events alone, byte for byte as they were put and a line each, private fields and all. Those not kept are left out.
    #[arg(long)]
    pub original: bool,
    /// At most so many.
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    pub limit: u64,
}

pub fn run(place: &Place, args: &ShowArgs, out: &mut dyn Write) -> Result<(), Failure> {
    let (id, body) = match find(place, &args.id)? {
        LetterLookup::Found { id, body } => (id, body),
        LetterLookup::NotFound => return show_replayed(place, &args.id, out),
        LetterLookup::Ambiguous(ids) => {
            return Err(Failure::Told(format!(
                "several dead letters' ids begin with {:?}, such as {}; give more of it",
                args.id,
                ids.join(", ")
            )));
        }
    };
    let unreadable = |fault| Failure::Told(format!("dead letter {id} cannot be shown: {fault}"));
    let shown = document::for_display(&body).map_err(unreadable)?;
    let shown = if args.values { with_values(&shown, &body, args.private) } else { without_values(&shown) };
    writeln!(out, "{}", printable_lines(shown.trim_end()))?;
    Ok(())
}

fn find(place: &Place, asked: &str) -> Result<LetterLookup, Failure> {
    if let Some(reader) = place.store()? {
        return reader.letter(asked).map_err(told);
    }
    let mut found = Vec::new();
    let options = scan::Options { filter: Filter::default(), letters_max: u64::MAX, doing: "looking" };
    scan::each(place, options, |letter, body| {
        if letter.id.starts_with(asked) {
            found.push((letter.id.clone(), body.to_owned()));
        }
        Ok(if letter.id == asked { scan::Then::Stop } else { scan::Then::Release })
    })?;
    Ok(match found.len() {
        0 => LetterLookup::NotFound,
        1 => found.pop().map_or(LetterLookup::NotFound, |(id, body)| LetterLookup::Found { id, body }),
        _ => LetterLookup::Ambiguous(found.into_iter().map(|(id, _)| id).take(5).collect()),
    })
}

/// A letter that is gone because it was replayed.
fn show_replayed(place: &Place, asked: &str, out: &mut dyn Write) -> Result<(), Failure> {
    let path = super::replay::journal_path(&place.config);
    let noted =
        if path.exists() { Journal::open(&path, now()).and_then(|j| j.find(asked)).map_err(told)? } else { None };
    let Some((Entry { id, at, stream, revision, placed, repaired }, progress)) = noted else {
        return Err(Failure::Told(format!(
            "there is no dead letter whose id begins with {asked:?}; `meshgate dlq ls` lists those there are"
        )));
    };
    let is_there = progress == Progress::Done;
    let mut shown = json!({
        "id": id,
        "replayed": {"at": at.to_string(), "stream": stream, "placed": placed, "revision": revision, "done": is_there},
    });
    if let Some((before, after)) = repaired {
        let before = document::for_display(&before).ok().and_then(|text| serde_json::from_str::<Value>(&text).ok());
        let is_private = before.as_ref().is_none_or(|before| before["private"] != json!([]));
        shown["before"] = before.unwrap_or_default();
        // What is private in it is known of the event as it was only.
        shown["after"] = match serde_json::from_str::<Value>(&after) {
            Ok(after) if !is_private => after,
            _ => json!({"bytes": after.len(), "note": "not shown: the event has private fields"}),
        };
    }
    writeln!(out, "{}", printable_lines(&format!("{shown:#}")))?;
    Ok(())
}

/// What stands for a value that was found wrong, until somebody asks for it.
const UNASKED: &str = "(--values shows it)";

/// The document without the single values that violations are about, which may be a typing error away from something private.
fn without_values(shown: &str) -> String {
    let Ok(mut document) = serde_json::from_str::<Value>(shown) else { return shown.to_owned() };
    for pointer in pointers(&document) {
        match pointer.resolve_mut(&mut document["payload"]["json"]) {
            None | Some(Value::Object(_) | Value::Array(_)) => {}
            Some(value) => *value = UNASKED.into(),
        }
    }
    format!("{document:#}")
}

/// Where violations are, but for those of the event as a whole.
fn pointers(document: &Value) -> Vec<Pointer> {
    let violations = document["violations"].as_array().into_iter().flatten();
    let pointers = violations.filter_map(|violation| Pointer::parse(violation["pointer"].as_str()?).ok());
    pointers.filter(|pointer| !pointer.is_root()).collect()
}

/// The document with the value at each violation's pointer.
fn with_values(shown: &str, body: &str, private: bool) -> String {
    let Ok(mut document) = serde_json::from_str::<Value>(shown) else { return shown.to_owned() };
    let original = || {
        let data = document::original(body).ok()?;
        crate::decode::json::parse(&data).ok()
    };
    let event = original().filter(|_| private).unwrap_or_else(|| document["payload"]["json"].clone());
    for violation in document["violations"].as_array_mut().into_iter().flatten() {
        let pointer = violation["pointer"].as_str().and_then(|pointer| Pointer::parse(pointer).ok());
        if let Some(value) = pointer.filter(|pointer| !pointer.is_root()).and_then(|pointer| pointer.resolve(&event)) {
            violation["value"] = value.clone();
        }
    }
    format!("{document:#}")
}

pub fn export(place: &Place, args: &ExportArgs, out: &mut dyn Write) -> Result<(), Failure> {
    let (mut written, mut left_out) = (0_u64, 0_u64);
    let options = scan::Options { filter: args.filter.filter(), letters_max: args.limit, doing: "writing" };
    scan::each(place, options, |_, body| {
        let is_written = if args.original { write_original(body, out)? } else { write_shown(body, out)? };
        if is_written {
            written += 1
        } else {
            left_out += 1
        }
        Ok(scan::Then::Release)
    })?;
    let left_out = if left_out > 0 { format!("; {left_out} left out, which have no such form") } else { String::new() };
    eprintln!("{written} dead letters written{left_out}");
    Ok(())
}

fn write_shown(body: &str, out: &mut dyn Write) -> Result<bool, Failure> {
    let shown = document::for_display(body).ok().and_then(|text| serde_json::from_str::<Value>(&text).ok());
    let Some(shown) = shown else { return Ok(false) };
    output::json_line(&shown, out)?;
    Ok(true)
}

/// Events that span lines, or are no text, have no line of their own.
fn write_original(body: &str, out: &mut dyn Write) -> Result<bool, Failure> {
    let Ok(data) = document::original(body) else { return Ok(false) };
    let line = data.strip_suffix(b"\n").unwrap_or(&data);
    if line.contains(&b'\n') || std::str::from_utf8(line).is_err() {
        return Ok(false);
    }
    out.write_all(line)?;
    out.write_all(b"\n")?;
    Ok(true)
}
