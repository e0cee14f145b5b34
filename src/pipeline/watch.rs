//! Rule files that change are put in force without anybody asking.
//!
//! The directory is read at intervals and compared by content, rather than watched for events: an editor that renames, a ConfigMap
//! whose symbolic links are swapped, `git checkout` and a network file system all look alike then, and a few dozen small files
//! cost next to nothing. A change counts when two looks in a row see the same, so that files are not read half written. A remote is
//! fetched at intervals; a commit is whole, and counts at once.

use std::sync::Arc;
use std::time::Duration;

use super::origin::Origin;
use super::rules::{Loaded, Rules};
use crate::config::rules::ReadError;

/// Looks at the rules, and reloads.
pub struct Watch {
    rules: Arc<Rules>,
    /// What the last look saw, where it was not what is in force.
    changed: Option<String>,
}

/// Looks at the candidate's files, and reloads them.
pub struct CandidateWatch {
    rules: Arc<Rules>,
    /// What the last look saw.
    last: Option<String>,
}

/// Something to look at again and again.
pub trait Look: Send + 'static {
    /// Blocks on files, and on a remote for a minute or two.
    fn look(&mut self);
}

impl Watch {
    pub fn new(rules: Arc<Rules>) -> Self {
        Self { rules, changed: None }
    }

    /// One look. `None` when there is nothing to reload: the files are those that were loaded last, faulty ones among them, or
    /// are still changing, or cannot be read. Blocks on files; call it off the async threads.
    pub fn look(&mut self) -> Option<Result<Loaded, ReadError>> {
        let before = self.changed.take();
        let origin = self.rules.origin();
        // What is wrong is told and shown where it is found.
        let seen = origin.look().ok()?;
        if Some(&seen) == origin.content().as_ref() {
            return None;
        }
        if !origin.source().is_whole() && before.as_ref() != Some(&seen) {
            self.changed = Some(seen);
            return None;
        }
        Some(self.rules.reload_seen())
    }
}

impl Look for Watch {
    fn look(&mut self) {
        // What became of a reload is logged and counted where it happens.
        Watch::look(self);
    }
}

impl CandidateWatch {
    pub fn new(rules: Arc<Rules>) -> Self {
        let last = rules.candidate_origin().and_then(Origin::content);
        Self { rules, last }
    }
}

impl Look for CandidateWatch {
    /// They are loaded when they have changed and settled, or a directory can be read no more. What was fetched stays.
    fn look(&mut self) {
        let Some(origin) = self.rules.candidate_origin() else { return };
        let (seen, is_whole) = (origin.look().ok(), origin.source().is_whole());
        let has_settled = if is_whole { seen.is_some() } else { seen == self.last };
        if has_settled && seen != origin.content() {
            self.rules.reload_candidate_seen();
        }
        self.last = seen;
    }
}

