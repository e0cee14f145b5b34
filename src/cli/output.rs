//! What commands print: tables for people, JSON lines for programs, and text that cannot harm a terminal.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::fs;
use std::io::{self, ErrorKind, IsTerminal as _, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::ValueEnum;
use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;

/// How a listing is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Table,
    /// One JSON object a line, for programs.
    Json,
}

impl Format {
    /// What was asked for, else a table for a terminal and JSON lines for a pipe.
    pub fn or_by_terminal(asked: Option<Self>) -> Self {
        asked.unwrap_or(if io::stdout().is_terminal() { Self::Table } else { Self::Json })
    }
}

/// One line of a listing. Serialised it is the JSON line; `cells` is the same for people.
pub trait Row: Serialize {
    const HEADERS: &'static [&'static str];
    fn cells(&self) -> Vec<String>;
}

/// Prints rows in the format asked for. A table of no rows is its headers, no JSON lines are nothing.
pub fn print<R: Row>(rows: &[R], format: Format, out: &mut dyn Write) -> io::Result<()> {
    match format {
        Format::Json => rows.iter().try_for_each(|row| json_line(row, out)),
        Format::Table => table(R::HEADERS, rows.iter().map(Row::cells), out),
    }
}

/// A table for people.
pub fn table(
    headers: &[impl AsRef<str>],
    rows: impl IntoIterator<Item = Vec<String>>,
    out: &mut dyn Write,
) -> io::Result<()> {
    let mut table = Table::new();
    // Cells are never broken into lines: an id must stay in one piece to be copied.
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(headers.iter().map(AsRef::as_ref));
    for row in rows {
        table.add_row(row.iter().map(|cell| printable(cell).into_owned()));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    writeln!(out, "{}", table.trim_fmt())
}

/// One JSON value and a newline.
pub fn json_line(value: &impl Serialize, out: &mut dyn Write) -> io::Result<()> {
    serde_json::to_writer(&mut *out, value)?;
    out.write_all(b"\n")
}

/// The text with control characters escaped: what an event holds must not move a cursor, rename a window or forge a
/// line. Text without any is returned as it is.
pub fn printable(text: &str) -> Cow<'_, str> {
    escaped(text, |_| false)
}

/// As [`printable`], but lines stay lines.
pub fn printable_lines(text: &str) -> Cow<'_, str> {
    escaped(text, |c| c == '\n')
}

fn escaped(text: &str, keep: impl Fn(char) -> bool) -> Cow<'_, str> {
    // Beside the control characters proper: those that reorder the text around them (Unicode UAX #9).
    let harmful = |c: char| {
        (c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'))
            && !keep(c)
    };
    if !text.contains(harmful) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if harmful(c) {
            // The form JSON has for it, so that an escaped document still reads as one.
            let _ = write!(safe, "\\u{:04x}", u32::from(c));
        } else {
            safe.push(c);
        }
    }
    Cow::Owned(safe)
}

/// Why a command ended early.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Usage, or the world around: said to the person, exit code 2.
    #[error("{0}")]
    Told(String),
    #[error("could not write the output: {0}")]
    Output(#[from] io::Error),
}

/// The exit code of a command, after the person was told what went wrong. Whoever reads a pipe may stop reading, as
/// `head` does: that is no failure.
pub fn exit_code(outcome: Result<(), Failure>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Output(fault)) if fault.kind() == ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::from(2)
        }
    }
}

/// Refuses to overwrite; for before anything is written.
///
/// # Errors
///
/// When one of them is there, in words for whoever asked.
pub fn refuse_those_there(paths: impl Iterator<Item = PathBuf>) -> Result<(), String> {
    let there: Vec<String> = paths.filter(|path| path.exists()).map(|path| path.display().to_string()).collect();
    let are = match there.len() {
        0 => return Ok(()),
        1 => "is",
        _ => "are",
    };
    Err(format!("{} {are} there already; nothing was written. --force overwrites", there.join(" and ")))
}

/// Writes a file, and the directories it stands in.
///
/// # Errors
///
/// When that fails, in words for whoever asked.
pub fn write_file(path: &Path, text: &str) -> Result<(), String> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let written = directory.map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::write(path, text));
    written.map_err(|error| format!("cannot write {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[derive(Serialize)]
    struct Fruit {
        name: &'static str,
        #[serde(rename = "inStock")]
        stock: u32,
    }

    impl Row for Fruit {
        const HEADERS: &'static [&'static str] = &["NAME", "IN STOCK"];
        fn cells(&self) -> Vec<String> {
            vec![self.name.to_owned(), self.stock.to_string()]
        }
    }

    fn printed(rows: &[Fruit], format: Format) -> String {
        let mut out = Vec::new();
        print(rows, format, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_same_rows_for_people_and_programs() {
        let rows = [Fruit { name: "pear", stock: 12 }, Fruit { name: "fig\u{1b}[2J", stock: 3 }];
        expect![[r#"
             NAME          IN STOCK
             pear          12
             fig\u001b[2J  3
        "#]]
        .assert_eq(&printed(&rows, Format::Table));
        expect![[r#"
            {"name":"pear","inStock":12}
            {"name":"fig\u001b[2J","inStock":3}
        "#]]
        .assert_eq(&printed(&rows, Format::Json));
        assert_eq!(printed(&[], Format::Json), "");
    }

    #[test]
    fn control_characters_are_escaped_and_nothing_else() {
        assert!(matches!(printable("Zürich 東京 \\n"), Cow::Borrowed("Zürich 東京 \\n")));
        assert_eq!(printable("a\nb\u{1b}]0;x\u{7}\u{9b}\u{202e}"), "a\\u000ab\\u001b]0;x\\u0007\\u009b\\u202e");
        assert_eq!(printable_lines("a\nb\r"), "a\nb\\u000d");
    }
}
