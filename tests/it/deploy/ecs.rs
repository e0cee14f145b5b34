//! The task of ECS, against AWS' own model of the call that registers it.

use serde_json::Value;

use super::strings;
use crate::harness::{Gate, GateOptions, Tool, binary, copy_tree, repository, run, temporary, tool};

fn task() -> Value {
    let text =
        std::fs::read_to_string(repository().join("deploy/ecs/task-definition.json")).expect("a task definition");
    serde_json::from_str(&text).expect("JSON")
}

fn container(name: &str) -> Value {
    let task = task();
    let containers = task["containerDefinitions"].as_array().expect("containers");
    containers.iter().find(|c| c["name"] == name).unwrap_or_else(|| panic!("no container {name}")).clone()
}

#[test]
fn the_model_of_ecs_accepts_the_task() {
    let Some(mut python) = tool(Tool::Python) else { return };
    python.arg(repository().join("tests/tools/parameters.py")).args(["ecs", "RegisterTaskDefinition"]);
    let output = run(python.arg(repository().join("deploy/ecs/task-definition.json")));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn the_gate_is_there_before_the_producer_and_after_it() {
    let (gate, producer) = (container("meshgate"), container("producer"));
    // ECS stops containers in the reverse order of this.
    assert_eq!(producer["dependsOn"][0]["containerName"], "meshgate");
    assert_eq!(producer["dependsOn"][0]["condition"], "HEALTHY");
    assert_eq!((&gate["essential"], &producer["essential"]), (&Value::Bool(true), &Value::Bool(true)));
    assert!(gate["stopTimeout"].as_i64().is_some_and(|seconds| (30..=120).contains(&seconds)), "above drain_seconds");
    assert_eq!(gate["readonlyRootFilesystem"], true);
    assert_eq!(gate["user"], "65532:65532");
    assert!(gate.get("secrets").is_none(), "a gate needs no secret: its credentials are the task's role");
    let ports: Vec<_> = gate["portMappings"].as_array().expect("ports").iter().map(|p| &p["containerPort"]).collect();
    assert_eq!(ports, [9570], "the data port is for the task's loopback");
    let volume = &gate["mountPoints"][0];
    assert_eq!(volume["containerPath"], "/var/lib/meshgate");
    assert_eq!(task()["volumes"][0]["name"], volume["sourceVolume"]);
}

/// The settings of the image, the environment of the task, and the health check as ECS runs it.
#[test]
fn the_task_starts_and_its_health_check_says_so() {
    let gate = container("meshgate");
    let settings = std::fs::read_to_string(repository().join("deploy/ecs/meshgate.yaml")).expect("settings");
    let home = temporary();
    let rules = home.path().join("rules");
    copy_tree(&repository().join("rules"), &rules);
    let dockerfile = std::fs::read_to_string(repository().join("deploy/ecs/Dockerfile")).expect("a Dockerfile");
    for line in ["COPY deploy/ecs/meshgate.yaml /etc/meshgate/meshgate.yaml", "COPY rules /etc/meshgate/rules"] {
        assert!(dockerfile.contains(line), "{line}");
    }
    assert_eq!(strings(&gate["command"]), ["run", "--config=/etc/meshgate/meshgate.yaml"]);
    let environment = [("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test")];
    let running = Gate::start(GateOptions {
        rules,
        config: Some(settings),
        environment: environment.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        ..GateOptions::default()
    });

    let check = strings(&gate["healthCheck"]["command"]);
    assert_eq!(check[..2], ["CMD", "/meshgate"], "the image has no shell");
    let mut command = std::process::Command::new(binary());
    let listening = gate["environment"].as_array().expect("variables").iter().find(|v| v["name"] == "MESHGATE_ADMIN");
    let everywhere = listening.expect("MESHGATE_ADMIN")["value"].as_str().expect("an address");
    assert!(everywhere.starts_with("0.0.0.0:"), "whoever scrapes it comes from outside the task");
    let asked = format!("0.0.0.0:{}", running.admin.port());
    let output = run(command.env_clear().env("MESHGATE_ADMIN", asked).args(&check[2..]));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
