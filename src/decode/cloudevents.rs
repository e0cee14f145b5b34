//! CloudEvents 1.0.2 in JSON, and their binary HTTP form turned into it.
//!
//! Sources: CloudEvents `spec.md` (required attributes, names), `json-format.md` 3.1 (`data` or `data_base64`),
//! `bindings/http-protocol-binding.md` 3.1 (binary mode: `ce-` headers, percent-encoded; the body is the data).

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::percent_decode_str;
use serde_json::Value;

use super::json;

/// Attributes every event has, in the order they are written.
const REQUIRED: [&str; 4] = ["specversion", "id", "source", "type"];

/// Why headers and body are not a CloudEvent. Never with content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CloudEventFault {
    #[error("the CloudEvents attribute {0:?} is missing or empty; send it as the header ce-{0}")]
    Missing(&'static str),
    #[error("ce-specversion is not 1.0, the only version taken")]
    Version,
    #[error("a ce- header names no CloudEvents attribute: names are lower-case letters and digits")]
    Name,
    #[error("a ce- header says what Content-Type or the body says: ce-datacontenttype, ce-data")]
    Reserved,
    #[error("a ce- header comes twice")]
    Duplicate,
    #[error("a ce- header is not UTF-8 once its percent-encoding is undone")]
    Encoding,
}

/// The `type` of a CloudEvent, an object with `specversion` and `type`, both strings; `None` for any other event. `member` gives
/// the string that a key of the event holds.
pub fn event_type<'e>(member: impl Fn(&'static str) -> Option<&'e str>) -> Option<&'e str> {
    member("specversion")?;
    member("type")
}

/// Whether an event's text has its data in base64 (JSON format, 3.1), whatever that holds.
///
/// It is not judged: a contract's payload is JSON, and stands in `data`.
pub fn has_data_base64(text: &str) -> bool {
    match json::glance(text, ["data_base64"]) {
        json::Glance::Text(_) => true,
        json::Glance::NoText => false,
        json::Glance::Unclear => json::parse(text.as_bytes()).is_ok_and(|event| event["data_base64"].is_string()),
    }
}

/// The structured JSON form of an event in binary mode. `attributes` are the `ce-` headers, their names without `ce-`.
///
/// A JSON body stands in `data` byte for byte, text in UTF-8 as a string there, and anything else in `data_base64`; an
/// empty body is no data. Without a content type the body is JSON if it is well-formed JSON, and bytes if not. A body that is
/// declared to be JSON and is not gives an event that is malformed as a whole.
///
/// # Errors
///
/// Attributes that break the specification.
pub fn from_binary<'a>(
    attributes: impl Iterator<Item = (&'a str, &'a str)>,
    content_type: Option<&str>,
    body: &[u8],
) -> Result<Vec<u8>, CloudEventFault> {
    let attributes = decoded(attributes)?;
    for required in REQUIRED {
        if value_of(&attributes, required).is_none_or(str::is_empty) {
            return Err(CloudEventFault::Missing(required));
        }
    }
    if value_of(&attributes, "specversion") != Some("1.0") {
        return Err(CloudEventFault::Version);
    }
    let mut event = Vec::with_capacity(body.len() + 256);
    let first = REQUIRED.iter().filter_map(|name| Some((*name, value_of(&attributes, name)?)));
    let rest = attributes.iter().map(|(name, value)| (*name, &**value)).filter(|(name, _)| !REQUIRED.contains(name));
    for (name, value) in first.chain(rest).chain(content_type.map(|value| ("datacontenttype", value))) {
        push_member(&mut event, name, value);
    }
    if content_type.is_some_and(is_json) && !body.is_empty() && json::check(body).is_err() {
        return Ok(malformed(event, body));
    }
    push_data(&mut event, content_type, body);
    event.push(b'}');
    Ok(event)
}

/// Data that is declared to be JSON and is not makes a malformed event, which is kept whole: attributes and data. Data that
/// would make a well-formed one of it, such as `1,"id":"other"`, is not let in; it is malformed by itself.
fn malformed(attributes: Vec<u8>, body: &[u8]) -> Vec<u8> {
    let whole = [&attributes, b",\"data\":".as_slice(), body, b"}"].concat();
    if json::check(&whole).is_err() { whole } else { body.to_vec() }
}

fn value_of<'a>(attributes: &'a [(&str, String)], name: &str) -> Option<&'a str> {
    attributes.iter().find(|(known, _)| *known == name).map(|(_, value)| &**value)
}

