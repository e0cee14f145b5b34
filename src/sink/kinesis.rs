//! Mesh streams on Amazon Kinesis: records go out with `PutRecords`, and the streams can be asked about.
//!
//! One attempt a call; `gate::delivery` retries. A record with a `SequenceNumberForOrdering`, alone in its batch, goes
//! out with `PutRecord`, the only operation that takes one.
//!
//! Limits are those of the API reference (`PutRecords`): 500 records and 10 MiB of data and partition keys a call. What a
//! single record may hold is the stream's own limit, which the pipeline checks before (`max_record_size_kib`).

mod body;

use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::config::http::HttpResponse;
use aws_sdk_kinesis::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::{self, PutRecordsResultEntry};

use crate::aws::{Fault, Propagated, shards};
use crate::model::{
    Distribution, Placement, Record, Shard, StreamDescription, StreamMode, Timestamp, Trouble, Unsettled,
};
use crate::port::{BoxFuture, CallLimits, Catalog, CatalogError, MeshSink, StreamReader};
use crate::trace::{Operation, Tracer, troubles};

/// Records in one `PutRecords` call.
pub const CALL_RECORDS_MAX: usize = 500;
/// Bytes of data and partition keys in one `PutRecords` call.
pub const CALL_BYTES_MAX: usize = 10 * 1024 * 1024;

/// How often one call is taken apart to find the records that make it invalid. One such record of 500 takes nine.
const HALVINGS_MAX: usize = 40;

/// The record size of a stream that says nothing else, in KiB.
const RECORD_SIZE_KIB_DEFAULT: u32 = 1_024;
/// `ListStreams` gives at most 10,000 names a page; more pages than this is a far end that never comes to an end.
const PAGES_MAX: usize = 100;
const STREAMS_A_PAGE: i32 = 1_000;

const PUT_RECORDS: Operation = Operation { service: "Kinesis", method: "PutRecords", messaging: Some("aws_kinesis") };
const PUT_RECORD: Operation = Operation { method: "PutRecord", ..PUT_RECORDS };

/// Kinesis streams as mesh streams. Cheap to clone.
#[derive(Debug, Clone)]
pub struct KinesisSink {
    client: Client,
    tracer: Tracer,
}

impl KinesisSink {
    pub fn new(client: Client) -> Self {
        Self { client, tracer: Tracer::default() }
    }

    /// Has each call that puts records traced.
    #[must_use]
    pub fn traced_by(self, tracer: Tracer) -> Self {
        Self { tracer, ..self }
    }

    async fn put_records(&self, stream: &str, records: &[&Record]) -> Vec<Result<Placement, Unsettled>> {
        // Parts still to send, the first one last. More than one only after the far end found a whole call invalid: one
        // record can be the reason, so that the halves are tried, and in the end that record fails alone. Nothing of
        // such a call was stored, so each record is still put at most once. Where the reason is the stream or the gate, every
        // part fails: after HALVINGS_MAX, parts fail as they are.
        let mut parts = vec![records];
        let mut results = Vec::with_capacity(records.len());
        let (mut halvings, mut invalid) = (0, Vec::new());
        while let Some(part) = parts.pop() {
            match self.put_records_once(stream, part).await {
                Ok(answers) => results.extend(answers),
                Err(fault) if fault.is_invalid_request() && part.len() > 1 && halvings < HALVINGS_MAX => {
                    halvings += 1;
                    let (first, second) = part.split_at(part.len() / 2);
                    parts.extend([second, first]);
                }
                Err(fault) if fault.is_invalid_request() && part.len() == 1 => {
                    invalid.push(results.len());
                    results.push(Err(fault.unsettled(&target(stream))));
                }
                Err(fault) => results.extend(part.iter().map(|_| Err(fault.unsettled(&target(stream))))),
            }
        }
        // Where others were taken, it is the record, and neither the stream nor the gate.
        if results.iter().any(Result::is_ok) {
            for index in invalid {
                let _ = results[index].as_mut().map_err(|failure: &mut Unsettled| failure.trouble = Trouble::Invalid);
            }
        }
        results
    }

