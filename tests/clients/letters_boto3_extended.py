"""Looks at a dead-letter queue of ten messages at most with the SQS Extended Client Library for Python, which knows nothing of meshgate.

Each message is one line of JSON. They stay in the queue, and visible.
"""

import json
import sys

import boto3
import sqs_extended_client  # noqa: F401  gives boto3's client its powers

endpoint, queue = sys.argv[1:]
sqs = boto3.client("sqs", endpoint_url=endpoint)
# Emulators have no name of their own for each bucket.
paths = boto3.session.Config(s3={"addressing_style": "path"})
sqs.s3_client = boto3.client("s3", endpoint_url=endpoint, config=paths)
url = sqs.get_queue_url(QueueName=queue)["QueueUrl"]
answer = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, MessageAttributeNames=["All"], VisibilityTimeout=0)
for message in answer["Messages"]:
    attributes = {name: value["StringValue"] for name, value in message["MessageAttributes"].items()}
    print(json.dumps({"document": json.loads(message["Body"]), "attributes": attributes}))
