//! Events made slightly wrong: now in their bytes, now in their grammar, mostly in their values.

use std::ops::Range;

use fastrand::Rng;

/// What scalars are replaced by: the edges of types, lengths, ranges, formats and number syntax.
const SCALARS: [&str; 42] = [
    "null",
    "true",
    "false",
    "0",
    "-0",
    "1",
    "2",
    "-1",
    "1.0",
    "1.5",
    "2.50",
    "1e2",
    "1E-1",
    "100e-2",
    "0.1",
    "-0.0",
    "10000",
    "10001",
    "9007199254740993",
    "999999999999999999",
    "12345678901234567890",
    "123456789012345.678",
    "1e400",
    "01",
    "\"\"",
    "\"a\"",
    "\"ab\"",
    "\"\\u0061b\"",
    "\"\u{e9}\"",
    "\"\\ud83d\\ude00\"",
    "\"\\ud83d\"",
    "\"EUR\"",
    "\"C-1001\"",
    "\"C-1001\\n\"",
    "\"O-20001\"",
    "\"2026-02-30T10:00:00Z\"",
    "\"2026-11-22t10:00:60Z\"",
    "\"a.@example.com\"",
    "{}",
    "[]",
    "{\"a\":1}",
    "[1,1]",
];

const BYTES: &[u8] = b"{}[]:,\"\\ \n\t0129.-+eEtfnu\x00\x1f\x7f\x80\xc3\xa9\xff";

/// One to three edits of the event.
pub fn mutate(rng: &mut Rng, event: &[u8]) -> Vec<u8> {
    let mut mutant = event.to_vec();
    for _ in 0..rng.usize(1..=3) {
        edit(rng, &mut mutant);
    }
    mutant
}

fn edit(rng: &mut Rng, bytes: &mut Vec<u8>) {
    let tokens = tokens(bytes);
    let any = |rng: &mut Rng| tokens.get(rng.usize(..tokens.len().max(1))).cloned().unwrap_or(0..0);
    let keys: Vec<_> =
        (1..tokens.len()).filter(|at| bytes[tokens[*at].clone()] == *b":").map(|at| tokens[at - 1].clone()).collect();
    let key = |rng: &mut Rng| keys.get(rng.usize(..keys.len().max(1))).cloned().unwrap_or(0..0);
    match rng.u8(..18) {
        0..=4 => {
            let scalars: Vec<_> =
                tokens.iter().filter(|t| !b"{}[]:,".contains(&bytes[t.start]) && !keys.contains(t)).collect();
            if !scalars.is_empty() {
                let with = SCALARS[rng.usize(..SCALARS.len())];
                replace(bytes, scalars[rng.usize(..scalars.len())], with.as_bytes());
            }
        }
        5 => replace(bytes, &any(rng), b""),
        6 => {
            // A member once more, or under another's key.
            let (at, from) = (key(rng), key(rng));
            let member = [&bytes[from], b":0,"].concat();
            insert(bytes, at.start, &member);
        }
        7 => {
            let (at, from) = (key(rng), key(rng));
            let other = bytes[from].to_vec();
            replace(bytes, &at, &other);
        }
        8 => {
            // The first character of a string, as an escape.
            let string = any(rng);
            if let [b'"', first @ b'a'..=b'z', ..] = bytes[string.clone()] {
                let escape = if rng.bool() { format!("\\u{first:04x}") } else { format!("\\u{first:04X}") };
                replace(bytes, &(string.start + 1..string.start + 2), escape.as_bytes());
            }
        }
        9 => insert_after(rng, bytes, &tokens, b"{", &[b"\"a\":1,", b"\"zz\":[],", b"\"b\":\"x\",", b"\"\\u0061\":2,"]),
        10 => insert_after(rng, bytes, &tokens, b"[", &[b"null,", b"1,", b"\"ab\",", b"{},", b"1.0,", b"[1],"]),
        11 => {
            let number = any(rng);
            if bytes[number.clone()].last().is_some_and(u8::is_ascii_digit) {
                let with: [&[u8]; 7] = [b"0", b"1", b".0", b".5", b"e0", b"e1", b"00000000000000"];
                insert(bytes, number.end, with[rng.usize(..with.len())]);
            }
        }
        12 => {
            insert(bytes, any(rng).start, [&b" "[..], b"\n", b"\t ", b"\r\n", b"\x0b", b"\xef\xbb\xbf"][rng.usize(..6)])
        }
        13 => {
            let (a, b) = (any(rng), any(rng));
            if a.end <= b.start {
                let swapped = [&bytes[b.clone()], &bytes[a.end..b.start], &bytes[a.clone()]].concat();
                replace(bytes, &(a.start..b.end), &swapped);
            }
        }
        14 => {
            let at = rng.usize(..=bytes.len());
            insert(bytes, at, &[BYTES[rng.usize(..BYTES.len())]]);
        }
        15 => {
            // A member with its value, and the comma after it.
            let start = key(rng).start;
            if let Some(end) = end_of_value(bytes, &tokens, start) {
                let comma = usize::from(bytes.get(end) == Some(&b','));
                replace(bytes, &(start..end + comma), b"");
            }
        }
        16 => {
            // All that an array or object holds.
            let start = any(rng).end;
            if let Some(end) = end_of_value(bytes, &tokens, start).filter(|_| b"{[".contains(&bytes[start - 1])) {
                replace(bytes, &(start..end), b"");
            }
        }
        _ => {
            let start = rng.usize(..=bytes.len());
            let end = (start + rng.usize(..3)).min(bytes.len());
            let with = if rng.bool() { vec![] } else { vec![BYTES[rng.usize(..BYTES.len())]] };
            replace(bytes, &(start..end), &with);
        }
    }
}

