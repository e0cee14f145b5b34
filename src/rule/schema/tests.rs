use std::time::{Duration, Instant};

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn compile(document: &Value) -> Result<Schema, SchemaFault> {
    Schema::compile(document, "d/schemas/a.json", &BTreeMap::new(), true)
}

fn found(schema: &Value, payload: &Value) -> Vec<(String, String)> {
    let findings = compile(schema).unwrap().find(payload, &Pointer::parse("/data").unwrap(), 100);
    findings.into_iter().map(|f| (f.pointer, f.message)).collect()
}

/// Every reason in one golden list: the schema asks, the payload holds `secret` where it fails.
#[test]
fn reasons_read_well_and_carry_no_value() {
    let cases = [
        (json!({"required": ["email"]}), json!({"name": "secret"})),
        (json!({"properties": {"qty": {"type": "integer"}}}), json!({"qty": "secret"})),
        (json!({"properties": {"qty": {"type": ["integer", "null"]}}}), json!({"qty": "secret"})),
        (json!({"properties": {"a/b": {"enum": ["x", 1, null]}}}), json!({"a/b": "secret"})),
        (json!({"properties": {"v": {"const": 2}}}), json!({"v": "secret"})),
        (json!({"properties": {"v": {"pattern": "^[A-Z]{2}$"}}}), json!({"v": "secret"})),
        (json!({"properties": {"v": {"format": "email"}}}), json!({"v": "secret"})),
        (json!({"properties": {"v": {"minLength": 9}}}), json!({"v": "secret"})),
        (json!({"properties": {"v": {"maxLength": 1}}}), json!({"v": "secret"})),
        (json!({"items": {"minimum": 0}}), json!([1, -777])),
        (json!({"items": {"exclusiveMaximum": 1.50}}), json!([777])),
        (json!({"items": {"multipleOf": 5}}), json!([777])),
        (json!({"minItems": 2, "uniqueItems": true}), json!(["secret"])),
        (json!({"uniqueItems": true}), json!(["secret", "secret"])),
        (json!({"contains": {"const": 1}}), json!(["secret"])),
        (json!({"properties": {"a": {}}, "additionalProperties": false}), json!({"a": 1, "b~": "secret", "c": 2})),
        (json!({"properties": {"a": {}}, "unevaluatedProperties": false}), json!({"a": 1, "b": "secret"})),
        (json!({"prefixItems": [{}], "items": false}), json!(["a", "secret"])),
        (json!({"not": {"type": "string"}}), json!("secret")),
        (json!({"propertyNames": {"maxLength": 3}}), json!({"secretly": 1})),
        (json!({"anyOf": [{"type": "string"}, {"type": "null"}]}), json!(777)),
        (
            json!({"oneOf": [
                {"properties": {"kind": {"const": "card"}, "number": {"type": "string"}}, "required": ["kind"]},
                {"properties": {"kind": {"const": "iban"}, "iban": {"type": "string"}}, "required": ["kind"]}
            ]}),
            json!({"kind": "secret"}),
        ),
        (
            json!({"oneOf": [
                {"properties": {"kind": {"const": "card"}, "number": {"type": "string"}}, "required": ["kind", "number"]},
                {"properties": {"kind": {"const": "iban"}, "iban": {"type": "string"}}, "required": ["kind", "iban"]}
            ]}),
            json!({"kind": "iban", "iban": 777}),
        ),
        (json!({"oneOf": [{"type": "integer"}, {"minimum": 5}]}), json!(777)),
        // The one whose constants and properties are there is meant, however much is wrong further down.
        (
            json!({"oneOf": [
                {"required": ["commits"], "properties": {"action": false}},
                {"oneOf": [
                    {"required": ["action", "star"], "properties": {"action": {"const": "created"}}},
                    {"required": ["action", "star"], "properties": {"action": {"const": "deleted"}}}
                ]},
                {"required": ["action", "label"], "properties": {
                    "action": {"enum": ["created", "edited"]},
                    "label": {"required": ["name", "color"], "properties": {"id": {"type": "integer"}}}
                }},
                {"required": ["action", "label", "issue"], "properties": {"action": {"const": "labeled"}}}
            ]}),
            json!({"action": "created", "label": {"id": "secret"}}),
        ),
        // Alternatives of an alternative: the reasons are those of the nearest, not that there are some.
        (
            json!({"anyOf": [
                {"required": ["commits"], "properties": {"action": false}},
                {"oneOf": [
                    {"required": ["star"], "properties": {"action": {"const": "created"}, "star": {"minimum": 1}}},
                    {"required": ["star"], "properties": {"action": {"const": "deleted"}, "star": {"minimum": 9}}}
                ]}
            ]}),
            json!({"action": "deleted", "star": 7}),
        ),
        (
            json!({"oneOf": [{"type": "null"}, {"type": "object", "required": ["a", "b", "c", "d"]}]}),
            json!({"name": "secret"}),
        ),
        (json!({"contentEncoding": "base64", "$schema": "http://json-schema.org/draft-07/schema#"}), json!("secret!")),
    ];
    let mut told = String::new();
    for (schema, payload) in &cases {
        for (pointer, message) in found(schema, payload) {
            assert!(!message.contains("secret") && !message.contains("777"), "{message}");
            told.push_str(&format!("{pointer}: {message}\n"));
        }
    }
    expect_test::expect_file!["testdata/reasons.txt"].assert_eq(&told);
}

