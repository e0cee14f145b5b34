//! Checks of windows: what they measure, and its bounds.

use serde_json::Value;

use super::contract::good;
use super::stray;
use super::stream::{Entry, millis};
use crate::contract::diagnostic::Code;
use crate::contract::written::Baseline;
use crate::memory::{Bound, Measure, Need, Schedule, Spec, Terms, Threshold};
use crate::rule::field::{FieldCheck, FieldSpec};
use crate::rule::pointer::Pointer;
use crate::rule::stream::{Bins, Look};

/// ODCS's words for bounds.
pub(super) const BOUNDS: [&str; 8] = [
    "mustBe",
    "mustNotBe",
    "mustBeGreaterThan",
    "mustBeGreaterOrEqualTo",
    "mustBeLessThan",
    "mustBeLessOrEqualTo",
    "mustBeBetween",
    "mustNotBeBetween",
];

/// Bounds of a latency, each of its quantile.
pub(super) const LATENCY_BOUNDS: [&str; 5] =
    ["p50MustBeLessThan", "p90MustBeLessThan", "p95MustBeLessThan", "p99MustBeLessThan", "maxMustBeLessThan"];
const QUANTILES: [(&str, f64); 5] = [("p50", 0.5), ("p90", 0.9), ("p95", 0.95), ("p99", 0.99), ("max", 1.0)];

/// With fewer events, shares of bins are chance.
const DRIFT_EVENTS_MIN: u64 = 100;

/// Whether a type of check takes such a bound.
pub(super) fn takes(kind: &str, bound: &str) -> bool {
    match kind {
        "duplicateValues" | "sequence" | "referentialIntegrity" => false,
        "latency" => LATENCY_BOUNDS.contains(&bound),
        _ => BOUNDS.contains(&bound),
    }
}

pub(super) fn compile(entry: &Entry<'_, '_>) -> Option<(Look, Need)> {
    let parts = match entry.kind {
        "rowCount" => Some((Look::Event, Measure::Events)),
        "distinctCount" => entry.key().map(|key| (Look::Distinct(key), Measure::Distinct)),
        "latency" => latency(entry),
        "drift" => drift(entry),
        _ => share(entry),
    };
    let (window, bounds, schedule) = (entry.window(None), bounds(entry), schedule(entry));
    let (look, measure) = parts?;
    let default = if entry.kind == "drift" { DRIFT_EVENTS_MIN } else { 1 };
    let terms = Terms {
        length: window?,
        measure,
        bounds: bounds?,
        events_min: entry.written.events_min.unwrap_or(default),
        schedule: schedule?,
    };
    Some((look, entry.need(Spec::Windows(terms))))
}

fn latency(entry: &Entry<'_, '_>) -> Option<(Look, Measure)> {
    let source = entry.needed("from", entry.written.from.as_ref())?;
    let from = entry.expression("from", source)?;
    if ["({}) <= now", r#"({}) <= """#].iter().all(|probe| stray::clashes(source, probe, entry.shape)) {
        entry.fault("from", "the schema has no time here", Some("a timestamp(), or a text in the form of RFC 3339"));
        return None;
    }
    Some((Look::Latency(from), Measure::Latency))
}

/// ODCS's metrics of fields, as a share of the events of a window.
fn share(entry: &Entry<'_, '_>) -> Option<(Look, Measure)> {
    let written = &entry.written;
    let path = entry.needed("path", written.path.as_ref())?;
    stray::refuse_path(entry.file, &entry.at.child("path"), path, entry.shape);
    let list = written.arguments.get("validValuesFrom").and_then(Value::as_str);
    if list.is_some_and(|name| entry.lists.get(name).is_some_and(Option::is_none)) {
        // The list failed, which is told there.
        return None;
    }
    let spec = FieldSpec {
        id: written.id.clone(),
        path: path.clone(),
        metric: entry.kind.to_owned(),
        arguments: written.arguments.clone(),
        dimension: None,
        severity: written.severity,
        on_fail: None,
        mode: written.mode,
        message: None,
    };
    match FieldCheck::compile(&spec, &good(entry.lists)) {
        Ok(check) => {
            let percent = written.unit.as_deref() != Some("rows");
            Some((Look::Field(Box::new(check)), Measure::Hits { percent }))
        }
        Err(fault) => {
            let place = entry.at.join(&Pointer::parse(&fault.at).unwrap_or_default());
            entry.file.fault(&place, Code::BadField, fault.message, fault.hint);
            None
        }
    }
}

