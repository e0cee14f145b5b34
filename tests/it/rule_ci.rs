//! What rule authors get in CI: the action's own steps, run in repositories as theirs are; and the files of
//! `deploy/github` before GitHub's schemas and two linters. No runner of actions can be had by package name: the steps' scripts
//! run here as the runner would run them, but which of them run is decided by [`Action::runs`].

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use expect_test::expect;
use meshgate::contract::yaml;
use serde_json::Value;
use tempfile::TempDir;

use crate::diff::{change, git};
use crate::harness::{Tool, binary, copy_tree, parcels_rules, repository, run, temporary, tool};

const CONTRACT: &str = "contracts/parcels/parcel.sent.yaml";
const SCHEMA: &str = "contracts/parcels/schemas/parcel.sent.v1.json";

fn file(name: &str) -> PathBuf {
    repository().join("deploy/github").join(name)
}

fn parsed(path: &Path) -> Value {
    let text = std::fs::read(path).expect("a readable file");
    yaml::parse(&text).unwrap_or_else(|e| panic!("{}: {e:?}", path.display())).value
}

/// What became of one step.
#[derive(Debug)]
struct Step {
    name: String,
    code: Option<i32>,
    log: String,
    summary: String,
}

impl Step {
    /// Its workflow commands.
    fn commands(&self) -> String {
        self.log.split_inclusive('\n').filter(|line| line.trim_start().starts_with("::")).collect()
    }
}

/// The action as a job in a clone of somebody's repository uses it.
struct Action {
    home: TempDir,
    inputs: BTreeMap<&'static str, &'static str>,
    /// The branch that the pull request is for.
    base: Option<&'static str>,
    /// Where programs are looked for.
    path: String,
}

impl Action {
    /// Rules on `main` of an origin, and a clone on a branch.
    fn new() -> Self {
        let home = temporary();
        let origin = home.path().join("origin");
        copy_tree(&parcels_rules(), &origin.join("contracts"));
        git(&origin, &["init", "-q", "-b", "main"]);
        git(&origin, &["add", "."]);
        git(&origin, &["commit", "-q", "-m", "rules"]);
        git(home.path(), &["clone", "-q", "origin", "clone"]);
        git(&home.path().join("clone"), &["switch", "-q", "-c", "topic"]);
        let path = std::env::var("PATH").expect("a PATH");
        let path = format!("{}:{path}", binary().parent().expect("a directory").display());
        Self { home, inputs: [("path", "contracts")].into(), base: Some("main"), path }
    }

    fn clone(&self) -> PathBuf {
        self.home.path().join("clone")
    }

    fn change(&self, file: &str, from: &str, to: &str) {
        change(&self.clone(), file, from, to);
        git(&self.clone(), &["commit", "-q", "-am", "a change"]);
    }

    /// Runs the scripts of all steps that the runner would run.
    fn run(&self) -> Vec<Step> {
        let action = parsed(&file("action.yml"));
        let mut outputs = BTreeMap::new();
        let mut done: Vec<Step> = Vec::new();
        let mut outcomes = BTreeMap::new();
        for step in action["runs"]["steps"].as_array().expect("steps") {
            let failed = done.iter().any(|step| step.code != Some(0));
            if !Self::runs(step["if"].as_str(), failed, &outputs, &outcomes) {
                continue;
            }
            let Some(script) = step["run"].as_str() else { continue };
            let made = self.step(&action, step, script, &mut outputs);
            if let Some(id) = step["id"].as_str() {
                outcomes.insert(id.to_owned(), made.code == Some(0));
            }
            done.push(made);
        }
        done
    }

    /// The conditions that the action has. Of the cache nothing is known: it misses.
    fn runs(
        condition: Option<&str>,
        failed: bool,
        outputs: &BTreeMap<String, String>,
        succeeded: &BTreeMap<String, bool>,
    ) -> bool {
        match condition {
            None => !failed,
            Some("${{ steps.find.outputs.source }}")
            | Some("${{ steps.find.outputs.source && steps.cache.outputs.cache-hit != 'true' }}") => {
                !failed && outputs.contains_key("source")
            }
            Some("${{ !cancelled() && steps.check.outcome == 'success' }}") => succeeded.get("check") == Some(&true),
            Some(other) => panic!("this test does not know the condition {other}"),
        }
    }

