//! The strict scanner: one pass over the text, a stack on the heap, nothing built.

use super::{DEPTH_MAX, Fault, Malformed};

/// Objects with at most this many keys are compared pairwise; larger ones are sorted.
const PAIRWISE_MAX: usize = 12;

/// A number shorter than this, without an exponent, cannot overflow a double.
const SURELY_FINITE: usize = 300;

/// Checks the text and hands it back as the UTF-8 it is.
pub(super) fn text(bytes: &[u8]) -> Result<&str, Malformed> {
    if bytes.starts_with(b"\xef\xbb\xbf") {
        return Err(Malformed { offset: 0, fault: Fault::ByteOrderMark });
    }
    let text =
        std::str::from_utf8(bytes).map_err(|e| Malformed { offset: e.valid_up_to(), fault: Fault::InvalidUtf8 })?;
    Scanner { bytes, at: 0, open: Vec::new(), keys: Vec::new() }.document()?;
    Ok(text)
}

/// An array or object whose end has not been seen.
enum Open {
    Array,
    /// Its keys are those from this index on.
    Object(usize),
}

/// A key as written, between its quotes.
#[derive(Clone, Copy)]
struct Key {
    start: usize,
    end: usize,
    escaped: bool,
}

struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
    open: Vec<Open>,
    /// Of all open objects, outermost first.
    keys: Vec<Key>,
}

impl Scanner<'_> {
    fn document(&mut self) -> Result<(), Malformed> {
        self.space();
        if self.at == self.bytes.len() {
            return Err(self.here(Fault::Empty));
        }
        loop {
            let opened = self.value()?;
            if opened && !self.first_of_container()? {
                continue;
            }
            if self.after_value()? {
                break;
            }
        }
        self.space();
        if self.at < self.bytes.len() { Err(self.here(Fault::TrailingBytes)) } else { Ok(()) }
    }

    /// Scans a scalar, or the opening of a container, and says whether it was the latter.
    fn value(&mut self) -> Result<bool, Malformed> {
        match self.peek() {
            Some(b'"') => self.string().map(|_| false),
            Some(b'-' | b'0'..=b'9') => self.number().map(|()| false),
            Some(b't') => self.literal(b"true"),
            Some(b'f') => self.literal(b"false"),
            Some(b'n') => self.literal(b"null"),
            Some(bracket @ (b'[' | b'{')) => {
                if self.open.len() == DEPTH_MAX {
                    return Err(self.here(Fault::TooDeep));
                }
                self.open.push(if bracket == b'[' { Open::Array } else { Open::Object(self.keys.len()) });
                self.at += 1;
                Ok(true)
            }
            Some(_) => Err(self.here(Fault::ValueExpected)),
            None => Err(self.here(Fault::Truncated)),
        }
    }

    /// After an opening bracket: true when the container was empty and is closed; false when a value follows.
    fn first_of_container(&mut self) -> Result<bool, Malformed> {
        self.space();
        let array = matches!(self.open.last(), Some(Open::Array));
        if self.peek() == Some(if array { b']' } else { b'}' }) {
            self.at += 1;
            self.open.pop();
            return Ok(true);
        }
        if !array {
            self.key()?;
        }
        Ok(false)
    }

    /// After a value: closes what ends here. True when the whole text is done; false when another value follows.
    fn after_value(&mut self) -> Result<bool, Malformed> {
        loop {
            let Some(innermost) = self.open.last() else { return Ok(true) };
            let (close, expected, first_key) = match innermost {
                Open::Array => (b']', Fault::CommaOrBracketExpected, None),
                Open::Object(first_key) => (b'}', Fault::CommaOrBraceExpected, Some(*first_key)),
            };
            self.space();
            match self.peek() {
                Some(b',') => {
                    self.at += 1;
                    self.space();
                    if first_key.is_some() {
                        self.key()?;
                    }
                    return Ok(false);
                }
                Some(byte) if byte == close => {
                    if let Some(first_key) = first_key {
                        self.refuse_duplicates(first_key)?;
                    }
                    self.at += 1;
                    self.open.pop();
                }
                Some(_) => return Err(self.here(expected)),
                None => return Err(self.here(Fault::Truncated)),
            }
        }
    }

    /// A key, its colon, and the space before the value.
    fn key(&mut self) -> Result<(), Malformed> {
        match self.peek() {
            Some(b'"') => {}
            Some(_) => return Err(self.here(Fault::KeyExpected)),
            None => return Err(self.here(Fault::Truncated)),
        }
        let start = self.at + 1;
        let escaped = self.string()?;
        self.keys.push(Key { start, end: self.at - 1, escaped });
        self.space();
        match self.peek() {
            Some(b':') => self.at += 1,
            Some(_) => return Err(self.here(Fault::ColonExpected)),
            None => return Err(self.here(Fault::Truncated)),
        }
        self.space();
        Ok(())
    }

    /// Forgets the keys from `first` on, the innermost object's, and fails when two of them are equal.
    fn refuse_duplicates(&mut self, first: usize) -> Result<(), Malformed> {
        let keys = &mut self.keys[first..];
        let bytes = self.bytes;
        let duplicate = if keys.len() <= PAIRWISE_MAX {
            keys.iter()
                .enumerate()
                .find(|(i, key)| keys[..*i].iter().any(|k| equal(bytes, k, key)))
                .map(|(_, k)| k.start)
        } else {
            // Stable, so of two equal keys the later stands second.
            keys.sort_by(|a, b| {
                if a.escaped || b.escaped {
                    unescape(bytes, a).cmp(unescape(bytes, b))
                } else {
                    raw(bytes, a).cmp(raw(bytes, b))
                }
            });
            keys.windows(2).filter(|pair| equal(bytes, &pair[0], &pair[1])).map(|pair| pair[1].start).min()
        };
        self.keys.truncate(first);
        match duplicate {
            Some(start) => Err(Malformed { offset: start - 1, fault: Fault::DuplicateKey }),
            None => Ok(()),
        }
    }

    /// A string, from quote to quote. Says whether it holds an escape.
    fn string(&mut self) -> Result<bool, Malformed> {
        self.at += 1;
        let mut escaped = false;
        loop {
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(escaped);
                }
                Some(b'\\') => {
                    escaped = true;
                    self.escape()?;
                }
                Some(0..=0x1f) => return Err(self.here(Fault::ControlCharacter)),
                Some(_) => self.at += 1,
                None => return Err(self.here(Fault::Truncated)),
            }
        }
    }

    fn escape(&mut self) -> Result<(), Malformed> {
        let invalid = self.here(Fault::InvalidEscape);
        match self.bytes.get(self.at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 2,
            Some(b'u') => {
                let lone = self.here(Fault::LoneSurrogate);
                let unit = self.unit(self.at + 2).ok_or(invalid)?;
                self.at += 6;
                match unit {
                    0xd800..=0xdbff => {
                        if !self.bytes[self.at..].starts_with(b"\\u") {
                            return Err(lone);
                        }
                        match self.unit(self.at + 2) {
                            Some(0xdc00..=0xdfff) => self.at += 6,
                            Some(_) => return Err(lone),
                            None => return Err(self.here(Fault::InvalidEscape)),
                        }
                    }
                    0xdc00..=0xdfff => return Err(lone),
                    _ => {}
                }
            }
            Some(_) => return Err(invalid),
            None => return Err(Malformed { offset: self.bytes.len(), fault: Fault::Truncated }),
        }
        Ok(())
    }

    /// The four hexadecimal digits at `at`.
    fn unit(&self, at: usize) -> Option<u16> {
        hex_unit(self.bytes.get(at..at + 4)?)
    }

    /// RFC 8259 section 6: minus, int, frac, exp.
    fn number(&mut self) -> Result<(), Malformed> {
        let start = self.at;
        let invalid = self.here(Fault::InvalidNumber);
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        match self.peek() {
            Some(b'0') => self.at += 1,
            Some(b'1'..=b'9') => self.digits(),
            _ => return Err(invalid),
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.some_digits(invalid)?;
        }
        let exponent = matches!(self.peek(), Some(b'e' | b'E'));
        if exponent {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.some_digits(invalid)?;
        }
        if matches!(self.peek(), Some(b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-')) {
            return Err(invalid);
        }
        if exponent || self.at - start > SURELY_FINITE {
            let text = std::str::from_utf8(&self.bytes[start..self.at]).map_err(|_| invalid)?;
            if !text.parse::<f64>().is_ok_and(f64::is_finite) {
                return Err(Malformed { offset: start, fault: Fault::NumberOverflow });
            }
        }
        Ok(())
    }

    fn digits(&mut self) {
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
    }

    fn some_digits(&mut self, invalid: Malformed) -> Result<(), Malformed> {
        let start = self.at;
        self.digits();
        if self.at == start { Err(invalid) } else { Ok(()) }
    }

    fn literal(&mut self, word: &'static [u8]) -> Result<bool, Malformed> {
        let rest = &self.bytes[self.at..];
        if rest.starts_with(word) {
            self.at += word.len();
            Ok(false)
        } else if word.starts_with(rest) {
            Err(Malformed { offset: self.bytes.len(), fault: Fault::Truncated })
        } else {
            Err(self.here(Fault::InvalidLiteral))
        }
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn here(&self, fault: Fault) -> Malformed {
        Malformed { offset: self.at, fault }
    }
}

fn raw<'a>(bytes: &'a [u8], key: &Key) -> &'a [u8] {
    &bytes[key.start..key.end]
}

