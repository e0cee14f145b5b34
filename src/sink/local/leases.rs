//! Leases in an SQLite file, for gates on one machine that read a stream without a DynamoDB.
//!
//! The file is its own, not the store's: the store has one writer, and leases are written by each gate that shares them. SQLite's
//! locks keep the processes apart; a write that has been answered is on disk (`synchronous=FULL`). There is no write-ahead log: a
//! few rows are written a few times a second, and switching to it is a race where two processes open a new file.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension as _, Row, TransactionBehavior, params};

use super::error::cause;
use super::schema::{Claim, FileKind, claim, create_file};
use crate::lease::{Checkpoint, Lease, Swap, Swapped};
use crate::model::{HashKey, HashKeyRange, Timestamp};
use crate::port::{BoxFuture, LeaseTable, TableError};

/// `PRAGMA application_id`: "MGLS". Tells a file of leases from other SQLite files.
const APPLICATION_ID: i64 = 0x4D47_4C53;
/// `PRAGMA user_version` of the files this binary writes. A higher one is refused.
const VERSION: i64 = 1;

/// How long a call waits for another process's write.
const BUSY: Duration = Duration::from_secs(2);

/// Sets are JSON arrays, sorted. Hash keys are decimals: SQLite's integers have 64 bits.
const SCHEMA: &str = "
    CREATE TABLE leases (
        key               TEXT    PRIMARY KEY,
        owner             TEXT,
        counter           INTEGER NOT NULL,
        checkpoint        TEXT    NOT NULL,
        sub_sequence      INTEGER NOT NULL,
        owner_switches    INTEGER NOT NULL,
        checkpoint_owner  TEXT,
        parents           TEXT    NOT NULL,
        children          TEXT    NOT NULL,
        starting_hash_key TEXT,
        ending_hash_key   TEXT,
        starts_at         INTEGER
    ) STRICT, WITHOUT ROWID;
";

const KIND: FileKind = FileKind { application_id: APPLICATION_ID, version: VERSION, schema: SCHEMA };

/// A lease table in a file.
#[derive(Debug, Clone)]
pub struct LocalLeases {
    file: Arc<LeaseFile>,
}

#[derive(Debug)]
struct LeaseFile {
    path: PathBuf,
    connection: Mutex<Connection>,
}

impl LocalLeases {
    /// Opens the file at `path`, and creates it, folders included, where there is none. Blocks on the disk, and for at most two
    /// seconds on another process that writes to the file.
    ///
    /// # Errors
    /// The file cannot be opened, is of another kind, or was written by a newer version; it is left as it is.
    pub fn open(path: &Path) -> Result<Self, TableError> {
        let path = create_file(path).map_err(|error| TableError::Refused(error.to_string()))?;
        let connection = connect(&path).map_err(|error| table_error(&path, &error))?;
        let mut file = LeaseFile { path, connection: Mutex::new(connection) };
        file.identify()?;
        Ok(Self { file: Arc::new(file) })
    }

    async fn run<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&LeaseFile) -> Result<T, TableError> + Send + 'static,
    ) -> Result<T, TableError> {
        let file = Arc::clone(&self.file);
        // A caller that goes away leaves the write to end by itself.
        let asked = tokio::task::spawn_blocking(move || ask(&file)).await;
        asked.map_err(|_| TableError::Unavailable("the thread that asked it ended".to_owned()))?
    }
}

impl LeaseTable for LocalLeases {
    fn prepare(&self) -> BoxFuture<'_, Result<(), TableError>> {
        // Opening it made it.
        Box::pin(async { Ok(()) })
    }

    fn list(&self) -> BoxFuture<'_, Result<Vec<Lease>, TableError>> {
        Box::pin(self.run(LeaseFile::list))
    }

    fn swap<'a>(&'a self, swap: &'a Swap) -> BoxFuture<'a, Result<Swapped, TableError>> {
        let swap = swap.clone();
        Box::pin(self.run(move |file| file.swap(&swap)))
    }
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY)?;
    // Cut short rather than deleted: a deleted journal may be back after a power loss, and take the last write with it.
    connection.pragma_update_and_check(None, "journal_mode", "truncate", |_| Ok(()))?;
    connection.pragma_update(None, "synchronous", "full")?;
    Ok(connection)
}

impl LeaseFile {
    /// Refuses a file that is not ours or too new, and fills one that is empty.
    fn identify(&mut self) -> Result<(), TableError> {
        let path = &self.path;
        let connection = self.connection.get_mut().unwrap_or_else(PoisonError::into_inner);
        match claim(connection, &KIND).map_err(|error| table_error(path, &error))? {
            Claim::Ours => Ok(()),
            Claim::Newer(found) => Err(refused(
                path,
                &format!("was written by a newer Meshgate (its version is {found}, this one knows up to {VERSION})"),
            )),
            Claim::Foreign => Err(refused(path, "is an SQLite database of another kind")),
        }
    }

    fn list(&self) -> Result<Vec<Lease>, TableError> {
        let connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        let failed = |error| table_error(&self.path, &error);
        let mut statement = connection.prepare_cached("SELECT * FROM leases ORDER BY key").map_err(failed)?;
        let rows = statement.query_map([], written_of).map_err(failed)?;
        rows.map(|row| self.read(row.map_err(failed)?)).collect()
    }

