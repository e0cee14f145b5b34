//! What was seen at one path, and below it.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use serde_json::{Map, Number, Value};

use super::distinct::Distinct;
use super::private::{self, LOOKS_COUNT};
use super::text::{Formats, Texts};
use crate::rule::number::Decimal;

/// The deepest nesting of arrays and objects that is described. A schema nests twice as deep as what it describes, and is
/// itself read as JSON.
pub const DEPTH_MAX: usize = 32;
/// The most paths described, of the events of one type.
pub const PATHS_OF_TYPE_MAX: usize = 2_000;
/// The most paths described, of all types together.
pub const PATHS_MAX: usize = 10_000;
/// The most values told apart, of all paths together: some 40 MB.
const HASHES_MAX: usize = 2_000_000;
/// The most keys of one object that are taken for names of fields. What has more is taken for a map.
pub const KEYS_MAX: usize = 100;
/// The longest name of a field, in bytes.
const KEY_BYTES_MAX: usize = 64;
/// The longest text of a number, in bytes, that ranges are told of.
const NUMBER_BYTES_MAX: usize = 40;

/// What all paths share.
#[derive(Debug)]
pub(super) struct Room {
    /// How many more paths may be described, in all and of the type at hand.
    pub paths: usize,
    pub paths_of_type: usize,
    pub hashes: usize,
    pub formats: Formats,
    pub hit: Hit,
}

/// Which bounds were met.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Hit {
    pub paths: bool,
    pub depth: bool,
}

impl Room {
    pub fn new() -> Self {
        Self {
            paths: PATHS_MAX,
            paths_of_type: PATHS_OF_TYPE_MAX,
            hashes: HASHES_MAX,
            formats: Formats::new(),
            hit: Hit::default(),
        }
    }

    /// A node for one more path, where there is room for it. Room that is used up stays so: a path is looked at in all
    /// events, or in none.
    fn node(&mut self) -> Option<Node> {
        if self.paths == 0 || self.paths_of_type == 0 {
            self.hit.paths = true;
            return None;
        }
        self.paths -= 1;
        self.paths_of_type -= 1;
        Some(Node::default())
    }
}

/// The types of JSON Schema, in the order they are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Object,
    Array,
    String,
    Integer,
    Number,
    Boolean,
    Null,
}

impl Kind {
    pub const ALL: [Self; 7] =
        [Self::Object, Self::Array, Self::String, Self::Integer, Self::Number, Self::Boolean, Self::Null];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Object => "object",
            Self::Array => "array",
            Self::String => "string",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::Boolean => "boolean",
            Self::Null => "null",
        }
    }

    fn of(value: &Value) -> Self {
        match value {
            Value::Object(_) => Self::Object,
            Value::Array(_) => Self::Array,
            Value::String(_) => Self::String,
            // Written as one: 1.0 is the beginning of prices, not of counts.
            Value::Number(number) if number.as_str().bytes().all(|b| b.is_ascii_digit() || b == b'-') => Self::Integer,
            Value::Number(_) => Self::Number,
            Value::Bool(_) => Self::Boolean,
            Value::Null => Self::Null,
        }
    }
}

/// The smallest and the largest number of a path, each with the length of its text and the text as it was written.
#[derive(Debug)]
pub(super) struct Range {
    least: (Decimal, usize, Box<str>),
    most: (Decimal, usize, Box<str>),
}

impl Range {
    pub fn least(&self) -> &str {
        &self.least.2
    }

    pub fn most(&self) -> &str {
        &self.most.2
    }
}

/// What was seen at one path.
#[derive(Debug, Default)]
pub(super) struct Node {
    pub count: u64,
    kinds: [u64; Kind::ALL.len()],
    pub distinct: Distinct,
    pub texts: Option<Box<Texts>>,
    pub range: Option<Box<Range>>,
    /// A number too long to compare was among them.
    is_unranged: bool,
    /// How many values have each of the looks.
    pub looks: [u64; LOOKS_COUNT],
    pub members: Members,
    pub items: Option<Box<Self>>,
    /// How many members the arrays have together.
    pub elements: u64,
}

/// The members of all objects at one path.
#[derive(Debug, Default)]
pub(super) struct Members {
    index: BTreeMap<Box<str>, usize>,
    /// In the order they came first.
    named: Vec<(Box<str>, Node)>,
    /// The values whose keys name no field, but are values themselves.
    pub rest: Option<Box<Node>>,
    /// How many of those keys have each of the looks.
    pub key_looks: [u64; LOOKS_COUNT],
    /// Some members were not looked at.
    pub is_partial: bool,
    /// There were too many keys to be names of fields.
    pub is_crowded: bool,
}

