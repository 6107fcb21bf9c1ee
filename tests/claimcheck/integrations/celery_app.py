"""A Celery app, for the tests and for the workers that they start.

What it needs is in the environment, and what its tasks did is in a file: a line for each step.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from celery import Celery, Task
from celery.exceptions import Reject

from claimcheck.integrations.celery import install

SETTINGS: dict[str, Any] = json.loads(os.environ["CELERY_TEST_SETTINGS"])
STEPS = Path(os.environ["CELERY_TEST_STEPS"])

app = Celery("shop", set_as_current=False)
app.conf.update(SETTINGS["conf"])
if SETTINGS["installed"]:
    install(app)


def task(name: str, **options: Any) -> Callable[[Callable[..., object]], Any]:
    """A decorator with a type: Celery has none."""
    return app.task(name=name, **options)  # type: ignore[no-any-return]


def note(step: str, payload: object = None) -> None:
    """Add a line to the file."""
    line = json.dumps([step, digest(payload), os.getpid()]) + "\n"
    descriptor = os.open(STEPS, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, line.encode())
    os.close(descriptor)


def digest(payload: object) -> str:
    return hashlib.sha256(repr(payload).encode()).hexdigest()


@task("take")
def take(payload: Any, *, label: str = "take") -> None:
    note(label, payload)


@task("hang")
def hang(payload: Any, *, until: str) -> None:
    """Run until the test makes a file, or ends the worker."""
    note("hangs", payload)
    while not Path(until).exists():
        time.sleep(0.02)
    note("ends", payload)


@task("flaky", bind=True, autoretry_for=(ConnectionError,), default_retry_delay=0)
def flaky(self: Task, payload: Any) -> None:
    note(f"try {self.request.retries}", payload)
    if self.request.retries < 2:
        raise ConnectionError


@task("refuse", bind=True)
def refuse(self: Task, payload: Any) -> None:
    note("refuses", payload)
    raise Reject("not now", requeue=False)


@task("grow")
def grow(payload: str, *, by: str) -> str:
    """A link of a chain: its result travels in the next message."""
    note("grows", payload)
    return payload + by
