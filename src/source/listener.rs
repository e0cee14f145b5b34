//! The data port: one plain TCP listener that speaks HTTP/1.1 and h2c with prior knowledge, each connection whatever its
//! first bytes say. SDKs for JavaScript and Java's asynchronous clients speak only the latter to Kinesis.
//!
//! Everything a client can make the gate hold is bounded by [`Limits`]: connections, headers, bodies each and together,
//! streams of a connection, and the time any of them may take.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::http::request::Parts;
use hyper::{Request, Response};
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{sleep, timeout};
use tracing::Instrument as _;

use super::body::{self, BodyFault};
use super::connection;
use super::service::{Answer, Service};
use crate::trace::Traced;

/// The bounds of the data port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Open connections. One more is closed at once, and counted.
    pub connections: usize,
    /// For a whole request head, from its first byte; for the first bytes of a connection, from its start. HTTP/1.1.
    pub header_time: Duration,
    /// For a connection with no request under way.
    pub idle_time: Duration,
    /// One request's body. 10 MiB of record data are about 14 MiB of base64, and partition keys come on top.
    pub body_bytes: usize,
    /// For a whole body.
    pub body_time: Duration,
    /// All bodies under way together, as they arrived. Reading one may take as much again while its records are decoded.
    pub bodies_bytes: usize,
    /// All large answers (`GetRecords`) together, until their clients have taken them.
    pub answers_bytes: usize,
    /// How long a body or an answer waits for memory before its request is turned away.
    pub memory_wait: Duration,
    /// Requests at a time on one HTTP/2 connection.
    pub h2_streams: u32,
    /// A ping this often on HTTP/2 connections with requests under way, and how long its answer may take.
    pub h2_ping: Duration,
    pub h2_ping_time: Duration,
    /// From the order to stop until connections that still have requests under way are cut.
    pub drain_time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1024,
            header_time: Duration::from_secs(10),
            idle_time: Duration::from_secs(75),
            body_bytes: 16 * 1024 * 1024,
            body_time: Duration::from_secs(30),
            bodies_bytes: 128 * 1024 * 1024,
            answers_bytes: 128 * 1024 * 1024,
            memory_wait: Duration::from_secs(2),
            h2_streams: 128,
            h2_ping: Duration::from_secs(20),
            h2_ping_time: Duration::from_secs(20),
            drain_time: Duration::from_secs(25),
        }
    }
}

/// How a listener ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drained {
    /// Connections cut at the deadline, with requests under way. None of those requests was acknowledged.
    pub cut: usize,
}

/// What all connections share.
pub(super) struct Port {
    pub service: Arc<Service>,
    pub limits: Limits,
    /// Bytes left for bodies.
    memory: Arc<Semaphore>,
    /// Bytes left for large answers.
    answers: Arc<Semaphore>,
}

/// An answer's bytes, with their share of the memory for as long as any of them waits for its client.
struct Held {
    bytes: Bytes,
    _room: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// How long to wait before accepting again when the machine has no descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves `listener` until `shutdown` is ready, then stops accepting, lets requests under way finish, and cuts what is left
/// after [`Limits::drain_time`]. Dropped, it cuts everything at once.
pub async fn serve(
    listener: TcpListener,
    service: Arc<Service>,
    limits: Limits,
    shutdown: impl Future<Output = ()>,
) -> Drained {
    let memory = Arc::new(Semaphore::new(limits.bodies_bytes.min(Semaphore::MAX_PERMITS)));
    let answers = Arc::new(Semaphore::new(limits.answers_bytes.min(Semaphore::MAX_PERMITS)));
    service.metrics.connections_limit.set(i64::try_from(limits.connections).unwrap_or(i64::MAX));
    let port = Arc::new(Port { service, limits, memory, answers });
    let (drain, draining) = watch::channel(false);
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut shutdown => break,
            Some(ended) = connections.join_next() => {
                report_panic(ended);
                continue;
            }
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) if connections.len() < port.limits.connections => {
                connections.spawn(connection::run(stream, Arc::clone(&port), draining.clone()));
            }
            Ok(_) => port.service.metrics.connections_refused.inc(),
            Err(error) => pause_after(&error).await,
        }
    }
    drop(listener);
    let _ = drain.send(true);
    let all_done = async {
        while let Some(ended) = connections.join_next().await {
            report_panic(ended);
        }
    };
    let _ = timeout(port.limits.drain_time, all_done).await;
    let cut = connections.len();
    connections.shutdown().await;
    Drained { cut }
}

