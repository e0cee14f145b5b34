//! Values, names and lists of them, in words.

use serde_json::Value;

use super::html::{Html, joined, piece};

/// The longest text of one value, in characters; the rest is cut.
const VALUE_CHARS_MAX: usize = 120;

/// A JSON value as code. A text stands without its quotes where nobody could take it for anything else.
pub(super) fn value(value: &Value) -> Html {
    let text = match value {
        Value::String(text) if is_plain(text) => text.clone(),
        other => other.to_string(),
    };
    piece(|h| match text.char_indices().nth(VALUE_CHARS_MAX) {
        Some((end, _)) => {
            h.code(format!("{}…", &text[..end]));
        }
        None => {
            h.code(text);
        }
    })
}

fn is_plain(text: &str) -> bool {
    !text.is_empty()
        && text.trim() == text
        && !text.starts_with(['"', '[', '{'])
        && !matches!(text, "null" | "true" | "false")
        && text.parse::<f64>().is_err()
}

/// `a, b and 3 more`.
pub(super) fn list<'v>(values: impl IntoIterator<Item = &'v Value>, most: usize) -> Html {
    let mut values = values.into_iter();
    let told: Vec<Html> = values.by_ref().take(most).map(value).collect();
    let mut html = joined(&told, ", ");
    let more = values.count();
    if more > 0 {
        html.text(format!(" and {more} more"));
    }
    html
}

/// `1 contract`, `2 contracts`.
pub(super) fn count(n: usize, noun: &str) -> String {
    format!("{n} {noun}{}", if n == 1 { "" } else { "s" })
}

/// A key of a rule file as words: `p99MustBeLessThan` is `p99 must be less than`.
pub(super) fn key(key: &str) -> String {
    let mut words = String::new();
    for c in key.chars() {
        match c {
            '_' | '-' => words.push(' '),
            c if c.is_ascii_uppercase() => {
                words.push(' ');
                words.push(c.to_ascii_lowercase());
            }
            c => words.push(c),
        }
    }
    words.trim_start().to_owned()
}

/// A time span as rule files write it: `30d` is `30 days`.
pub(super) fn span(written: &str) -> String {
    let unit = match written.chars().last() {
        Some('s') => "second",
        Some('m') => "minute",
        Some('h') => "hour",
        Some('d') => "day",
        _ => return written.to_owned(),
    };
    match written[..written.len() - 1].parse::<usize>() {
        Ok(n) => count(n, unit),
        Err(_) => written.to_owned(),
    }
}

/// Whatever a rule file says, when nothing more is known of it: lists by comma, objects by key.
pub(super) fn anything(written: &Value) -> Html {
    match written {
        Value::Array(values) => {
            let values: Vec<Html> = values.iter().map(anything).collect();
            joined(&values, ", ")
        }
        Value::Object(members) => {
            let members: Vec<Html> = members
                .iter()
                .map(|(name, written)| {
                    piece(|h| {
                        h.text(key(name)).text(" ").add(&anything(written));
                    })
                })
                .collect();
            joined(&members, "; ")
        }
        scalar => value(scalar),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn keys_spans_and_lists_read_as_words() {
        assert_eq!(key("p99MustBeLessThan"), "p99 must be less than");
        assert_eq!((key("on_fail"), key("window")), ("on fail".to_owned(), "window".to_owned()));
        assert_eq!(
            (span("30d"), span("1h"), span("soon"), span("é")),
            ("30 days".into(), "1 hour".into(), "soon".into(), "é".into())
        );
        let told = anything(&json!({"mustBeBetween": [50, 5000], "key": ["event.id"]})).into_string();
        assert_eq!(told, "must be between <code>50</code>, <code>5000</code>; key <code>event.id</code>");
        let long = value(&json!("x".repeat(500))).into_string();
        assert_eq!(long.len(), "<code>…</code>".len() + VALUE_CHARS_MAX);
    }
}
