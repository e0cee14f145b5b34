//! `meshgate run --stdin`: a pipe through the gate. No port, no backend: good events leave on standard output.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::io::{AsyncWrite, BufReader};

use super::rules::Rules;
use super::{Gate, GateOptions};
use crate::config::Config;
use crate::metrics::Metrics;
use crate::sink::pipe::{PipeSink, Unkept};
use crate::source::stdin::{self, Report, StdinError};

/// What the command line says of a pipe.
#[derive(Debug, Clone)]
pub struct PipeOptions {
    /// The stream that the events are taken to be written to.
    pub stream: String,
    /// Where verdict lines go; standard error when `None`.
    pub verdicts: Option<PathBuf>,
}

/// Why a pipe ended early.
#[derive(Debug, thiserror::Error)]
pub enum PipeError {
    #[error("cannot write verdicts to {path}: {error}; nothing was read")]
    Verdicts { path: PathBuf, error: std::io::Error },
    #[error(transparent)]
    Stdin(#[from] StdinError),
}

/// Judges standard input to its end.
///
/// # Errors
/// At the first line that could not be settled; lines before it were.
pub async fn run(
    config: &Config,
    rules: Arc<Rules>,
    metrics: Arc<Metrics>,
    options: PipeOptions,
) -> Result<Report, PipeError> {
    let verdicts: Box<dyn AsyncWrite + Unpin + Send> = match options.verdicts {
        None => Box::new(tokio::io::stderr()),
        Some(path) => {
            let file = tokio::fs::File::create(&path).await;
            Box::new(file.map_err(|error| PipeError::Verdicts { path, error })?)
        }
    };
    let pipe = Arc::new(PipeSink::new(tokio::io::stdout()));
    let gate = Gate::new(GateOptions {
        rules,
        routes: config.routes.clone(),
        dlq: Arc::clone(&config.dlq),
        mesh: Arc::clone(&pipe) as _,
        letters: Arc::new(Unkept),
        objects: None,
        catalog: pipe,
        retry: config.retry,
        records_in_flight_max: i64::try_from(config.records_in_flight_max).unwrap_or(i64::MAX),
        inflated_bytes_max: config.inflated_bytes_max,
        metrics,
        clock: super::now,
    });
    let reader = BufReader::with_capacity(256 * 1024, tokio::io::stdin());
    Ok(stdin::run(reader, verdicts, &gate, &options.stream, super::now).await?)
}
