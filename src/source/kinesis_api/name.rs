//! Stream names and ARNs as requests carry them.

use super::fault::Fault;

/// The longest stream name and shard id, in characters.
const NAME_MAX: usize = 128;
/// The longest stream ARN, in characters.
const ARN_MAX: usize = 2048;

/// The stream a request names, by `StreamName`, by `StreamARN` (what follows `stream/`), or by both alike.
pub fn stream_of(name: Option<&str>, arn: Option<&str>) -> Result<String, Fault> {
    if let Some(name) = name {
        check_name("streamName", name)?;
    }
    let of_arn = arn.map(name_in_arn).transpose()?;
    match (name, of_arn) {
        (Some(name), Some(other)) if name != other => {
            Err(Fault::invalid("StreamName and StreamARN name different streams."))
        }
        (Some(name), _) | (None, Some(name)) => Ok(name.to_owned()),
        (None, None) => Err(Fault::invalid("Either StreamName or StreamARN must be given.")),
    }
}

/// `[a-zA-Z0-9_.-]{1,128}`: stream names and shard ids.
pub fn check_name(member: &str, name: &str) -> Result<(), Fault> {
    if name.is_empty() {
        return Err(Fault::constraint(member, "Member must have length greater than or equal to 1"));
    }
    if name.len() > NAME_MAX {
        return Err(Fault::constraint(member, "Member must have length less than or equal to 128"));
    }
    if !name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-')) {
        return Err(Fault::constraint(member, "Member must satisfy regular expression pattern: [a-zA-Z0-9_.-]+"));
    }
    Ok(())
}

/// `arn:aws.*:kinesis:.*:\d{12}:stream/NAME`
fn name_in_arn(arn: &str) -> Result<&str, Fault> {
    let bad = || {
        Fault::constraint(
            "streamARN",
            r"Member must satisfy regular expression pattern: arn:aws.*:kinesis:.*:\d{12}:stream/\S+",
        )
    };
    if arn.len() > ARN_MAX {
        return Err(bad());
    }
    let mut parts = arn.splitn(6, ':');
    let well_formed = parts.next() == Some("arn")
        && parts.next().is_some_and(|partition| partition.starts_with("aws"))
        && parts.next() == Some("kinesis")
        && parts.next().is_some()
        && parts.next().is_some_and(|account| account.len() == 12 && account.bytes().all(|b| b.is_ascii_digit()));
    let name = parts.next().and_then(|resource| resource.strip_prefix("stream/")).filter(|_| well_formed);
    let name = name.ok_or_else(bad)?;
    check_name("streamARN", name).map_err(|_| bad())?;
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_arns_give_the_stream() {
        let arn = "arn:aws:kinesis:us-east-1:123456789012:stream/orders";
        assert_eq!(stream_of(None, Some(arn)).unwrap(), "orders");
        assert_eq!(stream_of(Some("orders"), Some(arn)).unwrap(), "orders");
        assert_eq!(stream_of(Some("customers"), Some(arn)).unwrap_err().code, "InvalidArgumentException");
        assert_eq!(stream_of(None, None).unwrap_err().code, "InvalidArgumentException");
    }

    #[test]
    fn bad_names_are_refused_without_being_quoted() {
        let long = "x".repeat(129);
        for bad in ["", "a b", "a/b", "é", &long] {
            let fault = stream_of(Some(bad), None).unwrap_err();
            assert_eq!(fault.code, "ValidationException", "{bad:?}");
        }
        for bad in [
            "orders",
            "arn:aws:sqs:us-east-1:123456789012:stream/orders",
            "arn:aws:kinesis:us-east-1:1234:stream/orders",
            "arn:aws:kinesis:us-east-1:123456789012:stream/",
            "arn:aws:kinesis:us-east-1:123456789012:stream/a/consumer/b:1",
            "arn:aws:kinesis:us-east-1:123456789012",
        ] {
            assert_eq!(stream_of(None, Some(bad)).unwrap_err().code, "ValidationException", "{bad}");
        }
    }
}