#[test]
fn faults_name_their_place_and_what_to_do() {
    let cases = [
        json!({"properties": {"a": {"pattern": "(?=x)y"}}}),
        json!({"properties": {"a": {"pattern": "(a)\\1"}}}),
        json!({"properties": {"a": {"pattern": "(a"}}}),
        json!({"properties": {"a": {"pattern": "(a{1000}){90}"}}}),
        json!({"patternProperties": {"(?!x)": {}}}),
        json!({"properties": {"a": {"type": "strin"}}}),
        json!({"properties": {"a": {"required": "b"}}}),
        json!({"properties": {"a": {"$ref": "b.json"}}}),
        json!({"items": {"$ref": "https://example.com/x.json"}}),
        json!({"items": {"$ref": "#/$defs/adress"}, "$defs": {"address": {}}}),
        json!({"items": {"$ref": "#nowhere"}}),
        json!({"$schema": "http://example.com/mine"}),
        json!({"minimum": "x"}),
        json!([1]),
    ];
    let mut told = String::new();
    for schema in &cases {
        let fault = compile(schema).expect_err(&schema.to_string());
        told.push_str(&format!("{}: {}\n", fault.pointer, fault.message));
        if let Some(hint) = fault.hint {
            told.push_str(&format!("    hint: {hint}\n"));
        }
    }
    expect_test::expect_file!["testdata/faults.txt"].assert_eq(&told);
}

#[test]
fn references_lead_to_sibling_files_by_path_and_by_id() {
    let others = BTreeMap::from([
        (
            "d/shared/address.json".to_owned(),
            json!({"required": ["zip"], "properties": {"zip": {"$ref": "zip%20code.json"}}}),
        ),
        ("d/shared/zip code.json".to_owned(), json!({"type": "string"})),
        ("x/y.json".to_owned(), json!({"$id": "https://example.com/y", "type": "boolean"})),
    ]);
    let document = json!({"properties": {
        "address": {"$ref": "../shared/address.json"}, "y": {"$ref": "https://example.com/y"}
    }});
    let schema = Schema::compile(&document, "d/schemas/a.json", &others, true).unwrap();
    let findings = schema.find(&json!({"address": {"zip": 1}, "y": 1}), &Pointer::root(), 10);
    let pointers: Vec<_> = findings.iter().map(|f| f.pointer.as_str()).collect();
    assert_eq!(pointers, ["/address/zip", "/y"]);
    assert!(schema.find(&json!({"address": {"zip": "1"}}), &Pointer::root(), 10).is_empty());
}

#[test]
fn a_fault_in_a_file_referred_to_is_found_there() {
    let cases = [
        (json!({"type": 5}), "/type"),
        (json!({"pattern": "(?=x)"}), "/pattern"),
        (json!({"patternProperties": {"(?=x/y)": {}}}), "/patternProperties/(?=x~1y)"),
        (json!({"items": [1]}), "/items/0"),
    ];
    for (broken, pointer) in cases {
        let others = BTreeMap::from([("d/schemas/b.json".to_owned(), broken)]);
        let document = json!({"properties": {"b": {"$ref": "b.json"}}});
        let fault = Schema::compile(&document, "d/schemas/a.json", &others, true).unwrap_err();
        assert_eq!(fault.pointer, pointer);
        assert!(fault.message.ends_with("(in \"d/schemas/b.json\", which this file refers to)"), "{fault}");
    }
}

/// As deep as a JSON text may be, in a debug build and on a test's stack.
#[test]
fn the_deepest_documents_fit_the_stack() {
    let depth = 100;
    let schema = (0..depth).fold(json!({"type": "integer"}), |inner, _| json!({"items": inner}));
    let payload = (0..depth).fold(json!("x"), |inner, _| json!([inner]));
    assert_eq!(found(&schema, &payload).len(), 1);
    let branches =
        (0..depth).fold(json!({"type": "integer"}), |inner, _| json!({"anyOf": [{"items": inner}, {"type": "null"}]}));
    assert_eq!(found(&branches, &payload).len(), 1);
}

