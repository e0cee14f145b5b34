//! Why a spool could not be opened, or did not take something.

use std::path::{Path, PathBuf};

use crate::sink::local::{StoreError, cause};

/// Why a spool was not opened. Nothing in it was changed.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    #[error(
        "the spool {} is in use by another gate{holder}; nothing was changed; stop that gate, or give this one a file of its own \
         (`spool.path` in the settings)",
        path.display()
    )]
    InUse { path: PathBuf, holder: String },
    #[error(
        "the spool {} was written by a newer Meshgate (its version is {found}, this one knows up to {known}); nothing was changed; \
         run the newer Meshgate until it is drained, or name another file (`spool.path` in the settings)",
        path.display()
    )]
    Newer { path: PathBuf, found: i64, known: i64 },
    #[error(
        "{} is no spool: {reason}; nothing was changed; name another file (`spool.path` in the settings)",
        path.display()
    )]
    NotASpool { path: PathBuf, reason: &'static str },
    #[error(
        "cannot open the spool {}: {reason}; what it holds is as it was; check the path, its permissions and its disk; a damaged file \
         holds acknowledged records: keep it",
        path.display()
    )]
    Failed { path: PathBuf, reason: String },
}

impl SpoolError {
    pub(super) fn of_database(path: &Path, error: &rusqlite::Error) -> Self {
        let path = path.to_path_buf();
        match error.sqlite_error_code() {
            Some(rusqlite::ErrorCode::NotADatabase) => {
                Self::NotASpool { path, reason: "its content is not an SQLite database" }
            }
            _ => Self::Failed { path, reason: cause(error).to_owned() },
        }
    }

    pub(super) fn of_file(path: &Path, error: StoreError) -> Self {
        match error {
            StoreError::InUse { path, holder } => Self::InUse { path, holder },
            StoreError::Io { source, .. } => Self::Failed { path: path.to_path_buf(), reason: source.to_string() },
            other => Self::Failed { path: path.to_path_buf(), reason: other.to_string() },
        }
    }
}

/// Why a call changed nothing in the spool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Its file is as large as it may be.
    #[error("the spool is full")]
    Full,
    /// The disk. In words fit for a producer.
    #[error("the spool could not be written: {0}")]
    Failed(&'static str),
    /// The thread that writes has ended: a fault of the gate.
    #[error("the spool has stopped (a fault of the gate)")]
    Stopped,
}
