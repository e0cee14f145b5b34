//! A document as one line, for files that hold one a line.

use std::borrow::Cow;

use base64::Engine as _;

use super::{BASE64, original, payload_of};

/// The same document without raw line breaks. Those can only be white space of an event that was written over several lines, and the
/// event's bytes are kept: they stand in base64 then.
pub fn on_one_line(body: &str) -> Cow<'_, str> {
    if !has_breaks(body) {
        return Cow::Borrowed(body);
    }
    let encoded = with_encoded_payload(body).filter(|line| !has_breaks(line));
    // Not by `build`: white space is all that can be lost.
    Cow::Owned(encoded.unwrap_or_else(|| body.replace(['\n', '\r'], " ")))
}

fn has_breaks(text: &str) -> bool {
    memchr::memchr2(b'\n', b'\r', text.as_bytes()).is_some()
}

fn with_encoded_payload(body: &str) -> Option<String> {
    let (text, payload) = payload_of(body).ok().filter(|(_, payload)| payload.encoding == "json")?;
    let data = original(body).ok()?;
    // The payload is the last member, as `build` writes it.
    let head = body.trim_end().strip_suffix('}')?.trim_end().strip_suffix(text)?;
    let bytes = payload.bytes;
    Some(format!("{head}{{\"encoding\":\"base64\",\"bytes\":{bytes},\"base64\":\"{}\"}}}}", BASE64.encode(data)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(json: &str) -> String {
        let bytes = json.len();
        format!(
            r#"{{"schema":"meshgate.dlq/v1","id":"1","payload":{{"encoding":"json","bytes":{bytes},"after":"\n","json":{json}}}}}"#
        )
    }

    #[test]
    fn an_event_of_several_lines_keeps_its_bytes() {
        let event = "{\r\n  \"n\": 1\n}";
        let body = document(event);
        let line = on_one_line(&body);
        assert!(
            !has_breaks(&line) && line.starts_with(r#"{"schema":"meshgate.dlq/v1","id":"1","payload":{"enc"#),
            "{line}"
        );
        assert_eq!(original(&line).unwrap(), format!("{event}\n").into_bytes());
        serde_json::from_str::<serde_json::Value>(&line).unwrap();
    }

    #[test]
    fn any_other_stays_as_it_is() {
        let body = document(r#"{"n": "a\nb"}"#);
        assert!(matches!(on_one_line(&body), Cow::Borrowed(same) if same == body));
        assert_eq!(on_one_line("{\n}"), "{ }");
    }
}
