//! Traces: from a producer's request through the gate to what stands behind, and to a collector.

use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{
    Collector, Door, Emulator, Gate, GateOptions, Http, Put, Tool, bad_parcel, free_port, good_parcel, repository, run,
    tool, wait_until,
};

const MESH: &str = "parcels-mesh";
const QUEUE: &str = "meshgate-dlq";
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

fn far_end() -> Option<Emulator> {
    let aws = Emulator::ministack()?;
    aws.create_stream(MESH, 1);
    aws.create_queue(QUEUE);
    Some(aws)
}

/// A gate before these; `more` is what else its settings say.
fn gate(kinesis: &str, sqs: &str, more: &str, environment: &[(&str, &str)]) -> Gate {
    let config = format!(
        "backend: aws\n\
         aws: {{region: us-east-1, kinesis_endpoint: \"{kinesis}\", sqs_endpoint: \"{sqs}\", s3_endpoint: \"{sqs}\"}}\n\
         dlq: {QUEUE}\n\
         retry: {{attempts: 2, deadline_seconds: 8}}\n\
         routes:\n  - {{source: parcels-in, mesh: {MESH}}}\n{more}"
    );
    let credentials =
        [("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test"), ("AWS_EC2_METADATA_DISABLED", "true")];
    let environment = credentials.iter().chain(environment);
    let environment = environment.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Gate::start(GateOptions { config: Some(config), environment, ..GateOptions::default() })
}

fn traceparent(flags: &str) -> String {
    format!("00-{TRACE}-{PARENT}-{flags}")
}

/// Puts one event over HTTP, with these headers.
fn put_over_http(gate: &Gate, event: &str, headers: &[(&str, &str)]) -> u16 {
    let mut http = Http::connect(gate.listen).expect("the gate listens");
    let headers = [&[("content-type", "application/json")], headers].concat();
    http.send("POST", "/v1/streams/parcels-in/events", &headers, event.as_bytes()).expect("an answer").status
}

fn boto3(gate: &Gate, arguments: &[&str], environment: &[(&str, &str)]) -> Option<()> {
    let mut python = tool(Tool::Python)?;
    python.env("AWS_ENDPOINT_URL_KINESIS", gate.endpoint()).envs(environment.iter().copied());
    python.arg(repository().join("tests/clients/kinesis_traced.py")).arg("parcels-in").args(arguments);
    let output = run(&mut python);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(())
}

fn find<'a>(spans: &'a [Value], name: &str) -> &'a Value {
    spans.iter().find(|span| span["name"] == name).unwrap_or_else(|| panic!("no span {name:?} in {spans:#?}"))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}"))
}

/// What the members of a span are that do not differ from run to run.
fn attributes(span: &Value) -> Value {
    let mut attributes = span["attributes"].clone();
    attributes.as_object_mut().expect("a map").retain(|_, value| !value.is_null());
    attributes
}

/// The X-Ray headers of messages in these calls. The emulators take them and, of a batch, keep none.
fn trace_headers(heard: &str) -> Vec<String> {
    let calls = heard.split("AWSTraceHeader\":{\"DataType\":\"String\",\"StringValue\":\"").skip(1);
    calls.filter_map(|rest| rest.split('"').next()).map(str::to_owned).collect()
}

