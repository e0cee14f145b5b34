use std::collections::BTreeMap;

use expect_test::{Expect, expect};
use serde_json::json;

use super::*;
use crate::catalogue::html::joined;
use crate::rule::schema::references::References;

/// The rows of a schema, as lines.
fn told(schema: Value) -> String {
    let documents = BTreeMap::from([("s.json".to_owned(), schema)]);
    let references = References::new("s.json", &documents["s.json"], &documents);
    let table = rows(&WrittenSchema { path: "s.json", references, formats: true });
    let line = |row: &Row| {
        let required = row.required.map_or("-", |required| if required { "yes" } else { "no" });
        let demands = joined(&row.demands, "; ").into_string();
        let demands = demands.replace("<code>", "`").replace("</code>", "`").replace("&quot;", "\"");
        let option = if row.option.is_empty() { String::new() } else { format!(" [{}]", row.option) };
        let types = row.types.clone().into_string();
        format!("{}{option} | {types} | {required} | {demands}\n", if row.path.is_empty() { "." } else { &row.path })
    };
    table.rows.iter().map(line).collect::<String>() + if table.is_cut { "(cut)\n" } else { "" }
}

fn check(schema: Value, expected: Expect) {
    expected.assert_eq(&told(schema));
}

#[test]
fn references_and_all_of_are_laid_side_by_side() {
    check(
        json!({
            "type": "object", "required": ["id", "open"],
            "allOf": [{"$ref": "#/$defs/base"}, {"properties": {"id": {"minLength": 3}}}],
            "properties": {"a/b": {"$ref": "#/$defs/base/properties/id", "maxLength": 9}},
            "$defs": {"base": {"properties": {"id": {"type": "string"}}, "required": ["id"]}},
        }),
        expect![[r#"
            . | object | - | 
            /a~1b | string | no | at most 9 characters
            /id | string | yes | at least 3 characters
            /open | any | yes | 
        "#]],
    );
}

#[test]
fn a_schema_that_holds_itself_ends() {
    check(
        json!({
            "type": "object",
            "properties": {"child": {"$ref": "#"}, "all": {"type": "array", "items": {"$ref": "#"}, "minItems": 1}},
        }),
        expect![[r#"
            . | object | - | 
            /child | object | no | made like `the payload`
            /all | array | no | at least 1 element
            /all/* | object | - | made like `the payload`
        "#]],
    );
    // Not even by itself alone.
    check(
        json!({"$ref": "#"}),
        expect![[r#"
        . | any | - | 
    "#]],
    );
    // Each time in another way: depth and rows are bounded.
    let properties: serde_json::Map<String, Value> =
        (0..30).map(|n| (format!("p{n}"), json!({"$ref": format!("#/$defs/{}", (n + 1) % 30)}))).collect();
    let defs: serde_json::Map<String, Value> =
        (0..30).map(|n| (n.to_string(), json!({"title": n.to_string(), "properties": properties}))).collect();
    let lines = told(json!({"$ref": "#/$defs/0", "$defs": defs}));
    assert_eq!(lines.lines().count(), ROWS_MAX + 1);
    assert!(lines.ends_with("(cut)\n"));
}

#[test]
fn alternatives_are_rows_where_they_have_fields_and_words_elsewhere() {
    check(
        json!({
            "properties": {
                "maybe": {"anyOf": [{"type": "string", "maxLength": 5}, {"type": "null"}]},
                "either": {"oneOf": [{"type": "integer", "minimum": 1}, {"format": "uuid"}, true]},
                "pay": {"anyOf": [
                    {"type": "object", "required": ["card"], "properties": {"card": {"type": "string"}}},
                    {"enum": ["cash"]},
                ]},
                "not": {"not": {"const": 3}},
            },
        }),
        expect![[r#"
            . | any | - | 
            /maybe | string or null | no | at most 5 characters
            /either | any | no | exactly one of: integer, at least 1 — or UUID — or anything
            /pay | object or string | no | at least one of the 2 options below holds
            /pay [option 1 of 2] | object | - | 
            /pay/card [option 1 of 2] | string | yes | 
            /pay [option 2 of 2] | string | - | is `cash`
            /not | any | no | not: is `3`
        "#]],
    );
}

#[test]
fn conditions_maps_and_lists_are_told() {
    check(
        json!({
            "type": "object",
            "properties": {
                "pair": {"prefixItems": [{"type": "string"}, {"type": "integer"}], "items": {"type": "null"}},
                "bag": {"type": "array", "contains": {"const": "x"}},
            },
            "patternProperties": {"^x-": {"type": "string"}},
            "additionalProperties": {"type": "boolean"},
            "propertyNames": {"maxLength": 8},
            "if": {"properties": {"kind": {"const": "company"}}, "required": ["kind"]},
            "then": {"required": ["taxId"]},
            "else": {"properties": {"taxId": false}},
            "dependentRequired": {"a": ["b", "c"]},
            "$dynamicRef": "#meta",
        }),
        expect![[r#"
            . | object | - | as `#meta` says; each name is: at most 8 characters; if has `kind`, `kind` is `company` — then has `taxId`; unless has `kind`, `kind` is `company` — then `taxId` is not allowed; with `a` also `b`, `c`
            /pair | any | no | 
            /pair/0 | string | - | 
            /pair/1 | integer | - | 
            /pair/{any further element} | null | - | 
            /bag | array | no | at least one element is: is `x`
            /{name that matches ^x-} | string | - | 
            /{any other name} | boolean | - | 
        "#]],
    );
}

#[test]
fn draft_7_takes_nothing_from_beside_a_reference_but_words() {
    let schema = json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "properties": {"a": {"$ref": "#/definitions/a", "maxLength": 3, "description": "outer"}},
        "definitions": {"a": {"type": "string", "description": "inner"}},
    });
    check(
        schema.clone(),
        expect![[r#"
        . | any | - | 
        /a | string | no | 
    "#]],
    );
    let documents = BTreeMap::from([("s.json".to_owned(), schema)]);
    let references = References::new("s.json", &documents["s.json"], &documents);
    let table = rows(&WrittenSchema { path: "s.json", references, formats: true });
    assert_eq!(table.rows[1].description.as_deref(), Some("outer"));
}
