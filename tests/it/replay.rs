//! Dead letters after a fix: counted, judged again, forwarded once.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::{
    Emulator, Gate, GateOptions, GitRemote, Kinesis, Put, bad_parcel, copy_tree, good_parcel, parcels_rules, run,
    temporary, wait_until,
};

const MESH: &str = "parcels-mesh";
const QUEUE: &str = "meshgate-dlq";
const BUCKET: &str = "meshgate-letters";

/// The tests' rules without the one that `bad_parcel` breaks.
fn fixed_rules() -> TempDir {
    let home = temporary();
    copy_tree(&parcels_rules(), &home.path().join("rules"));
    let path = home.path().join("rules/parcels/parcel.sent.yaml");
    let text = std::fs::read_to_string(&path).expect("the contract");
    let fixed = text.replace("this.weight > 0.0", "this.weight > -2.0");
    assert_ne!(text, fixed, "the rule is there");
    std::fs::write(&path, fixed).expect("the contract can be written");
    home
}

fn rules_of(home: &TempDir) -> PathBuf {
    home.path().join("rules")
}

/// A `dlq` command on a gate's store: its exit code, its JSON lines, and what it said.
fn dlq(command: &mut Command) -> (Option<i32>, Vec<Value>, String) {
    let output = run(command);
    let text = String::from_utf8(output.stdout).expect("text");
    let lines = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    (output.status.code(), lines, String::from_utf8_lossy(&output.stderr).into_owned())
}

fn replay(gate: &Gate, rules: &Path, more: &[&str]) -> (Option<i32>, Vec<Value>, String) {
    dlq(gate.command(&[&["dlq", "replay"], more].concat()).arg("--rules").arg(rules))
}

/// How many letters have this outcome.
fn of(lines: &[Value], outcome: &str) -> u64 {
    lines.iter().filter(|line| line["outcome"] == outcome).filter_map(|line| line["count"].as_u64()).sum()
}

fn put(kinesis: &mut Kinesis, stream: &str, count: usize) {
    for part in (0..count).collect::<Vec<_>>().chunks(500) {
        let puts: Vec<Put> = part.iter().map(|i| Put::new(bad_parcel(&i.to_string()), &format!("key-{i}"))).collect();
        let results = kinesis.put_records(stream, &puts).expect("PutRecords answers");
        assert!(results.iter().all(|result| result["ErrorCode"].is_null()), "{results:?}");
    }
}

/// How often each event is on a stream; each with the key it was put with, byte for byte.
fn arrived(kinesis: &mut Kinesis, stream: &str) -> BTreeMap<String, u32> {
    let mut times = BTreeMap::new();
    for record in kinesis.read_all(stream) {
        let event: Value = serde_json::from_slice(&record.data).expect("an event");
        let id = event["id"].as_str().expect("an id").to_owned();
        assert_eq!(record.data, bad_parcel(&id).into_bytes());
        assert_eq!(record.key, format!("key-{id}"));
        *times.entry(id).or_default() += 1;
    }
    times
}

