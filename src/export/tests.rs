//! Contracts written as ODCS and read again: the shape, and what becomes of what the standard has no word for.

use serde_json::{Value, json};

use super::{Exported, odcs};
use crate::contract::{RuleFiles, compile, yaml};

const HEAD: &str = "apiVersion: meshgate/v1\nkind: EventContract\nmetadata: {domain: shop, name: sold, version: 1.0.0, status: active}\n";

fn files(contract: &str, schema: &Value) -> RuleFiles {
    let domain =
        "apiVersion: meshgate/v1\nkind: Domain\nmetadata: {name: shop, owner: {team: till, contact: '#till'}}\n";
    RuleFiles::from([
        ("shop/domain.yaml".to_owned(), domain.into()),
        ("shop/sold.yaml".to_owned(), format!("{HEAD}{contract}").into()),
        ("shop/s.json".to_owned(), schema.to_string().into()),
    ])
}

fn export(contract: &str, schema: &Value) -> (Exported, Value) {
    let files = files(contract, schema);
    let compiled = compile(&files, "test");
    assert!(compiled.is_good(), "{:#?}", compiled.diagnostics);
    let contract = compiled.set.contract("shop", "sold").unwrap();
    let exported = odcs(&files, compiled.set.domain("shop").unwrap(), contract).unwrap();
    let value = yaml::parse(exported.text.as_bytes()).unwrap().value;
    (exported, value)
}

/// The schema that is derived from the export.
fn derived(schema: &Value) -> Value {
    let (exported, _) = export("match: {type: sold}\npayload: {schema: s.json}\n", schema);
    let mut again = files("", &json!({}));
    again.remove("shop/sold.yaml");
    again.insert("shop/sold.odcs.yaml".to_owned(), exported.text.clone().into());
    let compiled = compile(&again, "test");
    assert!(compiled.is_good(), "{:#?}\n{}", compiled.diagnostics, exported.text);
    let contract = compiled.set.contract("shop", "sold").unwrap();
    let reread = crate::contract::reread(&again, compiled.set.domain("shop").unwrap(), contract).unwrap();
    reread.derived_schema.expect("a derived schema").1
}

