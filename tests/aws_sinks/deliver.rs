//! Whole deliveries over the sinks: what is sent again, in what order, how often, how long.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use meshgate::gate::delivery::Ordering;
use meshgate::metrics::Metrics;
use meshgate::model::{DeadLetter, Trouble};
use meshgate::pipeline::coalesce::Coalescer;
use meshgate::pipeline::deliver::{deliver_letters, deliver_mesh};
use meshgate::port::DeadLetterSink;
use meshgate::sink::kinesis::KinesisSink;
use meshgate::sink::sqs::SqsSink;
use tokio::task::JoinSet;

use crate::upstream::{REGION, Script, Upstream};
use crate::{POLICY, clients, clients_waiting, error, kinesis_sink, letter, record, refs, sqs_sink, troubles};

#[tokio::test]
async fn what_fails_is_sent_again_until_all_is_stored_once() {
    let (upstream, sink) = kinesis_sink().await;
    let throttled = (100..200).map(|index| (index, "ProvisionedThroughputExceededException")).collect();
    upstream.script("PutRecords", [Script::Entries(throttled), error(500, "InternalFailure"), Script::Reset]);
    let records: Vec<_> = (0..1_200).map(|i| record(format!("{i}"), &format!("k{i}"))).collect();
    let metrics = Metrics::new();
    let results = deliver_mesh(&sink, "orders", &refs(&records), Ordering::None, &POLICY, &metrics).await;
    let stored: BTreeMap<_, _> = upstream.records().into_iter().map(|r| (r.sequence_number, r.data)).collect();
    assert_eq!(stored.len(), 1_200);
    for (record, result) in records.iter().zip(&results) {
        assert_eq!(stored[&result.as_ref().unwrap().sequence_number], record.data);
    }
    // At least 800 entries failed once, which share calls when their back-offs end together.
    assert!(metrics.sink_retries.with_label_values(&["mesh"]).get() >= 2);
    assert_eq!(metrics.sink_failures.with_label_values(&["mesh", "throttled"]).get(), 100);
    assert_eq!(
        metrics.sink_call_seconds.with_label_values(&["mesh"]).get_sample_count() as usize,
        upstream.calls("PutRecords").len()
    );
}

#[tokio::test]
async fn requests_of_one_record_share_calls_and_hear_of_their_own() {
    let (upstream, sink) = kinesis_sink().await;
    let throttled = vec![(0, "ProvisionedThroughputExceededException")];
    upstream.script("PutRecords", [Script::Slow(Duration::from_millis(30)), Script::Entries(throttled)]);
    let coalescer = Arc::new(Coalescer::new(Arc::new(sink)));
    let mut requests = JoinSet::new();
    for number in 0..200 {
        let coalescer = Arc::clone(&coalescer);
        requests.spawn(async move {
            let (record, metrics) = (record(format!("{number}"), &format!("k{number}")), Metrics::new());
            let mesh = coalescer.ordered_by(Ordering::Key);
            let mut told = deliver_mesh(&mesh, "orders", &[&record], Ordering::Key, &POLICY, &metrics).await;
            (record.data, told.remove(0).unwrap().sequence_number)
        });
    }
    let told: BTreeMap<_, _> = requests.join_all().await.into_iter().map(|(data, number)| (number, data)).collect();
    let stored: BTreeMap<_, _> = upstream.records().into_iter().map(|r| (r.sequence_number, r.data)).collect();
    assert_eq!((told.len(), told), (200, stored));
    let calls = upstream.calls("PutRecords").len();
    assert!(calls <= 50, "{calls} calls for 200 records");
}

#[tokio::test]
async fn a_lost_answer_means_at_least_once() {
    let (upstream, sink) = kinesis_sink().await;
    upstream.script("PutRecords", [Script::Lost]);
    let records = [record("1", "a"), record("2", "b")];
    let results = deliver_mesh(&sink, "orders", &refs(&records), Ordering::None, &POLICY, &Metrics::new()).await;
    assert!(results.iter().all(Result::is_ok));
    assert_eq!(upstream.records().len(), 4, "stored, and stored again since nobody said so");
}

#[tokio::test]
async fn order_within_a_key_survives_partial_failures() {
    let (upstream, sink) = kinesis_sink().await;
    let fail = |index| Script::Entries(vec![(index, "InternalFailure")]);
    upstream.script("PutRecords", [fail(0), fail(1), Script::Lost, fail(2), Script::Pass, fail(0)]);
    let records: Vec<_> = (0..60).map(|i| record(format!("{i}"), &format!("k{}", i % 3))).collect();
    let results = deliver_mesh(&sink, "orders", &refs(&records), Ordering::Key, &POLICY, &Metrics::new()).await;
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    let mut last = BTreeMap::new();
    for stored in upstream.records() {
        let number: u32 = std::str::from_utf8(&stored.data).unwrap().parse().unwrap();
        let before = last.insert(stored.partition_key, number);
        assert!(before.is_none_or(|before| before <= number), "{number} after {before:?}");
    }
    assert_eq!(last.len(), 3);
}

