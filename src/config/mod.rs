//! Settings as run: complete, checked, and of the types that the shell works with. Nothing downstream checks them again.
//!
//! They come from flags, then environment variables, then `meshgate.yaml`, then defaults ([`load`]). [`mod@file`] holds the
//! settings as written. [`source`] is where rule files come from: [`rules`] reads a directory, [`history`] one as it was, [`git`] a
//! remote.

mod file;
pub mod git;
pub mod history;
mod routes;
pub mod rules;
pub mod source;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::contract::RuleFiles;
use crate::contract::diagnostic::Diagnostic;
use crate::gate::delivery::RetryPolicy;
use crate::gate::notice;
use crate::lease::Start;
use crate::source::kinesis_stream::feed::Reading;
use crate::source::listener::Limits;
use crate::trace;

pub use routes::{OnQuarantine, Route, Routes};
pub use source::RuleSource;

/// What `meshgate run` runs with.
#[derive(Debug, Clone)]
pub struct Config {
    pub rules: RuleSource,
    /// Rules that are judged beside them, and decide nothing.
    pub candidate: Option<RuleSource>,
    /// How often the rule files are looked at for changes, or fetched; `None`: never.
    pub rules_watch: Option<Duration>,
    pub candidate_watch: Option<Duration>,
    /// The embedded store's file (`backend: local`).
    pub data: PathBuf,
    /// Where what checks remember is saved.
    pub state: PathBuf,
    /// How often; `None`: at the end only.
    pub snapshot_every: Option<Duration>,
    pub listen: SocketAddr,
    pub admin: SocketAddr,
    pub backend: Backend,
    /// Where what a far end of AWS does not take is kept meanwhile; `None`: nowhere, and it is unsettled.
    pub spool: Option<SpoolSettings>,
    /// The queue of events whose route and domain name none.
    pub dlq: Arc<str>,
    /// Where letters are kept as objects, beside their queue (`backend: aws`).
    pub letter_bucket: Option<LetterBucket>,
    pub routes: Routes,
    /// Streams that others write to, each with a route.
    pub streams: Vec<GatedStream>,
    pub limits: Limits,
    /// Taken in and not yet settled, all requests together.
    pub records_in_flight_max: usize,
    /// What a compressed payload may inflate to.
    pub inflated_bytes_max: usize,
    pub retry: RetryPolicy,
    /// Who is told of quarantine, and when; `None`: nobody.
    pub notices: Option<NoticeSettings>,
    pub tracing: Tracing,
}

/// Whether spans are exported, where to, and which.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Tracing {
    pub settings: Option<trace::Settings>,
    /// What of it has no effect, to be told at the start.
    pub warnings: Vec<String>,
}

/// Who is told of quarantine, and when. The log always is.
#[derive(Debug, Clone, PartialEq)]
pub struct NoticeSettings {
    /// The topic of domains that have none of their own.
    pub topic: Option<Arc<str>>,
    /// Topics by domain.
    pub domains: BTreeMap<String, Arc<str>>,
    pub terms: notice::Terms,
}

/// A bucket for letters too large for their queue, and for an archive of all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LetterBucket {
    pub name: String,
    /// What all keys begin with: empty, or ending in `/`.
    pub prefix: String,
    /// Whether every letter is archived.
    pub archive: bool,
}

/// How a spool is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpoolSettings {
    pub path: PathBuf,
    /// The file's pages in use grow no further.
    pub bytes_max: u64,
}

/// A stream that others write to, which is read, judged and forwarded.
#[derive(Debug, Clone, PartialEq)]
pub struct GatedStream {
    pub source: Arc<str>,
    /// Where shards begin that nobody has read.
    pub start: Start,
    pub reading: Reading,
    pub leases: LeaseBackend,
    /// The table's name in DynamoDB.
    pub lease_table: String,
    /// How long a gate may be silent before others take its shards.
    pub failover: Duration,
    /// How long a gate may take to give up a shard that another one asks for.
    pub handover: Duration,
    /// Shards this gate reads at most.
    pub shards_max: usize,
    /// Read and not yet settled, all shards together.
    pub bytes_max: u32,
}

/// Where leases are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LeaseBackend {
    /// For a fleet.
    #[default]
    Dynamodb,
    /// In the file of the embedded store, for one gate.
    Local,
}

/// Where good and bad events go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Backend {
    Local {
        shards: u32,
        streams_max: usize,
    },
    Aws {
        region: Option<String>,
        kinesis_endpoint: Option<String>,
        sqs_endpoint: Option<String>,
        sns_endpoint: Option<String>,
        dynamodb_endpoint: Option<String>,
        s3_endpoint: Option<String>,
    },
}

/// What was given on the command line or in the environment; beats the file.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    pub config: Option<PathBuf>,
    pub rules: Option<PathBuf>,
    pub data: Option<PathBuf>,
    pub listen: Option<SocketAddr>,
    pub admin: Option<SocketAddr>,
    /// The variables that begin with `OTEL_`.
    pub environment: BTreeMap<String, String>,
}

/// The file that is read when it is there and no other is named.
pub const DEFAULT_FILE: &str = "meshgate.yaml";

/// Why there is no configuration to run with. All faults of the file, not the first.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("cannot read {path}: {error}; name another file with --config")]
    Unreadable { path: PathBuf, error: std::io::Error },
    #[error("{path} has {} fault(s); nothing was started", .faults.len())]
    Faulty {
        path: PathBuf,
        faults: Vec<Diagnostic>,
        /// The file under the name that `faults` use, to show the lines meant.
        files: RuleFiles,
    },
}

/// Reads the file, lets `overrides` win, fills in defaults.
///
/// # Errors
/// A file that was named and cannot be read, or one with faults. A missing default file is no fault.
pub fn load(overrides: &Overrides) -> Result<Config, ConfigError> {
    let path = overrides.config.clone().unwrap_or_else(|| PathBuf::from(DEFAULT_FILE));
    let text = match std::fs::read(&path) {
        Ok(text) => Some(text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && overrides.config.is_none() => None,
        Err(error) => return Err(ConfigError::Unreadable { path, error }),
    };
    parse(text.as_deref(), &path, overrides)
}

/// [`load`] without the file system: `text` is the file's content, `path` its name in messages.
pub fn parse(text: Option<&[u8]>, path: &Path, overrides: &Overrides) -> Result<Config, ConfigError> {
    let name = path.display().to_string();
    let written = match text {
        Some(text) => file::read(&name, text).map_err(|faults| {
            let shown = git::remote::blanked(&String::from_utf8_lossy(text));
            let files = RuleFiles::from([(name.clone(), shown.into_bytes())]);
            ConfigError::Faulty { path: path.to_owned(), faults, files }
        })?,
        None => file::Written::default(),
    };
    let mut written = written;
    if let Some(data) = &overrides.data {
        written.set_data(data.clone());
    }
    if let Some(rules) = &overrides.rules {
        written.set_rules(rules.clone());
    }
    let mut config = written.into_config(&overrides.environment);
    config.listen = overrides.listen.unwrap_or(config.listen);
    config.admin = overrides.admin.unwrap_or(config.admin);
    Ok(config)
}

impl Default for Config {
    fn default() -> Self {
        file::Written::default().into_config(&BTreeMap::new())
    }
}
