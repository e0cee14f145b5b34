//! Where the tools of `tests/tools/install` are.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Something that `tests/tools/install` installs.
#[derive(Debug, Clone, Copy)]
pub enum Tool {
    Python,
    /// Python, with `aws_kinesis_agg`.
    KinesisAgg,
    /// Python, with `sqs_extended_client`.
    ExtendedClient,
    /// Python, with `opentelemetry.proto`.
    OtlpDefinitions,
    AwsCli,
    Node,
    /// Node.js, with Grafana's foundation SDK.
    FoundationSdk,
    /// TypeScript's compiler.
    TypeScript,
    Ministack,
    Fauxqs,
    KinesisLocal,
    Prometheus,
    /// Prometheus' own checker of rules.
    Promtool,
    Hadolint,
    KubernetesValidate,
    /// Python, with `helm_python`: Helm's own library.
    Helm,
    /// Node, with the schemas of the Prometheus operator's objects.
    OperatorSchemas,
    CfnLint,
    /// Node, with HashiCorp's parser of HCL.
    Hcl,
    /// Docker Compose, which needs no engine to read a file.
    Compose,
    SystemdAnalyze,
    CheckJsonschema,
    Zizmor,
    PreCommit,
    Actionlint,
    Chromium,
    /// Node.js, with what visits a page: `playwright-core` and `axe-core`.
    StatusPage,
}

/// The top of the repository.
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Where the tools' Node.js packages are, or would be.
pub fn node_modules() -> PathBuf {
    directory().join("node_modules")
}

fn directory() -> PathBuf {
    std::env::var_os("MESHGATE_TOOLS").map_or_else(|| repository().join("target/tools"), PathBuf::from)
}

