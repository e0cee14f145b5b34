//! S3 by hand, as far as emulators need it: buckets made, listed, read.

use std::io::Read as _;

use super::emulator::Emulator;
use super::http::{Http, Response};

impl Emulator {
    pub fn create_bucket(&self, bucket: &str) {
        let made = self.s3("PUT", &format!("/{bucket}"));
        assert_eq!(made.status, 200, "{}", made.text());
    }

    /// The keys of a bucket's objects, sorted: a thousand at most.
    pub fn keys(&self, bucket: &str) -> Vec<String> {
        let listing = self.s3("GET", &format!("/{bucket}?list-type=2"));
        assert_eq!(listing.status, 200, "{}", listing.text());
        let listing = listing.text();
        assert!(!listing.contains("<IsTruncated>true"), "more than a listing holds");
        let keys = listing.split("<Key>").skip(1).filter_map(|rest| rest.split("</Key>").next());
        keys.map(str::to_owned).collect()
    }

    pub fn object(&self, bucket: &str, key: &str) -> Vec<u8> {
        let answer = self.s3("GET", &format!("/{bucket}/{}", key.replace('=', "%3D")));
        assert_eq!(answer.status, 200, "{key}: {}", answer.text());
        answer.body
    }

    /// The lines of all objects of the archive below `prefix`, each with its object's key.
    pub fn archived(&self, bucket: &str, prefix: &str) -> Vec<(String, String)> {
        let keys = self.keys(bucket).into_iter().filter(|key| key.starts_with(&format!("{prefix}archive/")));
        let lines = |key: String| {
            let mut text = String::new();
            let object = self.object(bucket, &key);
            flate2::read::GzDecoder::new(&object[..]).read_to_string(&mut text).expect("gzip of text");
            assert!(text.ends_with('\n'), "{key} breaks off");
            text.lines().map(|line| (key.clone(), line.to_owned())).collect::<Vec<_>>()
        };
        keys.flat_map(lines).collect()
    }

    fn s3(&self, method: &str, path: &str) -> Response {
        let authorization =
            "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0";
        let headers = [("authorization", authorization), ("x-amz-date", "20260101T000000Z")];
        let mut http = Http::connect(self.address).expect("the emulator listens");
        http.send(method, path, &headers, b"").expect("the emulator answers")
    }
}
