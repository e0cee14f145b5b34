//! Alerts: checked and tested by Prometheus' own tool, each with a section in the runbooks.

use std::collections::BTreeSet;

use super::{base, file, metrics, metrics_in, text};
use crate::harness::{Tool, repository, run, tool};

/// An alert as it stands in the file: its name, and its lines.
fn alerts(rules: &str) -> Vec<(&str, &str)> {
    let blocks = rules.split("- alert: ").skip(1);
    blocks.map(|block| (block.lines().next().expect("a name"), block)).collect()
}

/// The value of a key that stands on one line of a block.
fn value<'a>(block: &'a str, key: &str) -> Option<&'a str> {
    block.lines().find_map(|line| line.trim().strip_prefix(key))
}

#[test]
fn each_alert_has_a_section_in_the_runbooks_and_each_section_an_alert() {
    let rules = text("alerts.yaml");
    let alerts = alerts(&rules);
    assert!(alerts.len() > 25, "{}", alerts.len());
    let page = std::fs::read_to_string(repository().join("docs/runbooks.md")).expect("the runbooks");
    let sections: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix("### ")).collect();
    assert_eq!(sections, alerts.iter().map(|(name, _)| *name).collect::<Vec<_>>(), "in the order of the file");
    for (name, block) in alerts {
        let anchor = format!("docs/runbooks.md#{}", name.to_lowercase());
        assert_eq!(value(block, "runbook_url: "), Some(&*anchor), "{name}");
        let severity = value(block, "labels: {severity: ").and_then(|rest| rest.strip_suffix('}'));
        assert!(severity.is_some_and(|s| ["page", "ticket", "info"].contains(&s)), "{name}: {severity:?}");
        assert!(value(block, "summary: ").is_some() && value(block, "description: ").is_some(), "{name}");
    }
    for section in page.split("\n### ").skip(1) {
        let name = section.lines().next().unwrap_or_default();
        for part in ["**Means.**", "**Who.**", "**Look.**", "**Mend.**", "**Meanwhile.**"] {
            assert!(section.contains(part), "{name} does not say: {part}");
        }
    }
}

#[test]
fn rules_ask_for_metrics_that_there_are() {
    let (recording, alerts) = (text("rules.yaml"), text("alerts.yaml"));
    let recorded: BTreeSet<&str> =
        recording.lines().filter_map(|line| line.trim().strip_prefix("- record: ")).collect();
    assert!(recorded.len() > 5);
    let known = metrics();
    // Groups have names too.
    let is_group = |word: &str| word.starts_with("meshgate-");
    for word in metrics_in(&recording).union(&metrics_in(&alerts)).filter(|word| !is_group(word)) {
        assert!(recorded.contains(word) || known.contains(base(word)), "no metric, and recorded by no rule: {word}");
    }
    for name in recorded {
        assert!(name.contains(':'), "{name}: what is recorded has its level in its name");
    }
}

#[test]
fn each_alert_is_tested_where_it_fires_and_where_it_does_not() {
    let files = std::fs::read_dir(file("tests")).expect("tests of rules");
    let tests: String =
        files.map(|entry| std::fs::read_to_string(entry.expect("an entry").path()).expect("a test of rules")).collect();
    for (name, _) in alerts(&text("alerts.yaml")) {
        let mine = || tests.split("- alertname: ").skip(1).filter(|block| block.lines().next() == Some(name));
        assert!(mine().any(|block| value(block, "exp_alerts: []").is_none()), "{name} fires in no test");
        assert!(mine().any(|block| value(block, "exp_alerts: []").is_some()), "no test in which {name} does not fire");
    }
}

#[test]
fn promtool_finds_the_rules_right_and_their_tests_pass() {
    let Some(mut promtool) = tool(Tool::Promtool) else { return };
    let output = run(promtool.args(["check", "rules"]).args(["rules.yaml", "alerts.yaml"].map(file)));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for entry in std::fs::read_dir(file("tests")).expect("tests of rules") {
        let mut promtool = tool(Tool::Promtool).expect("it was there");
        let output = run(promtool.args(["test", "rules"]).arg(entry.expect("an entry").path()));
        let said = [output.stdout, output.stderr].concat();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&said));
    }
}
