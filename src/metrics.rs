//! Every metric of the gate: its name, its labels, and the closed set each label's values come from.
//!
//! Label values come from configuration, rule files and enums only, never from an event or a request, so that the number
//! of series is bounded by what is deployed. Counters are labelled by *route* (a configured source stream, or the glob
//! of the contract that covers it), not by whatever stream name a client sent.

use prometheus::core::Collector as _;
use prometheus::{
    Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder,
};

mod far_ends;
mod read;
mod spool;

pub use far_ends::{Failure, FarEnd, FarEnds};
pub use read::Series;
pub use spool::SpoolMetrics;

use crate::model::Judgement;

/// Seconds: from a quarter of a millisecond to ten seconds, which spans a local commit and a throttled upstream.
const REQUEST_BUCKETS: &[f64] =
    &[0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// Seconds per event: from a microsecond to ten milliseconds.
const JUDGE_BUCKETS: &[f64] =
    &[0.000001, 0.0000025, 0.000005, 0.00001, 0.000025, 0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.01];

/// The gate's metrics, registered once. Cheap to share; every field is an atomic or a sharded map of atomics.
pub struct Metrics {
    registry: Registry,
    /// `meshgate_events_total{domain,contract,verdict}`: events judged.
    events: IntCounterVec,
    /// `meshgate_violations_total{domain,contract,rule,kind,dimension,severity,mode}`.
    violations: IntCounterVec,
    /// `meshgate_records_total{route,settlement}`: records by what became of them; of a container, each that it holds.
    pub records: IntCounterVec,
    /// `meshgate_changes_ignored_total{route,change}`: change records of an outbox that mean no event: `modified`, `removed` or `expired`.
    pub changes_ignored: IntCounterVec,
    /// `meshgate_received_bytes_total{route}`: bytes of record data taken in.
    pub received_bytes: IntCounterVec,
    /// `meshgate_records_in_flight`: taken in, not yet settled.
    pub in_flight: IntGauge,
    /// `meshgate_judge_seconds`: time to judge one event (the mean over its batch).
    judge_seconds: Histogram,
    /// `meshgate_requests_total{source,operation,status}`; status is the HTTP class, `2xx`, `4xx` or `5xx`.
    pub requests: IntCounterVec,
    /// `meshgate_request_seconds{source,operation}`: from the last byte of the request to the answer.
    pub request_seconds: HistogramVec,
    /// `meshgate_shard_lag_milliseconds{stream,shard}`: how far the last batch read from a shard is behind its tip.
    pub shard_lag: IntGaugeVec,
    /// `meshgate_shards_held{stream}`: shards of a stream that this gate reads.
    pub shards_held: IntGaugeVec,
    /// `meshgate_shards_unread{stream}`: shards of a stream that no gate reads, as of this gate's last look.
    pub shards_unread: IntGaugeVec,
    /// `meshgate_shard_records_in_flight{stream,shard}`: read from a shard and not yet settled.
    pub shard_records: IntGaugeVec,
    /// `meshgate_shard_stalled_seconds{stream,shard}`: for how long a shard's first record could not be settled, 0 while all is well.
    pub shard_stalled: IntGaugeVec,
    /// `meshgate_replayed_total{domain,contract,outcome}`: what became of dead letters that `meshgate dlq replay` looked at. It writes
    /// them to a file (`--metrics`).
    pub replayed: IntCounterVec,
    /// `meshgate_connections`: open on the data port.
    pub connections: IntGauge,
    /// `meshgate_connections_refused_total`: closed at once because the cap was reached.
    pub connections_refused: IntCounter,
    /// `meshgate_sink_call_seconds{sink}`: one call to a sink, one attempt, as each delivery that shares it sees it.
    pub sink_call_seconds: HistogramVec,
    /// `meshgate_sink_failures_total{sink,trouble}`: entries of sink calls that were not taken, before any retry.
    pub sink_failures: IntCounterVec,
    /// `meshgate_sink_retries_total{sink}`: calls that repeated entries of an earlier one.
    pub sink_retries: IntCounterVec,
    /// `meshgate_objects_total{kind}`: objects put beside the queues: `letter` (one too large for its queue) or `archive`.
    pub objects: IntCounterVec,
    /// `meshgate_object_bytes_total{kind}`: their bytes, as they are stored.
    pub object_bytes: IntCounterVec,
    /// `meshgate_contracts{domain}`: contracts loaded.
    pub contracts: IntGaugeVec,
    /// `meshgate_rules_info{domain,revision}`: 1 for the revision in force.
    rules_info: IntGaugeVec,
    /// `meshgate_rules_stale{domain}`: 1 when the newest files did not compile and the last good set stays.
    pub rules_stale: IntGaugeVec,
    /// `meshgate_reloads_total{outcome}`: `applied`, `partial` (some domain kept its last good set) or `failed`.
    pub reloads: IntCounterVec,
    /// `meshgate_rules_fetches_total{set,outcome}`: fetches of a git remote, of the `rules` or the `candidate`: `changed`, `unchanged`
    /// or `failed`.
    pub rules_fetches: IntCounterVec,
    /// `meshgate_rules_fetched_timestamp_seconds{set}`: when the last fetch that did not fail ended. Not there without a remote.
    pub rules_fetched: GaugeVec,
    /// `meshgate_slo_target_ratio{domain,contract}`: the share of events that may fail, from the contract's `slo`.
    pub slo_target: GaugeVec,
    /// `meshgate_candidate_info{revision}`: 1 for the candidate rules that are judged beside those in force.
    candidate_info: IntGaugeVec,
    /// `meshgate_candidate_events_total{domain,contract}`: events judged by both.
    candidate_events: IntCounterVec,
    /// `meshgate_candidate_changes_total{domain,contract,rule,change}`: events whose verdict would change, by the rules that are why:
    /// `would_quarantine` or `would_no_longer_quarantine`.
    candidate_changes: IntCounterVec,
    /// `meshgate_breaker_state{domain,contract}`: 0 closed, 1 half open, 2 open.
    pub breaker_state: IntGaugeVec,
    /// `meshgate_breaker_opened_total{domain,contract}`.
    pub breaker_opened: IntCounterVec,
    /// `meshgate_breaker_events_total{domain,contract,outcome}`: events `held`, or `forwarded` whatever their verdict.
    pub breaker_events: IntCounterVec,
    /// `meshgate_stream_check_failing{domain,contract,rule}`: 1 while the last window of a check fails.
    pub stream_failing: IntGaugeVec,
    /// `meshgate_stream_check_value{domain,contract,rule,bound}`: what the last window of a check came to; milliseconds for latencies.
    pub stream_value: GaugeVec,
    /// `meshgate_state_entries{domain,contract,rule}`: keys a check remembers.
    pub state_entries: IntGaugeVec,
    /// `meshgate_state_entries_limit{domain,contract,rule}`: the most it may remember.
    pub state_limit: IntGaugeVec,
    /// `meshgate_state_bytes{domain,contract,rule}`: about how much memory that takes.
    pub state_bytes: IntGaugeVec,
    /// `meshgate_state_evicted_total{domain,contract,rule}`: keys forgotten early, to make room.
    pub state_evicted: IntCounterVec,
    /// `meshgate_state_snapshots_total{outcome}`: `written` or `failed`.
    pub state_snapshots: IntCounterVec,
    /// `meshgate_notices_total{domain,event,outcome}`: notices of quarantine: `logged` only, `sent`, `failed`, or `dropped` since too many waited.
    pub notices: IntCounterVec,
    /// Of the spool, where there is one.
    pub spool: SpoolMetrics,
    pub far_ends: FarEnds,
    _build_info: Gauge,
}

impl Metrics {
    pub fn new() -> Self {
        let r = Registry::new();
        let build_info = Gauge::with_opts(
            Opts::new("meshgate_build_info", "1, labelled with the version of the binary.")
                .const_label("version", env!("CARGO_PKG_VERSION")),
        )
        .expect("static options");
        build_info.set(1.0);
        r.register(Box::new(build_info.clone())).expect("registered once");
        Self {
            events: counters(&r, "meshgate_events_total", "Events judged.", &["domain", "contract", "verdict"]),
            violations: counters(
                &r,
                "meshgate_violations_total",
                "Violations found, decisive or not (mode tells).",
                &["domain", "contract", "rule", "kind", "dimension", "severity", "mode"],
            ),
            records: counters(
                &r,
                "meshgate_records_total",
                "Records by what became of them: forwarded, quarantined, dropped or unsettled. Of a container, each record in it counts.",
                &["route", "settlement"],
            ),
            changes_ignored: counters(
                &r,
                "meshgate_changes_ignored_total",
                "Change records of an outbox that mean no event: modified, removed or expired.",
                &["route", "change"],
            ),
            received_bytes: counters(&r, "meshgate_received_bytes_total", "Bytes of record data received.", &["route"]),
            in_flight: gauge(
                &r,
                "meshgate_records_in_flight",
                "Records taken in and not yet settled, those of containers one by one.",
            ),
            judge_seconds: histogram(&r, "meshgate_judge_seconds", "Time to judge one event.", JUDGE_BUCKETS),
            requests: counters(
                &r,
                "meshgate_requests_total",
                "Requests answered on the data port.",
                &["source", "operation", "status"],
            ),
            request_seconds: histograms(
                &r,
                "meshgate_request_seconds",
                "Time from a whole request to its answer.",
                &["source", "operation"],
            ),
            shard_lag: gauges(
                &r,
                "meshgate_shard_lag_milliseconds",
                "How far the last batch read from the shard is behind its tip.",
                &["stream", "shard"],
            ),
            shards_held: gauges(&r, "meshgate_shards_held", "Shards of the stream that this gate reads.", &["stream"]),
            shards_unread: gauges(
                &r,
                "meshgate_shards_unread",
                "Shards of the stream that no gate reads, as of this gate's last look.",
                &["stream"],
            ),
            shard_records: gauges(
                &r,
                "meshgate_shard_records_in_flight",
                "Records read from the shard and not yet settled.",
                &["stream", "shard"],
            ),
            shard_stalled: gauges(
                &r,
                "meshgate_shard_stalled_seconds",
                "For how long the shard's first record could not be settled; 0 while all is well.",
                &["stream", "shard"],
            ),
            replayed: counters(
                &r,
                "meshgate_replayed_total",
                "Dead letters that a replay looked at, by what became of them.",
                &["domain", "contract", "outcome"],
            ),
            connections: gauge(&r, "meshgate_connections", "Connections open on the data port."),
            connections_refused: counter(
                &r,
                "meshgate_connections_refused_total",
                "Connections closed at once because the cap was reached.",
            ),
            sink_call_seconds: histograms(&r, "meshgate_sink_call_seconds", "One attempt at a sink.", &["sink"]),
            sink_failures: counters(
                &r,
                "meshgate_sink_failures_total",
                "Entries a sink did not take in one attempt: throttled, unavailable or rejected.",
                &["sink", "trouble"],
            ),
            sink_retries: counters(
                &r,
                "meshgate_sink_retries_total",
                "Sink calls that repeated entries of an earlier call.",
                &["sink"],
            ),
            objects: counters(
                &r,
                "meshgate_objects_total",
                "Objects put beside the dead-letter queues: letters too large for their queue, and those of the archive.",
                &["kind"],
            ),
            object_bytes: counters(&r, "meshgate_object_bytes_total", "Bytes of these objects.", &["kind"]),
            contracts: gauges(&r, "meshgate_contracts", "Contracts loaded.", &["domain"]),
            rules_info: gauges(&r, "meshgate_rules_info", "1 for the revision in force.", &["domain", "revision"]),
            rules_stale: gauges(
                &r,
                "meshgate_rules_stale",
                "1 while the newest rule files do not compile and the last good set stays in force.",
                &["domain"],
            ),
            reloads: counters(&r, "meshgate_reloads_total", "Rule reloads: applied, partial or failed.", &["outcome"]),
            rules_fetches: counters(
                &r,
                "meshgate_rules_fetches_total",
                "Fetches of the rules' git remote: changed, unchanged or failed.",
                &["set", "outcome"],
            ),
            rules_fetched: {
                let opts = Opts::new(
                    "meshgate_rules_fetched_timestamp_seconds",
                    "When the last fetch of the rules' git remote ended that did not fail.",
                );
                registered(&r, GaugeVec::new(opts, &["set"]).expect("static options"))
            },
            slo_target: {
                let opts = Opts::new("meshgate_slo_target_ratio", "Share of events that may fail, from the contract.");
                registered(&r, GaugeVec::new(opts, &["domain", "contract"]).expect("static options"))
            },
            candidate_info: gauges(
                &r,
                "meshgate_candidate_info",
                "1 for the candidate rules that are judged beside those in force.",
                &["revision"],
            ),
            candidate_events: counters(
                &r,
                "meshgate_candidate_events_total",
                "Events judged by the candidate rules too.",
                &["domain", "contract"],
            ),
            candidate_changes: counters(
                &r,
                "meshgate_candidate_changes_total",
                "Events that the candidate rules would quarantine, or would no longer, by the rules that are why.",
                &["domain", "contract", "rule", "change"],
            ),
            breaker_state: gauges(
                &r,
                "meshgate_breaker_state",
                "0 closed, 1 half open, 2 open.",
                &["domain", "contract"],
            ),
            breaker_opened: counters(
                &r,
                "meshgate_breaker_opened_total",
                "How often the breaker opened.",
                &["domain", "contract"],
            ),
            breaker_events: counters(
                &r,
                "meshgate_breaker_events_total",
                "Events held by an open breaker, or forwarded whatever their verdict.",
                &["domain", "contract", "outcome"],
            ),
            stream_failing: gauges(
                &r,
                "meshgate_stream_check_failing",
                "1 while the last window of the check fails.",
                &["domain", "contract", "rule"],
            ),
            stream_value: {
                let opts = Opts::new(
                    "meshgate_stream_check_value",
                    "What the last window of the check came to; milliseconds for latencies.",
                );
                registered(&r, GaugeVec::new(opts, &["domain", "contract", "rule", "bound"]).expect("static options"))
            },
            state_entries: gauges(
                &r,
                "meshgate_state_entries",
                "Keys that the check remembers.",
                &["domain", "contract", "rule"],
            ),
            state_limit: gauges(
                &r,
                "meshgate_state_entries_limit",
                "The most keys that the check may remember.",
                &["domain", "contract", "rule"],
            ),
            state_bytes: gauges(
                &r,
                "meshgate_state_bytes",
                "About how much memory the check takes.",
                &["domain", "contract", "rule"],
            ),
            state_evicted: counters(
                &r,
                "meshgate_state_evicted_total",
                "Keys that the check forgot early, to make room.",
                &["domain", "contract", "rule"],
            ),
            state_snapshots: counters(
                &r,
                "meshgate_state_snapshots_total",
                "Snapshots of what checks remember: written or failed.",
                &["outcome"],
            ),
            notices: counters(
                &r,
                "meshgate_notices_total",
                "Notices of quarantine: logged only, sent to a topic, failed, or dropped since too many waited.",
                &["domain", "event", "outcome"],
            ),
            spool: SpoolMetrics::new(&r),
            far_ends: FarEnds::default(),
            _build_info: build_info,
            registry: r,
        }
    }

    /// Counts judged events and their violations. Looking a series up costs more than judging an event, so that a batch is
    /// counted first, and each series looked up once: most batches have one or two.
    pub fn count_judgements<'a>(&self, judgements: impl Iterator<Item = &'a Judgement>) {
        let mut events: Vec<([&str; 3], u64)> = Vec::new();
        let mut violations: Vec<([&str; 7], u64)> = Vec::new();
        for judgement in judgements {
            let stamp = &judgement.stamp;
            count(&mut events, [&stamp.domain, &stamp.contract, judgement.verdict.as_str()]);
            for violation in &judgement.violations {
                let labels = [
                    &*stamp.domain,
                    &*stamp.contract,
                    &*violation.rule,
                    violation.kind.as_str(),
                    violation.dimension.map_or("none", |d| d.as_str()),
                    violation.severity.as_str(),
                    violation.mode.as_str(),
                ];
                count(&mut violations, labels);
            }
        }
        add(&self.events, &events);
        add(&self.violations, &violations);
    }

    /// Observes that judging took this long, in seconds, for each of so many events.
    pub fn observe_judging(&self, seconds: f64, events: usize) {
        let observations = self.judge_seconds.local();
        for _ in 0..events {
            observations.observe(seconds);
        }
        observations.flush();
    }

    /// Marks `revision` as the one in force for `domain`, and forgets the one before it.
    pub fn set_revision(&self, domain: &str, before: Option<&str>, revision: &str) {
        if let Some(before) = before.filter(|b| *b != revision) {
            let _ = self.rules_info.remove_label_values(&[domain, before]);
        }
        self.rules_info.with_label_values(&[domain, revision]).set(1);
    }

    /// Marks `revision` as the candidate's, and forgets the one before it.
    pub fn set_candidate(&self, before: Option<&str>, revision: &str) {
        if let Some(before) = before.filter(|before| *before != revision) {
            let _ = self.candidate_info.remove_label_values(&[before]);
        }
        self.candidate_info.with_label_values(&[revision]).set(1);
    }

    /// Counts the events that were judged by candidate rules too: domain and contract of each, and of those whose verdict would
    /// change, each rule that is why, and how.
    pub fn count_candidate<'a>(&self, events: &[[&'a str; 2]], changes: &[[&'a str; 4]]) {
        let (mut counted, mut changed) = (Vec::new(), Vec::new());
        events.iter().for_each(|labels| count(&mut counted, *labels));
        changes.iter().for_each(|labels| count(&mut changed, *labels));
        add(&self.candidate_events, &counted);
        add(&self.candidate_changes, &changed);
    }

    /// Forgets what a check shows that is no longer in force. Counters stay.
    pub fn forget_check(&self, labels: &[&str; 3]) {
        for gauge in [&self.stream_failing, &self.state_entries, &self.state_limit, &self.state_bytes] {
            let _ = gauge.remove_label_values(labels);
        }
    }

    /// A counter's series as they stand: labels and value.
    pub fn counters(&self, name: &str) -> Vec<(Vec<(String, String)>, f64)> {
        let families = self.registry.gather();
        let series = families.iter().filter(|family| family.name() == name).flat_map(|family| family.get_metric());
        series
            .map(|metric| {
                let labels = metric.get_label().iter().map(|l| (l.name().to_owned(), l.value().to_owned())).collect();
                (labels, metric.get_counter().get_value())
            })
            .collect()
    }

    /// Forgets a domain that is no longer there: its gauges would lie. Counters stay, as Prometheus expects.
    pub fn forget_domain(&self, domain: &str, revision: &str) {
        let _ = self.rules_info.remove_label_values(&[domain, revision]);
        let _ = self.contracts.remove_label_values(&[domain]);
        let _ = self.rules_stale.remove_label_values(&[domain]);
    }

    /// What a replay did, in the same form.
    pub fn replayed_text(&self) -> String {
        TextEncoder::new().encode_to_string(&self.replayed.collect()).unwrap_or_default()
    }

    /// The Prometheus text exposition format, version 0.0.4.
    pub fn render(&self) -> String {
        TextEncoder::new().encode_to_string(&self.registry.gather()).unwrap_or_default()
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// Counts one more of these labels. The last ones found are the likeliest to come again.
fn count<'a, const N: usize>(counts: &mut Vec<([&'a str; N], u64)>, labels: [&'a str; N]) {
    match counts.iter_mut().rev().find(|(known, _)| *known == labels) {
        Some((_, count)) => *count += 1,
        None => counts.push((labels, 1)),
    }
}

