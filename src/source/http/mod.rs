//! Events over plain HTTP, for whoever has no AWS SDK.
//!
//! * `POST /v1/streams/{stream}/events`: judges and settles the events of the body; an outcome for each.
//! * `POST /v1/contracts/{domain}/{name}/judge`: judges them and forwards nothing.
//!
//! Bodies: see [`events`]. An answer always has one outcome per event. Its status is 200 when every event is settled, 422 when a
//! route that says `on_quarantine: refuse` refused some, and 503 when the fate of some is not durable: those, and only
//! those, are to be sent again.

mod answers;
pub mod events;

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::http::request::Parts;
use hyper::http::{HeaderValue, Method, Response, StatusCode, header};
use percent_encoding::percent_decode_str;
use serde::Serialize;

use crate::model::{Judgement, Position, Record, Settlement, Trouble};
use crate::port::{INSTANCE_HEADER, IntakeError};
use crate::trace::Traced;

use super::Service;
use super::body::BodyFault;
use super::service::{Answer, header_text, request_id};
use answers::{Allowance, EventsAnswer, JudgeAnswer, Told};

/// The value of the `source` label.
pub const SOURCE: &str = "http";
/// Records settled at a time: what one `PutRecords` takes.
const BATCH_RECORDS: usize = 500;
const BATCH_BYTES: usize = 10 * 1024 * 1024;
/// What the events are told that come after a batch of which some could not be settled.
const NOT_TAKEN: &str =
    "not taken: an earlier event of this request could not be settled; send both again, in their order";
/// `Retry-After`, seconds.
const RETRY_AFTER_S: u64 = 1;

/// Why a request was not done: what its client reads as `{"error": {"code", "message"}}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub status: StatusCode,
    pub code: &'static str,
    pub message: String,
    /// The methods that are taken instead.
    allow: Option<&'static str>,
    retry: bool,
}

impl Problem {
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), allow: None, retry: false }
    }

    fn retryable(self) -> Self {
        Self { retry: true, ..self }
    }
}

impl From<IntakeError> for Problem {
    fn from(error: IntakeError) -> Self {
        let message = error.to_string();
        match error {
            IntakeError::UnknownStream { .. } => Self::new(StatusCode::NOT_FOUND, "unknown_stream", message),
            IntakeError::UnknownContract { .. } => Self::new(StatusCode::NOT_FOUND, "unknown_contract", message),
            IntakeError::Overloaded => Self::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", message).retryable(),
        }
    }
}

impl From<BodyFault> for Problem {
    fn from(fault: BodyFault) -> Self {
        let message = fault.to_string();
        match fault {
            BodyFault::TooLarge { .. } => Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message),
            BodyFault::TooSlow { .. } => Self::new(StatusCode::REQUEST_TIMEOUT, "too_slow", message),
            BodyFault::Busy => Self::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", message).retryable(),
            BodyFault::Broken => Self::new(StatusCode::BAD_REQUEST, "broken_body", message),
        }
    }
}

/// What a path asks for.
enum Route<'a> {
    Events { stream: Cow<'a, str> },
    Judge { domain: Cow<'a, str>, contract: Cow<'a, str> },
    Unknown,
}

impl<'a> Route<'a> {
    fn of(path: &'a str) -> Self {
        let Some(rest) = path.strip_prefix("/v1/") else { return Self::Unknown };
        let segments: Option<Vec<Cow<'a, str>>> =
            rest.split('/').map(|segment| percent_decode_str(segment).decode_utf8().ok()).collect();
        match segments.unwrap_or_default().as_slice() {
            [kind, stream, end] if kind == "streams" && end == "events" => Self::Events { stream: stream.clone() },
            [kind, domain, contract, end] if kind == "contracts" && end == "judge" => {
                Self::Judge { domain: domain.clone(), contract: contract.clone() }
            }
            _ => Self::Unknown,
        }
    }

    const fn label(&self) -> &'static str {
        match self {
            Self::Events { .. } => "events",
            Self::Judge { .. } => "judge",
            Self::Unknown => "other",
        }
    }
}

/// Answers one request.
pub async fn answer(service: &Service, parts: &Parts, body: &Bytes, traced: &Traced) -> Answer {
    let route = Route::of(parts.uri.path());
    let id = request_id((service.random)());
    let result = match &route {
        Route::Unknown => Err(unknown_path()),
        _ if parts.method != Method::POST => Err(method_not_allowed()),
        Route::Events { stream } => settle(service, (parts, body), stream, &id, traced).await,
        Route::Judge { domain, contract } => judge(service, parts, body, domain, contract).await,
    };
    let mut response = result.unwrap_or_else(|problem| problem_response(&problem));
    if let Ok(id) = HeaderValue::from_str(&id) {
        response.headers_mut().insert("x-request-id", id);
    }
    Answer { response, source: SOURCE, operation: route.label() }
}

