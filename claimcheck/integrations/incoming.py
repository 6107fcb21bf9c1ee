"""Opens what botocore has received from SQS. `settling` settles the claims that this acquires.

    provide-client-params   of a receive: asks for the attributes that opening needs
    after-call              of a receive: each message is opened, and none can fail another

A message that is left out of an answer stays on its queue. On a FIFO queue the messages behind it
in its group are left out too, so that they keep their order.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

from claimcheck.at_once import at_once
from claimcheck.core.opened import Opened
from claimcheck.errors import ClaimInProgress, SettingsInvalid
from claimcheck.integrations import sqs
from claimcheck.integrations.base import Carrier
from claimcheck.integrations.receipt_handles import ClaimHandle, read_handle
from claimcheck.opening import in_unknown_envelope
from letsgo_queue.aws_pointers import POINTER_ATTRIBUTES, is_aws_pointer
from letsgo_queue.envelope import holds_sealed, type_in
from letsgo_queue.errors import LetsGoError
from letsgo_queue.log import get_logger

if TYPE_CHECKING:
    from botocore.awsrequest import AWSResponse

logger = get_logger(__name__)

OnError: TypeAlias = Literal["leave", "pass"]
"""How a message that cannot be opened is treated."""

_GROUP = "MessageGroupId"

_REQUEST = "claimcheck-receive"
"""The key of the `_Request` in botocore's context of a call."""

_OK = 300

_LEAST_LEASE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class SqsCall:
    """A call to SQS that follows from an answer.

    Attributes:
        method: The client's method.
        params: Its arguments.
        why: What a failure means, for the log.
    """

    method: str
    params: Mapping[str, object]
    why: str


@dataclass(frozen=True, slots=True)
class _Request:
    """A receive that was sent to SQS.

    Attributes:
        queue: The queue's URL.
        hidden: Seconds that messages are hidden; None for the queue's own timeout.
        added: The attributes that the user has not asked for.
    """

    queue: str
    hidden: float | None
    added: Collection[str]


@dataclass(slots=True)
class _Arrived:
    """A message of an answer.

    Attributes:
        message: As botocore has read it.
        opened: Its body and its hold; None if it need not be opened, or the user does not get it.
        error: Why it was not opened.
        is_duplicate: Whether it was handled before.
    """

    message: dict[str, Any] = field(repr=False)
    opened: Opened | None = None
    error: LetsGoError | None = None
    is_duplicate: bool = False

    def give_back(self) -> None:
        """Release its claim: the user does not get it."""
        if self.opened is not None:
            self.opened.settle(succeeded=False)
            self.opened = None


