use expect_test::expect;
use proptest::prelude::*;
use serde_json::json;

use super::*;

/// A change record in the form that AWS writes (recorded for LocalStack's tests), with these parts.
fn change(name: &str, image: &Value) -> Value {
    json!({
        "awsRegion": "eu-central-1",
        "eventID": "5f6a",
        "eventName": name,
        "userIdentity": null,
        "recordFormat": "application/json",
        "tableName": "outbox",
        "dynamodb": {
            "ApproximateCreationDateTime": 1_795_341_605_123_i64,
            "Keys": {"id": {"S": "e-1"}},
            "NewImage": image,
            "SizeBytes": 99,
        },
        "eventSource": "aws:dynamodb",
    })
}

fn item() -> Value {
    json!({
        "id": {"S": "e-1"},
        "type": {"S": "order.placed"},
        "aggregatetype": {"S": "order"},
        "aggregateid": {"S": "O-1"},
        "payload": {"S": "{ \"total\" : 1.50e0, \"note\":\"\\u00e9\"}"},
    })
}

fn of(record: &Value, outbox: &Outbox) -> Result<Unwrapped, Fault> {
    unwrap(record.to_string().as_bytes(), outbox)
}

fn event_of(record: &Value) -> (String, String) {
    match of(record, &Outbox::default()) {
        Ok(Unwrapped::Event { data, partition_key }) => (String::from_utf8(data).unwrap(), partition_key),
        other => panic!("{other:?}"),
    }
}

fn fault(item: &Value) -> String {
    of(&change("INSERT", item), &Outbox::default()).unwrap_err().to_string()
}