/// Answers a request whose body could not be taken in.
pub fn refuse(parts: &Parts, fault: BodyFault) -> Answer {
    let operation = Route::of(parts.uri.path()).label();
    Answer { response: problem_response(&fault.into()), source: SOURCE, operation }
}

fn unknown_path() -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        "unknown_path",
        "nothing is here. This port takes POST /v1/streams/{stream}/events, POST /v1/contracts/{domain}/{name}/judge, and the \
         Kinesis API as POST / with X-Amz-Target; health and metrics are on the admin port",
    )
}

fn method_not_allowed() -> Problem {
    let message = "this path takes POST only, with the events as the body";
    let problem = Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message);
    Problem { allow: Some("POST"), ..problem }
}

fn json_response<T: Serialize>(status: StatusCode, body: &T) -> Response<Full<Bytes>> {
    match serde_json::to_vec(body) {
        Ok(bytes) => {
            let mut response = Response::new(Full::new(bytes.into()));
            *response.status_mut() = status;
            response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
            response
        }
        // Structs of strings and numbers: serde_json has no reason to refuse them.
        Err(_) => {
            let mut response = Response::new(Full::default());
            *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            response
        }
    }
}

fn problem_response(problem: &Problem) -> Response<Full<Bytes>> {
    #[derive(Serialize)]
    struct Body<'a> {
        error: Error<'a>,
    }
    #[derive(Serialize)]
    struct Error<'a> {
        code: &'a str,
        message: &'a str,
    }
    let body = Body { error: Error { code: problem.code, message: &problem.message } };
    let mut response = json_response(problem.status, &body);
    if let Some(methods) = problem.allow {
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(methods));
    }
    if problem.retry {
        response.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER_S.into());
    }
    response
}

async fn settle(
    service: &Service,
    (parts, body): (&Parts, &Bytes),
    stream: &str,
    id: &str,
    traced: &Traced,
) -> Result<Response<Full<Bytes>>, Problem> {
    if service.intake.mesh_stream(stream).is_none() {
        return Err(IntakeError::UnknownStream { stream: stream.into() }.into());
    }
    refuse_loop(service, parts)?;
    let events = events::read(parts, body)?;
    let key = events::partition_key(parts)?;
    let now = (service.clock)();
    let (name, request): (Arc<str>, Arc<str>) = (stream.into(), id.into());
    let record = |(index, data): (usize, Bytes)| Record {
        partition_key: Some(key.clone().unwrap_or_else(|| events::own_key(&data))),
        position: Position::InRequest { request: Arc::clone(&request), index },
        trace: traced.context().cloned(),
        ..Record::new(data, Arc::clone(&name), now)
    };
    let records = events.into_iter().enumerate().map(record).collect();
    let told = settle_all(service, stream, records, traced).await?;
    let answer = EventsAnswer::of(&told);
    let mut response = json_response(status_of(&told), &answer);
    if response.status() == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER_S.into());
    }
    Ok(response)
}

/// Settles the records batch by batch, in order. An error before anything was taken is the request's; a later one is what the
/// remaining records are told. After a batch of which something is unsettled no further one is sent: records behind it would
/// overtake those of its keys, and a far end that is down would make the client wait once for each batch.
async fn settle_all(
    service: &Service,
    stream: &str,
    records: Vec<Record>,
    traced: &Traced,
) -> Result<Vec<Told>, Problem> {
    let total = records.len();
    let mut told = Vec::with_capacity(total);
    let mut allowance = Allowance::default();
    let mut left = records.into_iter().peekable();
    while left.peek().is_some() {
        let batch = next_batch(&mut left);
        let count = batch.len();
        traced.takes(stream, &batch);
        match service.intake.settle(stream, batch).await {
            Ok(outcomes) if outcomes.len() == count => {
                traced.settles(&outcomes);
                let failed = outcomes.iter().find_map(|outcome| match &outcome.settlement {
                    Settlement::Unsettled(unsettled) => Some(unsettled.trouble),
                    _ => None,
                });
                told.extend(outcomes.into_iter().map(|mut outcome| {
                    let omitted = allowance.cut(&mut outcome.judgement);
                    Told::Outcome { outcome: Box::new(outcome), omitted }
                }));
                if let Some(trouble) = failed.filter(|_| told.len() < total) {
                    told.resize_with(total, || Told::Untaken { trouble, message: NOT_TAKEN.into() });
                    break;
                }
            }
            Ok(_) => {
                let message =
                    "the gate lost count of the outcomes, which is a bug in it; the events may have been taken";
                return Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", message));
            }
            Err(error) if told.is_empty() => return Err(error.into()),
            Err(error) => {
                let trouble = match error {
                    IntakeError::Overloaded => Trouble::Throttled,
                    _ => Trouble::Unavailable,
                };
                told.resize_with(total, || Told::Untaken { trouble, message: error.to_string() });
                break;
            }
        }
    }
    Ok(told)
}

