//! What the spool holds, and what went in and out of it. Series appear where a spool is configured.

use prometheus::{GaugeVec, IntCounterVec, IntGaugeVec, Opts, Registry};

use super::{counters, gauges, registered};

/// `sink` is `mesh` or `dlq`: the kind of far end that the entries are for.
pub struct SpoolMetrics {
    /// `meshgate_spool_entries{sink}`: records and letters that wait in line.
    pub entries: IntGaugeVec,
    /// `meshgate_spool_aside{sink}`: those kept aside, since they cannot be delivered as they are.
    pub aside: IntGaugeVec,
    /// `meshgate_spool_oldest_seconds{sink}`: how long the oldest in line has waited, 0 without one.
    pub oldest: GaugeVec,
    /// `meshgate_spool_bytes{bound}`: the file's pages in use (`used`), and the most there may be (`limit`).
    pub bytes: IntGaugeVec,
    /// `meshgate_spool_spooled_total{sink}`: entries taken in.
    pub spooled: IntCounterVec,
    /// `meshgate_spool_drained_total{sink,outcome}`: entries that left the line: `delivered`, `quarantined` (a record that its stream refuses),
    /// `aside`.
    pub drained: IntCounterVec,
    /// `meshgate_spool_refused_total{sink,reason}`: entries not taken in, `full` or `failed` (its disk).
    pub refused: IntCounterVec,
}

impl SpoolMetrics {
    pub(super) fn new(r: &Registry) -> Self {
        let oldest = Opts::new("meshgate_spool_oldest_seconds", "How long the oldest entry in the spool has waited.");
        Self {
            entries: gauges(r, "meshgate_spool_entries", "Records and letters that wait in the spool.", &["sink"]),
            aside: gauges(
                r,
                "meshgate_spool_aside",
                "Entries that the spool keeps aside, since they cannot be delivered as they are.",
                &["sink"],
            ),
            oldest: registered(r, GaugeVec::new(oldest, &["sink"]).expect("static options")),
            bytes: gauges(
                r,
                "meshgate_spool_bytes",
                "Bytes of the spool's file in use, and the most there may be: used or limit.",
                &["bound"],
            ),
            spooled: counters(r, "meshgate_spool_spooled_total", "Entries that the spool took in.", &["sink"]),
            drained: counters(
                r,
                "meshgate_spool_drained_total",
                "Entries that left the spool's line: delivered, quarantined or aside.",
                &["sink", "outcome"],
            ),
            refused: counters(
                r,
                "meshgate_spool_refused_total",
                "Entries that the spool did not take in: full, or failed.",
                &["sink", "reason"],
            ),
        }
    }
}
