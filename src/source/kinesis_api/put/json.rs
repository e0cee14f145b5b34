//! PutRecord and PutRecords bodies in JSON, read by scanning them: nothing is built but what the records need.
//!
//! A body is almost nothing but base64, and almost always plain: no escapes, no member twice. Such a body is read here in one
//! pass; all its data is decoded into one buffer, of which the records hold slices, and their base64 text stays where it is
//! in the body, for a sink to copy. Members may come in any order, and those that are unknown are skipped.
//!
//! What is not plain, or not right, is `None`: serde then reads the body from the start (`super::request`), and is the one to say
//! what is wrong. So this scanner may give up, but it may not take what serde refuses, nor read it otherwise; the tests compare.

use std::ops::Range;

use bytes::Bytes;
use memchr::memchr2;

use crate::decode::json::scan::{Scanner, Stacks};

use super::RECORDS_MAX;
use super::request::{Entry, Request, Shape};

/// Reads a body that is plain.
pub fn scan(body: &Bytes, shape: Shape) -> Option<Request> {
    // Four characters of base64 are three bytes, so this is room for all of them.
    let mut scan = Scan { body, text: None, at: 0, decoded: Vec::with_capacity(body.len() / 4 * 3) };
    let scanned = scan.request(shape)?;
    scan.space();
    if scan.at < body.len() {
        return None;
    }
    let decoded = Bytes::from(scan.decoded);
    let entry = |entry: Scanned| Entry {
        data: entry.data.clone().map(|data| decoded.slice(data.decoded)),
        encoded: entry.data.and_then(|data| data.encoded).map(|range| body.slice(range)),
        partition_key: entry.partition_key,
        explicit_hash_key: entry.explicit_hash_key,
    };
    Some(Request {
        stream_name: scanned.stream_name,
        stream_arn: scanned.stream_arn,
        dry_run: scanned.dry_run,
        sequence_for_ordering: scanned.sequence_for_ordering,
        entry_count: scanned.entries.as_ref().map(Vec::len),
        entries: scanned.entries.unwrap_or_default().into_iter().map(entry).collect(),
    })
}

/// As [`Request`], its data still in the buffer.
struct ScannedRequest {
    stream_name: Option<String>,
    stream_arn: Option<String>,
    dry_run: Option<bool>,
    sequence_for_ordering: Option<String>,
    entries: Option<Vec<Scanned>>,
}

/// As [`Entry`], its data still in the buffer.
struct Scanned {
    data: Option<Data>,
    partition_key: Option<String>,
    explicit_hash_key: Option<String>,
}

#[derive(Clone)]
struct Data {
    /// In the buffer of decoded data.
    decoded: Range<usize>,
    /// In the body; absent where the text had escapes.
    encoded: Option<Range<usize>>,
}

/// A member's value, once it was met: inside, `None` stands for null.
type Met<T> = Option<Option<T>>;

/// What an entry's members have said so far.
#[derive(Default)]
struct Members {
    data: Met<Data>,
    partition_key: Met<String>,
    explicit_hash_key: Met<String>,
}

impl Members {
    /// Reads a member's value, if it is an entry's. `Some(false)`: it is not.
    fn read(&mut self, name: &[u8], scan: &mut Scan<'_>) -> Option<bool> {
        match name {
            b"Data" => once(&mut self.data, scan.or_null(Scan::base64)?)?,
            b"PartitionKey" => once(&mut self.partition_key, scan.or_null(Scan::string)?)?,
            b"ExplicitHashKey" => once(&mut self.explicit_hash_key, scan.or_null(Scan::string)?)?,
            _ => return Some(false),
        }
        Some(true)
    }

    fn scanned(self) -> Scanned {
        Scanned {
            data: self.data.flatten(),
            partition_key: self.partition_key.flatten(),
            explicit_hash_key: self.explicit_hash_key.flatten(),
        }
    }
}

/// Keeps a member's value; `None` when the member was there before.
fn once<T>(met: &mut Met<T>, value: Option<T>) -> Option<()> {
    met.replace(value).is_none().then_some(())
}

struct Scan<'b> {
    body: &'b [u8],
    /// The body as text, once a member had to be skipped.
    text: Option<&'b str>,
    at: usize,
    decoded: Vec<u8>,
}

impl<'b> Scan<'b> {
    fn request(&mut self, shape: Shape) -> Option<ScannedRequest> {
        let (mut stream_name, mut stream_arn, mut dry_run) = (None, None, None);
        let (mut sequence_for_ordering, mut records) = (None, None);
        let mut own = Members::default();
        self.members(|scan, name| match (name, shape) {
            (b"StreamName", _) => once(&mut stream_name, scan.or_null(Scan::string)?),
            (b"StreamARN", _) => once(&mut stream_arn, scan.or_null(Scan::string)?),
            (b"DryRun", _) => once(&mut dry_run, scan.or_null(Scan::boolean)?),
            (b"Records", Shape::Many) => once(&mut records, scan.or_null(Scan::records)?),
            (b"SequenceNumberForOrdering", Shape::One) => once(&mut sequence_for_ordering, scan.or_null(Scan::string)?),
            (_, Shape::One) if own.read(name, scan)? => Some(()),
            _ => scan.skip(),
        })?;
        Some(ScannedRequest {
            stream_name: stream_name.flatten(),
            stream_arn: stream_arn.flatten(),
            dry_run: dry_run.flatten(),
            sequence_for_ordering: sequence_for_ordering.flatten(),
            entries: match shape {
                Shape::One => Some(vec![own.scanned()]),
                Shape::Many => records.flatten(),
            },
        })
    }

