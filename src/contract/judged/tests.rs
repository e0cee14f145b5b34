use serde_json::json;

use super::*;
use crate::contract::{RuleFiles, compile};
use crate::model::{Verdict, Violation};

const DOMAIN: &str = "apiVersion: meshgate/v1\nkind: Domain\nmetadata: {name: shop, owner: {team: shop}}\n";

const SCHEMA: &str = r#"{
    "type": "object",
    "required": ["qty"],
    "properties": {"qty": {"type": "integer"}, "price": {"type": "number"}, "extra": {"type": "array", "items": false}}
}"#;

/// A contract of these lines, with a `/data` payload and [`SCHEMA`].
fn contract_with(head: &str, body: &str) -> Arc<Contract> {
    let text = format!(
        "apiVersion: meshgate/v1\nkind: EventContract\nmatch: {{type: sold}}\n\
         payload: {{pointer: /data, schema: sold.json}}\n{head}\n{body}"
    );
    let files = RuleFiles::from([
        ("shop/domain.yaml".to_owned(), DOMAIN.into()),
        ("shop/sold.yaml".to_owned(), text.into()),
        ("shop/sold.json".to_owned(), SCHEMA.into()),
    ]);
    let compiled = compile(&files, "r1");
    assert!(compiled.is_good(), "{:#?}", compiled.diagnostics);
    compiled.set.contract("shop", "sold").expect("compiled").clone()
}

const ACTIVE: &str = "metadata: {domain: shop, name: sold, version: 1.0.0, status: active}";

fn contract(body: &str) -> Arc<Contract> {
    contract_with(ACTIVE, body)
}

fn judge(contract: &Contract, data: Value) -> (Verdict, Vec<Violation>) {
    let event = json!({"type": "sold", "data": data});
    let record = RecordFacts {
        stream: "shop-events",
        partition_key: None,
        explicit_hash_key: None,
        arrived: Timestamp::default(),
        size: 1,
    };
    let Ruling { verdict, violations, .. } = contract.judge_tree(&event, &record, Timestamp::default(), None);
    (verdict, violations)
}

/// `verdict: rule/kind@pointer/mode …`
fn outcome(contract: &Contract, data: Value) -> String {
    let (verdict, violations) = judge(contract, data);
    violations.iter().fold(format!("{}:", verdict.as_str()), |text, v| {
        text + &format!(" {}/{}@{}/{}", v.rule, v.kind, v.pointer, v.mode.as_str())
    })
}

#[test]
fn all_violations_are_told_in_order() {
    let contract = contract(
        "fields: [{id: name, path: /name, metric: nullValues}]\n\
         rules:\n  - {id: few, expression: this.qty < 10}\n  - {id: priced, expression: this.price > 0.0}\n",
    );
    assert_eq!(outcome(&contract, json!({"qty": 1, "price": 2, "name": "n"})), "forward:");
    assert_eq!(
        outcome(&contract, json!({"qty": 12.5, "price": 0})),
        "quarantine: schema/schema@/data/qty/enforce name/field@/data/name/enforce few/rule@/data/enforce \
         priced/rule@/data/enforce"
    );
}

#[test]
fn what_cannot_be_evaluated_does_not_pass() {
    let contract = contract(
        "rules:\n  - {id: priced, expression: this.price > 0.0}\n\
         \x20 - {id: tried, when: this.absent, expression: 'true', severity: warning}\n",
    );
    assert_eq!(
        outcome(&contract, json!({"qty": 1})),
        "quarantine: priced/evaluation_error@/data/enforce tried/evaluation_error@/data/enforce"
    );
}

#[test]
fn a_rule_applies_when_it_says_so() {
    let contract = contract("rules: [{id: priced, when: has(this.price), expression: this.price > 0.0}]");
    assert_eq!(outcome(&contract, json!({"qty": 1})), "forward:");
    assert_eq!(outcome(&contract, json!({"qty": 1, "price": 0})), "quarantine: priced/rule@/data/enforce");
}

