//! A collector of spans: takes OTLP over HTTP, and reads what came by OpenTelemetry's published definitions.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Stdio;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use super::process::wait_until;
use super::tools::{Tool, repository, tool};

/// Requests that came: path, content type, body.
type Came = Arc<Mutex<Vec<(String, String, Vec<u8>)>>>;

pub struct Collector {
    pub address: SocketAddr,
    came: Came,
    status: Arc<AtomicU16>,
}

impl Collector {
    /// `None` when the definitions are not installed.
    pub fn start() -> Option<Self> {
        tool(Tool::OtlpDefinitions)?;
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let (came, status) = (Came::default(), Arc::new(AtomicU16::new(200)));
        let (kept, told) = (Arc::clone(&came), Arc::clone(&status));
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let (came, status) = (Arc::clone(&kept), Arc::clone(&told));
                thread::spawn(move || serve(client, &came, &status));
            }
        });
        Some(Self { address, came, status })
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What requests are answered with from now on.
    pub fn answer_with(&self, status: u16) {
        self.status.store(status, Ordering::SeqCst);
    }

    pub fn requests(&self) -> usize {
        self.came.lock().expect("no thread panics with it").len()
    }

    /// The spans that came, once `enough` says so of them, each `{name, kind, traceId, spanId, parentSpanId, attributes, links, status, …}`.
    pub fn spans(&self, enough: impl Fn(&[Value]) -> bool) -> Vec<Value> {
        let mut seen = 0;
        wait_until("the spans that are waited for", Duration::from_secs(20), || {
            let requests = self.requests();
            if requests == std::mem::replace(&mut seen, requests) {
                return None;
            }
            Some(self.read()).filter(|spans| enough(spans))
        })
    }

    /// Reads what came, by a program of OpenTelemetry's own definitions: an unknown member or a wrong type is its failure.
    fn read(&self) -> Vec<Value> {
        let mut python = tool(Tool::OtlpDefinitions).expect("found at the start");
        python.arg(repository().join("tests/clients/otlp_spans.py"));
        let mut child = python.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("Python starts");
        let mut stdin = child.stdin.take().expect("it is piped");
        for (path, content_type, body) in self.came.lock().expect("no thread panics with it").iter() {
            assert_eq!((path.as_str(), content_type.as_str()), ("/v1/traces", "application/json"));
            stdin.write_all(body).and_then(|()| stdin.write_all(b"\n")).expect("Python reads");
        }
        drop(stdin);
        let output = child.wait_with_output().expect("Python ends");
        assert!(output.status.success(), "the spans cannot be read; see above");
        serde_json::from_slice(&output.stdout).expect("a list of spans")
    }
}

/// Answers one connection's requests until it is closed.
fn serve(client: TcpStream, came: &Came, status: &AtomicU16) -> Option<()> {
    let mut client = BufReader::new(client);
    loop {
        let request_line = line(&mut client).ok().filter(|line| !line.is_empty())?;
        let (mut length, mut content_type) = (0, String::new());
        loop {
            let header = line(&mut client).ok()?;
            let Some((name, value)) = header.split_once(':') else { break };
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.trim().parse().ok()?,
                "content-type" => content_type = value.trim().to_owned(),
                _ => {}
            }
        }
        let mut body = vec![0; length];
        client.read_exact(&mut body).ok()?;
        let status = status.load(Ordering::SeqCst);
        if status == 200 {
            let path = request_line.split(' ').nth(1)?.to_owned();
            came.lock().ok()?.push((path, content_type, body));
        }
        let answer = format!("HTTP/1.1 {status} so\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{{}}");
        client.get_mut().write_all(answer.as_bytes()).ok()?;
    }
}

fn line(from: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    from.read_line(&mut line)?;
    Ok(line.trim_end().to_owned())
}