/// Looks again and again, for as long as the future lives.
pub async fn watch(mut watch: impl Look, every: Duration) {
    loop {
        tokio::time::sleep(every).await;
        let look = move || {
            watch.look();
            watch
        };
        match tokio::task::spawn_blocking(look).await {
            Ok(same) => watch = same,
            Err(error) => {
                tracing::error!(%error, "the rule files are watched no longer (a fault of the gate); POST /reload still reads them");
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    use tempfile::TempDir;

    use super::*;
    use crate::config::source::RuleSource;
    use crate::metrics::Metrics;
    use crate::pipeline::rules::RuleOptions;

    const DOMAIN: &str =
        "apiVersion: meshgate/v1\nkind: Domain\nmetadata:\n  name: d\n  owner: {team: t, contact: c}\n";

    fn contract(name: &str) -> String {
        format!(
            "apiVersion: meshgate/v1\nkind: EventContract\nmetadata: {{domain: d, name: {name}, version: 1.0.0, status: active}}\n\
             match: {{stream: s, type: {name}}}\nrules:\n  - {{id: r, expression: this.n > 0, message: m}}\n"
        )
    }

    fn write(dir: &Path, contract_name: &str) {
        fs::create_dir_all(dir.join("d")).unwrap();
        fs::write(dir.join("d/domain.yaml"), DOMAIN).unwrap();
        fs::write(dir.join("d/c.yaml"), contract(contract_name)).unwrap();
    }

    fn watch_of(dir: &Path) -> (Arc<Rules>, Watch) {
        let options = RuleOptions::new(RuleSource::from(dir), Arc::new(Metrics::new()));
        let (rules, loaded) = Rules::load(options).unwrap();
        assert!(loaded.is_good, "{:?}", loaded.diagnostics);
        let rules = Arc::new(rules);
        (Arc::clone(&rules), Watch::new(rules))
    }

    fn has(rules: &Rules, name: &str) -> bool {
        rules.current().contract("d", name).is_some()
    }

    #[test]
    fn a_change_is_loaded_once_it_has_settled() {
        let dir = TempDir::new().unwrap();
        write(dir.path(), "a");
        let (rules, mut watch) = watch_of(dir.path());
        assert!(watch.look().is_none(), "nothing changed");
        write(dir.path(), "b");
        assert!(watch.look().is_none(), "it may still be changing");
        write(dir.path(), "c");
        assert!(watch.look().is_none(), "and it was");
        assert!(has(&rules, "a"));
        assert!(watch.look().unwrap().unwrap().is_good);
        assert!(has(&rules, "c") && !has(&rules, "a") && !has(&rules, "b"));
        assert!(watch.look().is_none(), "it is in force");
        // There and back between two looks is no change.
        write(dir.path(), "d");
        write(dir.path(), "c");
        assert!(watch.look().is_none() && watch.look().is_none());
    }

    #[test]
    fn a_fault_is_told_once_and_the_last_good_rules_stay() {
        let dir = TempDir::new().unwrap();
        write(dir.path(), "a");
        let (rules, mut watch) = watch_of(dir.path());
        fs::write(dir.path().join("d/c.yaml"), "kind: [").unwrap();
        watch.look();
        assert!(!watch.look().unwrap().unwrap().is_good);
        assert!(has(&rules, "a"));
        assert!(watch.look().is_none() && watch.look().is_none(), "the same fault is not told again");
        // A directory that has gone changes nothing, and is looked for again.
        fs::rename(dir.path().join("d"), dir.path().join(".d")).unwrap();
        assert!(watch.look().is_none() && watch.look().is_none() && has(&rules, "a"));
        fs::rename(dir.path().join(".d"), dir.path().join("d")).unwrap();
        write(dir.path(), "b");
        watch.look();
        assert!(watch.look().unwrap().unwrap().is_good && has(&rules, "b"));
    }

    #[test]
    fn links_that_are_swapped_and_files_that_are_renamed_are_changes() {
        let dir = TempDir::new().unwrap();
        for (version, name) in [("..1", "a"), ("..2", "b")] {
            write(&dir.path().join(version), name);
        }
        // As the kubelet lays out a ConfigMap: names link into `..data`, which links to the version.
        let link = |to: &str| {
            symlink(to, dir.path().join("..new")).unwrap();
            fs::rename(dir.path().join("..new"), dir.path().join("..data")).unwrap();
        };
        link("..1");
        symlink("..data/d", dir.path().join("d")).unwrap();
        let (rules, mut watch) = watch_of(dir.path());
        link("..2");
        watch.look();
        assert!(watch.look().unwrap().unwrap().is_good && has(&rules, "b"));
        // As editors save.
        fs::write(dir.path().join("d/.c.yaml.swp"), contract("c")).unwrap();
        assert!(watch.look().is_none() && watch.look().is_none(), "a hidden file is no rule file");
        fs::rename(dir.path().join("d/.c.yaml.swp"), dir.path().join("d/c.yaml")).unwrap();
        watch.look();
        assert!(watch.look().unwrap().unwrap().is_good && has(&rules, "c"));
    }
}
