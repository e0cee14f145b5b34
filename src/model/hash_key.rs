//! Where a partition key lands: Kinesis hashes it with MD5 into 128 bits, and each shard owns a range of them.
//! Source: Kinesis API reference, `PutRecord` (PartitionKey, ExplicitHashKey) and `HashKeyRange`.

use std::fmt;

use md5::{Digest, Md5};

/// A point on the 128-bit ring that shards divide among them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HashKey(pub u128);

impl HashKey {
    /// The hash Kinesis gives a partition key: MD5 of its UTF-8 bytes, read as a big-endian integer.
    pub fn of_partition_key(partition_key: &str) -> Self {
        Self(u128::from_be_bytes(Md5::digest(partition_key.as_bytes()).into()))
    }

    /// An `ExplicitHashKey`: a decimal of at most 128 bits, without sign or leading zeros (`^(0|([1-9]\d{0,38}))$`).
    /// `None` when the text is anything else.
    pub fn parse_explicit(text: &str) -> Option<Self> {
        let canonical = text == "0" || (text.starts_with(|c: char| c.is_ascii_digit() && c != '0'));
        let digits = text.bytes().all(|b| b.is_ascii_digit());
        (canonical && digits).then(|| text.parse().ok().map(Self)).flatten()
    }
}

impl fmt::Display for HashKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The part of the ring that one shard owns, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HashKeyRange {
    pub start: HashKey,
    pub end: HashKey,
}

impl HashKeyRange {
    pub fn contains(self, key: HashKey) -> bool {
        self.start <= key && key <= self.end
    }

    /// The ring divided evenly into `count` ranges, as `CreateStream` does. `count` is at least 1.
    pub fn divide(count: u32) -> impl Iterator<Item = Self> {
        let count = u128::from(count.max(1));
        let width = u128::MAX / count + u128::from(count > 1 && u128::MAX % count == count - 1);
        (0..count).map(move |i| {
            let start = i * width;
            let end = if i + 1 == count { u128::MAX } else { start + (width - 1) };
            Self { start: HashKey(start), end: HashKey(end) }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn md5_of_a_known_partition_key() {
        // The MD5 of no bytes at all (RFC 1321, appendix A.5).
        let expected = u128::from_str_radix("d41d8cd98f00b204e9800998ecf8427e", 16).unwrap();
        assert_eq!(HashKey::of_partition_key(""), HashKey(expected));
    }

    #[test]
    fn explicit_hash_keys_are_canonical_decimals() {
        assert_eq!(HashKey::parse_explicit("0"), Some(HashKey(0)));
        assert_eq!(HashKey::parse_explicit("340282366920938463463374607431768211455"), Some(HashKey(u128::MAX)));
        for bad in ["", "00", "01", "-1", "+1", "1.0", "340282366920938463463374607431768211456", "1e3", " 1"] {
            assert_eq!(HashKey::parse_explicit(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn divided_ranges_cover_the_ring_without_gap_or_overlap() {
        for count in [1, 2, 3, 4, 5, 7, 64, 1000] {
            let ranges: Vec<_> = HashKeyRange::divide(count).collect();
            assert_eq!(ranges.len(), count as usize);
            assert_eq!(ranges[0].start, HashKey(0));
            assert_eq!(ranges[ranges.len() - 1].end, HashKey(u128::MAX));
            for pair in ranges.windows(2) {
                assert_eq!(pair[0].end.0 + 1, pair[1].start.0);
            }
        }
    }

    #[test]
    fn two_shards_split_where_kinesis_splits() {
        let ranges: Vec<_> = HashKeyRange::divide(2).collect();
        assert_eq!(ranges[1].start.to_string(), "170141183460469231731687303715884105728");
    }
}