#[test]
fn severity_decides_unless_on_fail_says_otherwise() {
    let verdict = |lines: &str| {
        let rules: Vec<String> =
            lines.split(';').enumerate().map(|(i, l)| format!("{{id: r{i}, expression: 'false', {l}}}")).collect();
        judge(&contract(&format!("rules: [{}]", rules.join(", "))), json!({"qty": 1})).0
    };
    assert_eq!(verdict("severity: error"), Verdict::Quarantine);
    assert_eq!(verdict("severity: warning; severity: info"), Verdict::Forward);
    assert_eq!(verdict("severity: error, on_fail: warn"), Verdict::Forward);
    assert_eq!(verdict("severity: info, on_fail: drop"), Verdict::Drop);
    assert_eq!(verdict("on_fail: drop; severity: warning, on_fail: quarantine"), Verdict::Quarantine);
    assert_eq!(verdict("on_fail: drop; mode: shadow"), Verdict::Drop);
    assert_eq!(verdict("mode: shadow; mode: 'off'"), Verdict::Forward);
}

#[test]
fn modes_and_statuses_combine_to_the_milder() {
    let rule = "rules: [{id: r, expression: 'false'}]";
    let with = |status: &str, mode: &str| {
        let head = format!("metadata: {{domain: shop, name: sold, version: 1.0.0, status: {status}}}\nmode: {mode}");
        outcome(&contract_with(&head, rule), json!({}))
    };
    let enforced = "quarantine: schema/schema@/data/enforce r/rule@/data/enforce";
    let shadow = "forward: schema/schema@/data/shadow r/rule@/data/shadow";
    assert_eq!(with("active", "enforce"), enforced);
    assert_eq!(with("deprecated", "enforce"), enforced);
    for (status, mode) in [("active", "shadow"), ("draft", "enforce"), ("proposed", "enforce")] {
        assert_eq!(with(status, mode), shadow, "{status} {mode}");
    }
    assert_eq!(with("active", "off"), "forward:");
}

#[test]
fn an_event_without_its_payload_is_no_event_of_this_contract() {
    let contract = contract("rules: [{id: r, expression: 'true'}]");
    let record = RecordFacts {
        stream: "s",
        partition_key: None,
        explicit_hash_key: None,
        arrived: Timestamp::default(),
        size: 1,
    };
    let Ruling { verdict, violations, .. } =
        contract.judge_tree(&json!({"type": "sold"}), &record, Timestamp::default(), None);
    assert_eq!(verdict, Verdict::Quarantine);
    assert_eq!((violations.len(), &*violations[0].rule, violations[0].pointer.as_str()), (1, "schema", "/data"));
}

#[test]
fn messages_see_private_fields_masked_and_fall_back() {
    let contract = contract(
        "rules:\n  - id: told\n    expression: 'false'\n    messageExpression: '\"of \" + this.email + event.data.email'\n\
         \x20   message: plain\n  - {id: silent, expression: 'false', messageExpression: this.absent, message: plain}\n\
         \x20 - {id: bare, expression: 'false'}\n\
         \x20 - {id: long, expression: 'false', messageExpression: this.long}\n\
         privacy: [{path: /email, mask: redact}]",
    );
    let (_, violations) = judge(&contract, json!({"qty": 1, "email": "ada@example.com", "long": "ä".repeat(5000)}));
    let messages: Vec<&str> = violations.iter().map(|v| v.message.as_str()).collect();
    assert_eq!(messages[..3], ["of ******", "plain", "bare does not hold"]);
    assert_eq!(messages[3].chars().count(), MESSAGE_CHARS_MAX);
}

