"""Settles the claims of what botocore has received, when the user settles the messages.

    provide-client-params   of a delete: the claim is completed first
                            of a change of visibility: to 0, the claim is released
                            of a presigned URL: nothing is settled, as nobody may use the URL
    after-call              of a change of visibility: leases are extended, once SQS has agreed

The receipt handle names the claim, so any process may settle a message. SQS gets its own handle.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from claimcheck.at_once import at_once
from claimcheck.core.holds import Hold
from claimcheck.errors import ClaimCorrupted, ClaimStoreError
from claimcheck.integrations import sqs
from claimcheck.integrations.base import Carrier
from claimcheck.integrations.botocore_clients import is_presigned
from claimcheck.integrations.receipt_handles import read_handle
from letsgo_queue.log import get_logger

if TYPE_CHECKING:
    from botocore.awsrequest import AWSResponse

logger = get_logger(__name__)

Settle: TypeAlias = Callable[[Hold, Mapping[str, Any]], None]
"""Settles the claim of a message, by the parameters of its call or of its entry."""

_EXTENSIONS = "claimcheck-extensions"
"""The key of the leases to extend in botocore's context of a call."""

_OK = 300


@dataclass(frozen=True, slots=True)
class _Extension:
    """A lease to extend.

    Attributes:
        id: The id of its entry in a batch.
        hold: The hold on the claim.
        seconds: How long its message is hidden.
    """

    id: object
    hold: Hold
    seconds: int

    def make(self) -> None:
        """Extend the lease. If that fails, it ends before the message is visible."""
        try:
            if not self.hold.extend(sqs.lease_seconds(self.seconds)):
                logger.warning("record %s: another delivery has it", self.hold.key)
        except (ClaimStoreError, ClaimCorrupted) as error:
            logger.warning("the lease on %s is as it was: %s", self.hold.key, error)


class Settling:
    """Settles what a client has received. Safe to share between threads."""

    def __init__(self, carrier: Carrier) -> None:
        """Settle with the claim check of a carrier."""
        self._carrier = carrier

    def complete_one(
        self, params: Mapping[str, Any], context: Mapping[str, Any], **_: object
    ) -> Mapping[str, Any] | None:
        """Complete the claim of a message that is about to be deleted."""
        return self._with_own_handle(params, context, self._complete)

    def complete_many(
        self, params: Mapping[str, Any], context: Mapping[str, Any], **_: object
    ) -> Mapping[str, Any] | None:
        """Complete the claims of messages that are about to be deleted."""
        return self._with_own_handles(params, context, self._complete)

    def change_one(
        self, params: Mapping[str, Any], context: dict[str, Any], **_: object
    ) -> Mapping[str, Any] | None:
        """Release the claim of a message that becomes visible at once; else note its lease."""
        context[_EXTENSIONS] = extensions = list[_Extension]()
        return self._with_own_handle(params, context, partial(self._release_or_note, extensions))

    def change_many(
        self, params: Mapping[str, Any], context: dict[str, Any], **_: object
    ) -> Mapping[str, Any] | None:
        """Release the claims of messages that become visible at once; note the other leases."""
        context[_EXTENSIONS] = extensions = list[_Extension]()
        return self._with_own_handles(params, context, partial(self._release_or_note, extensions))

    def extend(
        self,
        http_response: AWSResponse,
        parsed: Mapping[str, Any],
        context: Mapping[str, Any],
        **_: object,
    ) -> None:
        """Extend the leases of messages that SQS has hidden for longer, and of no others.

        A lease that outlived the visibility would keep the next delivery away after a crash.
        """
        if http_response.status_code >= _OK:
            return
        failed = {each.get("Id") for each in parsed.get("Failed", ())}
        at_once(
            _Extension.make,
            [each for each in context.get(_EXTENSIONS, ()) if each.id not in failed],
        )

    def _with_own_handle(
        self, params: Mapping[str, Any], context: Mapping[str, Any], settle: Settle
    ) -> Mapping[str, Any] | None:
        """Settle the claim, and return the parameters with SQS's handle; None without a claim."""
        changed = self._settled([params], params.get("QueueUrl"), context, settle)
        return None if changed is None else changed[0]

    def _with_own_handles(
        self, params: Mapping[str, Any], context: Mapping[str, Any], settle: Settle
    ) -> Mapping[str, Any] | None:
        """The same for the entries of a batch."""
        entries = params.get("Entries")
        if not isinstance(entries, list | tuple):
            return None
        changed = self._settled(entries, params.get("QueueUrl"), context, settle)
        return None if changed is None else {**params, "Entries": changed}

    def _settled(
        self, entries: Sequence[Any], queue: object, context: Mapping[str, Any], settle: Settle
    ) -> Sequence[Any] | None:
        """Settle claims, and return the entries with SQS's handles; None if none has a claim.

        Raises:
            LetsGoError: A handle cannot be used here. Nothing was settled.
        """
        if not isinstance(queue, str):
            return None
        handles = [
            read_handle(each.get("ReceiptHandle")) if isinstance(each, Mapping) else None
            for each in entries
        ]
        if not any(handles):
            return None
        if not is_presigned(context):
            holds = [
                (self._carrier.take_up(handle.hold, queue=queue), entry)
                for handle, entry in zip(handles, entries, strict=True)
                if handle is not None
            ]
            at_once(lambda each: settle(*each), holds)
        return [
            entry if handle is None else {**entry, "ReceiptHandle": handle.handle}
            for handle, entry in zip(handles, entries, strict=True)
        ]

    def _complete(self, hold: Hold, params: Mapping[str, Any]) -> None:
        hold.settle(succeeded=True)

    def _release_or_note(
        self, extensions: list[_Extension], hold: Hold, params: Mapping[str, Any]
    ) -> None:
        seconds = params.get("VisibilityTimeout")
        if not isinstance(seconds, int):
            return  # botocore says so
        if seconds <= 0:
            hold.settle(succeeded=False)
        else:
            extensions.append(_Extension(params.get("Id"), hold, seconds))
