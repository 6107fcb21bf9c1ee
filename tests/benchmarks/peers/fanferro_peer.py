"""fanferro: SQS with a core in Rust. Messages over 262,144 bytes go to S3.

It has no call that receives one message. So a consumer runs: the round resumes it, and its handler
pauses it again. The round ends when the consumer says that it acknowledged the message and deleted
the payload from S3. By then it has polled once more, but polls that find nothing do not count.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os

import fanferro

from tests.benchmarks.payloads import encode
from tests.benchmarks.peers.base import Message, Peer, Place


class _Fanferro:
    def __init__(self, place: Place) -> None:
        # It warns that the queue has no dead-letter queue. No other library asks for one.
        logging.getLogger("fanferro").setLevel(logging.ERROR)
        self._loop = asyncio.new_event_loop()
        self._client = fanferro.Client(
            region=os.environ["AWS_REGION"],
            large_payloads=fanferro.LargePayloads(place.bucket),
        )
        self._queue = self._client.queue(url=place.queue_url)
        self._consumer = self._client.consumer(
            self._queue,
            self._on_message,
            concurrency=1,
            batch_size=1,
            prefetch=0,
            wait_time=0,
            # As claimcheck does.
            delete_offloaded_payloads=True,
            settle_linger=0,
        )
        self._received: Message = {}
        self._acknowledged, self._deleted = asyncio.Event(), asyncio.Event()
        kinds = fanferro.EventKind
        self._client.on(kinds.MESSAGE_ACKED, lambda _: self._acknowledged.set())
        self._client.on(kinds.PAYLOAD_OFFLOADED, lambda _: self._deleted.clear())
        self._client.on(kinds.PAYLOAD_DELETED, lambda _: self._deleted.set())
        self._deleted.set()
        self._loop.run_until_complete(self._start())

    def send(self, message: Message) -> None:
        self._loop.run_until_complete(self._queue.send(encode(message)))

    def receive(self) -> Message:
        return self._loop.run_until_complete(self._receive())

    def close(self) -> None:
        self._loop.run_until_complete(self._stop())
        self._loop.close()

    async def _start(self) -> None:
        await self._client.connect()
        await self._consumer.start()
        self._consumer.pause()

    async def _receive(self) -> Message:
        self._acknowledged.clear()
        self._consumer.resume()
        await self._acknowledged.wait()
        await self._deleted.wait()
        return self._received

    async def _stop(self) -> None:
        await self._consumer.stop()
        await self._client.close()

    async def _on_message(self, body: str) -> None:
        self._consumer.pause()
        self._received = json.loads(body)


def open_peer(place: Place) -> Peer:
    return _Fanferro(place)