#[test]
fn after_a_fix_what_passes_goes_to_the_mesh_once_beside_a_running_gate() {
    let gate = Gate::start(GateOptions::default());
    put(&mut gate.kinesis(), "parcels", 30);
    let secret = r#"{"type":"parcel.sent","id":"x","data":{"recipient":"Ada","weight":"heavy"}}"#;
    gate.kinesis().put_records("parcels", &[Put::new(secret, "key-x")]).expect("PutRecords answers");

    let (_, counts, _) = dlq(&mut gate.command(&["dlq", "stats", "--by", "rule,pointer", "--format", "json"]));
    assert_eq!((&counts[0]["rule"], &counts[0]["count"]), (&"weight_is_positive".into(), &30.into()));

    let fixed = fixed_rules();
    let (code, lines, told) = replay(&gate, &rules_of(&fixed), &["--dry-run"]);
    assert_eq!((code, of(&lines, "forwarded"), of(&lines, "refused")), (Some(0), 30, 1), "{told}");
    assert!(told.contains("30 would be forwarded, 1 stay"), "{told}");
    assert!(arrived(&mut gate.kinesis(), "parcels").is_empty(), "nothing was done");

    let (code, lines, told) = replay(&gate, &rules_of(&fixed), &[]);
    assert_eq!((code, of(&lines, "forwarded"), of(&lines, "refused")), (Some(0), 30, 1), "{told}");
    let there = arrived(&mut gate.kinesis(), "parcels");
    assert_eq!((there.len(), there.values().max()), (30, Some(&1)));
    // The gate goes on writing to the same store.
    let good = Put::new(good_parcel("after"), "key-after");
    let results = gate.kinesis().put_records("parcels", &[good]).expect("PutRecords answers");
    assert!(results[0]["ErrorCode"].is_null(), "{results:?}");
    assert_eq!(gate.kinesis().read_all("parcels").len(), 31);

    // What stays says what was tried; what is gone is known by its id.
    let (_, left, _) = dlq(&mut gate.command(&["dlq", "ls", "--format", "json"]));
    assert_eq!(left.len(), 1);
    let id = left[0]["id"].as_str().unwrap();
    let shown = String::from_utf8(run(&mut gate.command(&["dlq", "show", id])).stdout).expect("text");
    assert!(!shown.contains("\"weight\": \"heavy\"") && shown.contains("(--values shows it)"), "{shown}");
    let shown = run(&mut gate.command(&["dlq", "show", id, "--values"]));
    let shown: Value = serde_json::from_slice(&shown.stdout).expect("a document");
    assert_eq!(shown["replay"]["attempts"], 1);
    let history = &shown["replay"]["history"][0];
    assert_eq!((&history["rule"], &history["kind"]), (&"schema".into(), &"schema".into()), "{shown:#}");
    let violations = shown["violations"].as_array().expect("some");
    assert!(violations.iter().any(|violation| violation["value"] == "heavy"), "{shown:#}");

    let (code, lines, _) = replay(&gate, &rules_of(&fixed), &[]);
    assert_eq!((code, of(&lines, "forwarded"), of(&lines, "refused")), (Some(0), 0, 1));
}

#[test]
fn lineage_is_written_where_the_contract_has_a_place_for_it() {
    let gate = Gate::start(GateOptions::default());
    put(&mut gate.kinesis(), "parcels", 1);
    let fixed = fixed_rules();
    let path = rules_of(&fixed).join("parcels/parcel.sent.yaml");
    let text = std::fs::read_to_string(&path).expect("the contract");
    std::fs::write(&path, format!("{text}replay: {{lineage: /replay}}\n")).expect("the contract can be written");
    let (_, letters, _) = dlq(&mut gate.command(&["dlq", "ls", "--format", "json"]));
    let (_, lines, told) = replay(&gate, &rules_of(&fixed), &[]);
    assert_eq!(of(&lines, "forwarded"), 1, "{told}");
    let events = gate.kinesis().read_all("parcels");
    let event: Value = serde_json::from_slice(&events[0].data).expect("an event");
    assert_eq!((&event["replay"]["deadLetter"], &event["replay"]["attempts"]), (&letters[0]["id"], &1.into()));
    assert_eq!((&event["id"], &event["data"]["weight"]), (&"0".into(), &(-1).into()));
}

