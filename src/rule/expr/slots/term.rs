//! The values compiled expressions compute with, and what CEL does with two of them, as far as that is certain.
//!
//! Each function is the twin of one in `numeric`, over values that are not boxed. `None` is where that one would give an error,
//! or where the answer would rest on what is not known here.

use std::cmp::Ordering;

use super::moment::Moment;
use crate::rule::capture::{Found, Kind};
use crate::rule::expr::numeric::{self, EXACT_MAX, Operation};
use crate::rule::number::{Decimal, whole};
use crate::rule::number_types::NumberType;

/// A value, borrowed from the event or the expression.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::rule::expr) enum Term<'e> {
    Null,
    Bool(bool),
    Int(i64),
    Double(f64),
    Text(&'e str),
    Moment(Moment),
    /// In nanoseconds.
    Span(i64),
    /// A list, of which nothing more is known.
    List,
    /// An object, of which nothing more is known.
    Object,
}

impl<'e> Term<'e> {
    /// The value as CEL sees it: the twin of `json::val`. `None` for texts with escapes, and numbers no CEL type holds.
    #[inline]
    pub(super) fn of(found: Found<'e>, said: Option<NumberType>) -> Option<Self> {
        Some(match found.kind() {
            Kind::String => Self::Text(found.plain_string()?),
            Kind::Number => return number(found.json(), said),
            Kind::Bool => Self::Bool(found.is_true()),
            Kind::Null => Self::Null,
            Kind::Array => Self::List,
            Kind::Object => Self::Object,
        })
    }
}

/// The twin of `json::from_number`.
fn number<'e>(text: &str, said: Option<NumberType>) -> Option<Term<'e>> {
    if let Some(int) = whole(text.as_bytes()) {
        let exact = int.unsigned_abs() <= EXACT_MAX.unsigned_abs();
        return Some(if said == Some(NumberType::Double) && exact { Term::Double(int as f64) } else { Term::Int(int) });
    }
    let has_exponent = text.bytes().any(|byte| matches!(byte, b'e' | b'E'));
    if !has_exponent && !text.bytes().any(|byte| byte == b'.') {
        return None;
    }
    // Without an exponent, only zeros after the point make it whole.
    if said == Some(NumberType::Int)
        && (has_exponent || text.ends_with('0'))
        && let Some(int) = Decimal::parse(text).to_i64()
    {
        return Some(Term::Int(int));
    }
    text.parse::<f64>().ok().filter(|double| double.is_finite()).map(Term::Double)
}

/// `a == b`.
#[inline]
pub(super) fn equal(a: Term<'_>, b: Term<'_>) -> Option<bool> {
    Some(match (a, b) {
        (Term::Text(a), Term::Text(b)) => a == b,
        (Term::Int(_) | Term::Double(_), Term::Int(_) | Term::Double(_)) => compare(a, b)? == Ordering::Equal,
        (Term::List, Term::List) | (Term::Object, Term::Object) => return None,
        _ => a == b,
    })
}

/// How `a` and `b` order.
#[inline]
pub(super) fn compare(a: Term<'_>, b: Term<'_>) -> Option<Ordering> {
    match (a, b) {
        (Term::Int(a), Term::Int(b)) => Some(a.cmp(&b)),
        (Term::Double(a), Term::Double(b)) => a.partial_cmp(&b),
        (Term::Int(a), Term::Double(b)) => numeric::int_against_double(a, b),
        (Term::Double(a), Term::Int(b)) => numeric::int_against_double(b, a).map(Ordering::reverse),
        (Term::Text(a), Term::Text(b)) => Some(a.cmp(b)),
        (Term::Moment(a), Term::Moment(b)) => Some(a.cmp(&b)),
        (Term::Span(a), Term::Span(b)) => Some(a.cmp(&b)),
        (Term::Bool(a), Term::Bool(b)) => Some(a.cmp(&b)),
        _ => None,
    }
}

