//! The 329 real GitHub webhook events through the endpoint: `tests/github/run`, as a person runs it.

use std::path::Path;

use crate::harness::{Tool, binary, repository, run, tool};

#[test]
fn of_the_329_real_events_277_are_forwarded_and_52_refused() {
    let Some(mut python) = tool(Tool::Python) else { return };
    python.arg(repository().join("tests/github/run")).arg("--meshgate").arg(binary() as &Path);
    let output = run(&mut python);
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}\n{err}");
    assert!(out.contains("329 events: 277 forwarded, 52 refused,"), "{out}");
    println!("{out}");
}
