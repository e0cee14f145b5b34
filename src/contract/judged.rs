//! A compiled contract, and how it judges an event.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::Value;

use super::example::Example;
use super::glob::StreamGlob;
use super::remembering::{AllLooked, Feed, Recall, StreamCheck};
use super::ruling::{Ruling, VIOLATIONS_MAX, Violations};
use super::written::{BreakerTerms, Owner, Status};
use crate::decode::cloudevents;
use crate::decode::json::{self, Checked, Malformed};
use crate::model::{Dimension, Mode, Severity, Stamp, Timestamp, ViolationKind};
use crate::plan::{Outcome, Plan};
use crate::rule::capture::{Captured, Captures, Reads, Row, Slot};
use crate::rule::expr::{Bindings, Cost, EvaluationError, Expression, Ground, SlotScope};
use crate::rule::field::FieldCheck;
use crate::rule::mask::Mask;
use crate::rule::number_types::NumberTypes;
use crate::rule::pointer::Pointer;
use crate::rule::schema::Schema;
use crate::rule::{Finding, OnFail, RecordFacts, Scope};

/// The longest message a `messageExpression` may yield, in characters; the rest is cut.
pub const MESSAGE_CHARS_MAX: usize = 1000;

/// The longest pointer of a violation, in bytes; of a longer one, what fits of the way there is told.
pub const POINTER_BYTES_MAX: usize = 1024;

/// The rule id of findings against the payload's JSON Schema.
pub const SCHEMA_RULE: &str = "schema";

/// Ids of what no rule file names, which no rule may take.
pub const RESERVED_IDS: [&str; 5] = [SCHEMA_RULE, "malformed", "unknown_type", "too_large", "isolation"];

/// One event type's compiled contract.
#[derive(Debug)]
pub struct Contract {
    pub domain: Arc<str>,
    pub name: Arc<str>,
    pub version: Arc<str>,
    /// Of the rule files it was compiled from.
    pub revision: Arc<str>,
    pub status: Status,
    pub owner: Owner,
    /// Labels that policies select by.
    pub tags: Vec<String>,
    /// What its judgements are stamped with: the names above.
    pub(crate) stamp: Arc<Stamp>,
    /// As written, made milder by the status: a draft is shadow at most.
    pub mode: Mode,
    /// Path of its file, relative to the rules directory.
    pub file: Arc<str>,
    pub stream: Option<StreamGlob>,
    pub event_type: Option<Arc<str>>,
    /// The domain's.
    pub type_pointer: Pointer,
    /// Where the payload is in the event.
    pub payload: Pointer,
    /// Decides what the plan leaves undecided.
    pub(super) schema: Option<Schema>,
    /// Of the whole event, in which only the payload is restricted.
    pub(super) plan: Plan,
    /// [`SCHEMA_RULE`], to be shared.
    pub(super) schema_rule: Arc<str>,
    /// Where the payload is captured.
    pub(super) this: Option<Slot>,
    pub(super) numbers: Numbers,
    pub(super) checks: Vec<Check>,
    /// As written under `stream`.
    pub(super) streams: Vec<StreamCheck>,
    pub(super) feeds: Vec<Feed>,
    pub(super) masks: Vec<Mask>,
    /// The share of events that may fail, 0 to 1, as `slo` says.
    pub slo_error_ratio: Option<f64>,
    pub breaker: Option<BreakerTerms>,
    /// Where a replay writes an event's lineage, from the whole event. `None`: nowhere.
    pub lineage: Option<Pointer>,
    pub(super) examples: Vec<Example>,
}

/// What the schema calls numbers, so that expressions see them so.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    this: NumberTypes,
    event: NumberTypes,
}

impl Numbers {
    pub(super) fn of(schema: &Schema, payload: &Pointer) -> Self {
        Self { this: schema.number_types().clone(), event: schema.number_types().within(payload) }
    }

    /// What expressions over a payload there are compiled for.
    pub(super) fn ground<'a>(&'a self, payload: &'a Pointer) -> Ground<'a> {
        Ground { payload, numbers: &self.this, masks: &[] }
    }

