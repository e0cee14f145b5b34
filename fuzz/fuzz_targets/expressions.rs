//! Any expression over any event: where its compiled form is sure, it says what the `cel` crate says, errors included.
//!
//! The input is the expression, a newline, and the event. Whole numbers are called integers by half of the field names, so that
//! events keep to what is said of them or not.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use meshgate_core::decode::json;
use meshgate_core::model::Timestamp;
use meshgate_core::rule::capture::{Captured, Captures, Reads, naive};
use meshgate_core::rule::expr::{Bindings, Expression, Ground, Scalar, SlotScope, Yields};
use meshgate_core::rule::number_types::NumberTypes;
use meshgate_core::rule::pointer::Pointer;
use meshgate_core::rule::schema::Schema;
use meshgate_core::rule::{RecordFacts, Scope};

const NOW: Timestamp = Timestamp::from_millis(1_795_341_605_000);

/// What the schema of the events' data calls their numbers.
const NUMBERS: &str = r#"{"properties": {
    "i": {"type": "integer"}, "j": {"type": "integer"}, "n": {"type": "number"},
    "l": {"items": {"properties": {"i": {"type": "integer"}, "n": {"type": "number"}}}}}}"#;

static NUMBER_TYPES: LazyLock<NumberTypes> = LazyLock::new(|| {
    let document = json::parse(NUMBERS.as_bytes()).expect("JSON");
    let schema = Schema::compile(&document, "fuzz.json", &Default::default(), true).expect("a schema");
    schema.number_types().clone()
});
static PAYLOAD: LazyLock<Pointer> = LazyLock::new(|| Pointer::parse("/data").expect("a pointer"));

fuzz_target!(|data: &[u8]| {
    let Some((source, text)) = std::str::from_utf8(data).ok().and_then(|data| data.split_once('\n')) else { return };
    let Ok(event) = json::parse(text.as_bytes()) else { return };
    let Some(this) = PAYLOAD.resolve(&event) else { return };
    let record =
        RecordFacts { stream: "s", partition_key: Some("k"), explicit_hash_key: None, arrived: NOW, size: text.len() };
    let scope = Scope { this, event: &event, record, now: NOW };
    for yields in [Yields::Bool, Yields::Text, Yields::Scalar] {
        let Ok(mut expression) = Expression::compile(source, yields) else { continue };
        let mut reads = Reads::default();
        expression.read_slots(&mut reads, Ground { payload: &PAYLOAD, numbers: &NUMBER_TYPES, masks: &[] });
        let mut captures = Captures::default();
        if naive::fill(&reads, text, &mut captures).is_none() {
            continue;
        }
        let slots = SlotScope::new(Captured::new(text, &captures), record, NOW);
        let within = NUMBER_TYPES.within(&PAYLOAD);
        let bindings = Bindings::typed(&scope, &NUMBER_TYPES, &within);
        match yields {
            Yields::Bool => {
                if let Some(answer) = expression.test_on_slots(&slots) {
                    assert_eq!(answer, expression.test(&bindings), "{source}");
                }
            }
            Yields::Text => {
                if let Some(answer) = expression.text_on_slots(&slots) {
                    assert_eq!(answer, expression.text(&bindings), "{source}");
                }
            }
            Yields::Scalar => {
                let shown = |scalar: Scalar<'_>| format!("{scalar:?}");
                if let Some(answer) = expression.scalar_on_slots(&slots, shown) {
                    assert_eq!(answer, expression.scalar(&bindings, shown), "{source}");
                }
            }
        }
    }
});
