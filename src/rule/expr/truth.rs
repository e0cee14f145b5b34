//! Conditions that are the same for every event: a rule that never applies, or can never fail, is a slip of its author's.
//!
//! Only what is plain is told: constants, `has()` of a field that a closed schema does not have, and what `&&`, `||` and `!` make of
//! such.

use cel::common::ast::{Expr, LiteralValue, operators};
use cel::{Context, IdedExpr, Value};

use super::clash::Shape;
use super::functions;
use super::slots::each_child;

/// What the condition is for every payload; `None` where that depends, or is not plain.
pub(super) fn truth(node: &IdedExpr, shape: Option<Shape<'_>>) -> Option<bool> {
    match &node.expr {
        Expr::Literal(LiteralValue::Boolean(bool)) => Some(*bool.inner()),
        Expr::Select(select) if select.test => {
            let is_absent = shape.is_some_and(|shape| shape.lacks(&select.operand, &select.field));
            is_absent.then_some(false)
        }
        Expr::Call(call) => match (call.func_name.as_str(), call.args.as_slice()) {
            (operators::LOGICAL_NOT, [a]) => truth(a, shape).map(|holds| !holds),
            (operators::LOGICAL_AND, [a, b]) => joined(a, b, false, shape),
            (operators::LOGICAL_OR, [a, b]) => joined(a, b, true, shape),
            _ => constant(node),
        },
        _ => None,
    }
}

/// `&&`, which `false` decides, or `||`, which `true` decides.
fn joined(a: &IdedExpr, b: &IdedExpr, decides: bool, shape: Option<Shape<'_>>) -> Option<bool> {
    match (truth(a, shape), truth(b, shape)) {
        (Some(one), _) | (_, Some(one)) if one == decides => Some(decides),
        (Some(_), Some(_)) => Some(!decides),
        _ => None,
    }
}

/// What an expression without variables gives.
fn constant(node: &IdedExpr) -> Option<bool> {
    if varies(node) {
        return None;
    }
    let context = Context::with_env(functions::env().clone());
    match Value::resolve(node, &context) {
        Ok(Value::Bool(bool)) => Some(bool),
        _ => None,
    }
}

fn varies(node: &IdedExpr) -> bool {
    let mut found = matches!(node.expr, Expr::Ident(_) | Expr::Comprehension(_));
    each_child(node, &mut |child| found = found || varies(child));
    found
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;
    use crate::rule::expr::{Expression, Yields};
    use crate::rule::pointer::Pointer;
    use crate::rule::schema::Schema;

    #[test]
    fn what_is_plain_is_told() {
        let schema = json!({"type": "object", "properties": {"a": {}}, "additionalProperties": false});
        let schema = Schema::compile(&schema, "s.json", &BTreeMap::new(), true).unwrap();
        let payload = Pointer::parse("/data").unwrap();
        let shape = Shape { payload: &payload, kinds: schema.kinds() };
        let told = |source| Expression::compile_for(source, Yields::Bool, Some(shape)).unwrap().truth();
        for source in [
            "true",
            "1 < 2",
            "!false",
            "true || this.a == 1",
            "!has(this.b)",
            "'a' in ['a']",
            "!(has(this.b) && this.a == 1)",
        ] {
            assert_eq!(told(source), Some(true), "{source}");
        }
        for source in ["false", "has(this.b)", "this.a == 1 && 2 < 1", "has(event.data.b)", "has(this.b) || false"] {
            assert_eq!(told(source), Some(false), "{source}");
        }
        for source in [
            "has(this.a)",
            "this.a == 1",
            "has(event.id)",
            "has(this.b) || this.a == 1",
            "now > timestamp('2026-01-01T00:00:00Z')",
        ] {
            assert_eq!(told(source), None, "{source}");
        }
    }
}
