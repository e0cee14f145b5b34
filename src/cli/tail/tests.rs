use std::path::Path;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use clap::Parser;
use expect_test::{Expect, expect};
use tokio::runtime::Runtime;

use super::*;
use crate::model::Record;
use crate::port::MeshSink as _;
use crate::sink::local::{LocalOptions, Store};

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    args: TailArgs,
}

fn put(store: &Store, stream: &str, key: &str, data: &[u8], arrived: &str) {
    let arrived = Timestamp::parse_rfc3339(arrived).unwrap();
    let record = Record {
        partition_key: Some(key.to_owned()),
        ..Record::new(Bytes::copy_from_slice(data), stream.into(), arrived)
    };
    let answers = Runtime::new().unwrap().block_on(async { store.put(stream, &[&record]).await });
    assert!(answers[0].is_ok());
}

fn sample(path: &Path) -> Store {
    let store = Store::open(path, LocalOptions::default()).unwrap();
    put(&store, "orders", "a", b"{\"n\":12345678901234567890.10,\n \"b\":1}", "2026-11-22T10:00:01Z");
    put(&store, "orders", "b", b"plain \x1b[2J text", "2026-11-22T10:00:02Z");
    put(&store, "orders", "c\n", b"\xff\x00", "2026-11-22T10:00:03Z");
    put(&store, "orders", "a", b"\"text\"", "2026-11-22T10:00:04Z");
    put(&store, "carts", "z", b"{}", "2026-11-22T10:00:04Z");
    store
}

fn tail(path: &Path, words: &[&str]) -> Result<String, String> {
    let mut line = vec!["tail", "--data", path.to_str().unwrap(), "--format", "table"];
    if words.contains(&"--raw") || words.contains(&"--format") {
        line.truncate(3);
    }
    line.extend(words);
    let args = Cli::try_parse_from(line).map_err(|fault| fault.to_string())?.args;
    let mut out = Vec::new();
    execute(&args, &mut out).map_err(|fault| fault.to_string())?;
    Ok(String::from_utf8_lossy(&out).into_owned())
}

fn check(words: &[&str], expected: Expect) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.db");
    let _store = sample(&path);
    let shown = tail(&path, words).unwrap_or_else(|told| format!("error: {told}\n"));
    expected.assert_eq(&shown);
}

