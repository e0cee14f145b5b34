//! The tables of leases: one contract, held in memory, in a file and in DynamoDB as an emulator gives it.

mod contract;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Mutex;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType,
};
use aws_sdk_kinesis::config::{Credentials, SharedCredentialsProvider};
use meshgate::aws::{AwsOptions, Clients};
use meshgate::lease::{Checkpoint, Lease, Swap, Swapped};
use meshgate::port::{BoxFuture, LeaseTable, TableError};
use meshgate::sink::local::LocalLeases;
use meshgate::source::kinesis_stream::lease_table::DynamoDbLeases;

use crate::harness::{Emulator, temporary};
use contract::{create, delete, full_lease, honours_the_contract, lease, refused, update};

/// Clients to an emulator.
pub fn clients(address: SocketAddr) -> Clients {
    let credentials = Credentials::new("test", "test", None, None, "test");
    let sdk = SdkConfig::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .region(Region::new("us-east-1"))
        .endpoint_url(format!("http://{address}"))
        .build();
    Clients::from_sdk_config(&sdk, &AwsOptions::new("gate-1")).expect("clients")
}

/// The contract in its plainest form, so that it is seen to ask for no more than the core's own words say.
#[derive(Default)]
struct InMemory(Mutex<BTreeMap<String, Lease>>);

impl LeaseTable for InMemory {
    fn prepare(&self) -> BoxFuture<'_, Result<(), TableError>> {
        Box::pin(async { Ok(()) })
    }

    fn list(&self) -> BoxFuture<'_, Result<Vec<Lease>, TableError>> {
        Box::pin(async { Ok(self.0.lock().unwrap().values().cloned().collect()) })
    }

    fn swap<'a>(&'a self, swap: &'a Swap) -> BoxFuture<'a, Result<Swapped, TableError>> {
        Box::pin(async move {
            let mut rows = self.0.lock().unwrap();
            let row = rows.get(swap.key());
            if !swap.applies_to(row) {
                return Ok(Swapped::Refused(row.cloned().map(Box::new)));
            }
            match swap.onto(row) {
                Some(lease) => rows.insert(lease.key.clone(), lease),
                None => rows.remove(swap.key()),
            };
            Ok(Swapped::Done)
        })
    }
}

#[tokio::test]
async fn a_table_in_memory_honours_the_contract() {
    honours_the_contract(&InMemory::default()).await;
}

#[tokio::test]
async fn a_table_in_a_file_honours_the_contract() {
    let home = temporary();
    honours_the_contract(&LocalLeases::open(&home.path().join("leases.db")).unwrap()).await;
}

#[tokio::test]
async fn a_table_in_dynamodb_honours_the_contract() {
    let Some(aws) = Emulator::ministack() else { return };
    let dynamodb = clients(aws.address).dynamodb;
    honours_the_contract(&DynamoDbLeases::new(dynamodb.clone(), "meshgate-orders")).await;
    let described = dynamodb.describe_table().table_name("meshgate-orders").send().await.unwrap().table.unwrap();
    let billing = described.billing_mode_summary.and_then(|summary| summary.billing_mode);
    assert_eq!(billing, Some(BillingMode::PayPerRequest));
}

