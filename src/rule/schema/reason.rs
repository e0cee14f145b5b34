//! A reason in words for a producer's developer: what the schema asks for, never what the payload holds.

use std::collections::BTreeSet;

use jsonschema::error::{TypeKind, ValidationErrorKind as Kind};
use jsonschema::{JsonType, ValidationError};
use serde_json::Value;

use crate::rule::Finding;
use crate::rule::pointer::Pointer;

/// The longest message, in characters.
const MESSAGE_MAX: usize = 500;

/// The longest piece of a schema that is quoted, in characters.
const QUOTE_MAX: usize = 120;

/// How many choices of an `enum`, and how many reasons of an alternative, are named.
const NAMED_MAX: usize = 8;

/// The findings one error stands for: one, but for unexpected properties, each of which is named by its pointer.
pub(super) fn findings(error: &ValidationError<'_>, payload_pointer: &Pointer) -> Vec<Finding> {
    let at = format!("{payload_pointer}{}", error.instance_path().as_str());
    match error.kind() {
        Kind::AdditionalProperties { unexpected } | Kind::UnevaluatedProperties { unexpected } => unexpected
            .iter()
            .map(|name| Finding {
                pointer: format!("{at}/{}", name.replace('~', "~0").replace('/', "~1")),
                message: "is not a property the schema allows here".to_owned(),
            })
            .collect(),
        _ => vec![Finding { pointer: at, message: message(error) }],
    }
}

/// What the schema asks for.
pub(super) fn message(error: &ValidationError<'_>) -> String {
    clip(&describe(error, 0), MESSAGE_MAX)
}

/// `nested` counts the alternatives around this one; deep inside, only the fact is told.
fn describe(error: &ValidationError<'_>, nested: usize) -> String {
    match error.kind() {
        Kind::AdditionalItems { limit } => format!("must have at most {}", count(*limit as u64, "element")),
        Kind::AdditionalProperties { unexpected } | Kind::UnevaluatedProperties { unexpected } => {
            format!("has {} the schema does not allow", count(unexpected.len() as u64, "more property"))
        }
        Kind::UnevaluatedItems { .. } => "has elements the schema does not allow".to_owned(),
        Kind::AnyOf { context } => alternatives(error, context, "at least one", nested),
        Kind::OneOfNotValid { context } => alternatives(error, context, "exactly one", nested),
        Kind::OneOfMultipleValid { .. } => {
            "matches more than one of the alternatives of which exactly one is allowed".to_owned()
        }
        Kind::BacktrackLimitExceeded { .. } | Kind::RegexEngineFailure { .. } => {
            "could not be matched against the pattern".to_owned()
        }
        Kind::Constant { expected_value } => format!("must be {}", quote(expected_value)),
        Kind::Contains => "must contain the elements that \"contains\" asks for".to_owned(),
        Kind::ContentEncoding { content_encoding } => {
            format!("must be encoded as {}", clip(content_encoding, QUOTE_MAX))
        }
        Kind::FromUtf8 { .. } => "must be text once decoded".to_owned(),
        Kind::ContentMediaType { content_media_type } => format!("must be {}", clip(content_media_type, QUOTE_MAX)),
        Kind::Custom { keyword, .. } => format!("fails {}", clip(keyword, QUOTE_MAX)),
        Kind::Enum { options } => one_of(options.as_array().into_iter().flatten()),
        Kind::ExclusiveMaximum { limit } => format!("must be less than {}", quote(limit)),
        Kind::ExclusiveMinimum { limit } => format!("must be greater than {}", quote(limit)),
        Kind::FalseSchema => "is not allowed here".to_owned(),
        Kind::Format { format } => format!("must be a valid {}", clip(format, QUOTE_MAX)),
        Kind::MaxItems { limit } => format!("must have at most {}", count(*limit, "element")),
        Kind::Maximum { limit } => format!("must be at most {}", quote(limit)),
        Kind::MaxLength { limit } => format!("must have at most {}", count(*limit, "character")),
        Kind::MaxProperties { limit } => format!("must have at most {}", count(*limit, "property")),
        Kind::MinItems { limit } => format!("must have at least {}", count(*limit, "element")),
        Kind::Minimum { limit } => format!("must be at least {}", quote(limit)),
        Kind::MinLength { limit } => format!("must have at least {}", count(*limit, "character")),
        Kind::MinProperties { limit } => format!("must have at least {}", count(*limit, "property")),
        Kind::MultipleOf { multiple_of } => format!("must be a multiple of {}", quote(multiple_of)),
        Kind::Not { .. } => "must not match the schema under \"not\"".to_owned(),
        Kind::Pattern { pattern } => format!("must match the pattern {}", clip(pattern, QUOTE_MAX)),
        Kind::PropertyNames { error } => {
            format!("has a property whose name is not allowed: it {}", describe(error, nested + 1))
        }
        Kind::Required { property } => format!("{} is required", quote(property)),
        Kind::Type { kind } => of_types(types(kind)),
        Kind::UniqueItems => "must not hold an element twice".to_owned(),
        Kind::Referencing(_) => "could not be judged: a reference of the schema does not resolve".to_owned(),
    }
}

