//! What a schema calls a payload's numbers, by place: `integer` or `number`.
//!
//! JSON does not tell `5` from `5.0`; a schema does. Expressions see a number as the schema's type, so that
//! `this.amount / 2` does not depend on how the producer's library prints a whole amount.
//!
//! The schema is read once into an automaton whose states are places of a payload: `$ref`, `allOf`, `anyOf`, `oneOf`,
//! `then` and `else` are followed where they stand, `properties`, `additionalProperties`, `prefixItems` and `items` lead
//! to another place. Where alternatives disagree, `number` wins: it holds every value.

use std::collections::{BTreeSet, HashMap};

use serde_json::Value;

/// The most places a schema is read into. Numbers at places beyond are what their text looks like.
const PLACES_MAX: usize = 10_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NumberType {
    /// `integer`.
    Int,
    /// `number`.
    Double,
}

/// The types of a payload's numbers.
#[derive(Debug, Clone, Default)]
pub struct NumberTypes {
    places: Vec<PlaceTypes>,
}

#[derive(Debug, Clone, Default)]
struct PlaceTypes {
    number: Option<NumberType>,
    properties: HashMap<String, usize>,
    /// Of properties not named.
    additional: Option<usize>,
    prefix: Vec<usize>,
    /// Of elements past the prefix.
    items: Option<usize>,
}

/// Where in a payload a value stands.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'t> {
    types: &'t NumberTypes,
    at: usize,
}

impl<'t> Place<'t> {
    pub(crate) fn number(self) -> Option<NumberType> {
        self.types.places[self.at].number
    }

    pub(crate) fn property(self, name: &str) -> Option<Self> {
        let here = &self.types.places[self.at];
        self.to(here.properties.get(name).copied().or(here.additional))
    }

    pub(crate) fn element(self, index: usize) -> Option<Self> {
        let here = &self.types.places[self.at];
        self.to(here.prefix.get(index).copied().or(here.items))
    }

    /// What all elements are alike, known or not; `None` where the first ones have types of their own.
    pub(crate) fn every_element(self) -> Option<Option<Self>> {
        let here = &self.types.places[self.at];
        here.prefix.is_empty().then(|| self.to(here.items))
    }

    fn to(self, at: Option<usize>) -> Option<Self> {
        Some(Self { at: at?, ..self })
    }
}

/// A schema somewhere in the documents: which document, and its JSON Pointer.
pub(crate) type SchemaAt = (String, String);

impl NumberTypes {
    /// Nothing known: every number is what its text looks like.
    pub fn none() -> Self {
        Self::default()
    }

    /// The root of the payload.
    pub(crate) fn root(&self) -> Option<Place<'_>> {
        (!self.places.is_empty()).then_some(Place { types: self, at: 0 })
    }

    /// The same types for a document that holds the payload at `pointer`. Segments are property names.
    #[must_use]
    pub fn within(&self, pointer: &super::pointer::Pointer) -> Self {
        if self.places.is_empty() {
            return Self::none();
        }
        // The way down comes first, so that the root stays at 0.
        let shift = pointer.segments().len();
        let move_by = |at: &usize| at + shift;
        let mut places: Vec<PlaceTypes> = pointer
            .segments()
            .iter()
            .enumerate()
            .map(|(i, name)| PlaceTypes { properties: HashMap::from([(name.clone(), i + 1)]), ..PlaceTypes::default() })
            .collect();
        places.extend(self.places.iter().map(|place| PlaceTypes {
            number: place.number,
            properties: place.properties.iter().map(|(name, at)| (name.clone(), move_by(at))).collect(),
            additional: place.additional.as_ref().map(move_by),
            prefix: place.prefix.iter().map(move_by).collect(),
            items: place.items.as_ref().map(move_by),
        }));
        Self { places }
    }

    /// Reads the schema at `root`. `value` finds a schema, `follow` a `$ref`'s target seen from a document.
    pub(crate) fn read<'s>(
        root: SchemaAt,
        value: &dyn Fn(&SchemaAt) -> Option<&'s Value>,
        follow: &dyn Fn(&str, &str) -> Option<SchemaAt>,
    ) -> Self {
        let mut reader = Reader { value, follow, known: HashMap::new(), open: Vec::new(), places: Vec::new() };
        reader.place(BTreeSet::from([root]));
        while let Some((at, schemas)) = reader.open.pop() {
            let types = reader.types_at(&schemas);
            reader.places[at] = types;
        }
        Self { places: reader.places }
    }
}