/// What the KCL keeps in the same table, and in the same rows, is neither taken for a lease nor touched.
#[tokio::test]
async fn what_the_kcl_keeps_beside_leases_is_passed_over_and_stays() {
    let Some(aws) = Emulator::ministack() else { return };
    let dynamodb = clients(aws.address).dynamodb;
    let table = DynamoDbLeases::new(dynamodb.clone(), "kcl-app");
    table.prepare().await.unwrap();
    let put = async |attributes: &[(&str, AttributeValue)]| {
        let row = attributes.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        dynamodb.put_item().table_name("kcl-app").set_item(Some(row)).send().await.unwrap();
    };
    let (text, number) = (|s: &str| AttributeValue::S(s.into()), |n: &str| AttributeValue::N(n.into()));
    put(&[("leaseKey", text("Leader")), ("entityType", text("LEADER")), ("leaseCounter", number("3"))]).await;
    put(&[("leaseKey", text("w-1")), ("wid", text("w-1")), ("lut", number("1764310000"))]).await;
    put(&[
        ("leaseKey", text("shard-a")),
        ("leaseCounter", number("5")),
        ("leaseOwner", text("w-1")),
        ("ownerSwitchesSinceCheckpoint", number("0")),
        ("checkpoint", text("TRIM_HORIZON")),
        ("checkpointSubSequenceNumber", number("0")),
        ("pendingCheckpoint", text("495")),
        ("pendingCheckpointSubSequenceNumber", number("0")),
        ("throughputKBps", number("12.5")),
        ("entityType", text("LEASE")),
    ])
    .await;
    let seen = Lease { owner: Some("w-1".into()), counter: 5, ..lease("shard-a") };
    assert_eq!(table.list().await, Ok(vec![seen.clone()]));

    let ended = Lease { counter: 6, checkpoint: Checkpoint::ShardEnd, ..seen.clone() };
    assert_eq!(table.swap(&update(&seen, &ended)).await, Ok(Swapped::Done));
    let key = text("shard-a");
    let row = dynamodb.get_item().table_name("kcl-app").key("leaseKey", key).send().await.unwrap().item.unwrap();
    assert_eq!(row["throughputKBps"], number("12.5"));
    assert_eq!(row["entityType"], text("LEASE"));
    assert!(!row.contains_key("pendingCheckpoint") && !row.contains_key("pendingCheckpointSubSequenceNumber"));
    assert_eq!(table.list().await, Ok(vec![ended]));

    let taken = table.swap(&create(&lease("Leader"))).await.unwrap_err();
    assert!(matches!(&taken, TableError::Refused(why) if why.contains(r#"its row "Leader" is no lease"#)), "{taken}");
    put(&[("leaseKey", text("shard-b")), ("leaseCounter", number("1")), ("checkpoint", text("EARLIEST"))]).await;
    let malformed = table.list().await.unwrap_err();
    expect_test::expect![[r#"the lease table refuses: DynamoDB table "kcl-app": the attribute checkpoint of its row "shard-b" is neither a sequence number nor one of the KCL's words; correct it"#]]
        .assert_eq(&malformed.to_string());
}

#[tokio::test]
async fn a_table_of_another_key_is_refused() {
    let Some(aws) = Emulator::ministack() else { return };
    let dynamodb = clients(aws.address).dynamodb;
    let key = KeySchemaElement::builder().attribute_name("id").key_type(KeyType::Hash).build().unwrap();
    let text = AttributeDefinition::builder().attribute_name("id").attribute_type(ScalarAttributeType::S).build();
    let call = dynamodb.create_table().table_name("orders").key_schema(key).attribute_definitions(text.unwrap());
    call.billing_mode(BillingMode::PayPerRequest).send().await.unwrap();
    let refused = DynamoDbLeases::new(dynamodb, "orders").prepare().await.unwrap_err();
    expect_test::expect![[r#"the lease table refuses: DynamoDB table "orders": its key is not the string leaseKey alone, so that it holds something else; nothing was written; name a table of the gates' own"#]].assert_eq(&refused.to_string());
}

/// More rows than one page of a scan holds.
#[tokio::test]
async fn a_long_table_is_listed_whole() {
    let Some(aws) = Emulator::ministack() else { return };
    let table = DynamoDbLeases::new(clients(aws.address).dynamodb, "long");
    table.prepare().await.unwrap();
    // 30 rows of some 50 KB make more than 1 MiB.
    let mut expected = Vec::new();
    for i in 0..30 {
        let parents = (0..1_000).map(|j| format!("shardId-{j:040}")).collect();
        let lease = Lease { parents, ..lease(&format!("shardId-{i:012}")) };
        assert_eq!(table.swap(&create(&lease)).await, Ok(Swapped::Done));
        expected.push(lease);
    }
    assert_eq!(table.list().await, Ok(expected));
}

/// Two gates in one process, each with a connection of its own.
#[tokio::test(flavor = "multi_thread")]
async fn two_gates_share_a_file() {
    let home = temporary();
    let path = home.path().join("leases.db");
    let (one, other) = (LocalLeases::open(&path).unwrap(), LocalLeases::open(&path).unwrap());
    assert_eq!(one.swap(&create(&full_lease("shard-a"))).await, Ok(Swapped::Done));
    assert_eq!(other.swap(&create(&lease("shard-a"))).await, Ok(refused(&full_lease("shard-a"))));
    assert_eq!(one.swap(&delete(&full_lease("shard-a"))).await, Ok(Swapped::Done));
    assert_eq!(one.swap(&create(&lease("shard-a"))).await, Ok(Swapped::Done));
    tokio::join!(raise_fifty_times(&one), raise_fifty_times(&other));
    assert_eq!(other.list().await.unwrap()[0].counter, 100);
}

/// No increment is lost, whoever else raises the counter meanwhile.
async fn raise_fifty_times(table: &LocalLeases) {
    let mut row = lease("shard-a");
    let mut raised = 0;
    while raised < 50 {
        let after = Lease { counter: row.counter + 1, ..row.clone() };
        match table.swap(&update(&row, &after)).await.unwrap() {
            Swapped::Done => (row, raised) = (after, raised + 1),
            Swapped::Refused(there) => row = *there.expect("a row"),
        }
    }
}

/// In the child: the file.
const FILE: &str = "MESHGATE_TEST_LEASE_FILE";

/// Not a test by itself: what the next one runs in processes of their own.
#[tokio::test]
#[ignore = "run by the next test, with a file"]
async fn child_raises_a_counter() {
    let Some(file) = std::env::var_os(FILE) else { return };
    let table = LocalLeases::open(file.as_ref()).unwrap();
    table.swap(&create(&lease("shard-a"))).await.unwrap();
    raise_fifty_times(&table).await;
}

/// Three processes open a file that is not there, and create its one row.
#[tokio::test]
async fn processes_share_a_file() {
    let home = temporary();
    let path = home.path().join("leases.db");
    let child = |_| {
        let mut command = std::process::Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "leases::child_raises_a_counter", "--ignored"]).env(FILE, &path);
        command.stdout(std::process::Stdio::null()).spawn().unwrap()
    };
    for mut child in [0, 1, 2].map(child) {
        assert!(child.wait().unwrap().success());
    }
    assert_eq!(LocalLeases::open(&path).unwrap().list().await.unwrap()[0].counter, 150);
}