#[test]
fn a_contract_reads_as_the_standard_has_it() {
    let schema = json!({
        "type": "object",
        "required": ["id", "lines", "note"],
        "properties": {
            "id": {"type": "string", "pattern": "^S-", "description": "which sale"},
            "at": {"type": "string", "format": "date-time"},
            "qty": {"type": "integer", "minimum": 1},
            "lines": {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/line"}},
            "note": {"type": ["string", "null"]},
        },
        "additionalProperties": false,
        "$defs": {"line": {"type": "object", "properties": {"sku": {"enum": ["a", "b"]}}}},
    });
    let contract = "\
match: {stream: shop-*, type: sale}
payload: {schema: s.json}
mode: shadow
fields:
- {id: sku_there, path: /lines/*/sku, metric: nullValues, severity: warning, on_fail: drop}
- {id: odd, path: /lines/*/nowhere, metric: missingValues, arguments: {missingValues: ['']}}
rules:
- {id: later, expression: 'timestamp(this.at) <= now', message: too late, dimension: timeliness}
privacy:
- {path: /id, classification: pii, mask: hash}
- {path: /qty, mask: redact}
slo: [{property: errorRate, value: 1, unit: percent, window: 7d}]
";
    let (exported, _) = export(contract, &schema);
    expect_test::expect_file!["testdata/sold.odcs.yaml"].assert_eq(&exported.text);
    expect_test::expect![[r#"
        of the schema, kept under meshgate.jsonSchema: additionalProperties, enum, required
        "odd" looks at "/lines/*/nowhere", which is no property: kept as a custom check
        rules, kept as custom checks (engine: meshgate): 1"#]]
    .assert_eq(&exported.warnings.join("\n"));
}

#[test]
fn the_schema_comes_back() {
    for schema in [
        json!({"type": "object"}),
        json!({"type": "object", "properties": {"a": {}, "b": false, "c": {"type": ["string", "integer"]}}, "required": ["a", "b", "c", "d"]}),
        json!({"type": "object", "properties": {"a": {"type": "object", "required": ["x", "y"], "properties": {"x": {"type": ["string", "null"]}}}}}),
        json!({"type": "object", "properties": {"a": {"type": "array", "items": {"type": ["integer", "null"]}}}, "patternProperties": {"^x": {"type": "string"}}}),
        json!({"type": ["object", "null"], "properties": {"a": {"type": "string", "format": "time"}}, "minProperties": 1}),
    ] {
        let mut back = derived(&schema);
        // An empty list of properties, and the order of names, mean nothing.
        let sort = |value: &mut Value| {
            if let Some(names) = value.get_mut("required").and_then(Value::as_array_mut) {
                names.sort_by_key(Value::to_string);
            }
        };
        sort(&mut back);
        if schema["properties"]["b"] == json!(false) {
            assert_eq!(back["properties"]["b"], json!({"not": {}}));
            back["properties"]["b"] = json!(false);
        }
        assert_eq!(back, schema);
    }
}

#[test]
fn references_in_circles_stay_references() {
    let schema = json!({
        "type": "object",
        "properties": {"tree": {"$ref": "#/$defs/node"}},
        "$defs": {"node": {"type": "object", "required": ["value"], "properties": {"value": {"type": "integer"}, "children": {"type": "array", "items": {"$ref": "#/$defs/node"}}}}},
    });
    let back = derived(&schema);
    assert_eq!(back["properties"]["tree"]["properties"]["children"]["items"], json!({"$ref": "#/$defs/node1"}));
    assert_eq!(back["$defs"]["node1"]["properties"]["children"]["items"], json!({"$ref": "#/$defs/node1"}));
}

#[test]
fn what_cannot_be_taken_apart_stays_a_file() {
    for schema in [
        json!({"type": "array", "items": {"type": "integer"}}),
        json!({"type": "object", "properties": {"a": {"$anchor": "x", "type": "string"}}}),
    ] {
        let (exported, value) = export("match: {type: sold}\npayload: {schema: s.json}\n", &schema);
        let custom = &value["schema"][0]["customProperties"];
        assert_eq!(custom, &json!([{"property": "meshgate.schema", "value": "s.json"}]));
        assert!(exported.warnings[0].contains("stays in s.json"), "{:?}", exported.warnings);
    }
}

#[test]
fn checks_over_events_are_metrics_where_the_standard_has_them() {
    let entry = |check: Value| {
        let entry = super::quality::over_events(&check);
        (entry["metric"].clone(), entry["engine"].clone(), entry)
    };
    let (metric, _, entry_of) = entry(json!({"id": "v", "type": "rowCount", "window": "5m", "mustBeBetween": [5, 10]}));
    assert_eq!((metric, &entry_of["mustBeBetween"]), (json!("rowCount"), &json!([5, 10])));
    let (_, _, entry_of) =
        entry(json!({"id": "u", "type": "duplicateValues", "key": ["this.a", "this.b"], "window": "1h"}));
    assert_eq!(entry_of["arguments"], json!({"properties": ["a", "b"]}));
    assert_eq!(entry_of["customProperties"][0]["value"]["window"], "1h");
    assert_eq!(entry(json!({"id": "u", "type": "duplicateValues", "key": ["event.id"]})).1, "meshgate");
    assert_eq!(entry(json!({"id": "s", "type": "sequence", "key": ["this.a"]})).1, "meshgate");
}

#[test]
fn checks_over_events_and_breakers_come_back_as_they_were() {
    let written = "match: {type: sold}
stream:
  - {id: unique, type: duplicateValues, key: [event.id], window: 24h, on_fail: drop}
  - {id: unique_a, type: duplicateValues, key: [this.a], window: 1h, dimension: uniqueness}
  - {id: order, type: sequence, key: [this.a], value: this.n, onGap: quarantine}
  - {id: volume, type: rowCount, window: 5m, mustBeBetween: [5, 10], schedule: {days: [mon]}}
  - {id: empty, type: missingValues, path: /a, arguments: {missingValues: [x]}, window: 5m, mustBeLessThan: 5}
  - {id: fresh, type: latency, from: this.at, window: 5m, p99MustBeLessThan: 60s}
breaker: {maxQuarantineRatio: 0.5, window: 1m, minEvents: 10, action: hold}
";
    let before = files(written, &json!({}));
    let (exported, _) = export(written, &json!({}));
    let mut again = files("", &json!({}));
    again.remove("shop/sold.yaml");
    again.insert("shop/sold.odcs.yaml".to_owned(), exported.text.clone().into());
    let [before, after] = [before, again].map(|files| {
        let compiled = compile(&files, "test");
        assert!(compiled.is_good(), "{:#?}\n{}", compiled.diagnostics, exported.text);
        compiled.set
    });
    let [before, after] = [&before, &after].map(|set| set.contract("shop", "sold").unwrap());
    assert_eq!(after.breaker, before.breaker);
    let told = |contract: &crate::contract::Contract| -> std::collections::BTreeSet<String> {
        let told = |check: &crate::contract::StreamCheck| {
            let need = check.need().map(|need| need.fingerprint.to_string());
            format!("{} {} {:?} {:?} {need:?}", check.id, check.kind, check.dimension, check.mode)
        };
        contract.streams().iter().map(told).collect()
    };
    assert_eq!(told(after), told(before));
}
