//! The CloudFormation template: linted, then made on an emulator that holds everybody to IAM, and a gate run on what it made, by the role it made.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use super::strings;
use super::terraform::evaluated;
use crate::harness::{
    Emulator, Gate, GateOptions, Put, Tool, bad_parcel, good_parcel, repository, run, tool, wait_until,
};

const SOON: Duration = Duration::from_secs(20);
/// The mesh stream of the domain that the tests' rules are of.
const MESH: &str = "parcels-events";

fn template() -> String {
    std::fs::read_to_string(repository().join("deploy/cloudformation/meshgate.yaml")).expect("a template")
}

#[test]
fn cfn_lint_has_nothing_to_say_of_the_template() {
    let Some(mut lint) = tool(Tool::CfnLint) else { return };
    lint.args(["--include-checks", "I", "--"]).arg(repository().join("deploy/cloudformation/meshgate.yaml"));
    let output = run(&mut lint);
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.trim().is_empty(), "{said}");
}

/// The actions that a text names, its comments apart.
fn actions(text: &str) -> BTreeSet<String> {
    let code = text.lines().filter(|line| !line.trim_start().starts_with('#')).collect::<Vec<_>>().join("\n");
    let pattern = regex::Regex::new(r"\b(kinesis|sqs|sns|s3|kms|dynamodb):[A-Z][A-Za-z]+").expect("a pattern");
    pattern.find_iter(&code).map(|found| found.as_str().to_owned()).collect()
}

fn between<'a>(text: &'a str, begin: &str, end: &str) -> &'a str {
    let (_, rest) = text.split_once(begin).unwrap_or_else(|| panic!("no {begin}"));
    rest.split_once(end).unwrap_or_else(|| panic!("no {end}")).0
}

#[test]
fn what_a_gate_may_do_is_the_same_wherever_it_is_written() {
    let read = |path: &str| std::fs::read_to_string(repository().join(path)).expect("a readable file");
    let operators = read("docs/operators.md");
    let mut listed = actions(between(&operators, "| permission | on | why |", "\n\n"));
    // "only where the gate is to create it": both create it themselves.
    assert!(listed.remove("dynamodb:CreateTable"));
    let of_template = actions(between(&template(), "\n  GatePolicy:\n", "\nOutputs:\n"));
    assert_eq!(of_template, listed, "the template on the left, docs/operators.md on the right");
    let of_module = actions(between(&read("deploy/terraform/policy/main.tf"), "  statements = [", "\n  gate_policy ="));
    assert_eq!(of_module, listed, "the module on the left, docs/operators.md on the right");
}

struct Stack {
    emulator: Emulator,
    made: Value,
}

impl Stack {
    fn create(parameters: &[&str]) -> Option<Self> {
        let emulator = Emulator::ministack_guarded()?;
        let mut python = tool(Tool::Python)?;
        python.arg(repository().join("tests/tools/stack.py")).arg(emulator.endpoint());
        let output = run(python.arg(repository().join("deploy/cloudformation/meshgate.yaml")).args(parameters));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let made = serde_json::from_slice(&output.stdout).expect("JSON");
        Some(Self { emulator, made })
    }

    /// The environment of whoever is one of the template's.
    fn environment(&self, who: &str) -> Vec<(String, String)> {
        let names = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"];
        let mut environment: Vec<_> = names
            .iter()
            .zip(strings(&self.made[who]))
            .filter(|(_, value)| !value.is_empty())
            .map(|(name, value)| ((*name).to_owned(), value.to_owned()))
            .collect();
        environment.push(("AWS_ENDPOINT_URL".to_owned(), self.emulator.endpoint()));
        environment
    }

    /// Calls as the account's root (`None`) or as one of the template's people: what each gave, `Err` where it was refused.
    fn ask<const N: usize>(&self, calls: [(Option<&str>, &str, &str, Value); N]) -> [Result<Value, String>; N] {
        let mut python: Command = tool(Tool::Python).expect("it is there with the emulator");
        python.arg(repository().join("tests/tools/calls.py")).arg(self.emulator.endpoint());
        let calls = calls.map(|(who, service, operation, parameters)| {
            json!([who.map(|who| &self.made[who]), service, operation, parameters])
        });
        let mut child = python.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("python starts");
        child
            .stdin
            .take()
            .expect("a pipe")
            .write_all(Value::from(calls.to_vec()).to_string().as_bytes())
            .expect("a reader");
        let output = child.wait_with_output().expect("an end");
        let answers: Vec<Value> = serde_json::from_slice(&output.stdout).expect("JSON");
        let answers = answers.into_iter().map(|answer| match answer["refused"].as_str() {
            Some(why) => Err(why.to_owned()),
            None => Ok(answer["ok"].clone()),
        });
        answers.collect::<Vec<_>>().try_into().expect("as many answers as calls")
    }

