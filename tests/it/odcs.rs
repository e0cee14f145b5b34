//! ODCS from outside: a contract of the standard that is checked, tested, judges a file and a live stream, and is compared with its next
//! version; and contracts of ours that become ones of the standard and judge as before.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::harness::{Gate, GateOptions, Put, binary, copy_tree, repository, run, temporary};

const DOMAIN: &str = "apiVersion: meshgate/v1\nkind: Domain\nmetadata: {name: shop, owner: {team: till}}\n";

const SOLD: &str = "\
apiVersion: v3.1.0
kind: DataContract
id: 53581432-6c55-4ba2-a65f-72344a91553a
name: Sales
version: 1.0.0
status: active
domain: shop
description: {purpose: What was sold}
team: {name: till}
support: [{channel: '#till'}]
schema:
- name: sold
  physicalType: topic
  physicalName: shop-events
  properties:
  - {name: type, logicalType: string, required: true}
  - {name: code, logicalType: string, required: true, logicalTypeOptions: {pattern: '^S-[0-9]+$'}}
  - {name: qty, logicalType: integer, required: true, logicalTypeOptions: {minimum: 1}}
  - name: buyer
    logicalType: string
    classification: pii
    quality: [{metric: missingValues, mustBe: 0, arguments: {missingValues: ['', n/a]}, description: say who bought it}]
  quality:
  - {metric: rowCount, mustBeGreaterThan: 10}
  - {type: custom, engine: meshgate, name: not_a_hoard, implementation: {expression: this.qty < 1000}}
  customProperties:
  - property: meshgate.examples
    value:
    - {name: good, event: {type: sold, code: S-1, qty: 1, buyer: Ada}, expect: {verdict: forward}}
    - {name: none, event: {type: sold, code: S-1, qty: 0, buyer: Ada}, expect: {verdict: quarantine, violations: [schema]}}
    - {name: nobody, event: {type: sold, code: S-1, qty: 1, buyer: n/a}, expect: {verdict: quarantine, violations: [buyer_missingValues]}}
    - {name: hoard, event: {type: sold, code: S-1, qty: 1000, buyer: Ada}, expect: {verdict: quarantine, violations: [not_a_hoard]}}
";

fn meshgate(arguments: &[&str], home: &Path) -> (Option<i32>, String, String) {
    let output = run(Command::new(binary()).env_clear().args(arguments).current_dir(home));
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    (output.status.code(), text(output.stdout), text(output.stderr))
}

fn write(home: &Path, name: &str, text: &str) {
    let path = home.join(name);
    std::fs::create_dir_all(path.parent().expect("a directory")).expect("a directory");
    std::fs::write(path, text).expect("a file");
}

#[test]
fn a_contract_of_the_standard_is_checked_tested_and_judges() {
    let home = temporary();
    write(home.path(), "rules/shop/domain.yaml", DOMAIN);
    write(home.path(), "rules/shop/sales.odcs.yaml", SOLD);
    let (code, out, _) = meshgate(&["check"], home.path());
    assert_eq!(code, Some(0), "{out}");
    assert!(out.contains("warning[not-judged]: `rowCount`") && out.contains("sales.odcs.yaml:24:5"), "{out}");
    assert!(out.ends_with("1 domain and 1 contract good; 0 errors, 1 warning\n"), "{out}");
    let (code, out, _) = meshgate(&["test"], home.path());
    assert_eq!(code, Some(0), "{out}");
    assert!(out.contains("4 passed, 0 failed; 0 rules"), "{out}");

    let events = [
        json!({"type": "sold", "code": "S-1", "qty": 1, "buyer": "Ada"}),
        json!({"type": "sold", "code": "1", "qty": 1, "buyer": "Ada"}),
        json!({"type": "sold", "code": "S-1", "qty": 1}),
    ];
    let lines: String = events.iter().map(|event| format!("{event}\n")).collect();
    write(home.path(), "events.ndjson", &lines);
    let judge = ["judge", "events.ndjson", "--stream", "shop-events", "--verdicts", "refused.ndjson"];
    let (code, out, err) = meshgate(&judge, home.path());
    assert_eq!(code, Some(1), "{out}{err}");
    let refused = std::fs::read_to_string(home.path().join("refused.ndjson")).expect("verdicts");
    assert_eq!(refused.lines().count(), 2, "{refused}");
    assert!(refused.contains("say who bought it") && refused.contains("shop") && !refused.contains("Ada"), "{refused}");

    // The next version asks for more, and the diff knows it.
    let stricter = SOLD.replace("minimum: 1}", "minimum: 2}");
    write(home.path(), "next/shop/domain.yaml", DOMAIN);
    write(home.path(), "next/shop/sales.odcs.yaml", &stricter);
    let (code, out, _) = meshgate(&["diff", "rules", "next"], home.path());
    assert_eq!(code, Some(1), "{out}");
    assert!(out.contains("backward: no") && out.contains("minimum was 1, is 2"), "{out}");
}

