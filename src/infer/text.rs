//! What the strings at one path have in common: formats, a shape, lengths, or so few values that they may be all there are.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use jsonschema::{Draft, Validator};
use serde_json::{Value, json};

/// From how many values on something they have in common is taken for more than chance.
pub(super) const EVIDENCE_MIN: u64 = 10;

/// The most different strings that may be all there are.
pub(super) const ENUM_MAX: usize = 20;
/// How often each of them must have come, on average.
const ENUM_REPEATS_MIN: u64 = 5;
/// The longest string, in bytes, that may be one of a few.
const ENUM_BYTES_MAX: usize = 64;

/// From how many different values on a shape, or a length, is taken for more than chance.
const VARIETY_MIN: usize = 3;
/// The longest string, in bytes, and the most parts of it, that a shape is sought in.
const SHAPE_BYTES_MAX: usize = 64;
const SHAPE_RUNS_MAX: usize = 12;
/// The shortest text of letters up to f that is taken for a hexadecimal number, in characters: `added` is a word.
const HEX_LENGTH_MIN: usize = 8;
/// The longest fixed length that is taken for more than chance, in characters.
const LENGTH_MAX: usize = 128;

/// Formats that are looked for, and validated as the gate validates them.
const FORMATS: [&str; 5] = ["date-time", "date", "email", "uri", "uuid"];

/// The validators of [`FORMATS`].
#[derive(Debug)]
pub(super) struct Formats([Option<Validator>; FORMATS.len()]);

impl Formats {
    pub fn new() -> Self {
        let options = jsonschema::options().with_draft(Draft::Draft202012).should_validate_formats(true);
        Self(FORMATS.map(|name| options.build(&json!({"format": name})).ok()))
    }

    /// A URI is so much (`a:b`) that only those count which say that they are one.
    fn holds(&self, index: usize, text: &str) -> bool {
        let is_meant = FORMATS[index] != "uri" || text.contains("://") || text.starts_with("urn:");
        is_meant && self.0[index].as_ref().is_some_and(|validator| validator.is_valid(&Value::from(text)))
    }
}

/// What is known of the strings at one path.
#[derive(Debug)]
pub(super) struct Texts {
    pub count: u64,
    /// Characters (Unicode scalar values), as JSON Schema counts them: the shortest, the longest.
    pub lengths: (usize, usize),
    /// Which of [`FORMATS`] all have had so far.
    formats: [bool; FORMATS.len()],
    /// All different ones; `None` once they are too many or too long.
    few: Option<BTreeSet<Box<str>>>,
    shape: Option<Shape>,
    pub has_spaces: bool,
    /// All are small hexadecimal digits: hashes, and ids of traces.
    is_hex: bool,
}

impl Texts {
    pub fn new() -> Self {
        Self {
            count: 0,
            lengths: (usize::MAX, 0),
            formats: [true; FORMATS.len()],
            few: Some(BTreeSet::new()),
            shape: None,
            has_spaces: false,
            is_hex: true,
        }
    }

    pub fn add(&mut self, text: &str, formats: &Formats) {
        let length = text.chars().count();
        self.lengths = (self.lengths.0.min(length), self.lengths.1.max(length));
        self.has_spaces |= text.contains(char::is_whitespace);
        self.is_hex = self.is_hex && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        for (index, holds) in self.formats.iter_mut().enumerate() {
            *holds = *holds && formats.holds(index, text);
        }
        self.shape = match (self.count, self.shape.take()) {
            (0, _) => Shape::of(text),
            (_, Some(so_far)) => Shape::of(text).and_then(|shape| so_far.merged(&shape)),
            (_, None) => None,
        };
        self.count += 1;
        let few = self.few.take().filter(|_| is_choice(text));
        self.few = few.and_then(|mut few| {
            if !few.contains(text) {
                few.insert(text.into());
            }
            (few.len() <= ENUM_MAX).then_some(few)
        });
    }

