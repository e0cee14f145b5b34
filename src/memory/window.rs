//! Windows: what is measured of the events that were forwarded from one full minute (or hour, or whatever its length) to the next.
//!
//! Windows do not overlap, and are aligned to the Unix epoch, so that those of several gates are the same. What a window comes to is
//! judged when it ends. It blames no event: it holds, or it fails, until the next one ends.

use minicbor::{Decode, Encode};

use super::Usage;
use super::measure::{Gathered, Measure, Sample};
use super::schedule::Schedule;
use super::threshold::Threshold;
use crate::model::Timestamp;

/// What is asked of each window. Only `length` and `measure` bear on what is gathered.
#[derive(Debug, Clone, PartialEq)]
pub struct Terms {
    /// In milliseconds.
    pub length: i64,
    pub measure: Measure,
    /// All must hold.
    pub bounds: Vec<Bound>,
    /// With fewer events than this, a window says nothing.
    pub events_min: u64,
    /// Windows outside it are not judged.
    pub schedule: Option<Schedule>,
}

/// One bound on what a window measures.
#[derive(Debug, Clone, PartialEq)]
pub struct Bound {
    /// What is bounded, as the contract calls it: `p99`, or the metric.
    pub name: &'static str,
    /// 0 to 1, for latencies.
    pub quantile: f64,
    pub threshold: Threshold,
}

/// Whether what is asked holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// No window has ended yet that could tell.
    Unknown,
    Holds,
    Fails,
}

impl Standing {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Holds => "holds",
            Self::Fails => "fails",
        }
    }
}

/// A window that has ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Ended {
    pub since: Timestamp,
    pub until: Timestamp,
    pub events: u64,
    /// Events that had nothing to measure.
    pub skipped: u64,
    /// The value of each bound's measure, in their order. `None` where there were no events.
    pub values: Vec<Option<f64>>,
    /// The share of each bin, for drift.
    pub shares: Option<Vec<f64>>,
    /// Whether the gate was there all the time.
    pub is_whole: bool,
    pub standing: Standing,
}

/// By how much the clock may go back without notice, in milliseconds.
const BACK_MAX: i64 = 60_000;

/// The windows of one check.
#[derive(Debug)]
pub struct Windows {
    terms: Terms,
    /// When the present one began, a multiple of its length.
    since: Timestamp,
    gathered: Gathered,
    is_whole: bool,
    last: Option<Ended>,
    /// Since when it fails.
    failing_since: Option<Timestamp>,
}

#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub struct SavedWindows {
    #[n(0)]
    since: i64,
    #[n(1)]
    gathered: Gathered,
    #[n(2)]
    failing_since: Option<i64>,
}

impl Windows {
    pub fn new(terms: Terms, now: Timestamp) -> Self {
        let since = terms.begin(now);
        let gathered = Gathered::new(&terms.measure);
        Self { is_whole: since == now, terms, since, gathered, last: None, failing_since: None }
    }

    /// Goes on under other bounds. `terms` have the same length and measure.
    pub fn set_terms(&mut self, terms: Terms) {
        self.terms = terms;
    }

    pub fn terms(&self) -> &Terms {
        &self.terms
    }

    /// An event that is on the mesh stream.
    pub fn add(&mut self, sample: Sample, now: Timestamp) {
        self.end_before(now);
        self.gathered.add(sample);
    }

    /// Ends the windows that are over by now. Where the clock was put back, it begins again: a window in the future would last until then.
    pub fn advance(&mut self, now: Timestamp) {
        if self.since.millis().saturating_sub(now.millis()) > BACK_MAX {
            let gathered = Gathered::new(&self.terms.measure);
            (self.since, self.gathered, self.is_whole) = (self.terms.begin(now), gathered, false);
        }
        self.end_before(now);
    }

    fn end_before(&mut self, now: Timestamp) {
        let length = self.terms.length;
        let over = (self.terms.begin(now).millis().saturating_sub(self.since.millis())) / length;
        if over <= 0 {
            return;
        }
        self.end();
        if over > 1 {
            // Of those that passed without an event, the last one is as good as any.
            self.since = Timestamp::from_millis(self.terms.begin(now).millis().saturating_sub(length));
            self.end();
        }
    }

