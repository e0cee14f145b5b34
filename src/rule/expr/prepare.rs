//! A parsed expression, checked against what it may refer to and rewritten so that it evaluates safely.
//!
//! The crate's operators convert and round where ours must not, compile a pattern at every call, and run without a limit.
//! So operators become calls of our functions (`a + b` is `@add(a, b, @budget)`), a constant pattern becomes the index of
//! a compiled one, and whatever loops or reads long texts pays from the budget first. `&&`, `||`, `?:`, `!`, field
//! selection, indexing and the accumulators of macros stay the crate's.

use std::collections::BTreeSet;

use cel::IdedExpr;
use cel::common::ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr, LiteralValue, operators};
use cel::common::types::{CelBool, CelInt, CelString};
use regex::Regex;

use super::parse::Parsed;
use super::{ExpressionFault, budget, functions, names};

/// The deepest syntax tree: evaluation recurses once a level. A chain of additions is as deep as it is long.
pub const DEPTH_MAX: usize = 64;

/// How deep macros that loop (`all`, `exists`, `map`, …) may be nested.
pub const LOOPS_MAX: usize = 2;

/// The largest compiled form of one pattern, in bytes.
pub const PATTERN_SIZE_MAX: usize = 256 * 1024;

/// A turn of a loop over a body of this many nodes is one unit of the budget.
pub(super) const NODES_A_UNIT: usize = 8;

/// What an expression is checked against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Vocabulary {
    /// A rule's: the variables, types and functions of `names`.
    Rule,
    /// Any: what is unknown shows when evaluated. CEL's own conformance tests are written so.
    Any,
}

/// What evaluation needs.
pub(super) struct Prepared {
    pub(super) root: IdedExpr,
    pub(super) patterns: Vec<Regex>,
    /// The field names and texts the expression writes: what an error may repeat.
    pub(super) words: BTreeSet<String>,
}

pub(super) fn prepare(parsed: &Parsed<'_>, vocabulary: Vocabulary) -> Result<Prepared, ExpressionFault> {
    let mut root = parsed.root.clone();
    let mut preparer =
        Preparer { parsed, vocabulary, patterns: Vec::new(), words: BTreeSet::new(), scope: Vec::new(), loops: 0 };
    preparer.expression(&mut root, 0)?;
    Ok(Prepared { root, patterns: preparer.patterns, words: preparer.words })
}

struct Preparer<'p> {
    parsed: &'p Parsed<'p>,
    vocabulary: Vocabulary,
    patterns: Vec<Regex>,
    words: BTreeSet<String>,
    /// The variables of the macros around.
    scope: Vec<String>,
    /// How many loops are around.
    loops: usize,
}

