"""The tasks of the project in these tests."""

from __future__ import annotations

import hashlib
import os
import threading
from contextlib import suppress
from datetime import date
from pathlib import Path
from typing import Any

from django.contrib.auth.models import Group
from django.db import connection, transaction

from claimcheck.integrations.django.tasks_api import TaskContext

try:
    from django.tasks import task
except ModuleNotFoundError:
    from django_tasks import task

ran: list[Any] = []


def note(line: str) -> None:
    """Tell the test in another process."""
    with Path(os.environ["SHOP_JOURNAL"]).open("a") as journal:
        journal.write(f"{line}\n")


@task
def add(first: int, second: int) -> int:
    ran.append((first, second))
    return first + second


@task
def fail(text: str) -> None:
    ran.append("fail")
    raise ZeroDivisionError(text)


@task
def give(what: str) -> object:
    ran.append(what)
    values = {
        "bytes": b"abc",
        "a tuple": (1, (b"x",)),
        "a date": date(2026, 1, 31),
        "a set in a dict": {"a": {1}},
        "bytes that are no text": b"\xff",
        "an object": object(),
    }
    return values[what]


@task
async def give_on_the_loop() -> object:
    note("gave a date")
    return date(2026, 1, 31)


@task(takes_context=True)
def with_context(context: TaskContext, name: str) -> None:
    ran.append((context.attempt, context.task_result.task.name, name))


@task
def make_group(name: str) -> None:
    ran.append(threading.current_thread() is threading.main_thread())
    Group.objects.create(name=name)


@task
async def make_group_async(name: str) -> None:
    await Group.objects.acreate(name=name)


@task(queue_name="mail")
def mail(to: str) -> None:
    ran.append(to)


@task(queue_name="mail")
def mail_and_add(to: str) -> None:
    ran.append(to)
    add.enqueue(1, 2)
    with suppress(ZeroDivisionError), transaction.atomic():
        add.enqueue(3, 4)
        raise ZeroDivisionError


@task
def digest(text: str) -> None:
    note(f"digest {hashlib.sha256(text.encode()).hexdigest()} {len(text)}")


@task
def die_once(text: str) -> None:
    flag = Path(os.environ["SHOP_JOURNAL"]).with_suffix(".died")
    if not flag.exists():
        flag.touch()
        note("dies")
        os._exit(9)
    note(f"digest {hashlib.sha256(text.encode()).hexdigest()} {len(text)}")


@task
async def on_the_loop(text: str) -> None:
    note(f"{threading.current_thread().name} {text}")


@task
def connection_age() -> None:
    """Whether this thread's connection was closed since its last task."""
    was_open = connection.connection is not None
    connection.ensure_connection()
    note(f"open {was_open}")
