//! Many events in one body: a top-level array's elements, and the lines of NDJSON, each as it was written.

use std::ops::Range;

/// The spans of a top-level array's elements, verbatim and without the space around them. `None` when the body is not one
/// array whose brackets match, or an element is missing (`[1,,2]`, `[1,]`).
///
/// Elements are told apart by quotes and brackets only, so each must still be checked by itself: that is what lets one
/// malformed element of a batch be refused while the others are taken. A body whose elements all pass is itself
/// well-formed.
pub fn elements(bytes: &[u8]) -> Option<Vec<Range<usize>>> {
    elements_at_most(bytes, usize::MAX)
}

/// The first `most` of [`elements`]; what follows them is not looked at. Bounds the memory that a body of many tiny elements
/// takes.
pub fn elements_at_most(bytes: &[u8], most: usize) -> Option<Vec<Range<usize>>> {
    let body = trim(bytes, 0..bytes.len());
    if body.len() < 2 || bytes[body.start] != b'[' || bytes[body.end - 1] != b']' {
        return None;
    }
    let inside = body.start + 1..body.end - 1;
    if trim(bytes, inside.clone()).is_empty() {
        return Some(Vec::new());
    }
    let mut elements = Vec::new();
    let push = |elements: &mut Vec<Range<usize>>, range: Range<usize>| {
        let element = trim(bytes, range);
        let present = !element.is_empty();
        elements.push(element);
        present
    };
    let (mut start, mut at, mut depth) = (inside.start, inside.start, 0_usize);
    while at < inside.end {
        match bytes[at] {
            b'"' => at = end_of_string(bytes, at, inside.end)?,
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.checked_sub(1)?,
            b',' if depth == 0 => {
                if !push(&mut elements, start..at) {
                    return None;
                }
                if elements.len() == most {
                    return Some(elements);
                }
                start = at + 1;
            }
            _ => {}
        }
        at += 1;
    }
    (depth == 0 && push(&mut elements, start..inside.end)).then_some(elements)
}

/// The index of the quote that ends the string beginning at `at`.
fn end_of_string(bytes: &[u8], at: usize, end: usize) -> Option<usize> {
    let mut at = at + 1;
    while at < end {
        match bytes[at] {
            b'"' => return Some(at),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    None
}

/// The lines of NDJSON with their 1-based numbers, without `\n` or `\r\n`. Blank lines are skipped, but count.
pub fn lines(bytes: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let mut rest = Some(bytes);
    let next = move || {
        let bytes = rest?;
        let end = memchr::memchr(b'\n', bytes);
        rest = end.map(|end| &bytes[end + 1..]);
        Some(&bytes[..end.unwrap_or(bytes.len())])
    };
    std::iter::from_fn(next)
        .enumerate()
        .map(|(i, line)| (i + 1, line.strip_suffix(b"\r").unwrap_or(line)))
        .filter(|(_, line)| !line.iter().copied().all(is_space))
}

fn trim(bytes: &[u8], range: Range<usize>) -> Range<usize> {
    let slice = &bytes[range.clone()];
    let Some(first) = slice.iter().position(|&b| !is_space(b)) else { return range.end..range.end };
    let last = slice.iter().rposition(|&b| !is_space(b)).unwrap_or(first);
    range.start + first..range.start + last + 1
}

const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn split(text: &str) -> Option<Vec<&str>> {
        Some(elements(text.as_bytes())?.into_iter().map(|range| &text[range]).collect())
    }

    #[test]
    fn the_first_elements_can_be_had_alone() {
        let text = b"[1, 2, 3, oops";
        assert_eq!(elements_at_most(b"[1, 2, 3]", 2), Some(vec![1..2, 4..5]));
        assert_eq!(elements_at_most(b"[1, 2]", 2), Some(vec![1..2, 4..5]));
        assert_eq!(elements_at_most(text, 2), None);
    }

    #[test]
    fn elements_come_as_written() {
        assert_eq!(split("[]"), Some(vec![]));
        assert_eq!(split(" [ ]\n"), Some(vec![]));
        assert_eq!(
            split(r#" [ {"a" : [1, 2]} ,"x,]\"\\", 1.10 ]"#),
            Some(vec![r#"{"a" : [1, 2]}"#, r#""x,]\"\\""#, "1.10"])
        );
        // One malformed element does not hide the others.
        assert_eq!(split(r#"[{"a":1,"a":2},nul,{"b":1}]"#), Some(vec![r#"{"a":1,"a":2}"#, "nul", r#"{"b":1}"#]));
    }

    #[test]
    fn what_is_no_array_of_elements_is_none() {
        for text in
            ["", "{}", "[", "]", "[1,]", "[,]", "[1,,2]", "[1]]", "[[1]", "[1] [2]", "[\"a]", "[1]x", r#"["\"]"#]
        {
            assert_eq!(split(text), None, "{text}");
        }
    }

    #[test]
    fn lines_are_numbered_and_blank_ones_skipped() {
        let lines: Vec<_> = lines(b"{}\r\n\n  \n[1]\n\"x\"").collect();
        assert_eq!(lines, [(1, &b"{}"[..]), (4, b"[1]"), (5, b"\"x\"")]);
        assert_eq!(super::lines(b"").count(), 0);
        assert_eq!(super::lines(b"1\n").count(), 1);
    }

    proptest! {
        /// Elements that pass the check, in an array, make an array that passes; and they come back as they were.
        #[test]
        fn a_body_is_well_formed_when_its_elements_are(text in "[\\[\\]{}:,\"\\\\ a01]{0,24}") {
            let body = format!("[{text}]");
            if let Some(elements) = elements(body.as_bytes()) {
                let all = elements.iter().all(|range| super::super::check(&body.as_bytes()[range.clone()]).is_ok());
                prop_assert_eq!(all, super::super::check(body.as_bytes()).is_ok(), "{}", body);
            }
        }
    }
}
