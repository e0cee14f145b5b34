//! Business rules: CEL expressions over the payload (`this`), the whole `event`, its `record` and `now`.
//!
//! The `cel` crate parses and evaluates; around it stand
//!
//! * [`parse`]: bounds on the source, so that no rule file overflows the parser's stack;
//! * [`names`], [`prepare`]: every name is checked when the rule is loaded, patterns are compiled then, and operators are
//!   rewritten to ours;
//! * [`clash`], [`truth`]: what cannot be true of any payload of the schema is refused; what is always so is told;
//! * [`json`], [`record`]: the event as lazy values, numbers as the schema calls them, never rounded;
//! * [`numeric`], [`functions`]: exact comparison, arithmetic that lets an int meet a double, `sum()`;
//! * [`scalar`]: single values, for keys and measures;
//! * [`budget`]: what one evaluation may cost;
//! * [`slots`]: the same expression compiled by us, for what is certain; the crate is asked for the rest.
//!
//! What evaluates differently from the crate is listed in `tests/suites.rs`, which runs CEL's conformance tests.

mod budget;
mod clash;
#[doc(hidden)]
pub mod conformance;
mod error;
mod functions;
mod json;
mod names;
mod numeric;
mod parse;
mod prepare;
mod record;
mod scalar;
mod slots;
#[cfg(test)]
mod tests;
mod truth;

use std::collections::BTreeSet;

use cel::common::ast::{Expr, LiteralValue, operators};
use cel::common::types::{CelBool, CelString, CelTimestamp};
use cel::common::value::{CowVal, Val};
use cel::context::VariableResolver;
use cel::{Context, IdedExpr, Value};

use self::budget::Budget;
pub use self::budget::UNITS_MAX;
pub use self::clash::Shape;
pub use self::error::EvaluationError;
use self::functions::Patterns;
pub use self::parse::{NESTING_MAX, SOURCE_MAX};
use self::prepare::Vocabulary;
pub use self::prepare::{DEPTH_MAX, LOOPS_MAX, PATTERN_SIZE_MAX};
pub use self::scalar::Scalar;
use self::slots::Slots;
pub use self::slots::{Cost, Ground, SlotScope};
use super::Scope;
use super::capture::Reads;
use super::number_types::NumberTypes;

/// The longest message an expression gives, in characters.
pub const MESSAGE_MAX: usize = 1000;

/// What an expression is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Yields {
    /// A condition.
    Bool,
    /// A message.
    Text,
    /// A value that is not made of others: part of a key, or what is measured.
    Scalar,
}

/// Why an expression is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ExpressionFault {
    /// Of the byte of the source the fault is at.
    pub offset: usize,
    pub message: String,
    pub hint: Option<String>,
}

/// A compiled expression.
#[derive(Debug)]
pub struct Expression {
    root: Box<IdedExpr>,
    patterns: Option<Patterns>,
    words: BTreeSet<String>,
    /// As it was parsed.
    written: Box<IdedExpr>,
    yields: Yields,
    /// What it is for every event, where that is plain.
    truth: Option<bool>,
    slots: Option<Box<Slots>>,
}

impl Expression {
    /// # Errors
    ///
    /// When the source is no CEL, is longer than [`SOURCE_MAX`], nested deeper than [`NESTING_MAX`] or [`DEPTH_MAX`] or
    /// loops deeper than [`LOOPS_MAX`]; names what does not exist; calls a function with the wrong number of arguments;
    /// has a pattern that is not constant, does not run in linear time or is larger than [`PATTERN_SIZE_MAX`]; or cannot
    /// yield what it is for.
    pub fn compile(source: &str, yields: Yields) -> Result<Self, ExpressionFault> {
        Self::compile_for(source, yields, None)
    }

    /// Compiles an expression over payloads of a schema.
    ///
    /// # Errors
    ///
    /// As [`Expression::compile`], and when it can give nothing for any payload the schema allows.
    pub fn compile_for(source: &str, yields: Yields, shape: Option<Shape<'_>>) -> Result<Self, ExpressionFault> {
        let parsed = parse::parse(source, functions::env())?;
        if let Some(got) = surely_yields(&parsed.root.expr, yields) {
            let wanted = yields.wanted();
            let message = format!("the expression gives {got}, where {wanted} is needed");
            return Err(ExpressionFault { offset: 0, message, hint: None });
        }
        let prepared = prepare::prepare(&parsed, Vocabulary::Rule)?;
        shape.map_or(Ok(()), |shape| clash::check(&parsed, yields, shape))?;
        let truth = truth::truth(&parsed.root, shape);
        Ok(Self { truth, ..Self::of(prepared, parsed.root, yields) })
    }

