//! One question to an admin port.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::header::{ACCEPT, HOST};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::cli::output::Failure;

/// How long a gate may take: it makes its answer of what it has in memory.
const PATIENCE: Duration = Duration::from_secs(5);

/// The largest answer that is read, bytes. A gate with hundreds of contracts writes a quarter of that.
const BODY_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The status document, as it came.
///
/// # Errors
/// In words for whoever asked: nobody is there, or it is no gate.
pub(super) async fn status(admin: &str) -> Result<Bytes, Failure> {
    let told = |why: String| Failure::Told(why);
    match tokio::time::timeout(PATIENCE, fetch(admin)).await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(Trouble::NobodyThere(error))) => Err(told(format!(
            "no gate answers at {admin}: {error}; start one with `meshgate run`, or name its admin port with --admin"
        ))),
        Ok(Err(Trouble::NoGate(why))) => Err(told(format!(
            "what answers at {admin} is no gate's admin port, or an older gate's: {why}; the admin port is 9570 unless told otherwise, \
             and producers' is another one"
        ))),
        Err(_) => Err(told(format!(
            "{admin} did not answer within {} s; see that the gate runs, and that nothing on the way drops what is sent to it",
            PATIENCE.as_secs()
        ))),
    }
}

enum Trouble {
    NobodyThere(std::io::Error),
    NoGate(String),
}

async fn fetch(admin: &str) -> Result<Bytes, Trouble> {
    let no_gate = |error: &dyn std::fmt::Display| Trouble::NoGate(error.to_string());
    let stream = TcpStream::connect(admin).await.map_err(Trouble::NobodyThere)?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| no_gate(&error))?;
    let connection = tokio::spawn(connection);
    let request = Request::get("/status.json").header(HOST, admin).header(ACCEPT, "application/json");
    let request = request.body(Empty::<Bytes>::new()).map_err(|error| no_gate(&error))?;
    let response = sender.send_request(request).await.map_err(|error| no_gate(&error))?;
    if response.status() != StatusCode::OK {
        return Err(Trouble::NoGate(format!("GET /status.json is {}", response.status())));
    }
    let body = Limited::new(response.into_body(), BODY_BYTES_MAX).collect().await.map_err(|error| no_gate(&error))?;
    connection.abort();
    Ok(body.to_bytes())
}
