//! An SQS dead-letter queue, looked through once: `ReceiveMessage`, and `DeleteMessageBatch` or `ChangeMessageVisibilityBatch` after it.
//!
//! What is received is hidden from others for [`HIDDEN`]. SQS gives what it has in about the order it came in; of a FIFO queue, the first
//! ten of a message group only, until they are gone. Each look counts as a receive: a redrive policy on the queue moves a letter on after
//! some of them, so a dead-letter queue should have none.
//!
//! A message that points to an object of S3 is given as the document there. Removed, its object is deleted after it; replaced, the object is
//! written anew and the message stays.
//!
//! Source: Amazon SQS API reference, `ReceiveMessage`.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_sdk_sqs::operation::receive_message::ReceiveMessageOutput;
use aws_sdk_sqs::types::{ChangeMessageVisibilityBatchRequestEntry, DeleteMessageBatchRequestEntry};

use super::outside::size_of;
use super::{CALL_BYTES_MAX, CALL_MESSAGES_MAX, Queue, SqsSink, target};
use crate::aws::Fault;
use crate::model::{DeadLetter, Trouble, Unsettled};
use crate::port::{BoxFuture, DeadLetterBox, DeadLetterSink as _, Received, Ticket};
use crate::sink::s3::{ObjectError, Objects, Pointer};

/// How long what was received is hidden from others.
const HIDDEN: Duration = Duration::from_secs(300);
/// How long a call waits for a message: long polling asks all of the queue's servers.
const WAIT_SECONDS: i32 = 1;
/// Calls in a row that give nothing new, before that is taken for all there is.
const EMPTY_MAX: u32 = 3;

/// One pass over the letters of a queue.
pub struct SqsBox {
    sink: Arc<SqsSink>,
    objects: Objects,
    queue: String,
    /// Messages that this pass has given.
    given: Mutex<HashSet<String>>,
    /// Of those that point to an object, by receipt handle.
    pointers: Mutex<HashMap<String, Pointer>>,
}

impl SqsBox {
    pub fn new(sink: Arc<SqsSink>, objects: Objects, queue: impl Into<String>) -> Self {
        Self { sink, objects, queue: queue.into(), given: Mutex::default(), pointers: Mutex::default() }
    }

    fn pointer(&self, Ticket(handle): &Ticket) -> Option<Pointer> {
        self.pointers.lock().unwrap_or_else(PoisonError::into_inner).get(handle).cloned()
    }

    /// The letter's document, where that is in an object. What cannot be read is given as it is, and is no document then.
    async fn follow(&self, received: Received) -> Received {
        let Some(pointer) = Pointer::parse(&received.body) else { return received };
        match self.objects.fetch(&pointer).await {
            Ok(body) => {
                let Received { ticket, .. } = received;
                self.pointers.lock().unwrap_or_else(PoisonError::into_inner).insert(ticket.0.clone(), pointer);
                Received { ticket, body }
            }
            Err(error) => {
                tracing::warn!(queue = self.queue, %error, "a dead letter's object cannot be read; its message stays");
                received
            }
        }
    }

    fn failed(&self, fault: &Fault) -> Unsettled {
        Unsettled { trouble: fault.trouble, message: fault.question(&target(&self.queue)) }
    }

    async fn ask(&self, queue: &Queue) -> Result<ReceiveMessageOutput, Unsettled> {
        let call = self.sink.client.receive_message().queue_url(&queue.url).wait_time_seconds(WAIT_SECONDS);
        let call = call.max_number_of_messages(CALL_MESSAGES_MAX as i32).visibility_timeout(HIDDEN.as_secs() as i32);
        call.send().await.map_err(|error| self.failed(&Fault::of_call(&error)))
    }

    async fn make_visible(&self, tickets: &[Ticket]) -> Result<(), Unsettled> {
        let queue = self.sink.queue(&self.queue).await?;
        for part in tickets.chunks(CALL_MESSAGES_MAX) {
            let entries = part.iter().enumerate().filter_map(|(index, Ticket(handle))| {
                let entry = ChangeMessageVisibilityBatchRequestEntry::builder().id(index.to_string());
                entry.receipt_handle(handle).visibility_timeout(0).build().ok()
            });
            let call = self.sink.client.change_message_visibility_batch().queue_url(&queue.url);
            let sent = call.set_entries(Some(entries.collect())).send().await;
            sent.map_err(|error| self.failed(&Fault::of_call(&error)))?;
        }
        Ok(())
    }

    async fn delete(&self, part: &[Ticket]) -> Result<Vec<Result<(), Unsettled>>, Unsettled> {
        let queue = self.sink.queue(&self.queue).await?;
        let entries = part.iter().enumerate().filter_map(|(index, Ticket(handle))| {
            DeleteMessageBatchRequestEntry::builder().id(index.to_string()).receipt_handle(handle).build().ok()
        });
        let call = self.sink.client.delete_message_batch().queue_url(&queue.url).set_entries(Some(entries.collect()));
        let answer = call.send().await.map_err(|error| self.failed(&Fault::of_call(&error)))?;
        let message = format!("{}: the answer does not mention a message; it may be there still", target(&self.queue));
        let silent = Unsettled { trouble: Trouble::Unavailable, message };
        let mut results = vec![Err(silent); part.len()];
        for done in answer.successful.iter().filter_map(|done| done.id.parse::<usize>().ok()) {
            if let Some(result) = results.get_mut(done) {
                *result = Ok(());
            }
        }
        for failed in &answer.failed {
            if let Some(result) = failed.id.parse::<usize>().ok().and_then(|index| results.get_mut(index)) {
                let fault = Fault::of_entry(&failed.code, failed.message.as_deref(), failed.sender_fault);
                *result = Err(self.failed(&fault));
            }
        }
        Ok(results)
    }
}