/// A producer's trace is seen behind the gate, by Kinesis, by SQS and S3, and by the collector.
fn goes_through(kinesis: &Emulator, sqs: &Emulator) -> Option<()> {
    let collector = Collector::start()?;
    let (to_kinesis, to_sqs) = (Door::with_an_ear(kinesis.address), Door::with_an_ear(sqs.address));
    sqs.create_bucket("letters");
    let settings = format!(
        "tracing: {{otlp: \"{}\", service_name: gate-of-orders}}\ndead_letters: {{s3: {{bucket: letters, archive: true}}}}\n",
        collector.endpoint()
    );
    let gate = gate(&to_kinesis.endpoint(), &to_sqs.endpoint(), &settings, &[]);
    boto3(&gate, &[&traceparent("01")], &[])?;

    let spans = collector.spans(|spans| spans.len() >= 4);
    assert_eq!(spans.len(), 4, "one for the request, one for each call: {spans:#?}");
    let request = find(&spans, "Kinesis/PutRecords");
    assert_eq!((&request["traceId"], &request["parentSpanId"]), (&json!(TRACE), &json!(PARENT)));
    assert_eq!((&request["kind"], &request["isParentRemote"]), (&json!("SERVER"), &json!(true)));
    assert_eq!((&request["traceState"], &request["error"]), (&json!("vendor=opaque"), &Value::Null));
    assert_eq!(request["resource"]["service.name"], "gate-of-orders");
    assert_eq!(
        attributes(request),
        json!({
            "rpc.system": "aws-api", "rpc.service": "Kinesis", "rpc.method": "PutRecords",
            "http.request.method": "POST", "http.response.status_code": 200,
            "messaging.system": "aws_kinesis", "messaging.operation.type": "process",
            "messaging.destination.name": "parcels-in", "messaging.batch.message_count": 2,
            "meshgate.bytes": 139, "meshgate.events.forwarded": 1, "meshgate.events.quarantined": 1,
            "meshgate.events.dropped": 0, "meshgate.events.unsettled": 0,
        })
    );
    for (name, kind, method, count, door) in [
        ("send parcels-mesh", "PRODUCER", "PutRecords", "messaging.batch.message_count", &to_kinesis),
        ("send meshgate-dlq", "PRODUCER", "SendMessageBatch", "messaging.batch.message_count", &to_sqs),
        ("S3/PutObject", "CLIENT", "PutObject", "meshgate.letters", &to_sqs),
    ] {
        let call = find(&spans, name);
        assert_eq!((&call["traceId"], &call["parentSpanId"]), (&request["traceId"], &request["spanId"]), "{name}");
        assert_eq!((&call["kind"], &call["attributes"]["rpc.method"]), (&json!(kind), &json!(method)));
        assert_eq!(call["attributes"][count], 1);
        let passed_on = format!("traceparent: 00-{TRACE}-{}-01\r\n", text(&call["spanId"]));
        let heard = door.heard();
        assert!(heard.contains(&passed_on) && heard.contains("tracestate: vendor=opaque\r\n"), "{heard}");
        assert!(!heard.contains(";traceparent"), "it is not signed: a proxy may rewrite it");
    }
    let [letter] = &sqs.take(QUEUE)[..] else { panic!("one letter") };
    let document: Value = serde_json::from_str(text(&letter["Body"])).expect("a document");
    assert_eq!(document["trace"], json!({"traceId": TRACE, "spanId": request["spanId"]}));
    let header = format!("Root=1-{}-{};Parent={};Sampled=1", &TRACE[..8], &TRACE[8..], text(&request["spanId"]));
    assert_eq!(trace_headers(&to_sqs.heard()), [header]);
    assert_eq!(gate.metric("meshgate_spans_total", &["outcome=\"exported\""]), 4.0);
    Some(())
}

#[test]
fn a_producers_trace_goes_through_to_kinesis_sqs_and_the_dead_letter() {
    let Some(aws) = far_end() else { return };
    goes_through(&aws, &aws);
}

#[test]
fn other_emulators_of_sqs_and_s3_take_what_is_traced_too() {
    let (Some(kinesis), Some(sqs)) = (far_end(), Emulator::fauxqs()) else { return };
    sqs.create_queue(QUEUE);
    goes_through(&kinesis, &sqs);
}

#[test]
fn without_a_collector_a_trace_is_passed_on_and_kept_with_the_letter() {
    let Some(aws) = far_end() else { return };
    let (to_kinesis, to_sqs) = (Door::with_an_ear(aws.address), Door::with_an_ear(aws.address));
    let gate = gate(&to_kinesis.endpoint(), &to_sqs.endpoint(), "", &[]);
    // What AWS's SDKs send in a Lambda function, by themselves.
    let xray = format!("Root=1-{}-{};Parent={PARENT};Sampled=1", &TRACE[..8], &TRACE[8..]);
    let lambda = [("AWS_LAMBDA_FUNCTION_NAME", "orders"), ("_X_AMZN_TRACE_ID", xray.as_str())];
    if boto3(&gate, &[], &lambda).is_none() {
        return;
    }
    let passed_on = format!("traceparent: {}\r\n", traceparent("01"));
    assert!(to_kinesis.heard().contains(&passed_on) && to_sqs.heard().contains(&passed_on));
    let [letter] = &aws.take(QUEUE)[..] else { panic!("one letter") };
    let document: Value = serde_json::from_str(text(&letter["Body"])).expect("a document");
    assert_eq!(document["trace"], json!({"traceId": TRACE, "spanId": PARENT}));
    assert_eq!(trace_headers(&to_sqs.heard()), [xray]);
    // And nothing is made up for who says nothing.
    assert_eq!(put_over_http(&gate, &bad_parcel("untraced"), &[]), 200);
    let [letter] = &aws.take(QUEUE)[..] else { panic!("one letter") };
    assert!(!text(&letter["Body"]).contains("\"trace\""), "{letter:#}");
    assert_eq!((trace_headers(&to_sqs.heard()).len(), to_sqs.heard().matches("traceparent").count()), (1, 1));
}

