//! The sample domains in `rules/` are as good as we ask others to be: no fault, no warning, every example comes out, and
//! every rule is failed by some example.

use std::collections::BTreeSet;
use std::path::Path;

use meshgate::config::rules;
use meshgate::contract::{self, diagnostic};

#[test]
fn the_sample_domains_are_good_and_every_rule_is_tested() {
    let files = rules::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("rules")).expect("the samples are there");
    let compiled = contract::compile(&files, "test");
    assert_eq!(diagnostic::text(&compiled.diagnostics, &files, "rules/", false), "");
    let names: Vec<_> = compiled.set.domains().map(|d| d.name.to_string()).collect();
    assert_eq!(names, ["customers", "orders"]);

    for domain in compiled.set.domains() {
        for contract in domain.contracts.values() {
            let mut failed = BTreeSet::new();
            for example in contract.examples() {
                let tried = contract.try_example(example, &compiled.set);
                let told: Vec<_> = tried.failure.into_iter().collect();
                assert_eq!(diagnostic::text(&told, &files, "rules/", false), "");
                failed.extend(tried.violations);
            }
            let untested: Vec<_> = contract.rule_ids().filter(|id| !failed.contains(*id)).collect();
            assert!(untested.is_empty(), "{}: no example fails {untested:?}", contract.name);
        }
    }
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config { cases: 200, failure_persistence: None, ..Default::default() })]

    /// A slip of the pen anywhere in a rule file is told or is harmless; it never brings the gate down.
    #[test]
    fn no_slip_in_a_rule_file_panics(which in 0..100_usize, at in 0..100_000_usize, cut in 0..20_usize, put in "[ -~\n\u{e9}]{0,4}") {
        let mut files = rules::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("rules")).expect("the samples are there");
        let name = files.keys().nth(which % files.len()).expect("in range").clone();
        let bytes = files.get_mut(&name).expect("there");
        let at = at % bytes.len();
        let end = (at + cut).min(bytes.len());
        bytes.splice(at..end, put.bytes());
        let compiled = contract::compile(&files, "test");
        for domain in compiled.set.domains() {
            for contract in domain.contracts.values() {
                contract.examples().iter().for_each(|e| drop(contract.try_example(e, &compiled.set)));
            }
        }
        for colour in [false, true] {
            diagnostic::text(&compiled.diagnostics, &files, "rules/", colour);
        }
        diagnostic::sarif(&compiled.diagnostics, "rules/");
        diagnostic::json(&compiled.diagnostics, "rules/");
    }
}
