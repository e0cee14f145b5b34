//! The gate itself, as an operator starts it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use super::http::{Response, get};
use super::kinesis::Kinesis;
use super::process::{Process, temporary};
use super::tools::repository;

/// The binary that cargo built for this test run.
pub fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_meshgate"))
}

/// The rules of the tests' own domain: `parcel.sent` on streams `parcels*`.
pub fn parcels_rules() -> PathBuf {
    repository().join("tests/it/rules")
}

/// How a gate is to be started. By default: the tests' rules, the local backend, a store of its own.
pub struct GateOptions {
    /// Empty: those that `config` names.
    pub rules: PathBuf,
    /// The text of `meshgate.yaml`.
    pub config: Option<String>,
    pub environment: Vec<(String, String)>,
    /// An existing store to open, and to leave behind.
    pub data: Option<PathBuf>,
    /// A port of 127.0.0.1 for producers; any free one by default.
    pub port: u16,
}

impl Default for GateOptions {
    fn default() -> Self {
        Self { rules: parcels_rules(), config: None, environment: Vec::new(), data: None, port: 0 }
    }
}

pub struct Gate {
    process: Process,
    pub listen: SocketAddr,
    pub admin: SocketAddr,
    pub data: PathBuf,
    home: TempDir,
}

impl Gate {
    pub fn start(options: GateOptions) -> Self {
        let home = temporary();
        let data = options.data.unwrap_or_else(|| home.path().join("meshgate.db"));
        let mut command = Command::new(binary());
        // Nothing of the developer's environment: neither AWS credentials nor MESHGATE_* settings.
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("HOME", home.path());
        command.current_dir(home.path()).args(["run", "--admin", "127.0.0.1:0"]);
        command.arg("--listen").arg(format!("127.0.0.1:{}", options.port));
        command.arg("--data").arg(&data);
        if !options.rules.as_os_str().is_empty() {
            command.arg("--rules").arg(&options.rules);
        }
        if let Some(text) = &options.config {
            let file = home.path().join("meshgate.yaml");
            std::fs::write(&file, text).expect("the config file can be written");
            command.arg("--config").arg(file);
        }
        command.envs(options.environment);
        let mut process = Process::spawn("meshgate run", &mut command);
        let (listen, admin) = process.until(Duration::from_secs(20), |log| log.iter().find_map(|l| ready(l)));
        Self { process, listen, admin, data, home }
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}", self.listen)
    }

    pub fn kinesis(&self) -> Kinesis {
        Kinesis::new(self.listen)
    }

    pub fn admin(&self, path: &str) -> Response {
        get(self.admin, path).unwrap_or_else(|| panic!("the admin port does not answer {path}"))
    }

    /// The sum of the series of `metric` that have all of `labels` (each as written, `name="value"`).
    pub fn metric(&self, metric: &str, labels: &[&str]) -> f64 {
        let text = self.admin("/metrics").text();
        let series = text.lines().filter(|line| {
            let name = line.split(['{', ' ']).next().unwrap_or("");
            name == metric && labels.iter().all(|label| line.contains(label))
        });
        series.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    /// Resident memory of the gate, in KiB (proc(5): VmRSS).
    pub fn resident_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).expect("Linux");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a known name");
        line.trim().trim_end_matches(" kB").parse().expect("kilobytes")
    }

    /// Of its process.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    pub fn signal(&self, name: &str) {
        self.process.signal(name);
    }

    pub fn wait(&mut self, deadline: Duration) -> ExitStatus {
        self.process.wait(deadline)
    }

    pub fn log(&self) -> Vec<String> {
        self.process.log()
    }

    /// A command of the binary on this gate's store.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(binary());
        command.args(arguments).arg("--data").arg(&self.data).current_dir(self.home.path());
        command
    }
}

/// The addresses in the line that says the gate serves.
fn ready(line: &str) -> Option<(SocketAddr, SocketAddr)> {
    let line: Value = serde_json::from_str(line).ok()?;
    let fields = &line["fields"];
    if fields["message"] != "gate is ready" {
        return None;
    }
    Some((fields["listen"].as_str()?.parse().ok()?, fields["admin"].as_str()?.parse().ok()?))
}