    /// A gate with the settings that the stack gives, by the role it made.
    fn gate(&self, more: &[(&str, &str)]) -> Gate {
        let settings = self.made["outputs"]["Settings"].as_str().expect("settings").to_owned() + "\n";
        let mut environment = self.environment("gate");
        environment.extend(more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        Gate::start(GateOptions { config: Some(settings), environment, ..GateOptions::default() })
    }

    /// How many records the mesh stream has.
    fn on_mesh_stream(&self) -> usize {
        let listed = self.ask([(None, "kinesis", "list_shards", json!({"StreamName": MESH}))]);
        let mut records = 0;
        for shard in listed[0].as_ref().expect("shards")["Shards"].as_array().expect("shards") {
            let from = json!({"StreamName": MESH, "ShardId": shard["ShardId"], "ShardIteratorType": "TRIM_HORIZON"});
            let [iterator] = self.ask([(None, "kinesis", "get_shard_iterator", from)]);
            let at = json!({"ShardIterator": iterator.expect("an iterator")["ShardIterator"]});
            let [got] = self.ask([(None, "kinesis", "get_records", at)]);
            records += got.expect("records")["Records"].as_array().map_or(0, Vec::len);
        }
        records
    }
}

/// No call of the gate's was refused by IAM.
fn was_never_refused(gate: &Gate) {
    let refused: Vec<String> = gate.log().into_iter().filter(|line| line.contains("AccessDenied")).collect();
    assert!(refused.is_empty(), "{refused:?}");
    assert_eq!(gate.metric("meshgate_sink_failures_total", &[]), 0.0);
}

#[test]
fn a_gate_does_its_work_by_the_stacks_role_and_nobody_passes_it_by() {
    let stack = Stack::create(&["Domain=parcels", "LetterBucket=true", "Topic=true"]);
    let Some(stack) = stack else { return };
    let gate = stack.gate(&[]);
    let puts = [Put::new(good_parcel("1"), "k"), Put::new(bad_parcel("2"), "k"), Put::new(good_parcel("3"), "k")];
    let answers = gate.kinesis().put_records(MESH, &puts).expect("an answer");
    assert_eq!(answers.len(), 3);
    let url = format!("{}/000000000000/parcels-dlq", stack.emulator.endpoint());
    let bucket = "parcels-dead-letters-000000000000-us-east-1";
    let [letters, archived] = stack.ask([
        (None, "sqs", "receive_message", json!({"QueueUrl": url})),
        (None, "s3", "list_objects_v2", json!({"Bucket": bucket})),
    ]);
    assert_eq!(letters.expect("letters")["Messages"].as_array().map(Vec::len), Some(1));
    let archived = archived.expect("objects");
    let key = archived["Contents"][0]["Key"].as_str().expect("an object");
    assert!(key.starts_with("meshgate/archive/domain=parcels/"), "{key}");
    wait_until("a notice", SOON, || {
        (gate.metric("meshgate_notices_total", &[r#"outcome="sent""#]) > 0.0).then_some(())
    });
    was_never_refused(&gate);

    // Somebody who may do everything with every stream; and the gate, which may do no more than its work.
    let last = json!({"StreamName": MESH, "ShardId": "shardId-000000000000", "ShardIteratorType": "LATEST"});
    let [passed_by, beyond @ ..] = stack.ask([
        (Some("other"), "kinesis", "put_record", json!({"StreamName": MESH, "PartitionKey": "k", "Data": "x"})),
        (Some("gate"), "kinesis", "delete_stream", json!({"StreamName": MESH})),
        (Some("gate"), "kinesis", "get_shard_iterator", last),
        (Some("gate"), "sqs", "receive_message", json!({"QueueUrl": url})),
        (Some("gate"), "s3", "list_objects_v2", json!({"Bucket": bucket})),
        (Some("gate"), "dynamodb", "list_tables", json!({})),
    ]);
    let refused = passed_by.expect_err("the stream's policy refuses it");
    assert!(refused.contains("AccessDenied") && refused.contains("explicit deny"), "{refused}");
    for refused in beyond {
        let refused = refused.expect_err("it is not the gate's to do");
        assert!(refused.contains("AccessDenied"), "{refused}");
    }
    assert_eq!(stack.on_mesh_stream(), 2);
}

/// The emulator's sequence numbers are none that a checkpoint could hold, so that streams are another's here: whose calls nobody checks.
#[test]
fn a_gate_keeps_its_leases_in_the_stacks_table_by_its_role() {
    let stack = Stack::create(&["Domain=parcels", "Reading=polling", "SourceStream=parcels-raw"]);
    let (Some(stack), Some(streams)) = (stack, Emulator::kinesis_local("parcels-raw:2,parcels-events:1")) else {
        return;
    };
    let puts = [Put::new(good_parcel("1"), "a"), Put::new(bad_parcel("2"), "b")];
    streams.kinesis().put_records("parcels-raw", &puts).expect("an answer");
    let gate = stack.gate(&[("AWS_ENDPOINT_URL_KINESIS", &streams.endpoint())]);
    wait_until("both events are settled", SOON, || {
        let counted = |settlement| gate.metric("meshgate_records_total", &[settlement]);
        (counted(r#"settlement="forwarded""#) == 1.0 && counted(r#"settlement="quarantined""#) == 1.0).then_some(())
    });
    wait_until("a checkpoint of each shard", SOON, || {
        let [leases] = stack.ask([(None, "dynamodb", "scan", json!({"TableName": "parcels-gate"}))]);
        let leases = leases.expect("the table");
        let numbers = leases["Items"]
            .as_array()?
            .iter()
            .filter(|l| l["checkpoint"]["S"].as_str().is_some_and(|c| c.starts_with("49")));
        (numbers.count() == 2).then_some(())
    });
    was_never_refused(&gate);
}

#[test]
fn the_stacks_role_may_read_and_fan_out_the_one_stream() {
    let stack = Stack::create(&["Domain=parcels", "Reading=fan_out", "SourceStream=parcels-raw"]);
    let Some(stack) = stack else { return };
    let stream = |name| (None, "kinesis", "create_stream", json!({"StreamName": name, "ShardCount": 1}));
    for made in stack.ask([stream("parcels-raw"), stream("others")]) {
        made.expect("a stream");
    }
    let from = |stream| json!({"StreamName": stream, "ShardId": "shardId-000000000000", "ShardIteratorType": "LATEST"});
    let iterator = wait_until("the stream is there", SOON, || {
        let [iterator] = stack.ask([(Some("gate"), "kinesis", "get_shard_iterator", from("parcels-raw"))]);
        iterator.ok()
    });
    let arn = "arn:aws:kinesis:us-east-1:000000000000:stream/parcels-raw";
    let consumer = json!({"StreamARN": arn, "ConsumerName": "meshgate"});
    let [others, allowed @ ..] = stack.ask([
        (Some("gate"), "kinesis", "get_shard_iterator", from("others")),
        (Some("gate"), "kinesis", "list_shards", json!({"StreamName": "parcels-raw"})),
        (Some("gate"), "kinesis", "get_records", json!({"ShardIterator": iterator["ShardIterator"]})),
        (Some("gate"), "kinesis", "describe_stream_summary", json!({"StreamName": "parcels-raw"})),
        (Some("gate"), "kinesis", "register_stream_consumer", consumer),
    ]);
    for answer in allowed {
        answer.expect("it is the gate's to do");
    }
    let refused = others.expect_err("it is not the gate's to read");
    assert!(refused.contains("AccessDenied"), "{refused}");
}

/// Statement for statement, where there is a Terraform to evaluate the module's.
#[test]
fn the_module_and_the_template_give_the_same_rights() {
    let key = "KeyArn=arn:aws:kms:us-east-1:000000000000:key/1";
    let parameters =
        ["Domain=parcels", "Reading=fan_out", "SourceStream=parcels-raw", "LetterBucket=true", "Topic=true", key];
    let Some(stack) = Stack::create(&parameters) else { return };
    let arn = |service: &str, name: &str| format!("arn:aws:{service}:us-east-1:000000000000:{name}");
    let mesh = arn("kinesis", "stream/parcels-events");
    let variables = json!({
        "mesh_stream_arns": [mesh],
        "queue_arns": [arn("sqs", "parcels-dlq")],
        "topic_arns": [arn("sns", "parcels-notices")],
        "letter_arns": ["arn:aws:s3:::parcels-dead-letters-000000000000-us-east-1/meshgate/"],
        "key_arns": [arn("kms", "key/1")],
        "read_stream_arns": [arn("kinesis", "stream/parcels-raw")],
        "fan_out": true,
        "lease_table_arns": [arn("dynamodb", "table/parcels-gate")],
        "writer_role_arns": [stack.made["outputs"]["RoleArn"]],
    });
    let Some(of_module) = evaluated(Path::new("policy"), &variables) else { return };
    let document = |name: &str| -> Value {
        serde_json::from_str(of_module[name]["value"].as_str().expect("a document")).expect("JSON")
    };
    assert_eq!(plain(&document("gate_policy")), plain(&stack.made["policy"]));
    let policies = of_module["mesh_stream_policies"]["value"].as_object().expect("a policy for each stream");
    let policy: Value = serde_json::from_str(policies[&mesh].as_str().expect("a document")).expect("JSON");
    let refusal = &policy["Statement"][0];
    assert_eq!(refusal["Effect"], "Deny");
    assert_eq!(refusal["Condition"], json!({"ArnNotEquals": {"aws:PrincipalArn": [stack.made["outputs"]["RoleArn"]]}}));
    // Nobody is named who may change it: the organisation's policy must not shut out everybody.
    let organisation = document("service_control_policy");
    assert_eq!(organisation["Statement"].as_array().map(Vec::len), Some(1), "{organisation}");
}

/// What a policy's statements come to: those that differ in form only are equal.
fn plain(policy: &Value) -> BTreeSet<(String, BTreeSet<String>, BTreeSet<String>)> {
    let list = |value: &Value| match value {
        Value::String(one) => BTreeSet::from([one.clone()]),
        many => strings(many).into_iter().map(str::to_owned).collect(),
    };
    let statements = policy["Statement"].as_array().expect("statements");
    statements
        .iter()
        .map(|s| {
            assert_eq!(s["Effect"], "Allow", "{s}");
            (s["Sid"].as_str().expect("a name").to_owned(), list(&s["Action"]), list(&s["Resource"]))
        })
        .collect()
}
