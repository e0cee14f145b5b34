//! The strict scanner: one pass over the text, a stack on the heap, nothing built.
//!
//! [`check`](super::check) runs it over a whole text. The single-pass judge drives it value by value: it owns the grammar, the
//! nesting and the duplicate keys, so that the two cannot disagree about what is malformed.

use super::strings::{self, Key, hex_unit, ordinary_bytes};
use super::token;
use super::{Checked, DEPTH_MAX, Fault, Malformed};

/// How many keys room is kept for from one text to the next.
const KEYS_KEPT_MAX: usize = 4096;

/// A number shorter than this, without an exponent, cannot overflow a double.
const SURELY_FINITE: usize = 300;

/// Checks the text.
pub(super) fn text(bytes: &[u8]) -> Result<Checked<'_>, Malformed> {
    if bytes.starts_with(b"\xef\xbb\xbf") {
        return Err(Malformed { offset: 0, fault: Fault::ByteOrderMark });
    }
    let text = utf8(bytes)?;
    let mut stacks = Stacks::default();
    let mut scanner = Scanner::new(text, &mut stacks);
    scanner.begin()?;
    scanner.skip()?;
    scanner.end()
}

/// The bytes as the text they are.
pub(crate) fn utf8(bytes: &[u8]) -> Result<&str, Malformed> {
    std::str::from_utf8(bytes).map_err(|e| Malformed { offset: e.valid_up_to(), fault: Fault::InvalidUtf8 })
}

/// Stands for an array among [`Stacks::open`].
const ARRAY: u32 = u32::MAX;

/// What is open. Kept from one text to the next so that a scan allocates nothing.
pub(crate) struct Stacks {
    /// Of each array or object whose end has not been seen, outermost first: [`ARRAY`], or the index of an object's first
    /// key among `keys`.
    open: [u32; DEPTH_MAX],
    /// Of all open objects, outermost first.
    keys: Vec<Key>,
}

impl Default for Stacks {
    fn default() -> Self {
        Self { open: [ARRAY; DEPTH_MAX], keys: Vec::new() }
    }
}

/// How much was open at a moment, to return to when a value is read again.
#[derive(Clone, Copy)]
pub(crate) struct Mark {
    at: usize,
    depth: usize,
    keys: usize,
}

impl Mark {
    pub(crate) fn at(self) -> usize {
        self.at
    }
}

pub(crate) struct Scanner<'e, 's> {
    pub(crate) text: &'e str,
    bytes: &'e [u8],
    pub(crate) at: usize,
    /// How many arrays and objects are open.
    depth: usize,
    stacks: &'s mut Stacks,
}

impl<'e, 's> Scanner<'e, 's> {
    pub(crate) fn new(text: &'e str, stacks: &'s mut Stacks) -> Self {
        stacks.keys.clear();
        stacks.keys.shrink_to(KEYS_KEPT_MAX);
        Self { text, bytes: text.as_bytes(), at: 0, depth: 0, stacks }
    }

    /// Goes to the text's value.
    pub(crate) fn begin(&mut self) -> Result<(), Malformed> {
        if self.bytes.starts_with(b"\xef\xbb\xbf") {
            return Err(self.here(Fault::ByteOrderMark));
        }
        self.space();
        if self.at == self.bytes.len() { Err(self.here(Fault::Empty)) } else { Ok(()) }
    }

