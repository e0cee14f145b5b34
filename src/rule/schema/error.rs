//! The `jsonschema` crate's errors as reasons.

use jsonschema::error::{TypeKind, ValidationErrorKind as Error};
use jsonschema::{JsonType, ValidationError};

use super::reason::{Kind, Reason};
use super::words::{self, QUOTE_MAX, clip};

/// `None` for an error that is none. Where `required` names one property, beside `additionalProperties: false` and `properties`
/// that do not declare it, the crate (0.60.2) says of that property that it is missing even when it is there, and not allowed.
pub(super) fn reason(error: &ValidationError<'_>) -> Option<Reason> {
    if let Error::Required { property } = error.kind()
        && property.as_str().is_some_and(|name| error.instance().get(name).is_some())
    {
        return None;
    }
    Some(Reason { pointer: error.instance_path().as_str().to_owned(), kind: kind(error) })
}

pub(super) fn kind(error: &ValidationError<'_>) -> Kind {
    match error.kind() {
        Error::AdditionalProperties { unexpected } | Error::UnevaluatedProperties { unexpected } => {
            Kind::Unexpected(unexpected.clone())
        }
        Error::AnyOf { context } => Kind::NoneOf(alternatives(context)),
        Error::OneOfNotValid { context } => Kind::NotOneOf(alternatives(context)),
        Error::Constant { expected_value } => Kind::Choice([(**expected_value).clone()].into()),
        Error::Enum { options } => Kind::Choice(options.as_array().into_iter().flatten().cloned().collect()),
        Error::FalseSchema => Kind::Nothing,
        Error::PropertyNames { error } => Kind::Name(Box::new(kind(error))),
        Error::Required { property } => Kind::Required(property.as_str().unwrap_or_default().into()),
        Error::Type { kind } => Kind::Type(match kind {
            TypeKind::Single(one) => vec![one.as_str()],
            TypeKind::Multiple(set) => set.iter().map(JsonType::as_str).collect(),
        }),
        other => Kind::Said(said(other).into()),
    }
}

fn alternatives(context: &[Vec<ValidationError<'static>>]) -> Vec<Vec<Reason>> {
    context.iter().map(|branch| branch.iter().filter_map(reason).collect()).collect()
}

/// The words of what tells nothing about alternatives.
fn said(error: &Error) -> String {
    match error {
        Error::AdditionalItems { limit } => words::at_most(*limit as u64, "element"),
        Error::UnevaluatedItems { .. } => "has elements the schema does not allow".to_owned(),
        Error::OneOfMultipleValid { .. } => words::SEVERAL.to_owned(),
        Error::BacktrackLimitExceeded { .. } | Error::RegexEngineFailure { .. } => {
            "could not be matched against the pattern".to_owned()
        }
        Error::Contains => words::CONTAINS.to_owned(),
        Error::ContentEncoding { content_encoding } => {
            format!("must be encoded as {}", clip(content_encoding, QUOTE_MAX))
        }
        Error::FromUtf8 { .. } => "must be text once decoded".to_owned(),
        Error::ContentMediaType { content_media_type } => format!("must be {}", clip(content_media_type, QUOTE_MAX)),
        Error::Custom { keyword, .. } => format!("fails {}", clip(keyword, QUOTE_MAX)),
        Error::ExclusiveMaximum { limit } => words::exclusive_maximum(limit),
        Error::ExclusiveMinimum { limit } => words::exclusive_minimum(limit),
        Error::Format { format } => words::format(format),
        Error::MaxItems { limit } => words::at_most(*limit, "element"),
        Error::Maximum { limit } => words::maximum(limit),
        Error::MaxLength { limit } => words::at_most(*limit, "character"),
        Error::MaxProperties { limit } => words::at_most(*limit, "property"),
        Error::MinItems { limit } => words::at_least(*limit, "element"),
        Error::Minimum { limit } => words::minimum(limit),
        Error::MinLength { limit } => words::at_least(*limit, "character"),
        Error::MinProperties { limit } => words::at_least(*limit, "property"),
        Error::MultipleOf { multiple_of } => words::multiple_of(multiple_of),
        Error::Not { .. } => words::NOT.to_owned(),
        Error::Pattern { pattern } => words::pattern(pattern),
        Error::UniqueItems => words::UNIQUE.to_owned(),
        Error::Referencing(_) => "could not be judged: a reference of the schema does not resolve".to_owned(),
        // What is left is a kind of its own.
        _ => String::new(),
    }
}
