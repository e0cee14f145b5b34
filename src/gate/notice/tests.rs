use std::sync::Arc;

use expect_test::expect;
use proptest::prelude::*;

use super::text::{self, About};
use super::*;
use crate::contract::Owner;
use crate::model::{Dimension, Mode, Severity, Stamp, Violation};

const TERMS: Terms = Terms { share: Some(0.1), per_minute: Some(50), quiet_ms: 600_000, every_ms: 300_000 };

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(seconds * 1_000)
}

fn judgement(domain: &str, rule: Option<&str>) -> Judgement {
    let violation = |rule: &str| Violation {
        rule: rule.into(),
        kind: ViolationKind::Rule,
        pointer: String::new(),
        dimension: Some(Dimension::Accuracy),
        severity: Severity::Error,
        mode: Mode::Enforce,
        message: "ann@example.com is wrong".into(),
    };
    let stamp = Stamp { domain: domain.into(), contract: "placed".into(), version: None, revision: "r1".into() };
    Judgement {
        verdict: if rule.is_some() { Verdict::Quarantine } else { Verdict::Forward },
        violations: rule.map(violation).into_iter().collect(),
        stamp: Arc::new(stamp),
        refuse: false,
    }
}

fn batch(watch: &mut Watch, seconds: i64, good: usize, bad: usize) {
    let all: Vec<_> = (0..good + bad).map(|i| judgement("orders", (i < bad).then_some("total_adds_up"))).collect();
    watch.observe(all.iter(), at(seconds));
}

/// The notices due then, each as its event and what was quarantined.
fn due(watch: &mut Watch, seconds: i64) -> Vec<(Event, u64)> {
    watch.due(at(seconds)).iter().map(|notice| (notice.event, notice.quarantined)).collect()
}

#[test]
fn a_quarantine_is_told_when_it_starts_and_when_nothing_came_for_a_while() {
    let mut watch = Watch::new(TERMS);
    batch(&mut watch, 0, 100, 0);
    assert_eq!(due(&mut watch, 5), []);
    batch(&mut watch, 10, 100, 1);
    assert_eq!(due(&mut watch, 15), [(Event::Started, 1)]);
    batch(&mut watch, 20, 100, 2);
    for seconds in (20..620).step_by(10) {
        assert_eq!(due(&mut watch, seconds), [], "at {seconds}");
    }
    batch(&mut watch, 619, 7, 0);
    assert_eq!(due(&mut watch, 620), [(Event::Ended, 3)]);
    assert_eq!(due(&mut watch, 10_000), []);
    assert!(watch.domains.is_empty(), "what says nothing any more is forgotten");
}

#[test]
fn a_rate_is_exceeded_again_only_after_it_fell_below_half() {
    let mut watch = Watch::new(Terms { share: None, every_ms: 0, ..TERMS });
    batch(&mut watch, 0, 0, 50);
    assert_eq!(due(&mut watch, 1), [(Event::Started, 50)], "50 are not more than 50");
    batch(&mut watch, 2, 0, 1);
    assert_eq!(due(&mut watch, 3), [(Event::Exceeded, 51)]);
    batch(&mut watch, 100, 0, 25);
    assert_eq!(due(&mut watch, 101), []);
    batch(&mut watch, 102, 0, 26);
    assert_eq!(due(&mut watch, 103), [], "25 were not less than half");
    batch(&mut watch, 200, 0, 24);
    assert_eq!(due(&mut watch, 201), []);
    batch(&mut watch, 202, 0, 27);
    assert_eq!(due(&mut watch, 203), [(Event::Exceeded, 153)]);
    let last = watch.due(at(900)).remove(0);
    assert_eq!((last.event, last.peak_per_minute), (Event::Ended, 51));
}

#[test]
fn a_share_is_told_of_enough_events_only() {
    let mut watch = Watch::new(Terms { per_minute: None, ..TERMS });
    batch(&mut watch, 0, 16, 3);
    assert_eq!(due(&mut watch, 1), [(Event::Started, 3)]);
    let mut watch = Watch::new(Terms { per_minute: None, ..TERMS });
    batch(&mut watch, 0, 17, 3);
    assert_eq!(due(&mut watch, 1), [(Event::Exceeded, 3)], "what exceeds at once begins so");
    let mut watch = Watch::new(Terms { share: None, per_minute: None, ..TERMS });
    batch(&mut watch, 0, 0, 1_000_000);
    assert_eq!(due(&mut watch, 1), [(Event::Started, 1_000_000)], "no rate is asked for");
}

