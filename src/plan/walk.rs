//! The pass: the bytes and the nodes, walked together.
//!
//! What does not hold is told and the walk goes on, so that one pass finds every reason, and whatever rules read besides.
//! Only where alternatives are tried does the first thing that fails end the attempt.

use super::node::{ANY, Keyword, Node, NodeId, Types};
use super::number::Exact;
use super::told::Told;
use crate::decode::json::scan::{Mark, Scanner, Stacks};
use crate::decode::json::strings::{Key, escaped_char};
use crate::decode::json::token;
use crate::decode::json::{Checked, DEPTH_MAX, Malformed};
use crate::rule::capture::{Captures, Row};

/// How many bytes may be read again for each byte of an event. A schema that applies to one value again and again (`anyOf` in
/// a recursive schema) could take exponential time; the `jsonschema` crate remembers what it has judged. Telling what is wrong
/// with each of a hundred alternatives is within it.
const READ_AGAIN_MAX: usize = 1024;

/// The same for a whole event, in bytes: some tens of milliseconds.
const READ_AGAIN_BYTES_MAX: usize = 64 * 1024 * 1024;

/// How deep walks may be nested, for the stack's sake. Each level of the event takes one, each reference or alternative on
/// the way to it another.
const NESTING_MAX: usize = 200;

/// How many elements, steps, and bytes of an unescaped string, room is kept for from one event to the next.
const ELEMENTS_KEPT_MAX: usize = 4096;
const STEPS_KEPT_MAX: usize = 4096;
const UNESCAPED_KEPT_MAX: usize = 64 * 1024;

/// Why a walk ends early.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    /// Of an attempt: the schema does not hold.
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
    /// The way to where the walk stands.
    pub(super) path: Path,
    /// What does not hold.
    pub(super) told: Vec<Told>,
    /// The ways to where that is.
    pub(super) steps: Vec<Step>,
}

/// One step for each open array or object, outermost first.
pub(super) struct Path(pub(super) [Step; DEPTH_MAX]);

impl Default for Path {
    fn default() -> Self {
        Self([Step(0); DEPTH_MAX])
    }
}

/// Into an object, by where the key's quote stands; or into an array, by index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Step(u32);

impl Step {
    const ELEMENT: u32 = 1 << 31;

    pub(super) fn key_at(offset: usize) -> Self {
        Self(offset as u32)
    }

    pub(super) fn element(index: usize) -> Self {
        Self(index as u32 | Self::ELEMENT)
    }

    /// The index, or else the offset of the key.
    pub(super) fn read(self) -> Result<usize, usize> {
        let value = (self.0 & !Self::ELEMENT) as usize;
        if self.0 & Self::ELEMENT == 0 { Err(value) } else { Ok(value) }
    }
}

/// The longest text whose offsets and indices a [`Step`] holds, in bytes.
pub(super) const TEXT_MAX: usize = Step::ELEMENT as usize - 1;

pub(super) struct Walker<'e, 's> {
    pub(super) nodes: &'s [Node],
    pub(super) scan: Scanner<'e, 's>,
    pub(super) buffers: &'s mut Buffers,
    pub(super) captures: &'s mut Captures,
    /// The row of the innermost frame the walk is in.
    pub(super) row: Row,
    /// How many attempts the walk is in.
    pub(super) attempts: usize,
    /// The last key that is not declared.
    pub(super) key: Key,
    /// Whether the last string had escapes.
    pub(super) escaped: bool,
    /// The last number, if it was a plain integer.
    pub(super) integer: Option<i64>,
    /// Whether it is a property's name that is judged.
    pub(super) is_in_name: bool,
    /// How many more bytes may be read again.
    again_left: usize,
    pub(super) nesting: usize,
}

