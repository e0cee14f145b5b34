//! A lease as a row of the DynamoDB table, with the names and types that the Kinesis Client Library gives them.
//!
//! What a row holds beyond (`throughputKBps`, a later version's attributes) is neither read nor touched. Meshgate's own is
//! [`STARTS_AT`].
//!
//! Source: amazon-kinesis-client 3.5 (`leases/dynamodb/DynamoDBLeaseSerializer.java`, `leases/EntityType.java`).

use std::collections::{BTreeSet, HashMap};

use aws_sdk_dynamodb::types::AttributeValue;

use crate::lease::{Checkpoint, Lease};
use crate::model::{HashKey, HashKeyRange, Timestamp};

/// A row: values by attribute.
pub type Row = HashMap<String, AttributeValue>;

/// The table's hash key.
pub const KEY: &str = "leaseKey";
pub const OWNER: &str = "leaseOwner";
pub const COUNTER: &str = "leaseCounter";
pub const CHECKPOINT_OWNER: &str = "checkpointOwner";
const OWNER_SWITCHES: &str = "ownerSwitchesSinceCheckpoint";
const CHECKPOINT: &str = "checkpoint";
const CHECKPOINT_SUB_SEQUENCE: &str = "checkpointSubSequenceNumber";
const PARENTS: &str = "parentShardId";
const CHILDREN: &str = "childShardIds";
const STARTING_HASH_KEY: &str = "startingHashKey";
const ENDING_HASH_KEY: &str = "endingHashKey";
/// [`Lease::starts_at`], milliseconds since the epoch.
const STARTS_AT: &str = "meshgateStartsAt";

/// What the KCL was about to checkpoint: void once a checkpoint is written.
const PENDING: [&str; 3] = ["pendingCheckpoint", "pendingCheckpointSubSequenceNumber", "pendingCheckpointState"];

/// What kind of row it is; absent in rows older than KCL 3.5, which are all leases.
const ENTITY_TYPE: &str = "entityType";
const ENTITY_LEASE: &str = "LEASE";

/// An attribute that no lease can have so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the attribute {attribute} of its row {key:?} {fault}; correct it")]
pub struct RowFault {
    key: String,
    attribute: &'static str,
    fault: &'static str,
}

/// The lease that a row is. `None`: it is no lease but something else that the KCL keeps in the table.
///
/// # Errors
/// An attribute is missing, of another type, or not of the form it has in a lease.
pub fn read(row: &Row) -> Result<Option<Lease>, RowFault> {
    let fields = Fields { row };
    if fields.text(ENTITY_TYPE)?.is_some_and(|kind| kind != ENTITY_LEASE) {
        return Ok(None);
    }
    if !row.contains_key(COUNTER) && !row.contains_key(CHECKPOINT) {
        return Ok(None);
    }
    let sequence = fields.text(CHECKPOINT)?.ok_or_else(|| fields.fault(CHECKPOINT, "is missing"))?;
    let sub_sequence = fields.number(CHECKPOINT_SUB_SEQUENCE)?.unwrap_or_default();
    Ok(Some(Lease {
        key: fields.text(KEY)?.ok_or_else(|| fields.fault(KEY, "is missing"))?.to_owned(),
        owner: fields.text(OWNER)?.map(str::to_owned),
        counter: fields.number(COUNTER)?.ok_or_else(|| fields.fault(COUNTER, "is missing"))?,
        checkpoint: Checkpoint::read(sequence, sub_sequence)
            .ok_or_else(|| fields.fault(CHECKPOINT, "is neither a sequence number nor one of the KCL's words"))?,
        owner_switches: fields.number(OWNER_SWITCHES)?.unwrap_or_default(),
        checkpoint_owner: fields.text(CHECKPOINT_OWNER)?.map(str::to_owned),
        parents: fields.set(PARENTS)?,
        children: fields.set(CHILDREN)?,
        range: fields.range()?,
        starts_at: fields.number(STARTS_AT)?.map(Timestamp::from_millis),
    }))
}

