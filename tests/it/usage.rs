//! What each command answers to the slips of the people who type it: an exit code, and what to do next.

use std::process::Command;

use crate::harness::{binary, parcels_rules, run, temporary};

/// Runs in an empty directory; gives the exit code and what was said on standard error.
fn told(arguments: &[&str]) -> (Option<i32>, String) {
    let home = temporary();
    let mut command = Command::new(binary());
    command.env_clear().args(arguments).current_dir(home.path());
    let output = run(&mut command);
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn a_directory_without_rules_is_told_and_not_called_good() {
    for command in [&["check", "."][..], &["test", "."], &["run", "--rules", "."]] {
        let (code, said) = told(command);
        assert_eq!(code, Some(2), "{command:?}: {said}");
        assert!(said.contains("holds no rule file"), "{command:?}: {said}");
    }
    let (code, said) = told(&["check", "nowhere"]);
    assert_eq!(code, Some(2));
    assert!(said.contains("nowhere") && !said.contains("--rules"), "check takes no --rules: {said}");
}

#[test]
fn a_log_filter_with_a_slip_is_refused() {
    for filter in ["loud", "info,h2=lout", "foo=[[bar"] {
        let (code, said) = told(&["run", "--log", filter, "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
        assert_eq!(code, Some(2), "{filter}: {said}");
        assert!(said.contains("--log"), "{said}");
    }
}

#[test]
fn judge_names_both_ways_to_find_a_contract() {
    let (code, said) = told(&["judge", "events.ndjson"]);
    assert_eq!(code, Some(2));
    assert!(said.contains("--stream") && said.contains("--contract"), "{said}");
}

#[test]
fn the_demo_accounts_for_every_event_and_names_only_what_is_still_there() {
    let home = temporary();
    let mut command = Command::new(binary());
    command.env_clear().current_dir(home.path()).args(["demo", "--once", "--events", "300"]);
    command.args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--rules"]).arg(parcels_rules());
    let output = run(&mut command);
    let out = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{out}\n{}", String::from_utf8_lossy(&output.stderr));
    let line = out.lines().find(|line| line.contains(" 300 sent")).expect("the last line of progress");
    let numbers: Vec<u64> = line.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    assert_eq!(numbers[0], numbers[1..].iter().sum::<u64>(), "forwarded, refused and dropped are all: {line}");
    assert!(!out.contains("curl"), "a gate that has ended answers no curl: {out}");
    assert!(out.contains(binary().to_str().expect("a printable path")), "commands as they can be typed: {out}");
}
