//! The answer to a `PutRecords`, written straight from the outcomes into one buffer.
//!
//! Members and their order are those of the API reference; a record has `SequenceNumber` and `ShardId`, or `ErrorCode` and
//! `ErrorMessage`. `PutRecord` answers with one struct, by serde.

use bytes::Bytes;
use minicbor::Encoder;

use crate::model::{Outcome, Settlement, Trouble};
use crate::source::kinesis_api::fault::Fault;
use crate::source::kinesis_api::wire::Encoding;

use super::{REFUSED, reasons, unsettled_message};

/// What a record's answer takes at most where it is plain: names, quotes, a sequence number of 56 digits, a shard's id. Bytes.
const PLACED_LEN: usize = 128;

/// What a record is told: two members.
enum Told<'a> {
    Placed { sequence_number: &'a str, shard_id: &'a str },
    Failed { code: &'static str, message: String },
}

/// Writes the answer.
pub fn put_records(encoding: Encoding, outcomes: &[Outcome]) -> Result<Bytes, Fault> {
    let failed = outcomes.iter().filter(|outcome| is_failed(&outcome.settlement)).count();
    let mut answer = Vec::with_capacity(64 + PLACED_LEN * outcomes.len());
    let written = match encoding {
        Encoding::Json => json(failed, outcomes, &mut answer).map_err(|e| e.to_string()),
        Encoding::Cbor => cbor(failed, outcomes, &mut answer).map_err(|e| e.to_string()),
    };
    match written {
        Ok(()) => Ok(answer.into()),
        Err(error) => Err(Fault::internal(format!("the gate could not write its answer: {error}"))),
    }
}

/// Whether a record is told an error.
const fn is_failed(settlement: &Settlement) -> bool {
    matches!(settlement, Settlement::Quarantined { refuse: true, .. } | Settlement::Unsettled(_))
}

fn told(outcome: &Outcome) -> Told<'_> {
    match &outcome.settlement {
        Settlement::Quarantined { refuse: true, dead_letter, .. } => {
            Told::Failed { code: REFUSED, message: reasons(&outcome.judgement, dead_letter) }
        }
        Settlement::Forwarded(placement)
        | Settlement::Dropped(placement)
        | Settlement::Quarantined { placement, .. } => {
            Told::Placed { sequence_number: &placement.sequence_number, shard_id: &placement.shard_id }
        }
        Settlement::Unsettled(unsettled) => {
            let code = match unsettled.trouble {
                Trouble::Throttled | Trouble::Held => "ProvisionedThroughputExceededException",
                Trouble::Unavailable | Trouble::Rejected | Trouble::Invalid => "InternalFailure",
            };
            Told::Failed { code, message: unsettled_message(unsettled) }
        }
    }
}

impl Told<'_> {
    fn members(&self) -> [(&'static str, &str); 2] {
        match self {
            Self::Placed { sequence_number, shard_id } => [("SequenceNumber", sequence_number), ("ShardId", shard_id)],
            Self::Failed { code, message } => [("ErrorCode", code), ("ErrorMessage", message)],
        }
    }
}

fn json(failed: usize, outcomes: &[Outcome], answer: &mut Vec<u8>) -> Result<(), serde_json::Error> {
    answer.extend_from_slice(b"{\"FailedRecordCount\":");
    serde_json::to_writer(&mut *answer, &failed)?;
    answer.extend_from_slice(b",\"Records\":[");
    for (index, outcome) in outcomes.iter().enumerate() {
        if index > 0 {
            answer.push(b',');
        }
        let told = told(outcome);
        for (before, (name, value)) in [b"{\"", b",\""].into_iter().zip(told.members()) {
            answer.extend_from_slice(before);
            answer.extend_from_slice(name.as_bytes());
            answer.extend_from_slice(b"\":");
            serde_json::to_writer(&mut *answer, value)?;
        }
        answer.push(b'}');
    }
    answer.extend_from_slice(b"]}");
    Ok(())
}

fn cbor(
    failed: usize,
    outcomes: &[Outcome],
    answer: &mut Vec<u8>,
) -> Result<(), minicbor::encode::Error<std::convert::Infallible>> {
    let mut encoder = Encoder::new(answer);
    encoder.map(2)?.str("FailedRecordCount")?.u64(failed as u64)?;
    encoder.str("Records")?.array(outcomes.len() as u64)?;
    for outcome in outcomes {
        encoder.map(2)?;
        for (name, value) in told(outcome).members() {
            encoder.str(name)?.str(value)?;
        }
    }
    Ok(())
}
