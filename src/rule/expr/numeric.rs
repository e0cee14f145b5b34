//! Numbers that meet in an expression: compared exactly, computed with where the result is exact, never rounded silently.
//!
//! JSON has one kind of number, CEL has three. Comparisons are across kinds, by value, as CEL has it; but by the exact
//! value, where CEL implementations round an integer beyond 2^53 to the double it is compared with. Arithmetic is within
//! a kind in CEL. Here an int that meets a double becomes one when no digit is lost (`this.price * 2.0` where the producer
//! wrote `5`), and an error otherwise. A uint still only meets uints: no document holds one.

use std::cmp::Ordering;

use cel::ExecutionError;
use cel::common::traits::Indexer;
use cel::common::types::{CelDouble, CelInt, CelString, CelUInt, Kind};
use cel::common::value::{CowVal, Val};

use super::budget::Budget;
use super::error::Code;
use super::json::BigNumber;
use crate::rule::number::Decimal;

/// An int up to this magnitude has a double of its own.
pub(super) const EXACT_MAX: i64 = 1 << 53;

enum Number<'n> {
    Int(i64),
    UInt(u64),
    Double(f64),
    Big(&'n Decimal),
}

fn number<'n>(val: &'n (dyn Val + '_)) -> Option<Number<'n>> {
    match val.get_type().kind() {
        Kind::Int => val.downcast_ref::<CelInt>().map(|n| Number::Int(*n.inner())),
        Kind::UInt => val.downcast_ref::<CelUInt>().map(|n| Number::UInt(*n.inner())),
        Kind::Double => val.downcast_ref::<CelDouble>().map(|n| Number::Double(*n.inner())),
        Kind::Unspecified => val.downcast_ref::<BigNumber>().map(|n| Number::Big(n.decimal())),
        _ => None,
    }
}

/// `None` when one is not a number at all (NaN).
fn order(a: &Number<'_>, b: &Number<'_>) -> Option<Ordering> {
    match (a, b) {
        (Number::Int(a), Number::Int(b)) => Some(a.cmp(b)),
        (Number::Double(a), Number::Double(b)) => a.partial_cmp(b),
        (Number::Double(a), b) => against_double(b, *a).map(Ordering::reverse),
        (a, Number::Double(b)) => against_double(a, *b),
        (Number::Big(a), Number::Big(b)) => Some(a.cmp(b)),
        (Number::Big(a), b) => Some((*a).cmp(&decimal(b))),
        (a, Number::Big(b)) => Some(decimal(a).cmp(b)),
        (a, b) => Some(integer(a).cmp(&integer(b))),
    }
}

/// How a number that is no double orders against one.
fn against_double(number: &Number<'_>, double: f64) -> Option<Ordering> {
    if double.is_nan() {
        return None;
    }
    if let Number::Big(big) = number {
        let infinite = if double > 0.0 { Ordering::Less } else { Ordering::Greater };
        return Some(Decimal::of_double(double).map_or(infinite, |d| (*big).cmp(&d)));
    }
    // Doubles of 2^65 and beyond are past every int and uint; those below convert exactly once cut to whole.
    if double.abs() >= 36_893_488_147_419_103_232.0 {
        return Some(if double > 0.0 { Ordering::Less } else { Ordering::Greater });
    }
    let whole = double.trunc();
    Some(integer(number).cmp(&(whole as i128)).then_with(|| 0.0_f64.total_cmp(&(double - whole + 0.0))))
}

/// How an int orders against a double, exactly. `None` for NaN.
pub(super) fn int_against_double(int: i64, double: f64) -> Option<Ordering> {
    against_double(&Number::Int(int), double)
}

fn integer(number: &Number<'_>) -> i128 {
    match number {
        Number::Int(n) => i128::from(*n),
        Number::UInt(n) => i128::from(*n),
        Number::Double(_) | Number::Big(_) => 0,
    }
}

fn decimal(number: &Number<'_>) -> Decimal {
    Decimal::parse(&integer(number).to_string())
}

/// `a < b` and its like. Fails where CEL defines no order.
pub(super) fn compare(operator: &str, a: &dyn Val, b: &dyn Val) -> Result<Ordering, ExecutionError> {
    let undefined = || no_overload(operator, a, b);
    if let (Some(a), Some(b)) = (number(a), number(b)) {
        return order(&a, &b).ok_or_else(undefined);
    }
    a.as_comparer().ok_or_else(undefined)?.compare(b).map_err(|_| undefined())
}

/// `a == b`, deeply. Every value visited is charged.
pub(super) fn equal(a: &dyn Val, b: &dyn Val, budget: &Budget) -> Result<bool, ExecutionError> {
    budget.spend(1)?;
    if let (Some(a), Some(b)) = (number(a), number(b)) {
        return Ok(order(&a, &b) == Some(Ordering::Equal));
    }
    match (a.get_type().kind(), b.get_type().kind()) {
        (Kind::List, Kind::List) => equal_lists(a, b, budget),
        (Kind::Map, Kind::Map) => equal_maps(a, b, budget),
        (Kind::String, Kind::String) => {
            budget.spend_bytes(a.downcast_ref::<CelString>().map_or(0, |text| text.inner().len()))?;
            Ok(a.equals(b))
        }
        // A list or map is equal to its like only; asking it would lead back here.
        (Kind::List | Kind::Map, _) | (_, Kind::List | Kind::Map) => Ok(false),
        _ => Ok(a.equals(b)),
    }
}

fn equal_lists(a: &dyn Val, b: &dyn Val, budget: &Budget) -> Result<bool, ExecutionError> {
    if size(a) != size(b) {
        return Ok(false);
    }
    let (Some(a), Some(b)) = (a.as_iterable(), b.as_iterable()) else { return Ok(false) };
    let (mut a, mut b) = (a.iter(), b.iter());
    while let (Some(x), Some(y)) = (a.next(), b.next()) {
        if !equal(x, y, budget)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn equal_maps(a: &dyn Val, b: &dyn Val, budget: &Budget) -> Result<bool, ExecutionError> {
    if size(a) != size(b) {
        return Ok(false);
    }
    let (Some(keys), Some(of_a), Some(of_b)) = (a.as_iterable(), a.as_indexer(), b.as_indexer()) else {
        return Ok(false);
    };
    let mut keys = keys.iter();
    while let Some(key) = keys.next() {
        let (Ok(x), Ok(y)) = (of_a.get(key), of_b.get(key)) else { return Ok(false) };
        if !equal(x.as_ref(), y.as_ref(), budget)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// `value in container`.
pub(super) fn contains(value: &dyn Val, container: &dyn Val, budget: &Budget) -> Result<bool, ExecutionError> {
    match container.get_type().kind() {
        Kind::List => {
            let Some(elements) = container.as_iterable() else { return Err(no_overload("@in", value, container)) };
            let mut elements = elements.iter();
            while let Some(element) = elements.next() {
                if equal(value, element, budget)? {
                    return Ok(true);
                }
            }
            Ok(false)
        }
        Kind::Map => match container.as_indexer().map(|map: &dyn Indexer| map.get(value).map(|_| ())) {
            Some(Ok(())) => Ok(true),
            Some(Err(ExecutionError::NoSuchKey(_))) => Ok(false),
            _ => Err(no_overload("@in", value, container)),
        },
        _ => Err(no_overload("@in", value, container)),
    }
}

fn size(val: &dyn Val) -> i64 {
    val.as_sizer().map_or(0, |sizer| *sizer.size().inner())
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Operation {
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
}

impl Operation {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Add => "_+_",
            Self::Subtract => "_-_",
            Self::Multiply => "_*_",
            Self::Divide => "_/_",
            Self::Modulo => "_%_",
        }
    }
}

/// `a + b` and its like on two numbers; `None` when they are not both numbers.
pub(super) fn compute<'b, 'v>(
    operation: Operation,
    a: &dyn Val,
    b: &dyn Val,
) -> Option<Result<CowVal<'b, 'v>, ExecutionError>> {
    let (x, y) = (number(a)?, number(b)?);
    Some(match (x, y) {
        (Number::Int(x), Number::Int(y)) => integers(operation, x, y),
        (Number::UInt(x), Number::UInt(y)) => unsigned(operation, x, y),
        (Number::Double(x), Number::Double(y)) => {
            doubles(operation, x, y).ok_or_else(|| no_overload(operation.name(), a, b))
        }
        (Number::Int(x), Number::Double(y)) => {
            exact(x).and_then(|x| doubles(operation, x, y).ok_or_else(|| no_overload(operation.name(), a, b)))
        }
        (Number::Double(x), Number::Int(y)) => {
            exact(y).and_then(|y| doubles(operation, x, y).ok_or_else(|| no_overload(operation.name(), a, b)))
        }
        (Number::Big(_), _) | (_, Number::Big(_)) => Err(Code::Inexact.error()),
        _ => Err(no_overload(operation.name(), a, b)),
    })
}

/// The int as the double it equals.
pub(super) fn exact(int: i64) -> Result<f64, ExecutionError> {
    if int.unsigned_abs() <= EXACT_MAX.unsigned_abs() { Ok(int as f64) } else { Err(Code::Inexact.error()) }
}

fn integers<'b, 'v>(operation: Operation, x: i64, y: i64) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let result = match operation {
        Operation::Add => x.checked_add(y),
        Operation::Subtract => x.checked_sub(y),
        Operation::Multiply => x.checked_mul(y),
        Operation::Divide | Operation::Modulo if y == 0 => return Err(Code::DivisionByZero.error()),
        Operation::Divide => x.checked_div(y),
        Operation::Modulo => x.checked_rem(y),
    };
    result.map(|n| CowVal::owned(CelInt::from(n))).ok_or_else(|| Code::Overflow.error())
}

fn unsigned<'b, 'v>(operation: Operation, x: u64, y: u64) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let result = match operation {
        Operation::Add => x.checked_add(y),
        Operation::Subtract => x.checked_sub(y),
        Operation::Multiply => x.checked_mul(y),
        Operation::Divide | Operation::Modulo if y == 0 => return Err(Code::DivisionByZero.error()),
        Operation::Divide => x.checked_div(y),
        Operation::Modulo => x.checked_rem(y),
    };
    result.map(|n| CowVal::owned(CelUInt::from(n))).ok_or_else(|| Code::Overflow.error())
}

/// CEL has no remainder of doubles.
fn doubles<'b, 'v>(operation: Operation, x: f64, y: f64) -> Option<CowVal<'b, 'v>> {
    let result = match operation {
        Operation::Add => x + y,
        Operation::Subtract => x - y,
        Operation::Multiply => x * y,
        Operation::Divide => x / y,
        Operation::Modulo => return None,
    };
    Some(CowVal::owned(CelDouble::from(result)))
}

/// The sum of a list's numbers: an int as long as all are ints, a double once one is.
pub(super) fn sum<'b, 'v>(list: &dyn Val, budget: &Budget) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let not_numbers = |of: &str| ExecutionError::no_such_overload("sum", vec![of.to_owned()]);
    let elements = match list.get_type().kind() {
        Kind::List => list.as_iterable().ok_or_else(|| not_numbers("list"))?,
        _ => return Err(not_numbers(list.get_type().name())),
    };
    let mut elements = elements.iter();
    let mut total: CowVal<'b, 'v> = CowVal::owned(CelInt::from(0));
    let mut first = true;
    while let Some(element) = elements.next() {
        budget.spend(1)?;
        if number(element).is_none() {
            return Err(not_numbers(&format!("list of {}", element.get_type().name())));
        }
        total = if first {
            first = false;
            CowVal::Owned(zero_like(element))
        } else {
            total
        };
        total = compute(Operation::Add, total.as_ref(), element).ok_or_else(|| not_numbers("list"))??;
    }
    Ok(total)
}

/// What a sum of such numbers starts from.
fn zero_like<'v>(val: &dyn Val) -> Box<dyn Val + 'v> {
    match number(val) {
        Some(Number::UInt(_)) => Box::new(CelUInt::from(0)),
        _ => Box::new(CelInt::from(0)),
    }
}

pub(super) fn no_overload(operator: &str, a: &dyn Val, b: &dyn Val) -> ExecutionError {
    let types = [a, b].map(|val| val.get_type().name().to_owned());
    ExecutionError::no_such_overload(operator, types.to_vec())
}
