use bytes::Bytes;
use expect_test::expect;
use proptest::prelude::*;

use super::*;
use crate::model::{Dimension, Mode, Position, Severity, Stamp, Verdict, Violation, ViolationKind};
use crate::rule::mask::MaskMethod;

fn record(data: &[u8]) -> Record {
    let arrived = Timestamp::from_millis(1_795_000_000_000);
    Record {
        partition_key: Some("ann@example.org".into()),
        position: Position::InRequest { request: "2b5356b6".into(), index: 3 },
        ..Record::new(Bytes::copy_from_slice(data), "customers-events".into(), arrived)
    }
}

fn judgement() -> Judgement {
    Judgement {
        verdict: Verdict::Quarantine,
        violations: vec![Violation {
            rule: "created_not_in_future".into(),
            kind: ViolationKind::Rule,
            pointer: "/data".into(),
            dimension: Some(Dimension::Accuracy),
            severity: Severity::Error,
            mode: Mode::Enforce,
            message: "createdAt is in the future".into(),
        }],
        stamp: Stamp {
            domain: "customers".into(),
            contract: "customer.created".into(),
            version: Some("1.2.0".into()),
            revision: "4f2a9c1".into(),
        }
        .into(),
        refuse: false,
    }
}

fn email() -> Vec<Mask> {
    let spec = MaskSpec { path: "/data/email".into(), classification: None, mask: MaskMethod::Hash };
    vec![Mask::compile(&spec).unwrap()]
}

fn document(data: &[u8], fields: PrivateFields<'_>, keep_masked_only: bool) -> String {
    let event = json::parse(data).ok();
    let privacy = Privacy { fields, keep_masked_only };
    build("0001-id", Timestamp::from_millis(1_795_000_001_000), &record(data), event.is_some(), &judgement(), privacy)
}

const EVENT: &[u8] = b"{\"id\":\"e1\",  \"data\":{\"email\":\"ann@example.org\",\"n\":1.10}}\n";

#[test]
fn the_document_is_self_contained_and_keeps_the_bytes() {
    let document = document(EVENT, PrivateFields::Known(&email()), false);
    expect_test::expect_file!["../../../tests/golden/dlq-document.json"].assert_eq(&document);
    assert_eq!(original(&document).unwrap(), EVENT);
}

#[test]
fn a_traced_request_can_be_found_from_its_letter_whatever_is_kept_of_the_event() {
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
    let trace = crate::model::SpanContext::parse(parent, ["a=1"].into_iter()).map(std::sync::Arc::new);
    for (keep_masked_only, fields) in [(false, &email()[..]), (true, &email()[..]), (true, &[])] {
        let privacy = Privacy { fields: PrivateFields::Known(fields), keep_masked_only };
        let record = Record { trace: trace.clone(), ..record(EVENT) };
        let document = build("1", Timestamp::from_millis(1), &record, true, &judgement(), privacy);
        let expected = serde_json::json!({"traceId": "4bf92f3577b34da6a3ce929d0e0e4736", "spanId": "00f067aa0ba902b7"});
        let shown: Value = serde_json::from_str(&for_display(&document).unwrap()).unwrap();
        assert_eq!(shown["trace"], expected, "{document}");
        assert!(!document.contains("a=1"), "what vendors note is not kept: {document}");
    }
}

#[test]
fn the_record_comes_back_to_be_judged_again() {
    let document = document(EVENT, PrivateFields::Known(&email()), false);
    let (again, quarantined) = original_record(&document).unwrap();
    let first = record(EVENT);
    assert_eq!((&again.data, &again.stream, again.arrived), (&first.data, &first.stream, first.arrived));
    assert_eq!((again.partition_key, again.explicit_hash_key), (first.partition_key, first.explicit_hash_key));
    assert_eq!(quarantined, Timestamp::from_millis(1_795_000_001_000));
}

#[test]
fn people_see_private_fields_masked_the_partition_key_too() {
    let shown = for_display(&document(EVENT, PrivateFields::Known(&email()), false)).unwrap();
    expect_test::expect_file!["../../../tests/golden/dlq-document-shown.json"].assert_eq(&shown);
    assert!(!shown.contains("ann@"));
}

