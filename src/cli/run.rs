//! `meshgate run`: the gate itself.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;

use super::{FINDINGS, GOOD, TROUBLE, notify, trouble};
use crate::admin::status::Kept;
use crate::admin::{self, Admin};
use crate::config::{self, Config, ConfigError, Overrides};
use crate::contract::RuleFiles;
use crate::contract::diagnostic::{self, Diagnostic};
use crate::memory::Memory;
use crate::metrics::Metrics;
use crate::pipeline::keeper;
use crate::pipeline::now;
use crate::pipeline::pipe::{self, PipeOptions};
use crate::pipeline::rules::{RuleOptions, Rules};
use crate::pipeline::serve::{self, StartError, Stopped};

/// How long the store may take to finish its last commits after the drain.
const CLOSE_WITHIN: Duration = Duration::from_secs(5);

/// Run the gate: a data port for producers, an admin port for operators.
#[derive(Args)]
#[command(after_help = "\
Examples:
  meshgate run
  meshgate run --rules ./rules --listen 127.0.0.1:4570 --admin 127.0.0.1:9570
  MESHGATE_LOG=debug meshgate run --config /etc/meshgate/meshgate.yaml
  meshgate run --stdin --stream orders-events < events.ndjson > good.ndjson 2> verdicts.ndjson")]
pub struct RunArgs {
    /// Settings file; ./meshgate.yaml is read when it is there
    #[arg(long, env = "MESHGATE_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Directory of rule files [default: ./rules]
    #[arg(long, env = "MESHGATE_RULES", value_name = "DIR")]
    pub rules: Option<PathBuf>,
    /// File of the embedded store [default: ./data/meshgate.db]
    #[arg(long, env = "MESHGATE_DATA", value_name = "FILE")]
    pub data: Option<PathBuf>,
    /// Address of the data port [default: 127.0.0.1:4570]
    #[arg(long, env = "MESHGATE_LISTEN", value_name = "ADDR")]
    pub listen: Option<SocketAddr>,
    /// Address of the admin port [default: 127.0.0.1:9570]
    #[arg(long, env = "MESHGATE_ADMIN", value_name = "ADDR")]
    pub admin: Option<SocketAddr>,
    /// Log filter: error, warn, info, debug, trace, or target=level as in RUST_LOG
    #[arg(long, env = "MESHGATE_LOG", value_name = "FILTER", default_value = "info", value_parser = log_filter)]
    pub log: String,
    /// Judge NDJSON from stdin instead of serving ports: good events to stdout byte for byte; exit code 1 when any was refused
    #[arg(long, requires = "stream")]
    pub stdin: bool,
    /// The stream that events on stdin are taken to be written to
    #[arg(long, requires = "stdin", value_name = "NAME")]
    pub stream: Option<String>,
    /// Where verdicts on events from stdin go, as JSON lines [default: stderr]
    #[arg(long, requires = "stdin", value_name = "FILE")]
    pub verdicts: Option<PathBuf>,
}

/// Runs the gate until it is told to stop, or stdin ends.
pub fn run(args: RunArgs) -> ExitCode {
    let overrides = Overrides {
        config: args.config,
        rules: args.rules,
        data: args.data,
        listen: args.listen,
        admin: args.admin,
        environment: otel_variables(),
    };
    let config = match config::load(&overrides) {
        Ok(config) => config,
        Err(ConfigError::Faulty { path, faults, files }) => {
            print_faults(&faults, &files, "");
            return trouble(format_args!("{} has {} fault(s); nothing was started", path.display(), faults.len()));
        }
        Err(error) => return trouble(error),
    };
    // In a pipe stderr belongs to the verdicts unless they go to a file: only warnings join them there.
    init_logging(if args.stdin { "warn" } else { &args.log });
    let metrics = Arc::new(Metrics::new());
    // A pipe has an end, and remembers until then.
    let memory = if args.stream.is_some() { Memory::default() } else { keeper::restore(&config.state) };
    let rules = match load_rules(&config, memory, &metrics) {
        Ok(rules) => rules,
        Err(code) => return code,
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return trouble(format_args!("cannot start threads: {error}")),
    };
    if let Some(stream) = args.stream {
        let options = PipeOptions { stream, verdicts: args.verdicts };
        return match runtime.block_on(pipe::run(&config, rules, metrics, options)) {
            Ok(report) if report.unsettled > 0 => trouble("some events could not be written; see the messages above"),
            Ok(report) if report.quarantined > 0 => ExitCode::from(FINDINGS),
            Ok(_) => ExitCode::from(GOOD),
            Err(error) => trouble(error),
        };
    }
    keep_freed_memory();
    let ended = runtime.block_on(serve(&config, rules, metrics, |_, _| serve::told_to_stop()));
    runtime.shutdown_timeout(CLOSE_WITHIN);
    match ended {
        Ok(Stopped::Drained) => ExitCode::from(GOOD),
        Ok(Stopped::CutOff) => ExitCode::from(TROUBLE),
        Err(error) => trouble(error),
    }
}

