//! What every table of leases does with a row, whatever it keeps them in: the texts of checkpoints, and what a write changes.
//!
//! Source: amazon-kinesis-client 3.5 (`checkpoint/SentinelCheckpoint.java`, `retrieval/kpl/ExtendedSequenceNumber.java`).

use super::{Checkpoint, Lease, Swap};
use crate::model::Place;

const TRIM_HORIZON: &str = "TRIM_HORIZON";
const LATEST: &str = "LATEST";
const AT_TIMESTAMP: &str = "AT_TIMESTAMP";
const SHARD_END: &str = "SHARD_END";

/// Digits of the longest sequence number (Kinesis API reference, `SequenceNumber`).
const SEQUENCE_DIGITS_MAX: usize = 129;

impl Checkpoint {
    /// As the KCL writes it: a sequence number or one of four words, and a sub-sequence number, 0 with a word.
    pub fn written(&self) -> (&str, u64) {
        match self {
            Self::TrimHorizon => (TRIM_HORIZON, 0),
            Self::Latest => (LATEST, 0),
            Self::AtTimestamp => (AT_TIMESTAMP, 0),
            Self::ShardEnd => (SHARD_END, 0),
            Self::At(place) => (&place.sequence, place.sub_sequence),
        }
    }

    /// The inverse of [`Self::written`]. `None`: the text is neither a word nor a decimal without leading zeros.
    pub fn read(sequence: &str, sub_sequence: u64) -> Option<Self> {
        Some(match sequence {
            TRIM_HORIZON => Self::TrimHorizon,
            LATEST => Self::Latest,
            AT_TIMESTAMP => Self::AtTimestamp,
            SHARD_END => Self::ShardEnd,
            number if is_sequence_number(number) => Self::At(Place { sequence: number.to_owned(), sub_sequence }),
            _ => return None,
        })
    }
}

fn is_sequence_number(text: &str) -> bool {
    let canonical = text == "0" || !text.starts_with('0');
    (1..=SEQUENCE_DIGITS_MAX).contains(&text.len()) && canonical && text.bytes().all(|b| b.is_ascii_digit())
}

impl Swap {
    /// The row after this write, where it [applies](Self::applies_to) to `row`; `None`: there is none then. Of an update, only what
    /// differs between its two leases changes, so that what somebody else wrote without raising the counter stays.
    pub fn onto(&self, row: Option<&Lease>) -> Option<Lease> {
        match self {
            Self::Create(lease) => Some((**lease).clone()),
            Self::Delete(_) => None,
            Self::Update { before, after } => {
                let mut row = row?.clone();
                change(&mut row.owner, &before.owner, &after.owner);
                change(&mut row.counter, &before.counter, &after.counter);
                change(&mut row.checkpoint, &before.checkpoint, &after.checkpoint);
                change(&mut row.owner_switches, &before.owner_switches, &after.owner_switches);
                change(&mut row.checkpoint_owner, &before.checkpoint_owner, &after.checkpoint_owner);
                change(&mut row.parents, &before.parents, &after.parents);
                change(&mut row.children, &before.children, &after.children);
                change(&mut row.range, &before.range, &after.range);
                change(&mut row.starts_at, &before.starts_at, &after.starts_at);
                Some(row)
            }
        }
    }
}

fn change<T: Clone + PartialEq>(value: &mut T, before: &T, after: &T) {
    if before != after {
        value.clone_from(after);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checkpoints_are_read_as_they_are_written() {
        let place =
            Place { sequence: "49590338271490256608559692538361571095921575989136588898".into(), sub_sequence: 7 };
        for (checkpoint, written) in [
            (Checkpoint::TrimHorizon, ("TRIM_HORIZON", 0)),
            (Checkpoint::Latest, ("LATEST", 0)),
            (Checkpoint::AtTimestamp, ("AT_TIMESTAMP", 0)),
            (Checkpoint::ShardEnd, ("SHARD_END", 0)),
            (Checkpoint::At(place.clone()), (place.sequence.as_str(), 7)),
        ] {
            assert_eq!(checkpoint.written(), written);
            assert_eq!(Checkpoint::read(written.0, written.1), Some(checkpoint.clone()));
        }
        assert!(Checkpoint::read("0", 0).is_some());
        for bad in ["", "00", "01", "-1", "1.0", "latest", " 1", &"9".repeat(130)] {
            assert_eq!(Checkpoint::read(bad, 0), None, "{bad:?}");
        }
    }

    #[test]
    fn an_update_leaves_what_it_does_not_mean() {
        let before = Lease::new("shard", Checkpoint::TrimHorizon);
        let row = Lease { children: ["child".to_owned()].into(), ..before.clone() };
        let after = Lease { counter: 1, ..before.clone() };
        let swap = Swap::Update { before: Box::new(before), after: Box::new(after) };
        assert_eq!(swap.onto(Some(&row)), Some(Lease { counter: 1, ..row }));
    }
}