#[test]
fn a_repair_is_applied_judged_and_kept_in_both_versions() {
    let gate = Gate::start(GateOptions::default());
    put(&mut gate.kinesis(), "parcels", 2);
    let (_, letters, _) = dlq(&mut gate.command(&["dlq", "ls", "--format", "json"]));
    let id = letters[0]["id"].as_str().unwrap();

    let edit = ["--edit", "/data/weight = 1 - this.data.weight * 2"];
    let (code, lines, told) = replay(&gate, &parcels_rules(), &[&edit[..], &["--limit", "1"]].concat());
    assert_eq!((code, of(&lines, "forwarded")), (Some(1), 1), "the limit ends it early: {told}");
    let (_, lines, told) = replay(&gate, &parcels_rules(), &edit);
    assert_eq!(of(&lines, "forwarded"), 1, "{told}");
    let events = gate.kinesis().read_all("parcels");
    assert_eq!(events.len(), 2);
    for event in events {
        let event: Value = serde_json::from_slice(&event.data).expect("an event");
        assert_eq!(event["data"]["weight"], 3);
    }
    let shown = run(&mut gate.command(&["dlq", "show", id]));
    let shown: Value = serde_json::from_slice(&shown.stdout).expect("what is noted");
    assert_eq!(shown["before"]["payload"]["json"]["data"]["weight"], -1, "{shown:#}");
    assert_eq!(shown["after"]["data"]["weight"], 3, "{shown:#}");

    let (code, _, told) = replay(&gate, &parcels_rules(), &["--edit", "weight = 1"]);
    assert_eq!(code, Some(2));
    assert!(told.contains("write \"/weight\"") && told.contains("nothing was replayed"), "{told}");
}

#[test]
fn letters_are_exported_as_they_may_be_seen_or_as_they_were_put_and_purged_when_somebody_says_so() {
    let gate = Gate::start(GateOptions::default());
    put(&mut gate.kinesis(), "parcels", 3);
    let exported = String::from_utf8(run(&mut gate.command(&["dlq", "export"])).stdout).expect("text");
    let documents: Vec<Value> = exported.lines().map(|line| serde_json::from_str(line).expect("a document")).collect();
    assert_eq!(documents.len(), 3);
    assert_eq!(documents[0]["schema"], "meshgate.dlq/v1");
    let events = String::from_utf8(run(&mut gate.command(&["dlq", "export", "--original"])).stdout).expect("text");
    let sent: Vec<String> = (0..3).map(|id| bad_parcel(&id.to_string())).collect();
    assert_eq!(events.lines().collect::<Vec<_>>(), sent);

    let left = || dlq(&mut gate.command(&["dlq", "ls", "--format", "json"])).1.len();
    let said = |words: &[&str]| {
        let output = run(&mut gate.command(&[&["dlq", "purge"], words].concat()));
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(text).expect("text"))
    };
    assert_eq!(said(&["--dry-run"]), (Some(0), "3 dead letters would be deleted\n".into()));
    let (code, told) = said(&[]);
    assert_eq!((code, left()), (Some(2), 3), "nobody is there to say yes");
    assert!(told.contains("--yes"), "{told}");
    assert_eq!(said(&["--rule", "heavy", "--yes"]), (Some(0), "0 dead letters deleted\n".into()));
    assert_eq!(said(&["--rule", "weight_is_positive", "--yes"]), (Some(0), "3 dead letters deleted\n".into()));
    assert_eq!(left(), 0);
}

#[test]
fn the_rules_of_a_git_remote_are_fetched_beside_the_gate_that_has_them_too() {
    let remote = GitRemote::new();
    let gate = remote.gate("", None);
    put(&mut gate.kinesis(), "parcels", 1);
    let (code, lines, told) = dlq(&mut gate.command(&["dlq", "replay", "--dry-run"]));
    assert_eq!((code, of(&lines, "refused")), (Some(0), 1), "{told}");
}

/// Kills replays while they are at it, and runs them again until one comes to its end.
fn kill_and_go_on(mut replay: impl FnMut() -> Command, kills: u32) -> Vec<Value> {
    for _ in 0..kills {
        let mut child = replay().stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts");
        std::thread::sleep(Duration::from_millis(900));
        child.kill().expect("it can be killed");
        child.wait().expect("it ends");
    }
    let (code, lines, told) = dlq(&mut replay());
    assert_eq!(code, Some(0), "{told}");
    lines
}

