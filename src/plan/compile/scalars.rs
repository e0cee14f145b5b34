//! What a schema says of scalars: `type`, `enum`, `const`, and the keywords of strings and numbers.

use std::sync::Arc;

use jsonschema::Draft;
use serde_json::Value;

use super::{Compiler, Reason, Schema};
use crate::plan::format::Format;
use crate::plan::node::{Also, Keyword, Node, NodeId, Numbers, Strings, Types, Values};
use crate::plan::number::Exact;
use crate::plan::pattern::Pattern;
use crate::rule::schema::reason::Kind;
use crate::rule::schema::words;

// Each says whether the schema has keywords of its kind.
impl Compiler<'_> {
    pub(super) fn types_and_values(
        &mut self,
        schema: Schema<'_>,
        node: &mut Node,
        also: &mut Vec<Also>,
    ) -> Result<bool, Reason> {
        if let Some(written) = schema.get("type") {
            node.types = types(written)?;
            node.declared = node.types;
            self.say(schema.id, Keyword::Type, Kind::Type(names(written)));
        }
        let listed = schema.get("enum").map(|list| list.as_array().map_or(&[][..], Vec::as_slice));
        let constant = schema.get("const").map(std::slice::from_ref);
        if let (Some(_), Some(constant)) = (listed, constant) {
            let second = self.add(Node::of_types(Types::ALL));
            let mut constant_alone = Node { schema: second, ..Node::of_types(Types::ALL) };
            self.restrict(second, &mut constant_alone, constant)?;
            self.nodes[second] = constant_alone;
            also.push(Also::All(Box::new([second])));
        }
        if let Some(values) = listed.or(constant) {
            self.restrict(schema.id, node, values)?;
        }
        Ok(schema.has_any(&["type", "enum", "const"]))
    }

    pub(super) fn strings(&mut self, schema: Schema<'_>, node: &mut Node) -> Result<bool, Reason> {
        let format = schema.get("format").and_then(Value::as_str).filter(|_| self.formats);
        if format.is_none() && !schema.has_any(&["minLength", "maxLength", "pattern"]) {
            return Ok(false);
        }
        let (shortest, longest) = (schema.count("minLength", 0)?, schema.count("maxLength", u64::MAX)?);
        self.say_words(schema.id, Keyword::MinLength, words::at_least(shortest, "character"));
        self.say_words(schema.id, Keyword::MaxLength, words::at_most(longest, "character"));
        if let Some(pattern) = schema.get("pattern").and_then(Value::as_str) {
            self.say_words(schema.id, Keyword::Pattern, words::pattern(pattern));
        }
        if let Some(name) = format {
            self.say_words(schema.id, Keyword::Format, words::format(name));
        }
        node.strings = Some(Arc::new(Strings {
            shortest,
            longest,
            pattern: match schema.get("pattern") {
                Some(pattern) => Some(compile_pattern(pattern.as_str().unwrap_or_default())?),
                None => None,
            },
            format: match format {
                Some(name) => {
                    let compiled = Format::compile(name, schema.draft);
                    Some(compiled.ok_or_else(|| format!("has the format {name:?}, which is not known"))?)
                }
                None => None,
            },
        }));
        Ok(true)
    }

    pub(super) fn numbers(&mut self, schema: Schema<'_>, node: &mut Node) -> Result<bool, Reason> {
        if !schema.has_any(&["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"]) {
            return Ok(false);
        }
        let exact = |keyword: &str| {
            let number = schema.get(keyword).and_then(Value::as_number);
            let read = |number: &serde_json::Number| {
                let beyond = || format!("has a `{keyword}` beyond 15 digits or with an exponent");
                Exact::parse(number.as_str()).ok_or_else(beyond)
            };
            number.map(read).transpose()
        };
        let is_exclusive =
            |keyword: &str| schema.draft == Draft::Draft4 && schema.get(keyword) == Some(&Value::Bool(true));
        let (mut minimum, mut maximum) = (exact("minimum")?, exact("maximum")?);
        let (mut above, mut below) = (exact("exclusiveMinimum")?, exact("exclusiveMaximum")?);
        if is_exclusive("exclusiveMinimum") {
            above = minimum.take();
        }
        if is_exclusive("exclusiveMaximum") {
            below = maximum.take();
        }
        self.say_bounds(schema, above.is_some(), below.is_some());
        node.numbers = Some(Arc::new(Numbers { minimum, maximum, above, below, multiple_of: exact("multipleOf")? }));
        Ok(true)
    }

    /// In draft 4, an exclusive bound is written as `minimum` or `maximum`.
    fn say_bounds(&mut self, schema: Schema<'_>, above: bool, below: bool) {
        let draft4 = schema.draft == Draft::Draft4;
        let lower = if draft4 && above { "minimum" } else { "exclusiveMinimum" };
        let upper = if draft4 && below { "maximum" } else { "exclusiveMaximum" };
        type Say = fn(&Value) -> String;
        let all: [(&str, Keyword, Say); 5] = [
            ("minimum", Keyword::Minimum, words::minimum),
            ("maximum", Keyword::Maximum, words::maximum),
            (lower, Keyword::ExclusiveMinimum, words::exclusive_minimum),
            (upper, Keyword::ExclusiveMaximum, words::exclusive_maximum),
            ("multipleOf", Keyword::MultipleOf, words::multiple_of),
        ];
        for (written, keyword, say) in all {
            if let Some(bound) = schema.get(written) {
                self.say_words(schema.id, keyword, say(bound));
            }
        }
    }

    /// Lets the node take only these values.
    fn restrict(&mut self, id: NodeId, node: &mut Node, values: &[Value]) -> Result<(), Reason> {
        self.say(id, Keyword::Choice, Kind::Choice(values.into()));
        restrict(node, values)
    }
}

