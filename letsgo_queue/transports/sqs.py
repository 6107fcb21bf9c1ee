"""Amazon SQS, through boto3."""

from __future__ import annotations

import json
import math
import random
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Literal, NotRequired, TypedDict, cast

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    HTTPClientError,
    ResponseStreamingError,
)

from letsgo_queue.attributes import MessageAttribute, attributes_size, received_attribute, spell_out
from letsgo_queue.aws_client import SERVER_ERROR, AwsError, error_code, explain, watch
from letsgo_queue.errors import (
    LetsGoQueueError,
    MessageTooLarge,
    QueueNotFound,
    QueueUnavailable,
    SendFailed,
    SendUncertain,
    SettingsInvalid,
)
from letsgo_queue.failure import Failure
from letsgo_queue.forking import Lock, PerProcess, cached_property
from letsgo_queue.limits import (
    ANY_QUEUE_BYTES,
    DEFAULT_VISIBILITY_TIMEOUT,
    MAX_MESSAGE_BYTES,
    MAX_WAIT_SECONDS,
)
from letsgo_queue.log import get_logger
from letsgo_queue.transports.base import (
    DeliveryEnded,
    OutgoingMessage,
    ReceivedMessage,
    Sent,
    too_large,
    with_failure,
)
from letsgo_queue.transports.sqs_client import (
    DELIVERY_ENDED,
    DENIED,
    NO_SUCH_QUEUE,
    NOT_FOUND_ADVICE,
    Session,
    dead_letter_url,
    is_retryable,
    make_client,
    unavailable,
)
from letsgo_queue.transports.sqs_clock import ServerClock

if TYPE_CHECKING:
    from botocore.awsrequest import AWSResponse
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.literals import MessageSystemAttributeNameType, QueueAttributeNameType
    from mypy_boto3_sqs.type_defs import (
        BatchResultErrorEntryTypeDef,
        ChangeMessageVisibilityBatchResultTypeDef,
        DeleteMessageBatchRequestEntryTypeDef,
        DeleteMessageBatchResultTypeDef,
        MessageAttributeValueOutputTypeDef,
        MessageAttributeValueTypeDef,
        MessageSystemAttributeValueTypeDef,
        MessageTypeDef,
        ReceiveMessageRequestTypeDef,
        SendMessageBatchRequestEntryTypeDef,
    )

logger = get_logger(__name__)

TRACE_HEADER: Literal["AWSTraceHeader"] = "AWSTraceHeader"
"""The one system attribute that a sender sets.
https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-message-metadata.html"""

SYSTEM_ATTRIBUTES: Sequence[MessageSystemAttributeNameType] = (
    "ApproximateReceiveCount",
    "SentTimestamp",
    "ApproximateFirstReceiveTimestamp",
    "MessageGroupId",
    TRACE_HEADER,
)
"""The system attributes that `from_sqs` reads."""

BATCH_PAUSES_SECONDS = (0.2, 0.5, 1.5)
"""About how long to wait before sending entries again that failed at SQS."""

EXTENSION_PAUSES_SECONDS = (0.2, 0.5)
"""The pauses before an extension is tried again. Three tries that hang take a third of 30
seconds."""

QUICK_AGAIN_SECONDS = 60.0
"""How long to wait before asking a queue again for attributes that help, but are not needed."""


_ACKNOWLEDGED = "acknowledged"
_EXTENDED = "extended"


class _MessageRequest(TypedDict):
    MessageBody: str
    DelaySeconds: NotRequired[int]
    MessageAttributes: NotRequired[dict[str, MessageAttributeValueTypeDef]]
    MessageSystemAttributes: NotRequired[
        dict[Literal["AWSTraceHeader"], MessageSystemAttributeValueTypeDef]
    ]
    MessageGroupId: NotRequired[str]
    MessageDeduplicationId: NotRequired[str]


class _EntryFailed(SendFailed):
    """SQS refused one entry of a batch."""


class _Send(threading.local):
    """The send in progress on this thread, over all its attempts."""

    may_have_arrived = False


