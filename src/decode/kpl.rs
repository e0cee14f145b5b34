//! Containers of the Kinesis Producer Library: many user records in one record.
//!
//! ```text
//! F3 89 9A C2 | AggregatedRecord (protobuf) | MD5 of it, 16 bytes
//! AggregatedRecord { 1: partition keys, 2: explicit hash keys, 3: records { 1: index of key, 2: index of hash key, 3: data } }
//! ```
//!
//! Source: aggregation-format.md of amazon-kinesis-producer. What is not exactly so (another checksum, an index out of range) is a plain
//! record, as the KCL has it (`AggregatorUtil.java`).

mod write;

use md5::{Digest, Md5};

use crate::model::HashKey;
pub use write::Builder;

const MAGIC: [u8; 4] = [0xf3, 0x89, 0x9a, 0xc2];
const CHECKSUM_LEN: usize = 16;

/// Of a partition key (Kinesis `PutRecord`).
const KEY_CHARACTERS_MAX: usize = 256;

/// How many records, and keys of either kind, a container may hold to be taken apart. The library fills one with 51,200 bytes unless
/// it is told otherwise.
pub const RECORDS_MAX: usize = 10_000;

/// One record of a container, borrowed from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UserRecord<'c> {
    pub partition_key: &'c str,
    /// Decimal.
    pub explicit_hash_key: Option<&'c str>,
    pub data: &'c [u8],
}

/// Why a container is not taken apart, although it is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("it holds no record")]
    Empty,
    #[error("it holds more than {RECORDS_MAX} records or keys; set AggregationMaxCount in the producer")]
    TooMany,
    #[error("the partition key of its record {index} (from 0) has not 1 to 256 characters")]
    PartitionKey { index: usize },
    #[error("the explicit hash key of its record {index} (from 0) is no decimal of 128 bits")]
    ExplicitHashKey { index: usize },
}

/// Whether it begins as a container does.
pub fn may_be_container(data: &[u8]) -> bool {
    data.starts_with(&MAGIC)
}

/// The records of a container, in order. `None` for a plain record.
pub fn parse(data: &[u8]) -> Option<Result<Vec<UserRecord<'_>>, Fault>> {
    let (message, checksum) = data.strip_prefix(&MAGIC)?.split_last_chunk::<CHECKSUM_LEN>()?;
    if Md5::digest(message)[..] != checksum[..] {
        return None;
    }
    let (mut keys, mut hash_keys, mut records) = (Vec::new(), Vec::new(), Vec::new());
    let mut rest = message;
    while let Some((field, value)) = next_field(&mut rest)? {
        match (field, value) {
            (1, Wire::Bytes(key)) => keys.push(std::str::from_utf8(key).ok()?),
            (2, Wire::Bytes(key)) => hash_keys.push(std::str::from_utf8(key).ok()?),
            (3, Wire::Bytes(record)) => records.push(record),
            _ => {}
        }
        if keys.len().max(hash_keys.len()).max(records.len()) > RECORDS_MAX {
            return Some(Err(Fault::TooMany));
        }
    }
    let mut found = Vec::with_capacity(records.len());
    for record in records {
        let (key, hash_key, data) = user_record(record)?;
        found.push(UserRecord {
            partition_key: at(key, &keys)?,
            explicit_hash_key: hash_key.map_or(Some(None), |index| at(index, &hash_keys).map(Some))?,
            data,
        });
    }
    Some(fault(&found).map_or(Ok(found), Err))
}

/// What Kinesis would not take of its records, were each put alone.
fn fault(records: &[UserRecord<'_>]) -> Option<Fault> {
    if records.is_empty() {
        return Some(Fault::Empty);
    }
    records.iter().enumerate().find_map(|(index, record)| {
        // Up to so many bytes there is nothing to count.
        let key = record.partition_key;
        if key.is_empty() || (key.len() > KEY_CHARACTERS_MAX && key.chars().count() > KEY_CHARACTERS_MAX) {
            return Some(Fault::PartitionKey { index });
        }
        let is_hash_key = record.explicit_hash_key.is_none_or(|key| HashKey::parse_explicit(key).is_some());
        (!is_hash_key).then_some(Fault::ExplicitHashKey { index })
    })
}

fn at<'c>(index: u64, table: &[&'c str]) -> Option<&'c str> {
    table.get(usize::try_from(index).ok()?).copied()
}