pub(super) fn compile_pattern(pattern: &str) -> Result<Pattern, Reason> {
    Pattern::compile(pattern).ok_or_else(|| "has a pattern that does not compile".to_owned())
}

fn types(written: &Value) -> Result<Types, Reason> {
    let one = |name: &Value| match name.as_str() {
        Some("null") => Ok(Types::NULL),
        Some("boolean") => Ok(Types::BOOLEAN),
        Some("integer") => Ok(Types::INTEGER),
        Some("number") => Ok(Types::NUMBER),
        Some("string") => Ok(Types::STRING),
        Some("array") => Ok(Types::ARRAY),
        Some("object") => Ok(Types::OBJECT),
        _ => Err("has a `type` that is not known".to_owned()),
    };
    match written {
        Value::Array(names) => names.iter().try_fold(Types::NONE, |types, name| Ok(types.or(one(name)?))),
        name => one(name),
    }
}

/// The names that `type` is written with, in the order in which the `jsonschema` crate tells them.
fn names(written: &Value) -> Vec<&'static str> {
    let has = |name: &str| match written {
        Value::Array(names) => names.iter().any(|one| one == name),
        one => one == name,
    };
    let all = ["null", "boolean", "integer", "number", "string", "array", "object"];
    all.into_iter().filter(|name| has(name)).collect()
}

/// Lets the node take only these values.
fn restrict(node: &mut Node, values: &[Value]) -> Result<(), Reason> {
    let has = |value| values.contains(&Value::Bool(value));
    let mut strings: Vec<Box<str>> = values.iter().filter_map(Value::as_str).map(Box::from).collect();
    strings.sort_unstable();
    let numbers = values.iter().filter_map(Value::as_number).map(|number| {
        Exact::parse(number.as_str()).ok_or_else(|| "allows a number beyond 15 digits or with an exponent".to_owned())
    });
    let numbers = numbers.collect::<Result<_, _>>()?;
    let types = values.iter().fold(Types::NONE, |types, value| {
        types.or(match value {
            Value::Null => Types::NULL,
            Value::Bool(_) => Types::BOOLEAN,
            Value::Number(_) => Types::NUMBER,
            Value::String(_) => Types::STRING,
            Value::Array(_) => Types::ARRAY,
            Value::Object(_) => Types::OBJECT,
        })
    });
    node.types = node.types.and(types);
    node.values =
        Some(Arc::new(Values { types, strings: strings.into(), numbers, true_: has(true), false_: has(false) }));
    Ok(())
}
