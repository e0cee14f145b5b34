//! `meshgate docs`: the page of real rule files in a real repository, and how it looks to a real browser on a phone.

use std::path::Path;
use std::process::Command;

use crate::harness::{Tool, binary, copy_tree, parcels_rules, repository, run, temporary, tool};

fn git(home: &Path, arguments: &[&str]) {
    let mut command = Command::new("git");
    // Nobody's own settings: neither hooks nor signatures.
    command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_SYSTEM", "/dev/null");
    command.args(["-c", "user.name=t", "-c", "user.email=t@example.com"]).args(arguments).current_dir(home);
    let output = run(&mut command);
    assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Exit code, standard output, standard error.
fn docs(home: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(binary());
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    // A repository around the temporary directory is not what is meant.
    command.env("GIT_CEILING_DIRECTORIES", home.parent().expect("a parent"));
    let output = run(command.arg("docs").args(arguments).current_dir(home));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

fn page(home: &Path) -> String {
    let (code, out, err) = docs(home, &["rules", "-o", "-"]);
    assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
    out
}

fn edit(path: &Path, from: &str, to: &str) {
    let text = std::fs::read_to_string(path).expect("a file");
    assert!(text.contains(from), "{from:?} is not in {text}");
    std::fs::write(path, text.replace(from, to)).expect("a writable file");
}

/// The names of everything in a directory.
fn names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).expect("a directory");
    let mut names: Vec<String> =
        entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[test]
fn a_page_tells_of_the_commits_and_survives_being_committed() {
    let home = temporary();
    let home = home.path();
    copy_tree(&parcels_rules(), &home.join("rules"));
    git(home, &["init", "-q", "-b", "main"]);
    assert!(page(home).contains("No commit holds it yet."));
    git(home, &["add", "."]);
    git(home, &["commit", "-q", "-m", "Begin with <b>parcels</b>"]);
    let contract = home.join("rules/parcels/parcel.sent.yaml");
    edit(&contract, "version: 1.0.0", "version: 1.1.0");
    git(home, &["commit", "-q", "-am", "Move to 1.1.0"]);
    edit(&home.join("rules/parcels/schemas/parcel.sent.v1.json"), "\"required\"", "\"$comment\": \"x\", \"required\"");
    git(home, &["commit", "-q", "-am", "Touch the schema"]);
    std::fs::write(home.join("NOTES.md"), "x").expect("a file");
    git(home, &["add", "."]);
    git(home, &["commit", "-q", "-m", "Nothing of the rules"]);

    let (code, out, err) = docs(home, &["rules"]);
    assert_eq!((code, out.as_str(), err.as_str()), (Some(0), "", "catalogue.html: 1 domain and 1 contract\n"));
    let first = std::fs::read_to_string(home.join("catalogue.html")).expect("the page");
    let begun = first.find("Begin with &lt;b&gt;parcels&lt;/b&gt;").expect("the first commit");
    let moved = first.find("Move to 1.1.0").expect("the second");
    let touched = first.find("Touch the schema").expect("the third");
    assert!(touched < moved && moved < begun, "the newest first");
    let history = &first[first.find("the newest first").expect("a caption")..];
    assert_eq!(history.matches(">1.1.0<").count(), 2, "{history}");
    assert_eq!(history.matches(">1.0.0<").count(), 1, "{history}");
    assert!(!first.contains("Nothing of the rules") && !first.contains("changed since"));

    // Kept in the repository, it is the same again; even among the rules.
    git(home, &["add", "."]);
    git(home, &["commit", "-q", "-m", "Keep the page"]);
    assert_eq!(page(home), first);
    std::fs::copy(home.join("catalogue.html"), home.join("rules/catalogue.html")).expect("a copy");
    assert_eq!(page(home), first);

    edit(&contract, "weight is not positive", "weight is not above zero");
    let changed = page(home);
    assert!(changed.contains("with 1 file changed since") && changed.contains("differs from the last commit"));

    git(home, &["clone", "-q", "--depth", "1", &format!("file://{}", home.display()), "shallow"]);
    assert!(page(&home.join("shallow")).contains("Made from a shallow clone"));
}

#[test]
fn without_git_the_page_says_so_quietly() {
    let home = temporary();
    copy_tree(&parcels_rules(), &home.path().join("rules"));
    let page = page(home.path());
    assert!(page.contains("Rule files <code>sha256:") && page.contains("git does not know the rule files"));
    assert!(!page.contains(&home.path().display().to_string()), "no path of this machine is told");
}

#[test]
fn rules_that_do_not_compile_leave_the_old_page() {
    let home = temporary();
    let home = home.path();
    copy_tree(&parcels_rules(), &home.join("rules"));
    std::fs::write(home.join("page.html"), "the old page").expect("a file");
    let contract = home.join("rules/parcels/parcel.sent.yaml");
    edit(&contract, "severity: warning", "sevrity: warning");
    let (code, out, err) = docs(home, &["rules", "-o", "page.html"]);
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert!(err.contains("rules/parcels/parcel.sent.yaml:") && err.contains("did you mean \"severity\"?"), "{err}");
    assert!(err.contains("no catalogue was written"), "{err}");
    assert_eq!(std::fs::read_to_string(home.join("page.html")).expect("the page"), "the old page");

    edit(&contract, "sevrity: warning", "severity: warning");
    let (code, _, err) = docs(home, &["rules", "-o", "page.html"]);
    assert_eq!(code, Some(0), "{err}");
    assert!(std::fs::read_to_string(home.join("page.html")).expect("the page").starts_with("<!DOCTYPE html>"));
    assert_eq!(names(home), ["page.html", "rules"], "nothing else is left");

    for (arguments, words) in [
        (&["nowhere"][..], "nowhere"),
        (&["rules", "-o", "missing/page.html"], "missing/page.html"),
        (&["rules", "-o", "rules"], "rules"),
    ] {
        let (code, out, err) = docs(home, arguments);
        assert_eq!((code, out.as_str()), (Some(2), ""), "{arguments:?}: {err}");
        assert!(err.contains(words), "{err}");
    }
    assert_eq!(names(home), ["page.html", "rules"]);
}

#[cfg(unix)]
#[test]
fn a_link_stays_a_link() {
    let home = temporary();
    let home = home.path();
    copy_tree(&parcels_rules(), &home.join("rules"));
    std::fs::create_dir(home.join("site")).expect("a directory");
    std::fs::write(home.join("site/index.html"), "").expect("a file");
    std::os::unix::fs::symlink("site/index.html", home.join("catalogue.html")).expect("a link");
    assert_eq!(docs(home, &[]).0, Some(0));
    assert!(home.join("catalogue.html").is_symlink());
    assert!(std::fs::metadata(home.join("site/index.html")).expect("the page").len() > 1_000);
}

/// What the copy of a page tells the page around it, with all that can be opened open.
const PROBE: &str = r#"<script>
addEventListener("load", () => {
  document.querySelectorAll("details").forEach((details) => { details.open = true; });
  const box = document.getElementById("filter");
  const widths = document.documentElement.scrollWidth + " of " + innerWidth;
  box.value = "CHECKOUT  Tab=1";
  box.dispatchEvent(new Event("input"));
  const scripts = document.querySelectorAll("script").length;
  parent.postMessage([widths, document.getElementById("found").textContent, scripts + " scripts"].join("; "), "*");
});
</script>"#;

const FRAME: &str = r#"<!DOCTYPE html><title>none</title>
<iframe src="copy.html" style="width: 390px; height: 800px; border: 0"></iframe>
<script>addEventListener("message", (event) => { document.title = event.data; });</script>"#;

#[test]
fn a_phone_shows_the_page_without_scrolling_sideways() {
    let Some(chromium) = tool(Tool::Chromium) else { return };
    let program = chromium.get_program().to_owned();
    let home = temporary();
    let home = home.path();
    let dump = |page: &str| {
        let mut command = Command::new(&program);
        command.args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--hide-scrollbars",
            "--disable-dev-shm-usage",
            "--no-first-run",
        ]);
        command.arg(format!("--user-data-dir={}", home.join("profile").display()));
        command.args(["--virtual-time-budget=10000", "--dump-dom"]).arg(format!("file://{}/{page}", home.display()));
        let output = run(command.env("HOME", home));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    // The sample domains, and one whose team writes whatever it likes.
    copy_tree(&repository().join("rules"), &home.join("rules"));
    copy_tree(&repository().join("src/catalogue/testdata"), &home.join("rules"));
    let (code, _, err) = docs(home, &["rules", "-o", "page.html"]);
    assert_eq!(code, Some(0), "{err}");

    // As it is: the policy it has for its own content lets its script run, which shows the filter.
    let shown = dump("page.html");
    assert!(shown.contains("<div id=\"search\" role=\"search\">"), "the script did not run");

    // In a frame as wide as a phone, where a script of the test is let in.
    let page = std::fs::read_to_string(home.join("page.html")).expect("the page");
    let start = page.find("<meta http-equiv=").expect("a policy");
    let end = start + page[start..].find('>').expect("an end") + 1;
    let copy = format!("{}{}", &page[..start], page[end..].replace("</body>", &format!("{PROBE}</body>")));
    std::fs::write(home.join("copy.html"), copy).expect("a file");
    std::fs::write(home.join("frame.html"), FRAME).expect("a file");
    let told = dump("frame.html");
    assert!(
        told.contains("<title>390 of 390; 1 of 6 contracts; 2 scripts</title>"),
        "{}",
        told.get(..400).unwrap_or(&told)
    );
}
