//! Where on a shard something stands.

use std::cmp::Ordering;

/// A place on a shard: a record's sequence number, and the index of a user record in it where it is a container of the Kinesis
/// Producer Library (0 in a plain record). Later places are greater.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Place {
    /// Decimal, without leading zeros (`^(0|([1-9]\d{0,128}))$`).
    pub sequence: String,
    pub sub_sequence: u64,
}

impl Ord for Place {
    fn cmp(&self, other: &Self) -> Ordering {
        // Decimals without leading zeros: the longer is the greater.
        let number = |place: &Self| place.sequence.len();
        number(self)
            .cmp(&number(other))
            .then_with(|| self.sequence.cmp(&other.sequence))
            .then_with(|| self.sub_sequence.cmp(&other.sub_sequence))
    }
}

impl PartialOrd for Place {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_places_are_greater() {
        let place = |sequence: &str, sub_sequence| Place { sequence: sequence.into(), sub_sequence };
        let ascending = [place("9", 7), place("10", 0), place("10", 1), place("11", 0), place("100", 0)];
        assert!(ascending.is_sorted());
        assert!(ascending.windows(2).all(|pair| pair[0] != pair[1]));
    }
}
