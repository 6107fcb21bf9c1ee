"""taskiq-aio-sqs: taskiq's broker for SQS. Messages over 262,144 bytes go to S3, and stay there.

Its listener polls without end. A round calls what the listener does for one poll, and so makes the
calls of one message. The message is the bytes of the task, as boto3 alone would send them: the cost
of taskiq itself is not measured.
"""

from __future__ import annotations

import asyncio
import json
import os
import uuid
from typing import Any

from taskiq import BrokerMessage
from taskiq_aio_sqs import SQSBroker

from tests.benchmarks.payloads import encode
from tests.benchmarks.peers.base import WAIT_SECONDS, Message, Peer, Place


class _Taskiq:
    def __init__(self, place: Place) -> None:
        self._url = place.queue_url
        self._loop = asyncio.new_event_loop()
        self._broker: Any = SQSBroker(
            place.queue_url.rpartition("/")[2],
            region_name=os.environ["AWS_REGION"],  # otherwise it has a region of its own
            s3_extended_bucket_name=place.bucket,
            wait_time_seconds=WAIT_SECONDS,
        )
        self._loop.run_until_complete(self._broker.startup())

    def send(self, message: Message) -> None:
        self._loop.run_until_complete(self._send(message))

    def receive(self) -> Message:
        return self._loop.run_until_complete(self._receive())

    def close(self) -> None:
        self._loop.run_until_complete(self._broker.shutdown())
        self._loop.close()

    async def _send(self, message: Message) -> None:
        await self._broker.kick(
            BrokerMessage(
                task_id=uuid.uuid4().hex,
                task_name="bench",
                message=encode(message).encode(),
                labels={},
            )
        )

    async def _receive(self) -> Message:
        queue = self._broker._default_queue
        [received] = await self._broker._receive_messages(queue, self._url)
        ackable = await self._broker._to_ackable_message(received, queue, self._url)
        message: Message = json.loads(ackable.data)
        await ackable.ack()
        return message


def open_peer(place: Place) -> Peer:
    return _Taskiq(place)