impl Preparer<'_> {
    /// Checks and rewrites a node and all below. Says how many nodes they are.
    fn expression(&mut self, node: &mut IdedExpr, depth: usize) -> Result<usize, ExpressionFault> {
        if depth > DEPTH_MAX {
            let hint = "split it into several rules; a long chain of || on one field is shorter as field in [...]";
            return Err(self.fault(node.id, format!("nested more than {DEPTH_MAX} deep"), Some(hint)));
        }
        let id = node.id;
        let below = depth + 1;
        let nodes = match &mut node.expr {
            Expr::Unspecified => return Err(self.fault(id, "not an expression".to_owned(), None)),
            Expr::Struct(_) if self.vocabulary == Vocabulary::Rule => {
                return Err(self.fault(
                    id,
                    "an event has no message types".to_owned(),
                    Some("write a map: {'key': value}"),
                ));
            }
            Expr::Literal(literal) => {
                if let LiteralValue::String(text) = literal {
                    self.words.insert(text.inner().to_owned());
                }
                0
            }
            Expr::Ident(name) => {
                self.refuse(|s| names::variable_fault(name, s.parsed.offset(id), &s.scope))?;
                0
            }
            Expr::Select(select) => {
                self.words.insert(select.field.clone());
                let of_record =
                    matches!(&select.operand.expr, Expr::Ident(name) if name == "record") && !self.shadows("record");
                if of_record {
                    let field = &select.field;
                    self.refuse(|s| names::record_field_fault(field, s.parsed.offset_of_name(id, field)))?;
                }
                if is_type_name(&select.operand, &select.field) {
                    0
                } else {
                    self.expression(&mut select.operand, below)?
                }
            }
            Expr::List(list) => self.all(list.elements.iter_mut(), below)?,
            Expr::Map(map) => self.entries(map.entries.iter_mut().map(|entry| &mut entry.expr), below)?,
            Expr::Struct(message) => self.entries(message.entries.iter_mut().map(|entry| &mut entry.expr), below)?,
            Expr::Call(call) => self.call(call, id, below)?,
            Expr::Comprehension(comprehension) => self.comprehension(comprehension, id, below)?,
        };
        Ok(nodes + 1)
    }

    fn all<'e>(
        &mut self,
        nodes: impl Iterator<Item = &'e mut IdedExpr>,
        depth: usize,
    ) -> Result<usize, ExpressionFault> {
        let mut count = 0;
        for node in nodes {
            count += self.expression(node, depth)?;
        }
        Ok(count)
    }

    fn entries<'e>(
        &mut self,
        entries: impl Iterator<Item = &'e mut EntryExpr>,
        depth: usize,
    ) -> Result<usize, ExpressionFault> {
        let mut count = 0;
        for entry in entries {
            count += match entry {
                EntryExpr::StructField(field) => self.expression(&mut field.value, depth)?,
                EntryExpr::MapEntry(entry) => self.all([&mut entry.key, &mut entry.value].into_iter(), depth)?,
            };
        }
        Ok(count)
    }

    fn call(&mut self, call: &mut CallExpr, id: u64, depth: usize) -> Result<usize, ExpressionFault> {
        let namespace = call.target.as_deref().and_then(namespace_of).filter(|name| !self.shadows(name));
        let operator = is_operator(&call.func_name);
        if !operator && self.vocabulary == Vocabulary::Rule {
            let name = namespace.map_or_else(|| call.func_name.clone(), |space| format!("{space}.{}", call.func_name));
            let member = call.target.is_some() && namespace.is_none();
            let at = self.parsed.offset_of_name(id, &call.func_name);
            self.refuse(|_| names::call_fault(&name, call.args.len(), member, at))?;
        }
        if call.func_name == "matches" {
            return self.matches(call, id, depth);
        }
        let mut nodes = self.all(call.args.iter_mut(), depth)?;
        if let Some(target) = call.target.as_deref_mut().filter(|_| namespace.is_none()) {
            nodes += self.expression(target, depth)?;
        }
        if operator {
            rewrite_operator(call, id);
        } else {
            self.rewrite_function(call, id, namespace.is_some());
        }
        Ok(nodes)
    }

    /// `text.matches(pattern)` and `matches(text, pattern)`.
    fn matches(&mut self, call: &mut CallExpr, id: u64, depth: usize) -> Result<usize, ExpressionFault> {
        let mut args: Vec<IdedExpr> = call.target.take().map(|target| *target).into_iter().collect();
        args.append(&mut call.args);
        let (Some(pattern), Some(mut text), true) = (args.pop(), args.pop(), args.is_empty()) else {
            return Err(self.fault(id, "matches() takes a text and a pattern".to_owned(), None));
        };
        let Expr::Literal(LiteralValue::String(written)) = &pattern.expr else {
            let hint = "a pattern out of the event would be compiled for every event, and could be anything";
            return Err(self.fault(pattern.id, "the pattern of matches() is a constant text".to_owned(), Some(hint)));
        };
        let regex = crate::rule::compile_pattern(written.inner(), PATTERN_SIZE_MAX).map_err(|(problem, hint)| {
            ExpressionFault { offset: self.parsed.offset(pattern.id), message: format!("the pattern {problem}"), hint }
        })?;
        let index = int(id, self.patterns.len());
        self.patterns.push(regex);
        let nodes = self.expression(&mut text, depth)?;
        if self.loops > 0 {
            weigh(&mut text, true);
        }
        *call = global("@matches", vec![text, index, variable(id, functions::PATTERNS)]);
        Ok(nodes)
    }

    fn comprehension(
        &mut self,
        loop_: &mut ComprehensionExpr,
        id: u64,
        depth: usize,
    ) -> Result<usize, ExpressionFault> {
        if matches!(loop_.iter_range.expr, Expr::Map(_)) && self.vocabulary == Vocabulary::Rule {
            let message = "a map written in the expression has no order to loop in".to_owned();
            return Err(self.fault(id, message, Some("loop over a list: ['a', 'b'].all(x, ...)")));
        }
        let mut nodes = self.expression(&mut loop_.iter_range, depth)?;
        // Macros that only bind a name loop over an empty list.
        let binds = matches!(&loop_.iter_range.expr, Expr::List(list) if list.elements.is_empty());
        if !binds && self.loops == LOOPS_MAX {
            let hint = "check the inner list in a rule of its own, or shape the schema";
            let message = format!("more than {LOOPS_MAX} loops (all, exists, filter, map) in each other");
            return Err(self.fault(id, message, Some(hint)));
        }
        let (scope, loops) = (self.scope.len(), self.loops);
        nodes += self.expression(&mut loop_.accu_init, depth)?;
        self.scope.push(loop_.accu_var.clone());
        self.scope.push(loop_.iter_var.clone());
        self.scope.extend(loop_.iter_var2.clone());
        self.loops += usize::from(!binds);
        let body = self.all([&mut loop_.loop_cond, &mut loop_.loop_step].into_iter(), depth)?;
        self.loops = loops;
        nodes += body + self.expression(&mut loop_.result, depth)?;
        self.scope.truncate(scope);
        if !binds {
            let range = std::mem::take(&mut loop_.iter_range);
            let weight = int(id, 1 + body / NODES_A_UNIT);
            loop_.iter_range = called(id, "@turns", vec![range, weight, variable(id, budget::VARIABLE)]);
        }
        Ok(nodes)
    }

    fn rewrite_function(&self, call: &mut CallExpr, id: u64, qualified: bool) {
        let member = call.target.is_some() && !qualified;
        match (call.func_name.as_str(), member, call.args.len()) {
            ("sum", false, 1) | ("sum", true, 0) => become_global(call, "@sum", id, vec![]),
            ("join", true, 0) => become_global(call, "@join", id, vec![string(id, "")]),
            ("join", true, 1) => become_global(call, "@join", id, vec![]),
            ("replace", true, 2) => {
                become_global(call, "@replace", id, vec![literal(id, LiteralValue::Int(CelInt::from(-1)))])
            }
            ("replace", true, 3) => become_global(call, "@replace", id, vec![]),
            // These read an argument more than once, or write more than they read.
            ("format" | "split" | "reverse", true, _) => self.weigh_arguments(call, member, true),
            _ if self.loops > 0 => self.weigh_arguments(call, member, false),
            _ => {}
        }
    }

    fn weigh_arguments(&self, call: &mut CallExpr, member: bool, deep: bool) {
        let target = call.target.as_deref_mut().filter(|_| member);
        target.into_iter().chain(call.args.iter_mut()).for_each(|argument| weigh(argument, deep));
    }

    fn shadows(&self, name: &str) -> bool {
        self.scope.iter().any(|variable| variable == name)
    }

    /// Fails with what `check` finds, where names are checked.
    fn refuse(&self, check: impl FnOnce(&Self) -> Option<ExpressionFault>) -> Result<(), ExpressionFault> {
        if self.vocabulary == Vocabulary::Any {
            return Ok(());
        }
        check(self).map_or(Ok(()), Err)
    }

    fn fault(&self, id: u64, message: String, hint: Option<&str>) -> ExpressionFault {
        ExpressionFault { offset: self.parsed.offset(id), message, hint: hint.map(str::to_owned) }
    }
}

