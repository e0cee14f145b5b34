//! The demo of Docker Compose. There is no engine here: Compose itself reads the file, and what its containers would run is run without them.

use std::time::Duration;

use serde_json::Value;

use super::alert_file;
use crate::harness::{Gate, GateOptions, Prometheus, Tool, repository, run, temporary, tool, wait_until};

/// The file as Compose understands it, paths made whole. `None` without Compose.
fn config() -> Option<Value> {
    let mut compose = tool(Tool::Compose)?;
    let home = temporary();
    let file = repository().join("deploy/compose/compose.yaml");
    let output = run(compose.env("HOME", home.path()).arg("-f").arg(file).args(["config", "--format", "json"]));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && said.trim().is_empty(), "{said}");
    Some(serde_json::from_slice(&output.stdout).expect("JSON"))
}

#[test]
fn compose_accepts_the_demo_and_each_path_is_there() {
    let Some(config) = config() else { return };
    let services = config["services"].as_object().expect("services");
    assert_eq!(services.keys().collect::<Vec<_>>(), ["gate", "grafana", "producer", "prometheus"]);
    for (name, service) in services {
        for volume in service["volumes"].as_array().expect("volumes") {
            let source = volume["source"].as_str().expect("a source");
            let is_there = volume["type"] == "volume" || std::path::Path::new(source).exists();
            assert!(is_there, "{name} mounts {source}");
            let is_kept = volume["type"] == "volume" || volume["read_only"] == true;
            assert!(is_kept, "{name} could write to {source}");
        }
        // What is published is for this machine.
        for port in service["ports"].as_array().into_iter().flatten() {
            assert_eq!(port["host_ip"], "127.0.0.1", "{name}");
        }
    }
    assert!(
        std::path::Path::new(services["gate"]["build"]["context"].as_str().expect("a context"))
            .join("Cargo.toml")
            .exists()
    );
    assert_eq!(services["gate"]["build"]["dockerfile"], "deploy/Dockerfile");
    assert_eq!(services["producer"]["network_mode"], "service:gate", "the data port stays on loopback");
}

/// The producer, the gate with the sample rules, and Prometheus with the demo's own file: only addresses and paths are others.
#[test]
fn what_the_demo_sends_is_judged_and_scraped() {
    let Some(mut python) = tool(Tool::Python) else { return };
    let gate = Gate::start(GateOptions { rules: repository().join("rules"), ..GateOptions::default() });
    python
        .arg(repository().join("deploy/compose/producer.py"))
        .arg("8")
        .env("AWS_ENDPOINT_URL_KINESIS", gate.endpoint());
    let output = run(&mut python);
    assert!(output.status.success() && output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    let (forward, quarantine) = (
        gate.metric("meshgate_events_total", &[r#"contract="order.placed""#, r#"verdict="forward""#]),
        gate.metric("meshgate_events_total", &[r#"verdict="quarantine""#]),
    );
    assert_eq!(forward + quarantine, 200.0, "every order is known to the sample's contract");
    // One in twenty is spoilt, some of which only warn: more is a demo that does not know its contract.
    assert!(quarantine < 40.0, "{quarantine} of 200");

    let home = temporary();
    let dashboards = home.path().join("dashboards");
    std::fs::create_dir(&dashboards).expect("a directory can be made");
    for name in ["rules.yaml", "alerts.yaml"] {
        std::fs::write(dashboards.join(name), alert_file(name)).expect("a file can be written");
    }
    let text = std::fs::read_to_string(repository().join("deploy/compose/prometheus.yml")).expect("prometheus.yml");
    assert!(text.contains("/etc/prometheus/dashboards/") && text.contains("gate:9570"));
    let text = text
        .replace("/etc/prometheus/dashboards", dashboards.to_str().expect("UTF-8"))
        .replace("gate:9570", &gate.admin.to_string())
        .replace("5s", "250ms");
    let file = home.path().join("prometheus.yml");
    std::fs::write(&file, &text).expect("a file can be written");
    let Some(mut promtool) = tool(Tool::Promtool) else { return };
    let output = run(promtool.args(["check", "config"]).arg(&file));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let Some(prometheus) = Prometheus::configured(&text) else { return };
    prometheus.wait_for(r#"meshgate_events_total{job="meshgate",verdict="forward"}"#);
    wait_until("the target is up", Duration::from_secs(10), || {
        prometheus.query("up == 1").ok().filter(|series| series.len() == 1)
    });
}

#[test]
fn grafana_is_given_what_prometheus_has() {
    let Some(mut python) = tool(Tool::Python) else { return };
    // Grafana itself cannot be had here: its files are read, and what they name is what Compose mounts and starts.
    let script = "import sys, json, yaml; print(json.dumps([yaml.safe_load(open(f)) for f in sys.argv[1:]]))";
    let files = ["datasources.yaml", "dashboards.yaml"].map(|f| repository().join("deploy/compose/grafana").join(f));
    let output = run(python.args(["-c", script]).args(files));
    let read: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let Some(config) = config() else { return };
    let source = &read[0]["datasources"][0];
    assert_eq!(source["url"], "http://prometheus:9090");
    assert!(config["services"]["prometheus"].is_object());
    let at = &read[1]["providers"][0]["options"]["path"];
    let volumes = config["services"]["grafana"]["volumes"].as_array().expect("volumes");
    let mounted = volumes
        .iter()
        .find(|volume| volume["target"] == *at)
        .expect("the dashboards are mounted where they are looked for");
    let files = std::fs::read_dir(mounted["source"].as_str().expect("a path")).expect("a directory");
    let json = files.filter(|f| f.as_ref().is_ok_and(|f| f.path().extension().is_some_and(|e| e == "json")));
    assert!(json.count() > 0, "no dashboard");
}
