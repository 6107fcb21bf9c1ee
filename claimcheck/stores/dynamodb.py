"""Claims in a DynamoDB table, through pynamodb.

A claim is one head item and its parts, each an item with a key of its own (`<claim id>/<n>`), so
that a large claim spreads over partitions: one takes 1,000 write units a second, and a full part is
about 390. Items go over the wire in parallel.

The table is made by `claimcheck table create`, never here.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from pynamodb.attributes import BinaryAttribute, NumberAttribute, UnicodeAttribute
from pynamodb.exceptions import DoesNotExist, PynamoDBException
from pynamodb.models import Model

from claimcheck.errors import ClaimStoreError, ClaimStoreUnavailable, ClaimTableMissing
from claimcheck.stores.base import Claim, ClaimHead, Held, Lease

if TYPE_CHECKING:
    import botocore.session

    from claimcheck.core.compression import Encoding

logger = logging.getLogger(__name__)

DEFAULT_PARALLELISM = 4
"""Threads of one store, for the items of its claims. More take memory and save no time: base64,
JSON and hashing keep the interpreter for a third of the time that a full part is under way."""

MAX_POOL_CONNECTIONS = 50
"""For the threads and all callers."""

MAX_RETRIES = 4
CONNECT_TIMEOUT_SECONDS = 5
READ_TIMEOUT_SECONDS = 15

_T = TypeVar("_T")

_CONDITION_FAILED = "ConditionalCheckFailedException"
_NO_TABLE = "ResourceNotFoundException"
_TRY_AGAIN = {
    "InternalServerError",
    "LimitExceededException",
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "ServiceUnavailable",
    "ThrottlingException",
    "ExpiredTokenException",
}
_SERVER_ERROR = 500
_FAILURES = (PynamoDBException, ClientError, BotoCoreError)


class _HeadItem(Model):
    """The head of a claim. `deleted_at`, `lease_id` and `lease_until` are there while it is out."""

    id = UnicodeAttribute(hash_key=True)
    parts = NumberAttribute()
    stored = NumberAttribute()
    size = NumberAttribute()
    sha256 = UnicodeAttribute()
    encoding = UnicodeAttribute()
    type = UnicodeAttribute(null=True)
    created_at = NumberAttribute()
    expires_at = NumberAttribute()
    deleted_at = NumberAttribute(null=True)
    lease_id = UnicodeAttribute(null=True)
    lease_until = NumberAttribute(null=True)


class _PartItem(Model):
    """A part of a claim."""

    id = UnicodeAttribute(hash_key=True)
    data = BinaryAttribute(legacy_encoding=False)
    expires_at = NumberAttribute()


@dataclass(frozen=True, slots=True)
class _Call(Generic[_T]):
    """A call that a thread makes as soon as one is free."""

    function: Callable[[], _T]
    future: Future[_T]

    def result(self) -> _T:
        """What it gives; made here if no thread has begun it: others may keep them all busy."""
        return self.function() if self.future.cancel() else self.future.result()


@dataclass(frozen=True, slots=True)
class _Connection:
    pid: int
    heads: type[_HeadItem]
    parts: type[_PartItem]
    pool: ThreadPoolExecutor


class DynamoDBClaimStore:
    """A claim store in a DynamoDB table."""

    def __init__(
        self,
        table: str,
        *,
        region: str | None = None,
        endpoint_url: str | None = None,
        parallelism: int = DEFAULT_PARALLELISM,
    ) -> None:
        """Name the table; nothing is asked of it yet.

        Args:
            table: The table's name.
            region: Its region.
            endpoint_url: Another server than AWS's own.
            parallelism: Threads for the items of all claims; each caller makes calls as well.
        """
        self.url = f"dynamodb://{table}"
        self.table = table
        self.region = region
        self.endpoint_url = endpoint_url
        self._parallelism = parallelism
        self._connecting = threading.Lock()
        self._connected: _Connection | None = None

    def write(self, head: ClaimHead, parts: Sequence[bytes | memoryview]) -> None:
        """Write head and parts, all at once; see `ClaimStore.write`."""
        writes: list[Callable[[], object]] = [
            partial(self._write_part, head, n, part) for n, part in enumerate(parts)
        ]
        writes.append(self._head_item(head).save)
        try:
            with self._errors(f"claim {head.id} was not stored"):
                self._all(writes)
        except ClaimStoreError:
            self._discard_quietly(head)
            raise

    def take(self, claim_id: str, parts: int, lease: Lease, *, now: float) -> Claim | Held | None:
        """Take a claim, reading its parts meanwhile; see `ClaimStore.take`."""
        with self._errors(f"claim {claim_id} could not be taken"):
            reading = self._start_reading(claim_id, parts)
            item = self._heads(claim_id)
            try:
                item.update(
                    actions=[
                        self._heads.deleted_at.set(now),
                        self._heads.lease_id.set(lease.id),
                        self._heads.lease_until.set(lease.until),
                    ],
                    # A retry of a write that took effect finds its own lease.
                    condition=self._heads.id.exists()
                    & (
                        self._heads.lease_until.does_not_exist()
                        | (self._heads.lease_until <= now)
                        | (self._heads.lease_id == lease.id)
                    ),
                )
            except PynamoDBException as error:
                _cancel(reading)
                if _code(error) != _CONDITION_FAILED:
                    raise
                return self._held(claim_id)
            except BaseException:
                _cancel(reading)
                raise
            return self._claim(item, reading)

    def read(self, claim_id: str, parts: int, *, now: float) -> Claim | Held | None:
        """Read a claim and leave it as it is; see `ClaimStore.read`."""
        with self._errors(f"claim {claim_id} could not be read"):
            reading = self._start_reading(claim_id, parts)
            item = self._get_head(claim_id)
            if item is None or _is_held(item, now):
                _cancel(reading)
                return None if item is None else Held(item.lease_until)
            return self._claim(item, reading)

    def extend(self, claim_id: str, lease: Lease) -> bool:
        """Extend a lease; see `ClaimStore.extend`."""
        return self._update_ours(claim_id, lease, [self._heads.lease_until.set(lease.until)])

    def renew(self, claim_id: str, parts: int, lease: Lease, *, expires_at: int) -> bool:
        """Have a claim expire later, its head last; see `ClaimStore.renew`."""
        with self._errors(f"claim {claim_id} could not be renewed"):
            self._all([partial(self._renew_part, claim_id, n, expires_at) for n in range(parts)])
        return self._update_ours(claim_id, lease, [self._heads.expires_at.set(expires_at)])

    def put_back(self, claim_id: str, lease: Lease) -> bool:
        """Put a claim back; see `ClaimStore.put_back`."""
        return self._update_ours(
            claim_id,
            lease,
            [
                self._heads.deleted_at.remove(),
                self._heads.lease_id.remove(),
                self._heads.lease_until.remove(),
            ],
        )

    def purge(self, claim_id: str, parts: int, lease: Lease) -> bool:
        """Remove a claim we hold, its head first; see `ClaimStore.purge`."""
        with self._errors(f"claim {claim_id} could not be purged"):
            try:
                self._heads(claim_id).delete(
                    # A retry of a delete that took effect finds nothing.
                    condition=self._heads.id.does_not_exist() | (self._heads.lease_id == lease.id)
                )
            except PynamoDBException as error:
                if _code(error) == _CONDITION_FAILED:
                    return False
                raise
            self._all(self._part_deletes(claim_id, parts))
            return True

    def discard(self, claim_id: str, parts: int) -> None:
        """Remove a claim that nobody was told of."""
        with self._errors(f"claim {claim_id} could not be removed"):
            self._all([self._heads(claim_id).delete, *self._part_deletes(claim_id, parts)])

    def look_up(self, claim_id: str, *, now: float) -> ClaimHead | None:
        """What a reader of the key finds; see `ClaimStore.look_up`."""
        with self._errors(f"claim {claim_id} could not be looked up"):
            item = self._get_head(claim_id)
            return None if item is None or _is_held(item, now) else _head_of(item)

    def count_rows(self, claim_id: str, parts: int) -> int:
        """How many rows of a claim are there."""
        keys = [claim_id, *(_part_id(claim_id, n) for n in range(parts))]
        with self._errors(f"claim {claim_id} could not be counted"):
            # Only keys are asked for, so the two kinds of item need not be told apart.
            found = self._heads.batch_get(keys, consistent_read=True, attributes_to_get=["id"])
            return sum(1 for _ in found)

    def close(self) -> None:
        """End the store's threads; what callers are still sending themselves is not waited for."""
        with self._connecting:
            connected = self._connected
        if connected is None:
            return
        # Not under the lock, which a read that is still under way asks for.
        connected.pool.shutdown()
        with self._connecting:
            if self._connected is connected:
                self._connected = None

    @property
    def _heads(self) -> type[_HeadItem]:
        return self._connection().heads

    @property
    def _parts(self) -> type[_PartItem]:
        return self._connection().parts

    def _connection(self) -> _Connection:
        """That of this process: neither threads nor sockets can be shared after a fork."""
        with self._connecting:
            if self._connected is None or self._connected.pid != os.getpid():
                with self._errors("no client could be made"):
                    self._connected = self._connect()
            return self._connected

    def _connect(self) -> _Connection:
        heads, parts = _models(self.table, self.region, self.endpoint_url)
        # pynamodb makes its client on first use, which is not safe on several threads.
        for model in (heads, parts):
            connection = model._get_connection().connection
            connection.session.set_default_client_config(
                Config(user_agent=_user_agent(connection.session))
            )
            _ = connection.client
        pool = ThreadPoolExecutor(self._parallelism, thread_name_prefix="claimcheck-dynamodb")
        return _Connection(os.getpid(), heads, parts, pool)

    def _all(self, functions: Sequence[Callable[[], object]]) -> None:
        """Make calls in parallel: every one, though some fail; the first error is raised."""
        # The last one is made here: a claim of one part needs one more thread, not two.
        calls = [self._start(each) for each in functions[:-1]]
        errors = []
        try:
            for make in (*functions[-1:], *(call.result for call in calls)):
                try:
                    make()
                except _FAILURES as error:
                    errors.append(error)
        finally:
            _cancel(calls)  # of an interruption
        if errors:
            raise errors[0]

    def _start(self, function: Callable[[], _T]) -> _Call[_T]:
        # Taken out by whoever makes it: the pool keeps what is cancelled until a thread has time
        # for it, and would keep a part.
        left = [function]

        def make() -> _T:
            return left.pop()()

        try:
            return _Call(make, self._connection().pool.submit(make))
        except RuntimeError:  # the pool, or the program, is ending
            return _Call(make, Future())

    def _start_reading(self, claim_id: str, parts: int) -> list[_Call[bytes | None]]:
        return [self._start(partial(self._get_part, claim_id, n)) for n in range(parts)]

    def _write_part(self, head: ClaimHead, number: int, part: bytes | memoryview) -> None:
        # Made here, so that only those on the wire are in memory a second time.
        item = self._parts(_part_id(head.id, number), expires_at=head.expires_at, data=bytes(part))
        item.save()

    def _get_part(self, claim_id: str, number: int) -> bytes | None:
        """A part; None if it is missing.

        Parts never change, so the read that costs half is right if it finds anything at all. One
        that does not find a part written a moment ago asks again, consistently.
        """
        for consistent in (False, True):
            try:
                item = self._parts.get(_part_id(claim_id, number), consistent_read=consistent)
            except DoesNotExist:
                continue
            return item.data
        return None

    def _get_head(self, claim_id: str) -> Any | None:
        try:
            return self._heads.get(claim_id, consistent_read=True)
        except DoesNotExist:
            return None

    def _held(self, claim_id: str) -> Held | None:
        """Why a claim could not be taken."""
        item = self._get_head(claim_id)
        if item is None:
            return None
        # One that was put back in between is free by now: held until this moment.
        return Held(item.lease_until or 0.0)

    def _claim(self, item: Any, reading: Sequence[_Call[bytes | None]]) -> Claim:
        return Claim(_head_of(item), [call.result() for call in reading])

    def _renew_part(self, claim_id: str, number: int, expires_at: int) -> None:
        try:
            self._parts(_part_id(claim_id, number)).update(
                actions=[self._parts.expires_at.set(expires_at)],
                condition=self._parts.id.exists(),
            )
        except PynamoDBException as error:
            if _code(error) != _CONDITION_FAILED:  # gone: whoever opens the claim will say so
                raise

    def _update_ours(self, claim_id: str, lease: Lease, actions: list[Any]) -> bool:
        with self._errors(f"claim {claim_id} could not be changed"):
            try:
                self._heads(claim_id).update(
                    actions=actions, condition=self._heads.lease_id == lease.id
                )
            except PynamoDBException as error:
                if _code(error) == _CONDITION_FAILED:
                    return False
                raise
            return True

    def _part_deletes(self, claim_id: str, parts: int) -> list[Callable[[], object]]:
        return [self._parts(_part_id(claim_id, n)).delete for n in range(parts)]

    def _head_item(self, head: ClaimHead) -> Any:
        return self._heads(
            head.id,
            parts=head.parts,
            stored=head.stored,
            size=head.size,
            sha256=head.sha256,
            encoding=head.encoding,
            type=head.type,
            created_at=head.created_at,
            expires_at=head.expires_at,
        )

    def _discard_quietly(self, head: ClaimHead) -> None:
        try:
            self.discard(head.id, head.parts)
        except ClaimStoreError as error:
            logger.warning("what was written of claim %s is left to expire: %s", head.id, error)

    @contextmanager
    def _errors(self, consequence: str) -> Iterator[None]:
        """Turn what pynamodb and botocore raise into errors of our own."""
        try:
            yield
        except _FAILURES as error:
            raise self._store_error(consequence, error) from error

    def _store_error(
        self, consequence: str, error: PynamoDBException | ClientError | BotoCoreError
    ) -> ClaimStoreError:
        where = f"claim store {self.url}"
        response = _response(error)
        if not response:
            return ClaimStoreUnavailable(f"{where}: {consequence}: {error}.")
        code = _code(error)
        said = f"{code}: {response.get('Error', {}).get('Message', '')}".rstrip(". ")
        if code == _NO_TABLE:
            return ClaimTableMissing(
                f"{where}: {consequence}: the table does not exist in region {self.region}. Make "
                "it with `claimcheck table create`, or set CLAIMCHECK_STORE."
            )
        status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        if code in _TRY_AGAIN or status >= _SERVER_ERROR:
            return ClaimStoreUnavailable(f"{where}: {consequence}: {said}.")
        return ClaimStoreError(f"{where}: {consequence}: {said}.")


