//! One record in, one verdict out: decode, route, judge, stamp.

use std::sync::Arc;

use crate::contract::{
    Contract, ContractSet, DlqPayload, Domain, Recall, Routed, Ruling, States, UnknownType, Unparsed,
};
use crate::decode::dynamodb::{self, Outbox, Unwrapped};
use crate::decode::json::{self, Malformed};
use crate::decode::{compressed, kpl};
use crate::gate::breaker::{Admission, Breakers};
use crate::gate::document::{self, Privacy, PrivateFields};
use crate::gate::letter;
use crate::memory::{Delivery, Doubts, Observed, Turn};
use crate::model::{
    DeadLetter, Judgement, Mode, Position, Record, Severity, Stamp, Timestamp, Verdict, Violation, ViolationKind,
};
use crate::rule::RecordFacts;
use crate::rule::pointer::Pointer;

/// What the stream and its route say, beyond the contracts.
#[derive(Debug, Clone, Copy)]
pub struct Terms<'a> {
    /// The largest record the mesh stream takes: data and partition key, bytes.
    pub record_bytes_max: usize,
    /// The most that a compressed payload may inflate to, bytes.
    pub inflated_bytes_max: usize,
    /// The route's own pointer to the event's type, where it has one.
    pub type_pointer: Option<&'a Pointer>,
    /// The route's records are change records of this outbox. What was not unwrapped is none.
    pub outbox: Option<&'a Outbox>,
    /// What checks remember. Without, those that do are not asked.
    pub states: Option<&'a States>,
}

impl Terms<'_> {
    /// Those of a stream that takes records of this size, bytes, where no route and no setting says more.
    pub const fn new(record_bytes_max: usize) -> Self {
        let inflated_bytes_max = compressed::INFLATED_BYTES_MAX;
        Self { record_bytes_max, inflated_bytes_max, type_pointer: None, outbox: None, states: None }
    }
}

/// Why a record is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeldBy {
    /// Its contract's breaker is open.
    Breaker,
    /// Records that stand or fall with it are held (`isolation`).
    Others,
    /// An earlier record of its partition key is held or doubtful (`ordering: key`).
    Earlier,
}

/// A record with its verdict, and what the DLQ document needs to know of how it came about.
pub struct Judged<'a> {
    pub judgement: Judgement,
    /// What is remembered of the event once it is settled.
    pub observed: Observed,
    /// What its verdict rests on and is not certain yet, shared by the records that stand or fall together.
    pub doubts: Option<Arc<Doubts>>,
    /// Why it is not to be settled now, where that is so.
    pub held: Option<HeldBy>,
    /// Whether a policy quarantines it, beside whatever its contract says.
    is_by_policy: bool,
    contract: Option<&'a Arc<Contract>>,
    domain: Option<&'a Arc<Domain>>,
    /// Whether its bytes, or what they inflate to, are one JSON text.
    well_formed: bool,
    /// What domains whose event this may be ask for, where no contract knows it.
    asked: Asked,
}

/// What may be private in an event that no contract took, and whether that may be kept: the strictest of what is asked.
#[derive(Debug, Clone, Copy, Default)]
struct Asked {
    private: bool,
    keep_masked_only: bool,
}

impl Asked {
    fn of(set: &ContractSet, stream: &str) -> Self {
        set.may_be_of(stream).fold(Self::default(), |asked, domain| Self {
            private: asked.private || domain.has_private_fields(),
            keep_masked_only: asked.keep_masked_only || domain.dlq_payload == DlqPayload::Masked,
        })
    }
}

