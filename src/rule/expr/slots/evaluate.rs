//! What a tree gives on an event.
//!
//! Values and errors come in the crate's order: operands from left to right, a method's arguments before its target, and
//! `&&`, `||`, `all` and `exists` answer in spite of an error where another operand decides.

use std::cmp::Ordering;

use super::moment::Moment;
use super::scope::{Clash, Place, Rows, SlotScope, Stop, sure};
use super::term::{self, Term};
use super::tree::{Comparison, List, RecordField, Search, Stream, Test, TextTest, Value, Weight, Whole};
use crate::rule::capture::{Kind, Row};
use crate::rule::expr::numeric::Operation;

// Trees are walked by calls that do little but go on to another. What each kind of node does is kept out of line, so that these
// need no frame of their own.

impl Test {
    pub(super) fn holds(&self, scope: &SlotScope<'_>, rows: &Rows) -> Result<bool, Stop> {
        match self {
            Self::Constant(constant) => Ok(*constant),
            Self::Wholes(comparison, sides) => wholes(*comparison, sides, scope, rows),
            Self::Same(places) => same(places, scope, rows),
            Self::Equal(sides) => equal_values(sides, scope, rows),
            Self::Order(comparison, sides) => ordered(*comparison, sides, scope, rows),
            Self::Value(value) => truth(value, scope, rows),
            Self::Not(test) => not(test, scope, rows),
            Self::And(sides) => both(sides, false, scope, rows),
            Self::Or(sides) => both(sides, true, scope, rows),
            Self::If(parts) => either(parts, scope, rows),
            Self::Has(place) => place.exists(scope, rows),
            Self::HasRecord(field) => field.is_there(scope),
            Self::All(parts) => parts.0.decides(&parts.1, false, scope, rows),
            Self::Exists(parts) => parts.0.decides(&parts.1, true, scope, rows),
            Self::Search(search) => search.holds(scope, rows),
        }
    }
}

#[inline(never)]
fn wholes(comparison: Comparison, sides: &(Whole, Whole), scope: &SlotScope<'_>, rows: &Rows) -> Result<bool, Stop> {
    let (a, b) = ints(sides, comparison.operator(), scope, rows)?;
    Ok(comparison.holds(a.cmp(&b)))
}

/// Both operands. Where one is no int, it may be plain what the crate would say of the operator.
#[inline]
fn ints(sides: &(Whole, Whole), operator: &str, scope: &SlotScope<'_>, rows: &Rows) -> Result<(i64, i64), Stop> {
    match (sides.0.int(scope, rows), sides.1.int(scope, rows)) {
        (Ok(a), Ok(b)) => Ok((a, b)),
        (Err(Stop::UNSURE), _) | (Ok(_), Err(Stop::UNSURE)) => Err(clash(sides, operator, scope, rows)),
        (Err(stop), _) | (_, Err(stop)) => Err(stop),
    }
}

#[cold]
fn clash(sides: &(Whole, Whole), operator: &str, scope: &SlotScope<'_>, rows: &Rows) -> Stop {
    let term = |side: &Whole| match side {
        Whole::Read(place) => place.term(scope, rows),
        other => other.int(scope, rows).map(Term::Int),
    };
    match term(&sides.0).and_then(|a| Ok((a, term(&sides.1)?))) {
        Ok((a, b)) => Clash::of(operator, a, b).map_or(Stop::UNSURE, Stop::from),
        Err(stop) => stop,
    }
}

#[inline(never)]
fn same(places: &(Place, Place), scope: &SlotScope<'_>, rows: &Rows) -> Result<bool, Stop> {
    if let (Some(a), Some(b)) = (places.0.quoted(scope, rows), places.1.quoted(scope, rows)) {
        scope.spend_bytes(a.len())?;
        return Ok(a == b);
    }
    equal(places.0.term(scope, rows)?, places.1.term(scope, rows)?, scope)
}

