//! Dead letters on Amazon SQS: `SendMessageBatch`, one attempt a call; `gate::delivery` retries.
//!
//! Limits are those of the API reference: 10 messages and 1 MiB (bodies and attributes) a call, a message at most what the
//! queue's `MaximumMessageSize` says, and only characters of XML 1.0. A letter that breaks one of them fails alone: SQS
//! would refuse some of these for the whole batch.
//!
//! A letter of a traced request has `AWSTraceHeader`, X-Ray's way over SQS, which consumers such as Lambda go on from. It does not count
//! towards a message's size.
//!
//! A queue is named by its name, URL or ARN. A message's group is its domain, by which a standard queue is fair to domains. In a queue
//! whose name ends in `.fifo` it is the domain and its partition key, and the letter's id is for deduplication, so that a retry
//! within five minutes stays one message.

mod body;
mod letter_box;
mod outside;

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, RwLock};

use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::{BatchResultErrorEntry, QueueAttributeName};

pub use self::letter_box::SqsBox;
use self::outside::{attributes, size_of};
use crate::aws::{Fault, Propagated};
use crate::model::{DeadLetter, Trouble, Unsettled};
use crate::port::{BoxFuture, CallLimits, DeadLetterSink, QueueDepth};
use crate::trace::{Operation, Tracer};

/// Messages in one `SendMessageBatch` call.
pub const CALL_MESSAGES_MAX: usize = 10;
/// Bytes in one call, and in one message of a queue that does not say less.
pub const CALL_BYTES_MAX: usize = 1_048_576;

const SEND: Operation = Operation { service: "SQS", method: "SendMessageBatch", messaging: Some("aws_sqs") };

/// Queues remembered. Their names come from configuration and contracts; past this, the memory starts anew.
const QUEUES_MAX: usize = 1_000;

/// SQS queues as dead-letter queues. Share one: it remembers what it looked up.
#[derive(Debug)]
pub struct SqsSink {
    client: Client,
    /// The client's region: a queue named by an ARN of another one cannot be reached through it.
    region: String,
    queues: RwLock<HashMap<String, Arc<Queue>>>,
    tracer: Tracer,
}

/// A queue as it was looked up.
#[derive(Debug)]
struct Queue {
    url: String,
    fifo: bool,
    /// The largest message it takes, body and attributes. Bytes.
    message_bytes_max: usize,
}

impl SqsSink {
    pub fn new(client: Client, region: impl Into<String>) -> Self {
        Self { client, region: region.into(), queues: RwLock::default(), tracer: Tracer::default() }
    }

    /// Has each call that sends letters traced.
    #[must_use]
    pub fn traced_by(self, tracer: Tracer) -> Self {
        Self { tracer, ..self }
    }

    async fn queue(&self, name: &str) -> Result<Arc<Queue>, Unsettled> {
        if let Some(known) = self.queues.read().ok().and_then(|queues| queues.get(name).cloned()) {
            return Ok(known);
        }
        let url = self.url_of(name).await?;
        let fifo = is_fifo(&url);
        let (message_bytes_max, certain) = self.message_bytes_max(&url).await;
        let queue = Arc::new(Queue { url, fifo, message_bytes_max });
        if certain && let Ok(mut queues) = self.queues.write() {
            if queues.len() >= QUEUES_MAX {
                queues.clear();
            }
            queues.insert(name.to_owned(), Arc::clone(&queue));
        }
        Ok(queue)
    }

    /// Forgets a queue, so that the next call looks it up again: it may have been made anew.
    fn forget(&self, name: &str) {
        if let Ok(mut queues) = self.queues.write() {
            queues.remove(name);
        }
    }

    async fn url_of(&self, name: &str) -> Result<String, Unsettled> {
        let call = match QueueName::parse(name) {
            QueueName::Url(url) => return Ok(url.to_owned()),
            QueueName::Plain(plain) => self.client.get_queue_url().queue_name(plain),
            QueueName::Arn { region, account, name: plain } => {
                if region != self.region {
                    return Err(rejected(
                        name,
                        format!(
                            "it is in region {region} and the gate's AWS client in {}; nothing was sent; name a queue of \
                         the gate's region",
                            self.region
                        ),
                    ));
                }
                self.client.get_queue_url().queue_name(plain).queue_owner_aws_account_id(account)
            }
        };
        let answer = call.send().await.map_err(|error| Fault::of_call(&error).unsettled(&target(name)))?;
        answer.queue_url.ok_or_else(|| Unsettled {
            trouble: Trouble::Unavailable,
            message: format!("{}: GetQueueUrl answered without a URL; nothing was sent; retry", target(name)),
        })
    }

