//! Which API a request is for. Knows no sockets: the listener hands it whole requests and sends its answers.

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::http::request::Parts;
use hyper::http::{Method, Response};

use crate::metrics::Metrics;
use crate::model::Timestamp;
use crate::port::{Catalog, Intake};
use crate::trace::{Traced, Tracer};

use super::body::BodyFault;
use super::{http as http_api, kinesis_api};

/// What the data port serves, and the world it lives in.
pub struct Service {
    pub intake: Arc<dyn Intake>,
    pub catalog: Arc<dyn Catalog>,
    pub metrics: Arc<Metrics>,
    /// This gate's own id, unique among gates: what its upstream client puts into `x-meshgate-instance`.
    pub instance: String,
    pub clock: fn() -> Timestamp,
    /// Any 128 bits, for request ids. They need not be secret.
    pub random: fn() -> u128,
    pub tracer: Tracer,
}

/// An answer, with what it is counted under: values of closed sets.
pub struct Answer {
    pub response: Response<Full<Bytes>>,
    pub source: &'static str,
    pub operation: &'static str,
}

impl Service {
    /// Answers a whole request. Dropped midway, nothing was acknowledged.
    pub async fn answer(&self, parts: &Parts, body: &Bytes, traced: &Traced) -> Answer {
        if is_kinesis(parts) {
            kinesis_api::answer(self, parts, body, traced).await
        } else {
            http_api::answer(self, parts, body, traced).await
        }
    }

    /// The most that the answer to a request can be, in bytes, where that is much: else 0.
    pub fn answer_bytes_max(&self, parts: &Parts) -> usize {
        if is_kinesis(parts) { kinesis_api::answer_bytes_max(parts) } else { 0 }
    }

    /// Answers a request whose body could not be taken in, in the words of the API it was for.
    pub fn refuse(&self, parts: &Parts, fault: BodyFault) -> Answer {
        if is_kinesis(parts) { kinesis_api::refuse(self, parts, fault) } else { http_api::refuse(parts, fault) }
    }
}

/// An endpoint may have a path, which SDKs post to with and without a slash at its end.
fn is_kinesis(parts: &Parts) -> bool {
    parts.method == Method::POST && !parts.uri.path().starts_with("/v1/") && kinesis_api::is_addressed(parts)
}

/// A header as text; `None` when it is absent or not ASCII.
pub(super) fn header_text<'a>(parts: &'a Parts, name: &str) -> Option<&'a str> {
    parts.headers.get(name)?.to_str().ok()
}

/// A request id in the shape of AWS's: a UUID's.
pub(super) fn request_id(random: u128) -> String {
    let hex = format!("{random:032x}");
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}
