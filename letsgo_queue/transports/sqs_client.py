"""The boto3 client for SQS, and what its errors mean: for the transport and the administration."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, ClassVar, TypeAlias
from weakref import WeakKeyDictionary, WeakValueDictionary

import boto3.session
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    HTTPClientError,
)
from botocore.exceptions import ConnectionError as BotocoreConnectionError

from letsgo_queue.aws_client import (
    CLOUDWATCH,
    SQS,
    AwsError,
    aws_settings,
    error_code,
    explain,
    passes,
)
from letsgo_queue.aws_client import make_client as make_aws_client
from letsgo_queue.aws_hosts import is_sqs_endpoint
from letsgo_queue.errors import QueueNotFound, QueueUnavailable
from letsgo_queue.forking import Lock
from letsgo_queue.settings import region_in, split_url

if TYPE_CHECKING:
    from mypy_boto3_cloudwatch import CloudWatchClient
    from mypy_boto3_sqs import SQSClient

Session: TypeAlias = boto3.session.Session
"""For modules that must not import boto3."""

HTTPS_PORT = 443
MAX_POOL_CONNECTIONS = 50
CONNECT_TIMEOUT_SECONDS = 5
READ_TIMEOUT_SECONDS = 30
"""Over the 20 seconds of a long poll."""

_Shared: TypeAlias = "WeakValueDictionary[tuple[object, ...], SQSClient]"

NO_SUCH_QUEUE = {
    "AWS.SimpleQueueService.NonExistentQueue",
    "QueueDoesNotExist",
    "InvalidAddress",
}
NOT_FOUND_ADVICE = (
    "Check region, account and name in LETSGO_QUEUE_URL or queue=, or make the queue: "
    "`letsgo-queue queue create NAME`."
)
DENIED = {"AccessDenied", "AccessDeniedException", "AuthorizationError"}

PASSING = {
    "ExpiredToken",
    "ExpiredTokenException",
    "InvalidClientTokenId",
    "OverLimit",
    "RequestExpired",
    "SignatureDoesNotMatch",
    "UnrecognizedClientException",
}
"""Refusals that pass: credentials are renewed, and messages in flight become fewer."""

DELIVERY_ENDED = {
    "AWS.SimpleQueueService.MessageNotInflight",
    "InvalidParameterValue",
    "MessageNotInflight",
    "ReceiptHandleIsInvalid",
}
"""SQS's codes for a delivery that has ended: its message was received again, or deleted.
https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ChangeMessageVisibility.html"""

QUICK_CONNECT_TIMEOUT_SECONDS = 2
QUICK_READ_TIMEOUT_SECONDS = 3
"""For calls that are made again while there is time: one that hangs must not use that up."""


def make_client(
    url: str | None, region: str | None, session: Session | None = None, *, quick: bool = False
) -> SQSClient:
    """A client for the queue at `url`: one for all queues of a region and a server.

    A client takes megabytes and a connection, and a program may send to hundreds of queues. Closing
    it closes its idle connections; a caller that still uses it opens others.

    Args:
        url: The region in it wins over every other; if it names another server than AWS's own (a
            VPC endpoint, an emulator), requests go there. None for where boto3 itself would go.
        region: The region for URLs that do not say, if the session does not say either. None for
            what AWS's own settings say, and else LetsGo's default.
        session: The boto3 session; by default one is made from the environment.
        quick: Whether a call fails within seconds, and is not made again by botocore.

    Raises:
        SettingsInvalid: The settings of AWS, or an argument, cannot be used.
        CredentialRetrievalError: The credentials could not be fetched; they may be later.
    """
    if session is not None and session.region_name:
        region = session.region_name
    endpoint = None
    if url is not None:
        region = region_in(url) or region
        endpoint = endpoint_in(url)
    key = (os.getpid(), aws_settings(), region, endpoint, quick)
    with _Clients.lock:
        shared = _Clients.of_environment
        if session is not None:
            shared = _Clients.by_session.setdefault(session, WeakValueDictionary())
        client = shared.get(key)
        if client is None:
            client = shared[key] = _make_client(session, region, endpoint, quick=quick)
        return client


def endpoint_in(url: str) -> str | None:
    """The server that a queue's URL names; None for AWS's own."""
    parts = split_url(url)
    if parts.port in {None, HTTPS_PORT} and is_sqs_endpoint(parts.hostname or ""):
        return None
    return f"{parts.scheme}://{parts.netloc}"


class _Clients:
    """The clients in use, each for as long as somebody has it."""

    lock = Lock()
    of_environment: ClassVar[_Shared] = WeakValueDictionary()
    by_session: ClassVar[WeakKeyDictionary[Session, _Shared]] = WeakKeyDictionary()


def _make_client(
    session: Session | None, region: str | None, endpoint: str | None, *, quick: bool
) -> SQSClient:
    return make_aws_client(
        SQS,
        session,
        region=region,
        endpoint_url=endpoint,
        config=Config(
            connect_timeout=QUICK_CONNECT_TIMEOUT_SECONDS if quick else CONNECT_TIMEOUT_SECONDS,
            read_timeout=QUICK_READ_TIMEOUT_SECONDS if quick else READ_TIMEOUT_SECONDS,
            max_pool_connections=MAX_POOL_CONNECTIONS,
            # What goes to SQS from here has been checked already.
            parameter_validation=False,
            retries={"mode": "standard", "total_max_attempts": 1 if quick else 4},
        ),
    )


def make_cloudwatch_client(url: str, region: str | None) -> CloudWatchClient:
    """A client for the metrics of the queue at `url`. Its calls fail within seconds.

    Args:
        url: The queue. An emulator of SQS has its metrics too; a VPC endpoint of SQS has none.
        region: The region for URLs that do not say.
    """
    endpoint = endpoint_in(url)
    return make_aws_client(
        CLOUDWATCH,
        None,
        region=region_in(url) or region,
        endpoint_url=None if endpoint is None or ".vpce." in endpoint else endpoint,
        config=Config(
            connect_timeout=QUICK_CONNECT_TIMEOUT_SECONDS,
            read_timeout=QUICK_READ_TIMEOUT_SECONDS,
            retries={"mode": "standard", "total_max_attempts": 1},
        ),
    )


def dead_letter_url(queue_url: str, attributes: Mapping[str, str]) -> str | None:
    """URL of the dead-letter queue that a queue's attributes name; None if they name none.

    It is in the region and the account of the queue:
    https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-dead-letter-queues.html
    """
    policy = attributes.get("RedrivePolicy")
    if policy is None:
        return None
    name = str(json.loads(policy)["deadLetterTargetArn"]).rpartition(":")[2]
    return f"{queue_url.rpartition('/')[0]}/{name}"


def unavailable(
    queue_url: str, consequence: str, error: ClientError | BotoCoreError
) -> QueueUnavailable | QueueNotFound:
    """Our error for one of boto3's.

    Args:
        queue_url: Which queue was asked.
        consequence: What did not happen.
        error: Why.
    """
    if isinstance(error, ClientError) and error_code(error) in NO_SUCH_QUEUE:
        return QueueNotFound(f"queue {queue_url} does not exist; {consequence}. {NOT_FOUND_ADVICE}")
    return QueueUnavailable(
        f"queue {queue_url}: {consequence}: {explain(error)}.", retryable=is_retryable(error)
    )


@contextmanager
def asking(queue_url: str, consequence: str) -> Iterator[None]:
    """Raise what boto3 raises in the block as `unavailable` does."""
    try:
        yield
    except AwsError as error:
        raise unavailable(queue_url, consequence, error) from error


def is_retryable(error: ClientError | BotoCoreError) -> bool:
    """Whether the same request may succeed later: no answer, throttled, or trouble at SQS."""
    if isinstance(error, ClientError):
        return passes(error, PASSING) or "Throttl" in error_code(error)
    return isinstance(error, HTTPClientError | BotocoreConnectionError | CredentialRetrievalError)
