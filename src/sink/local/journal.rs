//! What replays have done, in an SQLite file of its own: a letter that was forwarded is not forwarded again, whatever happened to the
//! process or to its queue in between.
//!
//! A letter's id is noted as *begun* before its event is put on the mesh stream, and as *done* after. Where a replay died in between, it is
//! not known whether the event is on the stream: it is put there again, and counted as possibly twice. Of a repaired event both versions are
//! kept. What is older than a queue keeps messages is forgotten.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, OptionalExtension as _, TransactionBehavior, params};

use super::StoreError;
use super::schema::{Claim, FileKind, claim, create_file};
use crate::model::{Timestamp, Trouble, Unsettled};

/// `PRAGMA application_id`: "MGRJ".
const APPLICATION_ID: i64 = 0x4D47_524A;
/// `PRAGMA user_version`. A higher one is refused.
const VERSION: i64 = 1;
/// How long a call waits for another process's write.
const BUSY: Duration = Duration::from_secs(10);
/// SQS keeps a message for 14 days at most; a store of our own as long as there is room.
const KEPT_DAYS: i64 = 90;

const SCHEMA: &str = "
    CREATE TABLE replays (
        id        TEXT    PRIMARY KEY,
        is_done   INTEGER NOT NULL,
        at        INTEGER NOT NULL,
        stream    TEXT    NOT NULL,
        revision  TEXT    NOT NULL,
        placed    TEXT,
        before    TEXT,
        after     TEXT
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX replays_by_time ON replays (at);
";

const KIND: FileKind = FileKind { application_id: APPLICATION_ID, version: VERSION, schema: SCHEMA };

/// A file in which replays are noted.
#[derive(Debug, Clone)]
pub struct Journal(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    connection: Mutex<Connection>,
}

/// A letter whose event is forwarded, or is about to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The letter's.
    pub id: String,
    pub at: Timestamp,
    /// The mesh stream.
    pub stream: String,
    /// Of the rules that judged.
    pub revision: String,
    /// Where it is, once that is known: shard and sequence number.
    pub placed: Option<String>,
    /// Of a repaired event: the letter's document, and the event as it was forwarded.
    pub repaired: Option<(String, String)>,
}

/// How far a letter came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// It may be on the mesh stream.
    Begun,
    /// It is.
    Done,
}

impl Journal {
    /// Opens the file, and makes it where there is none. Blocks on the disk.
    ///
    /// # Errors
    /// Where it cannot be opened, or is of another kind or a newer version.
    pub fn open(path: &Path, now: Timestamp) -> Result<Self, StoreError> {
        let path = create_file(path)?;
        let failed = |source| StoreError::from_sqlite("open", &path, source);
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection = Connection::open_with_flags(&path, flags).map_err(failed)?;
        connection.busy_timeout(BUSY).map_err(failed)?;
        connection.pragma_update(None, "synchronous", "full").map_err(failed)?;
        match claim(&mut connection, &KIND).map_err(failed)? {
            Claim::Ours => {}
            Claim::Newer(found) => return Err(StoreError::Newer { path, found, known: VERSION }),
            Claim::Foreign => {
                let reason = "it is an SQLite database of another application".to_owned();
                return Err(StoreError::NotAStore { path, reason });
            }
        }
        let oldest = now.millis() - KEPT_DAYS * 24 * 3_600_000;
        connection.execute("DELETE FROM replays WHERE at < ?1", [oldest]).map_err(failed)?;
        Ok(Self(Arc::new(Inner { path, connection: Mutex::new(connection) })))
    }

    /// How far the letters came that are known here.
    ///
    /// # Errors
    /// Where the file cannot be read.
    pub async fn progress(&self, ids: Vec<String>) -> Result<HashMap<String, Progress>, Unsettled> {
        self.run(move |connection| {
            let mut known = connection.prepare_cached("SELECT is_done FROM replays WHERE id = ?1")?;
            let mut found = HashMap::new();
            for id in ids {
                if let Some(is_done) = known.query_row([&id], |row| row.get::<_, bool>(0)).optional()? {
                    found.insert(id, if is_done { Progress::Done } else { Progress::Begun });
                }
            }
            Ok(found)
        })
        .await
    }

