//! The admin port, for probes, Prometheus and people. Never exposed to producers.
//!
//! * `GET /` -- for browsers, the status page; for others, a list of these.
//! * `GET /status.json` -- what that page shows: rates, pass rates, violations, refusals, far ends, rules (`meshgate.status/v1`).
//! * `GET /live` -- 200 while the process answers at all. Restart it when it does not.
//! * `GET /ready` -- 200 when the gate takes records, 503 while it drains. The body says what it knows.
//! * `GET /metrics` -- Prometheus text format 0.0.4.
//! * `GET /contracts` -- what is loaded: domains, contracts, versions, owners, rules, from which git revision.
//! * `GET /checks` -- what checks that remember have to say: windows, keys, memory.
//! * `GET /breakers` -- which contracts' breakers are open; `POST /breakers/DOMAIN/CONTRACT/close` closes one.
//! * `GET /candidate` -- how the candidate rules' verdicts differ.
//! * `GET /spool` -- what waits for far ends that are away; `POST /spool/retry` tries again what is kept aside.
//! * `POST /reload` -- fetches and reads the rule files again; 200 applied, 409 where some file has a fault.

mod checks;
mod spool;
pub mod status;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};

use crate::config::RuleSource;
use crate::config::git::GitRules;
use crate::contract::{Contract, Domain, StreamCheck};
use crate::metrics::Metrics;
use crate::pipeline::now;
use crate::pipeline::origin::Origin;
use crate::pipeline::pulse::Pulsing;
use crate::pipeline::rules::Rules;
use crate::pipeline::serve::Phase;
use crate::pipeline::spooling::Spooling;

/// Probes, one scraper, a few people: more connections than this are a mistake.
const CONNECTIONS_MAX: usize = 64;
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// What the admin port shows.
pub struct Admin {
    pub phase: watch::Receiver<Phase>,
    pub rules: Arc<Rules>,
    pub metrics: Arc<Metrics>,
    /// `local` or `aws`.
    pub backend: &'static str,
    pub spool: Option<Arc<Spooling>>,
    pub pulse: Arc<Pulsing>,
    pub status: status::Kept,
}

/// Serves until the future is dropped. Connections over the cap wait.
pub async fn serve(listener: TcpListener, admin: Arc<Admin>) {
    let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(permit) = Arc::clone(&connections).acquire_owned().await else { return };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "the admin port cannot accept a connection; trying again");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let admin = Arc::clone(&admin);
        tokio::spawn(async move {
            let service = service_fn(|request| answer(Arc::clone(&admin), request));
            let served = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADER_TIMEOUT)
                .serve_connection(TokioIo::new(stream), service)
                .await;
            if let Err(error) = served {
                tracing::debug!(%error, "a connection to the admin port ended early");
            }
            drop(permit);
        });
    }
}

async fn answer(admin: Arc<Admin>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let get = matches!(*request.method(), Method::GET | Method::HEAD);
    let post = request.method() == Method::POST;
    Ok(match (request.uri().path(), get) {
        ("/live", true) => text(StatusCode::OK, "live\n"),
        ("/ready", true) => ready(&admin),
        ("/metrics", true) => metrics(&admin),
        ("/contracts", true) => respond(StatusCode::OK, &contracts(&admin.rules)),
        ("/checks", true) => respond(StatusCode::OK, &checks::checks(&admin.rules)),
        ("/breakers", true) => respond(StatusCode::OK, &checks::breakers(&admin.rules, now())),
        ("/candidate", true) => respond(StatusCode::OK, &checks::candidate(&admin.rules, &admin.metrics)),
        ("/status.json", true) => status::document_page(&admin),
        ("/spool", true) => spool::show(admin.spool.as_deref(), now()).await,
        ("/spool/retry", false) if post => spool::retry(admin.spool.as_deref()).await,
        ("/reload", false) if post => reload(admin).await,
        (path, false) if post && closes(path).is_some() => close(&admin, closes(path).unwrap_or_default()),
        ("/reload" | "/spool/retry", _) => not_allowed("POST"),
        (path, _) if closes(path).is_some() => not_allowed("POST"),
        (path, false) if PAGES.contains(&path) => not_allowed("GET, HEAD"),
        ("/", true) if status::is_browser(request.headers()) => status::page(),
        ("/", true) => text(StatusCode::OK, format!("meshgate: {}, {POSTS}\n", PAGES.join(" "))),
        _ => text(StatusCode::NOT_FOUND, format!("no such page; there are {} and {POSTS}\n", PAGES.join(" "))),
    })
}

/// What can be read.
const PAGES: [&str; 9] =
    ["/live", "/ready", "/metrics", "/status.json", "/contracts", "/checks", "/breakers", "/candidate", "/spool"];

/// What can be done.
const POSTS: &str = "POST /reload, POST /breakers/DOMAIN/CONTRACT/close, POST /spool/retry";

/// The domain and contract of a path that closes a breaker.
fn closes(path: &str) -> Option<(&str, &str)> {
    path.strip_prefix("/breakers/")?.strip_suffix("/close")?.split_once('/')
}

