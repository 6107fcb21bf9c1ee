"""Runs tasks: in workers, and for tests on their own thread.

    a message ──> its claim is acquired ──> the task runs ──> done, and off the queue
                                               └── it raises: back to the queue's retries

A task that returns something that is no JSON has done its work: it is done, and its result FAILED.

A sync task runs on a thread, an async one on the worker's event loop. Before and after each,
database connections that were open for too long, or that broke, are closed.
"""

from __future__ import annotations

import inspect
import os
import socket
import sys
import traceback
from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from contextlib import (
    AbstractContextManager,
    asynccontextmanager,
    contextmanager,
    nullcontext,
    suppress,
)
from dataclasses import dataclass, field
from typing import Any

from asgiref.sync import sync_to_async
from django.apps import apps
from django.db import close_old_connections, connections
from django.utils import timezone
from django.utils.module_loading import autodiscover_modules

from claimcheck.errors import SettingsInvalid
from claimcheck.integrations.django.backend import SqsBackend
from claimcheck.integrations.django.messages import SentTask, find_task
from claimcheck.integrations.django.tasks_api import (
    Task,
    TaskContext,
    TaskError,
    TaskResult,
    TaskResultStatus,
    normalize_json,
    task_backends,
    task_finished,
    task_started,
)
from letsgo_queue import Client, Worker
from letsgo_queue.log import get_logger
from letsgo_queue.testing import drain as drain_workers
from letsgo_queue.worker.delivery import Delivery

logger = get_logger(__name__)

TASK_MODULE = "tasks"
DEFAULT_BACKEND = "default"


def workers_for(
    alias: str = DEFAULT_BACKEND, *, queues: Collection[str] | None = None
) -> Sequence[Worker]:
    """The workers of a backend, one for each URL of its queues, the most urgent first.

    Args:
        alias: The name of the backend in `TASKS`.
        queues: Only these of its queues.

    Raises:
        SettingsInvalid: The backend is another one, or a queue is not known or has no URL.
    """
    backend = _backend(alias)
    clients = _clients(backend, queues)
    autodiscover_modules(TASK_MODULE)
    return [_worker(backend, client) for client in clients]


def drain(alias: str = DEFAULT_BACKEND, *, queues: Collection[str] | None = None) -> int:
    """Run the tasks that are due, one after another, on this thread: for tests.

    Tasks that they enqueue on any of these queues run too. All tasks, async ones too, see the data
    in the transaction of a `TestCase`. In a `TestCase` no transaction is committed: enqueue inside
    `self.captureOnCommitCallbacks(execute=True)`. An async test awaits `sync_to_async(drain)()`.

    Args:
        alias: The name of the backend in `TASKS`.
        queues: Only these of its queues.

    Returns:
        How many tasks were run.

    Raises:
        BaseException: The first error of a task.
        SettingsInvalid: The backend is another one, or a queue is not known or has no URL.
    """
    backend = _backend(alias)
    workers = [Worker(client=client) for client in _clients(backend, queues)]
    for worker in workers:
        worker.default(_Handler(backend, in_test=True).run)
    return drain_workers(*workers)


def _backend(alias: str) -> SqsBackend:
    if alias not in task_backends.settings:
        known = ", ".join(sorted(map(repr, task_backends.settings)))
        raise SettingsInvalid(f"TASKS has no backend {alias!r}: give one of {known}.")
    backend = task_backends[alias]
    if not isinstance(backend, SqsBackend):
        raise SettingsInvalid(
            f"TASKS[{alias!r}] is a {type(backend).__name__}: a worker runs the tasks of "
            "claimcheck.integrations.django.SqsBackend."
        )
    return backend


def _clients(backend: SqsBackend, queues: Collection[str] | None) -> Sequence[Client[Any]]:
    """The clients of a backend's queues, of each queue the most urgent first."""
    if unknown := sorted({*(queues or ())} - backend.queues):
        raise SettingsInvalid(
            f"TASKS[{backend.alias!r}] has no queue {unknown[0]!r}: it has "
            f"{', '.join(sorted(backend.queues))}."
        )
    return [
        backend.client(queue, priority)
        for queue in sorted(backend.queues if queues is None else queues)
        for priority in sorted(backend.given.urls_of(queue), reverse=True)
    ]


def _worker(backend: SqsBackend, client: Client[Any]) -> Worker:
    worker = Worker(client=client)
    handler = _Handler(backend)
    worker.default(handler.run)
    for task in _known_tasks():
        if inspect.iscoroutinefunction(task.func):
            worker.handler(task.module_path)(handler.run_async)
    return worker


def _known_tasks() -> Iterator[Task]:
    """The tasks in the modules `tasks` of all apps, each once. Others are run on threads."""
    found: dict[str, Task] = {}
    for app in apps.get_app_configs():
        module = sys.modules.get(f"{app.name}.{TASK_MODULE}")
        for value in vars(module).values() if module else ():
            if isinstance(value, Task):
                found[value.module_path] = value
    yield from found.values()


