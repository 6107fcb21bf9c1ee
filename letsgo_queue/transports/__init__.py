"""The queues that messages can go to, and how a URL chooses one."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from letsgo_queue.errors import SettingsInvalid
from letsgo_queue.settings import QueueSettings
from letsgo_queue.transports.base import Transport

__all__ = ["open_transport"]

_SQS_PATH = re.compile(r"/\w+/[A-Za-z0-9_-]{1,80}(\.fifo)?")


def open_transport(url: str | None, settings: QueueSettings) -> Transport:
    """Open the queue that `url` names, or without one the queue that `settings` name.

    The module of a transport is loaded only here, when it is used: the SQS one loads boto3.

    Args:
        url: `https://sqs...` (or another server's `http://host/account/queue`),
            `sqlite:///path/to/file.db`, or `memory://`.
        settings: Where to look without a `url`.

    Raises:
        SettingsInvalid: The URL names no queue that is known here.
        QueueNotFound: The LetsGo deployment has no queue, or several.
    """
    url = url or settings.local_queue_url or settings.queue_url
    if url is None:
        from letsgo_queue.transports.sqs import SqsTransport

        return SqsTransport.of_deployment(settings.deployment, region=settings.region)
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise SettingsInvalid(f"queue {url!r}: not a URL ({error}).") from None
    if parts.scheme == "memory":
        from letsgo_queue.transports.memory import MemoryTransport

        return MemoryTransport(url)
    if parts.scheme == "sqlite":
        from letsgo_queue.transports.sqlite import SqliteTransport

        return SqliteTransport(url)
    if parts.scheme in {"http", "https"} and _SQS_PATH.fullmatch(parts.path):
        from letsgo_queue.transports.sqs import SqsTransport

        return SqsTransport(url, region=settings.region)
    if url == settings.local_queue_url:
        raise SettingsInvalid(
            f"LETSGO_LOCAL_QUEUE_URL={url!r}: LetsGo's local HTTP mode is not spoken here. Unset "
            "it, and use LETSGO_QUEUE_URL=sqlite:///work.db for work on one machine."
        )
    raise SettingsInvalid(
        f"queue {url!r}: expected an SQS queue URL (https://sqs.REGION.amazonaws.com/ACCOUNT/"
        "NAME), sqlite:///path/to/file.db or memory://."
    )
