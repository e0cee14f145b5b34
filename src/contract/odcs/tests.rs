//! What becomes of an ODCS contract: the translation, and how events are judged by it.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{Ground, Level, Translation, translate};
use crate::contract::{Compiled, RuleFiles, Ruling, compile, yaml};
use crate::model::{Timestamp, Verdict};
use crate::rule::RecordFacts;
use crate::rule::pointer::Pointer;

const HEAD: &str = "apiVersion: v3.1.0\nkind: DataContract\nid: x\nversion: 1.0.0\nstatus: active\n";

fn translated(text: &str) -> Translation {
    let document = yaml::parse(format!("{HEAD}{text}").as_bytes()).unwrap();
    assert_eq!(super::SHAPE.check(&document.value), Vec::new(), "the shape is good");
    translate(&document.value, Ground { domain: "shop", file: "sold.odcs.yaml", team: Some("shop") })
}

/// The schema derived from an object with these properties.
fn schema(properties: &str) -> Value {
    let translation = translated(&format!("schema:\n- name: sold\n  properties: {properties}\n"));
    translation.contracts[0].schema.as_ref().unwrap().document.clone()
}

fn files(text: &str) -> RuleFiles {
    let domain = "apiVersion: meshgate/v1\nkind: Domain\nmetadata: {name: shop, owner: {team: shop}}\n";
    RuleFiles::from([
        ("shop/domain.yaml".to_owned(), domain.into()),
        ("shop/sold.odcs.yaml".to_owned(), format!("{HEAD}{text}").into()),
    ])
}

fn good(text: &str) -> Compiled {
    let compiled = compile(&files(text), "test");
    assert!(compiled.is_good(), "{:#?}", compiled.diagnostics);
    compiled
}

/// The verdict on an event, and the rules it violates.
fn judged(compiled: &Compiled, name: &str, event: &Value) -> (Verdict, BTreeSet<String>) {
    let contract = compiled.set.contract("shop", name).unwrap();
    let now = Timestamp::default();
    let record = RecordFacts { stream: "s", partition_key: None, explicit_hash_key: None, arrived: now, size: 0 };
    let Ruling { verdict, violations, .. } = contract.judge(&event.to_string(), &record, now, None).unwrap();
    (verdict, violations.into_iter().map(|violation| violation.rule.to_string()).collect())
}

#[test]
fn each_logical_type_becomes_its_json_type() {
    let derived = schema(
        "[{name: a, logicalType: string, required: true, logicalTypeOptions: {minLength: 2, maxLength: 3, pattern: '^x', format: email}},
          {name: b, logicalType: integer, logicalTypeOptions: {format: u8, maximum: 10, multipleOf: 5}},
          {name: c, logicalType: number, required: true, logicalTypeOptions: {exclusiveMinimum: 0.5}},
          {name: d, logicalType: date, required: true}, {name: e, logicalType: timestamp}, {name: f, logicalType: boolean},
          {name: g, logicalType: time, required: true, logicalTypeOptions: {format: 'HH:mm'}},
          {name: h, logicalType: array, logicalTypeOptions: {minItems: 1, uniqueItems: true}, items: {logicalType: integer, required: true}},
          {name: i, logicalType: object, required: true, logicalTypeOptions: {minProperties: 1, required: [y]}, properties: [{name: x}, {name: z, required: true}]},
          {name: j, logicalType: map, required: true, map: {key: {logicalType: string, logicalTypeOptions: {pattern: '^k'}}, value: {logicalType: number, required: true}}},
          {name: k, logicalType: string, enum: [{value: EUR}, {value: USD}]},
          {name: l, required: true}, {name: m, logicalType: vector, required: true, logicalTypeOptions: {dimensions: 3}}]",
    );
    assert_eq!(
        derived,
        json!({
            "type": "object",
            "properties": {
                "a": {"type": "string", "format": "email", "minLength": 2, "maxLength": 3, "pattern": "^x"},
                "b": {"type": ["integer", "null"], "minimum": 0, "maximum": 10, "multipleOf": 5},
                "c": {"type": "number", "exclusiveMinimum": 0.5},
                "d": {"type": "string", "format": "date"},
                "e": {"type": ["string", "null"], "format": "date-time"},
                "f": {"type": ["boolean", "null"]},
                "g": {"type": "string", "pattern": "^([01][0-9]|2[0-3]):[0-5][0-9]$"},
                "h": {"type": ["array", "null"], "minItems": 1, "uniqueItems": true, "items": {"type": "integer"}},
                "i": {"type": "object", "minProperties": 1, "properties": {"x": {}, "z": {"type": ["string", "number", "object", "array", "boolean"]}}, "required": ["z", "y"]},
                "j": {"type": "object", "propertyNames": {"pattern": "^k"}, "additionalProperties": {"type": "number"}},
                "k": {"type": ["string", "null"], "enum": ["EUR", "USD", null]},
                "l": {"type": ["string", "number", "object", "array", "boolean"]},
                "m": {"type": "array", "items": {"type": "number"}, "minItems": 3, "maxItems": 3},
            },
            "required": ["a", "c", "d", "g", "i", "j", "l", "m"],
        })
    );
}

