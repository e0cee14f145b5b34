//! Which of several schemas an object can be meant for, by its keys, so that the others need not be tried.
//!
//! Real schemas list an event's variants under `oneOf`, sixty and more of them, and tell them apart by what each requires,
//! what each allows, and by constants (`"action": {"enum": ["opened"]}`). One look at an object's own keys rules out nearly
//! all. A sieve only rules out what is certain to fail: what it lets through is tried as ever.

use std::sync::Arc;

use super::node::{Also, NEVER, Node, NodeId, Types, Values};
use super::object::{KeySet, Object, PROPERTIES_MAX, Properties, Property};
use super::walk::{Stop, Walker};
use crate::decode::json::strings::Key;

/// How many keys' values are looked at.
const CONSTANTS_MAX: usize = 4;

/// How deep alternatives in alternatives are looked into when a sieve is made.
const NESTING_MAX: usize = 6;

/// What is known of a list of alternatives.
#[derive(Debug)]
pub(super) struct Sieve {
    /// The keys its shapes speak of. Lists inside the alternatives share it, so that one look serves them all.
    table: Arc<Table>,
    shapes: Box<[Shape]>,
}

#[derive(Debug)]
struct Table {
    keys: Properties,
    /// The keys whose values are looked at.
    constants: Vec<usize>,
}

/// What an object must be for an alternative not to be ruled out. Sets are of the table's keys.
#[derive(Debug, Clone, Default)]
struct Shape {
    required: KeySet,
    /// `None`: any.
    allowed: Option<KeySet>,
    /// The strings a key's value must be one of, if the key is there.
    constants: Vec<(usize, Arc<Values>)>,
}

/// What a look at an object has shown. Kept while the walk tries alternatives for it.
#[derive(Debug, Clone)]
pub(super) struct Sight {
    at: usize,
    table: Arc<Table>,
    seen: KeySet,
    /// Whether there are keys the table does not know.
    has_others: bool,
    constants: [Option<Key>; CONSTANTS_MAX],
}

impl Sieve {
    /// Whether the alternative of this index may hold.
    fn lets_through(&self, index: usize, sight: &Sight, text: &str) -> bool {
        let shape = &self.shapes[index];
        sight.seen.has_all(&shape.required)
            && shape.allowed.as_ref().is_none_or(|allowed| !sight.has_others && allowed.has_all(&sight.seen))
            && shape.constants.iter().all(|(key, values)| sight.may_be(*key, values, text))
    }
}

impl Sight {
    /// Whether the key's value is one of these strings, as far as it was looked at.
    fn may_be(&self, key: usize, values: &Values, text: &str) -> bool {
        let watched = self.table.constants.iter().position(|constant| *constant == key);
        match watched.and_then(|index| self.constants[index]) {
            Some(value) if !value.escaped => values.has(&text[value.start..value.end]),
            _ => true,
        }
    }
}

impl<'s> Walker<'_, 's> {
    /// Which alternatives may hold for the value that begins here; `None` when all may.
    pub(super) fn sift(&mut self, sieve: Option<&'s Sieve>) -> Result<Option<(&'s Sieve, Sight)>, Stop> {
        let Some(sieve) = sieve.filter(|_| self.scan.peek() == Some(b'{')) else { return Ok(None) };
        let known =
            self.sight.as_ref().filter(|sight| sight.at == self.scan.at && Arc::ptr_eq(&sight.table, &sieve.table));
        let sight = match known {
            Some(sight) => sight.clone(),
            None => self.look(&sieve.table)?,
        };
        self.sight = Some(sight.clone());
        Ok(Some((sieve, sight)))
    }

    /// Looks at the keys of the object that begins here, and goes back to its beginning.
    fn look(&mut self, table: &Arc<Table>) -> Result<Sight, Stop> {
        let start = self.scan.mark();
        let mut sight = Sight {
            at: start.at(),
            table: Arc::clone(table),
            seen: KeySet::default(),
            has_others: false,
            constants: [None; CONSTANTS_MAX],
        };
        let mut more = self.scan.enter_object()?;
        while more {
            let key = self.scan.key()?;
            self.scan.remember(key);
            let found = table.keys.find(self.content(key)?);
            self.scan.colon()?;
            match found {
                Some(index) => {
                    sight.seen.insert(index);
                    let watched = table.constants.iter().position(|constant| *constant == index);
                    match watched.filter(|_| self.scan.peek() == Some(b'"')) {
                        Some(watched) => sight.constants[watched] = Some(self.scan.key()?),
                        None => self.scan.skip()?,
                    }
                }
                None => {
                    sight.has_others = true;
                    self.scan.skip()?;
                }
            }
            more = self.scan.next_member()?;
        }
        self.read_again(start)?;
        Ok(sight)
    }
}

/// Whether the alternative may hold, by what was sifted.
pub(super) fn may_hold(sifted: &Option<(&Sieve, Sight)>, index: usize, text: &str) -> bool {
    sifted.as_ref().is_none_or(|(sieve, sight)| sieve.lets_through(index, sight, text))
}

/// Gives every list of alternatives that can be told apart its sieve.
pub(super) fn install(nodes: &mut [Node]) {
    for id in 0..nodes.len() {
        install_at(nodes, id, None, 0);
    }
}