#[test]
fn a_replay_that_is_killed_goes_on_and_accounts_for_each_event() {
    let gate = Gate::start(GateOptions::default());
    put(&mut gate.kinesis(), "parcels", 2_000);
    let fixed = fixed_rules();
    let again = || {
        let mut command = gate.command(&["dlq", "replay", "--per-second", "400", "--workers", "2"]);
        command.arg("--rules").arg(rules_of(&fixed));
        command
    };
    let lines = kill_and_go_on(again, 3);
    let there = arrived(&mut gate.kinesis(), "parcels");
    assert_eq!(there.len(), 2_000, "each event is there");
    let twice = u64::from(there.values().map(|times| times - 1).sum::<u32>());
    // A replay that dies between the event's arrival and its note puts it again: two batches of 100 each time.
    assert!(twice <= 3 * 200, "{twice}");
    assert!(of(&lines, "forwarded") + of(&lines, "possibly_twice") > 0, "{lines:?}");
    let (_, left, _) = dlq(&mut gate.command(&["dlq", "ls", "--format", "json"]));
    assert_eq!(left.len(), 0);
}

fn aws_config(mesh: &Emulator, aws: &Emulator, queue: &str) -> String {
    format!(
        "backend: aws\n\
         aws: {{region: us-east-1, kinesis_endpoint: \"{}\", sqs_endpoint: \"{1}\", s3_endpoint: \"{1}\"}}\n\
         dlq: {queue}\n\
         dead_letters: {{s3: {{bucket: {BUCKET}}}}}\n\
         retry: {{attempts: 3, deadline_seconds: 3}}\n\
         routes:\n  - {{source: parcels-in, mesh: {MESH}}}\n",
        mesh.endpoint(),
        aws.endpoint()
    )
}

