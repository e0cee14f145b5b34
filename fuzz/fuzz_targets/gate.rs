//! A record of any bytes through the gate: what is forwarded is well-formed and holds its schema, what is malformed is called so.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use meshgate_core::contract::ContractSet;
use meshgate_core::decode::{compressed, json};
use meshgate_core::gate::judge::{self, Terms};
use meshgate_core::model::{Record, Timestamp, Verdict};
use meshgate_fuzz::{Both, ORDER_SCHEMA, contracts};

const NOW: Timestamp = Timestamp::from_millis(1_795_341_605_000);

static CONTRACTS: LazyLock<ContractSet> = LazyLock::new(contracts);
static SCHEMA: LazyLock<Both> = LazyLock::new(|| Both::of(ORDER_SCHEMA));

fuzz_target!(|data: &[u8]| {
    let record =
        Record { partition_key: Some("O-000001".into()), ..Record::new(data.to_vec(), "orders-events".into(), NOW) };
    let terms = Terms::new(1 << 20);
    let judgement = judge::judge(&CONTRACTS, &record, terms, NOW).judgement;
    // Of no input so short does more come than the gate takes.
    let event = compressed::event(data, compressed::INFLATED_BYTES_MAX).ok().and_then(|event| json::parse(&event).ok());
    let is_malformed = judgement.violations.iter().any(|violation| &*violation.rule == "malformed");
    assert_eq!(is_malformed, event.is_none(), "{:?}", judgement.violations);
    if let Some(event) = event {
        let breaks_schema = judgement.violations.iter().any(|violation| &*violation.rule == "schema");
        match judgement.verdict {
            Verdict::Forward => assert!(SCHEMA.is_valid(&event["data"])),
            _ if breaks_schema => assert!(!event.get("data").is_some_and(|data| SCHEMA.is_valid(data))),
            _ => {}
        }
    }
});
