//! The file's schema and its version, the writer's lock, and how connections are opened.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use super::StoreError;

/// `PRAGMA application_id`: "MGST". Tells a store from other SQLite files.
const APPLICATION_ID: i64 = 0x4D47_5354;

/// `PRAGMA user_version` of the files this binary writes. A higher one is refused.
pub(super) const VERSION: i64 = 1;

/// 8 KiB pages hold seven 1 KB records; at the default 4 KiB a quarter of each page would be wasted.
pub(super) const PAGE_BYTES: u32 = 8_192;

/// `records.id` is global, so that the table is only ever appended to and its order is the order of arrival across
/// streams and shards. The index makes reading a shard a range scan, and holds `arrived` so that a search by time
/// touches no data. `counters` keeps ids from being given out twice, even when the newest records are one day deleted.
const SCHEMA: &str = "
    CREATE TABLE counters (
        one     INTEGER PRIMARY KEY CHECK (one = 1),
        next_id INTEGER NOT NULL
    ) STRICT;
    INSERT INTO counters VALUES (1, 1);
    CREATE TABLE streams (
        id      INTEGER PRIMARY KEY,
        name    TEXT    NOT NULL UNIQUE,
        shards  INTEGER NOT NULL,
        created INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE records (
        id            INTEGER PRIMARY KEY,
        stream        INTEGER NOT NULL,
        shard         INTEGER NOT NULL,
        arrived       INTEGER NOT NULL,
        partition_key TEXT    NOT NULL,
        data          BLOB    NOT NULL
    ) STRICT;
    CREATE INDEX records_by_shard ON records (stream, shard, id, arrived);
    CREATE TABLE letters (
        seq         INTEGER PRIMARY KEY,
        id          TEXT    NOT NULL UNIQUE,
        queue       TEXT    NOT NULL,
        quarantined INTEGER NOT NULL,
        stream      TEXT    NOT NULL,
        domain      TEXT    NOT NULL,
        contract    TEXT    NOT NULL,
        rule        TEXT    NOT NULL,
        kind        TEXT    NOT NULL,
        body        TEXT    NOT NULL
    ) STRICT;
    CREATE INDEX letters_by_reason ON letters (domain, contract, rule, kind);
";

/// What questions are answered by, and stores of earlier binaries may lack.
const INDEXES: &str = "CREATE INDEX IF NOT EXISTS letters_by_queue ON letters (queue, quarantined)";

/// How long a lock may be held by a child process that is being started.
const STARTING: Duration = Duration::from_millis(500);

/// Takes a file's lock, or says that somebody has it. A child process holds a copy of each open file, and so of its lock, from its birth
/// until its program begins: one that was let go a moment ago may seem to be held for some milliseconds.
pub fn lock_file(file: &File) -> Result<(), TryLockError> {
    let began = Instant::now();
    loop {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) if began.elapsed() < STARTING => std::thread::sleep(STARTING / 50),
            other => return other,
        }
    }
}

/// Held for as long as a gate writes to the store. The system releases it when the process ends, however it ends; the
/// lock file stays behind, as deleting it would race with the next gate.
#[derive(Debug)]
pub(in crate::sink) struct WriterLock(#[expect(dead_code, reason = "held, not read")] File);

impl WriterLock {
    /// Takes the lock beside `store`, or says at once who has it.
    pub(in crate::sink) fn take(store: &Path) -> Result<Self, StoreError> {
        let mut path = store.as_os_str().to_owned();
        path.push(".lock");
        let path = PathBuf::from(path);
        let failed = |source| StoreError::Io { doing: "lock the store with", path: path.clone(), source };
        let mut file = private(OpenOptions::new().read(true).write(true).create(true).truncate(false))
            .open(&path)
            .map_err(failed)?;
        match lock_file(&file) {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                let process = file.take(20).read_to_string(&mut text).ok().and_then(|_| text.trim().parse().ok());
                let holder = process.map_or_else(String::new, |id: u32| format!(" (process {id})"));
                return Err(StoreError::InUse { path: store.to_path_buf(), holder });
            }
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        // Only for the message above: a failure to write it changes nothing about the lock.
        let _ = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| writeln!(file, "{}", std::process::id()));
        Ok(Self(file))
    }
}

/// Creates the file and its folders where they are missing, and returns its one true path: two names of one file must
/// meet at one lock. The dead letters in it can hold personal data, so nobody but its owner may read it.
pub(in crate::sink) fn create_file(path: &Path) -> Result<PathBuf, StoreError> {
    if let Some(folder) = path.parent().filter(|f| !f.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).map_err(|source| StoreError::Io {
            doing: "create the folder",
            path: folder.to_path_buf(),
            source,
        })?;
    }
    let failed = |source| StoreError::Io { doing: "open the store", path: path.to_path_buf(), source };
    private(OpenOptions::new().write(true).create(true).truncate(false)).open(path).map_err(failed)?;
    path.canonicalize().map_err(failed)
}

fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
    options
}

