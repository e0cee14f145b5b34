//! Rule files as git has them at another revision, and the commits that touched them.

mod log;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use super::rules::{DEPTH_MAX, FILE_BYTES_MAX, FILES_MAX, TOTAL_BYTES_MAX, is_rule_file};
use crate::contract::RuleFiles;

pub use log::{Commit, Log, log, versions};

/// How long one call of git may take.
const TIME_MAX: Duration = Duration::from_secs(60);

/// The longest listing of a directory's files, in bytes.
const LISTING_BYTES_MAX: u64 = 16 * 1024 * 1024;

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
    #[error("git cannot be run ({0}); install it, or name two directories: meshgate diff OLD_DIR NEW_DIR")]
    NoGit(io::Error),
    #[error("git did not answer within {} seconds, and was ended", TIME_MAX.as_secs())]
    TooSlow,
    #[error(
        "{} is in no git repository that git takes ({told}); name two directories instead: meshgate diff OLD_DIR NEW_DIR",
        .dir.display()
    )]
    NoRepository { dir: PathBuf, told: String },
    #[error(
        "git knows no revision {0:?} here, nor is it a directory; a shallow clone lacks most of them (git fetch --unshallow)"
    )]
    NoRevision(String),
    #[error("git failed: {0}")]
    Failed(String),
    #[error("git's answer cannot be read: {0}")]
    Unreadable(String),
    #[error("{path} is {what} at that revision; rule files are compared as ordinary files")]
    NoFile { path: String, what: &'static str },
    #[error("the rule files of that revision are too many or too large: {0}")]
    TooLarge(String),
}

