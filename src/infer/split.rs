//! Samples arrive in pieces: NDJSON, or one JSON array. This cuts them into events, holding one event at a time.
//!
//! An event is only cut out here, by line ends, or by quotes and brackets; whether it is JSON is for the parser to say, so
//! that one malformed event leaves the others usable.

/// The largest event, in bytes: above what any stream takes as one record.
pub const EVENT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// One event as it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece<'b> {
    /// Of the line, or of the array's element; counted from 1.
    pub number: u64,
    pub is_line: bool,
    /// `None` when the event is larger than [`EVENT_BYTES_MAX`].
    pub bytes: Option<&'b [u8]>,
}

/// What is wrong with a sample as a whole. What was cut out before it counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SplitFault {
    #[error("the JSON array of events is not closed")]
    NotClosed,
    #[error("something follows the JSON array of events")]
    AfterArray,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Mode {
    /// Only white space so far.
    #[default]
    Start,
    Lines,
    Array {
        depth: usize,
        in_string: bool,
        escaped: bool,
    },
    /// The array is closed.
    Closed,
    /// It is, and more came.
    After,
}

/// Cuts a sample into events. An array is told from NDJSON by the first byte that is no white space.
#[derive(Debug, Default)]
pub struct Splitter {
    mode: Mode,
    /// The event that is not complete yet; empty once it is too large.
    event: Vec<u8>,
    is_too_large: bool,
    number: u64,
}