fn is_operator(name: &str) -> bool {
    name.contains('_') && !name.starts_with(|c: char| c.is_alphanumeric())
        || name == operators::IN
        || name == operators::NOT_STRICTLY_FALSE
}

/// The qualifier of a function, when the target spells one.
fn namespace_of(target: &IdedExpr) -> Option<&'static str> {
    let Expr::Ident(name) = &target.expr else { return None };
    names::NAMESPACES.into_iter().find(|space| space == name)
}

/// Whether this is `google.protobuf.Timestamp` or its like.
fn is_type_name(operand: &IdedExpr, field: &str) -> bool {
    let mut name = field.to_owned();
    let mut rest = operand;
    loop {
        match &rest.expr {
            Expr::Select(select) if !select.test => {
                name = format!("{}.{name}", select.field);
                rest = &select.operand;
            }
            Expr::Ident(root) => return names::TYPES.contains(&format!("{root}.{name}").as_str()),
            _ => return false,
        }
    }
}

/// Makes a binary operator a call of ours. Those on a macro's accumulator stay: the crate knows their shape.
fn rewrite_operator(call: &mut CallExpr, id: u64) {
    let on_accumulator = call.args.iter().any(|arg| matches!(&arg.expr, Expr::Ident(name) if name.starts_with('@')));
    if call.args.len() != 2 || on_accumulator {
        return;
    }
    let (name, pays) = match call.func_name.as_str() {
        operators::ADD => ("@add", true),
        operators::SUBSTRACT => ("@subtract", false),
        operators::MULTIPLY => ("@multiply", false),
        operators::DIVIDE => ("@divide", false),
        operators::MODULO => ("@modulo", false),
        operators::LESS => ("@less", false),
        operators::LESS_EQUALS => ("@lessEqual", false),
        operators::GREATER => ("@greater", false),
        operators::GREATER_EQUALS => ("@greaterEqual", false),
        operators::EQUALS => ("@equal", true),
        operators::NOT_EQUALS => ("@notEqual", true),
        operators::IN => ("@contained", true),
        _ => return,
    };
    call.func_name = name.to_owned();
    if pays {
        call.args.push(variable(id, budget::VARIABLE));
    }
}

