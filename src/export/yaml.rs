//! JSON values as YAML that people read: block style, and quotes only where a text would mean something else without.

use std::fmt::Write as _;

use serde_json::Value;

/// The longest list or mapping of plain values that is written on one line, in characters.
const LINE_CHARS_MAX: usize = 100;

/// The value as a YAML document. A mapping's keys keep their order.
pub(super) fn document(value: &Value) -> String {
    let mut text = String::new();
    block(value, 0, &mut text);
    text
}

/// The lines of a value, indented; each ends with a line feed.
fn block(value: &Value, indent: usize, text: &mut String) {
    let pad = " ".repeat(indent);
    match value {
        Value::Object(object) if !object.is_empty() => {
            for (key, value) in object {
                let _ = write!(text, "{pad}{}:", scalar(key));
                below(value, indent + 2, text);
            }
        }
        Value::Array(array) if !array.is_empty() => {
            for element in array {
                let mut lines = String::new();
                block(element, indent + 2, &mut lines);
                // The element's first line stands behind the dash.
                let _ = write!(text, "{pad}- {}", &lines[(indent + 2).min(lines.len())..]);
            }
        }
        other => {
            let _ = writeln!(text, "{pad}{}", inline(other));
        }
    }
}

/// A value behind its key.
fn below(value: &Value, indent: usize, text: &mut String) {
    let is_leaf = |value: &Value| !value.is_object() && !value.is_array();
    let line = match value {
        Value::Array(array) if array.iter().all(is_leaf) => Some(inline(value)),
        Value::Object(object) if object.is_empty() => Some(inline(value)),
        Value::Array(_) | Value::Object(_) => None,
        leaf => Some(inline(leaf)),
    };
    match line.filter(|line| is_leaf(value) || indent + line.chars().count() <= LINE_CHARS_MAX) {
        Some(line) => {
            let _ = writeln!(text, " {line}");
        }
        None => {
            text.push('\n');
            block(value, indent, text);
        }
    }
}

/// On one line.
fn inline(value: &Value) -> String {
    match value {
        Value::String(text) => scalar(text),
        Value::Array(array) => format!("[{}]", array.iter().map(inline).collect::<Vec<_>>().join(", ")),
        Value::Object(object) => {
            let entries = object.iter().map(|(key, value)| format!("{}: {}", scalar(key), inline(value)));
            format!("{{{}}}", entries.collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}

/// A text that any YAML reader takes for the same text, 1.1 and 1.2.
fn scalar(text: &str) -> String {
    const WORDS: [&str; 9] = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    let is_plain = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || " _/.-*".contains(c))
        && !text.ends_with(' ')
        && !WORDS.iter().any(|word| text.eq_ignore_ascii_case(word));
    if is_plain {
        return text.to_owned();
    }
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            ' '..='~' => quoted.push(c),
            _ if c.is_alphanumeric() => quoted.push(c),
            _ if u32::from(c) <= 0xffff => quoted += &format!("\\u{:04x}", u32::from(c)),
            _ => quoted += &format!("\\U{:08x}", u32::from(c)),
        }
    }
    quoted + "\""
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::contract::yaml;

    #[test]
    fn it_reads_well() {
        let value = json!({
            "a": {"b": [1, "x y", "yes"], "c": [], "d": {}}, "e: f": [{"g": 1, "h": {"i": null}}, [[2]], {}], "j": "1.0.0",
        });
        expect_test::expect![[r#"
            a:
              b: [1, x y, "yes"]
              c: []
              d: {}
            "e: f":
              - g: 1
                h:
                  i: null
              - - - 2
              - {}
            j: "1.0.0"
        "#]]
        .assert_eq(&document(&value));
    }

    proptest! {
        #[test]
        fn it_means_the_value(value in arbitrary()) {
            let text = document(&value);
            prop_assert_eq!(&yaml::parse(text.as_bytes()).unwrap().value, &value, "{}", text);
        }
    }

    fn arbitrary() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "\\PC{0,12}|[ -~]{0,8}|(true|null|1|1.5|~|-|\\*a|/a/\\*/b|a: b|a #b|\n|\u{85}|\u{feff}|\u{1f600})"
                .prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[a-z: ]{0,4}", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }
}