fn close(admin: &Admin, (domain, contract): (&str, &str)) -> Response<Full<Bytes>> {
    match checks::close(&admin.rules.current(), domain, contract, now()) {
        Some(closed) => respond(StatusCode::OK, &closed),
        None => {
            let error = format!("{domain}/{contract} has no breaker; GET /breakers lists those that have one");
            respond(StatusCode::NOT_FOUND, &json!({ "error": error }))
        }
    }
}

fn ready(admin: &Admin) -> Response<Full<Bytes>> {
    let (status, phase) = match *admin.phase.borrow() {
        Phase::Ready => (StatusCode::OK, "ready"),
        Phase::Draining => (StatusCode::SERVICE_UNAVAILABLE, "draining"),
    };
    let set = admin.rules.current();
    let domains: serde_json::Map<String, Value> =
        set.domains().map(|d| (d.name.to_string(), json!({"revision": &*d.revision}))).collect();
    let mut body = json!({
        "phase": phase,
        "backend": admin.backend,
        "domains": domains,
        "staleDomains": admin.rules.stale(),
        "rulesSource": describe_origin(admin.rules.origin()),
    });
    if let Some(candidate) = admin.rules.candidate_origin() {
        body["candidateSource"] = describe_origin(candidate);
    }
    respond(status, &body)
}

/// Where rules come from, and what is wrong with getting them.
fn describe_origin(origin: &Origin) -> Value {
    let seen = origin.seen();
    match origin.source() {
        RuleSource::Directory(dir) => {
            json!({"kind": "directory", "path": dir.display().to_string(), "error": seen.error()})
        }
        RuleSource::Revision { dir, revision } => {
            json!({"kind": "revision", "path": dir.display().to_string(), "ref": revision, "error": seen.error()})
        }
        RuleSource::Git(GitRules { repository, reference, path }) => json!({
            "kind": "git",
            "url": repository.remote().to_string(),
            "ref": reference,
            "path": path,
            "commit": seen.commit,
            "fetched": seen.fetched.map(|at| at.to_string()),
            "error": seen.error(),
        }),
    }
}

fn metrics(admin: &Admin) -> Response<Full<Bytes>> {
    admin.metrics.ready.set(i64::from(*admin.phase.borrow() == Phase::Ready));
    let mut response = text(StatusCode::OK, admin.metrics.render());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8"));
    response
}

fn contracts(rules: &Rules) -> Value {
    let set = rules.current();
    let stale = rules.stale();
    let domains: Vec<Value> = set.domains().map(|domain| describe_domain(domain, &stale)).collect();
    json!({ "domains": domains })
}

fn describe_domain(domain: &Domain, stale: &[String]) -> Value {
    json!({
        "name": &*domain.name,
        "revision": &*domain.revision,
        "stale": stale.iter().any(|name| **name == *domain.name),
        "dlq": domain.dlq.as_deref(),
        "contracts": domain.contracts.values().map(|c| describe_contract(c)).collect::<Vec<_>>(),
    })
}

fn describe_contract(contract: &Contract) -> Value {
    json!({
        "name": &*contract.name,
        "version": &*contract.version,
        "status": contract.status.as_str(),
        "mode": contract.mode.as_str(),
        "owner": contract.owner,
        "stream": contract.stream.as_ref().map(|glob| glob.as_str()),
        "type": contract.event_type.as_deref(),
        "rules": contract.rule_ids().collect::<Vec<_>>(),
        "streamChecks": contract.stream_checks().map(describe_stream_check).collect::<Vec<_>>(),
        "breaker": contract.breaker.as_ref().map(|terms| json!({
            "maxQuarantineRatio": terms.ratio_max,
            "windowSeconds": terms.window as f64 / 1000.0,
            "minEvents": terms.events_min,
            "action": terms.action.as_str(),
        })),
    })
}

/// What it does at present is on `/checks`.
fn describe_stream_check(check: &StreamCheck) -> Value {
    json!({"rule": &*check.id, "type": check.kind, "mode": check.mode.as_str(), "judgesEvents": !check.is_windowed()})
}

async fn reload(admin: Arc<Admin>) -> Response<Full<Bytes>> {
    let rules = Arc::clone(&admin.rules);
    match tokio::task::spawn_blocking(move || rules.reload()).await {
        Ok(Ok(loaded)) => {
            let faults: Vec<String> = loaded.diagnostics.iter().map(ToString::to_string).collect();
            let status = if loaded.is_good { StatusCode::OK } else { StatusCode::CONFLICT };
            respond(status, &json!({"revision": loaded.revision, "staleDomains": loaded.failed, "faults": faults}))
        }
        Ok(Err(error)) => {
            respond(StatusCode::CONFLICT, &json!({"error": format!("{error}; the last good rules stay in force")}))
        }
        Err(_) => respond(
            StatusCode::INTERNAL_SERVER_ERROR,
            &json!({"error": "the reload failed inside the gate; the last good rules stay in force"}),
        ),
    }
}

fn respond(status: StatusCode, body: &Value) -> Response<Full<Bytes>> {
    let mut response = text(status, format!("{body:#}\n"));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn not_allowed(allow: &'static str) -> Response<Full<Bytes>> {
    let mut response = text(StatusCode::METHOD_NOT_ALLOWED, format!("this page takes {allow}\n"));
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allow));
    response
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}