    /// The first format that all values have.
    pub fn format(&self) -> Option<&'static str> {
        FORMATS.iter().zip(self.formats).find(|(_, holds)| *holds).map(|(name, _)| *name)
    }

    /// All values, where they are few and came often. One value alone is none: it may be the only one that was sampled.
    pub fn enumeration(&self) -> Option<&BTreeSet<Box<str>>> {
        let few = self.few.as_ref().filter(|few| few.len() > 1)?;
        let is_repeated = self.count >= EVIDENCE_MIN && self.count >= ENUM_REPEATS_MIN * few.len() as u64;
        (is_repeated && self.format().is_none()).then_some(few)
    }

    /// A pattern all values match, where it says more than that they are words. `distinct` is how many different values
    /// there are.
    pub fn pattern(&self, distinct: usize) -> Option<String> {
        let is_sure = self.count >= EVIDENCE_MIN && distinct >= VARIETY_MIN && self.format().is_none();
        let of_shape = self.shape.as_ref().filter(|_| is_sure).and_then(Shape::pattern);
        let length = self.fixed_length(distinct).filter(|length| self.is_hex && *length >= HEX_LENGTH_MIN);
        of_shape.or_else(|| length.map(|length| format!("^[0-9a-f]{{{length}}}$")))
    }

    /// Whether all are made of digits alone.
    pub fn are_digits(&self) -> bool {
        self.shape.as_ref().is_some_and(|shape| matches!(&shape.0[..], [Run { class: Class::Digits, .. }]))
    }

    /// The length of all values, in characters, where they have one.
    pub fn fixed_length(&self, distinct: usize) -> Option<usize> {
        let (shortest, longest) = self.lengths;
        let is_sure = self.count >= EVIDENCE_MIN && distinct >= VARIETY_MIN && self.format().is_none();
        (is_sure && shortest == longest && (1..=LENGTH_MAX).contains(&longest)).then_some(longest)
    }
}

/// Whether a text may be one of a few that are chosen from. Three digits in a row name one thing among many; more than three
/// words are a sentence; and an address leads to one thing.
fn is_choice(text: &str) -> bool {
    let holds_number = text.as_bytes().windows(3).any(|three| three.iter().all(u8::is_ascii_digit));
    text.len() <= ENUM_BYTES_MAX && !holds_number && text.split_whitespace().count() <= 3 && !text.contains("://")
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Digits,
    Upper,
    Lower,
    Mark,
}

/// Characters of one class that follow each other.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Run {
    class: Class,
    /// What it is in all values; `None` where it differs. Digits are never kept: they are what identifies.
    text: Option<String>,
    least: usize,
    most: usize,
}

/// The runs that all values are made of.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Shape(Vec<Run>);

impl Shape {
    /// `None` for an empty text, and for one that is no code: too long, with spaces, or not ASCII.
    fn of(text: &str) -> Option<Self> {
        if text.is_empty() || text.len() > SHAPE_BYTES_MAX {
            return None;
        }
        let mut runs: Vec<Run> = Vec::new();
        for c in text.chars() {
            let class = match c {
                '0'..='9' => Class::Digits,
                'A'..='Z' => Class::Upper,
                'a'..='z' => Class::Lower,
                '-' | '_' | '.' | ':' | '/' | '#' => Class::Mark,
                _ => return None,
            };
            match runs.last_mut().filter(|run| run.class == class) {
                Some(run) => {
                    run.most += 1;
                    run.least += 1;
                    run.text.iter_mut().for_each(|text| text.push(c));
                }
                None => {
                    let text = (class != Class::Digits).then(|| c.to_string());
                    runs.push(Run { class, text, least: 1, most: 1 });
                }
            }
        }
        (runs.len() <= SHAPE_RUNS_MAX).then_some(Self(runs))
    }

    /// What both have; `None` when they are made differently.
    fn merged(mut self, other: &Self) -> Option<Self> {
        if self.0.len() != other.0.len() {
            return None;
        }
        for (run, other) in self.0.iter_mut().zip(&other.0) {
            let differs = run.text != other.text;
            if run.class != other.class || run.class == Class::Mark && differs {
                return None;
            }
            if differs {
                run.text = None;
            }
            run.least = run.least.min(other.least);
            run.most = run.most.max(other.most);
        }
        Some(self)
    }

    /// Anchored, of ECMA-262. `None` for words, which say nothing about the next word: letters must be the same in all
    /// values, or capital.
    fn pattern(&self) -> Option<String> {
        let says_something = |run: &Run| match run.class {
            Class::Digits => true,
            Class::Upper => run.text.is_none() && run.least == run.most,
            Class::Lower | Class::Mark => false,
        };
        let is_word = |run: &Run| run.class == Class::Lower && run.text.is_none();
        if !self.0.iter().any(says_something) || self.0.iter().any(is_word) {
            return None;
        }
        let is_one_run = self.0.len() == 1;
        let mut pattern = String::from("^");
        for run in &self.0 {
            if let Some(text) = &run.text {
                for c in text.chars() {
                    let _ = if c == '.' { write!(pattern, "\\.") } else { write!(pattern, "{c}") };
                }
                continue;
            }
            pattern.push_str(if run.class == Class::Digits { "[0-9]" } else { "[A-Z]" });
            // A number behind a prefix grows by a digit some day; a code of digits alone is as long as it is.
            let is_fixed = run.least == run.most && (run.class == Class::Upper || is_one_run);
            let _ = if is_fixed { write!(pattern, "{{{}}}", run.most) } else { write!(pattern, "+") };
        }
        pattern.push('$');
        Some(pattern)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts<'t>(values: impl IntoIterator<Item = &'t str>) -> Texts {
        let (mut texts, formats) = (Texts::new(), Formats::new());
        values.into_iter().for_each(|value| texts.add(value, &formats));
        texts
    }

