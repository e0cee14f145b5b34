use proptest::prelude::*;

use super::*;
use crate::contract::{RuleFiles, compile};
use crate::model::{Dimension, Judgement, Placement, Stamp, Trouble, Unsettled, Verdict};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(seconds * SECOND)
}

fn violation(rule: &str, kind: ViolationKind, message: &str) -> Violation {
    Violation {
        rule: rule.into(),
        kind,
        pointer: "/data/total".into(),
        dimension: Some(Dimension::Accuracy),
        severity: Severity::Error,
        mode: Mode::Enforce,
        message: message.into(),
    }
}

fn placement() -> Placement {
    Placement { shard_id: "shardId-000000000000".into(), sequence_number: "1".into() }
}

/// 0: forwarded, 1: quarantined, 2: dropped, 3: unsettled.
fn outcome(contract: &str, fate: u8, violations: Vec<Violation>) -> Outcome {
    let stamp = Stamp { domain: "shop".into(), contract: contract.into(), version: None, revision: "r1".into() };
    let (verdict, settlement) = match fate {
        0 => (Verdict::Forward, Settlement::Forwarded(placement())),
        1 => {
            let dead_letter = format!("letter-of-{contract}");
            (Verdict::Quarantine, Settlement::Quarantined { placement: placement(), dead_letter, refuse: false })
        }
        2 => (Verdict::Drop, Settlement::Dropped(placement())),
        _ => {
            let unsettled = Unsettled { trouble: Trouble::Unavailable, message: "away".into() };
            (Verdict::Forward, Settlement::Unsettled(unsettled))
        }
    };
    Outcome { judgement: Judgement { verdict, violations, stamp: Arc::new(stamp), refuse: false }, settlement }
}

fn observe(pulse: &mut Pulse, seconds: i64, outcomes: &[Outcome]) {
    pulse.observe(Batch::of(outcomes, &ContractSet::default(), at(seconds)));
}

fn bad(contract: &str, rule: &str) -> Outcome {
    outcome(contract, 1, vec![violation(rule, ViolationKind::Schema, "is required")])
}

#[test]
fn what_became_of_events_is_told_by_contract_and_time() {
    let mut pulse = Pulse::default();
    observe(&mut pulse, 0, &[outcome("placed", 0, vec![]), bad("placed", "schema"), outcome("paid", 2, vec![])]);
    observe(&mut pulse, 90, &[outcome("placed", 0, vec![]), outcome("placed", 3, vec![])]);
    let view = pulse.view(at(90));
    let [paid, placed] = &view.contracts[..] else { panic!("{view:?}") };
    assert_eq!((&*paid.contract, Counts::sum(&paid.minutes).dropped, paid.minute), ("paid", 1, Counts::default()));
    let hour = Counts::sum(&placed.minutes);
    assert_eq!((hour.forwarded, hour.quarantined, hour.unsettled), (2, 1, 1));
    assert_eq!((placed.minute.forwarded, placed.minute.settled(), placed.minute.unsettled), (1, 1, 1));
    assert_eq!((view.seconds[SECONDS - 1].forwarded, view.seconds[SECONDS - 1].unsettled), (1, 1));
    assert_eq!((view.violations[0].times, &*view.violations[0].rule), (1, "schema"));
    let view = pulse.view(at(2 * 3_600));
    assert!(view.violations.is_empty() && view.contracts.iter().all(|c| Counts::sum(&c.minutes) == Counts::default()));
    assert_eq!(view.refusals.len(), 1, "the last refusals stay, however old they are");
}

#[test]
fn what_is_unsettled_says_nothing_of_rules_yet() {
    let mut pulse = Pulse::default();
    observe(&mut pulse, 0, &[outcome("placed", 3, vec![violation("r", ViolationKind::Rule, "x")])]);
    let view = pulse.view(at(0));
    assert!(view.violations.is_empty() && view.refusals.is_empty());
}