/// Opens the connection that writes. The caller holds the [`WriterLock`].
pub(super) fn open_writer(path: &Path, busy: Duration, size_max: Option<u64>) -> Result<Connection, StoreError> {
    let failed = |source| StoreError::from_sqlite("open", path, source);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags).map_err(failed)?;
    connection.busy_timeout(busy).map_err(failed)?;
    let fresh = identify(&connection, path)? == Identity::Empty;
    if fresh {
        connection.pragma_update(None, "page_size", PAGE_BYTES).map_err(failed)?;
    }
    let mode: String =
        connection.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0)).map_err(failed)?;
    if mode != "wal" {
        let reason = format!("its file system offers no write-ahead log (journal mode is {mode:?})");
        return Err(StoreError::NotAStore { path: path.to_path_buf(), reason });
    }
    // FULL: every commit is one fsync of the log, so that power loss, too, spares what was acknowledged. The writer
    // checkpoints by itself, after it has answered (see `writer`).
    connection.pragma_update(None, "synchronous", "full").map_err(failed)?;
    connection.pragma_update(None, "wal_autocheckpoint", 0).map_err(failed)?;
    connection.pragma_update(None, "journal_size_limit", super::writer::WAL_KEPT_BYTES).map_err(failed)?;
    if let Some(bytes) = size_max {
        let pages = i64::try_from(bytes / u64::from(PAGE_BYTES)).unwrap_or(i64::MAX).clamp(1, i64::from(u32::MAX) - 1);
        connection.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(())).map_err(failed)?;
    }
    if fresh {
        let transaction = connection.transaction().map_err(failed)?;
        transaction.execute_batch(SCHEMA).map_err(failed)?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID).map_err(failed)?;
        transaction.pragma_update(None, "user_version", VERSION).map_err(failed)?;
        transaction.commit().map_err(failed)?;
    }
    connection.execute_batch(INDEXES).map_err(failed)?;
    Ok(connection)
}

/// Opens a connection that only reads, from this process or another, while the gate runs or not.
pub(super) fn open_reader(path: &Path, busy: Duration) -> Result<Connection, StoreError> {
    let missing = || StoreError::Missing { path: path.to_path_buf() };
    if !path.try_exists().map_err(|source| StoreError::Io { doing: "look for", path: path.to_path_buf(), source })? {
        return Err(missing());
    }
    let failed = |source| StoreError::from_sqlite("read", path, source);
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(failed)?;
    connection.busy_timeout(busy).map_err(failed)?;
    match identify(&connection, path)? {
        Identity::Ours => Ok(connection),
        // A gate died, or is, between creating the file and its tables.
        Identity::Empty => Err(missing()),
    }
}

/// How files of one kind are told from other SQLite files.
pub struct FileKind {
    /// `PRAGMA application_id`.
    pub application_id: i64,
    /// `PRAGMA user_version` of the files this binary writes. A higher one is refused.
    pub version: i64,
    /// What an empty file is filled with.
    pub schema: &'static str,
}

/// What a file turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    Ours,
    /// Of this version, which a newer binary wrote. It is left as it is.
    Newer(i64),
    /// Another application's. It is left as it is.
    Foreign,
}

/// Takes a file for one of this kind, and fills one that is empty: in one transaction, so that of two processes one does.
pub fn claim(connection: &mut Connection, kind: &FileKind) -> rusqlite::Result<Claim> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let number = |pragma: &str| transaction.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0));
    let tables: i64 = transaction.query_row("SELECT count(*) FROM sqlite_master", [], |row| row.get(0))?;
    let (application_id, version) = (number("application_id")?, number("user_version")?);
    if (application_id, version, tables) == (0, 0, 0) {
        transaction.execute_batch(kind.schema)?;
        transaction.pragma_update(None, "application_id", kind.application_id)?;
        transaction.pragma_update(None, "user_version", kind.version)?;
        transaction.commit()?;
        return Ok(Claim::Ours);
    }
    Ok(match application_id == kind.application_id {
        true if version > kind.version => Claim::Newer(version),
        true => Claim::Ours,
        false => Claim::Foreign,
    })
}

#[derive(PartialEq, Eq)]
enum Identity {
    Empty,
    Ours,
}

/// Refuses files that are not ours or too new, before anything is written to them.
fn identify(connection: &Connection, path: &Path) -> Result<Identity, StoreError> {
    let failed = |source| StoreError::from_sqlite("read", path, source);
    let number = |pragma: &str| connection.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0));
    let tables: i64 =
        connection.query_row("SELECT count(*) FROM sqlite_master", [], |row| row.get(0)).map_err(failed)?;
    let application = number("application_id").map_err(failed)?;
    let version = number("user_version").map_err(failed)?;
    if application == 0 && version == 0 && tables == 0 {
        return Ok(Identity::Empty);
    }
    if application != APPLICATION_ID {
        let reason = "it is an SQLite database of another application".to_owned();
        return Err(StoreError::NotAStore { path: path.to_path_buf(), reason });
    }
    if version > VERSION {
        return Err(StoreError::Newer { path: path.to_path_buf(), found: version, known: VERSION });
    }
    Ok(Identity::Ours)
}
