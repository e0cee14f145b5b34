//! Captures filled by the simplest walk there is: for tests of what reads them.
//!
//! The plan's own walk decides, checks and keeps in one pass; here is only what is kept, so that an error of one is not an
//! error of both.

use super::{Captures, PlaceId, Reads, Row};

/// Captures what is read of a well-formed event without duplicate keys. `None` when it has too many elements.
pub fn fill(reads: &Reads, text: &str, captures: &mut Captures) -> Option<()> {
    captures.begin(reads);
    let mut walk = Walk { reads, text, captures, at: 0 };
    walk.space();
    walk.value(Some((Reads::EVENT, Row::EVENT)))
}

struct Walk<'w> {
    reads: &'w Reads,
    text: &'w str,
    captures: &'w mut Captures,
    at: usize,
}

impl Walk<'_> {
    /// Walks past the value that begins here.
    fn value(&mut self, place: Option<(PlaceId, Row)>) -> Option<()> {
        let start = self.at;
        let mut rows = None;
        match self.peek() {
            b'{' => self.object(place)?,
            b'[' => rows = self.array(place)?,
            b'"' => self.string(),
            _ => self.at += self.rest().find([',', ']', '}', ' ', '\n', '\t', '\r']).unwrap_or(self.rest().len()),
        }
        if let Some((id, row)) = place
            && let Some(slot) = self.reads.place(id).slot()
        {
            let text = &self.text[start..self.at];
            let integer = if text.trim_start_matches('-').len() <= 18 { text.parse().ok() } else { None };
            self.captures.keep(row, slot, start..self.at, text.starts_with('"') && text.contains('\\'), integer);
            if let Some((first, count)) = rows {
                self.captures.keep_rows(row, slot, first, count);
            }
        }
        Some(())
    }

    fn object(&mut self, place: Option<(PlaceId, Row)>) -> Option<()> {
        self.step();
        while self.peek() != b'}' {
            let start = self.at;
            self.string();
            let key: String = serde_json::from_str(&self.text[start..self.at]).ok()?;
            self.space();
            self.step();
            let child = place.and_then(|(id, row)| Some((self.reads.place(id).child(&key)?, row)));
            self.value(child)?;
            self.space();
            if self.peek() == b',' {
                self.step();
            }
        }
        self.at += 1;
        Some(())
    }

    /// The rows of the elements, where they are looked at: the first, and how many.
    fn array(&mut self, place: Option<(PlaceId, Row)>) -> Option<Option<(Row, usize)>> {
        let elements = place.and_then(|(id, _)| self.reads.place(id).elements());
        let frame = elements.map(|elements| self.reads.place(elements).frame());
        // All rows first, so that they follow each other, whatever is inside the elements.
        let first = frame.map(|frame| self.captures.next_row(frame));
        let start = self.at;
        let count = self.elements(&mut |walk, _| walk.value(None))?;
        if let (Some(elements), Some(frame)) = (elements, frame) {
            let rows: Option<Vec<Row>> = (0..count).map(|_| self.captures.open_row(frame)).collect();
            let rows = rows?;
            self.at = start;
            self.elements(&mut |walk, index| walk.value(Some((elements, rows[index]))))?;
        }
        Some(first.map(|first| (first, count)))
    }

    fn elements(&mut self, visit: &mut dyn FnMut(&mut Self, usize) -> Option<()>) -> Option<usize> {
        let mut count = 0;
        self.step();
        while self.peek() != b']' {
            visit(self, count)?;
            count += 1;
            self.space();
            if self.peek() == b',' {
                self.step();
            }
        }
        self.at += 1;
        Some(count)
    }

    fn string(&mut self) {
        self.at += 1;
        while self.peek() != b'"' {
            self.at += if self.peek() == b'\\' { 2 } else { 1 };
        }
        self.at += 1;
    }

    fn step(&mut self) {
        self.at += 1;
        self.space();
    }

    fn space(&mut self) {
        self.at += self.rest().len() - self.rest().trim_start_matches([' ', '\n', '\t', '\r']).len();
    }

    fn peek(&self) -> u8 {
        self.text.as_bytes()[self.at]
    }

    fn rest(&self) -> &str {
        &self.text[self.at..]
    }
}
