//! A point in time, passed in from the shell: the core never asks for the time itself.

use std::fmt;

use chrono::{DateTime, SecondsFormat, Utc};

/// Milliseconds since the Unix epoch, UTC. The precision of Kinesis' `ApproximateArrivalTimestamp`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

impl Timestamp {
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    pub const fn millis(self) -> i64 {
        self.0
    }

    /// Parses RFC 3339 (`2026-11-22T10:00:05Z`), the form examples in contracts use. `None` when it is something else.
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        Some(Self(DateTime::parse_from_rfc3339(text).ok()?.timestamp_millis()))
    }

    /// As chrono's type, which the `cel` crate computes with. Saturates at chrono's range (about ±262,000 years).
    pub fn to_datetime(self) -> DateTime<Utc> {
        DateTime::from_timestamp_millis(self.0).unwrap_or(if self.0 < 0 {
            DateTime::<Utc>::MIN_UTC
        } else {
            DateTime::<Utc>::MAX_UTC
        })
    }
}

/// RFC 3339 in UTC with milliseconds: `2026-11-22T10:00:05.000Z`.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_datetime().to_rfc3339_opts(SecondsFormat::Millis, true))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc3339_round_trips() {
        let t = Timestamp::parse_rfc3339("2026-11-22T10:00:05Z").unwrap();
        assert_eq!(t.to_string(), "2026-11-22T10:00:05.000Z");
        assert_eq!(Timestamp::parse_rfc3339("yesterday"), None);
    }

    #[test]
    fn extreme_values_print_without_panic() {
        for millis in [i64::MIN, i64::MAX, 0, -1] {
            let _ = Timestamp::from_millis(millis).to_string();
        }
    }
}
