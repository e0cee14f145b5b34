use expect_test::{Expect, expect};
use fastrand::Rng;
use proptest::prelude::*;
use serde_json::{Map, json};

use super::*;
use crate::rule::pointer::Pointer;
use crate::rule::schema::Schema;

fn documents(schema: &Value) -> BTreeMap<String, Value> {
    BTreeMap::from([("s.json".to_owned(), schema.clone())])
}

fn both(old: &Value, new: &Value) -> (Direction, Direction) {
    let (old, new) = (documents(old), documents(new));
    let source = |documents| SchemaSource { path: "s.json", documents, formats: true };
    compare(Some(source(&old)), Some(source(&new)))
}

fn told((backward, forward): (Direction, Direction)) -> String {
    let mut out = String::new();
    for (name, direction) in [("backward", backward), ("forward", forward)] {
        out += &format!("{name} {}\n", direction.holds.as_str());
        for o in direction.obstacles {
            let sure = if o.certain { "" } else { " ?" };
            out += &format!("  {:?} {}: {} -> {} ({}){sure}\n", o.at, o.keyword, o.was, o.is, o.schema);
        }
    }
    out
}

fn check(old: Value, new: Value, expected: Expect) {
    expected.assert_eq(&told(both(&old, &new)));
}

#[test]
fn what_becomes_stricter_is_told_with_its_place() {
    check(
        json!({"type": "object", "required": ["id"], "properties": {
            "id": {"type": "string", "maxLength": 40},
            "lines": {"type": "array", "items": {"type": "object", "properties": {"qty": {"type": "number", "minimum": 0}}}},
        }}),
        json!({"type": "object", "required": ["id", "a/b"], "properties": {
            "id": {"type": "string", "maxLength": 20},
            "lines": {"type": "array", "items": {"type": "object", "properties": {"qty": {"type": "integer", "minimum": 0}}}},
        }, "additionalProperties": false}),
        expect![[r#"
            backward no
              "" additionalProperties: allowed -> not allowed (s.json#/additionalProperties)
              "/a~1b" required: optional -> required (s.json#/required)
              "/id" maxLength: 40 -> 20 (s.json#/properties/id/maxLength)
              "/lines/*/qty" type: number -> integer (s.json#/properties/lines/items/properties/qty/type)
            forward yes
        "#]],
    );
}

#[test]
fn references_and_all_of_are_looked_through() {
    check(
        json!({"allOf": [{"$ref": "#/$defs/amount"}, {"type": "integer"}], "$defs": {"amount": {"minimum": 5, "maximum": 9}}}),
        json!({"type": "number", "minimum": 1, "allOf": [{"$ref": "#/$defs/top"}], "$defs": {"top": {"maximum": 10}}}),
        expect![[r#"
            backward yes
            forward no
              "" maximum: 9 -> 10 (s.json#/$defs/amount/maximum)
              "" minimum: 5 -> 1 (s.json#/$defs/amount/minimum)
              "" type: integer -> number (s.json#/allOf/1/type)
        "#]],
    );
}

#[test]
fn a_nullable_field_may_be_written_in_two_ways() {
    check(
        json!({"type": ["string", "null"]}),
        json!({"anyOf": [{"type": "string"}, {"type": "null"}]}),
        expect![[r#"
            backward yes
            forward yes
        "#]],
    );
}

#[test]
fn enumerations_are_compared_by_their_values() {
    check(
        json!({"enum": ["a", "b"]}),
        json!({"enum": ["a", "b", "c"]}),
        expect![[r#"
        backward yes
        forward no
          "" enum: "a", "b" -> "a", "b", "c" (s.json#/enum)
    "#]],
    );
    check(
        json!({"const": 5}),
        json!({"type": "integer", "minimum": 3, "multipleOf": 5}),
        expect![[r#"
        backward yes
        forward no
          "" const: 5 -> integer (s.json#/const)
    "#]],
    );
}

#[test]
fn what_cannot_be_compared_is_unknown() {
    check(
        json!({"properties": {"a": {"pattern": "^a"}, "b": {"oneOf": [{"type": "string"}, {"minimum": 1}]}}}),
        json!({"properties": {"a": {"pattern": "^a$"}, "b": {"oneOf": [{"type": "string"}, {"minimum": 2}]}}}),
        expect![[r#"
            backward unknown
              "/a" pattern: "^a" -> "^a$" (s.json#/properties/a/pattern) ?
              "/b" oneOf: another -> set (s.json#/properties/b/oneOf) ?
            forward unknown
              "/a" pattern: "^a" -> "^a$" (s.json#/properties/a/pattern) ?
              "/b" oneOf: set -> another (s.json#/properties/b/oneOf) ?
        "#]],
    );
    check(
        json!({"$ref": "#x", "$defs": {"x": {"$anchor": "x"}}}),
        json!({"not": {"type": "null"}}),
        expect![[r#"
        backward unknown
          "" not: not set -> set (s.json#/not) ?
        forward unknown
          "" $ref:  -> refers in a way that is not followed here (s.json#/$ref) ?
    "#]],
    );
}

#[test]
fn a_recursive_schema_is_compared_to_its_end() {
    let tree = |kind: &str, limit: u32| {
        json!({"type": "object", "properties": {
            "value": {"type": kind, "minimum": limit},
            "left": {"$ref": "#"}, "children": {"type": "array", "items": {"$ref": "#"}},
        }})
    };
    check(
        tree("integer", 2),
        tree("number", 1),
        expect![[r#"
        backward yes
        forward no
          "/value" minimum: 2 -> 1 (s.json#/properties/value/minimum)
          "/value" type: integer -> number (s.json#/properties/value/type)
    "#]],
    );
}

#[test]
fn no_schema_accepts_anything() {
    let schema = documents(&json!({"type": "object"}));
    let source = SchemaSource { path: "s.json", documents: &schema, formats: true };
    expect![[r#"
        backward no
          "" type: any -> object (s.json#/type)
        forward yes
    "#]]
    .assert_eq(&told(compare(None, Some(source))));
}

#[test]
fn a_format_binds_only_where_it_is_asserted() {
    let schema = documents(&json!({"type": "string", "format": "date"}));
    let source = |formats| SchemaSource { path: "s.json", documents: &schema, formats };
    expect![[r#"
        backward no
          "" format: not asserted -> "date" (s.json#/format)
        forward yes
    "#]]
    .assert_eq(&told(compare(Some(source(false)), Some(source(true)))));
}

#[test]
fn two_limits_of_one_number_are_two() {
    let (backward, _) = both(&json!({"minimum": 5}), &json!({"minimum": 5, "exclusiveMinimum": 5}));
    assert_eq!(backward.holds, Holds::No);
}

#[test]
fn what_cannot_end_in_time_is_unknown() {
    let alternatives = |n: u32| -> Value { (0..n).map(|i| json!({"minLength": i, "title": "x"})).collect() };
    let nested = json!({"allOf": (0..12).map(|i| json!({"anyOf": alternatives(8 + i)})).collect::<Vec<_>>()});
    let (backward, _) = both(&nested, &json!({"pattern": "^a", "type": "string"}));
    assert_ne!(backward.holds, Holds::Yes);
}

const DRAFTS: [&str; 5] = [
    "http://json-schema.org/draft-04/schema#",
    "http://json-schema.org/draft-06/schema#",
    "http://json-schema.org/draft-07/schema#",
    "https://json-schema.org/draft/2019-09/schema",
    "https://json-schema.org/draft/2020-12/schema",
];
const KEYS: [&str; 4] = ["a", "b", "ab", "c"];
const PATTERNS: [&str; 4] = ["^a", "b$", "^[ab]+$", "."];

/// Random schemas over few keys and small values, so that two have a fair chance to be comparable.
struct Generator<'r> {
    rng: &'r mut Rng,
    draft: usize,
    /// Which of the keywords in [`Generator::add`]: all, those of objects, those of arrays.
    keywords: &'static [u8],
}

const ALL: &[u8] = &[
    0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30,
    31,
];
/// What keywords of one object say together is rarely met among all.
const OF_OBJECTS: &[u8] = &[14, 15, 17, 17, 18, 19, 20, 21, 26];
const OF_ARRAYS: &[u8] = &[22, 23, 24, 30, 30, 25, 26];

impl Generator<'_> {
    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.rng.usize(..from.len())]
    }

    fn value(&mut self, depth: usize) -> Value {
        match self.rng.u8(..8) {
            0..=2 if depth > 0 => {
                let keys: Vec<&str> = KEYS.iter().copied().filter(|_| self.rng.bool()).collect();
                keys.into_iter().map(|key| (key.to_owned(), self.value(depth - 1))).collect::<Map<_, _>>().into()
            }
            3 if depth > 0 => (0..self.rng.usize(..4)).map(|_| self.value(depth - 1)).collect(),
            _ => {
                let texts = [
                    "0", "1", "2", "3", "-1", "1.0", "1.5", "\"a\"", "\"b\"", "\"ab\"", "\"\"", "true", "false", "null",
                ];
                let text = self.pick(&texts);
                serde_json::from_str(text).expect("JSON")
            }
        }
    }

    fn document(&mut self) -> Value {
        let mut schema = self.schema(3);
        if !schema.is_object() {
            schema = json!({});
        }
        schema["$schema"] = DRAFTS[self.draft].into();
        schema["definitions"] = json!({"d": self.schema(2)});
        schema
    }

    fn schema(&mut self, depth: usize) -> Value {
        if depth == 0 && self.rng.bool() {
            return json!({"type": self.types()});
        }
        if depth == 0 || self.rng.u8(..8) == 0 {
            let boolean = self.draft > 0 && self.rng.u8(..3) == 0;
            return if boolean { self.rng.bool().into() } else { json!({}) };
        }
        let mut keywords = Map::new();
        for _ in 0..self.rng.usize(1..4) {
            self.add(&mut keywords, depth - 1);
        }
        keywords.into()
    }

    fn add(&mut self, keywords: &mut Map<String, Value>, depth: usize) {
        let small = Value::from(self.rng.u8(..4));
        let exclusive = if self.draft == 0 { self.rng.bool().into() } else { small.clone() };
        let (keyword, value) = match self.pick(self.keywords) {
            0..=3 => ("type", self.types()),
            4 | 5 => ("enum", (0..self.rng.usize(1..4)).map(|_| self.value(1)).collect()),
            6 => ("minimum", small),
            7 => ("maximum", self.pick(&[json!(0), json!(1.5), json!(3.0), json!(2)].each_ref()).clone()),
            8 | 9 => {
                let limit = if self.rng.bool() { "minimum" } else { "maximum" };
                keywords.entry(limit).or_insert_with(|| small.clone());
                (if limit == "minimum" { "exclusiveMinimum" } else { "exclusiveMaximum" }, exclusive)
            }
            10 => ("multipleOf", self.pick(&[json!(2), json!(0.5), json!(1), json!(4)].each_ref()).clone()),
            11 => ("minLength", small),
            12 => ("maxLength", small),
            13 => ("pattern", self.pick(&PATTERNS).into()),
            14..=16 => ("properties", self.schemas(&KEYS, depth)),
            17 => ("patternProperties", self.schemas(&PATTERNS, depth)),
            18 | 19 => ("additionalProperties", self.schema(depth)),
            20 => ("required", json!([self.pick(&KEYS)])),
            21 => (self.pick(&["minProperties", "maxProperties"]), small),
            22 | 23 => ("items", self.schema(depth)),
            24 => (self.pick(&["minItems", "maxItems"]), small),
            25 => ("uniqueItems", true.into()),
            26 | 27 => {
                let alternatives = (0..self.rng.usize(1..4)).map(|_| self.schema(depth)).collect();
                (self.pick(&["allOf", "anyOf", "anyOf", "oneOf"]), alternatives)
            }
            28 => (self.pick(&["not", "contains", "propertyNames", "if", "then"]), self.schema(depth)),
            29 => ("$ref", "#/definitions/d".into()),
            30 if self.draft == 4 => ("prefixItems", json!([self.schema(depth), self.schema(depth)])),
            30 => {
                keywords.insert("additionalItems".to_owned(), self.schema(depth));
                ("items", json!([self.schema(depth)]))
            }
            _ if self.draft > 0 => ("const", self.value(1)),
            _ => ("format", "date".into()),
        };
        // Draft 2020-12 has no list of items.
        if !(self.draft == 4 && keyword == "items" && value.is_array()) {
            keywords.insert(keyword.to_owned(), value);
        }
    }

    fn types(&mut self) -> Value {
        const TYPES: [&str; 7] = ["null", "boolean", "integer", "number", "string", "array", "object"];
        let (first, second) = (self.pick(&TYPES), self.pick(&TYPES));
        if first == second { first.into() } else { json!([first, second]) }
    }

    fn schemas(&mut self, keys: &[&str], depth: usize) -> Value {
        let mut schemas = Map::new();
        for _ in 0..self.rng.usize(1..4) {
            schemas.insert(self.pick(keys).to_owned(), self.schema(depth));
        }
        schemas.into()
    }

    /// The schema with something changed at a few places: what a next version looks like.
    fn changed(&mut self, schema: &Value, depth: usize) -> Value {
        match schema {
            Value::Object(keywords) => {
                let mut changed = Map::new();
                for (keyword, value) in keywords {
                    let is_inner =
                        !matches!(keyword.as_str(), "enum" | "const" | "required" | "type" | "$schema" | "$ref");
                    match self.rng.u8(..12) {
                        0 if keyword != "$schema" && keyword != "definitions" && keyword != "d" => continue,
                        1 if value.is_number() => self.add(&mut changed, 1),
                        2 if keyword == "enum" => {
                            let more: Vec<Value> =
                                value.as_array().into_iter().flatten().cloned().chain([self.value(1)]).collect();
                            changed.insert(keyword.clone(), more.into());
                        }
                        3 if value.as_u64().is_some() && keyword != "minimum" => {
                            changed.insert(keyword.clone(), json!(value.as_u64().unwrap_or(0) + 1));
                        }
                        _ if is_inner => drop(changed.insert(keyword.clone(), self.changed(value, depth + 1))),
                        _ => drop(changed.insert(keyword.clone(), value.clone())),
                    }
                }
                if depth > 0
                    && self.rng.u8(..10) == 0
                    && changed.get("type").is_none()
                    && !keywords.keys().any(|k| KEYS.contains(&k.as_str()))
                {
                    self.add(&mut changed, 1);
                }
                changed.into()
            }
            Value::Array(elements) => elements.iter().map(|element| self.changed(element, depth + 1)).collect(),
            other => other.clone(),
        }
    }
}

/// How often each direction was claimed to hold, and how often a value could have told otherwise.
#[derive(Default)]
struct Seen {
    claims: u32,
    accepted: u32,
}

/// Compares two schemas and holds what is claimed against values, judged by the `jsonschema` crate.
fn hold_against_the_crate(seed: u64, seen: &mut Seen) -> Result<(), String> {
    let mut rng = Rng::with_seed(seed);
    let draft = rng.usize(..DRAFTS.len());
    let mut generator =
        Generator { rng: &mut rng, draft, keywords: [ALL, OF_OBJECTS, OF_ARRAYS, ALL][(seed / 4 % 4) as usize] };
    let old = generator.document();
    let new = match seed % 4 {
        0 => generator.document(),
        1 => {
            generator.draft = (draft + 1) % DRAFTS.len();
            let mut new = generator.changed(&old, 0);
            new["$schema"] = DRAFTS[generator.draft].into();
            new
        }
        _ => generator.changed(&old, 0),
    };
    let compile = |schema: &Value| Schema::compile(schema, "s.json", &documents(schema), true);
    let (Ok(old_schema), Ok(new_schema)) = (compile(&old), compile(&new)) else { return Ok(()) };
    let (backward, forward) = both(&old, &new);
    let claims = [(backward, &old_schema, &new_schema, "backward"), (forward, &new_schema, &old_schema, "forward")];
    if claims.iter().all(|(direction, ..)| direction.holds != Holds::Yes) {
        return Ok(());
    }
    let accepts = |schema: &Schema, value: &Value| schema.find(value, &Pointer::root(), 1).is_empty();
    for (direction, from, to, name) in claims {
        if direction.holds != Holds::Yes {
            continue;
        }
        seen.claims += 1;
        for _ in 0..60 {
            let value = generator.value(3);
            if accepts(from, &value) {
                seen.accepted += 1;
                if !accepts(to, &value) {
                    return Err(format!("seed {seed}: {name} is claimed, but for {value}\nold {old:#}\nnew {new:#}"));
                }
            }
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]
    #[test]
    fn what_is_called_compatible_is(seed in any::<u64>()) {
        hold_against_the_crate(seed, &mut Seen::default()).map_err(TestCaseError::fail)?;
    }
}

/// The property above says something: claims are made, and values come that could refute them.
#[test]
fn claims_are_made_and_tried() {
    let mut seen = Seen::default();
    for seed in 0..1_200 {
        hold_against_the_crate(seed, &mut seen).unwrap_or_else(|told| panic!("{told}"));
    }
    assert!(seen.claims > 400 && seen.accepted > 4_000, "{} claims, {} values", seen.claims, seen.accepted);
}