impl Members {
    /// The fields, by name, in the order they came first. Of a crowd of keys only those that all objects have.
    pub fn named(&self, objects: u64) -> impl Iterator<Item = (&str, &Node)> {
        let named = self.named.iter().filter(move |(_, node)| !self.is_crowded || node.count == objects);
        named.map(|(key, node)| (&**key, node))
    }

    /// What all members hold, where none has a name of its own.
    pub fn of_map(&self) -> Option<&Node> {
        self.rest.as_deref().filter(|_| self.named.is_empty() && !self.is_partial)
    }

    fn observe(&mut self, object: &Map<String, Value>, depth: usize, room: &mut Room) {
        for (key, value) in object {
            if let Some(at) = self.index.get(key.as_str()) {
                self.named[*at].1.observe(value, depth, room);
                continue;
            }
            let is_name = is_name(key);
            if is_name && self.named.len() < KEYS_MAX {
                match room.node() {
                    Some(mut node) => {
                        node.observe(value, depth, room);
                        self.index.insert(key.as_str().into(), self.named.len());
                        self.named.push((key.as_str().into(), node));
                    }
                    None => self.is_partial = true,
                }
                continue;
            }
            self.is_crowded |= is_name;
            add_looks(&mut self.key_looks, key);
            if self.rest.is_none() {
                self.rest = room.node().map(Box::new);
            }
            match &mut self.rest {
                Some(rest) => rest.observe(value, depth, room),
                None => self.is_partial = true,
            }
        }
    }
}

/// Whether a key is the name of a field, as far as can be seen: ids, dates, addresses and sentences are none.
fn is_name(key: &str) -> bool {
    let mut digits = 0_usize;
    let has_long_number = key.bytes().any(|byte| {
        digits = if byte.is_ascii_digit() { digits + 1 } else { 0 };
        digits >= 4
    });
    let is_text = |c: char| c.is_whitespace() || c.is_control();
    key.len() <= KEY_BYTES_MAX
        && !has_long_number
        && !key.contains(is_text)
        && !key.chars().skip(1).any(|c| c == '@')
        && (key.is_empty() || key.bytes().any(|byte| !byte.is_ascii_digit()))
}

fn add_looks(sum: &mut [u64; LOOKS_COUNT], text: &str) {
    for (sum, has) in sum.iter_mut().zip(private::looks(text)) {
        *sum += u64::from(has);
    }
}

impl Node {
    /// Takes in one more value. `depth` is how many arrays and objects it stands in.
    pub fn observe(&mut self, value: &Value, depth: usize, room: &mut Room) {
        self.count += 1;
        self.kinds[Kind::of(value) as usize] += 1;
        match value {
            Value::Null => {}
            Value::Bool(value) => self.distinct.add(value, &mut room.hashes),
            Value::Number(number) => self.observe_number(number, room),
            Value::String(text) => {
                self.distinct.add(text, &mut room.hashes);
                add_looks(&mut self.looks, text);
                self.texts.get_or_insert_with(|| Box::new(Texts::new())).add(text, &room.formats);
            }
            Value::Array(_) | Value::Object(_) if depth >= DEPTH_MAX => {
                room.hit.depth = true;
                self.members.is_partial = true;
            }
            Value::Array(elements) => {
                self.elements += elements.len() as u64;
                for element in elements {
                    if self.items.is_none() {
                        self.items = room.node().map(Box::new);
                    }
                    if let Some(items) = &mut self.items {
                        items.observe(element, depth + 1, room);
                    }
                }
            }
            Value::Object(members) => self.members.observe(members, depth + 1, room),
        }
    }

    fn observe_number(&mut self, number: &Number, room: &mut Room) {
        let text = number.as_str();
        self.distinct.add(&text, &mut room.hashes);
        add_looks(&mut self.looks, text);
        if text.len() > NUMBER_BYTES_MAX {
            self.is_unranged = true;
            return;
        }
        // Of one number written in several ways, the plainest is told.
        let found = || (Decimal::of(number), text.len(), Box::from(text));
        match &mut self.range {
            None => self.range = Some(Box::new(Range { least: found(), most: found() })),
            Some(range) => {
                let found = found();
                if found < range.least {
                    range.least = found;
                } else if (&found.0, Reverse((found.1, &found.2)))
                    > (&range.most.0, Reverse((range.most.1, &range.most.2)))
                {
                    range.most = found;
                }
            }
        }
    }

