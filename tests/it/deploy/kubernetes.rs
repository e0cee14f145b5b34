//! Objects of Kubernetes against the binary: what they name exists, and what they configure starts. Those of `deploy/kubernetes`, and by the
//! same terms those that the Helm chart makes.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::{Objects, add_objects, of_operator, one, strings};
use crate::harness::{Gate, GateOptions, Tool, binary, repository, run, temporary, tool};

fn manifests() -> Vec<PathBuf> {
    let files = std::fs::read_dir(repository().join("deploy/kubernetes")).expect("a directory of manifests");
    let mut paths: Vec<_> = files.map(|f| f.expect("a readable entry").path()).collect();
    paths.retain(|p| p.extension().is_some_and(|e| e == "yaml"));
    paths.sort();
    paths
}

/// Every object of every manifest, by kind and name.
pub fn written() -> Objects {
    let mut objects = Objects::new();
    for path in manifests() {
        let text = std::fs::read_to_string(&path).expect("a readable manifest");
        add_objects(&mut objects, &path.display().to_string(), &text);
    }
    objects
}

#[test]
fn the_sidecar_uses_flags_ports_and_pages_that_exist() {
    let objects = written();
    let pod = &one(&objects, "Deployment")["spec"]["template"]["spec"];
    let gate = &pod["initContainers"][0];
    assert_eq!(gate["restartPolicy"], "Always", "that makes an init container a native sidecar");
    uses_what_exists(gate);

    let mut environments = pod["containers"].as_array().expect("containers").iter().flat_map(|c| c["env"].as_array());
    let endpoint = environments.find_map(|e| e.iter().find(|v| v["name"] == "AWS_ENDPOINT_URL_KINESIS").cloned());
    let listen = strings(&gate["args"]).into_iter().find_map(|a| a.strip_prefix("--listen=")).expect("--listen=");
    assert_eq!(endpoint.expect("a producer's endpoint")["value"], format!("http://{listen}"));
}

/// The flags, ports and probes of a gate's container.
pub fn uses_what_exists(gate: &Value) {
    let help = run(Command::new(binary()).args(["run", "--help"]));
    let help = String::from_utf8_lossy(&help.stdout).into_owned();
    let arguments = strings(&gate["args"]);
    assert_eq!(arguments.first(), Some(&"run"));
    let flag = |name: &str| arguments.iter().find_map(|a| a.strip_prefix(name)?.strip_prefix('='));
    for argument in &arguments[1..] {
        let name = argument.split('=').next().expect("a first part");
        assert!(help.contains(&format!("{name} <")), "`meshgate run --help` does not know {name}");
    }

    // A probe comes from outside the pod, a producer from inside it.
    let (listen, admin) = (flag("--listen").unwrap_or("127.0.0.1:4570"), flag("--admin").expect("--admin="));
    assert!(listen.starts_with("127.0.0.1:"), "producers reach the gate on the pod's loopback only: {listen}");
    assert!(admin.starts_with("0.0.0.0:"), "the kubelet probes the pod's address: {admin}");
    let named = |name: &str| {
        let ports = gate["ports"].as_array().expect("ports");
        ports.iter().find(|p| p["name"] == name).unwrap_or_else(|| panic!("no port {name}"))["containerPort"]
            .to_string()
    };
    assert_eq!(admin.rsplit(':').next(), Some(named("admin").as_str()));

    let live = Gate::start(GateOptions::default());
    for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
        let get = &gate[probe]["httpGet"];
        assert_eq!(get["port"], "admin", "{probe}");
        assert_eq!(live.admin(get["path"].as_str().expect("a path")).status, 200, "{probe}");
    }
}

#[test]
fn the_sidecar_runs_without_privileges() {
    let objects = written();
    let pod = &one(&objects, "Deployment")["spec"]["template"]["spec"];
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    has_no_privileges(&pod["initContainers"][0]);
}

/// What a gate's container may do.
pub fn has_no_privileges(gate: &Value) {
    let security = &gate["securityContext"];
    assert_eq!(security["runAsNonRoot"], true);
    assert_eq!(security["readOnlyRootFilesystem"], true);
    assert_eq!(security["allowPrivilegeEscalation"], false);
    assert_eq!(strings(&security["capabilities"]["drop"]), ["ALL"]);
    assert!(gate["resources"]["limits"]["memory"].is_string() && gate["resources"]["requests"]["cpu"].is_string());
    for mount in gate["volumeMounts"].as_array().expect("mounts") {
        // On AWS the gate writes what checks remember, and nothing else.
        let is_state = mount["name"] == "meshgate-state" && mount["mountPath"] == "/var/lib/meshgate";
        assert!(is_state || mount["readOnly"] == true, "{mount}");
    }
    // The image runs as the user that the manifest asks for.
    let dockerfile = std::fs::read_to_string(repository().join("deploy/Dockerfile")).expect("a Dockerfile");
    let user = dockerfile.lines().rev().find_map(|l| l.strip_prefix("USER ")).expect("a USER");
    assert_eq!(user.split(':').next(), Some(security["runAsUser"].to_string().as_str()));
}