    /// Looks and writes in one transaction that no other process writes beside.
    fn swap(&self, swap: &Swap) -> Result<Swapped, TableError> {
        let mut connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        let failed = |error| table_error(&self.path, &error);
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
        let row = transaction
            .prepare_cached("SELECT * FROM leases WHERE key = ?1")
            .and_then(|mut statement| statement.query_row([swap.key()], written_of).optional())
            .map_err(failed)?;
        let row = row.map(|row| self.read(row)).transpose()?;
        if !swap.applies_to(row.as_ref()) {
            return Ok(Swapped::Refused(row.map(Box::new)));
        }
        match swap.onto(row.as_ref()) {
            Some(lease) => {
                let lease = self.written(&lease)?;
                put(&transaction, &lease).map_err(failed)?;
            }
            None => {
                transaction.execute("DELETE FROM leases WHERE key = ?1", [swap.key()]).map_err(failed)?;
            }
        }
        transaction.commit().map_err(failed)?;
        Ok(Swapped::Done)
    }

    fn read(&self, row: Written) -> Result<Lease, TableError> {
        let key = row.key.clone();
        row.into_lease().ok_or_else(|| {
            refused(&self.path, &format!("has a row {key:?} that is no lease: correct it, or move the file away"))
        })
    }

    fn written(&self, lease: &Lease) -> Result<Written, TableError> {
        Written::of(lease)
            .ok_or_else(|| refused(&self.path, &format!("cannot hold the numbers of the lease {:?}", lease.key)))
    }
}

/// A row as SQLite has it.
struct Written {
    key: String,
    owner: Option<String>,
    counter: i64,
    checkpoint: String,
    sub_sequence: i64,
    owner_switches: i64,
    checkpoint_owner: Option<String>,
    parents: String,
    children: String,
    range: Option<(String, String)>,
    starts_at: Option<i64>,
}

impl Written {
    /// `None`: a number is greater than SQLite's integers.
    fn of(lease: &Lease) -> Option<Self> {
        let (checkpoint, sub_sequence) = lease.checkpoint.written();
        Some(Self {
            key: lease.key.clone(),
            owner: lease.owner.clone(),
            counter: i64::try_from(lease.counter).ok()?,
            checkpoint: checkpoint.to_owned(),
            sub_sequence: i64::try_from(sub_sequence).ok()?,
            owner_switches: i64::try_from(lease.owner_switches).ok()?,
            checkpoint_owner: lease.checkpoint_owner.clone(),
            parents: serde_json::to_string(&lease.parents).ok()?,
            children: serde_json::to_string(&lease.children).ok()?,
            range: lease.range.map(|range| (range.start.to_string(), range.end.to_string())),
            starts_at: lease.starts_at.map(Timestamp::millis),
        })
    }

    /// `None`: some value is none that a lease has.
    fn into_lease(self) -> Option<Lease> {
        let set = |text: &str| serde_json::from_str::<BTreeSet<String>>(text).ok();
        let range = match self.range {
            Some((start, end)) => {
                Some(HashKeyRange { start: HashKey::parse_explicit(&start)?, end: HashKey::parse_explicit(&end)? })
            }
            None => None,
        };
        Some(Lease {
            key: self.key,
            owner: self.owner,
            counter: u64::try_from(self.counter).ok()?,
            checkpoint: Checkpoint::read(&self.checkpoint, u64::try_from(self.sub_sequence).ok()?)?,
            owner_switches: u64::try_from(self.owner_switches).ok()?,
            checkpoint_owner: self.checkpoint_owner,
            parents: set(&self.parents)?,
            children: set(&self.children)?,
            range,
            starts_at: self.starts_at.map(Timestamp::from_millis),
        })
    }
}

fn written_of(row: &Row<'_>) -> rusqlite::Result<Written> {
    let (start, end): (Option<String>, Option<String>) = (row.get("starting_hash_key")?, row.get("ending_hash_key")?);
    Ok(Written {
        key: row.get("key")?,
        owner: row.get("owner")?,
        counter: row.get("counter")?,
        checkpoint: row.get("checkpoint")?,
        sub_sequence: row.get("sub_sequence")?,
        owner_switches: row.get("owner_switches")?,
        checkpoint_owner: row.get("checkpoint_owner")?,
        parents: row.get("parents")?,
        children: row.get("children")?,
        range: start.zip(end),
        starts_at: row.get("starts_at")?,
    })
}

fn put(connection: &Connection, row: &Written) -> rusqlite::Result<usize> {
    let (start, end) = row.range.as_ref().map(|(start, end)| (start, end)).unzip();
    let mut statement = connection.prepare_cached(
        "INSERT OR REPLACE INTO leases (key, owner, counter, checkpoint, sub_sequence, owner_switches, checkpoint_owner,
             parents, children, starting_hash_key, ending_hash_key, starts_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
    )?;
    statement.execute(params![
        row.key,
        row.owner,
        row.counter,
        row.checkpoint,
        row.sub_sequence,
        row.owner_switches,
        row.checkpoint_owner,
        row.parents,
        row.children,
        start,
        end,
        row.starts_at
    ])
}

fn refused(path: &Path, why: &str) -> TableError {
    TableError::Refused(format!("the file {} {why}; nothing was changed", path.display()))
}

fn table_error(path: &Path, error: &rusqlite::Error) -> TableError {
    let told = format!("the file {}: {}", path.display(), cause(error));
    match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt | ErrorCode::ReadOnly | ErrorCode::CannotOpen) => {
            TableError::Refused(format!("{told}; repair it, or move it away"))
        }
        _ => TableError::Unavailable(told),
    }
}

#[cfg(test)]
mod tests;
