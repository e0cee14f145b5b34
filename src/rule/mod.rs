//! What can be wrong with an event: the rule kinds, each compiled once and then applied to many events.
//!
//! * [`schema`]: the shape, JSON Schema.
//! * [`field`]: one value, an ODCS library metric.
//! * [`expr`]: a business rule, CEL.
//! * [`stream`]: what checks that remember look at.
//! * [`capture`]: what rules read of an event, and where one pass over its bytes found it.
//! * [`mod@reference`]: lists of known values that fields are checked against.
//! * [`mask`]: what may not be shown of an event.
//! * [`number_types`]: what the schema calls a payload's numbers.
//! * [`kinds`]: which kinds of value the schema allows in a payload.
//! * [`mod@pointer`]: where in an event something is.
//!
//! Compiling is where a rule is refused: whatever would be unbounded, unknown or meaningless is a fault of the rule file,
//! with a hint, not a surprise on live traffic. Applying never fails, never panics, takes bounded time, and writes no
//! payload value into what it says.

pub mod capture;
pub mod expr;
pub mod field;
pub mod kinds;
pub mod mask;
pub(crate) mod number;
pub mod number_types;
pub mod pointer;
pub mod reference;
pub mod schema;
pub mod stream;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::model::{Record, Timestamp};

/// What a rule may know of the record that carried the event: `record` in expressions.
#[derive(Debug, Clone, Copy)]
pub struct RecordFacts<'a> {
    pub stream: &'a str,
    pub partition_key: Option<&'a str>,
    pub explicit_hash_key: Option<&'a str>,
    pub arrived: Timestamp,
    /// Of the record's data, in bytes.
    pub size: usize,
}

impl<'a> RecordFacts<'a> {
    pub fn of(record: &'a Record) -> Self {
        Self {
            stream: &record.stream,
            partition_key: record.partition_key.as_deref(),
            explicit_hash_key: record.explicit_hash_key.as_deref(),
            arrived: record.arrived,
            size: record.data.len(),
        }
    }
}

/// Everything a rule may look at.
#[derive(Debug, Clone, Copy)]
pub struct Scope<'a> {
    /// The payload: the event, or the part of it that the contract's `payload.pointer` names.
    pub this: &'a Value,
    /// The whole event.
    pub event: &'a Value,
    pub record: RecordFacts<'a>,
    /// The time of the judgement, passed in.
    pub now: Timestamp,
}

/// One thing found wrong, before the contract adds whose rule it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// JSON Pointer into the whole event.
    pub pointer: String,
    /// For the producer's developer. Carries no payload value.
    pub message: String,
}

/// What a violation leads to, as `on_fail` says it. Left out, severity decides: an error quarantines, others warn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnFail {
    Quarantine,
    /// Counted and shown; the event is forwarded.
    Warn,
    Drop,
}

/// A regular expression that runs in linear time and compiles to at most `size_max` bytes.
///
/// # Errors
///
/// What is wrong with the pattern, to be read after "the pattern", and a hint.
pub(crate) fn compile_pattern(pattern: &str, size_max: usize) -> Result<regex::Regex, (String, Option<String>)> {
    let error = match regex::RegexBuilder::new(pattern).size_limit(size_max).build() {
        Ok(regex) => return Ok(regex),
        Err(error) => error,
    };
    let text = error.to_string();
    Err(match error {
        regex::Error::CompiledTooBig(_) => (
            format!("compiles to more than {} KiB", size_max / 1024),
            Some("shorten it, or lower the counts of its repetitions".to_owned()),
        ),
        _ if text.contains("look-around") => (
            "uses look-around, which does not run in linear time".to_owned(),
            Some("state the two conditions apart: two patterns, or a rule with !matches()".to_owned()),
        ),
        _ if text.contains("backreferences") => (
            "uses a back-reference, which does not run in linear time".to_owned(),
            Some("compare the parts in a rule instead".to_owned()),
        ),
        // The last line of the crate's message is the reason; those before it draw the place.
        _ => {
            let reason = text.lines().last().unwrap_or_default();
            (format!("is no regular expression: {}", reason.strip_prefix("error: ").unwrap_or(reason)), None)
        }
    })
}

/// The name of `candidates` nearest to `name`, when it is near enough that the author probably meant it.
pub(crate) fn did_you_mean<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let allowed = 1 + name.chars().count() / 4;
    candidates
        .into_iter()
        .map(|candidate| (distance(name, candidate), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min()
        .map(|(_, candidate)| format!("did you mean {candidate:?}?"))
}

/// Levenshtein's distance, letters' case ignored.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.to_lowercase().chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.to_lowercase().chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_suggested_and_far_ones_are_not() {
        let known = ["startsWith", "size", "matches"];
        assert_eq!(did_you_mean("startWith", known), Some("did you mean \"startsWith\"?".to_owned()));
        assert_eq!(did_you_mean("startswith", known), Some("did you mean \"startsWith\"?".to_owned()));
        assert_eq!(did_you_mean("frobnicate", known), None);
    }
}