struct Reader<'r, 's> {
    value: &'r dyn Fn(&SchemaAt) -> Option<&'s Value>,
    follow: &'r dyn Fn(&str, &str) -> Option<SchemaAt>,
    /// Places by the schemas that hold there together.
    known: HashMap<BTreeSet<SchemaAt>, usize>,
    open: Vec<(usize, BTreeSet<SchemaAt>)>,
    places: Vec<PlaceTypes>,
}

impl<'s> Reader<'_, 's> {
    /// The place where these schemas hold; `None` once there are too many places.
    fn place(&mut self, schemas: BTreeSet<SchemaAt>) -> Option<usize> {
        let schemas = self.in_place(schemas);
        if let Some(at) = self.known.get(&schemas) {
            return Some(*at);
        }
        if self.places.len() >= PLACES_MAX {
            return None;
        }
        let at = self.places.len();
        self.places.push(PlaceTypes::default());
        self.known.insert(schemas.clone(), at);
        self.open.push((at, schemas));
        Some(at)
    }

    /// These schemas and all that hold at the same place because of them.
    fn in_place(&self, schemas: BTreeSet<SchemaAt>) -> BTreeSet<SchemaAt> {
        let mut all = BTreeSet::new();
        let mut open: Vec<SchemaAt> = schemas.into_iter().collect();
        while let Some(schema) = open.pop() {
            let Some(Value::Object(object)) = (self.value)(&schema) else { continue };
            if !all.insert(schema.clone()) {
                continue;
            }
            let (document, pointer) = &schema;
            if let Some(target) = object.get("$ref").and_then(Value::as_str).and_then(|r| (self.follow)(document, r)) {
                open.push(target);
            }
            for keyword in ["allOf", "anyOf", "oneOf"] {
                let count = object.get(keyword).and_then(Value::as_array).map_or(0, Vec::len);
                open.extend((0..count).map(|i| (document.clone(), format!("{pointer}/{keyword}/{i}"))));
            }
            for keyword in ["then", "else"] {
                if object.contains_key(keyword) {
                    open.push((document.clone(), format!("{pointer}/{keyword}")));
                }
            }
        }
        all
    }

    fn types_at(&mut self, schemas: &BTreeSet<SchemaAt>) -> PlaceTypes {
        let values: Vec<(&SchemaAt, &'s Value)> =
            schemas.iter().filter_map(|schema| Some((schema, (self.value)(schema)?))).collect();
        let mut names = BTreeSet::new();
        let mut prefix = 0;
        for (_, schema) in &values {
            names.extend(schema.get("properties").and_then(Value::as_object).into_iter().flat_map(|p| p.keys()));
            prefix = prefix.max(prefix_of(schema).map_or(0, |(_, elements)| elements.len()));
        }
        let number = values.iter().filter_map(|(_, schema)| type_of(schema)).max_by_key(|t| *t == NumberType::Double);
        let mut types = PlaceTypes { number, ..PlaceTypes::default() };
        let inner = |of: &dyn Fn(&Value) -> Option<String>| -> BTreeSet<SchemaAt> {
            let at = |(document, pointer): &SchemaAt, path| (document.clone(), format!("{pointer}/{path}"));
            values.iter().filter_map(|(schema, value)| Some(at(schema, of(value)?))).collect()
        };
        let additional = inner(&|schema| schema.get("additionalProperties").map(|_| "additionalProperties".to_owned()));
        let items = inner(&rest_of);
        let properties: Vec<_> =
            names.into_iter().map(|name| (name.clone(), inner(&|schema| property_of(schema, name)))).collect();
        let elements: Vec<_> = (0..prefix).map(|i| inner(&|schema| element_of(schema, i))).collect();
        types.additional = self.place_of(additional);
        types.items = self.place_of(items);
        for (name, schemas) in properties {
            if let Some(at) = self.place_of(schemas) {
                types.properties.insert(name, at);
            }
        }
        types.prefix = elements.into_iter().map_while(|schemas| self.place(schemas)).collect();
        types
    }

    fn place_of(&mut self, schemas: BTreeSet<SchemaAt>) -> Option<usize> {
        if schemas.is_empty() { None } else { self.place(schemas) }
    }
}

