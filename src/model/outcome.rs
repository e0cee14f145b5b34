//! What was decided about an event, and what became of its record.

use std::cmp::Reverse;
use std::sync::Arc;

use serde::Serialize;

use super::{Mode, Violation};

/// What is to become of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// To the mesh stream, byte for byte.
    Forward,
    /// To the dead-letter queue, with every reason.
    Quarantine,
    /// Nowhere: a rule says so, and it is counted.
    Drop,
}

impl Verdict {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::Quarantine => "quarantine",
            Self::Drop => "drop",
        }
    }
}

/// Who judged: what every verdict, DLQ document and metric is stamped with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Stamp {
    /// `unknown` when no contract took the event.
    pub domain: Arc<str>,
    pub contract: Arc<str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<Arc<str>>,
    /// The git revision of the rules, or another name of their exact content.
    pub revision: Arc<str>,
}

/// A verdict with everything that led to it.
#[derive(Debug, Clone)]
pub struct Judgement {
    pub verdict: Verdict,
    /// All of them: those that decided, warnings, and those of shadow rules.
    pub violations: Vec<Violation>,
    pub stamp: Arc<Stamp>,
    /// The producer is to see an error, beyond what its route says (`unknownType: refuse`).
    pub refuse: bool,
}

impl Judgement {
    /// The violations that decided the verdict, or would have if they could: shadow ones left out.
    pub fn enforced(&self) -> impl Iterator<Item = &Violation> {
        self.violations.iter().filter(|v| v.mode == Mode::Enforce)
    }

    /// The one that stands for all, by which dead letters and notices are told apart: the first of the most severe that are enforced.
    pub fn first(&self) -> Option<&Violation> {
        self.enforced().min_by_key(|v| Reverse(v.severity)).or(self.violations.first())
    }
}

/// Where on a stream a record stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    pub shard_id: Arc<str>,
    pub sequence_number: String,
}

/// What became of a record. Only the first three may be acknowledged.
#[derive(Debug, Clone)]
pub enum Settlement {
    /// On the mesh stream.
    Forwarded(Placement),
    /// In the dead-letter queue. The placement is synthetic: the shard the key hashes to, and a number of our own.
    Quarantined {
        placement: Placement,
        dead_letter: String,
        /// The route answers such records with an error (`on_quarantine: refuse`).
        refuse: bool,
    },
    /// Dropped by a rule that says so. The placement is synthetic.
    Dropped(Placement),
    /// Its fate is not durable. The producer keeps it.
    Unsettled(Unsettled),
}

/// Why a record could not be settled, said to its producer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsettled {
    pub trouble: Trouble,
    /// For people: what happened, what state remains, what to do. No payload values.
    pub message: String,
}

/// Whose fault a failed delivery is, and whether trying again can help.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Trouble {
    /// The far end asks us to slow down. Retry later.
    Throttled,
    /// The far end, or the way to it, failed; the record may or may not have arrived. Retry.
    Unavailable,
    /// The far end refuses for good (access, encryption key, a name). Retrying cannot help.
    Rejected,
    /// The far end takes others, and not this one as it is: it is too large for it, or of a form that it does not take.
    Invalid,
    /// The breaker of the event's contract is open, or what decides about the event is on its way. Retry later.
    Held,
}

impl Trouble {
    pub const fn is_retryable(self) -> bool {
        !matches!(self, Self::Rejected | Self::Invalid)
    }

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Throttled => "throttled",
            Self::Unavailable => "unavailable",
            Self::Rejected => "rejected",
            Self::Invalid => "invalid",
            Self::Held => "held",
        }
    }
}

/// The whole story of one record, as its source hears it.
#[derive(Debug, Clone)]
pub struct Outcome {
    pub judgement: Judgement,
    pub settlement: Settlement,
}
