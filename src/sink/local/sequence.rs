//! Sequence numbers of the local store: 56 digits that start with "49", as Kinesis' own do today.
//!
//! A number is the store-wide id of its record, padded: strictly increasing in the order of commits, on a stream and
//! across streams, and of equal length, so that text order is number order.

const PREFIX: &str = "49";
const DIGITS: usize = 56;

/// The number of the record with this id. Ids start at 1; 0 stands for "before every record".
pub(super) fn sequence_number(id: i64) -> String {
    format!("{PREFIX}{id:0width$}", width = DIGITS - PREFIX.len())
}

/// The id behind a number; `None` when the store can not have issued it.
pub(super) fn parse(number: &str) -> Option<i64> {
    let digits = number.strip_prefix(PREFIX).filter(|d| d.len() == DIGITS - PREFIX.len())?;
    // `parse` alone would take a sign.
    digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_have_the_form_kinesis_clients_expect() {
        assert_eq!(sequence_number(1), format!("49{}1", "0".repeat(53)));
        assert_eq!(sequence_number(i64::MAX).len(), 56);
    }

    #[test]
    fn numbers_of_others_are_not_ours() {
        let signed = format!("49+{}", "0".repeat(53));
        let huge = format!("49{}", "9".repeat(54));
        for bad in ["", "0", "49", "49000", &signed, &huge, &"4".repeat(56)] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn text_order_is_number_order(a in 0..=i64::MAX, b in 0..=i64::MAX) {
            prop_assert_eq!(parse(&sequence_number(a)), Some(a));
            prop_assert_eq!(sequence_number(a).cmp(&sequence_number(b)), a.cmp(&b));
        }
    }
}
