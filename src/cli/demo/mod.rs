//! `meshgate demo`: the whole job in one command, with nothing to set up.

mod events;

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::PutRecordsRequestEntry;
use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Deserialize;

use self::events::{Events, Sample};
use super::judge::RuleCount;
use super::output::{self, Format};
use super::{GOOD, TROUBLE, run, trouble};
use crate::config::{self, Config, Overrides};
use crate::memory::Memory;
use crate::metrics::Metrics;
use crate::pipeline::{now, serve};
use crate::sink::local::{LetterFilter, LetterLookup, Reader};

/// Records a PutRecords call of the demo carries: enough calls to watch, enough records to be quick.
const RECORDS_PER_CALL: usize = 100;
/// Between calls, so that a person can follow.
const PAUSE: Duration = Duration::from_millis(60);

/// Start the gate on its embedded store, send it events as a producer would, show what became of them.
#[derive(Args)]
#[command(after_help = "\
Examples:
  meshgate demo                   runs until Ctrl-C, with everything to look at
  meshgate demo --once            ends when the events are through
  meshgate demo --rules ./rules   with your own contracts: their examples are what is sent")]
pub struct DemoArgs {
    /// End when the events are through instead of serving until Ctrl-C
    #[arg(long)]
    once: bool,
    /// How many events to send
    #[arg(long, default_value_t = 3_000, value_name = "N")]
    events: usize,
    /// The same seed sends the same events
    #[arg(long, default_value_t = 1, value_name = "N")]
    seed: u64,
    /// Directory of rule files [default: ./rules]
    #[arg(long, env = "MESHGATE_RULES", value_name = "DIR")]
    rules: Option<PathBuf>,
    /// File of the embedded store [default: ./data/meshgate.db]
    #[arg(long, env = "MESHGATE_DATA", value_name = "FILE")]
    data: Option<PathBuf>,
    /// Address of the data port [default: 127.0.0.1:4570]
    #[arg(long, env = "MESHGATE_LISTEN", value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// Address of the admin port [default: 127.0.0.1:9570]
    #[arg(long, env = "MESHGATE_ADMIN", value_name = "ADDR")]
    admin: Option<SocketAddr>,
}

/// `println!` that does not mind a reader who has seen enough, as `head` has.
macro_rules! say {
    ($($told:tt)*) => {{ let _ = writeln!(std::io::stdout(), $($told)*); }};
}

/// Runs the demo. Exit code 0 whatever was refused: refusing is what it shows.
pub fn run(args: DemoArgs) -> ExitCode {
    let overrides = Overrides {
        config: None,
        rules: args.rules,
        data: args.data,
        listen: args.listen,
        admin: args.admin,
        environment: BTreeMap::new(),
    };
    // The demo is the default configuration, whatever a meshgate.yaml here says.
    let config = match config::parse(None, "defaults".as_ref(), &overrides) {
        Ok(config) => config,
        Err(error) => return trouble(error),
    };
    run::init_logging("warn");
    let metrics = Arc::new(Metrics::new());
    let rules = match run::load_rules(&config, Memory::default(), &metrics) {
        Ok(rules) => rules,
        Err(code) => return code,
    };
    let Some(events) = Events::new(&rules.current(), args.seed) else {
        return trouble(
            "no contract here names its stream and has an example that is forwarded, so there is nothing to send",
        );
    };
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return trouble(format_args!("cannot start threads: {error}")),
    };
    let (show, count, once) = (Arc::clone(&metrics), args.events, args.once);
    let told = config.clone();
    let mut went_well = true;
    let ended = runtime.block_on(run::serve(&config, rules, metrics, |data, admin| {
        let went_well = &mut went_well;
        async move {
            say!("The gate listens on http://{data} with the rules of {}/", told.rules);
            say!("Sending {count} events as a producer would: AWS_ENDPOINT_URL_KINESIS=http://{data}\n");
            if let Err(message) = produce(data, events, count, &show).await {
                eprintln!("meshgate: {message}");
                *went_well = false;
                return;
            }
            print_outcome(&show);
            print_one_refused(&told);
            print_where_to_look(&told, (!once).then_some(admin));
            if !once {
                say!("\nServing until Ctrl-C.");
                serve::told_to_stop().await;
            }
        }
    }));
    match ended {
        Ok(_) if went_well => ExitCode::from(GOOD),
        Ok(_) => ExitCode::from(TROUBLE),
        Err(error) => trouble(error),
    }
}

/// Puts the events with the ordinary AWS client. Any credentials do: the gate signs with its own upstream.
async fn produce(endpoint: SocketAddr, mut events: Events, count: usize, metrics: &Metrics) -> Result<(), String> {
    let config = aws_sdk_kinesis::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .endpoint_url(format!("http://{endpoint}"))
        .credentials_provider(Credentials::new("demo", "demo", None, None, "meshgate demo"))
        .build();
    let client = Client::from_conf(config);
    let bar = ProgressBar::with_draw_target(Some(count as u64), ProgressDrawTarget::stderr());
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len}  {msg}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    let mut left = count;
    while left > 0 {
        let batch: Vec<Sample> = (0..left.min(RECORDS_PER_CALL)).map(|_| events.next(now())).collect();
        left -= batch.len();
        put(&client, batch).await?;
        bar.set_position((count - left) as u64);
        bar.set_message(progress_line(metrics));
        if bar.is_hidden() && (left == 0 || left.is_multiple_of(1_000)) {
            say!("{:>6} sent  {}", count - left, progress_line(metrics));
        } else {
            tokio::time::sleep(PAUSE).await;
        }
    }
    bar.finish();
    say!("");
    Ok(())
}

