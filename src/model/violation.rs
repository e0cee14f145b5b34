//! What is wrong with an event, in words of small closed sets, fit for metric labels.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// One thing wrong with one event. Carries no payload value beyond what the rule's author wrote into the message, and
/// never one that the contract marks private.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// The rule's id in its contract; `schema`, `malformed`, `unknown_type`, `too_large`, `isolation` for what no rule file names.
    pub rule: Arc<str>,
    pub kind: ViolationKind,
    /// JSON Pointer (RFC 6901) into the whole event; empty for the event as a whole.
    pub pointer: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dimension: Option<Dimension>,
    pub severity: Severity,
    /// `shadow`: counted and shown, but it did not decide the verdict.
    pub mode: Mode,
    pub message: String,
}

/// Why a violation arose. Closed, so that it can label a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ViolationKind {
    /// The bytes are not one well-formed JSON text that every reader understands alike.
    Malformed,
    /// No contract knows this type of event.
    UnknownType,
    /// More bytes than the stream takes.
    TooLarge,
    Schema,
    /// A `fields:` metric.
    Field,
    /// A CEL rule that evaluated to false.
    Rule,
    Duplicate,
    Sequence,
    Reference,
    /// A rule could not be evaluated on this event. It never passes.
    EvaluationError,
    /// The event may be good, but must not go on without another of its batch that is not.
    Isolation,
}

impl ViolationKind {
    pub const ALL: [Self; 11] = [
        Self::Malformed,
        Self::UnknownType,
        Self::TooLarge,
        Self::Schema,
        Self::Field,
        Self::Rule,
        Self::Duplicate,
        Self::Sequence,
        Self::Reference,
        Self::EvaluationError,
        Self::Isolation,
    ];

    /// The kind of this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::UnknownType => "unknown_type",
            Self::TooLarge => "too_large",
            Self::Schema => "schema",
            Self::Field => "field",
            Self::Rule => "rule",
            Self::Duplicate => "duplicate",
            Self::Sequence => "sequence",
            Self::Reference => "reference",
            Self::EvaluationError => "evaluation_error",
            Self::Isolation => "isolation",
        }
    }
}

impl fmt::Display for ViolationKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// How bad a violation is. ODCS's word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, Default)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    Info,
    Warning,
    #[default]
    Error,
}

impl Severity {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// The data quality dimension a rule speaks for: ODCS's seven (after EDM Council's DCAM).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dimension {
    Accuracy,
    Completeness,
    Conformity,
    Consistency,
    Coverage,
    Timeliness,
    Uniqueness,
}

impl Dimension {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Accuracy => "accuracy",
            Self::Completeness => "completeness",
            Self::Conformity => "conformity",
            Self::Consistency => "consistency",
            Self::Coverage => "coverage",
            Self::Timeliness => "timeliness",
            Self::Uniqueness => "uniqueness",
        }
    }
}

/// Whether a contract or a rule decides. `Off` is neither judged nor counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, Default)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    #[default]
    Enforce,
    /// Judged and counted, never decisive: how a rule is tried on live traffic.
    Shadow,
    Off,
}

impl Mode {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Shadow => "shadow",
            Self::Off => "off",
        }
    }

    /// The milder of the two: a shadow contract makes all its rules shadow.
    pub fn and(self, other: Self) -> Self {
        self.max(other)
    }
}
