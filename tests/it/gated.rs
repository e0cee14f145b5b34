//! A stream that others write to, gated by a fleet: real shards (kinesis-local), real leases and a real queue (ministack), gates that are
//! killed while records come and shards are split and merged.
//!
//! `MESHGATE_FLEET_SECONDS=180` keeps the fleet test going for that long; the usual time is short, for CI.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use meshgate::decode::kpl::{self, Builder, UserRecord};
use serde_json::{Value, json};

use crate::harness::{Emulator, Gate, GateOptions, Kinesis, Put, bad_parcel, good_parcel, wait_until};

const RAW: &str = "parcels-raw";
const MESH: &str = "parcels-mesh";
const QUEUE: &str = "meshgate-dlq";
const TABLE: &str = "parcels-leases";

fn gate(kinesis: &Emulator, aws: &Emulator, stream: &str) -> Gate {
    let config = format!(
        "backend: aws\n\
         aws: {{region: us-east-1, kinesis_endpoint: \"{}\", sqs_endpoint: \"{1}\", dynamodb_endpoint: \"{1}\"}}\n\
         dlq: {QUEUE}\n\
         routes:\n  - {{source: {RAW}, mesh: {MESH}, ordering: key}}\n\
         streams:\n  - {{source: {RAW}, {stream}}}\n",
        kinesis.endpoint(),
        aws.endpoint(),
    );
    let credentials =
        [("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test"), ("AWS_EC2_METADATA_DISABLED", "true")];
    let environment = credentials.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    Gate::start(GateOptions { config: Some(config), environment, ..GateOptions::default() })
}

fn far_ends() -> Option<(Emulator, Emulator)> {
    let kinesis = Emulator::kinesis_local(&format!("{RAW}:2,{MESH}:2"))?;
    let aws = Emulator::ministack()?;
    aws.create_queue(QUEUE);
    Some((kinesis, aws))
}

/// What was put on the raw stream: the id of each event, and whether it is good.
type Written = BTreeMap<String, bool>;

fn event(number: usize) -> (String, String, bool) {
    let id = number.to_string();
    let is_good = !number.is_multiple_of(5);
    (id.clone(), if is_good { good_parcel(&id) } else { bad_parcel(&id) }, is_good)
}

/// Puts a batch: events, and in every third one a container of some that are of one key, and so of one shard.
fn put_batch(kinesis: &mut Kinesis, from: usize, put: &mut Written) {
    let mut records = Vec::new();
    let mut batch = Written::new();
    for number in from..from + 10 {
        let (id, text, is_good) = event(number);
        records.push(Put::new(text, &format!("key-{}", number % 7)));
        batch.insert(id, is_good);
    }
    if from.is_multiple_of(3) {
        let key = format!("aggregated-{}", from % 4);
        let events: Vec<(String, String, bool)> = (0..4).map(|at| event(from + 1_000_000 + at)).collect();
        let mut container = Builder::default();
        for (_, text, _) in &events {
            container.add(UserRecord { partition_key: &key, explicit_hash_key: None, data: text.as_bytes() });
        }
        records.push(Put::new(container.build(), &key));
        batch.extend(events.into_iter().map(|(id, _, is_good)| (id, is_good)));
    }
    // Again until it is taken, as a producer does: then an event may be on the raw stream twice.
    for _ in 0..50 {
        let taken = kinesis.put_records(RAW, &records);
        if taken.is_ok_and(|results| results.iter().all(|result| result["ErrorCode"].is_null())) {
            put.append(&mut batch);
            return;
        }
        thread::sleep(Duration::from_millis(200));
    }
    panic!("the raw stream takes no records");
}

/// How often each event is on the mesh stream, those of containers one by one.
fn on_mesh(kinesis: &Emulator) -> BTreeMap<String, u32> {
    let mut found = BTreeMap::new();
    let mut count = |data: &[u8]| {
        let event: Value = serde_json::from_slice(data).expect("an event");
        let id = event["id"].as_str().expect("an id").to_owned();
        assert_eq!(data, good_parcel(&id).as_bytes(), "byte for byte");
        *found.entry(id).or_default() += 1;
    };
    for record in kinesis.kinesis().read_all(MESH) {
        match kpl::parse(&record.data) {
            None => count(&record.data),
            Some(users) => users.expect("it can be taken apart").iter().for_each(|user| count(user.data)),
        }
    }
    found
}

