//! The sinks against ministack, an emulator: requests as a Kinesis and an SQS other than our own stand-in read them.
//!
//! `MESHGATE_MINISTACK` names a running one (`127.0.0.1:4566`); without it these tests say that they were skipped.

use std::collections::BTreeSet;
use std::time::Duration;

use aws_sdk_kinesis::types::ShardIteratorType;
use aws_sdk_sqs::types::QueueAttributeName;
use meshgate::aws::Clients;
use meshgate::gate::delivery::{Ordering, RetryPolicy};
use meshgate::metrics::Metrics;
use meshgate::model::{ShardMap, Trouble};
use meshgate::pipeline::deliver::{deliver_letters, deliver_mesh};
use meshgate::port::{Catalog, CatalogError, DeadLetterSink, MeshSink};
use meshgate::sink::kinesis::KinesisSink;
use meshgate::sink::sqs::SqsSink;

use crate::upstream::REGION;
use crate::{clients_waiting, letter, record, refs, troubles};

/// Clients to the emulator, and a name of this test's own on it.
fn emulator(test: &str) -> Option<(Clients, String)> {
    let Ok(address) = std::env::var("MESHGATE_MINISTACK") else {
        println!("skipped: MESHGATE_MINISTACK (host:port of a running ministack) is not set");
        return None;
    };
    let name = format!("meshgate-{test}-{}", fastrand::u32(..));
    Some((clients_waiting(&format!("http://{address}"), Duration::from_secs(10)), name))
}

async fn create_queue(clients: &Clients, name: &str, attributes: &[(QueueAttributeName, &str)]) -> String {
    let mut call = clients.sqs.create_queue().queue_name(name);
    for (attribute, value) in attributes {
        call = call.attributes(attribute.clone(), *value);
    }
    call.send().await.unwrap().queue_url.unwrap()
}

/// All messages of a queue: each body with the attribute `id`.
async fn drain(clients: &Clients, url: &str) -> Vec<(String, String)> {
    let mut drained = Vec::new();
    loop {
        let call = clients.sqs.receive_message().queue_url(url).max_number_of_messages(10);
        let page = call.message_attribute_names("All").send().await.unwrap().messages.unwrap_or_default();
        if page.is_empty() {
            return drained;
        }
        for message in page {
            let attributes = message.message_attributes.unwrap_or_default();
            let id = attributes["id"].string_value.clone().unwrap();
            assert_eq!(attributes["domain"].string_value.as_deref(), Some("sales"));
            drained.push((id, message.body.unwrap()));
            clients
                .sqs
                .delete_message()
                .queue_url(url)
                .receipt_handle(message.receipt_handle.unwrap())
                .send()
                .await
                .unwrap();
        }
    }
}

#[tokio::test]
async fn records_are_read_back_from_where_they_were_placed() {
    let Some((clients, stream)) = emulator("records") else { return };
    clients.kinesis.create_stream().stream_name(&stream).shard_count(3).send().await.unwrap();
    let sink = KinesisSink::new(clients.kinesis.clone());
    let described = loop {
        match sink.describe(&stream).await {
            Ok(described) if described.status == "ACTIVE" => break described,
            Ok(_) | Err(CatalogError::StreamNotFound(_)) => tokio::time::sleep(Duration::from_millis(50)).await,
            Err(other) => panic!("{other}"),
        }
    };
    assert_eq!(described.shards.len(), 3);
    assert!(sink.list_streams().await.unwrap().contains(&stream));
    assert_eq!(sink.describe("nowhere").await.unwrap_err(), CatalogError::StreamNotFound("nowhere".into()));

    let records: Vec<_> = (0..1_100).map(|i| record(format!("{{\"n\": {i}}}\n"), &format!("é{}", i % 97))).collect();
    let policy = RetryPolicy::default();
    let results = deliver_mesh(&sink, &stream, &refs(&records), Ordering::Key, &policy, &Metrics::new()).await;
    let map = ShardMap::new(&described.shards);
    let mut placed = BTreeSet::new();
    for (record, result) in records.iter().zip(results) {
        let placement = result.unwrap();
        let key = meshgate::model::HashKey::of_partition_key(record.partition_key.as_deref().unwrap());
        assert_eq!(map.shard_of(key), Some(&placement.shard_id));
        placed.insert((placement.shard_id.to_string(), placement.sequence_number, record.data.clone()));
    }
    let mut read = BTreeSet::new();
    for shard in &described.shards {
        let call = clients.kinesis.get_shard_iterator().stream_name(&stream).shard_id(&*shard.id);
        let answer = call.shard_iterator_type(ShardIteratorType::TrimHorizon).send().await.unwrap();
        let mut iterator = answer.shard_iterator;
        loop {
            let page = clients.kinesis.get_records().set_shard_iterator(iterator).send().await.unwrap();
            if page.records.is_empty() {
                break;
            }
            for stored in page.records {
                read.insert((shard.id.to_string(), stored.sequence_number, stored.data.into_inner().into()));
            }
            iterator = page.next_shard_iterator;
        }
    }
    assert_eq!(read, placed);

    let missing = sink.put("nowhere", &[&record("{}", "a")]).await;
    assert_eq!(troubles(&missing), [Some(Trouble::Rejected)]);
    let ordered = meshgate::model::Record { sequence_for_ordering: Some("1".into()), ..record("{}", "a") };
    assert!(sink.put(&stream, &[&ordered]).await[0].is_ok());
    clients.kinesis.delete_stream().stream_name(&stream).send().await.unwrap();
}