#[test]
fn what_is_not_required_may_be_null_unless_it_is_said_otherwise() {
    let text = "schema:\n- name: sold\n  customProperties: [{property: meshgate.nullable, value: false}]\n  properties: [{name: a, logicalType: string}, {name: b, logicalType: string, customProperties: [{property: meshgate.nullable, value: true}]}]\n";
    let translation = translated(text);
    let derived = &translation.contracts[0].schema.as_ref().unwrap().document;
    assert_eq!(derived["properties"], json!({"a": {"type": "string"}, "b": {"type": ["string", "null"]}}));
}

#[test]
fn the_fundamentals_are_ours() {
    let translation = translated(
        "domain: shop\ndescription: {purpose: what was sold}\ntags: [a]\nteam: {name: till}\nsupport: [{channel: '#till'}]\n\
         schema:\n- {name: sold, tags: [b, a], physicalType: topic, physicalName: shop-events}\n- {name: returned, description: what came back}\n\
         slaProperties: [{property: errorRate, value: 0.5, unit: percent, valueExt: 30d}]\n\
         customProperties: [{property: meshgate.mode, value: shadow}, {property: meshgate.payload, value: /data}]\n",
    );
    let value = &translation.contracts[0].value;
    let owner = json!({"team": "till", "contact": "#till"});
    assert_eq!(
        value["metadata"],
        json!({"domain": "shop", "name": "sold", "version": "1.0.0", "status": "active", "owner": owner, "description": "what was sold", "tags": ["a", "b"]})
    );
    assert_eq!(value["match"], json!({"type": "sold", "stream": "shop-events"}));
    assert_eq!((&value["mode"], &value["payload"]["pointer"]), (&json!("shadow"), &json!("/data")));
    assert_eq!(value["slo"], json!([{"property": "errorRate", "value": 0.5, "unit": "percent", "window": "30d"}]));
    assert_eq!(translation.contracts[1].value["metadata"]["description"], "what came back");
    assert_eq!(translation.contracts[1].value["match"], json!({"type": "returned"}));
    assert_eq!(translation.remarks, Vec::new());
}

#[test]
fn a_list_of_members_names_the_owner_who_is_still_there() {
    for (team, owner) in [
        ("[{username: a, role: Owner, dateOut: '2024-01-01'}, {username: b, role: data owner}]", json!({"team": "b"})),
        ("[{username: a, role: analyst}]", Value::Null),
        ("[]\nsupport: [{channel: '#x'}]", json!({"team": "shop", "contact": "#x"})),
    ] {
        let translation = translated(&format!("schema: [{{name: sold}}]\nteam: {team}\n"));
        assert_eq!(translation.contracts[0].value["metadata"]["owner"], owner, "{team}");
    }
}

