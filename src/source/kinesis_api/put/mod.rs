//! `PutRecord` and `PutRecords`: from request to records, and from settlements to answers.
//!
//! What a producer sees. A record that is durable, on the mesh stream or in the DLQ, or that a rule drops, is a success with a
//! sequence number and the shard its key hashes to. Where the route says `on_quarantine: refuse`, a quarantined record is
//! an `InvalidArgumentException` with every reason: in `PutRecords` this code is outside Kinesis' contract for single
//! records, and producers that retry every code will retry it, which is why it must be asked for.
//! A record that is not durable fails with one of the two codes Kinesis has for that.

mod answer;
mod json;
mod request;

use std::fmt::Write as _;
use std::sync::Arc;

use bytes::Bytes;

use crate::model::{HashKey, Judgement, Outcome, Position, Record, Settlement, Trouble, Unsettled};

use super::answers::PutRecordAnswer;
use super::fault::Fault;
use super::{Call, name};
use request::{Entry, Request, Shape};

/// Records in one `PutRecords`.
const RECORDS_MAX: usize = 500;
/// Bytes of one record's data, and of all data and partition keys of a request.
const DATA_MAX: usize = 10 * 1024 * 1024;
/// Characters of a partition key.
const PARTITION_KEY_MAX: usize = 256;
/// Digits of a sequence number.
const SEQUENCE_MAX: usize = 129;
/// Numbers the gate gives to records that are on no stream: 40 digits, the first a 7. Kinesis' own have 56 and start
/// with 49.
const SYNTHETIC_LEN: usize = 40;
/// Characters of an `ErrorMessage`.
const REASONS_MAX: usize = 2048;

/// The code of a record that its contract refuses, on routes that ask for errors.
const REFUSED: &str = "InvalidArgumentException";

pub async fn put_record(call: &Call<'_>) -> Result<Bytes, Fault> {
    let mut request = Request::read(call.encoding, call.body, Shape::One)?;
    let stream: Arc<str> = name::stream_of(request.stream_name.as_deref(), request.stream_arn.as_deref())?.into();
    let entry = request.entries.pop().ok_or_else(|| Fault::internal("The gate lost a record. Nothing was taken."))?;
    let mut record = record(call, &stream, entry, 0, |member| member.to_owned())?;
    check_total(std::slice::from_ref(&record))?;
    record.sequence_for_ordering = ordering(request.sequence_for_ordering)?;
    refuse_dry_run(request.dry_run)?;

    let outcomes = settle(call, &stream, vec![record]).await?;
    let [outcome]: [Outcome; 1] = outcomes.try_into().map_err(|_| count_mismatch())?;
    match outcome.settlement {
        Settlement::Quarantined { refuse: true, dead_letter, .. } => {
            Err(Fault::new(REFUSED, reasons(&outcome.judgement, &dead_letter)))
        }
        Settlement::Forwarded(placement) | Settlement::Dropped(placement) => {
            call.encoding.write(&PutRecordAnswer::of(placement))
        }
        Settlement::Quarantined { placement, .. } => call.encoding.write(&PutRecordAnswer::of(placement)),
        Settlement::Unsettled(unsettled) => Err(unsettled_fault(&unsettled)),
    }
}

pub async fn put_records(call: &Call<'_>) -> Result<Bytes, Fault> {
    let request = Request::read(call.encoding, call.body, Shape::Many)?;
    let stream: Arc<str> = name::stream_of(request.stream_name.as_deref(), request.stream_arn.as_deref())?.into();
    let count = request.entry_count.ok_or_else(|| Fault::constraint("records", "Member must not be null"))?;
    if count == 0 {
        return Err(Fault::constraint("records", "Member must have length greater than or equal to 1"));
    }
    if count > RECORDS_MAX {
        return Err(Fault::constraint("records", "Member must have length less than or equal to 500"));
    }
    let records = request.entries.into_iter().enumerate().map(|(index, entry)| {
        record(call, &stream, entry, index, |member| format!("records.{}.member.{member}", index + 1))
    });
    let records = records.collect::<Result<Vec<_>, _>>()?;
    check_total(&records)?;
    refuse_dry_run(request.dry_run)?;

    let outcomes = settle(call, &stream, records).await?;
    if outcomes.len() != count {
        return Err(count_mismatch());
    }
    answer::put_records(call.encoding, &outcomes)
}

