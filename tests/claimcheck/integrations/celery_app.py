"""Tasks, for the workers that the tests start. What they need is in the environment.

The code of the tasks is what anybody would write for Celery alone.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from celery import Task
from celery.exceptions import Reject

from claimcheck.integrations.celery import install
from tests.claimcheck.integrations.celery_broker import WITHOUT_CLAIM_CHECK, make_app
from tests.claimcheck.integrations.steps import note

app = make_app(os.environ)
if WITHOUT_CLAIM_CHECK not in os.environ:
    install(app)


def task(name: str, **options: Any) -> Callable[[Callable[..., object]], Any]:
    """Celery's own decorator, with types."""
    decorator: Callable[[Callable[..., object]], Any] = app.task(name=name, **options)
    return decorator


@task("take")
def take(payload: object) -> None:
    note("took", payload)


@task("grow", acks_late=True)
def grow(payload: str, by: str) -> str:
    """A link of a chain: what it gives travels in the next message."""
    note("grows", payload)
    return payload + by


@task(
    "flaky",
    bind=True,
    acks_late=True,
    autoretry_for=(ConnectionError,),
    default_retry_delay=0,
    max_retries=3,
)
def flaky(self: Task, payload: str) -> None:
    """Fail twice."""
    note("tries", payload)
    if self.request.retries < 2:
        raise ConnectionError


@task("refuse", acks_late=True)
def refuse(payload: str) -> None:
    note("refuses", payload)
    raise Reject(requeue=False)


@task("hang")
def hang(payload: str, until: str) -> None:
    """Run until there is a file."""
    note("hangs", payload)
    while not Path(until).exists():
        time.sleep(0.02)
    note("ends", payload)


@task("hang_late", acks_late=True, reject_on_worker_lost=True)
def hang_late(payload: str, until: str) -> None:
    """The same, acknowledged in the end."""
    hang(payload, until)