    /// How many of its values are of a kind.
    pub fn of_kind(&self, kind: Kind) -> u64 {
        self.kinds[kind as usize]
    }

    /// The types it has; integers are numbers where it has both.
    pub fn types(&self) -> Vec<Kind> {
        let has = |kind| self.of_kind(kind) > 0;
        let is_told = |kind: &Kind| has(*kind) && !(*kind == Kind::Integer && has(Kind::Number));
        Kind::ALL.into_iter().filter(is_told).collect()
    }

    /// The types without null, where there is exactly one.
    pub fn only_type(&self) -> Option<Kind> {
        let types = self.types();
        let mut types = types.iter().filter(|kind| **kind != Kind::Null);
        types.next().copied().filter(|_| types.next().is_none())
    }

    /// The range of its numbers, where all could be compared and not all are the same.
    pub fn range(&self) -> Option<&Range> {
        self.range.as_deref().filter(|range| !self.is_unranged && range.least.0 != range.most.0)
    }

    /// The member of that name.
    pub fn member(&self, name: &str) -> Option<&Self> {
        self.members.index.get(name).map(|at| &self.members.named[*at].1)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn node(values: &[Value]) -> (Node, Room) {
        let (mut node, mut room) = (Node::default(), Room::new());
        values.iter().for_each(|value| node.observe(value, 0, &mut room));
        (node, room)
    }

    #[test]
    fn integers_are_told_from_numbers_by_how_they_are_written() {
        let types = |values: &[Value]| node(values).0.types();
        assert_eq!(types(&[json!(1), json!(-2), json!(null)]), [Kind::Integer, Kind::Null]);
        assert_eq!(types(&[json!(1), json!(2.5)]), [Kind::Number]);
        assert_eq!(types(&[serde_json::from_str("1.0").unwrap()]), [Kind::Number]);
        assert_eq!(types(&[serde_json::from_str("12345678901234567890123").unwrap()]), [Kind::Integer]);
    }

    #[test]
    fn ranges_are_exact() {
        let numbers = ["10", "9.5", "1e1", "-0.1", "12345678901234567890123"];
        let values: Vec<Value> = numbers.iter().map(|text| serde_json::from_str(text).unwrap()).collect();
        let (node, _) = node(&values);
        let range = node.range().unwrap();
        assert_eq!((range.least(), range.most()), ("-0.1", "12345678901234567890123"));
        assert!(super::tests::node(&[json!(1), json!(1)]).0.range().is_none());
    }

    #[test]
    fn keys_that_are_values_name_no_field() {
        for key in ["a", "order_id", "Größe", "@type", "line1", "sha256", "", "a-b.c", "$ref"] {
            assert!(is_name(key), "{key}");
        }
        for key in ["12", "C-1001", "2026-11-22", "a@b.example", "two words", &"x".repeat(65)] {
            assert!(!is_name(key), "{key}");
        }
        let (map, _) = node(&[json!({"C-1001": 1, "C-1002": 2.5}), json!({"C-1001": 3})]);
        assert_eq!(map.members.of_map().unwrap().types(), [Kind::Number]);
        assert_eq!(map.members.named(2).count(), 0);
    }

    #[test]
    fn a_crowd_of_keys_is_a_map() {
        let letters = |n: usize| char::from(b'a' + (n % 26) as u8);
        let crowd: Map<String, Value> =
            (0..150).map(|n| (format!("{}{}", letters(n / 26), letters(n)), json!(n))).collect();
        let mut with = crowd.clone();
        with.shift_insert(0, "always".to_owned(), json!(1));
        let (map, _) = node(&[Value::Object(with), json!({"always": 2})]);
        assert!(map.members.is_crowded && map.members.of_map().is_none());
        assert_eq!(map.members.named(2).map(|(key, _)| key).collect::<Vec<_>>(), ["always"]);
    }

    #[test]
    fn what_is_too_deep_or_too_much_is_told_and_not_described() {
        let mut deep = json!(1);
        (0..40).for_each(|_| deep = json!([deep]));
        let (_, room) = node(&[deep]);
        assert!(room.hit.depth && !room.hit.paths);
        let wide: Vec<Value> = (0..30)
            .map(|n| {
                let letters = |m: usize| format!("k{}", "a".repeat(m + 1));
                let inner: Map<String, Value> = (0..60).map(|m| (letters(m), json!(1))).collect();
                json!({ letters(n): inner.clone(), format!("{}z", letters(n)): inner })
            })
            .collect();
        let (_, room) = node(&wide);
        assert!(room.hit.paths && room.paths_of_type == 0);
    }
}
