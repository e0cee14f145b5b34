//! Reading shards from a stand-in that fails in every way Kinesis does, and sends events as slowly as it does.

use std::time::Duration;

use bytes::Bytes;
use flate2::Crc;
use meshgate::model::Timestamp;
use meshgate::port::{ReadError, ReadFrom, ShardReader, Subscription};
use meshgate::source::kinesis_stream::aws::KinesisReader;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::upstream::{Script, Upstream};
use crate::{clients, error};

const ARN: &str = "arn:aws:kinesis:eu-west-1:123456789012:stream/orders/consumer/gates:1";
const DESCRIBED: &str = r#"{"ConsumerDescription": {"ConsumerName": "gates", "ConsumerStatus": "ACTIVE", "ConsumerCreationTimestamp": 1,
    "ConsumerARN": "arn:aws:kinesis:eu-west-1:123456789012:stream/orders/consumer/gates:1", "StreamARN": "arn"}}"#;

async fn reader() -> (Upstream, KinesisReader) {
    let upstream = Upstream::start().await;
    upstream.add_stream("orders", 5, 1_024);
    let reader = KinesisReader::new(clients(&upstream.url()).kinesis);
    (upstream, reader)
}

fn raw(body: &'static str) -> Script {
    Script::Raw { status: 200, body }
}

/// Which kind of error it is, so that a table can name it.
fn kind(error: &ReadError) -> &'static str {
    match error {
        ReadError::Throttled(_) => "throttled",
        ReadError::ExpiredIterator => "expired",
        ReadError::NotFound(_) => "not found",
        ReadError::Refused(_) => "refused",
        ReadError::Unavailable(_) => "unavailable",
    }
}

fn failures() -> Vec<(Script, &'static str, &'static str)> {
    vec![
        (error(400, "ExpiredIteratorException"), "expired", "5 minutes"),
        (error(400, "ProvisionedThroughputExceededException"), "throttled", "add shards"),
        (error(400, "LimitExceededException"), "throttled", "back-off"),
        (error(400, "ResourceInUseException"), "throttled", "back-off"),
        (error(400, "KMSThrottlingException"), "throttled", "KMS quota"),
        (error(400, "ResourceNotFoundException"), "not found", "create it"),
        (error(400, "AccessDeniedException"), "refused", "allow it to the gate's role"),
        (error(400, "KMSAccessDeniedException"), "refused", "encryption key"),
        (error(400, "KMSDisabledException"), "refused", "encryption key"),
        (error(400, "KMSInvalidStateException"), "refused", "encryption key"),
        (error(400, "KMSNotFoundException"), "refused", "encryption key"),
        (error(400, "KMSOptInRequired"), "refused", "encryption key"),
        (error(400, "InvalidArgumentException"), "refused", "invalid"),
        (error(400, "ExpiredNextTokenException"), "unavailable", "anew"),
        (error(400, "ExpiredTokenException"), "unavailable", "renew"),
        (error(500, "InternalFailureException"), "unavailable", "back-off"),
        (error(503, "ServiceUnavailable"), "unavailable", "back-off"),
        (raw("<html>captive portal"), "unavailable", "could not be read"),
        (Script::Raw { status: 502, body: "<html>" }, "unavailable", "HTTP 502"),
        (Script::Reset, "unavailable", "did not get through"),
        (Script::Slow(Duration::from_secs(30)), "unavailable", "took too long"),
    ]
}

#[tokio::test]
async fn each_failing_call_is_told_for_what_it_is_and_tried_once() {
    let (upstream, reader) = reader().await;
    for (script, expected, said) in failures() {
        for operation in ["GetRecords", "GetShardIterator", "ListShards", "SubscribeToShard"] {
            upstream.script("DescribeStreamConsumer", [raw(DESCRIBED)]);
            let before = upstream.calls(operation).len();
            upstream.script(operation, [script.clone()]);
            let failed = match operation {
                "GetRecords" => reader.records("orders", "secret-iterator", 10).await.map(drop),
                "GetShardIterator" => reader.iterator("orders", "shard", ReadFrom::Latest).await.map(drop),
                "ListShards" => reader.shards("orders").await.map(drop),
                _ => reader.subscribe("orders", ARN, "shard", ReadFrom::Latest).await.map(drop),
            };
            let failed = failed.expect_err(operation);
            assert_eq!(upstream.calls(operation).len(), before + 1, "{script:?}: the SDK must not retry");
            let told = failed.to_string();
            assert_eq!(kind(&failed), expected, "{operation}, {script:?}: {told}");
            assert!(told.contains(said), "{operation}, {script:?}: {told}");
            assert!(!told.contains("secret") && !told.contains("stored"), "{told}");
            assert_eq!(told.contains("Kinesis stream \"orders\": "), expected != "expired", "{told}");
        }
    }
}

