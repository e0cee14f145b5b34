//! A status in words and columns.

mod columns;

use std::cmp::Reverse;

use columns::{Line, Style, cell, table};

use crate::admin::status::document::{
    Contract, Counts, FAILS, FarEnd, Refusal, Series, State, Status, TAKES, Violation,
};
use crate::admin::status::percent;
use crate::model::Timestamp;

/// How many columns a trend has. Each is of as many seconds or minutes.
const TREND: usize = 20;

/// Refusals of a report that has no end.
const REFUSALS_MAX: usize = 10;

/// Of a screen: rows that a part has at least, where there is anything to show.
const ROWS_MIN: usize = 3;

/// How a report is to look.
#[derive(Debug, Clone, Copy)]
pub(super) struct Look<'a> {
    /// Lines are cut there.
    pub columns: usize,
    /// And the report there.
    pub rows: usize,
    pub colours: bool,
    /// Why there is no newer status.
    pub trouble: Option<&'a str>,
}

impl Look<'_> {
    /// All of it, for a file or a pipe.
    pub(super) const fn whole() -> Self {
        Self { columns: usize::MAX, rows: usize::MAX, colours: false, trouble: None }
    }
}

/// The report: lines, each with its end.
pub(super) fn report(status: &Status, look: &Look<'_>) -> String {
    let now = time(&status.at);
    let mut lines = head(status, look.trouble, now);
    // Far ends and rules are few; contracts, violations and refusals share what is left of a screen, in this order.
    let tail: Vec<Vec<Line>> = [ends(status, now), waiting(status), rules(status, now)].into_iter().flatten().collect();
    let below: usize = tail.iter().map(|part| part.len() + 1).sum();
    let mut left = look.rows.saturating_sub(lines.len()).saturating_sub(below.min(look.rows / 3));
    let parts = [contracts(status, now), violations(status, now), refusals(status, look.rows, now)];
    for (index, part) in parts.into_iter().enumerate() {
        // Contracts may take all but the least of the others; violations and refusals share alike.
        let rows = match index {
            0 => left.saturating_sub(2 * (ROWS_MIN + 2)),
            1 => left.saturating_sub(2) / 2,
            _ => left.saturating_sub(1),
        };
        let rows = rows.max(ROWS_MIN);
        let part = shortened(part, rows);
        left = left.saturating_sub(part.len() + 1);
        lines.push(Line::default());
        lines.extend(part);
    }
    for part in tail {
        lines.push(Line::default());
        lines.extend(part);
    }
    lines.truncate(look.rows);
    lines.iter().map(|line| line.written(look.columns, look.colours) + "\n").collect()
}

/// A part of which what does not fit is counted.
fn shortened(mut part: Vec<Line>, rows: usize) -> Vec<Line> {
    if part.len() > rows {
        let more = part.len() - rows + 1;
        part.truncate(rows - 1);
        part.push(Line::of(Style::Quiet, format!("and {more} more")));
    }
    part
}

fn time(text: &str) -> i64 {
    Timestamp::parse_rfc3339(text).map_or(0, Timestamp::millis)
}

/// `12 s`, `3 min`, `5 h`, `2 days`.
fn span(seconds: i64) -> String {
    match seconds.max(0) {
        short @ 0..120 => format!("{short} s"),
        minutes @ 120..7_200 => format!("{} min", minutes / 60),
        hours @ 7_200..172_800 => format!("{} h", hours / 3_600),
        days => format!("{} days", days / 86_400),
    }
}

fn age(at: &str, now: i64) -> String {
    span((now - time(at)) / 1_000)
}