#[test]
fn metrics_that_no_event_may_fail_are_checks() {
    let quality = |entry: &str| {
        let text = format!("schema:\n- name: sold\n  properties: [{{name: a, quality: [{entry}]}}]\n");
        let translation = translated(&text);
        let warnings = translation.remarks.iter().filter(|remark| remark.level == Level::Warning).count();
        (translation.contracts[0].value["fields"][0].clone(), warnings)
    };
    let field = |rest: Value| {
        let mut field = json!({"id": "a_nullValues", "path": "/a", "metric": "nullValues"});
        field.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        (field, 0)
    };
    assert_eq!(quality("{metric: nullValues, mustBe: 0}"), field(json!({})));
    assert_eq!(quality("{type: library, metric: nullValues, mustBeLessThan: 1, unit: rows}"), field(json!({})));
    assert_eq!(quality("{metric: nullValues, mustBeLessOrEqualTo: 0, unit: percent}"), field(json!({})));
    assert_eq!(quality("{type: library, rule: nullCheck}"), field(json!({})));
    assert_eq!(
        quality(
            "{name: a_there, metric: nullValues, mustBe: 0, description: say who, dimension: cp, severity: Warn, customProperties: [{property: meshgate.onFail, value: drop}]}"
        ),
        field(
            json!({"id": "a_there", "message": "say who", "dimension": "completeness", "severity": "warning", "on_fail": "drop"})
        )
    );
    assert_eq!(
        quality("{metric: invalidValues, mustBe: 0, arguments: {validValues: [x], pattern: '^x'}}").0["arguments"],
        json!({"validValues": ["x"], "pattern": "^x"})
    );
    assert_eq!(quality("{rule: validValues, validValues: [x]}").0["arguments"], json!({"validValues": ["x"]}));
    for not_judged in [
        "{metric: nullValues}",
        "{metric: nullValues, mustBeLessThan: 5}",
        "{metric: nullValues, mustBeLessThan: 1, unit: percent}",
        "{metric: nullValues, mustBeBetween: [0, 1]}",
        "{metric: duplicateValues, mustBe: 0}",
        "{type: sql, query: select 1, mustBe: 0}",
        "{type: custom, engine: soda, implementation: x}",
        "{metric: medianValues, mustBe: 0}",
    ] {
        assert_eq!(quality(not_judged), (Value::Null, 1), "{not_judged}");
    }
    assert_eq!(quality("{type: text, description: be good}"), (Value::Null, 0));
}

#[test]
fn metrics_over_events_take_their_window_from_a_custom_property() {
    let text = "schema:
- name: sold
  properties:
  - name: a b
    logicalType: string
    quality:
    - {metric: duplicateValues, mustBe: 0, severity: warning, customProperties: [{property: meshgate.window, value: 1h}]}
    - {metric: missingValues, mustBeLessThan: 5, unit: percent, arguments: {missingValues: [x]}, customProperties: [{property: meshgate.window, value: 5m}]}
    - {metric: nullValues, mustBeLessOrEqualTo: 3, customProperties: [{property: meshgate.window, value: 5m}]}
  quality:
  - {name: volume, metric: rowCount, mustBeBetween: [1, 10], customProperties: [{property: meshgate.stream, value: {window: 5m, schedule: {days: [mon]}}}]}
  - {name: twice, metric: duplicateValues, mustBe: 0, arguments: {properties: [a, o.b]}, customProperties: [{property: meshgate.window, value: 24h}]}
";
    let translation = translated(text);
    assert_eq!(translation.remarks.iter().filter(|remark| remark.level == Level::Warning).count(), 0);
    let expected = json!([
        {"window": "5m", "schedule": {"days": ["mon"]}, "id": "volume", "type": "rowCount", "mustBeBetween": [1, 10]},
        {"window": "24h", "id": "twice", "type": "duplicateValues", "key": ["this.a", "this.o.b"]},
        {"window": "1h", "id": "a_b_duplicateValues", "type": "duplicateValues", "key": ["this[\"a b\"]"], "severity": "warning"},
        {"window": "5m", "id": "a_b_missingValues", "type": "missingValues", "mustBeLessThan": 5, "path": "/a b", "unit": "percent", "arguments": {"missingValues": ["x"]}},
        {"window": "5m", "id": "a_b_nullValues", "type": "nullValues", "mustBeLessOrEqualTo": 3, "path": "/a b", "unit": "rows"},
    ]);
    assert_eq!(translation.contracts[0].value["stream"], expected);
    assert_eq!(good(text).set.contract("shop", "sold").unwrap().streams().len(), 5);
}

