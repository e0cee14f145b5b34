//! Dead letters on Amazon S3: those too large for their queue, and an archive of all. One attempt a call; `gate::delivery` retries.
//!
//! What an object is called and holds is `gate::letter`'s; how a message points to one, [`Pointer`]'s. [`Objects`] is the way back.
//!
//! Limits are those of the API reference: a key of 1,024 bytes, 5 GB in one `PutObject`, which is stored whole or not at all.

mod pointer;

use aws_sdk_s3::Client;
use aws_sdk_s3::primitives::ByteStream;
use bytes::Bytes;

pub use self::pointer::Pointer;
use crate::aws::{Fault, Propagated};
use crate::model::{DeadLetter, Unsettled};
use crate::port::{BoxFuture, LetterStore};
use crate::trace::{Operation, Tracer, troubles};

const PUT: Operation = Operation { service: "S3", method: "PutObject", messaging: None };

/// The largest object that [`Objects::fetch`] reads, bytes. A record has 10 MiB; its document, in base64 with its reasons, some 14.
pub const FETCH_BYTES_MAX: usize = 64 * 1024 * 1024;

/// A bucket that the gate keeps letters in.
#[derive(Debug)]
pub struct S3Sink {
    client: Client,
    bucket: String,
    tracer: Tracer,
}

impl S3Sink {
    pub fn new(client: Client, bucket: impl Into<String>) -> Self {
        Self { client, bucket: bucket.into(), tracer: Tracer::default() }
    }

    /// Has each call that puts letters traced.
    #[must_use]
    pub fn traced_by(self, tracer: Tracer) -> Self {
        Self { tracer, ..self }
    }
}

impl LetterStore for S3Sink {
    fn put<'a>(
        &'a self,
        key: &'a str,
        body: Bytes,
        letters: &'a [&'a DeadLetter],
    ) -> BoxFuture<'a, Result<(), Unsettled>> {
        // No content encoding: readers would unpack what is called .gz.
        let content_type = if key.ends_with(".gz") { "application/gzip" } else { "application/json" };
        let put = self.client.put_object().bucket(&self.bucket).key(key).content_type(content_type);
        Box::pin(async move {
            let mut traced = self.tracer.call(&PUT, &self.bucket, letters.iter().map(|letter| letter.trace.as_ref()));
            let mut put = put.body(ByteStream::from(body)).customize();
            if let Some(context) = traced.context() {
                put = put.interceptor(Propagated::from(context));
            }
            let result = match put.send().await {
                Ok(_) => Ok(()),
                Err(error) => Err(Fault::of_call(&error).unsettled(&target(&self.bucket))),
            };
            traced.answered(troubles(std::slice::from_ref(&result)));
            result
        })
    }

    fn pointer(&self, key: &str) -> String {
        Pointer { bucket: self.bucket.clone(), key: key.to_owned() }.to_body()
    }
}

fn target(bucket: &str) -> String {
    format!("S3 bucket {bucket:?}")
}

/// Reads and deletes what messages point to, in whatever bucket.
#[derive(Debug, Clone)]
pub struct Objects {
    client: Client,
}

/// Why an object was not read, or not deleted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ObjectError {
    /// The event is lost but for its message.
    #[error("{0}")]
    Gone(String),
    #[error(
        "{bucket:?} has an object of more than {FETCH_BYTES_MAX} bytes at {key:?}, which is no dead letter; it was not read"
    )]
    TooLarge { bucket: String, key: String },
    #[error(
        "{bucket:?} has an object at {key:?} that is no UTF-8 text, so no dead letter; it was read and left as it is"
    )]
    NotText { bucket: String, key: String },
    /// Access, a bucket that is not there, a network that failed.
    #[error("{0}")]
    Failed(String),
}

impl Objects {
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    /// The DLQ document that a message points to. At most [`FETCH_BYTES_MAX`] bytes.
    ///
    /// # Errors
    /// See [`ObjectError`]; nothing was changed.
    pub async fn fetch(&self, pointer: &Pointer) -> Result<String, ObjectError> {
        let Pointer { bucket, key } = pointer;
        let get = self.client.get_object().bucket(bucket).key(key);
        let mut answer = get.send().await.map_err(|error| failed(&Fault::of_call(&error), bucket))?;
        let mut data = Vec::new();
        let lost = |error: aws_sdk_s3::primitives::ByteStreamError| {
            ObjectError::Failed(format!("{}: the answer broke off ({error}); read it again", target(bucket)))
        };
        while let Some(part) = answer.body.try_next().await.map_err(lost)? {
            if data.len() + part.len() > FETCH_BYTES_MAX {
                return Err(ObjectError::TooLarge { bucket: bucket.clone(), key: key.clone() });
            }
            data.extend_from_slice(&part);
        }
        String::from_utf8(data).map_err(|_| ObjectError::NotText { bucket: bucket.clone(), key: key.clone() })
    }

    /// Puts another document where one is.
    ///
    /// # Errors
    /// [`ObjectError::Failed`]: it may or may not be changed.
    pub async fn replace(&self, pointer: &Pointer, document: String) -> Result<(), ObjectError> {
        let Pointer { bucket, key } = pointer;
        let put = self.client.put_object().bucket(bucket).key(key).content_type("application/json");
        let put = put.body(ByteStream::from(document.into_bytes())).send().await;
        put.map(drop).map_err(|error| failed(&Fault::of_call(&error), bucket))
    }

    /// Deletes the object. One that is not there counts as deleted. To be done after its message is deleted: a message whose object is
    /// gone can no longer be read.
    ///
    /// # Errors
    /// [`ObjectError::Failed`]: it may or may not be there still.
    pub async fn delete(&self, pointer: &Pointer) -> Result<(), ObjectError> {
        let Pointer { bucket, key } = pointer;
        match self.client.delete_object().bucket(bucket).key(key).send().await {
            Ok(_) => Ok(()),
            Err(error) => match failed(&Fault::of_call(&error), bucket) {
                ObjectError::Gone(_) => Ok(()),
                other => Err(other),
            },
        }
    }
}

fn failed(fault: &Fault, bucket: &str) -> ObjectError {
    let told = fault.question(&target(bucket));
    if fault.is_not_found() { ObjectError::Gone(told) } else { ObjectError::Failed(told) }
}