/// Judges a record by the contract its stream and type lead to.
pub fn judge<'a>(set: &'a ContractSet, record: &Record, terms: Terms<'_>, now: Timestamp) -> Judged<'a> {
    let refused = |well_formed, violation| refused(set, record, well_formed, violation, now);
    let size = record.size();
    if size > terms.record_bytes_max {
        let message = format!(
            "the record is {size} bytes with its partition key; its stream takes {} bytes",
            terms.record_bytes_max
        );
        return refused(false, violation("too_large", ViolationKind::TooLarge, message));
    }
    if let Some(outbox) = terms.outbox.filter(|_| !record.is_unwrapped) {
        let well_formed = json::check(&record.data).is_ok();
        return refused(well_formed, malformed(no_event(&record.data, outbox)));
    }
    let event = match compressed::event(&record.data, terms.inflated_bytes_max) {
        Ok(event) => event,
        Err(fault) => return refused(false, not_inflated(fault)),
    };
    judge_event(set, record, &event, terms, now).unwrap_or_else(|fault| {
        let message = match (kpl::parse(&record.data), compressed::Compression::of(&record.data)) {
            (Some(Err(kept)), _) => {
                format!("a container of the Kinesis Producer Library that is not taken apart: {kept}")
            }
            (Some(Ok(records)), _) => format!(
                "a container of the Kinesis Producer Library with {} records, where one event is expected: one within another is \
                 not taken apart",
                records.len()
            ),
            (None, Some(compression)) => format!("what the {compression} payload inflates to is not well-formed JSON: {fault}"),
            (None, None) => format!("not well-formed JSON: {fault}"),
        };
        refused(false, malformed(message))
    })
}

/// Why a record that its route calls a change record of an outbox is no event.
fn no_event(data: &[u8], outbox: &Outbox) -> String {
    let told = |change| match change {
        dynamodb::Change::Modified => "an outbox item was modified, which its route quarantines (outbox.on_modify)",
        dynamodb::Change::Removed => "an outbox item was removed, which its route quarantines (outbox.on_remove)",
        dynamodb::Change::Expired => "an outbox item expired",
    };
    match dynamodb::unwrap(data, outbox) {
        Err(fault) => fault.to_string(),
        Ok(Unwrapped::Quarantine(change) | Unwrapped::Ignored(change)) => told(change).to_owned(),
        Ok(Unwrapped::Event { .. }) => "an outbox item that was not unwrapped (a fault of the gate)".to_owned(),
    }
}

fn malformed(message: String) -> Violation {
    violation("malformed", ViolationKind::Malformed, message)
}

/// Payloads that inflate to too much are too large, others that cannot be inflated malformed.
fn not_inflated(fault: compressed::Fault) -> Violation {
    match fault {
        compressed::Fault::TooLarge { .. } => violation("too_large", ViolationKind::TooLarge, fault.to_string()),
        _ => malformed(fault.to_string()),
    }
}

/// Routes by a glance at the bytes, so that the pass over them already knows the contract. Where the glance is unclear, the
/// event is parsed. `event` is what the record's bytes mean.
fn judge_event<'a>(
    set: &'a ContractSet,
    record: &Record,
    event: &[u8],
    terms: Terms<'_>,
    now: Timestamp,
) -> Result<Judged<'a>, Malformed> {
    let text = json::text(event)?;
    let unparsed = Unparsed::new(text);
    let mut routed = set.route(&record.stream, &unparsed, terms.type_pointer);
    if unparsed.was_unclear() {
        routed = set.route(&record.stream, &json::parse(event)?, terms.type_pointer);
    }
    match routed {
        Routed::Contract(contract) => {
            let Ruling { verdict, violations, observed, is_by_policy } =
                by_contract(contract, text, record, now, terms.states)?;
            Ok(Judged {
                judgement: Judgement { verdict, violations, stamp: Arc::clone(&contract.stamp), refuse: false },
                observed,
                doubts: None,
                held: None,
                is_by_policy,
                contract: Some(contract),
                domain: set.domain(&contract.domain),
                well_formed: true,
                asked: Asked::default(),
            })
        }
        Routed::Unknown { domain, action } => {
            json::check(event)?;
            Ok(unknown(set, record, (domain, action), now))
        }
    }
}

