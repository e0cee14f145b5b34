//! Every metric of the gate: its name, its labels, and what it counts. `docs/metrics.md` is made from this file.
//!
//! Label values come from configuration, rule files and fixed lists only, never from an event or a request, so that the number
//! of series is bounded by what is deployed. Counters are labelled by *route* (a configured source stream, or the glob
//! of the contract that covers it), not by whatever stream name a client sent.

mod count;
mod family;
mod far_ends;
#[cfg(test)]
mod page;
mod read;
mod shard;

use prometheus::{GaugeVec, Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry};

use self::family::{Collected, metrics, registered};

pub use self::count::ContractLabels;
pub use self::family::Family;
pub use self::far_ends::{Failure, FarEnd, FarEnds};
pub use self::read::Series;
pub use self::shard::{ShardShown, ShardsShown};

/// Seconds: from a quarter of a millisecond to ten seconds, which spans a local commit and a throttled upstream.
const REQUEST_BUCKETS: &[f64] =
    &[0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// Seconds per event: from a microsecond to ten milliseconds.
const JUDGE_BUCKETS: &[f64] =
    &[0.000001, 0.0000025, 0.000005, 0.00001, 0.000025, 0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.01];

metrics! {
    /// The gate's metrics, registered once. Cheap to share; every field is an atomic or a sharded map of atomics.
    pub struct Metrics {
        /// When each far end last took something, for those who look now.
        pub far_ends: FarEnds,
        /// Who shows something of a shard.
        pub shards_shown: ShardsShown,
    }

    "Events and their quality" {
        events: IntCounterVec = "meshgate_events_total" [domain, contract, verdict],
            "Events judged, by verdict: forward, quarantine or drop. Domain and contract are `unknown` where no contract took the event.";
        violations: IntCounterVec = "meshgate_violations_total" [domain, contract, rule, kind, dimension, severity, mode],
            "Violations found. Those of mode `enforce` decided, those of mode `shadow` did not.";
        events_failing: IntCounterVec = "meshgate_events_failing_total" [domain, contract, dimension, severity],
            "Events with at least one enforced violation of the dimension, by the worst severity among them. With meshgate_events_total it makes a score of each dimension.";
        last_event: GaugeVec = "meshgate_last_event_timestamp_seconds" [domain, contract],
            "When an event of the contract was last judged.";
        pub slo_target: GaugeVec = "meshgate_slo_target_ratio" [domain, contract],
            "Share of events that may fail, from the contract's `slo`.";
        pub stream_failing: IntGaugeVec = "meshgate_stream_check_failing" [domain, contract, rule, dimension],
            "1 while the last window of the check fails. Where a dimension is checked by windows alone, this is its score.";
        pub stream_value: GaugeVec = "meshgate_stream_check_value" [domain, contract, rule, bound],
            "What the last window of the check came to; milliseconds for latencies.";
        pub replayed: IntCounterVec = "meshgate_replayed_total" [domain, contract, outcome],
            "Dead letters that `meshgate dlq replay` looked at, by what became of them; in the file that its `--metrics` names.";
        pub notices: IntCounterVec = "meshgate_notices_total" [domain, event, outcome],
            "Notices of quarantine (started, exceeded, ended): logged only, sent to a topic, failed, or dropped since too many waited.";
    }

    "Records and requests" {
        pub records: IntCounterVec = "meshgate_records_total" [route, settlement],
            "Records by what became of them: forwarded, quarantined, dropped, or unsettled, which is with its producer. Of a container, each record in it counts.";
        pub changes_ignored: IntCounterVec = "meshgate_changes_ignored_total" [route, change],
            "Change records of an outbox that mean no event: modified, removed or expired. They count as dropped.";
        pub received_bytes: IntCounterVec = "meshgate_received_bytes_total" [route],
            "Bytes of record data received.";
        pub in_flight: IntGauge = "meshgate_records_in_flight" [],
            "Records taken in and not yet settled, those of containers one by one.";
        pub in_flight_limit: IntGauge = "meshgate_records_in_flight_limit" [],
            "The most records in flight; more are answered with throttling.";
        judge_seconds: Histogram = "meshgate_judge_seconds" [] in JUDGE_BUCKETS,
            "Time to judge one event: the mean over its batch.";
        pub requests: IntCounterVec = "meshgate_requests_total" [source, operation, status],
            "Requests answered on the data port, by class of the HTTP status: 2xx, 4xx or 5xx.";
        pub request_seconds: HistogramVec = "meshgate_request_seconds" [source, operation] in REQUEST_BUCKETS,
            "Time from the last byte of a request to its answer.";
        pub connections: IntGauge = "meshgate_connections" [],
            "Connections open on the data port.";
        pub connections_limit: IntGauge = "meshgate_connections_limit" [],
            "The most connections; more are closed at once.";
        pub connections_refused: IntCounter = "meshgate_connections_refused_total" [],
            "Connections closed at once because the limit was reached.";
    }

    "Mesh streams and dead-letter queues" {
        pub sink_call_seconds: HistogramVec = "meshgate_sink_call_seconds" [sink] in REQUEST_BUCKETS,
            "One attempt at the mesh or the dlq, whatever backend they are on, and at S3 for a letter or the archive. Each request that shares a call counts it.";
        pub sink_failures: IntCounterVec = "meshgate_sink_failures_total" [sink, trouble],
            "Entries not taken in one attempt, before any retry: throttled, unavailable, rejected, or invalid (this one, where others are taken).";
        pub sink_retries: IntCounterVec = "meshgate_sink_retries_total" [sink],
            "Calls that repeated entries of an earlier call.";
        pub dlq_reachable: IntGaugeVec = "meshgate_dlq_reachable" [queue],
            "1 while the dead-letter queue answers when it is asked for its depth, which is once a minute.";
        pub dlq_letters: IntGaugeVec = "meshgate_dlq_letters" [queue],
            "About how many letters are in the dead-letter queue, those that are being looked at among them.";
        pub dlq_oldest: GaugeVec = "meshgate_dlq_oldest_seconds" [queue],
            "Age of the oldest letter of the embedded store, 0 without one. SQS tells no age; CloudWatch has it as ApproximateAgeOfOldestMessage.";
        pub objects: IntCounterVec = "meshgate_objects_total" [kind],
            "Objects put to S3: letter (one too large for its queue) or archive. Only with `dead_letters.s3`.";
        pub object_bytes: IntCounterVec = "meshgate_object_bytes_total" [kind],
            "Bytes of these objects, as they are stored.";
    }

    "The spool" {
        pub spool_entries: IntGaugeVec = "meshgate_spool_entries" [sink],
            "Records and letters that wait in line, for the mesh or the dlq.";
        pub spool_aside: IntGaugeVec = "meshgate_spool_aside" [sink],
            "Entries kept aside, since they cannot be delivered as they are.";
        pub spool_oldest: GaugeVec = "meshgate_spool_oldest_seconds" [sink],
            "How long the oldest entry in line has waited, 0 without one.";
        pub spool_bytes: IntGaugeVec = "meshgate_spool_bytes" [bound],
            "Bytes of the spool's file: used, and the limit.";
        pub spool_spooled: IntCounterVec = "meshgate_spool_spooled_total" [sink],
            "Entries taken in.";
        pub spool_drained: IntCounterVec = "meshgate_spool_drained_total" [sink, outcome],
            "Entries that left the line: delivered, quarantined (a record that its stream refuses), or aside.";
        pub spool_refused: IntCounterVec = "meshgate_spool_refused_total" [sink, reason],
            "Entries not taken in: full, or failed (its disk).";
    }

    "Streams that are read" {
        pub shard_lag: IntGaugeVec = "meshgate_shard_lag_milliseconds" [stream, shard],
            "How far the last batch read from the shard is behind its tip.";
        pub shards_held: IntGaugeVec = "meshgate_shards_held" [stream],
            "Shards of the stream that this gate reads.";
        pub shards_unread: IntGaugeVec = "meshgate_shards_unread" [stream],
            "Shards of the stream that no gate reads, as of this gate's last look: more than `shards_max` allow, or about to be taken.";
        shard_records: IntGaugeVec = "meshgate_shard_records_in_flight" [stream, shard],
            "Records read from the shard and not yet settled.";
        shard_stalled: IntGaugeVec = "meshgate_shard_stalled_seconds" [stream, shard],
            "For how long the shard's first record could not be settled; 0 while all is well.";
    }

    "Rules" {
        pub contracts: IntGaugeVec = "meshgate_contracts" [domain],
            "Contracts loaded.";
        contract_info: IntGaugeVec = "meshgate_contract_info" [domain, contract, version, owner, mode],
            "1 for each contract in force, with whose it is.";
        rules_info: IntGaugeVec = "meshgate_rules_info" [domain, revision],
            "1 for the revision in force.";
        rules_applied: GaugeVec = "meshgate_rules_applied_timestamp_seconds" [domain, revision],
            "When this gate put the revision in force.";
        pub rules_stale: IntGaugeVec = "meshgate_rules_stale" [domain],
            "1 while the newest rule files do not compile and the last good ones stay in force.";
        pub reloads: IntCounterVec = "meshgate_reloads_total" [outcome],
            "Rule reloads: applied, partial (some domain kept its last good rules) or failed.";
        pub rules_fetches: IntCounterVec = "meshgate_rules_fetches_total" [set, outcome],
            "Fetches of the git remote, of the `rules` or the `candidate`: changed, unchanged or failed.";
        pub rules_fetched: GaugeVec = "meshgate_rules_fetched_timestamp_seconds" [set],
            "When the last fetch ended that did not fail. Only with a git remote.";
        candidate_info: IntGaugeVec = "meshgate_candidate_info" [revision],
            "1 for the candidate rules that are judged beside those in force.";
        candidate_events: IntCounterVec = "meshgate_candidate_events_total" [domain, contract],
            "Events judged by the candidate rules too.";
        candidate_changes: IntCounterVec = "meshgate_candidate_changes_total" [domain, contract, rule, change],
            "Events whose verdict the candidate rules would change, by the rules that are why: would_quarantine or would_no_longer_quarantine.";
    }

    "Breakers, and what checks remember" {
        pub breaker_state: IntGaugeVec = "meshgate_breaker_state" [domain, contract],
            "0 closed, 1 half open, 2 open.";
        pub breaker_opened: IntCounterVec = "meshgate_breaker_opened_total" [domain, contract],
            "How often the breaker opened.";
        pub breaker_events: IntCounterVec = "meshgate_breaker_events_total" [domain, contract, outcome],
            "Events held by an open breaker, or forwarded whatever their verdict.";
        pub state_entries: IntGaugeVec = "meshgate_state_entries" [domain, contract, rule],
            "Keys that the check remembers.";
        pub state_limit: IntGaugeVec = "meshgate_state_entries_limit" [domain, contract, rule],
            "The most keys that the check may remember.";
        pub state_bytes: IntGaugeVec = "meshgate_state_bytes" [domain, contract, rule],
            "About how much memory the check takes.";
        pub state_evicted: IntCounterVec = "meshgate_state_evicted_total" [domain, contract, rule],
            "Keys that the check forgot early, to make room.";
        pub state_snapshots: IntCounterVec = "meshgate_state_snapshots_total" [outcome],
            "Snapshots of what checks remember: written or failed.";
    }

    "The gate" {
        pub ready: IntGauge = "meshgate_ready" [],
            "1 while the gate takes records, 0 while it drains.";
        pub spans: IntCounterVec = "meshgate_spans_total" [outcome],
            "Spans that ended: exported, dropped (too many waited), or failed to be exported. Only with a collector (`tracing.otlp`).";
        build_info: IntGaugeVec = "meshgate_build_info" [version],
            "1, labelled with the version of the binary.";
    }
}

/// Where the values of each label come from.
#[cfg(test)]
const LABELS: &[(&str, &str)] = &[
    ("bound", "bounds of the check (`mustBeLessThan` and its kin); of the spool's bytes `used` and `limit`"),
    ("change", "a fixed list"),
    ("contract", "names of contracts in the rule files, and `unknown`"),
    (
        "dimension",
        "ODCS's seven (`accuracy`, `completeness`, `conformity`, `consistency`, `coverage`, `timeliness`, `uniqueness`), and `none`",
    ),
    ("domain", "names of domains in the rule files, and `unknown`"),
    ("event", "a fixed list"),
    ("kind", "a fixed list; of violations: KINDS"),
    ("mode", "`enforce` or `shadow`"),
    (
        "operation",
        "operations of the Kinesis API that the gate knows, `events` and `judge` of its HTTP API, and `other`",
    ),
    ("outcome", "a fixed list"),
    ("owner", "the owner's `team` in the contract, else in the domain"),
    ("queue", "queues of the settings and the rule files"),
    ("reason", "a fixed list"),
    ("revision", "the one revision in force; the one before is taken out"),
    ("route", "sources of `routes`, or the `match.stream` of the contract that covers the stream"),
    (
        "rule",
        "ids of rules in the rule files, and for what no file names `schema`, `malformed`, `unknown_type`, `too_large`, `isolation`",
    ),
    ("set", "`rules` or `candidate`"),
    ("settlement", "a fixed list"),
    ("severity", "`info`, `warning`, `error`"),
    ("shard", "shards that this gate reads at present"),
    ("sink", "a fixed list"),
    ("source", "`kinesis_api`, `http` and other doors of the data port"),
    ("status", "a fixed list"),
    ("stream", "sources of `streams`"),
    ("trouble", "a fixed list"),
    ("verdict", "a fixed list"),
    ("version", "of the binary; of a contract, as its file says"),
];