/// A panic ends its connection only; nothing of its requests was acknowledged.
fn report_panic(ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(
            "a connection ended in a panic, which is a bug in the gate; its requests were not acknowledged"
        );
    }
}

async fn pause_after(error: &io::Error) {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    if !matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted) {
        tracing::warn!(%error, "could not accept a connection; trying again, raise the limit on open files if this stays");
        sleep(ACCEPT_PAUSE).await;
    }
}

impl Port {
    /// Reads one request, answers it, and counts it.
    pub(super) async fn answer(&self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
        let (parts, incoming) = request.into_parts();
        let traced = self.service.tracer.request(&parts.headers);
        let taken = body::take(&parts, incoming, &self.limits, &self.memory).await;
        let started = Instant::now();
        let Answer { response, source, operation } = match taken {
            Ok(taken) => match self.room_for_answer(&parts).await {
                Ok(room) => held(self.answer_traced(&parts, &taken.bytes, &traced).await, room).await,
                Err(fault) => self.service.refuse(&parts, fault),
            },
            Err(fault) => self.service.refuse(&parts, fault),
        };
        let class = match response.status().as_u16() {
            ..400 => "2xx",
            400..500 => "4xx",
            500.. => "5xx",
        };
        traced.answered(source, operation, parts.method.as_str(), response.status().as_u16());
        let metrics = &self.service.metrics;
        metrics.requests.with_label_values(&[source, operation, class]).inc();
        metrics.request_seconds.with_label_values(&[source, operation]).observe(started.elapsed().as_secs_f64());
        Ok(response)
    }

    /// Lines of the log about a request that belongs to a trace say so.
    async fn answer_traced(&self, parts: &Parts, body: &Bytes, traced: &Traced) -> Answer {
        let answer = self.service.answer(parts, body, traced);
        match traced.context() {
            None => answer.await,
            // Of the highest level, so that no filter leaves it out.
            Some(context) => answer.instrument(tracing::error_span!("request", trace_id = %context.trace_id)).await,
        }
    }

    /// Sets memory aside before a large answer is made. A client that asks for many and takes none has them all to itself.
    async fn room_for_answer(&self, parts: &Parts) -> Result<Option<OwnedSemaphorePermit>, BodyFault> {
        let most = self.service.answer_bytes_max(parts).min(self.limits.answers_bytes);
        let Some(bytes) = u32::try_from(most).ok().filter(|bytes| *bytes > 0) else { return Ok(None) };
        match timeout(self.limits.memory_wait, Arc::clone(&self.answers).acquire_many_owned(bytes)).await {
            Ok(Ok(room)) => Ok(Some(room)),
            _ => Err(BodyFault::Busy),
        }
    }
}

/// Ties an answer to the memory set aside for it, and gives back what it does not need.
async fn held(answer: Answer, room: Option<OwnedSemaphorePermit>) -> Answer {
    let Some(mut room) = room else { return answer };
    let (parts, body) = answer.response.into_parts();
    let Ok(body) = body.collect().await;
    let bytes = body.to_bytes();
    drop(room.split(room.num_permits().saturating_sub(bytes.len())));
    let bytes = Bytes::from_owner(Held { bytes, _room: room });
    Answer { response: Response::from_parts(parts, Full::new(bytes)), ..answer }
}
