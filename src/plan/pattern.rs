//! `pattern` and the keys of `patternProperties`: regular expressions in linear time.
//!
//! Most patterns of real schemas are of one kind, `^C-[0-9]{4,12}$`: ASCII classes one after the other, with counts. Such a
//! [`Shape`] is matched byte by byte, faster than any automaton is started. All others run in the `regex` crate. Both come
//! from the translation of ECMA-262 that the `jsonschema` crate uses, so both mean what it means.

use regex::Regex;
use regex_syntax::hir::{Class, Hir, HirKind, Look};

use crate::rule::schema::PATTERN_SIZE_MAX;

#[derive(Debug)]
pub(super) enum Pattern {
    Shape(Shape),
    Regex(Regex),
}

impl Pattern {
    /// `None` when the pattern does not compile, which the schema's own compilation has refused.
    pub(super) fn compile(pattern: &str) -> Option<Self> {
        let translated = jsonschema_regex::to_rust_regex(pattern).ok()?;
        if let Some(shape) = regex_syntax::parse(&translated).ok().and_then(|hir| Shape::of(&hir)) {
            return Some(Self::Shape(shape));
        }
        regex::RegexBuilder::new(&translated).size_limit(PATTERN_SIZE_MAX).build().ok().map(Self::Regex)
    }

    pub(super) fn matches(&self, text: &str) -> bool {
        match self {
            Self::Shape(shape) => shape.matches(text.as_bytes()),
            Self::Regex(regex) => regex.is_match(text),
        }
    }
}

/// An anchored sequence of ASCII classes that needs no backtracking.
#[derive(Debug)]
pub(super) struct Shape(Box<[Step]>);

/// Between `least` and `most` bytes of one class.
#[derive(Debug)]
struct Step {
    class: AsciiClass,
    least: u32,
    most: u32,
}

/// A set of ASCII characters.
#[derive(Debug, Clone, Copy, Default)]
struct AsciiClass(u128);

impl AsciiClass {
    fn has(self, byte: u8) -> bool {
        byte < 128 && self.0 >> byte & 1 == 1
    }

    fn range(from: u8, to: u8) -> Self {
        Self((from..=to).fold(0, |set, byte| set | 1 << byte))
    }
}

impl Shape {
    fn of(hir: &Hir) -> Option<Self> {
        let HirKind::Concat(parts) = hir.kind() else { return None };
        let [first, between @ .., last] = parts.as_slice() else { return None };
        if !matches!((first.kind(), last.kind()), (HirKind::Look(Look::Start), HirKind::Look(Look::End))) {
            return None;
        }
        let mut steps = Vec::new();
        between.iter().try_for_each(|part| add_steps(part, &mut steps))?;
        is_deterministic(&steps).then(|| Self(steps.into()))
    }

    fn matches(&self, mut bytes: &[u8]) -> bool {
        for step in &self.0 {
            let most = bytes.len().min(step.most as usize);
            let taken = bytes[..most].iter().take_while(|byte| step.class.has(**byte)).count();
            if taken < step.least as usize {
                return false;
            }
            bytes = &bytes[taken..];
        }
        bytes.is_empty()
    }
}

fn add_steps(hir: &Hir, steps: &mut Vec<Step>) -> Option<()> {
    match hir.kind() {
        HirKind::Literal(literal) => {
            for &byte in &literal.0 {
                let class = byte.is_ascii().then(|| AsciiClass::range(byte, byte))?;
                steps.push(Step { class, least: 1, most: 1 });
            }
        }
        HirKind::Class(class) => steps.push(Step { class: ascii_class(class)?, least: 1, most: 1 }),
        HirKind::Repetition(repetition) => {
            let class = match repetition.sub.kind() {
                HirKind::Class(class) => ascii_class(class)?,
                HirKind::Literal(literal) => match literal.0[..] {
                    [byte] if byte.is_ascii() => AsciiClass::range(byte, byte),
                    _ => return None,
                },
                _ => return None,
            };
            steps.push(Step { class, least: repetition.min, most: repetition.max.unwrap_or(u32::MAX) });
        }
        HirKind::Capture(capture) => add_steps(&capture.sub, steps)?,
        HirKind::Concat(parts) => parts.iter().try_for_each(|part| add_steps(part, steps))?,
        _ => return None,
    }
    Some(())
}

fn ascii_class(class: &Class) -> Option<AsciiClass> {
    let Class::Unicode(class) = class else { return None };
    class.ranges().iter().try_fold(AsciiClass::default(), |set, range| {
        let (from, to) = (u8::try_from(range.start()).ok()?, u8::try_from(range.end()).ok()?);
        to.is_ascii().then(|| AsciiClass(set.0 | AsciiClass::range(from, to).0))
    })
}

/// Whether taking as much as possible at each step is always right: a step of varying length shares no character with what
/// can follow it.
fn is_deterministic(steps: &[Step]) -> bool {
    steps.iter().enumerate().filter(|(_, step)| step.least != step.most).all(|(at, step)| {
        let after = &steps[at + 1..];
        let reach = after.iter().position(|next| next.least > 0).map_or(after.len(), |mandatory| mandatory + 1);
        after[..reach].iter().all(|next| step.class.0 & next.class.0 == 0)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn shapes_are_found_and_only_where_they_are_right() {
        for shape in ["^C-[0-9]{4,12}$", "^[a-f0-9]{40}$", "^(?:a)b?c*$", "^\\d+-\\d+$", "^$", "^[A-Z]{3}(_[A-Z])$"] {
            let pattern = Pattern::compile(shape).unwrap();
            assert!(matches!(pattern, Pattern::Shape(_)) || shape == "^$", "{shape}");
        }
        for other in ["[0-9]+", "^a*a$", "^a|b$", "^é$", "^(ab)+$", "^[^a]$", "^a?b?a$"] {
            assert!(matches!(Pattern::compile(other), Some(Pattern::Regex(_))), "{other}");
        }
    }

    proptest! {
        /// A shape is the regular expression it was made of.
        #[test]
        fn shapes_match_like_regexes(
            pattern in "\\^(([a-c]|\\[a-b\\]|\\[bc\\])(\\?|\\*|\\+|\\{1,2\\}|\\{2\\}|)){1,5}\\$",
            texts in prop::collection::vec("[a-d\n]{0,7}", 1..20)
        ) {
            let regex = Regex::new(&pattern).unwrap();
            let ours = Pattern::compile(&pattern).unwrap();
            for text in &texts {
                prop_assert_eq!(ours.matches(text), regex.is_match(text), "{} {:?}", pattern, text);
            }
        }
    }
}