class Incoming:
    """Opens what a client receives. Safe to share between threads."""

    def __init__(
        self, carrier: Carrier, facts: Callable[[str], Mapping[str, str]], *, on_error: OnError
    ) -> None:
        """Open with the claim check of a carrier, from queues that say `facts` of themselves.

        Raises:
            SettingsInvalid: `on_error` is not known, or contents are to be removed before the work.
        """
        if on_error not in get_args(OnError):
            raise SettingsInvalid(f"on_error={on_error!r}: give 'leave' or 'pass'.")
        self._carrier = carrier
        self._facts = facts
        self._on_error = on_error

    def ask(
        self, params: Mapping[str, Any], context: dict[str, Any], **_: object
    ) -> Mapping[str, Any] | None:
        """Ask for the attributes that opening needs. Wrong settings show before any receive."""
        queue = params.get("QueueUrl")
        if not isinstance(queue, str) or not queue:
            return None  # botocore says so
        self._carrier.check_elsewhere(queue)
        wanted = [sqs.RECEIVE_COUNT, _GROUP] if queue.endswith(".fifo") else [sqs.RECEIVE_COUNT]
        lists = [
            params.get(each) or () for each in ("AttributeNames", "MessageSystemAttributeNames")
        ]
        if not all(isinstance(each, list | tuple) for each in lists):
            return None  # botocore says so
        given = [name for each in lists for name in each]
        added = [] if "All" in given else [name for name in wanted if name not in given]
        context[_REQUEST] = _Request(queue, params.get("VisibilityTimeout"), added)
        if not added:
            return None
        # If both are given, SQS takes the older parameter, or does not say which.
        name = "AttributeNames" if params.get("AttributeNames") else "MessageSystemAttributeNames"
        return {**params, name: [*(params.get(name) or ()), *added]}

    def open_answer(
        self,
        http_response: AWSResponse,
        parsed: dict[str, Any],
        context: Mapping[str, Any],
    ) -> Sequence[SqsCall]:
        """Open the messages of an answer, in place.

        Returns:
            The calls that tell SQS about the messages that were left out.
        """
        request: _Request | None = context.get(_REQUEST)
        if request is None or http_response.status_code >= _OK or not parsed.get("Messages"):
            return ()
        arrived = [_Arrived(message) for message in parsed["Messages"]]
        since = time.monotonic()
        to_open = [each for each in arrived if self._must_open(each, request)]
        if to_open:
            # A message that stays visible is held for a moment only.
            lease = max(sqs.lease_seconds(self._hidden(request)), _LEAST_LEASE_SECONDS)
            try:
                at_once(lambda each: self._open(each, request, lease, since), to_open)
                left = self._left(arrived, request)
            except BaseException:  # the user gets none of them
                for each in to_open:
                    each.give_back()
                raise
            if left:
                parsed["Messages"] = left
            else:
                del parsed["Messages"]  # as SQS answers where there is none
        for each in arrived:
            _take_out(each.message, request.added)
        return [call for each in to_open if (call := self._after(each, request)) is not None]

    def give_back(self, parsed: Mapping[str, Any], context: Mapping[str, Any]) -> None:
        """Release the claims of an answer that the user does not get."""
        request: _Request | None = context.get(_REQUEST)
        for message in parsed.get("Messages", ()) if request is not None else ():
            if (handle := read_handle(message.get("ReceiptHandle"))) and request is not None:
                self._carrier.take_up(handle.hold, queue=request.queue).settle(succeeded=False)

    def _must_open(self, arrived: _Arrived, request: _Request) -> bool:
        """Whether opening a message may change it, or ask a store."""
        opener = self._carrier.opener
        body = arrived.message.get("Body")
        return isinstance(body, str) and (
            self._carrier.asks_store(body)
            or opener.refuses_unsealed(request.queue)
            or opener.opens_pointer(body, request.queue)
        )

    def _hidden(self, request: _Request) -> float:
        if request.hidden is not None:
            return request.hidden
        return sqs.visibility_timeout(self._facts(request.queue))

    def _open(self, arrived: _Arrived, request: _Request, lease: float, since: float) -> None:
        """Open a message, and put its body in place; or keep the error."""
        message = arrived.message
        try:
            opened = self._carrier.open(
                message["Body"],
                queue=request.queue,
                name=type_in(message["Body"]),
                message_id=message.get("MessageId", ""),
                receive_count=sqs.receive_count(message.get("Attributes")),
                lease_seconds=lease - (time.monotonic() - since),
            )
            if opened is None:
                arrived.is_duplicate = True
                return
            arrived.opened = opened
            if opened.route == "inline" and holds_sealed(opened.body):
                raise in_unknown_envelope(message.get("MessageId", ""))
            note = self._carrier.write_down(opened, queue=request.queue)
        except LetsGoError as error:
            arrived.error = error
            arrived.give_back()
            return
        if is_aws_pointer(message["Body"]):  # as AWS's own client does
            _take_out(message, POINTER_ATTRIBUTES, field="MessageAttributes")
        message["Body"] = opened.body
        if "MD5OfBody" in message:
            message["MD5OfBody"] = sqs.md5_of(opened.body)
        if note is not None:
            message["ReceiptHandle"] = str(ClaimHandle(handle=message["ReceiptHandle"], hold=note))

    def _left(self, arrived: Sequence[_Arrived], request: _Request) -> list[dict[str, Any]]:
        """The messages that the user gets."""
        left: list[dict[str, Any]] = []
        stopped: set[str] = set()  # groups of a FIFO queue
        for each in arrived:
            group = each.message.get("Attributes", {}).get(_GROUP)
            if group in stopped:
                logger.warning(
                    "message %s waits for an earlier one of its FIFO group",
                    each.message.get("MessageId"),
                )
                each.give_back()
            elif each.error is None:
                if not each.is_duplicate:
                    left.append(each.message)
            elif self._on_error == "pass" and not isinstance(each.error, ClaimInProgress):
                left.append(each.message)
            else:
                self._log(each, each.error, request)
                if group is not None and request.queue.endswith(".fifo"):
                    stopped.add(group)
        return left

    def _log(self, arrived: _Arrived, error: LetsGoError, request: _Request) -> None:
        if isinstance(error, ClaimInProgress):
            logger.info("%s", error)
            return
        logger.error(
            "%s Message %s is left out of the answer, and stays on %s until its visibility timeout "
            "ends.",
            error,
            arrived.message.get("MessageId"),
            request.queue,
        )

    def _after(self, arrived: _Arrived, request: _Request) -> SqsCall | None:
        """Return the call that tells SQS about a message."""
        message, error = arrived.message, arrived.error
        where = {"QueueUrl": request.queue, "ReceiptHandle": message.get("ReceiptHandle")}
        id = message.get("MessageId")
        if isinstance(error, ClaimInProgress):
            seconds = sqs.pause_after(error, sqs.receive_count(message.get("Attributes")))
            return SqsCall(
                "change_message_visibility",
                {**where, "VisibilityTimeout": seconds},
                f"message {id} keeps its visibility timeout",
            )
        if arrived.is_duplicate:
            return SqsCall("delete_message", where, f"message {id}, a duplicate, comes again")
        return None


def _take_out(
    message: dict[str, Any], names: Collection[str], *, field: str = "Attributes"
) -> None:
    """Take attributes out of a message that the user has not asked for."""
    attributes = message.get(field)
    if not names or attributes is None:
        return
    for name in names:
        attributes.pop(name, None)
    if not attributes:
        del message[field]
