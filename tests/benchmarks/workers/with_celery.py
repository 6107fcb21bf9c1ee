"""Celery, with its usual pool of processes."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from celery import Celery

_QUEUE = "bench"
_TASK = "bench.handle"


def _app(queue_url: str) -> Celery:
    place = urlsplit(queue_url)
    return Celery(
        broker=f"sqs://test:test@{place.netloc}//",
        set_as_current=False,
        task_default_queue=_QUEUE,
        task_ignore_result=True,
        worker_enable_remote_control=False,
        worker_send_task_events=False,
        broker_connection_retry_on_startup=True,
        broker_transport_options={
            "region": os.environ["AWS_REGION"],
            "is_secure": False,
            "predefined_queues": {
                _QUEUE: {
                    "url": queue_url,
                    "access_key_id": "test",
                    "secret_access_key": "test",
                }
            },
        },
    )


def fill(queue_url: str, message: dict[str, Any], count: int) -> None:
    app = _app(queue_url)
    with app.connection_for_write() as connection:
        for _ in range(count):
            app.send_task(_TASK, args=[message], queue=_QUEUE, connection=connection)


def work(task: dict[str, Any], done: Callable[[], None]) -> None:
    app = _app(task["queue_url"])

    def handle(message: dict[str, Any]) -> None:
        done()

    app.task(handle, name=_TASK)
    app.worker_main(
        ["worker", "--loglevel=ERROR", f"--concurrency={task['concurrency']}", "--without-mingle"]
    )
