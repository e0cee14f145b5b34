//! One connection of the data port: its protocol, and when it has been silent for too long.
//!
//! hyper times the head of an HTTP/1.1 request from the end of the one before, so that its header timeout is an idle timeout
//! as well, and it times nothing before it knows the protocol, nor an idle HTTP/2 connection. So the gate watches the bytes
//! itself: see [`Activity`].

use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body, Frame, SizeHint};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use prometheus::IntGauge;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until};

use super::listener::{Limits, Port};

/// The longest request head, in bytes (HTTP/1.1: also the read buffer). SDKs send 1 to 2 KiB.
const HEAD_MAX: u32 = 64 * 1024;
/// A connection that was asked to close is cut when nothing has moved on it for this long.
const LINGER: Duration = Duration::from_secs(5);
/// Writes up to this size may be pings and their kin, which say nothing about the client being served. Bytes.
const CONTROL_MAX: usize = 64;
/// How an HTTP/2 connection starts (RFC 9113, 3.4).
const H2_START: &[u8] = b"PRI ";

/// Serves one connection to its end.
pub async fn run(stream: TcpStream, port: Arc<Port>, mut draining: watch::Receiver<bool>) {
    let _counted = Counted::new(port.service.metrics.connections.clone());
    // Answers are written whole; waiting to fill a segment would only delay them.
    let _ = stream.set_nodelay(true);
    let activity = Arc::new(Activity::new());
    let watched = Watched { stream, activity: Arc::clone(&activity), matched: Some(0) };
    let service = service_fn(|request| {
        let under_way = UnderWay::start(&activity);
        let port = Arc::clone(&port);
        async move { port.answer(request).await.map(|r| r.map(|body| Guarded { body, _under_way: under_way })) }
    });
    let builder = builder(&port.limits);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(watched), service));
    let mut closing: Option<Instant> = None;
    loop {
        tokio::select! {
            ended = connection.as_mut() => {
                // Clients come and go; what they do not finish was not acknowledged.
                if let Err(error) = ended {
                    tracing::debug!(%error, "a connection broke off");
                }
                return;
            }
            silence = activity.silence(&port.limits), if closing.is_none() => {
                if silence == Silence::Head {
                    return;
                }
                closing = Some(Instant::now());
                connection.as_mut().graceful_shutdown();
            }
            Ok(_) = draining.wait_for(|draining| *draining), if closing.is_none() => {
                closing = Some(Instant::now());
                connection.as_mut().graceful_shutdown();
            }
            () = sleep_until(closing.unwrap_or_else(Instant::now) + LINGER), if closing.is_some() => {
                if activity.is_still_since(closing) {
                    return;
                }
                closing = Some(Instant::now());
            }
        }
    }
}

fn builder(limits: &Limits) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(None).max_buf_size(HEAD_MAX as usize);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.h2_streams)
        .max_header_list_size(HEAD_MAX)
        .keep_alive_interval(limits.h2_ping)
        .keep_alive_timeout(limits.h2_ping_time);
    builder
}

/// Counts a connection for as long as it lives.
struct Counted(IntGauge);

impl Counted {
    fn new(gauge: IntGauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// What a connection was silent about for too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Silence {
    /// A request head that was begun, or the first one.
    Head,
    /// Everything.
    Idle,
}

/// What moves on a connection. Times are microseconds after `opened`.
struct Activity {
    opened: Instant,
    /// Requests whose answer is not handed to the protocol yet.
    under_way: AtomicUsize,
    is_h2: AtomicBool,
    /// When something last moved: an answer was given, or bytes of one were taken by the client.
    moved: AtomicU64,
    /// One more than when the first byte of a request head came; 0 while none is awaited. On HTTP/2, always 0: there heads are
    /// short frames, and pings arrive between them.
    head: AtomicU64,
    /// Something that brings a deadline forward.
    changed: Notify,
}

impl Activity {
    fn new() -> Self {
        Self {
            opened: Instant::now(),
            under_way: AtomicUsize::new(0),
            is_h2: AtomicBool::new(false),
            moved: AtomicU64::new(0),
            head: AtomicU64::new(1),
            changed: Notify::new(),
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.opened.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    fn read_some(&self) {
        let idle = self.under_way.load(Ordering::Relaxed) == 0 && !self.is_h2.load(Ordering::Relaxed);
        let begun = self.now().saturating_add(1);
        if idle && self.head.compare_exchange(0, begun, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            self.changed.notify_one();
        }
    }

    fn is_h2(&self) {
        self.is_h2.store(true, Ordering::Relaxed);
        self.head.store(0, Ordering::Relaxed);
        self.moved.store(self.now(), Ordering::Relaxed);
    }

    fn moved(&self) {
        self.moved.store(self.now(), Ordering::Relaxed);
    }

    /// When the silence gets too long, if nothing moves before.
    fn deadline(&self, limits: &Limits) -> Option<(Instant, Silence)> {
        if self.under_way.load(Ordering::Relaxed) > 0 {
            return None;
        }
        let after = |micros: u64, time: Duration| self.opened + Duration::from_micros(micros) + time;
        Some(match self.head.load(Ordering::Relaxed) {
            0 => (after(self.moved.load(Ordering::Relaxed), limits.idle_time), Silence::Idle),
            begun => (after(begun - 1, limits.header_time), Silence::Head),
        })
    }

    /// Ends when the connection has been silent for too long.
    async fn silence(&self, limits: &Limits) -> Silence {
        loop {
            match self.deadline(limits) {
                None => self.changed.notified().await,
                Some((at, silence)) if at <= Instant::now() => return silence,
                Some((at, _)) => tokio::select! {
                    () = sleep_until(at) => {}
                    () = self.changed.notified() => {}
                },
            }
        }
    }

    fn is_still_since(&self, since: Option<Instant>) -> bool {
        let moved = self.opened + Duration::from_micros(self.moved.load(Ordering::Relaxed));
        self.under_way.load(Ordering::Relaxed) == 0 && since.is_none_or(|since| moved <= since)
    }
}

/// A request under way, until its answer is handed to the protocol or nobody waits for it any more.
struct UnderWay(Arc<Activity>);

impl UnderWay {
    fn start(activity: &Arc<Activity>) -> Self {
        activity.under_way.fetch_add(1, Ordering::Relaxed);
        activity.head.store(0, Ordering::Relaxed);
        Self(Arc::clone(activity))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.moved();
        if self.0.under_way.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.0.changed.notify_one();
        }
    }
}

/// An answer's body, which ends the request when the protocol has taken it over.
struct Guarded {
    body: Full<Bytes>,
    _under_way: UnderWay,
}

impl Body for Guarded {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The socket, telling [`Activity`] what moves.
struct Watched {
    stream: TcpStream,
    activity: Arc<Activity>,
    /// How many bytes of [`H2_START`] were seen; `None` once the protocol is known.
    matched: Option<usize>,
}

impl Watched {
    fn saw(&mut self, bytes: &[u8]) {
        if let Some(matched) = self.matched {
            let expected = &H2_START[matched..];
            let compared = expected.len().min(bytes.len());
            self.matched = (bytes[..compared] == expected[..compared]).then_some(matched + compared);
            if self.matched == Some(H2_START.len()) {
                self.matched = None;
                self.activity.is_h2();
            }
        }
        self.activity.read_some();
    }
}

impl AsyncRead for Watched {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.saw(&buf.filled()[before..]);
        }
        polled
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.wrote(written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bytes);
        self.wrote(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

impl Watched {
    fn wrote(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if matches!(written, Poll::Ready(Ok(len)) if len > CONTROL_MAX) {
            self.activity.moved();
        }
        written
    }
}
