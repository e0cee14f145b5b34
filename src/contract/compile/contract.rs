//! One contract's file.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;

use super::domain::Shared;
use super::file::RuleFile;
use super::stream::Feeds;
use super::{example, stray, stream};
use crate::contract::diagnostic::{Code, Diagnostic};
use crate::contract::glob::StreamGlob;
use crate::contract::judged::{Check, Condition, Contract, Numbers, RESERVED_IDS, Rule, SCHEMA_RULE};
use crate::contract::remembering::{Feed, StreamCheck};
use crate::contract::written::{
    BreakerFile, BreakerTerms, Common, ListFile, Match, Metadata, Owner, Payload, ReplayFile, Slo,
};
use crate::model::{Mode, Severity, Stamp, ViolationKind};
use crate::plan::Plan;
use crate::rule::OnFail;
use crate::rule::capture::Reads;
use crate::rule::expr::{Expression, Shape, Yields};
use crate::rule::field::{FieldCheck, FieldSpec};
use crate::rule::mask::{Mask, MaskSpec};
use crate::rule::pointer::Pointer;
use crate::rule::reference::ReferenceList;

/// The window of a breaker that writes none, in milliseconds.
const MINUTE: i64 = 60_000;

/// A contract's reference lists by name; `None` for one that failed, which is told.
pub(super) type Lists = BTreeMap<String, Option<Arc<ReferenceList>>>;

/// Compiles what can be compiled and notes every fault in `file`. The contract is of use only when none was noted.
/// `None` when even its names are unknown.
pub(super) fn compile(file: &RuleFile<'_>, shared: &Shared<'_>, feeds: &Feeds) -> Option<Contract> {
    let metadata: Option<Metadata> = file.part(&key("metadata"));
    if let Some(metadata) = &metadata {
        check_names(file, metadata, shared);
    }
    let claim: Match = file.part(&key("match")).unwrap_or_default();
    let stream = claim.stream.as_deref().and_then(|text| stream_glob(file, text));
    let written: Payload = file.part(&key("payload")).unwrap_or_default();
    let pointer_at = key("payload").child("pointer");
    let payload = file.pointer(&pointer_at, &written.pointer).unwrap_or_default();
    let schema_at = key("payload").child("schema");
    let schema = written.schema.as_ref().and_then(|path| shared.data.schema(file, &schema_at, path, written.formats));
    let status_mode = metadata.as_ref().and_then(|m| m.status.mode()).unwrap_or(Mode::Enforce);
    let mode = file.part::<Mode>(&key("mode")).unwrap_or(shared.mode).and(status_mode);

    let shape = schema.as_ref().map(|schema| Shape { payload: &payload, kinds: schema.kinds() });
    let (mut all, ids) = all_checks(file, shared, metadata.as_ref(), (shape, &payload, mode));
    all.feeds = metadata.as_ref().map(|m| feeds.of(shared.directory, &m.name)).unwrap_or_default();
    let masks = masks(file, &payload, shape);
    let examples = example::compile(file, &ids.seen);
    let slo_error_ratio = slo(file);
    let breaker = breaker(file);
    let lineage = lineage(file);
    if file.is_clean() {
        warn_of_nothing(file, schema.is_some());
    }
    let metadata = metadata?;
    let numbers = schema.as_ref().map(|schema| Numbers::of(schema, &payload)).unwrap_or_default();
    let mut reads = Reads::default();
    let place = reads.below(payload.segments());
    let this = reads.slot(place);
    all.read_slots(&mut reads, &payload, &numbers, &masks);
    note_slow_rules(file, &all.checks);
    let plan = match written.schema.as_deref().filter(|_| schema.is_some()) {
        Some(path) => shared.data.plan(file, path, written.formats, &payload, reads),
        None => Plan::without_schema(reads),
    };
    let stamp = Stamp {
        domain: shared.directory.into(),
        contract: metadata.name,
        version: Some(Arc::clone(&metadata.version)),
        revision: Arc::clone(shared.revision),
    };
    Some(Contract {
        domain: Arc::clone(&stamp.domain),
        name: Arc::clone(&stamp.contract),
        version: metadata.version,
        revision: Arc::clone(&stamp.revision),
        stamp: stamp.into(),
        status: metadata.status,
        tags: metadata.tags,
        owner: metadata.owner.or_else(|| shared.owner.clone()).unwrap_or_else(nobody),
        mode,
        file: file.path.as_str().into(),
        stream,
        event_type: claim.event_type,
        type_pointer: shared.type_pointer.clone(),
        payload,
        schema,
        plan,
        schema_rule: SCHEMA_RULE.into(),
        this,
        numbers,
        checks: all.checks,
        streams: all.streams,
        feeds: all.feeds,
        masks,
        slo_error_ratio,
        breaker,
        lineage,
        examples,
    })
}

