//! The whole endpoint as a producer meets it: PutRecords and PutRecord through a real gate process into a canned upstream.
//!
//!     cargo bench --bench endpoint             the table
//!     cargo bench --bench endpoint -- little   only the rows with this in their names
//!     cargo test --bench endpoint              a smoke run of seconds, for CI
//!
//! Prints records per second and the gate's own CPU time a record (user and system, from /proc), for the AWS backend with an
//! upstream that only answers, and for the embedded store. Beside them, in the same run:
//!
//! * the same bytes sent straight to the canned upstream: what client and upstream cost without a gate;
//! * what no gate can do without, for its CPU time is what the others are compared with: the request is read, its base64 decoded,
//!   its body hashed for a signature, and written on.
//!
//! Rows named "little to judge" have a contract that asks for one member, so that they show the way around the judge.
//! `MESHGATE_BENCH_GATE` names another build's binary to measure instead.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use sha2::{Digest, Sha256};

#[path = "../tests/support/upstream.rs"]
mod upstream;

const STREAM: &str = "orders-events";

/// What one connection sends over and over, and how many send it.
struct Load {
    request: Vec<u8>,
    records: usize,
    connections: usize,
}

impl Load {
    fn batches(bad_percent: usize) -> Self {
        Self { request: put_records(500, bad_percent), records: 500, connections: 4 }
    }

    /// A commit takes milliseconds, in which the others have to get ready.
    fn batches_to_disk(bad_percent: usize) -> Self {
        Self { connections: 8, ..Self::batches(bad_percent) }
    }

    fn singles() -> Self {
        Self { request: put_record(), records: 1, connections: 64 }
    }
}

/// Which contracts a gate judges by.
#[derive(Clone, Copy)]
enum Judging {
    /// The sample contracts: a schema of 41 nodes and five rules.
    Contracts,
    /// One schema that asks for one member.
    Little,
}

fn main() {
    // `cargo bench` says so; whoever else runs this wants to know that it works, not how fast it is.
    let smoke = std::env::args().all(|arg| arg != "--bench");
    let seconds = if smoke { Duration::from_millis(300) } else { Duration::from_secs(5) };
    let runtime = tokio::runtime::Runtime::new().expect("threads");
    let canned = runtime.block_on(upstream::Upstream::start_canned(Duration::ZERO));
    let aws = format!(
        "backend: aws\naws: {{region: us-east-1, kinesis_endpoint: 'http://{0}', sqs_endpoint: 'http://{0}'}}\n",
        canned.address
    );
    let local = "backend: local\n";

    println!(
        "records of {} bytes; 500 a request over 4 connections (8 into the store), or singly over 64; {seconds:?} each\n",
        order(0).len()
    );
    println!("{:<44} {:>10} {:>14} {:>14}", "path", "records/s", "CPU us/record", "x unavoidable");
    let straight = drive(canned.address, &Load::batches(0), seconds);
    row("client and canned upstream alone", straight, None, None);
    let unavoidable = Unavoidable::start();
    let done = drive(unavoidable.address, &Load::batches(0), seconds);
    let least = unavoidable.cpu_seconds() * 1e6 / done.0 as f64;
    row("unavoidable: read, decode, hash, write", done, Some(least), Some(least));

    let filter = std::env::args().skip(1).find(|arg| !arg.starts_with("--")).unwrap_or_default();
    let measure = |name: &str, config: &str, judging: Judging, load: &Load| {
        if !name.contains(&filter) {
            return;
        }
        let gate = Gate::start(config, judging);
        let before = gate.cpu_seconds();
        let done = drive(gate.listen, load, seconds);
        row(name, done, Some((gate.cpu_seconds() - before) * 1e6 / done.0 as f64), Some(least));
    };
    measure("aws, little to judge", &aws, Judging::Little, &Load::batches(0));
    measure("aws, all good", &aws, Judging::Contracts, &Load::batches(0));
    measure("aws, 2 % bad", &aws, Judging::Contracts, &Load::batches(2));
    measure("aws, all bad", &aws, Judging::Contracts, &Load::batches(100));
    measure("aws, one record a request, little to judge", &aws, Judging::Little, &Load::singles());
    measure("aws, one record a request", &aws, Judging::Contracts, &Load::singles());
    measure("embedded store, little to judge", local, Judging::Little, &Load::batches_to_disk(0));
    measure("embedded store, all good", local, Judging::Contracts, &Load::batches_to_disk(0));
    measure("embedded store, 2 % bad", local, Judging::Contracts, &Load::batches_to_disk(2));
}

fn row(name: &str, (records, elapsed): (u64, Duration), cpu_us: Option<f64>, least_us: Option<f64>) {
    assert!(records > 0, "{name}: nothing was acknowledged");
    let rate = records as f64 / elapsed.as_secs_f64();
    let shown = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.2}"));
    let ratio = cpu_us.zip(least_us).map(|(cpu, least)| cpu / least);
    println!("{name:<44} {rate:>10.0} {:>14} {:>14}", shown(cpu_us), shown(ratio));
}

/// A CloudEvent of about 1 KB that `rules/orders` accepts.
fn order(number: usize) -> String {
    include_str!("order.json").trim_end().replace("{number}", &format!("{number:06}"))
}

fn put_records(count: usize, bad_percent: usize) -> Vec<u8> {
    let record = |i: usize| {
        let order = order(i);
        // The total no longer adds up: one rule fails, the schema holds.
        let data = if i * 100 < count * bad_percent {
            order.replace("\"totalMinor\": 16915", "\"totalMinor\": 1")
        } else {
            order
        };
        format!("{{\"Data\":\"{}\",\"PartitionKey\":\"O-{i:06}\"}}", BASE64.encode(data))
    };
    let records: Vec<String> = (0..count).map(record).collect();
    request("PutRecords", &format!("{{\"StreamName\":\"{STREAM}\",\"Records\":[{}]}}", records.join(",")))
}

