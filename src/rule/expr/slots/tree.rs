//! What expressions are compiled to: trees typed by what they give, so that conditions and whole numbers, which rules are
//! mostly made of, are computed with as such.
//!
//! | tree | gives |
//! | --- | --- |
//! | [`Test`] | true or false |
//! | [`Whole`] | an int, where the schema says `integer` and all that is computed from it |
//! | [`Value`] | anything else, as a [`Term`] that says its type |
//! | [`Message`] | a text that is put together |
//!
//! A tree assumes what it was compiled for. Where the event holds something else, its evaluation is unsure.

use regex::Regex;

use super::scope::{Name, Place};
use super::term::Term;
use crate::rule::capture::FrameId;
use crate::rule::expr::numeric::Operation;

#[derive(Debug)]
pub(super) enum Test {
    Constant(bool),
    /// A value that must be a bool.
    Value(Box<Value>),
    Not(Box<Test>),
    And(Box<(Test, Test)>),
    Or(Box<(Test, Test)>),
    If(Box<(Test, Test, Test)>),
    Has(Place),
    HasRecord(RecordField),
    Equal(Box<(Value, Value)>),
    /// Two texts of the event, so far as they are texts.
    Same(Box<(Place, Place)>),
    Order(Comparison, Box<(Value, Value)>),
    Wholes(Comparison, Box<(Whole, Whole)>),
    Search(Box<Search>),
    All(Box<(List, Test)>),
    Exists(Box<(List, Test)>),
}

/// Tests that look through a text or a list: apart from [`Test`], so that what is evaluated most stays small.
#[derive(Debug)]
pub(super) enum Search {
    /// `in` a list of constants.
    Among(Value, Constants),
    /// `in` a list of values.
    AnyOf(Value, Box<[Value]>),
    /// `in` a list of the event, whose elements stand at the place.
    Element(Value, List, Place),
    /// A text, and another in it.
    Text(TextTest, Value, Value),
    Matches(Value, Regex, Weight),
    ExistsOne(List, Test),
}

#[derive(Debug)]
pub(super) enum Whole {
    Constant(i64),
    Read(Place),
    Compute(Operation, Box<(Whole, Whole)>),
    Negative(Box<Whole>),
    If(Box<(Test, Whole, Whole)>),
    /// Of a list of the event, or a text.
    Size(Box<Place>),
    TextSize(Box<Value>),
    Count(Box<Stream>),
    Sum(Box<(Stream, Whole)>),
}

#[derive(Debug)]
pub(super) enum Value {
    Constant(Term<'static>),
    Text(Box<str>),
    Read(Place),
    Whole(Whole),
    Test(Box<Test>),
    Compute(Operation, Box<(Value, Value)>),
    Negative(Box<Value>),
    If(Box<(Test, Value, Value)>),
    Now,
    Record(RecordField, Name),
    /// `timestamp(text)`.
    Moment(Box<Value>),
    /// `double(number)`.
    Double(Box<Value>),
    Sum(Box<(Stream, Value)>),
}

#[derive(Debug)]
pub(super) enum Message {
    Text(Value),
    /// `string(x)`.
    Shown(Value),
    Joined(Box<[Message]>),
    If(Box<(Test, Message, Message)>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TextTest {
    StartsWith,
    EndsWith,
    Contains,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RecordField {
    Stream,
    PartitionKey,
    ExplicitHashKey,
    ArrivedAt,
    Size,
}

/// What the crate charges for a text that a pattern is looked for in: nothing outside loops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Weight(pub(super) bool);

/// A list of the event, whose elements are gone through.
#[derive(Debug)]
pub(super) struct List {
    pub(super) place: Place,
    pub(super) frame: FrameId,
    /// Which of the rows says where the loop is.
    pub(super) row: usize,
    /// What the crate spends at most on a turn, loops inside left out.
    pub(super) turn: usize,
}

/// A list of the event, less what does not pass all the tests.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) list: List,
    pub(super) filters: Box<[Test]>,
    /// Whether it is one macro. The crate runs one after the other, so of several it meets other errors first.
    pub(super) is_single: bool,
}

/// The constants of a list, made ready for look-ups.
#[derive(Debug)]
pub(super) struct Constants {
    /// Sorted.
    texts: Box<[Box<str>]>,
    others: Box<[Term<'static>]>,
}

/// Up to so many texts are compared one by one.
const FEW: usize = 8;

impl Constants {
    pub(super) fn new(mut texts: Vec<Box<str>>, others: Vec<Term<'static>>) -> Self {
        texts.sort_unstable();
        Self { texts: texts.into(), others: others.into() }
    }

    pub(super) fn len(&self) -> usize {
        self.texts.len() + self.others.len()
    }

    #[inline]
    pub(super) fn holds(&self, term: Term<'_>) -> Option<bool> {
        if let Term::Text(text) = term {
            return Some(if self.texts.len() <= FEW {
                self.texts.iter().any(|known| **known == *text)
            } else {
                self.texts.binary_search_by(|known| (**known).cmp(text)).is_ok()
            });
        }
        for other in &self.others {
            if super::term::equal(term, *other)? {
                return Some(true);
            }
        }
        Some(false)
    }
}
