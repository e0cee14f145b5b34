"""Calls of AWS by whoever may or may not make them: [[credentials or null, service, operation, parameters], …] as JSON on standard input.

  calls.py ENDPOINT

Prints a list of answers: {"ok": …}, or {"refused": why}.
"""
import json
import sys

import boto3
import botocore.exceptions

answers = []
for credentials, service, operation, parameters in json.load(sys.stdin):
    key, secret, token = credentials or ("test", "test", None)
    client = boto3.client(
        service,
        endpoint_url=sys.argv[1],
        region_name="us-east-1",
        aws_access_key_id=key,
        aws_secret_access_key=secret,
        aws_session_token=token or None,
    )
    try:
        answers.append({"ok": getattr(client, operation)(**parameters)})
    except botocore.exceptions.ClientError as error:
        answers.append({"refused": str(error)})
json.dump(answers, sys.stdout, default=str)
