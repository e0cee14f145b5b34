use std::path::PathBuf;

use bytes::Bytes;
use tempfile::TempDir;

use super::*;
use crate::model::{DeadLetter, Position, Record, SpanContext};

const MIB: u64 = 1 << 20;

fn home() -> (TempDir, PathBuf) {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("data/gate.spool");
    (home, path)
}

/// Opens a spool again that was just dropped. A process that another test is about to start has a copy of its lock until it has begun.
fn reopen(path: &Path) -> Result<Spool, SpoolError> {
    for _ in 0..1_000 {
        match Spool::open(path, MIB) {
            Err(SpoolError::InUse { .. }) => std::thread::sleep(std::time::Duration::from_millis(5)),
            opened => return opened,
        }
    }
    panic!("its lock was never released");
}

fn lane(name: &str) -> Lane {
    Lane { kind: Kind::Mesh, name: name.into() }
}

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn record(data: impl Into<Bytes>) -> Entry {
    let record = Record { partition_key: Some("k".into()), ..Record::new(data, "in".into(), at(5)) };
    Entry::Record { record, is_ordered: true }
}

/// The payloads of a lane, in order.
async fn payloads(spool: &Spool, lane: &Lane) -> Vec<String> {
    let taken = spool.first(lane, 1_000, usize::MAX).await.unwrap();
    assert_eq!(taken.unreadable, Vec::<i64>::new());
    let text = |entry: &Entry| match entry {
        Entry::Record { record, .. } => String::from_utf8_lossy(&record.data).into_owned(),
        Entry::Letter(letter) => letter.body.clone(),
    };
    taken.entries.iter().map(|(_, entry)| text(entry)).collect()
}

fn traced() -> Option<Arc<SpanContext>> {
    SpanContext::parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", std::iter::empty()).map(Arc::new)
}

#[tokio::test]
async fn entries_come_back_whole_and_in_order_after_a_restart() {
    let (_home, path) = home();
    let spool = Spool::open(&path, MIB).unwrap();
    let whole = Record {
        partition_key: Some("ключ".into()),
        explicit_hash_key: Some("12".into()),
        position: Position::InRequest { request: "r".into(), index: 3 },
        is_unwrapped: true,
        trace: traced(),
        ..Record::new(&b"\x00\xff{"[..], "in".into(), at(7))
    };
    let entry = Entry::Record { record: whole.clone(), is_ordered: false };
    spool.put(&lane("a"), at(10), &[entry, record("2")]).await.unwrap();
    spool.put(&lane("b"), at(11), &[record("other")]).await.unwrap();
    spool.put(&lane("a"), at(12), &[record("3")]).await.unwrap();
    let letter = DeadLetter {
        id: "id".into(),
        body: "{}".into(),
        document_bytes: None,
        key_hash: Some("0123456789abcdef".into()),
        is_kept: false,
        attempts: 0,
        quarantined: at(8),
        stream: "in".into(),
        domain: "d".into(),
        contract: "c".into(),
        rule: "r".into(),
        kind: "unknown_type",
        trace: traced(),
    };
    let queue = Lane { kind: Kind::DeadLetter, name: "a".into() };
    spool.put(&queue, at(13), &[Entry::Letter(letter.clone())]).await.unwrap();
    drop(spool);

    let spool = reopen(&path).unwrap();
    let held = LaneStatus { entries: 3, aside: 0, oldest: Some(at(10)) };
    assert_eq!(spool.lane(&lane("a")), Some(held));
    let taken = spool.first(&lane("a"), 2, usize::MAX).await.unwrap();
    let [(first, Entry::Record { record: back, is_ordered: false }), (_, Entry::Record { is_ordered: true, .. })] =
        &taken.entries[..]
    else {
        panic!("{taken:?}")
    };
    assert_eq!(format!("{back:?}"), format!("{whole:?}"));
    let sent = spool.first(&queue, 2, usize::MAX).await.unwrap();
    assert_eq!(format!("{:?}", sent.entries[0].1.letter()), format!("{:?}", Some(&letter)));

    spool.settle(&lane("a"), vec![*first], Vec::new()).await.unwrap();
    let held = LaneStatus { entries: 2, aside: 0, oldest: Some(at(10)) };
    assert_eq!(spool.lane(&lane("a")), Some(held), "what was put with it is as old");
    assert_eq!(payloads(&spool, &lane("a")).await, ["2", "3"]);
    assert_eq!(payloads(&spool, &lane("b")).await, ["other"]);
}