    fn bind<'a>(&'a self, scope: &Scope<'a>) -> Bindings<'a> {
        Bindings::typed(scope, &self.this, &self.event)
    }
}

/// One entry of `fields` or `rules`.
#[derive(Debug)]
pub struct Check {
    pub id: Arc<str>,
    pub dimension: Option<Dimension>,
    pub severity: Severity,
    pub on_fail: OnFail,
    /// As written, made milder by the contract's, or by the policy's of a policy's check.
    pub mode: Mode,
    /// Whether a policy asks for it, and not the contract's own file.
    pub is_policy: bool,
    pub(super) condition: Condition,
}

#[derive(Debug)]
pub(super) enum Condition {
    Field {
        check: Box<FieldCheck>,
        /// [`ViolationKind::Field`], or `Reference` when a reference list decides.
        kind: ViolationKind,
    },
    Rule(Box<Rule>),
}

#[derive(Debug)]
pub(super) struct Rule {
    pub(super) expression: Expression,
    pub(super) when: Option<Expression>,
    pub(super) message: Option<Arc<str>>,
    pub(super) message_expression: Option<Expression>,
}

impl Check {
    /// What is told of a violation where no value of an event may be: `None` where its message never holds one.
    pub fn fixed_message(&self) -> Option<Cow<'_, str>> {
        let Condition::Rule(rule) = &self.condition else { return None };
        rule.message_expression.as_ref()?;
        Some(rule.message.as_deref().map_or_else(|| format!("{} does not hold", self.id).into(), Cow::Borrowed))
    }

    /// The most it costs to evaluate the rule, where that takes the event's tree.
    pub(super) fn cost_of_tree(&self) -> Option<Cost> {
        let Condition::Rule(rule) = &self.condition else { return None };
        let conditions = || rule.when.iter().chain([&rule.expression]);
        if conditions().all(Expression::has_slots) {
            return None;
        }
        Some(conditions().map(Expression::cost).fold(Cost::default(), Cost::and))
    }

    /// Lets the check be evaluated over slots, so far as that is possible.
    pub(super) fn read_slots(&mut self, reads: &mut Reads, payload: &Pointer, numbers: &Numbers, masks: &[Mask]) {
        let rule = match &mut self.condition {
            Condition::Field { check, .. } => return check.read_slots(reads, payload),
            Condition::Rule(rule) => rule,
        };
        let ground = numbers.ground(payload);
        rule.expression.read_slots(reads, ground);
        for (expression, masks) in [(&mut rule.when, &[][..]), (&mut rule.message_expression, masks)] {
            if let Some(expression) = expression {
                expression.read_slots(reads, Ground { masks, ..ground });
            }
        }
    }
}

/// What a check found, before the contract adds whose it is.
pub(super) struct Found {
    pub kind: ViolationKind,
    pub finding: Finding,
}

/// An event's circumstances.
#[derive(Clone, Copy)]
struct About<'a> {
    record: &'a RecordFacts<'a>,
    now: Timestamp,
    recall: Option<Recall<'a>>,
}

thread_local! {
    /// Kept from event to event so that judging allocates nothing. It carries nothing over.
    static CAPTURES: RefCell<Captures> = RefCell::default();
}

impl Contract {
    /// Judges the text of one event. All violations are told, up to [`VIOLATIONS_MAX`], in the order schema, fields, rules, stream.
    ///
    /// Among those that are enforced, one that quarantines beats one that drops: an event in doubt is kept. Without `recall`, checks
    /// that remember are not asked.
    ///
    /// # Errors
    ///
    /// When the text is no well-formed event.
    pub fn judge(
        &self,
        text: &str,
        record: &RecordFacts<'_>,
        now: Timestamp,
        recall: Option<Recall<'_>>,
    ) -> Result<Ruling, Malformed> {
        if self.asks_nothing() {
            return json::check(text.as_bytes()).map(|()| Violations::default().decide(self, now, recall, Vec::new()));
        }
        let about = About { record, now, recall };
        let judged = CAPTURES.with_borrow_mut(|captures| match self.plan.judge(text, captures, VIOLATIONS_MAX) {
            Outcome::Passes(checked) => Some(self.judge_captured(checked, Vec::new(), captures, about)),
            Outcome::Fails(checked, findings) => Some(self.judge_captured(checked, findings, captures, about)),
            Outcome::Malformed | Outcome::Undecided => None,
        });
        match judged {
            Some(judged) => Ok(judged),
            None => Ok(self.judge_tree(&json::parse(text.as_bytes())?, record, now, recall)),
        }
    }

