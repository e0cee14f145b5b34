//! Kinesis: `PutRecords`, `PutRecord`, and questions about streams.

use aws_config::{BehaviorVersion, Region, SdkConfig};
use bytes::Bytes;
use meshgate::aws::{AwsOptions, Clients};
use meshgate::model::{Distribution, HashKey, Record, ShardMap, StreamMode, Trouble};
use meshgate::port::INSTANCE_HEADER;
use meshgate::port::{Catalog, CatalogError, MeshSink};
use meshgate::sink::kinesis::KinesisSink;

use crate::upstream::{REGION, Script, Upstream};
use crate::{clients, error, failing_calls, kinesis_sink, record, refs, troubles};

#[tokio::test]
async fn records_arrive_byte_for_byte_and_are_placed() {
    let (upstream, sink) = kinesis_sink().await;
    let mut records = vec![
        record(&b"{\"a\":  1}\n"[..], "k1"),
        record(Vec::from_iter(0u8..=255), "k2"),
        record(Bytes::new(), "é\u{1F600}"),
    ];
    records[1].explicit_hash_key = Some("340282366920938463463374607431768211455".into());
    let results = sink.put("orders", &refs(&records)).await;
    let stored = upstream.records();
    assert_eq!(stored.len(), 3);
    for ((record, stored), result) in records.iter().zip(&stored).zip(&results) {
        assert_eq!(stored.data, record.data);
        assert_eq!(stored.partition_key, record.partition_key);
        assert_eq!(stored.explicit_hash_key, record.explicit_hash_key);
        let placement = result.as_ref().unwrap();
        assert_eq!((&*placement.shard_id, &placement.sequence_number), (&*stored.shard_id, &stored.sequence_number));
    }
    assert_eq!(stored[1].shard_id, "shardId-000000000003", "the last quarter of the ring");
    let call = &upstream.calls("PutRecords")[0];
    assert_eq!(call.headers[INSTANCE_HEADER], "gate-1");
    assert!(call.headers["authorization"].contains(INSTANCE_HEADER), "the header is signed");
    assert!(call.headers["user-agent"].contains("app/meshgate"), "{}", call.headers["user-agent"]);
}

#[tokio::test]
async fn a_record_of_an_auto_stream_has_no_key() {
    let (upstream, sink) = kinesis_sink().await;
    let keyless = Record { partition_key: None, ..record("{}", "") };
    assert!(sink.put("orders", &[&keyless]).await[0].is_ok());
    assert!(upstream.calls("PutRecords")[0].body["Records"][0].get("PartitionKey").is_none());
}

#[tokio::test]
async fn each_failing_call_is_told_for_what_it_is_and_tried_once() {
    let (upstream, sink) = kinesis_sink().await;
    let records = [record("{}", "a")];
    for (script, trouble, said) in failing_calls() {
        let before = upstream.calls("PutRecords").len();
        upstream.script("PutRecords", [script.clone()]);
        let results = sink.put("orders", &refs(&records)).await;
        assert_eq!(upstream.calls("PutRecords").len(), before + 1, "{script:?}: the SDK must not retry");
        let failure = results[0].as_ref().unwrap_err();
        assert_eq!(failure.trouble, trouble, "{script:?}: {}", failure.message);
        assert!(failure.message.starts_with("Kinesis stream \"orders\": "), "{}", failure.message);
        assert!(failure.message.contains(said), "{script:?}: {}", failure.message);
    }
}

#[tokio::test]
async fn nobody_at_home() {
    let upstream = Upstream::start().await;
    let sink = KinesisSink::new(clients(&upstream.url()).kinesis);
    drop(upstream);
    let failure = sink.put("orders", &[&record("{}", "a")]).await.remove(0).unwrap_err();
    assert_eq!(failure.trouble, Trouble::Unavailable);
    assert!(failure.message.contains("the call did not get through"), "{}", failure.message);
}

