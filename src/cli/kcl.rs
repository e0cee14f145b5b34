//! `meshgate kcl`: a record processor for Amazon's MultiLangDaemon.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use tokio::sync::watch;

use super::{GOOD, run, trouble};
use crate::admin::status::Kept;
use crate::admin::{self, Admin};
use crate::config::{self, Backend, Overrides};
use crate::memory::Memory;
use crate::metrics::Metrics;
use crate::pipeline::kcl::{self, ProcessorOptions};
use crate::pipeline::keeper::{self, Keeper};
use crate::pipeline::pulse::Pulsing;
use crate::pipeline::serve::{self, Phase};
use crate::pipeline::watch as rules_watch;

/// Gate the shards of an existing stream as a record processor of the KCL's MultiLangDaemon, which starts one of these a shard.
#[derive(Args)]
#[command(after_help = "\
Examples:
  meshgate kcl --stream orders-raw --config /etc/meshgate/meshgate.yaml
  meshgate kcl --stream orders-raw --rules /etc/meshgate/rules --checkpoint-seconds 30

Such a line is the executableName of the daemon's properties file, which docs/operators.md shows.
Standard input and output belong to the daemon: JSON lines, and nothing else. Logs go to standard
error. A batch is answered when each record is on the mesh stream or in the dead-letter queue.")]
pub struct KclArgs {
    /// The stream the daemon reads: routes and contracts are found by it
    #[arg(long, value_name = "NAME")]
    pub stream: String,
    /// Settings file; ./meshgate.yaml is read when it is there
    #[arg(long, env = "MESHGATE_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Directory of rule files [default: ./rules]
    #[arg(long, env = "MESHGATE_RULES", value_name = "DIR")]
    pub rules: Option<PathBuf>,
    /// File of the embedded store, of one process only [default: ./data/meshgate.db]
    #[arg(long, env = "MESHGATE_DATA", value_name = "FILE")]
    pub data: Option<PathBuf>,
    /// Seconds between two checkpoints, beside those when the daemon ends; each is a write to its lease table
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    pub checkpoint_seconds: u64,
    /// Address of an admin port, with metrics; port 0 takes a free one, and says so in the log [default: none]
    #[arg(long, value_name = "ADDR")]
    pub admin: Option<SocketAddr>,
    /// Log filter: error, warn, info, debug, trace, or target=level as in RUST_LOG
    #[arg(long, env = "MESHGATE_LOG", value_name = "FILTER", default_value = "info", value_parser = run::log_filter)]
    pub log: String,
}

pub fn run(args: KclArgs) -> ExitCode {
    let overrides = Overrides {
        config: args.config,
        rules: args.rules,
        data: args.data,
        listen: None,
        admin: None,
        environment: super::run::otel_variables(),
    };
    let config = match config::load(&overrides) {
        Ok(config) => config,
        Err(error) => return trouble(error),
    };
    run::init_logging(&args.log);
    let metrics = Arc::new(Metrics::new());
    // A shard's processor lives as long as its lease. What it remembers goes with it.
    let rules = match run::load_rules(&config, Memory::default(), &metrics) {
        Ok(rules) => rules,
        Err(code) => return code,
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return trouble(format_args!("cannot start threads: {error}")),
    };
    let pulse = args.admin.map(|_| Arc::<Pulsing>::default());
    let options = ProcessorOptions {
        stream: args.stream,
        checkpoint_every: Duration::from_secs(args.checkpoint_seconds),
        pulse: pulse.clone(),
    };
    let admin = args.admin;
    let ended = runtime.block_on(async {
        if let Some(address) = admin {
            let port = serve::bind(address).await?;
            tracing::info!(admin = %port.local_addr().unwrap_or(address), "the admin port is open");
            let phase = watch::Sender::new(Phase::Ready);
            let (rules, metrics) = (Arc::clone(&rules), Arc::clone(&metrics));
            let backend = if matches!(config.backend, Backend::Aws { .. }) { "aws" } else { "local" };
            let pulse = pulse.unwrap_or_default();
            let status = Kept::new(crate::pipeline::now());
            let pages = Admin { phase: phase.subscribe(), rules, metrics, backend, spool: None, pulse, status };
            tokio::spawn(async move {
                let _phase = phase;
                admin::serve(port, Arc::new(pages)).await;
            });
        }
        tokio::spawn(serve::reload_on_hangup(Arc::clone(&rules)));
        if let Some(every) = config.rules_watch {
            tokio::spawn(rules_watch::watch(rules_watch::Watch::new(Arc::clone(&rules)), every));
        }
        // Windows end, and are told, whether events come or not. Nothing is saved.
        let keeper = Keeper::new(Arc::clone(&rules), Arc::clone(&metrics), config.state.clone(), crate::pipeline::now);
        tokio::spawn(keeper::keep(keeper, None, std::future::pending()));
        kcl::run(&config, rules, metrics, Vec::new(), options).await
    });
    // A read of standard input that nobody ends must not keep the process.
    runtime.shutdown_timeout(Duration::from_secs(5));
    match ended {
        Ok(()) => ExitCode::from(GOOD),
        Err(error) => trouble(error),
    }
}
