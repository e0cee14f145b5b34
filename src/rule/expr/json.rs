//! JSON as CEL values: lazily, over a borrowed document, numbers as their text and the schema say.
//!
//! Nothing is converted until an expression selects it; converting a whole event would cost more than all its rules.

use std::any::Any;
use std::sync::OnceLock;

use cel::ExecutionError;
use cel::common::traits::{Indexer, Iterable, Iterator as ValIterator, Sizer, Zeroer};
use cel::common::types::{CelBool, CelDouble, CelInt, CelNull, CelString, CelUInt, LIST_TYPE, MAP_TYPE, Type};
use cel::common::value::{CowVal, StaticVal, Val};
use serde_json::{Map, Number, Value};

use super::budget::Budget;
use super::numeric::{self, EXACT_MAX};
use crate::rule::number::Decimal;
use crate::rule::number_types::{NumberType, Place};

/// The value as CEL sees it. `place` says what the schema calls the numbers in it.
pub(super) fn val<'v>(value: &'v Value, place: Option<Place<'v>>) -> Box<dyn Val + 'v> {
    match value {
        Value::Null => Box::new(CelNull),
        Value::Bool(bool) => Box::new(CelBool::from(*bool)),
        Value::Number(number) => from_number(number, place.and_then(Place::number)),
        Value::String(text) => Box::new(CelString::from(text.as_str())),
        Value::Array(elements) => Box::new(List { elements, place, vals: OnceLock::new() }),
        Value::Object(object) => Box::new(Object { object, place, keys: OnceLock::new() }),
    }
}

/// A number is what the schema calls it, where that loses no digit, and else what its text looks like: an int without a
/// fraction and exponent, a double with. One that is neither is kept whole: see [`BigNumber`].
fn from_number<'v>(number: &Number, said: Option<NumberType>) -> Box<dyn Val + 'v> {
    let text = number.as_str();
    if !text.contains(['.', 'e', 'E']) {
        return match text.parse::<i64>() {
            Ok(int) if said == Some(NumberType::Double) && int.unsigned_abs() <= EXACT_MAX.unsigned_abs() => {
                Box::new(CelDouble::from(int as f64))
            }
            Ok(int) => Box::new(CelInt::from(int)),
            Err(_) => Box::new(BigNumber(Decimal::parse(text))),
        };
    }
    if said == Some(NumberType::Int)
        && let Some(int) = Decimal::parse(text).to_i64()
    {
        return Box::new(CelInt::from(int));
    }
    match text.parse::<f64>() {
        Ok(double) if double.is_finite() => Box::new(CelDouble::from(double)),
        _ => Box::new(BigNumber(Decimal::parse(text))),
    }
}

static BIG_TYPE: Type = Type::new_unspecified_type("number beyond 64 bits");

/// A number no CEL type holds exactly. It compares, exactly, with every number; computing with it is an error.
#[derive(Debug, Clone)]
pub(super) struct BigNumber(Decimal);

impl BigNumber {
    pub(super) fn decimal(&self) -> &Decimal {
        &self.0
    }
}

impl Val for BigNumber {
    fn get_type(&self) -> &Type {
        &BIG_TYPE
    }

    fn cel_type() -> &'static Type {
        &BIG_TYPE
    }

    fn equals(&self, other: &dyn Val) -> bool {
        other.downcast_ref::<Self>().is_some_and(|other| self.0 == other.0)
    }

    fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v> {
        Box::new(self.clone())
    }

    fn as_any(&self) -> Option<&dyn Any> {
        Some(self)
    }
}

impl StaticVal for BigNumber {}

/// An array.
#[derive(Debug)]
struct List<'v> {
    elements: &'v [Value],
    place: Option<Place<'v>>,
    /// Made when the list is first iterated over.
    vals: OnceLock<Vec<Box<dyn Val + 'v>>>,
}

/// An object.
#[derive(Debug)]
struct Object<'v> {
    object: &'v Map<String, Value>,
    place: Option<Place<'v>>,
    /// Made when the object is first iterated over.
    keys: OnceLock<Vec<Box<dyn Val + 'v>>>,
}

impl<'v> List<'v> {
    fn element(&self, index: usize) -> Option<Box<dyn Val + 'v>> {
        let place = self.place.and_then(|place| place.element(index));
        self.elements.get(index).map(|element| val(element, place))
    }
}

