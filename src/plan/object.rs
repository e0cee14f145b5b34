//! Objects: which property a key is, and what follows from the keys there are.
//!
//! Producers write the keys of one event type in one order, mostly the schema's. So the key after a property is predicted to
//! be the next property's, and one comparison of sixteen bytes settles most of them; a wrong prediction costs a look-up in a
//! small hash table. Declared keys are told apart, and found missing or twice, by their bit in a set; only undeclared keys
//! are remembered and compared.

use std::sync::Arc;

use super::node::{ANY, Keyword, NEVER, Node, NodeId};
use super::pattern::Pattern;
use super::walk::{Step, Stop, Walker};
use crate::decode::json::scan::Mark;
use crate::decode::json::strings::fingerprint;
use crate::decode::json::token;

/// The most properties an object of a plan declares, required ones among them.
pub(super) const PROPERTIES_MAX: usize = 256;

#[derive(Debug, Clone)]
pub(super) struct Object {
    pub(super) properties: Properties,
    pub(super) required: KeySet,
    /// For keys that are not declared; each pattern that matches applies.
    pub(super) patterns: Arc<[(Pattern, NodeId)]>,
    /// For keys that nothing else speaks of.
    pub(super) additional: NodeId,
    /// `additionalProperties: false` and nothing else, so that one reason stands for all properties there are.
    pub(super) is_closed: bool,
    /// `propertyNames: false`, the same.
    pub(super) is_nameless: bool,
    pub(super) names: Option<NodeId>,
    pub(super) fewest: u64,
    pub(super) most: u64,
    pub(super) dependents: Box<[Dependent]>,
}

impl Object {
    /// Any properties.
    pub(super) fn of_any() -> Self {
        Self {
            properties: Properties::new(Vec::new()),
            required: KeySet::default(),
            patterns: Arc::default(),
            additional: ANY,
            is_closed: false,
            is_nameless: false,
            names: None,
            fewest: 0,
            most: u64::MAX,
            dependents: Box::default(),
        }
    }

    /// Whether anything depends on how many properties there are.
    fn is_counted(&self) -> bool {
        self.fewest > 0 || self.most < u64::MAX || self.is_closed || self.is_nameless
    }
}

/// What follows from the presence of a property.
#[derive(Debug, Clone)]
pub(super) struct Dependent {
    pub(super) property: usize,
    pub(super) required: KeySet,
    /// Of the whole object.
    pub(super) node: Option<NodeId>,
}

/// A set of declared properties, by index.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct KeySet([u64; WORDS]);

const WORDS: usize = PROPERTIES_MAX / 64;

impl KeySet {
    /// False when it was there already.
    #[inline]
    pub(super) fn insert(&mut self, property: usize) -> bool {
        let (word, bit) = (&mut self.0[property / 64 % WORDS], 1 << (property % 64));
        let is_new = *word & bit == 0;
        *word |= bit;
        is_new
    }

    pub(super) fn has(&self, property: usize) -> bool {
        self.0[property / 64] >> (property % 64) & 1 == 1
    }

    fn count(&self) -> u64 {
        self.0.iter().map(|word| u64::from(word.count_ones())).sum()
    }

    fn has_all(&self, of: &Self) -> bool {
        self.0.iter().zip(of.0).all(|(seen, wanted)| seen & wanted == wanted)
    }

    /// Those of `of` that are not in this set.
    fn missing(&self, of: &Self) -> impl Iterator<Item = usize> + use<> {
        let (seen, of) = (*self, *of);
        (0..WORDS).flat_map(move |word| {
            let mut left = of.0[word] & !seen.0[word];
            std::iter::from_fn(move || {
                let bit = left.trailing_zeros();
                left &= left.checked_sub(1)?;
                Some(64 * word + bit as usize)
            })
        })
    }
}

#[derive(Debug, Clone)]
pub(super) struct Property {
    /// The key as it is written without escapes, with its quotes and the colon; empty for a key that needs escapes.
    written: Box<[u8]>,
    /// The first sixteen bytes of that, and which bits of them count.
    head: u128,
    head_mask: u128,
    pub(super) key: Box<str>,
    pub(super) node: NodeId,
    /// Of the patterns that match the key.
    pub(super) also: Box<[NodeId]>,
    /// Named elsewhere in the schema, but not allowed.
    pub(super) is_unexpected: bool,
    /// Whether nothing but the node is said of it.
    is_simple: bool,
}

