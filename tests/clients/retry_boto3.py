"""A boto3 producer whose answers get lost: it writes the events of stdin, a JSON line each, and lets boto3 retry.

Prints the number of failed records boto3 reports in the end.
"""

import sys

import boto3
from botocore.config import Config

kinesis = boto3.client("kinesis", config=Config(retries={"mode": "standard", "total_max_attempts": 5}, read_timeout=5))
records = [{"Data": line.rstrip("\n").encode(), "PartitionKey": "k"} for line in sys.stdin if line.strip()]
print(kinesis.put_records(StreamName=sys.argv[1], Records=records)["FailedRecordCount"])