    async fn put_records_once(
        &self,
        stream: &str,
        records: &[&Record],
    ) -> Result<Vec<Result<Placement, Unsettled>>, Fault> {
        let body = body::put_records(stream, records);
        let mut traced = self.tracer.call(&PUT_RECORDS, stream, records.iter().map(|record| record.trace.as_ref()));
        // The SDK makes a request of no records, ours takes its place, and then it is signed: `mutate_request` comes before.
        let mut request = self.client.put_records().stream_name(stream).customize().mutate_request(move |request| {
            request.headers_mut().insert("content-length", body.len().to_string());
            *request.body_mut() = body.clone().into();
        });
        if let Some(context) = traced.context() {
            request = request.interceptor(Propagated::from(context));
        }
        let answers = match request.send().await {
            Ok(answer) => answer.records,
            Err(error) => {
                let fault = Fault::of_call(&error);
                traced.answered(records.iter().map(|_| fault.trouble));
                return Err(fault);
            }
        };
        if answers.len() == records.len() {
            let placed: Vec<_> = answers.into_iter().map(|answer| placement(stream, answer)).collect();
            traced.answered(troubles(&placed));
            return Ok(placed);
        }
        traced.answered(records.iter().map(|_| Trouble::Unavailable));
        let message = format!(
            "{}: the answer names {} records of the {} sent; they may or may not have been stored; retry with back-off",
            target(stream),
            answers.len(),
            records.len()
        );
        Ok(records.iter().map(|_| Err(unavailable(message.clone()))).collect())
    }

    async fn put_record(&self, stream: &str, record: &Record) -> Result<Placement, Unsettled> {
        let mut traced = self.tracer.call(&PUT_RECORD, stream, std::iter::once(record.trace.as_ref()));
        let mut request = self
            .client
            .put_record()
            .stream_name(stream)
            .data(Blob::new(record.data.as_ref()))
            .set_partition_key(record.partition_key.clone())
            .set_explicit_hash_key(record.explicit_hash_key.clone())
            .set_sequence_number_for_ordering(record.sequence_for_ordering.clone())
            .customize();
        if let Some(context) = traced.context() {
            request = request.interceptor(Propagated::from(context));
        }
        let result = match request.send().await {
            Ok(answer) => placed(stream, Some(answer.shard_id), Some(answer.sequence_number)),
            Err(error) => Err(Fault::of_call(&error).unsettled(&target(stream))),
        };
        traced.answered(troubles(std::slice::from_ref(&result)));
        result
    }
}

impl MeshSink for KinesisSink {
    fn call_limits(&self) -> CallLimits {
        CallLimits { entries: CALL_RECORDS_MAX, bytes: CALL_BYTES_MAX }
    }

    fn gains_by_sharing(&self) -> bool {
        true
    }

    fn put<'a>(
        &'a self,
        stream: &'a str,
        records: &'a [&'a Record],
    ) -> BoxFuture<'a, Vec<Result<Placement, Unsettled>>> {
        Box::pin(async move {
            match records {
                [] => Vec::new(),
                [record] if record.sequence_for_ordering.is_some() => vec![self.put_record(stream, record).await],
                _ => self.put_records(stream, records).await,
            }
        })
    }
}

