//! The pass: the bytes and the nodes, walked together.

use super::node::{ANY, Also, Node, NodeId, Types};
use super::number::Exact;
use crate::decode::json::scan::{Mark, Scanner, Stacks};
use crate::decode::json::strings::{Key, escaped_char};
use crate::decode::json::{Checked, Malformed};

/// How many nodes may be walked for each byte of an event. A schema that applies to one value again and again (`anyOf` in a
/// recursive schema) could take exponential time; the `jsonschema` crate remembers what it has judged.
const WALKS_PER_BYTE: usize = 16;

/// How deep walks may be nested, for the stack's sake. Each level of the event takes one, each reference or alternative on
/// the way to it another.
const NESTING_MAX: usize = 200;

/// How many elements, and bytes of an unescaped string, room is kept for from one event to the next.
const ELEMENTS_KEPT_MAX: usize = 4096;
const UNESCAPED_KEPT_MAX: usize = 64 * 1024;

/// Why a walk ends early.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    Fails,
    Malformed,
    Undecided,
}

impl From<Malformed> for Stop {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}

/// Buffers a walk needs.
#[derive(Default)]
pub(super) struct Scratch {
    stacks: Stacks,
    pub(super) buffers: Buffers,
}

#[derive(Default)]
pub(super) struct Buffers {
    /// A string without its escapes.
    pub(super) unescaped: String,
    /// Where the elements of arrays stand that must be unique; the innermost array's last.
    pub(super) elements: Vec<(usize, usize)>,
}

pub(super) struct Walker<'e, 's> {
    nodes: &'s [Node],
    pub(super) scan: Scanner<'e, 's>,
    pub(super) buffers: &'s mut Buffers,
    walks_left: usize,
    nesting: usize,
}

impl<'e, 's> Walker<'e, 's> {
    pub(super) fn new(nodes: &'s [Node], text: &'e str, scratch: &'s mut Scratch) -> Self {
        let Buffers { unescaped, elements } = &mut scratch.buffers;
        elements.clear();
        elements.shrink_to(ELEMENTS_KEPT_MAX);
        unescaped.clear();
        unescaped.shrink_to(UNESCAPED_KEPT_MAX);
        Self {
            nodes,
            scan: Scanner::new(text, &mut scratch.stacks),
            buffers: &mut scratch.buffers,
            walks_left: text.len().saturating_mul(WALKS_PER_BYTE),
            nesting: 0,
        }
    }

