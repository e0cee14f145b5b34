//! The functions expressions call, and those they are rewritten to call (see `prepare`).

use std::any::Any;
use std::sync::{Arc, LazyLock};

use cel::common::types::{CelBool, CelInt, CelList, CelString, DYN_TYPE, Kind, Type};
use cel::common::value::{CowVal, StaticVal, Val};
use cel::{DeclarationError, Env, ExecutionError, extensions};
use regex::Regex;

use super::budget::Budget;
use super::numeric::{self, Operation, no_overload};

/// The longest text an expression may build, in bytes.
const TEXT_MAX: usize = 16 * 1024 * 1024;

/// The environment of every expression: CEL's standard one, its strings, math and encoders extensions, and ours.
pub(super) fn env() -> &'static Arc<Env> {
    static ENV: LazyLock<Arc<Env>> = LazyLock::new(|| Arc::new(build(Env::stdlib())));
    &ENV
}

/// Adds what expressions need to a standard environment.
///
/// # Panics
///
/// When a name is declared twice: never for an environment that is `Env::stdlib()`, which a test holds.
pub(super) fn build(mut env: Env) -> Env {
    declare(&mut env).expect("every function is declared once");
    env
}

fn declare(env: &mut Env) -> Result<(), DeclarationError> {
    env.add_extension(extensions::strings)?;
    env.add_extension(extensions::math)?;
    env.add_extension(extensions::encoders)?;
    for (name, arity, function) in OURS {
        env.add_overload(name, name, (0..arity).map(|_| DYN_TYPE).collect(), function)?;
    }
    Ok(())
}

type Function = for<'b, 'v> fn(Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError>;

/// Functions an expression cannot name: `@` begins no identifier. The last argument is the budget, where there is one.
const OURS: [(&str, usize, Function); 18] = [
    ("@add", 3, add),
    ("@subtract", 2, subtract),
    ("@multiply", 2, multiply),
    ("@divide", 2, divide),
    ("@modulo", 2, modulo),
    ("@less", 2, |args| order(&args, "_<_", std::cmp::Ordering::is_lt)),
    ("@lessEqual", 2, |args| order(&args, "_<=_", std::cmp::Ordering::is_le)),
    ("@greater", 2, |args| order(&args, "_>_", std::cmp::Ordering::is_gt)),
    ("@greaterEqual", 2, |args| order(&args, "_>=_", std::cmp::Ordering::is_ge)),
    ("@equal", 3, |args| bool_of(numeric::equal(arg(&args, 0)?, arg(&args, 1)?, budget(&args)?)?)),
    ("@notEqual", 3, |args| bool_of(!numeric::equal(arg(&args, 0)?, arg(&args, 1)?, budget(&args)?)?)),
    ("@contained", 3, |args| bool_of(numeric::contains(arg(&args, 0)?, arg(&args, 1)?, budget(&args)?)?)),
    ("@sum", 2, |args| numeric::sum(arg(&args, 0)?, budget(&args)?)),
    ("@matches", 3, matches),
    ("@replace", 5, replace),
    ("@join", 3, join),
    ("@turns", 3, turns),
    ("@weighed", 3, weighed),
];

fn arg<'a, 'v>(args: &'a [CowVal<'_, 'v>], index: usize) -> Result<&'a (dyn Val + 'v), ExecutionError> {
    args.get(index).map(AsRef::as_ref).ok_or(ExecutionError::MissingArgumentOrTarget)
}

fn budget<'a>(args: &'a [CowVal<'_, '_>]) -> Result<&'a Budget, ExecutionError> {
    args.last().and_then(|last| last.downcast_ref::<Budget>()).ok_or(ExecutionError::MissingArgumentOrTarget)
}

fn text<'a>(args: &'a [CowVal<'_, '_>], index: usize, function: &str) -> Result<&'a str, ExecutionError> {
    let val = arg(args, index)?;
    let undefined = || ExecutionError::no_such_overload(function, vec![val.get_type().name().to_owned()]);
    val.downcast_ref::<CelString>().map(CelString::inner).ok_or_else(undefined)
}

