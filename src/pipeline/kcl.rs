//! `meshgate kcl`: a gate on one shard, for the KCL's daemon on standard input and output.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::BufReader;

use super::notices::Notices;
use super::pulse::Pulsing;
use super::rules::Rules;
use super::serve::{self, StartError};
use crate::config::Config;
use crate::metrics::Metrics;
use crate::source::kcl::{self, KclError, Options};

/// What the command line says of it.
#[derive(Debug, Clone)]
pub struct ProcessorOptions {
    /// The stream the daemon reads, by which routes and contracts are found.
    pub stream: String,
    pub checkpoint_every: Duration,
    /// For its admin port, where it has one.
    pub pulse: Option<Arc<Pulsing>>,
}

/// Why it ended early.
#[derive(Debug, thiserror::Error)]
pub enum ProcessorError {
    #[error(transparent)]
    Start(#[from] StartError),
    #[error("{0}; what had not been checkpointed comes again")]
    Daemon(#[from] KclError),
}

/// Follows the daemon until it closes its end. `own` are addresses of this process, which is not to be its own upstream.
///
/// # Errors
/// When the backend cannot be opened, or the daemon cannot be understood.
pub async fn run(
    config: &Config,
    rules: Arc<Rules>,
    metrics: Arc<Metrics>,
    own: Vec<SocketAddr>,
    options: ProcessorOptions,
) -> Result<(), ProcessorError> {
    let instance = format!("{:016x}", fastrand::u64(..));
    let (tracer, exporting) = serve::tracing(config, &serve::worker_id(&instance), &metrics);
    let sinks = serve::open_sinks(config, own, &instance, &tracer).await?;
    let by_key = config.routes.keeps_order(&options.stream);
    let notices = serve::notices(config, &rules, &sinks, &metrics, serve::worker_id(&instance));
    let gate = serve::gate(config, rules, &sinks, Arc::clone(&metrics));
    let gate = Arc::new(gate.noted_by(notices.as_ref().map(Notices::noted)).with_pulse(options.pulse));
    let reader = BufReader::with_capacity(256 * 1024, tokio::io::stdin());
    let options = Options {
        intake: gate,
        stream: options.stream.into(),
        checkpoint_every: options.checkpoint_every,
        by_key,
        metrics,
        tracer,
        clock: super::now,
        random: fastrand::f64,
    };
    let ended = kcl::run(reader, tokio::io::stdout(), options).await;
    if let Some(notices) = notices {
        notices.finish().await;
    }
    if let Some(exporting) = exporting {
        exporting.finish().await;
    }
    Ok(ended?)
}
