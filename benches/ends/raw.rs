//! A raw stream that costs its reader's far end little: `GetRecords` gives copies of one prepared body, with numbers written into it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use memchr::memmem;
use meshgate::model::HashKeyRange;
use serde_json::{Value, json};

/// Of the contracts in `rules/orders`.
pub const STREAM: &str = "orders-raw";

/// What comes with each `GetRecords`.
#[derive(Debug, Clone, Copy)]
pub enum Traffic {
    /// What has come since, at so many records a second and shard.
    Tip { rate: u64 },
    /// As many records as one call is to give, from so far back.
    Behind { records: usize, lag: Duration },
}

/// The stream, and the mesh stream behind the gate.
pub struct RawStream {
    shards: u32,
    traffic: Traffic,
    body: Body,
    started: Instant,
    taken: Vec<Bytes>,
    pub reads: AtomicU64,
    pub put: AtomicU64,
    /// `PutRecords` fails.
    pub is_down: AtomicBool,
}

impl RawStream {
    pub fn new(shards: u32, traffic: Traffic) -> Self {
        let records = match traffic {
            Traffic::Tip { .. } => 1_000,
            Traffic::Behind { records, .. } => records,
        };
        let taken = json!({"ShardId": "shardId-000000000000", "SequenceNumber": "1"});
        let taken = |count| json!({"FailedRecordCount": 0, "Records": vec![taken.clone(); count]}).to_string().into();
        Self {
            shards,
            traffic,
            body: Body::new(records),
            started: Instant::now(),
            taken: (0..=500).map(taken).collect(),
            reads: AtomicU64::new(0),
            put: AtomicU64::new(0),
            is_down: AtomicBool::new(false),
        }
    }

    /// Bytes of an event.
    pub fn event_bytes(&self) -> usize {
        self.body.event_bytes
    }

    /// The answer to a call, of those that matter.
    pub fn answer(&self, operation: &str, request: &Bytes) -> Option<(u16, Bytes)> {
        let asked = || serde_json::from_slice::<Value>(request).unwrap_or_default();
        let answer = match operation {
            "GetRecords" => self.records(asked()["ShardIterator"].as_str()?),
            "PutRecords" if self.is_down.load(Relaxed) => {
                return Some((503, r#"{"__type":"ServiceUnavailable","message":"canned"}"#.into()));
            }
            "PutRecords" => {
                // A quote inside a JSON string is escaped, so that these are keys and nothing else.
                let count = memmem::find_iter(request, b"\"Data\":").count();
                self.put.fetch_add(count as u64, Relaxed);
                self.taken[count].clone()
            }
            "GetShardIterator" => iterator(&asked()).into(),
            "ListShards" if asked()["StreamName"] == STREAM => self.list().into(),
            _ => return None,
        };
        Some((200, answer))
    }

    fn records(&self, iterator: &str) -> Bytes {
        self.reads.fetch_add(1, Relaxed);
        let (shard, from) = iterator.split_once('/').expect("an iterator of ours");
        let (shard, from): (u64, u64) = (shard.parse().expect("a shard"), from.parse().expect("a number"));
        let (records, lag) = match self.traffic {
            Traffic::Behind { records, lag } => (records, lag),
            Traffic::Tip { rate } => {
                // Shards are not in step.
                let come = (self.started.elapsed().as_millis() as u64 * rate + shard * 16) / 1_000;
                (come.saturating_sub(from).min(self.body.ends.len() as u64) as usize, Duration::ZERO)
            }
        };
        self.body.give(shard, from, records, lag)
    }

    fn list(&self) -> String {
        let shard = |(index, range): (usize, HashKeyRange)| {
            json!({
                "ShardId": format!("shardId-{index:012}"),
                "HashKeyRange": {"StartingHashKey": range.start.to_string(), "EndingHashKey": range.end.to_string()},
                "SequenceNumberRange": {"StartingSequenceNumber": sequence(0)},
            })
        };
        json!({"Shards": HashKeyRange::divide(self.shards).enumerate().map(shard).collect::<Vec<_>>()}).to_string()
    }
}

/// Of the record with this number in its shard.
fn sequence(number: u64) -> String {
    format!("49{number:054}")
}

/// `SHARD/NUMBER` of the next record.
fn iterator(asked: &Value) -> String {
    let shard = asked["ShardId"].as_str().and_then(|id| id.rsplit('-').next()).expect("a shard");
    let number = asked["StartingSequenceNumber"].as_str().map_or(0, |text| text[2..].parse().expect("one of ours"));
    let is_after = asked["ShardIteratorType"] == "AFTER_SEQUENCE_NUMBER";
    json!({"ShardIterator": format!("{shard}/{}", number + u64::from(is_after))}).to_string()
}

/// A body of records, and where what differs from call to call stands in each: digits of a fixed number.
struct Body {
    text: Vec<u8>,
    /// Of the base64 of an event's id, and of a sequence number.
    places: Vec<(usize, usize)>,
    /// Behind each record.
    ends: Vec<usize>,
    event_bytes: usize,
}

/// Digits that are written into an event's id: whole groups of base64.
const ID_DIGITS: usize = 18;

impl Body {
    fn new(records: usize) -> Self {
        let (mut text, mut places, mut ends) = (b"[".to_vec(), Vec::new(), Vec::new());
        let mut event_bytes = 0;
        for number in 0..records {
            let order = include_str!("../order.json").trim_end().replacen("{number}", &"0".repeat(ID_DIGITS), 1);
            let order = order.replace("{number}", &format!("{number:06}"));
            let at = order.find(&"0".repeat(ID_DIGITS)).expect("an id");
            // White space after the bracket, so that the id's digits begin a group of base64.
            let pad = (3 - at % 3) % 3;
            let order = format!("{{{}{}", " ".repeat(pad), &order[1..]);
            event_bytes = order.len();
            text.extend_from_slice(br#"{"ApproximateArrivalTimestamp":1763805605.25,"Data":""#);
            let id_at = text.len() + (at + pad) / 3 * 4;
            text.extend_from_slice(BASE64.encode(&order).as_bytes());
            text.extend_from_slice(format!(r#"","PartitionKey":"O-{number:06}","SequenceNumber":""#).as_bytes());
            places.push((id_at, text.len()));
            text.extend_from_slice(sequence(0).as_bytes());
            text.extend_from_slice(br#""}"#);
            ends.push(text.len());
            text.push(b',');
        }
        Self { text, places, ends, event_bytes }
    }

    fn give(&self, shard: u64, from: u64, records: usize, lag: Duration) -> Bytes {
        let end = records.checked_sub(1).map_or(1, |last| self.ends[last]);
        let mut text = Vec::with_capacity(end + 128);
        text.extend_from_slice(br#"{"Records":"#);
        let base = text.len();
        text.extend_from_slice(&self.text[..end]);
        for (number, (id_at, sequence_at)) in (from..).zip(&self.places[..records]) {
            let id = BASE64.encode(format!("{shard:04}{number:014}"));
            text[base + id_at..][..id.len()].copy_from_slice(id.as_bytes());
            let sequence = sequence(number);
            text[base + sequence_at..][..sequence.len()].copy_from_slice(sequence.as_bytes());
        }
        let next = from + records as u64;
        let lag = lag.as_millis();
        text.extend_from_slice(
            format!(r#"],"NextShardIterator":"{shard}/{next}","MillisBehindLatest":{lag}}}"#).as_bytes(),
        );
        text.into()
    }
}