/// The variables that say where OpenTelemetry's programs send their spans.
pub(super) fn otel_variables() -> BTreeMap<String, String> {
    let text = |(name, value): (OsString, OsString)| Some((name.into_string().ok()?, value.into_string().ok()?));
    std::env::vars_os().filter_map(text).filter(|(name, _)| name.starts_with("OTEL_")).collect()
}

/// A request of 500 records has three buffers of half a megabyte for some milliseconds. glibc takes such from the kernel and gives
/// them back each time, whose page faults are a tenth of the gate's work. It keeps what is of the size of a mapped block it has
/// seen freed, and up to twice as much at the top of a heap (mallopt(3), `M_MMAP_THRESHOLD`): so it is shown one, of 4 MiB, that is
/// never touched. With another allocator this does nothing.
fn keep_freed_memory() {
    drop(std::hint::black_box(Vec::<u8>::with_capacity(4 << 20)));
}

/// Serves both ports until what `until` gives resolves, then drains. `until` is told the data and the admin address.
pub(super) async fn serve<F: Future<Output = ()>>(
    config: &Config,
    rules: Arc<Rules>,
    metrics: Arc<Metrics>,
    until: impl FnOnce(SocketAddr, SocketAddr) -> F,
) -> Result<Stopped, StartError> {
    let admin_port = serve::bind(config.admin).await?;
    let admin_address = admin_port.local_addr().unwrap_or(config.admin);
    let serving = serve::start(config, Arc::clone(&rules), Arc::clone(&metrics)).await?;
    let revision = rules.current().revision().to_string();
    let (backend, spool, pulse) = (serving.backend, serving.spooling.clone(), Arc::clone(&serving.pulse));
    let admin = Admin { phase: serving.phase(), rules, metrics, backend, spool, pulse, status: Kept::new(now()) };
    // Probes and scrapes are answered to the very last: the task ends with the runtime.
    tokio::spawn(admin::serve(admin_port, Arc::new(admin)));
    tracing::info!(
        listen = %serving.listen, admin = %admin_address, backend = serving.backend, rules = revision, "gate is ready"
    );
    notify::tell(notify::READY);
    until(serving.listen, admin_address).await;
    notify::tell(notify::STOPPING);
    tokio::select! {
        stopped = serving.drain() => Ok(stopped),
        // Whoever says it twice does not want to wait.
        () = serve::told_to_stop() => {
            tracing::error!("told to stop again; requests in progress are cut off and their producers send again");
            Ok(Stopped::CutOff)
        }
    }
}

/// Loads the rules, or says every fault and refuses to start.
pub(super) fn load_rules(config: &Config, memory: Memory, metrics: &Arc<Metrics>) -> Result<Arc<Rules>, ExitCode> {
    let options = RuleOptions {
        candidate: config.candidate.clone(),
        memory,
        ..RuleOptions::new(config.rules.clone(), Arc::clone(metrics))
    };
    let (rules, loaded) =
        Rules::load(options).map_err(|error| trouble(format_args!("{error}; nothing was started")))?;
    print_faults(&loaded.diagnostics, &loaded.files, &format!("{}/", config.rules));
    if loaded.is_good {
        return Ok(Arc::new(rules));
    }
    Err(trouble("the rules have faults, so nothing was started; `meshgate check` shows this too"))
}

fn print_faults(faults: &[Diagnostic], files: &RuleFiles, prefix: &str) {
    eprint!("{}", diagnostic::text(faults, files, prefix, std::io::stderr().is_terminal()));
}

/// A filter with a slip is refused: nobody would miss the lines it hides. A word alone is a level here, and no target,
/// whose lines would be the only ones.
pub(super) fn log_filter(text: &str) -> Result<String, String> {
    use tracing_subscriber::filter::{EnvFilter, LevelFilter};
    let is_slip = |part: &str| !part.contains(['=', '[']) && part.trim().parse::<LevelFilter>().is_err();
    if EnvFilter::try_new(text).is_err() || text.split(',').any(is_slip) {
        return Err("write error, warn, info, debug, trace or target=level, several with commas between".to_owned());
    }
    Ok(text.to_owned())
}

/// JSON lines on stderr when piped, as collectors want them; readable text on a terminal.
pub(super) fn init_logging(filter: &str) {
    use tracing_subscriber::EnvFilter;
    // `run` has checked what a person wrote.
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if std::io::stderr().is_terminal() {
        builder.compact().init();
    } else {
        builder.json().init();
    }
}