    fn end(&mut self) {
        let until = Timestamp::from_millis(self.since.millis().saturating_add(self.terms.length));
        let gathered = std::mem::replace(&mut self.gathered, Gathered::new(&self.terms.measure));
        let is_whole = std::mem::replace(&mut self.is_whole, true);
        let values: Vec<_> =
            self.terms.bounds.iter().map(|b| gathered.value(&self.terms.measure, b.quantile)).collect();
        let standing = self.terms.judge(&gathered, &values, is_whole, self.since);
        self.failing_since = (standing == Standing::Fails).then(|| self.failing_since.unwrap_or(until));
        self.last = Some(Ended {
            since: self.since,
            until,
            events: gathered.events,
            skipped: gathered.skipped,
            values,
            shares: gathered.shares(),
            is_whole,
            standing,
        });
        self.since = until;
    }

    /// As the last window that has ended says.
    pub fn standing(&self) -> Standing {
        self.last.as_ref().map_or(Standing::Unknown, |last| last.standing)
    }

    pub fn last(&self) -> Option<&Ended> {
        self.last.as_ref()
    }

    /// Since when it fails, in windows without a break.
    pub fn failing_since(&self) -> Option<Timestamp> {
        self.failing_since
    }

    /// When the present window began, and how many events it has so far.
    pub fn present(&self) -> (Timestamp, u64) {
        (self.since, self.gathered.events)
    }

    pub fn usage(&self) -> Usage {
        Usage { entries: 0, limit: 0, bytes: size_of::<Self>() + self.gathered.bytes(), evicted: 0 }
    }

    pub fn save(&self) -> SavedWindows {
        SavedWindows {
            since: self.since.millis(),
            gathered: self.gathered.clone(),
            failing_since: self.failing_since.map(Timestamp::millis),
        }
    }

    /// Goes on with a window that is not over yet. It is not whole: nobody counted while the gate was away.
    pub fn restore(&mut self, saved: SavedWindows) {
        if saved.gathered.fits(&self.terms.measure) && saved.since == self.since.millis() {
            self.gathered = saved.gathered;
            self.is_whole = false;
        }
        self.failing_since = saved.failing_since.map(Timestamp::from_millis);
    }
}

impl Terms {
    /// When the window that holds this moment began.
    fn begin(&self, now: Timestamp) -> Timestamp {
        Timestamp::from_millis(now.millis().saturating_sub(now.millis().rem_euclid(self.length)))
    }