#[test]
fn a_masked_domain_stores_no_private_value_anywhere() {
    let stored = document(EVENT, PrivateFields::Known(&email()), true);
    assert!(!stored.contains("ann@"), "{stored}");
    expect!["the payload was stored masked (dlqPayload: masked), so the original bytes no longer exist and cannot be replayed"]
        .assert_eq(&original(&stored).unwrap_err().to_string());
}

/// As stored by a masked domain, and as shown of another.
fn told(key: &str, data: &str, fields: PrivateFields<'_>) -> [String; 2] {
    let mut record = record(data.as_bytes());
    record.partition_key = Some(key.into());
    record.explicit_hash_key = Some("4930123456".into());
    let event = json::parse(data.as_bytes()).ok();
    [true, false].map(|keep_masked_only| {
        let privacy = Privacy { fields, keep_masked_only };
        let document = build("id", Timestamp::default(), &record, event.is_some(), &judgement(), privacy);
        if keep_masked_only { document } else { for_display(&document).unwrap() }
    })
}

#[test]
fn no_key_gives_a_private_value_away() {
    let data = r#"{"data":{"email":{"home":["Ann@example.org"],"phone":4930123456}}}"#;
    for key in ["Ann@example.org", "ann@EXAMPLE.org", "eu#ann@example.org#7"] {
        for told in told(key, data, PrivateFields::Known(&email())) {
            assert!(!told.to_lowercase().contains("ann@") && !told.contains("4930123456"), "{key}: {told}");
        }
    }
    for told in told("O-000001", r#"{"data":{"email":"O"}}"#, PrivateFields::Known(&email())) {
        assert!(told.contains("O-000001"), "a text of one character is in many keys: {told}");
    }
}

#[test]
fn keys_of_an_event_that_cannot_be_understood_are_withheld_with_it() {
    for data in [r#"{"data":{"email":"ann@example.org""#, r#"{"data":{"email":"ann@example.org"}}"#] {
        for told in told("ann@example.org", data, PrivateFields::Anywhere) {
            assert!(!told.contains("ann@") && !told.contains("4930123456"), "{told}");
        }
    }
}

#[test]
fn what_cannot_be_masked_is_withheld() {
    let broken = &b"{\"email\":\"ann@example.org\""[..];
    let stored = document(broken, PrivateFields::Anywhere, true);
    assert!(original(&stored).is_err());
    assert!(!stored.contains("\"email\""), "{stored}");
    let kept = document(broken, PrivateFields::Anywhere, false);
    assert_eq!(original(&kept).unwrap(), broken);
    let shown = for_display(&kept).unwrap();
    assert!(shown.contains("withheld") && !shown.contains("base64"), "{shown}");
}

#[test]
fn a_private_event_in_base64_is_not_shown() {
    let event = "{\"data\":{\"email\":\"a\u{FFFF}b\"}}".as_bytes();
    let kept = document(event, PrivateFields::Known(&email()), false);
    assert_eq!(original(&kept).unwrap(), event);
    assert!(!for_display(&kept).unwrap().contains("base64"));
}

