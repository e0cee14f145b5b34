//! Where rule files come from.

use std::fmt;
use std::path::{Path, PathBuf};

use super::rules::{self, ReadError};
use crate::contract::RuleFiles;

/// A place that holds rule files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RuleSource {
    Directory(PathBuf),
}

/// What was read from one.
#[derive(Debug)]
pub struct Read {
    pub files: RuleFiles,
    /// What verdicts are stamped with.
    pub revision: String,
    /// What [`RuleSource::look`] says of the same files.
    pub content: String,
}

impl RuleSource {
    /// A name for what there is to read, which changes with it. Costs less than reading.
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    pub fn look(&self) -> Result<String, ReadError> {
        match self {
            Self::Directory(dir) => Ok(rules::content_revision(&rules::read(dir)?)),
        }
    }

    /// All files. Blocks on them.
    ///
    /// # Errors
    ///
    /// When they cannot be read, or pass a bound.
    pub fn read(&self) -> Result<Read, ReadError> {
        match self {
            Self::Directory(dir) => {
                let files = rules::read(dir)?;
                let content = rules::content_revision(&files);
                Ok(Read { revision: rules::revision(dir), files, content })
            }
        }
    }
}

/// What people call it: a directory's path.
impl fmt::Display for RuleSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(dir) => dir.display().fmt(f),
        }
    }
}

impl From<&Path> for RuleSource {
    fn from(dir: &Path) -> Self {
        Self::Directory(dir.to_owned())
    }
}
