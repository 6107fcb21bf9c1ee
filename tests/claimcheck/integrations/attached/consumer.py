"""Receives a message, says how long it is, and hangs: a process to kill."""

from __future__ import annotations

import sys
import time

import boto3

from claimcheck.integrations.boto3 import attach

if __name__ == "__main__":
    sqs = attach(boto3.client("sqs"))
    answer = sqs.receive_message(QueueUrl=sys.argv[1], WaitTimeSeconds=20)
    print("received", len(answer["Messages"][0]["Body"]), flush=True)
    time.sleep(600)