#[inline(never)]
fn equal_values(sides: &(Value, Value), scope: &SlotScope<'_>, rows: &Rows) -> Result<bool, Stop> {
    let (a, b) = (sides.0.term(scope, rows)?, sides.1.term(scope, rows)?);
    equal(a, b, scope)
}

#[inline(never)]
fn ordered(comparison: Comparison, sides: &(Value, Value), scope: &SlotScope<'_>, rows: &Rows) -> Result<bool, Stop> {
    let (a, b) = (sides.0.term(scope, rows)?, sides.1.term(scope, rows)?);
    match term::compare(a, b) {
        Some(ordering) => Ok(comparison.holds(ordering)),
        None => Err(Clash::of(comparison.operator(), a, b).map_or(Stop::UNSURE, Stop::from)),
    }
}

#[inline(never)]
fn truth(value: &Value, scope: &SlotScope<'_>, rows: &Rows) -> Result<bool, Stop> {
    match value.term(scope, rows)? {
        Term::Bool(bool) => Ok(bool),
        _ => Err(Stop::UNSURE),
    }
}

#[inline(never)]
fn not(test: &Test, scope: &SlotScope<'_>, rows: &Rows) -> Result<bool, Stop> {
    Ok(!test.holds(scope, rows)?)
}

#[inline(never)]
fn either(parts: &(Test, Test, Test), scope: &SlotScope<'_>, rows: &Rows) -> Result<bool, Stop> {
    let branch = if parts.0.holds(scope, rows)? { &parts.1 } else { &parts.2 };
    branch.holds(scope, rows)
}

impl Search {
    #[inline(never)]
    fn holds(&self, scope: &SlotScope<'_>, rows: &Rows) -> Result<bool, Stop> {
        match self {
            Self::Among(value, constants) => {
                let value = value.term(scope, rows)?;
                charge(value, constants.len(), scope)?;
                sure(constants.holds(value))
            }
            Self::AnyOf(value, list) => any_of(value, list, scope, rows),
            Self::Element(value, list, element) => list.holds(value.term(scope, rows)?, element, scope, rows),
            Self::Text(test, text, other) => {
                let other = other.text(scope, rows)?;
                let text = text.text(scope, rows)?;
                scope.spend_text(other)?;
                scope.spend_text(text)?;
                Ok(test.holds(text, other))
            }
            Self::Matches(text, pattern, weight) => {
                let text = text.text(scope, rows)?;
                weight.charge(text, scope)?;
                Ok(pattern.is_match(text))
            }
            Self::ExistsOne(list, test) => {
                let mut count = 0;
                list.for_each(scope, rows, |rows| {
                    count += usize::from(test.holds(scope, rows)?);
                    Ok(())
                })?;
                Ok(count == 1)
            }
        }
    }
}

/// `&&`, which `false` decides, or `||`, which `true` decides.
#[inline(never)]
fn both(sides: &(Test, Test), decides: bool, scope: &SlotScope<'_>, rows: &Rows) -> Result<bool, Stop> {
    match sides.0.holds(scope, rows) {
        Ok(a) if a == decides => Ok(a),
        Ok(_) => sides.1.holds(scope, rows),
        Err(Stop::UNSURE) => Err(Stop::UNSURE),
        Err(missing) => match sides.1.holds(scope, rows) {
            Ok(b) if b != decides => Err(missing),
            decided => decided,
        },
    }
}

fn equal(a: Term<'_>, b: Term<'_>, scope: &SlotScope<'_>) -> Result<bool, Stop> {
    if let Term::Text(text) = a {
        scope.spend_text(text)?;
    }
    sure(term::equal(a, b))
}

/// Counts so many comparisons of a value, those of a turn left out: they are in what the turn costs.
fn charge(value: Term<'_>, comparisons: usize, scope: &SlotScope<'_>) -> Result<(), Stop> {
    match value {
        Term::Text(text) if text.len() >= 1024 => scope.spend(comparisons.saturating_mul(1 + text.len() / 1024)),
        _ => Ok(()),
    }
}

