//! Expressions that cannot mean what the schema says: `this.currency + 1`, where `currency` is a string.
//!
//! An expression is refused only if it fails for every payload the schema allows. So only what is always evaluated is looked
//! at: not the branches of `?:`, the operands of `||`, the bodies of macros, or what stands after an `&&` whose first operand
//! asks whether a field is there, or null, or of a type. Comparisons with `==` take any types.

use cel::IdedExpr;
use cel::common::ast::{CallExpr, Expr, LiteralValue, operators};

use super::parse::Parsed;
use super::{ExpressionFault, Yields};
use crate::rule::did_you_mean;
use crate::rule::kinds::{Kinds, PayloadKinds, Place};
use crate::rule::pointer::Pointer;

/// What expressions are checked against.
#[derive(Debug, Clone, Copy)]
pub struct Shape<'s> {
    /// Where the payload is in the event.
    pub payload: &'s Pointer,
    pub kinds: &'s PayloadKinds,
}

impl Shape<'_> {
    /// Whether no payload has such a field in the object there.
    pub(super) fn lacks(self, object: &IdedExpr, field: &str) -> bool {
        let names = at(self, object).and_then(|at| at.place.filter(|_| at.above == 0)).and_then(Place::all_names);
        names.is_some_and(|names| !names.iter().any(|name| name == field))
    }
}

/// A set of CEL's types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Types(u8);

const NULL: Types = Types(1);
const BOOL: Types = Types(2);
const NUMBER: Types = Types(4);
const STRING: Types = Types(8);
const LIST: Types = Types(16);
const MAP: Types = Types(32);
const TIMESTAMP: Types = Types(64);
const DURATION: Types = Types(128);

const NAMES: [(Types, &str); 8] = [
    (NULL, "null"),
    (BOOL, "a boolean"),
    (NUMBER, "a number"),
    (STRING, "a string"),
    (LIST, "an array"),
    (MAP, "an object"),
    (TIMESTAMP, "a timestamp"),
    (DURATION, "a duration"),
];

impl Types {
    fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    fn meet(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    fn of(kinds: Kinds) -> Self {
        let pairs = [
            (Kinds::NULL, NULL),
            (Kinds::BOOL, BOOL),
            (Kinds::NUMBER, NUMBER),
            (Kinds::STRING, STRING),
            (Kinds::ARRAY, LIST),
            (Kinds::OBJECT, MAP),
        ];
        pairs.iter().filter(|(kind, _)| kinds.meet(*kind)).fold(Self(0), |all, (_, one)| all.or(*one))
    }

    fn words(self) -> String {
        let names: Vec<&str> = NAMES.iter().filter(|(one, _)| self.meet(*one)).map(|(_, name)| *name).collect();
        names.join(" or ")
    }
}

/// # Errors
///
/// When the expression can give nothing for any payload of the schema, or names a field no payload has.
pub(super) fn check(parsed: &Parsed<'_>, yields: Yields, shape: Shape<'_>) -> Result<(), ExpressionFault> {
    let checker = Checker { parsed, shape };
    checker.certain(&parsed.root)?;
    let (wanted, what) = match yields {
        Yields::Bool => (BOOL, "a condition"),
        Yields::Text => (STRING, "a message"),
        Yields::Scalar => (NULL.or(BOOL).or(NUMBER).or(STRING).or(TIMESTAMP), "a key or a measure"),
    };
    checker.needs(&parsed.root, wanted, what)
}

struct Checker<'c> {
    parsed: &'c Parsed<'c>,
    shape: Shape<'c>,
}

/// Where a field selection leads.
#[derive(Clone)]
struct At<'c> {
    /// `None` for a place the schema says nothing of.
    place: Option<Place<'c>>,
    /// How many fields of the payload's pointer are still to come.
    above: usize,
    pointer: Pointer,
}

impl<'c> Checker<'c> {
    /// Checks what is evaluated whenever this is.
    fn certain(&self, node: &IdedExpr) -> Result<(), ExpressionFault> {
        match &node.expr {
            // `has()` of a field nobody sends is false; but what it is asked of must be an object.
            Expr::Select(select) if select.test => {
                self.selected(&select.operand)?;
                self.needs(&select.operand, MAP, "has()")
            }
            Expr::Select(_) => self.selected(node),
            Expr::Call(call) => self.call(call),
            Expr::Comprehension(loop_) => {
                self.certain(&loop_.iter_range)?;
                self.needs(&loop_.iter_range, LIST.or(MAP), "a loop")
            }
            Expr::List(list) => list.elements.iter().try_for_each(|element| self.certain(element)),
            _ => Ok(()),
        }
    }

