use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

fn by_serde(body: &Bytes, shape: Shape) -> Result<Request, Fault> {
    match shape {
        Shape::One => Encoding::Json.parse::<PutRecord<'_>>(body).map(|put| put.request(body)),
        Shape::Many => Encoding::Json.parse::<PutRecords<'_>>(body).map(|put| put.request(body)),
    }
}

/// The scanner's word, if it has one, has to be serde's. Says whether it had one.
fn agree(body: &[u8], shape: Shape) -> bool {
    let body = Bytes::copy_from_slice(body);
    let Some(mut scanned) = json::scan(&body, shape) else { return false };
    for entry in &mut scanned.entries {
        if let Some(encoded) = entry.encoded.take() {
            assert_eq!(STANDARD.encode(entry.data.as_ref().unwrap()), encoded, "the text is the canonical one");
        }
    }
    assert_eq!(Ok(scanned), by_serde(&body, shape), "{}", String::from_utf8_lossy(&body));
    true
}

const GOOD: &str = r#" {"StreamName": "orders", "StreamARN":null,"Records" :[
    {"Data":"eyJhIjoxfQ==","PartitionKey":"k"}, {"PartitionKey":"é\"\u00e9","ExplicitHashKey":"12","Data":""},
    {"Data":"\/\/\/\/","PartitionKey":null,"More":{"a":[1,{"b":"}"}]}},{} ], "DryRun":false,"StreamId":[1.5e3,"x\\"]} "#;

const ONE: &str = r#"{"SequenceNumberForOrdering":"49","Data":"eA==","PartitionKey":"k","StreamName":"s","DryRun":true,
    "ExplicitHashKey":null,"Records":[1]}"#;

#[test]
fn plain_bodies_are_scanned_in_any_order_with_members_nobody_knows() {
    for (body, shape) in [(GOOD, Shape::Many), (ONE, Shape::One), ("{}", Shape::One), ("{}", Shape::Many)] {
        assert!(agree(body.as_bytes(), shape), "{body}");
    }
    assert!(agree(ONE.replace("\"Records\":[1]", "\"Records\":null").as_bytes(), Shape::Many));
    let request = Request::read(Encoding::Json, &Bytes::from(GOOD), Shape::Many).unwrap();
    assert_eq!(request.entries[0].encoded.as_deref(), Some(&b"eyJhIjoxfQ=="[..]));
    assert_eq!(request.entries[0].data.as_deref(), Some(&b"{\"a\":1}"[..]));
    assert_eq!((request.entries[2].data.as_deref(), &request.entries[2].encoded), (Some(&b"\xff\xff\xff"[..]), &None));
    assert_eq!(request.entry_count, Some(4));
}

#[test]
fn what_serde_refuses_is_not_scanned() {
    for body in [
        "",
        "[]",
        "{",
        "{}x",
        r#"{"StreamName":"a","StreamName":"b"}"#,
        r#"{"StreamName":null,"StreamName":"b"}"#,
        r#"{"StreamName":1}"#,
        r#"{"StreamName":"a",}"#,
        r#"{"StreamName":"\ud800"}"#,
        "{\"StreamName\":\"a\u{1}\"}",
        "{\"More\nover\":1}",
        r#"{"DryRun":truex}"#,
        r#"{"DryRun":"true"}"#,
        r#"{"Records":[{"Data":"eA=="},]}"#,
        r#"{"Records":[{"Data":"eA=="}"#,
        r#"{"Records":[{"Data":"eB=="}]}"#,
        r#"{"Records":[{"Data":"eA"}]}"#,
        r#"{"Records":[{"Data":"e A="}]}"#,
        r#"{"Records":[{"Data":"eA==","Data":"eA=="}]}"#,
        r#"{"Records":[null]}"#,
        r#"{"Records":{}}"#,
        r#"{"Unknown":nul}"#,
        r#"{"Unknown""#,
        r#"{"Unknown\"#,
    ] {
        let bytes = Bytes::from(body);
        assert!(by_serde(&bytes, Shape::Many).is_err() || body.is_empty(), "{body}");
        assert_eq!(json::scan(&bytes, Shape::Many), None, "{body}");
    }
    assert_eq!(json::scan(&Bytes::from_static(b"{\"StreamName\":\"\xff\"}"), Shape::Many), None);
    assert_eq!(json::scan(&Bytes::from_static(b"{\"Unknown\":\"\xff\"}"), Shape::Many), None);
}

#[test]
fn too_many_entries_are_left_to_be_counted() {
    let body = |count: usize| Bytes::from(format!("{{\"Records\":[{}]}}", vec!["{}"; count].join(",")));
    assert!(json::scan(&body(500), Shape::Many).is_some());
    assert_eq!(json::scan(&body(501), Shape::Many), None);
    assert_eq!(Request::read(Encoding::Json, &body(700), Shape::Many).unwrap().entry_count, Some(700));
}

proptest! {
    #[test]
    fn damaged_bodies_are_read_alike_or_left(one: bool, edits in vec((any::<prop::sample::Index>(), 0..6_usize, any::<u8>()), 1..4)) {
        const PIECES: [&str; 16] = ["\"", "\\", "{", "}", "[", "]", ",", ":", "null", "=", "A", " ", "\"Data\":\"eA==\"",
            "\"StreamName\":\"s\"", "\\u0041", "\u{e9}"];
        let (text, shape) = if one { (ONE, Shape::One) } else { (GOOD, Shape::Many) };
        let mut body = text.as_bytes().to_vec();
        for (at, removed, piece) in edits {
            let at = at.index(body.len() + 1);
            let end = (at + removed).min(body.len());
            body.splice(at..end, PIECES[usize::from(piece) % PIECES.len()].bytes());
        }
        agree(&body, shape);
    }

    /// The decoder of the fast path takes exactly what the crate `base64` takes, and makes the same of it.
    #[test]
    fn both_decoders_of_base64_are_one(data in vec(any::<u8>(), 0..200), edits in vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
        cut in 0..4_usize, tail in "[A-Za-z0-9+/=]{0,6}") {
        const CHARACTERS: &[u8] = b"=A/+-_ \n\\\"zB5\x80\xff";
        let mut text = STANDARD.encode(&data).into_bytes();
        for (at, byte) in edits {
            if !text.is_empty() {
                let at = at.index(text.len());
                text[at] = CHARACTERS[usize::from(byte) % CHARACTERS.len()];
            }
        }
        text.truncate(text.len() - cut.min(text.len()));
        text.extend(tail.bytes());
        let fast = base64_simd::STANDARD.decode_to_vec(&text).ok();
        prop_assert_eq!(fast, STANDARD.decode(&text).ok(), "{}", String::from_utf8_lossy(&text));
        prop_assert_eq!(base64_simd::STANDARD.encode_to_string(&data), STANDARD.encode(&data));
    }
}
