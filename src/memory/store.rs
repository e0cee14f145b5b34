//! All states of a gate.
//!
//! A state belongs to a check, by a fingerprint of what the check means: the contract, its id, what it reads, for how long. A reload
//! that leaves those alone leaves the state alone, whatever else of the rule files changes.

use std::collections::HashMap;
use std::sync::Arc;

use minicbor::{Decode, Encode};

use super::duplicates::SavedDuplicates;
use super::known::SavedKnown;
use super::sequence::SavedSequence;
use super::window::SavedWindows;
use super::{Duplicates, Kind, Known, Sequence, State, Terms, Windows};
use crate::model::Timestamp;

/// What a check needs to remember.
#[derive(Debug, Clone, PartialEq)]
pub enum Spec {
    Duplicates {
        keys_max: usize,
        /// In milliseconds.
        window: i64,
    },
    Sequence {
        keys_max: usize,
        /// In milliseconds.
        window: i64,
    },
    Known {
        keys_max: usize,
        /// In milliseconds.
        window: i64,
        /// In milliseconds.
        warm_up: i64,
        is_fed: bool,
    },
    Windows(Terms),
}

/// Whose state, and of what kind.
#[derive(Debug, Clone)]
pub struct Need {
    pub fingerprint: Arc<str>,
    pub spec: Spec,
}

/// The states of all checks in force.
#[derive(Debug, Default)]
pub struct Memory {
    states: HashMap<Arc<str>, Arc<State>>,
    /// What was read from disk, for the checks that are in force first. Nothing of it is for later ones: events have come that it does
    /// not know.
    saved: HashMap<String, SavedState>,
    was_clean: bool,
    is_open: bool,
}

/// All states, as they stand on disk: CBOR.
#[derive(Debug, Encode, Decode)]
struct Snapshot {
    #[n(0)]
    version: u32,
    #[n(1)]
    taken: i64,
    /// Whether the gate had settled everything and took nothing more.
    #[n(2)]
    is_clean: bool,
    #[n(3)]
    states: Vec<(String, SavedState)>,
}

const VERSION: u32 = 1;

