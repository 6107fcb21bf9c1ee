"""Settings of the claim check, and the claim check that they describe.

In LetsGo's local mode, claims go to one file in the folder where this user's programs keep their
state. The file's path cannot follow from the queue: in that mode sender and worker share no queue
file, and may name the queue differently.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import quote

from pydantic import BaseModel, Field, SecretStr, ValidationError, field_validator

from claimcheck.core.aws_pointers import AwsPointers
from claimcheck.core.claim_check import (
    DEFAULT_LEASE_SECONDS,
    DEFAULT_MAX_SIZE,
    DEFAULT_THRESHOLD,
    ClaimCheck,
    Write,
)
from claimcheck.core.encryption import Encryption, open_encryption
from claimcheck.core.life import Purge
from claimcheck.core.trust import Trust
from claimcheck.errors import SettingsInvalid
from claimcheck.stores import open_store
from claimcheck.stores.base import ClaimStore
from letsgo_queue import in_test
from letsgo_queue.deployment import Deployment, setting
from letsgo_queue.files import make_private_folder, why_unsafe
from letsgo_queue.forking import Lock, forks_wait
from letsgo_queue.misspelt import warn_of_misspelt
from letsgo_queue.settings import QueueSettings, is_local_http, is_sqs, region_in, split_url

DEFAULT_STORE = "dynamodb://letsgo-claims"
PREFIX = "CLAIMCHECK_"
_POINTERS = {"aws_pointers", "aws_pointers_remove"}
_SECRETS = {
    "signing_key": "nothing would be signed, and every ticket accepted",
    "encryption": "nothing would be encrypted",
}
"""Settings with keys in them, and what would happen to messages if a setting were empty."""

_TOPIC = re.compile(r"arn:[^:]+:sns:([^:]+):")

_LOCAL_APPLICATION = "letsgo-claimcheck"
_LOCAL_FILE = "claims.db"

_opening = Lock()


class ClaimCheckSettings(BaseModel, frozen=True, extra="forbid"):
    """How large messages travel, and where their claims are kept.

    Attributes:
        store: `CLAIMCHECK_STORE`: `dynamodb://TABLE`, `dynamodb://TABLE?bucket=BUCKET`,
            `s3://BUCKET`, `letsgo://[DEPLOYMENT]`, `sqlite:///path`, `memory://`, or what an
            installed package adds. By default what goes with the queue: see `store_for`.
        stores: `CLAIMCHECK_STORES`: other stores for messages of some types, the first pattern that
            fits counts: `video:*=s3://big,report:*=dynamodb://reports`.
        read_stores: `CLAIMCHECK_READ_STORES`: more stores where claims may be, separated by commas,
            for a fleet that moves from one to another. The stores above are read from anyway.
        threshold: `CLAIMCHECK_THRESHOLD`: bytes up to which a message travels untouched; `auto`
            for whatever AWS bills least.
        inline_limit: `CLAIMCHECK_INLINE_LIMIT`: bytes that the queue accepts, instead of asking.
        max_size: `CLAIMCHECK_MAX_SIZE`: bytes that a body may have, sealed or opened.
        purge: `CLAIMCHECK_PURGE`: `after`, `before` or `never`.
        signing_key: `CLAIMCHECK_SIGNING_KEY`: signs tickets and refuses others; several, separated
            by commas, for rotation: the first signs, all are accepted. A key that is set and empty
            is an error: whoever sets a key wants to sign.
        sign_every_message: `CLAIMCHECK_SIGN_EVERY_MESSAGE`: seals and signs messages of every size,
            and refuses those that are not sealed.
        encryption: `CLAIMCHECK_ENCRYPTION`: encrypts messages of every size, and refuses those that
            are not encrypted: `kms://KEY` or `aes256:BASE64`; several, separated by commas, for
            rotation: the first encrypts, all decrypt.
        aws_pointers: `CLAIMCHECK_AWS_POINTERS`: buckets, separated by commas: the pointers of AWS's
            extended clients to these are opened too.
        aws_pointers_remove: `CLAIMCHECK_AWS_POINTERS_REMOVE`: whether such an object is removed
            when its message was handled.
        write: `CLAIMCHECK_WRITE`: how a large message travels: as a `ticket`, or as an
            `aws-pointer` to the first of these buckets.
        lease_seconds: `CLAIMCHECK_LEASE_SECONDS`: how long a claim is held where the delivery does
            not say, in seconds: 1,209,600 (14 days) at most.
    """

    store: str | None = None
    stores: dict[str, str] = Field(default_factory=dict)
    read_stores: tuple[str, ...] = ()
    threshold: Annotated[int, Field(gt=0)] | Literal["auto"] = DEFAULT_THRESHOLD
    inline_limit: int | None = Field(default=None, gt=0)
    max_size: int = Field(default=DEFAULT_MAX_SIZE, gt=0)
    purge: Purge = "after"
    lease_seconds: float = Field(default=DEFAULT_LEASE_SECONDS, gt=0, allow_inf_nan=False)
    signing_key: tuple[SecretStr, ...] | None = None
    sign_every_message: bool = False
    encryption: SecretStr | None = None
    aws_pointers: tuple[str, ...] = ()
    aws_pointers_remove: bool = False
    write: Write = "ticket"

    @field_validator("signing_key", mode="before")
    @classmethod
    def _split_keys(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(key.strip() for key in value.split(","))
        return value

    @field_validator("read_stores", "aws_pointers", mode="before")
    @classmethod
    def _split_stores(cls, value: object) -> object:
        return tuple(_entries(value)) if isinstance(value, str) else value

    @field_validator("stores", mode="before")
    @classmethod
    def _split_choices(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        choices = {}
        for entry in _entries(value):
            pattern, _, url = entry.partition("=")
            if not pattern.strip() or not url.strip():
                raise SettingsInvalid(  # without the entry, since its URL may have a password
                    "CLAIMCHECK_STORES: give pairs of a type and a store, separated by commas, as "
                    "in video:*=s3://big,report:*=dynamodb://reports."
                )
            choices[pattern.strip()] = url.strip()
        return choices

    @property
    def signing_keys(self) -> list[str] | None:
        """The keys in `signing_key`, to give to a claim check."""
        keys = self.signing_key
        return None if keys is None else [key.get_secret_value() for key in keys]

    @classmethod
    def variables(cls) -> tuple[str, ...]:
        """All settings, as environment variables."""
        return tuple(PREFIX + name.upper() for name in cls.model_fields)

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> ClaimCheckSettings:
        """Read the environment; an empty variable counts as unset, but not an empty key.

        Raises:
            SettingsInvalid: A variable has a value that cannot be used.
        """
        if environ is os.environ:
            warn_of_misspelt(PREFIX, cls.variables())
        found = {name: setting(environ, PREFIX + name.upper()) for name in cls.model_fields}
        given = {name: value for name, value in found.items() if value is not None}
        for name, outcome in _SECRETS.items():
            variable = PREFIX + name.upper()
            if variable in environ and name not in given:
                raise SettingsInvalid(
                    f"{variable} is set and empty: {outcome}. Give a key, or unset it."
                )
        try:
            return cls.model_validate(given)
        except ValidationError as error:
            problems = "; ".join(
                f"{PREFIX}{str(e['loc'][0]).upper()}={e['input']!r}: {e['msg']}"
                for e in error.errors()
            )
            raise SettingsInvalid(f"{problems}.") from None

    def store_for(self, queue_url: str) -> str:
        """Return a queue's store: the store that is set, else the store that goes with the queue.

        The claims of an embedded queue are beside it (for SQLite, in its own file), those of
        LetsGo's local HTTP mode in one file of the user. So nothing local needs AWS. The claims of
        a LetsGo deployment are in LetsGo's own table, those of any other SQS queue in DynamoDB.
        """
        if self.store is not None:
            return self.store
        if split_url(queue_url).scheme in {"sqlite", "memory"}:
            return queue_url.partition("?")[0]
        if is_local_http(queue_url):
            return _local_store_url()
        deployment = Deployment.from_environment()
        return f"letsgo://{deployment.name}" if deployment.has_queue(queue_url) else DEFAULT_STORE

    def stores_for(self, queue_url: str) -> list[str]:
        """Return all stores that a queue's messages go to: `store_for`, and those by type."""
        return list(dict.fromkeys([self.store_for(queue_url), *self.stores.values()]))


