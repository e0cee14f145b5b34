//! The lease table on a stand-in for DynamoDB that fails in every way it does, and leaves out what it may.

use std::time::Duration;

use meshgate::lease::{Checkpoint, Lease, Swap, Swapped};
use meshgate::port::{LeaseTable, TableError};
use meshgate::source::kinesis_stream::lease_table::DynamoDbLeases;

use crate::upstream::{Script, Upstream};
use crate::{clients, error};

async fn table() -> (Upstream, DynamoDbLeases) {
    let upstream = Upstream::start().await;
    let table = DynamoDbLeases::new(clients(&upstream.url()).dynamodb, "leases");
    (upstream, table)
}

fn raw(status: u16, body: &'static str) -> Script {
    Script::Raw { status, body }
}

fn kind(error: &TableError) -> &'static str {
    match error {
        TableError::Throttled(_) => "throttled",
        TableError::Refused(_) => "refused",
        TableError::Unavailable(_) => "unavailable",
    }
}

fn lease() -> Lease {
    Lease::new("shard", Checkpoint::TrimHorizon)
}

fn swaps() -> [(&'static str, Swap); 3] {
    let after = Lease { counter: 1, ..lease() };
    [
        ("PutItem", Swap::Create(Box::new(lease()))),
        ("UpdateItem", Swap::Update { before: Box::new(lease()), after: Box::new(after) }),
        ("DeleteItem", Swap::Delete(Box::new(lease()))),
    ]
}

const ROW: &str = r#""Item": {"leaseKey": {"S": "shard"}, "leaseCounter": {"N": "7"}, "checkpoint": {"S": "LATEST"}}"#;

fn row() -> Swapped {
    Swapped::Refused(Some(Box::new(Lease { counter: 7, ..Lease::new("shard", Checkpoint::Latest) })))
}

#[tokio::test]
async fn each_failing_call_is_told_for_what_it_is_and_tried_once() {
    let (upstream, table) = table().await;
    for (script, expected, said) in [
        (error(400, "ProvisionedThroughputExceededException"), "throttled", "capacity to a table"),
        (error(400, "ThrottlingException"), "throttled", "back-off"),
        (error(400, "RequestLimitExceeded"), "throttled", "back-off"),
        (error(400, "AccessDeniedException"), "refused", "allow it to the gate's role"),
        (error(400, "ResourceNotFoundException"), "refused", "create it"),
        (error(400, "ValidationException"), "refused", "invalid"),
        (error(500, "InternalServerError"), "unavailable", "back-off"),
        (raw(502, "<html>"), "unavailable", "HTTP 502"),
        (raw(200, "<html>"), "unavailable", "could not be read"),
        (Script::Reset, "unavailable", "did not get through"),
        (Script::Slow(Duration::from_secs(30)), "unavailable", "took too long"),
    ] {
        let mut told = Vec::new();
        for (operation, swap) in swaps() {
            let before = upstream.calls(operation).len();
            upstream.script(operation, [script.clone()]);
            told.push(table.swap(&swap).await.expect_err(operation));
            assert_eq!(upstream.calls(operation).len(), before + 1, "{script:?}: the SDK must not retry");
        }
        upstream.script("Scan", [script.clone()]);
        told.push(table.list().await.expect_err("Scan"));
        for failed in told {
            let text = failed.to_string();
            assert_eq!(kind(&failed), expected, "{script:?}: {text}");
            assert!(text.contains(said) && text.contains("DynamoDB table \"leases\""), "{script:?}: {text}");
        }
    }
}

/// An emulator, or a version of DynamoDB from before 2023, does not tell the row that a condition failed on.
#[tokio::test]
async fn a_row_that_a_refusal_does_not_tell_is_read() {
    let (upstream, table) = table().await;
    for (operation, swap) in swaps() {
        upstream.script(operation, [error(400, "ConditionalCheckFailedException")]);
        upstream.script("GetItem", [raw(200, Box::leak(format!("{{{ROW}}}").into_boxed_str()))]);
        assert_eq!(table.swap(&swap).await, Ok(row()), "{operation}");
        assert_eq!(upstream.calls("GetItem").pop().unwrap().body["ConsistentRead"], true);

        upstream.script(operation, [error(400, "ConditionalCheckFailedException")]);
        upstream.script("GetItem", [raw(200, "{}")]);
        assert_eq!(table.swap(&swap).await, Ok(Swapped::Refused(None)), "{operation}");

        upstream.script(operation, [error(400, "ConditionalCheckFailedException")]);
        upstream.script("GetItem", [Script::Reset]);
        assert_eq!(kind(&table.swap(&swap).await.unwrap_err()), "unavailable", "{operation}");

        let reads = upstream.calls("GetItem").len();
        let body = format!(r#"{{"__type": "ConditionalCheckFailedException", {ROW}}}"#);
        upstream.script(operation, [raw(400, Box::leak(body.into_boxed_str()))]);
        assert_eq!(table.swap(&swap).await, Ok(row()), "{operation}");
        assert_eq!(upstream.calls("GetItem").len(), reads, "what is told is not read again");
        assert_eq!(upstream.calls(operation)[0].body["ReturnValuesOnConditionCheckFailure"], "ALL_OLD");
    }
}

#[tokio::test]
async fn a_list_is_consistent_and_comes_to_an_end() {
    let (upstream, table) = table().await;
    upstream.script("Scan", vec![raw(200, r#"{"Items": [], "LastEvaluatedKey": {"leaseKey": {"S": "a"}}}"#); 200]);
    let endless = table.list().await.unwrap_err();
    assert!(endless.to_string().contains("rows without end"), "{endless}");
    let calls = upstream.calls("Scan");
    assert_eq!(calls.len(), 100);
    assert_eq!(calls[1].body["ExclusiveStartKey"]["leaseKey"]["S"], "a");
    assert!(calls.iter().all(|call| call.body["ConsistentRead"] == true));
}

fn described(status: &str) -> Script {
    let body = format!(
        r#"{{"Table": {{"TableStatus": "{status}", "KeySchema": [{{"AttributeName": "leaseKey", "KeyType": "HASH"}}],
            "AttributeDefinitions": [{{"AttributeName": "leaseKey", "AttributeType": "S"}}]}}}}"#
    );
    raw(200, Box::leak(body.into_boxed_str()))
}

#[tokio::test]
async fn a_table_is_created_once_and_waited_for() {
    let (upstream, table) = table().await;
    let missing = || error(400, "ResourceNotFoundException");
    upstream.script("DescribeTable", [missing(), missing(), described("CREATING"), described("ACTIVE")]);
    // Another gate was faster.
    upstream.script("CreateTable", [error(400, "ResourceInUseException")]);
    assert_eq!(table.prepare().await, Ok(()));
    assert_eq!(upstream.calls("CreateTable").len(), 1);
    upstream.script("DescribeTable", [described("UPDATING")]);
    assert_eq!(table.prepare().await, Ok(()), "a table that is changed can be used meanwhile");

    upstream.script("DescribeTable", [missing()]);
    upstream.script("CreateTable", [error(400, "AccessDeniedException")]);
    expect_test::expect![[r#"the lease table refuses: DynamoDB table "leases", which is not there, could not be created: AccessDeniedException: of the far end; allow it to the gate's role, in its policy and the resource's"#]].assert_eq(&table.prepare().await.unwrap_err().to_string());
    upstream.script("DescribeTable", [described("ARCHIVED")]);
    expect_test::expect![[
        r#"the lease table refuses: DynamoDB table "leases": it is ARCHIVED; make it ACTIVE, or name another table"#
    ]]
    .assert_eq(&table.prepare().await.unwrap_err().to_string());
    upstream.script("DescribeTable", [error(400, "ThrottlingException")]);
    assert_eq!(kind(&table.prepare().await.unwrap_err()), "throttled");
}