/// What lists and objects have in common. Operators that need more are ours (see `prepare`).
macro_rules! container {
    ($type:ident, $cel:expr, $children:ident) => {
        impl Val for $type<'_> {
            fn get_type(&self) -> &Type {
                &$cel
            }

            fn cel_type() -> &'static Type {
                &$cel
            }

            fn as_indexer<'b, 'w>(&'b self) -> Option<&'b (dyn Indexer + 'w)>
            where
                Self: 'w,
            {
                Some(self)
            }

            fn as_iterable<'b, 'w>(&'b self) -> Option<&'b (dyn Iterable + 'w)>
            where
                Self: 'w,
            {
                Some(self)
            }

            fn as_sizer(&self) -> Option<&dyn Sizer> {
                Some(self)
            }

            fn as_zeroer(&self) -> Option<&dyn Zeroer> {
                Some(self)
            }

            fn equals(&self, other: &dyn Val) -> bool {
                numeric::equal(self, other, &Budget::new()).unwrap_or(false)
            }

            fn clone_as_boxed<'w>(&self) -> Box<dyn Val + 'w>
            where
                Self: 'w,
            {
                Box::new(Self { place: self.place, $children: OnceLock::new(), ..*self })
            }
        }

        impl Zeroer for $type<'_> {
            fn is_zero_value(&self) -> bool {
                *self.size().inner() == 0
            }
        }
    };
}

container!(List, LIST_TYPE, vals);
container!(Object, MAP_TYPE, keys);

impl Sizer for List<'_> {
    fn size(&self) -> CelInt {
        CelInt::from(self.elements.len() as i64)
    }
}

impl Sizer for Object<'_> {
    fn size(&self) -> CelInt {
        CelInt::from(self.object.len() as i64)
    }
}

impl Indexer for List<'_> {
    fn get<'b, 'w>(&'b self, index: &dyn Val) -> Result<CowVal<'b, 'w>, ExecutionError>
    where
        Self: 'w,
    {
        let position = position(index)?;
        let element = position.and_then(|position| self.element(position));
        element.map(CowVal::Owned).ok_or(ExecutionError::IndexOutOfBounds(cel::Value::Null))
    }

    fn steal<'w>(self: Box<Self>, index: &dyn Val) -> Result<Box<dyn Val + 'w>, ExecutionError>
    where
        Self: 'w,
    {
        self.get(index).map(CowVal::into_owned)
    }
}

/// The position an index names; `None` for one no list has.
fn position(index: &dyn Val) -> Result<Option<usize>, ExecutionError> {
    if let Some(int) = index.downcast_ref::<CelInt>() {
        return Ok(usize::try_from(*int.inner()).ok());
    }
    if let Some(uint) = index.downcast_ref::<CelUInt>() {
        return Ok(usize::try_from(*uint.inner()).ok());
    }
    match index.downcast_ref::<CelDouble>().map(|double| *double.inner()) {
        Some(double) if double.fract() == 0.0 && (0.0..=EXACT_MAX as f64).contains(&double) => {
            Ok(Some(double as usize))
        }
        Some(double) if double.fract() == 0.0 => Ok(None),
        _ => Err(wrong_key(index, "int")),
    }
}

impl Indexer for Object<'_> {
    fn get<'b, 'w>(&'b self, key: &dyn Val) -> Result<CowVal<'b, 'w>, ExecutionError>
    where
        Self: 'w,
    {
        let Some(key) = key.downcast_ref::<CelString>() else {
            let other_key = key.downcast_ref::<CelBool>().is_some() || key.as_comparer().is_some();
            // JSON's keys are texts; another kind of key is one it does not have.
            return Err(if other_key { ExecutionError::no_such_key("") } else { wrong_key(key, "string") });
        };
        let value = self.object.get(key.inner()).ok_or_else(|| ExecutionError::no_such_key(key.inner()))?;
        Ok(CowVal::Owned(val(value, self.place.and_then(|place| place.property(key.inner())))))
    }

    fn steal<'w>(self: Box<Self>, key: &dyn Val) -> Result<Box<dyn Val + 'w>, ExecutionError>
    where
        Self: 'w,
    {
        self.get(key).map(CowVal::into_owned)
    }
}

fn wrong_key(key: &dyn Val, want: &str) -> ExecutionError {
    ExecutionError::UnexpectedType { got: key.get_type().name().to_owned(), want: want.to_owned() }
}

impl Iterable for List<'_> {
    fn iter<'b, 'w>(&'b self) -> Box<dyn ValIterator<'b, 'w> + 'b>
    where
        Self: 'w,
    {
        let vals = self.vals.get_or_init(|| (0..self.elements.len()).filter_map(|index| self.element(index)).collect());
        Box::new(Vals(vals.iter()))
    }
}

impl Iterable for Object<'_> {
    fn iter<'b, 'w>(&'b self) -> Box<dyn ValIterator<'b, 'w> + 'b>
    where
        Self: 'w,
    {
        let keys = self.keys.get_or_init(|| {
            self.object.keys().map(|key| Box::new(CelString::from(key.as_str())) as Box<dyn Val>).collect()
        });
        Box::new(Vals(keys.iter()))
    }
}

struct Vals<'b, 'v>(std::slice::Iter<'b, Box<dyn Val + 'v>>);

impl<'b, 'v: 'w, 'w> ValIterator<'b, 'w> for Vals<'b, 'v> {
    fn next(&mut self) -> Option<&'b (dyn Val + 'w)> {
        self.0.next().map(|val| val.as_ref() as &(dyn Val + 'w))
    }
}
