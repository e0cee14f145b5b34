//! The jobs that Vector 0.58 was measured at elsewhere, done by the gate, so that the two can be held side by side.
//!
//!     cargo bench --bench vector   the table, and target/bench/vector.json
//!     cargo test --bench vector    a smoke run, for CI
//!
//! No package registry ships Vector, so its figures stand here as they were measured, on this kind of machine, with a schema and
//! VRL in place of contracts: CPU seconds per million events (0.5 KB customers, 0.9 KB orders) from stdin to stdout, and from HTTP
//! to Kinesis with acknowledgements that wait for it; and the latency of single events over HTTP at 1,000 a second.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;

#[path = "ends/mod.rs"]
mod ends;
#[path = "../tests/support/upstream.rs"]
mod upstream;

use ends::{Client, Gate, Process};

/// Lines of one HTTP request.
const LINES: usize = 500;

/// Of single events, a second.
const RATE: u32 = 1_000;

/// One kind of event, and what Vector took for a million of them, in seconds of CPU time.
struct Job {
    name: &'static str,
    stream: &'static str,
    event: &'static str,
    vector_stdin: f64,
    vector_http: f64,
}

const JOBS: [Job; 2] = [
    Job {
        name: "customer",
        stream: "customers-events",
        event: r#"{"specversion": "1.0", "id": "e-{number}", "source": "/crm/signup/eu", "type": "customer.created", "subject": "C-{number}", "time": "2026-11-22T10:00:00Z", "datacontenttype": "application/json", "data": {"customerId": "C-{number}", "kind": "person", "name": "Augusta Ada King, Countess of Lovelace", "email": "ada.{number}@example.com", "phone": "+4915112345678", "countryCode": "DE", "marketingConsent": true, "consentAt": "2026-11-22T10:00:00Z", "createdAt": "2026-11-22T10:00:00Z"}}"#,
        vector_stdin: 14.0,
        vector_http: 25.0,
    },
    Job {
        name: "order",
        stream: "orders-events",
        event: include_str!("order.json"),
        vector_stdin: 27.0,
        vector_http: 49.0,
    },
];

fn main() {
    let smoke = ends::is_smoke();
    let (events, time) = if smoke { (2_000, Duration::from_millis(300)) } else { (1_000_000, Duration::from_secs(5)) };
    let runtime = tokio::runtime::Runtime::new().expect("threads");
    let canned = runtime.block_on(upstream::Upstream::start_canned(Duration::ZERO));
    let mut rows = Vec::new();
    println!(
        "{:<44} {:>10} {:>10} {:>10} {:>10}",
        "CPU seconds per million events", "meshgate", "Vector", "times less", "target"
    );
    for job in &JOBS {
        let (stdin, http) = (from_stdin(job, events), from_http(job, canned.address, time));
        row(&format!("stdin to stdout, {} of {} bytes", job.name, job.line(0).len()), stdin, job.vector_stdin, "12");
        row(&format!("HTTP to Kinesis, {LINES} {}s a request", job.name), http, job.vector_http, "10");
        rows.push(json!({"event": job.name, "stdin": stdin, "http": http}));
    }
    let median = singles(canned.address, time);
    println!("\nHTTP to Kinesis, one order a request, {RATE}/s: p50 {median:.2} ms (Vector 13.6, target 1)");
    if !smoke {
        ends::keep("vector.json", &json!({"cpu_seconds_per_million": rows, "singles_p50_ms": median}));
    }
}

fn row(what: &str, meshgate: f64, vector: f64, target: &str) {
    println!("{what:<44} {meshgate:>10.2} {vector:>10.0} {:>10.1} {target:>10}", vector / meshgate);
}

impl Job {
    fn line(&self, number: usize) -> String {
        self.event.trim_end().replace("{number}", &format!("{number:06}"))
    }

    fn lines(&self, count: usize) -> String {
        (0..count).map(|number| self.line(number) + "\n").collect()
    }

    fn request(&self, lines: usize) -> Vec<u8> {
        let body = self.lines(lines);
        let (kind, length) = (if lines == 1 { "json" } else { "x-ndjson" }, body.len());
        let head = format!("POST /v1/streams/{}/events HTTP/1.1\r\nHost: 127.0.0.1\r\n", self.stream);
        format!("{head}Content-Type: application/{kind}\r\nContent-Length: {length}\r\n\r\n{body}").into_bytes()
    }
}

/// CPU seconds per million lines, the gate's start left out.
fn from_stdin(job: &Job, events: usize) -> f64 {
    let mut command = Command::new(Gate::binary());
    command.args(["run", "--stdin", "--stream", job.stream, "--rules"]).arg(ends::repository().join("rules"));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut gate = Process(command.spawn().expect("the gate starts"));
    let mut input = gate.0.stdin.take().expect("piped");
    let mut output = BufReader::with_capacity(1 << 20, gate.0.stdout.take().expect("piped")).lines();
    let part = job.lines(1_000);
    let mut pass = |parts: usize| {
        std::thread::scope(|scope| {
            scope.spawn(|| (0..parts).for_each(|_| input.write_all(part.as_bytes()).expect("the gate reads")));
            let forwarded = output.by_ref().take(parts * 1_000).filter(|line| line.is_ok()).count();
            assert_eq!(forwarded, parts * 1_000, "all events are good");
        });
    };
    pass(1);
    let before = gate.cpu_seconds();
    pass(events / 1_000);
    (gate.cpu_seconds() - before) * 1e6 / events as f64
}

fn from_http(job: &Job, upstream: SocketAddr, time: Duration) -> f64 {
    let Gate { process, listen, .. } = &Gate::start(Some(upstream));
    let (request, started) = (job.request(LINES), Instant::now());
    let before = process.cpu_seconds();
    let events: usize = std::thread::scope(|scope| {
        let client = || {
            let mut client = Client::connect(*listen);
            let asked = std::iter::from_fn(|| (started.elapsed() < time).then(|| client.ask(&request)));
            asked.count() * LINES
        };
        let clients: Vec<_> = (0..4).map(|_| scope.spawn(client)).collect();
        clients.into_iter().map(|client| client.join().expect("no panic")).sum()
    });
    (process.cpu_seconds() - before) * 1e6 / events as f64
}

/// The median latency of single orders that arrive on a schedule, in milliseconds, from when each was due.
fn singles(upstream: SocketAddr, time: Duration) -> f64 {
    const CONNECTIONS: u32 = 8;
    let Gate { listen, process: _running, .. } = &Gate::start(Some(upstream));
    let request = JOBS[1].request(1);
    let started = Instant::now() + Duration::from_millis(5);
    let mut latencies: Vec<Duration> = std::thread::scope(|scope| {
        let request = &request;
        let client = move |connection| {
            let (mut client, mut latencies) = (Client::connect(*listen), Vec::new());
            let mut due = started + Duration::from_secs(1) * connection / RATE;
            while due < started + time {
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
                client.ask(request);
                latencies.push(due.elapsed());
                due += Duration::from_secs(1) * CONNECTIONS / RATE;
            }
            latencies
        };
        let clients: Vec<_> = (0..CONNECTIONS).map(|connection| scope.spawn(move || client(connection))).collect();
        clients.into_iter().flat_map(|client| client.join().expect("no panic")).collect()
    });
    latencies.sort();
    latencies[latencies.len() / 2].as_secs_f64() * 1e3
}
