//! The store's promises one by one; [`history`] sets it against a naive model. What needs a process to die is in
//! `tests/local_store.rs`.

mod history;

use std::path::PathBuf;

use bytes::Bytes;
use rusqlite::Connection;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::*;
use crate::model::{DeadLetter, HashKey, Record, Timestamp, Trouble};
use crate::port::{Catalog as _, CatalogError, DeadLetterSink as _, MeshSink as _, ReadFrom, StreamReader};

fn record(data: &[u8], key: Option<&str>, arrived: i64) -> Record {
    Record {
        partition_key: key.map(str::to_owned),
        ..Record::new(Bytes::copy_from_slice(data), "source".into(), Timestamp::from_millis(arrived))
    }
}

fn letter(id: &str, domain: &str, rule: &str) -> DeadLetter {
    DeadLetter {
        document_bytes: None,
        key_hash: None,
        is_kept: false,
        attempts: 0,
        id: id.to_owned(),
        trace: None,
        body: format!("{{\"id\":\"{id}\"}}"),
        quarantined: Timestamp::from_millis(1_000),
        stream: "orders".into(),
        domain: domain.into(),
        contract: "order.placed".into(),
        rule: rule.into(),
        kind: "rule",
    }
}

fn folder() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data").join("meshgate.db");
    (folder, path)
}

fn run<T>(future: impl Future<Output = T>) -> T {
    Runtime::new().unwrap().block_on(future)
}

fn open(path: &Path) -> Store {
    Store::open(path, LocalOptions::default()).unwrap()
}

async fn put_one(store: &Store, stream: &str, data: &[u8], key: &str) -> Result<crate::model::Placement, Trouble> {
    store.put(stream, &[&record(data, Some(key), 7)]).await.remove(0).map_err(|why| why.trouble)
}

/// Everything on a shard from `start` on, read `limit` records at a time.
async fn read_all(
    store: &Store,
    stream: &str,
    shard: &str,
    start: ReadFrom<'_>,
    limit: usize,
) -> Vec<crate::port::StoredRecord> {
    let reader: &dyn StreamReader = store;
    let mut from = reader.start_of(stream, shard, start).await.unwrap();
    let mut all = Vec::new();
    loop {
        let batch = reader.read(stream, shard, &from, limit).await.unwrap();
        assert!(batch.records.len() <= limit);
        assert!(batch.next >= from);
        if batch.records.is_empty() {
            assert_eq!((batch.next, batch.millis_behind_latest), (from, 0));
            return all;
        }
        from = batch.next;
        all.extend(batch.records);
    }
}

#[test]
fn calls_that_wait_share_one_commit() {
    let (_folder, path) = folder();
    run(async {
        let options = LocalOptions { busy_timeout: Duration::from_secs(60), ..LocalOptions::default() };
        let store = Arc::new(Store::open(&path, options).unwrap());
        store.ensure_stream("orders").await.unwrap();
        let before = store.stats();
        // A foreign lock holds the writer up in its first group, while the other calls gather behind it.
        let shell = Connection::open(&path).unwrap();
        shell.execute_batch("BEGIN IMMEDIATE").unwrap();
        let put = |n: u32| {
            let store = Arc::clone(&store);
            tokio::spawn(async move { put_one(&store, "orders", &n.to_be_bytes(), "k").await })
        };
        let calls: Vec<_> = (0..200).map(put).collect();
        // Five bytes of the queue's room are taken by each call that waits.
        while store.room.available_permits() > QUEUE_BYTES_MAX - 200 * 5 {
            tokio::task::yield_now().await;
        }
        shell.execute_batch("ROLLBACK").unwrap();
        for call in calls {
            call.await.unwrap().unwrap();
        }
        let after = store.stats();
        assert_eq!(after.calls - before.calls, 200);
        assert!(after.commits - before.commits <= 2, "those in the writer's hands, then all who had waited");
    });
}