    fn pattern(values: &[&str]) -> Option<String> {
        let repeated = values.iter().copied().cycle().take(values.len().max(20));
        texts(repeated).pattern(values.len())
    }

    #[test]
    fn ids_have_a_pattern_and_words_have_none() {
        for (values, expected) in [
            (["O-1", "O-22", "O-333"], Some("^O-[0-9]+$")),
            (["10117", "80331", "01067"], Some("^[0-9]{5}$")),
            (["1", "22", "333"], Some("^[0-9]+$")),
            (["EUR", "USD", "CHF"], Some("^[A-Z]{3}$")),
            (["BOOK-42", "CARD-7", "PEN-1"], Some("^[A-Z]+-[0-9]+$")),
            (["1.2.3", "1.2.4", "10.0.0"], Some("^[0-9]+\\.[0-9]+\\.[0-9]+$")),
            (["sku1", "sku2", "sku3"], Some("^sku[0-9]+$")),
            (["web", "app", "store"], None),
            (["ada1", "bob2", "eve3"], None),
            (["A", "BB", "CCC"], None),
            (["O-1", "O_2", "O-3"], None),
            (["a b1", "a b2", "a b3"], None),
            (["", "1", "2"], None),
        ] {
            assert_eq!(pattern(&values).as_deref(), expected, "{values:?}");
        }
        let hex = ["00000000", "deadbeef", "0123abcd"];
        assert_eq!(pattern(&hex).as_deref(), Some("^[0-9a-f]{8}$"));
        assert_eq!(texts(["O-1", "O-2", "O-3"]).pattern(3), None, "three values are no evidence");
    }

    #[test]
    fn a_format_is_one_that_all_values_have() {
        let format = |values: &[&str]| texts(values.iter().copied()).format();
        assert_eq!(format(&["2026-11-22T10:00:00Z", "2026-11-22T10:00:00.5+01:00"]), Some("date-time"));
        assert_eq!(format(&["2026-11-22"]), Some("date"));
        assert_eq!(format(&["2026-11-22", "2026-11-31"]), None);
        assert_eq!(format(&["ada@example.com"]), Some("email"));
        assert_eq!(format(&["https://example.com/a", "urn:a:b"]), Some("uri"));
        assert_eq!(format(&["sku:12"]), None);
        assert_eq!(format(&["7b5a0b04-3c2f-4d6e-9f58-0a1b2c3d4e5F"]), Some("uuid"));
        assert_eq!(format(&["ada@example.com", ""]), None);
    }

    #[test]
    fn few_values_that_come_often_are_an_enumeration() {
        let few = |values: &[&'static str], times: usize| {
            let all = values.iter().copied().cycle().take(values.len() * times);
            texts(all).enumeration().map(|few| few.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
        };
        assert_eq!(few(&["web", "app"], 5).as_deref(), Some("app web"));
        assert_eq!(few(&["web", "app"], 4), None);
        assert_eq!(few(&["web"], 50), None);
        assert_eq!(few(&["A4", "A5"], 50).as_deref(), Some("A4 A5"));
        assert_eq!(few(&["C-1001", "C-1002"], 50), None);
        assert_eq!(few(&["in progress", "done"], 50).as_deref(), Some("done in progress"));
        assert_eq!(few(&["the door is shut", "done"], 50), None);
        assert_eq!(few(&["http://a{/b}", "http://c{/b}"], 50), None);
        assert_eq!(few(&["2026-11-22", "2026-11-23"], 50), None);
        let many: Vec<String> = (0..=ENUM_MAX).map(|n| n.to_string()).collect();
        assert!(texts(many.iter().map(String::as_str).cycle().take(1_000)).enumeration().is_none());
    }

    #[test]
    fn lengths_are_of_characters() {
        let some = texts(["éa", "bb", "cc"].into_iter().cycle().take(12));
        assert_eq!((some.lengths, some.fixed_length(3)), ((2, 2), Some(2)));
        assert_eq!(texts(["a", "bb", "cc"].into_iter().cycle().take(12)).fixed_length(3), None);
    }
}