impl DeadLetterBox for SqsBox {
    fn about(&self) -> BoxFuture<'_, Result<u64, Unsettled>> {
        Box::pin(self.sink.letters_held(&self.queue))
    }

    fn receive(&self) -> BoxFuture<'_, Result<Vec<Received>, Unsettled>> {
        Box::pin(async move {
            let queue = self.sink.queue(&self.queue).await?;
            for _ in 0..EMPTY_MAX {
                let messages = self.ask(&queue).await?.messages.unwrap_or_default();
                let (mut fresh, mut again) = (Vec::new(), Vec::new());
                for message in messages {
                    let (Some(id), Some(handle), Some(body)) =
                        (message.message_id, message.receipt_handle, message.body)
                    else {
                        continue;
                    };
                    let is_new = self.given.lock().unwrap_or_else(PoisonError::into_inner).insert(id);
                    let received = Received { ticket: Ticket(handle), body };
                    if is_new { fresh.push(received) } else { again.push(received.ticket) }
                }
                self.release(&again).await;
                if !fresh.is_empty() {
                    let mut letters = Vec::with_capacity(fresh.len());
                    for received in fresh {
                        letters.push(self.follow(received).await);
                    }
                    return Ok(letters);
                }
            }
            Ok(Vec::new())
        })
    }

    fn release<'a>(&'a self, tickets: &'a [Ticket]) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            // Where that fails, they come into sight by themselves.
            if let Err(failure) = self.make_visible(tickets).await {
                tracing::debug!(queue = self.queue, failure.message, "letters stay hidden for {} s", HIDDEN.as_secs());
            }
        })
    }

    fn remove<'a>(&'a self, tickets: &'a [Ticket]) -> BoxFuture<'a, Vec<Result<(), Unsettled>>> {
        Box::pin(async move {
            let mut results = Vec::with_capacity(tickets.len());
            for part in tickets.chunks(CALL_MESSAGES_MAX) {
                let answers = self
                    .delete(part)
                    .await
                    .unwrap_or_else(|failure| part.iter().map(|_| Err(failure.clone())).collect());
                for (ticket, _) in part.iter().zip(&answers).filter(|(_, answer)| answer.is_ok()) {
                    if let Some(pointer) = self.pointer(ticket)
                        && let Err(error) = self.objects.delete(&pointer).await
                    {
                        tracing::warn!(queue = self.queue, %error, "a dead letter is gone, and its object is left over");
                    }
                }
                results.extend(answers);
            }
            results
        })
    }

    /// A message cannot be changed: the new one is sent, and then the old one deleted.
    fn replace<'a>(&'a self, letters: &'a [(Ticket, DeadLetter)]) -> BoxFuture<'a, Vec<Result<(), Unsettled>>> {
        Box::pin(async move {
            let mut results = Vec::with_capacity(letters.len());
            let mut rest = letters;
            while let [(ticket, letter), ..] = rest {
                if let Some(pointer) = self.pointer(ticket) {
                    rest = &rest[1..];
                    results.push(self.rewrite(ticket, &pointer, letter).await);
                    continue;
                }
                let (part, others) = rest.split_at(self.one_call(rest));
                rest = others;
                results.extend(self.send_again(part).await);
            }
            results
        })
    }
}

impl SqsBox {
    async fn rewrite(&self, ticket: &Ticket, pointer: &Pointer, letter: &DeadLetter) -> Result<(), Unsettled> {
        let failed = |error: ObjectError| Unsettled { trouble: Trouble::Unavailable, message: error.to_string() };
        self.objects.replace(pointer, letter.body.clone()).await.map_err(failed)?;
        self.release(std::slice::from_ref(ticket)).await;
        Ok(())
    }

    async fn send_again(&self, part: &[(Ticket, DeadLetter)]) -> Vec<Result<(), Unsettled>> {
        let new: Vec<&DeadLetter> = part.iter().map(|(_, letter)| letter).collect();
        let mut answers = self.sink.send(&self.queue, &new).await;
        let sent: Vec<usize> = (0..part.len()).filter(|&index| answers[index].is_ok()).collect();
        let old: Vec<Ticket> = sent.iter().map(|&index| part[index].0.clone()).collect();
        for (index, removed) in sent.into_iter().zip(self.remove(&old).await) {
            answers[index] = removed;
        }
        answers
    }

    /// How many of the letters one call takes, up to one whose document is in an object.
    fn one_call(&self, letters: &[(Ticket, DeadLetter)]) -> usize {
        let mut bytes = 0;
        let fits = letters.iter().take(CALL_MESSAGES_MAX).take_while(|(ticket, letter)| {
            bytes += size_of(letter);
            bytes <= CALL_BYTES_MAX && self.pointer(ticket).is_none()
        });
        fits.count().max(1)
    }
}
