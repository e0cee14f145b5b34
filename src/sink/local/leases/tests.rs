//! The file's own cases. What every table of leases does is tested with the others, in `tests/it/leases`.

use expect_test::expect;
use rusqlite::Connection;

use super::*;

fn shown(error: &TableError, home: &Path) -> String {
    error.to_string().replace(&home.canonicalize().unwrap().display().to_string(), "HOME")
}

#[tokio::test]
async fn leases_outlive_the_process() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("new/folder/leases.db");
    let lease = Lease::new("shard", Checkpoint::Latest);
    let table = LocalLeases::open(&path).unwrap();
    assert_eq!(table.swap(&Swap::Create(Box::new(lease.clone()))).await, Ok(Swapped::Done));
    drop(table);
    assert_eq!(LocalLeases::open(&path).unwrap().list().await, Ok(vec![lease]));
}

#[test]
fn files_of_another_kind_or_a_newer_version_are_left_alone() {
    let home = tempfile::tempdir().unwrap();
    let [other, newer, text] = ["other.db", "newer.db", "text.db"].map(|name| home.path().join(name));
    Connection::open(&other).unwrap().execute_batch("CREATE TABLE t (x)").unwrap();
    drop(LocalLeases::open(&newer).unwrap());
    Connection::open(&newer).unwrap().pragma_update(None, "user_version", 2).unwrap();
    std::fs::write(&text, "x".repeat(5_000)).unwrap();
    let told: Vec<_> = [&other, &newer, &text]
        .map(|path| {
            let before = std::fs::read(path).unwrap();
            let error = LocalLeases::open(path).unwrap_err();
            assert_eq!(std::fs::read(path).unwrap(), before);
            format!("{}\n", shown(&error, home.path()))
        })
        .into();
    expect![[r#"
        the lease table refuses: the file HOME/other.db is an SQLite database of another kind; nothing was changed
        the lease table refuses: the file HOME/newer.db was written by a newer Meshgate (its version is 2, this one knows up to 1); nothing was changed
        the lease table refuses: the file HOME/text.db: its file is damaged; repair it, or move it away
    "#]].assert_eq(&told.concat());
}

#[tokio::test]
async fn a_row_that_is_no_lease_is_told() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("leases.db");
    let table = LocalLeases::open(&path).unwrap();
    let lease = Lease::new("shard", Checkpoint::Latest);
    table.swap(&Swap::Create(Box::new(lease.clone()))).await.unwrap();
    Connection::open(&path).unwrap().execute("UPDATE leases SET checkpoint = 'EARLIEST'", []).unwrap();
    let error = table.list().await.unwrap_err();
    expect![[r#"the lease table refuses: the file HOME/leases.db has a row "shard" that is no lease: correct it, or move the file away; nothing was changed"#]].assert_eq(&shown(&error, home.path()));
    let too_large = Lease { counter: u64::MAX, ..Lease::new("large", Checkpoint::Latest) };
    let error = table.swap(&Swap::Create(Box::new(too_large))).await.unwrap_err();
    assert!(matches!(error, TableError::Refused(_)), "{error}");
}

/// Another process that keeps the file locked is waited for, and then told of.
#[tokio::test]
async fn a_locked_file_is_unavailable() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("leases.db");
    let table = LocalLeases::open(&path).unwrap();
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let error = table.list().await.unwrap_err();
    expect!["the lease table could not be reached: the file HOME/leases.db: another process holds its lock; a write may or may not have happened"].assert_eq(&shown(&error, home.path()));
    other.execute_batch("COMMIT").unwrap();
    assert_eq!(table.list().await, Ok(Vec::new()));
}
