//! What the fuzz targets share: schemas that use every keyword, and the bench's contract.

use std::collections::BTreeMap;

use meshgate_core::contract::{self, ContractSet, RuleFiles};
use meshgate_core::decode::json;
use meshgate_core::plan::Plan;
use meshgate_core::rule::Finding;
use meshgate_core::rule::capture::Reads;
use meshgate_core::rule::pointer::Pointer;
use meshgate_core::rule::schema::Schema;
use serde_json::Value;

pub const ORDER_SCHEMA: &str = include_str!("../../benches/rules/orders/schemas/order.json");

/// Of several drafts; what one cannot express as a plan is among them.
const SCHEMAS: &[&str] = &[
    ORDER_SCHEMA,
    include_str!("../../benches/flat.schema.json"),
    r#"{"properties": {"a": {"type": "integer", "minimum": -3, "maximum": 10, "multipleOf": 2},
        "b": {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 99.5, "multipleOf": 0.01}}, "required": ["a"]}"#,
    r#"{"properties": {"a": {"minLength": 2, "maxLength": 4}, "b": {"pattern": "^[a-c]{2,3}-?x$"}, "c": {"pattern": "\\d\\w\\s|é"}},
        "patternProperties": {"^[ab]": {"not": {"const": "ab"}}, "x$": {"type": ["string", "null"]}},
        "additionalProperties": {"type": "integer"}}"#,
    r#"{"properties": {"a": {"enum": [1, 2.5, "ab", null, true, "bé", [1], {"a": 1}]}, "b": {"const": 1.0}},
        "additionalProperties": false, "minProperties": 1, "maxProperties": 2}"#,
    r#"{"items": {"items": {"type": "integer"}, "uniqueItems": true}, "minItems": 1, "maxItems": 4, "uniqueItems": true}"#,
    r#"{"prefixItems": [{"type": "integer"}, {"type": "string"}], "items": false}"#,
    r#"{"contains": {"type": "string", "minLength": 2}, "minContains": 1, "maxContains": 2}"#,
    r#"{"anyOf": [{"required": ["a"]}, {"required": ["b"], "properties": {"b": {"type": "string"}}}, {"type": "array"}]}"#,
    r#"{"oneOf": [{"properties": {"a": {"const": "x"}}, "required": ["a"]}, {"properties": {"a": {"const": "y"}, "b": {"minimum": 2}},
        "required": ["a"]}, {"type": "array"}]}"#,
    r#"{"if": {"required": ["a"]}, "then": {"required": ["b"]}, "else": {"maxProperties": 1}}"#,
    r#"{"dependentRequired": {"a": ["b"]}, "dependentSchemas": {"b": {"properties": {"a": {"type": "integer"}}}},
        "propertyNames": {"maxLength": 2}}"#,
    r##"{"$defs": {"tree": {"properties": {"a": {"$ref": "#/$defs/tree"}, "b": {"type": "integer"}}, "additionalProperties": false}},
        "$ref": "#/$defs/tree"}"##,
    r#"{"properties": {"a": {"format": "email"}, "b": {"format": "date-time"}, "c": {"format": "uuid"}, "d": {"format": "uri"},
        "e": {"format": "ipv4"}, "f": {"format": "hostname"}, "g": {"format": "date"}, "h": {"format": "uri-template"}}}"#,
    r#"{"$schema": "http://json-schema.org/draft-04/schema#",
        "properties": {"a": {"type": "integer", "minimum": 1, "exclusiveMinimum": true}}, "required": ["a"]}"#,
    r#"{"$schema": "http://json-schema.org/draft-07/schema#", "items": [{"type": "integer"}, {"type": "string"}],
        "additionalItems": {"type": "null"}, "dependencies": {"a": ["b"], "b": {"required": ["a"]}}}"#,
    r#"{"unevaluatedProperties": false, "properties": {"a": true, "b": {"type": "string"}}}"#,
];

/// Both ways to judge one schema's events.
pub struct Both {
    pub plan: Plan,
    pub schema: Schema,
    pub text: &'static str,
}

impl Both {
    pub fn of(text: &'static str) -> Self {
        let (document, none) = (json::parse(text.as_bytes()).expect("JSON"), BTreeMap::new());
        let plan = Plan::compile(&document, "fuzz.json", &none, true, &Pointer::root(), Reads::default());
        let schema = Schema::compile(&document, "fuzz.json", &none, true).expect("a schema");
        Self { plan, schema, text }
    }

    pub fn all() -> Vec<Self> {
        SCHEMAS.iter().copied().map(Self::of).collect()
    }

    pub fn is_valid(&self, event: &Value) -> bool {
        self.findings(event, 1).is_empty()
    }

    pub fn findings(&self, event: &Value, limit: usize) -> Vec<Finding> {
        self.schema.find(event, &Pointer::root(), limit)
    }
}

/// The bench's contract of orders.
pub fn contracts() -> ContractSet {
    let file = |path: &str, text: &str| (format!("orders/{path}"), text.as_bytes().to_vec());
    let files = RuleFiles::from([
        file("domain.yaml", include_str!("../../benches/rules/orders/domain.yaml")),
        file("order.placed.yaml", include_str!("../../benches/rules/orders/order.placed.yaml")),
        file("schemas/order.json", ORDER_SCHEMA),
    ]);
    let compiled = contract::compile(&files, "fuzz");
    assert!(compiled.failed.is_empty(), "{:?}", compiled.diagnostics);
    compiled.set
}
