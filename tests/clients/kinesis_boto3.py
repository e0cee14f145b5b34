"""An ordinary boto3 producer and consumer against the endpoint in AWS_ENDPOINT_URL_KINESIS.

Writes good and bad events to the stream named on the command line, reads the stream back, and checks that what boto3
shows is what Kinesis would show. Prints what it did as one JSON line; a failed check is an AssertionError.
"""

import json
import sys

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

stream = sys.argv[1]
kinesis = boto3.client("kinesis", config=Config(retries={"total_max_attempts": 1}))


def good(number):
    # Spaces and order that no serialiser would write: byte for byte means these too.
    return b'{ "type":"parcel.sent",  "id": "boto3-%d", "data":{"weight": 1.50, "recipient":"Ada \xc3\xa9"} }' % number


def bad(number):
    return b'{"type":"parcel.sent","id":"boto3-bad-%d","data":{"recipient":"Ada","weight":-1}}' % number


def refused(call, **arguments):
    """The code of the ClientError that `call` must raise."""
    try:
        call(**arguments)
    except ClientError as error:
        assert error.response["ResponseMetadata"]["HTTPStatusCode"] == 400, error.response
        assert error.response["ResponseMetadata"]["RequestId"], error.response
        assert error.response["Error"]["Message"], error.response
        return error
    raise AssertionError(f"{call} raised nothing for {arguments}")


# Writing.
kinesis.get_waiter("stream_exists").wait(StreamName=stream, WaiterConfig={"Delay": 1, "MaxAttempts": 3})
put = kinesis.put_record(StreamName=stream, PartitionKey="ada", Data=good(0))
assert put["ShardId"].startswith("shardId-"), put
assert put["SequenceNumber"].isdigit(), put

records = [{"PartitionKey": f"key-{i}", "Data": bad(i) if i % 3 == 2 else good(i)} for i in range(1, 10)]
records[0]["ExplicitHashKey"] = "0"
batch = kinesis.put_records(StreamName=stream, Records=records)
assert batch["FailedRecordCount"] == 0, batch
assert len(batch["Records"]) == len(records), batch
for result in batch["Records"]:
    assert result["SequenceNumber"].isdigit() and result["ShardId"].startswith("shardId-"), result
    assert "ErrorCode" not in result, result
assert len({r["SequenceNumber"] for r in batch["Records"]}) == len(records), "each record has a number of its own"

malformed = kinesis.put_record(StreamName=stream, PartitionKey="ada", Data=b'{"type":"parcel.sent"')
assert malformed["SequenceNumber"].isdigit(), malformed

# Asking about the stream.
description = kinesis.describe_stream(StreamName=stream)["StreamDescription"]
assert description["StreamName"] == stream and description["StreamStatus"] == "ACTIVE", description
assert description["StreamARN"].endswith(f":stream/{stream}"), description
summary = kinesis.describe_stream_summary(StreamName=stream)["StreamDescriptionSummary"]
shards = kinesis.list_shards(StreamName=stream)["Shards"]
assert summary["OpenShardCount"] == len(shards) == len(description["Shards"]), (summary, shards)
assert {s["ShardId"] for s in shards} >= {r["ShardId"] for r in batch["Records"]}, (shards, batch)
assert stream in kinesis.list_streams()["StreamNames"]
by_arn = kinesis.put_record(StreamARN=description["StreamARN"], PartitionKey="ada", Data=good(10))
assert by_arn["SequenceNumber"].isdigit(), by_arn

# Reading back, byte for byte.
expected = sorted([good(0), good(10)] + [r["Data"] for r in records if b"bad" not in r["Data"]])
read, latest = [], []
for shard in shards:
    arguments = {"StreamName": stream, "ShardId": shard["ShardId"]}
    iterator = kinesis.get_shard_iterator(ShardIteratorType="TRIM_HORIZON", **arguments)["ShardIterator"]
    here = []
    while True:
        answer = kinesis.get_records(ShardIterator=iterator, Limit=2)
        here += answer["Records"]
        iterator = answer["NextShardIterator"]
        if not answer["Records"] and answer["MillisBehindLatest"] == 0:
            break
    read += here
    numbers = [int(r["SequenceNumber"]) for r in here]
    assert numbers == sorted(numbers), "a shard is read in the order of its numbers"
    if here:
        for kind, count in (("AT_SEQUENCE_NUMBER", len(here)), ("AFTER_SEQUENCE_NUMBER", len(here) - 1)):
            start = kinesis.get_shard_iterator(
                ShardIteratorType=kind, StartingSequenceNumber=here[0]["SequenceNumber"], **arguments
            )
            assert len(kinesis.get_records(ShardIterator=start["ShardIterator"])["Records"]) == count, kind
        start = kinesis.get_shard_iterator(
            ShardIteratorType="AT_TIMESTAMP", Timestamp=here[0]["ApproximateArrivalTimestamp"], **arguments
        )
        assert len(kinesis.get_records(ShardIterator=start["ShardIterator"])["Records"]) == len(here)
    start = kinesis.get_shard_iterator(ShardIteratorType="LATEST", **arguments)
    latest += kinesis.get_records(ShardIterator=start["ShardIterator"])["Records"]
assert sorted(r["Data"] for r in read) == expected, read
assert {r["PartitionKey"] for r in read} <= {"ada"} | {r["PartitionKey"] for r in records}
assert put["SequenceNumber"] in {r["SequenceNumber"] for r in read}, "the number that the producer saw"
assert not latest, "nothing is after the latest"

# Errors arrive as the exceptions a program would catch.
codes = {}
for name, exception, call, arguments in (
    ("unknown stream", kinesis.exceptions.ResourceNotFoundException, kinesis.put_record,
     {"StreamName": "no-such-stream", "PartitionKey": "k", "Data": b"{}"}),
    ("unknown stream in a batch", kinesis.exceptions.ResourceNotFoundException, kinesis.put_records,
     {"StreamName": "no-such-stream", "Records": [{"PartitionKey": "k", "Data": b"{}"}]}),
    ("describe unknown stream", kinesis.exceptions.ResourceNotFoundException, kinesis.describe_stream_summary,
     {"StreamName": "no-such-stream"}),
    ("bad hash key", kinesis.exceptions.InvalidArgumentException, kinesis.put_record,
     {"StreamName": stream, "PartitionKey": "k", "ExplicitHashKey": str(2**128), "Data": b"{}"}),
    ("bad iterator", kinesis.exceptions.InvalidArgumentException, kinesis.get_records, {"ShardIterator": "nonsense"}),
):
    error = refused(call, **arguments)
    assert isinstance(error, exception), (name, error)
    codes[name] = error.response["Error"]["Code"]
too_many = refused(
    kinesis.put_records, StreamName=stream, Records=[{"PartitionKey": "k", "Data": b"{}"}] * 501
)
codes["501 records"] = too_many.response["Error"]["Code"]
unsupported = refused(kinesis.register_stream_consumer, StreamARN=description["StreamARN"], ConsumerName="c")
codes["unsupported operation"] = unsupported.response["Error"]["Code"]

print(json.dumps({"read": len(read), "shards": len(shards), "codes": codes}))
