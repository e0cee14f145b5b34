//! The key `tracing`, and the variables that OpenTelemetry has for the same: where spans go, and which.
//!
//! What is written wins over the variables (OpenTelemetry specification, "Environment Variable Specification" and "OpenTelemetry Protocol
//! Exporter"), these over defaults. A variable that is not understood is told and left aside, as the specification has it: it is mostly
//! meant for other programs too.

use std::collections::BTreeMap;

use percent_encoding::percent_decode_str;
use serde::Deserialize;

use crate::config::Tracing;
use crate::trace::{Sampler, Settings};

/// Where traces are taken below an OTLP endpoint.
const PATH: &str = "/v1/traces";

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WrittenTracing {
    otlp: Option<String>,
    sample: Option<f64>,
    service_name: Option<String>,
}

/// Variables that say something, and what is wrong with others.
struct Environment<'a> {
    variables: &'a BTreeMap<String, String>,
    warnings: Vec<String>,
}

impl<'a> Environment<'a> {
    /// An empty variable is none.
    fn get(&self, name: &str) -> Option<&'a str> {
        self.variables.get(name).map(|value| value.trim()).filter(|value| !value.is_empty())
    }

    fn first(&self, names: [&str; 2]) -> Option<&'a str> {
        names.into_iter().find_map(|name| self.get(name))
    }

    fn warn(&mut self, name: &str, why: &str) {
        self.warnings.push(format!("{name} {why}"));
    }

    /// A list of `key=value`, percent-encoded (W3C Baggage, without properties). Values are not shown: they may be secrets.
    fn pairs(&mut self, names: [&str; 2]) -> BTreeMap<String, String> {
        let mut pairs = BTreeMap::new();
        let Some(name) = names.into_iter().find(|name| self.get(name).is_some()) else { return pairs };
        for pair in self.get(name).unwrap_or_default().split(',').filter(|pair| !pair.trim().is_empty()) {
            let decoded = |text: &str| percent_decode_str(text.trim()).decode_utf8().ok().map(String::from);
            match pair.split_once('=').and_then(|(key, value)| Some((decoded(key)?, decoded(value)?))) {
                Some((key, value)) if !key.is_empty() => drop(pairs.insert(key, value)),
                _ => self.warn(name, "has an entry that is not key=value; it is left out"),
            }
        }
        pairs
    }

    /// Where spans go by the variables alone.
    fn url(&mut self) -> Option<String> {
        let is_set = |name, value| self.get(name).is_some_and(|set| set.eq_ignore_ascii_case(value));
        if is_set("OTEL_SDK_DISABLED", "true") || is_set("OTEL_TRACES_EXPORTER", "none") {
            return None;
        }
        let whole = self.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT").map(str::to_owned);
        let url = whole.or_else(|| self.get("OTEL_EXPORTER_OTLP_ENDPOINT").map(below))?;
        let protocol = self.first(["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"]);
        if protocol == Some("grpc") {
            let why = "is grpc, and the gate speaks OTLP over HTTP: no spans are exported; name the endpoint for HTTP (port 4318 by \
                       default) as tracing.otlp";
            self.warn("OTEL_EXPORTER_OTLP_PROTOCOL", why);
            return None;
        }
        if !url.starts_with("http://") && !url.starts_with("https://") {
            self.warn("OTEL_EXPORTER_OTLP_ENDPOINT", "is no http or https URL: no spans are exported");
            return None;
        }
        Some(url)
    }

    fn sampler(&mut self) -> Sampler {
        let parent_based = |share| Sampler { share, is_parent_based: true };
        let name = "OTEL_TRACES_SAMPLER";
        let (sampler, has_share) = match self.get(name) {
            None | Some("parentbased_always_on") => (parent_based(1.0), false),
            Some("parentbased_always_off") => (parent_based(0.0), false),
            Some("parentbased_traceidratio") => (parent_based(1.0), true),
            Some("always_on") => (Sampler { share: 1.0, is_parent_based: false }, false),
            Some("always_off") => (Sampler { share: 0.0, is_parent_based: false }, false),
            Some("traceidratio") => (Sampler { share: 1.0, is_parent_based: false }, true),
            Some(_) => {
                self.warn(name, "is no sampler that is known here; parentbased_always_on is used");
                (parent_based(1.0), false)
            }
        };
        let name = "OTEL_TRACES_SAMPLER_ARG";
        match self.get(name).filter(|_| has_share).map(str::parse::<f64>) {
            Some(Ok(share)) if (0.0..=1.0).contains(&share) => Sampler { share, ..sampler },
            Some(_) => {
                self.warn(name, "is not a number from 0 to 1; 1 is used");
                sampler
            }
            None => sampler,
        }
    }
}

