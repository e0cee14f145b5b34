//! A gate whose far ends are away: what it acknowledges is in its spool, whatever happens to it, and arrives.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::harness::{Door, Emulator, Gate, GateOptions, Http, Put, bad_parcel, good_parcel, temporary, wait_until};

const QUEUE: &str = "meshgate-dlq";
const PATIENCE: Duration = Duration::from_secs(60);

/// A gate on a store in `home`, whose far ends are behind the doors.
fn gate(home: &Path, mesh: &Door, queue: &Door, spool: &str) -> Gate {
    let config = format!(
        "backend: aws\n\
         aws: {{region: us-east-1, kinesis_endpoint: \"{}\", sqs_endpoint: \"{}\"}}\n\
         retry: {{attempts: 2, deadline_seconds: 1}}\n\
         {spool}\n\
         routes: [{{source: parcels-in, mesh: parcels-mesh, ordering: key}}]\n",
        mesh.endpoint(),
        queue.endpoint()
    );
    let environment =
        [("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test"), ("AWS_EC2_METADATA_DISABLED", "true")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()));
    let data = Some(home.join("meshgate.db"));
    Gate::start(GateOptions { config: Some(config), environment: environment.into(), data, ..GateOptions::default() })
}

fn far_ends() -> Option<(Emulator, Door, Door)> {
    let aws = Emulator::ministack()?;
    aws.create_stream("parcels-mesh", 1);
    aws.create_queue(QUEUE);
    let (mesh, queue) = (Door::to(aws.address), Door::to(aws.address));
    Some((aws, mesh, queue))
}

/// A request of good events and a bad one last; gives the ids of what was acknowledged, in their order.
fn write(gate: &Gate, request: usize) -> Vec<String> {
    let id = |i: usize| format!("{request:03}-{i:02}");
    let parcel = |i: usize| if i == 9 { bad_parcel(&id(i)) } else { good_parcel(&id(i)) };
    let puts: Vec<Put> = (0..10).map(|i| Put::new(parcel(i), "k")).collect();
    let results = gate.kinesis().put_records("parcels-in", &puts).expect("an answer");
    results.iter().enumerate().filter(|(_, result)| result["ErrorCode"].is_null()).map(|(i, _)| id(i)).collect()
}

fn id_of(event: &[u8]) -> String {
    let event: Value = serde_json::from_slice(event).expect("an event");
    event["id"].as_str().expect("an id").to_owned()
}

fn wait_until_empty(gate: &Gate) {
    wait_until("the spool drains", PATIENCE, || {
        let held = gate.admin("/spool").json();
        held["spool"]["lanes"].as_array().is_some_and(Vec::is_empty).then_some(())
    });
}