    /// Notes letters, on disk when it answers.
    ///
    /// # Errors
    /// Where that fails: nothing of them is noted.
    pub async fn note(&self, entries: Vec<Entry>, progress: Progress) -> Result<(), Unsettled> {
        self.run(move |connection| {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let mut insert = transaction.prepare_cached(
                "INSERT INTO replays (id, is_done, at, stream, revision, placed, before, after)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
                 ON CONFLICT (id) DO UPDATE SET is_done = max(is_done, ?2), at = ?3, stream = ?4, revision = ?5,
                 placed = ?6, before = ?7, after = ?8",
            )?;
            for entry in entries {
                let (before, after) = entry.repaired.unzip();
                let is_done = progress == Progress::Done;
                insert.execute(params![
                    entry.id,
                    is_done,
                    entry.at.millis(),
                    entry.stream,
                    entry.revision,
                    entry.placed,
                    before,
                    after
                ])?;
            }
            drop(insert);
            transaction.commit()
        })
        .await
    }

    /// What is noted of the letter whose id begins so, where that is one: with whether it is done.
    ///
    /// # Errors
    /// Where the file cannot be read.
    pub fn find(&self, id: &str) -> Result<Option<(Entry, Progress)>, StoreError> {
        let entry = |row: &rusqlite::Row<'_>| {
            let repaired = row.get::<_, Option<String>>(6)?.zip(row.get::<_, Option<String>>(7)?);
            let progress = if row.get(1)? { Progress::Done } else { Progress::Begun };
            let at = Timestamp::from_millis(row.get(2)?);
            let (id, stream, revision, placed) = (row.get(0)?, row.get(3)?, row.get(4)?, row.get(5)?);
            Ok((Entry { id, at, stream, revision, placed, repaired }, progress))
        };
        let connection = self.0.connection.lock().unwrap_or_else(PoisonError::into_inner);
        let sql = "SELECT id, is_done, at, stream, revision, placed, before, after FROM replays
                   WHERE id >= ?1 ORDER BY id LIMIT 1";
        let found = connection.prepare_cached(sql).and_then(|mut asked| asked.query_row([id], entry).optional());
        let found = found.map_err(|source| StoreError::from_sqlite("read", &self.0.path, source))?;
        Ok(found.filter(|(entry, _)| entry.id.starts_with(id)))
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, Unsettled> {
        let inner = Arc::clone(&self.0);
        let done = tokio::task::spawn_blocking(move || {
            let mut connection = inner.connection.lock().unwrap_or_else(PoisonError::into_inner);
            work(&mut connection).map_err(|error| {
                let path = inner.path.display();
                format!(
                    "the journal of replays {path} cannot be written or read (SQLite says: {error}); what was forwarded and is not noted in \
                     it is forwarded again by the next replay, and counted as possibly twice; look at its disk, and run the replay again"
                )
            })
        });
        let message = match done.await {
            Ok(Ok(done)) => return Ok(done),
            Ok(Err(message)) => message,
            Err(_) => "the thread that writes the journal of replays ended; run the replay again".to_owned(),
        };
        Err(Unsettled { trouble: Trouble::Unavailable, message })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(id: &str, repaired: bool) -> Entry {
        Entry {
            id: id.into(),
            at: Timestamp::from_millis(1_795_000_000_000),
            stream: "orders-mesh".into(),
            revision: "r1".into(),
            placed: Some("shardId-000000000000 49".into()),
            repaired: repaired.then(|| ("{\"before\":1}".into(), "{\"after\":1}".into())),
        }
    }

    #[tokio::test]
    async fn what_was_noted_is_known_after_the_file_is_opened_again() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("meshgate.db.replays");
        let now = Timestamp::from_millis(1_795_000_000_000);
        let journal = Journal::open(&path, now).unwrap();
        journal.note(vec![entry("a1", true), entry("a2", false)], Progress::Begun).await.unwrap();
        journal.note(vec![entry("a1", true)], Progress::Done).await.unwrap();
        // What is done stays so, whoever begins it again.
        journal.note(vec![entry("a1", true)], Progress::Begun).await.unwrap();
        drop(journal);
        let journal = Journal::open(&path, now).unwrap();
        let known = journal.progress(["a1", "a2", "a3"].map(str::to_owned).to_vec()).await.unwrap();
        assert_eq!(known, HashMap::from([("a1".into(), Progress::Done), ("a2".into(), Progress::Begun)]));
        assert_eq!(journal.find("a1").unwrap(), Some((entry("a1", true), Progress::Done)));
        assert_eq!(journal.find("b").unwrap(), None);

        drop(journal);
        let foreign = home.path().join("foreign.db");
        Connection::open(&foreign).unwrap().execute_batch("CREATE TABLE theirs (n)").unwrap();
        assert!(matches!(Journal::open(&foreign, now), Err(StoreError::NotAStore { .. })));

        let later = Timestamp::from_millis(now.millis() + (KEPT_DAYS + 1) * 24 * 3_600_000);
        let journal = Journal::open(&path, later).unwrap();
        assert!(journal.progress(vec!["a1".into()]).await.unwrap().is_empty());
    }
}