#[tokio::test]
async fn a_batch_is_bounded_and_has_one_entry_at_least() {
    let (_home, path) = home();
    let spool = Spool::open(&path, MIB).unwrap();
    spool.put(&lane("a"), at(1), &["12345", "678", "9"].map(record)).await.unwrap();
    for (entries, bytes, expected) in [(9, 1, 1), (9, 5, 1), (9, 8, 2), (2, 99, 2), (9, 99, 3)] {
        assert_eq!(spool.first(&lane("a"), entries, bytes).await.unwrap().entries.len(), expected, "{entries} {bytes}");
    }
}

#[tokio::test]
async fn what_is_aside_is_out_of_line_until_it_is_put_back() {
    let (_home, path) = home();
    let spool = Spool::open(&path, MIB).unwrap();
    spool.put(&lane("a"), at(1), &["1", "2", "3"].map(record)).await.unwrap();
    let ids: Vec<i64> = spool.first(&lane("a"), 9, 99).await.unwrap().entries.into_iter().map(|(id, _)| id).collect();
    for _ in 0..2 {
        spool.settle(&lane("a"), vec![ids[0]], vec![(ids[1], "too large".into())]).await.unwrap();
        assert_eq!(spool.lane(&lane("a")).map(|held| (held.entries, held.aside)), Some((1, 1)), "twice is as once");
    }
    let [shown] = &spool.aside().await.unwrap()[..] else { panic!("one is aside") };
    assert_eq!((shown.id, &*shown.reason, &*shown.name, shown.bytes), (ids[1], "too large", "a", 1));
    assert_eq!(payloads(&spool, &lane("a")).await, ["3"]);
    drop(spool);
    let spool = reopen(&path).unwrap();
    assert_eq!(spool.put_back().await, Ok(1));
    assert_eq!(payloads(&spool, &lane("a")).await, ["2", "3"]);
    assert_eq!(spool.lane(&lane("a")).map(|held| (held.entries, held.aside)), Some((2, 0)));
}

#[tokio::test]
async fn when_full_it_takes_nothing_and_keeps_what_it_has_and_the_bound_is_the_files() {
    for size in [10, 900, 1_500, 5_000, 300_000] {
        let (_home, path) = home();
        let spool = Spool::open(&path, 2 * MIB).unwrap();
        let count = (100_000 / size).clamp(1, 200);
        let call = vec![record(vec![b'x'; size]); count];
        let mut taken = 0;
        let refused = loop {
            match spool.put(&lane("a"), at(1), &call).await {
                Ok(()) => taken += count as u64,
                Err(refused) => break refused,
            }
        };
        assert_eq!(refused, Refused::Full);
        let state = spool.state();
        assert_eq!(state.lanes[&lane("a")].entries, taken, "all of a call or nothing of it");
        assert!(state.bytes <= 2 * MIB, "{size}: {} bytes", state.bytes);
        assert!(state.bytes >= MIB / 2, "{size}: it is put to use: {} bytes", state.bytes);
        // Room is room again once something was delivered.
        let ids = spool.first(&lane("a"), 100_000, usize::MAX).await.unwrap().entries.into_iter().map(|(id, _)| id);
        spool.settle(&lane("a"), ids.collect(), Vec::new()).await.unwrap();
        assert!(spool.state().lanes.is_empty());
        spool.put(&lane("a"), at(1), &[record("again")]).await.unwrap();
    }
}

