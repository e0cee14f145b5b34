//! `meshgate infer`: from a file of events to rules that check, and that forward those events.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

use crate::harness::{binary, run, temporary};

/// Forty orders, and another event.
fn sample() -> String {
    let order = |n: usize| {
        let channel = ["web", "app"][n % 2];
        json!({
            "specversion": "1.0", "id": format!("e{n}"), "source": "/shop", "type": "order.placed",
            "data": {"orderId": format!("O-{}", 100 + n), "email": format!("ada{n}@example.com"), "channel": channel},
        })
    };
    let other =
        json!({"specversion": "1.0", "id": "x", "source": "/shop", "type": "order.lost", "data": {"orderId": "O-1"}});
    (0..40).map(order).chain([other]).map(|event| format!("{event}\n")).collect()
}

fn meshgate(arguments: &[&str], home: &Path) -> (Option<i32>, String, String) {
    told(run(Command::new(binary()).env_clear().args(arguments).current_dir(home)))
}

fn told(output: Output) -> (Option<i32>, String, String) {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn a_draft_is_written_checks_and_forwards_the_sample() {
    let home = temporary();
    std::fs::write(home.path().join("events.ndjson"), sample()).expect("a file");
    let infer = ["infer", "events.ndjson", "--out", "rules/orders"];
    let (code, out, err) = meshgate(&infer, home.path());
    assert_eq!(code, Some(0), "{err}");
    assert_eq!(
        out,
        "rules/orders/order.placed.yaml\nrules/orders/schemas/order.placed.json\nrules/orders/domain.yaml\n\
         rules/contract.schema.json\n"
    );
    assert!(err.contains("40 events of order.placed") && err.contains("order.lost (1)"), "{err}");
    assert!(!err.contains("ada"), "no private value is shown: {err}");

    let (code, out, _) = meshgate(&["check"], home.path());
    assert_eq!((code, out.as_str()), (Some(0), "1 domain and 1 contract good; 0 errors, 0 warnings\n"));
    let (code, out, _) = meshgate(&["judge", "events.ndjson", "--contract", "orders/order.placed"], home.path());
    assert_eq!(code, Some(0));
    let counts: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert!(counts.iter().all(|line| line["count"] == 1), "only the other event breaks it: {out}");

    let (_, schema, _) = meshgate(&["export", "schema"], home.path());
    let format = home.path().join("rules/contract.schema.json");
    assert_eq!(std::fs::read_to_string(&format).expect("a file"), schema, "what editors complete from");

    // What a person may have edited stays.
    std::fs::write(&format, "{}").expect("a file");
    let contract = home.path().join("rules/orders/order.placed.yaml");
    std::fs::write(&contract, "edited").expect("a file");
    let (code, _, err) = meshgate(&infer, home.path());
    assert_eq!(code, Some(2));
    assert!(err.contains("order.placed.json are there already") && err.contains("--force"), "{err}");
    assert_eq!(std::fs::read_to_string(&contract).expect("a file"), "edited");
    let domain = home.path().join("rules/orders/domain.yaml");
    let owned = std::fs::read_to_string(&domain).expect("a file").replace("TODO, contact", "checkout, contact");
    std::fs::write(&domain, &owned).expect("a file");
    let (code, _, err) = meshgate(&[&infer[..], &["--force"]].concat(), home.path());
    assert_eq!(code, Some(0), "{err}");
    assert_eq!(std::fs::read_to_string(&domain).expect("a file"), owned, "the domain's file is never overwritten");
    assert_eq!(std::fs::read_to_string(&format).expect("a file"), "{}", "nor is the format's");
    assert_eq!(meshgate(&["check"], home.path()).0, Some(0));

    // The same type under another name would take the domain out of service.
    std::fs::rename(&contract, home.path().join("rules/orders/placed.yaml")).expect("a file");
    let claimed = std::fs::read_to_string(home.path().join("rules/orders/placed.yaml")).expect("a file");
    let renamed = claimed.replace("name: order.placed", "name: placed");
    std::fs::write(home.path().join("rules/orders/placed.yaml"), renamed).expect("a file");
    let (code, _, err) = meshgate(&[&infer[..], &["--force"]].concat(), home.path());
    assert_eq!(code, Some(2));
    assert!(err.contains("type-clash") && err.contains("nothing was written"), "{err}");
    assert!(!contract.exists());
}

#[test]
fn an_array_on_stdin_is_drafted_to_stdout_as_json() {
    let array = format!("[{}]", sample().trim_end().replace('\n', ",\n"));
    let mut child = Command::new(binary())
        .env_clear()
        .args(["infer", "-", "--format", "json", "--type", "order.placed"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary");
    child.stdin.take().expect("a pipe").write_all(array.as_bytes()).expect("a reader");
    let (code, out, err) = told(child.wait_with_output().expect("an end"));
    assert_eq!((code, err.as_str()), (Some(0), ""));
    let document: Value = serde_json::from_str(&out).expect("one JSON document");
    assert_eq!((&document["type"], &document["events"]), (&json!("order.placed"), &json!(40)));
    assert!(document["contract"].as_str().expect("a text").contains("{path: /email, classification: pii, mask: hash}"));
    let schema: Value = serde_json::from_str(document["schema"].as_str().expect("a text")).expect("a JSON Schema");
    assert_eq!(schema["properties"]["channel"]["enum"], json!(["app", "web"]));
    assert_eq!(schema["properties"]["orderId"]["pattern"], json!("^O-[0-9]+$"));
    assert_eq!(document["fields"][1]["path"], json!("/orderId"));
    assert!(!out.contains("ada1"), "{out}");
}

#[test]
fn the_most_frequent_of_many_types_is_drafted_wherever_it_comes() {
    let home = temporary();
    let rare: String = (0..30).map(|n| format!("{{\"type\":\"rare.{n}\"}}\n")).collect();
    std::fs::write(home.path().join("events.ndjson"), rare + &sample()).expect("a file");
    let (code, out, err) = meshgate(&["infer", "events.ndjson"], home.path());
    assert_eq!(code, Some(0), "{err}");
    assert!(out.contains("name: order.placed") && err.contains("and 11 more") && !err.contains("bound:"), "{err}");
}

#[test]
fn what_is_no_event_is_left_out_and_told_without_its_content() {
    let home = temporary();
    let broken = format!("{}{{\"secret\":1,\"secret\":2}}\n{{\n", sample());
    std::fs::write(home.path().join("events.ndjson"), broken).expect("a file");
    let (code, out, err) = meshgate(&["infer", "events.ndjson"], home.path());
    assert_eq!(code, Some(1), "{err}");
    assert!(out.contains("kind: EventContract") && out.contains("\n---\n# schemas/order.placed.json\n"), "{out}");
    assert!(err.contains("left out: line 42: not strict JSON: duplicate key at byte 12"), "{err}");
    assert!(err.contains("line 43") && err.contains("jq -c") && !err.contains("secret"), "{err}");
}

#[test]
fn slips_are_answered_with_what_to_do() {
    let home = temporary();
    std::fs::write(home.path().join("events.ndjson"), sample()).expect("a file");
    std::fs::write(home.path().join("empty.ndjson"), "\n").expect("a file");
    for (arguments, words) in [
        (&["infer", "nowhere.ndjson"][..], "nowhere.ndjson"),
        (&["infer", "empty.ndjson"], "no event"),
        (&["infer", "events.ndjson", "--type", "order.palced"], "order.placed (40), order.lost (1)"),
        (&["infer", "events.ndjson", "--out", "Rules"], "rules/orders"),
        (&["infer", "events.ndjson", "--force"], "--out"),
        (&["infer", "events.ndjson", "--stream", "[a"], "--stream"),
    ] {
        let (code, out, err) = meshgate(arguments, home.path());
        assert_eq!((code, out.as_str()), (Some(2), ""), "{arguments:?}: {err}");
        assert!(err.contains(words), "{arguments:?}: {err}");
    }
    assert_eq!(std::fs::read_dir(home.path()).expect("a directory").count(), 2, "nothing was written");
}
