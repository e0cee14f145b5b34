//! Numbers whose every comparison is exact: integers of up to 18 digits, and decimals of up to 15.
//!
//! Fifteen significant digits survive the way through a double and back, so whoever compares such numbers, exactly or as
//! doubles, comes to the same answer. What has more, or an exponent, is left to the `jsonschema` crate.

use std::cmp::Ordering;

use crate::decode::json::token::INTEGER_DIGITS_MAX;

const DECIMAL_DIGITS_MAX: usize = 15;

/// `units / 10^scale`, with the smallest scale that says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Exact {
    units: i64,
    scale: u8,
}

impl Exact {
    /// Reads the text of a JSON number. `None` when it is beyond what is compared exactly here.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (negative, digits) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        let signed = |units: i64| if negative { -units } else { units };
        if digits.len() <= INTEGER_DIGITS_MAX
            && let Some(units) = unsigned(digits.as_bytes(), 0)
        {
            return Some(Self { units: signed(units), scale: 0 });
        }
        let (whole, fraction) = digits.split_once('.')?;
        if whole.len() + fraction.len() > DECIMAL_DIGITS_MAX {
            return None;
        }
        let fraction = fraction.trim_end_matches('0');
        let units = unsigned(fraction.as_bytes(), unsigned(whole.as_bytes(), 0)?)?;
        Some(Self { units: signed(units), scale: fraction.len() as u8 })
    }

    /// Of at most 18 digits.
    pub(super) fn integer(units: i64) -> Self {
        Self { units, scale: 0 }
    }

    pub(super) fn is_integer(self) -> bool {
        self.scale == 0
    }

    pub(super) fn to_integer(self) -> Option<i64> {
        self.is_integer().then_some(self.units)
    }

    /// As a length or a number of things.
    pub(super) fn to_count(self) -> Option<u64> {
        u64::try_from(self.units).ok().filter(|_| self.is_integer())
    }

    /// `divisor` is positive, as the meta-schemas demand.
    pub(super) fn is_multiple_of(self, divisor: Self) -> bool {
        let scale = self.scale.max(divisor.scale);
        self.at_scale(scale).checked_rem(divisor.at_scale(scale)) == Some(0)
    }

    /// At most 18 + 15 digits: within an `i128`.
    fn at_scale(self, scale: u8) -> i128 {
        i128::from(self.units) * 10_i128.pow(u32::from(scale - self.scale))
    }
}

/// `before` and then these digits. `None` when one is no digit.
fn unsigned(digits: &[u8], before: i64) -> Option<i64> {
    digits.iter().try_fold(before, |units, digit| match digit {
        b'0'..=b'9' => Some(units * 10 + i64::from(digit - b'0')),
        _ => None,
    })
}

impl Ord for Exact {
    fn cmp(&self, other: &Self) -> Ordering {
        if self.scale == other.scale {
            return self.units.cmp(&other.units);
        }
        let scale = self.scale.max(other.scale);
        self.at_scale(scale).cmp(&other.at_scale(scale))
    }
}

impl PartialOrd for Exact {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_exact_is_read_and_the_rest_is_not() {
        let exact = |text| Exact::parse(text).map(|e| (e.units, e.scale));
        assert_eq!(exact("0"), Some((0, 0)));
        assert_eq!(exact("-0.00"), Some((0, 0)));
        assert_eq!(exact("-12.340"), Some((-1234, 2)));
        assert_eq!(exact("999999999999999999"), Some((999_999_999_999_999_999, 0)));
        for beyond in ["1000000000000000000", "1e3", "1E-2", "1.5e1", "0.123456789012345", "9999999999999.123"] {
            assert_eq!(exact(beyond), None, "{beyond}");
        }
    }

    proptest! {
        /// Against arithmetic on integers alone: both numbers times a thousand.
        #[test]
        fn compares_and_divides_like_integers(a in -999_999_999_i64..999_999_999, b in 1_i64..999_999, x in 0_u8..4, y in 0_u8..4) {
            let write = |units: i64, scale: u8| {
                let power = 10_i64.pow(u32::from(scale));
                let sign = if units < 0 { "-" } else { "" };
                match scale {
                    0 => units.to_string(),
                    _ => format!("{sign}{}.{:0width$}", units.abs() / power, units.abs() % power, width = scale.into()),
                }
            };
            let thousandths = |units: i64, scale: u8| units * 10_i64.pow(u32::from(3 - scale));
            let (left, right) = (Exact::parse(&write(a, x)).unwrap(), Exact::parse(&write(b, y)).unwrap());
            let (plain_left, plain_right) = (thousandths(a, x), thousandths(b, y));
            prop_assert_eq!(left.cmp(&right), plain_left.cmp(&plain_right));
            prop_assert_eq!(left == right, plain_left == plain_right);
            prop_assert_eq!(left.is_multiple_of(right), plain_left % plain_right == 0);
            prop_assert_eq!(left.is_integer(), plain_left % 1000 == 0);
        }

        #[test]
        fn no_text_panics(text in "[-0-9.eE]{0,24}") {
            let _ = Exact::parse(&text);
        }
    }
}
