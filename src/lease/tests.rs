//! One worker, told step by step. Whole fleets are in `tests/leases`.

use super::*;
use crate::model::ChildShard;

const FAILOVER: u64 = 10_000;
const HANDOVER: u64 = 30_000;

fn place(sequence: &str) -> Place {
    Place { sequence: sequence.into(), sub_sequence: 0 }
}

fn whole() -> HashKeyRange {
    HashKeyRange::divide(1).next().unwrap()
}

/// A worker that is done with what it has to do now, and what that was.
fn polled(worker: &mut Worker, now: u64) -> Vec<Output> {
    std::iter::from_fn(|| worker.poll(now)).collect()
}

fn swap(outputs: &[Output]) -> Swap {
    let swaps: Vec<_> = outputs.iter().filter(|output| matches!(output, Output::Swap(_))).collect();
    let [Output::Swap(swap)] = swaps.as_slice() else { panic!("one write was expected: {outputs:?}") };
    swap.clone()
}

fn after(swap: &Swap) -> Lease {
    let Swap::Update { after, .. } = swap else { panic!("an update was expected: {swap:?}") };
    (**after).clone()
}

fn answer(worker: &mut Worker, key: &str, result: Result<Swapped, ()>, now: u64) -> Vec<Output> {
    worker.handle(Input::Swapped { key: key.into(), result }, now);
    polled(worker, now)
}

fn refused(row: &Lease) -> Result<Swapped, ()> {
    Ok(Swapped::Refused(Some(Box::new(row.clone()))))
}

fn worker() -> Worker {
    let options = WorkerOptions {
        id: "me".into(),
        failover_ms: FAILOVER,
        handover_ms: HANDOVER,
        sync_every_ms: 60_000,
        leases_max: 10,
        start: Start::TrimHorizon,
        seed: 1,
    };
    Worker::new(options, 0)
}

/// A worker that reads shard `a` since 0, and its row.
fn reading() -> (Worker, Lease) {
    let mut worker = worker();
    assert_eq!(polled(&mut worker, 0), [Output::List]);
    let free = Lease { range: Some(whole()), ..Lease::new("a", Checkpoint::TrimHorizon) };
    worker.handle(Input::Listed(Ok(vec![free])), 0);
    let row = after(&swap(&polled(&mut worker, 0)));
    assert_eq!((row.owner.as_deref(), row.counter), (Some("me"), 1));
    assert!(answer(&mut worker, "a", Ok(Swapped::Done), 0).contains(&Output::Start(row.clone())));
    (worker, row)
}

/// The renewal that comes next, and when.
fn renewal(worker: &mut Worker) -> (u64, Lease) {
    for now in 1..FAILOVER {
        let outputs = polled(worker, now);
        if outputs.iter().any(|output| matches!(output, Output::Swap(_))) {
            return (now, after(&swap(&outputs)));
        }
    }
    panic!("no renewal before the lease is lost")
}

#[test]
fn a_renewal_takes_the_newest_checkpoint_with_it() {
    let (mut worker, row) = reading();
    for at in ["7", "12", "9"] {
        worker.handle(Input::Settled { key: "a".into(), place: place(at) }, 1);
    }
    let (now, next) = renewal(&mut worker);
    assert!(now <= FAILOVER / 3);
    assert_eq!(next, Lease { counter: 2, checkpoint: Checkpoint::At(place("12")), ..row });
}

#[test]
fn a_write_whose_answer_was_lost_is_adopted() {
    let (mut worker, _) = reading();
    let (now, written) = renewal(&mut worker);
    assert_eq!(answer(&mut worker, "a", Err(()), now), []);
    let again = after(&swap(&polled(&mut worker, now + 1_000)));
    assert_eq!(again.counter, 2, "as if it had not happened");
    let next = after(&swap(&answer(&mut worker, "a", refused(&written), now + 1_001)));
    assert_eq!(next.counter, 3, "it had");
    assert_eq!(worker.held().count(), 1);
}

#[test]
fn another_owner_or_silence_for_failover_means_lost() {
    let lost = Output::Stop { key: "a".into(), why: StopReason::Lost };
    let (mut worker, row) = reading();
    let (now, _) = renewal(&mut worker);
    let other = Lease { owner: Some("other".into()), counter: 9, ..row };
    assert!(answer(&mut worker, "a", refused(&other), now).contains(&lost));

    let (mut worker, _) = reading();
    let (now, _) = renewal(&mut worker);
    assert!(!polled(&mut worker, FAILOVER - 1).contains(&lost));
    assert!(worker.wake_at().unwrap() <= FAILOVER);
    assert!(polled(&mut worker, FAILOVER).contains(&lost), "the write of {now} was never answered");
    assert_eq!(worker.held().count(), 0);
}

