//! SQS: `SendMessageBatch`, and what is asked of a queue before.

use std::collections::BTreeMap;
use std::sync::Arc;

use meshgate::model::{DeadLetter, Trouble};
use meshgate::port::DeadLetterSink;

use crate::upstream::Script;
use crate::{error, failing_calls, letter, refs, sqs_sink, troubles};

#[tokio::test]
async fn letters_arrive_with_their_attributes() {
    let (upstream, sink) = sqs_sink().await;
    let letters = [letter(1, "{\"é\":\"\u{1F600}\"}"), DeadLetter { contract: Arc::from(""), ..letter(2, "{}") }];
    assert_eq!(sink.send("dlq", &refs(&letters)).await, [Ok(()), Ok(())]);
    let stored = upstream.messages();
    assert_eq!(stored[0].body, letters[0].body);
    let expected = [
        ("contract", "order.placed"),
        ("domain", "sales"),
        ("id", "letter-1"),
        ("kind", "rule"),
        ("rule", "qty_positive"),
    ];
    let expected: BTreeMap<_, _> = expected.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
    assert_eq!(stored[0].attributes, expected);
    assert!(!stored[1].attributes.contains_key("contract"), "SQS takes no empty values");
    let sales = Some("sales".to_owned());
    assert_eq!((&stored[0].group, &stored[0].deduplication), (&sales, &None), "the tenant of a fair queue");
}

#[tokio::test]
async fn a_queue_is_looked_up_once_by_name_url_or_arn() {
    let (upstream, sink) = sqs_sink().await;
    let url = upstream.add_queue("other", 1_048_576);
    let letters = [letter(1, "{}")];
    for queue in ["dlq", "dlq", &url, "arn:aws:sqs:eu-west-1:123456789012:dlq"] {
        assert_eq!(sink.send(queue, &refs(&letters)).await, [Ok(())], "{queue}");
    }
    let lookups = upstream.calls("GetQueueUrl");
    assert_eq!(lookups.len(), 2, "a URL needs none");
    assert_eq!(lookups[1].body["QueueOwnerAWSAccountId"], "123456789012");
    assert_eq!(upstream.calls("GetQueueAttributes").len(), 3);
    let elsewhere = sink.send("arn:aws:sqs:us-east-1:123456789012:dlq", &refs(&letters)).await;
    let failure = elsewhere[0].as_ref().unwrap_err();
    assert_eq!(failure.trouble, Trouble::Rejected);
    assert!(failure.message.contains("us-east-1"), "{}", failure.message);
}

#[tokio::test]
async fn a_fifo_queue_gets_groups_and_deduplication() {
    let (upstream, sink) = sqs_sink().await;
    upstream.add_queue("dlq.fifo", 1_048_576);
    let keyed = DeadLetter { key_hash: Some("0a1b".into()), ..letter(8, "{}") };
    assert_eq!(sink.send("dlq.fifo", &[&letter(7, "{}"), &keyed]).await, [Ok(()), Ok(())]);
    let told: Vec<_> = upstream.messages().into_iter().map(|stored| (stored.group, stored.deduplication)).collect();
    let expected = [("sales", "letter-7"), ("sales.0a1b", "letter-8")];
    assert_eq!(told, expected.map(|(group, id)| (Some(group.to_owned()), Some(id.to_owned()))));
    assert_eq!(sink.group("dlq.fifo", &keyed), Some("sales.0a1b".into()), "which keeps its order");
    assert_eq!(sink.group("dlq", &keyed), None);
}

#[tokio::test]
async fn letters_a_queue_cannot_take_fail_alone() {
    let (upstream, sink) = sqs_sink().await;
    upstream.add_queue("small", 1_024);
    let letters =
        [letter(0, "{}"), letter(1, "\u{1}"), letter(2, &"x".repeat(1_000)), letter(3, "\u{ffff}"), letter(4, "[]")];
    let results = sink.send("small", &refs(&letters)).await;
    let refused = Some(Trouble::Invalid);
    assert_eq!(troubles(&results), [None, refused, refused, refused, None]);
    assert!(results[2].as_ref().unwrap_err().message.contains("the queue takes 1024"));
    assert_eq!(upstream.messages().len(), 2);
    let hopeless = [letter(5, "\0")];
    assert_eq!(troubles(&sink.send("small", &refs(&hopeless)).await), [refused]);
    assert_eq!(upstream.calls("SendMessageBatch").len(), 1, "nothing left to send, nothing sent");
}

