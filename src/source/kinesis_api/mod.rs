//! The Kinesis API, as an AWS SDK speaks it when `AWS_ENDPOINT_URL_KINESIS` points here.
//!
//! `PutRecord` and `PutRecords` are judged and forwarded through [`crate::port::Intake`]; streams and shards are described
//! from [`crate::port::Catalog`]; records are read back where the backend is the embedded one. Every other operation gets
//! an AWS error that says where to turn. Signatures are not verified: no AWS API verifies somebody else's SigV4, so the
//! listener belongs on loopback or behind the network's own controls.
//!
//! Sources: Kinesis Data Streams API reference 2013-12-02 (shapes as in botocore 1.44.5); requests captured from boto3,
//! AWS CLI, the SDKs for Java and JavaScript (`tests/wire.rs`).

mod answers;
mod cbor;
mod fault;
mod name;
mod operation;
mod put;
mod read;
mod streams;
mod token;
mod wire;

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::http::request::Parts;
use hyper::http::{HeaderValue, Response, StatusCode, header};

use crate::model::Timestamp;
use crate::port::INSTANCE_HEADER;
use crate::trace::Traced;

use super::Service;
use super::body::BodyFault;
use super::service::{Answer, header_text, request_id};
use fault::{Fault, FaultBody};
use operation::{Operation, Target};
use wire::Encoding;

/// The value of the `source` label.
pub const SOURCE: &str = "kinesis_api";
/// The longest `amz-sdk-invocation-id` taken over into positions, in bytes. SDKs send a UUID: 36.
const INVOCATION_ID_MAX: usize = 64;

/// One request, read: what every operation needs.
struct Call<'a> {
    service: &'a Service,
    encoding: Encoding,
    body: &'a Bytes,
    /// The client's invocation id, the same on each of its retries; else this request's own.
    invocation: Arc<str>,
    now: Timestamp,
    traced: &'a Traced,
}

/// The largest answer, in bytes: 10 MiB of records in base64, and what 10,000 of them need for their other members.
const RECORDS_ANSWER_MAX: usize = 20 * 1024 * 1024;

/// The most that the answer can be, where that is much: else 0.
pub fn answer_bytes_max(parts: &Parts) -> usize {
    match target_of(parts) {
        Some(Target::Offered(Operation::GetRecords)) => RECORDS_ANSWER_MAX,
        _ => 0,
    }
}

/// Whether a POST is meant for this API.
pub fn is_addressed(parts: &Parts) -> bool {
    parts.headers.contains_key("x-amz-target")
        || header_text(parts, "content-type").is_some_and(|t| t.starts_with("application/x-amz-"))
}

/// Answers one request.
pub async fn answer(service: &Service, parts: &Parts, body: &Bytes, traced: &Traced) -> Answer {
    let target = target_of(parts);
    let id = request_id((service.random)());
    let encoding = Encoding::of(header_text(parts, "content-type"));
    let result = match encoding {
        Some(encoding) => dispatch(service, (parts, body), target, encoding, &id, traced).await,
        None => Err(unsupported_type()),
    };
    // A client of an encoding unknown here is most likely to read JSON.
    respond(&id, encoding.unwrap_or(Encoding::Json), target, result)
}

/// Answers a request whose body could not be taken in.
pub fn refuse(service: &Service, parts: &Parts, fault: BodyFault) -> Answer {
    let encoding = Encoding::of(header_text(parts, "content-type")).unwrap_or(Encoding::Json);
    respond(&request_id((service.random)()), encoding, target_of(parts), Err(fault.into()))
}

fn target_of(parts: &Parts) -> Option<Target> {
    header_text(parts, "x-amz-target").map(Target::parse)
}

