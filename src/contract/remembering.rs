//! Checks that remember, as part of a contract: what they see of an event is shown to their state, and what that says of the event
//! becomes a violation, or a measure.

use std::sync::Arc;

use super::judged::{Contract, Numbers};
use super::ruling::Violations;
use crate::memory::{
    Delivery, Disorder, Need, Observed, Recollection, Reference, Remembered, Sample, Seen, Spec, State,
};
use crate::model::{Dimension, Mode, Severity, Timestamp, ViolationKind};
use crate::rule::OnFail;
use crate::rule::capture::Reads;
use crate::rule::expr::Expression;
use crate::rule::pointer::Pointer;
use crate::rule::stream::{Look, Looked};

/// One entry of `stream`.
#[derive(Debug)]
pub struct StreamCheck {
    pub id: Arc<str>,
    /// `type`, as the contract writes it.
    pub kind: &'static str,
    pub dimension: Option<Dimension>,
    pub severity: Severity,
    /// As written, made milder by the contract's.
    pub mode: Mode,
    pub(super) look: Look,
    /// `None` where a list decides.
    pub(super) need: Option<Need>,
    pub(super) consequences: Consequences,
    /// What is told of an event.
    pub(super) message: Arc<str>,
}

/// What each finding leads to; `None` where it is ignored.
#[derive(Debug, Clone, Copy)]
pub(super) struct Consequences {
    pub on_fail: OnFail,
    pub on_gap: Option<OnFail>,
    pub on_regress: Option<OnFail>,
}

/// A key of this contract's events that another contract's refer to.
#[derive(Debug)]
pub struct Feed {
    pub(super) key: Look,
    pub(super) need: Need,
}

impl Feed {
    pub(super) fn new(key: Vec<Expression>, need: Need) -> Self {
        Self { key: Look::Key(key), need }
    }

    pub(super) fn read_slots(&mut self, reads: &mut Reads, payload: &Pointer, numbers: &Numbers) {
        self.key.read_slots(reads, numbers.ground(payload));
    }

    /// The state that its keys go to.
    pub fn need(&self) -> &Need {
        &self.need
    }
}

impl StreamCheck {
    /// Lets the check look at what one pass has captured, so far as that is possible.
    pub(super) fn read_slots(&mut self, reads: &mut Reads, payload: &Pointer, numbers: &Numbers) {
        self.look.read_slots(reads, numbers.ground(payload));
    }

    /// The state it is compared with; `None` where a list decides.
    pub fn need(&self) -> Option<&Need> {
        self.need.as_ref()
    }

    /// The most severe of what it may lead to for an event; `None` for a check of windows.
    pub fn on_fail(&self) -> Option<OnFail> {
        let Consequences { on_fail, on_gap, on_regress } = self.consequences;
        let all = match self.need.as_ref().map(|need| &need.spec) {
            Some(Spec::Windows(_)) => return None,
            // A number that cannot be read follows `on_fail`.
            Some(Spec::Sequence { .. }) => [Some(on_fail), on_gap, on_regress],
            _ => [Some(on_fail), None, None],
        };
        let wanted = [OnFail::Quarantine, OnFail::Drop].into_iter().find(|wanted| all.contains(&Some(*wanted)));
        Some(wanted.unwrap_or(OnFail::Warn))
    }

    /// Whether it measures windows, and so judges no event.
    pub fn is_windowed(&self) -> bool {
        matches!(self.need, Some(Need { spec: Spec::Windows(_), .. }))
    }
}

/// The states of one contract's live checks and feeds, in their order.
#[derive(Debug, Default)]
pub struct ContractStates {
    checks: Vec<Option<Arc<State>>>,
    feeds: Vec<Arc<State>>,
}

impl ContractStates {
    /// `open` gives the state of a need.
    pub fn new(contract: &Contract, mut open: impl FnMut(&Need) -> Arc<State>) -> Self {
        Self {
            checks: contract.live_streams().map(|check| check.need.as_ref().map(&mut open)).collect(),
            feeds: contract.feeds.iter().map(|feed| open(&feed.need)).collect(),
        }
    }

    /// Each live check that has a state, with it.
    pub fn of<'s>(&'s self, contract: &'s Contract) -> impl Iterator<Item = (&'s StreamCheck, &'s Arc<State>)> {
        contract.live_streams().zip(&self.checks).filter_map(|(check, state)| Some((check, state.as_ref()?)))
    }
}

