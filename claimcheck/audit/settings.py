"""Settings of the audit: `[tool.claimcheck.audit]` in a project's `pyproject.toml`."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ByteSize, Field, TypeAdapter, ValidationError

from claimcheck.core.claim_check import DEFAULT_THRESHOLD
from claimcheck.core.cost import Place, place_of
from claimcheck.core.life import Purge
from claimcheck.core.prices import REGIONS, Prices
from claimcheck.errors import SettingsInvalid
from claimcheck.settings import DEFAULT_STORE, ClaimCheckSettings
from letsgo_queue.files import read_file
from letsgo_queue.limits import ANY_QUEUE_BYTES, SQS_UNIT_BYTES
from letsgo_queue.validation import problems_in

TABLE = "tool.claimcheck.audit"

MAX_SIZE = 2**53
"""The largest size in bytes that can be counted with: a float tells it from its neighbours."""

_BYTES = TypeAdapter(ByteSize)


def _size(value: object) -> int:
    try:
        size = int(_BYTES.validate_python(value))
    except (OverflowError, ValidationError):
        size = 0
    if isinstance(value, bool) or not 0 < size <= MAX_SIZE:
        raise ValueError(f"{value!r} is no size: give bytes, '64 KB' or '1.5 MiB'")
    return size


Size = Annotated[int, BeforeValidator(_size)]
"""Bytes: a number, or text: `64 KB` (64,000), `64 KiB` (65,536), `1.5 MB`."""


class AuditSettings(BaseModel, frozen=True, extra="forbid"):
    """The limits, budgets and prices that the audit compares messages with.

    Attributes:
        limit: Bytes that the queue accepts. By default the claim check's limit
            (`CLAIMCHECK_INLINE_LIMIT`), else 262,144: the audit asks no queue, and every queue
            accepts as much, also one made before August 2025. A newer queue accepts 1 MiB.
        threshold: Bytes up to which a message travels untouched; a line in the charts. By default
            that of the claim check (`CLAIMCHECK_THRESHOLD`).
        place: Where claims are kept: `dynamodb`, `bucket` (contents in S3, records in DynamoDB) or
            `s3`. By default the place of the claim check's store (`CLAIMCHECK_STORE`).
        purge: When the contents of stored messages are removed: `after`, `before` or `never`. By
            default the claim check's setting (`CLAIMCHECK_PURGE`).
        kms_requests: Requests to KMS for each message that is compressed or stored. By default
            none, or what a busy sender and reader need if `CLAIMCHECK_ENCRYPTION` has a key of KMS.
            Set 2 if the bucket encrypts with SSE-KMS and has no bucket key.
        warn_at: Share of the limit from which on the audit points a type out.
        max_growth: Share by which a type may grow over the baseline.
        budgets: Bytes that a message of a type may have, by type or by pattern (`order:*`).
        tests: Patterns of the tests whose messages are weighed (`tests/integration/*`); empty for
            all tests.
        monthly: How many messages of a type are sent in a month, by type or by pattern. The advice
            counts in these; otherwise in millions of messages.
        prices: AWS's prices. By default those of `AWS_REGION`, if they are known here.
    """

    limit: Size = ANY_QUEUE_BYTES
    threshold: Size = DEFAULT_THRESHOLD
    place: Place = "dynamodb"
    purge: Purge = "after"
    kms_requests: float = Field(default=0, ge=0, allow_inf_nan=False)
    warn_at: float = Field(default=0.8, gt=0, le=1)
    max_growth: float = Field(default=0.1, ge=0, allow_inf_nan=False)
    budgets: Mapping[str, Size] = {}
    tests: tuple[str, ...] = ()
    monthly: Mapping[str, Annotated[int, Field(gt=0, le=MAX_SIZE)]] = {}
    prices: Prices = Prices()

    @classmethod
    def from_pyproject(cls, path: Path) -> AuditSettings:
        """Read a `pyproject.toml`. Without the file or the table, the defaults hold.

        Raises:
            SettingsInvalid: It is no TOML, or a key has a value that cannot be used.
        """
        try:
            found: object = tomllib.loads(read_file(path).decode())
        except FileNotFoundError:
            return cls().with_environment()
        except (OSError, ValueError) as error:
            raise SettingsInvalid(f"{path}: {error}.") from error
        for name in TABLE.split("."):
            found = found.get(name, {}) if isinstance(found, dict) else found
        try:
            settings = cls.model_validate(found)
        except ValidationError as error:
            raise SettingsInvalid(f"{path}: {problems_in(error, cls, _key)}.") from None
        return settings.with_environment()

    def with_environment(self) -> AuditSettings:
        """Return these settings, with unset ones taken from the claim check's environment.

        Raises:
            SettingsInvalid: A variable has a value that cannot be used.
        """
        claim_check = ClaimCheckSettings.from_environment()
        region = os.environ.get("AWS_REGION", "")
        found = {
            "limit": claim_check.inline_limit or self.limit,
            "threshold": (
                SQS_UNIT_BYTES if claim_check.threshold == "auto" else claim_check.threshold
            ),
            "place": place_of(claim_check.store or DEFAULT_STORE),
            "purge": claim_check.purge,
            "kms_requests": _kms_requests(claim_check),
            "prices": Prices.of(region) if region in REGIONS else self.prices,
        }
        return self.model_copy(
            update={name: found[name] for name in found.keys() - self.model_fields_set}
        )


def _kms_requests(settings: ClaimCheckSettings) -> float:
    """The requests to KMS for one message of a busy sender: both ends ask once for a data key."""
    encryption = settings.encryption.get_secret_value() if settings.encryption else ""
    if not encryption.startswith("kms://"):
        return 0
    from claimcheck.core.kms import REUSE_MESSAGES  # loads AWS's libraries

    return 2 / REUSE_MESSAGES


def _key(location: Sequence[int | str]) -> str:
    """Write a key as the file names it: `[tool.claimcheck.audit] limit`."""
    *tables, key = ("", *location)
    table = ".".join((TABLE, *(str(name) for name in tables if name)))
    return f"[{table}] {key}".rstrip()
