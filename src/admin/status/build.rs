//! Makes the status document of what the parts of a gate know.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::document::{
    About, Breaker, Contract, Counts, Domain, FAILED, FAILS, Failure, FarEnd, Health, InFlight, InForce, Lane, Owner,
    PerSecond, Queue, Rates, Reason, Refusal, Rules, SCHEMA, Series, Shard, Source, Spool, State, Status, Stream,
    TAKES, Violation,
};
use super::health;
use crate::admin::Admin;
use crate::config::RuleSource;
use crate::config::git::GitRules;
use crate::contract;
use crate::gate::pulse::{self, ContractView, MINUTES, View, ViolationView};
use crate::metrics;
use crate::model::Timestamp;
use crate::pipeline::origin::Origin;
use crate::pipeline::rules::InForce as Current;
use crate::pipeline::serve::Phase;

/// Contracts that are told: a page of more is not read, and its document would be a megabyte.
const CONTRACTS_TOLD_MAX: usize = 200;

/// Rules that are told, those violated most.
const VIOLATIONS_TOLD_MAX: usize = 20;

/// Whole seconds that the rate is the mean of.
const RATE_SECONDS: usize = 10;

/// How long a failure says that a far end fails, without another call. Milliseconds.
const RECENT: i64 = 300_000;

type Gauges = BTreeMap<String, Vec<metrics::Series>>;

/// How it stands with a gate.
pub(super) fn status(admin: &Admin, started: Timestamp, now: Timestamp) -> Status {
    let (view, gauges, current) = (admin.pulse.view(now), admin.metrics.gauges(), admin.rules.current());
    let phase = match *admin.phase.borrow() {
        Phase::Ready => "ready",
        Phase::Draining => "draining",
    };
    let mut contracts = contracts(&view, &current, now);
    let contracts_left_out = leave_out(&mut contracts);
    let mut status = Status {
        schema: SCHEMA.to_owned(),
        at: now.to_string(),
        gate: About {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            backend: admin.backend.to_owned(),
            phase: phase.to_owned(),
            started: started.to_string(),
        },
        health: Health { state: State::Good, sentence: String::new(), concerns: Vec::new() },
        rates: rates(&view),
        in_flight: InFlight {
            records: number(&gauges, "meshgate_records_in_flight").unwrap_or(0),
            limit: number(&gauges, "meshgate_records_in_flight_limit"),
            connections: number(&gauges, "meshgate_connections").unwrap_or(0),
        },
        contracts,
        contracts_left_out,
        violations: violations(&view),
        refusals: view.refusals.iter().map(|refusal| describe_refusal(refusal)).collect(),
        far_ends: admin.metrics.far_ends.all().into_iter().map(|one| far_end(one, now)).collect(),
        dead_letters: queues(&gauges),
        spool: spool(admin, now),
        streams: streams(&gauges),
        rules: rules(admin, &current, &gauges),
    };
    status.health = health::assess(&status);
    status
}

/// The series of a gauge.
fn series<'g>(gauges: &'g Gauges, name: &str) -> &'g [metrics::Series] {
    gauges.get(name).map_or(&[], Vec::as_slice)
}

/// A gauge without labels, where there is one.
fn number(gauges: &Gauges, name: &str) -> Option<u64> {
    series(gauges, name).first().map(|series| count(series.value))
}

/// A count that a gauge holds.
fn count(value: f64) -> u64 {
    value.max(0.0) as u64
}

fn counts(counts: pulse::Counts) -> Counts {
    let pulse::Counts { forwarded, quarantined, dropped, unsettled } = counts;
    let settled = counts.settled();
    let pass_rate = (settled > 0).then(|| f64::from(forwarded) / f64::from(settled));
    Counts { forwarded, quarantined, dropped, unsettled, pass_rate }
}

fn by_slot(slots: &[pulse::Counts]) -> Series {
    Series {
        forwarded: slots.iter().map(|counts| counts.forwarded).collect(),
        refused: slots.iter().map(pulse::Counts::refused).collect(),
        unsettled: slots.iter().map(|counts| counts.unsettled).collect(),
    }
}