#[test]
fn the_last_refusals_are_told_the_newest_first() {
    let mut pulse = Pulse::default();
    let storm: Vec<Outcome> = (0..200).map(|n| bad(&format!("c{n}"), "schema")).collect();
    observe(&mut pulse, 1, &storm[..120]);
    observe(&mut pulse, 2, &storm[120..]);
    let refusals = pulse.view(at(2)).refusals;
    assert_eq!(refusals.len(), REFUSALS_MAX);
    assert_eq!((&*refusals[0].contract, &*refusals[49].letter), ("c199", "letter-of-c150"));
    let many = (0..9).map(|n| violation(&format!("r{n}"), ViolationKind::Field, "is wrong")).collect();
    observe(&mut pulse, 3, &[outcome("placed", 1, many)]);
    let first = &pulse.view(at(3)).refusals[0];
    assert_eq!((first.reasons.len(), first.more), (REASONS_MAX, 4));
}

const DOMAIN: &str = "apiVersion: meshgate/v1\nkind: Domain\nmetadata: {name: shop, owner: {team: shop}}\n";

const CONTRACT: &str = "apiVersion: meshgate/v1
kind: EventContract
metadata: {name: placed, domain: shop, version: 1.0.0, status: active}
match: {stream: orders}
rules:
  - {id: told, expression: this.total > 0, message: the total is not positive, messageExpression: '\"total is \" + string(this.total)'}
  - {id: untold, expression: this.total > 1, messageExpression: '\"total is \" + string(this.total)'}
  - {id: fixed, expression: this.total > 2, message: must be more than 2}
";

#[test]
fn no_value_of_an_event_is_told() {
    let files = RuleFiles::from([
        ("shop/domain.yaml".to_owned(), DOMAIN.into()),
        ("shop/placed.yaml".to_owned(), CONTRACT.into()),
    ]);
    let compiled = compile(&files, "r1");
    assert!(compiled.is_good(), "{:?}", compiled.diagnostics);
    let rule = |id, message| violation(id, ViolationKind::Rule, message);
    let reasons = vec![
        rule("told", "total is -31337"),
        rule("untold", "total is -31337"),
        rule("fixed", "must be more than 2"),
        rule("gone", "total is -31337"),
        violation(
            "too_large",
            ViolationKind::TooLarge,
            &format!("{}: key -31337", crate::gate::judge::REFUSED_BY_STREAM),
        ),
    ];
    let refused = [outcome("placed", 1, reasons)];
    let mut pulse = Pulse::default();
    pulse.observe(Batch::of(&refused, &compiled.set, at(0)));
    let view = pulse.view(at(0));
    let told: Vec<&str> = view.refusals[0].reasons.iter().map(|reason| &*reason.message).collect();
    let expected = [
        "the total is not positive",
        "untold does not hold",
        "must be more than 2",
        "gone does not hold",
        crate::gate::judge::REFUSED_BY_STREAM,
    ];
    assert_eq!(told, expected);
    assert!(!format!("{view:?}").contains("31337"));
}

#[test]
fn what_is_told_has_a_length() {
    let long = Violation { pointer: "/x".repeat(9_000), ..violation("r", ViolationKind::Field, &"é".repeat(9_000)) };
    let mut pulse = Pulse::default();
    observe(&mut pulse, 0, &[outcome("placed", 1, vec![long])]);
    let reason = &pulse.view(at(0)).refusals[0].reasons[0];
    assert_eq!(reason.message.chars().count(), MESSAGE_CHARS_MAX + 1);
    assert_eq!(reason.pointer.chars().count(), POINTER_CHARS_MAX + 1);
}

#[test]
fn contracts_beyond_the_bound_are_counted_together_until_there_is_room() {
    let mut pulse = Pulse::default();
    for contract in 0..CONTRACTS_MAX + 5 {
        observe(&mut pulse, 10, &[bad(&format!("c{contract}"), "schema")]);
    }
    let view = pulse.view(at(10));
    assert_eq!(view.contracts.len(), CONTRACTS_MAX + 1);
    let others = view.contracts.last().unwrap();
    assert_eq!((&*others.contract, others.minute.quarantined), (OTHERS, 5));
    let total: u32 = view.violations.iter().map(|violation| violation.times).sum();
    assert_eq!(total as usize, CONTRACTS_MAX + 5);
    observe(&mut pulse, 7_200, &[bad("new", "schema")]);
    let names: Vec<_> = pulse.view(at(7_200)).contracts.iter().map(|c| c.contract.to_string()).collect();
    assert_eq!(names, ["new", OTHERS], "an hour of silence makes room");
}

