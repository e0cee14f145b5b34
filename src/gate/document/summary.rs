//! What a DLQ document says of its letter, without the event: enough to list, count and choose letters.

use serde::{Deserialize, Serialize};

use super::{DocumentFault, masked_parse_error, unreadable};
use crate::model::Timestamp;

/// A letter from outside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    pub id: String,
    pub quarantined: String,
    pub stream: String,
    pub domain: String,
    pub contract: String,
    /// Empty where no contract took the event.
    pub version: String,
    pub revision: String,
    /// Of the violation that decided first; so is `kind`.
    pub rule: String,
    pub kind: String,
    pub pointer: String,
    #[serde(skip)]
    pub partition_key: Option<String>,
    /// Of all violations that decided.
    #[serde(skip)]
    pub rules: Vec<String>,
    /// How often it was replayed and stayed.
    pub attempts: u32,
}

/// Which letters are meant. What is `None` matches all.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    pub domain: Option<String>,
    pub contract: Option<String>,
    pub version: Option<String>,
    pub stream: Option<String>,
    /// Of the violation that decided first.
    pub rule: Option<String>,
    pub kind: Option<String>,
    /// Quarantined then or later.
    pub since: Option<Timestamp>,
    /// Quarantined before.
    pub until: Option<Timestamp>,
}

impl Filter {
    pub fn matches(&self, letter: &Summary) -> bool {
        let is = |asked: &Option<String>, value: &str| asked.as_deref().is_none_or(|asked| asked == value);
        let at = Timestamp::parse_rfc3339(&letter.quarantined);
        is(&self.domain, &letter.domain)
            && is(&self.contract, &letter.contract)
            && is(&self.version, &letter.version)
            && is(&self.stream, &letter.stream)
            && is(&self.rule, &letter.rule)
            && is(&self.kind, &letter.kind)
            && self.since.is_none_or(|since| at.is_some_and(|at| at >= since))
            && self.until.is_none_or(|until| at.is_some_and(|at| at < until))
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Written {
    schema: String,
    id: String,
    quarantined_at: String,
    domain: String,
    contract: String,
    version: Option<String>,
    revision: String,
    violations: Vec<WrittenViolation>,
    source: WrittenStream,
    replay: Option<WrittenReplay>,
}

#[derive(Deserialize)]
struct WrittenViolation {
    rule: String,
    kind: String,
    #[serde(default)]
    pointer: String,
    severity: String,
    mode: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WrittenStream {
    stream: String,
    partition_key: Option<String>,
}

#[derive(Deserialize)]
struct WrittenReplay {
    attempts: u32,
}

/// Reads what describes a letter.
///
/// # Errors
/// Where it is no document of [`super::SCHEMA`].
pub fn summary(body: &str) -> Result<Summary, DocumentFault> {
    let written: Written = serde_json::from_str(body).map_err(|error| unreadable(&masked_parse_error(&error)))?;
    if written.schema != super::SCHEMA {
        return Err(unreadable("its schema is another one"));
    }
    let rank = |severity: &str| ["error", "warning", "info"].iter().position(|name| *name == severity);
    let enforced = || written.violations.iter().filter(|violation| violation.mode == "enforce");
    // As the letter's attributes have it (`Judged::dead_letter`).
    let decided = enforced().min_by_key(|violation| rank(&violation.severity).unwrap_or(usize::MAX));
    let decided = decided.or(written.violations.first());
    let of = |part: fn(&WrittenViolation) -> &String| decided.map_or_else(|| "unknown".to_owned(), |v| part(v).clone());
    Ok(Summary {
        rule: of(|violation| &violation.rule),
        kind: of(|violation| &violation.kind),
        pointer: decided.map_or_else(String::new, |violation| violation.pointer.clone()),
        rules: enforced().map(|violation| violation.rule.clone()).collect(),
        id: written.id,
        quarantined: written.quarantined_at,
        stream: written.source.stream,
        partition_key: written.source.partition_key,
        domain: written.domain,
        contract: written.contract,
        version: written.version.unwrap_or_default(),
        revision: written.revision,
        attempts: written.replay.map_or(0, |replay| replay.attempts),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &str = r#"{"schema":"meshgate.dlq/v1","id":"1","quarantinedAt":"2026-11-28T09:00:00Z","domain":"orders","contract":"order.placed","version":"1.2.0","revision":"r1","violations":[{"rule":"shadowed","kind":"rule","severity":"error","mode":"shadow"},{"rule":"late","kind":"rule","severity":"warning","mode":"enforce"},{"rule":"schema","kind":"schema","pointer":"/qty","severity":"error","mode":"enforce"}],"source":{"stream":"orders-events"},"replay":{"attempts":2,"history":[]},"payload":{"encoding":"json","bytes":2,"json":{}}}"#;

    #[test]
    fn a_letter_is_described_by_the_violation_that_decided() {
        let letter = summary(BODY).unwrap();
        let Summary { rule, kind, pointer, attempts, .. } = &letter;
        assert_eq!((rule.as_str(), kind.as_str(), pointer.as_str(), *attempts), ("schema", "schema", "/qty", 2));
    }

    #[test]
    fn a_filter_names_what_must_be_so() {
        let letter = summary(BODY).unwrap();
        let at = |text: &str| Timestamp::parse_rfc3339(text);
        let filter = |change: fn(&mut Filter)| {
            let mut filter = Filter { domain: Some("orders".into()), ..Filter::default() };
            change(&mut filter);
            filter.matches(&letter)
        };
        assert!(filter(|_| {}));
        assert!(filter(|filter| filter.version = Some("1.2.0".into())));
        assert!(!filter(|filter| filter.rule = Some("late".into())));
        assert!(Filter { since: at("2026-11-28T09:00:00Z"), ..Filter::default() }.matches(&letter));
        assert!(!Filter { until: at("2026-11-28T09:00:00Z"), ..Filter::default() }.matches(&letter));
    }
}
