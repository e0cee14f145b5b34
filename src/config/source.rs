//! Where rule files come from.

use std::fmt;
use std::path::{Path, PathBuf};

use super::git::{AtCommit, Fetched, GitRules};
use super::history;
use super::rules::{self, ReadError};
use crate::contract::RuleFiles;

/// A place that holds rule files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RuleSource {
    Directory(PathBuf),
    /// A directory of a work tree as it is at a git revision. Nothing is fetched.
    Revision {
        dir: PathBuf,
        revision: String,
    },
    /// A git remote.
    Git(GitRules),
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
    /// Fetches what there is to read, where that is elsewhere: `None` where it is not. Blocks for a minute or two.
    ///
    /// # Errors
    ///
    /// When it cannot be fetched. What was fetched before can still be read.
    pub fn fetch(&self) -> Result<Option<Fetched>, ReadError> {
        match self {
            Self::Directory(_) | Self::Revision { .. } => Ok(None),
            Self::Git(git) => Ok(Some(git.fetch()?)),
        }
    }

    /// A name for what there is to read, which changes with it. Costs less than reading.
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    pub fn look(&self) -> Result<String, ReadError> {
        match self {
            Self::Directory(dir) => Ok(rules::content_revision(&rules::read(dir)?)),
            Self::Revision { dir, revision } => history::look(dir, revision)?.ok_or_else(|| self.empty()),
            Self::Git(git) => Ok(git.look()?),
        }
    }

    /// All files, of a remote those that were fetched last. Blocks on them.
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
            Self::Revision { dir, revision } => {
                let content = self.look()?;
                let past = history::read(dir, revision)?;
                self.filled(Read { files: past.files, revision: past.commit, content })
            }
            Self::Git(git) => self.at_commit(git.read()?),
        }
    }

    /// The files that [`keep`](Self::keep) was last told of, where they are kept.
    pub fn read_good(&self) -> Option<Read> {
        match self {
            Self::Directory(_) | Self::Revision { .. } => None,
            Self::Git(git) => git.read_good().ok().and_then(|read| self.at_commit(read).ok()),
        }
    }

    /// Is told that the files of this revision are without a fault, for a start when newer ones are not. `false`: that could not be
    /// noted, which nothing but such a start misses.
    pub fn keep(&self, revision: &str) -> bool {
        match self {
            Self::Directory(_) | Self::Revision { .. } => true,
            Self::Git(git) => git.keep(revision).is_ok(),
        }
    }

    /// Whether each look sees all files as of one moment: files of a directory may be half written.
    pub fn is_whole(&self) -> bool {
        !matches!(self, Self::Directory(_))
    }

    fn at_commit(&self, AtCommit { commit, tree, files }: AtCommit) -> Result<Read, ReadError> {
        self.filled(Read { files, revision: commit, content: tree })
    }

    /// No rule file is no set of rules, as in a directory.
    fn filled(&self, read: Read) -> Result<Read, ReadError> {
        if rules::has_rules(&read.files) { Ok(read) } else { Err(self.empty()) }
    }

    fn empty(&self) -> ReadError {
        ReadError::Empty(self.to_string().into())
    }
}

/// What people call it: a directory's path, a remote's address without secrets.
impl fmt::Display for RuleSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(dir) => dir.display().fmt(f),
            Self::Revision { dir, revision } => write!(f, "{revision}:{}", dir.display()),
            Self::Git(git) => git.fmt(f),
        }
    }
}

impl From<&Path> for RuleSource {
    fn from(dir: &Path) -> Self {
        Self::Directory(dir.to_owned())
    }
}
