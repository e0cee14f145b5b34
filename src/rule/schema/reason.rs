//! A reason in words for a producer's developer: what the schema asks for, never what the payload holds.
//!
//! The single pass and the `jsonschema` crate both give their findings as [`Reason`]s, so that what is told of an event does
//! not depend on which of them judged it.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::Value;

use super::words;
use crate::rule::Finding;

/// The longest message, in characters.
const MESSAGE_MAX: usize = 500;

/// How many reasons of an alternative are named.
const NAMED_MAX: usize = 3;

/// How deep alternatives of alternatives are told; deeper, only the fact.
const NESTING_MAX: usize = 2;

/// One thing a schema finds wrong.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Reason {
    /// JSON Pointer into the payload, or into the event: the same for all reasons that are worded together.
    pub(crate) pointer: String,
    pub(crate) kind: Kind,
}

/// What is wrong, as far as it tells which of several alternatives was meant.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Kind {
    /// Words that tell nothing about alternatives.
    Said(Arc<str>),
    /// It is of none of these types.
    Type(Vec<&'static str>),
    /// It is none of the values of `enum` or `const`.
    Choice(Arc<[Value]>),
    /// The schema `false`.
    Nothing,
    /// This property is missing.
    Required(Arc<str>),
    /// These properties are not allowed.
    Unexpected(Vec<String>),
    /// `anyOf`: what is wrong with each alternative.
    NoneOf(Vec<Vec<Reason>>),
    /// `oneOf`, the same.
    NotOneOf(Vec<Vec<Reason>>),
    /// What is wrong with a property's name.
    Name(Box<Kind>),
}

impl Reason {
    /// The findings the reason stands for: one, but for unexpected properties, each of which is named by its pointer. `prefix`
    /// stands before every pointer.
    pub(crate) fn findings(self, prefix: &str, findings: &mut Vec<Finding>) {
        let at = if prefix.is_empty() { self.pointer } else { format!("{prefix}{}", self.pointer) };
        match self.kind {
            Kind::Unexpected(names) => findings.extend(names.iter().map(|name| Finding {
                pointer: format!("{at}/{}", escaped(name)),
                message: words::UNEXPECTED.to_owned(),
            })),
            kind => {
                // Branches' pointers are as their parent's, without the prefix.
                let message = message(&kind, &at[prefix.len()..]);
                findings.push(Finding { pointer: at, message });
            }
        }
    }
}

/// A name as a segment of a pointer.
pub(crate) fn escaped(name: &str) -> Cow<'_, str> {
    match name.bytes().any(|byte| matches!(byte, b'~' | b'/')) {
        true => name.replace('~', "~0").replace('/', "~1").into(),
        false => name.into(),
    }
}

/// Findings in the order of their pointers, each once, and at most `limit`.
pub(crate) fn arranged(mut findings: Vec<Finding>, limit: usize) -> Vec<Finding> {
    findings.sort_unstable_by(|a, b| in_order(&a.pointer, &b.pointer).then_with(|| a.message.cmp(&b.message)));
    findings.dedup();
    findings.truncate(limit);
    findings
}

/// By byte, but numbers by their value: elements in the order in which they stand.
fn in_order(a: &str, b: &str) -> Ordering {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let Some(differs) = a.iter().zip(b).position(|(a, b)| a != b) else { return a.len().cmp(&b.len()) };
    let digits = |text: &[u8]| text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (more_of_a, more_of_b) = (digits(&a[differs..]), digits(&b[differs..]));
    let follows_digits = differs > 0 && a[differs - 1].is_ascii_digit();
    if more_of_a > 0 && more_of_b > 0 || follows_digits {
        more_of_a.cmp(&more_of_b).then_with(|| a[differs].cmp(&b[differs]))
    } else {
        a[differs].cmp(&b[differs])
    }
}

/// What the schema asks for. `base` is the pointer of what the reason is about.
pub(crate) fn message(kind: &Kind, base: &str) -> String {
    words::clip(&describe(kind, base, 0), MESSAGE_MAX)
}

/// `nested` counts the alternatives around this one.
fn describe(kind: &Kind, base: &str, nested: usize) -> String {
    match kind {
        Kind::Said(words) => words.to_string(),
        Kind::Type(types) => words::of_types(types),
        Kind::Choice(choices) => words::one_of(choices.iter()),
        Kind::Nothing => words::NOTHING.to_owned(),
        Kind::Required(property) => words::required(property),
        Kind::Unexpected(names) => {
            format!("has {} the schema does not allow", words::count(names.len() as u64, "more property"))
        }
        Kind::NoneOf(branches) => alternatives(base, branches, "at least one", nested),
        Kind::NotOneOf(branches) => alternatives(base, branches, "exactly one", nested),
        Kind::Name(kind) => {
            format!("has a property whose name is not allowed: it {}", describe(kind, base, nested + 1))
        }
    }
}

