//! The other programs' side, `benches/peers`: a process that times what it is asked to, when it is asked.

use std::io::{BufRead, BufReader, Lines, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use serde_json::json;

use crate::sets::{Set, benches};

pub struct Peers {
    child: Child,
    asks: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
    _sets: tempfile::TempDir,
}

impl Peers {
    /// Builds the program, optimised unless this is a smoke run, and lets it read the sets.
    pub fn start(sets: &[Set], smoke: bool) -> Self {
        let binary = build(smoke);
        let directory = write(sets);
        let mut child = Command::new(binary)
            .arg(directory.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the peers start");
        let asks = child.stdin.take().expect("piped");
        let answers = BufReader::new(child.stdout.take().expect("piped")).lines();
        let mut peers = Self { child, asks, answers, _sets: directory };
        assert_eq!(peers.answer(), "ready", "the peers judge every event good");
        peers
    }

    /// Nanoseconds one event of the set takes the contender, on average over `time`.
    pub fn time(&mut self, set: &str, contender: &str, time: Duration) -> f64 {
        writeln!(self.asks, "{} {contender} {}", file_name(set), time.as_micros()).expect("the peers read");
        self.answer().parse().expect("a number")
    }

    fn answer(&mut self) -> String {
        self.answers.next().expect("the peers answer; what they said is above").expect("text")
    }
}

impl Drop for Peers {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Its own build, with its own features (see its Cargo.toml), and for exactly this processor, which sonic-rs asks for. The
/// gate is built for any.
fn build(smoke: bool) -> PathBuf {
    let target = benches().join("../target/peers");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--quiet", "--manifest-path"]).arg(benches().join("peers/Cargo.toml"));
    cargo.arg("--target-dir").arg(&target);
    if !smoke {
        println!("building benches/peers, a few minutes the first time");
        cargo.arg("--release").env("RUSTFLAGS", "-C target-cpu=native");
    }
    assert!(cargo.status().expect("cargo runs").success(), "benches/peers builds");
    target.join(if smoke { "debug" } else { "release" }).join("meshgate-bench-peers")
}

fn file_name(set: &str) -> String {
    set.replace(' ', "-")
}

fn write(sets: &[Set]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    let write = |path: &Path, bytes: &[u8]| std::fs::write(path, bytes).expect("a file");
    for set in sets {
        let path = directory.path().join(file_name(&set.name));
        std::fs::create_dir(&path).expect("a directory");
        write(&path.join("schema.json"), set.schema.to_string().as_bytes());
        write(&path.join("events.ndjson"), &set.events.join(&b'\n'));
        let settings = json!({"payload": set.payload, "formats": set.formats, "expressions": set.expressions});
        write(&path.join("set.json"), settings.to_string().as_bytes());
    }
    directory
}