#[test]
fn elements_of_arrays_have_paths_and_entries_of_maps_have_none() {
    let text = "schema:
- name: sold
  properties:
  - {name: a/b, logicalType: array, items: {logicalType: object, properties: [{name: sku, classification: PII, quality: [{metric: nullValues, mustBe: 0}]}]}}
  - {name: m, logicalType: map, map: {key: {logicalType: string}, value: {logicalType: string, classification: secret, quality: [{metric: nullValues, mustBe: 0}]}}}
";
    let translation = translated(text);
    let value = &translation.contracts[0].value;
    assert_eq!(value["fields"], json!([{"id": "sku_nullValues", "path": "/a~1b/*/sku", "metric": "nullValues"}]));
    let masks = json!([
        {"path": "/a~1b/*/sku", "mask": "redact", "classification": "PII"},
        {"path": "/m", "mask": "redact", "classification": "secret"},
    ]);
    assert_eq!(value["privacy"], masks, "a map with private values is masked as a whole");
    assert_eq!(translation.remarks.iter().filter(|remark| remark.level == Level::Warning).count(), 1);
}

#[test]
fn physical_names_are_the_keys_of_events() {
    let derived = schema(
        "[{name: order id, physicalName: orderId, required: true, logicalType: string}, {name: a, physicalName: b, logicalType: object, \
         logicalTypeOptions: {required: [inner one]}, properties: [{name: inner one, physicalName: one}]}]",
    );
    assert_eq!(derived["required"], json!(["orderId"]));
    assert_eq!(derived["properties"]["b"]["required"], json!(["one"]));
    let text = "schema: [{name: sold, properties: [{name: who, physicalName: buyer, quality: [{metric: nullValues, mustBe: 0}]}]}]\n";
    assert_eq!(translated(text).contracts[0].value["fields"][0]["path"], "/buyer");
}

#[test]
fn the_status_and_the_service_level_are_of_whom_they_name() {
    let text = "schema: [{name: sold}, {name: returned}]\nslaProperties: [{property: er, value: 1, unit: percent, element: returned.code}]\n";
    let translation = translated(text);
    assert!(translation.contracts[0].value.get("slo").is_none());
    assert_eq!(translation.contracts[1].value["slo"][0]["value"], 1);
    let document = yaml::parse(format!("{}{text}", HEAD.replace("active", "development")).as_bytes()).unwrap().value;
    let ground = Ground { domain: "shop", file: "x.yaml", team: None };
    assert_eq!(translate(&document, ground).contracts[0].value["metadata"]["status"], "draft");
}

#[test]
fn classifications_mask_by_their_words() {
    for (class, mask) in [
        ("PII", Some("redact")),
        ("Highly Confidential", Some("redact")),
        ("restricted", Some("redact")),
        ("public", Some("none")),
        ("internal", Some("none")),
        ("non-public personal", Some("redact")),
        ("Non-Public", Some("redact")),
        ("not for public use", Some("redact")),
        ("internal, no restrictions", Some("redact")),
        ("3", None),
        ("republic", None),
    ] {
        assert_eq!(super::default_mask(class), mask, "{class}");
    }
}

#[test]
fn one_file_of_several_objects_is_as_many_contracts() {
    let compiled = good(
        "schema:
- {name: sold, properties: [{name: qty, logicalType: integer, required: true}]}
- {name: returned, properties: [{name: why, logicalType: string, quality: [{metric: missingValues, mustBe: 0, arguments: {missingValues: ['']}}]}]}
",
    );
    assert_eq!(judged(&compiled, "sold", &json!({"type": "sold", "qty": 1})), (Verdict::Forward, BTreeSet::new()));
    assert_eq!(
        judged(&compiled, "sold", &json!({"type": "sold"})),
        (Verdict::Quarantine, ["schema".to_owned()].into())
    );
    let missing = ["why_missingValues".to_owned()].into();
    assert_eq!(judged(&compiled, "returned", &json!({"type": "returned", "why": ""})), (Verdict::Quarantine, missing));
}