/// What several alternatives ask for together, or what the nearest of them does.
fn alternatives(base: &str, branches: &[Vec<Reason>], how_many: &str, nested: usize) -> String {
    if let Some(types) = common_type(base, branches) {
        return words::of_types(&types);
    }
    if let Some((at, choices)) = common_choice(branches) {
        let at = relative(base, at);
        return format!("{at}{}{}", if at.is_empty() { "" } else { " " }, words::one_of(choices));
    }
    let head = format!("must match {how_many} of {}", words::count(branches.len() as u64, "alternative"));
    let nearest = branches.iter().enumerate().filter(|(_, b)| !b.is_empty()).min_by_key(|(_, b)| remoteness(base, b));
    match nearest {
        Some((index, branch)) if nested < NESTING_MAX => {
            let told = |reason: &Reason| {
                let at = relative(base, &reason.pointer);
                let described = describe(&reason.kind, &reason.pointer, nested + 1);
                format!("{at}{}{described}", if at.is_empty() { "" } else { " " })
            };
            let mut reasons: Vec<String> = leaves(base, branch).into_iter().map(told).collect();
            reasons.sort();
            reasons.dedup();
            let more = reasons.len().saturating_sub(NAMED_MAX);
            reasons.truncate(NAMED_MAX);
            let more = if more > 0 { format!("; and {more} more") } else { String::new() };
            format!("{head}; nearest is the {}: {}{more}", ordinal(index + 1), reasons.join("; "))
        }
        _ => head,
    }
}

/// What is wrong with an alternative, where alternatives of the alternative itself give way to the nearest of them.
fn leaves<'r>(base: &str, branch: &'r [Reason]) -> Vec<&'r Reason> {
    let inner = |reason: &'r Reason| match &reason.kind {
        Kind::NoneOf(branches) | Kind::NotOneOf(branches)
            if reason.pointer == base && common_type(base, branches).is_none() && common_choice(branches).is_none() =>
        {
            branches.iter().filter(|b| !b.is_empty()).min_by_key(|b| remoteness(base, b))
        }
        _ => None,
    };
    branch
        .iter()
        .flat_map(|reason| inner(reason).map_or_else(|| vec![reason], |nearest| leaves(base, nearest)))
        .collect()
}

/// `must be of type string or null`, where the type is what every alternative lacks.
fn common_type(base: &str, branches: &[Vec<Reason>]) -> Option<Vec<&'static str>> {
    let mut all = BTreeSet::new();
    for branch in branches {
        let here = branch.iter().find_map(|reason| match &reason.kind {
            Kind::Type(types) if reason.pointer == base => Some(types),
            _ => None,
        });
        all.extend(here?);
    }
    (!all.is_empty()).then(|| all.into_iter().copied().collect())
}

/// A place where every alternative asks for a value of its own, and these values: a discriminator.
fn common_choice(branches: &[Vec<Reason>]) -> Option<(&str, Vec<&Value>)> {
    let first = branches.first()?.iter().filter(|reason| matches!(reason.kind, Kind::Choice(_)));
    let at = first.map(|reason| reason.pointer.as_str()).min()?;
    let mut all = Vec::new();
    for branch in branches {
        let here = branch.iter().filter(|reason| reason.pointer == at).filter_map(|reason| match &reason.kind {
            Kind::Choice(choices) => Some(choices),
            _ => None,
        });
        // `enum` and `const` side by side: which is told must not depend on which was judged first.
        let said = |choices: &&[Value]| words::one_of(choices.iter());
        all.extend(here.reduce(|a, b| if said(&&**b) < said(&&**a) { b } else { a })?.iter());
    }
    Some((at, all))
}

/// How far an alternative is from being meant. What tells most is a constant near its top, by which producers say which
/// one they mean; then which properties are there. What is wrong further down tells nothing: such an event is this
/// alternative with a mistake, so it only decides between equals.
fn remoteness(base: &str, branch: &[Reason]) -> (usize, usize) {
    let (mut telling, mut all) = (0, 0);
    for reason in branch {
        let depth = relative(base, &reason.pointer).matches('/').count();
        let (told, leaves) = match (&reason.kind, depth) {
            (Kind::NoneOf(branches) | Kind::NotOneOf(branches), 0) => {
                branches.iter().filter(|b| !b.is_empty()).map(|b| remoteness(base, b)).min().unwrap_or((0, 1))
            }
            // An object was not meant to be null, however much is wrong with it.
            (Kind::Type(_) | Kind::Nothing, 0) => (1_000, 1),
            (Kind::Type(_) | Kind::Choice(_) | Kind::Nothing, 0 | 1) => (3, 1),
            (Kind::Unexpected(names), 0) => (names.len(), names.len()),
            (Kind::Required(_), 0) => (1, 1),
            _ => (0, 1),
        };
        telling += told;
        all += leaves;
    }
    (telling, all)
}

fn relative<'p>(base: &str, pointer: &'p str) -> &'p str {
    pointer.strip_prefix(base).unwrap_or(pointer)
}

fn ordinal(n: usize) -> String {
    let suffix = match (n % 100, n % 10) {
        (11..=13, _) => "th",
        (_, 1) => "st",
        (_, 2) => "nd",
        (_, 3) => "rd",
        _ => "th",
    };
    format!("{n}{suffix}")
}
