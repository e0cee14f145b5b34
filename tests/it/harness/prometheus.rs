//! A real Prometheus.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use super::http::get;
use super::process::{Process, free_port, temporary, wait_until};
use super::tools::{Tool, tool};

const START: Duration = Duration::from_secs(30);

/// A Prometheus that scrapes the given admin ports every quarter of a second, and evaluates rules every second.
pub struct Prometheus {
    _process: Process,
    address: SocketAddr,
    _home: TempDir,
}

impl Prometheus {
    /// With these files of rules. `None` when it is not installed.
    pub fn scraping(targets: &[SocketAddr], rules: &[&Path]) -> Option<Self> {
        let targets: Vec<_> = targets.iter().map(|t| format!("\"{t}\"")).collect();
        let config = format!(
            "global: {{scrape_interval: 250ms, evaluation_interval: 1s}}\n\
             rule_files: {rules:?}\n\
             scrape_configs:\n  - {{job_name: meshgate, static_configs: [{{targets: [{}]}}]}}\n",
            targets.join(", ")
        );
        Self::configured(&config)
    }

    /// With a `prometheus.yml`. `None` when it is not installed.
    pub fn configured(config: &str) -> Option<Self> {
        let mut command = tool(Tool::Prometheus)?;
        let home = temporary();
        let file = home.path().join("prometheus.yml");
        std::fs::write(&file, config).expect("the config can be written");
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        command
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", home.path().join("tsdb").display()))
            .arg(format!("--web.listen-address={address}"))
            .arg("--log.level=warn");
        let mut process = Process::spawn("prometheus", &mut command);
        process.until(START, |_| get(address, "/-/ready").filter(|r| r.status == 200));
        Some(Self { _process: process, address, _home: home })
    }

    /// The result of an instant query: its series.
    pub fn query(&self, expression: &str) -> Result<Vec<Value>, String> {
        let query: String = form_urlencoded::byte_serialize(expression.as_bytes()).collect();
        let answer = get(self.address, &format!("/api/v1/query?query={query}")).ok_or("Prometheus does not answer")?;
        let answer = answer.json();
        match answer["data"]["result"].as_array() {
            Some(series) if answer["status"] == "success" => Ok(series.clone()),
            _ => Err(answer["error"].as_str().unwrap_or("no result").to_owned()),
        }
    }

    /// What a page of its API says (`data`).
    pub fn api(&self, path: &str) -> Value {
        let answer = get(self.address, &format!("/api/v1/{path}")).expect("Prometheus answers").json();
        assert_eq!(answer["status"], "success", "{path}: {answer}");
        answer["data"].clone()
    }

    /// The values a dashboard variable would offer: those of `label` on the series that `selector` finds.
    pub fn label_values(&self, selector: &str, label: &str) -> Vec<String> {
        let selector: String = form_urlencoded::byte_serialize(selector.as_bytes()).collect();
        let path = format!("/api/v1/label/{label}/values?match%5B%5D={selector}");
        let answer = get(self.address, &path).expect("Prometheus answers").json();
        let values = answer["data"].as_array().cloned().unwrap_or_default();
        values.iter().filter_map(|v| v.as_str().map(str::to_owned)).collect()
    }

    /// Waits until `expression` has a result.
    pub fn wait_for(&self, expression: &str) {
        wait_until(expression, Duration::from_secs(20), || {
            self.query(expression).ok().filter(|series| !series.is_empty())
        });
    }
}