#[test]
fn the_dialect_is_the_schemas_own_and_2020_12_without() {
    // A boolean exclusiveMinimum is draft 4's.
    let four = json!({"$schema": "http://json-schema.org/draft-04/schema#", "minimum": 1, "exclusiveMinimum": true});
    assert_eq!(found(&four, &json!(1)).len(), 1);
    let latest = json!({"minimum": 1, "exclusiveMinimum": true});
    assert_eq!(compile(&latest).unwrap_err().pointer, "/exclusiveMinimum");
    assert_eq!(found(&json!({"prefixItems": [{"type": "string"}]}), &json!([1])).len(), 1);
}

#[test]
fn formats_assert_on_demand() {
    let document = json!({"format": "date-time"});
    let lax = Schema::compile(&document, "a.json", &BTreeMap::new(), false).unwrap();
    assert!(lax.find(&json!("yesterday"), &Pointer::root(), 1).is_empty());
    assert_eq!(found(&document, &json!("yesterday"))[0].1, "must be a valid date-time");
}

#[test]
fn numbers_are_exact() {
    let maximum: Value = serde_json::from_str(r#"{"maximum": 9007199254740992}"#).unwrap();
    let over: Value = serde_json::from_str("9007199254740993").unwrap();
    assert_eq!(found(&maximum, &over).len(), 1);
    assert!(found(&json!({"type": "integer"}), &serde_json::from_str("12345678901234567890123").unwrap()).is_empty());
    assert!(found(&json!({"multipleOf": 0.1}), &json!(0.3)).is_empty());
}

#[test]
fn at_most_limit_findings_are_told() {
    let schema = compile(&json!({"items": {"type": "string"}})).unwrap();
    assert_eq!(schema.find(&json!(vec![1; 50]), &Pointer::root(), 7).len(), 7);
    assert_eq!(schema.find(&json!([1]), &Pointer::root(), 7).len(), 1);
}

/// Gathering every reason would take 2^60 steps, and half a million copies of errors.
#[test]
fn refusing_is_bounded_for_deep_and_for_large_payloads() {
    let tree = json!({"anyOf": [
        {"properties": {"l": {"$ref": "#"}}, "required": ["x"]},
        {"properties": {"l": {"$ref": "#"}}, "required": ["y"]}
    ]});
    let deep = (0..60).fold(json!({}), |tree, _| json!({"l": tree, "x": 1, "y": 1}));
    let alternatives: Vec<Value> = (0..16).map(|i| json!({"const": i})).collect();
    let list = json!({"items": {"oneOf": alternatives}});
    let large = json!(vec![-1; 500_000]);
    for (schema, payload) in [(tree, deep), (list, large)] {
        let schema = compile(&schema).unwrap();
        let start = Instant::now();
        assert!(!schema.find(&payload, &Pointer::root(), 10).is_empty());
        assert!(start.elapsed() < Duration::from_secs(60), "{:?}", start.elapsed());
    }
}

#[test]
fn a_fault_beyond_the_cut_is_still_a_finding() {
    let mut many = vec![json!("x"); 100_000];
    many.push(json!(1));
    let findings = found(&json!({"items": {"type": "string"}}), &json!(many));
    assert_eq!(findings.len(), 1);
    assert_eq!(findings[0].0, "/data");
}

fn payload() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        "[a-c]{0,3}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::hash_map("[a-c]", inner, 0..4).prop_map(|m| m.into_iter().collect()),
        ]
    })
}

/// Schemas small enough to be both met and missed by [`payload`].
fn schema() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(json!(true)),
        prop::sample::select(vec!["string", "integer", "object", "array", "null"]).prop_map(|t| json!({"type": t})),
        Just(json!({"required": ["a"]})),
        Just(json!({"enum": ["a", 1, null]})),
        Just(json!({"maxLength": 1, "maxItems": 2, "maximum": 0})),
        Just(json!({"$ref": "#"})),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::hash_map("[a-c]", inner.clone(), 1..3).prop_map(|p| json!({"properties": p})),
            inner.clone().prop_map(|s| json!({"items": s, "uniqueItems": true})),
            inner.clone().prop_map(|s| json!({"not": s})),
            (prop::sample::select(vec!["anyOf", "oneOf", "allOf"]), prop::collection::vec(inner, 1..4))
                .prop_map(|(keyword, list)| json!({ keyword: list })),
        ]
    })
}

proptest! {
    /// A finding exactly when invalid, at places that exist, the same each time, and nothing panics.
    #[test]
    fn findings_are_sound(schema in schema(), payload in payload()) {
        let Ok(compiled) = compile(&schema) else { return Ok(()) };
        let findings = compiled.find(&payload, &Pointer::root(), 10);
        prop_assert_eq!(findings.is_empty(), compiled.validator.is_valid(&payload));
        prop_assert_eq!(&findings, &compiled.find(&payload, &Pointer::root(), 10));
        for finding in findings {
            prop_assert!(payload.pointer(&finding.pointer).is_some(), "{} of {} in {}", finding.pointer, schema, payload);
        }
    }

    #[test]
    fn no_document_panics(document in payload()) {
        let _ = compile(&document);
    }
}