/// Makes `target.f(args)` or `f(args)` a call of ours, with `more` arguments and the budget.
fn become_global(call: &mut CallExpr, name: &str, id: u64, more: Vec<IdedExpr>) {
    let mut args: Vec<IdedExpr> = call.target.take().map(|target| *target).into_iter().collect();
    args.append(&mut call.args);
    args.extend(more);
    args.push(variable(id, budget::VARIABLE));
    *call = global(name, args);
}

/// Makes an argument pay for what a function will read of it. A literal is as short as the source.
fn weigh(argument: &mut IdedExpr, deep: bool) {
    if matches!(argument.expr, Expr::Literal(_)) {
        return;
    }
    let id = argument.id;
    let inner = std::mem::take(argument);
    let deep = literal(id, LiteralValue::Boolean(CelBool::from(deep)));
    *argument = called(id, "@weighed", vec![inner, deep, variable(id, budget::VARIABLE)]);
}

fn called(id: u64, name: &str, args: Vec<IdedExpr>) -> IdedExpr {
    IdedExpr { id, expr: Expr::Call(global(name, args)) }
}

fn global(name: &str, args: Vec<IdedExpr>) -> CallExpr {
    CallExpr { func_name: name.to_owned(), target: None, args }
}

fn variable(id: u64, name: &str) -> IdedExpr {
    IdedExpr { id, expr: Expr::Ident(name.to_owned()) }
}

fn literal(id: u64, value: LiteralValue) -> IdedExpr {
    IdedExpr { id, expr: Expr::Literal(value) }
}

fn int(id: u64, value: usize) -> IdedExpr {
    literal(id, LiteralValue::Int(CelInt::from(i64::try_from(value).unwrap_or(i64::MAX))))
}

fn string(id: u64, value: &'static str) -> IdedExpr {
    literal(id, LiteralValue::String(CelString::from(value)))
}
