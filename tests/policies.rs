//! Policies: rules of the platform team, which no domain can weaken.

use meshgate::contract::{self, Compiled, RuleFiles};
use meshgate::gate::judge::judge_against;
use meshgate::model::{Mode, Record, Timestamp, Verdict};

fn files(contract: &str, policy: &str) -> RuleFiles {
    let head = "apiVersion: meshgate/v1\n";
    RuleFiles::from([
        ("shop/domain.yaml".to_owned(), format!("{head}kind: Domain\nmetadata: {{name: shop, owner: {{team: t}}}}\n").into()),
        (
            "shop/sold.yaml".to_owned(),
            format!(
                "{head}kind: EventContract\nmatch: {{stream: shop, type: sold}}\npayload: {{pointer: /data}}\n{contract}\n\
                 rules:\n  - {{id: counted, expression: this.n > 0, message: m}}\n"
            )
            .into(),
        ),
        (
            "policies/identity.yaml".to_owned(),
            format!(
                "{head}kind: Policy\nmetadata: {{name: identity, owner: {{team: platform}}}}\n{policy}\n\
                 rules:\n  - {{id: has_id, expression: has(event.id), message: the event has no id}}\n"
            )
            .into(),
        ),
    ])
}

fn metadata(more: &str) -> String {
    format!("metadata: {{domain: shop, name: sold, version: 1.0.0, status: active{more}}}")
}

/// The verdict on an event, and the rules it breaks with their modes.
fn judged(compiled: &Compiled, event: &str) -> (Verdict, Vec<(String, Mode)>) {
    let contract = compiled.set.contract("shop", "sold").expect("it compiled");
    let record = Record::new(event.to_owned(), "shop".into(), Timestamp::default());
    let judgement = judge_against(contract, &record, Timestamp::default(), None).0;
    (judgement.verdict, judgement.violations.iter().map(|v| (v.rule.to_string(), v.mode)).collect())
}

fn good(contract: &str, policy: &str) -> Compiled {
    let compiled = contract::compile(&files(contract, policy), "r");
    assert!(compiled.is_good(), "{:#?}", compiled.diagnostics);
    compiled
}

const NO_ID: &str = r#"{"data": {"n": 1}}"#;
const HAS_ID: &str = r#"{"id": "1", "data": {"n": 1}}"#;

#[test]
fn a_policys_rules_are_every_contracts() {
    let compiled = good(&metadata(""), "");
    assert_eq!(judged(&compiled, HAS_ID), (Verdict::Forward, vec![]));
    let broken = vec![("identity/has_id".to_owned(), Mode::Enforce)];
    assert_eq!(judged(&compiled, NO_ID), (Verdict::Quarantine, broken));
}

#[test]
fn no_mode_or_status_of_a_contract_makes_a_policy_milder() {
    for (contract, own) in [
        (format!("{}\nmode: shadow", metadata("")), Some(Mode::Shadow)),
        (format!("{}\nmode: off", metadata("")), None),
        (metadata("").replace("active", "draft"), Some(Mode::Shadow)),
    ] {
        let compiled = good(&contract, "");
        let mut expected: Vec<_> = own.map(|mode| ("counted".to_owned(), mode)).into_iter().collect();
        expected.push(("identity/has_id".to_owned(), Mode::Enforce));
        assert_eq!(judged(&compiled, r#"{"data": {"n": 0}}"#), (Verdict::Quarantine, expected), "{contract}");
        // A policy that cannot be asked has not passed.
        assert_eq!(judged(&compiled, r#"{"id": "1"}"#).0, Verdict::Quarantine, "{contract}");
        assert_eq!(judged(&compiled, r#"{"id": "1", "data": {"n": 0}}"#).0, Verdict::Forward, "{contract}");
    }
}

#[test]
fn a_policy_has_a_mode_of_its_own() {
    let compiled = good(&metadata(""), "mode: shadow");
    let broken = vec![("identity/has_id".to_owned(), Mode::Shadow)];
    assert_eq!(judged(&compiled, NO_ID), (Verdict::Forward, broken));
}

#[test]
fn selectors_and_exemptions_decide_whom_it_applies_to() {
    for (contract, policy, applies) in [
        ("", "select: {domains: [sh*]}", true),
        ("", "select: {domains: [orders]}", false),
        (", tags: [pii, eu]", "select: {tags: [eu, us]}", true),
        (", tags: [pii]", "select: {tags: [eu, us]}", false),
        (", tags: [eu]", "select: {domains: [orders], tags: [eu]}", false),
        ("", "exempt: [{domain: shop, reason: r}]", false),
        ("", "exempt: [{domain: shop, contract: sold, reason: r}]", false),
        ("", "exempt: [{domain: shop, contract: returned, reason: r}, {domain: orders, reason: r}]", true),
    ] {
        let compiled = good(&metadata(contract), policy);
        assert_eq!(judged(&compiled, NO_ID).0 == Verdict::Quarantine, applies, "{contract} {policy}");
    }
}

#[test]
fn while_a_policy_is_broken_every_domain_keeps_what_it_had() {
    let first = good(&metadata(""), "");
    let broken = contract::compile(&files(&metadata(""), "selekt: {}"), "r2");
    assert!(!broken.is_good());
    assert_eq!(broken.failed, ["shop"]);
    let kept = broken.set.keeping(&broken.failed, &first.set);
    assert_eq!(&*kept.contract("shop", "sold").expect("the last good version").revision, "r");
}

#[test]
fn examples_may_expect_a_policys_rule() {
    let expects = |rule: &str| {
        format!(
            "{}\nexamples:\n  - {{name: e, event: {{type: sold, data: {{n: 1}}}}, expect: {{verdict: quarantine, violations: [{rule}]}}}}",
            metadata("")
        )
    };
    let compiled = good(&expects("identity/has_id"), "");
    let contract = compiled.set.contract("shop", "sold").expect("it compiled");
    assert!(contract.try_example(&contract.examples()[0], &compiled.set).failure.is_none());
    assert!(!contract::compile(&files(&expects("identity/other"), ""), "r").is_good());
}
