//! Numbers as their text says, exactly.

use std::cmp::Ordering;

use serde_json::Number;

/// A decimal number of any size: `0.digits × 10^exponent`. Two numbers are equal exactly when they mean the same, however
/// they are written (`1.10`, `11e-1`).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Decimal {
    /// Neither leading nor trailing zeros; empty for zero.
    digits: Vec<u8>,
    exponent: i64,
    negative: bool,
}

impl Decimal {
    /// Reads the text of a JSON number. An exponent beyond `i64` saturates: such a number is not told from its like.
    pub(crate) fn parse(text: &str) -> Self {
        let (negative, magnitude) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        let (mantissa, exponent) = magnitude.split_once(['e', 'E']).unwrap_or((magnitude, "0"));
        let saturated = if exponent.starts_with('-') { i64::MIN / 2 } else { i64::MAX / 2 };
        let exponent = exponent.parse::<i64>().map_or(saturated, |e| e.clamp(i64::MIN / 2, i64::MAX / 2));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let all: Vec<u8> = whole.bytes().chain(fraction.bytes()).filter(u8::is_ascii_digit).collect();
        let leading = all.iter().take_while(|&&digit| digit == b'0').count();
        if leading == all.len() {
            return Self { digits: Vec::new(), exponent: 0, negative: false };
        }
        let end = all.len() - all.iter().rev().take_while(|&&digit| digit == b'0').count();
        let exponent = exponent + whole.len() as i64 - leading as i64;
        Self { digits: all[leading..end].to_vec(), exponent, negative }
    }

    pub(crate) fn of(number: &Number) -> Self {
        Self::parse(number.as_str())
    }

    /// Exactly the double, whose decimal expansion is finite. `None` for infinities and NaN.
    pub(crate) fn of_double(double: f64) -> Option<Self> {
        // No double needs more than 1,074 decimals; all its digits are exact.
        double.is_finite().then(|| Self::parse(&format!("{double:.1074}")))
    }

    /// The integer this is, when it is one and fits.
    pub(crate) fn to_i64(&self) -> Option<i64> {
        let length = self.digits.len() as i64;
        if self.digits.is_empty() {
            return Some(0);
        }
        if self.exponent < length || self.exponent > 19 {
            return None;
        }
        let magnitude = self
            .digits
            .iter()
            .map(|digit| i128::from(digit - b'0'))
            .chain(std::iter::repeat_n(0, (self.exponent - length) as usize))
            .fold(0_i128, |sum, digit| sum * 10 + digit);
        i64::try_from(if self.negative { -magnitude } else { magnitude }).ok()
    }

    fn sign(&self) -> i8 {
        match (self.digits.is_empty(), self.negative) {
            (true, _) => 0,
            (false, true) => -1,
            (false, false) => 1,
        }
    }
}

impl Ord for Decimal {
    fn cmp(&self, other: &Self) -> Ordering {
        let by_sign = self.sign().cmp(&other.sign());
        let by_magnitude = self.exponent.cmp(&other.exponent).then_with(|| self.digits.cmp(&other.digits));
        by_sign.then(if self.negative { by_magnitude.reverse() } else { by_magnitude })
    }
}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// An int, without fraction and exponent. `None` for what is no such number.
#[inline]
pub(crate) fn whole(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    // 18 digits fit, whatever they are.
    if digits.is_empty() || digits.len() > 18 {
        return std::str::from_utf8(text).ok()?.parse().ok();
    }
    let mut int = 0_i64;
    for byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        int = int * 10 + i64::from(digit);
    }
    Some(if negative { -int } else { int })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn equal_however_written() {
        for (a, b) in [("1.10", "11e-1"), ("0", "-0.00e7"), ("1e3", "1000"), ("100E-2", "1"), ("-5.0", "-5")] {
            assert_eq!(Decimal::parse(a), Decimal::parse(b), "{a} {b}");
        }
        assert_ne!(Decimal::parse("9007199254740993"), Decimal::parse("9007199254740992"));
        assert!(Decimal::parse("1e99999999999999999999") > Decimal::parse("1e300"));
        assert_eq!(Decimal::parse("-9223372036854775808").to_i64(), Some(i64::MIN));
        assert_eq!(Decimal::parse("9223372036854775808").to_i64(), None);
        assert_eq!(Decimal::parse("5.00").to_i64(), Some(5));
        assert_eq!(Decimal::parse("5.5").to_i64(), None);
    }

    proptest! {
        #[test]
        fn ordered_like_integers_and_doubles(a in any::<i64>(), b in any::<i64>(), x in any::<f64>(), y in any::<f64>()) {
            let (da, db) = (Decimal::parse(&a.to_string()), Decimal::parse(&b.to_string()));
            prop_assert_eq!(da.cmp(&db), a.cmp(&b));
            prop_assert_eq!(da.to_i64(), Some(a));
            if let (Some(dx), Some(dy)) = (Decimal::of_double(x), Decimal::of_double(y)) {
                prop_assert_eq!(dx.cmp(&dy), x.partial_cmp(&y).unwrap());
            }
        }

        #[test]
        fn no_text_panics(text in "[-+0-9.eE]{0,30}") {
            let _ = Decimal::parse(&text).to_i64();
        }
    }
}