/// Indices of its key and hash key, and its data.
fn user_record(mut rest: &[u8]) -> Option<(u64, Option<u64>, &[u8])> {
    let (mut key, mut hash_key, mut data) = (None, None, None);
    while let Some((field, value)) = next_field(&mut rest)? {
        match (field, value) {
            (1, Wire::Number(index)) => key = Some(index),
            (2, Wire::Number(index)) => hash_key = Some(index),
            (3, Wire::Bytes(bytes)) => data = Some(bytes),
            _ => {}
        }
    }
    Some((key?, hash_key, data?))
}

/// The value of a field, of the wire types that the format has.
enum Wire<'m> {
    Number(u64),
    Bytes(&'m [u8]),
    /// Of a type that the format does not have: skipped, as protobuf asks.
    Other,
}

/// Takes the next field off a message; `Some(None)` at its end, `None` where it is no protobuf.
fn next_field<'m>(rest: &mut &'m [u8]) -> Option<Option<(u64, Wire<'m>)>> {
    if rest.is_empty() {
        return Some(None);
    }
    let tag = varint(rest)?;
    let value = match tag & 7 {
        0 => Wire::Number(varint(rest)?),
        1 => skip(rest, 8)?,
        2 => {
            let length = usize::try_from(varint(rest)?).ok()?;
            let (bytes, after) = rest.split_at_checked(length)?;
            *rest = after;
            Wire::Bytes(bytes)
        }
        5 => skip(rest, 4)?,
        _ => return None,
    };
    Some(Some((tag >> 3, value)))
}

fn skip<'m>(rest: &mut &'m [u8], length: usize) -> Option<Wire<'m>> {
    *rest = rest.get(length..)?;
    Some(Wire::Other)
}

/// A base-128 varint of at most 64 bits.
fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for at in 0..10 {
        let byte = *rest.first()?;
        *rest = &rest[1..];
        number |= u64::from(byte & 0x7f).checked_shl(7 * at)?;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What `aws_kinesis_agg` (PyPI, 1.2.3) makes of three records, the second with a hash key of its own: in base64.
    const OF_THE_LIBRARY: &str = include_str!("testdata/kpl.base64");

    fn of_library() -> Vec<u8> {
        base64_simd::STANDARD.decode_to_vec(OF_THE_LIBRARY.trim()).unwrap()
    }

    #[test]
    fn a_container_of_the_library_is_read() {
        let data = of_library();
        let records = parse(&data).unwrap().unwrap();
        let told: Vec<_> = records.iter().map(|r| (r.partition_key, r.explicit_hash_key, r.data)).collect();
        assert_eq!(
            told,
            [
                ("k1", None, &b"{\"n\":1}"[..]),
                ("k2", Some("339606600942967391854603552402021847292"), &b"{\"n\":2}"[..]),
                ("k1", None, &b"{\"n\":3}"[..]),
            ]
        );
    }

    #[test]
    fn what_is_not_exactly_a_container_is_a_plain_record() {
        let data = of_library();
        for at in 0..data.len() {
            let mut other = data.clone();
            other[at] ^= 1;
            assert_eq!(parse(&other), None, "{at}");
            assert_eq!(parse(&data[..at]), None, "{at}");
        }
    }

    #[test]
    fn what_kinesis_would_not_take_apart_is_a_fault() {
        let build = |records: &[UserRecord<'_>]| {
            let mut builder = Builder::default();
            records.iter().for_each(|record| builder.add(*record));
            builder.build()
        };
        let record = UserRecord { partition_key: "k", explicit_hash_key: None, data: b"{}" };
        let (long, longest) = ("\u{e9}".repeat(257), "\u{e9}".repeat(256));
        let fault = |records: &[UserRecord<'_>]| parse(&build(records)).unwrap().err();
        assert_eq!(fault(&[]), Some(Fault::Empty));
        assert_eq!(fault(&[UserRecord { partition_key: &longest, ..record }]), None);
        for partition_key in ["", &long] {
            let index = 1;
            assert_eq!(fault(&[record, UserRecord { partition_key, ..record }]), Some(Fault::PartitionKey { index }));
        }
        let hashed = UserRecord { explicit_hash_key: Some("007"), ..record };
        assert_eq!(fault(&[hashed]), Some(Fault::ExplicitHashKey { index: 0 }));
        assert_eq!(fault(&vec![record; RECORDS_MAX]), None);
        assert_eq!(fault(&vec![record; RECORDS_MAX + 1]), Some(Fault::TooMany));
    }

    proptest! {
        /// Whatever stands between magic and checksum, nothing panics.
        #[test]
        fn any_message_is_read_or_is_none(message in proptest::collection::vec(any::<u8>(), 0..80)) {
            let data = [&MAGIC[..], &message, &Md5::digest(&message)[..]].concat();
            let _ = parse(&data);
        }
    }
}
