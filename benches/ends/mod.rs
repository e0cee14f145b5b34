//! Both ends of what a bench of processes measures: requests and clients before, a gate process behind.

// Compiled into each bench that names it by path; none of them uses all of it.
#![allow(dead_code)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Whether this run is to show that the bench works, not how fast anything is: `cargo bench` says otherwise.
pub fn is_smoke() -> bool {
    std::env::args().all(|arg| arg != "--bench")
}

/// Keeps a bench's figures for `benches/plot`.
pub fn keep(name: &str, figures: &serde_json::Value) {
    let path = repository().join("target/bench").join(name);
    std::fs::create_dir_all(path.parent().expect("a directory")).expect("a directory");
    std::fs::write(&path, figures.to_string()).expect("a file");
    println!("\nwritten to target/bench/{name}");
}

/// One whole PutRecords request of so many orders of 0.9 KB, which `rules/orders` accepts: headers and body.
pub fn request(records: usize) -> Vec<u8> {
    let record = |i: usize| {
        let order = include_str!("../order.json").trim_end().replace("{number}", &format!("{i:06}"));
        format!("{{\"Data\":\"{}\",\"PartitionKey\":\"O-{i:06}\"}}", BASE64.encode(order))
    };
    let records: Vec<String> = (0..records).map(record).collect();
    let body = format!("{{\"StreamName\":\"orders-events\",\"Records\":[{}]}}", records.join(","));
    format!(
        "POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/x-amz-json-1.1\r\n\
         X-Amz-Target: Kinesis_20131202.PutRecords\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// A connection that sends a request and waits for its answer.
pub struct Client(BufReader<TcpStream>);

impl Client {
    pub fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("the far end listens");
        stream.set_nodelay(true).expect("a socket");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a socket");
        Self(BufReader::new(stream))
    }

    /// How long the answer took, to its last byte. It must be 200.
    pub fn ask(&mut self, request: &[u8]) -> Duration {
        let asked = Instant::now();
        self.0.get_mut().write_all(request).expect("the far end reads");
        let (mut line, mut length) = (String::new(), 0);
        loop {
            line.clear();
            assert!(self.0.read_line(&mut line).expect("an answer") > 0, "the far end hung up");
            if let Some(status) = line.strip_prefix("HTTP/1.1 ") {
                assert!(status.starts_with("200"), "{status}");
            } else if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().expect("a length");
            } else if line == "\r\n" {
                break;
            }
        }
        std::io::copy(&mut self.0.by_ref().take(length), &mut std::io::sink()).expect("a body");
        asked.elapsed()
    }
}

/// A child process that ends with this.
pub struct Process(pub Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Process {
    pub fn cpu_seconds(&self) -> f64 {
        cpu_seconds(self.0.id())
    }

    /// A size out of /proc/PID/status, such as VmRSS, in MiB.
    pub fn mib(&self, name: &str) -> f64 {
        let status = proc(self.0.id(), "status");
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).expect("a known name");
        line.trim().trim_end_matches(" kB").parse::<f64>().expect("kilobytes") / 1024.0
    }
}

fn proc(process: u32, file: &str) -> String {
    std::fs::read_to_string(format!("/proc/{process}/{file}")).expect("Linux")
}

/// User and system time of a process so far: fields 14 and 15 of /proc/PID/stat, in ticks of 10 ms (proc(5)).
pub fn cpu_seconds(process: u32) -> f64 {
    let stat = proc(process, "stat");
    let after_name = stat.rsplit(") ").next().expect("a name in parentheses");
    let ticks: u64 = after_name.split(' ').skip(11).take(2).map(|field| field.parse::<u64>().expect("ticks")).sum();
    ticks as f64 / 100.0
}

/// A gate process with a home of its own.
pub struct Gate {
    pub process: Process,
    pub listen: SocketAddr,
    pub admin: SocketAddr,
    /// From the start of the process to its word that it is ready.
    pub ready_after: Duration,
    _home: tempfile::TempDir,
}

impl Gate {
    /// The gate on its own store, or before an upstream.
    pub fn start(upstream: Option<SocketAddr>) -> Self {
        let config = upstream.map_or_else(
            || "backend: local\n".to_owned(),
            |to| format!("backend: aws\naws: {{region: us-east-1, kinesis_endpoint: 'http://{to}', sqs_endpoint: 'http://{to}'}}\n"),
        );
        Self::with(&config)
    }

    pub fn with(config: &str) -> Self {
        let home = tempfile::tempdir().expect("a directory");
        std::fs::write(home.path().join("meshgate.yaml"), config).expect("a file");
        let started = Instant::now();
        let child = Command::new(Self::binary())
            .args(["run", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--rules"])
            .arg(repository().join("rules"))
            .current_dir(home.path())
            .env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", "test")
            .stderr(Stdio::piped())
            .spawn();
        let mut process = Process(child.expect("the gate starts"));
        let mut lines = BufReader::new(process.0.stderr.take().expect("piped")).lines();
        let (listen, admin) = loop {
            let line = lines.next().expect("the gate says when it is ready").expect("text");
            let said: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
            let address = |name: &str| Some(said["fields"][name].as_str()?.parse().expect("an address"));
            if let Some(addresses) = address("listen").zip(address("admin")) {
                break addresses;
            }
        };
        let ready_after = started.elapsed();
        std::thread::spawn(move || lines.for_each(drop));
        Self { process, listen, admin, ready_after, _home: home }
    }

    /// The values of a metric on the admin port, one a series.
    pub fn metric(&self, name: &str) -> Vec<f64> {
        let mut stream = TcpStream::connect(self.admin).expect("the admin port listens");
        let request = "GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).expect("it reads");
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("an answer");
        let series =
            text.lines().filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' '])));
        series.map(|line| line.rsplit(' ').next().and_then(|value| value.parse().ok()).expect("a value")).collect()
    }

    /// That of this build, or the one MESHGATE_BENCH_GATE names.
    pub fn binary() -> PathBuf {
        std::env::var_os("MESHGATE_BENCH_GATE").unwrap_or_else(|| env!("CARGO_BIN_EXE_meshgate").into()).into()
    }
}