#[tokio::test]
async fn single_letters_fail_inside_a_call() {
    let (upstream, sink) = sqs_sink().await;
    let codes = vec![(1, "InternalError"), (2, "InvalidMessageContents"), (3, "RequestThrottled")];
    upstream.script("SendMessageBatch", [Script::Entries(codes), Script::Short]);
    let letters: Vec<_> = (0..5).map(|i| letter(i, "{}")).collect();
    let results = sink.send("dlq", &refs(&letters)).await;
    use Trouble::{Rejected, Throttled, Unavailable};
    assert_eq!(troubles(&results), [None, Some(Unavailable), Some(Rejected), Some(Throttled), None]);
    let short = sink.send("dlq", &refs(&letters[..2])).await;
    assert_eq!(troubles(&short), [None, Some(Unavailable)], "what the answer does not mention is unsettled");
}

#[tokio::test]
async fn each_failing_batch_is_told_for_what_it_is_and_tried_once() {
    let (upstream, sink) = sqs_sink().await;
    for (script, trouble, said) in failing_calls() {
        let before = upstream.calls("SendMessageBatch").len();
        upstream.script("SendMessageBatch", [script.clone()]);
        let results = sink.send("dlq", &[&letter(1, "{}")]).await;
        assert_eq!(upstream.calls("SendMessageBatch").len(), before + 1, "{script:?}: the SDK must not retry");
        let failure = results[0].as_ref().unwrap_err();
        assert_eq!(failure.trouble, trouble, "{script:?}: {}", failure.message);
        assert!(failure.message.starts_with("SQS queue \"dlq\": "), "{}", failure.message);
        assert!(failure.message.contains(said), "{script:?}: {}", failure.message);
    }
}

#[tokio::test]
async fn a_queue_that_is_gone_is_looked_up_again() {
    let (upstream, sink) = sqs_sink().await;
    let missing = sink.send("later", &[&letter(1, "{}")]).await;
    assert_eq!(troubles(&missing), [Some(Trouble::Rejected)]);
    upstream.add_queue("later", 1_048_576);
    assert_eq!(sink.send("later", &[&letter(1, "{}")]).await, [Ok(())], "a missing queue is not remembered");
    upstream.script("SendMessageBatch", [error(400, "AWS.SimpleQueueService.NonExistentQueue")]);
    assert_eq!(troubles(&sink.send("later", &[&letter(1, "{}")]).await), [Some(Trouble::Rejected)]);
    assert_eq!(sink.send("later", &[&letter(1, "{}")]).await, [Ok(())]);
    assert_eq!(upstream.calls("GetQueueUrl").len(), 3);
}

#[tokio::test]
async fn without_permission_to_ask_a_queue_takes_one_mebibyte() {
    let (upstream, sink) = sqs_sink().await;
    upstream.script("GetQueueAttributes", [error(403, "AccessDenied")]);
    for _ in 0..2 {
        assert_eq!(sink.send("dlq", &[&letter(1, &"x".repeat(1_000_000))]).await, [Ok(())]);
    }
    assert_eq!(upstream.calls("GetQueueAttributes").len(), 1, "a denial is remembered");
    let (upstream, sink) = sqs_sink().await;
    upstream.script("GetQueueAttributes", [error(500, "InternalFailure")]);
    for _ in 0..3 {
        assert_eq!(sink.send("dlq", &[&letter(1, "{}")]).await, [Ok(())]);
    }
    assert_eq!(
        upstream.calls("GetQueueAttributes").len(),
        2,
        "a passing failure is asked again, once it answers no more"
    );
}
