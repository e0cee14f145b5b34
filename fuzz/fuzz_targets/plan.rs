//! The single-pass plan against the strict parser and the `jsonschema` crate. The first byte picks a schema.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use meshgate_core::decode::json;
use meshgate_core::plan::Outcome;
use meshgate_core::rule::capture::Captures;
use meshgate_fuzz::Both;

/// Past so many findings, which of them are told may differ.
const LIMIT: usize = 100;

static SCHEMAS: LazyLock<Vec<Both>> = LazyLock::new(Both::all);

fuzz_target!(|data: &[u8]| {
    let Some((pick, event)) = data.split_first() else { return };
    let both = &SCHEMAS[usize::from(*pick) % SCHEMAS.len()];
    let tree = json::parse(event);
    let Ok(text) = json::text(event) else { return };
    let outcome = both.plan.judge(text, &mut Captures::default(), LIMIT);
    let findings = tree.as_ref().map(|tree| both.findings(tree, LIMIT)).unwrap_or_default();
    match &outcome {
        Outcome::Passes(checked) => {
            assert!(findings.is_empty() && tree.as_ref() == Ok(&checked.tree()), "passes by {}", both.text);
        }
        Outcome::Fails(_, told) if told.len() < LIMIT => assert_eq!(told, &findings, "fails by {}", both.text),
        Outcome::Fails(..) => assert!(!findings.is_empty(), "fails by {}", both.text),
        Outcome::Malformed => assert!(tree.is_err(), "malformed by {}", both.text),
        Outcome::Undecided => {}
    }
});
