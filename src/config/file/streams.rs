//! The key `streams`: streams that others write to, to be gated.

use std::time::Duration;

use serde::Deserialize;

use super::WrittenRoute;
use crate::config::{GatedStream, LeaseBackend};
use crate::lease::Start;
use crate::model::Timestamp;
use crate::source::kinesis_stream::feed::Reading;

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WrittenStream {
    source: String,
    /// `trim_horizon`, `latest`, or an RFC 3339 time.
    #[serde(default = "trim_horizon")]
    start: String,
    /// Of enhanced fan-out; without one, the shards are polled.
    consumer: Option<String>,
    #[serde(default = "second_in_millis")]
    poll_milliseconds: u64,
    #[serde(default)]
    leases: WrittenLeases,
    #[serde(default = "mib_in_flight")]
    mib_in_flight: u32,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct WrittenLeases {
    backend: LeaseBackend,
    table: Option<String>,
    failover_seconds: u64,
    handover_seconds: u64,
    shards_max: usize,
}

impl Default for WrittenLeases {
    fn default() -> Self {
        Self {
            backend: LeaseBackend::default(),
            table: None,
            failover_seconds: 10,
            handover_seconds: 30,
            shards_max: 256,
        }
    }
}

fn trim_horizon() -> String {
    "trim_horizon".to_owned()
}

const fn second_in_millis() -> u64 {
    1_000
}

const fn mib_in_flight() -> u32 {
    64
}

/// What is wrong with the streams, each with the keys that lead there, a message and a hint.
pub fn faults(streams: &[WrittenStream], routes: &[WrittenRoute], on_aws: bool) -> Vec<(Vec<String>, String, String)> {
    let fault = |at: usize, key: &str, message: String, hint: &str| {
        (vec!["streams".to_owned(), at.to_string(), key.to_owned()], message, hint.to_owned())
    };
    let mut faults = Vec::new();
    for (at, stream) in streams.iter().enumerate() {
        let source = &stream.source;
        if !on_aws {
            let message = "the embedded store holds no streams of others".to_owned();
            faults.push(fault(at, "source", message, "write `backend: aws`"));
        }
        if streams[..at].iter().any(|other| other.source == *source) {
            let message = "this stream is gated already".to_owned();
            faults.push(fault(at, "source", message, "write one entry a stream"));
        }
        match leads_back(source, streams, routes) {
            None => {
                let message = "no route says where the good events of this stream go".to_owned();
                faults.push(fault(
                    at,
                    "source",
                    message,
                    "add a route with this `source`, and its mesh stream as `mesh`",
                ));
            }
            Some(true) => {
                let message = "the good events of this stream come back to it, and would be judged for ever".to_owned();
                faults.push(fault(at, "source", message, "route it to another stream"));
            }
            Some(false) => {}
        }
        if start(&stream.start).is_none() {
            let message = "`start` is neither a place of a stream nor a time".to_owned();
            faults.push(fault(
                at,
                "start",
                message,
                "write trim_horizon, latest, or a time as in 2026-11-28T06:00:00Z",
            ));
        }
    }
    faults
}

/// Whether what is read of a stream ends up in it again, over as many gated streams as there are. `None` without a route.
fn leads_back(source: &str, streams: &[WrittenStream], routes: &[WrittenRoute]) -> Option<bool> {
    let mesh_of = |source: &str| {
        let route = routes.iter().find(|route| route.source == source)?;
        Some(route.mesh.as_deref().unwrap_or(&route.source))
    };
    let mut mesh = mesh_of(source)?;
    for _ in streams {
        if mesh == source {
            return Some(true);
        }
        let next = streams.iter().find(|other| other.source == mesh).and_then(|other| mesh_of(&other.source));
        let Some(next) = next else { break };
        mesh = next;
    }
    Some(mesh == source)
}

fn start(text: &str) -> Option<Start> {
    match text {
        "trim_horizon" => Some(Start::TrimHorizon),
        "latest" => Some(Start::Latest),
        time => {
            let time = chrono::DateTime::parse_from_rfc3339(time).ok()?;
            Some(Start::AtTimestamp(Timestamp::from_millis(time.timestamp_millis())))
        }
    }
}

impl WrittenStream {
    /// Settings as run. Total: [`faults`] refused what has no meaning.
    pub fn into_gated(self) -> GatedStream {
        let Self { source, start: written, consumer, poll_milliseconds, leases, mib_in_flight } = self;
        GatedStream {
            start: start(&written).unwrap_or(Start::TrimHorizon),
            reading: match consumer {
                Some(consumer) => Reading::FanOut { consumer },
                None => Reading::Polling { idle: Duration::from_millis(poll_milliseconds) },
            },
            leases: leases.backend,
            lease_table: leases.table.unwrap_or_else(|| format!("meshgate-{source}")),
            failover: Duration::from_secs(leases.failover_seconds),
            handover: Duration::from_secs(leases.handover_seconds),
            shards_max: leases.shards_max,
            bytes_max: mib_in_flight.saturating_mul(1024 * 1024),
            source: source.into(),
        }
    }
}
