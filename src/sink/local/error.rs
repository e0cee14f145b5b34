//! Why a store file could not be opened, read or written, said so that its operator knows what to do next.

use std::io;
use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;

/// What went wrong with a store file. None of these changes the file.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error(
        "there is no store at {}: no gate has kept anything there yet; start one with `meshgate run` (or `meshgate \
         demo`), or name another file with --data or MESHGATE_DATA",
        path.display()
    )]
    Missing { path: PathBuf },
    #[error(
        "the store {} is in use by another gate{holder}; nothing was changed; stop that gate, or give this one a file \
         of its own with --data or MESHGATE_DATA",
        path.display()
    )]
    InUse { path: PathBuf, holder: String },
    #[error(
        "the store {} was written by a newer Meshgate (its version is {found}, this one knows up to {known}); nothing \
         was changed; run the newer Meshgate, or name another file with --data or MESHGATE_DATA",
        path.display()
    )]
    Newer { path: PathBuf, found: i64, known: i64 },
    #[error(
        "{} is not a Meshgate store: {reason}; nothing was changed; name another file with --data or MESHGATE_DATA",
        path.display()
    )]
    NotAStore { path: PathBuf, reason: String },
    #[error(
        "the store {} is damaged (SQLite says: {reason}); nothing was changed; keep a copy, then restore a backup, or \
         move the file and its -wal and -shm companions away and start with an empty one",
        path.display()
    )]
    Damaged { path: PathBuf, reason: String },
    #[error("could not {doing} {}: {source}; check the path, its permissions and the space on its disk", path.display())]
    Io { doing: &'static str, path: PathBuf, source: io::Error },
    #[error(
        "could not {doing} the store {} (SQLite says: {source}); nothing was changed; check the path, its permissions \
         and the space on its disk, then try again",
        path.display()
    )]
    Database { doing: &'static str, path: PathBuf, source: rusqlite::Error },
    #[error("the store's thread stopped; what it acknowledged is safe on disk; restart the gate")]
    Stopped,
}

impl StoreError {
    /// Sorts an error of SQLite's by what its reader can do about it.
    pub(super) fn from_sqlite(doing: &'static str, path: &Path, source: rusqlite::Error) -> Self {
        let path = path.to_path_buf();
        match source.sqlite_error_code() {
            Some(ErrorCode::NotADatabase) => {
                Self::NotAStore { path, reason: "its content is not an SQLite database".to_owned() }
            }
            Some(ErrorCode::DatabaseCorrupt) => Self::Damaged { path, reason: source.to_string() },
            _ => Self::Database { doing, path, source },
        }
    }
}

/// The cause of a failed commit in words fit for a producer: no path, no SQL, no values.
pub(in crate::sink) fn cause(error: &rusqlite::Error) -> &'static str {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => "its disk is full or its size limit is reached",
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => "another process holds its lock",
        Some(ErrorCode::SystemIoFailure) => "its disk reported an I/O error",
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::CannotOpen) => "its file is not writable",
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => "its file is damaged",
        Some(ErrorCode::OutOfMemory) => "memory ran out",
        _ => "its database refused the write",
    }
}
