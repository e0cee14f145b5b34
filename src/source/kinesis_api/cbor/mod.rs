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
