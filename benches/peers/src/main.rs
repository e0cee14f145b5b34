//! What judging an event costs others: the contenders of `benches/judge`, each as its users would write it.
//!
//!     meshgate-bench-peers DIRECTORY
//!
//! The directory has one directory per set: `schema.json`, `events.ndjson` and `set.json` (see [`set::Set`]). The program
//! checks that each event holds, says `ready`, and then answers each line `SET CONTENDER MICROSECONDS` of its standard
//! input with the nanoseconds one event took, on average over that time. The bench asks in small slices and measures its own
//! between them, so that noise of the machine hits all alike.

mod expert;
mod lazy;
mod set;

use std::hint::black_box;
use std::io::{BufRead, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::set::Set;

fn main() {
    let directory = std::env::args().nth(1).expect("the directory of sets");
    let sets = set::read(Path::new(&directory));
    for set in &sets {
        set.check();
    }
    println!("ready");
    for line in std::io::stdin().lock().lines() {
        let line = line.expect("text");
        let words: Vec<&str> = line.split(' ').collect();
        let [name, contender, microseconds] = words[..] else { panic!("{line:?} is no request") };
        let set = sets.iter().find(|set| set.name == name).expect("a set");
        let time = Duration::from_micros(microseconds.parse().expect("a number"));
        println!("{}", nanoseconds(set, contender, time));
        std::io::stdout().flush().expect("a reader");
    }
}

/// How long one event takes, on average over at least `time`.
fn nanoseconds(set: &Set, contender: &str, time: Duration) -> f64 {
    match contender {
        "jsonschema" => set.average(time, |event| set.is_valid(event)),
        "serde_json" => {
            set.average(time, |event| black_box(serde_json::from_slice::<serde_json::Value>(event)).is_ok())
        }
        "sonic-rs" => set.average(time, |event| black_box(sonic_rs::from_slice::<sonic_rs::Value>(event)).is_ok()),
        "expert" => set.average(time, |event| expert::judge(set, event)),
        "usual" => set.average(time, |event| expert::judge_as_usual(set, event)),
        other => panic!("{other:?} is no contender"),
    }
}

impl Set {
    fn average(&self, time: Duration, judge: impl Fn(&[u8]) -> bool) -> f64 {
        let started = Instant::now();
        let mut events = 0;
        loop {
            for event in &self.events {
                assert!(judge(black_box(event)), "every event of a set is good");
            }
            events += self.events.len();
            let elapsed = started.elapsed();
            if elapsed >= time {
                return elapsed.as_nanos() as f64 / events as f64;
            }
        }
    }

    /// Panics unless all contenders find all events good.
    fn check(&self) {
        for event in &self.events {
            let told = || format!("{}: {}", self.name, String::from_utf8_lossy(event));
            assert!(self.is_valid(event), "{}", told());
            assert!(sonic_rs::from_slice::<sonic_rs::Value>(event).is_ok(), "{}", told());
            assert!(expert::judge(self, event) && expert::judge_as_usual(self, event), "{}", told());
        }
    }
}
