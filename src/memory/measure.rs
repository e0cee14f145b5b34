//! What is gathered of the events of one window, in bounded memory.

use std::collections::{BTreeMap, HashSet};
use std::hash::BuildHasherDefault;

use minicbor::{Decode, Encode};

use super::keyed::Uniform;

/// What a check measures.
#[derive(Debug, Clone, PartialEq)]
pub enum Measure {
    /// How many events there are.
    Events,
    /// How many are hit, as a share of all (percent) or a number.
    Hits { percent: bool },
    /// Milliseconds, by quantiles.
    Latency,
    /// How many different keys there are.
    Distinct,
    /// How far the shares of the bins are from these, which add up to 1: the population stability index.
    Drift { baseline: Vec<f64> },
}

/// One event's part in a measure.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Sample {
    Event,
    Hit(bool),
    Millis(i64),
    /// 64 bits of a cryptographic hash.
    Hash(u64),
    /// The number of a bin.
    Bin(u32),
    /// The event has nothing to measure.
    Nothing,
}

/// What a window has gathered so far.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub(super) struct Gathered {
    /// Measured events.
    #[n(0)]
    pub events: u64,
    /// Events that had nothing to measure.
    #[n(1)]
    pub skipped: u64,
    #[n(2)]
    of: Of,
}

