//! What a schema says of arrays and objects.

use std::sync::Arc;

use serde_json::Value;

use super::scalars::compile_pattern;
use super::{Compiler, Reason, Schema};
use crate::plan::node::{ANY, Array, Contains, Keyword, NEVER, Node, NodeId, Types};
use crate::plan::object::{Dependent, KeySet, Object, PROPERTIES_MAX, Properties, Property};
use crate::plan::pattern::Pattern;
use crate::rule::schema::reason::Kind;
use crate::rule::schema::words;

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
        let (shortest, longest) = (schema.count("minItems", 0)?, schema.count("maxItems", u64::MAX)?);
        let prefix = self.list(schema, prefix)?.unwrap_or_default();
        self.say_words(schema.id, Keyword::MinItems, words::at_least(shortest, "element"));
        self.say_words(schema.id, Keyword::MaxItems, words::at_most(longest, "element"));
        self.say_words(schema.id, Keyword::MoreItems, words::at_most(prefix.len() as u64, "element"));
        self.say_words(schema.id, Keyword::UniqueItems, words::UNIQUE);
        self.say_words(schema.id, Keyword::Contains, words::CONTAINS);
        node.array = Some(Arc::new(Array {
            prefix,
            rest: self.optional(schema, rest).unwrap_or(ANY),
            rest_is_told_once: is_list,
            shortest,
            longest,
            unique: schema.get("uniqueItems") == Some(&Value::Bool(true)),
            contains,
            rows: None,
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
        let (fewest, most) = (schema.count("minProperties", 0)?, schema.count("maxProperties", u64::MAX)?);
        self.say_words(schema.id, Keyword::MinProperties, words::at_least(fewest, "property"));
        self.say_words(schema.id, Keyword::MaxProperties, words::at_most(most, "property"));
        self.say(schema.id, Keyword::Nothing, Kind::Nothing);
        for (index, key) in keys.0.iter().enumerate() {
            self.say_of(schema.id, Keyword::Required, index as u32, Kind::Required((*key).into()));
        }
        let names = self.optional(schema, "propertyNames");
        node.object = Some(Arc::new(Object {
            properties,
            required,
            is_closed: additional == NEVER && declared == 0 && patterns.is_empty(),
            is_nameless: names == Some(NEVER),
            patterns: patterns.into(),
            additional,
            names: names.filter(|names| *names != NEVER),
            fewest,
            most,
            dependents: dependents.into(),
        }));
        Ok(true)
    }

    /// The node is [`NEVER`] only where `false` itself is written: what refers to it is told in other words.
    fn optional(&mut self, schema: Schema<'_>, keyword: &str) -> Option<NodeId> {
        let written = schema.get(keyword)?;
        let node = self.at(schema.below(&[keyword]));
        let refers = node == NEVER && *written != Value::Bool(false);
        Some(if refers { self.add(Node::same_as(NEVER)) } else { node })
    }

    /// An event, or a part of one, whose `key` holds what `inner` describes.
    pub(super) fn envelope(&mut self, key: &str, inner: NodeId) -> NodeId {
        // In an array the key would be an index.
        if key.bytes().all(|byte| byte.is_ascii_digit()) {
            return self.add(Node::left_out());
        }
        let others = ENVELOPE_KEYS.iter().filter(|other| **other != key).map(|other| (*other, ANY));
        let keys = others.chain([(key, inner)]).map(|(key, node)| Property::new(key, node, Box::default()));
        let object = Object { properties: Properties::new(keys.collect()), ..Object::of_any() };
        self.add(Node { object: Some(Arc::new(object)), ..Node::of_types(Types::ALL) })
    }
}

/// A key the schema names: described itself, by the patterns that match it, or else as an additional one.
fn property(key: &str, own: Option<NodeId>, patterns: &[(Pattern, NodeId)], additional: NodeId) -> Property {
    let matching = patterns.iter().filter(|(pattern, _)| pattern.matches(key)).map(|(_, node)| *node);
    let mut nodes = own.into_iter().chain(matching);
    match nodes.next() {
        Some(first) => Property::new(key, first, nodes.collect()),
        None => undeclared(key, additional),
    }
}

/// A key that only what is said of additional properties describes.
pub(super) fn undeclared(key: &str, additional: NodeId) -> Property {
    if additional == NEVER { Property::unexpected(key) } else { Property::new(key, additional, Box::default()) }
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