/// The same for one node. `shared` is the table of a list around it, which is used if it can be.
fn install_at(nodes: &mut [Node], id: NodeId, shared: Option<&Arc<Table>>, nesting: usize) {
    if nesting > NESTING_MAX || nodes[id].left_out {
        return;
    }
    for index in 0..nodes[id].also.len() {
        let alternatives = match &nodes[id].also[index] {
            Also::Any(alternatives, None) | Also::One(alternatives, None) => alternatives.clone(),
            _ => continue,
        };
        let table = shared.cloned().or_else(|| table(nodes, &alternatives));
        let Some(table) = table else { continue };
        let shapes = alternatives.iter().map(|node| shape(nodes, *node, &table.keys, 0)).collect();
        let sieve = Some(Box::new(Sieve { table: Arc::clone(&table), shapes }));
        let mut also = std::mem::take(&mut nodes[id].also);
        if let Some(list) = Arc::get_mut(&mut also) {
            match &mut list[index] {
                Also::Any(_, empty) | Also::One(_, empty) => *empty = sieve,
                _ => {}
            }
        }
        nodes[id].also = also;
        alternatives.iter().for_each(|inner| install_at(nodes, *inner, Some(&table), nesting + 1));
    }
}

/// The keys that tell the alternatives apart. `None` when there are none, or too many.
fn table(nodes: &[Node], alternatives: &[NodeId]) -> Option<Arc<Table>> {
    let mut keys: Vec<String> = Vec::new();
    let mut constants: Vec<String> = Vec::new();
    for alternative in alternatives {
        keys_of(nodes, *alternative, 0, &mut keys, &mut constants);
    }
    if alternatives.len() < 2 || keys.is_empty() || keys.len() > PROPERTIES_MAX {
        return None;
    }
    let all = keys.iter().map(|key| Property::new(key, NEVER, Box::default())).collect();
    let keys = Properties::new(all);
    let constants = constants.iter().filter_map(|key| keys.find(key)).take(CONSTANTS_MAX).collect();
    Some(Arc::new(Table { keys, constants }))
}

fn keys_of(nodes: &[Node], id: NodeId, nesting: usize, keys: &mut Vec<String>, constants: &mut Vec<String>) {
    let node = &nodes[id];
    if nesting > NESTING_MAX || node.left_out {
        return;
    }
    for property in node.object.iter().flat_map(|object| &object.properties.all) {
        if !keys.iter().any(|key| **key == *property.key) {
            keys.push(property.key.to_string());
        }
        if constant(nodes, property).is_some() && !constants.iter().any(|key| **key == *property.key) {
            constants.push(property.key.to_string());
        }
    }
    for also in node.also.iter() {
        if let Also::All(inner) | Also::Any(inner, _) | Also::One(inner, _) = also {
            inner.iter().for_each(|inner| keys_of(nodes, *inner, nesting + 1, keys, constants));
        }
    }
}

fn constant(nodes: &[Node], property: &Property) -> Option<Arc<Values>> {
    let node = &nodes[property.node];
    node.values.clone().filter(|_| !node.left_out && node.types == Types::STRING)
}

fn shape(nodes: &[Node], id: NodeId, keys: &Properties, nesting: usize) -> Shape {
    let node = &nodes[id];
    if nesting > NESTING_MAX || node.left_out {
        return Shape::default();
    }
    let mut shape = node.object.as_ref().map(|object| shape_of(nodes, object, keys)).unwrap_or_default();
    for also in node.also.iter() {
        let inner = |list: &[NodeId]| list.iter().map(|inner| self::shape(nodes, *inner, keys, nesting + 1)).collect();
        match also {
            Also::All(list) => {
                let inner: Vec<Shape> = inner(list);
                inner.into_iter().for_each(|inner| shape.narrow(inner));
            }
            Also::Any(list, _) | Also::One(list, _) => {
                let inner: Vec<Shape> = inner(list);
                if let Some(widest) = inner.into_iter().reduce(Shape::or) {
                    shape.narrow(widest);
                }
            }
            Also::Not(_) | Also::If { .. } => {}
        }
    }
    shape
}

fn shape_of(nodes: &[Node], object: &Object, keys: &Properties) -> Shape {
    let mut shape = Shape::default();
    let mut is_closed = object.additional == NEVER && object.patterns.is_empty();
    let mut allowed = KeySet::default();
    for (index, property) in object.properties.all.iter().enumerate() {
        let Some(key) = keys.find(&property.key) else {
            // A key the table does not know would count as not allowed.
            is_closed = false;
            continue;
        };
        if object.required.has(index) {
            shape.required.insert(key);
        }
        if !property.is_unexpected {
            allowed.insert(key);
        }
        shape.constants.extend(constant(nodes, property).map(|values| (key, values)));
    }
    shape.allowed = is_closed.then_some(allowed);
    shape
}

impl Shape {
    /// What must hold besides.
    fn narrow(&mut self, other: Self) {
        self.required = self.required.union(&other.required);
        self.allowed = match (self.allowed, other.allowed) {
            (Some(a), Some(b)) => Some(a.intersection(&b)),
            (a, b) => a.or(b),
        };
        self.constants.extend(other.constants);
    }

    /// What must hold in either case.
    fn or(self, other: Self) -> Self {
        let allowed = self.allowed.zip(other.allowed).map(|(a, b)| a.union(&b));
        Self { required: self.required.intersection(&other.required), allowed, constants: Vec::new() }
    }
}