async fn settle(call: &Call<'_>, stream: &str, records: Vec<Record>) -> Result<Vec<Outcome>, Fault> {
    call.traced.takes(stream, &records);
    let outcomes = call.service.intake.settle(stream, records).await?;
    call.traced.settles(&outcomes);
    Ok(outcomes)
}

/// Checks one entry; `path` names a member of it in an error.
fn record(
    call: &Call<'_>,
    stream: &Arc<str>,
    entry: Entry,
    index: usize,
    path: impl Fn(&str) -> String,
) -> Result<Record, Fault> {
    let data = entry.data.ok_or_else(|| Fault::constraint(&path("data"), "Member must not be null"))?;
    if data.len() > DATA_MAX {
        return Err(Fault::constraint(&path("data"), "Member must have length less than or equal to 10485760"));
    }
    // Streams that distribute records themselves (AUTO) take records without a key; no catalog says yet which do.
    let Some(partition_key) = entry.partition_key else {
        return Err(Fault::constraint(&path("partitionKey"), "Member must not be null"));
    };
    if partition_key.is_empty() {
        return Err(Fault::constraint(&path("partitionKey"), "Member must have length greater than or equal to 1"));
    }
    if partition_key.chars().count() > PARTITION_KEY_MAX {
        return Err(Fault::constraint(&path("partitionKey"), "Member must have length less than or equal to 256"));
    }
    if let Some(key) = &entry.explicit_hash_key {
        check_hash_key(key, &path)?;
    }
    Ok(Record {
        partition_key: Some(partition_key),
        explicit_hash_key: entry.explicit_hash_key,
        position: Position::InRequest { request: Arc::clone(&call.invocation), index },
        encoded: entry.encoded,
        trace: call.traced.context().cloned(),
        ..Record::new(data, Arc::clone(stream), call.now)
    })
}

fn check_hash_key(key: &str, path: impl Fn(&str) -> String) -> Result<(), Fault> {
    if HashKey::parse_explicit(key).is_some() {
        return Ok(());
    }
    if is_decimal(key, 39) {
        return Err(Fault::invalid(format!(
            "The value at '{}' is out of range: an ExplicitHashKey lies in [0, 340282366920938463463374607431768211455].",
            path("explicitHashKey")
        )));
    }
    let constraint = r"Member must satisfy regular expression pattern: 0|([1-9]\d{0,38})";
    Err(Fault::constraint(&path("explicitHashKey"), constraint))
}

/// `0|([1-9]\d*)` of at most `digits` digits.
fn is_decimal(text: &str, digits: usize) -> bool {
    let canonical = text == "0" || text.starts_with(|c: char| ('1'..='9').contains(&c));
    canonical && text.len() <= digits && text.bytes().all(|b| b.is_ascii_digit())
}

fn check_total(records: &[Record]) -> Result<(), Fault> {
    let total: usize = records.iter().map(Record::size).sum();
    if total > DATA_MAX {
        return Err(Fault::invalid(
            "Records size exceeds 10 MB limit (data and partition keys together, 10485760 bytes).",
        ));
    }
    Ok(())
}

/// The number to order after, passed on. One of our own stands for a record that is on no stream: nothing to order after.
fn ordering(number: Option<String>) -> Result<Option<String>, Fault> {
    match number {
        Some(number) if !is_decimal(&number, SEQUENCE_MAX) => Err(Fault::constraint(
            "sequenceNumberForOrdering",
            r"Member must satisfy regular expression pattern: 0|([1-9]\d{0,128})",
        )),
        number => Ok(number.filter(|n| !is_synthetic(n))),
    }
}

/// Whether the gate made this sequence number up, for a record that is on no stream.
pub fn is_synthetic(number: &str) -> bool {
    number.len() == SYNTHETIC_LEN && number.starts_with('7')
}

fn refuse_dry_run(dry_run: Option<bool>) -> Result<(), Fault> {
    if dry_run == Some(true) {
        let message =
            "The request was rejected because the DryRun parameter was specified. Nothing was judged or taken.";
        return Err(Fault::new("DryRunOperationException", message));
    }
    Ok(())
}

