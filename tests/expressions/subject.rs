//! Both ways to judge one kind of event.

use std::ops::AddAssign;
use std::time::Instant;

use meshgate::decode::json;
use meshgate::model::Timestamp;
use meshgate::rule::capture::{Captured, Captures, Reads, naive};
use meshgate::rule::expr::{Bindings, EvaluationError, Expression, ExpressionFault, Ground, Scalar, SlotScope, Yields};
use meshgate::rule::field::FieldCheck;
use meshgate::rule::mask::Mask;
use meshgate::rule::number_types::NumberTypes;
use meshgate::rule::pointer::Pointer;
use meshgate::rule::{RecordFacts, Scope};
use serde_json::Value;

/// How often each answer was given.
#[derive(Debug, Default, Clone, Copy)]
pub struct Tally {
    pub sure: u64,
    pub unsure: u64,
    pub yes: u64,
    pub no: u64,
    pub text: u64,
    pub scalar: u64,
    pub missing: u64,
    /// Findings of fields.
    pub found: u64,
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.sure += other.sure;
        self.unsure += other.unsure;
        self.yes += other.yes;
        self.no += other.no;
        self.text += other.text;
        self.scalar += other.scalar;
        self.missing += other.missing;
        self.found += other.found;
    }
}

/// An expression, and the one whose compiled form is asked in its stead.
pub struct Case {
    pub source: String,
    pub expression: Expression,
    yields: Yields,
    truth: Option<Expression>,
}

impl Case {
    pub fn new(source: &str, yields: Yields) -> Result<Self, ExpressionFault> {
        let expression = Expression::compile(source, yields)?;
        Ok(Self { source: source.to_owned(), expression, yields, truth: None })
    }

    /// Lets another's compiled form answer.
    pub fn sabotage(&mut self, other: Self) {
        self.truth = Some(std::mem::replace(&mut self.expression, other.expression));
    }
}

pub struct Subject {
    pub name: String,
    pub payload: Pointer,
    pub numbers: NumberTypes,
    pub masks: Vec<Mask>,
    pub cases: Vec<Case>,
    pub fields: Vec<FieldCheck>,
    pub events: Vec<Vec<u8>>,
    pub reads: Reads,
}

/// The time of all judgements: that of the samples' events, so that some are in the future.
fn now() -> Timestamp {
    Timestamp::parse_rfc3339("2026-11-22T10:00:00Z").expect("a time")
}

fn facts(size: usize) -> RecordFacts<'static> {
    let (partition_key, explicit_hash_key) = (Some("O-20001"), None);
    RecordFacts { stream: "orders-eu", partition_key, explicit_hash_key, arrived: now(), size }
}

impl Subject {
    /// Compiles all there is.
    pub fn read_slots(&mut self) {
        let mut reads = Reads::default();
        for case in &mut self.cases {
            let masks = if case.yields == Yields::Text { self.masks.as_slice() } else { &[] };
            case.expression.read_slots(&mut reads, Ground { payload: &self.payload, numbers: &self.numbers, masks });
        }
        self.fields.iter_mut().for_each(|field| field.read_slots(&mut reads, &self.payload));
        self.reads = reads;
    }

    /// Judges the bytes both ways, if they are an event with a payload. The error says how the answers differ.
    pub fn compare(&self, bytes: &[u8], tally: &mut Tally) -> Result<(), String> {
        let (Ok(event), Ok(text)) = (json::parse(bytes), std::str::from_utf8(bytes)) else { return Ok(()) };
        let Some(this) = self.payload.resolve(&event) else { return Ok(()) };
        let mut captures = Captures::default();
        naive::fill(&self.reads, text, &mut captures).expect("the events are small");
        let captured = Captured::new(text, &captures);
        let slots = SlotScope::new(captured, facts(bytes.len()), now());

        let within = self.numbers.within(&self.payload);
        let scope = Scope { this, event: &event, record: facts(bytes.len()), now: now() };
        let bindings = Bindings::typed(&scope, &self.numbers, &within);
        let masked = self.masked(&event);
        for case in &self.cases {
            let crates = case.truth.as_ref().unwrap_or(&case.expression);
            let differs = match case.yields {
                Yields::Bool => tally.note(
                    case.expression.test_on_slots(&slots),
                    || crates.test(&bindings),
                    |tally, holds| {
                        if *holds { tally.yes += 1 } else { tally.no += 1 }
                    },
                ),
                Yields::Text => {
                    let told = || crates.text(&masked.bindings(&self.payload, &self.numbers, &within, &scope));
                    tally.note(case.expression.text_on_slots(&slots), told, |tally, _| tally.text += 1)
                }
                Yields::Scalar => {
                    let shown = |scalar: Scalar<'_>| format!("{scalar:?}");
                    let told = || crates.scalar(&bindings, shown);
                    tally.note(case.expression.scalar_on_slots(&slots, shown), told, |tally, _| tally.scalar += 1)
                }
            };
            if let Some(differs) = differs {
                return Err(format!("{}: {differs}: {text}", case.source));
            }
        }
        self.compare_fields(this, &captured, tally).map_err(|told| format!("{told}: {text}"))
    }

