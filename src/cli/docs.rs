//! `meshgate docs`: the domains' data products, as a page for those who use them.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use serde_json::Value;

use super::rules::{Color, Loaded, RulesArgs, exit};
use super::{FINDINGS, GOOD, trouble};
use crate::catalogue::{self, CHANGES_MAX, Change, GitHistory, History};
use crate::config::git::run::CallError;
use crate::config::history::{self, Commit, HistoryError, Log};
use crate::contract::{diagnostic, yaml};

/// Write a catalogue of the domains' data products: one HTML file, for those who use their events.
///
/// It tells of each contract its owner, schema, rules, policies, private fields, examples and history, in words. The file needs
/// nothing beside it: no network, no script, no build. Values of private fields in examples are masked as the contract says. The
/// same rule files at the same commit give the same bytes, so that the page can be kept in git.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  meshgate docs                                 ./rules to ./catalogue.html
  meshgate docs contracts -o public/index.html  another directory; for GitHub or GitLab Pages
  meshgate docs -o - | gzip > catalogue.html.gz

Exit codes: 0 written; 1 an error in some rule file, and nothing was written; 2 usage or
operational error.")]
pub struct DocsArgs {
    /// Directory of the rule files, one directory a domain in it
    #[arg(default_value = "rules", value_name = "DIR")]
    dir: PathBuf,
    /// File to write; - for standard output. One that is there is replaced at once, or not at all
    #[arg(short, long, value_name = "FILE", default_value = "catalogue.html")]
    output: PathBuf,
}

pub fn run(args: &DocsArgs) -> ExitCode {
    let rules = RulesArgs { dir: args.dir.clone(), color: Color::Auto };
    let loaded = match rules.load() {
        Ok(loaded) => loaded,
        Err(error) => return trouble(error),
    };
    if !loaded.compiled.is_good() {
        let told = &loaded.compiled.diagnostics;
        eprint!("{}", diagnostic::text(told, &loaded.files, &loaded.prefix, io::stderr().is_terminal()));
        eprintln!("error: the rules do not compile, so no catalogue was written; `meshgate check` shows this too");
        return ExitCode::from(FINDINGS);
    }
    let page = catalogue::render(&loaded.files, &loaded.compiled.set, &past(&args.dir, &loaded));
    if args.output.as_os_str() == "-" {
        return exit(|out| out.write_all(page.as_bytes()).map(|()| GOOD));
    }
    match write(&args.output, page.as_bytes()) {
        Ok(()) => {
            eprintln!("{}: {}", args.output.display(), loaded.size());
            ExitCode::from(GOOD)
        }
        Err(error) => trouble(format!("{} cannot be written: {error}", args.output.display())),
    }
}

/// What git knows of the rule files. A catalogue without a past is better than none.
fn past(dir: &Path, loaded: &Loaded) -> History {
    let read = history::log(dir).and_then(|log| git_history(dir, loaded, &log));
    match read {
        Ok(history) => History::Git(history),
        Err(HistoryError::NoRepository { .. } | HistoryError::Call(CallError::NoGit(_))) => {
            History::None("Not known: this page was made where git does not know the rule files.".to_owned())
        }
        Err(error) => {
            eprintln!("note: the catalogue is without history: {error}");
            History::None("Not known: git could not be asked when this page was made.".to_owned())
        }
    }
}

fn git_history(dir: &Path, loaded: &Loaded, log: &Log) -> Result<GitHistory, HistoryError> {
    let mut past = GitHistory {
        newest: log.commits.first().map(|commit| change(commit, None)),
        uncommitted: log.uncommitted.clone(),
        is_shallow: log.is_shallow,
        ..GitHistory::default()
    };
    let mut wanted: Vec<(&str, &str)> = Vec::new();
    let mut touching: BTreeMap<&str, Vec<&Commit>> = BTreeMap::new();
    let sources = catalogue::sources(&loaded.files, &loaded.compiled.set);
    for (file, sources) in &sources {
        let mut commits = log.commits.iter().filter(|commit| !commit.paths.is_disjoint(sources));
        let told: Vec<&Commit> = commits.by_ref().take(CHANGES_MAX).collect();
        if commits.next().is_some() {
            past.is_cut.insert(file.clone());
        }
        // git is asked line by line.
        if !file.contains('\n') {
            wanted.extend(told.iter().map(|commit| (commit.revision.as_str(), file.as_str())));
        }
        touching.insert(file, told);
    }
    let held = history::versions(dir, &wanted)?;
    let versions: BTreeMap<(&str, &str), String> =
        wanted.into_iter().zip(held).filter_map(|(asked, bytes)| Some((asked, version(&bytes?)?))).collect();
    for (file, commits) in touching {
        let told =
            commits.iter().map(|commit| change(commit, versions.get(&(commit.revision.as_str(), file)).cloned()));
        past.changes.insert(file.to_owned(), told.collect());
    }
    Ok(past)
}

fn change(commit: &Commit, version: Option<String>) -> Change {
    let Commit { revision, date, subject, .. } = commit.clone();
    Change { revision, date, subject, version }
}

/// The version a contract's file gave itself.
fn version(file: &[u8]) -> Option<String> {
    let written = yaml::parse(file).ok()?.value;
    // A contract of the standard has it at the top.
    [&written["metadata"]["version"], &written["version"]].into_iter().find_map(Value::as_str).map(str::to_owned)
}

/// Writes a file whole or not at all: whoever reads it meanwhile sees the old one or the new one.
fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    // A link stays one, and leads to the new page.
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    match fs::metadata(&path) {
        // A pipe or a device is written to, and never replaced.
        Ok(there) if !there.is_file() => return fs::OpenOptions::new().write(true).open(&path)?.write_all(bytes),
        _ => {}
    }
    let name = path.file_name().ok_or_else(|| io::Error::other("it names no file"))?.to_string_lossy();
    let draft = path.with_file_name(format!(".{name}.{}", std::process::id()));
    let mut file = fs::OpenOptions::new().write(true).create_new(true).open(&draft)?;
    let written = file.write_all(bytes).and_then(|()| fs::rename(&draft, &path));
    if written.is_err() {
        // What is left of the attempt; the fault is told either way.
        let _ = fs::remove_file(&draft);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_where_its_format_has_it() {
        let ours = b"metadata: {name: a, version: 1.2.0}\n";
        assert_eq!(version(ours).as_deref(), Some("1.2.0"));
        assert_eq!(version(b"kind: DataContract\nversion: 2.0.0\n").as_deref(), Some("2.0.0"));
        assert_eq!((version(b"version: [1]\n"), version(b"{")), (None, None));
    }
}
