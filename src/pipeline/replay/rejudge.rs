//! What a gate does for a replay: judges a record anew, and puts it on its stream.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::gate::judge::{self, Terms};
use crate::model::{Judgement, Placement, Record, Timestamp, Trouble, Unsettled};
use crate::pipeline::Gate;
use crate::rule::pointer::Pointer;

impl Gate {
    /// The check of the contract's that remembers, among the rules that refused a letter.
    pub(super) fn remembering(&self, domain: &str, contract: &str, rules: &[String]) -> Option<String> {
        let set = self.options.rules.current();
        let contract = set.contract(domain, contract)?;
        let mut checks = contract.stream_checks();
        checks.find_map(|check| rules.iter().find(|rule| **rule == *check.id)).cloned()
    }

    /// Where the contract lets lineage be written.
    pub(super) fn lineage(&self, domain: &str, contract: &str) -> Option<Pointer> {
        self.options.rules.current().contract(domain, contract)?.lineage.clone()
    }

    /// Judges a record by all but what checks remember. `None` where nothing covers its stream.
    pub(super) async fn judge_again(&self, record: &Record, now: Timestamp) -> Option<(Judgement, Arc<str>)> {
        let set = self.options.rules.current();
        let route = self.options.routes.find(&record.stream, &set)?;
        let facts = self.streams.facts(&route.mesh).await.ok()?;
        let terms = Terms {
            record_bytes_max: facts.record_bytes_max,
            inflated_bytes_max: self.options.inflated_bytes_max,
            type_pointer: route.type_pointer.as_ref(),
            outbox: route.outbox.as_deref(),
            states: None,
        };
        Some((judge::judge(&set, record, terms, now).judgement, route.mesh))
    }

    /// Puts records on the mesh streams of their routes: a result for each, in their order.
    pub(super) async fn put_again(&self, records: &[&Record]) -> Vec<Result<Placement, Unsettled>> {
        let mut streams: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (index, record) in records.iter().enumerate() {
            streams.entry(&record.stream).or_default().push(index);
        }
        let away = |message: String| Err(Unsettled { trouble: Trouble::Unavailable, message });
        let mut results: Vec<_> = records.iter().map(|_| away("it was not put".into())).collect();
        for (stream, indices) in streams {
            let part: Vec<&Record> = indices.iter().map(|&index| records[index]).collect();
            let answers = match self.route(stream) {
                Ok(route) => match self.streams.facts(&route.mesh).await {
                    Ok(facts) => self.forward(&route, &facts, &part).await,
                    Err(error) => part.iter().map(|_| away(error.to_string())).collect(),
                },
                Err(error) => part.iter().map(|_| away(error.to_string())).collect(),
            };
            for (index, answer) in indices.into_iter().zip(answers) {
                results[index] = answer;
            }
        }
        results
    }
}
