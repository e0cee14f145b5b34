//! The compiled form of a schema: a table of nodes that refer to each other by index, so that recursion costs nothing.

use std::ops::RangeInclusive;
use std::sync::Arc;

use super::format::Format;
use super::number::Exact;
use super::object::Object;
use super::pattern::Pattern;
use super::sieve::Sieve;
use crate::rule::capture::{FrameId, Slot};

/// An index into the plan's nodes.
pub(super) type NodeId = usize;

/// The node that every value passes: `true`, `{}`.
pub(super) const ANY: NodeId = 0;

/// The node that no value passes: `false`.
pub(super) const NEVER: NodeId = 1;

/// A set of JSON types, as `type` names them. Every integer is a number too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Types(u8);

impl Types {
    pub(super) const NONE: Self = Self(0);
    pub(super) const NULL: Self = Self(1);
    pub(super) const BOOLEAN: Self = Self(2);
    pub(super) const INTEGER: Self = Self(4);
    pub(super) const NUMBER: Self = Self(8 | Self::INTEGER.0);
    pub(super) const STRING: Self = Self(16);
    pub(super) const ARRAY: Self = Self(32);
    pub(super) const OBJECT: Self = Self(64);
    pub(super) const ALL: Self = Self(127);

    pub(super) const fn has(self, all_of: Self) -> bool {
        self.0 & all_of.0 == all_of.0
    }

    pub(super) const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    pub(super) const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The types a value may have that begins with this byte.
    pub(super) const fn beginning_with(byte: u8) -> Self {
        match byte {
            b'"' => Self::STRING,
            b'{' => Self::OBJECT,
            b'[' => Self::ARRAY,
            b't' | b'f' => Self::BOOLEAN,
            b'n' => Self::NULL,
            _ => Self::NUMBER,
        }
    }
}

/// What may stand at one place of an event.
#[derive(Debug, Clone)]
pub(super) struct Node {
    /// The types that `type` allows, and the values.
    pub(super) types: Types,
    /// The types that `type` allows.
    pub(super) declared: Types,
    /// Draft 4: an integer is written without a fraction.
    pub(super) integers_as_written: bool,
    pub(super) strings: Option<Arc<Strings>>,
    pub(super) numbers: Option<Arc<Numbers>>,
    pub(super) values: Option<Arc<Values>>,
    pub(super) object: Option<Arc<Object>>,
    pub(super) array: Option<Arc<Array>>,
    /// Schemas that apply to the same value.
    pub(super) also: Arc<[Also]>,
    /// Whether nothing but `also` can fail.
    pub(super) is_bare: bool,
    /// Whether it is neither left out nor [`ANY`], and nothing applies beside it.
    pub(super) is_plain: bool,
    /// Whether every string passes.
    pub(super) takes_any_string: bool,
    /// Integers that pass for certain.
    pub(super) integers: RangeInclusive<i64>,
    /// Where rules read the value from.
    pub(super) slot: Option<Slot>,
    /// Stands for what the plan does not express.
    pub(super) left_out: bool,
    /// The node whose keywords these are: another than itself where the same schema is read from at several places.
    pub(super) schema: NodeId,
}

impl Node {
    pub(super) fn of_types(types: Types) -> Self {
        Self {
            types,
            declared: types,
            integers_as_written: false,
            strings: None,
            numbers: None,
            values: None,
            object: None,
            array: None,
            also: Arc::default(),
            is_bare: false,
            is_plain: false,
            takes_any_string: false,
            integers: NO_INTEGERS,
            slot: None,
            left_out: false,
            schema: ANY,
        }
    }

    /// Works out what follows from the rest, once that is complete.
    pub(super) fn finish(&mut self) {
        self.is_plain = !self.left_out && self.also.is_empty();
        self.takes_any_string = self.types.has(Types::STRING) && self.strings.is_none() && self.values.is_none();
        self.integers = match (&self.numbers, &self.values) {
            _ if !self.declared.has(Types::INTEGER) => NO_INTEGERS,
            (None, None) => i64::MIN..=i64::MAX,
            (Some(numbers), None) => numbers.integers(),
            _ => NO_INTEGERS,
        };
    }

    /// Stands for what the plan does not express.
    pub(super) fn left_out() -> Self {
        Self { left_out: true, ..Self::of_types(Types::ALL) }
    }

