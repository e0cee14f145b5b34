//! The streams that others write to, at work: a source for each, on the gate that the data port has too.

use std::sync::Arc;

use tokio::task::JoinSet;

use super::Gate;
use super::serve::StartError;
use crate::aws::Clients;
use crate::config::{Config, GatedStream, LeaseBackend};
use crate::lease::WorkerOptions;
use crate::metrics::Metrics;
use crate::port::LeaseTable;
use crate::sink::local::LocalLeases;
use crate::source::kinesis_stream::aws::KinesisReader;
use crate::source::kinesis_stream::lease_table::DynamoDbLeases;
use crate::source::kinesis_stream::{SourceOptions, keep_reading};
use crate::trace::Tracer;

/// How often the shards of a stream are listed, to find those without a lease. Milliseconds.
const SYNC_EVERY_MS: u64 = 60_000;

/// Starts a source for each configured stream. Each ends when its `told()` does, and has then settled what it had under way.
///
/// # Errors
/// Where the file of local leases cannot be opened.
pub fn start<F: Future<Output = ()> + Send + 'static>(
    config: &Config,
    (clients, tracer): (&Clients, &Tracer),
    gate: &Arc<Gate>,
    metrics: &Arc<Metrics>,
    worker: &str,
    told: impl Fn() -> F + Clone + Send + 'static,
) -> Result<JoinSet<()>, StartError> {
    let mut sources = JoinSet::new();
    for stream in &config.streams {
        let options = SourceOptions {
            stream: Arc::clone(&stream.source),
            reader: Arc::new(KinesisReader::new(clients.kinesis.clone())),
            table: table(config, stream, clients)?,
            intake: Arc::clone(gate) as _,
            reading: stream.reading.clone(),
            by_key: config.routes.keeps_order(&stream.source),
            worker: worker_options(stream, worker),
            bytes_max: stream.bytes_max,
            metrics: Arc::clone(metrics),
            tracer: tracer.clone(),
            clock: super::now,
            random: fastrand::f64,
        };
        sources.spawn(keep_reading(options, told.clone()));
    }
    Ok(sources)
}

fn table(config: &Config, stream: &GatedStream, clients: &Clients) -> Result<Arc<dyn LeaseTable>, StartError> {
    match stream.leases {
        LeaseBackend::Dynamodb => {
            Ok(Arc::new(DynamoDbLeases::new(clients.dynamodb.clone(), stream.lease_table.as_str())))
        }
        LeaseBackend::Local => {
            // Beside the store, which is where there is a disk.
            let path = config.data.with_file_name(format!("{}.leases", stream.lease_table));
            Ok(Arc::new(LocalLeases::open(&path).map_err(|error| StartError::Store(error.to_string()))?))
        }
    }
}

fn worker_options(stream: &GatedStream, worker: &str) -> WorkerOptions {
    let millis = |time: std::time::Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    WorkerOptions {
        id: worker.to_owned(),
        failover_ms: millis(stream.failover),
        handover_ms: millis(stream.handover),
        sync_every_ms: SYNC_EVERY_MS,
        leases_max: stream.shards_max,
        start: stream.start,
        seed: fastrand::u64(..),
    }
}