fn add<const N: usize>(counters: &IntCounterVec, counts: &[([&str; N], u64)]) {
    for (labels, count) in counts {
        counters.with_label_values(labels).inc_by(*count);
    }
}

fn registered<C: prometheus::core::Collector + Clone + 'static>(registry: &Registry, collector: C) -> C {
    registry.register(Box::new(collector.clone())).expect("each metric is registered once");
    collector
}

fn counter(registry: &Registry, name: &str, help: &str) -> IntCounter {
    registered(registry, IntCounter::new(name, help).expect("static options"))
}

fn counters(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    registered(registry, IntCounterVec::new(Opts::new(name, help), labels).expect("static options"))
}

fn gauge(registry: &Registry, name: &str, help: &str) -> IntGauge {
    registered(registry, IntGauge::new(name, help).expect("static options"))
}

fn gauges(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
    registered(registry, IntGaugeVec::new(Opts::new(name, help), labels).expect("static options"))
}

fn histogram(registry: &Registry, name: &str, help: &str, buckets: &[f64]) -> Histogram {
    let opts = HistogramOpts::new(name, help).buckets(buckets.to_vec());
    registered(registry, Histogram::with_opts(opts).expect("static options"))
}

fn histograms(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> HistogramVec {
    let opts = HistogramOpts::new(name, help).buckets(REQUEST_BUCKETS.to_vec());
    registered(registry, HistogramVec::new(opts, labels).expect("static options"))
}