#[test]
fn a_hand_over_ends_with_the_last_checkpoint_in_one_write() {
    let (mut worker, row) = reading();
    let (now, _) = renewal(&mut worker);
    let asked = Lease { owner: Some("next".into()), checkpoint_owner: Some("me".into()), owner_switches: 1, ..row };
    let outputs = answer(&mut worker, "a", refused(&asked), now);
    assert!(outputs.contains(&Output::Stop { key: "a".into(), why: StopReason::HandOver }));
    worker.handle(Input::Settled { key: "a".into(), place: place("5") }, now + 1);
    worker.handle(Input::Stopped { key: "a".into() }, now + 1);
    let last = swap(&polled(&mut worker, now + 1));
    assert!(last.applies_to(Some(&asked)));
    let passed_on = Lease {
        checkpoint_owner: None,
        counter: 2,
        checkpoint: Checkpoint::At(place("5")),
        owner_switches: 0,
        ..asked
    };
    assert_eq!(after(&last), passed_on);
    answer(&mut worker, "a", Ok(Swapped::Done), now + 2);
    assert_eq!(worker.held().count(), 0);
}

#[test]
fn who_does_not_drain_in_time_drops_the_lease() {
    let (mut worker, row) = reading();
    let (now, _) = renewal(&mut worker);
    let asked = Lease { owner: Some("next".into()), checkpoint_owner: Some("me".into()), ..row };
    answer(&mut worker, "a", refused(&asked), now);
    let lost = Output::Stop { key: "a".into(), why: StopReason::Lost };
    assert!(!polled(&mut worker, HANDOVER - 1).contains(&lost));
    assert!(polled(&mut worker, HANDOVER).contains(&lost));
}

#[test]
fn children_have_leases_before_their_parent_has_ended() {
    let (mut worker, _) = reading();
    let halves: Vec<_> = HashKeyRange::divide(2).collect();
    let child = |id: &str, at: usize| ChildShard { id: id.into(), parents: vec!["a".into()], range: halves[at] };
    worker.handle(Input::Settled { key: "a".into(), place: place("5") }, 1);
    worker.handle(Input::Ended { key: "a".into(), children: vec![child("b", 0), child("c", 1)] }, 1);
    let outputs = polled(&mut worker, 1);
    let made: Vec<&str> = outputs
        .iter()
        .filter_map(|output| match output {
            Output::Swap(Swap::Create(lease)) => Some(lease.key.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!(made, ["b", "c"]);
    answer(&mut worker, "b", Ok(Swapped::Done), 2);
    answer(&mut worker, "c", Err(()), 2);
    // The answer was lost: it is made again, found made, and only then has `a` ended.
    let again = swap(&polled(&mut worker, 1_002));
    let Swap::Create(made) = &again else { panic!("{again:?}") };
    let end = after(&swap(&answer(&mut worker, "c", refused(made), 1_003)));
    assert_eq!((end.checkpoint, end.owner), (Checkpoint::ShardEnd, None));
    assert_eq!(end.children, ["b".into(), "c".into()].into());
    let outputs = answer(&mut worker, "a", Ok(Swapped::Done), 1_004);
    let claimed = outputs.iter().filter(|output| matches!(output, Output::Swap(Swap::Update { .. }))).count();
    assert_eq!(claimed, 2, "whoever ended it has them: {outputs:?}");
}

#[test]
fn a_release_has_the_last_checkpoint_and_is_repeated_until_it_is_known() {
    let (mut worker, row) = reading();
    worker.handle(Input::Shutdown, 1);
    assert_eq!(polled(&mut worker, 1), [Output::Stop { key: "a".into(), why: StopReason::Shutdown }]);
    worker.handle(Input::Settled { key: "a".into(), place: place("5") }, 2);
    worker.handle(Input::Stopped { key: "a".into() }, 2);
    let released = after(&swap(&polled(&mut worker, 2)));
    assert_eq!(released, Lease { owner: None, counter: 2, checkpoint: Checkpoint::At(place("5")), ..row });
    answer(&mut worker, "a", Err(()), 3);
    assert!(!worker.is_done());
    assert_eq!(after(&swap(&polled(&mut worker, 1_003))), released);
    answer(&mut worker, "a", refused(&released), 1_004);
    assert!(worker.is_done());
}
