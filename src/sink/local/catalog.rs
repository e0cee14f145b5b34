//! The store's streams as Kinesis clients ask about them, and reading them back.

use std::sync::Arc;

use super::sequence::{parse, sequence_number};
use super::streams::Stream;
use super::{Reader, Store, StoreError};
use crate::model::StreamDescription;
use crate::port::{BoxFuture, Catalog, CatalogError, ReadBatch, ReadFrom, StreamReader};

/// `GetRecords` gives at most so many records and bytes (Kinesis API reference, `GetRecords`).
const READ_RECORDS_MAX: usize = 10_000;
const READ_BYTES_MAX: usize = 10 << 20;

impl Store {
    fn find(&self, stream: &str) -> Result<Arc<Stream>, CatalogError> {
        self.streams.get(stream).ok_or_else(|| CatalogError::StreamNotFound(stream.to_owned()))
    }

    fn find_shard(&self, stream: &str, shard: &str) -> Result<(Arc<Stream>, u32), CatalogError> {
        let stream = self.find(stream)?;
        let index = stream.shard_index(shard).ok_or_else(|| {
            CatalogError::InvalidArgument(format!(
                "stream {:?} has no shard {shard:?}; ListShards names those it has",
                stream.name
            ))
        })?;
        Ok((stream, index))
    }
}

impl Catalog for Store {
    fn list_streams<'a>(&'a self) -> BoxFuture<'a, Result<Vec<String>, CatalogError>> {
        Box::pin(async { Ok(self.streams.names()) })
    }

    fn describe<'a>(&'a self, stream: &'a str) -> BoxFuture<'a, Result<StreamDescription, CatalogError>> {
        Box::pin(async { Ok(self.find(stream)?.describe(self.options.max_record_size_kib)) })
    }

    fn ensure<'a>(&'a self, stream: &'a str) -> BoxFuture<'a, Result<StreamDescription, CatalogError>> {
        Box::pin(async move {
            self.ensure_stream(stream).await?;
            self.describe(stream).await
        })
    }

    fn reader(&self) -> Option<&dyn StreamReader> {
        Some(self)
    }
}

impl StreamReader for Store {
    fn start_of<'a>(
        &'a self,
        stream: &'a str,
        shard: &'a str,
        start: ReadFrom<'a>,
    ) -> BoxFuture<'a, Result<String, CatalogError>> {
        Box::pin(async move {
            let (stream, shard) = self.find_shard(stream, shard)?;
            let id = match start {
                ReadFrom::TrimHorizon => 0,
                ReadFrom::Latest => self.query(Reader::tip).await.map_err(unavailable)?,
                ReadFrom::AtSequence(number) => id_of(number)?,
                ReadFrom::AfterSequence(number) => id_of(number)?.saturating_add(1),
                ReadFrom::AtTimestamp(time) => {
                    // Later than every record: from the tip on. The tip is asked for first: a record stored between
                    // the two questions is then either found or still ahead.
                    let ask = move |reader: &Reader| {
                        let tip = reader.tip()?;
                        Ok(reader.first_since(&stream, &[shard], time)?.unwrap_or(tip))
                    };
                    self.query(ask).await.map_err(unavailable)?
                }
            };
            Ok(sequence_number(id))
        })
    }

    fn read<'a>(
        &'a self,
        stream: &'a str,
        shard: &'a str,
        from: &'a str,
        limit: usize,
    ) -> BoxFuture<'a, Result<ReadBatch, CatalogError>> {
        Box::pin(async move {
            let (stream, shard) = self.find_shard(stream, shard)?;
            let from = id_of(from)?;
            let limit = limit.clamp(1, READ_RECORDS_MAX);
            let ask = move |reader: &Reader| reader.read_shard(&stream, shard, from, limit, READ_BYTES_MAX);
            let (records, next, millis_behind_latest) = self.query(ask).await.map_err(unavailable)?;
            Ok(ReadBatch { records, next: sequence_number(next), millis_behind_latest })
        })
    }
}

fn id_of(sequence_number: &str) -> Result<i64, CatalogError> {
    parse(sequence_number).ok_or_else(|| {
        CatalogError::InvalidArgument(
            "this is no sequence number of the local store (56 digits that start with 49); use one it has given out"
                .to_owned(),
        )
    })
}

fn unavailable(fault: StoreError) -> CatalogError {
    CatalogError::Unavailable(fault.to_string())
}
