//! One string out of a text that is not parsed.

use std::cell::RefCell;

use super::Malformed;
use super::scan::{Scanner, Stacks};

thread_local! {
    /// Kept from event to event so that a glance allocates nothing. It carries nothing over.
    static STACKS: RefCell<Stacks> = RefCell::default();
}

/// What stands at a place of a text.
#[derive(Debug, PartialEq, Eq)]
pub enum Glance<'e> {
    Text(&'e str),
    /// Nothing, or no string.
    NoText,
    /// A key on the way, or the string itself, has escapes; an array is on the way; or the text is malformed. Parse it.
    Unclear,
}

/// Looks for the string below these keys, no further into the text than needed. What is found counts only if the text is
/// well-formed, with no key twice.
pub fn glance<'e, 'p>(text: &'e str, path: impl IntoIterator<Item = &'p str>) -> Glance<'e> {
    let found = STACKS.with_borrow_mut(|stacks| find(Scanner::new(text, stacks), path));
    found.unwrap_or(Glance::Unclear)
}

fn find<'e, 'p>(mut scan: Scanner<'e, '_>, path: impl IntoIterator<Item = &'p str>) -> Result<Glance<'e>, Malformed> {
    scan.begin()?;
    'path: for wanted in path {
        match scan.peek() {
            Some(b'{') => {}
            Some(b'[') => return Ok(Glance::Unclear),
            _ => return Ok(Glance::NoText),
        }
        let mut more = scan.enter_object()?;
        while more {
            let key = scan.key()?;
            if key.escaped {
                return Ok(Glance::Unclear);
            }
            scan.colon()?;
            if scan.text[key.start..key.end] == *wanted {
                continue 'path;
            }
            scan.skip()?;
            more = scan.next_member()?;
        }
        return Ok(Glance::NoText);
    }
    if scan.peek() != Some(b'"') {
        return Ok(Glance::NoText);
    }
    let string = scan.key()?;
    Ok(if string.escaped { Glance::Unclear } else { Glance::Text(&scan.text[string.start..string.end]) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_string_is_found_without_what_follows_it() {
        let text = r#" {"n": [{"type": "no"}], "a": {"b": "yes", "c": "\u0063"}, "\u0064": "d", broken"#;
        let at = |path: &[&'static str]| glance(text, path.iter().copied());
        assert_eq!(at(&["a", "b"]), Glance::Text("yes"));
        assert_eq!(at(&["a"]), Glance::NoText);
        assert_eq!(at(&["a", "b", "c"]), Glance::NoText);
        assert_eq!(at(&["a", "x"]), Glance::NoText);
        for unclear in [&["a", "c"][..], &["d"], &["n", "0"], &["later"]] {
            assert_eq!(at(unclear), Glance::Unclear, "{unclear:?}");
        }
        assert_eq!(glance(r#""a""#, []), Glance::Text("a"));
    }
}
