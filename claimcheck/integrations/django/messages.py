"""A task as a message: what travels, and how it is found again."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.utils.module_loading import import_string
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from claimcheck.integrations.django.tasks_api import Task, TaskResult, TaskResultStatus
from letsgo_queue.errors import MessageInvalid


class SentTask(BaseModel):
    """The payload of a task's message. Its type is the path of the task: `shop.tasks.send_mail`.

    Attributes:
        id: The id of the task's result.
        args: The task's arguments.
        kwargs: Its arguments by name.
        backend: The alias of the backend that sent it.
        queue: The name of its queue.
        priority: Its priority.
        enqueued_at: When it was sent.
    """

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    id: str
    args: list[Any] = Field(repr=False)
    kwargs: dict[str, Any] = Field(repr=False)
    backend: str
    queue: str
    priority: int
    enqueued_at: datetime

    @classmethod
    def of(cls, result: TaskResult, enqueued_at: datetime) -> SentTask:
        """Return the payload that is sent for a task."""
        return cls(
            id=result.id,
            args=result.args,
            kwargs=result.kwargs,
            backend=result.backend,
            queue=result.task.queue_name,
            priority=result.task.priority,
            enqueued_at=enqueued_at,
        )

    @classmethod
    def read(cls, message: Mapping[str, Any]) -> SentTask:
        """Read the payload of a task's message.

        Raises:
            MessageInvalid: It is not the message of a task.
        """
        try:
            return cls.model_validate(message.get("payload"))
        except ValidationError:
            raise MessageInvalid(
                f"a message of type {message.get('type')!r} on a queue of tasks is no task: "
                "something else than Django sent it. Give it a queue of its own."
            ) from None

    def result(self, task: Task) -> TaskResult:
        """Return the result of the task, about which nothing is known yet."""
        return TaskResult(
            task=task.using(queue_name=self.queue, priority=self.priority, backend=self.backend),
            id=self.id,
            status=TaskResultStatus.READY,
            enqueued_at=self.enqueued_at,
            started_at=None,
            finished_at=None,
            last_attempted_at=None,
            args=self.args,
            kwargs=self.kwargs,
            backend=self.backend,
            errors=[],
            worker_ids=[],
        )


def find_task(path: str) -> Task:
    """The task at a path.

    Raises:
        MessageInvalid: There is none.
    """
    try:
        found = import_string(path)
    except ImportError as error:
        raise MessageInvalid(
            f"there is no task {path!r} in this worker ({error}). Deploy the code of the sender "
            "here, then redrive the message."
        ) from None
    if not isinstance(found, Task):
        raise MessageInvalid(f"{path!r} is no task: it has no @task.")
    return found