@dataclass
class _Attempt:
    """A task that runs.

    Attributes:
        result: Its result, as Django is told of it.
        arguments: Its arguments.
        value: What it returned.
    """

    result: TaskResult
    arguments: Sequence[Any] = field(repr=False)
    value: object = field(default=None, repr=False)


class _Handler:
    """The handler of a worker of tasks."""

    def __init__(self, backend: SqsBackend, *, in_test: bool = False) -> None:
        self._backend = backend
        self._in_test = in_test

    def run(self, message: Mapping[str, Any], delivery: Delivery) -> None:
        """Run a task on this thread."""
        with self._attempt(message, delivery) as attempt:
            task, kwargs = attempt.result.task, attempt.result.kwargs
            attempt.value = task.call(*attempt.arguments, **kwargs)

    async def run_async(self, message: Mapping[str, Any], delivery: Delivery) -> None:
        """Run an async task on this event loop, and tell Django about it on a thread."""
        async with _on_a_thread(self._attempt(message, delivery)) as attempt:
            task, kwargs = attempt.result.task, attempt.result.kwargs
            attempt.value = await task.acall(*attempt.arguments, **kwargs)

    @contextmanager
    def _attempt(self, message: Mapping[str, Any], delivery: Delivery) -> Iterator[_Attempt]:
        """Tell Django that an attempt begins, and how it ends."""
        with self._connections():
            attempt = self._begin(message, delivery)
            try:
                yield attempt
            except BaseException as error:
                self._fail(attempt.result, error)
                raise
            self._succeed(attempt.result, attempt.value)

    @contextmanager
    def _connections(self) -> Iterator[None]:
        if self._in_test:  # a connection that a test has a transaction in stays
            with _committed():
                yield
            return
        close_old_connections()
        try:
            yield
        finally:
            close_old_connections()

    def _begin(self, message: Mapping[str, Any], delivery: Delivery) -> _Attempt:
        sent = SentTask.read(message)
        result = sent.result(find_task(str(message["type"])))
        now = timezone.now()
        _set(
            result,
            status=TaskResultStatus.RUNNING,
            started_at=now,
            last_attempted_at=now,
            # Only the number of the earlier attempts is known.
            worker_ids=[_worker_id()] * delivery.receive_count,
        )
        self._backend.tell(task_started, result)
        arguments = [*result.args]
        if result.task.takes_context:
            arguments.insert(0, TaskContext(task_result=result))
        return _Attempt(result, arguments)

    def _fail(self, result: TaskResult, error: BaseException) -> None:
        _set(result, status=TaskResultStatus.FAILED, finished_at=timezone.now())
        kind = type(error)
        result.errors.append(
            TaskError(
                exception_class_path=f"{kind.__module__}.{kind.__qualname__}",
                traceback="".join(traceback.format_exception(error)),
            )
        )
        self._backend.tell(task_finished, result)

    def _succeed(self, result: TaskResult, value: object) -> None:
        try:
            value = normalize_json(value)
        except Exception as error:  # noqa: BLE001  a value may have code of its own
            logger.error(  # noqa: TRY400  a traceback may quote what it returned
                "task %s (%s) is done, and is not run again, but its result is FAILED: what it "
                "returned cannot be written as JSON (%s). Return text, numbers, lists and dicts.",
                result.id,
                result.task.module_path,
                type(error).__name__,
            )
            self._fail(result, error)
            return
        _set(
            result,
            status=TaskResultStatus.SUCCESSFUL,
            finished_at=timezone.now(),
            _return_value=value,
        )
        self._backend.tell(task_finished, result)


@asynccontextmanager
async def _on_a_thread(manager: AbstractContextManager[_Attempt]) -> AsyncIterator[_Attempt]:
    """Enter and leave a context on a thread, since Django's database and caches block."""
    attempt = await sync_to_async(manager.__enter__)()
    try:
        yield attempt
    except BaseException as error:
        await sync_to_async(manager.__exit__)(type(error), error, error.__traceback__)
        raise
    await sync_to_async(manager.__exit__)(None, None, None)


@contextmanager
def _committed() -> Iterator[None]:
    """Run a task's `on_commit` hooks after it, though a `TestCase` never commits."""
    before = {each: len(each.run_on_commit) for each in connections.all(initialized_only=True)}
    try:
        yield
    finally:
        for connection, count in before.items():
            while len(connection.run_on_commit) > count:
                _, callback, robust = connection.run_on_commit.pop(count)
                with suppress(Exception) if robust else nullcontext():
                    callback()


def _worker_id() -> str:
    return f"{socket.gethostname()}:{os.getpid()}"


def _set(result: TaskResult, **values: object) -> None:
    for name, value in values.items():
        object.__setattr__(result, name, value)  # as Django's own backends do: it is frozen
