//! What a compiled expression is evaluated over, and how it looks values up there.

use std::cell::Cell;

use super::moment::Moment;
use super::term::Term;
use crate::model::Timestamp;
use crate::rule::RecordFacts;
use crate::rule::capture::{Captured, Found, Kind, Row, Slot};
use crate::rule::expr::budget::UNITS_MAX;
use crate::rule::expr::prepare::LOOPS_MAX;
use crate::rule::number_types::NumberType;

/// One event, for the compiled forms of all its contract's expressions.
#[derive(Debug)]
pub struct SlotScope<'e> {
    captured: Captured<'e>,
    pub(super) record: RecordFacts<'e>,
    now: Timestamp,
    /// What the crate would have spent at most, in units of its budget.
    spent: Cell<i64>,
}

/// Why an evaluation ends without a value. As wide as an int, so that a result of either fits two registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stop(u64);

impl Stop {
    /// The crate is to be asked.
    pub(super) const UNSURE: Self = Self(u64::MAX);

    /// The field that is missing, where that is the reason.
    pub(super) fn name(self) -> Option<Name> {
        u32::try_from(self.0).ok().map(Name)
    }

    /// The operands that the operator does not take, where that is the reason.
    pub(super) fn clash(self) -> Option<Clash> {
        let is_clash = self != Self::UNSURE && self.name().is_none();
        let clash = Clash { operator: (self.0 >> 16) as u8, left: (self.0 >> 8) as u8, right: self.0 as u8 };
        is_clash.then_some(clash)
    }
}

/// The crate would say that the operator is not defined for such operands.
impl From<Clash> for Stop {
    fn from(Clash { operator, left, right }: Clash) -> Self {
        // Beyond what a name can be.
        Self(1 << 32 | u64::from(operator) << 16 | u64::from(left) << 8 | u64::from(right))
    }
}

/// An operator and the types of operands it is not defined for, by their places in [`OPERATORS`] and [`TYPES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Clash {
    operator: u8,
    left: u8,
    right: u8,
}

/// As the crate calls them.
const OPERATORS: [&str; 9] = ["_+_", "_-_", "_*_", "_/_", "_%_", "_<_", "_<=_", "_>_", "_>=_"];
const TYPES: [&str; 3] = ["int", "double", "string"];

impl Clash {
    /// `None` where the operator may be defined for them, or it is not known here what the crate would say.
    pub(super) fn of(operator: &str, left: Term<'_>, right: Term<'_>) -> Option<Self> {
        let type_of = |term| match term {
            Term::Int(_) => Some(0),
            Term::Double(_) => Some(1),
            Term::Text(_) => Some(2),
            _ => None,
        };
        let operator = OPERATORS.iter().position(|known| *known == operator)?;
        let (left, right) = (type_of(left)?, type_of(right)?);
        ((left == 2) != (right == 2)).then_some(Self { operator: operator as u8, left, right })
    }

    pub(super) fn operator(self) -> &'static str {
        OPERATORS[usize::from(self.operator)].trim_matches('_')
    }

    pub(super) fn types(self) -> [&'static str; 2] {
        [self.left, self.right].map(|index| TYPES[usize::from(index)])
    }
}

/// The crate would say that this field is missing.
impl From<Name> for Stop {
    fn from(name: Name) -> Self {
        Self(u64::from(name.0))
    }
}

/// Names a field an expression writes: its index among them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Name(pub(super) u32);

/// What `None` means of what is not computed here.
pub(super) fn sure<T>(value: Option<T>) -> Result<T, Stop> {
    value.ok_or(Stop::UNSURE)
}

/// Which element each loop around is at. The first is the event's row, so that every place has one; the last is that of a list
/// gone through without a macro (`in`, `sum`), which may be inside all of them.
pub(super) type Rows = [Row; 2 + LOOPS_MAX];

/// The rows outside all loops.
pub(super) const OUTSIDE: Rows = [Row::EVENT; 2 + LOOPS_MAX];

impl<'e> SlotScope<'e> {
    pub fn new(captured: Captured<'e>, record: RecordFacts<'e>, now: Timestamp) -> Self {
        Self { captured, record, now, spent: Cell::new(0) }
    }

