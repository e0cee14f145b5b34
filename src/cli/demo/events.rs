//! What the demo's producer sends: the examples of the contracts themselves, good and bad, made many by giving each event
//! a fresh id and today's time, and some of them damaged as real producers damage events.

use std::sync::Arc;

use fastrand::Rng;
use serde_json::Value;

use crate::contract::{Contract, ContractSet};
use crate::decode::json;
use crate::model::{Timestamp, Verdict};

/// Of a hundred events, how many are one of the contracts' bad or doubtful examples, and how many are damaged good ones.
const BAD_EXAMPLES_PERCENT: u32 = 8;
const DAMAGED_PERCENT: u32 = 5;

/// One record to put.
pub struct Sample {
    pub stream: Arc<str>,
    pub partition_key: String,
    pub data: Vec<u8>,
}

struct Template {
    stream: Arc<str>,
    event: Value,
    partition_key: Option<String>,
    /// What `event` takes the present to be.
    now: Timestamp,
}

/// An endless, seeded supply of events.
pub struct Events {
    good: Vec<Template>,
    bad: Vec<Template>,
    rng: Rng,
    serial: u64,
}

impl Events {
    /// Takes the examples of every contract that names its stream. `None` when none of them is a good one.
    pub fn new(set: &ContractSet, seed: u64) -> Option<Self> {
        let (mut good, mut bad) = (Vec::new(), Vec::new());
        for contract in set.domains().flat_map(|domain| domain.contracts.values()) {
            let Some(stream) = stream_of(contract) else { continue };
            for example in contract.examples() {
                let Ok(event) = json::parse(&example.bytes) else { continue };
                let partition_key = example.partition_key.clone();
                // An example that names no time is judged in 1970, when its event is yet to come.
                let unset = example.now == Timestamp::from_millis(0);
                let now = latest_time(&event).filter(|_| unset).unwrap_or(example.now);
                let template = Template { stream: Arc::clone(&stream), event, partition_key, now };
                let is_good = example.verdict == Verdict::Forward && example.violations.is_empty();
                if is_good { good.push(template) } else { bad.push(template) }
            }
        }
        (!good.is_empty()).then(|| Self { good, bad, rng: Rng::with_seed(seed), serial: 0 })
    }

    pub fn next(&mut self, now: Timestamp) -> Sample {
        self.serial += 1;
        let roll = self.rng.u32(0..100);
        let templates = if roll < BAD_EXAMPLES_PERCENT && !self.bad.is_empty() { &self.bad } else { &self.good };
        let template = &templates[self.rng.usize(0..templates.len())];
        let mut event = template.event.clone();
        shift_times(&mut event, now.millis() - template.now.millis());
        let id = format!("demo-{:08x}-{}", self.rng.u32(..), self.serial);
        if let Some(known) = event.get_mut("id") {
            *known = id.as_str().into();
        }
        let stream = Arc::clone(&template.stream);
        let partition_key = template.partition_key.clone().unwrap_or_else(|| key_of(&event, &id));
        let data = if (100 - DAMAGED_PERCENT..).contains(&roll) {
            damage(event, &mut self.rng)
        } else {
            event.to_string().into_bytes()
        };
        Sample { stream, partition_key, data }
    }
}

/// What a producer would partition by: the id of the thing the event is about.
fn key_of(event: &Value, id: &str) -> String {
    let about = ["orderId", "customerId"].iter().find_map(|name| event["data"][*name].as_str());
    about.unwrap_or(id).to_owned()
}

/// A stream the contract's glob covers.
fn stream_of(contract: &Contract) -> Option<Arc<str>> {
    contract.stream.as_ref().map(|glob| glob.as_str().replace('*', "events").replace('?', "1").into())
}

/// The latest time that the event names.
fn latest_time(value: &Value) -> Option<Timestamp> {
    match value {
        Value::Object(fields) => fields.values().filter_map(latest_time).max(),
        Value::Array(elements) => elements.iter().filter_map(latest_time).max(),
        Value::String(text) => Timestamp::parse_rfc3339(text),
        _ => None,
    }
}

/// Examples are written for the time they name; the demo plays now.
fn shift_times(value: &mut Value, by_millis: i64) {
    match value {
        Value::Object(fields) => fields.values_mut().for_each(|field| shift_times(field, by_millis)),
        Value::Array(elements) => elements.iter_mut().for_each(|element| shift_times(element, by_millis)),
        Value::String(text) => {
            if let Some(time) = Timestamp::parse_rfc3339(text) {
                *text = Timestamp::from_millis(time.millis().saturating_add(by_millis)).to_string();
            }
        }
        _ => {}
    }
}

/// What goes wrong between a producer's keyboard and the wire.
fn damage(mut event: Value, rng: &mut Rng) -> Vec<u8> {
    match rng.u8(0..5) {
        0 => {
            let mut bytes = event.to_string().into_bytes();
            bytes.truncate(bytes.len() * 2 / 3);
            bytes
        }
        1 => event.to_string().replacen('{', "{\"id\":\"twice\",", 1).into_bytes(),
        2 => b"connection reset by peer\n".to_vec(),
        3 => {
            event["type"] = "something.nobody.knows".into();
            event.to_string().into_bytes()
        }
        _ => {
            let payload = if event.get("data").is_some_and(Value::is_object) { &mut event["data"] } else { &mut event };
            if let Some(fields) = payload.as_object_mut().filter(|fields| !fields.is_empty()) {
                let name = fields.keys().nth(rng.usize(0..fields.len())).cloned().unwrap_or_default();
                fields.shift_remove(&name);
            }
            event.to_string().into_bytes()
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_present_of_an_example_that_names_none_is_its_events_last_time() {
        let event = json!({"id": "x", "at": "2026-11-22T10:00:00Z", "lines": [{"at": "2026-11-22T11:00:00Z"}, 3]});
        assert_eq!(latest_time(&event), Timestamp::parse_rfc3339("2026-11-22T11:00:00Z"));
        assert_eq!(latest_time(&json!({"id": "x"})), None);
    }
}