    /// Says how long it takes to answer everything about the event, by compiled form and by the crate.
    pub fn measure(&self, text: &str, turns: u64) {
        let event = json::parse(text.as_bytes()).expect("an event");
        let mut captures = Captures::default();
        naive::fill(&self.reads, text, &mut captures).expect("a small event");
        let captured = Captured::new(text, &captures);
        let conditions: Vec<_> = self.cases.iter().filter(|case| case.yields == Yields::Bool).collect();
        let only = std::env::var("MESHGATE_MEASURE").unwrap_or_default();
        let each = |what: &str, answer: &dyn Fn() -> bool| {
            if !what.contains(&only) {
                return;
            }
            let start = Instant::now();
            assert!((0..turns).all(|_| std::hint::black_box(answer())), "{what}: the order is a good one");
            eprintln!("{what}: {} ns", start.elapsed().as_nanos() / u128::from(turns.max(1)));
        };
        let (facts, now) = (facts(text.len()), now());
        let scope = || SlotScope::new(captured, facts, now);
        for case in &conditions {
            each(&case.source, &|| case.expression.test_on_slots(&scope()).is_some());
        }
        let fine = |field: &&FieldCheck| field.find_on_slots(&captured, &self.payload) == Some(None);
        let fields: Vec<_> = self.fields.iter().filter(fine).collect();
        each("fields", &|| fields.iter().all(fine));
        each("all rules and fields", &|| {
            let scope = scope();
            conditions.iter().all(|case| case.expression.test_on_slots(&scope).is_some()) && fields.iter().all(fine)
        });
        let within = self.numbers.within(&self.payload);
        let this = self.payload.resolve(&event).expect("a payload");
        let scope = Scope { this, event: &event, record: facts, now };
        each("the crate's rules", &|| {
            let bindings = Bindings::typed(&scope, &self.numbers, &within);
            conditions.iter().all(|case| case.expression.test(&bindings).is_ok())
        });
    }

    fn compare_fields(&self, this: &Value, captured: &Captured<'_>, tally: &mut Tally) -> Result<(), String> {
        for field in &self.fields {
            let Some(found) = field.find_on_slots(captured, &self.payload) else {
                tally.unsure += 1;
                continue;
            };
            tally.sure += 1;
            let truth = field.find(this, &self.payload);
            tally.found += u64::from(found.is_some());
            if found != truth {
                return Err(format!("{found:?}, but the tree says {truth:?}"));
            }
        }
        Ok(())
    }

    fn masked(&self, event: &Value) -> Masked {
        let mut event = event.clone();
        self.masks.iter().for_each(|mask| mask.apply(&mut event));
        Masked { event, hides: !self.masks.is_empty() }
    }
}

/// The event as `messageExpression`s see it.
struct Masked {
    event: Value,
    hides: bool,
}

impl Masked {
    fn bindings<'a>(
        &'a self,
        payload: &Pointer,
        numbers: &'a NumberTypes,
        within: &'a NumberTypes,
        scope: &Scope<'a>,
    ) -> Bindings<'a> {
        let this = payload.resolve(&self.event).expect("no mask of the samples is around the payload");
        let partition_key = scope.record.partition_key.map(|key| if self.hides { "***" } else { key });
        let record = RecordFacts { partition_key, ..scope.record };
        Bindings::typed(&Scope { this, event: &self.event, record, now: scope.now }, numbers, within)
    }
}

impl Tally {
    /// Counts an answer, and says how it differs from the crate's if it does.
    fn note<T: PartialEq + std::fmt::Debug>(
        &mut self,
        answer: Option<Result<T, EvaluationError>>,
        truth: impl FnOnce() -> Result<T, EvaluationError>,
        count: impl FnOnce(&mut Self, &T),
    ) -> Option<String> {
        let Some(answer) = answer else {
            self.unsure += 1;
            return None;
        };
        self.sure += 1;
        match &answer {
            Ok(value) => count(self, value),
            Err(_) => self.missing += 1,
        }
        let truth = truth();
        (answer != truth).then(|| format!("{answer:?}, but the crate says {truth:?}"))
    }
}