fn in_queue(aws: &Emulator, found: &mut BTreeMap<String, u32>) {
    for letter in aws.messages(QUEUE) {
        let id = letter.body["payload"]["json"]["id"].as_str().expect("its event").to_owned();
        *found.entry(id).or_default() += 1;
    }
}

fn leases(aws: &Emulator) -> Vec<Value> {
    let answer = Kinesis::new(aws.address).call_service(
        "DynamoDB_20120810",
        "dynamodb",
        "application/x-amz-json-1.0",
        "Scan",
        &json!({"TableName": TABLE}),
    );
    answer.expect("Scan answers")["Items"].as_array().cloned().unwrap_or_default()
}

fn open_shards(kinesis: &mut Kinesis, stream: &str) -> Vec<Value> {
    let answer = kinesis.call("ListShards", &json!({"StreamName": stream})).expect("ListShards answers");
    let shards = answer["Shards"].as_array().cloned().unwrap_or_default();
    shards.into_iter().filter(|shard| shard["SequenceNumberRange"]["EndingSequenceNumber"].is_null()).collect()
}

fn range(shard: &Value) -> (u128, u128) {
    let bound = |name: &str| shard["HashKeyRange"][name].as_str().expect("a range").parse().expect("a decimal");
    (bound("StartingHashKey"), bound("EndingHashKey"))
}

/// Splits the widest shard of a stream, or, where it has four, merges its first two.
fn reshard(kinesis: &mut Kinesis, stream: &str) {
    let mut shards = open_shards(kinesis, stream);
    shards.sort_by_key(|shard| range(shard).0);
    let done = if shards.len() > 3 {
        let request = json!({"StreamName": stream, "ShardToMerge": shards[0]["ShardId"], "AdjacentShardToMerge": shards[1]["ShardId"]});
        kinesis.call("MergeShards", &request)
    } else {
        let widest = shards.iter().max_by_key(|shard| range(shard).1 - range(shard).0).expect("a shard");
        let (start, end) = range(widest);
        let middle = (start + (end - start) / 2).to_string();
        kinesis.call(
            "SplitShard",
            &json!({"StreamName": stream, "ShardToSplit": widest["ShardId"], "NewStartingHashKey": middle}),
        )
    };
    done.expect("the stream is resharded");
    kinesis.wait_active(stream);
}

