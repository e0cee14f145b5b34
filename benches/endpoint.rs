//! The whole endpoint as a producer meets it: PutRecords through a real gate process into a canned upstream.
//!
//!     cargo bench --bench endpoint   the table
//!     cargo test --bench endpoint    a smoke run of seconds, for CI
//!
//! Prints records per second and the gate's own CPU seconds per million records (user and system, from /proc), for the
//! AWS backend with an upstream that only answers, and for the embedded store. Beside them, in the same run, the same
//! bytes sent straight to the canned upstream: what client and upstream cost without a gate.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

#[path = "../tests/support/upstream.rs"]
mod upstream;

const RECORDS: usize = 500;
const CONNECTIONS: usize = 4;
const STREAM: &str = "orders-events";

fn main() {
    // `cargo bench` says so; whoever else runs this wants to know that it works, not how fast it is.
    let smoke = std::env::args().all(|arg| arg != "--bench");
    let seconds = if smoke { Duration::from_millis(300) } else { Duration::from_secs(5) };
    let runtime = tokio::runtime::Runtime::new().expect("threads");
    let canned = runtime.block_on(upstream::Upstream::start_canned(Duration::ZERO));

    println!("{RECORDS} records of {} bytes a request, {CONNECTIONS} connections, {seconds:?} each\n", order(0).len());
    println!("{:<34} {:>12} {:>16}", "path", "records/s", "CPU s/M records");
    let straight = load(canned.address, &request(0), seconds);
    row("client and canned upstream alone", straight, None);
    for (name, bad_percent) in
        [("aws backend, all good", 0), ("aws backend, 2 % bad", 2), ("aws backend, all bad", 100)]
    {
        let gate = Gate::start(&format!(
            "backend: aws\naws: {{region: us-east-1, kinesis_endpoint: 'http://{0}', sqs_endpoint: 'http://{0}'}}\n",
            canned.address
        ));
        measure(name, &gate, bad_percent, seconds);
    }
    for (name, bad_percent) in [("embedded store, all good", 0), ("embedded store, 2 % bad", 2)] {
        measure(name, &Gate::start("backend: local\n"), bad_percent, seconds);
    }
}

fn measure(name: &str, gate: &Gate, bad_percent: usize, seconds: Duration) {
    let before = gate.cpu_seconds();
    let (records, elapsed) = load(gate.listen, &request(bad_percent), seconds);
    row(name, (records, elapsed), Some(gate.cpu_seconds() - before));
}

fn row(name: &str, (records, elapsed): (u64, Duration), cpu_seconds: Option<f64>) {
    assert!(records > 0, "{name}: nothing was acknowledged");
    let rate = records as f64 / elapsed.as_secs_f64();
    let cpu = cpu_seconds.map_or_else(|| "-".to_owned(), |s| format!("{:.2}", s * 1e6 / records as f64));
    println!("{name:<34} {rate:>12.0} {cpu:>16}");
}

/// A CloudEvent of about 1 KB that `rules/orders` accepts.
fn order(number: usize) -> String {
    include_str!("order.json").trim_end().replace("{number}", &format!("{number:06}"))
}

/// One whole HTTP request: headers and body, the same each time.
fn request(bad_percent: usize) -> Vec<u8> {
    let record = |i: usize| {
        let order = order(i);
        // The total no longer adds up: one rule fails, the schema holds.
        let data = if i * 100 < RECORDS * bad_percent {
            order.replace("\"totalMinor\": 16915", "\"totalMinor\": 1")
        } else {
            order
        };
        format!("{{\"Data\":\"{}\",\"PartitionKey\":\"O-{i:06}\"}}", BASE64.encode(data))
    };
    let records: Vec<String> = (0..RECORDS).map(record).collect();
    let body = format!("{{\"StreamName\":\"{STREAM}\",\"Records\":[{}]}}", records.join(","));
    format!(
        "POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/x-amz-json-1.1\r\n\
         X-Amz-Target: Kinesis_20131202.PutRecords\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// Sends the request over several connections, each waiting for its answer, until the time is up. Gives back the records
/// acknowledged and the time it took.
fn load(address: SocketAddr, request: &[u8], time: Duration) -> (u64, Duration) {
    let acknowledged = Arc::new(AtomicU64::new(0));
    let started = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..CONNECTIONS {
            let acknowledged = Arc::clone(&acknowledged);
            scope.spawn(move || {
                let mut stream = TcpStream::connect(address).expect("the far end listens");
                stream.set_nodelay(true).expect("a socket");
                let mut reader = BufReader::new(stream.try_clone().expect("a socket"));
                while started.elapsed() < time {
                    stream.write_all(request).expect("the far end reads");
                    assert_eq!(status(&mut reader), 200);
                    acknowledged.fetch_add(RECORDS as u64, Relaxed);
                }
            });
        }
    });
    (acknowledged.load(Relaxed), started.elapsed())
}

/// Reads one answer to its end.
fn status(reader: &mut impl BufRead) -> u16 {
    let (mut line, mut status, mut length) = (String::new(), 0, 0);
    loop {
        line.clear();
        assert!(reader.read_line(&mut line).expect("an answer") > 0, "the far end hung up");
        if let Some(code) = line.strip_prefix("HTTP/1.1 ") {
            status = code[..3].parse().expect("a status");
        } else if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().expect("a length");
        } else if line == "\r\n" {
            break;
        }
    }
    std::io::copy(&mut reader.take(length), &mut std::io::sink()).expect("a body");
    status
}

/// A gate process with a home of its own.
struct Gate {
    child: Child,
    listen: SocketAddr,
    _home: tempfile::TempDir,
}

impl Gate {
    fn start(config: &str) -> Self {
        let home = tempfile::tempdir().expect("a directory");
        std::fs::write(home.path().join("meshgate.yaml"), config).expect("a file");
        let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("rules");
        let mut child = Command::new(env!("CARGO_BIN_EXE_meshgate"))
            .args(["run", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--rules"])
            .arg(rules)
            .current_dir(home.path())
            .env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", "test")
            .stderr(Stdio::piped())
            .spawn()
            .expect("the gate starts");
        let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
        let listen = loop {
            let line = lines.next().expect("the gate says when it is ready").expect("text");
            let said: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
            if let Some(address) = said["fields"]["listen"].as_str() {
                break address.parse().expect("an address");
            }
        };
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, listen, _home: home }
    }

    /// User and system time of the process so far: fields 14 and 15 of /proc/PID/stat, in ticks of 10 ms (proc(5)).
    fn cpu_seconds(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).expect("Linux");
        let after_name = stat.rsplit(") ").next().expect("a name in parentheses");
        let ticks: u64 = after_name.split(' ').skip(11).take(2).map(|f| f.parse::<u64>().expect("ticks")).sum();
        ticks as f64 / 100.0
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
