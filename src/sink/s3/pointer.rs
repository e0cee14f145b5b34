//! A message body that points to an object: the convention of AWS's payload offloading library, which its SQS Extended Client
//! Libraries read (amazon-sqs-java-extended-client-lib 2, amazon-sqs-extended-client on PyPI).
//!
//! ```json
//! ["software.amazon.payloadoffloading.PayloadS3Pointer", {"s3BucketName": "b", "s3Key": "k"}]
//! ```

use serde_json::{Value, json};

/// What the libraries write now.
const CLASS: &str = "software.amazon.payloadoffloading.PayloadS3Pointer";
/// What the Java library's first version wrote.
const FIRST_CLASS: &str = "com.amazon.sqs.javamessaging.MessageS3Pointer";

/// Where a message's real body is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Pointer {
    pub bucket: String,
    pub key: String,
}

impl Pointer {
    /// Reads a message body. `None`: it is no pointer, so it is the message.
    pub fn parse(body: &str) -> Option<Self> {
        // A document is an object, and may be long.
        if !body.trim_start().starts_with('[') {
            return None;
        }
        let Value::Array(parts) = serde_json::from_str(body).ok()? else { return None };
        let [Value::String(class), Value::Object(place)] = &parts[..] else { return None };
        if class != CLASS && class != FIRST_CLASS {
            return None;
        }
        let text = |name: &str| Some(place.get(name)?.as_str().filter(|text| !text.is_empty())?.to_owned());
        Some(Self { bucket: text("s3BucketName")?, key: text("s3Key")? })
    }

    /// The body of the message.
    pub fn to_body(&self) -> String {
        json!([CLASS, {"s3BucketName": self.bucket, "s3Key": self.key}]).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pointer_is_written_as_the_libraries_write_it() {
        let pointer = Pointer { bucket: "b".into(), key: "dlq/domain=sales/k\"1.json".into() };
        let body = pointer.to_body();
        assert_eq!(
            body,
            r#"["software.amazon.payloadoffloading.PayloadS3Pointer",{"s3BucketName":"b","s3Key":"dlq/domain=sales/k\"1.json"}]"#
        );
        assert_eq!(Pointer::parse(&body), Some(pointer));
    }

    #[test]
    fn both_class_names_are_read_and_nothing_else_is() {
        let read = |body: &str| Pointer::parse(body).map(|pointer| (pointer.bucket, pointer.key));
        let expected = Some(("b".to_owned(), "k".to_owned()));
        assert_eq!(
            read(
                r#" [ "com.amazon.sqs.javamessaging.MessageS3Pointer", {"s3Key": "k", "s3BucketName": "b", "x": 1} ]"#
            ),
            expected
        );
        for other in [
            "",
            "[",
            "[]",
            r#"{"schema":"meshgate.dlq/v1"}"#,
            r#"["software.amazon.payloadoffloading.PayloadS3Pointer"]"#,
            r#"["software.amazon.payloadoffloading.PayloadS3Pointer",{"s3BucketName":"b"}]"#,
            r#"["software.amazon.payloadoffloading.PayloadS3Pointer",{"s3BucketName":"","s3Key":"k"}]"#,
            r#"["software.amazon.payloadoffloading.PayloadS3Pointer",{"s3BucketName":1,"s3Key":"k"}]"#,
            r#"["software.amazon.payloadoffloading.PayloadS3Pointer",{"s3BucketName":"b","s3Key":"k"},1]"#,
            r#"["com.example.Pointer",{"s3BucketName":"b","s3Key":"k"}]"#,
        ] {
            assert_eq!(read(other), None, "{other}");
        }
    }
}
