//! What the spool holds, and for whom.

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Response, StatusCode};
use serde_json::{Value, json};

use super::respond;
use crate::model::Timestamp;
use crate::pipeline::spooling::{LaneView, Spooling};

/// All lanes, and the first hundred entries that are kept aside. Neither keys nor payloads.
pub(super) async fn show(spool: Option<&Spooling>, now: Timestamp) -> Response<Full<Bytes>> {
    let Some(spool) = spool else {
        let hint = "set one up with spool: {size_mib: 1024} in the settings";
        return respond(StatusCode::OK, &json!({"spool": null, "hint": hint}));
    };
    let view = spool.view();
    let aside = match spool.aside().await {
        Ok(entries) => entries
            .into_iter()
            .map(|entry| {
                json!({
                    "id": entry.id,
                    "sink": entry.sink,
                    "name": entry.name,
                    "spooled": entry.spooled.to_string(),
                    "bytes": entry.bytes,
                    "reason": entry.reason,
                })
            })
            .collect(),
        Err(error) => json!({"error": error.to_string()}),
    };
    let body = json!({
        "spool": {
            "bytes": view.bytes,
            "bytesMax": view.bytes_max,
            "lanes": view.lanes.iter().map(|lane| describe(lane, now)).collect::<Vec<_>>(),
            "aside": aside,
        }
    });
    respond(StatusCode::OK, &body)
}

fn describe(lane: &LaneView, now: Timestamp) -> Value {
    json!({
        "sink": lane.sink,
        "name": &*lane.name,
        "entries": lane.held.entries,
        "aside": lane.held.aside,
        "oldest": lane.held.oldest.map(|at| at.to_string()),
        "oldestSeconds": lane.held.oldest.map(|at| (now.millis() - at.millis()).max(0) / 1_000),
        "away": lane.away,
    })
}

/// Has what is kept aside tried again.
pub(super) async fn retry(spool: Option<&Spooling>) -> Response<Full<Bytes>> {
    let Some(spool) = spool else {
        return respond(StatusCode::NOT_FOUND, &json!({"error": "this gate has no spool"}));
    };
    match spool.put_back().await {
        Ok(entries) => {
            tracing::warn!(entries, "what the spool kept aside is tried again, by the admin port");
            respond(StatusCode::OK, &json!({"entries": entries}))
        }
        Err(error) => {
            let error = format!("{error}; nothing has changed, try again");
            respond(StatusCode::SERVICE_UNAVAILABLE, &json!({"error": error}))
        }
    }
}
