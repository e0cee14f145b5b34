//! Checks that remember, and breakers, in words.

use serde_json::Value;

use super::Page;
use super::checks::{Consequence, heading, part, place, told, valid};
use super::html::{Html, joined, piece};
use super::words::{count, list, span, value};
use super::written::WrittenContract;
use crate::model::Mode;
use crate::rule::OnFail;

/// Values that count as missing, and bins of a baseline, of which more are not told.
const VALUES_MAX: usize = 60;

/// ODCS's words for bounds, and ours.
const BOUNDS: [(&str, &str); 8] = [
    ("mustBe", "must be"),
    ("mustNotBe", "must not be"),
    ("mustBeGreaterThan", "must be more than"),
    ("mustBeGreaterOrEqualTo", "must be at least"),
    ("mustBeLessThan", "must be less than"),
    ("mustBeLessOrEqualTo", "must be at most"),
    ("mustBeBetween", "must be between"),
    ("mustNotBeBetween", "must not be between"),
];

/// All stream checks of a contract.
pub(super) fn all(h: &mut Html, page: &Page<'_>, contract: &WrittenContract<'_>) {
    h.paragraph(
        "note",
        "What shows only over many events. An event counts once it is on the mesh. Each gate looks at the events it forwards.",
    );
    h.block("ul", &[("class", "checks")], |h| {
        h.markup("\n");
        for written in contract.entries("stream") {
            let anchor = format!("{}/{}/{}", contract.compiled.domain, contract.compiled.name, text(written, "id"));
            let consequence = Consequence::written(written, contract.compiled.mode);
            h.block("li", &[("id", &anchor)], |h| {
                heading(h, text(written, "id"), written, consequence);
                check(h, page, written, consequence);
            });
        }
    });
}

fn text<'v>(written: &'v Value, key: &str) -> &'v str {
    written[key].as_str().unwrap_or_default()
}

fn check(h: &mut Html, page: &Page<'_>, written: &Value, consequence: Consequence) {
    let judges = match text(written, "type") {
        "duplicateValues" => {
            sentence(h, |h| {
                h.text("No two events have the same ").add(&keys(&written["key"]));
                h.text(format!(" within {}.", span(text(written, "window"))));
            });
            true
        }
        "sequence" => {
            sequence(h, written, consequence);
            return;
        }
        "referentialIntegrity" => {
            sentence(h, |h| reference(h, page, written));
            true
        }
        _ => {
            sentence(h, |h| measured(h, written));
            false
        }
    };
    told(h, if judges { "Its producer is told: " } else { "It is told as: " }, written);
    match judges {
        true => h.paragraph("note", consequence.words()),
        false => h.paragraph("note", alert(written, consequence)),
    };
}

fn sentence(h: &mut Html, write: impl FnOnce(&mut Html)) {
    h.element("p", &[], write);
    h.markup("\n");
}

/// The expressions of a key: `a`, or `a` and `b`.
fn keys(written: &Value) -> Html {
    let parts: Vec<Html> = written
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(|source| {
            piece(|h| {
                h.code(source);
            })
        })
        .collect();
    joined(&parts, " and ")
}

fn sequence(h: &mut Html, written: &Value, consequence: Consequence) {
    sentence(h, |h| {
        h.code(text(written, "value"))
            .text(" counts up by one with each event of the same ")
            .add(&keys(&written["key"]));
        let window = written["window"].as_str().unwrap_or("24h");
        h.text(format!("; what came more than {} ago is not looked at.", span(window)));
    });
    told(h, "Its producer is told: ", written);
    let mut case = |what: &str, leads_to: Option<OnFail>| {
        let words = match leads_to {
            Some(on_fail) => consequence.leading_to(on_fail).words(),
            None => "Nothing comes of it.",
        };
        h.paragraph("note", format!("{what}: {}{}", words[..1].to_lowercase(), &words[1..]));
    };
    let chosen = |key: &str, default| match text(written, key) {
        "ignore" => None,
        "" => Some(default),
        _ => Some(part(&written[key]).unwrap_or(default)),
    };
    case("Where it is not higher than the last", chosen("onRegress", consequence.on_fail()));
    case("Where it skips some", chosen("onGap", OnFail::Warn));
}

fn reference(h: &mut Html, page: &Page<'_>, written: &Value) {
    let references = &written["references"];
    h.add(&keys(&written["key"]));
    if let Some(name) = references["list"].as_str() {
        h.text(" must be in the list ").code(name).text(".");
        return;
    }
    let target = text(references, "contract");
    h.text(" must have come as ").add(&keys(&references["key"])).text(" of an event of ");
    if page.has(target) {
        h.leaf("a", &[("href", &format!("#{target}"))], target);
    } else {
        h.code(target);
    }
    h.text(format!(" in the last {}.", span(text(written, "window"))));
}