#[test]
fn for_people() {
    check(
        &["orders"],
        expect![[r#"
        2026-11-22T10:00:01.000Z  shardId-000000000000  a                 {"n":12345678901234567890.10,  "b":1}
        2026-11-22T10:00:02.000Z  shardId-000000000002  b                 plain \u001b[2J text
        2026-11-22T10:00:03.000Z  shardId-000000000000  c\u000a           base64:/wA=
        2026-11-22T10:00:04.000Z  shardId-000000000000  a                 "text"
    "#]],
    );
}

#[test]
fn for_programs() {
    check(
        &["orders", "--format", "json"],
        expect![[r#"
        {"arrived":"2026-11-22T10:00:01.000Z","shardId":"shardId-000000000000","sequenceNumber":"49000000000000000000000000000000000000000000000000000001","partitionKey":"a","data":{"n":12345678901234567890.10,  "b":1}}
        {"arrived":"2026-11-22T10:00:02.000Z","shardId":"shardId-000000000002","sequenceNumber":"49000000000000000000000000000000000000000000000000000002","partitionKey":"b","dataBase64":"cGxhaW4gG1sySiB0ZXh0"}
        {"arrived":"2026-11-22T10:00:03.000Z","shardId":"shardId-000000000000","sequenceNumber":"49000000000000000000000000000000000000000000000000000003","partitionKey":"c\n","dataBase64":"/wA="}
        {"arrived":"2026-11-22T10:00:04.000Z","shardId":"shardId-000000000000","sequenceNumber":"49000000000000000000000000000000000000000000000000000004","partitionKey":"a","data":"text"}
    "#]],
    );
}

#[test]
fn only_the_bytes() {
    check(
        &["orders", "--raw", "-n", "1"],
        expect![[r#"
        "text"
    "#]],
    );
}

#[test]
fn the_last_ones_come_in_their_order() {
    check(
        &["orders", "-n", "2"],
        expect![[r#"
        2026-11-22T10:00:03.000Z  shardId-000000000000  c\u000a           base64:/wA=
        2026-11-22T10:00:04.000Z  shardId-000000000000  a                 "text"
    "#]],
    );
}

#[test]
fn from_a_position_a_number_of_records() {
    check(
        &["orders", "--from", "2026-11-22T10:00:02Z", "-n", "1"],
        expect![[r#"
        2026-11-22T10:00:02.000Z  shardId-000000000002  b                 plain \u001b[2J text
    "#]],
    );
    check(
        &["orders", "--from", "trim-horizon", "--shard", "2"],
        expect![[r#"
        2026-11-22T10:00:02.000Z  shardId-000000000002  b                 plain \u001b[2J text
    "#]],
    );
    check(&["orders", "--shard", "shardId-000000000001"], expect![[r#""#]]);
    check(&["orders", "--from", "latest"], expect![[r#""#]]);
    check(&["orders", "--from", "2026-11-22T11:00:00Z"], expect![[r#""#]]);
}

#[test]
fn what_is_not_there() {
    check(
        &["order"],
        expect![[r#"
        error: there is no stream "order"; the store holds: carts, orders
    "#]],
    );
    check(
        &["orders", "--shard", "4"],
        expect![[r#"
        error: stream "orders" has no shard "4"; it has: shardId-000000000000, shardId-000000000001, shardId-000000000002, shardId-000000000003
    "#]],
    );
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("m.db");
    let told = tail(&missing, &["orders"]).unwrap_err();
    assert!(told.contains("meshgate run") && told.contains("--data"), "{told}");
    assert!(!missing.exists(), "looking must not create a store");
    Store::open(&missing, LocalOptions::default()).unwrap();
    let told = tail(&missing, &["orders"]).unwrap_err();
    assert!(told.contains("holds no stream yet"), "{told}");
    assert!(tail(&missing, &["orders", "--from", "yesterday"]).unwrap_err().contains("RFC 3339"));
}

/// Hands what is written to another thread, and ends the command as `head` would once it has read enough.
struct Pipe {
    read: Arc<Mutex<Vec<u8>>>,
    enough: usize,
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut read = self.read.lock().unwrap();
        read.extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let lines = self.read.lock().unwrap().iter().filter(|b| **b == b'\n').count();
        if lines >= self.enough { Err(io::ErrorKind::BrokenPipe.into()) } else { Ok(()) }
    }
}

#[test]
fn a_follower_sees_what_arrives_once_and_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.db");
    let store = sample(&path);
    let read = Arc::new(Mutex::new(Vec::new()));
    let mut pipe = Pipe { read: Arc::clone(&read), enough: 31 };
    let words = ["tail", "orders", "-f", "-n", "1", "--raw", "--data", path.to_str().unwrap()];
    let args = Cli::try_parse_from(words).unwrap().args;
    let follower = std::thread::spawn(move || execute(&args, &mut pipe));
    // Only once it shows the last record does the rest count as arriving.
    while read.lock().unwrap().is_empty() {
        std::thread::yield_now();
    }
    for n in 0..30 {
        put(&store, "orders", &n.to_string(), n.to_string().as_bytes(), "2026-11-22T10:00:05Z");
        put(&store, "carts", "k", b"not followed", "2026-11-22T10:00:05Z");
    }
    let Err(Failure::Output(fault)) = follower.join().unwrap() else { panic!("it ends when its reader does") };
    assert_eq!(fault.kind(), io::ErrorKind::BrokenPipe);
    let expected: String =
        std::iter::once("\"text\"".to_owned()).chain((0..30).map(|n| n.to_string())).map(|l| l + "\n").collect();
    assert_eq!(String::from_utf8(read.lock().unwrap().clone()).unwrap(), expected);
}

#[test]
fn a_follower_with_a_number_ends_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.db");
    let _store = sample(&path);
    let shown = tail(&path, &["orders", "-f", "--from", "trim-horizon", "-n", "3", "--raw"]).unwrap();
    assert!(shown.contains("plain") && !shown.contains("\"text\""));
}
