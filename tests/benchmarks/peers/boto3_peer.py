"""boto3 alone, with no library. Messages must fit the queue."""

from __future__ import annotations

import json

import boto3

from tests.benchmarks.payloads import encode
from tests.benchmarks.peers.base import WAIT_SECONDS, Message, Peer, Place


class _Boto3:
    def __init__(self, place: Place) -> None:
        self._url = place.queue_url
        self._sqs = boto3.client("sqs")

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
    return _Boto3(place)