    fn selected(&self, node: &IdedExpr) -> Result<(), ExpressionFault> {
        let Expr::Select(select) = &node.expr else { return self.certain(node) };
        if select.test {
            return self.certain(node);
        }
        self.selected(&select.operand)?;
        let Some(object) = self.at(&select.operand) else { return Ok(()) };
        self.needs(&select.operand, MAP, &format!(".{}", select.field))?;
        let names = object.place.filter(|_| object.above == 0).and_then(Place::all_names);
        match names.filter(|names| !names.contains(&select.field)) {
            None => Ok(()),
            Some(names) => {
                let field = &select.field;
                let hint = did_you_mean(field, names.iter().map(String::as_str)).unwrap_or_else(|| {
                    format!("the schema closes the object; its fields are {}", shown(names.iter().map(String::as_str)))
                });
                let offset = self.parsed.offset_of_name(node.id, field);
                Err(ExpressionFault {
                    offset,
                    message: format!("the schema has no field {field:?} here"),
                    hint: Some(hint),
                })
            }
        }
    }

    fn call(&self, call: &CallExpr) -> Result<(), ExpressionFault> {
        let name = call.func_name.as_str();
        match (name, call.args.as_slice()) {
            (operators::LOGICAL_OR, _) => return Ok(()),
            (operators::LOGICAL_AND, [a, b]) => {
                self.certain(a)?;
                self.needs(a, BOOL, "&&")?;
                if !asks(a) {
                    self.certain(b)?;
                    self.needs(b, BOOL, "&&")?;
                }
                return Ok(());
            }
            (operators::CONDITIONAL, [condition, ..]) => {
                self.certain(condition)?;
                return self.needs(condition, BOOL, "?:");
            }
            // A false operand of && is true here.
            (operators::LOGICAL_NOT, [a]) if is_call(a, operators::LOGICAL_AND) => return Ok(()),
            (operators::OPT_SELECT | operators::OPT_INDEX | operators::INDEX, _) => return Ok(()),
            _ => {}
        }
        call.target.as_deref().into_iter().chain(&call.args).try_for_each(|part| self.certain(part))?;
        match (name, call.target.as_deref(), call.args.as_slice()) {
            (operators::LOGICAL_NOT, _, [a]) => self.needs(a, BOOL, "!"),
            (operators::NEGATE, _, [a]) => self.needs(a, NUMBER, "-"),
            ("startsWith" | "endsWith" | "contains", Some(text), [other]) => {
                self.needs(text, STRING, &format!("{name}()"))?;
                self.needs(other, STRING, &format!("{name}()"))
            }
            ("matches" | "lowerAscii" | "upperAscii" | "trim", Some(text), _) | ("matches", None, [text, _]) => {
                self.needs(text, STRING, &format!("{name}()"))
            }
            ("size", Some(value), []) | ("size", None, [value]) => self.needs(value, STRING.or(LIST).or(MAP), "size()"),
            ("sum", Some(list), []) | ("sum", None, [list]) => self.needs(list, LIST, "sum()"),
            ("timestamp", None, [value]) => self.needs(value, STRING.or(NUMBER).or(TIMESTAMP), "timestamp()"),
            ("duration", None, [value]) => self.needs(value, STRING.or(DURATION), "duration()"),
            (operators::IN, _, [_, list]) => self.needs(list, LIST.or(MAP), "in"),
            (operator, None, [a, b]) => self.operands(operator, a, b),
            _ => Ok(()),
        }
    }

    /// Checks that an operator takes the operands' types together.
    fn operands(&self, operator: &str, a: &IdedExpr, b: &IdedExpr) -> Result<(), ExpressionFault> {
        let ordered = [NUMBER, STRING, BOOL, TIMESTAMP, DURATION].map(|one| (one, one));
        let added = [
            (NUMBER, NUMBER),
            (STRING, STRING),
            (LIST, LIST),
            (TIMESTAMP, DURATION),
            (DURATION, TIMESTAMP),
            (DURATION, DURATION),
        ];
        let subtracted = [(NUMBER, NUMBER), (TIMESTAMP, TIMESTAMP), (TIMESTAMP, DURATION), (DURATION, DURATION)];
        let (taken, sign): (&[(Types, Types)], _) = match operator {
            operators::ADD => (&added, "+"),
            operators::SUBSTRACT => (&subtracted, "-"),
            operators::MULTIPLY => (&[(NUMBER, NUMBER)], "*"),
            operators::DIVIDE => (&[(NUMBER, NUMBER)], "/"),
            operators::MODULO => (&[(NUMBER, NUMBER)], "%"),
            operators::LESS => (&ordered, "<"),
            operators::LESS_EQUALS => (&ordered, "<="),
            operators::GREATER => (&ordered, ">"),
            operators::GREATER_EQUALS => (&ordered, ">="),
            _ => return Ok(()),
        };
        let (of_a, of_b) = (self.types(a), self.types(b));
        let with = |left: bool, other: Option<Types>| {
            let fits = taken.iter().map(|&(x, y)| if left { (x, y) } else { (y, x) });
            fits.filter(|(_, y)| other.is_none_or(|other| other.meet(*y))).fold(Types(0), |all, (x, _)| all.or(x))
        };
        // A type that goes with nothing is the fault of the side that has it.
        for (side, left, other) in [(a, true, of_b), (b, false, of_a)] {
            let wanted = match with(left, other) {
                Types(0) => with(left, None),
                wanted => wanted,
            };
            self.needs(side, wanted, sign)?;
        }
        Ok(())
    }

