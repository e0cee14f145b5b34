//! Requests as real clients sent them, replayed byte for byte: what the gate understood of each, and what it answered, against
//! golden files (`UPDATE_EXPECT=1` refreshes them). The captures lie beside the project on some machines only.

use std::path::{Path, PathBuf};

use expect_test::expect_file;

use crate::client::{H1, H2, Reply};
use crate::world::World;
use crate::{cbor, client};

struct Capture {
    name: String,
    is_h2: bool,
    /// As sent, without pseudo-headers.
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Capture {
    fn read(path: &Path) -> Self {
        let text = std::fs::read_to_string(path).unwrap();
        let start = text.find(">>> ").expect("the request line");
        let (head, body) = text[start..].split_once("\n\n").expect("a blank line after the head");
        let mut lines = head.lines();
        let is_h2 = lines.next().unwrap().contains("HTTP/2");
        let headers: Vec<(String, String)> = lines
            .filter(|line| !line.starts_with(':'))
            .map(|line| line.split_once(": ").expect("a header"))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let len =
            headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("content-length")).unwrap().1.parse().unwrap();
        let body = match body.strip_prefix("[CBOR body, ") {
            Some(cbor) => unhex(cbor.lines().skip(1).take_while(|line| !line.starts_with('['))),
            None => body.as_bytes()[..len].to_vec(),
        };
        assert_eq!(body.len(), len, "{}", path.display());
        Self { name: path.file_stem().unwrap().to_string_lossy().into_owned(), is_h2, headers, body }
    }

    async fn replay(&self, world: &World) -> Reply {
        if self.is_h2 {
            let headers: Vec<_> = self.headers.iter().map(|(name, value)| (&**name, &**value)).collect();
            return H2::connect(world.address).await.post("/", &headers, &self.body).await;
        }
        let mut request = b"POST / HTTP/1.1\r\n".to_vec();
        for (name, value) in &self.headers {
            request.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        }
        request.extend_from_slice(b"\r\n");
        request.extend_from_slice(&self.body);
        let mut client = H1::connect(world.address).await;
        client.send(&request).await;
        client.reply().await.expect("a reply")
    }
}

fn unhex<'a>(lines: impl Iterator<Item = &'a str>) -> Vec<u8> {
    let digits: String = lines.collect();
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
}

fn captures() -> Option<Vec<PathBuf>> {
    let shared = std::env::var_os("MESHGATE_SHARED")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared"), PathBuf::from);
    let Ok(entries) = std::fs::read_dir(shared.join("wire")) else {
        eprintln!("skipped: no captured requests in {}/wire (set MESHGATE_SHARED)", shared.display());
        return None;
    };
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    Some(paths)
}

/// The whole exchange as a person would want to read it. `Date` and what frames the body are left out.
pub fn told(calls: &[String], reply: &Reply) -> String {
    let mut text = String::new();
    for call in calls {
        text.push_str(&format!("understood: {call}\n"));
    }
    text.push_str(&format!("answered: {}\n", reply.status));
    for (name, value) in &reply.headers {
        if !["date", "content-length"].contains(&&**name) {
            text.push_str(&format!("{name}: {value}\n"));
        }
    }
    assert!(reply.header("date").is_some_and(|date| date.ends_with(" GMT")));
    let body = match reply.header("content-type") {
        Some("application/x-amz-cbor-1.1") => cbor::diagnostic(&reply.body),
        _ => serde_json::to_string_pretty(&reply.json()).unwrap(),
    };
    format!("{text}\n{body}\n")
}

#[tokio::test]
async fn captured_requests_are_understood_and_answered() {
    let Some(paths) = captures() else { return };
    let world = World::start().await;
    let mut replayed = 0;
    for path in paths {
        let capture = Capture::read(&path);
        let reply = capture.replay(&world).await;
        assert!(reply.status < 500, "{}: {reply:?}", capture.name);
        let golden = format!("{}/tests/wire/golden/{}.txt", env!("CARGO_MANIFEST_DIR"), capture.name);
        expect_file![golden].assert_eq(&told(&world.script.take_calls(), &reply));
        replayed += 1;
    }
    assert!(replayed >= 38, "only {replayed} captures were found");
    assert_eq!(world.stopped().await.cut, 0);
}

#[tokio::test]
async fn iterators_read_back_in_both_encodings() {
    let world = World::start().await;
    let mut client = H1::connect(world.address).await;
    let asked = r#"{"StreamName":"raw-orders","ShardId":"shardId-000000000001","ShardIteratorType":"LATEST"}"#;
    let iterator = client.kinesis("GetShardIterator", asked).await.json()["ShardIterator"].as_str().unwrap().to_owned();
    let reply = client.kinesis("GetRecords", &format!(r#"{{"ShardIterator":"{iterator}","Limit":5}}"#)).await;
    let golden = format!("{}/tests/wire/golden/read_json.txt", env!("CARGO_MANIFEST_DIR"));
    expect_file![golden].assert_eq(&told(&world.script.take_calls(), &reply));

    let mut body = minicbor::Encoder::new(Vec::new());
    body.begin_map().unwrap().str("ShardIterator").unwrap().str(&iterator).unwrap().end().unwrap();
    let headers = [("X-Amz-Target", "Kinesis_20131202.GetRecords"), ("Content-Type", "application/x-amz-cbor-1.1")];
    let reply = client::H2::connect(world.address).await.post("/", &headers, body.writer()).await;
    let golden = format!("{}/tests/wire/golden/read_cbor.txt", env!("CARGO_MANIFEST_DIR"));
    expect_file![golden].assert_eq(&told(&world.script.take_calls(), &reply));
    world.stopped().await;
}
