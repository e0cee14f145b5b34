//! The page of a domain whose team writes what it likes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use expect_test::expect_file;

use super::*;
use crate::contract::{self, Compiled};

/// The rule files below a directory of this package.
fn files(directory: &str) -> RuleFiles {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(directory);
    let mut open: Vec<PathBuf> = vec![root.clone()];
    let mut files = RuleFiles::new();
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => open.push(path),
                false => {
                    let name = path.strip_prefix(&root).unwrap().to_str().unwrap().replace('\\', "/");
                    files.insert(name, fs::read(&path).unwrap());
                }
            }
        }
    }
    files
}

fn compiled(files: &RuleFiles) -> Compiled {
    let compiled = contract::compile(files, "sha256:0123456789ab");
    assert!(compiled.is_good(), "{:#?}", compiled.diagnostics);
    compiled
}

fn shop() -> RuleFiles {
    files("src/catalogue/testdata")
}

fn history() -> History {
    let change = |revision: &str, subject: &str, version: Option<&str>| Change {
        revision: revision.to_owned(),
        date: "2026-11-22".to_owned(),
        subject: subject.to_owned(),
        version: version.map(str::to_owned),
    };
    let told = vec![
        change("0123456789ab", "Ask for a total <script>alert('subject')</script>", Some("2.1.0")),
        change("ba9876543210", "Begin", None),
    ];
    History::Git(GitHistory {
        newest: told.first().cloned(),
        changes: BTreeMap::from([("shop/item.sold.yaml".to_owned(), told)]),
        is_cut: BTreeSet::new(),
        uncommitted: BTreeSet::from(["shop/schemas/common.json".to_owned()]),
        is_shallow: true,
    })
}

fn page() -> String {
    let files = shop();
    render(&files, &compiled(&files).set, &history())
}

/// What a page's elements are: each opened and closed in order, ids that are there once, links that lead somewhere.
fn check_form(page: &str) {
    const VOID: [&str; 4] = ["meta", "input", "br", "!DOCTYPE"];
    let (mut open, mut ids, mut links) = (Vec::new(), BTreeSet::new(), Vec::new());
    let mut rest = page;
    while let Some(start) = rest.find('<') {
        assert!(!rest[..start].contains('>'), "a stray > near {:?}", &rest[..start]);
        let end = start + rest[start..].find('>').expect("an end of the tag");
        let tag = &rest[start + 1..end];
        rest = &rest[end + 1..];
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop().as_deref(), Some(name), "closed out of order before {:?}", rest.get(..80));
            continue;
        }
        let (name, attributes) = tag.split_once(' ').unwrap_or((tag, ""));
        for attribute in attributes.split("\" ").filter(|a| a.contains('=')) {
            let (attribute, value) = attribute.split_once("=\"").expect("a value in quotes");
            let value = value.trim_end_matches('"');
            assert!(!attribute.contains(['<', '\'']) && !attribute.starts_with("on"), "{tag}");
            match attribute {
                "id" => assert!(ids.insert(value.to_owned()), "the id {value} is there twice"),
                "href" => links.push(value.to_owned()),
                _ => {}
            }
        }
        if matches!(name, "style" | "script") {
            rest = &rest[rest.find(&format!("</{name}>")).expect("an end") + name.len() + 3..];
        } else if !VOID.contains(&name) {
            open.push(name.to_owned());
        }
    }
    assert_eq!(open, Vec::<String>::new(), "never closed");
    for link in links {
        match link.strip_prefix('#') {
            Some(id) => assert!(ids.contains(id), "no place is called {id}"),
            None => assert!(["https://", "http://", "mailto:"].iter().any(|s| link.starts_with(s)), "{link}"),
        }
    }
}

#[test]
fn the_page_is_this() {
    let page = page();
    check_form(&page);
    expect_file!["../../tests/golden/catalogue.html"].assert_eq(&page);
}