def claim_check_for(queue_url: str, settings: ClaimCheckSettings | None = None) -> ClaimCheck:
    """Make a claim check for a queue.

    Args:
        queue_url: The queue. The place and the region of its claims may follow from it.
        settings: By default those of the environment.

    Raises:
        SettingsInvalid: A setting cannot be used.
    """
    settings = settings or ClaimCheckSettings.from_environment()
    if in_test.surroundings() is None:
        _refuse_memory(queue_url, settings)
    if settings.store is None and is_local_http(queue_url):
        _make_local_folder()
    return _claim_check(queue_url, settings)


def check_settings_for(queue_url: str, settings: ClaimCheckSettings) -> None:
    """Refuse the settings that `claim_check_for` refuses, and make nothing.

    It does not refuse a store in memory: the doctor says more of stores.

    Raises:
        SettingsInvalid: A setting cannot be used.
    """
    if settings.store is None and is_local_http(queue_url):
        _refuse_unsafe_folder()
    _claim_check(queue_url, settings)


def _claim_check(queue_url: str, settings: ClaimCheckSettings) -> ClaimCheck:
    region = region_for(queue_url)
    return ClaimCheck(
        _shared_store(settings.store_for(queue_url), region),
        stores={type: _shared_store(url, region) for type, url in settings.stores.items()},
        read_stores=[_shared_store(url, region) for url in settings.read_stores],
        signing_key=settings.signing_keys,
        encryption=encryption_for(queue_url, settings),
        aws_pointers=(
            AwsPointers(settings.aws_pointers, remove=settings.aws_pointers_remove, region=region)
            if settings.aws_pointers
            else None
        ),
        **settings.model_dump(exclude={"store", "stores", "read_stores", *_POINTERS, *_SECRETS}),
    )


