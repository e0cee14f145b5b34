//! The README's commands, run as a newcomer would type them.
//!
//! Convention: each line of a block marked `sh` is a command; in a block marked `console` the lines after `$ ` are. They
//! run in order, in one shell, in a copy of the tracked files. Four things differ from a newcomer's terminal:
//!
//! * `cargo run --release --` is the binary under test, and `cargo test` is what is already running: neither compiles.
//! * A server (`meshgate run`, `meshgate demo` without `--once`) goes to the background once it is ready, and stays there:
//!   an AWS command that comes before the reader was told to start one starts it.
//! * The default ports are replaced by free ones, in the commands and by MESHGATE_LISTEN and MESHGATE_ADMIN.
//! * The tools of `tests/tools/install` come first on PATH.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use crate::harness::{Tool, binary, copy_tree, free_port, repository, run, temporary, tool};

/// The commands of the README, in order.
fn commands(readme: &str) -> Vec<String> {
    let mut commands: Vec<String> = Vec::new();
    let mut language = None;
    for line in readme.lines() {
        match (language, line.strip_prefix("```")) {
            (None, Some(opened)) => language = Some(opened.trim()),
            (Some(_), Some(_)) => language = None,
            (Some("sh"), None) if !line.trim().is_empty() => commands.push(line.to_owned()),
            (Some("console"), None) => commands.extend(line.strip_prefix("$ ").map(str::to_owned)),
            _ => {}
        }
    }
    commands
}

/// Stands in for `cargo`: `cargo run … -- ARGS` is `meshgate ARGS`; `cargo test` runs already.
const CARGO: &str = r#"#!/bin/sh
case "$1" in
  run) while [ "$1" != "--" ]; do shift || exit 2; done; shift; exec meshgate "$@" ;;
  test) [ $# -eq 1 ] && echo "cargo test is what runs this" ;;
  install) [ "$*" = "install --path ." ] || [ "$*" = "install --locked --path ." ] ;;
  *) echo "the README says cargo $*, which this test does not know" >&2; exit 2 ;;
esac
"#;

/// Stands in for `meshgate`: a server goes to the background once its admin port answers.
const MESHGATE: &str = r#"#!/bin/sh
serves=no
case " $* " in
  *" --stdin "*|*" --once "*|*" --help "*) ;;
  " run "*|" demo "*) serves=yes ;;
esac
[ "$serves" = yes ] || exec BINARY "$@"
ready() { python3 -c "import urllib.request; urllib.request.urlopen('http://ADMIN/ready', timeout=1)" 2> /dev/null; }
ready && exit 0
BINARY "$@" > server.log 2>&1 &
for _ in $(seq 1 200); do
  ready && exit 0
  kill -0 $! 2> /dev/null || break
  sleep 0.1
done
cat server.log >&2
echo "meshgate $* never became ready" >&2
exit 2
"#;

/// Stands in for `aws`: sees to it that the gate runs.
const AWS: &str = r#"#!/bin/sh
meshgate run && exec AWS "$@"
"#;

fn executable(path: &Path, text: &str) {
    std::fs::write(path, text).expect("a script can be written");
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).expect("and made executable");
}

#[test]
fn every_command_of_the_readme_works() {
    // Some are for AWS's own tools.
    let Some(aws) = tool(Tool::AwsCli) else { return };
    let readme = std::fs::read_to_string(repository().join("README.md")).expect("a README");
    let commands = commands(&readme);
    assert!(commands.len() >= 2, "a README without commands: {commands:?}");

    let home = temporary();
    let (bin, copy) = (home.path().join("bin"), home.path().join("meshgate"));
    std::fs::create_dir(&bin).expect("a directory can be made");
    for name in ["rules", "docs", "deploy"] {
        let tree = repository().join(name);
        if tree.is_dir() {
            copy_tree(&tree, &copy.join(name));
        }
    }
    let (listen, admin) = (format!("127.0.0.1:{}", free_port()), format!("127.0.0.1:{}", free_port()));
    executable(&bin.join("cargo"), CARGO);
    let meshgate = MESHGATE.replace("BINARY", binary().to_str().expect("a printable path")).replace("ADMIN", &admin);
    executable(&bin.join("meshgate"), &meshgate);
    executable(&bin.join("aws"), &AWS.replace("AWS", aws.get_program().to_str().expect("a printable path")));

    // `set -e` would miss a failure inside a pipe.
    let mut script = String::from("set -eu -o pipefail\n");
    for command in &commands {
        let shown = command.replace('\'', r"'\''");
        script += &format!("printf '%s\\n' '+ {shown}'\n{command}\n");
    }
    let script = script.replace("127.0.0.1:4570", &listen).replace("127.0.0.1:9570", &admin);

    let venv = Path::new(aws.get_program()).parent().expect("a directory").to_owned();
    let path = std::env::join_paths(
        [bin, venv].into_iter().chain(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())),
    );
    let mut bash = Command::new("bash");
    bash.arg("-c").arg(&script).current_dir(&copy).env("PATH", path.expect("a PATH")).env("HOME", home.path());
    bash.env("MESHGATE_LISTEN", &listen).env("MESHGATE_ADMIN", &admin);
    for (name, value) in aws.get_envs() {
        if let Some(value) = value {
            bash.env(name, value);
        }
    }
    let output = run(&mut bash);
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n{out}\n{err}", output.status);
}
