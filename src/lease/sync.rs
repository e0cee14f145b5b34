//! Shards against leases: which leases are missing, and which have no more use.
//!
//! A lease that is missing is that of a shard which nobody has seen yet, or of a child whose parent's reader died before it made it. Both
//! come out right whatever the order of events: the second has an ancestor with a lease. Source: `HierarchicalShardSyncer.java`,
//! `LeaseCleanupManager.java`.

use std::collections::{BTreeMap, BTreeSet};

use super::survey::Rows;
use super::worker::Start;
use super::{Checkpoint, Lease};
use crate::model::{ChildShard, Shard, Timestamp};

/// The leases to make, parents before their children: a child whose parent has no lease would not wait for it. `at`: when the shards were
/// listed, which was before the rows were.
pub(super) fn missing(shards: &[Shard], rows: &Rows<'_>, start: Start, at: Timestamp) -> Vec<Lease> {
    let shards: BTreeMap<&str, &Shard> = shards.iter().map(|shard| (&*shard.id, shard)).collect();
    let passed = passed(&shards, rows);
    let mut lineage = Lineage { shards: &shards, rows, known: BTreeMap::new() };
    let mut found: Vec<(usize, Lease)> = Vec::new();
    for shard in shards.values().filter(|shard| rows.get(&shard.id).is_none()) {
        if passed.contains(&*shard.id) {
            continue;
        }
        let Origin { depth, heir_of } = lineage.origin(&shard.id);
        let Some((checkpoint, starts_at)) = beginning(shard, heir_of, start, at) else { continue };
        let mut lease = Lease::new(&*shard.id, checkpoint);
        lease.starts_at = starts_at;
        lease.parents = parents(shard).map(str::to_owned).collect();
        lease.range = Some(shard.range);
        found.push((depth, lease));
    }
    found.sort_by(|a, b| (a.0, &a.1.key).cmp(&(b.0, &b.1.key)));
    found.into_iter().map(|(_, lease)| lease).collect()
}

/// The shards that some shard after them has a lease: parents get theirs first, so that they had one, and it was deleted.
fn passed<'a>(shards: &BTreeMap<&'a str, &'a Shard>, rows: &Rows<'_>) -> BTreeSet<&'a str> {
    let mut passed = BTreeSet::new();
    let leased = shards.values().filter(|shard| rows.get(&shard.id).is_some());
    let mut below: Vec<&Shard> = leased.copied().collect();
    while let Some(shard) = below.pop() {
        for parent in parents(shard).filter_map(|parent| shards.get(parent)) {
            if passed.insert(&*parent.id) {
                below.push(parent);
            }
        }
    }
    passed
}

/// Where a shard begins that has no lease; `None`: it is to have none.
fn beginning(
    shard: &Shard,
    heir_of: Option<&Lease>,
    start: Start,
    at: Timestamp,
) -> Option<(Checkpoint, Option<Timestamp>)> {
    let closed = shard.ending_sequence_number.is_some();
    match (heir_of, start) {
        (Some(ancestor), _) => Some(inherited(ancestor, start)),
        (None, Start::TrimHorizon) => Some((Checkpoint::TrimHorizon, None)),
        (None, Start::Latest) if closed => None,
        (None, Start::Latest) => Some((Checkpoint::Latest, Some(at))),
        (None, Start::AtTimestamp(from)) => Some((Checkpoint::AtTimestamp, Some(from))),
    }
}

/// Where a shard begins whose ancestor has a lease: with its first record. Where the ancestor's records count from a moment on only, its
/// own do too: it may have closed before that moment.
fn inherited(ancestor: &Lease, start: Start) -> (Checkpoint, Option<Timestamp>) {
    match (ancestor.starts_at, start) {
        (Some(from), Start::AtTimestamp(_)) => (Checkpoint::AtTimestamp, Some(from)),
        _ => (Checkpoint::TrimHorizon, None),
    }
}

/// The lease of a shard that follows one which was read to its end.
pub(super) fn child(child: &ChildShard, parent: &Lease, start: Start) -> Lease {
    let (checkpoint, starts_at) = inherited(parent, start);
    let mut lease = Lease::new(&child.id, checkpoint);
    lease.starts_at = starts_at;
    lease.parents = child.parents.iter().cloned().collect();
    lease.range = Some(child.range);
    lease
}