    /// As many entries as a request may have. More are for serde to count.
    fn records(&mut self) -> Option<Vec<Scanned>> {
        let mut entries = Vec::new();
        self.take(b'[')?;
        self.space();
        if self.peek()? == b']' {
            self.at += 1;
            return Some(entries);
        }
        loop {
            let mut members = Members::default();
            self.members(|scan, name| if members.read(name, scan)? { Some(()) } else { scan.skip() })?;
            entries.push(members.scanned());
            match self.next()? {
                b',' if entries.len() < RECORDS_MAX => {}
                b']' => return Some(entries),
                _ => return None,
            }
        }
    }

    /// An object, member by member. `member` finds its value next and reads all of it.
    fn members(&mut self, mut member: impl FnMut(&mut Self, &[u8]) -> Option<()>) -> Option<()> {
        self.take(b'{')?;
        self.space();
        if self.peek()? == b'}' {
            self.at += 1;
            return Some(());
        }
        loop {
            let (name, escaped) = self.quoted()?;
            // A name that nobody knows is well-formed too.
            if escaped || self.body[name.clone()].iter().any(|byte| *byte < b' ') {
                return None;
            }
            self.take(b':')?;
            self.space();
            let body = self.body;
            member(self, &body[name])?;
            match self.next()? {
                b',' => {}
                b'}' => return Some(()),
                _ => return None,
            }
        }
    }

    fn or_null<T>(&mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<Option<T>> {
        if self.literal(b"null") { Some(None) } else { read(self).map(Some) }
    }

    fn boolean(&mut self) -> Option<bool> {
        if self.literal(b"true") { Some(true) } else { self.literal(b"false").then_some(false) }
    }

    fn string(&mut self) -> Option<String> {
        let (range, escaped) = self.quoted()?;
        if escaped {
            // Rare and short: serde knows the escapes.
            return serde_json::from_slice(&self.body[range.start - 1..range.end + 1]).ok();
        }
        let bytes = &self.body[range];
        let has_control = bytes.iter().any(|byte| *byte < b' ');
        std::str::from_utf8(bytes).ok().filter(|_| !has_control).map(str::to_owned)
    }

    fn base64(&mut self) -> Option<Data> {
        let (range, escaped) = self.quoted()?;
        let start = self.decoded.len();
        let encoded = if escaped {
            // Some writers escape the slash.
            let text: String = serde_json::from_slice(&self.body[range.start - 1..range.end + 1]).ok()?;
            base64_simd::STANDARD.decode_append(&text, &mut self.decoded).ok()?;
            None
        } else {
            base64_simd::STANDARD.decode_append(&self.body[range.clone()], &mut self.decoded).ok()?;
            Some(range)
        };
        Some(Data { decoded: start..self.decoded.len(), encoded })
    }

    /// What stands between the quotes that open here and their end, and whether it holds an escape. Not checked further.
    fn quoted(&mut self) -> Option<(Range<usize>, bool)> {
        self.take(b'"')?;
        let (start, mut escaped) = (self.at, false);
        loop {
            self.at += memchr2(b'"', b'\\', self.body.get(self.at..)?)?;
            if self.body[self.at] == b'"' {
                break;
            }
            escaped = true;
            self.at += 2;
        }
        self.at += 1;
        Some((start..self.at - 1, escaped))
    }

    /// Skips a value that means nothing here, well-formed as it has to be.
    fn skip(&mut self) -> Option<()> {
        let text = match self.text {
            Some(text) => text,
            None => *self.text.insert(std::str::from_utf8(self.body).ok()?),
        };
        let mut stacks = Stacks::default();
        let mut scanner = Scanner::new(text, &mut stacks);
        scanner.at = self.at;
        scanner.skip().ok()?;
        self.at = scanner.at;
        Some(())
    }

    /// Whether this word stands here; if so, it is passed.
    fn literal(&mut self, word: &[u8]) -> bool {
        let found = self.body[self.at..].starts_with(word);
        self.at += if found { word.len() } else { 0 };
        found
    }

    /// The next byte that is no space has to be this one.
    fn take(&mut self, byte: u8) -> Option<()> {
        (self.next()? == byte).then_some(())
    }

    /// The next byte that is no space.
    fn next(&mut self) -> Option<u8> {
        self.space();
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.body.get(self.at).copied()
    }
}
