//! What checks that remember look at in one event: keys, numbers, and measures of windows.
//!
//! Looking is as pure as any rule. What was seen is compared with what came before by `crate::memory`, and no value leaves here but
//! as a number to be counted or a hash.

use std::cell::RefCell;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::capture::Reads;
use super::expr::{Bindings, EvaluationError, Expression, Ground, Scalar, SlotScope};
use super::field::FieldCheck;
use super::pointer::Pointer;
use super::reference::ReferenceList;
use super::{RecordFacts, Scope};
use crate::memory::{Key, Sample, Seen};
use crate::model::Timestamp;

/// What a check looks at.
#[derive(Debug)]
pub enum Look {
    /// A key, of one part or several.
    Key(Vec<Expression>),
    /// An integer that counts up, by key.
    Ordered { key: Vec<Expression>, number: Expression },
    /// Nothing but that the event is there.
    Event,
    /// Whether a field metric finds something.
    Field(Box<FieldCheck>),
    /// Whether a value is missing from a list. Null is: it refers to nothing that is known.
    Listed { value: Expression, list: Arc<ReferenceList> },
    /// How many different keys.
    Distinct(Vec<Expression>),
    /// From a time in the event to its arrival.
    Latency(Expression),
    /// In which bin a value lies.
    Bin { value: Expression, bins: Bins },
}

/// The parts a value's distribution is compared by.
#[derive(Debug, Clone, PartialEq)]
pub enum Bins {
    /// By value; whatever else there is falls into one more.
    Values(Vec<String>),
    /// By upper bounds, ascending, each included; what is above the last falls into one more.
    Edges(Vec<f64>),
}

impl Bins {
    /// How many there are.
    pub fn count(&self) -> usize {
        1 + match self {
            Self::Values(values) => values.len(),
            Self::Edges(edges) => edges.len(),
        }
    }

    /// `None` for what lies in no bin: null, and what is no number where numbers are counted.
    fn of(&self, scalar: Scalar<'_>) -> Option<u32> {
        let bin = match self {
            Self::Values(values) => {
                let position = |text: &str| values.iter().position(|value| value == text);
                scalar.text(position)?.unwrap_or(values.len())
            }
            Self::Edges(edges) => {
                let number = match scalar {
                    Scalar::Int(int) => int as f64,
                    Scalar::Double(double) => double,
                    _ => return None,
                };
                edges.partition_point(|edge| *edge < number)
            }
        };
        Some(bin as u32)
    }
}

