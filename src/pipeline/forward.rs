//! Puts the good records of a batch on the mesh stream: those of containers in containers again, where that is safe.
//!
//! Where a container goes is predicted from the stream's shards as they were last described. The answer says where it is. If that is not
//! the shard that was meant, the stream is being resharded, and consumers may drop the container silently: its records are put once more,
//! each alone, by its own key, before anything is acknowledged. What was read of the first is then a duplicate.

use super::deliver::deliver_mesh;
use super::gate::{Gate, forgotten, in_place};
use super::streams::StreamFacts;
use crate::config::Route;
use crate::gate::delivery::Ordering;
use crate::gate::pack::{Put, pack};
use crate::model::{Placement, Record, Unsettled};

/// How many bytes are put together on this thread before its other tasks are moved away: about a millisecond.
const PACK_HERE_MAX: usize = 256 * 1024;

type Answers = Vec<Result<Placement, Unsettled>>;

impl Gate {
    /// Puts the records, and says of each whether it is on the stream, or in the spool, in their order.
    pub(super) async fn forward(&self, route: &Route, facts: &StreamFacts, records: &[&Record]) -> Answers {
        if records.is_empty() {
            return Vec::new();
        }
        match &self.spooling {
            Some(spooling) => self.forward_or_spool(spooling, (route, facts), records).await,
            None => self.forward_straight(route, facts, records).await,
        }
    }

    /// The same, and nothing but that stream will do.
    pub(super) async fn forward_straight(&self, route: &Route, facts: &StreamFacts, records: &[&Record]) -> Answers {
        if records.is_empty() {
            return Vec::new();
        }
        // A container has many keys, and delivery keeps the order of one an entry.
        let is_packed = route.ordering == Ordering::None
            && facts.takes_containers
            && records.iter().any(|record| record.part_of.is_some());
        let answers = match is_packed {
            true => self.put_packed(route, facts, records).await,
            false => self.put(route, records).await,
        };
        if answers.iter().flatten().any(|placement| facts.is_wrong_about(&placement.shard_id)) {
            self.streams.refresh(&route.mesh);
        }
        answers
    }

    async fn put_packed(&self, route: &Route, facts: &StreamFacts, records: &[&Record]) -> Answers {
        let work = || pack(records, &facts.shards, facts.record_bytes_max);
        let bytes: usize = records.iter().map(|record| record.data.len()).sum();
        let puts = if bytes > PACK_HERE_MAX { in_place(work) } else { work() };
        let packed: Vec<&Record> = puts.iter().map(|put| &*put.record).collect();
        let answers = self.put(route, &packed).await;

        let mut results: Answers = records.iter().map(|_| Err(forgotten())).collect();
        let mut astray = Vec::new();
        for (Put { brings, shard, .. }, answer) in puts.iter().zip(answers) {
            if let (Some(meant), Ok(placement)) = (shard, &answer)
                && placement.shard_id != *meant
            {
                astray.extend_from_slice(brings);
                continue;
            }
            brings.iter().for_each(|&index| results[index].clone_from(&answer));
        }
        if !astray.is_empty() {
            self.streams.refresh(&route.mesh);
            let again: Vec<&Record> = astray.iter().map(|&index| records[index]).collect();
            for (index, answer) in astray.into_iter().zip(self.put(route, &again).await) {
                results[index] = answer;
            }
        }
        results
    }

    async fn put(&self, route: &Route, records: &[&Record]) -> Answers {
        let options = &self.options;
        let mesh = self.mesh.ordered_by(route.ordering);
        deliver_mesh(&mesh, &route.mesh, records, route.ordering, &options.retry, &options.metrics).await
    }
}
