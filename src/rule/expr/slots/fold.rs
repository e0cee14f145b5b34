//! Trees put together: the narrowest type that fits, and constants computed once.

use super::term;
use super::tree::{Comparison, Test, Value, Whole};
use crate::rule::expr::numeric::Operation;

/// A value where a condition is needed.
pub(super) fn test(value: Value) -> Test {
    match value {
        Value::Test(test) => *test,
        value => Test::Value(Box::new(value)),
    }
}

pub(super) fn of_test(test: Test) -> Value {
    Value::Test(Box::new(match test {
        Test::Not(inner) => match *inner {
            Test::Constant(bool) => Test::Constant(!bool),
            inner => Test::Not(Box::new(inner)),
        },
        test => test,
    }))
}

/// A value where any type will do: a null at the place of an int is no surprise there.
pub(super) fn any(value: Value) -> Value {
    match value {
        Value::Whole(Whole::Read(place)) => Value::Read(place),
        value => value,
    }
}

pub(super) fn and(a: Test, b: Test) -> Test {
    match a {
        Test::Constant(true) => b,
        Test::Constant(false) => a,
        a => Test::And(Box::new((a, b))),
    }
}

pub(super) fn or(a: Test, b: Test) -> Test {
    match a {
        Test::Constant(false) => b,
        Test::Constant(true) => a,
        a => Test::Or(Box::new((a, b))),
    }
}

pub(super) fn conditional(test: Test, a: Value, b: Value) -> Value {
    match (test, a, b) {
        (Test::Constant(true), a, _) => a,
        (Test::Constant(false), _, b) => b,
        (test, Value::Test(a), Value::Test(b)) => Value::Test(Box::new(Test::If(Box::new((test, *a, *b))))),
        (test, Value::Whole(a), Value::Whole(b)) => Value::Whole(Whole::If(Box::new((test, a, b)))),
        (test, a, b) => Value::If(Box::new((test, any(a), any(b)))),
    }
}

pub(super) fn negative(value: Value) -> Value {
    match value {
        Value::Whole(Whole::Constant(int)) if int != i64::MIN => Value::Whole(Whole::Constant(-int)),
        Value::Whole(whole) => Value::Whole(Whole::Negative(Box::new(whole))),
        value => Value::Negative(Box::new(value)),
    }
}

pub(super) fn compute(operation: Operation, a: Value, b: Value) -> Value {
    match (a, b) {
        (Value::Whole(a), Value::Whole(b)) => {
            let known = match (&a, &b) {
                (Whole::Constant(a), Whole::Constant(b)) => term::integers(operation, *a, *b),
                _ => None,
            };
            Value::Whole(known.map_or_else(|| Whole::Compute(operation, Box::new((a, b))), Whole::Constant))
        }
        (a, b) => {
            let (a, b) = (any(a), any(b));
            let known = match (&a, &b) {
                (Value::Constant(a), Value::Constant(b)) => term::compute(operation, *a, *b),
                _ => None,
            };
            known.map_or_else(|| Value::Compute(operation, Box::new((a, b))), Value::Constant)
        }
    }
}

pub(super) fn compare(comparison: Comparison, a: Value, b: Value) -> Test {
    match (comparison, a, b) {
        (comparison, Value::Whole(a), Value::Whole(b)) => Test::Wholes(comparison, Box::new((a, b))),
        (Comparison::Equal, a, b) => equal(a, b),
        (Comparison::NotEqual, a, b) => Test::Not(Box::new(equal(a, b))),
        (comparison, a, b) => Test::Order(comparison, Box::new((any(a), any(b)))),
    }
}

fn equal(a: Value, b: Value) -> Test {
    match (any(a), any(b)) {
        (Value::Read(a), Value::Read(b)) => Test::Same(Box::new((a, b))),
        sides => Test::Equal(Box::new(sides)),
    }
}
