//! What each keyword asks for, in words for a producer's developer: out of the schema, never out of the payload.

use serde_json::Value;

/// The longest piece of a schema that is quoted, in characters.
pub(crate) const QUOTE_MAX: usize = 120;

/// How many choices of an `enum` are named.
const NAMED_MAX: usize = 8;

pub(crate) const CONTAINS: &str = "must contain the elements that \"contains\" asks for";
pub(crate) const NOT: &str = "must not match the schema under \"not\"";
pub(crate) const NOTHING: &str = "is not allowed here";
pub(crate) const SEVERAL: &str = "matches more than one of the alternatives of which exactly one is allowed";
pub(crate) const UNEXPECTED: &str = "is not a property the schema allows here";
pub(crate) const UNIQUE: &str = "must not hold an element twice";

/// `noun` is "element", "character" or "property".
pub(crate) fn at_least(limit: u64, noun: &str) -> String {
    format!("must have at least {}", count(limit, noun))
}

pub(crate) fn at_most(limit: u64, noun: &str) -> String {
    format!("must have at most {}", count(limit, noun))
}

pub(crate) fn minimum(limit: &Value) -> String {
    format!("must be at least {}", quote(limit))
}

pub(crate) fn maximum(limit: &Value) -> String {
    format!("must be at most {}", quote(limit))
}

pub(crate) fn exclusive_minimum(limit: &Value) -> String {
    format!("must be greater than {}", quote(limit))
}

pub(crate) fn exclusive_maximum(limit: &Value) -> String {
    format!("must be less than {}", quote(limit))
}

pub(crate) fn multiple_of(divisor: &Value) -> String {
    format!("must be a multiple of {}", quote(divisor))
}

pub(crate) fn pattern(pattern: &str) -> String {
    format!("must match the pattern {}", clip(pattern, QUOTE_MAX))
}

pub(crate) fn format(name: &str) -> String {
    format!("must be a valid {}", clip(name, QUOTE_MAX))
}

pub(crate) fn required(property: &str) -> String {
    format!("{} is required", quote(&Value::from(property)))
}

pub(crate) fn of_types(types: &[&str]) -> String {
    format!("must be of type {}", types.join(" or "))
}

pub(crate) fn one_of<'v>(choices: impl IntoIterator<Item = &'v Value>) -> String {
    let mut named: Vec<String> = Vec::new();
    let mut more = 0;
    for choice in choices.into_iter().map(quote) {
        if named.contains(&choice) {
            continue;
        }
        if named.len() < NAMED_MAX { named.push(choice) } else { more += 1 }
    }
    let more = if more > 0 { format!(" or {more} more") } else { String::new() };
    match (named.as_slice(), more.as_str()) {
        ([only], "") => format!("must be {only}"),
        _ => format!("must be one of {}{more}", named.join(", ")),
    }
}

/// A value out of the schema.
fn quote(value: &Value) -> String {
    clip(&value.to_string(), QUOTE_MAX)
}

pub(crate) fn clip(text: &str, characters: usize) -> String {
    match text.char_indices().nth(characters) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

pub(crate) fn count(n: u64, noun: &str) -> String {
    match (n, noun.strip_suffix('y')) {
        (1, _) => format!("1 {noun}"),
        (_, Some(stem)) => format!("{n} {stem}ies"),
        (_, None) => format!("{n} {noun}s"),
    }
}
