//! Every query of every dashboard, asked of a real Prometheus that scrapes real gates under traffic.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::harness::{
    Gate, GateOptions, GitRemote, Http, Kinesis, Prometheus, Put, bad_parcel, copy_tree, free_port, good_parcel,
    parcels_rules, repository, wait_until,
};

fn dashboards() -> Vec<(PathBuf, Value)> {
    let files = std::fs::read_dir(repository().join("dashboards")).expect("a directory of dashboards");
    let paths =
        files.map(|f| f.expect("a readable entry").path()).filter(|p| p.extension().is_some_and(|e| e == "json"));
    let read = |path: PathBuf| {
        let text = std::fs::read(&path).expect("a readable dashboard");
        let dashboard = serde_json::from_slice(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        (path, dashboard)
    };
    let dashboards: Vec<_> = paths.map(read).collect();
    assert!(!dashboards.is_empty(), "no dashboard in dashboards/");
    dashboards
}

/// Panels with data; rows only group them.
fn panels(dashboard: &Value) -> Vec<&Value> {
    let all = dashboard["panels"].as_array().expect("panels");
    let nested = all.iter().flat_map(|p| p["panels"].as_array().into_iter().flatten());
    all.iter().chain(nested).filter(|p| p["type"] != "row").collect()
}

/// The query as Grafana sends it: variables at "All", intervals of a few scrapes.
fn expanded(expression: &str) -> String {
    let query = expression
        .replace("$__rate_interval", "10s")
        .replace("$__range", "30s")
        .replace("$domain", ".*")
        .replace("$contract", ".*");
    assert!(!query.contains('$'), "a variable that this test does not know: {query}");
    query
}

#[test]
fn each_panel_can_be_read_without_asking_anyone() {
    for (path, dashboard) in dashboards() {
        let name = path.display();
        assert!(dashboard["uid"].as_str().is_some_and(|uid| !uid.is_empty()), "{name}: no uid");
        assert!(dashboard["schemaVersion"].as_u64().is_some_and(|v| v >= 39), "{name}: not of Grafana 11");
        let mut ids = std::collections::BTreeSet::new();
        for panel in panels(&dashboard) {
            let title = panel["title"].as_str().unwrap_or_default();
            assert!(!title.is_empty(), "{name}: a panel without a title");
            assert!(ids.insert(panel["id"].as_u64()), "{name}: {title}: an id used twice");
            assert!(panel["description"].as_str().is_some_and(|d| d.len() > 20), "{name}: {title}: no description");
            assert!(panel["fieldConfig"]["defaults"]["unit"].is_string(), "{name}: {title}: no unit");
            assert_eq!(panel["datasource"]["uid"], "${datasource}", "{name}: {title}: a data source of its own");
            assert!(panel["targets"].as_array().is_some_and(|t| !t.is_empty()), "{name}: {title}: no query");
        }
    }
}

/// Checks that remember, and a breaker that opens under this traffic.
const REMEMBERS: &str = "
stream:
  - {id: unique, type: duplicateValues, key: [event.id], window: 1h, on_fail: warn}
  - {id: volume, type: rowCount, window: 1s, mustBeGreaterThan: 1000}
  - {id: weights, type: distinctCount, key: [this.weight], window: 1s, mustBeLessThan: 1}
breaker: {maxQuarantineRatio: 0.5, window: 2s, minEvents: 20, action: forward}
";

/// Good, bad, shadowed, malformed and unknown events until told to stop.
fn traffic(address: SocketAddr, stop: &AtomicBool) {
    let mut kinesis = Kinesis::new(address);
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let id = number.to_string();
        let puts = [
            good_parcel(&id),
            bad_parcel(&id),
            r#"{"type":"parcel.sent","data":{"recipient":"","weight":99}}"#.into(),
            r#"{"type":"parcel.sent","data":{"weight":"heavy"}}"#.into(),
            r#"{"type":"parcel.lost"}"#.into(),
            "{".into(),
        ];
        let puts: Vec<_> = puts.into_iter().map(|data| Put::new(data, &id)).collect();
        // A gate whose sinks are down answers too, and that is traffic as well.
        let _ = kinesis.put_records("parcels", &puts);
        thread::sleep(Duration::from_millis(50));
    }
}

