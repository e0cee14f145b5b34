//! What every table of leases must do, whatever it keeps them in.

use meshgate::lease::{Checkpoint, Lease, Swap, Swapped};
use meshgate::model::{HashKeyRange, Place, Timestamp};
use meshgate::port::LeaseTable;

pub fn lease(key: &str) -> Lease {
    Lease::new(key, Checkpoint::TrimHorizon)
}

/// A lease with everything it can have.
pub fn full_lease(key: &str) -> Lease {
    Lease {
        owner: Some("gate-1".into()),
        counter: 41,
        checkpoint: Checkpoint::At(Place {
            sequence: "49590338271490256608559692538361571095921575989136588898".into(),
            sub_sequence: 3,
        }),
        owner_switches: 2,
        checkpoint_owner: Some("gate-0".into()),
        parents: ["shard-a".to_owned(), "shard-b".to_owned()].into(),
        children: ["shard-d".to_owned()].into(),
        range: HashKeyRange::divide(3).nth(2),
        starts_at: Some(Timestamp::from_millis(1_764_310_000_123)),
        ..lease(key)
    }
}

pub fn create(lease: &Lease) -> Swap {
    Swap::Create(Box::new(lease.clone()))
}

pub fn update(before: &Lease, after: &Lease) -> Swap {
    Swap::Update { before: Box::new(before.clone()), after: Box::new(after.clone()) }
}

pub fn delete(lease: &Lease) -> Swap {
    Swap::Delete(Box::new(lease.clone()))
}

pub fn refused(row: &Lease) -> Swapped {
    Swapped::Refused(Some(Box::new(row.clone())))
}

/// Runs the contract on a table without rows, and leaves it without rows.
pub async fn honours_the_contract(table: &dyn LeaseTable) {
    table.prepare().await.expect("made");
    table.prepare().await.expect("a table that is there is left as it is");
    assert_eq!(table.list().await, Ok(Vec::new()));
    creates_once(table).await;
    updates_what_stands_as_seen(table).await;
    keeps_what_others_wrote(table).await;
    deletes_what_stands_as_seen(table).await;
    lets_one_of_many_win(table).await;
    assert_eq!(table.list().await, Ok(Vec::new()));
}

async fn swap(table: &dyn LeaseTable, swap: Swap) -> Swapped {
    table.swap(&swap).await.expect("answered")
}

async fn creates_once(table: &dyn LeaseTable) {
    let (full, plain) = (full_lease("shard-c"), lease("shard-a"));
    assert_eq!(swap(table, create(&full)).await, Swapped::Done);
    assert_eq!(swap(table, create(&plain)).await, Swapped::Done);
    assert_eq!(table.list().await, Ok(vec![plain.clone(), full.clone()]), "read as written, in the order of keys");
    assert_eq!(swap(table, create(&lease("shard-c"))).await, refused(&full), "who comes second sees the row");
    assert_eq!(table.list().await, Ok(vec![plain.clone(), full.clone()]));
    assert_eq!(swap(table, delete(&full)).await, Swapped::Done);
    assert_eq!(swap(table, delete(&plain)).await, Swapped::Done);
}