fn replace(bytes: &mut Vec<u8>, range: &Range<usize>, with: &[u8]) {
    bytes.splice(range.clone(), with.iter().copied());
}

fn insert(bytes: &mut Vec<u8>, at: usize, what: &[u8]) {
    replace(bytes, &(at..at), what);
}

fn insert_after(rng: &mut Rng, bytes: &mut Vec<u8>, tokens: &[Range<usize>], bracket: &[u8], what: &[&[u8]]) {
    let brackets: Vec<_> = tokens.iter().filter(|token| bytes[(*token).clone()] == *bracket).collect();
    if !brackets.is_empty() {
        insert(bytes, brackets[rng.usize(..brackets.len())].end, what[rng.usize(..what.len())]);
    }
}

/// Where the value, or the member, that begins at `start` ends: before a comma, or the bracket around it. What begins after an
/// opening bracket ends before its closing one.
fn end_of_value(bytes: &[u8], tokens: &[Range<usize>], start: usize) -> Option<usize> {
    let all = start > 0 && b"{[".contains(&bytes[start - 1]);
    let mut depth = 0_usize;
    for token in tokens.iter().filter(|token| token.start >= start) {
        match bytes[token.start] {
            b'{' | b'[' => depth += 1,
            b'}' | b']' if depth == 0 => return Some(token.start),
            b'}' | b']' => depth -= 1,
            b',' if depth == 0 && !all => return Some(token.start),
            _ => {}
        }
    }
    None
}

/// Where the tokens stand, near enough for text that may be broken.
fn tokens(bytes: &[u8]) -> Vec<Range<usize>> {
    let (mut tokens, mut at) = (Vec::new(), 0);
    while at < bytes.len() {
        let start = at;
        at += 1;
        match bytes[start] {
            b'"' => {
                while at < bytes.len() && bytes[at] != b'"' {
                    at += if bytes[at] == b'\\' { 2 } else { 1 };
                }
                at = (at + 1).min(bytes.len());
            }
            b' ' | b'\n' | b'\t' | b'\r' => continue,
            b'{' | b'}' | b'[' | b']' | b':' | b',' => {}
            _ => {
                while at < bytes.len() && !b"{}[]:,\" \n\t\r".contains(&bytes[at]) {
                    at += 1;
                }
            }
        }
        tokens.push(start..at);
    }
    tokens
}