#[tokio::test]
async fn without_credentials_nothing_is_sent() {
    let upstream = Upstream::start().await;
    let sdk = SdkConfig::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .region(Region::new(REGION))
        .endpoint_url(upstream.url())
        .build();
    let clients = Clients::from_sdk_config(&sdk, &AwsOptions::new("gate-1")).unwrap();
    let results = KinesisSink::new(clients.kinesis).put("orders", &[&record("{}", "a")]).await;
    let failure = results[0].as_ref().unwrap_err();
    assert_eq!(failure.trouble, Trouble::Unavailable);
    assert!(failure.message.contains("credentials"), "{}", failure.message);
    assert!(upstream.calls("PutRecords").is_empty());
}

#[tokio::test]
async fn single_records_fail_inside_a_call() {
    let (upstream, sink) = kinesis_sink().await;
    let codes =
        vec![(0, "ProvisionedThroughputExceededException"), (2, "InternalFailure"), (3, "KMSThrottlingException")];
    upstream.script("PutRecords", [Script::Entries(codes)]);
    let records: Vec<_> = (0..5).map(|i| record(format!("{i}"), "k")).collect();
    let results = sink.put("orders", &refs(&records)).await;
    use Trouble::{Throttled, Unavailable};
    assert_eq!(troubles(&results), [Some(Throttled), None, Some(Unavailable), Some(Throttled), None]);
    assert_eq!(upstream.records().len(), 2);
}

#[tokio::test]
async fn an_answer_of_the_wrong_length_settles_nothing() {
    let (upstream, sink) = kinesis_sink().await;
    upstream.script("PutRecords", [Script::Short]);
    let records = [record("1", "a"), record("2", "b")];
    let results = sink.put("orders", &refs(&records)).await;
    assert_eq!(troubles(&results), [Some(Trouble::Unavailable); 2]);
}

#[tokio::test]
async fn one_record_the_stream_refuses_fails_alone_and_is_not_quoted() {
    let (upstream, sink) = kinesis_sink().await;
    let mut records: Vec<_> = (0..40).map(|i| record(format!("{i}"), "k")).collect();
    records[17] = record(vec![b'x'; 1_048_576], "ann@example.com");
    let results = sink.put("orders", &refs(&records)).await;
    for (index, result) in results.iter().enumerate() {
        assert_eq!(result.is_err(), index == 17, "{index}: {result:?}");
    }
    let failure = results[17].as_ref().unwrap_err();
    assert_eq!(failure.trouble, Trouble::Invalid);
    assert!(!failure.message.contains("ann@"), "{}", failure.message);
    let stored: Vec<_> = upstream.records().into_iter().map(|stored| stored.data).collect();
    let expected: Vec<_> = (0..40).filter(|i| *i != 17).map(|i| Bytes::from(i.to_string())).collect();
    assert_eq!(stored, expected, "each once, in order");
    assert!(upstream.calls("PutRecords").len() <= 13, "halving, not one by one");
}

#[tokio::test]
async fn a_stream_that_refuses_everything_is_not_asked_a_thousand_times() {
    let (upstream, sink) = kinesis_sink().await;
    upstream.script("PutRecords", vec![error(400, "InvalidArgumentException"); 1_000]);
    let records: Vec<_> = (0..500).map(|i| record(format!("{i}"), "k")).collect();
    let results = sink.put("orders", &refs(&records)).await;
    assert_eq!(troubles(&results), vec![Some(Trouble::Rejected); 500]);
    let calls = upstream.calls("PutRecords").len();
    assert!(calls < 100, "{calls} calls for one");
}

#[tokio::test]
async fn a_sequence_number_for_ordering_travels_with_put_record() {
    let (upstream, sink) = kinesis_sink().await;
    let ordered = Record { sequence_for_ordering: Some("4959".into()), ..record("{}", "a") };
    let placed = sink.put("orders", &[&ordered]).await.remove(0).unwrap();
    assert_eq!(upstream.calls("PutRecord")[0].body["SequenceNumberForOrdering"], "4959");
    assert_eq!(placed.sequence_number, upstream.records()[0].sequence_number);
    upstream.script("PutRecord", [error(400, "ProvisionedThroughputExceededException")]);
    assert_eq!(troubles(&sink.put("orders", &[&ordered]).await), [Some(Trouble::Throttled)]);
}