    fn of(prepared: prepare::Prepared, written: IdedExpr, yields: Yields) -> Self {
        let patterns = (!prepared.patterns.is_empty()).then(|| Patterns(prepared.patterns.into()));
        Self {
            root: Box::new(prepared.root),
            patterns,
            words: prepared.words,
            written: Box::new(written),
            yields,
            truth: None,
            slots: None,
        }
    }

    /// Compiles the expression to be evaluated over what one pass finds of an event, so far as that covers it, and adds what it
    /// reads to `reads`.
    pub fn read_slots(&mut self, reads: &mut Reads, ground: Ground<'_>) {
        let patterns = self.patterns.as_ref().map_or(&[][..], |patterns| &*patterns.0);
        self.slots = Slots::compile(&self.written, self.yields, patterns, reads, ground).map(Box::new);
    }

    /// What the condition is for every event, where that is plain to see.
    pub fn truth(&self) -> Option<bool> {
        self.truth
    }

    /// Whether there is a compiled form: [`Expression::read_slots`] has made one.
    pub fn has_slots(&self) -> bool {
        self.slots.is_some()
    }

    /// [`Expression::test`], by the compiled form. `None` when the crate must be asked, over the event's tree.
    ///
    /// # Errors
    ///
    /// As the crate's: when a field is missing.
    #[inline]
    pub fn test_on_slots(&self, scope: &SlotScope<'_>) -> Option<Result<bool, EvaluationError>> {
        self.slots.as_ref()?.test(scope)
    }

    /// [`Expression::text`], by the compiled form. `None` when the crate must be asked, over the event's tree.
    ///
    /// # Errors
    ///
    /// As the crate's: when a field is missing.
    pub fn text_on_slots(&self, scope: &SlotScope<'_>) -> Option<Result<String, EvaluationError>> {
        self.slots.as_ref()?.text(scope)
    }

    /// Gives `read` the value the expression has, by the compiled form. `None` when the crate must be asked, over the event's
    /// tree.
    ///
    /// # Errors
    ///
    /// As the crate's: when a field is missing.
    pub fn scalar_on_slots<T>(
        &self,
        scope: &SlotScope<'_>,
        read: impl Fn(Scalar<'_>) -> T,
    ) -> Option<Result<T, EvaluationError>> {
        self.slots.as_ref()?.scalar(scope, read)
    }

    /// The most it can cost.
    pub fn cost(&self) -> Cost {
        Cost::of(&self.written)
    }

    /// Whether the condition holds.
    ///
    /// # Errors
    ///
    /// When it has no answer on this event. That is not a pass.
    pub fn test(&self, bindings: &Bindings<'_>) -> Result<bool, EvaluationError> {
        self.evaluate(bindings, |val| match val.downcast_ref::<CelBool>() {
            Some(bool) => Ok(*bool.inner()),
            None => Err(wrong_result(val, Yields::Bool)),
        })
    }

    /// The message, cut after [`MESSAGE_MAX`] characters. It says what the document says: evaluate it over a masked one.
    ///
    /// # Errors
    ///
    /// When it has none on this event.
    pub fn text(&self, bindings: &Bindings<'_>) -> Result<String, EvaluationError> {
        self.evaluate(bindings, |val| match val.downcast_ref::<CelString>() {
            Some(text) => Ok(text.inner().chars().take(MESSAGE_MAX).collect()),
            None => Err(wrong_result(val, Yields::Text)),
        })
    }

    /// Gives `read` the value the expression has.
    ///
    /// # Errors
    ///
    /// When it has none on this event, or it is a list, a map, a duration or a number beyond 64 bits.
    pub fn scalar<T>(&self, bindings: &Bindings<'_>, read: impl FnOnce(Scalar<'_>) -> T) -> Result<T, EvaluationError> {
        self.evaluate(bindings, |val| match Scalar::of_val(val) {
            Some(scalar) => Ok(read(scalar)),
            None => Err(wrong_result(val, Yields::Scalar)),
        })
    }

