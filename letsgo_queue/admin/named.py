"""Finds the queue that a URL or the settings name, if several processes can share it."""

from __future__ import annotations

from typing import Literal, NamedTuple

from letsgo_queue.errors import SettingsInvalid
from letsgo_queue.settings import QueueSettings, is_sqs, split_url
from letsgo_queue.transports import open_transport


class NamedQueue(NamedTuple):
    """A queue that is kept outside of this process.

    Attributes:
        kind: The service or file that keeps it.
        url: Its URL.
    """

    kind: Literal["sqlite", "sqs"]
    url: str


def find_queue(url: str | None, settings: QueueSettings) -> NamedQueue:
    """Return the queue that `url` names, or without a `url` the queue that the settings name.

    Args:
        url: `https://sqs...` (or another server's), or `sqlite:///path/to/file.db`.
        settings: They name the queue if there is no `url`.

    Raises:
        SettingsInvalid: The URL names no queue, or a queue of one process only.
        QueueNotFound: The LetsGo deployment has no queue, or several.
    """
    transport = open_transport(url, settings)
    transport.close()
    if split_url(transport.url).scheme == "sqlite":
        return NamedQueue("sqlite", transport.url)
    if is_sqs(transport.url):
        return NamedQueue("sqs", transport.url)
    raise SettingsInvalid(
        f"queue {transport.url!r} keeps nothing that another process can see. Name an SQS queue "
        "(https://sqs...) or a SQLite queue (sqlite:///work.db)."
    )
