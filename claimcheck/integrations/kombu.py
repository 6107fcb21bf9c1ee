"""The claim check for kombu's SQS transport, on which Celery stands.

    connection = with_claim_check(Connection("sqs://"))

It works where kombu calls SQS:

    SendMessage              the body is sealed
    ReceiveMessage           the claim is acquired, and kombu gets the body that was sealed
    DeleteMessage            the claim is completed before: the message was acknowledged, or it was
                             rejected and nothing keeps it
    ChangeMessageVisibility  the lease ends when the message is visible
    Publish                  of SNS, for fanout exchanges: the message is sealed for several queues

A message that is requeued, or rejected and left to the dead-letter queue, has its claim released.
Until then it stays hidden and its claim held, however long kombu has it.

A message that cannot be opened does not reach kombu: it stays on the queue until its visibility
timeout ends. Where kombu has an event loop, as in Celery's worker, messages are opened on threads,
so that a store that does not answer holds only the messages that need it.
"""

from __future__ import annotations

import functools
import secrets
from base64 import b64decode
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from queue import Empty
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar, cast

from claimcheck.core.claim_check import ClaimCheck
from claimcheck.core.life import Purge
from claimcheck.errors import SettingsInvalid
from claimcheck.integrations.base import Carrier
from claimcheck.integrations.installing import Package, check_given, derive, without
from claimcheck.integrations.kombu_claims import Claims
from claimcheck.integrations.kombu_opening import Received, Threads, opened_in_order
from claimcheck.integrations.sns import seal_topics
from claimcheck.opening import Opener

KOMBU = Package("kombu", (5, 4), extra="celery")

try:
    from kombu.connection import Connection
    from kombu.message import Message
    from kombu.transport import SQS, TRANSPORT_ALIASES, get_transport_cls
    from kombu.utils.json import dumps
except ImportError as missing:
    raise KOMBU.missing(missing) from missing

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.type_defs import MessageTypeDef

HOOKS: Mapping[type, Sequence[str]] = {
    SQS.Channel: (
        "_get_bulk",
        "_message_to_python",
        "_messages_to_python",
        "_on_messages_ready",
        "_put",
        "_restore",
        "basic_consume",
        "basic_get",
        "basic_reject",
        "canonical_queue_name",
        "sqs",
    )
}
"""The methods of kombu's classes that are overridden or called here."""

_OTHER_BROKER = (
    "the broker is {}, and the claim check works with SQS only: give a broker with sqs://, or do "
    "not install it here."
)

_SENDING: ContextVar[Mapping[str, Any]] = ContextVar("sending")
"""The message that kombu is about to send; threads may share a channel."""

ConnectionT = TypeVar("ConnectionT", bound=Connection)


def with_claim_check(
    connection: ConnectionT,
    claim_check: ClaimCheck | None = None,
    *,
    purge: Purge | None = None,
    once: bool | None = None,
) -> ConnectionT:
    """Return a copy of kombu's connection to SQS that has the claim check.

    Args:
        connection: The connection. It is not changed, and need not be open.
        claim_check: By default made from the environment, on first use.
        purge: When contents are removed, in place of the claim check's own setting.
        once: Whether every message gets a record, also a small one: one that was acknowledged is
            not delivered again.

    Raises:
        SettingsInvalid: It is not a connection of kombu, or not to SQS; kombu is too old, or too
            new; or an option is not known.
    """
    check_given(connection, Connection, "a connection of kombu")
    KOMBU.check(HOOKS)
    Opener(claim_check, purge=purge, once=once)  # which looks at them
    return carried_by(_carrier(claim_check, purge, once), connection)


@functools.cache
def _carrier(claim_check: ClaimCheck | None, purge: Purge | None, once: bool | None) -> Carrier:
    """Return one for all connections with these options: kombu keeps each transport for good."""
    return Carrier(Opener(claim_check, purge=purge, once=once))


def carried_by(carrier: Carrier, connection: ConnectionT) -> ConnectionT:
    """Return a copy of a connection whose messages are sealed and opened.

    Kombu knows its transport by a name of its own. So everything that kombu makes of the connection
    has the transport too: pools, copies, and the next broker of a list.

    Args:
        carrier: Seals and opens.
        connection: The connection.

    Raises:
        SettingsInvalid: It is not to SQS.
    """
    others = []
    for url in connection.alt:
        scheme, mark, place = url.partition("://")
        others.append(_transport_name(scheme, carrier) + mark + place if mark else url)
    name = _transport_name(connection.transport_cls, carrier)
    return cast("ConnectionT", connection.clone(transport=name, alternates=others))