fn put_record() -> Vec<u8> {
    let data = BASE64.encode(order(0));
    let body = format!("{{\"StreamName\":\"{STREAM}\",\"Data\":\"{data}\",\"PartitionKey\":\"O-000000\"}}");
    request("PutRecord", &body)
}

/// One whole HTTP request: headers and body, the same each time.
fn request(operation: &str, body: &str) -> Vec<u8> {
    format!(
        "POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/x-amz-json-1.1\r\n\
         X-Amz-Target: Kinesis_20131202.{operation}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// Sends the request over several connections, each waiting for its answer, until the time is up. Gives back the records
/// acknowledged and the time it took.
fn drive(address: SocketAddr, load: &Load, time: Duration) -> (u64, Duration) {
    let acknowledged = Arc::new(AtomicU64::new(0));
    let started = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..load.connections {
            let acknowledged = Arc::clone(&acknowledged);
            scope.spawn(move || {
                let mut stream = TcpStream::connect(address).expect("the far end listens");
                stream.set_nodelay(true).expect("a socket");
                let mut reader = BufReader::new(stream.try_clone().expect("a socket"));
                while started.elapsed() < time {
                    stream.write_all(&load.request).expect("the far end reads");
                    assert_eq!(status(&mut reader), 200);
                    acknowledged.fetch_add(load.records as u64, Relaxed);
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

/// The work that is left when everything else of a gate is taken away, as a server that [`drive`] can use.
struct Unavoidable {
    address: SocketAddr,
    cpu_nanos: Arc<AtomicU64>,
}

impl Unavoidable {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        let cpu_nanos = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&cpu_nanos);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let counter = Arc::clone(&counter);
                std::thread::spawn(move || Self::serve(stream.expect("a connection"), &counter));
            }
        });
        Self { address, cpu_nanos }
    }

    fn serve(mut client: TcpStream, cpu_nanos: &AtomicU64) {
        let mut upstream = drained();
        let request = put_records(500, 0);
        let mut read = vec![0; request.len()];
        let head = request.windows(4).position(|w| w == b"\r\n\r\n").expect("a head") + 4;
        let mut decoded = Vec::with_capacity(request.len());
        while client.read_exact(&mut read).is_ok() {
            let body = &read[head..];
            decoded.clear();
            // Every string of this length is data, so that finding it is next to nothing.
            for text in body.split(|byte| *byte == b'"').filter(|text| text.len() > 100) {
                base64_simd::STANDARD.decode_append(text, &mut decoded).expect("base64");
            }
            std::hint::black_box((&decoded, Sha256::digest(body)));
            upstream.write_all(body).expect("it reads");
            client.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").expect("it reads");
            // The time on a CPU so far, in nanoseconds: the first field (Documentation/scheduler/sched-stats.rst).
            let stat = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux");
            let total = stat.split(' ').next().and_then(|field| field.parse().ok()).expect("a number");
            THREAD_CPU_NANOS.with(|before| cpu_nanos.fetch_add(total - before.replace(total), Relaxed));
        }
    }

    fn cpu_seconds(&self) -> f64 {
        self.cpu_nanos.load(Relaxed) as f64 / 1e9
    }
}

thread_local! {
    static THREAD_CPU_NANOS: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

/// A connection to somebody who reads and does nothing else.
fn drained() -> TcpStream {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let stream = TcpStream::connect(listener.local_addr().expect("bound")).expect("it listens");
    let (mut far_end, _) = listener.accept().expect("a connection");
    std::thread::spawn(move || {
        let mut buffer = vec![0; 1 << 20];
        while far_end.read(&mut buffer).is_ok_and(|read| read > 0) {}
    });
    stream
}

/// A contract that asks for next to nothing of the same events.
const LITTLE: [(&str, &str); 3] = [
    (
        "little/domain.yaml",
        "apiVersion: meshgate/v1\nkind: Domain\nmetadata:\n  name: little\n  owner: {team: bench, contact: bench}\n  \
         description: Next to nothing.\n",
    ),
    (
        "little/order.yaml",
        "apiVersion: meshgate/v1\nkind: EventContract\nmetadata: {domain: little, name: order, version: 1.0.0, \
         status: active, description: An order.}\nmatch: {stream: orders-*, type: order.placed}\n\
         payload: {pointer: /data, schema: order.json}\n",
    ),
    ("little/order.json", "{\"type\": \"object\", \"required\": [\"orderId\"]}"),
];

/// A gate process with a home of its own.
struct Gate {
    child: Child,
    listen: SocketAddr,
    _home: tempfile::TempDir,
}

impl Gate {
    fn start(config: &str, judging: Judging) -> Self {
        let home = tempfile::tempdir().expect("a directory");
        std::fs::write(home.path().join("meshgate.yaml"), config).expect("a file");
        let rules = match judging {
            Judging::Contracts => Path::new(env!("CARGO_MANIFEST_DIR")).join("rules"),
            Judging::Little => {
                let rules = home.path().join("rules");
                std::fs::create_dir_all(rules.join("little")).expect("a directory");
                LITTLE.iter().for_each(|(path, text)| std::fs::write(rules.join(path), text).expect("a file"));
                rules
            }
        };
        let binary = std::env::var_os("MESHGATE_BENCH_GATE").unwrap_or_else(|| env!("CARGO_BIN_EXE_meshgate").into());
        let mut child = Command::new(binary)
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
