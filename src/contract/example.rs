//! Examples: unit tests that stand beside the rules they test, and run through the same code as live events.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::Value;

use super::diagnostic::{Code, Diagnostic, Place};
use super::judged::Contract;
use super::set::Domain;
use super::typed::fixed_type;
use super::written::UnknownType;
use crate::decode::json::{self, Malformed};
use crate::model::{Timestamp, Verdict};
use crate::rule::RecordFacts;

/// One event and what must become of it.
#[derive(Debug, Clone)]
pub struct Example {
    pub name: Arc<str>,
    pub now: Timestamp,
    /// The event's bytes: JSON written compactly, or whatever `raw` holds.
    pub bytes: Vec<u8>,
    /// As written; `None` leaves the stream open.
    pub stream: Option<String>,
    pub partition_key: Option<String>,
    pub explicit_hash_key: Option<String>,
    pub verdict: Verdict,
    pub violations: BTreeSet<String>,
    /// Of its `expect`.
    pub place: Place,
}

/// What became of an example.
#[derive(Debug, Clone)]
pub struct Tried {
    pub verdict: Verdict,
    /// Ids of the rules it violated.
    pub violations: BTreeSet<String>,
    /// Why it fails; `None` when all is as expected.
    pub failure: Option<Diagnostic>,
}

impl Contract {
    pub fn examples(&self) -> &[Example] {
        &self.examples
    }

    /// Judges an example as the gate would judge its bytes: a strict parse, the question whether this contract takes the
    /// event, then every rule. `domain` is the contract's own.
    pub fn try_example(&self, example: &Example, domain: &Domain) -> Tried {
        let (verdict, found) = self.outcome(example, domain);
        let violations: BTreeSet<String> = found.iter().map(|(id, _)| id.clone()).collect();
        let failure = (verdict != example.verdict || violations != example.violations)
            .then(|| failure(example, verdict, &violations, &found));
        Tried { verdict, violations, failure }
    }

    /// The verdict, and the id and message of each violation.
    fn outcome(&self, example: &Example, domain: &Domain) -> (Verdict, Vec<(String, String)>) {
        let of_gate = |id: &str, message: String| vec![(id.to_owned(), message)];
        let malformed = |malformed: Malformed| (Verdict::Quarantine, of_gate("malformed", malformed.to_string()));
        let text = match json::text(&example.bytes) {
            Ok(text) => text,
            Err(fault) => return malformed(fault),
        };
        let event = match json::parse(&example.bytes) {
            Ok(event) => event,
            Err(fault) => return malformed(fault),
        };
        if let Some(reason) = self.refuses(example.stream.as_deref(), &event) {
            let verdict = match domain.unknown_type {
                UnknownType::Forward => Verdict::Forward,
                UnknownType::Quarantine | UnknownType::Refuse => Verdict::Quarantine,
            };
            return (verdict, of_gate("unknown_type", reason));
        }
        let plain = self.stream.as_ref().filter(|glob| glob.is_plain()).map(|glob| glob.as_str());
        let record = RecordFacts {
            stream: example.stream.as_deref().or(plain).unwrap_or("example"),
            partition_key: example.partition_key.as_deref(),
            explicit_hash_key: example.explicit_hash_key.as_deref(),
            arrived: example.now,
            size: example.bytes.len(),
        };
        match self.judge(text, &record, example.now) {
            Ok((verdict, violations)) => {
                (verdict, violations.into_iter().map(|v| (v.rule.to_string(), v.message)).collect())
            }
            Err(fault) => malformed(fault),
        }
    }

    /// Why such an event would not come to this contract.
    fn refuses(&self, stream: Option<&str>, event: &Value) -> Option<String> {
        if let (Some(glob), Some(stream)) = (&self.stream, stream)
            && !glob.matches(stream)
        {
            return Some(format!("its stream {stream:?} is not one of match.stream {glob}"));
        }
        let wanted = self.event_type.as_deref()?;
        let found = fixed_type(event, Some(&self.type_pointer)).flatten();
        (found != Some(wanted)).then(|| match found {
            Some(found) => format!("its type is {found:?}, not match.type {wanted:?}"),
            None => format!("it names no type, neither as a CloudEvent nor at {}", self.type_pointer),
        })
    }
}

/// Says how the outcome differs from what was expected. The messages are those of an example, which its author wrote.
fn failure(
    example: &Example,
    verdict: Verdict,
    violations: &BTreeSet<String>,
    found: &[(String, String)],
) -> Diagnostic {
    let mut message = format!("example {:?} fails:", &*example.name);
    if verdict != example.verdict {
        message += &format!(" verdict {}, expected {};", verdict.as_str(), example.verdict.as_str());
    }
    let list = |ids: Vec<&String>| ids.iter().map(|id| id.as_str()).collect::<Vec<_>>().join(", ");
    let missing: Vec<_> = example.violations.difference(violations).collect();
    if !missing.is_empty() {
        message += &format!(" not violated: {};", list(missing));
    }
    let unexpected: Vec<_> = violations.difference(&example.violations).collect();
    if !unexpected.is_empty() {
        message += &format!(" violated, though not expected: {};", list(unexpected.clone()));
    }
    message.pop();
    let told: Vec<String> = found
        .iter()
        .filter(|(id, _)| unexpected.contains(&id))
        .map(|(id, message)| format!("{id}: {message}"))
        .collect();
    let hint = (!told.is_empty()).then(|| told.join("; "));
    Diagnostic::new(example.place.clone(), Code::ExampleFails, message).with_hint(hint)
}
