//! How it stands with the gate: a document for programs, and the page that shows it to people.
//!
//! The page is one file with its style and its script in it, and asks for the document every two seconds. Nothing of a gate is written
//! into its HTML: the script puts text where text belongs, so that no name can become markup. A content security policy leaves a browser
//! nothing to run but that script, and nowhere to ask but here.

mod build;
pub mod document;
mod health;

use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use http_body_util::Full;
use hyper::Response;
use hyper::header::{
    ACCEPT, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, REFERRER_POLICY,
    VARY, X_CONTENT_TYPE_OPTIONS,
};
use sha2::{Digest, Sha256};

pub use health::percent;

use super::Admin;
use crate::model::Timestamp;
use crate::pipeline::now;

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");
/// The page around the two.
const FRAME: &str = include_str!("page.html");

/// How long a document is shown again: however many look, it is made once a second.
const FRESH: Duration = Duration::from_secs(1);

/// The last document, and since when there is a gate.
pub struct Kept {
    started: Timestamp,
    last: Mutex<Option<(Instant, Bytes)>>,
}

impl Kept {
    pub fn new(started: Timestamp) -> Self {
        Self { started, last: Mutex::default() }
    }
}

/// Whether who asks for `/` is a browser with somebody before it.
pub(super) fn is_browser(headers: &HeaderMap) -> bool {
    let accepts = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    accepts.flat_map(|value| value.split(',')).any(|range| {
        let kind = range.split(';').next().unwrap_or_default().trim();
        kind.eq_ignore_ascii_case("text/html")
    })
}

/// `GET /status.json`.
pub(super) fn document_page(admin: &Admin) -> Response<Full<Bytes>> {
    let mut last = admin.status.last.lock().unwrap_or_else(PoisonError::into_inner);
    let body = match &*last {
        Some((made, body)) if made.elapsed() < FRESH => body.clone(),
        _ => {
            let status = build::status(admin, admin.status.started, now());
            let mut text = serde_json::to_vec(&status).unwrap_or_default();
            text.push(b'\n');
            let body = Bytes::from(text);
            *last = Some((Instant::now(), body.clone()));
            body
        }
    };
    drop(last);
    let mut response = Response::new(Full::new(body));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    guard(response.headers_mut());
    response
}

/// The page, and the policy that fits it.
static PAGE: LazyLock<(Bytes, HeaderValue)> = LazyLock::new(|| {
    let page = FRAME.replacen("STYLE", STYLE, 1).replacen("SCRIPT", SCRIPT, 1);
    let hash = |text: &str| BASE64.encode(Sha256::digest(text));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; connect-src 'self'; img-src data:; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'",
        hash(STYLE),
        hash(SCRIPT)
    );
    (page.into(), HeaderValue::try_from(policy).unwrap_or(HeaderValue::from_static("default-src 'none'")))
});

/// `GET /` for a browser.
pub(super) fn page() -> Response<Full<Bytes>> {
    let (page, policy) = &*PAGE;
    let mut response = Response::new(Full::new(page.clone()));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(CONTENT_SECURITY_POLICY, policy.clone());
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(VARY, HeaderValue::from_static("accept"));
    headers.insert(HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin"));
    guard(headers);
    response
}

fn guard(headers: &mut HeaderMap) {
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
}

#[cfg(test)]
mod tests;
