//! The examples of one contract's file. They are run by `meshgate test`; here only what cannot be run is a fault.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::Value;

use super::file::RuleFile;
use crate::contract::diagnostic::Code;
use crate::contract::example::Example;
use crate::contract::judged::RESERVED_IDS;
use crate::contract::written::ExampleFile;
use crate::model::Timestamp;
use crate::rule::did_you_mean;
use crate::rule::pointer::Pointer;

/// Compiles all examples; `ids` are those of the contract's fields and rules.
pub(super) fn compile(file: &RuleFile<'_>, ids: &BTreeSet<String>) -> Vec<Example> {
    let root = Pointer::root().child("examples");
    let mut names: BTreeSet<Arc<str>> = BTreeSet::new();
    let mut examples = Vec::new();
    for index in 0..file.length(&root) {
        let at = root.child(index.to_string());
        let Some(written) = file.part::<ExampleFile>(&at) else { continue };
        if !names.insert(written.name.clone()) {
            let message = format!("the contract has two examples called {:?}", written.name);
            file.fault(&at.child("name"), Code::DuplicateId, message, None);
        }
        check_ids(file, &at.child("expect").child("violations"), &written.expect.violations, ids);
        let now = now(file, &at.child("now"), written.now.as_deref());
        let bytes = match (written.event, written.raw) {
            (Some(event), None) => event.to_string().into_bytes(),
            (None, Some(raw)) => raw.into_bytes(),
            (both, _) => {
                let message =
                    if both.is_some() { "an example has event or raw, not both" } else { "the example has no event" };
                let hint = "event: is any JSON value; raw: is text for what is not JSON";
                file.fault(&at.child("name"), Code::InvalidValue, message, Some(hint.to_owned()));
                continue;
            }
        };
        examples.push(Example {
            name: written.name,
            now,
            bytes,
            stream: written.stream,
            before: written.before.iter().map(Value::to_string).collect(),
            partition_key: written.record.partition_key,
            explicit_hash_key: written.record.explicit_hash_key,
            verdict: written.expect.verdict,
            violations: written.expect.violations.into_iter().collect(),
            place: file.key_place(&at.child("expect")),
        });
    }
    examples
}

fn check_ids(file: &RuleFile<'_>, at: &Pointer, expected: &[String], ids: &BTreeSet<String>) {
    for (index, id) in expected.iter().enumerate() {
        let known = || ids.iter().map(String::as_str).chain(RESERVED_IDS);
        if !known().any(|known| known == id) {
            let hint = did_you_mean(id, known())
                .or_else(|| Some(format!("its rules are {}", known().collect::<Vec<_>>().join(", "))));
            let message = format!("the contract has no rule `{id}`");
            file.fault(&at.child(index.to_string()), Code::UnknownRule, message, hint);
        }
    }
}

fn now(file: &RuleFile<'_>, at: &Pointer, text: Option<&str>) -> Timestamp {
    let Some(text) = text else { return Timestamp::default() };
    Timestamp::parse_rfc3339(text).unwrap_or_else(|| {
        let hint = "write it as 2026-11-22T10:00:05Z".to_owned();
        file.fault(at, Code::InvalidValue, "`now` is no time as in RFC 3339", Some(hint));
        Timestamp::default()
    })
}
