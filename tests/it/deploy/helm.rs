//! The Helm chart, rendered and linted by Helm's own library.

use std::path::Path;

use serde_json::{Value, json};

use super::kubernetes::{has_no_privileges, start_what_is_configured, uses_what_exists, written};
use super::{Objects, add_objects, alert_file, of_operator, one, operator_accepts, strings};
use crate::harness::{Gate, GateOptions, GitRemote, Tool, copy_tree, repository, run, temporary, tool};

/// What a chart makes of values. `Err` with Helm's words where it refuses; `None` without Helm.
fn render(chart: &str, release: &str, values: &Value) -> Option<Result<Objects, String>> {
    let mut python = tool(Tool::Helm)?;
    let home = temporary();
    // A copy: `helm dependency build` writes beside the chart.
    let charts = home.path().join("helm");
    copy_tree(&repository().join("deploy/helm"), &charts);
    let values_file = home.path().join("values.json");
    std::fs::write(&values_file, values.to_string()).expect("a file can be written");
    python.env("HOME", home.path()).arg(repository().join("tests/tools/helm.py"));
    let output = run(python.arg(charts.join(chart)).arg(release).arg(values_file));
    if !output.status.success() {
        return Some(Err(String::from_utf8_lossy(&output.stderr).into_owned()));
    }
    let answer: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    // 1 is advice, as that charts have icons.
    let faults: Vec<&Value> = answer["lint"]["messages"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|m| m["severity"].as_i64() > Some(1))
        .collect();
    if !faults.is_empty() {
        return Some(Err(format!("{faults:?}")));
    }
    let mut objects = Objects::new();
    for (name, text) in answer["rendered"].as_object().expect("templates") {
        if !name.ends_with("NOTES.txt") {
            add_objects(&mut objects, name, text.as_str().expect("text"));
        }
    }
    Some(Ok(objects))
}

/// Holds the objects against the schemas of Kubernetes and of the Prometheus operator.
fn valid(objects: &Objects) {
    let (monitors, own): (Vec<&Value>, Vec<&Value>) = objects.values().partition(|object| of_operator(object));
    operator_accepts(&monitors);
    let Some(mut validate) = tool(Tool::KubernetesValidate) else { return };
    validate.arg("--strict");
    let home = temporary();
    for (index, object) in own.iter().enumerate() {
        let file = home.path().join(format!("{index}.yaml"));
        std::fs::write(&file, object.to_string()).expect("a file can be written");
        validate.arg(file);
    }
    let output = run(&mut validate);
    let said = [output.stdout, output.stderr].map(|said| String::from_utf8_lossy(&said).into_owned());
    assert!(output.status.success(), "{}", said.join("\n"));
}

fn fleet() -> Value {
    json!({
        "fleet": {"enabled": true, "replicas": 3, "nodeSelector": {"pool": "gates"}, "podLabels": {"team": "platform"}},
        "podMonitor": {"enabled": true, "labels": {"release": "prometheus"}},
        "prometheusRule": {"enabled": true},
        "networkPolicy": {"enabled": true},
        "settings": {
            "backend": "aws",
            "routes": [{"source": "orders-raw", "mesh": "orders-events", "ordering": "key"}],
            "streams": [{"source": "orders-raw", "leases": {"table": "orders-gate"}}],
            "limits": {"records_in_flight": 2_000_000},
        },
    })
}

#[test]
fn the_example_is_what_the_manifests_say() {
    let Some(rendered) = render("example", "orders-producer", &json!({})) else { return };
    let rendered = rendered.expect("it renders");
    valid(&rendered);
    start_what_is_configured(&rendered);
    let plain = written();
    assert_eq!(rendered.keys().collect::<Vec<_>>(), plain.keys().collect::<Vec<_>>());
    for (key, object) in &rendered {
        let (ours, theirs) = (without_marks(&plain[key]), without_marks(object));
        assert_eq!(ours, theirs, "{key:?}: deploy/kubernetes on the left, the chart's example on the right");
    }
}

