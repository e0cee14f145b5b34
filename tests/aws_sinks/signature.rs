//! What is signed is what is sent: the gate puts a body of its own into the SDK's request.
//!
//! Source: AWS General Reference, "Create a signed AWS API request" (Signature Version 4).

use std::fmt::Write as _;

use meshgate::model::Record;
use meshgate::port::MeshSink;
use sha2::{Digest, Sha256};

use crate::upstream::{Call, REGION};
use crate::{SECRET_KEY, kinesis_sink, record, refs};

/// RFC 2104, with SHA-256. No key here is longer than a block.
fn hmac(key: &[u8], text: &str) -> Vec<u8> {
    let padded = |pad: u8| -> Vec<u8> { (0..64).map(|at| key.get(at).copied().unwrap_or(0) ^ pad).collect() };
    let inner = Sha256::digest([&padded(0x36), text.as_bytes()].concat());
    Sha256::digest([&padded(0x5c)[..], &inner].concat()).to_vec()
}

fn hex(bytes: impl AsRef<[u8]>) -> String {
    bytes.as_ref().iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// The signature that a call of this body and these headers has to carry.
fn signature(call: &Call, signed_headers: &str) -> String {
    let headers: String = signed_headers.split(';').fold(String::new(), |mut headers, name| {
        let _ = writeln!(headers, "{name}:{}", call.headers[name].trim());
        headers
    });
    let request = format!("POST\n/\n\n{headers}\n{signed_headers}\n{}", hex(Sha256::digest(&call.bytes)));
    let time = &call.headers["x-amz-date"];
    let scope = format!("{}/{REGION}/kinesis/aws4_request", &time[..8]);
    let text = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{}", hex(Sha256::digest(request)));
    let key = hmac(format!("AWS4{SECRET_KEY}").as_bytes(), &time[..8]);
    let key = ["", REGION, "kinesis", "aws4_request"][1..].iter().fold(key, |key, part| hmac(&key, part));
    hex(hmac(&key, &text))
}

#[tokio::test]
async fn the_signature_covers_the_body_that_is_sent() {
    let (upstream, sink) = kinesis_sink().await;
    let text = Record { encoded: Some("e30=".into()), ..record("{}", "é\"\u{1F600}") };
    let records = [text, record(vec![0xff; 300_000], "k")];
    assert!(sink.put("orders", &refs(&records)).await.iter().all(Result::is_ok));

    let call = &upstream.calls("PutRecords")[0];
    assert_eq!(call.headers["content-length"], call.bytes.len().to_string());
    assert_eq!(call.body["Records"].as_array().unwrap().len(), 2);
    let authorization = &call.headers["authorization"];
    let signed_headers = authorization.split("SignedHeaders=").nth(1).unwrap().split(',').next().unwrap();
    assert!(signed_headers.contains("content-length") && signed_headers.contains("x-amz-target"), "{signed_headers}");
    let sent = authorization.split("Signature=").nth(1).unwrap();
    assert_eq!(sent, signature(call, signed_headers));

    let mut other = call.clone();
    other.bytes = r#"{"Records":[],"StreamName":"orders"}"#.into();
    assert_ne!(sent, signature(&other, signed_headers), "a signature of another body would do as well");
}