#[test]
fn what_is_held_back_is_summed_up() {
    let terms = Terms { share: None, quiet_ms: 60_000, ..TERMS };
    let mut watch = Watch::new(terms);
    batch(&mut watch, 0, 0, 1);
    assert_eq!(due(&mut watch, 1), [(Event::Started, 1)]);
    batch(&mut watch, 30, 0, 60);
    for seconds in [31, 80, 200] {
        assert_eq!(due(&mut watch, seconds), [], "at {seconds}: at most one in five minutes");
    }
    let sums = watch.due(at(301)).remove(0);
    assert_eq!((sums.event, sums.quarantined, sums.peak_per_minute), (Event::Ended, 61, 61));
    // A quarantine that comes and goes while nothing may be told, and another one after it, are told as one.
    batch(&mut watch, 310, 0, 2);
    assert_eq!(due(&mut watch, 400), []);
    batch(&mut watch, 410, 0, 3);
    assert_eq!(due(&mut watch, 480), []);
    let sums = watch.due(at(601)).remove(0);
    assert_eq!((sums.event, sums.quarantined, sums.since, sums.last), (Event::Ended, 5, at(310), at(410)));
}

#[test]
fn each_domain_is_told_for_itself_with_the_rules_that_decided_most() {
    let mut watch = Watch::new(TERMS);
    let mut all = vec![judgement("customers", Some("known")), judgement("orders", None)];
    for (rule, count) in [("a", 1), ("b", 7), ("c", 3), ("d", 2), ("e", 2), ("f", 1), ("g", 1)] {
        all.extend((0..count).map(|_| judgement("orders", Some(rule))));
    }
    watch.observe(all.iter(), at(0));
    let notices = watch.due(at(1));
    let domains: Vec<&str> = notices.iter().map(|notice| &*notice.domain).collect();
    assert_eq!(domains, ["customers", "orders"]);
    let rules: Vec<_> = notices[1].rules.iter().map(|tally| (&*tally.rule, tally.events)).collect();
    assert_eq!(rules, [("b", 7), ("c", 3), ("d", 2), ("e", 2), ("a", 1)]);
    assert_eq!((notices[1].quarantined, notices[1].judged, notices[1].by_others), (17, 18, 2));
}

#[test]
fn domains_and_rules_have_bounds_and_counts_stay_right() {
    let mut watch = Watch::new(TERMS);
    let rules: Vec<_> = (0..2 * RULES_MAX).map(|i| judgement("orders", Some(&format!("rule-{i}")))).collect();
    watch.observe(rules.iter(), at(0));
    let notice = watch.due(at(1)).remove(0);
    assert_eq!((notice.quarantined, notice.by_others), (200, 195));
    assert_eq!(watch.domains["orders"].quarantine.as_ref().unwrap().tallies.len(), RULES_MAX);
    let domains: Vec<_> = (0..2 * DOMAINS_MAX).map(|i| judgement(&format!("d-{i}"), None)).collect();
    watch.observe(domains.iter(), at(2));
    assert_eq!(watch.domains.len(), DOMAINS_MAX);
    watch.due(at(100));
    assert_eq!(watch.domains.len(), 1, "quiet ones make room");
}

#[test]
fn a_clock_that_is_put_back_holds_nothing_up() {
    let mut watch = Watch::new(TERMS);
    batch(&mut watch, 100_000, 0, 1);
    assert_eq!(due(&mut watch, 100_000), [(Event::Started, 1)]);
    batch(&mut watch, 10, 0, 1);
    assert_eq!(due(&mut watch, 11), []);
    assert_eq!(due(&mut watch, 611), [(Event::Ended, 2)]);
    for extreme in [i64::MIN, i64::MAX, i64::MIN] {
        watch.observe([judgement("orders", Some("a"))].iter(), Timestamp::from_millis(extreme));
        watch.due(Timestamp::from_millis(extreme));
    }
}

