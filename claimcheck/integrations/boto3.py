"""The claim check for a boto3 client of SQS.

    sqs = attach(boto3.client("sqs"))

It works where botocore calls SQS, by botocore's own events:

    SendMessage, SendMessageBatch   a message that is too large is sealed
    ReceiveMessage                  a sealed message is opened: its claim is acquired
    DeleteMessage(Batch)            the claim is completed, then the message is deleted
    ChangeMessageVisibility(Batch)  the lease is extended; with 0 seconds the claim is released

The receipt handle of an opened message carries a note that settles its claim. So any process that
has the same store may delete the message. See `receipt_handles`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from botocore.client import BaseClient

from claimcheck.core.claim_check import ClaimCheck
from claimcheck.core.life import Purge
from claimcheck.errors import SettingsInvalid
from claimcheck.integrations import botocore_clients, sqs
from claimcheck.integrations.base import Carrier
from claimcheck.integrations.botocore_clients import register
from claimcheck.integrations.incoming import Incoming, OnError, SqsCall
from claimcheck.integrations.outgoing import Outgoing, Text
from claimcheck.integrations.settling import Settling
from claimcheck.opening import OnDuplicate, Opener
from letsgo_queue.aws_client import AwsError
from letsgo_queue.limits import MAX_BATCH_BYTES
from letsgo_queue.log import get_logger

if TYPE_CHECKING:
    from botocore.awsrequest import AWSResponse

logger = get_logger(__name__)

ClientT = TypeVar("ClientT", bound=BaseClient)


def attach(
    client: ClientT,
    claim_check: ClaimCheck | None = None,
    *,
    on_error: OnError = "leave",
    purge: Purge | None = None,
    on_duplicate: OnDuplicate | None = None,
    once: bool | None = None,
) -> ClientT:
    """Give a boto3 client of SQS the claim check. Safe to repeat: the last one counts.

    Args:
        client: `boto3.client("sqs")`; of a resource, its `meta.client`.
        claim_check: By default made from the environment, on first use.
        on_error: How `receive_message` treats a message that cannot be opened: `leave` it on the
            queue and out of the answer, with a line in the log and a `MessageNotOpened`; or `pass`
            it on as it is, sealed.
        purge: When contents are removed, `after` the work or `never`, in place of the claim check's
            own setting. `before` is refused: another process may settle the message.
        on_duplicate: `acknowledge` a message that was handled before: it is deleted and left out of
            the answer (the default). Or `raise`: it counts as a message that cannot be opened.
        once: Whether every message gets a record, also one without a claim; by default not.

    Returns:
        The same client.

    Raises:
        SettingsInvalid: It is not a client of SQS, or it is for asyncio; or an option is not known.
    """
    check_client(client, asynchronous=False)
    of_service: Any = client  # its type is that of no service
    facts = partial(sqs.QueueFacts().of, of_service)
    carrier = Carrier(Opener(claim_check, purge=purge, on_duplicate=on_duplicate, once=once))
    outgoing, settling = SqsOutgoing(carrier, facts), Settling(carrier)
    incoming = Incoming(carrier, facts, on_error=on_error)

    def open_answer(
        http_response: AWSResponse, parsed: dict[str, Any], context: dict[str, Any], **_: object
    ) -> None:
        for call in incoming.open_answer(http_response, parsed, context):
            _make(client, call)

    register(
        client,
        {
            "provide-client-params.sqs.SendMessage": outgoing.seal_one,
            "provide-client-params.sqs.SendMessageBatch": outgoing.seal_many,
            "after-call.sqs.SendMessage": outgoing.look_at_answer,
            "after-call.sqs.SendMessageBatch": outgoing.look_at_answer,
            "after-call-error.sqs.SendMessage": outgoing.look_at_error,
            "after-call-error.sqs.SendMessageBatch": outgoing.look_at_error,
            "provide-client-params.sqs.ReceiveMessage": incoming.ask,
            "after-call.sqs.ReceiveMessage": open_answer,
            "provide-client-params.sqs.DeleteMessage": settling.complete_one,
            "provide-client-params.sqs.DeleteMessageBatch": settling.complete_many,
            "provide-client-params.sqs.ChangeMessageVisibility": settling.change_one,
            "provide-client-params.sqs.ChangeMessageVisibilityBatch": settling.change_many,
            "after-call.sqs.ChangeMessageVisibility": settling.extend,
            "after-call.sqs.ChangeMessageVisibilityBatch": settling.extend,
        },
    )
    return client


class SqsOutgoing(Outgoing):
    """Seals the messages that go to queues."""

    entries = "Entries"
    body = "MessageBody"
    shared = False
    batch_bytes = MAX_BATCH_BYTES

    def __init__(self, carrier: Carrier, facts: Callable[[str], Mapping[str, str]]) -> None:
        """Seal with the claim check of a carrier, for queues that say `facts` of themselves."""
        super().__init__(carrier)
        self._facts = facts

    def target_in(self, params: Mapping[str, Any]) -> str | None:
        """The queue's URL."""
        queue = params.get("QueueUrl")
        return queue if isinstance(queue, str) and queue else None

    def text_in(self, target: str, params: Mapping[str, Any]) -> Text | None:
        """The message's body; None for anything else, which botocore or SQS refuses."""
        body, delay = params.get("MessageBody"), params.get("DelaySeconds", 0)
        if not isinstance(body, str) or not body or not isinstance(delay, int):
            return None
        others = sqs.attributes_size(params.get("MessageAttributes"))
        return Text(target, body, others, delay_seconds=max(delay, 0))

    def facts(self, target: str) -> Mapping[str, str]:
        """The attributes of a queue."""
        return self._facts(target)


def check_client(client: BaseClient, *, asynchronous: bool) -> None:
    """Refuse an object that is no client of SQS, or a client of the other kind.

    Raises:
        SettingsInvalid: It is not what `attach` takes.
    """
    botocore_clients.check_service(client, "sqs")
    if botocore_clients.is_asynchronous(client) != asynchronous:
        of, other = ("aiobotocore", "boto3") if asynchronous else ("boto3", "aiobotocore")
        raise SettingsInvalid(
            f"attach takes a client of {of}, and got one of {other}. Import attach from "
            f"claimcheck.integrations.{other}."
        )


def _make(client: BaseClient, call: SqsCall) -> None:
    """Make a call whose failure does no harm: the queue does the same later, by itself."""
    try:
        getattr(client, call.method)(**call.params)
    except AwsError as error:
        logger.info("%s: %s", call.why, error)
