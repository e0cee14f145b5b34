//! Which places of the event an expression reads: names and fields to slots.

use cel::IdedExpr;
use cel::common::ast::{Expr, LiteralValue, operators};

use super::scope::{Name, Place};
use super::tree::List;
use crate::rule::capture::{PlaceId, Reads};
use crate::rule::expr::names;
use crate::rule::mask::Mask;
use crate::rule::number_types::{self, NumberTypes};
use crate::rule::pointer::Pointer;

/// What a contract's expressions are compiled against.
#[derive(Debug, Clone, Copy)]
pub struct Ground<'c> {
    /// Where the payload is in the event. Its segments are names of fields.
    pub payload: &'c Pointer,
    /// What the schema calls the payload's numbers.
    pub numbers: &'c NumberTypes,
    /// What may not be read, since the crate would be given something else for it: the private fields of the whole event, for
    /// what is told to people.
    pub masks: &'c [Mask],
}

/// The places of one expression while it is compiled.
pub(super) struct Reading<'c> {
    ground: Ground<'c>,
    reads: &'c mut Reads,
    /// The variables of the macros around, innermost last.
    variables: Vec<(String, At<'c>)>,
    /// How many loops are around.
    loops: usize,
    pub(super) names: Vec<Box<str>>,
}

/// A place on the way down from a variable.
#[derive(Clone)]
pub(super) struct At<'c> {
    row: usize,
    /// From the variable's own place on.
    way: Vec<(PlaceId, Name)>,
    /// From the event on, levels of arrays left out.
    keys: Vec<String>,
    numbers: Option<number_types::Place<'c>>,
    /// How many fields of the payload's pointer are still to come, of a place of the whole event that leads there.
    above: Option<usize>,
}

impl<'c> Reading<'c> {
    pub(super) fn new(reads: &'c mut Reads, ground: Ground<'c>) -> Self {
        Self { ground, reads, variables: Vec::new(), loops: 0, names: Vec::new() }
    }

    /// Whether the event is told masked at the payload or around it, so that nothing of it can be told.
    pub(super) fn hides_payload(&self) -> bool {
        self.ground
            .masks
            .iter()
            .any(|mask| keys_of(mask).is_none_or(|keys| is_prefix(&keys, &named(self.ground.payload))))
    }

    /// Whether keys may not be read, which are often made of a private field.
    pub(super) fn hides_keys(&self) -> bool {
        !self.ground.masks.is_empty()
    }

    pub(super) fn name(&mut self, name: &str) -> Name {
        let known = self.names.iter().position(|known| **known == *name);
        Name(known.unwrap_or_else(|| {
            self.names.push(name.into());
            self.names.len() - 1
        }) as u32)
    }

    pub(super) fn shadows(&self, name: &str) -> bool {
        self.variables.iter().any(|(variable, _)| variable == name)
    }

