"""Settings of the claim check, from the environment or from code."""

from __future__ import annotations

import os
from collections.abc import Mapping
from urllib.parse import urlsplit

from pydantic import BaseModel, Field, ValidationError, field_validator

from claimcheck.core.claim_check import (
    DEFAULT_LEASE_SECONDS,
    DEFAULT_MAX_SIZE,
    DEFAULT_THRESHOLD,
)
from claimcheck.core.life import Purge
from claimcheck.errors import SettingsInvalid
from claimcheck.local_claims import local_store_url
from letsgo_queue.settings import is_local_http

DEFAULT_STORE = "dynamodb://letsgo-claims"
_PREFIX = "CLAIMCHECK_"


class ClaimCheckSettings(BaseModel, frozen=True, extra="forbid"):
    """How large messages travel, and where their claims are kept.

    Attributes:
        store: `CLAIMCHECK_STORE`: `dynamodb://TABLE`, `sqlite:///path` or `memory://`. By default
            what goes with the queue: see `store_for`.
        threshold: `CLAIMCHECK_THRESHOLD`: bytes up to which a message travels untouched.
        inline_limit: `CLAIMCHECK_INLINE_LIMIT`: bytes that the queue accepts, instead of asking.
        max_size: `CLAIMCHECK_MAX_SIZE`: bytes that a body may have, sealed or opened.
        purge: `CLAIMCHECK_PURGE`: `after`, `before` or `never`.
        signing_key: `CLAIMCHECK_SIGNING_KEY`: signs tickets and refuses others; several, separated
            by commas, for rotation: the first signs, all are accepted.
        lease_seconds: `CLAIMCHECK_LEASE_SECONDS`: how long a claim is held where the delivery does
            not say.
    """

    store: str | None = None
    threshold: int = Field(default=DEFAULT_THRESHOLD, gt=0)
    inline_limit: int | None = Field(default=None, gt=0)
    max_size: int = Field(default=DEFAULT_MAX_SIZE, gt=0)
    purge: Purge = "after"
    lease_seconds: float = Field(default=DEFAULT_LEASE_SECONDS, gt=0, allow_inf_nan=False)
    signing_key: tuple[str, ...] = Field(default=(), repr=False)

    @field_validator("signing_key", mode="before")
    @classmethod
    def _split_keys(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(key.strip() for key in value.split(","))
        return value

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> ClaimCheckSettings:
        """Read the environment; an empty variable counts as unset.

        Raises:
            SettingsInvalid: A variable has a value that cannot be used.
        """
        given = {
            name: environ[_PREFIX + name.upper()]
            for name in cls.model_fields
            if environ.get(_PREFIX + name.upper())
        }
        try:
            return cls.model_validate(given)
        except ValidationError as error:
            problems = "; ".join(
                f"{_PREFIX}{str(e['loc'][0]).upper()}={e['input']!r}: {e['msg']}"
                for e in error.errors()
            )
            raise SettingsInvalid(f"{problems}.") from None

    def store_for(self, queue_url: str) -> str:
        """The store for a queue: the one that is set, else the one that goes with the queue.

        An embedded queue has its claims beside it (a SQLite queue in its own file), and LetsGo's
        local HTTP mode in one file of the user's, so that nothing local needs AWS; SQS has them in
        DynamoDB.
        """
        if self.store is not None:
            return self.store
        if urlsplit(queue_url).scheme in {"sqlite", "memory"}:
            return queue_url.partition("?")[0]
        if is_local_http(queue_url):
            return local_store_url()
        return DEFAULT_STORE
