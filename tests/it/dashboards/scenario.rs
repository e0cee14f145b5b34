//! Every query of every dashboard, and every rule, asked of a real Prometheus that scrapes real gates under traffic.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde_json::{Value, json};

use super::{dashboards, file, panels, queries};
use crate::harness::{
    Collector, Door, Emulator, Gate, GateOptions, GitRemote, Http, Kinesis, Prometheus, Put, bad_parcel, copy_tree,
    free_port, good_parcel, parcels_rules, run, temporary, wait_until,
};

const PATIENCE: Duration = Duration::from_secs(30);

/// Checks that remember, and a breaker that opens under this traffic.
const REMEMBERS: &str = "
stream:
  - {id: unique, type: duplicateValues, key: [event.id], window: 1h, on_fail: warn}
  - {id: volume, type: rowCount, window: 1s, mustBeGreaterThan: 1000}
  - {id: weights, type: distinctCount, key: [this.weight], window: 1s, mustBeLessThan: 1}
breaker: {maxQuarantineRatio: 0.5, window: 2s, minEvents: 20, action: forward}
";

/// The query as Grafana sends it: variables at "All", intervals of a few scrapes.
fn expanded(expression: &str) -> String {
    let query = expression
        .replace("$__rate_interval", "10s")
        .replace("$__range", "30s")
        .replace("$domain", ".*")
        .replace("$contract", ".*")
        .replace("$instance", ".*");
    assert!(!query.contains('$'), "a variable that this test does not know: {query}");
    query
}

/// Producers, until they are told to stop.
struct Traffic {
    stop: Arc<AtomicBool>,
    producers: Vec<JoinHandle<()>>,
}

impl Traffic {
    fn new() -> Self {
        Self { stop: Arc::new(AtomicBool::new(false)), producers: Vec::new() }
    }

    /// Sends these events again and again, each time with another number for an id.
    fn to(&mut self, address: SocketAddr, stream: &'static str, events: impl Fn(&str) -> Vec<String> + Send + 'static) {
        let stop = Arc::clone(&self.stop);
        self.producers.push(thread::spawn(move || {
            let mut kinesis = Kinesis::new(address);
            for number in 0.. {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let id = number.to_string();
                let puts: Vec<_> = events(&id).into_iter().map(|data| Put::new(data, &id)).collect();
                // A gate whose sinks are down answers too, and that is traffic as well.
                let _ = kinesis.put_records(stream, &puts);
                thread::sleep(Duration::from_millis(100));
            }
        }));
    }

    /// Opens the door and shuts it again and again, so that a spool before it drains and fills.
    fn through(&mut self, door: Door) {
        let stop = Arc::clone(&self.stop);
        self.producers.push(thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                door.open();
                thread::sleep(Duration::from_secs(3));
                door.shut();
                thread::sleep(Duration::from_secs(3));
            }
        }));
    }

    fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        for producer in self.producers {
            producer.join().expect("a producer ends when told");
        }
    }
}

/// Good, bad, shadowed, malformed and unknown events.
fn parcels(id: &str) -> Vec<String> {
    vec![
        good_parcel(id),
        bad_parcel(id),
        r#"{"type":"parcel.sent","data":{"recipient":"","weight":99}}"#.into(),
        r#"{"type":"parcel.sent","data":{"weight":"heavy"}}"#.into(),
        r#"{"type":"parcel.lost"}"#.into(),
        "{".into(),
    ]
}

/// Events of which a MiB is soon full.
fn large_parcels(id: &str) -> Vec<String> {
    vec![good_parcel(id).replace("Ada", &"x".repeat(100_000)), bad_parcel(id)]
}

