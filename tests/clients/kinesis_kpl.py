"""A producer that aggregates as the Kinesis Producer Library does, and a consumer that takes apart what it reads, as the KCL does.

Writes containers of good and bad events to the stream named on the command line, at the endpoint in AWS_ENDPOINT_URL_KINESIS, reads
the stream back, and checks that a consumer gets every good event once, in the order of its key, from a container that does not
straddle shards. Prints what it did as one JSON line; a failed check is an AssertionError.
"""

import base64
import hashlib
import json
import sys

import boto3
from aws_kinesis_agg.aggregator import RecordAggregator
from aws_kinesis_agg.deaggregator import iter_deaggregate_records
from botocore.config import Config

stream = sys.argv[1]
kinesis = boto3.client("kinesis", config=Config(retries={"total_max_attempts": 1}))


def event(number):
    weight = b"-1" if number % 7 == 3 else b"1.50"
    return b'{ "type":"parcel.sent",  "id": "kpl-%d", "data":{"weight": %s, "recipient":"Ada"} }' % (number, weight)


def is_good(number):
    return number % 7 != 3


def hash_of(key):
    return int.from_bytes(hashlib.md5(key.encode()).digest(), "big")


kinesis.get_waiter("stream_exists").wait(StreamName=stream, WaiterConfig={"Delay": 1, "MaxAttempts": 3})
shards = kinesis.list_shards(StreamName=stream)["Shards"]
ranges = {s["ShardId"]: tuple(int(s["HashKeyRange"][end]) for end in ("StartingHashKey", "EndingHashKey")) for s in shards}
assert len(ranges) > 1, "with one shard nothing can straddle"

# Writing: containers of whatever comes, and one of good events for one shard, as the library predicts it.
containers = []
aggregator = RecordAggregator(max_size=2_000)
for number in range(300):
    full = aggregator.add_user_record(f"key-{number % 20}", event(number), str(number) if number % 50 == 0 else None)
    if full:
        containers.append(full.get_contents())
containers.append(aggregator.clear_and_get().get_contents())
first, last = ranges[shards[-1]["ShardId"]]
whole = RecordAggregator()
for number in range(1_001, 1_030):
    if is_good(number):
        whole.add_user_record("whole", event(number), str(first + number))
containers.append(whole.clear_and_get().get_contents())
untouched = containers[-1][2]

records = [
    {"PartitionKey": key, "Data": data, **({"ExplicitHashKey": hash_key} if hash_key else {})} for key, hash_key, data in containers
]
records.append({"PartitionKey": "plain", "Data": event(2_000)})
batch = kinesis.put_records(StreamName=stream, Records=records)
assert batch["FailedRecordCount"] == 0, batch
assert len(batch["Records"]) == len(records), batch

# Reading.
read, carried = [], 0
for shard, (start, end) in ranges.items():
    iterator = kinesis.get_shard_iterator(StreamName=stream, ShardId=shard, ShardIteratorType="TRIM_HORIZON")["ShardIterator"]
    found = []
    while page := kinesis.get_records(ShardIterator=iterator):
        iterator = page["NextShardIterator"]
        found += page["Records"]
        if not page["Records"] and page["MillisBehindLatest"] == 0:
            break
    carried += len(found)
    if shard == shards[-1]["ShardId"]:
        assert untouched in [record["Data"] for record in found], "a good container of one shard goes byte for byte"
    for record in found:
        for user in iter_deaggregate_records([record], data_format="Boto3"):
            user = user["kinesis"]
            key, hash_key = user["partitionKey"], user.get("explicitHashKey")
            text = json.loads(base64.b64decode(user["data"]) if user.get("aggregated") else user["data"])
            number = int(text["id"].removeprefix("kpl-"))
            read.append((number, key))
            # What the KCL drops a container for. (Those with a hash key of their own share containers with others: the Python
            # reader gives the first hash key to records that have none.)
            if not hash_key:
                assert start <= hash_of(key) <= end, f"{number} straddles"
            elif number % 50 == 0:
                assert start <= int(hash_key) <= end, f"{number} straddles"

expected = [number for number in [*range(300), *range(1_001, 1_030), 2_000] if is_good(number)]
assert sorted(number for number, _ in read) == expected, "every good event once, and no other"
for number, key in read:
    assert key == ("plain" if number == 2_000 else "whole" if number > 1_000 else f"key-{number % 20}"), (number, key)
for key in {key for _, key in read}:
    # Those with hash keys of their own may lie on another shard than their key's.
    numbers = [number for number, of in read if of == key and (number > 1_000 or number % 50)]
    assert numbers == sorted(numbers), f"order within {key}"
print(json.dumps({"sent": len(records), "read": len(read), "carried": carried}))
