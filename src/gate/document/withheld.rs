//! A document for a queue that does not take the event itself.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::original;

/// The same document without the event: its size and SHA-256 stay, and where it stands on the stream it was read from. What cannot be
/// read comes back as it is.
pub fn without_payload(body: &str) -> String {
    let Ok(mut document) = serde_json::from_str::<Value>(body) else { return body.to_owned() };
    let sha256 = original(body).ok().map(|data| format!("{:x}", Sha256::digest(data)));
    let bytes = document["payload"]["bytes"].take();
    document["payload"] = json!({"encoding": "withheld", "bytes": bytes, "sha256": sha256});
    document.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_but_the_event_stays() {
        let body = r#"{"schema":"meshgate.dlq/v1","id":"1","source":{"position":"s/7/0"},"payload":{"encoding":"json","bytes":7,"json":{"n":1}}}"#;
        let document: Value = serde_json::from_str(&without_payload(body)).unwrap();
        assert_eq!(document["source"]["position"], "s/7/0");
        let sha256 = format!("{:x}", Sha256::digest(br#"{"n":1}"#));
        assert_eq!(document["payload"], json!({"encoding": "withheld", "bytes": 7, "sha256": sha256}));
    }
}
