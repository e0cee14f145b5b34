//! Fleets of lease workers in a clock of their own: an in-memory table, answers that are late or lost, workers that die, sleep and come.
//!
//! `safety` looks for a seed that breaks a promise of `lease::Worker`; `fleet` measures large fleets. Neither sleeps.

mod fleet;
mod safety;
mod stream;
mod world;