#[test]
fn every_record_of_a_raw_stream_is_on_the_mesh_stream_or_in_the_queue_whatever_happens_to_gates_and_shards() {
    let Some((kinesis, aws)) = far_ends() else { return };
    let seconds = std::env::var("MESHGATE_FLEET_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(25);
    let started = Instant::now();
    let stop = Arc::new(AtomicBool::new(false));
    let producer = {
        let (address, stop) = (kinesis.address, Arc::clone(&stop));
        thread::spawn(move || {
            let (mut kinesis, mut put, mut number) = (Kinesis::new(address), Written::new(), 0);
            while !stop.load(Relaxed) {
                put_batch(&mut kinesis, number, &mut put);
                number += 10;
                thread::sleep(Duration::from_millis(60));
            }
            put
        })
    };
    let options =
        format!("leases: {{table: {TABLE}, failover_seconds: 2, handover_seconds: 4}}, poll_milliseconds: 200");
    let steady = gate(&kinesis, &aws, &options);
    let mut victim = gate(&kinesis, &aws, &options);
    let (mut kills, mut rounds) = (0, 0);
    while started.elapsed() < Duration::from_secs(seconds) {
        thread::sleep(Duration::from_millis(2_700));
        rounds += 1;
        if rounds % 3 == 0 {
            // Stopped in order, it hands its shards over.
            victim.signal("TERM");
            assert!(victim.wait(Duration::from_secs(30)).success(), "{:#?}", victim.log());
        } else {
            victim.signal("KILL");
            victim.wait(Duration::from_secs(5));
            kills += 1;
        }
        reshard(&mut kinesis.kinesis(), if rounds % 2 == 0 { RAW } else { MESH });
        victim = gate(&kinesis, &aws, &options);
    }
    stop.store(true, Relaxed);
    let put = producer.join().expect("the producer goes on to the end");

    let mut quarantined = BTreeMap::new();
    let settled = wait_until("all records are settled", Duration::from_secs(120), || {
        let mesh = on_mesh(&kinesis);
        in_queue(&aws, &mut quarantined);
        let is_there = |(id, is_good): (&String, &bool)| {
            if *is_good { mesh.contains_key(id) } else { quarantined.contains_key(id) }
        };
        put.iter().all(is_there).then_some(mesh)
    });
    let is_good = |id: &String| put[id];
    assert!(settled.keys().all(is_good), "no bad event is on the mesh stream");
    assert!(!quarantined.keys().any(is_good), "no good event is in the queue");
    // What was unsettled or not checkpointed when a gate was killed comes again: nothing else does.
    let repeated: u32 = settled.values().map(|times| times - 1).sum();
    println!(
        "{} events, {kills} kills, {rounds} reshardings in {seconds} s; {repeated} of {} good ones twice, {:.2} %",
        put.len(),
        settled.len(),
        f64::from(repeated) / settled.len() as f64 * 100.0
    );
    assert!(
        kills == 0 || f64::from(repeated) < put.len() as f64 * 0.5,
        "{repeated} repeated is more than kills explain"
    );

    // The closed shards are at their end, their children known; the open ones belong to gates that live.
    let open: BTreeSet<String> =
        open_shards(&mut kinesis.kinesis(), RAW).iter().map(|s| s["ShardId"].as_str().unwrap().to_owned()).collect();
    wait_until("the leases are as the shards", Duration::from_secs(30), || {
        let rows = leases(&aws);
        let is_right = |row: &Value| {
            let (key, checkpoint) = (row["leaseKey"]["S"].as_str().unwrap(), row["checkpoint"]["S"].as_str().unwrap());
            if open.contains(key) {
                checkpoint != "SHARD_END" && row["leaseOwner"]["S"].is_string()
            } else {
                checkpoint == "SHARD_END" && row["childShardIds"]["SS"].is_array()
            }
        };
        (rows.len() >= open.len() && rows.iter().all(is_right)).then_some(())
    });
    // A lease may just be on its way from one gate to the other, and is then held by neither.
    wait_until("each open shard is held by one gate", Duration::from_secs(30), || {
        let held = [&steady, &victim].map(|gate| gate.metric("meshgate_shards_held", &[]) as usize);
        (held[0] + held[1] == open.len() && held.iter().all(|&held| held > 0)).then_some(())
    });
    for gate in [&steady, &victim] {
        assert_eq!(gate.metric("meshgate_shard_stalled_seconds", &[]), 0.0);
    }
}

/// One gate needs no DynamoDB: its leases are in a file beside its store, and go on where it stopped.
#[test]
fn one_gate_keeps_its_leases_in_a_file_and_goes_on_from_there() {
    let Some((kinesis, aws)) = far_ends() else { return };
    let mut put = Written::new();
    put_batch(&mut kinesis.kinesis(), 0, &mut put);
    let data = crate::harness::temporary();
    let start = || {
        let config = format!(
            "backend: aws\n\
             aws: {{region: us-east-1, kinesis_endpoint: \"{}\", sqs_endpoint: \"{}\"}}\n\
             dlq: {QUEUE}\n\
             routes:\n  - {{source: {RAW}, mesh: {MESH}}}\n\
             streams:\n  - {{source: {RAW}, consumer: meshgate, leases: {{backend: local, failover_seconds: 2}}}}\n",
            kinesis.endpoint(),
            aws.endpoint(),
        );
        let credentials = [("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test")];
        let environment = credentials.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        let data = Some(data.path().join("meshgate.db"));
        Gate::start(GateOptions { config: Some(config), environment, data, ..GateOptions::default() })
    };
    let all_arrive = |put: &Written| {
        wait_until("all good events arrive", Duration::from_secs(30), || {
            let mesh = on_mesh(&kinesis);
            put.iter().filter(|(_, is_good)| **is_good).all(|(id, _)| mesh.contains_key(id)).then_some(mesh)
        })
    };
    let mut gate = start();
    all_arrive(&put);
    gate.signal("TERM");
    assert!(gate.wait(Duration::from_secs(30)).success());
    assert!(data.path().join("meshgate-parcels-raw.leases").exists());

    put_batch(&mut kinesis.kinesis(), 30, &mut put);
    let _gate = start();
    let mesh = all_arrive(&put);
    assert!(mesh.values().all(|times| *times == 1), "what was checkpointed does not come again: {mesh:?}");
}
