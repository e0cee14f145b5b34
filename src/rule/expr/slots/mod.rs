//! Expressions over captured slots: the `cel` crate's answers at a twentieth of the price, for what can be answered so.
//!
//! The crate walks a syntax tree and boxes every value. Here the same syntax tree is compiled once ([`compile`]) to trees whose
//! types are known ([`tree`]), and evaluated ([`evaluate`]) over the spans that one pass has found in the event's bytes
//! ([`crate::rule::capture`]): no tree of the event, and no allocation but for a message.
//!
//! **A compiled expression never guesses.** It gives what the crate would give, or says that it is unsure: of every error but a
//! missing field, of texts with escapes, numbers beyond 64 bits, and of whatever else is not certain. Then the crate evaluates
//! the very same expression. What is not covered at all has no compiled form. `tests/expressions` compares the two.
//!
//! | | |
//! | --- | --- |
//! | [`reading`], [`macros`] | which places are read; which macro was written |
//! | [`compile`], [`fold`] | syntax tree to typed tree; constants |
//! | [`tree`], [`scope`], [`evaluate`], [`message`] | the trees, what they are evaluated over, and how |
//! | [`term`], [`moment`] | values, and what CEL does with them |
//! | [`cost`] | the most an expression can cost |

mod compile;
mod cost;
mod evaluate;
mod fold;
mod macros;
mod message;
mod moment;
mod reading;
mod scope;
mod term;
#[cfg(test)]
mod tests;
mod tree;

use cel::IdedExpr;
use regex::Regex;

use self::compile::{Compiler, Trust};
pub use self::cost::Cost;
pub(super) use self::macros::each_child;
pub(super) use self::moment::Moment;
pub use self::reading::Ground;
pub use self::scope::SlotScope;
use self::scope::Stop;
use self::scope::{OUTSIDE, sure};
pub(super) use self::term::Term;
use self::tree::{Message, Test, Value};
use super::{EvaluationError, MESSAGE_MAX, Scalar, Yields};
use crate::rule::capture::Reads;

/// An expression's compiled form.
#[derive(Debug)]
pub(super) struct Slots {
    root: Root,
    /// The same for events that break their schema, so that a storm of them is no slower than it must be.
    distrustful: Root,
    names: Box<[Box<str>]>,
    /// What the crate charges outside loops, at most.
    charges: usize,
}

#[derive(Debug)]
enum Root {
    Test(Test),
    Message(Message),
    Scalar(Value),
}

impl Slots {
    /// `None` when something of the expression is not covered. Then nothing is added to `reads`.
    pub(super) fn compile(
        written: &IdedExpr,
        yields: Yields,
        patterns: &[Regex],
        reads: &mut Reads,
        ground: Ground<'_>,
    ) -> Option<Self> {
        let before = reads.clone();
        let compiled = Self::try_compile(written, yields, patterns, reads, ground);
        if compiled.is_none() {
            *reads = before;
        }
        compiled
    }

    fn try_compile(
        written: &IdedExpr,
        yields: Yields,
        patterns: &[Regex],
        reads: &mut Reads,
        ground: Ground<'_>,
    ) -> Option<Self> {
        let mut compile = |trust| {
            let mut compiler = Compiler::new(reads, ground, patterns, trust);
            if compiler.reading.hides_payload() {
                return None;
            }
            let root = match yields {
                Yields::Bool => Root::Test(compiler.test(written)?),
                Yields::Text => Root::Message(compiler.message(written)?),
                Yields::Scalar => Root::Scalar(compiler.scalar(written)?),
            };
            Some((root, compiler.reading.names))
        };
        let (distrustful, _) = compile(Trust::Nothing)?;
        let (root, names) = compile(Trust::Schema)?;
        Some(Self { root, distrustful, names: names.into(), charges: macros::charges(written) })
    }

    /// `None` when unsure.
    pub(super) fn test(&self, scope: &SlotScope<'_>) -> Option<Result<bool, EvaluationError>> {
        self.answer(scope, |root| match root {
            Root::Test(test) => test.holds(scope, &OUTSIDE),
            Root::Message(_) | Root::Scalar(_) => Err(Stop::UNSURE),
        })
    }

    /// `None` when unsure.
    pub(super) fn text(&self, scope: &SlotScope<'_>) -> Option<Result<String, EvaluationError>> {
        self.answer(scope, |root| {
            let Root::Message(message) = root else { return Err(Stop::UNSURE) };
            let mut text = String::new();
            message.write(&mut text, scope, &OUTSIDE)?;
            if let Some((end, _)) = text.char_indices().nth(MESSAGE_MAX) {
                text.truncate(end);
            }
            Ok(text)
        })
    }

    /// `None` when unsure.
    pub(super) fn scalar<T>(
        &self,
        scope: &SlotScope<'_>,
        read: impl Fn(Scalar<'_>) -> T,
    ) -> Option<Result<T, EvaluationError>> {
        self.answer(scope, |root| {
            let Root::Scalar(value) = root else { return Err(Stop::UNSURE) };
            sure(Scalar::of_term(value.term(scope, &OUTSIDE)?).map(&read))
        })
    }

    fn answer<T>(
        &self,
        scope: &SlotScope<'_>,
        evaluate: impl Fn(&Root) -> Result<T, Stop>,
    ) -> Option<Result<T, EvaluationError>> {
        self.answer_of(&self.root, scope, &evaluate).or_else(|| self.answer_of(&self.distrustful, scope, &evaluate))
    }

    /// An answer, paid for as the crate would have been.
    fn answer_of<T>(
        &self,
        root: &Root,
        scope: &SlotScope<'_>,
        evaluate: impl FnOnce(&Root) -> Result<T, Stop>,
    ) -> Option<Result<T, EvaluationError>> {
        let before = scope.spent();
        match scope.spend(self.charges).and_then(|()| evaluate(root)) {
            Ok(value) => Some(Ok(value)),
            Err(stop) => match (stop.name(), stop.clash()) {
                (Some(name), _) => {
                    let name = self.names.get(name.0 as usize)?.to_string();
                    Some(Err(EvaluationError::MissingField { name }))
                }
                (None, Some(clash)) => {
                    let (function, types) = (clash.operator().to_owned(), clash.types().join(", "));
                    Some(Err(EvaluationError::TypeMismatch { function, types }))
                }
                (None, None) => {
                    // The crate is paid for its own.
                    scope.refund(before);
                    None
                }
            },
        }
    }
}
