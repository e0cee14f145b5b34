//! The dead letters of a store, looked through in the order of their arrival.

use std::sync::Arc;

use tokio::sync::{Mutex, oneshot};

use super::sink::stopped;
use super::writer::Work;
use super::{Store, StoreError};
use crate::model::{DeadLetter, Trouble, Unsettled};
use crate::port::{BoxFuture, DeadLetterBox, Received, Ticket};

/// Letters given at once.
const BATCH: usize = 100;

/// One pass over the letters of a queue of the store, or of all.
pub struct LocalBox {
    store: Arc<Store>,
    queue: Option<String>,
    /// The place of the last letter given.
    after: Mutex<i64>,
}

impl LocalBox {
    pub fn new(store: Arc<Store>, queue: Option<String>) -> Self {
        Self { store, queue, after: Mutex::new(0) }
    }

    async fn amend(&self, remove: Vec<i64>, replace: Vec<(i64, String)>) -> Result<(), Unsettled> {
        let bytes = replace.iter().map(|(_, body)| body.len()).sum();
        let (answer, done) = oneshot::channel();
        self.store.enqueue(Work::Amend { remove, replace, answer }, bytes).await?;
        done.await.map_err(|_| stopped())?
    }
}

/// A ticket is a letter's place.
fn place(ticket: &Ticket) -> i64 {
    ticket.0.parse().unwrap_or(-1)
}

fn failed(error: &StoreError) -> Unsettled {
    Unsettled { trouble: Trouble::Unavailable, message: error.to_string() }
}

impl DeadLetterBox for LocalBox {
    fn about(&self) -> BoxFuture<'_, Result<u64, Unsettled>> {
        let queue = self.queue.clone();
        Box::pin(async move {
            let held = self.store.query(move |reader| reader.letters_held(queue.as_deref())).await;
            held.map_err(|error| failed(&error))
        })
    }

    fn receive(&self) -> BoxFuture<'_, Result<Vec<Received>, Unsettled>> {
        Box::pin(async move {
            let queue = self.queue.clone();
            let mut last = self.after.lock().await;
            let after = *last;
            let read = self.store.query(move |reader| reader.letter_bodies(queue.as_deref(), after, BATCH)).await;
            let letters = read.map_err(|error| failed(&error))?;
            *last = letters.last().map_or(after, |(seq, _)| *seq);
            Ok(letters.into_iter().map(|(seq, body)| Received { ticket: Ticket(seq.to_string()), body }).collect())
        })
    }

    /// They are nobody's at any time.
    fn release<'a>(&'a self, _: &'a [Ticket]) -> BoxFuture<'a, ()> {
        Box::pin(async {})
    }

    fn remove<'a>(&'a self, tickets: &'a [Ticket]) -> BoxFuture<'a, Vec<Result<(), Unsettled>>> {
        Box::pin(async move {
            let done = self.amend(tickets.iter().map(place).collect(), Vec::new()).await;
            vec![done; tickets.len()]
        })
    }

    fn replace<'a>(&'a self, letters: &'a [(Ticket, DeadLetter)]) -> BoxFuture<'a, Vec<Result<(), Unsettled>>> {
        Box::pin(async move {
            let bodies = letters.iter().map(|(ticket, letter)| (place(ticket), letter.body.clone())).collect();
            let done = self.amend(Vec::new(), bodies).await;
            vec![done; letters.len()]
        })
    }
}
