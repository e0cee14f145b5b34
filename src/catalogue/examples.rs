//! Examples as people read them: the event with its private fields masked, and what must become of it.

use std::sync::Arc;

use serde_json::Value;

use super::checks::fact;
use super::html::{Html, joined, piece};
use super::words::count;
use super::written::WrittenDomain;
use crate::contract::{Contract, Domain, Example, SCHEMA_RULE};
use crate::decode::json;
use crate::gate::document::{self, Privacy, PrivateFields};
use crate::model::{Judgement, Record, Verdict};

/// The most examples of one contract.
const EXAMPLES_MAX: usize = 50;

/// The longest event, in characters; the rest is cut.
const EVENT_CHARS_MAX: usize = 20_000;

/// The examples of a contract, up to a bound.
pub(super) fn all(h: &mut Html, domain: &WrittenDomain<'_>, contract: &Contract) {
    let examples = contract.examples();
    for example in examples.iter().take(EXAMPLES_MAX) {
        one(h, domain, contract, example);
    }
    if examples.len() > EXAMPLES_MAX {
        h.paragraph("note", format!("{} more are in {}.", examples.len() - EXAMPLES_MAX, contract.file));
    }
}

fn one(h: &mut Html, domain: &WrittenDomain<'_>, contract: &Contract, example: &Example) {
    let tried = contract.try_example(example, domain.set);
    // Of an event that is another contract's or none, nobody can say which fields are private.
    let is_foreign = ["malformed", "unknown_type"].iter().any(|id| tried.violations.contains(*id));
    let shown = Shown::of(domain.domain, contract, example, is_foreign);
    h.block("details", &[("class", "example")], |h| {
        h.element("summary", &[], |h| {
            h.text(&example.name);
            h.badge(verdict_class(example.verdict), example.verdict.as_str());
            if tried.failure.is_some() {
                h.badge("error", "fails at present");
            }
        });
        h.markup("\n");
        h.block("dl", &[], |h| {
            fact(h, "Expected verdict", |h| {
                h.text(example.verdict.as_str());
            });
            fact(h, "Expected violations", |h| {
                let ids: Vec<Html> = example.violations.iter().map(|id| rule(contract, id)).collect();
                match ids.is_empty() {
                    true => h.text("none"),
                    false => h.add(&joined(&ids, ", ")),
                };
            });
            if example.now.millis() != 0 {
                fact(h, "Judged at", |h| {
                    h.text(example.now);
                });
            }
            if !example.before.is_empty() {
                // They may be other contracts', and hold what is private there.
                fact(h, "Comes after", |h| {
                    h.text(count(example.before.len(), "event")).text(" that the file shows");
                });
            }
            let transport = [
                ("Stream", example.stream.as_deref()),
                ("Partition key", shown.partition_key.as_deref()),
                ("Explicit hash key", shown.explicit_hash_key.as_deref()),
            ];
            for (name, value) in transport {
                if let Some(value) = value {
                    fact(h, name, |h| {
                        h.code(value);
                    });
                }
            }
        });
        match &shown.event {
            Some(event) => {
                h.block("pre", &[], |h| {
                    h.code(event);
                });
            }
            None => {
                let why = "Not shown: private fields cannot be found in an event that no contract here takes.";
                h.paragraph("note", why);
            }
        }
    });
}

/// The id of a rule, as a link where the page tells of it.
fn rule(contract: &Contract, id: &str) -> Html {
    let is_told = id != SCHEMA_RULE && contract.rule_ids().any(|known| known == id);
    let is_policy = contract.checks().iter().any(|check| check.is_policy && &*check.id == id);
    piece(|h| {
        let target = match (is_policy, is_told) {
            (true, _) => format!("#policies/{id}"),
            (_, true) => format!("#{}/{}/{id}", contract.domain, contract.name),
            _ => {
                h.code(id);
                return;
            }
        };
        h.element("a", &[("href", &target)], |h| {
            h.code(id);
        });
    })
}

pub(super) const fn verdict_class(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Forward => "good",
        Verdict::Quarantine => "error",
        Verdict::Drop => "warning",
    }
}

/// What may be shown of an example.
struct Shown {
    /// `None` where it cannot be masked.
    event: Option<String>,
    partition_key: Option<String>,
    explicit_hash_key: Option<String>,
}

impl Shown {
    /// Masked as in the DLQ of a domain that keeps masked copies only: the event's fields, and keys that hold their values.
    fn of(domain: &Domain, contract: &Contract, example: &Example, is_foreign: bool) -> Self {
        if is_foreign && !domain.has_private_fields() {
            let event = match json::parse(&example.bytes) {
                Ok(event) => pretty(&event),
                Err(_) => cut(&String::from_utf8_lossy(&example.bytes)),
            };
            let (partition_key, explicit_hash_key) = (example.partition_key.clone(), example.explicit_hash_key.clone());
            return Self { event: Some(event), partition_key, explicit_hash_key };
        }
        let record = Record {
            partition_key: example.partition_key.clone(),
            explicit_hash_key: example.explicit_hash_key.clone(),
            ..Record::new(example.bytes.clone(), example.stream.as_deref().unwrap_or_default().into(), example.now)
        };
        let judgement = Judgement {
            verdict: example.verdict,
            violations: Vec::new(),
            stamp: Arc::clone(&contract.stamp),
            refuse: false,
        };
        let fields = if is_foreign { PrivateFields::Anywhere } else { PrivateFields::Known(contract.private()) };
        let privacy = Privacy { fields, keep_masked_only: true };
        let body = document::build("", example.now, &record, !is_foreign, &judgement, privacy);
        let document = json::parse(body.as_bytes()).unwrap_or_default();
        let key = |name: &str| document["source"][name].as_str().map(str::to_owned);
        Self {
            event: document["payload"].get("json").map(pretty),
            partition_key: key("partitionKey"),
            explicit_hash_key: key("explicitHashKey"),
        }
    }
}

fn pretty(event: &Value) -> String {
    cut(&serde_json::to_string_pretty(event).unwrap_or_default())
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(EVENT_CHARS_MAX) {
        Some((end, _)) => format!("{}\n… the rest is cut", &text[..end]),
        None => text.to_owned(),
    }
}
