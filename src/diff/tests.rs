use expect_test::{Expect, expect};

use super::sample::{Judge, Tally};
use super::*;
use crate::contract::{RuleFiles, compile};
use crate::model::{Record, Timestamp};

const DOMAIN: &str = "apiVersion: meshgate/v1\nkind: Domain\nmetadata: {name: a, owner: {team: t}}\n";
const CONTRACT: &str = "apiVersion: meshgate/v1\nkind: EventContract
metadata: {domain: a, name: sold, version: 1.0.0, status: active}
match: {stream: s-*, type: sold}
payload: {pointer: /data, schema: schemas/sold.json}
fields: [{id: known, path: /c, metric: invalidValues, arguments: {validValuesFrom: list}}]
rules:
  - {id: paid, expression: this.paid, message: not paid}
  - {id: tried, expression: this.n > 0, mode: shadow}
reference: {list: {file: list.csv, column: c}}
";
const SCHEMA: &str = r#"{"type": "object", "properties": {"n": {"type": "integer"}, "c": {"type": "string"}}}"#;

fn files(contract: &str, schema: &str, list: &str) -> RuleFiles {
    [("a/domain.yaml", DOMAIN), ("a/sold.yaml", contract), ("a/schemas/sold.json", schema), ("a/list.csv", list)]
        .map(|(path, text)| (path.to_owned(), text.into()))
        .into()
}

fn report(old: &RuleFiles, new: &RuleFiles, allow: Allow) -> Report {
    let (was, is) = (compile(old, "r1"), compile(new, "r2"));
    assert!(was.is_good() && is.is_good(), "{:#?} {:#?}", was.diagnostics, is.diagnostics);
    compare((old, &was.set), (new, &is.set), allow)
}

fn told(report: &Report) -> String {
    let mut out = String::new();
    for c in &report.contracts {
        out += &format!("{} {}", c.contract, c.change.as_str());
        out += &format!(" backward {} forward {}\n", c.backward.holds.as_str(), c.forward.holds.as_str());
        for s in &c.settings {
            out += &format!("  {} {:?} -> {:?}\n", s.key, s.was, s.is);
        }
        for r in &c.rules {
            out += &format!("  {} {} {:?} {}\n", r.id, r.change.as_str(), r.keys, r.effects.join(", "));
        }
        out += &c
            .version
            .iter()
            .map(|v| format!("  asks {} at least {}\n", v.asks.as_str(), v.at_least))
            .collect::<String>();
        out += &c.findings.iter().map(|f| format!("  {}: {}\n", f.kind, f.message)).collect::<String>();
    }
    out
}

fn check(contract: &str, schema: &str, list: &str, expected: Expect) {
    let old = files(CONTRACT, SCHEMA, "c\nx\ny\n");
    expected.assert_eq(&told(&report(&old, &files(contract, schema, list), Allow::Backward)));
}