/// All that a contract's events are asked.
struct AllChecks {
    checks: Vec<Check>,
    streams: Vec<StreamCheck>,
    feeds: Vec<Feed>,
}

impl AllChecks {
    /// Lets those that are live be evaluated over slots, so far as that is possible.
    fn read_slots(&mut self, reads: &mut Reads, payload: &Pointer, numbers: &Numbers, masks: &[Mask]) {
        let live = self.checks.iter_mut().filter(|check| check.mode != Mode::Off);
        live.for_each(|check| check.read_slots(reads, payload, numbers, masks));
        let live = self.streams.iter_mut().filter(|check| check.mode != Mode::Off);
        live.for_each(|check| check.read_slots(reads, payload, numbers));
        self.feeds.iter_mut().for_each(|feed| feed.read_slots(reads, payload, numbers));
    }
}

/// The checks of a contract, and those of the policies that apply to it, with the ids they take.
fn all_checks(
    file: &RuleFile<'_>,
    shared: &Shared<'_>,
    metadata: Option<&Metadata>,
    (shape, payload, mode): (Option<Shape<'_>>, &Pointer, Mode),
) -> (AllChecks, Ids) {
    let (lists, mut ids) = (lists(file, shared), Ids::default());
    let mut checks = fields(file, &lists, shape, mode, &mut ids);
    checks.extend(rules(file, shape, mode, &mut ids));
    let mut streams = Vec::new();
    if let Some(Metadata { name, tags, .. }) = metadata {
        let whole = format!("{}/{name}", shared.directory);
        streams = stream::compile(file, &lists, shape, (&whole, payload, mode), &mut ids);
        let policies = shared.policies.checks(file, shared.directory, name, tags, shape);
        ids.seen.extend(policies.iter().map(|check| check.id.to_string()));
        checks.extend(policies);
    }
    (AllChecks { checks, streams, feeds: Vec::new() }, ids)
}

/// Stands in where the domain's own file failed, so that the set is never used.
fn nobody() -> Owner {
    Owner { team: "".into(), contact: None }
}

fn breaker(file: &RuleFile<'_>) -> Option<BreakerTerms> {
    let written: BreakerFile = file.part(&key("breaker"))?;
    let window = written.window.as_deref().map_or(Some(MINUTE), stream::millis)?;
    if !stream::WINDOWS.contains(&window) {
        let message = "a window is a second to 31 days";
        file.fault(&key("breaker").child("window"), Code::InvalidValue, message, None);
    }
    Some(BreakerTerms {
        ratio_max: written.max_quarantine_ratio,
        window,
        events_min: written.events_min.unwrap_or(100),
        action: written.action,
    })
}

fn lineage(file: &RuleFile<'_>) -> Option<Pointer> {
    let written: ReplayFile = file.part(&key("replay"))?;
    file.pointer(&key("replay").child("lineage"), &written.lineage)
}

/// Rules that are evaluated over the event's tree, and what each costs at most.
fn note_slow_rules(file: &RuleFile<'_>, checks: &[Check]) {
    for index in 0..file.length(&key("rules")) {
        let at = key("rules").child(index.to_string());
        let id: Option<String> = file.value(&at.child("id")).and_then(Value::as_str).map(str::to_owned);
        let check = checks.iter().find(|check| id.as_deref() == Some(&check.id) && check.mode != Mode::Off);
        let Some(cost) = check.and_then(Check::cost_of_tree) else { continue };
        let message = "the rule uses what is not compiled, so it is evaluated over the event's tree";
        let mut hint = format!("some thirty times the work: {} steps", cost.outside);
        for (steps, of) in [(cost.a_turn, "element of a list"), (cost.an_inner_turn, "pair of elements")] {
            if steps > 0 {
                hint += &format!(", {steps} for each {of} it loops over");
            }
        }
        hint += "; docs/contracts.md says what is compiled";
        file.note(file.at(&at.child("expression"), Code::Slow, message).with_hint(hint).as_note());
    }
}

/// Rules that say the same of every event.
fn warn_of_certainty(file: &RuleFile<'_>, at: &Pointer, expression: &Expression, when: Option<&Expression>) {
    let warn = |key: &str, message: &str, hint: &str| {
        file.note(file.at(&at.child(key), Code::Unreachable, message).with_hint(hint.to_owned()).as_warning());
    };
    match (when.map(Expression::truth), expression.truth()) {
        (Some(Some(false)), _) => {
            warn(
                "when",
                "the rule never applies: this is false for every event",
                "mend the condition, or take the rule out",
            );
        }
        (_, Some(true)) => {
            warn("expression", "the rule can never fail: this is true for every event", "mend it, or take it out")
        }
        (None | Some(Some(true)), Some(false)) => {
            let hint = "if the event type is not to be sent any more, say so in the rule's message";
            warn("expression", "no event can pass: this is false for every one", hint);
        }
        _ => {}
    }
}

/// What works, but probably not as its team means it.
fn warn_of_nothing(file: &RuleFile<'_>, has_schema: bool) {
    let entries: usize = ["fields", "rules", "stream"].iter().map(|list| file.length(&key(list))).sum();
    if !has_schema && entries == 0 {
        let message = "the contract has no schema, fields or rules, so every event of its type is forwarded";
        file.note(file.at(&Pointer::root(), Code::NothingJudged, message).as_warning());
    }
    let named = |list: &str, path: [&str; 2]| -> Vec<&str> {
        let entry = |index: usize| key(list).child(index.to_string()).child(path[0]).child(path[1]);
        (0..file.length(&key(list))).filter_map(|index| file.value(&entry(index))?.as_str()).collect()
    };
    let mut used = named("fields", ["arguments", "validValuesFrom"]);
    used.extend(named("stream", ["arguments", "validValuesFrom"]));
    used.extend(named("stream", ["references", "list"]));
    for (name, _) in file.value(&key("reference")).and_then(Value::as_object).into_iter().flatten() {
        if !used.contains(&name.as_str()) {
            let place = file.key_place(&key("reference").child(name.as_str()));
            let message = format!("no field uses the list `{name}`");
            let hint = "name it in a field's arguments: {validValuesFrom: …}, or take it out";
            file.note(Diagnostic::new(place, Code::Unused, message).with_hint(hint.to_owned()).as_warning());
        }
    }
}

fn check_names(file: &RuleFile<'_>, metadata: &Metadata, shared: &Shared<'_>) {
    if metadata.domain != shared.directory {
        let message = format!("the contract is in the directory of {}, not of {}", shared.directory, metadata.domain);
        let hint = format!("write domain: {}, or move the file", shared.directory);
        file.fault(&key("metadata").child("domain"), Code::WrongDomain, message, Some(hint));
    }
    if &*metadata.name == "unknown" {
        let message = "this is what the gate calls the contract of events that no contract takes";
        file.fault(&key("metadata").child("name"), Code::ReservedId, message, Some("choose another name".to_owned()));
    }
}

fn stream_glob(file: &RuleFile<'_>, text: &str) -> Option<StreamGlob> {
    match StreamGlob::parse(text) {
        Ok(glob) => Some(glob),
        Err(reason) => {
            let hint = "* stands for any characters, ? for one, [ab] for a set, {a,b} for alternatives".to_owned();
            let message = format!("the stream pattern does not compile: {reason}");
            file.fault(&key("match").child("stream"), Code::BadGlob, message, Some(hint));
            None
        }
    }
}

fn lists(file: &RuleFile<'_>, shared: &Shared<'_>) -> Lists {
    let root = key("reference");
    let names: Vec<String> =
        file.value(&root).and_then(Value::as_object).into_iter().flatten().map(|(name, _)| name.clone()).collect();
    let compile = |name: String| {
        let at = root.child(name.as_str());
        let list = file.part::<ListFile>(&at).and_then(|list| {
            shared.data.list(file, (&at.child("file"), &list.file), (&at.child("column"), &list.column))
        });
        (name, list)
    };
    names.into_iter().map(compile).collect()
}

/// Those that did not fail.
pub(super) fn good(lists: &Lists) -> BTreeMap<String, Arc<ReferenceList>> {
    lists.iter().filter_map(|(name, list)| Some((name.clone(), list.clone()?))).collect()
}

/// The ids taken so far.
#[derive(Default)]
pub(super) struct Ids {
    seen: BTreeSet<String>,
}

impl Ids {
    pub(super) fn take(&mut self, file: &RuleFile<'_>, entry: &Pointer, id: &str) {
        let at = entry.child("id");
        if RESERVED_IDS.contains(&id) {
            let message = format!("`{id}` is the gate's own name for a kind of violation");
            file.fault(&at, Code::ReservedId, message, Some("choose another id".to_owned()));
        } else if !self.seen.insert(id.to_owned()) {
            let message = format!("the contract has two rules with the id `{id}`");
            let hint = Some("ids are unique among fields, rules and stream together".to_owned());
            file.fault(&at, Code::DuplicateId, message, hint);
        }
    }
}

pub(super) fn fields(
    file: &RuleFile<'_>,
    lists: &Lists,
    shape: Option<Shape<'_>>,
    mode: Mode,
    ids: &mut Ids,
) -> Vec<Check> {
    let good_lists = good(lists);
    let mut checks = Vec::new();
    for index in 0..file.length(&key("fields")) {
        let at = key("fields").child(index.to_string());
        if let Some(id) = file.part::<String>(&at.child("id")) {
            ids.take(file, &at, &id);
        }
        // A misshapen entry is told already, in the same words as the metric would.
        if !file.is_well_shaped(&at) {
            continue;
        }
        let Some(spec) = file.part::<FieldSpec>(&at) else { continue };
        let list = spec.arguments.get("validValuesFrom").and_then(Value::as_str);
        if list.is_some_and(|name| lists.get(name).is_some_and(Option::is_none)) {
            continue;
        }
        stray::refuse_path(file, &at.child("path"), &spec.path, shape);
        match FieldCheck::compile(&spec, &good_lists) {
            Ok(check) => {
                let kind = if list.is_some() { ViolationKind::Reference } else { ViolationKind::Field };
                checks.push(Check {
                    id: spec.id.into(),
                    dimension: spec.dimension,
                    severity: spec.severity,
                    on_fail: spec.on_fail.unwrap_or(consequence(spec.severity)),
                    mode: spec.mode.and(mode),
                    is_policy: false,
                    condition: Condition::Field { check: Box::new(check), kind },
                });
            }
            Err(fault) => {
                let code = match fault.at.as_str() {
                    "/path" => Code::BadPointer,
                    "/arguments/pattern" => Code::BadRegex,
                    "/arguments/validValuesFrom" => Code::BadReference,
                    _ => Code::BadField,
                };
                let place = at.join(&Pointer::parse(&fault.at).unwrap_or_default());
                file.fault(&place, code, fault.message, fault.hint);
            }
        }
    }
    checks
}

pub(super) fn rules(file: &RuleFile<'_>, shape: Option<Shape<'_>>, mode: Mode, ids: &mut Ids) -> Vec<Check> {
    let mut checks = Vec::new();
    for index in 0..file.length(&key("rules")) {
        let at = key("rules").child(index.to_string());
        if let Some(id) = file.part::<String>(&at.child("id")) {
            ids.take(file, &at, &id);
        }
        let expression = |name: &str, yields| {
            let at = at.child(name);
            // What is told is told of a masked event, where a private number is a text.
            let shape = shape.filter(|_| yields == Yields::Bool || file.length(&key("privacy")) == 0);
            file.part::<String>(&at).and_then(|source| file.expression(&at, &source, yields, shape))
        };
        let expressions = (
            expression("expression", Yields::Bool),
            expression("when", Yields::Bool),
            expression("messageExpression", Yields::Text),
        );
        let (Some(common), Some(expression)) = (file.part::<Common>(&at), expressions.0) else { continue };
        warn_of_certainty(file, &at, &expression, expressions.1.as_ref());
        checks.push(Check {
            id: common.id,
            dimension: common.dimension,
            severity: common.severity,
            on_fail: common.on_fail.unwrap_or(consequence(common.severity)),
            mode: common.mode.and(mode),
            is_policy: false,
            condition: Condition::Rule(Box::new(Rule {
                expression,
                when: expressions.1,
                message: common.message,
                message_expression: expressions.2,
            })),
        });
    }
    checks
}

/// What a violation leads to when `on_fail` is not written.
pub(super) const fn consequence(severity: Severity) -> OnFail {
    match severity {
        Severity::Error => OnFail::Quarantine,
        Severity::Warning | Severity::Info => OnFail::Warn,
    }
}

fn masks(file: &RuleFile<'_>, payload: &Pointer, shape: Option<Shape<'_>>) -> Vec<Mask> {
    let compile = |index: usize| {
        let at = key("privacy").child(index.to_string());
        let spec: MaskSpec = file.part(&at)?;
        stray::warn_of_mask(file, &at.child("path"), &spec.path, shape);
        match Mask::compile(&spec) {
            Ok(mask) => Some(mask.within(payload)),
            Err(fault) => {
                file.fault(&at.child("path"), Code::BadPointer, fault.to_string(), None);
                None
            }
        }
    };
    (0..file.length(&key("privacy"))).filter_map(compile).collect()
}

/// The share of events that may fail.
fn slo(file: &RuleFile<'_>) -> Option<f64> {
    let at = key("slo").child("0");
    let slo: Slo = file.part(&at)?;
    let ratio = if slo.unit == "percent" { slo.value / 100.0 } else { slo.value };
    if !(0.0..=1.0).contains(&ratio) {
        let hint = Some("0.5 with unit: percent is one event in 200".to_owned());
        file.fault(&at.child("value"), Code::InvalidValue, "more than all events cannot fail", hint);
        return None;
    }
    Some(ratio)
}

fn key(name: &str) -> Pointer {
    Pointer::root().child(name)
}
