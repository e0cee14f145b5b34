//! Strings: their length, `pattern`, `format`, and whether they are among the values allowed.

use super::node::{Keyword, Node, Strings, Types, Values};
use super::walk::{Stop, Walker};

impl<'s> Walker<'_, 's> {
    pub(super) fn string(&mut self, node: &'s Node) -> Result<(), Stop> {
        let string = self.scan.key()?;
        self.escaped = string.escaped;
        if node.takes_any_string {
            return Ok(());
        }
        let is_string = node.types.has(Types::STRING);
        if !is_string {
            self.mistyped(node, Types::STRING)?;
        }
        let content = self.content(string)?;
        // A value of no type that the values have is told by `mistyped`.
        let listed = !is_string || node.values.as_ref().is_none_or(|values| values.has(content));
        let broken = node.strings.as_ref().map_or([None; 4], |strings| strings.broken_by(content));
        self.require(listed, node, Keyword::Choice)?;
        broken.into_iter().flatten().try_for_each(|keyword| self.fails(node, keyword))
    }
}

impl Node {
    /// Whether a string without escapes passes.
    #[inline(never)]
    pub(super) fn takes_string(&self, content: &str) -> bool {
        self.types.has(Types::STRING)
            && self.values.as_ref().is_none_or(|values| values.has(content))
            && self.strings.as_ref().is_none_or(|strings| strings.take(content))
    }
}

impl Values {
    fn has(&self, content: &str) -> bool {
        self.strings.binary_search_by(|value| (**value).cmp(content)).is_ok()
    }
}

impl Strings {
    fn take(&self, content: &str) -> bool {
        // A character takes one to four bytes.
        let bytes = content.len() as u64;
        (self.shortest <= bytes.div_ceil(4) && bytes <= self.longest
            || self.is_too_short_or_long(content) == (false, false))
            && self.pattern.as_ref().is_none_or(|pattern| pattern.matches(content))
            && self.format.as_ref().is_none_or(|format| format.holds(content))
    }

    /// The keywords that do not hold.
    fn broken_by(&self, content: &str) -> [Option<Keyword>; 4] {
        let (short, long) = self.is_too_short_or_long(content);
        [
            short.then_some(Keyword::MinLength),
            long.then_some(Keyword::MaxLength),
            self.pattern.as_ref().is_some_and(|pattern| !pattern.matches(content)).then_some(Keyword::Pattern),
            self.format.as_ref().is_some_and(|format| !format.holds(content)).then_some(Keyword::Format),
        ]
    }

    fn is_too_short_or_long(&self, content: &str) -> (bool, bool) {
        if self.shortest == 0 && self.longest >= content.len() as u64 {
            return (false, false);
        }
        let length = content.chars().count() as u64;
        (length < self.shortest, length > self.longest)
    }
}