impl Splitter {
    /// Takes the next bytes, and hands each event that is complete to `each`.
    pub fn push(&mut self, bytes: &[u8], each: &mut impl FnMut(Piece<'_>)) {
        let mut rest = bytes;
        if self.mode == Mode::Start {
            let blank = rest.iter().take_while(|byte| is_space(**byte)).count();
            self.number += rest[..blank].iter().filter(|byte| **byte == b'\n').count() as u64;
            rest = &rest[blank..];
            match rest.first() {
                None => return,
                Some(b'[') => {
                    rest = &rest[1..];
                    self.number = 0;
                    self.mode = Mode::Array { depth: 0, in_string: false, escaped: false };
                }
                Some(_) => self.mode = Mode::Lines,
            }
        }
        match self.mode {
            Mode::Lines => self.lines(rest, each),
            Mode::Array { .. } => self.array(rest, each),
            Mode::Start | Mode::Closed | Mode::After => self.after(rest),
        }
    }

    /// The sample has ended: its last line needs no newline.
    ///
    /// # Errors
    ///
    /// When it is an array that is not closed, or that something follows.
    pub fn finish(&mut self, each: &mut impl FnMut(Piece<'_>)) -> Result<(), SplitFault> {
        match self.mode {
            Mode::Lines => {
                self.number += 1;
                self.hand_over(each, false);
                Ok(())
            }
            Mode::Array { .. } => Err(SplitFault::NotClosed),
            Mode::After => Err(SplitFault::AfterArray),
            Mode::Start | Mode::Closed => Ok(()),
        }
    }

    fn lines(&mut self, bytes: &[u8], each: &mut impl FnMut(Piece<'_>)) {
        let mut rest = bytes;
        while let Some(end) = memchr::memchr(b'\n', rest) {
            self.keep(&rest[..end]);
            self.number += 1;
            self.hand_over(each, false);
            rest = &rest[end + 1..];
        }
        self.keep(rest);
    }

    fn array(&mut self, bytes: &[u8], each: &mut impl FnMut(Piece<'_>)) {
        let mut start = 0;
        for (at, byte) in bytes.iter().enumerate() {
            let Mode::Array { depth, in_string, escaped } = &mut self.mode else { break };
            if *in_string {
                match byte {
                    _ if *escaped => *escaped = false,
                    b'\\' => *escaped = true,
                    b'"' => *in_string = false,
                    _ => {}
                }
                continue;
            }
            match byte {
                b'"' => *in_string = true,
                b'[' | b'{' => *depth += 1,
                b']' | b'}' if *depth > 0 => *depth -= 1,
                b',' | b']' | b'}' if *depth == 0 => {
                    let closes = *byte != b',';
                    self.keep(&bytes[start..at]);
                    start = at + 1;
                    self.number += 1;
                    // `[]` holds no event, `[1,]` a missing one.
                    let may_be_absent = closes && self.number == 1;
                    self.hand_over(each, !may_be_absent);
                    if closes {
                        self.mode = if *byte == b']' { Mode::Closed } else { Mode::After };
                        self.after(&bytes[start..]);
                        return;
                    }
                }
                _ => {}
            }
        }
        self.keep(&bytes[start..]);
    }

    fn after(&mut self, rest: &[u8]) {
        if !rest.iter().all(|byte| is_space(*byte)) {
            self.mode = Mode::After;
        }
    }

    fn keep(&mut self, bytes: &[u8]) {
        if self.event.len() + bytes.len() > EVENT_BYTES_MAX {
            self.is_too_large = true;
            self.event = Vec::new();
        } else if !self.is_too_large {
            self.event.extend_from_slice(bytes);
        }
    }

    /// Hands the kept event over. One of white space only is none, unless there must be one.
    fn hand_over(&mut self, each: &mut impl FnMut(Piece<'_>), must_be: bool) {
        let event = self.event.trim_ascii();
        let bytes = (!self.is_too_large).then_some(event);
        if must_be || bytes.is_none_or(|event| !event.is_empty()) {
            each(Piece { number: self.number, is_line: self.mode == Mode::Lines, bytes });
        }
        self.is_too_large = false;
        self.event.clear();
    }
}

const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::decode::json;

    type Pieces = Vec<(u64, Option<String>)>;

    fn split(text: &[u8], step: usize) -> (Pieces, Result<(), SplitFault>) {
        let (mut pieces, mut splitter) = (Vec::new(), Splitter::default());
        let mut each = |piece: Piece<'_>| {
            pieces.push((piece.number, piece.bytes.map(|bytes| String::from_utf8_lossy(bytes).into_owned())));
        };
        for chunk in text.chunks(step) {
            splitter.push(chunk, &mut each);
        }
        let end = splitter.finish(&mut each);
        (pieces, end)
    }

    fn pieces(text: &str) -> Vec<(u64, String)> {
        let (pieces, end) = split(text.as_bytes(), text.len().max(1));
        assert_eq!(end, Ok(()), "{text}");
        pieces.into_iter().map(|(number, text)| (number, text.unwrap())).collect()
    }

    fn numbered(expected: &[(u64, &str)]) -> Vec<(u64, String)> {
        expected.iter().map(|(number, text)| (*number, (*text).to_owned())).collect()
    }

    #[test]
    fn lines_are_events_and_blank_ones_count_as_lines_only() {
        assert_eq!(pieces("\n{\"a\":1}\r\n  \n{}"), numbered(&[(2, "{\"a\":1}"), (4, "{}")]));
        assert_eq!(pieces(""), []);
        assert_eq!(pieces(" \n "), []);
        assert_eq!(pieces("1\n"), numbered(&[(1, "1")]));
    }

    #[test]
    fn elements_of_an_array_are_events() {
        let text = "\n [ {\"a\" : [1, \"],\\\"\"]} ,\n \"x\\\\\", 2 ]\n";
        assert_eq!(pieces(text), numbered(&[(1, "{\"a\" : [1, \"],\\\"\"]}"), (2, "\"x\\\\\""), (3, "2")]));
        assert_eq!(pieces("[]"), []);
        assert_eq!(pieces("[1,,2,]"), numbered(&[(1, "1"), (2, ""), (3, "2"), (4, "")]));
    }

    #[test]
    fn an_array_that_does_not_end_well_is_told() {
        assert_eq!(split(b"[1,2", 9).1, Err(SplitFault::NotClosed));
        for text in ["[1]x", "[1]\n[2]", "[1}"] {
            let (pieces, end) = split(text.as_bytes(), 1);
            assert_eq!((pieces.len(), end), (1, Err(SplitFault::AfterArray)), "{text}");
        }
    }

    #[test]
    fn an_event_too_large_is_left_out_and_the_next_is_not() {
        let large = [&vec![b'1'; EVENT_BYTES_MAX + 1][..], b"\n2\n"].concat();
        assert_eq!(split(&large, 1 << 20).0, [(1, None), (2, Some("2".to_owned()))]);
    }

    proptest! {
        /// However the bytes arrive, the same events are cut from them; and an array is cut as the other splitter does.
        #[test]
        fn pieces_do_not_depend_on_how_bytes_arrive(text in "\\[?[\\[\\]{}:,\"\\\\ \na01]{0,24}\\]?", step in 1_usize..8) {
            let whole = split(text.as_bytes(), text.len().max(1));
            prop_assert_eq!(&split(text.as_bytes(), step), &whole);
            if let (Some(elements), Ok(())) = (json::elements(text.as_bytes()), &whole.1) {
                let theirs: Vec<_> = elements.into_iter().map(|range| text[range].to_owned()).collect();
                let ours: Vec<_> = whole.0.into_iter().filter_map(|(_, text)| text).collect();
                prop_assert_eq!(ours, theirs);
            }
        }
    }
}
