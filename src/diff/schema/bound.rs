//! Which kinds of value a schema leaves, and numbers that can be compared for certain.

use jsonschema::Draft;
use serde_json::{Map, Number, Value};

use crate::rule::number::Decimal;

/// A set of the kinds of value that JSON Schema tells apart. Draft 4 tells `1` from `1.0`, so that whole numbers are two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Kinds(u8);

impl Kinds {
    const NULL: Self = Self(1);
    const BOOL: Self = Self(2);
    const WRITTEN_WHOLE: Self = Self(4);
    const OTHER_WHOLE: Self = Self(8);
    const FRACTION: Self = Self(16);
    pub(super) const STRING: Self = Self(32);
    pub(super) const ARRAY: Self = Self(64);
    pub(super) const OBJECT: Self = Self(128);
    pub(super) const NUMBER: Self = Self(4 | 8 | 16);
    pub(super) const ANY: Self = Self(255);
    pub(super) const NONE: Self = Self(0);

    pub(super) const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    pub(super) const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(super) const fn less(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    pub(super) const fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether numbers without a fraction are the only ones.
    pub(super) const fn is_whole(self) -> bool {
        !self.meets(Self::FRACTION)
    }

    /// The kinds in it, one by one; numbers stay together.
    pub(super) fn each(self) -> impl Iterator<Item = Self> {
        [Self::NULL, Self::BOOL, Self::NUMBER, Self::STRING, Self::ARRAY, Self::OBJECT]
            .into_iter()
            .map(move |kind| self.and(kind))
            .filter(|kind| *kind != Self::NONE)
    }

    /// What `type` allows.
    pub(super) fn named(written: &Value, draft: Draft) -> Self {
        let one = |name: &Value| match name.as_str() {
            Some("null") => Self::NULL,
            Some("boolean") => Self::BOOL,
            Some("integer") if draft == Draft::Draft4 => Self::WRITTEN_WHOLE,
            Some("integer") => Self::WRITTEN_WHOLE.or(Self::OTHER_WHOLE),
            Some("number") => Self::NUMBER,
            Some("string") => Self::STRING,
            Some("array") => Self::ARRAY,
            Some("object") => Self::OBJECT,
            _ => Self::NONE,
        };
        match written {
            Value::Array(names) => names.iter().map(one).fold(Self::NONE, Self::or),
            name => one(name),
        }
    }

    /// The kind of a value, as far as values that are equal to it share it.
    pub(super) fn of(value: &Value) -> Self {
        match value {
            Value::Null => Self::NULL,
            Value::Bool(_) => Self::BOOL,
            Value::Number(_) => Self::NUMBER,
            Value::String(_) => Self::STRING,
            Value::Array(_) => Self::ARRAY,
            Value::Object(_) => Self::OBJECT,
        }
    }

    /// What a keyword speaks of. Other values pass it.
    pub(super) fn concerned(keyword: &str) -> Self {
        match keyword {
            "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum" | "multipleOf" => Self::NUMBER,
            "minLength" | "maxLength" | "pattern" | "contentEncoding" | "contentMediaType" => Self::STRING,
            "items" | "prefixItems" | "additionalItems" | "contains" | "minItems" | "maxItems" | "uniqueItems"
            | "unevaluatedItems" => Self::ARRAY,
            "properties"
            | "patternProperties"
            | "additionalProperties"
            | "required"
            | "minProperties"
            | "maxProperties"
            | "propertyNames"
            | "dependencies"
            | "dependentRequired"
            | "dependentSchemas"
            | "unevaluatedProperties" => Self::OBJECT,
            _ => Self::ANY,
        }
    }

    /// `string or null`, in JSON Schema's names.
    pub(super) fn names(self) -> String {
        let whole = Self::WRITTEN_WHOLE.or(Self::OTHER_WHOLE);
        let number = match self.and(Self::NUMBER) {
            Self::NONE => None,
            some if some.meets(Self::FRACTION) => Some("number"),
            some if some.meets(whole) => Some("integer"),
            _ => None,
        };
        let others = [
            (Self::STRING, "string"),
            (Self::BOOL, "boolean"),
            (Self::OBJECT, "object"),
            (Self::ARRAY, "array"),
            (Self::NULL, "null"),
        ];
        let others = others.iter().filter(|(kind, _)| self.meets(*kind)).map(|(_, name)| *name);
        let names: Vec<&str> = number.into_iter().chain(others).collect();
        match names.len() {
            0 => "nothing".to_owned(),
            6 => "any".to_owned(),
            _ => names.join(" or "),
        }
    }
}

/// A limit of numbers, on one side.
#[derive(Debug, Clone)]
pub(super) struct Bound<'a> {
    pub(super) number: &'a Number,
    pub(super) exclusive: bool,
}

impl<'a> Bound<'a> {
    /// What an object of keywords says: `minimum` and `exclusiveMinimum`, or `maximum` and `exclusiveMaximum`. Draft 4 writes
    /// the exclusive one as a boolean beside the other.
    pub(super) fn all_of(keywords: &'a Map<String, Value>, draft: Draft, upper: bool) -> Vec<Self> {
        let names = if upper { ["maximum", "exclusiveMaximum"] } else { ["minimum", "exclusiveMinimum"] };
        let number = |name: &str| keywords.get(name).and_then(Value::as_number);
        if draft == Draft::Draft4 {
            let exclusive = keywords.get(names[1]) == Some(&Value::Bool(true));
            return number(names[0]).map(|number| Self { number, exclusive }).into_iter().collect();
        }
        let bound = |(name, exclusive)| number(name).map(|number| Self { number, exclusive });
        [(names[0], false), (names[1], true)].into_iter().filter_map(bound).collect()
    }

    /// Whether every number within this limit is certainly within the other. `whole`: there are no fractions.
    pub(super) fn implies(&self, other: &Self, upper: bool, whole: bool) -> bool {
        let same = self.number == other.number;
        if same {
            return self.exclusive || !other.exclusive;
        }
        let (Some(mine), Some(theirs)) = (plain(self.number), plain(other.number)) else { return false };
        let is_stricter = if upper { mine < theirs } else { mine > theirs };
        // The next whole number after an exclusive limit.
        let step = if upper { -1 } else { 1 };
        let next = self.number.as_i64().and_then(|n| n.checked_add(step));
        let is_next = whole && self.exclusive && !other.exclusive && next.is_some() && next == other.number.as_i64();
        is_stricter || is_next
    }

    pub(super) fn shown(&self) -> String {
        if self.exclusive { format!("{} (exclusive)", self.number) } else { self.number.to_string() }
    }
}

/// A number whose order among its like no rounding to a double changes: at most 15 digits, written out.
pub(super) fn plain(number: &Number) -> Option<Decimal> {
    let text = number.as_str();
    let digits = text.bytes().filter(u8::is_ascii_digit).count();
    let is_plain = digits <= 15 && text.bytes().all(|b| b.is_ascii_digit() || b"-.".contains(&b));
    is_plain.then(|| Decimal::parse(text))
}

/// Whether a value is equal to the same values wherever it is compared: it holds no number but small whole ones.
pub(super) fn is_plain(value: &Value) -> bool {
    match value {
        Value::Number(number) => number.as_i64().is_some_and(|n| n.unsigned_abs() < 1 << 53),
        Value::Array(elements) => elements.iter().all(is_plain),
        Value::Object(members) => members.values().all(is_plain),
        _ => true,
    }
}