fn any_of(value: &Value, list: &[Value], scope: &SlotScope<'_>, rows: &Rows) -> Result<bool, Stop> {
    let value = value.term(scope, rows)?;
    charge(value, list.len(), scope)?;
    let mut found = false;
    for element in list {
        let element = element.term(scope, rows)?;
        found = found || equal(value, element, scope)?;
    }
    Ok(found)
}

impl Comparison {
    /// As the crate calls it.
    fn operator(self) -> &'static str {
        match self {
            Self::Equal => "_==_",
            Self::NotEqual => "_!=_",
            Self::Less => "_<_",
            Self::LessEqual => "_<=_",
            Self::Greater => "_>_",
            Self::GreaterEqual => "_>=_",
        }
    }

    #[inline]
    fn holds(self, ordering: Ordering) -> bool {
        match self {
            Self::Equal => ordering.is_eq(),
            Self::NotEqual => ordering.is_ne(),
            Self::Less => ordering.is_lt(),
            Self::LessEqual => ordering.is_le(),
            Self::Greater => ordering.is_gt(),
            Self::GreaterEqual => ordering.is_ge(),
        }
    }
}

impl TextTest {
    fn holds(self, text: &str, other: &str) -> bool {
        match self {
            Self::StartsWith => text.starts_with(other),
            Self::EndsWith => text.ends_with(other),
            Self::Contains => text.contains(other),
        }
    }
}

impl Weight {
    fn charge(self, text: &str, scope: &SlotScope<'_>) -> Result<(), Stop> {
        if self.0 && text.len() >= 32 { scope.spend(text.len() / 32) } else { Ok(()) }
    }
}

impl Whole {
    pub(super) fn int(&self, scope: &SlotScope<'_>, rows: &Rows) -> Result<i64, Stop> {
        match self {
            Self::Constant(int) => Ok(*int),
            Self::Read(place) => read(place, scope, rows),
            Self::Compute(operation, sides) => computed(*operation, sides, scope, rows),
            Self::Sum(parts) => sum(&parts.0, &parts.1, scope, rows),
            Self::Count(stream) => count(stream, scope, rows),
            Self::Size(place) => size(place, scope, rows),
            Self::Negative(_) | Self::If(_) | Self::TextSize(_) => self.other_int(scope, rows),
        }
    }

    #[inline(never)]
    fn other_int(&self, scope: &SlotScope<'_>, rows: &Rows) -> Result<i64, Stop> {
        match self {
            Self::Negative(int) => sure(int.int(scope, rows)?.checked_neg()),
            Self::If(parts) => {
                let branch = if parts.0.holds(scope, rows)? { &parts.1 } else { &parts.2 };
                branch.int(scope, rows)
            }
            Self::TextSize(value) => {
                let text = value.text(scope, rows)?;
                scope.spend_text(text)?;
                Ok(text.chars().count() as i64)
            }
            _ => Err(Stop::UNSURE),
        }
    }
}

#[inline(never)]
fn read(place: &Place, scope: &SlotScope<'_>, rows: &Rows) -> Result<i64, Stop> {
    match place.integer(scope, rows) {
        Some(int) => Ok(int),
        None => int_of(place.term(scope, rows)?),
    }
}

#[inline(never)]
fn computed(operation: Operation, sides: &(Whole, Whole), scope: &SlotScope<'_>, rows: &Rows) -> Result<i64, Stop> {
    let (a, b) = ints(sides, operation.name(), scope, rows)?;
    sure(term::integers(operation, a, b))
}

#[inline(never)]
fn count(stream: &Stream, scope: &SlotScope<'_>, rows: &Rows) -> Result<i64, Stop> {
    if let [Test::Same(places)] = &*stream.filters
        && let Some(count) = count_same(&stream.list, places, scope, rows)?
    {
        return Ok(count);
    }
    let mut count = 0;
    stream.for_each(scope, rows, |_| {
        count += 1;
        Ok(())
    })?;
    Ok(count)
}

