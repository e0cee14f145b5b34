//! Batches split by brackets and quotes alone, against the parser.

#![no_main]

use libfuzzer_sys::fuzz_target;
use meshgate_core::decode::json::{self, Fault};
use serde_json::Value;

fuzz_target!(|data: &[u8]| {
    let elements = json::elements(data);
    if let Some(elements) = &elements {
        // Elements that all pass make an array that passes, but that it may be one level too deep.
        if elements.iter().all(|element| json::check(&data[element.clone()]).is_ok()) {
            match json::check(data) {
                Ok(()) => {}
                Err(malformed) => assert_eq!(malformed.fault, Fault::TooDeep),
            }
        }
        let most = data.len() % 4;
        let first = json::elements_at_most(data, most.max(1)).expect("the first of all");
        assert_eq!(first[..], elements[..first.len()]);
    }
    if let Ok(Value::Array(parsed)) = json::parse(data) {
        let elements = elements.expect("an array that parses can be split");
        assert_eq!(elements.len(), parsed.len());
        for (element, parsed) in elements.into_iter().zip(parsed) {
            assert_eq!(json::parse(&data[element]), Ok(parsed));
        }
    }
    let mut before = 0;
    for (number, line) in json::lines(data) {
        assert!(number > before && !line.contains(&b'\n'), "lines are numbered as they stand");
        assert_eq!(data.split(|byte| *byte == b'\n').nth(number - 1).map(|whole| whole.starts_with(line)), Some(true));
        before = number;
    }
});