/// A change of an item of an outbox that means no event, and one that is one.
fn changes(id: &str) -> Vec<String> {
    let change = |name: &str| {
        let item = json!({
            "id": {"S": id}, "type": {"S": "parcel.sent"}, "aggregateid": {"S": id},
            "payload": {"S": r#"{"recipient":"Ada","weight":1.5}"#},
        });
        json!({
            "awsRegion": "us-east-1", "eventID": id, "eventName": name, "userIdentity": null, "tableName": "outbox",
            "recordFormat": "application/json", "eventSource": "aws:dynamodb",
            "dynamodb": {
                "ApproximateCreationDateTime": 1_795_341_604_000_i64, "Keys": {"id": {"S": id}}, "NewImage": item,
                "SizeBytes": 99,
            },
        })
        .to_string()
    };
    vec![change("INSERT"), change("MODIFY")]
}

/// Far ends that work, and gates of all kinds before them and before others that do not.
struct Fleet {
    /// On the embedded store, with checks that remember, a breaker, a candidate and notices.
    healthy: Gate,
    /// Its far ends are away.
    ailing: Gate,
    /// The same with a spool, and a door to a far end.
    spooling: Gate,
    /// Its rules are in a git remote.
    fetching: Gate,
    /// Reads the shards of a stream, takes an outbox, archives its letters.
    reading: Gate,
    /// Shut at first.
    door: Option<Door>,
    rules: PathBuf,
    _remote: GitRemote,
    _far_ends: (Emulator, Emulator),
}

fn aws_gate(config: String) -> Gate {
    let environment =
        [("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test"), ("AWS_EC2_METADATA_DISABLED", "true")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()));
    Gate::start(GateOptions { config: Some(config), environment: environment.into(), ..GateOptions::default() })
}

/// What every gate on AWS is told. A far end that is down is given up soon.
fn far_ends(kinesis: &str, others: &str) -> String {
    format!(
        "backend: aws\n\
         aws: {{region: us-east-1, kinesis_endpoint: \"{kinesis}\", sqs_endpoint: \"{others}\", s3_endpoint: \"{others}\"}}\n\
         retry: {{attempts: 3, deadline_seconds: 1}}\n"
    )
}

impl Fleet {
    /// `None` where the emulators are not installed.
    fn start(home: &Path) -> Option<Self> {
        let kinesis = Emulator::kinesis_local("parcels-raw:2,parcels-mesh:2")?;
        let aws = Emulator::ministack()?;
        aws.create_stream("parcels-mesh", 1);
        aws.create_queue("meshgate-dlq");
        aws.create_queue("parcels-dlq");
        aws.create_bucket("meshgate-letters");

        let (rules, candidate) = (home.join("rules"), home.join("candidate"));
        copy_tree(&parcels_rules(), &rules);
        copy_tree(&parcels_rules(), &candidate);
        let contract = "parcels/parcel.sent.yaml";
        let written = std::fs::read_to_string(rules.join(contract)).expect("the contract");
        std::fs::write(rules.join(contract), format!("{written}{REMEMBERS}")).expect("a writable file");
        let stricter = written.replace("this.weight > 0.0", "this.weight > 5.0");
        std::fs::write(candidate.join(contract), stricter).expect("a writable file");
        let collector = Collector::start()?;
        let config = format!(
            "rules: {{candidate: {}}}\nrules_watch_seconds: 0\nnotices: {{}}\ntracing: {{otlp: \"{}\"}}\n",
            candidate.display(),
            collector.endpoint()
        );

        let nobody = format!("http://127.0.0.1:{}", free_port());
        let door = Door::to(aws.address);
        door.shut();
        let remote = GitRemote::new();
        let routes = "dlq: nowhere\ndead_letters: {s3: {bucket: meshgate-letters, archive: true}}\nroutes: [{source: parcels, mesh: parcels-mesh}]\n";
        let spool = "spool: {size_mib: 1}\nroutes: [{source: parcels, mesh: parcels-mesh}]\n";
        let reads = "dlq: parcels-dlq\ndead_letters: {s3: {bucket: meshgate-letters, archive: true}}\n\
                     routes: [{source: parcels-raw, mesh: parcels-mesh}, {source: parcels-outbox, mesh: parcels-mesh, outbox: {}}]\n\
                     streams: [{source: parcels-raw, leases: {backend: local, failover_seconds: 2}, poll_milliseconds: 200}]\n";
        Some(Self {
            healthy: Gate::start(GateOptions { rules: rules.clone(), config: Some(config), ..GateOptions::default() }),
            ailing: aws_gate(format!("{}{routes}", far_ends(&nobody, &nobody))),
            spooling: aws_gate(format!("{}{spool}", far_ends(&door.endpoint(), &door.endpoint()))),
            fetching: remote.gate("", None),
            reading: aws_gate(format!("{}{reads}", far_ends(&kinesis.endpoint(), &aws.endpoint()))),
            door: Some(door),
            rules,
            _remote: remote,
            _far_ends: (kinesis, aws),
        })
    }