/// The verdict on an event of a type that no contract knows.
fn unknown<'a>(
    set: &'a ContractSet,
    record: &Record,
    (domain, action): (Option<&'a Arc<Domain>>, UnknownType),
    now: Timestamp,
) -> Judged<'a> {
    let message = "no contract on this stream knows this type of event";
    let violation = violation("unknown_type", ViolationKind::UnknownType, message.into());
    let mut judged = refused(set, record, true, violation, now);
    judged.domain = domain;
    judged.judgement.stamp = stamp(domain);
    judged.judgement.refuse = action == UnknownType::Refuse;
    if action == UnknownType::Forward {
        judged.judgement.verdict = Verdict::Forward;
        judged.judgement.violations[0].severity = Severity::Warning;
    }
    judged
}

/// Judges one event against a contract chosen by name, whatever its stream and type. A compressed one may inflate to
/// [`compressed::INFLATED_BYTES_MAX`].
pub fn judge_against(
    contract: &Arc<Contract>,
    record: &Record,
    now: Timestamp,
    states: Option<&States>,
) -> (Judgement, Observed) {
    let judged =
        compressed::event(&record.data, compressed::INFLATED_BYTES_MAX).map_err(not_inflated).and_then(|event| {
            let judged = json::text(&event).and_then(|text| by_contract(contract, text, record, now, states));
            judged.map_err(|fault| malformed(format!("not well-formed JSON: {fault}")))
        });
    let Ruling { verdict, violations, observed, .. } = judged.unwrap_or_else(|violation| Ruling {
        verdict: Verdict::Quarantine,
        violations: vec![violation],
        observed: Observed::new(Delivery::UNKNOWN, now),
        is_by_policy: false,
    });
    (Judgement { verdict, violations, stamp: Arc::clone(&contract.stamp), refuse: false }, observed)
}

fn by_contract(
    contract: &Contract,
    text: &str,
    record: &Record,
    now: Timestamp,
    states: Option<&States>,
) -> Result<Ruling, Malformed> {
    let facts = RecordFacts::of(record);
    let states = states.and_then(|states| states.of(contract));
    let recall = states.map(|states| Recall { states, delivery: delivery(record) });
    contract.judge(text, &facts, now, recall)
}

/// Which delivery a record stands for. The lines of a pipe come once.
fn delivery(record: &Record) -> Delivery {
    // FNV-1a. Two requests that meet would be a duplicate missed.
    let hash = |text: &str| {
        let hash = text
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
        hash.max(1)
    };
    match &record.position {
        Position::InRequest { request, index } => {
            // Parts of one container share its slot.
            let part = record.part_of.as_ref().map_or(0, |part_of| part_of.index);
            Delivery { source: hash(request), turn: Turn::in_request((*index as u64) << 32 | part as u64) }
        }
        Position::InShard { shard, sequence, sub_sequence } => match Turn::in_shard(sequence, *sub_sequence) {
            Some(turn) => Delivery { source: hash(shard), turn },
            None => Delivery::UNKNOWN,
        },
        Position::Unknown | Position::Line(_) => Delivery::UNKNOWN,
    }
}

/// What is told of a record that the mesh stream takes in no case; the stream's own words follow.
pub const REFUSED_BY_STREAM: &str = "the mesh stream takes others and not this record";

/// The verdict on a good event whose record the mesh stream takes in no case. `reason` is what the stream said.
pub fn refused_by_stream<'a>(set: &'a ContractSet, record: &Record, reason: &str, now: Timestamp) -> Judged<'a> {
    let message = format!("{REFUSED_BY_STREAM}: {reason}");
    refused(
        set,
        record,
        json::check(&record.data).is_ok(),
        violation("too_large", ViolationKind::TooLarge, message),
        now,
    )
}

fn refused<'a>(
    set: &'a ContractSet,
    record: &Record,
    well_formed: bool,
    violation: Violation,
    now: Timestamp,
) -> Judged<'a> {
    let observed = Observed::new(Delivery::UNKNOWN, now);
    let domain = set.domain_of(&record.stream);
    let judgement =
        Judgement { verdict: Verdict::Quarantine, violations: vec![violation], stamp: stamp(domain), refuse: false };
    Judged {
        judgement,
        observed,
        doubts: None,
        held: None,
        is_by_policy: false,
        contract: None,
        domain,
        well_formed,
        asked: Asked::of(set, &record.stream),
    }
}

