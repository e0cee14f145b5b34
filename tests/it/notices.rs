//! People are told of quarantine: by SNS as an emulator gives it, by the log without AWS, and never at a record's cost.

use std::io::Read;
use std::net::TcpListener;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{Emulator, Gate, GateOptions, Put, QueueMessage, bad_parcel, free_port, good_parcel, wait_until};

const QUEUE: &str = "meshgate-dlq";
const TOLD: &str = "told";

fn gate(aws: &Emulator, sns: &str, notices: &str) -> Gate {
    let endpoint = aws.endpoint();
    let config = format!(
        "backend: aws\n\
         aws: {{region: us-east-1, kinesis_endpoint: '{endpoint}', sqs_endpoint: '{endpoint}', sns_endpoint: '{sns}'}}\n\
         routes: [{{source: parcels-in, mesh: parcels-mesh}}]\n\
         notices: {notices}\n"
    );
    let environment =
        [("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test"), ("AWS_EC2_METADATA_DISABLED", "true")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()));
    Gate::start(GateOptions { config: Some(config), environment: environment.into(), ..GateOptions::default() })
}

fn ministack() -> Option<Emulator> {
    let aws = Emulator::ministack()?;
    aws.create_stream("parcels-mesh", 1);
    aws.create_queue(QUEUE);
    Some(aws)
}

/// So many bad events and a good one, all of which are settled, and soon.
fn put(gate: &Gate, bad: usize) {
    let stream =
        if gate.log().iter().any(|line| line.contains("\"backend\":\"aws\"")) { "parcels-in" } else { "parcels" };
    let mut puts: Vec<Put> = (0..bad).map(|i| Put::new(bad_parcel(&i.to_string()), "k")).collect();
    puts.push(Put::new(good_parcel("good"), "k"));
    let started = Instant::now();
    let results = gate.kinesis().put_records(stream, &puts).expect("an answer");
    assert!(results.iter().all(|result| result["ErrorCode"].is_null()), "{results:?}");
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
}

/// What the log told of quarantine, in its order.
fn logged(gate: &Gate) -> Vec<Value> {
    let fields = |line: &String| serde_json::from_str::<Value>(line).ok().map(|line| line["fields"].clone());
    let is_notice = |fields: &Value| fields["message"].as_str().is_some_and(|text| text.starts_with("quarantine "));
    gate.log().iter().filter_map(fields).filter(is_notice).collect()
}

fn sent(gate: &Gate, event: &str, outcome: &str) -> f64 {
    let labels = [format!("event=\"{event}\""), format!("outcome=\"{outcome}\""), "domain=\"parcels\"".to_owned()];
    gate.metric("meshgate_notices_total", &labels.each_ref().map(String::as_str))
}

/// Waits until notices are in the queue, none of which was seen before.
fn told(aws: &Emulator, queue: &str) -> QueueMessage {
    wait_until("a notice", Duration::from_secs(20), || {
        let mut messages = aws.messages(queue);
        assert!(messages.len() <= 1, "{messages:?}");
        messages.pop()
    })
}

#[test]
fn a_topic_is_told_when_quarantine_starts_exceeds_and_ends() {
    let Some(aws) = ministack() else { return };
    aws.create_queue(TOLD);
    let topic = aws.create_topic("quality", TOLD, &json!({"domain": ["parcels"]}));
    let terms = "exceeds: {per_minute: 3}, quiet_seconds: 4, at_most_every_seconds: 1";
    let gate = gate(&aws, &aws.endpoint(), &format!("{{topic: '{topic}', {terms}}}"));
    put(&gate, 0);
    put(&gate, 2);
    let started = told(&aws, TOLD);
    assert_eq!(started.attribute("domain"), Some("parcels"));
    assert_eq!(started.attribute("event"), Some("started"));
    let body = &started.body;
    assert_eq!(body["schema"], "meshgate.notice/v1");
    assert_eq!((&body["domain"], &body["contract"]), (&json!("parcels"), &json!("parcel.sent")));
    assert_eq!(body["owner"], json!({"team": "parcels", "contact": "#parcels"}));
    let rules = json!([{"contract": "parcel.sent", "rule": "weight_is_positive", "kind": "rule", "events": 2}]);
    assert_eq!((&body["rules"], &body["quarantined"], &body["judged"]), (&rules, &json!(2), &json!(3)));
    assert_eq!(body["command"], "meshgate dlq ls --domain parcels --rule weight_is_positive");
    assert!(body["revision"].as_str().is_some_and(|revision| !revision.is_empty()), "{body}");
    let name = body["gate"].as_str().expect("the gate's name");
    assert!(body["id"].as_str().is_some_and(|id| id.starts_with(name) && id.len() > name.len()), "{body}");

    put(&gate, 5);
    let exceeded = told(&aws, TOLD);
    assert_eq!(exceeded.attribute("event"), Some("exceeded"));
    assert_eq!((&exceeded.body["quarantined"], &exceeded.body["peakPerMinute"]), (&json!(7), &json!(7)));
    assert_eq!(exceeded.body["since"], body["since"]);
    assert_ne!(exceeded.body["id"], body["id"]);

    put(&gate, 0);
    let ended = told(&aws, TOLD);
    assert_eq!(ended.attribute("event"), Some("ended"));
    assert_eq!((&ended.body["quarantined"], &ended.body["judged"]), (&json!(7), &json!(10)));
    for notice in [&started, &exceeded, &ended] {
        assert!(!notice.body.to_string().contains("Ada"), "no value of an event: {notice:?}");
    }
    wait_until("the count", Duration::from_secs(5), || (sent(&gate, "ended", "sent") == 1.0).then_some(()));
    let messages: Vec<_> = logged(&gate).iter().map(|fields| fields["message"].to_string()).collect();
    assert_eq!(messages.len(), 3, "{messages:?}");
}

