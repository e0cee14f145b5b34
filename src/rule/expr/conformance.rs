//! CEL beyond what rules may write: for running the specification's own tests through this evaluator.
//!
//! They use variables of any name and type, names resolved in a container, and results of any type; rules have none of
//! these. Everything else is as for a rule: bounds, rewriting, functions, budget.

use std::collections::BTreeMap;
use std::sync::Arc;

use cel::common::value::{CowVal, Val};
use cel::context::VariableResolver;
use cel::{Context, Env, Value};

use super::budget::{self, Budget};
use super::{Expression, Yields, functions, parse, prepare};

/// Evaluates the source over variables of any name.
///
/// # Errors
///
/// When it does not compile, or has no value; the message is for the test's report.
pub fn evaluate(source: &str, container: &str, variables: BTreeMap<String, Value>) -> Result<Value, String> {
    let env = if container.is_empty() {
        Arc::clone(functions::env())
    } else {
        let mut env = functions::build(Env::stdlib());
        env.set_container(container).map_err(|error| error.to_string())?;
        Arc::new(env)
    };
    let parsed = parse::parse(source, &env).map_err(|fault| format!("refused: {fault}"))?;
    let prepared = prepare::prepare(&parsed, prepare::Vocabulary::Any).map_err(|fault| format!("refused: {fault}"))?;
    let expression = Expression::of(prepared, parsed.root, Yields::Bool);
    let budget = BudgetOnly(Budget::new());
    let mut context = Context::with_env(env);
    context.set_variable_resolver(&budget);
    if let Some(patterns) = &expression.patterns {
        context.add_variable_as_val(functions::PATTERNS, Box::new(patterns.clone()));
    }
    for (name, value) in variables {
        context.add_variable_from_value(name, value);
    }
    Value::resolve(&expression.root, &context).map_err(|error| error.to_string())
}

struct BudgetOnly(Budget);

impl VariableResolver for BudgetOnly {
    fn resolve<'b>(&'b self, variable: &str) -> Option<CowVal<'b, 'b>> {
        (variable == budget::VARIABLE).then_some(CowVal::Borrowed(&self.0 as &dyn Val))
    }
}
