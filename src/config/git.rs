//! Rules from a git remote: fetched into a bare repository of the gate's own, the cache, and read from its objects.
//!
//! Nothing is checked out. A commit's objects never change, so what is read of one is whole, whatever is fetched or pushed meanwhile; a work
//! tree would at some moment be half of one commit and half of another. Each fetch is one commit deep, and moves one private ref.
//!
//! Whatever may be wrong with the cache has one remedy: a new one is made beside it and takes its place once it holds what was
//! fetched. Until then the old one is what the gate starts from when the remote is down.

mod beside;
pub mod remote;
pub mod run;

use std::collections::BTreeSet;
use std::fmt;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sha2::{Digest, Sha256};

use self::remote::{Remote, is_commit_id};
use self::run::{Answer, At, CallError, Git, LISTING_BYTES_MAX};
use super::history::{self, HistoryError};
use crate::contract::RuleFiles;
use crate::sink::local::lock_file;

/// A file in each cache. What has none is somebody's, and is not touched.
const MARK: &str = "meshgate-cache";

/// Objects in files of their own, their size, and packs, over which the cache is tidied.
const LOOSE_MAX: u64 = 400;
const LOOSE_KIB_MAX: u64 = 16 * 1024;
const PACKS_MAX: u64 = 4;

/// Why rules cannot be had from a remote. What was fetched before is still there.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    #[error("{0}; rules from git need the program `git`: install it, or use the image that has it (docs/operators.md)")]
    NoGit(CallError),
    #[error("git cannot fetch {reference} of {remote}: {told}; {}", remedy(.told))]
    Refused { remote: String, reference: String, told: String },
    #[error("another gate keeps its rules in {}; give each gate a cache of its own with `rules.cache`", .0.display())]
    Shared(PathBuf),
    #[error(
        "{} holds something else than rules that were fetched, and a cache is made anew at will; \
         name a directory that is not there yet with `rules.cache`", .0.display()
    )]
    Foreign(PathBuf),
    #[error("the cache {} cannot be written: {error}; name a directory that can be with `rules.cache`", .dir.display())]
    Cache { dir: PathBuf, error: String },
    #[error("there is no directory {path:?} in {reference} of {remote} (commit {commit}); name one with `rules.path`")]
    NoPath { remote: String, reference: String, path: String, commit: String },
    #[error("nothing of {reference} has been fetched from {remote} yet")]
    Nothing { remote: String, reference: String },
    #[error("the rules of commit {commit} cannot be read: {error}")]
    Unreadable { commit: String, error: HistoryError },
}

/// What to do about git's words.
fn remedy(told: &str) -> &'static str {
    let says = |words: &[&str]| words.iter().any(|word| told.contains(word));
    if says(&["remote ref", "not our ref"]) {
        "name a branch, a tag or a whole commit id with `rules.ref`, or the candidate's with `rules.candidate.ref`"
    } else if says(&[
        "could not read Username",
        "could not read Password",
        "Authentication failed",
        "Permission denied",
        "returned error: 403",
    ]) {
        "give the gate's user a credential helper or an ssh key that may read it"
    } else if says(&["Host key"]) {
        "put the host's key into the known_hosts of the gate's user"
    } else {
        "see whether the remote is up and `rules.git` names it"
    }
}

/// A remote and its cache. One process at a time uses a cache; all of its sets of rules share one.
pub struct Repository {
    remote: Remote,
    dir: PathBuf,
    /// One git at a time. Held while it runs: never asked for by probes.
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    /// For as long as the process lives, whose end, however it comes, unlocks it.
    lock: Option<File>,
    /// Something was wrong that fetching does not mend.
    is_suspect: bool,
    /// Fetches that failed in a row.
    failures: u32,
    /// The refs in use. Others are of settings that have changed.
    names: BTreeSet<String>,
}

/// A directory of a repository at a ref.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GitRules {
    pub repository: Arc<Repository>,
    /// A branch, a tag, a commit or `HEAD`.
    pub reference: String,
    /// Inside the repository; empty for its root.
    pub path: String,
}

/// What a fetch brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// 12 hexadecimal digits.
    pub commit: String,
    pub is_new: bool,
}

/// Files at a commit.
#[derive(Debug)]
pub struct AtCommit {
    /// 12 hexadecimal digits.
    pub commit: String,
    /// The tree's id: commits that change nothing below the path have the same.
    pub tree: String,
    pub files: RuleFiles,
}

