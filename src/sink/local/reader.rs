//! Reading a store over a connection of its own: streams and records. Works from any process, while a gate writes.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::StoreError;
use super::schema::open_reader;
use super::sequence::sequence_number;
use super::streams::Stream;
use crate::model::Timestamp;
use crate::port::StoredRecord;

/// How long a read waits for the moment in which SQLite keeps readers out (recovery after a crash).
const BUSY: Duration = Duration::from_secs(2);

/// A read-only view of a store. Each call sees what is committed at that moment. Synchronous: for command-line tools
/// and blocking threads.
pub struct Reader {
    pub(super) connection: Connection,
    pub(super) path: PathBuf,
}

/// A record as [`Reader::record`] gives it, with the shard it is on.
#[derive(Debug, Clone)]
pub struct PlacedRecord {
    /// Index into [`Stream::shards`].
    pub shard: u32,
    pub record: StoredRecord,
}

impl Reader {
    /// Opens the store for reading. [`StoreError::Missing`] when no gate has kept anything there.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        Ok(Self { connection: open_reader(path, BUSY)?, path: path.to_path_buf() })
    }

    /// All streams, sorted by name.
    pub fn streams(&self) -> Result<Vec<Stream>, StoreError> {
        self.failing(all_streams)
    }

    pub fn stream(&self, name: &str) -> Result<Option<Stream>, StoreError> {
        self.failing(|c| {
            c.prepare_cached("SELECT id, name, created, shards FROM streams WHERE name = ?1")?
                .query_row([name], stream_of)
                .optional()
        })
    }

    /// The id that the next record will be given, on whichever stream it lands.
    pub fn tip(&self) -> Result<i64, StoreError> {
        self.failing(tip)
    }

    /// Changes whenever another connection has committed: a cheap way to wait for news (`PRAGMA data_version`).
    pub fn data_version(&self) -> Result<i64, StoreError> {
        self.failing(data_version)
    }

    /// The id of the first record, in stream order, that arrived at `time` or later on one of these shards.
    pub fn first_since(&self, stream: &Stream, shards: &[u32], time: Timestamp) -> Result<Option<i64>, StoreError> {
        self.failing(|c| {
            let mut statement = c.prepare_cached(
                "SELECT id FROM records INDEXED BY records_by_shard
                 WHERE stream = ?1 AND shard = ?2 AND arrived >= ?3 ORDER BY id LIMIT 1",
            )?;
            let mut first = None::<i64>;
            for shard in shards {
                let id = statement.query_row(params![stream.id, shard, time.millis()], |row| row.get(0)).optional()?;
                first = [first, id].into_iter().flatten().min();
            }
            Ok(first)
        })
    }

    /// At most `limit` ids of these shards' records from id `from` on, in the order they were stored.
    pub fn ids_from(&self, stream: &Stream, shards: &[u32], from: i64, limit: usize) -> Result<Vec<i64>, StoreError> {
        let sql = "SELECT id FROM records INDEXED BY records_by_shard
                   WHERE stream = ?1 AND shard = ?2 AND id >= ?3 ORDER BY id LIMIT ?4";
        let mut ids = self.ids(sql, stream, shards, from, limit)?;
        ids.sort_unstable();
        ids.truncate(limit);
        Ok(ids)
    }

    /// The ids of the last `limit` of these shards' records before id `before`, in the order they were stored.
    pub fn last_ids(&self, stream: &Stream, shards: &[u32], before: i64, limit: usize) -> Result<Vec<i64>, StoreError> {
        let sql = "SELECT id FROM records INDEXED BY records_by_shard
                   WHERE stream = ?1 AND shard = ?2 AND id < ?3 ORDER BY id DESC LIMIT ?4";
        let mut ids = self.ids(sql, stream, shards, before, limit)?;
        ids.sort_unstable();
        ids.drain(..ids.len().saturating_sub(limit));
        Ok(ids)
    }

    fn ids(
        &self,
        sql: &str,
        stream: &Stream,
        shards: &[u32],
        bound: i64,
        limit: usize,
    ) -> Result<Vec<i64>, StoreError> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.failing(|c| {
            let mut statement = c.prepare_cached(sql)?;
            let mut ids = Vec::new();
            for shard in shards {
                for id in statement.query_map(params![stream.id, shard, bound, limit], |row| row.get(0))? {
                    ids.push(id?);
                }
            }
            Ok(ids)
        })
    }

    /// One record by id.
    pub fn record(&self, id: i64) -> Result<Option<PlacedRecord>, StoreError> {
        self.failing(|c| {
            c.prepare_cached("SELECT id, arrived, partition_key, data, shard FROM records WHERE id = ?1")?
                .query_row([id], |row| Ok(PlacedRecord { shard: row.get(4)?, record: record_of(row)? }))
                .optional()
        })
    }

    /// At most `limit` records and about `bytes` bytes of one shard from id `from` on, in order, but one at least where
    /// there is one; the id from which to go on, and how far the last record is behind the shard's newest, in
    /// milliseconds.
    pub(super) fn read_shard(
        &self,
        stream: &Stream,
        shard: u32,
        from: i64,
        limit: usize,
        bytes: usize,
    ) -> Result<(Vec<StoredRecord>, i64, i64), StoreError> {
        self.failing(|c| {
            // One snapshot for both questions, so that the answer to the second is never older than the first's.
            let snapshot = c.unchecked_transaction()?;
            let mut statement = snapshot.prepare_cached(
                "SELECT id, arrived, partition_key, data FROM records INDEXED BY records_by_shard
                 WHERE stream = ?1 AND shard = ?2 AND id >= ?3 ORDER BY id LIMIT ?4",
            )?;
            let limit = i64::try_from(limit).unwrap_or(i64::MAX);
            let mut rows = statement.query(params![stream.id, shard, from, limit])?;
            let (mut records, mut next, mut total) = (Vec::new(), from, 0);
            while let Some(row) = rows.next()? {
                let size = row.get_ref(2)?.as_str()?.len() + row.get_ref(3)?.as_blob()?.len();
                total += size;
                if total > bytes && !records.is_empty() {
                    break;
                }
                next = row.get::<_, i64>(0)?.saturating_add(1);
                records.push(record_of(row)?);
            }
            let behind = match records.last() {
                None => 0,
                Some(last) => {
                    let newest: i64 = snapshot
                        .prepare_cached(
                            "SELECT arrived FROM records INDEXED BY records_by_shard
                             WHERE stream = ?1 AND shard = ?2 ORDER BY id DESC LIMIT 1",
                        )?
                        .query_row(params![stream.id, shard], |row| row.get(0))?;
                    newest.saturating_sub(last.arrived.millis()).max(0)
                }
            };
            Ok((records, next, behind))
        })
    }

    /// Asks the database, and says which store it was when that fails.
    pub(super) fn failing<T>(&self, ask: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, StoreError> {
        ask(&self.connection).map_err(|source| StoreError::from_sqlite("read", &self.path, source))
    }
}

pub(super) fn all_streams(connection: &Connection) -> rusqlite::Result<Vec<Stream>> {
    let mut all = connection.prepare_cached("SELECT id, name, created, shards FROM streams ORDER BY name")?;
    all.query_map([], stream_of)?.collect()
}

pub(super) fn tip(connection: &Connection) -> rusqlite::Result<i64> {
    connection.prepare_cached("SELECT next_id FROM counters")?.query_row([], |row| row.get(0))
}

pub(super) fn data_version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.prepare_cached("PRAGMA data_version")?.query_row([], |row| row.get(0))
}

fn stream_of(row: &Row<'_>) -> rusqlite::Result<Stream> {
    Ok(Stream::new(row.get(0)?, row.get(1)?, Timestamp::from_millis(row.get(2)?), row.get(3)?))
}

/// From a row that starts with id, arrived, partition_key, data.
fn record_of(row: &Row<'_>) -> rusqlite::Result<StoredRecord> {
    Ok(StoredRecord {
        sequence_number: sequence_number(row.get(0)?),
        arrived: Timestamp::from_millis(row.get(1)?),
        partition_key: row.get(2)?,
        data: Bytes::from(row.get::<_, Vec<u8>>(3)?),
    })
}
