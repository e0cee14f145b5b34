//! Schemas that apply to one value besides its own: `allOf`, `anyOf`, `oneOf`, `not`, `if`.

use super::node::{Also, Keyword, Node, NodeId, Types};
use super::sieve::{Sieve, is_left};
use super::told::Told;
use super::walk::{Stop, Walker};
use crate::decode::json::scan::Mark;

impl<'s> Walker<'_, 's> {
    #[inline(never)]
    pub(super) fn value_and_also(&mut self, node: &'s Node) -> Result<(), Stop> {
        let start = self.scan.mark();
        let mut end = None;
        if !node.is_bare {
            self.value(node)?;
            end = Some(self.scan.mark());
        }
        for also in node.also.iter() {
            self.read_again(start)?;
            if self.applies(node, also)? {
                end = Some(self.scan.mark());
            }
        }
        match end {
            Some(end) => self.scan.return_to(end),
            None => {
                self.read_again(start)?;
                self.scan.skip()?;
            }
        }
        Ok(())
    }

    /// Says what does not hold; true when the value was read to its end in finding out.
    fn applies(&mut self, node: &'s Node, also: &'s Also) -> Result<bool, Stop> {
        let start = self.scan.mark();
        match also {
            Also::All(nodes) => {
                for node in nodes {
                    self.read_again(start)?;
                    self.walk(*node)?;
                }
                Ok(true)
            }
            Also::Any(nodes, sieve) => self.any(node, nodes, sieve.as_deref(), start),
            Also::One(nodes, sieve) => self.one(node, nodes, sieve.as_deref(), start),
            Also::Not(other) => {
                let holds = !self.attempt(*other)?;
                self.require(holds, node, Keyword::Not).map(|()| false)
            }
            Also::If { condition, then, otherwise } => {
                let branch = if self.attempt(*condition)? { *then } else { *otherwise };
                self.read_again(start)?;
                self.walk(branch).map(|()| true)
            }
        }
    }

    fn any(
        &mut self,
        node: &'s Node,
        alternatives: &'s [NodeId],
        sieve: Option<&'s Sieve>,
        start: Mark,
    ) -> Result<bool, Stop> {
        let mut undecided = false;
        let left = self.sift(sieve)?;
        for (index, alternative) in alternatives.iter().enumerate() {
            if !is_left(left, index) {
                continue;
            }
            self.read_again(start)?;
            match self.attempt(*alternative) {
                Ok(true) => return Ok(true),
                Ok(false) => {}
                Err(Stop::Undecided) => undecided = true,
                Err(stop) => return Err(stop),
            }
        }
        if undecided {
            return Err(Stop::Undecided);
        }
        self.none_holds(node, Keyword::AnyOf, alternatives, start)
    }

    fn one(
        &mut self,
        node: &'s Node,
        alternatives: &'s [NodeId],
        sieve: Option<&'s Sieve>,
        start: Mark,
    ) -> Result<bool, Stop> {
        let mut end = None;
        let left = self.sift(sieve)?;
        for (index, alternative) in alternatives.iter().enumerate() {
            if !is_left(left, index) {
                continue;
            }
            self.read_again(start)?;
            if self.attempt(*alternative)? {
                if end.is_some() {
                    return self.fails(node, Keyword::Several).map(|()| false);
                }
                end = Some(self.scan.mark());
            }
        }
        match end {
            Some(end) => {
                self.scan.return_to(end);
                Ok(true)
            }
            None => self.none_holds(node, Keyword::OneOf, alternatives, start),
        }
    }

    /// Walks, and says whether the schema holds. When it does not, the scanner stands where it stood before.
    pub(super) fn attempt(&mut self, id: NodeId) -> Result<bool, Stop> {
        // Most alternatives differ by type already.
        let first = self.scan.peek().unwrap_or_default();
        if self.nodes[id].types.and(Types::beginning_with(first)) == Types::NONE && !self.nodes[id].left_out {
            return Ok(false);
        }
        let (start, nesting, elements) = (self.scan.mark(), self.nesting, self.buffers.elements.len());
        self.attempts += 1;
        let walked = self.walk(id);
        self.attempts -= 1;
        match walked {
            Ok(()) => Ok(true),
            Err(stop) => {
                self.scan.return_to(start);
                self.nesting = nesting;
                self.buffers.elements.truncate(elements);
                if stop == Stop::Fails { Ok(false) } else { Err(stop) }
            }
        }
    }

    /// Tells that no alternative holds, and what is wrong with each: the reader will want to know of the nearest.
    fn none_holds(
        &mut self,
        node: &'s Node,
        keyword: Keyword,
        alternatives: &'s [NodeId],
        start: Mark,
    ) -> Result<bool, Stop> {
        if self.attempts > 0 {
            return Err(Stop::Fails);
        }
        let mut inside = Vec::with_capacity(alternatives.len());
        for alternative in alternatives {
            self.read_again(start)?;
            inside.push(self.told_of(*alternative)?);
        }
        self.scan.return_to(start);
        self.fails_all(node, keyword, inside)?;
        Ok(false)
    }

    /// What is wrong with the value by one more schema.
    pub(super) fn told_of(&mut self, id: NodeId) -> Result<Vec<Told>, Stop> {
        let outer = std::mem::take(&mut self.buffers.told);
        let walked = self.walk(id);
        let told = std::mem::replace(&mut self.buffers.told, outer);
        walked.map(|()| told)
    }
}