#[test]
fn a_policy_reaches_a_contract_of_the_standard_and_the_gate_runs_it() {
    let home = temporary();
    write(home.path(), "rules/shop/domain.yaml", DOMAIN);
    write(home.path(), "rules/shop/sales.odcs.yaml", SOLD);
    let policy = "apiVersion: meshgate/v1\nkind: Policy\nmetadata: {name: base, owner: {team: mesh}}\n\
                  rules: [{id: has_type, expression: has(event.buyer)}]\n";
    write(home.path(), "rules/policies/base.yaml", policy);
    let gate = Gate::start(GateOptions { rules: home.path().join("rules"), ..GateOptions::default() });
    let put = |event: &Value| {
        let before = gate.metric("meshgate_events_total", &[r#"verdict="forward""#]);
        gate.kinesis().put_records("shop-events", &[Put::new(event.to_string(), "k")]).expect("an answer");
        gate.metric("meshgate_events_total", &[r#"verdict="forward""#]) > before
    };
    assert!(put(&json!({"type": "sold", "code": "S-1", "qty": 1, "buyer": "Ada"})));
    assert!(!put(&json!({"type": "sold", "code": "S-1", "qty": 0, "buyer": "Ada"})));
    let contracts = gate.admin("/contracts").json();
    assert!(contracts.to_string().contains("sales.odcs.yaml") || contracts.to_string().contains("sold"), "{contracts}");
    let violations = gate.metric("meshgate_violations_total", &[r#"rule="schema""#]);
    assert!(violations >= 1.0, "{violations}");
}

#[test]
fn contracts_are_exported_and_pass_their_own_examples() {
    let home = temporary();
    copy_tree(&repository().join("rules"), &home.path().join("rules"));
    let (code, out, err) = meshgate(&["export", "odcs", "--contract", "orders/order.placed"], home.path());
    assert_eq!(code, Some(0), "{err}");
    assert!(out.contains("apiVersion: v3.1.0\nkind: DataContract\nid: orders.order.placed\n"), "{out}");
    assert!(err.contains("warning: orders/order.placed: rules, kept as custom checks"), "{err}");

    let (code, out, err) = meshgate(&["export", "odcs", "rules", "-o", "out"], home.path());
    assert_eq!(code, Some(0), "{err}");
    assert_eq!(out.lines().count(), 4, "{out}");
    assert!(out.starts_with("out/customers/customer.created.odcs.yaml\n"), "{out}");
    for domain in ["customers", "orders"] {
        for name in ["domain.yaml", "reference"] {
            let (from, to) = (home.path().join("rules").join(domain), home.path().join("out").join(domain));
            if from.join(name).is_dir() {
                copy_tree(&from.join(name), &to.join(name));
            } else {
                std::fs::copy(from.join(name), to.join(name)).expect("a copy");
            }
        }
    }
    let (code, out, _) = meshgate(&["check", "out"], home.path());
    assert_eq!((code, out.as_str()), (Some(0), "2 domains and 4 contracts good; 0 errors, 0 warnings\n"));
    let (code, out, _) = meshgate(&["test", "out"], home.path());
    assert_eq!(code, Some(0), "{out}");
    let (_, out, _) = meshgate(&["diff", "rules", "out", "--allow", "full"], home.path());
    assert!(!out.contains(": no") && !out.contains(": unknown"), "compatible both ways: {out}");

    // What a person may have edited stays.
    write(home.path(), "out/orders/order.placed.odcs.yaml", "edited");
    let (code, _, err) = meshgate(&["export", "odcs", "-o", "out"], home.path());
    assert_eq!(code, Some(2));
    assert!(err.contains("--force"), "{err}");
    let (code, _, err) = meshgate(&["export", "odcs", "-o", "out", "--force"], home.path());
    assert_eq!(code, Some(0), "{err}");
    let text = std::fs::read_to_string(home.path().join("out/orders/order.placed.odcs.yaml")).expect("a file");
    assert!(text.contains("kind: DataContract"));
}

#[test]
fn slips_are_answered_with_what_to_do() {
    let home = temporary();
    copy_tree(&repository().join("rules"), &home.path().join("rules"));
    write(home.path(), "broken/shop/domain.yaml", "kind: Domain\n");
    for (arguments, words) in [
        (&["export", "odcs"][..], "--contract"),
        (&["export", "odcs", "--contract", "orders/order.palced"], "orders/order.placed"),
        (&["export", "odcs", "nowhere"], "nowhere"),
        (&["export", "odcs", "broken"], "do not compile"),
        (&["export", "odcs", "--force"], "--out"),
    ] {
        let (code, out, err) = meshgate(arguments, home.path());
        assert_eq!((code, out.as_str()), (Some(2), ""), "{arguments:?}: {err}");
        assert!(err.contains(words), "{arguments:?}: {err}");
    }
}