impl Property {
    pub(super) fn new(key: &str, node: NodeId, also: Box<[NodeId]>) -> Self {
        let plain = !key.bytes().any(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1f));
        let written: Box<[u8]> = if plain { format!("\"{key}\":").into_bytes().into() } else { Box::default() };
        let mut head = [0; HEAD];
        let length = written.len().min(HEAD);
        head[..length].copy_from_slice(&written[..length]);
        let head_mask = if length == HEAD { u128::MAX } else { (1 << (8 * length)) - 1 };
        let head = u128::from_le_bytes(head);
        let is_simple = also.is_empty();
        Self { written, head, head_mask, key: key.into(), node, also, is_unexpected: false, is_simple }
    }

    /// Named in the schema, but not allowed: its value may be anything.
    pub(super) fn unexpected(key: &str) -> Self {
        Self { is_unexpected: true, ..Self::new(key, ANY, Box::default()) }
    }

    /// Where the property's value begins, if its key and a colon stand at `at` as most write them.
    #[inline]
    fn read(&self, bytes: &[u8], at: usize) -> Option<usize> {
        let rest = bytes.get(at..)?;
        let differ = (u128::from_le_bytes(*rest.first_chunk()?) ^ self.head) & self.head_mask;
        let length = self.written.len();
        if differ != 0 || length == 0 || length > HEAD && rest.get(HEAD..length) != Some(&self.written[HEAD..]) {
            return None;
        }
        Some(token::space(bytes, at + length))
    }
}

/// How many bytes of a key one comparison settles.
const HEAD: usize = 16;

/// The declared properties, and a hash table of them with open addressing.
#[derive(Debug, Clone)]
pub(super) struct Properties {
    pub(super) all: Box<[Property]>,
    /// Indices into `all`, or [`VACANT`]; the length is a power of two, at least half of it vacant.
    table: Box<[u16]>,
}

const VACANT: u16 = u16::MAX;

impl Properties {
    pub(super) fn new(all: Vec<Property>) -> Self {
        let mut table = vec![VACANT; (all.len() * 2).next_power_of_two().max(2)].into_boxed_slice();
        for (index, property) in all.iter().enumerate() {
            let mut slot = place_of(&property.key) & (table.len() - 1);
            while table[slot] != VACANT {
                slot = (slot + 1) & (table.len() - 1);
            }
            table[slot] = index as u16;
        }
        Self { all: all.into(), table }
    }

    pub(super) fn find(&self, key: &str) -> Option<usize> {
        let mut slot = place_of(key) & (self.table.len() - 1);
        loop {
            let index = usize::from(self.table[slot]);
            match self.all.get(index) {
                Some(property) if *property.key == *key => return Some(index),
                Some(_) => slot = (slot + 1) & (self.table.len() - 1),
                None => return None,
            }
        }
    }
}

/// Where in a table a key is looked for first, before it is cut to the table's length.
fn place_of(key: &str) -> usize {
    (fingerprint(key.as_bytes()) >> 40) as usize
}

