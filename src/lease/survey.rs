//! What one look at the table says: which leases are free, who holds how many, whether some hash keys are nobody's.
//!
//! Time is only ever this worker's own: a holder is taken for gone when its row has not changed for as long as a holder may be silent, as
//! seen from here. Source: `DynamoDBLeaseTaker.java` (`updateAllLeases`, `computeLeaseCounts`).

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use super::{Checkpoint, Lease};

/// Since when rows have been as they are. A row is known by a hash of its key and of what every write changes: 16 bytes a row, and with
/// 10,000 rows two are taken for one once in 10¹¹ looks.
#[derive(Debug, Default)]
pub(super) struct Seen(BTreeMap<u64, u64>);

impl Seen {
    /// Takes in what the table has now, and says of each row since when it has been so.
    pub fn update(&mut self, rows: &[Lease], now: u64) -> Vec<u64> {
        let stamps: Vec<u64> = rows.iter().map(stamp).collect();
        let since: Vec<u64> = stamps.iter().map(|stamp| self.0.get(stamp).copied().unwrap_or(now)).collect();
        self.0 = stamps.into_iter().zip(since.iter().copied()).collect();
        since
    }
}

fn stamp(row: &Lease) -> u64 {
    let mut hasher = DefaultHasher::new();
    (&row.key, &row.owner, row.counter, &row.checkpoint_owner).hash(&mut hasher);
    hasher.finish()
}

/// The rows of a look, sorted by key, of which some questions can be asked.
pub(super) struct Rows<'a>(&'a [Lease]);

impl<'a> Rows<'a> {
    /// `rows` are sorted by their keys.
    pub fn new(rows: &'a [Lease]) -> Self {
        debug_assert!(rows.is_sorted_by(|a, b| a.key <= b.key));
        Self(rows)
    }

    pub fn get(&self, key: &str) -> Option<&'a Lease> {
        self.0.binary_search_by(|row| row.key.as_str().cmp(key)).ok().map(|at| &self.0[at])
    }

    pub fn iter(&self) -> impl Iterator<Item = &'a Lease> {
        self.0.iter()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a shard before it has yet to be read to its end. One without a lease is not waited for.
    pub fn is_blocked(&self, row: &Lease) -> bool {
        row.parents.iter().filter_map(|parent| self.get(parent)).any(|parent| !parent.is_ended())
    }

    /// Whether a shard before it has a lease.
    pub fn is_heir(&self, row: &Lease) -> bool {
        row.parents.iter().any(|parent| self.get(parent).is_some())
    }
}

/// A look, sorted out. Leases that have ended, or cannot be read yet, are in none of these.
#[derive(Debug, Default)]
pub(super) struct Survey<'a> {
    /// Nobody's, or of somebody who has been silent for too long.
    pub free: Vec<&'a Lease>,
    /// By living owner; what is being handed over is the next one's.
    pub held: BTreeMap<&'a str, Vec<&'a Lease>>,
    /// Ours by the table.
    pub ours: Vec<&'a Lease>,
    /// Let go of by us, by the table: another worker waits for them.
    pub asked_of_us: Vec<&'a Lease>,
}

impl<'a> Survey<'a> {
    /// `since`: of each row, when it was first seen as it is.
    pub fn new(rows: &Rows<'a>, since: &[u64], me: &str, now: u64, (failover, handover): (u64, u64)) -> Self {
        let mut survey = Self::default();
        for (row, since) in rows.iter().zip(since) {
            if row.checkpoint_owner.as_deref() == Some(me) {
                survey.asked_of_us.push(row);
            }
            if row.owner.as_deref() == Some(me) {
                survey.ours.push(row);
            }
            if row.is_ended() || rows.is_blocked(row) {
                continue;
            }
            let silent = now.saturating_sub(*since);
            match (&row.owner, &row.checkpoint_owner) {
                (Some(owner), _) if owner == me => {}
                (None, None) => survey.free.push(row),
                (Some(_), None) if silent > failover => survey.free.push(row),
                (_, Some(_)) if silent > failover + handover => survey.free.push(row),
                (Some(owner), _) => survey.held.entry(owner).or_default().push(row),
                (None, Some(_)) => {}
            }
        }
        survey
    }

