//! The hooks of `.pre-commit-hooks.yaml`, run by pre-commit as the guide configures them.

use std::path::PathBuf;

use tempfile::TempDir;

use crate::diff::{change, git};
use crate::harness::{Tool, binary, copy_tree, parcels_rules, repository, run, temporary, tool};

const CONTRACT: &str = "contracts/parcels/parcel.sent.yaml";
const SCHEMA: &str = "contracts/parcels/schemas/parcel.sent.v1.json";

/// pre-commit in a repository of rules, with the hooks of a repository that holds ours.
struct Hooks {
    home: TempDir,
}

impl Hooks {
    fn new() -> Self {
        let home = temporary();
        let (ours, theirs) = (home.path().join("meshgate"), home.path().join("theirs"));
        std::fs::create_dir(&ours).expect("a directory");
        std::fs::copy(repository().join(".pre-commit-hooks.yaml"), ours.join(".pre-commit-hooks.yaml")).expect("hooks");
        git(&ours, &["init", "-q", "-b", "main"]);
        git(&ours, &["add", "."]);
        git(&ours, &["commit", "-q", "-m", "hooks"]);
        copy_tree(&parcels_rules(), &theirs.join("contracts"));
        std::fs::write(theirs.join("README.md"), "rules\n").expect("a file");
        let rev = git(&ours, &["rev-parse", "HEAD"]);
        // What the guide says, for this repository, directory and branch.
        let guide = std::fs::read_to_string(repository().join("docs/rule-ci.md")).expect("a guide");
        let config =
            guide.split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next()).expect("a configuration");
        let config = config
            .replace("https://github.com/your-organisation/meshgate", ours.to_str().expect("a printable path"))
            .replace(&"0".repeat(40), &rev)
            .replace("check\n", "check\n        args: [contracts]\n")
            .replace("test\n", "test\n        args: [contracts]\n")
            .replace("diff\n", "diff\n        args: [main, contracts]\n");
        std::fs::write(theirs.join(".pre-commit-config.yaml"), config).expect("a file");
        git(&theirs, &["init", "-q", "-b", "main"]);
        git(&theirs, &["add", "."]);
        git(&theirs, &["commit", "-q", "-m", "rules"]);
        git(&theirs, &["switch", "-q", "-c", "topic"]);
        Self { home }
    }

    fn theirs(&self) -> PathBuf {
        self.home.path().join("theirs")
    }

    /// Runs pre-commit on what is staged; its exit code and what it said.
    fn run(&self, arguments: &[&str]) -> (Option<i32>, String) {
        git(&self.theirs(), &["add", "."]);
        let mut pre_commit = tool(Tool::PreCommit).expect("asked before");
        let path = std::env::var("PATH").expect("a PATH");
        pre_commit.env("PATH", format!("{}:{path}", binary().parent().expect("a directory").display()));
        pre_commit.env("PRE_COMMIT_HOME", self.home.path().join("cache")).env("HOME", self.home.path());
        pre_commit.env_remove("GITHUB_ACTIONS").args(["run", "--color=never"]).args(arguments);
        let output = run(pre_commit.current_dir(self.theirs()));
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        (output.status.code(), said)
    }
}

#[test]
fn pre_commit_holds_up_what_is_wrong_and_nothing_else() {
    if tool(Tool::PreCommit).is_none() {
        return;
    }
    let hooks = Hooks::new();
    let theirs = hooks.theirs();
    let (code, said) = hooks.run(&["--all-files"]);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(said.matches("Passed").count(), 2, "diff is for pushes: {said}");

    // Nothing that concerns rules.
    change(&theirs, "README.md", "rules", "our rules");
    let (code, said) = hooks.run(&[]);
    assert!(code == Some(0) && said.matches("Skipped").count() == 2, "{said}");

    // A schema alone: what it breaks is in another file.
    change(&theirs, SCHEMA, "\"weight\"", "\"mass\"");
    let (code, said) = hooks.run(&[]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("exit code: 1") && said.contains("contracts/parcels/parcel.sent.yaml:28:"), "{said}");
    git(&theirs, &["checkout", "-q", "HEAD", "--", SCHEMA]);
    change(&theirs, CONTRACT, "this.weight < 30.0", "this.weight < 30.0 kg");
    let (code, said) = hooks.run(&["meshgate-check"]);
    assert!(code == Some(1) && said.contains("error[bad-expression]"), "{said}");

    git(&theirs, &["checkout", "-q", "HEAD", "--", CONTRACT]);
    change(&theirs, CONTRACT, "violations: [weight_is_positive]", "violations: [heavy]");
    let (code, said) = hooks.run(&[]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("FAIL  quarantine  a parcel of nothing"), "{said}");

    git(&theirs, &["checkout", "-q", "HEAD", "--", CONTRACT]);
    change(&theirs, CONTRACT, "    severity: warning\n    mode: shadow", "    severity: error");
    let (code, said) = hooks.run(&[]);
    assert_eq!(code, Some(0), "stricter is no fault: {said}");
    let (code, said) = hooks.run(&["--hook-stage=pre-push", "--all-files"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("write 2.0.0 or higher"), "{said}");
}
