//! The gate beside nginx and Envoy, all three in front of one canned upstream, all passing on the same PutRecords bytes.
//!
//!     benches/tools/install && cargo bench --bench proxies   the tables, and target/bench/proxies.json
//!     cargo test --bench proxies                             a smoke run of what is installed, for CI
//!
//! A proxy copies bytes; the gate judges every record of them, signs what it forwards and reads the answer. What it may
//! cost more is latency and processor time, and this measures both: requests arrive on a schedule, half as many as the gate
//! sustains, and a request's latency counts from when it was due, so that one which had to wait is not flattered. Added
//! latency is what goes beyond the upstream asked directly. All take turns of a second.
//!
//! nginx buffers a body in memory and keeps connections to its upstream; Envoy streams. Both have no logs.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

#[path = "ends/mod.rs"]
mod ends;
#[path = "../tests/support/upstream.rs"]
mod upstream;

use ends::{Client, Gate, Process};

const CONNECTIONS: usize = 4;

/// What a producer talks to: the upstream itself, or something before it.
struct Front {
    name: &'static str,
    address: SocketAddr,
    process: Option<Process>,
    latencies: Vec<Duration>,
    cpu_seconds: f64,
    _home: Option<tempfile::TempDir>,
}

fn main() {
    let smoke = ends::is_smoke();
    let (turn, turns) = if smoke { (Duration::from_millis(200), 1) } else { (Duration::from_secs(1), 12) };
    let runtime = tokio::runtime::Runtime::new().expect("threads");
    let canned = runtime.block_on(upstream::Upstream::start_canned(Duration::ZERO));
    let mut tables = Vec::new();
    for records in [1, 500] {
        let mut fronts = fronts(canned.address);
        let gate = fronts.last().expect("the gate is the last").address;
        let request = ends::request(records);
        let sustained = saturate(gate, &request, turn * 2);
        let rate = sustained / 2.0;
        for _ in 0..turns {
            for front in &mut fronts {
                take_turn(front, &request, rate, turn);
            }
        }
        tables.push(report(&fronts, records, rate));
    }
    if !smoke {
        ends::keep("proxies.json", &json!(tables));
    }
}

fn fronts(upstream: SocketAddr) -> Vec<Front> {
    let front = |name, address, process, home| Front {
        name,
        address,
        process,
        latencies: Vec::new(),
        cpu_seconds: 0.0,
        _home: home,
    };
    let mut fronts = vec![front("upstream alone", upstream, None, None)];
    for (name, start) in [("nginx", nginx as fn(&Path, SocketAddr, SocketAddr) -> Option<Command>), ("Envoy", envoy)] {
        let home = tempfile::tempdir().expect("a directory");
        let address = free_address();
        let Some(mut command) = start(home.path(), address, upstream) else {
            println!("left out: {name}, which benches/tools/install brings");
            continue;
        };
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the proxy starts");
        let process = Process(child);
        wait_for(name, address);
        fronts.push(front(name, address, Some(process), Some(home)));
    }
    let Gate { process, listen, .. } = Gate::start(Some(upstream));
    fronts.push(front("meshgate", listen, Some(process), None));
    fronts
}

/// A port that was free a moment ago. Proxies do not say which they took.
fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port")
}

