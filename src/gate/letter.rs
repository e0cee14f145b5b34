//! Dead letters beside their queue: what stands for a letter's key, and what it is called and looks like as an object.
//!
//! ```text
//! <prefix>domain=<domain>/date=<YYYY-MM-DD>/<id>.json                      a letter too large for its queue: its document
//! <prefix>archive/domain=<domain>/date=<YYYY-MM-DD>/<first id>.ndjson.gz   the archive: many documents, one a line
//! ```
//!
//! `name=value/` is how Hive, and with it Athena and Lake Formation, finds partitions. The date is that of quarantining, in UTC.

use std::fmt::Write as _;
use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest, Sha256};

use super::document;
use crate::model::{DeadLetter, Timestamp};

/// Hexadecimal digits that tell keys apart: 64 bits.
const HASH_DIGITS: usize = 16;
/// Those where keys may be private: 4,096 values, each shared by many keys, so that none can be found by trying.
const PRIVATE_HASH_DIGITS: usize = 3;
/// Of a domain's name in an object's key, bytes: a directory's name is no longer. A key has 1,024 at most, each of these can take three.
const NAME_BYTES_MAX: usize = 255;

/// What stands for a partition key outside the document: equal for equal keys of a domain. `is_private`: nothing of the key may be kept.
pub fn key_hash(domain: &str, key: &str, is_private: bool) -> String {
    let digest = Sha256::new().chain_update(domain).chain_update([0]).chain_update(key).finalize();
    let mut hash = format!("{digest:x}");
    hash.truncate(if is_private { PRIVATE_HASH_DIGITS } else { HASH_DIGITS });
    hash
}

/// The object of one letter's document.
pub fn object_key(prefix: &str, letter: &DeadLetter) -> String {
    format!("{prefix}{}{}.json", partition(letter), safe(&letter.id))
}

/// The archive's object of letters that share a domain and a date, by the first of them.
pub fn archive_key(prefix: &str, first: &DeadLetter) -> String {
    format!("{prefix}archive/{}{}.ndjson.gz", partition(first), safe(&first.id))
}

/// `domain=…/date=…/`: what letters of one object of the archive have in common.
pub fn partition(letter: &DeadLetter) -> String {
    format!("domain={}/date={}/", safe(&letter.domain), date(letter.quarantined))
}

/// The documents as gzip of NDJSON. Each is one line, whatever line breaks its event has.
pub fn archived(letters: &[&DeadLetter]) -> Vec<u8> {
    // Speed over size: a storm of bad events is when a gate must be fast.
    let mut lines = GzEncoder::new(Vec::new(), Compression::fast());
    for letter in letters {
        // Writing into memory cannot fail.
        let _ = lines.write_all(document::on_one_line(&letter.body).as_bytes());
        let _ = lines.write_all(b"\n");
    }
    lines.finish().unwrap_or_default()
}

fn date(at: Timestamp) -> String {
    at.to_datetime().format("%Y-%m-%d").to_string()
}

/// A name as part of a key: letters, digits, `-`, `_` and `.` stay, each other byte becomes `!` and two hexadecimal digits, so that
/// different names stay different. `%` would be escaped again by whatever reads partitions from keys.
fn safe(name: &str) -> String {
    let mut safe = String::with_capacity(name.len());
    for byte in name.bytes().take(NAME_BYTES_MAX) {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => safe.push(char::from(byte)),
            _ => {
                let _ = write!(safe, "!{byte:02x}");
            }
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use proptest::prelude::*;

    use super::*;

    fn letter(id: &str, domain: &str, body: &str) -> DeadLetter {
        DeadLetter {
            id: id.into(),
            body: body.into(),
            document_bytes: None,
            key_hash: None,
            is_kept: false,
            attempts: 0,
            quarantined: Timestamp::parse_rfc3339("2026-11-28T23:59:59.999Z").unwrap(),
            stream: "orders-in".into(),
            domain: domain.into(),
            contract: "order.placed".into(),
            rule: "qty_positive".into(),
            kind: "rule",
            trace: None,
        }
    }

    #[test]
    fn keys_are_partitioned_by_domain_and_date() {
        let letter = letter("01a2-7", "sales", "{}");
        assert_eq!(object_key("dlq/", &letter), "dlq/domain=sales/date=2026-11-28/01a2-7.json");
        assert_eq!(archive_key("", &letter), "archive/domain=sales/date=2026-11-28/01a2-7.ndjson.gz");
    }

    #[test]
    fn a_domains_name_adds_no_folder_and_no_partition() {
        let key = object_key("", &letter("1", "a/b=c d é", "{}"));
        assert_eq!(key, "domain=a!2fb!3dc!20d!20!c3!a9/date=2026-11-28/1.json");
        assert!(object_key("", &letter("1", &"é".repeat(5_000), "{}")).len() < 1_024 - 128, "and a prefix");
    }

    #[test]
    fn a_hash_is_of_its_domain_and_says_little_of_a_private_key() {
        let hash = key_hash("sales", "ann@example.com", false);
        assert_eq!((hash.len(), &hash), (16, &key_hash("sales", "ann@example.com", false)));
        assert_ne!(hash, key_hash("orders", "ann@example.com", false));
        assert_ne!(key_hash("ab", "c", false), key_hash("a", "bc", false));
        assert_eq!(key_hash("sales", "ann@example.com", true).len(), 3);
        let keys = 100_000;
        let hashes: std::collections::BTreeSet<_> = (0..keys).map(|i| key_hash("s", &i.to_string(), true)).collect();
        assert_eq!(hashes.len(), 4_096, "each hash is that of some 24 of these keys");
    }

    proptest! {
        #[test]
        fn different_names_stay_different(a in "[a-c/=!2 é%]{0,6}", b in "[a-c/=!2 é%]{0,6}") {
            prop_assert_eq!(safe(&a) == safe(&b), a == b);
            prop_assert!(safe(&a).bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.!".contains(&b)));
        }

        #[test]
        fn the_archive_gives_each_document_back_as_one_line(numbers in prop::collection::vec(any::<u32>(), 1..20)) {
            let document = |n: &u32| format!(r#"{{"schema":"meshgate.dlq/v1","id":"{n}","payload":{{"encoding":"json","bytes":9,"json":{{"n":{n}}}}}}}"#);
            let letters: Vec<_> = numbers.iter().map(|n| letter("1", "sales", &document(n))).collect();
            let archived = archived(&letters.iter().collect::<Vec<_>>());
            let mut text = String::new();
            flate2::read::GzDecoder::new(&archived[..]).read_to_string(&mut text).unwrap();
            prop_assert_eq!(text.lines().map(str::to_owned).collect::<Vec<_>>(), numbers.iter().map(document).collect::<Vec<_>>());
        }
    }
}