_send = _Send()


class SqsTransport:
    """An SQS queue. A forked process has a boto3 client of its own for it."""

    seconds_to_prove_empty = 1
    """A short poll asks only some of SQS's servers."""

    def __init__(
        self,
        url: str,
        *,
        region: str | None = None,
        session: Session | None = None,
        client: SQSClient | PerProcess[SQSClient] | None = None,
    ) -> None:
        """Name a queue; nothing is asked of it yet.

        Args:
            url: The queue's URL. The region in it wins over `region`; a URL of another server
                than AWS's own (a VPC endpoint, an emulator) is also where requests go.
            region: The region for URLs that do not say, if the session does not say either.
            session: The boto3 session, from which each process makes its client; by default one is
                made from the environment.
            client: A boto3 SQS client to use instead of a new one. A forked process cannot use it,
                and raises `SettingsInvalid`; give a session if processes fork. The clients of
                another transport serve as well.

        Raises:
            SettingsInvalid: No client can be made so.
        """
        self.url = url
        self.fifo = url.endswith(".fifo")  # as SQS requires of their names, and of no others
        self._clients = (
            client if isinstance(client, PerProcess) else _clients(url, region, session, client)
        )
        with suppress(CredentialRetrievalError):  # the first call says what that prevents
            self._clients.get()
        # Made when a worker first needs it. A client that is given serves for all calls.
        self._quick_clients = (
            PerProcess(partial(make_client, url, region, session, quick=True))
            if client is None
            else self._clients
        )
        self._attributes: Mapping[str, str] | None = None
        self._quick_again_at = -math.inf
        self._dead_letters: SqsTransport | None = None
        self._asking = Lock()
        self._clock = ServerClock()

    @property
    def client(self) -> SQSClient:
        """The boto3 client of this process.

        Raises:
            SettingsInvalid: A client was given in code, and this process was forked since; or the
                settings of AWS cannot be used.
            CredentialRetrievalError: It is not made yet, and the credentials cannot be fetched.
        """
        return self._clients.get()

    def max_receives(self) -> int | None:
        """The maxReceiveCount of the queue's redrive policy, if it has one and may be asked.

        Asked when a message fails, so it must be quick: if SQS cannot be reached, as from a Lambda
        function in a VPC without an endpoint for it, this gives up within seconds, once a minute.
        """
        policy = self._queue_attributes(quick=True).get("RedrivePolicy")
        return None if policy is None else int(json.loads(policy)["maxReceiveCount"])

    @cached_property
    def _visibility_timeout(self) -> int:
        """The queue's own timeout in seconds; the default in place of 0, which cannot work."""
        own = self._queue_attributes().get("VisibilityTimeout")
        if own == "0":
            logger.warning(
                "queue %s has a visibility timeout of 0: each message would come again at once. "
                "Asking for %d s instead; give the queue, or the worker, a visibility timeout.",
                self.url,
                DEFAULT_VISIBILITY_TIMEOUT,
            )
        return int(own or 0) or DEFAULT_VISIBILITY_TIMEOUT

    def content_based_deduplication(self) -> bool:
        """Whether the queue deduplicates by content; see `Transport`."""
        return self._queue_attributes().get("ContentBasedDeduplication") == "true"

    def max_message_bytes(self) -> int | None:
        """The queue's MaximumMessageSize; None if reading it is not permitted."""
        limit = self._queue_attributes().get("MaximumMessageSize")
        return None if limit is None else int(limit)

    def send(self, message: OutgoingMessage) -> str:
        """SendMessage; see `Transport.send`."""
        self._check_size(message)
        try:
            _send.may_have_arrived = False
            answer = self.client.send_message(QueueUrl=self.url, **_request(message))
            return answer["MessageId"]
        except AwsError as error:
            raise self._send_error(message, error) from error
        except KeyError:
            raise self._uncertain(message, "the answer was not that of SQS") from None

    def send_batch(self, messages: Sequence[OutgoingMessage]) -> Sequence[Sent]:
        """SendMessageBatch; see `Transport.send_batch`.

        Entries that SQS reports as failed for a reason of its own are sent again, up to four times
        in all: botocore retries whole requests only. On a FIFO queue that would put an entry behind
        later messages of its group that SQS took, so there it stays failed.
        """
        sent: dict[int, Sent] = {}
        waiting = []
        for position, message in enumerate(messages):
            try:
                self._check_size(message)
                waiting.append(position)
            except MessageTooLarge as error:
                sent[position] = error
            except (QueueNotFound, QueueUnavailable) as error:  # as it would be for the others
                return [error] * len(messages)
        for pause in (*BATCH_PAUSES_SECONDS, None):
            if waiting:
                sent.update(self._send_entries({at: messages[at] for at in waiting}))
                waiting = [at for at in waiting if _failed_at_sqs(sent[at])]
                if self.fifo:
                    waiting = self._still_in_order(messages, sent, waiting)
            if not waiting or pause is None:
                break
            time.sleep(pause * random.uniform(0.5, 1.5))
        return [sent[position] for position in range(len(messages))]

    def send_on(self, delivery: ReceivedMessage, message: OutgoingMessage) -> None:
        """SendMessage, then DeleteMessage; see `Transport.send_on`."""
        self.send(message)
        self._delete_moved(delivery, "sent on")

    def receive(
        self, *, max_messages: int, wait_seconds: float, visibility_timeout: int | None
    ) -> Sequence[ReceivedMessage]:
        """ReceiveMessage with long polling; see `Transport.receive`."""
        if visibility_timeout is None:
            visibility_timeout = self._visibility_timeout
        request: ReceiveMessageRequestTypeDef = {
            "QueueUrl": self.url,
            "MaxNumberOfMessages": max_messages,
            "WaitTimeSeconds": min(math.ceil(wait_seconds), MAX_WAIT_SECONDS),
            "MessageAttributeNames": ["All"],
            "MessageSystemAttributeNames": SYSTEM_ATTRIBUTES,
            "VisibilityTimeout": visibility_timeout,
        }
        asked = time.monotonic()
        try:
            answer = self.client.receive_message(**request)
        except AwsError as error:
            raise self._unavailable("no message could be received", error) from error
        # Counted from the answer: long polling hands out a message when it arrives.
        received_at = self._clock.answered_at(
            answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date"),
            asked=asked,
            arrived=time.monotonic(),
        )
        try:
            return [
                from_sqs(message, received_at, visibility_timeout)
                for message in answer.get("Messages", [])
            ]
        except (KeyError, TypeError, ValueError):
            raise QueueUnavailable(
                f"queue {self.url}: no message could be received: the answer was not that of SQS."
            ) from None

    def delete(self, message: ReceivedMessage) -> None:
        """DeleteMessage; see `Transport.delete`."""
        try:
            self.client.delete_message(QueueUrl=self.url, ReceiptHandle=message.receipt_handle)
        except AwsError as error:
            raise self._unavailable(_not(_ACKNOWLEDGED, message), error) from error

    def delete_batch(
        self, messages: Sequence[ReceivedMessage]
    ) -> Sequence[LetsGoQueueError | None]:
        """DeleteMessageBatch; see `Transport.delete_batch`.

        Entries that failed for a reason that may pass are tried again, up to four times in all.
        """
        outcomes: dict[int, LetsGoQueueError | None] = {}
        waiting: Sequence[int] = range(len(messages))
        for pause in (*BATCH_PAUSES_SECONDS, None):
            outcomes |= self._delete_entries({at: messages[at] for at in waiting})
            waiting = [at for at in waiting if (error := outcomes[at]) and error.retryable]
            if not waiting or pause is None:
                break
            time.sleep(pause)
        return [outcomes[at] for at in range(len(messages))]

    def move_to_dead_letters(self, message: ReceivedMessage, failure: Failure) -> str | None:
        """Send to the queue's dead-letter queue, then delete; see `Transport`.

        A dead-letter queue is in the region and the account of its queue, so its URL follows from
        that queue's:
        https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-dead-letter-queues.html
        """
        url = self.dead_letter_url()
        if url is None:
            return None
        dead_letters = self._dead_letter_queue(url)
        try:
            limit = self._letter_limit(message, dead_letters)
            letter_id = dead_letters.send(
                OutgoingMessage(
                    type="",
                    body=message.body.encode(),
                    attributes=with_failure(message, failure, limit),
                    group_id=message.group_id or (message.message_id if self.fifo else None),
                    # If it could not be deleted, and is moved a second time, it is still one
                    # letter.
                    deduplication_id=message.message_id if self.fifo else None,
                    trace_header=message.trace_header,
                )
            )
        except LetsGoQueueError as error:
            raise QueueUnavailable(
                f"message {message.message_id} was not moved to the dead-letter queue {url} "
                f"({type(error).__name__}): {error} It comes again.",
                retryable=error.retryable,
            ) from error
        self._delete_moved(message, "moved to the dead-letter queue")
        return letter_id

    def _delete_moved(self, message: ReceivedMessage, how: str) -> None:
        try:
            self.delete(message)
        except QueueUnavailable as error:
            logger.warning(
                "message %s was %s, and may come twice: %s", message.message_id, how, error
            )

    def _dead_letter_queue(self, url: str) -> SqsTransport:
        with self._asking:
            if self._dead_letters is None:
                self._dead_letters = SqsTransport(url, client=self._clients)
            return self._dead_letters

    def _letter_limit(self, message: ReceivedMessage, dead_letters: SqsTransport) -> int:
        """Bytes that a dead letter may have; that queue is asked only about large ones."""
        own = self.max_message_bytes() or ANY_QUEUE_BYTES
        size = len(message.body.encode(errors="replace")) + attributes_size(message.attributes)
        if size <= ANY_QUEUE_BYTES // 2:
            return own
        return min(own, dead_letters.max_message_bytes() or own)

    def dead_letter_url(self) -> str | None:
        """URL of the queue's dead-letter queue; None if it has none or will not say."""
        return dead_letter_url(self.url, self._queue_attributes())

    def change_visibility(self, message: ReceivedMessage, seconds: int) -> None:
        """ChangeMessageVisibility; see `Transport.change_visibility`."""
        for pause in (*EXTENSION_PAUSES_SECONDS, None):
            try:
                self._quick_clients.get().change_message_visibility(
                    QueueUrl=self.url,
                    ReceiptHandle=message.receipt_handle,
                    VisibilityTimeout=seconds,
                )
            except AwsError as error:
                if isinstance(error, ClientError) and error_code(error) in DELIVERY_ENDED:
                    raise self._ended(message, explain(error)) from error
                if pause is None or not is_retryable(error):
                    raise self._unavailable(_not(_EXTENDED, message), error) from error
                time.sleep(pause)
            else:
                return

    def change_visibility_batch(
        self, changes: Sequence[tuple[ReceivedMessage, int]]
    ) -> Sequence[LetsGoQueueError | None]:
        """ChangeMessageVisibilityBatch; see `Transport.change_visibility_batch`."""
        if not changes:
            return []
        try:
            answer = self._quick_clients.get().change_message_visibility_batch(
                QueueUrl=self.url,
                Entries=[
                    {
                        "Id": str(at),
                        "ReceiptHandle": message.receipt_handle,
                        "VisibilityTimeout": seconds,
                    }
                    for at, (message, seconds) in enumerate(changes)
                ],
            )
        except AwsError as error:
            return [self._unavailable(_not(_EXTENDED, each), error) for each, _ in changes]
        messages = {at: message for at, (message, _) in enumerate(changes)}
        outcomes = self._outcomes(answer, messages, _EXTENDED)
        return [outcomes[at] for at in messages]

    def close(self) -> None:
        """Close the client's connections."""
        for clients in (self._clients, self._quick_clients):
            if clients.made is not None:
                clients.made.close()

    def _outcomes(
        self,
        answer: DeleteMessageBatchResultTypeDef | ChangeMessageVisibilityBatchResultTypeDef,
        messages: Mapping[int, ReceivedMessage],
        done: str,
    ) -> dict[int, LetsGoQueueError | None]:
        """For each message of a batch None, or why it was not `done`, by its position."""
        outcomes: dict[int, LetsGoQueueError | None] = {
            int(entry["Id"]): None for entry in answer.get("Successful", [])
        }
        for entry in answer.get("Failed", []):
            at = int(entry["Id"])
            if done == _EXTENDED and entry["Code"] in DELIVERY_ENDED:
                outcomes[at] = self._ended(messages[at], _explain_entry(entry))
            else:
                outcomes[at] = QueueUnavailable(
                    f"queue {self.url}: {_not(done, messages[at])}: {_explain_entry(entry)}.",
                    retryable=not entry["SenderFault"],
                )
        for at in messages.keys() - outcomes.keys():
            outcomes[at] = QueueUnavailable(
                f"queue {self.url}: {_not(done, messages[at])}: the answer does not name it."
            )
        return outcomes

    def _ended(self, message: ReceivedMessage, why: str) -> DeliveryEnded:
        return DeliveryEnded(f"queue {self.url}: {_not(_EXTENDED, message)}: {why}.")

    def _send_entries(self, messages: Mapping[int, OutgoingMessage]) -> Mapping[int, Sent]:
        """One SendMessageBatch; for each message its id, or why not, by its position."""
        entries: list[SendMessageBatchRequestEntryTypeDef] = [
            # The types of the stubs do not add up for an entry made of two.
            cast("SendMessageBatchRequestEntryTypeDef", {"Id": str(at), **_request(message)})
            for at, message in messages.items()
        ]
        try:
            _send.may_have_arrived = False
            answer = self.client.send_message_batch(QueueUrl=self.url, Entries=entries)
        except AwsError as error:
            return {at: self._send_error(message, error) for at, message in messages.items()}
        sent: dict[int, Sent] = {
            int(entry["Id"]): entry["MessageId"] for entry in answer.get("Successful", [])
        }
        for entry in answer.get("Failed", []):
            position = int(entry["Id"])
            sent[position] = _EntryFailed(
                f"message of type {messages[position].type!r} to {self.url} was not sent: "
                f"{_explain_entry(entry)}.",
                retryable=not entry["SenderFault"],
            )
        for position in messages.keys() - sent.keys():
            sent[position] = self._uncertain(messages[position], "the answer does not name it")
        return sent

    def _still_in_order(
        self, messages: Sequence[OutgoingMessage], sent: dict[int, Sent], failed: list[int]
    ) -> list[int]:
        """Those failed entries that no later message of their group has overtaken.

        The others get an error that says so.
        """
        last: dict[str | None, int] = {}  # of each group, that is or may be on the queue
        for at, outcome in sent.items():
            if isinstance(outcome, str | SendUncertain):
                group = messages[at].group_id
                last[group] = max(at, last.get(group, at))
        in_order = []
        for at in failed:
            if at > last.get(messages[at].group_id, -1):
                in_order.append(at)
            else:
                sent[at] = SendFailed(
                    f"{sent[at]} Later messages of its group are on the queue, so it was not tried "
                    "again: it would come after them.",
                    retryable=True,
                )
        return in_order

    def _delete_entries(
        self, messages: Mapping[int, ReceivedMessage]
    ) -> Mapping[int, LetsGoQueueError | None]:
        """One DeleteMessageBatch; for each message None, or why not, by its position."""
        entries: list[DeleteMessageBatchRequestEntryTypeDef] = [
            {"Id": str(at), "ReceiptHandle": message.receipt_handle}
            for at, message in messages.items()
        ]
        try:
            answer = self._quick_clients.get().delete_message_batch(
                QueueUrl=self.url, Entries=entries
            )
        except AwsError as error:
            return {
                at: self._unavailable(_not(_ACKNOWLEDGED, each), error)
                for at, each in messages.items()
            }
        return self._outcomes(answer, messages, _ACKNOWLEDGED)

    def _check_size(self, message: OutgoingMessage) -> None:
        """Refuse what cannot fit; the queue is asked only about sizes that some queues take."""
        if message.size > ANY_QUEUE_BYTES:
            limit = MAX_MESSAGE_BYTES
            if message.size <= MAX_MESSAGE_BYTES:
                limit = self.max_message_bytes() or MAX_MESSAGE_BYTES
            if message.size > limit:
                raise too_large(message, limit)

    def _queue_attributes(self, *, quick: bool = False) -> Mapping[str, str]:
        """The queue's attributes, asked for once; none if that is not permitted.

        Args:
            quick: Whether to give up within seconds, and to ask again only after a minute.
        """
        with self._asking:
            if self._attributes is None:
                if quick and time.monotonic() < self._quick_again_at:
                    raise QueueUnavailable(
                        f"queue {self.url}: its attributes could not be read a moment ago."
                    )
                if quick:
                    self._quick_again_at = time.monotonic() + QUICK_AGAIN_SECONDS
                names: list[QueueAttributeNameType] = [
                    "MaximumMessageSize",
                    "VisibilityTimeout",
                    "RedrivePolicy",
                ]
                if self.fifo:
                    names.append("ContentBasedDeduplication")
                try:
                    client = self._quick_clients.get() if quick else self.client
                    answer = client.get_queue_attributes(QueueUrl=self.url, AttributeNames=names)
                    self._attributes = cast("Mapping[str, str]", answer["Attributes"])
                except KeyError:  # every queue has some of these: it was cut off on its way
                    raise QueueUnavailable(
                        f"queue {self.url}: its attributes could not be read: the answer was not "
                        "that of SQS."
                    ) from None
                except ClientError as error:
                    if error_code(error) not in DENIED:
                        raise self._unavailable(
                            "its attributes could not be read", error
                        ) from error
                    logger.warning(
                        "queue %s: sqs:GetQueueAttributes is not permitted. Assuming that it takes "
                        "%d bytes, does not deduplicate by content, and a visibility timeout of "
                        "%d s.",
                        self.url,
                        ANY_QUEUE_BYTES,
                        DEFAULT_VISIBILITY_TIMEOUT,
                    )
                    self._attributes = {}
                except BotoCoreError as error:
                    raise self._unavailable("its attributes could not be read", error) from error
            return self._attributes

    def _send_error(
        self, message: OutgoingMessage, error: ClientError | BotoCoreError
    ) -> SendFailed | SendUncertain | QueueNotFound:
        what = f"message of type {message.type!r} to {self.url}"
        if isinstance(error, ClientError) and error_code(error) in NO_SUCH_QUEUE:
            return QueueNotFound(
                f"{what} was not sent: the queue does not exist. {NOT_FOUND_ADVICE}"
            )
        if _send.may_have_arrived or isinstance(error, ResponseStreamingError):
            return self._uncertain(message, explain(error))
        return SendFailed(f"{what} was not sent: {explain(error)}.", retryable=is_retryable(error))

    def _uncertain(self, message: OutgoingMessage, reason: str) -> SendUncertain:
        return SendUncertain(
            f"message of type {message.type!r} to {self.url} may or may not be on the queue: "
            f"{reason}. Sending it again may deliver it twice."
        )

    def _unavailable(
        self, consequence: str, error: ClientError | BotoCoreError
    ) -> QueueUnavailable | QueueNotFound:
        return unavailable(self.url, consequence, error)