    /// A place whose value another node describes.
    pub(super) fn same_as(node: NodeId) -> Self {
        Self { is_bare: true, also: Arc::new([Also::All(Box::new([node]))]), ..Self::of_types(Types::ALL) }
    }
}

#[derive(Debug)]
pub(super) struct Strings {
    /// In code points.
    pub(super) shortest: u64,
    pub(super) longest: u64,
    pub(super) pattern: Option<Pattern>,
    pub(super) format: Option<Format>,
}

#[derive(Debug)]
pub(super) struct Numbers {
    pub(super) minimum: Option<Exact>,
    pub(super) maximum: Option<Exact>,
    pub(super) above: Option<Exact>,
    pub(super) below: Option<Exact>,
    pub(super) multiple_of: Option<Exact>,
}

#[expect(clippy::reversed_empty_ranges, reason = "it is meant to be empty")]
const NO_INTEGERS: RangeInclusive<i64> = 1..=0;

impl Numbers {
    /// Those within all bounds, as far as the bounds are integers.
    fn integers(&self) -> RangeInclusive<i64> {
        let is_plain = self.above.is_none() && self.below.is_none() && self.multiple_of.is_none();
        let whole = |bound: Option<Exact>, otherwise| bound.map_or(Some(otherwise), Exact::to_integer);
        match (whole(self.minimum, i64::MIN), whole(self.maximum, i64::MAX)) {
            (Some(least), Some(most)) if is_plain => least..=most,
            _ => NO_INTEGERS,
        }
    }
}

/// The scalars of `enum` or `const`. Arrays and objects among them are only in the node's types: whether one equals the
/// event's is undecided.
#[derive(Debug)]
pub(super) struct Values {
    /// Of all of them.
    pub(super) types: Types,
    /// Sorted.
    pub(super) strings: Box<[Box<str>]>,
    pub(super) numbers: Box<[Exact]>,
    pub(super) true_: bool,
    pub(super) false_: bool,
}

#[derive(Debug, Clone)]
pub(super) struct Array {
    /// Of the first elements, one each.
    pub(super) prefix: Box<[NodeId]>,
    pub(super) rest: NodeId,
    /// Until draft 2019-09, elements that `additionalItems: false` does not allow are one reason.
    pub(super) rest_is_told_once: bool,
    pub(super) shortest: u64,
    pub(super) longest: u64,
    pub(super) unique: bool,
    pub(super) contains: Option<Contains>,
    /// Where rules read the elements from: the array's slot, and the frame with a row for each.
    pub(super) rows: Option<(Slot, FrameId)>,
}

impl Array {
    /// Elements of any kind and number.
    pub(super) fn of_any() -> Self {
        Self {
            prefix: Box::default(),
            rest: ANY,
            rest_is_told_once: false,
            shortest: 0,
            longest: u64::MAX,
            unique: false,
            contains: None,
            rows: None,
        }
    }
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Contains {
    pub(super) node: NodeId,
    pub(super) least: u64,
    pub(super) most: u64,
}

/// A keyword that can fail, as far as it is told apart in reasons.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Keyword {
    Type,
    /// `enum` or `const`.
    Choice,
    /// The schema `false`.
    Nothing,
    MinLength,
    MaxLength,
    Pattern,
    Format,
    Minimum,
    Maximum,
    ExclusiveMinimum,
    ExclusiveMaximum,
    MultipleOf,
    MinItems,
    MaxItems,
    /// More elements than `prefixItems` allows.
    MoreItems,
    UniqueItems,
    Contains,
    MinProperties,
    MaxProperties,
    /// A property that is missing, by its index.
    Required,
    /// A property that is not allowed, by where its key stands.
    Unexpected,
    /// What is wrong with a property's name.
    Name,
    AnyOf,
    OneOf,
    /// `oneOf`, of which several match.
    Several,
    Not,
}

/// A schema, or several, that apply to the same value as the node.
#[derive(Debug)]
pub(super) enum Also {
    All(Box<[NodeId]>),
    Any(Box<[NodeId]>, Option<Box<Sieve>>),
    One(Box<[NodeId]>, Option<Box<Sieve>>),
    Not(NodeId),
    If { condition: NodeId, then: NodeId, otherwise: NodeId },
}