/// `1,234`.
fn number(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn per_second(rate: f64) -> String {
    if rate >= 100.0 { number(rate.round() as u64) } else { format!("{}", (rate * 10.0).round() / 10.0) }
}

const fn style_of(state: State) -> Style {
    match state {
        State::Good => Style::Good,
        State::Warning => Style::Warning,
        State::Error => Style::Error,
    }
}

fn head(status: &Status, trouble: Option<&str>, now: i64) -> Vec<Line> {
    let gate = &status.gate;
    let up = age(&gate.started, now);
    let mut first = Line::of(Style::Strong, format!("Meshgate {}", gate.version));
    first.add(Style::Quiet, format!("  backend {}, {}, up for {up}, as of {}", gate.backend, gate.phase, status.at));
    let mut lines = vec![first];
    if let Some(trouble) = trouble {
        lines.push(Line::of(Style::Error, format!("Not the newest: {trouble}")));
    }
    lines.push(Line::of(style_of(status.health.state), status.health.sentence.clone()));
    for concern in &status.health.concerns {
        lines.push(Line::of(style_of(concern.state), format!("  {}", concern.text)));
    }
    lines.push(Line::default());
    let rates = &status.rates.per_second;
    let mut now_line = Line::of(Style::Quiet, "per second   ".to_owned());
    for (name, rate, is_bad) in [
        ("forwarded", rates.forwarded, false),
        ("refused", rates.quarantined, true),
        ("dropped", rates.dropped, false),
        ("not settled", rates.unsettled, true),
    ] {
        let style = if is_bad && rate > 0.0 { Style::Error } else { Style::Strong };
        now_line.add(Style::Plain, format!("{name} "));
        now_line.add(style, per_second(rate));
        now_line.add(Style::Plain, "   ".to_owned());
    }
    let in_flight = &status.in_flight;
    let limit = in_flight.limit.map_or_else(String::new, |limit| format!(" of {}", number(limit)));
    now_line.add(
        Style::Plain,
        format!("in flight {}{limit}   connections {}", number(in_flight.records), number(in_flight.connections)),
    );
    lines.push(now_line);
    let mut minute = Line::of(Style::Quiet, "last minute  ".to_owned());
    trend(&status.rates.by_second, 60, &mut minute);
    lines.push(minute);
    lines
}

/// Bars of events, in red where some were refused.
fn trend(series: &Series, columns: usize, line: &mut Line) {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let slots: Vec<(u64, bool)> = series
        .forwarded
        .iter()
        .zip(&series.refused)
        .zip(&series.unsettled)
        .map(|((forwarded, refused), unsettled)| {
            (u64::from(*forwarded) + u64::from(*refused) + u64::from(*unsettled), refused + unsettled > 0)
        })
        .collect();
    let each = slots.len().div_ceil(columns).max(1);
    let bars: Vec<(u64, bool)> = slots
        .chunks(each)
        .map(|slots| (slots.iter().map(|slot| slot.0).sum(), slots.iter().any(|slot| slot.1)))
        .collect();
    let most = bars.iter().map(|bar| bar.0).max().unwrap_or(0).max(1);
    for (events, is_bad) in bars {
        let bar = match events {
            0 => ' ',
            events => BARS[usize::try_from((events * 8).div_ceil(most)).unwrap_or(8).clamp(1, 8) - 1],
        };
        line.add(if is_bad { Style::Error } else { Style::Quiet }, bar.to_string());
    }
}

fn settled(counts: &Counts) -> u64 {
    u64::from(counts.forwarded) + u64::from(counts.quarantined) + u64::from(counts.dropped)
}

/// `98.2 % of 1,234`.
fn passed(counts: &Counts, slo: Option<f64>) -> Line {
    let Some(rate) = counts.pass_rate else {
        let unsettled = u64::from(counts.unsettled);
        return match unsettled {
            0 => cell(Style::Quiet, "-"),
            _ => cell(Style::Error, &format!("{} not settled", number(unsettled))),
        };
    };
    let is_bad = slo.is_some_and(|slo| rate < slo);
    let mut line = Line::of(if is_bad { Style::Error } else { Style::Plain }, percent(rate));
    line.add(Style::Quiet, format!(" of {}", number(settled(counts))));
    line
}

fn contracts(status: &Status, now: i64) -> Vec<Line> {
    if status.contracts.is_empty() {
        return vec![Line::of(Style::Quiet, "No contract is in force.".to_owned())];
    }
    // On a screen that has no room for all, those with most to tell come first.
    let mut contracts: Vec<&Contract> = status.contracts.iter().collect();
    contracts.sort_by_key(|contract| {
        let hour = &contract.last_hour;
        Reverse((is_troubled(contract), hour.quarantined, settled(hour)))
    });
    let rows = contracts.into_iter().map(|contract| {
        let rules = contract.rules.as_ref();
        let slo = rules.and_then(|rules| rules.slo);
        let mut bars = Line::default();
        trend(&contract.by_minute, TREND, &mut bars);
        let breaker = contract.breaker.as_ref();
        let is_open = breaker.is_some_and(|breaker| breaker.state != "closed");
        let breaker = breaker.map_or("-".to_owned(), |breaker| breaker.state.replace('_', " "));
        let mode = rules.map_or("-", |rules| &rules.mode);
        vec![
            cell(Style::Strong, &format!("{}/{}", contract.domain, contract.contract)),
            cell(Style::Plain, rules.map_or("-", |rules| &rules.version)),
            cell(if mode == "shadow" { Style::Warning } else { Style::Plain }, mode),
            passed(&contract.last_minute, slo),
            passed(&contract.last_hour, slo),
            bars,
            cell(Style::Plain, &slo.map_or("-".to_owned(), percent)),
            cell(if is_open { Style::Error } else { Style::Plain }, &breaker),
            cell(Style::Quiet, &contract.last_event.as_deref().map_or("-".to_owned(), |at| age(at, now))),
            cell(Style::Plain, rules.map_or("-", |rules| &rules.owner.team)),
        ]
    });
    let headers = [
        "CONTRACT",
        "VERSION",
        "MODE",
        "PASSED, MINUTE",
        "PASSED, HOUR",
        "LAST HOUR",
        "OBJECTIVE",
        "BREAKER",
        "LAST",
        "OWNER",
    ];
    let mut lines = table(&headers, rows.collect());
    if status.contracts_left_out > 0 {
        lines.push(Line::of(Style::Quiet, format!("{} with less to tell are left out", status.contracts_left_out)));
    }
    lines
}

fn is_troubled(contract: &Contract) -> bool {
    let is_open = contract.breaker.as_ref().is_some_and(|breaker| breaker.state != "closed");
    let slo = contract.rules.as_ref().and_then(|rules| rules.slo);
    is_open || slo.zip(contract.last_hour.pass_rate).is_some_and(|(slo, rate)| rate < slo)
}

fn violations(status: &Status, now: i64) -> Vec<Line> {
    if status.violations.is_empty() {
        return vec![Line::of(Style::Quiet, "No rule was violated in the last hour.".to_owned())];
    }
    let row = |violation: &Violation| {
        let severity = violation.severity.as_deref().unwrap_or("-");
        let style = match severity {
            "error" => Style::Error,
            "warning" => Style::Warning,
            _ => Style::Plain,
        };
        vec![
            cell(Style::Strong, &number(violation.times.into())),
            cell(Style::Plain, &format!("{}/{}", violation.domain, violation.contract)),
            cell(Style::Plain, &violation.rule),
            cell(Style::Plain, violation.kind.as_deref().unwrap_or("-")),
            cell(style, severity),
            cell(Style::Plain, violation.mode.as_deref().unwrap_or("-")),
            cell(Style::Quiet, &violation.last.as_deref().map_or("-".to_owned(), |at| age(at, now))),
        ]
    };
    let headers = ["TIMES", "CONTRACT", "RULE, LAST HOUR", "KIND", "SEVERITY", "MODE", "LAST"];
    table(&headers, status.violations.iter().map(row).collect())
}

fn refusals(status: &Status, rows: usize, now: i64) -> Vec<Line> {
    if status.refusals.is_empty() {
        return vec![Line::of(Style::Quiet, "No event was refused since the gate started.".to_owned())];
    }
    let shown = if rows == usize::MAX { REFUSALS_MAX } else { status.refusals.len() };
    let row = |refusal: &Refusal| {
        let why = refusal.reasons.first().map_or_else(String::new, |reason| {
            let at = if reason.pointer.is_empty() { String::new() } else { format!(" at {}", reason.pointer) };
            format!("{}{at}: {}", reason.rule, reason.message)
        });
        let more = refusal.reasons.len().saturating_sub(1) + refusal.more;
        let more = if more > 0 { format!(" (and {more} more)") } else { String::new() };
        vec![
            cell(Style::Quiet, &age(&refusal.at, now)),
            cell(Style::Strong, &format!("{}/{}", refusal.domain, refusal.contract)),
            cell(Style::Plain, &refusal.dead_letter),
            cell(Style::Plain, &format!("{why}{more}")),
        ]
    };
    let headers = ["REFUSED", "CONTRACT", "DEAD LETTER", "WHY"];
    table(&headers, status.refusals.iter().take(shown).map(row).collect())
}

fn ends(status: &Status, now: i64) -> Option<Vec<Line>> {
    let row = |end: &FarEnd| {
        let since = end.failing_since.as_deref().map_or_else(String::new, |since| age(since, now));
        let state = match end.state.as_str() {
            TAKES => cell(Style::Good, "takes events"),
            FAILS => cell(Style::Error, &format!("failing for {since}")),
            _ => cell(Style::Warning, "failed when last called"),
        };
        let failure = end.last_failure.as_ref();
        let failure =
            failure.map(|failure| format!("{} {} ago: {}", failure.trouble, age(&failure.at, now), failure.message));
        vec![
            cell(Style::Strong, &format!("{} {}", end.sink, end.name)),
            state,
            cell(
                Style::Quiet,
                &end.last_success.as_deref().map_or("never".to_owned(), |at| format!("{} ago", age(at, now))),
            ),
            cell(Style::Plain, &number(end.calls)),
            cell(Style::Plain, &number(end.failures)),
            cell(Style::Plain, &number(end.retries)),
            cell(Style::Plain, failure.as_deref().unwrap_or("-")),
        ]
    };
    let headers = ["FAR END", "STATE", "TOOK", "CALLS", "FAILED", "RETRIES", "LAST FAILURE"];
    (!status.far_ends.is_empty()).then(|| table(&headers, status.far_ends.iter().map(row).collect()))
}

/// Dead letters, the spool, and shards, where there are any.
fn waiting(status: &Status) -> Option<Vec<Line>> {
    let mut lines = Vec::new();
    for queue in &status.dead_letters {
        let oldest = queue.oldest_seconds.filter(|_| queue.letters > 0);
        let oldest = oldest.map_or_else(String::new, |seconds| format!(", the oldest for {}", span(seconds as i64)));
        lines.push(cell(
            Style::Plain,
            &format!("{} dead letters wait in {}{oldest}", number(queue.letters), queue.queue),
        ));
    }
    if let Some(spool) = &status.spool {
        let text = format!(
            "The spool takes {} KiB of {} KiB",
            number(spool.bytes.div_ceil(1_024)),
            number(spool.bytes_max / 1_024)
        );
        lines.push(cell(Style::Plain, &text));
        for lane in &spool.lanes {
            let oldest =
                lane.oldest_seconds.map_or_else(String::new, |seconds| format!(", the oldest for {}", span(seconds)));
            let away = lane.away.as_deref().unwrap_or("it drains");
            let text =
                format!("  {} {}: {} wait{oldest}, {} aside; {away}", lane.sink, lane.name, lane.entries, lane.aside);
            lines.push(cell(Style::Warning, &text));
        }
    }
    for stream in &status.streams {
        let behind = stream.shards.iter().map(|shard| shard.lag_milliseconds).max().unwrap_or(0) / 1_000;
        let text = format!(
            "{} of the shards of {} are read here, {} by no gate; the last is {behind} s behind",
            stream.held, stream.stream, stream.unread
        );
        lines.push(cell(if stream.unread > 0 { Style::Warning } else { Style::Plain }, &text));
        for shard in stream.shards.iter().filter(|shard| shard.stalled_seconds > 0) {
            lines.push(cell(
                Style::Error,
                &format!("  {} stands still for {}", shard.shard, span(shard.stalled_seconds as i64)),
            ));
        }
    }
    (!lines.is_empty()).then_some(lines)
}

fn rules(status: &Status, now: i64) -> Option<Vec<Line>> {
    let rules = &status.rules;
    let source = &rules.source;
    let reference = source.reference.as_deref().map_or_else(String::new, |reference| format!(" at {reference}"));
    let fetched = source.fetched.as_deref().map_or_else(String::new, |at| format!(", asked {} ago", age(at, now)));
    let mut lines = vec![cell(
        Style::Plain,
        &format!("Rules of {}{reference}{fetched}, revision {}", source.place, rules.revision),
    )];
    if let Some(error) = &source.error {
        lines.push(cell(Style::Error, &format!("  cannot be had: {error}")));
    }
    let rows = rules.domains.iter().map(|domain| {
        let state = if domain.stale { cell(Style::Warning, "stale") } else { cell(Style::Good, "newest") };
        vec![
            cell(Style::Strong, &domain.domain),
            cell(Style::Plain, &domain.contracts.to_string()),
            state,
            cell(Style::Quiet, &domain.since.as_deref().map_or("-".to_owned(), |at| age(at, now))),
            cell(Style::Plain, &domain.revision),
            cell(Style::Plain, &domain.owner.team),
            cell(Style::Quiet, domain.owner.contact.as_deref().unwrap_or("-")),
        ]
    });
    let headers = ["DOMAIN", "CONTRACTS", "RULES", "FOR", "REVISION", "OWNER", "CONTACT"];
    lines.extend(table(&headers, rows.collect()));
    Some(lines)
}

#[cfg(test)]
mod tests;