fn drift(entry: &Entry<'_, '_>) -> Option<(Look, Measure)> {
    let baseline = entry.needed("baseline", entry.written.baseline.as_ref());
    let source = entry.needed("value", entry.written.value.as_ref())?;
    let value = entry.expression("value", source);
    let (bins, shares) = match baseline? {
        Baseline { values: Some(values), edges: None, shares: None } => {
            let (names, mut shares): (Vec<String>, Vec<f64>) =
                values.iter().map(|(name, share)| (name.clone(), share.as_f64().unwrap_or_default())).unzip();
            // What is not named was not there.
            shares.push(0.0);
            (Bins::Values(names), shares)
        }
        Baseline { values: None, edges: Some(edges), shares: Some(shares) } => {
            if !edges.is_sorted_by(|a, b| a < b) {
                entry.fault("baseline", "the edges do not ascend", None);
                return None;
            }
            if shares.len() != edges.len() + 1 {
                let message = format!("{} edges make {} bins, not {}", edges.len(), edges.len() + 1, shares.len());
                entry.fault("baseline", message, Some("the last share is of what is above the last edge"));
                return None;
            }
            (Bins::Edges(edges.clone()), shares.clone())
        }
        _ => {
            let hint = "baseline: {values: {web: 0.7, app: 0.3}}, or {edges: [10, 100], shares: [0.2, 0.5, 0.3]}";
            entry.fault("baseline", "a baseline has values, or edges and shares", Some(hint));
            return None;
        }
    };
    let total: f64 = shares.iter().sum();
    if total <= 0.0 {
        entry.fault("baseline", "the shares are all 0", None);
        return None;
    }
    let baseline = shares.into_iter().map(|share| share / total).collect();
    Some((Look::Bin { value: value?, bins }, Measure::Drift { baseline }))
}

/// `None` when one is faulty, or none is there.
fn bounds(entry: &Entry<'_, '_>) -> Option<Vec<Bound>> {
    let value = |name: &str| entry.file.value(&entry.at.child(name));
    let mut bounds = Vec::new();
    if entry.kind == "latency" {
        for (key, (name, quantile)) in LATENCY_BOUNDS.iter().zip(QUANTILES) {
            if let Some(longest) = value(key).and_then(Value::as_str).and_then(millis) {
                bounds.push(Bound { name, quantile, threshold: Threshold::Less(longest as f64) });
            }
        }
    }
    for key in BOUNDS.into_iter().filter(|key| takes(entry.kind, key)) {
        let Some(threshold) = value(key).and_then(|value| threshold(key, value)) else { continue };
        if let Threshold::Between(low, high) | Threshold::NotBetween(low, high) = threshold
            && low > high
        {
            entry.fault(key, format!("nothing lies between {low} and {high}"), Some("write the lower bound first"));
            return None;
        }
        let is_share = matches!(entry.kind, "nullValues" | "missingValues" | "invalidValues");
        if is_share && entry.written.unit.as_deref() != Some("rows") && most(threshold) > 100.0 {
            entry.fault(key, "more than 100 percent cannot be reached", Some("unit: rows counts events"));
            return None;
        }
        bounds.push(Bound { name: entry.kind, quantile: 0.0, threshold });
    }
    if bounds.is_empty() {
        let first = if entry.kind == "latency" { LATENCY_BOUNDS[3] } else { "mustBeLessThan" };
        let message = format!("the {} has no bound, so it would never alert", entry.kind);
        entry.fault("type", message, Some(&format!("give it one, such as {first}")));
        return None;
    }
    Some(bounds)
}

/// The highest number it compares with.
fn most(threshold: Threshold) -> f64 {
    match threshold {
        Threshold::Equal(bound) | Threshold::NotEqual(bound) => bound,
        Threshold::Greater(bound) | Threshold::GreaterOrEqual(bound) => bound,
        Threshold::Less(bound) | Threshold::LessOrEqual(bound) => bound,
        Threshold::Between(_, high) | Threshold::NotBetween(_, high) => high,
    }
}

fn threshold(key: &str, value: &Value) -> Option<Threshold> {
    let number = || value.as_f64();
    let pair = || match value.as_array()?.as_slice() {
        [low, high] => Some((low.as_f64()?, high.as_f64()?)),
        _ => None,
    };
    Some(match key {
        "mustBe" => Threshold::Equal(number()?),
        "mustNotBe" => Threshold::NotEqual(number()?),
        "mustBeGreaterThan" => Threshold::Greater(number()?),
        "mustBeGreaterOrEqualTo" => Threshold::GreaterOrEqual(number()?),
        "mustBeLessThan" => Threshold::Less(number()?),
        "mustBeLessOrEqualTo" => Threshold::LessOrEqual(number()?),
        "mustBeBetween" => pair().map(|(low, high)| Threshold::Between(low, high))?,
        _ => pair().map(|(low, high)| Threshold::NotBetween(low, high))?,
    })
}

/// `None` when it is faulty.
fn schedule(entry: &Entry<'_, '_>) -> Option<Option<Schedule>> {
    let Some(written) = &entry.written.schedule else { return Some(None) };
    match Schedule::parse(&written.days, written.hours.as_deref(), written.timezone.as_deref()) {
        Ok(schedule) => Some(Some(schedule)),
        Err((key, message)) => {
            entry.file.fault(&entry.at.child("schedule").child(key), Code::BadStream, message, None);
            None
        }
    }
}