    fn step(&self, action: &Value, step: &Value, script: &str, outputs: &mut BTreeMap<String, String>) -> Step {
        assert_eq!(step["shell"], "bash");
        assert!(!script.contains("${{"), "what GitHub puts into a script may be anybody's text: {script}");
        let temp = self.home.path().join("temp");
        std::fs::create_dir_all(&temp).expect("a directory");
        let of = |name: &str| temp.join(name);
        for name in ["output", "path", "summary"] {
            std::fs::write(of(name), "").expect("a file");
        }
        std::fs::write(of("script.sh"), script).expect("a file");
        let mut bash = Command::new("bash");
        bash.args(["--noprofile", "--norc", "-e", "-o", "pipefail"]).arg(of("script.sh")).current_dir(self.clone());
        bash.env_clear().env("PATH", &self.path).env("HOME", self.home.path()).env("GITHUB_ACTIONS", "true");
        bash.env("GITHUB_OUTPUT", of("output"))
            .env("GITHUB_PATH", of("path"))
            .env("GITHUB_STEP_SUMMARY", of("summary"));
        bash.env("GITHUB_BASE_REF", self.base.unwrap_or_default()).env("GITHUB_ACTION_PATH", file(""));
        for (name, value) in step["env"].as_object().into_iter().flatten() {
            let value = value.as_str().expect("a text").replace("${{ runner.temp }}", temp.to_str().expect("a text"));
            let value = match value.strip_prefix("${{ inputs.").and_then(|rest| rest.strip_suffix(" }}")) {
                Some(input) => {
                    let default = action["inputs"][input]["default"].as_str().expect("an input with a default");
                    (*self.inputs.get(input).unwrap_or(&default)).to_owned()
                }
                None => value,
            };
            assert!(!value.contains("${{"), "this test does not know {value}");
            bash.env(name, value);
        }
        let output = run(&mut bash);
        let read = |name: &str| std::fs::read_to_string(of(name)).expect("a file");
        outputs
            .extend(read("output").lines().filter_map(|line| line.split_once('=')).map(|(k, v)| (k.into(), v.into())));
        Step {
            name: step["name"].as_str().expect("a name").to_owned(),
            code: output.status.code(),
            log: format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)),
            summary: read("summary"),
        }
    }
}

/// The steps that ran, and their exit codes.
fn codes(steps: &[Step]) -> Vec<(&str, Option<i32>)> {
    steps.iter().map(|step| (&*step.name, step.code)).collect()
}

const FIND: (&str, Option<i32>) = ("Find meshgate", Some(0));

/// Lines that were added or changed since `main`: file and number.
fn changed_lines(clone: &Path) -> BTreeSet<(String, u32)> {
    let mut lines = BTreeSet::new();
    let mut file = String::new();
    for line in git(clone, &["diff", "-U0", "origin/main...HEAD"]).lines() {
        if let Some(name) = line.strip_prefix("+++ b/") {
            name.clone_into(&mut file);
        } else if let Some(hunk) = line.strip_prefix("@@ ") {
            let added = hunk.split(' ').nth(1).and_then(|added| added.strip_prefix('+')).expect("a hunk");
            let (first, count) = added.split_once(',').unwrap_or((added, "1"));
            let (first, count): (u32, u32) = (first.parse().expect("a line"), count.parse().expect("a count"));
            lines.extend((first..first + count).map(|line| (file.clone(), line)));
        }
    }
    lines
}

/// The lines that annotations name.
fn annotated(commands: &str) -> BTreeSet<(String, u32)> {
    let property = |line: &str, name: &str| {
        let (_, rest) = line.split_once(name)?;
        Some(rest[..rest.find([',', ':'])?].to_owned())
    };
    let place = |line: &str| Some((property(line, "file=")?, property(line, ",line=")?.parse().ok()?));
    commands.lines().map(|line| place(line).unwrap_or_else(|| panic!("no place: {line}"))).collect()
}