impl WrittenTracing {
    /// Settings as run. `environment` are the variables that begin with `OTEL_`.
    pub fn into_settings(self, environment: &BTreeMap<String, String>) -> Tracing {
        let mut environment = Environment { variables: environment, warnings: Vec::new() };
        let says_more = self.sample.is_some() || self.service_name.is_some();
        let Some(url) = self.otlp.as_deref().map(below).or_else(|| environment.url()) else {
            if says_more {
                environment
                    .warn("tracing", "is set without an endpoint: no spans are exported; name one as tracing.otlp");
            }
            return Tracing { settings: None, warnings: environment.warnings };
        };
        let sampler = match self.sample {
            Some(share) => Sampler { share, is_parent_based: true },
            None => environment.sampler(),
        };
        let mut resource = environment.pairs(["OTEL_RESOURCE_ATTRIBUTES"; 2]);
        let name = self.service_name.or_else(|| environment.get("OTEL_SERVICE_NAME").map(str::to_owned));
        if let Some(name) = name.or_else(|| (!resource.contains_key("service.name")).then(|| "meshgate".to_owned())) {
            resource.insert("service.name".to_owned(), name);
        }
        let headers = environment.pairs(["OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS"]);
        Tracing { settings: Some(Settings { url, headers, sampler, resource }), warnings: environment.warnings }
    }
}

