"""Makes an SQS queue, with its dead-letter queue.

    orders         ──received too often──> orders-dead-letters
    orders.fifo    ──received too often──> orders-dead-letters.fifo

If the queue exists, it is compared with the given options and never changed: only its owner should
change it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from letsgo_queue.admin.base import (
    DEFAULT_MAX_RECEIVE_COUNT,
    QueueOptions,
)
from letsgo_queue.deployment import DEPLOYMENT_TAG, VISIBILITY_TIMEOUT
from letsgo_queue.errors import SettingsInvalid
from letsgo_queue.limits import DEFAULT_VISIBILITY_TIMEOUT, MAX_MESSAGE_BYTES
from letsgo_queue.settings import QueueSettings
from letsgo_queue.transports.discovery import tagged_queues
from letsgo_queue.transports.sqs_client import asking, make_client

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.literals import QueueAttributeNameType

RETENTION_SECONDS = 1_209_600
"""14 days, the longest that SQS keeps a message. The time of a dead letter may count from when the
message was first sent, so the dead-letter queue must not keep it for less than the queue does:
https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-dead-letter-queues.html"""

MAX_NAME_LENGTH = 80
"""Characters of a queue's name, suffix included.
https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-queues.html"""

DEAD_LETTERS_SUFFIX = "-dead-letters"
FIFO_SUFFIX = ".fifo"

_NAME = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True)
class _Queue:
    """A queue that exists."""

    url: str
    attributes: Mapping[str, str]
    tags: Mapping[str, str]


def create_sqs_queue(
    target: str,
    options: QueueOptions,
    *,
    settings: QueueSettings,
    client: SQSClient | None = None,
    on_existing: Callable[[str], None] | None = None,
) -> str:
    """Make a queue and its dead-letter queue, which keep messages for 14 days.

    Args:
        target: The queue's name, or its URL, which says where to make it.
        options: Its options.
        settings: Where to make it, if `target` does not say, and LetsGo's prefix.
        client: A boto3 SQS client to use instead of a new one.
        on_existing: Called with the URL of a queue that is there already.

    Returns:
        The queue's URL.

    Raises:
        SettingsInvalid: The name cannot be used, one of the queues exists and differs, or the
            deployment has another queue.
        QueueUnavailable: SQS refused, or did not answer.
    """
    named_by_url = "://" in target
    prefix = f"{settings.vendor_prefix}-"
    given = target.rstrip("/").rpartition("/")[2] if named_by_url else target
    stem, suffix = _name_parts(given, options, prefix)
    if client is None:
        with asking(target, "it was not made"):
            client = make_client(target if named_by_url else None, settings.region)
    name, dead_letters_name = stem + suffix, stem + DEAD_LETTERS_SUFFIX + suffix
    tags = {} if options.deployment is None else {DEPLOYMENT_TAG: options.deployment}
    if options.deployment is not None:
        _check_is_the_only_one(client, name, options.deployment, settings)
    queue = _find(client, name)
    if queue is not None:
        _compare(queue, name, dead_letters_name, options, tags)
        if on_existing is not None:
            on_existing(queue.url)
        return queue.url
    attributes = {
        "MaximumMessageSize": str(MAX_MESSAGE_BYTES),
        "MessageRetentionPeriod": str(RETENTION_SECONDS),
    } | ({"FifoQueue": "true"} if suffix else {})
    dead_letters = _find(client, dead_letters_name)
    if dead_letters is None:
        dead_letters = _make(client, dead_letters_name, attributes, {})
    else:
        _refuse(dead_letters_name, _differences(dead_letters, attributes, {}))
    timeout = DEFAULT_VISIBILITY_TIMEOUT if options.deployment is None else VISIBILITY_TIMEOUT
    redrive_policy = {
        "deadLetterTargetArn": dead_letters.attributes["QueueArn"],
        "maxReceiveCount": _or_default(options.max_receive_count, DEFAULT_MAX_RECEIVE_COUNT),
    }
    own = {
        "VisibilityTimeout": str(_or_default(options.visibility_timeout, timeout)),
        "RedrivePolicy": json.dumps(redrive_policy),
    }
    return _make(client, name, attributes | own, tags).url


def _compare(
    queue: _Queue,
    name: str,
    dead_letters_name: str,
    options: QueueOptions,
    tags: Mapping[str, str],
) -> None:
    """Compare an existing queue with the options that were given, and with no others."""
    wanted = {}
    if options.visibility_timeout is not None:
        wanted["VisibilityTimeout"] = str(options.visibility_timeout)
    differences = _differences(queue, wanted, tags)
    if options.max_receive_count is not None:
        policy = f"{options.max_receive_count} receives, then {dead_letters_name}"
        if (has := _policy_of(queue)) != policy:
            differences.append(f"{queue.url}: RedrivePolicy is {has}, not {policy}")
    _refuse(name, differences)


def _refuse(name: str, differences: Sequence[str]) -> None:
    if differences:
        raise SettingsInvalid(
            f"queue {name!r} exists and differs; nothing was changed. {'. '.join(differences)}. "
            "Give the options that it has, or change it where it was made."
        )


def _check_is_the_only_one(
    client: SQSClient, name: str, deployment: str, settings: QueueSettings
) -> None:
    """Refuse a second queue: LetsGo, its ops tool and this package fail if there are two."""
    with asking(name, "it was not made, since SQS did not say which queues LetsGo has"):
        queues = tagged_queues(client, settings.vendor_prefix)
    for url, tag in queues.items():
        if tag == deployment and url.rpartition("/")[2] != name:
            raise SettingsInvalid(
                f"queue {name!r} was not made: LetsGo deployment {deployment!r} has a queue, "
                f"{url}, and with two nothing would find a queue. Use that one, or leave out the "
                "deployment."
            )


def _name_parts(name: str, options: QueueOptions, prefix: str) -> tuple[str, str]:
    stem = name.removesuffix(FIFO_SUFFIX)
    suffix = FIFO_SUFFIX if options.fifo or stem != name else ""
    most = MAX_NAME_LENGTH - len(DEAD_LETTERS_SUFFIX) - len(suffix)
    if not _NAME.fullmatch(stem) or len(stem) > most:
        raise SettingsInvalid(
            f"queue name {name!r}: SQS takes letters, digits, '_' and '-'. With "
            f"{DEAD_LETTERS_SUFFIX + suffix!r} after it there is room for {most} of them."
        )
    if options.deployment is not None and not stem.startswith(prefix):
        raise SettingsInvalid(
            f"queue name {name!r}: a deployment finds only queues whose name starts with "
            f"{prefix!r}. Name it {prefix + name!r}, or leave out the deployment."
        )
    return stem, suffix


def _find(client: SQSClient, name: str) -> _Queue | None:
    with asking(name, "it was not made, since SQS did not say whether it exists"):
        try:
            url = client.get_queue_url(QueueName=name)["QueueUrl"]
            return _describe(client, url)
        except client.exceptions.QueueDoesNotExist:
            return None


def _make(
    client: SQSClient, name: str, attributes: Mapping[str, str], tags: Mapping[str, str]
) -> _Queue:
    with asking(name, "it was not made"):
        made = client.create_queue(
            QueueName=name,
            Attributes=cast("Mapping[QueueAttributeNameType, str]", attributes),
            tags=tags,
        )
        return _describe(client, made["QueueUrl"])


def _describe(client: SQSClient, url: str) -> _Queue:
    attributes = client.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])
    return _Queue(
        url,
        cast("Mapping[str, str]", attributes.get("Attributes", {})),
        client.list_queue_tags(QueueUrl=url).get("Tags", {}),
    )


def _differences(
    queue: _Queue, attributes: Mapping[str, str], tags: Mapping[str, str]
) -> list[str]:
    return [
        f"{queue.url}: {name} is {there.get(name, 'not set')}, not {value}"
        for there, wanted in ((queue.attributes, attributes), (queue.tags, tags))
        for name, value in wanted.items()
        if there.get(name) != value
    ]


def _policy_of(queue: _Queue) -> str:
    policy = queue.attributes.get("RedrivePolicy")
    if policy is None:
        return "not set"
    fields = json.loads(policy)
    name = str(fields["deadLetterTargetArn"]).rpartition(":")[2]
    return f"{fields['maxReceiveCount']} receives, then {name}"


def _or_default(value: int | None, default: int) -> int:
    return default if value is None else value