    /// Checks that what the schema allows at a place can be of the types that are wanted there.
    fn needs(&self, node: &IdedExpr, wanted: Types, by: &str) -> Result<(), ExpressionFault> {
        let Some(At { place: Some(place), above: 0, pointer }) = self.at(node) else { return Ok(()) };
        let types = Types::of(place.kinds());
        if types.meet(wanted) {
            return Ok(());
        }
        let (written, offset) = self.shown(node);
        let message = format!("{written} is {} in the schema, and {by} needs {} here", types.words(), wanted.words());
        let names = place.kinds().names().join(" or ");
        let hint = match pointer.is_root() {
            true => format!("the payload's type is {names} there"),
            false => format!("its type is {names} there, at {pointer} of the payload"),
        };
        Err(ExpressionFault { offset, message, hint: Some(hint) })
    }

    /// The types a value can have, where something is known.
    fn types(&self, node: &IdedExpr) -> Option<Types> {
        if let Some(at) = self.at(node) {
            return at.place.filter(|_| at.above == 0).map(|place| Types::of(place.kinds()));
        }
        Some(match &node.expr {
            Expr::Literal(LiteralValue::Int(_) | LiteralValue::UInt(_) | LiteralValue::Double(_)) => NUMBER,
            Expr::Literal(LiteralValue::String(_)) => STRING,
            Expr::Literal(LiteralValue::Boolean(_)) => BOOL,
            Expr::Literal(LiteralValue::Null) => NULL,
            Expr::Ident(name) if name == "now" => TIMESTAMP,
            Expr::Call(call) => match (call.func_name.as_str(), call.args.len()) {
                ("timestamp", 1) => TIMESTAMP,
                ("duration", 1) => DURATION,
                ("size" | "sum", _) | ("int" | "double" | "uint", 1) => NUMBER,
                (operators::MULTIPLY | operators::DIVIDE | operators::MODULO, 2) => NUMBER,
                ("string", 1) => STRING,
                _ => return None,
            },
            _ => return None,
        })
    }

    fn at(&self, node: &IdedExpr) -> Option<At<'c>> {
        at(self.shape, node)
    }

    /// A place as it is written, and where its name stands.
    fn shown(&self, node: &IdedExpr) -> (String, usize) {
        match &node.expr {
            Expr::Select(select) => {
                let (object, _) = self.shown(&select.operand);
                (format!("{object}.{}", select.field), self.parsed.offset_of_name(node.id, &select.field))
            }
            Expr::Ident(name) => (name.clone(), self.parsed.offset(node.id)),
            _ => (String::new(), self.parsed.offset(node.id)),
        }
    }
}

/// The place a field selection leads to.
fn at<'c>(shape: Shape<'c>, node: &IdedExpr) -> Option<At<'c>> {
    let segments = shape.payload.segments();
    match &node.expr {
        Expr::Ident(name) if name == "this" => {
            Some(At { place: shape.kinds.root(), above: 0, pointer: Pointer::root() })
        }
        Expr::Ident(name) if name == "event" => {
            Some(At { place: shape.kinds.root(), above: segments.len(), pointer: Pointer::root() })
        }
        Expr::Select(select) if !select.test => {
            let At { place, above, pointer } = at(shape, &select.operand)?;
            if above > 0 {
                let is_on_the_way = segments[segments.len() - above] == select.field;
                return is_on_the_way.then_some(At { place, above: above - 1, pointer });
            }
            let place = place.and_then(|place| place.property(&select.field));
            Some(At { place, above: 0, pointer: pointer.child(select.field.as_str()) })
        }
        _ => None,
    }
}

/// Whether a condition asks what there is, so that what it guards may be meant for other payloads.
fn asks(node: &IdedExpr) -> bool {
    let asks_itself = match &node.expr {
        Expr::Select(select) => select.test,
        Expr::Literal(LiteralValue::Null) => true,
        Expr::Call(call) => matches!(call.func_name.as_str(), "type" | "dyn" | operators::IN),
        _ => false,
    };
    let mut any = asks_itself;
    super::slots::each_child(node, &mut |child| any = any || asks(child));
    any
}

fn is_call(node: &IdedExpr, name: &str) -> bool {
    matches!(&node.expr, Expr::Call(call) if call.func_name == name)
}

/// The first few names.
fn shown<'n>(names: impl Iterator<Item = &'n str>) -> String {
    let names: Vec<&str> = names.collect();
    match names.get(..8) {
        Some(first) if names.len() > 8 => format!("{}, …", first.join(", ")),
        _ => names.join(", "),
    }
}