#[test]
fn our_own_rules_stand_in_custom_checks() {
    let compiled = good(
        "schema:
- name: sold
  properties: [{name: qty, logicalType: integer, required: true}, {name: max, logicalType: integer, required: true}]
  quality:
  - {type: custom, engine: meshgate, name: not_too_many, implementation: {expression: this.qty <= this.max}, severity: warning}
  - type: custom
    engine: meshgate
    name: some
    implementation: |
      expression: this.qty > 0
      when: this.max > 0
",
    );
    let judged = |qty: i64| judged(&compiled, "sold", &json!({"type": "sold", "qty": qty, "max": 2}));
    assert_eq!(judged(1), (Verdict::Forward, BTreeSet::new()));
    assert_eq!(judged(3), (Verdict::Forward, ["not_too_many".to_owned()].into()));
    assert_eq!(judged(0), (Verdict::Quarantine, ["some".to_owned()].into()));
}

#[test]
fn places_lead_back_into_the_file() {
    let text = format!(
        "{HEAD}schema:\n- name: sold\n  properties:\n  - name: a\n    logicalType: array\n    items: {{logicalType: string, logicalTypeOptions: {{pattern: '('}}}}\n    quality: [{{name: q, metric: nullValues, mustBe: 0, description: d}}]\n  - {{name: b, customProperties: [{{property: meshgate.jsonSchema, value: {{not: {{type: 5}}}}}}]}}\n"
    );
    let document = yaml::parse(text.as_bytes()).unwrap().value;
    let translation = translate(&document, Ground { domain: "shop", file: "x.yaml", team: None });
    let contract = &translation.contracts[0];
    let of = |pointer: &str| contract.source_of(&Pointer::parse(pointer).unwrap()).to_string();
    assert_eq!(of("/metadata/version"), "/version");
    assert_eq!(of("/fields/0/id"), "/schema/0/properties/0/quality/0/name");
    assert_eq!(of("/fields/0/severity"), "/schema/0/properties/0/quality/0/severity");
    assert_eq!(of("/nowhere"), "/schema/0/nowhere");
    let of = |pointer: &str| contract.source_of_schema(&document, &Pointer::parse(pointer).unwrap()).to_string();
    assert_eq!(of("/properties/a/items/pattern"), "/schema/0/properties/0/items/logicalTypeOptions/pattern");
    assert_eq!(of("/properties/a/type"), "/schema/0/properties/0");
    assert_eq!(of("/properties/b/not/type"), "/schema/0/properties/1/customProperties/0/value/not/type");
}

#[test]
fn remarks_and_nesting_are_bounded() {
    let many = vec!["{metric: nullValues}"; 1_000].join(", ");
    let translation = translated(&format!("schema:\n- name: sold\n  properties: [{{name: a, quality: [{many}]}}]\n"));
    assert!(translation.remarks.len() <= super::REMARKS_MAX + 1);
    assert!(translation.remarks.iter().all(|remark| remark.level == Level::Warning), "nothing there is an error");

    let long = "x".repeat(5_000);
    let translation = translated(&format!(
        "schema: [{{name: sold}}, {{name: returned}}]\ncustomProperties: [{{property: meshgate.stream, value: {long}}}]\n"
    ));
    assert!(translation.remarks.iter().any(|remark| remark.message.contains("4096 bytes")));
    assert!(translation.contracts[1].value["match"].get("stream").is_none());

    let mut nested = "{name: a}".to_owned();
    for _ in 0..40 {
        nested = format!("{{name: a, logicalType: object, properties: [{nested}]}}");
    }
    let translation = translated(&format!("schema:\n- name: sold\n  properties: [{nested}]\n"));
    assert!(translation.remarks.iter().any(|remark| remark.level == Level::Error && remark.message.contains("nest")));
}