/// `list.filter(b, b.sku == a.sku).size()`, which rules write inside a loop over the same list: how often a text that does not
/// change is among the elements' own. `None` when it is something else, or not all are texts without escapes.
fn count_same(list: &List, places: &(Place, Place), scope: &SlotScope<'_>, rows: &Rows) -> Result<Option<i64>, Stop> {
    let (inside, outside) = match (places.0.is_outside(list.row), places.1.is_outside(list.row)) {
        (false, true) => (&places.0, &places.1),
        (true, false) => (&places.1, &places.0),
        _ => return Ok(None),
    };
    let Some(text) = outside.quoted(scope, rows).filter(|text| text.len() < 1024) else { return Ok(None) };
    let (mut inner, mut count) = (*rows, 0);
    for row in list.rows(scope, rows)? {
        inner[list.row] = row;
        let Some(other) = inside.quoted(scope, &inner).filter(|other| other.len() < 1024) else { return Ok(None) };
        count += i64::from(other == text);
    }
    Ok(Some(count))
}

#[inline(never)]
fn sum(stream: &Stream, body: &Whole, scope: &SlotScope<'_>, rows: &Rows) -> Result<i64, Stop> {
    let mut sum = 0_i64;
    stream.for_each(scope, rows, |rows| {
        sum = sure(sum.checked_add(body.int(scope, rows)?))?;
        Ok(())
    })?;
    Ok(sum)
}

fn int_of(term: Term<'_>) -> Result<i64, Stop> {
    match term {
        Term::Int(int) => Ok(int),
        _ => Err(Stop::UNSURE),
    }
}

/// Of a list or a text.
#[inline(never)]
fn size(place: &Place, scope: &SlotScope<'_>, rows: &Rows) -> Result<i64, Stop> {
    let found = place.find(scope, rows)?;
    match found.kind() {
        Kind::Array => Ok(found.len() as i64),
        Kind::String => {
            let text = sure(found.plain_string())?;
            scope.spend_text(text)?;
            Ok(text.chars().count() as i64)
        }
        _ => Err(Stop::UNSURE),
    }
}

impl Value {
    pub(super) fn term<'e>(&'e self, scope: &SlotScope<'e>, rows: &Rows) -> Result<Term<'e>, Stop> {
        match self {
            Self::Constant(term) => Ok(*term),
            Self::Text(text) => Ok(Term::Text(text)),
            Self::Read(place) => place.term(scope, rows),
            Self::Whole(whole) => whole.int(scope, rows).map(Term::Int),
            Self::Test(test) => test.holds(scope, rows).map(Term::Bool),
            Self::Compute(operation, sides) => {
                let (a, b) = (sides.0.term(scope, rows)?, sides.1.term(scope, rows)?);
                let clash = || Clash::of(operation.name(), a, b).map_or(Stop::UNSURE, Stop::from);
                term::compute(*operation, a, b).ok_or_else(clash)
            }
            Self::Negative(value) => match value.term(scope, rows)? {
                Term::Int(int) => sure(int.checked_neg().map(Term::Int)),
                Term::Double(double) => Ok(Term::Double(-double)),
                _ => Err(Stop::UNSURE),
            },
            Self::If(parts) => {
                let branch = if parts.0.holds(scope, rows)? { &parts.1 } else { &parts.2 };
                branch.term(scope, rows)
            }
            Self::Now => scope.now(),
            Self::Record(field, name) => field.term(scope)?.ok_or((*name).into()),
            Self::Moment(value) => match value.term(scope, rows)? {
                Term::Text(text) => sure(Moment::parse(text).map(Term::Moment)),
                moment @ Term::Moment(_) => Ok(moment),
                _ => Err(Stop::UNSURE),
            },
            Self::Double(value) => match value.term(scope, rows)? {
                Term::Int(int) => Ok(Term::Double(int as f64)),
                double @ Term::Double(_) => Ok(double),
                _ => Err(Stop::UNSURE),
            },
            Self::Sum(parts) => {
                let mut sum = Term::Int(0);
                parts.0.for_each(scope, rows, |rows| {
                    sum = match parts.1.term(scope, rows)? {
                        number @ (Term::Int(_) | Term::Double(_)) => sure(term::compute(Operation::Add, sum, number))?,
                        _ => return Err(Stop::UNSURE),
                    };
                    Ok(())
                })?;
                Ok(sum)
            }
        }
    }