#[test]
fn concurrent_calls_are_each_stored_once_and_in_order() {
    let (_folder, path) = folder();
    run(async {
        let store = Arc::new(open(&path));
        let mut calls = Vec::new();
        for task in 0..16 {
            let store = Arc::clone(&store);
            calls.push(tokio::spawn(async move {
                let mut numbers = Vec::new();
                for n in 0..20 {
                    let stream = format!("stream-{}", n % 3);
                    let records: Vec<Record> =
                        (0..5).map(|i| record(format!("{task}/{n}/{i}").as_bytes(), Some("one key"), 0)).collect();
                    let placements = store.put(&stream, &records.iter().collect::<Vec<_>>()).await;
                    numbers.extend(placements.into_iter().map(|p| p.unwrap().sequence_number));
                }
                assert!(numbers.is_sorted(), "a caller's own records keep their order");
                numbers.len()
            }));
        }
        let mut acknowledged = 0;
        for call in calls {
            acknowledged += call.await.unwrap();
        }
        let mut data = Vec::new();
        for stream in store.list_streams().await.unwrap() {
            for shard in store.describe(&stream).await.unwrap().shards {
                let records = read_all(&store, &stream, &shard.id, ReadFrom::TrimHorizon, 7).await;
                assert!(records.windows(2).all(|w| w[0].sequence_number < w[1].sequence_number));
                data.extend(records.into_iter().map(|r| r.data));
            }
        }
        data.sort();
        data.dedup();
        assert_eq!((data.len(), acknowledged), (1_600, 1_600));
    });
}

#[test]
fn a_faulty_record_does_not_harm_its_neighbours() {
    let (_folder, path) = folder();
    run(async {
        let store = open(&path);
        let good = record(b"good", None, 0);
        let long_key = record(b"x", Some(&"é".repeat(257)), 0);
        let large = record(&vec![b'x'; 1 << 20], Some("k"), 0);
        let no_number = Record { explicit_hash_key: Some("12x".to_owned()), ..good.clone() };
        let widest = record(&vec![b'x'; (1 << 20) - 512], Some(&"é".repeat(256)), 0);
        let answers = store.put("orders", &[&good, &long_key, &large, &no_number, &widest]).await;
        let troubles: Vec<_> = answers.iter().map(|a| a.as_ref().err().map(|why| why.trouble)).collect();
        let refused = Some(Trouble::Rejected);
        assert_eq!(troubles, [None, refused, refused, refused, None]);
        let shard = store.describe("orders").await.unwrap().shards[3].id.clone();
        let expected = HashKey::of_partition_key("");
        assert!(store.describe("orders").await.unwrap().shards[3].range.contains(expected));
        let records = read_all(&store, "orders", &shard, ReadFrom::TrimHorizon, 10).await;
        assert_eq!((&*records[0].data, &*records[0].partition_key), (&b"good"[..], ""));
        // Alone, or under a name that is none, or nothing at all.
        assert!(store.put("orders", &[&large]).await.remove(0).is_err());
        assert!(store.put("or ders", &[&good]).await.remove(0).is_err());
        assert!(store.put("orders", &[]).await.is_empty() && store.send("dlq", &[]).await.is_empty());
    });
}

#[test]
fn a_batch_holds_ten_mebibytes_or_one_record() {
    let (_folder, path) = folder();
    run(async {
        let options = LocalOptions { shards_per_stream: 1, max_record_size_kib: 12 << 10, ..LocalOptions::default() };
        let store = Store::open(&path, options).unwrap();
        for size in [6 << 20, 4 << 20, 1, 11 << 20] {
            put_one(&store, "s", &vec![b'x'; size], "").await.unwrap();
        }
        let start = store.start_of("s", "shardId-000000000000", ReadFrom::TrimHorizon).await.unwrap();
        let first = store.read("s", "shardId-000000000000", &start, 10_000).await.unwrap();
        assert_eq!(first.records.len(), 2);
        let second = store.read("s", "shardId-000000000000", &first.next, 10_000).await.unwrap();
        assert_eq!(second.records.len(), 1);
        let third = store.read("s", "shardId-000000000000", &second.next, 10_000).await.unwrap();
        assert_eq!(third.records[0].data.len(), 11 << 20);
    });
}

#[test]
fn how_far_a_reader_is_behind() {
    let (_folder, path) = folder();
    run(async {
        let store = Store::open(&path, LocalOptions { shards_per_stream: 1, ..LocalOptions::default() }).unwrap();
        let records = [record(b"1", None, 1_000), record(b"2", None, 5_500)];
        store.put("s", &records.iter().collect::<Vec<_>>()).await;
        let start = store.start_of("s", "shardId-000000000000", ReadFrom::TrimHorizon).await.unwrap();
        let first = store.read("s", "shardId-000000000000", &start, 1).await.unwrap();
        assert_eq!(first.millis_behind_latest, 4_500);
        let second = store.read("s", "shardId-000000000000", &first.next, 1).await.unwrap();
        assert_eq!(second.millis_behind_latest, 0);
    });
}

