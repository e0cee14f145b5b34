//! What the gate takes before it does anything, and while it does much: memory, time to be ready, size.
//!
//!     cargo bench --bench footprint   the table, and target/bench/footprint.json
//!     cargo test --bench footprint    a smoke run, for CI
//!
//! Resident memory is what /proc says of the process, file pages of its own binary included. Load is PutRecords with 500
//! records of 0.9 KB on 16 connections, before a canned upstream and on the gate's own store.

use std::time::{Duration, Instant};

use serde_json::json;

#[path = "ends/mod.rs"]
mod ends;
#[path = "../tests/support/upstream.rs"]
mod upstream;

use ends::{Client, Gate, Process};

const CONNECTIONS: usize = 16;

/// Starts of which the fastest counts: the others met a busy machine.
const STARTS: usize = 15;

fn main() {
    let smoke = ends::is_smoke();
    let load = if smoke { Duration::from_millis(300) } else { Duration::from_secs(8) };
    let runtime = tokio::runtime::Runtime::new().expect("threads");
    let canned = runtime.block_on(upstream::Upstream::start_canned(Duration::ZERO));
    let binary = std::fs::metadata(Gate::binary()).expect("the gate's binary").len() as f64 / (1 << 20) as f64;

    println!("{:<44} {:>14} {:>14} {:>10}", "", "aws backend", "own store", "target");
    let backends = [Some(canned.address), None];
    let ready = backends.map(|upstream| {
        let starts = (0..if smoke { 1 } else { STARTS }).map(|_| Gate::start(upstream).ready_after);
        starts.min().expect("a start").as_secs_f64() * 1e3
    });
    row("ready after, ms", ready, "50");
    let gates = backends.map(Gate::start);
    std::thread::sleep(load.min(Duration::from_secs(2)));
    let sizes = |name: &'static str| [0, 1].map(|at| gates[at].process.mib(name));
    let idle = sizes("VmRSS");
    row("idle, resident, MiB", idle, "15");
    row("  of it the process's own (heap, stacks)", sizes("RssAnon"), "");
    row("  of it pages of the binary and libraries", sizes("RssFile"), "");
    let peaks = [0, 1].map(|at| under_load(&gates[at], load));
    row("under load, highest resident, MiB", peaks, "64");
    println!("{:<44} {binary:>14.1} {:>14} {:>10}", "binary, stripped, MiB", "", "25");
    if !smoke {
        let figures = json!({"ready_ms": ready, "idle_mib": idle, "under_load_mib": peaks, "binary_mib": binary});
        ends::keep("footprint.json", &figures);
    }
}

fn row(name: &str, values: [f64; 2], target: &str) {
    println!("{name:<44} {:>14.1} {:>14.1} {target:>10}", values[0], values[1]);
}

/// The highest resident size seen while the gate is kept busy.
fn under_load(gate: &Gate, time: Duration) -> f64 {
    let (request, started) = (ends::request(500), Instant::now());
    let peak = |process: &Process| process.mib("VmHWM");
    std::thread::scope(|scope| {
        for _ in 0..CONNECTIONS {
            scope.spawn(|| {
                let mut client = Client::connect(gate.listen);
                while started.elapsed() < time {
                    client.ask(&request);
                }
            });
        }
    });
    peak(&gate.process)
}
