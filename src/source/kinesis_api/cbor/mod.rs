//! CBOR 1.1 as AWS SDKs for Java speak it, bridged to serde so that each operation is defined once for both encodings.
//!
//! Source: RFC 8949 for the encoding; aws-sdk-java-v2 `SdkCborGenerator` and `AwsCborProtocolFactory` for the dialect:
//! maps of text keys, indefinite lengths, blobs as byte strings, and timestamps as tag 1 over epoch *milliseconds*
//! (RFC 8949 says seconds). Definite and indefinite lengths are read everywhere; answers are written with definite ones.

mod read;
mod write;

use std::fmt;

use serde::{Serialize, de, ser};

/// The name under which [`super::wire::EpochMillis`] serialises itself, so that it gets its tag.
pub const TIMESTAMP_NEWTYPE: &str = "meshgate::EpochMillis";

/// Why bytes are not the CBOR of a request: never with content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CborFault {
    message: String,
    offset: Option<usize>,
}

impl fmt::Display for CborFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        self.offset.map_or(Ok(()), |offset| write!(f, " at byte {offset}"))
    }
}

impl std::error::Error for CborFault {}

impl de::Error for CborFault {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self { message: message.to_string(), offset: None }
    }
}

impl ser::Error for CborFault {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self { message: message.to_string(), offset: None }
    }
}

/// Reads one item that fills `bytes`.
pub fn from_slice<'de, T: de::Deserialize<'de>>(bytes: &'de [u8]) -> Result<T, CborFault> {
    read::from_slice(bytes)
}

/// Writes `value`. Fails only on types that no answer has.
pub fn to_vec<T: Serialize>(value: &T) -> Result<Vec<u8>, CborFault> {
    write::to_vec(value)
}

#[cfg(test)]
mod tests {
    use minicbor::data::Tag;
    use minicbor::{Decoder, Encoder};
    use proptest::collection::vec;
    use proptest::prelude::*;
    use serde::Deserialize;

    use super::super::wire::{Blob, Bounded, EpochMillis};
    use super::*;
    use crate::model::Timestamp;

    #[derive(Debug, Deserialize, Serialize, PartialEq)]
    struct Entry {
        #[serde(rename = "Data")]
        data: Vec<u8>,
        #[serde(rename = "PartitionKey")]
        key: String,
        #[serde(rename = "At", skip_serializing_if = "Option::is_none")]
        at: Option<i64>,
    }