fn int(args: &[CowVal<'_, '_>], index: usize) -> Result<i64, ExecutionError> {
    let val = arg(args, index)?;
    let undefined = || ExecutionError::no_such_overload("replace", vec![val.get_type().name().to_owned()]);
    val.downcast_ref::<CelInt>().map(|int| *int.inner()).ok_or_else(undefined)
}

fn bool_of<'b, 'v>(bool: bool) -> Result<CowVal<'b, 'v>, ExecutionError> {
    Ok(CowVal::owned(CelBool::from(bool)))
}

fn order<'b, 'v>(
    args: &[CowVal<'b, 'v>],
    operator: &str,
    holds: fn(std::cmp::Ordering) -> bool,
) -> Result<CowVal<'b, 'v>, ExecutionError> {
    bool_of(holds(numeric::compare(operator, arg(args, 0)?, arg(args, 1)?)?))
}

/// Numbers as in [`numeric`]; lists and texts are joined; the rest (durations, timestamps, bytes) is CEL's own.
fn add<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let (a, b, budget) = (arg(&args, 0)?, arg(&args, 1)?, budget(&args)?);
    if let Some(result) = numeric::compute(Operation::Add, a, b) {
        return result;
    }
    let kinds = (a.get_type().kind(), b.get_type().kind());
    if let ((Kind::List, Kind::List), Some(x), Some(y)) = (kinds, a.as_iterable(), b.as_iterable()) {
        let mut joined: Vec<Box<dyn Val + 'v>> = Vec::new();
        for mut elements in [x.iter(), y.iter()] {
            while let Some(element) = elements.next() {
                budget.spend(1)?;
                joined.push(element.clone_as_boxed());
            }
        }
        return Ok(CowVal::owned(CelList::from(joined)));
    }
    if let (Some(x), Some(y)) = (a.downcast_ref::<CelString>(), b.downcast_ref::<CelString>()) {
        budget.spend_bytes(x.inner().len() + y.inner().len())?;
    }
    match a.as_adder() {
        Some(adder) => Ok(CowVal::Owned(adder.add(b).map_err(|e| undefined(e, "_+_", a, b))?.into_owned())),
        None => Err(no_overload("_+_", a, b)),
    }
}

fn subtract<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let (a, b) = (arg(&args, 0)?, arg(&args, 1)?);
    if let Some(result) = numeric::compute(Operation::Subtract, a, b) {
        return result;
    }
    match a.as_subtractor() {
        Some(subtractor) => Ok(CowVal::Owned(subtractor.sub(b).map_err(|e| undefined(e, "_-_", a, b))?.into_owned())),
        None => Err(no_overload("_-_", a, b)),
    }
}

fn multiply<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    only_numbers(Operation::Multiply, &args)
}

fn divide<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    only_numbers(Operation::Divide, &args)
}

fn modulo<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    only_numbers(Operation::Modulo, &args)
}

fn only_numbers<'b, 'v>(operation: Operation, args: &[CowVal<'b, 'v>]) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let (a, b) = (arg(args, 0)?, arg(args, 1)?);
    numeric::compute(operation, a, b).unwrap_or_else(|| Err(no_overload(operation.name(), a, b)))
}

/// The crate's error for operands of types it does not join carries their values: it is told by their types instead.
fn undefined(error: ExecutionError, operator: &str, a: &dyn Val, b: &dyn Val) -> ExecutionError {
    match error {
        ExecutionError::UnsupportedBinaryOperator(..) => no_overload(operator, a, b),
        other => other,
    }
}

/// `matches` with the pattern compiled when the expression was: its index stands for it.
fn matches<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let text = text(&args, 0, "matches")?;
    let index = arg(&args, 1)?.downcast_ref::<CelInt>().and_then(|index| usize::try_from(*index.inner()).ok());
    let patterns = arg(&args, 2)?.downcast_ref::<Patterns>();
    let pattern = index.zip(patterns).and_then(|(index, patterns)| patterns.0.get(index));
    bool_of(pattern.ok_or(ExecutionError::MissingArgumentOrTarget)?.is_match(text))
}