#[derive(Debug, Clone, PartialEq, Encode, Decode)]
enum Of {
    #[n(0)]
    Count,
    #[n(1)]
    Hits(#[n(0)] u64),
    #[n(2)]
    Latency(#[n(0)] LogHistogram),
    #[n(3)]
    Distinct(#[n(0)] Distinct),
    #[n(4)]
    Bins(#[n(0)] Vec<u64>),
}

impl Gathered {
    pub(super) fn new(measure: &Measure) -> Self {
        let of = match measure {
            Measure::Events => Of::Count,
            Measure::Hits { .. } => Of::Hits(0),
            Measure::Latency => Of::Latency(LogHistogram::default()),
            Measure::Distinct => Of::Distinct(Distinct::default()),
            Measure::Drift { baseline } => Of::Bins(vec![0; baseline.len()]),
        };
        Self { events: 0, skipped: 0, of }
    }

    /// Whether it was gathered for such a measure.
    pub(super) fn fits(&self, measure: &Measure) -> bool {
        match (&self.of, measure) {
            (Of::Count, Measure::Events) | (Of::Hits(_), Measure::Hits { .. }) => true,
            (Of::Latency(_), Measure::Latency) => true,
            (Of::Distinct(distinct), Measure::Distinct) => distinct.is_whole(),
            (Of::Bins(bins), Measure::Drift { baseline }) => bins.len() == baseline.len(),
            _ => false,
        }
    }

    pub(super) fn add(&mut self, sample: Sample) {
        match (&mut self.of, sample) {
            (Of::Count, _) => {}
            (Of::Hits(hits), Sample::Hit(is_hit)) => *hits += u64::from(is_hit),
            (Of::Latency(histogram), Sample::Millis(millis)) => histogram.add(millis),
            (Of::Distinct(distinct), Sample::Hash(hash)) => distinct.add(hash),
            (Of::Bins(bins), Sample::Bin(bin)) if (bin as usize) < bins.len() => bins[bin as usize] += 1,
            _ => {
                self.skipped += 1;
                return;
            }
        }
        self.events += 1;
    }

    /// The measure's value; for latencies, of this quantile, in milliseconds. `None` without events.
    pub(super) fn value(&self, measure: &Measure, quantile: f64) -> Option<f64> {
        if let Of::Count = self.of {
            return Some(self.events as f64);
        }
        if self.events == 0 {
            return None;
        }
        match (&self.of, measure) {
            (Of::Hits(hits), Measure::Hits { percent: true }) => Some(100.0 * *hits as f64 / self.events as f64),
            (Of::Hits(hits), _) => Some(*hits as f64),
            (Of::Latency(histogram), _) => histogram.quantile(quantile),
            (Of::Distinct(distinct), _) => Some(distinct.estimate()),
            (Of::Bins(bins), Measure::Drift { baseline }) => Some(stability_index(bins, baseline)),
            _ => None,
        }
    }

    /// The share of each bin, where there are bins: what a later baseline is made of.
    pub(super) fn shares(&self) -> Option<Vec<f64>> {
        let Of::Bins(bins) = &self.of else { return None };
        let total = self.events.max(1) as f64;
        Some(bins.iter().map(|count| *count as f64 / total).collect())
    }

    /// About how much memory it takes, in bytes.
    pub(super) fn bytes(&self) -> usize {
        let of = match &self.of {
            Of::Count | Of::Hits(_) => 0,
            Of::Latency(histogram) => histogram.buckets.len() * 24,
            Of::Distinct(distinct) => distinct.exact.len() * 16 + distinct.registers.len(),
            Of::Bins(bins) => bins.len() * 8,
        };
        size_of::<Self>() + of
    }
}

/// Σ (a − e) · ln(a / e) over the bins' actual and expected shares: the population stability index of credit scoring (Siddiqi,
/// "Credit Risk Scorecards", 2006), by which 0.1 is worth a look and 0.25 is another population. A share of nothing counts as
/// one in ten thousand.
fn stability_index(bins: &[u64], baseline: &[f64]) -> f64 {
    const LEAST: f64 = 0.0001;
    let total = bins.iter().sum::<u64>().max(1) as f64;
    let of_bin = |(count, expected): (&u64, &f64)| {
        let (actual, expected) = ((*count as f64 / total).max(LEAST), expected.max(LEAST));
        (actual - expected) * (actual / expected).ln()
    };
    bins.iter().zip(baseline).map(of_bin).sum()
}

/// Counts in buckets that each are 2 % wider than the one before, so that a quantile is right to a hundredth: DDSketch (Masson,
/// Rim, Lee, VLDB 2019), whose buckets here are few enough to keep all: 2,200 hold every 64-bit number of milliseconds.
#[derive(Debug, Clone, Default, PartialEq, Encode, Decode)]
struct LogHistogram {
    #[n(0)]
    buckets: BTreeMap<u16, u64>,
    /// The largest, exactly.
    #[n(1)]
    max: i64,
}

impl LogHistogram {
    const GROWTH: f64 = 1.02;

    /// What is not positive (a producer's clock may be ahead) counts as 0, in a bucket of its own.
    fn add(&mut self, millis: i64) {
        let bucket = if millis < 1 { 0 } else { 1 + ((millis as f64).ln() / Self::GROWTH.ln()).ceil() as u16 };
        *self.buckets.entry(bucket).or_default() += 1;
        self.max = self.max.max(millis);
    }

    /// The value with so large a part (0 to 1) of all at or below it.
    fn quantile(&self, quantile: f64) -> Option<f64> {
        if quantile >= 1.0 {
            return Some(self.max as f64);
        }
        let total: u64 = self.buckets.values().sum();
        let rank = (quantile * total as f64).ceil().max(1.0) as u64;
        let mut seen = 0;
        let bucket = self.buckets.iter().find(|(_, count)| {
            seen += **count;
            seen >= rank
        });
        let middle = |bucket: u16| Self::GROWTH.powi(i32::from(bucket) - 1) * 2.0 / (1.0 + Self::GROWTH);
        bucket.map(|(bucket, _)| if *bucket == 0 { 0.0 } else { middle(*bucket).min(self.max as f64) })
    }
}

/// How many different hashes there are: exact up to [`Distinct::EXACT_MAX`], estimated beyond by HyperLogLog (Flajolet, Fusy, Gandouet,
/// Meunier, 2007), in 16 KiB and mostly to a hundredth.
#[derive(Debug, Clone, Default, PartialEq, Encode, Decode)]
struct Distinct {
    #[cbor(n(0), with = "hashes")]
    exact: HashSet<u64, BuildHasherDefault<Uniform>>,
    #[n(1)]
    registers: Vec<u8>,
}

impl Distinct {
    const EXACT_MAX: usize = 4096;
    const PRECISION: u32 = 14;

    fn add(&mut self, hash: u64) {
        if self.registers.is_empty() {
            self.exact.insert(hash);
            if self.exact.len() > Self::EXACT_MAX {
                self.registers = vec![0; 1 << Self::PRECISION];
                for hash in std::mem::take(&mut self.exact) {
                    self.count(hash);
                }
            }
        } else {
            self.count(hash);
        }
    }

    /// Whether it is one that was made here: a file may hold others.
    fn is_whole(&self) -> bool {
        self.registers.is_empty() || self.registers.len() == 1 << Self::PRECISION
    }

    fn count(&mut self, hash: u64) {
        let register = (hash >> (64 - Self::PRECISION)) as usize;
        let zeros = (hash << Self::PRECISION | 1 << (Self::PRECISION - 1)).leading_zeros() as u8 + 1;
        self.registers[register] = self.registers[register].max(zeros);
    }

    fn estimate(&self) -> f64 {
        if self.registers.is_empty() {
            return self.exact.len() as f64;
        }
        let m = self.registers.len() as f64;
        let sum: f64 = self.registers.iter().map(|zeros| (-f64::from(*zeros)).exp2()).sum();
        let raw = 0.7213 / (1.0 + 1.079 / m) * m * m / sum;
        let empty = self.registers.iter().filter(|zeros| **zeros == 0).count();
        // Small numbers are better told by how many registers are still empty.
        let few = if raw <= 2.5 * m && empty > 0 { m * (m / empty as f64).ln() } else { raw };
        few.round()
    }
}

mod hashes {
    use std::collections::HashSet;
    use std::hash::BuildHasherDefault;

    use minicbor::decode::Error as DecodeError;
    use minicbor::encode::{Error as EncodeError, Write};
    use minicbor::{Decoder, Encoder};

    use super::Uniform;

    type Hashes = HashSet<u64, BuildHasherDefault<Uniform>>;

    pub(super) fn encode<C, W: Write>(
        hashes: &Hashes,
        encoder: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), EncodeError<W::Error>> {
        encoder.array(hashes.len() as u64)?;
        hashes.iter().try_for_each(|hash| encoder.u64(*hash).map(drop))
    }

    pub(super) fn decode<C>(decoder: &mut Decoder<'_>, _: &mut C) -> Result<Hashes, DecodeError> {
        decoder.array_iter::<u64>()?.collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn gather(measure: &Measure, samples: impl IntoIterator<Item = Sample>) -> Gathered {
        let mut gathered = Gathered::new(measure);
        samples.into_iter().for_each(|sample| gathered.add(sample));
        let saved = minicbor::to_vec(&gathered).unwrap();
        assert_eq!(minicbor::decode::<Gathered>(&saved).unwrap(), gathered, "it survives a restart");
        assert!(gathered.fits(measure));
        gathered
    }

    /// Sixty-four bits that are as good as a cryptographic hash's (splitmix64).
    fn hash(n: u64) -> u64 {
        let mut z = n.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    #[test]
    fn hits_are_a_share_or_a_number() {
        let samples = [Sample::Hit(true), Sample::Hit(false), Sample::Nothing, Sample::Hit(false), Sample::Hit(false)];
        for (percent, expected) in [(true, 25.0), (false, 1.0)] {
            let measure = Measure::Hits { percent };
            let gathered = gather(&measure, samples);
            assert_eq!((gathered.value(&measure, 0.0), gathered.skipped), (Some(expected), 1));
            assert_eq!(gather(&measure, [Sample::Nothing]).value(&measure, 0.0), None);
        }
    }

    #[test]
    fn many_different_keys_are_estimated_to_a_few_hundredths() {
        let measure = Measure::Distinct;
        for count in [1_u64, 4096, 4097, 20_000, 60_000, 300_000] {
            let samples = (0..count).chain(0..count / 2).map(|n| Sample::Hash(hash(n)));
            let estimate = gather(&measure, samples).value(&measure, 0.0).unwrap();
            let error = (estimate - count as f64).abs() / count as f64;
            assert!(error <= if count <= 4096 { 0.0 } else { 0.03 }, "{count}: {estimate}");
        }
    }

    #[test]
    fn drift_is_nothing_where_nothing_drifts() {
        let measure = Measure::Drift { baseline: vec![0.25, 0.75] };
        let bins =
            |bins: &[u32]| gather(&measure, bins.iter().map(|bin| Sample::Bin(*bin))).value(&measure, 0.0).unwrap();
        assert!(bins(&[0, 1, 1, 1]).abs() < 1e-12);
        // (0.75 - 0.25) ln 3 + (0.25 - 0.75) ln (1/3)
        assert!((bins(&[0, 0, 0, 1]) - 3.0_f64.ln()).abs() < 1e-12);
        assert!(bins(&[0, 0, 0, 0]).is_finite() && bins(&[0, 0, 0, 0]) > bins(&[0, 0, 0, 1]));
    }

    proptest! {
        #[test]
        fn quantiles_are_right_to_a_hundredth(
            mut millis in proptest::collection::vec(prop_oneof![-5_i64..2000, 0..i64::MAX], 1..300),
            quantile in 0.0_f64..=1.0,
        ) {
            let gathered = gather(&Measure::Latency, millis.iter().map(|m| Sample::Millis(*m)));
            let found = gathered.value(&Measure::Latency, quantile).unwrap();
            millis.sort_unstable();
            let rank = ((quantile * millis.len() as f64).ceil() as usize).clamp(1, millis.len());
            let exact = millis[rank - 1].max(0) as f64;
            prop_assert!((found - exact).abs() <= 0.0101 * exact, "{found} is not {exact}");
        }

        #[test]
        fn few_different_keys_are_counted_exactly(keys in proptest::collection::vec(0_u64..500, 0..400)) {
            let gathered = gather(&Measure::Distinct, keys.iter().map(|key| Sample::Hash(hash(*key))));
            let naive = keys.iter().collect::<std::collections::BTreeSet<_>>().len();
            prop_assert_eq!(gathered.value(&Measure::Distinct, 0.0).unwrap_or(0.0), naive as f64);
        }
    }
}
