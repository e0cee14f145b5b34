//! The far ends: a raw stream, a lease table, a mesh stream and a queue, on a virtual clock, which fail as they are told.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use meshgate::lease::{Checkpoint, Lease};
use meshgate::model::{HashKey, HashKeyRange, Place, Timestamp};
use tokio::time::Instant;

/// How likely what fails, in percent, and what happens at all.
#[derive(Debug, Clone, Copy, Default)]
pub struct Faults {
    /// Calls that fail and do nothing.
    pub fails: u32,
    /// Calls whose answer is lost: they do what they are to do.
    pub lost: u32,
    /// Records of a call that fail while others do not.
    pub partial: u32,
    /// Calls that take seconds.
    pub slow: u32,
    /// Iterators that have expired when they are used.
    pub stale: u32,
    /// Closed shards that do not name those that follow them when they end, as some emulators do not.
    pub unnamed: u32,
    /// Calls that panic, in thousandths: a fault of the gate's own.
    pub panics: u32,
}

/// What a panic says that is meant to be one.
pub const PANIC: &str = "scripted to panic";

/// The far ends that can be away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    Raw,
    Table,
    Mesh,
    Queue,
}

/// A record of the raw stream: a user record, or a container of them.
#[derive(Debug, Clone)]
pub struct Raw {
    pub sequence: u64,
    pub key: String,
    pub data: Vec<u8>,
    pub arrived: Timestamp,
    /// The numbers of the events in it.
    pub events: Vec<u64>,
}

#[derive(Debug, Clone)]
pub struct RawShard {
    pub parents: Vec<String>,
    pub children: Vec<String>,
    pub range: HashKeyRange,
    pub records: Vec<Raw>,
    pub is_closed: bool,
    /// Closed, and so old that the stream no longer has it.
    pub is_trimmed: bool,
}

/// What became of events, as the far ends saw it.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Of each event, how often it arrived.
    pub on_mesh: BTreeMap<u64, u32>,
    pub in_queue: BTreeMap<u64, u32>,
    /// The last event of each key whose first arrival it was.
    pub last_of_key: BTreeMap<String, u64>,
    pub checkpoints: u64,
    pub starts: u64,
}

pub struct State {
    pub random: fastrand::Rng,
    pub faults: Faults,
    /// What is away, until when.
    pub outage: Option<(Door, Timestamp)>,
    pub shards: BTreeMap<String, RawShard>,
    pub mesh_shards: Vec<(String, HashKeyRange, bool)>,
    pub table: BTreeMap<String, Lease>,
    pub outcome: Outcome,
    /// Key and whether it is good, of each event that was put.
    pub put: BTreeMap<u64, (String, bool)>,
    /// Events up to this one were put before the time at which reading is to begin: they need not be read.
    pub before_start: u64,
    /// Of each shard, the subscription that was made last: it ends those before it.
    pub subscriptions: BTreeMap<String, u64>,
    /// What must not happen and has.
    pub wrongs: Vec<String>,
    pub sequence: u64,
    pub serial: u64,
    pub serial_mesh: u64,
    /// Whether events of one key must arrive in order.
    pub by_key: bool,
    /// Everything that happened, to compare two runs of a seed.
    pub trace: u64,
}

/// Shared by all gates of a simulation.
#[derive(Clone)]
pub struct World(Arc<Mutex<State>>);

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Works,
    /// It does nothing, and says so.
    Fails,
    /// It does what it is to do, and does not say so.
    Lost,
}

