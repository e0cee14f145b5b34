use serde_json::{Value, json};

use super::*;
use crate::model::Timestamp;
use crate::rule::capture::{Captured, Captures, naive};
use crate::rule::expr::{Bindings, Expression};
use crate::rule::mask::{Mask, MaskSpec};
use crate::rule::number_types::NumberTypes;
use crate::rule::pointer::Pointer;
use crate::rule::schema::Schema;
use crate::rule::{RecordFacts, Scope};

fn facts() -> RecordFacts<'static> {
    let arrived = Timestamp::parse_rfc3339("2026-11-22T10:00:00Z").unwrap();
    RecordFacts { stream: "orders-raw", partition_key: Some("k1"), explicit_hash_key: None, arrived, size: 433 }
}

fn order_types() -> NumberTypes {
    let amount = json!({"properties": {"qty": {"type": "integer"}, "price": {"type": "number"}}});
    let schema = json!({"properties": {
        "lines": {"items": amount}, "total": {"type": "number"}, "count": {"type": ["integer", "null"]}
    }});
    Schema::compile(&schema, "a.json", &Default::default(), true).unwrap().number_types().clone()
}

/// What the compiled form says, and what the crate says, of the payload.
fn both(source: &str, payload: &str) -> (Option<Result<bool, EvaluationError>>, Result<bool, EvaluationError>) {
    let mut expression =
        Expression::compile(source, Yields::Bool).unwrap_or_else(|fault| panic!("{source}: {fault:?}"));
    let numbers = order_types();
    let pointer = Pointer::parse("/data").unwrap();
    let mut reads = Reads::default();
    expression.read_slots(&mut reads, Ground { payload: &pointer, numbers: &numbers, masks: &[] });
    assert!(expression.has_slots(), "{source} is covered");

    let text = format!(r#"{{"id": "e1", "time": "2026-11-22T10:00:04Z", "data": {payload}}}"#);
    let now = Timestamp::parse_rfc3339("2026-11-22T10:00:05Z").unwrap();
    let mut captures = Captures::default();
    naive::fill(&reads, &text, &mut captures).unwrap();
    let slots = SlotScope::new(Captured::new(&text, &captures), facts(), now);

    let event: Value = serde_json::from_str(&text).unwrap();
    let within = numbers.within(&pointer);
    let scope = Scope { this: &event["data"], event: &event, record: facts(), now };
    let bindings = Bindings::typed(&scope, &numbers, &within);
    (expression.test_on_slots(&slots), expression.test(&bindings))
}

const ORDER: &str = r#"{
    "id": "o1", "total": 31, "count": 2.0, "note": null, "paid": true, "at": "2026-11-22T10:00:00.5+00:00", "tags": ["x", "y"],
    "lines": [{"sku": "A", "qty": 2, "price": 10.5}, {"sku": "B", "qty": 1, "price": 10}],
    "address": {"zip": "8000"}, "escaped": "\u0041", "big": 12345678901234567890, "points": [1, 2.5, 3]
}"#;

#[test]
fn what_rules_say_is_sure_and_as_the_crate_says() {
    for source in [
        "this.lines.map(l, l.qty * l.price).sum() == this.total",
        "this.lines.map(l, l.qty).sum() == 3 && sum(this.points) == 6.5 && this.tags.size() == 2",
        "this.lines.all(a, this.lines.filter(b, b.sku == a.sku).size() == 1)",
        "this.lines.all(a, this.lines.exists_one(b, b.sku == a.sku)) && this.lines.exists(l, l.qty == 2)",
        "timestamp(this.at) <= timestamp(event.time) && timestamp(event.time) <= now + duration('5m')",
        "now - timestamp(this.at) == duration('4.5s') && timestamp(this.at) > timestamp('2026-01-01T00:00:00Z')",
        "record.partitionKey == 'k1' && has(record.stream) && !has(record.explicitHashKey) && record.size < 1000",
        "record.arrivedAt < now && event.data.total == this.total && event.id == 'e1'",
        "has(this.note) && this.note == null && !has(this.nothing) && this.count != null && this.count == 2",
        "this.id.startsWith('o') && this.id.endsWith('1') && this.id.contains('o1') && this.id.matches('^o[0-9]$')",
        "this.id in ['o0', 'o1'] && !(this.id in ['a', 1, true, null]) && 'x' in this.tags && !('z' in this.tags)",
        "this.id in [this.address.zip, this.id] && this.total in [1, 31] && !(this.total in [])",
        "this['address']['zip'] == '8000' && this.address != null && size(this.id) == 2 && size('äö') == 2",
        "(this.paid ? this.total : 0) > 30 && (this.paid ? true : false) && this.paid",
        "60 * 60 * 24 == 86400 && (true || this.paid) && -this.count == -2 && -1.5 < 0.0",
        "this.lines.filter(l, l.qty > 1).map(l, l.qty).sum() == 2 && this.lines.map(l, l.qty > 1, l.qty).sum() == 2",
        "this.tags.all(t, t == 'x' || t == 'y') && this.tags.exists(t, t in ['y'])",
        "this.total / 2 == 15.5 && this.count / 2 == 1 && this.count % 2 == 0 && double(this.count) == 2.0",
        "this.nothing == 1 || this.paid",
        "this.paid && this.nothing == 1",
        "this.nothing == 1 && this.paid",
        "this.address.nothing.deeper == 1",
        "this.lines.all(l, l.nothing == 1)",
        "this.lines.all(l, l.qty < 2 && l.nothing == 1)",
        "this.lines.exists(l, l.qty == 1 || l.nothing == 1)",
        "this.lines.filter(l, l.nothing == 1).size() == 0",
        "has(this.nothing.deeper)",
        "record.explicitHashKey == 'x'",
        "this.id.startsWith(this.nothing)",
        // What is wrong with the operands is certain too.
        "this.id + 1 == 2",
        "1 - this.id == 2",
        "this.count * this.id == 2",
        "this.id < 1",
        "this.total >= this.id",
        "this.lines.map(l, l.qty * l.sku).sum() == 2",
    ] {
        let (slots, truth) = both(source, ORDER);
        assert_eq!(slots, Some(truth), "{source}");
    }
}

