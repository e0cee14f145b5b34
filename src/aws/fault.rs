//! What an AWS error means to who called: whose fault it is, whether trying again can help, what to say.
//!
//! Sources: the error lists of the Kinesis, SQS, SNS, DynamoDB and S3 API references, their "common errors", and the retry lists of
//! the SDKs' standard mode. `KMSThrottlingException` is in none of the latter and is a throttle all the same.
//!
//! AWS quotes request values in validation messages, so only messages of codes known not to are passed on.

use std::error::Error;
use std::fmt;

use aws_sdk_kinesis::config::http::HttpResponse;
use aws_sdk_kinesis::error::{ProvideErrorMetadata, SdkError};

use crate::model::{Trouble, Unsettled};

/// The longest text of the far end that is passed on, in characters.
const DETAIL_MAX: usize = 300;

/// A failed call, or one failed entry of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    pub trouble: Trouble,
    /// The far end's own name of the error, where it gave one.
    pub code: Option<String>,
    /// What happened, without values of the request.
    what: String,
    /// What is known of the entries.
    state: &'static str,
    /// What to do next.
    advice: &'static str,
}

/// What a code means.
struct Meaning {
    trouble: Trouble,
    advice: &'static str,
    /// Its message names resources and limits, never a request's values.
    quotable: bool,
}

const NOT_STORED: &str = "it was not stored";
const UNKNOWN: &str = "it may or may not have been stored";
const RETRY: &str = "retry with back-off";

impl Fault {
    /// What a failed call means.
    pub fn of_call<E>(error: &SdkError<E, HttpResponse>) -> Self
    where
        E: ProvideErrorMetadata + Error + 'static,
    {
        Self::of(error, |raw| raw.status().as_u16(), E::code)
    }

    /// What it means that a stream of events broke off, whose head was good. `code` names what the far end sent as its last event.
    pub fn of_events<E, R>(error: &SdkError<E, R>, code: impl Fn(&E) -> Option<&str>) -> Self
    where
        E: ProvideErrorMetadata + Error + 'static,
        R: fmt::Debug,
    {
        Self::of(error, |_| 200, code)
    }

    fn of<E, R>(error: &SdkError<E, R>, status: impl Fn(&R) -> u16, code: impl Fn(&E) -> Option<&str>) -> Self
    where
        E: ProvideErrorMetadata + Error + 'static,
        R: fmt::Debug,
    {
        match error {
            SdkError::ServiceError(service) => {
                Self::of_answer(status(service.raw()), code(service.err()), service.err().message())
            }
            SdkError::TimeoutError(_) => Self::took_too_long(),
            // Some proxy or captive portal in between: only the status says anything.
            SdkError::ResponseError(response) => Self::of_answer(status(response.raw()), None, None),
            SdkError::DispatchFailure(failure) => {
                let cause = failure.as_connector_error().map_or_else(String::new, |e| causes(e));
                let what = if failure.is_timeout() { "the call took too long" } else { "the call did not get through" };
                Self::lost(format!("{what} ({cause})"))
            }
            // Credentials, region or endpoint: nothing has left this process. Credentials may come back by themselves.
            other => Self {
                trouble: Trouble::Unavailable,
                code: None,
                what: format!("the call could not be made ({})", causes(other)),
                state: "it was not sent",
                advice: "check the gate's AWS credentials, region and endpoint, then retry",
            },
        }
    }

    /// What one failed entry of an answered call means. `caller` says that the far end blames the entry.
    pub fn of_entry(code: &str, message: Option<&str>, caller: bool) -> Self {
        Self::of_answer(if caller { 400 } else { 500 }, Some(code), message)
    }

    /// No answer came in the time there is for one.
    pub fn took_too_long() -> Self {
        Self::lost("the call took too long".into())
    }

    /// An answer that says what the service's reference rules out.
    pub fn unreadable(what: &str) -> Self {
        Self::lost(format!("the answer holds {what}"))
    }

    fn lost(what: String) -> Self {
        Self { trouble: Trouble::Unavailable, code: None, what, state: UNKNOWN, advice: RETRY }
    }

    fn of_answer(status: u16, code: Option<&str>, message: Option<&str>) -> Self {
        let code = code.map(plain);
        let meaning = code.and_then(meaning).unwrap_or(match status {
            429 => Meaning { trouble: Trouble::Throttled, advice: RETRY, quotable: false },
            ..400 | 408 | 500.. => Meaning { trouble: Trouble::Unavailable, advice: RETRY, quotable: false },
            _ => Meaning {
                trouble: Trouble::Rejected,
                advice: "retrying cannot help: look the error up in the service's API reference, and see that the endpoint is right",
                quotable: false,
            },
        });
        let named = match code {
            Some(code) => code.to_owned(),
            None if status >= 400 => format!("HTTP {status}"),
            None => format!("the answer (HTTP {status}) could not be read"),
        };
        let what = match message.filter(|_| meaning.quotable) {
            Some(message) => format!("{named}: {}", cut(message)),
            None => named,
        };
        let state =
            if meaning.trouble == Trouble::Unavailable && !(400..500).contains(&status) { UNKNOWN } else { NOT_STORED };
        Self { trouble: meaning.trouble, code: code.map(str::to_owned), what, state, advice: meaning.advice }
    }