    fn evaluate<T>(
        &self,
        bindings: &Bindings<'_>,
        read: impl FnOnce(&dyn Val) -> Result<T, EvaluationError>,
    ) -> Result<T, EvaluationError> {
        bindings.budget.refill();
        let mut context = Context::with_env(functions::env().clone());
        context.set_variable_resolver(bindings);
        self.patterns
            .iter()
            .for_each(|patterns| context.add_variable_as_val(functions::PATTERNS, Box::new(patterns.clone())));
        match Value::resolve_val(&self.root, &context) {
            Ok(val) => read(val.as_ref()),
            Err(error) => Err(EvaluationError::of(error, &self.words)),
        }
    }
}

impl Yields {
    fn wanted(self) -> &'static str {
        match self {
            Self::Bool => "bool",
            Self::Text => "string",
            Self::Scalar => "a string, number, bool, timestamp or null",
        }
    }
}

fn wrong_result(val: &dyn Val, yields: Yields) -> EvaluationError {
    EvaluationError::WrongResult { got: val.get_type().name().to_owned(), wanted: yields.wanted() }
}

/// What the expression gives, when that is plain to see and not what it is for.
fn surely_yields(root: &Expr, yields: Yields) -> Option<&'static str> {
    let got = match root {
        Expr::Literal(LiteralValue::Boolean(_)) => "bool",
        Expr::Literal(LiteralValue::String(_)) => "string",
        Expr::Literal(_) => "another constant",
        Expr::List(_) => "a list",
        Expr::Map(_) => "a map",
        Expr::Select(select) if select.test => "bool",
        Expr::Call(call) => match call.func_name.as_str() {
            operators::LESS | operators::LESS_EQUALS | operators::GREATER | operators::GREATER_EQUALS => "bool",
            operators::EQUALS | operators::NOT_EQUALS | operators::IN => "bool",
            operators::LOGICAL_AND | operators::LOGICAL_OR | operators::LOGICAL_NOT => "bool",
            operators::SUBSTRACT | operators::MULTIPLY | operators::DIVIDE | operators::MODULO => "a number",
            "size" | "int" | "uint" | "double" | "sum" => "a number",
            "string" | "format" | "join" | "lowerAscii" | "upperAscii" => "string",
            _ => return None,
        },
        _ => return None,
    };
    let fits = match yields {
        Yields::Scalar => !matches!(got, "a list" | "a map"),
        Yields::Bool | Yields::Text => got == yields.wanted(),
    };
    (!fits).then_some(got)
}

/// The values of one event's variables, shared by all expressions of a contract. Nothing is converted until an expression
/// looks at it.
#[derive(Debug)]
pub struct Bindings<'a> {
    this: Box<dyn Val + 'a>,
    event: Box<dyn Val + 'a>,
    record: record::Record<'a>,
    now: CelTimestamp,
    budget: Budget,
}

impl<'a> Bindings<'a> {
    /// Numbers are what their text looks like: `5` is an int, `5.0` a double.
    pub fn new(scope: &Scope<'a>) -> Self {
        Self::bind(scope, json::val(scope.this, None), json::val(scope.event, None))
    }

    /// Numbers are what the schema calls them, where it says and no digit is lost (see [`NumberTypes`]). `event` are the
    /// types seen from the whole event: [`NumberTypes::within`] of the payload's pointer.
    pub fn typed(scope: &Scope<'a>, this: &'a NumberTypes, event: &'a NumberTypes) -> Self {
        Self::bind(scope, json::val(scope.this, this.root()), json::val(scope.event, event.root()))
    }

    /// Whether the units left would have paid for the answers `slots` gave, had the crate given them. If not, it might have run
    /// out of units on the way, and only it can say what the event's verdict is.
    pub fn afford(&self, slots: &SlotScope<'_>) -> bool {
        self.budget.left() >= slots.spent()
    }

    /// Spends from what `other`, of the same event, has left.
    #[must_use]
    pub fn sharing(self, other: &Bindings<'_>) -> Self {
        Self { budget: other.budget.clone(), ..self }
    }

    fn bind(scope: &Scope<'a>, this: Box<dyn Val + 'a>, event: Box<dyn Val + 'a>) -> Self {
        let now = record::timestamp(scope.now);
        Self { this, event, record: record::Record::new(scope.record), now, budget: Budget::new() }
    }
}

impl VariableResolver for Bindings<'_> {
    fn resolve<'b>(&'b self, variable: &str) -> Option<CowVal<'b, 'b>> {
        Some(CowVal::Borrowed(match variable {
            "this" => self.this.as_ref(),
            "event" => self.event.as_ref(),
            "record" => &self.record,
            "now" => &self.now,
            budget::VARIABLE => &self.budget,
            _ => return None,
        }))
    }
}
