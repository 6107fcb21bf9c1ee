"""The backend: puts tasks on their queues.

enqueue   checks the task and its arguments, now
commit    sends it, sealed if it is large; outside of a transaction that is at once
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

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
from letsgo_queue.errors import LetsGoError
from letsgo_queue.forking import Lock
from letsgo_queue.settings import QueueSettings
from letsgo_queue.transports import open_transport

APP = "claimcheck.integrations.django"
ID_LENGTH = 32


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
            params: What `TASKS` says of it.

        Raises:
            SettingsInvalid: An option is not known, or is none.
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
            args: What it is called with: what JSON can say.
            kwargs: What it is called with by name.

        Returns:
            Its result, as it is now.

        Raises:
            InvalidTask: It cannot be sent.
            TypeError: JSON cannot say an argument.
            LetsGoQueueError: The queue did not take it. In a transaction it is raised when that is
                committed: the transaction stays committed.
            ClaimStoreError: The same, of the claim store.
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
        if self.given.on_commit:
            transaction.on_commit(partial(self._send, result), using=self.given.database)
        else:
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
            {
                "type": task.module_path,
                "payload": SentTask.of(result, now).model_dump(mode="json"),
            },
            delay_seconds=max(_delay_of(task), 0),
        )
        object.__setattr__(result, "enqueued_at", now)
        if self.results is not None:
            self.results.keep(result)
        task_enqueued.send(type(self), task_result=result)

    def check(self, **_: Any) -> Iterable[checks.CheckMessage]:
        """What `manage.py check` says of the settings."""
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


def _delay_of(task: Task) -> float:
    """Seconds until a task is due."""
    if task.run_after is None:
        return 0
    return float((task.run_after - timezone.now()).total_seconds())