#[test]
fn a_notice_in_words() {
    let mut watch = Watch::new(TERMS);
    batch(&mut watch, 1_700_000_000, 17, 3);
    let notice = watch.due(at(1_700_000_005)).remove(0);
    let owner = Owner { team: "orders-platform".into(), contact: Some("#orders".into()) };
    let about = About { id: "pod-7-1", owner: Some(&owner), revision: Some("4f2a9c1"), gate: "pod-7" };
    let document: serde_json::Value = serde_json::from_str(&text::document(&notice, &about)).unwrap();
    expect![[r##"
        {
          "schema": "meshgate.notice/v1",
          "id": "pod-7-1",
          "event": "exceeded",
          "domain": "orders",
          "contract": "placed",
          "owner": {
            "team": "orders-platform",
            "contact": "#orders"
          },
          "at": "2023-11-14T22:13:25.000Z",
          "since": "2023-11-14T22:13:20.000Z",
          "lastQuarantinedAt": "2023-11-14T22:13:20.000Z",
          "judged": 20,
          "quarantined": 3,
          "peakPerMinute": 3,
          "rules": [
            {
              "contract": "placed",
              "rule": "total_adds_up",
              "kind": "rule",
              "events": 3
            }
          ],
          "byOtherRules": 0,
          "revision": "4f2a9c1",
          "gate": "pod-7",
          "command": "meshgate dlq ls --domain orders --rule total_adds_up"
        }"##]]
    .assert_eq(&serde_json::to_string_pretty(&document).unwrap());
    expect!["meshgate: orders: quarantine exceeds its rate, 3 of 20, total_adds_up"].assert_eq(&text::subject(&notice));
    let strange = Notice { domain: "d\n'é".into(), ..notice.clone() };
    expect!["meshgate: d?'?: quarantine exceeds its rate, 3 of 20, total_adds_up"].assert_eq(&text::subject(&strange));
    expect![[r"
        meshgate dlq ls --domain 'd
        '\''é' --rule total_adds_up"]]
    .assert_eq(&text::command(&strange));
    let long = Notice { domain: "é".repeat(200).into(), ..notice };
    assert_eq!(text::subject(&long).len(), text::SUBJECT_BYTES_MAX);
}

/// Seconds that pass, good and bad events of a batch, and whether somebody looks then.
fn life() -> impl Strategy<Value = Vec<(i64, usize, usize, bool)>> {
    proptest::collection::vec(
        (0_i64..200, 0_usize..40, prop_oneof![3 => Just(0), 1 => 0_usize..60], any::<bool>()),
        1..200,
    )
}

proptest! {
    #[test]
    fn notices_are_limited_in_order_and_lose_no_count(
        life in life(),
        quiet in 30_i64..600,
        every in 0_i64..600,
        share in proptest::option::of(0.01_f64..0.9),
        per_minute in proptest::option::of(1_u64..60),
    ) {
        let mut watch = Watch::new(Terms { share, per_minute, quiet_ms: quiet * 1_000, every_ms: every * 1_000 });
        let (mut now, mut quarantined) = (0, 0_u64);
        let mut told: Vec<Notice> = Vec::new();
        for (later, good, bad, looks) in life {
            now += later;
            batch(&mut watch, now, good, bad);
            quarantined += bad as u64;
            if looks {
                told.append(&mut watch.due(at(now)));
            }
        }
        // Long enough for whatever was held back.
        told.append(&mut watch.due(at(now + 1_200)));
        told.append(&mut watch.due(at(now + 2_400)));
        prop_assert!(watch.domains.is_empty());

        let (mut open, mut ended) = (false, 0);
        for (index, notice) in told.iter().enumerate() {
            prop_assert!(notice.quarantined > 0 && notice.quarantined <= notice.judged);
            prop_assert!(notice.since <= notice.last && notice.last <= notice.at);
            let named: u64 = notice.rules.iter().map(|tally| tally.events).sum();
            prop_assert_eq!(named + notice.by_others, notice.quarantined);
            if index > 0 {
                prop_assert!(notice.at.millis() - told[index - 1].at.millis() >= every * 1_000);
            }
            match notice.event {
                Event::Started => prop_assert!(!std::mem::replace(&mut open, true), "it started twice"),
                Event::Exceeded => {
                    prop_assert!(share.is_some() || per_minute.is_some());
                    open = true;
                }
                Event::Ended => {
                    prop_assert!(notice.at.millis() - notice.last.millis() >= quiet * 1_000);
                    (open, ended) = (false, ended + notice.quarantined);
                }
            }
        }
        prop_assert!(!open, "what started has ended");
        prop_assert_eq!(ended, quarantined, "each quarantined event is in the sum of one end");
    }
}