    /// Whether the request was malformed in the eyes of the far end: one bad entry can be the reason for all.
    pub fn is_invalid_request(&self) -> bool {
        self.code.as_deref().is_some_and(|code| {
            matches!(code, "InvalidArgumentException" | "ValidationException" | "SerializationException")
        })
    }

    /// Told of a call that stores nothing, or whose caller says by itself what is known of it.
    pub fn question(&self, target: &str) -> String {
        format!("{target}: {}; {}", self.what, self.advice)
    }

    /// Whether what was asked about is not there.
    pub fn is_not_found(&self) -> bool {
        matches!(self.code.as_deref(), Some("ResourceNotFoundException" | "NoSuchKey"))
    }

    /// The same, told of `target` (`Kinesis stream "orders"`).
    pub fn unsettled(&self, target: &str) -> Unsettled {
        Unsettled { trouble: self.trouble, message: format!("{target}: {self}") }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}; {}", self.what, self.state, self.advice)
    }
}

/// A code without the namespaces that SQS and some protocols put before it.
fn plain(code: &str) -> &str {
    let code = code.rsplit('#').next().unwrap_or(code);
    code.strip_prefix("AWS.SimpleQueueService.").unwrap_or(code)
}

/// What is known of a code, in one table. A new code is one line here.
fn meaning(code: &str) -> Option<Meaning> {
    use Trouble::{Rejected, Throttled, Unavailable};
    let (trouble, advice) = match code {
        "ProvisionedThroughputExceededException" => {
            (Throttled, "retry with back-off; if it lasts, add shards, or capacity to a table")
        }
        "KMSThrottlingException" | "KMSThrottling" | "KMS.ThrottlingException" | "KmsThrottled" => {
            (Throttled, "retry with back-off; if it lasts, raise the KMS quota")
        }
        "LimitExceededException"
        | "ThrottlingException"
        | "Throttling"
        | "ThrottledException"
        | "Throttled"
        | "RequestThrottled"
        | "RequestThrottledException"
        | "TooManyRequestsException"
        | "RequestLimitExceeded"
        | "SlowDown"
        | "BandwidthLimitExceeded"
        | "OverLimit" => (Throttled, RETRY),
        // A stream, consumer or table that is being made or changed, a shard that a subscription is still under way to.
        "ResourceInUseException" => (Throttled, "it is in use or being changed: retry with back-off"),

        "InternalFailure"
        | "InternalFailureException"
        | "InternalError"
        | "InternalServerError"
        | "ServiceUnavailable"
        | "ServiceUnavailableException"
        | "RequestTimeout"
        | "RequestTimeoutException" => (Unavailable, RETRY),
        "ExpiredToken" | "ExpiredTokenException" | "RequestExpired" => {
            (Unavailable, "the gate's AWS credentials have expired: renew them, then retry")
        }
        "InvalidSignatureException" | "SignatureDoesNotMatch" | "RequestTimeTooSkewed" => {
            (Unavailable, "check the gate's clock and its AWS secret key, then retry")
        }

        "ExpiredNextTokenException" => (Unavailable, "the listing took longer than 5 minutes: begin it anew"),
        "ExpiredIteratorException" => (Rejected, "the iterator is older than 5 minutes: ask for a new one"),

        "AccessDenied" | "AccessDeniedException" | "NotAuthorized" | "AuthorizationError" => {
            (Rejected, "allow it to the gate's role, in its policy and the resource's")
        }
        "UnrecognizedClientException"
        | "InvalidClientTokenId"
        | "InvalidAccessKeyId"
        | "MissingAuthenticationToken"
        | "MissingAuthenticationTokenException"
        | "IncompleteSignature"
        | "OptInRequired" => (Rejected, "check the gate's AWS credentials and its account"),
        "ResourceNotFoundException"
        | "QueueDoesNotExist"
        | "NonExistentQueue"
        | "QueueDeletedRecently"
        | "NotFound"
        | "NoSuchBucket" => (Rejected, "create it, or correct its name, region or account in the gate's settings"),
        "PermanentRedirect"
        | "TemporaryRedirect"
        | "AuthorizationHeaderMalformed"
        | "IllegalLocationConstraintException" => {
            (Rejected, "the bucket is in another region than the gate: name one of the gate's")
        }
        "NoSuchKey" => (Rejected, "it was deleted, by a lifecycle rule or with its message"),
        "KMSDisabledException"
        | "KMSInvalidStateException"
        | "KMSAccessDeniedException"
        | "KMSNotFoundException"
        | "KMSOptInRequired"
        | "KMSDisabled"
        | "KMSInvalidState"
        | "KMSAccessDenied"
        | "KMSNotFound"
        | "KMS.DisabledException"
        | "KMS.InvalidStateException"
        | "KMS.AccessDeniedException"
        | "KMS.NotFoundException"
        | "KMS.OptInRequired"
        | "KMS.InvalidKeyUsageException"
        | "KmsDisabled"
        | "KmsInvalidState"
        | "KmsAccessDenied"
        | "KmsNotFound"
        | "KmsOptInRequired"
        | "KmsInvalidKeyUsage" => (Rejected, "repair the encryption key or the gate's access to it"),

        "InvalidArgumentException" | "ValidationException" | "SerializationException" => {
            return Some(Meaning {
                trouble: Rejected,
                advice: "the service finds the request invalid: check sizes and \
                 keys against the stream's limits",
                quotable: false,
            });
        }
        "InvalidMessageContents" => {
            return Some(Meaning {
                trouble: Rejected,
                advice: "it holds characters the queue does not take",
                quotable: false,
            });
        }
        _ => return None,
    };
    Some(Meaning { trouble, advice, quotable: true })
}