fn parents(shard: &Shard) -> impl Iterator<Item = &str> {
    [&shard.parent, &shard.adjacent_parent].into_iter().flatten().map(String::as_str)
}

#[derive(Debug, Clone, Copy)]
struct Origin<'a> {
    /// Listed shards above it, at most.
    depth: usize,
    /// The nearest ancestor that has a lease.
    heir_of: Option<&'a Lease>,
}

struct Lineage<'a, 'b> {
    shards: &'b BTreeMap<&'a str, &'a Shard>,
    rows: &'b Rows<'a>,
    known: BTreeMap<&'a str, Origin<'a>>,
}

impl<'a> Lineage<'a, '_> {
    /// Without recursion: a shard that was split each day for a year stands deep.
    fn origin(&mut self, id: &'a str) -> Origin<'a> {
        let mut ahead = vec![(id, false)];
        while let Some((id, expanded)) = ahead.pop() {
            if self.known.contains_key(id) {
                continue;
            }
            let Some(shard) = self.shards.get(id) else { continue };
            if expanded {
                let origin = self.below_parents(shard);
                self.known.insert(id, origin);
                continue;
            }
            ahead.push((id, true));
            // A shard is made after its parents; what does not say so is not followed, and so there is no circle.
            ahead.extend(parents(shard).filter(|parent| *parent < id).map(|parent| (parent, false)));
        }
        self.known.get(id).copied().unwrap_or(Origin { depth: 0, heir_of: None })
    }

    fn below_parents(&self, shard: &'a Shard) -> Origin<'a> {
        let mut origin = Origin { depth: 0, heir_of: None };
        for parent in parents(shard) {
            let above = self.known.get(parent);
            origin.depth = origin.depth.max(above.map_or(0, |above| above.depth + 1));
            let heir_of = self.rows.get(parent).or_else(|| above.and_then(|above| above.heir_of));
            origin.heir_of = origin.heir_of.or(heir_of);
        }
        origin
    }
}

/// The leases that have ended, whose shards are no longer there, and whose children are being read or have been.
pub(super) fn useless<'a>(shards: &[Shard], rows: &Rows<'a>) -> Vec<&'a Lease> {
    let listed: BTreeSet<&str> = shards.iter().map(|shard| &*shard.id).collect();
    let is_past = |child: &str| match rows.get(child) {
        Some(row) => matches!(row.checkpoint, Checkpoint::At(_) | Checkpoint::ShardEnd),
        // Deleted before its parent was, or not made yet.
        None => !listed.contains(child),
    };
    // Ids ascend: a shard above the last one came after the list was made, and is not gone.
    let is_gone = |row: &&Lease| !listed.contains(&*row.key) && listed.last().is_some_and(|last| *row.key < **last);
    let ended = rows.iter().filter(|row| row.is_ended()).filter(is_gone);
    // A row may not name its children: then the list does, and they begin with their first record only for as long as the row is there.
    let follows = |row: &Lease, shard: &Shard| parents(shard).any(|parent| parent == row.key);
    let listed_past = |row: &Lease| shards.iter().filter(|shard| follows(row, shard)).all(|shard| is_past(&shard.id));
    ended.filter(|row| row.children.iter().all(|child| is_past(child)) && listed_past(row)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{HashKeyRange, Place};

    const NOW: Timestamp = Timestamp::from_millis(1_000);
    const FROM: Timestamp = Timestamp::from_millis(500);

    /// `a` was split into `b` and `c`, which were merged to `d`; `e` has always been there.
    fn shards() -> Vec<Shard> {
        let range = HashKeyRange::divide(1).next().unwrap();
        let shard = |id: &str, parent: Option<&str>, adjacent: Option<&str>, closed: bool| Shard {
            id: id.into(),
            parent: parent.map(Into::into),
            adjacent_parent: adjacent.map(Into::into),
            range,
            starting_sequence_number: "0".into(),
            ending_sequence_number: closed.then(|| "9".into()),
        };
        vec![
            shard("d", Some("b"), Some("c"), false),
            shard("b", Some("a"), None, true),
            shard("c", Some("a"), None, true),
            shard("a", None, None, true),
            shard("e", None, None, false),
        ]
    }

    fn made(rows: &[Lease], start: Start) -> Vec<(String, Checkpoint, Option<Timestamp>)> {
        let leases = missing(&shards(), &Rows::new(rows), start, NOW);
        leases.into_iter().map(|lease| (lease.key, lease.checkpoint, lease.starts_at)).collect()
    }

    fn keys(rows: &[Lease], start: Start) -> String {
        made(rows, start).into_iter().map(|(key, ..)| key).collect()
    }

    fn ended(key: &str, children: &[&str]) -> Lease {
        let children = children.iter().map(|&child| child.into()).collect();
        Lease { children, ..Lease::new(key, Checkpoint::ShardEnd) }
    }

    #[test]
    fn the_first_sync_makes_what_the_start_asks_for_parents_first() {
        assert_eq!(keys(&[], Start::TrimHorizon), "aebcd");
        assert!(made(&[], Start::TrimHorizon).iter().all(|(_, at, _)| *at == Checkpoint::TrimHorizon));
        let latest = |key: &str| (key.to_owned(), Checkpoint::Latest, Some(NOW));
        assert_eq!(made(&[], Start::Latest), [latest("e"), latest("d")]);
        assert_eq!(keys(&[], Start::AtTimestamp(FROM)), "aebcd");
        let from = |(_, at, from): &(String, _, _)| *at == Checkpoint::AtTimestamp && *from == Some(FROM);
        assert!(made(&[], Start::AtTimestamp(FROM)).iter().all(from));
    }

    #[test]
    fn a_shard_after_one_that_has_a_lease_is_read_from_its_first_record() {
        let rows = [Lease::new("a", Checkpoint::Latest), Lease::new("e", Checkpoint::Latest)];
        let first = |key: &str| (key.to_owned(), Checkpoint::TrimHorizon, None);
        assert_eq!(made(&rows, Start::Latest), [first("b"), first("c"), first("d")]);
        // Unless nobody counts what came before a moment that may lie behind its end.
        let rows = [Lease { starts_at: Some(FROM), ..Lease::new("a", Checkpoint::AtTimestamp) }];
        assert_eq!(made(&rows, Start::AtTimestamp(NOW))[1], ("b".into(), Checkpoint::AtTimestamp, Some(FROM)));
    }

    #[test]
    fn a_shard_before_one_that_has_a_lease_had_one() {
        assert_eq!(keys(&[Lease::new("d", Checkpoint::TrimHorizon)], Start::TrimHorizon), "e");
        assert_eq!(keys(&[Lease::new("c", Checkpoint::TrimHorizon)], Start::TrimHorizon), "ebd");
    }

    #[test]
    fn a_merged_shard_has_both_parents() {
        let leases = missing(&shards(), &Rows::new(&[]), Start::Latest, NOW);
        assert_eq!(leases[1].parents, ["b".into(), "c".into()].into());
    }

    #[test]
    fn a_lease_is_useless_once_its_shard_is_gone_and_its_children_are_under_way() {
        let useless_of = |rows: &[Lease]| {
            let listed: Vec<Shard> = shards().into_iter().filter(|shard| &*shard.id != "a").collect();
            useless(&listed, &Rows::new(rows)).iter().map(|row| row.key.clone()).collect::<String>()
        };
        let at = |key: &str| Lease::new(key, Checkpoint::At(Place { sequence: "7".into(), sub_sequence: 0 }));
        assert_eq!(useless_of(&[ended("a", &["b", "c"]), at("b"), ended("c", &["d"])]), "a");
        assert_eq!(useless_of(&[ended("a", &["b", "c"]), at("b"), Lease::new("c", Checkpoint::TrimHorizon)]), "");
        assert_eq!(useless_of(&[ended("a", &["b", "c"]), at("b")]), "", "`c` is listed, and has no lease");
        assert_eq!(useless_of(&[ended("a", &["gone"]), at("b"), at("c")]), "a", "deleted before its parent");
        assert_eq!(useless_of(&[ended("a", &[])]), "", "`b` and `c` follow it, though it does not say so");
        assert_eq!(useless_of(&[ended("a", &[]), at("b"), at("c")]), "a");
        assert_eq!(useless_of(&[at("a")]), "");
        assert_eq!(useless_of(&[ended("z", &[])]), "", "newer than the list");
    }
}
