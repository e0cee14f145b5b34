//! What rules read, built into the nodes: a node that is walked at a place rules look at keeps the value it finds.
//!
//! A schema's node may stand at many places, and rules look at few of them. So each place on the way to one gets a node of
//! its own, the schema's with a slot. Schemas that apply beside it (`also`) stay as they are: a value is kept once, by the
//! walk of the place's own node.

use std::collections::HashMap;
use std::sync::Arc;

use super::containers::undeclared;
use super::{Compiler, Node, NodeId};
use crate::plan::node::Array;
use crate::plan::object::{Object, PROPERTIES_MAX, Properties};
use crate::rule::capture::{PlaceId, Reads};

impl Compiler<'_> {
    /// The event's node, which keeps what is read.
    pub(super) fn reading(&mut self, event: NodeId, reads: &Reads) -> NodeId {
        if reads.is_empty() {
            return event;
        }
        Reading { compiler: self, reads, known: HashMap::new() }.at(event, Reads::EVENT)
    }
}

struct Reading<'c, 'a> {
    compiler: &'c mut Compiler<'a>,
    reads: &'c Reads,
    known: HashMap<(NodeId, PlaceId), NodeId>,
}

impl Reading<'_, '_> {
    /// The node of a place, which keeps what is read there and below.
    fn at(&mut self, id: NodeId, place: PlaceId) -> NodeId {
        let original = &self.compiler.nodes[id];
        // What is left out is never walked: the event will be judged by its tree.
        if original.left_out {
            return id;
        }
        if let Some(known) = self.known.get(&(id, place)) {
            return *known;
        }
        let mut node = Node { is_bare: false, ..original.clone() };
        let read = self.reads.place(place);
        node.slot = read.slot();
        if read.keys().next().is_some() {
            let Some(object) = self.object(node.object.as_deref(), place) else {
                return self.compiler.add(Node::left_out());
            };
            node.object = Some(Arc::new(object));
        }
        if let (Some(elements), Some(slot)) = (read.elements(), read.slot()) {
            let mut array = node.array.as_deref().map_or_else(Array::of_any, Array::clone);
            array.prefix = array.prefix.iter().map(|element| self.at(*element, elements)).collect();
            array.rest = self.at(array.rest, elements);
            array.rows = Some((slot, self.reads.place(elements).frame()));
            node.array = Some(Arc::new(array));
        }
        let reading = self.compiler.add(node);
        self.known.insert((id, place), reading);
        reading
    }

    /// `None` when there are more properties than an object of a plan declares.
    fn object(&mut self, object: Option<&Object>, place: PlaceId) -> Option<Object> {
        let mut object = object.map_or_else(Object::of_any, Object::clone);
        let mut properties = object.properties.all.to_vec();
        for (key, child) in self.reads.place(place).keys() {
            let index = properties.iter().position(|property| *property.key == *key).unwrap_or_else(|| {
                let mut nodes =
                    object.patterns.iter().filter(|(pattern, _)| pattern.matches(key)).map(|(_, node)| *node);
                properties.push(match nodes.next() {
                    Some(first) => crate::plan::object::Property::new(key, first, nodes.collect()),
                    None => undeclared(key, object.additional),
                });
                properties.len() - 1
            });
            properties[index].node = self.at(properties[index].node, child);
        }
        object.properties = Properties::new(properties);
        (object.properties.all.len() <= PROPERTIES_MAX).then_some(object)
    }
}