#[test]
fn rules_beyond_the_bound_are_counted_together() {
    let mut pulse = Pulse::default();
    let all: Vec<Outcome> = (0..RULES_MAX + 7).map(|rule| bad("placed", &format!("r{rule}"))).collect();
    observe(&mut pulse, 0, &all);
    let view = pulse.view(at(0));
    assert_eq!(view.violations.len(), RULES_MAX + 1);
    let others = view.violations.last().unwrap();
    assert_eq!((&*others.rule, others.times, others.told.is_none()), (OTHERS, 7, true));
    observe(&mut pulse, 4_000, &all[..1]);
    observe(&mut pulse, 4_000, &all[RULES_MAX..]);
    assert_eq!(pulse.view(at(4_000)).violations.len(), 8, "rules that were not violated for an hour make room");
}

/// What is kept for as many contracts and rules as there may be.
#[test]
fn it_has_a_size() {
    let of = size_of::<Of>() + RULES_MAX * size_of::<OfRule>();
    let refusals = REFUSALS_MAX * REASONS_MAX * (4 * (MESSAGE_CHARS_MAX + POINTER_CHARS_MAX) + size_of::<Reason>());
    let (each, all) = (size_of::<Of>(), (CONTRACTS_MAX + 1) * of + refusals);
    assert!(each <= 1_400, "{each} bytes of a contract without violations");
    assert!(all <= 8 << 20, "{all} bytes at most");
}

proptest! {
    /// Whatever comes in whatever order of time: nothing panics, bounds hold, and what was counted at one time is told.
    #[test]
    fn counts_add_up(steps in prop::collection::vec((-7_200_i64..7_200, prop::collection::vec((0_u8..4, 0_u8..4), 0..20)), 1..40)) {
        let (mut pulse, mut now) = (Pulse::default(), 1_000_000);
        for (step, events) in steps {
            now += step;
            let before = pulse.view(at(now));
            let outcomes: Vec<Outcome> = events.iter().map(|(contract, fate)| {
                let found = if *fate == 1 { vec![violation("r", ViolationKind::Rule, "x")] } else { vec![] };
                outcome(&format!("c{contract}"), *fate, found)
            }).collect();
            observe(&mut pulse, now, &outcomes);
            let after = pulse.view(at(now));
            prop_assert!(after.refusals.len() <= REFUSALS_MAX && after.contracts.len() <= 4);
            let hour = |view: &View| {
                let all: Vec<Counts> = view.contracts.iter().flat_map(|contract| contract.minutes).collect();
                Counts::sum(&all)
            };
            let sum = hour(&after);
            // The present slot is kept; what a clock put back takes away is at most all of before.
            let fates = |wanted: u8| events.iter().filter(|(_, fate)| *fate == wanted).count() as u32;
            prop_assert!(sum.forwarded >= fates(0) && sum.quarantined >= fates(1));
            prop_assert!(sum.dropped >= fates(2) && sum.unsettled >= fates(3));
            let told: u32 = after.violations.iter().map(|violation| violation.times).sum();
            prop_assert!(told >= fates(1));
            if step >= 0 {
                prop_assert!(sum.settled() == hour(&before).settled() + fates(0) + fates(1) + fates(2));
            }
        }
    }

    /// On a clock that goes on, the minutes of all contracts are the sum of what was settled in them.
    #[test]
    fn an_hour_is_told_whole(events in prop::collection::vec((0_i64..3_540, 0_u8..4), 0..200)) {
        let mut events = events;
        events.sort();
        let mut pulse = Pulse::default();
        for (seconds, fate) in &events {
            observe(&mut pulse, *seconds, &[outcome("placed", *fate, vec![])]);
        }
        let view = pulse.view(at(3_540));
        let sum = view.contracts.first().map(|c| Counts::sum(&c.minutes)).unwrap_or_default();
        let fates = |wanted: u8| events.iter().filter(|(_, fate)| *fate == wanted).count() as u32;
        prop_assert_eq!([sum.forwarded, sum.quarantined, sum.dropped, sum.unsettled], [fates(0), fates(1), fates(2), fates(3)]);
    }
}
