//! The JSON body of a `PutRecords`, written into one buffer.
//!
//! The SDK would write the same from owned copies of every record. Here each record's data is copied once, as the base64 text
//! it came in where it came in base64, and encoded straight into the body where it did not.

use bytes::Bytes;

use crate::model::Record;

/// What an entry takes beyond its data and keys, bytes, and what is around them all.
const ENTRY_MORE: usize = r#",{"Data":"","PartitionKey":"","ExplicitHashKey":""}"#.len();
const BODY_MORE: usize = r#"{"Records":[],"StreamName":""}"#.len();

/// The body that puts the records on the stream, in their order.
pub fn put_records(stream: &str, records: &[&Record]) -> Bytes {
    let room = |record: &&Record| {
        let data = record.encoded.as_ref().map_or(record.data.len().div_ceil(3) * 4, Bytes::len);
        let keys = [&record.partition_key, &record.explicit_hash_key];
        ENTRY_MORE + data + keys.into_iter().flatten().map(String::len).sum::<usize>()
    };
    // Keys with escapes take more, and the buffer then grows.
    let mut body = Vec::with_capacity(BODY_MORE + stream.len() + records.iter().map(room).sum::<usize>());
    body.extend_from_slice(b"{\"Records\":[");
    for (index, record) in records.iter().enumerate() {
        body.extend_from_slice(if index == 0 { b"{\"Data\":\"" } else { b",{\"Data\":\"" });
        match &record.encoded {
            Some(text) => body.extend_from_slice(text),
            None => base64_simd::STANDARD.encode_append(&record.data, &mut body),
        }
        body.push(b'"');
        if let Some(key) = &record.partition_key {
            body.extend_from_slice(b",\"PartitionKey\":");
            string(key, &mut body);
        }
        if let Some(key) = &record.explicit_hash_key {
            body.extend_from_slice(b",\"ExplicitHashKey\":");
            string(key, &mut body);
        }
        body.push(b'}');
    }
    body.extend_from_slice(b"],\"StreamName\":");
    string(stream, &mut body);
    body.push(b'}');
    body.into()
}

fn string(text: &str, body: &mut Vec<u8>) {
    // Writing a string into memory cannot fail.
    let _ = serde_json::to_writer(body, text);
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::model::Timestamp;

    #[test]
    fn base64_text_is_copied_as_it_came() {
        let record = Record {
            encoded: Some("eyJhIjoxfQ==".into()),
            partition_key: Some("k".into()),
            ..Record::new(&b"{\"a\":1}"[..], "s".into(), Timestamp::default())
        };
        let without = Record { encoded: None, partition_key: None, ..record.clone() };
        let body = put_records("orders", &[&record, &without]);
        let expected =
            r#"{"Records":[{"Data":"eyJhIjoxfQ==","PartitionKey":"k"},{"Data":"eyJhIjoxfQ=="}],"StreamName":"orders"}"#;
        assert_eq!(body, expected);
        assert_eq!(put_records("s", &[]), r#"{"Records":[],"StreamName":"s"}"#);
    }

    proptest! {
        #[test]
        fn every_record_can_be_read_back(records in proptest::collection::vec((proptest::collection::vec(any::<u8>(), 0..80), any::<Option<String>>(), any::<Option<u128>>()), 0..6), stream: String) {
            let made: Vec<Record> = records.iter().map(|(data, key, hash)| Record {
                partition_key: key.clone(),
                explicit_hash_key: hash.map(|hash| hash.to_string()),
                ..Record::new(data.clone(), "s".into(), Timestamp::default())
            }).collect();
            let body: Value = serde_json::from_slice(&put_records(&stream, &made.iter().collect::<Vec<_>>())).unwrap();
            let entry = |(data, key, hash): &(Vec<u8>, Option<String>, Option<u128>)| {
                let mut entry = json!({"Data": STANDARD.encode(data)});
                if let Some(key) = key { entry["PartitionKey"] = key.clone().into(); }
                if let Some(hash) = hash { entry["ExplicitHashKey"] = hash.to_string().into(); }
                entry
            };
            prop_assert_eq!(body, json!({"Records": records.iter().map(entry).collect::<Vec<_>>(), "StreamName": stream}));
        }
    }
}