#[tokio::test]
async fn streams_are_listed_and_described_page_by_page() {
    let (upstream, sink) = kinesis_sink().await;
    for name in ["customers", "zebra", "a", "github"] {
        upstream.add_stream(name, 1, 1_024);
    }
    upstream.add_stream("wide", 5, 10_240);
    assert_eq!(sink.list_streams().await.unwrap(), ["a", "customers", "github", "orders", "wide", "zebra"]);
    assert_eq!(upstream.calls("ListStreams").len(), 3);

    let wide = sink.describe("wide").await.unwrap();
    assert_eq!((&*wide.name, &*wide.status, wide.mode), ("wide", "ACTIVE", StreamMode::OnDemand));
    assert_eq!(wide.arn, "arn:aws:kinesis:eu-west-1:123456789012:stream/wide");
    assert_eq!((wide.retention_hours, wide.consumer_count, wide.max_record_size_kib), (24, 1, 10_240));
    assert_eq!((&*wide.encryption, wide.key_id.as_deref()), ("KMS", Some("alias/aws/kinesis")));
    assert_eq!(wide.created.millis(), 1_763_805_605_250);
    assert_eq!(wide.shards.len(), 5);
    assert_eq!(upstream.calls("ListShards").len(), 3);
    let map = ShardMap::new(&wide.shards);
    assert_eq!(&**map.shard_of(HashKey(u128::MAX)).unwrap(), "shardId-000000000004");
    assert!(sink.reader().is_none());

    assert_eq!(wide.distribution, Distribution::Key);
    let auto = r#"{"StreamDescriptionSummary":{"StreamName":"orders","StreamARN":"arn:aws:kinesis:eu-west-1:123456789012:stream/orders",
        "StreamStatus":"ACTIVE","RetentionPeriodHours":24,"StreamCreationTimestamp":1763805605,"EnhancedMonitoring":[],
        "OpenShardCount":1,"RecordDistributionStrategy":"AUTO"}}"#;
    upstream.script("DescribeStreamSummary", [Script::Raw { status: 200, body: auto }]);
    assert_eq!(sink.describe("orders").await.unwrap().distribution, Distribution::Auto);
}

#[tokio::test]
async fn questions_about_streams_fail_by_kind() {
    let (upstream, sink) = kinesis_sink().await;
    assert_eq!(sink.describe("none").await.unwrap_err(), CatalogError::StreamNotFound("none".into()));
    upstream
        .script("DescribeStreamSummary", [error(400, "LimitExceededException"), error(400, "AccessDeniedException")]);
    assert!(matches!(sink.describe("orders").await, Err(CatalogError::Throttled(_))));
    assert!(matches!(sink.describe("orders").await, Err(CatalogError::AccessDenied(_))));
    upstream.script("ListStreams", [Script::Reset]);
    assert!(matches!(sink.list_streams().await, Err(CatalogError::Unavailable(_))));
    let endless = Script::Raw { status: 200, body: r#"{"StreamNames":["a"],"HasMoreStreams":true}"# };
    upstream.script("ListStreams", vec![endless; 200]);
    assert!(matches!(sink.list_streams().await, Err(CatalogError::Unavailable(_))), "a listing without end ends");
    let odd = r#"{"Shards":[{"ShardId":"s","HashKeyRange":{"StartingHashKey":"x","EndingHashKey":"1"},"SequenceNumberRange":{"StartingSequenceNumber":"1"}}]}"#;
    upstream.script("ListShards", [Script::Raw { status: 200, body: odd }]);
    assert!(matches!(sink.describe("orders").await, Err(CatalogError::Unavailable(_))));
}
