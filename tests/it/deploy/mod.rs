//! The files of `deploy/`: each is taken by the tool it is for, and what it starts is started where that can be done here.

mod cloud;
mod compose;
mod ecs;
mod helm;
mod kubernetes;
mod systemd;
mod terraform;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::Stdio;

use meshgate::contract::yaml;
use serde_json::Value;

use crate::harness::{Tool, repository, run, tool};

/// Objects of Kubernetes by kind and name.
type Objects = BTreeMap<(String, String), Value>;

/// The documents of a manifest. `name` is what failures call it.
fn add_objects(objects: &mut Objects, name: &str, text: &str) {
    for document in text.split("\n---\n") {
        if document.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
            continue;
        }
        // The reader of rule files: strict about duplicate keys.
        let object = yaml::parse(document.as_bytes()).unwrap_or_else(|e| panic!("{name}: {e:?}\n{document}")).value;
        let word = |value: &Value| value.as_str().unwrap_or_else(|| panic!("{name}: {object}")).to_owned();
        let key = (word(&object["kind"]), word(&object["metadata"]["name"]));
        assert!(objects.insert(key.clone(), object).is_none(), "{key:?} is there twice");
    }
}

fn one<'a>(objects: &'a Objects, kind: &str) -> &'a Value {
    let mut found = objects.iter().filter(|((k, _), _)| k == kind);
    let first = found.next().unwrap_or_else(|| panic!("no {kind}"));
    assert!(found.next().is_none(), "more than one {kind}");
    first.1
}

fn strings(list: &Value) -> Vec<&str> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

fn of_operator(object: &Value) -> bool {
    object["apiVersion"] == "monitoring.coreos.com/v1"
}

/// Holds objects of the Prometheus operator against its CRDs' schemas.
fn operator_accepts(objects: &[&Value]) {
    let Some(mut node) = tool(Tool::OperatorSchemas) else { return };
    node.arg(repository().join("tests/tools/operator.cjs"));
    let mut child = node.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("node starts");
    let text = serde_json::to_vec(objects).expect("JSON");
    child.stdin.take().expect("a pipe").write_all(&text).expect("a reader");
    let output = child.wait_with_output().expect("an end");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

/// The rule files of the dashboards. A chart reads no file outside itself, so it has copies.
fn alert_file(name: &str) -> String {
    let [of_dashboards, of_chart] =
        ["dashboards", "deploy/helm/meshgate/files"].map(|d| repository().join(d).join(name));
    let [original, copy] = [of_dashboards, of_chart].map(|file| std::fs::read_to_string(file).expect("a rule file"));
    assert!(copy == original, "deploy/helm/meshgate/files/{name} is no copy of dashboards/{name}: cp it");
    copy
}

#[test]
fn the_charts_alerts_are_those_of_the_dashboards() {
    for name in ["rules.yaml", "alerts.yaml"] {
        assert!(alert_file(name).contains("groups:"), "{name}");
    }
}

#[test]
fn hadolint_accepts_the_dockerfiles() {
    let Some(mut hadolint) = tool(Tool::Hadolint) else { return };
    let files = ["deploy/Dockerfile", "deploy/ecs/Dockerfile"].map(|file| repository().join(file));
    let output = run(hadolint.args(files));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn the_images_say_which_version_they_are_and_how_they_fare() {
    let text = std::fs::read_to_string(repository().join("deploy/Dockerfile")).expect("a Dockerfile");
    let version = format!("org.opencontainers.image.version=\"{}\"", env!("CARGO_PKG_VERSION"));
    assert_eq!(text.matches(&version).count(), 2, "each image has the crate's version");
    assert_eq!(text.matches(r#"CMD ["/meshgate", "health"]"#).count(), 2, "and a health check");
    assert_eq!(text.matches("\nVOLUME /var/lib/meshgate\n").count(), 2, "and a volume");
    for file in ["deploy/helm/meshgate/Chart.yaml", "deploy/helm/example/Chart.yaml"] {
        let chart = std::fs::read_to_string(repository().join(file)).expect("a chart");
        let of_gate = if file.contains("example") { "version: " } else { "appVersion: " };
        assert!(chart.contains(&format!("{of_gate}{}", env!("CARGO_PKG_VERSION"))), "{file}");
    }
}