def _models(
    table: str, region: str | None, endpoint_url: str | None
) -> tuple[type[_HeadItem], type[_PartItem]]:
    """The two models, bound to a table: pynamodb keeps that in the class."""

    class Meta:
        table_name = table
        host = endpoint_url
        max_pool_connections = MAX_POOL_CONNECTIONS
        max_retry_attempts = MAX_RETRIES
        connect_timeout_seconds = CONNECT_TIMEOUT_SECONDS
        read_timeout_seconds = READ_TIMEOUT_SECONDS

    Meta.region = region  # type: ignore[attr-defined]  # a class body cannot say region = region
    heads = type("HeadItem", (_HeadItem,), {"Meta": Meta})
    parts = type("PartItem", (_PartItem,), {"Meta": Meta})
    return cast("type[_HeadItem]", heads), cast("type[_PartItem]", parts)


def _user_agent(session: botocore.session.Session) -> str:
    """What requests say of who sends them, made once: botocore makes it twice for every request.

    As `letsgo_queue` has it for SQS, which a store may not import.
    """
    app = session.get_config_variable("user_agent_appid")
    return f"{session.user_agent()} app/{app}" if app else session.user_agent()


def _part_id(claim_id: str, number: int) -> str:
    return f"{claim_id}/{number}"


def _is_held(item: Any, now: float) -> bool:
    return item.lease_until is not None and item.lease_until > now


def _head_of(item: Any) -> ClaimHead:
    return ClaimHead(
        id=item.id,
        parts=int(item.parts),
        stored=int(item.stored),
        size=int(item.size),
        sha256=item.sha256,
        encoding=cast("Encoding", item.encoding),
        type=item.type,
        created_at=int(item.created_at),
        expires_at=int(item.expires_at),
    )


def _cancel(calls: Sequence[_Call[_T]]) -> None:
    for call in calls:
        call.future.cancel()


def _code(error: PynamoDBException | ClientError | BotoCoreError) -> str:
    """DynamoDB's name for the error; empty where it did not answer."""
    return str(_response(error).get("Error", {}).get("Code", ""))


def _response(error: PynamoDBException | ClientError | BotoCoreError) -> dict[str, Any]:
    """What DynamoDB answered; nothing where it did not."""
    cause = error.cause if isinstance(error, PynamoDBException) else error
    # pynamodb wraps botocore's error in one of its own, which leaves out the status.
    if isinstance(cause, ClientError) and isinstance(cause.__cause__, ClientError):
        cause = cause.__cause__
    # An error of the connection has None for a response: pynamodb's own reading trips on it.
    response: dict[str, Any] | None = getattr(cause, "response", None)
    return response or {}
