//! Waits for what a verdict rests on to be on the mesh stream, or not.
//!
//! An event whose key another one is bringing is a duplicate if that one arrives, and none if it does not. Mostly it is of the same
//! batch, or of one that ends in some milliseconds. Where it takes longer, or does not arrive, nothing is settled: the producer sends
//! the event again, which is judged by what is there then.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::memory::Doubts;
use crate::model::{Timestamp, Trouble, Unsettled};

/// How long the answer to a doubt is waited for.
const WAIT_MAX: Duration = Duration::from_secs(2);

/// Between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// Waits until all are resolved; those that take too long are resolved to be no ground for a verdict. What is waited for never waits
/// for this: a doubtful event holds nothing.
pub(super) async fn resolve(doubts: Vec<&Doubts>, clock: fn() -> Timestamp) {
    let until = Instant::now() + WAIT_MAX;
    loop {
        let now = clock();
        // Each is looked at, also when one before it has no answer yet.
        let open = doubts.iter().filter(|doubts| doubts.resolve(now).is_none()).count();
        if open == 0 {
            return;
        }
        if Instant::now() >= until {
            return doubts.iter().for_each(|doubts| doubts.give_up());
        }
        sleep(LOOK_AGAIN).await;
    }
}

/// What is told of a record whose doubts are not resolved in its disfavour.
pub(super) fn unsettled() -> Unsettled {
    Unsettled {
        trouble: Trouble::Held,
        message: "an event that decides about this one was on its way, and nothing is settled; send it again".into(),
    }
}
