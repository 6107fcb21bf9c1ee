"""Data keys of AWS KMS: made and wrapped there, used for a while here.

    sealing   GenerateDataKey, once for many messages; the wrapped key travels in each ticket
    opening   Decrypt, once for each wrapped key

Requests name the key of the settings, so a ticket cannot make KMS use another one. They also have a
context of ours, so nothing that another application encrypted with the same key is a data key here.
https://docs.aws.amazon.com/kms/latest/developerguide/encrypt_context.html
"""

from __future__ import annotations

import logging
import re
import threading
import time
from base64 import b64decode, b64encode
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from urllib.parse import parse_qsl

import botocore.parsers
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from claimcheck.core.encryption import KEY_BYTES, SETTING, DataKey
from claimcheck.errors import (
    EncryptionKeyRefused,
    EncryptionKeyUnavailable,
    SettingsInvalid,
)
from letsgo_queue.aws_client import KMS, AwsError, error_code, explain, make_client, passes
from letsgo_queue.forking import PerProcess

if TYPE_CHECKING:
    import boto3.session
    from mypy_boto3_kms import KMSClient

REUSE_MINUTES = 15
"""How long a data key encrypts. A sender that is always busy then asks KMS 2,900 times a month, for
a cent. A sender that may no longer use the key of KMS can still send for so long."""

MOST_REUSE_MINUTES = 24 * 60

REUSE_MESSAGES = 100_000
"""How many messages a data key encrypts: so many can be read by anybody who learns it."""

KEPT_KEYS = 1_000
"""How many data keys a reader keeps; a sender makes four an hour."""

KEPT_SECONDS = 3600.0
"""How long a reader keeps a data key. For so long it can read on after KMS forbids it."""

CONTEXT = {"application": "letsgo-claimcheck"}

_TRY_AGAIN = {
    "DependencyTimeoutException",
    "ExpiredTokenException",
    "KMSInternalException",
    "KeyUnavailableException",
    "LimitExceededException",
    "RequestLimitExceeded",
    "ServiceUnavailable",
    "ThrottlingException",
}
_NOT_OURS = {"IncorrectKeyException", "InvalidCiphertextException"}
_REGION = 3  # of an ARN's parts
_KEY = re.compile(r"[A-Za-z0-9:/_-]{1,2048}")
_CONFIG = Config(
    connect_timeout=5,
    read_timeout=15,
    retries={"mode": "standard", "total_max_attempts": 4},
)

_T = TypeVar("_T")


@dataclass(slots=True)
class _Kept(Generic[_T]):
    """An answer of KMS, which a thread may still wait for."""

    answer: Future[_T]
    until: float
    uses_left: float


class _Answers(Generic[_T]):
    """Answers of KMS, kept for a while. If several threads want the same one, only one asks."""

    def __init__(
        self, *, seconds: float, uses: float = float("inf"), clock: Callable[[], float]
    ) -> None:
        self._seconds = seconds
        self._uses = uses
        self._clock = clock
        self._kept: OrderedDict[str, _Kept[_T]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, name: str, ask: Callable[[], _T]) -> _T:
        """Return the answer kept under a name; if there is none, call `ask` for it."""
        with self._lock:
            found = self._kept.get(name)
            if found is not None and found.uses_left > 0 and self._clock() < found.until:
                self._kept.move_to_end(name)
                asks, kept = False, found
            else:
                asks, kept = True, self._keep(name)
            kept.uses_left -= 1
        if asks:
            try:
                kept.answer.set_result(ask())
            except BaseException as error:
                with self._lock:
                    if self._kept.get(name) is kept:
                        del self._kept[name]
                own = not isinstance(error, Exception)  # an interrupt is for this thread only
                kept.answer.set_exception(_interrupted() if own else error)
                raise
        return kept.answer.result()

    def add(self, name: str, answer: _T) -> None:
        """Keep an answer that is known already."""
        with self._lock:
            self._keep(name).answer.set_result(answer)

    def _keep(self, name: str) -> _Kept[_T]:
        kept = _Kept[_T](Future(), self._clock() + self._seconds, self._uses)
        self._kept[name] = kept
        self._kept.move_to_end(name)
        if len(self._kept) > KEPT_KEYS:
            self._kept.popitem(last=False)
        return kept


class _Process:
    """The client and the data keys of one process for a key."""

    def __init__(self, client: KMSClient, reuse_seconds: float, clock: Callable[[], float]) -> None:
        self._client = client
        self._lock = threading.Lock()
        self._calls = 0
        self.sealing = _Answers[DataKey](seconds=reuse_seconds, uses=REUSE_MESSAGES, clock=clock)
        self.opening = _Answers[bytes | None](seconds=KEPT_SECONDS, clock=clock)

    @contextmanager
    def call(self) -> Iterator[KMSClient]:
        """Lend the client for a call. The last call closes connections: the next is minutes off."""
        with self._lock:
            self._calls += 1
        try:
            with _answers_unlogged():
                yield self._client
        finally:
            with self._lock:
                self._calls -= 1
                if not self._calls:
                    self._client.close()