#[tokio::test]
async fn all_pages_of_shards_are_read_and_no_more_than_there_can_be() {
    let (upstream, reader) = reader().await;
    let shards = reader.shards("orders").await.unwrap();
    assert_eq!(shards.len(), 5);
    assert_eq!(upstream.calls("ListShards").len(), 3);
    upstream.script("ListShards", vec![raw(r#"{"Shards": [], "NextToken": "more"}"#); 200]);
    let endless = reader.shards("orders").await.unwrap_err();
    assert!(endless.to_string().contains("shards without end"), "{endless}");
}

#[tokio::test]
async fn each_place_to_begin_is_asked_for_as_kinesis_names_it() {
    let (upstream, reader) = reader().await;
    let at = Timestamp::from_millis(1_764_310_000_123);
    for (from, expected) in [
        (ReadFrom::TrimHorizon, r#"{"StreamName":"orders","ShardId":"shard","ShardIteratorType":"TRIM_HORIZON"}"#),
        (ReadFrom::Latest, r#"{"StreamName":"orders","ShardId":"shard","ShardIteratorType":"LATEST"}"#),
        (
            ReadFrom::AtSequence("7"),
            r#"{"StreamName":"orders","ShardId":"shard","ShardIteratorType":"AT_SEQUENCE_NUMBER","StartingSequenceNumber":"7"}"#,
        ),
        (
            ReadFrom::AfterSequence("7"),
            r#"{"StreamName":"orders","ShardId":"shard","ShardIteratorType":"AFTER_SEQUENCE_NUMBER","StartingSequenceNumber":"7"}"#,
        ),
        (
            ReadFrom::AtTimestamp(at),
            r#"{"StreamName":"orders","ShardId":"shard","ShardIteratorType":"AT_TIMESTAMP","Timestamp":1764310000.123}"#,
        ),
    ] {
        upstream.script("GetShardIterator", [raw(r#"{"ShardIterator": "token"}"#)]);
        assert_eq!(reader.iterator("orders", "shard", from).await.unwrap(), "token");
        let sent = upstream.calls("GetShardIterator").pop().unwrap().body;
        assert_eq!(sent, serde_json::from_str::<serde_json::Value>(expected).unwrap());
    }
    upstream.script("GetShardIterator", [raw("{}")]);
    let none = reader.iterator("orders", "shard", ReadFrom::Latest).await.unwrap_err();
    assert!(matches!(&none, ReadError::Unavailable(why) if why.contains("no iterator")), "{none}");
}

#[tokio::test]
async fn records_come_as_they_are_and_the_end_names_the_children() {
    let (upstream, reader) = reader().await;
    upstream.script(
        "GetRecords",
        [
            raw(r#"{"Records": [
                {"SequenceNumber": "9", "Data": "AP8=", "ApproximateArrivalTimestamp": 1764310000.123},
                {"SequenceNumber": "10", "Data": "", "PartitionKey": "k", "ApproximateArrivalTimestamp": 1.764310000124E9}
            ], "NextShardIterator": "token", "MillisBehindLatest": 86400000}"#),
            raw(r#"{"Records": [], "MillisBehindLatest": 0, "ChildShards": [{"ShardId": "child", "ParentShards": ["a", "b"],
                "HashKeyRange": {"StartingHashKey": "0", "EndingHashKey": "340282366920938463463374607431768211455"}}]}"#),
            raw(r#"{"Records": [], "ChildShards": [{"ShardId": "child", "ParentShards": [],
                "HashKeyRange": {"StartingHashKey": "zero", "EndingHashKey": "1"}}]}"#),
        ],
    );
    let batch = reader.records("orders", "token", 0).await.unwrap();
    assert_eq!(upstream.calls("GetRecords")[0].body["Limit"], 1);
    assert_eq!((batch.next.as_deref(), batch.millis_behind_latest), (Some("token"), 86_400_000));
    let [first, second] = &batch.records[..] else { panic!("{batch:?}") };
    assert_eq!((&first.data, first.partition_key.as_deref()), (&Bytes::from_static(&[0, 0xff]), None));
    assert_eq!(first.arrived.millis(), 1_764_310_000_123);
    assert_eq!((second.partition_key.as_deref(), second.arrived.millis()), (Some("k"), 1_764_310_000_124));

    let end = reader.records("orders", "token", 1_000_000).await.unwrap();
    assert_eq!(upstream.calls("GetRecords")[1].body["Limit"], 10_000);
    assert_eq!((end.next, end.children.len()), (None, 1));
    assert_eq!((&*end.children[0].id, &end.children[0].parents[..]), ("child", &["a".to_owned(), "b".to_owned()][..]));
    let malformed = reader.records("orders", "token", 1).await.unwrap_err();
    assert!(matches!(&malformed, ReadError::Unavailable(why) if why.contains("child shard")), "{malformed}");
}

#[tokio::test]
async fn a_consumer_is_registered_where_it_is_missing_waited_for_and_then_known() {
    let (upstream, reader) = reader().await;
    let creating = r#"{"ConsumerDescription": {"ConsumerName": "gates", "ConsumerStatus": "CREATING", "ConsumerCreationTimestamp": 1,
        "ConsumerARN": "arn", "StreamARN": "arn"}}"#;
    upstream.script(
        "DescribeStreamConsumer",
        [error(400, "ResourceNotFoundException"), raw(creating), raw(DESCRIBED), raw(DESCRIBED)],
    );
    // Another gate was faster.
    upstream.script("RegisterStreamConsumer", [error(400, "ResourceInUseException")]);
    upstream.script("SubscribeToShard", vec![raw(""); 2]);
    for _ in 0..2 {
        let mut events = reader.subscribe("orders", "gates", "shard", ReadFrom::AfterSequence("7")).await.unwrap();
        assert!(matches!(events.next().await, Ok(None)));
    }
    let stream_arn = "arn:aws:kinesis:eu-west-1:123456789012:stream/orders";
    assert_eq!(upstream.calls("DescribeStreamConsumer").len(), 3, "once it is known, it is not asked for again");
    assert_eq!(upstream.calls("RegisterStreamConsumer")[0].body["ConsumerName"], "gates");
    assert_eq!(upstream.calls("RegisterStreamConsumer")[0].body["StreamARN"], stream_arn);
    let sent = &upstream.calls("SubscribeToShard")[1].body;
    assert_eq!(
        (&sent["ConsumerARN"], &sent["StartingPosition"]["Type"]),
        (&ARN.into(), &"AFTER_SEQUENCE_NUMBER".into())
    );

    // A consumer that has gone is looked for again.
    upstream.script("SubscribeToShard", [error(400, "ResourceNotFoundException"), raw("")]);
    assert!(reader.subscribe("orders", "gates", "shard", ReadFrom::Latest).await.is_err());
    assert!(reader.subscribe("orders", "gates", "shard", ReadFrom::Latest).await.is_ok());
    assert_eq!(upstream.calls("DescribeStreamConsumer").len(), 4);
    upstream.script("DescribeStreamConsumer", [error(400, "ResourceNotFoundException")]);
    let missing = reader.subscribe("orders", &format!("{ARN}0"), "shard", ReadFrom::Latest).await.err();
    assert!(matches!(missing, Some(ReadError::NotFound(_))), "an ARN cannot be registered: {missing:?}");
}

/// One message of an event stream (`application/vnd.amazon.eventstream`), with string headers.
fn message(headers: &[(&str, &str)], payload: &str) -> Vec<u8> {
    let mut head = Vec::new();
    for (name, value) in headers {
        head.push(u8::try_from(name.len()).unwrap());
        head.extend_from_slice(name.as_bytes());
        head.push(7);
        head.extend_from_slice(&u16::try_from(value.len()).unwrap().to_be_bytes());
        head.extend_from_slice(value.as_bytes());
    }
    let crc = |bytes: &[u8]| {
        let mut crc = Crc::new();
        crc.update(bytes);
        crc.sum().to_be_bytes()
    };
    let total = u32::try_from(16 + head.len() + payload.len()).unwrap();
    let mut message = [total.to_be_bytes(), u32::try_from(head.len()).unwrap().to_be_bytes()].concat();
    message.extend(crc(&message));
    message.extend(head);
    message.extend(payload.as_bytes());
    message.extend(crc(&message));
    message
}

fn event(payload: &str) -> Vec<u8> {
    let headers =
        [(":message-type", "event"), (":event-type", "SubscribeToShardEvent"), (":content-type", "application/json")];
    message(&headers, payload)
}

fn exception(code: &str) -> Vec<u8> {
    let headers = [(":message-type", "exception"), (":exception-type", code), (":content-type", "application/json")];
    message(&headers, r#"{"message": "of the far end"}"#)
}

/// A reader of a far end that says that it answers, waits for `first`, and then before each of `parts`, and ends the answer.
async fn far_end(first: Duration, pause: Duration, parts: Vec<Vec<u8>>) -> KinesisReader {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        // One connection after the other: the consumer is described first, on one that is then closed.
        let mut parts = Some(parts);
        while let Ok((mut socket, _)) = listener.accept().await {
            let mut request = vec![0; 65_536];
            let read = socket.read(&mut request).await.unwrap();
            let head = String::from_utf8_lossy(&request[..read]).to_lowercase();
            if head.contains("describestreamconsumer") {
                let answer = format!(
                    "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{DESCRIBED}",
                    DESCRIBED.len()
                );
                socket.write_all(answer.as_bytes()).await.unwrap();
                continue;
            }
            socket.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await.unwrap();
            let initial = message(&[(":message-type", "event"), (":event-type", "initial-response")], "{}");
            for (part, pause) in std::iter::once((initial, first))
                .chain(parts.take().unwrap_or_default().into_iter().map(|part| (part, pause)))
            {
                tokio::time::sleep(pause).await;
                let chunk = [format!("{:x}\r\n", part.len()).into_bytes(), part, b"\r\n".to_vec()].concat();
                socket.write_all(&chunk).await.unwrap();
            }
            socket.write_all(b"0\r\n\r\n").await.unwrap();
        }
    });
    // Half a second a call: see `clients`.
    KinesisReader::new(clients(&url).kinesis)
}

