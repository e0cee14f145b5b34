//! The JSON of the answers: an outcome per event, in the order of the events.

use serde::Serialize;

use crate::model::{Judgement, Outcome, Placement, Settlement, Stamp, Trouble, Unsettled, Verdict, Violation};

/// What an event is told.
pub enum Told {
    Outcome(Box<Outcome>),
    /// The gate stopped taking events before this one.
    Untaken {
        trouble: Trouble,
        message: String,
    },
}

impl Told {
    pub fn is_unsettled(&self) -> bool {
        match self {
            Self::Outcome(outcome) => matches!(outcome.settlement, Settlement::Unsettled(_)),
            Self::Untaken { .. } => true,
        }
    }

    pub fn is_refused(&self) -> bool {
        matches!(self, Self::Outcome(o) if matches!(o.settlement, Settlement::Quarantined { refuse: true, .. }))
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
}

impl<'a> Judged<'a> {
    fn of(judgement: &'a Judgement) -> Self {
        Self { verdict: judgement.verdict, stamp: &judgement.stamp, violations: &judgement.violations }
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
    let outcome = match told {
        Told::Outcome(outcome) => outcome,
        Told::Untaken { trouble, message } => {
            counts.unsettled += 1;
            return OutcomeAnswer { trouble: Some(trouble.as_str()), message: Some(message), ..answer };
        }
    };
    answer.judged = Some(Judged::of(&outcome.judgement));
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
    pub fn of(judgements: &'a [Judgement]) -> Self {
        let mut counts = VerdictCounts::default();
        for judgement in judgements {
            match judgement.verdict {
                Verdict::Forward => counts.forward += 1,
                Verdict::Quarantine => counts.quarantine += 1,
                Verdict::Drop => counts.drop += 1,
            }
        }
        let answer = |(index, judgement)| JudgementAnswer { index, judged: Judged::of(judgement) };
        Self { judgements: judgements.iter().enumerate().map(answer).collect(), counts }
    }
}
