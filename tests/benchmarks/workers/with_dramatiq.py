"""dramatiq with its broker for SQS."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from typing import Any

import dramatiq
from dramatiq_sqs import SQSBroker

_ACTOR = "handle"


def _broker(queue_url: str) -> tuple[Any, str]:
    """The broker, and the name of its queue; it puts a namespace before it."""
    namespace, _, name = queue_url.rpartition("/")[2].partition("_")
    return SQSBroker(namespace=namespace, middleware=[]), name


def fill(queue_url: str, message: dict[str, Any], count: int) -> None:
    broker, name = _broker(queue_url)
    broker.declare_queue(name)
    for _ in range(count):
        broker.enqueue(
            dramatiq.Message(
                queue_name=name, actor_name=_ACTOR, args=(message,), kwargs={}, options={}
            )
        )


def work(task: dict[str, Any], done: Callable[[], None]) -> None:
    broker, name = _broker(task["queue_url"])

    def handle(message: dict[str, Any]) -> None:
        done()

    dramatiq.actor(broker=broker, queue_name=name, actor_name=_ACTOR)(handle)
    over = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: over.set())
    worker = dramatiq.Worker(broker, worker_threads=task["concurrency"])
    worker.start()
    over.wait()
    worker.stop()