async fn subscription(pause: Duration, parts: Vec<Vec<u8>>) -> Box<dyn Subscription> {
    let reader = far_end(Duration::ZERO, pause, parts).await;
    reader.subscribe("orders", ARN, "shard", ReadFrom::TrimHorizon).await.unwrap()
}

/// A call has half a second here; the stream lasts longer, with nothing sent for longer, and is not cut.
#[tokio::test]
async fn a_subscription_outlives_the_time_of_a_call() {
    let parts = vec![
        event(
            r#"{"Records": [{"SequenceNumber": "9", "Data": "YQ==", "PartitionKey": "k", "ApproximateArrivalTimestamp": 1.5}],
            "ContinuationSequenceNumber": "10", "MillisBehindLatest": 7}"#,
        ),
        message(&[(":message-type", "event"), (":event-type", "SomethingNew")], "{}"),
        event(
            r#"{"Records": [], "MillisBehindLatest": 0, "ChildShards": [{"ShardId": "child", "ParentShards": ["shard"],
            "HashKeyRange": {"StartingHashKey": "0", "EndingHashKey": "1"}}]}"#,
        ),
    ];
    let mut events = subscription(Duration::from_millis(900), parts).await;
    let batch = events.next().await.unwrap().unwrap();
    assert_eq!((batch.next.as_deref(), batch.millis_behind_latest), (Some("10"), 7));
    assert_eq!((&batch.records[0].data[..], batch.records[0].arrived.millis()), (&b"a"[..], 1_500));
    let end = events.next().await.unwrap().unwrap();
    assert_eq!((end.next, &*end.children[0].id), (None, "child"));
    assert!(matches!(events.next().await, Ok(None)));
}