    fn kinesis(&self) -> SocketAddr {
        self._far_ends.0.address
    }

    fn gates(&self) -> [&Gate; 5] {
        [&self.healthy, &self.ailing, &self.spooling, &self.fetching, &self.reading]
    }

    /// Letters of the embedded store are replayed, and what became of them is where a node exporter shows it.
    fn replayed(&self, home: &Path) -> SocketAddr {
        let written = home.join("replay.prom");
        let mut replay = self.healthy.command(&["dlq", "replay", "--limit", "50"]);
        let output = run(replay.arg("--metrics").arg(&written).arg("--rules").arg(parcels_rules()));
        let text = std::fs::read_to_string(&written)
            .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&output.stderr)));
        assert!(text.contains("meshgate_replayed_total{"), "{text}");
        let exporter = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = exporter.local_addr().expect("an address");
        thread::spawn(move || {
            for mut client in exporter.incoming().map_while(Result::ok) {
                let _ = client.read(&mut [0; 4096]);
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", text.len());
                let _ = client.write_all(format!("{head}{text}").as_bytes());
            }
        });
        address
    }
}

#[test]
fn every_query_of_every_panel_returns_data_and_every_rule_can_be_evaluated() {
    let home = temporary();
    let Some(mut fleet) = Fleet::start(home.path()) else { return };
    let mut traffic = Traffic::new();
    traffic.to(fleet.healthy.listen, "parcels", parcels);
    traffic.to(fleet.ailing.listen, "parcels", parcels);
    traffic.to(fleet.spooling.listen, "parcels", large_parcels);
    traffic.to(fleet.reading.listen, "parcels-outbox", changes);
    traffic.to(fleet.kinesis(), "parcels-raw", parcels);
    wait_until("letters", PATIENCE, || {
        (fleet.healthy.metric("meshgate_events_total", &[r#"verdict="quarantine""#]) > 5.0).then_some(())
    });
    let mut targets = fleet.gates().map(|gate| gate.admin).to_vec();
    targets.push(fleet.replayed(home.path()));
    let (recording, alerts) = (file("rules.yaml"), file("alerts.yaml"));
    let Some(prometheus) = Prometheus::scraping(&targets, &[&recording, &alerts]) else { return };
    wait_until("a full spool", PATIENCE, || {
        (fleet.spooling.metric("meshgate_spool_refused_total", &[]) > 0.0).then_some(())
    });
    traffic.through(fleet.door.take().expect("it is still there"));
    prometheus.wait_for("sum(rate(meshgate_breaker_events_total[10s])) > 0");
    // A domain that no longer compiles: its last good rules stay in force, and the dashboard says so.
    std::fs::write(fleet.rules.join("parcels/parcel.sent.yaml"), "kind: EventContract\n").expect("a writable file");
    let reload = Http::connect(fleet.healthy.admin).and_then(|mut admin| admin.send("POST", "/reload", &[], b""));
    assert_eq!(reload.expect("an answer").status, 409);

    prometheus.wait_for("sum(rate(meshgate_events_total{verdict=\"forward\"}[10s])) > 0");
    prometheus.wait_for("sum(rate(meshgate_sink_retries_total[10s])) > 0");
    for (name, dashboard) in dashboards() {
        for variable in dashboard["templating"]["list"].as_array().into_iter().flatten() {
            check_variable(&prometheus, variable);
        }
        for annotation in dashboard["annotations"]["list"].as_array().expect("annotations") {
            check_annotation(&prometheus, annotation);
        }
        for panel in panels(&dashboard) {
            for query in queries(panel) {
                check_query(&prometheus, name, panel["title"].as_str().expect("a title"), query);
            }
        }
    }
    assert_eq!(prometheus.query("max(meshgate_rules_stale)").expect("a result")[0]["value"][1], "1");
    check_rules(&prometheus);
    traffic.end();
}

/// What nothing of the scenario makes other than 0, and which is still to be there: nothing goes wrong that much, or for that long.
const QUIET: [&str; 9] = [
    "Contracts within their SLO",
    "Breakers that opened",
    "Connections refused",
    "Keys forgotten early",
    "Restarts",
    "Restarts by gate",
    "Shard lag",
    "Shards that nobody reads",
    "Shards that stand still",
];

fn check_query(prometheus: &Prometheus, dashboard: &str, title: &str, query: &str) {
    let query = expanded(query);
    let place = format!("{dashboard}: {title}: {query}");
    let may_be_zero = QUIET.contains(&title) || query.contains("meshgate_spool_aside");
    wait_until(&place, PATIENCE, || {
        let series = prometheus.query(&query).unwrap_or_else(|error| panic!("{place}: {error}"));
        // NaN is what a quantile or a ratio of nothing gives: no data either.
        let is_data = |value: &Value| value != "NaN" && (may_be_zero || value != "0");
        series.iter().any(|s| is_data(&s["value"][1])).then_some(())
    });
}

/// A variable offers values: its query is `label_values(selector, label)`.
fn check_variable(prometheus: &Prometheus, variable: &Value) {
    let name = variable["name"].as_str().expect("a name");
    if variable["type"] == "datasource" {
        return;
    }
    let query = variable["query"]["query"].as_str().expect("a query");
    let inner = query.strip_prefix("label_values(").and_then(|q| q.strip_suffix(')')).expect("label_values(…)");
    let (selector, label) = inner.rsplit_once(',').expect("a selector and a label");
    let values = prometheus.label_values(&expanded(selector), label.trim());
    assert!(!values.is_empty(), "the variable {name} offers nothing: {query}");
}

/// An annotation's value is a moment of this test, in milliseconds, and its series has the labels that its text names.
fn check_annotation(prometheus: &Prometheus, annotation: &Value) {
    assert_eq!(annotation["useValueForTime"], true);
    let query = expanded(annotation["expr"].as_str().expect("a query"));
    let series = prometheus.query(&query).expect("a result");
    assert!(!series.is_empty(), "{query}");
    let now =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_millis() as f64;
    for one in series {
        let at: f64 = one["value"][1].as_str().and_then(|text| text.parse().ok()).expect("a number");
        assert!(at <= now && at > now - 600_000.0, "{at} is not within the last minutes before {now}");
        for label in ["domain", "revision"] {
            assert!(one["metric"][label].is_string(), "{query}: no {label}");
            let formats = format!("{}{}", annotation["titleFormat"], annotation["textFormat"]);
            assert!(formats.contains(&format!("{{{{{label}}}}}")), "{formats}");
        }
    }
}

/// Each rule is evaluated without an error, what is recorded has values, and what fires is told in words.
fn check_rules(prometheus: &Prometheus) {
    let rules = wait_until("all rules are evaluated", PATIENCE, || {
        let groups = prometheus.api("rules")["groups"].as_array().cloned().unwrap_or_default();
        let rules: Vec<Value> =
            groups.iter().flat_map(|g| g["rules"].as_array().cloned().unwrap_or_default()).collect();
        rules.iter().all(|rule| rule["health"] != "unknown").then_some(rules)
    });
    assert!(rules.len() > 40, "{}", rules.len());
    for rule in &rules {
        assert_eq!(rule["health"], "ok", "{rule:#}");
        if rule["type"] == "recording" {
            let name = rule["name"].as_str().expect("a name");
            assert!(!prometheus.query(name).expect("a result").is_empty(), "{name} has no value");
        }
    }
    let alerts = prometheus.api("alerts")["alerts"].as_array().cloned().expect("alerts");
    let state =
        |name: &str| alerts.iter().find(|alert| alert["labels"]["alertname"] == name).map(|alert| &alert["state"]);
    assert_eq!(state("MeshgateStreamCheckFailing"), Some(&json!("firing")), "{alerts:#?}");
    // For what these are true, it has not been for long enough.
    for name in ["MeshgateMeshUnreachable", "MeshgateDlqUnreachable", "MeshgateUnsettled", "MeshgateRulesStale"] {
        assert_eq!(state(name), Some(&json!("pending")), "{name}: {alerts:#?}");
    }
    for alert in &alerts {
        let told = alert["annotations"].to_string();
        assert!(!told.contains("error expanding") && !told.contains("no value"), "{alert:#}");
    }
    let checks = alerts.iter().find(|alert| alert["labels"]["alertname"] == "MeshgateStreamCheckFailing");
    let told = checks.expect("it fires")["annotations"]["description"].as_str().expect("words");
    assert!(told.contains("owner: parcels"), "{told}");
}
