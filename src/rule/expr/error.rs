//! Why an expression gave no answer, without what the event holds.

use std::collections::BTreeSet;

use cel::ExecutionError;

/// Why an expression could not be evaluated on an event. It never counts as passing. Names in it are the expression's own.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EvaluationError {
    #[error("the field {name:?} is missing; guard it with has()")]
    MissingField { name: String },
    #[error("a key that the expression computes is missing")]
    MissingKey,
    #[error("an index is outside its list")]
    IndexOutOfBounds,
    #[error("{function} is not defined for {types}")]
    TypeMismatch { function: String, types: String },
    #[error("{function}() could not read its argument")]
    InvalidArgument { function: String },
    #[error("there is {got} where {wanted} is needed")]
    WrongType { got: String, wanted: String },
    #[error("a map would hold a key twice")]
    DuplicateKey,
    #[error("a number overflows")]
    Overflow,
    #[error("a division by zero")]
    DivisionByZero,
    #[error("a number beyond 2^53 would have to be rounded")]
    Inexact,
    #[error(
        "the evaluation took more than its {} units; the event's lists are too long for it",
        super::budget::UNITS_MAX
    )]
    TooCostly,
    #[error("the result is {got}, not {wanted}")]
    WrongResult { got: String, wanted: &'static str },
    /// What no expression should meet.
    #[error("it could not be evaluated")]
    Unexpected,
}

/// Errors of our own functions, on their way through the crate.
#[derive(Debug, Clone, Copy)]
pub(super) enum Code {
    Inexact,
    Overflow,
    DivisionByZero,
    TooCostly,
}

impl Code {
    const ALL: [Self; 4] = [Self::Inexact, Self::Overflow, Self::DivisionByZero, Self::TooCostly];

    /// As a function's name, which no function has.
    const fn name(self) -> &'static str {
        match self {
            Self::Inexact => "@inexact",
            Self::Overflow => "@overflow",
            Self::DivisionByZero => "@division",
            Self::TooCostly => "@costly",
        }
    }

    pub(super) fn error(self) -> ExecutionError {
        ExecutionError::function_error(self.name(), "")
    }
}

impl EvaluationError {
    /// Takes the crate's error apart, leaving its values behind. `words` are the names the expression itself writes.
    pub(super) fn of(error: ExecutionError, words: &BTreeSet<String>) -> Self {
        match error {
            ExecutionError::NoSuchKey(name) if words.contains(name.as_str()) => {
                Self::MissingField { name: name.as_str().to_owned() }
            }
            ExecutionError::NoSuchKey(_) => Self::MissingKey,
            ExecutionError::IndexOutOfBounds(_) => Self::IndexOutOfBounds,
            ExecutionError::NoSuchOverload(overload) => Self::TypeMismatch {
                function: readable(overload.function()).to_owned(),
                types: overload.argument_types().join(", "),
            },
            ExecutionError::UnexpectedType { got, want } => {
                Self::WrongType { got, wanted: if want == "iterable" { "list or map".to_owned() } else { want } }
            }
            ExecutionError::FunctionError { function, .. } => {
                match Code::ALL.into_iter().find(|code| code.name() == function) {
                    Some(Code::Inexact) => Self::Inexact,
                    Some(Code::Overflow) => Self::Overflow,
                    Some(Code::DivisionByZero) => Self::DivisionByZero,
                    Some(Code::TooCostly) => Self::TooCostly,
                    None => Self::InvalidArgument { function: readable(&function).to_owned() },
                }
            }
            ExecutionError::Overflow(..) => Self::Overflow,
            ExecutionError::DivisionByZero(_) | ExecutionError::RemainderByZero(_) => Self::DivisionByZero,
            ExecutionError::UnsupportedBinaryOperator(operator, ..) => {
                Self::TypeMismatch { function: operator.to_owned(), types: "these types".to_owned() }
            }
            ExecutionError::UnsupportedKeyType(_) | ExecutionError::UnsupportedIndex(..) => {
                Self::TypeMismatch { function: "[]".to_owned(), types: "a key of this type".to_owned() }
            }
            ExecutionError::DuplicateKey(_) => Self::DuplicateKey,
            _ => Self::Unexpected,
        }
    }
}

/// An operator as expressions write it.
fn readable(function: &str) -> &str {
    match function {
        "_[_]" | "_[?_]" => "[]",
        "_._" | "_?._" => "field selection",
        "_?_:_" => "?:",
        "@in" => "in",
        other => other.trim_matches(|c| c == '_' || c == '@'),
    }
}