def refuse_other_broker(transport: str | type[Any]) -> None:
    """Refuse a transport of kombu's that is not SQS, without loading what it needs.

    Raises:
        SettingsInvalid: It is another transport.
    """
    known = TRANSPORT_ALIASES.get(transport) if isinstance(transport, str) else None
    if isinstance(known, str) and known.startswith("kombu.") and known != TRANSPORT_ALIASES["sqs"]:
        raise SettingsInvalid(_OTHER_BROKER.format(transport))


def _transport_name(transport: str | type[Any], carrier: Carrier) -> str:
    """Return the name by which kombu knows a transport that has the claim check."""
    refuse_other_broker(transport)
    base = without(_Transport, get_transport_cls(transport))  # type: ignore[arg-type]  # it takes classes
    if not issubclass(base, SQS.Transport):
        raise SettingsInvalid(_OTHER_BROKER.format(base.driver_type))
    return _registered(cast("Hashable", base), carrier)  # a class is, which mypy doubts


@functools.cache
def _registered(base: type[Any], carrier: Carrier) -> str:
    """Tell kombu of a transport that has the claim check, and return its name."""
    name = f"{base.driver_type}-claimcheck-{secrets.token_hex(4)}"
    made = _transport(base, carrier)
    TRANSPORT_ALIASES[name] = lambda: made  # type: ignore[assignment]  # it calls what it can
    return name


def _transport(base: type[Any], carrier: Carrier) -> type[Any]:
    """Make the class of a transport to SQS that has the claim check. It keeps both."""
    channel = derive(_Channel, base.Channel, QoS=derive(_QoS, base.Channel.QoS))
    return derive(_Transport, base, Channel=channel, carrier=carrier)


class _Client:
    """kombu's client for SQS: what it sends is sealed, and what it deletes was handled."""

    def __init__(self, client: SQSClient, claims: Claims) -> None:
        self._client = client
        self._claims = claims

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def send_message(self, **request: Any) -> object:
        message = _SENDING.get()
        return self._claims.send(
            self._client,
            request,
            name=_task_in(message),
            as_text=lambda: dumps(_as_text(message)),
        )

    def delete_message(self, **request: Any) -> object:
        self._claims.settle(request["ReceiptHandle"], succeeded=True)
        return self._client.delete_message(**request)

    def change_message_visibility(self, **request: Any) -> object:
        answer = self._client.change_message_visibility(**request)
        self._claims.extend(request["ReceiptHandle"], request["VisibilityTimeout"])
        return answer


class _QoS(SQS.QoS):
    """Counts messages that are being opened among those that kombu has."""

    def can_consume_max_estimate(self) -> int | None:
        most: int | None = super().can_consume_max_estimate()
        return None if most is None else max(most - self.channel.opening, 0)

    def can_consume(self) -> bool:
        return super().can_consume() and self.can_consume_max_estimate() != 0