    /// About how many messages are in the queue, those that somebody is looking at and those that are delayed among them.
    async fn letters_held(&self, name: &str) -> Result<u64, Unsettled> {
        let queue = self.queue(name).await?;
        let counts = [
            QueueAttributeName::ApproximateNumberOfMessages,
            QueueAttributeName::ApproximateNumberOfMessagesNotVisible,
            QueueAttributeName::ApproximateNumberOfMessagesDelayed,
        ];
        let call = self.client.get_queue_attributes().queue_url(&queue.url);
        let sent = call.set_attribute_names(Some(counts.to_vec())).send().await;
        let answer = sent.map_err(|error| {
            let fault = Fault::of_call(&error);
            Unsettled { trouble: fault.trouble, message: fault.question(&target(name)) }
        })?;
        let of = |name| answer.attributes.as_ref().and_then(|all| all.get(name)?.parse::<u64>().ok()).unwrap_or(0);
        Ok(counts.iter().map(of).sum())
    }

    /// The queue's `MaximumMessageSize`, and whether that is to be remembered. Without permission to ask, the service's
    /// own maximum is assumed: the queue itself then refuses what is larger. A passing failure is asked again.
    async fn message_bytes_max(&self, url: &str) -> (usize, bool) {
        let asked = QueueAttributeName::MaximumMessageSize;
        let answer = self.client.get_queue_attributes().queue_url(url).attribute_names(asked.clone()).send().await;
        match answer {
            Ok(answer) => {
                let said = answer.attributes.as_ref().and_then(|all| all.get(&asked)?.parse().ok());
                (said.filter(|bytes| *bytes > 0).unwrap_or(CALL_BYTES_MAX).min(CALL_BYTES_MAX), true)
            }
            Err(error) => {
                let fault = Fault::of_call(&error);
                let certain = matches!(fault.code.as_deref(), Some("AccessDenied" | "AccessDeniedException"));
                if certain {
                    tracing::warn!(
                        queue = url,
                        %fault,
                        "the gate may not read the DLQ's MaximumMessageSize and takes it to be {CALL_BYTES_MAX} bytes: \
                         allow it sqs:GetQueueAttributes"
                    );
                }
                (CALL_BYTES_MAX, certain)
            }
        }
    }

    async fn send_batch(&self, name: &str, letters: &[&DeadLetter]) -> Vec<Result<(), Unsettled>> {
        let queue = match self.queue(name).await {
            Ok(queue) => queue,
            Err(failure) => return letters.iter().map(|_| Err(failure.clone())).collect(),
        };
        // What the answer does not mention stays as it is here: sent, with no word of its fate.
        let message = format!(
            "{}: the answer does not mention a message; it may or may not have been stored; retry",
            target(name)
        );
        let silent = Unsettled { trouble: Trouble::Unavailable, message };
        let (mut results, mut sent) = (Vec::with_capacity(letters.len()), Vec::new());
        for (index, letter) in letters.iter().enumerate() {
            match check(name, &queue, letter) {
                Ok(()) => {
                    sent.push(index);
                    results.push(Err(silent.clone()));
                }
                Err(refused) => results.push(Err(refused)),
            }
        }
        if sent.is_empty() {
            return results;
        }
        let index_of = |id: &str| id.parse::<usize>().ok().filter(|index| sent.contains(index));
        let body = body::send_message_batch(&queue, sent.iter().map(|&index| (index, letters[index])));
        // As for Kinesis: the SDK's own request is of no messages, and is signed after this.
        let mut traced = self.tracer.call(&SEND, name, sent.iter().map(|&index| letters[index].trace.as_ref()));
        let mut request =
            self.client.send_message_batch().queue_url(&queue.url).customize().mutate_request(move |request| {
                request.headers_mut().insert("content-length", body.len().to_string());
                *request.body_mut() = body.clone().into();
            });
        if let Some(context) = traced.context() {
            request = request.interceptor(Propagated::from(context));
        }
        match request.send().await {
            Ok(answer) => {
                for index in answer.successful.iter().filter_map(|done| index_of(&done.id)) {
                    results[index] = Ok(());
                }
                for failed in &answer.failed {
                    if let Some(index) = index_of(&failed.id) {
                        results[index] = Err(failed_entry(name, failed));
                    }
                }
            }
            Err(error) => {
                let fault = Fault::of_call(&error);
                if fault.code.as_deref().is_some_and(|c| matches!(c, "QueueDoesNotExist" | "NonExistentQueue")) {
                    self.forget(name);
                }
                for &index in &sent {
                    results[index] = Err(fault.unsettled(&target(name)));
                }
            }
        }
        traced.answered(sent.iter().filter_map(|&index| results[index].as_ref().err()).map(|failure| failure.trouble));
        results
    }
}

