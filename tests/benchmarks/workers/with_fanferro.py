"""fanferro: a core in Rust."""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import Callable
from typing import Any

import fanferro


def work(task: dict[str, Any], done: Callable[[], None]) -> None:
    # It warns that the queue has no dead-letter queue. No other library asks for one.
    logging.getLogger("fanferro").setLevel(logging.ERROR)
    asyncio.run(_work(task, done))


async def _work(task: dict[str, Any], done: Callable[[], None]) -> None:
    async def handle(body: str) -> None:
        json.loads(body)
        done()

    client = fanferro.Client(region=os.environ["AWS_REGION"])
    queue = client.queue(url=task["queue_url"])
    consumer = client.consumer(queue, handle, concurrency=task["concurrency"], wait_time=1)
    await client.connect()
    await consumer.start()
    await asyncio.Event().wait()
