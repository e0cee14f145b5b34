//! What checks that remember have to say, breakers, and the candidate: for people, and for whoever closes a breaker.

use serde_json::{Map, Value, json};

use crate::contract::{Contract, StreamCheck};
use crate::gate::breaker::Shown;
use crate::memory::{Measure, State, Windows};
use crate::metrics::Metrics;
use crate::model::Timestamp;
use crate::pipeline::rules::{InForce, Rules};

/// All checks that remember, with what they do.
pub(super) fn checks(rules: &Rules) -> Value {
    let in_force = rules.current();
    let mut checks = Vec::new();
    for contract in in_force.domains().flat_map(|domain| domain.contracts.values()) {
        for (check, state) in in_force.states.of(contract).into_iter().flat_map(|states| states.of(contract)) {
            checks.push(Value::Object(describe(contract, check, state)));
        }
    }
    json!({ "scope": "this gate", "checks": checks })
}

fn describe(contract: &Contract, check: &StreamCheck, state: &State) -> Map<String, Value> {
    let usage = state.usage();
    let mut told = Map::new();
    let mut put = |key: &str, value: Value| drop(told.insert(key.to_owned(), value));
    put("domain", json!(&*contract.domain));
    put("contract", json!(&*contract.name));
    put("rule", json!(&*check.id));
    put("type", json!(check.kind));
    put("dimension", json!(check.dimension.map(|dimension| dimension.as_str())));
    put("severity", json!(check.severity.as_str()));
    put("mode", json!(check.mode.as_str()));
    put("bytes", json!(usage.bytes));
    match state.windows(windows) {
        Some(windows) => put("window", windows),
        None => put("keys", json!({"entries": usage.entries, "limit": usage.limit, "evicted": usage.evicted})),
    }
    told
}

fn windows(windows: &Windows) -> Value {
    let unit = match windows.terms().measure {
        Measure::Latency => " ms",
        Measure::Hits { percent: true } => " %",
        _ => "",
    };
    let bounds: Vec<String> =
        windows.terms().bounds.iter().map(|b| format!("{} {}{unit}", b.name, b.threshold)).collect();
    let (since, events) = windows.present();
    let last = windows.last().map(|last| {
        let values =
            windows.terms().bounds.iter().zip(&last.values).map(|(bound, value)| (bound.name.to_owned(), json!(value)));
        json!({
            "since": last.since.to_string(),
            "until": last.until.to_string(),
            "events": last.events,
            "withoutAValue": last.skipped,
            "isWhole": last.is_whole,
            "values": values.collect::<Map<_, _>>(),
            "shares": last.shares,
        })
    });
    json!({
        "standing": windows.standing().as_str(),
        "failingSince": windows.failing_since().map(|at| at.to_string()),
        "seconds": windows.terms().length as f64 / 1000.0,
        "bounds": bounds,
        "last": last,
        "present": {"since": since.to_string(), "events": events},
    })
}

/// All breakers.
pub(super) fn breakers(rules: &Rules, now: Timestamp) -> Value {
    let in_force = rules.current();
    let told: Vec<Value> =
        in_force.breakers.show(now).map(|(domain, contract, shown)| breaker(domain, contract, &shown)).collect();
    json!({ "breakers": told })
}

fn breaker(domain: &str, contract: &str, shown: &Shown) -> Value {
    json!({
        "domain": domain,
        "contract": contract,
        "state": shown.phase.as_str(),
        "since": shown.since.to_string(),
        "action": shown.action.as_str(),
        "events": shown.events,
        "wouldBeQuarantined": shown.would_be_quarantined,
        "maxQuarantineRatio": shown.ratio_max,
    })
}

/// Closes a breaker. `None` when there is none.
pub(super) fn close(in_force: &InForce, domain: &str, contract: &str, now: Timestamp) -> Option<Value> {
    let mut found = in_force.breakers.get(domain, contract)?;
    found.close(now);
    tracing::warn!(domain, contract, "a breaker was closed through the admin port");
    Some(breaker(domain, contract, &found.show()))
}

/// The candidate, and how its verdicts differ so far.
pub(super) fn candidate(rules: &Rules, metrics: &Metrics) -> Value {
    let in_force = rules.current();
    let Some(candidate) = &in_force.candidate else {
        return json!({"candidate": null, "hint": "name one with rules: {path: …, candidate: …} in the settings"});
    };
    let series = |name: &str| -> Vec<Value> {
        let one = |(labels, value): (Vec<(String, String)>, f64)| {
            let mut told: Map<String, Value> = labels.into_iter().map(|(name, value)| (name, json!(value))).collect();
            // A count, so it is told as a whole number.
            told.insert("events".to_owned(), json!(value as u64));
            Value::Object(told)
        };
        metrics.counters(name).into_iter().map(one).collect()
    };
    json!({
        "revision": candidate.revision(),
        "faults": candidate.faults(),
        "judged": series("meshgate_candidate_events_total"),
        "changes": series("meshgate_candidate_changes_total"),
    })
}