/// An error and its sources, each once, without the debug forms that may hold whole requests.
fn causes(error: &dyn Error) -> String {
    let mut texts: Vec<String> = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let text = error.to_string();
        if texts.last().is_none_or(|last| !last.contains(&text)) {
            texts.push(text);
        }
        next = error.source();
    }
    cut(&texts.join(": "))
}

fn cut(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(DETAIL_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trouble(status: u16, code: &str) -> Trouble {
        Fault::of_answer(status, Some(code), None).trouble
    }

    #[test]
    fn codes_decide_before_the_status() {
        assert_eq!(trouble(400, "ProvisionedThroughputExceededException"), Trouble::Throttled);
        assert_eq!(trouble(400, "KMSThrottlingException"), Trouble::Throttled);
        assert_eq!(trouble(400, "KMSDisabledException"), Trouble::Rejected);
        assert_eq!(trouble(400, "AWS.SimpleQueueService.NonExistentQueue"), Trouble::Rejected);
        assert_eq!(trouble(400, "com.amazonaws.sqs#QueueDoesNotExist"), Trouble::Rejected);
        assert_eq!(trouble(400, "KMS.ThrottlingException"), Trouble::Throttled);
        assert_eq!(trouble(400, "ExpiredTokenException"), Trouble::Unavailable);
        // Of SNS.
        assert_eq!(trouble(400, "Throttled"), Trouble::Throttled);
        assert_eq!(trouble(400, "KMSThrottling"), Trouble::Throttled);
        let refused = Fault::of_answer(403, Some("AuthorizationError"), Some("no permission for sns:Publish"));
        assert_eq!(refused.trouble, Trouble::Rejected);
        assert!(refused.to_string().contains("allow it to the gate's role"), "{refused}");
        assert!(Fault::of_answer(404, Some("NotFound"), None).to_string().contains("create it"));
    }

    #[test]
    fn an_unknown_code_follows_the_status() {
        assert_eq!(trouble(400, "BrandNewException"), Trouble::Rejected);
        assert_eq!(trouble(503, "BrandNewException"), Trouble::Unavailable);
        assert_eq!(Fault::of_answer(429, None, None).trouble, Trouble::Throttled);
        assert_eq!(Fault::of_answer(502, None, None).trouble, Trouble::Unavailable);
    }

    #[test]
    fn messages_say_what_state_and_what_to_do() {
        let fault = Fault::of_answer(400, Some("ResourceNotFoundException"), Some("Stream orders not found."));
        expect_test::expect![[
            r#"Kinesis stream "orders": ResourceNotFoundException: Stream orders not found.; it was not stored; create it, or correct its name, region or account in the gate's settings"#
        ]]
        .assert_eq(&fault.unsettled(r#"Kinesis stream "orders""#).message);
        let fault = Fault::of_answer(500, None, Some("<html>"));
        expect_test::expect!["HTTP 500; it may or may not have been stored; retry with back-off"]
            .assert_eq(&fault.to_string());
    }

    #[test]
    fn request_values_that_aws_quotes_are_not_passed_on() {
        let quoting = "1 validation error detected: Value 'ann@example.com' at 'records.1.member.partitionKey' failed";
        for code in ["ValidationException", "InvalidArgumentException", "InvalidMessageContents", "BrandNewException"] {
            let told = Fault::of_answer(400, Some(code), Some(quoting)).to_string();
            assert!(!told.contains("ann@"), "{told}");
            assert!(told.contains(code), "{told}");
        }
    }

    #[test]
    fn a_long_or_multi_line_message_is_cut_to_one_line() {
        let fault = Fault::of_answer(400, Some("AccessDeniedException"), Some(&"é\n".repeat(1_000)));
        assert!(fault.what.chars().count() < 350);
        assert!(!fault.what.contains('\n'));
    }
}