#[test]
fn the_sample_rules_make_a_page() {
    let files = files("rules");
    let set = compiled(&files).set;
    let page = render(&files, &set, &History::None("Not known.".to_owned()));
    check_form(&page);
    for contract in set.domains().flat_map(|domain| domain.contracts.values()) {
        for check in contract.checks() {
            let id = format!("id=\"{}/{}/{}\"", contract.domain, contract.name, check.id);
            assert!(page.contains(&id), "{id} is not told");
        }
    }
    assert!(!page.contains("Ada Lovelace") && !page.contains("ada@example.com"), "private values of examples");
    assert!(page.contains("sha256:") && page.contains("&quot;name&quot;: &quot;***&quot;"));
}

#[test]
fn the_same_rules_give_the_same_bytes() {
    assert_eq!(page(), page());
}

#[test]
fn what_teams_write_is_text() {
    let page = page();
    assert_eq!(page.matches("<script").count(), 1, "only the page's own");
    for word in ["team", "description", "example", "event", "schema", "subject"] {
        assert!(
            page.contains(&format!(
                "&lt;script&gt;alert({quote}{word}",
                quote = if word == "description" { "&quot;" } else { "&#39;" }
            )),
            "{word}"
        );
    }
    assert!(!page.contains("href=\"javascript:") && page.contains("javascript:alert(1)"));
    assert!(page.contains("href=\"https://chat.example.com/?room=checkout&amp;tab=1\""));
    assert!(!page.contains("<img") && !page.contains("<b>"));
}

#[test]
fn no_private_value_is_shown() {
    let page = page();
    for secret in ["secret.person", "Secret Person", "Secret Finder", "Secret Bytes", "secret.sample"] {
        assert!(!page.contains(secret), "{secret}");
    }
    assert_eq!(page.matches("Not shown: private fields cannot be found").count(), 2);
}

#[test]
fn the_policy_allows_this_style_and_this_script_alone() {
    let page = page();
    for (element, directive) in [("style", "style-src"), ("script", "script-src")] {
        let start = page.find(&format!("<{element}>")).unwrap() + element.len() + 2;
        let end = start + page[start..].find(&format!("</{element}>")).unwrap();
        let hash = BASE64.encode(Sha256::digest(&page[start..end]));
        assert!(page.contains(&format!("{directive} &#39;sha256-{hash}&#39;")), "{element}");
    }
    assert!(!STYLE.contains("</") && !SCRIPT.contains("</") && !SCRIPT.contains("<!--"));
}

#[test]
fn files_of_a_contract_are_those_it_refers_to() {
    let files = shop();
    let sources = sources(&files, &compiled(&files).set);
    let sold: Vec<&str> = sources["shop/item.sold.yaml"].iter().map(String::as_str).collect();
    assert_eq!(sold, ["shop/item.sold.yaml", "shop/schemas/common.json", "shop/schemas/item.sold.json"]);
    assert_eq!(sources["shop/item.seen.yaml"].len(), 1);
}

/// Each has its place and its words: none is told by its keys.
#[test]
fn stream_checks_and_breakers_are_told_in_words() {
    let files = shop();
    let compiled = compiled(&files);
    let page = page();
    for contract in compiled.set.domains().flat_map(|domain| domain.contracts.values()) {
        for id in contract.rule_ids().filter(|id| !id.contains('/') && *id != contract::SCHEMA_RULE) {
            let id = format!("id=\"{}/{}/{id}\"", contract.domain, contract.name);
            assert!(page.contains(&id), "{id} is not told");
        }
    }
    for words in [
        "No two events have the same <code>event.id</code> within 24 hours.",
        "<a href=\"#shop/item.seen\">shop/item.seen</a>",
        "The number of events must be between <code>50</code> and <code>5000</code> in each window of 5 minutes.",
        "more than <strong>12.5 %</strong> of at least 100 events of 5 minutes would be quarantined",
    ] {
        assert!(page.contains(words), "{words}");
    }
    assert!(!page.contains("duplicateValues") && !page.contains("mustBe"));
}
