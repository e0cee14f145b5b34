//! The doors to the world: what a gate is given as its stream, its table, its mesh stream and its queue.

use std::time::Duration;

use meshgate::decode::kpl;
use meshgate::lease::{Checkpoint, Lease, Swap, Swapped};
use meshgate::model::{
    ChildShard, DeadLetter, HashKey, HashKeyRange, Placement, Record, Shard, StreamDescription, Trouble, Unsettled,
};
use meshgate::port::{
    BoxFuture, CallLimits, Catalog, CatalogError, DeadLetterSink, LeaseTable, MeshSink, ReadError, ReadFrom,
    ShardBatch, ShardReader, ShardRecord, StreamReader, Subscription, TableError,
};
use serde_json::Value;
use tokio::time::Instant;

use super::streams::active_stream;
use super::world::{Door, Fate, Raw, RawShard, State, World, now};

/// How long an iterator lives, in milliseconds.
const ITERATOR_MS: i64 = 300_000;
/// How long a subscription lasts.
const SUBSCRIPTION: Duration = Duration::from_secs(300);

fn down() -> String {
    "scripted to be down".to_owned()
}

impl ShardReader for World {
    fn shards<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Vec<Shard>, ReadError>> {
        Box::pin(async move {
            if self.call(Door::Raw).await != Fate::Works {
                return Err(ReadError::Throttled(down()));
            }
            let state = self.lock();
            let shard = |(id, shard): (&String, &RawShard)| Shard {
                id: id.as_str().into(),
                parent: shard.parents.first().cloned(),
                adjacent_parent: shard.parents.get(1).cloned(),
                range: shard.range,
                starting_sequence_number: "1".into(),
                ending_sequence_number: shard.is_closed.then(|| "9".into()),
            };
            Ok(state.shards.iter().filter(|(_, shard)| !shard.is_trimmed).map(shard).collect())
        })
    }

    fn iterator<'a>(
        &'a self,
        _: &'a str,
        shard: &'a str,
        from: ReadFrom<'a>,
    ) -> BoxFuture<'a, Result<String, ReadError>> {
        Box::pin(async move {
            if self.call(Door::Raw).await != Fate::Works {
                return Err(ReadError::Unavailable(down()));
            }
            let at = begin(&self.lock(), shard, from)?;
            Ok(format!("{shard} {at} {}", now().millis()))
        })
    }

    fn records<'a>(&'a self, _: &'a str, iterator: &'a str, _: usize) -> BoxFuture<'a, Result<ShardBatch, ReadError>> {
        Box::pin(async move {
            let fate = self.call(Door::Raw).await;
            let batch = {
                let mut state = self.lock();
                let mut parts = iterator.split(' ');
                let mut part = || parts.next().expect("three parts");
                let (shard, at, made) = (part(), part(), part());
                let is_old = now().millis() - made.parse::<i64>().expect("a time") > ITERATOR_MS;
                let stale = state.faults.stale;
                if is_old || state.percent(stale) {
                    return Err(ReadError::ExpiredIterator);
                }
                read(&mut state, shard, at.parse().expect("a place"))?
            };
            self.answer().await;
            match fate {
                Fate::Works => Ok(batch),
                Fate::Fails => Err(ReadError::Throttled(down())),
                Fate::Lost => Err(ReadError::Unavailable(down())),
            }
        })
    }

    fn subscribe<'a>(
        &'a self,
        _: &'a str,
        _: &'a str,
        shard: &'a str,
        from: ReadFrom<'a>,
    ) -> BoxFuture<'a, Result<Box<dyn Subscription>, ReadError>> {
        Box::pin(async move {
            if self.call(Door::Raw).await == Fate::Fails {
                return Err(ReadError::Throttled(down()));
            }
            let mut state = self.lock();
            let at = begin(&state, shard, from)?;
            let newest = state.subscriptions.entry(shard.to_owned()).or_default();
            *newest += 1;
            let ends = Instant::now() + SUBSCRIPTION;
            Ok(Box::new(Subscribed { world: self.clone(), shard: shard.to_owned(), at, number: *newest, ends }) as _)
        })
    }
}

/// A shard's records as they are sent: for five minutes, or until it is subscribed to again.
struct Subscribed {
    world: World,
    shard: String,
    at: usize,
    number: u64,
    ends: Instant,
}

impl Subscription for Subscribed {
    fn next(&mut self) -> BoxFuture<'_, Result<Option<ShardBatch>, ReadError>> {
        Box::pin(async move {
            let fate = self.world.call(Door::Raw).await;
            // Also where nothing comes, something is sent: how far it is.
            let pause = self.world.lock().random.u64(0..1_000);
            tokio::time::sleep(Duration::from_millis(pause)).await;
            let mut state = self.world.lock();
            if fate != Fate::Works {
                return Err(ReadError::Unavailable(down()));
            }
            if self.number < state.subscriptions[&self.shard] || Instant::now() > self.ends {
                return Ok(None);
            }
            let mut batch = read(&mut state, &self.shard, self.at)?;
            self.at += batch.records.len();
            if batch.next.is_some() {
                let before = self.at.checked_sub(1).map(|last| state.shards[&self.shard].records[last].sequence);
                batch.next = Some(before.unwrap_or(1).to_string());
            }
            Ok(Some(batch))
        })
    }
}

