"""Administers a queue: makes, counts and purges it; lists, redrives and deletes dead letters.

admin = open_admin("sqlite:///work.db", QueueSettings())
for letter in admin.dead_letters():
    print(letter.message_id, letter.type, letter.reason)
admin.redrive(only=DeadLetterFilter(errors=["NoStock"]))
"""

from __future__ import annotations

from collections.abc import Callable

from letsgo_queue.admin.base import QueueAdmin, QueueOptions, QueueStatus, Retention
from letsgo_queue.admin.letters import DeadLetter, DeadLetterFilter, LetterResult
from letsgo_queue.admin.named import find_queue
from letsgo_queue.errors import SettingsInvalid
from letsgo_queue.settings import QueueSettings, is_sqs, split_url

__all__ = [
    "DeadLetter",
    "DeadLetterFilter",
    "LetterResult",
    "QueueAdmin",
    "QueueOptions",
    "QueueStatus",
    "Retention",
    "create_queue",
    "open_admin",
]


def open_admin(url: str | None, settings: QueueSettings) -> QueueAdmin:
    """Open the queue that `url` names, or without a `url` the queue that the settings name.

    Args:
        url: `https://sqs...` (or another server's), or `sqlite:///path/to/file.db`.
        settings: They name the queue if there is no `url`.

    Raises:
        SettingsInvalid: The URL names no queue, or a queue of one process only.
        QueueNotFound: The LetsGo deployment has no queue, or several.
    """
    queue = find_queue(url, settings)
    if queue.kind == "sqlite":
        from letsgo_queue.admin.sqlite import SqliteAdmin

        return SqliteAdmin(queue.url)
    from letsgo_queue.admin.sqs import SqsAdmin

    return SqsAdmin(queue.url, region=settings.region)


def create_queue(
    target: str | None,
    settings: QueueSettings,
    options: QueueOptions | None = None,
    *,
    on_existing: Callable[[str], None] | None = None,
) -> str:
    """Make a queue and its dead-letter queue. A queue that is there already stays as it is.

    Args:
        target: The name of an SQS queue, an SQS queue's URL, or `sqlite:///path`; None for what
            `LETSGO_QUEUE_URL` names.
        settings: They give the region of an SQS queue, and name the queue if there is no `target`.
        options: The options of the queue. A queue that exists must have the given ones.
        on_existing: Called with the URL of a queue that is there already.

    Returns:
        The queue's URL.

    Raises:
        SettingsInvalid: The target or an option cannot be used, the queue is there and differs (the
            text says how), or the LetsGo deployment has another one.
        QueueUnavailable: The queue could not be made or asked.
    """
    options = options or QueueOptions()
    target = (target or "").strip() or settings.queue_url
    if target is None:
        raise SettingsInvalid(
            "no queue is named: give the name of an SQS queue or sqlite:///path/to/file.db, or set "
            "LETSGO_QUEUE_URL."
        )
    if split_url(target).scheme == "sqlite":
        from letsgo_queue.admin.sqlite import create_sqlite_queue

        return create_sqlite_queue(target, options, on_existing=on_existing)
    if is_sqs(target) or "://" not in target:
        from letsgo_queue.admin.sqs_create import create_sqs_queue

        return create_sqs_queue(target, options, settings=settings, on_existing=on_existing)
    raise SettingsInvalid(
        f"queue {target!r} cannot be made: only SQS queues (a name, or a URL https://sqs...) and "
        "SQLite queues (sqlite:///path/to/file.db) are made beforehand."
    )