fn rates(view: &View) -> Rates {
    let whole = &view.seconds[view.seconds.len() - 1 - RATE_SECONDS..view.seconds.len() - 1];
    let sum = pulse::Counts::sum(whole);
    let mean = |events: u32| f64::from(events) / RATE_SECONDS as f64;
    let hour: Vec<pulse::Counts> = view.contracts.iter().flat_map(|contract| contract.minutes).collect();
    Rates {
        per_second: PerSecond {
            forwarded: mean(sum.forwarded),
            quarantined: mean(sum.quarantined),
            dropped: mean(sum.dropped),
            unsettled: mean(sum.unsettled),
        },
        last_minute: counts(pulse::Counts::sum(&view.seconds)),
        last_hour: counts(pulse::Counts::sum(&hour)),
        by_second: by_slot(&view.seconds),
    }
}

/// Those in force, and those that are not and judged something.
fn contracts(view: &View, current: &Current, now: Timestamp) -> Vec<Contract> {
    let judged: BTreeMap<(&str, &str), &ContractView> =
        view.contracts.iter().map(|view| ((&*view.domain, &*view.contract), view)).collect();
    let in_force = current.domains().flat_map(|domain| domain.contracts.values()).filter(|contract| contract.is_live());
    let mut names: BTreeSet<(&str, &str)> = in_force.map(|contract| (&*contract.domain, &*contract.name)).collect();
    // What judged something before it was taken out of the rules is told for as long as its events count.
    let is_recent = |view: &&ContractView| pulse::Counts::sum(&view.minutes) != pulse::Counts::default();
    names.extend(view.contracts.iter().filter(is_recent).map(|view| (&*view.domain, &*view.contract)));
    let breakers: BTreeMap<(String, String), Breaker> = current
        .breakers
        .show(now)
        .map(|(domain, contract, shown)| {
            let (state, since) = (shown.phase.as_str().to_owned(), shown.since.to_string());
            let breaker = Breaker { state, since, action: shown.action.as_str().to_owned() };
            ((domain.to_owned(), contract.to_owned()), breaker)
        })
        .collect();
    let describe = |(domain, name): (&str, &str)| {
        let view = judged.get(&(domain, name));
        let minutes = view.map_or([pulse::Counts::default(); MINUTES], |view| view.minutes);
        Contract {
            domain: domain.to_owned(),
            contract: name.to_owned(),
            last_minute: counts(view.map(|view| view.minute).unwrap_or_default()),
            last_hour: counts(pulse::Counts::sum(&minutes)),
            by_minute: by_slot(&minutes),
            last_event: view.map(|view| view.last.to_string()),
            rules: current.contract(domain, name).map(|contract| in_force_of(contract)),
            breaker: breakers.get(&(domain.to_owned(), name.to_owned())).cloned(),
        }
    };
    names.into_iter().map(describe).collect()
}

fn in_force_of(contract: &contract::Contract) -> InForce {
    InForce {
        version: contract.version.to_string(),
        status: contract.status.as_str().to_owned(),
        mode: contract.mode.as_str().to_owned(),
        revision: contract.revision.to_string(),
        owner: owner(&contract.owner),
        slo: contract.slo_error_ratio.map(|may_fail| 1.0 - may_fail),
    }
}

fn owner(owner: &contract::Owner) -> Owner {
    Owner { team: owner.team.to_string(), contact: owner.contact.as_deref().map(str::to_owned) }
}

/// Keeps those with most to tell, in their order, and says how many are left out.
fn leave_out(contracts: &mut Vec<Contract>) -> usize {
    let left_out = contracts.len().saturating_sub(CONTRACTS_TOLD_MAX);
    if left_out > 0 {
        let weight = |contract: &Contract| {
            let hour = &contract.last_hour;
            let is_open = contract.breaker.as_ref().is_some_and(|breaker| breaker.state != "closed");
            (is_open, hour.quarantined, hour.dropped, hour.unsettled, hour.forwarded)
        };
        contracts.sort_by_key(|contract| Reverse(weight(contract)));
        contracts.truncate(CONTRACTS_TOLD_MAX);
        contracts.sort_by(|a, b| (&a.domain, &a.contract).cmp(&(&b.domain, &b.contract)));
    }
    left_out
}

