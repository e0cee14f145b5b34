//! Syntax tree to typed tree.
//!
//! Each function gives `None` for what is not covered; then the expression as a whole has no compiled form.

use cel::common::ast::{CallExpr, Expr, LiteralValue, SelectExpr, operators};
use cel::{Context, IdedExpr};
use regex::Regex;

use super::fold;
use super::macros::{self, Kind, Macro};
use super::moment::Moment;
use super::reading::{At, Ground, Reading};
use super::term::Term;
use super::tree::{
    Comparison, Constants, List, Message, RecordField, Search, Stream, Test, TextTest, Value, Weight, Whole,
};
use crate::rule::capture::Reads;
use crate::rule::expr::functions;
use crate::rule::expr::numeric::Operation;
use crate::rule::number_types::NumberType;

pub(super) struct Compiler<'c> {
    pub(super) reading: Reading<'c>,
    /// The patterns the expression writes, compiled already.
    patterns: &'c [Regex],
    trust: Trust,
}

/// What is taken for granted of the event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trust {
    /// Where the schema says `integer`, an int stands.
    Schema,
    Nothing,
}

/// What a method's loop runs over, and what `map` makes of each turn.
struct Run {
    stream: Stream,
    body: Option<Value>,
}

impl<'c> Compiler<'c> {
    pub(super) fn new(reads: &'c mut Reads, ground: Ground<'c>, patterns: &'c [Regex], trust: Trust) -> Self {
        Self { reading: Reading::new(reads, ground), patterns, trust }
    }

    pub(super) fn test(&mut self, node: &IdedExpr) -> Option<Test> {
        self.value(node).map(fold::test)
    }

    /// A text, for people.
    pub(super) fn message(&mut self, node: &IdedExpr) -> Option<Message> {
        let Expr::Call(call) = &node.expr else { return self.value(node).map(Message::Text) };
        match (call.func_name.as_str(), call.target.is_some(), call.args.as_slice()) {
            (operators::ADD, _, [a, b]) => {
                Some(Message::Joined([self.message(a)?, self.message(b)?].into_iter().collect()))
            }
            (operators::CONDITIONAL, _, [test, a, b]) => {
                Some(Message::If(Box::new((self.test(test)?, self.message(a)?, self.message(b)?))))
            }
            ("string", false, [value]) => self.value(value).map(|value| Message::Shown(fold::any(value))),
            _ => self.value(node).map(Message::Text),
        }
    }

    /// A single value; what it is shows when it is read.
    pub(super) fn scalar(&mut self, node: &IdedExpr) -> Option<Value> {
        self.value(node).map(fold::any)
    }

    fn value(&mut self, node: &IdedExpr) -> Option<Value> {
        if let Some(at) = self.reading.at(node) {
            let place = self.reading.place(&at)?;
            let is_whole = self.trust == Trust::Schema && place.said() == Some(NumberType::Int);
            return Some(if is_whole { Value::Whole(Whole::Read(place)) } else { Value::Read(place) });
        }
        match &node.expr {
            Expr::Literal(literal) => constant(literal),
            Expr::Ident(name) => (name == "now").then_some(Value::Now),
            Expr::Select(select) => self.select(select),
            Expr::Call(call) if call.target.is_some() => self.method(call),
            Expr::Call(call) => self.call(node, call),
            Expr::Comprehension(loop_) => self.quantifier(&macros::of(loop_)?),
            _ => None,
        }
    }

    /// `has()`, or a field of the record: other fields are places.
    fn select(&mut self, select: &SelectExpr) -> Option<Value> {
        let of_record = self.reading.is_record(&select.operand);
        if !of_record {
            let object = self.reading.at(&select.operand).filter(|_| select.test)?;
            let at = self.reading.field(object, &select.field);
            return Some(Value::Test(Box::new(Test::Has(self.reading.place(&at)?))));
        }
        let field = match select.field.as_str() {
            "stream" => RecordField::Stream,
            "partitionKey" | "explicitHashKey" if self.reading.hides_keys() => return None,
            "partitionKey" => RecordField::PartitionKey,
            "explicitHashKey" => RecordField::ExplicitHashKey,
            "arrivedAt" => RecordField::ArrivedAt,
            "size" => RecordField::Size,
            _ => return None,
        };
        let name = self.reading.name(&select.field);
        Some(if select.test { Value::Test(Box::new(Test::HasRecord(field))) } else { Value::Record(field, name) })
    }

    fn call(&mut self, node: &IdedExpr, call: &CallExpr) -> Option<Value> {
        match (call.func_name.as_str(), call.args.as_slice()) {
            (operators::LOGICAL_NOT, [a]) => Some(fold::of_test(Test::Not(Box::new(self.test(a)?)))),
            (operators::NEGATE, [a]) => self.value(a).map(fold::negative),
            ("size", [a]) => self.size(a),
            ("sum", [a]) => self.sum(a),
            ("timestamp" | "duration", [IdedExpr { expr: Expr::Literal(_), .. }]) => computed(node),
            ("timestamp", [a]) => Some(Value::Moment(Box::new(fold::any(self.value(a)?)))),
            ("double", [a]) => Some(Value::Double(Box::new(fold::any(self.value(a)?)))),
            ("dyn", [a]) => self.value(a).map(fold::any),
            ("matches", [text, pattern]) => self.matches(text, pattern),
            (operators::CONDITIONAL, [test, a, b]) => {
                Some(fold::conditional(self.test(test)?, self.value(a)?, self.value(b)?))
            }
            (operators::IN, [value, list]) => self.contained(value, list),
            (operator, [a, b]) => self.binary(operator, a, b),
            _ => None,
        }
    }

