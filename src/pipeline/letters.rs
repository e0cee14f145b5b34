//! Dead letters on their way to their queues.

use std::collections::BTreeSet;
use std::collections::btree_map::{BTreeMap, Entry};
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use tokio::time::Instant;

use super::deliver::deliver_letters;
use super::gate::Gate;
use crate::gate::delivery::RetryPolicy;
use crate::gate::document;
use crate::gate::judge::Judged;
use crate::gate::letter::partition;
use crate::model::{DeadLetter, Record, Timestamp, Trouble, Unsettled};

/// A letter, and the number of its record.
type Numbered = (usize, DeadLetter);
/// What became of the letters of those records.
type Answers = BTreeMap<usize, Result<String, Unsettled>>;

impl Gate {
    pub(super) fn letter(&self, judged: &Judged<'_>, record: &Record, now: Timestamp) -> DeadLetter {
        judged.dead_letter(self.dead_letter_id(now), record, now)
    }

    /// Sends letters, each of the record with that number, and says of each whether it is durable: by its id. All of it shares one
    /// deadline.
    pub(super) async fn send_letters(&self, letters: Vec<(usize, Arc<str>, DeadLetter)>) -> Answers {
        let started = Instant::now();
        let mut answers = BTreeMap::new();
        let letters = self.archive_letters(letters, started, &mut answers).await;
        let mut queues: BTreeMap<Arc<str>, Vec<Numbered>> = BTreeMap::new();
        for (index, queue, letter) in letters {
            queues.entry(queue).or_default().push((index, letter));
        }
        // One queue after the other: a batch has one domain, seldom two.
        for (queue, letters) in queues {
            let (fitting, too_large) = self.fit(&queue, letters, started, &mut answers).await;
            self.send_to(&queue, fitting, started, &mut answers).await;
            // To be refused, by the queue's own words; apart, as they would hold back the letters of their group.
            self.send_to(&queue, too_large, started, &mut answers).await;
        }
        answers
    }

    /// Archives the letters, where that is asked for. What comes back is to be sent: a letter that is not archived is not settled.
    async fn archive_letters(
        &self,
        letters: Vec<(usize, Arc<str>, DeadLetter)>,
        started: Instant,
        answers: &mut Answers,
    ) -> Vec<(usize, Arc<str>, DeadLetter)> {
        let options = &self.options;
        let Some(objects) = options.objects.as_ref().filter(|objects| objects.archive) else { return letters };
        let mut partitions: BTreeMap<String, Vec<(usize, &DeadLetter)>> = BTreeMap::new();
        for (index, _, letter) in &letters {
            partitions.entry(partition(letter)).or_default().push((*index, letter));
        }
        for here in partitions.into_values() {
            let borrowed: Vec<&DeadLetter> = here.iter().map(|(_, letter)| *letter).collect();
            let archived = objects.archive(&borrowed, &self.policy(started), &options.metrics).await;
            for ((index, letter), result) in here.into_iter().zip(archived) {
                if let Err(failure) = result {
                    answers.insert(index, Err(not_sent(letter, "could not be archived", failure)));
                }
            }
        }
        self.hold_back(letters.iter().map(|(index, queue, letter)| (*index, &**queue, letter)), answers);
        letters.into_iter().filter(|(index, ..)| !answers.contains_key(index)).collect()
    }

