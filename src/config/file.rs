//! Settings as written in `meshgate.yaml`. Unknown keys, wrong types and values out of range are faults with their place.

mod dead_letters;
mod notices;
mod rules;
mod spool;
mod streams;
mod tracing;
mod without_aws;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use self::dead_letters::{WrittenBucket, WrittenLetters};
use self::notices::WrittenNotices;
use self::rules::{Sources, WrittenRules};
use self::spool::WrittenSpool;
use self::streams::WrittenStream;
use self::tracing::WrittenTracing;
use super::{Backend, Config, OnQuarantine, Route, Routes};
use crate::contract::diagnostic::{Code, Diagnostic, Place};
use crate::contract::shape::{Shape, ShapeFault};
use crate::contract::yaml;
use crate::decode::compressed::INFLATED_BYTES_MAX;
use crate::decode::dynamodb::Outbox;
use crate::gate::delivery::{Ordering, RetryPolicy};
use crate::gate::isolate::Isolation;
use crate::rule::pointer::Pointer;
use crate::source::listener::Limits;

/// The published schema of the file; it is what [`read`] holds the file against.
const SCHEMA: &str = include_str!("meshgate.schema.json");

const MIB: usize = 1024 * 1024;

/// Every key of the file. Names carry their unit.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Written {
    rules: WrittenRules,
    rules_watch_seconds: u64,
    data: PathBuf,
    state: WrittenState,
    listen: SocketAddr,
    admin: SocketAddr,
    backend: WrittenBackend,
    local: WrittenLocal,
    aws: WrittenAws,
    spool: Option<WrittenSpool>,
    dlq: String,
    dead_letters: WrittenLetters,
    routes: Vec<WrittenRoute>,
    streams: Vec<WrittenStream>,
    limits: WrittenLimits,
    retry: WrittenRetry,
    notices: Option<WrittenNotices>,
    tracing: WrittenTracing,
    drain_seconds: u64,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct WrittenState {
    path: Option<PathBuf>,
    snapshot_seconds: u64,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum WrittenBackend {
    #[default]
    Local,
    Aws,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct WrittenLocal {
    shards: u32,
    streams_max: usize,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct WrittenAws {
    region: Option<String>,
    kinesis_endpoint: Option<String>,
    sqs_endpoint: Option<String>,
    sns_endpoint: Option<String>,
    dynamodb_endpoint: Option<String>,
    s3_endpoint: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenRoute {
    source: String,
    mesh: Option<String>,
    dlq: Option<String>,
    #[serde(default)]
    on_quarantine: OnQuarantine,
    #[serde(default)]
    ordering: Ordering,
    #[serde(default)]
    isolation: Isolation,
    type_pointer: Option<String>,
    outbox: Option<Outbox>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct WrittenLimits {
    connections: usize,
    records_in_flight: usize,
    body_mib_in_flight: usize,
    inflated_mib: usize,
    header_timeout_seconds: u64,
    idle_timeout_seconds: u64,
    body_timeout_seconds: u64,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct WrittenRetry {
    attempts: u32,
    deadline_seconds: u64,
}

impl Default for Written {
    fn default() -> Self {
        Self {
            rules: WrittenRules::default(),
            rules_watch_seconds: 5,
            data: "data/meshgate.db".into(),
            state: WrittenState::default(),
            listen: SocketAddr::from(([127, 0, 0, 1], 4570)),
            admin: SocketAddr::from(([127, 0, 0, 1], 9570)),
            backend: WrittenBackend::default(),
            local: WrittenLocal::default(),
            aws: WrittenAws::default(),
            spool: None,
            dlq: "meshgate-dlq".into(),
            dead_letters: WrittenLetters::default(),
            routes: Vec::new(),
            streams: Vec::new(),
            limits: WrittenLimits::default(),
            retry: WrittenRetry::default(),
            notices: None,
            tracing: WrittenTracing::default(),
            // Below Kubernetes' default terminationGracePeriodSeconds of 30.
            drain_seconds: 25,
        }
    }
}

impl Default for WrittenState {
    fn default() -> Self {
        Self { path: None, snapshot_seconds: 30 }
    }
}

impl Default for WrittenLocal {
    fn default() -> Self {
        Self { shards: 4, streams_max: 1_000 }
    }
}

impl Default for WrittenLimits {
    fn default() -> Self {
        Self {
            connections: 1_024,
            records_in_flight: 20_000,
            body_mib_in_flight: 128,
            inflated_mib: INFLATED_BYTES_MAX / MIB,
            header_timeout_seconds: 10,
            // Above the 60 seconds after which most SDKs drop an idle connection themselves.
            idle_timeout_seconds: 75,
            body_timeout_seconds: 30,
        }
    }
}

impl Default for WrittenRetry {
    /// Given up well before an SDK's own timeout (60 s in botocore), so that producers get a real answer.
    fn default() -> Self {
        Self { attempts: 10, deadline_seconds: 20 }
    }
}

/// Reads the file's text. `name` is what faults call the file.
///
/// # Errors
/// All faults that can be found, with line and column.
pub fn read(name: &str, text: &[u8]) -> Result<Written, Vec<Diagnostic>> {
    // An empty file, or one of comments only, is all defaults; YAML calls that no document.
    if text.split(|b| *b == b'\n').all(|line| line.trim_ascii().first().is_none_or(|b| *b == b'#')) {
        return Ok(Written::default());
    }
    let source = String::from_utf8_lossy(text);
    let place = |span| Place::new(name, &source, span);
    let document = yaml::parse(text).map_err(|faults| {
        let told = |f: yaml::YamlFault| Diagnostic::new(place(f.span), Code::Syntax, f.message).with_hint(f.hint);
        faults.into_iter().map(told).collect::<Vec<_>>()
    })?;
    let told = |fault: ShapeFault| {
        let span = if fault.on_key { document.key_span(&fault.pointer) } else { document.span(&fault.pointer) };
        Diagnostic::new(place(span), fault.code, fault.message).with_hint(fault.hint)
    };
    let faults: Vec<Diagnostic> = Shape::new(SCHEMA).check(&document.value).into_iter().map(told).collect();
    if !faults.is_empty() {
        return Err(faults);
    }
    let not_an_address = ["listen", "admin"]
        .into_iter()
        .filter(|key| document.value[*key].as_str().is_some_and(|text| text.parse::<SocketAddr>().is_err()));
    let faults: Vec<Diagnostic> = not_an_address
        .map(|key| {
            let place = place(document.span(&Pointer::root().child(key)));
            Diagnostic::new(place, Code::InvalidValue, format!("`{key}` is not an address"))
                .with_hint("write an IP address and a port, as in 127.0.0.1:4570".to_owned())
        })
        .collect();
    if !faults.is_empty() {
        return Err(faults);
    }
    let written = Written::deserialize(&document.value)
        .map_err(|error| vec![Diagnostic::new(Place::of_file(name), Code::InvalidValue, error.to_string())])?;
    let rules = written.rules.faults().into_iter().map(|(keys, message, hint)| {
        let pointer = keys.iter().fold(Pointer::root().child("rules"), |pointer, key| pointer.child(*key));
        Diagnostic::new(place(document.span(&pointer)), Code::InvalidValue, message).with_hint(hint.to_owned())
    });
    let on_aws = matches!(written.backend, WrittenBackend::Aws);
    let streams =
        streams::faults(&written.streams, &written.routes, on_aws).into_iter().map(|(keys, message, hint)| {
            let pointer = keys.into_iter().fold(Pointer::root(), |pointer, key| pointer.child(key));
            Diagnostic::new(place(document.span(&pointer)), Code::InvalidValue, message).with_hint(hint)
        });
    let aws_only = without_aws::faults(&written).into_iter().map(|(pointer, message, hint)| {
        Diagnostic::new(place(document.span(&pointer)), Code::InvalidValue, message).with_hint(hint.to_owned())
    });
    let faults: Vec<Diagnostic> = repeated_sources(&written)
        .map(|at| {
            let pointer = Pointer::root().child("routes").child(at.to_string()).child("source");
            Diagnostic::new(place(document.span(&pointer)), Code::DuplicateId, "this source has a route already")
                .with_hint("write one route a source".to_owned())
        })
        .chain(rules)
        .chain(streams)
        .chain(aws_only)
        .collect();
    if faults.is_empty() { Ok(written) } else { Err(faults) }
}

fn repeated_sources(written: &Written) -> impl Iterator<Item = usize> {
    let routes = &written.routes;
    (0..routes.len()).filter(|at| routes[..*at].iter().any(|other| other.source == routes[*at].source))
}

impl Written {
    /// A directory of rule files instead of where they are written to come from.
    pub fn set_rules(&mut self, dir: PathBuf) {
        self.rules.set_directory(dir);
    }

    /// Another file for the store than the one written.
    pub fn set_data(&mut self, data: PathBuf) {
        self.data = data;
    }

    /// Settings as run. Total: [`read`] refused what has no meaning. `environment` are the variables that begin with `OTEL_`.
    pub fn into_config(self, environment: &BTreeMap<String, String>) -> Config {
        let seconds = Duration::from_secs;
        let Sources { rules, rules_watch, candidate, candidate_watch } =
            self.rules.into_sources(&self.data, self.rules_watch_seconds);
        Config {
            rules,
            candidate,
            // Beside the store, which is where there is a disk.
            state: self.state.path.unwrap_or_else(|| self.data.with_extension("state")),
            snapshot_every: Some(self.state.snapshot_seconds).filter(|seconds| *seconds > 0).map(seconds),
            rules_watch,
            candidate_watch,
            spool: self.spool.map(|spool| spool.into_settings(&self.data)),
            data: self.data,
            listen: self.listen,
            admin: self.admin,
            backend: match self.backend {
                WrittenBackend::Local => {
                    Backend::Local { shards: self.local.shards, streams_max: self.local.streams_max }
                }
                WrittenBackend::Aws => Backend::Aws {
                    region: self.aws.region,
                    kinesis_endpoint: self.aws.kinesis_endpoint,
                    sqs_endpoint: self.aws.sqs_endpoint,
                    sns_endpoint: self.aws.sns_endpoint,
                    dynamodb_endpoint: self.aws.dynamodb_endpoint,
                    s3_endpoint: self.aws.s3_endpoint,
                },
            },
            dlq: self.dlq.into(),
            letter_bucket: self.dead_letters.s3.map(WrittenBucket::into_bucket),
            routes: Routes::new(self.routes.into_iter().map(WrittenRoute::into_route)),
            streams: self.streams.into_iter().map(WrittenStream::into_gated).collect(),
            limits: Limits {
                connections: self.limits.connections,
                bodies_bytes: self.limits.body_mib_in_flight * MIB,
                header_time: seconds(self.limits.header_timeout_seconds),
                idle_time: seconds(self.limits.idle_timeout_seconds),
                body_time: seconds(self.limits.body_timeout_seconds),
                drain_time: seconds(self.drain_seconds),
                ..Limits::default()
            },
            records_in_flight_max: self.limits.records_in_flight,
            inflated_bytes_max: self.limits.inflated_mib * MIB,
            retry: RetryPolicy {
                attempts_max: self.retry.attempts,
                deadline_ms: self.retry.deadline_seconds * 1_000,
                ..RetryPolicy::default()
            },
            notices: self.notices.map(WrittenNotices::into_settings),
            tracing: self.tracing.into_settings(environment),
        }
    }
}

impl WrittenRoute {
    fn into_route(self) -> (String, Route) {
        let route = Route {
            label: self.source.as_str().into(),
            mesh: self.mesh.as_deref().unwrap_or(&self.source).into(),
            dlq: self.dlq.map(Into::into),
            on_quarantine: self.on_quarantine,
            ordering: self.ordering,
            isolation: self.isolation,
            type_pointer: self.type_pointer.and_then(|text| Pointer::parse(&text).ok()),
            outbox: self.outbox.map(Into::into),
        };
        (self.source, route)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use expect_test::expect;

    use super::*;
    use crate::config::{self, ConfigError, Overrides};
    use crate::decode::dynamodb::{OnModify, OnRemove};
    use crate::lease::Start;
    use crate::model::Timestamp;
    use crate::source::kinesis_stream::feed::Reading;

    fn faults(text: &str) -> String {
        match read("meshgate.yaml", text.as_bytes()) {
            Ok(_) => "none".into(),
            Err(faults) => faults.iter().map(|d| format!("{d}\n")).collect(),
        }
    }

    #[test]
    fn no_file_and_an_empty_file_are_the_documented_defaults() {
        for text in [None, Some(&b""[..]), Some(b"# nothing yet\n\n")] {
            let config = config::parse(text, Path::new("meshgate.yaml"), &Overrides::default()).unwrap();
            assert_eq!(config.listen.to_string(), "127.0.0.1:4570");
            assert_eq!(config.admin.to_string(), "127.0.0.1:9570");
            assert_eq!((config.rules.to_string(), config.data.to_str()), ("rules".into(), Some("data/meshgate.db")));
            assert_eq!((config.candidate, config.state.to_str()), (None, Some("data/meshgate.state")));
            assert_eq!(config.backend, Backend::Local { shards: 4, streams_max: 1_000 });
        }
    }

    #[test]
    fn every_fault_is_listed_with_its_place() {
        expect![[r#"
            meshgate.yaml:2:10: error[invalid-value]: `backend` must be one of local, aws
            meshgate.yaml:3:23: error[invalid-value]: `connections`: value is less than the minimum of 1 (Default 1024)
            meshgate.yaml:5:5: error[missing-key]: this entry lacks the key `source` (The stream that producers write to)
            meshgate.yaml:6:14: error[invalid-value]: `source` is not of the form it must have
            meshgate.yaml:1:1: error[unknown-key]: the format has no key `listne` here (did you mean "listen"?)
        "#]].assert_eq(&faults(
            "listne: 127.0.0.1:1\nbackend: gcp\nlimits: {connections: 0}\nroutes:\n  - {mesh: a}\n  - {source: 'no spaces'}\n",
        ));
        expect![[r#"
            meshgate.yaml:1:32: error[duplicate-id]: this source has a route already (write one route a source)
        "#]]
        .assert_eq(&faults("routes: [{source: a}, {source: a, mesh: b}]\n"));
        expect![[r#"
            meshgate.yaml:1:9: error[invalid-value]: `listen` is not an address (write an IP address and a port, as in 127.0.0.1:4570)
        "#]].assert_eq(&faults("listen: 999.0.0.1:1\n"));
        expect![[r#"
            meshgate.yaml:2:1: error[syntax]: not YAML: while parsing a flow sequence, expected ',' or ']'
        "#]]
        .assert_eq(&faults("a: [1\n"));
    }

    #[test]
    fn a_gated_stream_leads_elsewhere_and_begins_somewhere() {
        let text = "backend: aws\nroutes: [{source: a, mesh: b}, {source: b, mesh: a}, {source: c}]\n\
                    streams:\n  - {source: a}\n  - {source: b, start: yesterday}\n  - {source: c}\n  - {source: d}\n  - {source: d}\n";
        expect![[r#"
            meshgate.yaml:4:14: error[invalid-value]: the good events of this stream come back to it, and would be judged for ever (route it to another stream)
            meshgate.yaml:5:14: error[invalid-value]: the good events of this stream come back to it, and would be judged for ever (route it to another stream)
            meshgate.yaml:5:24: error[invalid-value]: `start` is neither a place of a stream nor a time (write trim_horizon, latest, or a time as in 2026-11-28T06:00:00Z)
            meshgate.yaml:6:14: error[invalid-value]: the good events of this stream come back to it, and would be judged for ever (route it to another stream)
            meshgate.yaml:7:14: error[invalid-value]: no route says where the good events of this stream go (add a route with this `source`, and its mesh stream as `mesh`)
            meshgate.yaml:8:14: error[invalid-value]: this stream is gated already (write one entry a stream)
            meshgate.yaml:8:14: error[invalid-value]: no route says where the good events of this stream go (add a route with this `source`, and its mesh stream as `mesh`)
        "#]].assert_eq(&faults(text));
        expect![[r#"
            meshgate.yaml:2:20: error[invalid-value]: the embedded store holds no streams of others (write `backend: aws`)
        "#]].assert_eq(&faults("routes: [{source: a, mesh: b}]\nstreams: [{source: a}]\n"));
        let text = b"backend: aws\nroutes: [{source: raw, mesh: silver}, {source: silver, mesh: gold}]\n\
                     streams: [{source: raw, start: 2026-11-28T06:00:00Z, consumer: gate}, {source: silver}]\n";
        let config = config::parse(Some(text), Path::new("meshgate.yaml"), &Overrides::default()).unwrap();
        let [raw, silver] = &config.streams[..] else { panic!("{:?}", config.streams) };
        assert_eq!(raw.start, Start::AtTimestamp(Timestamp::from_millis(1_795_845_600_000)));
        assert_eq!(raw.reading, Reading::FanOut { consumer: "gate".into() });
        assert_eq!((silver.start, &*silver.lease_table), (Start::TrimHorizon, "meshgate-silver"));
    }

    #[test]
    fn flags_beat_the_file_which_beats_defaults() {
        let overrides = Overrides { listen: Some(([127, 0, 0, 1], 1).into()), ..Overrides::default() };
        let text = b"listen: 127.0.0.1:2\nadmin: 127.0.0.1:3\nroutes: [{source: in, mesh: out, ordering: key, isolation: batch}]\n";
        let config = config::parse(Some(text), Path::new("meshgate.yaml"), &overrides).unwrap();
        assert_eq!((config.listen.port(), config.admin.port()), (1, 3));
        let route = config.routes.find("in", &Default::default()).unwrap();
        assert_eq!((&*route.mesh, route.ordering, route.on_quarantine), ("out", Ordering::Key, OnQuarantine::Accept));
        assert_eq!(route.isolation, Isolation::Batch);
        assert!(config.routes.find("out", &Default::default()).is_none());
    }

    #[test]
    fn an_outbox_is_read_with_the_names_of_debezium() {
        let text = "routes: [{source: a, outbox: {}}, {source: b, outbox: {key: pk, on_modify: event, on_remove: quarantine}}]\n";
        let config = config::parse(Some(text.as_bytes()), Path::new("meshgate.yaml"), &Overrides::default()).unwrap();
        let outbox = |stream| config.routes.find(stream, &Default::default()).unwrap().outbox.unwrap();
        assert_eq!(*outbox("a"), Outbox::default());
        let other = Outbox {
            key: "pk".into(),
            on_modify: OnModify::Event,
            on_remove: OnRemove::Quarantine,
            ..Outbox::default()
        };
        assert_eq!(*outbox("b"), other);
        expect![[r#"
            meshgate.yaml:2:37: error[invalid-value]: `on_remove` must be one of ignore, quarantine
            meshgate.yaml:2:59: error[invalid-value]: `type`: value is shorter than 1 character
            meshgate.yaml:2:44: error[unknown-key]: the format has no key `keys` here (did you mean "key"?)
            meshgate.yaml:3:24: error[invalid-value]: `inflated_mib`: value is less than the minimum of 1 (What a compressed payload may inflate to. Default 16)
        "#]].assert_eq(&faults(
            "routes:\n  - {source: a, outbox: {on_remove: event, keys: x, type: ''}}\nlimits: {inflated_mib: 0}\n",
        ));
    }

    #[test]
    fn a_bucket_for_letters_is_of_aws_and_its_prefix_a_folder() {
        let text = "backend: aws\ndead_letters: {s3: {bucket: letters, prefix: team=a/, archive: true}}\n";
        let config = config::parse(Some(text.as_bytes()), Path::new("meshgate.yaml"), &Overrides::default()).unwrap();
        let expected = config::LetterBucket { name: "letters".into(), prefix: "team=a/".into(), archive: true };
        assert_eq!(config.letter_bucket, Some(expected));
        expect![[r#"
            meshgate.yaml:1:20: error[invalid-value]: the embedded store keeps dead letters itself (write `backend: aws`)
        "#]].assert_eq(&faults("dead_letters: {s3: {bucket: letters}}\n"));
        expect![[r#"
            meshgate.yaml:2:29: error[invalid-value]: `bucket` is not of the form it must have (Name of a bucket in the gate's region)
            meshgate.yaml:2:46: error[invalid-value]: `prefix` is not of the form it must have (What all keys begin with, ending in /. Default none)
            meshgate.yaml:2:52: error[unknown-key]: the format has no key `sqs` here (keys here are s3)
        "#]]
            .assert_eq(&faults("backend: aws\ndead_letters: {s3: {bucket: Letters, prefix: dlq}, sqs: {}}\n"));
        expect![[r#"
            meshgate.yaml:2:29: error[invalid-value]: `prefix` is not of the form it must have (What all keys begin with, ending in /. Default none)
            meshgate.yaml:2:16: error[missing-key]: `s3` lacks the key `bucket` (Name of a bucket in the gate's region)
        "#]].assert_eq(&faults("backend: aws\ndead_letters: {s3: {prefix: /}}\n"));
    }

    #[test]
    fn a_named_file_must_be_there() {
        let overrides = Overrides { config: Some("no/such/file.yaml".into()), ..Overrides::default() };
        assert!(matches!(config::load(&overrides), Err(ConfigError::Unreadable { .. })));
    }
}