    /// Judges an event that one pass has seen: the schema's findings are known, and what rules read is captured.
    fn judge_captured(
        &self,
        checked: Checked<'_>,
        findings: Vec<Finding>,
        captures: &Captures,
        about: About<'_>,
    ) -> Ruling {
        let About { record, now, recall } = about;
        let captured = Captured::new(checked.text(), captures);
        if self.this.is_some_and(|this| captured.value(Row::EVENT, this).is_none()) {
            return self.without_payload(cloudevents::has_data_base64(checked.text()), now);
        }
        let slots = SlotScope::new(captured, *record, now);
        let mut violations = Violations::with_capacity(2 * findings.len());
        if self.mode != Mode::Off {
            findings.into_iter().for_each(|finding| violations.push_schema(self, finding));
        }
        let of_schema = violations.len();
        for check in self.live_checks() {
            match self.find_on_slots(check, &slots) {
                Some(found) => violations.push(check, found),
                None => {
                    violations.truncate(of_schema);
                    return self.judge_with_tree(checked, violations, &slots, about);
                }
            }
        }
        if recall.is_none() {
            return violations.decide(self, now, None, Vec::new());
        }
        match self.look(|look| look.look_on_slots(&slots, &self.payload)) {
            Some(looked) => violations.decide(self, now, recall, looked),
            None => {
                violations.truncate(of_schema);
                self.judge_with_tree(checked, violations, &slots, about)
            }
        }
    }

    /// Judges an event of which the slots cannot tell everything: by the slots where they can, by the tree elsewhere. By the
    /// tree alone, where the rules of the event together may cost more than they are allowed, so that both ways give up alike.
    fn judge_with_tree(
        &self,
        checked: Checked<'_>,
        mut violations: Violations,
        slots: &SlotScope<'_>,
        about: About<'_>,
    ) -> Ruling {
        let About { record, now, recall } = about;
        let event = checked.tree();
        let Some(payload) = self.payload.resolve(&event) else {
            return self.without_payload(event["data_base64"].is_string(), now);
        };
        let scope = Scope { this: payload, event: &event, record: *record, now };
        let (bindings, of_schema) = (self.numbers.bind(&scope), violations.len());
        for check in self.live_checks() {
            let found = self.find_on_slots(check, slots).unwrap_or_else(|| self.find(check, &scope, &bindings));
            violations.push(check, found);
        }
        if !bindings.afford(slots) {
            let bindings = self.numbers.bind(&scope);
            violations.truncate(of_schema);
            self.live_checks().for_each(|check| violations.push(check, self.find(check, &scope, &bindings)));
        }
        violations.decide(self, now, recall, self.look_at_tree(recall, &scope, &bindings))
    }

    /// What checks that remember see in an event's tree.
    fn look_at_tree(&self, recall: Option<Recall<'_>>, scope: &Scope<'_>, bindings: &Bindings<'_>) -> AllLooked {
        let looked = recall.and_then(|_| self.look(|look| Some(look.look_at_tree(scope, bindings, &self.payload))));
        looked.unwrap_or_default()
    }