/// Without Helm's labels and our annotations. Texts of YAML are compared by what they mean.
fn without_marks(object: &Value) -> Value {
    let mut object = object.clone();
    object["metadata"].as_object_mut().expect("metadata").remove("labels");
    if let Some(metadata) = object.pointer_mut("/spec/template/metadata").and_then(Value::as_object_mut) {
        metadata.remove("annotations");
    }
    for text in object["data"].as_object_mut().into_iter().flat_map(|data| data.values_mut()) {
        let parsed = meshgate::contract::yaml::parse(text.as_str().expect("text").as_bytes());
        *text = parsed.expect("YAML").value;
        text.sort_all_objects();
    }
    object.sort_all_objects();
    object
}

#[test]
fn a_fleet_is_a_deployment_that_is_never_all_gone() {
    let Some(rendered) = render("meshgate", "orders", &fleet()) else { return };
    let objects = rendered.expect("it renders");
    valid(&objects);
    let deployment = one(&objects, "Deployment");
    let pod = &deployment["spec"]["template"];
    let gate = &pod["spec"]["containers"][0];
    uses_what_exists(gate);
    has_no_privileges(gate);
    assert!(pod["spec"]["terminationGracePeriodSeconds"].as_i64() > Some(25), "longer than it drains");
    let labels = pod["metadata"]["labels"].as_object().expect("labels");
    for (kind, selector) in [
        ("Deployment", "/spec/selector/matchLabels"),
        ("PodDisruptionBudget", "/spec/selector/matchLabels"),
        ("PodMonitor", "/spec/selector/matchLabels"),
        ("NetworkPolicy", "/spec/podSelector/matchLabels"),
    ] {
        let selected = one(&objects, kind).pointer(selector).and_then(Value::as_object).expect("a selector");
        assert!(!selected.is_empty() && selected.iter().all(|(k, v)| labels.get(k) == Some(v)), "{kind}: {selected:?}");
    }
    // Only the admin port, and only from where Prometheus is.
    let ingress = &one(&objects, "NetworkPolicy")["spec"]["ingress"];
    assert_eq!(ingress.as_array().map(Vec::len), Some(1));
    assert_eq!(ingress[0]["ports"], json!([{"protocol": "TCP", "port": 9570}]));
    assert!(ingress[0]["from"][0]["namespaceSelector"].is_object());
    // Whole numbers stay whole.
    let settings = one(&objects, "ConfigMap")["data"]["meshgate.yaml"].as_str().expect("settings");
    assert!(settings.contains("records_in_flight: 2000000\n"), "{settings}");
}

/// Prometheus' own templates are in them, which are not Helm's to fill in.
#[test]
fn recording_and_alerting_rules_are_taken_as_they_are_but_for_the_address_of_runbooks() {
    let mut values = fleet();
    values["prometheusRule"]["runbooks"] = "https://git.example.com/meshgate/docs/".into();
    let Some(rendered) = render("meshgate", "orders", &values) else { return };
    let objects = rendered.expect("it renders");
    valid(&objects);
    let mut expected = Vec::new();
    for name in ["rules.yaml", "alerts.yaml"] {
        let text =
            alert_file(name).replace("runbook_url: docs/", "runbook_url: https://git.example.com/meshgate/docs/");
        let parsed = meshgate::contract::yaml::parse(text.as_bytes()).expect("YAML").value;
        expected.extend(parsed["groups"].as_array().expect("groups").iter().cloned());
    }
    let mut expected = Value::Array(expected);
    let mut groups = one(&objects, "PrometheusRule")["spec"]["groups"].clone();
    assert!(groups.to_string().contains("https://git.example.com/meshgate/docs/runbooks.md#"));
    expected.sort_all_objects();
    groups.sort_all_objects();
    assert_eq!(groups, expected);
}

