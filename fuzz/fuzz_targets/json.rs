//! The strict scan and the tree against serde_json, which differs on purpose, and in nothing else: duplicate keys, depth, and
//! numbers no double holds.
//!
//! Duplicates have an oracle of their own: the tree of serde_json, which keeps one of two equal keys, has fewer members than
//! the text has colons outside strings.

#![no_main]

use libfuzzer_sys::fuzz_target;
use meshgate_core::decode::json::{self, Fault};
use serde_json::Value;

fuzz_target!(|data: &[u8]| {
    let ours = json::parse(data);
    assert_eq!(json::check(data).err(), ours.as_ref().err().copied());
    // Keys that serde_json takes for something else.
    if data.windows(20).any(|window| window == b"$serde_json::private") {
        return;
    }
    let theirs = serde_json::from_slice::<Value>(data);
    match (ours, theirs) {
        (Ok(ours), Ok(theirs)) => {
            assert_eq!(ours, theirs);
            assert_eq!(colons(data), members(&theirs), "a duplicate key was taken");
        }
        (Ok(_), Err(error)) => panic!("serde_json refuses it: {error}"),
        (Err(malformed), Ok(theirs)) => match malformed.fault {
            Fault::DuplicateKey => assert!(colons(data) > members(&theirs), "no key is there twice"),
            Fault::TooDeep | Fault::NumberOverflow => {}
            fault => panic!("serde_json takes it: {fault}"),
        },
        (Err(malformed), Err(_)) => assert!(malformed.offset <= data.len()),
    }
});

/// Members of all objects.
fn members(value: &Value) -> usize {
    match value {
        Value::Array(elements) => elements.iter().map(members).sum(),
        Value::Object(object) => object.len() + object.values().map(members).sum::<usize>(),
        _ => 0,
    }
}

/// Colons outside strings of a well-formed text.
fn colons(text: &[u8]) -> usize {
    let (mut in_string, mut escaped, mut colons) = (false, false, 0);
    for byte in text {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => in_string = !in_string,
            b':' if !in_string => colons += 1,
            _ => {}
        }
    }
    colons
}