/// What an event is remembered by.
#[derive(Debug, Clone, Copy)]
pub struct Recall<'a> {
    pub states: &'a ContractStates,
    pub delivery: Delivery,
}

/// What the live checks saw of one event, and then what its feeds did.
pub(super) type AllLooked = Vec<Looked>;

impl Contract {
    /// Its checks that remember, in the order they are applied, those with mode off among them.
    pub fn streams(&self) -> &[StreamCheck] {
        &self.streams
    }

    /// The keys of its events that other contracts refer to.
    pub fn feeds(&self) -> &[Feed] {
        &self.feeds
    }

    /// Whether anything of its events is remembered.
    pub fn remembers(&self) -> bool {
        !self.feeds.is_empty() || self.live_streams().next().is_some()
    }

    pub(super) fn live_streams(&self) -> impl Iterator<Item = &StreamCheck> {
        self.streams.iter().filter(|check| check.mode != Mode::Off)
    }

    /// Looks at an event for every check that remembers; `None` when `look` cannot tell.
    pub(super) fn look(&self, mut look: impl FnMut(&Look) -> Option<Looked>) -> Option<AllLooked> {
        let mut all = Vec::new();
        for check in self.live_streams() {
            all.push(look(&check.look)?);
        }
        for feed in &self.feeds {
            all.push(look(&feed.key)?);
        }
        Some(all)
    }

    /// Shows what was seen to the states, and notes what they say.
    pub(super) fn recall(
        &self,
        recall: Recall<'_>,
        looked: AllLooked,
        now: Timestamp,
        violations: &mut Violations,
    ) -> Observed {
        let mut observed = Observed::new(recall.delivery, now);
        let mut looked = looked.into_iter();
        for ((check, state), looked) in self.live_streams().zip(&recall.states.checks).zip(&mut looked) {
            if let Some(told) = check.tell(looked, state.as_ref(), &mut observed) {
                violations.push_told(check, told, self.payload.to_string());
            }
        }
        for (looked, state) in looked.zip(&recall.states.feeds) {
            // An event without the key introduces nothing.
            if let Ok(Seen::Key(key)) = looked {
                observed.introduce(state, key);
            }
        }
        observed
    }
}

/// What a check that remembers says of an event.
pub(super) struct Told {
    pub kind: ViolationKind,
    pub mode: Mode,
    pub on_fail: OnFail,
    pub message: String,
}

impl StreamCheck {
    fn tell(&self, looked: Looked, state: Option<&Arc<State>>, observed: &mut Observed) -> Option<Told> {
        let message = self.message.to_string();
        let told = |kind, on_fail| Told { kind, mode: self.mode, on_fail, message };
        let Consequences { on_fail, on_gap, on_regress } = self.consequences;
        let seen = match looked {
            Ok(seen) => seen,
            Err(error) => {
                let message = format!("{} could not be evaluated: {error}", self.id);
                return Some(Told { message, ..told(ViolationKind::EvaluationError, on_fail) });
            }
        };
        let Some(state) = state else {
            return (seen == Seen::Measured(Sample::Hit(true))).then(|| told(ViolationKind::Reference, on_fail));
        };
        let Recollection { said, doubt } = observed.observe(state, seen)?;
        let told = match said {
            Remembered::Duplicate => told(ViolationKind::Duplicate, on_fail),
            Remembered::Unknown(Reference::Dangling) => told(ViolationKind::Reference, on_fail),
            // What nobody can be sure of decides nothing.
            Remembered::Unknown(Reference::Unsure) => {
                let message = format!("{} (not certain: the gate has not seen enough yet)", self.message);
                Told { message, mode: self.mode.and(Mode::Shadow), ..told(ViolationKind::Reference, on_fail) }
            }
            Remembered::Disorder(Disorder::Gap) => {
                let message = format!("{}: one or more before it did not come", self.message);
                Told { message, ..told(ViolationKind::Sequence, on_gap?) }
            }
            Remembered::Disorder(Disorder::Regress) => {
                let message = format!("{}: it is not higher than the last one", self.message);
                Told { message, ..told(ViolationKind::Sequence, on_regress?) }
            }
        };
        if let Some(doubt) = doubt.filter(|_| told.mode == Mode::Enforce && told.on_fail != OnFail::Warn) {
            observed.rest_on(doubt);
        }
        Some(told)
    }
}
