//! Metrics under hostile input: whatever clients send, the number of series is what the rules and settings make it.

use std::collections::BTreeSet;

use serde_json::json;

use crate::harness::{Gate, GateOptions, Http, Kinesis, Put, bad_parcel, good_parcel};

/// What no series may name: it stands in everything that clients choose.
const MARK: &str = "hostile";

/// The series of the gate's own metrics: names and labels, without values.
fn series(gate: &Gate) -> BTreeSet<String> {
    let text = gate.admin("/metrics").text();
    let lines = text.lines().filter(|line| line.starts_with("meshgate_"));
    lines.filter_map(|line| line.rsplit_once(' ')).map(|(series, _)| series.to_owned()).collect()
}

/// A text that nobody has sent before.
fn fresh(number: usize) -> String {
    format!("{MARK}-{number}-\\\"{{}}\\n{}", "x".repeat(number % 50))
}

/// What a careless or malicious client may vary, each number differently: all that a record and a request hold.
fn send_hostile(gate: &Gate, kinesis: &mut Kinesis, number: usize) {
    let text = fresh(number);
    let events = [
        json!({"type": text, "data": {"recipient": "Ada", "weight": 1.0}}),
        json!({"type": "parcel.sent", "id": text, "data": {"recipient": text, "weight": -1}}),
        json!({"type": "parcel.sent", "data": {text.as_str(): 1, "weight": text}}),
        json!({"specversion": "1.0", "type": text, "source": text, "id": text, "domain": text, "contract": text}),
        json!([text]),
    ];
    let mut puts: Vec<Put> = events.iter().map(|event| Put::new(event.to_string(), &text)).collect();
    puts.push(Put::new(text.clone(), &text));
    let stream = format!("parcels-{MARK}-{number}");
    // Streams that the glob covers, until the store has as many as it may; and one that nothing covers.
    let _ = kinesis.put_records(&stream, &puts);
    let _ = kinesis.put_records(&format!("{MARK}-{number}"), &puts);
    let _ = kinesis.call(&format!("Hostile{number}"), &json!({"StreamName": stream}));
    let _ = kinesis.call_service(&format!("{MARK}_{number}"), MARK, "application/json", "PutRecord", &json!({}));

    let mut http = Http::connect(gate.listen).expect("a connection");
    let path = format!("/v1/streams/parcels-{MARK}-{number}/events?{MARK}={number}");
    let _ = http.send("POST", &path, &[("content-type", "application/json"), ("ce-type", MARK)], b"{\"a\":1}");
    for path in [format!("/{MARK}/{number}"), format!("/v1/judge/{MARK}-{number}/x"), format!("/v1/{MARK}{number}")] {
        let _ = http.send("POST", &path, &[("content-type", "application/json")], b"{}");
    }
    let method = format!("HOSTILE{}", number % 7);
    let _ = http.send(&method, "/v1/streams/parcels/events", &[], b"");
    let mut admin = Http::connect(gate.admin).expect("a connection");
    let _ = admin.send("POST", &format!("/breakers/{MARK}-{number}/x/close"), &[], b"");
}

#[test]
fn clients_make_no_series_however_they_try() {
    let gate = Gate::start(GateOptions { config: Some("local: {streams_max: 20}\n".into()), ..GateOptions::default() });
    let mut kinesis = gate.kinesis();
    let ordinary = [good_parcel("1"), bad_parcel("2"), "{".into(), "{}".into(), r#"{"type":"parcel.lost"}"#.into()];
    let ordinary: Vec<Put> = ordinary.into_iter().map(|event| Put::new(event, "key")).collect();
    kinesis.put_records("parcels", &ordinary).expect("an answer");
    // The first of each kind makes the series that there are; those after it, none.
    for number in 0..10 {
        send_hostile(&gate, &mut kinesis, number);
    }
    let before = series(&gate);
    for number in 10..300 {
        send_hostile(&gate, &mut kinesis, number);
    }
    let after = series(&gate);
    let new: Vec<_> = after.difference(&before).collect();
    assert!(new.is_empty(), "{new:#?}");
    let marked: Vec<_> = after.iter().filter(|series| series.to_lowercase().contains(MARK)).collect();
    assert!(marked.is_empty(), "{marked:?}");
    // It was judged, and counted: by what the rules call it.
    assert!(gate.metric("meshgate_events_total", &[r#"contract="unknown""#]) > 100.0);
    assert!(gate.metric("meshgate_violations_total", &[r#"rule="weight_is_positive""#]) > 10.0);
    assert!(gate.metric("meshgate_requests_total", &[r#"status="4xx""#]) > 300.0);
    assert!(after.len() < 400, "{} series for one contract", after.len());
}

#[test]
fn what_a_contract_counts_begins_at_zero_and_says_whose_it_is() {
    let gate = Gate::start(GateOptions::default());
    let text = gate.admin("/metrics").text();
    for line in [
        r#"meshgate_contract_info{contract="parcel.sent",domain="parcels",mode="enforce",owner="parcels",version="1.0.0"} 1"#,
        r#"meshgate_events_total{contract="parcel.sent",domain="parcels",verdict="forward"} 0"#,
        r#"meshgate_events_total{contract="parcel.sent",domain="parcels",verdict="quarantine"} 0"#,
        r#"meshgate_events_failing_total{contract="parcel.sent",dimension="accuracy",domain="parcels",severity="error"} 0"#,
        r#"meshgate_slo_target_ratio{contract="parcel.sent",domain="parcels"} 0.005"#,
        "meshgate_ready 1",
        "meshgate_records_in_flight_limit 20000",
        "meshgate_connections_limit 1024",
    ] {
        assert!(text.contains(&format!("{line}\n")), "{line}\n{text}");
    }
    // A shadow rule decides nothing, and so has no score.
    assert!(!text.contains(r#"severity="warning""#), "{text}");
    assert!(gate.metric("process_resident_memory_bytes", &[]) > 1e6);

    let twice = r#"{"type":"parcel.sent","data":{"recipient":"","weight":-1}}"#;
    let puts = [good_parcel("1"), bad_parcel("2"), twice.into()].map(|event| Put::new(event, "key"));
    gate.kinesis().put_records("parcels", &puts).expect("an answer");
    let failing = |dimension: &str| {
        gate.metric("meshgate_events_failing_total", &[&format!(r#"dimension="{dimension}""#), r#"severity="error""#])
    };
    assert_eq!((failing("accuracy"), failing("completeness"), failing("conformity")), (2.0, 1.0, 0.0));
    let last = gate.metric("meshgate_last_event_timestamp_seconds", &[r#"contract="parcel.sent""#]);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs_f64();
    assert!((now - last).abs() < 60.0, "{last} is not about {now}");
    crate::harness::wait_until("the queue was looked at", std::time::Duration::from_secs(20), || {
        (gate.metric("meshgate_dlq_letters", &[r#"queue="meshgate-dlq""#]) == 2.0).then_some(())
    });
}
