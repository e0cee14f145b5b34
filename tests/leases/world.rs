//! The world that workers act in: time, the table, the stream, what goes wrong. Each promise is checked as things happen.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::ops::Range;

use fastrand::Rng;
use meshgate::lease::{Checkpoint, Input, Lease, Output, Start, StopReason, Swap, Swapped, Worker, WorkerOptions};
use meshgate::model::{Place, Timestamp};

use super::stream::Stream;

/// What goes wrong, and how long things take. Times in milliseconds, chances from 0 to 1.
#[derive(Clone)]
pub struct Faults {
    /// One way to the table, or back.
    pub latency: Range<u64>,
    /// A write does not arrive, or its answer does not.
    pub lost: f64,
    /// A list of rows or shards fails.
    pub unlisted: f64,
    /// How long a reader takes to settle what it has taken.
    pub drain: Range<u64>,
    /// How often a reader settles; `None`: never, and shards do not end by themselves.
    pub settle_every: Option<Range<u64>>,
}

impl Faults {
    pub fn none() -> Self {
        Self { latency: 3..15, lost: 0.0, unlisted: 0.0, drain: 200..2_000, settle_every: None }
    }
}

/// Counts since the last [`World::measure`].
#[derive(Default, Clone)]
pub struct Measures {
    pub starts: u64,
    pub lost: u64,
    pub rows_listed: u64,
    pub lists: u64,
    pub shard_lists: u64,
    pub writes: u64,
    pub refused: u64,
    /// By second: writes, and read units (4 KB a half, a row some 300 bytes).
    pub write_seconds: BTreeMap<u64, u64>,
    pub read_seconds: BTreeMap<u64, f64>,
}

pub struct Node {
    pub worker: Worker,
    pub alive: bool,
    pub paused_until: u64,
    pub readers: BTreeMap<String, Reader>,
    wake: Option<u64>,
    /// Arrived while it was paused.
    deferred: Vec<Input>,
}

pub struct Reader {
    generation: u64,
    /// Records settled.
    at: u64,
    stopping: bool,
}

enum Event {
    Wake,
    Tell(Input),
    List,
    ListShards,
    Write { swap: Box<Swap>, fate: Fate },
    Settle { key: String, generation: u64 },
    Drained { key: String, generation: u64 },
}

#[derive(Clone, Copy, PartialEq)]
enum Fate {
    Arrives,
    RequestLost,
    AnswerLost,
}

pub struct World {
    pub now: u64,
    pub table: BTreeMap<String, Lease>,
    pub stream: Stream,
    pub nodes: Vec<Node>,
    pub faults: Faults,
    pub measures: Measures,
    pub rng: Rng,
    pub deleted: BTreeSet<String>,
    /// Who reads a shard.
    readers: BTreeMap<String, BTreeSet<usize>>,
    queue: BinaryHeap<Reverse<(u64, u64)>>,
    events: BTreeMap<u64, (usize, Event)>,
    generations: u64,
    pub options: WorkerOptions,
}

impl World {
    pub fn new(shards: u32, start: Start, faults: Faults, seed: u64) -> Self {
        let options = WorkerOptions {
            id: String::new(),
            failover_ms: 10_000,
            handover_ms: 30_000,
            sync_every_ms: 60_000,
            leases_max: 100_000,
            start,
            seed: 0,
        };
        Self {
            now: 0,
            table: BTreeMap::new(),
            stream: Stream::new(shards),
            nodes: Vec::new(),
            faults,
            measures: Measures::default(),
            rng: Rng::with_seed(seed),
            deleted: BTreeSet::new(),
            readers: BTreeMap::new(),
            queue: BinaryHeap::new(),
            events: BTreeMap::new(),
            generations: 0,
            options,
        }
    }

    pub fn birth(&mut self) -> usize {
        let id = self.nodes.len();
        let options = WorkerOptions { id: format!("worker-{id}"), seed: self.rng.u64(..), ..self.options.clone() };
        let worker = Worker::new(options, self.now);
        let readers = BTreeMap::new();
        self.nodes.push(Node { worker, alive: true, paused_until: 0, readers, wake: None, deferred: vec![] });
        self.run_node(id);
        id
    }

    pub fn kill(&mut self, id: usize) {
        self.nodes[id].alive = false;
        for key in std::mem::take(&mut self.nodes[id].readers).into_keys() {
            self.readers.get_mut(&key).expect("is read").remove(&id);
        }
    }

    /// Stops a worker's world.
    pub fn pause(&mut self, id: usize, ms: u64) {
        if self.nodes[id].alive {
            self.nodes[id].paused_until = self.now + ms;
            self.after(ms, id, Event::Wake);
        }
    }

