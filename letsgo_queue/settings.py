"""Settings of the queue, from the environment or from code."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Literal, TypeAlias, cast, get_args
from urllib.parse import SplitResult, urlsplit

from pydantic import BaseModel

from letsgo_queue.aws_hosts import is_aws_host, region_of_host
from letsgo_queue.deployment import (
    DEFAULT_DEPLOYMENT,
    DEFAULT_VENDOR_PREFIX,
    Deployment,
    setting,
)
from letsgo_queue.errors import SettingsInvalid
from letsgo_queue.misspelt import warn_of_misspelt

DEFAULT_LOCAL_PORT = 3002
"""Where LetsGo's local worker listens."""

DeadLetterErrors: TypeAlias = Literal["place", "full"]
"""How much a dead letter tells of the error: its class and place, or its text as well."""

PREFIX = "LETSGO_"
VARIABLES = (
    "LETSGO_DEAD_LETTER_ERRORS",
    "LETSGO_DEPLOYMENT",
    "LETSGO_LOCAL_QUEUE_URL",
    "LETSGO_QUEUE_URL",
    "LETSGO_VENDOR_PREFIX",
    "LETSGO_WORKER_SCHEDULE",
    "LETSGO_WORKER_SCHEDULE_TIMEZONE",
)
"""All settings that begin with the prefix."""

_URL_VARIABLES = ("LETSGO_LOCAL_QUEUE_URL", "LETSGO_QUEUE_URL")

_SQS_PATH = re.compile(r"(/[A-Za-z0-9_-]+)+/[A-Za-z0-9_-]{1,80}(\.fifo)?/?")
"""AWS has `/account/name`. Emulators, and others that speak SQS, have `/queue/name`,
`/queue/region/account/name` and the like."""

_LOCAL_PATH = re.compile(r"/?[^/]*/?")
_CONTROL_CHARACTER = re.compile(r"[\x00-\x1f\x7f]")


def named_queue(url: str) -> str:
    """Name an unusable queue URL in an error, with the variable that has it."""
    for variable in _URL_VARIABLES:
        if setting(os.environ, variable) == url.strip():
            return f"{variable}: queue {url!r}"
    return f"queue {url!r}"


def split_url(url: str) -> SplitResult:
    """Split a URL from the settings into its parts. A `#` in it is part of the path.

    Raises:
        SettingsInvalid: It is not a URL.
    """
    # Python silently removes line breaks and tabs: the URL would name another queue.
    if _CONTROL_CHARACTER.search(url):
        raise SettingsInvalid(f"{named_queue(url)}: there is a control character in it. Remove it.")
    try:
        parts = urlsplit(url, allow_fragments=False)
        _ = parts.port  # raises where it is no number
    except ValueError as error:
        raise SettingsInvalid(f"{named_queue(url)}: not a URL ({error}).") from None
    return parts


def region_in(queue_url: str) -> str | None:
    """Return the AWS region in a queue URL's host; None if it has none, or is not AWS's."""
    parts = split_url(queue_url)
    return region_of_host(parts.hostname or "") if _is_http(parts) else None


def is_sqs(queue_url: str) -> bool:
    """Whether a queue URL names an SQS queue, on AWS or on another server that speaks SQS."""
    parts = split_url(queue_url)
    return _is_http(parts) and _SQS_PATH.fullmatch(parts.path) is not None


def is_local_http(queue_url: str) -> bool:
    """Whether a queue URL is the address of a worker in LetsGo's local HTTP mode.

    Such an address is an HTTP address whose path has one name, or none. An address with a host of
    AWS does not count: somebody mistyped the URL of an SQS queue.
    """
    parts = split_url(queue_url)
    return (
        _is_http(parts)
        and _LOCAL_PATH.fullmatch(parts.path) is not None
        and not is_aws_host(parts.hostname or "")
    )


def _is_http(parts: SplitResult) -> bool:
    return parts.scheme in {"http", "https"}


