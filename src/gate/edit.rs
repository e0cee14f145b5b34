//! Repairs of events that were refused, before they are judged again: values computed with CEL, or a JSON Patch.
//!
//! ```text
//! /total = this.qty * this.price       sets a member, or one more; `this` and `event` are the whole event
//! [{"op": "remove", "path": "/note"}]  RFC 6902, for what takes more than that
//! ```

use json_patch::Patch;
use serde_json::Value;

use crate::decode::json;
use crate::model::{Record, Timestamp};
use crate::rule::expr::{Bindings, Expression, Scalar, Yields};
use crate::rule::pointer::Pointer;
use crate::rule::{RecordFacts, Scope};

/// A repair that is applied to events one by one.
#[derive(Debug)]
pub enum Edit {
    /// The value at the pointer becomes what the expression gives.
    Set {
        at: Pointer,
        to: Box<Expression>,
    },
    Patch(Patch),
}

/// Why a text is no repair.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EditFault {
    #[error("a repair is written '/pointer = CEL expression', or is a JSON Patch, an array of operations (RFC 6902)")]
    NoForm,
    #[error("the repair's pointer: {0}")]
    Pointer(String),
    #[error("the repair's expression: {0}")]
    Expression(String),
    #[error("the repair is no JSON Patch (RFC 6902): {0}")]
    Patch(String),
}

/// Why an event was not repaired. No values of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotEdited {
    #[error("it is compressed, or no JSON: only a JSON event can be repaired")]
    NoJson,
    #[error("the repair's expression has no value for it: {0}")]
    NoValue(String),
    #[error("the repair cannot be applied to it: the place it names is not there, or a test in it fails")]
    NoPlace,
}

impl Edit {
    /// # Errors
    /// Where it is neither form, or the pointer, the expression or the patch has a fault.
    pub fn parse(text: &str) -> Result<Self, EditFault> {
        let text = text.trim();
        if text.starts_with('[') {
            let patch = serde_json::from_str(text).map_err(|error| EditFault::Patch(error.to_string()))?;
            return Ok(Self::Patch(patch));
        }
        let (at, to) = text.split_once('=').filter(|(_, to)| !to.starts_with('=')).ok_or(EditFault::NoForm)?;
        let at = Pointer::parse(at.trim()).map_err(|fault| EditFault::Pointer(fault.to_string()))?;
        if at.is_root() {
            return Err(EditFault::NoForm);
        }
        let to = Expression::compile(to.trim(), Yields::Scalar);
        Ok(Self::Set { at, to: Box::new(to.map_err(|fault| EditFault::Expression(fault.message))?) })
    }

    fn apply(&self, event: &mut Value, record: &Record, now: Timestamp) -> Result<(), NotEdited> {
        match self {
            Self::Patch(patch) => json_patch::patch(event, patch).map_err(|_| NotEdited::NoPlace),
            Self::Set { at, to } => {
                let facts = RecordFacts::of(record);
                let scope = Scope { this: event, event, record: facts, now };
                let value = to.scalar(&Bindings::new(&scope), value_of);
                set(event, at, value.map_err(|error| NotEdited::NoValue(error.to_string()))?)
            }
        }
    }
}

/// The record with its event repaired, by all of them in their order. It is written anew: its bytes are no longer the producer's.
///
/// # Errors
/// Where the event cannot be repaired. Nothing of it is changed then.
pub fn edited(edits: &[Edit], record: &Record, now: Timestamp) -> Result<Record, NotEdited> {
    let mut event = json::parse(&record.data).map_err(|_| NotEdited::NoJson)?;
    edits.iter().try_for_each(|edit| edit.apply(&mut event, record, now))?;
    Ok(Record { data: event.to_string().into(), ..record.clone() })
}

/// The record with a value written at a place, where the event has an object for it.
///
/// # Errors
/// Where it has none, or is no JSON.
pub fn with_value(record: &Record, at: &Pointer, value: Value) -> Result<Record, NotEdited> {
    let mut event = json::parse(&record.data).map_err(|_| NotEdited::NoJson)?;
    set(&mut event, at, value)?;
    Ok(Record { data: event.to_string().into(), ..record.clone() })
}