fn equal(bytes: &[u8], a: &Key, b: &Key) -> bool {
    if a.escaped || b.escaped { unescape(bytes, a).eq(unescape(bytes, b)) } else { raw(bytes, a) == raw(bytes, b) }
}

/// The key's bytes after unescaping, without allocating.
fn unescape<'a>(bytes: &'a [u8], key: &Key) -> impl Iterator<Item = u8> + 'a {
    let mut rest = raw(bytes, key);
    let mut pending = [0_u8; 4];
    let (mut next, mut end) = (0, 0);
    std::iter::from_fn(move || {
        if next == end {
            let (&first, after) = rest.split_first()?;
            if first != b'\\' {
                rest = after;
                return Some(first);
            }
            let (character, length) = escaped_char(rest)?;
            rest = &rest[length..];
            (next, end) = (0, character.encode_utf8(&mut pending).len());
        }
        next += 1;
        Some(pending[next - 1])
    })
}

/// The character an escape stands for, and the escape's length. `None` for what the scanner refuses.
pub(super) fn escaped_char(escape: &[u8]) -> Option<(char, usize)> {
    let short = match escape.get(1)? {
        b'u' => {
            let high = hex_unit(escape.get(2..6)?)?;
            if !(0xd800..0xdc00).contains(&high) {
                return Some((char::from_u32(u32::from(high))?, 6));
            }
            let low = hex_unit(escape.get(8..12)?)?;
            return Some((char::decode_utf16([high, low]).next()?.ok()?, 12));
        }
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        other => char::from(*other),
    };
    Some((short, 2))
}

/// Four hexadecimal digits, and nothing like a sign among them.
fn hex_unit(digits: &[u8]) -> Option<u16> {
    digits.iter().try_fold(0_u16, |unit, &digit| Some(unit << 4 | char::from(digit).to_digit(16)? as u16))
}
