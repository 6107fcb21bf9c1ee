"""Settings of the queue, from the environment or from code."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from urllib.parse import urlsplit

from pydantic import BaseModel

DEFAULT_DEPLOYMENT = "main"
DEFAULT_REGION = "us-west-2"
"""LetsGo's own default."""


_REGION = re.compile(r"\b[a-z]{2}(?:-[a-z]+)+-\d\b")
_SQS_PATH = re.compile(r"/\w+/[A-Za-z0-9_-]{1,80}(\.fifo)?")
_AWS_HOST = re.compile(r"(.+\.)?amazonaws\.com(\.cn)?")


def region_in(queue_url: str) -> str | None:
    """The AWS region in the host of a queue URL; None if there is none."""
    parts = urlsplit(queue_url)
    if parts.scheme not in {"http", "https"}:
        return None
    found = _REGION.search(parts.hostname or "")
    return found[0] if found else None


def is_sqs(queue_url: str) -> bool:
    """Whether a queue URL is that of an SQS queue: on AWS, or another server that speaks SQS."""
    parts = urlsplit(queue_url)
    return parts.scheme in {"http", "https"} and _SQS_PATH.fullmatch(parts.path) is not None


def is_local_http(queue_url: str) -> bool:
    """Whether a queue URL is the address of a worker in LetsGo's local HTTP mode.

    Any HTTP address is, except one with the path of an SQS queue, or with a host of AWS: that is a
    mistake in the URL of an SQS queue.
    """
    parts = urlsplit(queue_url)
    return (
        parts.scheme in {"http", "https"}
        and not is_sqs(queue_url)
        and _AWS_HOST.fullmatch(parts.hostname or "") is None
    )


class QueueSettings(BaseModel, frozen=True, extra="forbid"):
    """Where messages go when `queue=` does not say.

    Attributes:
        queue_url: `LETSGO_QUEUE_URL`: an SQS queue URL, `sqlite:///path`, `memory://`, or an HTTP
            address as below.
        local_queue_url: `LETSGO_LOCAL_QUEUE_URL`: the address of a worker in LetsGo's local HTTP
            mode, `http://localhost:3002`. It wins over `queue_url`.
        deployment: `LETSGO_DEPLOYMENT`: whose queue to look for when no URL is given.
        region: `AWS_REGION`, else `AWS_DEFAULT_REGION`.
    """

    queue_url: str | None = None
    local_queue_url: str | None = None
    deployment: str = DEFAULT_DEPLOYMENT
    region: str = DEFAULT_REGION

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> QueueSettings:
        """Read the environment; an empty variable counts as unset."""
        return cls(
            queue_url=environ.get("LETSGO_QUEUE_URL") or None,
            local_queue_url=environ.get("LETSGO_LOCAL_QUEUE_URL") or None,
            deployment=environ.get("LETSGO_DEPLOYMENT") or DEFAULT_DEPLOYMENT,
            region=environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION") or DEFAULT_REGION,
        )

    @property
    def url(self) -> str | None:
        """The queue's URL; None for the queue of the deployment."""
        return self.local_queue_url or self.queue_url


def url_in_environment() -> str | None:
    """`QueueSettings.from_environment().url`, in less time: a client asks for every message."""
    environ = os.environ
    return environ.get("LETSGO_LOCAL_QUEUE_URL") or environ.get("LETSGO_QUEUE_URL") or None


# pydantic prepares itself when it first reads and writes, under locks of its own: a process that
# another thread forks meanwhile would wait for them for good. Forks wait while this is loaded.
QueueSettings.model_validate_json(QueueSettings().model_dump_json()).model_dump()
