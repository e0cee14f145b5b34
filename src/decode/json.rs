//! The JSON front door: RFC 8259, and stricter where two readers could understand one text differently.
//!
//! Refused beyond the grammar: duplicate keys in one object (compared after unescaping, RFC 8259 section 4 leaves their
//! meaning open), lone surrogates in `\u` escapes (section 8.2), a byte order mark (section 8.1 forbids writers to add
//! one), nesting past [`DEPTH_MAX`], and numbers whose magnitude overflows a double (section 6).
//!
//! Why not `serde_json` alone: it keeps the last of two duplicate keys without a word. And with `arbitrary_precision` and
//! `raw_value`, which keep numbers exact, it takes the objects `{"$serde_json::private::Number": …}` and
//! `{"$serde_json::private::RawValue": …}` for a number and for embedded JSON, so an event could be judged as something
//! its consumers never see. [`parse`] therefore builds the tree itself, from the scanned text.

mod build;
mod glance;
pub(crate) mod scan;
mod split;
pub(crate) mod strings;
pub(crate) mod token;

use std::fmt;

use serde_json::Value;

pub use glance::{Glance, glance};
pub use split::{elements, elements_at_most, lines};

/// The deepest nesting of arrays and objects that is taken: `[[…]]` with this many brackets is the limit itself.
pub const DEPTH_MAX: usize = 100;

/// Where and why bytes are not one JSON text that every reader understands alike. Never carries content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{fault} at byte {offset}")]
pub struct Malformed {
    /// From the first byte of the text, 0-based. The length of the text when it ends too early.
    pub offset: usize,
    pub fault: Fault,
}

/// What is wrong with a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// No value at all: no bytes, or only white space.
    Empty,
    ByteOrderMark,
    InvalidUtf8,
    /// The text ends inside a value.
    Truncated,
    ValueExpected,
    KeyExpected,
    ColonExpected,
    CommaOrBracketExpected,
    CommaOrBraceExpected,
    InvalidLiteral,
    InvalidNumber,
    /// The magnitude is beyond a double's (about 1.8e308), so readers would see infinity or fail.
    NumberOverflow,
    /// A control character below U+0020 stands unescaped in a string.
    ControlCharacter,
    InvalidEscape,
    /// A `\u` escape names half of a surrogate pair, which is no character.
    LoneSurrogate,
    DuplicateKey,
    TooDeep,
    TrailingBytes,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "no JSON value",
            Self::ByteOrderMark => "byte order mark",
            Self::InvalidUtf8 => "invalid UTF-8",
            Self::Truncated => "unexpected end",
            Self::ValueExpected => "a value expected",
            Self::KeyExpected => "a key in double quotes expected",
            Self::ColonExpected => "a colon expected",
            Self::CommaOrBracketExpected => "a comma or ']' expected",
            Self::CommaOrBraceExpected => "a comma or '}' expected",
            Self::InvalidLiteral => "neither true, false nor null",
            Self::InvalidNumber => "invalid number",
            Self::NumberOverflow => "number overflows a double",
            Self::ControlCharacter => "unescaped control character",
            Self::InvalidEscape => "invalid escape",
            Self::LoneSurrogate => "lone surrogate",
            Self::DuplicateKey => "duplicate key",
            Self::TooDeep => return write!(f, "nesting deeper than {DEPTH_MAX}"),
            Self::TrailingBytes => "trailing bytes",
        })
    }
}

/// Scans the text from end to end without building anything. Time is linear in its length but for objects with many
/// keys, whose keys are sorted. Memory is one entry per key of the objects open at one time.
///
/// # Errors
///
/// The first fault found. Invalid UTF-8 anywhere is found first.
pub fn check(bytes: &[u8]) -> Result<(), Malformed> {
    scan::text(bytes).map(|_| ())
}

/// The bytes as text, which may not be JSON.
///
/// # Errors
///
/// When they are not UTF-8.
pub fn text(bytes: &[u8]) -> Result<&str, Malformed> {
    scan::utf8(bytes)
}

/// [`check`], then the tree. Numbers keep their digits, keys their order.
///
/// # Errors
///
/// As [`check`].
pub fn parse(bytes: &[u8]) -> Result<Value, Malformed> {
    Ok(scan::text(bytes)?.tree())
}

/// A text that has been scanned from end to end, and found good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checked<'e>(&'e str);