#[test]
fn streams_are_created_on_demand_up_to_a_limit() {
    let (_folder, path) = folder();
    run(async {
        let options = LocalOptions { streams_max: 2, ..LocalOptions::default() };
        let store = Store::open(&path, options.clone()).unwrap();
        assert_eq!(store.describe("a").await.unwrap_err(), CatalogError::StreamNotFound("a".into()));
        store.ensure_stream("a").await.unwrap();
        let described = store.describe("a").await.unwrap();
        assert_eq!(described.arn, "arn:aws:kinesis:local:000000000000:stream/a");
        assert_eq!((described.shards.len(), &*described.status), (4, "ACTIVE"));
        put_one(&store, "b", b"1", "k").await.unwrap();
        assert_eq!(put_one(&store, "c", b"1", "k").await, Err(Trouble::Rejected));
        assert!(matches!(store.ensure_stream("c").await, Err(CatalogError::InvalidArgument(_))));
        assert!(matches!(store.ensure_stream("no name").await, Err(CatalogError::InvalidArgument(_))));
        put_one(&store, "a", b"1", "k").await.unwrap();
        drop(store);
        // Streams keep the shards they were created with.
        let store = Store::open(&path, LocalOptions { shards_per_stream: 1, ..options }).unwrap();
        assert_eq!(store.list_streams().await.unwrap(), ["a", "b"]);
        assert_eq!(store.describe("a").await.unwrap().shards.len(), 4);
        assert_eq!(store.describe("a").await.unwrap().created, described.created);
    });
}

#[test]
fn questions_about_what_is_not_there() {
    let (_folder, path) = folder();
    run(async {
        let store = open(&path);
        store.ensure_stream("s").await.unwrap();
        let shard = "shardId-000000000000";
        let start = |stream, shard, start| store.start_of(stream, shard, start);
        assert!(matches!(start("t", shard, ReadFrom::Latest).await, Err(CatalogError::StreamNotFound(_))));
        let other = "shardId-000000000004";
        assert!(matches!(start("s", other, ReadFrom::Latest).await, Err(CatalogError::InvalidArgument(_))));
        let foreign = ReadFrom::AtSequence("123");
        assert!(matches!(start("s", shard, foreign).await, Err(CatalogError::InvalidArgument(_))));
        assert!(matches!(store.read("s", shard, "123", 1).await, Err(CatalogError::InvalidArgument(_))));
        // A shard's own starting number leads to its first record.
        let first = store.describe("s").await.unwrap().shards[0].starting_sequence_number.clone();
        assert!(start("s", shard, ReadFrom::AfterSequence(&first)).await.is_ok());
    });
}

#[test]
fn letters_are_kept_once_and_found_again() {
    let (_folder, path) = folder();
    run(async {
        let store = open(&path);
        let letters = [
            letter("aa1", "orders", "total"),
            letter("aa2", "orders", "email"),
            letter("aa", "customers", "email"),
            letter("b1", "orders", "total"),
        ];
        let all: Vec<&DeadLetter> = letters.iter().collect();
        assert!(store.send("dlq", &all).await.iter().all(Result::is_ok));
        let again = DeadLetter { body: "other".to_owned(), ..letters[3].clone() };
        assert!(store.send("dlq", &[&again, &again]).await.iter().all(Result::is_ok), "a retry is no error");

        let filter = LetterFilter { limit: 10, ..LetterFilter::default() };
        let ids = async |filter: LetterFilter| {
            let found = store.query(move |reader| reader.letters(&filter)).await.unwrap();
            found.into_iter().map(|l| (l.id, l.seq)).collect::<Vec<_>>()
        };
        let names = |found: &[(String, i64)]| found.iter().map(|(id, _)| id.clone()).collect::<Vec<_>>();
        let everything = ids(filter.clone()).await;
        assert_eq!(names(&everything), ["b1", "aa", "aa2", "aa1"], "newest first, each once");
        let page = ids(LetterFilter { limit: 2, before: Some(everything[0].1), ..filter.clone() }).await;
        assert_eq!(names(&page), ["aa", "aa2"]);
        let some = LetterFilter { domain: Some("orders".into()), rule: Some("total".into()), ..filter.clone() };
        assert_eq!(names(&ids(some).await), ["b1", "aa1"]);
        let none = LetterFilter { kind: Some("schema".into()), contract: Some("order.placed".into()), ..filter };
        assert!(ids(none).await.is_empty());

        let look = async |id: &'static str| store.query(move |reader| reader.letter(id)).await.unwrap();
        let body = |id: &str| LetterLookup::Found { id: id.to_owned(), body: format!("{{\"id\":\"{id}\"}}") };
        assert_eq!(look("b").await, body("b1"), "the first body stays");
        assert_eq!(look("aa").await, body("aa"), "an exact id wins over those it begins");
        assert_eq!(look("aa2").await, body("aa2"));
        assert_eq!(look("a").await, LetterLookup::Ambiguous(vec!["aa".into(), "aa1".into(), "aa2".into()]));
        assert_eq!(look("c").await, LetterLookup::NotFound);

        let counts = store.query(Reader::letter_counts).await.unwrap();
        let counts: Vec<_> = counts.iter().map(|c| (&*c.domain, &*c.rule, c.letters)).collect();
        assert_eq!(counts, [("customers", "email", 1), ("orders", "email", 1), ("orders", "total", 2)]);
    });
}

