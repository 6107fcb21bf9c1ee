"""The backend: puts tasks on their queues.

enqueue   checks the task and its arguments, now
commit    sends it, sealed if it is large; outside of a transaction that is at once

After a hook that raised, Django calls no other. So the hook of a task that cannot be sent first
sends the tasks that were enqueued after it in the same transaction, and then raises.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any
from weakref import ref

from django.core import checks
from django.db import transaction
from django.utils import timezone
from django.utils.crypto import get_random_string

from claimcheck.integrations.django.messages import SentTask
from claimcheck.integrations.django.options import BackendOptions
from claimcheck.integrations.django.results import ResultCache
from claimcheck.integrations.django.tasks_api import (
    BaseTaskBackend,
    InvalidTask,
    Task,
    TaskResult,
    TaskResultStatus,
    task_enqueued,
)
from claimcheck.middleware import ClaimCheckMiddleware
from claimcheck.settings import ClaimCheckSettings, claim_check_for
from letsgo_queue import Client
from letsgo_queue.delays import LONGEST_DELAY_SECONDS
from letsgo_queue.errors import LetsGoError, LetsGoQueueError
from letsgo_queue.forking import Lock
from letsgo_queue.log import get_logger
from letsgo_queue.message import encode
from letsgo_queue.settings import QueueSettings
from letsgo_queue.transports import open_transport

APP = "claimcheck.integrations.django"
ID_LENGTH = 32

logger = get_logger(__name__)


class SqsBackend(BaseTaskBackend):  # type: ignore[misc]  # Django has no types here
    """A backend of Django's tasks on SQS, or on a queue in a file or in memory.

    Attributes:
        given: Its options.
        results: Keeps results, if it does.
    """

    supports_defer = True
    supports_async_task = True

    def __init__(self, alias: str, params: Mapping[str, Any]) -> None:
        """Read the settings; nothing is opened yet.

        Args:
            alias: The name of the backend in `TASKS`.
            params: Its settings in `TASKS`.

        Raises:
            SettingsInvalid: An option is not known, or cannot be used.
        """
        super().__init__(alias, params)
        self.given = BackendOptions.read(self.options, alias=alias)
        self.supports_priority = self.given.has_priorities
        self.results = None if self.given.results is None else ResultCache(self.given.results)
        self.supports_get_result = self.results is not None
        self._clients: dict[str | None, Client[Any]] = {}
        self._lock = Lock()

    def validate_task(self, task: Task) -> None:
        """Refuse a task that cannot be sent.

        Raises:
            InvalidTask: Its queue is not known, it is due in more than 14 days, or the like.
        """
        super().validate_task(task)
        if _delay_of(task) > LONGEST_DELAY_SECONDS:
            raise InvalidTask(
                f"run_after of the task {task.name} is more than "
                f"{LONGEST_DELAY_SECONDS // 86_400} days from now: a queue keeps no message for "
                "longer. Have a scheduled task enqueue it."
            )

    def enqueue(self, task: Task, args: Sequence[Any], kwargs: Mapping[str, Any]) -> TaskResult:
        """Send a task, or have it sent when the transaction is committed.

        Args:
            task: The task.
            args: Its arguments, which can be written as JSON.
            kwargs: Its arguments by name.

        Returns:
            Its result, as it is now.

        Raises:
            InvalidTask: It cannot be sent.
            TypeError: An argument cannot be written as JSON.
            MessageInvalid: An argument would not arrive as it is.
            LetsGoQueueError: The queue did not take it. In a transaction the commit raises it, and
                the transaction stays committed.
            ClaimStoreError: The same for the claim store.
        """
        self.validate_task(task)
        result = TaskResult(
            task=task,
            id=get_random_string(ID_LENGTH),
            status=TaskResultStatus.READY,
            enqueued_at=None,
            started_at=None,
            finished_at=None,
            last_attempted_at=None,
            args=args,
            kwargs=kwargs,
            backend=self.alias,
            errors=[],
            worker_ids=[],
        )
        connection = transaction.get_connection(self.given.database)
        if self.given.on_commit and connection.in_atomic_block:
            encode(_message_of(result, timezone.now()))  # which checks it
            _OnCommit(result, self._send).register(connection)
        elif self.given.on_commit and connection.connection is not None:
            connection.on_commit(partial(self._send, result))  # at once, or it refuses
        else:  # a connection that is not open has no transaction, and need not be opened for that
            self._send(result)
        return result

    def get_result(self, result_id: str) -> TaskResult:
        """The result of a task, as far as it is known.

        Raises:
            TaskResultDoesNotExist: There is none, or not any more.
            NotImplementedError: No results are kept: the option `results` is not set.
        """
        if self.results is None:
            return super().get_result(result_id)
        return self.results.get(result_id)

    def client(self, queue: str, priority: int) -> Client[Any]:
        """The client that sends the tasks of a queue.

        Raises:
            SettingsInvalid: The queue has no URL.
        """
        url = self.given.url_for(queue, priority)
        with self._lock:
            client = self._clients.get(url)
            if client is None:
                client = self._clients[url] = Client(url, middleware=[self.middleware(url)])
            return client

    def middleware(self, url: str | None) -> ClaimCheckMiddleware:
        """The claim check of a queue."""
        check = None
        if self.given.store is not None:
            check = claim_check_for(url or "", self._settings())
        return ClaimCheckMiddleware(check, once=self.given.once)

    def _send(self, result: TaskResult) -> None:
        task, now = result.task, timezone.now()
        self.client(task.queue_name, task.priority).enqueue(
            _message_of(result, now), delay_seconds=max(_delay_of(task), 0)
        )
        object.__setattr__(result, "enqueued_at", now)
        self.tell(task_enqueued, result)

    def tell(self, signal: Any, result: TaskResult) -> None:
        """Tell Django how far a task came. An error here is logged: the task goes on.

        Args:
            signal: Django's signal.
            result: The task's result, as it is now.
        """
        if self.results is not None:
            try:
                self.results.keep(result)
            except Exception as error:  # noqa: BLE001  a cache raises what it likes
                logger.warning(
                    "the result of task %s (%s), which is %s, was not kept: %s",
                    result.id,
                    result.task.module_path,
                    result.status,
                    type(error).__name__,
                )
        signal.send_robust(type(self), task_result=result)

    def check(self, **_: Any) -> Iterable[checks.CheckMessage]:
        """Yield the complaints of `manage.py check` about the settings."""
        from django.apps import apps

        if not apps.is_installed(APP):
            yield checks.Warning(
                f"{APP} is not in INSTALLED_APPS, so there is no command letsgo_worker.",
                hint=f'Add "{APP}".',
                id="claimcheck.W001",
            )
        for queue in self.given.without_url(self.queues):
            yield checks.Error(
                f"TASKS[{self.alias!r}]: the queue {queue!r} has no URL.",
                hint=f'"OPTIONS": {{"urls": {{"{queue}": "https://sqs..."}}}}',
                id="claimcheck.E001",
            )
        for queue in sorted(self.given.urls.keys() - self.queues):
            yield checks.Error(
                f"TASKS[{self.alias!r}]: the queue {queue!r} has a URL, and is not in QUEUES.",
                hint=f'Add "{queue}" to QUEUES.',
                id="claimcheck.E002",
            )
        yield from self._check_settings()

    def _check_settings(self) -> Iterator[checks.CheckMessage]:
        try:
            settings, environment = self._settings(), QueueSettings.from_environment()
            for queue in self.queues - {*self.given.without_url(self.queues)}:
                for named in self.given.urls_of(queue).values():
                    url = named or environment.url
                    if url is not None:
                        open_transport(url, environment).close()
                    claim_check_for(url or "", settings)
        except LetsGoError as error:
            yield checks.Error(f"TASKS[{self.alias!r}]: {error}", id="claimcheck.E003")

    def _settings(self) -> ClaimCheckSettings:
        settings = ClaimCheckSettings.from_environment()
        if self.given.store is None:
            return settings
        return settings.model_copy(update={"store": self.given.store})


class _OnCommit:
    """Sends a task when its transaction is committed."""

    def __init__(self, result: TaskResult, send: Callable[[TaskResult], None]) -> None:
        self._result = result
        self._send = send
        self._next: Callable[[], _OnCommit | None] = lambda: None

    def register(self, connection: Any) -> None:
        """Have Django call it on commit, and tell the task before it in the transaction."""
        for _, hook, _ in reversed(connection.run_on_commit):
            if isinstance(hook, _OnCommit):
                hook._next = ref(self)  # Django drops it where its savepoint is rolled back
                break
        connection.on_commit(self)

    def __call__(self) -> None:
        """Send the task. If that fails, send those after it too: Django calls none of them then."""
        try:
            self._send(self._result)
        except Exception as error:
            failure = error
            after = self._next()
            while after is not None:
                failure = after._send_or_log(failure)
                after = after._next()
            raise

    def _send_or_log(self, failure: Exception) -> Exception:
        """Send the task, unless the queue was away at the last failure. Return the last one now."""
        if not (isinstance(failure, LetsGoQueueError) and failure.retryable):
            try:
                self._send(self._result)
            except Exception as error:  # noqa: BLE001  the first one is raised
                failure = error
            else:
                return failure
        logger.error(
            "task %s (%s), of the same transaction, was not sent either: %s",
            self._result.id,
            self._result.task.module_path,
            failure if isinstance(failure, LetsGoError) else type(failure).__name__,
        )
        return failure


def _message_of(result: TaskResult, enqueued_at: datetime) -> Mapping[str, Any]:
    # A value that JSON does not have stays in it, so that it is refused and not changed.
    payload = SentTask.of(result, enqueued_at).model_dump()
    return {"type": result.task.module_path, "payload": payload}


def _delay_of(task: Task) -> float:
    """Seconds until a task is due."""
    if task.run_after is None:
        return 0
    return float((task.run_after - timezone.now()).total_seconds())
