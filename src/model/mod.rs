//! The nouns of Meshgate, with no behaviour beyond their own invariants. Pure: no IO, clock or randomness.
//!
//! A [`Record`] is what a source delivers. Its bytes hold an event, which is judged against a contract; what is wrong with
//! it is a list of [`Violation`]s; what becomes of it is a [`Verdict`]; where it ended up is a [`Settlement`].

mod hash_key;
mod outcome;
mod place;
mod record;
mod stream;
mod timestamp;
mod trace;
mod violation;

pub use hash_key::{HashKey, HashKeyRange};
pub use outcome::{Judgement, Outcome, Placement, Settlement, Stamp, Trouble, Unsettled, Verdict};
pub use place::Place;
pub use record::{Container, DeadLetter, PartOf, Position, Record};
pub use stream::{ChildShard, Distribution, Shard, ShardMap, StreamDescription, StreamMode};
pub use timestamp::Timestamp;
pub use trace::{SpanContext, SpanId, TraceId};
pub use violation::{Dimension, Mode, Severity, Violation, ViolationKind};
