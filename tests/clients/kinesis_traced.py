"""A boto3 producer whose requests belong to a trace: puts one good and one bad event on the stream named on the command line.

With a second argument that is its `traceparent`, as OpenTelemetry's instrumentation of an HTTP client adds it. Without, boto3 adds
`X-Amzn-Trace-Id` by itself where it finds the environment of a Lambda function.
"""

import sys

import boto3
from botocore.config import Config

stream, traceparent = sys.argv[1], sys.argv[2:]
kinesis = boto3.client("kinesis", config=Config(retries={"total_max_attempts": 1}))


def trace(request, **_):
    request.headers["traceparent"] = traceparent[0]
    request.headers["tracestate"] = "vendor=opaque"


if traceparent:
    kinesis.meta.events.register("before-send.kinesis", trace)

events = [
    b'{"type":"parcel.sent","id":"1","data":{"weight":1,"recipient":"Ada"}}',
    b'{"type":"parcel.sent","id":"2","data":{"weight":-1,"recipient":"Ada"}}',
]
answer = kinesis.put_records(StreamName=stream, Records=[{"Data": event, "PartitionKey": "k"} for event in events])
assert answer["FailedRecordCount"] == 0, answer