/// Reads the rule files of `dir` as they were at `revision`, by the rules of [`read`](super::rules::read): the same names,
/// the same bounds. Nothing is fetched, and nothing of the work tree is touched.
///
/// # Errors
///
/// When git is not there, takes longer than a minute, knows no such revision, or the files pass a bound; when one of them is
/// a symbolic link, which git keeps as a text.
pub fn read(dir: &Path, revision: &str) -> Result<Past, HistoryError> {
    let prefix = git(dir, &["rev-parse", "--show-prefix"], None, LISTING_BYTES_MAX)?;
    let prefix = match prefix {
        Answer::Good(text) => line(&text)?,
        Answer::Bad(told) => return Err(HistoryError::NoRepository { dir: dir.to_owned(), told }),
    };
    let wanted = format!("{revision}^{{commit}}");
    let commit = ["rev-parse", "--verify", "--quiet", "--end-of-options", &wanted];
    let commit = match git(dir, &commit, None, LISTING_BYTES_MAX)? {
        Answer::Good(text) => line(&text)?,
        Answer::Bad(_) => return Err(HistoryError::NoRevision(revision.to_owned())),
    };
    let short = match git(dir, &["rev-parse", "--short=12", &commit], None, LISTING_BYTES_MAX)? {
        Answer::Good(text) => line(&text)?,
        Answer::Bad(told) => return Err(HistoryError::Failed(told)),
    };
    // The tree of the directory itself, so that paths are those inside it wherever git is called.
    let tree = format!("{commit}:{}", prefix.trim_end_matches('/'));
    let tree =
        match git(dir, &["rev-parse", "--verify", "--quiet", "--end-of-options", &tree], None, LISTING_BYTES_MAX)? {
            Answer::Good(text) => line(&text)?,
            Answer::Bad(_) => return Ok(Past { commit: short, files: RuleFiles::new() }),
        };
    let listing = match git(dir, &["ls-tree", "-r", "-z", "-l", "--full-tree", &tree], None, LISTING_BYTES_MAX)? {
        Answer::Good(listing) => listing,
        Answer::Bad(told) => return Err(HistoryError::Failed(told)),
    };
    let blobs = blobs(&listing)?;
    Ok(Past { commit: short, files: contents(dir, blobs)? })
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
fn contents(dir: &Path, blobs: BTreeMap<String, String>) -> Result<RuleFiles, HistoryError> {
    if blobs.is_empty() {
        return Ok(RuleFiles::new());
    }
    let asked: String = blobs.values().map(|object| format!("{object}\n")).collect();
    // Each answer has a line of its own before its bytes, and a line end after.
    let most = TOTAL_BYTES_MAX + 128 * FILES_MAX as u64;
    let answer = match git(dir, &["cat-file", "--batch"], Some(asked.into_bytes()), most)? {
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

/// What git said.
enum Answer {
    Good(Vec<u8>),
    /// It refused, in these words.
    Bad(String),
}

fn git(dir: &Path, arguments: &[&str], input: Option<Vec<u8>>, bytes_max: u64) -> Result<Answer, HistoryError> {
    call(OsStr::new("git"), TIME_MAX, dir, arguments, input, bytes_max)
}

/// Runs a program with nothing to ask of a person, and ends it when it takes too long.
fn call(
    program: &OsStr,
    time_max: Duration,
    dir: &Path,
    arguments: &[&str],
    input: Option<Vec<u8>>,
    bytes_max: u64,
) -> Result<Answer, HistoryError> {
    let mut child = Command::new(program)
        .arg("-C")
        .arg(dir)
        .args(arguments)
        .env("GIT_OPTIONAL_LOCKS", "0")
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("GIT_NO_LAZY_FETCH", "1")
        .env("LC_ALL", "C")
        .stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(HistoryError::NoGit)?;
    if let (Some(mut stdin), Some(input)) = (child.stdin.take(), input) {
        // Beside the reading, as git answers while it is asked. When it stops listening, its answer says why.
        thread::spawn(move || drop(stdin.write_all(&input)));
    }
    let (out, err) = (reading(child.stdout.take(), bytes_max), reading(child.stderr.take(), 64 * 1024));
    let Ok(out) = out.recv_timeout(time_max) else {
        end(&mut child);
        return Err(HistoryError::TooSlow);
    };
    let told = err.recv_timeout(time_max).ok().and_then(Result::ok).unwrap_or_default();
    if matches!(&out, Ok(out) if out.len() as u64 > bytes_max) {
        end(&mut child);
        return Err(HistoryError::TooLarge(format!("git's answer is longer than {bytes_max} bytes")));
    }
    let status = child.wait().map_err(|error| HistoryError::Failed(error.to_string()))?;
    let out = out.map_err(|error| HistoryError::Unreadable(error.to_string()))?;
    if status.success() {
        return Ok(Answer::Good(out));
    }
    let told = String::from_utf8_lossy(&told);
    Ok(Answer::Bad(told.lines().next().unwrap_or("it said nothing").trim_start_matches("fatal: ").to_owned()))
}

/// It may be gone already.
fn end(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}

/// Reads to the end, one byte beyond the most at most.
fn reading(pipe: Option<impl Read + Send + 'static>, bytes_max: u64) -> mpsc::Receiver<io::Result<Vec<u8>>> {
    let (done, read) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let result = match pipe {
            Some(pipe) => pipe.take(bytes_max + 1).read_to_end(&mut bytes).map(|_| bytes),
            None => Ok(bytes),
        };
        drop(done.send(result));
    });
    read
}

fn line(text: &[u8]) -> Result<String, HistoryError> {
    let text = std::str::from_utf8(text).map_err(|_| HistoryError::Unreadable("it is not UTF-8".to_owned()))?;
    Ok(text.trim_end_matches(['\n', '\r']).to_owned())
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
        let none = call(OsStr::new("no-such-git"), TIME_MAX, dir.path(), &[], None, 10);
        assert!(matches!(none, Err(HistoryError::NoGit(_))));
    }

    #[cfg(unix)]
    #[test]
    fn a_program_that_hangs_is_ended() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = TempDir::new().unwrap();
        let program = dir.path().join("git");
        std::fs::write(&program, "#!/bin/sh\nexec sleep 600\n").unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let hung = call(program.as_os_str(), Duration::from_millis(300), dir.path(), &[], None, 10);
        assert!(matches!(hung, Err(HistoryError::TooSlow)));
    }
}
