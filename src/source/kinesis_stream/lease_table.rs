//! Leases in a DynamoDB table of the KCL's layout, for gates that share a stream's shards.
//!
//! The table is the gates' own: workers of the KCL and gates must not share one, since each would take what the other has. With the
//! layout being the same, either can take over where the other has stopped, and tools that show lag read both. The index
//! `LeaseOwnerToLeaseKeyIndex` is not created: only the KCL asks by owner, and adds it where it is missing (KCL 3,
//! `MigrationClientVersionStateMachineInitializer`); to us it would double the price of each write of an owner.
//!
//! Source: amazon-kinesis-client 3.5 (`leases/dynamodb/DynamoDBLeaseRefresher.java`); DynamoDB API reference and developer guide
//! (`UpdateItem`, condition expressions, read consistency).

use std::collections::HashMap;
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::http::HttpResponse;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::delete_item::DeleteItemError;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, KeySchemaElement, KeyType, ReturnValuesOnConditionCheckFailure,
    ScalarAttributeType, TableDescription, TableStatus,
};

use super::lease_row::{self, Row, RowFault};
use crate::aws::Fault;
use crate::lease::{Lease, Swap, Swapped};
use crate::model::Trouble;
use crate::port::{BoxFuture, LeaseTable, TableError};

/// A new table is active within seconds.
const TABLE_POLL: Duration = Duration::from_millis(500);
const TABLE_POLLS_MAX: u32 = 240;

/// A page is 1 MiB, thousands of leases: more pages than this is a far end that never comes to an end.
const PAGES_MAX: usize = 100;

const ALL_OLD: ReturnValuesOnConditionCheckFailure = ReturnValuesOnConditionCheckFailure::AllOld;

/// A lease table on DynamoDB.
#[derive(Debug, Clone)]
pub struct DynamoDbLeases {
    client: Client,
    table: String,
}

impl DynamoDbLeases {
    pub fn new(client: Client, table: impl Into<String>) -> Self {
        Self { client, table: table.into() }
    }

    async fn create(&self) -> Result<(), TableError> {
        let key = KeySchemaElement::builder().attribute_name(lease_row::KEY).key_type(KeyType::Hash).build();
        let text = AttributeDefinition::builder()
            .attribute_name(lease_row::KEY)
            .attribute_type(ScalarAttributeType::S)
            .build();
        let (Ok(key), Ok(text)) = (key, text) else { return Err(self.refused("its key could not be put into words")) };
        let call = self.client.create_table().table_name(&self.table).key_schema(key).attribute_definitions(text);
        match call.billing_mode(BillingMode::PayPerRequest).send().await.map_err(|error| Fault::of_call(&error)) {
            // Another gate was faster.
            Err(fault) if fault.code.as_deref() == Some("ResourceInUseException") => Ok(()),
            Err(fault) => {
                let target = format!("{}, which is not there, could not be created", self.target());
                Err(table_error(&fault, &target))
            }
            Ok(_) => Ok(()),
        }
    }

    /// What there is of the table. `None`: there is none.
    async fn describe(&self) -> Result<Option<TableDescription>, TableError> {
        match self.client.describe_table().table_name(&self.table).send().await.map_err(|error| Fault::of_call(&error))
        {
            Ok(answer) => Ok(answer.table),
            Err(fault) if fault.is_not_found() => Ok(None),
            Err(fault) => Err(table_error(&fault, &self.target())),
        }
    }

    async fn make_ready(&self) -> Result<(), TableError> {
        let mut created = false;
        for _ in 0..TABLE_POLLS_MAX {
            match self.describe().await? {
                Some(table) => {
                    self.check_key(&table)?;
                    match table.table_status {
                        Some(TableStatus::Active | TableStatus::Updating) => return Ok(()),
                        Some(TableStatus::Creating) => {}
                        status => {
                            let status = status.as_ref().map_or("of no status", TableStatus::as_str);
                            return Err(self.refused(&format!("it is {status}; make it ACTIVE, or name another table")));
                        }
                    }
                }
                // A table that has just been created may not be seen at once.
                None if created => {}
                None => {
                    self.create().await?;
                    created = true;
                }
            }
            tokio::time::sleep(TABLE_POLL).await;
        }
        let seconds = (TABLE_POLL * TABLE_POLLS_MAX).as_secs();
        Err(TableError::Unavailable(format!("{} is still not ACTIVE after {seconds} seconds", self.target())))
    }

    fn check_key(&self, table: &TableDescription) -> Result<(), TableError> {
        let is_text = |name: &str| {
            let mut attributes = table.attribute_definitions().iter();
            attributes.any(|a| a.attribute_name == name && a.attribute_type == ScalarAttributeType::S)
        };
        match table.key_schema() {
            [key] if key.attribute_name == lease_row::KEY && is_text(lease_row::KEY) => Ok(()),
            _ => Err(self.refused(&format!(
                "its key is not the string {} alone, so that it holds something else; nothing was written; name a table of \
                 the gates' own",
                lease_row::KEY
            ))),
        }
    }

