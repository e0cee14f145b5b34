//! Is the gate healthy? One sentence for whoever opens the page, and what is behind it.

use super::document::{Breaker, Concern, Contract, Counts, FAILED, FarEnd, Health, State, Status};

/// Events below which a pass rate says nothing.
const EVENTS_MIN: u32 = 20;

/// How long a shard may stand still before it is told.
const STALLED_SECONDS: u64 = 60;

/// How full a spool or the records in flight may be before it is told, of 100.
const FULL_PERCENT: u64 = 80;

/// What is wrong with a gate, of what else its status says.
pub(super) fn assess(status: &Status) -> Health {
    let mut concerns = Vec::new();
    let mut tell = |state, text: String| concerns.push(Concern { state, text });
    if status.gate.phase != "ready" {
        tell(State::Warning, "The gate drains: it answers the requests in progress and takes no new ones.".to_owned());
    }
    status.far_ends.iter().filter_map(failing).for_each(|(state, text)| tell(state, text));
    settling(status, &mut tell);
    spool(status, &mut tell);
    for contract in &status.contracts {
        judged(contract, &mut tell);
    }
    rules(status, &mut tell);
    shards(status, &mut tell);
    concerns.sort_by_key(|concern| std::cmp::Reverse(concern.state));
    let state = concerns.first().map_or(State::Good, |worst| worst.state);
    Health { state, sentence: sentence(state, concerns.len(), &status.rates.last_minute), concerns }
}

fn sentence(state: State, concerns: usize, minute: &Counts) -> String {
    let one_or_more = if concerns == 1 { "one thing".to_owned() } else { format!("{concerns} things") };
    match state {
        State::Error => format!("The gate is in trouble: {one_or_more} to look at."),
        State::Warning => format!("The gate works, with {one_or_more} to look at."),
        State::Good if settled(minute) == 0 => "All is well. No event came in the last minute.".to_owned(),
        State::Good => "All is well. Every event of the last minute was settled.".to_owned(),
    }
}

fn settled(counts: &Counts) -> u32 {
    counts.forwarded.saturating_add(counts.quarantined).saturating_add(counts.dropped)
}

/// Of a far end whose last call took nothing.
fn failing(far_end: &FarEnd) -> Option<(State, String)> {
    let FarEnd { sink, name, state, failing_since: Some(since), last_failure, .. } = far_end else { return None };
    let what = match sink.as_str() {
        "mesh" => format!("The mesh stream {name}"),
        "dlq" => format!("The dead-letter queue {name}"),
        _ => "S3".to_owned(),
    };
    let (trouble, at) = last_failure.as_ref().map_or(("unavailable", since), |failure| (&failure.trouble, &failure.at));
    if state == FAILED {
        return Some((State::Warning, format!("{what} took nothing when it was last called, {at} ({trouble}).")));
    }
    let state = if trouble == "throttled" { State::Warning } else { State::Error };
    Some((state, format!("{what} takes nothing since {since} ({trouble}).")))
}

fn settling(status: &Status, tell: &mut impl FnMut(State, String)) {
    let minute = &status.rates.last_minute;
    if minute.unsettled > 0 {
        let events = if minute.unsettled == 1 { "1 event was" } else { &format!("{} events were", minute.unsettled) };
        tell(
            State::Warning,
            format!(
                "{events} not settled in the last minute: their producers have them, and were told to send them again."
            ),
        );
    }
    let records = status.in_flight.records;
    if let Some(limit) = status.in_flight.limit.filter(|limit| *limit > 0 && records * 100 >= limit * FULL_PERCENT) {
        tell(
            State::Warning,
            format!(
                "{records} records are in flight, of {limit} at most: producers are about to be told to slow down."
            ),
        );
    }
}

