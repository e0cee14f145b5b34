//! The tree of a text the scanner has passed.

use serde_json::{Map, Number, Value};

use super::strings::escaped_char;

/// Builds the tree. `text` has been scanned: the grammar holds, and nesting is bounded, so recursion is too.
pub(super) fn tree(text: &str) -> Value {
    Builder { text, at: 0 }.value()
}

struct Builder<'a> {
    text: &'a str,
    at: usize,
}

impl Builder<'_> {
    fn value(&mut self) -> Value {
        match self.next_token() {
            b'{' => self.object(),
            b'[' => self.array(),
            b'"' => Value::String(self.string()),
            b't' => self.skip(4, Value::Bool(true)),
            b'f' => self.skip(5, Value::Bool(false)),
            b'n' => self.skip(4, Value::Null),
            _ => self.number(),
        }
    }

    fn object(&mut self) -> Value {
        self.at += 1;
        let mut object = Map::new();
        loop {
            match self.next_token() {
                b'"' => {
                    let key = self.string();
                    self.next_token();
                    self.at += 1;
                    object.insert(key, self.value());
                }
                b',' => self.at += 1,
                _ => return self.skip(1, Value::Object(object)),
            }
        }
    }

    fn array(&mut self) -> Value {
        self.at += 1;
        let mut array = Vec::new();
        loop {
            match self.next_token() {
                b',' => self.at += 1,
                b']' | END => return self.skip(1, Value::Array(array)),
                _ => array.push(self.value()),
            }
        }
    }

    fn string(&mut self) -> String {
        self.at += 1;
        let mut string = String::new();
        loop {
            let rest = &self.text[self.at..];
            let plain = rest.bytes().position(|byte| matches!(byte, b'"' | b'\\')).unwrap_or(rest.len());
            string.push_str(&rest[..plain]);
            self.at += plain;
            match escaped_char(&rest.as_bytes()[plain..]) {
                Some((character, length)) if rest.as_bytes()[plain] == b'\\' => {
                    string.push(character);
                    self.at += length;
                }
                _ => return self.skip(1, string),
            }
        }
    }

    fn number(&mut self) -> Value {
        let rest = &self.text[self.at..];
        let end = rest.bytes().position(|b| matches!(b, b',' | b']' | b'}' | b' ' | b'\t' | b'\n' | b'\r'));
        let end = end.unwrap_or(rest.len());
        let number = rest[..end].parse::<Number>().map_or(Value::Null, Value::Number);
        self.skip(end.max(1), number)
    }

    /// Skips white space and says what stands there.
    fn next_token(&mut self) -> u8 {
        let bytes = self.text.as_bytes();
        while matches!(bytes.get(self.at), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
        bytes.get(self.at).copied().unwrap_or(END)
    }

    fn skip<T>(&mut self, bytes: usize, then: T) -> T {
        self.at += bytes;
        then
    }
}

/// Stands for the end of the text, which a scanned text never reaches inside a value.
const END: u8 = 0;