impl DeadLetterSink for SqsSink {
    fn call_limits(&self) -> CallLimits {
        CallLimits { entries: CALL_MESSAGES_MAX, bytes: CALL_BYTES_MAX }
    }

    fn size_of(&self, letter: &DeadLetter) -> usize {
        size_of(letter)
    }

    fn letter_bytes_max<'a>(&'a self, queue: &'a str) -> BoxFuture<'a, Result<usize, Unsettled>> {
        Box::pin(async move { self.queue(queue).await.map(|queue| queue.message_bytes_max) })
    }

    /// SQS counts about, and tells no age.
    fn depth<'a>(&'a self, queue: &'a str) -> BoxFuture<'a, Result<Option<QueueDepth>, Unsettled>> {
        Box::pin(async move { Ok(Some(QueueDepth { letters: self.letters_held(queue).await?, oldest: None })) })
    }

    fn group(&self, queue: &str, letter: &DeadLetter) -> Option<String> {
        is_fifo(queue).then(|| outside::group(letter, true))
    }

    fn send<'a>(&'a self, queue: &'a str, letters: &'a [&'a DeadLetter]) -> BoxFuture<'a, Vec<Result<(), Unsettled>>> {
        Box::pin(async move { if letters.is_empty() { Vec::new() } else { self.send_batch(queue, letters).await } })
    }
}

/// Whether a name, URL or ARN is a FIFO queue's: SQS gives no other queue that ending.
fn is_fifo(queue: &str) -> bool {
    queue.ends_with(".fifo")
}

/// How settings name a queue.
#[derive(Debug, PartialEq, Eq)]
enum QueueName<'a> {
    Plain(&'a str),
    Url(&'a str),
    Arn { region: &'a str, account: &'a str, name: &'a str },
}

impl<'a> QueueName<'a> {
    fn parse(text: &'a str) -> Self {
        if text.starts_with("https://") || text.starts_with("http://") {
            return Self::Url(text);
        }
        // arn:partition:sqs:region:account:name
        let mut parts = text.splitn(6, ':');
        match (parts.next(), parts.next(), parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some("arn"), Some(_), Some("sqs"), Some(region), Some(account), Some(name)) => {
                Self::Arn { region, account, name }
            }
            _ => Self::Plain(text),
        }
    }
}

fn target(queue: &str) -> String {
    format!("SQS queue {queue:?}")
}

fn rejected(queue: &str, what: String) -> Unsettled {
    Unsettled { trouble: Trouble::Rejected, message: format!("{}: {what}", target(queue)) }
}

/// Of a letter that the queue does not take, where it takes others.
fn invalid(queue: &str, what: String) -> Unsettled {
    Unsettled { trouble: Trouble::Invalid, ..rejected(queue, what) }
}

/// Whether SQS can take a letter at all.
fn check(name: &str, queue: &Queue, letter: &DeadLetter) -> Result<(), Unsettled> {
    let id = &letter.id;
    let (bytes, limit) = (size_of(letter), queue.message_bytes_max);
    if bytes > limit {
        return Err(invalid(
            name,
            format!(
                "dead letter {id} has {bytes} bytes with its attributes and the queue takes {limit}; it was not sent and its \
             record is not settled; raise the queue's MaximumMessageSize (at most {CALL_BYTES_MAX}), set dead_letters.s3 or send smaller events"
            ),
        ));
    }
    let attributes = attributes(letter).map(|(name, _, value)| (name, value));
    for (part, text) in std::iter::once(("body", Cow::from(&letter.body))).chain(attributes) {
        if part == "body" && text.is_empty() {
            return Err(invalid(name, format!("dead letter {id} is empty, which SQS does not take; it was not sent")));
        }
        if let Some(offset) = forbidden(&text) {
            return Err(invalid(
                name,
                format!(
                    "dead letter {id} holds at byte {offset} of its {part} a character that SQS does not take; it was not \
                 sent and its record is not settled"
                ),
            ));
        }
    }
    Ok(())
}

/// Where a text leaves the characters SQS takes: `#x9 | #xA | #xD | #x20-#xD7FF | #xE000-#xFFFD | #x10000-#x10FFFF`.
/// Of what a `str` can hold, that leaves out the other controls below U+0020, and U+FFFE and U+FFFF.
fn forbidden(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    // Nearly every text holds none of these, which is seen many bytes at a time.
    if !bytes.iter().fold(false, |found, &byte| found | (byte < 0x20 || byte == 0xEF)) {
        return None;
    }
    bytes.iter().enumerate().position(|(at, &byte)| match byte {
        b'\t' | b'\n' | b'\r' => false,
        0..0x20 => true,
        // U+FFFE and U+FFFF are EF BF BE and EF BF BF.
        0xEF => matches!(bytes.get(at + 1..at + 3), Some([0xBF, 0xBE | 0xBF])),
        _ => false,
    })
}

fn failed_entry(name: &str, failed: &BatchResultErrorEntry) -> Unsettled {
    Fault::of_entry(&failed.code, failed.message.as_deref(), failed.sender_fault).unsettled(&target(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Timestamp;

    pub(super) fn letter(body: &str) -> DeadLetter {
        DeadLetter {
            document_bytes: None,
            key_hash: None,
            is_kept: false,
            attempts: 0,
            id: "0193-7".into(),
            body: body.into(),
            quarantined: Timestamp::default(),
            stream: "orders".into(),
            domain: "sales".into(),
            contract: "".into(),
            rule: "qty_positive".into(),
            kind: "rule",
            trace: None,
        }
    }

    fn queue(message_bytes_max: usize) -> Queue {
        Queue { url: "http://q".into(), fifo: false, message_bytes_max }
    }

    #[test]
    fn queues_are_named_in_three_ways() {
        assert_eq!(QueueName::parse("orders-dlq.fifo"), QueueName::Plain("orders-dlq.fifo"));
        let url = "https://sqs.eu-west-1.amazonaws.com/123456789012/dlq";
        assert_eq!(QueueName::parse(url), QueueName::Url(url));
        assert_eq!(
            QueueName::parse("arn:aws:sqs:eu-west-1:123456789012:dlq"),
            QueueName::Arn { region: "eu-west-1", account: "123456789012", name: "dlq" }
        );
        assert_eq!(QueueName::parse("arn:aws:sns:a:b:c"), QueueName::Plain("arn:aws:sns:a:b:c"));
    }

    #[test]
    fn the_characters_sqs_takes() {
        for good in ["", "{}", "\t\n\r ", "\u{d7ff}\u{e000}\u{fffd}\u{10000}\u{10ffff}\u{7f}\u{85}", "ÿ\u{feff}"] {
            assert_eq!(forbidden(good), None, "{good:?}");
        }
        for (bad, offset) in [("\0", 0), ("ab\u{b}", 2), ("\u{1f}", 0), ("é\u{fffe}", 2), ("\u{ffff}", 0)] {
            assert_eq!(forbidden(bad), Some(offset), "{bad:?}");
        }
    }

    #[test]
    fn a_letter_no_queue_takes_is_told_apart() {
        assert!(check("dlq", &queue(1_000), &letter("{}")).is_ok());
        for (bad, said) in [("\u{1}", "byte 0 of its body"), ("", "is empty")] {
            let refused = check("dlq", &queue(1_000), &letter(bad)).unwrap_err();
            assert_eq!(refused.trouble, Trouble::Invalid);
            assert!(refused.message.contains(said), "{}", refused.message);
        }
        let refused = check("dlq", &queue(50), &letter(&"x".repeat(50))).unwrap_err();
        assert!(refused.message.contains("and the queue takes 50"), "{}", refused.message);
    }
}