#[test]
fn a_list_is_told_as_a_reference_and_numbers_are_what_the_schema_calls_them() {
    let files = RuleFiles::from([
        ("shop/domain.yaml".to_owned(), DOMAIN.into()),
        ("shop/sold.json".to_owned(), SCHEMA.into()),
        ("shop/skus.csv".to_owned(), b"sku\nA1\n".to_vec()),
        (
            "shop/sold.yaml".to_owned(),
            format!(
                "apiVersion: meshgate/v1\nkind: EventContract\nmatch: {{type: sold}}\n{ACTIVE}\n\
                 payload: {{pointer: /data, schema: sold.json}}\nreference: {{skus: {{file: skus.csv, column: sku}}}}\n\
                 fields: [{{id: sku, path: /sku, metric: invalidValues, arguments: {{validValuesFrom: skus}}}}]\n\
                 rules: [{{id: half, expression: 'this.price / 2 == 0.5 && event.data.price / 2 == 0.5'}}]\n"
            )
            .into(),
        ),
    ]);
    let compiled = compile(&files, "r1");
    assert!(compiled.is_good(), "{:#?}", compiled.diagnostics);
    let contract = compiled.set.contract("shop", "sold").unwrap();
    assert_eq!(outcome(contract, json!({"qty": 1, "sku": "A1", "price": 1})), "forward:");
    assert_eq!(
        outcome(contract, json!({"qty": 1, "sku": "B", "price": 1})),
        "quarantine: sku/reference@/data/sku/enforce"
    );
}

#[test]
fn at_most_100_violations_are_told_and_the_decisive_ones_first() {
    let contract = contract("mode: enforce\nrules: [{id: r, expression: 'false', on_fail: drop}]");
    let (verdict, violations) = judge(&contract, json!({"qty": 1, "extra": vec![0; 300]}));
    assert_eq!((verdict, violations.len()), (Verdict::Quarantine, VIOLATIONS_MAX));
    assert!(violations.iter().all(|v| v.kind == ViolationKind::Schema));

    let rules: Vec<String> = (0..150)
        .map(|i| format!("{{id: r{i}, expression: 'false', severity: {}}}", if i == 149 { "error" } else { "info" }))
        .collect();
    let contract = super::tests::contract(&format!("rules: [{}]", rules.join(", ")));
    let (verdict, violations) = judge(&contract, json!({"qty": 1}));
    // `info` rules are enforced too, but lead to nothing: the one that quarantines is told.
    assert_eq!((verdict, violations.len(), &*violations[0].rule), (Verdict::Quarantine, VIOLATIONS_MAX, "r149"));
}

#[test]
fn names_inside_a_private_field_are_private_too() {
    let contract = contract("privacy: [{path: /extra, classification: pii, mask: redact}]\n");
    assert_eq!(
        outcome(&contract, json!({"qty": 1, "extra": [{"ann@example.org": 1}]})),
        "quarantine: schema/schema@/data/extra/enforce"
    );
}

#[test]
fn a_pointer_into_names_of_any_length_is_cut_at_one_that_fits() {
    let long = "x".repeat(POINTER_BYTES_MAX);
    let contract = contract(&format!("fields: [{{id: deep, path: /a/{long}/b, metric: nullValues}}]\n"));
    let (_, violations) = judge(&contract, json!({"qty": 1, "a": {long: {}}}));
    assert_eq!(violations.iter().map(|v| &*v.pointer).collect::<Vec<_>>(), ["/data/a"]);
}

#[test]
fn a_message_sees_no_key_of_an_event_with_private_fields() {
    let contract = contract(
        "privacy: [{path: /email, classification: pii, mask: redact}]\n\
         rules: [{id: never, expression: 'this.qty > 5', messageExpression: \"'of ' + record.partitionKey\"}]\n",
    );
    let event = json!({"type": "sold", "data": {"qty": 1, "email": "ann@example.org"}});
    let record = RecordFacts {
        stream: "shop-events",
        partition_key: Some("ann@example.org"),
        explicit_hash_key: None,
        arrived: Timestamp::default(),
        size: 1,
    };
    let Ruling { violations, .. } = contract.judge_tree(&event, &record, Timestamp::default(), None);
    assert_eq!(violations[0].message, "of ***");
}