/// What a window's events come to, and must.
fn measured(h: &mut Html, written: &Value) {
    let window = span(text(written, "window"));
    let rows = written["unit"] == "rows";
    let unit = if matches!(text(written, "type"), "nullValues" | "missingValues" | "invalidValues") && !rows {
        " %"
    } else {
        ""
    };
    match text(written, "type") {
        "rowCount" => {
            h.text("The number of events");
        }
        "distinctCount" => {
            h.text("The number of different ").add(&keys(&written["key"]));
        }
        "latency" => return latency(h, written, &window),
        "drift" => {
            h.text("The distance of the distribution of ").code(text(written, "value"));
            h.text(" from its baseline (population stability index)");
        }
        metric => {
            h.text(if rows { "The number of events in which " } else { "The share of events in which " });
            h.code(place(text(written, "path"))).add(&finds(metric, &written["arguments"]));
        }
    }
    let bounds = BOUNDS.iter().filter(|(bound, _)| !written[*bound].is_null());
    let bounds: Vec<Html> = bounds.map(|(bound, words)| is_bound(words, &written[*bound], unit)).collect();
    h.text(" ").add(&joined(&bounds, " and ")).text(format!(" in each window of {window}."));
    if written["baseline"].is_object() {
        h.text(" The baseline: ").add(&baseline(&written["baseline"])).text(".");
    }
}

/// What a metric of fields counts.
fn finds(metric: &str, arguments: &Value) -> Html {
    piece(|h| match metric {
        "nullValues" => {
            h.text(" is null or absent");
        }
        "missingValues" => {
            h.text(" is null, absent or ");
            h.add(&list(arguments["missingValues"].as_array().into_iter().flatten(), VALUES_MAX));
        }
        _ => {
            h.text(" is there, and fails to ").add(&valid(arguments));
        }
    })
}

fn is_bound(words: &str, written: &Value, unit: &str) -> Html {
    piece(|h| {
        h.text(words).text(" ");
        match written.as_array().map(Vec::as_slice) {
            Some([low, high]) => h.add(&value(low)).text(" and ").add(&value(high)).text(unit),
            _ => h.add(&value(written)).text(unit),
        };
    })
}

fn latency(h: &mut Html, written: &Value, window: &str) {
    h.text("Events arrive soon after ").code(text(written, "from")).text(": ");
    let bounds =
        [("p50", "half of them"), ("p90", "90 of 100"), ("p95", "95 of 100"), ("p99", "99 of 100"), ("max", "all")];
    let told = bounds.iter().filter_map(|(quantile, share)| {
        let longest = written[format!("{quantile}MustBeLessThan")].as_str()?;
        Some(piece(|h| {
            h.text(format!("{share} in less than {}", span(longest)));
        }))
    });
    h.add(&joined(&told.collect::<Vec<_>>(), ", ")).text(format!(", in each window of {window}."));
}

fn baseline(written: &Value) -> Html {
    let bin = |what: String, share: &Value| {
        piece(|h| {
            h.text(what).text(" ").add(&value(share));
        })
    };
    let edges = written["edges"].as_array().map_or(&[][..], Vec::as_slice);
    let mut bins: Vec<Html> = match written["values"].as_object() {
        Some(values) => values.iter().take(VALUES_MAX).map(|(name, share)| bin(format!("{name}:"), share)).collect(),
        None => {
            let up_to = edges.iter().map(|edge| format!("up to {edge}:"));
            let above = edges.last().map(|edge| format!("above {edge}:"));
            let shares = written["shares"].as_array().into_iter().flatten();
            up_to.chain(above).zip(shares).take(VALUES_MAX).map(|(what, share)| bin(what, share)).collect()
        }
    };
    let all = written["values"].as_object().map_or(edges.len() + 1, serde_json::Map::len);
    if all > bins.len() {
        bins.push(piece(|h| {
            h.text(format!("and {} more", all - bins.len()));
        }));
    }
    joined(&bins, ", ")
}

/// What becomes of a window that fails.
fn alert(written: &Value, consequence: Consequence) -> String {
    if consequence.mode() == Mode::Off {
        return consequence.words().to_owned();
    }
    let mut words = "A window that fails is an alert; no event is stopped.".to_owned();
    if let Some(events) = written["minEvents"].as_u64() {
        words += &format!(" With fewer than {} a window says nothing.", count(events as usize, "event"));
    } else if written["type"] == "drift" {
        words += " With fewer than 100 events a window says nothing.";
    }
    if let Some(schedule) = written["schedule"].as_object() {
        let days = schedule.get("days").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
        let days: Vec<&str> = days.collect();
        let hours = schedule.get("hours").and_then(Value::as_str).map(|hours| hours.replacen('-', " to ", 1));
        let zone = schedule.get("timezone").and_then(Value::as_str).unwrap_or("UTC");
        let when: Vec<String> = [(!days.is_empty()).then(|| days.join(", ")), hours].into_iter().flatten().collect();
        words += &format!(" Only windows of {} ({zone}) are judged.", when.join(", "));
    }
    words
}

/// What happens when too much would be quarantined.
pub(super) fn breaker(h: &mut Html, written: &Value) {
    let window = written["window"].as_str().unwrap_or("1m");
    let events = written["minEvents"].as_u64().unwrap_or(100);
    let percent = (written["maxQuarantineRatio"].as_f64().unwrap_or_default() * 100_000.0).round() / 1000.0;
    sentence(h, |h| {
        h.text("When more than ").leaf("strong", &[], format!("{percent} %"));
        h.text(format!(" of at least {} of {} would be quarantined, ", count(events as usize, "event"), span(window)));
        h.text(match text(written, "action") {
            "hold" => "producers are throttled and keep their events, until events are good again.",
            "forward" => "everything is forwarded, with what is wrong counted, until events are good again.",
            _ => "it is an alert; events are judged as ever.",
        });
    });
}
