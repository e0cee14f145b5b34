//! The key `rules`: a directory, or a git remote, and what is judged beside them.

use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;

use crate::config::RuleSource;
use crate::config::git::remote::{Remote, ref_fault};
use crate::config::git::{GitRules, Repository};

/// The directory of rule files where none is named.
const DIRECTORY: &str = "rules";

/// How often a remote is fetched, in seconds.
const INTERVAL_SECONDS: u64 = 30;

/// A directory, or more than that.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub enum WrittenRules {
    Directory(PathBuf),
    More(WrittenMore),
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WrittenMore {
    /// On disk, or with `git` inside the repository.
    path: Option<PathBuf>,
    git: Option<String>,
    #[serde(rename = "ref")]
    reference: Option<String>,
    interval_seconds: Option<u64>,
    cache: Option<PathBuf>,
    candidate: Option<WrittenCandidate>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum WrittenCandidate {
    Directory(PathBuf),
    More {
        path: Option<PathBuf>,
        #[serde(rename = "ref")]
        reference: Option<String>,
    },
}

/// Settings as run.
pub struct Sources {
    pub rules: RuleSource,
    pub rules_watch: Option<Duration>,
    pub candidate: Option<RuleSource>,
    pub candidate_watch: Option<Duration>,
}

impl Default for WrittenRules {
    fn default() -> Self {
        Self::Directory(DIRECTORY.into())
    }
}

impl WrittenRules {
    /// A directory instead of what is written, beside which the same candidate is judged.
    pub fn set_directory(&mut self, dir: PathBuf) {
        let candidate = match std::mem::take(self) {
            Self::Directory(_) => None,
            Self::More(more) => more.candidate,
        };
        *self = Self::More(WrittenMore { path: Some(dir), candidate, ..WrittenMore::default() });
    }

    /// What the schema cannot say: the keys below `rules`, what is wrong, and what to write instead. Shows no value.
    pub fn faults(&self) -> Vec<(&'static [&'static str], String, &'static str)> {
        let Self::More(more) = self else { return Vec::new() };
        let mut faults: Vec<(&'static [&'static str], String, &'static str)> = Vec::new();
        let Some(git) = &more.git else { return faults };
        if let Err(fault) = Remote::new(git) {
            faults.push((&["git"], format!("`git` {fault}"), "write it as for `git clone`"));
        }
        let hint = "write a branch, a tag, a whole commit id or HEAD";
        if let Some(fault) = more.reference.as_deref().and_then(ref_fault) {
            faults.push((&["ref"], format!("`ref` {fault}"), hint));
        }
        if let Some(WrittenCandidate::More { reference: Some(reference), .. }) = &more.candidate
            && let Some(fault) = ref_fault(reference)
        {
            faults.push((&["candidate", "ref"], format!("`ref` {fault}"), hint));
        }
        if more.path.as_deref().is_some_and(|path| inside(path).is_none()) {
            let message = "`path` is no directory inside the repository".to_owned();
            faults.push((&["path"], message, "write it from the root of the repository, as in contracts/rules"));
        }
        faults
    }

    /// Total, after [`faults`](Self::faults) found none. `data` is where the gate keeps its own files.
    pub fn into_sources(self, data: &Path, watch_seconds: u64) -> Sources {
        let more = match self {
            Self::Directory(path) => WrittenMore { path: Some(path), ..WrittenMore::default() },
            Self::More(more) => more,
        };
        let every = |seconds| Some(Duration::from_secs(seconds)).filter(|every| !every.is_zero());
        let watch = every(watch_seconds);
        let directory = RuleSource::Directory;
        let Some(remote) = more.git.and_then(|git| Remote::new(&git).ok()) else {
            let dir = more.path.unwrap_or_else(|| DIRECTORY.into());
            let candidate = more.candidate.and_then(|candidate| match candidate {
                WrittenCandidate::More { reference: Some(revision), .. } => {
                    Some(RuleSource::Revision { dir: dir.clone(), revision })
                }
                WrittenCandidate::Directory(path) => Some(directory(path)),
                WrittenCandidate::More { path, .. } => path.map(directory),
            });
            return Sources { rules: directory(dir), rules_watch: watch, candidate, candidate_watch: watch };
        };
        // Beside the store, which is where there is a disk.
        let cache = more.cache.unwrap_or_else(|| data.with_extension("rules.git"));
        let repository = Arc::new(Repository::new(remote, cache));
        let path = more.path.as_deref().and_then(inside).unwrap_or_default();
        let at = |reference| {
            RuleSource::Git(GitRules { repository: Arc::clone(&repository), reference, path: path.clone() })
        };
        let fetch = every(more.interval_seconds.unwrap_or(INTERVAL_SECONDS));
        let (candidate, candidate_watch) = match more.candidate {
            Some(WrittenCandidate::More { reference: Some(reference), .. }) => (Some(at(reference)), fetch),
            Some(WrittenCandidate::Directory(path)) => (Some(directory(path)), watch),
            Some(WrittenCandidate::More { path, .. }) => (path.map(directory), watch),
            None => (None, None),
        };
        let rules = at(more.reference.unwrap_or_else(|| "HEAD".to_owned()));
        Sources { rules, rules_watch: fetch, candidate, candidate_watch }
    }
}