    /// The whole text, whose value is the root's.
    pub(super) fn event(mut self, root: NodeId) -> Result<Checked<'e>, Stop> {
        self.scan.begin()?;
        self.walk(root)?;
        Ok(self.scan.end()?)
    }

    /// The value that begins here, to its end.
    pub(super) fn walk(&mut self, id: NodeId) -> Result<(), Stop> {
        if id == ANY {
            return Ok(self.scan.skip()?);
        }
        let node = &self.nodes[id];
        if node.is_left_out() || self.walks_left == 0 || self.nesting == NESTING_MAX {
            return Err(Stop::Undecided);
        }
        self.walks_left -= 1;
        self.nesting += 1;
        if node.also.is_empty() {
            self.value(node)?;
        } else {
            self.value_and_also(node)?;
        }
        self.nesting -= 1;
        Ok(())
    }

    fn value(&mut self, node: &'s Node) -> Result<(), Stop> {
        match self.scan.peek() {
            Some(b'"') => self.string(node),
            Some(b'{') => {
                self.container(node, Types::OBJECT)?;
                match &node.object {
                    Some(object) => self.object(object),
                    None => Ok(self.scan.skip()?),
                }
            }
            Some(b'[') => {
                self.container(node, Types::ARRAY)?;
                match &node.array {
                    Some(array) => self.array(array),
                    None => Ok(self.scan.skip()?),
                }
            }
            Some(first @ (b't' | b'f' | b'n')) => {
                self.scan.literal()?;
                let allowed = node.values.as_ref().is_none_or(|values| match first {
                    b't' => values.true_,
                    b'f' => values.false_,
                    _ => true,
                });
                holds(allowed && node.types.has(Types::beginning_with(first)))
            }
            Some(b'-' | b'0'..=b'9') => self.number(node),
            // No value begins here; the scanner says what is wrong.
            _ => Ok(self.scan.skip()?),
        }
    }

    fn container(&self, node: &Node, kind: Types) -> Result<(), Stop> {
        holds(node.types.has(kind))?;
        if node.values.is_some() { Err(Stop::Undecided) } else { Ok(()) }
    }

    fn number(&mut self, node: &Node) -> Result<(), Stop> {
        let start = self.scan.at;
        self.scan.number()?;
        let text = &self.scan.text[start..self.scan.at];
        let Node { types, numbers, values, .. } = node;
        holds(types.has(Types::INTEGER))?;
        if !types.has(Types::NUMBER) && text.bytes().any(|byte| matches!(byte, b'.' | b'e' | b'E')) {
            holds(!node.integers_as_written)?;
            holds(Exact::parse(text).ok_or(Stop::Undecided)?.is_integer())?;
        }
        if numbers.is_none() && values.is_none() {
            return Ok(());
        }
        let number = Exact::parse(text).ok_or(Stop::Undecided)?;
        holds(values.as_ref().is_none_or(|values| values.numbers.contains(&number)))?;
        let Some(numbers) = numbers else { return Ok(()) };
        holds(
            numbers.minimum.is_none_or(|minimum| number >= minimum)
                && numbers.maximum.is_none_or(|maximum| number <= maximum)
                && numbers.above.is_none_or(|bound| number > bound)
                && numbers.below.is_none_or(|bound| number < bound)
                && numbers.multiple_of.is_none_or(|divisor| number.is_multiple_of(divisor)),
        )
    }

    fn value_and_also(&mut self, node: &'s Node) -> Result<(), Stop> {
        let start = self.scan.mark();
        let mut end = None;
        if !node.is_bare {
            self.value(node)?;
            end = Some(self.scan.mark());
        }
        for also in &node.also {
            self.scan.return_to(start);
            if self.applies(also)? {
                end = Some(self.scan.mark());
            }
        }
        match end {
            Some(end) => self.scan.return_to(end),
            None => {
                self.scan.return_to(start);
                self.scan.skip()?;
            }
        }
        Ok(())
    }

    /// Whether it holds; true when the value was read to its end in saying so.
    fn applies(&mut self, also: &'s Also) -> Result<bool, Stop> {
        let start = self.scan.mark();
        match also {
            Also::All(nodes) => {
                for node in nodes {
                    self.scan.return_to(start);
                    self.walk(*node)?;
                }
                Ok(true)
            }
            Also::Any(nodes) => self.any(nodes, start).map(|()| true),
            Also::One(nodes) => self.one(nodes, start).map(|()| true),
            Also::Not(node) => holds(!self.attempt(*node)?).map(|()| false),
            Also::If { condition, then, otherwise } => {
                let branch = if self.attempt(*condition)? { *then } else { *otherwise };
                self.scan.return_to(start);
                self.walk(branch).map(|()| true)
            }
        }
    }

    fn any(&mut self, nodes: &[NodeId], start: Mark) -> Result<(), Stop> {
        let mut undecided = false;
        for node in nodes {
            self.scan.return_to(start);
            match self.attempt(*node) {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(Stop::Undecided) => undecided = true,
                Err(stop) => return Err(stop),
            }
        }
        Err(if undecided { Stop::Undecided } else { Stop::Fails })
    }

    fn one(&mut self, nodes: &[NodeId], start: Mark) -> Result<(), Stop> {
        let mut end = None;
        for node in nodes {
            self.scan.return_to(start);
            if self.attempt(*node)? {
                holds(end.is_none())?;
                end = Some(self.scan.mark());
            }
        }
        self.scan.return_to(end.ok_or(Stop::Fails)?);
        Ok(())
    }

    /// Walks, and says whether the schema holds. When it does not, the scanner stands anywhere in the value.
    pub(super) fn attempt(&mut self, id: NodeId) -> Result<bool, Stop> {
        // Most alternatives differ by type already.
        let first = self.scan.peek().unwrap_or_default();
        if self.nodes[id].types.and(Types::beginning_with(first)) == Types::NONE && !self.nodes[id].is_left_out() {
            return Ok(false);
        }
        let (start, nesting, elements) = (self.scan.mark(), self.nesting, self.buffers.elements.len());
        match self.walk(id) {
            Ok(()) => Ok(true),
            Err(stop) => {
                self.scan.return_to(start);
                self.nesting = nesting;
                self.buffers.elements.truncate(elements);
                if stop == Stop::Fails { Ok(false) } else { Err(stop) }
            }
        }
    }

    /// What stands between the quotes, without escapes.
    pub(super) fn content(&mut self, string: Key) -> Result<&str, Stop> {
        let raw = &self.scan.text[string.start..string.end];
        if !string.escaped {
            return Ok(raw);
        }
        let unescaped = &mut self.buffers.unescaped;
        unescaped.clear();
        let mut rest = raw;
        while let Some(plain) = rest.find('\\') {
            unescaped.push_str(&rest[..plain]);
            let (character, length) = escaped_char(&rest.as_bytes()[plain..]).ok_or(Stop::Malformed)?;
            unescaped.push(character);
            rest = &rest[plain + length..];
        }
        unescaped.push_str(rest);
        Ok(unescaped)
    }
}

pub(super) fn holds(condition: bool) -> Result<(), Stop> {
    if condition { Ok(()) } else { Err(Stop::Fails) }
}
