//! `meshgate diff` in a real git repository: what a reviewer would be told of a branch.

use std::path::Path;
use std::process::Command;

use crate::harness::{binary, copy_tree, parcels_rules, run, temporary};

const CONTRACT: &str = "contracts/parcels/parcel.sent.yaml";
const SCHEMA: &str = "contracts/parcels/schemas/parcel.sent.v1.json";

pub fn git(home: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new("git");
    // Nobody's own settings: neither hooks nor signatures.
    command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_SYSTEM", "/dev/null");
    command.args(["-c", "user.name=t", "-c", "user.email=t@example.com"]).args(arguments).current_dir(home);
    let output = run(&mut command);
    assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Exit code, standard output, standard error.
fn diff(directory: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(binary());
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    let output = run(command.arg("diff").args(arguments).current_dir(directory));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

pub fn change(home: &Path, file: &str, from: &str, to: &str) {
    let path = home.join(file);
    let text = std::fs::read_to_string(&path).expect("a file");
    assert!(text.contains(from), "{from:?} is not in {text}");
    std::fs::write(path, text.replace(from, to)).expect("a writable file");
}

/// A repository whose rules, below its top, are committed and tagged `first`.
fn repository() -> tempfile::TempDir {
    let home = temporary();
    copy_tree(&parcels_rules(), &home.path().join("contracts"));
    git(home.path(), &["init", "-q", "-b", "main"]);
    git(home.path(), &["add", "."]);
    git(home.path(), &["commit", "-q", "-m", "rules"]);
    git(home.path(), &["tag", "first"]);
    home
}

#[test]
fn a_branch_is_compared_with_the_work_tree() {
    let home = repository();
    let home = home.path();
    let (code, out, err) = diff(home, &["first", "contracts"]);
    assert_eq!(code, Some(0), "{out}{err}");
    assert!(out.contains("1 unchanged; nothing to object to"), "{out}");

    // A new rule that decides, and the version left where it was. Not committed: the files as they are count.
    change(home, CONTRACT, "severity: warning\n    mode: shadow", "severity: error");
    let (code, out, err) = diff(home, &["first", "contracts"]);
    assert_eq!(code, Some(1), "{out}{err}");
    assert!(out.contains("rule heavy changed (mode, severity): may now quarantine"), "{out}");
    assert!(out.contains("write 2.0.0 or higher") && out.contains("-dirty"), "{out}");

    change(home, CONTRACT, "version: 1.0.0", "version: 2.0.0");
    git(home, &["commit", "-q", "-am", "stricter"]);
    let (code, out, err) = diff(home, &["HEAD~1", "contracts"]);
    assert_eq!(code, Some(0), "{out}{err}");

    // From inside the directory, and by the name of a tag.
    let (code, out, _) = diff(&home.join("contracts/parcels"), &["first", ".."]);
    assert_eq!(code, Some(0), "{out}");
    assert!(out.contains("parcels/parcel.sent changed, 1.0.0 to 2.0.0"), "{out}");

    // The schema, and what real events say of it.
    change(home, SCHEMA, "\"required\": [", "\"required\": [\"colour\", ");
    let event = r#"{"type":"parcel.sent","data":{"recipient":"Ada","weight":1.5}}"#;
    std::fs::write(home.join("events.ndjson"), format!("{event}\n{event}\n")).expect("a file");
    let sample = ["first", "contracts", "--sample", "events.ndjson", "--stream", "parcels", "--format", "json"];
    let (code, out, err) = diff(home, &[&sample[..], &["--allow", "none", "--fail-on-verdicts"]].concat());
    assert_eq!(code, Some(1), "{out}{err}");
    let lines: Vec<serde_json::Value> = out.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let of = |kind: &str| lines.iter().find(|line| line["kind"] == kind).unwrap_or_else(|| panic!("no {kind}: {out}"));
    assert_eq!(of("contract")["backward"]["obstacles"][0]["at"], "/colour");
    assert_eq!((&of("verdict")["rule"], &of("verdict")["events"]), (&"schema".into(), &2.into()));
    assert_eq!(of("verdict")["examples"], serde_json::json!(["line 1", "line 2"]));
    assert!(!out.contains("Ada"), "no value of an event is told: {out}");
}

#[test]
fn what_git_cannot_give_is_told() {
    let home = repository();
    let (code, _, err) = diff(home.path(), &["no-such-branch", "contracts"]);
    assert_eq!(code, Some(2));
    assert!(err.contains("no-such-branch") && err.contains("shallow"), "{err}");

    let elsewhere = temporary();
    copy_tree(&parcels_rules(), &elsewhere.path().join("rules"));
    let mut command = Command::new(binary());
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.env("GIT_CEILING_DIRECTORIES", elsewhere.path().parent().expect("a parent"));
    let output = run(command.args(["diff", "main"]).current_dir(elsewhere.path()));
    let err = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2));
    assert!(err.contains("no git repository") && err.contains("OLD_DIR NEW_DIR"), "{err}");

    let mut command = Command::new(binary());
    command.env_clear().env("PATH", home.path().join("nothing"));
    let output = run(command.args(["diff", "main", "contracts"]).current_dir(home.path()));
    let err = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2));
    assert!(err.contains("git cannot be run"), "{err}");
}

#[test]
fn rules_that_were_not_there_yet_are_all_new() {
    let home = repository();
    copy_tree(&parcels_rules(), &home.path().join("later"));
    let (code, out, err) = diff(home.path(), &["first", "later"]);
    assert_eq!(code, Some(0), "{out}{err}");
    assert!(out.contains("1 contract added") && err.contains("no rule files"), "{out}{err}");
    // And so two directories.
    let (code, out, err) = diff(home.path(), &["contracts", "later"]);
    assert_eq!(code, Some(0), "{out}{err}");
    assert!(out.contains("1 unchanged"), "{out}");
}