impl World {
    pub fn new(seed: u64, faults: Faults, shards: u32, mesh_shards: u32, by_key: bool) -> Self {
        let shard = |range| RawShard {
            parents: Vec::new(),
            children: Vec::new(),
            range,
            records: Vec::new(),
            is_closed: false,
            is_trimmed: false,
        };
        let ranges = HashKeyRange::divide(shards);
        let mesh = HashKeyRange::divide(mesh_shards).enumerate().map(|(at, range)| (format!("mesh-{at}"), range, true));
        Self(Arc::new(Mutex::new(State {
            random: fastrand::Rng::with_seed(seed),
            faults,
            outage: None,
            shards: ranges.enumerate().map(|(at, range)| (format!("shardId-{at:012}"), shard(range))).collect(),
            mesh_shards: mesh.collect(),
            table: BTreeMap::new(),
            outcome: Outcome::default(),
            put: BTreeMap::new(),
            before_start: 0,
            subscriptions: BTreeMap::new(),
            wrongs: Vec::new(),
            sequence: 100,
            serial: 0,
            serial_mesh: 0,
            by_key,
            trace: 0,
        })))
    }

    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// Lets a call take its time, and says what becomes of it.
    pub async fn call(&self, door: Door) -> Fate {
        let (before, fate, panics) = {
            let mut state = self.lock();
            let slow = state.faults.slow;
            let slow = state.percent(slow);
            let most = if slow { 14_000 } else { 40 };
            let before = state.random.u64(0..=most);
            let (fails, lost) = (state.faults.fails, state.faults.lost);
            let fate = match state.random.u32(0..100) {
                dice if dice < fails => Fate::Fails,
                dice if dice < fails + lost => Fate::Lost,
                _ => Fate::Works,
            };
            let panics = state.faults.panics;
            (before, fate, panics > 0 && state.random.u32(0..1_000) < panics)
        };
        tokio::time::sleep(Duration::from_millis(before)).await;
        assert!(!panics, "{PANIC}");
        let outage = self.lock().outage;
        if outage.is_some_and(|(away, until)| away == door && now() < until) { Fate::Fails } else { fate }
    }

    /// After the call has done what it does: its answer is on the way.
    pub async fn answer(&self) {
        let after = self.lock().random.u64(0..=10);
        tokio::time::sleep(Duration::from_millis(after)).await;
    }
}

/// The clock of a simulation, in milliseconds since it began.
pub fn now() -> Timestamp {
    thread_local!(static BEGAN: std::cell::Cell<Option<Instant>> = const { std::cell::Cell::new(None) });
    let began = BEGAN.with(|began| {
        let now = Instant::now();
        // A new runtime has a new clock, which may begin earlier or later than the last one's.
        let kept = began.get().filter(|kept| *kept <= now);
        began.set(Some(kept.unwrap_or(now)));
        kept.unwrap_or(now)
    });
    Timestamp::from_millis(1_800_000_000_000 + i64::try_from(began.elapsed().as_millis()).unwrap_or(0))
}

impl State {
    pub fn percent(&mut self, share: u32) -> bool {
        share > 0 && self.random.u32(0..100) < share
    }

    pub fn wrong(&mut self, what: String) {
        if self.wrongs.len() < 20 {
            self.wrongs.push(what);
        }
    }

    /// Notes that something happened.
    pub fn happened(&mut self, what: u64) {
        self.trace = (self.trace ^ what).wrapping_mul(0x0000_0100_0000_01b3);
    }

    /// Puts a record on the raw stream: an event, or a container of some.
    pub fn produce(&mut self, at: Timestamp) {
        let count = if self.percent(25) { self.random.usize(2..8) } else { 1 };
        let mut users = Vec::new();
        for _ in 0..count {
            self.serial += 1;
            let (n, key) = (self.serial, format!("k{}", self.random.u32(0..12)));
            let is_good = !self.percent(20);
            self.put.insert(n, (key.clone(), is_good));
            let data = format!("{{\"type\": \"t\", \"n\": {n}, \"bad\": {}}}", !is_good).into_bytes();
            users.push((n, key, data));
        }
        let events: Vec<u64> = users.iter().map(|(n, ..)| *n).collect();
        let hash = HashKey::of_partition_key(&users[0].1);
        let (key, data) = if count == 1 {
            let (_, key, data) = users.remove(0);
            (key, data)
        } else {
            // A producer aggregates what it takes to be of one shard.
            let shard = self.open_shard(hash);
            let range = self.shards[&shard].range;
            let (fit, rest): (Vec<_>, Vec<_>) =
                users.into_iter().partition(|(_, key, _)| range.contains(HashKey::of_partition_key(key)));
            for (n, key, data) in rest {
                self.append(Raw { sequence: 0, key, data, arrived: at, events: vec![n] });
            }
            let key = fit[0].1.clone();
            let records: Vec<(String, Vec<u8>)> =
                fit.iter().map(|(_, key, data)| (key.clone(), data.clone())).collect();
            let events = fit.iter().map(|(n, ..)| *n).collect();
            self.append(Raw { sequence: 0, key, data: super::container(&records), arrived: at, events });
            return;
        };
        self.append(Raw { sequence: 0, key, data, arrived: at, events });
    }