    /// As [`Entry`], with the types that requests and answers have.
    #[derive(Debug, Deserialize, Serialize, PartialEq)]
    struct Wired<'a> {
        #[serde(rename = "Data", borrow)]
        data: Blob<'a>,
        #[serde(rename = "PartitionKey")]
        key: String,
        #[serde(rename = "At", default, skip_serializing_if = "Option::is_none")]
        at: Option<EpochMillis>,
    }

    fn wired(entry: &Entry) -> Wired<'_> {
        Wired {
            data: Blob((&*entry.data).into()),
            key: entry.key.clone(),
            at: entry.at.map(|at| EpochMillis(Timestamp::from_millis(at))),
        }
    }

    /// Encodes as some SDK might: `shape` decides, bit by bit, what has a definite length, and adds a member nobody knows.
    fn encode(entries: &[Entry], shape: u64) -> Vec<u8> {
        let mut encoder = Encoder::new(Vec::new());
        let is = |bit: u32| shape >> bit & 1 == 1;
        let _ = if is(0) { encoder.array(entries.len() as u64) } else { encoder.begin_array() };
        for entry in entries {
            let members = 2 + u64::from(entry.at.is_some()) + u64::from(is(4));
            let _ = if is(1) { encoder.map(members) } else { encoder.begin_map() };
            if is(4) {
                let _ = encoder.str("Unknown").and_then(|e| e.begin_array()?.map(1)?.bool(true)?.null()?.end());
            }
            let _ = encoder.str("Data");
            if is(2) {
                let _ = encoder.bytes(&entry.data);
            } else {
                let _ = encoder.begin_bytes();
                for chunk in entry.data.chunks(3) {
                    let _ = encoder.bytes(chunk);
                }
                let _ = encoder.end();
            }
            let _ = if is(5) {
                encoder.str("PartitionKey")
            } else {
                encoder.begin_str().and_then(|e| e.str("Partition")?.str("Key")?.end())
            };
            if is(3) {
                let _ = encoder.str(&entry.key);
            } else {
                let _ = encoder.begin_str();
                for c in entry.key.chars() {
                    let _ = encoder.str(&c.to_string());
                }
                let _ = encoder.end();
            }
            if let Some(at) = entry.at {
                let _ = encoder.str("At").and_then(|e| e.tag(Tag::new(1))?.i64(at));
            }
            if !is(1) {
                let _ = encoder.end();
            }
        }
        if !is(0) {
            let _ = encoder.end();
        }
        encoder.into_writer()
    }

    fn entries() -> impl Strategy<Value = Vec<Entry>> {
        let entry = (vec(any::<u8>(), 0..300), ".{0,8}", proptest::option::of(any::<i64>()));
        vec(entry.prop_map(|(data, key, at)| Entry { data, key, at }), 0..6)
    }

    proptest! {
        #[test]
        fn every_way_to_write_a_request_reads_the_same(entries in entries(), shape in 0..64_u64) {
            let bytes = encode(&entries, shape);
            let read: Bounded<Wired<'_>, 10> = from_slice(&bytes).unwrap();
            prop_assert_eq!(read.items, entries.iter().map(wired).collect::<Vec<_>>());
        }

        #[test]
        fn what_is_written_reads_back(entries in entries()) {
            let written: Vec<_> = entries.iter().map(wired).collect();
            let bytes = to_vec(&written).unwrap();
            let read: Bounded<Wired<'_>, 10> = from_slice(&bytes).unwrap();
            prop_assert_eq!(&read.items, &written);
            prop_assert_eq!(Decoder::new(&bytes).skip().map_err(|e| e.to_string()), Ok(()));
        }

        #[test]
        fn no_bytes_panic(bytes in vec(any::<u8>(), 0..64)) {
            let _ = from_slice::<Bounded<Wired<'_>, 10>>(&bytes);
            let _ = from_slice::<Wired<'_>>(&bytes);
        }

        #[test]
        fn no_damaged_request_panics(entries in entries(), shape in 0..64_u64, at in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let mut bytes = encode(&entries, shape);
            let at = at.index(bytes.len());
            bytes[at] = byte;
            let _ = from_slice::<Bounded<Wired<'_>, 10>>(&bytes);
            let _ = from_slice::<Bounded<Wired<'_>, 10>>(&bytes[..at]);
        }
    }

    fn fault(bytes: &[u8]) -> String {
        from_slice::<Wired<'_>>(bytes).unwrap_err().to_string()
    }

    #[test]
    fn faults_name_the_place() {
        assert_eq!(fault(&[0xbf]), "the body ends inside an item at byte 1");
        assert_eq!(fault(&[0xa1, 0x64, b'D', b'a']), "the body ends inside an item at byte 2");
        assert_eq!(fault(&[0xa0, 0x00]), "missing field `Data` at byte 1");
        let whole = to_vec(&wired(&Entry { data: vec![1], key: "k".into(), at: None })).unwrap();
        assert_eq!(fault(&[&whole[..], &[0]].concat()), format!("bytes follow the item at byte {}", whole.len()));
    }

    #[test]
    fn deep_nesting_and_huge_lengths_are_refused_at_once() {
        let unknown = |item: &[u8]| [&[0xbf, 0x61, b'x'][..], item].concat();
        assert!(fault(&unknown(&[0x81; 100_000])).starts_with("nested too deeply"));
        assert!(fault(&unknown(&[0xbf, 0x61, b'y'].repeat(100_000))).starts_with("nested too deeply"));
        // An array, a byte string and a text that say they have 2^60 items or bytes.
        for head in [0x9b, 0x5b, 0x7b, 0xbb] {
            assert!(fault(&unknown(&[head, 0x10, 0, 0, 0, 0, 0, 0, 0])).contains("ends inside"), "{head:x}");
        }
        assert!(fault(&[0xc1; 100_000]).contains("ends inside"));
    }

    #[test]
    fn a_timestamp_is_tagged_milliseconds() {
        let at = EpochMillis(Timestamp::from_millis(1_763_807_400_123));
        let bytes = to_vec(&at).unwrap();
        assert_eq!(bytes, [0xc1, 0x1b, 0, 0, 0x01, 0x9a, 0xab, 0x1d, 0x10, 0xbb]);
        assert_eq!(from_slice(&bytes), Ok(at));
    }
}
