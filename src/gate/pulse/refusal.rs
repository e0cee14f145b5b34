//! A refused event, as everybody who may look at a gate may see it.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::sync::Arc;

use crate::contract::{Contract, ContractSet};
use crate::gate::judge;
use crate::model::{Judgement, Severity, Timestamp, Violation, ViolationKind};

/// Reasons of an event that are told; of more, the number.
pub const REASONS_MAX: usize = 5;

/// The longest reason, in characters.
pub const MESSAGE_CHARS_MAX: usize = 300;

/// The longest pointer, in characters.
pub const POINTER_CHARS_MAX: usize = 200;

/// An event that was quarantined, without any of its values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub at: Timestamp,
    pub domain: Arc<str>,
    pub contract: Arc<str>,
    pub version: Option<Arc<str>>,
    /// The id of its dead letter.
    pub letter: String,
    /// Those that are enforced, the most severe first, at most [`REASONS_MAX`].
    pub reasons: Vec<Reason>,
    /// How many more there are.
    pub more: usize,
}

/// Why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    pub rule: Arc<str>,
    pub kind: ViolationKind,
    pub severity: Severity,
    /// As in the dead letter: names inside a private field are not in it.
    pub pointer: String,
    /// In the words of the rule file or the schema. What a `messageExpression` said may hold values, and is not told.
    pub message: String,
}

impl Refusal {
    pub(super) fn of(judgement: &Judgement, letter: &str, set: &ContractSet, now: Timestamp) -> Self {
        let stamp = &judgement.stamp;
        let contract = set.contract(&stamp.domain, &stamp.contract).map(|contract| &**contract);
        let mut enforced: Vec<&Violation> = judgement.enforced().collect();
        enforced.sort_by_key(|violation| Reverse(violation.severity));
        let more = enforced.len().saturating_sub(REASONS_MAX);
        enforced.truncate(REASONS_MAX);
        Self {
            at: now,
            domain: Arc::clone(&stamp.domain),
            contract: Arc::clone(&stamp.contract),
            version: stamp.version.clone(),
            letter: letter.to_owned(),
            more,
            reasons: enforced.into_iter().map(|violation| Reason::of(violation, contract)).collect(),
        }
    }
}

impl Reason {
    fn of(violation: &Violation, contract: Option<&Contract>) -> Self {
        Self {
            rule: Arc::clone(&violation.rule),
            kind: violation.kind,
            severity: violation.severity,
            pointer: clip(&violation.pointer, POINTER_CHARS_MAX),
            message: clip(&words(violation, contract), MESSAGE_CHARS_MAX),
        }
    }
}

/// What is told of a violation where no value of the event may be.
fn words<'v>(violation: &'v Violation, contract: Option<&'v Contract>) -> Cow<'v, str> {
    let check = |contract: &'v Contract| contract.checks().iter().find(|check| check.id == violation.rule);
    match violation.kind {
        ViolationKind::Rule => match contract.and_then(check) {
            Some(check) => check.fixed_message().unwrap_or(Cow::Borrowed(&violation.message)),
            // Of rules that are no longer there, nobody knows where their words came from.
            None => format!("{} does not hold", violation.rule).into(),
        },
        // A far end may quote the record.
        ViolationKind::TooLarge if violation.message.starts_with(judge::REFUSED_BY_STREAM) => {
            judge::REFUSED_BY_STREAM.into()
        }
        _ => Cow::Borrowed(&violation.message),
    }
}

fn clip(text: &str, characters: usize) -> String {
    match text.char_indices().nth(characters) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
