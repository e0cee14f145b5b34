//! Which of several schemas an object can be meant for, by its keys, so that the others need not be tried.
//!
//! Real schemas list an event's variants under `oneOf`, sixty and more of them, and tell them apart by what each requires,
//! what each allows, and by constants (`"action": {"enum": ["opened"]}`). A look at an object's own keys, one after the other,
//! strikes out variants until one is left or the keys are at an end. A sieve only strikes out what is certain to fail: what it
//! leaves is tried as ever.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::node::{Also, NEVER, Node, NodeId, Types, Values};
use super::object::{KeySet, PROPERTIES_MAX, Properties, Property};
use super::walk::{Stop, Walker};

/// The longest list of alternatives that is sifted.
const ALTERNATIVES_MAX: usize = 128;

/// How deep alternatives in alternatives are looked into when a sieve is made.
const NESTING_MAX: usize = 6;

/// Alternatives of one list, a bit each.
type Set = u128;

/// Whether the alternative of this index is in the set. Longer lists are not sifted.
pub(super) fn is_left(left: Set, index: usize) -> bool {
    index >= ALTERNATIVES_MAX || left >> index & 1 == 1
}

/// What the keys of an object say of a list of alternatives.
#[derive(Debug)]
pub(super) struct Sieve {
    keys: Properties,
    /// Of each of the keys.
    facts: Box<[Facts]>,
    /// Those that allow no other keys.
    closed: Set,
    all: Set,
}

#[derive(Debug, Clone, Default)]
struct Facts {
    /// The alternatives that do not allow the key.
    refused_by: Set,
    required_by: Set,
    /// The alternatives that do not ask for a constant here.
    any: Set,
    /// The constants, each with the alternatives that ask for it.
    constants: BTreeMap<Box<str>, Set>,
}

impl Facts {
    /// The alternatives that a string at this key leaves.
    fn with(&self, value: &str) -> Set {
        self.any | self.constants.get(value).copied().unwrap_or_default()
    }
}

impl<'s> Walker<'_, 's> {
    /// The alternatives that may hold for the value that begins here. Inside it, only quotes and brackets are looked at: either
    /// an alternative that holds reads it all, or whatever tells that none does.
    pub(super) fn sift(&mut self, sieve: Option<&'s Sieve>) -> Result<Set, Stop> {
        let Some(sieve) = sieve.filter(|_| self.scan.peek() == Some(b'{')) else { return Ok(Set::MAX) };
        let start = self.scan.mark();
        let (mut left, mut seen) = (sieve.all, KeySet::default());
        let mut more = self.scan.enter_object()?;
        while more {
            let key = self.scan.key()?;
            let found = sieve.keys.find(self.content(key)?);
            self.scan.colon()?;
            let facts = found.map(|key| &sieve.facts[key]);
            left &= !facts.map_or(sieve.closed, |facts| facts.refused_by);
            match facts.filter(|facts| !facts.constants.is_empty() && self.scan.peek() == Some(b'"')) {
                Some(facts) => {
                    let value = self.scan.key()?;
                    left &= facts.with(self.content(value)?);
                }
                None => self.scan.skip_roughly()?,
            }
            if left.count_ones() < 2 {
                self.read_again(start)?;
                return Ok(left);
            }
            found.map(|key| seen.insert(key));
            more = self.scan.next_member()?;
        }
        let missing = sieve.facts.iter().enumerate().filter(|(key, _)| !seen.has(*key));
        left = missing.fold(left, |left, (_, facts)| left & !facts.required_by);
        self.read_again(start)?;
        Ok(left)
    }
}

/// Gives every list of alternatives that can be told apart its sieve.
pub(super) fn install(nodes: &mut [Node]) {
    for id in 0..nodes.len() {
        let mut also = std::mem::take(&mut nodes[id].also);
        for one in Arc::get_mut(&mut also).into_iter().flatten() {
            if let Also::Any(alternatives, sieve) | Also::One(alternatives, sieve) = one {
                *sieve = Sieve::of(nodes, alternatives).map(Box::new);
            }
        }
        nodes[id].also = also;
    }
}

