//! Rule files as their teams wrote them: typed parts of the YAML value. What is absent, misspelled or of another type was
//! found by [`super::shape`] before; unknown keys are therefore not looked at again.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

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

impl Exemption {
    pub fn is_of(&self, domain: &str, contract: &str) -> bool {
        self.domain == domain && self.contract.as_ref().is_none_or(|name| name == contract)
    }
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

/// One entry of `stream`. Its bounds are read where they are compiled.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct StreamFile {
    pub id: String,
    #[serde(rename = "type")]
    pub kind: String,
    pub key: Option<Vec<String>>,
    pub value: Option<String>,
    pub from: Option<String>,
    pub path: Option<String>,
    #[serde(default)]
    pub arguments: Map<String, Value>,
    pub window: Option<String>,
    #[serde(rename = "maxKeys", default = "keys_default")]
    pub keys_max: usize,
    pub on_gap: Option<String>,
    pub on_regress: Option<String>,
    #[serde(rename = "on_fail")]
    pub on_fail: Option<OnFail>,
    pub references: Option<References>,
    pub warm_up: Option<String>,
    pub unit: Option<String>,
    pub baseline: Option<Baseline>,
    #[serde(rename = "minEvents")]
    pub events_min: Option<u64>,
    pub schedule: Option<ScheduleFile>,
    pub message: Option<String>,
    pub dimension: Option<Dimension>,
    #[serde(default)]
    pub severity: Severity,
    #[serde(default)]
    pub mode: Mode,
}

/// Keys remembered where a check does not say how many, at 150 to 300 bytes each.
const fn keys_default() -> usize {
    100_000
}

impl StreamFile {
    /// What its state means, in the words of the file: bounds, and what a violation leads to, are no part of it.
    pub fn meaning(&self) -> Vec<String> {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let mut meaning = self.key.clone().unwrap_or_default();
        meaning.extend([text(&self.value), text(&self.from), text(&self.path), text(&self.window), text(&self.unit)]);
        meaning.extend([Value::Object(self.arguments.clone()).to_string(), self.keys_max.to_string()]);
        meaning.push(self.baseline.as_ref().map(|baseline| format!("{baseline:?}")).unwrap_or_default());
        meaning
    }
}

/// Where a key must be known.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct References {
    pub list: Option<String>,
    /// `DOMAIN/NAME`.
    pub contract: Option<String>,
    pub key: Option<Vec<String>>,
}

/// The distribution that a value's is compared with.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Baseline {
    pub values: Option<Map<String, Value>>,
    pub edges: Option<Vec<f64>>,
    pub shares: Option<Vec<f64>>,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct ScheduleFile {
    #[serde(default)]
    pub days: Vec<String>,
    pub hours: Option<String>,
    pub timezone: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct BreakerFile {
    pub max_quarantine_ratio: f64,
    pub window: Option<String>,
    #[serde(rename = "minEvents")]
    pub events_min: Option<u64>,
    pub action: BreakerAction,
}

/// What a contract's breaker does while it is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BreakerAction {
    /// Nothing of the contract is settled: producers keep their events, and slow down.
    Hold,
    /// Everything is forwarded, and what is wrong with it is told.
    Forward,
    /// It is told.
    Alert,
}

impl BreakerAction {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hold => "hold",
            Self::Forward => "forward",
            Self::Alert => "alert",
        }
    }
}

/// When a contract's breaker opens.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BreakerTerms {
    /// The largest share of events that may be quarantined, 0 to 1.
    pub ratio_max: f64,
    /// In milliseconds.
    pub window: i64,
    /// With fewer events in the window it stays closed.
    pub events_min: u64,
    pub action: BreakerAction,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct ReplayFile {
    pub lineage: String,
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
    #[serde(default)]
    pub before: Vec<Value>,
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