    pub(super) fn text<'e>(&'e self, scope: &SlotScope<'e>, rows: &Rows) -> Result<&'e str, Stop> {
        match self.term(scope, rows)? {
            Term::Text(text) => Ok(text),
            _ => Err(Stop::UNSURE),
        }
    }
}

impl RecordField {
    #[inline(never)]
    fn is_there(self, scope: &SlotScope<'_>) -> Result<bool, Stop> {
        Ok(self.term(scope)?.is_some())
    }

    /// `None` where the record has none.
    fn term<'e>(self, scope: &SlotScope<'e>) -> Result<Option<Term<'e>>, Stop> {
        let record = &scope.record;
        Ok(match self {
            Self::Stream => Some(Term::Text(record.stream)),
            Self::PartitionKey => record.partition_key.map(Term::Text),
            Self::ExplicitHashKey => record.explicit_hash_key.map(Term::Text),
            Self::ArrivedAt => Some(Term::Moment(sure(Moment::of(record.arrived))?)),
            Self::Size => Some(Term::Int(i64::try_from(record.size).unwrap_or(i64::MAX))),
        })
    }
}

impl List {
    /// Goes through the rows of the list until one stops it.
    #[inline]
    fn rows(&self, scope: &SlotScope<'_>, rows: &Rows) -> Result<impl ExactSizeIterator<Item = Row> + use<>, Stop> {
        let found = self.place.list(scope, rows)?;
        scope.spend(found.len().saturating_mul(self.turn))?;
        Ok(found.rows(scope.captured(), self.frame))
    }

    #[inline]
    fn for_each(
        &self,
        scope: &SlotScope<'_>,
        rows: &Rows,
        mut turn: impl FnMut(&Rows) -> Result<(), Stop>,
    ) -> Result<(), Stop> {
        let mut inner = *rows;
        for row in self.rows(scope, rows)? {
            inner[self.row] = row;
            turn(&inner)?;
        }
        Ok(())
    }

    /// `all`, which one `false` decides, or `exists`, which one `true` decides; in spite of fields that are missing in other
    /// elements.
    #[inline(never)]
    fn decides(&self, test: &Test, decides: bool, scope: &SlotScope<'_>, rows: &Rows) -> Result<bool, Stop> {
        let mut inner = *rows;
        let mut missing = None;
        for row in self.rows(scope, rows)? {
            inner[self.row] = row;
            match test.holds(scope, &inner) {
                Ok(holds) if holds == decides => return Ok(decides),
                Ok(_) => {}
                Err(Stop::UNSURE) => return Err(Stop::UNSURE),
                Err(stop) => missing = Some(stop),
            }
        }
        missing.map_or(Ok(!decides), Err)
    }

    /// Whether an element is equal to the value.
    fn holds(&self, value: Term<'_>, element: &Place, scope: &SlotScope<'_>, rows: &Rows) -> Result<bool, Stop> {
        let mut inner = *rows;
        for row in self.rows(scope, rows)? {
            inner[self.row] = row;
            charge(value, 1, scope)?;
            if equal(value, element.term(scope, &inner)?, scope)? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

impl Stream {
    #[inline]
    fn for_each(
        &self,
        scope: &SlotScope<'_>,
        rows: &Rows,
        mut turn: impl FnMut(&Rows) -> Result<(), Stop>,
    ) -> Result<(), Stop> {
        let result = self.list.for_each(scope, rows, |rows| {
            for filter in &self.filters {
                if !filter.holds(scope, rows)? {
                    return Ok(());
                }
            }
            turn(rows)
        });
        if self.is_single { result } else { result.map_err(|_| Stop::UNSURE) }
    }
}
