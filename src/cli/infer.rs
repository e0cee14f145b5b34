//! `meshgate infer`: begins a contract from events that are there already.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, IsTerminal as _, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::judge::{open, progress};
use super::output::{self, Format, Row};
use super::{FINDINGS, GOOD, trouble};
use crate::config::rules;
use crate::contract::shape::FORMAT_SCHEMA;
use crate::contract::{self, RuleFiles, StreamGlob, diagnostic};
use crate::decode::json::Malformed;
use crate::infer::{
    Draft, EVENT_BYTES_MAX, FieldSeen, Names, Piece, Sample, Settings, Splitter, TypeSeen, Undrafted, thousands,
};
use crate::rule::pointer::Pointer;

/// Draft a contract from sample events, for you to edit: schema, private fields, ids, and what to decide.
///
/// All events are looked at. The draft asks for what they have in common, so each of them passes it. A table of what was seen
/// goes to stderr; it shows no values.
#[derive(Args)]
#[command(after_help = "\
Examples:
  meshgate infer events.ndjson                      print the contract and its schema
  meshgate infer events.ndjson --out rules/orders   write TYPE.yaml and schemas/TYPE.json there
  meshgate infer events.json --type order.placed    of several types, this one
  zcat archive/*.gz | meshgate infer - --format json

Then: meshgate check rules && meshgate judge events.ndjson --contract orders/order.placed

With --out, domain.yaml and ../contract.schema.json, which editors complete from, are written too
where there is none.

Exit codes: 0 drafted; 1 drafted, but some of the sample is no JSON and was left out; 2 nothing was
drafted.")]
pub struct InferArgs {
    /// NDJSON, one event a line, or one JSON array of events; - for stdin
    file: PathBuf,
    /// Draft the contract of this event type [default: the most frequent]
    #[arg(long = "type", value_name = "TYPE")]
    event_type: Option<String>,
    /// Where events name their type when they are not CloudEvents
    #[arg(long, value_name = "POINTER", default_value = "/type")]
    type_pointer: Pointer,
    /// The streams these events are written to: match.stream
    #[arg(long, value_name = "GLOB", value_parser = parse_glob)]
    stream: Option<String>,
    /// Directory of the domain to write into; its name is the domain's
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Overwrite a contract and a schema that are there; never domain.yaml
    #[arg(long, requires = "out")]
    force: bool,
    /// How to tell what was seen: a table on stderr, or one JSON document on stdout together with the draft
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
}

fn parse_glob(text: &str) -> Result<String, String> {
    if !(1..=128).contains(&text.chars().count()) {
        return Err("a stream pattern has 1 to 128 characters".to_owned());
    }
    StreamGlob::parse(text).map(|_| text.to_owned())
}

/// What the contract of events without a type is called when they come from stdin.
const UNTYPED: &str = "events";
/// How many parts of the sample that are no JSON are told one by one.
const LEFT_OUT_TOLD_MAX: usize = 5;

/// Reads, drafts, writes.
pub fn run(args: InferArgs) -> ExitCode {
    match infer(&args) {
        Ok(code) => ExitCode::from(code),
        Err(message) => trouble(message),
    }
}

fn infer(args: &InferArgs) -> Result<u8, String> {
    let domain = args.out.as_deref().map(domain_name).transpose()?;
    let untyped = args.file.file_stem().and_then(OsStr::to_str).filter(|stem| *stem != "-").unwrap_or(UNTYPED);
    let names = Names { domain: domain.as_deref(), untyped, stream: args.stream.as_deref() };
    let (draft, left_out) = draft(args, names)?;
    let written = match (&args.out, &domain) {
        (Some(out), Some(domain)) => write(&draft, out, domain, args.force)?,
        _ => Vec::new(),
    };
    let mut out = io::stdout().lock();
    let printed = match args.format {
        Format::Json => print_json(&draft, &left_out, &written, &mut out),
        Format::Table => print_table(&draft, &written, &mut out).map(|()| left_out.tell()),
    };
    match printed.and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(format!("cannot print the draft: {error}")),
        _ => Ok(if left_out.count > 0 { FINDINGS } else { GOOD }),
    }
}

/// Reads a file twice where its types were too many to look at all: the second time only at the most frequent.
fn draft(args: &InferArgs, names: Names<'_>) -> Result<(Draft, LeftOut), String> {
    let (sample, mut left_out) = read(args, args.event_type.as_deref())?;
    let mut drafted = sample.draft(names);
    drop(sample);
    let most_frequent = match &drafted {
        Err(Undrafted::NotLookedAt(seen)) => seen.first().and_then(|seen| seen.event_type.clone()),
        Ok(draft) if !draft.bounds.is_empty() && !draft.others.is_empty() => draft.event_type.clone(),
        _ => None,
    };
    // A pipe is gone once it is read.
    let is_there = args.file.as_os_str() != "-" && args.file.is_file();
    if most_frequent.is_some() && args.event_type.is_none() && is_there {
        let (sample, again) = read(args, most_frequent.as_deref())?;
        (drafted, left_out) = (sample.draft(names), again);
    }
    match drafted {
        Ok(draft) => Ok((draft, left_out)),
        Err(undrafted) => {
            left_out.tell();
            Err(refusal(&args.file, &undrafted))
        }
    }
}

fn refusal(file: &Path, undrafted: &Undrafted) -> String {
    let file = file.display();
    match undrafted {
        Undrafted::NoEvents => format!("nothing to draft from {file}: {undrafted}"),
        Undrafted::NoSuchType(seen) | Undrafted::NotLookedAt(seen) => {
            format!("nothing was drafted from {file}: {undrafted}; --type takes one of {}", types(seen))
        }
    }
}

/// `order.placed (1,204), 3 without a type`.
fn types(seen: &[TypeSeen]) -> String {
    const TOLD_MAX: usize = 20;
    let tell = |seen: &TypeSeen| match &seen.event_type {
        Some(event_type) => format!("{} ({})", output::printable(event_type), thousands(seen.events)),
        None => format!("{} without a type", thousands(seen.events)),
    };
    let mut told = seen.iter().take(TOLD_MAX).map(tell).collect::<Vec<_>>().join(", ");
    if seen.len() > TOLD_MAX {
        told += &format!(" and {} more", seen.len() - TOLD_MAX);
    }
    told
}

/// The parts of a sample that are no events. The gate would quarantine them whatever a contract says.
#[derive(Default)]
struct LeftOut {
    count: u64,
    told: Vec<String>,
}

impl LeftOut {
    fn add(&mut self, what: impl FnOnce() -> String) {
        self.count += 1;
        if self.told.len() < LEFT_OUT_TOLD_MAX {
            self.told.push(what());
        }
    }

    fn tell(&self) {
        for told in &self.told {
            eprintln!("left out: {told}");
        }
        let more = self.count - self.told.len() as u64;
        if more > 0 {
            eprintln!("left out: {} more", thousands(more));
        }
    }
}

fn read(args: &InferArgs, event_type: Option<&str>) -> Result<(Sample, LeftOut), String> {
    let cannot_read = |error: io::Error| format!("cannot read {}: {error}", args.file.display());
    let (input, length) = open(&args.file).map_err(cannot_read)?;
    let bar = progress("reading", length);
    let mut input = bar.wrap_read(input);
    let settings = Settings { event_type: event_type.map(str::to_owned), type_pointer: args.type_pointer.clone() };
    let (mut sample, mut left_out, mut splitter) = (Sample::new(settings), LeftOut::default(), Splitter::default());
    let mut take = |piece: Piece<'_>| {
        let place = format!("{} {}", if piece.is_line { "line" } else { "element" }, thousands(piece.number));
        match piece.bytes.map(|bytes| sample.add(bytes)) {
            Some(Ok(())) => {}
            Some(Err(malformed)) => left_out.add(|| format!("{place}: {}", hinted(malformed))),
            None => left_out.add(|| format!("{place}: larger than {} bytes", thousands(EVENT_BYTES_MAX as u64))),
        }
    };
    let mut chunk = vec![0; 256 * 1024];
    loop {
        match input.read(&mut chunk) {
            Ok(0) => break,
            Ok(length) => splitter.push(&chunk[..length], &mut take),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(cannot_read(error)),
        }
    }
    let end = splitter.finish(&mut take);
    if let Err(fault) = end {
        left_out.add(|| fault.to_string());
    }
    bar.finish_and_clear();
    Ok((sample, left_out))
}

fn hinted(malformed: Malformed) -> String {
    use crate::decode::json::Fault;
    let hint = match malformed.fault {
        Fault::Truncated => "; an event of several lines needs to stand in one, as `jq -c .` writes it",
        _ => "",
    };
    format!("not strict JSON: {malformed}{hint}")
}

/// The name rule files call the format's schema by.
const FORMAT_FILE: &str = "contract.schema.json";

/// The domain's name is that of its directory.
fn domain_name(out: &Path) -> Result<String, String> {
    // `.` and `..` name a directory that is there.
    let resolved = fs::canonicalize(out).unwrap_or_else(|_| out.to_owned());
    let name = resolved.file_name().and_then(OsStr::to_str).unwrap_or_default();
    let is_good = (1..=63).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        && !name.starts_with('-')
        && name != "unknown";
    if is_good {
        return Ok(name.to_owned());
    }
    Err(format!(
        "{} cannot be a domain: its directory's name is lower-case letters, digits and hyphens, and not \"unknown\"; for \
         example --out rules/orders",
        out.display()
    ))
}

/// Writes the draft; gives the files written. What can be refused is refused before anything is written.
fn write(draft: &Draft, out: &Path, domain: &str, force: bool) -> Result<Vec<PathBuf>, String> {
    let drafted =
        [(format!("{}.yaml", draft.name), &draft.contract), (format!("schemas/{}.json", draft.name), &draft.schema)];
    if !force {
        output::refuse_those_there(drafted.iter().map(|(name, _)| out.join(name)))?;
    }
    let mut files: Vec<(&str, &str)> = drafted.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    let has_domain = ["domain.yaml", "domain.yml"].iter().any(|name| out.join(name).exists());
    if let Some(text) = draft.domain.as_deref().filter(|_| !has_domain) {
        files.push(("domain.yaml", text));
    } else if let Some(pointer) = &draft.type_pointer {
        eprintln!(
            "note: {} is kept; it must say defaults: {{typePointer: {pointer}}}",
            out.join("domain.yaml").display()
        );
    }
    refuse_what_breaks(out, domain, &files)?;
    let mut written = Vec::new();
    for (name, text) in files {
        let path = out.join(name);
        output::write_file(&path, text)?;
        written.push(path);
    }
    // Where the first line of each file looks for it.
    let format = match (out.file_name(), out.parent()) {
        (Some(_), Some(parent)) => parent.join(FORMAT_FILE),
        _ => out.join("..").join(FORMAT_FILE),
    };
    if !format.exists() {
        output::write_file(&format, FORMAT_SCHEMA)?;
        written.push(format);
    }
    Ok(written)
}

/// A draft beside a contract that claims the same events would take the whole domain out of service.
fn refuse_what_breaks(out: &Path, domain: &str, files: &[(&str, &str)]) -> Result<(), String> {
    let mut all = RuleFiles::new();
    match rules::read(out) {
        Ok(there) => all.extend(there.into_iter().map(|(name, bytes)| (format!("{domain}/{name}"), bytes))),
        Err(rules::ReadError::NoDirectory(_) | rules::ReadError::Empty(_)) => {}
        Err(error) => return Err(error.to_string()),
    }
    // What is wrong already is no fault of the draft.
    let was_good = contract::compile(&all, "").is_good();
    all.extend(files.iter().map(|(name, text)| (format!("{domain}/{name}"), text.as_bytes().to_vec())));
    let compiled = contract::compile(&all, "");
    if compiled.is_good() || !was_good {
        return Ok(());
    }
    eprint!("{}", diagnostic::text(&compiled.diagnostics, &all, "", io::stderr().is_terminal()));
    Err(format!("with the draft, {} would not compile; nothing was written", out.display()))
}

fn print_json(draft: &Draft, left_out: &LeftOut, written: &[PathBuf], out: &mut dyn Write) -> io::Result<()> {
    let mut document = json!(draft);
    document["leftOut"] = json!({"count": left_out.count, "first": left_out.told});
    document["written"] = written.iter().map(|path| path.to_string_lossy()).collect();
    output::json_line(&document, out)
}

impl Row for FieldSeen {
    const HEADERS: &'static [&'static str] = &["PATH", "TYPES", "PRESENT", "DISTINCT", "SHAPE", "PRIVATE?"];

    fn cells(&self) -> Vec<String> {
        let path = if self.path.is_empty() { "(payload)" } else { &self.path };
        let plus = if self.distinct_is_exact { "" } else { "+" };
        let distinct = match self.distinct {
            0 => "-".to_owned(),
            _ if self.is_key => "all".to_owned(),
            distinct => format!("{}{plus}", thousands(distinct)),
        };
        let text = |told: &Option<String>| told.clone().unwrap_or_default();
        let present = percent(self.present, self.of);
        vec![path.to_owned(), self.types.join(" | "), present, distinct, text(&self.shape), text(&self.private)]
    }
}

/// Rounded so that only all is 100 %, and only none 0 %.
fn percent(part: u64, of: u64) -> String {
    match (u128::from(part) * 100).checked_div(u128::from(of)) {
        None => "-".to_owned(),
        Some(0) if part > 0 => "<1%".to_owned(),
        Some(percent) => format!("{percent}%"),
    }
}

fn print_table(draft: &Draft, written: &[PathBuf], out: &mut dyn Write) -> io::Result<()> {
    if written.is_empty() {
        let Draft { contract, schema, name, .. } = draft;
        write!(out, "{contract}---\n# schemas/{name}.json\n{schema}")?;
    }
    for path in written {
        writeln!(out, "{}", path.display())?;
    }
    tell(draft, &mut io::stderr().lock())
}

/// What was seen, for people.
fn tell(draft: &Draft, err: &mut dyn Write) -> io::Result<()> {
    let of_type =
        draft.event_type.as_deref().map_or_else(|| "without a type".into(), |t| format!("of {}", output::printable(t)));
    let place = if draft.payload.is_empty() { "described whole" } else { "CloudEvents, their data described" };
    writeln!(err, "{} events {of_type}; {place}", thousands(draft.events))?;
    output::print(&draft.fields, Format::Table, err)?;
    if !draft.others.is_empty() {
        writeln!(err, "also seen, and not drafted (--type chooses): {}", types(&draft.others))?;
    }
    for bound in &draft.bounds {
        writeln!(err, "bound: {bound}")?;
    }
    if draft.fields.iter().any(|field| !field.distinct_is_exact) {
        writeln!(err, "bound: a + stands where there were too many different values to count")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn only_all_is_a_hundred_percent() {
        let cells = [(1_204, 1_204), (1_203, 1_204), (1, 1_204), (0, 3), (0, 0)].map(|(part, of)| percent(part, of));
        assert_eq!(cells, ["100%", "99%", "<1%", "0%", "-"]);
    }

    #[test]
    fn a_domain_is_called_as_its_directory() {
        let home = tempfile::TempDir::new().unwrap();
        assert_eq!(domain_name(&home.path().join("rules/orders")).as_deref(), Ok("orders"));
        let dir = home.path().join("parcels");
        fs::create_dir(&dir).unwrap();
        assert_eq!(domain_name(&dir.join(".")).as_deref(), Ok("parcels"));
        for bad in ["Orders", "a b", "unknown", "-a", ""] {
            assert!(domain_name(&home.path().join("x").join(bad).join("")).is_err() || bad.is_empty(), "{bad}");
        }
    }

    #[test]
    fn the_table_tells_what_was_seen_and_no_value() {
        let settings = Settings { event_type: None, type_pointer: Settings::default_type_pointer() };
        let mut sample = Sample::new(settings);
        for n in 0..1_200 {
            let status = ["new", "paid", "sent"][n % 3];
            let event = json!({
                "specversion": "1.0", "type": "order.placed", "data": {
                    "orderId": format!("O-{n}"), "status": status, "email": format!("ada{n}@example.com"), "minor": n * 7,
                    "lines": [{"sku": format!("B-{}", n % 9), "\u{1b}[2J": 1.5}], "voucher": if n == 3 { json!(1) } else { json!(null) },
                },
            });
            sample.add(event.to_string().as_bytes()).unwrap();
        }
        sample.add(br#"{"type":"a\u001b[2J"}"#).unwrap();
        let draft = sample.draft(Names { domain: None, untyped: "events", stream: None }).unwrap();
        let mut told = Vec::new();
        tell(&draft, &mut told).unwrap();
        expect![[r#"
            1,200 events of order.placed; CloudEvents, their data described
            PATH          TYPES           PRESENT  DISTINCT  SHAPE       PRIVATE?
            (payload)     object          100%     -
            /orderId      string          100%     all       ^O-[0-9]+$
            /status       string          100%     3         one of 3
            /email        string          100%     1,200     email       e-mail addresses
            /minor        integer         100%     1,200     0 to 8393
            /lines        array           100%     -
            /lines/*      object          100%     -
            /lines/*/sku  string          100%     9         one of 9
            /voucher      integer | null  100%     1
            also seen, and not drafted (--type chooses): a\u001b[2J (1)
        "#]]
        .assert_eq(&String::from_utf8(told).unwrap());
    }
}