def _clients(
    url: str | None, region: str | None, session: Session | None, given: SQSClient | None
) -> PerProcess[SQSClient]:
    """The client of each process; see `SqsTransport`."""

    def make() -> SQSClient:
        if given is not None:
            raise SettingsInvalid(
                f"queue {url}: its boto3 client was made by the process from which this one was "
                "forked, and two processes that share one read each other's answers. Give the "
                "queue a boto3 session in place of the client, or make it after the fork."
            )
        return _watched(make_client(url, region, session))

    if given is not None:
        watch(given)
    return PerProcess(make, None if given is None else _watched(given))


def _watched(client: SQSClient) -> SQSClient:
    """Have `_send` know what becomes of the client's sends."""
    for operation in ("SendMessage", "SendMessageBatch"):
        client.meta.events.register(
            f"needs-retry.sqs.{operation}", _after_attempt, unique_id=f"letsgo-after-{operation}"
        )
    return client


def _after_attempt(
    response: tuple[AWSResponse, Mapping[str, object]] | None,
    caught_exception: Exception | None,
    **_: object,
) -> None:
    """Note an attempt that may have put the message on the queue; botocore may try again.

    An answer of SQS below 500 says what it did, and without a connection it did nothing.
    """
    if response is None:
        unanswered = isinstance(caught_exception, HTTPClientError)
    else:
        unanswered = response[0].status_code >= SERVER_ERROR
    _send.may_have_arrived |= unanswered