/// An event that is looked at: by what one pass has captured of it, or by its tree.
trait Source {
    /// `None` when this source cannot tell.
    fn scalar<T>(&self, expression: &Expression, read: impl Fn(Scalar<'_>) -> T) -> Option<Result<T, EvaluationError>>;

    /// Whether a field metric finds something.
    fn finds(&self, check: &FieldCheck) -> Option<bool>;

    fn record(&self) -> &RecordFacts<'_>;
}

struct Slots<'s, 'e> {
    scope: &'s SlotScope<'e>,
    payload: &'s Pointer,
}

impl Source for Slots<'_, '_> {
    fn scalar<T>(&self, expression: &Expression, read: impl Fn(Scalar<'_>) -> T) -> Option<Result<T, EvaluationError>> {
        expression.scalar_on_slots(self.scope, read)
    }

    fn finds(&self, check: &FieldCheck) -> Option<bool> {
        Some(check.find_on_slots(self.scope.captured(), self.payload)?.is_some())
    }

    fn record(&self) -> &RecordFacts<'_> {
        self.scope.record()
    }
}

struct Tree<'s, 'e> {
    scope: &'s Scope<'e>,
    bindings: &'s Bindings<'e>,
    payload: &'s Pointer,
}

impl Source for Tree<'_, '_> {
    fn scalar<T>(&self, expression: &Expression, read: impl Fn(Scalar<'_>) -> T) -> Option<Result<T, EvaluationError>> {
        Some(expression.scalar(self.bindings, read))
    }

    fn finds(&self, check: &FieldCheck) -> Option<bool> {
        Some(check.find(self.scope.this, self.payload).is_some())
    }

    fn record(&self) -> &RecordFacts<'_> {
        &self.scope.record
    }
}

/// What a check saw, or why it could not look.
pub type Looked = Result<Seen, EvaluationError>;

impl Look {
    /// Lets it look at what one pass has captured, so far as that is possible.
    pub fn read_slots(&mut self, reads: &mut Reads, ground: Ground<'_>) {
        match self {
            Self::Key(key) | Self::Distinct(key) => key.iter_mut().for_each(|part| part.read_slots(reads, ground)),
            Self::Ordered { key, number } => {
                key.iter_mut().for_each(|part| part.read_slots(reads, ground));
                number.read_slots(reads, ground);
            }
            Self::Event => {}
            Self::Field(check) => check.read_slots(reads, ground.payload),
            Self::Latency(from) => from.read_slots(reads, ground),
            Self::Bin { value, .. } | Self::Listed { value, .. } => value.read_slots(reads, ground),
        }
    }

    /// What it sees in what was captured of an event. `None` when only the event's tree can tell.
    pub fn look_on_slots(&self, scope: &SlotScope<'_>, payload: &Pointer) -> Option<Looked> {
        self.look(&Slots { scope, payload })
    }

    /// What it sees in an event's tree.
    pub fn look_at_tree(&self, scope: &Scope<'_>, bindings: &Bindings<'_>, payload: &Pointer) -> Looked {
        // A tree can always tell.
        self.look(&Tree { scope, bindings, payload }).unwrap_or(Err(EvaluationError::Unexpected))
    }

    fn look(&self, source: &impl Source) -> Option<Looked> {
        let measured = |sample: Option<Sample>| Some(Ok(Seen::Measured(sample.unwrap_or(Sample::Nothing))));
        match self {
            Self::Key(parts) => Some(key(parts, source)?.map(Seen::Key)),
            Self::Ordered { key: parts, number } => {
                let key = match key(parts, source)? {
                    Ok(key) => key,
                    Err(error) => return Some(Err(error)),
                };
                let number = source.scalar(number, integer)?.and_then(|number| number);
                Some(number.map(|number| Seen::Ordered { key, number }))
            }
            Self::Event => measured(Some(Sample::Event)),
            Self::Field(check) => measured(Some(Sample::Hit(source.finds(check)?))),
            Self::Listed { value, list } => {
                let is_missing =
                    source.scalar(value, |value| value.text(|text| !list.contains(text)).unwrap_or(true))?;
                Some(is_missing.map(|is_missing| Seen::Measured(Sample::Hit(is_missing))))
            }
            // What has no value is not measured: it blames no event.
            Self::Distinct(parts) => measured(key(parts, source)?.ok().map(|key| Sample::Hash(key as u64))),
            Self::Latency(from) => {
                let from = source.scalar(from, millis)?.ok().flatten();
                measured(from.map(|from| Sample::Millis(source.record().arrived.millis().saturating_sub(from))))
            }
            Self::Bin { value, bins } => {
                measured(source.scalar(value, |value| bins.of(value))?.ok().flatten().map(Sample::Bin))
            }
        }
    }
}

/// `None` when the source cannot tell.
fn key(parts: &[Expression], source: &impl Source) -> Option<Result<Key, EvaluationError>> {
    let written = RefCell::new(Vec::with_capacity(64));
    for part in parts {
        if let Err(error) = source.scalar(part, |part| write(part, &mut written.borrow_mut()))?.and_then(|part| part) {
            return Some(Err(error));
        }
    }
    let mut key = [0; 16];
    key.copy_from_slice(&Sha256::digest(written.into_inner())[..16]);
    Some(Ok(Key::from_be_bytes(key)))
}

/// Writes a part of a key so that no two keys are written alike, and those that CEL calls equal are, whatever their type says of how
/// they were written.
fn write(part: Scalar<'_>, written: &mut Vec<u8>) -> Result<(), EvaluationError> {
    match part {
        Scalar::Null => return Err(of_wrong_type(&part, "a key")),
        Scalar::Bool(bool) => written.extend([b'b', bool.into()]),
        Scalar::Int(int) => {
            written.push(b'i');
            written.extend(int.to_be_bytes());
        }
        Scalar::Double(double) => {
            written.push(b'd');
            written.extend(double.to_bits().to_be_bytes());
        }
        Scalar::Text(text) => {
            written.push(b's');
            written.extend((text.len() as u64).to_be_bytes());
            written.extend(text.as_bytes());
        }
        Scalar::Time { seconds, nanos } => {
            written.push(b't');
            written.extend(seconds.to_be_bytes());
            written.extend(nanos.to_be_bytes());
        }
    }
    Ok(())
}

fn integer(scalar: Scalar<'_>) -> Result<i64, EvaluationError> {
    match scalar {
        Scalar::Int(int) => Ok(int),
        other => Err(of_wrong_type(&other, "an int")),
    }
}

/// A time in milliseconds since the Unix epoch; `None` for what is none.
fn millis(scalar: Scalar<'_>) -> Option<i64> {
    match scalar {
        Scalar::Time { seconds, nanos } => {
            Some(seconds.saturating_mul(1000).saturating_add(i64::from(nanos / 1_000_000)))
        }
        Scalar::Text(text) => Timestamp::parse_rfc3339(text).map(Timestamp::millis),
        _ => None,
    }
}

fn of_wrong_type(scalar: &Scalar<'_>, wanted: &'static str) -> EvaluationError {
    EvaluationError::WrongResult { got: scalar.type_name().to_owned(), wanted }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::rule::capture::{Captured, Captures, naive};
    use crate::rule::expr::Yields;
    use crate::rule::number_types::NumberTypes;

    const RECORD: RecordFacts<'static> = RecordFacts {
        stream: "s",
        partition_key: Some("p"),
        explicit_hash_key: None,
        arrived: Timestamp::from_millis(1_764_288_000_500),
        size: 1,
    };

    fn expression(source: &str) -> Expression {
        Expression::compile(source, Yields::Scalar).unwrap_or_else(|fault| panic!("{source}: {fault:?}"))
    }

    /// Looks both ways, which must agree.
    fn look(mut look: Look, payload: &Value) -> Looked {
        let event = json!({ "data": payload });
        let pointer = Pointer::parse("/data").unwrap();
        let (mut reads, mut captures, numbers) = (Reads::default(), Captures::default(), NumberTypes::default());
        look.read_slots(&mut reads, Ground { payload: &pointer, numbers: &numbers, masks: &[] });
        let text = event.to_string();
        naive::fill(&reads, &text, &mut captures).unwrap();
        let now = Timestamp::default();
        let slots = SlotScope::new(Captured::new(&text, &captures), RECORD, now);

        let scope = Scope { this: &event["data"], event: &event, record: RECORD, now };
        let at_tree = look.look_at_tree(&scope, &Bindings::new(&scope), &pointer);
        if let Some(on_slots) = look.look_on_slots(&slots, &pointer) {
            assert_eq!(on_slots, at_tree, "{text}");
        }
        at_tree
    }

    fn key_of(parts: &[&str], payload: &Value) -> Result<Key, String> {
        match look(Look::Key(parts.iter().map(|part| expression(part)).collect()), payload) {
            Ok(Seen::Key(key)) => Ok(key),
            other => Err(other.unwrap_err().to_string()),
        }
    }

    #[test]
    fn keys_that_are_equal_in_cel_are_one() {
        let key = |value: &str| key_of(&["this.a"], &serde_json::from_str(&format!("{{\"a\": {value}}}")).unwrap());
        assert_eq!(key("1"), key("1.0"));
        assert_eq!(key("1"), key("1e0"));
        assert_eq!(key("\"\\u0061\""), key("\"a\""));
        for (a, b) in [("1", "\"1\""), ("true", "\"true\""), ("1", "true"), ("0.5", "0.25"), ("\"a\"", "\"A\"")] {
            assert_ne!(key(a), key(b));
        }
        for (value, message) in [("null", "null"), ("[]", "list"), ("{}", "map"), ("123456789012345678901", "")] {
            assert!(key(value).unwrap_err().contains(message), "{value}");
        }
        assert!(key_of(&["this.b"], &json!({"a": 1})).unwrap_err().contains("\"b\" is missing"));
    }

    #[test]
    fn parts_do_not_run_into_each_other() {
        let key = |a: &str, b: &str| key_of(&["this.a", "this.b"], &json!({"a": a, "b": b})).unwrap();
        assert_eq!(key("x", "y"), key("x", "y"));
        assert!(key("xy", "") != key("x", "y") && key("x", "y") != key("y", "x"));
    }

    #[test]
    fn keys_may_be_of_the_record() {
        assert!(key_of(&["record.partitionKey"], &json!({})).is_ok());
        assert!(key_of(&["record.explicitHashKey"], &json!({})).is_err());
    }

    #[test]
    fn numbers_that_count_are_integers() {
        let ordered = |payload: Value| {
            let (key, number) = (vec![expression("this.k")], expression("this.n"));
            look(Look::Ordered { key, number }, &payload).map(|seen| match seen {
                Seen::Ordered { number, .. } => number,
                _ => unreachable!(),
            })
        };
        assert_eq!(ordered(json!({"k": "a", "n": -7})), Ok(-7));
        assert_eq!(ordered(json!({"k": "a", "n": 7.0})), Ok(7));
        assert!(ordered(json!({"k": "a", "n": 7.5})).is_err() && ordered(json!({"k": "a", "n": "7"})).is_err());
        assert!(ordered(json!({"n": 7})).is_err());
    }

    #[test]
    fn latency_is_from_the_event_to_its_arrival() {
        let latency = |at: Value| look(Look::Latency(expression("this.at")), &json!({ "at": at })).unwrap();
        assert_eq!(latency(json!("2025-11-28T00:00:00Z")), Seen::Measured(Sample::Millis(500)));
        assert_eq!(latency(json!("2025-11-28T01:00:00.400+01:00")), Seen::Measured(Sample::Millis(100)));
        assert_eq!(latency(json!("yesterday")), Seen::Measured(Sample::Nothing));
        assert_eq!(latency(json!(null)), Seen::Measured(Sample::Nothing));
        let time = look(Look::Latency(expression("timestamp(this.at)")), &json!({"at": "2025-11-28T00:00:00Z"}));
        assert_eq!(time, Ok(Seen::Measured(Sample::Millis(500))));
        let absent = look(Look::Latency(expression("this.at")), &json!({}));
        assert_eq!(absent, Ok(Seen::Measured(Sample::Nothing)), "it blames no event");
    }

    #[test]
    fn bins_are_by_value_or_by_upper_bound() {
        let bin = |bins: &Bins, value: Value| {
            let Ok(Seen::Measured(sample)) =
                look(Look::Bin { value: expression("this.a"), bins: bins.clone() }, &json!({ "a": value }))
            else {
                panic!("{value}");
            };
            sample
        };
        let edges = Bins::Edges(vec![10.0, 100.0]);
        for (value, expected) in [(json!(-5), 0), (json!(10), 0), (json!(10.5), 1), (json!(100), 1), (json!(101), 2)] {
            assert_eq!(bin(&edges, value), Sample::Bin(expected));
        }
        let values = Bins::Values(vec!["web".into(), "1".into(), "true".into()]);
        for (value, expected) in [(json!("web"), 0), (json!(1), 1), (json!(true), 2), (json!("fax"), 3)] {
            assert_eq!(bin(&values, value), Sample::Bin(expected));
        }
        assert_eq!((bin(&edges, json!("x")), bin(&values, json!(null))), (Sample::Nothing, Sample::Nothing));
    }

    proptest! {
        /// Both ways of looking agree, and equal values are one key.
        #[test]
        fn both_ways_agree(a in any::<i64>(), b in "\\PC{0,8}", double in any::<f64>()) {
            let payload = json!({"a": a, "b": b, "c": double});
            for source in ["this.a", "this.b", "this.c", "this.b + \"x\"", "this.a % 7"] {
                let _ = key_of(&[source, "this.b"], &payload);
            }
        }
    }
}