impl GitRules {
    /// Fetches the ref. What was fetched before stays when that fails. Takes up to a minute or two.
    ///
    /// # Errors
    /// The remote or the cache is in trouble.
    pub fn fetch(&self) -> Result<Fetched, GitError> {
        let name = self.name();
        let mut held = self.repository.held();
        self.repository.hold(&mut held)?;
        held.names.extend([name.clone(), good(&name)]);
        let before = self.repository.commit(&name)?;
        // What a commit's id names never changes.
        if before.is_none() || held.is_suspect || !is_commit_id(&self.reference) {
            self.repository.fetch(&mut held, &name, &self.reference)?;
        }
        let commit = self.repository.commit(&name)?.ok_or_else(|| self.nothing())?;
        let is_new = before.as_ref() != Some(&commit);
        if is_new {
            self.repository.tidy(&mut held);
        }
        Ok(Fetched { commit: short(&commit), is_new })
    }

    /// The id of the tree that was fetched last, once its listing is known to be one of rule files.
    ///
    /// # Errors
    /// Nothing was fetched yet, the path is not there, or its files pass a bound.
    pub fn look(&self) -> Result<String, GitError> {
        let mut held = self.repository.held();
        self.repository.hold(&mut held)?;
        let commit = self.repository.commit(&self.name())?.ok_or_else(|| self.nothing())?;
        let tree = self.tree(&commit)?;
        history::listed(&self.repository.git(), &tree).map_err(|error| unreadable(&commit, error))?;
        Ok(tree)
    }

    /// The files that were fetched last.
    ///
    /// # Errors
    /// As [`look`](Self::look), or the cache is damaged; the next fetch then makes a new one.
    pub fn read(&self) -> Result<AtCommit, GitError> {
        self.read_at(&self.name())
    }

    /// The files that compiled without a fault when [`keep`](Self::keep) was last told so.
    ///
    /// # Errors
    /// There were none yet, or as [`read`](Self::read).
    pub fn read_good(&self) -> Result<AtCommit, GitError> {
        self.read_at(&good(&self.name()))
    }

    /// Keeps the files of this commit, which were read, as the last good ones.
    ///
    /// # Errors
    /// The cache cannot be written.
    pub fn keep(&self, commit: &str) -> Result<(), GitError> {
        let held = self.repository.held();
        let name = good(&self.name());
        if self.repository.commit(&name)?.is_some_and(|kept| kept.starts_with(commit)) {
            return Ok(());
        }
        let set = history::asked(&self.repository.git(), &["update-ref", &name, commit]).map_err(GitError::NoGit)?;
        drop(held);
        set.map(drop).map_err(|error| self.repository.cache_error(error))
    }

    fn read_at(&self, name: &str) -> Result<AtCommit, GitError> {
        let mut held = self.repository.held();
        self.repository.hold(&mut held)?;
        let commit = self.repository.commit(name)?.ok_or_else(|| self.nothing())?;
        let tree = self.tree(&commit)?;
        let git = self.repository.git();
        let files = history::listed(&git, &tree).and_then(|blobs| history::contents(&git, blobs));
        if let Err(HistoryError::Failed(_) | HistoryError::Unreadable(_)) = &files {
            held.is_suspect = true;
        }
        let files = files.map_err(|error| unreadable(&commit, error))?;
        Ok(AtCommit { commit: short(&commit), tree, files })
    }

    fn tree(&self, commit: &str) -> Result<String, GitError> {
        let tree = history::tree(&self.repository.git(), commit, &self.path);
        tree.map_err(|error| unreadable(commit, error))?.ok_or_else(|| GitError::NoPath {
            remote: self.repository.remote.to_string(),
            reference: self.reference.clone(),
            path: self.path.clone(),
            commit: short(commit),
        })
    }

    fn nothing(&self) -> GitError {
        GitError::Nothing { remote: self.repository.remote.to_string(), reference: self.reference.clone() }
    }

    /// The private ref. Another one for other settings: what was fetched for those is not what these mean. Secrets are no part of
    /// it, which change while the rules stay.
    fn name(&self) -> String {
        let mut hash = Sha256::new();
        for part in [&self.repository.remote.to_string(), &self.reference, &self.path] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        hash.finalize()[..8].iter().fold("refs/meshgate/".to_owned(), |text, byte| text + &format!("{byte:02x}"))
    }
}

impl fmt::Display for GitRules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}:{}", self.repository.remote, self.reference, self.path)
    }
}

fn good(name: &str) -> String {
    format!("{name}-good")
}

fn short(commit: &str) -> String {
    commit.get(..12).unwrap_or(commit).to_owned()
}

fn unreadable(commit: &str, error: HistoryError) -> GitError {
    GitError::Unreadable { commit: short(commit), error }
}

impl Repository {
    /// Nothing is looked at before the first fetch.
    pub fn new(remote: Remote, dir: PathBuf) -> Self {
        Self { remote, dir, held: Mutex::default() }
    }

