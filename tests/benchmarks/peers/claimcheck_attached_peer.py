"""claimcheck attached to a boto3 client, whose caller does what one without it does."""

from __future__ import annotations

import json
import os

import boto3

from claimcheck.integrations.boto3 import attach
from tests.benchmarks.payloads import encode
from tests.benchmarks.peers.base import WAIT_SECONDS, Message, Peer, Place


class _Attached:
    def __init__(self, place: Place) -> None:
        os.environ["CLAIMCHECK_STORE"] = f"dynamodb://{place.table}?bucket={place.bucket}"
        self._url = place.queue_url
        self._sqs = attach(boto3.client("sqs"))

    def send(self, message: Message) -> None:
        self._sqs.send_message(QueueUrl=self._url, MessageBody=encode(message))

    def receive(self) -> Message:
        answer = self._sqs.receive_message(QueueUrl=self._url, WaitTimeSeconds=WAIT_SECONDS)
        [received] = answer["Messages"]
        message: Message = json.loads(received["Body"])
        self._sqs.delete_message(QueueUrl=self._url, ReceiptHandle=received["ReceiptHandle"])
        return message

    def close(self) -> None:
        self._sqs.close()


def open_peer(place: Place) -> Peer:
    return _Attached(place)
