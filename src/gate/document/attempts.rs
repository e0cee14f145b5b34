//! What became of a letter when it was replayed, written into its document: who looks at it next sees what has been tried.
//!
//! ```json
//! "replay": {"attempts": 2, "history": [{"at": "…", "revision": "…", "rule": "total_is_sum", "kind": "rule", "edited": true}]}
//! ```

use serde::Serialize;
use serde_json::{Value, json};

use super::{DocumentFault, head_of, masked_parse_error, payload_of, unreadable};

/// The attempts that are kept, the last ones: a document must go on fitting into its queue.
const HISTORY_MAX: usize = 10;

/// One attempt after which the letter stayed.
#[derive(Debug, Clone, Serialize)]
pub struct Attempt {
    /// RFC 3339.
    pub at: String,
    /// Of the rules that judged.
    pub revision: String,
    /// What decided first.
    pub rule: String,
    pub kind: String,
    /// Whether a repair was tried (see `gate::edit`). The letter keeps the event as it was.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub edited: bool,
}

/// The document with one attempt more. The payload stays as it is, byte for byte.
///
/// # Errors
/// Where it is no DLQ document.
pub fn with_attempt(body: &str, attempt: &Attempt) -> Result<String, DocumentFault> {
    let (payload, _) = payload_of(body)?;
    let head = head_of(body, payload)?;
    let text =
        format!("{}}}", head.trim_end().strip_suffix("\"payload\":").unwrap_or(head).trim_end().trim_end_matches(','));
    let mut document: Value = serde_json::from_str(&text).map_err(|error| unreadable(&masked_parse_error(&error)))?;
    let mut replay = document["replay"].take();
    let attempts = replay["attempts"].as_u64().unwrap_or(0) + 1;
    let mut history = replay["history"].as_array_mut().map(std::mem::take).unwrap_or_default();
    history.push(serde_json::to_value(attempt).unwrap_or_default());
    history.drain(..history.len().saturating_sub(HISTORY_MAX));
    document["replay"] = json!({"attempts": attempts, "history": history});
    let text = document.to_string();
    Ok(format!("{},\"payload\":{payload}}}", text.strip_suffix('}').unwrap_or(&text)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::document::{for_display, original, summary};

    const BODY: &str = concat!(
        r#"{"schema":"meshgate.dlq/v1","id":"1","quarantinedAt":"2026-11-28T09:00:00Z","domain":"d","contract":"c","revision":"r1","#,
        r#""violations":[],"source":{"stream":"s"},"private":[],"payload":{"encoding":"json","bytes":12,"json":{"n":1.10,"m" :2}}}"#
    );

    #[test]
    fn attempts_are_counted_the_last_are_kept_and_the_event_stays_byte_for_byte() {
        let mut body = BODY.to_owned();
        for number in 0..HISTORY_MAX + 2 {
            let attempt = Attempt {
                at: "2026-11-28T10:00:00Z".into(),
                revision: format!("r{number}"),
                rule: "qty_positive".into(),
                kind: "rule".into(),
                edited: number == HISTORY_MAX + 1,
            };
            body = with_attempt(&body, &attempt).unwrap();
        }
        assert_eq!(original(&body).unwrap(), original(BODY).unwrap());
        assert_eq!(summary(&body).unwrap().attempts, 12);
        let shown: Value = serde_json::from_str(&for_display(&body).unwrap()).unwrap();
        let history = shown["replay"]["history"].as_array().unwrap();
        assert_eq!((history.len(), &history[0]["revision"]), (HISTORY_MAX, &json!("r2")));
        assert_eq!((history[0].get("edited"), &history[9]["edited"]), (None, &json!(true)));
    }
}
