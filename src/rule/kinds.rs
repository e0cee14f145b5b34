//! Which kinds of value a schema allows, by place: what certainly holds of every valid payload.
//!
//! [`number_types`](super::number_types) reads what a schema calls numbers, and takes every hint. Here only what binds every
//! payload counts, so that an expression is refused for certain: `$ref`, `allOf`, `type` and `enum`; `anyOf` and `oneOf` as far
//! as all alternatives agree; below a place `properties` and `additionalProperties: false`. Whatever else a schema
//! says restricts further, and is left out.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::number_types::SchemaAt;

/// The most places a schema is read into. What is below others is unknown.
const PLACES_MAX: usize = 10_000;

/// How deep alternatives in alternatives are looked into.
const ALTERNATIVES_DEPTH_MAX: usize = 4;

/// How many alternatives are looked into in all. Others may be of any kind.
const ALTERNATIVES_MAX: usize = 100_000;

/// A set of JSON's kinds of value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Kinds(u8);

const NAMES: [(&str, Kinds); 6] = [
    ("null", Kinds::NULL),
    ("boolean", Kinds::BOOL),
    ("number", Kinds::NUMBER),
    ("string", Kinds::STRING),
    ("array", Kinds::ARRAY),
    ("object", Kinds::OBJECT),
];

impl Kinds {
    pub(crate) const NULL: Self = Self(1);
    pub(crate) const BOOL: Self = Self(2);
    pub(crate) const NUMBER: Self = Self(4);
    pub(crate) const STRING: Self = Self(8);
    pub(crate) const ARRAY: Self = Self(16);
    pub(crate) const OBJECT: Self = Self(32);
    const NONE: Self = Self(0);
    pub(crate) const ANY: Self = Self(63);

    pub(crate) fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    pub(crate) fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(crate) fn meet(self, other: Self) -> bool {
        self.and(other) != Self::NONE
    }

    fn named(name: &str) -> Self {
        let name = if name == "integer" { "number" } else { name };
        NAMES.iter().find(|(known, _)| *known == name).map_or(Self::ANY, |(_, kinds)| *kinds)
    }

    fn of(value: &Value) -> Self {
        match value {
            Value::Null => Self::NULL,
            Value::Bool(_) => Self::BOOL,
            Value::Number(_) => Self::NUMBER,
            Value::String(_) => Self::STRING,
            Value::Array(_) => Self::ARRAY,
            Value::Object(_) => Self::OBJECT,
        }
    }

    /// The names JSON Schema has for them.
    pub(crate) fn names(self) -> Vec<&'static str> {
        NAMES.iter().filter(|(_, kinds)| self.meet(*kinds)).map(|(name, _)| *name).collect()
    }
}

/// The kinds of a payload's values.
#[derive(Debug, Clone, Default)]
pub struct PayloadKinds {
    places: Vec<PlaceKinds>,
}

#[derive(Debug, Clone)]
struct PlaceKinds {
    kinds: Kinds,
    properties: BTreeMap<String, usize>,
    /// Whether there are no properties but these.
    closed: Option<BTreeSet<String>>,
}

/// Where in a payload a value stands.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'k> {
    all: &'k PayloadKinds,
    at: usize,
}

impl<'k> Place<'k> {
    fn here(self) -> &'k PlaceKinds {
        &self.all.places[self.at]
    }

    pub(crate) fn kinds(self) -> Kinds {
        self.here().kinds
    }

    pub(crate) fn property(self, name: &str) -> Option<Self> {
        self.here().properties.get(name).map(|at| Self { at: *at, ..self })
    }

    /// The names of all fields an object here can have, where they are known.
    pub(crate) fn all_names(self) -> Option<&'k BTreeSet<String>> {
        self.here().closed.as_ref()
    }
}

impl PayloadKinds {
    pub(crate) fn root(&self) -> Option<Place<'_>> {
        (!self.places.is_empty()).then_some(Place { all: self, at: 0 })
    }

    /// Reads the schema at `root`. `value` finds a schema, `follow` a `$ref`'s target seen from a document.
    pub(crate) fn read<'s>(
        root: SchemaAt,
        value: &dyn Fn(&SchemaAt) -> Option<&'s Value>,
        follow: &dyn Fn(&str, &str) -> Option<SchemaAt>,
    ) -> Self {
        let mut reader = Reader {
            value,
            follow,
            known: BTreeMap::new(),
            open: Vec::new(),
            places: Vec::new(),
            left: ALTERNATIVES_MAX.into(),
        };
        reader.place(BTreeSet::from([root]));
        while let Some((at, schemas)) = reader.open.pop() {
            reader.places[at] = reader.kinds_at(&schemas);
        }
        Self { places: reader.places }
    }
}

