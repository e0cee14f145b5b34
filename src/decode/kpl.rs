//! Containers of the Kinesis Producer Library: many user records in one record.
//!
//! ```text
//! F3 89 9A C2 | AggregatedRecord (protobuf) | MD5 of it, 16 bytes
//! AggregatedRecord { 1: partition keys, 2: explicit hash keys, 3: records { 1: index of key, 2: index of hash key, 3: data } }
//! ```
//!
//! Source: aggregation-format.md of amazon-kinesis-producer. What is not exactly so (another checksum, an index out of range) is a plain
//! record, as the KCL has it (`AggregatorUtil.java`).

use md5::{Digest, Md5};

const MAGIC: [u8; 4] = [0xf3, 0x89, 0x9a, 0xc2];
const CHECKSUM_LEN: usize = 16;

/// One record of a container, borrowed from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UserRecord<'c> {
    pub partition_key: &'c str,
    /// Decimal.
    pub explicit_hash_key: Option<&'c str>,
    pub data: &'c [u8],
}

/// The records of a container, in order. `None` for a plain record.
pub fn parse(data: &[u8]) -> Option<Vec<UserRecord<'_>>> {
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
    Some(found)
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
        let records = parse(&data).unwrap();
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

    proptest! {
        /// Whatever stands between magic and checksum, nothing panics.
        #[test]
        fn any_message_is_read_or_is_none(message in proptest::collection::vec(any::<u8>(), 0..80)) {
            let data = [&MAGIC[..], &message, &Md5::digest(&message)[..]].concat();
            let _ = parse(&data);
        }
    }
}
