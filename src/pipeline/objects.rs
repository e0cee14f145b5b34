//! Dead letters that are put into objects: those too large for their queue, and an archive of all. What they are called, and what they
//! hold, is `gate::letter`'s.
//!
//! An object is put before its message is sent: if the process dies in between, an object is left over, and the record comes again.

use std::sync::Arc;

use bytes::Bytes;

use super::deliver::{Tally, drive};
use super::gate::in_place;
use crate::gate::delivery::{Entry, Limits, RetryPolicy};
use crate::gate::letter::{archive_key, archived, object_key};
use crate::metrics::Metrics;
use crate::model::{DeadLetter, Unsettled};
use crate::port::{BoxFuture, LetterStore};

/// Documents in one object of the archive, bytes before compression: it is made in memory.
const OBJECT_BYTES_MAX: usize = 16 * 1024 * 1024;
/// And their number. No batch has more.
const OBJECT_LETTERS_MAX: usize = 10_000;
/// Objects of the archive that one batch puts at once: it has seldom more than one.
const ARCHIVES_OPEN: usize = 2;
/// Letters too large for their queue that one batch puts at once.
const LETTERS_OPEN: usize = 4;
/// More documents than that are compressed where they do not keep other tasks waiting. Bytes.
const COMPRESSED_HERE_MAX: usize = 64 * 1024;

/// Values of the metrics' labels `sink` and `kind`.
const LETTER: &str = "letter";
const ARCHIVE: &str = "archive";

/// What their far end is called: a gate has one bucket at most.
const BUCKET: &str = "s3";

/// A place for objects, and what is to be put there.
#[derive(Clone)]
pub struct Objects {
    pub store: Arc<dyn LetterStore>,
    /// What all keys begin with: empty, or ending in `/`.
    pub prefix: Arc<str>,
    /// Whether every letter is archived too, before it is sent.
    pub archive: bool,
}

impl Objects {
    /// Has its metrics say zero before anything is put, so that the first object is a rise.
    pub(super) fn begin(&self, metrics: &Metrics) {
        for kind in [LETTER, ARCHIVE] {
            metrics.objects.with_label_values(&[kind]);
            metrics.object_bytes.with_label_values(&[kind]);
        }
    }

    /// Puts each letter's document into an object of its own. What comes back is the letter that stands for it in the queue.
    pub(super) async fn put_letters(
        &self,
        letters: &[&DeadLetter],
        policy: &RetryPolicy,
        metrics: &Metrics,
    ) -> Vec<Result<DeadLetter, Unsettled>> {
        let entries = letters.iter().map(|letter| Entry { bytes: letter.body.len(), key: None });
        let limits = Limits { entries: 1, bytes: usize::MAX, open: LETTERS_OPEN };
        let put = |indices: Vec<usize>| -> BoxFuture<'_, Vec<Result<DeadLetter, Unsettled>>> {
            Box::pin(async move {
                let mut results = Vec::with_capacity(indices.len());
                for letter in indices.into_iter().map(|index| letters[index]) {
                    results.push(self.put_letter(letter, metrics).await);
                }
                results
            })
        };
        drive(entries, limits, policy, put, &Tally { metrics, sink: LETTER, name: BUCKET }).await
    }

    async fn put_letter(&self, letter: &DeadLetter, metrics: &Metrics) -> Result<DeadLetter, Unsettled> {
        let key = object_key(&self.prefix, letter);
        self.put(LETTER, &key, Bytes::from(letter.body.clone()), &[letter], metrics).await?;
        let body = self.store.pointer(&key);
        Ok(DeadLetter { body, document_bytes: Some(letter.body.len()), ..letter.clone() })
    }

    /// Archives letters that share a partition (`gate::letter::partition`): all in one object, where they are not too many.
    pub(super) async fn archive(
        &self,
        letters: &[&DeadLetter],
        policy: &RetryPolicy,
        metrics: &Metrics,
    ) -> Vec<Result<(), Unsettled>> {
        // One alone always fits.
        let entries = letters.iter().map(|letter| Entry { bytes: letter.body.len().min(OBJECT_BYTES_MAX), key: None });
        let limits = Limits { entries: OBJECT_LETTERS_MAX, bytes: OBJECT_BYTES_MAX, open: ARCHIVES_OPEN };
        let put = |indices: Vec<usize>| -> BoxFuture<'_, Vec<Result<(), Unsettled>>> {
            Box::pin(async move {
                let here: Vec<&DeadLetter> = indices.into_iter().map(|index| letters[index]).collect();
                let Some(first) = here.first() else { return Vec::new() };
                let bytes: usize = here.iter().map(|letter| letter.body.len()).sum();
                let body = if bytes > COMPRESSED_HERE_MAX { in_place(|| archived(&here)) } else { archived(&here) };
                let put = self.put(ARCHIVE, &archive_key(&self.prefix, first), body.into(), &here, metrics).await;
                vec![put; here.len()]
            })
        };
        drive(entries, limits, policy, put, &Tally { metrics, sink: ARCHIVE, name: BUCKET }).await
    }

    async fn put(
        &self,
        kind: &str,
        key: &str,
        body: Bytes,
        letters: &[&DeadLetter],
        metrics: &Metrics,
    ) -> Result<(), Unsettled> {
        let bytes = body.len() as u64;
        self.store.put(key, body, letters).await?;
        metrics.objects.with_label_values(&[kind]).inc();
        metrics.object_bytes.with_label_values(&[kind]).inc_by(bytes);
        Ok(())
    }
}
