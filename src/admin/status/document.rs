//! The status document: what `GET /status.json` answers, and the page and `meshgate top` show. Its form is stable: members may be added,
//! and none changes its meaning while `schema` is the same.
//!
//! Times are RFC 3339 in UTC. Counts of the last minute may cover five seconds less; those by minute and second end with one that is not
//! over. No value of any event is in it: names and words come from rule files and settings, names of fields from events.

use serde::{Deserialize, Serialize};

/// The document's `schema`.
pub const SCHEMA: &str = "meshgate.status/v1";

/// Of a far end: its last call took something; took nothing, a moment ago; took nothing, and none was made for five minutes.
pub const TAKES: &str = "takes";
pub const FAILS: &str = "fails";
pub const FAILED: &str = "failed";

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    pub schema: String,
    /// When it was made. A gate makes one a second at most.
    pub at: String,
    pub gate: About,
    pub health: Health,
    pub rates: Rates,
    pub in_flight: InFlight,
    /// By domain and name: those that are in force or judged something in the last hour. Of very many, those with most to tell.
    pub contracts: Vec<Contract>,
    pub contracts_left_out: usize,
    /// Of the last hour, those that were violated most ahead.
    pub violations: Vec<Violation>,
    /// The newest first.
    pub refusals: Vec<Refusal>,
    pub far_ends: Vec<FarEnd>,
    /// Queues whose depth is known.
    pub dead_letters: Vec<Queue>,
    /// `null` without one.
    pub spool: Option<Spool>,
    /// Streams that are read, and their shards that this gate holds.
    pub streams: Vec<Stream>,
    pub rules: Rules,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct About {
    pub version: String,
    /// `local` or `aws`.
    pub backend: String,
    /// `ready` or `draining`.
    pub phase: String,
    pub started: String,
}

/// One sentence, and what is behind it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    pub state: State,
    pub sentence: String,
    /// What is wrong, the worst first.
    pub concerns: Vec<Concern>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    Good,
    /// Events flow; somebody should look.
    Warning,
    /// Events do not flow, or are about not to.
    Error,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Concern {
    pub state: State,
    pub text: String,
}

/// What became of events.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Counts {
    pub forwarded: u32,
    pub quarantined: u32,
    pub dropped: u32,
    /// With their producers, who send them again. Not part of the pass rate.
    pub unsettled: u32,
    /// The share that was forwarded of those that were settled, 0 to 1; `null` where none was.
    pub pass_rate: Option<f64>,
}

/// Of all events.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rates {
    /// The mean of the last ten whole seconds.
    pub per_second: PerSecond,
    pub last_minute: Counts,
    pub last_hour: Counts,
    pub by_second: Series,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PerSecond {
    pub forwarded: f64,
    pub quarantined: f64,
    pub dropped: f64,
    pub unsettled: f64,
}

/// Events in each of the last 60 seconds or minutes, the present one last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Series {
    pub forwarded: Vec<u32>,
    /// Quarantined or dropped.
    pub refused: Vec<u32>,
    pub unsettled: Vec<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InFlight {
    /// Records that were taken in and are not settled.
    pub records: u64,
    pub limit: Option<u64>,
    /// Open on the data port.
    pub connections: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Contract {
    pub domain: String,
    /// `unknown` for events that no contract took.
    pub contract: String,
    pub last_minute: Counts,
    pub last_hour: Counts,
    pub by_minute: Series,
    /// `null` while none was.
    pub last_event: Option<String>,
    /// `null` where no such contract is in force.
    pub rules: Option<InForce>,
    pub breaker: Option<Breaker>,
}

/// What rule files say of a contract.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InForce {
    pub version: String,
    pub status: String,
    /// `enforce`, `shadow` or `off`.
    pub mode: String,
    pub revision: String,
    pub owner: Owner,
    /// The share of events that must pass, 0 to 1.
    pub slo: Option<f64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    pub team: String,
    pub contact: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Breaker {
    /// `closed`, `half_open` or `open`.
    pub state: String,
    pub since: String,
    /// `hold`, `forward` or `alert`.
    pub action: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Violation {
    pub domain: String,
    pub contract: String,
    pub rule: String,
    /// How often in the last hour.
    pub times: u32,
    /// These are `null` for what is not told apart (`others`).
    pub kind: Option<String>,
    pub severity: Option<String>,
    /// `shadow`: it decided nothing.
    pub mode: Option<String>,
    pub last: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Refusal {
    pub at: String,
    pub domain: String,
    pub contract: String,
    pub version: Option<String>,
    /// For `meshgate dlq show`.
    pub dead_letter: String,
    pub reasons: Vec<Reason>,
    /// Reasons that are left out.
    pub more: usize,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    pub rule: String,
    pub kind: String,
    pub severity: String,
    /// JSON Pointer into the event; empty for the event as a whole.
    pub pointer: String,
    pub message: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FarEnd {
    /// `mesh`, `dlq`, `letter` or `archive`.
    pub sink: String,
    /// Of the stream or queue.
    pub name: String,
    /// [`TAKES`], [`FAILS`], or [`FAILED`].
    pub state: String,
    pub calls: u64,
    pub failures: u64,
    pub retries: u64,
    pub last_success: Option<String>,
    pub last_failure: Option<Failure>,
    /// `null` while its last call took something.
    pub failing_since: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    pub at: String,
    /// `throttled`, `unavailable`, `rejected`.
    pub trouble: String,
    pub message: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Queue {
    pub queue: String,
    pub letters: u64,
    /// Where the queue tells it.
    pub oldest_seconds: Option<f64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Spool {
    pub bytes: u64,
    pub bytes_max: u64,
    pub lanes: Vec<Lane>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Lane {
    pub sink: String,
    pub name: String,
    pub entries: u64,
    pub aside: u64,
    pub oldest_seconds: Option<i64>,
    /// Why its far end takes nothing; `null` while it does.
    pub away: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stream {
    pub stream: String,
    pub held: u64,
    /// Shards that no gate reads.
    pub unread: u64,
    pub shards: Vec<Shard>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Shard {
    pub shard: String,
    pub lag_milliseconds: u64,
    pub in_flight: u64,
    pub stalled_seconds: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rules {
    pub revision: String,
    pub source: Source,
    pub domains: Vec<Domain>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// `directory`, `revision` or `git`.
    pub kind: String,
    /// Where: a path, or a URL without what it may hold of a password.
    pub place: String,
    pub reference: Option<String>,
    /// When a remote was last asked with success.
    pub fetched: Option<String>,
    /// Why the newest files cannot be had.
    pub error: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Domain {
    pub domain: String,
    pub owner: Owner,
    pub contracts: usize,
    pub revision: String,
    /// When that was put in force.
    pub since: Option<String>,
    /// Its newest files do not compile, and an older version judges.
    pub stale: bool,
}
