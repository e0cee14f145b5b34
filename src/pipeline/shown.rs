//! What metrics show of the rules in force.

use crate::contract::{Contract, ContractSet};
use crate::metrics::{ContractLabels, Metrics};
use crate::model::{Mode, Timestamp};

/// Shows `set`, in force since `now`, and forgets what of the set before it is no more. `stale` are domains whose newest files have a fault.
pub(super) fn show(
    metrics: &Metrics,
    before: Option<&ContractSet>,
    set: &ContractSet,
    stale: &[String],
    now: Timestamp,
) {
    for domain in before.into_iter().flat_map(ContractSet::domains) {
        if set.domain(&domain.name).is_none() {
            metrics.forget_domain(&domain.name, &domain.revision);
        }
        for was in domain.contracts.values() {
            let is = set.contract(&domain.name, &was.name);
            if is.is_none_or(|is| labels(is) != labels(was)) {
                metrics.forget_contract(&labels(was));
            }
            if was.slo_error_ratio.is_some() && is.is_none_or(|is| is.slo_error_ratio.is_none()) {
                let _ = metrics.slo_target.remove_label_values(&[&*domain.name, &*was.name]);
            }
        }
    }
    for domain in set.domains() {
        let before = before.and_then(|set| set.domain(&domain.name)).map(|domain| &*domain.revision);
        metrics.set_revision(&domain.name, before, &domain.revision, now);
        metrics.contracts.with_label_values(&[&*domain.name]).set(domain.contracts.len() as i64);
        let is_stale = stale.iter().any(|stale| **stale == *domain.name);
        metrics.rules_stale.with_label_values(&[&*domain.name]).set(is_stale.into());
        for contract in domain.contracts.values().filter(|contract| contract.is_live() && contract.mode != Mode::Off) {
            metrics.begin_contract(&labels(contract), contract.speaks_for());
            if let Some(ratio) = contract.slo_error_ratio {
                metrics.slo_target.with_label_values(&[&*domain.name, &*contract.name]).set(ratio);
            }
        }
    }
}

fn labels(contract: &Contract) -> ContractLabels<'_> {
    ContractLabels {
        domain: &contract.domain,
        contract: &contract.name,
        version: &contract.version,
        owner: &contract.owner.team,
        mode: contract.mode.as_str(),
    }
}