    /// Judges one event by its tree: what the single pass leaves undecided, in the same words.
    pub fn judge_tree(
        &self,
        event: &Value,
        record: &RecordFacts<'_>,
        now: Timestamp,
        recall: Option<Recall<'_>>,
    ) -> Ruling {
        if self.asks_nothing() {
            return Violations::default().decide(self, now, recall, Vec::new());
        }
        let Some(payload) = self.payload.resolve(event) else {
            return self.without_payload(event["data_base64"].is_string(), now);
        };
        let mut violations = Violations::default();
        if let Some(schema) = self.schema.as_ref().filter(|_| self.mode != Mode::Off) {
            let findings = schema.find(payload, &self.payload, VIOLATIONS_MAX);
            findings.into_iter().for_each(|finding| violations.push_schema(self, finding));
        }
        let scope = Scope { this: payload, event, record: *record, now };
        let bindings = self.numbers.bind(&scope);
        for check in self.live_checks() {
            violations.push(check, self.find(check, &scope, &bindings));
        }
        violations.decide(self, now, recall, self.look_at_tree(recall, &scope, &bindings))
    }

    /// Whether it is off, no policy asks for anything, and nobody refers to its events.
    fn asks_nothing(&self) -> bool {
        self.mode == Mode::Off && self.live_checks().next().is_none() && self.feeds.is_empty()
    }

    fn live_checks(&self) -> impl Iterator<Item = &Check> {
        self.checks.iter().filter(|check| check.mode != Mode::Off)
    }

    fn without_payload(&self, has_data_base64: bool, now: Timestamp) -> Ruling {
        let mut message = format!("the event has no payload at {}", self.payload);
        if has_data_base64 {
            message += ": it has data_base64, which is not judged; send JSON in data";
        }
        let mut violations = Violations::default();
        violations.push_schema(self, Finding { pointer: self.payload.to_string(), message });
        // What a policy asks cannot be answered either, and no contract's own mode makes that milder.
        let enforced = self.live_checks().any(|check| check.is_policy && check.mode == Mode::Enforce);
        if enforced {
            violations.enforce_first();
        }
        violations.decide(self, now, None, Vec::new())
    }

    /// What a check finds in what was captured of an event. `None` when only its tree can tell.
    fn find_on_slots(&self, check: &Check, slots: &SlotScope<'_>) -> Option<Option<Found>> {
        let rule = match &check.condition {
            Condition::Field { check, kind } => {
                let finding = check.find_on_slots(slots.captured(), &self.payload)?;
                return Some(finding.map(|finding| Found { kind: *kind, finding }));
            }
            Condition::Rule(rule) => rule,
        };
        let applies = rule.when.as_ref().map_or(Some(Ok(true)), |when| when.test_on_slots(slots))?;
        let holds = match applies {
            Ok(true) => rule.expression.test_on_slots(slots)?,
            Ok(false) => Ok(true),
            Err(error) => Err(error),
        };
        let told = match &rule.message_expression {
            // A message that fails is not told, as one that is not there.
            Some(expression) if holds == Ok(false) => expression.text_on_slots(slots)?.ok(),
            _ => None,
        };
        Some(self.found(check, rule, holds, |_| told))
    }

    /// What a check finds in an event's tree.
    fn find(&self, check: &Check, scope: &Scope<'_>, bindings: &Bindings<'_>) -> Option<Found> {
        let rule = match &check.condition {
            Condition::Field { check, kind } => {
                return check.find(scope.this, &self.payload).map(|finding| Found { kind: *kind, finding });
            }
            Condition::Rule(rule) => rule,
        };
        let applies = rule.when.as_ref().map_or(Ok(true), |when| when.test(bindings));
        let holds = applies.and_then(|applies| if applies { rule.expression.test(bindings) } else { Ok(true) });
        self.found(check, rule, holds, |expression| self.told(expression, scope, bindings))
    }

    /// What it means that a rule holds, or does not, or cannot be evaluated.
    fn found(
        &self,
        check: &Check,
        rule: &Rule,
        holds: Result<bool, EvaluationError>,
        told: impl FnOnce(&Expression) -> Option<String>,
    ) -> Option<Found> {
        let (kind, message) = match holds {
            Ok(true) => return None,
            Ok(false) => {
                let told = rule.message_expression.as_ref().and_then(told);
                let told = told.or_else(|| rule.message.as_ref().map(|message| message.to_string()));
                (ViolationKind::Rule, told.unwrap_or_else(|| format!("{} does not hold", check.id)))
            }
            Err(error) => (ViolationKind::EvaluationError, format!("{} could not be evaluated: {error}", check.id)),
        };
        Some(Found { kind, finding: Finding { pointer: self.payload.to_string(), message } })
    }