fn violations(view: &View) -> Vec<Violation> {
    let mut most: Vec<&ViolationView> = view.violations.iter().collect();
    most.sort_by(|a, b| {
        b.times.cmp(&a.times).then_with(|| (&a.domain, &a.contract, &a.rule).cmp(&(&b.domain, &b.contract, &b.rule)))
    });
    most.truncate(VIOLATIONS_TOLD_MAX);
    let describe = |violation: &ViolationView| Violation {
        domain: violation.domain.to_string(),
        contract: violation.contract.to_string(),
        rule: violation.rule.to_string(),
        times: violation.times,
        kind: violation.told.map(|told| told.kind.as_str().to_owned()),
        severity: violation.told.map(|told| told.severity.as_str().to_owned()),
        mode: violation.told.map(|told| told.mode.as_str().to_owned()),
        last: violation.told.map(|told| told.last.to_string()),
    };
    most.into_iter().map(describe).collect()
}

fn describe_refusal(refusal: &pulse::Refusal) -> Refusal {
    let reason = |reason: &pulse::Reason| Reason {
        rule: reason.rule.to_string(),
        kind: reason.kind.as_str().to_owned(),
        severity: reason.severity.as_str().to_owned(),
        pointer: reason.pointer.clone(),
        message: reason.message.clone(),
    };
    Refusal {
        at: refusal.at.to_string(),
        domain: refusal.domain.to_string(),
        contract: refusal.contract.to_string(),
        version: refusal.version.as_deref().map(str::to_owned),
        dead_letter: refusal.letter.clone(),
        reasons: refusal.reasons.iter().map(reason).collect(),
        more: refusal.more,
    }
}

