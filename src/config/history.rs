//! Rule files as git has them at another revision, read from its objects, so that nothing of a work tree is looked at or touched; and
//! the commits that touched them.

mod log;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::git::run::{Answer, At, CallError, Git, LISTING_BYTES_MAX, line};
use super::rules::{DEPTH_MAX, FILE_BYTES_MAX, FILES_MAX, TOTAL_BYTES_MAX, is_rule_file};
use crate::contract::RuleFiles;

pub use log::{Commit, Log, log, versions};

/// Rule files at a revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Past {
    /// The commit, 12 hexadecimal digits or as many as are needed.
    pub commit: String,
    /// Empty where the directory was not there yet.
    pub files: RuleFiles,
}

/// Why the rule files of a revision cannot be read. Nothing of them was used.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    #[error(transparent)]
    Call(#[from] CallError),
    #[error("{} is in no git repository that git takes ({told})", .dir.display())]
    NoRepository { dir: PathBuf, told: String },
    #[error(
        "git knows no revision {0:?} here, nor is it a directory; a shallow clone lacks most of them (git fetch --unshallow)"
    )]
    NoRevision(String),
    #[error("git failed: {0}")]
    Failed(String),
    #[error("git's answer cannot be read: {0}")]
    Unreadable(String),
    #[error("{path} is {what} at that revision; rule files are read as ordinary files")]
    NoFile { path: String, what: &'static str },
    #[error("the rule files of that revision are too many or too large: {0}")]
    TooLarge(String),
}

/// A directory at a revision.
struct Located {
    /// All digits.
    commit: String,
    /// The tree of the directory itself, so that paths are those inside it wherever git is called; `None` where it was not there.
    tree: Option<String>,
}

/// Reads the rule files of `dir` as they were at `revision`, by the rules of [`read`](super::rules::read): the same names,
/// the same bounds. Nothing is fetched, and nothing of the work tree is touched.
///
/// # Errors
///
/// When git is not there, takes longer than a minute, knows no such revision, or the files pass a bound; when one of them is
/// a symbolic link, which git keeps as a text.
pub fn read(dir: &Path, revision: &str) -> Result<Past, HistoryError> {
    let git = Git::new(At::Within(dir));
    let Located { commit, tree } = locate(&git, dir, revision)?;
    let short = asked(&git, &["rev-parse", "--short=12", &commit])?.map_err(HistoryError::Failed)?;
    let files = match tree {
        Some(tree) => contents(&git, listed(&git, &tree)?)?,
        None => RuleFiles::new(),
    };
    Ok(Past { commit: short, files })
}

/// The id of what `dir` was at `revision`, which names its content. `None` where it was not there.
///
/// # Errors
/// As [`read`].
pub fn look(dir: &Path, revision: &str) -> Result<Option<String>, HistoryError> {
    let git = Git::new(At::Within(dir));
    let tree = locate(&git, dir, revision)?.tree;
    if let Some(tree) = &tree {
        listed(&git, tree)?;
    }
    Ok(tree)
}

fn locate(git: &Git<'_>, dir: &Path, revision: &str) -> Result<Located, HistoryError> {
    let no_repository = |told| HistoryError::NoRepository { dir: dir.to_owned(), told };
    let prefix = asked(git, &["rev-parse", "--show-prefix"])?.map_err(no_repository)?;
    let wanted = format!("{revision}^{{commit}}");
    let commit = asked(git, &["rev-parse", "--verify", "--quiet", "--end-of-options", &wanted])?;
    let commit = commit.map_err(|_| HistoryError::NoRevision(revision.to_owned()))?;
    let tree = tree(git, &commit, prefix.trim_end_matches('/'))?;
    Ok(Located { commit, tree })
}

/// The id of the tree at `path` of a commit; `None` where nothing is there.
pub(super) fn tree(git: &Git<'_>, commit: &str, path: &str) -> Result<Option<String>, HistoryError> {
    let tree = format!("{commit}:{path}");
    Ok(asked(git, &["rev-parse", "--verify", "--quiet", "--end-of-options", &tree])?.ok())
}

/// One line from git, or in what words it refused.
pub(super) fn asked(git: &Git<'_>, arguments: &[&str]) -> Result<Result<String, String>, CallError> {
    Ok(match git.call(arguments, None, LISTING_BYTES_MAX)? {
        Answer::Good(text) => Ok(line(&text)?),
        Answer::Bad(told) => Err(told),
    })
}

/// The rule files of a tree by name, with the object each is. By the rules of [`read`](super::rules::read).
pub(super) fn listed(git: &Git<'_>, tree: &str) -> Result<BTreeMap<String, String>, HistoryError> {
    match git.call(&["ls-tree", "-r", "-z", "-l", "--full-tree", "--end-of-options", tree], None, LISTING_BYTES_MAX)? {
        Answer::Good(listing) => blobs(&listing),
        Answer::Bad(told) => Err(HistoryError::Failed(told)),
    }
}

