//! Rule files as their teams wrote them: typed parts of the YAML value. What is absent, misspelled or of another type was
//! found by [`super::shape`] before; unknown keys are therefore not looked at again.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::model::{Dimension, Mode, Severity, Verdict};
use crate::rule::OnFail;

/// Who answers for a domain or a contract.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    pub team: Arc<str>,
    /// A channel, an address, a URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contact: Option<Arc<str>>,
}

/// In which state of its life a contract is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Judged as shadow.
    Proposed,
    /// Judged as shadow.
    Draft,
    Active,
    /// Judged as an active one.
    Deprecated,
    /// Not used.
    Retired,
}

impl Status {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Proposed => "proposed",
            Self::Draft => "draft",
            Self::Active => "active",
            Self::Deprecated => "deprecated",
            Self::Retired => "retired",
        }
    }

    /// The mode this status allows at most; `None` for a contract that is not used.
    pub const fn mode(self) -> Option<Mode> {
        match self {
            Self::Proposed | Self::Draft => Some(Mode::Shadow),
            Self::Active | Self::Deprecated => Some(Mode::Enforce),
            Self::Retired => None,
        }
    }
}

/// What becomes of an event whose type no contract knows. Ordered from lenient to strict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnknownType {
    Forward,
    #[default]
    Quarantine,
    /// Quarantined, and its producer gets an error.
    Refuse,
}

/// What a domain's dead-letter queue keeps of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DlqPayload {
    /// Its bytes, so that a replay is exact.
    #[default]
    Verbatim,
    /// A copy with private fields masked, which cannot be replayed.
    Masked,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct DomainFile {
    pub metadata: DomainMetadata,
    pub dlq: Option<Arc<str>>,
    #[serde(rename = "dlqPayload", default)]
    pub dlq_payload: DlqPayload,
    #[serde(default)]
    pub defaults: Defaults,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct DomainMetadata {
    pub name: Arc<str>,
    pub owner: Owner,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Defaults {
    #[serde(default)]
    pub mode: Mode,
    pub type_pointer: Option<String>,
    #[serde(default)]
    pub unknown_type: UnknownType,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct Metadata {
    pub domain: String,
    pub name: Arc<str>,
    pub version: Arc<str>,
    pub status: Status,
    pub owner: Option<Owner>,
    #[serde(default)]
    pub tags: Vec<String>,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct PolicyMetadata {
    pub name: Arc<str>,
}

/// Which contracts a policy applies to.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct Select {
    #[serde(default)]
    pub domains: Vec<String>,
    #[serde(default)]
    pub tags: Vec<String>,
}

/// A contract, or a domain's all, that a policy does not apply to.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Exemption {
    pub domain: String,
    pub contract: Option<String>,
    pub reason: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct Match {
    pub stream: Option<String>,
    #[serde(rename = "type")]
    pub event_type: Option<Arc<str>>,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct Payload {
    #[serde(default)]
    pub pointer: String,
    pub schema: Option<String>,
    #[serde(default = "yes")]
    pub formats: bool,
}

impl Default for Payload {
    fn default() -> Self {
        Self { pointer: String::new(), schema: None, formats: true }
    }
}

const fn yes() -> bool {
    true
}

/// What every check says beside its own condition.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Common {
    pub id: Arc<str>,
    pub dimension: Option<Dimension>,
    #[serde(default)]
    pub severity: Severity,
    pub on_fail: Option<OnFail>,
    #[serde(default)]
    pub mode: Mode,
    pub message: Option<Arc<str>>,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct ListFile {
    pub file: String,
    pub column: String,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct Slo {
    pub value: f64,
    pub unit: String,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct ExampleFile {
    pub name: Arc<str>,
    pub now: Option<String>,
    #[serde(default, deserialize_with = "present")]
    pub event: Option<Value>,
    pub raw: Option<String>,
    pub stream: Option<String>,
    #[serde(default)]
    pub record: ExampleRecord,
    pub expect: Expect,
}

/// `event: null` is an event, the JSON text `null`; no `event` is none.
fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ExampleRecord {
    pub partition_key: Option<String>,
    pub explicit_hash_key: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct Expect {
    pub verdict: Verdict,
    #[serde(default)]
    pub violations: Vec<String>,
}