impl<'e> Checked<'e> {
    pub fn text(self) -> &'e str {
        self.0
    }

    /// The tree, as [`parse`] builds it, without scanning again.
    pub fn tree(self) -> Value {
        build::tree(self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn fault(text: &str) -> (Fault, usize) {
        let malformed = check(text.as_bytes()).expect_err(text);
        assert_eq!(parse(text.as_bytes()), Err(malformed), "{text}");
        (malformed.fault, malformed.offset)
    }

    #[test]
    fn faults_are_named_with_their_offset() {
        let cases: &[(&str, Fault, usize)] = &[
            ("", Fault::Empty, 0),
            (" \n", Fault::Empty, 2),
            ("\u{feff}{}", Fault::ByteOrderMark, 0),
            ("{\"a\":1", Fault::Truncated, 6),
            ("[1,", Fault::Truncated, 3),
            ("\"ab", Fault::Truncated, 3),
            ("tru", Fault::Truncated, 3),
            ("[1,]", Fault::ValueExpected, 3),
            ("[,1]", Fault::ValueExpected, 1),
            ("NaN", Fault::ValueExpected, 0),
            ("{a:1}", Fault::KeyExpected, 1),
            ("{\"a\":1,}", Fault::KeyExpected, 7),
            ("{\"a\" 1}", Fault::ColonExpected, 5),
            ("[1 2]", Fault::CommaOrBracketExpected, 3),
            ("{\"a\":1 \"b\":2}", Fault::CommaOrBraceExpected, 7),
            ("{\"a\":1]", Fault::CommaOrBraceExpected, 6),
            ("trUe", Fault::InvalidLiteral, 0),
            ("01", Fault::InvalidNumber, 0),
            ("[-]", Fault::InvalidNumber, 1),
            ("[1.]", Fault::InvalidNumber, 1),
            ("[1e]", Fault::InvalidNumber, 1),
            ("[1e400]", Fault::NumberOverflow, 1),
            ("[-1e400]", Fault::NumberOverflow, 1),
            ("\"a\tb\"", Fault::ControlCharacter, 2),
            (r#""\x""#, Fault::InvalidEscape, 1),
            (r#""\u12g4""#, Fault::InvalidEscape, 1),
            (r#""\ud800""#, Fault::LoneSurrogate, 1),
            (r#""a\ud800\u0041""#, Fault::LoneSurrogate, 2),
            (r#""\udc00""#, Fault::LoneSurrogate, 1),
            (r#"{"a":1,"a":2}"#, Fault::DuplicateKey, 7),
            (r#"{"a":1,"\u0061":2}"#, Fault::DuplicateKey, 7),
            (r#"{"😀":1,"\ud83d\ude00":2}"#, Fault::DuplicateKey, 10),
            ("{} x", Fault::TrailingBytes, 3),
            ("1 2", Fault::TrailingBytes, 2),
        ];
        for (text, expected, offset) in cases {
            assert_eq!(fault(text), (*expected, *offset), "{text}");
        }
        assert_eq!(check(b"[\"\xff\"]"), Err(Malformed { offset: 2, fault: Fault::InvalidUtf8 }));
    }

    #[test]
    fn a_fault_reads_well_and_carries_no_content() {
        let malformed = check(br#"{"secret":1,"secret":2}"#).unwrap_err();
        assert_eq!(malformed.to_string(), "duplicate key at byte 12");
        assert_eq!(check(&nested(101)).unwrap_err().to_string(), "nesting deeper than 100 at byte 100");
    }

    fn nested(depth: usize) -> Vec<u8> {
        [vec![b'['; depth], vec![b']'; depth]].concat()
    }

    #[test]
    fn nesting_is_bounded() {
        assert!(parse(&nested(DEPTH_MAX)).is_ok());
        assert_eq!(check(&nested(DEPTH_MAX + 1)).unwrap_err().fault, Fault::TooDeep);
        assert_eq!(check(&vec![b'['; 1_000_000]).unwrap_err().fault, Fault::TooDeep);
    }

    #[test]
    fn the_same_key_in_two_objects_is_no_duplicate() {
        for text in [r#"[{"a":1},{"a":2}]"#, r#"{"a":{"a":{"a":1}},"b":{"a":2}}"#, r#"{"a":1,"A":2,"":3}"#] {
            check(text.as_bytes()).expect(text);
        }
    }

    #[test]
    fn duplicates_are_found_in_large_objects_too_and_at_the_second_occurrence() {
        let mut text = String::from("{");
        for i in 0..50_000 {
            text.push_str(&format!("\"key{i}\":{i},"));
        }
        let offset = text.len();
        let last = format!("{text}\"key17\":0}}");
        assert_eq!(fault(&last), (Fault::DuplicateKey, offset));
        check(format!("{text}\"other\":0}}").as_bytes()).unwrap();
    }

    #[test]
    fn the_tree_keeps_number_texts_key_order_and_characters() {
        let text =
            r#"{"z":12345678901234567890,"a":[1.10,-0,1E5,1e+5,0.1e-2,true,false,null],"t":"\u00e9\n\ud83d\ude00\/é"}"#;
        let value = parse(text.as_bytes()).unwrap();
        // serde_json writes an exponent its own way, digits stay.
        assert_eq!(value["a"].to_string(), "[1.10,-0,1e+5,1e+5,0.1e-2,true,false,null]");
        assert_eq!(value["z"].to_string(), "12345678901234567890");
        assert_eq!(value["t"], json!("é\n😀/é"));
        assert_eq!(value.as_object().unwrap().keys().collect::<Vec<_>>(), ["z", "a", "t"]);
    }

    #[test]
    fn serde_json_private_keys_are_ordinary_keys() {
        for key in ["$serde_json::private::Number", "$serde_json::private::RawValue"] {
            let text = format!("{{\"{key}\":\"12\"}}");
            let value = parse(text.as_bytes()).unwrap();
            assert_eq!(value.as_object().unwrap().get(key), Some(&json!("12")), "{value}");
        }
    }

    /// JSON texts, good and slightly broken, with duplicate keys and odd spacing now and then.
    fn text() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![
            Just("null".to_owned()),
            Just("true".to_owned()),
            any::<i64>().prop_map(|n| n.to_string()),
            "-?(0|[1-9][0-9]{0,25})(\\.[0-9]{1,5})?([eE][+-]?[0-9]{1,3})?",
            "\"[ -!#-\\[\\]-~é😀]{0,6}\"",
            "\"(\\\\[bfnrt\"/u\\\\]|\\\\u[0-9a-fA-F]{4}|[a-z]){0,4}\"",
        ];
        let tree = leaf.prop_recursive(5, 40, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(|v| format!("[{}]", v.join(" , "))),
                prop::collection::vec(("[a-d]|\\\\u006[1-4]", inner), 0..5).prop_map(|entries| {
                    let entries: Vec<_> = entries.iter().map(|(k, v)| format!("\"{k}\":{v}")).collect();
                    format!("{{{}}}", entries.join(",\n"))
                }),
            ]
        });
        (tree, prop::option::of((any::<prop::sample::Index>(), "[\\[\\]{},:\"0-9a-z.\\\\-]"))).prop_map(
            |(mut text, edit)| {
                if let Some((at, with)) = edit {
                    let at = at.index(text.len() + 1);
                    if text.is_char_boundary(at) {
                        text.insert_str(at, &with);
                    }
                }
                text
            },
        )
    }

    /// The differences from serde_json that are on purpose; those of the grammar proper are none.
    fn stricter(fault: Fault) -> bool {
        matches!(fault, Fault::DuplicateKey | Fault::TooDeep | Fault::NumberOverflow)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn agrees_with_serde_json(text in text()) {
            let theirs = serde_json::from_str::<Value>(&text);
            match parse(text.as_bytes()) {
                Ok(ours) => {
                    prop_assert_eq!(&ours, &theirs.expect("theirs accepts what ours does"));
                    // Round trip: what serde_json writes of our tree is the same tree to us.
                    let written = serde_json::to_vec(&ours).unwrap();
                    prop_assert_eq!(parse(&written), Ok(ours));
                }
                Err(malformed) => {
                    prop_assert!(theirs.is_err() || stricter(malformed.fault), "{} in {}", malformed, text);
                    prop_assert!(malformed.offset <= text.len());
                }
            }
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(check(&bytes).is_ok(), parse(&bytes).is_ok());
            let _ = elements(&bytes);
            let _ = lines(&bytes).count();
        }

        #[test]
        fn no_json_like_bytes_panic(text in "[\\[\\]{}:,\"\\\\u0-9a-fdtrulse.+ -]{0,60}") {
            prop_assert_eq!(check(text.as_bytes()).is_ok(), parse(text.as_bytes()).is_ok());
            let _ = elements(text.as_bytes());
        }
    }
}