impl<'e, 's> Walker<'e, 's> {
    pub(super) fn new(nodes: &'s [Node], text: &'e str, scratch: &'s mut Scratch, captures: &'s mut Captures) -> Self {
        let Buffers { unescaped, elements, told, steps, .. } = &mut scratch.buffers;
        elements.clear();
        elements.shrink_to(ELEMENTS_KEPT_MAX);
        unescaped.clear();
        unescaped.shrink_to(UNESCAPED_KEPT_MAX);
        told.clear();
        steps.clear();
        steps.shrink_to(STEPS_KEPT_MAX);
        Self {
            nodes,
            scan: Scanner::new(text, &mut scratch.stacks),
            buffers: &mut scratch.buffers,
            captures,
            row: Row::EVENT,
            attempts: 0,
            key: Key::default(),
            escaped: false,
            integer: None,
            is_in_name: false,
            again_left: text.len().saturating_mul(READ_AGAIN_MAX).min(READ_AGAIN_BYTES_MAX),
            nesting: 0,
        }
    }

    /// The whole text, whose value is the root's.
    pub(super) fn event(mut self, root: NodeId) -> Result<Checked<'e>, Stop> {
        if self.scan.text.len() > TEXT_MAX {
            return Err(Stop::Undecided);
        }
        self.scan.begin()?;
        self.walk(root)?;
        Ok(self.scan.end()?)
    }

    /// The value that begins here, to its end.
    #[inline]
    pub(super) fn walk(&mut self, id: NodeId) -> Result<(), Stop> {
        let node = &self.nodes[id];
        if !node.is_plain {
            return self.walk_any(id);
        }
        if let Some(end) = self.leaf(node, self.scan.at) {
            self.scan.at = end;
            return Ok(());
        }
        self.walk_nested(node)
    }

    #[inline(never)]
    fn walk_any(&mut self, id: NodeId) -> Result<(), Stop> {
        let node = &self.nodes[id];
        if id == ANY { Ok(self.scan.skip()?) } else { self.walk_nested(node) }
    }

    fn walk_nested(&mut self, node: &'s Node) -> Result<(), Stop> {
        if node.left_out || self.nesting == NESTING_MAX {
            return Err(Stop::Undecided);
        }
        let (start, first) = (self.scan.at, self.scan.peek());
        self.nesting += 1;
        if node.is_plain {
            self.value(node)?
        } else {
            self.value_and_also(node)?
        }
        self.nesting -= 1;
        if let Some(slot) = node.slot {
            let integer = self.integer.filter(|_| matches!(first, Some(b'-' | b'0'..=b'9')));
            self.captures.keep(self.row, slot, start..self.scan.at, self.escaped, integer);
        }
        Ok(())
    }

    /// The end of the value at `at`, when it is what most are and passes for certain: a string without escapes, an integer of
    /// few digits, a literal. Whatever it leaves, `None`, is for [`walk`](Self::walk). It changes nothing but captures, so that
    /// the loops over members and elements keep their place in a register.
    #[inline(always)]
    pub(super) fn leaf(&mut self, node: &'s Node, at: usize) -> Option<usize> {
        if !node.is_plain {
            return None;
        }
        let bytes = self.scan.bytes();
        let (end, integer) = match bytes.get(at)? {
            b'"' => {
                let end = token::plain_string(bytes, at)?;
                let passes = node.takes_any_string || node.takes_string(self.scan.text.get(at + 1..end - 1)?);
                self.escaped = false;
                (passes.then_some(end)?, None)
            }
            b'-' | b'0'..=b'9' => {
                let (integer, end) = token::plain_integer(bytes, at)?;
                self.integer = Some(integer);
                (node.integers.contains(&integer).then_some(end)?, Some(integer))
            }
            first @ (b't' | b'f' | b'n') => {
                let passes = node.values.is_none() && node.types.has(Types::beginning_with(*first));
                (token::literal(bytes, at, *first).filter(|_| passes)?, None)
            }
            _ => return None,
        };
        if let Some(slot) = node.slot {
            self.captures.keep(self.row, slot, at..end, false, integer);
        }
        Some(end)
    }

    /// Back to where the mark was made, to read the same value again.
    pub(super) fn read_again(&mut self, mark: Mark) -> Result<(), Stop> {
        // One more, so that going back is never for nothing.
        let again = 1 + self.scan.at.saturating_sub(mark.at());
        self.again_left = self.again_left.checked_sub(again).ok_or(Stop::Undecided)?;
        self.scan.return_to(mark);
        Ok(())
    }

    pub(super) fn value(&mut self, node: &'s Node) -> Result<(), Stop> {
        match self.scan.peek() {
            Some(b'"') => self.string(node),
            Some(b'{') => {
                self.container(node, Types::OBJECT)?;
                match &node.object {
                    Some(object) => self.object(node, object),
                    None => Ok(self.scan.skip()?),
                }
            }
            Some(b'[') => {
                self.container(node, Types::ARRAY)?;
                match &node.array {
                    Some(array) => self.array(node, array),
                    None => Ok(self.scan.skip()?),
                }
            }
            Some(b'-' | b'0'..=b'9') => self.number(node),
            Some(first @ (b't' | b'f' | b'n')) => self.literal(node, first),
            // No value begins here; the scanner says what is wrong.
            _ => Ok(self.scan.skip()?),
        }
    }

    fn container(&mut self, node: &'s Node, kind: Types) -> Result<(), Stop> {
        if node.types.has(kind) {
            return if node.values.is_some() { Err(Stop::Undecided) } else { Ok(()) };
        }
        self.mistyped(node, kind)
    }

    /// A value of this type, which the node does not take.
    pub(super) fn mistyped(&mut self, node: &'s Node, kind: Types) -> Result<(), Stop> {
        if !node.declared.has(kind) {
            self.fails(node, if node.declared == Types::NONE { Keyword::Nothing } else { Keyword::Type })?;
        }
        match &node.values {
            // The value may be one of them, whatever `type` says.
            Some(values) if values.types.has(kind) => Err(Stop::Undecided),
            Some(_) => self.fails(node, Keyword::Choice),
            None => Ok(()),
        }
    }

    fn literal(&mut self, node: &'s Node, first: u8) -> Result<(), Stop> {
        self.scan.literal()?;
        let kind = Types::beginning_with(first);
        if !node.types.has(kind) {
            return self.mistyped(node, kind);
        }
        let allowed = node.values.as_ref().is_none_or(|values| match first {
            b't' => values.true_,
            b'f' => values.false_,
            _ => true,
        });
        self.require(allowed, node, Keyword::Choice)
    }

    fn number(&mut self, node: &'s Node) -> Result<(), Stop> {
        let start = self.scan.at;
        self.integer = self.scan.number()?;
        let text = &self.scan.text[start..self.scan.at];
        let number = self.integer.map_or_else(|| Exact::parse(text), |integer| Some(Exact::integer(integer)));
        self.has_numeric_type(node, text, number)?;
        if let Some(values) = &node.values {
            let listed = !values.numbers.is_empty() && values.numbers.contains(&number.ok_or(Stop::Undecided)?);
            self.require(listed, node, Keyword::Choice)?;
        }
        let Some(numbers) = &node.numbers else { return Ok(()) };
        let number = number.ok_or(Stop::Undecided)?;
        let (at_least, at_most) = (numbers.minimum, numbers.maximum);
        self.require(at_least.is_none_or(|bound| number >= bound), node, Keyword::Minimum)?;
        self.require(at_most.is_none_or(|bound| number <= bound), node, Keyword::Maximum)?;
        self.require(numbers.above.is_none_or(|bound| number > bound), node, Keyword::ExclusiveMinimum)?;
        self.require(numbers.below.is_none_or(|bound| number < bound), node, Keyword::ExclusiveMaximum)?;
        let divides = numbers.multiple_of.is_none_or(|divisor| number.is_multiple_of(divisor));
        self.require(divides, node, Keyword::MultipleOf)
    }

    fn has_numeric_type(&mut self, node: &'s Node, text: &str, number: Option<Exact>) -> Result<(), Stop> {
        let declared = node.declared;
        let is_whole = || match text.bytes().any(|byte| matches!(byte, b'.' | b'e' | b'E')) {
            false => Ok(true),
            true if node.integers_as_written => Ok(false),
            true => number.map(Exact::is_integer).ok_or(Stop::Undecided),
        };
        if declared.has(Types::NUMBER) || declared.has(Types::INTEGER) && is_whole()? {
            return Ok(());
        }
        self.fails(node, if declared == Types::NONE { Keyword::Nothing } else { Keyword::Type })
    }

    pub(super) fn require(&mut self, holds: bool, node: &'s Node, keyword: Keyword) -> Result<(), Stop> {
        if holds { Ok(()) } else { self.fails(node, keyword) }
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