#[test]
fn a_domain_has_a_topic_of_its_own_which_may_be_ordered() {
    let Some(aws) = ministack() else { return };
    aws.create_queue("told.fifo");
    let topic = aws.create_topic("quality.fifo", "told.fifo", &json!({"event": ["started", "exceeded"]}));
    // The one for all others is not there.
    let other = "arn:aws:sns:us-east-1:000000000000:missing";
    let gate = gate(&aws, &aws.endpoint(), &format!("{{topic: '{other}', domains: {{parcels: '{topic}'}}}}"));
    put(&gate, 30);
    let notice = told(&aws, "told.fifo");
    assert_eq!((notice.attribute("event"), &notice.body["quarantined"]), (Some("exceeded"), &json!(30)));
    wait_until("the count", Duration::from_secs(5), || (sent(&gate, "exceeded", "sent") == 1.0).then_some(()));
}

#[test]
fn with_sns_down_records_are_settled_as_ever_and_what_was_not_sent_is_counted() {
    let Some(aws) = ministack() else { return };
    let dead = format!("http://127.0.0.1:{}", free_port());
    let gate = gate(&aws, &dead, "{topic: 'arn:aws:sns:us-east-1:000000000000:quality'}");
    put(&gate, 3);
    wait_until("given up", Duration::from_secs(30), || (sent(&gate, "started", "failed") == 1.0).then_some(()));
    put(&gate, 3);
    assert_eq!(aws.messages(QUEUE).len(), 6);
    assert_eq!(aws.kinesis().read_all("parcels-mesh").len(), 2);
    let said = gate.log().join("\n");
    assert!(said.contains("a notice was not sent") && said.contains("quality"), "{said}");
    assert_eq!(logged(&gate).len(), 1, "the log has it all the same");
}

#[test]
fn an_sns_that_hangs_holds_up_neither_records_nor_the_end() {
    let Some(aws) = ministack() else { return };
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = silent.local_addr().expect("an address");
    let (told, asked) = mpsc::channel();
    thread::spawn(move || {
        let (mut client, _) = silent.accept().expect("a client");
        let mut head = [0; 4096];
        let length = client.read(&mut head).expect("a request");
        let _ = told.send(String::from_utf8_lossy(&head[..length]).into_owned());
        // Until the other side has enough of it.
        let _ = client.read_to_end(&mut Vec::new());
    });
    let mut gate = gate(&aws, &format!("http://{address}"), "{topic: 'arn:aws:sns:eu-west-1:000000000000:quality'}");
    put(&gate, 3);
    let head = asked.recv_timeout(Duration::from_secs(20)).expect("a notice is on its way");
    assert!(head.contains("/eu-west-1/sns/aws4_request"), "the call goes to the topic's region: {head}");
    put(&gate, 3);
    assert_eq!(aws.messages(QUEUE).len(), 6);
    let asked = Instant::now();
    gate.signal("TERM");
    assert_eq!(gate.wait(Duration::from_secs(20)).code(), Some(0));
    assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
}

#[test]
fn without_aws_the_log_is_told_and_a_gate_that_stops_ends_nothing() {
    let config = Some("notices: {quiet_seconds: 1, at_most_every_seconds: 1}\n".to_owned());
    let mut gate = Gate::start(GateOptions { config, ..GateOptions::default() });
    put(&gate, 0);
    put(&gate, 2);
    let ended = wait_until("the end", Duration::from_secs(20), || logged(&gate).get(1).cloned());
    assert_eq!(ended["look"], "meshgate dlq ls --domain parcels --rule weight_is_positive");
    assert_eq!((&ended["quarantined"], &ended["judged"]), (&json!(2), &json!(3)));
    assert_eq!((sent(&gate, "started", "logged"), sent(&gate, "ended", "logged")), (1.0, 1.0));

    let config = Some("notices: {}\n".to_owned());
    let mut lasting = Gate::start(GateOptions { config, ..GateOptions::default() });
    put(&lasting, 2);
    for gate in [&mut gate, &mut lasting] {
        gate.signal("TERM");
        assert_eq!(gate.wait(Duration::from_secs(20)).code(), Some(0));
    }
    let told: Vec<_> = logged(&lasting).iter().map(|fields| fields["message"].to_string()).collect();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("quarantine started"), "{told:?}");
    assert_eq!(logged(&gate).len(), 2);
}

#[test]
fn nobody_is_told_unless_asked_and_settings_without_effect_are_told() {
    let gate = Gate::start(GateOptions::default());
    put(&gate, 2);
    assert!(!gate.admin("/metrics").text().contains("meshgate_notices_total"));
    let topic = "arn:aws:sns:us-east-1:000000000000:quality";
    let config = Some(format!("notices: {{domains: {{parcel: '{topic}'}}}}\n"));
    let gate = Gate::start(GateOptions { config, ..GateOptions::default() });
    let said = gate.log().join("\n");
    assert!(said.contains("go to the log alone") && said.contains("a domain that the rules do not have"), "{said}");
}