#[tokio::test]
async fn what_a_subscription_ends_with_is_told_for_what_it_is() {
    let mut broken = event("{}");
    let last = broken.len() - 1;
    broken[last] ^= 1;
    let cut = event("{}")[..20].to_vec();
    for (part, expected) in [
        (exception("ResourceInUseException"), "throttled"),
        (exception("KMSThrottlingException"), "throttled"),
        (exception("ResourceNotFoundException"), "not found"),
        (exception("KMSDisabledException"), "refused"),
        (exception("KMSAccessDeniedException"), "refused"),
        (exception("InternalFailureException"), "unavailable"),
        (event("not JSON"), "unavailable"),
        (broken, "unavailable"),
        (cut, "unavailable"),
    ] {
        let shown = String::from_utf8_lossy(&part).into_owned();
        let mut events = subscription(Duration::ZERO, vec![part]).await;
        let failed = events.next().await.expect_err(&shown);
        assert_eq!(kind(&failed), expected, "{shown}: {failed}");
    }
}

/// A far end that says nothing is given up, long before the 5 minutes that a subscription lasts.
#[tokio::test]
async fn a_silent_subscription_is_given_up() {
    let reader = far_end(Duration::from_secs(3_600), Duration::ZERO, Vec::new()).await;
    let silent = reader.subscribe("orders", ARN, "shard", ReadFrom::Latest).await.err().unwrap();
    assert!(matches!(&silent, ReadError::Unavailable(why) if why.contains("took too long")), "{silent}");

    let mut events = subscription(Duration::from_secs(3_600), vec![event("{}")]).await;
    tokio::time::pause();
    let silent = events.next().await.unwrap_err();
    assert!(matches!(&silent, ReadError::Unavailable(why) if why.contains("30 seconds")), "{silent}");
}