    /// What a `messageExpression` says; `None` when it fails. It sees the event with its private fields masked, so that
    /// none of them can reach a message. Only a violated rule pays for the copy.
    fn told(&self, expression: &Expression, scope: &Scope<'_>, bindings: &Bindings<'_>) -> Option<String> {
        let text = if self.masks.is_empty() {
            expression.text(bindings).ok()?
        } else {
            let mut event = scope.event.clone();
            self.masks.iter().for_each(|mask| mask.apply(&mut event));
            // A mask at or above the payload leaves nothing of it to tell.
            let this = self.payload.resolve(&event)?;
            // Keys are often made of a private field.
            let hidden = |key: Option<&str>| key.map(|_| "***");
            let record = RecordFacts {
                partition_key: hidden(scope.record.partition_key),
                explicit_hash_key: hidden(scope.record.explicit_hash_key),
                ..scope.record
            };
            let masked = Scope { this, event: &event, record, ..*scope };
            expression.text(&self.numbers.bind(&masked).sharing(bindings)).ok()?
        };
        match text.char_indices().nth(MESSAGE_CHARS_MAX) {
            Some((end, _)) => Some(text[..end].to_owned()),
            None => Some(text),
        }
    }

    /// Makes a pointer fit to be told: names inside a private field are private with it, and names of any length come from
    /// whoever wrote the event. What is left is the pointer of something around the place.
    pub(super) fn shorten(&self, pointer: &mut String) {
        if let Some(end) = self.masks.iter().filter_map(|mask| mask.path().ancestor_in(pointer)).min() {
            pointer.truncate(end);
        }
        if pointer.len() > POINTER_BYTES_MAX {
            let end = pointer.char_indices().take_while(|(at, _)| *at <= POINTER_BYTES_MAX).filter(|(_, c)| *c == '/');
            let end = end.last().map_or(0, |(at, _)| at);
            pointer.truncate(end);
        }
    }

    /// The masks of this contract's private fields, for a whole event.
    pub fn private(&self) -> &[Mask] {
        &self.masks
    }

    /// Its fields and rules, in the order they are applied, those with mode off among them.
    pub fn checks(&self) -> &[Check] {
        &self.checks
    }

    /// Whether events are routed to it.
    pub fn is_live(&self) -> bool {
        self.status != Status::Retired
    }

    /// What its enforced checks of single events speak for: the dimension and severity of each, the schema's among them.
    pub fn speaks_for(&self) -> BTreeSet<(Option<Dimension>, Severity)> {
        let schema = self.schema.is_some().then_some((self.mode, Some(Dimension::Conformity), Severity::Error));
        let checks = self.checks.iter().map(|check| (check.mode, check.dimension, check.severity));
        let streams = self.live_streams().filter(|check| !check.is_windowed());
        let streams = streams.map(|check| (check.mode, check.dimension, check.severity));
        let all = schema.into_iter().chain(checks).chain(streams);
        all.filter(|(mode, ..)| *mode == Mode::Enforce).map(|(_, dimension, severity)| (dimension, severity)).collect()
    }

    /// The ids of all rules that can be violated, [`SCHEMA_RULE`] first where there is a schema.
    pub fn rule_ids(&self) -> impl Iterator<Item = &str> {
        let schema = self.schema.is_some().then_some(SCHEMA_RULE);
        let checks = self.checks.iter().filter(|check| check.mode != Mode::Off).map(|check| &*check.id);
        let streams = self.live_streams().filter(|check| !check.is_windowed()).map(|check| &*check.id);
        schema.into_iter().chain(checks).chain(streams)
    }
}

#[cfg(test)]
mod tests;
