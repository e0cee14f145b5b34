//! The CloudFormation template: linted, then made on an emulator that holds everybody to IAM, and a gate run on what it made, by the role it made.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use super::strings;
use super::terraform::evaluated;
use crate::harness::{
    Emulator, Gate, GateOptions, Put, Tool, bad_parcel, good_parcel, repository, run, tool, wait_until,
};

const SOON: Duration = Duration::from_secs(20);

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

    /// The AWS CLI as the account's root, or as somebody. Gives what it said, `Err` where it was refused.
    fn aws(&self, who: Option<&str>, arguments: &[&str]) -> Result<Value, String> {
        let mut aws: Command = tool(Tool::AwsCli).expect("it is there with the emulator");
        aws.args(["--endpoint-url", &self.emulator.endpoint(), "--output", "json"]).args(arguments);
        if let Some(who) = who {
            aws.envs(self.environment(who));
        }
        let output = run(&mut aws);
        if output.status.success() {
            return Ok(serde_json::from_slice(&output.stdout).unwrap_or(Value::Null));
        }
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }

    /// A gate with the settings that the stack gives, by the role it made.
    fn gate(&self, more: &[(&str, &str)]) -> Gate {
        let settings = self.made["outputs"]["Settings"].as_str().expect("settings").to_owned() + "\n";
        let mut environment = self.environment("gate");
        environment.extend(more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        Gate::start(GateOptions { config: Some(settings), environment, ..GateOptions::default() })
    }

    fn records(&self, stream: &str) -> usize {
        let shards = self.aws(None, &["kinesis", "list-shards", "--stream-name", stream]).expect("shards");
        let mut records = 0;
        for shard in shards["Shards"].as_array().expect("shards") {
            let id = shard["ShardId"].as_str().expect("an id");
            let from =
                ["kinesis", "get-shard-iterator", "--shard-iterator-type", "TRIM_HORIZON", "--stream-name", stream];
            let iterator = self.aws(None, &[&from[..], &["--shard-id", id]].concat()).expect("an iterator");
            let iterator = iterator["ShardIterator"].as_str().expect("an iterator").to_owned();
            let got = self.aws(None, &["kinesis", "get-records", "--shard-iterator", &iterator]).expect("records");
            records += got["Records"].as_array().map_or(0, Vec::len);
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
    let answers = gate.kinesis().put_records("parcels-events", &puts).expect("an answer");
    assert_eq!(answers.len(), 3);
    assert_eq!(stack.records("parcels-events"), 2);
    let url =
        stack.aws(None, &["sqs", "get-queue-url", "--queue-name", "parcels-dlq"]).expect("a queue")["QueueUrl"].clone();
    let letters =
        stack.aws(None, &["sqs", "receive-message", "--queue-url", url.as_str().expect("a URL")]).expect("letters");
    assert_eq!(letters["Messages"].as_array().map(Vec::len), Some(1));
    let bucket = "parcels-dead-letters-000000000000-us-east-1";
    let archived = stack.aws(None, &["s3api", "list-objects-v2", "--bucket", bucket]).expect("objects");
    let key = archived["Contents"][0]["Key"].as_str().expect("an object");
    assert!(key.starts_with("meshgate/archive/domain=parcels/"), "{key}");
    wait_until("a notice", SOON, || {
        (gate.metric("meshgate_notices_total", &[r#"outcome="sent""#]) > 0.0).then_some(())
    });
    was_never_refused(&gate);

    // Somebody who may do everything with every stream.
    let put = ["kinesis", "put-record", "--stream-name", "parcels-events", "--partition-key", "k", "--data", "eA=="];
    let refused = stack.aws(Some("other"), &put).expect_err("the stream's policy refuses it");
    assert!(refused.contains("AccessDenied") && refused.contains("explicit deny"), "{refused}");
    assert_eq!(stack.records("parcels-events"), 2);
    // The role may do no more than its work.
    for beyond in [
        &["sqs", "receive-message", "--queue-url", url.as_str().expect("a URL")][..],
        &["kinesis", "delete-stream", "--stream-name", "parcels-events"],
        &[
            "kinesis",
            "get-shard-iterator",
            "--stream-name",
            "parcels-events",
            "--shard-id",
            "shardId-000000000000",
            "--shard-iterator-type",
            "LATEST",
        ],
        &["s3api", "list-objects-v2", "--bucket", bucket],
        &["dynamodb", "list-tables"],
    ] {
        let refused = stack.aws(Some("gate"), beyond).expect_err("it is not the gate's to do");
        assert!(refused.contains("AccessDenied"), "{beyond:?}: {refused}");
    }
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
        let leases = stack.aws(None, &["dynamodb", "scan", "--table-name", "parcels-gate"]).expect("the table");
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
    for stream in ["parcels-raw", "others"] {
        stack
            .aws(None, &["kinesis", "create-stream", "--stream-name", stream, "--shard-count", "1"])
            .expect("a stream");
        stack.aws(None, &["kinesis", "wait", "stream-exists", "--stream-name", stream]).expect("a stream");
    }
    let iterator = |stream| {
        let from = ["kinesis", "get-shard-iterator", "--shard-id", "shardId-000000000000", "--shard-iterator-type"];
        stack.aws(Some("gate"), &[&from[..], &["LATEST", "--stream-name", stream]].concat())
    };
    let may = |arguments: &[&str]| {
        stack.aws(Some("gate"), arguments).unwrap_or_else(|error| panic!("{arguments:?}: {error}"))
    };
    let at = iterator("parcels-raw").expect("an iterator")["ShardIterator"].as_str().expect("an iterator").to_owned();
    may(&["kinesis", "list-shards", "--stream-name", "parcels-raw"]);
    may(&["kinesis", "get-records", "--shard-iterator", &at]);
    may(&["kinesis", "describe-stream-summary", "--stream-name", "parcels-raw"]);
    let arn = "arn:aws:kinesis:us-east-1:000000000000:stream/parcels-raw";
    may(&["kinesis", "register-stream-consumer", "--stream-arn", arn, "--consumer-name", "meshgate"]);
    let refused = iterator("others").expect_err("it is not the gate's to read");
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
