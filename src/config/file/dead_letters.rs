//! The key `dead_letters`: where letters are kept beside their queue.

use serde::Deserialize;

use crate::config::LetterBucket;

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WrittenLetters {
    pub s3: Option<WrittenBucket>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WrittenBucket {
    bucket: String,
    #[serde(default)]
    prefix: String,
    #[serde(default)]
    archive: bool,
}

impl WrittenBucket {
    /// Settings as run.
    pub fn into_bucket(self) -> LetterBucket {
        LetterBucket { name: self.bucket, prefix: self.prefix, archive: self.archive }
    }
}