/// The row of a lease. What is absent or empty has no attribute.
pub fn written(lease: &Lease) -> Row {
    let text = |value: &str| AttributeValue::S(value.to_owned());
    let (sequence, sub_sequence) = lease.checkpoint.written();
    let mut row = Row::new();
    let mut put = |name: &str, value: Option<AttributeValue>| {
        if let Some(value) = value {
            row.insert(name.to_owned(), value);
        }
    };
    put(KEY, Some(text(&lease.key)));
    put(OWNER, lease.owner.as_deref().map(text));
    put(COUNTER, Some(number(lease.counter)));
    put(CHECKPOINT, Some(text(sequence)));
    put(CHECKPOINT_SUB_SEQUENCE, Some(number(sub_sequence)));
    put(OWNER_SWITCHES, Some(number(lease.owner_switches)));
    put(CHECKPOINT_OWNER, lease.checkpoint_owner.as_deref().map(text));
    put(PARENTS, set(&lease.parents));
    put(CHILDREN, set(&lease.children));
    put(STARTING_HASH_KEY, lease.range.map(|range| text(&range.start.to_string())));
    put(ENDING_HASH_KEY, lease.range.map(|range| text(&range.end.to_string())));
    put(STARTS_AT, lease.starts_at.map(|time| AttributeValue::N(time.millis().to_string())));
    row
}

/// The attributes that a write of `after` over `before` changes, sorted by name: to their new value, or (`None`) removed.
pub fn changes(before: &Lease, after: &Lease) -> Vec<(String, Option<AttributeValue>)> {
    let (old, mut new) = (written(before), written(after));
    let gone = old.keys().filter(|name| !new.contains_key(*name)).map(|name| (name.clone(), None));
    let mut changes: Vec<_> = gone.collect();
    new.retain(|name, value| old.get(name) != Some(value));
    changes.extend(new.into_iter().map(|(name, value)| (name, Some(value))));
    if before.checkpoint != after.checkpoint {
        changes.extend(PENDING.map(|name| (name.to_owned(), None)));
    }
    changes.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
    changes
}

/// A number as DynamoDB has it: in decimal.
pub fn number(value: u64) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

/// DynamoDB has no empty sets.
fn set(values: &BTreeSet<String>) -> Option<AttributeValue> {
    (!values.is_empty()).then(|| AttributeValue::Ss(values.iter().cloned().collect()))
}

/// Reads a row's attributes by their types.
struct Fields<'a> {
    row: &'a Row,
}

impl Fields<'_> {
    fn fault(&self, attribute: &'static str, fault: &'static str) -> RowFault {
        let key = self.row.get(KEY).and_then(|key| key.as_s().ok());
        RowFault { key: key.cloned().unwrap_or_default(), attribute, fault }
    }

    fn text(&self, name: &'static str) -> Result<Option<&str>, RowFault> {
        let Some(value) = self.row.get(name) else { return Ok(None) };
        value.as_s().map(|text| Some(text.as_str())).map_err(|_| self.fault(name, "is no string"))
    }

    fn number<N: std::str::FromStr>(&self, name: &'static str) -> Result<Option<N>, RowFault> {
        let Some(value) = self.row.get(name) else { return Ok(None) };
        let number = value.as_n().ok().and_then(|text| text.parse().ok());
        number.map(Some).ok_or_else(|| self.fault(name, "is no whole number of the range it has"))
    }

    fn set(&self, name: &'static str) -> Result<BTreeSet<String>, RowFault> {
        let Some(value) = self.row.get(name) else { return Ok(BTreeSet::new()) };
        let values = value.as_ss().map_err(|_| self.fault(name, "is no set of strings"))?;
        Ok(values.iter().cloned().collect())
    }

    /// Both ends or none; one alone is none, as to the KCL.
    fn range(&self) -> Result<Option<HashKeyRange>, RowFault> {
        let end = |name| match self.text(name)?.filter(|text| !text.is_empty()) {
            Some(text) => {
                HashKey::parse_explicit(text).map(Some).ok_or_else(|| self.fault(name, "is no decimal of 128 bits"))
            }
            None => Ok(None),
        };
        let ends = end(STARTING_HASH_KEY)?.zip(end(ENDING_HASH_KEY)?);
        Ok(ends.map(|(start, end)| HashKeyRange { start, end }))
    }
}

#[cfg(test)]
mod tests;
