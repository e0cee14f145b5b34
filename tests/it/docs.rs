//! The pages of the documentation: every link between files leads somewhere, every command runs as written, and what the
//! guides say to write is what the gate takes.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::{Gate, GateOptions, binary, repository, run, temporary};

/// README and its kin, and the pages under docs/.
fn pages() -> Vec<PathBuf> {
    let mut pages: Vec<PathBuf> =
        ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md"].map(|name| repository().join(name)).into();
    let docs = std::fs::read_dir(repository().join("docs")).expect("docs/");
    pages.extend(
        docs.map(|entry| entry.expect("an entry").path()).filter(|path| path.extension() == Some("md".as_ref())),
    );
    pages
}

fn page(name: &str) -> String {
    std::fs::read_to_string(repository().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The blocks of a language, without the indentation of the list they may stand in.
fn blocks(page: &str, language: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        let Some(opened) = line.trim_start().strip_prefix("```").filter(|opened| !opened.is_empty()) else { continue };
        let indent = line.len() - line.trim_start().len();
        let inside = lines.by_ref().take_while(|line| line.trim() != "```");
        let block: String = inside.map(|line| format!("{}\n", line.get(indent..).unwrap_or_default())).collect();
        if opened == language {
            blocks.push(block);
        }
    }
    blocks
}

#[test]
fn every_link_to_a_file_leads_to_one() {
    let (mut links, mut broken) = (0, Vec::new());
    for page in pages() {
        let text = std::fs::read_to_string(&page).expect("a page");
        let directory = page.parent().expect("a directory");
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let path = target.split('#').next().unwrap_or_default();
            if path.is_empty() || path.contains("://") || path.starts_with("mailto:") {
                continue;
            }
            links += 1;
            if !directory.join(path).exists() {
                broken.push(format!("{}: {target}", page.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
    assert!(links > 5, "the pages link to each other; {links} links were found");
}

#[test]
fn every_command_for_producers_gets_an_answer() {
    let gate = Gate::start(GateOptions { rules: repository().join("rules"), ..GateOptions::default() });
    let home = temporary();
    std::fs::write(home.path().join("events.ndjson"), "{\"type\":\"order.placed\"}\n{\"type\":\"nobody.knows\"}\n")
        .expect("a file");
    let commands = blocks(&page("docs/producers.md"), "sh").join("\n");
    let calls = commands.matches("curl ").count();
    assert!(calls >= 3, "{commands}");
    let mut bash = Command::new("bash");
    bash.arg("-euc").arg(commands.replace("http://127.0.0.1:4570", &gate.endpoint())).current_dir(home.path());
    let output = run(&mut bash);
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}\n{err}");
    let answers: Vec<serde_json::Value> =
        serde_json::Deserializer::from_str(&out).into_iter().collect::<Result<_, _>>().expect("JSON answers");
    assert_eq!(answers.len(), calls, "{out}");
    for answer in answers {
        let judged = answer["outcomes"].as_array().or_else(|| answer["judgements"].as_array());
        assert!(judged.is_some_and(|judged| !judged.is_empty()), "{answer:#}");
    }
}

fn meshgate(arguments: &[&str], directory: &Path) -> (Option<i32>, String) {
    let output = run(Command::new(binary()).args(arguments).current_dir(directory));
    let told = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&told).into_owned())
}

#[test]
fn what_the_guide_to_contracts_writes_is_good() {
    let guide = page("docs/contracts.md");
    let home = temporary();
    let domain = home.path().join("rules/customers");
    std::fs::create_dir_all(domain.join("schemas")).expect("a directory");
    let yaml = blocks(&guide, "yaml");
    assert!(yaml.len() >= 2 && yaml[0].contains("kind: Domain") && yaml[1].contains("kind: EventContract"), "{yaml:?}");
    std::fs::write(domain.join("domain.yaml"), &yaml[0]).expect("a file");
    std::fs::write(domain.join("customer.created.yaml"), &yaml[1]).expect("a file");
    std::fs::write(domain.join("schemas/customer.created.v1.json"), &blocks(&guide, "json")[0]).expect("a file");
    let odcs = yaml.iter().find(|block| block.contains("kind: DataContract")).expect("an ODCS contract");
    std::fs::write(domain.join("customer.closed.odcs.yaml"), odcs).expect("a file");
    for command in ["check", "test"] {
        let (code, told) = meshgate(&[command], home.path());
        assert_eq!(code, Some(0), "{command}: {told}");
    }

    // And the fault the guide shows is told in the words it shows.
    let shown = &blocks(&guide, "text")[0];
    let slip = yaml[1].replace("    message:", "    sevrity: warning\n    message:");
    std::fs::write(domain.join("customer.created.yaml"), slip).expect("a file");
    let (code, told) = meshgate(&["check"], home.path());
    assert_eq!(code, Some(1));
    for line in [shown.lines().next().expect("a line"), shown.lines().last().expect("a line")] {
        assert!(told.contains(line.trim()), "{line:?} is not in\n{told}");
    }
}

#[test]
fn the_settings_the_guide_to_operation_shows_are_taken() {
    let settings = blocks(&page("docs/operators.md"), "yaml");
    assert!(!settings.is_empty());
    for text in settings {
        let home = temporary();
        std::fs::write(home.path().join("meshgate.yaml"), text).expect("a file");
        // Settings are read first: what is missing next is told when they are good.
        let (code, told) = meshgate(&["run", "--rules", "not-there"], home.path());
        assert_eq!(code, Some(2));
        assert!(told.contains("not-there") && !told.contains("meshgate.yaml"), "{told}");
    }
}
