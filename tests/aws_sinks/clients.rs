//! How the clients are built, and that they never call the gate itself: with the environment a producer's gate has, each
//! case in a process of its own, since the environment is the process's.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::Command;
use std::time::Duration;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use meshgate::aws::{AwsError, AwsOptions, Clients, Endpoint};
use meshgate::port::MeshSink;
use meshgate::sink::kinesis::KinesisSink;

use crate::record;
use crate::upstream::{REGION, Upstream};

#[test]
fn clients_need_a_region_and_a_name() {
    let nowhere = SdkConfig::builder().behavior_version(BehaviorVersion::v2026_01_12()).build();
    assert_eq!(Clients::from_sdk_config(&nowhere, &AwsOptions::new("gate-1")).unwrap_err(), AwsError::NoRegion);
    let here =
        SdkConfig::builder().region(Region::new(REGION)).behavior_version(BehaviorVersion::v2026_01_12()).build();
    for bad in ["", "a b", "a\nb", "é"] {
        let refused = Clients::from_sdk_config(&here, &AwsOptions::new(bad)).unwrap_err();
        assert_eq!(refused, AwsError::BadInstance(bad.into()));
    }
}

/// In the child: where the gate listens.
const OWN: &str = "MESHGATE_TEST_OWN_ADDRESS";
/// In the child: the endpoint that the gate's own settings name, if any.
const EXPLICIT: &str = "MESHGATE_TEST_EXPLICIT_ENDPOINT";

/// Not a test by itself: what the tests below run in a process with an environment of its own.
#[tokio::test]
#[ignore = "run by the other tests of this file, with an environment"]
async fn child_puts_one_record() {
    let Ok(own) = std::env::var(OWN) else {
        println!("skipped: {OWN} is not set");
        return;
    };
    let options = AwsOptions {
        own_addresses: vec![own.parse().unwrap()],
        kinesis_endpoint: std::env::var(EXPLICIT).ok(),
        call_timeout: Duration::from_secs(5),
        ..AwsOptions::new("gate-1")
    };
    let clients = Clients::load(&options).await.unwrap();
    println!("kinesis: {:?}", clients.kinesis_endpoint);
    println!("sqs: {:?}", clients.sqs_endpoint);
    let result = KinesisSink::new(clients.kinesis).put("orders", &[&record("{}", "a")]).await.remove(0);
    println!("stored: {}", result.is_ok());
}

/// Runs the child with `environment` and nothing else of AWS, through a proxy that only notes what host it is to reach.
/// Returns what the child printed, and that host.
async fn child(environment: &[(&str, &str)]) -> (String, Option<String>) {
    let proxy = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let proxy_url = format!("http://{}", proxy.local_addr().unwrap());
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "clients::child_puts_one_record", "--ignored", "--nocapture"]);
    for (name, _) in
        std::env::vars().filter(|(name, _)| name.starts_with("AWS_") || name.to_lowercase().ends_with("_proxy"))
    {
        command.env_remove(name);
    }
    command
        .env("AWS_ACCESS_KEY_ID", "AKID")
        .env("AWS_SECRET_ACCESS_KEY", "secret")
        .env("AWS_REGION", REGION)
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env("AWS_CONFIG_FILE", "/dev/null")
        .env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
        .env("HTTPS_PROXY", &proxy_url)
        .envs(environment.iter().copied());
    proxy.set_nonblocking(true).unwrap();
    let output = tokio::task::spawn_blocking(move || {
        // The child's one connection waits in the backlog and is closed unanswered: a call that fails at once.
        let mut child = command.stdout(std::process::Stdio::piped()).spawn().unwrap();
        let mut asked = None;
        while child.try_wait().unwrap().is_none() {
            if let Ok((socket, _)) = proxy.accept() {
                socket.set_nonblocking(false).unwrap();
                let mut line = String::new();
                BufReader::new(socket).read_line(&mut line).unwrap();
                asked = line.strip_prefix("CONNECT ").and_then(|rest| Some(rest.split_once(' ')?.0.to_owned()));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        (child.wait_with_output().unwrap(), asked)
    });
    let (output, asked) = output.await.unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{said}");
    (said, asked)
}

#[tokio::test]
async fn an_endpoint_in_the_environment_that_is_the_gate_is_not_its_upstream() {
    let gate = Upstream::start().await;
    gate.add_stream("orders", 1, 1_024);
    let own = gate.address.to_string();
    let url = gate.url();
    let localhost = format!("http://localhost:{}", gate.address.port());
    let profile = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(profile.path(), format!("[default]\nendpoint_url = {url}\n")).unwrap();
    let regional = "kinesis.eu-west-1.amazonaws.com:443";
    for (name, value) in [
        ("AWS_ENDPOINT_URL_KINESIS", url.as_str()),
        ("AWS_ENDPOINT_URL_KINESIS", &localhost),
        ("AWS_ENDPOINT_URL", &url),
        ("AWS_CONFIG_FILE", profile.path().to_str().unwrap()),
    ] {
        let (said, asked) = child(&[(OWN, &own), (name, value)]).await;
        assert!(said.contains("kinesis: RegionalNotSelf"), "{name}: {said}");
        assert!(said.contains("stored: false"), "{name}: {said}");
        assert_eq!(asked.as_deref(), Some(regional), "{name}: the call went to the region's own endpoint");
        assert_eq!(said.contains("sqs: RegionalNotSelf"), !name.ends_with("_KINESIS"), "{name}: {said}");
    }
    assert!(gate.calls("PutRecords").is_empty(), "the gate called itself");
}

#[tokio::test]
async fn another_endpoint_in_the_environment_is_the_upstream() {
    let upstream = Upstream::start().await;
    upstream.add_stream("orders", 1, 1_024);
    let own = "127.0.0.1:4570";
    for name in ["AWS_ENDPOINT_URL_KINESIS", "AWS_ENDPOINT_URL"] {
        let (said, asked) = child(&[(OWN, own), (name, &upstream.url())]).await;
        assert!(said.contains("kinesis: Url(") && said.contains("stored: true"), "{name}: {said}");
        assert_eq!(asked, None);
    }
    let gate = format!("http://{own}");
    let explicit = upstream.url();
    let (said, _) = child(&[(OWN, own), ("AWS_ENDPOINT_URL_KINESIS", &gate), (EXPLICIT, &explicit)]).await;
    assert!(said.contains("stored: true"), "the gate's own setting wins: {said}");
    assert_eq!(upstream.records().len(), 3);
    let ignoring = ("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true");
    let (said, asked) = child(&[(OWN, own), ("AWS_ENDPOINT_URL_KINESIS", &explicit), ignoring]).await;
    assert!(said.contains(&format!("kinesis: {:?}", Endpoint::Regional)), "{said}");
    assert!(asked.is_some());
}
