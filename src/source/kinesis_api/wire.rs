//! What JSON 1.1 and CBOR 1.1 share, and where they differ: blobs (base64 text or byte strings) and timestamps
//! (fractional epoch seconds, or tag 1 over milliseconds). Source: AWS JSON protocol; `super::cbor` for the dialect.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::de::{self, Deserialize, Deserializer, IgnoredAny, SeqAccess, Visitor};
use serde::ser::{Serialize, Serializer};

use crate::model::Timestamp;

use super::cbor::{self, TIMESTAMP_NEWTYPE};
use super::fault::Fault;

/// How a request is written, and so its answer: a CBOR client cannot read a JSON error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    Json,
    Cbor,
}

impl Encoding {
    /// From a `Content-Type`: JSON 1.1, its relatives, or CBOR 1.1. A missing one is JSON. `None` for anything else.
    pub fn of(content_type: Option<&str>) -> Option<Self> {
        let Some(content_type) = content_type else { return Some(Self::Json) };
        let media_type = content_type.split(';').next().unwrap_or_default().trim();
        const JSON: [&str; 3] = ["application/x-amz-json-1.1", "application/x-amz-json-1.0", "application/json"];
        if JSON.iter().any(|known| media_type.eq_ignore_ascii_case(known)) {
            Some(Self::Json)
        } else {
            media_type.eq_ignore_ascii_case("application/x-amz-cbor-1.1").then_some(Self::Cbor)
        }
    }

    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/x-amz-json-1.1",
            Self::Cbor => "application/x-amz-cbor-1.1",
        }
    }

    /// Reads a request's members. An empty body has none. The fault names the place and never the content.
    pub fn parse<'de, T: Deserialize<'de>>(self, body: &'de [u8]) -> Result<T, Fault> {
        match (self, body) {
            (Self::Json, []) => serde_json::from_slice(b"{}").map_err(|e| json_fault(&e)),
            (Self::Json, _) => serde_json::from_slice(body).map_err(|e| json_fault(&e)),
            (Self::Cbor, []) => cbor::from_slice(&[0xa0]).map_err(|e| Fault::serialization(harmless(&e.to_string()))),
            (Self::Cbor, _) => cbor::from_slice(body).map_err(|e| Fault::serialization(harmless(&e.to_string()))),
        }
    }

    /// Writes an answer.
    pub fn write<T: Serialize>(self, answer: &T) -> Result<Bytes, Fault> {
        match self {
            Self::Json => serde_json::to_vec(answer).map_err(|e| e.to_string()),
            Self::Cbor => cbor::to_vec(answer).map_err(|e| e.to_string()),
        }
        .map(Bytes::from)
        .map_err(|e| Fault::internal(format!("the gate could not write its answer: {e}")))
    }
}

fn json_fault(error: &serde_json::Error) -> Fault {
    let text = error.to_string();
    let what = text.rsplit_once(" at line ").map_or(&*text, |(what, _)| what);
    Fault::serialization(format!("{} at line {} column {}", harmless(what), error.line(), error.column()))
}

/// serde's messages quote the value that does not fit ("invalid type: string \"…\", expected …"). Keeps what was expected,
/// which is our own text, and leaves the value out.
fn harmless(message: &str) -> String {
    if !message.starts_with("invalid ") {
        return message.into();
    }
    match message.rsplit_once(", expected ") {
        Some((_, expected)) => format!("expected {expected}"),
        None => "a value of another type than the member's".into(),
    }
}

/// Bytes of a record. Borrowed from a CBOR body, decoded from a JSON one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blob<'a>(pub Cow<'a, [u8]>);

impl Blob<'_> {
    /// The bytes, without a copy where `body` holds them.
    pub fn into_bytes(self, body: &Bytes) -> Bytes {
        match self.0 {
            Cow::Borrowed(slice) => body.slice_ref(slice),
            Cow::Owned(bytes) => bytes.into(),
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Blob<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Base64;
        impl<'de> Visitor<'de> for Base64 {
            type Value = Blob<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("base64 text")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                let bytes = STANDARD.decode(text).map_err(|_| E::custom("Data is not base64 (RFC 4648, padded)"))?;
                Ok(Blob(Cow::Owned(bytes)))
            }
        }
        struct Raw;
        impl<'de> Visitor<'de> for Raw {
            type Value = Blob<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a byte string")
            }

            fn visit_borrowed_bytes<E: de::Error>(self, bytes: &'de [u8]) -> Result<Self::Value, E> {
                Ok(Blob(Cow::Borrowed(bytes)))
            }

            fn visit_byte_buf<E: de::Error>(self, bytes: Vec<u8>) -> Result<Self::Value, E> {
                Ok(Blob(Cow::Owned(bytes)))
            }
        }
        if deserializer.is_human_readable() {
            deserializer.deserialize_str(Base64)
        } else {
            deserializer.deserialize_bytes(Raw)
        }
    }
}

impl Serialize for Blob<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.serialize_str(&STANDARD.encode(&self.0))
        } else {
            serializer.serialize_bytes(&self.0)
        }
    }
}

/// A timestamp member: JSON writes seconds with a fraction, CBOR tag 1 over milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EpochMillis(pub Timestamp);