    fn open_shard(&self, hash: HashKey) -> String {
        let mut open = self.shards.iter().filter(|(_, shard)| !shard.is_closed && shard.range.contains(hash));
        open.next().expect("the ring is covered").0.clone()
    }

    fn append(&mut self, mut raw: Raw) {
        self.sequence += self.random.u64(1..5);
        raw.sequence = self.sequence;
        let shard = self.open_shard(HashKey::of_partition_key(&raw.key));
        self.shards.get_mut(&shard).expect("it is there").records.push(raw);
    }

    /// Splits a shard of the raw stream, or merges two neighbours.
    pub fn reshard(&mut self) {
        let open: Vec<String> =
            self.shards.iter().filter(|(_, shard)| !shard.is_closed).map(|(id, _)| id.clone()).collect();
        let id = open[self.random.usize(..open.len())].clone();
        let range = self.shards[&id].range;
        let neighbour =
            open.iter().find(|other| Some(self.shards[*other].range.start.0) == range.end.0.checked_add(1)).cloned();
        match neighbour {
            Some(other) if self.random.bool() => {
                let merged = HashKeyRange { start: range.start, end: self.shards[&other].range.end };
                self.replace(&[id, other], &[merged]);
            }
            _ if range.end.0 - range.start.0 > 1 << 100 && open.len() < 12 => {
                let middle = range.start.0 + (range.end.0 - range.start.0) / 2;
                let halves = [
                    HashKeyRange { start: range.start, end: HashKey(middle) },
                    HashKeyRange { start: HashKey(middle + 1), end: range.end },
                ];
                self.replace(&[id], &halves);
            }
            _ => {}
        }
    }

    fn replace(&mut self, parents: &[String], ranges: &[HashKeyRange]) {
        let mut children = Vec::new();
        for range in ranges {
            let id = format!("shardId-{:012}", self.shards.len());
            children.push(id.clone());
            let shard = RawShard {
                parents: parents.to_vec(),
                children: Vec::new(),
                range: *range,
                records: Vec::new(),
                is_closed: false,
                is_trimmed: false,
            };
            self.shards.insert(id, shard);
        }
        for parent in parents {
            let parent = self.shards.get_mut(parent).expect("it is there");
            parent.is_closed = true;
            parent.children = children.clone();
        }
    }

    /// Forgets closed shards all of whose events have arrived, the oldest first: a lease may still not be at their end.
    pub fn trim(&mut self) {
        let is_old = |(_, shard): &(&String, &RawShard)| {
            let is_settled = |record: &Raw| record.events.iter().all(|event| self.is_settled(*event));
            let is_first = shard.parents.iter().all(|parent| self.shards[parent].is_trimmed);
            shard.is_closed && !shard.is_trimmed && is_first && shard.records.iter().all(is_settled)
        };
        let old = self.shards.iter().find(is_old).map(|(id, _)| id.clone());
        if let Some(shard) = old.and_then(|old| self.shards.get_mut(&old)) {
            shard.is_trimmed = true;
        }
    }

