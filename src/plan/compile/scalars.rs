//! What a schema says of scalars: `type`, `enum`, `const`, and the keywords of strings and numbers.

use jsonschema::Draft;
use serde_json::Value;

use super::{Compiler, Reason, Schema};
use crate::plan::format::Format;
use crate::plan::node::{Also, Node, Numbers, Strings, Types, Values};
use crate::plan::number::Exact;
use crate::plan::pattern::Pattern;

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
        }
        let listed = schema.get("enum").map(|list| list.as_array().map_or(&[][..], Vec::as_slice));
        let constant = schema.get("const").map(std::slice::from_ref);
        if let (Some(_), Some(constant)) = (listed, constant) {
            let mut second = Node::of_types(Types::ALL);
            restrict(&mut second, constant)?;
            also.push(Also::All(Box::new([self.add(second)])));
        }
        if let Some(values) = listed.or(constant) {
            restrict(node, values)?;
        }
        Ok(schema.has_any(&["type", "enum", "const"]))
    }

    pub(super) fn strings(&mut self, schema: Schema<'_>, node: &mut Node) -> Result<bool, Reason> {
        let format = schema.get("format").and_then(Value::as_str).filter(|_| self.formats);
        if format.is_none() && !schema.has_any(&["minLength", "maxLength", "pattern"]) {
            return Ok(false);
        }
        node.strings = Some(Box::new(Strings {
            shortest: schema.count("minLength", 0)?,
            longest: schema.count("maxLength", u64::MAX)?,
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
        node.numbers = Some(Box::new(Numbers { minimum, maximum, above, below, multiple_of: exact("multipleOf")? }));
        Ok(true)
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
    node.values = Some(Box::new(Values { strings: strings.into(), numbers, true_: has(true), false_: has(false) }));
    Ok(())
}
