//! Reading shards of a Kinesis stream, as emulators give it: kinesis-local polled, ministack subscribed to.

use std::time::Duration;

use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::primitives::Blob;
use meshgate::model::{HashKeyRange, Shard, Timestamp};
use meshgate::port::{ReadError, ReadFrom, ShardBatch, ShardReader, ShardRecord, Subscription};
use meshgate::source::kinesis_stream::aws::KinesisReader;

use crate::harness::Emulator;
use crate::leases::clients;

const STREAM: &str = "orders";

/// Puts a record for each text, one after the other. Their sequence numbers.
async fn put(kinesis: &Client, texts: &[&str]) -> Vec<String> {
    let mut numbers = Vec::new();
    for text in texts {
        let call = kinesis.put_record().stream_name(STREAM).partition_key(format!("é-{text}"));
        numbers.push(call.data(Blob::new(text.as_bytes())).send().await.unwrap().sequence_number);
    }
    numbers
}

fn texts(records: &[ShardRecord]) -> Vec<String> {
    records.iter().map(|record| String::from_utf8_lossy(&record.data).into_owned()).collect()
}

/// Reads on until `count` records have come, or the shard has ended.
async fn read(reader: &KinesisReader, shard: &str, from: ReadFrom<'_>, count: usize) -> ShardBatch {
    let mut iterator = reader.iterator(STREAM, shard, from).await.unwrap();
    let mut records = Vec::new();
    for _ in 0..200 {
        let batch = reader.records(STREAM, &iterator, 2).await.unwrap();
        assert!(batch.records.len() <= 2, "the limit is the caller's");
        records.extend(batch.records.clone());
        match &batch.next {
            Some(next) if records.len() < count => iterator.clone_from(next),
            _ => return ShardBatch { records, ..batch },
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{count} records of {shard} have not come: {:?}", texts(&records));
}

async fn shards(reader: &KinesisReader) -> Vec<Shard> {
    reader.shards(STREAM).await.unwrap()
}

/// The shards once there are `count`, and the stream takes records again.
async fn wait_for_shards(kinesis: &Client, reader: &KinesisReader, count: usize) -> Vec<Shard> {
    for _ in 0..200 {
        let answer = kinesis.describe_stream_summary().stream_name(STREAM).send().await.unwrap();
        let status = answer.stream_description_summary.unwrap().stream_status;
        let shards = shards(reader).await;
        if shards.len() == count && status.as_str() == "ACTIVE" {
            return shards;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("there are not {count} shards");
}

async fn reader_of(emulator: &Emulator) -> (Client, KinesisReader) {
    let kinesis = clients(emulator.address).kinesis;
    (kinesis.clone(), KinesisReader::new(kinesis))
}

#[tokio::test]
async fn reading_begins_at_each_of_the_five_places() {
    let Some(emulator) = Emulator::kinesis_local("orders:1") else { return };
    let (kinesis, reader) = reader_of(&emulator).await;
    let shard = shards(&reader).await.remove(0).id;
    let latest = reader.iterator(STREAM, &shard, ReadFrom::Latest).await.unwrap();
    let mut numbers = put(&kinesis, &["a", "b", "c"]).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    let first = read(&reader, &shard, ReadFrom::TrimHorizon, 3).await.records;
    let between = Timestamp::from_millis(first[2].arrived.millis() + 20);
    numbers.extend(put(&kinesis, &["d", "e"]).await);

    let all = read(&reader, &shard, ReadFrom::TrimHorizon, 5).await;
    assert_eq!(texts(&all.records), ["a", "b", "c", "d", "e"]);
    assert_eq!(all.records.iter().map(|r| r.sequence_number.clone()).collect::<Vec<_>>(), numbers);
    assert_eq!(all.records[0].partition_key.as_deref(), Some("é-a"));
    assert!(all.records[0].arrived.millis() > 1_700_000_000_000, "milliseconds");
    assert!(all.next.is_some() && all.children.is_empty());
    let at = read(&reader, &shard, ReadFrom::AtSequence(&numbers[1]), 4).await;
    assert_eq!(texts(&at.records), ["b", "c", "d", "e"]);
    let after = read(&reader, &shard, ReadFrom::AfterSequence(&numbers[1]), 3).await;
    assert_eq!(texts(&after.records), ["c", "d", "e"]);
    let since = read(&reader, &shard, ReadFrom::AtTimestamp(between), 2).await;
    assert_eq!(texts(&since.records), ["d", "e"]);
    let from_latest = reader.records(STREAM, &latest, 10_000_000).await.unwrap();
    assert_eq!(texts(&from_latest.records), ["a", "b", "c", "d", "e"], "what came after it was asked for");

    let missing = reader.iterator("nowhere", &shard, ReadFrom::TrimHorizon).await.unwrap_err();
    assert!(matches!(&missing, ReadError::NotFound(why) if why.contains("\"nowhere\"")), "{missing:?}");
    assert!(matches!(reader.shards("nowhere").await, Err(ReadError::NotFound(_))));
}

#[tokio::test]
async fn parents_are_read_to_their_end_and_name_their_children() {
    let Some(emulator) = Emulator::kinesis_local("orders:1") else { return };
    let (kinesis, reader) = reader_of(&emulator).await;
    let parent = shards(&reader).await.remove(0).id;
    put(&kinesis, &["a", "b", "c"]).await;
    let halves: Vec<_> = HashKeyRange::divide(2).collect();
    let split = kinesis.split_shard().stream_name(STREAM).shard_to_split(&*parent);
    split.new_starting_hash_key(halves[1].start.to_string()).send().await.unwrap();
    let all = wait_for_shards(&kinesis, &reader, 3).await;
    let closed = all.iter().find(|shard| shard.id == parent).unwrap();
    assert!(closed.ending_sequence_number.is_some(), "closed, and still listed");

    let end = read(&reader, &parent, ReadFrom::TrimHorizon, usize::MAX).await;
    assert_eq!(texts(&end.records), ["a", "b", "c"]);
    assert_eq!(end.next, None);
    let mut children = end.children;
    children.sort_by_key(|child| child.range.start);
    let left: Vec<_> = all.iter().filter(|shard| shard.parent.as_deref() == Some(&*parent)).collect();
    assert_eq!(children.len(), 2);
    for (child, half) in children.iter().zip(halves) {
        assert_eq!((child.range, &child.parents), (half, &vec![parent.to_string()]));
        assert!(left.iter().any(|shard| *shard.id == *child.id && shard.range == child.range));
    }

    put(&kinesis, &["d", "e", "f", "g"]).await;
    let (one, other) = (&children[0].id, &children[1].id);
    kinesis.merge_shards().stream_name(STREAM).shard_to_merge(one).adjacent_shard_to_merge(other).send().await.unwrap();
    wait_for_shards(&kinesis, &reader, 4).await;
    let mut read_of_both = Vec::new();
    for shard in [one, other] {
        let end = read(&reader, shard, ReadFrom::TrimHorizon, usize::MAX).await;
        assert_eq!((end.next, end.children.len()), (None, 1));
        let mut parents = end.children[0].parents.clone();
        parents.sort();
        let mut expected = vec![one.clone(), other.clone()];
        expected.sort();
        assert_eq!(parents, expected);
        read_of_both.extend(texts(&end.records));
    }
    read_of_both.sort();
    assert_eq!(read_of_both, ["d", "e", "f", "g"]);
}

/// Subscribes behind the first of two records, and receives the second.
async fn subscribe(kinesis: &Client, reader: &KinesisReader, shard: &str) -> (Box<dyn Subscription>, Vec<ShardRecord>) {
    let numbers = put(kinesis, &["a", "b"]).await;
    let from = ReadFrom::AfterSequence(&numbers[0]);
    let mut subscription = reader.subscribe(STREAM, "meshgate", shard, from).await.unwrap();
    let mut received = Vec::new();
    receive(&mut *subscription, &mut received, 1).await;
    assert_eq!(texts(&received), ["b"]);
    assert_eq!((received[0].partition_key.as_deref(), &received[0].sequence_number), (Some("é-b"), &numbers[1]));
    (subscription, received)
}

async fn receive(subscription: &mut dyn Subscription, received: &mut Vec<ShardRecord>, count: usize) {
    while received.len() < count {
        let batch = subscription.next().await.unwrap().expect("not at its end");
        assert!(batch.next.is_some());
        received.extend(batch.records);
    }
}

#[tokio::test]
async fn a_subscription_sends_what_comes_and_ends_with_its_shard() {
    let Some(emulator) = Emulator::ministack() else { return };
    emulator.create_stream(STREAM, 1);
    let (kinesis, reader) = reader_of(&emulator).await;
    let parent = shards(&reader).await.remove(0).id;
    let (mut subscription, mut received) = subscribe(&kinesis, &reader, &parent).await;
    // Within 5 seconds of the first one.
    let second = reader.subscribe(STREAM, "meshgate", &parent, ReadFrom::TrimHorizon).await.err();
    assert!(matches!(second, Some(ReadError::Throttled(_))), "{second:?}");

    put(&kinesis, &["c"]).await;
    // Before the shard is closed: ministack forgets one that is.
    receive(&mut *subscription, &mut received, 2).await;
    assert_eq!(texts(&received), ["b", "c"]);
    let halves: Vec<_> = HashKeyRange::divide(2).collect();
    let split = kinesis.split_shard().stream_name(STREAM).shard_to_split(&*parent);
    split.new_starting_hash_key(halves[1].start.to_string()).send().await.unwrap();
    let end = loop {
        let batch = subscription.next().await.unwrap().expect("a last batch");
        if batch.next.is_none() {
            break batch;
        }
    };
    let mut children = end.children;
    children.sort_by_key(|child| child.range.start);
    assert_eq!(children.iter().map(|child| child.range).collect::<Vec<_>>(), halves);
    assert!(children.iter().all(|child| child.parents == [parent.to_string()]));
    assert!(matches!(subscription.next().await, Ok(None)), "and then it is over");

    // The consumer is there by now, and goes by its ARN, too.
    let arn = kinesis.describe_stream_summary().stream_name(STREAM).send().await.unwrap();
    let arn = arn.stream_description_summary.unwrap().stream_arn;
    let listed = kinesis.list_stream_consumers().stream_arn(arn).send().await.unwrap().consumers.unwrap();
    assert_eq!(listed.len(), 1);
    let child = &children[0].id;
    assert!(reader.subscribe(STREAM, &listed[0].consumer_arn, child, ReadFrom::TrimHorizon).await.is_ok());
    let unknown = format!("{}x", listed[0].consumer_arn);
    let missing = reader.subscribe(STREAM, &unknown, child, ReadFrom::TrimHorizon).await.err();
    assert!(matches!(missing, Some(ReadError::NotFound(_))), "{missing:?}");
}

/// kinesis-local does not tell a subscription that its shard has ended, and refuses a second one by an event instead of an answer.
#[tokio::test]
async fn a_subscription_may_be_refused_by_an_event() {
    let Some(emulator) = Emulator::kinesis_local("orders:1") else { return };
    let (kinesis, reader) = reader_of(&emulator).await;
    let shard = shards(&reader).await.remove(0).id;
    let (mut subscription, mut received) = subscribe(&kinesis, &reader, &shard).await;
    put(&kinesis, &["c"]).await;
    receive(&mut *subscription, &mut received, 2).await;
    assert_eq!(texts(&received), ["b", "c"]);
    let mut second = reader.subscribe(STREAM, "meshgate", &shard, ReadFrom::TrimHorizon).await.unwrap();
    let refused = second.next().await.unwrap_err();
    assert!(matches!(&refused, ReadError::Throttled(why) if why.contains("ResourceInUseException")), "{refused:?}");
}