def _request(message: OutgoingMessage) -> _MessageRequest:
    """The parameters that SendMessage and an entry of SendMessageBatch share."""
    request: _MessageRequest = {"MessageBody": message.body.decode()}
    # SQS refuses DelaySeconds on FIFO queues, and 0 would override a queue's own delay.
    if message.delay_seconds:
        request["DelaySeconds"] = message.delay_seconds
    if message.attributes:
        request["MessageAttributes"] = _to_sqs(spell_out(message.attributes))
    if message.trace_header is not None:
        request["MessageSystemAttributes"] = {
            TRACE_HEADER: {"DataType": "String", "StringValue": message.trace_header}
        }
    if message.group_id is not None:
        request["MessageGroupId"] = message.group_id
    if message.deduplication_id is not None:
        request["MessageDeduplicationId"] = message.deduplication_id
    return request


def _failed_at_sqs(sent: Sent) -> bool:
    """Whether SQS refused one entry of a batch for a reason of its own."""
    return isinstance(sent, _EntryFailed) and sent.retryable


def _not(done: str, message: ReceivedMessage) -> str:
    return f"message {message.message_id} was not {done}"


def _explain_entry(entry: BatchResultErrorEntryTypeDef) -> str:
    return f"{entry['Code']}: {entry.get('Message', '')}".rstrip(".: ")