fn property_of(schema: &Value, name: &str) -> Option<String> {
    if schema.get("properties").and_then(|properties| properties.get(name)).is_some() {
        return Some(format!("properties/{}", name.replace('~', "~0").replace('/', "~1")));
    }
    schema.get("additionalProperties").map(|_| "additionalProperties".to_owned())
}

/// Drafts up to 2019-09 write a prefix as a list under `items`.
fn prefix_of(schema: &Value) -> Option<(&'static str, &Vec<Value>)> {
    ["prefixItems", "items"].into_iter().find_map(|keyword| Some((keyword, schema.get(keyword)?.as_array()?)))
}

fn element_of(schema: &Value, index: usize) -> Option<String> {
    match prefix_of(schema) {
        Some((keyword, elements)) if index < elements.len() => Some(format!("{keyword}/{index}")),
        _ => rest_of(schema),
    }
}

fn rest_of(schema: &Value) -> Option<String> {
    let keyword = if schema.get("items").is_some_and(Value::is_array) { "additionalItems" } else { "items" };
    schema.get(keyword).map(|_| keyword.to_owned())
}

fn type_of(schema: &Value) -> Option<NumberType> {
    let types = match schema.get("type")? {
        Value::Array(types) => types.as_slice(),
        one => std::slice::from_ref(one),
    };
    let has = |name: &str| types.iter().any(|t| t.as_str() == Some(name));
    if has("number") {
        return Some(NumberType::Double);
    }
    has("integer").then_some(NumberType::Int)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::rule::pointer::Pointer;

    fn read(document: &Value) -> NumberTypes {
        NumberTypes::read((String::new(), String::new()), &|(_, pointer)| document.pointer(pointer), &|_, reference| {
            Some((String::new(), reference.strip_prefix('#')?.to_owned()))
        })
    }

    fn type_at(types: &NumberTypes, path: &str) -> Option<NumberType> {
        let mut place = types.root()?;
        for segment in Pointer::parse(path).unwrap().segments() {
            place = match segment.parse() {
                Ok(index) => place.element(index)?,
                Err(_) => place.property(segment)?,
            };
        }
        place.number()
    }

    #[test]
    fn types_are_found_through_every_way_down() {
        let types = read(&json!({
            "properties": {"qty": {"type": "integer"}, "price": {"$ref": "#/$defs/money"}, "a/b": {"type": ["null", "number"]}},
            "additionalProperties": {"type": "integer"},
            "allOf": [{"properties": {"lines": {"items": {"properties": {"n": {"type": "integer"}}}}}}],
            "anyOf": [{"properties": {"either": {"type": "integer"}}}, {"properties": {"either": {"type": "number"}}}],
            "$defs": {"money": {"type": "number"}}
        }));
        assert_eq!(type_at(&types, "/qty"), Some(NumberType::Int));
        assert_eq!(type_at(&types, "/price"), Some(NumberType::Double));
        assert_eq!(type_at(&types, "/a~1b"), Some(NumberType::Double));
        assert_eq!(type_at(&types, "/other"), Some(NumberType::Int));
        assert_eq!(type_at(&types, "/lines/7/n"), Some(NumberType::Int));
        assert_eq!(type_at(&types, "/either"), Some(NumberType::Double));
        assert_eq!(type_at(&types.within(&Pointer::parse("/data/x").unwrap()), "/data/x/qty"), Some(NumberType::Int));
        assert_eq!(type_at(&NumberTypes::none().within(&Pointer::root()), "/qty"), None);
    }

    #[test]
    fn elements_of_a_prefix_have_their_own() {
        for (prefix, items) in [("prefixItems", "items"), ("items", "additionalItems")] {
            let types = read(&json!({prefix: [{"type": "integer"}, {}], items: {"type": "number"}}));
            assert_eq!(type_at(&types, "/0"), Some(NumberType::Int));
            assert_eq!(type_at(&types, "/1"), None);
            assert_eq!(type_at(&types, "/2"), Some(NumberType::Double));
        }
    }

    #[test]
    fn recursive_schemas_come_to_an_end() {
        let types =
            read(&json!({"properties": {"n": {"type": "integer"}, "next": {"anyOf": [{"$ref": "#"}, {"$ref": "#"}]}}}));
        assert_eq!(type_at(&types, "/next/next/next/n"), Some(NumberType::Int));
        assert!(types.places.len() < 10);
        assert_eq!(read(&json!({"$ref": "#"})).places.len(), 1);
    }
}