impl Sieve {
    /// `None` when the keys of an object would say nothing.
    fn of(nodes: &[Node], alternatives: &[NodeId]) -> Option<Self> {
        if !(2..=ALTERNATIVES_MAX).contains(&alternatives.len()) {
            return None;
        }
        // Those that no object is of are told by the first byte.
        let objects = || alternatives.iter().enumerate().filter(|(_, id)| nodes[**id].types.has(Types::OBJECT));
        if objects().count() < 2 {
            return None;
        }
        let shapes: Vec<Shape> = alternatives.iter().map(|id| Shape::of(nodes, *id, 0)).collect();
        let keys: BTreeSet<&str> = shapes.iter().flat_map(Shape::keys).collect();
        if keys.is_empty() || keys.len() > PROPERTIES_MAX {
            return None;
        }
        let keys = Properties::new(keys.iter().map(|key| Property::new(key, NEVER, Box::default())).collect());
        let mut facts = vec![Facts::default(); keys.all.len()];
        let mut closed = 0;
        for (index, shape) in shapes.iter().enumerate() {
            let bit = 1 << index;
            closed |= if shape.allowed.is_some() { bit } else { 0 };
            for (property, facts) in keys.all.iter().zip(&mut facts) {
                let key = &*property.key;
                facts.refused_by |= if shape.refuses(key) { bit } else { 0 };
                facts.required_by |= if shape.required.contains(key) { bit } else { 0 };
                match shape.constants.get(key) {
                    Some(values) => {
                        let strings = values.strings.iter().cloned();
                        strings.for_each(|string| *facts.constants.entry(string).or_default() |= bit);
                    }
                    None => facts.any |= bit,
                }
            }
        }
        let all = objects().fold(0, |all, (index, _)| all | 1 << index);
        Some(Self { keys, facts: facts.into(), closed, all })
    }
}

/// What an object must be for an alternative not to be struck out.
#[derive(Debug, Clone, Default)]
struct Shape {
    required: BTreeSet<Box<str>>,
    /// `None`: any.
    allowed: Option<BTreeSet<Box<str>>>,
    /// The strings a key's value must be one of, where it is a string.
    constants: BTreeMap<Box<str>, Arc<Values>>,
}

impl Shape {
    fn of(nodes: &[Node], id: NodeId, nesting: usize) -> Self {
        let node = &nodes[id];
        if nesting > NESTING_MAX || node.left_out {
            return Self::default();
        }
        let mut shape = Self::of_own(nodes, node);
        for also in node.also.iter() {
            let inner = |list: &[NodeId]| list.iter().map(|id| Self::of(nodes, *id, nesting + 1)).collect::<Vec<_>>();
            match also {
                Also::All(list) => inner(list).into_iter().for_each(|inner| shape.narrow(inner)),
                Also::Any(list, _) | Also::One(list, _) => {
                    if let Some(widest) = inner(list).into_iter().reduce(Self::or) {
                        shape.narrow(widest);
                    }
                }
                Also::Not(_) | Also::If { .. } => {}
            }
        }
        shape
    }

    fn of_own(nodes: &[Node], node: &Node) -> Self {
        let Some(object) = &node.object else { return Self::default() };
        let properties = || object.properties.all.iter();
        let constant = |property: &Property| {
            let node = &nodes[property.node];
            node.values.clone().filter(|_| !node.left_out && node.types == Types::STRING)
        };
        let required = properties().enumerate().filter(|(index, _)| object.required.has(*index));
        let allowed = properties().filter(|property| !property.is_unexpected).map(|property| property.key.clone());
        let is_closed = object.additional == NEVER && object.patterns.is_empty();
        Self {
            required: required.map(|(_, property)| property.key.clone()).collect(),
            allowed: is_closed.then(|| allowed.collect()),
            constants: properties().filter_map(|one| Some((one.key.clone(), constant(one)?))).collect(),
        }
    }

    /// What must hold besides.
    fn narrow(&mut self, other: Self) {
        self.required.extend(other.required);
        self.allowed = match (self.allowed.take(), other.allowed) {
            (Some(a), Some(b)) => Some(&a & &b),
            (a, b) => a.or(b),
        };
        // Of two lists of constants for one key, either may decide.
        self.constants.extend(other.constants);
    }

    /// What must hold in either case.
    fn or(self, other: Self) -> Self {
        let allowed = self.allowed.zip(other.allowed).map(|(a, b)| &a | &b);
        Self { required: &self.required & &other.required, allowed, constants: BTreeMap::new() }
    }

    fn refuses(&self, key: &str) -> bool {
        self.allowed.as_ref().is_some_and(|allowed| !allowed.contains(key))
    }

    fn keys(&self) -> impl Iterator<Item = &str> {
        let allowed = self.allowed.iter().flatten();
        self.required.iter().chain(allowed).chain(self.constants.keys()).map(|key| &**key)
    }
}