fn credentials() -> Vec<(String, String)> {
    [("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test"), ("AWS_EC2_METADATA_DISABLED", "true")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec()
}

/// A gate before these, and `dlq` commands with its settings.
struct OnAws {
    gate: Gate,
    rules: TempDir,
}

impl OnAws {
    fn start(mesh: &Emulator, aws: &Emulator, queue: &str) -> Self {
        let config = Some(aws_config(mesh, aws, queue));
        let gate = Gate::start(GateOptions { config, environment: credentials(), ..GateOptions::default() });
        Self { gate, rules: fixed_rules() }
    }

    fn dlq(&self, words: &[&str]) -> (Option<i32>, Vec<Value>, String) {
        let mut command = self.gate.command(&[&["dlq"], words].concat());
        if words[0] == "replay" {
            command.arg("--rules").arg(rules_of(&self.rules));
        }
        dlq(command.envs(credentials()))
    }

    fn replay(&self, more: &[&str]) -> (Vec<Value>, String) {
        let (code, lines, told) = self.dlq(&[&["replay"], more].concat());
        assert_eq!(code, Some(0), "{told}");
        (lines, told)
    }
}

/// What passes goes to Kinesis once, what does not is in its queue with its attempts; FIFO too.
#[test]
fn letters_of_sqs_are_replayed_to_kinesis_and_those_that_stay_carry_their_attempts() {
    let Some(mesh) = Emulator::ministack() else { return };
    let queues = [QUEUE, "meshgate-dlq.fifo"];
    for (number, aws) in [Emulator::ministack(), Emulator::fauxqs()].into_iter().flatten().enumerate() {
        if number == 0 {
            mesh.create_stream(MESH, 2);
        }
        for queue in queues {
            aws.create_queue(queue);
        }
        sqs(&mesh, &aws, queues);
    }
}

fn sqs(mesh: &Emulator, aws: &Emulator, queues: [&str; 2]) {
    for queue in queues {
        let gate = OnAws::start(mesh, aws, queue);
        put(&mut gate.gate.kinesis(), "parcels-in", 40);
        let wrong = r#"{"type":"parcel.sent","id":"x","data":{"weight":"heavy"}}"#;
        gate.gate.kinesis().put_records("parcels-in", &[Put::new(wrong, "key-x")]).expect("PutRecords answers");
        let before = arrived(&mut mesh.kinesis(), MESH).values().sum::<u32>();
        if !queue.ends_with(".fifo") {
            let (_, counts, told) = gate.dlq(&["stats", "--by", "rule", "--format", "json"]);
            let counted: u64 = counts.iter().filter_map(|line| line["count"].as_u64()).sum();
            assert_eq!(counted, 41, "{counts:?} {told}");
            // Those that were looked at are given back.
            let (lines, told) = gate.replay(&["--dry-run"]);
            assert_eq!((of(&lines, "forwarded"), of(&lines, "refused")), (40, 1), "{told}");
        }
        let (lines, told) = gate.replay(&[]);
        assert_eq!((of(&lines, "forwarded"), of(&lines, "refused")), (40, 1), "{queue} {told}");
        let after = arrived(&mut mesh.kinesis(), MESH).values().sum::<u32>();
        assert_eq!(after - before, 40, "{queue}");
        let (lines, told) = gate.replay(&[]);
        assert_eq!((of(&lines, "forwarded"), of(&lines, "refused")), (0, 1), "{queue} {told}");
        let mut left = Vec::new();
        wait_until("the letter that stays is there", Duration::from_secs(10), || {
            left.extend(aws.messages(queue));
            (!left.is_empty()).then_some(())
        });
        assert_eq!(left.len(), 1, "{queue}");
        assert_eq!(left[0].body["replay"]["attempts"], 2, "{queue}");
    }
}

#[test]
fn a_letter_in_an_object_is_replayed_with_its_event_and_keeps_its_attempts_there() {
    let Some(aws) = Emulator::ministack() else { return };
    aws.create_stream(MESH, 1);
    aws.create_bucket(BUCKET);
    aws.create_queue_with(QUEUE, &json!({"MaximumMessageSize": "4096"}));
    let gate = OnAws::start(&aws, &aws, QUEUE);
    let wide = |id: &str, weight: &str| {
        let (name, weight) = ("é".repeat(4_000), format!("\"weight\":{weight}"));
        bad_parcel(id).replace("Ada", &name).replace("\"weight\":-1", &weight)
    };
    let puts = [Put::new(wide("1", "-1"), "key-1"), Put::new(wide("2", "-9"), "key-2")];
    let results = gate.gate.kinesis().put_records("parcels-in", &puts).expect("PutRecords answers");
    assert!(results.iter().all(|result| result["ErrorCode"].is_null()), "{results:?}");
    assert_eq!(aws.keys(BUCKET).len(), 2);

    let (lines, told) = gate.replay(&[]);
    assert_eq!((of(&lines, "forwarded"), of(&lines, "refused")), (1, 1), "{told}");
    let there = aws.kinesis().read_all(MESH);
    assert_eq!((there.len(), &there[0].data), (1, &wide("1", "-1").into_bytes()));
    // The object of the one is gone with its message; that of the other has its attempt, and its message points to it still.
    let keys = aws.keys(BUCKET);
    assert_eq!(keys.len(), 1);
    let document: Value = serde_json::from_slice(&aws.object(BUCKET, &keys[0])).expect("a document");
    assert_eq!(document["replay"]["attempts"], 1);
    let (lines, _) = gate.replay(&[]);
    assert_eq!((of(&lines, "forwarded"), of(&lines, "refused")), (0, 1));
}

#[test]
fn with_the_queue_away_a_replay_says_so_and_does_nothing() {
    let Some(mut aws) = Emulator::ministack() else { return };
    aws.create_stream(MESH, 1);
    aws.create_queue(QUEUE);
    let gate = OnAws::start(&aws, &aws, QUEUE);
    aws.kill();
    let (code, _, told) = gate.dlq(&["replay"]);
    assert_eq!(code, Some(2), "{told}");
    assert!(told.contains("SQS queue"), "{told}");
}
