//! The local store's promises where they hurt: processes that die under load, disks that fill up, files that are not
//! what they should be, and others who use the same file.

#![cfg(unix)]

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use meshgate::model::{DeadLetter, Record, Timestamp, Trouble};
use meshgate::port::{Catalog, DeadLetterSink, MeshSink, ReadFrom, StreamReader};
use meshgate::sink::local::{LetterFilter, LocalOptions, Reader, Store, StoreError};
use rusqlite::Connection;
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// Names the store that a child process is to work on. Set only by the tests that start one.
const CHILD_STORE: &str = "MESHGATE_TEST_CHILD_STORE";
/// Makes the names a child gives its records unique.
const CHILD_ROUND: &str = "MESHGATE_TEST_CHILD_ROUND";

fn record(data: String, key: &str) -> Record {
    Record { partition_key: Some(key.to_owned()), ..Record::new(data, "source".into(), Timestamp::from_millis(0)) }
}

fn letter(id: String) -> DeadLetter {
    DeadLetter {
        document_bytes: None,
        key_hash: None,
        is_kept: false,
        attempts: 0,
        body: format!("{{\"id\":\"{id}\"}}"),
        id,
        quarantined: Timestamp::from_millis(0),
        stream: "orders".into(),
        domain: "orders".into(),
        contract: "order.placed".into(),
        rule: "schema".into(),
        kind: "schema",
        trace: None,
    }
}

fn folder() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("meshgate.db");
    (folder, path)
}

fn open(path: &Path) -> Store {
    Store::open(path, LocalOptions::default()).unwrap()
}

/// Whether one small record could be put.
fn can_put(store: &Store) -> bool {
    let put = record("1".to_owned(), "k");
    Runtime::new().unwrap().block_on(store.put("orders", &[&put])).remove(0).is_ok()
}

/// Every record of every stream as (data, sequence number), each shard read from its start, page by page.
async fn everything(store: &Store) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for stream in store.list_streams().await.unwrap() {
        for shard in store.describe(&stream).await.unwrap().shards {
            let mut from = store.start_of(&stream, &shard.id, ReadFrom::TrimHorizon).await.unwrap();
            loop {
                let batch = store.read(&stream, &shard.id, &from, 1_000).await.unwrap();
                if batch.records.is_empty() {
                    break;
                }
                from = batch.next;
                let text = |data: &Bytes| String::from_utf8(data.to_vec()).unwrap();
                all.extend(batch.records.iter().map(|r| (text(&r.data), r.sequence_number.clone())));
            }
        }
    }
    all
}

/// The child's whole life: eight tasks write records and letters without end, and each says what was acknowledged after
/// it was.
async fn write_until_killed(path: &Path, round: &str) {
    let store = Arc::new(open(path));
    for task in 0..8 {
        let (store, round) = (Arc::clone(&store), round.to_owned());
        tokio::spawn(async move {
            for n in 0_u64.. {
                let names = (0..1 + n % 7).map(|i| format!("{round}/{task}/{n}/{i}"));
                if task < 6 {
                    put_and_tell(&store, ["orders", "carts"][task % 2], names.collect()).await;
                } else {
                    send_and_tell(&store, names.collect()).await;
                }
            }
        });
    }
    std::future::pending::<()>().await;
}

async fn put_and_tell(store: &Store, stream: &str, names: Vec<String>) {
    let records: Vec<Record> = names.iter().map(|name| record(name.clone(), name)).collect();
    let answers = store.put(stream, &records.iter().collect::<Vec<_>>()).await;
    for (name, answer) in names.iter().zip(answers) {
        tell(&format!("record {name} {}", answer.unwrap().sequence_number));
    }
}

async fn send_and_tell(store: &Store, names: Vec<String>) {
    let letters: Vec<DeadLetter> = names.into_iter().map(letter).collect();
    let answers = store.send("dlq", &letters.iter().collect::<Vec<_>>()).await;
    for (letter, answer) in letters.iter().zip(answers) {
        answer.unwrap();
        tell(&format!("letter {}", letter.id));
    }
}

/// Written in one go, so that a line which ends with a newline is whole.
fn tell(line: &str) {
    std::io::stdout().write_all(format!("{line}\n").as_bytes()).unwrap();
}