    /// The place an expression names: a variable, or fields of one.
    pub(super) fn at(&mut self, node: &IdedExpr) -> Option<At<'c>> {
        match &node.expr {
            Expr::Ident(name) => self.variable(name),
            Expr::Select(select) if !select.test => {
                let object = self.at(&select.operand)?;
                Some(self.field(object, &select.field))
            }
            Expr::Call(call) if call.func_name == operators::INDEX => match call.args.as_slice() {
                [object, IdedExpr { expr: Expr::Literal(LiteralValue::String(field)), .. }] => {
                    let object = self.at(object)?;
                    Some(self.field(object, field.inner()))
                }
                _ => None,
            },
            _ => None,
        }
    }

    fn variable(&mut self, name: &str) -> Option<At<'c>> {
        if let Some((_, at)) = self.variables.iter().rev().find(|(variable, _)| variable == name) {
            return Some(at.clone());
        }
        let segments = self.ground.payload.segments();
        let itself = self.name("");
        let numbers = self.ground.numbers.root();
        match name {
            "this" => {
                let place = self.reads.below(segments);
                let (way, keys) = (vec![(place, itself)], segments.to_vec());
                Some(At { row: 0, way, keys, numbers, above: None })
            }
            "event" => {
                let above = (!segments.is_empty()).then_some(segments.len());
                let numbers = numbers.filter(|_| above.is_none());
                Some(At { row: 0, way: vec![(Reads::EVENT, itself)], keys: Vec::new(), numbers, above })
            }
            _ => None,
        }
    }

    pub(super) fn field(&mut self, object: At<'c>, field: &str) -> At<'c> {
        let At { row, mut way, mut keys, numbers, above } = object;
        let place = way.last().map_or(Reads::EVENT, |(place, _)| *place);
        way.push((self.reads.key(place, field), self.name(field)));
        let segments = self.ground.payload.segments();
        let on_the_way = above.filter(|left| segments[segments.len() - left] == field);
        let (numbers, above) = match on_the_way {
            Some(1) => (self.ground.numbers.root(), None),
            Some(left) => (None, Some(left - 1)),
            None => (numbers.and_then(|place| place.property(field)), None),
        };
        keys.push(field.to_owned());
        At { row, way, keys, numbers, above }
    }

    /// Lets the place be kept. `None` when it may not be read, or the slots are used up.
    pub(super) fn place(&mut self, at: &At<'c>) -> Option<Place> {
        if self.is_private(&at.keys) {
            return None;
        }
        let slots: Option<Vec<_>> =
            at.way.iter().map(|(place, name)| Some((self.reads.slot(*place)?, *name))).collect();
        Place::new(at.row, slots?, at.numbers.and_then(number_types::Place::number))
    }

    fn is_private(&self, keys: &[String]) -> bool {
        let read = plain(keys);
        self.ground
            .masks
            .iter()
            .any(|mask| keys_of(mask).is_none_or(|masked| is_prefix(&masked, &read) || is_prefix(&read, &masked)))
    }

    /// The list there, each of whose turns costs so much, and what its elements are.
    pub(super) fn list(&mut self, at: &At<'c>, turn: usize) -> Option<(List, At<'c>)> {
        let place = self.place(at)?;
        let (id, _) = *at.way.last()?;
        let elements = self.reads.elements(id)?;
        let numbers = match at.numbers {
            Some(list) => list.every_element()?,
            None => None,
        };
        let row = self.loops + 1;
        let frame = self.reads.place(elements).frame();
        let itself = self.name("");
        let element = At { row, way: vec![(elements, itself)], keys: at.keys.clone(), numbers, above: None };
        Some((List { place, frame, row, turn }, element))
    }

    /// What follows is inside a macro, where the variable stands for the element.
    pub(super) fn enter(&mut self, variable: &str, element: &At<'c>) {
        self.variables.push((variable.to_owned(), element.clone()));
        self.loops += 1;
    }

    pub(super) fn leave(&mut self) {
        self.loops -= 1;
        self.variables.pop();
    }

    pub(super) fn is_in_loop(&self) -> bool {
        self.loops > 0
    }

    pub(super) fn is_record(&self, node: &IdedExpr) -> bool {
        matches!(&node.expr, Expr::Ident(name) if name == names::VARIABLES[2]) && !self.shadows(names::VARIABLES[2])
    }
}

/// The keys a mask leads through, those left out that may stand for elements. `None` for one that cannot be read back.
fn keys_of(mask: &Mask) -> Option<Vec<String>> {
    Some(named(&Pointer::parse(&mask.path().to_string()).ok()?))
}

fn named(pointer: &Pointer) -> Vec<String> {
    plain(pointer.segments())
}

fn plain(keys: &[String]) -> Vec<String> {
    keys.iter().filter(|key| *key != "*" && !key.bytes().all(|byte| byte.is_ascii_digit())).cloned().collect()
}

fn is_prefix(short: &[String], long: &[String]) -> bool {
    long.starts_with(short)
}
