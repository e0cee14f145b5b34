//! Judging alone, beside what others need for the same events, in one run.
//!
//!     cargo bench --bench judge   the tables, and target/bench/judge.json
//!     cargo test --bench judge    each once, for CI
//!
//! * **Schemas**: the single-pass plan over an event's bytes (strict JSON, duplicate keys, every keyword) beside serde_json
//!   with the `jsonschema` crate's `is_valid`, and beside parsing alone by serde_json and by sonic-rs.
//! * **Rules**: `gate::judge`, all that happens to a record between its arrival and its verdict, on a schema and five rules
//!   (`benches/rules`), beside serde_json, `jsonschema` and `cel` as an expert would write it and as everyone does. Then the
//!   same event with something wrong: refusing tells reasons, and a storm of bad events is when the gate is needed.
//!
//! The others are a program of their own, `benches/peers`: built together with Meshgate they would get its features of
//! serde_json, which slow them down. Contenders take turns in slices of milliseconds; what is printed is the median slice,
//! and the median of the ratios within a round. Absolute times drift with the machine, ratios hardly.

mod orders;
mod peers;
mod rounds;
mod sets;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::Duration;

use meshgate::decode;
use meshgate::plan::{Outcome, Plan};
use meshgate::rule::capture::{Captures, Reads};
use meshgate::rule::pointer::Pointer;
use serde_json::{Value, json};

use crate::peers::Peers;
use crate::rounds::{Rounds, average, geometric_mean};
use crate::sets::Set;

fn main() {
    // `cargo bench` says so; whoever else runs this wants to know that it works, not how fast it is.
    let smoke = std::env::args().all(|arg| arg != "--bench");
    let rounds = if smoke {
        Rounds { slice: Duration::from_micros(1), count: 1 }
    } else {
        Rounds { slice: Duration::from_millis(1), count: 201 }
    };
    let sets = sets::all();
    let mut peers = Peers::start(&sets, smoke);
    let schemas = schemas(&sets, &mut peers, rounds);
    let rules = orders::report(&mut peers, rounds);
    if !smoke {
        let path = sets::benches().join("../target/bench/judge.json");
        std::fs::create_dir_all(path.parent().expect("a directory")).expect("a directory");
        std::fs::write(&path, json!({"schemas": schemas, "rules": rules}).to_string()).expect("a file");
        println!("\nwritten to target/bench/judge.json");
    }
}

/// Prints the table of sets, and gives it back.
fn schemas(sets: &[Set], peers: &mut Peers, rounds: Rounds) -> Value {
    println!("\nschema only, ns per event");
    println!(
        "{:<26} {:>6} {:>7} {:>9} {:>21} {:>18} {:>18}",
        "set", "events", "bytes", "meshgate", "serde_json+jsonschema", "sonic-rs parse", "serde_json parse"
    );
    let (mut rows, mut factors) = (Vec::new(), Vec::new());
    for set in sets {
        let slices = schema(set, peers, rounds);
        let bytes = set.events.iter().map(Vec::len).sum::<usize>() / set.events.len();
        let ours = slices.median(0);
        let beside = |other: usize| (slices.median(other), slices.ratio(other, 0));
        let [baseline, sonic, serde] = [1, 2, 3].map(beside);
        println!(
            "{:<26} {:>6} {bytes:>7} {ours:>9.0} {:>13.0} {:>6.2}x {:>10.0} {:>6.2}x {:>10.0} {:>6.2}x",
            set.name,
            set.events.len(),
            baseline.0,
            baseline.1,
            sonic.0,
            sonic.1,
            serde.0,
            serde.1
        );
        factors.push(baseline.1);
        rows.push(json!({
            "set": set.name, "events": set.events.len(), "bytes": bytes, "formats": set.formats, "meshgate_ns": ours,
            "jsonschema_ns": baseline.0, "jsonschema_factor": baseline.1, "sonic_rs_ns": sonic.0, "sonic_rs_factor": sonic.1,
            "serde_json_ns": serde.0, "serde_json_factor": serde.1,
        }));
    }
    let (mean, worst) = (geometric_mean(&factors), factors.iter().copied().fold(f64::INFINITY, f64::min));
    println!("over serde_json + jsonschema: geometric mean {mean:.2} (target 6), worst {worst:.2} (target 3.5)");
    json!({"sets": rows, "geometric_mean": mean, "worst": worst})
}

fn schema(set: &Set, peers: &mut Peers, rounds: Rounds) -> rounds::Slices {
    let payload = Pointer::parse(set.payload).expect("a pointer");
    let plan = Plan::compile(&set.schema, "bench.json", &BTreeMap::new(), set.formats, &payload, Reads::default());
    let captures = RefCell::new(Captures::default());
    let passes = |event: &[u8]| {
        let text = decode::json::text(black_box(event)).expect("UTF-8");
        matches!(plan.judge(text, &mut captures.borrow_mut(), 1), Outcome::Passes(_))
    };
    let undecided = set.events.iter().filter(|event| !passes(event)).count();
    if undecided > 0 {
        println!("{}: the plan leaves {undecided} of {} events to the jsonschema crate", set.name, set.events.len());
    }
    let peers = RefCell::new(peers);
    let ask = |contender| -> Box<dyn FnMut(Duration) -> f64 + '_> {
        let peers = &peers;
        Box::new(move |time| peers.borrow_mut().time(&set.name, contender, time))
    };
    let ours = |time| {
        average(time, set.events.len(), || {
            for event in &set.events {
                black_box(passes(event));
            }
        })
    };
    rounds.run(&mut [Box::new(ours), ask("jsonschema"), ask("sonic-rs"), ask("serde_json")])
}