    pub fn remote(&self) -> &Remote {
        &self.remote
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes sure that the cache is this process's alone.
    fn hold(&self, held: &mut Held) -> Result<(), GitError> {
        if held.lock.is_some() {
            return Ok(());
        }
        self.refuse_foreign()?;
        let file = (|| {
            if let Some(parent) = self.dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
                fs::create_dir_all(parent)?;
            }
            File::create(self.beside(".lock"))
        })();
        let file = file.map_err(|error| self.cache_error(error))?;
        // Where the file system has no locks it is for the operator not to share it.
        if let Err(TryLockError::WouldBlock) = lock_file(&file) {
            return Err(GitError::Shared(self.dir.clone()));
        }
        // A process that ended between the two steps of `renew`.
        let old = self.beside(".old");
        if !self.dir.exists() && old.exists() {
            fs::rename(&old, &self.dir).map_err(|error| self.cache_error(error))?;
        }
        held.lock = Some(file);
        Ok(())
    }

    /// A cache is renamed and removed when something is wrong with it, which nothing else must suffer.
    fn refuse_foreign(&self) -> Result<(), GitError> {
        if self.dir.join(MARK).is_file() {
            return Ok(());
        }
        match fs::read_dir(&self.dir).map(|mut entries| entries.next().is_none()) {
            Ok(true) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) if error.kind() != io::ErrorKind::NotADirectory => Err(self.cache_error(error)),
            _ => Err(GitError::Foreign(self.dir.clone())),
        }
    }

    /// In the cache as it is, or in a new one where that is what is wrong.
    fn fetch(&self, held: &mut Held, name: &str, reference: &str) -> Result<(), GitError> {
        let is_there = self.dir.join("HEAD").is_file();
        let fetched =
            if is_there && !held.is_suspect { Some(self.fetch_into(&self.dir, name, reference)) } else { None };
        match fetched {
            Some(Ok(())) => {}
            Some(Err(error)) => {
                held.failures = held.failures.saturating_add(1);
                // A remote may be down for hours, and looking through the cache costs more than asking again.
                let is_remote =
                    !held.failures.is_power_of_two() || matches!(error, GitError::NoGit(_)) || self.is_sound();
                if is_remote {
                    return Err(error);
                }
                tracing::warn!(%error, "the cache of the rules is damaged, or was left locked by a process that was killed; a new one is made");
                self.renew(name, reference)?;
            }
            None => self.renew(name, reference)?,
        }
        (held.failures, held.is_suspect) = (0, false);
        Ok(())
    }

    fn fetch_into(&self, dir: &Path, name: &str, reference: &str) -> Result<(), GitError> {
        let refspec = format!("+{reference}:{name}");
        let told = match fetch(dir, self.remote.secret(), &refspec) {
            Ok(Answer::Good(_)) => return Ok(()),
            Ok(Answer::Bad(told)) => told,
            Err(error @ CallError::NoGit(_)) => return Err(GitError::NoGit(error)),
            Err(error) => error.to_string(),
        };
        let (remote, told) = (self.remote.to_string(), self.remote.hide_in(&told));
        Err(GitError::Refused { remote, reference: reference.to_owned(), told })
    }

    /// Makes a new cache beside the one there is, and puts it in its place once it has what is wanted. A git that outlived its
    /// gate may still write to the old one.
    fn renew(&self, name: &str, reference: &str) -> Result<(), GitError> {
        let (new, old) = (self.beside(".new"), self.beside(".old"));
        let in_cache = |error: io::Error| self.cache_error(error);
        remove(&new).map_err(in_cache)?;
        create_private(&new).map_err(in_cache)?;
        let made = history::asked(&configured(&new, None), &["init", "--quiet", "--bare", "--template="]);
        made.map_err(GitError::NoGit)?.map_err(|told| self.cache_error(told))?;
        fs::write(new.join(MARK), "Made by meshgate, which replaces it when something is wrong with it.\n")
            .map_err(in_cache)?;
        // What is known to be good, and what a candidate has, as far as it can be read. It is only missed when the remote is down.
        if let Ok(before) = std::path::absolute(&self.dir)
            && let Some(before) = before.to_str().filter(|_| self.dir.exists())
        {
            let _ = fetch(&new, before, "+refs/meshgate/*:refs/meshgate/*");
        }
        self.fetch_into(&new, name, reference)?;
        remove(&old).map_err(in_cache)?;
        if self.dir.exists() {
            fs::rename(&self.dir, &old).map_err(in_cache)?;
        }
        fs::rename(&new, &self.dir).map_err(in_cache)?;
        remove(&old).map_err(in_cache)
    }

    /// Whether it is the remote's fault that nothing can be fetched: nothing is locked, and all objects are there.
    fn is_sound(&self) -> bool {
        let checked = self.git().call(&["fsck", "--connectivity-only", "--no-dangling"], None, LISTING_BYTES_MAX);
        !has_locks(&self.dir, 0) && matches!(checked, Ok(Answer::Good(_)))
    }

    /// Prunes what no ref leads to, when there is much of it: each commit that was replaced, and what a killed git left.
    fn tidy(&self, held: &mut Held) {
        let git = self.git();
        let counts = history::asked(&git, &["count-objects", "-v"]).ok().and_then(Result::ok).unwrap_or_default();
        let count = |key: &str| {
            let value = counts.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(": "));
            value.and_then(|value| value.parse::<u64>().ok()).unwrap_or(0)
        };
        let bounds = [("count", LOOSE_MAX), ("size", LOOSE_KIB_MAX), ("packs", PACKS_MAX), ("garbage", 0)];
        if bounds.iter().all(|(key, most)| count(key) <= *most) {
            return;
        }
        let refs = history::asked(&git, &["for-each-ref", "--format=%(refname)", "refs/meshgate/"]);
        for name in
            refs.ok().and_then(Result::ok).unwrap_or_default().lines().filter(|name| !held.names.contains(*name))
        {
            let _ = history::asked(&git, &["update-ref", "-d", name]);
        }
        // Nobody else writes here, and a lock that a killed git left means nothing.
        if !matches!(history::asked(&git, &["gc", "--quiet", "--prune=now", "--force"]), Ok(Ok(_))) {
            held.is_suspect = true;
        }
    }

    /// The whole id of what a private ref names.
    fn commit(&self, name: &str) -> Result<Option<String>, GitError> {
        if !self.dir.join("HEAD").is_file() {
            return Ok(None);
        }
        let commit = format!("{name}^{{commit}}");
        let commit = history::asked(&self.git(), &["rev-parse", "--verify", "--quiet", "--end-of-options", &commit]);
        Ok(commit.map_err(GitError::NoGit)?.ok())
    }

    fn git(&self) -> Git<'_> {
        configured(&self.dir, None)
    }

    /// A path beside the cache.
    fn beside(&self, suffix: &str) -> PathBuf {
        let mut path = self.dir.clone().into_os_string();
        path.push(suffix);
        path.into()
    }

    fn cache_error(&self, error: impl fmt::Display) -> GitError {
        GitError::Cache { dir: self.dir.clone(), error: error.to_string() }
    }
}

