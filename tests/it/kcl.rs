//! `meshgate kcl` as the KCL's daemon runs it: JSON lines on its standard input and output, a process a shard.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::harness::{Gate, GateOptions, bad_parcel, binary, get, good_parcel, parcels_rules, temporary};

/// The daemon's side of one processor. It knows what was checkpointed, as the lease table does.
struct Daemon {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    admin: SocketAddr,
    checkpoint: Option<u64>,
}

impl Daemon {
    fn start(home: &Path, checkpoint_seconds: u64) -> Self {
        let mut command = Command::new(binary());
        command.args(["kcl", "--stream", "parcels", "--admin", "127.0.0.1:0"]).arg("--rules").arg(parcels_rules());
        command.arg("--data").arg(home.join("meshgate.db")).current_dir(home);
        command.arg("--checkpoint-seconds").arg(checkpoint_seconds.to_string());
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
        let log = BufReader::new(child.stderr.take().expect("a pipe"));
        let (told, admin) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            for line in log.lines().map_while(Result::ok) {
                let line: Value = serde_json::from_str(&line).unwrap_or_default();
                if let Some(address) = line["fields"]["admin"].as_str() {
                    let _ = told.send(address.parse().expect("an address"));
                }
            }
        });
        let output = BufReader::new(child.stdout.take().expect("a pipe"));
        let input = child.stdin.take();
        let admin = admin.recv().expect("its log names the admin port");
        let mut daemon = Self { child, input, output, admin, checkpoint: None };
        daemon.say(&json!({"action": "initialize", "shardId": "shardId-000000000000", "sequenceNumber": "TRIM_HORIZON", "subSequenceNumber": 0}));
        daemon
    }

    fn send(&mut self, message: &Value) {
        let input = self.input.as_mut().expect("open");
        writeln!(input, "{message}").and_then(|()| input.flush()).expect("it reads");
    }

    /// What it says next: the protocol, and nothing else.
    fn hear(&mut self) -> Value {
        loop {
            let mut line = String::new();
            assert!(self.output.read_line(&mut line).expect("readable") > 0, "it ended early");
            if !line.trim().is_empty() {
                return serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
            }
        }
    }

    /// Sends a message, and answers checkpoints until it is dealt with.
    fn say(&mut self, message: &Value) {
        self.send(message);
        loop {
            let heard = self.hear();
            match heard["action"].as_str() {
                Some("status") => {
                    assert_eq!(heard["responseFor"], message["action"]);
                    return;
                }
                Some("checkpoint") => {
                    if let Some(sequence) = heard["sequenceNumber"].as_str() {
                        self.checkpoint = Some(sequence.parse().expect("a number"));
                    }
                    self.send(
                        &json!({"action": "checkpoint", "sequenceNumber": heard["sequenceNumber"], "error": null}),
                    );
                }
                _ => panic!("{heard}"),
            }
        }
    }

    /// Closes its end, as the daemon does.
    fn close(mut self) {
        drop(self.input.take());
        assert!(self.child.wait().expect("it ends").success());
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn records(range: std::ops::Range<u64>) -> Value {
    let record = |number: u64| {
        let event = if number % 5 == 4 { bad_parcel(&number.to_string()) } else { good_parcel(&number.to_string()) };
        json!({"action": "record", "data": STANDARD.encode(event), "partitionKey": format!("k{number}"),
               "sequenceNumber": number.to_string(), "subSequenceNumber": 0, "approximateArrivalTimestamp": 1_764_288_000_500_i64})
    };
    json!({"action": "processRecords", "millisBehindLatest": 9, "records": range.map(record).collect::<Vec<_>>()})
}

/// What is on the mesh stream and in the dead-letter queue, by number, sorted.
fn kept(home: &Path) -> (Vec<u64>, Vec<u64>) {
    let gate = Gate::start(GateOptions { data: Some(home.join("meshgate.db")), ..GateOptions::default() });
    let number = |bytes: &[u8]| -> u64 {
        let event: Value = serde_json::from_slice(bytes).expect("an event");
        event["id"].as_str().and_then(|id| id.parse().ok()).expect("a number")
    };
    let mut good: Vec<u64> = gate.kinesis().read_all("parcels").iter().map(|record| number(&record.data)).collect();
    let listed = gate.command(&["dlq", "ls", "--format", "json", "--limit", "1000"]).output().expect("dlq ls");
    let text = String::from_utf8(listed.stdout).expect("UTF-8");
    let mut bad: Vec<u64> = text
        .lines()
        .map(|line| {
            let letter: Value = serde_json::from_str(line).expect("a JSON line");
            let id = letter["id"].as_str().expect("an id").to_owned();
            let shown = gate.command(&["dlq", "show", &id]).output().expect("dlq show");
            let shown: Value = serde_json::from_slice(&shown.stdout).expect("a document");
            let position = shown["source"]["position"].as_str().unwrap_or_else(|| panic!("{shown}"));
            let mut parts = position.split('/');
            assert_eq!(parts.next(), Some("shardId-000000000000"));
            parts.next().and_then(|sequence| sequence.parse().ok()).expect("a sequence number")
        })
        .collect();
    good.sort_unstable();
    bad.sort_unstable();
    (good, bad)
}

#[test]
fn a_daemon_is_answered_in_its_protocol_and_every_record_is_kept() {
    let home = temporary();
    let mut daemon = Daemon::start(home.path(), 0);
    daemon.say(&records(0..700));
    assert_eq!(daemon.checkpoint, Some(699));
    daemon.say(&records(700..720));
    let metrics = get(daemon.admin, "/metrics").expect("an answer").text();
    assert!(
        metrics.contains("meshgate_shard_lag_milliseconds{shard=\"shardId-000000000000\",stream=\"parcels\"} 9"),
        "{metrics}"
    );
    daemon.say(&json!({"action": "shutdownRequested"}));
    daemon.close();
    let (good, bad) = kept(home.path());
    assert_eq!(good, (0..720).filter(|n| n % 5 != 4).collect::<Vec<_>>());
    assert_eq!(bad, (0..720).filter(|n| n % 5 == 4).collect::<Vec<_>>());
}

#[test]
fn what_was_not_checkpointed_before_a_kill_comes_again_and_nothing_is_missing() {
    let home = temporary();
    let (mut next, mut sent) = (0, 0);
    for round in 0..4 {
        let mut daemon = Daemon::start(home.path(), 0);
        for _ in 0..3 {
            daemon.say(&records(next..next + 50));
            (next, sent) = (next + 50, sent + 50);
        }
        // In the middle of a batch.
        daemon.send(&records(next..next + 50));
        sent += 50;
        if round < 3 {
            drop(daemon);
        } else {
            while daemon.hear()["action"] != "status" {
                daemon.send(&json!({"action": "checkpoint", "error": null}));
            }
            next += 50;
            daemon.close();
        }
    }
    let (mut good, mut bad) = kept(home.path());
    let all = good.len() + bad.len();
    assert!(all <= sent as usize, "{all} of {sent} sent");
    good.dedup();
    bad.dedup();
    assert_eq!(good, (0..next).filter(|n| n % 5 != 4).collect::<Vec<_>>());
    assert_eq!(bad, (0..next).filter(|n| n % 5 == 4).collect::<Vec<_>>());
}