fn violation(rule: &str, kind: ViolationKind, message: String) -> Violation {
    Violation {
        rule: rule.into(),
        kind,
        pointer: String::new(),
        dimension: Some(crate::model::Dimension::Conformity),
        severity: Severity::Error,
        mode: Mode::Enforce,
        message,
    }
}

/// The judgement of a record that its route ignores: no event, and nobody's.
pub fn ignored() -> Judgement {
    Judgement { verdict: Verdict::Drop, violations: Vec::new(), stamp: stamp(None), refuse: false }
}

/// The stamp of an event that no contract took.
fn stamp(domain: Option<&Arc<Domain>>) -> Arc<Stamp> {
    Arc::new(Stamp {
        domain: domain.map_or_else(|| "unknown".into(), |d| Arc::clone(&d.name)),
        contract: "unknown".into(),
        version: None,
        revision: domain.map_or_else(|| "unknown".into(), |d| Arc::clone(&d.revision)),
    })
}

impl Judged<'_> {
    /// Lets the breaker of its contract, if it has one, say what is to become of it.
    pub fn admit(&mut self, breakers: &Breakers, now: Timestamp) -> Admission {
        let Some(contract) = self.contract else { return Admission::Pass };
        let mut admission = breakers.admit(contract, self.judgement.verdict == Verdict::Quarantine, now);
        match admission {
            Admission::Pass => {}
            Admission::Hold => {
                self.hold(HeldBy::Breaker);
            }
            // A contract weakens no policy.
            Admission::ForwardAnyway if self.is_by_policy => admission = Admission::Pass,
            Admission::ForwardAnyway => self.forward_anyway(),
        }
        admission
    }

    /// It is not to be settled now: it comes again, and is judged again.
    pub fn hold(&mut self, by: HeldBy) {
        self.held = Some(by);
        self.observed.give_back();
    }

    /// What was found is told, and decides nothing.
    fn forward_anyway(&mut self) {
        let judgement = &mut self.judgement;
        if judgement.verdict == Verdict::Quarantine {
            judgement.verdict = Verdict::Forward;
            judgement.violations.iter_mut().for_each(|violation| violation.mode = violation.mode.and(Mode::Shadow));
            self.observed.take_doubts();
        }
    }

    /// The domain's own queue, where it names one.
    pub fn queue(&self) -> Option<&Arc<str>> {
        self.domain.and_then(|d| d.dlq.as_ref())
    }

    /// The dead letter of a quarantined record. `id` is unique.
    pub fn dead_letter(&self, id: String, record: &Record, now: Timestamp) -> DeadLetter {
        let first = self.judgement.first();
        let body = document::build(&id, now, record, self.well_formed, &self.judgement, self.privacy());
        DeadLetter {
            id,
            body,
            document_bytes: None,
            key_hash: record.partition_key.as_deref().map(|key| self.key_hash(key)),
            is_kept: matches!(record.position, Position::InShard { .. }),
            attempts: 0,
            quarantined: now,
            stream: Arc::clone(&record.stream),
            domain: Arc::clone(&self.judgement.stamp.domain),
            contract: Arc::clone(&self.judgement.stamp.contract),
            rule: first.map_or_else(|| "unknown".into(), |v| Arc::clone(&v.rule)),
            kind: first.map_or("unknown", |v| v.kind.as_str()),
            trace: record.trace.clone(),
        }
    }

    fn key_hash(&self, key: &str) -> String {
        letter::key_hash(&self.judgement.stamp.domain, key, self.privacy().keep_masked_only)
    }

    fn privacy(&self) -> Privacy<'_> {
        match self.contract {
            Some(contract) => Privacy {
                fields: PrivateFields::Known(contract.private()),
                keep_masked_only: self.domain.is_some_and(|d| d.dlq_payload == DlqPayload::Masked),
            },
            None => Privacy {
                fields: if self.asked.private { PrivateFields::Anywhere } else { PrivateFields::Known(&[]) },
                keep_masked_only: self.asked.keep_masked_only,
            },
        }
    }
}
