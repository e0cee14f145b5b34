//! Random schemas, and random values that have a fair chance with them: few keys, few strings, small numbers.

use fastrand::Rng;
use serde_json::{Map, Value, json};

const KEYS: [&str; 5] = ["a", "b", "ab", "abcdefgh", "abcdefghi"];
const PATTERNS: [&str; 7] = ["^a", "b$", "^[ab]+$", "^a{1,2}b?$", "a|b", "^\\w{2}$", "."];
const VALUES: [&str; 22] = [
    "0",
    "1",
    "2",
    "3",
    "-1",
    "1.0",
    "1.5",
    "0.3",
    "1e0",
    "20e-1",
    "\"a\"",
    "\"b\"",
    "\"ab\"",
    "\"\\u0061\"",
    "\"\"",
    "\"é\"",
    "true",
    "false",
    "null",
    "[]",
    "{}",
    "12345678901234567890",
];
const DRAFTS: [&str; 5] = [
    "http://json-schema.org/draft-04/schema#",
    "http://json-schema.org/draft-06/schema#",
    "http://json-schema.org/draft-07/schema#",
    "https://json-schema.org/draft/2019-09/schema",
    "https://json-schema.org/draft/2020-12/schema",
];

fn pick<'a>(rng: &mut Rng, from: &[&'a str]) -> &'a str {
    from[rng.usize(..from.len())]
}

pub fn random_value(rng: &mut Rng, depth: usize) -> String {
    match rng.u8(..8) {
        0..=2 if depth > 0 => {
            let keys = KEYS.iter().filter(|_| rng.bool()).copied().collect::<Vec<_>>();
            let members = keys.iter().map(|key| format!("\"{key}\": {}", random_value(rng, depth - 1)));
            format!("{{{}}}", members.collect::<Vec<_>>().join(","))
        }
        3..=4 if depth > 0 => {
            let elements = (0..rng.usize(..4)).map(|_| random_value(rng, depth - 1));
            format!("[{}]", elements.collect::<Vec<_>>().join(" ,"))
        }
        _ => pick(rng, &VALUES).to_owned(),
    }
}

/// A schema of a random draft, whose `#/definitions/d` is referred to from anywhere.
pub fn random_schema(rng: &mut Rng) -> Value {
    let draft = rng.usize(..DRAFTS.len());
    let mut schema = Generator { rng, draft }.schema(3);
    if !schema.is_object() {
        schema = json!({"not": {}});
    }
    schema["$schema"] = DRAFTS[draft].into();
    schema["definitions"] = json!({"d": Generator { rng, draft }.schema(2)});
    schema
}

struct Generator<'r> {
    rng: &'r mut Rng,
    /// Index into [`DRAFTS`].
    draft: usize,
}

impl Generator<'_> {
    fn schema(&mut self, depth: usize) -> Value {
        if depth == 0 || self.rng.u8(..8) == 0 {
            // Draft 4 knows no boolean schemas.
            return if self.draft > 0 && self.rng.bool() { self.rng.bool().into() } else { json!({}) };
        }
        let mut keywords = Map::new();
        for _ in 0..self.rng.usize(1..4) {
            let (keyword, value) = self.keyword(depth - 1);
            keywords.insert(keyword.to_owned(), value);
        }
        Value::Object(keywords)
    }

    fn keyword(&mut self, depth: usize) -> (&'static str, Value) {
        let small = Value::from(self.rng.u8(..4));
        match self.rng.u8(..30) {
            0 | 1 => ("type", self.types()),
            2 => ("enum", (0..self.rng.usize(1..4)).map(|_| self.value()).collect()),
            3 => ("minimum", small),
            4 => ("maximum", json!([0.0, 1.5, 3.0][self.rng.usize(..3)])),
            5 => ("multipleOf", [json!(2), json!(0.5), json!(0.1)][self.rng.usize(..3)].clone()),
            6 => ("minLength", small),
            7 => ("maxLength", small),
            8 => ("pattern", pick(self.rng, &PATTERNS).into()),
            9 | 10 => ("properties", self.schemas(&KEYS, depth)),
            11 => ("patternProperties", self.schemas(&PATTERNS, depth)),
            12 => ("additionalProperties", self.schema(depth)),
            13 => ("required", json!([pick(self.rng, &KEYS)])),
            14 => ("minProperties", small),
            15 => ("maxProperties", small),
            16 | 17 => ("items", self.schema(depth)),
            18 => ("minItems", small),
            19 => ("maxItems", small),
            20 => ("uniqueItems", true.into()),
            21 => (
                ["allOf", "anyOf", "oneOf"][self.rng.usize(..3)],
                (0..self.rng.usize(1..4)).map(|_| self.schema(depth)).collect(),
            ),
            22 => ("not", self.schema(depth)),
            23 => ("$ref", "#/definitions/d".into()),
            24 if self.draft >= 2 => ("if", self.schema(depth)),
            25 if self.draft >= 2 => (if self.rng.bool() { "then" } else { "else" }, self.schema(depth)),
            26 if self.draft >= 1 => ("contains", self.schema(depth)),
            27 if self.draft >= 1 => ("propertyNames", self.schema(depth)),
            28 if self.draft >= 3 => ("dependentSchemas", self.schemas(&KEYS, depth)),
            28 => ("dependencies", self.schemas(&KEYS, depth)),
            29 if self.draft == 4 => ("prefixItems", json!([self.schema(depth), self.schema(depth)])),
            29 if self.draft >= 1 => ("const", self.value()),
            _ => ("minProperties", small),
        }
    }

    fn types(&mut self) -> Value {
        const TYPES: [&str; 7] = ["null", "boolean", "integer", "number", "string", "array", "object"];
        let first = pick(self.rng, &TYPES);
        let second = pick(self.rng, &TYPES);
        if first == second { first.into() } else { json!([first, second]) }
    }

    fn value(&mut self) -> Value {
        serde_json::from_str(&random_value(self.rng, 1)).expect("JSON")
    }

    fn schemas(&mut self, keys: &[&str], depth: usize) -> Value {
        let mut schemas = Map::new();
        for _ in 0..self.rng.usize(1..4) {
            schemas.insert(pick(self.rng, keys).to_owned(), self.schema(depth));
        }
        Value::Object(schemas)
    }
}
