//! How many shards one process reads and gates, what that costs, and what memory it takes.
//!
//!     cargo bench --bench shards               the table
//!     cargo bench --bench shards -- behind     only the rows with this in their names
//!     cargo test --bench shards                a smoke run, for CI
//!
//! A real gate process polls a raw stream and forwards to a mesh stream, both canned, with leases in a file. Events are the order of
//! 0.9 KB that `rules/orders` accepts, each with an id of its own. *Pace* is what of a shard's 2 MB and 5 calls a second was read; what is
//! below 100 % was held back by the processors, which the far end shares (its part is told). Memory is the highest resident size.
//! `MESHGATE_BENCH_GATE` names another build's binary to measure instead.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use serde_json::json;

#[path = "ends/mod.rs"]
mod ends;
#[path = "ends/raw.rs"]
mod raw;
#[path = "../tests/support/upstream.rs"]
mod upstream;

use ends::Gate;
use raw::{RawStream, Traffic};

const HOUR: Duration = Duration::from_secs(3_600);
const WEEK: Duration = Duration::from_secs(7 * 24 * 3_600);

/// What is measured.
struct Mode {
    name: String,
    shards: u32,
    traffic: Traffic,
    mib_in_flight: u32,
    is_down: bool,
}

impl Mode {
    fn at_tip(shards: u32, rate: u64) -> Self {
        let name = match rate {
            0 => format!("{shards} shards at rest"),
            rate => format!("{shards} shards, {rate} records/s each"),
        };
        Self { name, shards, traffic: Traffic::Tip { rate }, mib_in_flight: 64, is_down: false }
    }

    fn behind(shards: u32, mib_in_flight: u32, lag: Duration, records: usize) -> Self {
        let hours = lag.as_secs() / 3_600;
        let name = format!("{shards} behind {hours} h, {records} a call, {mib_in_flight} MiB");
        Self { name, shards, traffic: Traffic::Behind { records, lag }, mib_in_flight, is_down: false }
    }

    fn down(self) -> Self {
        Self { name: format!("{}, mesh down", self.name), is_down: true, ..self }
    }
}

fn modes() -> Vec<Mode> {
    if ends::is_smoke() {
        return vec![Mode::at_tip(8, 100), Mode::behind(8, 16, HOUR, 500)];
    }
    let mut modes = vec![Mode::at_tip(64, 0), Mode::at_tip(256, 0), Mode::at_tip(64, 5)];
    for mib_in_flight in [16, 64, 256] {
        modes.extend([HOUR, WEEK].map(|lag| Mode::behind(64, mib_in_flight, lag, 1_000)));
    }
    // All that a call is asked to bring.
    modes.extend([16, 64].map(|mib_in_flight| Mode::behind(64, mib_in_flight, WEEK, 2_500)));
    modes.extend([16, 64, 256].map(|mib_in_flight| Mode::behind(64, mib_in_flight, WEEK, 1_000).down()));
    modes
}

fn main() {
    let filter = std::env::args().skip(1).find(|arg| !arg.starts_with("--")).unwrap_or_default();
    println!(
        "{:<44} {:>8} {:>9} {:>7} {:>6} {:>9} {:>7} {:>9} {:>8} {:>6}",
        "", "all held", "records/s", "MB/s", "pace", "CPU s/M", "cores", "far cores", "MiB", "stand"
    );
    let mut figures = Vec::new();
    for mode in modes().iter().filter(|mode| mode.name.contains(&filter)) {
        figures.push(measure(mode));
    }
    if !ends::is_smoke() {
        ends::keep("shards.json", &figures.into());
    }
}

fn measure(mode: &Mode) -> serde_json::Value {
    let stream = Arc::new(RawStream::new(mode.shards, mode.traffic));
    let runtime = tokio::runtime::Runtime::new().expect("threads");
    let asked = Arc::clone(&stream);
    let own = Arc::new(move |operation: &str, body: &_| asked.answer(operation, body));
    let upstream = runtime.block_on(upstream::Upstream::start_canned_beside(own));
    let config = format!(
        "backend: aws\naws: {{region: us-east-1, kinesis_endpoint: 'http://{0}', sqs_endpoint: 'http://{0}'}}\n\
         routes: [{{source: {1}, mesh: orders-events}}]\n\
         streams: [{{source: {1}, mib_in_flight: {2}, leases: {{backend: local, failover_seconds: {3}}}}}]\n",
        upstream.address,
        raw::STREAM,
        mode.mib_in_flight,
        if ends::is_smoke() { 2 } else { 10 },
    );
    stream.is_down.store(mode.is_down, Relaxed);
    let gate = Gate::with(&config);
    let started = Instant::now();
    while gate.metric("meshgate_shards_held") != [f64::from(mode.shards)] {
        assert!(started.elapsed() < Duration::from_secs(120), "{}: not all shards are read", mode.name);
        std::thread::sleep(Duration::from_millis(50));
    }
    let held = started.elapsed().as_secs_f64();
    let is_fed = !mode.is_down && !matches!(mode.traffic, Traffic::Tip { rate: 0 });
    while is_fed && stream.put.load(Relaxed) == 0 {
        assert!(started.elapsed() < Duration::from_secs(120), "{}: nothing comes through", mode.name);
        std::thread::sleep(Duration::from_millis(50));
    }
    let (before, after) = if ends::is_smoke() { (100, 300) } else { (3_000, 10_000) };
    std::thread::sleep(Duration::from_millis(before));
    let counts = || (stream.put.load(Relaxed), gate.process.cpu_seconds(), ends::cpu_seconds(std::process::id()));
    let (from, at) = (counts(), Instant::now());
    std::thread::sleep(Duration::from_millis(after));
    let (to, seconds) = (counts(), at.elapsed().as_secs_f64());
    let rate = (to.0 - from.0) as f64 / seconds;
    let (cores, far_cores) = ((to.1 - from.1) / seconds, (to.2 - from.2) / seconds);
    let mib = gate.process.mib("VmHWM");
    let standing = gate.metric("meshgate_shard_stalled_seconds").iter().filter(|seconds| **seconds > 0.0).count();
    let bytes = rate * stream.event_bytes() as f64;
    let pace = match mode.traffic {
        Traffic::Tip { .. } => None,
        Traffic::Behind { .. } => Some(bytes / (2e6 * f64::from(mode.shards))),
    };
    println!(
        "{:<44} {held:>7.1}s {rate:>9.0} {:>7.1} {:>6} {:>9} {cores:>7.3} {far_cores:>9.3} {mib:>8.1} {standing:>6}",
        mode.name,
        bytes / 1e6,
        pace.map_or_else(|| "-".to_owned(), |pace| format!("{:.0} %", pace * 100.0)),
        if rate > 0.0 { format!("{:.1}", cores / rate * 1e6) } else { "-".to_owned() },
    );
    json!({"name": mode.name, "held_s": held, "records_s": rate, "cores": cores, "far_cores": far_cores, "mib": mib, "standing": standing})
}