struct Reader<'r, 's> {
    value: &'r dyn Fn(&SchemaAt) -> Option<&'s Value>,
    follow: &'r dyn Fn(&str, &str) -> Option<SchemaAt>,
    /// Places by the schemas that all hold there.
    known: BTreeMap<BTreeSet<SchemaAt>, usize>,
    open: Vec<(usize, BTreeSet<SchemaAt>)>,
    places: Vec<PlaceKinds>,
    /// Of the alternatives.
    left: Cell<usize>,
}

impl<'s> Reader<'_, 's> {
    fn place(&mut self, schemas: BTreeSet<SchemaAt>) -> Option<usize> {
        let schemas = self.in_place(schemas);
        if let Some(at) = self.known.get(&schemas) {
            return Some(*at);
        }
        if self.places.len() >= PLACES_MAX {
            return None;
        }
        let at = self.places.len();
        let unknown = PlaceKinds { kinds: Kinds::ANY, properties: BTreeMap::new(), closed: None };
        self.places.push(unknown);
        self.known.insert(schemas.clone(), at);
        self.open.push((at, schemas));
        Some(at)
    }

    /// These schemas and all that hold at the same place because of them. Beside a `$ref` nothing counts: up to draft 7,
    /// nothing does.
    fn in_place(&self, schemas: BTreeSet<SchemaAt>) -> BTreeSet<SchemaAt> {
        let (mut seen, mut all) = (BTreeSet::new(), BTreeSet::new());
        let mut open: Vec<SchemaAt> = schemas.into_iter().collect();
        while let Some(schema) = open.pop() {
            let Some(object) = self.object(&schema).filter(|_| seen.insert(schema.clone())) else { continue };
            let (document, pointer) = &schema;
            if let Some(reference) = object.get("$ref") {
                open.extend(reference.as_str().and_then(|reference| (self.follow)(document, reference)));
                continue;
            }
            let count = object.get("allOf").and_then(Value::as_array).map_or(0, Vec::len);
            open.extend((0..count).map(|i| (document.clone(), format!("{pointer}/allOf/{i}"))));
            all.insert(schema);
        }
        all
    }

    fn object(&self, schema: &SchemaAt) -> Option<&'s Map<String, Value>> {
        (self.value)(schema)?.as_object()
    }

    fn kinds_at(&mut self, schemas: &BTreeSet<SchemaAt>) -> PlaceKinds {
        let mut properties: BTreeMap<String, BTreeSet<SchemaAt>> = BTreeMap::new();
        let mut closed: Option<BTreeSet<String>> = None;
        for schema in schemas {
            let (document, pointer) = schema;
            let Some(object) = self.object(schema) else { continue };
            let named = object.get("properties").and_then(Value::as_object);
            for name in named.into_iter().flat_map(Map::keys) {
                let at = format!("{pointer}/properties/{}", name.replace('~', "~0").replace('/', "~1"));
                properties.entry(name.clone()).or_default().insert((document.clone(), at));
            }
            if object.get("additionalProperties") == Some(&Value::Bool(false))
                && !object.contains_key("patternProperties")
            {
                let names: BTreeSet<String> = named.into_iter().flat_map(Map::keys).cloned().collect();
                closed = Some(closed.map_or(names.clone(), |known| known.intersection(&names).cloned().collect()));
            }
        }
        let kinds = schemas.iter().fold(Kinds::ANY, |kinds, schema| kinds.and(self.own_kinds(schema, 0)));
        // What nothing can satisfy says nothing of what is right.
        let kinds = if kinds == Kinds::NONE { Kinds::ANY } else { kinds };
        let properties =
            properties.into_iter().filter_map(|(name, schemas)| Some((name, self.place(schemas)?))).collect();
        PlaceKinds { kinds, properties, closed }
    }

    /// What a schema says itself, and its alternatives.
    fn own_kinds(&self, schema: &SchemaAt, depth: usize) -> Kinds {
        let Some(object) = self.object(schema) else { return Kinds::ANY };
        let mut kinds = match object.get("type") {
            Some(Value::String(name)) => Kinds::named(name),
            Some(Value::Array(names)) => {
                names.iter().fold(Kinds::NONE, |all, name| all.or(name.as_str().map_or(Kinds::ANY, Kinds::named)))
            }
            _ => Kinds::ANY,
        };
        if let Some(values) = object.get("enum").and_then(Value::as_array) {
            kinds = kinds.and(values.iter().fold(Kinds::NONE, |all, value| all.or(Kinds::of(value))));
        }
        for keyword in ["anyOf", "oneOf"] {
            let count = object.get(keyword).and_then(Value::as_array).map_or(0, Vec::len);
            if count == 0 || depth == ALTERNATIVES_DEPTH_MAX {
                continue;
            }
            let (document, pointer) = schema;
            let alternatives = (0..count).map(|i| (document.clone(), format!("{pointer}/{keyword}/{i}")));
            kinds = kinds.and(alternatives.fold(Kinds::NONE, |all, one| all.or(self.alternative(one, depth + 1))));
        }
        kinds
    }

    fn alternative(&self, schema: SchemaAt, depth: usize) -> Kinds {
        let Some(left) = self.left.get().checked_sub(1) else { return Kinds::ANY };
        self.left.set(left);
        let all = self.in_place(BTreeSet::from([schema]));
        all.iter().fold(Kinds::ANY, |kinds, schema| kinds.and(self.own_kinds(schema, depth)))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(document: &Value) -> PayloadKinds {
        PayloadKinds::read(
            (String::new(), String::new()),
            &|(_, pointer)| document.pointer(pointer),
            &|_, reference| Some((String::new(), reference.strip_prefix('#')?.to_owned())),
        )
    }

    #[test]
    fn what_binds_every_payload_counts() {
        let kinds = read(&json!({
            "type": "object",
            "properties": {
                "s": {"type": "string"}, "n": {"type": ["integer", "null"]}, "e": {"enum": ["a", 1]},
                "r": {"$ref": "#/$defs/s", "type": "number"}, "any": {}, "never": {"type": "string", "enum": [1]},
                "either": {"anyOf": [{"$ref": "#/$defs/s"}, {"allOf": [{"type": "array"}]}]},
                "open": {"oneOf": [{"type": "string"}, {"minLength": 1}]},
                "if": {"if": {"type": "string"}, "then": {"type": "string"}, "not": {"type": "null"}}
            },
            "allOf": [{"properties": {"s": {"minLength": 1}, "any": {"type": "boolean"}}}],
            "$defs": {"s": {"type": "string"}}
        }));
        let root = kinds.root().unwrap();
        let names = |name: &str| root.property(name).unwrap().kinds().names();
        assert_eq!(root.kinds(), Kinds::OBJECT);
        assert_eq!(names("s"), ["string"]);
        assert_eq!(names("n"), ["null", "number"]);
        assert_eq!(names("e"), ["number", "string"]);
        assert_eq!(names("r"), ["string"]);
        assert_eq!(names("any"), ["boolean"]);
        assert_eq!(names("either"), ["string", "array"]);
        for unknown in ["open", "if", "never"] {
            assert_eq!(root.property(unknown).unwrap().kinds(), Kinds::ANY, "{unknown}");
        }
        assert!(root.property("other").is_none() && root.all_names().is_none());
    }

    #[test]
    fn a_closed_object_is_known_to_be() {
        let closed = |schema: Value| read(&schema).root().unwrap().all_names().map(|names| names.len());
        assert_eq!(closed(json!({"properties": {"a": {}, "b": {}}, "additionalProperties": false})), Some(2));
        assert_eq!(closed(json!({"properties": {"a": {}}, "additionalProperties": {}})), None);
        assert_eq!(closed(json!({"patternProperties": {"x": {}}, "additionalProperties": false})), None);
        assert_eq!(closed(json!({"$ref": "#/$defs/a", "additionalProperties": false, "$defs": {"a": {}}})), None);
        assert_eq!(closed(json!({"anyOf": [{"additionalProperties": false}, {}]})), None);
    }

    #[test]
    fn recursive_schemas_come_to_an_end() {
        let kinds =
            read(&json!({"type": "object", "properties": {"next": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}},
            "anyOf": [{"$ref": "#"}]}));
        assert_eq!(kinds.root().unwrap().property("next").unwrap().kinds().names(), ["null", "object"]);
    }
}
