//! Single values, and lists of them made ready for look-ups that do not allocate.

use serde_json::Value;

use crate::rule::capture::{Found, Kind};
use crate::rule::number::{self, Decimal};

/// A value as a check looks at it, in a tree or in the event's own text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Plain<'v> {
    Null,
    Bool(bool),
    /// As it is written.
    Number(&'v str),
    Text(&'v str),
    /// An object or array.
    Whole,
}

impl<'v> Plain<'v> {
    pub(super) fn of(value: &'v Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(bool) => Self::Bool(*bool),
            Value::Number(number) => Self::Number(number.as_str()),
            Value::String(text) => Self::Text(text),
            Value::Array(_) | Value::Object(_) => Self::Whole,
        }
    }

    /// `None` for a text with escapes.
    #[inline]
    pub(super) fn found(found: Found<'v>) -> Option<Self> {
        Some(match found.kind() {
            Kind::Null => Self::Null,
            Kind::Bool => Self::Bool(found.is_true()),
            Kind::Number => Self::Number(found.json()),
            Kind::String => Self::Text(found.plain_string()?),
            Kind::Array | Kind::Object => Self::Whole,
        })
    }

    /// What patterns and reference lists look at. `None` where there is no single value.
    #[inline]
    pub(super) fn text(self) -> Option<&'v str> {
        match self {
            Self::Text(text) | Self::Number(text) => Some(text),
            Self::Bool(true) => Some("true"),
            Self::Bool(false) => Some("false"),
            Self::Null | Self::Whole => None,
        }
    }
}

/// Up to so many texts are compared one by one.
const FEW: usize = 8;

/// The strings, numbers, booleans and null of a list. Two are equal when they mean the same: `1` and `1.0` are.
#[derive(Debug, Clone, Default)]
pub(super) struct Scalars {
    /// Sorted.
    texts: Vec<Box<str>>,
    /// Sorted: of the numbers, those that are ints.
    ints: Vec<i64>,
    numbers: Vec<Decimal>,
    bools: Vec<bool>,
    null: bool,
}

impl Scalars {
    /// `None` when an element is no scalar, or there is none.
    pub(super) fn of(values: &[Value]) -> Option<Self> {
        let mut scalars = Self::default();
        for value in values {
            match value {
                Value::Null => scalars.null = true,
                Value::Bool(bool) => scalars.bools.push(*bool),
                Value::Number(number) => scalars.numbers.push(Decimal::of(number)),
                Value::String(text) => scalars.texts.push(text.as_str().into()),
                Value::Array(_) | Value::Object(_) => return None,
            }
        }
        scalars.texts.sort_unstable();
        scalars.ints = scalars.numbers.iter().filter_map(Decimal::to_i64).collect();
        scalars.ints.sort_unstable();
        (!values.is_empty()).then_some(scalars)
    }

    #[inline]
    pub(super) fn hold(&self, value: Plain<'_>) -> bool {
        match value {
            Plain::Text(text) if self.texts.len() <= FEW => self.texts.iter().any(|known| **known == *text),
            Plain::Text(text) => self.texts.binary_search_by(|known| (**known).cmp(text)).is_ok(),
            Plain::Number(_) if self.numbers.is_empty() => false,
            Plain::Number(text) => match number::whole(text.as_bytes()) {
                Some(int) => self.ints.binary_search(&int).is_ok(),
                None => self.numbers.contains(&Decimal::parse(text)),
            },
            Plain::Bool(bool) => self.bools.contains(&bool),
            Plain::Null => self.null,
            Plain::Whole => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn equal_is_what_means_the_same() {
        let many: Vec<Value> = (0..20).map(|n| json!(format!("v{n}"))).collect();
        let list = [many, serde_json::from_str("[1, 2.50, 1e2, true, null]").unwrap()].concat();
        let scalars = Scalars::of(&list).unwrap();
        for (value, is_in) in [
            ("\"v7\"", true),
            ("\"v20\"", false),
            ("1.0", true),
            ("100", true),
            ("25e-1", true),
            ("2", false),
            ("\"1\"", false),
            ("true", true),
            ("false", false),
            ("null", true),
            ("[1]", false),
        ] {
            assert_eq!(scalars.hold(Plain::of(&serde_json::from_str(value).unwrap())), is_in, "{value}");
        }
        assert!(Scalars::of(&[]).is_none() && Scalars::of(&[json!([])]).is_none());
    }
}
