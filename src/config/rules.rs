//! The rules directory: its files' bytes, and a name for exactly this content.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use sha2::{Digest, Sha256};

use super::git::GitError;
use super::history::HistoryError;
use crate::contract::RuleFiles;

/// The largest file, in bytes.
pub const FILE_BYTES_MAX: u64 = 10 * 1024 * 1024;

/// All files together, in bytes.
pub const TOTAL_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// The most files.
pub const FILES_MAX: usize = 10_000;

/// The deepest directory below the rules directory. Also ends a circle of symbolic links.
pub const DEPTH_MAX: usize = 16;

/// Names the content of the rules directory, for images and mounts that left their repository behind.
pub const REVISION_VARIABLE: &str = "MESHGATE_RULES_REVISION";

const EXTENSIONS: [&str; 4] = ["yaml", "yml", "json", "csv"];

/// Why a rules directory cannot be read. Nothing of it was used.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("there is no directory {} of rule files; name the one that holds the directories of the domains", .0.display())]
    NoDirectory(PathBuf),
    /// To a running gate it would mean that no stream exists any more, to CI that nothing is wrong.
    #[error("{} holds no rule file; name the directory that holds the directories of the domains", .0.display())]
    Empty(PathBuf),
    #[error("{} cannot be read: {error}", .path.display())]
    Io { path: PathBuf, error: io::Error },
    #[error("{} is larger than {FILE_BYTES_MAX} bytes; a rule file is not", .0.display())]
    FileTooLarge(PathBuf),
    #[error("the files of {} together are larger than {TOTAL_BYTES_MAX} bytes", .0.display())]
    TooLarge(PathBuf),
    #[error("{} holds more than {FILES_MAX} rule files; name the directory of the domains", .0.display())]
    TooManyFiles(PathBuf),
    #[error("{} lies more than {DEPTH_MAX} directories deep; a symbolic link may lead in a circle", .0.display())]
    TooDeep(PathBuf),
    #[error("the name of {} is not UTF-8", .0.display())]
    Name(PathBuf),
    #[error(transparent)]
    Revision(#[from] HistoryError),
    #[error(transparent)]
    Git(#[from] GitError),
}

/// Reads every `.yaml`, `.yml`, `.json` and `.csv` file below `dir`.
///
/// Symbolic links are followed, because Kubernetes mounts a ConfigMap as links into `..data`; names that begin with a dot
/// are skipped, `..data` itself among them, so that no file is read twice.
///
/// # Errors
///
/// When anything below `dir` cannot be read or passes a bound: half a directory would be another set of rules. When there
/// is no YAML file in it.
pub fn read(dir: &Path) -> Result<RuleFiles, ReadError> {
    if !dir.is_dir() {
        return Err(ReadError::NoDirectory(dir.to_owned()));
    }
    let mut reader = Reader { root: dir, files: BTreeMap::new(), bytes: 0 };
    reader.directory(dir, "", 0)?;
    if has_rules(&reader.files) { Ok(reader.files) } else { Err(ReadError::Empty(dir.to_owned())) }
}

/// Schemas and lists alone are no rules.
pub(super) fn has_rules(files: &RuleFiles) -> bool {
    files.keys().any(|name| name.ends_with(".yaml") || name.ends_with(".yml"))
}

/// Whether a file of this name belongs to the rules.
pub(super) fn is_rule_file(path: &Path) -> bool {
    path.extension().and_then(|e| e.to_str()).is_some_and(|e| EXTENSIONS.contains(&e))
}

struct Reader<'d> {
    root: &'d Path,
    files: RuleFiles,
    bytes: u64,
}

