//! The JSON body of a `SendMessageBatch`, written into one buffer: the SDK would first have a copy of everything.

use bytes::Bytes;

use super::Queue;
use super::outside::{attributes, group, size_of};
use crate::model::DeadLetter;

/// The body that sends the letters, each under its number.
pub fn send_message_batch<'a>(queue: &Queue, letters: impl Iterator<Item = (usize, &'a DeadLetter)> + Clone) -> Bytes {
    // Documents are JSON, so that every twelfth character or so is a quote that gets a backslash.
    let room: usize = letters.clone().map(|(_, letter)| size_of(letter) / 8 * 9 + 512).sum();
    let mut body = Vec::with_capacity(room);
    body.extend_from_slice(b"{\"QueueUrl\":");
    string(&queue.url, &mut body);
    body.extend_from_slice(b",\"Entries\":[");
    for (place, (index, letter)) in letters.enumerate() {
        body.extend_from_slice(if place == 0 { b"{\"Id\":" } else { b",{\"Id\":" });
        string(&index.to_string(), &mut body);
        body.extend_from_slice(b",\"MessageBody\":");
        string(&letter.body, &mut body);
        body.extend_from_slice(b",\"MessageAttributes\":{");
        for (place, (name, kind, value)) in attributes(letter).enumerate() {
            if place > 0 {
                body.push(b',');
            }
            string(name, &mut body);
            body.extend_from_slice(b":{\"DataType\":");
            string(kind, &mut body);
            body.extend_from_slice(b",\"StringValue\":");
            string(&value, &mut body);
            body.push(b'}');
        }
        body.push(b'}');
        if let Some(trace) = &letter.trace {
            body.extend_from_slice(
                b",\"MessageSystemAttributes\":{\"AWSTraceHeader\":{\"DataType\":\"String\",\"StringValue\":",
            );
            string(&trace.xray(), &mut body);
            body.extend_from_slice(b"}}");
        }
        body.extend_from_slice(b",\"MessageGroupId\":");
        string(&group(letter, queue.fifo), &mut body);
        if queue.fifo {
            body.extend_from_slice(b",\"MessageDeduplicationId\":");
            match letter.attempts {
                0 => string(&letter.id, &mut body),
                attempts => string(&format!("{}-{attempts}", letter.id), &mut body),
            }
        }
        body.push(b'}');
    }
    body.extend_from_slice(b"]}");
    body.into()
}

fn string(text: &str, body: &mut Vec<u8>) {
    // Writing a string into memory cannot fail.
    let _ = serde_json::to_writer(body, text);
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use std::sync::Arc;

    use super::super::tests::letter;
    use super::*;
    use crate::model::SpanContext;

    fn written(fifo: bool) -> Value {
        let queue = Queue { url: "http://q".into(), fifo, message_bytes_max: 1_000 };
        let letters = [letter("{}"), letter("{\"a\":\"é\\n\"}\t")];
        serde_json::from_slice(&send_message_batch(&queue, [(3, &letters[0]), (4, &letters[1])].into_iter())).unwrap()
    }

    #[test]
    fn empty_attributes_are_left_out_and_texts_escaped() {
        let text = |text: &str| json!({"DataType": "String", "StringValue": text});
        let attributes =
            json!({"domain": text("sales"), "rule": text("qty_positive"), "kind": text("rule"), "id": text("0193-7")});
        let entry = |id: &str, body: &str| json!({"Id": id, "MessageBody": body, "MessageAttributes": attributes, "MessageGroupId": "sales"});
        let entries = [entry("3", "{}"), entry("4", "{\"a\":\"é\\n\"}\t")];
        assert_eq!(written(false), json!({"QueueUrl": "http://q", "Entries": entries}));
    }

    #[test]
    fn a_pointer_says_how_large_its_document_is() {
        let queue = Queue { url: "http://q".into(), fifo: false, message_bytes_max: 1_000 };
        let letters = [DeadLetter { document_bytes: Some(300_000), ..letter("[]") }];
        let written: Value =
            serde_json::from_slice(&send_message_batch(&queue, [(0, &letters[0])].into_iter())).unwrap();
        let size = &written["Entries"][0]["MessageAttributes"]["ExtendedPayloadSize"];
        assert_eq!(size, &json!({"DataType": "Number", "StringValue": "300000"}));
    }

    #[test]
    fn a_letter_of_a_traced_request_has_x_rays_header_which_is_no_part_of_its_size() {
        let queue = Queue { url: "http://q".into(), fifo: false, message_bytes_max: 1_000 };
        let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let trace = SpanContext::parse(parent, std::iter::empty()).map(Arc::new);
        let traced = DeadLetter { trace, ..letter("{}") };
        let written: Value = serde_json::from_slice(&send_message_batch(&queue, [(0, &traced)].into_iter())).unwrap();
        let header = "Root=1-4bf92f35-77b34da6a3ce929d0e0e4736;Parent=00f067aa0ba902b7;Sampled=1";
        let expected = json!({"AWSTraceHeader": {"DataType": "String", "StringValue": header}});
        assert_eq!(written["Entries"][0]["MessageSystemAttributes"], expected);
        assert_eq!(size_of(&traced), size_of(&letter("{}")));
    }

    #[test]
    fn a_fifo_queue_gets_a_group_and_a_deduplication_id() {
        let entry = &written(true)["Entries"][0];
        assert_eq!((&entry["MessageGroupId"], &entry["MessageDeduplicationId"]), (&json!("sales"), &json!("0193-7")));
    }
}
