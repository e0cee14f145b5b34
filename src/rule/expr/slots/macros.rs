//! Macros, read back from the loops the parser has made of them; and what a loop costs in the crate.

use cel::IdedExpr;
use cel::common::ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr, LiteralValue, operators};

use crate::rule::expr::prepare::NODES_A_UNIT;

/// A macro over a list.
pub(super) struct Macro<'a> {
    pub(super) range: &'a IdedExpr,
    pub(super) variable: &'a str,
    pub(super) kind: Kind<'a>,
    /// The most the crate spends on a turn, loops inside left out.
    pub(super) turn: usize,
}

pub(super) enum Kind<'a> {
    All(&'a IdedExpr),
    Exists(&'a IdedExpr),
    ExistsOne(&'a IdedExpr),
    Filter(&'a IdedExpr),
    Map { guard: Option<&'a IdedExpr>, body: &'a IdedExpr },
}

/// The macro that was written; `None` for one that is not known here.
pub(super) fn of(loop_: &ComprehensionExpr) -> Option<Macro<'_>> {
    if loop_.iter_var2.is_some() || loop_.accu_var != "@result" {
        return None;
    }
    let Expr::Call(step) = &loop_.loop_step.expr else { return None };
    let kind = match (&loop_.accu_init.expr, step.func_name.as_str(), step.args.as_slice()) {
        (Expr::Literal(LiteralValue::Boolean(_)), operators::LOGICAL_AND, [accu, test]) if is_result(accu) => {
            Kind::All(test)
        }
        (Expr::Literal(LiteralValue::Boolean(_)), operators::LOGICAL_OR, [accu, test]) if is_result(accu) => {
            Kind::Exists(test)
        }
        (Expr::Literal(LiteralValue::Int(_)), operators::CONDITIONAL, [test, _, accu]) if is_result(accu) => {
            Kind::ExistsOne(test)
        }
        (Expr::List(_), operators::CONDITIONAL, [guard, append, accu]) if is_result(accu) => {
            let Expr::Call(append) = &append.expr else { return None };
            match appended(append)? {
                IdedExpr { expr: Expr::Ident(name), .. } if *name == loop_.iter_var => Kind::Filter(guard),
                body => Kind::Map { guard: Some(guard), body },
            }
        }
        (Expr::List(_), operators::ADD, _) => Kind::Map { guard: None, body: appended(step)? },
        _ => return None,
    };
    let body = nodes(&loop_.loop_cond) + nodes(&loop_.loop_step);
    let turn = 1 + body / NODES_A_UNIT + charges(&loop_.loop_step);
    Some(Macro { range: &loop_.iter_range, variable: &loop_.iter_var, kind, turn })
}

fn is_result(node: &IdedExpr) -> bool {
    matches!(&node.expr, Expr::Ident(name) if name == "@result")
}

/// What `@result + [body]` appends.
fn appended(step: &CallExpr) -> Option<&IdedExpr> {
    match (step.func_name.as_str(), step.args.as_slice()) {
        (operators::ADD, [accu, IdedExpr { expr: Expr::List(list), .. }]) if is_result(accu) => {
            let [body] = list.elements.as_slice() else { return None };
            Some(body)
        }
        _ => None,
    }
}

/// The nodes of an expression, those of loops inside among them.
pub(super) fn nodes(node: &IdedExpr) -> usize {
    let mut count = 1;
    each_child(node, &mut |child| count += nodes(child));
    count
}

/// What the crate charges for what is compared in one evaluation of this, whatever is inside loops counted once.
pub(super) fn charges(node: &IdedExpr) -> usize {
    let mut units = match &node.expr {
        Expr::Call(call) => match (call.func_name.as_str(), call.args.as_slice()) {
            (operators::EQUALS | operators::NOT_EQUALS, _) => 1,
            (operators::IN, [_, IdedExpr { expr: Expr::List(list), .. }]) => list.elements.len(),
            _ => 0,
        },
        _ => 0,
    };
    each_child(node, &mut |child| units += charges(child));
    units
}

pub(in crate::rule::expr) fn each_child<'a>(node: &'a IdedExpr, visit: &mut dyn FnMut(&'a IdedExpr)) {
    match &node.expr {
        Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) => {}
        Expr::Select(select) => visit(&select.operand),
        Expr::List(list) => list.elements.iter().for_each(visit),
        Expr::Call(call) => call.target.as_deref().into_iter().chain(&call.args).for_each(visit),
        Expr::Comprehension(loop_) => {
            let parts = [&loop_.iter_range, &loop_.accu_init, &loop_.loop_cond, &loop_.loop_step, &loop_.result];
            parts.into_iter().for_each(visit);
        }
        Expr::Map(map) => map.entries.iter().for_each(|entry| each_part(&entry.expr, visit)),
        Expr::Struct(message) => message.entries.iter().for_each(|entry| each_part(&entry.expr, visit)),
    }
}

fn each_part<'a>(entry: &'a EntryExpr, visit: &mut dyn FnMut(&'a IdedExpr)) {
    match entry {
        EntryExpr::StructField(field) => visit(&field.value),
        EntryExpr::MapEntry(entry) => [&entry.key, &entry.value].into_iter().for_each(visit),
    }
}
