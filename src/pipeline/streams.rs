//! What the mesh streams look like: their shards and record limit, asked of the backend and remembered for a while.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::model::{Distribution, Placement, Record, ShardMap, Timestamp};
use crate::port::{Catalog, CatalogError};

/// How long an answer is used. A reshard shows up within this time; until then synthetic placements name the old shard.
const FRESH: Duration = Duration::from_secs(60);
/// How long the backend is left alone after it could not be asked.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(5);
/// Between two questions about a stream that answers otherwise than it was described.
const REFRESH_INTERVAL: Duration = Duration::from_secs(1);
/// How long a batch waits for the backend's answer before it goes on with defaults.
const PATIENCE: Duration = Duration::from_secs(3);
/// Streams remembered at once. Beyond it all are forgotten: a cap, not a policy.
const REMEMBERED_MAX: usize = 10_000;
/// How long the backend's word that a stream is not there is used: a client that insists must not use up the account's
/// quota of questions (`DescribeStreamSummary`: 20 a second).
const ABSENT: Duration = Duration::from_secs(1);
/// Between two lines of the log about streams that cannot be described.
const COMPLAINT_INTERVAL: Duration = Duration::from_secs(5);
/// The most any stream takes (Kinesis `UpdateMaxRecordSize`). It holds where the stream's own limit is not known, so that no
/// verdict rests on a guess: the stream itself refuses what is too large for it.
const RECORD_BYTES_MAX: usize = 10 * 1024 * 1024;

/// What the gate needs to know of a mesh stream.
#[derive(Debug, Clone)]
pub struct StreamFacts {
    pub shards: ShardMap,
    /// Data and partition key, bytes.
    pub record_bytes_max: usize,
    /// Whether it is known where a container of records would land.
    pub takes_containers: bool,
}

impl Default for StreamFacts {
    fn default() -> Self {
        Self { shards: ShardMap::default(), record_bytes_max: RECORD_BYTES_MAX, takes_containers: false }
    }
}

impl StreamFacts {
    /// A placement for a record that is not on the stream: the shard its key hashes to, and a sequence number that no
    /// stream gives. Producers such as the KPL check the shard; consumers never see either.
    pub fn synthetic_placement(&self, record: &Record, now: Timestamp, serial: u64) -> Placement {
        let shard_id = self.shards.shard_of(record.hash_key()).cloned();
        let shard_id = shard_id.unwrap_or_else(|| "shardId-000000000000".into());
        Placement { shard_id, sequence_number: synthetic_sequence_number(now, serial) }
    }

    /// Whether the stream put something on a shard that is not among those known to be open. Where none is known, none is wrong.
    pub fn is_wrong_about(&self, shard_id: &str) -> bool {
        !self.shards.is_empty() && !self.shards.has(shard_id)
    }
}

/// 40 digits, the first a 7; Kinesis gives 56 digits that begin with 49, so the two are told apart at sight, which
/// matters when a producer hands one back as `SequenceNumberForOrdering`.
fn synthetic_sequence_number(now: Timestamp, serial: u64) -> String {
    format!("7{:013}{serial:026}", now.millis().max(0))
}

#[derive(Clone)]
struct Remembered {
    /// `None`: the backend says that there is no such stream.
    facts: Option<Arc<StreamFacts>>,
    /// When the backend was last asked, or answered.
    since: Instant,
    until: Instant,
}

impl Remembered {
    fn answer(self, stream: &str) -> Result<Arc<StreamFacts>, CatalogError> {
        self.facts.ok_or_else(|| CatalogError::StreamNotFound(stream.to_owned()))
    }
}

/// Held by who asks; waited for by who would ask the same.
type Turn = Arc<tokio::sync::Mutex<()>>;

/// The memory. Cheap to clone; clones share it.
#[derive(Clone)]
pub struct Streams {
    catalog: Arc<dyn Catalog>,
    remembered: Arc<Mutex<HashMap<Arc<str>, Remembered>>>,
    /// Whose turn it is to ask about a stream of which nothing is known; the others wait for the answer.
    turns: Arc<Mutex<HashMap<Arc<str>, Turn>>>,
    complained: Arc<Mutex<Option<Instant>>>,
}

impl Streams {
    pub fn new(catalog: Arc<dyn Catalog>) -> Self {
        Self { catalog, remembered: Arc::default(), turns: Arc::default(), complained: Arc::default() }
    }