    fn judge(&self, gathered: &Gathered, values: &[Option<f64>], is_whole: bool, since: Timestamp) -> Standing {
        let is_due = self.schedule.as_ref().is_none_or(|schedule| schedule.covers(since, self.length));
        // A part of a window says little of how many events there are, and enough of how good they are.
        let is_enough = match self.measure {
            Measure::Events => is_whole,
            _ => gathered.events >= self.events_min.max(1),
        };
        if !is_due || !is_enough {
            return Standing::Unknown;
        }
        let holds = |(bound, value): (&Bound, &Option<f64>)| value.is_some_and(|value| bound.threshold.holds(value));
        if self.bounds.iter().zip(values).all(holds) { Standing::Holds } else { Standing::Fails }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LENGTH: i64 = 60;

    fn terms(measure: Measure, threshold: Threshold) -> Terms {
        let bounds = vec![Bound { name: "value", quantile: 0.5, threshold }];
        Terms { length: LENGTH, measure, bounds, events_min: 1, schedule: None }
    }

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    #[test]
    fn silence_fails_a_count_of_events() {
        let mut windows = Windows::new(terms(Measure::Events, Threshold::GreaterOrEqual(2.0)), at(30));
        windows.advance(at(60));
        assert_eq!(windows.standing(), Standing::Unknown, "the gate came in the middle of it");
        for now in [61, 62, 119] {
            windows.add(Sample::Event, at(now));
        }
        windows.advance(at(119));
        assert_eq!((windows.standing(), windows.present()), (Standing::Unknown, (at(60), 3)));
        windows.advance(at(120));
        assert_eq!(windows.standing(), Standing::Holds);
        assert_eq!(windows.last().unwrap().values, [Some(3.0)]);
        windows.advance(at(180));
        assert_eq!((windows.standing(), windows.failing_since()), (Standing::Fails, Some(at(180))));
        windows.advance(at(100_000));
        assert_eq!((windows.standing(), windows.failing_since()), (Standing::Fails, Some(at(180))));
        assert_eq!(windows.last().unwrap().until, at(99_960));
    }

    #[test]
    fn too_few_events_say_nothing() {
        let share = terms(Measure::Hits { percent: true }, Threshold::Less(50.0));
        let mut windows = Windows::new(Terms { events_min: 3, ..share }, at(0));
        for (hits, expected) in [
            (vec![true, true], Standing::Unknown),
            (vec![true, true, false], Standing::Fails),
            (vec![false; 3], Standing::Holds),
        ] {
            let (since, _) = windows.present();
            hits.iter().for_each(|hit| windows.add(Sample::Hit(*hit), since));
            windows.advance(at(since.millis() + LENGTH));
            assert_eq!(windows.standing(), expected);
            assert_eq!(windows.failing_since().is_some(), expected == Standing::Fails);
        }
    }

    #[test]
    fn a_window_goes_on_after_a_restart_but_is_not_whole() {
        let count = terms(Measure::Events, Threshold::Less(2.0));
        let mut before = Windows::new(count.clone(), at(0));
        (0..3).for_each(|n| before.add(Sample::Event, at(n)));
        let mut after = Windows::new(count.clone(), at(30));
        after.restore(before.save());
        assert_eq!(after.present(), (at(0), 3));
        after.advance(at(60));
        assert_eq!(after.standing(), Standing::Unknown);
        let mut later = Windows::new(count, at(70));
        later.restore(before.save());
        assert_eq!(later.present(), (at(60), 0), "that window is over");
    }

    #[test]
    fn a_clock_that_is_put_back_does_not_stop_the_windows() {
        let mut windows = Windows::new(terms(Measure::Events, Threshold::GreaterOrEqual(1.0)), at(0));
        windows.advance(at(100_000_000));
        windows.add(Sample::Event, at(90));
        assert_eq!(windows.present(), (at(99_999_960), 1), "judged before, settled now");
        windows.advance(at(90));
        assert_eq!(windows.present(), (at(60), 0));
        windows.advance(at(180));
        assert_eq!(windows.standing(), Standing::Fails);
        for extreme in [i64::MAX, i64::MIN, i64::MAX] {
            windows.advance(at(extreme));
        }
    }

    proptest! {
        /// Against a model that keeps every event and counts those between two multiples of the length.
        #[test]
        fn each_window_says_what_a_naive_model_says(
            events in proptest::collection::vec((0_i64..90, any::<bool>()), 1..60),
        ) {
            let share = terms(Measure::Hits { percent: true }, Threshold::LessOrEqual(40.0));
            let (mut windows, mut all, mut now) = (Windows::new(share, at(0)), Vec::new(), 0);
            for (later, hit) in events {
                now += later;
                windows.add(Sample::Hit(hit), at(now));
                all.push((now, hit));
                let until = now - now % LENGTH;
                let inside: Vec<bool> =
                    all.iter().filter(|(at, _)| (until - LENGTH..until).contains(at)).map(|(_, hit)| *hit).collect();
                let hits = inside.iter().filter(|hit| **hit).count();
                let expected = match (until, inside.len()) {
                    (0, _) => None,
                    (_, 0) => Some((None, Standing::Unknown)),
                    (_, count) => {
                        let share = 100.0 * hits as f64 / count as f64;
                        Some((Some(share), if share <= 40.0 { Standing::Holds } else { Standing::Fails }))
                    }
                };
                prop_assert_eq!(windows.last().map(|last| (last.values[0], last.standing)), expected);
            }
        }
    }
}
