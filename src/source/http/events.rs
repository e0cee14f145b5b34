//! The events of a request's body, each as its bytes.
//!
//! | `Content-Type` | events |
//! | --- | --- |
//! | `application/json` | the elements of an array; any other body is one event |
//! | `application/x-ndjson`, `application/jsonl` | one per line |
//! | `application/cloudevents+json` | one CloudEvent, structured |
//! | `application/cloudevents-batch+json` | the elements of an array |
//! | any, with `ce-` headers | one CloudEvent, binary: written in structured form, its data as it came |
//!
//! What cannot be taken apart is one event as it came: the gate judges it malformed, and it reaches the dead-letter queue.

use bytes::Bytes;
use hyper::http::StatusCode;
use hyper::http::request::Parts;
use serde::Deserialize;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use crate::decode::cloudevents::{self, CloudEventFault};
use crate::decode::json;
use crate::source::service::header_text;

use super::Problem;

/// Events in one request.
const EVENTS_MAX: usize = 10_000;
/// Characters of a partition key.
const PARTITION_KEY_MAX: usize = 256;
/// Hexadecimal digits of a key made from an event's bytes.
const OWN_KEY_LEN: usize = 32;

/// How a body holds events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Json,
    Lines,
    Structured,
    Batch,
    Binary,
}

/// The events of a body, without copying them.
pub fn read(parts: &Parts, body: &Bytes) -> Result<Vec<Bytes>, Problem> {
    if !matches!(header_text(parts, "content-encoding"), None | Some("" | "identity")) {
        let message = "compressed bodies are not taken; send the body without Content-Encoding";
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_encoding", message));
    }
    let format = format(parts)?;
    if format == Format::Binary {
        return binary(parts, body).map(|event| vec![event]);
    }
    if body.is_empty() {
        return Err(Problem::new(StatusCode::BAD_REQUEST, "no_event", "the body is empty; send at least one event"));
    }
    match format {
        Format::Lines => bounded(json::lines(body).map(|(_, line)| body.slice_ref(line))),
        Format::Json | Format::Batch => match json::elements_at_most(body, EVENTS_MAX + 1) {
            Some(elements) => bounded(elements.into_iter().map(|span| body.slice(span))),
            None => Ok(vec![body.clone()]),
        },
        Format::Structured | Format::Binary => Ok(vec![body.clone()]),
    }
}

fn bounded(mut events: impl Iterator<Item = Bytes>) -> Result<Vec<Bytes>, Problem> {
    let taken: Vec<Bytes> = events.by_ref().take(EVENTS_MAX).collect();
    if events.next().is_some() {
        let message = format!("the body holds more than {EVENTS_MAX} events; nothing was taken, send fewer at a time");
        return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_many_events", message));
    }
    Ok(taken)
}

fn format(parts: &Parts) -> Result<Format, Problem> {
    let content_type = header_text(parts, "content-type").unwrap_or_default();
    let media_type = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let is_binary = parts.headers.keys().any(|name| name.as_str().starts_with("ce-"));
    match media_type.as_str() {
        // The prefix decides, whatever else is there (HTTP binding, 3).
        "application/cloudevents-batch+json" => Ok(Format::Batch),
        "application/cloudevents+json" => Ok(Format::Structured),
        other if other.starts_with("application/cloudevents") => Err(unsupported_type()),
        _ if is_binary => Ok(Format::Binary),
        "application/json" => Ok(Format::Json),
        "application/x-ndjson" | "application/ndjson" | "application/jsonl" => Ok(Format::Lines),
        _ => Err(unsupported_type()),
    }
}

fn unsupported_type() -> Problem {
    Problem::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "unsupported_media_type",
        "Content-Type is none of application/json, application/x-ndjson, application/cloudevents+json and \
         application/cloudevents-batch+json, and there are no ce- headers",
    )
}

