//! The states of a whole contract set: what its checks remember, by contract.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::judged::Contract;
use super::remembering::{ContractStates, Feed, StreamCheck};
use super::set::ContractSet;
use crate::memory::{Memory, Need, Spec, State};
use crate::model::Timestamp;

/// What the checks of a set remember.
#[derive(Debug, Default)]
pub struct States {
    by_domain: HashMap<Arc<str>, HashMap<Arc<str>, ContractStates>>,
}

impl States {
    /// Opens the states of all contracts that remember something: those that `memory` has, and new ones.
    pub fn open(set: &ContractSet, memory: &mut Memory, now: Timestamp) -> Self {
        Self::open_with(set, memory, now, |need| need)
    }

    /// The same with nothing in them, and all that there is to know known: for examples and back-tests.
    pub fn fresh(set: &ContractSet, now: Timestamp) -> Self {
        let warm = |need: Need| match need.spec {
            Spec::Known { keys_max, window, is_fed, .. } => {
                Need { spec: Spec::Known { keys_max, window, warm_up: 0, is_fed }, ..need }
            }
            _ => need,
        };
        Self::open_with(set, &mut Memory::default(), now, warm)
    }

    fn open_with(set: &ContractSet, memory: &mut Memory, now: Timestamp, adapt: impl Fn(Need) -> Need) -> Self {
        let contracts: Vec<&Arc<Contract>> = set
            .domains()
            .flat_map(|domain| domain.contracts.values())
            .filter(|c| c.is_live() && c.remembers())
            .collect();
        let fed: HashSet<&str> =
            contracts.iter().flat_map(|c| c.feeds()).map(|feed| &*feed.need().fingerprint).collect();
        let needs = contracts.iter().flat_map(|contract| {
            let checks = contract.live_streams().filter_map(StreamCheck::need);
            checks.chain(contract.feeds().iter().map(Feed::need))
        });
        let fed_or_not = |need: &Need| match need.spec {
            Spec::Known { keys_max, window, warm_up, .. } => {
                let is_fed = fed.contains(&*need.fingerprint);
                Need { spec: Spec::Known { keys_max, window, warm_up, is_fed }, ..need.clone() }
            }
            _ => need.clone(),
        };
        let open: HashMap<Arc<str>, Arc<State>> = memory.open(needs.map(|need| adapt(fed_or_not(need))), now);
        let mut by_domain: HashMap<Arc<str>, HashMap<Arc<str>, ContractStates>> = HashMap::new();
        for contract in contracts {
            let states = ContractStates::new(contract, |need| Arc::clone(&open[&need.fingerprint]));
            by_domain.entry(Arc::clone(&contract.domain)).or_default().insert(Arc::clone(&contract.name), states);
        }
        Self { by_domain }
    }

    /// Those of a contract; `None` when it remembers nothing.
    pub fn of(&self, contract: &Contract) -> Option<&ContractStates> {
        if !contract.remembers() {
            return None;
        }
        self.by_domain.get(&contract.domain)?.get(&contract.name)
    }
}
