use std::path::Path;

use clap::Parser;
use expect_test::{Expect, expect};
use tokio::runtime::Runtime;

use super::*;
use crate::model::{DeadLetter, Timestamp};
use crate::port::DeadLetterSink as _;
use crate::sink::local::{LocalOptions, Store};

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    args: DlqArgs,
}

fn sample(path: &Path) -> Store {
    let store = Store::open(path, LocalOptions::default()).unwrap();
    let letter = |id: &str, second: i64, rule: &str, kind: &'static str| DeadLetter {
        document_bytes: None,
        key_hash: None,
        is_kept: false,
        attempts: 0,
        id: id.to_owned(),
        body: "neither JSON nor masked".to_owned(),
        quarantined: Timestamp::from_millis(1_795_341_600_000 + second * 1_000),
        stream: "orders".into(),
        domain: "shop".into(),
        contract: "order.placed".into(),
        rule: rule.into(),
        kind,
        trace: None,
    };
    let letters = [letter("5f3a", 1, "total_is_sum", "rule"), letter("5f3b", 2, "schema", "schema")];
    let letters: Vec<&DeadLetter> = letters.iter().collect();
    let answers = Runtime::new().unwrap().block_on(async { store.send("dlq", &letters).await });
    assert!(answers.iter().all(Result::is_ok));
    store
}

fn dlq(path: &Path, words: &[&str]) -> Result<String, String> {
    let mut line = vec!["dlq", "--data", path.to_str().unwrap()];
    line.extend(words);
    let args = Cli::try_parse_from(line).map_err(|fault| fault.to_string())?.args;
    let mut out = Vec::new();
    execute(&args, &mut out).map_err(|fault| fault.to_string())?;
    Ok(String::from_utf8(out).unwrap())
}

fn check(words: &[&str], expected: Expect) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.db");
    let _store = sample(&path);
    let shown = dlq(&path, words).unwrap_or_else(|told| format!("error: {told}\n"));
    expected.assert_eq(&shown);
}

#[test]
fn listing_for_people_and_programs() {
    check(
        &["ls", "--format", "table"],
        expect![[r#"
            ID    QUARANTINED               STREAM  DOMAIN  CONTRACT      RULE          KIND
            5f3b  2026-11-22T10:00:02.000Z  orders  shop    order.placed  schema        schema
            5f3a  2026-11-22T10:00:01.000Z  orders  shop    order.placed  total_is_sum  rule

            2 of 2 dead letters; `meshgate dlq show ID` tells why
        "#]],
    );
    check(
        &["ls", "--format", "json", "--limit", "1"],
        expect![[r#"
        {"id":"5f3b","quarantined":"2026-11-22T10:00:02.000Z","queue":"dlq","stream":"orders","domain":"shop","contract":"order.placed","rule":"schema","kind":"schema"}
    "#]],
    );
    check(
        &["ls", "--format", "table", "--kind", "rule", "--domain", "shop"],
        expect![[r#"
            ID    QUARANTINED               STREAM  DOMAIN  CONTRACT      RULE          KIND
            5f3a  2026-11-22T10:00:01.000Z  orders  shop    order.placed  total_is_sum  rule

            1 of 1 dead letters; `meshgate dlq show ID` tells why
        "#]],
    );
    check(&["ls", "--format", "json", "--rule", "other"], expect![[r#""#]]);
}

#[test]
fn a_kind_that_is_none_names_those_that_are() {
    let folder = tempfile::tempdir().unwrap();
    let told = dlq(&folder.path().join("m.db"), &["ls", "--kind", "wrong"]).unwrap_err();
    assert!(told.contains("malformed") && told.contains("evaluation_error"), "{told}");
}

#[test]
fn letters_that_cannot_be_shown() {
    check(
        &["show", "5f"],
        expect![[r#"
        error: several dead letters' ids begin with "5f", such as 5f3a, 5f3b; give more of it
    "#]],
    );
    check(
        &["show", "77"],
        expect![[r#"
        error: there is no dead letter whose id begins with "77"; `meshgate dlq ls` lists those there are
    "#]],
    );
    let folder = tempfile::tempdir().unwrap();
    let told = dlq(&folder.path().join("m.db"), &["show", "5f3a"]).unwrap_err();
    assert!(told.contains("meshgate run") && told.contains("--data"), "{told}");
}

#[test]
fn a_document_that_is_none_is_not_shown_unmasked() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.db");
    let _store = sample(&path);
    let told = dlq(&path, &["show", "5f3a"]).unwrap_err();
    assert!(told.contains("dead letter 5f3a cannot be shown") && !told.contains("neither JSON"), "{told}");
}
