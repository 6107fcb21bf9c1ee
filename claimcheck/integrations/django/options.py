"""The settings of a backend in `TASKS`: its queues, and its options."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from claimcheck.errors import SettingsInvalid

DEFAULT_QUEUE = "default"
"""The queue whose URL the environment may name."""

LOWEST_PRIORITY = -100
RESULT_SECONDS = 86_400


class Results(BaseModel):
    """Where the results of tasks are kept.

    Attributes:
        cache: An alias of Django's `CACHES`, which all processes share.
        seconds: How long a result is kept after the last change.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    cache: str
    seconds: int = Field(default=RESULT_SECONDS, gt=0)


class BackendOptions(BaseModel):
    """The `OPTIONS` of a backend.

    Attributes:
        urls: The URL of each queue. A queue whose tasks have priorities has several URLs, each
            under the lowest priority that goes to it: `{"default": {0: URL, 50: URGENT_URL}}`.
            Without a URL the queue `default` is the one that `LETSGO_QUEUE_URL` names.
        store: URL of the claim store; by default that of `CLAIMCHECK_STORE`.
        on_commit: Whether a task that is enqueued in a transaction is sent when that is committed.
        database: The alias of the database whose transaction that is.
        once: Whether a task that succeeded is not run again for another delivery of its message.
            That costs two write units a task.
        results: Where results are kept; None for nowhere.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    urls: dict[str, str | dict[Annotated[int, Field(ge=LOWEST_PRIORITY, le=100)], str]] = Field(
        default_factory=dict
    )
    store: str | None = None
    on_commit: bool = True
    database: str = "default"
    once: bool = False
    results: Results | None = None

    @classmethod
    def read(cls, options: Mapping[str, Any], *, alias: str) -> BackendOptions:
        """Read the `OPTIONS` of a backend.

        Args:
            options: The options.
            alias: The backend, for errors.

        Raises:
            SettingsInvalid: An option is not known, or cannot be used.
        """
        try:
            return cls.model_validate(options)
        except ValidationError as error:
            first, *_ = error.errors(include_url=False, include_input=False)
            where = ".".join(str(part) for part in first["loc"])
            known = ", ".join(sorted(cls.model_fields))
            raise SettingsInvalid(
                f"TASKS[{alias!r}]['OPTIONS'], {where}: {first['msg']}. The options are {known}."
            ) from None

    @property
    def has_priorities(self) -> bool:
        """Whether the priority of a task decides where it goes."""
        return any(isinstance(each, dict) for each in self.urls.values())

    def url_for(self, queue: str, priority: int) -> str | None:
        """Return the URL that a task goes to; None for the queue that the environment names.

        Args:
            queue: Its queue.
            priority: Its priority. A task below the lowest priority in `urls` goes to the URL of
                that one.

        Raises:
            SettingsInvalid: The queue has no URL.
        """
        urls = self.urls_of(queue)
        reached = [each for each in urls if each <= priority] or [min(urls)]
        return urls[max(reached)]

    def urls_of(self, queue: str) -> Mapping[int, str | None]:
        """Return the URLs of a queue, each under the lowest priority that goes to it.

        Raises:
            SettingsInvalid: It has none.
        """
        named = self.urls.get(queue)
        if isinstance(named, str):
            return {LOWEST_PRIORITY: named}
        if named:
            return named
        if queue == DEFAULT_QUEUE and named is None:
            return {LOWEST_PRIORITY: None}
        raise SettingsInvalid(
            f"the queue {queue!r} has no URL: name it in TASKS, OPTIONS, urls: "
            f'{{"{queue}": "https://sqs..."}}.'
        )

    def without_url(self, queues: Collection[str]) -> Collection[str]:
        """The queues that have no URL."""
        return [
            each for each in sorted(queues) if each != DEFAULT_QUEUE and not self.urls.get(each)
        ]