#[test]
fn what_is_acknowledged_while_the_far_ends_are_away_arrives_in_order_whatever_dies() {
    let Some((aws, mesh, queue)) = far_ends() else { return };
    let home = temporary();
    let mut running = gate(home.path(), &mesh, &queue, "spool: {size_mib: 8}");
    let mut told = write(&running, 0);
    assert_eq!(told.len(), 10);
    mesh.shut();
    queue.shut();
    for round in 1..4 {
        for request in 0..5 {
            let acknowledged = write(&running, round * 10 + request);
            assert_eq!(acknowledged.len(), 10, "all of it is durable here: {acknowledged:?}");
            told.extend(acknowledged);
        }
        running.signal("KILL");
        let _ = running.wait(PATIENCE);
        running = gate(home.path(), &mesh, &queue, "spool: {size_mib: 8}");
    }
    let held = running.admin("/spool").json();
    let lanes = held["spool"]["lanes"].as_array().expect("lanes");
    let entries = |sink: &str| lanes.iter().find(|lane| lane["sink"] == sink).map(|lane| lane["entries"].to_string());
    assert_eq!((entries("mesh").as_deref(), entries("dlq").as_deref()), (Some("135"), Some("15")), "{held}");
    wait_until("the metrics tell", PATIENCE, || {
        (running.metric("meshgate_spool_entries", &[r#"sink="mesh""#]) == 135.0).then_some(())
    });
    assert!(running.metric("meshgate_spool_oldest_seconds", &[r#"sink="mesh""#]) > 0.0);
    let limit = running.metric("meshgate_spool_bytes", &[r#"bound="limit""#]);
    assert_eq!(limit, f64::from(8 << 20));

    // One comes back before the other, and the gate dies on the way once more.
    queue.open();
    wait_until("the letters drain", PATIENCE, || {
        (running.metric("meshgate_spool_entries", &[r#"sink="dlq""#]) == 0.0).then_some(())
    });
    mesh.open();
    running.signal("KILL");
    let _ = running.wait(PATIENCE);
    running = gate(home.path(), &mesh, &queue, "spool: {size_mib: 8}");
    told.extend(write(&running, 50));
    wait_until_empty(&running);
    told.extend(write(&running, 60));

    let (bad, good): (Vec<_>, Vec<_>) = told.into_iter().partition(|id| id.ends_with("-09"));
    let mut seen = BTreeSet::new();
    let arrived: Vec<String> =
        aws.kinesis().read_all("parcels-mesh").iter().map(|record| id_of(&record.data)).collect();
    let once: Vec<String> = arrived.iter().filter(|id| seen.insert((*id).clone())).cloned().collect();
    assert_eq!(once, good, "each is there, in order");
    let letters: BTreeSet<String> = aws
        .messages(QUEUE)
        .iter()
        .map(|letter| letter.body.to_string())
        .flat_map(|body| bad.iter().filter(move |id| body.contains(id.as_str())).cloned().collect::<Vec<_>>())
        .collect();
    assert_eq!(letters, bad.into_iter().collect());
}

#[test]
fn a_full_spool_refuses_what_comes_and_loses_nothing_and_a_drained_gate_tells_what_is_left() {
    let Some((aws, mesh, queue)) = far_ends() else { return };
    mesh.shut();
    let home = temporary();
    let mut running = gate(home.path(), &mesh, &queue, "spool: {size_mib: 1}");
    let large = |id: usize| {
        let text = good_parcel(&format!("{id:03}")).replace("Ada", &"x".repeat(60_000));
        vec![Put::new(text, "k")]
    };
    let mut kinesis = running.kinesis();
    let mut acknowledged = Vec::new();
    let refused = (0..100).find_map(|id| {
        let results = kinesis.put_records("parcels-in", &large(id)).expect("an answer");
        match results[0]["ErrorCode"].as_str() {
            None => acknowledged.push(format!("{id:03}")),
            Some(_) => return Some(results[0].clone()),
        }
        None
    });
    let refused = refused.expect("a MiB is full at some time");
    // The words of Kinesis for what is to be sent again.
    assert_eq!(refused["ErrorCode"], "InternalFailure", "{refused}");
    assert!(refused["ErrorMessage"].as_str().is_some_and(|told| told.contains("spool is full")), "{refused}");
    assert!(acknowledged.len() > 5, "{acknowledged:?}");
    assert!(running.metric("meshgate_spool_refused_total", &[r#"reason="full""#]) > 0.0);

    running.signal("TERM");
    assert_eq!(running.wait(PATIENCE).code(), Some(0));
    let told = format!("\"entries\":{}", acknowledged.len());
    assert!(
        running.log().iter().any(|line| line.contains("the spool is not empty") && line.contains(&told)),
        "{:?}",
        running.log()
    );
    mesh.open();
    // Somebody takes the setting away too early.
    let forgetful = gate(home.path(), &mesh, &queue, "");
    let is_told = |line: &String| line.contains("nobody delivers them") && line.contains(&told);
    assert!(forgetful.log().iter().any(is_told), "{:?}", forgetful.log());
    drop(forgetful);
    let running = gate(home.path(), &mesh, &queue, "spool: {size_mib: 1}");
    wait_until_empty(&running);
    let arrived: Vec<String> =
        aws.kinesis().read_all("parcels-mesh").iter().map(|record| id_of(&record.data)).collect();
    assert_eq!(arrived, acknowledged);
}

#[test]
fn a_gate_without_a_spool_says_how_to_set_one_up() {
    let gate = Gate::start(GateOptions::default());
    let told = gate.admin("/spool").json();
    assert!(told["spool"].is_null() && told["hint"].as_str().is_some_and(|hint| hint.contains("size_mib")), "{told}");
    let retry = Http::connect(gate.admin).and_then(|mut admin| admin.send("POST", "/spool/retry", &[], b""));
    assert_eq!(retry.expect("an answer").status, 404);
}