#[test]
fn each_way_of_getting_rules_is_mounted_and_asked_for() {
    let ways = [
        json!({"from": "image", "path": "/rules"}),
        json!({"from": "configMap", "configMap": {"name": "ours", "items": [{"key": "a", "path": "orders/domain.yaml"}]}}),
        json!({"from": "git", "git": {"url": "git@git.example.com:data/contracts.git", "path": "rules", "sshSecret": "key"}}),
    ];
    for rules in ways {
        let mut values = fleet();
        values["rules"] = rules.clone();
        let Some(rendered) = render("meshgate", "orders", &values) else { return };
        let objects = rendered.unwrap_or_else(|error| panic!("{rules}: {error}"));
        valid(&objects);
        let pod = &one(&objects, "Deployment")["spec"]["template"]["spec"];
        let gate = &pod["containers"][0];
        uses_what_exists(gate);
        let mounted = |name: &str| gate["volumeMounts"].as_array().expect("mounts").iter().any(|m| m["name"] == name);
        let rules_flag = strings(&gate["args"]).into_iter().find_map(|a| a.strip_prefix("--rules="));
        let image = gate["image"].as_str().expect("an image");
        match rules["from"].as_str() {
            Some("image") => assert_eq!((rules_flag, mounted("meshgate-rules")), (Some("/rules"), false)),
            Some("configMap") => {
                assert_eq!((rules_flag, mounted("meshgate-rules")), (Some("/etc/meshgate/rules"), true));
                assert_eq!(pod["volumes"][1]["configMap"]["name"], "ours");
            }
            // The settings say it, which the flag would beat.
            _ => {
                assert_eq!((rules_flag, mounted("meshgate-ssh")), (None, true));
                assert!(image.ends_with("-with-git"), "{image}");
            }
        }
        for mount in gate["volumeMounts"].as_array().expect("mounts") {
            let volumes = pod["volumes"].as_array().expect("volumes");
            assert!(volumes.iter().any(|volume| volume["name"] == mount["name"]), "{mount} mounts nothing");
        }
    }
}

#[test]
fn rules_from_git_are_fetched_by_the_settings_of_the_chart() {
    let remote = GitRemote::new();
    let values = json!({
        "settings": {"backend": "local"},
        "rules": {"from": "git", "git": {"url": remote.bare(), "path": "rules", "interval_seconds": 0}},
    });
    let Some(rendered) = render("meshgate", "orders", &values) else { return };
    let objects = rendered.expect("it renders");
    let text = one(&objects, "ConfigMap")["data"]["meshgate.yaml"].as_str().expect("settings").to_owned();
    let gate =
        Gate::start(GateOptions { rules: Path::new("").to_owned(), config: Some(text), ..GateOptions::default() });
    assert_eq!(gate.admin("/ready").json()["rulesSource"]["kind"], "git");
}

#[test]
fn a_role_for_the_gate_alone_is_in_its_container_alone() {
    let values = json!({"meshgate": {"gateRole": {"arn": "arn:aws:iam::111122223333:role/orders-gate"}}});
    let Some(rendered) = render("example", "orders-producer", &values) else { return };
    let objects = rendered.expect("it renders");
    valid(&objects);
    let pod = &one(&objects, "Deployment")["spec"]["template"]["spec"];
    let named = |container: &Value| container.to_string().contains("AWS_WEB_IDENTITY_TOKEN_FILE");
    let mounted = |container: &Value| container["volumeMounts"].to_string().contains("meshgate-token");
    let (gate, producer) = (&pod["initContainers"][0], &pod["containers"][0]);
    assert!(named(gate) && mounted(gate) && !named(producer) && !mounted(producer), "{pod}");
}

#[test]
fn what_cannot_work_is_refused_with_its_reason() {
    let changed = |change: &dyn Fn(&mut Value)| {
        let mut values = fleet();
        change(&mut values);
        values
    };
    let cases: [(Value, &str); 7] = [
        (changed(&|v| v["settings"]["streams"] = json!([])), "settings.streams names no stream"),
        (changed(&|v| v["fleet"]["terminationGracePeriodSeconds"] = json!(25)), "must be above settings.drain_seconds"),
        (changed(&|v| v["state"] = json!({"external": true})), "gates share no volume"),
        (changed(&|v| v["settings"]["rules"] = json!("/rules")), "with rules.from"),
        (changed(&|v| v["rules"] = json!({"from": "git"})), "rules.git.url: name the repository"),
        (changed(&|v| v["replicas"] = json!(3)), "replicas"),
        (
            changed(&|v| v["rules"] = json!({"from": "files", "files": {"a/b.yaml": "x", "a.b.yaml": "y"}})),
            "would have the same key",
        ),
    ];
    for (values, reason) in cases {
        let Some(rendered) = render("meshgate", "orders", &values) else { return };
        let Err(error) = rendered else { panic!("{values} is accepted") };
        assert!(error.contains(reason), "{reason}: {error}");
    }
}