/// A gate whose sinks are down: the source of failures and retries.
fn gate_without_sinks(more: &str) -> Gate {
    let dead = format!("http://127.0.0.1:{}", free_port());
    let config = format!(
        "backend: aws\naws: {{region: us-east-1, kinesis_endpoint: \"{dead}\", sqs_endpoint: \"{dead}\"}}\n\
         dead_letters: {{s3: {{bucket: meshgate-letters}}}}\n\
         retry: {{attempts: 3, deadline_seconds: 1}}\nroutes: [{{source: parcels}}]\n{more}"
    );
    let environment = [("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
    Gate::start(GateOptions { config: Some(config), environment: environment.into(), ..GateOptions::default() })
}

#[test]
fn every_query_of_every_panel_returns_data() {
    let home = tempfile::tempdir().expect("a temporary directory");
    let rules = home.path().join("rules");
    copy_tree(&parcels_rules(), &rules);
    let candidate = home.path().join("candidate");
    copy_tree(&parcels_rules(), &candidate);
    let contract = rules.join("parcels/parcel.sent.yaml");
    let written = std::fs::read_to_string(&contract).expect("the contract");
    std::fs::write(&contract, format!("{written}{REMEMBERS}")).expect("a writable file");
    let stricter = written.replace("this.weight > 0.0", "this.weight > 5.0");
    std::fs::write(candidate.join("parcels/parcel.sent.yaml"), stricter).expect("a writable file");
    let config = format!("rules: {{candidate: {}}}\nrules_watch_seconds: 0\nnotices: {{}}\n", candidate.display());
    let healthy = Gate::start(GateOptions { rules: rules.clone(), config: Some(config), ..GateOptions::default() });
    let ailing = gate_without_sinks("");
    let spooling = gate_without_sinks("spool: {size_mib: 8}\n");
    let remote = GitRemote::new();
    let fetching = remote.gate("", None);
    let Some(prometheus) = Prometheus::scraping(&[healthy.admin, ailing.admin, spooling.admin, fetching.admin]) else {
        return;
    };
    let stop = Arc::new(AtomicBool::new(false));
    let producers = [healthy.listen, ailing.listen, spooling.listen].map(|address| {
        let stop = Arc::clone(&stop);
        thread::spawn(move || traffic(address, &stop))
    });
    prometheus.wait_for("sum(rate(meshgate_breaker_events_total[10s])) > 0");
    // A domain that no longer compiles: its last good rules stay in force, and the dashboard says so.
    std::fs::write(rules.join("parcels/parcel.sent.yaml"), "kind: EventContract\n").expect("a writable file");
    let reload = Http::connect(healthy.admin).and_then(|mut admin| admin.send("POST", "/reload", &[], b""));
    assert_eq!(reload.expect("an answer").status, 409);

    prometheus.wait_for("sum(rate(meshgate_events_total{verdict=\"forward\"}[10s])) > 0");
    prometheus.wait_for("sum(rate(meshgate_sink_retries_total[10s])) > 0");
    for (path, dashboard) in dashboards() {
        for variable in dashboard["templating"]["list"].as_array().into_iter().flatten() {
            check_variable(&prometheus, variable);
        }
        for panel in panels(&dashboard) {
            for target in panel["targets"].as_array().into_iter().flatten() {
                let query = expanded(target["expr"].as_str().expect("a query"));
                let place = format!("{}: {}: {query}", path.display(), panel["title"]);
                wait_until(&place, Duration::from_secs(10), || {
                    let series = prometheus.query(&query).unwrap_or_else(|error| panic!("{place}: {error}"));
                    // NaN is what a quantile or a ratio of nothing gives: no data either.
                    series.iter().any(|s| s["value"][1] != "NaN").then_some(())
                });
            }
        }
    }
    assert_eq!(prometheus.query("max(meshgate_rules_stale)").expect("a result")[0]["value"][1], "1");

    stop.store(true, Ordering::Relaxed);
    for producer in producers {
        producer.join().expect("a producer ends when told");
    }
}

/// A variable offers values: its query is `label_values(selector, label)`.
fn check_variable(prometheus: &Prometheus, variable: &Value) {
    let name = variable["name"].as_str().expect("a name");
    if variable["type"] == "datasource" {
        return;
    }
    let query = variable["query"]["query"].as_str().or(variable["query"].as_str()).expect("a query");
    let inner = query.strip_prefix("label_values(").and_then(|q| q.strip_suffix(')')).expect("label_values(…)");
    let (selector, label) = inner.rsplit_once(',').expect("a selector and a label");
    let values = prometheus.label_values(&expanded(selector), label.trim());
    assert!(!values.is_empty(), "the variable {name} offers nothing: {query}");
}
