//! The single-pass plan against the strict parser and the `jsonschema` crate. The first byte picks a schema.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use meshgate_core::decode::json;
use meshgate_core::plan::Outcome;
use meshgate_fuzz::Both;

static SCHEMAS: LazyLock<Vec<Both>> = LazyLock::new(Both::all);

fuzz_target!(|data: &[u8]| {
    let Some((pick, event)) = data.split_first() else { return };
    let both = &SCHEMAS[usize::from(*pick) % SCHEMAS.len()];
    let outcome = both.plan.judge(event);
    let tree = json::parse(event);
    let valid = tree.as_ref().is_ok_and(|tree| both.is_valid(tree));
    match &outcome {
        Outcome::Passes(checked) => assert!(valid && tree.as_ref() == Ok(&checked.tree()), "passes by {}", both.text),
        Outcome::Fails => assert!(!valid, "fails by {}", both.text),
        Outcome::Malformed => assert!(tree.is_err(), "malformed by {}", both.text),
        Outcome::Undecided => {}
    }
});