#[test]
fn a_pull_request_is_told_what_it_means_on_the_lines_it_changes() {
    let action = Action::new();
    let clone = action.clone();
    // What others merged since is not this pull request's.
    change(&action.home.path().join("origin"), CONTRACT, "heavier than a courier carries", "too heavy");
    git(&action.home.path().join("origin"), &["commit", "-q", "-am", "words"]);
    git(&clone, &["fetch", "-q"]);
    assert_eq!(
        codes(&action.run()),
        [FIND, ("meshgate check", Some(0)), ("meshgate test", Some(0)), ("meshgate diff", Some(0))]
    );

    action.change(CONTRACT, "version: 1.0.0", "version: 1.1.0");
    action.change(CONTRACT, "    severity: warning\n    mode: shadow", "    severity: error");
    action.change(SCHEMA, "\"required\": [", "\"required\": [\"colour\", ");
    action.change(CONTRACT, "weight: 1.5}", "weight: 1.5, colour: red}");
    action.change(CONTRACT, "weight: 0}", "weight: 0, colour: red}");
    let steps = action.run();
    assert_eq!(
        codes(&steps),
        [FIND, ("meshgate check", Some(0)), ("meshgate test", Some(0)), ("meshgate diff", Some(1))],
        "{steps:#?}"
    );
    let commands = steps[3].commands();
    expect![[r#"
        ::error file=contracts/parcels/schemas/parcel.sent.v1.json,line=4,endLine=4,col=16,endColumn=24,title=meshgate diff::parcels/parcel.sent: not backward compatible: what was accepted may be refused%0A/colour: required was optional, is required
        ::error file=contracts/parcels/parcel.sent.yaml,line=6,endLine=6,col=3,endColumn=10,title=meshgate diff::parcels/parcel.sent: the version is 1.1.0; what changed asks for a major one, so write 2.0.0 or higher
        ::warning file=contracts/parcels/parcel.sent.yaml,line=22,endLine=22,col=5,endColumn=13,title=meshgate diff::parcels/parcel.sent: rule heavy changed (mode, severity): may now quarantine, no longer counts as shadow
    "#]].assert_eq(&commands);
    let (annotated, changed) = (annotated(&commands), changed_lines(&clone));
    assert!(annotated.is_subset(&changed), "{annotated:?} are not all of {changed:?}");
    assert!(steps[3].log.contains("rule heavy changed (mode, severity): may now quarantine"), "{}", steps[3].log);
    let summary = steps[3].summary.replace(&git(&clone, &["rev-parse", "--short=12", "HEAD"]), "NEW");
    expect![[r#"
        ### meshgate diff: findings

        OLD to NEW: 0 contracts added, 0 removed, 1 changed, 0 unchanged

        | Where | Finding |
        | --- | --- |
        | contracts/parcels/schemas/parcel.sent.v1.json:4 | parcels/parcel.sent: not backward compatible: what was accepted may be refused<br>/colour: required was optional, is required |
        | contracts/parcels/parcel.sent.yaml:6 | parcels/parcel.sent: the version is 1.1.0; what changed asks for a major one, so write 2.0.0 or higher |

        | Contract | Change | Version | Backward | Forward | Rules and settings |
        | --- | --- | --- | --- | --- | --- |
        | parcels/parcel.sent | changed | 1.0.0 to 1.1.0 | no | yes | rule heavy changed (mode, severity): may now quarantine, no longer counts as shadow<br>examples changed |

    "#]].assert_eq(&summary.replace(&git(&clone, &["rev-parse", "--short=12", "HEAD~5"]), "OLD"));

    // Somebody may allow a break; the version has to say so all the same.
    let mut action = action;
    action.inputs.insert("allow", "none");
    assert_eq!(codes(&action.run())[3], ("meshgate diff", Some(1)));
    action.change(CONTRACT, "version: 1.1.0", "version: 2.0.0");
    let steps = action.run();
    assert_eq!(codes(&steps)[3], ("meshgate diff", Some(0)));
    assert!(steps[3].commands().starts_with("::warning file="), "{}", steps[3].commands());

    // A push has no base.
    action.base = None;
    let steps = action.run();
    assert_eq!(codes(&steps)[3], ("meshgate diff", Some(0)));
    assert!(steps[3].log.contains("nothing to compare with"), "{}", steps[3].log);
    action.inputs.insert("base", "HEAD~1");
    assert!(action.run()[3].log.contains("parcels/parcel.sent changed, 1.1.0 to 2.0.0"));
}

#[test]
fn an_example_that_fails_is_shown_and_hides_nothing() {
    let action = Action::new();
    action.change(CONTRACT, "expect: {verdict: forward}", "expect: {verdict: drop}");
    let steps = action.run();
    assert_eq!(
        codes(&steps),
        [FIND, ("meshgate check", Some(0)), ("meshgate test", Some(1)), ("meshgate diff", Some(0))]
    );
    let commands = steps[2].commands();
    expect![[r#"
        ::error file=contracts/parcels/parcel.sent.yaml,line=28,endLine=28,col=5,endColumn=11,title=meshgate example-fails::example "a parcel" fails: verdict forward, expected drop
    "#]].assert_eq(&commands);
    assert!(annotated(&commands).is_subset(&changed_lines(&action.clone())));
    expect![[r####"
        ### meshgate test: failed

        2 examples: 1 passed, 1 failed; 3 rules that no example fails

        | Where | Failed example |
        | --- | --- |
        | contracts/parcels/parcel.sent.yaml:28 | example "a parcel" fails: verdict forward, expected drop |

        | Contract | Examples | Failed | Rules that no example fails |
        | --- | --- | --- | --- |
        | parcels/parcel.sent 1.0.0 | 2 | 1 | schema, recipient\_missing, heavy |

    "####]]
    .assert_eq(&steps[2].summary);
}

#[test]
fn rules_that_do_not_compile_are_shown_and_end_it() {
    let action = Action::new();
    action.change(CONTRACT, "this.weight < 30.0", "this.weight < 30.0 kg");
    let steps = action.run();
    assert_eq!(codes(&steps), [FIND, ("meshgate check", Some(1))]);
    let commands = steps[1].commands();
    expect![[r#"
        ::error file=contracts/parcels/parcel.sent.yaml,line=19,endLine=19,col=36,endColumn=38,title=meshgate bad-expression::not expected here: 'kg'
    "#]].assert_eq(&commands);
    assert_eq!(annotated(&commands), changed_lines(&action.clone()));
    expect![[r#"
        ### meshgate check: failed

        0 domains and 0 contracts good; 1 error, 0 warnings; not usable: parcels

        | Where | Kind | What |
        | --- | --- | --- |
        | contracts/parcels/parcel.sent.yaml:19 | error bad-expression | not expected here: 'kg' |

    "#]]
    .assert_eq(&steps[1].summary);
}

#[test]
fn what_is_amiss_with_the_job_itself_is_told_on_its_page() {
    let mut action = Action::new();
    // As actions/checkout clones unless told otherwise.
    let clone = action.clone();
    action.change(CONTRACT, "version: 1.0.0", "version: 1.0.1");
    std::fs::rename(&clone, action.home.path().join("deep")).expect("a name that is free");
    let origin = format!("file://{}", action.home.path().join("deep").display());
    git(action.home.path(), &["clone", "-q", "--depth=1", &origin, "clone"]);
    let step = &action.run()[3];
    assert_eq!(step.code, Some(2));
    assert!(step.commands().contains("::The history is not there"), "{}", step.log);

    action.inputs.insert("base", "no-such-branch");
    let step = &action.run()[3];
    assert_eq!(step.code, Some(2));
    assert!(step.commands().starts_with("::error title=meshgate::git knows no revision"), "{}", step.log);
    action.inputs.insert("path", "nowhere");
    let step = &action.run()[1];
    assert_eq!(step.code, Some(2));
    assert!(step.commands().starts_with("::error title=meshgate::there is no directory nowhere"), "{}", step.log);
}

/// Docker and cargo as far as the action calls them; both say how they were called.
const DOCKER: &str = "#!/bin/sh\necho \"docker $*\" >> \"$HOME/called\"\n\
    case $1 in create) echo c1 ;; cp) cp MESHGATE \"$3\" ;; rm) echo c1 ;; esac\n";
const CARGO: &str = "#!/bin/sh\necho \"cargo $*\" >> \"$HOME/called\"\n\
    [ -f \"$4/Cargo.toml\" ] && mkdir -p \"$6/bin\" && cp MESHGATE \"$6/bin/meshgate\"\n";

#[test]
fn meshgate_is_taken_from_an_image_or_built_from_the_actions_own_source() {
    let mut action = Action::new();
    let bin = action.home.path().join("bin");
    std::fs::create_dir(&bin).expect("a directory");
    for (name, script) in [("docker", DOCKER), ("cargo", CARGO)] {
        let script = script.replace("MESHGATE", binary().to_str().expect("a printable path"));
        std::fs::write(bin.join(name), script).expect("a script");
        std::fs::set_permissions(bin.join(name), std::fs::Permissions::from_mode(0o755)).expect("made executable");
    }
    let made = action.home.path().join("temp/meshgate/bin");
    action.path = format!("{}:/usr/bin:/bin:{}", bin.display(), made.display());
    let called = |action: &Action| {
        let called = std::fs::read_to_string(action.home.path().join("called")).expect("something was called");
        std::fs::remove_file(action.home.path().join("called")).expect("a file");
        called.replace(action.home.path().to_str().expect("a text"), "HOME").replace("//", "/")
    };
    let steps = action.run();
    assert_eq!(codes(&steps)[..3], [FIND, ("Build meshgate", Some(0)), ("meshgate check", Some(0))], "{steps:#?}");
    let source = repository().join("deploy/github/../..");
    let expected = format!("cargo install --locked --path {} --root HOME/temp/meshgate\n", source.display());
    assert_eq!(called(&action), expected);

    std::fs::remove_dir_all(&made).expect("what was built");
    action.inputs.insert("image", "example.com/meshgate:1");
    let steps = action.run();
    assert_eq!(codes(&steps)[..2], [FIND, ("meshgate check", Some(0))], "{steps:#?}");
    let expected = "docker create example.com/meshgate:1\n\
                    docker cp c1:/meshgate HOME/temp/meshgate/bin/meshgate\ndocker rm c1\n";
    assert_eq!(called(&action), expected);
}

/// What a name, a message and an example may hold, and what would be made of it.
#[test]
fn words_of_rule_files_are_no_workflow_commands() {
    let action = Action::new();
    let hostile = r#""\n::stop-commands::x\n::error::forged ##[add-mask]parcels\r::debug::d""#;
    action.change(CONTRACT, "message: heavier than a courier carries", &format!("message: {hostile}"));
    action.change(CONTRACT, "name: a parcel of nothing", &format!("name: {hostile}"));
    action.change(CONTRACT, "violations: [weight_is_positive]", "violations: [heavy]");
    action.change(CONTRACT, "weight: 1.5}", "weight: 31}");
    action.change(CONTRACT, "expect: {verdict: forward}", "expect: {verdict: forward, violations: []}");
    for step in action.run() {
        for line in step.log.split(['\n', '\r']).filter(|line| line.trim_start().starts_with("::")) {
            assert!(line.starts_with("::error file=contracts/") || line.starts_with("::notice file="), "{line}");
        }
        let text = step.log.lines().filter(|line| !line.starts_with("::"));
        assert!(!text.clone().any(|line| line.contains("##[")), "{}", step.log);
        let failed = step.name == "meshgate test";
        assert!(!failed || text.collect::<String>().contains("# #[add-mask]parcels"), "{}", step.log);
    }
    // The runner reads standard error too, where diff tells of rules that do not compile.
    action.change(CONTRACT, "slo:", "\"##[add-mask]parcels\": 1\nslo:");
    let mut diff = Command::new(binary());
    diff.env_clear().env("PATH", &action.path).env("GITHUB_ACTIONS", "true").current_dir(action.clone());
    let output = run(diff.args(["diff", "HEAD~1", "contracts"]));
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("# #[add-mask]") && !said.contains("##["), "{said}");
    assert!(said.ends_with("\n::error title=meshgate::the new rules do not compile, so nothing was compared; `meshgate check` shows this too\n"));
}

#[test]
fn githubs_schemas_and_two_linters_accept_action_and_workflow() {
    let checked = |tool_: Tool, arguments: &[&str], path: &Path| {
        let Some(mut command) = tool(tool_) else { return };
        let output = run(command.args(arguments).arg(path));
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{tool_:?} on {}: {said}", path.display());
    };
    let (action, workflow) = (file("action.yml"), file("rules.yml"));
    checked(Tool::CheckJsonschema, &["--builtin-schema", "vendor.github-actions"], &action);
    checked(Tool::CheckJsonschema, &["--builtin-schema", "vendor.github-workflows"], &workflow);
    checked(Tool::Actionlint, &[], &workflow);
    for path in [&action, &workflow] {
        checked(Tool::Zizmor, &["--offline", "--no-progress", "--persona", "pedantic"], path);
    }
    checked(Tool::PreCommit, &["validate-manifest"], &repository().join(".pre-commit-hooks.yaml"));
}

#[test]
fn the_workflow_is_one_that_knows_its_place() {
    let workflow = parsed(&file("rules.yml"));
    assert_eq!(workflow["permissions"], serde_json::json!({"contents": "read"}));
    let steps = workflow["jobs"]["rules"]["steps"].as_array().expect("steps");
    let used = |step: &Value| step["uses"].as_str().expect("an action").to_owned();
    for step in steps.iter().chain(parsed(&file("action.yml"))["runs"]["steps"].as_array().expect("steps")) {
        let Some(uses) = step["uses"].as_str() else { continue };
        let commit = uses.split_once('@').expect("a revision").1;
        assert!(commit.len() == 40 && commit.bytes().all(|b| b.is_ascii_hexdigit()), "{uses} is not pinned");
    }
    assert_eq!(steps[0]["with"]["fetch-depth"], 0, "what is compared with must be there");
    assert!(used(&steps[1]).contains("/deploy/github@"), "the action beside it");
    let inputs = parsed(&file("action.yml"))["inputs"].as_object().expect("inputs").clone();
    let given = steps[1]["with"].as_object().expect("inputs");
    assert!(given.keys().all(|name| inputs.contains_key(name)), "{given:?}");
}
