//! What a team reads when a rule file is wrong: one golden text for each kind of mistake.
//!
//! `tests/diagnostics/NAME.rules` holds files, each after a line `>>> path`; a good `shop/domain.yaml` is added where none
//! is given, and `>>> contract` stands for a whole contract that the lines after it add to. `NAME.txt` is what `check`
//! (and `test`, for the examples) says; `UPDATE_EXPECT=1` rewrites it.

use std::path::Path;

use expect_test::expect_file;
use meshgate::contract::{self, Diagnostic, RuleFiles, diagnostic};

const DOMAIN: &str = "\
apiVersion: meshgate/v1
kind: Domain
metadata: {name: shop, owner: {team: shop}}
";

const CONTRACT: &str = "\
apiVersion: meshgate/v1
kind: EventContract
metadata: {domain: shop, name: sold, version: 1.0.0, status: active}
match: {stream: shop-*, type: sold}
";

fn files(text: &str) -> RuleFiles {
    let mut files = RuleFiles::from([("shop/domain.yaml".to_owned(), DOMAIN.into())]);
    for section in text.split(">>> ").skip(1) {
        let (path, content) = section.split_once('\n').expect("a path line");
        match path {
            "contract" => files.insert("shop/sold.yaml".to_owned(), format!("{CONTRACT}{content}").into()),
            path => files.insert(path.to_owned(), content.into()),
        };
    }
    files.retain(|_, content| content != b"absent\n");
    files
}

/// What `check` finds, then what `test` finds in what is good.
fn diagnostics(files: &RuleFiles) -> Vec<Diagnostic> {
    let compiled = contract::compile(files, "test");
    let mut diagnostics = compiled.diagnostics;
    for domain in compiled.set.domains() {
        for contract in domain.contracts.values() {
            diagnostics
                .extend(contract.examples().iter().filter_map(|e| contract.try_example(e, &compiled.set).failure));
        }
    }
    diagnostics
}

#[test]
fn each_kind_of_mistake_is_told_as_its_golden_file_says() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/diagnostics");
    let mut cases: Vec<_> = std::fs::read_dir(&dir)
        .expect("the cases are there")
        .map(|entry| entry.expect("readable").path())
        .filter(|path| path.extension().is_some_and(|e| e == "rules"))
        .collect();
    cases.sort();
    assert!(cases.len() > 20, "the cases are there");
    let mut told: Vec<&str> = Vec::new();
    for case in &cases {
        let files = files(&std::fs::read_to_string(case).expect("readable"));
        let diagnostics = diagnostics(&files);
        assert!(!diagnostics.is_empty(), "{}: nothing is wrong", case.display());
        expect_file![case.with_extension("txt")].assert_eq(&diagnostic::text(&diagnostics, &files, "rules/", false));
        told.extend(diagnostics.iter().map(|d| d.code.as_str()));
    }
    let untold: Vec<_> = diagnostic::Code::ALL.iter().map(|c| c.as_str()).filter(|c| !told.contains(c)).collect();
    assert!(untold.is_empty(), "no case shows {untold:?}");
}