async fn dispatch(
    service: &Service,
    (parts, body): (&Parts, &Bytes),
    target: Option<Target>,
    encoding: Encoding,
    id: &str,
    traced: &Traced,
) -> Result<Bytes, Fault> {
    let operation = offered(target)?;
    refuse_loop(service, parts)?;
    refuse_compression(parts)?;
    let invocation = header_text(parts, "amz-sdk-invocation-id")
        .filter(|text| {
            !text.is_empty() && text.len() <= INVOCATION_ID_MAX && text.bytes().all(|b| b.is_ascii_graphic())
        })
        .unwrap_or(id)
        .into();
    let call = Call { service, encoding, body, invocation, now: (service.clock)(), traced };
    match operation {
        Operation::PutRecord => put::put_record(&call).await,
        Operation::PutRecords => put::put_records(&call).await,
        Operation::ListShards => streams::list_shards(&call).await,
        Operation::ListStreams => streams::list_streams(&call).await,
        Operation::DescribeStream => streams::describe_stream(&call).await,
        Operation::DescribeStreamSummary => streams::describe_stream_summary(&call).await,
        Operation::GetShardIterator => read::get_shard_iterator(&call).await,
        Operation::GetRecords => read::get_records(&call).await,
    }
}

fn offered(target: Option<Target>) -> Result<Operation, Fault> {
    match target {
        Some(Target::Offered(operation)) => Ok(operation),
        Some(Target::Elsewhere(name)) => Err(Fault::unsupported(format!(
            "{name} is not offered by Meshgate, which judges events on their way to a stream. Nothing was done. Send it \
             to AWS: leave AWS_ENDPOINT_URL_KINESIS unset for this client."
        ))),
        Some(Target::Unknown) | None => Err(Fault::new(
            "UnknownOperationException",
            "X-Amz-Target names no operation of Kinesis_20131202 that is known here. Nothing was done.",
        )),
        Some(Target::OtherService) => Err(Fault::new(
            "UnknownOperationException",
            "This endpoint speaks Kinesis only, and X-Amz-Target is another service's. Nothing was done. Set \
             AWS_ENDPOINT_URL_KINESIS to it, not AWS_ENDPOINT_URL.",
        )),
    }
}

/// A gate that inherits its producer's `AWS_ENDPOINT_URL_KINESIS` would forward each record to itself, for ever.
fn refuse_loop(service: &Service, parts: &Parts) -> Result<(), Fault> {
    if header_text(parts, INSTANCE_HEADER) != Some(service.instance.as_str()) {
        return Ok(());
    }
    Err(Fault::invalid(
        "This gate is its own upstream: the request came from itself. Nothing was taken. Unset AWS_ENDPOINT_URL_KINESIS \
         (and AWS_ENDPOINT_URL) in the gate's own environment, or name the real endpoint in its configuration.",
    ))
}

/// No Kinesis model has a compression trait, so no SDK does this; a proxy between might.
fn refuse_compression(parts: &Parts) -> Result<(), Fault> {
    match header_text(parts, "content-encoding") {
        None | Some("" | "identity") => Ok(()),
        Some(_) => Err(Fault {
            status: StatusCode::UNSUPPORTED_MEDIA_TYPE,
            ..Fault::serialization("Content-Encoding is set, and Kinesis requests are not compressed; send it plain")
        }),
    }
}

fn unsupported_type() -> Fault {
    Fault {
        status: StatusCode::UNSUPPORTED_MEDIA_TYPE,
        ..Fault::serialization(
            "Content-Type is neither application/x-amz-json-1.1 nor application/x-amz-cbor-1.1, which are spoken here",
        )
    }
}

/// Wraps a result in what AWS puts around one. `Date` is added by hyper, whose clock is the system's: SDKs correct
/// their own by it.
fn respond(id: &str, encoding: Encoding, target: Option<Target>, result: Result<Bytes, Fault>) -> Answer {
    let mut response = match result {
        Ok(body) => Response::new(Full::new(body)),
        Err(fault) => {
            let body = FaultBody { code: fault.code, message: &fault.message };
            // Writing two strings cannot fail; an empty body would still carry the code in its header.
            let mut response = Response::new(Full::new(encoding.write(&body).unwrap_or_default()));
            *response.status_mut() = fault.status;
            response.headers_mut().insert("x-amzn-errortype", HeaderValue::from_static(fault.code));
            if let Some(millis) = fault.retry_after_ms {
                response.headers_mut().insert("x-amz-retry-after", millis.into());
            }
            response
        }
    };
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(encoding.media_type()));
    if let Ok(id) = HeaderValue::from_str(id) {
        headers.insert("x-amzn-requestid", id.clone());
        headers.insert("x-amz-id-2", id);
    }
    Answer { response, source: SOURCE, operation: target.map_or("other", Target::label) }
}
