//! Seeds in search of a broken promise: workers die, sleep longer than they may, lose answers; shards split and merge.

use std::collections::BTreeSet;

use meshgate::lease::{Checkpoint, Start};
use meshgate::model::Timestamp;
use proptest::prelude::*;

use super::world::{Faults, World};

const CALAMITY_MS: u64 = 300_000;
/// Longer than any worker sleeps: what was decided before then is not done after a shard has expired.
const EXPIRY_MS: u64 = 150_000;
const CALM_MS: u64 = 240_000;

/// Lets a small fleet through four bad minutes, then lets it come to rest, and looks at what it has come to.
fn live_through(seed: u64, start: Start) {
    let mut rng = fastrand::Rng::with_seed(seed);
    let faults = Faults {
        latency: 1..rng.u64(10..2_000),
        lost: [0.0, 0.02, 0.2, 0.4][rng.usize(..4)],
        unlisted: [0.0, 0.3][rng.usize(..2)],
        drain: 10..[1_000, 8_000, 40_000][rng.usize(..3)],
        settle_every: Some(200..rng.u64(300..4_000)),
    };
    let mut world = World::new(rng.u32(1..8), start, faults, seed);
    for _ in 0..rng.usize(1..4) {
        world.birth();
    }
    let mut now = 0;
    while now < CALAMITY_MS {
        now += rng.u64(1..6_000);
        world.run_until(now);
        disturb(&mut world, &mut rng);
    }
    world.faults = Faults { settle_every: world.faults.settle_every.clone(), ..Faults::none() };
    // All others may be on their way out.
    world.birth();
    world.run_until(now + CALM_MS);
    came_to_rest(&mut world, start);
}

fn disturb(world: &mut World, rng: &mut fastrand::Rng) {
    let alive = world.alive();
    let any = (!alive.is_empty()).then(|| alive[rng.usize(..alive.len())]);
    match (rng.u32(..24), any) {
        (0 | 1, _) if alive.len() < 8 => {
            world.birth();
        }
        (2, Some(id)) => world.kill(id),
        (3, Some(id)) => world.shut_down(id),
        (4 | 5, Some(id)) => world.pause(id, rng.u64(100..60_000)),
        (6 | 7, _) => {
            let open = world.stream.open_shards();
            if open.len() < 24 {
                let (_, id) = &open[rng.usize(..open.len())];
                world.stream.split(id, world.now);
            }
        }
        (8, _) => {
            let open = world.stream.open_shards();
            if open.len() > 1 {
                let at = rng.usize(..open.len() - 1);
                world.stream.merge(&open[at].1, &open[at + 1].1, world.now);
            }
        }
        (9 | 10, _) => expire(world),
        _ => {}
    }
}

/// Takes the shards that all have done with out of the list.
fn expire(world: &mut World) {
    let ended: BTreeSet<String> =
        world.table.values().filter(|r| r.checkpoint == Checkpoint::ShardEnd).map(|r| r.key.clone()).collect();
    for (id, shard) in &mut world.stream.shards {
        let old = shard.closed_at.is_some_and(|at| at + EXPIRY_MS < world.now);
        shard.expired |= old && ended.contains(id);
    }
}

fn came_to_rest(world: &mut World, start: Start) {
    for (id, shard) in &world.stream.shards {
        let row = world.table.get(id);
        if shard.closed_at.is_some() {
            let unread = start == Start::Latest && row.is_none() && shard.settled == 0;
            let ended = row.is_some_and(|row| row.checkpoint == Checkpoint::ShardEnd);
            assert!(unread || ended || world.deleted.contains(id), "{id} is closed, and not read to its end: {row:?}");
        } else {
            assert!(row.is_some(), "{id} is open, and has no lease");
            assert!(shard.settled + 20 > shard.records(world.now), "{id} is open, and not being read: {row:?}");
        }
    }
    assert_eq!(world.idle(), 0, "leases that nobody reads");
    let loads = world.loads();
    let (least, most) = (loads.iter().min().unwrap(), loads.iter().max().unwrap());
    assert!(most - least <= 1, "loads at rest: {loads:?}");
    world.measure();
    world.run_until(world.now + 120_000);
    assert_eq!(world.measure().starts, 0, "leases go back and forth at rest");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, max_shrink_iters: 0, ..ProptestConfig::default() })]

    #[test]
    fn no_seed_breaks_a_promise(seed in any::<u64>()) {
        live_through(seed, Start::TrimHorizon);
    }

    #[test]
    fn no_seed_breaks_a_promise_from_latest_on(seed in any::<u64>()) {
        live_through(seed, Start::Latest);
    }

    #[test]
    fn no_seed_breaks_a_promise_from_a_moment_on(seed in any::<u64>()) {
        live_through(seed, Start::AtTimestamp(Timestamp::from_millis(60_000)));
    }
}

#[test]
fn what_exceeds_leases_max_stays_unowned_and_is_said() {
    let mut world = World::new(10, Start::TrimHorizon, Faults::none(), 3);
    world.options.leases_max = 3;
    world.birth();
    world.birth();
    world.run_until(120_000);
    assert_eq!((world.loads(), world.idle()), (vec![3, 3], 4));
    assert!(world.nodes.iter().all(|node| node.worker.unread() == 4 && node.worker.held().count() == 3));
}

#[test]
fn the_same_seed_gives_the_same_outputs() {
    let run = |seed| {
        let mut world = World::new(20, Start::TrimHorizon, Faults { lost: 0.1, ..Faults::none() }, seed);
        for _ in 0..5 {
            world.birth();
        }
        world.run_until(100_000);
        (world.table.clone(), world.measure().writes)
    };
    assert_eq!(run(5), run(5));
    assert_ne!(run(5), run(6));
}

#[test]
fn the_last_checkpoint_goes_with_the_release() {
    let mut world = World::new(4, Start::TrimHorizon, Faults { settle_every: Some(500..501), ..Faults::none() }, 3);
    let id = world.birth();
    world.run_until(30_000);
    world.shut_down(id);
    world.run_until(40_000);
    assert!(world.alive().is_empty());
    for row in world.table.values() {
        assert_eq!(row.owner, None);
        let Checkpoint::At(place) = &row.checkpoint else { panic!("{row:?}") };
        assert_eq!(place.sequence, world.stream.shards[&row.key].settled.to_string());
    }
}
