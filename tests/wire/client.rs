//! Clients that send what they are told, byte for byte.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::Request;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;

pub const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    /// Lower-case names, sorted.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Reply {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("this body is text")
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).expect("this body is JSON")
    }
}

/// One HTTP/1.1 connection.
pub struct H1 {
    pub stream: TcpStream,
    read: Vec<u8>,
}

impl H1 {
    pub async fn connect(address: SocketAddr) -> Self {
        Self { stream: TcpStream::connect(address).await.unwrap(), read: Vec::new() }
    }

    pub async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// The next reply; `None` when the connection is closed instead.
    pub async fn reply(&mut self) -> Option<Reply> {
        timeout(PATIENCE, self.read_reply()).await.expect("no reply came")
    }

    async fn read_reply(&mut self) -> Option<Reply> {
        let head_end = loop {
            if let Some(at) = self.read.windows(4).position(|w| w == b"\r\n\r\n") {
                break at + 4;
            }
            self.fill().await?;
        };
        let head = String::from_utf8(self.read[..head_end].to_vec()).unwrap();
        let mut lines = head.split("\r\n");
        let status = lines.next()?.split(' ').nth(1)?.parse().unwrap();
        let mut headers: Vec<_> = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        headers.sort();
        let mut reply = Reply { status, headers, body: Vec::new() };
        let len: usize = reply.header("content-length").map_or(0, |value| value.parse().unwrap());
        while self.read.len() < head_end + len {
            self.fill().await?;
        }
        reply.body = self.read[head_end..head_end + len].to_vec();
        self.read.drain(..head_end + len);
        Some(reply)
    }

    async fn fill(&mut self) -> Option<()> {
        let mut chunk = [0; 64 * 1024];
        let len = self.stream.read(&mut chunk).await.ok().filter(|len| *len > 0)?;
        self.read.extend_from_slice(&chunk[..len]);
        Some(())
    }

    pub async fn post(&mut self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
        let mut head = format!("POST {path} HTTP/1.1\r\nHost: gate\r\nContent-Length: {}\r\n", body.len());
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        self.send(&[head.as_bytes(), body].concat()).await;
        self.reply().await.expect("a reply, not a closed connection")
    }

    pub async fn kinesis(&mut self, operation: &str, body: &str) -> Reply {
        let target = format!("Kinesis_20131202.{operation}");
        let headers = [("X-Amz-Target", &*target), ("Content-Type", "application/x-amz-json-1.1")];
        self.post("/", &headers, body.as_bytes()).await
    }
}

/// One HTTP/2 connection without TLS, with prior knowledge.
pub struct H2 {
    sender: SendRequest<Full<Bytes>>,
    /// Ends when the connection does.
    pub connection: JoinHandle<()>,
}

impl H2 {
    pub async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        let connection = tokio::spawn(async move {
            let _ = connection.await;
        });
        Self { sender, connection }
    }

    pub async fn post(&mut self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
        let mut request = Request::post(format!("http://127.0.0.1{path}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(Bytes::copy_from_slice(body))).unwrap();
        let response = timeout(PATIENCE, self.sender.send_request(request)).await.expect("no reply came").unwrap();
        let (parts, body) = response.into_parts();
        let mut headers: Vec<_> =
            parts.headers.iter().map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect();
        headers.sort();
        let body = timeout(PATIENCE, body.collect()).await.expect("no body came").unwrap().to_bytes().to_vec();
        Reply { status: parts.status.as_u16(), headers, body }
    }
}