/// Runs the test called `name` of this very binary as another process, for which [`CHILD_STORE`] is set.
fn child(name: &str, path: &Path, round: usize) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args([name, "--exact", "--nocapture", "--test-threads", "1"])
        .env(CHILD_STORE, path)
        .env(CHILD_ROUND, round.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// What children said was acknowledged: records with their sequence numbers, and letters.
#[derive(Default)]
struct Acknowledged {
    records: HashMap<String, String>,
    letters: Vec<String>,
}

impl Acknowledged {
    fn note(&mut self, line: &str) {
        match line.trim_end().split(' ').collect::<Vec<_>>()[..] {
            ["record", name, number] => drop(self.records.insert(name.to_owned(), number.to_owned())),
            ["letter", name] => self.letters.push(name.to_owned()),
            // The test harness' own lines.
            _ => {}
        }
    }

    /// Listens to the child, kills it after `enough` lines, and hears out what is in the pipe by then.
    fn hear_until_killed(&mut self, mut child: Child, enough: usize) {
        let mut told = BufReader::new(child.stdout.take().unwrap());
        let (mut heard, mut line) = (0, String::new());
        while told.read_line(&mut line).unwrap() > 0 {
            if line.ends_with('\n') {
                self.note(&line);
            }
            line.clear();
            heard += 1;
            if heard == enough {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        assert!(heard >= enough, "the child ended by itself after {heard} lines");
    }

    /// Each is there exactly once, where its acknowledgement said.
    fn check(&self, path: &Path) {
        let store = open(path);
        let kept = Runtime::new().unwrap().block_on(everything(&store));
        drop(store);
        let mut numbers: HashMap<&str, Vec<&str>> = HashMap::new();
        for (name, number) in &kept {
            numbers.entry(name).or_default().push(number);
        }
        for (name, number) in &self.records {
            assert_eq!(numbers.get(&**name), Some(&vec![&**number]), "{name}, acknowledged as {number}");
        }
        let all = LetterFilter { limit: usize::MAX, ..LetterFilter::default() };
        let mut times: HashMap<String, usize> = HashMap::new();
        for letter in Reader::open(path).unwrap().letters(&all).unwrap() {
            *times.entry(letter.id).or_default() += 1;
        }
        for name in &self.letters {
            assert_eq!(times.get(name), Some(&1), "{name}");
        }
    }
}

#[test]
fn what_was_acknowledged_survives_kill_9() {
    if let Some(path) = std::env::var_os(CHILD_STORE) {
        let round = std::env::var(CHILD_ROUND).unwrap();
        Runtime::new().unwrap().block_on(write_until_killed(Path::new(&path), &round));
    }
    let (_folder, path) = folder();
    let mut acknowledged = Acknowledged::default();
    for round in 0..8 {
        let child = child("what_was_acknowledged_survives_kill_9", &path, round);
        acknowledged.hear_until_killed(child, fastrand::usize(1..3_000));
        acknowledged.check(&path);
    }
    assert!(!acknowledged.records.is_empty() && !acknowledged.letters.is_empty());
}

#[test]
fn other_processes_read_while_a_gate_writes() {
    if let Some(path) = std::env::var_os(CHILD_STORE) {
        // As `tail` and `dlq` do; then as a second gate would.
        let reader = Reader::open(Path::new(&path)).unwrap();
        let stream = reader.stream("orders").unwrap().unwrap();
        tell(&format!("seen {}", reader.ids_from(&stream, &[0, 1, 2, 3], 0, 10).unwrap().len()));
        let second = Store::open(Path::new(&path), LocalOptions::default()).map(drop).unwrap_err();
        tell(&format!("refused {second}"));
        return;
    }
    let (_folder, path) = folder();
    let store = open(&path);
    for expected in 1..4 {
        assert!(can_put(&store));
        let output = child("other_processes_read_while_a_gate_writes", &path, 0).wait_with_output().unwrap();
        let told = String::from_utf8(output.stdout).unwrap();
        assert!(told.contains(&format!("seen {expected}\n")), "{told}");
        let refusal = format!("is in use by another gate (process {})", std::process::id());
        assert!(told.contains(&refusal), "{told}");
    }
    assert!(can_put(&store), "the gate that was refused took nothing away");
}

#[test]
fn a_second_gate_is_refused_under_any_name_of_the_file() {
    let (folder, path) = folder();
    let first = open(&path);
    let link = folder.path().join("link.db");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    for name in [&path, &link] {
        let refused = Store::open(name, LocalOptions::default()).map(drop).unwrap_err();
        assert!(matches!(refused, StoreError::InUse { .. }), "{refused}");
    }
    drop(first);
    open(&link);
}

#[test]
fn a_full_disk_fails_whole_calls_and_heals() {
    let (_folder, path) = folder();
    let runtime = Runtime::new().unwrap();
    // The limit is SQLite's max_page_count, which fails as a full disk does.
    let options = LocalOptions { size_max_bytes: Some(1 << 20), ..LocalOptions::default() };
    let store = Store::open(&path, options.clone()).unwrap();
    let (mut acknowledged, mut refused) = (Vec::new(), None);
    for n in 0..600 {
        // Every tenth call is large: when it no longer fits, small ones still may.
        let count = if n % 10 == 0 { 40 } else { 1 };
        let records: Vec<Record> = (0..count).map(|i| record(format!("{n}/{i} {}", "x".repeat(2_000)), "k")).collect();
        let answers = runtime.block_on(store.put("orders", &records.iter().collect::<Vec<_>>()));
        let stored = answers.iter().filter(|a| a.is_ok()).count();
        assert!(stored == 0 || stored == count, "a call is stored whole or not at all");
        for (record, answer) in records.iter().zip(answers) {
            match answer {
                Ok(_) => acknowledged.push(String::from_utf8(record.data.to_vec()).unwrap()),
                Err(why) => refused = Some(why),
            }
        }
    }
    let why = refused.expect("1 MiB is not enough");
    assert_eq!(why.trouble, Trouble::Unavailable);
    assert!(why.message.contains("disk is full") && !why.message.contains("xxx"), "{}", why.message);
    // A letter finds no room either, and says so: its event stays with its producer.
    let big = DeadLetter { body: "x".repeat(100_000), ..letter("full".into()) };
    assert_eq!(runtime.block_on(store.send("dlq", &[&big])).remove(0).unwrap_err().trouble, Trouble::Unavailable);
    drop(store);

    let store = Store::open(&path, LocalOptions { size_max_bytes: None, ..options }).unwrap();
    let mut kept: Vec<String> = runtime.block_on(everything(&store)).into_iter().map(|(data, _)| data).collect();
    kept.sort();
    acknowledged.sort();
    assert!(kept == acknowledged, "{} kept, {} acknowledged", kept.len(), acknowledged.len());
    assert!(can_put(&store));
    assert!(runtime.block_on(store.send("dlq", &[&big])).remove(0).is_ok());
}

#[test]
fn a_locked_database_fails_the_call_and_heals() {
    let (_folder, path) = folder();
    let runtime = Runtime::new().unwrap();
    let options = LocalOptions { busy_timeout: Duration::from_millis(5), ..LocalOptions::default() };
    let store = Store::open(&path, options).unwrap();
    let shell = Connection::open(&path).unwrap();
    shell.execute_batch("BEGIN IMMEDIATE").unwrap();
    let put = record("1".into(), "k");
    let why = runtime.block_on(store.put("orders", &[&put])).remove(0).unwrap_err();
    assert_eq!(why.trouble, Trouble::Unavailable);
    assert!(why.message.contains("another process holds its lock"), "{}", why.message);
    assert!(runtime.block_on(store.describe("orders")).is_err(), "the stream was not created either");
    shell.execute_batch("ROLLBACK").unwrap();
    assert!(can_put(&store));
    assert_eq!(runtime.block_on(everything(&store)).len(), 1);
}

/// Opens as a gate and as a reader, and gives what the gate says; the file must be as it was.
fn refused(path: &Path) -> StoreError {
    let before = std::fs::read(path).unwrap();
    let gate = Store::open(path, LocalOptions::default()).map(drop).unwrap_err();
    let reader = Reader::open(path).map(drop).unwrap_err();
    assert_eq!(std::mem::discriminant(&gate), std::mem::discriminant(&reader), "{gate} / {reader}");
    assert_eq!(std::fs::read(path).unwrap(), before, "the file was changed");
    gate
}

#[test]
fn files_that_are_no_store_are_refused_and_left_alone() {
    let (_folder, path) = folder();
    std::fs::write(&path, "orders,customers\n".repeat(1_000)).unwrap();
    let text = refused(&path);
    assert!(text.to_string().contains("not an SQLite database"), "{text}");
    std::fs::remove_file(&path).unwrap();

    Connection::open(&path).unwrap().execute_batch("CREATE TABLE t (a); INSERT INTO t VALUES (1)").unwrap();
    let foreign = refused(&path);
    assert!(foreign.to_string().contains("another application"), "{foreign}");
}

#[test]
fn a_newer_store_is_refused_and_left_alone() {
    let (_folder, path) = folder();
    drop(open(&path));
    Connection::open(&path).unwrap().pragma_update(None, "user_version", 2).unwrap();
    let newer = refused(&path);
    assert!(matches!(newer, StoreError::Newer { found: 2, known: 1, .. }), "{newer}");
}

#[test]
fn a_damaged_store_is_refused_and_left_alone() {
    let (_folder, path) = folder();
    assert!(can_put(&open(&path)));
    // The header stays; the tables behind it are noise.
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[100..].fill(0xA5);
    std::fs::write(&path, bytes).unwrap();
    let damaged = refused(&path);
    assert!(matches!(damaged, StoreError::Damaged { .. }), "{damaged}");
    assert!(damaged.to_string().contains("restore a backup"), "{damaged}");
}

#[test]
fn a_gate_that_died_before_its_first_commit_left_nothing_in_the_way() {
    let (_folder, path) = folder();
    std::fs::write(&path, "").unwrap();
    let missing = Reader::open(&path).map(drop).unwrap_err();
    assert!(matches!(missing, StoreError::Missing { .. }), "{missing}");
    assert!(can_put(&open(&path)));
    assert!(Reader::open(&path).is_ok());
}

#[test]
fn only_the_owner_may_read_the_store() {
    use std::os::unix::fs::PermissionsExt as _;
    let (_folder, path) = folder();
    let store = open(&path);
    assert!(can_put(&store));
    for name in ["meshgate.db", "meshgate.db-wal", "meshgate.db-shm", "meshgate.db.lock"] {
        let mode = std::fs::metadata(path.with_file_name(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{name} is {mode:o}");
    }
}
