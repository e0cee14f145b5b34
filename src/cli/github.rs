//! How GitHub Actions is told what was found: annotations on the lines of a pull request, the text in the step's log, and a summary of
//! the job.
//!
//! Annotations are workflow commands, lines of output that begin with `::`
//! (<https://docs.github.com/actions/reference/workflow-commands-for-github-actions>). The runner reads every line so. What rule
//! files say reaches the log, and whoever opens a pull request writes rule files: their words must not become commands. So what is
//! in a command is escaped as the runner unescapes it, and [`harmless`] sees to the rest.

pub mod markdown;

use std::fs::OpenOptions;
use std::io::{self, IsTerminal as _, Write};
use std::path::Path;
use std::process::ExitCode;

use self::markdown::Markdown;
use super::output::printable_lines;
use super::rules::{self, count};
use crate::contract::Diagnostic;
use crate::contract::diagnostic::{Level, Place};

/// How many annotations of a level GitHub shows of one step. It drops the others without a word.
const SHOWN_MAX: usize = 10;

/// Where the job's summary is to be appended.
const SUMMARY_VARIABLE: &str = "GITHUB_STEP_SUMMARY";

/// The most bytes written of a step's summary. GitHub takes 1 MiB, and drops a longer one as a whole.
const SUMMARY_BYTES_MAX: usize = 512 * 1024;

/// Something said of a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Annotation {
    pub level: Level,
    /// `None`: of the whole run.
    pub place: Option<Place>,
    pub title: String,
    pub message: String,
}

/// Everything that one command has to say.
pub struct Told {
    /// As for a terminal, without colours.
    pub log: String,
    /// The most important of each level first.
    pub annotations: Vec<Annotation>,
    pub summary: Markdown,
}

/// Whether this runs as a step of GitHub Actions, with nobody looking at the terminal.
pub fn is_here() -> bool {
    std::env::var("GITHUB_ACTIONS").is_ok_and(|value| value == "true") && !io::stdout().is_terminal()
}

/// What to put before the name of a file in `dir` so that GitHub knows it: its path from the top of its repository, wherever the
/// command runs. Outside a repository, as [`rules::prefix`].
pub fn prefix(dir: &Path) -> String {
    let inside = dir.canonicalize().ok().and_then(|dir| {
        // A directory; a file in a linked work tree.
        let top = dir.ancestors().find(|top| top.join(".git").exists())?;
        dir.strip_prefix(top).ok().map(rules::prefix)
    });
    inside.unwrap_or_else(|| rules::prefix(dir))
}

/// As [`super::trouble`], seen on the run's page too: a step that merely ends with an exit code says nothing there.
pub fn trouble(message: impl std::fmt::Display) -> ExitCode {
    if !is_here() {
        return super::trouble(message);
    }
    let annotation =
        Annotation { level: Level::Error, place: None, title: "meshgate".to_owned(), message: message.to_string() };
    eprintln!("{}", annotation.command(""));
    ExitCode::from(super::TROUBLE)
}

/// Writes the log and the annotations, and appends the summary where GitHub wants it. A summary that cannot be written changes no
/// outcome.
///
/// # Errors
///
/// When `out` cannot be written.
pub fn tell(told: &Told, prefix: &str, out: &mut dyn Write) -> io::Result<()> {
    write(told, prefix, out)?;
    if let Some(path) = std::env::var_os(SUMMARY_VARIABLE).filter(|path| !path.is_empty()) {
        let file = OpenOptions::new().append(true).create(true).open(&path);
        let text = told.summary.within(SUMMARY_BYTES_MAX);
        if let Err(error) = file.and_then(|mut file| file.write_all(text.as_bytes())) {
            eprintln!("note: the job's summary cannot be written to {SUMMARY_VARIABLE}: {error}");
        }
    }
    Ok(())
}

/// The log and the annotations alone.
///
/// # Errors
///
/// When `out` cannot be written.
pub fn write(told: &Told, prefix: &str, out: &mut dyn Write) -> io::Result<()> {
    out.write_all(harmless(&told.log).as_bytes())?;
    let mut left_out = Vec::new();
    for (level, noun) in [(Level::Error, "error"), (Level::Warning, "warning"), (Level::Note, "note")] {
        let of_level: Vec<_> = told.annotations.iter().filter(|annotation| annotation.level == level).collect();
        // One more note is to say what is left out.
        let is_full = level == Level::Note && (of_level.len() > SHOWN_MAX || !left_out.is_empty());
        let shown = of_level.len().min(if is_full { SHOWN_MAX - 1 } else { SHOWN_MAX });
        for annotation in &of_level[..shown] {
            writeln!(out, "{}", annotation.command(prefix))?;
        }
        if of_level.len() > shown {
            left_out.push(count(of_level.len() - shown, &format!("more {noun}")));
        }
    }
    if left_out.is_empty() {
        return Ok(());
    }
    let message =
        format!("{}: see the log of this step. GitHub shows {SHOWN_MAX} of a kind for each step", left_out.join(", "));
    let more = Annotation { level: Level::Note, place: None, title: "meshgate".to_owned(), message };
    writeln!(out, "{}", more.command(prefix))
}

impl Annotation {
    /// A fault of a rule file.
    pub fn of(diagnostic: &Diagnostic) -> Self {
        let title = format!("meshgate {}", diagnostic.code.as_str());
        Self { level: diagnostic.level, place: Some(diagnostic.place.clone()), title, message: diagnostic.in_full() }
    }

    /// One line, without its end.
    fn command(&self, prefix: &str) -> String {
        let name = match self.level {
            Level::Error => "error",
            Level::Warning => "warning",
            Level::Note => "notice",
        };
        let at = self.place.as_ref().map_or_else(String::new, |place| {
            let Place { file, line, column, end_column, .. } = place;
            let file = property(&format!("{prefix}{file}"));
            format!("file={file},line={line},endLine={line},col={column},endColumn={end_column},")
        });
        format!("::{name} {at}title={}::{}", property(&self.title), data(&printable_lines(&self.message)))
    }
}

/// What stands after a command's second `::`.
fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// The value of one of a command's properties.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

/// Text in which the runner finds no command: neither one that begins a line with `::`, nor one of the old form, `##[…]`, anywhere.
///
/// The runner trims a line, and compares by the rules of a language, for which some characters do not exist; a line that does
/// not begin with an ASCII letter, digit or sign is therefore set off by a bar.
pub fn harmless(text: &str) -> String {
    let text = printable_lines(text);
    let mut safe = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        let first = line.trim_start_matches(' ').chars().next();
        if first.is_some_and(|c| c != '\n' && (c == ':' || !c.is_ascii_graphic())) {
            safe += "| ";
        }
        safe += &line.replace("##[", "# #[");
    }
    safe
}

#[cfg(test)]
mod tests;