async fn put(client: &Client, batch: Vec<Sample>) -> Result<(), String> {
    let mut by_stream: std::collections::BTreeMap<Arc<str>, Vec<PutRecordsRequestEntry>> = Default::default();
    for sample in batch {
        let entry = PutRecordsRequestEntry::builder()
            .data(Blob::new(sample.data))
            .partition_key(sample.partition_key)
            .build()
            .map_err(|error| error.to_string())?;
        by_stream.entry(sample.stream).or_default().push(entry);
    }
    for (stream, entries) in by_stream {
        let answer = client.put_records().stream_name(&*stream).set_records(Some(entries)).send().await;
        let answer = answer.map_err(|error| {
            format!("PutRecords to {stream}: {}", aws_sdk_kinesis::error::DisplayErrorContext(error))
        })?;
        if let Some(failed) = answer.failed_record_count().filter(|failed| *failed > 0) {
            return Err(format!("{failed} records to {stream} were not settled; see the log above"));
        }
    }
    Ok(())
}

fn progress_line(metrics: &Metrics) -> String {
    let total = |settlement: &str| -> f64 {
        let is = |labels: &[(String, String)]| labels.iter().any(|(k, v)| k == "settlement" && v == settlement);
        metrics.counters("meshgate_records_total").iter().filter(|(labels, _)| is(labels)).map(|(_, n)| n).sum()
    };
    format!("forwarded {}  refused {}  dropped {}", total("forwarded"), total("quarantined"), total("dropped"))
}

fn print_outcome(metrics: &Metrics) {
    say!("What was refused or warned about, by rule:\n");
    let mut rows: Vec<RuleCount> = metrics
        .counters("meshgate_violations_total")
        .into_iter()
        .map(|(labels, count)| {
            let label = |name: &str| labels.iter().find(|(k, _)| k == name).map(|(_, v)| v.clone()).unwrap_or_default();
            RuleCount {
                count: count as u64,
                domain: label("domain"),
                contract: label("contract"),
                rule: label("rule"),
                kind: label("kind"),
                severity: label("severity"),
                mode: label("mode"),
            }
        })
        .collect();
    rows.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.cmp(b)));
    let _ = output::print(&rows, Format::Table, &mut std::io::stdout().lock());
}

/// What the demo tells of a dead letter.
#[derive(Deserialize)]
struct Letter {
    id: String,
    contract: String,
    violations: Vec<Reason>,
}

#[derive(Deserialize)]
struct Reason {
    rule: String,
    pointer: String,
    message: String,
}

/// The newest dead letter with the most reasons, as its owner would find it.
fn print_one_refused(config: &Config) {
    let newest = LetterFilter { limit: 200, ..LetterFilter::default() };
    let Ok(store) = Reader::open(&config.data) else { return };
    let letters =
        store.letters(&newest).unwrap_or_default().into_iter().filter_map(|summary| match store.letter(&summary.id) {
            Ok(LetterLookup::Found { body, .. }) => serde_json::from_str::<Letter>(&body).ok(),
            _ => None,
        });
    let Some(letter) = letters.max_by_key(|letter| letter.violations.len()) else { return };
    say!("\nOne of them, judged by {}, in the DLQ as {}:\n", letter.contract, letter.id);
    for Reason { rule, pointer, message } in &letter.violations {
        let [pointer, message] = [pointer, message].map(|text| output::printable(text));
        say!("  {rule:<24}{pointer:<24}{message}");
    }
}

/// `admin`: where the admin port is, while the gate keeps serving.
fn print_where_to_look(config: &Config, admin: Option<SocketAddr>) {
    let defaults = Config::default();
    let data = if config.data == defaults.data { String::new() } else { format!(" --data {}", config.data.display()) };
    // As it was called: under `cargo run` there is no `meshgate` on the PATH.
    let meshgate = std::env::args().next().unwrap_or_else(|| "meshgate".to_owned());
    let title = "Where to look next";
    let title = if std::io::stdout().is_terminal() { format!("\x1b[1m{title}\x1b[0m") } else { title.to_owned() };
    say!("\n{title}");
    say!("  the good events      {meshgate} tail orders-events{data}");
    say!("  the bad ones         {meshgate} dlq ls{data}");
    say!("  one, with reasons    {meshgate} dlq show ID{data}");
    match admin {
        Some(admin) => {
            let top = if admin == defaults.admin { String::new() } else { format!(" --admin {admin}") };
            say!("  how it stands        http://{admin}/ in a browser, or: {meshgate} top{top}");
            say!("  metrics              curl http://{admin}/metrics");
            say!("  contracts            curl http://{admin}/contracts");
            say!("  change a rule        edit {}/, then: curl -X POST http://{admin}/reload", config.rules);
        }
        None => say!("  a gate that stays    {meshgate} run --rules {}{data}", config.rules),
    }
}
