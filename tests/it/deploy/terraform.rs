//! The Terraform module. Its provider cannot be had by a package's name, so that `terraform validate` cannot be run: HashiCorp's own parser
//! reads the files, and the arguments of resources are held against a list of those that the provider has (`arguments.json`, drawn from
//! version 6.25's types in `@cdktf/provider-aws`). The policies are a module without a provider, which Terraform evaluates where it is installed.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use serde_json::{Map, Value};

use crate::harness::{Tool, copy_tree, repository, run, temporary, tool};

fn parsed(dir: &str) -> Option<Value> {
    let mut node = tool(Tool::Hcl)?;
    let output =
        run(node.arg(repository().join("tests/tools/hcl.cjs")).arg(repository().join("deploy/terraform").join(dir)));
    assert!(output.status.success(), "{dir}: {}", String::from_utf8_lossy(&output.stderr));
    Some(serde_json::from_slice(&output.stdout).expect("JSON"))
}

/// Terraform, where it is installed: it comes in no package.
fn terraform() -> Option<Command> {
    let mut terraform = Command::new("terraform");
    if terraform.arg("version").output().is_err() {
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr(), "skipped: there is no terraform on the PATH");
        return None;
    }
    let mut terraform = Command::new("terraform");
    terraform.env("CHECKPOINT_DISABLE", "1").env("TF_IN_AUTOMATION", "1").env_remove("TF_CLI_CONFIG_FILE");
    Some(terraform)
}

/// The outputs of a part of the module that needs no provider. `None` without Terraform.
pub fn evaluated(dir: &Path, variables: &Value) -> Option<Value> {
    let home = temporary();
    copy_tree(&repository().join("deploy/terraform").join(dir), &home.path().to_owned());
    std::fs::write(home.path().join("terraform.tfvars.json"), variables.to_string()).expect("a file can be written");
    for arguments in [&["init", "-input=false"][..], &["apply", "-input=false", "-auto-approve"]] {
        let output = run(terraform()?.current_dir(&home).args(arguments).arg("-no-color"));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let output = run(terraform()?.current_dir(&home).args(["output", "-json"]));
    Some(serde_json::from_slice(&output.stdout).expect("JSON"))
}

#[test]
fn terraform_finds_the_module_well_formatted() {
    let Some(mut terraform) = terraform() else { return };
    terraform.args(["fmt", "-check", "-diff", "-recursive"]).current_dir(repository().join("deploy/terraform"));
    let output = run(&mut terraform);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn resources_have_the_arguments_that_the_provider_has() {
    let known: Value = serde_json::from_str(include_str!("arguments.json")).expect("JSON");
    for dir in [".", "examples/orders"] {
        let Some(module) = parsed(dir) else { return };
        for (section, prefix) in [("resource", ""), ("data", "data.")] {
            for (kind, resources) in module[section].as_object().into_iter().flatten() {
                let kind = format!("{prefix}{kind}");
                let arguments = known[&kind].as_object().unwrap_or_else(|| panic!("{kind} is not in arguments.json"));
                for (name, bodies) in resources.as_object().expect("resources") {
                    for body in bodies.as_array().expect("bodies") {
                        has(&format!("{kind}.{name}"), body, arguments);
                    }
                }
            }
        }
    }
}

/// `body` has what is required, and nothing that is unknown.
fn has(place: &str, body: &Value, arguments: &Map<String, Value>) {
    // Those of Terraform itself.
    const OWN: [&str; 5] = ["for_each", "count", "lifecycle", "depends_on", "provider"];
    let body = body.as_object().unwrap_or_else(|| panic!("{place}: {body}"));
    for (name, argument) in body.iter().filter(|(name, _)| !OWN.contains(&name.as_str())) {
        let known = arguments.get(name).unwrap_or_else(|| panic!("{place} has no argument {name}"));
        match (known, argument) {
            (Value::Object(inner), Value::Array(blocks)) => {
                blocks.iter().for_each(|block| has(&format!("{place}.{name}"), block, inner));
            }
            (Value::Bool(_), _) => {}
            _ => panic!("{place}.{name} is a block: {argument}"),
        }
    }
    for (name, known) in arguments.iter().filter(|(_, known)| **known == Value::Bool(true)) {
        assert!(body.contains_key(name), "{place} lacks {name}, {known}");
    }
}

#[test]
fn variables_are_explained_and_used() {
    let pattern = regex::Regex::new(r"\bvar\.([a-z_]+)").expect("a pattern");
    for dir in [".", "policy"] {
        let Some(module) = parsed(dir) else { return };
        let variables = module["variable"].as_object().expect("variables");
        let mut body = module.clone();
        body.as_object_mut().expect("an object").remove("variable");
        let text = body.to_string();
        let used: BTreeSet<&str> =
            pattern.captures_iter(&text).map(|found| found.get(1).expect("a name").as_str()).collect();
        assert_eq!(
            used,
            variables.keys().map(String::as_str).collect(),
            "{dir}: used on the left, declared on the right"
        );
        for (section, items) in [("variable", variables), ("output", module["output"].as_object().expect("outputs"))] {
            for (name, item) in items {
                assert!(item[0]["description"].as_str().is_some_and(|d| !d.is_empty()), "{dir}: {section} {name}");
            }
        }
    }
}

#[test]
fn the_example_gives_the_module_what_it_takes() {
    let (Some(module), Some(example)) = (parsed("."), parsed("examples/orders")) else { return };
    let variables = module["variable"].as_object().expect("variables");
    let given = example["module"]["orders"][0].as_object().expect("a module");
    for name in given.keys().filter(|name| *name != "source") {
        assert!(variables.contains_key(name), "the module has no variable {name}");
    }
    for (name, variable) in variables {
        assert!(variable[0].get("default").is_some() || given.contains_key(name), "{name} is not given");
    }
    let policy = parsed("policy").expect("it is there with the module");
    for name in module["module"]["policy"][0].as_object().expect("a module").keys().filter(|name| *name != "source") {
        assert!(policy["variable"].as_object().expect("variables").contains_key(name), "policy has no variable {name}");
    }
}
