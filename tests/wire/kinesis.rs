//! What producers see over the Kinesis API: outcomes, errors, paging.

use expect_test::expect;
use serde_json::json;

use crate::client::{H1, H2, Reply};
use crate::world::{REAL_SEQUENCE, World};

const JSON: &str = "application/x-amz-json-1.1";
const CBOR: &str = "application/x-amz-cbor-1.1";

fn error_of(reply: &Reply) -> (u16, String) {
    let body = reply.json();
    let code = body["__type"].as_str().unwrap().to_owned();
    assert_eq!(reply.header("x-amzn-errortype"), Some(&*code));
    assert!(reply.header("x-amzn-requestid").is_some() && reply.header("x-amz-id-2").is_some());
    (reply.status, code)
}

fn base64(text: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(text)
}

#[tokio::test]
async fn each_settlement_is_told_per_record() {
    let world = World::start().await;
    let mut client = H1::connect(world.address).await;
    let words = ["good", "quarantine", "refuse", "drop", "throttle", "unavailable", "reject"];
    let records: Vec<_> = words.iter().map(|w| json!({"Data": base64(w), "PartitionKey": "k"})).collect();
    let reply = client.kinesis("PutRecords", &json!({"StreamName": "orders", "Records": records}).to_string()).await;
    assert_eq!(reply.status, 200);
    expect![[r#"
        {
          "FailedRecordCount": 4,
          "Records": [
            {
              "SequenceNumber": "49680459905836975591833837308859375022985717564049457154",
              "ShardId": "shardId-000000000001"
            },
            {
              "SequenceNumber": "7000000000000000000000000000000000000001",
              "ShardId": "shardId-000000000000"
            },
            {
              "ErrorCode": "InvalidArgumentException",
              "ErrorMessage": "orders/order.placed 1.2.0 refused this record; it is in the dead-letter queue as dl-2; qty_positive: /data/qty: qty is not positive; has_customer: (whole event): the order names no customer"
            },
            {
              "SequenceNumber": "7000000000000000000000000000000000000003",
              "ShardId": "shardId-000000000000"
            },
            {
              "ErrorCode": "ProvisionedThroughputExceededException",
              "ErrorMessage": "The mesh stream is over its rate. The record was not taken; retry it later."
            },
            {
              "ErrorCode": "InternalFailure",
              "ErrorMessage": "Internal Service Failure: The mesh stream did not answer. Retry the record."
            },
            {
              "ErrorCode": "InternalFailure",
              "ErrorMessage": "Internal Service Failure: The gate may not write to the mesh stream. Keep the record: repeating it does not help until the gate's operator has mended this."
            }
          ]
        }"#]]
    .assert_eq(&serde_json::to_string_pretty(&reply.json()).unwrap());
    for (word, expected) in [
        ("refuse", (400, "InvalidArgumentException")),
        ("throttle", (400, "ProvisionedThroughputExceededException")),
        ("unavailable", (500, "InternalFailureException")),
        ("reject", (500, "InternalFailureException")),
    ] {
        let put = json!({"StreamName": "orders", "Data": base64(word), "PartitionKey": "k"});
        let (status, code) = error_of(&client.kinesis("PutRecord", &put.to_string()).await);
        assert_eq!((status, &*code), expected, "{word}");
    }
    world.stopped().await;
}

#[tokio::test]
async fn requests_are_refused_with_the_codes_of_kinesis() {
    let world = World::start().await;
    let mut client = H1::connect(world.address).await;
    let many = |count: usize| {
        let records = vec![json!({"Data": "eA==", "PartitionKey": "k"}); count];
        json!({"StreamName": "orders", "Records": records}).to_string()
    };
    let put = |more: serde_json::Value| {
        let mut put = json!({"StreamName": "orders", "Data": "eA==", "PartitionKey": "k"});
        put.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        put.to_string()
    };
    let cases = [
        ("PutRecords", many(500), None),
        ("PutRecords", many(501), Some("ValidationException")),
        ("PutRecords", many(0), Some("ValidationException")),
        ("PutRecords", "{\"StreamName\":\"orders\"}".into(), Some("ValidationException")),
        ("PutRecord", put(json!({"Data": "b@d"})), Some("SerializationException")),
        ("PutRecord", put(json!({"Data": 1})), Some("SerializationException")),
        ("PutRecord", put(json!({"Data": null})), Some("ValidationException")),
        ("PutRecord", "{".into(), Some("SerializationException")),
        ("PutRecord", "[]".into(), Some("SerializationException")),
        ("PutRecord", String::new(), Some("InvalidArgumentException")),
        ("PutRecord", put(json!({"StreamName": "nope"})), Some("ResourceNotFoundException")),
        ("PutRecord", put(json!({"StreamName": "busy"})), Some("ProvisionedThroughputExceededException")),
        ("PutRecord", put(json!({"StreamName": "a b"})), Some("ValidationException")),
        ("PutRecord", put(json!({"PartitionKey": ""})), Some("ValidationException")),
        ("PutRecord", put(json!({"PartitionKey": null})), Some("ValidationException")),
        ("PutRecord", put(json!({"PartitionKey": "é".repeat(256)})), None),
        ("PutRecord", put(json!({"PartitionKey": "é".repeat(257)})), Some("ValidationException")),
        ("PutRecord", put(json!({"ExplicitHashKey": "01"})), Some("ValidationException")),
        ("PutRecord", put(json!({"ExplicitHashKey": "9".repeat(39)})), Some("InvalidArgumentException")),
        ("PutRecord", put(json!({"DryRun": true})), Some("DryRunOperationException")),
        ("PutRecord", put(json!({"DryRun": false, "Unknown": [[{}]]})), None),
        ("DescribeStream", "{\"StreamName\":\"gone\"}".into(), Some("ResourceNotFoundException")),
        ("DescribeStream", "{\"StreamName\":\"orders\",\"Limit\":0}".into(), Some("ValidationException")),
        ("ListShards", "{\"NextToken\":\"x\"}".into(), Some("InvalidArgumentException")),
        ("GetRecords", "{\"ShardIterator\":\"x\"}".into(), Some("InvalidArgumentException")),
        ("GetRecords", "{}".into(), Some("ValidationException")),
        ("CreateStream", "{}".into(), Some("UnsupportedOperationException")),
        ("NoSuchThing", "{}".into(), Some("UnknownOperationException")),
    ];
    for (operation, body, expected) in cases {
        let reply = client.kinesis(operation, &body).await;
        let code = (reply.status != 200).then(|| error_of(&reply).1);
        let shown: String = body.chars().take(80).collect();
        assert_eq!(code.as_deref(), expected, "{operation} {shown}: {}", reply.text());
    }
    assert_eq!(
        world.metric("meshgate_requests_total{operation=\"other\",source=\"kinesis_api\",status=\"4xx\"}"),
        Some("1".into())
    );
    assert_eq!(
        world.metric("meshgate_requests_total{operation=\"CreateStream\",source=\"kinesis_api\",status=\"4xx\"}"),
        Some("1".into())
    );
    world.stopped().await;
}

#[tokio::test]
async fn sizes_are_bounded_as_on_aws() {
    let world = World::start().await;
    let mut client = H1::connect(world.address).await;
    let mib = 1024 * 1024;
    let record = |bytes: usize, key: &str| json!({"Data": base64(&"x".repeat(bytes)), "PartitionKey": key});
    let put = |records: Vec<serde_json::Value>| json!({"StreamName": "orders", "Records": records}).to_string();
    let whole = put(vec![record(10 * mib - 1, "k")]);
    assert_eq!(client.kinesis("PutRecords", &whole).await.status, 200);
    for too_much in [put(vec![record(10 * mib, "k")]), put(vec![record(5 * mib, "k"), record(5 * mib, "k")])] {
        let reply = client.kinesis("PutRecords", &too_much).await;
        assert_eq!(error_of(&reply), (400, "InvalidArgumentException".into()), "{}", reply.text());
    }
    let reply = client.kinesis("PutRecords", &put(vec![record(10 * mib + 1, "k")])).await;
    assert_eq!(error_of(&reply), (400, "ValidationException".into()));
    world.stopped().await;
}

#[tokio::test]
async fn shedding_load_says_when_to_come_back() {
    let world = World::start().await;
    let mut client = H1::connect(world.address).await;
    let put = json!({"StreamName": "busy", "Data": "eA==", "PartitionKey": "k"});
    let reply = client.kinesis("PutRecord", &put.to_string()).await;
    assert_eq!(reply.status, 400);
    assert!(reply.header("x-amz-retry-after").unwrap().parse::<u64>().unwrap() >= 100);
    world.stopped().await;
}

#[tokio::test]
async fn errors_mirror_the_encoding_of_the_request() {
    let world = World::start().await;
    let mut client = H1::connect(world.address).await;
    for (target, content_type, status, code) in [
        ("Kinesis_20131202.PutRecord", CBOR, 400, "SerializationException"),
        ("Kinesis_20131202.SplitShard", CBOR, 400, "UnsupportedOperationException"),
        ("DynamoDB_20120810.PutItem", "application/x-amz-json-1.0", 400, "UnknownOperationException"),
        ("Kinesis_20131202.PutRecord", "text/plain", 415, "SerializationException"),
    ] {
        let reply = client.post("/", &[("X-Amz-Target", target), ("Content-Type", content_type)], b"\xff").await;
        assert_eq!((reply.status, reply.header("x-amzn-errortype")), (status, Some(code)), "{target}");
        if content_type == CBOR {
            assert_eq!(reply.header("content-type"), Some(CBOR));
            assert!(crate::cbor::diagnostic(&reply.body).contains(&format!("\"__type\": \"{code}\"")));
        } else {
            assert_eq!(reply.header("content-type"), Some(JSON));
            assert_eq!(error_of(&reply).1, code);
        }
    }
    world.stopped().await;
}

#[tokio::test]
async fn every_operation_answers_in_cbor() {
    let world = World::start().await;
    let mut client = H1::connect(world.address).await;
    for (operation, members) in [
        ("PutRecord", 2),
        ("PutRecords", 2),
        ("ListShards", 1),
        ("ListStreams", 3),
        ("DescribeStream", 1),
        ("DescribeStreamSummary", 1),
        ("GetShardIterator", 1),
    ] {
        let mut body = minicbor::Encoder::new(Vec::new());
        let _ = body.begin_map().unwrap().str("StreamName").unwrap().str("orders").unwrap();
        let _ = body.str("ShardId").unwrap().str("shardId-000000000000").unwrap();
        let _ = body.str("ShardIteratorType").unwrap().str("TRIM_HORIZON").unwrap();
        let _ = body.str("Data").unwrap().bytes(b"{}").unwrap().str("PartitionKey").unwrap().str("k").unwrap();
        let _ = body.str("Records").unwrap().array(1).unwrap().map(2).unwrap();
        let _ = body.str("Data").unwrap().bytes(b"{}").unwrap().str("PartitionKey").unwrap().str("k").unwrap();
        let _ = body.end().unwrap();
        let target = format!("Kinesis_20131202.{operation}");
        let reply = client.post("/", &[("X-Amz-Target", &target), ("Content-Type", CBOR)], body.writer()).await;
        assert_eq!((reply.status, reply.header("content-type")), (200, Some(CBOR)), "{operation}");
        assert_eq!(minicbor::Decoder::new(&reply.body).map().unwrap(), Some(members), "{operation}");
    }
    world.stopped().await;
}

#[tokio::test]
async fn the_gate_refuses_itself_and_compression() {
    let world = World::start().await;
    let mut client = H1::connect(world.address).await;
    let body = json!({"StreamName": "orders", "Data": "eA==", "PartitionKey": "k"}).to_string();
    let put = |more: (&'static str, &'static str)| {
        [("X-Amz-Target", "Kinesis_20131202.PutRecord"), ("Content-Type", JSON), more]
    };
    let reply = client.post("/", &put(("x-meshgate-instance", "gate-1")), body.as_bytes()).await;
    assert_eq!(error_of(&reply), (400, "InvalidArgumentException".into()));
    assert!(reply.text().contains("AWS_ENDPOINT_URL_KINESIS"));
    let reply = client.post("/", &put(("Content-Encoding", "gzip")), body.as_bytes()).await;
    assert_eq!(error_of(&reply), (415, "SerializationException".into()));
    assert!(world.script.take_calls().is_empty());
    let reply = client.post("/", &put(("x-meshgate-instance", "gate-2")), body.as_bytes()).await;
    assert_eq!(reply.status, 200);
    world.stopped().await;
}

#[tokio::test]
async fn a_number_of_ours_is_not_passed_on_for_ordering() {
    let world = World::start().await;
    let mut client = H1::connect(world.address).await;
    for (number, passed) in [(&*format!("7{:039}", 3), "none"), (REAL_SEQUENCE, REAL_SEQUENCE)] {
        let put =
            json!({"StreamName": "orders", "Data": "eA==", "PartitionKey": "k", "SequenceNumberForOrdering": number});
        assert_eq!(client.kinesis("PutRecord", &put.to_string()).await.status, 200);
        let call = world.script.take_calls().remove(0);
        assert!(call.contains(&format!("after={passed:?}")), "{call}");
    }
    world.stopped().await;
}

#[tokio::test]
async fn a_source_stream_is_described_under_the_name_that_was_asked() {
    let world = World::start().await;
    let mut client = H1::connect(world.address).await;
    let reply = client.kinesis("DescribeStreamSummary", "{\"StreamName\":\"raw-orders\"}").await.json();
    let summary = &reply["StreamDescriptionSummary"];
    assert_eq!(summary["StreamName"], "raw-orders");
    assert_eq!(summary["StreamARN"], "arn:aws:kinesis:us-east-1:000000000000:stream/raw-orders");
    assert_eq!(summary["OpenShardCount"], 2);
    assert_eq!(summary["StreamCreationTimestamp"].to_string(), "1763800000.5");
    assert_eq!(world.script.take_calls(), ["describe orders"]);
    world.stopped().await;
}

#[tokio::test]
async fn lists_are_paged_without_gap() {
    let world = World::start().await;
    let mut client = H1::connect(world.address).await;
    let mut names = Vec::new();
    let mut ask = json!({"Limit": 2});
    loop {
        let page = client.kinesis("ListStreams", &ask.to_string()).await.json();
        names.extend(page["StreamNames"].as_array().unwrap().iter().map(|n| n.as_str().unwrap().to_owned()));
        assert_eq!(page["StreamSummaries"].as_array().unwrap().len(), page["StreamNames"].as_array().unwrap().len());
        if page["HasMoreStreams"] == json!(false) {
            break;
        }
        ask = json!({"Limit": 2, "NextToken": page["NextToken"]});
    }
    assert_eq!(names, ["customers", "orders", "raw-orders"]);

    let first = client.kinesis("ListShards", "{\"StreamName\":\"orders\",\"MaxResults\":1}").await.json();
    let rest = client.kinesis("ListShards", &json!({"NextToken": first["NextToken"]}).to_string()).await.json();
    assert_eq!(
        (&first["Shards"][0]["ShardId"], &rest["Shards"][0]["ShardId"]),
        (&json!("shardId-000000000000"), &json!("shardId-000000000001"))
    );
    assert_eq!(rest.get("NextToken"), None);

    let first = client.kinesis("DescribeStream", "{\"StreamName\":\"orders\",\"Limit\":1}").await.json();
    assert_eq!(first["StreamDescription"]["HasMoreShards"], json!(true));
    let ask = json!({"StreamName": "orders", "ExclusiveStartShardId": "shardId-000000000000"});
    let rest = client.kinesis("DescribeStream", &ask.to_string()).await.json();
    assert_eq!(rest["StreamDescription"]["HasMoreShards"], json!(false));
    assert_eq!(rest["StreamDescription"]["Shards"].as_array().unwrap().len(), 1);
    world.stopped().await;
}

#[tokio::test]
async fn reading_back_is_for_embedded_streams() {
    let world = World::unreadable().await;
    let mut client = H1::connect(world.address).await;
    let asked = r#"{"StreamName":"orders","ShardId":"shardId-000000000001","ShardIteratorType":"LATEST"}"#;
    let reply = client.kinesis("GetShardIterator", asked).await;
    assert_eq!(error_of(&reply), (400, "UnsupportedOperationException".into()));
    world.stopped().await;
}

#[tokio::test]
async fn both_protocols_share_the_port() {
    let world = World::start().await;
    let put = json!({"StreamName": "orders", "Data": "eA==", "PartitionKey": "k"}).to_string();
    let mut h1 = H1::connect(world.address).await;
    let mut h2 = H2::connect(world.address).await;
    let headers = [("x-amz-target", "Kinesis_20131202.PutRecord"), ("content-type", JSON)];
    for _ in 0..3 {
        assert_eq!(h1.post("/", &headers, put.as_bytes()).await.status, 200);
        assert_eq!(h2.post("/", &headers, put.as_bytes()).await.status, 200);
    }
    assert_eq!(world.metric("meshgate_connections "), Some("2".into()));
    let counted =
        world.metric("meshgate_requests_total{operation=\"PutRecord\",source=\"kinesis_api\",status=\"2xx\"}");
    assert_eq!(counted, Some("6".into()));
    world.stopped().await;
}

/// `AWS_ENDPOINT_URL_KINESIS` may have a path: botocore posts to `/pfx`, the SDKs for Rust and JavaScript to `/pfx/`.
#[tokio::test]
async fn an_endpoint_may_have_a_path() {
    let world = World::start().await;
    let mut client = H1::connect(world.address).await;
    let put = json!({"StreamName": "orders", "Data": base64("x"), "PartitionKey": "k"}).to_string();
    let headers = [("X-Amz-Target", "Kinesis_20131202.PutRecord"), ("Content-Type", JSON)];
    for path in ["/pfx", "/pfx/", "//", "/?x=1"] {
        let reply = client.post(path, &headers, put.as_bytes()).await;
        assert_eq!(reply.status, 200, "{path}: {}", reply.text());
    }
    world.stopped().await;
}
