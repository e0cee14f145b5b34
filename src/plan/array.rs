//! Arrays: their elements in one loop.

use super::node::{Array, Contains, Keyword, NEVER, Node};
use super::walk::{Step, Stop, Walker};

impl<'s> Walker<'_, 's> {
    pub(super) fn array(&mut self, node: &'s Node, array: &'s Array) -> Result<(), Stop> {
        let depth = self.scan.depth();
        let (outer_row, first_unique) = (self.row, self.buffers.elements.len());
        let first_row = array.rows.map(|(_, frame)| self.captures.next_row(frame));
        let (mut length, mut contained) = (0_usize, 0_u64);
        let mut more = self.scan.enter_array()?;
        while more {
            self.buffers.path.0[depth] = Step::element(length);
            if let Some((_, frame)) = array.rows {
                self.row = self.captures.open_row(frame).ok_or(Stop::Undecided)?;
            }
            let start = self.scan.mark();
            match array.prefix.get(length) {
                Some(element) => self.walk(*element)?,
                // One reason for all of them.
                None if array.rest_is_told_once && array.rest == NEVER => self.scan.skip()?,
                None => self.walk(array.rest)?,
            }
            length += 1;
            let end = self.scan.mark();
            if let Some(Contains { node, .. }) = &array.contains {
                self.read_again(start)?;
                contained += u64::from(self.attempt(*node)?);
                self.scan.return_to(end);
            }
            if array.unique {
                self.buffers.elements.push((start.at(), end.at()));
            }
            more = self.scan.next_element()?;
        }
        self.row = outer_row;
        if let (Some((slot, _)), Some(first)) = (array.rows, first_row) {
            self.captures.keep_rows(outer_row, slot, first, length);
        }
        self.array_as_a_whole(node, array, length as u64, contained, first_unique)
    }

    fn array_as_a_whole(
        &mut self,
        node: &'s Node,
        array: &'s Array,
        length: u64,
        contained: u64,
        first_unique: usize,
    ) -> Result<(), Stop> {
        self.require(length >= array.shortest, node, Keyword::MinItems)?;
        self.require(length <= array.longest, node, Keyword::MaxItems)?;
        let more = array.rest_is_told_once && array.rest == NEVER && length > array.prefix.len() as u64;
        self.require(!more, node, Keyword::MoreItems)?;
        let contains = array.contains.is_none_or(|contains| (contains.least..=contains.most).contains(&contained));
        self.require(contains, node, Keyword::Contains)?;
        if array.unique {
            let unique = self.are_unique(first_unique)?;
            self.require(unique, node, Keyword::UniqueItems)?;
        }
        Ok(())
    }

    /// Whether the elements remembered from `first` on differ. Those that can be written in several ways are left undecided.
    fn are_unique(&mut self, first: usize) -> Result<bool, Stop> {
        let text = self.scan.text;
        let written = |&(start, end): &(usize, usize)| &text[start..end];
        let elements = &mut self.buffers.elements[first..];
        elements.sort_unstable_by(|a, b| written(a).cmp(written(b)));
        let equal = elements.windows(2).any(|pair| written(&pair[0]) == written(&pair[1]));
        let decided =
            equal || elements.len() < 2 || elements.iter().all(|element| is_written_one_way(written(element)));
        self.buffers.elements.truncate(first);
        if decided { Ok(!equal) } else { Err(Stop::Undecided) }
    }
}

/// Whether an equal value can only be written with the same characters, or in a way of which this is not said.
fn is_written_one_way(value: &str) -> bool {
    match value.as_bytes() {
        [b'"', ..] => !value.contains('\\'),
        [b't' | b'f' | b'n', ..] | [b'0'] => true,
        [b'-', digits @ ..] | digits => digits.iter().all(u8::is_ascii_digit) && digits.first() != Some(&b'0'),
    }
}