fn gzip(data: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

/// As [`document`], of the event compressed.
fn compressed_document(data: &[u8], fields: PrivateFields<'_>, keep_masked_only: bool) -> String {
    let well_formed = json::check(data).is_ok();
    let privacy = Privacy { fields, keep_masked_only };
    let quarantined = Timestamp::from_millis(1_795_000_001_000);
    build("0001-id", quarantined, &record(&gzip(data)), well_formed, &judgement(), privacy)
}

#[test]
fn a_compressed_event_is_kept_to_the_byte_and_shown_as_a_plain_one() {
    for fields in [PrivateFields::Known(&email()), PrivateFields::Known(&[])] {
        let kept = compressed_document(EVENT, fields, false);
        assert_eq!(original(&kept).unwrap(), gzip(EVENT));
        let shown: Value = serde_json::from_str(&for_display(&kept).unwrap()).unwrap();
        let plain: Value = serde_json::from_str(&for_display(&document(EVENT, fields, false)).unwrap()).unwrap();
        assert_eq!((&shown["payload"]["json"], &shown["source"]), (&plain["payload"]["json"], &plain["source"]));
        assert_eq!(
            (&shown["payload"]["encoding"], &shown["payload"]["compression"]),
            (&"base64".into(), &"gzip".into())
        );
        assert!(shown["payload"].get("base64").is_none());
    }
}

#[test]
fn a_compressed_event_is_masked_as_a_plain_one_where_only_that_may_be_kept() {
    let stored = compressed_document(EVENT, PrivateFields::Known(&email()), true);
    let plain = document(EVENT, PrivateFields::Known(&email()), true);
    let parsed = [&stored, &plain].map(|text| serde_json::from_str::<Value>(text).unwrap());
    assert_eq!(parsed[0]["payload"]["json"], parsed[1]["payload"]["json"]);
    assert_eq!(parsed[0]["source"], parsed[1]["source"]);
    assert!(!stored.contains("ann@") && !stored.contains("base64"), "{stored}");
    assert!(matches!(original(&stored), Err(DocumentFault::NotOriginal("masked"))));
    assert!(!for_display(&stored).unwrap().contains("ann@"));
}

/// Neither its text nor its bytes, which anyone can inflate.
#[test]
fn what_cannot_be_inflated_and_masked_is_not_shown_nor_kept_masked() {
    let mut damaged = gzip(EVENT);
    let last = damaged.len() - 1;
    damaged[last] ^= 1;
    let too_much = [EVENT, &b" ".repeat(compressed::INFLATED_BYTES_MAX)].concat();
    let not_json = b"{\"email\":\"ann@example.org\"";
    let all = [
        (damaged.clone(), PrivateFields::Known(&email()[..])),
        (gzip(&too_much), PrivateFields::Known(&email()[..])),
        (gzip(not_json), PrivateFields::Known(&email()[..])),
        (gzip(EVENT), PrivateFields::Anywhere),
    ];
    for (data, fields) in all {
        let base64 = BASE64.encode(&data);
        for keep_masked_only in [true, false] {
            let privacy = Privacy { fields, keep_masked_only };
            let kept = build("id", Timestamp::default(), &record(&data), false, &judgement(), privacy);
            assert_eq!(original(&kept).ok(), (!keep_masked_only).then(|| data.clone()));
            for told in [for_display(&kept).unwrap()].into_iter().chain(keep_masked_only.then_some(kept)) {
                assert!(!told.contains("ann@") && !told.contains(&base64[..20]), "{told}");
                assert!(told.contains("withheld"), "{told}");
            }
        }
    }
    // As of plain bytes that are no JSON, where nothing is private.
    let privacy = Privacy { fields: PrivateFields::Known(&[]), keep_masked_only: false };
    let kept = build("id", Timestamp::default(), &record(&damaged), false, &judgement(), privacy);
    assert!(for_display(&kept).unwrap().contains(&BASE64.encode(&damaged)));
}

/// CloudEvents may carry data in base64, where no mask finds anything.
#[test]
fn binary_data_of_a_private_event_is_neither_shown_nor_kept_masked() {
    let data = BASE64.encode(r#"{"email":"ann@example.org"}"#);
    let event =
        format!(r#"{{"specversion":"1.0","type":"t","datacontenttype":"application/json","data_base64":"{data}"}}"#);
    for of in [document, compressed_document] {
        let masked = of(event.as_bytes(), PrivateFields::Known(&email()), true);
        let kept = of(event.as_bytes(), PrivateFields::Known(&email()), false);
        for told in [for_display(&masked).unwrap(), masked, for_display(&kept).unwrap()] {
            assert!(!told.contains(&data) && !told.contains("ann@"), "{told}");
        }
        let public = of(event.as_bytes(), PrivateFields::Known(&[]), false);
        assert!(for_display(&public).unwrap().contains(&data));
    }
}

/// A masked copy that no queue takes would leave its record unsettled for ever.
#[test]
fn a_masked_copy_of_a_compressed_event_fits_a_queue() {
    let many = |element: &str, count: usize| {
        format!("{{\"data\":{{\"all\":[{}{element}]}}}}", format!("{element},").repeat(count))
    };
    let spec = MaskSpec { path: "/data/all/*".into(), classification: None, mask: MaskMethod::Hash };
    let masks = [Mask::compile(&spec).unwrap()];
    for event in [many("\"abcdefghij\"", 100_000), many("1", 100_000)] {
        let kept = compressed_document(event.as_bytes(), PrivateFields::Known(&masks), true);
        assert!(kept.len() < 2_000 && kept.contains("withheld"), "{}", kept.len());
    }
}

#[test]
fn an_event_made_of_a_change_record_is_known_by_its_document() {
    let privacy = Privacy { fields: PrivateFields::Known(&[]), keep_masked_only: false };
    for is_unwrapped in [true, false] {
        let record = Record { is_unwrapped, ..record(EVENT) };
        let kept = build("id", Timestamp::default(), &record, true, &judgement(), privacy);
        assert_eq!(kept.contains("\"unwrapped\":true"), is_unwrapped);
        assert_eq!(original_record(&kept).unwrap().0.is_unwrapped, is_unwrapped);
    }
}

/// serde_json's own marks for numbers and raw text are ordinary keys of an event.
#[test]
fn keys_that_serde_json_uses_itself_hide_nothing() {
    let event =
        br#"{"data":{"email":{"$serde_json::private::RawValue":"\"ann\""},"n":{"$serde_json::private::Number":"x"}}}"#;
    let kept = document(event, PrivateFields::Known(&email()), false);
    assert_eq!(original(&kept).unwrap(), event);
    let shown = for_display(&kept).unwrap();
    assert!(shown.contains("private::Number") && !shown.contains("ann\\"), "{shown}");
}

#[test]
fn other_json_is_refused_with_a_reason() {
    for body in ["", "{}", "[]", "{\"schema\":\"meshgate.dlq/v2\",\"payload\":{\"encoding\":\"json\",\"json\":1}}"] {
        assert!(matches!(original(body), Err(DocumentFault::Unreadable(_))), "{body}");
        assert!(matches!(for_display(body), Err(DocumentFault::Unreadable(_))), "{body}");
    }
}

proptest! {
    /// Whatever stands in private fields of a compressed event, no document and no view of it tells more than of a plain one.
    #[test]
    fn compression_hides_nothing_less(secret in "[a-zA-Z@.]{6,12}", nested: bool, keep_masked_only: bool) {
        let email = if nested { serde_json::json!([{"x": secret}]) } else { serde_json::json!(secret) };
        let event = serde_json::json!({"id": 1, "data": {"email": email, "n": 2}}).to_string();
        let masks = self::email();
        let stored = compressed_document(event.as_bytes(), PrivateFields::Known(&masks), keep_masked_only);
        let shown = for_display(&stored).unwrap();
        let plain = for_display(&document(event.as_bytes(), PrivateFields::Known(&masks), keep_masked_only)).unwrap();
        let parsed = [&shown, &plain].map(|text| serde_json::from_str::<Value>(text).unwrap());
        prop_assert_eq!(&parsed[0]["payload"]["json"], &parsed[1]["payload"]["json"]);
        prop_assert_eq!(&parsed[0]["source"], &parsed[1]["source"]);
        prop_assert!(!shown.contains(&secret), "{}", shown);
        prop_assert!(!keep_masked_only || !stored.contains(&secret), "{}", stored);
    }

    #[test]
    fn any_bytes_come_back_exactly_and_fit_sqs(data in proptest::collection::vec(any::<u8>(), 0..200)) {
        let document = document(&data, PrivateFields::Known(&[]), false);
        prop_assert_eq!(original(&document).unwrap(), data);
        prop_assert!(document.chars().all(sqs_accepts));
    }

    #[test]
    fn any_json_comes_back_exactly_and_fits_sqs(text in ".*", before in "[ \t\r\n]*", after in "[ \t\r\n]*") {
        let data = format!("{before}{}{after}", serde_json::json!({"k": text}));
        let document = document(data.as_bytes(), PrivateFields::Known(&[]), false);
        prop_assert_eq!(original(&document).unwrap(), data.as_bytes());
        prop_assert!(document.chars().all(sqs_accepts));
        prop_assert!(json::check(document.as_bytes()).is_ok());
    }
}