class QueueSettings(BaseModel, frozen=True, extra="forbid"):
    """The queue that messages go to if `queue=` names none.

    Attributes:
        queue_url: `LETSGO_QUEUE_URL`: an SQS queue URL, `sqlite:///path`, `memory://`, or an HTTP
            address as below.
        local_queue_url: `LETSGO_LOCAL_QUEUE_URL`: the address of a worker in LetsGo's local HTTP
            mode, `http://localhost:3002`. It wins over `queue_url`.
        deployment: `LETSGO_DEPLOYMENT`: whose queue to look for when no URL is given.
        vendor_prefix: `LETSGO_VENDOR_PREFIX`: the names of LetsGo's queues start with it.
        region: `AWS_REGION`: the region if no URL names one. None for the region in AWS's own
            settings (`AWS_DEFAULT_REGION`, the profile), else LetsGo's `us-west-2`.
    """

    queue_url: str | None = None
    local_queue_url: str | None = None
    deployment: str = DEFAULT_DEPLOYMENT
    vendor_prefix: str = DEFAULT_VENDOR_PREFIX
    region: str | None = None

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> QueueSettings:
        """Read the environment; an empty variable counts as unset."""
        if environ is os.environ:
            warn_of_misspelt(PREFIX, VARIABLES, shared=True)
        deployment = Deployment.from_environment(environ)
        return cls(
            queue_url=setting(environ, "LETSGO_QUEUE_URL"),
            local_queue_url=setting(environ, "LETSGO_LOCAL_QUEUE_URL"),
            deployment=deployment.name,
            vendor_prefix=deployment.vendor_prefix,
            region=setting(environ, "AWS_REGION"),
        )

    @property
    def of_deployment(self) -> Deployment:
        """The LetsGo deployment whose queue is used if no URL is given."""
        return Deployment(self.deployment, self.vendor_prefix)

    @property
    def url(self) -> str | None:
        """The queue's URL; None for the queue of the deployment."""
        return self.local_queue_url or self.queue_url


def url_in_environment() -> str | None:
    """Return `QueueSettings.from_environment().url`, fast: a client asks for every message."""
    return setting(os.environ, "LETSGO_LOCAL_QUEUE_URL") or setting(os.environ, "LETSGO_QUEUE_URL")


def local_port(environ: Mapping[str, str] = os.environ) -> int:
    """Return the local worker's port: `PORT`, as for LetsGo's own worker, else LetsGo's default.

    Raises:
        SettingsInvalid: `PORT` is not a number.
    """
    port = setting(environ, "PORT")
    if port is None:
        return DEFAULT_LOCAL_PORT
    if not port.isascii() or not port.isdigit():
        raise SettingsInvalid(f"PORT={port!r}: give the number of a port, or leave it out.")
    return int(port)


def dead_letter_errors_in(environ: Mapping[str, str] = os.environ) -> DeadLetterErrors:
    """Return how much dead letters tell of errors: `LETSGO_DEAD_LETTER_ERRORS`, else `place`.

    Raises:
        SettingsInvalid: It is neither `place` nor `full`.
    """
    return checked_dead_letter_errors(
        setting(environ, "LETSGO_DEAD_LETTER_ERRORS") or "place", "LETSGO_DEAD_LETTER_ERRORS"
    )


def checked_dead_letter_errors(value: object, name: str) -> DeadLetterErrors:
    """Check a setting of how much dead letters tell of errors.

    Raises:
        SettingsInvalid: There is no such value.
    """
    for allowed in get_args(DeadLetterErrors):
        if value == allowed:
            return cast("DeadLetterErrors", allowed)
    raise SettingsInvalid(
        f"{name}={value!r}: give 'place' (the error's class, and where it was raised) or 'full' "
        "(its text as well, which may quote payloads)."
    )


# pydantic prepares itself when it first reads and writes, under locks of its own: a process that
# another thread forks meanwhile would wait for them for good. Forks wait while this is loaded.
QueueSettings.model_validate_json(QueueSettings().model_dump_json()).model_dump()
