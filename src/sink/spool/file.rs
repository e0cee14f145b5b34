//! The spool's file: its schema, and the statements that read and change it.
//!
//! One connection, of one thread, writes and reads. It holds SQLite's own lock for good (`locking_mode=EXCLUSIVE`), beside the lock
//! file that names its holder. The log is written ahead with `synchronous=FULL`: a commit is one fsync.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior, params};

use super::entry::{Kind, Lane, Written};
use super::error::SpoolError;
use super::{AsideEntry, LaneStatus, Taken};
use crate::model::Timestamp;
use crate::sink::local::{Claim, FileKind, WriterLock, claim, create_file};

/// `PRAGMA application_id`: "MGSP". Tells a spool from other SQLite files.
const APPLICATION_ID: i64 = 0x4D47_5350;
/// `PRAGMA user_version` of the files this binary writes. A higher one is refused.
const VERSION: i64 = 1;

/// A file that has been emptied is cut back when it is larger.
const KEPT_WHEN_EMPTY_BYTES: u64 = 16 << 20;
/// The log is cut back to this size when it starts over.
const LOG_KEPT_BYTES: i64 = 16 << 20;

/// Ids are given once (`AUTOINCREMENT`), and are the order. `aside` says why an entry is out of line.
const SCHEMA: &str = "
    CREATE TABLE entries (
        id      INTEGER PRIMARY KEY AUTOINCREMENT,
        kind    TEXT    NOT NULL,
        name    TEXT    NOT NULL,
        spooled INTEGER NOT NULL,
        aside   TEXT,
        header  TEXT    NOT NULL,
        payload BLOB    NOT NULL
    ) STRICT;
    CREATE INDEX entries_in_line ON entries (kind, name, id) WHERE aside IS NULL;
    CREATE INDEX entries_aside ON entries (kind, name, id) WHERE aside IS NOT NULL;
";

const KIND: FileKind = FileKind { application_id: APPLICATION_ID, version: VERSION, schema: SCHEMA };

#[derive(Debug)]
pub(super) struct SpoolFile {
    connection: Connection,
    pub path: PathBuf,
    /// Released after the connection is closed: fields are dropped in their order.
    _lock: WriterLock,
}

impl SpoolFile {
    /// Opens the file, and makes it where there is none. Blocks on the disk.
    pub fn open(path: &Path) -> Result<Self, SpoolError> {
        let path = create_file(path).map_err(|error| SpoolError::of_file(path, error))?;
        let lock = WriterLock::take(&path).map_err(|error| SpoolError::of_file(&path, error))?;
        let failed = |error| SpoolError::of_database(&path, &error);
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection = Connection::open_with_flags(&path, flags).map_err(failed)?;
        // Before anything is read, so that the log needs no memory shared with other processes.
        connection.pragma_update_and_check(None, "locking_mode", "exclusive", |_| Ok(())).map_err(failed)?;
        identify(&mut connection, &path)?;
        connection.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(())).map_err(failed)?;
        connection.pragma_update(None, "synchronous", "full").map_err(failed)?;
        connection.pragma_update(None, "journal_size_limit", LOG_KEPT_BYTES).map_err(failed)?;
        Ok(Self { connection, path, _lock: lock })
    }

    /// Does all of it or nothing, on disk when this returns.
    pub fn change<T>(&mut self, work: impl FnOnce(&Change<'_>) -> rusqlite::Result<T>) -> rusqlite::Result<T> {
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let done = work(&Change { transaction: &transaction })?;
        transaction.commit()?;
        Ok(done)
    }

    /// The first of a lane: at most `entries` of them, and `bytes` of payload, though one at least.
    pub fn first(&self, lane: &Lane, entries: usize, bytes: usize) -> rusqlite::Result<Taken> {
        let mut statement = self.connection.prepare_cached(
            "SELECT id, header, payload FROM entries WHERE kind = ?1 AND name = ?2 AND aside IS NULL ORDER BY id LIMIT ?3",
        )?;
        let mut rows =
            statement.query(params![lane.kind.as_str(), lane.name, i64::try_from(entries).unwrap_or(i64::MAX)])?;
        let (mut taken, mut sum) = (Taken::default(), 0);
        while let Some(row) = rows.next()? {
            let (id, payload) = (row.get(0)?, row.get::<_, Vec<u8>>(2)?);
            sum += payload.len();
            if sum > bytes && !taken.is_empty() {
                break;
            }
            match (Written { header: row.get(1)?, payload: payload.into() }).into_entry(lane.kind) {
                Some(entry) => taken.entries.push((id, entry)),
                None => taken.unreadable.push(id),
            }
        }
        Ok(taken)
    }

    /// What is in each lane. Looks at every entry.
    pub fn lanes(&self) -> rusqlite::Result<BTreeMap<Lane, LaneStatus>> {
        let sql = "SELECT kind, name, count(*) FILTER (WHERE aside IS NULL), count(*) FILTER (WHERE aside IS NOT NULL)
                   FROM entries GROUP BY kind, name";
        let mut statement = self.connection.prepare(sql)?;
        let found = statement.query_map([], |row| {
            Ok((row.get::<_, String>(0)?, row.get::<_, Arc<str>>(1)?, row.get::<_, i64>(2)?, row.get::<_, i64>(3)?))
        })?;
        let mut lanes = BTreeMap::new();
        for row in found {
            let (kind, name, entries, aside) = row?;
            // There is no third kind in a file of this version.
            let Some(kind) = Kind::named(&kind) else { continue };
            let lane = Lane { kind, name };
            let oldest = self.oldest(&lane)?;
            let count = |number| u64::try_from(number).unwrap_or_default();
            lanes.insert(lane, LaneStatus { entries: count(entries), aside: count(aside), oldest });
        }
        Ok(lanes)
    }

    /// When the first of a lane was spooled.
    pub fn oldest(&self, lane: &Lane) -> rusqlite::Result<Option<Timestamp>> {
        let sql = "SELECT spooled FROM entries WHERE kind = ?1 AND name = ?2 AND aside IS NULL ORDER BY id LIMIT 1";
        let mut statement = self.connection.prepare_cached(sql)?;
        let mut rows = statement.query(params![lane.kind.as_str(), lane.name])?;
        Ok(rows.next()?.map(|row| row.get(0)).transpose()?.map(Timestamp::from_millis))
    }

    /// The first entries that are kept aside.
    pub fn aside(&self, limit: usize) -> rusqlite::Result<Vec<AsideEntry>> {
        let sql = "SELECT id, kind, name, spooled, aside, length(payload) FROM entries WHERE aside IS NOT NULL ORDER BY id LIMIT ?1";
        let mut statement = self.connection.prepare_cached(sql)?;
        let rows = statement.query_map([i64::try_from(limit).unwrap_or(i64::MAX)], |row| {
            Ok(AsideEntry {
                id: row.get(0)?,
                sink: row.get(1)?,
                name: row.get(2)?,
                spooled: Timestamp::from_millis(row.get(3)?),
                reason: row.get(4)?,
                bytes: u64::try_from(row.get::<_, i64>(5)?).unwrap_or_default(),
            })
        })?;
        rows.collect()
    }

    /// What the file takes for what it holds: pages in use, in bytes.
    pub fn bytes_used(&self) -> rusqlite::Result<u64> {
        let [pages, free, size] = ["page_count", "freelist_count", "page_size"]
            .map(|pragma| self.connection.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0)));
        Ok(u64::try_from((pages? - free?) * size?).unwrap_or_default())
    }

    /// Gives the disk back what an emptied file no longer needs.
    pub fn shrink(&self) -> rusqlite::Result<()> {
        let [pages, size] = ["page_count", "page_size"]
            .map(|pragma| self.connection.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0)));
        if u64::try_from(pages? * size?).unwrap_or_default() <= KEPT_WHEN_EMPTY_BYTES {
            return Ok(());
        }
        self.connection.execute_batch("VACUUM")?;
        self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
    }

    /// Lets the file grow no further, as a disk that is full does not.
    #[cfg(test)]
    pub fn allow_no_more_pages(&self, allowed: bool) {
        let pages: i64 = self.connection.pragma_query_value(None, "page_count", |row| row.get(0)).unwrap();
        let most = if allowed { i64::from(u32::MAX) - 1 } else { pages };
        self.connection.pragma_update_and_check(None, "max_page_count", most, |_| Ok(())).unwrap();
    }
}