#[tokio::test]
async fn a_batch_of_letters_goes_out_ten_at_a_time() {
    let (upstream, _) = sqs_sink().await;
    // Letters of a megabyte take an unoptimised client and upstream a while where others compute, too.
    let sink = SqsSink::new(clients_waiting(&upstream.url(), Duration::from_secs(10)).sqs, REGION);
    let codes = vec![(3, "InternalError"), (9, "RequestThrottled")];
    upstream.script("SendMessageBatch", [Script::Entries(codes), Script::Reset]);
    let mut letters: Vec<_> = (0..95).map(|i| letter(i, "{}")).collect();
    letters.push(letter(95, &"x".repeat(900_000)));
    letters.push(letter(96, &"y".repeat(900_000)));
    letters.push(letter(97, &"z".repeat(1_100_000)));
    let results = deliver_letters(&sink, "dlq", &refs(&letters), &POLICY, &Metrics::new()).await;
    assert!(results[..97].iter().all(Result::is_ok), "{results:?}");
    assert_eq!(results[97].as_ref().unwrap_err().trouble, Trouble::Invalid);
    let ids: BTreeSet<_> = upstream.messages().into_iter().map(|m| m.attributes["id"].clone()).collect();
    assert_eq!((ids.len(), upstream.messages().len()), (97, 97));
    for call in upstream.calls("SendMessageBatch") {
        let entries = call.body["Entries"].as_array().unwrap();
        let bytes: usize = entries.iter().map(|e| e["MessageBody"].as_str().unwrap().len()).sum();
        assert!(entries.len() <= 10 && bytes <= 1_048_576);
    }
}

#[tokio::test]
async fn on_a_fifo_queue_a_retry_comes_before_what_follows_it_in_its_group() {
    let (upstream, sink) = sqs_sink().await;
    upstream.add_queue("dlq.fifo", 1_048_576);
    // The first call holds the first letter of either key.
    upstream.script("SendMessageBatch", [Script::Entries(vec![(0, "InternalError")]), Script::Reset]);
    let keyed = |i: usize| DeadLetter { key_hash: Some((i % 2).to_string()), ..letter(i, &i.to_string()) };
    let letters: Vec<_> = (0..12).map(keyed).collect();
    let results = deliver_letters(&sink, "dlq.fifo", &refs(&letters), &POLICY, &Metrics::new()).await;
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    let stored = upstream.messages();
    for group in ["sales.0", "sales.1"] {
        let here = stored.iter().filter(|message| message.group.as_deref() == Some(group));
        let numbers: Vec<u32> = here.map(|message| message.body.parse().unwrap()).collect();
        assert!(numbers.len() == 6 && numbers.is_sorted(), "{group}: {numbers:?}");
    }
}

#[tokio::test]
async fn a_dlq_that_stays_down_leaves_every_letter_unsettled_in_bounded_time() {
    let (upstream, sink) = sqs_sink().await;
    upstream.script("SendMessageBatch", vec![error(503, "ServiceUnavailable"); 1_000]);
    let letters: Vec<_> = (0..30).map(|i| letter(i, "{}")).collect();
    let started = Instant::now();
    let results = deliver_letters(&sink, "dlq", &refs(&letters), &POLICY, &Metrics::new()).await;
    assert_eq!(troubles(&results), vec![Some(Trouble::Unavailable); 30]);
    assert!(results[0].as_ref().unwrap_err().message.contains("gave up after 4 attempts"), "{:?}", results[0]);
    assert!(started.elapsed() < Duration::from_secs(30));
    assert!(upstream.messages().is_empty());
}

#[tokio::test]
async fn calls_of_one_batch_run_side_by_side() {
    let (upstream, sink) = sqs_sink().await;
    assert_eq!(sink.send("dlq", &[&letter(0, "{}")]).await, [Ok(())]);
    upstream.script("SendMessageBatch", vec![Script::Slow(Duration::from_millis(150)); 8]);
    let letters: Vec<_> = (0..80).map(|i| letter(i, "{}")).collect();
    let started = Instant::now();
    let results = deliver_letters(&sink, "dlq", &refs(&letters), &POLICY, &Metrics::new()).await;
    assert!(results.iter().all(Result::is_ok));
    assert!(started.elapsed() < Duration::from_millis(8 * 150), "one after the other: {:?}", started.elapsed());
}

#[tokio::test]
async fn the_canned_upstream_takes_full_batches() {
    let upstream = Upstream::start_canned(Duration::ZERO).await;
    let clients = clients(&upstream.url());
    let records: Vec<_> = (0..1_000).map(|i| record("\"Data\":", &format!("\"Data\":{i}"))).collect();
    let sink = KinesisSink::new(clients.kinesis);
    let results = deliver_mesh(&sink, "any", &refs(&records), Ordering::None, &POLICY, &Metrics::new()).await;
    assert!(results.iter().all(Result::is_ok), "{:?}", results.iter().find(|r| r.is_err()));
    let letters: Vec<_> = (0..25).map(|i| letter(i, "{\"MessageBody\":1}")).collect();
    let sink = SqsSink::new(clients.sqs, REGION);
    let results = deliver_letters(&sink, "any", &refs(&letters), &POLICY, &Metrics::new()).await;
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    assert_eq!(sink.call_limits().entries, 10);
}
