//! Any bytes through the decoders: what inflates keeps its bound and comes again the same, what is unwrapped is a well-formed CloudEvent.

#![no_main]

use libfuzzer_sys::fuzz_target;
use meshgate_core::decode::dynamodb::{self, OnModify, Outbox, Unwrapped};
use meshgate_core::decode::{compressed, json, kpl};

const INFLATED_BYTES_MAX: usize = 64 * 1024;

fuzz_target!(|data: &[u8]| {
    let event = compressed::event(data, INFLATED_BYTES_MAX);
    if compressed::Compression::of(data).is_some() {
        assert!(json::check(data).is_err(), "no JSON text begins so");
        assert!(event.as_ref().is_ok_and(|event| event.len() <= INFLATED_BYTES_MAX) || event.is_err());
    } else {
        assert_eq!(event.as_deref(), Ok(data));
    }
    let outbox = Outbox { on_modify: OnModify::Event, ..Outbox::default() };
    let unwrapped = dynamodb::unwrap(data, &outbox);
    assert_eq!(unwrapped, dynamodb::unwrap(data, &outbox));
    if let Ok(Unwrapped::Event { data, partition_key }) = unwrapped {
        let event = json::parse(&data).expect("an event is well-formed");
        assert_eq!(event["specversion"], "1.0");
        assert!((1..=256).contains(&partition_key.chars().count()));
    }
    let _ = kpl::parse(data);
});
