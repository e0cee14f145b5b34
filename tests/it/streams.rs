//! Checks that remember, breakers and candidates, on a gate as operators run it: with real retries, restarts and reloads.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{AwsError, Gate, GateOptions, Http, Put, Tool, repository, temporary, tool, wait_until};

const DOMAIN: &str = "apiVersion: meshgate/v1\nkind: Domain\nmetadata: {name: shop, owner: {team: shop}}\n";

/// Rules of one contract, `sold` on the stream `shop`, with this beside its head.
fn rules(home: &Path, name: &str, body: &str) -> PathBuf {
    let dir = home.join(name);
    std::fs::create_dir_all(dir.join("shop")).expect("a writable directory");
    std::fs::write(dir.join("shop/domain.yaml"), DOMAIN).expect("the same");
    write_contract(&dir, body);
    dir
}

fn write_contract(rules: &Path, body: &str) {
    let head = "apiVersion: meshgate/v1\nkind: EventContract\n\
                metadata: {domain: shop, name: sold, version: 1.0.0, status: active}\nmatch: {stream: shop, type: sold}\n";
    let beside = rules.join("shop/sold.new");
    std::fs::write(&beside, format!("{head}{body}")).expect("a writable directory");
    std::fs::rename(&beside, rules.join("shop/sold.yaml")).expect("the same directory");
}

fn start(rules: PathBuf, config: &str, data: Option<PathBuf>) -> Gate {
    Gate::start(GateOptions { rules, config: Some(config.to_owned()), data, ..GateOptions::default() })
}

fn sold(id: &str, number: i64) -> String {
    json!({"type": "sold", "id": id, "n": number}).to_string()
}

fn events(gate: &Gate, verdict: &str) -> f64 {
    gate.metric("meshgate_events_total", &[&format!("verdict=\"{verdict}\"")])
}

/// Puts one event; whether the gate says that it is settled.
fn put(gate: &Gate, event: &str) -> bool {
    let results = gate.kinesis().put_records("shop", &[Put::new(event, "k")]).expect("an answer");
    results[0]["ErrorCode"].is_null()
}

const UNIQUE: &str = "stream:\n  - {id: unique, type: duplicateValues, key: [event.id], window: 24h}\n";

