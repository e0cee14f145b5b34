//! Which stream goes where.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::contract::ContractSet;
use crate::decode::dynamodb::Outbox;
use crate::gate::delivery::Ordering;
use crate::gate::isolate::Isolation;
use crate::rule::pointer::Pointer;

/// What a producer sees of a quarantined record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnQuarantine {
    /// Success: the record is durable in the DLQ, and an error would only make SDKs send it again.
    #[default]
    Accept,
    /// A per-record error with the reasons. The record is in the DLQ all the same.
    Refuse,
}

/// The way of the records written to one stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// For metrics: the configured source, or the contract's glob that covers the stream. A closed set.
    pub label: Arc<str>,
    pub mesh: Arc<str>,
    pub dlq: Option<Arc<str>>,
    pub on_quarantine: OnQuarantine,
    pub ordering: Ordering,
    pub isolation: Isolation,
    /// Where this stream's events name their type, unless they are CloudEvents.
    pub type_pointer: Option<Pointer>,
    /// The stream's records are DynamoDB's change records of an outbox table.
    pub outbox: Option<Arc<Outbox>>,
}

/// The routes of the configuration; with none, each stream that a contract's `match.stream` covers goes to the mesh
/// stream of the same name.
#[derive(Debug, Clone, Default)]
pub struct Routes(BTreeMap<String, Route>);

impl Routes {
    pub fn new(routes: impl IntoIterator<Item = (String, Route)>) -> Self {
        Self(routes.into_iter().collect())
    }

    /// Whether the configuration names routes.
    pub fn is_explicit(&self) -> bool {
        !self.0.is_empty()
    }

    pub fn sources(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// The queues that routes name.
    pub fn queues(&self) -> impl Iterator<Item = &Arc<str>> {
        self.0.values().filter_map(|route| route.dlq.as_ref())
    }

    /// Whether the route of a stream keeps the order of records within a partition key.
    pub fn keeps_order(&self, stream: &str) -> bool {
        self.0.get(stream).is_some_and(|route| route.ordering == Ordering::Key)
    }

    /// The route of a stream; `None` where nothing covers it.
    pub fn find(&self, stream: &str, contracts: &ContractSet) -> Option<Route> {
        if self.is_explicit() {
            return self.0.get(stream).cloned();
        }
        let glob = contracts.covers(stream)?;
        Some(Route {
            label: glob.into(),
            mesh: stream.into(),
            dlq: None,
            on_quarantine: OnQuarantine::default(),
            ordering: Ordering::default(),
            isolation: Isolation::default(),
            type_pointer: None,
            outbox: None,
        })
    }
}
