use super::*;
use crate::decode::kpl::{Builder, RECORDS_MAX, UserRecord};
use crate::model::{Dimension, Placement, Severity, Timestamp, ViolationKind};

fn record(data: impl Into<bytes::Bytes>) -> Record {
    Record { partition_key: Some("outer".into()), ..Record::new(data, "s".into(), Timestamp::from_millis(7)) }
}

fn container(records: usize) -> Vec<u8> {
    let mut builder = Builder::default();
    for index in 0..records {
        let explicit_hash_key = (index == 1).then_some("5");
        builder.add(UserRecord { partition_key: "k", explicit_hash_key, data: b"{\"n\":1}" });
    }
    builder.build()
}

#[test]
fn a_container_becomes_its_records_without_a_copy() {
    let shard: Arc<str> = "shard-1".into();
    let position = Position::InShard { shard, sequence: "49".into(), sub_sequence: 0 };
    let given = Record { position, ..record(container(3)) };
    let bytes = given.data.as_ptr_range();
    let found = parts(given);
    assert_eq!(found.len(), 3);
    for (index, part) in found.iter().enumerate() {
        assert!(bytes.contains(&part.data.as_ptr()));
        assert_eq!(part.partition_key.as_deref(), Some("k"));
        assert_eq!(part.explicit_hash_key.as_deref(), (index == 1).then_some("5"));
        assert_eq!(part.position.to_string(), format!("shard-1/49/{index}"));
        assert_eq!(part.arrived, Timestamp::from_millis(7));
        let part_of = part.part_of.as_ref().unwrap();
        assert_eq!((part_of.index, part_of.container.parts), (index, 3));
        assert_eq!(part_of.container.partition_key.as_deref(), Some("outer"));
    }
}

#[test]
fn what_is_no_container_or_one_too_many_stays_as_it_is() {
    let mut nested = Builder::default();
    let inner = container(2);
    nested.add(UserRecord { partition_key: "k", explicit_hash_key: None, data: &inner });
    let mut broken = container(2);
    broken[9] ^= 1;
    for data in [b"{}".to_vec(), broken, container(0), container(RECORDS_MAX + 1)] {
        let found = parts(record(data.clone()));
        assert_eq!((found.len(), &found[0].data[..]), (1, &data[..]));
        assert!(found[0].part_of.is_none());
    }
    let part = parts(record(nested.build())).remove(0);
    let again = parts(part.clone());
    assert_eq!((again.len(), &again[0].data[..]), (1, &inner[..]), "one within another is left alone");
}

#[test]
fn portions_are_bounded_and_lose_nothing() {
    let records: Vec<Record> = (0..9).map(|n| if n % 3 == 1 { record(container(40)) } else { record("{}") }).collect();
    let (mut rest, mut sizes, mut portions) = (records.into_iter(), Vec::new(), Vec::new());
    while rest.len() > 0 {
        let (events, of) = next_portion(&mut rest, 50);
        assert_eq!(events.len(), of.iter().sum::<usize>());
        portions.push(events.len());
        sizes.extend(of);
    }
    assert_eq!(sizes, [1, 40, 1, 1, 40, 1, 1, 40, 1]);
    assert_eq!(portions, [83, 43]);
}

fn outcome(settlement: Settlement, verdict: Verdict, violations: usize) -> Outcome {
    let stamp = Stamp { domain: "d".into(), contract: verdict.as_str().into(), version: None, revision: "r".into() };
    let violation = |index| Violation {
        rule: format!("r{index}").into(),
        kind: ViolationKind::Rule,
        pointer: String::new(),
        dimension: Some(Dimension::Conformity),
        severity: Severity::Error,
        mode: Mode::Enforce,
        message: "no".into(),
    };
    let violations = (0..violations).map(violation).collect();
    Outcome { judgement: Judgement { verdict, violations, stamp: Arc::new(stamp), refuse: false }, settlement }
}

fn placed(number: &str) -> Placement {
    Placement { shard_id: "shard-1".into(), sequence_number: number.into() }
}

fn forwarded(number: &str) -> Outcome {
    outcome(Settlement::Forwarded(placed(number)), Verdict::Forward, 0)
}

fn quarantined(refuse: bool) -> Outcome {
    let settlement = Settlement::Quarantined { placement: placed("7"), dead_letter: "dl".into(), refuse };
    outcome(settlement, Verdict::Quarantine, 2)
}

fn unsettled() -> Outcome {
    let why = Unsettled { trouble: Trouble::Unavailable, message: "it is down".into() };
    outcome(Settlement::Unsettled(why), Verdict::Forward, 0)
}

#[test]
fn a_container_is_unsettled_refused_forwarded_quarantined_or_dropped() {
    let dropped = || outcome(Settlement::Dropped(placed("8")), Verdict::Drop, 0);
    let folded = fold(vec![dropped(), quarantined(false), forwarded("1"), forwarded("2")]);
    assert!(matches!(&folded.settlement, Settlement::Forwarded(placement) if placement.sequence_number == "1"));
    assert_eq!((folded.judgement.verdict, &*folded.judgement.stamp.contract), (Verdict::Forward, "forward"));
    let told: Vec<_> = folded.judgement.violations.iter().map(|violation| &*violation.message).collect();
    assert_eq!(told, ["record 1 of the container: no", "record 1 of the container: no"]);

    let folded = fold(vec![forwarded("1"), quarantined(true)]);
    assert!(matches!(folded.settlement, Settlement::Quarantined { refuse: true, .. }));
    let folded = fold(vec![dropped(), quarantined(false)]);
    assert!(matches!(folded.settlement, Settlement::Quarantined { refuse: false, .. }));
    assert!(matches!(fold(vec![dropped(), dropped()]).settlement, Settlement::Dropped(_)));

    let folded = fold(vec![forwarded("1"), quarantined(true), unsettled()]);
    let Settlement::Unsettled(Unsettled { trouble: Trouble::Unavailable, message }) = folded.settlement else {
        panic!("{:?}", folded.settlement);
    };
    assert!(message.starts_with("1 of the 3 records of this container were not settled: it is down"), "{message}");
}

#[test]
fn what_is_told_of_a_container_is_bounded_and_decides_first() {
    let mut warning = outcome(Settlement::Forwarded(placed("1")), Verdict::Forward, 60);
    warning.judgement.violations.iter_mut().for_each(|violation| violation.severity = Severity::Warning);
    let folded = fold(vec![warning.clone(), warning, quarantined(false)]);
    assert_eq!(folded.judgement.violations.len(), VIOLATIONS_MAX);
    assert_eq!(folded.judgement.violations[0].message, "record 2 of the container: no");
}
