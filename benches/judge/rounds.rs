//! Timing side by side: every contender gets one slice a round, so that what disturbs the machine disturbs all. A slice is
//! shorter than the scheduler's, so that most pass undisturbed and the median is one of them.

use std::time::{Duration, Instant};

/// How long and how often.
#[derive(Clone, Copy)]
pub struct Rounds {
    pub slice: Duration,
    pub count: usize,
}

/// The slices of all contenders, nanoseconds per event, by contender and round.
pub struct Slices(Vec<Vec<f64>>);

impl Rounds {
    /// Asks each contender in turn, `count` times.
    pub fn run(self, contenders: &mut [Box<dyn FnMut(Duration) -> f64 + '_>]) -> Slices {
        let mut slices = vec![Vec::new(); contenders.len()];
        // The first of each warms its caches up and does not count.
        for contender in contenders.iter_mut() {
            let _ = contender(self.slice);
        }
        for _ in 0..self.count {
            for (contender, slices) in contenders.iter_mut().zip(&mut slices) {
                slices.push(contender(self.slice));
            }
        }
        Slices(slices)
    }
}

impl Slices {
    /// The median slice of a contender, ns per event.
    pub fn median(&self, contender: usize) -> f64 {
        median(self.0[contender].clone())
    }

    /// How many times as long as `other` the contender takes: the median of the rounds' ratios.
    pub fn ratio(&self, contender: usize, other: usize) -> f64 {
        median(self.0[contender].iter().zip(&self.0[other]).map(|(a, b)| a / b).collect())
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

pub fn geometric_mean(values: &[f64]) -> f64 {
    (values.iter().map(|value| value.ln()).sum::<f64>() / values.len() as f64).exp()
}

/// Nanoseconds one of `per_call` events takes, on average over at least `time`.
pub fn average(time: Duration, per_call: usize, mut call: impl FnMut()) -> f64 {
    let (started, mut calls) = (Instant::now(), 0);
    loop {
        // Often enough between two looks at the clock for its cost to be nothing.
        for _ in 0..8 {
            call();
        }
        calls += 8;
        let elapsed = started.elapsed();
        if elapsed >= time {
            return elapsed.as_nanos() as f64 / (calls * per_call) as f64;
        }
    }
}
