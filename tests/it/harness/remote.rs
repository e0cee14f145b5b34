//! A git remote of the tests' rules.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::gate::{Gate, GateOptions, parcels_rules};
use super::process::{copy_tree, run, temporary};

/// A remote, and a clone that pushes to it.
pub struct GitRemote {
    home: TempDir,
}

impl GitRemote {
    /// With the tests' rules under `rules/`, on branch `main`.
    pub fn new() -> Self {
        let remote = Self { home: temporary() };
        let bare = remote.bare();
        remote.git(remote.home.path(), &["init", "-q", "--bare", "-b", "main", bare.to_str().expect("UTF-8")]);
        let work = remote.work();
        remote.git(remote.home.path(), &["init", "-q", "-b", "main", work.to_str().expect("UTF-8")]);
        remote.git(&work, &["remote", "add", "origin", bare.to_str().expect("UTF-8")]);
        copy_tree(&parcels_rules(), &work.join("rules"));
        remote.push("main");
        remote
    }

    pub fn bare(&self) -> PathBuf {
        self.home.path().join("remote.git")
    }

    pub fn work(&self) -> PathBuf {
        self.home.path().join("work")
    }

    pub fn git(&self, dir: &Path, arguments: &[&str]) -> String {
        let mut command = Command::new("git");
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("HOME", self.home.path());
        for who in ["AUTHOR", "COMMITTER"] {
            command.env(format!("GIT_{who}_NAME"), "t").env(format!("GIT_{who}_EMAIL"), "t@example.com");
        }
        let output = run(command.arg("-C").arg(dir).args(arguments));
        assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Commits whatever there is and pushes it. Gives the commit's first 12 digits.
    pub fn push(&self, branch: &str) -> String {
        let work = self.work();
        self.git(&work, &["add", "-A"]);
        self.git(&work, &["commit", "-q", "--allow-empty", "-m", "change"]);
        self.git(&work, &["push", "-q", "--force", "origin", &format!("HEAD:refs/heads/{branch}")]);
        self.git(&work, &["rev-parse", "--short=12", "HEAD"])
    }

    /// Pushes the contract with another rule of weights.
    pub fn push_rule(&self, branch: &str, rule: &str) -> String {
        let written = std::fs::read_to_string(parcels_rules().join("parcels/parcel.sent.yaml")).expect("the contract");
        std::fs::write(self.work().join("rules/parcels/parcel.sent.yaml"), written.replace("this.weight > 0.0", rule))
            .expect("writable");
        self.push(branch)
    }

    pub fn take_away(&self) {
        std::fs::rename(self.bare(), self.home.path().join("away.git")).expect("a remote that is there");
    }

    pub fn bring_back(&self) {
        std::fs::rename(self.home.path().join("away.git"), self.bare()).expect("a remote that was taken away");
    }

    /// Settings of a gate that takes its rules from it.
    pub fn settings(&self, more: &str) -> String {
        format!("rules: {{git: {}, ref: main, path: rules, interval_seconds: 1{more}}}\n", self.bare().display())
    }

    pub fn gate(&self, more: &str, data: Option<PathBuf>) -> Gate {
        let config = Some(self.settings(more));
        Gate::start(GateOptions { rules: PathBuf::new(), config, data, ..GateOptions::default() })
    }
}