impl<'s> Walker<'_, 's> {
    pub(super) fn object(&mut self, node: &'s Node, object: &'s Object) -> Result<(), Stop> {
        let (start, depth, bytes) = (self.scan.mark(), self.scan.depth(), self.scan.bytes());
        let properties = &object.properties.all;
        let (mut seen, mut undeclared, mut predicted) = (KeySet::default(), 0, 0);
        let mut more = self.scan.enter_object()?;
        // The scanner's place while it is here; `self.scan.at` while others read on.
        let mut at = self.scan.at;
        while more {
            let key_start = at;
            let mut property = properties.get(predicted);
            match property.and_then(|property| property.read(bytes, at)) {
                Some(value) => at = value,
                None => {
                    self.scan.at = at;
                    let found = self.unpredicted_key(&object.properties)?;
                    at = self.scan.at;
                    predicted = found.unwrap_or(predicted);
                    property = found.map(|index| &properties[index]);
                }
            }
            match property {
                Some(_) if !seen.insert(predicted) => return Err(Stop::Malformed),
                Some(_) => predicted += 1,
                None => undeclared += 1,
            }
            let simple = property.filter(|property| property.is_simple && object.names.is_none());
            at = match simple.and_then(|property| self.leaf(&self.nodes[property.node], at)) {
                Some(end) => end,
                None => {
                    self.scan.at = at;
                    self.buffers.path.0[depth] = Step::key_at(key_start);
                    self.member(node, object, property, key_start)?;
                    self.scan.at
                }
            };
            at = token::space(bytes, at);
            if bytes.get(at) == Some(&b',') {
                at = token::space(bytes, at + 1);
            } else {
                self.scan.at = at;
                more = self.scan.end_of_object()?;
            }
        }
        self.object_as_a_whole(node, object, undeclared, &seen, start)
    }

    /// A property's value, and what is said of its name. `key` is where that begins.
    fn member(
        &mut self,
        node: &'s Node,
        object: &'s Object,
        property: Option<&'s Property>,
        key: usize,
    ) -> Result<(), Stop> {
        if let Some(names) = object.names {
            self.name(node, names, key)?;
        }
        match property {
            Some(property) => self.declared(node, object, property, key),
            None => self.undeclared(node, object),
        }
    }

    fn object_as_a_whole(
        &mut self,
        node: &'s Node,
        object: &'s Object,
        undeclared: u64,
        seen: &KeySet,
        start: Mark,
    ) -> Result<(), Stop> {
        if !seen.has_all(&object.required) {
            seen.missing(&object.required).try_for_each(|property| self.lacks(node, property))?;
        }
        if object.is_counted() {
            let count = undeclared + seen.count();
            self.require(count >= object.fewest, node, Keyword::MinProperties)?;
            self.require(count <= object.most, node, Keyword::MaxProperties)?;
            let is_empty = object.is_closed || object.is_nameless;
            self.require(!is_empty || count == 0, node, Keyword::Nothing)?;
        }
        if object.dependents.is_empty() { Ok(()) } else { self.dependents(node, object, seen, start) }
    }

    /// Goes past a key and its colon. The property whose key it is; another key is left in `self.key`.
    #[inline(never)]
    fn unpredicted_key(&mut self, properties: &Properties) -> Result<Option<usize>, Stop> {
        self.key = self.scan.key()?;
        self.scan.colon()?;
        let key = self.key;
        Ok(properties.find(self.content(key)?))
    }

    fn declared(&mut self, node: &'s Node, object: &Object, property: &'s Property, key: usize) -> Result<(), Stop> {
        if property.is_unexpected && !object.is_closed {
            self.unexpected(node, key)?;
        }
        if property.also.is_empty() {
            return self.walk(property.node);
        }
        let start = self.scan.mark();
        self.walk(property.node)?;
        for also in &property.also {
            self.read_again(start)?;
            self.walk(*also)?;
        }
        Ok(())
    }

    /// The value of a key that is not declared: every pattern that matches applies, else what is said of additional ones.
    #[inline(never)]
    fn undeclared(&mut self, node: &'s Node, object: &'s Object) -> Result<(), Stop> {
        let key = self.key;
        self.scan.remember(key);
        let start = self.scan.mark();
        let mut spoken_of = false;
        for (pattern, node) in object.patterns.iter() {
            if pattern.matches(self.content(key)?) {
                self.read_again(start)?;
                self.walk(*node)?;
                spoken_of = true;
            }
        }
        if spoken_of {
            return Ok(());
        }
        if object.additional != NEVER {
            return self.walk(object.additional);
        }
        if !object.is_closed {
            self.unexpected(node, key.start - 1)?;
        }
        Ok(self.scan.skip()?)
    }

    /// Judges a key's own text, and returns to its end.
    fn name(&mut self, node: &'s Node, names: NodeId, key: usize) -> Result<(), Stop> {
        let end = self.scan.mark();
        self.scan.at = key;
        self.is_in_name = true;
        let told = self.told_of(names);
        self.is_in_name = false;
        let told = told?;
        self.scan.return_to(end);
        told.into_iter().try_for_each(|told| self.misnamed(node, told))
    }

    fn dependents(&mut self, node: &'s Node, object: &'s Object, seen: &KeySet, start: Mark) -> Result<(), Stop> {
        let end = self.scan.mark();
        for dependent in object.dependents.iter().filter(|dependent| seen.has(dependent.property)) {
            seen.missing(&dependent.required).try_for_each(|property| self.lacks(node, property))?;
            if let Some(node) = dependent.node {
                self.read_again(start)?;
                self.walk(node)?;
                self.scan.return_to(end);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_property_is_found_and_nothing_else(keys in prop::collection::btree_set("[a-c]{0,12}|é\"", 0..40), other in "[a-c]{0,12}") {
            let keys: Vec<String> = keys.into_iter().collect();
            let properties = Properties::new(keys.iter().map(|key| Property::new(key, 0, Box::default())).collect());
            for (index, key) in keys.iter().enumerate() {
                prop_assert_eq!(properties.find(key), Some(index));
            }
            prop_assert_eq!(properties.find(&other), keys.iter().position(|key| *key == other));
        }

        #[test]
        fn a_prediction_is_right(key in "[a-c]{0,12}", other in "[a-c]{0,12}") {
            let property = Property::new(&key, 0, Box::default());
            let text = format!("\"{other}\": \"some longer value\"");
            prop_assert_eq!(property.read(text.as_bytes(), 0), (key == other).then_some(other.len() + 4));
        }
    }
}