#[tokio::test]
async fn a_disk_that_is_full_is_told_and_changes_nothing() {
    let (_home, path) = home();
    let spool = Spool::open(&path, 64 * MIB).unwrap();
    spool.put(&lane("a"), at(1), &[record("1")]).await.unwrap();
    spool.allow_growth(false).await;
    let refused = spool.put(&lane("a"), at(1), &[record("2"), record(vec![b'x'; 100_000])]).await.unwrap_err();
    assert_eq!(refused, Refused::Failed("its disk is full or its size limit is reached"));
    assert_eq!(payloads(&spool, &lane("a")).await, ["1"]);
    assert_eq!(spool.lane(&lane("a")).unwrap().entries, 1);
    spool.allow_growth(true).await;
    spool.put(&lane("a"), at(1), &[record("3")]).await.unwrap();
    assert_eq!(payloads(&spool, &lane("a")).await, ["1", "3"]);
}

#[tokio::test]
async fn an_emptied_file_gives_the_disk_back() {
    let (_home, path) = home();
    let spool = Spool::open(&path, 64 * MIB).unwrap();
    for _ in 0..20 {
        spool.put(&lane("a"), at(1), &[record(vec![b'x'; 1_000_000])]).await.unwrap();
    }
    let ids = spool.first(&lane("a"), 99, usize::MAX).await.unwrap().entries.into_iter().map(|(id, _)| id);
    let ids: Vec<i64> = ids.collect();
    let last = ids[19];
    spool.settle(&lane("a"), ids, Vec::new()).await.unwrap();
    let size = std::fs::metadata(&path).unwrap().len();
    assert!(size < MIB, "{size} bytes");
    spool.put(&lane("a"), at(1), &[record("next")]).await.unwrap();
    let next = spool.first(&lane("a"), 1, 9).await.unwrap().entries[0].0;
    assert!(next > last, "ids are given once");
}

#[tokio::test]
async fn a_file_that_is_not_its_own_is_refused_and_left_alone() {
    let (_home, path) = home();
    let spool = Spool::open(&path, MIB).unwrap();
    let told = Spool::open(&path, MIB).unwrap_err();
    assert!(matches!(&told, SpoolError::InUse { .. }), "{told}");
    assert!(told.to_string().contains(&format!("process {}", std::process::id())), "{told}");
    drop(spool);
    let change = |sql: &str| rusqlite::Connection::open(&path).unwrap().execute_batch(sql).unwrap();
    change("PRAGMA user_version = 9");
    assert!(matches!(reopen(&path), Err(SpoolError::Newer { found: 9, .. })));
    change("PRAGMA user_version = 1; PRAGMA application_id = 7");
    assert!(matches!(reopen(&path), Err(SpoolError::NotASpool { .. })));
    let text =
        "no database, but longer than the header of one, which SQLite looks at before it says so: a hundred bytes";
    std::fs::write(&path, text).unwrap();
    let told = reopen(&path).unwrap_err();
    assert!(matches!(&told, SpoolError::NotASpool { .. }), "{told}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
}

#[cfg(unix)]
#[tokio::test]
async fn it_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let (_home, path) = home();
    let spool = Spool::open(&path, MIB).unwrap();
    spool.put(&lane("a"), at(1), &[record("1")]).await.unwrap();
    for file in std::fs::read_dir(path.parent().unwrap()).unwrap().map(Result::unwrap) {
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o077, 0, "{file:?}");
    }
}

#[tokio::test]
async fn a_row_that_is_no_entry_is_told_apart_and_holds_nobody_up() {
    let (_home, path) = home();
    let spool = Spool::open(&path, MIB).unwrap();
    spool.put(&lane("a"), at(1), &["1", "2"].map(record)).await.unwrap();
    drop(spool);
    rusqlite::Connection::open(&path).unwrap().execute("UPDATE entries SET header = '{' WHERE id = 1", []).unwrap();
    let spool = reopen(&path).unwrap();
    let taken = spool.first(&lane("a"), 9, 99).await.unwrap();
    assert_eq!((taken.unreadable, taken.entries.len()), (vec![1], 1));
}
