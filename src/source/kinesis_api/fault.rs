//! What an AWS client sees when a request is not done: a code that its SDK acts upon, and words for people.
//!
//! Codes and statuses follow the Kinesis API reference: `fault` shapes answer 500, all others 400. SDKs retry 500, 502,
//! 503 and 504 and the throttling codes, and honour `x-amz-retry-after` (milliseconds).

use hyper::http::StatusCode;
use serde::Serialize;

use crate::port::{CatalogError, IntakeError};
use crate::source::body::BodyFault;

/// How long a throttled client is asked to wait, in milliseconds: about one batch.
const RETRY_AFTER_MS: u64 = 200;
/// When the backend asks to slow down, in milliseconds: its quotas are per second.
const RETRY_AFTER_BACKEND_MS: u64 = 1_000;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    pub status: StatusCode,
    /// The exception's name, without namespace: `__type` and `x-amzn-errortype`.
    pub code: &'static str,
    pub message: String,
    /// `x-amz-retry-after`, milliseconds.
    pub retry_after_ms: Option<u64>,
}

/// The body of a fault, in either encoding.
#[derive(Serialize)]
pub struct FaultBody<'a> {
    #[serde(rename = "__type")]
    pub code: &'a str,
    pub message: &'a str,
}

impl Fault {
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, code, message: message.into(), retry_after_ms: None }
    }

    fn with_status(self, status: StatusCode) -> Self {
        Self { status, ..self }
    }

    pub fn serialization(message: impl Into<String>) -> Self {
        let message = message.into();
        Self::new("SerializationException", format!("The request body cannot be read: {message}. Nothing was taken."))
    }

    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new("InvalidArgumentException", message)
    }

    /// A member that breaks its own constraint, in AWS's words: `member` as a path, `records.3.member.partitionKey`.
    pub fn constraint(member: &str, constraint: &str) -> Self {
        Self::new(
            "ValidationException",
            format!("1 validation error detected: Value at '{member}' failed to satisfy constraint: {constraint}"),
        )
    }

    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new("ResourceNotFoundException", message)
    }

    pub fn throttled(message: impl Into<String>) -> Self {
        let fault = Self::new("ProvisionedThroughputExceededException", message);
        Self { retry_after_ms: Some(RETRY_AFTER_MS), ..fault }
    }

    pub fn internal(message: impl Into<String>) -> Self {
        Self::new("InternalFailureException", message).with_status(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// A known operation that this gate leaves to AWS. `UnsupportedOperationException` is in no SDK's retry list, and every
    /// SDK shows its code and message. `AccessDeniedException` would send its reader to IAM, `InvalidArgumentException`
    /// to the arguments, and `UnknownOperationException` says that the client is broken; none of that is so.
    pub fn unsupported(message: impl Into<String>) -> Self {
        Self::new("UnsupportedOperationException", message)
    }
}

impl From<IntakeError> for Fault {
    fn from(error: IntakeError) -> Self {
        match error {
            IntakeError::UnknownStream { ref stream } => {
                Self::not_found(format!("Stream {stream} not found: {error}."))
            }
            IntakeError::UnknownContract { .. } => Self::not_found(error.to_string()),
            IntakeError::Overloaded => Self::throttled(error.to_string()),
        }
    }
}

impl From<CatalogError> for Fault {
    fn from(error: CatalogError) -> Self {
        let message = error.to_string();
        match error {
            CatalogError::StreamNotFound(stream) => Self::not_found(format!("Stream {stream} not found.")),
            CatalogError::InvalidArgument(message) => Self::invalid(message),
            CatalogError::Throttled(_) => {
                Self { retry_after_ms: Some(RETRY_AFTER_BACKEND_MS), ..Self::new("LimitExceededException", message) }
            }
            CatalogError::AccessDenied(_) => Self::new("AccessDeniedException", message),
            CatalogError::Unavailable(_) => Self::internal(message),
        }
    }
}

impl From<BodyFault> for Fault {
    fn from(fault: BodyFault) -> Self {
        let message = fault.to_string();
        match fault {
            BodyFault::TooLarge { .. } => {
                Self::new("RequestEntityTooLargeException", message).with_status(StatusCode::PAYLOAD_TOO_LARGE)
            }
            BodyFault::TooSlow { .. } => {
                Self::new("RequestTimeoutException", message).with_status(StatusCode::REQUEST_TIMEOUT)
            }
            BodyFault::Busy => Self::throttled(message).with_status(StatusCode::SERVICE_UNAVAILABLE),
            BodyFault::Broken => Self::serialization(message),
        }
    }
}