/// `text.replace(old, new)` and `text.replace(old, new, times)`; negative times are all. Bounds what it writes.
fn replace<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let (whole, old, new) = (text(&args, 0, "replace")?, text(&args, 1, "replace")?, text(&args, 2, "replace")?);
    let budget = budget(&args)?;
    let times = usize::try_from(int(&args, 3)?).unwrap_or(usize::MAX);
    budget.spend_bytes(whole.len())?;
    let found = whole.matches(old).take(times).count();
    write_bounded(whole.len().saturating_add(found.saturating_mul(new.len())), budget)?;
    Ok(CowVal::owned(CelString::from(whole.replacen(old, new, times))))
}

/// `list.join()` and `list.join(separator)`. Bounds what it writes.
fn join<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let (list, separator, budget) = (arg(&args, 0)?, text(&args, 1, "join")?, budget(&args)?);
    let undefined = |of: &str| ExecutionError::no_such_overload("join", vec![of.to_owned()]);
    let elements = match list.get_type().kind() {
        Kind::List => list.as_iterable().ok_or_else(|| undefined("list"))?,
        _ => return Err(undefined(list.get_type().name())),
    };
    let mut elements = elements.iter();
    let mut parts = Vec::new();
    let mut length = 0_usize;
    while let Some(element) = elements.next() {
        let part = element.downcast_ref::<CelString>().ok_or_else(|| undefined("list of other than string"))?.inner();
        budget.spend(1)?;
        length = length.saturating_add(part.len()).saturating_add(separator.len());
        parts.push(part);
    }
    write_bounded(length, budget)?;
    Ok(CowVal::owned(CelString::from(parts.join(separator))))
}

fn write_bounded(length: usize, budget: &Budget) -> Result<(), ExecutionError> {
    if length > TEXT_MAX { Err(super::error::Code::TooCostly.error()) } else { budget.spend_bytes(length) }
}

/// Hands on what a macro is about to run over, and pays for its turns: one for each element and the weight of its body.
fn turns<'b, 'v>(mut args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let size = arg(&args, 0)?.as_sizer().map_or(0, |sizer| usize::try_from(*sizer.size().inner()).unwrap_or(0));
    let weight = arg(&args, 1)?.downcast_ref::<CelInt>().map_or(1, |int| usize::try_from(*int.inner()).unwrap_or(1));
    budget(&args)?.spend(size.saturating_mul(weight))?;
    Ok(args.swap_remove(0))
}

/// Hands on an argument, and pays for what a function will read of it: texts, and with `deep` all that is inside.
fn weighed<'b, 'v>(mut args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let deep = arg(&args, 1)?.downcast_ref::<CelBool>().is_some_and(|deep| *deep.inner());
    pay(arg(&args, 0)?, deep, budget(&args)?)?;
    Ok(args.swap_remove(0))
}

fn pay(val: &dyn Val, deep: bool, budget: &Budget) -> Result<(), ExecutionError> {
    if let Some(text) = val.downcast_ref::<CelString>() {
        // Deep functions split or rewrite a text by character.
        return budget.spend(if deep { text.inner().len() / 32 } else { text.inner().len() / 1024 });
    }
    let Some(elements) = val.as_iterable().filter(|_| deep) else { return Ok(()) };
    let map = val.as_indexer().filter(|_| val.get_type().kind() == Kind::Map);
    let mut elements = elements.iter();
    while let Some(element) = elements.next() {
        budget.spend(1)?;
        pay(element, deep, budget)?;
        if let Some(Ok(value)) = map.map(|map| map.get(element)) {
            pay(value.as_ref(), deep, budget)?;
        }
    }
    Ok(())
}

/// The variable an expression's compiled patterns are found under. No expression can write it.
pub(super) const PATTERNS: &str = "@patterns";

static PATTERNS_TYPE: Type = Type::new_unspecified_type("@patterns");

/// An expression's compiled patterns.
#[derive(Debug, Clone)]
pub(super) struct Patterns(pub(super) Arc<[Regex]>);

impl Val for Patterns {
    fn get_type(&self) -> &Type {
        &PATTERNS_TYPE
    }

    fn cel_type() -> &'static Type {
        &PATTERNS_TYPE
    }

    fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v> {
        Box::new(self.clone())
    }

    fn as_any(&self) -> Option<&dyn Any> {
        Some(self)
    }
}

impl StaticVal for Patterns {}
