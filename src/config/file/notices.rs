//! The key `notices`: who is told of quarantine, and when.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;

use crate::config::NoticeSettings;
use crate::gate::notice::Terms;

#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WrittenNotices {
    topic: Option<Arc<str>>,
    domains: BTreeMap<String, Arc<str>>,
    exceeds: WrittenRates,
    quiet_seconds: i64,
    at_most_every_seconds: i64,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct WrittenRates {
    share: Option<f64>,
    per_minute: Option<u64>,
}

impl Default for WrittenNotices {
    /// A tenth of the events is more than a few bad ones, and ten minutes outlast the pauses of most producers.
    fn default() -> Self {
        Self {
            topic: None,
            domains: BTreeMap::new(),
            exceeds: WrittenRates { share: Some(0.1), per_minute: None },
            quiet_seconds: 600,
            at_most_every_seconds: 300,
        }
    }
}

impl WrittenNotices {
    /// Settings as run.
    pub fn into_settings(self) -> NoticeSettings {
        let Self { topic, domains, exceeds: WrittenRates { share, per_minute }, quiet_seconds, at_most_every_seconds } =
            self;
        let terms =
            Terms { share, per_minute, quiet_ms: quiet_seconds * 1_000, every_ms: at_most_every_seconds * 1_000 };
        NoticeSettings { topic, domains, terms }
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use crate::config::{self, ConfigError, NoticeSettings, Overrides};

    fn parsed(text: &str) -> Result<Option<NoticeSettings>, String> {
        let config = config::parse(Some(text.as_bytes()), "meshgate.yaml".as_ref(), &Overrides::default());
        config.map(|config| config.notices).map_err(|error| match error {
            ConfigError::Faulty { faults, .. } => faults.iter().map(|fault| format!("{fault}\n")).collect(),
            other => other.to_string(),
        })
    }

    #[test]
    fn nobody_is_told_unless_asked_and_rates_are_those_that_are_written() {
        assert_eq!(parsed("backend: local").unwrap(), None);
        let mut all = String::new();
        for text in [
            "notices: {}",
            "notices: {exceeds: {}, topic: 'arn:aws:sns:eu-central-1:123456789012:quality'}",
            "notices: {exceeds: {per_minute: 9}, domains: {orders: 'arn:aws-cn:sns:cn-north-1:123456789012:o.fifo'}}",
            "notices: {exceeds: {share: 0.5}, quiet_seconds: 60, at_most_every_seconds: 1}",
        ] {
            all += &format!("{:?}\n", parsed(text).unwrap().unwrap());
        }
        expect![[r#"
            NoticeSettings { topic: None, domains: {}, terms: Terms { share: Some(0.1), per_minute: None, quiet_ms: 600000, every_ms: 300000 } }
            NoticeSettings { topic: Some("arn:aws:sns:eu-central-1:123456789012:quality"), domains: {}, terms: Terms { share: None, per_minute: None, quiet_ms: 600000, every_ms: 300000 } }
            NoticeSettings { topic: None, domains: {"orders": "arn:aws-cn:sns:cn-north-1:123456789012:o.fifo"}, terms: Terms { share: None, per_minute: Some(9), quiet_ms: 600000, every_ms: 300000 } }
            NoticeSettings { topic: None, domains: {}, terms: Terms { share: Some(0.5), per_minute: None, quiet_ms: 60000, every_ms: 1000 } }
        "#]].assert_eq(&all);
    }

    #[test]
    fn every_fault_is_listed_with_its_place() {
        let text = "notices:\n  topic: quality\n  domains: {orders: 'arn:aws:sqs:eu-central-1:123456789012:orders'}\n  \
                    exceeds: {share: 5, per_minute: 0, percent: 1}\n  quiet_seconds: 0\n  quiet_minutes: 10\n";
        expect![[r#"
            meshgate.yaml:2:10: error[invalid-value]: `topic` is not of the form it must have (ARN of an SNS topic, as in arn:aws:sns:eu-central-1:123456789012:quality)
            meshgate.yaml:3:21: error[invalid-value]: `orders` is not of the form it must have (ARN of an SNS topic, as in arn:aws:sns:eu-central-1:123456789012:quality)
            meshgate.yaml:4:20: error[invalid-value]: `share`: value is greater than or equal to the maximum of 1 (More than this share of a domain's events, where there are at least 20)
            meshgate.yaml:4:35: error[invalid-value]: `per_minute`: value is less than the minimum of 1 (More events than this)
            meshgate.yaml:4:38: error[unknown-key]: the format has no key `percent` here (keys here are share, per_minute)
            meshgate.yaml:5:18: error[invalid-value]: `quiet_seconds`: value is less than the minimum of 1 (It is over when nothing was quarantined for so long. Default 600)
            meshgate.yaml:6:3: error[unknown-key]: the format has no key `quiet_minutes` here (keys here are topic, domains, exceeds, quiet_seconds, at_most_every_seconds)
        "#]].assert_eq(&parsed(text).unwrap_err());
        expect![[r#"
            meshgate.yaml:1:10: error[wrong-type]: `notices` is a list; it must be a mapping (Who is told when a domain's events begin to be quarantined, when too many are, and when it is over. {}: the log. Default: nobody)
        "#]].assert_eq(&parsed("notices: [orders]").unwrap_err());
    }
}