    /// Nothing but space may follow the text's value, which has been scanned.
    pub(crate) fn end(mut self) -> Result<Checked<'e>, Malformed> {
        self.space();
        if self.at < self.bytes.len() { Err(self.here(Fault::TrailingBytes)) } else { Ok(Checked(self.text)) }
    }

    pub(crate) fn bytes(&self) -> &'e [u8] {
        self.bytes
    }

    /// How many arrays and objects are open.
    pub(crate) fn depth(&self) -> usize {
        self.depth
    }

    pub(crate) fn mark(&self) -> Mark {
        Mark { at: self.at, depth: self.depth, keys: self.stacks.keys.len() }
    }

    /// Back to where the mark was made, to read the same value again.
    pub(crate) fn return_to(&mut self, mark: Mark) {
        self.at = mark.at;
        self.depth = mark.depth;
        self.stacks.keys.truncate(mark.keys);
    }

    /// Scans one value to its end, without recursion.
    pub(crate) fn skip(&mut self) -> Result<(), Malformed> {
        let outside = self.depth;
        loop {
            let opened = self.value()?;
            if opened && !self.first_of_container()? {
                continue;
            }
            if self.after_value(outside)? {
                return Ok(());
            }
        }
    }

    /// Goes past one value by its quotes and brackets alone, for a look at what follows. Whoever looks ahead reads all of it
    /// again: what is malformed is found then.
    pub(crate) fn skip_roughly(&mut self) -> Result<(), Malformed> {
        if !matches!(self.peek(), Some(b'{' | b'[')) {
            return self.skip();
        }
        let mut open = 0_usize;
        loop {
            match self.peek() {
                Some(b'"') => {
                    self.string()?;
                    continue;
                }
                Some(b'{' | b'[') => open += 1,
                Some(b'}' | b']') => open -= 1,
                Some(_) => {}
                None => return Err(self.here(Fault::Truncated)),
            }
            self.at += 1;
            if open == 0 {
                return Ok(());
            }
        }
    }

    /// Enters the array that begins here. False when it is empty, and already left.
    pub(crate) fn enter_array(&mut self) -> Result<bool, Malformed> {
        self.enter(ARRAY)?;
        self.space();
        if self.peek() == Some(b']') {
            self.leave();
            return Ok(false);
        }
        Ok(true)
    }

    /// After an element: whether another follows, and stands here. If not, the array is left.
    pub(crate) fn next_element(&mut self) -> Result<bool, Malformed> {
        self.space();
        match self.peek() {
            Some(b',') => {
                self.at += 1;
                self.space();
                Ok(true)
            }
            Some(b']') => {
                self.leave();
                Ok(false)
            }
            Some(_) => Err(self.here(Fault::CommaOrBracketExpected)),
            None => Err(self.here(Fault::Truncated)),
        }
    }

    /// Enters the object that begins here. False when it is empty, and already left.
    pub(crate) fn enter_object(&mut self) -> Result<bool, Malformed> {
        self.enter(self.stacks.keys.len() as u32)?;
        self.space();
        if self.peek() == Some(b'}') {
            self.leave();
            return Ok(false);
        }
        Ok(true)
    }

    /// After a member: whether another follows, whose key should stand here. If not, the object is left, and its
    /// [remembered](Self::remember) keys are compared.
    #[inline]
    pub(crate) fn next_member(&mut self) -> Result<bool, Malformed> {
        self.space();
        if self.peek() == Some(b',') {
            self.at += 1;
            self.space();
            return Ok(true);
        }
        self.end_of_object()
    }

    /// After a member that no comma follows: the object is left. Never true.
    pub(crate) fn end_of_object(&mut self) -> Result<bool, Malformed> {
        match self.peek() {
            Some(b'}') => {
                self.refuse_duplicates(self.stacks.open[self.depth - 1] as usize)?;
                self.leave();
                Ok(false)
            }
            Some(_) => Err(self.here(Fault::CommaOrBraceExpected)),
            None => Err(self.here(Fault::Truncated)),
        }
    }

    /// Remembers a key for the comparison at its object's end.
    pub(crate) fn remember(&mut self, key: Key) {
        self.stacks.keys.push(key);
    }

    fn enter(&mut self, open: u32) -> Result<(), Malformed> {
        let Some(innermost) = self.stacks.open.get_mut(self.depth) else { return Err(self.here(Fault::TooDeep)) };
        *innermost = open;
        self.depth += 1;
        self.at += 1;
        Ok(())
    }

    fn leave(&mut self) {
        self.at += 1;
        self.depth -= 1;
    }

    fn is_in_array(&self) -> bool {
        self.stacks.open[self.depth - 1] == ARRAY
    }

    /// Scans a scalar, or the opening of a container, and says whether it was the latter.
    fn value(&mut self) -> Result<bool, Malformed> {
        match self.peek() {
            Some(b'"') => self.string().map(|_| false),
            Some(b'-' | b'0'..=b'9') => self.number().map(|_| false),
            Some(b'[') => self.enter(ARRAY).map(|()| true),
            Some(b'{') => self.enter(self.stacks.keys.len() as u32).map(|()| true),
            Some(b't' | b'f' | b'n') => self.literal().map(|()| false),
            Some(_) => Err(self.here(Fault::ValueExpected)),
            None => Err(self.here(Fault::Truncated)),
        }
    }

    /// After an opening bracket: true when the container was empty and is closed; false when a value follows.
    fn first_of_container(&mut self) -> Result<bool, Malformed> {
        self.space();
        let array = self.is_in_array();
        if self.peek() == Some(if array { b']' } else { b'}' }) {
            self.leave();
            return Ok(true);
        }
        if !array {
            self.member()?;
        }
        Ok(false)
    }

    /// After a value: closes what ends here. True when no more than `outside` is open; false when another value follows.
    fn after_value(&mut self, outside: usize) -> Result<bool, Malformed> {
        while self.depth > outside {
            if self.is_in_array() {
                if self.next_element()? {
                    return Ok(false);
                }
            } else if self.next_member()? {
                self.member()?;
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn member(&mut self) -> Result<(), Malformed> {
        let key = self.key()?;
        self.remember(key);
        self.colon()
    }

    /// A key.
    pub(crate) fn key(&mut self) -> Result<Key, Malformed> {
        match self.peek() {
            Some(b'"') => {}
            Some(_) => return Err(self.here(Fault::KeyExpected)),
            None => return Err(self.here(Fault::Truncated)),
        }
        let start = self.at + 1;
        let escaped = self.string()?;
        Ok(Key { start, end: self.at - 1, escaped })
    }

    /// The colon after a key, and the space before the value.
    #[inline]
    pub(crate) fn colon(&mut self) -> Result<(), Malformed> {
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
        if self.stacks.keys.len() - first < 2 {
            self.stacks.keys.truncate(first);
            return Ok(());
        }
        let duplicate = strings::duplicate(self.bytes, &mut self.stacks.keys[first..]);
        self.stacks.keys.truncate(first);
        match duplicate {
            Some(start) => Err(Malformed { offset: start - 1, fault: Fault::DuplicateKey }),
            None => Ok(()),
        }
    }

    /// A string, from quote to quote. Says whether it holds an escape.
    #[inline]
    pub(crate) fn string(&mut self) -> Result<bool, Malformed> {
        match token::plain_string(self.bytes, self.at) {
            Some(end) => {
                self.at = end;
                Ok(false)
            }
            None => self.any_string(),
        }
    }

    #[inline(never)]
    fn any_string(&mut self) -> Result<bool, Malformed> {
        let bytes = self.bytes;
        let mut escaped = false;
        self.at += 1;
        loop {
            self.at += ordinary_bytes(&bytes[self.at..]);
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(escaped);
                }
                Some(b'\\') => {
                    escaped = true;
                    self.escape()?;
                }
                Some(_) => return Err(self.here(Fault::ControlCharacter)),
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

    /// RFC 8259 section 6: minus, int, frac, exp. Gives the value of a [plain integer](token::plain_integer).
    #[inline]
    pub(crate) fn number(&mut self) -> Result<Option<i64>, Malformed> {
        match token::plain_integer(self.bytes, self.at) {
            Some((integer, end)) => {
                self.at = end;
                Ok(Some(integer))
            }
            None => self.long_number().map(|()| None),
        }
    }

    /// A number of any form.
    fn long_number(&mut self) -> Result<(), Malformed> {
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

    /// `true`, `false` or `null`, as its first letter says.
    pub(crate) fn literal(&mut self) -> Result<(), Malformed> {
        let first = self.peek().unwrap_or_default();
        if let Some(end) = token::literal(self.bytes, self.at, first) {
            self.at = end;
            return Ok(());
        }
        let is_cut_short = token::word(first).starts_with(&self.bytes[self.at..]);
        let offset = if is_cut_short { self.bytes.len() } else { self.at };
        Err(Malformed { offset, fault: if is_cut_short { Fault::Truncated } else { Fault::InvalidLiteral } })
    }

    #[inline]
    fn space(&mut self) {
        self.at = token::space(self.bytes, self.at);
    }

    #[inline]
    pub(crate) fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn here(&self, fault: Fault) -> Malformed {
        Malformed { offset: self.at, fault }
    }
}