impl<'de> Deserialize<'de> for EpochMillis {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Epoch {
            millis_per_unit: i64,
        }
        impl Visitor<'_> for Epoch {
            type Value = EpochMillis;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a timestamp")
            }

            fn visit_i64<E: de::Error>(self, units: i64) -> Result<EpochMillis, E> {
                let millis = units.checked_mul(self.millis_per_unit);
                let millis = millis.ok_or_else(|| E::custom("a timestamp out of range"))?;
                Ok(EpochMillis(Timestamp::from_millis(millis)))
            }

            fn visit_u64<E: de::Error>(self, units: u64) -> Result<EpochMillis, E> {
                self.visit_i64(i64::try_from(units).map_err(|_| E::custom("a timestamp out of range"))?)
            }

            fn visit_f64<E: de::Error>(self, units: f64) -> Result<EpochMillis, E> {
                let millis = (units * self.millis_per_unit as f64).round();
                // Beyond 2^53 a float no longer counts milliseconds one by one: no calendar reaches there.
                if !(-9.0e15..=9.0e15).contains(&millis) {
                    return Err(E::custom("a timestamp out of range"));
                }
                Ok(EpochMillis(Timestamp::from_millis(millis as i64)))
            }
        }
        let millis_per_unit = if deserializer.is_human_readable() { 1000 } else { 1 };
        deserializer.deserialize_f64(Epoch { millis_per_unit })
    }
}

impl Serialize for EpochMillis {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.serialize_f64(self.0.millis() as f64 / 1000.0)
        } else {
            serializer.serialize_newtype_struct(TIMESTAMP_NEWTYPE, &self.0.millis())
        }
    }
}

/// A list that keeps at most `MAX` items and counts the rest, so that a body of millions of empty ones stays small.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bounded<T, const MAX: usize> {
    pub items: Vec<T>,
    /// How many there were, kept or not.
    pub len: usize,
}

impl<'de, T: Deserialize<'de>, const MAX: usize> Deserialize<'de> for Bounded<T, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Items<T, const MAX: usize>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for Items<T, MAX> {
            type Value = Bounded<T, MAX>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut items = Vec::new();
                while items.len() < MAX {
                    let Some(item) = list.next_element()? else { return Ok(Bounded { len: items.len(), items }) };
                    items.push(item);
                }
                let mut len = items.len();
                while list.next_element::<IgnoredAny>()?.is_some() {
                    len += 1;
                }
                Ok(Bounded { items, len })
            }
        }
        deserializer.deserialize_seq(Items(PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize as Derive;

    use super::*;

    #[derive(Debug, Derive)]
    #[allow(dead_code, reason = "read through Debug")]
    struct Probe<'a> {
        #[serde(rename = "Data", borrow)]
        data: Option<Blob<'a>>,
        #[serde(rename = "At")]
        at: Option<EpochMillis>,
        #[serde(rename = "Limit")]
        limit: Option<i64>,
    }

    fn json(text: &str) -> Result<String, String> {
        let probe: Result<Probe<'_>, Fault> = Encoding::Json.parse(text.as_bytes());
        probe.map(|p| format!("{p:?}")).map_err(|f| f.message)
    }

    #[test]
    fn json_timestamps_are_seconds_in_every_number_form() {
        for text in ["1763807400.123", "1.763807400123E9", "1763807400123e-3"] {
            let body = format!("{{\"At\":{text}}}");
            let probe: Probe<'_> = Encoding::Json.parse(body.as_bytes()).unwrap();
            assert_eq!(probe.at, Some(EpochMillis(Timestamp::from_millis(1_763_807_400_123))), "{text}");
        }
        let whole: Probe<'_> = Encoding::Json.parse(b"{\"At\":1763807400}").unwrap();
        assert_eq!(whole.at, Some(EpochMillis(Timestamp::from_millis(1_763_807_400_000))));
        assert!(json("{\"At\":9e99}").is_err());
        assert!(json("{\"At\":99999999999999999}").is_err());
    }

    #[test]
    fn a_fault_never_quotes_the_body() {
        for text in [
            r#"{"Data":"s3cret!"}"#,
            r#"{"Data":{"s3cret":1}}"#,
            r#"{"Limit":"s3cret, expected s3cret"}"#,
            r#"{"Limit":1.5}"#,
            r#"{"At":"s3cret"}"#,
            r#"["s3cret"]"#,
            r#""s3cret""#,
            r#"{"Data":"","Data":""}"#,
            "s3cret",
        ] {
            let message = json(text).unwrap_err();
            assert!(!message.contains("s3cret"), "{text}: {message}");
            assert!(message.contains(" at line 1 column "), "{text}: {message}");
        }
    }

    #[test]
    fn a_list_is_counted_beyond_what_is_kept() {
        let list: Bounded<i64, 2> = Encoding::Json.parse(b"[1,2,3,{\"x\":[]},null]").unwrap();
        assert_eq!((list.items, list.len), (vec![1, 2], 5));
        let list: Bounded<i64, 2> = Encoding::Json.parse(b"[1]").unwrap();
        assert_eq!((list.items, list.len), (vec![1], 1));
    }

    #[test]
    fn media_types_are_matched_without_parameters_and_case() {
        assert_eq!(Encoding::of(Some("Application/X-Amz-Json-1.1; charset=utf-8")), Some(Encoding::Json));
        assert_eq!(Encoding::of(Some("application/x-amz-cbor-1.1")), Some(Encoding::Cbor));
        assert_eq!(Encoding::of(None), Some(Encoding::Json));
        assert_eq!(Encoding::of(Some("application/x-amz-json-1.10")), None);
        assert_eq!(Encoding::of(Some("text/plain")), None);
    }
}