/// A command that runs the tool. `None`, said on stderr, when it is not installed: the test is then to pass as skipped.
/// With `MESHGATE_REQUIRE_TOOLS=1` that is a failure instead.
pub fn tool(tool: Tool) -> Option<Command> {
    let tools = directory();
    let venv = |name: &str| tools.join("venv/bin").join(name);
    let module = |name: &str| tools.join("node_modules").join(name);
    let (program, needs) = match tool {
        Tool::Python => (venv("python"), venv("python")),
        Tool::KinesisAgg => (venv("python"), python_package(&tools, "aws_kinesis_agg")),
        Tool::ExtendedClient => (venv("python"), python_package(&tools, "sqs_extended_client")),
        Tool::OtlpDefinitions => (venv("python"), python_package(&tools, "opentelemetry/proto")),
        Tool::AwsCli => (venv("aws"), venv("aws")),
        Tool::Node => (PathBuf::from("node"), module("@aws-sdk/client-kinesis/package.json")),
        Tool::FoundationSdk => (PathBuf::from("node"), module("@grafana/grafana-foundation-sdk/package.json")),
        Tool::TypeScript => (PathBuf::from("node"), module("typescript/bin/tsc")),
        Tool::StatusPage => {
            let (visitor, checker) = (module("playwright-core/package.json"), module("axe-core/package.json"));
            (PathBuf::from("node"), if checker.exists() { visitor } else { checker })
        }
        Tool::Ministack => (venv("ministack"), venv("ministack")),
        Tool::Fauxqs => (PathBuf::from("node"), module("fauxqs/dist/app.js")),
        Tool::KinesisLocal => (PathBuf::from("node"), module("kinesis-local/main.js")),
        Tool::Prometheus | Tool::Promtool => {
            let name = if matches!(tool, Tool::Prometheus) { "prometheus" } else { "promtool" };
            let found = on_path(name).unwrap_or_else(|| tools.join("prometheus/usr/bin").join(name));
            (found.clone(), found)
        }
        Tool::Hadolint => (venv("hadolint"), venv("hadolint")),
        Tool::Helm => (venv("python"), python_package(&tools, "helm_python")),
        Tool::OperatorSchemas => (PathBuf::from("node"), module("@kubernetes-models/prometheus-operator/package.json")),
        Tool::CfnLint => (venv("cfn-lint"), venv("cfn-lint")),
        Tool::Hcl => (PathBuf::from("node"), module("@cdktf/hcl2json/package.json")),
        Tool::Compose => (venv("docker-compose"), venv("docker-compose")),
        Tool::SystemdAnalyze => {
            let found = on_path("systemd-analyze").unwrap_or_else(|| PathBuf::from("/usr/bin/systemd-analyze"));
            (found.clone(), found)
        }
        Tool::CheckJsonschema => (venv("check-jsonschema"), venv("check-jsonschema")),
        Tool::Zizmor => (venv("zizmor"), venv("zizmor")),
        Tool::PreCommit => (venv("pre-commit"), venv("pre-commit")),
        Tool::Actionlint => (PathBuf::from("node"), module("actionlint/node.mjs")),
        Tool::Chromium => {
            let found = on_path("chromium").unwrap_or_else(|| PathBuf::from("/usr/bin/chromium"));
            (found.clone(), found)
        }
        Tool::KubernetesValidate => (venv("kubernetes-validate"), venv("kubernetes-validate")),
    };
    if !needs.exists() {
        let missing = format!("{tool:?} is not installed (run tests/tools/install)");
        assert!(std::env::var("MESHGATE_REQUIRE_TOOLS").as_deref() != Ok("1"), "{missing}");
        // Past the test harness's capture, so that a run says what it left out.
        use std::io::Write;
        let _ = writeln!(std::io::stderr(), "skipped: {missing}");
        return None;
    }
    let mut command = Command::new(program);
    match tool {
        Tool::KinesisLocal => {
            // It looks for its certificate beside itself.
            command.arg("main.js").current_dir(module("kinesis-local"));
        }
        Tool::Fauxqs => {
            // Its own start listens on every interface.
            let app = module("fauxqs/dist/app.js");
            let start = "const { buildApp } = await import(process.argv[1]); \
                         await buildApp({ logger: false }).listen({ port: Number(process.env.FAUXQS_PORT), host: '127.0.0.1' });";
            command.args(["--input-type=module", "--eval", start]).arg(app);
        }
        Tool::Actionlint => {
            // The package is a library; this prints what it finds in the file named.
            let lint = "const { createLinter } = await import(process.argv[1]); \
                        const { readFileSync } = await import('node:fs'); \
                        const found = (await createLinter())(readFileSync(process.argv[2], 'utf8'), process.argv[2]); \
                        for (const { line, message } of found) console.log(`${line}: ${message}`); \
                        process.exitCode = found.length ? 1 : 0;";
            command.args(["--input-type=module", "--eval", lint]).arg(module("actionlint/node.mjs"));
        }
        Tool::TypeScript => {
            command.arg(module("typescript/bin/tsc"));
        }
        Tool::Node | Tool::FoundationSdk | Tool::OperatorSchemas | Tool::Hcl | Tool::StatusPage => {
            command.env("NODE_PATH", tools.join("node_modules"));
        }
        _ => {}
    }
    // A client must reach only what the test names, with the test's credentials.
    command
        .env_remove("AWS_PROFILE")
        .env_remove("AWS_ENDPOINT_URL")
        .env("AWS_ACCESS_KEY_ID", "test")
        .env("AWS_SECRET_ACCESS_KEY", "test")
        .env("AWS_DEFAULT_REGION", "us-east-1")
        .env("AWS_REGION", "us-east-1")
        .env("AWS_CONFIG_FILE", "/dev/null")
        .env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
        .env("AWS_EC2_METADATA_DISABLED", "true");
    Some(command)
}

/// Where a package of the tools' Python is, or would be.
fn python_package(tools: &Path, name: &str) -> PathBuf {
    let versions = std::fs::read_dir(tools.join("venv/lib")).into_iter().flatten().flatten();
    let packages = |version: std::fs::DirEntry| version.path().join("site-packages");
    versions
        .map(packages)
        .map(|packages| packages.join(name))
        .find(|package| package.exists())
        .unwrap_or_else(|| name.into())
}

fn on_path(program: &str) -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?).map(|dir| dir.join(program)).find(|p| p.is_file())
}