    /// Splits a shard of the mesh stream: containers for it may straddle the two.
    pub fn reshard_mesh(&mut self) {
        let open: Vec<usize> = (0..self.mesh_shards.len()).filter(|at| self.mesh_shards[*at].2).collect();
        let at = open[self.random.usize(..open.len())];
        let range = self.mesh_shards[at].1;
        let middle = range.start.0 + (range.end.0 - range.start.0) / 2;
        self.mesh_shards[at].2 = false;
        for range in [
            HashKeyRange { start: range.start, end: HashKey(middle) },
            HashKeyRange { start: HashKey(middle + 1), end: range.end },
        ] {
            let id = format!("mesh-{}", self.mesh_shards.len());
            self.mesh_shards.push((id, range, true));
        }
    }

    /// Whether an event is where it belongs.
    pub fn is_settled(&self, event: u64) -> bool {
        event <= self.before_start
            || self.outcome.on_mesh.contains_key(&event)
            || self.outcome.in_queue.contains_key(&event)
    }

    pub fn unsettled(&self) -> usize {
        self.put.keys().filter(|event| !self.is_settled(**event)).count()
    }

    /// An event arrives on the mesh stream.
    pub fn arrive(&mut self, event: u64) {
        self.happened(event);
        let Some((key, is_good)) = self.put.get(&event).cloned() else {
            return self.wrong(format!("event {event} was never put"));
        };
        if !is_good {
            self.wrong(format!("the bad event {event} is on the mesh stream"));
        }
        let times = self.outcome.on_mesh.entry(event).or_default();
        *times += 1;
        if *times == 1 {
            let last = self.outcome.last_of_key.insert(key.clone(), event);
            if self.by_key && last.is_some_and(|last| last > event) {
                self.wrong(format!("event {event} of {key} arrives after {last:?}"));
            }
        }
    }

    /// A dead letter arrives.
    pub fn bury(&mut self, event: u64) {
        self.happened(event << 1);
        match self.put.get(&event) {
            Some((_, false)) => *self.outcome.in_queue.entry(event).or_default() += 1,
            other => {
                let told = format!("event {event} in the queue: {other:?}");
                self.wrong(told);
            }
        }
    }

    /// Holds what a checkpoint promises: all up to it is settled, and it never goes back.
    pub fn check_checkpoint(&mut self, shard: &str, before: Option<&Lease>, after: &Lease) {
        let place = |lease: &Lease| match &lease.checkpoint {
            Checkpoint::At(place) => Some(place.clone()),
            Checkpoint::ShardEnd => Some(Place { sequence: "9".repeat(30), sub_sequence: 0 }),
            _ => None,
        };
        let Some(now) = place(after) else { return };
        if before.and_then(place).is_some_and(|before| before > now) {
            self.wrong(format!("the checkpoint of {shard} goes back to {now:?}"));
        }
        let Some(raw) = self.shards.get(shard) else { return };
        let mut passed = BTreeSet::new();
        for record in &raw.records {
            for (sub_sequence, event) in (0..).zip(&record.events) {
                if (Place { sequence: record.sequence.to_string(), sub_sequence }) <= now {
                    passed.insert(*event);
                }
            }
        }
        let missing: Vec<u64> = passed.into_iter().filter(|event| !self.is_settled(*event)).collect();
        if !missing.is_empty() {
            self.wrong(format!("{shard} is checkpointed at {now:?}, and {missing:?} are not settled"));
        }
        if after.checkpoint == Checkpoint::ShardEnd {
            let closed = self.shards[shard].is_closed;
            let children = self.shards[shard].children.clone();
            let is_missing = |child: &String| !self.shards[child].is_trimmed && !self.table.contains_key(child);
            if !closed || children.iter().any(is_missing) {
                self.wrong(format!(
                    "{shard} is at its end, closed: {closed}, children without lease among {children:?}"
                ));
            }
        }
        self.outcome.checkpoints += 1;
    }
}