fn binary(parts: &Parts, body: &Bytes) -> Result<Bytes, Problem> {
    let bad = |fault: CloudEventFault| {
        Problem::new(StatusCode::BAD_REQUEST, "bad_cloudevent", format!("{fault}; nothing was taken"))
    };
    let mut attributes = Vec::new();
    for (name, value) in &parts.headers {
        if let Some(attribute) = name.as_str().strip_prefix("ce-") {
            let value = std::str::from_utf8(value.as_bytes()).map_err(|_| bad(CloudEventFault::Encoding))?;
            attributes.push((attribute, value));
        }
    }
    let event = cloudevents::from_binary(attributes.into_iter(), header_text(parts, "content-type"), body);
    event.map(Into::into).map_err(bad)
}

/// The partition key that the request gives to all its events: `x-partition-key`, else `?partition_key=`.
pub fn partition_key(parts: &Parts) -> Result<Option<String>, Problem> {
    let bad = || {
        let message =
            format!("the partition key is not 1 to {PARTITION_KEY_MAX} characters of UTF-8; nothing was taken");
        Problem::new(StatusCode::BAD_REQUEST, "bad_partition_key", message)
    };
    let key = match parts.headers.get("x-partition-key") {
        Some(value) => Some(std::str::from_utf8(value.as_bytes()).map_err(|_| bad())?.to_owned()),
        None => form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes())
            .find(|(name, _)| name == "partition_key")
            .map(|(_, value)| value.into_owned()),
    };
    match key {
        Some(key) if !is_key(&key) => Err(bad()),
        key => Ok(key),
    }
}

fn is_key(text: &str) -> bool {
    (1..=PARTITION_KEY_MAX).contains(&text.chars().count())
}

/// The partition key of an event whose request gives none: a CloudEvent's `partitionkey` extension, else its `id`, else
/// the first 128 bits of the SHA-256 of the event's bytes in hexadecimal. The same event has the same key each time.
pub fn own_key(event: &[u8]) -> String {
    cloudevent_key(event).filter(|key| is_key(key)).unwrap_or_else(|| {
        let mut hex = format!("{:x}", Sha256::digest(event));
        hex.truncate(OWN_KEY_LEN);
        hex
    })
}

