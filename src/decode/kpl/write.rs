//! Containers written: what the library and its relatives read back, record for record. Tags, which no consumer is shown, are left out.

use std::collections::HashMap;

use md5::{Digest, Md5};

use super::{CHECKSUM_LEN, MAGIC, UserRecord};

/// A container that is being filled.
#[derive(Debug, Default)]
pub struct Builder<'c> {
    keys: Table<'c>,
    hash_keys: Table<'c>,
    /// As they will stand in the message.
    records: Vec<u8>,
}

/// Strings in the order they were first needed, and where each stands.
#[derive(Debug, Default)]
struct Table<'c> {
    places: HashMap<&'c str, u64>,
    entries: Vec<&'c str>,
    /// What the entries take in the message.
    size: usize,
}

impl<'c> Table<'c> {
    /// Where `text` stands, or would.
    fn place(&self, text: &str) -> u64 {
        self.places.get(text).copied().unwrap_or(self.entries.len() as u64)
    }

    /// What `text` adds to the message.
    fn growth(&self, text: &str) -> usize {
        if self.places.contains_key(text) { 0 } else { bytes_size(text.len()) }
    }

    fn add(&mut self, text: &'c str) -> u64 {
        let place = self.place(text);
        self.size += self.growth(text);
        if self.places.insert(text, place).is_none() {
            self.entries.push(text);
        }
        place
    }
}

impl<'c> Builder<'c> {
    /// How large the container becomes with one more record, bytes.
    pub fn size_with(&self, record: UserRecord<'_>) -> usize {
        let hash_key = record.explicit_hash_key;
        let inner = inner_size(
            self.keys.place(record.partition_key),
            hash_key.map(|key| self.hash_keys.place(key)),
            record.data.len(),
        );
        let tables = self.keys.growth(record.partition_key) + hash_key.map_or(0, |key| self.hash_keys.growth(key));
        self.size() + tables + bytes_size(inner)
    }

    /// How large the container is, bytes.
    pub fn size(&self) -> usize {
        MAGIC.len() + self.keys.size + self.hash_keys.size + self.records.len() + CHECKSUM_LEN
    }

    pub fn add(&mut self, record: UserRecord<'c>) {
        let key = self.keys.add(record.partition_key);
        let hash_key = record.explicit_hash_key.map(|key| self.hash_keys.add(key));
        let out = &mut self.records;
        out.push(RECORDS);
        put_varint(out, inner_size(key, hash_key, record.data.len()) as u64);
        out.push(KEY_INDEX);
        put_varint(out, key);
        if let Some(hash_key) = hash_key {
            out.push(HASH_KEY_INDEX);
            put_varint(out, hash_key);
        }
        put_bytes(out, DATA, record.data);
    }

    pub fn build(self) -> Vec<u8> {
        let mut container = Vec::with_capacity(self.size());
        container.extend_from_slice(&MAGIC);
        self.keys.entries.iter().for_each(|key| put_bytes(&mut container, KEYS, key.as_bytes()));
        self.hash_keys.entries.iter().for_each(|key| put_bytes(&mut container, HASH_KEYS, key.as_bytes()));
        container.extend_from_slice(&self.records);
        let checksum = Md5::digest(&container[MAGIC.len()..]);
        container.extend_from_slice(&checksum);
        container
    }
}

// Protobuf's tags: the number of a field, and how it is written (0 a varint, 2 bytes with their length before them).
const KEYS: u8 = 1 << 3 | 2;
const HASH_KEYS: u8 = 2 << 3 | 2;
const RECORDS: u8 = 3 << 3 | 2;
const KEY_INDEX: u8 = 1 << 3;
const HASH_KEY_INDEX: u8 = 2 << 3;
const DATA: u8 = 3 << 3 | 2;

fn inner_size(key: u64, hash_key: Option<u64>, data: usize) -> usize {
    1 + varint_size(key) + hash_key.map_or(0, |index| 1 + varint_size(index)) + bytes_size(data)
}

/// What a field of so many bytes takes: tag, length and bytes.
const fn bytes_size(length: usize) -> usize {
    1 + varint_size(length as u64) + length
}

const fn varint_size(number: u64) -> usize {
    let bits = 64 - (number | 1).leading_zeros() as usize;
    bits.div_ceil(7)
}

fn put_bytes(out: &mut Vec<u8>, tag: u8, bytes: &[u8]) {
    out.push(tag);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn put_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::parse;
    use super::*;

    proptest! {
        /// What is written is read back, and as large as was said.
        #[test]
        fn what_is_written_is_read(
            records in proptest::collection::vec(
                ("[a-z\u{e9}]{1,3}", proptest::option::of("[1-9][0-9]{0,4}"), proptest::collection::vec(any::<u8>(), 0..200)),
                1..300,
            ),
        ) {
            let records: Vec<UserRecord<'_>> = records
                .iter()
                .map(|(key, hash_key, data)| {
                    UserRecord { partition_key: key, explicit_hash_key: hash_key.as_deref(), data }
                })
                .collect();
            let mut builder = Builder::default();
            for record in &records {
                let told = builder.size_with(*record);
                builder.add(*record);
                prop_assert_eq!(builder.size(), told);
            }
            let told = builder.size();
            let container = builder.build();
            prop_assert_eq!(container.len(), told);
            prop_assert_eq!(parse(&container), Some(Ok(records)));
        }
    }
}
