//! A pass over a dead-letter queue: each letter that is meant is looked at, and then given back or removed.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::Place;
use crate::cli::output::Failure;
use crate::gate::document::{self, Filter, Summary};
use crate::model::Unsettled;
use crate::pipeline::replay::HELD_MAX;
use crate::pipeline::serve;
use crate::port::{DeadLetterBox, Received, Ticket};

/// Which letters, and how many.
pub struct Options {
    pub filter: Filter,
    pub letters_max: u64,
    /// For the progress bar: what is being done.
    pub doing: &'static str,
}

/// What becomes of a letter that was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    Release,
    Remove,
    /// Nothing further is looked at.
    Stop,
}

/// Calls `look` with each letter that is meant and its document. Says how many letters were looked through.
///
/// # Errors
/// Where the queue cannot be read or changed, or `look` says so.
pub fn each(
    place: &Place,
    options: Options,
    mut look: impl FnMut(&Summary, &str) -> Result<Then, Failure>,
) -> Result<u64, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::Told(format!("cannot start threads: {error}")))?;
    runtime.block_on(async {
        let opened = serve::open_letters(&place.config, place.queue.as_deref()).await;
        let (_sinks, letters) = opened.map_err(|error| Failure::Told(error.to_string()))?;
        let bar = progress(options.doing, letters.about().await.map_err(told)?);
        let mut held = Vec::new();
        let passed = pass(&*letters, &options, &bar, &mut held, &mut look).await;
        letters.release(&held).await;
        bar.finish_and_clear();
        passed
    })
}

async fn pass(
    letters: &dyn DeadLetterBox,
    options: &Options,
    bar: &ProgressBar,
    held: &mut Vec<Ticket>,
    look: &mut impl FnMut(&Summary, &str) -> Result<Then, Failure>,
) -> Result<u64, Failure> {
    let (mut looked_at, mut meant) = (0, 0);
    loop {
        let received = letters.receive().await.map_err(told)?;
        if received.is_empty() {
            return Ok(looked_at);
        }
        let (mut remove, mut is_last) = (Vec::new(), false);
        for Received { ticket, body } in received {
            looked_at += 1;
            bar.inc(1);
            let letter = document::summary(&body).ok().filter(|letter| options.filter.matches(letter));
            let Some(letter) = letter.filter(|_| !is_last && meant < options.letters_max) else {
                held.push(ticket);
                continue;
            };
            meant += 1;
            match look(&letter, &body)? {
                Then::Release => held.push(ticket),
                Then::Remove => remove.push(ticket),
                Then::Stop => {
                    is_last = true;
                    held.push(ticket);
                }
            }
        }
        if !remove.is_empty() {
            letters.remove(&remove).await.into_iter().collect::<Result<Vec<()>, Unsettled>>().map_err(told)?;
        }
        if is_last || meant >= options.letters_max {
            return Ok(looked_at);
        }
        if held.len() >= HELD_MAX {
            letters.release(held).await;
            held.clear();
        }
    }
}

fn told(failure: Unsettled) -> Failure {
    Failure::Told(failure.message)
}

/// A bar on stderr, where that is a terminal.
pub fn progress(doing: &str, letters: u64) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(letters), ProgressDrawTarget::stderr());
    let template = format!("{doing} {{wide_bar}} {{pos}}/{{len}} {{per_sec}} eta {{eta}}");
    bar.set_style(ProgressStyle::with_template(&template).unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}
