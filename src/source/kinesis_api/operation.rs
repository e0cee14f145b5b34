//! The operations of Kinesis by name: what this gate does, and what it knows but leaves to AWS.

/// `X-Amz-Target` of each Kinesis operation starts with this, then `.` and its name.
pub const SERVICE: &str = "Kinesis_20131202";

/// What the gate answers itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    PutRecord,
    PutRecords,
    ListShards,
    ListStreams,
    DescribeStream,
    DescribeStreamSummary,
    GetShardIterator,
    GetRecords,
}

/// The rest of the API, as of botocore 1.44.5: known, so that the answer can say that it is not offered *here*.
const ELSEWHERE: &[&str] = &[
    "AcknowledgeDeadLetterQueueRecords",
    "AcknowledgeQueueRecords",
    "AddTagsToStream",
    "CreateChannel",
    "CreateQueue",
    "CreateStream",
    "DecreaseStreamRetentionPeriod",
    "DeleteChannel",
    "DeleteQueue",
    "DeleteResourcePolicy",
    "DeleteStream",
    "DeregisterStreamConsumer",
    "DescribeAccountSettings",
    "DescribeChannel",
    "DescribeLimits",
    "DescribeQueue",
    "DescribeStreamConsumer",
    "DisableEnhancedMonitoring",
    "EnableEnhancedMonitoring",
    "GetResourcePolicy",
    "IncreaseStreamRetentionPeriod",
    "ListChannels",
    "ListQueues",
    "ListStreamConsumers",
    "ListTagsForResource",
    "ListTagsForStream",
    "MergeShards",
    "PutResourcePolicy",
    "ReceiveDeadLetterQueueRecords",
    "ReceiveQueueRecords",
    "RegisterStreamConsumer",
    "RemoveTagsFromStream",
    "RestoreDeadLetterQueueRecords",
    "SplitShard",
    "StartStreamEncryption",
    "StopStreamEncryption",
    "SubscribeToShard",
    "TagResource",
    "UntagResource",
    "UpdateAccountSettings",
    "UpdateChannel",
    "UpdateDeadLetterQueueRecordsVisibility",
    "UpdateMaxRecordSize",
    "UpdateQueue",
    "UpdateQueueRecordsVisibility",
    "UpdateShardCount",
    "UpdateStreamMode",
    "UpdateStreamRecordDistributionStrategy",
    "UpdateStreamWarmThroughput",
];

/// What an `X-Amz-Target` asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    Offered(Operation),
    /// A Kinesis operation that this gate leaves to AWS.
    Elsewhere(&'static str),
    /// A Kinesis target of a name that no version known here has.
    Unknown,
    /// Another AWS service's.
    OtherService,
}

impl Target {
    pub fn parse(target: &str) -> Self {
        let Some(name) = target.strip_prefix(SERVICE).and_then(|rest| rest.strip_prefix('.')) else {
            return Self::OtherService;
        };
        match name {
            "PutRecord" => Self::Offered(Operation::PutRecord),
            "PutRecords" => Self::Offered(Operation::PutRecords),
            "ListShards" => Self::Offered(Operation::ListShards),
            "ListStreams" => Self::Offered(Operation::ListStreams),
            "DescribeStream" => Self::Offered(Operation::DescribeStream),
            "DescribeStreamSummary" => Self::Offered(Operation::DescribeStreamSummary),
            "GetShardIterator" => Self::Offered(Operation::GetShardIterator),
            "GetRecords" => Self::Offered(Operation::GetRecords),
            _ => ELSEWHERE.iter().find(|known| **known == name).map_or(Self::Unknown, |known| Self::Elsewhere(known)),
        }
    }

    /// The metric label: from a closed set, whatever the client sent.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Offered(operation) => operation.name(),
            Self::Elsewhere(name) => name,
            Self::Unknown | Self::OtherService => "other",
        }
    }
}

impl Operation {
    pub const fn name(self) -> &'static str {
        match self {
            Self::PutRecord => "PutRecord",
            Self::PutRecords => "PutRecords",
            Self::ListShards => "ListShards",
            Self::ListStreams => "ListStreams",
            Self::DescribeStream => "DescribeStream",
            Self::DescribeStreamSummary => "DescribeStreamSummary",
            Self::GetShardIterator => "GetShardIterator",
            Self::GetRecords => "GetRecords",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_told_apart_and_labels_come_from_a_closed_set() {
        assert_eq!(Target::parse("Kinesis_20131202.PutRecords"), Target::Offered(Operation::PutRecords));
        assert_eq!(Target::parse("Kinesis_20131202.SplitShard").label(), "SplitShard");
        for unknown in ["Kinesis_20131202.Nope", "Kinesis_20131202.", "AmazonSQS.SendMessage", "", "Kinesis_20131202"] {
            assert_eq!(Target::parse(unknown).label(), "other", "{unknown:?}");
        }
        assert_eq!(Target::parse("DynamoDB_20120810.PutItem"), Target::OtherService);
        assert_eq!(Target::parse("Kinesis_20131202.Nope"), Target::Unknown);
        assert_eq!(ELSEWHERE.len() + 8, 57, "botocore 1.44.5 has 57 operations");
    }
}