fn wait_for(name: &str, address: SocketAddr) {
    let started = Instant::now();
    while TcpStream::connect(address).is_err() {
        assert!(started.elapsed() < Duration::from_secs(20), "{name} does not listen");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn tools() -> PathBuf {
    std::env::var_os("MESHGATE_TOOLS").map_or_else(|| ends::repository().join("target/tools"), PathBuf::from)
}

fn nginx(home: &Path, address: SocketAddr, upstream: SocketAddr) -> Option<Command> {
    let unpacked = tools().join("nginx/usr/sbin/nginx");
    let binary = [unpacked, "/usr/sbin/nginx".into()].into_iter().find(|path| path.exists())?;
    let config = format!(
        "daemon off; master_process off; pid {home}/pid; error_log stderr crit;
events {{ worker_connections 256; }}
http {{
  access_log off; client_max_body_size 16m; client_body_buffer_size 4m; keepalive_requests 1000000;
  client_body_temp_path {home}/body; proxy_temp_path {home}/proxy; fastcgi_temp_path {home}/fastcgi;
  uwsgi_temp_path {home}/uwsgi; scgi_temp_path {home}/scgi;
  upstream mesh {{ server {upstream}; keepalive 64; keepalive_requests 1000000; }}
  server {{
    listen {address};
    location / {{ proxy_pass http://mesh; proxy_http_version 1.1; proxy_set_header Connection \"\"; }}
  }}
}}
",
        home = home.display()
    );
    std::fs::write(home.join("nginx.conf"), config).expect("a file");
    let mut command = Command::new(binary);
    command.arg("-e").arg("stderr").arg("-p").arg(home).arg("-c").arg(home.join("nginx.conf"));
    Some(command)
}

fn envoy(home: &Path, address: SocketAddr, upstream: SocketAddr) -> Option<Command> {
    let libraries = std::fs::read_dir(tools().join("envoy/lib")).ok()?;
    let binaries = libraries.flatten().map(|python| python.path().join("site-packages/envoy/_bin/envoy"));
    let binary = binaries.into_iter().find(|path| path.exists())?;
    let at = |address: SocketAddr| json!({"socket_address": {"address": address.ip().to_string(), "port_value": address.port()}});
    let route = json!({"name": "all", "virtual_hosts": [{"name": "all", "domains": ["*"],
        "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "mesh"}}]}]});
    let router = json!({"name": "envoy.filters.http.router",
        "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}});
    let manager = json!({"name": "envoy.filters.network.http_connection_manager", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "http", "route_config": route, "http_filters": [router]}});
    let config = json!({"static_resources": {
        "listeners": [{"name": "in", "address": at(address), "filter_chains": [{"filters": [manager]}]}],
        "clusters": [{"name": "mesh", "type": "STATIC", "connect_timeout": "1s", "load_assignment": {
            "cluster_name": "mesh",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": at(upstream)}}]}]}}]}});
    std::fs::write(home.join("envoy.json"), config.to_string()).expect("a file");
    let mut command = Command::new(binary);
    command
        .args(["--disable-hot-restart", "--log-level", "off", "--concurrency", "2", "-c"])
        .arg(home.join("envoy.json"));
    Some(command)
}

/// Requests per second when every connection asks again as soon as it is answered.
fn saturate(address: SocketAddr, request: &[u8], time: Duration) -> f64 {
    let (started, answered) = (Instant::now(), Mutex::new(0));
    on_connections(address, |_, client| {
        while started.elapsed() < time {
            client.ask(request);
            *answered.lock().expect("not poisoned") += 1;
        }
    });
    f64::from(answered.into_inner().expect("not poisoned")) / started.elapsed().as_secs_f64()
}

/// One turn of a front: requests at `rate`, spread over the connections, each due at its own time.
fn take_turn(front: &mut Front, request: &[u8], rate: f64, time: Duration) {
    let cpu = |front: &Front| front.process.as_ref().map_or(0.0, Process::cpu_seconds);
    let (before, every) = (cpu(front), Duration::from_secs_f64(CONNECTIONS as f64 / rate));
    let latencies = Mutex::new(Vec::new());
    let started = Instant::now() + Duration::from_millis(5);
    on_connections(front.address, |connection, client| {
        let mut due = started + every * connection as u32 / CONNECTIONS as u32;
        let mut seen = Vec::new();
        while due < started + time {
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            client.ask(request);
            seen.push(due.elapsed());
            due += every;
        }
        latencies.lock().expect("not poisoned").append(&mut seen);
    });
    front.latencies.append(&mut latencies.into_inner().expect("not poisoned"));
    front.cpu_seconds += cpu(front) - before;
}

fn on_connections(address: SocketAddr, work: impl Fn(usize, &mut Client) + Sync) {
    std::thread::scope(|scope| {
        for connection in 0..CONNECTIONS {
            let work = &work;
            scope.spawn(move || work(connection, &mut Client::connect(address)));
        }
    });
}

/// Prints the table of one kind of request, and gives it back.
fn report(fronts: &[Front], records: usize, rate: f64) -> Value {
    let microseconds = |latencies: &mut Vec<Duration>, share: f64| {
        latencies.sort();
        latencies[((latencies.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e6
    };
    println!("\n{records} records of 0.9 KB a request, {rate:.0} requests/s, half of what the gate sustains");
    println!(
        "{:<16} {:>9} {:>9} {:>11} {:>11} {:>17}",
        "µs", "p50", "p99", "added p50", "added p99", "CPU µs per record"
    );
    let (mut rows, mut direct) = (Vec::new(), None);
    for front in fronts {
        let mut latencies = front.latencies.clone();
        let (p50, p99) = (microseconds(&mut latencies, 0.5), microseconds(&mut latencies, 0.99));
        let (direct50, direct99) = *direct.get_or_insert((p50, p99));
        let cpu = front.cpu_seconds * 1e6 / (latencies.len() * records) as f64;
        let (added50, added99) = (p50 - direct50, p99 - direct99);
        println!("{:<16} {p50:>9.0} {p99:>9.0} {added50:>11.0} {added99:>11.0} {cpu:>17.2}", front.name);
        rows.push(json!({
            "front": front.name, "requests": latencies.len(), "p50_us": p50, "p99_us": p99, "added_p50_us": added50,
            "added_p99_us": added99, "cpu_us_per_record": cpu,
        }));
    }
    let at = |name: &str| rows.iter().find(|row| row["front"] == name);
    for proxy in ["nginx", "Envoy"] {
        if let (Some(proxy), Some(gate)) = (at(proxy), at("meshgate")) {
            let over = |key: &str| gate[key].as_f64().unwrap_or_default() / proxy[key].as_f64().unwrap_or_default();
            let name = proxy["front"].as_str().unwrap_or_default();
            let (p50, p99) = (over("added_p50_us"), over("added_p99_us"));
            println!("added latency over {name}'s: p50 {p50:.2}, p99 {p99:.2} (target 1.5)");
        }
    }
    json!({"records": records, "requests_per_second": rate, "fronts": rows})
}