impl Reader<'_> {
    fn directory(&mut self, dir: &Path, prefix: &str, depth: usize) -> Result<(), ReadError> {
        if depth > DEPTH_MAX {
            return Err(ReadError::TooDeep(dir.to_owned()));
        }
        for entry in fs::read_dir(dir).map_err(|e| failed(dir, e))? {
            let path = entry.map_err(|e| failed(dir, e))?.path();
            let name = path.file_name().and_then(|name| name.to_str()).ok_or_else(|| ReadError::Name(path.clone()))?;
            if name.starts_with('.') {
                continue;
            }
            let inner = format!("{prefix}{name}");
            let is_rule_file = is_rule_file(&path);
            // `metadata` follows links. A dangling one is a fault only where its name says it is a rule file.
            let metadata = match fs::metadata(&path) {
                Ok(metadata) => metadata,
                Err(error) if error.kind() == io::ErrorKind::NotFound && !is_rule_file => continue,
                Err(error) => return Err(failed(&path, error)),
            };
            if metadata.is_dir() {
                self.directory(&path, &format!("{inner}/"), depth + 1)?;
            } else if metadata.is_file() && is_rule_file {
                self.file(&path, inner)?;
            }
        }
        Ok(())
    }

    fn file(&mut self, path: &Path, name: String) -> Result<(), ReadError> {
        let mut bytes = Vec::new();
        let file = File::open(path).map_err(|e| failed(path, e))?;
        file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|e| failed(path, e))?;
        let size = bytes.len() as u64;
        self.bytes += size;
        if size > FILE_BYTES_MAX {
            return Err(ReadError::FileTooLarge(path.to_owned()));
        }
        if self.bytes > TOTAL_BYTES_MAX {
            return Err(ReadError::TooLarge(self.root.to_owned()));
        }
        if self.files.len() == FILES_MAX {
            return Err(ReadError::TooManyFiles(self.root.to_owned()));
        }
        self.files.insert(name, bytes);
        Ok(())
    }
}

fn failed(path: &Path, error: io::Error) -> ReadError {
    ReadError::Io { path: path.to_owned(), error }
}

/// A name for the content of `dir`: [`REVISION_VARIABLE`] where it is set; else the commit that is checked out, with
/// `-dirty` when something below `dir` differs from it; else `sha256:` and 12 digits of a hash of all files.
pub fn revision(dir: &Path) -> String {
    let given = std::env::var(REVISION_VARIABLE).ok().filter(|revision| !revision.is_empty());
    given.or_else(|| git_revision(dir)).unwrap_or_else(|| match read(dir) {
        Ok(files) => content_revision(&files),
        Err(_) => "unknown".to_owned(),
    })
}

/// `sha256:` and 12 hexadecimal digits of the SHA-256 of every name and content.
pub fn content_revision(files: &RuleFiles) -> String {
    let mut hash = Sha256::new();
    for (name, bytes) in files {
        for part in [name.as_bytes(), bytes] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
    }
    hash.finalize()[..6].iter().fold("sha256:".to_owned(), |text, byte| text + &format!("{byte:02x}"))
}

/// `None` without git, outside a repository, and where git tracks nothing of `dir`.
fn git_revision(dir: &Path) -> Option<String> {
    let commit = git(dir, &["rev-parse", "--short=12", "HEAD"])?;
    if git(dir, &["ls-files", "--", "."])?.is_empty() {
        return None;
    }
    let is_clean = git(dir, &["status", "--porcelain", "--", "."])?.is_empty();
    Some(if is_clean { commit } else { format!("{commit}-dirty") })
}

