"""Seals, opens and completes a message of each route, to see that the rights suffice.

No message goes to the queue itself, since its workers would get it. The messages may go through a
temporary queue with the same settings:

    seal, store ──> orders-doctor-1f3a8c20 ──> receive, acquire, read, complete, remove, delete
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, cast

from botocore.exceptions import ClientError

from claimcheck.core.claim_check import ClaimCheck
from claimcheck.core.sealing import Sealed
from claimcheck.doctor.findings import Finding, carry_out, passed, warning
from claimcheck.doctor.sqs import SqsQueue
from claimcheck.doctor.words import aws_command, in_words
from claimcheck.errors import ClaimCorrupted
from claimcheck.settings import ClaimCheckSettings, claim_check_for
from claimcheck.stores.base import RECORD_SECONDS
from claimcheck.stores.findings import denied_action
from letsgo_queue.admin.sqs_create import FIFO_SUFFIX, MAX_NAME_LENGTH
from letsgo_queue.aws_client import AwsError, explain
from letsgo_queue.errors import QueueUnavailable
from letsgo_queue.limits import ANY_QUEUE_BYTES
from letsgo_queue.transports.base import OutgoingMessage, ReceivedMessage
from letsgo_queue.transports.sqs import SqsTransport
from letsgo_queue.transports.sqs_client import make_client

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.literals import QueueAttributeNameType

ROUND_TRIP_TYPE = "claimcheck:doctor"
"""The type of the messages."""

CREATED_SECONDS = 1.0
"""SQS wants us to wait this long before we use a new queue:
https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_CreateQueue.html"""

WAIT_SECONDS = 20
"""The longest that we wait for a message that was sent."""

_KEPT_SECONDS = 600
"""The temporary queue's retention: messages expire even if this process dies."""

_ALIKE = ("FifoQueue", "KmsDataKeyReusePeriodSeconds", "KmsMasterKeyId", "MaximumMessageSize")


def check_round_trip(
    queue: str, settings: ClaimCheckSettings, *, like: SqsQueue | None = None
) -> Iterator[Finding]:
    """Seal, open and complete a message of each route in every store.

    Stored messages leave a receipt in the store, as any message does.

    Args:
        queue: The queue's URL.
        settings: How messages are sealed.
        like: Send the messages through a temporary queue with the settings of this queue; None to
            send them nowhere.
    """
    if like is None:
        yield from _in_each_store(queue, settings, None)
        return
    client = make_client(like.url, like.region, quick=True)
    name = _name_like(like)
    try:
        url = client.create_queue(QueueName=name, Attributes=_attributes_like(like))["QueueUrl"]
    except ClientError as error:
        action = denied_action(error, "sqs")
        if action is None:
            raise
        yield warning(
            "round-trip.queue",
            f"not known: {action} is denied for {name}",
            advice=f"allow CreateQueue and DeleteQueue of SQS on {_stem_of(like)}-doctor-*, beside "
            "the rights of sender and worker",
        )
        return
    transport = SqsTransport(url, region=like.region)
    try:
        time.sleep(CREATED_SECONDS)
        yield from _in_each_store(queue, settings, transport)
    finally:
        transport.close()
        deleted = _delete(client, url, like)
    yield deleted


def _in_each_store(
    queue: str, settings: ClaimCheckSettings, through: SqsTransport | None
) -> Iterator[Finding]:
    for url in settings.stores_for(queue):
        alone = settings.model_copy(
            update={"store": url, "stores": {}, "inline_limit": ANY_QUEUE_BYTES}
        )
        check = claim_check_for(queue, alone)
        for route, payload in _payloads().items():
            name = f"round-trip.{route}"
            travel = partial(_travel, name, check, payload, url, through)
            yield from carry_out(name, travel, service="sqs")


def _travel(
    name: str, check: ClaimCheck, payload: str, store: str, through: SqsTransport | None
) -> Iterator[Finding]:
    body = json.dumps({"type": ROUND_TRIP_TYPE, "payload": payload}, separators=(",", ":"))
    sealed = check.seal(body)
    try:
        if through is None:
            _open(check, sealed.text, body)
        else:
            message = _send(through, sealed)
            _open(check, message.body, body, message.message_id)
            through.delete(message)
    finally:
        check.discard(sealed)  # a worker does so when it completes a claim, but only logs an error
    steps = "and opened" if through is None else "sent, received, opened and deleted"
    comma = "" if through is None else ","
    kept = f". It was in {store}; its receipt stays there for {in_words(RECORD_SECONDS)}"
    yield passed(
        name,
        f"{len(body):,} bytes were sealed ({sealed.route}){comma} {steps}"
        + (kept if sealed.route == "stored" else ""),
    )


def _open(check: ClaimCheck, text: str, body: str, message_id: str | None = None) -> None:
    """Open a message, and complete its claim, but leave its contents.

    Raises:
        LetsGoError: The message cannot be opened, or its claim cannot be completed.
    """
    opened = check.open(text, message_id=message_id, purge="never")
    if opened.body != body or not opened.complete():
        raise ClaimCorrupted("what was opened is not what was sealed.")


def _send(through: SqsTransport, sealed: Sealed) -> ReceivedMessage:
    """Send a message and receive it.

    Raises:
        LetsGoError: SQS refuses a request, or the message does not arrive in time.
    """
    fifo = through.fifo
    through.send(
        OutgoingMessage(
            type=ROUND_TRIP_TYPE,
            body=sealed.body,
            group_id="doctor" if fifo else None,
            deduplication_id=secrets.token_hex(16) if fifo else None,
        )
    )
    until = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < until:
        for each in through.receive(max_messages=1, wait_seconds=2, visibility_timeout=None):
            return each
    raise QueueUnavailable(
        f"queue {through.url}: a message that was sent did not come within {WAIT_SECONDS} seconds."
    )


def _delete(client: SQSClient, url: str, like: SqsQueue) -> Finding:
    name = url.rpartition("/")[2]
    try:
        client.delete_queue(QueueUrl=url)
    except AwsError as error:
        return warning(
            "round-trip.queue",
            f"{name} was made like {like.name}, and could not be deleted: {explain(error)}",
            command=aws_command("sqs", "delete-queue", like.region, queue_url=url),
        )
    return passed("round-trip.queue", f"{name} was made like {like.name}, and deleted again")


def _attributes_like(queue: SqsQueue) -> dict[QueueAttributeNameType, str]:
    """Return the kind, limit and key of the queue: all that may make SQS refuse a message."""
    alike = {each: queue.attributes[each] for each in _ALIKE if queue.attributes.get(each)}
    if alike.get("FifoQueue") == "false":  # SQS does not take this value
        del alike["FifoQueue"]
    kept = {"MessageRetentionPeriod": str(_KEPT_SECONDS)}
    return cast("dict[QueueAttributeNameType, str]", alike | kept)


def _name_like(queue: SqsQueue) -> str:
    end = f"-doctor-{secrets.token_hex(4)}" + (FIFO_SUFFIX if queue.is_fifo else "")
    return _stem_of(queue)[: MAX_NAME_LENGTH - len(end)] + end


def _stem_of(queue: SqsQueue) -> str:
    return queue.name.removesuffix(FIFO_SUFFIX)


def _payloads() -> Mapping[str, str]:
    return {
        "inline": "small",
        "compressed": "x" * 2 * ANY_QUEUE_BYTES,
        "stored": secrets.token_urlsafe(2 * ANY_QUEUE_BYTES),
    }
