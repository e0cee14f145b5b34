//! Points in time, as the `cel` crate computes with them: to the nanosecond, within the years 1 to 9999.

use crate::model;

const NANOS: i64 = 1_000_000_000;

/// 0001-01-01T00:00:00Z and 9999-12-31T23:59:59Z, in seconds since the Unix epoch.
const SECONDS: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;

/// A CEL timestamp. Always within the years CEL allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::rule::expr) struct Moment {
    /// Since the Unix epoch.
    seconds: i64,
    nanos: u32,
}

impl Moment {
    /// `None` outside CEL's years, where the crate decides.
    pub(super) fn of(at: model::Timestamp) -> Option<Self> {
        let millis = at.millis();
        Self::new(millis.div_euclid(1000), millis.rem_euclid(1000) as u32 * 1_000_000)
    }

    fn new(seconds: i64, nanos: u32) -> Option<Self> {
        SECONDS.contains(&seconds).then_some(Self { seconds, nanos })
    }

    /// Seconds since the Unix epoch, and the nanoseconds of the second.
    pub(in crate::rule::expr) fn parts(self) -> (i64, u32) {
        (self.seconds, self.nanos)
    }

    /// Later by so many nanoseconds.
    pub(super) fn plus(self, span: i64) -> Option<Self> {
        self.moved(span.div_euclid(NANOS), span.rem_euclid(NANOS))
    }

    pub(super) fn minus(self, span: i64) -> Option<Self> {
        let (seconds, nanos) = (span.div_euclid(NANOS), span.rem_euclid(NANOS));
        self.moved(-seconds - 1, NANOS - nanos)
    }

    /// `nanos` are at most a second.
    fn moved(self, seconds: i64, nanos: i64) -> Option<Self> {
        let nanos = i64::from(self.nanos) + nanos;
        Self::new(self.seconds + seconds + nanos / NANOS, (nanos % NANOS) as u32)
    }

    /// The nanoseconds since another.
    pub(super) fn since(self, other: Self) -> Option<i64> {
        let nanos = i64::from(self.nanos) - i64::from(other.nanos);
        // With a part of a second of the same sign, the whole seconds fit where the sum does.
        let (seconds, nanos) = match self.seconds - other.seconds {
            seconds if seconds < 0 && nanos > 0 => (seconds + 1, nanos - NANOS),
            seconds if seconds > 0 && nanos < 0 => (seconds - 1, nanos + NANOS),
            seconds => (seconds, nanos),
        };
        seconds.checked_mul(NANOS)?.checked_add(nanos)
    }

    /// Reads `2026-11-22T10:00:05Z`, with an offset instead of `Z` and up to nine decimals of a second. `None` for all other
    /// forms RFC 3339 has (a leap second, small letters, a space), and for what is none.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        let (date, rest) = bytes.split_first_chunk::<19>()?;
        let [_, _, _, _, b'-', _, _, b'-', _, _, b'T', _, _, b':', _, _, b':', _, _] = date else { return None };
        let year = two(date, 0)? * 100 + two(date, 2)?;
        let (month, day) = (two(date, 5)?, two(date, 8)?);
        let (hour, minute, second) = (two(date, 11)?, two(date, 14)?, two(date, 17)?);
        let in_range = year >= 1 && (1..=12).contains(&month) && (1..=days_of(year, month)).contains(&day);
        if !in_range || hour > 23 || minute > 59 || second > 59 {
            return None;
        }
        let (nanos, zone) = fraction(rest)?;
        let seconds = days_since_epoch(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second;
        Self::new(seconds - offset(zone)?, nanos)
    }
}

/// Two digits.
#[inline]
fn two(bytes: &[u8; 19], at: usize) -> Option<i64> {
    let (tens, ones) = (bytes[at].wrapping_sub(b'0'), bytes[at + 1].wrapping_sub(b'0'));
    (tens < 10 && ones < 10).then(|| i64::from(tens * 10 + ones))
}

/// The nanoseconds, and what follows them.
fn fraction(rest: &[u8]) -> Option<(u32, &[u8])> {
    let Some(decimals) = rest.strip_prefix(b".") else { return Some((0, rest)) };
    let count = decimals.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if !(1..=9).contains(&count) {
        return None;
    }
    let (digits, zone) = decimals.split_at(count);
    let value = digits.iter().fold(0, |sum, digit| sum * 10 + u32::from(digit - b'0'));
    Some((value * 10_u32.pow(9 - count as u32), zone))
}

/// The seconds a zone is ahead of UTC.
fn offset(zone: &[u8]) -> Option<i64> {
    let (sign, digits) = match zone {
        b"Z" => return Some(0),
        [b'+', digits @ ..] => (1, digits),
        [b'-', digits @ ..] => (-1, digits),
        _ => return None,
    };
    let [h1, h2, b':', m1, m2] = digits else { return None };
    if ![h1, h2, m1, m2].into_iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = |tens: &u8, ones: &u8| i64::from((tens - b'0') * 10 + (ones - b'0'));
    let (hours, minutes) = (number(h1, h2), number(m1, m2));
    (hours <= 23 && minutes <= 59).then_some(sign * (hours * 3_600 + minutes * 60))
}

fn days_of(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Of the proleptic Gregorian calendar, years 1 and later (Howard Hinnant's `days_from_civil`).
fn days_since_epoch(year: i64, month: i64, day: i64) -> i64 {
    // Years that begin in March end with the leap day.
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year / 400, year % 400);
    let of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What the crate reads, where it is within CEL's years.
    fn truth(text: &str) -> Option<Moment> {
        let at = chrono::DateTime::parse_from_rfc3339(text).ok()?;
        Moment::new(at.timestamp(), at.timestamp_subsec_nanos())
    }

    #[test]
    fn the_common_form_is_read() {
        for text in [
            "2026-11-22T10:00:05Z",
            "2026-11-22T10:00:05.5Z",
            "2026-11-22T10:00:05.123456789+05:30",
            "2024-02-29T00:00:00-23:59",
            "0001-01-01T00:00:00Z",
            "9999-12-31T23:59:59.999999999Z",
        ] {
            assert!(Moment::parse(text).is_some() && Moment::parse(text) == truth(text), "{text}");
        }
        for text in [
            "2026-02-30T10:00:00Z",
            "2026-11-22t10:00:05z",
            "2026-11-22 10:00:05Z",
            "2026-11-22T10:00:60Z",
            "2026-11-22T24:00:00Z",
            "2026-11-22T10:00:05.Z",
            "2026-11-22T10:00:05+24:00",
            "0001-01-01T00:00:00+00:01",
            "0000-12-31T23:59:59-01:00",
            "2026-11-22T10:00:05",
            "2026-11-22",
            "",
        ] {
            assert_eq!(Moment::parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_read_is_what_the_crate_reads(
            text in "[0-9]{4}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-6][0-9](\\.[0-9]{0,10})?(Z|z|[+-][0-2][0-9]:[0-5][0-9])"
        ) {
            if let Some(read) = Moment::parse(&text) {
                prop_assert_eq!(Some(read), truth(&text));
            }
        }

        #[test]
        fn computing_is_exact(seconds in SECONDS, nanos in 0..1_000_000_000_u32, span in any::<i64>()) {
            let moment = Moment::new(seconds, nanos).unwrap();
            if let Some(later) = moment.plus(span) {
                prop_assert_eq!(later.since(moment), Some(span));
                prop_assert_eq!(later.minus(span), Some(moment));
                prop_assert_eq!(later > moment, span > 0);
            }
        }
    }
}