fn is_there(state: &State, shard: &str) -> Result<(), ReadError> {
    if state.shards[shard].is_trimmed { Err(ReadError::NotFound(down())) } else { Ok(()) }
}

/// At which of a shard's records reading begins.
fn begin(state: &State, shard: &str, from: ReadFrom<'_>) -> Result<usize, ReadError> {
    is_there(state, shard)?;
    let records = &state.shards[shard].records;
    let sequence = |text: &str| text.parse::<u64>().expect("a number of this stream");
    Ok(match from {
        ReadFrom::TrimHorizon => 0,
        ReadFrom::Latest => records.len(),
        ReadFrom::AtSequence(number) => records.partition_point(|record| record.sequence < sequence(number)),
        ReadFrom::AfterSequence(number) => records.partition_point(|record| record.sequence <= sequence(number)),
        ReadFrom::AtTimestamp(time) => records.partition_point(|record| record.arrived < time),
    })
}

fn read(state: &mut State, shard: &str, at: usize) -> Result<ShardBatch, ReadError> {
    is_there(state, shard)?;
    let count = state.random.usize(0..40);
    let unnamed = state.faults.unnamed;
    let is_unnamed = state.percent(unnamed);
    let raw = &state.shards[shard];
    let end = raw.records.len().min(at + count);
    let record = |raw: &Raw| ShardRecord {
        sequence_number: raw.sequence.to_string(),
        data: raw.data.clone().into(),
        partition_key: Some(raw.key.clone()),
        arrived: raw.arrived,
    };
    let is_end = raw.is_closed && end == raw.records.len();
    let child = |id: &String| ChildShard {
        id: id.clone(),
        parents: state.shards[id].parents.clone(),
        range: state.shards[id].range,
    };
    Ok(ShardBatch {
        records: raw.records[at..end].iter().map(record).collect(),
        next: (!is_end).then(|| format!("{shard} {end} {}", now().millis())),
        children: if is_end && !is_unnamed { raw.children.iter().map(child).collect() } else { Vec::new() },
        millis_behind_latest: if end == raw.records.len() { 0 } else { 1_000 },
    })
}

impl LeaseTable for World {
    fn prepare(&self) -> BoxFuture<'_, Result<(), TableError>> {
        Box::pin(async move {
            match self.call(Door::Table).await {
                Fate::Works => Ok(()),
                Fate::Fails | Fate::Lost => Err(TableError::Unavailable(down())),
            }
        })
    }

    fn list(&self) -> BoxFuture<'_, Result<Vec<Lease>, TableError>> {
        Box::pin(async move {
            let fate = self.call(Door::Table).await;
            let rows: Vec<Lease> = self.lock().table.values().cloned().collect();
            self.answer().await;
            if fate == Fate::Works { Ok(rows) } else { Err(TableError::Throttled(down())) }
        })
    }

    fn swap<'a>(&'a self, swap: &'a Swap) -> BoxFuture<'a, Result<Swapped, TableError>> {
        Box::pin(async move {
            let fate = self.call(Door::Table).await;
            if fate == Fate::Fails {
                return Err(TableError::Throttled(down()));
            }
            let swapped = self.lock().write(swap);
            self.answer().await;
            if fate == Fate::Works { Ok(swapped) } else { Err(TableError::Unavailable(down())) }
        })
    }
}

impl State {
    fn write(&mut self, swap: &Swap) -> Swapped {
        let row = self.table.get(swap.key()).cloned();
        if !swap.applies_to(row.as_ref()) {
            return Swapped::Refused(row.map(Box::new));
        }
        self.happened(row.as_ref().map_or(7, |row| row.counter));
        let after = match swap {
            Swap::Create(lease) => lease,
            Swap::Update { after, .. } => after,
            Swap::Delete(lease) => {
                if lease.checkpoint != Checkpoint::ShardEnd {
                    self.wrong(format!("the lease of {} is deleted before its end", lease.key));
                }
                self.table.remove(&lease.key);
                return Swapped::Done;
            }
        };
        self.check_checkpoint(&after.key, row.as_ref(), after);
        self.check_parents(row.as_ref(), after);
        self.table.insert(after.key.clone(), (**after).clone());
        Swapped::Done
    }

    /// A shard is not taken before those whose records come before its own are at their end.
    fn check_parents(&mut self, before: Option<&Lease>, after: &Lease) {
        let is_taken = after.owner.is_some() && before.is_none_or(|before| before.owner != after.owner);
        if !is_taken {
            return;
        }
        self.outcome.starts += 1;
        for parent in self.shards[&after.key].parents.clone() {
            if self.table.get(&parent).is_some_and(|parent| parent.checkpoint != Checkpoint::ShardEnd) {
                self.wrong(format!("{} is taken before its parent {parent} is at its end", after.key));
            }
        }
    }
}

impl MeshSink for World {
    fn call_limits(&self) -> CallLimits {
        CallLimits { entries: 500, bytes: 10 << 20 }
    }

