"""Opens the queue that a URL names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from letsgo_queue.errors import SettingsInvalid
from letsgo_queue.forking import forks_wait
from letsgo_queue.settings import QueueSettings, is_local_http, is_sqs, named_queue, split_url
from letsgo_queue.transports.base import Transport

if TYPE_CHECKING:
    from letsgo_queue.transports.sqs_client import Session


def open_transport(
    url: str | None, settings: QueueSettings, *, session: Session | None = None
) -> Transport:
    """Open the queue that `url` names, or without one the queue that `settings` name.

    The module of a transport is loaded only here, when it is used: the SQS one loads boto3.

    Args:
        url: `https://sqs...` (or another server's `http://host/account/queue`),
            `sqlite:///path/to/file.db`, `memory://`, or the address of a worker in LetsGo's local
            mode (`http://localhost:3002`).
        settings: Where to look without a `url`.
        session: The boto3 session for SQS; by default one is made from the environment.

    Raises:
        SettingsInvalid: The URL names no queue that is known here.
        QueueNotFound: The LetsGo deployment has no queue, or several.
    """
    url = (url or "").strip() or settings.url
    if url is None:
        with forks_wait():
            from letsgo_queue.transports.discovery import find_queue
            from letsgo_queue.transports.sqs import SqsTransport

        url = find_queue(settings.of_deployment, region=settings.region, session=session)
        return SqsTransport(url, region=settings.region, session=session)
    parts = split_url(url)
    if parts.scheme == "memory" and url.startswith("memory://"):
        with forks_wait():
            from letsgo_queue.transports.memory import MemoryTransport

        return MemoryTransport(url)
    if parts.scheme == "sqlite":
        with forks_wait():
            from letsgo_queue.transports.sqlite import SqliteTransport

        return SqliteTransport(url)
    if is_sqs(url):
        if parts.query:
            raise SettingsInvalid(f"{named_queue(url)}: an SQS queue takes no options in its URL.")
        with forks_wait():
            from letsgo_queue.transports.sqs import SqsTransport

        return SqsTransport(url.rstrip("/"), region=settings.region, session=session)
    if is_local_http(url):
        with forks_wait():
            from letsgo_queue.local_http.transport import LocalHttpTransport

        return LocalHttpTransport(url, region=settings.region)
    raise SettingsInvalid(
        f"{named_queue(url)}: expected an SQS queue URL (https://sqs.REGION.amazonaws.com/ACCOUNT/"
        "NAME), sqlite:///path/to/file.db, memory://, or the address of a worker in LetsGo's local "
        "mode (http://localhost:3002)."
    )


def preload(url: str | None) -> None:
    """Load AWS's libraries if the queue that `url` names needs them. Opens nothing.

    Processes that are forked later share the memory.
    """
    if url is None or is_sqs(url):
        from letsgo_queue.aws_client import load_service

        load_service("sqs")