    pub fn shut_down(&mut self, id: usize) {
        self.tell(id, Input::Shutdown);
    }

    pub fn alive(&self) -> Vec<usize> {
        (0..self.nodes.len()).filter(|id| self.nodes[*id].alive).collect()
    }

    fn after(&mut self, ms: u64, id: usize, event: Event) {
        self.generations += 1;
        self.queue.push(Reverse((self.now + ms, self.generations)));
        self.events.insert(self.generations, (id, event));
    }

    /// Lets time pass.
    pub fn run_until(&mut self, end: u64) {
        while let Some(Reverse((at, number))) = self.queue.peek().copied().filter(|next| next.0.0 <= end) {
            self.queue.pop();
            self.now = at;
            let (id, event) = self.events.remove(&number).expect("was put there");
            self.happen(id, event);
        }
        self.now = end;
    }

    fn latency(&mut self) -> u64 {
        self.rng.u64(self.faults.latency.clone())
    }

    fn happen(&mut self, id: usize, event: Event) {
        match event {
            Event::Wake => self.wake(id),
            Event::Tell(input) => self.tell(id, input),
            Event::List => {
                let fails = self.rng.f64() < self.faults.unlisted;
                let rows = self.table.values().cloned().collect::<Vec<_>>();
                self.measures.lists += 1;
                self.measures.rows_listed += rows.len() as u64;
                let units = (rows.len() as f64 * 300.0 / 4096.0).ceil().max(1.0) / 2.0;
                *self.measures.read_seconds.entry(self.now / 1_000).or_default() += units;
                let wait = self.latency();
                self.after(wait, id, Event::Tell(Input::Listed(if fails { Err(()) } else { Ok(rows) })));
            }
            Event::ListShards => {
                let fails = self.rng.f64() < self.faults.unlisted;
                let at = Timestamp::from_millis(self.now as i64);
                let shards = if fails { Err(()) } else { Ok(self.stream.listed()) };
                self.measures.shard_lists += 1;
                let wait = self.latency();
                self.after(wait, id, Event::Tell(Input::Shards { shards, at }));
            }
            Event::Write { swap, fate } => self.write(id, *swap, fate),
            Event::Settle { key, generation } => self.settle(id, key, generation),
            Event::Drained { key, generation } => self.drained(id, key, generation),
        }
    }

    fn wake(&mut self, id: usize) {
        let node = &mut self.nodes[id];
        if !node.alive || self.now < node.paused_until {
            return;
        }
        if node.wake.is_some_and(|at| at <= self.now) || node.paused_until == self.now {
            node.wake = None;
            for input in std::mem::take(&mut node.deferred) {
                node.worker.handle(input, self.now);
            }
            self.run_node(id);
        }
    }

    fn tell(&mut self, id: usize, input: Input) {
        let node = &mut self.nodes[id];
        if !node.alive {
            return;
        }
        if self.now < node.paused_until {
            node.deferred.push(input);
            return;
        }
        node.worker.handle(input, self.now);
        self.run_node(id);
    }

    fn run_node(&mut self, id: usize) {
        while let Some(output) = self.nodes[id].worker.poll(self.now) {
            self.act(id, output);
        }
        let node = &mut self.nodes[id];
        if node.worker.is_done() {
            assert!(node.readers.is_empty(), "{}: done, and still reading", id);
            node.alive = false;
            return;
        }
        let Some(at) = node.worker.wake_at() else { return };
        assert!(at > self.now, "worker {id} wants to be woken at {at}, which is not after {}", self.now);
        if node.wake.is_none_or(|known| known > at || known <= self.now) {
            node.wake = Some(at);
            self.after(at - self.now, id, Event::Wake);
        }
    }

    fn act(&mut self, id: usize, output: Output) {
        let wait = self.latency();
        match output {
            Output::List => self.after(wait, id, Event::List),
            Output::ListShards => self.after(wait, id, Event::ListShards),
            Output::Swap(swap) => {
                let fate = match self.rng.f64() {
                    chance if chance < self.faults.lost / 2.0 => Fate::RequestLost,
                    chance if chance < self.faults.lost => Fate::AnswerLost,
                    _ => Fate::Arrives,
                };
                self.after(wait, id, Event::Write { swap: Box::new(swap), fate });
            }
            Output::Start(lease) => self.start(id, lease),
            Output::Stop { key, why } => self.stop(id, key, why),
        }
    }

