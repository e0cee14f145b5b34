//! `meshgate run --stdin`: the gate in a shell pipe.

use std::io::Write;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::harness::{bad_parcel, binary, good_parcel, parcels_rules};

fn pipe(input: &[u8], arguments: &[&str]) -> Output {
    let home = tempfile::tempdir().expect("a temporary directory");
    let mut command = Command::new(binary());
    command.args(["run", "--stdin", "--stream", "parcels", "--rules"]).arg(parcels_rules()).args(arguments);
    command.current_dir(home.path()).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the binary starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    let input = input.to_vec();
    let writer = std::thread::spawn(move || {
        // The gate may refuse to start and close the pipe: its exit code tells then.
        let _ = stdin.write_all(&input);
    });
    let output = child.wait_with_output().expect("the binary ends with its input");
    writer.join().expect("the writer ends");
    output
}

#[test]
fn good_events_pass_byte_for_byte_and_the_exit_code_tells_of_the_rest() {
    let home = tempfile::tempdir().expect("a temporary directory");
    let verdicts = home.path().join("verdicts.jsonl");
    let (first, second) = (good_parcel("1"), good_parcel("2"));
    // A carriage return (white space to JSON, so it stays), an empty line, one broken and one bad event, and no newline at the end.
    let input = format!("{first}\r\n\n{{\"type\":\n{}\n{second}", bad_parcel("b"));
    let output = pipe(input.as_bytes(), &["--verdicts", verdicts.to_str().unwrap()]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), format!("{first}\r\n{second}\n"), "{said}");

    let lines = std::fs::read_to_string(&verdicts).expect("the verdicts are written");
    let verdicts: Vec<Value> = lines.lines().map(|l| serde_json::from_str(l).expect("JSON lines")).collect();
    let told: Vec<_> =
        verdicts.iter().map(|v| (v["line"].to_string(), v["verdict"].as_str().unwrap_or_default())).collect();
    assert_eq!(told, [("3".into(), "quarantine"), ("4".into(), "quarantine")], "only of events with a story: {lines}");
    assert!(lines.contains("weight_is_positive") && lines.contains("malformed"), "{lines}");
}

#[test]
fn with_nothing_refused_the_exit_code_is_zero() {
    let input: String = (0..2_000).map(|i| good_parcel(&i.to_string()) + "\n").collect();
    let output = pipe(input.as_bytes(), &[]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.stdout == input.as_bytes(), "the output is the input");
}

#[test]
fn a_usage_error_is_exit_code_2_and_leaves_stdout_empty() {
    let output = pipe(b"", &["--no-such-flag"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(output.stdout.is_empty());
}