#[derive(Debug, Encode, Decode)]
enum SavedState {
    #[n(0)]
    Duplicates(#[n(0)] SavedDuplicates),
    #[n(1)]
    Sequence(#[n(0)] SavedSequence),
    #[n(2)]
    Known(#[n(0)] SavedKnown),
    #[n(3)]
    Windows(#[n(0)] SavedWindows),
}

/// What was found on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Restored {
    pub taken: Timestamp,
    pub states: usize,
    /// Whether nothing came after it was taken.
    pub is_clean: bool,
}

/// Why nothing could be restored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    #[error("it is no snapshot: {0}")]
    Corrupt(String),
    #[error("it is of version {0}, and this gate reads version {VERSION}")]
    Version(u32),
}

impl Memory {
    /// The states of these checks: those that were kept before, those from disk, or new ones. States that no check asks for any more are
    /// forgotten.
    pub fn open(&mut self, needs: impl IntoIterator<Item = Need>, now: Timestamp) -> HashMap<Arc<str>, Arc<State>> {
        let mut states = HashMap::new();
        if std::mem::replace(&mut self.is_open, true) {
            self.saved = HashMap::new();
        }
        for Need { fingerprint, spec } in needs {
            let kept = states.get(&fingerprint).or_else(|| self.states.get(&fingerprint)).map(Arc::clone);
            let state = match kept {
                Some(state) if state.goes_on(&spec, now) => state,
                _ => {
                    let saved = self.saved.remove(&*fingerprint);
                    Arc::new(State::new(Kind::open(spec, saved, self.was_clean, now)))
                }
            };
            states.insert(fingerprint, state);
        }
        self.states.clone_from(&states);
        states
    }

    /// Everything that is to survive, as bytes. Each state is held while it is copied.
    pub fn snapshot(&self, now: Timestamp, is_clean: bool) -> Vec<u8> {
        let states = self.states.iter().map(|(fingerprint, state)| (fingerprint.to_string(), state.save()));
        let snapshot = Snapshot { version: VERSION, taken: now.millis(), is_clean, states: states.collect() };
        // Writing to memory does not fail.
        minicbor::to_vec(&snapshot).unwrap_or_default()
    }

    /// Keeps what a snapshot holds for the checks that [`Memory::open`] is asked for first.
    ///
    /// # Errors
    ///
    /// When the bytes are no snapshot that this version reads. Nothing is kept then.
    pub fn restore(&mut self, bytes: &[u8]) -> Result<Restored, RestoreError> {
        let snapshot: Snapshot = minicbor::decode(bytes).map_err(|error| RestoreError::Corrupt(error.to_string()))?;
        if snapshot.version != VERSION {
            return Err(RestoreError::Version(snapshot.version));
        }
        let restored = Restored {
            taken: Timestamp::from_millis(snapshot.taken),
            states: snapshot.states.len(),
            is_clean: snapshot.is_clean,
        };
        (self.saved, self.was_clean) = (snapshot.states.into_iter().collect(), snapshot.is_clean);
        Ok(restored)
    }

    /// Lets time pass for all states.
    pub fn advance(&self, now: Timestamp) {
        self.states.values().for_each(|state| state.advance(now));
    }
}

impl Kind {
    /// A new state, or one from disk where that is of the same kind.
    fn open(spec: Spec, saved: Option<SavedState>, was_clean: bool, now: Timestamp) -> Self {
        match spec {
            Spec::Duplicates { keys_max, window } => {
                let mut keys = Duplicates::new(keys_max, window);
                if let Some(SavedState::Duplicates(saved)) = saved {
                    keys.restore(saved);
                }
                Self::Duplicates(keys)
            }
            Spec::Sequence { keys_max, window } => {
                let mut sequence = Sequence::new(keys_max, window);
                if let Some(SavedState::Sequence(saved)) = saved {
                    sequence.restore(saved, was_clean);
                }
                Self::Sequence(sequence)
            }
            Spec::Known { keys_max, window, warm_up, is_fed } => {
                let mut known = Known::new(keys_max, window, warm_up, now);
                if let Some(SavedState::Known(saved)) = saved {
                    known.restore(saved, was_clean);
                }
                known.set_fed(is_fed, now);
                Self::Known(known)
            }
            Spec::Windows(terms) => {
                let mut windows = Windows::new(terms, now);
                if let Some(SavedState::Windows(saved)) = saved {
                    windows.restore(saved);
                }
                Self::Windows(windows)
            }
        }
    }
}

impl State {
    /// Whether it can go on under this spec; if so, it does.
    fn goes_on(&self, spec: &Spec, now: Timestamp) -> bool {
        match (&mut *self.lock(), spec) {
            (Kind::Duplicates(_), Spec::Duplicates { .. }) | (Kind::Sequence(_), Spec::Sequence { .. }) => true,
            (Kind::Known(known), Spec::Known { is_fed, .. }) => {
                known.set_fed(*is_fed, now);
                true
            }
            (Kind::Windows(windows), Spec::Windows(terms)) => {
                let same = windows.terms().length == terms.length && windows.terms().measure == terms.measure;
                if same {
                    windows.set_terms(terms.clone());
                }
                same
            }
            _ => false,
        }
    }

    fn save(&self) -> SavedState {
        match &*self.lock() {
            Kind::Duplicates(keys) => SavedState::Duplicates(keys.save()),
            Kind::Sequence(sequence) => SavedState::Sequence(sequence.save()),
            Kind::Known(known) => SavedState::Known(known.save()),
            Kind::Windows(windows) => SavedState::Windows(windows.save()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{
        Bound, Delivery, Disorder, Measure, Observed, Remembered, Sample, Seen, Standing, Threshold, Turn,
    };
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1000);

    fn needs() -> Vec<Need> {
        let bounds = vec![Bound { name: "value", quantile: 0.0, threshold: Threshold::Less(1.0) }];
        let terms =
            Terms { length: 100, measure: Measure::Hits { percent: false }, bounds, events_min: 1, schedule: None };
        let specs = [
            ("unique", Spec::Duplicates { keys_max: 10, window: 1000 }),
            ("order", Spec::Sequence { keys_max: 10, window: 1000 }),
            ("known", Spec::Known { keys_max: 10, window: 1000, warm_up: 0, is_fed: true }),
            ("share", Spec::Windows(terms)),
        ];
        specs.into_iter().map(|(name, spec)| Need { fingerprint: name.into(), spec }).collect()
    }

    fn observe(states: &HashMap<Arc<str>, Arc<State>>, request: u64, number: i64) -> (Vec<Remembered>, Observed) {
        let mut observed = Observed::new(Delivery { source: request, turn: Turn::in_request(0) }, NOW);
        let seen = [
            ("unique", Seen::Key(7)),
            ("order", Seen::Ordered { key: 7, number }),
            ("known", Seen::Key(8)),
            ("share", Seen::Measured(Sample::Hit(true))),
        ];
        let found = seen.into_iter().filter_map(|(name, seen)| observed.observe(&states[name], seen));
        let found = found.map(|recollection| recollection.said).collect();
        observed.introduce(&states["known"], 8);
        (found, observed)
    }

    #[test]
    fn an_event_counts_once_it_is_settled() {
        let mut memory = Memory::default();
        let states = memory.open(needs(), NOW);
        let unknown = Remembered::Unknown(super::super::Reference::Dangling);
        let (found, first) = observe(&states, 1, 5);
        assert_eq!(found, [unknown]);
        drop(first);
        let (found, second) = observe(&states, 2, 5);
        assert_eq!(found, [unknown], "the first left nothing behind");
        second.settle();
        let (found, third) = observe(&states, 3, 7);
        assert_eq!(found, [Remembered::Duplicate, Remembered::Disorder(Disorder::Gap)]);
        drop(third);
        assert_eq!(states["share"].windows(|windows| windows.present().1), Some(1));
        assert_eq!(states["unique"].usage().entries, 1);
    }

    #[test]
    fn states_survive_reloads_and_restarts() {
        let mut memory = Memory::default();
        observe(&memory.open(needs(), NOW), 1, 5).1.settle();
        let again = memory.open(needs().into_iter().take(3), NOW);
        let (found, _) = observe_keys(&again);
        assert_eq!(found, Some(Remembered::Duplicate), "a reload");
        assert_eq!(memory.open(needs(), NOW)["share"].windows(|windows| windows.present().1), Some(0), "it was gone");

        observe(&memory.open(needs(), NOW), 2, 6).1.settle();
        let snapshot = memory.snapshot(NOW, true);
        let mut after = Memory::default();
        let restored = after.restore(&snapshot).unwrap();
        assert_eq!(restored, Restored { taken: NOW, states: 4, is_clean: true });
        let states = after.open(needs(), NOW);
        assert_eq!(observe_keys(&states).0, Some(Remembered::Duplicate), "a restart");
        assert_eq!(states["share"].windows(|windows| windows.present().1), Some(1));
        states["share"].advance(Timestamp::from_millis(1100));
        assert_eq!(states["share"].windows(Windows::standing), Some(Standing::Fails));
    }

    fn observe_keys(states: &HashMap<Arc<str>, Arc<State>>) -> (Option<Remembered>, Observed) {
        let mut observed = Observed::new(Delivery { source: 99, turn: Turn::in_request(0) }, NOW);
        (observed.observe(&states["unique"], Seen::Key(7)).map(|found| found.said), observed)
    }

    #[test]
    fn what_was_saved_is_not_for_checks_that_come_later() {
        let mut before = Memory::default();
        observe(&before.open(needs(), NOW), 1, 5).1.settle();
        let mut after = Memory::default();
        after.restore(&before.snapshot(NOW, true)).unwrap();
        after.open(needs().into_iter().take(1), NOW);
        let later = after.open(needs(), NOW);
        assert_eq!([later["unique"].usage().entries, later["known"].usage().entries], [1, 0]);
        assert!(after.saved.is_empty());
    }

    #[test]
    fn what_is_no_snapshot_is_refused() {
        let mut memory = Memory::default();
        memory.open(needs(), NOW);
        let snapshot = memory.snapshot(NOW, false);
        for end in 0..snapshot.len() {
            assert!(matches!(Memory::default().restore(&snapshot[..end]), Err(RestoreError::Corrupt(_))), "{end}");
        }
        let other = minicbor::to_vec(Snapshot { version: 2, taken: 0, is_clean: true, states: Vec::new() }).unwrap();
        assert_eq!(Memory::default().restore(&other), Err(RestoreError::Version(2)));
    }
}
