//! Strings: their length, `pattern`, `format`, and whether they are among the values allowed.

use super::node::{Node, Strings, Types, Values};
use super::walk::{Stop, Walker, holds};

impl<'s> Walker<'_, 's> {
    pub(super) fn string(&mut self, node: &'s Node) -> Result<(), Stop> {
        let string = self.scan.key()?;
        holds(node.types.has(Types::STRING))?;
        if node.strings.is_none() && node.values.is_none() {
            return Ok(());
        }
        let content = self.content(string)?;
        holds(
            node.values.as_ref().is_none_or(|values| values.has(content))
                && node.strings.as_ref().is_none_or(|strings| strings.hold(content)),
        )
    }
}

impl Values {
    fn has(&self, content: &str) -> bool {
        self.strings.binary_search_by(|value| (**value).cmp(content)).is_ok()
    }
}

impl Strings {
    fn hold(&self, content: &str) -> bool {
        self.has_length(content)
            && self.pattern.as_ref().is_none_or(|pattern| pattern.matches(content))
            && self.format.as_ref().is_none_or(|format| format.holds(content))
    }

    fn has_length(&self, content: &str) -> bool {
        if self.shortest == 0 && self.longest >= content.len() as u64 {
            return true;
        }
        let length = content.chars().count() as u64;
        (self.shortest..=self.longest).contains(&length)
    }
}
