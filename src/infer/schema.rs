//! A payload's JSON Schema, of what all events have in common.
//!
//! It holds for every event that was seen, whatever bound was met: what was not looked at in all events is left open.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use super::fields::{Field, Ground, Privacy, fields};
use super::node::{KEYS_MAX, Kind, Node};
use super::thousands;

/// The schema document, for people to edit: a line per simple field, with what was seen as `$comment`.
pub(super) fn document(root: &Node) -> String {
    let all = fields(root);
    let mut seen = all.iter();
    let mut schema = Map::new();
    schema.insert("$schema".to_owned(), json!("https://json-schema.org/draft/2020-12/schema"));
    schema.extend(describe(root, &mut seen));
    let mut text = String::new();
    write(&Value::Object(schema), 0, true, &mut text);
    text.push('\n');
    text
}

/// The schema of one node. `seen` are the fields from it on, in the order this walks them: that of [`fields`].
fn describe<'f>(node: &Node, seen: &mut impl Iterator<Item = &'f Field<'f>>) -> Map<String, Value> {
    let mut schema = Map::new();
    let Some(field) = seen.next() else { return schema };
    schema.insert("$comment".to_owned(), json!(comment(field)));
    match &node.types()[..] {
        // Nothing is known of what else it may be.
        [] | [Kind::Null] => {}
        [only] => drop(schema.insert("type".to_owned(), json!(only.as_str()))),
        several => {
            let types: Vec<&str> = several.iter().map(|kind| kind.as_str()).collect();
            schema.insert("type".to_owned(), json!(types));
        }
    }
    schema.extend(of_texts(field));
    let objects = node.of_kind(Kind::Object);
    let required: Vec<&str> =
        node.members.named(objects).filter(|(_, node)| node.count == objects).map(|(key, _)| key).collect();
    if !required.is_empty() {
        schema.insert("required".to_owned(), json!(required));
    }
    let mut properties = Map::new();
    for (key, member) in node.members.named(objects) {
        properties.insert(key.to_owned(), Value::Object(describe(member, seen)));
    }
    if !properties.is_empty() {
        schema.insert("properties".to_owned(), Value::Object(properties));
    }
    if let Some(rest) = node.members.of_map() {
        schema.insert("additionalProperties".to_owned(), Value::Object(describe(rest, seen)));
    }
    if let Some(items) = node.items.as_deref() {
        schema.insert("items".to_owned(), Value::Object(describe(items, seen)));
    }
    schema
}

/// What holds for all its strings. Of private ones only their format: the rest would tell what they are.
fn of_texts(field: &Field<'_>) -> Map<String, Value> {
    let (node, mut keywords) = (field.node, Map::new());
    let Some(texts) = node.texts.as_deref() else { return keywords };
    if let Some(format) = texts.format() {
        keywords.insert("format".to_owned(), json!(format));
    }
    if !field.privacy.is_open() {
        return keywords;
    }
    let distinct = node.distinct.count();
    if let Some(few) = field.enumeration() {
        // An enumeration is of all values, not of strings only.
        let null = (node.of_kind(Kind::Null) > 0).then_some(Value::Null);
        let values: Vec<Value> = few.iter().map(|text| Value::from(&**text)).chain(null).collect();
        keywords.insert("enum".to_owned(), Value::Array(values));
    } else if let Some(pattern) = texts.pattern(distinct) {
        keywords.insert("pattern".to_owned(), json!(pattern));
    } else if let Some(length) = texts.fixed_length(distinct) {
        keywords.insert("minLength".to_owned(), json!(length));
        keywords.insert("maxLength".to_owned(), json!(length));
    }
    keywords
}

/// What was seen, and so why the schema says what it says.
fn comment(field: &Field<'_>) -> String {
    let node = field.node;
    let mut comment = field.presence();
    let mut add = |what: &str| {
        let _ = write!(comment, "; {what}");
    };
    if node.count > 0 && node.of_kind(Kind::Null) == node.count {
        add("always null");
    }
    match field.privacy {
        Privacy::Open => {}
        Privacy::Suspected(suspicion, ground) => add(&suspect(suspicion.what, ground)),
        Privacy::Inside => return comment,
    }
    if field.privacy.is_open() {
        if let Some(few) = field.enumeration() {
            add(&format!("{} values", few.len()));
        } else if node.count > 1 && node.distinct.is_exact() && node.distinct.count() == 1 {
            add("always the same");
        }
        if let Some(range) = field.range() {
            add(&format!("from {} to {}", range.least(), range.most()));
        }
    }
    if field.is_key() {
        add("different in each");
    }
    if node.members.is_crowded {
        add(&format!("more than {KEYS_MAX} different keys, so only those in all are named"));
    } else if node.members.of_map().is_some() {
        add("its keys are values");
    } else if node.members.rest.is_some() {
        add("some of its keys are values, and not described");
    }
    if node.members.is_partial {
        add("not looked at as a whole");
    }
    comment
}

/// `perhaps private: e-mail addresses, by its name`.
pub(super) fn suspect(what: &str, ground: Ground) -> String {
    match ground {
        Ground::Name => format!("perhaps private: {what}, by its name"),
        Ground::Values(count) => format!("perhaps private: {what}, by the look of {}", values(count)),
        Ground::Keys => format!("perhaps private: {what}, in its keys or below them"),
    }
}

fn values(count: u64) -> String {
    format!("{} value{}", thousands(count), if count == 1 { "" } else { "s" })
}

/// The longest line that holds a whole object or array, in bytes.
const LINE_BYTES_MAX: usize = 130;

/// JSON as people write it: what fits into a line stands in one.
fn write(value: &Value, indent: usize, is_open: bool, out: &mut String) {
    let line = inline(value);
    if !is_open && indent + line.len() <= LINE_BYTES_MAX {
        out.push_str(&line);
        return;
    }
    let entries: Vec<(Option<&String>, &Value)> = match value {
        Value::Object(members) => members.iter().map(|(key, value)| (Some(key), value)).collect(),
        Value::Array(elements) => elements.iter().map(|value| (None, value)).collect(),
        _ => {
            out.push_str(&line);
            return;
        }
    };
    let (opening, closing) = if value.is_object() { ('{', '}') } else { ('[', ']') };
    out.push(opening);
    for (at, (key, value)) in entries.iter().enumerate() {
        out.push_str(if at == 0 { "\n" } else { ",\n" });
        let _ = write!(out, "{:1$}", "", indent + 2);
        if let Some(key) = key {
            let _ = write!(out, "{}: ", Value::from(key.as_str()));
        }
        // Fields stand one a line, however short.
        let is_open = key.is_some_and(|key| key == "properties");
        write(value, indent + 2, is_open, out);
    }
    let _ = write!(out, "\n{:1$}{closing}", "", indent);
}

fn inline(value: &Value) -> String {
    let joined = |parts: Vec<String>| parts.join(", ");
    match value {
        Value::Object(members) => {
            let members =
                members.iter().map(|(key, value)| format!("{}: {}", Value::from(key.as_str()), inline(value)));
            format!("{{{}}}", joined(members.collect()))
        }
        Value::Array(elements) => format!("[{}]", joined(elements.iter().map(inline).collect())),
        other => other.to_string(),
    }
}