    pub fn record(&self) -> &RecordFacts<'e> {
        &self.record
    }

    /// The units of the crate's budget that the answers given so far would have cost there, at most. Up to [`UNITS_MAX`] are
    /// given, a fifth of what an event has; what would cost more is unsure.
    pub fn spent(&self) -> i64 {
        self.spent.get()
    }

    pub fn captured(&self) -> &Captured<'e> {
        &self.captured
    }

    /// Counts what the crate would spend, at most.
    #[inline]
    pub(super) fn spend(&self, units: usize) -> Result<(), Stop> {
        let spent = self.spent.get().saturating_add(i64::try_from(units).unwrap_or(i64::MAX));
        self.spent.set(spent);
        if spent > UNITS_MAX { Err(Stop::UNSURE) } else { Ok(()) }
    }

    /// Takes back what was counted since.
    pub(super) fn refund(&self, spent: i64) {
        self.spent.set(spent);
    }

    /// Counts a text that is read once.
    #[inline]
    pub(super) fn spend_text(&self, text: &str) -> Result<(), Stop> {
        self.spend_bytes(text.len())
    }

    #[inline]
    pub(super) fn spend_bytes(&self, bytes: usize) -> Result<(), Stop> {
        if bytes < 1024 { Ok(()) } else { self.spend(bytes / 1024) }
    }

    pub(super) fn now(&self) -> Result<Term<'e>, Stop> {
        sure(Moment::of(self.now).map(Term::Moment))
    }
}

/// A place expressions read.
#[derive(Debug, Clone)]
pub(super) struct Place {
    slot: Slot,
    /// Which of the rows it is in.
    row: usize,
    /// From `this`, `event` or a loop's variable down to the place, each but the first by the name that leads there.
    way: Box<[(Slot, Name)]>,
    /// What the schema calls a number there.
    said: Option<NumberType>,
}

impl Place {
    /// `way` holds at least the place itself, at its end.
    pub(super) fn new(row: usize, way: Vec<(Slot, Name)>, said: Option<NumberType>) -> Option<Self> {
        let (slot, _) = *way.last()?;
        Some(Self { slot, row, way: way.into(), said })
    }

    pub(super) fn said(&self) -> Option<NumberType> {
        self.said
    }

    #[inline]
    pub(super) fn find<'e>(&self, scope: &SlotScope<'e>, rows: &Rows) -> Result<Found<'e>, Stop> {
        match scope.captured.value(rows[self.row], self.slot) {
            Some(found) => Ok(found),
            None => Err(self.absent(scope, rows)),
        }
    }

    /// The value there, where it is a plain integer: see [`Found::integer`].
    #[inline]
    pub(super) fn integer(&self, scope: &SlotScope<'_>, rows: &Rows) -> Option<i64> {
        scope.captured.value(rows[self.row], self.slot)?.integer()
    }

    /// The JSON text there; empty where there is none.
    #[inline]
    pub(super) fn bytes<'e>(&self, scope: &SlotScope<'e>, rows: &Rows) -> &'e [u8] {
        scope.captured.bytes(rows[self.row], self.slot)
    }

    /// The text there, in quotes. `None` for other kinds, and for texts with escapes.
    #[inline]
    pub(super) fn quoted<'e>(&self, scope: &SlotScope<'e>, rows: &Rows) -> Option<&'e [u8]> {
        scope.captured.plain_bytes(rows[self.row], self.slot)
    }

    #[inline]
    pub(super) fn term<'e>(&self, scope: &SlotScope<'e>, rows: &Rows) -> Result<Term<'e>, Stop> {
        sure(Term::of(self.find(scope, rows)?, self.said))
    }

    /// `has()`. Only an object can be asked.
    #[inline(never)]
    pub(super) fn exists(&self, scope: &SlotScope<'_>, rows: &Rows) -> Result<bool, Stop> {
        if !self.bytes(scope, rows).is_empty() {
            return Ok(true);
        }
        match self.first_absent(scope, rows) {
            Some(step) if step + 1 == self.way.len() => Ok(false),
            _ => Err(self.absent(scope, rows)),
        }
    }

    #[cold]
    fn absent(&self, scope: &SlotScope<'_>, rows: &Rows) -> Stop {
        self.first_absent(scope, rows).map_or(Stop::UNSURE, |step| self.way[step].1.into())
    }

    /// The step at which the way to a place that is not there ends, for want of a field. `None` where it ends at something
    /// that has no fields.
    fn first_absent(&self, scope: &SlotScope<'_>, rows: &Rows) -> Option<usize> {
        let kind = |slot| scope.captured.value(rows[self.row], slot).map(|found| found.kind());
        let end = self.way.iter().position(|(slot, _)| kind(*slot) != Some(Kind::Object))?;
        (end > 0 && kind(self.way[end].0).is_none()).then_some(end)
    }

    /// Whether it is the same at every turn of the loop with this row.
    pub(super) fn is_outside(&self, row: usize) -> bool {
        self.row != row
    }

    /// Of a list that is looped over.
    pub(super) fn list<'e>(&self, scope: &SlotScope<'e>, rows: &Rows) -> Result<Found<'e>, Stop> {
        let found = self.find(scope, rows)?;
        if found.kind() == Kind::Array { Ok(found) } else { Err(Stop::UNSURE) }
    }
}
