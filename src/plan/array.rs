//! Arrays: their elements in one loop.

use super::node::{Array, Contains};
use super::walk::{Stop, Walker, holds};

impl<'s> Walker<'_, 's> {
    pub(super) fn array(&mut self, array: &'s Array) -> Result<(), Stop> {
        let first = self.buffers.elements.len();
        let (mut length, mut contained) = (0_usize, 0_u64);
        let mut more = self.scan.enter_array()?;
        while more {
            let start = self.scan.mark();
            self.walk(array.prefix.get(length).copied().unwrap_or(array.rest))?;
            length += 1;
            let end = self.scan.mark();
            if let Some(Contains { node, .. }) = &array.contains {
                self.scan.return_to(start);
                contained += u64::from(self.attempt(*node)?);
                self.scan.return_to(end);
            }
            if array.unique {
                self.buffers.elements.push((start.at(), end.at()));
            }
            more = self.scan.next_element()?;
        }
        holds((array.shortest..=array.longest).contains(&(length as u64)))?;
        holds(array.contains.as_ref().is_none_or(|contains| (contains.least..=contains.most).contains(&contained)))?;
        if array.unique { self.are_unique(first) } else { Ok(()) }
    }

    /// Whether the elements remembered from `first` on differ. Those that can be written in several ways are left undecided.
    fn are_unique(&mut self, first: usize) -> Result<(), Stop> {
        let text = self.scan.text;
        let written = |&(start, end): &(usize, usize)| &text[start..end];
        let elements = &mut self.buffers.elements[first..];
        elements.sort_unstable_by(|a, b| written(a).cmp(written(b)));
        let equal = elements.windows(2).any(|pair| written(&pair[0]) == written(&pair[1]));
        let decided =
            equal || elements.len() < 2 || elements.iter().all(|element| is_written_one_way(written(element)));
        self.buffers.elements.truncate(first);
        if !decided {
            return Err(Stop::Undecided);
        }
        holds(!equal)
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
