"""taskiq with its broker for SQS."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Any

from taskiq.api import run_receiver_task
from taskiq_aio_sqs import SQSBroker

_TASK = "bench.handle"
_BATCH = 10


def _broker(queue_url: str) -> Any:
    return SQSBroker(
        queue_url.rpartition("/")[2],
        region_name=os.environ["AWS_REGION"],
        endpoint_url=os.environ["AWS_ENDPOINT_URL_SQS"],
        wait_time_seconds=1,
        max_number_of_messages=_BATCH,
    )


def fill(queue_url: str, message: dict[str, Any], count: int) -> None:
    asyncio.run(_fill(queue_url, message, count))


async def _fill(queue_url: str, message: dict[str, Any], count: int) -> None:
    broker = _broker(queue_url)

    async def handle(message: dict[str, Any]) -> None: ...

    task = broker.register_task(handle, _TASK)
    await broker.startup()
    for _ in range(count):
        await task.kiq(message)
    await broker.shutdown()


def work(task: dict[str, Any], done: Callable[[], None]) -> None:
    asyncio.run(_work(task, done))


async def _work(task: dict[str, Any], done: Callable[[], None]) -> None:
    broker = _broker(task["queue_url"])
    broker.is_worker_process = True

    async def handle(message: dict[str, Any]) -> None:
        done()

    broker.register_task(handle, _TASK)
    await run_receiver_task(broker, max_async_tasks=task["concurrency"], run_startup=True)