    /// Fails those that come after a failed one of their group: they are to be sent in order.
    fn hold_back<'a>(&self, letters: impl Iterator<Item = (usize, &'a str, &'a DeadLetter)>, answers: &mut Answers) {
        let mut failed = BTreeSet::new();
        for (index, queue, letter) in letters {
            let Some(group) = self.options.letters.group(queue, letter) else { continue };
            let group = (queue, group);
            let Entry::Vacant(answer) = answers.entry(index) else {
                failed.insert(group);
                continue;
            };
            if failed.contains(&group) {
                let message =
                    "not sent: an earlier dead letter of its group failed, and their order is kept; retry both";
                answer.insert(Err(Unsettled { trouble: Trouble::Unavailable, message: message.into() }));
            }
        }
    }

    /// Makes letters fit their queue: what is too large is put into an object, and a pointer to it sent; or, without a place for objects, goes
    /// without its event where that is still on the stream it was read from, as a shard must not stand still for it. The second are those for
    /// which nothing can be done.
    async fn fit(
        &self,
        queue: &str,
        mut letters: Vec<Numbered>,
        started: Instant,
        answers: &mut Answers,
    ) -> (Vec<Numbered>, Vec<Numbered>) {
        let options = &self.options;
        let asked = options.letters.letter_bytes_max(queue).await;
        let bytes_max = asked.as_ref().map_or(options.letters.call_limits().bytes, |bytes| *bytes);
        let is_too_large = |letter: &DeadLetter| options.letters.size_of(letter) > bytes_max;
        if let Err(failure) = asked {
            // The queue cannot even be asked: an object for each attempt would be left over.
            let unsent = letters.extract_if(.., |(_, letter)| is_too_large(letter));
            answers.extend(unsent.map(|(index, _)| (index, Err(failure.clone()))));
        }
        if !letters.iter().any(|(_, letter)| is_too_large(letter)) {
            return (letters, Vec::new());
        }
        match &options.objects {
            Some(objects) => {
                let large: Vec<_> = letters.iter_mut().filter(|(_, letter)| is_too_large(letter)).collect();
                let borrowed: Vec<&DeadLetter> = large.iter().map(|(_, letter)| letter).collect();
                let put = objects.put_letters(&borrowed, &self.policy(started), &options.metrics).await;
                for ((index, letter), put) in large.into_iter().zip(put) {
                    match put {
                        Ok(pointer) => *letter = pointer,
                        Err(failure) => {
                            let what = "is too large for its queue and could not be put into an object";
                            answers.insert(*index, Err(not_sent(letter, what, failure)));
                        }
                    }
                }
                self.hold_back(letters.iter().map(|(index, letter)| (*index, queue, letter)), answers);
                letters.retain(|(index, _)| !answers.contains_key(index));
            }
            None => {
                for (_, letter) in letters.iter_mut().filter(|(_, letter)| letter.is_kept && is_too_large(letter)) {
                    letter.body = document::without_payload(&letter.body);
                }
            }
        }
        letters.into_iter().partition(|(_, letter)| !is_too_large(letter))
    }

    /// Sends letters to one queue.
    async fn send_to(&self, queue: &str, letters: Vec<Numbered>, started: Instant, answers: &mut Answers) {
        if letters.is_empty() {
            return;
        }
        let borrowed: Vec<&DeadLetter> = letters.iter().map(|(_, letter)| letter).collect();
        let policy = self.policy(started);
        let sent = match &self.spooling {
            Some(spooling) => self.send_or_spool(spooling, queue, &borrowed, &policy).await,
            None => self.send_straight(queue, &borrowed, &policy).await,
        };
        for (answer, (index, letter)) in sent.into_iter().zip(letters) {
            answers.insert(index, answer.map(|()| letter.id));
        }
    }

    /// What is left of the time there is.
    fn policy(&self, started: Instant) -> RetryPolicy {
        let spent_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let retry = self.options.retry;
        RetryPolicy { deadline_ms: retry.deadline_ms.saturating_sub(spent_ms), ..retry }
    }

    /// Sends letters to one queue, and nothing but that queue will do.
    pub(super) async fn send_straight(
        &self,
        queue: &str,
        letters: &[&DeadLetter],
        policy: &RetryPolicy,
    ) -> Vec<Result<(), Unsettled>> {
        deliver_letters(&*self.options.letters, queue, letters, policy, &self.options.metrics).await
    }

    /// Time first, so that ids sort by it; then 64 bits no two gates share: a counter hashed under a random key.
    fn dead_letter_id(&self, now: Timestamp) -> String {
        let serial = self.serial.fetch_add(1, Relaxed);
        let mut hasher = self.ids.build_hasher();
        hasher.write_u64(serial);
        format!("{:012x}-{:016x}{:04x}", now.millis().max(0), hasher.finish(), serial & 0xffff)
    }
}

/// What failed before a letter was sent.
fn not_sent(letter: &DeadLetter, what: &str, failure: Unsettled) -> Unsettled {
    let message = format!("dead letter {} {what}, so it was not sent to its queue: {}", letter.id, failure.message);
    Unsettled { message, ..failure }
}