/// The URL for traces below a base, which may be it already.
fn below(base: &str) -> String {
    let base = base.trim_end_matches('/');
    if base.ends_with(PATH) { base.to_owned() } else { format!("{base}{PATH}") }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use expect_test::expect;

    use crate::config::{self, ConfigError, Overrides, Tracing};

    fn parsed(text: &str, environment: &[(&str, &str)]) -> Result<Tracing, String> {
        let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let overrides = Overrides { environment, ..Overrides::default() };
        let config = config::parse(Some(text.as_bytes()), "meshgate.yaml".as_ref(), &overrides);
        config.map(|config| config.tracing).map_err(|error| match error {
            ConfigError::Faulty { faults, .. } => faults.iter().map(|fault| format!("{fault}\n")).collect(),
            other => other.to_string(),
        })
    }

    #[test]
    fn it_is_off_unless_an_endpoint_is_set() {
        let base = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318");
        let mut all = String::new();
        for (text, environment) in [
            ("{}", &[][..]),
            ("tracing: {}", &[]),
            ("{}", &[("OTEL_EXPORTER_OTLP_ENDPOINT", " ")]),
            ("{}", &[base, ("OTEL_SDK_DISABLED", "true")]),
            ("{}", &[base, ("OTEL_TRACES_EXPORTER", "none")]),
            ("tracing: {sample: 0.5}", &[]),
            ("{}", &[base, ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")]),
            ("{}", &[("OTEL_EXPORTER_OTLP_ENDPOINT", "c:4317")]),
        ] {
            let Tracing { settings, warnings } = parsed(text, environment).unwrap();
            assert_eq!(settings, None, "{text} {environment:?}");
            warnings.iter().for_each(|warning| writeln!(all, "{warning}").unwrap());
        }
        expect![[r#"
            tracing is set without an endpoint: no spans are exported; name one as tracing.otlp
            OTEL_EXPORTER_OTLP_PROTOCOL is grpc, and the gate speaks OTLP over HTTP: no spans are exported; name the endpoint for HTTP (port 4318 by default) as tracing.otlp
            OTEL_EXPORTER_OTLP_ENDPOINT is no http or https URL: no spans are exported
        "#]]
        .assert_eq(&all);
    }

    #[test]
    fn what_is_written_wins_over_the_variables_and_these_over_defaults() {
        let base = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318/");
        let mut all = String::new();
        for (text, environment) in [
            ("tracing: {otlp: 'http://127.0.0.1:4318'}", &[][..]),
            ("{}", &[base]),
            ("{}", &[base, ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://t/as/it/is")]),
            (
                "tracing: {otlp: 'https://d/otlp/v1/traces/', sample: 0.1, service_name: gate}",
                &[
                    base,
                    ("OTEL_SERVICE_NAME", "other"),
                    ("OTEL_TRACES_SAMPLER", "always_off"),
                    ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
                ],
            ),
            (
                "{}",
                &[
                    base,
                    ("OTEL_RESOURCE_ATTRIBUTES", "service.name=named,deployment.environment.name=a%2Cb,broken"),
                    ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Basic%20eA==, x-tenant = 7"),
                    ("OTEL_TRACES_SAMPLER", "traceidratio"),
                    ("OTEL_TRACES_SAMPLER_ARG", "0.25"),
                ],
            ),
            ("{}", &[base, ("OTEL_TRACES_SAMPLER", "jaeger_remote"), ("OTEL_TRACES_SAMPLER_ARG", "7")]),
            ("{}", &[base, ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"), ("OTEL_TRACES_SAMPLER_ARG", "7")]),
        ] {
            let Tracing { settings, warnings } = parsed(text, environment).unwrap();
            let settings = settings.unwrap();
            let (sampler, headers, resource) = (settings.sampler, settings.headers, settings.resource);
            writeln!(all, "{} {} {} {headers:?} {resource:?}", settings.url, sampler.share, sampler.is_parent_based)
                .unwrap();
            warnings.iter().for_each(|warning| writeln!(all, "  {warning}").unwrap());
        }
        expect![[r#"
            http://127.0.0.1:4318/v1/traces 1 true {} {"service.name": "meshgate"}
            http://c:4318/v1/traces 1 true {} {"service.name": "meshgate"}
            https://t/as/it/is 1 true {} {"service.name": "meshgate"}
            https://d/otlp/v1/traces 0.1 true {} {"service.name": "gate"}
            http://c:4318/v1/traces 0.25 false {"authorization": "Basic eA==", "x-tenant": "7"} {"deployment.environment.name": "a,b", "service.name": "named"}
              OTEL_RESOURCE_ATTRIBUTES has an entry that is not key=value; it is left out
            http://c:4318/v1/traces 1 true {} {"service.name": "meshgate"}
              OTEL_TRACES_SAMPLER is no sampler that is known here; parentbased_always_on is used
            http://c:4318/v1/traces 1 true {} {"service.name": "meshgate"}
              OTEL_TRACES_SAMPLER_ARG is not a number from 0 to 1; 1 is used
        "#]].assert_eq(&all);
    }

    #[test]
    fn every_fault_is_listed_with_its_place() {
        let text = "tracing:\n  otlp: 127.0.0.1:4318\n  sample: 10\n  service_name: ''\n  ratio: 1\n";
        expect![[r#"
            meshgate.yaml:2:9: error[invalid-value]: `otlp` is not of the form it must have (URL of a collector that takes OTLP over HTTP, as in http://127.0.0.1:4318; /v1/traces is added)
            meshgate.yaml:3:11: error[invalid-value]: `sample`: value is greater than the maximum of 1 (The share of traces that begin at the gate; others follow what was decided before. Default 1)
            meshgate.yaml:4:17: error[invalid-value]: `service_name`: value is shorter than 1 character (What the gate is called in traces. Default meshgate)
            meshgate.yaml:5:3: error[unknown-key]: the format has no key `ratio` here (keys here are otlp, sample, service_name)
        "#]].assert_eq(&parsed(text, &[]).unwrap_err());
    }
}