fn far_end((sink, name, far_end): (&'static str, Arc<str>, metrics::FarEnd), now: Timestamp) -> FarEnd {
    let metrics::FarEnd { calls, failures, retries, took, failed, failing_since } = far_end;
    let is_recent = failed.as_ref().is_some_and(|failed| now.millis() - failed.at.millis() < RECENT);
    let state = match failing_since {
        None => TAKES,
        Some(_) if is_recent => FAILS,
        Some(_) => FAILED,
    };
    let failure = |failure: metrics::Failure| Failure {
        at: failure.at.to_string(),
        trouble: failure.trouble.as_str().to_owned(),
        message: failure.message,
    };
    FarEnd {
        sink: sink.to_owned(),
        name: name.to_string(),
        state: state.to_owned(),
        calls,
        failures,
        retries,
        last_success: took.map(|at| at.to_string()),
        last_failure: failed.map(failure),
        failing_since: failing_since.map(|at| at.to_string()),
    }
}

fn queues(gauges: &Gauges) -> Vec<Queue> {
    let oldest = series(gauges, "meshgate_dlq_oldest_seconds");
    let describe = |letters: &metrics::Series| {
        let queue = letters.label("queue");
        let oldest = oldest.iter().find(|oldest| oldest.label("queue") == queue);
        let oldest_seconds = oldest.map(|oldest| oldest.value);
        Queue { queue: queue.to_owned(), letters: count(letters.value), oldest_seconds }
    };
    series(gauges, "meshgate_dlq_letters").iter().map(describe).collect()
}

fn spool(admin: &Admin, now: Timestamp) -> Option<Spool> {
    let view = admin.spool.as_ref()?.view();
    let lanes = view.lanes.into_iter().map(|lane| Lane {
        sink: lane.sink.to_owned(),
        name: lane.name.to_string(),
        entries: lane.held.entries,
        aside: lane.held.aside,
        oldest_seconds: lane.held.oldest.map(|at| (now.millis() - at.millis()).max(0) / 1_000),
        away: lane.away,
    });
    Some(Spool { bytes: view.bytes, bytes_max: view.bytes_max, lanes: lanes.collect() })
}

/// Of streams that are read; a gate that reads none has no such series.
fn streams(gauges: &Gauges) -> Vec<Stream> {
    let of_shard = |name: &str, stream: &str, shard: &str| {
        let is_it = |series: &&metrics::Series| series.label("stream") == stream && series.label("shard") == shard;
        series(gauges, name).iter().find(is_it).map_or(0, |series| count(series.value))
    };
    let describe = |held: &metrics::Series| {
        let stream = held.label("stream");
        let unread = series(gauges, "meshgate_shards_unread").iter().find(|unread| unread.label("stream") == stream);
        let here = series(gauges, "meshgate_shard_records_in_flight").iter();
        let shards = here.filter(|shard| shard.label("stream") == stream).map(|shard| {
            let id = shard.label("shard");
            Shard {
                shard: id.to_owned(),
                lag_milliseconds: of_shard("meshgate_shard_lag_milliseconds", stream, id),
                in_flight: count(shard.value),
                stalled_seconds: of_shard("meshgate_shard_stalled_seconds", stream, id),
            }
        });
        Stream {
            stream: stream.to_owned(),
            held: count(held.value),
            unread: unread.map_or(0, |unread| count(unread.value)),
            shards: shards.collect(),
        }
    };
    series(gauges, "meshgate_shards_held").iter().map(describe).collect()
}

fn rules(admin: &Admin, current: &Current, gauges: &Gauges) -> Rules {
    let stale = admin.rules.stale();
    let applied = series(gauges, "meshgate_rules_applied_timestamp_seconds");
    let describe = |domain: &contract::Domain| {
        let is_it = |series: &&metrics::Series| {
            series.label("domain") == &*domain.name && series.label("revision") == &*domain.revision
        };
        let since = applied.iter().find(is_it).map(|series| Timestamp::from_millis((series.value * 1_000.0) as i64));
        Domain {
            domain: domain.name.to_string(),
            owner: owner(&domain.owner),
            contracts: domain.contracts.values().filter(|contract| contract.is_live()).count(),
            revision: domain.revision.to_string(),
            since: since.map(|at| at.to_string()),
            stale: stale.iter().any(|name| **name == *domain.name),
        }
    };
    Rules {
        revision: current.revision().to_string(),
        source: source(admin.rules.origin()),
        domains: current.domains().map(|domain| describe(domain)).collect(),
    }
}

fn source(origin: &Origin) -> Source {
    let seen = origin.seen();
    let (kind, place, reference) = match origin.source() {
        RuleSource::Directory(dir) => ("directory", dir.display().to_string(), None),
        RuleSource::Revision { dir, revision } => ("revision", dir.display().to_string(), Some(revision.clone())),
        RuleSource::Git(GitRules { repository, reference, .. }) => {
            ("git", repository.remote().to_string(), Some(reference.clone()))
        }
    };
    Source {
        kind: kind.to_owned(),
        place,
        reference,
        fetched: seen.fetched.map(|at| at.to_string()),
        error: seen.error().map(str::to_owned),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gauge(name: &str, all: &[(&[(&str, &str)], f64)]) -> (String, Vec<metrics::Series>) {
        let labels = |labels: &[(&str, &str)]| labels.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        let series = all.iter().map(|(l, value)| metrics::Series { labels: labels(l), value: *value });
        (name.to_owned(), series.collect())
    }

    #[test]
    fn queues_and_shards_are_told_where_their_gauges_are_there() {
        let gauges: Gauges = [
            gauge("meshgate_dlq_letters", &[(&[("queue", "a")], 3.0), (&[("queue", "b")], 0.0)]),
            gauge("meshgate_dlq_oldest_seconds", &[(&[("queue", "a")], 61.5)]),
            gauge("meshgate_shards_held", &[(&[("stream", "s")], 1.0)]),
            gauge("meshgate_shards_unread", &[(&[("stream", "s")], 2.0)]),
            gauge("meshgate_shard_records_in_flight", &[(&[("stream", "s"), ("shard", "1")], 7.0)]),
            gauge("meshgate_shard_stalled_seconds", &[(&[("stream", "s"), ("shard", "1")], 90.0)]),
            gauge("meshgate_records_in_flight_limit", &[(&[], 20_000.0)]),
        ]
        .into();
        let told = queues(&gauges);
        let [a, b] = &told[..] else { panic!("{told:?}") };
        assert_eq!((&*a.queue, a.letters, a.oldest_seconds), ("a", 3, Some(61.5)));
        assert_eq!((&*b.queue, b.letters, b.oldest_seconds), ("b", 0, None));
        let streams = streams(&gauges);
        let Stream { held, unread, shards, .. } = &streams[0];
        let Shard { in_flight, stalled_seconds, lag_milliseconds, .. } = &shards[0];
        assert_eq!((held, unread, in_flight, stalled_seconds, lag_milliseconds), (&1, &2, &7, &90, &0));
        assert_eq!(number(&gauges, "meshgate_records_in_flight_limit"), Some(20_000));
        assert!(queues(&Gauges::new()).is_empty() && number(&Gauges::new(), "meshgate_connections").is_none());
    }
}