fn git(dir: &Path, arguments: &[&str]) -> Option<String> {
    let output = Command::new("git")
        .arg("-C")
        .arg(dir)
        .args(arguments)
        .env("GIT_OPTIONAL_LOCKS", "0")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    fn write(dir: &Path, name: &str, content: &str) {
        let path = dir.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    #[test]
    fn a_directory_without_a_yaml_file_is_no_set_of_rules() {
        let dir = TempDir::new().unwrap();
        assert!(matches!(read(dir.path()), Err(ReadError::Empty(_))));
        write(dir.path(), "contract.schema.json", "{}");
        assert!(matches!(read(dir.path()), Err(ReadError::Empty(_))));
        assert!(matches!(read(&dir.path().join("nowhere")), Err(ReadError::NoDirectory(_))));
    }

    #[test]
    fn rule_files_are_read_and_others_are_not() {
        let dir = TempDir::new().unwrap();
        for name in ["orders/a.yaml", "orders/b.yml", "orders/schemas/c.json", "d.csv"] {
            write(dir.path(), name, name);
        }
        for name in ["README.md", ".git/x.yaml", "orders/.hidden.yaml", "orders/a.yaml~"] {
            write(dir.path(), name, name);
        }
        let files = read(dir.path()).unwrap();
        let names: Vec<&str> = files.keys().map(String::as_str).collect();
        assert_eq!(names, ["d.csv", "orders/a.yaml", "orders/b.yml", "orders/schemas/c.json"]);
        assert_eq!(files["orders/a.yaml"], b"orders/a.yaml");
    }

    #[cfg(unix)]
    #[test]
    fn a_config_map_is_read_through_its_links_once() {
        use std::os::unix::fs::symlink;
        let dir = TempDir::new().unwrap();
        write(dir.path(), "..2026_11_22/orders/a.yaml", "a");
        symlink("..2026_11_22", dir.path().join("..data")).unwrap();
        symlink("..data/orders", dir.path().join("orders")).unwrap();
        assert_eq!(read(dir.path()).unwrap().into_keys().collect::<Vec<_>>(), ["orders/a.yaml"]);

        symlink(".", dir.path().join("circle")).unwrap();
        assert!(matches!(read(dir.path()), Err(ReadError::TooDeep(_))));
    }

    #[test]
    fn what_cannot_be_read_is_told() {
        let dir = TempDir::new().unwrap();
        let absent = dir.path().join("absent");
        assert!(matches!(read(&absent), Err(ReadError::NoDirectory(_))));
        let large = File::create(dir.path().join("large.csv")).unwrap();
        large.set_len(FILE_BYTES_MAX + 1).unwrap();
        assert!(matches!(read(dir.path()), Err(ReadError::FileTooLarge(_))));
    }

    #[test]
    fn the_revision_is_the_commits_or_the_contents() {
        let dir = TempDir::new().unwrap();
        let rules = dir.path().join("rules");
        write(&rules, "orders/a.yaml", "a");
        let by_content = git_revision(&rules).unwrap_or_else(|| content_revision(&read(&rules).unwrap()));
        assert!(by_content.starts_with("sha256:") && by_content.len() == 19, "{by_content}");

        let run = |arguments: &[&str]| git(dir.path(), arguments).expect("git is there for tests");
        run(&["init", "-q"]);
        run(&["-c", "user.name=t", "-c", "user.email=t@example.com", "commit", "-q", "--allow-empty", "-m", "first"]);
        assert_eq!(git_revision(&rules), None, "git tracks none of the files yet");
        run(&["add", "."]);
        run(&["-c", "user.name=t", "-c", "user.email=t@example.com", "commit", "-q", "-m", "rules"]);
        let clean = git_revision(&rules).unwrap();
        assert_eq!(clean.len(), 12, "{clean}");
        write(dir.path(), "elsewhere", "x");
        assert_eq!(git_revision(&rules), Some(clean.clone()), "what is not a rule does not count");
        write(&rules, "orders/new.yaml", "b");
        assert_eq!(git_revision(&rules), Some(format!("{clean}-dirty")));
    }

    #[test]
    fn each_byte_and_each_name_counts() {
        let files = |name: &str, content: &str| RuleFiles::from([(name.to_owned(), content.into())]);
        let revisions = [("a", "bc"), ("ab", "c"), ("a", "bd")].map(|(n, c)| content_revision(&files(n, c)));
        assert!(revisions[0] != revisions[1] && revisions[0] != revisions[2]);
    }
}