fn cloudevent_key(event: &[u8]) -> Option<String> {
    /// Read without the rest of the event, whose data may be large.
    #[derive(Deserialize)]
    struct Attributes<'a> {
        #[serde(borrow)]
        specversion: Option<&'a RawValue>,
        #[serde(borrow)]
        r#type: Option<&'a RawValue>,
        #[serde(borrow)]
        id: Option<&'a RawValue>,
        #[serde(borrow)]
        partitionkey: Option<&'a RawValue>,
    }
    let text = |member: Option<&RawValue>| serde_json::from_str::<String>(member?.get()).ok();
    let attributes: Attributes<'_> = serde_json::from_slice(event).ok()?;
    text(attributes.specversion)?;
    text(attributes.r#type)?;
    text(attributes.partitionkey).filter(|key| is_key(key)).or_else(|| text(attributes.id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::http::Request;

    fn parts(headers: &[(&str, &str)]) -> Parts {
        let mut request = Request::post("/v1/streams/s/events");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    fn events(headers: &[(&str, &str)], body: &'static str) -> Result<Vec<String>, &'static str> {
        let events = read(&parts(headers), &Bytes::from_static(body.as_bytes())).map_err(|p| p.code)?;
        Ok(events.into_iter().map(|e| String::from_utf8(e.to_vec()).unwrap()).collect())
    }

    #[test]
    fn every_format_gives_the_bytes_of_each_event() {
        let json = [("content-type", "application/json; charset=utf-8")];
        assert_eq!(events(&json, "{\"a\": 1 }").unwrap(), ["{\"a\": 1 }"]);
        assert_eq!(events(&json, " [ {\"a\": 1 }, 2,[3] ] ").unwrap(), ["{\"a\": 1 }", "2", "[3]"]);
        assert_eq!(events(&json, "[]").unwrap(), [""; 0]);
        assert_eq!(events(&json, "[1,").unwrap(), ["[1,"]);
        let lines = [("content-type", "application/x-ndjson")];
        assert_eq!(events(&lines, "{\"a\":1}\r\n\n{oops\n[1,2]").unwrap(), ["{\"a\":1}", "{oops", "[1,2]"]);
        let batch = [("content-type", "application/cloudevents-batch+json")];
        assert_eq!(events(&batch, "[{},{}]").unwrap(), ["{}", "{}"]);
        let structured = [("content-type", "application/cloudevents+json"), ("ce-id", "ignored")];
        assert_eq!(events(&structured, "[{},{}]").unwrap(), ["[{},{}]"]);
    }

    #[test]
    fn binary_cloudevents_are_structured_and_broken_data_is_kept() {
        let headers = [
            ("ce-id", "1"),
            ("ce-source", "/s"),
            ("ce-specversion", "1.0"),
            ("ce-type", "t"),
            ("content-type", "application/json"),
        ];
        assert!(events(&headers, "{\"a\":1}").unwrap()[0].ends_with(r#""data":{"a":1}}"#));
        let broken = &events(&headers, "{\"a\":1").unwrap()[0];
        assert!(
            broken.contains(r#""type":"t""#) && broken.ends_with(r#""data":{"a":1}"#),
            "attributes and data: {broken}"
        );
        assert_eq!(events(&headers[1..], "{}").unwrap_err(), "bad_cloudevent");
    }

    #[test]
    fn what_is_not_taken_says_so() {
        assert_eq!(events(&[], "{}").unwrap_err(), "unsupported_media_type");
        assert_eq!(
            events(&[("content-type", "application/cloudevents+avro")], "x").unwrap_err(),
            "unsupported_media_type"
        );
        let json = ("content-type", "application/json");
        assert_eq!(events(&[json, ("content-encoding", "gzip")], "x").unwrap_err(), "unsupported_encoding");
        assert_eq!(events(&[json], "").unwrap_err(), "no_event");
        let many = format!("[{}1]", "1,".repeat(EVENTS_MAX));
        let problem = read(&parts(&[json]), &Bytes::from(many)).unwrap_err();
        assert_eq!((problem.status, problem.code), (StatusCode::PAYLOAD_TOO_LARGE, "too_many_events"));
    }

    #[test]
    fn a_partition_key_comes_from_the_request_or_the_event() {
        assert_eq!(partition_key(&parts(&[("x-partition-key", "k")])).unwrap().as_deref(), Some("k"));
        assert_eq!(partition_key(&parts(&[])).unwrap(), None);
        assert!(partition_key(&parts(&[("x-partition-key", "")])).is_err());
        let mut asked = parts(&[]);
        asked.uri = "/v1/streams/s/events?a=b&partition_key=%C3%A9+1".parse().unwrap();
        assert_eq!(partition_key(&asked).unwrap().as_deref(), Some("é 1"));

        let event = |members: &str| own_key(format!("{{\"specversion\":\"1.0\",\"type\":\"t\"{members}}}").as_bytes());
        assert_eq!(event(r#","id":"i","partitionkey":"p""#), "p");
        assert_eq!(event(r#","id":"i","partitionkey":7"#), "i");
        assert_eq!(event(r#","id":"i","partitionkey":"""#), "i");
        assert_eq!(event("").len(), OWN_KEY_LEN);
        assert_eq!(own_key(b"{\"id\":\"i\"}"), own_key(b"{\"id\":\"i\"}"));
        assert_ne!(own_key(b"{\"id\":\"i\"}"), own_key(b"{\"id\":\"j\"}"));
        assert_eq!(own_key(b"abc"), "ba7816bf8f01cfea414140de5dae2223");
    }
}