#[test]
fn a_dropped_caller_does_not_stop_the_store() {
    let (_folder, path) = folder();
    run(async {
        let store = open(&path);
        let shell = Connection::open(&path).unwrap();
        shell.execute_batch("BEGIN IMMEDIATE").unwrap();
        let given_up = record(b"1", None, 0);
        {
            let entries = [&given_up];
            let mut call = store.put("s", &entries);
            assert!(std::future::poll_fn(|cx| std::task::Poll::Ready(call.as_mut().poll(cx))).await.is_pending());
        }
        shell.execute_batch("ROLLBACK").unwrap();
        put_one(&store, "s", b"2", "").await.unwrap();
        assert_eq!(store.room.available_permits(), QUEUE_BYTES_MAX);
    });
}

#[test]
fn the_log_is_merged_into_the_file_as_it_grows_and_starts_over() {
    let (_folder, path) = folder();
    run(async {
        let store = open(&path);
        let data = vec![b'x'; 1 << 20];
        let records: Vec<Record> = (0..8).map(|_| record(&data, None, 0)).collect();
        let records: Vec<&Record> = records.iter().collect();
        for _ in 0..20 {
            assert!(store.put("s", &records).await.iter().all(Result::is_ok));
        }
        let size = |suffix: &str| {
            let mut name = path.as_os_str().to_owned();
            name.push(suffix);
            std::fs::metadata(name).unwrap().len()
        };
        assert!(size("") > 100 << 20, "most of 160 MiB is in the file: {}", size(""));
        assert!(size("-wal") < 64 << 20, "the log started over: {}", size("-wal"));
    });
}

#[test]
fn a_reader_that_holds_the_log_cannot_make_it_grow_for_ever() {
    let (_folder, path) = folder();
    run(async {
        let options = LocalOptions { busy_timeout: Duration::from_millis(1), ..LocalOptions::default() };
        let store = Store::open(&path, options).unwrap();
        let shell = Connection::open(&path).unwrap();
        shell.execute_batch("BEGIN; SELECT count(*) FROM records").unwrap();
        let data = vec![b'x'; 1 << 20];
        let records: Vec<Record> = (0..8).map(|_| record(&data, None, 0)).collect();
        let records: Vec<&Record> = records.iter().collect();
        for _ in 0..20 {
            assert!(store.put("s", &records).await.iter().all(Result::is_ok), "a reader never fails the writer");
        }
        let log = || std::fs::metadata(path.with_extension("db-wal")).unwrap().len();
        assert!(log() > 128 << 20);
        shell.execute_batch("ROLLBACK").unwrap();
        for _ in 0..4 {
            assert!(store.put("s", &records).await.iter().all(Result::is_ok));
        }
        assert!(log() <= 64 << 20, "cut back once the reader let go: {}", log());
    });
}

#[test]
fn closing_leaves_one_file_and_its_lock() {
    let (_folder, path) = folder();
    run(async {
        let store = open(&path);
        put_one(&store, "s", b"1", "").await.unwrap();
        store.query(Reader::tip).await.unwrap();
    });
    let mut names: Vec<_> =
        std::fs::read_dir(path.parent().unwrap()).unwrap().map(|e| e.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["meshgate.db", "meshgate.db.lock"]);
    let reader = Reader::open(&path).unwrap();
    assert_eq!(reader.streams().unwrap()[0].name, "s");
    // The reader, last to close, must leave a file that a gate can open.
    drop(reader);
    open(&path);
}