    /// The facts of a mesh stream. Asks the backend the first time; later it answers from memory and, once a minute,
    /// asks again beside the batch that found the memory old. Defaults serve while the backend cannot be asked.
    ///
    /// # Errors
    /// Only [`CatalogError::StreamNotFound`]: the backend is there and says that the stream is not.
    pub async fn facts(&self, stream: &Arc<str>) -> Result<Arc<StreamFacts>, CatalogError> {
        let known = self.lock().get(stream).cloned();
        match known {
            Some(known) if Instant::now() < known.until => known.answer(stream),
            Some(Remembered { facts: Some(facts), .. }) => {
                self.ask_beside(stream, &facts);
                Ok(facts)
            }
            _ => self.ask_once(stream).await,
        }
    }

    /// The stream does not answer as it was described: it is asked about anew, at most once in [`REFRESH_INTERVAL`], and gets no containers
    /// until it is.
    pub fn refresh(&self, stream: &Arc<str>) {
        let doubted = {
            let mut remembered = self.lock();
            let Some(known) = remembered.get_mut(stream) else { return };
            let Some(facts) = &known.facts else { return };
            let doubted = Arc::new(StreamFacts { takes_containers: false, ..StreamFacts::clone(facts) });
            known.facts = Some(Arc::clone(&doubted));
            if known.since.elapsed() < REFRESH_INTERVAL {
                known.until = known.until.min(known.since + REFRESH_INTERVAL);
                return;
            }
            doubted
        };
        self.ask_beside(stream, &doubted);
    }

    /// Asks in a task of its own. Others keep using what is known meanwhile.
    fn ask_beside(&self, stream: &Arc<str>, facts: &Arc<StreamFacts>) {
        self.remember(stream, Some(facts), PATIENCE + PAUSE_AFTER_FAILURE);
        let (streams, stream) = (self.clone(), Arc::clone(stream));
        tokio::spawn(async move { streams.ask(&stream).await });
    }

    /// Asks on behalf of all who want to know at this moment.
    async fn ask_once(&self, stream: &Arc<str>) -> Result<Arc<StreamFacts>, CatalogError> {
        let turn = {
            let mut turns = locked(&self.turns);
            if turns.len() >= REMEMBERED_MAX {
                turns.retain(|_, turn| Arc::strong_count(turn) > 1);
            }
            Arc::clone(turns.entry(Arc::clone(stream)).or_default())
        };
        let _turn = turn.lock().await;
        let known = self.lock().get(stream).cloned();
        let answer = match known {
            Some(known) if Instant::now() < known.until => known.answer(stream),
            _ => self.ask(stream).await,
        };
        locked(&self.turns).remove(stream);
        answer
    }

    async fn ask(&self, stream: &Arc<str>) -> Result<Arc<StreamFacts>, CatalogError> {
        let trouble: String = match tokio::time::timeout(PATIENCE, self.catalog.ensure(stream)).await {
            Ok(Ok(found)) => {
                let record_bytes_max = found.max_record_size_kib as usize * 1024;
                let facts = Arc::new(StreamFacts {
                    shards: ShardMap::new(&found.shards),
                    record_bytes_max,
                    takes_containers: found.distribution == Distribution::Key,
                });
                self.remember(stream, Some(&facts), FRESH);
                return Ok(facts);
            }
            Ok(Err(CatalogError::StreamNotFound(name))) => {
                self.remember(stream, None, ABSENT);
                return Err(CatalogError::StreamNotFound(name));
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {} s", PATIENCE.as_secs()),
        };
        self.complain(stream, &trouble);
        let facts = self.lock().get(stream).and_then(|known| known.facts.clone()).unwrap_or_default();
        self.remember(stream, Some(&facts), PAUSE_AFTER_FAILURE);
        Ok(facts)
    }

    /// One line for all streams: when the backend is away, it is so for each of them.
    fn complain(&self, stream: &str, trouble: &str) {
        let mut complained = locked(&self.complained);
        if complained.is_none_or(|last| last.elapsed() >= COMPLAINT_INTERVAL) {
            *complained = Some(Instant::now());
            tracing::warn!(stream, trouble, "a mesh stream cannot be described; going on with what is known");
        }
    }

    fn remember(&self, stream: &Arc<str>, facts: Option<&Arc<StreamFacts>>, fresh_for: Duration) {
        let mut remembered = self.lock();
        if remembered.len() >= REMEMBERED_MAX {
            remembered.clear();
        }
        let since = Instant::now();
        remembered.insert(Arc::clone(stream), Remembered { facts: facts.cloned(), since, until: since + fresh_for });
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<str>, Remembered>> {
        locked(&self.remembered)
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn synthetic_numbers_have_the_form_kinesis_accepts_and_are_told_apart() {
        let number = synthetic_sequence_number(Timestamp::from_millis(1_795_000_000_000), u64::MAX);
        assert_eq!(number.len(), 40);
        assert!(number.starts_with('7') && number.bytes().all(|b| b.is_ascii_digit()));
    }
}
