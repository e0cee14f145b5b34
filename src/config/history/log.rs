//! The commits that touched rule files, and what was in those files then.

use std::collections::BTreeSet;
use std::path::Path;

use super::{Answer, At, Git, HistoryError, LISTING_BYTES_MAX, TOTAL_BYTES_MAX, asked as one_line, is_rule_file};

/// The most commits that are looked at, the newest first.
pub const COMMITS_MAX: usize = 20_000;

/// What is asked of each commit. NUL is the one byte that neither a name nor a message can hold.
const FORM: &str = "--format=%x00%x00%x00%h%x00%cs%x00%s%x00";

/// A commit that touched rule files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// 12 hexadecimal digits, or as many as are needed.
    pub revision: String,
    /// The day it was committed, where its committer was: `2026-11-22`.
    pub date: String,
    /// The first line of its message.
    pub subject: String,
    /// The rule files it changed, relative to the directory.
    pub paths: BTreeSet<String>,
}

/// What git knows of the past of a directory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Log {
    /// The newest first, merges left out. At most [`COMMITS_MAX`] were looked at.
    pub commits: Vec<Commit>,
    /// Rule files that differ from the last commit, relative to the directory.
    pub uncommitted: BTreeSet<String>,
    /// The clone lacks older commits.
    pub is_shallow: bool,
}

/// The commits that touched rule files below `dir`. Renames are not followed.
///
/// # Errors
///
/// When git is not there, takes longer than a minute, or `dir` is in no repository.
pub fn log(dir: &Path) -> Result<Log, HistoryError> {
    let git = Git::new(At::Within(dir));
    let no_repository = |told| HistoryError::NoRepository { dir: dir.to_owned(), told };
    let prefix = one_line(&git, &["rev-parse", "--show-prefix"])?.map_err(no_repository)?;
    let is_shallow = one_line(&git, &["rev-parse", "--is-shallow-repository"])?.is_ok_and(|answer| answer == "true");
    // Nobody's settings may change what is told: neither signatures, nor how names or renames are shown.
    let most = format!("--max-count={COMMITS_MAX}");
    let asked = [
        "-c",
        "log.showSignature=false",
        "log",
        "-z",
        "--name-only",
        "--no-renames",
        "--no-merges",
        "--no-relative",
        "--no-ext-diff",
        "--no-mailmap",
        "--no-color",
        "--abbrev=12",
        "--encoding=UTF-8",
        &most,
        FORM,
        "--",
        ".",
    ];
    let commits = match git.call(&asked, None, LISTING_BYTES_MAX)? {
        Answer::Good(text) => commits(&text, &prefix),
        // A repository without any commit.
        Answer::Bad(_) => Vec::new(),
    };
    let asked = ["status", "--porcelain", "-z", "--untracked-files=all", "--no-renames", "--", "."];
    let uncommitted = match git.call(&asked, None, LISTING_BYTES_MAX)? {
        Answer::Good(text) => {
            let text = String::from_utf8_lossy(&text);
            text.split('\0').filter_map(|entry| rule_file(entry.get(3..)?, &prefix)).collect()
        }
        Answer::Bad(told) => return Err(HistoryError::Failed(told)),
    };
    Ok(Log { commits, uncommitted, is_shallow })
}

/// Reads what `git log` said. What is not UTF-8 is shown as well as it can be.
fn commits(text: &[u8], prefix: &str) -> Vec<Commit> {
    let text = String::from_utf8_lossy(text);
    let mut commits: Vec<Commit> = Vec::new();
    // NUL NUL NUL revision NUL date NUL subject NUL NUL LF path NUL path NUL …
    let (mut pieces, mut empty) = (text.split('\0'), 0);
    while let Some(piece) = pieces.next() {
        if piece.is_empty() {
            empty += 1;
            continue;
        }
        if empty >= 3 {
            let mut next = || pieces.next().unwrap_or_default().to_owned();
            let (date, subject) = (next(), next());
            commits.push(Commit { revision: piece.to_owned(), date, subject, paths: BTreeSet::new() });
        } else if let Some(commit) = commits.last_mut() {
            commit.paths.extend(rule_file(piece.strip_prefix('\n').unwrap_or(piece), prefix));
        }
        empty = 0;
    }
    commits.retain(|commit| !commit.paths.is_empty());
    commits
}

/// The path of a rule file inside the directory, from its path inside the repository.
fn rule_file(path: &str, prefix: &str) -> Option<String> {
    let inside = path.strip_prefix(prefix)?;
    let is_hidden = inside.split('/').any(|part| part.starts_with('.'));
    (!is_hidden && is_rule_file(Path::new(inside))).then(|| inside.to_owned())
}

/// What files held at commits: each `(revision, path)` as [`log()`] gives them. `None` for one that was not there.
///
/// # Errors
///
/// When git fails, takes longer than a minute, or the files together pass the bound on a set of rule files.
pub fn versions(dir: &Path, wanted: &[(&str, &str)]) -> Result<Vec<Option<Vec<u8>>>, HistoryError> {
    let git = Git::new(At::Within(dir));
    let no_repository = |told| HistoryError::NoRepository { dir: dir.to_owned(), told };
    let prefix = one_line(&git, &["rev-parse", "--show-prefix"])?.map_err(no_repository)?;
    let asked: String = wanted.iter().map(|(revision, path)| format!("{revision}:{prefix}{path}\n")).collect();
    let answer = match git.call(&["cat-file", "--batch"], Some(asked.into_bytes()), TOTAL_BYTES_MAX)? {
        Answer::Good(answer) => answer,
        Answer::Bad(told) => return Err(HistoryError::Failed(told)),
    };
    let odd = || HistoryError::Unreadable("an answer of cat-file is of another form".to_owned());
    let mut rest = answer.as_slice();
    let mut found = Vec::with_capacity(wanted.len());
    for _ in wanted {
        let end = rest.iter().position(|byte| *byte == b'\n').ok_or_else(odd)?;
        let head = String::from_utf8_lossy(&rest[..end]).into_owned();
        rest = &rest[end + 1..];
        // <object> SP <type> SP <size>, or <name> SP missing
        let mut words = head.rsplitn(3, ' ');
        let (Some(size), Some(kind)) = (words.next().and_then(|size| size.parse::<usize>().ok()), words.next()) else {
            found.push(None);
            continue;
        };
        let bytes = rest.get(..size).ok_or_else(odd)?;
        found.push((kind == "blob").then(|| bytes.to_vec()));
        rest = rest.get(size + 1..).unwrap_or_default();
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_read_for_rule_files_of_the_directory() {
        let text = "\0\0\0aaa\x002026-11-22\0A <b> \u{1}subject\0\0\nrules/a/x.yaml\0rules/a/s/ü.json\0rules/README.md\0\
                    \0\0\0bbb\x002026-11-21\0Only a page\0\0\nrules/README.md\0rules/.x/a.yaml\0other/a.yaml\0\
                    \0\0\0ccc\x002026-11-20\0\0\0\nrules/a/x.yaml\0\
                    \0\0\0ddd\x002026-11-19\0Nothing\0";
        let commits = commits(text.as_bytes(), "rules/");
        let told: Vec<_> = commits.iter().map(|c| (&*c.revision, &*c.subject, c.paths.len())).collect();
        assert_eq!(told, [("aaa", "A <b> \u{1}subject", 2), ("ccc", "", 1)]);
        assert!(commits[0].paths.contains("a/s/ü.json"));
    }
}
