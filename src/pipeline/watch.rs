//! Rule files that change are put in force without anybody asking.
//!
//! The directory is read at intervals and compared by content, rather than watched for events: an editor that renames, a ConfigMap
//! whose symbolic links are swapped, `git checkout` and a network file system all look alike then, and a few dozen small files
//! cost next to nothing. A change counts when two looks in a row see the same, so that files are not read half written.

use std::sync::Arc;
use std::time::Duration;

use super::rules::{Loaded, Rules};
use crate::config::rules::ReadError;

/// Looks at the rules, and reloads.
pub struct Watch {
    rules: Arc<Rules>,
    /// What the last look saw, where it was not what is in force.
    changed: Option<String>,
    unreadable: bool,
    /// What the candidate's files were when they were loaded, and at the last look.
    candidate: [Option<String>; 2],
}

impl Watch {
    pub fn new(rules: Arc<Rules>) -> Self {
        let candidate = rules.candidate_source().and_then(|source| source.look().ok());
        Self { rules, changed: None, unreadable: false, candidate: [candidate.clone(), candidate] }
    }

    /// One look at the candidate's files, which are loaded when they have changed and settled, or can be read no more. Blocks on
    /// files.
    pub fn look_at_candidate(&mut self) {
        let Some(source) = self.rules.candidate_source() else { return };
        let seen = source.look().ok();
        let [loaded, last] = &mut self.candidate;
        if seen != *loaded && seen == *last {
            loaded.clone_from(&seen);
            self.rules.reload_candidate();
        }
        self.candidate[1] = seen;
    }

    /// One look. `None` when there is nothing to reload: the files are those that were loaded last, faulty ones among them, or
    /// are still changing, or cannot be read. Blocks on files; call it off the async threads.
    pub fn look(&mut self) -> Option<Result<Loaded, ReadError>> {
        let seen = match self.rules.source().look() {
            Ok(seen) => seen,
            Err(error) => {
                if !self.unreadable {
                    tracing::warn!(%error, "the rules cannot be read; the last good ones stay in force");
                }
                (self.unreadable, self.changed) = (true, None);
                return None;
            }
        };
        self.unreadable = false;
        if seen == self.rules.content() {
            self.changed = None;
            return None;
        }
        if self.changed.as_deref() != Some(&*seen) {
            self.changed = Some(seen);
            return None;
        }
        self.changed = None;
        Some(self.rules.reload())
    }
}

/// Looks again and again, for as long as the future lives.
pub async fn watch(rules: Arc<Rules>, every: Duration) {
    let mut watch = Watch::new(rules);
    loop {
        tokio::time::sleep(every).await;
        // What became of a reload is logged and counted where it happens.
        let look = move || {
            watch.look();
            watch.look_at_candidate();
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
