//! Rules by the `cel` crate, written in two ways: by somebody who knows it well, and as its documentation begins.
//!
//! The expert compiles expressions once, lends the event's tree to the evaluation ([`crate::lazy`]) instead of copying it,
//! and keeps compiled regular expressions. Semantics are CEL's own: integers of 64 bits, no bounds on an evaluation.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use cel::common::types::{CelBool, CelInt, CelString, DYN_TYPE};
use cel::common::value::{CowVal, Val};
use cel::context::VariableResolver;
use cel::extractors::This;
use cel::{Context, Env, ExecutionError, Program};
use regex::Regex;
use serde_json::Value;

use crate::lazy::val;
use crate::set::Set;

pub struct Rules {
    /// With `sum()`, which CEL has not, and `fits()`: `matches()` that keeps what it compiled.
    env: Arc<Env>,
    programs: Vec<Program>,
    plain: Arc<Env>,
    plain_programs: Vec<Program>,
}

impl Rules {
    pub fn compile(sources: &[&str]) -> Self {
        let mut env = Env::stdlib();
        env.add_member_overload("sum", "sum", DYN_TYPE, vec![], sum).expect("a new name");
        env.add_member_overload("fits", "fits", DYN_TYPE, vec![DYN_TYPE], fits).expect("a new name");
        let programs = sources.iter().map(|source| env.compile(&source.replace(".matches(", ".fits(")).expect("CEL"));
        let programs = programs.collect();
        let plain = Env::stdlib();
        let plain_programs = sources.iter().map(|source| plain.compile(source).expect("CEL")).collect();
        Self { env: Arc::new(env), programs, plain: Arc::new(plain), plain_programs }
    }
}

/// Schema and rules, as an expert would have them judged.
pub fn judge(set: &Set, event: &[u8]) -> bool {
    let Ok(event) = serde_json::from_slice::<Value>(event) else { return false };
    if !set.holds_schema(&event) {
        return false;
    }
    let bindings = Bindings { this: val(set.payload(&event)), event: val(&event) };
    let mut context = Context::with_env(Arc::clone(&set.rules.env));
    context.set_variable_resolver(&bindings);
    set.rules.programs.iter().all(|program| match cel::Value::resolve_val(program.expression(), &context) {
        Ok(val) => val.downcast_ref::<CelBool>().is_some_and(|bool| *bool.inner()),
        Err(error) => panic!("{error}"),
    })
}

/// The same, as everyone would begin: the event becomes CEL values, functions are closures over them.
pub fn judge_as_usual(set: &Set, event: &[u8]) -> bool {
    let Ok(event) = serde_json::from_slice::<Value>(event) else { return false };
    if !set.holds_schema(&event) {
        return false;
    }
    let mut context = Context::with_env(Arc::clone(&set.rules.plain));
    let total = |This(list): This<Arc<Vec<cel::Value>>>| -> Result<i64, ExecutionError> {
        let ints = list.iter().map(|value| if let cel::Value::Int(int) = value { *int } else { 0 });
        Ok(ints.sum())
    };
    context.add_function("sum", total).expect("a new name");
    context.add_variable_from_value("this", copy(set.payload(&event)));
    context.add_variable_from_value("event", copy(&event));
    set.rules.plain_programs.iter().all(|program| match program.execute(&context) {
        Ok(value) => value == cel::Value::Bool(true),
        Err(error) => panic!("{error}"),
    })
}

/// The `cel` crate would take serde_json's tree as it is, but would see its numbers as unsigned, which do not add to signed.
fn copy(value: &Value) -> cel::Value {
    match value {
        Value::Null => cel::Value::Null,
        Value::Bool(bool) => cel::Value::Bool(*bool),
        Value::Number(number) => match number.as_i64() {
            Some(int) => cel::Value::Int(int),
            None => cel::Value::Float(number.as_f64().unwrap_or(f64::NAN)),
        },
        Value::String(text) => cel::Value::String(Arc::new(text.clone())),
        Value::Array(elements) => cel::Value::List(Arc::new(elements.iter().map(copy).collect())),
        Value::Object(object) => {
            let members = object.iter().map(|(key, value)| (key.clone(), copy(value)));
            cel::Value::Map(members.collect::<HashMap<String, cel::Value>>().into())
        }
    }
}

struct Bindings<'v> {
    this: Box<dyn Val + 'v>,
    event: Box<dyn Val + 'v>,
}

impl VariableResolver for Bindings<'_> {
    fn resolve<'b>(&'b self, variable: &str) -> Option<CowVal<'b, 'b>> {
        match variable {
            "this" => Some(CowVal::Borrowed(self.this.as_ref())),
            "event" => Some(CowVal::Borrowed(self.event.as_ref())),
            _ => None,
        }
    }
}

/// The sum of a list of ints.
fn sum<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let list = args[0].as_iterable().ok_or_else(|| ExecutionError::function_error("sum", "no list"))?;
    let (mut elements, mut total) = (list.iter(), 0);
    while let Some(element) = elements.next() {
        let int = element.downcast_ref::<CelInt>().ok_or_else(|| ExecutionError::function_error("sum", "no int"))?;
        total += int.inner();
    }
    Ok(CowVal::owned(CelInt::from(total)))
}

thread_local! {
    static PATTERNS: RefCell<HashMap<String, Regex>> = RefCell::default();
}

fn fits<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let text = |index: usize| {
        let text = args[index].downcast_ref::<CelString>().map(CelString::inner);
        text.ok_or_else(|| ExecutionError::function_error("fits", "no string"))
    };
    let (text, pattern) = (text(0)?, text(1)?);
    let is_match = PATTERNS.with_borrow_mut(|patterns| {
        if !patterns.contains_key(pattern) {
            patterns.insert(pattern.to_owned(), Regex::new(pattern).expect("a pattern"));
        }
        patterns[pattern].is_match(text)
    });
    Ok(CowVal::owned(CelBool::from(is_match)))
}