fn count_mismatch() -> Fault {
    Fault::internal(
        "The gate lost count of the outcomes, which is a bug in it. Records may or may not have been taken.",
    )
}

/// A rejected record answers 500 like an unavailable stream, although repeating it will not help until an operator acts:
/// a 400 would tell the producer that its record is wrong, and it might drop a good one.
fn unsettled_fault(unsettled: &Unsettled) -> Fault {
    match unsettled.trouble {
        Trouble::Throttled | Trouble::Held => Fault::throttled(unsettled_message(unsettled)),
        Trouble::Unavailable | Trouble::Rejected | Trouble::Invalid => Fault::internal(unsettled_message(unsettled)),
    }
}

fn unsettled_message(unsettled: &Unsettled) -> String {
    let Unsettled { trouble, message } = unsettled;
    match trouble {
        Trouble::Throttled | Trouble::Held => format!("{message} The record was not taken; retry it later."),
        Trouble::Unavailable => format!("Internal Service Failure: {message} Retry the record."),
        Trouble::Rejected | Trouble::Invalid => format!(
            "Internal Service Failure: {message} Keep the record: repeating it does not help until the gate's operator \
             has mended this."
        ),
    }
}

/// Who refused an event and why, every enforced violation, within [`REASONS_MAX`].
fn reasons(judgement: &Judgement, dead_letter: &str) -> String {
    let stamp = &judgement.stamp;
    let mut text = format!("{}/{}", stamp.domain, stamp.contract);
    if let Some(version) = &stamp.version {
        let _ = write!(text, " {version}");
    }
    let _ = write!(text, " refused this record; it is in the dead-letter queue as {dead_letter}");
    let total = judgement.enforced().count();
    for (told, violation) in judgement.enforced().enumerate() {
        let pointer = if violation.pointer.is_empty() { "(whole event)" } else { &violation.pointer };
        let reason = format!("; {}: {pointer}: {}", violation.rule, violation.message);
        if text.len() + reason.len() > REASONS_MAX {
            let _ = write!(text, "; and {} more, all in the dead letter", total - told);
            break;
        }
        text.push_str(&reason);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Mode, Severity, Stamp, Verdict, Violation, ViolationKind};

    fn judgement(messages: &[String]) -> Judgement {
        let violation = |message: &String| Violation {
            rule: "r".into(),
            kind: ViolationKind::Rule,
            pointer: "/a".into(),
            dimension: None,
            severity: Severity::Error,
            mode: Mode::Enforce,
            message: message.clone(),
        };
        Judgement {
            verdict: Verdict::Quarantine,
            violations: messages.iter().map(violation).collect(),
            stamp: Stamp {
                domain: "d".into(),
                contract: "c".into(),
                version: Some("1.0.0".into()),
                revision: "r1".into(),
            }
            .into(),
            refuse: false,
        }
    }

    #[test]
    fn every_reason_is_told_until_the_bound() {
        let short = reasons(&judgement(&["is late".into(), "is odd".into()]), "dl-1");
        expect_test::expect![[
            "d/c 1.0.0 refused this record; it is in the dead-letter queue as dl-1; r: /a: is late; r: /a: is odd"
        ]]
        .assert_eq(&short);
        let long = reasons(&judgement(&vec!["x".repeat(500); 10]), "dl-1");
        assert!(long.len() <= REASONS_MAX + 64 && long.ends_with("; and 7 more, all in the dead letter"), "{long}");
    }

    #[test]
    fn a_number_of_our_own_is_nothing_to_order_after() {
        let ours = format!("7{}", "0".repeat(39));
        let theirs = "49680459905836975591833837308859375022985717564049457154";
        assert_eq!(ordering(Some(ours)).unwrap(), None);
        assert_eq!(ordering(Some(theirs.into())).unwrap().as_deref(), Some(theirs));
        assert_eq!(ordering(Some("7".into())).unwrap().as_deref(), Some("7"));
        assert_eq!(ordering(None).unwrap(), None);
        for bad in ["", "01", "x", &"1".repeat(130)] {
            assert_eq!(ordering(Some(bad.into())).unwrap_err().code, "ValidationException");
        }
    }
}
