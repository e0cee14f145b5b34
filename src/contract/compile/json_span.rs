//! Where in a JSON text a value stands: schema files are shown with a caret too.

use std::ops::Range;

use crate::rule::pointer::Pointer;

/// The span of the value at `pointer`, or of the nearest value around it that exists. `text` is well-formed JSON, which
/// [`crate::decode::json::parse`] has said; for any other text the span means nothing.
pub(in crate::contract) fn locate(text: &str, pointer: &Pointer) -> Range<usize> {
    let mut at = skip_space(text, 0);
    let mut found = at..skip_value(text, at);
    for segment in pointer.segments() {
        match child(text, at, segment) {
            Some(start) => {
                at = start;
                found = start..skip_value(text, start);
            }
            None => break,
        }
    }
    found
}

/// Where the value of this key or index starts, in the collection that starts at `at`.
fn child(text: &str, at: usize, segment: &str) -> Option<usize> {
    let open = *text.as_bytes().get(at)?;
    let mut at = skip_space(text, at + 1);
    let mut index = 0_usize;
    while !matches!(text.as_bytes().get(at), None | Some(b']' | b'}')) {
        let is_wanted = if open == b'{' {
            let end = skip_value(text, at);
            let key: Option<String> = text.get(at..end).and_then(|key| serde_json::from_str(key).ok());
            at = skip_space(text, skip_space(text, end) + 1);
            key.as_deref() == Some(segment)
        } else if open == b'[' {
            segment.parse() == Ok(index)
        } else {
            return None;
        };
        if is_wanted {
            return Some(at);
        }
        index += 1;
        at = skip_space(text, skip_value(text, at));
        if text.as_bytes().get(at) == Some(&b',') {
            at = skip_space(text, at + 1);
        }
    }
    None
}

fn skip_space(text: &str, at: usize) -> usize {
    let rest = text.as_bytes().get(at..).unwrap_or_default();
    at + rest.iter().take_while(|b| b.is_ascii_whitespace()).count()
}

/// Past the value that starts at `at`. Counts brackets, so it needs no recursion; always moves on.
fn skip_value(text: &str, at: usize) -> usize {
    let bytes = text.as_bytes();
    let mut depth = 0_usize;
    let mut at = at;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => at = skip_string(bytes, at),
            b'[' | b'{' => (depth, at) = (depth + 1, at + 1),
            b']' | b'}' => (depth, at) = (depth.saturating_sub(1), at + 1),
            b',' | b':' | b' ' | b'\n' | b'\r' | b'\t' => at += 1,
            _ => {
                at += bytes[at..].iter().take_while(|b| b.is_ascii_alphanumeric() || b"+-.".contains(b)).count().max(1)
            }
        }
        if depth == 0 {
            break;
        }
    }
    at.min(bytes.len())
}

fn skip_string(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn values_are_found_where_they_stand() {
        let text = r#" {"a" : [1, {"b\"c": -2.5e3, "ä/~": {"x": null}}, "]"], "d": true} "#;
        let at = |pointer: &str| &text[locate(text, &Pointer::parse(pointer).unwrap())];
        assert_eq!(at("/a/0"), "1");
        assert_eq!(at("/a/1/b\"c"), "-2.5e3");
        assert_eq!(at("/a/1/ä~1~0"), "{\"x\": null}");
        assert_eq!(at("/a/2"), "\"]\"");
        assert_eq!(at("/d"), "true");
        assert_eq!(at("/a/1/nope/deeper"), r#"{"b\"c": -2.5e3, "ä/~": {"x": null}}"#);
        assert_eq!(at(""), text.trim());
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[\\[\\]{}\",:\\\\a1é ]{0,20}", pointer in "(/[a01])?") {
            let span = locate(&text, &Pointer::parse(&pointer).unwrap());
            prop_assert!(span.end <= text.len());
        }
    }
}
