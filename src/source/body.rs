//! Reading a request's body within its limits: bytes, time, and a share of the memory that all bodies have together.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::{Body, Incoming};
use hyper::http::header::{CONTENT_LENGTH, EXPECT};
use hyper::http::request::Parts;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout, timeout_at};

use super::listener::Limits;

/// Taken from the shared memory at once, so that a body's chunks do not queue for it one by one. Bytes.
const STEP: usize = 16 * 1024;
/// An announced length is believed up to this many times what has come: a large body is then moved once or twice while it grows,
/// and an announcement alone costs its sender nothing.
const BELIEVED_FACTOR: usize = 16;
/// A refused body is read and thrown away up to this many times the limit, so that its sender gets to read the answer: a
/// socket closed over unread bytes is reset, and the answer with it.
const DISCARD_FACTOR: usize = 4;
const DISCARD_TIME: Duration = Duration::from_secs(5);

/// Why a body was not taken in. Nothing of it was judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BodyFault {
    #[error("the request body exceeds {limit} bytes; nothing was taken, send fewer records at a time")]
    TooLarge { limit: usize },
    #[error("the request body did not arrive within {seconds} s; nothing was taken, send it again")]
    TooSlow { seconds: u64 },
    #[error("the gate has no memory left for further requests; nothing was taken, retry with back-off")]
    Busy,
    #[error("the request body broke off; nothing was taken, send it again")]
    Broken,
}

/// A body, and its share of the memory for as long as it lives.
pub struct Taken {
    pub bytes: Bytes,
    _memory: Memory,
}

/// A growing share of the memory that bodies in flight have together.
#[derive(Default)]
struct Memory {
    held: Option<OwnedSemaphorePermit>,
}

impl Memory {
    /// Grows the share to `bytes`, in steps. Waits at most until `deadline` for others to give theirs back: two bodies may wait
    /// for each other, and then the first to run out of time makes room.
    async fn grow(&mut self, bytes: usize, limits: &Limits, pool: &std::sync::Arc<Semaphore>) -> Result<(), BodyFault> {
        let held = self.held.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        if bytes <= held {
            return Ok(());
        }
        let wanted = (bytes - held).next_multiple_of(STEP);
        let wanted = u32::try_from(wanted).map_err(|_| BodyFault::Busy)?;
        let more = timeout(limits.memory_wait, std::sync::Arc::clone(pool).acquire_many_owned(wanted)).await;
        let Ok(Ok(more)) = more else { return Err(BodyFault::Busy) };
        match &mut self.held {
            Some(held) => held.merge(more),
            None => self.held = Some(more),
        }
        Ok(())
    }
}

/// Reads `body` whole. On a fault the rest of it is discarded within bounds.
pub async fn take(
    parts: &Parts,
    mut body: Incoming,
    limits: &Limits,
    pool: &std::sync::Arc<Semaphore>,
) -> Result<Taken, BodyFault> {
    let result = timeout(limits.body_time, collect(parts, &mut body, limits, pool)).await;
    let seconds = limits.body_time.as_secs();
    let result = result.unwrap_or(Err(BodyFault::TooSlow { seconds }));
    // Whoever asked first (`Expect: 100-continue`) has not sent the body yet, and will not.
    let undelivered = matches!(result, Err(BodyFault::TooLarge { .. } | BodyFault::Busy));
    if undelivered && !parts.headers.contains_key(EXPECT) {
        discard(&mut body, limits.body_bytes.saturating_mul(DISCARD_FACTOR)).await;
    }
    result
}

async fn collect(
    parts: &Parts,
    body: &mut Incoming,
    limits: &Limits,
    pool: &std::sync::Arc<Semaphore>,
) -> Result<Taken, BodyFault> {
    let too_large = BodyFault::TooLarge { limit: limits.body_bytes };
    let declared: Option<u64> = parts.headers.get(CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse().ok());
    if declared.is_some_and(|length| length > limits.body_bytes as u64) {
        return Err(too_large);
    }
    let mut memory = Memory::default();
    let mut whole = BytesMut::new();
    let mut first = Bytes::new();
    while let Some(frame) = body.frame().await {
        let Ok(chunk) = frame.map_err(|_| BodyFault::Broken)?.into_data() else { continue };
        let len = first.len() + whole.len() + chunk.len();
        if len > limits.body_bytes {
            return Err(too_large);
        }
        // Memory is taken for what has come, never for what was announced: an announcement costs its sender nothing.
        memory.grow(len, limits, pool).await?;
        if whole.is_empty() && first.is_empty() {
            first = chunk;
        } else {
            if whole.capacity() < len {
                let announced = declared.and_then(|length| usize::try_from(length).ok()).unwrap_or_default();
                let room = announced.min(len.saturating_mul(BELIEVED_FACTOR)).max(len);
                whole.reserve(room - whole.len());
            }
            whole.extend_from_slice(&std::mem::take(&mut first));
            whole.extend_from_slice(&chunk);
        }
    }
    let bytes = if whole.is_empty() { first } else { whole.freeze() };
    Ok(Taken { bytes, _memory: memory })
}

async fn discard(body: &mut Incoming, most: usize) {
    let deadline = Instant::now() + DISCARD_TIME;
    let mut left = most;
    while !body.is_end_stream() {
        let Ok(Some(Ok(frame))) = timeout_at(deadline, body.frame()).await else { return };
        let Some(rest) = left.checked_sub(frame.data_ref().map_or(0, Bytes::len)) else { return };
        left = rest;
    }
}