/// A path inside a repository as git writes it; empty for the root.
fn inside(path: &Path) -> Option<String> {
    let mut parts = Vec::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::Normal(part) => parts.push(part.to_str()?),
            Component::Prefix(_) | Component::RootDir | Component::ParentDir => return None,
        }
    }
    Some(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use crate::config::{self, Config, ConfigError, Overrides, RuleSource};

    fn parsed(text: &str, overrides: &Overrides) -> Result<Config, String> {
        config::parse(Some(text.as_bytes()), "meshgate.yaml".as_ref(), overrides).map_err(|error| match error {
            ConfigError::Faulty { faults, .. } => faults.iter().map(|fault| format!("{fault}\n")).collect(),
            other => other.to_string(),
        })
    }

    fn shown(text: &str) -> String {
        let config = parsed(text, &Overrides::default()).unwrap();
        format!("{:?}\n{:?}\n{:?} {:?}\n", config.rules, config.candidate, config.rules_watch, config.candidate_watch)
    }

    #[test]
    fn rules_come_from_a_directory_or_a_remote() {
        let mut all = String::new();
        for text in [
            "rules: contracts",
            "rules: {path: contracts, candidate: next}",
            "rules: {path: contracts, candidate: {path: next}}",
            "rules: {path: contracts, candidate: {ref: HEAD~1}}",
            "rules: {git: 'https://u:secret@git.example/rules.git'}",
            "rules: {git: ../remote, ref: main, path: ./contracts/, interval_seconds: 0, cache: /c, candidate: {ref: next}}",
            "rules: {git: ../remote, candidate: next}",
        ] {
            all += &shown(text);
        }
        expect![[r#"
            Directory("contracts")
            None
            Some(5s) Some(5s)
            Directory("contracts")
            Some(Directory("next"))
            Some(5s) Some(5s)
            Directory("contracts")
            Some(Directory("next"))
            Some(5s) Some(5s)
            Directory("contracts")
            Some(Revision { dir: "contracts", revision: "HEAD~1" })
            Some(5s) Some(5s)
            Git(GitRules { repository: Repository { remote: Remote(https://***@git.example/rules.git), dir: "data/meshgate.rules.git", .. }, reference: "HEAD", path: "" })
            None
            Some(30s) None
            Git(GitRules { repository: Repository { remote: Remote(../remote), dir: "/c", .. }, reference: "main", path: "contracts" })
            Some(Git(GitRules { repository: Repository { remote: Remote(../remote), dir: "/c", .. }, reference: "next", path: "contracts" }))
            None None
            Git(GitRules { repository: Repository { remote: Remote(../remote), dir: "data/meshgate.rules.git", .. }, reference: "HEAD", path: "" })
            Some(Directory("next"))
            Some(30s) Some(5s)
        "#]]
        .assert_eq(&all);
    }

    #[test]
    fn a_flag_beats_a_remote() {
        let overrides = Overrides { rules: Some("here".into()), ..Overrides::default() };
        let config = parsed("rules: {git: ../remote, candidate: {ref: next}}", &overrides).unwrap();
        assert_eq!(config.rules, RuleSource::Directory("here".into()));
        assert_eq!(config.candidate, Some(RuleSource::Revision { dir: "here".into(), revision: "next".to_owned() }));
        assert_eq!(config.rules_watch.map(|every| every.as_secs()), Some(5));
    }

    #[test]
    fn what_would_be_an_option_or_a_program_is_refused_and_no_secret_is_shown() {
        let mut all = String::new();
        for text in [
            "rules: {git: '--upload-pack=touch x'}",
            "rules: {git: 'ext::sh -c secret'}",
            "rules: {git: ../r, ref: --upload-pack=x, candidate: {ref: 'a b'}, path: ../../etc}",
            "rules: {ref: main}",
            "rules: {git: ../r, candidate: {}}",
            "rules: {git: ../r, candidate: {ref: a, path: b}}",
            "rules: {git: [], interval_seconds: -1}",
        ] {
            all += &parsed(text, &Overrides::default()).map(|_| "none\n".to_owned()).unwrap_or_else(|told| told);
        }
        expect![[r#"
            meshgate.yaml:1:14: error[invalid-value]: `git` begins with a dash, which git would take for an option (write it as for `git clone`)
            meshgate.yaml:1:14: error[invalid-value]: `git` names a helper program of git; only https, ssh, http, file and paths are taken (write it as for `git clone`)
            meshgate.yaml:1:25: error[invalid-value]: `ref` begins with a dash, which git would take for an option (write a branch, a tag, a whole commit id or HEAD)
            meshgate.yaml:1:59: error[invalid-value]: `ref` is no name of a branch or tag, nor a whole commit id; expressions as HEAD~1 cannot be fetched (write a branch, a tag, a whole commit id or HEAD)
            meshgate.yaml:1:73: error[invalid-value]: `path` is no directory inside the repository (write it from the root of the repository, as in contracts/rules)
            meshgate.yaml:1:1: error[missing-key]: `rules` lacks the key `git` (URL or path of a git repository that is fetched, as for git clone: https, ssh, http, file)
            meshgate.yaml:1:31: error[missing-key]: `candidate` is empty (Rule files that are judged beside them on the same events and decide nothing: a directory, or {ref: REF}, the same rules at another ref. Default none)
            meshgate.yaml:1:31: error[invalid-value]: `candidate`: value has more than 1 property (Rule files that are judged beside them on the same events and decide nothing: a directory, or {ref: REF}, the same rules at another ref. Default none)
            meshgate.yaml:1:14: error[wrong-type]: `git` is a list; it must be a string (URL or path of a git repository that is fetched, as for git clone: https, ssh, http, file)
            meshgate.yaml:1:36: error[invalid-value]: `interval_seconds`: value is less than the minimum of 0 (How often it is fetched. 0: at SIGHUP and POST /reload only. Default 30)
        "#]].assert_eq(&all);
    }
}
