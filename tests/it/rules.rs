//! Rule files and settings at start and at reload: all faults at once, and the last good rules stay.

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use crate::harness::{
    Gate, GateOptions, Http, Put, binary, copy_tree, free_port, parcels_rules, run, temporary, wait_until,
};

const CONTRACT: &str = "parcels/parcel.sent.yaml";

/// The tests' rules, to be changed.
fn copied_rules(home: &Path) -> std::path::PathBuf {
    let rules = home.join("rules");
    copy_tree(&parcels_rules(), &rules);
    rules
}

/// A parcel of 20 kg, and whether the gate forwards it.
fn forwards_twenty_kilos(gate: &Gate) -> bool {
    let before = gate.metric("meshgate_events_total", &[r#"verdict="forward""#]);
    let event = r#"{"type":"parcel.sent","data":{"recipient":"Ada","weight":20}}"#;
    let results = gate.kinesis().put_records("parcels", &[Put::new(event, "k")]).expect("an answer");
    assert!(results[0]["ErrorCode"].is_null(), "{results:?}");
    gate.metric("meshgate_events_total", &[r#"verdict="forward""#]) > before
}

#[test]
fn at_sighup_new_rules_judge_and_broken_ones_leave_the_last_good_in_force() {
    let home = temporary();
    let rules = copied_rules(home.path());
    let file = rules.join(CONTRACT);
    let written = std::fs::read_to_string(&file).expect("the contract");
    let rules_dir = rules.clone();
    let config = Some("rules_watch_seconds: 0\n".to_owned());
    let gate = Gate::start(GateOptions { rules, config, ..GateOptions::default() });
    assert!(forwards_twenty_kilos(&gate));
    let revision = |gate: &Gate| gate.admin("/contracts").json()["domains"][0]["revision"].to_string();
    let first = revision(&gate);

    // Stricter.
    let strict = written.replace("this.weight > 0.0", "this.weight > 0.0 && this.weight < 10.0");
    std::fs::write(&file, &strict).expect("a writable contract");
    gate.signal("HUP");
    wait_until("the new revision", Duration::from_secs(10), || (revision(&gate) != first).then_some(()));
    assert!(!forwards_twenty_kilos(&gate), "the new rule refuses it");
    let second = revision(&gate);

    // Broken.
    std::fs::write(&file, strict.replace("this.weight > 0.0", "this.weight >")).expect("a writable contract");
    gate.signal("HUP");
    wait_until("a stale domain", Duration::from_secs(10), || {
        (gate.metric("meshgate_rules_stale", &[r#"domain="parcels""#]) == 1.0).then_some(())
    });
    assert_eq!(revision(&gate), second, "the last good rules stay");
    assert!(!forwards_twenty_kilos(&gate), "and judge");
    let ready = gate.admin("/ready");
    assert_eq!(ready.status, 200, "a stale domain takes no gate out of service");
    assert!(ready.text().contains("parcels"), "{}", ready.text());

    // Gone, as a mount that is swapped: no stream may cease to exist for that.
    let away = home.path().join("away");
    std::fs::rename(&file, &away).expect("a writable directory");
    std::fs::rename(rules_dir.join("parcels/domain.yaml"), home.path().join("domain.yaml")).expect("the same");
    gate.signal("HUP");
    wait_until("a failed reload", Duration::from_secs(10), || {
        (gate.metric("meshgate_reloads_total", &[r#"outcome="failed""#]) == 1.0).then_some(())
    });
    assert!(!forwards_twenty_kilos(&gate), "the last good rules stay, and judge");
    std::fs::rename(home.path().join("domain.yaml"), rules_dir.join("parcels/domain.yaml")).expect("the same");

    // Repaired.
    std::fs::write(&file, &written).expect("a writable contract");
    gate.signal("HUP");
    wait_until("no stale domain", Duration::from_secs(10), || {
        (gate.metric("meshgate_rules_stale", &[r#"domain="parcels""#]) == 0.0).then_some(())
    });
    assert!(forwards_twenty_kilos(&gate));
    assert_eq!(gate.metric("meshgate_reloads_total", &[]), 4.0);
}

#[test]
fn a_file_that_changes_is_put_in_force_without_asking() {
    let home = temporary();
    let rules = copied_rules(home.path());
    let file = rules.join(CONTRACT);
    let written = std::fs::read_to_string(&file).expect("the contract");
    let config = Some("rules_watch_seconds: 1\n".to_owned());
    let gate = Gate::start(GateOptions { rules, config, ..GateOptions::default() });
    assert!(forwards_twenty_kilos(&gate));
    let strict = written.replace("this.weight > 0.0", "this.weight > 0.0 && this.weight < 10.0");
    // As editors save: a file beside it, renamed.
    let beside = file.with_extension("yaml~");
    std::fs::write(&beside, strict).expect("a writable directory");
    std::fs::rename(&beside, &file).expect("the same directory");
    wait_until("the stricter rule", Duration::from_secs(20), || (!forwards_twenty_kilos(&gate)).then_some(()));
    assert_eq!(gate.metric("meshgate_reloads_total", &[]), 1.0);
}

/// What is remembered stays through reloads: each partition key comes once, and then again and again.
const REMEMBERS: &str = "
stream:
  - {id: once, type: duplicateValues, key: [record.partitionKey], window: 24h, on_fail: warn}
  - {id: keys, type: distinctCount, key: [record.partitionKey], window: 1s, mustBeLessThan: 100}
breaker: {maxQuarantineRatio: 0.5, action: hold}
";

/// Batches finish with the rules they began with, and what is replaced goes when its last batch does.
#[test]
fn a_thousand_reloads_under_load_lose_nothing_and_grow_no_memory() {
    let home = temporary();
    let rules = copied_rules(home.path());
    let file = rules.join(CONTRACT);
    let written = std::fs::read_to_string(&file).expect("the contract") + REMEMBERS;
    std::fs::write(&file, &written).expect("a writable contract");
    let config = Some("rules_watch_seconds: 0\n".to_owned());
    let gate = Gate::start(GateOptions { rules, config, ..GateOptions::default() });
    let (stop, acknowledged) = (AtomicBool::new(false), AtomicUsize::new(0));
    let after_warm_up = std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut kinesis = gate.kinesis();
            let event = r#"{"type":"parcel.sent","data":{"recipient":"Ada","weight":20}}"#;
            let batch: Vec<Put> = (0..20).map(|number| Put::new(event, &number.to_string())).collect();
            while !stop.load(Relaxed) {
                let results = kinesis.put_records("parcels", &batch).expect("an answer");
                acknowledged.fetch_add(results.iter().filter(|result| result["ErrorCode"].is_null()).count(), Relaxed);
            }
        });
        let mut admin = Http::connect(gate.admin).expect("the admin port");
        let mut resident = 0;
        for number in 0..1_000 {
            let weight = if number % 2 == 0 { "this.weight > 1.0" } else { "this.weight > 0.0" };
            std::fs::write(&file, written.replace("this.weight > 0.0", weight)).expect("a writable contract");
            assert_eq!(admin.send("POST", "/reload", &[], b"").expect("an answer").status, 200);
            if number == 250 {
                resident = gate.resident_kib();
            }
        }
        stop.store(true, Relaxed);
        resident
    });
    // Before anything is read back; what is left is the load's, some 6 KiB a reload.
    let grown = gate.resident_kib().saturating_sub(after_warm_up);
    assert_eq!(gate.metric("meshgate_reloads_total", &[]), 1_000.0);
    let acknowledged = acknowledged.into_inner();
    assert!(acknowledged > 1_000, "{acknowledged}");
    let duplicates = gate.metric("meshgate_violations_total", &[r#"rule="once""#]);
    assert_eq!(duplicates, (acknowledged - 20) as f64, "no reload forgot a key");
    assert_eq!(gate.kinesis().read_all("parcels").len(), acknowledged, "what was acknowledged is on the stream, once");
    assert!(grown < 24 * 1024, "{grown} KiB more after 750 reloads, from {after_warm_up}");
}

/// `meshgate run` that must refuse to start; what it said.
fn refused(home: &Path, rules: &Path, settings: &str) -> String {
    let file = home.join("meshgate.yaml");
    std::fs::write(&file, settings).expect("writable settings");
    let mut command = Command::new(binary());
    command.args(["run", "--admin", "127.0.0.1:0"]).arg("--config").arg(&file);
    command.arg("--rules").arg(rules).arg("--data").arg(home.join("meshgate.db")).current_dir(home);
    let output = run(&mut command);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(output.stdout.is_empty());
    said
}

#[test]
fn at_start_every_fault_of_the_rules_is_told_and_nothing_starts() {
    let home = temporary();
    let rules = copied_rules(home.path());
    let file = rules.join(CONTRACT);
    let written = std::fs::read_to_string(&file).expect("the contract");
    let broken =
        written.replace("this.weight > 0.0", "this.weight >").replace("severity: warning", "severity: dreadful");
    std::fs::write(&file, broken).expect("a writable contract");
    let said = refused(home.path(), &rules, "listen: 127.0.0.1:0\n");
    assert!(said.contains(CONTRACT) && said.contains("bad-expression") && said.contains("dreadful"), "{said}");
    assert!(!home.path().join("meshgate.db").exists(), "nothing was opened");
}

#[test]
fn at_start_every_fault_of_the_settings_is_told_with_its_place() {
    let home = temporary();
    let said = refused(home.path(), &parcels_rules(), "backend: azure\nlimits: {connections: 0}\nlisten_on: here\n");
    for word in ["meshgate.yaml", "azure", "connections", "listen_on"] {
        assert!(said.contains(word), "{word} is not told:\n{said}");
    }
}

#[test]
fn a_gate_that_is_told_to_forward_to_itself_does_not_start() {
    let home = temporary();
    let port = free_port();
    let settings = format!(
        "backend: aws\naws: {{region: us-east-1, kinesis_endpoint: \"http://localhost:{port}\"}}\nlisten: 127.0.0.1:{port}\n"
    );
    let said = refused(home.path(), &parcels_rules(), &settings);
    assert!(said.contains("kinesis_endpoint") && said.contains("itself"), "{said}");
}

/// Git on a large repository or a mount that hangs takes its time. Probes, and the threads that serve records, must not wait.
#[test]
fn a_reload_that_takes_long_holds_up_no_probe() {
    use std::os::unix::fs::PermissionsExt as _;
    let home = temporary();
    let rules = copied_rules(home.path());
    let (bin, slow) = (home.path().join("bin"), home.path().join("slow"));
    std::fs::create_dir(&bin).expect("a directory");
    let git = bin.join("git");
    let script = format!("#!/bin/sh\n[ -e {} ] && sleep 12\nexit 1\n", slow.display());
    std::fs::write(&git, script).expect("a script");
    std::fs::set_permissions(&git, std::fs::Permissions::from_mode(0o755)).expect("an executable script");
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap_or_default());
    let environment = vec![("PATH".to_owned(), path)];
    let gate = Gate::start(GateOptions { rules, environment, ..GateOptions::default() });

    std::fs::write(&slow, "").expect("a writable directory");
    gate.signal("HUP");
    std::thread::sleep(Duration::from_millis(500));
    for page in ["/ready", "/contracts"] {
        assert_eq!(gate.admin(page).status, 200);
    }
    assert!(forwards_twenty_kilos(&gate));
    let reloaded = |gate: &Gate| gate.metric("meshgate_reloads_total", &[]);
    assert_eq!(reloaded(&gate), 0.0, "the reload is still at it");
    wait_until("the reload", Duration::from_secs(40), || (reloaded(&gate) == 1.0).then_some(()));
}
