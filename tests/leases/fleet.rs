//! How long large fleets take to share their shards evenly, and what it costs.
//!
//! A fleet of 40 workers and 400 shards is held to bounds with each build. Larger ones print the table of docs/scaling.md:
//! `cargo test --release --test leases fleet_of_a -- --ignored --nocapture`.

use std::fmt::Write as _;

use meshgate::lease::Start;

use super::world::{Faults, Measures, World};

/// One line of the table.
struct Line {
    name: &'static str,
    /// Until each readable lease had a living worker, seconds.
    read: f64,
    /// Until loads differed by one at most, seconds.
    even: f64,
    counts: Measures,
    seconds: u64,
}

struct Fleet {
    world: World,
    lines: Vec<Line>,
}

/// After a scenario has come to rest, it is watched for so long.
const REST_MS: u64 = 30_000;
/// No scenario takes longer.
const SCENARIO_MS: u64 = 1_800_000;

impl Fleet {
    fn new(workers: usize, shards: u32) -> Self {
        let mut world = World::new(shards, Start::TrimHorizon, Faults::none(), 1);
        for _ in 0..workers {
            world.birth();
        }
        Self { world, lines: Vec::new() }
    }

    /// Lets time pass until all is read and even, and then a little.
    fn settle(&mut self, name: &'static str, began: u64) -> &Line {
        let (mut read, mut even) = (None, None);
        let end = began + SCENARIO_MS;
        while self.world.now < end && even.is_none_or(|at| self.world.now < at + REST_MS) {
            self.world.run_until(self.world.now + 500);
            let loads = self.world.loads();
            let is_read = self.world.orphans() == 0 && !self.world.table.is_empty();
            let is_even = self.world.idle() == 0 && is_read;
            let (least, most) = (loads.iter().min().unwrap(), loads.iter().max().unwrap());
            read = if is_read { read.or(Some(self.world.now)) } else { None };
            even = if is_even && most - least <= 1 { even.or(Some(self.world.now)) } else { None };
        }
        let since = |at: Option<u64>| at.map_or(f64::INFINITY, |at| (at - began) as f64 / 1_000.0);
        let seconds = (self.world.now - began) / 1_000;
        let counts = self.world.measure();
        self.lines.push(Line { name, read: since(read), even: since(even), counts, seconds });
        let line = self.lines.last().unwrap();
        eprintln!("{}", line.describe());
        line
    }

    fn rest(&mut self, name: &'static str, ms: u64) {
        let began = self.world.now;
        self.world.run_until(began + ms);
        let counts = self.world.measure();
        self.lines.push(Line { name, read: 0.0, even: 0.0, counts, seconds: ms / 1_000 });
        eprintln!("{}", self.lines.last().unwrap().describe());
    }

    fn kill(&mut self, count: usize) -> u64 {
        let mut alive = self.world.alive();
        self.world.rng.shuffle(&mut alive);
        alive.into_iter().take(count).for_each(|id| self.world.kill(id));
        self.world.now
    }

    fn scale_out(&mut self, count: usize) -> u64 {
        for _ in 0..count {
            self.world.birth();
        }
        self.world.now
    }

    /// Restarts each worker, `at_once` of them at a time; each is away for five seconds.
    fn roll(&mut self, at_once: usize) -> u64 {
        let began = self.world.now;
        for some in self.world.alive().chunks(at_once) {
            some.iter().for_each(|id| self.world.shut_down(*id));
            self.world.run_until(self.world.now + 5_000);
            self.scale_out(some.len());
        }
        began
    }

    /// Splits half of so many shards, and merges the others by twos.
    fn reshard(&mut self, count: usize) -> u64 {
        let open = self.world.stream.open_shards();
        let chosen: Vec<_> = open.into_iter().take(count).map(|(_, id)| id).collect();
        let (split, merged) = chosen.split_at(count / 2);
        let now = self.world.now;
        split.iter().for_each(|id| self.world.stream.split(id, now));
        merged.chunks_exact(2).for_each(|two| self.world.stream.merge(&two[0], &two[1], now));
        for id in chosen {
            self.world.finish(&id);
        }
        now
    }
}

impl Line {
    fn describe(&self) -> String {
        let Measures { starts, writes, refused, lists, rows_listed, shard_lists, .. } = &self.counts;
        let writes_peak = self.counts.write_seconds.values().max().copied().unwrap_or_default();
        let reads: f64 = self.counts.read_seconds.values().sum();
        let reads_peak = self.counts.read_seconds.values().copied().fold(0.0, f64::max);
        let per_second = |count: f64| count / self.seconds.max(1) as f64;
        let mut text = String::new();
        let _ = write!(
            text,
            "{:24} read {:7.1} s, even {:7.1} s, moves {starts:6}, lost {:4}, writes/s {:6.0} (peak {writes_peak:6}), refused {refused:6}, \
             RRU/s {:7.0} (peak {reads_peak:7.0}), lists {lists:6}, rows {rows_listed:9}, shard lists {shard_lists:5}, over {} s",
            self.name,
            self.read,
            self.even,
            self.counts.lost,
            per_second(*writes as f64),
            per_second(reads),
            self.seconds
        );
        text
    }
}

/// What a scenario may take at most: seconds until all is even, leases started, and read units a second.
type Bound = (f64, u64, f64);

fn check(line: &Line, (even, moves, reads): Bound) {
    let units: f64 = line.counts.read_seconds.values().sum();
    let told = line.describe();
    assert!(line.even <= even, "not even within {even} s: {told}");
    assert!(line.counts.starts <= moves, "more than {moves} moves: {told}");
    assert!(units / line.seconds.max(1) as f64 <= reads, "more than {reads} read units a second: {told}");
    assert_eq!(line.counts.lost, 0, "a lease was lost by a worker that lives: {told}");
}

/// All scenarios, one after the other, with bounds for each but the second.
fn all(workers: usize, shards: u32, [cold, dies, comes, tenth_dies, tenth_comes, deploy, reshard]: [Bound; 7]) {
    let mut fleet = Fleet::new(workers, shards);
    check(fleet.settle("cold start", 0), cold);
    fleet.rest("at rest", 60_000);
    let began = fleet.kill(1);
    check(fleet.settle("one dies", began), dies);
    let began = fleet.scale_out(1);
    check(fleet.settle("one comes", began), comes);
    let began = fleet.kill(workers / 10);
    check(fleet.settle("a tenth dies", began), tenth_dies);
    let began = fleet.scale_out(workers / 10);
    check(fleet.settle("a tenth comes", began), tenth_comes);
    let began = fleet.roll((workers / 50).max(2));
    check(fleet.settle("rolling deploy", began), deploy);
    let began = fleet.reshard(shards as usize / 10);
    check(fleet.settle("a tenth of shards change", began), reshard);
}

/// About half as much again as it takes.
#[test]
fn a_fleet_of_forty() {
    let bounds = [
        (15.0, 700, 120.0),
        (25.0, 20, 90.0),
        (20.0, 25, 90.0),
        (45.0, 90, 90.0),
        (45.0, 90, 90.0),
        (180.0, 850, 100.0),
        (40.0, 100, 110.0),
    ];
    all(40, 400, bounds);
}

#[test]
#[ignore = "takes minutes"]
fn fleet_of_a_hundred() {
    all(100, 1_000, [(f64::INFINITY, u64::MAX, f64::INFINITY); 7]);
}

#[test]
#[ignore = "takes a quarter of an hour"]
fn fleet_of_a_thousand() {
    all(1_000, 10_000, [(f64::INFINITY, u64::MAX, f64::INFINITY); 7]);
}