/// A transaction under way.
pub(super) struct Change<'a> {
    transaction: &'a Transaction<'a>,
}

impl Change<'_> {
    pub fn put(&self, lane: &Lane, spooled: Timestamp, entries: &[Written]) -> rusqlite::Result<()> {
        let mut insert = self
            .transaction
            .prepare_cached("INSERT INTO entries (kind, name, spooled, header, payload) VALUES (?1, ?2, ?3, ?4, ?5)")?;
        for Written { header, payload } in entries {
            insert.execute(params![lane.kind.as_str(), lane.name, spooled.millis(), header, &payload[..]])?;
        }
        Ok(())
    }

    /// Of those in line. How many there were.
    pub fn delete(&self, ids: &[i64]) -> rusqlite::Result<u64> {
        let sql = "DELETE FROM entries WHERE id = ?1 AND aside IS NULL";
        let mut delete = self.transaction.prepare_cached(sql)?;
        ids.iter().try_fold(0, |sum, id| Ok(sum + delete.execute([id])? as u64))
    }

    /// Of those in line. How many there were.
    pub fn put_aside(&self, ids: &[(i64, String)]) -> rusqlite::Result<u64> {
        let sql = "UPDATE entries SET aside = ?2 WHERE id = ?1 AND aside IS NULL";
        let mut update = self.transaction.prepare_cached(sql)?;
        ids.iter().try_fold(0, |sum, (id, reason)| Ok(sum + update.execute(params![id, reason])? as u64))
    }

    /// Lets what is kept aside stand in line again, where it stood. How many.
    pub fn put_back(&self) -> rusqlite::Result<u64> {
        let changed = self.transaction.execute("UPDATE entries SET aside = NULL WHERE aside IS NOT NULL", [])?;
        Ok(changed as u64)
    }
}

/// Refuses a file that is not ours or too new, and fills one that is empty.
fn identify(connection: &mut Connection, path: &Path) -> Result<(), SpoolError> {
    match claim(connection, &KIND).map_err(|error| SpoolError::of_database(path, &error))? {
        Claim::Ours => Ok(()),
        Claim::Newer(found) => Err(SpoolError::Newer { path: path.to_path_buf(), found, known: VERSION }),
        Claim::Foreign => {
            Err(SpoolError::NotASpool { path: path.to_path_buf(), reason: "it is an SQLite database of another kind" })
        }
    }
}
