//! Numbers that look random and follow from a seed (splitmix64, Steele, Lea and Flood 2014): the core draws none of its own.

#[derive(Debug, Clone)]
pub(super) struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// From 0 to below `end`; 0 where `end` is.
    pub fn below(&mut self, end: u64) -> u64 {
        // The high half of the product: close enough to even for what is chosen here.
        u64::try_from((u128::from(self.next()) * u128::from(end)) >> 64).unwrap_or_default()
    }

    /// `around`, give or take a quarter of it.
    pub fn about(&mut self, around: u64) -> u64 {
        around - around / 4 + self.below(around / 2 + 1)
    }

    /// An index below `len`, which is not 0.
    pub fn index(&mut self, len: usize) -> usize {
        usize::try_from(self.below(len as u64)).unwrap_or_default()
    }

    /// Moves `count` of the items, chosen at random, to the front, and cuts the rest off.
    pub fn choose<T>(&mut self, items: &mut Vec<T>, count: usize) {
        let count = count.min(items.len());
        for at in 0..count {
            let with = at + self.index(items.len() - at);
            items.swap(at, with);
        }
        items.truncate(count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_stay_in_their_bounds_and_differ() {
        let mut random = Random::new(7);
        let draws: Vec<u64> = (0..1_000).map(|_| random.below(10)).collect();
        assert!((0..10).all(|n| draws.iter().filter(|d| **d == n).count() > 50));
        assert!((0..1_000).all(|_| (75..=126).contains(&random.about(100))));
        assert_eq!((random.below(0), random.about(0)), (0, 0));
    }

    #[test]
    fn chooses_without_repetition() {
        let mut items: Vec<u32> = (0..20).collect();
        Random::new(3).choose(&mut items, 8);
        items.sort_unstable();
        items.dedup();
        assert_eq!(items.len(), 8);
    }
}