fn spool(status: &Status, tell: &mut impl FnMut(State, String)) {
    let Some(spool) = &status.spool else { return };
    let entries: u64 = spool.lanes.iter().map(|lane| lane.entries).sum();
    let aside: u64 = spool.lanes.iter().map(|lane| lane.aside).sum();
    if spool.bytes_max > 0 && spool.bytes.saturating_mul(100) >= spool.bytes_max.saturating_mul(FULL_PERCENT) {
        let percent = spool.bytes.saturating_mul(100) / spool.bytes_max;
        tell(State::Error, format!("The spool is {percent} % full: what it cannot take stays with its producers."));
    }
    if entries > 0 {
        tell(
            State::Warning,
            format!("The spool holds {} for far ends that are away, or were until now.", entries_of(entries)),
        );
    }
    if aside > 0 {
        tell(
            State::Warning,
            format!(
                "The spool keeps {} aside that cannot be delivered as they are: GET /spool says why.",
                entries_of(aside)
            ),
        );
    }
}

fn entries_of(count: u64) -> String {
    if count == 1 { "1 entry".to_owned() } else { format!("{count} entries") }
}

fn judged(contract: &Contract, tell: &mut impl FnMut(State, String)) {
    let Contract { domain, contract: name, .. } = contract;
    if let Some(Breaker { state, since, action }) = contract.breaker.as_ref().filter(|b| b.state != "closed") {
        let what = match action.as_str() {
            "hold" => "its events are held",
            "forward" => "its events are forwarded whatever their verdict",
            _ => "its events go on being judged",
        };
        let how = if state == "open" { "open" } else { "half open" };
        let worst = if action == "alert" { State::Warning } else { State::Error };
        tell(worst, format!("The breaker of {domain}/{name} is {how} since {since}: {what}."));
    }
    let hour = &contract.last_hour;
    let slo = contract.rules.as_ref().and_then(|rules| rules.slo);
    if let (Some(slo), Some(rate)) = (slo, hour.pass_rate)
        && rate < slo
        && settled(hour) >= EVENTS_MIN
    {
        let (rate, slo) = (percent(rate), percent(slo));
        tell(
            State::Warning,
            format!("{domain}/{name} passed {rate} of the last hour's events; its objective is {slo}."),
        );
    }
}

fn rules(status: &Status, tell: &mut impl FnMut(State, String)) {
    for domain in status.rules.domains.iter().filter(|domain| domain.stale) {
        let name = &domain.domain;
        tell(
            State::Warning,
            format!("The newest rules of {name} do not compile: revision {} judges.", domain.revision),
        );
    }
    if status.rules.source.error.is_some() {
        tell(State::Warning, "The newest rules cannot be had: the last good ones stay in force.".to_owned());
    }
}

fn shards(status: &Status, tell: &mut impl FnMut(State, String)) {
    for stream in &status.streams {
        let name = &stream.stream;
        if stream.unread > 0 {
            tell(State::Warning, format!("No gate reads {} of the shards of {name}.", stream.unread));
        }
        for shard in stream.shards.iter().filter(|shard| shard.stalled_seconds >= STALLED_SECONDS) {
            let (id, seconds) = (&shard.shard, shard.stalled_seconds);
            tell(
                State::Error,
                format!("{name}/{id} stands still for {seconds} s: its first record cannot be settled."),
            );
        }
    }
}

/// Never rounded up to all, nor down to none.
pub fn percent(share: f64) -> String {
    let digits = if share > 0.99 && share < 1.0 || share > 0.0 && share < 0.01 { 2 } else { 1 };
    let factor = 10_f64.powi(digits + 2);
    // Binary fractions are a little beside what they stand for.
    let whole = if share > 0.5 { (share * factor + 1e-6).floor() } else { (share * factor - 1e-6).ceil() };
    let text = format!("{:.*}", digits.unsigned_abs() as usize, whole.abs() / factor * 100.0);
    format!("{} %", text.trim_end_matches('0').trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_never_rounded_to_all_or_nothing() {
        for (share, told) in [
            (1.0, "100 %"),
            (0.0, "0 %"),
            (0.999_999, "99.99 %"),
            (0.995, "99.5 %"),
            (0.982, "98.2 %"),
            (0.75, "75 %"),
            (0.1, "10 %"),
            (0.000_001, "0.01 %"),
            (0.3, "30 %"),
        ] {
            assert_eq!(percent(share), told, "{share}");
        }
    }
}
