"""claimcheck: `enqueue`, and `@unwrap_claim_check` on a function that works on one record.

People use it so in a receive loop of their own, and so it makes the same calls as the other peers.
`worker_throughput.py` measures `Worker`, which has its own loop.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import boto3

from claimcheck import enqueue, unwrap_claim_check
from tests.benchmarks.peers.base import WAIT_SECONDS, Message, Peer, Place

if TYPE_CHECKING:
    from collections.abc import Mapping


class ClaimCheckPeer:
    def __init__(self, place: Place, store: str) -> None:
        os.environ["LETSGO_QUEUE_URL"] = self._url = place.queue_url
        os.environ["CLAIMCHECK_STORE"] = store
        self._sqs = boto3.client("sqs")

    def send(self, message: Message) -> None:
        enqueue(message)

    def receive(self) -> Message:
        answer = self._sqs.receive_message(
            QueueUrl=self._url,
            WaitTimeSeconds=WAIT_SECONDS,
            MessageSystemAttributeNames=["ApproximateReceiveCount"],
        )
        [received] = answer["Messages"]
        message = _on_record(
            {
                "messageId": received["MessageId"],
                "receiptHandle": received["ReceiptHandle"],
                "body": received["Body"],
                "attributes": received["Attributes"],
            }
        )
        self._sqs.delete_message(QueueUrl=self._url, ReceiptHandle=received["ReceiptHandle"])
        return message

    def close(self) -> None:
        self._sqs.close()


@unwrap_claim_check
def _on_record(record: Mapping[str, Any]) -> Message:
    message: Message = json.loads(record["body"])
    return message


def open_peer(place: Place) -> Peer:
    return ClaimCheckPeer(place, f"dynamodb://{place.table}")
