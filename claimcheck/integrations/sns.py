"""The claim check for a boto3 client of SNS.

    sns = attach(boto3.client("sns"))

It works where botocore calls SNS, by botocore's own events:

    Publish, PublishBatch   the messages are sealed for several queues
    their answers           a message that SNS refused has its claim removed

Only messages to topics are sealed, since nobody opens what goes to a phone or a device. With
`MessageStructure="json"` the text for `sqs` is sealed. Without that text queues get the `default`,
which others may get too, and nothing is sealed.

https://docs.aws.amazon.com/sns/latest/dg/large-message-payloads.html has the limits.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypeVar

from botocore.client import BaseClient
from botocore.exceptions import ClientError

from claimcheck.core.claim_check import ClaimCheck
from claimcheck.errors import BodyInvalid, SettingsInvalid
from claimcheck.integrations.base import Carrier
from claimcheck.integrations.botocore_clients import check_service, is_asynchronous, register
from claimcheck.integrations.outgoing import Outgoing, Text
from claimcheck.integrations.sqs import attributes_size
from claimcheck.opening import Opener
from letsgo_queue.aws_client import AwsError, error_code
from letsgo_queue.envelope import read_json, write_json
from letsgo_queue.errors import MessageInvalid
from letsgo_queue.limits import ANY_QUEUE_BYTES
from letsgo_queue.log import get_logger

logger = get_logger(__name__)

ClientT = TypeVar("ClientT", bound=BaseClient)

_DENIED = {"AuthorizationError", "AuthorizationErrorException", "AccessDenied"}

_TOPIC = re.compile(r"arn:[^:]+:sns:[^:]*:[^:]*:[^:/]+")
"""The endpoint of a device has slashes in it. SNS says what else is wrong with an ARN."""

_FOR_QUEUES = "sqs"

_TICKET_ESCAPES = 100
"""The most bytes that the escapes of a sealed body take in JSON: it has few quotes."""


def attach(client: ClientT, claim_check: ClaimCheck | None = None) -> ClientT:
    """Give a boto3 client of SNS the claim check. Safe to repeat: the last one counts.

    Args:
        client: `boto3.client("sns")`; of a resource, its `meta.client`.
        claim_check: By default made from the environment, on first use.

    Returns:
        The same client.

    Raises:
        SettingsInvalid: It is not a client of SNS, or it is for asyncio; or `claim_check` is not a
            claim check.
    """
    check_service(client, "sns")
    if is_asynchronous(client):
        raise SettingsInvalid(
            "attach takes a boto3 client of SNS, and got one of aiobotocore. Publish with boto3 on "
            "a thread (asyncio.to_thread)."
        )
    seal_topics(Carrier(Opener(claim_check)), client)
    return client


def seal_topics(carrier: Carrier, client: BaseClient) -> None:
    """Have a client of SNS seal what it sends to topics.

    Args:
        carrier: Seals.
        client: The client.
    """
    outgoing = _Topics(carrier, client)
    register(
        client,
        {
            "provide-client-params.sns.Publish": outgoing.seal_one,
            "provide-client-params.sns.PublishBatch": outgoing.seal_many,
            "after-call.sns.Publish": outgoing.look_at_answer,
            "after-call.sns.PublishBatch": outgoing.look_at_answer,
            "after-call-error.sns.Publish": outgoing.look_at_error,
            "after-call-error.sns.PublishBatch": outgoing.look_at_error,
        },
    )


class _Topics(Outgoing):
    """Seals the messages that go to topics."""

    entries = "PublishBatchRequestEntries"
    body = "Message"
    shared = True
    # The queue may count SNS's envelope, which adds no more than this to body and attributes.
    around = 1_000

    def __init__(self, carrier: Carrier, client: BaseClient) -> None:
        super().__init__(carrier)
        self._client: Any = client  # its type is that of no service
        self._facts: dict[str, Mapping[str, str]] = {}

    def target_in(self, params: Mapping[str, Any]) -> str | None:
        """The topic's ARN; None for a phone, or the endpoint of a device."""
        target = params.get("TopicArn") or params.get("TargetArn")
        return target if isinstance(target, str) and _TOPIC.fullmatch(target) else None

    def text_in(self, target: str, params: Mapping[str, Any]) -> Text | None:
        """The text that goes to queues; None if nothing can be sealed.

        Raises:
            BodyInvalid: Every message must be sealed, and this one cannot be.
        """
        message = params.get("Message")
        if not isinstance(message, str) or not message:  # botocore, or SNS, says so
            return None
        others = attributes_size(params.get("MessageAttributes"))
        if params.get("MessageStructure") != "json":
            return Text(target, message, others)
        texts = _read(message)
        text = texts.get(_FOR_QUEUES)
        if isinstance(text, str) and text:
            around = _size(write_json({**texts, _FOR_QUEUES: ""})) + _TICKET_ESCAPES
            escapes = _size(message) - _size(text) - around
            return Text(target, text, others + around, max(escapes, 0), texts)
        if self._carrier.opener.refuses_unsealed(target):
            raise BodyInvalid(
                f"message to {target}: every message is sealed here, and this one has no text for "
                "'sqs' (MessageStructure='json'), so queues would get its 'default' as it is. Give "
                "it one."
            )
        return None

    def new_body(self, text: Text, body: str) -> str:
        """The message with another text for queues."""
        if text.texts is None:
            return body
        return write_json({**text.texts, _FOR_QUEUES: body})

    def facts(self, target: str) -> Mapping[str, str]:
        """The attributes of a topic, asked for once; none if it does not give them.

        It has a MaximumMessageSize if that was set; else it takes 256 KiB.
        """
        if target in self._facts:
            return self._facts[target]
        try:
            found = self._client.get_topic_attributes(TopicArn=target).get("Attributes", {})
        except AwsError as error:
            if not isinstance(error, ClientError) or error_code(error) not in _DENIED:
                return {}  # publishing will raise the error
            logger.warning(
                "topic %s: sns:GetTopicAttributes is not permitted. Assuming that it takes %d "
                "bytes, and deduplicates by content if it is FIFO.",
                target,
                ANY_QUEUE_BYTES,
            )
            found = {}
        self._facts[target] = found
        return self._facts[target]


def _size(text: str) -> int:
    return len(text.encode(errors="surrogatepass"))


def _read(message: str) -> Mapping[str, object]:
    """The texts for each protocol; none if it is not JSON, which SNS will say."""
    try:
        texts = read_json(message)
    except MessageInvalid:
        return {}
    return texts if isinstance(texts, dict) else {}