#[test]
fn nothing_changed_is_nothing_told() {
    check(
        &format!("# a remark\n{CONTRACT}"),
        SCHEMA,
        "c\ny\nx\n",
        expect![[r#"
        sold unchanged backward yes forward yes
          asks none at least 1.0.0
    "#]],
    );
}

#[test]
fn a_rule_that_begins_to_decide_asks_for_a_major_version() {
    check(
        &CONTRACT.replace(", mode: shadow", ""),
        SCHEMA,
        "c\nx\ny\n",
        expect![[r#"
            sold changed backward yes forward yes
              tried changed ["mode"] may now quarantine, no longer counts as shadow
              asks major at least 2.0.0
              version: the version is 1.0.0; what changed asks for a major one, so write 2.0.0 or higher
        "#]],
    );
}

#[test]
fn words_ask_for_a_patch() {
    check(
        &CONTRACT.replace("message: not paid", "message: unpaid"),
        SCHEMA,
        "c\nx\ny\n",
        expect![[r#"
            sold changed backward yes forward yes
              paid changed ["message"] only words
              asks patch at least 1.0.1
              version: the version is 1.0.0; what changed asks for a patch one, so write 1.0.1 or higher
        "#]],
    );
}

#[test]
fn a_longer_list_may_quarantine_less_and_a_shorter_one_more() {
    check(
        CONTRACT,
        SCHEMA,
        "c\nx\ny\nz\n",
        expect![[r#"
            sold changed backward yes forward yes
              known changed ["list"] may no longer quarantine
              asks minor at least 1.1.0
              version: the version is 1.0.0; what changed asks for a minor one, so write 1.1.0 or higher
        "#]],
    );
    check(
        CONTRACT,
        SCHEMA,
        "c\nx\n",
        expect![[r#"
            sold changed backward yes forward yes
              known changed ["list"] may now quarantine
              asks major at least 2.0.0
              version: the version is 1.0.0; what changed asks for a major one, so write 2.0.0 or higher
        "#]],
    );
}

#[test]
fn a_version_that_moved_far_enough_is_no_finding_but_the_incompatibility_is() {
    let new = CONTRACT.replace("1.0.0", "2.0.0");
    check(
        &new,
        &SCHEMA.replace(r#""type": "object","#, r#""type": "object", "required": ["n"],"#),
        "c\nx\ny\n",
        expect![[r#"
        sold changed backward no forward yes
          asks major at least 2.0.0
          incompatible: not backward compatible: what was accepted may be refused
    "#]],
    );
}

#[test]
fn rules_come_and_go() {
    let new = CONTRACT
        .replace(
            "  - {id: paid, expression: this.paid, message: not paid}\n",
            "  - {id: named, expression: has(this.c), on_fail: drop}\n",
        )
        .replace("this.n > 0", "this.n > 1");
    check(
        &new,
        SCHEMA,
        "c\nx\ny\n",
        expect![[r#"
            sold changed backward yes forward yes
              named added [] may now drop
              tried changed ["expression"] may now count as shadow, may no longer count as shadow
              paid removed [] no longer quarantines
              asks major at least 2.0.0
              version: the version is 1.0.0; what changed asks for a major one, so write 2.0.0 or higher
        "#]],
    );
}

#[test]
fn a_draft_promises_nothing() {
    let draft = |contract: &str| contract.replace("status: active", "status: draft");
    let old = files(&draft(CONTRACT), SCHEMA, "c\nx\n");
    let new = files(&draft(CONTRACT), r#"{"type": "object", "required": ["paid"]}"#, "c\nx\n");
    expect![[r#"
        sold changed backward no forward no
          asks none at least 1.0.0
    "#]]
    .assert_eq(&told(&report(&old, &new, Allow::Full)));
    expect![[r#"
        sold changed backward yes forward yes
          metadata.status Some("draft") -> Some("active")
          mode Some("shadow") -> Some("enforce")
          schema changed [] may now quarantine, no longer counts as shadow
          known changed [] may now quarantine, no longer counts as shadow
          paid changed [] may now quarantine, no longer counts as shadow
          asks none at least 1.0.0
    "#]]
    .assert_eq(&told(&report(&old, &files(CONTRACT, SCHEMA, "c\nx\n"), Allow::Full)));
}

#[test]
fn an_end_is_announced_first() {
    let old = files(CONTRACT, SCHEMA, "c\nx\n");
    let mut none = old.clone();
    none.remove("a/sold.yaml");
    expect![[r#"
        sold removed backward no forward yes
          removed: a/sold was in use and is gone: its events are of an unknown type now, or another contract's; `status: deprecated` announces an end
    "#]].assert_eq(&told(&report(&old, &none, Allow::Backward)));
    let status = |status: &str| files(&CONTRACT.replace("status: active", status), SCHEMA, "c\nx\n");
    expect![[r#"
        sold changed backward no forward yes
          metadata.status Some("active") -> Some("retired")
          schema changed [] no longer quarantines
          known changed [] no longer quarantines
          paid changed [] no longer quarantines
          tried changed [] no longer counts as shadow
          asks major at least 2.0.0
          removed: a/sold was in use and is gone: its events are of an unknown type now, or another contract's; `status: deprecated` announces an end
          version: the version is 1.0.0; what changed asks for a major one, so write 2.0.0 or higher
    "#]].assert_eq(&told(&report(&old, &status("status: retired"), Allow::Backward)));
    expect![[r#"
        sold removed backward no forward yes
    "#]]
    .assert_eq(&told(&report(&status("status: deprecated"), &none, Allow::Backward)));
    expect![[r#"
        sold added backward yes forward yes
    "#]]
    .assert_eq(&told(&report(&none, &old, Allow::Full)));
}

#[test]
fn another_place_or_type_is_not_known_to_be_compatible() {
    let new = CONTRACT.replace("pointer: /data", "pointer: /body").replace("type: sold", "type: sale");
    check(
        &new,
        SCHEMA,
        "c\nx\ny\n",
        expect![[r#"
            sold changed backward unknown forward unknown
              payload.pointer Some("/data") -> Some("/body")
              match.type Some("sold") -> Some("sale")
              asks major at least 2.0.0
              unknown: not known to be backward compatible: some keywords cannot be compared
              version: the version is 1.0.0; what changed asks for a major one, so write 2.0.0 or higher
        "#]],
    );
}

#[test]
fn only_what_is_asked_for_is_a_finding() {
    let old = files(CONTRACT, SCHEMA, "c\nx\n");
    let new = files(&CONTRACT.replace("1.0.0", "2.0.0"), r#"{"type": ["object", "null"]}"#, "c\nx\n");
    let findings = |allow| report(&old, &new, allow).findings().count();
    assert_eq!([Allow::Backward, Allow::Forward, Allow::Full, Allow::None].map(findings), [0, 1, 1, 0]);
}

#[test]
fn verdicts_that_change_are_counted_by_rule_with_examples() {
    let (old, new) =
        (files(CONTRACT, SCHEMA, "c\nx\n"), files(&CONTRACT.replace(", mode: shadow", ""), SCHEMA, "c\nx\ny\n"));
    let (was, is) = (compile(&old, "r1").set, compile(&new, "r2").set);
    let mut tally = Tally::default();
    for (line, event) in [
        r#"{"type": "sold", "data": {"paid": true, "n": 1, "c": "x"}}"#,
        r#"{"type": "sold", "data": {"paid": true, "n": 0, "c": "x"}}"#,
        r#"{"type": "sold", "data": {"paid": true, "n": 0, "c": "x"}}"#,
        r#"{"type": "sold", "data": {"paid": true, "n": 1, "c": "y"}}"#,
        r#"{"type": "sold", "data": {"paid": true, "n": 0, "c": "y"}}"#,
        r#"{"type": "sold", "data": {"paid": true, "n": 0, "c": "x"}}"#,
        r#"{"type": "sold", "data": {"paid": true, "n": 0, "c": "x"}}"#,
        r#"{"type": "other"}"#,
        "{",
    ]
    .iter()
    .enumerate()
    {
        let record = Record::new(event.as_bytes().to_vec(), "s-1".into(), Timestamp::default());
        let judges = (Judge::routed(&was, None, 1_000, None), Judge::routed(&is, None, 1_000, None));
        tally.judge(judges, &record, Timestamp::default(), || format!("line {}", line + 1));
    }
    let told: String = tally
        .turns
        .iter()
        .map(|(turn, turned)| {
            format!(
                "{} {} -> {} {}: {} {}\n",
                turn.contract,
                turn.was,
                turn.is,
                turn.rule,
                turned.events,
                turned.examples.join(", ")
            )
        })
        .collect();
    expect![[r#"
        9 events, 5 changed
        sold forward -> quarantine tried: 4 line 2, line 3, line 6
        sold quarantine -> forward known: 1 line 4
    "#]]
    .assert_eq(&format!("{} events, {} changed\n{told}", tally.events, tally.changed));
}

#[test]
fn checks_that_remember_are_compared_as_rules_are() {
    let with = |stream: &str| files(&format!("{CONTRACT}\nstream:\n{stream}"), SCHEMA, "c\nx\n");
    let unique = "  - {id: unique, type: duplicateValues, key: [event.id], window: 24h}\n";
    let volume = "  - {id: volume, type: rowCount, window: 5m, mustBeGreaterThan: 5}\n";
    let told = |old: &RuleFiles, new: &RuleFiles| -> String {
        let report = report(old, new, Allow::None);
        let changes = report.contracts.iter().flat_map(|contract| &contract.rules);
        changes.map(|c| format!("{} {} {:?} {}\n", c.kind.as_str(), c.id, c.asks, c.effects.join(", "))).collect()
    };
    let old = with(&format!("{unique}{volume}"));
    let new = with(&format!("{}{}", unique.replace("24h", "1h"), volume.replace("5}", "9}")));
    expect![[r#"
        stream check unique Major may now quarantine, may no longer quarantine
        stream check volume Minor may now alert, may no longer alert
    "#]]
    .assert_eq(&told(&old, &new));
    expect![[r#"
        stream check volume Minor may now alert
        stream check unique Minor no longer quarantines
    "#]]
    .assert_eq(&told(&with(unique), &with(volume)));
    expect![[r#"
        stream check unique Patch only words
    "#]]
    .assert_eq(&told(&with(unique), &with(&unique.replace("}", ", message: twice}"))));
}