#[tokio::test]
async fn letters_are_read_back_whole() {
    let Some((clients, name)) = emulator("letters") else { return };
    let url = create_queue(&clients, &name, &[]).await;
    let sink = SqsSink::new(clients.sqs.clone(), REGION);
    let mut letters: Vec<_> = (0..23).map(|i| letter(i, &format!("{{\"n\":{i}}}"))).collect();
    letters.push(letter(23, "\t\r\n \u{7f}\u{85}é\u{d7ff}\u{e000}\u{fffd}\u{10000}\u{10ffff}<&>\"\\"));
    letters.push(letter(24, &"x".repeat(700_000)));
    letters.push(letter(25, &"y".repeat(700_000)));
    letters.push(letter(26, "\u{b}"));
    let results = deliver_letters(&sink, &name, &refs(&letters), &RetryPolicy::default(), &Metrics::new()).await;
    assert!(results[..26].iter().all(Result::is_ok), "{results:?}");
    assert_eq!(results[26].as_ref().unwrap_err().trouble, Trouble::Invalid);
    let drained: BTreeSet<_> = drain(&clients, &url).await.into_iter().collect();
    let expected: BTreeSet<_> = letters[..26].iter().map(|letter| (letter.id.clone(), letter.body.clone())).collect();
    assert_eq!(drained, expected);
    assert_eq!(troubles(&sink.send("nowhere", &[&letters[0]]).await), [Some(Trouble::Rejected)]);
    clients.sqs.delete_queue().queue_url(url).send().await.unwrap();
}

/// A message that fills the service's limit by our count is taken, and one byte more is not sent.
#[tokio::test]
async fn the_largest_message_is_taken() {
    let Some((clients, name)) = emulator("largest") else { return };
    let url = create_queue(&clients, &name, &[]).await;
    let sink = SqsSink::new(clients.sqs.clone(), REGION);
    let overhead = sink.size_of(&letter(1, ""));
    let largest = letter(1, &"x".repeat(1_048_576 - overhead));
    assert_eq!(sink.send(&name, &[&largest]).await, [Ok(())]);
    let larger = letter(1, &"x".repeat(1_048_577 - overhead));
    assert_eq!(troubles(&sink.send(&name, &[&larger]).await), [Some(Trouble::Invalid)]);
    clients.sqs.delete_queue().queue_url(url).send().await.unwrap();
}

#[tokio::test]
async fn a_retry_is_one_message_on_a_fifo_queue() {
    let Some((clients, name)) = emulator("fifo") else { return };
    let name = format!("{name}.fifo");
    let url = create_queue(&clients, &name, &[(QueueAttributeName::FifoQueue, "true")]).await;
    let sink = SqsSink::new(clients.sqs.clone(), REGION);
    let letters: Vec<_> = (0..5).map(|i| letter(i, &format!("{i}"))).collect();
    for _ in 0..2 {
        assert!(sink.send(&name, &refs(&letters)).await.iter().all(Result::is_ok));
    }
    let drained: Vec<_> = drain(&clients, &url).await.into_iter().map(|(_, body)| body).collect();
    assert_eq!(drained, ["0", "1", "2", "3", "4"], "each once, in order");
    clients.sqs.delete_queue().queue_url(url).send().await.unwrap();
}

#[tokio::test]
async fn a_queue_of_smaller_messages_is_respected() {
    let Some((clients, name)) = emulator("small") else { return };
    let url = create_queue(&clients, &name, &[(QueueAttributeName::MaximumMessageSize, "2048")]).await;
    let sink = SqsSink::new(clients.sqs.clone(), REGION);
    let letters = [letter(0, "{}"), letter(1, &"x".repeat(3_000)), letter(2, "[]")];
    let results = sink.send(&name, &refs(&letters)).await;
    assert_eq!(troubles(&results), [None, Some(Trouble::Invalid), None]);
    assert!(results[1].as_ref().unwrap_err().message.contains("the queue takes 2048"));
    assert_eq!(drain(&clients, &url).await.len(), 2);
    clients.sqs.delete_queue().queue_url(url).send().await.unwrap();
}
