//! Opaque tokens: shard iterators and the next page of a list. They hold what they stand for, so the gate keeps nothing.
//!
//! A token is base64 of tab-separated fields, the first its kind. It is not signed: whoever may ask for a token may ask for
//! any other of its kind, so forging one gains nothing. It is checked like any other input.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::model::Timestamp;

/// Iterators and page tokens live five minutes. Milliseconds.
const LIFE_MS: i64 = 5 * 60 * 1000;
/// The longest token looked at, in bytes: 512, as for `ShardIterator` in the API, with room.
const TOKEN_MAX: usize = 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenFault {
    /// Not one of ours.
    Invalid,
    Expired,
}

/// Where a reader stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardIterator {
    pub stream: String,
    pub shard: String,
    /// The next record to read.
    pub sequence: String,
}

impl ShardIterator {
    pub fn seal(&self, now: Timestamp) -> String {
        seal("i", &[&self.stream, &self.shard, &self.sequence], now)
    }

    pub fn open(token: &str, now: Timestamp) -> Result<Self, TokenFault> {
        let [stream, shard, sequence] = open("i", token, now)?;
        if sequence.is_empty() || !sequence.bytes().all(|b| b.is_ascii_digit()) {
            return Err(TokenFault::Invalid);
        }
        Ok(Self { stream, shard, sequence })
    }
}

/// Where a list of shards goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardPage {
    pub stream: String,
    /// The last shard listed.
    pub after: String,
    /// The filter of the first page, as it was asked for; empty for none.
    pub filter: String,
}

impl ShardPage {
    pub fn seal(&self, now: Timestamp) -> String {
        seal("s", &[&self.stream, &self.after, &self.filter], now)
    }

    pub fn open(token: &str, now: Timestamp) -> Result<Self, TokenFault> {
        let [stream, after, filter] = open("s", token, now)?;
        Ok(Self { stream, after, filter })
    }
}

/// Where a list of streams goes on: after this name.
pub fn seal_stream_page(after: &str, now: Timestamp) -> String {
    seal("n", &[after], now)
}

pub fn open_stream_page(token: &str, now: Timestamp) -> Result<String, TokenFault> {
    let [after] = open("n", token, now)?;
    Ok(after)
}

fn seal(kind: &str, fields: &[&str], now: Timestamp) -> String {
    STANDARD.encode(format!("{kind}\t{}\t{}", now.millis(), fields.join("\t")))
}

fn open<const N: usize>(kind: &str, token: &str, now: Timestamp) -> Result<[String; N], TokenFault> {
    if token.len() > TOKEN_MAX {
        return Err(TokenFault::Invalid);
    }
    let bytes = STANDARD.decode(token).map_err(|_| TokenFault::Invalid)?;
    let text = String::from_utf8(bytes).map_err(|_| TokenFault::Invalid)?;
    let mut fields = text.split('\t');
    if fields.next() != Some(kind) {
        return Err(TokenFault::Invalid);
    }
    let issued: i64 = fields.next().and_then(|text| text.parse().ok()).ok_or(TokenFault::Invalid)?;
    let fields: Vec<String> = fields.map(str::to_owned).collect();
    let fields = fields.try_into().map_err(|_| TokenFault::Invalid)?;
    if now.millis().saturating_sub(issued) > LIFE_MS {
        return Err(TokenFault::Expired);
    }
    Ok(fields)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn iterator() -> ShardIterator {
        ShardIterator { stream: "orders".into(), shard: "shardId-000000000000".into(), sequence: "49".into() }
    }

    #[test]
    fn an_iterator_lives_five_minutes() {
        let issued = Timestamp::from_millis(1_000_000);
        let token = iterator().seal(issued);
        let at = |ms: i64| ShardIterator::open(&token, Timestamp::from_millis(1_000_000 + ms));
        assert_eq!(at(0), Ok(iterator()));
        assert_eq!(at(300_000), Ok(iterator()));
        assert_eq!(at(300_001), Err(TokenFault::Expired));
        assert_eq!(at(-1), Ok(iterator()));
    }

    #[test]
    fn a_token_of_another_kind_is_not_taken() {
        let now = Timestamp::from_millis(0);
        assert_eq!(ShardPage::open(&iterator().seal(now), now), Err(TokenFault::Invalid));
        assert_eq!(ShardIterator::open("AAAAAAAAAAGexampleIterator==", now), Err(TokenFault::Invalid));
    }

    proptest! {
        #[test]
        fn no_text_panics(token in ".{0,64}", bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let now = Timestamp::from_millis(i64::MAX);
            let _ = ShardIterator::open(&token, now);
            let _ = ShardPage::open(&STANDARD.encode(bytes), now);
        }
    }
}