    /// Read consistently: a child whose parent's lease a stale list did not show would be read before its parent is done.
    async fn scan(&self) -> Result<Vec<Lease>, TableError> {
        let mut leases = Vec::new();
        let mut after: Option<Row> = None;
        for _ in 0..PAGES_MAX {
            let call = self.client.scan().table_name(&self.table).consistent_read(true);
            let page = call.set_exclusive_start_key(after).send().await.map_err(|error| self.failed(&error))?;
            for row in page.items.unwrap_or_default() {
                leases.extend(lease_row::read(&row).map_err(|fault| self.malformed(&fault))?);
            }
            after = page.last_evaluated_key.filter(|key| !key.is_empty());
            if after.is_none() {
                leases.sort_unstable_by(|one, other| one.key.cmp(&other.key));
                return Ok(leases);
            }
        }
        Err(TableError::Unavailable(format!("{} lists rows without end", self.target())))
    }

    async fn put_if_absent(&self, lease: &Lease) -> Result<Swapped, TableError> {
        let call = self.client.put_item().table_name(&self.table).set_item(Some(lease_row::written(lease)));
        let call =
            call.condition_expression("attribute_not_exists(#key)").expression_attribute_names("#key", lease_row::KEY);
        let sent = call.return_values_on_condition_check_failure(ALL_OLD).send().await.map(drop);
        self.swapped(&lease.key, sent, |error| match error {
            PutItemError::ConditionalCheckFailedException(refusal) => refusal.item.clone(),
            _ => None,
        })
        .await
    }

    async fn update(&self, before: &Lease, after: &Lease) -> Result<Swapped, TableError> {
        let mut words = Expressions::standing_as(before);
        let update = words.update(before, after);
        let call =
            self.client.update_item().table_name(&self.table).key(lease_row::KEY, AttributeValue::S(after.key.clone()));
        let call = call.set_update_expression(update).condition_expression(words.condition);
        let call =
            call.set_expression_attribute_names(Some(words.names)).set_expression_attribute_values(Some(words.values));
        let sent = call.return_values_on_condition_check_failure(ALL_OLD).send().await.map(drop);
        self.swapped(&after.key, sent, |error| match error {
            UpdateItemError::ConditionalCheckFailedException(refusal) => refusal.item.clone(),
            _ => None,
        })
        .await
    }

    async fn delete(&self, lease: &Lease) -> Result<Swapped, TableError> {
        let words = Expressions::standing_as(lease);
        let call =
            self.client.delete_item().table_name(&self.table).key(lease_row::KEY, AttributeValue::S(lease.key.clone()));
        let call = call.condition_expression(words.condition);
        let call =
            call.set_expression_attribute_names(Some(words.names)).set_expression_attribute_values(Some(words.values));
        let sent = call.return_values_on_condition_check_failure(ALL_OLD).send().await.map(drop);
        self.swapped(&lease.key, sent, |error| match error {
            DeleteItemError::ConditionalCheckFailedException(refusal) => refusal.item.clone(),
            _ => None,
        })
        .await
    }

    /// What became of a conditional write. `row_of` takes the row out of the error that tells of the condition.
    async fn swapped<E>(
        &self,
        key: &str,
        sent: Result<(), SdkError<E, HttpResponse>>,
        row_of: impl Fn(&E) -> Option<Row>,
    ) -> Result<Swapped, TableError>
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let Err(error) = sent else { return Ok(Swapped::Done) };
        match error.as_service_error() {
            Some(refusal) if refusal.code() == Some("ConditionalCheckFailedException") => {
                // No row told: there is none, or the far end does not tell.
                let row = match row_of(refusal).filter(|row| !row.is_empty()) {
                    Some(row) => Some(row),
                    None => self.get(key).await?,
                };
                Ok(Swapped::Refused(row.map(|row| self.lease_of(key, &row)).transpose()?.map(Box::new)))
            }
            _ => Err(self.failed(&error)),
        }
    }

    async fn get(&self, key: &str) -> Result<Option<Row>, TableError> {
        let call =
            self.client.get_item().table_name(&self.table).key(lease_row::KEY, AttributeValue::S(key.to_owned()));
        let answer = call.consistent_read(true).send().await.map_err(|error| self.failed(&error))?;
        Ok(answer.item.filter(|row| !row.is_empty()))
    }

    /// The lease under a key that a lease is to have.
    fn lease_of(&self, key: &str, row: &Row) -> Result<Lease, TableError> {
        lease_row::read(row).map_err(|fault| self.malformed(&fault))?.ok_or_else(|| {
            self.refused(&format!("its row {key:?} is no lease; nothing was written; name a table of the gates' own"))
        })
    }

    /// How the table is called in messages.
    fn target(&self) -> String {
        format!("DynamoDB table {:?}", self.table)
    }

    fn refused(&self, why: &str) -> TableError {
        TableError::Refused(format!("{}: {why}", self.target()))
    }

    fn malformed(&self, fault: &RowFault) -> TableError {
        self.refused(&fault.to_string())
    }

    fn failed<E>(&self, error: &SdkError<E, HttpResponse>) -> TableError
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        table_error(&Fault::of_call(error), &self.target())
    }
}