fn decoded<'a>(
    attributes: impl Iterator<Item = (&'a str, &'a str)>,
) -> Result<Vec<(&'a str, String)>, CloudEventFault> {
    let mut seen = BTreeSet::new();
    let mut all = Vec::new();
    for (name, value) in attributes {
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()) {
            return Err(CloudEventFault::Name);
        }
        if matches!(name, "data" | "datacontenttype") {
            return Err(CloudEventFault::Reserved);
        }
        if !seen.insert(name) {
            return Err(CloudEventFault::Duplicate);
        }
        let unquoted = unquote(value);
        let value = percent_decode_str(&unquoted).decode_utf8().map_err(|_| CloudEventFault::Encoding)?;
        all.push((name, value.into_owned()));
    }
    Ok(all)
}

/// Receivers undo the quotes and backslashes that senders may have put around a value (HTTP binding 3.1.3.2).
fn unquote(value: &str) -> String {
    let Some(inside) = value.strip_prefix('"').and_then(|v| v.strip_suffix('"')) else { return value.to_owned() };
    let mut plain = String::with_capacity(inside.len());
    let mut characters = inside.chars();
    while let Some(c) = characters.next() {
        plain.push(if c == '\\' { characters.next().unwrap_or(c) } else { c });
    }
    plain
}

pub(super) fn push_member(event: &mut Vec<u8>, name: &str, value: &str) {
    event.push(if event.is_empty() { b'{' } else { b',' });
    push_string(event, name);
    event.push(b':');
    push_string(event, value);
}

fn push_string(event: &mut Vec<u8>, text: &str) {
    event.extend_from_slice(Value::from(text).to_string().as_bytes());
}

fn push_data(event: &mut Vec<u8>, content_type: Option<&str>, body: &[u8]) {
    if body.is_empty() {
        return;
    }
    // Only well-formed JSON may stand in the document as it is.
    if content_type.is_none_or(is_json) && json::check(body).is_ok() {
        event.extend_from_slice(b",\"data\":");
        event.extend_from_slice(body);
        return;
    }
    match std::str::from_utf8(body) {
        Ok(text) if content_type.is_some_and(is_utf8_text) => push_member(event, "data", text),
        _ => push_member(event, "data_base64", &STANDARD.encode(body)),
    }
}

/// A media type whose subtype is `json` or ends in `+json` (JSON format, 3.1).
fn is_json(content_type: &str) -> bool {
    let media_type = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    media_type.split_once('/').is_some_and(|(_, subtype)| subtype == "json" || subtype.ends_with("+json"))
}