    fn start(&mut self, id: usize, lease: Lease) {
        self.measures.starts += 1;
        let key = lease.key.clone();
        for parent in lease.parents.iter().filter_map(|parent| self.table.get(parent)) {
            // From LATEST on, one closed before the first sync was through may get its lease late, or never.
            let ended = matches!(parent.checkpoint, Checkpoint::ShardEnd | Checkpoint::Latest);
            assert!(ended, "{key} starts before {} has ended", parent.key);
        }
        let reading = self.readers.entry(key.clone()).or_default();
        for other in reading.iter() {
            let paused = self.nodes[*other].paused_until > self.now;
            assert!(paused, "at {}: worker {id} starts {key}, which worker {other} reads", self.now);
        }
        assert!(reading.insert(id), "worker {id} starts {key} twice");
        let shard = self.stream.shards.get_mut(&key).expect("a shard of the stream");
        let at = match (&lease.checkpoint, lease.starts_at) {
            (Checkpoint::At(place), _) => place.sequence.parse().expect("a number"),
            (Checkpoint::TrimHorizon, _) => 0,
            (Checkpoint::Latest | Checkpoint::AtTimestamp, Some(from)) => {
                let at = shard.records(self.now.min(from.millis() as u64));
                shard.settled = shard.settled.max(at);
                at
            }
            (other, _) => panic!("{key} starts at {other:?}"),
        };
        assert!(at <= shard.settled, "{key} starts at {at}, and only {} are settled", shard.settled);
        self.generations += 1;
        let generation = self.generations;
        self.nodes[id].readers.insert(key.clone(), Reader { generation, at, stopping: false });
        self.schedule_settling(id, key, generation);
    }

    fn schedule_settling(&mut self, id: usize, key: String, generation: u64) {
        if self.faults.settle_every.is_none() && self.stream.shards[&key].closed_at.is_some() {
            return self.finish(&key);
        }
        if let Some(every) = self.faults.settle_every.clone() {
            let wait = self.rng.u64(every);
            self.after(wait, id, Event::Settle { key, generation });
        }
    }

    fn stop(&mut self, id: usize, key: String, why: StopReason) {
        if why == StopReason::Lost {
            self.measures.lost += 1;
            self.end_reader(id, &key);
        } else if let Some(reader) = self.nodes[id].readers.get_mut(&key) {
            reader.stopping = true;
            let generation = reader.generation;
            let wait = self.rng.u64(self.faults.drain.clone());
            self.after(wait, id, Event::Drained { key, generation });
        }
    }

    fn end_reader(&mut self, id: usize, key: &str) {
        if self.nodes[id].readers.remove(key).is_some() {
            self.readers.get_mut(key).expect("is read").remove(&id);
        }
    }

    /// Has whoever reads a closed shard come to its end within seconds, where readers do not settle by themselves; or once it is read.
    pub fn finish(&mut self, key: &str) {
        let id = self.readers.get(key).and_then(|readers| readers.first().copied());
        if let Some(id) = id
            && let Some(reader) = self.nodes[id].readers.get(key)
        {
            let generation = reader.generation;
            let wait = self.rng.u64(1_000..5_000);
            self.after(wait, id, Event::Settle { key: key.to_owned(), generation });
        }
    }

    /// Settles what a reader has; reports the end of the shard where that was all. Whether the reader goes on.
    fn settle_now(&mut self, id: usize, key: &str, generation: u64) -> bool {
        let now = self.now;
        let Some(reader) = self.nodes[id].readers.get_mut(key).filter(|r| r.generation == generation) else {
            return false;
        };
        let shard = self.stream.shards.get_mut(key).expect("a shard of the stream");
        let (before, ended) = (reader.at, shard.closed_at.is_some());
        reader.at = shard.records(now);
        shard.settled = shard.settled.max(reader.at);
        let at = reader.at;
        let children = shard.children.clone();
        if at > before {
            let place = Place { sequence: at.to_string(), sub_sequence: 0 };
            self.tell(id, Input::Settled { key: key.to_owned(), place });
        }
        let lives = |world: &Self| world.nodes[id].readers.get(key).is_some_and(|r| r.generation == generation);
        if ended && lives(self) {
            self.end_reader(id, key);
            self.tell(id, Input::Ended { key: key.to_owned(), children });
        }
        lives(self)
    }

    fn settle(&mut self, id: usize, key: String, generation: u64) {
        if self.nodes[id].paused_until > self.now {
            let wait = self.nodes[id].paused_until - self.now + 1;
            return self.after(wait, id, Event::Settle { key, generation });
        }
        if self.nodes[id].readers.get(&key).is_some_and(|r| r.generation == generation && !r.stopping)
            && self.settle_now(id, &key, generation)
        {
            self.schedule_settling(id, key, generation);
        }
    }