fn next_batch(left: &mut std::iter::Peekable<std::vec::IntoIter<Record>>) -> Vec<Record> {
    let mut batch = Vec::new();
    let mut bytes = 0;
    while let Some(record) = left.next_if(|record| {
        bytes += record.size();
        batch.is_empty() || (batch.len() < BATCH_RECORDS && bytes <= BATCH_BYTES)
    }) {
        batch.push(record);
    }
    batch
}

/// As `kinesis_api`: a gate must not be its own upstream, whichever API it uses.
fn refuse_loop(service: &Service, parts: &Parts) -> Result<(), Problem> {
    if header_text(parts, INSTANCE_HEADER) != Some(service.instance.as_str()) {
        return Ok(());
    }
    let message =
        "this gate is its own upstream: the request came from itself; name the real endpoint in its configuration";
    Err(Problem::new(StatusCode::LOOP_DETECTED, "loop", message))
}

fn status_of(told: &[Told]) -> StatusCode {
    if told.iter().any(Told::is_unsettled) {
        StatusCode::SERVICE_UNAVAILABLE
    } else if told.iter().any(Told::is_refused) {
        StatusCode::UNPROCESSABLE_ENTITY
    } else {
        StatusCode::OK
    }
}

async fn judge(
    service: &Service,
    parts: &Parts,
    body: &Bytes,
    domain: &str,
    contract: &str,
) -> Result<Response<Full<Bytes>>, Problem> {
    let events = events::read(parts, body)?;
    let now = (service.clock)();
    let mut judgements: Vec<(Judgement, usize)> = Vec::with_capacity(events.len());
    let mut allowance = Allowance::default();
    // An empty body of events still says whether the contract is there.
    if events.is_empty() {
        service.intake.judge(domain, contract, &[], now)?;
    }
    for batch in events.chunks(BATCH_RECORDS) {
        judgements.extend(service.intake.judge(domain, contract, batch, now)?.into_iter().map(|mut judgement| {
            let omitted = allowance.cut(&mut judgement);
            (judgement, omitted)
        }));
        // Judging does not wait for anything: let others in between.
        tokio::task::yield_now().await;
    }
    Ok(json_response(StatusCode::OK, &JudgeAnswer::of(&judgements)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Timestamp;

    fn record(size: usize) -> Record {
        Record::new(vec![b'x'; size], "s".into(), Timestamp::default())
    }

    fn batches(sizes: &[usize]) -> Vec<usize> {
        let mut left = sizes.iter().map(|s| record(*s)).collect::<Vec<_>>().into_iter().peekable();
        let mut lens = Vec::new();
        while left.peek().is_some() {
            lens.push(next_batch(&mut left).len());
        }
        lens
    }

    #[test]
    fn batches_stay_within_both_bounds() {
        assert_eq!(batches(&[1; 1001]), [500, 500, 1]);
        assert_eq!(batches(&[BATCH_BYTES, 1]), [1, 1]);
        assert_eq!(batches(&[1, BATCH_BYTES + 1, 1]), [1, 1, 1]);
        assert_eq!(batches(&[BATCH_BYTES / 2; 4]), [2, 2]);
    }

    #[test]
    fn paths_are_told_apart() {
        let label = |path| Route::of(path).label();
        assert_eq!(label("/v1/streams/orders/events"), "events");
        assert_eq!(label("/v1/contracts/customers/customer.created/judge"), "judge");
        for other in ["/", "/v1/streams/orders", "/v1/streams/orders/events/", "/v1/streams/%ff/events", "/v2", ""] {
            assert_eq!(label(other), "other", "{other}");
        }
        assert!(matches!(Route::of("/v1/streams/a%20b/events"), Route::Events { stream } if stream == "a b"));
    }
}