class _Channel(SQS.Channel):
    """kombu's channel to SQS, with the claim check.

    Attributes:
        claims: The claims of the connection's messages.
        fetched: The messages that it fetched last, without an event loop, and that were opened.
        opening: How many messages are being opened on threads.
    """

    def __init__(self, connection: _Transport, **options: Any) -> None:
        self.claims = connection.claims
        self.fetched: Sequence[MessageTypeDef] = ()
        self.opening = 0
        super().__init__(connection, **options)

    def sqs(self, queue: str | None = None) -> _Client:
        return _Client(super().sqs(queue=queue), self.claims)

    def _new_boto_client(self, service: Literal["sqs", "sns"], *args: Any, **options: Any) -> Any:
        client = super()._new_boto_client(service, *args, **options)
        if service == "sns":  # what goes to a fanout exchange
            seal_topics(self.connection.carrier, client)
        return client

    def basic_consume(self, queue: str, *args: Any, **options: Any) -> Any:
        self.claims.prepare(self._new_queue(queue))
        return super().basic_consume(queue, *args, **options)

    def basic_get(self, queue: str, no_ack: bool = False, **options: Any) -> Message | None:
        message: Message | None = super().basic_get(queue, no_ack=no_ack, **options)
        if message is not None and no_ack:
            self.claims.settle(message.delivery_tag, succeeded=True)
        return message

    def basic_reject(self, delivery_tag: str, requeue: bool = False) -> None:
        try:
            super().basic_reject(delivery_tag, requeue=requeue)
        finally:
            self.claims.settle(delivery_tag, succeeded=False)

    def close(self) -> None:
        if not self.closed and self._qos is not None:
            self.claims.release([*self._qos._delivered])  # kombu restores them one by one
        super().close()

    def client_for(self, queue: str) -> SQSClient:
        """The client that makes calls for a queue, and settles nothing."""
        return cast("SQSClient", super().sqs(queue=self.canonical_queue_name(queue)))

    def has_consumer(self, queue: str) -> bool:
        """Whether somebody still takes the messages of a queue."""
        return not self.closed and queue in self.connection._callbacks

    def hand_over(self, message: MessageTypeDef, url: str, queue: str) -> None:
        """Have kombu deliver a message that was opened."""
        with self._releasing(lambda: [message]):
            super()._on_messages_ready(url, queue, {"Messages": [message]})

    def _restore(self, message: Message, *args: Any) -> None:
        self.claims.settle(message.delivery_tag, succeeded=False)
        super()._restore(message, *args)

    def _put(self, queue: str, message: Mapping[str, Any], **options: Any) -> None:
        token = _SENDING.set(message)
        try:
            super()._put(queue, message, **options)
        finally:
            _SENDING.reset(token)

    def _message_to_python(
        self, message: MessageTypeDef, queue_name: str, q_url: str
    ) -> dict[str, Any]:
        made: dict[str, Any] = super()._message_to_python(message, queue_name, q_url)
        if queue_name in self._noack_queues:  # kombu has deleted it, before its consumer has it
            self.claims.settle(message["ReceiptHandle"], succeeded=True)
        # kombu keeps the message, and Celery gives it to a process of its pool: with one body, not
        # two.
        message["Body"] = self.claims.body_of(message)
        return made

    def _messages_to_python(self, messages: Sequence[MessageTypeDef], queue: str) -> list[Any]:
        received = [Received(self, each, self._new_queue(queue), queue) for each in messages]
        opened = [each.message for each in opened_in_order(received)]
        if not opened:
            raise Empty
        self.fetched = opened
        with self._releasing(lambda: opened):
            return cast("list[Any]", super()._messages_to_python(opened, queue))

    def _get_bulk(self, *args: Any, **options: Any) -> None:
        self.fetched = ()
        with self._releasing(lambda: self.fetched):
            super()._get_bulk(*args, **options)

    @contextmanager
    def _releasing(self, messages: Callable[[], Sequence[MessageTypeDef]]) -> Iterator[None]:
        """If kombu fails to deliver a message, release the claims that nobody will settle.

        Their messages come again when their visibility timeout ends. Messages that a consumer has
        are left to it.
        """
        try:
            yield
        except BaseException:
            for message in messages():
                handle = message["ReceiptHandle"]
                if handle not in self.qos._delivered:
                    self.claims.settle(handle, succeeded=False)
            raise

    def _on_messages_ready(self, queue: str, qname: str, messages: dict[str, Any]) -> int:
        if not self.has_consumer(qname):
            return int(super()._on_messages_ready(queue, qname, messages) or 0)
        received = [Received(self, each, queue, qname) for each in messages.get("Messages") or []]
        threads: Threads | None = self.connection.threads
        here = received
        if threads is not None and not queue.endswith(".fifo"):
            here = [each for each in received if not each.asks_store]
            for each in received:
                if each.asks_store:
                    threads.open(each)
        for each in opened_in_order(here):
            self.hand_over(each.message, queue, qname)
        return len(received)


class _Transport(SQS.Transport):
    """kombu's transport to SQS, with the claim check. `_transport` derives it.

    Attributes:
        carrier: Seals and opens.
        claims: The claims of its messages.
        threads: Where messages are opened; None without an event loop.
    """

    carrier: ClassVar[Carrier]

    def __init__(self, client: Connection, **options: Any) -> None:
        self.claims = Claims(self.carrier)
        self.threads: Threads | None = None
        super().__init__(client, **options)

    def register_with_event_loop(self, connection: Any, loop: Any) -> None:
        super().register_with_event_loop(connection, loop)
        if self.threads is None:
            self.threads = Threads(loop)

    def close_connection(self, connection: Any) -> None:
        super().close_connection(connection)
        self.claims.close()
        threads, self.threads = self.threads, None
        if threads is not None:
            threads.close()


def _as_text(message: Mapping[str, Any]) -> Mapping[str, Any]:
    """A message of kombu whose body is text: in base64 a compressor finds little to save."""
    properties = message.get("properties", {})
    if properties.get("body_encoding") != "base64":
        return message
    try:
        text = b64decode(message["body"]).decode()
    except UnicodeDecodeError:  # pickled, or compressed
        return message
    return {**message, "body": text, "properties": {**properties, "body_encoding": "utf-8"}}


def _task_in(message: Mapping[str, Any]) -> str | None:
    """The name of Celery's task, in its protocol 2."""
    name = (message.get("headers") or {}).get("task")
    return name if isinstance(name, str) else None
