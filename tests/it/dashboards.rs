//! Dashboards, alerts and runbooks: made by their generator, valid by Grafana's and Prometheus' own tools, and true of a running fleet.

mod alerts;
mod scenario;

use std::collections::BTreeSet;
use std::path::PathBuf;

use expect_test::expect_file;
use meshgate::metrics::{FAMILIES, Metrics};
use serde_json::{Value, json};

use crate::harness::{Tool, node_modules, repository, run, temporary, tool};

const NAMES: [&str; 3] = ["domain-quality", "gate-health", "fleet"];

fn file(name: &str) -> PathBuf {
    repository().join("dashboards").join(name)
}

fn text(name: &str) -> String {
    std::fs::read_to_string(file(name)).unwrap_or_else(|error| panic!("dashboards/{name}: {error}"))
}

/// The dashboards as they are checked in.
fn dashboards() -> Vec<(&'static str, Value)> {
    let read = |name| serde_json::from_str(&text(&format!("{name}.json"))).unwrap_or_else(|e| panic!("{name}: {e}"));
    NAMES.into_iter().map(|name| (name, read(name))).collect()
}

/// Panels with data; rows only group them.
fn panels(dashboard: &Value) -> impl Iterator<Item = &Value> {
    dashboard["panels"].as_array().expect("panels").iter().filter(|panel| panel["type"] != "row")
}

/// The queries of a panel.
fn queries(panel: &Value) -> impl Iterator<Item = &str> {
    panel["targets"].as_array().into_iter().flatten().map(|target| target["expr"].as_str().expect("a query"))
}

/// Names of metrics and of what rules record, wherever they stand in a text.
fn metrics_in(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':'));
    words.filter(|word| ["meshgate_", "process_"].iter().any(|known| word.contains(known))).collect()
}

/// Every metric that a gate shows, its process' own too.
fn metrics() -> BTreeSet<String> {
    let shown = Metrics::new().render();
    let types = shown.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
    FAMILIES.iter().map(|family| family.name).chain(types).map(str::to_owned).collect()
}

/// Without what Prometheus adds to the name of a histogram.
fn base(metric: &str) -> &str {
    let histogram = |name: &&str| FAMILIES.iter().any(|family| family.kind == "histogram" && family.name == *name);
    let parts = ["_bucket", "_sum", "_count"].iter().filter_map(|part| metric.strip_suffix(part));
    parts.into_iter().find(histogram).unwrap_or(metric)
}

#[test]
fn each_panel_can_be_read_without_asking_anyone() {
    for (name, dashboard) in dashboards() {
        assert!(dashboard["uid"].as_str().is_some_and(|uid| uid.starts_with("meshgate-")), "{name}: no uid");
        assert!(dashboard["id"].is_null() && dashboard["__inputs"].is_null(), "{name}: of one installation");
        assert!(dashboard["schemaVersion"].as_u64().is_some_and(|v| v >= 39), "{name}: not of Grafana 11");
        let variables: Vec<_> = dashboard["templating"]["list"].as_array().expect("variables").iter().collect();
        assert_eq!(
            variables.iter().map(|v| &v["name"]).collect::<Vec<_>>(),
            ["datasource", "domain", "contract", "instance"]
        );
        assert!(variables[1..].iter().all(|v| v["multi"] == true && v["includeAll"] == true), "{name}");
        let mut ids = BTreeSet::new();
        for panel in panels(&dashboard) {
            let title = panel["title"].as_str().unwrap_or_default();
            assert!(!title.is_empty(), "{name}: a panel without a title");
            assert!(ids.insert(panel["id"].as_u64().expect("an id")), "{name}: {title}: an id used twice");
            assert!(panel["description"].as_str().is_some_and(|d| d.len() > 40), "{name}: {title}: no description");
            let defaults = &panel["fieldConfig"]["defaults"];
            assert!(defaults["unit"].is_string(), "{name}: {title}: no unit");
            assert!(
                defaults["thresholds"]["steps"].as_array().is_some_and(|s| !s.is_empty()),
                "{name}: {title}: no thresholds"
            );
            assert!(defaults["noValue"].is_string(), "{name}: {title}: nothing says what nothing means");
            assert_eq!(panel["datasource"]["uid"], "${datasource}", "{name}: {title}: a data source of its own");
            assert!(queries(panel).count() > 0, "{name}: {title}: no query");
            let place = &panel["gridPos"];
            let (x, width) = (place["x"].as_u64().expect("a place"), place["w"].as_u64().expect("a width"));
            assert!(x + width <= 24, "{name}: {title}: beyond the right edge");
        }
    }
}