impl fmt::Debug for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Repository").field("remote", &self.remote).field("dir", &self.dir).finish_non_exhaustive()
    }
}

/// As far as settings go.
impl PartialEq for Repository {
    fn eq(&self, other: &Self) -> bool {
        (&self.remote, &self.dir) == (&other.remote, &other.dir)
    }
}

impl Eq for Repository {}

/// One commit deep, into one ref, whatever the user's configuration adds to fetches.
fn fetch(dir: &Path, url: &str, refspec: &str) -> Result<Answer, CallError> {
    let arguments = [
        "fetch",
        "--quiet",
        "--depth=1",
        "--no-tags",
        "--force",
        "--no-write-fetch-head",
        "--no-recurse-submodules",
        "--no-auto-maintenance",
        "--",
        "meshgate",
        refspec,
    ];
    configured(dir, Some(url)).call(&arguments, None, LISTING_BYTES_MAX)
}

/// Git on a cache. The machine's and the user's configuration count, since credential helpers, proxies and certificates are
/// told there; what would run something else does not.
fn configured<'d>(dir: &'d Path, url: Option<&str>) -> Git<'d> {
    let fixed = [
        ("core.hooksPath", "/dev/null"),
        ("core.fsync", "all"),
        ("core.logAllRefUpdates", "false"),
        ("credential.interactive", "false"),
        ("gc.auto", "0"),
        ("maintenance.auto", "false"),
        // A connection that stands still is given up before git is.
        ("http.lowSpeedLimit", "1"),
        ("http.lowSpeedTime", "20"),
        ("protocol.ext.allow", "never"),
    ];
    let mut config: Vec<_> = fixed.map(|(name, value)| (name, value.to_owned())).into();
    config.extend(url.map(|url| ("remote.meshgate.url", url.to_owned())));
    Git { config, ..Git::new(At::Bare(dir)) }
}

/// Whether a git was ended in the middle, or is still at work. Objects are written without locks.
fn has_locks(dir: &Path, depth: usize) -> bool {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).any(|path| {
        let is_lock = path.extension().is_some_and(|extension| extension == "lock");
        is_lock || (depth < 4 && !path.ends_with("objects") && path.is_dir() && has_locks(&path, depth + 1))
    })
}

/// For this user only: rules may be private where their repository is.
fn create_private(dir: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    fs::DirBuilder::new().mode(0o700).create(dir)
}

fn remove(dir: &Path) -> io::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