/// A volume of a ConfigMap as the kubelet lays it out: files behind a hidden directory and symbolic links.
fn mount(config_map: &Value, items: &Value, at: &Path) {
    let data = config_map["data"].as_object().expect("data");
    let paths: Vec<(&str, &str)> = match items.as_array() {
        Some(items) => items.iter().map(|i| (i["key"].as_str().unwrap(), i["path"].as_str().unwrap())).collect(),
        None => data.keys().map(|key| (key.as_str(), key.as_str())).collect(),
    };
    let real = at.join("..2026_11_22_10_00_00.123456789");
    for (key, path) in paths {
        let file = real.join(path);
        std::fs::create_dir_all(file.parent().expect("a directory")).expect("a directory can be made");
        let text = data.get(key).and_then(Value::as_str).unwrap_or_else(|| panic!("no key {key} in the ConfigMap"));
        std::fs::write(file, text).expect("a file can be written");
    }
    symlink(real.file_name().expect("a name"), at.join("..data")).expect("a link can be made");
    for entry in std::fs::read_dir(&real).expect("a readable directory") {
        let name = entry.expect("a readable entry").file_name();
        symlink(Path::new("..data").join(&name), at.join(&name)).expect("a link can be made");
    }
}

#[test]
fn the_config_maps_hold_rules_that_compile_and_settings_that_start() {
    start_what_is_configured(&written());
}

/// Mounts the ConfigMaps as the kubelet does, and starts the sidecar's gate with them.
pub fn start_what_is_configured(objects: &Objects) {
    let pod = &one(objects, "Deployment")["spec"]["template"]["spec"];
    let gate = &pod["initContainers"][0];
    let volume_at = |path: &str| {
        let mounts = gate["volumeMounts"].as_array().expect("mounts");
        let name =
            &mounts.iter().find(|m| m["mountPath"] == path).unwrap_or_else(|| panic!("nothing at {path}"))["name"];
        let volumes = pod["volumes"].as_array().expect("volumes");
        let source = &volumes.iter().find(|v| v["name"] == *name).expect("the volume")["configMap"];
        let key = ("ConfigMap".to_owned(), source["name"].as_str().expect("a ConfigMap").to_owned());
        (objects.get(&key).unwrap_or_else(|| panic!("{key:?} is not there")), &source["items"])
    };
    let arguments = strings(&gate["args"]);
    let flag = |name: &str| arguments.iter().find_map(|a| a.strip_prefix(name)).unwrap_or_else(|| panic!("no {name}"));
    let home = temporary();
    let (rules, settings) = (home.path().join("rules"), home.path().join("settings"));
    let (config_map, items) = volume_at(flag("--rules="));
    mount(config_map, items, &rules);
    let config = Path::new(flag("--config="));
    let (config_map, items) = volume_at(config.parent().and_then(Path::to_str).expect("a directory"));
    mount(config_map, items, &settings);

    for command in ["check", "test"] {
        let output = run(Command::new(binary()).arg(command).arg(&rules));
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "meshgate {command}: {said}");
    }
    let text = std::fs::read_to_string(settings.join(config.file_name().expect("a name"))).expect("the settings");
    // Clients are built at start; credentials are looked up, and AWS is called, with the first record.
    let environment = [("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
    let gate = Gate::start(GateOptions {
        rules,
        config: Some(text),
        environment: environment.into(),
        ..GateOptions::default()
    });
    let loaded = gate.admin("/contracts").json();
    assert!(!loaded["domains"].as_array().expect("domains").is_empty(), "{loaded}");
}

#[test]
fn kubernetes_own_schemas_accept_the_manifests() {
    let Some(mut validate) = tool(Tool::KubernetesValidate) else { return };
    // The operator's kinds are not Kubernetes' own.
    let own = manifests().into_iter().filter(|path| !path.ends_with("podmonitor.yaml"));
    let output = run(validate.arg("--strict").args(own));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn the_operators_schemas_accept_the_manifests() {
    let objects = written();
    let monitors: Vec<&Value> = objects.values().filter(|object| of_operator(object)).collect();
    assert_eq!(monitors.len(), 1, "the PodMonitor");
    super::operator_accepts(&monitors);
}
