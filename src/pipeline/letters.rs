//! Dead letters on their way to their queues.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::deliver::deliver_letters;
use super::gate::Gate;
use crate::gate::document;
use crate::gate::judge::Judged;
use crate::model::{DeadLetter, Record, Timestamp, Trouble, Unsettled};

/// A letter, and the number of its record.
type Numbered = (usize, DeadLetter);

impl Gate {
    pub(super) fn letter(&self, judged: &Judged<'_>, record: &Record, now: Timestamp) -> DeadLetter {
        judged.dead_letter(self.dead_letter_id(now), record, now)
    }

    /// Sends letters, each of the record with that number, and says of each whether it is durable: by its id.
    pub(super) async fn send_letters(
        &self,
        letters: Vec<(usize, Arc<str>, DeadLetter)>,
    ) -> BTreeMap<usize, Result<String, Unsettled>> {
        let mut queues: BTreeMap<Arc<str>, Vec<Numbered>> = BTreeMap::new();
        for (index, queue, letter) in letters {
            queues.entry(queue).or_default().push((index, letter));
        }
        let mut answers = BTreeMap::new();
        // One queue after the other: a batch has one domain, seldom two.
        for (queue, letters) in queues {
            let too_large = self.send_to(&queue, letters, &mut answers).await;
            // Without the event, where that is still on the stream it was read from: a shard must not stand still for it.
            let kept = too_large.into_iter().filter(|(_, letter)| letter.is_kept);
            let shorter = |(index, letter): Numbered| {
                (index, DeadLetter { body: document::without_payload(&letter.body), ..letter })
            };
            self.send_to(&queue, kept.map(shorter).collect(), &mut answers).await;
        }
        answers
    }

    /// Sends letters to one queue. What comes back are those that it does not take as they are.
    async fn send_to(
        &self,
        queue: &str,
        letters: Vec<Numbered>,
        answers: &mut BTreeMap<usize, Result<String, Unsettled>>,
    ) -> Vec<Numbered> {
        if letters.is_empty() {
            return Vec::new();
        }
        let borrowed: Vec<&DeadLetter> = letters.iter().map(|(_, letter)| letter).collect();
        let sent = match &self.spooling {
            Some(spooling) => self.send_or_spool(spooling, queue, &borrowed).await,
            None => self.send_straight(queue, &borrowed).await,
        };
        let mut refused = Vec::new();
        for (answer, (index, letter)) in sent.into_iter().zip(letters) {
            let is_invalid = answer.as_ref().is_err_and(|failure| failure.trouble == Trouble::Invalid);
            answers.insert(index, answer.map(|()| letter.id.clone()));
            if is_invalid {
                refused.push((index, letter));
            }
        }
        refused
    }

    /// Sends letters to one queue, and nothing but that queue will do.
    pub(super) async fn send_straight(&self, queue: &str, letters: &[&DeadLetter]) -> Vec<Result<(), Unsettled>> {
        let options = &self.options;
        deliver_letters(&*options.letters, queue, letters, &options.retry, &options.metrics).await
    }

    /// Time first, so that ids sort by it; then 64 bits no two gates share: a counter hashed under a random key.
    fn dead_letter_id(&self, now: Timestamp) -> String {
        let serial = self.serial.fetch_add(1, Relaxed);
        let mut hasher = self.ids.build_hasher();
        hasher.write_u64(serial);
        format!("{:012x}-{:016x}{:04x}", now.millis().max(0), hasher.finish(), serial & 0xffff)
    }
}
