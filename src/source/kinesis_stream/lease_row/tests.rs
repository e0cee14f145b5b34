//! Rows in the shape the KCL gives them. They are written out by hand from its serializer: no Java is run here.

use expect_test::expect;
use proptest::collection::btree_set;
use proptest::option;
use proptest::prelude::*;

use super::*;
use crate::model::Place;

fn s(text: &str) -> AttributeValue {
    AttributeValue::S(text.to_owned())
}

fn n(text: &str) -> AttributeValue {
    AttributeValue::N(text.to_owned())
}

fn row(attributes: &[(&str, AttributeValue)]) -> Row {
    attributes.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
}

/// What `DynamoDBLeaseSerializer.toDynamoRecord` of KCL 3.5 writes of a lease with everything it can have.
fn full_row() -> Row {
    row(&[
        ("leaseKey", s("shardId-000000000002")),
        ("leaseOwner", s("worker-2")),
        ("leaseCounter", n("42")),
        ("ownerSwitchesSinceCheckpoint", n("1")),
        ("checkpoint", s("49590338271490256608559692538361571095921575989136588898")),
        ("checkpointSubSequenceNumber", n("3")),
        ("parentShardId", AttributeValue::Ss(vec!["shardId-000000000001".into(), "shardId-000000000000".into()])),
        ("childShardIds", AttributeValue::Ss(vec!["shardId-000000000003".into()])),
        ("pendingCheckpoint", s("49590338271490256608559692538361571095921575989136588999")),
        ("pendingCheckpointSubSequenceNumber", n("0")),
        ("pendingCheckpointState", n("3")),
        ("startingHashKey", s("0")),
        ("endingHashKey", s("340282366920938463463374607431768211455")),
        ("throughputKBps", n("12.5")),
        ("checkpointOwner", s("worker-1")),
        ("entityType", s("LEASE")),
    ])
}

#[test]
fn a_lease_of_the_kcl_is_read_whole() {
    let lease = read(&full_row()).unwrap().unwrap();
    let expected = Lease {
        key: "shardId-000000000002".into(),
        owner: Some("worker-2".into()),
        counter: 42,
        checkpoint: Checkpoint::At(Place {
            sequence: "49590338271490256608559692538361571095921575989136588898".into(),
            sub_sequence: 3,
        }),
        owner_switches: 1,
        checkpoint_owner: Some("worker-1".into()),
        parents: ["shardId-000000000000".to_owned(), "shardId-000000000001".to_owned()].into(),
        children: ["shardId-000000000003".to_owned()].into(),
        range: HashKeyRange::divide(1).next(),
        starts_at: None,
    };
    assert_eq!(lease, expected);
}

#[test]
fn a_fresh_lease_of_the_kcl_and_one_of_an_old_version() {
    let fresh = row(&[
        ("leaseKey", s("shardId-000000000000")),
        ("leaseCounter", n("0")),
        ("ownerSwitchesSinceCheckpoint", n("0")),
        ("checkpoint", s("TRIM_HORIZON")),
        ("checkpointSubSequenceNumber", n("0")),
    ]);
    let expected = Lease::new("shardId-000000000000", Checkpoint::TrimHorizon);
    assert_eq!(read(&fresh).unwrap(), Some(expected.clone()));
    assert_eq!(written(&expected), fresh, "and a fresh lease of ours is the same row");
    // Before sub-sequence numbers and the count of switches there were neither.
    let old =
        row(&[("leaseKey", s("shardId-000000000000")), ("leaseCounter", n("0")), ("checkpoint", s("TRIM_HORIZON"))]);
    assert_eq!(read(&old).unwrap(), Some(expected));
}

#[test]
fn what_is_no_lease_is_passed_over() {
    for other in ["STREAM", "LEADER", "CLIENT_VERSION_MIGRATION", "TABLE_MIGRATION", "WORKER_METRIC_STATS", "NEWER"] {
        let mut row = full_row();
        row.insert(ENTITY_TYPE.into(), s(other));
        assert_eq!(read(&row).unwrap(), None, "{other}");
    }
    assert_eq!(read(&row(&[("leaseKey", s("Leader")), ("ownerName", s("worker-1"))])).unwrap(), None);
}