#[test]
fn a_duplicate_is_refused_and_a_deploy_does_not_forget_it() {
    let home = temporary();
    let (rules, data) = (rules(home.path(), "rules", UNIQUE), home.path().join("meshgate.db"));
    let mut gate = start(rules.clone(), "", Some(data.clone()));
    assert!(put(&gate, &sold("a", 1)) && put(&gate, &sold("a", 2)) && put(&gate, &sold("b", 3)));
    assert_eq!((events(&gate, "forward"), events(&gate, "quarantine")), (2.0, 1.0));
    let violations = gate.metric("meshgate_violations_total", &[r#"rule="unique""#, r#"kind="duplicate""#]);
    assert_eq!(violations, 1.0);
    wait_until("the size of the memory", Duration::from_secs(10), || {
        (gate.metric("meshgate_state_entries", &[r#"rule="unique""#]) == 2.0).then_some(())
    });
    let shown = gate.admin("/checks").json();
    assert_eq!(shown["checks"][0]["keys"], json!({"entries": 2, "limit": 100_000, "evicted": 0}), "{shown}");
    gate.signal("TERM");
    assert!(gate.wait(Duration::from_secs(20)).success());

    let gate = start(rules, "", Some(data));
    assert!(gate.log().iter().any(|line| line.contains("was read back")), "{:?}", gate.log());
    assert!(put(&gate, &sold("a", 4)) && put(&gate, &sold("c", 5)));
    assert_eq!((events(&gate, "forward"), events(&gate, "quarantine")), (1.0, 1.0));
}

#[test]
fn a_snapshot_that_is_broken_is_told_and_forgotten() {
    let home = temporary();
    let (rules, data) = (rules(home.path(), "rules", UNIQUE), home.path().join("meshgate.db"));
    std::fs::write(home.path().join("meshgate.state"), b"not a snapshot").expect("a writable directory");
    let gate = start(rules, "", Some(data));
    assert!(gate.log().iter().any(|line| line.contains("could not be read back")), "{:?}", gate.log());
    assert!(put(&gate, &sold("a", 1)));
    assert_eq!(events(&gate, "forward"), 1.0);
}

#[test]
fn what_was_saved_before_a_kill_is_remembered() {
    let home = temporary();
    let (rules, data) = (rules(home.path(), "rules", UNIQUE), home.path().join("meshgate.db"));
    let gate = start(rules.clone(), "state: {snapshot_seconds: 1}\n", Some(data.clone()));
    assert!(put(&gate, &sold("a", 1)));
    let saved = || gate.metric("meshgate_state_snapshots_total", &[r#"outcome="written""#]);
    let before = saved();
    wait_until("two snapshots", Duration::from_secs(20), || (saved() >= before + 2.0).then_some(()));
    gate.signal("KILL");
    drop(gate);
    let gate = start(rules, "", Some(data));
    assert!(put(&gate, &sold("a", 2)));
    assert_eq!(events(&gate, "quarantine"), 1.0);
}

/// Passes bytes on to the gate, and hangs up on the client in place of its first `lost` answers.
fn lossy_proxy(gate: SocketAddr, lost: usize) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    let requests = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&requests);
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let Ok(upstream) = TcpStream::connect(gate) else { return };
            let (mut from_client, mut to_gate) =
                (client.try_clone().expect("a socket"), upstream.try_clone().expect("a socket"));
            thread::spawn(move || drop(std::io::copy(&mut from_client, &mut to_gate)));
            let number = seen.fetch_add(1, Relaxed);
            thread::spawn(move || {
                let (mut upstream, mut client) = (upstream, client);
                if number < lost {
                    // The answer is there: all was done. It does not arrive.
                    let _ = upstream.read(&mut [0; 64]);
                    let _ = client.shutdown(std::net::Shutdown::Both);
                } else {
                    let _ = std::io::copy(&mut upstream, &mut client);
                }
            });
        }
    });
    (address, requests)
}

#[test]
fn an_sdk_that_repeats_a_request_makes_no_duplicates() {
    let Some(mut python) = tool(Tool::Python) else { return };
    let home = temporary();
    let body = "stream:\n  - {id: unique, type: duplicateValues, key: [event.id], window: 24h}\n  \
                - {id: order, type: sequence, key: [record.partitionKey], value: this.n, onGap: quarantine}\n";
    let gate = start(rules(home.path(), "rules", body), "", None);
    let (proxy, connections) = lossy_proxy(gate.listen, 2);
    python.env("AWS_ENDPOINT_URL_KINESIS", format!("http://{proxy}"));
    python.arg(repository().join("tests/clients/retry_boto3.py")).arg("shop");
    let mut client = python.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("python starts");
    let lines: String = (1..=20).map(|n| sold(&format!("e{n}"), n) + "\n").collect();
    client.stdin.take().expect("a pipe").write_all(lines.as_bytes()).expect("it reads");
    let output = client.wait_with_output().expect("it ends");
    assert!(output.status.success());
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "0");
    assert_eq!(connections.load(Relaxed), 3, "two answers were lost");
    assert_eq!(events(&gate, "quarantine"), 0.0, "{}", gate.admin("/metrics").text());
    // The same events of another request are duplicates, and out of order.
    let again: Vec<Put> = (1..=20).map(|n| Put::new(sold(&format!("e{n}"), n), "k")).collect();
    gate.kinesis().put_records("shop", &again).expect("an answer");
    assert_eq!(events(&gate, "quarantine"), 20.0);
}

#[test]
fn windows_alert_and_blame_no_event() {
    let home = temporary();
    let body = "stream:\n  - {id: volume, type: rowCount, window: 1s, mustBeGreaterThan: 1000}\n  \
                - {id: empty, type: nullValues, path: /n, window: 1s, mustBeLessThan: 50}\n";
    let gate = start(rules(home.path(), "rules", body), "", None);
    let failing = |rule: &str| gate.metric("meshgate_stream_check_failing", &[&format!("rule=\"{rule}\"")]);
    wait_until("both to fail", Duration::from_secs(30), || {
        put(&gate, r#"{"type":"sold","id":"x","n":null}"#);
        (failing("volume") == 1.0 && failing("empty") == 1.0).then_some(())
    });
    assert_eq!(events(&gate, "quarantine"), 0.0);
    let shown = gate.admin("/checks").json();
    let check = |rule: &str| shown["checks"].as_array().and_then(|all| all.iter().find(|c| c["rule"] == rule)).cloned();
    let empty = check("empty").expect("it is shown");
    assert_eq!(empty["window"]["standing"], "fails", "{empty}");
    assert_eq!(empty["window"]["bounds"], json!(["nullValues must be less than 50 %"]));
    let contract = &gate.admin("/contracts").json()["domains"][0]["contracts"][0];
    let volume = json!({"rule": "volume", "type": "rowCount", "mode": "enforce", "judgesEvents": false});
    assert_eq!((&contract["streamChecks"][0], &contract["breaker"]), (&volume, &json!(null)), "{contract}");
    assert_eq!(empty["window"]["last"]["values"], json!({"nullValues": 100.0}));
    assert!(gate.log().iter().any(|line| line.contains("the last window fails") && line.contains("volume")));
    wait_until("the share to hold again", Duration::from_secs(30), || {
        (0..5).for_each(|n| assert!(put(&gate, &sold("x", n))));
        (failing("empty") == 0.0 && gate.metric("meshgate_stream_check_value", &[r#"rule="empty""#]) == 0.0)
            .then_some(())
    });
}

/// A producer that keeps its events until they are settled. Gives back how many that were.
fn produce(gate: &Gate, stop: &AtomicBool) -> usize {
    let (mut kinesis, mut settled) = (gate.kinesis(), 0);
    for batch in 0.. {
        let mut left: Vec<String> = (0..20).map(|n| sold(&format!("{batch}-{n}"), n)).collect();
        while !left.is_empty() {
            let puts: Vec<Put> = left.iter().map(|event| Put::new(event.as_str(), "k")).collect();
            let results = kinesis.put_records("shop", &puts).expect("an answer");
            let failed: Vec<String> = left
                .into_iter()
                .zip(&results)
                .filter(|(_, result)| !result["ErrorCode"].is_null())
                .map(|(e, _)| e)
                .collect();
            settled += results.len() - failed.len();
            left = failed;
            if !left.is_empty() {
                thread::sleep(Duration::from_millis(20));
            }
        }
        if stop.load(Relaxed) {
            break;
        }
    }
    settled
}

#[test]
fn a_breaker_holds_a_domain_that_a_rule_deploy_would_divert() {
    let home = temporary();
    let breaker = "breaker: {maxQuarantineRatio: 0.5, window: 2s, minEvents: 50, action: hold}\n";
    let good = format!("rules:\n  - {{id: small, expression: this.n < 100}}\n{breaker}");
    let rules = rules(home.path(), "rules", &good);
    let gate = start(rules.clone(), "rules_watch_seconds: 0\n", None);
    let stop = AtomicBool::new(false);
    let reload = || {
        let answer = Http::connect(gate.admin).and_then(|mut admin| admin.send("POST", "/reload", &[], b""));
        assert_eq!(answer.expect("an answer").status, 200);
    };
    let state = || gate.metric("meshgate_breaker_state", &[]);
    let settled = thread::scope(|scope| {
        let producer = scope.spawn(|| produce(&gate, &stop));
        wait_until("some load", Duration::from_secs(20), || (events(&gate, "forward") > 500.0).then_some(()));
        write_contract(&rules, &good.replace("this.n < 100", "this.n < 0"));
        reload();
        wait_until("an open breaker", Duration::from_secs(20), || (state() == 2.0).then_some(()));
        let diverted = events(&gate, "quarantine");
        assert!(diverted > 0.0 && diverted < 120.0, "{diverted} were diverted before it opened");
        assert!(gate.metric("meshgate_breaker_events_total", &[r#"outcome="held""#]) > 0.0);
        // Two windows on, no more than the probes of each went the same way.
        thread::sleep(Duration::from_secs(5));
        assert!(events(&gate, "quarantine") <= diverted + 3.0 * 50.0);
        let shown = gate.admin("/breakers").json();
        assert_eq!(
            (&shown["breakers"][0]["contract"], &shown["breakers"][0]["action"]),
            (&json!("sold"), &json!("hold"))
        );
        write_contract(&rules, &good);
        reload();
        let forwarded = events(&gate, "forward");
        wait_until("a closed breaker", Duration::from_secs(20), || {
            (state() == 0.0 && events(&gate, "forward") > forwarded + 200.0).then_some(())
        });
        stop.store(true, Relaxed);
        producer.join().expect("the producer ends")
    });
    assert_eq!(settled as f64, events(&gate, "forward") + events(&gate, "quarantine"), "each event once");
    assert_eq!(gate.kinesis().read_all("shop").len() as f64, events(&gate, "forward"));
}

#[test]
fn a_breaker_that_forwards_tells_what_is_wrong_and_can_be_closed_by_hand() {
    let home = temporary();
    let body = "rules:\n  - {id: small, expression: this.n < 0}\n\
                breaker: {maxQuarantineRatio: 0.5, window: 1h, minEvents: 10, action: forward}\n";
    let gate = start(rules(home.path(), "rules", body), "", None);
    (0..20).for_each(|n| assert!(put(&gate, &sold("x", n))));
    assert_eq!((events(&gate, "quarantine"), events(&gate, "forward")), (9.0, 11.0));
    assert_eq!(gate.metric("meshgate_violations_total", &[r#"mode="shadow""#]), 11.0);
    let breaker = json!({"maxQuarantineRatio": 0.5, "windowSeconds": 3600.0, "minEvents": 10, "action": "forward"});
    assert_eq!(gate.admin("/contracts").json()["domains"][0]["contracts"][0]["breaker"], breaker);
    let mut admin = Http::connect(gate.admin).expect("the admin port");
    assert_eq!(admin.send("GET", "/breakers/shop/sold/close", &[], b"").expect("an answer").status, 405);
    assert_eq!(admin.send("POST", "/breakers/shop/none/close", &[], b"").expect("an answer").status, 404);
    let closed = admin.send("POST", "/breakers/shop/sold/close", &[], b"").expect("an answer").json();
    assert_eq!(closed["state"], "closed");
    assert!(put(&gate, &sold("x", 1)));
    assert_eq!(events(&gate, "quarantine"), 10.0);
}

#[test]
fn a_held_record_is_throttled_and_put_record_says_so() {
    let home = temporary();
    let body = "rules:\n  - {id: small, expression: this.n < 0}\n\
                breaker: {maxQuarantineRatio: 0, window: 1h, minEvents: 1, action: hold}\n";
    let gate = start(rules(home.path(), "rules", body), "", None);
    let mut kinesis = gate.kinesis();
    let results = kinesis.put_records("shop", &[Put::new(sold("a", 1), "k")]).expect("an answer");
    assert_eq!(results[0]["ErrorCode"], "ProvisionedThroughputExceededException");
    assert!(
        results[0]["ErrorMessage"].as_str().is_some_and(|told| told.contains("breaker of shop/sold")),
        "{results:?}"
    );
    use base64::Engine as _;
    let data = base64::engine::general_purpose::STANDARD.encode(sold("a", 1));
    let put = kinesis.call("PutRecord", &json!({"StreamName": "shop", "PartitionKey": "k", "Data": data}));
    let Err(AwsError::Answered { kind, message, .. }) = put else { panic!("{put:?}") };
    assert!(kind.contains("ProvisionedThroughputExceeded") && message.contains("breaker"), "{kind}: {message}");
    assert_eq!(events(&gate, "quarantine"), 0.0, "nothing is settled, so nothing is judged for good");
}

#[test]
fn a_candidate_is_judged_beside_the_rules_and_decides_nothing() {
    let home = temporary();
    let live = rules(home.path(), "live", "rules:\n  - {id: small, expression: this.n < 10}\n");
    let next = rules(home.path(), "next", "rules:\n  - {id: even, expression: this.n % 2 == 0}\n");
    let config =
        format!("rules: {{path: {}, candidate: {}}}\nrules_watch_seconds: 1\n", live.display(), next.display());
    let gate = start(live, &config, None);
    (0..20).for_each(|n| assert!(put(&gate, &sold("x", n))));
    assert_eq!((events(&gate, "forward"), events(&gate, "quarantine")), (10.0, 10.0));
    let changes = |rule: &str, change: &str| {
        let labels = [format!("rule=\"{rule}\""), format!("change=\"{change}\"")];
        gate.metric("meshgate_candidate_changes_total", &[&labels[0], &labels[1]])
    };
    assert_eq!(changes("even", "would_quarantine"), 5.0);
    assert_eq!(changes("small", "would_no_longer_quarantine"), 5.0);
    assert_eq!(gate.metric("meshgate_candidate_events_total", &[r#"contract="sold""#]), 20.0);
    let shown = gate.admin("/candidate").json();
    assert_eq!(shown["faults"], json!([]));
    assert!(shown["changes"].as_array().is_some_and(|changes| changes.len() == 2), "{shown}");

    // A candidate with a fault touches nothing, and is told.
    write_contract(&next, "rules:\n  - {id: even, expression: this.n %}\n");
    let faults = || gate.admin("/candidate").json()["faults"].as_array().map_or(0, Vec::len);
    wait_until("the fault", Duration::from_secs(20), || (faults() > 0).then_some(()));
    assert!(put(&gate, &sold("x", 1)));
    assert_eq!((events(&gate, "forward"), gate.metric("meshgate_candidate_events_total", &[])), (11.0, 20.0));
    assert_eq!(gate.admin("/ready").status, 200);
}

#[test]
fn keys_of_another_contract_are_known_once_they_are_on_the_mesh() {
    let home = temporary();
    let body = "stream:\n  - {id: known, type: referentialIntegrity, key: [this.by], window: 1h, warmUp: 1s, \
                references: {contract: crm/joined, key: [this.id]}}\n";
    let rules = rules(home.path(), "rules", body);
    std::fs::create_dir_all(rules.join("crm")).expect("a writable directory");
    std::fs::write(rules.join("crm/domain.yaml"), DOMAIN.replace("shop", "crm")).expect("the same");
    let joined = "apiVersion: meshgate/v1\nkind: EventContract\nmetadata: {domain: crm, name: joined, version: 1.0.0, status: active}\n\
                  match: {stream: crm, type: joined}\n";
    std::fs::write(rules.join("crm/joined.yaml"), joined).expect("the same");
    let gate = start(rules, "", None);
    let put_to = |stream: &str, event: Value| {
        let results = gate.kinesis().put_records(stream, &[Put::new(event.to_string(), "k")]).expect("an answer");
        assert!(results[0]["ErrorCode"].is_null());
    };
    let order = |by: &str| put_to("shop", json!({"type": "sold", "by": by}));
    order("early");
    assert_eq!(events(&gate, "quarantine"), 0.0, "nobody has been seen yet, so nothing is certain");
    assert_eq!(gate.metric("meshgate_violations_total", &[r#"kind="reference""#, r#"mode="shadow""#]), 1.0);
    thread::sleep(Duration::from_millis(1100));
    put_to("crm", json!({"type": "joined", "id": "ada"}));
    order("ada");
    assert_eq!(events(&gate, "quarantine"), 0.0);
    order("bob");
    assert_eq!(events(&gate, "quarantine"), 1.0);
}
