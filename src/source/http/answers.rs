//! The JSON of the answers: an outcome per event, in the order of the events.

use serde::Serialize;

use crate::model::{Judgement, Outcome, Placement, Settlement, Stamp, Trouble, Unsettled, Verdict, Violation};

/// Violations told in one answer. Of events past it each is told its first: the dead letters have them all. Ten thousand
/// events with a hundred each would otherwise make an answer of more than a gigabyte.
const VIOLATIONS_TOLD_MAX: usize = 10_000;

/// Keeps one answer's violations within [`VIOLATIONS_TOLD_MAX`], event after event.
pub struct Allowance(usize);

impl Default for Allowance {
    fn default() -> Self {
        Self(VIOLATIONS_TOLD_MAX)
    }
}

impl Allowance {
    /// Cuts an event's violations to what is left, and says how many are left out.
    pub fn cut(&mut self, judgement: &mut Judgement) -> usize {
        let all = judgement.violations.len();
        let told = all.min(self.0.max(1));
        self.0 -= told.min(self.0);
        judgement.violations.truncate(told);
        judgement.violations.shrink_to_fit();
        all - told
    }
}

/// What an event is told.
pub enum Told {
    Outcome {
        outcome: Box<Outcome>,
        /// Violations left out.
        omitted: usize,
    },
    /// The gate stopped taking events before this one.
    Untaken { trouble: Trouble, message: String },
}

impl Told {
    pub fn is_unsettled(&self) -> bool {
        match self {
            Self::Outcome { outcome, .. } => matches!(outcome.settlement, Settlement::Unsettled(_)),
            Self::Untaken { .. } => true,
        }
    }

    pub fn is_refused(&self) -> bool {
        matches!(self, Self::Outcome { outcome, .. } if matches!(outcome.settlement, Settlement::Quarantined { refuse: true, .. }))
    }
}

#[derive(Serialize)]
pub struct EventsAnswer<'a> {
    outcomes: Vec<OutcomeAnswer<'a>>,
    counts: Counts,
}

/// How many events ended where. `refused` are among `quarantined`.
#[derive(Serialize, Default)]
struct Counts {
    forwarded: usize,
    quarantined: usize,
    refused: usize,
    dropped: usize,
    unsettled: usize,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct OutcomeAnswer<'a> {
    index: usize,
    settlement: &'static str,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    judged: Option<Judged<'a>>,
    /// The producer is to treat this as an error (`on_quarantine: refuse`).
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    refused: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    shard_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sequence_number: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dead_letter: Option<&'a str>,
    /// Why it is unsettled: `throttled`, `unavailable` or `rejected`.
    #[serde(skip_serializing_if = "Option::is_none")]
    trouble: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'a str>,
}

#[derive(Serialize)]
struct Judged<'a> {
    verdict: Verdict,
    #[serde(flatten)]
    stamp: &'a Stamp,
    violations: &'a [Violation],
    /// How many more there are, where an answer would get too long.
    #[serde(rename = "violationsOmitted", skip_serializing_if = "is_zero")]
    omitted: usize,
}

fn is_zero(count: &usize) -> bool {
    *count == 0
}

impl<'a> Judged<'a> {
    fn of(judgement: &'a Judgement, omitted: usize) -> Self {
        Self { verdict: judgement.verdict, stamp: &judgement.stamp, violations: &judgement.violations, omitted }
    }
}

impl<'a> EventsAnswer<'a> {
    pub fn of(told: &'a [Told]) -> Self {
        let mut counts = Counts::default();
        let outcomes = told.iter().enumerate().map(|(index, told)| outcome_answer(index, told, &mut counts)).collect();
        Self { outcomes, counts }
    }
}

fn outcome_answer<'a>(index: usize, told: &'a Told, counts: &mut Counts) -> OutcomeAnswer<'a> {
    let mut answer = OutcomeAnswer {
        index,
        settlement: "unsettled",
        judged: None,
        refused: false,
        shard_id: None,
        sequence_number: None,
        dead_letter: None,
        trouble: None,
        message: None,
    };
    let (outcome, omitted) = match told {
        Told::Outcome { outcome, omitted } => (outcome, *omitted),
        Told::Untaken { trouble, message } => {
            counts.unsettled += 1;
            return OutcomeAnswer { trouble: Some(trouble.as_str()), message: Some(message), ..answer };
        }
    };
    answer.judged = Some(Judged::of(&outcome.judgement, omitted));
    let mut place = |placement: &'a Placement| {
        answer.shard_id = Some(&placement.shard_id);
        answer.sequence_number = Some(&placement.sequence_number);
    };
    match &outcome.settlement {
        Settlement::Forwarded(placement) => {
            counts.forwarded += 1;
            place(placement);
            answer.settlement = "forwarded";
        }
        Settlement::Quarantined { dead_letter, refuse, .. } => {
            counts.quarantined += 1;
            counts.refused += usize::from(*refuse);
            answer.settlement = "quarantined";
            answer.refused = *refuse;
            answer.dead_letter = Some(dead_letter);
        }
        Settlement::Dropped(_) => {
            counts.dropped += 1;
            answer.settlement = "dropped";
        }
        Settlement::Unsettled(Unsettled { trouble, message }) => {
            counts.unsettled += 1;
            answer.trouble = Some(trouble.as_str());
            answer.message = Some(message);
        }
    }
    answer
}

#[derive(Serialize)]
pub struct JudgeAnswer<'a> {
    judgements: Vec<JudgementAnswer<'a>>,
    counts: VerdictCounts,
}

#[derive(Serialize)]
struct JudgementAnswer<'a> {
    index: usize,
    #[serde(flatten)]
    judged: Judged<'a>,
}

#[derive(Serialize, Default)]
struct VerdictCounts {
    forward: usize,
    quarantine: usize,
    drop: usize,
}

impl<'a> JudgeAnswer<'a> {
    /// Of each judgement, with how many of its violations were left out.
    pub fn of(judgements: &'a [(Judgement, usize)]) -> Self {
        let mut counts = VerdictCounts::default();
        for (judgement, _) in judgements {
            match judgement.verdict {
                Verdict::Forward => counts.forward += 1,
                Verdict::Quarantine => counts.quarantine += 1,
                Verdict::Drop => counts.drop += 1,
            }
        }
        let answer = |(index, (judgement, omitted)): (usize, &'a (Judgement, usize))| JudgementAnswer {
            index,
            judged: Judged::of(judgement, *omitted),
        };
        Self { judgements: judgements.iter().enumerate().map(answer).collect(), counts }
    }
}