impl LeaseTable for DynamoDbLeases {
    fn prepare(&self) -> BoxFuture<'_, Result<(), TableError>> {
        Box::pin(self.make_ready())
    }

    fn list(&self) -> BoxFuture<'_, Result<Vec<Lease>, TableError>> {
        Box::pin(self.scan())
    }

    fn swap<'a>(&'a self, swap: &'a Swap) -> BoxFuture<'a, Result<Swapped, TableError>> {
        Box::pin(async move {
            match swap {
                Swap::Create(lease) => self.put_if_absent(lease).await,
                Swap::Update { before, after } => self.update(before, after).await,
                Swap::Delete(lease) => self.delete(lease).await,
            }
        })
    }
}

fn table_error(fault: &Fault, target: &str) -> TableError {
    let told = fault.question(target);
    match fault.trouble {
        Trouble::Throttled => TableError::Throttled(told),
        Trouble::Unavailable | Trouble::Held => TableError::Unavailable(told),
        Trouble::Rejected | Trouble::Invalid => TableError::Refused(told),
    }
}

/// A condition and what its placeholders stand for. Names are never written out: a service's reserved words change.
struct Expressions {
    condition: String,
    names: HashMap<String, String>,
    values: Row,
}

impl Expressions {
    /// The row still is as `seen` was: its owner, counter and checkpoint owner.
    fn standing_as(seen: &Lease) -> Self {
        let mut words = Self { condition: String::new(), names: HashMap::new(), values: Row::new() };
        let text = |value: &String| AttributeValue::S(value.clone());
        let fields = [
            (lease_row::COUNTER, Some(lease_row::number(seen.counter))),
            (lease_row::OWNER, seen.owner.as_ref().map(text)),
            (lease_row::CHECKPOINT_OWNER, seen.checkpoint_owner.as_ref().map(text)),
        ];
        let conditions = fields.map(|(name, value)| {
            let (name, value) = words.place("seen", name, value);
            value.map_or_else(|| format!("attribute_not_exists({name})"), |value| format!("{name} = {value}"))
        });
        words.condition = conditions.join(" AND ");
        words
    }

    /// What a write of `after` over `before` does; `None`: nothing.
    fn update(&mut self, before: &Lease, after: &Lease) -> Option<String> {
        let (mut set, mut remove) = (Vec::new(), Vec::new());
        for (name, value) in lease_row::changes(before, after) {
            match self.place("new", &name, value) {
                (name, Some(value)) => set.push(format!("{name} = {value}")),
                (name, None) => remove.push(name),
            }
        }
        let clause = |word: &str, parts: &[String]| (!parts.is_empty()).then(|| format!("{word} {}", parts.join(", ")));
        let clauses: Vec<_> = [clause("SET", &set), clause("REMOVE", &remove)].into_iter().flatten().collect();
        (!clauses.is_empty()).then(|| clauses.join(" "))
    }

    /// Placeholders for an attribute, and for a value of it.
    fn place(&mut self, kind: &str, name: &str, value: Option<AttributeValue>) -> (String, Option<String>) {
        let placed = format!("#{name}");
        self.names.insert(placed.clone(), name.to_owned());
        let value = value.map(|value| {
            let placed = format!(":{kind}_{name}");
            self.values.insert(placed.clone(), value);
            placed
        });
        (placed, value)
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::lease::Checkpoint;

    #[test]
    fn a_swap_is_conditional_on_what_was_seen_and_changes_only_what_differs() {
        let before = Lease { owner: Some("a".into()), counter: 7, ..Lease::new("shard", Checkpoint::Latest) };
        let after = Lease { counter: 8, owner: None, checkpoint: Checkpoint::ShardEnd, ..before.clone() };
        let mut words = Expressions::standing_as(&before);
        expect!["#leaseCounter = :seen_leaseCounter AND #leaseOwner = :seen_leaseOwner AND attribute_not_exists(#checkpointOwner)"]
            .assert_eq(&words.condition);
        expect![[
            "SET #checkpoint = :new_checkpoint, #leaseCounter = :new_leaseCounter REMOVE #leaseOwner, #pendingCheckpoint, #pendingCheckpointState, #pendingCheckpointSubSequenceNumber"
        ]]
        .assert_eq(&words.update(&before, &after).unwrap());
        assert_eq!(words.values[":seen_leaseCounter"], AttributeValue::N("7".into()));
        assert_eq!(words.values[":new_leaseCounter"], AttributeValue::N("8".into()));
        assert_eq!(Expressions::standing_as(&before).update(&before, &before), None);
    }
}