def _to_sqs(
    attributes: Mapping[str, MessageAttribute],
) -> dict[str, MessageAttributeValueTypeDef]:
    return {
        name: (
            {"DataType": attribute.data_type, "BinaryValue": attribute.value}
            if isinstance(attribute.value, bytes)
            else {"DataType": attribute.data_type, "StringValue": attribute.value}
        )
        for name, attribute in attributes.items()
    }


def from_sqs(
    message: MessageTypeDef, received_at: float, visibility_timeout: float
) -> ReceivedMessage:
    """Return the message in SQS's answer to ReceiveMessage.

    Args:
        message: The message as SQS has it, with its system attributes.
        received_at: When SQS gave it out (on the monotonic clock).
        visibility_timeout: Seconds from then until it can be received again.
    """
    system = message.get("Attributes", {})
    return ReceivedMessage(
        message_id=message["MessageId"],
        receipt_handle=message["ReceiptHandle"],
        body=message["Body"],
        attributes={
            name: _attribute(value) for name, value in message.get("MessageAttributes", {}).items()
        },
        receive_count=int(system.get("ApproximateReceiveCount", "1")),
        sent_at=int(system.get("SentTimestamp", "0")) / 1000,
        first_received_at=_seconds(system.get("ApproximateFirstReceiveTimestamp")),
        invisible_until=received_at + visibility_timeout,
        group_id=system.get("MessageGroupId"),
        trace_header=system.get(TRACE_HEADER),
        received_at=received_at,
    )


def _seconds(milliseconds: str | None) -> float | None:
    return None if milliseconds is None else int(milliseconds) / 1000


def _attribute(value: MessageAttributeValueOutputTypeDef) -> MessageAttribute:
    return received_attribute(value["DataType"], value.get("StringValue"), value.get("BinaryValue"))