    /// Leases that could be read, with so many of our own.
    pub fn readable(&self, own: usize) -> usize {
        own + self.free.len() + self.held.values().map(Vec::len).sum::<usize>()
    }

    /// Workers that live, this one included.
    pub fn workers(&self) -> usize {
        self.held.len() + 1
    }
}

/// Whether some hash keys belong to no lease that has yet to end. Unknown, and so no, where some lease does not say what it has.
pub(super) fn has_hole(rows: &Rows<'_>) -> bool {
    let unended = rows.iter().filter(|row| !row.is_ended());
    let Some(mut ranges) = unended.map(|row| row.range).collect::<Option<Vec<_>>>() else { return false };
    ranges.sort_unstable_by_key(|range| range.start);
    // The first hash key that is not covered yet; `None` once all are.
    let mut next = Some(0_u128);
    for range in ranges {
        let Some(at) = next else { break };
        if range.start.0 > at {
            return true;
        }
        if range.end.0 >= at {
            next = range.end.0.checked_add(1);
        }
    }
    next.is_some()
}

impl Lease {
    /// Whether its shard has been read to its end.
    pub(super) fn is_ended(&self) -> bool {
        self.checkpoint == Checkpoint::ShardEnd
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::HashKeyRange;

    fn lease(key: &str, owner: Option<&str>) -> Lease {
        Lease { owner: owner.map(Into::into), ..Lease::new(key, Checkpoint::TrimHorizon) }
    }

    fn free(rows: &[Lease], since: &[u64], now: u64) -> Vec<String> {
        let survey = Survey::new(&Rows::new(rows), since, "me", now, (10, 30));
        survey.free.iter().map(|row| row.key.clone()).collect()
    }

    #[test]
    fn a_row_is_expired_once_it_was_seen_unchanged_for_longer_than_failover() {
        let mut rows = vec![lease("a", Some("other")), lease("b", None)];
        let mut seen = Seen::default();
        let since = seen.update(&rows, 100);
        assert_eq!(free(&rows, &since, 100), ["b"]);
        let since = seen.update(&rows, 110);
        assert_eq!(free(&rows, &since, 110), ["b"]);
        let since = seen.update(&rows, 111);
        assert_eq!(free(&rows, &since, 111), ["a", "b"]);
        rows[0].counter += 1;
        let since = seen.update(&rows, 112);
        assert_eq!(free(&rows, &since, 112), ["b"]);
    }

    #[test]
    fn a_hand_over_has_its_time_and_failover_on_top() {
        let mut row = lease("a", Some("next"));
        row.checkpoint_owner = Some("last".into());
        assert_eq!(free(&[row.clone()], &[0], 40), [""; 0]);
        assert_eq!(free(&[row.clone()], &[0], 41), ["a"]);
        row.owner = None;
        assert_eq!(free(&[row.clone()], &[0], 40), [""; 0]);
        assert_eq!(free(&[row], &[0], 41), ["a"]);
    }

    #[test]
    fn a_child_waits_for_each_parent_that_has_a_lease() {
        let mut child = lease("c", None);
        child.parents = ["a".into(), "gone".into()].into();
        let mut rows = [lease("a", None), child];
        assert_eq!(free(&rows, &[0, 0], 0), ["a"]);
        rows[0].checkpoint = Checkpoint::ShardEnd;
        assert_eq!(free(&rows, &[0, 0], 0), ["c"]);
    }

    #[test]
    fn a_hole_is_what_no_unended_lease_covers() {
        let mut rows: Vec<Lease> = HashKeyRange::divide(3)
            .enumerate()
            .map(|(at, range)| Lease { range: Some(range), ..lease(&at.to_string(), None) })
            .collect();
        assert!(!has_hole(&Rows::new(&rows)));
        rows[2].checkpoint = Checkpoint::ShardEnd;
        assert!(has_hole(&Rows::new(&rows)));
        rows[2] = Lease { range: rows[1].range, ..lease("2", None) };
        assert!(has_hole(&Rows::new(&rows)));
        rows[2].range = None;
        assert!(!has_hole(&Rows::new(&rows)));
        assert!(has_hole(&Rows::new(&[])));
    }
}