def _refuse_memory(queue_url: str, settings: ClaimCheckSettings) -> None:
    """Refuse a store in memory for messages that leave this process: nobody could open them.

    Raises:
        SettingsInvalid: The queue is on SQS, or is a topic, and the store is in memory.
    """
    if not (is_sqs(queue_url) or _TOPIC.match(queue_url)):
        return
    for url in settings.stores_for(queue_url):
        if url.strip().startswith("memory:"):
            raise SettingsInvalid(
                f"claim store {url!r} is in the memory of this process, so no other could open the "
                f"messages of {queue_url}. Set CLAIMCHECK_STORE (or CLAIMCHECK_STORES) to a store "
                "that sender and worker share, such as dynamodb://letsgo-claims, or unset it. In a "
                "test, where one process sends and receives, make one "
                "ClaimCheck(open_store('memory://')), and give it to both sides as claim_check."
            )


def trust_for(queue_url: str, settings: ClaimCheckSettings) -> Trust:
    """Return the trust that decides which tickets a reader of a queue opens.

    Raises:
        SettingsInvalid: A key cannot be used.
    """
    return Trust(
        signing_key=settings.signing_keys,
        sign_every_message=settings.sign_every_message,
        encryption=encryption_for(queue_url, settings),
    )


def encryption_for(queue_url: str, settings: ClaimCheckSettings) -> Encryption | None:
    """Return the encryption that settings name. A process has one: its data keys serve all queues.

    Args:
        queue_url: The queue. By default a key of KMS is in its region.
        settings: The settings.

    Raises:
        SettingsInvalid: The setting cannot be used, or `cryptography` is not installed.
    """
    if settings.encryption is None:
        return None
    with _opening:
        return _encryption(settings.encryption, region_for(queue_url))


def _entries(value: str) -> list[str]:
    return [entry.strip() for entry in value.split(",") if entry.strip()]


def region_for(queue_url: str) -> str | None:
    """Return the region of a queue, or of a topic, which has an ARN in place of a URL.

    It is the region in the URL, else the region of the settings; None if neither has one.
    """
    named = _TOPIC.match(queue_url)
    if named is not None:
        return named[1]
    return region_in(queue_url) or QueueSettings.from_environment().region


@functools.cache
def _encryption(setting: SecretStr, region: str | None) -> Encryption:
    return open_encryption(setting.get_secret_value(), region=region)


def _shared_store(url: str, region: str | None) -> ClaimStore:
    """Return the process's store for a URL: the two ends of a memory queue share it."""
    with _opening:  # without the lock, two threads might make two stores
        return _store(url, region)


@functools.cache
def _store(url: str, region: str | None) -> ClaimStore:
    return open_store(url, region=region)


def _local_store_url() -> str:
    """Return the URL of this user's store in local mode, without making or opening it."""
    return f"sqlite:///{quote((_local_folder() / _LOCAL_FILE).as_posix())}"


def _make_local_folder() -> None:
    """Make the folder of the claims, for this user alone, if it is missing.

    Raises:
        SettingsInvalid: It cannot be made, or another user could have put something into it.
    """
    folder = _local_folder()
    try:
        make_private_folder(folder)
    except OSError as error:
        raise _no_local_claims(f"{folder} cannot be used: {error.strerror}") from None
    _refuse_unsafe_folder()


def _refuse_unsafe_folder() -> None:
    """Refuse the folder of the claims if another user could have put something into it.

    Raises:
        SettingsInvalid: Another user could.
    """
    folder = _local_folder()
    for path in (folder, folder / _LOCAL_FILE):
        try:
            why = why_unsafe(path)
        except OSError as error:
            raise _no_local_claims(f"{folder} cannot be used: {error.strerror}") from None
        if why is not None:
            raise _no_local_claims(f"{path} {why}")


def _no_local_claims(problem: str) -> SettingsInvalid:
    return SettingsInvalid(
        f"the claims of LetsGo's local mode are kept in {_local_folder() / _LOCAL_FILE}, but "
        f"{problem}. Mend that, or name another file at both ends: "
        "CLAIMCHECK_STORE=sqlite:////path/to/claims.db"
    )


def _local_folder() -> Path:
    with forks_wait():
        from platformdirs import user_state_path

    return user_state_path(_LOCAL_APPLICATION)
