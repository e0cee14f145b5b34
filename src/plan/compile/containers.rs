//! What a schema says of arrays and objects.

use serde_json::Value;

use super::scalars::compile_pattern;
use super::{Compiler, Reason, Schema};
use crate::plan::node::{ANY, Array, Contains, Node, NodeId, Types};
use crate::plan::object::{Dependent, KeySet, Object, PROPERTIES_MAX, Properties, Property};
use crate::plan::pattern::Pattern;

const OF_ARRAYS: [&str; 8] =
    ["items", "prefixItems", "minItems", "maxItems", "uniqueItems", "contains", "minContains", "maxContains"];

const OF_OBJECTS: [&str; 10] = [
    "properties",
    "required",
    "patternProperties",
    "additionalProperties",
    "propertyNames",
    "minProperties",
    "maxProperties",
    "dependencies",
    "dependentRequired",
    "dependentSchemas",
];

/// The attributes of CloudEvents 1.0, in the order most producers write them. An envelope may have any other keys.
const ENVELOPE_KEYS: [&str; 8] =
    ["specversion", "id", "source", "type", "subject", "time", "datacontenttype", "dataschema"];

impl Compiler<'_> {
    pub(super) fn array(&mut self, schema: Schema<'_>, node: &mut Node) -> Result<bool, Reason> {
        if !schema.has_any(&OF_ARRAYS) {
            return Ok(false);
        }
        // Until draft 2019-09, `items` may be the list that `prefixItems` is now, and `additionalItems` what follows it.
        let is_list = schema.get("items").is_some_and(Value::is_array);
        let (prefix, rest) = if is_list { ("items", "additionalItems") } else { ("prefixItems", "items") };
        let contains = match schema.get("contains") {
            Some(_) => Some(Contains {
                node: self.at(schema.below(&["contains"])),
                least: schema.count("minContains", 1)?,
                most: schema.count("maxContains", u64::MAX)?,
            }),
            None => None,
        };
        node.array = Some(Box::new(Array {
            prefix: self.list(schema, prefix)?.unwrap_or_default(),
            rest: self.optional(schema, rest).unwrap_or(ANY),
            shortest: schema.count("minItems", 0)?,
            longest: schema.count("maxItems", u64::MAX)?,
            unique: schema.get("uniqueItems") == Some(&Value::Bool(true)),
            contains,
        }));
        Ok(true)
    }

    pub(super) fn object(&mut self, schema: Schema<'_>, node: &mut Node) -> Result<bool, Reason> {
        if !schema.has_any(&OF_OBJECTS) {
            return Ok(false);
        }
        let entries = |keyword: &str| schema.get(keyword).and_then(Value::as_object).into_iter().flatten();
        let mut patterns = Vec::new();
        for (pattern, _) in entries("patternProperties") {
            patterns.push((compile_pattern(pattern)?, self.at(schema.below(&["patternProperties", pattern]))));
        }
        let additional = self.optional(schema, "additionalProperties").unwrap_or(ANY);
        let mut keys = Keys::default();
        for (key, _) in entries("properties") {
            keys.index_of(key);
        }
        let declared = keys.0.len();
        let required = keys.set_of(schema.get("required"));
        let mut dependents = Vec::new();
        for keyword in ["dependencies", "dependentRequired", "dependentSchemas"] {
            for (key, value) in entries(keyword) {
                let property = keys.index_of(key);
                let node = (!value.is_array()).then(|| self.at(schema.below(&[keyword, key])));
                dependents.push(Dependent { property, required: keys.set_of(Some(value)), node });
            }
        }
        if keys.0.len() > PROPERTIES_MAX {
            return Err(format!("has more than {PROPERTIES_MAX} properties"));
        }
        let property = |(index, key): (usize, &&str)| {
            let own = (index < declared).then(|| self.at(schema.below(&["properties", key])));
            property(key, own, &patterns, additional)
        };
        let properties = Properties::new(keys.0.iter().enumerate().map(property).collect());
        node.object = Some(Box::new(Object {
            properties,
            required,
            patterns: patterns.into(),
            additional,
            names: self.optional(schema, "propertyNames"),
            fewest: schema.count("minProperties", 0)?,
            most: schema.count("maxProperties", u64::MAX)?,
            dependents: dependents.into(),
        }));
        Ok(true)
    }

    fn optional(&mut self, schema: Schema<'_>, keyword: &str) -> Option<NodeId> {
        schema.get(keyword).map(|_| self.at(schema.below(&[keyword])))
    }

    /// An event, or a part of one, whose `key` holds what `inner` describes.
    pub(super) fn envelope(&mut self, key: &str, inner: NodeId) -> NodeId {
        // In an array the key would be an index.
        if key.bytes().all(|byte| byte.is_ascii_digit()) {
            return self.add(Node::left_out());
        }
        let others = ENVELOPE_KEYS.iter().filter(|other| **other != key).map(|other| (*other, ANY));
        let keys: Vec<Property> =
            others.chain([(key, inner)]).map(|(key, node)| Property::new(key, node, Box::default())).collect();
        let mut required = KeySet::default();
        required.insert(keys.len() - 1);
        let mut node = Node::of_types(Types::OBJECT);
        node.object = Some(Box::new(Object {
            properties: Properties::new(keys),
            required,
            patterns: Box::default(),
            additional: ANY,
            names: None,
            fewest: 0,
            most: u64::MAX,
            dependents: Box::default(),
        }));
        self.add(node)
    }
}

/// A key the schema names: described itself, by the patterns that match it, or else as an additional one.
fn property(key: &str, own: Option<NodeId>, patterns: &[(Pattern, NodeId)], additional: NodeId) -> Property {
    let matching = patterns.iter().filter(|(pattern, _)| pattern.matches(key)).map(|(_, node)| *node);
    let mut nodes = own.into_iter().chain(matching);
    Property::new(key, nodes.next().unwrap_or(additional), nodes.collect())
}

/// The keys a schema names, each once, those of `properties` first.
#[derive(Default)]
struct Keys<'s>(Vec<&'s str>);

impl<'s> Keys<'s> {
    fn index_of(&mut self, key: &'s str) -> usize {
        self.0.iter().position(|known| *known == key).unwrap_or_else(|| {
            self.0.push(key);
            self.0.len() - 1
        })
    }

    /// Of an array of names. Indices past the most there may be are dropped; the schema is left out then.
    fn set_of(&mut self, names: Option<&'s Value>) -> KeySet {
        let mut set = KeySet::default();
        for name in names.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str) {
            let index = self.index_of(name);
            if index < PROPERTIES_MAX {
                set.insert(index);
            }
        }
        set
    }
}
