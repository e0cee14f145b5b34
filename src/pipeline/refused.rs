//! What a far end does not take as it is, whatever is tried: without a verdict, it would be tried for ever, and a shard would stand still.
//!
//! A record that the mesh stream refuses as invalid, while it takes others of its batch, goes to the dead-letter queue. Letters that their
//! queue does not take are [`super::letters`]' to deal with.

use std::sync::Arc;

use super::gate::Gate;
use super::rules::InForce;
use super::streams::StreamFacts;
use crate::config::Route;
use crate::gate::judge;
use crate::model::{Outcome, Record, Settlement, Timestamp, Trouble, Unsettled, Verdict};

impl Gate {
    /// Quarantines the records that the mesh stream finds invalid.
    pub(super) async fn quarantine_refused(
        &self,
        (route, set, facts): (&Route, &InForce, &StreamFacts),
        records: &[Record],
        outcomes: &mut [Outcome],
        now: Timestamp,
    ) {
        let (mut letters, mut judgements) = (Vec::new(), Vec::new());
        for (index, (record, outcome)) in records.iter().zip(&*outcomes).enumerate() {
            let Settlement::Unsettled(Unsettled { trouble: Trouble::Invalid, message }) = &outcome.settlement else {
                continue;
            };
            // A letter that failed is not helped by another one.
            if outcome.judgement.verdict != Verdict::Forward {
                continue;
            }
            let judged = judge::refused_by_stream(set, record, message, now);
            letters.push((index, Arc::clone(self.queue_of(route, &judged)), self.letter(&judged, record, now)));
            judgements.push((index, judged.judgement));
        }
        if letters.is_empty() {
            return;
        }
        let mut sent = self.send_letters(letters).await;
        for (index, judgement) in judgements {
            // Where that fails too, the record is as unsettled as it was.
            let Some(Ok(dead_letter)) = sent.remove(&index) else { continue };
            let placement = self.synthetic_placement(facts, &records[index], now);
            let settlement = Settlement::Quarantined { placement, dead_letter, refuse: false };
            outcomes[index] = Outcome { judgement, settlement };
        }
    }
}