#[test]
fn what_is_not_sampled_is_not_exported_and_passed_on_as_it_came() {
    let (Some(aws), Some(collector)) = (far_end(), Collector::start()) else { return };
    let door = Door::with_an_ear(aws.address);
    // By OpenTelemetry's own variables.
    let endpoint = collector.endpoint();
    let sampler = ("OTEL_TRACES_SAMPLER", "parentbased_always_off");
    let gate = gate(&door.endpoint(), &aws.endpoint(), "", &[("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint), sampler]);
    assert_eq!(put_over_http(&gate, &good_parcel("1"), &[]), 200);
    assert_eq!(put_over_http(&gate, &good_parcel("2"), &[("traceparent", &traceparent("00"))]), 200);
    assert!(door.heard().contains(&format!("traceparent: {}\r\n", traceparent("00"))));
    assert_eq!(put_over_http(&gate, &good_parcel("3"), &[("traceparent", &traceparent("01"))]), 200);
    let spans = collector.spans(|spans| spans.len() >= 2);
    let request = find(&spans, "POST /v1/streams/{stream}/events");
    assert_eq!((spans.len(), &request["parentSpanId"]), (2, &json!(PARENT)));
    assert_eq!(find(&spans, "send parcels-mesh")["parentSpanId"], request["spanId"]);
    assert_eq!(request["resource"]["service.name"], "meshgate");
}

#[test]
fn requests_that_share_a_call_are_linked_from_it() {
    let (Some(aws), Some(collector)) = (far_end(), Collector::start()) else { return };
    let settings = format!("tracing: {{otlp: \"{}\"}}\n", collector.endpoint());
    let gate = gate(&aws.endpoint(), &aws.endpoint(), &settings, &[]);
    // So that the shards are known.
    assert_eq!(put_over_http(&gate, &good_parcel("first"), &[]), 200);
    aws.pause();
    let requests: Vec<_> = (0..12)
        .map(|n| {
            let address = gate.listen;
            thread::spawn(move || {
                let put = Put::new(good_parcel(&n.to_string()), "k");
                crate::harness::Kinesis::new(address).put_records("parcels-in", &[put]).expect("an answer")
            })
        })
        .collect();
    wait_until("all requests are under way", Duration::from_secs(5), || {
        (gate.metric("meshgate_records_in_flight", &[]) >= 12.0).then_some(())
    });
    thread::sleep(Duration::from_millis(50));
    aws.resume();
    for request in requests {
        let results = request.join().expect("no panic");
        assert!(results[0]["ErrorCode"].is_null(), "{results:?}");
    }
    let is_request = |span: &&Value| span["name"] == "Kinesis/PutRecords";
    let spans = collector.spans(|spans| spans.iter().filter(is_request).count() == 12);
    let requests: Vec<_> = spans.iter().filter(is_request).collect();
    let calls: Vec<_> = spans.iter().filter(|span| span["name"] == "send parcels-mesh").collect();
    let shared: Vec<_> = calls.iter().filter(|call| call["links"].as_array().is_some_and(|l| l.len() > 1)).collect();
    assert!(!shared.is_empty() && calls.len() < 13, "{calls:#?}");
    for call in shared {
        assert_eq!(call["parentSpanId"], "", "it is nobody's alone");
        let links = call["links"].as_array().expect("links");
        assert_eq!(call["attributes"]["messaging.batch.message_count"], json!(links.len()));
        for link in links {
            let is_it =
                |request: &&&Value| request["spanId"] == link["spanId"] && request["traceId"] == link["traceId"];
            assert_eq!(requests.iter().filter(is_it).count(), 1, "{link} of {requests:#?}");
        }
    }
}

#[test]
fn a_collector_that_is_away_holds_nobody_up_and_what_is_lost_is_counted() {
    let (Some(aws), Some(collector)) = (far_end(), Collector::start()) else { return };
    let nowhere = format!("http://127.0.0.1:{}", free_port());
    for (endpoint, status) in [(nowhere, 200), (collector.endpoint(), 503), (collector.endpoint(), 400)] {
        collector.answer_with(status);
        let mut gate = gate(&aws.endpoint(), &aws.endpoint(), &format!("tracing: {{otlp: \"{endpoint}\"}}\n"), &[]);
        let started = Instant::now();
        for n in 0..20 {
            assert_eq!(put_over_http(&gate, &good_parcel(&n.to_string()), &[]), 200);
        }
        assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
        wait_until("they have failed", Duration::from_secs(20), || {
            (gate.metric("meshgate_spans_total", &["outcome=\"failed\""]) >= 20.0).then_some(())
        });
        let is_told = |line: &String| line.contains("spans could not be exported") && line.contains(&endpoint);
        wait_until("it is told", Duration::from_secs(5), || gate.log().iter().any(is_told).then_some(()));
        // One that is still queued at the end does not hold up the end either.
        assert_eq!(put_over_http(&gate, &good_parcel("last"), &[]), 200);
        let started = Instant::now();
        gate.signal("TERM");
        assert!(gate.wait(Duration::from_secs(20)).success());
        assert!(started.elapsed() < Duration::from_secs(8), "{:?}", started.elapsed());
    }
    assert_eq!(collector.requests(), 0);
}

#[test]
fn what_is_queued_at_the_end_is_sent_and_the_log_names_the_trace_of_what_failed() {
    let (Some(aws), Some(collector)) = (far_end(), Collector::start()) else { return };
    let door = Door::to(aws.address);
    let settings = format!("tracing: {{otlp: \"{}/v1/traces\"}}\n", collector.endpoint());
    let mut gate = gate(&door.endpoint(), &aws.endpoint(), &settings, &[("MESHGATE_LOG", "info")]);
    assert_eq!(put_over_http(&gate, &good_parcel("1"), &[]), 200);
    door.shut();
    assert_eq!(put_over_http(&gate, &good_parcel("2"), &[("traceparent", &traceparent("01"))]), 503);
    let line = gate.log().into_iter().find(|line| line.contains("records could not be settled")).expect("it is told");
    let line: Value = serde_json::from_str(&line).expect("a line of JSON");
    assert_eq!(line["span"]["trace_id"], TRACE, "{line:#}");
    gate.signal("TERM");
    assert!(gate.wait(Duration::from_secs(20)).success());
    let spans = collector.spans(|spans| spans.len() >= 4);
    let failed = spans.iter().find(|span| span["traceId"] == TRACE && span["kind"] == "SERVER").expect("its span");
    assert_eq!(failed["attributes"]["meshgate.events.unsettled"], 1);
    assert_eq!(failed["error"], "answered with status 503");
    let calls = spans.iter().filter(|span| span["traceId"] == TRACE && span["kind"] == "PRODUCER");
    let errors: Vec<_> = calls.map(|call| text(&call["attributes"]["error.type"])).collect();
    assert_eq!(errors, ["unavailable", "unavailable"], "one for each attempt");
}

#[test]
fn a_batch_of_a_stream_that_is_read_is_one_span() {
    let Some(kinesis) = Emulator::kinesis_local("parcels-in:1,parcels-mesh:1") else { return };
    let (Some(aws), Some(collector)) = (far_end(), Collector::start()) else { return };
    let more = format!(
        "streams:\n  - {{source: parcels-in, leases: {{backend: local}}, start: trim_horizon}}\ntracing: {{otlp: \"{}\"}}\n",
        collector.endpoint()
    );
    let puts: Vec<Put> = (0..5).map(|n| Put::new(good_parcel(&n.to_string()), "k")).collect();
    let results = kinesis.kinesis().put_records("parcels-in", &puts).expect("an answer");
    assert!(results.iter().all(|result| result["ErrorCode"].is_null()), "{results:?}");
    let _gate = gate(&kinesis.endpoint(), &aws.endpoint(), &more, &[]);
    let forwarded = |spans: &[Value]| {
        let batches = spans.iter().filter(|span| span["name"] == "process parcels-in");
        batches.filter_map(|span| span["attributes"]["meshgate.events.forwarded"].as_u64()).sum::<u64>()
    };
    let spans = collector.spans(|spans| forwarded(spans) == 5);
    let batch = find(&spans, "process parcels-in");
    assert_eq!(
        (&batch["kind"], &batch["parentSpanId"], &batch["error"]),
        (&json!("CONSUMER"), &json!(""), &Value::Null)
    );
    assert_eq!(batch["attributes"]["aws.kinesis.shard_id"], "shardId-000000000000");
    assert_eq!(find(&spans, "send parcels-mesh")["traceId"], batch["traceId"]);
}

#[test]
fn the_letter_of_a_traced_request_is_shown_with_its_trace() {
    let gate = Gate::start(GateOptions::default());
    let mut http = Http::connect(gate.listen).expect("the gate listens");
    let parent = traceparent("00");
    let headers = [("content-type", "application/json"), ("traceparent", parent.as_str())];
    let answer = http.send("POST", "/v1/streams/parcels/events", &headers, bad_parcel("1").as_bytes()).unwrap().json();
    let id = text(&answer["outcomes"][0]["deadLetter"]).to_owned();
    let output = run(Command::args(&mut gate.command(&["dlq", "show"]), [id]));
    let shown: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {answer:#} {output:?}"));
    assert_eq!(shown["trace"], json!({"traceId": TRACE, "spanId": PARENT}));
}