    fn binary(&mut self, operator: &str, a: &IdedExpr, b: &IdedExpr) -> Option<Value> {
        let operation = match operator {
            operators::ADD => Operation::Add,
            operators::SUBSTRACT => Operation::Subtract,
            operators::MULTIPLY => Operation::Multiply,
            operators::DIVIDE => Operation::Divide,
            operators::MODULO => Operation::Modulo,
            _ => return self.relation(operator, a, b).map(fold::of_test),
        };
        Some(fold::compute(operation, self.value(a)?, self.value(b)?))
    }

    fn relation(&mut self, operator: &str, a: &IdedExpr, b: &IdedExpr) -> Option<Test> {
        let comparison = match operator {
            operators::LOGICAL_AND => return Some(fold::and(self.test(a)?, self.test(b)?)),
            operators::LOGICAL_OR => return Some(fold::or(self.test(a)?, self.test(b)?)),
            operators::EQUALS => Comparison::Equal,
            operators::NOT_EQUALS => Comparison::NotEqual,
            operators::LESS => Comparison::Less,
            operators::LESS_EQUALS => Comparison::LessEqual,
            operators::GREATER => Comparison::Greater,
            operators::GREATER_EQUALS => Comparison::GreaterEqual,
            _ => return None,
        };
        Some(fold::compare(comparison, self.value(a)?, self.value(b)?))
    }

    fn contained(&mut self, value: &IdedExpr, list: &IdedExpr) -> Option<Value> {
        let value = fold::any(self.value(value)?);
        let search = if let Some(at) = self.reading.at(list) {
            let (list, element) = self.reading.list(&at, 1)?;
            let element = self.reading.place(&element)?;
            Search::Element(value, list, element)
        } else {
            let Expr::List(list) = &list.expr else { return None };
            if !list.optional_indices.is_empty() {
                return None;
            }
            let elements: Option<Vec<_>> = list.elements.iter().map(|e| self.value(e).map(fold::any)).collect();
            match constants(elements?) {
                Ok(constants) => Search::Among(value, constants),
                Err(elements) => Search::AnyOf(value, elements.into()),
            }
        };
        Some(search_value(search))
    }

    fn method(&mut self, call: &CallExpr) -> Option<Value> {
        let target = call.target.as_deref()?;
        let text_test = match (call.func_name.as_str(), call.args.as_slice()) {
            ("size", []) => return self.size(target),
            ("sum", []) => return self.sum(target),
            ("matches", [pattern]) => return self.matches(target, pattern),
            ("startsWith", [_]) => TextTest::StartsWith,
            ("endsWith", [_]) => TextTest::EndsWith,
            ("contains", [_]) => TextTest::Contains,
            _ => return None,
        };
        let (text, other) = (self.value(target)?, self.value(call.args.first()?)?);
        Some(search_value(Search::Text(text_test, fold::any(text), fold::any(other))))
    }

    fn matches(&mut self, text: &IdedExpr, pattern: &IdedExpr) -> Option<Value> {
        let Expr::Literal(LiteralValue::String(pattern)) = &pattern.expr else { return None };
        let regex = self.patterns.iter().find(|regex| regex.as_str() == pattern.inner())?.clone();
        let text = fold::any(self.value(text)?);
        let weight = Weight(self.reading.is_in_loop());
        Some(search_value(Search::Matches(text, regex, weight)))
    }

    fn size(&mut self, node: &IdedExpr) -> Option<Value> {
        if let Some(at) = self.reading.at(node) {
            let (list, _) = self.reading.list(&at, 0)?;
            return Some(Value::Whole(Whole::Size(Box::new(list.place))));
        }
        if let Expr::Comprehension(loop_) = &node.expr {
            let Run { stream, body: None } = self.run(&macros::of(loop_)?)? else { return None };
            return Some(Value::Whole(Whole::Count(Box::new(stream))));
        }
        let text = self.value(node)?;
        Some(Value::Whole(Whole::TextSize(Box::new(fold::any(text)))))
    }

    fn sum(&mut self, node: &IdedExpr) -> Option<Value> {
        let (stream, body) = if let Some(at) = self.reading.at(node) {
            let (list, element) = self.reading.list(&at, 1)?;
            let stream = Stream { list, filters: Box::default(), is_single: true };
            (stream, self.reading.place(&element).map(Value::Read)?)
        } else {
            let Expr::Comprehension(loop_) = &node.expr else { return None };
            let Run { mut stream, body: Some(body) } = self.run(&macros::of(loop_)?)? else { return None };
            // The sum is another walk.
            stream.list.turn += 1;
            (stream, body)
        };
        Some(match body {
            Value::Whole(body) => Value::Whole(Whole::Sum(Box::new((stream, body)))),
            body => Value::Sum(Box::new((stream, body))),
        })
    }

