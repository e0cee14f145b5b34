//! Who reads which shard, and how far it is settled ([`ledger`]): leases as the Kinesis Client Library has them, in a table that a fleet of gates shares.
//!
//! A [`Lease`] is a row of that table, one a shard: who holds it, a counter that the holder raises while it is alive, and how far the shard
//! is settled. Every write is a [`Swap`]: it happens only where the row's owner and counter are still what the writer saw. Nothing here reads
//! a table or a clock; [`crate::port::LeaseTable`] is the table, and time is passed in. A [`Worker`] decides for one gate; there is no leader.
//!
//! What differs from the KCL, and why its table can still be read, and taken over, by it:
//!
//! | here | the KCL | why it fits |
//! | --- | --- | --- |
//! | a checkpoint goes with the next renewal, one write | two writes | both raise the counter under the same condition |
//! | each worker takes for itself, as its v2 did | a leader assigns (v3) | the rows look the same; whoever renews has it |
//! | looks come in pairs, seldom in a large fleet | each worker reads all rows every two failovers | expiry is the same: a counter that stood still |
//! | several leases are asked for at once, only of who has two more | one a round, of the most loaded | each is the KCL's hand-over: owner the next one, checkpoint owner the last |
//! | a lease at `SHARD_END` has no owner | its reader stays its owner until it is deleted | unowned and ended, it is only waited for or deleted |
//! | whoever ended a shard claims its children at once | they are taken like any other | they are made unowned first, as there |
//! | a lease that must wait for its parents is not taken | it is held, and waits | it stays unowned until then |
//! | `LATEST` and `AT_TIMESTAMP` keep a moment, and children of the latter inherit it | both are resolved anew | an attribute that the KCL passes over |
//! | a release is an unowned row with its counter raised | the same (`evictLease`) | |
//!
//! A fleet of gates and one of KCL workers should not share a table while both run: a v3 leader would assign leases to workers by statistics
//! that gates do not write.
//!
//! Source: amazon-kinesis-client 3.5 (`leases/Lease.java`, `leases/dynamodb/DynamoDBLeaseSerializer.java`, `DynamoDBLeaseRenewer.java`,
//! `DynamoDBLeaseTaker.java`, `lifecycle/ShutdownTask.java`).

mod create;
mod held;
pub mod ledger;
mod random;
mod row;
mod survey;
mod sync;
mod take;
mod worker;

use std::collections::BTreeSet;

pub use worker::{Input, Output, Start, StopReason, Worker, WorkerOptions};

use crate::model::{HashKeyRange, Place, Timestamp};

/// One shard's row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The shard's id.
    pub key: String,
    /// The worker that holds it, or is to have it once [`Self::checkpoint_owner`] is gone.
    pub owner: Option<String>,
    /// Raised by each write of a holder: a lease whose counter stands still has no living holder.
    pub counter: u64,
    /// All up to and with it is settled.
    pub checkpoint: Checkpoint,
    /// How often it changed hands since the last checkpoint.
    pub owner_switches: u64,
    /// While it is handed over: who still holds it, and checkpoints the last.
    pub checkpoint_owner: Option<String>,
    /// Shards whose records come before this one's: none, one (a split) or two (a merge).
    pub parents: BTreeSet<String>,
    /// Shards that follow, known once the shard has been read to its end.
    pub children: BTreeSet<String>,
    /// What part of the hash keys the shard has.
    pub range: Option<HashKeyRange>,
    /// Meshgate's own: the moment from which records count, where the checkpoint is `LATEST` or `AT_TIMESTAMP`. The KCL resolves both anew at
    /// each start, and so skips what came between two of them.
    pub starts_at: Option<Timestamp>,
}

/// How far a shard is settled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Checkpoint {
    /// Nothing is; it begins with the oldest record there is.
    TrimHorizon,
    /// Nothing is; it begins with what arrives after [`Lease::starts_at`].
    Latest,
    /// Nothing is; it begins with what arrived at [`Lease::starts_at`] or later.
    AtTimestamp,
    /// All up to and with this place.
    At(Place),
    /// The shard is closed, and all of it is settled.
    ShardEnd,
}

impl Lease {
    /// A lease that nobody has held.
    pub fn new(key: impl Into<String>, checkpoint: Checkpoint) -> Self {
        Self {
            key: key.into(),
            owner: None,
            counter: 0,
            checkpoint,
            owner_switches: 0,
            checkpoint_owner: None,
            parents: BTreeSet::new(),
            children: BTreeSet::new(),
            range: None,
            starts_at: None,
        }
    }

    /// Whether it is this worker's, or to be, or still with it.
    fn is_with(&self, worker: &str) -> bool {
        [&self.owner, &self.checkpoint_owner].into_iter().flatten().any(|owner| owner == worker)
    }

    /// Whether nobody has written the row since it was as `seen`.
    fn stands_as(&self, seen: &Self) -> bool {
        (&self.owner, self.counter, &self.checkpoint_owner) == (&seen.owner, seen.counter, &seen.checkpoint_owner)
    }
}

/// A conditional write of one row: it happens only if the row still has `before`'s owner, counter and checkpoint owner. Attributes of the
/// row that neither knows stay as they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Swap {
    /// Where no row has this key.
    Create(Box<Lease>),
    /// Both have the same key.
    Update {
        before: Box<Lease>,
        after: Box<Lease>,
    },
    Delete(Box<Lease>),
}

impl Swap {
    pub fn key(&self) -> &str {
        match self {
            Self::Create(lease) | Self::Delete(lease) => &lease.key,
            Self::Update { after, .. } => &after.key,
        }
    }

    /// Whether it may happen to this row (`None`: there is none).
    pub fn applies_to(&self, row: Option<&Lease>) -> bool {
        match (self, row) {
            (Self::Create(_), row) => row.is_none(),
            (Self::Update { before, .. }, Some(row)) => row.stands_as(before),
            (Self::Delete(before), Some(row)) => row.stands_as(before),
            (_, None) => false,
        }
    }
}

/// What became of a [`Swap`]. A write whose answer was lost is neither: its row is to be looked at again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Swapped {
    Done,
    /// The condition did not hold. The row as it is; `None`: there is none.
    Refused(Option<Box<Lease>>),
}

#[cfg(test)]
mod tests;