fn value_of(scalar: Scalar<'_>) -> Value {
    match scalar {
        Scalar::Null => Value::Null,
        Scalar::Bool(value) => value.into(),
        Scalar::Int(value) => value.into(),
        Scalar::Double(value) => value.into(),
        Scalar::Text(value) => value.into(),
        Scalar::Time { seconds, nanos } => {
            let millis = seconds.saturating_mul(1_000).saturating_add(i64::from(nanos / 1_000_000));
            Timestamp::from_millis(millis).to_string().into()
        }
    }
}

/// Sets what is there, or adds a member to an object that is.
fn set(event: &mut Value, at: &Pointer, value: Value) -> Result<(), NotEdited> {
    if let Some(there) = at.resolve_mut(event) {
        *there = value;
        return Ok(());
    }
    let (last, outer) = at.segments().split_last().ok_or(NotEdited::NoPlace)?;
    let outer = outer.iter().fold(Pointer::root(), |pointer, segment| pointer.child(segment.as_str()));
    match outer.resolve_mut(event) {
        Some(Value::Object(members)) => drop(members.insert(last.clone(), value)),
        _ => return Err(NotEdited::NoPlace),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repaired(edits: &[&str], event: &str) -> Result<String, NotEdited> {
        let edits: Vec<Edit> = edits.iter().map(|text| Edit::parse(text).unwrap()).collect();
        let record = Record::new(event.as_bytes().to_vec(), "orders".into(), Timestamp::default());
        edited(&edits, &record, Timestamp::default()).map(|record| String::from_utf8(record.data.to_vec()).unwrap())
    }

    #[test]
    fn values_are_set_one_after_the_other_and_the_rest_stays_as_it_is() {
        let event = r#"{"qty": 3, "price": 2.50, "big": 12345678901234567890123, "lines": [{"sku": "A"}]}"#;
        expect_test::expect![[
            r#"{"qty":3,"price":2.50,"big":12345678901234567890123,"lines":[{"sku":"a"}],"total":7.5,"state":"new 7.5"}"#
        ]]
        .assert_eq(
            &repaired(
                &[
                    "/total = double(this.qty) * this.price",
                    "/lines/0/sku = this.lines[0].sku.lowerAscii()",
                    "/state = 'new ' + string(event.total)",
                ],
                event,
            )
            .unwrap(),
        );
    }

    #[test]
    fn a_patch_is_applied_as_a_whole_or_not_at_all() {
        let patch = r#"[{"op": "test", "path": "/v", "value": 1}, {"op": "move", "from": "/v", "path": "/version"}]"#;
        assert_eq!(repaired(&[patch], r#"{"v": 1}"#).unwrap(), r#"{"version":1}"#);
        assert_eq!(repaired(&[patch], r#"{"v": 2}"#), Err(NotEdited::NoPlace));
    }

    #[test]
    fn what_cannot_be_repaired_is_told_without_its_values() {
        assert_eq!(repaired(&["/a = 1"], "no json"), Err(NotEdited::NoJson));
        assert_eq!(repaired(&["/a/b = 1"], r#"{"a": "secret"}"#), Err(NotEdited::NoPlace));
        let told = repaired(&["/a = int(this.a)"], r#"{"a": "secret"}"#).unwrap_err().to_string();
        assert!(told.contains("no value") && !told.contains("secret"), "{told}");
    }

    #[test]
    fn slips_are_told_before_anything_is_touched() {
        let told = |text: &str| Edit::parse(text).unwrap_err().to_string();
        expect_test::expect![[r#"
            a repair is written '/pointer = CEL expression', or is a JSON Patch, an array of operations (RFC 6902)
            the repair's pointer: a JSON Pointer is empty or begins with "/"; write "/total"
            the repair is no JSON Patch (RFC 6902): missing field `path` at line 1 column 16
            a repair is written '/pointer = CEL expression', or is a JSON Patch, an array of operations (RFC 6902)"#]]
        .assert_eq(&["this.a == 1", "total = 1", r#"[{"op": "test"}]"#, "{}"].map(told).join("\n"));
        assert!(told("/a = this.").starts_with("the repair's expression: "));
    }
}
