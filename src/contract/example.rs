//! Examples: unit tests that stand beside the rules they test, and run through the same code as live events.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::Value;

use super::diagnostic::{Code, Diagnostic, Place};
use super::judged::Contract;
use super::remembering::Recall;
use super::ruling::Ruling;
use super::set::{ContractSet, Routed};
use super::states::States;
use super::typed::fixed_type;
use super::written::UnknownType;
use crate::decode::json::{self, Malformed};
use crate::memory::{Delivery, Turn};
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
    /// Events that come before it, written compactly.
    pub before: Vec<String>,
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
    /// event, then every rule, those that remember what came before among them. `set` is the contract's own.
    pub fn try_example(&self, example: &Example, set: &ContractSet) -> Tried {
        let mut forgotten = Vec::new();
        let (verdict, found) = self.outcome(example, set, &mut forgotten);
        let violations: BTreeSet<String> = found.iter().map(|(id, _)| id.clone()).collect();
        let failure = (verdict != example.verdict || violations != example.violations)
            .then(|| failure(example, verdict, &violations, &found, &forgotten));
        Tried { verdict, violations, failure }
    }

    /// The verdict, and the id and message of each violation. What came before and was not remembered is added to `forgotten`.
    fn outcome(
        &self,
        example: &Example,
        set: &ContractSet,
        forgotten: &mut Vec<String>,
    ) -> (Verdict, Vec<(String, String)>) {
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
            let verdict = match set.domain(&self.domain).map(|domain| domain.unknown_type) {
                Some(UnknownType::Forward) => Verdict::Forward,
                Some(UnknownType::Quarantine | UnknownType::Refuse) | None => Verdict::Quarantine,
            };
            return (verdict, of_gate("unknown_type", reason));
        }
        let record = self.record_of(example);
        let states = States::fresh(set, example.now);
        for (number, before) in example.before.iter().enumerate() {
            let facts = RecordFacts { size: before.len(), ..record };
            let number = number as u64 + 1;
            if let Err(why) = remember(before, &facts, (number, example.now), set, &states) {
                forgotten.push(format!("event {number} of `before` is not remembered: {why}"));
            }
        }
        let delivery = Delivery { source: u64::MAX, turn: Turn::in_request(0) };
        let recall = states.of(self).map(|states| Recall { states, delivery });
        match self.judge(text, &record, example.now, recall) {
            Ok(Ruling { verdict, violations, .. }) => {
                (verdict, violations.into_iter().map(|v| (v.rule.to_string(), v.message)).collect())
            }
            Err(fault) => malformed(fault),
        }
    }

    fn record_of<'e>(&'e self, example: &'e Example) -> RecordFacts<'e> {
        let plain = self.stream.as_ref().filter(|glob| glob.is_plain()).map(|glob| glob.as_str());
        RecordFacts {
            stream: example.stream.as_deref().or(plain).unwrap_or("example"),
            partition_key: example.partition_key.as_deref(),
            explicit_hash_key: example.explicit_hash_key.as_deref(),
            arrived: example.now,
            size: example.bytes.len(),
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

/// Lets an event go through the contract of the set that takes it: of its own stream, or of any. Or says why it leaves nothing behind.
fn remember(
    text: &str,
    record: &RecordFacts<'_>,
    (request, now): (u64, Timestamp),
    set: &ContractSet,
    states: &States,
) -> Result<(), String> {
    let event = json::parse(text.as_bytes()).map_err(|malformed| malformed.to_string())?;
    let mut all = set.domains().flat_map(|domain| domain.contracts.values()).filter(|contract| contract.is_live());
    let contract = match set.route(record.stream, &event, None) {
        Routed::Contract(contract) => Some(contract),
        Routed::Unknown { .. } => all.find(|contract| contract.refuses(None, &event).is_none()),
    };
    let contract = contract.ok_or("no contract takes it")?;
    let delivery = Delivery { source: request, turn: Turn::in_request(0) };
    let recall = states.of(contract).map(|states| Recall { states, delivery });
    match contract.judge(text, record, now, recall) {
        Ok(Ruling { verdict: Verdict::Forward, observed, .. }) => {
            observed.settle();
            Ok(())
        }
        Ok(Ruling { verdict, violations, .. }) => {
            let rules: Vec<&str> = violations.iter().map(|violation| &*violation.rule).collect();
            Err(format!("{}/{} says {}, for {}", contract.domain, contract.name, verdict.as_str(), rules.join(", ")))
        }
        Err(malformed) => Err(malformed.to_string()),
    }
}

/// Says how the outcome differs from what was expected. The messages are those of an example, which its author wrote.
fn failure(
    example: &Example,
    verdict: Verdict,
    violations: &BTreeSet<String>,
    found: &[(String, String)],
    forgotten: &[String],
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
    let told = found.iter().filter(|(id, _)| unexpected.contains(&id)).map(|(id, message)| format!("{id}: {message}"));
    let told: Vec<String> = told.chain(forgotten.iter().cloned()).collect();
    let hint = (!told.is_empty()).then(|| told.join("; "));
    Diagnostic::new(example.place.clone(), Code::ExampleFails, message).with_hint(hint)
}