async fn updates_what_stands_as_seen(table: &dyn LeaseTable) {
    let free = lease("shard-a");
    assert_eq!(swap(table, create(&free)).await, Swapped::Done);
    let taken = Lease { owner: Some("gate-1".into()), counter: 1, ..free.clone() };
    assert_eq!(swap(table, update(&free, &taken)).await, Swapped::Done);
    assert_eq!(swap(table, update(&free, &taken)).await, refused(&taken), "the second time it is not as seen");

    // Each of the three things that a condition looks at, with a value and without.
    let full = full_lease("shard-a");
    assert_eq!(swap(table, update(&taken, &full)).await, Swapped::Done);
    assert_eq!(table.list().await, Ok(vec![full.clone()]));
    for stale in [
        Lease { owner: Some("gate-2".into()), ..full.clone() },
        Lease { owner: None, ..full.clone() },
        Lease { counter: full.counter + 1, ..full.clone() },
        Lease { checkpoint_owner: Some("gate-2".into()), ..full.clone() },
        Lease { checkpoint_owner: None, ..full.clone() },
    ] {
        let after = Lease { counter: stale.counter + 1, ..stale.clone() };
        assert_eq!(swap(table, update(&stale, &after)).await, refused(&full), "{stale:?}");
    }
    let given_up = Lease { counter: full.counter + 1, ..lease("shard-a") };
    assert_eq!(swap(table, update(&full, &given_up)).await, Swapped::Done, "everything can be taken away");
    assert_eq!(table.list().await, Ok(vec![given_up.clone()]));
    for stale in [
        Lease { owner: Some("gate-1".into()), ..given_up.clone() },
        Lease { checkpoint_owner: Some("gate-1".into()), ..given_up.clone() },
    ] {
        assert_eq!(swap(table, update(&stale, &full)).await, refused(&given_up), "{stale:?}");
    }
    for checkpoint in [Checkpoint::Latest, Checkpoint::AtTimestamp, Checkpoint::ShardEnd, Checkpoint::TrimHorizon] {
        let after = Lease { checkpoint: checkpoint.clone(), ..given_up.clone() };
        let before = table.list().await.expect("answered").remove(0);
        assert_eq!(swap(table, update(&before, &after)).await, Swapped::Done);
        assert_eq!(table.list().await, Ok(vec![after]));
    }
    assert_eq!(swap(table, update(&given_up, &given_up)).await, Swapped::Done, "a look at whether it stands");
    assert_eq!(swap(table, update(&full, &full)).await, refused(&given_up));
    assert_eq!(swap(table, delete(&given_up)).await, Swapped::Done);
    assert_eq!(swap(table, update(&given_up, &full)).await, Swapped::Refused(None), "a row that is gone stays gone");
    assert_eq!(table.list().await, Ok(Vec::new()));
}

async fn keeps_what_others_wrote(table: &dyn LeaseTable) {
    let before = lease("shard-a");
    assert_eq!(swap(table, create(&before)).await, Swapped::Done);
    // As the KCL does it, without raising the counter.
    let with_children = Lease { children: ["shard-b".to_owned(), "shard-c".to_owned()].into(), ..before.clone() };
    assert_eq!(swap(table, update(&before, &with_children)).await, Swapped::Done);
    let renewed = Lease { counter: 1, ..before.clone() };
    assert_eq!(swap(table, update(&before, &renewed)).await, Swapped::Done);
    let row = Lease { counter: 1, ..with_children };
    assert_eq!(table.list().await, Ok(vec![row.clone()]));
    assert_eq!(swap(table, delete(&row)).await, Swapped::Done);
}

async fn deletes_what_stands_as_seen(table: &dyn LeaseTable) {
    let row = full_lease("shard-a");
    assert_eq!(swap(table, create(&row)).await, Swapped::Done);
    let stale = Lease { counter: row.counter - 1, ..row.clone() };
    assert_eq!(swap(table, delete(&stale)).await, refused(&row));
    assert_eq!(swap(table, delete(&row)).await, Swapped::Done);
    assert_eq!(swap(table, delete(&row)).await, Swapped::Refused(None));
}

/// Of writers that have seen the same row, one wins, and the others see its row.
async fn lets_one_of_many_win(table: &dyn LeaseTable) {
    let free = lease("shard-a");
    assert_eq!(swap(table, create(&free)).await, Swapped::Done);
    let taker = |name: &str| update(&free, &Lease { owner: Some(name.into()), counter: 1, ..free.clone() });
    let takers = ["a", "b", "c", "d"].map(taker);
    let (a, b, c, d) =
        tokio::join!(table.swap(&takers[0]), table.swap(&takers[1]), table.swap(&takers[2]), table.swap(&takers[3]));
    let answers = [a, b, c, d];
    let row = table.list().await.expect("answered").remove(0);
    let done = answers.iter().filter(|answer| **answer == Ok(Swapped::Done)).count();
    let others = answers.iter().filter(|answer| **answer == Ok(refused(&row))).count();
    assert_eq!((done, others), (1, 3), "{answers:?}");
    assert_eq!(swap(table, delete(&row)).await, Swapped::Done);
}