#[test]
fn what_is_not_certain_is_left_to_the_crate() {
    for source in [
        "this.escaped == 'A'",
        "this.big > 1",
        "this.id.nothing == 1",
        "has(this.id.nothing)",
        "this.count / 0 == 1",
        "this.total > 1 && this.id",
        "this.address.all(k, k == 'zip')",
        "this.address == this.address",
        "timestamp(this.id) < now",
        "timestamp('2026-11-22t10:00:00z') < timestamp(this.escaped)",
        "this.lines.filter(l, l.qty > 1).map(l, l.nothing).sum() == 2",
        "9223372036854775807 + this.count > 0",
    ] {
        assert_eq!(both(source, ORDER).0, None, "{source}");
    }
}

fn compile(source: &str, yields: Yields, masks: &[&str]) -> bool {
    let specs = masks.iter().map(|path| json!({"path": path, "mask": "redact"}));
    let masks: Vec<Mask> = specs
        .map(|spec| Mask::compile(&serde_json::from_value::<MaskSpec>(spec).unwrap()).unwrap())
        .map(|mask| mask.within(&Pointer::parse("/data").unwrap()))
        .collect();
    let mut expression = Expression::compile(source, yields).unwrap();
    let mut reads = Reads::default();
    let (payload, numbers) = (Pointer::parse("/data").unwrap(), NumberTypes::none());
    expression.read_slots(&mut reads, Ground { payload: &payload, numbers: &numbers, masks: &masks });
    assert!(expression.has_slots() || reads.is_empty(), "what is not covered reads nothing");
    expression.has_slots()
}

#[test]
fn what_is_not_covered_has_no_compiled_form() {
    for source in [
        "this.a.lowerAscii() == 'x'",
        "this.a == {'a': 1}",
        "this.a.map(x, x) == [1]",
        "this.?a.orValue(true)",
        "type(this.a) == int",
        "this.a.all(x, math.abs(x) > 1)",
        "this.a[0] == 1",
        "this.a == 1u",
    ] {
        assert!(!compile(source, Yields::Bool, &[]), "{source}");
    }
}

#[test]
fn what_is_private_is_told_by_the_crate() {
    for (source, masks, is_covered) in [
        ("'total ' + string(this.total)", &["/email"][..], true),
        ("this.email", &["/email"], false),
        ("event.data.email", &["/email"], false),
        ("this.email.host", &["/email"], false),
        ("this.person", &["/person/email"], false),
        ("string(size(this.lines))", &["/lines/*/price"], false),
        ("string(this.lines.map(l, l.price).sum())", &["/lines/0/price"], false),
        ("string(this.lines.map(l, l.price).sum())", &["/lines/price/x"], false),
        ("string(this.totals.map(l, l.price).sum())", &["/lines/*/price"], true),
        ("record.partitionKey", &["/email"], false),
        ("record.stream", &["/email"], true),
        ("record.partitionKey", &[], true),
        ("'x'", &[""], false),
    ] {
        assert_eq!(compile(source, Yields::Text, masks), is_covered, "{source} {masks:?}");
    }
}

#[test]
fn an_event_with_long_lists_is_left_to_the_crate() {
    let lines = |count: usize| format!(r#"{{"lines": [{}]}}"#, vec![r#"{"sku": "A"}"#; count].join(","));
    let source = "this.lines.all(a, this.lines.filter(b, b.sku == a.sku).size() > 0)";
    assert_eq!(both(source, &lines(100)), (Some(Ok(true)), Ok(true)));
    assert_eq!(both(source, &lines(600)), (None, Err(EvaluationError::TooCostly)));
}

#[test]
fn a_cost_is_known_before_any_event_is_seen() {
    let cost = |source| Expression::compile(source, Yields::Bool).unwrap().cost();
    assert_eq!(cost("this.a > 1"), Cost { outside: 4, a_turn: 0, an_inner_turn: 0 });
    let nested = cost("this.a.all(x, this.a.exists(y, x == y))");
    assert!(nested.outside < 10 && nested.a_turn > 5 && nested.an_inner_turn > 5, "{nested:?}");
    assert_eq!(nested.nodes(10), nested.outside + 10 * nested.a_turn + 100 * nested.an_inner_turn);
}