#[test]
fn a_row_that_cannot_be_is_told_by_key_and_attribute() {
    let faults = [
        (CHECKPOINT, s("EARLIEST")),
        (CHECKPOINT, n("1")),
        (COUNTER, n("-1")),
        (COUNTER, s("1")),
        (CHECKPOINT_SUB_SEQUENCE, n("1.5")),
        (PARENTS, s("shardId-000000000001")),
        (STARTING_HASH_KEY, s("0x00")),
        (OWNER, n("1")),
        (STARTS_AT, s("now")),
    ]
    .map(|(name, value)| {
        let mut row = full_row();
        row.insert(name.into(), value);
        format!("{}\n", read(&row).unwrap_err())
    });
    let missing = [COUNTER, CHECKPOINT].map(|name| {
        let mut row = full_row();
        row.remove(name);
        format!("{}\n", read(&row).unwrap_err())
    });
    expect![[r#"
        the attribute checkpoint of its row "shardId-000000000002" is neither a sequence number nor one of the KCL's words; correct it
        the attribute checkpoint of its row "shardId-000000000002" is no string; correct it
        the attribute leaseCounter of its row "shardId-000000000002" is no whole number of the range it has; correct it
        the attribute leaseCounter of its row "shardId-000000000002" is no whole number of the range it has; correct it
        the attribute checkpointSubSequenceNumber of its row "shardId-000000000002" is no whole number of the range it has; correct it
        the attribute parentShardId of its row "shardId-000000000002" is no set of strings; correct it
        the attribute startingHashKey of its row "shardId-000000000002" is no decimal of 128 bits; correct it
        the attribute leaseOwner of its row "shardId-000000000002" is no string; correct it
        the attribute meshgateStartsAt of its row "shardId-000000000002" is no whole number of the range it has; correct it
        the attribute leaseCounter of its row "shardId-000000000002" is missing; correct it
        the attribute checkpoint of its row "shardId-000000000002" is missing; correct it
    "#]].assert_eq(&[faults.concat(), missing.concat()].concat());
}

#[test]
fn a_checkpoint_removes_the_kcl_s_pending_one_and_touches_nothing_else() {
    let before = read(&full_row()).unwrap().unwrap();
    let after = Lease { checkpoint: Checkpoint::ShardEnd, counter: 43, owner_switches: 0, ..before.clone() };
    let expected = [
        (CHECKPOINT, Some(s("SHARD_END"))),
        (CHECKPOINT_SUB_SEQUENCE, Some(n("0"))),
        (COUNTER, Some(n("43"))),
        (OWNER_SWITCHES, Some(n("0"))),
        ("pendingCheckpoint", None),
        ("pendingCheckpointState", None),
        ("pendingCheckpointSubSequenceNumber", None),
    ]
    .map(|(name, value)| (name.to_owned(), value));
    assert_eq!(changes(&before, &after), expected);
    let renewed = Lease { counter: 43, ..before.clone() };
    assert_eq!(changes(&before, &renewed), [(COUNTER.to_owned(), Some(n("43")))]);
}

fn leases() -> impl Strategy<Value = Lease> {
    let checkpoint = prop_oneof![
        Just(Checkpoint::TrimHorizon),
        Just(Checkpoint::Latest),
        Just(Checkpoint::AtTimestamp),
        Just(Checkpoint::ShardEnd),
        ("(0|[1-9][0-9]{0,128})", any::<u64>())
            .prop_map(|(sequence, sub_sequence)| Checkpoint::At(Place { sequence, sub_sequence })),
    ];
    let names = || btree_set("shardId-[0-9]{1,3}", 0..3);
    let range = option::of(
        (any::<u128>(), any::<u128>())
            .prop_map(|(one, other)| HashKeyRange { start: HashKey(one.min(other)), end: HashKey(one.max(other)) }),
    );
    let holders = (option::of(".{0,4}"), any::<u64>(), any::<u64>(), option::of(".{0,4}"));
    let family = (names(), names(), range, option::of(any::<i64>().prop_map(Timestamp::from_millis)));
    ("shardId-[0-9]{1,3}", checkpoint, holders, family).prop_map(
        |(
            key,
            checkpoint,
            (owner, counter, owner_switches, checkpoint_owner),
            (parents, children, range, starts_at),
        )| {
            Lease {
                key,
                owner,
                counter,
                checkpoint,
                owner_switches,
                checkpoint_owner,
                parents,
                children,
                range,
                starts_at,
            }
        },
    )
}

proptest! {
    #[test]
    fn a_lease_is_read_as_it_was_written(lease in leases()) {
        prop_assert_eq!(read(&written(&lease)).unwrap(), Some(lease));
    }

    /// The row after an update is the row of what was meant, with what only others know left as it was.
    #[test]
    fn changes_make_one_row_into_the_other(before in leases(), after in leases()) {
        let after = Lease { key: before.key.clone(), ..after };
        let mut row = written(&before);
        row.insert("throughputKBps".into(), n("12.5"));
        for (name, value) in changes(&before, &after) {
            match value {
                Some(value) => row.insert(name, value),
                None => row.remove(&name),
            };
        }
        let mut expected = written(&after);
        expected.insert("throughputKBps".into(), n("12.5"));
        prop_assert_eq!(row, expected);
    }
}