#[test]
fn an_inserted_item_is_an_event_with_its_text_byte_for_byte() {
    let (event, key) = event_of(&change("INSERT", &item()));
    expect![[r#"{"specversion":"1.0","id":"e-1","source":"/dynamodb/outbox","type":"order.placed","time":"2026-11-22T10:00:05.123Z","datacontenttype":"application/json","data":{ "total" : 1.50e0, "note":"\u00e9"}}"#]]
        .assert_eq(&event);
    assert_eq!(key, "O-1");
}

#[test]
fn a_map_becomes_json_with_its_numbers_as_they_are() {
    let mut item = item();
    item["payload"] = json!({"M": {
        "z": {"N": "123456789012345678901234567890.12345678"},
        "a": {"L": [{"N": "-0.00"}, {"NULL": true}, {"BOOL": false}, {"S": "é\"\n"}, {"L": []}, {"M": {}}]},
        "b": {"B": "AAH/"},
        "ss": {"SS": ["b", "a"]},
        "ns": {"NS": ["2", "1.10"]},
        "bs": {"BS": ["AQ==", "AA=="]},
    }});
    let (event, _) = event_of(&change("INSERT", &item));
    let data = event.split_once("\"data\":").unwrap().1;
    expect![[r#"{"a":[-0.00,null,false,"é\"\n",[],{}],"b":"AAH/","bs":["AA==","AQ=="],"ns":[1.10,2],"ss":["a","b"],"z":123456789012345678901234567890.12345678}}"#]]
        .assert_eq(data);
}

#[test]
fn other_changes_are_what_the_route_says() {
    let quarantine = Outbox { on_modify: OnModify::Quarantine, on_remove: OnRemove::Quarantine, ..Outbox::default() };
    let (modify, remove) = (change("MODIFY", &item()), change("REMOVE", &Value::Null));
    let ignored = |change| Ok(Unwrapped::Ignored(change));
    assert_eq!(of(&modify, &Outbox::default()), ignored(Change::Modified));
    assert_eq!(of(&remove, &Outbox::default()), ignored(Change::Removed));
    assert_eq!(of(&modify, &quarantine), Ok(Unwrapped::Quarantine(Change::Modified)));
    assert_eq!(of(&remove, &quarantine), Ok(Unwrapped::Quarantine(Change::Removed)));
    let mut expired = remove;
    expired["userIdentity"] = json!({"type": "Service", "principalId": "dynamodb.amazonaws.com"});
    assert_eq!(of(&expired, &quarantine), ignored(Change::Expired));
    let as_event = Outbox { on_modify: OnModify::Event, ..Outbox::default() };
    assert_eq!(of(&modify, &as_event), of(&change("INSERT", &item()), &as_event));
}

#[test]
fn attributes_are_those_that_the_route_names() {
    let outbox = Outbox {
        id: "pk".into(),
        event_type: "t".into(),
        key: "k".into(),
        payload: "d".into(),
        source: Some("urn:shop".into()),
        ..Outbox::default()
    };
    let item = json!({"pk": {"N": "17"}, "t": {"S": "a"}, "k": {"N": "4.2"}, "d": {"L": [{"N": "1"}]}});
    let Ok(Unwrapped::Event { data, partition_key }) = of(&change("INSERT", &item), &outbox) else { panic!() };
    let event: Value = json::parse(&data).unwrap();
    assert_eq!((&event["id"], &event["source"], &event["data"]), (&json!("17"), &json!("urn:shop"), &json!([1])));
    assert_eq!(partition_key, "4.2");
}

#[test]
fn faults_name_the_attribute_and_no_value() {
    let with = |name: &str, value: Value| {
        let mut item = item();
        item[name] = value;
        fault(&item)
    };
    let without = |name: &str| {
        let mut item = item();
        item.as_object_mut().unwrap().remove(name);
        fault(&item)
    };
    let told = [
        without("id"),
        without("payload"),
        with("id", json!({"S": ""})),
        with("type", json!({"N": "1"})),
        with("aggregateid", json!({"S": "k".repeat(257)})),
        with("aggregateid", json!({"S": "secret", "N": "1"})),
        with("payload", json!({"S": "{\"secret\":"})),
        with("payload", json!({"S": "1,\"id\":\"other\""})),
        with("payload", json!({"B": "e30="})),
        with("payload", json!({"M": {"secret": {"N": "007"}}})),
        with("payload", json!({"M": {"secret": {"N": "NaN"}}})),
        with("payload", json!({"L": [{"N": " 1"}]})),
        with("payload", json!({"L": [{"NULL": false}]})),
        with("payload", json!({"S": "[".repeat(100) + &"]".repeat(100)})),
    ];
    expect![[r#"
        the outbox item has no attribute "id"
        the outbox item has no attribute "payload"
        the outbox attribute "id" must be a string or number that is not empty (S, N)
        the outbox attribute "type" must be a string that is not empty (S)
        the outbox attribute "aggregateid" must be a string or number of 1 to 256 characters (S, N)
        the outbox attribute "aggregateid" holds what is no value of DynamoDB's
        the outbox attribute "payload" holds text that is not well-formed JSON: unexpected end at byte 10
        the outbox attribute "payload" holds text that is not well-formed JSON: trailing bytes at byte 1
        the outbox attribute "payload" must be JSON text in a string (S), a map (M) or a list (L)
        the outbox attribute "payload" holds what is no value of DynamoDB's
        the outbox attribute "payload" holds what is no value of DynamoDB's
        the outbox attribute "payload" holds what is no value of DynamoDB's
        the outbox attribute "payload" holds what is no value of DynamoDB's
        the event that the outbox item makes is not well-formed JSON: nesting deeper than 100 at byte 259
    "#]]
    .assert_eq(&told.map(|line| line + "\n").concat());
}

#[test]
fn what_is_no_change_record_is_told_so() {
    let told = |data: &str| unwrap(data.as_bytes(), &Outbox::default()).unwrap_err().to_string() + "\n";
    let mut without_table = change("INSERT", &item());
    without_table.as_object_mut().unwrap().remove("tableName");
    let told = [
        told("{"),
        told("[]"),
        told(r#"{"specversion":"1.0","id":"1","source":"/","type":"t","data":{}}"#),
        told(r#"{"eventSource":"aws:dynamodb","eventName":"UPSERT"}"#),
        told(r#"{"eventSource":"aws:dynamodb","eventName":"INSERT","dynamodb":{}}"#),
        told(&without_table.to_string()),
    ];
    expect![[r#"
        not a change record of DynamoDB, which its route says it is (outbox): not well-formed JSON: unexpected end at byte 1
        not a change record of DynamoDB, which its route says it is (outbox): eventSource is missing or not of its form
        not a change record of DynamoDB, which its route says it is (outbox): eventSource is missing or not of its form
        not a change record of DynamoDB, which its route says it is (outbox): eventName is missing or not of its form
        not a change record of DynamoDB, which its route says it is (outbox): dynamodb.NewImage is missing or not of its form
        not a change record of DynamoDB, which its route says it is (outbox): tableName is missing or not of its form
    "#]]
    .assert_eq(&told.concat());
}

#[test]
fn times_are_told_apart_by_their_size() {
    let time = |text: &str| time(&text.parse().unwrap());
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(time("1795341605"), some("2026-11-22T10:00:05Z"));
    assert_eq!(time("1795341605.5"), some("2026-11-22T10:00:05.500Z"));
    assert_eq!(time("1795341605123"), some("2026-11-22T10:00:05.123Z"));
    assert_eq!(time("1795341605123456"), some("2026-11-22T10:00:05.123456Z"));
    assert_eq!(time("1.795341605E9"), some("2026-11-22T10:00:05Z"));
    for none in ["-1", "-1.5", "100000000000000000", "1e300", "99999999999999999999"] {
        assert_eq!(time(none), None, "{none}");
    }
}

/// A value of DynamoDB's, and the JSON it means.
fn typed() -> impl Strategy<Value = (Value, Value)> {
    let number = "-?(0|[1-9][0-9]{0,37})(\\.[0-9]{1,20})?([eE][+-]?[0-9]{1,2})?";
    let leaf = prop_oneof![
        number.prop_map(|n| (json!({"N": n}), Value::Number(n.parse().unwrap()))),
        ".{0,8}".prop_map(|s| (json!({"S": s}), json!(s))),
        any::<bool>().prop_map(|b| (json!({"BOOL": b}), json!(b))),
        Just((json!({"NULL": true}), Value::Null)),
    ];
    leaf.prop_recursive(5, 30, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(|all| {
                let (typed, plain): (Vec<_>, Vec<_>) = all.into_iter().unzip();
                (json!({"L": typed}), json!(plain))
            }),
            prop::collection::btree_map("[a-zA-Z$:é]{0,4}", inner, 0..5).prop_map(|all| {
                let typed: Map<_, _> = all.iter().map(|(key, (typed, _))| (key.clone(), typed.clone())).collect();
                let plain: Map<_, _> = all.into_iter().map(|(key, (_, plain))| (key, plain)).collect();
                (json!({"M": typed}), Value::Object(plain))
            }),
        ]
    })
}

proptest! {
    #[test]
    fn values_survive_exactly((typed, plain) in typed()) {
        let mut item = item();
        item["payload"] = json!({"L": [typed]});
        let (event, _) = event_of(&change("INSERT", &item));
        let event = json::parse(event.as_bytes()).unwrap();
        prop_assert_eq!(&event["data"][0], &plain);
        prop_assert_eq!(event["data"][0].to_string(), plain.to_string());
    }

    #[test]
    fn a_numbers_text_survives(number in "-?(0|[1-9][0-9]{0,37})(\\.[0-9]{1,20})?([eE][+-]?[0-9]{1,2})?") {
        let mut item = item();
        item["payload"] = json!({"L": [{"N": number}]});
        let (event, _) = event_of(&change("INSERT", &item));
        prop_assert!(event.ends_with(&format!("\"data\":[{number}]}}")), "{}", event);
    }

    /// Whatever order DynamoDB writes the members in, and however often.
    #[test]
    fn the_order_of_members_changes_nothing((typed, _) in typed()) {
        fn reversed(value: &Value) -> Value {
            match value {
                Value::Object(members) => members.iter().rev().map(|(k, v)| (k.clone(), reversed(v))).collect(),
                Value::Array(elements) => elements.iter().map(reversed).collect(),
                scalar => scalar.clone(),
            }
        }
        let mut item = item();
        item["payload"] = json!({"L": [typed]});
        let record = change("INSERT", &item);
        prop_assert_eq!(event_of(&reversed(&record)), event_of(&record));
    }

    #[test]
    fn no_text_adds_members(payload in "[\\[\\]{}:,\"0-9a-z ]{0,30}", id in ".{1,10}", event_type in ".{1,10}") {
        let mut item = item();
        item["payload"]["S"] = json!(payload);
        item["id"]["S"] = json!(id);
        item["type"]["S"] = json!(event_type);
        if let Ok(Unwrapped::Event { data, .. }) = of(&change("INSERT", &item), &Outbox::default()) {
            let event = json::parse(&data).unwrap();
            let names: Vec<_> = event.as_object().unwrap().keys().map(String::as_str).collect();
            prop_assert_eq!(names, ["specversion", "id", "source", "type", "time", "datacontenttype", "data"]);
            prop_assert_eq!((&event["id"], &event["type"]), (&json!(id), &json!(event_type)));
        }
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..100), at in any::<prop::sample::Index>()) {
        let mut record = change("INSERT", &item()).to_string().into_bytes();
        let at = at.index(record.len());
        record.splice(at..(at + 2).min(record.len()), bytes.iter().copied().take(3));
        let _ = unwrap(&record, &Outbox::default());
        let _ = unwrap(&bytes, &Outbox::default());
    }
}