    /// `filter` and `map`, of a list of the event or of what another `filter` leaves of one.
    fn run(&mut self, written: &Macro<'_>) -> Option<Run> {
        let (mut list, element, mut filters, is_single) = self.range(written)?;
        list.turn += written.turn;
        let (guard, body) = match written.kind {
            Kind::Filter(guard) => (Some(guard), None),
            Kind::Map { guard, body } => (guard, Some(body)),
            _ => return None,
        };
        let body = self.inside(written, &element, |inner| {
            if let Some(guard) = guard {
                filters.push(inner.test(guard)?);
            }
            match body {
                Some(body) => inner.value(body).map(Some),
                None => Some(None),
            }
        })?;
        Some(Run { stream: Stream { list, filters: filters.into(), is_single }, body })
    }

    /// What a macro runs over: the list, its elements, the tests they have passed, and whether there are none.
    fn range(&mut self, written: &Macro<'_>) -> Option<(List, At<'c>, Vec<Test>, bool)> {
        if let Some(at) = self.reading.at(written.range) {
            let (list, element) = self.reading.list(&at, 0)?;
            return Some((list, element, Vec::new(), true));
        }
        let Expr::Comprehension(loop_) = &written.range.expr else { return None };
        let before = macros::of(loop_)?;
        let Kind::Filter(_) = before.kind else { return None };
        let (mut list, element, mut filters, _) = self.range(&before)?;
        list.turn += before.turn;
        if let Kind::Filter(guard) = before.kind {
            filters.push(self.inside(&before, &element, |inner| inner.test(guard))?);
        }
        Some((list, element, filters, false))
    }

    fn quantifier(&mut self, written: &Macro<'_>) -> Option<Value> {
        let test = match written.kind {
            Kind::All(test) | Kind::Exists(test) | Kind::ExistsOne(test) => test,
            // A list as such is nothing here.
            Kind::Filter(_) | Kind::Map { .. } => return None,
        };
        let at = self.reading.at(written.range)?;
        let (list, element) = self.reading.list(&at, written.turn)?;
        let test = self.inside(written, &element, |inner| inner.test(test))?;
        Some(match written.kind {
            Kind::All(_) => fold::of_test(Test::All(Box::new((list, test)))),
            Kind::Exists(_) => fold::of_test(Test::Exists(Box::new((list, test)))),
            _ => search_value(Search::ExistsOne(list, test)),
        })
    }

    fn inside<T>(
        &mut self,
        written: &Macro<'_>,
        element: &At<'c>,
        compile: impl FnOnce(&mut Self) -> Option<T>,
    ) -> Option<T> {
        self.reading.enter(written.variable, element);
        let compiled = compile(self);
        self.reading.leave();
        compiled
    }
}

fn search_value(search: Search) -> Value {
    Value::Test(Box::new(Test::Search(Box::new(search))))
}

fn constant(literal: &LiteralValue) -> Option<Value> {
    Some(match literal {
        LiteralValue::Int(int) => Value::Whole(Whole::Constant(*int.inner())),
        LiteralValue::Boolean(bool) => Value::Test(Box::new(Test::Constant(*bool.inner()))),
        LiteralValue::String(text) => Value::Text(text.inner().into()),
        LiteralValue::Double(double) => Value::Constant(Term::Double(*double.inner())),
        LiteralValue::Null => Value::Constant(Term::Null),
        LiteralValue::Bytes(_) | LiteralValue::UInt(_) => return None,
    })
}

/// The elements of a list, if all are constants; else what they were.
fn constants(elements: Vec<Value>) -> Result<Constants, Vec<Value>> {
    let is_constant = |value: &Value| match value {
        Value::Text(_) | Value::Constant(_) | Value::Whole(Whole::Constant(_)) => true,
        Value::Test(test) => matches!(**test, Test::Constant(_)),
        _ => false,
    };
    if !elements.iter().all(is_constant) {
        return Err(elements);
    }
    let (mut texts, mut others) = (Vec::new(), Vec::new());
    for element in elements {
        match element {
            Value::Text(text) => texts.push(text),
            Value::Constant(term) => others.push(term),
            Value::Whole(Whole::Constant(int)) => others.push(Term::Int(int)),
            Value::Test(test) => others.extend(matches!(*test, Test::Constant(_)).then(|| match *test {
                Test::Constant(bool) => Term::Bool(bool),
                _ => Term::Null,
            })),
            _ => {}
        }
    }
    Ok(Constants::new(texts, others))
}

/// A call with a constant argument, as the crate computes it.
fn computed(node: &IdedExpr) -> Option<Value> {
    let context = Context::with_env(functions::env().clone());
    let term = match cel::Value::resolve(node, &context).ok()? {
        cel::Value::Duration(span) => Term::Span(span.num_nanoseconds()?),
        cel::Value::Timestamp(at) => Term::Moment(Moment::parse(&at.to_rfc3339())?),
        _ => return None,
    };
    Some(Value::Constant(term))
}
