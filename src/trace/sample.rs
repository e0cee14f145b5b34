//! Which traces are recorded. The samplers, and how a share is chosen by a trace's id, are those of the OpenTelemetry specification
//! (Tracing SDK, "Sampling"), so that the services of a trace that are set alike choose alike.

use crate::model::TraceId;

/// Chooses traces.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampler {
    /// Of the traces that begin here: 0 to 1.
    pub share: f64,
    /// Whether those that did not begin here follow what was decided before.
    pub is_parent_based: bool,
}

impl Sampler {
    /// Whether a trace is recorded; `parent` says whether the one before it is.
    pub fn takes(&self, trace_id: TraceId, parent: Option<bool>) -> bool {
        match parent.filter(|_| self.is_parent_based) {
            Some(is_sampled) => is_sampled,
            None if self.share >= 1.0 => true,
            // Both sides have 63 bits.
            None => trace_id.low() >> 1 < (self.share.max(0.0) * (1_u64 << 63) as f64) as u64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_chosen_by_id_and_a_parent_is_followed_where_that_is_asked() {
        let taken = |share: f64| {
            let sampler = Sampler { share, is_parent_based: true };
            let mut random = fastrand::Rng::with_seed(7);
            (0..10_000).filter(|_| sampler.takes(TraceId::of_random(random.u128(..)), None)).count()
        };
        assert_eq!((taken(0.0), taken(1.0)), (0, 10_000));
        assert!((900..1_100).contains(&taken(0.1)), "{}", taken(0.1));
        let id = TraceId::of_random(1);
        for (is_parent_based, share, expected) in [(true, 0.0, true), (false, 0.0, false), (false, 1.0, true)] {
            assert_eq!(Sampler { share, is_parent_based }.takes(id, Some(true)), expected);
        }
        assert!(!Sampler { share: 1.0, is_parent_based: true }.takes(id, Some(false)));
        assert!(Sampler { share: 1.0, is_parent_based: false }.takes(id, Some(false)));
    }
}