impl Catalog for KinesisSink {
    fn list_streams<'a>(&'a self) -> BoxFuture<'a, Result<Vec<String>, CatalogError>> {
        Box::pin(async move {
            let mut names: Vec<String> = Vec::new();
            for _ in 0..PAGES_MAX {
                let after = names.last().cloned();
                let call = self.client.list_streams().set_exclusive_start_stream_name(after).limit(STREAMS_A_PAGE);
                let page = call.send().await.map_err(|error| catalog_error("*", &error))?;
                let more = page.has_more_streams && !page.stream_names.is_empty();
                names.extend(page.stream_names);
                if !more {
                    names.sort_unstable();
                    return Ok(names);
                }
            }
            Err(CatalogError::Unavailable("Kinesis lists streams without end".into()))
        })
    }

    fn describe<'a>(&'a self, stream: &'a str) -> BoxFuture<'a, Result<StreamDescription, CatalogError>> {
        Box::pin(async move {
            let answer = self.client.describe_stream_summary().stream_name(stream).send().await;
            let answer = answer.map_err(|error| catalog_error(stream, &error))?;
            let summary = answer
                .stream_description_summary
                .ok_or_else(|| refusal(stream, &Fault::unreadable("no description")))?;
            let shards = shards(&self.client, stream).await.map_err(|fault| refusal(stream, &fault))?;
            Ok(description(summary, shards))
        })
    }

    fn reader(&self) -> Option<&dyn StreamReader> {
        None
    }
}

/// How a stream is called in messages.
fn target(stream: &str) -> String {
    format!("Kinesis stream {stream:?}")
}

fn placement(stream: &str, answer: PutRecordsResultEntry) -> Result<Placement, Unsettled> {
    match answer.error_code {
        None => placed(stream, answer.shard_id, answer.sequence_number),
        // The reference knows two codes, of which neither is the record's fault.
        Some(code) => Err(Fault::of_entry(&code, answer.error_message.as_deref(), false).unsettled(&target(stream))),
    }
}

fn placed(stream: &str, shard_id: Option<String>, sequence: Option<String>) -> Result<Placement, Unsettled> {
    match (shard_id, sequence) {
        (Some(shard_id), Some(sequence_number)) if !sequence_number.is_empty() => {
            Ok(Placement { shard_id: shard_id.into(), sequence_number })
        }
        _ => Err(unavailable(format!(
            "{}: the answer gives a record neither a sequence number nor an error; it may or may not have been stored; \
             retry with back-off",
            target(stream)
        ))),
    }
}

fn unavailable(message: String) -> Unsettled {
    Unsettled { trouble: Trouble::Unavailable, message }
}

fn catalog_error<E>(stream: &str, error: &SdkError<E, HttpResponse>) -> CatalogError
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    refusal(stream, &Fault::of_call(error))
}

fn refusal(stream: &str, fault: &Fault) -> CatalogError {
    let told = fault.question(&target(stream));
    match (fault.code.as_deref(), fault.trouble) {
        (Some("ResourceNotFoundException"), _) => CatalogError::StreamNotFound(stream.to_owned()),
        (Some("AccessDeniedException" | "AccessDenied"), _) => CatalogError::AccessDenied(told),
        (_, Trouble::Throttled) => CatalogError::Throttled(told),
        _ if fault.is_invalid_request() => CatalogError::InvalidArgument(told),
        _ => CatalogError::Unavailable(told),
    }
}

fn description(summary: types::StreamDescriptionSummary, shards: Vec<Shard>) -> StreamDescription {
    let on_demand =
        summary.stream_mode_details.as_ref().is_some_and(|details| details.stream_mode == types::StreamMode::OnDemand);
    let is_auto = summary.record_distribution_strategy == Some(types::RecordDistributionStrategy::Auto);
    let size_kib = summary.max_record_size_in_kib.and_then(|kib| u32::try_from(kib).ok()).filter(|kib| *kib > 0);
    StreamDescription {
        status: summary.stream_status.as_str().to_owned(),
        mode: if on_demand { StreamMode::OnDemand } else { StreamMode::Provisioned },
        distribution: if is_auto { Distribution::Auto } else { Distribution::Key },
        retention_hours: summary.retention_period_hours,
        created: Timestamp::from_millis(summary.stream_creation_timestamp.to_millis().unwrap_or_default()),
        encryption: summary.encryption_type.as_ref().map_or("NONE", types::EncryptionType::as_str).to_owned(),
        key_id: summary.key_id,
        consumer_count: summary.consumer_count.unwrap_or_default(),
        max_record_size_kib: size_kib.unwrap_or(RECORD_SIZE_KIB_DEFAULT),
        name: summary.stream_name,
        arn: summary.stream_arn,
        shards,
    }
}