/// `text/*` in UTF-8 or its subset, by declaration or for want of one.
fn is_utf8_text(content_type: &str) -> bool {
    let content_type = content_type.to_ascii_lowercase();
    let mut parts = content_type.split(';').map(str::trim);
    let is_text = parts.next().is_some_and(|media_type| media_type.starts_with("text/"));
    let charset = parts.find_map(|parameter| parameter.strip_prefix("charset="));
    is_text && charset.is_none_or(|charset| matches!(charset.trim_matches('"'), "utf-8" | "us-ascii"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ATTRIBUTES: [(&str, &str); 4] =
        [("id", "e1"), ("source", "/shop"), ("specversion", "1.0"), ("type", "order.placed")];

    fn event(more: &[(&str, &str)], content_type: Option<&str>, body: &[u8]) -> Result<String, CloudEventFault> {
        let attributes = ATTRIBUTES.iter().chain(more).copied();
        from_binary(attributes, content_type, body).map(|bytes| String::from_utf8(bytes).expect("JSON is UTF-8"))
    }

    #[test]
    fn a_json_body_is_embedded_byte_for_byte() {
        let body = b"{ \"n\" : 1.50e0 , \"s\":\"\\u00e9\"}";
        let event = event(&[("partitionkey", "c-1")], Some("application/json"), body).unwrap();
        expect_test::expect![[
            r#"{"specversion":"1.0","id":"e1","source":"/shop","type":"order.placed","partitionkey":"c-1","datacontenttype":"application/json","data":{ "n" : 1.50e0 , "s":"\u00e9"}}"#
        ]]
        .assert_eq(&event);
    }

    #[test]
    fn other_bodies_are_text_or_base64() {
        let data_of = |content_type, body| {
            let event: Value = serde_json::from_str(&event(&[], content_type, body).unwrap()).unwrap();
            let member = |name: &str| event.get(name).and_then(Value::as_str).map(str::to_owned);
            (member("data"), member("data_base64"))
        };
        assert_eq!(data_of(Some("text/plain"), "é".as_bytes()), (Some("é".into()), None));
        assert_eq!(data_of(Some("text/plain; charset=latin1"), b"a"), (None, Some("YQ==".into())));
        assert_eq!(data_of(Some("text/plain"), b"\xff"), (None, Some("/w==".into())));
        assert_eq!(data_of(Some("image/png"), b"a"), (None, Some("YQ==".into())));
        assert_eq!(data_of(None, b"{a"), (None, Some("e2E=".into())));
        assert_eq!(data_of(None, b"\"a\""), (Some("a".into()), None));
        assert_eq!(data_of(Some("application/json"), b""), (None, None));
    }

    #[test]
    fn headers_are_unquoted_and_percent_decoded() {
        let event = event(&[("subject", "\"a\\\"%20%E2%82%AC\"")], None, b"").unwrap();
        let event: Value = serde_json::from_str(&event).unwrap();
        assert_eq!(event["subject"], "a\" €");
    }

    #[test]
    fn broken_events_are_told_apart() {
        let missing: Vec<_> = ATTRIBUTES.iter().copied().filter(|(name, _)| *name != "type").collect();
        assert_eq!(from_binary(missing.into_iter(), None, b""), Err(CloudEventFault::Missing("type")));
        let older = ATTRIBUTES.map(|(n, v)| (n, if n == "specversion" { "0.3" } else { v }));
        assert_eq!(from_binary(older.into_iter(), None, b""), Err(CloudEventFault::Version));
        assert_eq!(event(&[("my-name", "x")], None, b""), Err(CloudEventFault::Name));
        assert_eq!(event(&[("data", "x")], None, b""), Err(CloudEventFault::Reserved));
        assert_eq!(event(&[("id", "x")], None, b""), Err(CloudEventFault::Duplicate));
        assert_eq!(event(&[("subject", "%ff")], None, b""), Err(CloudEventFault::Encoding));
    }

    #[test]
    fn a_body_cannot_add_members_to_the_event() {
        for body in [&b"1,\"subject\":\"x\""[..], b"1}", b"{\"a\":1", b"{\"a\":1,\"a\":2}"] {
            let event = from_binary(ATTRIBUTES.into_iter(), Some("application/json"), body).unwrap();
            assert!(json::check(&event).is_err(), "{}", String::from_utf8_lossy(&event));
            assert!(String::from_utf8_lossy(&event).contains(std::str::from_utf8(body).unwrap()));
        }
    }

    #[test]
    fn what_counts_as_a_cloudevent() {
        let event = |text| serde_json::from_str::<Value>(text).unwrap();
        let is = |event: &Value, expected: Option<&str>| event_type(|key| event.get(key)?.as_str()) == expected;
        assert!(is(&event(r#"{"specversion":"1.0","type":"t"}"#), Some("t")));
        for other in [r#"{"type":"t"}"#, r#"{"specversion":1.0,"type":"t"}"#, r#"{"specversion":"1.0"}"#, "[]", "1"] {
            assert!(is(&event(other), None), "{other}");
        }
    }

    proptest! {
        #[test]
        fn an_event_is_well_formed_if_its_data_is(
            extra in "[a-z0-9]{1,8}",
            value in ".{0,20}",
            content_type in proptest::option::of("(application/json|text/plain|a/b\\+json|.{0,10})"),
            body in proptest::collection::vec(any::<u8>(), 0..40),
        ) {
            let more = [(&*extra, &*value)];
            let attributes = ATTRIBUTES.iter().chain(&more).copied();
            if let Ok(event) = from_binary(attributes, content_type.as_deref(), &body) {
                let is_good = body.is_empty() || !content_type.is_some_and(|t| is_json(&t)) || json::check(&body).is_ok();
                prop_assert_eq!(json::check(&event).is_ok(), is_good);
                prop_assert!(is_good || event.windows(body.len()).any(|part| part == body));
            }
        }

        #[test]
        fn data_comes_back_as_it_was_sent(body in proptest::collection::vec(any::<u8>(), 1..40)) {
            let event = event(&[], Some("application/octet-stream"), &body).unwrap();
            let event: Value = serde_json::from_str(&event).unwrap();
            let data = event["data_base64"].as_str().unwrap();
            prop_assert_eq!(STANDARD.decode(data).unwrap(), body);
        }
    }
}
