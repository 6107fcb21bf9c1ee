"""The claim check for a client of SQS that aiobotocore or aioboto3 has made.

    async with session.client("sqs") as sqs:
        attach(sqs)

It does what `claimcheck.integrations.boto3` does, by the same events. The event loop stays free:
threads of the library's own ask the stores, and a cancelled task waits for its call to end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from botocore.client import BaseClient

from claimcheck.core.claim_check import ClaimCheck
from claimcheck.core.life import Purge
from claimcheck.integrations.base import Carrier
from claimcheck.integrations.boto3 import SqsOutgoing, check_client
from claimcheck.integrations.botocore_clients import Handler, register
from claimcheck.integrations.incoming import Incoming, OnError, SqsCall
from claimcheck.integrations.outgoing import has_sealed
from claimcheck.integrations.receipt_handles import has_claim
from claimcheck.integrations.settling import Settling
from claimcheck.integrations.sqs import QueueFacts, was_certainly_not_sent
from claimcheck.opening import OnDuplicate, Opener
from letsgo_queue.async_threads import AsyncThreads
from letsgo_queue.aws_client import AwsError
from letsgo_queue.log import get_logger

if TYPE_CHECKING:
    from botocore.awsrequest import AWSResponse

logger = get_logger(__name__)

ClientT = TypeVar("ClientT", bound=BaseClient)

_threads = AsyncThreads("claimcheck-aiobotocore")


def attach(
    client: ClientT,
    claim_check: ClaimCheck | None = None,
    *,
    on_error: OnError = "leave",
    purge: Purge | None = None,
    on_duplicate: OnDuplicate | None = None,
    once: bool | None = None,
) -> ClientT:
    """Give a client of SQS the claim check; see `claimcheck.integrations.boto3.attach`.

    Args:
        client: The client inside `async with session.client("sqs")`.
        claim_check: By default made from the environment, on first use.
        on_error: How `receive_message` treats a message that cannot be opened.
        purge: When contents are removed.
        on_duplicate: What happens to a message that was handled before.
        once: Whether every message gets a record.

    Returns:
        The same client.

    Raises:
        SettingsInvalid: It is not a client of SQS, or it is boto3's; or an option is not known.
    """
    check_client(client, asynchronous=True)
    facts = QueueFacts()
    carrier = Carrier(Opener(claim_check, purge=purge, on_duplicate=on_duplicate, once=once))
    outgoing, settling = SqsOutgoing(carrier, facts.known), Settling(carrier)
    incoming = Incoming(carrier, facts.known, on_error=on_error)

    async def learn(params: Mapping[str, Any]) -> None:
        queue = params.get("QueueUrl")
        if isinstance(queue, str):
            await facts.learn(client, queue)

    def sealing(handle: Handler) -> Handler:
        async def seal(params: Mapping[str, Any], context: Any, **event: Any) -> object:
            seal_now = partial(handle, params=params, context=context, **event)
            if not outgoing.waits(params):
                return seal_now()
            await learn(params)
            try:
                return await _threads.run_to_end(seal_now)
            except asyncio.CancelledError:  # it was sealed, and will not be sent
                await _threads.run_to_end(partial(outgoing.give_up, context))
                raise

        return seal

    def if_claimed(handle: Handler) -> Handler:
        async def settle(params: Mapping[str, Any], **event: Any) -> object:
            entries = params.get("Entries") or [params]
            if isinstance(entries, list | tuple) and any(
                isinstance(each, Mapping) and has_claim(each.get("ReceiptHandle"))
                for each in entries
            ):
                return await _threads.run_to_end(partial(handle, params=params, **event))
            return None

        return settle

    async def look_at_answer(context: dict[str, Any], **event: Any) -> None:
        if has_sealed(context):
            await _threads.run_to_end(partial(outgoing.look_at_answer, context=context, **event))

    async def look_at_error(exception: Exception, context: dict[str, Any], **_: object) -> None:
        # aiobotocore cannot tell a connection that was never made from one that broke.
        if was_certainly_not_sent(exception):
            await _threads.run_to_end(partial(outgoing.give_up, context))

    async def ask(params: Mapping[str, Any], **event: Any) -> object:
        await learn(params)
        return await _threads.run_to_end(partial(incoming.ask, params=params, **event))

    async def open_answer(
        http_response: AWSResponse, parsed: dict[str, Any], context: dict[str, Any], **_: object
    ) -> None:
        if not parsed.get("Messages"):
            return
        try:
            calls = await _threads.run_to_end(
                partial(incoming.open_answer, http_response, parsed, context)
            )
            for call in calls:
                await _make(client, call)
        except asyncio.CancelledError:  # it was opened, and nobody gets it
            await _threads.run_to_end(partial(incoming.give_back, parsed, context))
            raise

    async def extend(context: dict[str, Any], **event: Any) -> None:
        await _threads.run_to_end(partial(settling.extend, context=context, **event))

    register(
        client,
        {
            "provide-client-params.sqs.SendMessage": sealing(outgoing.seal_one),
            "provide-client-params.sqs.SendMessageBatch": sealing(outgoing.seal_many),
            "after-call.sqs.SendMessage": look_at_answer,
            "after-call.sqs.SendMessageBatch": look_at_answer,
            "after-call-error.sqs.SendMessage": look_at_error,
            "after-call-error.sqs.SendMessageBatch": look_at_error,
            "provide-client-params.sqs.ReceiveMessage": ask,
            "after-call.sqs.ReceiveMessage": open_answer,
            "provide-client-params.sqs.DeleteMessage": if_claimed(settling.complete_one),
            "provide-client-params.sqs.DeleteMessageBatch": if_claimed(settling.complete_many),
            "provide-client-params.sqs.ChangeMessageVisibility": if_claimed(settling.change_one),
            "provide-client-params.sqs.ChangeMessageVisibilityBatch": if_claimed(
                settling.change_many
            ),
            "after-call.sqs.ChangeMessageVisibility": extend,
            "after-call.sqs.ChangeMessageVisibilityBatch": extend,
        },
    )
    return client


async def _make(client: BaseClient, call: SqsCall) -> None:
    """Make a call whose failure does no harm: the queue does the same later, by itself."""
    try:
        await getattr(client, call.method)(**call.params)
    except AwsError as error:
        logger.info("%s: %s", call.why, error)
