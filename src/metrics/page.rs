//! `docs/metrics.md`, made from the definitions.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use expect_test::expect_file;

use super::{FAMILIES, Family, LABELS, Metrics};
use crate::model::ViolationKind;

const HEAD: &str = "\
# Metrics

`GET /metrics` on the admin port is Prometheus text (version 0.0.4). This page is made from `src/metrics.rs`, where all of them are
defined: `UPDATE_EXPECT=1 cargo test --lib metrics` writes it anew.

Label values come from settings, rule files and fixed lists, never from what clients send, so that the number of series is bounded by what is
deployed. Counters of a domain, contract or rule that is taken away stay until the gate restarts, as Prometheus expects; its gauges go.
Those of events begin at 0 when a contract is loaded, so that a rate sees the first one.

";

const SCORES: &str = "\
## Scores

The share of good events of each contract, and by dimension of data quality, over five minutes:

```promql
sum by (domain, contract) (rate(meshgate_events_total{verdict=\"forward\"}[5m])) / sum by (domain, contract) (rate(meshgate_events_total[5m]))

1 - sum by (domain, contract, dimension) (rate(meshgate_events_failing_total[5m]))
  / on (domain, contract) group_left () sum by (domain, contract) (rate(meshgate_events_total[5m]))
```

An event counts once in a dimension, whatever number of its rules it breaks, so a score is a share of events. Add `severity=\"error\"` to leave
warnings out.

Checks that measure windows speak of no single event; what they find has a dimension too:

```promql
1 - max by (domain, contract, dimension) (meshgate_stream_check_failing)
```

";

fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

fn row(family: &Family) -> String {
    let labels = family.labels.join(", ");
    format!("| `{}` | {} | {labels} | {} |\n", family.name, family.kind, cell(family.help))
}

fn page() -> String {
    let mut page = HEAD.to_owned();
    let mut section = "";
    for family in FAMILIES {
        if family.section != section {
            section = family.section;
            let gap = if page == HEAD { "" } else { "\n" };
            write!(page, "{gap}## {section}\n\n| metric | type | labels | what it says |\n| --- | --- | --- | --- |\n")
                .unwrap();
        }
        page.push_str(&row(family));
    }
    page.push_str("| `process_*` | | | CPU, memory, open files, start time of the process, as Prometheus' clients name them |\n\n");
    page.push_str(SCORES);
    page.push_str("## Labels\n\n| label | its values |\n| --- | --- |\n");
    let kinds: Vec<String> = ViolationKind::ALL.iter().map(|kind| format!("`{kind}`")).collect();
    for (label, values) in LABELS {
        writeln!(page, "| {label} | {} |", values.replace("KINDS", &kinds.join(", "))).unwrap();
    }
    page.push_str("\n## Buckets\n\n| histogram | upper bounds in seconds |\n| --- | --- |\n");
    for family in FAMILIES.iter().filter(|family| family.kind == "histogram") {
        let bounds: Vec<String> = family.buckets.iter().map(ToString::to_string).collect();
        writeln!(page, "| `{}` | {} |", family.name, bounds.join(", ")).unwrap();
    }
    page
}

#[test]
fn the_catalogue_is_what_is_defined() {
    expect_file!["../../docs/metrics.md"].assert_eq(&page());
}

#[test]
fn each_label_is_explained_and_no_other() {
    let used: BTreeSet<&str> = FAMILIES.iter().flat_map(|family| family.labels).copied().collect();
    let explained: Vec<&str> = LABELS.iter().map(|(label, _)| *label).collect();
    assert_eq!(used.into_iter().collect::<Vec<_>>(), explained);
}

/// Prometheus' conventions, as its documentation has them ("Metric and label naming").
#[test]
fn names_follow_the_conventions() {
    let _all_can_be_made = Metrics::new();
    for Family { name, kind, labels, buckets, help, .. } in FAMILIES {
        assert!(name.starts_with("meshgate_"), "{name}");
        assert_eq!(*kind == "counter", name.ends_with("_total"), "{name} is a {kind}");
        assert_eq!(*kind == "histogram", !buckets.is_empty(), "{name}");
        assert!(buckets.is_sorted(), "{name}");
        assert!(help.ends_with('.') && help.len() < 200, "{name}: {help}");
        assert!(!labels.contains(&"le") && !labels.contains(&"instance") && !labels.contains(&"job"), "{name}");
    }
}