    fn put<'a>(&'a self, _: &'a str, records: &'a [&'a Record]) -> BoxFuture<'a, Vec<Result<Placement, Unsettled>>> {
        Box::pin(async move {
            let fate = self.call(Door::Mesh).await;
            let answers = {
                let mut state = self.lock();
                let put = |record: &&Record| {
                    let partial = state.faults.partial;
                    if fate == Fate::Fails || state.percent(partial) {
                        return Err(Unsettled { trouble: Trouble::Throttled, message: down() });
                    }
                    Ok(state.store(record))
                };
                records.iter().map(put).collect()
            };
            self.answer().await;
            if fate == Fate::Lost {
                let lost = || Err(Unsettled { trouble: Trouble::Unavailable, message: down() });
                return records.iter().map(|_| lost()).collect();
            }
            answers
        })
    }
}

impl State {
    fn store(&mut self, record: &Record) -> Placement {
        let explicit = record.explicit_hash_key.as_deref().and_then(HashKey::parse_explicit);
        let hash =
            explicit.unwrap_or_else(|| HashKey::of_partition_key(record.partition_key.as_deref().expect("a key")));
        let open = self.mesh_shards.iter().find(|(_, range, is_open)| *is_open && range.contains(hash));
        let (id, range) = open.map(|(id, range, _)| (id.clone(), *range)).expect("the ring is covered");
        let users = kpl::parse(&record.data).map(|users| users.expect("a container that can be taken apart"));
        match users {
            None => {
                let n = number(&record.data);
                let is_as_put = n.and_then(|n| self.put.get(&n)).is_some_and(|(key, is_good)| {
                    let n = n.unwrap_or_default();
                    record.partition_key.as_deref() == Some(key)
                        && record.data == format!("{{\"type\": \"t\", \"n\": {n}, \"bad\": {}}}", !is_good)
                });
                if !is_as_put {
                    self.wrong(format!("what arrives as event {n:?} is not what was put"));
                }
                if let Some(n) = n {
                    self.arrive(n);
                }
            }
            // The KCL drops a container as a whole that is not of one shard.
            Some(users) if users.iter().all(|user| range.contains(HashKey::of_partition_key(user.partition_key))) => {
                let numbers: Vec<u64> = users.iter().filter_map(|user| number(user.data)).collect();
                numbers.into_iter().for_each(|n| self.arrive(n));
            }
            Some(_) => self.happened(3),
        }
        self.serial_mesh += 1;
        Placement { shard_id: id.into(), sequence_number: self.serial_mesh.to_string() }
    }
}

fn number(data: &[u8]) -> Option<u64> {
    serde_json::from_slice::<Value>(data).ok()?["n"].as_u64()
}

impl DeadLetterSink for World {
    fn call_limits(&self) -> CallLimits {
        CallLimits { entries: 10, bytes: 1 << 20 }
    }

    fn size_of(&self, letter: &DeadLetter) -> usize {
        letter.body.len()
    }

    fn send<'a>(&'a self, _: &'a str, letters: &'a [&'a DeadLetter]) -> BoxFuture<'a, Vec<Result<(), Unsettled>>> {
        Box::pin(async move {
            let fate = self.call(Door::Queue).await;
            let answers = {
                let mut state = self.lock();
                let send = |letter: &&DeadLetter| {
                    let partial = state.faults.partial;
                    if fate == Fate::Fails || state.percent(partial) {
                        return Err(Unsettled { trouble: Trouble::Throttled, message: down() });
                    }
                    let document: Value = serde_json::from_str(&letter.body).expect("a document");
                    match document["payload"]["json"]["n"].as_u64() {
                        Some(n) => state.bury(n),
                        None => state.wrong(format!("a letter of no event: {}", letter.rule)),
                    }
                    Ok(())
                };
                letters.iter().map(send).collect()
            };
            self.answer().await;
            if fate == Fate::Lost {
                let lost = || Err(Unsettled { trouble: Trouble::Unavailable, message: down() });
                return letters.iter().map(|_| lost()).collect();
            }
            answers
        })
    }
}

impl Catalog for World {
    fn list_streams<'a>(&'a self) -> BoxFuture<'a, Result<Vec<String>, CatalogError>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn describe<'a>(&'a self, stream: &'a str) -> BoxFuture<'a, Result<StreamDescription, CatalogError>> {
        Box::pin(async move {
            if self.call(Door::Mesh).await != Fate::Works {
                return Err(CatalogError::Throttled(down()));
            }
            let shard = |(id, range, is_open): &(String, HashKeyRange, bool)| Shard {
                id: id.as_str().into(),
                parent: None,
                adjacent_parent: None,
                range: *range,
                starting_sequence_number: "1".into(),
                ending_sequence_number: (!is_open).then(|| "9".into()),
            };
            let shards = self.lock().mesh_shards.iter().map(shard).collect();
            Ok(StreamDescription { shards, ..active_stream(stream, 1) })
        })
    }

    fn reader(&self) -> Option<&dyn StreamReader> {
        None
    }
}
