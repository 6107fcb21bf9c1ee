"""This library's worker, with the claim check on its handler."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from claimcheck import unwrap_claim_check
from letsgo_queue import Worker
from letsgo_queue.worker.processes import fork_processes
from tests.benchmarks.payloads import TYPE
from tests.benchmarks.workers import WAIT_SECONDS

SLOW_SECONDS = 0.5
BUSY_SECONDS = 0.005


def work(task: dict[str, Any], done: Callable[[], None]) -> None:
    worker = Worker(
        task["queue_url"],
        concurrency=task["concurrency"],
        wait_seconds=task.get("wait_seconds", WAIT_SECONDS),
    )
    match task["worker"]:
        case "sync":

            @worker.handler(TYPE)
            @unwrap_claim_check
            def on_message(message: dict[str, Any]) -> None:
                done()

        case "async":

            @worker.handler(TYPE)
            @unwrap_claim_check
            async def on_message_async(message: dict[str, Any]) -> None:
                done()

        case "slow":

            @worker.handler(TYPE)
            @unwrap_claim_check
            async def on_message_slowly(message: dict[str, Any]) -> None:
                done()  # it has begun
                await asyncio.sleep(SLOW_SECONDS)
                done()

        case "busy":

            @worker.handler(TYPE)
            @unwrap_claim_check
            def on_message_busily(message: dict[str, Any]) -> None:
                began = time.thread_time()
                while time.thread_time() - began < BUSY_SECONDS:
                    pass
                done()

    if task["processes"] == 1:
        worker.run()
    elif child := fork_processes(task["processes"], drain_timeout=10, until_done=False):
        child.when_told_to_stop(worker.stop)
        worker.run()
