//! The shape of the code, enforced: the module order of `src/lib.rs`, and the purity of the core.
//!
//! Source files are read as text. An import is a path that starts with `crate::`, in a `use` or in place.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// What each module may import: what stands below it, never a sibling. Lowest first.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("memory", &["model"]),
    ("lease", &["model"]),
    ("decode", &["model"]),
    ("rule", &["model", "memory"]),
    ("plan", &["model", "decode", "rule"]),
    ("contract", &["model", "memory", "decode", "rule", "plan"]),
    ("gate", &["model", "memory", "decode", "rule", "plan", "contract"]),
    ("infer", &["model", "decode", "rule", "plan", "contract"]),
    ("export", &["model", "decode", "rule", "plan", "contract"]),
    ("diff", &["model", "decode", "rule", "plan", "contract", "gate"]),
    ("catalogue", &["model", "decode", "rule", "contract", "gate"]),
    ("port", &["model", "lease"]),
    ("metrics", &["model"]),
    ("trace", &["model", "metrics"]),
    ("aws", &["model", "port"]),
    ("source", &["model", "lease", "decode", "port", "metrics", "trace", "aws"]),
    ("sink", &["model", "lease", "port", "metrics", "trace", "aws"]),
    ("config", &["model", "lease", "decode", "rule", "contract", "gate", "trace", "source", "sink"]),
    (
        "pipeline",
        &[
            "model", "memory", "lease", "decode", "rule", "contract", "gate", "diff", "port", "metrics", "trace",
            "aws", "source", "sink", "config",
        ],
    ),
    ("admin", &["model", "memory", "contract", "gate", "metrics", "config", "pipeline"]),
    (
        "cli",
        &[
            "model",
            "memory",
            "decode",
            "rule",
            "contract",
            "gate",
            "infer",
            "export",
            "diff",
            "catalogue",
            "port",
            "metrics",
            "source",
            "sink",
            "config",
            "pipeline",
            "admin",
        ],
    ),
];

/// Synchronous, and blind to the world: time, bytes and randomness are passed in.
const CORE: &[&str] =
    &["model", "memory", "lease", "decode", "rule", "plan", "contract", "gate", "infer", "export", "diff", "catalogue"];

/// What a pure module has no business naming.
const IMPURE: &[&str] = &[
    "std::fs",
    "std::net",
    "std::env",
    "std::process",
    "std::thread",
    "stdin()",
    "SystemTime",
    "Instant::now",
    "Utc::now",
    "Local::now",
    "tokio::",
    "hyper::",
    "tracing::",
    "prometheus::",
    "fastrand::",
    "rusqlite::",
    "aws_sdk",
    "RandomState::new",
    "async fn",
    "println!",
    "eprintln!",
];

const LINES_MAX: usize = 500;

struct Source {
    path: PathBuf,
    module: String,
    /// The code above the file's test module, comments left out.
    code: Vec<(usize, String)>,
    lines: usize,
}

fn sources() -> Vec<Source> {
    fn walk(dir: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(dir).expect("src is readable") {
            let path = entry.expect("src is readable").path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|e| e == "rs") && !path.ends_with("tests.rs") {
                found.push(path);
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    walk(&root, &mut found);
    found.sort();
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).expect("source is UTF-8");
        let path = path.strip_prefix(&root).expect("below src").to_owned();
        let first = path.components().next().expect("a name").as_os_str().to_string_lossy().into_owned();
        let module = first.trim_end_matches(".rs").to_owned();
        Source { module, code: production_code(&text), lines: text.lines().count(), path }
    };
    found.into_iter().map(read).collect()
}

fn production_code(text: &str) -> Vec<(usize, String)> {
    text.lines()
        .enumerate()
        .take_while(|(_, line)| !line.starts_with("#[cfg(test)]"))
        .map(|(number, line)| (number + 1, line.split("//").next().unwrap_or_default().to_owned()))
        .collect()
}

fn imports(code: &str) -> Vec<String> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices("crate::")
        .filter(|(at, _)| !code[..*at].ends_with(|c| is_word(c) || c == '$'))
        .map(|(at, found)| code[at + found.len()..].chars().take_while(|c| is_word(*c)).collect::<String>())
        .filter(|name| !name.is_empty())
        .collect()
}

#[test]
fn modules_import_only_downwards() {
    let allowed: BTreeMap<&str, &[&str]> = MAY_IMPORT.iter().copied().collect();
    let mut wrong = Vec::new();
    for source in sources().iter().filter(|s| !matches!(s.module.as_str(), "main" | "lib")) {
        let may = allowed.get(source.module.as_str()).unwrap_or_else(|| {
            panic!("module {} is new: give it a place in src/lib.rs and in this test", source.module)
        });
        for (line, code) in &source.code {
            for import in imports(code).iter().filter(|i| **i != source.module && !may.contains(&i.as_str())) {
                wrong.push(format!("src/{}:{line}: {} imports {import}", source.path.display(), source.module));
            }
        }
    }
    assert!(wrong.is_empty(), "imports against the order of src/lib.rs:\n{}", wrong.join("\n"));
}

#[test]
fn the_core_is_pure() {
    let mut wrong = Vec::new();
    for source in sources().iter().filter(|s| CORE.contains(&s.module.as_str())) {
        for (line, code) in &source.code {
            for name in IMPURE.iter().filter(|name| code.contains(**name)) {
                wrong.push(format!("src/{}:{line}: the core names {name}", source.path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "the core must be told, not ask:\n{}", wrong.join("\n"));
}

#[test]
fn files_stay_readable() {
    let long: Vec<String> = sources()
        .iter()
        .filter(|s| s.lines > LINES_MAX)
        .map(|s| format!("src/{}: {} lines", s.path.display(), s.lines))
        .collect();
    assert!(long.is_empty(), "files over {LINES_MAX} lines hold more than one idea:\n{}", long.join("\n"));
}

#[test]
fn the_order_in_this_test_is_an_order() {
    for (at, (module, may)) in MAY_IMPORT.iter().enumerate() {
        let below: Vec<&str> = MAY_IMPORT[..at].iter().map(|(name, _)| *name).collect();
        for import in *may {
            assert!(below.contains(import), "{module} may import {import}, which does not stand below it");
        }
    }
}

#[test]
fn no_import_hides_from_this_test() {
    assert_eq!(imports("use crate::model::Record; let x = crate::sink::local();"), ["model", "sink"]);
    let grouped: Vec<String> = sources()
        .iter()
        .flat_map(|s| s.code.iter().map(move |(line, code)| (s, line, code)))
        .filter(|(_, _, code)| code.contains("crate::{"))
        .map(|(s, line, _)| format!("src/{}:{line}", s.path.display()))
        .collect();
    assert!(grouped.is_empty(), "write one `use` a module instead of `use crate::{{…}}`: {grouped:?}");
}