/// The rule files of a listing, by name, with the object each is.
fn blobs(listing: &[u8]) -> Result<BTreeMap<String, String>, HistoryError> {
    let mut blobs = BTreeMap::new();
    let mut total = 0_u64;
    for entry in listing.split(|byte| *byte == 0).filter(|entry| !entry.is_empty()) {
        let entry = std::str::from_utf8(entry)
            .map_err(|_| HistoryError::Unreadable("the name of a file is not UTF-8".to_owned()))?;
        // <mode> SP <type> SP <object> SP+ <size> TAB <path>
        let odd = || HistoryError::Unreadable("a line of ls-tree is of another form".to_owned());
        let (about, path) = entry.split_once('\t').ok_or_else(odd)?;
        let mut about = about.split_ascii_whitespace();
        let (Some(mode), Some(kind), Some(object), Some(size)) =
            (about.next(), about.next(), about.next(), about.next())
        else {
            return Err(odd());
        };
        let mut parts = path.split('/');
        if parts.any(|part| part.starts_with('.')) || kind != "blob" {
            continue;
        }
        if mode == "120000" {
            // One without an extension may be a directory of rules.
            if is_rule_file(Path::new(path)) || Path::new(path).extension().is_none() {
                return Err(HistoryError::NoFile { path: path.to_owned(), what: "a symbolic link" });
            }
            continue;
        }
        if !is_rule_file(Path::new(path)) {
            continue;
        }
        let size: u64 = size.parse().map_err(|_| odd())?;
        total = total.saturating_add(size);
        let too_large = if size > FILE_BYTES_MAX {
            Some(format!("{path} is larger than {FILE_BYTES_MAX} bytes"))
        } else if total > TOTAL_BYTES_MAX {
            Some(format!("they are larger than {TOTAL_BYTES_MAX} bytes together"))
        } else if blobs.len() == FILES_MAX {
            Some(format!("there are more than {FILES_MAX}"))
        } else if path.matches('/').count() > DEPTH_MAX {
            Some(format!("{path} lies more than {DEPTH_MAX} directories deep"))
        } else {
            None
        };
        if let Some(told) = too_large {
            return Err(HistoryError::TooLarge(told));
        }
        blobs.insert(path.to_owned(), object.to_owned());
    }
    Ok(blobs)
}

/// What is in them, by one call of git.
pub(super) fn contents(git: &Git<'_>, blobs: BTreeMap<String, String>) -> Result<RuleFiles, HistoryError> {
    if blobs.is_empty() {
        return Ok(RuleFiles::new());
    }
    let asked: String = blobs.values().map(|object| format!("{object}\n")).collect();
    // Each answer has a line of its own before its bytes, and a line end after.
    let most = TOTAL_BYTES_MAX + 128 * FILES_MAX as u64;
    let answer = match git.call(&["cat-file", "--batch"], Some(asked.into_bytes()), most)? {
        Answer::Good(answer) => answer,
        Answer::Bad(told) => return Err(HistoryError::Failed(told)),
    };
    let mut rest = answer.as_slice();
    let mut files = RuleFiles::new();
    for (path, object) in blobs {
        let lacking =
            || HistoryError::Unreadable(format!("{path} is not in the repository; a partial clone lacks files"));
        let end = rest.iter().position(|byte| *byte == b'\n').ok_or_else(lacking)?;
        let head = String::from_utf8_lossy(&rest[..end]).into_owned();
        // <object> SP blob SP <size>
        let size = head.strip_prefix(&format!("{object} blob ")).and_then(|size| size.parse::<usize>().ok());
        let size = size.ok_or_else(lacking)?;
        let bytes = rest.get(end + 1..end + 1 + size).ok_or_else(lacking)?;
        files.insert(path.clone(), bytes.to_vec());
        rest = rest.get(end + 2 + size..).unwrap_or_default();
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    #[test]
    fn a_listing_is_read_by_the_rules_of_the_directory() {
        let object = "0123456789012345678901234567890123456789";
        let line = |mode: &str, size: &str, path: &str| format!("{mode} blob {object} {size:>7}\t{path}\0");
        let names = |listing: String| blobs(listing.as_bytes()).map(|blobs| blobs.into_keys().collect::<Vec<_>>());
        let good = line("100644", "5", "a/x.yaml")
            + &line("100755", "5", "a/s/ü.json")
            + &line("100644", "5", "a/README.md")
            + &line("100644", "5", "a/.hidden/x.yaml")
            + &format!("160000 commit {object}       -\tsub.yaml\0");
        assert_eq!(names(good).unwrap(), ["a/s/ü.json", "a/x.yaml"]);
        assert!(matches!(names(line("120000", "5", "a/x.yaml")), Err(HistoryError::NoFile { .. })));
        assert!(matches!(names(line("120000", "5", "a")), Err(HistoryError::NoFile { .. })));
        assert!(names(line("120000", "5", "NOTES.md")).unwrap().is_empty());
        assert!(matches!(names(line("100644", "99999999", "a/x.csv")), Err(HistoryError::TooLarge(_))));
        assert!(matches!(names("nonsense\0".to_owned()), Err(HistoryError::Unreadable(_))));
    }

    #[test]
    fn what_is_missing_is_told() {
        let dir = TempDir::new().unwrap();
        let told = read(dir.path(), "main").unwrap_err().to_string();
        assert!(told.contains("no git repository"), "{told}");
    }
}
