//! Rules from a git remote: a real bare repository that is pushed to, rewritten and taken away while the gate runs.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use crate::harness::{Gate, GateOptions, GitRemote, Http, Put, bad_parcel, binary, run, temporary, wait_until};

const SOON: Duration = Duration::from_secs(20);

fn revision(gate: &Gate, domain: &str) -> String {
    gate.admin("/ready").json()["domains"][domain]["revision"].as_str().unwrap_or_default().to_owned()
}

fn in_force(gate: &Gate, commit: &str) {
    wait_until(commit, SOON, || (revision(gate, "parcels") == commit).then_some(()));
}

fn error(gate: &Gate) -> Option<String> {
    gate.admin("/ready").json()["rulesSource"]["error"].as_str().map(str::to_owned)
}

/// Whether a parcel of this weight is forwarded.
fn forwards(gate: &Gate, weight: u32) -> bool {
    let before = gate.metric("meshgate_events_total", &[r#"verdict="forward""#]);
    let event = format!(r#"{{"type":"parcel.sent","data":{{"recipient":"Ada","weight":{weight}}}}}"#);
    gate.kinesis().put_records("parcels", &[Put::new(event, "k")]).expect("an answer");
    gate.metric("meshgate_events_total", &[r#"verdict="forward""#]) > before
}

fn reload(gate: &Gate) -> u16 {
    let answer = Http::connect(gate.admin).and_then(|mut admin| admin.send("POST", "/reload", &[], b""));
    answer.expect("an answer").status
}

fn log_lines(gate: &Gate, part: &str) -> usize {
    gate.log().iter().filter(|line| line.contains(part)).count()
}

#[test]
fn what_is_pushed_is_in_force_within_seconds_domain_by_domain() {
    let remote = GitRemote::new();
    let gate = remote.gate("", None);
    assert!(forwards(&gate, 20));
    let good = remote.push_rule("main", "this.weight > 0.0 && this.weight < 10.0");
    in_force(&gate, &good);
    assert!(!forwards(&gate, 20) && forwards(&gate, 5));
    let ready = gate.admin("/ready").json();
    assert_eq!(ready["rulesSource"]["commit"], good.as_str());
    assert_eq!((&ready["rulesSource"]["ref"], &ready["rulesSource"]["path"]), (&"main".into(), &"rules".into()));
    assert!(ready["rulesSource"]["error"].is_null() && ready["rulesSource"]["fetched"].is_string(), "{ready}");

    // One domain broken, another new: that moves on, this keeps what it had.
    let depots = remote.work().join("rules/depots");
    std::fs::create_dir_all(&depots).expect("a directory");
    let domain = std::fs::read_to_string(remote.work().join("rules/parcels/domain.yaml")).expect("a domain");
    std::fs::write(depots.join("domain.yaml"), domain.replace("parcels", "depots")).expect("writable");
    let broken = remote.push_rule("main", "this.weight >");
    wait_until("the new domain", SOON, || (revision(&gate, "depots") == broken).then_some(()));
    assert_eq!(revision(&gate, "parcels"), good);
    assert!(!forwards(&gate, 20) && forwards(&gate, 5));
    let ready = gate.admin("/ready").json();
    assert_eq!(ready["staleDomains"], serde_json::json!(["parcels"]));
    assert_eq!(ready["rulesSource"]["commit"], broken.as_str());
    assert_eq!(gate.metric("meshgate_rules_stale", &[r#"domain="parcels""#]), 1.0);
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(log_lines(&gate, "reloaded in part"), 1, "told once, not with each fetch");

    // What does not touch the rules is no reload.
    let mended = remote.push_rule("main", "this.weight > 0.0");
    in_force(&gate, &mended);
    // It is counted a moment after it is in force.
    let reloads = wait_until("three reloads", SOON, || {
        Some(gate.metric("meshgate_reloads_total", &[])).filter(|reloads| *reloads == 3.0)
    });
    std::fs::write(remote.work().join("README.md"), "elsewhere").expect("writable");
    let elsewhere = remote.push("main");
    wait_until("the fetch", SOON, || {
        (gate.admin("/ready").json()["rulesSource"]["commit"] == elsewhere.as_str()).then_some(())
    });
    std::thread::sleep(Duration::from_millis(1_500));
    assert_eq!((gate.metric("meshgate_reloads_total", &[]), revision(&gate, "parcels")), (reloads, mended));

    // History written anew.
    let work = remote.work();
    remote.git(&work, &["checkout", "-q", "--orphan", "anew"]);
    let forced = remote.push_rule("main", "this.weight > 7.0");
    in_force(&gate, &forced);
    assert!(!forwards(&gate, 5));
    assert!(gate.metric("meshgate_rules_fetches_total", &[r#"set="rules""#, r#"outcome="changed""#]) >= 4.0);
    assert!(gate.metric("meshgate_rules_fetched_timestamp_seconds", &[r#"set="rules""#]) > 1e9);
}

#[test]
fn a_remote_that_is_gone_is_told_once_and_the_gate_serves_and_starts_without_it() {
    let remote = GitRemote::new();
    let home = temporary();
    let data = home.path().join("meshgate.db");
    let mut gate = remote.gate("", Some(data.clone()));
    let first = revision(&gate, "parcels");
    assert!(!first.is_empty());
    remote.take_away();
    let told = wait_until("the error", SOON, || error(&gate));
    assert!(told.contains("remote.git") && told.contains("see whether the remote is up"), "{told}");
    std::thread::sleep(Duration::from_secs(3));
    assert!(forwards(&gate, 20));
    assert_eq!((gate.admin("/ready").status, revision(&gate, "parcels")), (200, first.clone()));
    assert_eq!(log_lines(&gate, "the rules cannot be had"), 1);
    assert_eq!(log_lines(&gate, "cache of the rules is damaged"), 0, "the cache is well");
    assert!(gate.metric("meshgate_rules_fetches_total", &[r#"outcome="failed""#]) >= 2.0);
    assert_eq!(reload(&gate), 409);
    gate.signal("TERM");
    gate.wait(SOON);
    drop(gate);

    // It comes back without the remote, which then returns.
    let gate = remote.gate("", Some(data));
    assert_eq!(revision(&gate, "parcels"), first);
    assert!(error(&gate).is_some());
    assert!(forwards(&gate, 20));
    assert_eq!(log_lines(&gate, "those that were fetched last"), 1);
    remote.bring_back();
    let next = remote.push_rule("main", "this.weight < 10.0");
    in_force(&gate, &next);
    wait_until("no error", SOON, || error(&gate).is_none().then_some(()));
    assert_eq!(log_lines(&gate, "can be had again"), 1);
}

#[test]
fn a_fault_that_was_pushed_does_not_keep_a_gate_from_coming_back() {
    let remote = GitRemote::new();
    let home = temporary();
    let data = home.path().join("meshgate.db");
    let mut gate = remote.gate("", Some(data.clone()));
    let good = remote.push_rule("main", "this.weight < 10.0");
    in_force(&gate, &good);
    let broken = remote.push_rule("main", "this.weight <");
    wait_until("the fault", SOON, || {
        (gate.admin("/ready").json()["rulesSource"]["commit"] == broken.as_str()).then_some(())
    });
    gate.signal("KILL");
    gate.wait(SOON);
    drop(gate);
    let gate = remote.gate("", Some(data));
    assert_eq!(revision(&gate, "parcels"), good);
    assert_eq!(gate.admin("/ready").json()["staleDomains"], serde_json::json!(["parcels"]));
    assert!(!forwards(&gate, 20) && forwards(&gate, 5));
    assert_eq!(log_lines(&gate, "reloaded in part"), 1);
}

/// `meshgate run` that must refuse to start; what it said.
fn refused(home: &Path, settings: &str, path: Option<&str>) -> String {
    let file = home.join("meshgate.yaml");
    std::fs::write(&file, settings).expect("writable settings");
    let mut command = Command::new(binary());
    command.env_clear().env("HOME", home);
    command.env("PATH", path.map_or_else(|| std::env::var_os("PATH").unwrap_or_default(), Into::into));
    command.args(["run", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]).arg("--config").arg(&file);
    let output = run(command.arg("--data").arg(home.join("meshgate.db")).current_dir(home));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    said
}

#[test]
fn without_rules_nothing_starts_and_no_password_is_told() {
    let remote = GitRemote::new();
    let home = temporary();
    let said = refused(home.path(), &remote.settings(""), Some("/nonexistent"));
    assert!(said.contains("git cannot be run") && said.contains("docs/operators.md"), "{said}");
    let nowhere = refused(home.path(), &remote.settings("").replace("ref: main", "ref: nowhere"), None);
    assert!(nowhere.contains("nowhere") && nowhere.contains("rules.ref"), "{nowhere}");
    let url = "http://someone:pass-word-0@127.0.0.1:1/rules.git";
    let down = refused(home.path(), &format!("rules: {{git: '{url}'}}\n"), None);
    assert!(down.contains("127.0.0.1:1/rules.git") && down.contains("nothing was started"), "{down}");
    let faulty = refused(home.path(), &format!("rules: {{git: '{url}', ref: 5}}\n"), None);
    let scheme = refused(home.path(), &format!("rules: {{git: '{}'}}\n", url.replace("http", "ftp")), None);
    for said in [down, faulty, scheme] {
        assert!(!said.contains("pass-word-0") && !said.contains("someone"), "{said}");
    }
    let (data, config) = (Some(home.path().join("shared.db")), remote.settings(""));
    let _gate = remote.gate("", data);
    let shared = config.trim_end().trim_end_matches('}').to_owned() + ", cache: shared.rules.git}\n";
    let said = refused(home.path(), &shared, None);
    assert!(said.contains("another gate") && said.contains("rules.cache"), "{said}");
}

#[test]
fn a_candidate_at_another_ref_is_judged_beside_and_follows_its_pushes() {
    let remote = GitRemote::new();
    let next = remote.push_rule("next", "this.weight < 10.0");
    remote.git(&remote.work(), &["tag", "v1", "HEAD~1"]);
    remote.git(&remote.work(), &["push", "-q", "origin", "v1"]);
    let gate = remote.gate(", candidate: {ref: next}", None);
    assert_eq!(gate.metric("meshgate_candidate_info", &[&format!(r#"revision="{next}""#)]), 1.0);
    assert!(forwards(&gate, 20), "the candidate decides nothing");
    let changes = || gate.metric("meshgate_candidate_changes_total", &[r#"change="would_quarantine""#]);
    assert_eq!(changes(), 1.0);
    let later = remote.push_rule("next", "this.weight < 30.0");
    wait_until("the new candidate", SOON, || {
        (gate.metric("meshgate_candidate_info", &[&format!(r#"revision="{later}""#)]) == 1.0).then_some(())
    });
    assert!(forwards(&gate, 20));
    assert_eq!(changes(), 1.0, "it would pass now");

    // A branch that is deleted leaves the candidate as it was.
    remote.git(&remote.work(), &["push", "-q", "origin", ":next"]);
    wait_until("its error", SOON, || gate.admin("/ready").json()["candidateSource"]["error"].as_str().map(drop));
    assert_eq!(gate.metric("meshgate_candidate_info", &[&format!(r#"revision="{later}""#)]), 1.0);
    assert!(error(&gate).is_none(), "the rules themselves are well");

    // A tag, as rules.
    let tagged = remote.settings("").replace("ref: main", "ref: v1");
    let gate = Gate::start(GateOptions { rules: PathBuf::new(), config: Some(tagged), ..GateOptions::default() });
    let first = remote.git(&remote.work(), &["rev-parse", "--short=12", "v1"]);
    assert_eq!(revision(&gate, "parcels"), first);
    remote.git(&remote.work(), &["tag", "-f", "v1", "HEAD"]);
    remote.git(&remote.work(), &["push", "-q", "--force", "origin", "v1"]);
    in_force(&gate, &later);
}

#[test]
fn a_directory_is_compared_with_a_revision_of_its_own() {
    let remote = GitRemote::new();
    let next = remote.push_rule("next", "this.weight < 10.0");
    remote.git(&remote.work(), &["checkout", "-q", "-b", "stricter"]);
    remote.git(&remote.work(), &["checkout", "-q", "main"]);
    remote.git(&remote.work(), &["reset", "-q", "--hard", "HEAD~1"]);
    let config = format!(
        "rules: {{path: {}, candidate: {{ref: stricter}}}}\nrules_watch_seconds: 1\n",
        remote.work().join("rules").display()
    );
    let gate = Gate::start(GateOptions { rules: PathBuf::new(), config: Some(config), ..GateOptions::default() });
    assert_eq!(gate.metric("meshgate_candidate_info", &[&format!(r#"revision="{next}""#)]), 1.0);
    assert!(forwards(&gate, 20));
    assert_eq!(gate.metric("meshgate_candidate_changes_total", &[]), 1.0);
    assert_eq!(gate.admin("/ready").json()["candidateSource"]["kind"], "revision");
    remote.git(&remote.work(), &["branch", "-f", "stricter", "main"]);
    wait_until("the branch to move", SOON, || {
        (gate.metric("meshgate_candidate_info", &[&format!(r#"revision="{next}""#)]) == 0.0).then_some(())
    });
}

#[test]
fn with_no_interval_it_is_fetched_when_somebody_asks() {
    let remote = GitRemote::new();
    let settings = remote.settings(", candidate: {ref: next}").replace("interval_seconds: 1", "interval_seconds: 0");
    remote.push("next");
    let gate = Gate::start(GateOptions { rules: PathBuf::new(), config: Some(settings), ..GateOptions::default() });
    let before = revision(&gate, "parcels");
    let strict = remote.push_rule("main", "this.weight < 10.0");
    remote.push("next");
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(revision(&gate, "parcels"), before);
    assert_eq!(reload(&gate), 200);
    assert_eq!(revision(&gate, "parcels"), strict);
    let lenient = remote.push_rule("main", "this.weight < 30.0");
    gate.signal("HUP");
    in_force(&gate, &lenient);
    let next = remote.push("next");
    assert_eq!(reload(&gate), 200);
    assert_eq!(gate.metric("meshgate_candidate_info", &[&format!(r#"revision="{next}""#)]), 1.0);
    remote.take_away();
    assert_eq!(reload(&gate), 409);
    assert!(error(&gate).is_some());
    remote.bring_back();
    assert_eq!(reload(&gate), 200);
    assert!(error(&gate).is_none());
}

/// A gate that dies in the middle of a fetch leaves locks and half of a pack; the next one must not mind.
#[test]
fn kill_9_in_the_middle_of_fetches_is_recovered_from() {
    let remote = GitRemote::new();
    let home = temporary();
    let data = home.path().join("meshgate.db");
    let settings = remote.settings("");
    for round in 0..8 {
        let options = GateOptions {
            rules: PathBuf::new(),
            config: Some(settings.clone()),
            data: Some(data.clone()),
            ..GateOptions::default()
        };
        let mut gate = Gate::start(options);
        let pushed = remote.push_rule("main", &format!("this.weight > 0.{round}1"));
        // Asked again and again, so that a fetch is under way whenever it ends.
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut admin = Http::connect(gate.admin).expect("the admin port");
                while !stop.load(Relaxed) {
                    let _ = admin.send("POST", "/reload", &[], b"");
                }
            });
            std::thread::sleep(Duration::from_millis(40 + 23 * round));
            gate.signal("KILL");
            stop.store(true, Relaxed);
        });
        gate.wait(SOON);
        drop(gate);
        // And what a machine leaves that stops at once, git and all.
        if round % 2 == 0 {
            std::fs::write(home.path().join("meshgate.rules.git/shallow.lock"), "").expect("a cache");
        }
        let options = GateOptions {
            rules: PathBuf::new(),
            config: Some(settings.clone()),
            data: Some(data.clone()),
            ..GateOptions::default()
        };
        let gate = Gate::start(options);
        in_force(&gate, &pushed);
        assert!(forwards(&gate, 20));
    }
}

#[test]
fn a_hundred_pushes_under_load_lose_nothing() {
    let remote = GitRemote::new();
    let gate = remote.gate("", None);
    let stop = AtomicBool::new(false);
    let (good, bad) = std::thread::scope(|scope| {
        let producer = scope.spawn(|| {
            let mut kinesis = gate.kinesis();
            let (mut good, mut bad) = (0, 0);
            let event = r#"{"type":"parcel.sent","data":{"recipient":"Ada","weight":20}}"#;
            for round in 0.. {
                if stop.load(Relaxed) {
                    break;
                }
                let batch: Vec<Put> = (0..20)
                    .map(|number| {
                        let key = format!("{round}-{number}");
                        Put::new(if number % 5 == 4 { bad_parcel(&key) } else { event.to_owned() }, &key)
                    })
                    .collect();
                let results = kinesis.put_records("parcels", &batch).expect("an answer");
                for (number, result) in results.iter().enumerate() {
                    assert!(result["ErrorCode"].is_null(), "{result}");
                    *(if number % 5 == 4 { &mut bad } else { &mut good }) += 1;
                }
            }
            (good, bad)
        });
        for number in 0..100 {
            let commit = remote.push_rule("main", &format!("this.weight > 0.{:03}", number + 1));
            // In force each, or overtaken by the next.
            if number % 5 == 0 {
                assert_eq!(reload(&gate), 200);
                assert_eq!(revision(&gate, "parcels"), commit);
            }
        }
        let last = remote.git(&remote.work(), &["rev-parse", "--short=12", "HEAD"]);
        in_force(&gate, &last);
        stop.store(true, Relaxed);
        producer.join().expect("a producer that was answered")
    });
    assert!(good > 500 && bad > 100, "{good} and {bad} were no load");
    assert_eq!(gate.kinesis().read_all("parcels").len(), good, "what was good is on the stream, once");
    let store = Connection::open_with_flags(&gate.data, OpenFlags::SQLITE_OPEN_READ_ONLY).expect("a readable store");
    let letters: i64 = store.query_row("SELECT count(*) FROM letters", [], |row| row.get(0)).expect("a count");
    assert_eq!(usize::try_from(letters), Ok(bad), "what was bad is in the dead-letter queue, once");
    assert!(gate.metric("meshgate_reloads_total", &[r#"outcome="applied""#]) >= 20.0);
    assert_eq!(gate.metric("meshgate_reloads_total", &[r#"outcome="failed""#]), 0.0);
}

/// A remote that hangs: nobody waits but the fetch.
#[test]
fn a_fetch_that_hangs_holds_up_no_probe_and_no_record() {
    use std::os::unix::fs::PermissionsExt as _;
    let remote = GitRemote::new();
    let home = temporary();
    let (bin, slow) = (home.path().join("bin"), home.path().join("slow"));
    std::fs::create_dir(&bin).expect("a directory");
    let path = std::env::var("PATH").unwrap_or_default();
    let script = format!("#!/bin/sh\n[ -e {} ] && sleep 6\nPATH='{path}' exec git \"$@\"\n", slow.display());
    std::fs::write(bin.join("git"), script).expect("a script");
    std::fs::set_permissions(bin.join("git"), std::fs::Permissions::from_mode(0o755)).expect("executable");
    let environment = vec![("PATH".to_owned(), format!("{}:{path}", bin.display()))];
    let config = Some(remote.settings(", candidate: {ref: main}"));
    let gate = Gate::start(GateOptions { rules: PathBuf::new(), config, environment, ..GateOptions::default() });
    std::fs::write(&slow, "").expect("a writable directory");
    gate.signal("HUP");
    std::thread::sleep(Duration::from_millis(1_500));
    let started = std::time::Instant::now();
    for page in ["/ready", "/contracts", "/metrics", "/live"] {
        assert_eq!(gate.admin(page).status, 200);
    }
    assert!(forwards(&gate, 20));
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
}
