//! The unit of systemd, and what the gate tells systemd and Docker of itself.

use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::time::Duration;

use crate::harness::{Gate, GateOptions, Tool, binary, free_port, repository, run, temporary, tool};

/// The exposure that `systemd-analyze security` may find, in tenths, of 100: it is 12.
const EXPOSURE_MAX: u8 = 15;

fn unit() -> String {
    std::fs::read_to_string(repository().join("deploy/systemd/meshgate.service")).expect("a unit")
}

#[test]
fn systemd_accepts_the_unit_and_finds_it_closed() {
    let home = temporary();
    let file = home.path().join("meshgate.service");
    // The program must be there for it.
    let text = unit().replace("/usr/bin/meshgate", binary().to_str().expect("a printable path"));
    std::fs::write(&file, text).expect("a file can be written");
    let Some(mut verify) = tool(Tool::SystemdAnalyze) else { return };
    let output = run(verify.arg("verify").arg(&file));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && said.trim().is_empty(), "{said}");
    let mut security = tool(Tool::SystemdAnalyze).expect("it is there");
    let output = run(security
        .args(["security", "--offline=true", "--no-pager"])
        .arg(format!("--threshold={EXPOSURE_MAX}"))
        .arg(&file));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn the_unit_waits_for_longer_than_the_gate_drains() {
    let unit = unit();
    let value = |key: &str| {
        unit.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('=')).unwrap_or_else(|| panic!("no {key}"))
    };
    assert!(value("TimeoutStopSec").parse::<u64>().expect("seconds") >= 25 + 5);
    assert_eq!((value("Type"), value("KillSignal")), ("notify", "SIGTERM"));
    assert_eq!(value("ExecStart"), "/usr/bin/meshgate run");
}

/// The unit's environment and directories, with its `NOTIFY_SOCKET`.
#[test]
fn a_gate_tells_systemd_when_it_is_ready_and_when_it_stops() {
    let home = temporary();
    let path = home.path().join("notify");
    let socket = UnixDatagram::bind(&path).expect("a socket");
    socket.set_read_timeout(Some(Duration::from_secs(20))).expect("a time limit");
    let told = || {
        let mut text = [0; 64];
        let length = socket.recv(&mut text).expect("a message within 20 seconds");
        String::from_utf8_lossy(&text[..length]).into_owned()
    };
    let environment = vec![("NOTIFY_SOCKET".to_owned(), path.display().to_string())];
    let mut gate = Gate::start(GateOptions { environment, ..GateOptions::default() });
    assert_eq!(told(), "READY=1");
    gate.signal("TERM");
    assert_eq!(told(), "STOPPING=1");
    assert!(gate.wait(Duration::from_secs(20)).success());
}

#[test]
fn health_is_that_of_the_gate_that_the_settings_name() {
    let home = temporary();
    let mut gate = Gate::start(GateOptions::default());
    let ask = |arguments: &[&str], config: &str| {
        std::fs::write(home.path().join("meshgate.yaml"), config).expect("a file can be written");
        let output = run(Command::new(binary()).env_clear().current_dir(home.path()).arg("health").args(arguments));
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        (output.status.code(), said)
    };
    let admin = gate.admin.to_string();
    assert_eq!(ask(&["--admin", &admin], ""), (Some(0), "ready\n".to_owned()));
    assert_eq!(ask(&[], &format!("admin: 0.0.0.0:{}\n", gate.admin.port())).0, Some(0));
    // The data port knows no /ready.
    let (code, said) = ask(&["--admin", &gate.listen.to_string()], "");
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("is that the admin port of a gate?"), "{said}");
    let (code, said) = ask(&["--admin", &format!("127.0.0.1:{}", free_port())], "");
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("no answer from"), "{said}");
    assert_eq!(ask(&[], "admin: nowhere\n").0, Some(2));

    // One that hangs is not healthy, and is not waited for.
    gate.signal("STOP");
    let began = std::time::Instant::now();
    assert_eq!(ask(&["--admin", &admin], "").0, Some(1));
    assert!(began.elapsed() < Duration::from_secs(5), "ECS gives a check five seconds by default");
    gate.signal("CONT");
    gate.signal("TERM");
    assert!(gate.wait(Duration::from_secs(20)).success());
}