#[test]
fn rows_are_full_to_the_right_edge() {
    for (name, dashboard) in dashboards() {
        let number = |panel: &Value, key: &str| panel["gridPos"][key].as_u64().expect("a number");
        let lines: BTreeSet<u64> = panels(&dashboard).map(|panel| number(panel, "y")).collect();
        for y in lines {
            let line = || panels(&dashboard).filter(|panel| number(panel, "y") == y);
            assert_eq!(line().map(|panel| number(panel, "w")).sum::<u64>(), 24, "{name}: the line at {y}");
            let heights: BTreeSet<u64> = line().map(|panel| number(panel, "h")).collect();
            assert_eq!(heights.len(), 1, "{name}: panels of different height in the line at {y}");
        }
    }
}

#[test]
fn every_metric_is_on_a_panel_and_every_panel_of_metrics_that_there_are() {
    let known = metrics();
    let dashboards = dashboards();
    let shown: BTreeSet<&str> = dashboards
        .iter()
        .flat_map(|(_, dashboard)| panels(dashboard))
        .flat_map(queries)
        .flat_map(metrics_in)
        .map(base)
        .collect();
    let missing: Vec<_> = known.iter().filter(|metric| !shown.contains(metric.as_str())).collect();
    assert!(missing.is_empty(), "on no panel: {missing:?}");
    let unknown: Vec<_> = shown.iter().filter(|metric| !known.contains(**metric)).collect();
    assert!(unknown.is_empty(), "no metric of a gate: {unknown:?}");
}

#[test]
fn the_dashboards_are_what_their_generator_writes() {
    let Some(mut node) = tool(Tool::FoundationSdk) else { return };
    let home = temporary();
    let output = run(node.arg(file("generate/main.js")).arg(home.path()));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for name in NAMES {
        let written = std::fs::read_to_string(home.path().join(format!("{name}.json"))).expect("a dashboard");
        expect_file![file(&format!("{name}.json"))].assert_eq(&written);
    }
}

/// The generator calls the builders rightly, and what is checked in is, key by key, what Grafana's types say.
#[test]
fn generator_and_dashboards_are_right_by_grafanas_types() {
    let (Some(mut node), Some(mut compiler)) = (tool(Tool::FoundationSdk), tool(Tool::TypeScript)) else { return };
    let home = temporary();
    let output = run(node.arg(file("generate/types.js")).args(NAMES.map(|name| file(&format!("{name}.json")))));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let types = home.path().join("types.ts");
    std::fs::write(&types, &output.stdout).expect("a writable directory");
    let generators =
        ["common", "domain-quality", "gate-health", "fleet"].map(|name| file(&format!("generate/{name}.js")));
    let settings = json!({
        "compilerOptions": {
            "noEmit": true, "strict": true, "allowJs": true, "checkJs": true, "skipLibCheck": true, "types": [],
            "module": "commonjs", "target": "es2022", "lib": ["es2022"],
            "paths": {"@grafana/grafana-foundation-sdk/*": [node_modules().join("@grafana/grafana-foundation-sdk/dist/*")]},
        },
        "files": generators.iter().chain([&types]).collect::<Vec<_>>(),
    });
    let project = home.path().join("tsconfig.json");
    std::fs::write(&project, settings.to_string()).expect("a writable directory");
    let output = run(compiler.arg("--project").arg(&project));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));

    // A key that Grafana does not know is found: the check is no formality.
    let wrong = std::fs::read_to_string(&types)
        .expect("a file")
        .replace("\"displayMode\":\"table\"", "\"displayMode\":\"tables\"");
    std::fs::write(&types, wrong).expect("a writable file");
    let mut compiler = tool(Tool::TypeScript).expect("it was there");
    assert!(!run(compiler.arg("--project").arg(&project)).status.success());
}