/// What several alternatives ask for together, or what the nearest of them does.
fn alternatives(
    parent: &ValidationError<'_>,
    branches: &[Vec<ValidationError<'static>>],
    how_many: &str,
    nested: usize,
) -> String {
    if let Some(common) = common_type(parent, branches) {
        return common;
    }
    let base = parent.instance_path().as_str();
    if let Some((at, choices)) = common_choice(branches) {
        let at = relative(base, at);
        return format!("{at}{}{}", if at.is_empty() { "" } else { " " }, one_of(choices));
    }
    let head = format!("must match {how_many} of {}", count(branches.len() as u64, "alternative"));
    let nearest = branches.iter().enumerate().filter(|(_, b)| !b.is_empty()).min_by_key(|(_, b)| remoteness(base, b));
    match nearest {
        Some((index, branch)) if nested < 2 => {
            let leaves = leaves(base, branch);
            let reasons: Vec<String> = leaves
                .iter()
                .take(3)
                .map(|error| {
                    let at = relative(base, error.instance_path().as_str());
                    format!("{at}{}{}", if at.is_empty() { "" } else { " " }, describe(error, nested + 1))
                })
                .collect();
            let more = leaves.len().saturating_sub(reasons.len());
            let more = if more > 0 { format!("; and {more} more") } else { String::new() };
            format!("{head}; nearest is the {}: {}{more}", ordinal(index + 1), reasons.join("; "))
        }
        _ => head,
    }
}

/// What is wrong with an alternative, where alternatives of the alternative itself give way to the nearest of them.
fn leaves<'e>(base: &str, branch: &'e [ValidationError<'static>]) -> Vec<&'e ValidationError<'static>> {
    let inner = |error: &'e ValidationError<'static>| match error.kind() {
        Kind::AnyOf { context } | Kind::OneOfNotValid { context }
            if error.instance_path().as_str() == base
                && common_type(error, context).is_none()
                && common_choice(context).is_none() =>
        {
            context.iter().filter(|b| !b.is_empty()).min_by_key(|b| remoteness(base, b))
        }
        _ => None,
    };
    branch.iter().flat_map(|error| inner(error).map_or_else(|| vec![error], |nearest| leaves(base, nearest))).collect()
}

/// `must be of type string or null`, where the type is what every alternative lacks.
fn common_type(parent: &ValidationError<'_>, branches: &[Vec<ValidationError<'static>>]) -> Option<String> {
    let mut all = BTreeSet::new();
    for branch in branches {
        let here = branch.iter().find_map(|error| match error.kind() {
            Kind::Type { kind } if error.instance_path() == parent.instance_path() => Some(types(kind)),
            _ => None,
        });
        all.extend(here?);
    }
    (!all.is_empty()).then(|| of_types(all.into_iter().collect()))
}

/// A place where every alternative asks for a constant of its own, and these constants: a discriminator.
fn common_choice<'b>(branches: &'b [Vec<ValidationError<'static>>]) -> Option<(&'b str, Vec<&'b Value>)> {
    let first =
        branches.first()?.iter().find(|error| matches!(error.kind(), Kind::Constant { .. } | Kind::Enum { .. }))?;
    let at = first.instance_path().as_str();
    let mut choices: Vec<&'b Value> = Vec::new();
    for branch in branches {
        let here =
            branch.iter().filter(|error| error.instance_path().as_str() == at).find_map(|error| match error.kind() {
                Kind::Constant { expected_value } => Some(vec![&**expected_value]),
                Kind::Enum { options } => Some(options.as_array()?.iter().collect()),
                _ => None,
            });
        choices.extend(here?);
    }
    Some((at, choices))
}

/// How far an alternative is from being meant. What tells most is a constant near its top, by which producers say which
/// one they mean; then which properties are there. What is wrong further down tells nothing: such an event is this
/// alternative with a mistake, so it only decides between equals.
fn remoteness(base: &str, branch: &[ValidationError<'static>]) -> (usize, usize) {
    let (mut telling, mut all) = (0, 0);
    for error in branch {
        let depth = relative(base, error.instance_path().as_str()).matches('/').count();
        let (told, leaves) = match (error.kind(), depth) {
            (Kind::AnyOf { context } | Kind::OneOfNotValid { context }, 0) => {
                context.iter().filter(|b| !b.is_empty()).map(|b| remoteness(base, b)).min().unwrap_or((0, 1))
            }
            // An object was not meant to be null, however much is wrong with it.
            (Kind::Type { .. } | Kind::FalseSchema, 0) => (1_000, 1),
            (Kind::Type { .. } | Kind::Constant { .. } | Kind::Enum { .. } | Kind::FalseSchema, 0 | 1) => (3, 1),
            (Kind::AdditionalProperties { unexpected } | Kind::UnevaluatedProperties { unexpected }, 0) => {
                (unexpected.len(), unexpected.len())
            }
            (Kind::Required { .. }, 0) => (1, 1),
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

fn types(kind: &TypeKind) -> Vec<&'static str> {
    match kind {
        TypeKind::Single(one) => vec![one.as_str()],
        TypeKind::Multiple(set) => set.iter().map(JsonType::as_str).collect(),
    }
}

fn of_types(types: Vec<&str>) -> String {
    format!("must be of type {}", types.join(" or "))
}

fn one_of<'v>(choices: impl IntoIterator<Item = &'v Value>) -> String {
    let mut named: Vec<String> = Vec::new();
    let mut more = 0;
    for choice in choices.into_iter().map(quote) {
        if named.contains(&choice) {
            continue;
        }
        if named.len() < NAMED_MAX { named.push(choice) } else { more += 1 }
    }
    let more = if more > 0 { format!(" or {more} more") } else { String::new() };
    match (named.as_slice(), more.as_str()) {
        ([only], "") => format!("must be {only}"),
        _ => format!("must be one of {}{more}", named.join(", ")),
    }
}

/// A value out of the schema.
fn quote(value: &Value) -> String {
    clip(&value.to_string(), QUOTE_MAX)
}

fn clip(text: &str, characters: usize) -> String {
    match text.char_indices().nth(characters) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

fn count(n: u64, noun: &str) -> String {
    match (n, noun.strip_suffix('y')) {
        (1, _) => format!("1 {noun}"),
        (_, Some(stem)) => format!("{n} {stem}ies"),
        (_, None) => format!("{n} {noun}s"),
    }
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
