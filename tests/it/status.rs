//! The status of a gate, as programs, browsers and terminals get it.

use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::harness::{
    Gate, GateOptions, Http, Put, Tool, bad_parcel, binary, copy_tree, good_parcel, parcels_rules, repository, run,
    temporary, tool, wait_until,
};

const PATIENCE: Duration = Duration::from_secs(20);

/// What stands in every event here, and nowhere in a status.
const SECRET: &str = "S3CR3T";

/// The rules of parcels, with one that tells values in its message.
fn talkative() -> (TempDir, GateOptions) {
    let home = temporary();
    copy_tree(&parcels_rules(), &home.path().to_owned());
    let file = home.path().join("parcels/parcel.sent.yaml");
    let contract = std::fs::read_to_string(&file).expect("the contract");
    let talks = "rules:\n  - {id: short, expression: this.recipient.size() < 12, message: the name is too long, \
                 messageExpression: '\"who is called \" + this.recipient + \"?\"'}\n";
    std::fs::write(&file, contract.replace("rules:\n", talks)).expect("a file");
    let options = GateOptions { rules: home.path().to_owned(), ..GateOptions::default() };
    (home, options)
}

/// Good events and some of each kind of bad one, all of which hold the secret.
fn write(gate: &Gate, good: usize) {
    let put = |event: String| Put::new(event, &format!("{SECRET}-key"));
    let parcel = |data: &str| format!(r#"{{"type":"parcel.sent","id":"{SECRET}","data":{data}}}"#);
    let mut puts: Vec<Put> = (0..good).map(|i| put(good_parcel(&format!("{SECRET}-{i}")))).collect();
    puts.extend([
        put(bad_parcel(SECRET)),
        put(parcel(&format!(r#"{{"recipient":"{SECRET} and others","weight":1}}"#))),
        put(parcel(&format!(r#"{{"recipient":"{SECRET}","weight":"{SECRET}"}}"#))),
        put(parcel(&format!(r#"{{"recipient":"{SECRET}","weight":40}}"#))),
        put(format!(r#"{{"type":"{SECRET}"}}"#)),
        put(format!(r#"{{"type":"parcel.sent","{SECRET}"#)),
    ]);
    let results = gate.kinesis().put_records("parcels", &puts).expect("an answer");
    assert!(results.iter().all(|result| result["ErrorCode"].is_null()), "{results:?}");
}

/// A status that was made after this was called.
fn status(gate: &Gate) -> Value {
    let before = gate.admin("/status.json").json()["at"].clone();
    wait_until("a new status", PATIENCE, || Some(gate.admin("/status.json").json()).filter(|now| now["at"] != before))
}

fn named<'v>(list: &'v Value, key: &str, value: &str) -> &'v Value {
    let all = list.as_array().unwrap_or_else(|| panic!("no list: {list}"));
    all.iter().find(|entry| entry[key] == value).unwrap_or_else(|| panic!("no {value}: {list:#}"))
}

#[test]
fn a_status_tells_what_became_of_events_and_none_of_their_values() {
    let (_rules, options) = talkative();
    let gate = Gate::start(options);
    write(&gate, 20);
    let status = status(&gate);
    assert_eq!((&status["schema"], &status["gate"]["backend"]), (&"meshgate.status/v1".into(), &"local".into()));
    let sent = named(&status["contracts"], "contract", "parcel.sent");
    for counts in [&sent["lastMinute"], &sent["lastHour"]] {
        assert_eq!((&counts["forwarded"], &counts["quarantined"]), (&21.into(), &3.into()), "{sent:#}");
    }
    let refused: u64 = sent["byMinute"]["refused"].as_array().expect("minutes").iter().filter_map(Value::as_u64).sum();
    assert_eq!((refused, sent["byMinute"]["refused"].as_array().map(Vec::len)), (3, Some(60)));
    let rules = &sent["rules"];
    assert_eq!(
        (&rules["owner"]["team"], &rules["version"], &rules["mode"]),
        (&"parcels".into(), &"1.0.0".into(), &"enforce".into())
    );
    assert_eq!(rules["slo"], 0.995);
    assert_eq!(named(&status["contracts"], "contract", "unknown")["lastHour"]["quarantined"], 2);
    let minute = &status["rates"]["lastMinute"];
    assert_eq!(
        (&minute["forwarded"], &minute["quarantined"], &minute["unsettled"]),
        (&21.into(), &5.into(), &0.into())
    );

    let heavy = named(&status["violations"], "rule", "heavy");
    assert_eq!((&heavy["mode"], &heavy["severity"], &heavy["times"]), (&"shadow".into(), &"warning".into(), &1.into()));
    let refusals = status["refusals"].as_array().expect("refusals");
    let rules: Vec<&Value> = refusals.iter().map(|refusal| &refusal["reasons"][0]["rule"]).collect();
    assert_eq!(rules, ["malformed", "unknown_type", "schema", "short", "weight_is_positive"], "the newest first");
    assert_eq!(refusals[3]["reasons"][0]["message"], "the name is too long", "not what the expression says");
    assert_eq!(refusals[2]["reasons"][0]["pointer"], "/data/weight");
    let letter = refusals[3]["deadLetter"].as_str().expect("an id");
    let shown = run(&mut gate.command(&["dlq", "show", letter]));
    assert!(String::from_utf8_lossy(&shown.stdout).contains("who is called"), "{shown:?}");

    for (sink, name) in [("mesh", "parcels"), ("dlq", "meshgate-dlq")] {
        let end = named(&status["farEnds"], "sink", sink);
        assert_eq!((&end["name"], &end["failures"], &end["failingSince"]), (&name.into(), &0.into(), &Value::Null));
        assert!(end["calls"].as_u64() > Some(0) && end["lastSuccess"].is_string(), "{end}");
    }
    let domain = named(&status["rules"]["domains"], "domain", "parcels");
    assert_eq!(
        (&domain["owner"]["contact"], &domain["contracts"], &domain["stale"]),
        (&"#parcels".into(), &1.into(), &false.into())
    );
    assert_eq!(status["rules"]["source"]["kind"], "directory");
    // Three of its 24 are refused, and half a percent may be.
    assert_eq!(status["health"]["state"], "warning", "{:#}", status["health"]);
    let text = status.to_string();
    assert!(!text.contains(SECRET), "{text}");
    for (path, format) in [("/metrics", "text"), ("/contracts", "json")] {
        assert!(!gate.admin(path).text().contains(SECRET), "{path} {format}");
    }
}

#[test]
fn browsers_get_a_page_and_others_what_there_is() {
    let gate = Gate::start(GateOptions::default());
    let mut admin = Http::connect(gate.admin).expect("the admin port");
    let mut get = |accept: &[(&str, &str)]| admin.send("GET", "/", accept, b"").expect("an answer");
    let list = get(&[("accept", "*/*")]);
    assert!(list.text().contains("/status.json") && list.text().contains("POST /reload"), "{}", list.text());
    assert_eq!(list.text(), get(&[]).text());
    let page = get(&[("accept", "text/html,application/xhtml+xml,*/*;q=0.8")]);
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")));
    assert!(page.header("content-security-policy").is_some_and(|policy| policy.starts_with("default-src 'none'")));
    for name in ["cache-control", "x-content-type-options"] {
        assert!(page.header(name).is_some() && gate.admin("/status.json").header(name).is_some(), "{name}");
    }
    let refused = admin.send("POST", "/status.json", &[], b"").expect("an answer");
    assert_eq!((refused.status, refused.header("allow")), (405, Some("GET, HEAD")));
}

#[test]
fn a_far_end_that_fails_is_trouble_with_a_name_and_a_time() {
    let nobody = format!("http://127.0.0.1:{}", crate::harness::free_port());
    let config = format!(
        "backend: aws\naws: {{region: us-east-1, kinesis_endpoint: \"{nobody}\", sqs_endpoint: \"{nobody}\"}}\n\
         retry: {{attempts: 2, deadline_seconds: 1}}\nroutes: [{{source: parcels-in, mesh: parcels-mesh}}]\n"
    );
    let environment =
        [("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test"), ("AWS_EC2_METADATA_DISABLED", "true")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()));
    let gate =
        Gate::start(GateOptions { config: Some(config), environment: environment.into(), ..GateOptions::default() });
    let results = gate.kinesis().put_records("parcels-in", &[Put::new(good_parcel("p1"), "k")]).expect("an answer");
    assert!(results[0]["ErrorCode"].is_string(), "{results:?}");
    let status = status(&gate);
    let mesh = named(&status["farEnds"], "sink", "mesh");
    assert_eq!((&mesh["name"], &mesh["lastSuccess"]), (&"parcels-mesh".into(), &Value::Null));
    assert!(mesh["failingSince"].is_string() && mesh["retries"].as_u64() > Some(0), "{mesh}");
    assert_eq!(mesh["lastFailure"]["trouble"], "unavailable", "{mesh}");
    assert_eq!(status["rates"]["lastMinute"]["unsettled"], 1);
    assert_eq!(status["health"]["state"], "error", "{:#}", status["health"]);
    let first = status["health"]["concerns"][0]["text"].as_str().expect("a concern");
    assert!(first.starts_with("The mesh stream parcels-mesh takes nothing since 2"), "{first}");
}

/// What the page's visitor found. `None` without the tools.
fn visit(mode: &str, gate: &Gate, extra: &str) -> Option<Value> {
    let mut node = tool(Tool::StatusPage)?;
    let chromium = tool(Tool::Chromium)?;
    let home = temporary();
    node.env("CHROMIUM", chromium.get_program()).env("HOME", home.path()).env("TMPDIR", home.path());
    node.arg(repository().join("tests/clients/status_page.cjs"))
        .arg(mode)
        .arg(format!("http://{}/", gate.admin))
        .arg(extra);
    let output = run(&mut node);
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{mode}: {err}");
    Some(serde_json::from_str(&out).unwrap_or_else(|error| panic!("{mode}: {error}: {out}")))
}

/// Both widths and schemes: nothing that axe-core finds, no scrolling sideways, nothing on the console, nobody else asked.
fn assert_accessible(found: &Value, gate: &Gate) {
    let looks = found["looks"].as_array().expect("looks");
    assert_eq!(looks.len(), 4);
    for look in looks {
        assert_eq!(look["axe"], serde_json::json!([]), "{look:#}");
        assert!(look["rules"].as_u64() > Some(15), "axe-core did not look: {look}");
        assert_eq!(look["scrolls"], false, "{look}");
    }
    assert_ne!(looks[0]["ground"], looks[1]["ground"], "light and dark");
    assert_eq!(found["console"], serde_json::json!([]));
    for request in found["requests"].as_array().expect("requests") {
        assert!(request.as_str().is_some_and(|asked| asked.starts_with(&gate.admin.to_string())), "{request}");
    }
}

#[test]
fn a_browser_shows_a_gate_at_any_width_to_anyone() {
    let (_rules, options) = talkative();
    let gate = Gate::start(options);
    for _ in 0..3 {
        write(&gate, 20);
    }
    let Some(found) = visit("look", &gate, "") else { return };
    assert_accessible(&found, &gate);
    let text = found["text"].as_str().expect("text");
    for shown in [
        "parcels / parcel.sent",
        "weight_is_positive",
        "the name is too long",
        "meshgate-dlq",
        "takes events",
        "#parcels",
    ] {
        assert!(text.contains(shown), "{shown}: {text}");
    }
    assert!(!found["dom"].as_str().expect("a DOM").contains(SECRET), "{text}");
    assert_eq!((&found["skip"], &found["main"]), (&"Skip to the status".into(), &"#main".into()));
    assert_eq!((&found["paused"], &found["askedWhilePaused"]), (&"true".into(), &0.into()));
    assert!(found["askedAfterPause"].as_u64() > Some(0), "{}", found["askedAfterPause"]);
    assert_eq!(found["askedWhileHidden"], 0);
    assert!(found["askedWhenShown"].as_u64() > Some(0), "{}", found["askedWhenShown"]);
    assert_eq!((&found["allShown"], &found["focusStays"]), (&15.into(), &"more".into()));
}

#[test]
fn whatever_things_are_called_the_page_shows_it_as_text() {
    let gate = Gate::start(GateOptions::default());
    let fixture = repository().join("src/admin/status/testdata/status.json");
    let Some(found) = visit("fixed", &gate, fixture.to_str().expect("a path")) else { return };
    assert_accessible(&found, &gate);
    assert_eq!(
        (&found["title"], &found["scripts"], &found["images"]),
        (&"Meshgate (2 to look at)".into(), &1.into(), &0.into())
    );
    let text = found["text"].as_str().expect("text");
    for shown in [
        "</script><script>document.title='broken'</script>",
        "\\u001b[2J<img src=x onerror=alert(1)>",
        "javascript:alert(1)",
        "8,112",
        "stands still for 75 s",
        "failing for 2 min",
        "events that no contract took",
        "97.4\u{a0}%",
    ] {
        assert!(text.contains(shown), "{shown}: {text}");
    }
    assert_eq!(found["links"], serde_json::json!(["mailto:crm@example.com"]));
    let empty = found["emptyText"].as_str().expect("text");
    for words in ["No contract is in force.", "No rule was violated", "No event was refused", "Nothing was sent"] {
        assert!(empty.contains(words), "{empty}");
    }
    assert!(found["newer"].as_str().is_some_and(|told| told.contains("load it again")), "{}", found["newer"]);
    assert!(
        found["withoutScript"].as_str().is_some_and(|told| told.contains("meshgate top")),
        "{}",
        found["withoutScript"]
    );
}

#[test]
fn a_page_whose_gate_has_gone_says_so() {
    let gate = Gate::start(GateOptions::default());
    write_one(&gate);
    let Some(found) = visit("lost", &gate, &gate.id().to_string()) else { return };
    let told = found["lost"].as_str().expect("words");
    assert!(told.starts_with("The gate cannot be reached since ") && told.contains("as it was then"), "{told}");
    assert_eq!((&found["role"], &found["stays"]), (&"alert".into(), &true.into()));
}

fn write_one(gate: &Gate) {
    gate.kinesis().put_records("parcels", &[Put::new(good_parcel("p1"), "k")]).expect("an answer");
}

fn top(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = run(Command::new(binary()).arg("top").args(arguments).env_remove("MESHGATE_ADMIN"));
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn a_terminal_shows_the_same() {
    let (_rules, options) = talkative();
    let gate = Gate::start(options);
    write(&gate, 10);
    let _ = status(&gate);
    let admin = gate.admin.to_string();
    let (code, out, err) = top(&["--admin", &admin]);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    for shown in ["parcels/parcel.sent", "weight_is_positive", "the name is too long", "dlq meshgate-dlq", "#parcels"] {
        assert!(out.contains(shown), "{shown}: {out}");
    }
    assert!(!out.contains('\x1b') && !out.contains(SECRET), "{out}");
    let (code, out, _) = top(&["--admin", &admin, "--json"]);
    let document: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!((code, &document["schema"]), (Some(0), &"meshgate.status/v1".into()));
}

#[test]
fn a_terminal_is_told_what_to_do_where_no_gate_is() {
    let gate = Gate::start(GateOptions::default());
    let (code, out, err) = top(&["--admin", &format!("127.0.0.1:{}", crate::harness::free_port())]);
    assert_eq!((code, out.as_str()), (Some(2), ""));
    assert!(err.contains("no gate answers") && err.contains("--admin"), "{err}");
    let (code, _, err) = top(&["--admin", &gate.listen.to_string()]);
    assert_eq!(code, Some(2));
    assert!(err.contains("is no gate's admin port"), "{err}");
}

/// Runs `meshgate top` on a terminal for a few seconds, ends it as a person does, and prints what the terminal was told.
const TERMINAL: &str = "
import os, pty, signal, struct, sys, termios, fcntl, time, select
child, terminal = pty.fork()
if child == 0:
    os.execv(sys.argv[1], [sys.argv[1], 'top', '--admin', sys.argv[2]])
fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack('HHHH', 30, 100, 0, 0))
told, end, stopped = b'', time.time() + 20, False
while time.time() < end:
    if select.select([terminal], [], [], 0.1)[0]:
        try:
            part = os.read(terminal, 65536)
        except OSError:
            break
        if not part:
            break
        told += part
    if not stopped and told.count(b'Meshgate ') >= 2:
        os.write(terminal, b'\\x03')
        stopped = True
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
print(repr(told.decode()))
";

#[test]
fn a_terminal_is_given_back_as_it_was() {
    let Some(mut python) = tool(Tool::Python) else { return };
    let gate = Gate::start(GateOptions::default());
    python.arg("-c").arg(TERMINAL).arg(binary()).arg(gate.admin.to_string()).env("TERM", "xterm-256color");
    let output = run(&mut python);
    let out = String::from_utf8_lossy(&output.stdout);
    let (code, told) = out.split_once('\n').expect("two lines");
    assert_eq!(code, "0", "{out}{}", String::from_utf8_lossy(&output.stderr));
    assert!(told.starts_with(r"'\x1b[?1049h\x1b[?25l"), "{told}");
    assert!(told.trim_end().ends_with(r"\x1b[?25h\x1b[?1049l'"), "{told}");
    assert!(told.contains("parcels/parcel.sent"), "{told}");
}

/// A quarter of a minute of traffic is enough to see that the pictures of the README can be made again.
#[test]
fn the_readmes_pictures_are_made_by_their_script() {
    let (Some(mut node), Some(chromium)) = (tool(Tool::StatusPage), tool(Tool::Chromium)) else { return };
    let home = temporary();
    node.env("CHROMIUM", chromium.get_program()).env("HOME", home.path()).env("TMPDIR", home.path());
    node.env("MESHGATE", binary()).env("OUT", home.path());
    let output = run(node.arg(repository().join("docs/screenshot.cjs")).arg("0.25"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for name in ["status.png", "status-dark.png"] {
        let picture = std::fs::read(home.path().join(name)).expect("a picture");
        assert!(picture.starts_with(b"\x89PNG") && picture.len() > 20_000, "{name}: {} bytes", picture.len());
        let shown = repository().join("docs").join(name);
        assert!(shown.metadata().expect("the README's").len() < 160_000, "{name} is too large for a README");
    }
    let left: Vec<_> = std::fs::read_dir(home.path()).expect("a directory").filter_map(Result::ok).collect();
    let left = left.iter().filter(|entry| entry.file_name().to_string_lossy().starts_with("meshgate-")).count();
    assert_eq!(left, 0, "it leaves nothing behind");
}