class KmsKey:
    """A key of KMS."""

    kind = "kms"

    def __init__(
        self,
        key: str,
        *,
        region: str | None = None,
        session: boto3.session.Session | None = None,
        reuse_minutes: float = REUSE_MINUTES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Name the key; nothing is asked yet.

        Args:
            key: Its id, its alias (`alias/NAME`), or the ARN of either.
            region: Its region; None for that of the session.
            session: Whose credentials and settings requests have; None for those of the
                environment.
            reuse_minutes: How long a data key encrypts.
            clock: Seconds that pass.
        """
        self._key = key
        self._process = PerProcess(
            lambda: _Process(
                make_client(KMS, session, region=region, endpoint_url=None, config=_CONFIG),
                reuse_minutes * 60,
                clock,
            )
        )

    def for_sealing(self) -> DataKey:
        """The data key of the moment; see `Keys`."""
        process = self._made()
        return process.sealing.get("", lambda: self._generate(process))

    def for_opening(self, name: str) -> bytes | None:
        """The data key in a wrapped one; see `Keys`."""
        process = self._made()
        return process.opening.get(name, lambda: self._unwrap(process, name))

    def try_out(self) -> None:
        """Have KMS make a data key, and decrypt it; see `RemoteKeys`."""
        process = self._made()
        made = self._generate(process)
        self._unwrap(process, made.name.partition(":")[2])

    def _made(self) -> _Process:
        try:
            return self._process.get()
        except BotoCoreError as error:
            raise self._error("no client could be made", error) from error

    def _generate(self, process: _Process) -> DataKey:
        try:
            with process.call() as client:
                answer = client.generate_data_key(
                    KeyId=self._key, KeySpec="AES_256", EncryptionContext=CONTEXT
                )
        except AwsError as error:
            raise self._error("it gave no data key", error) from error
        name = b64encode(self._field(answer, "CiphertextBlob")).decode()
        secret = self._field(answer, "Plaintext")
        process.opening.add(name, secret)
        return DataKey(f"{self.kind}:{name}", secret)

    def _unwrap(self, process: _Process, name: str) -> bytes | None:
        try:
            blob = b64decode(name, validate=True)
        except ValueError:
            return None
        try:
            with process.call() as client:
                answer = client.decrypt(
                    KeyId=self._key, CiphertextBlob=blob, EncryptionContext=CONTEXT
                )
        except AwsError as error:
            if isinstance(error, ClientError) and error_code(error) in _NOT_OURS:
                return None
            raise self._error("it did not decrypt a data key", error) from error
        secret = self._field(answer, "Plaintext")
        return secret if len(secret) == KEY_BYTES else None

    def _field(self, answer: Mapping[str, Any], name: str) -> bytes:
        # botocore takes an answer that was cut off on its way for one without fields.
        value = answer.get(name)
        if not isinstance(value, bytes):
            raise EncryptionKeyUnavailable(
                f"KMS key {self._key}: the answer was damaged on its way."
            )
        return value

    def _error(self, failed: str, error: ClientError | BotoCoreError) -> EncryptionKeyRefused:
        text = f"KMS key {self._key}: {failed}: {explain(error)}."
        if isinstance(error, BotoCoreError):
            return EncryptionKeyUnavailable(text)
        if passes(error, _TRY_AGAIN):
            return EncryptionKeyUnavailable(text)
        return EncryptionKeyRefused(text)


def kms_key(text: str, *, region: str | None, session: boto3.session.Session | None) -> KmsKey:
    """A key as the setting names it: `KEY?region=...&reuse_minutes=...`.

    Args:
        text: The entry, without `kms://`.
        region: The region of KMS, where neither an ARN nor the entry says it.
        session: The boto3 session for requests.

    Raises:
        SettingsInvalid: It names no key, or an unknown option.
    """
    key, _, query = text.partition("?")
    options = dict(parse_qsl(query, keep_blank_values=True))
    minutes = _minutes(options.pop("reuse_minutes", str(REUSE_MINUTES)))
    region = options.pop("region", "") or _region_in(key) or region
    if not _KEY.fullmatch(key) or options or minutes is None:
        raise SettingsInvalid(
            f"{SETTING}: give kms://KEY, where KEY is an id, an alias (alias/NAME) or an ARN; "
            "behind it there may be ?region=NAME and &reuse_minutes=NUMBER (above 0, up to "
            f"{MOST_REUSE_MINUTES:,})."
        )
    return KmsKey(key, region=region, session=session, reuse_minutes=minutes)


def _minutes(text: str) -> float | None:
    try:
        minutes = float(text)
    except ValueError:
        return None
    return minutes if 0 < minutes <= MOST_REUSE_MINUTES else None


def _region_in(key: str) -> str | None:
    """The region that an ARN names: `arn:aws:kms:eu-west-1:123456789012:key/...`."""
    parts = key.split(":")
    return parts[_REGION] if parts[0] == "arn" and len(parts) > _REGION else None


def _interrupted() -> EncryptionKeyUnavailable:
    return EncryptionKeyUnavailable("the thread that asked KMS for the key was interrupted.")


class _Unlogged(logging.Filter):
    """Keeps answers of KMS, which have keys in them, out of botocore's log of its debug level."""

    def __init__(self) -> None:
        super().__init__()
        self.calling = threading.local()
        botocore.parsers.LOG.addFilter(self)

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether this thread asks somebody else than KMS."""
        del record
        return not getattr(self.calling, "kms", False)


_unlogged = _Unlogged()


@contextmanager
def _answers_unlogged() -> Iterator[None]:
    _unlogged.calling.kms = True
    try:
        yield
    finally:
        _unlogged.calling.kms = False
