//! kill -9 under load: what was acknowledged is durable.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};
use serde_json::Value;

use crate::harness::{Gate, GateOptions, Kinesis, Put, bad_parcel, good_parcel};

const PRODUCERS: usize = 8;
const RECORDS: usize = 25;
const ROUNDS: usize = 3;

/// What one producer was told: the ids of acknowledged events, good and bad apart.
#[derive(Default)]
struct Acknowledged {
    good: BTreeSet<String>,
    bad: BTreeSet<String>,
}

/// Writes until the gate is gone. Never retries, so that each id is sent in one request only.
fn produce(address: SocketAddr, name: &str, stop: &AtomicBool, told: &Mutex<Acknowledged>) {
    let mut kinesis = Kinesis::new(address);
    for request in 0.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let ids: Vec<_> = (0..RECORDS).map(|i| format!("{name}-{request}-{i}")).collect();
        let parcel = |(i, id): (usize, &String)| match i % 5 {
            4 => Put::new(bad_parcel(id), id),
            _ => Put::new(good_parcel(id), id),
        };
        let puts: Vec<_> = ids.iter().enumerate().map(parcel).collect();
        let Ok(results) = kinesis.put_records("parcels", &puts) else { return };
        let mut told = told.lock().unwrap();
        for (i, (id, result)) in ids.into_iter().zip(results).enumerate() {
            if result["ErrorCode"].is_null() {
                let set = if i % 5 == 4 { &mut told.bad } else { &mut told.good };
                set.insert(id);
            }
        }
    }
}

/// One gate on the store, killed in the middle of the load.
fn round(data: PathBuf, round: usize, told: &Arc<Mutex<Acknowledged>>) {
    let gate = Gate::start(GateOptions { data: Some(data), ..GateOptions::default() });
    let before = told.lock().unwrap().good.len();
    let stop = Arc::new(AtomicBool::new(false));
    let producers: Vec<_> = (0..PRODUCERS)
        .map(|p| {
            let (address, stop, told) = (gate.listen, Arc::clone(&stop), Arc::clone(told));
            thread::spawn(move || produce(address, &format!("r{round}-p{p}"), &stop, &told))
        })
        .collect();
    thread::sleep(Duration::from_millis(700));
    gate.signal("KILL");
    stop.store(true, Ordering::Relaxed);
    for producer in producers {
        producer.join().expect("a producer ends with its connection");
    }
    let acknowledged = told.lock().unwrap().good.len() - before;
    assert!(acknowledged > PRODUCERS * RECORDS, "round {round} was no load: {acknowledged} records");
}

#[test]
fn every_acknowledged_record_survives_kill_9_and_none_is_there_twice() {
    let home = tempfile::tempdir().expect("a temporary directory");
    let data = home.path().join("meshgate.db");
    let told = Arc::new(Mutex::new(Acknowledged::default()));
    for number in 0..ROUNDS {
        round(data.clone(), number, &told);
    }

    let gate = Gate::start(GateOptions { data: Some(data), ..GateOptions::default() });
    let mut on_stream: BTreeMap<String, usize> = BTreeMap::new();
    for record in gate.kinesis().read_all("parcels") {
        let event: Value = serde_json::from_slice(&record.data).expect("only well-formed events are forwarded");
        assert_eq!(event["id"], record.key.as_str(), "the key of another record");
        assert_eq!(record.data, good_parcel(&record.key).into_bytes(), "byte for byte");
        *on_stream.entry(record.key).or_default() += 1;
    }
    let mut in_queue: BTreeMap<String, usize> = BTreeMap::new();
    for letter in dead_letters(&gate.data) {
        let key = letter["source"]["partitionKey"].as_str().expect("the key it was written under");
        assert_eq!(letter["payload"]["json"]["id"], key, "the key of another record");
        *in_queue.entry(key.to_owned()).or_default() += 1;
    }

    let told = told.lock().unwrap();
    println!("{} good and {} bad records were acknowledged", told.good.len(), told.bad.len());
    let lost = |told: &BTreeSet<String>, kept: &BTreeMap<String, usize>| -> Vec<String> {
        told.iter().filter(|id| !kept.contains_key(*id)).cloned().collect()
    };
    assert_eq!(lost(&told.good, &on_stream), [""; 0], "acknowledged, but not on the stream");
    assert_eq!(lost(&told.bad, &in_queue), [""; 0], "acknowledged, but not in the dead-letter queue");
    let twice = |kept: &BTreeMap<String, usize>| -> Vec<String> {
        kept.iter().filter(|(_, n)| **n > 1).map(|(id, _)| id.clone()).collect()
    };
    assert_eq!(twice(&on_stream), [""; 0], "twice on the stream");
    assert_eq!(twice(&in_queue), [""; 0], "twice in the dead-letter queue");
}

/// The DLQ documents in the store, read past the gate's own code.
fn dead_letters(store: &Path) -> Vec<Value> {
    let store = Connection::open_with_flags(store, OpenFlags::SQLITE_OPEN_READ_ONLY).expect("a readable store");
    let mut bodies = store.prepare("SELECT body FROM letters").expect("a table of letters");
    let bodies = bodies.query_map([], |row| row.get::<_, String>(0)).expect("bodies of letters");
    bodies.map(|body| serde_json::from_str(&body.expect("text")).expect("a JSON document")).collect()
}