    fn drained(&mut self, id: usize, key: String, generation: u64) {
        if self.nodes[id].paused_until > self.now {
            let wait = self.nodes[id].paused_until - self.now + 1;
            return self.after(wait, id, Event::Drained { key, generation });
        }
        let goes_on = match self.faults.settle_every {
            Some(_) if self.rng.bool() => self.settle_now(id, &key, generation),
            _ => self.nodes[id].readers.get(&key).is_some_and(|r| r.generation == generation),
        };
        if goes_on {
            self.end_reader(id, &key);
            self.tell(id, Input::Stopped { key });
        }
    }

    fn write(&mut self, id: usize, swap: Swap, fate: Fate) {
        let key = swap.key().to_owned();
        let mut result = Err(());
        if fate != Fate::RequestLost {
            let row = self.table.get(&key).cloned();
            self.measures.writes += 1;
            *self.measures.write_seconds.entry(self.now / 1_000).or_default() += 1;
            result = if swap.applies_to(row.as_ref()) {
                self.check_write(&swap);
                match swap {
                    Swap::Create(lease) => self.table.insert(key.clone(), *lease),
                    Swap::Update { after, .. } => self.table.insert(key.clone(), *after),
                    Swap::Delete(_) => {
                        self.deleted.insert(key.clone());
                        self.table.remove(&key)
                    }
                };
                Ok(Swapped::Done)
            } else {
                self.measures.refused += 1;
                Ok(Swapped::Refused(row.map(Box::new)))
            };
        }
        let wait = if fate == Fate::Arrives { self.latency() } else { 1_000 };
        let result = if fate == Fate::Arrives { result } else { Err(()) };
        self.after(wait, id, Event::Tell(Input::Swapped { key, result }));
    }

    fn check_write(&self, swap: &Swap) {
        match swap {
            Swap::Create(lease) => {
                assert!(!self.deleted.contains(&lease.key), "{} is made again", lease.key);
            }
            Swap::Update { after, .. } => {
                let before = &self.table[&after.key];
                let (from, to) = (rank(&before.checkpoint), rank(&after.checkpoint));
                assert!(from <= to, "{}: the checkpoint goes back from {from} to {to}", after.key);
                let shard = &self.stream.shards[&after.key];
                if after.checkpoint == Checkpoint::ShardEnd {
                    let all = shard.closed_at.is_some() && shard.settled == shard.records(self.now);
                    assert!(all, "{} is said to have ended, and is not settled", after.key);
                    for child in &shard.children {
                        let made = self.table.contains_key(&child.id) || self.deleted.contains(&child.id);
                        assert!(made, "{} has ended before {} has a lease", after.key, child.id);
                    }
                } else {
                    assert!(to <= shard.settled, "{}: checkpoint {to}, settled {}", after.key, shard.settled);
                }
            }
            Swap::Delete(lease) => assert!(self.stream.shards[&lease.key].expired, "{} is deleted", lease.key),
        }
    }

    /// Starts counting anew, and gives what was counted.
    pub fn measure(&mut self) -> Measures {
        std::mem::take(&mut self.measures)
    }

    /// How many of the leases that can be read each living worker reads.
    pub fn loads(&self) -> Vec<usize> {
        self.alive().into_iter().map(|id| self.nodes[id].readers.len()).collect()
    }

    /// Leases that can be read, are not, and are no living worker's: a moment in a hand-over is not meant.
    pub fn orphans(&self) -> usize {
        let lives = |owner: &String| {
            let id: Option<usize> = owner.strip_prefix("worker-").and_then(|id| id.parse().ok());
            id.is_some_and(|id| self.nodes[id].alive)
        };
        self.unread().filter(|row| !row.owner.as_ref().is_some_and(lives)).count()
    }

    /// Leases that can be read and that nobody reads.
    pub fn idle(&self) -> usize {
        self.unread().count()
    }

    fn unread(&self) -> impl Iterator<Item = &Lease> {
        let readable = self.table.values().filter(|row| {
            let ended = |key: &String| self.table.get(key).is_none_or(|p| p.checkpoint == Checkpoint::ShardEnd);
            row.checkpoint != Checkpoint::ShardEnd && row.parents.iter().all(ended)
        });
        readable.filter(|row| self.readers.get(&row.key).is_none_or(BTreeSet::is_empty))
    }
}

/// Checkpoints in their order; records settled.
fn rank(checkpoint: &Checkpoint) -> u64 {
    match checkpoint {
        Checkpoint::TrimHorizon | Checkpoint::Latest | Checkpoint::AtTimestamp => 0,
        Checkpoint::At(place) => place.sequence.parse().expect("a number"),
        Checkpoint::ShardEnd => u64::MAX,
    }
}