/// `a + b` and its like, texts left out.
#[inline]
pub(super) fn compute<'e>(operation: Operation, a: Term<'e>, b: Term<'e>) -> Option<Term<'e>> {
    match (a, b) {
        (Term::Int(a), Term::Int(b)) => integers(operation, a, b).map(Term::Int),
        (Term::Double(a), Term::Double(b)) => doubles(operation, a, b),
        (Term::Int(a), Term::Double(b)) => doubles(operation, exact(a)?, b),
        (Term::Double(a), Term::Int(b)) => doubles(operation, a, exact(b)?),
        (a, b) => times(operation, a, b),
    }
}

#[inline]
pub(super) fn integers(operation: Operation, a: i64, b: i64) -> Option<i64> {
    match operation {
        Operation::Add => a.checked_add(b),
        Operation::Subtract => a.checked_sub(b),
        Operation::Multiply => a.checked_mul(b),
        Operation::Divide => a.checked_div(b),
        Operation::Modulo => a.checked_rem(b),
    }
}

fn doubles<'e>(operation: Operation, a: f64, b: f64) -> Option<Term<'e>> {
    Some(Term::Double(match operation {
        Operation::Add => a + b,
        Operation::Subtract => a - b,
        Operation::Multiply => a * b,
        Operation::Divide => a / b,
        Operation::Modulo => return None,
    }))
}

fn exact(int: i64) -> Option<f64> {
    (int.unsigned_abs() <= EXACT_MAX.unsigned_abs()).then_some(int as f64)
}

fn times<'e>(operation: Operation, a: Term<'e>, b: Term<'e>) -> Option<Term<'e>> {
    match (operation, a, b) {
        (Operation::Add, Term::Moment(moment), Term::Span(span))
        | (Operation::Add, Term::Span(span), Term::Moment(moment)) => moment.plus(span).map(Term::Moment),
        (Operation::Subtract, Term::Moment(moment), Term::Span(span)) => moment.minus(span).map(Term::Moment),
        (Operation::Subtract, Term::Moment(a), Term::Moment(b)) => a.since(b).map(Term::Span),
        (Operation::Add, Term::Span(a), Term::Span(b)) => a.checked_add(b).map(Term::Span),
        (Operation::Subtract, Term::Span(a), Term::Span(b)) => a.checked_sub(b).map(Term::Span),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_what_the_schema_calls_them_where_no_digit_is_lost() {
        let (int, double) = (Some(NumberType::Int), Some(NumberType::Double));
        for (text, said, term) in [
            ("5", None, Some(Term::Int(5))),
            ("-0", None, Some(Term::Int(0))),
            ("5", double, Some(Term::Double(5.0))),
            ("9007199254740993", double, Some(Term::Int(9_007_199_254_740_993))),
            ("5.0", int, Some(Term::Int(5))),
            ("5.5", int, Some(Term::Double(5.5))),
            ("5e1", None, Some(Term::Double(50.0))),
            ("9223372036854775807", None, Some(Term::Int(i64::MAX))),
            ("-9223372036854775808", int, Some(Term::Int(i64::MIN))),
            ("9223372036854775808", None, None),
            ("1e400", None, None),
        ] {
            assert_eq!(number(text, said), term, "{text} {said:?}");
        }
    }

    #[test]
    fn what_would_be_an_error_has_no_answer() {
        assert_eq!(compute(Operation::Divide, Term::Int(1), Term::Int(0)), None);
        assert_eq!(compute(Operation::Add, Term::Int(i64::MAX), Term::Int(1)), None);
        assert_eq!(compute(Operation::Multiply, Term::Int(EXACT_MAX + 1), Term::Double(2.0)), None);
        assert_eq!(compute(Operation::Add, Term::Text("a"), Term::Int(1)), None);
        assert_eq!(compare(Term::Text("a"), Term::Int(1)), None);
        assert_eq!(compare(Term::Double(f64::NAN), Term::Double(1.0)), None);
        assert_eq!(equal(Term::Object, Term::Object), None);
        assert_eq!(equal(Term::Object, Term::Null), Some(false));
        assert_eq!(equal(Term::Int(5), Term::Double(5.0)), Some(true));
        assert_eq!(equal(Term::Text("5"), Term::Int(5)), Some(false));
    }
}
