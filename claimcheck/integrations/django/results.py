"""Results of tasks, in one of Django's caches: SQS keeps none."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Any

from django.core.cache import caches
from pydantic import BaseModel, ConfigDict, Field

from claimcheck.integrations.django.messages import SentTask, find_task
from claimcheck.integrations.django.options import Results
from claimcheck.integrations.django.tasks_api import (
    TaskError,
    TaskResult,
    TaskResultDoesNotExist,
    TaskResultStatus,
)

_FILLED_IN = ("started_at", "finished_at", "last_attempted_at", "worker_ids")


class _Kept(BaseModel):
    """A result as the cache has it: text, so that any cache keeps it."""

    model_config = ConfigDict(hide_input_in_errors=True)

    path: str
    sent: SentTask
    status: str
    started_at: datetime | None
    finished_at: datetime | None
    last_attempted_at: datetime | None
    worker_ids: list[str]
    errors: list[dict[str, str]] = Field(repr=False)
    value: Any = Field(repr=False)


class ResultCache:
    """Keeps results."""

    def __init__(self, results: Results) -> None:
        """Name the cache; it is not asked yet."""
        self._results = results

    def keep(self, result: TaskResult) -> None:
        """Keep a result as it is now.

        The sender keeps it after the message is on the queue. A quick worker may have kept a later
        result by then, which stays.
        """
        kept = _Kept(
            path=result.task.module_path,
            sent=SentTask.of(result, result.enqueued_at),
            status=str(result.status.value),
            errors=[asdict(each) for each in result.errors],
            value=result._return_value,
            **{name: getattr(result, name) for name in _FILLED_IN},
        )
        cache = caches[self._results.cache]
        keep = cache.add if result.status == TaskResultStatus.READY else cache.set
        keep(_key(result.id), kept.model_dump_json(), self._results.seconds)

    def get(self, result_id: str) -> TaskResult:
        """Return a result.

        Raises:
            TaskResultDoesNotExist: There is none, or not any more.
        """
        text = caches[self._results.cache].get(_key(result_id))
        if text is None:
            raise TaskResultDoesNotExist(result_id)
        kept = _Kept.model_validate_json(text)
        result = kept.sent.result(find_task(kept.path))
        values = {name: getattr(kept, name) for name in _FILLED_IN}
        values["status"] = TaskResultStatus(kept.status)
        values["errors"] = [TaskError(**each) for each in kept.errors]
        values["_return_value"] = kept.value
        for name, value in values.items():
            object.__setattr__(result, name, value)
        return result


def _key(result_id: str) -> str:
    return f"letsgo-task-{result_id}"
