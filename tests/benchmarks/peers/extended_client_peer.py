"""AWS's own extended client for Python: messages over 262,144 bytes go to S3."""

from __future__ import annotations

import json
from typing import Any

from sqs_extended_client.client import S3_KEY_MARKER, SQSExtendedClientSession

from tests.benchmarks.payloads import encode
from tests.benchmarks.peers.base import WAIT_SECONDS, Message, Peer, Place


class _ExtendedClient:
    def __init__(self, place: Place) -> None:
        self._url = place.queue_url
        self._sqs = _client()
        self._sqs.large_payload_support = place.bucket
        # As claimcheck does. Otherwise payloads stay until a lifecycle rule removes them.
        self._sqs.delete_payload_from_s3 = True
        # Its own method takes the text after the last "-" for the receipt handle of SQS, but a
        # handle of MiniStack contains a "-". This one looks after the client's own marker.
        self._sqs.get_original_receipt_handle = _after_the_marker

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


def _client() -> Any:
    # It adds methods and attributes to boto3's client, of which no type knows.
    return SQSExtendedClientSession().client("sqs")


def _after_the_marker(handle: str) -> str:
    return handle.rpartition(S3_KEY_MARKER)[2]


def open_peer(place: Place) -> Peer:
    return _ExtendedClient(place)
